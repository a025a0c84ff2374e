"""The adapters hold what their libraries ask: river.checks and scikit-learn's check_estimator, one test a check."""
import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

river = pytest.importorskip("river", reason="river is not installed; `python -m pip install river`")
sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed; `python -m pip install scikit-learn`")
from river import checks, compose, datasets, evaluate, feature_extraction, metrics, preprocessing
from scipy import sparse
from sklearn.datasets import load_breast_cancer
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import linear
from linear.adapters.river import HingeClassifier as RiverHinge
from linear.adapters.sklearn import FieldHasher, HingeClassifier, signed_hash
from linear.features import FeatureError

RIVER_MODELS = {"plain": RiverHinge(), "calibrated": RiverHinge(rule="pa1", calibrate=True),
                "compiled": RiverHinge(engine="compiled")}


def river_checks():
    for name, model in RIVER_MODELS.items():
        for number, check in enumerate(checks.yield_checks(model)):
            yield pytest.param(model, check, id=f"{name}-{number}-{check.__name__}")


@pytest.mark.parametrize("model, check", list(river_checks()))
def test_river_check(model, check):
    assert check.__name__ not in model._unit_test_skips()
    check(model.clone())


def test_river_gives_the_weights_of_the_learner_itself():
    model, plain = RiverHinge(crosses="age_of_domain*is_popular"), linear.HingeSVM(crosses="age_of_domain*is_popular", engine="dict",
                                                                                   dtype="float64")
    for x, y in datasets.Phishing().take(300):
        model.learn_one(x, y)
        plain.learn_one(dict(sorted(x.items())), y)
    assert dict(model.model.weights) == dict(plain.weights) and len(plain.weights) > 10


def test_river_pipelines_with_text_hashing_and_probabilities():
    def sms():
        chance = np.random.default_rng(0)
        for _ in range(400):
            spam = bool(chance.random() < 0.4)
            words = chance.choice(["free", "prize", "win"] if spam else ["hello", "lunch", "home"], 3)
            yield {"text": " ".join([*words, *chance.choice(["a", "the", "you"], 2)])}, spam
    bag = feature_extraction.BagOfWords(on="text")
    assert evaluate.progressive_val_score(sms(), bag | RiverHinge(), metrics.Accuracy()).get() > 0.97
    hashed = feature_extraction.BagOfWords(on="text") | preprocessing.FeatureHasher(n_features=1 << 10, seed=1) | RiverHinge()
    assert evaluate.progressive_val_score(sms(), hashed, metrics.Accuracy()).get() > 0.95
    calibrated = feature_extraction.BagOfWords(on="text") | RiverHinge(calibrate=True)
    assert evaluate.progressive_val_score(sms(), calibrated, metrics.LogLoss()).get() < 0.25
    scaled = compose.Select("age_of_domain", "ip_in_url") | preprocessing.StandardScaler() | RiverHinge()
    assert evaluate.progressive_val_score(datasets.Phishing(), scaled, metrics.F1()).get() > 0.4


def test_river_labels_and_fields():
    model = RiverHinge()
    model.learn_one({3: 1.0, "tags": ["a", "b"], "city": "Ulm"}, np.bool_(True))
    assert model.predict_one({"city": "Ulm"}) is True
    assert set(model.model.weights) == {"3", "tags=a", "tags=b", "city=Ulm", "Constant"}
    with pytest.raises(ValueError, match="label 'spam' is not one of False and True"):
        model.learn_one({"a": 1.0}, "spam")
    with pytest.raises(FeatureError, match="'a'"):
        model.learn_one({"a": float("nan")}, True)
    with pytest.raises(NotImplementedError, match="calibrate=True"):
        model.predict_proba_one({"a": 1.0})


def test_river_pickles_go_on_where_they_were():
    whole, part = RiverHinge(calibrate=True), RiverHinge(calibrate=True)
    rows = list(datasets.Phishing().take(100))
    for x, y in rows[:50]:
        part.learn_one(x, y)
    part = pickle.loads(pickle.dumps(part))
    for number, (x, y) in enumerate(rows):
        whole.learn_one(x, y)
        if number >= 50:
            part.learn_one(x, y)
    assert dict(part.model.weights) == dict(whole.model.weights) and part.platt.state() == whole.platt.state()


ORDER_DEPENDENT = {f"check_sample_weight_equivalence_on_{kind}_data": "an online learner: order matters, so a row of weight 2 is not two"
                   for kind in ("dense", "sparse")}
NOT_HERE = {"check_array_api_input"}                      # about arrays of other libraries, which this classifier does not take
if importlib.util.find_spec("pandas") is None:            # these two would only skip themselves
    NOT_HERE |= {"check_sample_weights_pandas_series", "check_classifier_data_not_an_array"}


