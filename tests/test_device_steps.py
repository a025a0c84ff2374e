"""Steps on the GPU, on the stand-in: the CPU's numbers, no waiting of the host, and refusals that change nothing."""
import copy
import math

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.standin import Synchronised
from tests.test_optim import BUILT, BY_NUMBER, CLOSURE, SCHEDULES, draw_grads, every, make, options_of, scheduled
from tinygrad_lite.nn import Parameter

CLIPS = {"norm": lambda ps: tg.clip.clip_grad_norm_(ps, 0.7), "norm of one": lambda ps: tg.clip.clip_grad_norm_(ps, 5.0, 1.0),
         "largest": lambda ps: tg.clip.clip_grad_norm_(ps, 0.5, math.inf), "smallest": lambda ps: tg.clip.clip_grad_norm_(ps, 0.5, -math.inf),
         "count": lambda ps: tg.clip.clip_grad_norm_(ps, 0.5, 0), "zero": lambda ps: tg.clip.clip_grad_norm_(ps, 0.0),
         "long": lambda ps: tg.clip.clip_grad_norm_(ps, 1e9), "layers": lambda ps: tg.clip.clip_grad_norm_per_layer_(ps, 0.3),
         "value": lambda ps: tg.clip.clip_grad_value_(ps, 0.2), "adaptive": lambda ps: tg.clip.adaptive_clip_grad_(ps, 0.05),
         "normalize": tg.clip.normalize_grad_, "centralize": tg.clip.centralize_grad_}


def to(params, device):
    for p in params:
        p.data = tg.backend.to_device(p.data, device)
        p.grad = None if p.grad is None else tg.backend.to_device(p.grad, device)
    return params


