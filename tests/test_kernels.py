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
from tinygrad_lite import clip, losses, nn, optim, vectors  # noqa: F401  (rooms load at first use; loading them fills the table of kernels)
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


def _merge_rows(dtype, rng):
    for n, rows, width in [(0, 5, 2), (1, 1, 1), (50, 7, 3), (300, 10**12, 2), (300, 40, 1), (9, 3, 0)]:
        ids = rng.integers(0, rows, n)
        yield [ids, rng.normal(size=(n, width)).astype(dtype), np.zeros_like(ids), np.zeros((n, width), dtype)]


def _bag_sums(dtype, rng):
    for rows, width, sizes in [(5, 3, [2, 0, 4]), (1, 1, [1]), (7, 4, [0, 0]), (4, 0, [2]), (9, 2, [])]:
        bounds = np.cumsum([0, *sizes])
        yield [rng.normal(size=(rows, width)).astype(dtype), rng.integers(0, rows, bounds[-1]), bounds,
               rng.normal(size=bounds[-1]).astype(dtype), np.zeros((len(sizes), width), dtype)]


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


def _top_k(dtype, rng):
    for n, m, k, start in [(3, 40, 5, 0), (1, 1, 1, 7), (4, 130, 9, 3), (2, 31, 40, 0), (5, 64, 3, 100), (0, 5, 2, 0)]:
        values, ids = np.full((n, k), -np.inf, dtype), np.full((n, k), -1)
        if start:                           # as an earlier block left them
            values[:, 0], ids[:, 0] = 1.5, 2
        yield [rng.integers(-3, 4, (n, m)).astype(dtype), start, values, ids]          # many ties: the earlier one first


def _pairs(dtype, rng):
    for n, m, rows, d in [(3, 4, 6, 5), (1, 1, 1, 1), (4, 2, 3, 33), (2, 3, 4, 0), (0, 3, 2, 4)]:
        for apart in (False, True):
            yield [rng.normal(size=(n, d)), rng.normal(size=(rows, d)).astype(dtype), rng.integers(0, rows, (n, m)), apart, np.zeros((n, m))]


def _close(dtype, rng):
    for n, m, low, high in [(3, 40, 0.5, 0.8), (1, 1, 0.0, 0.1), (40, 100, 0.9, 0.9), (7, 7, -9.0, -8.0), (5, 70, 9.0, 9.0)]:
        yield [rng.normal(size=(n, m)).astype(dtype), 10, low, high, np.zeros(n * m, int), np.zeros(n * m, int), np.zeros(n * m, bool)]


def _whisper(dtype, rng):
    for n, degree in [(1, 0), (5, 2), (30, 4), (60, 9), (20, 0)]:
        starts = np.concatenate([[0], np.cumsum(rng.integers(0, degree + 1, n))])
        weights = rng.integers(1, 3, starts[-1]).astype(np.float64)
        yield [starts, rng.integers(0, n, starts[-1]), weights, rng.permutation(n), rng.permutation(n), rng.integers(0, n, n), rng.random(n) < 0.8]


def _walks(dtype, rng, gates, states):
    """(array(rows, ...), steps, states (items, H)...) at several lengths, read forwards and backwards."""
    for sizes, H in [([1], 1), ([3, 2], 4), ([2, 2, 1], 5), ([5, 5, 3, 1], 8), ([9, 4], 17), ([0], 3)]:
        ends = np.cumsum(sizes)
        steps, n = np.stack([ends - sizes, ends], 1), sum(sizes)

        def draw(*shape):
            return (rng.normal(size=shape) / 2).astype(dtype)
        for order in (steps, steps[::-1].copy()):
            yield n, H, draw, draw(gates * H, H), order, [draw(sizes[0], H) for _ in range(states)]


def _rnn(dtype, rng):
    for n, H, draw, w, steps, states in _walks(dtype, rng, 1, 1):
        for relu in (False, True):
            yield [steps, relu, draw(n, 3), draw(H, 3), w, draw(H), *states, draw(n, H), draw(n, H)]


def _rnn_back(dtype, rng):
    for n, H, draw, w, steps, states in _walks(dtype, rng, 1, 1):
        for relu in (False, True):
            yield [steps, relu, draw(n, H), draw(n, H), w, *states, draw(n, H), draw(H)]


def _gru(dtype, rng):
    for n, H, draw, w, steps, states in _walks(dtype, rng, 3, 1):
        yield [steps, draw(n, 3), draw(3 * H, 3), w, draw(3 * H), draw(3 * H), *states, draw(n, H), draw(n, H), draw(n, 4 * H)]


def _gru_back(dtype, rng):
    for n, H, draw, w, steps, states in _walks(dtype, rng, 3, 1):
        yield [steps, draw(n, H), draw(n, H), draw(n, 4 * H), w, *states, draw(n, 3 * H), draw(n, 3 * H), *np.zeros((2, 3 * H), dtype)]


