"""Steps on the card: every optimizer makes the CPU's steps, clipping and the loss scaler too, and a steady step never waits.

That nobody waits is seen twice. CuPy's own watch raises where it copies to the host or is told to synchronise (the copies of
late.py go past it: they are asynchronous). And the queue itself is timed: with a long kernel before it, a step that waited
for anything would return after that kernel, not before it.
"""
import contextlib
import time

import numpy as np
import pytest

import tinygrad_lite as tg
from tests import test_device_steps as steps
from tests.gpu.watch import watched
from tests.test_optim import BUILT, CLOSURE, every, make

pytestmark = pytest.mark.gpu
COUNTS = {}                                 # what was compared, told at the end


@pytest.fixture(scope="module")
def card():
    import cupy
    return cupy


def same(what, ours, theirs, allowed):
    """Compare an array of the card with the host's, and count it."""
    ours, theirs = tg.backend.to_host(ours).astype(float), np.asarray(theirs, float)
    worst = float((np.abs(ours - theirs) / (1 + np.abs(theirs))).max(initial=0))
    n, most = COUNTS.get(what, (0, 0.0))
    COUNTS[what] = n + 1, max(most, worst)
    assert ours.shape == theirs.shape and worst <= allowed, f"{what}: {worst:.2e} > {allowed:g}"


@every
@pytest.mark.parametrize("dtype, allowed", [(np.float32, 2e-5), (np.float64, 1e-11)])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_every_optimizer(name, dtype, allowed, missing, card):
    (params, opt), (twins, other) = make(name, dtype=dtype), make(name, dtype=dtype)
    steps.to(params, "cuda")
    allowed = 100 * allowed if name.startswith("Muon") or hasattr(BUILT[name], "update_param") else allowed     # they divide by norms
    steps.moved_steps(params, opt, range(10), missing), steps.moved_steps(twins, other, range(10), missing)
    for p, q in zip(params, twins):
        same(f"optimizers {np.dtype(dtype)}", p.data, q.data, allowed)
    assert opt.t == other.t and opt.state.keys() == other.state.keys()
    for slot, state in other.state.items():
        for k, v in state.items():
            same(f"states {np.dtype(dtype)}", opt.state[slot][k], v, allowed)


def test_every_optimizer_is_among_them():
    assert {name for name, cls in BUILT.items() if not cls.rows_only} - CLOSURE == set(every.args[1])


@pytest.mark.parametrize("clip", steps.CLIPS.values(), ids=steps.CLIPS)
@pytest.mark.parametrize("dtype, allowed", [(np.float32, 2e-6), (np.float64, 1e-12)])
def test_clipping(clip, dtype, allowed, card):
    found = []
    for move in card.asarray, np.array:
        rng = np.random.default_rng(0)
        params = [tg.nn.Parameter(move(np.asarray(rng.normal(size=s), dtype))) for s in [(), (3, 4), (300, 100), (0, 2), *[(7,)] * 20]]
        for p in params:
            p.grad = move(np.asarray(rng.normal(size=p.shape), dtype))
        with watched() if move is card.asarray else contextlib.nullcontext():
            told = clip(params)
        found.append(([tg.backend.to_host(x) for x in told] if isinstance(told, list) else tg.backend.to_host(told), [p.grad for p in params]))
    (told, grads), (expected, references) = found
    same("clipping", np.asarray(told), expected, allowed)
    for g, reference in zip(grads, references):
        same("clipping", g, reference, allowed)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaler"])
