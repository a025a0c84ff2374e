"""Nearest neighbours among the rows of an array or memory map: exact, by blocks.

A matrix product scores a block of rows for a block of questions, a kernel keeps the best, and those are scored once more
in float64. Where rounding could have hidden a better one (many equal rows, say), all rows are scored in float64.
"""
import operator

import numpy as np

from ..backend import on_gpu, to_host, xp_of
from ..kernels.top_k import pairs, top_k

METRICS = ("cosine", "dot", "euclidean")
QUESTIONS, SCORES, NUMBERS = 256, 2 ** 18, 2 ** 22      # of a block: its questions, its scores, the numbers of its rows
ON_GPU = 16             # times as many questions, and rows: there a launch costs as much as millions of scores
SPARE = 8               # kept beyond k: the gap to them shows whether rounding may have mixed up the k


class Neighbours:
    """The k rows of X (n, d) nearest to a question, by cosine or dot product (largest first) or euclidean distance.

    X may be a memory map of any size: it is read by blocks, twice for each call, once here. A zero row has cosine 0 to
    everything. Of equal rows the earlier comes first. float16 and float32 answer in float32, all else in float64.

    query(Q, k): Q (m, d) or (d,) -> (ids, values), both (m, k) or (k,), with k at most n. Rows that are not finite raise
    ValueError, X's here and Q's there.

    >>> X = np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    >>> ids, values = Neighbours(X).query([3.0, 0.0], k=2)
    >>> ids, values.round(4)
    (array([0, 1]), array([1.    , 0.8944]))
    >>> Neighbours(X, "euclidean").query(X[:1], k=3)
    (array([[0, 1, 2]]), array([[0.        , 1.41421356, 3.16227766]]))
    """

    def __init__(self, X, metric="cosine"):
        if metric not in METRICS:
            raise ValueError(f"metric: got {metric!r}, expected {', '.join(map(repr, METRICS))}")
        self.metric, self.X = metric, rows_of(X, "X")
        n, d = self.X.shape
        self.dtype = np.dtype(np.float32 if self.X.dtype in (np.float16, np.float32) else np.float64)
        self.norms = xp_of(self.X).empty(n)
        for a, b, rows in self._blocks():
            self.norms[a:b] = np.sqrt(squares(rows, "X", a))
        used = self.norms[self.norms > 0]
        # distances need more digits than float32's products leave, and very large or small numbers its exponents
        shortest, self.longest = (float(used.min()), float(used.max())) if used.size else (1.0, 0.0)
        narrow = self.dtype == np.float32 and metric != "euclidean" and shortest > 1e-15 and self.longest < 1e15
        self.work = np.dtype(np.float32 if narrow else np.float64)

    def query(self, Q, k=10):
        single, k, (n, d) = np.ndim(Q) == 1, whole("k", k, 1), self.X.shape
        Q = rows_of((Q if on_gpu(Q) else np.asarray(Q))[None] if single else Q, "Q")
        xp = xp_of(self.X, Q)
        if Q.shape[1] != d:
            raise ValueError(f"Q has {Q.shape[1]} columns, expected the {d} of X")
        k, lengths = min(k, n), np.sqrt(squares(Q, "Q", 0))
        if k == 0:
            ids, scores = xp.empty((len(Q), 0), np.int64), xp.empty((len(Q), 0))
        else:
            screened, ids = self._best(Q, lengths, min(k + SPARE, n), self._screened)
            scores = self._exact(Q, lengths, self.X, self.norms, ids)
            order = ids.argsort(axis=1)         # of equal scores the earlier row first
            falling = (-np.take_along_axis(scores, order, axis=1)).argsort(axis=1, kind="stable")[:, :k]
            order = np.take_along_axis(order, falling, axis=1)
            ids, scores = np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)
            if k + SPARE < n:           # may one that was not kept be as near as the k-th?
                last = (lengths ** 2 + scores[:, -1]) / 2 if self.metric == "euclidean" else scores[:, -1]
                doubtful = np.flatnonzero(screened[:, -1] + self._rounding(lengths) >= last)
                if doubtful.size:
                    scores[doubtful], ids[doubtful] = self._best(Q[doubtful], lengths[doubtful], k, self._exact)
        values = np.sqrt(np.abs(scores)) if self.metric == "euclidean" else scores
        if self.metric == "cosine":
            values = np.clip(values, -1, 1)
        with np.errstate(over="ignore"):                # a product that float32 cannot hold is inf
            values = values.astype(self.dtype)
        return (ids[0], values[0]) if single else (ids, values)

    def _best(self, Q, lengths, k, score):
        """(values, ids) (m, k) of the best by `score`, falling."""
        dtype = self.work if score == self._screened else np.dtype(np.float64)
        gpu = on_gpu(self.X)
        values, ids = xp_of(Q).full((len(Q), k), -np.inf, dtype), xp_of(Q).full((len(Q), k), -1)
        step = QUESTIONS * ON_GPU if gpu else QUESTIONS
        for a, b, rows in self._blocks(min(len(Q), step)):
            own = dtype if score == self._screened else rows.dtype
            rows = rows.astype(own, order="C", copy=False) if gpu else np.require(rows, own, ["C", "A"])
            for i in range(0, len(Q), step):
                part = slice(i, i + step)
                top_k(score(Q[part], lengths[part], rows, self.norms[a:b]), a, values[part], ids[part])
        return values, ids

    def _screened(self, Q, lengths, rows, norms):
        """Scores that order as the exact ones do, but for rounding. Euclidean: q.x - |x|^2/2 = (|q|^2 - |q - x|^2) / 2."""
        if self.metric == "cosine":
            Q = Q * inverse(lengths)[:, None]
        scores = Q.astype(self.work, copy=False) @ rows.T
        if self.metric == "cosine":
            scores *= inverse(norms).astype(self.work)
        elif self.metric == "euclidean":
            scores -= norms ** 2 / 2
        return scores

    def _exact(self, Q, lengths, rows, norms, ids=None):
        """Scores of the given ids, or of all the rows."""
        ids = np.tile(xp_of(Q).arange(len(rows)), (len(Q), 1)) if ids is None else ids
        scores = pairs(Q, rows, ids, self.metric == "euclidean")
        return scores * inverse(lengths[:, None] * norms[ids]) if self.metric == "cosine" else scores

    def _rounding(self, lengths):
        """How far a screened score may be from the exact one: the classical bound of a sum of d products."""
        unit = np.finfo(self.work).eps * (self.X.shape[1] + 8)
        if self.metric == "euclidean":
            return unit * (lengths + self.longest) ** 2
        return unit * (1 if self.metric == "cosine" else lengths * self.longest)

    def _blocks(self, questions=1):
        """(a, b, X[a:b]): so many rows that their scores for so many questions stay in the cache."""
        n, d = self.X.shape
        scores = SCORES * ON_GPU ** 2 if on_gpu(self.X) else SCORES
        step = max(1, min(scores // max(questions, 1), NUMBERS // max(d, 1)))
        for a in range(0, n, step):
            yield a, min(a + step, n), self.X[a:a + step]


def knn_graph(X, k, metric="cosine", symmetric=False, threshold=None):
    """The k nearest neighbours of every row of X (n, d): a scipy.sparse CSR matrix (n, n), row i's own, nearest first.

    Its data are similarities (cosine, dot) or distances (euclidean); a row is not its own neighbour; k above n-1 gives n-1.
    X may be on the GPU; the graph is on the host.
    symmetric=True keeps a pair if either is among the other's k. `threshold` leaves out similarities below it, or
    distances above it.

    >>> X = np.array([[0.0], [1.0], [3.0]])
    >>> knn_graph(X, 1, "euclidean").toarray()
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 2., 0.]])
    >>> knn_graph(X, 1, "euclidean", symmetric=True)[1].toarray()
    array([[1., 0., 2.]])
    """
    from scipy.sparse import csr_matrix
    k = whole("k", k, 1)
    search = Neighbours(X, metric)
    n = len(search.X)
    k = max(0, min(k, n - 1))
    rows = np.repeat(np.arange(n), k)
    if k:
        ids, values = map(to_host, search.query(search.X, k + 1))
        other = ids != np.arange(n)[:, None]
        other[other.all(axis=1), -1] = False            # among many equal rows it did not find itself: leave out the last
        cols, values = ids[other], values[other]
    else:
        cols, values = np.empty(0, np.int64), np.empty(0, search.dtype)
    if threshold is not None:
        near = values <= threshold if metric == "euclidean" else values >= threshold
        rows, cols, values = rows[near], cols[near], values[near]
    if symmetric:
        rows, cols, values = np.concatenate([rows, cols]), np.concatenate([cols, rows]), np.concatenate([values, values])
        _, once = np.unique(rows * n + cols, return_index=True)
        rows, cols, values = rows[once], cols[once], values[once]
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
    return csr_matrix((values, cols, starts), shape=(n, n))


def rows_of(X, name):
    """X as a plain array (n, d) of real numbers, or a sentence why not. Memory maps are not read."""
    X = X if on_gpu(X) else np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"{name} has shape {X.shape}, expected (rows, columns); X.reshape(1, -1) makes one row of a vector")
    if X.dtype == object:
        X = X.astype(np.float64)
    if X.dtype.kind not in "fiub":
        raise ValueError(f"{name} is of {X.dtype}, expected real numbers" + " (Complex data not supported)" * (X.dtype.kind == "c"))
    return X


def squares(rows, name, start):
    """(n,) float64: |x|^2 of every row, which must be finite."""
    rows = rows if rows.dtype == np.float32 else rows.astype(np.float64)
    result = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(result))
    if bad.size:
        raise ValueError(f"row {start + bad[0]} of {name} has NaN, infinite or too large numbers")
    return result


def whole(name, value, least):
    """A whole number >= least, of any integer type, or a sentence that says which one is not."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {value!r}, expected a whole number") from None
    if value < least:
        raise ValueError(f"{name}: got {value}, expected at least {least}")
    return value


def inverse(norms):
    """1 / norms, and 0 for a norm of 0."""
    return 1 / np.where(norms > 0, norms, np.inf)
