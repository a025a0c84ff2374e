"""The learner as a scikit-learn classifier, and its fields as scikit-learn's hashed columns.

    from linear.adapters.sklearn import FieldHasher, HingeClassifier
    make_pipeline(FieldHasher(crosses="user*tags"), HingeClassifier()).fit(dictionaries, labels)
"""
from functools import lru_cache

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from linear.features import CONSTANT, expand, fields_of, parse_crosses
from linear.formats import Example
from linear.hashing import murmur3, octets
from linear.keys import members_of
from linear.svm import HingeSVM


class HingeClassifier(ClassifierMixin, BaseEstimator):
    """Binary linear classifier trained one row at a time: `linear.HingeSVM` for matrices, dense or sparse.

    Parameters
    ----------
    rule : how weights change, one of `linear.rules.RULES`; C is the price of the loss in pa1 and pa2
    lr : learning rate, None for the rule's own
    fit_intercept : whether there is a bias
    max_iter : passes over the rows in `fit`, each in a new random order if `shuffle`, by `random_state`
    engine : "dict" adds up in float64 and is exact to the bit wherever it runs; "compiled" is made for long rows

    `fit` begins anew; `partial_fit` learns the rows once, in their order, and needs `classes` on its first call. Order
    matters to an online learner, so two rows are not quite one row of weight 2. +1 stands for `classes_[1]`. For more
    than two classes put it into `sklearn.multiclass.OneVsRestClassifier`.

    >>> X, y = [[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [2.0, 1.0]], ["tea", "rum", "tea", "rum"]
    >>> model = HingeClassifier(max_iter=20, random_state=0).fit(X, y)
    >>> model.predict([[0.0, 3.0], [3.0, 0.0]]), model.coef_.round(2), model.intercept_.round(2)
    (array(['tea', 'rum'], dtype='<U3'), array([[-1.06,  0.79]]), array([0.08]))
    """

    def __init__(self, rule="adagrad", lr=None, C=1.0, fit_intercept=True, max_iter=5, shuffle=True, random_state=None,
                 engine="dict"):
        self.rule, self.lr, self.C, self.fit_intercept = rule, lr, C, fit_intercept
        self.max_iter, self.shuffle, self.random_state, self.engine = max_iter, shuffle, random_state, engine

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X, y, sample_weight=None):
        """Learn all rows `max_iter` times, from the beginning."""
        if self.max_iter < 1:
            raise ValueError(f"max_iter={self.max_iter!r} is not 1 or more")
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=(np.float64, np.float32))
        self._begin(y, np.unique(y))
        random = check_random_state(self.random_state)
        rows = _Rows(X, self._labels(y), _check_sample_weight(sample_weight, X, ensure_non_negative=True))
        for _ in range(self.max_iter):
            self._learn(rows, random.permutation(len(y)) if self.shuffle else range(len(y)))
        self.n_iter_ = self.max_iter
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Learn these rows once, in their order, on top of what is known."""
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise ValueError("classes must be given on the first call of partial_fit: later rows may hold others than these")
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=(np.float64, np.float32), reset=first)
        if first:
            self._begin(y, np.unique(classes))
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes={classes!r} is not the same as on the first call, {self.classes_!r}")
        self._learn(_Rows(X, self._labels(y), _check_sample_weight(sample_weight, X, ensure_non_negative=True)), range(len(y)))
        self.n_iter_ = 1
        return self

    def decision_function(self, X):
        """The margin of every row, above 0 for `classes_[1]`."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        return np.asarray(X @ self.coef_[0]).ravel() + self.intercept_[0]

    def predict(self, X):
        """The class of every row."""
        margins = self.decision_function(X)
        return self.classes_[(margins > 0).astype(int)]

    @property
    def coef_(self):
        """The weights of the columns, of shape (1, columns)."""
        coef, weights = np.zeros((1, self.n_features_in_)), self.model_.weights
        for column in self.columns_:                       # asked by name, as the compiled engine keeps hashed keys only
            coef[0, column] = weights.get(str(column), 0.0)
        return coef

    @property
    def intercept_(self):
        """The bias, of shape (1,)."""
        return np.array([self.model_.weights.get(CONSTANT, 0.0)])

    def _begin(self, y, classes):
        check_classification_targets(y)
        if (kind := type_of_target(classes, input_name="y")) == "multiclass":
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        if len(classes) < 2:
            raise ValueError(f"the labels are of {len(classes)} class, expected 2: there is nothing to tell apart")
        self.classes_, self.columns_ = classes, set()      # the columns that have held a value so far
        self.model_ = HingeSVM(rule=self.rule, lr=self.lr, C=self.C, constant=bool(self.fit_intercept), engine=self.engine,
                               dtype="float64")

    def _labels(self, y):
        if strangers := sorted(set(np.unique(y).tolist()) - set(self.classes_.tolist()), key=repr):
            raise ValueError(f"label {strangers[0]!r} is not one of the classes {self.classes_.tolist()!r}")
        return np.where(y == self.classes_[1], 1, -1).tolist()

    def _learn(self, rows, order):
        self.columns_.update(rows.names)
        for number in order:
            self.model_.take(rows[number])