def _lstm(dtype, rng):
    for n, H, draw, w, steps, states in _walks(dtype, rng, 4, 2):
        yield [steps, draw(n, 3), draw(4 * H, 3), w, draw(4 * H), *states, draw(n, H), draw(n, H), draw(n, 4 * H), draw(n, H), draw(n, H)]


def _lstm_back(dtype, rng):
    for n, H, draw, w, steps, states in _walks(dtype, rng, 4, 2):
        yield [steps, draw(n, H), draw(n, 4 * H), draw(n, H), draw(n, H), w, *states, draw(n, 4 * H), draw(4 * H)]


def _largest_places(dtype, rng):
    for m, height, width, kernel, stride in [(3, 5, 6, 2, 2), (1, 1, 9, 3, 1), (2, 7, 4, 3, 2), (2, 4, 4, 4, 1)]:
        x = rng.integers(-3, 3, (m, height, width)).astype(dtype)          # with ties
        x.flat[::7] = np.nan if m == 2 else -np.inf
        spans = [(first := np.arange(0, max(n - 1, 1), stride), np.minimum(first + kernel, n)) for n in (height, width)]
        yield [x, *spans[0], *spans[1], 1, 2, np.zeros((m, len(spans[0][0]), len(spans[1][0])), np.int64)]


def _matrices(dtype, rng, groups=1):
    for rows, k in [(1, 1), (4, 3), (6, 40), (2, 300)]:
        yield [rng.normal(size=shape).astype(dtype) + dtype(0.5) for shape in [(rows * groups, k), (groups, k), (groups, k), rows * groups]]


def _rows_forward(dtype, rng):
    for groups in (1, 3):
        for x, weight, bias, mean in _matrices(dtype, rng, groups):
            yield [x, weight, bias, 1e-5, groups == 1, mean, mean.copy(), np.zeros_like(x)]


def _rows_back(dtype, rng):
    for groups in (1, 3):
        for x, weight, _, mean in _matrices(dtype, rng, groups):
            yield [x[::-1].copy(), x, weight, mean, abs(mean), groups == 1, *[np.zeros_like(a) for a in (x, weight, weight)]]


def _subwords(dtype, rng):
    for words, minn, maxn, bucket in [([b"<>"], 1, 9, 7), ([], 3, 6, 10), (["<größe>".encode(), b"", b"<\x80\xff>"], 2, 3, 30),
                                      ([b"<aa>", b"<a>"], 0, 1, 5), ([b"<abc>"] * 3, 4, 3, 5), ([rng.bytes(30) for _ in range(9)], 1, 40, 100)]:
        text, bounds, ids = np.frombuffer(b"".join(words), np.uint8), np.cumsum([0, *map(len, words)]), rng.integers(-1, 2, len(words))
        matrix = rng.normal(size=(100 + bucket, 3)).astype(dtype)
        for dim in 0, 3:
            yield [text, bounds, ids, minn, maxn, bucket, 100, matrix, np.zeros(bounds[-1] * 50 + len(words), np.int64), np.zeros(len(words), np.int64), np.zeros((len(words), dim), dtype)]


def _mean_rows(dtype, rng):
    for n, dim, counts in [(5, 3, [2, 0, 4]), (1, 1, [1]), (7, 9, [0, 0]), (4, 0, [2]), (9, 2, [])]:
        yield [rng.normal(size=(n, dim)).astype(dtype), rng.integers(0, n, sum(counts)), np.array(counts, np.int64), np.ones((len(counts), dim), dtype)]


def _walk(dtype, rng):
    for n, words, rows, dim, negative, cbow in [(6, 4, 9, 3, 2, False), (1, 1, 1, 1, 0, True), (8, 5, 6, 9, 3, True), (5, 3, 4, 2, 0, False), (0, 2, 3, 2, 1, False)]:
        starts = np.concatenate([[0], np.cumsum(rng.integers(0, 4, words))])
        at = np.arange(n)
        yield [rng.integers(0, words, n), np.maximum(at - 2, 0), np.minimum(at + 3, n), rng.integers(0, words, (4 * n, negative)), starts,
               rng.integers(0, rows, starts[-1]), rng.uniform(1, 2, words), cbow, 0.1, rng.normal(size=(rows, dim)).astype(dtype) / 4,
               rng.normal(size=(words, dim)).astype(dtype) / 4]


def _stacks(dtype, rng, arrays):
    for n, c, length in [(1, 1, 2), (6, 3, 1), (4, 5, 40), (2, 2, 300)]:
        yield [rng.normal(size=(n, c, length) if whole else c).astype(dtype) + dtype(0.5) for whole in arrays]


