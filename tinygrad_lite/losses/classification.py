"""Losses of scores against classes by likelihood: cross-entropy and its kin."""
import numpy as np

from ..backend import like, on_gpu, xp_of
from ..kernels.softmax import cross_entropy as rows_cross_entropy
from ..ops.activations import log_softmax, logsigmoid, softplus
from ..ops.elementwise import exp, expm1, log
from ..ops.indexing import gather, where
from ..ops.reductions import power, sum
from ..tensor import Tensor, op, plain
from .common import (REDUCTIONS, TINY, class_ids, class_weights, constants, integers, reduced, refuse, same_shape,
                     scores_and_classes, tensor)


# --- cross-entropy of rows of scores, fused: the forward pass leaves the gradient behind
def _rows_forward(x, y, weight, ignore_index, smoothing, reduction):
    total, losses, grad = rows_cross_entropy(x, y, weight, ignore_index, smoothing, reduction == "mean")
    return (losses if reduction == "none" else total), grad


def _rows_rule(g, z, x, y, weight, ignore_index, smoothing, reduction, grad):
    if g.ndim:
        return grad * g[:, None]
    return grad if not on_gpu(g) and g == 1 else grad * g


def _rows_formula(x, y, weight, ignore_index, smoothing, reduction):
    k, used = x.shape[1], y != ignore_index
    w = np.ones_like(plain(x), shape=k) if weight is None else weight
    hit = (y[:, None] == xp_of(y).arange(k)) & used[:, None]
    share = hit * w
    target = (hit * x.dtype.type(1 - smoothing) + x.dtype.type(smoothing / k)) * w * used[:, None]
    losses = -(target * where(target == 0, 0, log_softmax(x, 1))).sum(axis=1)
    losses = where(used & ((y < 0) | (y >= k)), np.nan, losses)           # on the host they were refused before
    return reduced(losses, reduction, share.sum())


_rows = op("cross_entropy", _rows_forward, _rows_rule, composite=_rows_formula, saves=True)


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-log softmax(x)_y. input: (N, K), (K,) or (N, K, d1...) scores; target: integer classes, or probabilities of that shape.

    With weights w and smoothing e: l = -(1-e) w_y log p_y - e/K sum_c w_c log p_c (Szegedy et al. 2015, 1512.00567).
    The mean divides by the sum of w_y over what is not ignored (by N for probabilities). All ignored: nan, gradient 0.

    >>> x = Tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    >>> loss = cross_entropy(x, np.array([0, 1])); loss.backward()
    >>> round(loss.item(), 4), x.grad[1]
    (0.41, array([ 0.25, -0.25], dtype=float32))
    """
    x = tensor(input)
    y = target if hasattr(target, "dtype") else like(plain(x), target)
    if x.ndim == 0:
        raise ValueError("cross_entropy: got a 0-d input, expected scores of shape (N, K)")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing: got {label_smoothing}, expected a number in [0, 1]")
    axis = 0 if x.ndim == 1 else 1
    k = x.shape[axis]
    w = class_weights("cross_entropy", weight, k, x)
    if y.dtype.kind == "f":
        return _soft_cross_entropy(x, y, np.ones_like(x.data, shape=k) if w is None else w, axis, reduction, label_smoothing)
    y = integers("cross_entropy", y, x)
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


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """-w_y x_y for log-probabilities x (N, K), (K,) or (N, K, d1...); the mean divides by the sum of w_y.

    >>> nll_loss(Tensor([[-0.5, -1.0], [-2.0, -0.25]]), np.array([0, 1])).item()
    0.375
    """
    x = tensor(input)
    if x.ndim == 0:
        raise ValueError("nll_loss: got a 0-d input, expected log-probabilities of shape (N, K)")
    axis = 0 if x.ndim == 1 else 1
    k = x.shape[axis]
    x, y = class_ids("nll_loss", x, target, axis, ignore_index)
    w = class_weights("nll_loss", weight, k, x)
    share = np.where(y >= 0, 1 if w is None else w[y], 0).astype(x.dtype)
    picked = gather(x, axis, np.expand_dims(np.maximum(y, 0), axis)).reshape(y.shape)
    losses = -(where(share == 0, 0, picked) * share)
    return reduced(losses, reduction, share.sum())


# --- yes or no
@np.errstate(divide="ignore")               # log 0 is held at -100
def _bce(x, y):
    return -(y * np.maximum(np.log(x), -100) + (1 - y) * np.maximum(np.log1p(-x), -100))


@np.errstate(divide="ignore")
def _bce_target(g, z, x, y):
    return g * (np.maximum(np.log1p(-x), -100) - np.maximum(np.log(x), -100))


_binary = op("binary_cross_entropy", _bce, lambda g, z, x, y: g * (x - y) / np.maximum((1 - x) * x, TINY), _bce_target)


def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-w [y log x + (1-y) log(1-x)] for probabilities x and targets y in [0, 1], any shape; logarithms end at -100.

    The slope is PyTorch's (x-y) / max(x (1-x), 1e-12): 1e12 at the wrong end. From scores, binary_cross_entropy_with_logits
    is exact.

    >>> binary_cross_entropy(Tensor([0.5, 0.0]), np.array([1, 1]), reduction="none").data.round(4)
    array([  0.6931, 100.    ], dtype=float32)
    """
    x, y = same_shape("binary_cross_entropy", input, target)
    wrong = ~((plain(x) >= 0) & (plain(x) <= 1))
    losses = _binary(refuse(wrong, x, lambda at: ValueError(
        f"binary_cross_entropy: got input {plain(x)[at]} at index {at}, expected probabilities in [0, 1]: for scores use "
        "binary_cross_entropy_with_logits")), y)
    return reduced(losses if weight is None else losses * constants(weight, x), reduction)


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    """w [q y log(1 + e^-x) + (1-y) log(1 + e^x)] for logits x and targets y in [0, 1], q = pos_weight; never overflows.

    >>> round(binary_cross_entropy_with_logits(Tensor([0.0, 100.0]), np.array([1.0, 1.0])).item(), 4)
    0.3466
    """
    x, y = same_shape("binary_cross_entropy_with_logits", input, target)
    missed = y * softplus(-x, 1.0, np.inf)          # exact also where PyTorch's softplus goes over to x
    missed = missed if pos_weight is None else constants(pos_weight, x) * missed
    losses = (1 - y) * softplus(x, 1.0, np.inf) + missed
    return reduced(losses if weight is None else losses * constants(weight, x), reduction)


