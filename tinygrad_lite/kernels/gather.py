"""Adding rows to a table at repeated places: the gradient of an embedding or of x[ids]."""
import numpy as np

from . import kernel, ready


def _plain(table, ids, rows):
    np.add.at(table, ids, rows)


def _usable(table, ids, rows):
    return (type(table) is np.ndarray and table.ndim and ids.dtype == np.int64 and ids.flags.c_contiguous
            and rows.shape == ids.shape + table.shape[1:] and ready(table, rows))


@kernel(_plain, _usable)
def _scatter_rows(table, ids, rows):
    n = table.shape[0]
    flat, ids, rows = table.reshape(n, -1), ids.reshape(-1), rows.reshape(ids.size, -1)
    for i in range(ids.size):
        row = ids[i]                        # a negative one counts from the end, as in NumPy
        for j in range(flat.shape[1]):
            flat[row, j] += rows[i, j]


def scatter_rows(table, ids, rows):
    """table[ids] += rows in place, where repeated ids add up (np.add.at, 10 to 80 times as fast).

    >>> table = np.zeros((3, 1))
    >>> scatter_rows(table, np.array([2, 2, 0]), np.ones((3, 1)))
    >>> table.ravel()
    array([1., 0., 2.])
    """
    if ids.size and (ids.min() < -len(table) or ids.max() >= len(table)):
        raise IndexError(f"scatter_rows: ids {ids.min()}..{ids.max()}, expected -{len(table)}..{len(table) - 1}")
    if ids.size and table.size:
        _scatter_rows(table, ids, rows)
