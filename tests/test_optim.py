"""Optimizers: the reference numbers, PyTorch on drawn parameters, and what the base class promises for every one of them."""
import json
import pickle

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tinygrad_lite.nn import Parameter

FILES = {name: load_reference(name) for name in ("optimizers", "optimizers_plain", "optimizers_sparse")}
NAMED = {c["optimizer"] for d in FILES.values() for c in d["cases"]}
BUILT = {cls.__name__: cls for cls in tg.optim.ALL}
NOT_BUILT = set()                       # names in the files that tg.optim does not have yet
CLOSURE = {"LBFGS"}                     # cannot step without one: it has tests of its own


def cases(file):
    return [pytest.param(c, id=c["id"]) for c in FILES[file]["cases"] if c["optimizer"] not in NOT_BUILT]


def tuples(options):
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}


def compare_state(ours, theirs):
    assert ours.keys() - {"step"} == theirs.keys() - {"step"}
    for key in theirs:
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-10, atol=1e-12, err_msg=key)


def test_every_optimizer_of_the_files_is_tested_or_not_built():
    assert {n for n in NOT_BUILT if hasattr(tg.optim, n)} == set(), "built now: take it out of NOT_BUILT"
    assert NAMED - NOT_BUILT == set(BUILT) - CLOSURE and NOT_BUILT <= NAMED and set(OPTIONS) <= set(BUILT)


@pytest.mark.parametrize("case", cases("optimizers") + cases("optimizers_plain"))
def test_reference(case):
    sequence = FILES["optimizers_plain" if case["source"] == "plain" else "optimizers"]["sequences"][case["sequence"]]
    params = [Parameter(np.array(a)) for a in sequence["params"]]
    groups = [{**tuples(g), "params": [params[i] for i in g["params"]]} for g in case["groups"]] if case.get("groups") else params
    opt = BUILT[case["optimizer"]](groups, **{**case.get("defaults", {}), **tuples(case["kwargs"])})
    rtol, atol = 1e-10, 1e-12
    if case["id"].endswith("scalar32"):                 # PyTorch rounds some numbers to float32 there, ours stay float64
        rtol = atol = np.finfo(np.float32).eps
    if case["optimizer"] == "Muon":                     # PyTorch's iteration runs in bfloat16: MuonF64 has the exact cases
        rtol, atol = 0, 0.25 * opt.lr
    for t, grads in enumerate(sequence["grads"]):
        for group in opt.param_groups if case.get("lr_per_step") else ():
            group["lr"] = case["lr_per_step"][t]
        for p, g in zip(params, grads):
            p.grad = None if g is None else np.array(g)
        opt.step()
        for p, after in zip(params, case["params_after"][t]):
            np.testing.assert_allclose(p.data, after, rtol=rtol, atol=atol, err_msg=f"step {t}")
    if rtol == 1e-10 and case["source"] == "torch":     # the others' state has names of its own
        for slot in opt.slots.values():
            place = next(i for i, p in enumerate(params) if p is slot.p)
            compare_state(opt.state.get(slot.name, {}), case["state"][place])


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("case", cases("optimizers_sparse"))
def test_sparse_reference(case, size):
    sequence = FILES["optimizers_sparse"]["sequences"][case["sequence"]]
    start, (n, d) = np.array(sequence["param"]), np.shape(sequence["param"])
    rows = 10_000 if size == "large" else n             # both ways to keep state: in the shared block, and alone
    p = Parameter(np.vstack([start, np.ones((rows - n, d))]))
    opt = BUILT[case["optimizer"]]([p], **tuples(case["kwargs"]))
    for t, g in enumerate(sequence["grads"]):
        p.grad = None if g is None else tg.RowSparse(np.array(g["indices"], np.int64).ravel(),
                                                     np.array(g["values"]).reshape(-1, d), p.shape)
        opt.step()
        np.testing.assert_allclose(p.data[:n], case["params_after"][t], rtol=1e-10, atol=1e-12)
        assert (p.data[n:] == 1).all()