def multilabel_soft_margin_loss(input, target, weight=None, reduction="mean"):
    """The mean over the K classes of binary cross-entropies of scores (N, K) or (K,) with targets 0 or 1 of that shape.

    >>> round(multilabel_soft_margin_loss(Tensor([[0.0, 3.0]]), np.array([[1, 0]])).item(), 4)
    1.8709
    """
    x, y = same_shape("multilabel_soft_margin_loss", input, target)
    if x.ndim == 0:
        raise ValueError("multilabel_soft_margin_loss: got a 0-d input, expected scores of shape (N, K)")
    losses = -(y * logsigmoid(x) + (1 - y) * logsigmoid(-x))
    losses = losses if weight is None else losses * constants(weight, x)
    return reduced(sum(losses, -1) / x.shape[-1], reduction)


# --- distributions against distributions, and cross-entropies that count some mistakes more than others
def kl_div(input, target, reduction="mean", log_target=False):
    """y (log y - x) for log-probabilities x and probabilities y (or their logarithms), 0 where y is 0. Kullback & Leibler 1951.

    `reduction="batchmean"` divides by the first axis only: the divergence; "mean" by the number of numbers, as in PyTorch.

    >>> x = Tensor(np.log([[0.5, 0.5]]))
    >>> round(kl_div(x, np.array([[1.0, 0.0]]), reduction="batchmean").item(), 4)
    0.6931
    """
    x, y = same_shape("kl_div", input, target)
    if log_target:
        losses = exp(y) * (y - x)
    else:
        zero = plain(y) == 0
        x = refuse(plain(y) < 0, x, lambda at: ValueError(
            f"kl_div: target: got {plain(y).min()}, expected probabilities (or log_target=True)"))
        losses = y * where(zero, 0, log(where(zero, 1, y)) - x)
    if reduction == "batchmean":
        return reduced(losses, "mean", x.shape[0] if x.ndim else 1)
    return reduced(losses, reduction)


def focal_loss(logits, target, gamma=2.0, reduction="mean"):
    """-(1 - p_y)^gamma log p_y, p = softmax(logits): what is already right counts little. Lin et al. 2017 (1708.02002).

    logits: (N, K), (K,) or (N, K, d1...), target: integer classes. gamma = 0 is cross-entropy.

    >>> x = Tensor([[0.0, 0.0], [5.0, 0.0]])
    >>> for gamma in (0.0, 2.0):
    ...     print([f"{l:.2g}" for l in focal_loss(x, np.array([0, 0]), gamma, reduction="none").data])
    ['0.69', '0.0067']
    ['0.17', '3e-07']
    """
    logits = tensor(logits)
    if not gamma >= 0:
        raise ValueError(f"focal_loss: gamma: got {gamma}, expected a number >= 0")
    if logits.ndim == 0:
        raise ValueError("focal_loss: got 0-d logits, expected scores of shape (N, K)")
    logits, y = class_ids("focal_loss", logits, target, 0 if logits.ndim == 1 else 1)
    losses = cross_entropy(logits, y, reduction="none")
    return reduced(power(-expm1(-losses), gamma) * losses if gamma else losses, reduction)


def infogain_loss(logits, target, H, reduction="mean"):
    """-sum_k H[y, k] log p_k, p = softmax(logits): H (K, K) says what each answer k is worth where y is right. From Caffe.

    logits: (N, K), target: integer classes (N,). H = identity is cross-entropy.

    >>> x, y = Tensor([[2.0, 1.0, 0.0]]), np.array([0])
    >>> H = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]], "f")
    >>> round(infogain_loss(x, y, np.eye(3, dtype="f")).item(), 4), round(infogain_loss(x, y, H).item(), 4)
    (0.4076, 1.1114)
    """
    x, y = scores_and_classes("infogain_loss", logits, target)
    H, k = constants(H, x), x.shape[1]
    if H.shape != (k, k):
        raise ValueError(f"infogain_loss: got logits of shape {x.shape} and H of shape {H.shape}, expected ({k}, {k})")
    worth = H[y]
    losses = -sum(worth * where(plain(worth) == 0, 0, log_softmax(x, 1)), 1)
    return reduced(losses if tensor(logits).ndim == 2 else losses.reshape(()), reduction)
