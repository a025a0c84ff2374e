"""Neighbours and clusters of 10,000 vectors in 64 dimensions, and the training of word vectors, beside scikit-learn,
chinese-whispers and fastText."""
import functools

import numpy as np

from .fasttext import folder, words
from .table import row, scaled

NEIGHBOURS, PASSES, EPS = 20, 20, 0.2


def points(size):
    """Fifty groups: what lies in one has a cosine of about 0.8."""
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(50, 64))
    n = scaled(10_000, size)
    return (middles[rng.integers(0, 50, n)] + 0.5 * rng.normal(size=(n, 64))).astype(np.float32)


def graph(size):
    from tinygrad_lite.vectors import knn_graph
    return knn_graph(points(size), NEIGHBOURS, symmetric=True, threshold=0)


@row(goal=5, torch=False)
def knn_10k(L, size):
    from tinygrad_lite.vectors import knn_graph
    X = points(size)
    return lambda: knn_graph(X, NEIGHBOURS)


@knn_10k.peer("scikit-learn", needs="sklearn")
def _(size):
    from sklearn.neighbors import kneighbors_graph
    X = points(size)
    return lambda: kneighbors_graph(X, min(NEIGHBOURS, len(X) - 1), mode="distance", metric="cosine")


@row(goal=200, torch=False)
def whispers_10k(L, size):
    from tinygrad_lite.vectors import chinese_whispers
    weights = graph(size)
    return lambda: chinese_whispers(weights, max_iter=PASSES)


@whispers_10k.peer("chinese-whispers", needs="chinese_whispers")
def _(size):
    from chinese_whispers import chinese_whispers
    from networkx import from_scipy_sparse_array
    nodes = from_scipy_sparse_array(graph(size))
    return lambda: chinese_whispers(nodes, weighting="top", iterations=PASSES, seed=0)


@row(goal=2, torch=False)
def dbscan_10k(L, size):
    from tinygrad_lite.vectors import dbscan
    X = points(size)
    return lambda: dbscan(X, EPS, 5, "cosine")


@dbscan_10k.peer("scikit-learn", needs="sklearn")
def _(size):
    from sklearn.cluster import DBSCAN
    X = points(size)
    return lambda: DBSCAN(eps=EPS, min_samples=5, metric="cosine").fit(X)


@functools.cache
def text(size):
    """The path of a text of 200,000 words, 1000 lines, frequent words first: the k-th of 5000 has a share like 1/k."""
    rng, names = np.random.default_rng(0), words(5000, 0)
    share = 1 / np.arange(1, 5001)
    path = folder() / f"{size}.txt"
    lines = rng.choice(names, (scaled(1000, size), 200), p=share / share.sum())
    path.write_text("\n".join(map(" ".join, lines)), encoding="ascii")
    return path


def training(L, size, model):
    from tinygrad_lite.vectors import train
    return lambda: train(text(size), folder() / "ours.bin", model, epochs=1, bucket=20_000)


def their_training(size, model):
    import fasttext
    return lambda: fasttext.train_unsupervised(str(text(size)), model, epoch=1, bucket=20_000, thread=1, verbose=0)


@row(goal=1, torch=False)
def skipgram_200k(L, size):
    return training(L, size, "skipgram")


@row(goal=1, torch=False)
def cbow_200k(L, size):
    return training(L, size, "cbow")


skipgram_200k.peer("fastText", needs="fasttext")(lambda size: their_training(size, "skipgram"))
cbow_200k.peer("fastText", needs="fasttext")(lambda size: their_training(size, "cbow"))