# --- PyTorch on drawn parameters of every layout
CONFIGS = [
    ("SGD", dict(lr=0.1)), ("SGD", dict(lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.1)),
    ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True, maximize=True)), ("SGD", dict(lr=30.0, momentum=0.5)),
    ("Adagrad", dict(lr=0.1)), ("Adagrad", dict(lr=3.0, lr_decay=0.2, initial_accumulator_value=0.5, weight_decay=0.1, eps=0.1)),
    ("Adam", dict(lr=0.01)), ("Adam", dict(lr=0.1, betas=(0.5, 0.9), eps=0.1, weight_decay=0.1, amsgrad=True, maximize=True)),
    ("Adam", dict(lr=10.0, weight_decay=0.05, decoupled_weight_decay=True)),
    ("AdamW", dict(lr=0.01)), ("AdamW", dict(lr=0.1, weight_decay=0.3, amsgrad=True)),
    ("RMSprop", dict(lr=0.1, momentum=0.9, centered=True, eps=0.1)), ("Adadelta", dict(lr=2.0, rho=0.8, eps=1e-3)),
    ("RAdam", dict(lr=0.1, betas=(0.9, 0.9))), ("Adamax", dict(lr=0.1, weight_decay=0.1))]


def layouts(rng):
    """Arrays of every shape and memory layout that a parameter may have; the last two exceed what shares a block."""
    return [np.asarray(rng.normal()), rng.normal(size=5), rng.normal(size=(3, 4)), np.empty((0, 3)),
            np.asfortranarray(rng.normal(size=(4, 3))), rng.normal(size=(6, 8))[::2, ::-2], rng.normal(size=1),
            rng.normal(size=(95, 100)), np.asfortranarray(rng.normal(size=(100, 95)))]


def draw_grads(rng, shapes, missing=0.25):
    return [None if rng.random() < missing else np.asarray(rng.normal(size=s)) for s in shapes]


def in_both(torch, params, twins, grads):
    for p, q, g in zip(params, twins, grads):
        p.grad = None if g is None else g.astype(p.dtype)
        q.grad = None if g is None else torch.from_numpy(g.astype(p.dtype))


def twin(torch, array):
    return torch.nn.Parameter(torch.from_numpy(np.array(array, order="C")))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name, options", CONFIGS)
def test_torch_agrees_on_every_layout(name, options, dtype, torch):
    rng = np.random.default_rng(0)
    arrays = [a.astype(dtype, order="K") for a in layouts(rng)]
    arrays[5] = np.repeat(np.repeat(arrays[5], 2, 0), 3, 1)[::2, ::3]
    assert not arrays[5].flags.contiguous and not arrays[4].flags.c_contiguous and not arrays[8].flags.c_contiguous
    params, twins = [Parameter(a) for a in arrays], [twin(torch, a) for a in arrays]
    half = [{"params": list(range(4)), "lr": options["lr"] / 2, "weight_decay": 0.01}, {"params": list(range(4, 9))}]
    ours = BUILT[name]([{**g, "params": [params[i] for i in g["params"]]} for g in half], **options)
    theirs = getattr(torch.optim, name)([{**g, "params": [twins[i] for i in g["params"]]} for g in half], **options, foreach=False)
    rtol, atol = (1e-10, 1e-12) if dtype == np.float64 else (2e-5, 2e-6 * max(1, options["lr"]))
    for step in range(12):
        in_both(torch, params, twins, draw_grads(rng, [a.shape for a in arrays], missing=0.25 * (step > 3)))
        for i in (0, 1):
            ours.param_groups[i]["lr"] = theirs.param_groups[i]["lr"] = options["lr"] / (1 + i + step)
        assert ours.step() is True
        theirs.step()
        for p, q in zip(params, twins):
            assert p.dtype == dtype
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=rtol, atol=atol, err_msg=f"step {step}")


@pytest.mark.parametrize("name, options", CONFIGS)
def test_torch_agrees_on_many_small_parameters(name, options, torch):
    rng = np.random.default_rng(1)
    shapes = [(int(n),) for n in rng.integers(1, 40, 100)] + [(2, 3)] * 20
    arrays = [rng.normal(size=s) for s in shapes]
    params, twins = [Parameter(a) for a in arrays], [twin(torch, a) for a in arrays]
    ours = BUILT[name](params, **options)
    theirs = getattr(torch.optim, name)(twins, **options, foreach=False)
    for missing in (0, 0, 0.5, 0, 0.1, 0):
        in_both(torch, params, twins, draw_grads(rng, shapes, missing))
        ours.step(), theirs.step()
        for p, q in zip(params, twins):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-10, atol=1e-12)


# --- what holds for every optimizer
OPTIONS = dict(SGD=dict(lr=0.1, momentum=0.9, weight_decay=0.01), Adagrad=dict(lr=0.1, lr_decay=0.1), Adam=dict(lr=0.1, amsgrad=True),
               RMSprop=dict(lr=0.1, momentum=0.9, centered=True))


def options_of(name):
    return {"lr": 0.1, **OPTIONS.get(name, {})}


