"""How good clusters are, where the true classes are known; and who stands for each."""
import numpy as np

from .neighbours import Neighbours, inverse, whole


def counts(labels, truth):
    """(clusters, classes): how many of each cluster are of each class, both sorted; -1 is a label like the others."""
    labels, truth = np.asarray(labels), np.asarray(truth)
    if labels.shape != truth.shape or labels.ndim != 1:
        raise ValueError(f"got labels of shape {labels.shape} and classes of shape {truth.shape}, expected two of shape (n,)")
    (a, i), (b, j) = np.unique(labels, return_inverse=True), np.unique(truth, return_inverse=True)
    return np.bincount(i * len(b) + j, minlength=len(a) * len(b)).reshape(len(a), len(b))


def purity(labels, truth):
    """The share of the clustered (label not -1) that are of the commonest class of their cluster. nan if nobody is clustered.

    Many small clusters make it high: look at their number too, or at nmi.

    >>> purity(np.array([0, 0, 0, 1, 1, -1]), np.array([7, 7, 8, 8, 8, 9]))
    0.8
    """
    table = counts(labels, truth)[-1 in np.asarray(labels):]        # sorted: noise is the first row
    return float(table.max(axis=1).sum() / table.sum()) if table.size else float("nan")


def nmi(labels, truth):
    """Normalised mutual information, 2 I(labels; truth) / (H(labels) + H(truth)): 1 for the same partition, 0 for independence.

    Noise (-1) counts as a cluster of its own. Strehl & Ghosh 2002, with the arithmetic mean as in scikit-learn.

    >>> round(nmi(np.array([0, 0, 1, 1]), np.array([5, 5, 4, 4])), 4), round(nmi(np.array([0, 1, 0, 1]), np.array([5, 5, 4, 4])), 4)
    (1.0, 0.0)
    """
    p = counts(labels, truth)
    p = p / max(p.sum(), 1)

    def entropy(q):
        q = q[q > 0]
        return -(q * np.log(q)).sum()
    one, other = entropy(p.sum(axis=1)), entropy(p.sum(axis=0))
    return float(2 * (one + other - entropy(p)) / (one + other)) if one + other > 0 else 1.0


def exemplars(X, labels, k=5, metric="cosine"):
    """For each cluster 0, 1, ... the rows (indices) of its k members nearest to its mean, nearest first.

    With cosine the mean is that of the directions. Noise has no exemplars.

    >>> X = np.array([[1.0, 0.0], [1.0, 0.3], [0.9, 0.6], [0.0, 2.0]])
    >>> exemplars(X, np.array([0, 0, 0, -1]), k=2)
    [array([1, 0])]
    """
    X, labels, k = np.asarray(X), np.asarray(labels), whole("k", k, 1)
    if len(X) != len(labels):
        raise ValueError(f"got {len(X)} rows and {len(labels)} labels, expected one for each row")
    found = []
    for c in range(labels.max(initial=-1) + 1):
        members = np.flatnonzero(labels == c)
        search = Neighbours(X[members], metric)
        weights = inverse(search.norms) if metric == "cosine" else np.ones(len(members))
        found.append(members[search.query(weights @ X[members] / max(len(members), 1), k)[0]])
    return found


def cluster_names(names, X, labels, k=3, metric="cosine"):
    """A name for each cluster: its k exemplars' own, "june, july, august".

    >>> X = np.array([[1.0, 0.0], [1.0, 0.3], [0.9, 0.6], [0.0, 2.0], [0.0, 1.0]])
    >>> cluster_names(["april", "may", "june", "rum", "tea"], X, np.array([0, 0, 0, 1, 1]), k=2)
    ['may, april', 'rum, tea']
    """
    return [", ".join(str(names[i]) for i in rows) for rows in exemplars(X, labels, k, metric)]
