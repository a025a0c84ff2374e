"""Neighbours and density clusters of arrays on the stand-in for CuPy: the host's answers. (fastText files stay on the host.)"""
import numpy as np
import pytest

from tinygrad_lite.vectors import dbscan, knn_graph
from tinygrad_lite.vectors.neighbours import Neighbours

RNG = np.random.default_rng(0)
POINTS = {"points": RNG.normal(size=(40, 5)), "equal rows": RNG.integers(0, 2, (40, 3)).astype(float), "one": np.ones((1, 3)),
          "zero rows": RNG.normal(size=(30, 4)) * (RNG.random((30, 1)) < 0.7), "none": np.ones((0, 3))}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("name", POINTS)
def test_the_nearest_are_the_same(name, metric, dtype, gpu):
    X = POINTS[name].astype(dtype)
    for k in (1, 7, 100):
        if len(X):
            ids, values = Neighbours(X, metric).query(X[:9], k)
            there, found = Neighbours(gpu.array(X), metric).query(gpu.array(X[:9]), k)
            assert isinstance(there, gpu.ndarray) and np.array_equal(gpu.host(there), ids)
            np.testing.assert_allclose(gpu.host(found), values, rtol=1e-6)
        for options in (dict(), dict(symmetric=True), dict(threshold=0.5)):
            expected, graph = knn_graph(X, k, metric, **options), knn_graph(gpu.array(X), k, metric, **options)
            assert (expected != graph).nnz == 0 or np.allclose(expected.toarray(), graph.toarray())
    if len(X):
        one = Neighbours(gpu.array(X), metric).query(gpu.array(X[0]), 1)[0]
        assert one.shape == (1,) and gpu.host(one) == Neighbours(X, metric).query(X[0], 1)[0]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("name", POINTS)
def test_the_clusters_are_the_same(name, metric, gpu):
    for X in (POINTS[name], POINTS[name].astype("f")):
        for eps in (0.1, 1.0):
            assert np.array_equal(dbscan(gpu.array(X), eps, 3, metric), dbscan(X, eps, 3, metric))


def test_a_mixture_is_refused(gpu):
    with pytest.raises(TypeError, match="cannot be mixed"):
        Neighbours(gpu.array(POINTS["points"])).query(POINTS["points"], 3)
