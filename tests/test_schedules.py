"""Every schedule: PyTorch's numbers, our own definitions, bad arguments, and what all of them promise."""
import inspect
import math
import pickle
from fractions import Fraction
from itertools import accumulate
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data import load_reference
from tinygrad_lite import schedules as S


def reciprocal(t):
    return 1 / (1 + t)


# One of each, in the order of S.ALL; `finite` names the step from which its value is held.
EXAMPLES = {
    S.LambdaLR: S.LambdaLR(0.1, reciprocal),
    S.MultiplicativeLR: S.MultiplicativeLR(0.1, reciprocal),
    S.StepLR: S.StepLR(0.1, 7, gamma=0.5),
    S.MultiStepLR: S.MultiStepLR(0.1, [30, 10, 10], gamma=0.5),
    S.ConstantLR: S.ConstantLR(0.1, factor=0.5, total_iters=20),
    S.LinearLR: S.LinearLR(0.1, start_factor=0.01, end_factor=0.8, total_iters=25),
    S.ExponentialLR: S.ExponentialLR(0.1, gamma=0.95),
    S.PolynomialLR: S.PolynomialLR(0.1, total_iters=40, power=2),
    S.SWALR: S.SWALR(0.1, swa_lr=0.02, anneal_epochs=10),
    S.CosineAnnealingLR: S.CosineAnnealingLR(0.1, T_max=25, eta_min=0.01),
    S.CosineAnnealingWarmRestarts: S.CosineAnnealingWarmRestarts(0.1, T_0=5, T_mult=2, eta_min=0.001),
    S.SineRestarts: S.SineRestarts(0.1, restart=20, lr_min=0.01),
    S.Snapshot: S.Snapshot(0.1, total=60, cycles=4),
    S.CyclicLR: S.CyclicLR(0.01, 0.1, step_size_up=5, step_size_down=12),
    S.OneCycleLR: S.OneCycleLR(1, total_steps=50, three_phase=True, pct_start=0.4),
    S.OneCycleFastai: S.OneCycleFastai(1, nb=60, max_mom=0.95, min_mom=0.85),
    S.Momentum: S.OneCycleLR(1, epochs=5, steps_per_epoch=10).momentum,
    S.Warmup: S.Warmup(0.4, 10, start_factor=0.01, kind="exp"),
    S.Noam: S.Noam(d_model=64, warmup=20),
    S.Fixed: S.Fixed(0.1),
    S.Step: S.Step(0.1, gamma=0.1, stepsize=15),
    S.Exp: S.Exp(0.1, gamma=0.98),
    S.Inv: S.Inv(0.01, gamma=0.1, power=0.75),
    S.MultiStep: S.MultiStep(0.1, gamma=0.5, stepvalues=[10, 30, 45]),
    S.Poly: S.Poly(0.1, power=2, max_iter=60),
    S.Sigmoid: S.Sigmoid(0.1, gamma=0.2, stepsize=30),
    S.SequentialLR: S.SequentialLR([S.Warmup(0.1, 10), S.StepLR(0.1, 5)], [10]),
    S.ChainedScheduler: S.ChainedScheduler([S.LinearLR(0.1), S.ExponentialLR(0.1, gamma=0.9)]),
    S.ReduceLROnPlateau: S.ReduceLROnPlateau(0.1),
}
FINITE = {S.ConstantLR: 20, S.LinearLR: 25, S.PolynomialLR: 40, S.SWALR: 10, S.OneCycleLR: 49, S.Momentum: 49, S.Warmup: 10,
          S.Fixed: 0, S.MultiStep: 45, S.MultiStepLR: 30, S.Poly: 60, S.ReduceLROnPlateau: 0}
PERIODIC = {S.CosineAnnealingLR: 50, S.SineRestarts: 20, S.Snapshot: 15, S.CyclicLR: 17, S.OneCycleFastai: 60}
every_schedule = pytest.mark.parametrize("s", EXAMPLES.values(), ids=lambda s: type(s).__name__)


def test_every_public_schedule_is_in_the_table():
    public = {c for name, c in vars(S).items() if inspect.isclass(c) and issubclass(c, S.Schedule) and c is not S.Schedule}
    assert set(S.ALL) == public
    assert set(EXAMPLES) == public
    assert all(cls is type(s) for cls, s in EXAMPLES.items())


# ---------------------------------------------------------------- what all promise

