"""Layer, RMS, group and batch norms: their definition, derivatives, frozen parts, second passes, layouts, and what is refused."""
import re

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, nn
from tinygrad_lite.nn import functional as F


def scaled(x, axes, eps, centred=True):
    y = x - x.mean(axis=axes, keepdims=True) if centred else x
    return y / np.sqrt((y * y).mean(axis=axes, keepdims=True) + eps)


def per_channel(w, x):
    return w.reshape(-1, *[1] * (x.ndim - 2))


def groups(x, n):
    return x.reshape(len(x), n, -1)


# name: (function of x, weight, bias; the same in NumPy; shapes of x; the weights' shape)
NORMS = {
    "layer": (lambda x, w, b: F.layer_norm(x, (4,), w, b, 0.1), lambda x, w, b: scaled(x, -1, 0.1) * w + b, [(3, 4), (4,), (2, 3, 4)], (4,)),
    "layer of two axes": (lambda x, w, b: F.layer_norm(x, (3, 4), w, b), lambda x, w, b: scaled(x, (-2, -1), 1e-5) * w + b,
                          [(2, 3, 4), (3, 4)], (3, 4)),
    "rms": (lambda x, w, b: F.rms_norm(x, (4,), w, 0.1) + b, lambda x, w, b: scaled(x, -1, 0.1, False) * w + b, [(3, 4), (2, 3, 4)], (4,)),
    "group": (lambda x, w, b: F.group_norm(x, 2, w, b), lambda x, w, b: scaled(groups(x, 2), 2, 1e-5).reshape(x.shape) * per_channel(w, x) + per_channel(b, x),
              [(3, 4, 5), (2, 4, 3, 2), (3, 4)], (4,)),
    "a group for each channel": (lambda x, w, b: F.group_norm(x, 4, w, b, 0.1), lambda x, w, b: scaled(groups(x, 4), 2, 0.1).reshape(x.shape) *
                                 per_channel(w, x) + per_channel(b, x), [(3, 4, 5)], (4,)),
    "batch": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), lambda x, w, b: scaled(x, (0, *range(2, x.ndim)), 1e-5) * per_channel(w, x) +
              per_channel(b, x), [(6, 4), (3, 4, 5), (2, 4, 3, 2)], (4,)),
}
ROWS = [pytest.param(*row[:2], shape, row[3], id=f"{name}-{shape}") for name, row in NORMS.items() for shape in row[2]]


def drawn(shape, weights, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [(rng.normal(size=s) * 2 + 0.5).astype(dtype) for s in (shape, weights, weights)]


def leaves(arrays):
    return [Tensor(a, requires_grad=True) for a in arrays]


@pytest.mark.parametrize("norm, definition, shape, weights", ROWS)
def test_definition_and_derivatives(norm, definition, shape, weights):
    arrays = drawn(shape, weights)
    np.testing.assert_allclose(norm(*map(Tensor, arrays)).data, definition(*arrays), rtol=1e-11, atol=1e-12)
    assert tg.gradcheck(lambda *a: norm(*a) ** 3, arrays, order=2)
    single = drawn(shape, weights, np.float32)
    z = norm(*leaves(single))
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.data, definition(*arrays), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm, definition, shape, weights", ROWS)
def test_layouts_and_frozen_parts(norm, definition, shape, weights):
    arrays = drawn(shape, weights)
    g = np.cos(np.arange(np.prod(shape))).reshape(shape)
    whole = leaves(arrays)
    norm(*whole).backward(g)
    for layout in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2], lambda a: a[..., ::-1].copy()[..., ::-1]):
        xs = leaves([layout(a) for a in arrays])
        norm(*xs).backward(layout(g))
        for x, y in zip(xs, whole):
            np.testing.assert_allclose(x.grad, y.grad, rtol=1e-11, atol=1e-12)
    for i in range(3):                      # only one of them asks
        xs = [Tensor(a, requires_grad=i == j) for j, a in enumerate(arrays)]
        norm(*xs).backward(g)
        assert np.array_equal(xs[i].grad, whole[i].grad) and [x.grad is None for x in xs].count(True) == 2


@pytest.mark.parametrize("frozen", [(), (0,), (1,), (0, 1)])
def test_a_second_pass_with_other_numbers_in_the_same_array(frozen):
    """The three gradients are found together: what one pass left over must never serve the next."""
    arrays = drawn((5, 4), (4,))
    g = np.ones((5, 4))
    xs = [Tensor(a, requires_grad=i not in frozen) for i, a in enumerate(arrays)]
    z = F.layer_norm(xs[0], (4,), *xs[1:])
    for fill in (1.0, np.arange(20.0).reshape(5, 4)):
        for x in xs:
            x.grad = None
        g[...] = fill
        z.backward(g, retain_graph=True)
        fresh = leaves(arrays)
        F.layer_norm(fresh[0], (4,), *fresh[1:]).backward(g.copy())
        for i, (x, y) in enumerate(zip(xs, fresh)):
            assert x.grad is None if i in frozen else np.array_equal(x.grad, y.grad)


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 5), (2, 0, 4)])
def test_an_empty_batch(shape):
    for norm, size in ((lambda *a: F.layer_norm(a[0], (4,), *a[1:]), shape[-1]), (lambda *a: F.group_norm(a[0], 2, *a[1:]), shape[1])):
        if size == 4:
            xs = leaves([np.ones(shape), np.ones(4), np.ones(4)])
            z = norm(*xs)
            z.sum().backward()
            assert z.shape == shape and xs[0].grad.shape == shape and not xs[1].grad.any() and not xs[2].grad.any()


