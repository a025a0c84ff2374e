"""What the engine does around every rule: gradients fitted to their inputs, errors told in the op's words."""
from sys import getrefcount

import numpy as np

from .backend import advice, mixture, on_gpu


def alone():
    """What getrefcount says of an array that one local variable holds: 2, and 1 from Python 3.14 on."""
    h = np.empty(0)
    return getrefcount(h)


ALONE = alone()
HALF = np.dtype(np.float16)             # storage: sums and products of it are computed in float32 and rounded once


def total(x, axis, keepdims=False):
    """x.sum(axis); of float16, float32 sums rounded at the end: 2048 + 1 is 2048 in float16."""
    if x.dtype is HALF and (type(x) is np.ndarray or on_gpu(x)):
        return narrow(x.sum(axis=axis, keepdims=keepdims, dtype=np.float32))
    return x.sum(axis=axis, keepdims=keepdims)


def top(x, axis):
    """The maximum along `axis`, which is kept; -inf of nothing. (CuPy's max takes no `initial`.)"""
    if not on_gpu(x):
        return x.max(axis=axis, keepdims=True, initial=-np.inf)
    return x.max(axis=axis, keepdims=True) if x.size else x.sum(axis=axis, keepdims=True) - np.inf


@np.errstate(over="ignore")
def narrow(x):
    """x in float16. What is too large becomes inf without a warning: a loss scaler looks for it and answers."""
    return x.astype(HALF)


def fit(h, x):
    """A gradient in the shape and dtype of its input: summed over the axes that broadcasting repeated."""
    if h.shape != x.shape:
        h = sum_to(h, x.shape)
    return h if h.dtype is x.dtype or h.dtype == x.dtype else h.astype(x.dtype)


def sum_to(g, shape):
    """The sum over those axes of `g` that broadcasting `shape` would repeat."""
    lead = g.ndim - len(shape)
    axes = tuple([i for i in range(g.ndim) if i < lead or shape[i - lead] == 1 != g.shape[i]])
    g = total(g, axes) if axes else g
    return g if g.shape == shape else g.reshape(shape)


def complaint(op, error, values):
    """The error of a forward, told with the op and what it was given."""
    if why := mixture(values):
        error = TypeError(why)
    elif isinstance(error, MemoryError) and any(map(on_gpu, values)):
        error = MemoryError(advice(error))
    given = ", ".join(f"{x.dtype}{list(x.shape)}" if hasattr(x, "shape") else repr(x) for x in values)
    kinds = IndexError, TypeError, ValueError, ArithmeticError, MemoryError     # a subclass may want other arguments
    kind = next((k for k in kinds if isinstance(error, k)), RuntimeError)
    return kind(f"{op.name}({given}): {error}")