def make(name, seed=0, dtype=np.float64, **options):
    """Four parameters, of which two are small, one is large, and one is a single number (a 1x1 matrix for Muon)."""
    rng = np.random.default_rng(seed)
    sizes = ((3, 1), (2, 4), (90, 100), (1, 1)) if name.startswith("Muon") else ((3,), (2, 4), (9000,), ())
    params = [Parameter(np.asarray(rng.normal(size=s)).astype(dtype), name=f"p{i}") for i, s in enumerate(sizes)]
    return params, BUILT[name](params, **{**options_of(name), **options})


def steps(params, opt, seeds, missing=0.0):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for p, g in zip(params, draw_grads(rng, [p.shape for p in params], missing)):
            p.grad = None if g is None else g.astype(p.dtype)
        opt.step()


def bits(params, opt=None):
    """Everything that a step may change, in bytes: the test for `unchanged` and for `the same bit for bit`."""
    state = opt.state if opt is not None else {}
    return ([p.data.tobytes() for p in params],
            {n: {k: np.asarray(v).tobytes() for k, v in s.items()} for n, s in state.items()}, opt and opt.t)


every = pytest.mark.parametrize("name", [n for n, cls in BUILT.items() if not cls.rows_only and n not in CLOSURE])
BY_NUMBER = [n for n, cls in BUILT.items() if not cls.rows_only and n not in CLOSURE and not hasattr(cls, "update_param")]
ONE = tg.schedules.OneCycleLR(0.2, total_steps=8)
SCHEDULES = dict(constant=0.1, sine=tg.schedules.SineRestarts(0.2, 4), one_cycle=ONE, step=tg.schedules.StepLR(0.1, 2),
                 warm=tg.schedules.CosineAnnealingWarmRestarts(0.1, 3), plateau=None)


def scheduled(name, lr, seed=0):
    """A new optimizer with a new schedule where it is not pure, and with 1cycle's momentum where there is a place for it."""
    plateau = tg.schedules.ReduceLROnPlateau(0.1, patience=0, factor=0.5)
    momentum = {"SGD": dict(momentum=ONE.momentum), "Adam": dict(betas=(ONE.momentum, 0.99))}.get(name, {}) if lr is ONE else {}
    return make(name, seed, lr=plateau if lr is None else lr, **momentum)


@every
@pytest.mark.parametrize("lr", SCHEDULES.values(), ids=SCHEDULES)
def test_three_steps_saved_and_three_more_are_six(name, lr):
    def observed(opt, metrics):
        for metric in metrics if lr is None else ():
            opt.param_groups[0]["lr"].observe(metric)
    params, opt = scheduled(name, lr)
    steps(params, opt, [1, 2, 3], missing=0.4)
    observed(opt, [1.0, 2.0, 2.0])
    saved, arrays = pickle.loads(pickle.dumps(opt.state_dict())), [p.data.copy() for p in params]
    assert len({s["step"] for s in saved["state"].values()}) > 1, "the steps of the parameters should differ here"
    observed(opt, [3.0, 1.5])
    steps(params, opt, [4, 5, 6], missing=0.4)

    again, fresh = scheduled(name, lr, seed=7)
    for p, a in zip(again, arrays):
        p.data = a
    fresh.load_state_dict(saved)
    observed(fresh, [3.0, 1.5])
    steps(again, fresh, [4, 5, 6], missing=0.4)
    assert bits(again, fresh) == bits(params, opt) and fresh.lr == opt.lr
    json.dumps(saved["param_groups"])                  # plain values: any format can hold them


@every
def test_a_schedule_is_the_rate_of_each_step(name):
    one = tg.schedules.OneCycleLR(0.3, total_steps=6)
    params, opt = make(name, lr=one)
    twins, other = make(name, lr=1.0)
    assert opt.param_groups[0]["lr"] is one
    for t in range(8):
        assert opt.t == t and opt.lr == one(t)
        other.param_groups[0]["lr"] = one(t)
        steps(params, opt, [t]), steps(twins, other, [t])
        assert bits(params) == bits(twins)


def test_momentum_follows_its_schedule(torch):
    one = tg.schedules.OneCycleLR(0.3, total_steps=6)
    for name, key, values in [("SGD", "momentum", lambda m: m), ("Adam", "betas", lambda m: (m, 0.9))]:
        params, opt = make(name, **{"lr": one, key: values(one.momentum)})
        twins = [twin(torch, p.data) for p in params]
        theirs = getattr(torch.optim, name)(twins, **{**options_of(name), key: values(0.5)}, foreach=False)
        for t in range(8):
            theirs.param_groups[0].update({"lr": one(t), key: values(one.momentum(t))})
            in_both(torch, params, twins, draw_grads(np.random.default_rng(t), [p.shape for p in params], 0))
            opt.step(), theirs.step()
            for p, q in zip(params, twins):
                np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-10, atol=1e-12)


