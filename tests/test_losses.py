"""The losses of every day: PyTorch on drawn inputs and corners, derivatives to second order, and what is refused.

The reference numbers of all losses are in test_losses_more.py.
"""
import math
from functools import partial

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, losses

PLAIN = ("hinge_loss", "squared_hinge_loss", "multiclass_hinge_loss")


# --- PyTorch on drawn inputs: name, the input's shape, how the target is drawn, options
def classes(rng, shape, ignored=0.0):
    n, k, *rest = shape if len(shape) > 1 else (None, *shape)
    y = rng.integers(0, k, () if n is None else (n, *rest))
    return np.where(rng.random(y.shape) < ignored, -100, y)


def shares(rng, shape):
    p = rng.random(shape)
    return p / p.sum(axis=0 if len(shape) == 1 else 1, keepdims=True)


def like(rng, shape):
    return rng.normal(size=shape)


def between(rng, shape):
    return rng.random(shape)


def weights(rng, k):
    return rng.uniform(0.1, 2, k) * (np.arange(k) != 1)             # one class counts nothing


SHAPES = [(5, 4), (4,), (1, 1), (6, 3, 2), (2, 5, 3, 2), (0, 4), (70, 130)]
ROWS = ([("cross_entropy", s, partial(classes, ignored=i), o) for s in SHAPES for i in (0.0, 0.4)
         for o in ({}, dict(weight=True), dict(label_smoothing=0.2), dict(weight=True, label_smoothing=0.3), dict(ignore_index=2))]
        + [("cross_entropy", s, shares, o) for s in SHAPES for o in ({}, dict(weight=True, label_smoothing=0.3))]
        + [("nll_loss", s, partial(classes, ignored=0.3), o) for s in SHAPES for o in ({}, dict(weight=True), dict(ignore_index=0))]
        + [(name, s, draw, {}) for s in [(5, 4), (), (3,), (2, 0)] for name, draw in
           [("mse_loss", like), ("l1_loss", like), ("binary_cross_entropy_with_logits", between)]]
        + [("binary_cross_entropy_with_logits", (5, 4), between, dict(weight=True)),
           ("binary_cross_entropy_with_logits", (5, 4), between, dict(pos_weight=True)),
           ("binary_cross_entropy_with_logits", (5, 4), between, dict(weight=True, pos_weight=True))])


def differentiable_target(draw):
    return draw in (shares, like)


def drawn(name, shape, draw, options, dtype, seed=0):
    """Input, target and options as arrays."""
    rng = np.random.default_rng(seed)
    x, y = np.asarray(rng.normal(size=shape) * 3).astype(dtype), np.asarray(draw(rng, shape))
    y = np.where(y == -100, options["ignore_index"], y) if "ignore_index" in options else y
    width = (shape[0] if len(shape) == 1 else shape[1]) if shape else 1
    options = {k: weights(rng, width).astype(dtype) if v is True else v for k, v in options.items()}
    return x, y.astype(dtype) if y.dtype.kind == "f" else y, options


def both(torch, name, x, y, options):
    """(loss, x, y) here and in PyTorch, tracked where a gradient exists."""
    track = y.dtype.kind == "f" and name != "binary_cross_entropy_with_logits"
    ours = Tensor(x.copy(), requires_grad=True), Tensor(y.copy(), requires_grad=True) if track else y
    theirs = torch.tensor(x, requires_grad=True), torch.tensor(y, requires_grad=track)
    tensors = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    return ((getattr(losses, name)(*ours, **options), *ours),
            (getattr(torch.nn.functional, name)(*theirs, **tensors), *theirs))


@pytest.mark.filterwarnings("ignore:.*mean of empty.*")
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-11), (np.float32, 1e-5)])
@pytest.mark.parametrize("name, shape, draw, options", ROWS)
def test_torch_agrees(name, shape, draw, options, dtype, rtol, torch):
    for reduction in ("mean", "sum", "none"):
        x, y, kwargs = drawn(name, shape, draw, options, dtype)
        (z, a, b), (w, c, d) = both(torch, name, x, y, {**kwargs, "reduction": reduction})
        assert z.dtype == dtype and z.shape == tuple(w.shape)
        np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=rtol, atol=rtol * max(1, x.size) ** 0.5)
        g = np.asarray(np.random.default_rng(1).normal(size=z.shape)).astype(dtype)
        z.backward(g), w.backward(torch.from_numpy(g))
        pairs = [(a.grad, c.grad)] + ([(b.grad, d.grad)] if isinstance(b, Tensor) else [])
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name, shape, draw, options", [r for r in ROWS if math.prod(r[1]) in range(1, 30)])
def test_torch_agrees_on_second_derivatives(name, shape, draw, options, torch):
    x, y, kwargs = drawn(name, shape, draw, options, np.float64)
    if name in ("nll_loss", "l1_loss") or (name == "cross_entropy" and not (y != kwargs.get("ignore_index", -100)).any()):
        return                              # linear, or empty: no second derivative
    (z, a, _), (w, c, _) = both(torch, name, x, y, kwargs)
    v = np.random.default_rng(2).normal(size=x.shape)
    first, = tg.grad(z, [a], create_graph=True)
    peer, = torch.autograd.grad(w, [c], create_graph=True)
    np.testing.assert_allclose(first.data, peer.detach().numpy(), rtol=1e-10, atol=1e-12)
    second, = tg.grad((first * first * v).sum(), [a])
    expected, = torch.autograd.grad((peer * peer * torch.from_numpy(v)).sum(), [c])
    np.testing.assert_allclose(second.data, expected.numpy(), rtol=1e-9, atol=1e-12)


