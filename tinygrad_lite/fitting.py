"""What the engine does around every rule: gradients fitted to their inputs, errors told in the op's words."""
from sys import getrefcount

import numpy as np


def alone():
    """What getrefcount says of an array that one local variable holds: 2, and 1 from Python 3.14 on."""
    h = np.empty(0)
    return getrefcount(h)


ALONE = alone()


def fit(h, x):
    """A gradient in the shape and dtype of its input: summed over the axes that broadcasting repeated."""
    if h.shape != x.shape:
        h = sum_to(h, x.shape)
    return h if h.dtype is x.dtype or h.dtype == x.dtype else h.astype(x.dtype)


def sum_to(g, shape):
    """The sum over those axes of `g` that broadcasting `shape` would repeat."""
    lead = g.ndim - len(shape)
    axes = tuple([i for i in range(g.ndim) if i < lead or shape[i - lead] == 1 != g.shape[i]])
    g = g.sum(axis=axes) if axes else g
    return g if g.shape == shape else g.reshape(shape)


def complaint(op, error, values):
    """The error of a forward, told with the op and what it was given."""
    given = ", ".join(f"{x.dtype}{list(x.shape)}" if hasattr(x, "shape") else repr(x) for x in values)
    kinds = IndexError, TypeError, ValueError, ArithmeticError, MemoryError     # a subclass may want other arguments
    kind = next((k for k in kinds if isinstance(error, k)), RuntimeError)
    return kind(f"{op.name}({given}): {error}")
