"""The largest of many scores, row by row, as matrix products bring them block by block; and the scores of chosen pairs, exactly.

NumPy sorts a whole row to find 20 of 10,000. Here most numbers are only compared, 32 at a time, with the least of those
kept; the few that are larger find their place among them.
"""
import numpy as np

from . import FLOATS, kernel, ready

CHUNK = 32


def _plain_top_k(scores, start, values, ids):
    names = np.broadcast_to(start + np.arange(scores.shape[1]), scores.shape)
    values_of_all, ids_of_all = np.concatenate([values, scores], axis=1), np.concatenate([ids, names], axis=1)
    order = np.argsort(-values_of_all, axis=1, kind="stable")[:, :values.shape[1]]
    values[...] = np.take_along_axis(values_of_all, order, axis=1)
    ids[...] = np.take_along_axis(ids_of_all, order, axis=1)


def _top_k_usable(scores, start, values, ids):
    return ready(scores, values) and ids.flags.c_contiguous and 0 < values.shape[1] <= 1024


@kernel(_plain_top_k, _top_k_usable, reorder=True)
def _top_k(scores, start, values, ids):
    zero, one = scores.dtype.type(0), scores.dtype.type(1)
    k = values.shape[1]
    for i in range(scores.shape[0]):
        row, kept, names = scores[i], values[i], ids[i]
        least = kept[k - 1]
        for a in range(0, row.size, CHUNK):
            part, better = row[a:a + CHUNK], zero
            for j in range(part.size):      # how many: a sum without a branch, for vectors
                better += one if part[j] > least else zero
            if better == zero:
                continue
            for j in range(part.size):
                score = part[j]
                if score > least:           # what is equal came earlier and stays in front
                    place = k - 1
                    while place > 0 and kept[place - 1] < score:
                        kept[place], names[place] = kept[place - 1], names[place - 1]
                        place -= 1
                    kept[place], names[place] = score, start + a + j
                    least = kept[k - 1]


def top_k(scores, start, values, ids):
    """Merge scores (n, m) of the candidates start .. start+m-1 into the best so far: values, ids (n, k), falling, in place.

    Of equal scores the earlier candidate comes first. Begin with values of -inf and ids of -1.

    >>> values, ids = np.full((1, 2), -np.inf), np.full((1, 2), -1)
    >>> top_k(np.array([[3.0, 5.0, 3.0]]), 0, values, ids)
    >>> top_k(np.array([[4.0, 5.0]]), 3, values, ids)
    >>> values, ids
    (array([[5., 5.]]), array([[1, 4]]))
    """
    _top_k(scores, start, values, ids)


def _plain_pairs(q, x, ids, apart, out):
    for i in range(len(ids)):
        rows = x[ids[i]].astype(np.float64)
        out[i] = -((rows - q[i]) ** 2).sum(axis=1) if apart else (rows * q[i]).sum(axis=1)


def _pairs_usable(q, x, ids, apart, out):
    return (type(x) is np.ndarray and x.dtype in FLOATS and x.flags.c_contiguous and ids.flags.c_contiguous and ready(q, out)
            and q.dtype == np.float64 and ids.dtype == np.int64)


@kernel(_plain_pairs, _pairs_usable, reorder=True)
def _pairs(q, x, ids, apart, out):
    for i in range(ids.shape[0]):
        for j in range(ids.shape[1]):
            row, total = x[ids[i, j]], 0.0
            if apart:
                for c in range(row.size):
                    total -= (np.float64(row[c]) - q[i, c]) * (np.float64(row[c]) - q[i, c])
            else:
                for c in range(row.size):
                    total += np.float64(row[c]) * q[i, c]
            out[i, j] = total


def pairs(q, x, ids, apart=False):
    """(n, m) float64: q_i . x_j of the rows j = ids[i] of x, or with `apart` -|q_i - x_j|^2. q: (n, d), ids: (n, m).

    Summed in float64 and for all pairs in one order: equal rows of x score exactly the same, which BLAS does not promise.

    >>> pairs(np.array([[1.0, 2.0]]), np.eye(2, dtype="f"), np.array([[1, 0]]), apart=True)
    array([[-2., -4.]])
    """
    out = np.empty(ids.shape)
    _pairs(np.ascontiguousarray(q, np.float64), x, ids, apart, out)
    return out


def _plain_close(scores, start, low, high, rows, cols, doubtful):
    i, j = np.nonzero((scores >= low) & (np.arange(scores.shape[1]) > np.arange(len(scores))[:, None]))
    rows[:i.size], cols[:i.size], doubtful[:i.size] = start + i, start + j, scores[i, j] < high
    return i.size


def _close_usable(scores, start, low, high, rows, cols, doubtful):
    return ready(scores) and rows.flags.c_contiguous


@kernel(_plain_close, _close_usable, reorder=True)
def _close(scores, start, low, high, rows, cols, doubtful):
    T = scores.dtype.type
    zero, one, floor, ceiling = T(0), T(1), T(low), T(high)
    count = 0
    for i in range(scores.shape[0]):
        row = scores[i]
        for a in range(i + 1, row.size, CHUNK):
            part, near = row[a:a + CHUNK], zero
            for j in range(part.size):
                near += one if part[j] >= floor else zero
            if near == zero:
                continue
            for j in range(part.size):
                if part[j] >= floor:
                    rows[count], cols[count], doubtful[count] = start + i, start + a + j, part[j] < ceiling
                    count += 1
    return count


def close_pairs(scores, start, low, high):
    """(i, j, doubtful) of all pairs i < j with a score >= low; doubtful where it is < high.

    scores: (n, m), of the rows start .. start+n-1 with the rows start .. start+m-1.

    >>> close_pairs(np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.9]]), 10, 0.4, 0.6)
    (array([10, 11]), array([11, 12]), array([ True, False]))
    """
    size = scores.size
    rows, cols, doubtful = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, bool)
    count = _close(scores, start, low, high, rows, cols, doubtful)
    return rows[:count].copy(), cols[:count].copy(), doubtful[:count].copy()