EXTREME = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4], [0, 1e-4, -1e-4], [88, -88, 104], [3e38, 0, -3e38]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, dict(label_smoothing=0.1), dict(weight=np.array([1.0, 2.0, 0.5]))])
def test_extreme_logits(options, dtype, torch):
    options = {k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    for y in (np.array([0, 1, 2, 0, 1, 0]), np.array([1, 2, 0, 1, 0, 0])):
        (z, a, _), (w, c, _) = both(torch, "cross_entropy", EXTREME.astype(dtype), y, {**options, "reduction": "none"})
        z.sum().backward(), w.sum().backward()
        np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(a.grad, c.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [4, 300])                 # below and above where the loop looks for maxima in lanes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masked_classes(dtype, k, torch):
    x = np.random.default_rng(0).normal(size=(3, k)).astype(dtype)
    x[:, 1::2] = -np.inf
    for y, value in ((np.array([0, 2, 0]), "finite"), (np.array([0, 1, 0]), "inf")):
        (z, a, _), (w, c, _) = both(torch, "cross_entropy", x, y, {})
        z.backward(), w.backward()
        assert np.isfinite(z.data) == (value == "finite")
        np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=1e-6)
        np.testing.assert_allclose(a.grad, c.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_logits_of_bce_far_out():
    x = np.array([1e4, -1e4, 80, -80, 20.5, -20.5, 0, 3e38, -3e38], np.float32)
    with np.errstate(over="ignore"):
        p, q = [1 / (1 + np.exp(s * x.astype(float))) for s in (-1, 1)]     # sigmoid(x) and 1 - sigmoid(x)
    for y in (0.0, 1.0, 0.3):
        a = Tensor(x, requires_grad=True)
        z = losses.binary_cross_entropy_with_logits(a, np.full(9, y, "f"), reduction="none")
        z.sum().backward()
        exact = y * np.logaddexp(0, -x.astype(float)) + (1 - y) * np.logaddexp(0, x.astype(float))
        np.testing.assert_allclose(z.data, exact, rtol=1e-6, atol=1e-37)
        np.testing.assert_allclose(a.grad, (1 - y) * p - y * q, rtol=1e-6, atol=1e-37)      # all digits, on both sides


def test_nothing_left_is_nan_with_gradient_zero():
    for loss in (losses.cross_entropy, losses.nll_loss):
        x = Tensor(np.ones((2, 3)), requires_grad=True)
        z = loss(x, np.array([-100, -100]))
        z.backward()
        assert math.isnan(z.item()) and (x.grad == 0).all()
        assert loss(x, np.array([-100, -100]), reduction="sum").item() == 0


# --- hinge losses
@pytest.mark.parametrize("margin", [1, 0.5])
def test_hinges(margin):
    score, y = np.array([0.5, -0.5, 1.0, -2.0, np.inf, 3.0]), np.array([1, -1, 1, 1, 1, -1])
    short = np.maximum(0, margin - y * score)
    for name, value, slope in [("hinge_loss", short, -y * (margin - y * score > 0)), ("squared_hinge_loss", short ** 2, -2 * y * short)]:
        s = Tensor(score, requires_grad=True)
        z = getattr(losses, name)(s, y, margin, reduction="none")
        z.backward(np.ones(6))
        np.testing.assert_array_equal(z.data, value)
        np.testing.assert_array_equal(s.grad, slope)    # 0 at the kink, y score = margin, and far beyond it


def test_crammer_singer_counts_the_worst_class_only():
    s = Tensor([[2.0, 1.5, 0.0], [0.0, 3.0, 1.0], [5.0, 1.0, 1.0]], requires_grad=True)
    z = losses.multiclass_hinge_loss(s, np.array([0, 2, 0]), reduction="none")
    z.backward(np.ones(3))
    assert z.data.tolist() == [0.5, 3.0, 0.0] and s.grad.tolist() == [[-1, 1, 0], [0, 1, -1], [0, 0, 0]]
    assert losses.multiclass_hinge_loss(np.ones((2, 1)), np.array([0, 0])).item() == 0          # no other class


@pytest.mark.parametrize("name", ["hinge_loss", "squared_hinge_loss", "mse_loss", "l1_loss", "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integer_targets_do_not_change_the_dtype(name, dtype):
    x = Tensor(np.array([0.5, -2.0], dtype), requires_grad=True)
    for y in (np.array([1, -1]), [1, -1], np.array([True, False])):
        z = getattr(losses, name)(x, y)
        z.backward()
        assert z.dtype == dtype and x.grad.dtype == dtype
        assert z.item() == pytest.approx(getattr(losses, name)(x, np.array(y, dtype)).item(), rel=1e-7)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "mse_loss", "l1_loss",
                                  "binary_cross_entropy_with_logits", *PLAIN])
def test_arrays_and_second_order(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3))
    y = np.sign(rng.normal(size=(4, 3))) if name[0] in "hsb" else rng.normal(size=(4, 3))
    y = rng.integers(0, 3, 4) if name in ("cross_entropy", "nll_loss", "multiclass_hinge_loss") else np.abs(y) if name[0] == "b" else y
    loss = getattr(losses, name)
    z = loss(x, y)
    assert isinstance(z, Tensor) and not z.requires_grad and z.item() == loss(Tensor(x), Tensor(y)).item()
    for reduction in ("mean", "sum", "none"):
        assert tg.gradcheck(lambda t: loss(t, y, reduction=reduction), [x], order=2)
    with pytest.raises(ValueError, match="reduction: got 'avg', expected 'mean', 'sum' or 'none'"):
        loss(x, y, reduction="avg")
    if y.dtype.kind == "f":
        with pytest.raises(ValueError, match=rf"{name}: got input of shape \(4, 3\) and target of shape \(3, 4\)"):
            loss(x, y.T)


