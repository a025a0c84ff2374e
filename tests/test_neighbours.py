"""Neighbours against a naive search in float64: every metric, dtype and layout, ties, hard cases for rounding, bad input."""
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_lite as tg
from tinygrad_lite.vectors import neighbours
from tinygrad_lite.vectors.neighbours import METRICS, Neighbours, knn_graph


def naive(X, Q, k, metric):
    """(ids, values) by the definition: all scores in float64, in an order that equal rows share, sorted stably."""
    X, Q = np.asarray(X, np.float64), np.asarray(Q, np.float64)
    if metric == "euclidean":
        scores = -((Q[:, None] - X) ** 2).sum(axis=2)
    else:
        scores = (Q[:, None] * X).sum(axis=2)
    if metric == "cosine":
        lengths = np.sqrt((Q ** 2).sum(axis=1))[:, None] * np.sqrt((X ** 2).sum(axis=1))
        scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(scores, ids, axis=1)
    return ids, np.sqrt(np.abs(values)) if metric == "euclidean" else values


def agree(X, Q, k, metric):
    ids, values = Neighbours(X, metric).query(Q, k)
    expected_ids, expected = naive(X, Q, k, metric)
    assert ids.dtype == np.int64 and values.shape == ids.shape == expected_ids.shape
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)
    # another row than the naive search's only where the two are equal in float64, up to its last digits
    for i, j in zip(*np.nonzero(ids != expected_ids)):
        scores = naive(np.asarray(X)[[ids[i, j], expected_ids[i, j]]], Q[i:i + 1], 2, metric)[1][0]
        assert abs(scores[0] - scores[1]) <= 1e-12 * max(1, abs(scores[0])), (i, j, scores)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_it_finds_what_a_naive_search_finds(metric, dtype):
    rng = np.random.default_rng(0)
    for n, m, d, k in [(1, 1, 1, 1), (7, 3, 2, 3), (300, 40, 5, 12), (5, 2, 3, 9), (1500, 3, 17, 1200)]:
        X, Q = (rng.normal(size=(n, d)) * 9).astype(dtype), (rng.normal(size=(m, d)) * 9).astype(dtype)
        agree(X, Q, k, metric)
        values = Neighbours(X, metric).query(Q, k)[1]
        assert values.dtype == (np.float32 if dtype in (np.float16, np.float32) else np.float64)


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), d=st.integers(0, 4), k=st.integers(1, 70))
def test_ties_go_to_the_earlier_row(metric, seed, n, d, k):
    """Few different numbers, so many equal rows and equal scores: all is exact in float64, and the order is determined."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-1, 2, (n, d)).astype(np.float32)
    ids, values = Neighbours(X, metric).query(X, k)
    expected_ids, expected = naive(X, X, k, metric)
    np.testing.assert_allclose(values, expected, atol=1e-7)
    if metric != "cosine":                      # cosines of different rows may be equal but for their last digit
        np.testing.assert_array_equal(ids, expected_ids)
    for i in range(n):                          # equal rows stand in their order, beside each other
        found = [tuple(X[j]) for j in ids[i]]
        for row in set(found):
            same = [j for j in ids[i] if tuple(X[j]) == row]
            assert same == [j for j in range(n) if tuple(X[j]) == row][:len(same)]


@pytest.mark.parametrize("metric", METRICS)
def test_rounding_hides_nobody(metric):
    """Rows that float32 products cannot tell apart: far from the origin, or differing in their last digits."""
    rng = np.random.default_rng(1)
    X = (1 + 1e-6 * rng.normal(size=(400, 30))).astype(np.float32)
    agree(X, X[:50], 10, metric)
    agree(np.repeat(rng.normal(size=(3, 30)), 100, axis=0), rng.normal(size=(5, 30)), 10, metric)
    agree(1e8 + rng.normal(size=(100, 3)), 1e8 + rng.normal(size=(5, 3)), 4, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_float32_does_not_overflow(metric, scale):
    X = (np.random.default_rng(2).normal(size=(50, 4)) * scale).astype(np.float32)
    ids, values = Neighbours(X, metric).query(X[:5], 4)
    np.testing.assert_array_equal(ids, naive(X, X[:5], 4, metric)[0])
    assert np.isfinite(values).all() or metric == "dot"          # 1e50 is no float32


def test_blocks_do_not_show(monkeypatch):
    X = np.random.default_rng(3).normal(size=(333, 6)).astype(np.float32)
    whole = [Neighbours(X, metric).query(X, 7) for metric in METRICS]
    monkeypatch.setattr(neighbours, "QUESTIONS", 10)
    monkeypatch.setattr(neighbours, "SCORES", 170)
    for metric, (ids, values) in zip(METRICS, whole):
        found = Neighbours(X, metric).query(X, 7)
        np.testing.assert_array_equal(found[0], ids)
        np.testing.assert_array_equal(found[1], values)


def test_a_memory_map_and_other_layouts(tmp_path):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(200, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    raw = b"odd" + X.tobytes()
    unaligned = np.frombuffer(raw, np.uint8)[3:].view(np.float32).reshape(X.shape)
    assert not unaligned.flags.aligned
    expected = Neighbours(X).query(X[:9], 5)
    for other in (np.load(tmp_path / "x.npy", mmap_mode="r"), unaligned, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2],
                  X.astype(">f4"), X.tolist()):
        ids, values = Neighbours(other).query(other[:9], 5)
        np.testing.assert_array_equal(ids, expected[0])
        np.testing.assert_allclose(values, expected[1], rtol=1e-6)


def test_one_question_is_a_row_of_many():
    X = np.random.default_rng(5).normal(size=(100, 6))
    ids, values = Neighbours(X).query(X, 5)
    one = Neighbours(X).query(X[7], 5)
    np.testing.assert_array_equal(one[0], ids[7])
    np.testing.assert_array_equal(one[1], values[7])


def test_zero_rows():
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    ids, values = Neighbours(X).query(X, 4)
    np.testing.assert_array_equal(ids, [[0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 2, 3], [3, 0, 2, 1]])
    np.testing.assert_array_equal(values, [[0, 0, 0, 0], [1, 0, 0, -1], [0, 0, 0, 0], [1, 0, 0, -1]])


# --- graphs
@pytest.mark.parametrize("metric", METRICS)
def test_a_graph_holds_each_rows_neighbours(metric):
    X = np.random.default_rng(6).normal(size=(60, 4))
    graph = tg.vectors.knn_graph(X, 5, metric)
    assert graph.format == "csr" and graph.shape == (60, 60) and graph.diagonal().sum() == 0 and (np.diff(graph.indptr) == 5).all()
    for i in range(60):
        others = np.delete(np.arange(60), i)
        ids, values = naive(X[others], X[i:i + 1], 5, metric)
        np.testing.assert_array_equal(graph.indices[5 * i:5 * i + 5], others[ids[0]])
        np.testing.assert_allclose(graph.data[5 * i:5 * i + 5], values[0], rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_symmetric_graph_is_the_union(metric):
    X = np.random.default_rng(7).normal(size=(60, 4))
    one_way, both = knn_graph(X, 3, metric).toarray(), knn_graph(X, 3, metric, symmetric=True)
    expected = np.where(one_way != 0, one_way, one_way.T)
    np.testing.assert_array_equal(both.toarray(), expected)
    assert (both != both.T).nnz == 0 and both.has_sorted_indices


def test_distances_of_0_and_negative_products_stay_in_the_graph():
    twins = np.array([[1.0, 1.0], [1.0, 1.0], [-5.0, 0.0]])
    for symmetric in (False, True):
        assert knn_graph(twins, 1, "euclidean", symmetric).nnz == 3 + symmetric
        assert (knn_graph(twins, 2, "dot", symmetric).data < 0).sum() == 4


def test_a_threshold_leaves_out_the_far():
    X = np.random.default_rng(8).normal(size=(50, 3))
    for symmetric in (False, True):
        near, all_of_them = knn_graph(X, 9, "cosine", symmetric, threshold=0.8), knn_graph(X, 9, "cosine", symmetric)
        assert 0 < near.nnz < all_of_them.nnz and near.data.min() >= 0.8
        np.testing.assert_array_equal(near.toarray(), np.where(all_of_them.toarray() >= 0.8, all_of_them.toarray(), 0))
    assert 0 < knn_graph(X, 9, "euclidean", threshold=0.5).nnz and knn_graph(X, 9, "euclidean", threshold=0.5).data.max() <= 0.5


def test_a_graph_of_equal_rows_has_no_edge_to_itself():
    graph = knn_graph(np.ones((70, 3), np.float32), 4)
    assert (np.diff(graph.indptr) == 4).all() and graph.diagonal().sum() == 0
    assert graph.indices[:4].tolist() == [1, 2, 3, 4] and graph.indices[-4:].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("n, k, edges", [(0, 3, 0), (1, 3, 0), (2, 3, 2), (4, 99, 12)])
def test_small_graphs(n, k, edges):
    for metric in METRICS:
        for symmetric in (False, True):
            graph = knn_graph(np.random.default_rng(9).normal(size=(n, 2)), k, metric, symmetric)
            assert graph.shape == (n, n) and graph.nnz == edges


def test_no_rows_and_no_questions():
    ids, values = Neighbours(np.empty((0, 3))).query(np.ones((2, 3)), 4)
    assert ids.shape == values.shape == (2, 0)
    ids, values = Neighbours(np.ones((5, 3))).query(np.empty((0, 3)), 4)
    assert ids.shape == values.shape == (0, 4)


# --- bad input
def broken(value, row=3, dtype=np.float64):
    X = np.ones((6, 2), dtype)
    X[row, 1] = value
    return X


@pytest.mark.parametrize("call, error, message", [
    (lambda: Neighbours(broken(np.nan)), ValueError, "row 3 of X has NaN, infinite or too large numbers"),
    (lambda: Neighbours(broken(np.inf, 0, np.float32)), ValueError, "row 0 of X has NaN"),
    (lambda: Neighbours(broken(1e200)), ValueError, "row 3 of X .* too large"),
    (lambda: Neighbours(np.ones((6, 2))).query(broken(np.nan, 5), 2), ValueError, "row 5 of Q has NaN"),
    (lambda: Neighbours(np.ones((6, 2))).query([1.0, np.nan], 2), ValueError, "row 0 of Q has NaN"),
    (lambda: Neighbours(np.ones((6, 2))).query(np.ones((1, 3)), 2), ValueError, "Q has 3 columns, expected the 2 of X"),
    (lambda: Neighbours(np.ones((6, 2))).query(np.ones((1, 2)), 0), ValueError, "k: got 0, expected at least 1"),
    (lambda: Neighbours(np.ones((6, 2))).query(np.ones((1, 2)), 2.5), TypeError, "k: got 2.5, expected a whole number"),
    (lambda: Neighbours(np.ones(6)), ValueError, r"X has shape \(6,\), expected \(rows, columns\)"),
    (lambda: Neighbours(np.ones((2, 2, 2))), ValueError, "X has shape"),
    (lambda: Neighbours(np.ones((6, 2)), "manhattan"), ValueError, "metric: got 'manhattan', expected 'cosine', 'dot', 'euclidean'"),
    (lambda: Neighbours(np.array([["a", "b"]])), ValueError, "X is of <U1, expected real numbers"),
    (lambda: Neighbours(np.ones((2, 2), complex)), ValueError, "expected real numbers"),
    (lambda: knn_graph(np.ones((6, 2)), -1), ValueError, "k: got -1"),
    (lambda: knn_graph(broken(np.nan), 2), ValueError, "row 3 of X"),
])
def test_bad_input_is_named(call, error, message):
    with warnings.catch_warnings(), pytest.raises(error, match=message):
        warnings.simplefilter("error")
        call()
