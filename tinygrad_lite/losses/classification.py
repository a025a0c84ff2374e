"""Losses of scores against classes: cross-entropy and its kin, hinges."""
import numpy as np

from ..kernels.softmax import cross_entropy as rows_cross_entropy
from ..ops.activations import log_softmax, relu, softplus
from ..ops.indexing import gather, where
from ..ops.reductions import sum
from ..tensor import Tensor, op, plain
from .common import REDUCTIONS, class_ids, integers, reduced, same_shape, tensor


# --- cross-entropy of rows of scores, fused: the forward pass leaves the gradient behind
def _rows_forward(x, y, weight, ignore_index, smoothing, reduction):
    total, losses, grad = rows_cross_entropy(x, y, weight, ignore_index, smoothing, reduction == "mean")
    return (losses if reduction == "none" else x.dtype.type(total)), grad


def _rows_rule(g, z, x, y, weight, ignore_index, smoothing, reduction, grad):
    if g.ndim:
        return grad * g[:, None]
    return grad if g == 1 else grad * g


def _rows_formula(x, y, weight, ignore_index, smoothing, reduction):
    k, used = x.shape[1], y != ignore_index
    w = np.ones(k, x.dtype) if weight is None else weight
    target = np.full(x.shape, smoothing / k, x.dtype)
    target[np.flatnonzero(used), y[used]] += 1 - smoothing
    target = target * w * used[:, None]
    losses = -where(target == 0, 0, target * log_softmax(x, 1)).sum(axis=1)
    return reduced(losses, reduction, w[y[used]].sum())


_rows = op("cross_entropy", _rows_forward, _rows_rule, composite=_rows_formula, saves=True)


def cross_entropy(x, y, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-log softmax(x)_y. x: (N, K), (K,) or (N, K, d1...) scores; y: integer classes, or probabilities of x's shape.

    With weights w and smoothing e: l = -(1-e) w_y log p_y - e/K sum_c w_c log p_c. The mean divides by
    the sum of w_y over what is not ignored (by N for probabilities). All ignored: nan, gradient 0.

    >>> x = Tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    >>> loss = cross_entropy(x, np.array([0, 1])); loss.backward()
    >>> round(loss.item(), 4), x.grad[1]
    (0.41, array([ 0.25, -0.25], dtype=float32))
    """
    x, y = tensor(x), y if isinstance(y, Tensor) else np.asarray(y)
    if x.ndim == 0:
        raise ValueError("cross_entropy: got a 0-d input, expected scores of shape (N, K)")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing: got {label_smoothing}, expected a number in [0, 1]")
    axis = 0 if x.ndim == 1 else 1
    k = x.shape[axis]
    w = None if weight is None else np.asarray(plain(weight), x.dtype)
    if w is not None and w.shape != (k,):
        raise ValueError(f"cross_entropy: weight has shape {w.shape}, expected ({k},), one per class")
    if y.dtype.kind == "f":
        return _soft_cross_entropy(x, y, np.ones(k, x.dtype) if w is None else w, axis, reduction, label_smoothing)
    y = integers("cross_entropy", y)
    if y.shape != x.shape[:axis] + x.shape[axis + 1:]:
        raise ValueError(f"cross_entropy: got input of shape {x.shape} and target of shape {y.shape}, expected a target of "
                         f"shape {x.shape[:axis] + x.shape[axis + 1:]}")
    if reduction not in REDUCTIONS:
        reduced(x, reduction)
    if x.ndim == 2:
        return _rows(x, y, w, ignore_index, label_smoothing, reduction)
    rows = x.reshape(1, k) if x.ndim == 1 else np.moveaxis(x, 1, -1).reshape(-1, k)
    losses = _rows(rows, y.reshape(-1), w, ignore_index, label_smoothing, reduction)
    return losses.reshape(y.shape) if reduction == "none" else losses


def _soft_cross_entropy(x, y, w, axis, reduction, smoothing):
    x, y = same_shape("cross_entropy", x, y)
    k = x.shape[axis]
    target = (y * (1 - smoothing) + smoothing / k) * w.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    losses = -sum(log_softmax(x, axis) * target, axis)
    return reduced(losses, reduction)


def nll_loss(x, y, weight=None, ignore_index=-100, reduction="mean"):
    """-w_y x_y for log-probabilities x (N, K), (K,) or (N, K, d1...); the mean divides by the sum of w_y.

    >>> nll_loss(Tensor([[-0.5, -1.0], [-2.0, -0.25]]), np.array([0, 1])).item()
    0.375
    """
    x = tensor(x)
    axis = 0 if x.ndim == 1 else 1
    k = x.shape[axis]
    y = class_ids("nll_loss", y, k, ignore_index)
    if y.shape != tuple(x.shape[:axis] + x.shape[axis + 1:]):
        raise ValueError(f"nll_loss: got input of shape {x.shape} and target of shape {y.shape}, expected "
                         f"{x.shape[:axis] + x.shape[axis + 1:]}")
    w = np.ones(k, x.dtype) if weight is None else np.asarray(plain(weight), x.dtype)
    share = np.where(y >= 0, w[y], 0).astype(x.dtype)
    picked = gather(x, axis, np.expand_dims(np.maximum(y, 0), axis)).reshape(y.shape)
    losses = -where(share == 0, 0, picked * share)
    return reduced(losses, reduction, share.sum())


def binary_cross_entropy_with_logits(x, y, weight=None, reduction="mean", pos_weight=None):
    """w [q y log(1 + e^-x) + (1-y) log(1 + e^x)] for logits x and targets y in [0, 1], q = pos_weight; never overflows.

    >>> round(binary_cross_entropy_with_logits(Tensor([0.0, 100.0]), np.array([1.0, 1.0])).item(), 4)
    0.3466
    """
    x, y = same_shape("binary_cross_entropy_with_logits", x, y)
    missed = y * softplus(-x, 1.0, np.inf)          # exact also where PyTorch's softplus goes over to x
    losses = (1 - y) * softplus(x, 1.0, np.inf) + (missed if pos_weight is None else pos_weight * missed)
    return reduced(losses if weight is None else losses * weight, reduction)


def hinge_loss(score, y, margin=1, reduction="mean"):
    """max(0, margin - y score) for y in {-1, 1}; the slope at the kink is 0. Cortes & Vapnik 1995.

    >>> hinge_loss(Tensor([0.5, 3.0]), np.array([1, 1])).item()
    0.25
    """
    score, y = same_shape("hinge_loss", score, y)
    return reduced(relu(margin - score * y), reduction)


def squared_hinge_loss(score, y, margin=1, reduction="mean"):
    """max(0, margin - y score)^2 for y in {-1, 1}.

    >>> squared_hinge_loss(Tensor([0.5, 3.0]), np.array([1, 1])).item()
    0.125
    """
    score, y = same_shape("squared_hinge_loss", score, y)
    short = relu(margin - score * y)
    return reduced(short * short, reduction)


def multiclass_hinge_loss(score, target, margin=1, reduction="mean"):
    """max(0, margin + max_{j != y} s_j - s_y): only the worst class counts. Crammer & Singer 2001.

    >>> multiclass_hinge_loss(Tensor([[2.0, 1.5, 0.0]]), np.array([0])).item()
    0.5
    """
    score = tensor(score)
    y = class_ids("multiclass_hinge_loss", target, score.shape[1])
    own = gather(score, 1, y[:, None]).reshape(-1)
    others = where(np.arange(score.shape[1]) == y[:, None], -np.inf, score)
    return reduced(relu(margin + others.max(axis=1) - own), reduction)