@every_schedule
def test_prints_compares_and_pickles(s):
    copy = pickle.loads(pickle.dumps(s))
    assert copy == s and copy is not s and repr(copy) == repr(s)
    assert type(s).__name__ in repr(s) and " at 0x" not in repr(s)
    assert s != S.Fixed(0.123)


@every_schedule
def test_is_pure_and_frozen(s):
    forward = [s(t) for t in range(200)]
    assert [s(t) for t in reversed(range(200))] == forward[::-1]
    assert all(isinstance(v, float) and math.isfinite(v) and v >= 0 for v in forward)
    if not isinstance(s, S.ReduceLROnPlateau):
        with pytest.raises(AttributeError):
            s.lr = 1.


@every_schedule
@given(t=st.one_of(st.integers(0, 10**7), st.floats(0, 1e7)))
def test_has_a_value_at_every_step(s, t):
    if isinstance(s, S.MultiplicativeLR):
        t %= 10**4                        # a product of t factors
    value = s(t)
    assert isinstance(value, float) and 0 <= value < math.inf


@pytest.mark.parametrize("cls", FINITE, ids=lambda c: c.__name__)
def test_finite_ones_hold_their_last_value(cls):
    s, end = EXAMPLES[cls], FINITE[cls]
    assert {s(t) for t in (end, end + 1, end + 2, 2 * end + 5, 10**9)} == {s(end)}
    assert not end or s(end - 1) != s(end)


@pytest.mark.parametrize("cls", PERIODIC, ids=lambda c: c.__name__)
def test_periodic_ones_go_on(cls):
    s, period = EXAMPLES[cls], PERIODIC[cls]
    assert [s(t + 3 * period) for t in range(period)] == [s(t) for t in range(period)]
    assert len({s(t) for t in range(period)}) > 5


# ---------------------------------------------------------------- the recorded numbers

CASES = {case["id"]: case for case in load_reference("schedules")["cases"]}
FUNCTIONS = {"pow": lambda a: lambda e: a ** e, "inv": lambda a: lambda e: 1 / (1 + a * e), "floordiv": lambda a: lambda e: e // a}
FORMULAS = {"sine_restart": lambda kw: S.SineRestarts(kw["lr_max"], kw["R"]), "warmup": lambda kw: S.Warmup(**kw),
            "snapshot": lambda kw: S.Snapshot(**kw), "noam": lambda kw: S.Noam(**kw),
            "clr_beta": lambda kw: S.one_cycle_fastai(**kw)[0]}
CAFFE = {"fixed": S.Fixed, "step": S.Step, "exp": S.Exp, "inv": S.Inv, "multistep": S.MultiStep, "poly": S.Poly, "sigmoid": S.Sigmoid}
# PyTorch's defects and its stateful entrances, which a function of the step does not have.
NOT_A_RULE = {
    "cawr-log-rounding": "rounding makes a restart late",
    "cyclic-old-initial": "the value at construction is another scheduler's",
    "sequential-chained-first": "the children's first step is taken twice",
    "sequential-chained-later": "raises NotImplementedError at the milestone",
    "constant-factor0": "divides by zero at the end; ours returns to lr",
}


def of_group(value, i):
    return value[i] if isinstance(value, list) else value


def build(name, kwargs, children, lr, i):
    """Our schedule for group i of a recorded case."""
    kwargs = {k: v for k, v in kwargs.items() if k != "last_epoch"}
    if name in ("SequentialLR", "ChainedScheduler"):
        inner = [build(c["scheduler"], c.get("kwargs", {}), c.get("children"), lr, i) for c in children]
        return getattr(S, name)(inner, **kwargs)
    if "lambda" in kwargs:
        kind, a = kwargs["lambda"][i] if isinstance(kwargs["lambda"][0], list) else kwargs["lambda"]
        return getattr(S, name)(lr, FUNCTIONS[kind](a))
    if "scale_fn" in kwargs:
        kind, a = kwargs["scale_fn"]
        kwargs["scale_fn"] = FUNCTIONS[kind](a)
    for key in ("max_lr", "base_lr", "min_lr"):
        if key in kwargs:
            kwargs[key] = of_group(kwargs[key], i)
    return getattr(S, name)(**kwargs) if name in ("OneCycleLR", "CyclicLR") else getattr(S, name)(lr, **kwargs)


def steps_of(case):
    """The t of every recorded row, up to the end of a finite schedule; None where PyTorch raised before."""
    ts = list(range(len(case["lr"])))
    if case.get("calls"):
        ts = [0]
        for argument in case["calls"]:
            ts.append(ts[-1] + 1 if argument is None else argument)
    start = case["kwargs"].get("last_epoch", -1) + 1
    total = case["kwargs"].get("total_steps", math.inf)
    return [t + start for t in ts if t < total]


@pytest.mark.parametrize("case", [c for c in CASES.values() if c["source"] == "torch" and c["id"] not in NOT_A_RULE],
                         ids=lambda c: c["id"])
def test_pytorch_recorded(case):
    base = case.get("initial_lr") or case["base_lrs"]
    for i, lr in enumerate(base):
        s = build(case["scheduler"], case["kwargs"], case.get("children"), lr, i)
        if case.get("metrics"):
            ours = [s(0)] + [s.observe(m) for m in case["metrics"]]
        else:
            ours = [s(t) for t in steps_of(case)]
        theirs = [row[i] for row in case["lr"]][:len(ours)]
        if case["id"].startswith("resume"):        # PyTorch goes on from the group's present lr, which was set apart
            ours = [value * theirs[0] / ours[0] for value in ours]
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
        if case["kwargs"].get("cycle_momentum", True) and case["scheduler"] in ("OneCycleLR", "CyclicLR"):
            momenta = [row[i] for row in case["momentum"]][:len(ours)]
            assert [s.momentum(t) for t in steps_of(case)] == pytest.approx(momenta, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c["source"] == "formula"], ids=lambda c: c["id"])
