"""Clusters on a plane: two coordinates for every row, by principal components or by neighbourhood, and a picture of them."""
import numpy as np

from .neighbours import rows_of, whole


def pca(X, dims=2):
    """(n, dims): the rows of X along the directions in which they vary most. Pearson 1901.

    Each direction's sign is such that the point farthest along it is positive.

    >>> pca(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.1]]), dims=1).round(2).ravel()
    array([-1.44, -0.02,  1.46])
    """
    X, dims = rows_of(X, "X").astype(np.float64), whole("dims", dims, 1)
    centred = X - X.mean(axis=0) if len(X) else X
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(X), dims))
    points[:, :s.size] = (u * s)[:, :dims]
    far = np.abs(points).argmax(axis=0) if len(X) else np.empty(0, int)
    return points * np.sign(points[far, np.arange(far.size)]) if len(X) else points


def neighbour_layout(graph, start, seed=0, steps=200, push=5):
    """(n, 2) where neighbours of a graph (n, n) come to lie together, beginning at the points `start` (n, 2).

    Each step pulls every pair of neighbours together by w 2 d / (1 + d^2) and pushes everyone from `push` points drawn at
    random by 2 d / ((0.1 + d^2) (1 + d^2)), with a step length that falls to 0. The forces of LargeVis (Tang et al. 2016)
    and UMAP (McInnes et al. 2018). Near is near; far says little.

    >>> square = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])         # 0 - 1 and 2 - 3
    >>> p = neighbour_layout(square, np.array([[0.0, 0], [1, 1], [0, 1], [1, 0]]))
    >>> bool(abs(p[0] - p[1]).max() < 1 < np.hypot(*(p[0] - p[2])))
    True
    """
    from scipy.sparse import coo_matrix
    graph = coo_matrix(graph)
    n = graph.shape[0]
    if graph.shape != (n, n) or np.shape(start) != (n, 2):
        raise ValueError(f"got a graph of shape {graph.shape} and points of shape {np.shape(start)}, expected (n, n) and (n, 2)")
    rng, spread = np.random.default_rng(seed), np.abs(start).max(initial=0) or 1.0
    points = 10 * np.asarray(start, np.float64) / spread + 1e-3 * rng.normal(size=(n, 2))
    weights = graph.data / (graph.data.max(initial=0) or 1.0)
    degree = np.maximum(np.bincount(graph.row, minlength=n), 1)[:, None]
    everyone = np.repeat(np.arange(n), push)
    for step in range(steps):
        force = np.zeros((n, 2))
        for rows, cols, pull in ((graph.row, graph.col, True), (everyone, rng.integers(0, n, everyone.size), False)):
            apart = points[cols] - points[rows]
            far = (apart ** 2).sum(axis=1)
            size = 2 * weights / (1 + far) / degree[rows, 0] if pull else -2 / ((0.1 + far) * (1 + far)) / push
            for axis in (0, 1):
                force[:, axis] += np.bincount(rows, size * apart[:, axis], minlength=n)
        points += np.clip(force, -1, 1) * (1 - step / steps)
    return points


def plot_clusters(points, labels, names=None, ax=None, most=40):
    """Draw points (n, 2) in the colours of their clusters, noise in grey, and the names of the first `most`; returns the Axes."""
    import matplotlib.pyplot as plt
    ax = plt.figure(figsize=(9, 8)).add_subplot() if ax is None else ax
    points, labels = np.asarray(points), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels):
        raise ValueError(f"got points of shape {points.shape} and {len(labels)} labels, expected (n, 2) and n")
    size = float(np.clip(9000 / max(len(points), 1), 4, 40))
    noise = labels == -1
    ax.scatter(*points[noise].T, s=size / 2, c="0.75", linewidths=0, label=f"noise ({noise.sum()})" if noise.any() else None)
    colors = np.vstack([plt.get_cmap("tab20").colors, plt.get_cmap("tab20b").colors])
    ax.scatter(*points[~noise].T, s=size, c=colors[labels[~noise] % len(colors)], linewidths=0)
    for c in range(min(most, labels.max(initial=-1) + 1)):
        middle = np.median(points[labels == c], axis=0)
        ax.annotate(str(c) if names is None else names[c], middle, ha="center", va="center", fontsize=8, fontweight="bold",
                    bbox=dict(boxstyle="round,pad=0.15", facecolor="white", edgecolor="none", alpha=0.7))
    ax.set(xticks=[], yticks=[], title=f"{len(points):,} points in {labels.max(initial=-1) + 1} clusters, {noise.sum()} noise")
    if noise.any():
        ax.legend(loc="lower right", frameon=False)
    return ax
