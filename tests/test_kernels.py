"""Every kernel: its loop against the plain form that defines it, its disk cache, and the switch that turns the loops off."""
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import clip, losses, nn, optim  # noqa: F401  (rooms load at first use; loading them fills the table of kernels)
from tinygrad_lite import kernels
from tinygrad_lite.kernels import KERNELS, updates
from tinygrad_lite.kernels.updates import Lifted, loop_source, staggered

LIFTED = {name: k for name, k in KERNELS.items() if isinstance(k, Lifted)}
LOOPS = {name: k for name, k in KERNELS.items() if not isinstance(k, Lifted)}
ROOT = Path(__file__).parents[1]
compiled = pytest.mark.skipif(kernels.PLAIN, reason="TINYGRAD_LITE_KERNELS=numpy: there is no loop to compare; unset it")


def same_bits(a, b):
    """Equal to the bit; NaNs may differ in theirs."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and bool(((a.view(f"i{a.itemsize}") == b.view(f"i{b.itemsize}")) | (a != a) & (b != b)).all())


# --- optimizers' formulas: bit for bit
def scalars_of(rule, rng):
    return {k: float(rng.uniform(0.05, 0.95)) for k in loop_source(rule.formula, "any")[1]} | {"direction": float(rng.choice([-1, 1]))}


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LIFTED)
def test_a_lifted_loop_is_its_formula_bit_for_bit(name, dtype):
    rule, rng = LIFTED[name], np.random.default_rng(0)
    for n in (0, 1, 7, 1000):
        for spread in (0, 1, 15):
            g, p, *states = [(rng.normal(size=n) * 10.0 ** rng.uniform(-spread, spread, n)).astype(dtype) for _ in range(2 + len(rule.states))]
            states = [np.abs(s) for s in states]
            g[::13] = 0
            h = scalars_of(rule, rng)
            ours, plain = [p.copy(), *[s.copy() for s in states]], [p.copy(), *[s.copy() for s in states]]
            before = g.copy()
            for _ in range(2):
                rule(g, ours[0], ours[1:], h)
                rule.plain(g, plain[0], plain[1:], h)
            assert rule.loop and same_bits(g, before)
            assert all(map(same_bits, ours, plain))
            assert n < 7 or not same_bits(ours[0], p)


@compiled
@pytest.mark.parametrize("name", LIFTED)
def test_a_lifted_loop_spreads_what_is_not_finite(name):
    rule, rng = LIFTED[name], np.random.default_rng(1)
    h = scalars_of(rule, rng)
    g = np.array([1.0, np.nan, np.inf, -np.inf, 0.0])
    ours, plain = [[np.ones(5) for _ in range(1 + len(rule.states))] for _ in range(2)]
    rule(g, ours[0], ours[1:], h)
    rule.plain(g, plain[0], plain[1:], h)
    assert same_bits(ours[0], plain[0])
    assert np.isfinite(ours[0][[0, 4]]).all() and np.isnan(ours[0][1])


def test_every_optimizer_with_a_formula_is_in_the_table():
    named = {k.formula for k in LIFTED.values()}
    assert all(cls.rule is None or cls.rule.formula in named for cls in tg.optim.ALL) and len(LIFTED) >= 7


# --- the other kernels: for each one, arguments (those it writes to included)
def _rows(n, k, dtype, rng, weighted, smoothing, mean, ignored=0.0, scale=3.0):
    y = np.where(rng.random(n) < ignored, -100, rng.integers(0, k, n))
    weight = (rng.uniform(0, 2, k) * (rng.random(k) < 0.8)).astype(dtype) if weighted else np.empty(0, dtype)
    return [(rng.normal(size=(n, k)) * scale).astype(dtype), y, weight, -100, smoothing, mean, np.empty(n, dtype), np.empty((n, k), dtype)]


def _cross_entropy(dtype, rng):
    for n, k in [(0, 3), (1, 1), (5, 3), (40, 10), (3, 130), (7, 1000), (2, 2100)]:
        for weighted, smoothing, mean in [(False, 0.0, True), (True, 0.0, False), (False, 0.3, True), (True, 0.2, True)]:
            yield _rows(n, k, dtype, rng, weighted, smoothing, mean, ignored=0.3 * (n > 5))
    yield _rows(6, 5, dtype, rng, False, 0.0, True, ignored=1.1)        # nothing left
    yield _rows(6, 5, dtype, rng, False, 0.0, True, scale=1e4)
    cut = _rows(6, 200, dtype, rng, False, 0.0, True)
    cut[0][:, ::2], cut[1] = -np.inf, cut[1] // 2 * 2 + 1
    yield cut
    wrong = _rows(6, 5, dtype, rng, False, 0.0, True)
    wrong[1][4] = 5
    yield wrong[:6] + [np.zeros(6, dtype), np.zeros((6, 5), dtype)]


def _scatter_rows(dtype, rng):
    for n, width, ids in [(5, (3,), (8,)), (1, (1,), (4,)), (6, (), (9,)), (7, (2, 3), (4, 5)), (3, (2,), (0,))]:
        yield [rng.normal(size=(n, *width)).astype(dtype), rng.integers(-n, n, ids), rng.normal(size=(*ids, *width)).astype(dtype)]


def _sum_of_squares(dtype, rng):
    for n in (0, 1, 255, 256, 257, 10_000):
        yield [rng.normal(size=n).astype(dtype)]


def relu_gradient(dtype, rng):
    for shape in ((), (0,), (5,), (3, 4, 2)):
        g, z = [np.asarray(rng.normal(size=shape)).astype(dtype) for _ in range(2)]
        yield [g, np.asarray(np.maximum(z, 0))]
    yield [np.array([np.inf, np.nan, 1, 1, np.nan], dtype), np.array([0, 0, np.nan, -0.0, 2], dtype)]


def _neighbours(dtype, rng):
    for n, d, k, spread, scale in [(7, 3, 2, 1, 1), (2, 1, 1, 1, 1), (40, 4, 3, 1, 0.5), (70, 2, 39, 5, 1), (33, 5, 4, 1e-2, 9), (20, 0, 2, 1, 1)]:
        y = rng.integers(0, k, n)
        x = (rng.normal(size=(n, d)) * spread + y[:, None]).astype(dtype)
        products = x @ x.T
        squares = products.diagonal().copy() if d else np.ones(n, dtype)
        kept = rng.random(n) < 0.8 if n > 50 else np.ones(n, bool)
        yield [products, squares, x, y, kept, scale, np.zeros(n, dtype), np.zeros((n, n), dtype)]


def _alignments(dtype, rng):
    for steps, n, k, longest, zero_infinity in [(7, 4, 3, 3, False), (1, 2, 2, 1, False), (12, 5, 4, 5, True), (3, 3, 3, 3, False), (4, 2, 3, 0, True), (0, 2, 2, 1, False)]:
        x = np.log(rng.dirichlet(np.ones(k), (steps, n))).astype(dtype)
        sizes, used = rng.integers(0, longest + 1, n), rng.integers(0, steps + 1, n)
        states = np.zeros((n, 2 * longest + 1), np.int64)
        states[:, 1::2] = np.where(np.arange(longest) < sizes[:, None], rng.integers(1, k, (n, longest)), 0)
        yield [x, states, used, sizes, zero_infinity, np.zeros(n, dtype), np.zeros((steps, n, k), dtype)]


ARGUMENTS = {f.__name__: f for f in (_cross_entropy, _scatter_rows, _sum_of_squares, relu_gradient, _neighbours, _alignments)}


def test_every_kernel_has_arguments_here():
    assert set(ARGUMENTS) == set(LOOPS)


def copies(args):
    return [a.copy() if isinstance(a, np.ndarray) else a for a in args]


@compiled
@pytest.mark.parametrize("dtype, rtol", [(np.float32, 3e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_loop_agrees_with_its_plain_form(name, dtype, rtol):
    kernel = LOOPS[name]
    for args in ARGUMENTS[name](dtype, np.random.default_rng(0)):
        ours, plain = copies(args), copies(args)
        with np.errstate(all="ignore"):
            values = kernel(*ours), kernel.plain(*plain)
        shape = [a.shape for a in args if isinstance(a, np.ndarray)]
        for a, b in zip([values[0], *ours], [values[1], *plain]):
            if b is not None:
                np.testing.assert_allclose(np.hstack([np.ravel(x) for x in (a if isinstance(a, tuple) else (a,))]),
                                           np.hstack([np.ravel(x) for x in (b if isinstance(b, tuple) else (b,))]),
                                           rtol=rtol, atol=rtol, err_msg=str(shape))
    assert kernel.fast.signatures


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("change", ["float16", "strided", "big-endian"])
def test_what_the_loop_cannot_take_goes_to_the_plain_form(name, change):
    kernel, rng = LOOPS[name], np.random.default_rng(0)
    for args in list(ARGUMENTS[name](np.float64, rng))[2:5]:
        def changed(a):
            if not isinstance(a, np.ndarray) or a.dtype.kind != "f":
                return a
            if change == "strided":
                return np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a
            return a.astype(np.float16) if change == "float16" else a.astype(">f8")
        ours, plain = [changed(a) for a in copies(args)], [changed(a) for a in copies(args)]
        values = kernel(*ours), kernel.plain(*plain)
        for a, b in zip([values[0], *ours], [values[1], *plain]):
            np.testing.assert_array_equal(a, b)


@compiled
def test_exp_of_float32_within_one_unit_in_the_last_place():
    from numba import njit
    from tinygrad_lite.kernels import scalars
    scalars.register()
    exp = scalars.exp

    @njit(error_model="numpy")
    def loop(x, out):
        for i in range(x.size):
            out[i] = exp(x[i])
    x = np.concatenate([np.linspace(-104, 89, 400_001), [-1e30, -np.inf, np.inf, np.nan, 0, -0.0, 1e30, 88.7228, 88.7229]]).astype(np.float32)
    out = np.empty_like(x)
    loop(x, out)
    with np.errstate(over="ignore"):
        exact = np.exp(x.astype(np.float64))
        nearest = exact.astype(np.float32)
    inside = np.isfinite(nearest)
    assert (np.abs(out[inside] - exact[inside]) <= np.spacing(nearest[inside])).all()
    np.testing.assert_array_equal(out[~inside], nearest[~inside])


# --- the lifter
def test_a_formula_may_only_use_its_words():
    def tangent(g, p, h):
        return (p - h.lr * np.tan(g),)

    def cosine(g, p, h):
        return (p - cos(g),)
    with pytest.raises(SyntaxError, match="a formula may use sqrt, sign, abs, where, minimum, maximum; got cos"):
        loop_source(cosine, "loop")
    assert "np.tan" in loop_source(tangent, "loop")[0]      # spelled out with its module: on the reader's own account


def test_a_formula_without_a_text_runs_plain():
    space = {"__name__": "shell"}
    exec("def half(g, p, h):\n    return (p - h.lr * g,)", space)       # as in a bare shell: nothing keeps what was typed
    p = np.ones(3)
    Lifted(space["half"])(np.ones(3), p, [], dict(lr=0.5, direction=1.0, l2=0.0, keep=1.0))
    del KERNELS["shell_half_loop"]
    assert p.tolist() == [0.5] * 3


def test_arrays_start_apart():
    arrays = staggered([5000, 5000, 3, 100], np.float32)
    assert [a.size for a in arrays] == [5000, 5000, 3, 100] and {a.dtype for a in arrays} == {np.dtype(np.float32)}
    starts = [a.__array_interface__["data"][0] for a in arrays]
    assert [(b - a) % 4096 for a, b in zip(starts, starts[1:])] == [updates.SPACING] * 3
    for i, a in enumerate(arrays):
        a[...] = i
    assert all((a == i).all() for i, a in enumerate(arrays))        # no overlap


# --- other processes
def run(script, cache, *args, **environment):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join([str(ROOT), str(cache)]), **environment}
    done = subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, args)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


COUNT = """
    import json, sys
    import numpy as np
    from numba.core import event
    compiles = event.RecordingListener()
    event.register("numba:compile", compiles)
    import tinygrad_lite as tg
    from tests.test_kernels import ARGUMENTS, KERNELS, LIFTED, LOOPS, scalars_of
    rng = np.random.default_rng(0)
    for rule in LIFTED.values():
        p, *states = [np.ones(3, np.float32) for _ in range(1 + len(rule.states))]
        rule(np.ones(3, np.float32), p, states, scalars_of(rule, rng))
    for name, kernel in LOOPS.items():
        kernel(*list(ARGUMENTS[name](np.float32, rng))[2])
    loops = [rule.loop for rule in LIFTED.values()] + [kernel.fast for kernel in LOOPS.values()]
    print(json.dumps([len(compiles.buffer), sum(sum(l.stats.cache_misses.values()) for l in loops), len(loops)]))