class _Rows:
    """The rows of a matrix as examples; a column's name is its number in decimal text."""

    def __init__(self, X, labels, weights):
        X = sparse.csr_array(X)
        self.labels, self.weights = labels, weights.tolist()
        self.starts, self.columns, self.values = X.indptr.tolist(), X.indices.tolist(), X.data.tolist()
        self.names = {column: str(column) for column in set(self.columns)}

    def __getitem__(self, number):
        start, end = self.starts[number], self.starts[number + 1]
        part = [(self.names[column], value) for column, value in zip(self.columns[start:end], self.values[start:end]) if value]
        return Example(self.labels[number], self.weights[number], 0.0, "", [("", part)])


class FieldHasher(TransformerMixin, BaseEstimator):
    """Dictionaries of fields to rows of 2^20 columns, at the indices of `sklearn.feature_extraction.FeatureHasher`.

    The column of a feature is abs(h) mod n_features, h the signed 32-bit murmur3 of the text `field=value` (of a number:
    `field`); its value is negated where h < 0, unless alternate_sign is False, so that colliding features cancel on average
    (Weinberger et al. 2009, arXiv:0902.2206). FeatureHasher knows strings and numbers; lists of names, objects of names to
    numbers, booleans and crosses are as in `linear.features`, and hashed by their text there.

    >>> row = FieldHasher(crosses="user*tags").transform([{"user": "u3", "tags": ["a"], "age": 2.5}])
    >>> row.indices.tolist(), row.data.tolist()
    ([172839, 349177, 388845, 427345], [1.0, 1.0, 1.0, 2.5])
    """

    def __init__(self, crosses="", n_features=2 ** 20, alternate_sign=True):
        self.crosses, self.n_features, self.alternate_sign = crosses, n_features, alternate_sign

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array, tags.input_tags.dict = False, True
        return tags

    def fit(self, X=None, y=None):
        """Only looks whether the options make sense: there is nothing to fit."""
        if not 1 <= self.n_features < 2 ** 31:
            raise ValueError(f"n_features={self.n_features!r} is not from 1 to 2^31 - 1")
        parse_crosses(self.crosses or ())
        return self

    def transform(self, X):
        """The rows of an iterable of dictionaries, as a sparse CSR matrix."""
        self.fit()
        crosses, starts, columns, values = parse_crosses(self.crosses or ()), [0], [], []
        for x in X:
            for text, value in expand(fields_of(x), crosses, constant=False):
                h = signed_hash(text)
                columns.append(abs(h) % self.n_features)
                values.append(-value if h < 0 and self.alternate_sign else value)
            starts.append(len(columns))
        rows = sparse.csr_array((np.array(values), np.array(columns, dtype=np.int32), np.array(starts, dtype=np.int32)),
                                shape=(len(starts) - 1, self.n_features))
        rows.sum_duplicates()
        return rows


@lru_cache(1 << 16)
def signed_hash(text):
    """The signed 32-bit murmur3 of a feature's text, without the backslashes in it unless it is a cross.

    >>> signed_hash("u3") % 2 ** 20, -signed_hash("h\\u00e9llo") % 2 ** 20
    (619065, 24472)
    """
    members = members_of(text)
    if len(members) == 1:
        field, name = members[0]
        text = f"{field}={name}" if field else name
    h = murmur3(octets(text))
    return h - (1 << 32) if h >> 31 else h
