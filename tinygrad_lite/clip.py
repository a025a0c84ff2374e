"""Clipping gradients: how long they are is measured in float64, and returned."""
from math import isfinite

import numpy as np

from .kernels.norms import SHORT, sum_of_squares
from .rowsparse import RowSparse
from .tensor import Tensor

EPS = 1e-6              # PyTorch's: a gradient exactly at the limit shrinks by a millionth


def graded(params):
    """The parameters that have a gradient, of one Parameter or any iterable."""
    return [p for p in ([params] if isinstance(params, Tensor) else params) if p._grad is not None]


def entries(g):
    """The numbers of a gradient in one row; a sparse one with its duplicates added."""
    return g.reshape(-1) if type(g) is np.ndarray else (g.coalesce().values if isinstance(g, RowSparse) else g).reshape(-1)


def norm_of(x, p):
    """The p-norm of a row of numbers, summed in float64: squares of large float32 numbers would overflow."""
    if p == 2:
        return sum_of_squares(x) ** 0.5
    x = np.abs(x.astype(np.float64, copy=False))
    if p == np.inf:
        return float(x.max(initial=0.0))
    if p == -np.inf:
        return float(x.min(initial=np.inf))
    if p == 0:
        return float(np.count_nonzero(x) > 0)
    with np.errstate(all="ignore"):         # infinite is an answer here
        return float((x ** p).sum() ** (1 / p))


def clip_grad_norm_(params, max_norm, norm_type=2.0, error_if_nonfinite=False):
    """Scale all gradients together so that their joint norm is at most max_norm; returns the norm before.

    total = norm_p of everything; coefficient = min(1, max_norm / (total + 1e-6)). A negative max_norm raises,
    0 is allowed; a non-finite total raises with `error_if_nonfinite`, naming the parameter. Pascanu et al. 2013.

    >>> w = Tensor([3.0, 4.0], requires_grad=True); w.grad = w.data.copy()
    >>> round(clip_grad_norm_([w], 1.0), 4), w.grad.round(4)
    (5.0, array([0.6, 0.8], dtype=float32))
    """
    check_limit("clip_grad_norm_", "max_norm", max_norm)
    params, p = graded(params), float(norm_type)
    if not params:
        return 0.0
    found = pieces(params, joined=p != 0)   # p = 0 counts tensors
    norms = [norm_of(row, p) for row, _ in found]
    total = norms[0] if len(norms) == 1 else norm_of(np.array(norms), p) if p != 0 else float(sum(norms))
    if not isfinite(total):
        if error_if_nonfinite:
            i, n = next(((i, n) for i, n in enumerate(norm_of(entries(q._grad), p) for q in params) if not isfinite(n)), (0, total))
            name = getattr(params[i], "name", None) or f"{i} of {len(params)}, shape {params[i].shape}"
            raise RuntimeError(f"clip_grad_norm_: the total norm is {total}: the gradient of parameter {name} has norm {n}. "
                               "Nothing was changed")
        with np.errstate(invalid="ignore"):
            scale_(found, max_norm / (total + EPS))     # as in PyTorch: inf makes 0 of what is finite, nan makes nan of all
        return total
    if max_norm / (total + EPS) < 1:
        scale_(found, max_norm / (total + EPS))
    for q in params if p > 0 else ():       # p <= 0 overlooks infinite entries
        q._finite = q._grad                 # spares the optimizer a second look
    return total


def pieces(params, joined=True):
    """[(numbers in one row, whose they are)]: small gradients of one dtype side by side, so that 200 biases are one piece."""
    found, small = [], {}
    for q in params:
        g = q._grad
        if joined and type(g) is np.ndarray and g.size <= SHORT:
            small.setdefault(g.dtype, []).append(q)
        else:
            found.append((entries(g), [q]))
    return found + [(np.concatenate([q._grad.reshape(-1) for q in same]), same) for same in small.values()]


def scale_(found, c):
    """Multiply gradients by c: large ones in place, small ones become views of their common row."""
    for row, params in found:
        g = params[0]._grad
        if isinstance(g, RowSparse):
            params[0]._grad = g * g.dtype.type(c)
        elif len(params) == 1 and np.may_share_memory(row, g) and row.flags.writeable:
            row *= row.dtype.type(c)
        else:
            row = row * row.dtype.type(c) if len(params) == 1 else np.multiply(row, row.dtype.type(c), out=row)
            end = 0
            for q in params:
                start, end = end, end + q._grad.size
                q._grad = row[start:end].reshape(q._grad.shape)


def clip_grad_value_(params, clip_value):
    """Clamp every number of every gradient to [-clip_value, clip_value]; returns the largest size before.

    >>> w = Tensor([3.0, -4.0], requires_grad=True); w.grad = w.data.copy()
    >>> clip_grad_value_([w], 1.0), w.grad
    (4.0, array([ 1., -1.], dtype=float32))
    """
    check_limit("clip_grad_value_", "clip_value", clip_value)
    sizes = [0.0]
    for p in graded(params):
        g = p._grad.coalesce() if isinstance(p._grad, RowSparse) else p._grad
        values = entries(g)
        sizes.append(np.abs(values).max(initial=0))
        clipped = np.clip(values, -clip_value, clip_value)
        p._grad = RowSparse(g.indices, clipped.reshape(g.values.shape), g.shape) if isinstance(g, RowSparse) else clipped.reshape(g.shape)
    return float(np.max(sizes))             # nan if any is


def check_limit(function, argument, value):
    if not value >= 0:
        raise ValueError(f"{function}: {argument}: got {value}, expected a number >= 0 (a negative one would turn gradients round)")
