"""Pooling: the definition as a loop over windows, places, ties, derivatives, layouts, and what is refused."""
import re
import warnings

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, nn
from tinygrad_lite.nn import functional as F


def function(kind, axes):
    return getattr(F, f"{kind}_pool{axes}d")


def laid(n, kernel, stride, padding, dilation, ceil_mode):
    """The places (padding included) that each window along an axis looks at; the last one may end beyond with ceil_mode."""
    found, start, reached = [], -padding, -padding
    while (end := start + dilation * (kernel - 1) + 1) <= n + padding or ceil_mode and start < n and reached < n + padding:
        found.append([start + dilation * k for k in range(kernel)])
        start, reached = start + stride, end
    return found


def shared(n, count):
    """The places of adaptive pooling's windows: from floor(i n / count) to before ceil((i + 1) n / count)."""
    return [list(range(int(np.floor(i * n / count)), int(np.ceil((i + 1) * n / count)))) for i in range(count)]


def windows_of(x, places):
    """((n, c, p..), [(index within the image, number) that the window has]) of every window."""
    for at in np.ndindex(*x.shape[:2], *[len(p) for p in places]):
        grid = np.stack(np.meshgrid(*[p[i] for p, i in zip(places, at[2:])], indexing="ij"), -1).reshape(-1, len(places))
        inside = [tuple(g) for g in grid if all(0 <= i < n for i, n in zip(g, x.shape[2:]))]
        yield at, grid, [(np.ravel_multi_index(g, x.shape[2:]), x[(*at[:2], *g)]) for g in inside]


def largest(x, places):
    z = np.zeros((*x.shape[:2], *[len(p) for p in places]))
    where = np.zeros(z.shape, int)
    for at, _, inside in windows_of(x, places):
        where[at], z[at] = max(inside, key=lambda pair: (pair[1], -pair[0]))
    return z, where


def average(x, places, padding, count_include_pad=True, divisor_override=None):
    z = np.zeros((*x.shape[:2], *[len(p) for p in places]))
    for at, grid, inside in windows_of(x, places):
        padded = [g for g in grid if all(-p <= i < n + p for i, n, p in zip(g, x.shape[2:], padding))]
        z[at] = sum(v for _, v in inside) / (divisor_override or len(padded if count_include_pad else inside))
    return z