def test_formula_recorded(case):
    kwargs = dict(case["kwargs"])
    s = CAFFE[kwargs.pop("policy")](**kwargs) if case["scheduler"] == "caffe" else FORMULAS[case["scheduler"]](kwargs)
    assert [s(t) for t in range(len(case["lr"]))] == pytest.approx(case["lr"], rel=1e-12, abs=1e-15)
    if case.get("momentum"):
        momentum = S.one_cycle_fastai(**kwargs)[1]
        assert [momentum(t) for t in range(len(case["momentum"]))] == pytest.approx(case["momentum"], rel=1e-12)


# ---------------------------------------------------------------- PyTorch itself, on random arguments

rates = st.floats(1e-4, 10)
factors = st.floats(0.01, 1)
gammas = st.floats(0.5, 1.1)
lengths = st.integers(1, 30)
DRAWN = {
    "StepLR": st.fixed_dictionaries({"step_size": lengths, "gamma": gammas}),
    "MultiStepLR": st.fixed_dictionaries({"milestones": st.lists(st.integers(0, 50), max_size=5), "gamma": gammas}),
    "ConstantLR": st.fixed_dictionaries({"factor": factors, "total_iters": st.integers(0, 30)}),
    "LinearLR": st.fixed_dictionaries({"start_factor": factors, "end_factor": factors, "total_iters": st.integers(0, 30)}),
    "ExponentialLR": st.fixed_dictionaries({"gamma": gammas}),
    "PolynomialLR": st.fixed_dictionaries({"total_iters": lengths, "power": st.floats(0, 4)}),
    "SWALR": st.fixed_dictionaries({"swa_lr": rates, "anneal_epochs": lengths, "anneal_strategy": st.sampled_from(["cos", "linear"])}),
    "CosineAnnealingLR": st.fixed_dictionaries({"T_max": lengths, "eta_min": st.floats(0, 1e-2)}),
    "CosineAnnealingWarmRestarts": st.fixed_dictionaries({"T_0": lengths, "T_mult": st.integers(1, 4), "eta_min": st.floats(0, 1)}),
    "CyclicLR": st.fixed_dictionaries({"base_lr": rates, "max_lr": rates, "step_size_up": lengths, "step_size_down": lengths,
                                       "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]), "gamma": factors,
                                       "base_momentum": st.floats(0, 0.8), "max_momentum": st.floats(0.8, 0.99)}),
    "OneCycleLR": st.fixed_dictionaries({"max_lr": rates, "epochs": st.integers(2, 9), "steps_per_epoch": st.integers(2, 9),
                                         "pct_start": st.sampled_from([0.3, 0.37, 0.45]), "three_phase": st.booleans(),
                                         "anneal_strategy": st.sampled_from(["cos", "linear"]), "div_factor": st.floats(1, 50),
                                         "base_momentum": st.floats(0, 0.8), "max_momentum": st.floats(0.8, 0.99)}),
}


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")       # the rates are wanted, no optimizer steps
@pytest.mark.parametrize("name", DRAWN)
@given(data=st.data())
def test_pytorch_random(torch, name, data):
    kwargs, lr = data.draw(DRAWN[name]), data.draw(rates)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr, momentum=0.9)
    home = torch.optim.swa_utils if name == "SWALR" else torch.optim.lr_scheduler
    theirs = getattr(home, name)(optimizer, **kwargs)
    cycle = name in ("CyclicLR", "OneCycleLR")
    ours = getattr(S, name)(**kwargs) if cycle else getattr(S, name)(lr, **kwargs)
    for t in range(getattr(ours, "total_steps", 60)):
        group = optimizer.param_groups[0]
        assert ours(t) == pytest.approx(group["lr"], rel=1e-7, abs=1e-9 * lr)
        assert not cycle or ours.momentum(t) == pytest.approx(group["momentum"], rel=1e-9)
        theirs.step()


