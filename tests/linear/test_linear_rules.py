"""Each rule against numbers worked out by hand, on features a = 1, b = 2 (sum of squares 5)."""
import pytest

from linear.features import FeatureError
from linear.reference import DictLearner
from linear.losses import LOSSES, hinge
from linear.rules import RULES

AB = [("a", 1.0), ("b", 2.0)]


def first_step(rule, y=1, h=1.0, **options):
    learner = DictLearner(rule, **options)
    assert learner.learn(AB, y, h) == 0.0
    return pytest.approx(learner.read("a"), abs=1e-9), pytest.approx(learner.read("b"), abs=1e-9)


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
    ("pegasos", {"lam": 0.1}, 1, 1.0, 10.0, 20.0),                                 # 1 / (lam t) = 10
    ("pegasos", {"lam": 0.5, "initial_t": 3.0}, -1, 2.0, -1.0, -2.0),              # t = 4: 2 / (0.5 4) = 1
    ("ftrl", {"lr": 0.5}, 1, 1.0, 0.25, 1 / 3),                                    # z = -1, -2; n = 1, 4: 1 / ((1 + 1) / 0.5), 2 / (3 / 0.5)
    ("ftrl", {"lr": 0.5, "l1": 1.5}, 1, 1.0, 0.0, 1 / 12),                         # 0; (2 - 1.5) / 6
    ("ftrl", {"lr": 0.5, "l2": 2.0}, -1, 1.0, -1 / 6, -1 / 4),                     # 1 / (4 + 2), 2 / (6 + 2)
    ("ftrl", {"lr": 0.5, "loss": "logistic"}, 1, 1.0, 1 / 6, 1 / 4),               # g = 1/2, 1: 0.5 / (1.5 / 0.5), 1 / (2 / 0.5)
    ("arow", {}, 1, 1.0, 1 / 6, 2 / 6),                                            # v = 5, r = 1
    ("arow", {"r": 5.0}, -1, 1.0, -1 / 10, -2 / 10),
    ("arow", {"r": 5.0}, 1, 5.0, 1 / 6, 2 / 6),                                    # h divides r
    ("sgd", {"lr": 0.5, "loss": "squared_hinge"}, 1, 1.0, 1.0, 2.0),               # the push is 2
    ("sgd", {"lr": 0.5, "loss": "logistic"}, 1, 1.0, 0.25, 0.5),                   # the push is 1/2
    ("sgd", {"lr": 0.5, "l1": 0.1, "l2": 2.0}, 1, 1.0, 0.45 / 2, 0.95 / 2),        # 0.5 - 0.05, 1 - 0.05, both by 1 + 1
    ("adagrad", {"loss": "logistic"}, 1, 1.0, 0.15, 0.15),                         # G = 1/4, 1; r = 2, 1; u = 0.075
    ("adagrad", {"l2": 2.0}, 1, 1.0, 0.15 / 1.3, 0.15 / 1.3),
    ("nag", {"power_t": 0.5}, 1, 1.0, 0.5 ** 1.5, 0.5 ** 2.5),                     # N = 1, 2; r = 1, 1/4; c = 1 / sqrt(2); u = 0.5
    ("nag", {"power_t": 0.5, "normalized": False}, 1, 1.0, 1 / 3, 1 / 3),          # r = 1, 1/2; q = 3; 0.5 > 1 / 3
    ("nag", {"power_t": 0.5, "initial_t": 3.0, "normalized": False, "adaptive": False, "lr": 0.1}, 1, 1.0, 0.1 * 0.75 ** 0.5,
     0.2 * 0.75 ** 0.5),                                                           # 0.1 sqrt(3 / 4): t = 4, initial_t = 3
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


def test_the_mean_of_asgd_is_the_mean_over_time():
    learner, plain, sums = DictLearner("asgd", lr=0.25), DictLearner("sgd", lr=0.25), {}
    for t, (key, y) in enumerate([("a", 1), ("b", -1), ("a", 1), ("a", -1), ("c", 1), ("b", -1)], 1):
        learner.learn([(key, 1.0), ("all", 0.5)], y)
        plain.learn([(key, 1.0), ("all", 0.5)], y)
        for name in ("a", "b", "c", "all"):
            sums[name] = sums.get(name, 0.0) + plain.weights[name]
            assert learner.read(name) == pytest.approx(sums[name] / t, abs=1e-12)


def test_scw2_in_numbers():
    """v = 5, phi = 1, n = 5 + 5 = 10, m = 0: alpha = sqrt(4 n v (n + v)) / (2 (n^2 + n v)) = sqrt(3000) / 300."""
    learner = DictLearner("scw2", C=0.1)
    learner.learn(AB, 1)
    alpha = 3000 ** 0.5 / 300
    root = (-alpha * 5 + (alpha ** 2 * 25 + 20) ** 0.5) / 2
    beta = alpha / (root + 5 * alpha)
    assert learner.weights["a"] == pytest.approx(alpha) and learner.weights["b"] == pytest.approx(2 * alpha)
    assert learner.state["S"] == {"a": pytest.approx(1 - beta), "b": pytest.approx(1 - 4 * beta)}