def drawn(seed):
    rng = np.random.default_rng(seed)
    axes = 1 + seed % 2
    several = lambda low, high: tuple(rng.integers(low, high, axes).tolist())
    kernel, dilation = several(1, 4), several(1, 3)
    stride = tuple([int(rng.integers(1, k + 1)) for k in kernel])
    padding = tuple([int(rng.integers(0, k // 2 + 1)) for k in kernel])
    x = rng.integers(-2, 3, (int(rng.integers(1, 3)), int(rng.integers(1, 3)), *several(6, 9))).astype(float)      # with ties
    return rng, axes, x, kernel, stride, padding, dilation, bool(rng.integers(2))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", range(20))
def test_the_largest_by_definition(seed, dtype):
    rng, axes, x, kernel, stride, padding, dilation, ceil_mode = drawn(seed)
    expected, where = largest(x, [laid(*o, ceil_mode) for o in zip(x.shape[2:], kernel, stride, padding, dilation)])
    given = Tensor(x.astype(dtype), requires_grad=True)
    z, places = function("max", axes)(given, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    assert z.dtype == dtype and places.dtype == np.int64
    assert np.array_equal(z.data, expected) and np.array_equal(places, where)
    z.sum().backward()
    counts = np.zeros((*x.shape[:2], x[0, 0].size))
    for n, c in np.ndindex(x.shape[:2]):
        np.add.at(counts[n, c], where[n, c].ravel(), 1)
    assert np.array_equal(given.grad, counts.reshape(x.shape))


@pytest.mark.parametrize("seed", range(20))
def test_the_average_by_definition(seed):
    rng, axes, x, kernel, stride, padding, _, ceil_mode = drawn(seed)
    places = [laid(*o, 1, ceil_mode) for o in zip(x.shape[2:], kernel, stride, padding)]
    for include in (True, False):
        for divisor in (None, 3)[:axes]:
            options = dict(divisor_override=divisor) if axes == 2 else {}
            z = function("avg", axes)(x, kernel, stride, padding, ceil_mode, include, **options)
            np.testing.assert_allclose(z.data, average(x, places, padding, include, divisor), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_adaptive_pools_by_definition(seed):
    rng, axes, x, *_ = drawn(seed)
    size = tuple(rng.integers(1, 10, axes).tolist())
    places = [shared(n, s) for n, s in zip(x.shape[2:], size)]
    np.testing.assert_allclose(function("adaptive_avg", axes)(x, size).data, average(x, places, (0,) * axes), rtol=1e-12, atol=1e-12)
    z, where = function("adaptive_max", axes)(x, size, return_indices=True)
    expected = largest(x, places)
    assert np.array_equal(z.data, expected[0]) and np.array_equal(where, expected[1])


def test_adaptive_sizes():
    x = np.arange(24.0).reshape(1, 1, 4, 6)
    assert F.adaptive_avg_pool2d(x, (None, 1)).data.ravel().tolist() == [2.5, 8.5, 14.5, 20.5]
    assert F.adaptive_max_pool2d(x, (2, None)).shape == (1, 1, 2, 6)
    assert np.array_equal(F.adaptive_avg_pool2d(x, 4).data, F.adaptive_avg_pool2d(x, [4, 4]).data)
    assert F.adaptive_avg_pool1d(x[0], 0).shape == (1, 4, 0)


POOLS = {
    "max1": lambda x: F.max_pool1d(x, 3, 2, 1, 2, True), "max2": lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0)),
    "avg1": lambda x: F.avg_pool1d(x, 3, 2, 1, True, False), "avg2": lambda x: F.avg_pool2d(x, (3, 2), (1, 2), (1, 1), True, True, 5),
    "adaptive_avg1": lambda x: F.adaptive_avg_pool1d(x, 3), "adaptive_avg2": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "adaptive_max1": lambda x: F.adaptive_max_pool1d(x, 3), "adaptive_max2": lambda x: F.adaptive_max_pool2d(x, (3, 2))}


def inputs_for(name, rng, batch=(2,)):
    shape = (*batch, 3, 8) if name.endswith("1") else (*batch, 3, 5, 6)
    return rng.permutation(int(np.prod(shape))).reshape(shape) / 3.0        # all different: no kinks


@pytest.mark.parametrize("name", POOLS)
def test_derivatives_and_layouts(name):
    pool, x = POOLS[name], inputs_for(name, np.random.default_rng(0))
    assert tg.gradcheck(lambda x: pool(x) ** 2, [x], order=2)
    results = []
    for a in (x, np.asfortranarray(x), np.repeat(x, 2, axis=-1)[..., ::2]):
        t = Tensor(a, requires_grad=True)
        z = pool(t)
        z.backward(np.cos(np.arange(z.size)).reshape(z.shape))
        results.append((z.data, t.grad))
    for z, g in results[1:]:
        np.testing.assert_allclose(z, results[0][0], rtol=1e-12)
        np.testing.assert_allclose(g, results[0][1], rtol=1e-12, atol=1e-15)
    assert np.array_equal(pool(x[1]).data, pool(x).data[1])                 # without a batch
    assert pool(x.astype("f")).dtype == np.float32


@pytest.mark.parametrize("name", POOLS)
def test_an_empty_batch(name):
    x = Tensor(inputs_for(name, np.random.default_rng(0), (0,)), requires_grad=True)
    z = POOLS[name](x)
    z.sum().backward()
    assert z.shape[:2] == (0, 3) and x.grad.shape == x.shape


def test_what_is_not_finite():
    x = np.array([[-np.inf, -np.inf, np.nan, 1.0, np.inf, np.nan, np.nan, 2.0]])
    z, places = F.max_pool1d(x, 2, return_indices=True)
    assert np.array_equal(z.data, [[-np.inf, np.nan, np.nan, np.nan]], equal_nan=True) and places.tolist() == [[0, 2, 5, 6]]
    assert F.max_pool1d(np.array([[-np.inf, -5.0]]), 2, padding=1).data.tolist() == [[-np.inf, -5.0]]        # padding is never chosen


def test_ceil_mode_keeps_what_is_left_over():
    x = np.arange(1.0, 6.0)[None]
    assert F.max_pool1d(x, 2).data.tolist() == [[2, 4]] and F.max_pool1d(x, 2, ceil_mode=True).data.tolist() == [[2, 4, 5]]
    assert F.avg_pool1d(x, 3, 2, padding=1, ceil_mode=True).shape == (1, 3)
    assert F.max_pool1d(x, 2, 2, padding=1, ceil_mode=True).shape == (1, 3)         # a window that begins in the padding would see nothing


def test_layers_say_what_they_are():
    assert repr(nn.MaxPool1d(3, 2)) == "MaxPool1d(kernel_size=3, stride=2, padding=0, dilation=1, ceil_mode=False, return_indices=False)"
    assert repr(nn.AdaptiveAvgPool2d((1, None))) == "AdaptiveAvgPool2d(output_size=(1, None))"
    assert list(nn.AvgPool2d(2).parameters()) == []


ONES, IMAGES = np.ones((2, 3, 5)), np.ones((2, 3, 5, 4))
BAD = [
    (lambda: F.max_pool1d(ONES, 6), "max_pool1d: a window is 6 wide, the input with its padding only 5: use a smaller kernel"),
    (lambda: F.max_pool1d(ONES, 3, dilation=3), "a window is 7 wide"),
    (lambda: F.avg_pool2d(IMAGES, (2, 5)), "avg_pool2d: a window is 5 wide, the input with its padding only 4"),
    (lambda: F.max_pool1d(np.ones((2, 3, 0)), 1), "a window is 1 wide, the input with its padding only 0"),
    (lambda: F.max_pool1d(ONES, 3, padding=2), "max_pool1d: padding: got 2, expected at most half the kernel 3"),
    (lambda: F.max_pool1d(np.ones((1, 2)), 2, 2, 1, 3, True), "a window lies wholly in the padding"),
    (lambda: F.max_pool1d(ONES, 0), "kernel_size: got 0, expected an integer >= 1"),
    (lambda: F.max_pool2d(IMAGES, (2, 2, 2)), r"kernel_size: got \(2, 2, 2\), expected an integer >= 1, or 2 of them"),
    (lambda: F.avg_pool1d(ONES, 2, stride=0), "stride: got 0"),
    (lambda: F.avg_pool1d(IMAGES, 2), r"avg_pool1d: got an input of shape \(2, 3, 5, 4\), expected \(N, C, L\) or \(C, L\)"),
    (lambda: F.avg_pool2d(IMAGES, 2, divisor_override=0), "divisor_override: got 0"),
    (lambda: F.adaptive_avg_pool1d(ONES, -1), "output_size: got .*expected an integer >= 0"),
    (lambda: F.adaptive_avg_pool2d(IMAGES, (1, 2, 3)), "output_size: got .*or 2 of them"),
    (lambda: F.adaptive_max_pool1d(np.ones((2, 3, 0)), 1), "expected at least one number along each axis"),
]


@pytest.mark.parametrize("call, message", BAD, ids=[re.sub(r"\W+", "-", m)[:60] for _, m in BAD])
def test_refused(call, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=message):
            call()