"""


@compiled
def test_a_second_process_compiles_nothing(tmp_path):
    compiles, misses, loops = run(COUNT, tmp_path)
    assert misses == loops == len(KERNELS) and compiles >= 2 * loops     # an event at the start and at the end
    assert run(COUNT, tmp_path) == [0, 0, loops]


RULES = """
    from tinygrad_lite.kernels.updates import Lifted
    def move(g, p, h):
        return (p - {0} * h.lr * g,)
    class Twice:
        @staticmethod
        def move(g, p, h):
            return (p - {1} * h.lr * g,)
    first, second = Lifted(move), Lifted(Twice.move)
"""
USE = """
    import json, numpy as np
    from one.rules import first as a, second as b
    from two.rules import first as c, second as d
    result = []
    for rule in (a, b, c, d):
        p = np.zeros(2)
        rule(np.ones(2), p, [], dict(lr=1.0, direction=1.0, l2=0.0, keep=1.0))
        result.append(-p[0])
    print(json.dumps([result, sum(sum(r.loop.stats.cache_misses.values()) for r in (a, b, c, d))]))
"""


@compiled
def test_formulas_of_one_name_are_told_apart(tmp_path):
    def write(package, *factors):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / "rules.py").write_text(textwrap.dedent(RULES).format(*factors))
    write("one", 2.0, 3.0), write("two", 5.0, 7.0)
    assert run(USE, tmp_path) == [[2, 3, 5, 7], 4]
    assert run(USE, tmp_path) == [[2, 3, 5, 7], 0]
    write("two", 5.0, 9.0)
    os.utime(tmp_path / "two" / "rules.py", ns=(1, 1))      # the file's new text counts even where its date goes back
    assert run(USE, tmp_path)[0] == [2, 3, 5, 9]


TRAIN = """
    import json, sys
    import numpy as np, tinygrad_lite as tg
    rng = np.random.default_rng(0)
    x, y, ids = rng.normal(size=(20, 6)), rng.integers(0, 3, 20), rng.integers(0, 4, 20)
    result = {}
    for cls in [cls for cls in tg.optim.ALL if cls.__name__ not in ("LBFGS", "Muon", "MuonF64")]:
        tg.seed(0)
        table = tg.nn.Embedding(4, 6, sparse=cls.rows_only).double()
        net = tg.nn.Sequential(tg.nn.Linear(6, 8), tg.nn.ReLU(), tg.nn.LayerNorm(8), tg.nn.Linear(8, 3)).double()
        params = [*table.parameters(), *([] if cls.rows_only else net.parameters())]
        opt = cls(params, lr=0.1)
        for _ in range(5):
            opt.zero_grad()
            tg.losses.cross_entropy(net(table(ids) + x), y, label_smoothing=0.1).backward()
            tg.clip.clip_grad_norm_(params, 0.5)
            opt.step()
        result[cls.__name__] = np.concatenate([p.data.ravel() for p in params]).tolist()
    print(json.dumps([result, "numba" in sys.modules]))
"""


@compiled
def test_the_plain_forms_train_the_same_model(tmp_path):
    (loops, numba), (plain, no_numba) = run(TRAIN, tmp_path), run(TRAIN, tmp_path, TINYGRAD_LITE_KERNELS="numpy")
    assert numba and not no_numba and set(loops) == set(plain) and len(loops) >= len(tg.optim.ALL) - 3
    for name in loops:
        np.testing.assert_allclose(loops[name], plain[name], rtol=1e-9, atol=1e-11, err_msg=name)