# ---------------------------------------------------------------- where PyTorch's forms fail, ours hold

def test_warm_restarts_are_exact():
    s = S.CosineAnnealingWarmRestarts(0.1, T_0=1, T_mult=3)
    for restart in accumulate(3 ** i for i in range(30)):           # 121 = 1 + 3 + 9 + 27 + 81 among them
        assert s(restart) == 0.1 and s(restart - 0.25) < 0.1


def test_warm_restarts_take_any_growth():
    s = S.CosineAnnealingWarmRestarts(0.1, T_0=8, T_mult=1.25)
    for i in range(12):
        restart = sum(8 * Fraction(5, 4) ** k for k in range(i))
        assert s(float(restart)) == pytest.approx(0.1, rel=1e-12)
        assert s(float(restart + 4 * Fraction(5, 4) ** i)) == pytest.approx(0.05)


def test_one_cycle_is_held_after_its_last_step():
    s = S.OneCycleLR(1., total_steps=20, anneal_strategy="linear")
    assert s(18) > s(19) == s(20) == s(21) == s(10**6) == pytest.approx(1 / 25 / 1e4)
    assert s.momentum(19) == s.momentum(10**6) == 0.95


def test_one_cycle_may_begin_at_its_peak():
    assert S.OneCycleLR(1., total_steps=10, pct_start=0.1)(0) == 1.      # PyTorch divides by zero here
    assert S.OneCycleLR(1., total_steps=1)(0) == pytest.approx(1 / 25 / 1e4)


def test_cyclic_meets_its_bounds_exactly():
    s = S.CyclicLR(0.1, 0.7, step_size_up=3, step_size_down=7)
    assert {s(10 * k) for k in range(1000)} == {0.1} and {s(10 * k + 3) for k in range(1000)} == {0.7}


def test_constant_returns_to_lr_from_zero():
    assert S.ConstantLR(0.1, factor=0., total_iters=3)(3) == 0.1


def test_product_of_many_factors_goes_back_and_forth():
    s = S.MultiplicativeLR(1., lambda k: 1 + 1 / k)                  # the product up to t is t + 1
    assert [s(t) for t in (0, 10, 9, 1000, 3.5, 0)] == pytest.approx([1, 11, 10, 1001, 4, 1])


def test_overflow_is_infinite_not_an_error():
    assert S.ExponentialLR(1., gamma=2)(5000) == S.StepLR(1., 1, gamma=2)(5000) == math.inf


# ---------------------------------------------------------------- join and product

def test_join_of_one_is_itself():
    s = EXAMPLES[S.CosineAnnealingWarmRestarts]
    joined = S.SequentialLR([s], [])
    assert [joined(t) for t in range(60)] == [s(t) for t in range(60)]


def test_joining_associates():
    a, b, c = EXAMPLES[S.LinearLR], EXAMPLES[S.StepLR], EXAMPLES[S.CosineAnnealingLR]
    flat = S.SequentialLR([a, b, c], [7, 20])
    left = S.SequentialLR([S.SequentialLR([a, b], [7]), c], [20])
    right = S.SequentialLR([a, S.SequentialLR([b, c], [13])], [7])
    values = [flat(t) for t in range(60)]
    assert values == [left(t) for t in range(60)] == [right(t) for t in range(60)]
    assert values[6:8] == [a(6), b(0)] and values[19:21] == [b(12), c(0)]


