"""The clusterings as estimators in scikit-learn's manner: they work in its pipelines and searches, and without it installed."""
import inspect

import numpy as np

from .clusters import density, whispers
from .neighbours import knn_graph, rows_of


class Clusterer:
    """What scikit-learn asks of an estimator: parameters by name, fit, fit_predict, labels_."""

    def get_params(self, deep=True):
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params):
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, Tags, TargetTags
        return Tags(estimator_type="clusterer", target_tags=TargetTags(required=False),
                    input_tags=InputTags(pairwise=self.metric == "precomputed", sparse=self.metric == "precomputed"))

    def fit_predict(self, X, y=None, **kwargs):
        return self.fit(X).labels_

    def _checked(self, X):
        """X as an array (n, d), its columns noted."""
        if hasattr(X, "tocsr"):
            raise TypeError(f"{type(self).__name__} got sparse X, expected an array; X.toarray() makes one")
        columns, X = getattr(X, "columns", None), rows_of(X, "X")
        if 0 in X.shape:
            raise ValueError(f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s) (shape={X.shape}) while a "
                             "minimum of 1 is required.")
        self.n_features_in_ = X.shape[1]
        if columns is not None and all(isinstance(c, str) for c in columns):
            self.feature_names_in_ = np.array(columns, object)
        return X


class ChineseWhispers(Clusterer):
    """chinese_whispers on the graph of each row's n_neighbors nearest. Biemann 2006.

    metric="precomputed" takes the graph itself in place of X. After fit: labels_ (n,), graph_, n_iter_ (passes), converged_.

    >>> X = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.0, 0.8]])
    >>> found = ChineseWhispers(n_neighbors=2).fit(X)
    >>> found.labels_, found.converged_
    (array([1, 1, 0, 0, 0]), True)
    """

    def __init__(self, n_neighbors=20, metric="cosine", threshold=0.0, random_state=0, max_iter=100):
        self.n_neighbors, self.metric, self.threshold = n_neighbors, metric, threshold
        self.random_state, self.max_iter = random_state, max_iter

    def fit(self, X, y=None):
        if self.metric == "precomputed":
            self.graph_, self.n_features_in_ = X, X.shape[1]
        elif self.metric in ("cosine", "dot"):
            self.graph_ = knn_graph(self._checked(X), self.n_neighbors, self.metric, True, self.threshold)
        else:
            raise ValueError(f"metric: got {self.metric!r}, expected 'cosine', 'dot' or 'precomputed': weights are similarities")
        self.labels_, self.n_iter_, moved = whispers(self.graph_, self.random_state, self.max_iter)
        self.converged_ = moved == 0
        return self


class DBSCAN(Clusterer):
    """dbscan of the rows of X. Ester, Kriegel, Sander & Xu 1996. After fit: labels_ (n,), core_sample_indices_, components_.

    >>> X = np.array([[0.0], [0.4], [0.8], [5.0], [5.1], [9.0]])
    >>> DBSCAN(eps=0.5, min_samples=2).fit_predict(X)
    array([ 0,  0,  0,  1,  1, -1])
    """

    def __init__(self, eps=0.5, min_samples=5, metric="euclidean"):
        self.eps, self.min_samples, self.metric = eps, min_samples, metric

    def fit(self, X, y=None):
        X = self._checked(X)
        self.labels_, self.core_sample_indices_ = density(X, self.eps, self.min_samples, self.metric)
        self.components_ = X[self.core_sample_indices_].copy()
        return self
