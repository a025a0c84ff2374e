"""Choosing numbers: indexing, where, take, gather, and adding back to where they came from."""
import operator

import numpy as np

from ..backend import like, xp_of
from ..kernels.gather import scatter_rows
from ..rowsparse import RowSparse
from ..fitting import HALF, narrow, sum_to
from ..tensor import Tensor, op, plain
from .shapes import axes_of

__all__ = "getitem where masked_select take gather scatter_add".split()


def chooses_once(index):
    """True if no number can be chosen twice: slices, integers, None, Ellipsis and at most one boolean mask."""
    masks = 0
    for p in index if isinstance(index, tuple) else (index,):
        if isinstance(p, (bool, np.bool_)) or getattr(p, "dtype", None) == bool:
            masks += 1
        elif not (p is None or p is Ellipsis or isinstance(p, (slice, int, np.integer))):
            return False
    return masks < 2


def _put_back(g, index, shape):             # the adjoint of x[index]: duplicates add
    if isinstance(g, RowSparse):
        g = g.to_dense()
    once = type(index) is int or chooses_once(index)
    if g.dtype is HALF and not once:            # sums
        return narrow(_put_back(g.astype(np.float32), index, shape))
    out = np.zeros(shape, g.dtype) if isinstance(g, (np.ndarray, np.generic)) else np.zeros_like(g, shape=shape)
    if once:
        out[index] = g
    elif hasattr(index, "dtype") and index.dtype.kind in "iu" and len(shape):
        scatter_rows(out, like(g, index), g)
    else:
        np.add.at(out, index, g)
    return out


# Each is the other's gradient, so both can be differentiated for ever.
_getitem = op("getitem", operator.getitem, lambda g, z, x, index: put_back(g, index, x.shape))
_scatter = op("scatter", _put_back, lambda g, z, x, index, shape: sum_to(g[index], x.shape))


def put_back(g, index, shape):
    return _scatter(g, index, shape) if isinstance(g, Tensor) else _put_back(g, index, shape)


def getitem(x, index):
    """x[index] with slices, integers, integer arrays, boolean masks and mixtures; duplicates add in the gradient.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x[[0, 0, 2]].sum().backward(); x.grad
    array([2., 0., 1.], dtype=float32)
    """
    return _getitem(x, index if type(index) is int else place(index))


def place(index):
    """An index as NumPy reads it: Tensors by their data, lists as arrays."""
    if isinstance(index, tuple):
        return tuple([place(i) for i in index])
    if isinstance(index, list):
        return np.asarray(index) if len(index) else np.zeros(0, int)
    return plain(index)


_where = op("where", np.where, None,
            lambda g, z, c, x, y: np.where(c, g, 0),
            lambda g, z, c, x, y: np.where(c, 0, g))


def where(condition, x, y):
    """x where the condition holds, y elsewhere.

    >>> where(np.array([True, False]), Tensor([1.0, 2.0]), 0.0)
    Tensor([1., 0.], dtype=float32)
    """
    if isinstance(x, (int, float)) and isinstance(y, (int, float)):
        x, y = np.float32(x), np.float32(y)     # numbers alone would make a float64
    return _where(plain(condition), x, y)


def masked_select(x, mask):
    """The numbers where the mask is true, in one row.

    >>> masked_select(Tensor([1.0, 2.0, 3.0]), np.array([True, False, True]))
    Tensor([1., 3.], dtype=float32)
    """
    return _getitem(x, np.broadcast_to(plain(mask), x.shape))


def take(x, indices, axis=None):
    """The rows (along `axis`; of the flattened numbers by default) that integer `indices` name.

    >>> take(Tensor([[1.0, 2.0], [3.0, 4.0]]), [1, 1], axis=0).data[:, 0]
    array([3., 3.], dtype=float32)
    """
    indices = place(indices)
    if axis is None:
        return _getitem(x.reshape(-1), indices)
    axis, = axes_of(axis, x.ndim)
    return _getitem(x, (slice(None),) * axis + (indices,)) if axis else _getitem(x, indices)


def gather(x, dim, index):
    """z[i][j] = x[i][index[i][j]] for dim=1, and so on: PyTorch's gather, np.take_along_axis.

    >>> gather(Tensor([[1.0, 2.0], [3.0, 4.0]]), 1, np.array([[1], [0]])).data.ravel()
    array([2., 3.], dtype=float32)
    """
    index = like(plain(x), plain(index))
    count, axes = xp_of(index).arange, range(index.ndim)
    grid = [count(n).reshape([-1 if i == axis else 1 for i in axes]) for axis, n in enumerate(index.shape)]
    grid[dim] = index
    return _getitem(x, tuple(grid))


def scatter_add(x, index, value):
    """A copy of x with `value` added at x[index]; repeated places add up.

    >>> scatter_add(Tensor([0.0, 0.0]), np.array([1, 1]), Tensor([1.0, 2.0]))
    Tensor([0., 3.], dtype=float32)
    """
    value = value if hasattr(value, "dtype") else np.asarray(value, x.dtype)
    return x + _scatter(value, place(index), x.shape)


for name, function in dict(__getitem__=getitem, masked_select=masked_select, take=take, gather=gather,
                           scatter_add=scatter_add).items():
    setattr(Tensor, name, function)
