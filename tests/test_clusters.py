"""Clusters: Chinese Whispers against its definition in plain Python, DBSCAN against scikit-learn's and its definition, the estimators
against scikit-learn's own conformance suite, bad input."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import sparse
from sklearn import cluster, metrics
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

import tinygrad_lite as tg
from tinygrad_lite.kernels.whispers import whisper
from tinygrad_lite.vectors import DBSCAN, ChineseWhispers, chinese_whispers, dbscan, knn_graph
from tinygrad_lite.vectors.clusters import by_size, density, whispers

ROOT = Path(__file__).parents[1]


def blobs(rng, n=200, d=5, k=4, spread=0.3):
    names = rng.integers(0, k, n)
    return rng.normal(size=(k, d))[names] + spread * rng.normal(size=(n, d)), names


def random_graph(rng, n, most=4.0):
    weights = rng.integers(0, most + 1, (n, n)) * (rng.random((n, n)) < 0.3)        # whole numbers: ties, and exact sums
    weights = np.triu(weights, 1)
    return (weights + weights.T).astype(float)


def same_parts(a, b):
    """True if two labellings group the same nodes, whatever the groups' names; noise is noise in both."""
    return ((a == -1) == (b == -1)).all() and (((a[:, None] == a) == (b[:, None] == b)) | (a == -1)).all()


# --- Chinese Whispers
def by_definition(weights, seed, max_iter):
    """Biemann's loop with dictionaries: nodes in random order, the strongest class around, its own if that is as strong."""
    n, rng = len(weights), np.random.default_rng(seed)
    labels = list(range(n))
    for _ in range(max_iter):
        order, luck, moved = rng.permutation(n), rng.permutation(n), False
        for i in order:
            mass = {}
            for j in range(n):
                if weights[i, j]:
                    mass[labels[j]] = mass.get(labels[j], 0) + weights[i, j]
            if mass and max(mass.values()) > mass.get(labels[i], 0):
                labels[i] = min((c for c in mass if mass[c] == max(mass.values())), key=lambda c: luck[c])
                moved = True
        if not moved:
            break
    return np.array(labels)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), max_iter=st.integers(1, 9))
def test_whispers_are_the_definition(seed, n, max_iter):
    weights = random_graph(np.random.default_rng(seed), n)
    labels = chinese_whispers(weights, seed, max_iter)
    expected = by_size(by_definition(weights, seed, max_iter))
    assert labels.dtype == np.int64 and labels.tolist() == expected.tolist()


@given(seed=st.integers(0, 10**6), n=st.integers(2, 40))
def test_every_move_adds_weight_inside_the_classes(seed, n):
    rng = np.random.default_rng(seed)
    weights = random_graph(rng, n)
    graph = sparse.csr_matrix(weights)
    labels, awake, inside = np.arange(n), np.ones(n, bool), 0.0
    while True:
        moved = whisper(graph.indptr.astype(np.int64), graph.indices.astype(np.int64), graph.data, rng.permutation(n), rng.permutation(n),
                        labels, awake)
        now = weights[labels[:, None] == labels].sum()
        assert now > inside if moved else now == inside
        inside = now
        if not moved:
            break


def test_it_ends_where_nobody_wants_to_move():
    X, _ = blobs(np.random.default_rng(0))
    graph = knn_graph(X, 10, symmetric=True, threshold=0)
    labels, passes, moved = whispers(graph, 0, 100)
    assert moved == 0 and 1 < passes < 20
    weights = graph.toarray()
    for i in range(len(X)):
        mass = np.bincount(labels, weights[i])
        assert mass[labels[i]] == pytest.approx(mass.max(), rel=1e-12)
    assert whispers(graph, 0, 1)[1:] == (1, len(X)) or whispers(graph, 0, 1)[2] > 0


def test_it_finds_the_groups_and_their_number():
    X, names = blobs(np.random.default_rng(1), n=600, d=10, k=6, spread=0.2)
    labels = chinese_whispers(knn_graph(X, 20))
    assert metrics.adjusted_rand_score(names, labels) > 0.99 and labels.max() == 5
    sizes = np.bincount(labels)
    assert (np.diff(sizes) <= 0).all()                  # the largest is 0


def test_a_node_alone_is_noise_and_so_is_a_class_of_one():
    weights = np.zeros((5, 5))
    weights[0, 1] = weights[1, 0] = 1.0
    assert chinese_whispers(weights).tolist() == [0, 0, -1, -1, -1]
    assert chinese_whispers(np.zeros((3, 3))).tolist() == [-1] * 3
    assert chinese_whispers(np.eye(3)).tolist() == [-1] * 3                  # an edge to itself is no neighbour
    assert chinese_whispers(sparse.csr_matrix((0, 0))).shape == (0,)
    assert by_size(np.array([7, 7, 9])).tolist() == [0, 0, -1]


