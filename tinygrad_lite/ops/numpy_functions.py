"""Which of our functions answers when a NumPy function is called with a Tensor (NEP 18)."""
import numpy as np

from ..backend import xp_of
from ..tensor import FUNCTIONS, Tensor, plain
from .elementwise import clamp, round
from .indexing import gather, take, where
from .linalg import dot, einsum
from .reductions import argmax, argmin, cumsum, max, mean, min, norm, prod, std, sum, var
from .shapes import (_same, axes_of, concatenate, expand, flip, moveaxis, pad, ravel, reshape, roll, split, squeeze, stack,
                     swapaxes, transpose, unsqueeze)


def untracked(function):
    """A NumPy function whose result has no gradient (a new array, an order, a truth value): a plain array."""
    def call(*args, **kwargs):
        args = [[plain(i) for i in a] if isinstance(a, list) else plain(a) for a in args]
        return function(*args, **{k: plain(v) for k, v in kwargs.items()})
    return call


def tensor(x):
    return x if isinstance(x, Tensor) else Tensor(x)


def _pad(array, pad_width, mode="constant", constant_values=0):
    if mode != "constant" or np.ndim(constant_values):
        raise TypeError(f"np.pad: mode {mode!r} with values {constant_values} has no gradient here, expected mode "
                        "'constant' with one number")
    return pad(array, pad_width, constant_values)


def _clip(a, a_min=None, a_max=None, *, min=None, max=None):
    return clamp(a, a_min if min is None else min, a_max if max is None else max)


def _where(condition, *xy):
    return where(condition, *xy) if xy else np.nonzero(plain(condition))


def _norm(x, ord=None, axis=None, keepdims=False):
    axes = tuple(range(x.ndim)) if axis is None else axes_of(axis, x.ndim)
    if ord is not None and len(axes) != 1 and not (ord == "fro" and len(axes) == 2):
        raise TypeError(f"np.linalg.norm: the matrix norm ord={ord!r} has no gradient here: give one axis for a vector norm")
    return norm(x, None if ord == "fro" else ord, axis, keepdims)


def _triangle(function):
    return lambda m, k=0: where(function(np.ones_like(plain(m), bool), k), m, 0)


def _repeat(a, repeats, axis=None):
    return take(a, np.repeat(np.arange(a.size if axis is None else a.shape[axis]), repeats), axis)


def _tile(A, reps):
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    A = reshape(A, (1,) * (len(reps) - A.ndim) + A.shape)
    for axis, n in zip(range(A.ndim - len(reps), A.ndim), reps):
        A = take(A, np.tile(np.arange(A.shape[axis]), n), axis)
    return A


def _sort(a, axis=-1):
    if axis is None:
        a, axis = ravel(a), 0
    return gather(a, axis, np.argsort(plain(a), axis=axis, kind="stable"))


def _take_along_axis(arr, indices, axis=-1):
    if axis is None:
        arr, axis = ravel(arr), 0
    sizes = list(arr.shape)
    sizes[axis] = indices.shape[axis]       # NumPy repeats the indices along the other axes
    return gather(arr, axis, np.broadcast_to(plain(indices), sizes))


def _diff(a, n=1, axis=-1):
    axis, = axes_of(axis, a.ndim)
    lead = (slice(None),) * axis
    for _ in range(n):
        a = a[lead + (slice(1, None),)] - a[lead + (slice(None, -1),)]
    return a


def _tensordot(a, b, axes=2):
    left, right = (range(a.ndim - axes, a.ndim), range(axes)) if isinstance(axes, int) else axes
    left, right = axes_of(left, a.ndim), axes_of(right, b.ndim)
    first = "abcdefghijklm"[:a.ndim]
    names = dict(zip(right, [first[i] for i in left], strict=True))
    second = "".join([names.get(i, "nopqrstuvwxyz"[i]) for i in range(b.ndim)])
    kept = [c for i, c in enumerate(first) if i not in left] + [c for i, c in enumerate(second) if i not in right]
    return einsum(f"{first},{second}->{''.join(kept)}", a, b)


