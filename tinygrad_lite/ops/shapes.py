"""Views and rearrangements: no number changes, so the gradient takes the way back."""
import functools
import math
from itertools import accumulate

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..fitting import sum_to
from ..tensor import Tensor, op

__all__ = """reshape ravel flatten transpose swapaxes moveaxis expand squeeze unsqueeze flip roll pad concatenate stack
    split""".split()


def axes_of(axis, ndim):
    """An int or several as a tuple of numbers 0..ndim-1; one that is out of range raises."""
    return normalize_axis_tuple(axis, ndim)


def expand_raw(g, shape):
    """`g` repeated to `shape`; an array in gives a new writable array, a Tensor in a Tensor."""
    if isinstance(g, Tensor):
        return expand(g, shape)
    if g.shape == shape:
        return g
    out = np.empty_like(g, shape=shape)     # NumPy's broadcast_to costs ten times as much on small arrays
    out[...] = g
    return out


_reshape = op("reshape", lambda x, shape: x.reshape(shape), lambda g, z, x, shape: g.reshape(x.shape))
_transpose = op("transpose", lambda x, axes: x.transpose(axes),
                lambda g, z, x, axes: g.transpose(None if axes is None else tuple(np.argsort([a % x.ndim for a in axes]))))
_expand = op("expand", np.broadcast_to, lambda g, z, x, shape: sum_to(g, x.shape))
_same = op("copy", lambda x: x.copy(), lambda g, z, x: g)
_flip = op("flip", np.flip, lambda g, z, x, axis: np.flip(g, axis))
_roll = op("roll", np.roll,
           lambda g, z, x, shift, axis: np.roll(g, tuple([-s for s in shift]) if isinstance(shift, tuple) else -shift, axis))
_pad = op("pad", lambda x, width, value: np.pad(x, width, constant_values=value),
          lambda g, z, x, width, value: g[tuple([slice(before, before + n) for (before, _), n in zip(width, x.shape)])])


def sizes(shape):
    """reshape(2, 3), reshape((2, 3)) and reshape([2, 3]) mean the same."""
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list, np.ndarray)) else shape


def reshape(x, *shape):
    """The same numbers in another shape; one size may be -1.

    >>> reshape(Tensor([1.0, 2.0, 3.0, 4.0]), 2, -1)
    Tensor([[1., 2.],
            [3., 4.]], dtype=float32)
    """
    return _reshape(x, sizes(shape))


def ravel(x):
    """All numbers in one row."""
    return _reshape(x, (-1,))


def flatten(x, start_dim=0, end_dim=-1):
    """Join the dimensions start_dim..end_dim into one, as PyTorch's flatten.

    >>> flatten(Tensor(np.zeros((2, 3, 4))), 1).shape
    (2, 12)
    """
    n = len(x.shape)
    first, last = axes_of((start_dim,), n or 1) + axes_of((end_dim,), n or 1)
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    return _reshape(x, (*x.shape[:first], math.prod(x.shape[first:last + 1]), *x.shape[last + 1:]))


def transpose(x, *axes):
    """Axes in another order (NumPy's meaning; all reversed by default).

    >>> transpose(Tensor(np.zeros((2, 3, 4))), 1, 0, 2).shape
    (3, 2, 4)
    """
    axes = sizes(axes)
    return _transpose(x, None if not axes or axes == (None,) else tuple(axes))