def test_the_same_seed_gives_the_same_labels():
    rng = np.random.default_rng(2)
    graph = sparse.random(300, 300, 0.008, random_state=3, format="csr")
    a, b = [chinese_whispers(graph, seed=5) for _ in range(2)]
    assert (a == b).all() and not (a == chinese_whispers(graph, seed=6)).all()
    shuffled = sparse.coo_matrix(graph)
    order = rng.permutation(shuffled.nnz)               # stored in another order, in pieces: the same graph
    halves = [np.concatenate([v[order]] * 2) for v in (shuffled.row, shuffled.col, shuffled.data / 2)]
    assert (chinese_whispers(sparse.coo_matrix((halves[2], halves[:2]), shape=graph.shape), seed=5) == a).all()
    assert (chinese_whispers(graph.toarray(), seed=5) == a).all()
    assert (chinese_whispers(graph + graph.T, seed=5) == a).all()            # weights both ways add up
    assert np.array_equal(graph.toarray(), sparse.random(300, 300, 0.008, random_state=3).toarray())         # and its own is untouched


def test_labels_of_another_process_and_of_the_plain_form():
    script = ("import numpy as np, tinygrad_lite as tg; X = np.random.default_rng(0).normal(size=(120, 3));"
              "print(tg.vectors.chinese_whispers(tg.vectors.knn_graph(X, 5, threshold=0), seed=1).tolist())")
    printed = [subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": h,
                                                                   "TINYGRAD_LITE_KERNELS": kind}, capture_output=True, text=True).stdout
               for h, kind in (("1", "numba"), ("2", "numpy"))]
    assert printed[0] == printed[1] and printed[0].startswith("[")


@pytest.mark.parametrize("graph, message", [
    (np.zeros((2, 3)), r"graph has shape \(2, 3\), expected \(n, n\)"),
    (np.array([[0, -1.0], [-1.0, 0]]), r"the weight of 0 and 1 is -1, expected finite weights >= 0; knn_graph\(..., threshold=0\)"),
    (np.array([[0, 0.0], [np.nan, 0]]), "the weight of 1 and 0 is nan"),
    (np.array([[0, np.inf], [0, 0]]), "the weight of 0 and 1 is inf"),
    ("graph", "graph: expected a matrix"), ([["a", "b"], ["c", "d"]], "graph: expected a matrix")])
def test_bad_graphs_are_named(graph, message):
    with pytest.raises(ValueError, match=message):
        chinese_whispers(graph)


def test_bad_counts_are_named():
    with pytest.raises(ValueError, match="max_iter: got 0, expected at least 1"):
        chinese_whispers(np.zeros((2, 2)), max_iter=0)
    with pytest.raises(TypeError, match="max_iter: got 1.5, expected a whole number"):
        chinese_whispers(np.zeros((2, 2)), max_iter=1.5)


# --- DBSCAN
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dbscan_gives_scikit_learns_labels(metric, dtype):
    rng = np.random.default_rng(3)
    kinds = set()
    for n, d, spread in [(1, 2, 1), (60, 2, 0.3), (400, 3, 0.3), (700, 8, 0.4)]:
        X = blobs(rng, n, d, 4, spread)[0].astype(dtype)
        for eps in (0.003, 0.03, 0.1, 0.3, 0.9, 3):
            for min_samples in (1, 3, 10):
                ours = density(X, eps, min_samples, metric)
                theirs = cluster.DBSCAN(eps=eps, min_samples=min_samples, metric=metric).fit(X)
                np.testing.assert_array_equal(ours[0], theirs.labels_)      # the numbering too
                np.testing.assert_array_equal(ours[1], theirs.core_sample_indices_)
                kinds.add((theirs.labels_.max() > 0, (theirs.labels_ == -1).any(), len(theirs.core_sample_indices_) < n))
    assert len(kinds) >= 5                      # several clusters or one, with noise and without, with border points and without


@given(seed=st.integers(0, 10**6), n=st.integers(1, 50), eps=st.sampled_from([1, 1.5, 2.0]), min_samples=st.integers(1, 6))
def test_points_on_a_grid_at_exactly_eps(seed, n, eps, min_samples):
    X = np.random.default_rng(seed).integers(0, 8, (n, 2)).astype(float)
    theirs = cluster.DBSCAN(eps=eps, min_samples=min_samples).fit_predict(X)
    assert dbscan(X, eps, min_samples).tolist() == theirs.tolist()
    assert dbscan(X.astype(int), eps, min_samples).tolist() == theirs.tolist()