def _split_unevenly(ary, indices_or_sections, axis=0):
    cuts = [len(part) for part in np.array_split(np.empty(ary.shape[axis]), indices_or_sections)]
    return split(ary, np.cumsum(cuts)[:-1].tolist(), axis)


def _hstack(tup):
    pieces = [t if t.ndim else reshape(t, (1,)) for t in map(tensor, tup)]
    return concatenate(pieces, 0 if pieces[0].ndim == 1 else 1)


FUNCTIONS.update({
    # sums, extremes, order
    np.sum: sum, np.mean: mean, np.max: max, np.amax: max, np.min: min, np.amin: min,
    np.ptp: lambda a, axis=None, keepdims=False: max(a, axis, keepdims) - min(a, axis, keepdims), np.prod: prod,
    np.var: var, np.std: std, np.cumsum: cumsum, np.diff: _diff, np.linalg.norm: _norm, np.sort: _sort,
    # one number after the other
    np.clip: _clip, np.round: round, np.around: round, np.where: _where, np.copy: lambda a: _same(a),
    np.tril: _triangle(np.tril), np.triu: _triangle(np.triu), np.trace: lambda a: einsum("ii...->...", a),
    np.diagonal: lambda a: einsum("ii...->...i", a),
    np.diag: lambda v: einsum("ii->i", v) if v.ndim == 2 else where(xp_of(plain(v)).eye(v.shape[0], dtype=bool), v, 0),
    # choosing
    np.take: take, np.take_along_axis: _take_along_axis, np.repeat: _repeat, np.tile: _tile,
    # shapes
    np.reshape: lambda a, shape: reshape(a, shape), np.ravel: lambda a: ravel(a),
    np.transpose: lambda a, axes=None: transpose(a, axes), np.swapaxes: swapaxes, np.moveaxis: moveaxis,
    np.broadcast_to: lambda array, shape: expand(array, (shape,) if isinstance(shape, int) else shape),
    np.squeeze: squeeze, np.expand_dims: lambda a, axis: unsqueeze(a, axis),
    np.flip: flip, np.fliplr: lambda m: flip(m, 1), np.flipud: lambda m: flip(m, 0), np.roll: roll, np.pad: _pad,
    # joining and cutting
    np.concatenate: lambda arrays, axis=0: concatenate(arrays, axis), np.stack: lambda arrays, axis=0: stack(arrays, axis),
    np.vstack: lambda tup: concatenate([t if t.ndim > 1 else reshape(t, (1, -1)) for t in map(tensor, tup)]),
    np.hstack: _hstack,
    np.column_stack: lambda tup: concatenate([t if t.ndim > 1 else reshape(t, (-1, 1)) for t in map(tensor, tup)], 1),
    np.split: split, np.array_split: _split_unevenly,
    # products
    np.dot: dot, np.vdot: lambda a, b: dot(ravel(a), ravel(b)), np.tensordot: _tensordot,
    np.inner: lambda a, b: dot(a, b if np.ndim(b) < 2 else swapaxes(b, -1, -2)),
    np.outer: lambda a, b: reshape(a, (-1, 1)) * ravel(b),
    np.einsum: lambda subscripts, *operands, optimize=True: einsum(subscripts, *operands)})
FUNCTIONS.update({f: untracked(f) for f in (
    np.zeros_like, np.ones_like, np.empty_like, np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort, np.all,
    np.any, np.allclose, np.isclose, np.array_equal, np.array_equiv, np.count_nonzero, np.nonzero, np.flatnonzero,
    np.searchsorted, np.result_type, np.can_cast, np.array_repr, np.array_str, np.may_share_memory, np.shares_memory,
    np.isin)})
FUNCTIONS[np.full_like] = lambda a, fill_value, dtype=None: np.full_like(plain(a), fill_value, dtype)

for theirs, ours in FUNCTIONS.items():      # Python's own words about a wrong argument then name NumPy's function
    if ours.__name__.startswith(("<", "_", "call")):
        ours.__name__ = ours.__qualname__ = f"np.{theirs.__name__}"