def swapaxes(x, axis1, axis2):
    """Two axes exchanged."""
    order = list(range(x.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return _transpose(x, tuple(order))


def moveaxis(x, source, destination):
    """Axes moved to other places, the rest kept in order, as np.moveaxis."""
    source, destination = axes_of(source, x.ndim), axes_of(destination, x.ndim)
    if len(source) != len(destination):
        raise ValueError(f"moveaxis: got {len(source)} sources and {len(destination)} destinations, expected equally many")
    order = [a for a in range(x.ndim) if a not in source]
    for place, a in sorted(zip(destination, source)):
        order.insert(place, a)
    return _transpose(x, tuple(order))


def expand(x, *shape):
    """Size-1 axes repeated to `shape` (broadcasting, without a copy); -1 keeps a size, as in PyTorch.

    >>> expand(Tensor([[1.0], [2.0]]), 2, 3).data[1]
    array([2., 2., 2.], dtype=float32)
    """
    shape = sizes(shape)
    lead = len(shape) - len(x.shape)
    return _expand(x, tuple([x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(shape)]))


def squeeze(x, axis=None):
    """Without the axes of size 1 (or only the named ones)."""
    return _reshape(x, np.squeeze(np.empty(x.shape, bool), axis).shape)


def unsqueeze(x, dim):
    """A new axis of size 1 at `dim`."""
    return _reshape(x, np.expand_dims(np.empty(x.shape, bool), dim).shape)


def flip(x, axis=None):
    """The order of the numbers reversed along `axis`."""
    return _flip(x, axis)


def roll(x, shift, axis=None):
    """Numbers pushed on by `shift` places, those at the end coming in at the start."""
    shift, axis = (tuple(v) if isinstance(v, list) else v for v in (shift, axis))
    return _roll(x, shift, axis)


def pad(x, width, value=0):
    """`width` = n, (before, after) or one such pair per axis; new places hold `value` (np.pad's constant mode).

    >>> pad(Tensor([1.0, 2.0]), (1, 2)).data
    array([0., 1., 2., 0., 0.], dtype=float32)
    """
    pairs = np.broadcast_to(np.asarray(width), (x.ndim, 2)).tolist()
    if any(n < 0 for pair in pairs for n in pair):
        raise ValueError(f"pad: got width {width}, expected numbers >= 0 (to cut, index with slices)")
    return _pad(x, tuple([tuple(pair) for pair in pairs]), value)


def _join(axis, *pieces):
    ends = list(accumulate(p.shape[axis] for p in pieces))
    return np.concatenate(pieces, axis), [slice(e - p.shape[axis], e) for e, p in zip(ends, pieces)]


def _part(i):                               # the part of a joined gradient that belongs to piece i
    return lambda g, z, axis, *pieces_and_slices: g[(slice(None),) * (axis % z.ndim) + (pieces_and_slices[-1][i],)]


@functools.cache
def _joiner(n):                             # the number of inputs is open: one op for each that is met
    return op("concatenate", _join, None, *[_part(i) for i in range(n)], saves=True)


def concatenate(tensors, axis=0):
    """Tensors one behind the other along an existing axis.

    >>> concatenate([Tensor([1.0]), Tensor([2.0, 3.0])])
    Tensor([1., 2., 3.], dtype=float32)
    """
    tensors = [t if hasattr(t, "shape") else Tensor(t) for t in tensors]
    if not tensors:
        raise ValueError("concatenate: got no tensors, expected at least one")
    if axis is None:
        tensors, axis = [ravel(t) for t in tensors], 0
    return _joiner(len(tensors))(axis, *tensors)


def stack(tensors, axis=0):
    """Tensors of one shape beside each other along a new axis.

    >>> stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1).data
    array([[1., 3.],
           [2., 4.]], dtype=float32)
    """
    tensors = [t if hasattr(t, "shape") else Tensor(t) for t in tensors]
    if len({tuple(t.shape) for t in tensors}) > 1:
        raise ValueError(f"stack: got shapes {[tuple(t.shape) for t in tensors]}, expected all the same")
    return concatenate([unsqueeze(t, axis) for t in tensors], axis)


def split(x, sections, axis=0):
    """A list of parts: `sections` equal ones, or cut before the given indices, as np.split.

    >>> [p.shape for p in split(Tensor(np.zeros((6, 2))), [1, 3])]
    [(1, 2), (2, 2), (3, 2)]
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    axis, = axes_of(axis, x.ndim)
    n = x.shape[axis]
    if isinstance(sections, (int, np.integer)):
        if sections < 1 or n % sections:
            raise ValueError(f"split: axis {axis} of size {n} does not divide into {sections} equal parts")
        sections = [i * (n // sections) for i in range(1, sections)]
    cuts = [0, *sections, n]
    return [x[(slice(None),) * axis + (slice(a, b),)] for a, b in zip(cuts, cuts[1:])]


for function in (reshape, ravel, flatten, transpose, swapaxes, moveaxis, expand, squeeze, unsqueeze, flip, roll, pad, split):
    setattr(Tensor, function.__name__, function)
Tensor.view = reshape
Tensor.T = property(lambda self: transpose(self))