def test_equal_numbers_have_no_direction():
    x = Tensor(np.full((2, 3), 7.0, "f"), requires_grad=True)
    z = nn.LayerNorm(3)(x)
    z.backward(np.float32([[1, 2, 3], [0, 0, 0]]))
    assert not z.data.any() and np.isfinite(x.grad).all()
    large = nn.LayerNorm(4)(Tensor(np.float32([[1e4, 1e4 + 1, 1e4, 1e4 + 1]])))          # the mean is taken off before squaring
    np.testing.assert_allclose(large.data, [[-1, 1, -1, 1]], rtol=1e-4)


def test_nan_stays_in_its_row():
    x = np.arange(8, dtype="f").reshape(2, 4)
    x[0, 1] = np.nan
    z = nn.LayerNorm(4)(Tensor(x)).data
    assert np.isnan(z[0]).all() and np.isfinite(z[1]).all()


def test_group_norm_reaches_from_layer_to_instance_norm():
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_allclose(F.group_norm(x, 1).data, F.layer_norm(x, (4, 5)).data, rtol=1e-12)
    np.testing.assert_allclose(F.group_norm(x, 4).data, F.layer_norm(x, (5,)).data, rtol=1e-12)


def test_running_statistics_move_towards_the_batches():
    rng = np.random.default_rng(0)
    layer, average = nn.BatchNorm2d(2), nn.BatchNorm2d(2, momentum=None)
    batches = [rng.normal(3, 2, (4, 2, 5, 5)).astype("f") for _ in range(60)]
    for x in batches:
        layer(Tensor(x)), average(Tensor(x))
    whole = np.stack(batches)
    np.testing.assert_allclose(average.running_mean, whole.mean(axis=(0, 1, 3, 4)), rtol=1e-4)
    np.testing.assert_allclose(average.running_var, np.mean([x.var(axis=(0, 2, 3), ddof=1) for x in batches], axis=0), rtol=1e-4)
    np.testing.assert_allclose(layer.running_mean, [3, 3], atol=0.5)
    before = layer.state_dict()
    layer.eval()(Tensor(batches[0]))
    assert all(np.array_equal(before[k], v) for k, v in layer.state_dict().items()) and before["num_batches_tracked"] == 60


ONES = Tensor(np.ones((2, 4, 3), "f"))
BAD = [
    (lambda: nn.LayerNorm(4)(ONES), ValueError, r"layer_norm: got shape \(2, 4, 3\), expected one that ends with \(4,\)"),
    (lambda: nn.RMSNorm((4, 2))(ONES), ValueError, r"rms_norm: got shape \(2, 4, 3\), expected one that ends with \(4, 2\)"),
    (lambda: F.layer_norm(ONES, (3,), np.ones(4, "f")), ValueError, r"layer_norm: got a weight of shape \(4,\), expected \(3,\)"),
    (lambda: nn.RMSNorm(3).double()(ONES), TypeError, r"rms_norm: the input is float32, the weight float64: use x.astype\('float64'\)"),
    (lambda: nn.GroupNorm(2, 4).double()(ONES), TypeError, "group_norm: the input is float32"),
    (lambda: nn.GroupNorm(3, 4), ValueError, "GroupNorm: got num_groups=3, num_channels=4, expected channels that divide"),
    (lambda: nn.GroupNorm(3, 6)(ONES), ValueError, r"GroupNorm: got shape \(2, 4, 3\), expected \(N, 6, ...\)"),
    (lambda: F.group_norm(ONES, 3), ValueError, r"group_norm: got shape \(2, 4, 3\), expected \(N, C, ...\) with C a multiple of the 3 groups"),
    (lambda: F.group_norm(ONES, 2, None, np.ones(3, "f")), ValueError, r"group_norm: got a bias of shape \(3,\), expected \(4,\)"),
    (lambda: nn.BatchNorm2d(4)(ONES), ValueError, r"BatchNorm2d: got shape \(2, 4, 3\), expected \(N, 4, H, W\)"),
    (lambda: nn.BatchNorm2d(4)(Tensor(np.ones((1, 4, 1, 1), "f"))), ValueError, "one value per channel"),
]


@pytest.mark.parametrize("call, kind, message", BAD, ids=[re.sub(r"\W+", "-", m)[:60] for _, _, m in BAD])
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_refused_batch_changes_no_statistics():
    layer = nn.BatchNorm1d(3)
    before = layer.state_dict()
    for x in (np.ones((1, 3), "f"), np.ones((4, 3)), np.ones((4, 2), "f")):
        with pytest.raises((ValueError, TypeError)):
            layer(Tensor(x))
    assert all(np.array_equal(before[k], v) for k, v in layer.state_dict().items())
