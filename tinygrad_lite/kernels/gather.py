"""Rows of a table at many places: adding to them (the gradient of an embedding or of x[ids]), and adding up those that
belong to the same place (a row-sparse gradient in which ids repeat)."""
from math import prod

import numpy as np

from ..backend import xp_of
from . import cuda, kernel, ready


def _plain(table, ids, rows):
    np.add.at(table, ids, rows)


def _usable(table, ids, rows):
    return (type(table) is np.ndarray and table.ndim and ids.dtype == np.int64 and ids.flags.c_contiguous
            and rows.shape == ids.shape + table.shape[1:] and ready(table, rows))


CUDA = r"""
extern "C" __global__ void add_rows(T *table, const I *ids, const T *rows, I width, I count) {
    EACH(e, count * width) atomicAdd(table + ids[e / width] * width + e % width, rows[e]);
}

// rows in the order of their ids: the thread at the first of equal ids adds up all of them, always in one order
extern "C" __global__ void add_sorted_rows(T *table, const I *ids, const I *order, const T *rows, I width, I count) {
    EACH(e, count * width) {
        I k = e / width, j = e % width, id = ids[k];
        if (k > 0 && ids[k - 1] == id) continue;
        A sum = (A)table[id * width + j];
        for (; k < count && ids[k] == id; k++) sum += (A)rows[order[k] * width + j];
        table[id * width + j] = T(sum);
    }
}

// a thread for each number of each bag; a row that does not exist makes NaN
extern "C" __global__ void bag_sums(const T *table, const I *ids, const I *bounds, const T *scale, T *sums, I n, I width, I bags) {
    EACH(e, bags * width) {
        A sum = 0;
        for (I i = bounds[e / width]; i < bounds[e / width + 1]; i++)
            sum += ids[i] >= 0 && ids[i] < n ? (A)scale[i] * (A)table[ids[i] * width + e % width] : log(A(-1));
        sums[e] = T(sum);
    }
}
"""


def _served(table, ids, rows):
    return table.ndim > 0 and cuda.served(table, rows) and cuda.ids(ids) and rows.shape == ids.shape + table.shape[1:]


@cuda.form(CUDA, _served)
def _cuda(run, table, ids, rows):
    width = prod(table.shape[1:])
    size, ids = (cuda.blocks_of(rows.size), cuda.THREADS), ids.reshape(-1) % len(table)     # wraps around, as in CuPy's indexing
    if cuda.DETERMINISTIC or table.dtype == np.float16:         # halves would lose a digit at every addition
        order = ids.argsort()
        run("add_sorted_rows", *size, table, ids[order], order, rows, width, ids.size)
    else:
        run("add_rows", *size, table, ids, rows, width, ids.size)


@kernel(_plain, _usable, cuda=_cuda)
def _scatter_rows(table, ids, rows):
    n = table.shape[0]
    flat, ids, rows = table.reshape(n, -1), ids.reshape(-1), rows.reshape(ids.size, -1)
    for i in range(ids.size):
        row = ids[i]                        # a negative one counts from the end, as in NumPy
        for j in range(flat.shape[1]):
            flat[row, j] += rows[i, j]


def scatter_rows(table, ids, rows):
    """table[ids] += rows in place, where repeated ids add up (np.add.at, 10 to 80 times as fast).

    On the GPU ids are not checked, for the host would wait for the answer, and TINYGRAD_LITE_DETERMINISTIC=1 chooses
    sums in an order that is always the same over faster ones in any order.

    >>> table = np.zeros((3, 1))
    >>> scatter_rows(table, np.array([2, 2, 0]), np.ones((3, 1)))
    >>> table.ravel()
    array([1., 0., 2.])
    """
    if type(ids) is np.ndarray and ids.size and (ids.min() < -len(table) or ids.max() >= len(table)):
        raise IndexError(f"scatter_rows: ids {ids.min()}..{ids.max()}, expected -{len(table)}..{len(table) - 1}")
    if ids.size and table.size:             # a copy costs far less than np.add.at, which takes any layout
        _scatter_rows(table, ids, rows if rows.flags.c_contiguous else rows.copy())


def _plain_merge(ids, values, unique, sums):
    found, first, place = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)               # of first appearance
    unique[:len(found)] = found[order]
    sums[:len(found)] = 0
    np.add.at(sums, np.argsort(order)[place], values)
    return len(found)


@kernel(_plain_merge, lambda ids, values, unique, sums: ready(values, sums) and ids.dtype == np.int64 and ids.flags.c_contiguous)
def _merge_rows(ids, values, unique, sums):
    n, width, bits = ids.size, values.shape[1], 1
    while 1 << bits < 2 * n:
        bits += 1
    seats = np.full(1 << bits, -1, np.int64)        # an open-addressed table at most half full: nothing is sorted
    last, shift, count = (1 << bits) - 1, np.uint64(64 - bits), 0
    for i in range(n):
        seat = np.int64((np.uint64(ids[i]) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
        while seats[seat] >= 0 and unique[seats[seat]] != ids[i]:
            seat = (seat + 1) & last
        k = seats[seat]
        if k < 0:
            seats[seat] = count
            unique[count] = ids[i]
            for j in range(width):
                sums[count, j] = values[i, j]
            count += 1
        else:
            for j in range(width):
                sums[k, j] += values[i, j]
    return count


def merge_rows(ids, values):
    """(each id once, in order of first appearance; the sums of its rows) of ids (n,) and rows (n, ...).

    >>> ids, sums = merge_rows(np.array([7, 2, 7]), np.array([[1.0], [2.0], [3.0]]))
    >>> ids, sums.ravel()
    (array([7, 2]), array([4., 2.]))
    """
    flat = len(ids), prod(values.shape[1:])
    unique, sums = np.empty_like(ids), np.empty_like(values, order="C")
    count = _merge_rows(ids, values.reshape(flat), unique, sums.reshape(flat))
    return unique[:count], sums[:count]


def _plain_bags(table, ids, bounds, scale, sums):
    bag = np.searchsorted(bounds, xp_of(ids).arange(len(ids)), side="right") - 1
    np.add.at(sums, bag, table[ids] * scale[:, None])


@cuda.form(CUDA, lambda table, ids, bounds, scale, sums: cuda.served(table, scale, sums) and cuda.ids(ids, bounds))
def _cuda_bags(run, table, ids, bounds, scale, sums):
    run("bag_sums", cuda.blocks_of(sums.size), cuda.THREADS, table, ids, bounds, scale, sums, *table.shape, len(sums))


@kernel(_plain_bags, lambda table, ids, bounds, scale, sums: ready(table, scale, sums) and ids.flags.c_contiguous, cuda=_cuda_bags)
def _bag_sums(table, ids, bounds, scale, sums):
    width = table.shape[1]
    for b in range(bounds.size - 1):
        for i in range(bounds[b], bounds[b + 1]):
            row, s = ids[i], scale[i]
            for j in range(width):
                sums[b, j] += s * table[row, j]


def bag_sums(table, ids, bounds, scale):
    """sum_i scale_i table[ids_i] over the ids of each bag, those at bounds[b]..bounds[b+1]: (bags, width), no rows copied.

    >>> bag_sums(np.array([[1.0], [10.0]]), np.array([0, 1, 1]), np.array([0, 2, 2, 3]), np.ones(3)).ravel()
    array([11.,  0., 10.])
    """
    sums = np.zeros_like(table, shape=(len(bounds) - 1, table.shape[1]), order="C")
    _bag_sums(table, ids, bounds, scale, sums)
    return sums
