"""RowSparse: the gradient of a big table of which a batch touched a few rows."""
import numpy as np

from .backend import on_gpu
from .kernels.gather import merge_rows, scatter_rows


class RowSparse:
    """The gradient of a table of which few rows were used: `values[i]` belongs to row `indices[i]`, repeats add.

    >>> g = RowSparse(np.array([2, 0, 2]), np.ones((3, 1), "f"), (4, 1))
    >>> g.coalesce().indices, g.to_dense().ravel()
    (array([0, 2]), array([1., 0., 2., 0.], dtype=float32))
    """
    __array_ufunc__ = None                  # an ndarray on the left leaves `+` and `*` to us

    def __init__(self, indices, values, shape):
        shape = tuple(shape)
        if len(indices) != len(values) or values.shape[1:] != shape[1:]:
            raise ValueError(f"RowSparse: got {len(indices)} indices and values of shape {values.shape}, expected "
                             f"values of shape {(len(indices), *shape[1:])} for a table of shape {shape}")
        if len(indices) and not on_gpu(indices) and not 0 <= indices.min() <= indices.max() < shape[0]:
            bad = int(((indices < 0) | (indices >= shape[0])).argmax())
            raise IndexError(f"RowSparse: index {indices[bad]} at position {bad}, expected 0..{shape[0] - 1} for a table of shape {shape}")
        self.indices, self.values, self.shape = indices.astype(np.int64, copy=False), values, shape
        self.once = len(indices) < 2        # no row twice

    dtype = property(lambda self: self.values.dtype)
    ndim = property(lambda self: len(self.shape))
    nbytes = property(lambda self: self.values.nbytes + self.indices.nbytes)

    def with_values(self, values):
        """The same rows with other values."""
        g = RowSparse(self.indices, values, self.shape)
        g.once = self.once
        return g

    def coalesce(self, ordered=True):
        """The same gradient with each row once, in rising order, or else (which spares a sort) of first appearance."""
        if self.once and not ordered:
            return self
        rows, values = (self.indices, self.values) if self.once else merge_rows(self.indices, self.values)
        if ordered:
            order = np.argsort(rows)
            rows, values = rows[order], values[order]
        g = RowSparse(rows, values, self.shape)
        g.once = True
        return g

    def astype(self, dtype):
        return self.with_values(self.values.astype(dtype))

    def to_dense(self):
        dense = np.zeros_like(self.values, shape=self.shape)
        scatter_rows(dense, self.indices, self.values)
        return dense

    def __add__(self, other):
        if isinstance(other, RowSparse):
            return RowSparse(np.concatenate([self.indices, other.indices]),
                             np.concatenate([self.values, other.values]), self.shape)
        return self.to_dense() + other

    __radd__ = __add__

    def __mul__(self, number):
        return self.with_values(self.values * number)

    __rmul__ = __mul__

    def __repr__(self):
        return f"RowSparse({len(self.indices)} of {self.shape[0]} rows, shape={self.shape}, dtype={self.dtype})"