def test_dbscan_where_float32_cannot_tell():
    """Distances far below what products of these numbers can show; the labels must be those of exact distances."""
    rng = np.random.default_rng(4)
    X = 1000 + blobs(rng, 300, 2, 4, 0.1)[0] * 1e-3
    distances = np.sqrt(((X[:, None] - X) ** 2).sum(axis=2))
    expected = cluster.DBSCAN(eps=5e-5, min_samples=4, metric="precomputed").fit_predict(distances)
    assert 1 < expected.max() and same_parts(dbscan(X, 5e-5, 4), expected)
    near = np.ones((60, 3), np.float32)
    near[:30, 0] += np.float32(1e-4)            # cosine distances of about 1e-9
    assert same_parts(dbscan(near, 1e-10, 5, "cosine"), np.repeat([0, 1], 30))


def test_a_border_point_joins_the_first_cluster_that_reaches_it():
    X = np.array([[0.0], [0.1], [0.2], [1.0], [1.8], [1.9], [2.0]])
    assert dbscan(X, 0.8, 4).tolist() == cluster.DBSCAN(eps=0.8, min_samples=4).fit_predict(X).tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_dbscan_of_nothing_of_twins_and_of_zeros():
    assert dbscan(np.empty((0, 3)), 0.5).tolist() == []
    assert dbscan(np.ones((6, 3)), 0.5).tolist() == [0] * 6
    assert dbscan(np.ones((4, 3)), 0.5, 5).tolist() == [-1] * 4
    assert dbscan(np.zeros((6, 2)), 0.5, 5, "cosine").tolist() == [-1] * 6   # a zero row is at distance 1 from all others
    assert dbscan(np.zeros((6, 2)), 1, 5, "cosine").tolist() == [0] * 6


@pytest.mark.parametrize("call, error, message", [
    (lambda: dbscan(np.ones((3, 2)), 0), ValueError, "eps: got 0, expected a distance above 0"),
    (lambda: dbscan(np.ones((3, 2)), np.nan), ValueError, "eps: got nan"),
    (lambda: dbscan(np.ones((3, 2)), 0.5, 0), ValueError, "min_samples: got 0, expected at least 1"),
    (lambda: dbscan(np.ones((3, 2)), 0.5, metric="dot"), ValueError, "metric: got 'dot', expected 'cosine' or 'euclidean'"),
    (lambda: dbscan(np.array([[1.0], [np.nan]]), 0.5), ValueError, "row 1 of X has NaN"),
    (lambda: dbscan(np.ones(3), 0.5), ValueError, r"X has shape \(3,\)"),
    (lambda: ChineseWhispers(metric="euclidean").fit(np.ones((3, 2))), ValueError, "metric: got 'euclidean', .* weights are similarities"),
    (lambda: ChineseWhispers().fit(sparse.csr_matrix((3, 2))), TypeError, "ChineseWhispers got sparse X"),
    (lambda: DBSCAN().set_params(epsilon=2), ValueError, "DBSCAN has no parameter 'epsilon'; it has eps, min_samples, metric"),
])
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- estimators
@pytest.mark.parametrize("estimator", [ChineseWhispers(n_neighbors=5), DBSCAN(), DBSCAN(eps=0.1, metric="cosine")], ids=repr)
@pytest.mark.filterwarnings("ignore:Estimator .* does not inherit from `sklearn.base.BaseEstimator`")       # by design: works without it
def test_scikit_learns_own_suite(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert failed == [] and sum(r["status"] == "passed" for r in results) > 35


def test_estimators_are_the_functions():
    X, _ = blobs(np.random.default_rng(5), d=3)
    graph = knn_graph(X, 7, symmetric=True, threshold=0.0)
    found = ChineseWhispers(7, random_state=3).fit(X)
    assert (found.labels_ == chinese_whispers(graph, 3)).all() and found.converged_ and found.n_iter_ > 1
    assert (ChineseWhispers(metric="precomputed", random_state=3).fit_predict(graph) == found.labels_).all()
    assert (DBSCAN(0.4, 4).fit_predict(X) == dbscan(X, 0.4, 4)).all()
    core = DBSCAN(0.4, 4).fit(X)
    np.testing.assert_array_equal(core.components_, X[core.core_sample_indices_])


def test_estimators_are_cloned_and_set():
    a = ChineseWhispers(n_neighbors=4, max_iter=7)
    assert repr(clone(a)) == repr(a) == "ChineseWhispers(n_neighbors=4, metric='cosine', threshold=0.0, random_state=0, max_iter=7)"
    assert clone(a).set_params(max_iter=9).get_params()["max_iter"] == 9


def test_estimators_work_without_scikit_learn():
    script = ("import sys; sys.modules['sklearn'] = None; import numpy as np; from tinygrad_lite.vectors import DBSCAN;"
              "print(DBSCAN(eps=1, min_samples=1).fit_predict(np.array([[0.0], [0.5], [9.0]])))")
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout == "[0 0 1]\n", done.stderr


def test_the_contracts_names():
    assert tg.vectors.chinese_whispers is chinese_whispers and tg.vectors.dbscan is dbscan and tg.vectors.knn_graph is knn_graph
