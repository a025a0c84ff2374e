"""Losses of numbers against numbers."""
import numpy as np

from ..ops.elementwise import abs
from ..ops.indexing import where
from ..tensor import Tensor
from .common import reduced, same_shape


def mse_loss(x, y, reduction="mean"):
    """(x - y)^2.

    >>> mse_loss(Tensor([1.0, 2.0]), np.array([1.0, 4.0])).item()
    2.0
    """
    x, y = same_shape("mse_loss", x, y)
    d = x - y
    return reduced(d * d, reduction)


def l1_loss(x, y, reduction="mean"):
    """|x - y|, with slope 0 where they are equal.

    >>> l1_loss(Tensor([1.0, 2.0]), np.array([1.0, 5.0])).item()
    1.5
    """
    x, y = same_shape("l1_loss", x, y)
    return reduced(abs(x - y), reduction)
