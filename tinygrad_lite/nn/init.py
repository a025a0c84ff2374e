"""Initial weights, with PyTorch's names and formulas. Each fills a Parameter in place and returns it."""
import math

import numpy as np

from .. import backend
from .. import random as source

GAINS = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": 2 ** 0.5, "selu": 0.75}


def fans(shape):
    """(inputs, outputs) of one unit for a weight of shape (out, in, *kernel)."""
    if len(shape) < 2:
        raise ValueError(f"init: got shape {tuple(shape)}, expected at least (out, in)")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def fan_of(p, mode):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode: got {mode!r}, expected 'fan_in' or 'fan_out'")
    return fans(p.shape)[mode == "fan_out"]


def calculate_gain(nonlinearity, param=None):
    """The factor that keeps the variance of activations through a nonlinearity.

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity == "leaky_relu":
        return (2 / (1 + (0.01 if param is None else param) ** 2)) ** 0.5
    if nonlinearity not in GAINS:
        raise ValueError(f"calculate_gain: got {nonlinearity!r}, expected one of {', '.join([*GAINS, 'leaky_relu'])}")
    return GAINS[nonlinearity]


def fill(p, array):
    p.data[...] = backend.to_device(array.astype(p.dtype), "cuda") if backend.on_gpu(p.data) else array
    return p


def uniform_(p, a=0.0, b=1.0):
    """U(a, b)."""
    return fill(p, source.generator.random(p.shape) * (b - a) + a)


def normal_(p, mean=0.0, std=1.0):
    """N(mean, std^2)."""
    return fill(p, source.generator.standard_normal(p.shape) * std + mean)


def constant_(p, value):
    """Every number the same."""
    return fill(p, np.full(p.shape, value))


def zeros_(p): return constant_(p, 0.0)
def ones_(p): return constant_(p, 1.0)


def xavier_uniform_(p, gain=1.0):
    """U(-a, a), a = gain sqrt(6 / (in + out)). Glorot & Bengio 2010."""
    a = gain * (6 / sum(fans(p.shape))) ** 0.5
    return uniform_(p, -a, a)


def xavier_normal_(p, gain=1.0):
    """N(0, gain^2 2 / (in + out)). Glorot & Bengio 2010."""
    return normal_(p, 0.0, gain * (2 / sum(fans(p.shape))) ** 0.5)


def kaiming_uniform_(p, a=0.0, mode="fan_in", nonlinearity="leaky_relu"):
    """U(-b, b), b = gain sqrt(3 / fan). He et al. 2015."""
    b = calculate_gain(nonlinearity, a) * (3 / fan_of(p, mode)) ** 0.5
    return uniform_(p, -b, b)


def kaiming_normal_(p, a=0.0, mode="fan_in", nonlinearity="leaky_relu"):
    """N(0, gain^2 / fan). He et al. 2015."""
    return normal_(p, 0.0, calculate_gain(nonlinearity, a) / fan_of(p, mode) ** 0.5)


def orthogonal_(p, gain=1.0):
    """A random matrix with orthonormal rows or columns, times gain. Saxe et al. 2013."""
    fans(p.shape)                           # at least two axes
    rows, columns = p.shape[0], p.size // p.shape[0]
    flat = source.generator.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(flat)
    q = q * np.sign(np.diag(r))
    return fill(p, gain * (q if rows >= columns else q.T).reshape(p.shape))
