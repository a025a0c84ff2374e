"""Loss functions of a label y (-1 or 1) and a margin m: the value, and the push.

The push is how hard the loss pulls the margin towards the label, -y dL/dm; a rule needs no more of a loss than that.
"""
from math import exp, log1p
from typing import Callable, NamedTuple


def hinge(y, m):
    """Hinge loss max(0, 1 - y m) (Cortes, Vapnik 1995, Machine Learning 20). At y m = 1 the push is 0.

    >>> hinge(1, 0.0), hinge(1, 0.25), hinge(-1, 0.25), hinge(1, 1.0)
    (1.0, 0.75, 1.25, 0.0)
    """
    return max(0.0, 1.0 - y * m)


def squared_hinge(y, m):
    """Squared hinge loss max(0, 1 - y m)^2.

    >>> squared_hinge(1, 0.5), squared_hinge(-1, 0.5), squared_hinge(1, 2.0)
    (0.25, 2.25, 0.0)
    """
    return hinge(y, m) * hinge(y, m)


def logistic(y, m):
    """Logistic loss log(1 + exp(-y m)), without overflow.

    >>> logistic(1, 0.0), logistic(1, 1e4), logistic(-1, 1e4)
    (0.6931471805599453, 0.0, 10000.0)
    """
    return log1p(exp(-abs(m))) + max(0.0, -y * m)


def squared(y, m):
    """Squared loss (m - y)^2, VW's default; it also pulls back what is beyond the label.

    >>> squared(1, 0.5), squared(1, 2.0)
    (0.25, 1.0)
    """
    return (m - y) * (m - y)


def hinge_push(y, m):
    """1 where y m < 1, else 0."""
    return 1.0 if y * m < 1.0 else 0.0


def squared_hinge_push(y, m):
    """2 max(0, 1 - y m)."""
    return 2.0 * hinge(y, m)


def logistic_push(y, m):
    """1 / (1 + exp(y m)), without overflow."""
    if y * m > 0.0:
        return exp(-y * m) / (1.0 + exp(-y * m))
    return 1.0 / (1.0 + exp(y * m))


def squared_push(y, m):
    """2 (1 - y m), negative beyond the label."""
    return 2.0 * (1.0 - y * m)


class Loss(NamedTuple):
    """A row of `LOSSES`: value and push, and whether a step can reach loss 0, and so must not pass it."""
    value: Callable
    push: Callable
    ends: bool


LOSSES = {
    "hinge": Loss(hinge, hinge_push, True),
    "squared_hinge": Loss(squared_hinge, squared_hinge_push, True),
    "logistic": Loss(logistic, logistic_push, False),
    "squared": Loss(squared, squared_push, True),
}