@every
def test_no_gradient_leaves_a_parameter_alone(name):
    params, opt = make(name, weight_decay=0.5) if "weight_decay" in BUILT[name].defaults else make(name)
    before = [p.data.copy() for p in params]
    assert opt.step() is False and opt.t == 0 and opt.stepped is False and opt.state == {}
    params[0].grad, params[2].grad = np.ones(params[0].shape), np.ones(params[2].shape)
    assert opt.step() is True and opt.t == 1 and opt.stepped is True
    assert [np.array_equal(p.data, b) for p, b in zip(params, before)] == [False, True, False, True]
    assert set(opt.state) == {"p0", "p2"}
    steps(params, opt, [3])
    assert [opt.state[f"p{i}"]["step"] for i in range(4)] == [2, 1, 2, 1]


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [1, 2, 3])             # in the shared block, alone, and a single number
def test_a_bad_gradient_is_refused_and_changes_nothing(name, bad, where):
    params, opt = make(name)
    steps(params, opt, [1, 2])
    before = bits(params, opt)
    for p in params:
        p.grad = np.full(p.shape, 0.5)
    params[where].grad.reshape(-1)[-1] = bad
    with pytest.raises(FloatingPointError, match=f"{name}.*p{where}.*{bad}"):
        opt.step()
    assert bits(params, opt) == before
    steps(params, opt, [3])
    twins, other = make(name)
    steps(twins, other, [1, 2, 3])
    assert bits(params, opt) == bits(twins, other)


@every
def test_unchecked_gradients_pass_through(name):
    params, opt = make(name, check_finite=False)
    for p in params:
        p.grad = np.ones(p.shape)
    params[1].grad[0, 0] = params[2].grad.reshape(-1)[5] = np.nan
    with np.errstate(invalid="ignore"):
        assert opt.step() is True
    assert [bool(np.isnan(p.data).any()) for p in params] == [False, True, True, False]


@pytest.mark.parametrize("name", BY_NUMBER)             # the others take norms: those of such gradients do overflow
@pytest.mark.parametrize("dtype, large", [(np.float32, 1e30), (np.float64, 1e200)])
def test_large_gradients_are_no_bad_ones(name, dtype, large):
    params, opt = make(name, dtype=dtype)
    for p in params:
        p.grad = np.full(p.shape, large, dtype)
    assert opt.step() is True                           # their squares overflow: no refusal, and no warning


@every
def test_float16_is_storage(name):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(4, 5)).astype(np.float16)
    half, single = Parameter(start.copy()), Parameter(start.astype(np.float32))
    opts = [BUILT[name]([p], **options_of(name)) for p in (half, single)]
    for _ in range(5):
        half.grad = rng.normal(size=(4, 5)).astype(np.float16)
        single.grad = half.grad.astype(np.float32)
        for opt in opts:
            opt.step()
        single.data = single.data.astype(np.float16).astype(np.float32)
        assert half.dtype == np.float16 and np.array_equal(half.data, single.data)
    assert all(a.dtype == np.float32 for a in opts[0].state["0"].values() if isinstance(a, np.ndarray))


@every
def test_positional_options_and_signature(name):
    cls, options = BUILT[name], options_of(name)
    values = [options.get(k, v) for k, v in cls.defaults.items()]
    a, b = Parameter([[1.0, 2.0]]), Parameter([[1.0, 2.0]])
    by_place, by_name = cls([a], *values), cls([b], foreach=None, fused=False, **options)
    assert by_place.param_groups[0].keys() == by_name.param_groups[0].keys() and repr(by_place) == repr(by_name)
    assert f"lr={options['lr']}" in repr(by_place)
    for p, opt in ((a, by_place), (b, by_name)):
        p.grad = np.array([[1, -2]], "f")
        opt.step()
    assert np.array_equal(a.data, b.data) and not np.array_equal(a.data, [[1, 2]])
    with pytest.raises(TypeError, match="unknown option 'learning_rate'; known are .*lr.*maximize"):
        cls([a], learning_rate=1.0)
    with pytest.raises(TypeError, match="unknown option 'rate'"):
        cls([{"params": [a], "rate": 1.0}])
    with pytest.raises(TypeError, match="at most"):
        cls([a], *values, 0, 0, 0)
    with pytest.raises(ValueError, match="lr: got -1"):
        cls([a], lr=-1.0)
