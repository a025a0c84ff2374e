"""Losses with a margin: right is not enough, right by some distance is. Also the smooth one, of log(1 + e^-m)."""
import numpy as np

from ..backend import on_gpu, xp_of
from ..ops.activations import relu, softplus
from ..ops.elementwise import clamp
from ..ops.indexing import gather, where
from ..ops.reductions import sum
from ..tensor import Tensor, plain
from .common import class_weights, integers, numbers, reduced, refuse, same_shape, scores_and_classes, tensor

# At the kink, as in PyTorch: relu's slope is 0, clamp's is 1.


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


def soft_margin_loss(input, target, reduction="mean"):
    """log(1 + e^(-y x)) for y in {-1, 1}, any shape; never overflows.

    >>> soft_margin_loss(Tensor([0.0, -200.0]), np.array([1, 1]), reduction="none").data.round(4)
    array([  0.6931, 200.    ], dtype=float32)
    """
    x, y = same_shape("soft_margin_loss", input, target)
    return reduced(softplus(-x * y, 1.0, np.inf), reduction)


def hinge_embedding_loss(input, target, margin=1.0, reduction="mean"):
    """A distance x itself where y = 1 (alike), max(0, margin - x) where y = -1. Any shape.

    >>> hinge_embedding_loss(Tensor([0.25, 0.25]), np.array([1, -1]), reduction="none").data
    array([0.25, 0.75], dtype=float32)
    """
    x, y = same_shape("hinge_embedding_loss", input, target)
    return reduced(where(plain(y) == -1, 0, x) + where(plain(y) == 1, 0, clamp(margin - x, min=0)), reduction)


def margin_ranking_loss(input1, input2, target, margin=0, reduction="mean"):
    """max(0, margin - y (a - b)): y = 1 wants a above b, y = -1 b above a. Of one shape, or with sizes 1 to be repeated.

    >>> margin_ranking_loss(Tensor([3.0, 1.0]), Tensor([1.0, 3.0]), np.array([1, 1]), reduction="none").data
    array([0., 2.], dtype=float32)
    """
    a, b = tensor(input1), tensor(input2)
    y = numbers(target, a)
    if not a.ndim == b.ndim == y.ndim or any(len({*sizes} - {1}) > 1 for sizes in zip(a.shape, b.shape, y.shape)):
        raise ValueError(f"margin_ranking_loss: got inputs of shapes {a.shape} and {b.shape} and target of shape {y.shape}, "
                         "expected the same (or 1 for some sizes)")
    return reduced(clamp(margin - y * (a - b), min=0), reduction)


def multiclass_hinge_loss(score, target, margin=1, reduction="mean"):
    """max(0, margin + max_{j != y} s_j - s_y) of scores (N, K): only the worst class counts. Crammer & Singer 2001.

    >>> multiclass_hinge_loss(Tensor([[2.0, 1.5, 0.0]]), np.array([0])).item()
    0.5
    """
    rows, y = scores_and_classes("multiclass_hinge_loss", score, target)
    own = gather(rows, 1, y[:, None]).reshape(-1)
    others = where(xp_of(y).arange(rows.shape[1]) == y[:, None], -np.inf, rows)
    losses = relu(margin + others.max(axis=1) - own)
    return reduced(losses if tensor(score).ndim == 2 else losses.reshape(()), reduction)


def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, reduction="mean"):
    """1/K sum_{j != y} w_y max(0, margin - x_y + x_j)^p of scores (N, K), p 1 or 2. Weston & Watkins 1998.

    >>> multi_margin_loss(Tensor([[2.0, 1.5, 3.0, 0.0]]), np.array([0])).item()
    0.625
    """
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p: got {p}, expected 1 or 2")
    x, y = scores_and_classes("multi_margin_loss", input, target)
    w = class_weights("multi_margin_loss", weight, x.shape[1], x)
    short = relu(margin - gather(x, 1, y[:, None]) + x)
    short = where(xp_of(y).arange(x.shape[1]) == y[:, None], 0, short if p == 1 else short * short)
    losses = sum(short if w is None else w[y][:, None] * short, 1) / x.shape[1]
    return reduced(losses if tensor(input).ndim == 2 else losses.reshape(()), reduction)


def multilabel_margin_loss(input, target, reduction="mean"):
    """1/K sum over classes y in the target and classes j not in it of max(0, 1 - x_y + x_j). Scores (N, K) or (K,).

    target: integers of input's shape; a row lists its classes, and ends at the first negative number.

    >>> multilabel_margin_loss(Tensor([[2.0, 0.5, 1.0, 0.0]]), np.array([[0, 2, -1, 1]])).item()
    0.125
    """
    x = tensor(input)
    y = integers("multilabel_margin_loss", target, x)
    if x.shape != y.shape or x.ndim not in (1, 2):
        raise ValueError(f"multilabel_margin_loss: got input of shape {x.shape} and target of shape {y.shape}, expected both "
                         "(N, K) or (K,)")
    rows, y = (x.reshape(1, -1), y[None]) if x.ndim == 1 else (x, y)
    n, k = rows.shape
    listed = np.cumsum(y < 0, axis=1) == 0
    rows = refuse(y >= k, rows, lambda at: IndexError(
        f"multilabel_margin_loss: target {y.max()}, expected 0..{k - 1}, and negative numbers behind the last"))
    if not on_gpu(y):                       # the longest list is enough; there it is not known without waiting
        listed = listed[:, :listed.sum(axis=1).max(initial=0)]
    ids = np.where(listed, y[:, :listed.shape[1]], 0)
    wanted = (listed[:, :, None] & (ids[:, :, None] == xp_of(y).arange(k))).any(axis=1)
    short = relu(1 - gather(rows, 1, ids)[:, :, None] + rows[:, None, :])           # (N, listed classes, K)
    losses = sum(where(listed[:, :, None] & ~wanted[:, None, :], short, 0), (1, 2)) / k
    return reduced(losses if x.ndim == 2 else losses.reshape(()), reduction)
