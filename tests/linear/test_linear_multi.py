"""One-against-all, its forgetting, and online calibration."""
import math
import random

import pytest

from linear import FeatureError, HingeSVM, ModelFileError
from linear.calibrate import Platt
from linear.multi import OneAgainstAll

NAMES = ["tea", "rum", "h\u00e9llo there:now", ""]


def rows(n, seed=0):
    chance = random.Random(seed)
    for _ in range(n):
        x = {"a": chance.choice("pqr"), "b": chance.choice("uv"), "n": chance.random()}
        yield x, NAMES[("pqr".index(x["a"]) + 2 * "uv".index(x["b"])) % 4]


def trained(data, **options):
    model = OneAgainstAll(crosses="a*b", **options)
    for x, y in data:
        model.learn_one(x, [y] if options.get("multi_label") else y)
    return model


def test_each_label_is_the_learner_that_sees_one_against_all():
    data = list(rows(80))
    model = trained(data, rule="pa1", C=0.3)
    for label in model.labels:
        alone = HingeSVM(crosses="a*b", rule="pa1", C=0.3, engine="dict", dtype="float64")
        start = next(number for number, (_, y) in enumerate(data) if y == label)
        for x, y in data[start:]:
            alone.learn_one(x, y == label)
        assert dict(model.weights(label)) == dict(alone.weights)
    assert sorted(model.labels) == sorted(NAMES)
    assert sum(model.predict_one(x) == y for x, y in rows(100, seed=1)) == 100


def test_multi_label():
    model = OneAgainstAll(multi_label=True)
    for _ in range(10):
        model.learn_one({"text": ["goal", "vote"]}, ["sport", "politics"])
        model.learn_one({"text": ["goal"]}, ("sport", "sport"))
        model.learn_one({"text": ["recipe"]}, [])
    assert set(model.predict_one({"text": ["goal", "vote"]})) == {"sport", "politics"}
    assert model.predict_one({"text": ["goal"]}) == ["sport"] and model.predict_one({"text": ["recipe"]}) == []


@pytest.mark.parametrize("seen, first", [(30, 0), (60, 0), (61, 30), (89, 30), (90, 30), (91, 60), (200, 150)])
def test_forgetting_is_never_having_seen(seen, first):
    data = list(rows(seen))
    model, fresh = trained(data, forget=30), trained(data[first:])
    assert model.labels == fresh.labels
    assert all(dict(model.weights(label)) == dict(fresh.weights(label)) for label in fresh.labels)


def test_forgetting_follows_a_drift_and_drops_labels():
    turned = [(x, "new" if y == "tea" else y) for x, y in rows(120, seed=3)]
    model = trained([*rows(300), *turned], forget=50)
    assert "tea" not in model.labels and "new" in model.labels


@pytest.mark.parametrize("options", [{}, {"calibrate": True}, {"forget": 20, "calibrate": True}, {"multi_label": True}])
@pytest.mark.parametrize("stop", [0, 7, 20, 33, 41])
def test_save_load_and_go_on(tmp_path, options, stop):
    data = list(rows(60))
    whole, part = trained(data, **options), trained(data[:stop], **options)
    part.save(tmp_path / "m")
    part = OneAgainstAll.load(tmp_path / "m")
    for x, y in data[stop:]:
        part.learn_one(x, [y] if options.get("multi_label") else y)
    part.save(tmp_path / "a"), whole.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [part.margins_one(x) for x, _ in data] == [whole.margins_one(x) for x, _ in data]
    with pytest.raises(ModelFileError):
        HingeSVM.load(tmp_path / "m")


def test_probabilities_say_how_often():
    chance, model = random.Random(1), OneAgainstAll(calibrate=True)
    share, sure = {"p": 0.9, "q": 0.5, "r": 0.2}, {"p": [], "q": [], "r": []}
    for number in range(3000):
        a = chance.choice("pqr")
        if number > 1000:
            sure[a].append(model.probabilities_one({"a": a})["yes"])
        model.learn_one({"a": a}, "yes" if chance.random() < share[a] else "no")
    means = {a: sum(chances) / len(chances) for a, chances in sure.items()}
    assert means == pytest.approx(share, abs=0.15) and sum(means.values()) == pytest.approx(sum(share.values()), abs=0.1)
    assert sum(model.probabilities_one({"a": "p"}).values()) == pytest.approx(1.0)


def test_platt_stays_finite_and_keeps_the_order_of_margins():
    platt = Platt()
    for number in range(500):
        platt.learn(1e9 if number % 2 else -1e9, 1 if number % 2 else -1)
    assert 0 < platt.probability(-1e300) < platt.probability(1e300) < 1
    backwards = Platt()
    for _ in range(200):
        backwards.learn(1.0, -1), backwards.learn(-1.0, 1)
    assert backwards.a == 0.0 and backwards.probability(1.0) == pytest.approx(0.5, abs=0.05)
    assert all(map(math.isfinite, platt.state() + backwards.state()))
    with pytest.raises(ValueError, match="forget=0"):
        Platt(forget=0.0)


def test_platt_that_forgets_follows():
    steady, nimble = Platt(), Platt(forget=0.98)
    for number in range(1200):
        for platt in (steady, nimble):
            platt.learn(1.0, 1 if number < 1000 or number % 4 == 0 else -1)
    assert nimble.probability(1.0) == pytest.approx(0.25, abs=0.12) and steady.probability(1.0) > 0.6


@pytest.mark.parametrize("options, x, y, words", [
    ({}, {"a": "p"}, 3, "label 3 is no string"),
    ({}, {"a": "p"}, ["tea"], "multi_label=True"),
    ({"multi_label": True}, {"a": "p"}, "tea", "no list of strings"),
    ({"multi_label": True}, {"a": "p"}, ["tea", 3], "no list of strings"),
    ({}, {"a": float("nan")}, "tea", "'a'"),
])
def test_bad_examples_change_nothing(options, x, y, words):
    model = OneAgainstAll(**options)
    with pytest.raises(ValueError, match=words):
        model.learn_one(x, y)
    assert model.labels == [] and model.t == 0


def test_bad_options_and_questions():
    for options in ({"forget": 0}, {"forget": 1.5}, {"rule": "adam"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            OneAgainstAll(**options)
    with pytest.raises(FeatureError, match="two fields"):
        OneAgainstAll(crosses="a")
    with pytest.raises(ValueError, match="calibrate=True"):
        OneAgainstAll().probabilities_one({})
    with pytest.raises(KeyError, match="'beer' has not been seen; known labels: tea"):
        trained([({"a": "p"}, "tea")]).weights("beer")
    assert OneAgainstAll().predict_one({"a": "p"}) is None and OneAgainstAll(multi_label=True).predict_one({}) == []