X = np.ones((2, 3))
REFUSED = [
    (lambda: losses.cross_entropy(X, np.array([0, 3])), IndexError, r"target 3 .*, expected 0\.\.2 or ignore_index -100"),
    (lambda: losses.cross_entropy(X, np.array([0, -1])), IndexError, "target -1"),
    (lambda: losses.nll_loss(X, np.array([5, 0])), IndexError, r"nll_loss: target 5 at index \(0,\)"),
    (lambda: losses.multiclass_hinge_loss(X, np.array([0, -1])), IndexError, r"target -1 at index \(1,\), expected 0\.\.2$"),
    (lambda: losses.cross_entropy(X, np.array([0, 1, 2])), ValueError, r"expected a target of shape \(2,\)"),
    (lambda: losses.cross_entropy(X, np.ones((3, 2))), ValueError, r"cross_entropy: got input of shape \(2, 3\) and target of shape \(3, 2\)"),
    (lambda: losses.cross_entropy(X, np.array(["a", "b"])), TypeError, "expected integer classes"),
    (lambda: losses.nll_loss(X, np.array([0.5, 1])), TypeError, "nll_loss: the target has dtype float64, expected integer"),
    (lambda: losses.cross_entropy(X, np.array([0, 1]), weight=np.ones(2)), ValueError, r"weight has shape \(2,\), expected \(3,\)"),
    (lambda: losses.cross_entropy(X, np.array([0, 1]), label_smoothing=1.5), ValueError, "label_smoothing: got 1.5"),
    (lambda: losses.cross_entropy(np.array(1.0), np.array(0)), ValueError, "0-d input"),
    (lambda: tg.nn.CrossEntropyLoss(smoothing=0.1), TypeError, r"unknown option \['smoothing'\]; known are weight, ignore_index"),
]


@pytest.mark.parametrize("call, kind, message", REFUSED, ids=[m for _, _, m in REFUSED])
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_layers_are_their_functions():
    x, y = Tensor([[2.0, 0.0, 1.0]]), np.array([1])
    w = np.array([1.0, 2.0, 3.0], "f")
    layer = tg.nn.CrossEntropyLoss(w, ignore_index=0, reduction="sum", label_smoothing=0.1)
    assert layer(x, y).item() == losses.cross_entropy(x, y, w, 0, "sum", 0.1).item()
    assert repr(tg.nn.MSELoss(reduction="sum")) == "MSELoss(reduction=sum)" and repr(tg.nn.L1Loss()) == "L1Loss()"
    for name in ("cross_entropy", "nll_loss", "mse_loss", "l1_loss", "binary_cross_entropy_with_logits"):
        assert getattr(tg.nn.functional, name) is getattr(losses, name)
