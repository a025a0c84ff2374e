"""Clusters without saying how many: Chinese Whispers on a graph of neighbours, DBSCAN by density."""
import numpy as np

from ..backend import to_host, xp_of
from ..kernels.top_k import close_pairs, pairs
from ..kernels.whispers import whisper
from .neighbours import inverse, knn_graph, rows_of, squares, whole

ROWS = 256              # of a block of DBSCAN's scores


def chinese_whispers(graph, seed=0, max_iter=100):
    """Labels (n,) int64 of a weighted graph's nodes, 0 for the largest cluster, -1 for a node alone. Biemann 2006.

    Every node begins as a class of its own. In passes over all nodes, in random order, each joins the class with the
    largest sum of weights among its neighbours; a node moves only where that is more than its own class has, so every
    move adds weight within the classes and the passes come to an end (or stop after max_iter).

    graph: scipy.sparse or array (n, n), its weights >= 0, larger for nearer (knn_graph of cosine). Where a_ij and a_ji
    differ, their sum counts. The same seed gives the same labels on every machine.

    >>> X = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.0, 0.8]])
    >>> chinese_whispers(knn_graph(X, 2))
    array([1, 1, 0, 0, 0])
    """
    return whispers(graph, seed, max_iter)[0]


def whispers(graph, seed=0, max_iter=100):
    """chinese_whispers with what an estimator shows: (labels, how many passes it took, nodes moved in the last one)."""
    graph = undirected(graph)
    n, max_iter = graph.shape[0], whole("max_iter", max_iter, 1)
    starts, neighbours = graph.indptr.astype(np.int64), graph.indices.astype(np.int64)
    rng, labels, awake = np.random.default_rng(seed), np.arange(n), np.ones(n, bool)
    passes, moved = 0, 1
    while moved and passes < max_iter:
        moved = whisper(starts, neighbours, graph.data, rng.permutation(n), rng.permutation(n), labels, awake)
        passes += 1
    return by_size(labels), passes, moved


def undirected(graph):
    """The graph as CSR in float64 with sorted columns, no edges to itself, and weights that are the same both ways."""
    from scipy.sparse import csr_matrix
    try:
        graph = csr_matrix(graph, dtype=np.float64, copy=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"graph: expected a matrix (n, n) of weights, scipy.sparse or an array ({error})") from None
    if graph.shape[0] != graph.shape[1]:
        raise ValueError(f"graph has shape {graph.shape}, expected (n, n): a weight for every pair of nodes")
    graph.sum_duplicates()
    bad = np.flatnonzero(~(graph.data >= 0) | (graph.data == np.inf))
    if bad.size:
        row = np.searchsorted(graph.indptr, bad[0], side="right") - 1
        raise ValueError(f"graph: the weight of {row} and {graph.indices[bad[0]]} is {graph.data[bad[0]]:g}, expected finite "
                         "weights >= 0; knn_graph(..., threshold=0) leaves out dissimilar pairs")
    graph.setdiag(0)
    graph.eliminate_zeros()
    back = graph.T.tocsr()
    same = np.array_equal(graph.indptr, back.indptr) and np.array_equal(graph.indices, back.indices)
    return graph if same and np.array_equal(graph.data, back.data) else csr_matrix(graph + back)


def by_size(names):
    """Names of classes -> 0 for the largest (of equals, the one met first), -1 for a class of one.

    >>> by_size(np.array([7, 3, 3, 5, 3, 7]))
    array([ 1,  0,  0, -1,  0,  1])
    """
    classes, first, place, sizes = np.unique(names, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    rank = np.empty(len(classes), np.int64)
    rank[order] = np.arange(len(classes))
    rank[sizes == 1] = -1
    return rank[place]


def dbscan(X, eps=0.5, min_samples=5, metric="euclidean"):
    """Labels (n,) int64 of the rows of X (n, d), -1 for noise. Ester, Kriegel, Sander & Xu 1996.

    A point with at least min_samples points within eps (distance <= eps, itself counted) is a core point. Core points
    within eps of each other are one cluster; other points within eps of a core point join its cluster (of several the
    first), what is left is noise. Numbered in the order of their first core points: scikit-learn's labels.

    metric: "euclidean", or "cosine" for the distance 1 - cos(x, y), where a zero row is at distance 1 from all others.

    >>> X = np.array([[0.0], [0.4], [0.8], [5.0], [5.1], [9.0]])
    >>> dbscan(X, eps=0.5, min_samples=2)
    array([ 0,  0,  0,  1,  1, -1])
    """
    return density(X, eps, min_samples, metric)[0]


def density(X, eps=0.5, min_samples=5, metric="euclidean"):
    """dbscan with what an estimator shows: (labels, indices of the core points)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    rows, cols = within(X, eps, metric)
    n, min_samples = len(X), whole("min_samples", min_samples, 1)
    core = np.bincount(rows, minlength=n) + np.bincount(cols, minlength=n) + 1 >= min_samples
    linked = core[rows] & core[cols]
    edges = coo_matrix((np.ones(linked.sum(), bool), (rows[linked], cols[linked])), shape=(n, n))
    component = connected_components(edges, directed=False)[1]
    cores = np.flatnonzero(core)
    _, first, place = np.unique(component[cores], return_index=True, return_inverse=True)
    labels = np.full(n, n)                          # above every cluster's number, while nobody has asked
    labels[cores] = np.argsort(np.argsort(first))[place]
    number = labels.copy()
    for inner, border in ((rows, cols), (cols, rows)):
        reached = core[inner] & ~core[border]
        np.minimum.at(labels, border[reached], number[inner[reached]])
    return np.where(labels == n, -1, labels), cores


def within(X, eps, metric):
    """(rows, cols): the pairs of rows i < j of X at a distance of at most eps. Products of blocks decide, differences in float64
    where it is close."""
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric: got {metric!r}, expected 'cosine' or 'euclidean'")
    if not 0 < eps < np.inf:
        raise ValueError(f"eps: got {eps!r}, expected a distance above 0")
    X = rows_of(X, "X")
    norms2 = squares(X, "X", 0)
    wide = X.astype(np.float64)
    if metric == "cosine":
        wide *= inverse(np.sqrt(norms2))[:, None]
        work, shift, least, unit = (X.dtype if X.dtype == np.float32 else np.dtype(np.float64)), None, 1 - eps, 1.0
    else:
        work, shift, least, unit = np.dtype(np.float64), norms2 / 2, -eps ** 2 / 2, 2 * float(norms2.max() if len(X) else 0)
    slack = np.finfo(work).eps * (X.shape[1] + 8) * unit
    narrow, found = wide.astype(work, copy=False), []
    for a in range(0, len(X), ROWS):
        scores = narrow[a:a + ROWS] @ narrow[a:].T                      # the upper half: each pair once
        if shift is not None:                                           # q.x - |q|^2/2 - |x|^2/2 = -|q - x|^2/2
            scores -= shift[a:]
            scores -= shift[a:a + ROWS, None]
        found.append(close_pairs(scores, a, float(least - slack), float(least + slack)))
    rows, cols, doubtful = (np.concatenate(part) for part in zip(*found)) if found else xp_of(X).empty((3, 0), np.int64)
    doubtful = np.flatnonzero(doubtful)
    exact = pairs(wide[rows[doubtful]], wide, cols[doubtful, None], metric == "euclidean")[:, 0]
    keep = np.ones_like(rows, bool)
    keep[doubtful] = 1 - exact <= eps if metric == "cosine" else -exact <= eps ** 2
    return to_host(rows[keep]), to_host(cols[keep])
