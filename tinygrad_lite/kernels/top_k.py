"""The largest of many scores, row by row, as matrix products bring them block by block; and the scores of chosen pairs, exactly.

NumPy sorts a whole row to find 20 of 10,000. Here most numbers are only compared, 32 at a time, with the least of those
kept; the few that are larger find their place among them.
"""
import numpy as np

from ..backend import xp_of
from . import FLOATS, cuda, fresh, kernel, ready

CHUNK = 32


def _plain_top_k(scores, start, values, ids):
    names = np.broadcast_to(start + xp_of(scores).arange(scores.shape[1]), scores.shape)
    values_of_all, ids_of_all = np.concatenate([values, scores], axis=1), np.concatenate([ids, names], axis=1)
    order = (-values_of_all).argsort(axis=1, kind="stable")[:, :values.shape[1]]
    values[...] = np.take_along_axis(values_of_all, order, axis=1)
    ids[...] = np.take_along_axis(ids_of_all, order, axis=1)


CUDA = r"""
// a block a row: k times the best that comes after the last one found, where equal numbers follow each other by their place:
// first those kept so far, then the scores
extern "C" __global__ void top_k(const T *scores, I start, const T *values, const I *ids, T *new_values, I *new_ids, I m, I k) {
    I i = blockIdx.x, last = -1;
    A least = -nothing();
    scores += i * m, values += i * k, ids += i * k, new_values += i * k, new_ids += i * k;
    for (I r = 0; r < k; r++) {
        A best = nothing();
        I place = k + m;
        for (I p = threadIdx.x; p < k + m; p += blockDim.x) {
            A v = p < k ? (A)values[p] : (A)scores[p - k];
            bool waits = v < least || (v == least && p > last);
            if (waits && (v > best || (v == best && p < place))) best = v, place = p;
        }
        block_best(best, place);
        bool found = place < k + m;                         // else only NaN is left
        if (threadIdx.x == 0) {
            new_values[r] = T(best);
            new_ids[r] = !found ? -1 : place < k ? ids[place] : start + place - k;
        }
        if (found) least = best, last = place;
    }
}

extern "C" __global__ void pair_scores(const double *q, const T *x, const I *ids, I apart, double *out, I pairs, I m, I d) {
    EACH(e, pairs) {
        const double *a = q + e / m * d;
        const T *b = x + ids[e] * d;
        double total = 0;
        for (I c = 0; c < d; c++) {
            double v = (double)(A)b[c];
            total += apart ? -(v - a[c]) * (v - a[c]) : v * a[c];
        }
        out[e] = total;
    }
}
"""


@cuda.form(CUDA, lambda scores, start, values, ids: cuda.served(scores, values) and cuda.ids(ids) and 0 < values.shape[1] <= 64)
def _top_k_cuda(run, scores, start, values, ids):           # a pass a neighbour: of many, a sort is faster
    (n, m), k = scores.shape, values.shape[1]
    new_values, new_ids = np.empty_like(values), np.empty_like(ids)
    run("top_k", n, cuda.threads_of(m + k), scores, start, values, ids, new_values, new_ids, m, k)
    values[...], ids[...] = new_values, new_ids


def _top_k_usable(scores, start, values, ids):
    return ready(scores, values) and ids.flags.c_contiguous and 0 < values.shape[1] <= 1024


@kernel(_plain_top_k, _top_k_usable, reorder=True, cuda=_top_k_cuda)
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


def _pairs_served(q, x, ids, apart, out):
    return cuda.served(x) and cuda.served(q, out) and q.dtype == np.float64 and cuda.ids(ids)


@cuda.form(CUDA, _pairs_served, like=1)
def _pairs_cuda(run, q, x, ids, apart, out):
    run("pair_scores", cuda.blocks_of(ids.size), cuda.THREADS, q, x, ids, apart, out, ids.size, ids.shape[1], x.shape[1])


@kernel(_plain_pairs, _pairs_usable, reorder=True, cuda=_pairs_cuda)
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
    q = q.astype(np.float64, order="C", copy=False)
    out = fresh(q, ids.shape)
    _pairs(q, x, ids, apart, out)
    return out


def _plain_close(scores, start, low, high, rows, cols, doubtful):
    count = xp_of(scores).arange
    i, j = np.nonzero((scores >= low) & (count(scores.shape[1]) > count(len(scores))[:, None]))
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
    rows, cols, doubtful = (xp_of(scores).empty(size, dtype) for dtype in (np.int64, np.int64, bool))
    count = _close(scores, start, low, high, rows, cols, doubtful)
    return rows[:count].copy(), cols[:count].copy(), doubtful[:count].copy()