def test_product_is_the_product_of_factors():
    a, b, c = EXAMPLES[S.LinearLR], EXAMPLES[S.StepLR], EXAMPLES[S.ExponentialLR]
    flat, nested = S.ChainedScheduler([a, b, c]), S.ChainedScheduler([a, S.ChainedScheduler([b, c])])
    for t in range(60):
        assert flat(t) == pytest.approx(nested(t), rel=1e-14) == pytest.approx(a(t) * b(t) * c(t) / 0.1 ** 2, rel=1e-14)


def test_join_in_product_in_join():
    def deep(levels):
        if not levels:
            return S.ExponentialLR(0.1, gamma=0.9)
        return S.SequentialLR([S.ChainedScheduler([deep(levels - 1), S.LinearLR(0.1)]), S.ConstantLR(0.1)], [4])
    s = deep(5)
    assert s(0) == pytest.approx(0.1 / 3 ** 5) and s(3) == pytest.approx(0.1 * 0.9 ** 3 * (11 / 15) ** 5)
    assert s(4) == 0.1 / 3 and s(9) == 0.1 and pickle.loads(pickle.dumps(s)) == s


def test_every_schedule_has_a_rate_to_divide_by():
    for s in EXAMPLES.values():
        if not isinstance(s, (S.Momentum, S.ReduceLROnPlateau)):
            halved = S.ChainedScheduler([s, s])
            assert halved(13) == pytest.approx(s(13) ** 2 / halved.lr, rel=1e-12)


# ---------------------------------------------------------------- bad arguments name themselves

BAD = [
    (lambda: S.StepLR(-0.1, 10), "StepLR: lr=-0.1 is not allowed; expected a finite number >= 0"),
    (lambda: S.StepLR(math.nan, 10), "StepLR: lr=nan"),
    (lambda: S.StepLR("0.1", 10), "StepLR: lr='0.1'"),
    (lambda: S.StepLR([0.1, 0.3], 10), "StepLR: lr="),
    (lambda: S.StepLR(0.1, 0), "StepLR: step_size=0 is not allowed; expected an integer >= 1"),
    (lambda: S.StepLR(0.1, 2.5), "StepLR: step_size=2.5"),
    (lambda: S.MultiStepLR(0.1, [3, -1]), "MultiStepLR: milestones="),
    (lambda: S.MultiStepLR(0.1, 5), "MultiStepLR: milestones=5"),
    (lambda: S.LambdaLR(0.1, 3), "LambdaLR: lr_lambda=3 is not allowed; expected a function of the step"),
    (lambda: S.ConstantLR(0.1, factor=1.5), "ConstantLR: factor=1.5 is not allowed; expected a number in [0, 1]"),
    (lambda: S.LinearLR(0.1, start_factor=0), "LinearLR: start_factor=0 is not allowed; expected a number in (0, 1]"),
    (lambda: S.CosineAnnealingLR(0.1, T_max=0), "CosineAnnealingLR: T_max=0 is not allowed; expected a finite number > 0"),
    (lambda: S.CosineAnnealingWarmRestarts(0.1, 5, T_mult=0.5), "CosineAnnealingWarmRestarts: T_mult=0.5"),
    (lambda: S.CyclicLR(0.1, 1, mode="square"), "CyclicLR: mode='square' is not allowed; expected one of 'triangular', "),
    (lambda: S.CyclicLR(0.1, 1, cycle_momentum=False).momentum, "has no momentum schedule; make it with cycle_momentum=True"),
    (lambda: S.OneCycleLR(1.), "OneCycleLR: its length is missing; pass total_steps, or epochs and steps_per_epoch"),
    (lambda: S.OneCycleLR(1., total_steps=0), "OneCycleLR: total_steps=0 is not allowed; expected an integer >= 1"),
    (lambda: S.OneCycleLR(1., epochs=10, steps_per_epoch=0), "epochs=10 times steps_per_epoch=0 makes 0 steps"),
    (lambda: S.one_cycle_fastai(1., nb=1), "nb=1 and pct=10.0 leave no step to rise"),
    (lambda: S.Poly(0.1, power=2), "Poly: max_iter=None is not allowed; expected an integer >= 1"),
    (lambda: S.Warmup(0.1, 5, kind="cubic"), "Warmup: kind='cubic' is not allowed; expected one of 'linear', 'exp'"),
    (lambda: S.linear_scaling_rule(0.1, batch_size=0), "batch_size=0"),
    (lambda: S.SequentialLR([], []), "SequentialLR: schedulers=() is not allowed"),
    (lambda: S.SequentialLR([0.1], []), "SequentialLR: schedulers=(0.1,)"),
    (lambda: S.SequentialLR([S.Fixed(1), S.Fixed(2)], []), "SequentialLR: milestones=() is not allowed; expected 1 for 2"),
    (lambda: S.SequentialLR([S.Fixed(1)] * 3, [9, 3]), "SequentialLR: milestones=[9, 3] is not allowed; expected integers"),
    (lambda: S.SequentialLR([S.ReduceLROnPlateau(0.1)], []), "ReduceLROnPlateau remembers metrics"),
    (lambda: S.ChainedScheduler([S.Fixed(1), S.Fixed(2)]), "children that share one rate > 0, got [1.0, 2.0]"),
    (lambda: S.ChainedScheduler([reciprocal]), "children that share one rate > 0, got [None]"),
    (lambda: S.ReduceLROnPlateau(0.1, factor=1), "ReduceLROnPlateau: factor=1.0 is not allowed; expected a number in [0, 1)"),
    (lambda: S.ReduceLROnPlateau(0.1).load_state_dict({"best": 1.}), "the state has ['best']; expected ['best', 'cooldown"),
]