def _moments(dtype, rng):
    yield from _stacks(dtype, rng, (1, 0, 0))


def _channels(dtype, rng):
    yield from _stacks(dtype, rng, (1, 0, 0, 0, 0, 1))


def _channels_back(dtype, rng):
    for of_batch in (True, False):
        for g, x, weight, mean, scale, *to in _stacks(dtype, rng, (1, 1, 0, 0, 0, 1, 0, 0)):
            yield [g, x, weight, mean, scale, of_batch, *to]


def _windows_max(dtype, rng):
    for n, length, characters, width, filters in [(4, 6, 5, 3, 7), (1, 1, 1, 1, 1), (3, 5, 4, 5, 2), (0, 4, 3, 2, 2), (20, 9, 30, 2, 33), (2, 3, 4, 1, 9)]:
        yield [rng.normal(size=(characters, width, filters)).astype(dtype), rng.integers(0, characters, (n, length)),
               rng.integers(1, length - width + 2, n), np.empty((n, filters), dtype), np.empty((n, filters), np.int32)]


def _windows_max_gradient(dtype, rng):
    for table, ids, windows, best, at in _windows_max(dtype, rng):
        at[...] = rng.integers(0, windows[:, None], at.shape)
        yield [rng.normal(size=best.shape).astype(dtype), ids, at, np.zeros(table.shape, dtype)]


ARGUMENTS = {f.__name__: f for f in (_cross_entropy, _scatter_rows, _merge_rows, _bag_sums, _windows_max, _windows_max_gradient, _sum_of_squares, relu_gradient, _neighbours, _alignments,
                                    _top_k, _pairs, _close, _whisper, _subwords, _mean_rows, _walk,
                                    _rnn, _rnn_back, _gru, _gru_back, _lstm, _lstm_back,
                                     _largest_places, _rows_forward, _rows_back, _moments, _channels, _channels_back)}


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
        with np.errstate(over="ignore"):                # what is to be written over may hold any numbers
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


@compiled
@pytest.mark.parametrize("dtype, rtol", [(np.float32, 1e-6), (np.float64, 1e-15)])
def test_products_inside_loops(dtype, rtol):
    """At every remainder of rows and columns; the registers' way and the readable lines."""
    from numba import njit
    from tinygrad_lite.kernels import gemm
    gemm.register()
    panels, room, multiply = gemm.panels, gemm.room, gemm.multiply

    @njit(error_model="numpy")
    def loop(a, b):
        p = panels(b)
        c = room(a, p)
        c[:] = np.nan
        multiply(a, p, c)
        return c
    rng = np.random.default_rng(0)
    for rows, depth, columns in [(1, 1, 1), (3, 2, 5), (4, 7, 8), (5, 3, 16), (6, 9, 17), (8, 64, 40), (11, 1, 33), (0, 3, 4)]:
        a, b = rng.normal(size=(rows, depth)).astype(dtype), rng.normal(size=(depth, columns)).astype(dtype)
        for left, right in [(a, b), (np.vstack([a, a])[:rows], np.asfortranarray(b)), (np.hstack([a, a])[:, :depth], b[:, ::-1][:, ::-1])]:
            c = loop(left, right)
            scale = np.abs(a) @ np.abs(b) + 1
            assert (np.abs(c[:, :columns] - a.astype(float) @ b) <= rtol * scale).all() and not c[:, columns:].any()
        plain = room(a, panels(b))
        multiply(a, panels(b), plain)
        assert (np.abs(plain - c) <= 2 * rtol * np.pad(scale, [(0, 0), (0, c.shape[1] - columns)])).all()
    c = loop(np.array([[np.nan, 1], [1, 2]], dtype), np.ones((2, 3), dtype))
    assert np.isnan(c[0, :3]).all() and (c[1, :3] == 3).all()


@compiled
def test_tanh_of_float32_within_three_units_in_the_last_place():
    from numba import njit
    from tinygrad_lite.kernels import scalars
    scalars.register()
    tanh = scalars.tanh

    @njit(error_model="numpy")
    def loop(x, out):
        for i in range(x.size):
            out[i] = tanh(x[i])
    rng = np.random.default_rng(0)
    x = np.concatenate([np.linspace(-20, 20, 400_001), rng.normal(size=100_000) * 10.0 ** rng.uniform(-37, 0, 100_000),
                        [0.0, 1e-45, -1e-45, 1e30, -1e30, np.inf, -np.inf]]).astype(np.float32)
    out = np.empty_like(x)
    loop(x, out)
    exact = np.tanh(x.astype(np.float64))
    assert (np.abs(out - exact) <= 3 * np.spacing(np.abs(exact.astype(np.float32)))).all()
    loop(np.full(9, np.nan, np.float32), out[:9])
    assert np.isnan(out[:9]).all()


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
