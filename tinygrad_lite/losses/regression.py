"""Losses of numbers against numbers: distances, and the likelihoods of counts and of normal distributions."""
import math

import numpy as np

from ..ops.elementwise import abs, exp, log
from ..ops.indexing import where
from ..ops.shapes import unsqueeze
from ..tensor import Tensor, op, plain
from .common import constants, numbers, reduced, refuse, same_shape

# Quadratic up to delta, linear beyond; nothing overflows on the way. Its slope is the difference cut to [-delta, delta].
_huber = op("huber", lambda d, delta: np.clip(d, -delta, delta) * (d - np.clip(d, -delta, delta) / 2),
            lambda g, z, d, delta: g * np.clip(d, -delta, delta))
# The value is held up, the gradient passes as if it were not.
_at_least = op("at_least", lambda v, floor: np.maximum(v, floor), lambda g, z, v, floor: g)


def _weighted(name, losses, weight, reduction, by_weight=True):
    if weight is None:
        return reduced(losses, reduction)
    weight = constants(weight, losses)
    if weight.shape != losses.shape:
        raise ValueError(f"{name}: got input of shape {losses.shape} and weight of shape {weight.shape}, expected the same")
    return reduced(losses * weight, reduction, weight.sum() if by_weight else None)


def mse_loss(input, target, reduction="mean", weight=None):
    """(x - y)^2, any shape; with one weight per number the mean divides by the sum of the weights.

    >>> mse_loss(Tensor([1.0, 2.0]), np.array([1.0, 4.0])).item()
    2.0
    """
    x, y = same_shape("mse_loss", input, target)
    d = x - y
    return _weighted("mse_loss", d * d, weight, reduction)


def l1_loss(input, target, reduction="mean", weight=None):
    """|x - y|, any shape, with slope 0 where they are equal; the mean divides by the sum of the weights.

    >>> l1_loss(Tensor([1.0, 2.0]), np.array([1.0, 5.0])).item()
    1.5
    """
    x, y = same_shape("l1_loss", input, target)
    return _weighted("l1_loss", abs(x - y), weight, reduction)


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """d^2 / (2 beta) where d = |x - y| < beta, else d - beta / 2; beta = 0 is l1_loss. Girshick 2015 (1504.08083).

    >>> smooth_l1_loss(Tensor([1.0, 5.0]), np.array([2, 2]), reduction="none").data
    array([0.5, 2.5], dtype=float32)
    """
    x, y = same_shape("smooth_l1_loss", input, target)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta: got {beta}, expected a number >= 0")
    return reduced(_huber(x - y, float(beta)) / float(beta), reduction) if beta else reduced(abs(x - y), reduction)


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """d^2 / 2 where d = |x - y| <= delta, else delta (d - delta / 2): delta smooth_l1_loss(beta=delta). Huber 1964.

    As in PyTorch the mean divides by the number of losses, weights or not.

    >>> huber_loss(Tensor([1.0, 5.0]), np.array([2, 2]), reduction="none", delta=2.0).data
    array([0.5, 4. ], dtype=float32)
    """
    x, y = same_shape("huber_loss", input, target)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta: got {delta}, expected a number > 0")
    return _weighted("huber_loss", _huber(x - y, float(delta)), weight, reduction, by_weight=False)


@np.errstate(over="ignore")                 # e^x beyond the dtype's range is inf, the loss too
def poisson_nll_loss(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """Of counts y: e^x - y x, where x is the logarithm of the rate; `log_input=False`: x - y log(x + eps), of the rate.

    `full` adds Stirling's y log y - y + log(2 pi y) / 2 for y > 1, which moves no gradient of x. Any shape.

    >>> round(poisson_nll_loss(Tensor([0.0, 1.0]), np.array([2, 3])).item(), 4)
    0.3591
    """
    x, y = same_shape("poisson_nll_loss", input, target)
    losses = exp(x) - y * x if log_input else x - y * log(x + eps)
    if full:
        many = plain(y) > 1
        n = where(many, y, 1)
        losses = losses + where(many, n * log(n) - n + 0.5 * log(2 * math.pi * n), 0)
    return reduced(losses, reduction)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """(log v + (x - y)^2 / v) / 2 of normal distributions with means x and variances v; Nix & Weigend 1994.

    `var` has input's shape, or lacks its last axis, or has one axis of size 1, or is a number. A variance below eps
    counts as eps, and its gradient passes all the same. `full` adds log(2 pi) / 2.

    >>> round(gaussian_nll_loss(Tensor([1.0, 2.0]), np.array([1.0, 4.0]), np.array([1.0, 4.0])).item(), 4)
    0.5966
    """
    x, y = same_shape("gaussian_nll_loss", input, target)
    v = np.full_like(plain(x), var) if isinstance(var, (int, float, np.generic)) else numbers(var, x)
    v = refuse(plain(v) < 0, v, lambda at: ValueError(f"gaussian_nll_loss: var: got {plain(v).min()}, expected numbers >= 0"))
    if v.shape != x.shape and v.shape == x.shape[:-1]:
        v = unsqueeze(v, -1)
    elif v.shape != x.shape and not (v.ndim == x.ndim and [n for m, n in zip(x.shape, v.shape) if m != n] == [1]):
        raise ValueError(f"gaussian_nll_loss: got input of shape {x.shape} and var of shape {v.shape}, expected the same, "
                         f"{x.shape[:-1]}, or one axis of size 1")
    v, d = _at_least(v, eps), x - y
    losses = 0.5 * (log(v) + d * d / v)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)
