"""The adapters hold what their libraries ask: river.checks and scikit-learn's check_estimator, one test a check."""
import pickle

import numpy as np
import pytest

river = pytest.importorskip("river", reason="river is not installed; `python -m pip install river`")
from river import checks, compose, datasets, evaluate, feature_extraction, metrics, preprocessing

import linear
from linear.adapters.river import HingeClassifier as RiverHinge
from linear.features import FeatureError

RIVER_MODELS = {"plain": RiverHinge(), "calibrated": RiverHinge(rule="pa1", calibrate=True)}


def river_checks():
    for name, model in RIVER_MODELS.items():
        for number, check in enumerate(checks.yield_checks(model)):
            yield pytest.param(model, check, id=f"{name}-{number}-{check.__name__}")


@pytest.mark.parametrize("model, check", river_checks())
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