@pytest.mark.parametrize("clip", [0.5, None], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("name", steps.STEADY)
def test_a_steady_step_waits_for_nothing(name, clip, scaled, card):
    scalers = [tg.amp.GradScaler(growth_interval=3) if scaled else None for _ in range(2)]
    run, twin = steps.Training(name, card.asarray, clip, scalers[0]), steps.Training(name, np.array, clip, scalers[1])
    for i in range(5):                      # compiles, fills the memory pools
        run.step(i), twin.step(i)
    with watched():
        for i in range(5, 10):
            stepped = run.step(i)
            twin.step(i)
    assert run.opt.t == twin.opt.t == 10 and bool(stepped) is True
    for p, q in zip(run.model.parameters(), twin.model.parameters()):
        same("steady steps", p.data, q.data, 2e-3)
    if scaled:
        assert scalers[0].state_dict() == scalers[1].state_dict()


def test_the_host_runs_ahead(card):
    """A kernel of about a second stands before the step in the queue: whoever waits for the queue comes back after it."""
    busy = card.RawKernel(r"""extern "C" __global__ void busy(long long n) {
        long long from = clock64();
        while (clock64() - from < n);
    }""", "busy")
    run = steps.Training("Adam", card.asarray, 0.5, tg.amp.GradScaler())
    for i in range(5):
        run.step(i)
    run.opt.settle(), run.scaler.settle()   # the answers of the step before are there already
    busy((1,), (1,), (np.int64(0),))
    card.cuda.Device().synchronize()
    started = time.perf_counter()
    busy((1,), (1,), (np.int64(1_500_000_000),))
    stepped = run.step(5)
    launched = time.perf_counter() - started
    assert bool(stepped)
    done = time.perf_counter() - started
    print(f"\na step was launched in {1e3 * launched:.1f} ms, behind a kernel of {1e3 * done:.0f} ms")
    assert done > 0.3 and launched < 0.5 * done


@pytest.mark.parametrize("where, bad", [(1, np.nan), (2, np.inf), (3, -np.inf)])
@every
def test_a_bad_gradient_changes_nothing(name, where, bad, card):
    params, opt = make(name, dtype=np.float32)
    steps.to(params, "cuda")
    steps.moved_steps(params, opt, [1, 2])
    before = steps.frozen([[p.data.get() for p in params], opt.state_dict()])
    for p in params:
        g = np.full(p.shape, 0.5, "f")
        if p is params[where]:
            g.reshape(-1)[-1] = bad
        p.grad = card.asarray(g)
    with pytest.raises(FloatingPointError, match=f"{name}: the gradient of parameter 'p{where}' was not finite"):
        opt.step()
        steps.moved_steps(params, opt, [3])
    assert steps.frozen([[p.data.get() for p in params], opt.state_dict()]) == before


def test_a_scaler_skips_and_adapts(card):
    runs = [steps.Training("Adam", move, None, tg.amp.GradScaler(init_scale=8.0, growth_interval=2, max_scale=16.0, patience=9))
            for move in (card.asarray, np.array)]
    for i, bad in enumerate([False, True, False, False, False, True, True, True, True, True, True, False]):
        for run in runs:
            run.bad = bad
            with np.errstate(invalid="ignore"):
                run.step(i)
        assert runs[0].scaler.state_dict() == runs[1].scaler.state_dict() and runs[0].opt.t == runs[1].opt.t
    for p, q in zip(runs[0].model.parameters(), runs[1].model.parameters()):
        same("scaled steps", p.data, q.data, 1e-3)


def test_rows_of_a_table(card):
    for name in [n for n, cls in BUILT.items() if cls.accepts_rows]:
        tables = []
        for move in card.asarray, np.array:
            p = tg.nn.Parameter(move(np.random.default_rng(0).normal(size=(50, 3))))
            opt = BUILT[name]([p], lr=0.1, **{"weight_decay": 0.0} if name == "SGDW" else {})
            for seed in range(4):
                rng = np.random.default_rng(seed)
                p.grad = tg.RowSparse(move(rng.integers(0, 50, 7)), move(rng.normal(size=(7, 3))), (50, 3))
                assert opt.step()
            tables.append(p.data)
        same("rows", *tables, 1e-11)


def test_a_checkpoint_travels(card, tmp_path):
    path, runs = tmp_path / "run.safetensors", [steps.Training("Adam", move) for move in (card.asarray, np.array)]
    for i in range(3):
        runs[0].step(i)
    tg.training.save(path, runs[0].model, runs[0].opt)
    tg.training.load(path, runs[1].model, runs[1].opt)
    assert runs[0].bits() == runs[1].bits()
    for i in range(3, 6):
        runs[0].step(i), runs[1].step(i)
    for p, q in zip(runs[0].model.parameters(), runs[1].model.parameters()):
        same("checkpoints", p.data, q.data, 1e-3)


def test_fit(card):
    """Loss and accuracy of a few epochs; and one Linear layer learned to the end."""
    x = np.random.default_rng(0).normal(size=(256, 6)).astype("f")
    y = x[:, :3].argmax(axis=1)
    losses = []
    for move in card.asarray, np.array:
        tg.seed(0)
        model = tg.nn.Sequential(tg.nn.Linear(6, 32), tg.nn.Tanh(), tg.nn.Linear(32, 3))
        model._convert(move)
        loader = tg.data.DataLoader(move(x), move(y), batch_size=32, shuffle=True, seed=0)
        opt = tg.optim.Adam(model.named_parameters(), lr=tg.schedules.OneCycleLR(0.05, total_steps=40))
        losses.append(tg.training.fit(model, tg.losses.cross_entropy, loader, opt, epochs=5, clip=1.0, show=False).epochs["loss"])
    same("fit", np.array(losses[0]), losses[1], 2e-3)
    assert losses[0][-1] < 0.2


def test_what_was_compared(card, capsys):
    """The last one: it tells the counts."""
    with capsys.disabled():
        for what, (n, worst) in COUNTS.items():
            print(f"\n{what}: {n} arrays compared with the host's, largest difference {worst:.1e}", end="")
    assert COUNTS