@pytest.mark.parametrize("rule", ["arow", "scw2"])
def test_the_variance_falls_to_the_floor(rule):
    learner = DictLearner(rule, floor=0.2)
    values = []
    for n in range(60):
        learner.learn([("a", 1.0)], 1 if n % 2 else -1)
        values.append(learner.state["S"]["a"])
    assert values == sorted(values, reverse=True) and values[0] > 0.3 and values[-1] == 0.2


@pytest.mark.parametrize("rule, options", [("sgd", {"lr": 0.1, "l1": 0.02, "l2": 0.3}), ("adagrad", {"l1": 0.02, "l2": 0.3})])
def test_lazy_penalties_are_the_eager_ones(rule, options):
    """Every weight, present or not, is shrunk at every example; done at once here, and lazily in the learner."""
    lazy = DictLearner(rule, **options)
    eager = DictLearner(rule, lr=lazy.lr)
    for t in range(200):
        features = [(f"f{t % 7}", 1.0 + t % 3), (f"g{t % 11}", -0.5)]
        assert lazy.learn(features, 1 if t % 5 else -1) == pytest.approx(eager.learn(features, 1 if t % 5 else -1), abs=1e-9)
        for key, weight in eager.weights.items():
            size = max(0.0, abs(weight) - lazy.lr * options["l1"]) / (1.0 + lazy.lr * options["l2"])
            eager.weights[key] = size if weight > 0 else -size
    assert {key: lazy.read(key) for key in lazy.weights} == pytest.approx(eager.weights, abs=1e-9)
    assert any(lazy.read(key) == 0.0 for key in lazy.weights) or rule == "adagrad"


def test_pegasos_is_the_formula_with_all_weights_shrunk():
    learner, weights = DictLearner("pegasos", lam=0.05), {}
    for t in range(1, 300):
        features, y = [(f"f{t % 7}", 1.0), (f"g{t % 5}", 0.5)], 1 if t % 4 else -1
        margin = sum(weights.get(key, 0.0) * x for key, x in features)
        assert learner.learn(features, y) == pytest.approx(margin, abs=1e-9)
        weights = {key: weight * (1 - 1 / t) for key, weight in weights.items()}
        if y * margin < 1:
            for key, x in features:
                weights[key] = weights.get(key, 0.0) + y * x / (0.05 * t)
    assert {key: learner.read(key) for key in learner.weights} == pytest.approx(weights, abs=1e-9)


def test_the_scale_is_worked_in_before_it_vanishes():
    learner, eager = DictLearner("sgd", lr=1.0, l2=9.0, l1=1e-9), 0.0
    for _ in range(25):
        eager = (eager + (1.0 if eager < 1.0 else 0.0)) / 10.0
        learner.learn([("a", 1.0)], 1)
        assert 1e-10 < learner.scale <= 1.0 and learner.read("a") == pytest.approx(eager, abs=1e-6)


def test_a_step_of_vws_rule_lands_where_the_loss_ends():
    learner = DictLearner("nag", lr=100.0, power_t=0.5)
    learner.learn(AB, -1)
    assert learner.margin(AB) == pytest.approx(-1.0)
    assert DictLearner("nag", lr=100.0, power_t=0.5, invariant=False).learn(AB, -1) == 0.0


def test_losses_are_known_where_they_make_sense():
    assert {rule: row.losses for rule, row in RULES.items()}["nag"] == ("hinge", "logistic", "squared")
    assert all(row.losses == ("hinge",) for rule, row in RULES.items() if rule not in ("sgd", "asgd", "adagrad", "ftrl", "nag"))


OTHER = {"C": 0.05, "r": 3.0, "phi": 0.4, "lam": 0.02, "floor": 0.4, "power_t": 0.3, "initial_t": 7.0, "adaptive": True, "normalized": False,
         "invariant": False}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_reads_the_options_that_its_row_names_and_no_other(rule):
    def learned(**options):
        learner = DictLearner(rule, **{"lr": 3.0, "power_t": 0.5, "initial_t": 1.0, "adaptive": False, **options})
        for t in range(40):
            learner.learn([(f"f{t % 7}", 1.0), (f"g{t % 5}", 2.5 - t % 3)], 1 if t % 3 else -1)
        return [learner.read(key) for key in sorted(learner.weights)]

    plain = learned()
    assert {name for name, value in OTHER.items() if learned(**{name: value}) != plain} == set(RULES[rule].reads)
    assert (learned(lr=0.011) != plain) == (RULES[rule].lr is not None)
    assert {loss for loss in RULES[rule].losses if loss != "hinge" and learned(loss=loss) == plain} == set()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_push_is_the_slope_of_the_loss(loss):
    value, push, _ = LOSSES[loss]
    for y in (-1, 1):
        for m in (-3.3, -0.4, 0.2, 0.9, 1.7, 5.0):
            assert push(y, m) == pytest.approx(-y * (value(y, m + 1e-6) - value(y, m - 1e-6)) / 2e-6, abs=1e-6)
    assert push(1, 1e100) == 0.0 or loss == "squared"
    assert value(1, 0.0) > 0.0 and push(1, 0.0) > 0.0