def sklearn_checks():
    for model in HingeClassifier(), HingeClassifier(rule="pa1", shuffle=False), HingeClassifier(engine="compiled"):
        for estimator, check in estimator_checks_generator(model):
            name = getattr(check, "func", check).__name__
            marks = [pytest.mark.xfail(reason=ORDER_DEPENDENT[name])] if name in ORDER_DEPENDENT else []
            if name not in NOT_HERE:
                yield pytest.param(estimator, check, id=f"{model.rule}-{model.engine}-{name}", marks=marks)


@pytest.mark.parametrize("estimator, check", list(sklearn_checks()))
def test_sklearn_check(estimator, check):
    check(estimator)


def rows(n=200):
    chance = np.random.default_rng(0)
    X = [{"user": f"u{chance.integers(9)}", "n": float(chance.integers(-1, 3)), "t": str(chance.choice(["tea", "h\u00e9llo", "2*3=x\\y"]))}
         for _ in range(n)]
    return X, [(x["user"] < "u4") ^ (x["t"] == "tea") for x in X]


@pytest.mark.parametrize("n_features", [1, 7, 1 << 10, 1 << 20, 2 ** 31 - 1])
@pytest.mark.parametrize("alternate_sign", [True, False])
def test_field_hasher_gives_feature_hashers_matrix(n_features, alternate_sign):
    X, _ = rows()
    ours = FieldHasher(n_features=n_features, alternate_sign=alternate_sign).transform(X)
    theirs = FeatureHasher(n_features=n_features, alternate_sign=alternate_sign).transform(X)
    assert ours.shape == theirs.shape and abs(ours - theirs).max() == 0 and theirs.nnz > 0


def test_signed_hash_of_the_specs_vectors():
    assert [(abs(h) % 2 ** 20, h > 0) for h in map(signed_hash, ("u3", "t5", "h\u00e9llo"))] == [
        (619065, True), (767381, True), (24472, False)]


def test_field_hasher_crosses_learn_what_fields_cannot():
    X, y = rows(400)
    plain, crossed = (cross_val_score(make_pipeline(FieldHasher(crosses=crosses), HingeClassifier(random_state=0)), X, y, cv=3).mean()
                      for crosses in ("", "user*t"))
    assert crossed > 0.98 > 0.9 > plain
    with pytest.raises(ValueError, match="n_features=0"):
        FieldHasher(n_features=0).fit()


def test_pipeline_and_grid_search():
    X, y = load_breast_cancer(return_X_y=True)
    search = GridSearchCV(make_pipeline(StandardScaler(), HingeClassifier(random_state=0)),
                          {"hingeclassifier__rule": ["adagrad", "pa1"], "hingeclassifier__max_iter": [1, 10]}, cv=3)
    search.fit(X, y)
    assert search.best_score_ > 0.95


def test_hashed_text_and_more_than_two_classes():
    texts = ["free prize now", "win a prize", "lunch at home", "see you at lunch", "tea or rum", "rum and tea"] * 10
    kinds = ["spam", "spam", "ham", "ham", "bar", "bar"] * 10
    model = make_pipeline(HashingVectorizer(n_features=1 << 12), OneVsRestClassifier(HingeClassifier(random_state=0)))
    assert list(model.fit(texts, kinds).predict(["a free prize", "home for lunch", "more rum"])) == ["spam", "ham", "bar"]


def test_partial_fit_is_the_learner_itself():
    X, y = load_breast_cancer(return_X_y=True)
    X = sparse.csr_array(StandardScaler().fit_transform(X))
    model = HingeClassifier().partial_fit(X[:100], y[:100], classes=[0, 1])
    model = pickle.loads(pickle.dumps(model)).partial_fit(X[100:], y[100:])
    plain = linear.HingeSVM(engine="dict", dtype="float64")
    for start, end, label in zip(X.indptr, X.indptr[1:], y):
        plain.learn_one({str(column): float(value) for column, value in zip(X.indices[start:end], X.data[start:end])}, bool(label))
    assert model.coef_[0].tolist() == [plain.weights[str(column)] for column in range(X.shape[1])]
    assert model.intercept_[0] == plain.weights["Constant"]
    compiled = HingeClassifier(engine="compiled").partial_fit(X, y, classes=[0, 1])
    assert compiled.coef_.tolist() == model.coef_.tolist() and compiled.intercept_[0] == model.intercept_[0]
    with pytest.raises(ValueError, match="label 2 is not one of the classes"):
        model.partial_fit(X[:2], [0, 2])


@pytest.mark.parametrize("library", ["river", "sklearn"])
def test_the_extras_are_imported_only_when_asked_for(library):
    code = f"import sys, linear, linear.adapters; linear.HingeSVM; assert {library!r} not in sys.modules"
    root = Path(linear.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(root)})
