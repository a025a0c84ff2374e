"""Each rule against numbers worked out by hand, on features a = 1, b = 2 (sum of squares 5)."""
import pytest

from linear.features import FeatureError
from linear.reference import DictLearner
from linear.losses import hinge
from linear.rules import RULES

AB = [("a", 1.0), ("b", 2.0)]


def first_step(rule, y=1, h=1.0, **options):
    learner = DictLearner(rule, **options)
    assert learner.learn(AB, y, h) == 0.0
    return pytest.approx(learner.weights["a"], abs=1e-9), pytest.approx(learner.weights["b"], abs=1e-9)


@pytest.mark.parametrize("rule, options, y, h, a, b", [
    ("perceptron", {}, 1, 1.0, 1.0, 2.0),
    ("perceptron", {}, -1, 3.0, -3.0, -6.0),
    ("sgd", {"lr": 0.5}, 1, 1.0, 0.5, 1.0),
    ("sgd", {"lr": 0.5}, -1, 2.0, -1.0, -2.0),
    ("sgd", {"lr": 0.5, "power_t": 0.5, "initial_t": 3.0}, 1, 1.0, 0.25, 0.5),     # t = 4: 0.5 / sqrt(4)
    ("pa", {}, 1, 1.0, 1 / 5, 2 / 5),
    ("pa", {}, -1, 7.0, -1 / 5, -2 / 5),                                           # no slack for h to weigh
    ("pa1", {"C": 0.1}, 1, 1.0, 0.1, 0.2),
    ("pa1", {"C": 0.1}, 1, 1.5, 0.15, 0.3),
    ("pa1", {"C": 0.1}, 1, 9.0, 1 / 5, 2 / 5),                                     # the cap no longer binds
    ("pa2", {"C": 0.5}, 1, 1.0, 1 / 6, 2 / 6),
    ("pa2", {"C": 0.5}, 1, 2.0, 1 / 5.5, 2 / 5.5),
    ("adagrad", {}, 1, 1.0, 0.15, 0.15),                                           # r = 1, 1/2; q = 3; u = 0.15
    ("adagrad", {}, -1, 1.0, -0.15, -0.15),
    ("adagrad", {"lr": 10.0}, 1, 1.0, 1 / 3, 1 / 3),                               # u = 1/q: the margin becomes 1
    ("adagrad", {}, 1, 4.0, 0.3, 0.3),                                             # r = 1/2, 1/4; q = 1.5; u = 0.6
])
def test_first_step(rule, options, y, h, a, b):
    assert first_step(rule, y, h, **options) == (a, b)


def test_adagrad_second_step_uses_the_sum_of_squares():
    learner = DictLearner("adagrad")
    learner.learn([("a", 1.0)], 1)
    margin = learner.learn([("a", 1.0), ("new", 1.0)], 1)
    assert margin == pytest.approx(0.15)
    assert learner.weights["a"] == pytest.approx(0.15 + 0.15 / 2 ** 0.5)
    assert learner.weights["new"] == pytest.approx(0.15)
    assert learner.state["G"] == {"a": 2.0, "new": 1.0}


@pytest.mark.parametrize("rule, options", [("adagrad", {"lr": 100.0}), ("pa", {}), ("pa1", {"C": 100.0})])
def test_a_full_step_lands_on_the_margin_and_then_nothing_moves(rule, options):
    learner = DictLearner(rule, **options)
    learner.learn(AB, -1)
    assert learner.margin(AB) == pytest.approx(-1.0, abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_gradient_is_zero_exactly_at_the_margin(rule):
    learner = DictLearner(rule)
    learner.weights["a"] = 1.0
    assert learner.learn([("a", 1.0)], 1) == 1.0
    assert learner.weights == {"a": 1.0} and not any(learner.state.values())
    assert learner.t == 1


@pytest.mark.parametrize("rule", RULES)
def test_only_present_features_move(rule):
    learner = DictLearner(rule)
    learner.learn(AB, 1)
    before = learner.weights["b"]
    learner.learn([("a", 1.0), ("c", 1.0)], -1)
    assert learner.weights["b"] == before
    assert learner.weights["c"] < 0


def test_the_perceptron_updates_at_margin_zero_only_on_the_wrong_side():
    learner = DictLearner("perceptron")
    learner.weights["a"] = 0.5
    learner.learn([("a", 1.0)], 1)
    assert learner.weights["a"] == 0.5
    learner.learn([("a", 1.0)], -1)
    assert learner.weights["a"] == -0.5


@pytest.mark.parametrize("rule", RULES)
def test_repeated_features_add_up_and_an_empty_example_changes_nothing(rule):
    learner = DictLearner(rule)
    learner.learn([("a", 1.0), ("a", 1.0)], 1)
    assert learner.margin([("a", 1.0), ("a", 1.0)]) == 2 * learner.weights["a"] > 0
    before = dict(learner.weights)
    assert learner.learn([], 1, initial=0.25) == 0.25
    assert dict(learner.weights) == before


def test_the_first_loss_is_one():
    assert hinge(1, DictLearner().learn(AB, 1)) == 1.0


def test_the_base_margin_enters_the_loss():
    learner = DictLearner("pa")
    assert learner.learn(AB, 1, initial=0.5) == 0.5
    assert learner.weights["a"] == pytest.approx(0.5 / 5)


def test_a_blow_up_names_the_feature_and_leaves_the_state():
    learner = DictLearner("sgd", lr=1e50)
    learner.learn([("small", 1.0), ("huge", 1e50)], 1)
    before = dict(learner.weights)
    with pytest.raises(FeatureError, match="'huge'.*lower the learning rate"):
        learner.learn([("small", 1.0), ("huge", 1e50)], -1)
    assert dict(learner.weights) == before and learner.t == 1


@pytest.mark.parametrize("rule", RULES)
def test_extreme_values_leave_finite_weights(rule):
    learner = DictLearner(rule)
    for y, features in [(1, [("a", 1e-50), ("b", 1e50)]), (-1, [("a", 1e-50)]), (1, [("a", 1e-50)]), (-1, AB)]:
        for h in (1e50, 1e-50):
            try:
                learner.learn(features, y, h)
            except FeatureError as error:
                assert "beyond" in str(error)
    assert all(abs(weight) < 1e300 for weight in learner.weights.values()) and learner.weights


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_states_formula_and_source(rule):
    assert "w_i" in rule.update.__doc__
    assert any(str(year) in rule.update.__doc__ for year in range(1950, 2030))