def moved_steps(params, opt, seeds, missing=0.0):
    """The steps of test_optim, with gradients that arrive where the parameters live."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for p, g in zip(params, draw_grads(rng, [p.shape for p in params], missing)):
            p.grad = None if g is None else tg.backend.beside(g.astype(p.dtype), p.data)
        opt.step()


def on_host(opt):
    return {name: {k: tg.backend.to_host(v) for k, v in s.items()} for name, s in opt.state.items()}


def assert_same(params, opt, twins, other, rtol=1e-12):
    for p, q in zip(params, twins):
        np.testing.assert_allclose(tg.backend.to_host(p.data), q.data, rtol=rtol, atol=rtol)
    ours, theirs = on_host(opt), other.state
    assert ours.keys() == theirs.keys() and opt.t == other.t
    for name in ours:
        assert ours[name].keys() == theirs[name].keys()
        for k, v in ours[name].items():
            np.testing.assert_allclose(v, theirs[name][k], rtol=rtol, atol=rtol)


@every
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_every_optimizer_makes_the_steps_of_the_cpu(name, missing, gpu):
    (twins, other), (params, opt) = make(name), make(name)
    to(params, "cuda")
    moved_steps(twins, other, range(5), missing), moved_steps(params, opt, range(5), missing)
    assert all(tg.backend.on_gpu(p.data) for p in params)
    assert_same(params, opt, twins, other)


@every
def test_a_model_that_moves_takes_its_optimizer_along(name, gpu):
    (twins, other), (params, opt) = make(name), make(name)
    for seed, device in enumerate(("cpu", "cuda", "cuda", "cpu", "cuda", "cpu")):
        to(params, device)
        moved_steps(params, opt, [seed]), moved_steps(twins, other, [seed])
    assert_same(params, opt, twins, other)


def frozen(state):
    """A state_dict with its arrays as bytes; arrays of the GPU are not allowed in it."""
    if isinstance(state, dict):
        return {k: frozen(v) for k, v in state.items()}
    if isinstance(state, (list, tuple)):
        return [frozen(v) for v in state]
    assert not tg.backend.on_gpu(state)
    return (state.dtype.str, state.shape, state.tobytes()) if isinstance(state, np.ndarray) else state


@every
@pytest.mark.parametrize("lr", [SCHEDULES["one_cycle"], SCHEDULES["plateau"]], ids=["one_cycle", "plateau"])
def test_a_state_travels_between_devices_bit_for_bit(name, lr, gpu):
    params, opt = scheduled(name, lr)
    to(params, "cuda")
    moved_steps(params, opt, [1, 2, 3], missing=0.4)
    saved = opt.state_dict()
    for device in "cpu", "cuda":
        again, fresh = scheduled(name, lr, seed=7)
        for p, q in zip(again, params):
            p.data = tg.backend.to_device(q.data, device).copy()
        fresh.load_state_dict(saved)
        assert frozen(fresh.state_dict()) == frozen(saved)
        if device == "cpu":
            to(again, "cuda")
        moved_steps(again, fresh, [4, 5])
        if device == "cpu":
            expected = frozen(fresh.state_dict())
    moved_steps(params, opt, [4, 5])
    assert frozen(opt.state_dict()) == frozen(fresh.state_dict()) == expected


@every
def test_float16_is_storage_there_too(name, gpu):
    start = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float16)
    p, q = Parameter(gpu.array(start)), Parameter(start.copy())
    opts = [BUILT[name]([x], **options_of(name)) for x in (p, q)]
    for seed in range(4):
        q.grad = np.random.default_rng(seed).normal(size=(4, 5)).astype(np.float16)
        p.grad = gpu.array(q.grad)
        opts[0].step(), opts[1].step()
    np.testing.assert_allclose(gpu.host(p.data), q.data, rtol=2e-3)
    assert {a.dtype for a in on_host(opts[0])["0"].values() if a.ndim} <= {np.dtype("f")}


# --- rows of a table
@pytest.mark.parametrize("name", [n for n, cls in BUILT.items() if cls.accepts_rows])
def test_rows_of_a_table(name, gpu):
    table, opts = np.random.default_rng(0).normal(size=(50, 3)), []
    for move in gpu.array, np.array:
        p = Parameter(move(table))
        opt = BUILT[name]([p], lr=0.1, **{"weight_decay": 0.0} if name == "SGDW" else {})
        for seed in range(4):
            rng = np.random.default_rng(seed)
            p.grad = tg.RowSparse(move(rng.integers(0, 50, 7)), move(rng.normal(size=(7, 3))), (50, 3))
            tg.clip.clip_grad_norm_([p], 1.5)
            assert opt.step()
        opts.append(([p], opt))
    assert_same(*opts[0], *opts[1])
    (p,), opt = opts[0]
    before = gpu.host(p.data)
    p.grad = tg.RowSparse(gpu.array(np.arange(3)), gpu.array(np.array([[1, 2, 3], [1, np.inf, 1], [0, 0, 0.0]])), (50, 3))
    stepped = opt.step()
    with pytest.raises(FloatingPointError, match=f"{name}: the gradient of parameter '0' was not finite"):
        bool(stepped)
    assert np.array_equal(gpu.host(p.data), before) and opt.t == 4


# --- clipping
@pytest.mark.parametrize("kind", ["dense", "many small", "rows", "zeros", "nan", "inf"])
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping_is_that_of_the_cpu(clip, kind, dtype, gpu):
    found = []
    for move in gpu.array, np.array:
        rng = np.random.default_rng(0)
        shapes = [(4,)] * 30 if kind == "many small" else [(), (3, 4), (95, 100), (0, 2), (2, 3, 2)]
        params = [Parameter(move(np.asarray(rng.normal(size=s), dtype))) for s in shapes]
        for p in params:
            p.grad = move(np.asarray(rng.normal(size=p.shape) * (kind != "zeros"), dtype))
        if kind in ("nan", "inf"):
            g = rng.normal(size=(3, 4)).astype(dtype)
            g[1, 2] = float(kind)
            params[1].grad = move(g)
        if kind == "rows":
            params[2].grad = tg.RowSparse(move(rng.integers(0, 95, 9)), move(rng.normal(size=(9, 100)).astype(dtype)), (95, 100))
        params[-1].grad = None
        gpu.reset()
        with np.errstate(all="ignore"):
            told = clip(params)
        waited = dict(gpu.synchronisations)
        told = [tg.backend.to_host(x) for x in told] if isinstance(told, list) else tg.backend.to_host(told)
        grads = [p.grad.to_dense() if isinstance(p.grad, tg.RowSparse) else p.grad for p in params[:-1]]
        found.append((told, [tg.backend.to_host(g) for g in grads], waited))
    (told, grads, waited), (expected, references, _) = found
    np.testing.assert_allclose(told, expected, rtol=1e-6 if dtype == np.float32 else 1e-12)
    for g, reference in zip(grads, references):
        np.testing.assert_allclose(g, reference, rtol=2e-6 if dtype == np.float32 else 1e-12)
    assert waited == {} or kind == "rows"


def test_clipping_names_the_parameter_when_asked(gpu):
    p = Parameter(gpu.array(np.ones(3)), name="w")
    p.grad = gpu.array(np.array([1, np.nan, 1]))
    with pytest.raises(RuntimeError, match="parameter w has norm nan. Nothing was changed"):
        tg.clip.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


def test_gradients_of_two_devices_are_not_clipped_together(gpu):
    p, q = Parameter(gpu.array(np.ones(3))), Parameter(np.ones(3))
    p.grad, q.grad = p.data, q.data
    for clip in tg.clip.clip_grad_norm_, lambda ps, _: tg.clip.normalize_grad_(ps):
        with pytest.raises(TypeError, match="cannot be mixed"):
            clip([p, q], 1.0)


# --- no waiting
STEADY = dict(SGD=dict(lr=0.1), Momentum=dict(lr=0.1, momentum=0.9, nesterov=True), Adam=dict(lr=0.01), AdamW=dict(lr=0.01),
              Adagrad=dict(lr=0.1), RMSprop=dict(lr=0.01, momentum=0.9), NAdam=dict(lr=0.01), SMORMS3=dict(lr=0.01), LARS=dict(lr=0.1, weight_decay=0.01),
              LAMB=dict(lr=0.01, weight_decay=0.01), Adafactor=dict(lr=0.01))


class Training:
    """A small net on its way: forward, loss, backward, clip, step, schedule, on whatever device its batches are."""

    def __init__(self, name, move, clip=1.0, scaler=None):
        tg.seed(0)
        rng = np.random.default_rng(0)
        self.model = tg.nn.Sequential(tg.nn.Linear(6, 200), tg.nn.Tanh(), tg.nn.Linear(200, 60), tg.nn.ReLU(), tg.nn.Linear(60, 4))
        self.model._convert(move)
        self.batches = [(tg.Tensor(move(rng.normal(size=(16, 6)).astype("f"))), move(rng.integers(0, 4, 16))) for _ in range(4)]
        options = dict(STEADY[name], lr=tg.schedules.CosineAnnealingLR(STEADY[name]["lr"], 20))
        self.opt = BUILT[name if name in BUILT else "SGD"](self.model.named_parameters(), **options)
        self.clip, self.scaler, self.bad = clip, scaler, False

    def step(self, i):
        x, y = self.batches[i % 4]
        self.opt.zero_grad()
        loss = tg.losses.cross_entropy(self.model(x), y)
        loss = loss * math.inf if self.bad else loss
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        if self.scaler is not None:
            self.scaler.unscale_(self.opt)
        if self.clip is not None:
            tg.clip.clip_grad_norm_(self.model.parameters(), self.clip)
        stepped = self.opt.step() if self.scaler is None else self.scaler.step(self.opt)
        if self.scaler is not None:
            self.scaler.update()
        return stepped

    def bits(self):
        return frozen([self.model.state_dict(), self.opt.state_dict()])


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaler"])
@pytest.mark.parametrize("clip", [0.5, None], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("name", STEADY)
def test_a_steady_step_waits_for_nothing(name, clip, scaled, gpu):
    scalers = [tg.amp.GradScaler(growth_interval=3) if scaled else None for _ in range(2)]
    run, twin = Training(name, gpu.array, clip, scalers[0]), Training(name, np.array, clip, scalers[1])
    for i in range(3):
        run.step(i), twin.step(i)
    gpu.reset()
    with gpu.strict():                                      # each wait raises here
        for i in range(3, 9):
            stepped = run.step(i)
            twin.step(i)
            assert run.opt._gate is stepped and stepped.late is not None        # the answer is not read before the next step
    assert sum(gpu.synchronisations.values()) == 0 and sum(gpu.uploads.values()) == 0
    assert gpu.late_reads["Event.synchronize"] == 6 * (1 + scaled)
    for p, q in zip(run.model.parameters(), twin.model.parameters()):
        np.testing.assert_allclose(gpu.host(p.data), q.data, rtol=2e-4, atol=2e-5)
    assert run.opt.t == twin.opt.t == 9 and bool(stepped) is True
    if scaled:
        assert scalers[0].state_dict() == scalers[1].state_dict() and scalers[0].get_scale() == 2.0 ** 19


@pytest.mark.parametrize("name", ["Muon", "MuonF64"])
def test_matrices_wait_for_nothing(name, gpu):
    (twins, other), (params, opt) = make(name), make(name)
    to(params, "cuda")
    moved_steps(twins, other, range(3))
    for seed in range(3):
        for p, g in zip(params, draw_grads(np.random.default_rng(seed), [p.shape for p in params], 0.0)):
            p.grad = gpu.array(g.astype(p.dtype))
        with gpu.strict():
            stepped = opt.step()
            assert opt._gate is stepped and stepped.late is not None
    assert_same(params, opt, twins, other)


def test_without_the_check_there_is_nothing_to_wait_for(gpu):
    p = Parameter(gpu.array(np.ones(3)))
    opt = tg.optim.Adam([p], check_finite=False)
    p.grad = gpu.array(np.ones(3))
    with gpu.strict():
        assert opt.step() is True and opt.t == 1
    assert not gpu.late_reads


# --- refusals: all or nothing, a step late
@pytest.mark.parametrize("clip", [0.5, None], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("where, bad", [(1, np.nan), (2, np.inf), (3, -np.inf)])
@every
def test_a_bad_gradient_changes_nothing(name, where, bad, clip, gpu):
    params, opt = make(name, dtype=np.float32)
    to(params, "cuda")
    moved_steps(params, opt, [1, 2])
    before = frozen([[tg.backend.to_host(p.data) for p in params], opt.state_dict()])
    for p in params:
        g = np.full(p.shape, 0.5, "f")
        if p is params[where]:
            g.reshape(-1)[-1] = bad
        p.grad = gpu.array(g)
    if clip:
        tg.clip.clip_grad_norm_(params, clip)
    with pytest.raises(FloatingPointError, match=f"{name}: the gradient of parameter 'p{where}' was not finite"):
        opt.step()
        opt.zero_grad()
        moved_steps(params, opt, [3])                       # at the latest here, and before anything moves
    assert frozen([[tg.backend.to_host(p.data) for p in params], opt.state_dict()]) == before
    moved_steps(params, opt, [3])
    twins, other = make(name, dtype=np.float32)
    to(twins, "cuda")
    moved_steps(twins, other, [1, 2, 3])
    assert frozen(opt.state_dict()) == frozen(other.state_dict())


@pytest.mark.parametrize("ask", [lambda opt, stepped: bool(stepped), lambda opt, stepped: opt.t, lambda opt, stepped: opt.lr,
                                 lambda opt, stepped: opt.state, lambda opt, stepped: opt.state_dict(), lambda opt, stepped: repr(opt),
                                 lambda opt, stepped: opt.untouched, lambda opt, stepped: copy.deepcopy(opt)],
                         ids=["bool", "t", "lr", "state", "state_dict", "repr", "untouched", "copy"])
def test_whoever_asks_hears_of_a_refusal_once(ask, gpu):
    p = Parameter(gpu.array(np.ones(3)), name="w")
    opt = tg.optim.NAdam([p], lr=0.1)
    for g in 1.0, np.nan:
        p.grad = gpu.array(np.full(3, g))
        with gpu.strict():
            stepped = opt.step()
    with pytest.raises(FloatingPointError, match="NAdam: the gradient of parameter 'w' was not finite"):
        ask(opt, stepped)
    assert bool(stepped) is False and opt.t == 1 and opt.state["w"]["step"] == 1 and opt.lr == 0.1
    ask(opt, stepped)


def test_a_first_step_that_is_refused_was_never_there(gpu):
    p, q = Parameter(gpu.array(np.ones(9000))), Parameter(gpu.array(np.ones(9000)))
    opts = [tg.optim.SGD([x], lr=0.1, momentum=0.9, dampening=0.5) for x in (p, q)]
    p.grad = gpu.array(np.full(9000, np.nan))
    with pytest.raises(FloatingPointError):
        bool(opts[0].step())
    assert opts[0].t == 0 and opts[0].state == {}
    for _ in range(2):
        p.grad = q.grad = gpu.array(np.ones(9000))
        opts[0].step(), opts[1].step()
    assert np.array_equal(gpu.host(p.data), gpu.host(q.data)) and gpu.host(p.data)[0] == np.float64(1 - 0.1 - 0.1 * 1.4)


@pytest.mark.parametrize("where", [0, 1])
def test_several_optimizers_step_together_or_not_at_all(where, gpu):
    params = [Parameter(gpu.array(np.ones(4)), name=f"p{i}") for i in range(2)]
    both = tg.optim.MultipleOptimizer(tg.optim.Adam(params[:1], lr=0.1), tg.optim.SGD(params[1:], lr=0.1))
    for g in 1.0, np.inf:
        for p in params:
            p.grad = gpu.array(np.ones(4))
        params[where].grad = gpu.array(np.full(4, g))
        with gpu.strict():
            stepped = both.step()
    for p in params:
        p.grad = gpu.array(np.ones(4))
    with pytest.raises(FloatingPointError, match=f"'p{where}' was not finite"):
        both.step()
    assert [o.t for o in both.optimizers] == [1, 1] and bool(stepped) is False
    assert [gpu.host(p.data)[0] for p in params] == [np.float64(1) - 0.1 / (1 + 1e-8), 0.9]
    assert both.step() and [o.t for o in both.optimizers] == [2, 2]


def test_parameters_in_two_places_step_together_too(gpu):
    p, q = Parameter(gpu.array(np.ones(4)), name="there"), Parameter(np.ones(4), name="here")
    opt = tg.optim.SGD([p, q], lr=0.5)
    p.grad, q.grad = gpu.array(np.ones(4)), np.ones(4)
    assert opt.step() and gpu.host(p.data)[0] == q.data[0] == 0.5
    p.grad = gpu.array(np.full(4, np.nan))
    with pytest.raises(FloatingPointError, match="'there'"):
        opt.step()
    assert gpu.host(p.data)[0] == q.data[0] == 0.5 and opt.t == 1


@pytest.mark.parametrize("name", BY_NUMBER)
@pytest.mark.parametrize("dtype, large", [(np.float32, 1e30), (np.float64, 1e200)])
def test_large_gradients_are_no_bad_ones(name, dtype, large, gpu):
    params, opt = make(name, dtype=dtype)
    to(params, "cuda")
    for p in params:
        p.grad = gpu.array(np.full(p.shape, large, dtype))
    with np.errstate(over="ignore"):
        assert opt.step() and opt.t == 1


# --- the loss scaler
def test_a_scaler_skips_and_adapts_there(gpu):
    runs = [Training("Adam", move, None, tg.amp.GradScaler(init_scale=8.0, growth_interval=2, max_scale=16.0, patience=9))
            for move in (gpu.array, np.array)]
    for i, bad in enumerate([False, True, False, False, False, True, True, True, True, True, True, False]):
        told = []
        for run in runs:
            run.bad = bad
            with np.errstate(invalid="ignore"), gpu.strict():
                told.append(run.step(i))
        assert runs[0].scaler.state_dict() == runs[1].scaler.state_dict()
        assert bool(told[0]) is told[1] is (not bad) and runs[0].opt.t == runs[1].opt.t
    for p, q in zip(runs[0].model.parameters(), runs[1].model.parameters()):
        np.testing.assert_allclose(gpu.host(p.data), q.data, rtol=1e-4, atol=1e-6)


def test_a_scaler_that_gives_up_says_so_an_update_later(gpu):
    run = Training("SGD", gpu.array, None, tg.amp.GradScaler(init_scale=2.0, patience=3))
    run.bad, before = True, run.bits()
    with pytest.raises(FloatingPointError, match=r"3 steps in a row skipped at the smallest scale 1: .*of group 0 is not finite"):
        with np.errstate(invalid="ignore"):
            for i in range(5):
                run.step(i)
    assert i == 4 and run.bits() == before and run.opt.t == 0


def test_a_scaler_moves_between_devices(gpu):
    scaler, p = tg.amp.GradScaler(init_scale=4.0, growth_interval=1), Parameter(np.ones(2))
    opt = tg.optim.SGD([p], lr=0.5)
    for device, scale in ("cuda", 4.0), ("cpu", 8.0), ("cuda", 16.0):
        to([p], device)
        p.grad = None
        scaler.scale((p * 2).sum()).backward()
        assert (tg.backend.to_host(p.grad) == 2 * scale).all()
        assert scaler.step(opt)
        scaler.update()
    assert (tg.backend.to_host(p.data) == -2).all()
    saved = scaler.state_dict()
    assert saved == {"scale": 32.0, "growth_tracker": 0, "skipped": 0} and {type(v) for v in saved.values()} == {float, int}


def test_half_precision_trains_there(gpu):
    runs = []
    for move in gpu.array, np.array:
        tg.seed(0)
        model, rng = tg.nn.Sequential(tg.nn.Linear(4, 32), tg.nn.Tanh(), tg.nn.Linear(32, 1)), np.random.default_rng(0)
        model._convert(move)
        half, scaler, opt = tg.amp.Half(model), tg.amp.GradScaler(growth_interval=5), tg.optim.Adam(model.named_parameters(), lr=0.01)
        for _ in range(12):
            x = rng.normal(size=(8, 4)).astype("f")
            opt.zero_grad()
            with np.errstate(over="ignore"):
                loss = tg.losses.mse_loss(half(tg.Tensor(move(x))), tg.Tensor(move(x[:, :1])))
                scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
        runs.append((model.state_dict(), loss.item(), scaler.state_dict()))
    (weights, loss, scale), (others, other, twin) = runs
    assert scale == twin and abs(loss - other) < 2e-3
    for k in weights:
        np.testing.assert_allclose(weights[k], others[k], rtol=2e-2, atol=2e-3)


# --- L-BFGS, which asks for numbers
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_goes_the_way_of_the_cpu_and_travels(search, gpu):
    def run(devices):
        p = Parameter(np.array([-1.5, 2.0, 0.5, 0.3]))
        opt, losses = tg.optim.LBFGS([p], lr=0.5, max_iter=4, line_search_fn=search), []

        def closure():
            opt.zero_grad()
            loss = ((1 - p[:-1]) ** 2 + 5 * (p[1:] - p[:-1] ** 2) ** 2).sum()
            loss.backward()
            return loss
        for device in devices:
            to([p], device)
            losses.append(opt.step(closure).item())
            saved, opt = opt.state_dict(), tg.optim.LBFGS([p], lr=0.5, max_iter=4, line_search_fn=search)
            opt.load_state_dict(saved)
        return losses, tg.backend.to_host(p.data)
    (losses, end), (others, other) = run(["cuda", "cuda", "cpu", "cuda"]), run(["cpu"] * 4)
    np.testing.assert_allclose(losses, others, rtol=1e-9)
    np.testing.assert_allclose(end, other, rtol=1e-9)
    assert losses[-1] < losses[0] / 10


def test_lbfgs_refuses_by_name(gpu):
    p = Parameter(gpu.array(np.ones(3)), name="w")
    opt = tg.optim.LBFGS([p])

    def closure():
        p.grad = gpu.array(np.array([1, np.nan, 1.0]))
        return tg.Tensor(1.0)
    with pytest.raises(FloatingPointError, match="LBFGS: the gradient of parameter 'w' is not finite: nan at index"):
        opt.step(closure)
