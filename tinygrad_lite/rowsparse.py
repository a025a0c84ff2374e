"""RowSparse: the gradient of a big table of which a batch touched a few rows."""
import numpy as np

from .kernels.gather import scatter_rows


class RowSparse:
    """The gradient of a table of which few rows were used: `values[i]` belongs to row `indices[i]`, repeats add.

    >>> g = RowSparse(np.array([2, 0, 2]), np.ones((3, 1), "f"), (4, 1))
    >>> g.coalesce().indices, g.to_dense().ravel()
    (array([0, 2]), array([1., 0., 2., 0.], dtype=float32))
    """
    __array_ufunc__ = None                  # an ndarray on the left leaves `+` and `*` to us

    def __init__(self, indices, values, shape):
        if len(indices) != len(values) or values.shape[1:] != tuple(shape[1:]):
            raise ValueError(f"RowSparse: got {len(indices)} indices and values of shape {values.shape}, expected "
                             f"values of shape {(len(indices), *shape[1:])} for a table of shape {tuple(shape)}")
        self.indices, self.values, self.shape = indices, values, tuple(shape)

    dtype = property(lambda self: self.values.dtype)
    ndim = property(lambda self: len(self.shape))
    nbytes = property(lambda self: self.values.nbytes + self.indices.nbytes)

    def astype(self, dtype):
        return RowSparse(self.indices, self.values.astype(dtype), self.shape)

    def coalesce(self):
        """The same gradient with each row once, in rising order."""
        rows, place = np.unique(self.indices, return_inverse=True)
        values = np.zeros((len(rows), *self.shape[1:]), self.dtype)
        scatter_rows(values, place, self.values)
        return RowSparse(rows, values, self.shape)

    def to_dense(self):
        dense = np.zeros(self.shape, self.dtype)
        scatter_rows(dense, self.indices, self.values)
        return dense

    def __add__(self, other):
        if isinstance(other, RowSparse):
            return RowSparse(np.concatenate([self.indices, other.indices]),
                             np.concatenate([self.values, other.values]), self.shape)
        return self.to_dense() + other

    __radd__ = __add__

    def __mul__(self, number):
        return RowSparse(self.indices, self.values * number, self.shape)

    __rmul__ = __mul__

    def __repr__(self):
        return f"RowSparse({len(self.indices)} of {self.shape[0]} rows, shape={self.shape}, dtype={self.dtype})"