@pytest.mark.parametrize("make, message", BAD, ids=[message[:40] for _, message in BAD])
def test_bad_arguments(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


def test_numbers_become_plain_ones():
    import numpy as np
    s = S.StepLR(np.float32(0.5), np.int64(3), gamma=1)
    assert repr(s) == "StepLR(lr=0.5, step_size=3, gamma=1.0)" and s == S.StepLR(0.5, 3, 1.)


# ---------------------------------------------------------------- the two that are not pure

def test_plateau_resumes_bit_for_bit():
    losses = [1 / (1 + t) if t < 9 else 0.3 for t in range(60)]
    whole = S.ReduceLROnPlateau(0.1, factor=0.3, patience=2, cooldown=3)
    expected = [whole.observe(loss) for loss in losses]
    assert len(set(expected)) > 3
    for cut in range(60):
        first, second = (S.ReduceLROnPlateau(0.1, factor=0.3, patience=2, cooldown=3) for _ in range(2))
        for loss in losses[:cut]:
            first.observe(loss)
        second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
        assert second == first and [second.observe(loss) for loss in losses[cut:]] == expected[cut:]


def optimizer(groups=2):
    return SimpleNamespace(param_groups=[{"lr": 1.} for _ in range(groups)])


def test_adapter_writes_the_schedule_at_once_and_at_each_step():
    opt, s = optimizer(), EXAMPLES[S.CyclicLR]
    scheduler = S.LRScheduler(opt, s)
    for t in range(40):
        assert scheduler.get_last_lr() == [s(t), s(t)] == [g["lr"] for g in opt.param_groups]
        scheduler.step()


def test_adapter_takes_one_schedule_a_group():
    opt, pair = optimizer(), [S.StepLR(0.1, 2), S.ExponentialLR(0.2, gamma=0.5)]
    scheduler = S.LRScheduler(opt, pair)
    scheduler.step()
    assert scheduler.get_last_lr() == [0.1, 0.1]
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.01, 0.05])
    with pytest.raises(ValueError, match="2 schedules for 3 parameter groups"):
        S.LRScheduler(optimizer(3), pair)


def test_adapter_serves_a_group_added_later():
    opt = optimizer(1)
    scheduler = S.LRScheduler(opt, S.ExponentialLR(0.8, gamma=0.5))
    opt.param_groups.append({"lr": 7.})
    scheduler.step()
    assert scheduler.get_last_lr() == [0.4, 0.4]


def test_adapter_observes_a_shared_plateau_once():
    opt, plateau = optimizer(), S.ReduceLROnPlateau(0.8, factor=0.5, patience=1)
    scheduler = S.LRScheduler(opt, plateau)
    for loss in (1., 1., 1.):
        scheduler.step(loss)
    assert scheduler.get_last_lr() == [0.4, 0.4] and plateau.num_bad_epochs == 0


def test_adapter_resumes():
    def make():
        return S.LRScheduler(optimizer(), [S.OneCycleLR(1., total_steps=9), S.ReduceLROnPlateau(0.8, factor=0.5, patience=0)])
    whole, first, second = make(), make(), make()
    rates = []
    for t in range(6):
        whole.step(1.)
        rates.append(whole.get_last_lr())
    for t in range(3):
        first.step(1.)
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    assert second.get_last_lr() == rates[2]
    for t in range(3, 6):
        second.step(1.)
        assert second.get_last_lr() == rates[t]
