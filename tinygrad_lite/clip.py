"""Shaping gradients between `backward()` and `step()`. What is measured is measured in float64, and returned.

    clip_grad_norm_             all gradients together at most so long; the direction stays
    clip_grad_norm_per_layer_   each gradient on its own
    clip_grad_value_            each number on its own
    adaptive_clip_grad_         each output unit's at most a share of its weights' length (AGC)
    normalize_grad_             all gradients together of length 1: the rate alone says how far
    centralize_grad_            each output unit's has mean 0

Gradients of rows (RowSparse) are shaped as their dense twins would be and stay sparse; where the gradient is None, nothing
is done. On the GPU what is measured stays there, as 0-d arrays: the host does not wait for it.
"""
from math import isfinite

import numpy as np

from .backend import on_gpu, xp_of
from .kernels.norms import SHORT, sum_of_squares
from .late import Look
from .rowsparse import RowSparse
from .tensor import Tensor

EPS = 1e-6              # PyTorch's: a gradient exactly at the limit shrinks by a millionth


def listed(params):
    """One Parameter or any iterable of them as a list."""
    return [params] if isinstance(params, Tensor) else list(params)


def gradient(p):
    """A parameter's gradient; duplicates of a sparse one are added first, here and for whoever comes next."""
    if isinstance(p._grad, RowSparse):
        p._grad = p._grad.coalesce(ordered=False)
    return p._grad


def graded(params):
    """Those that have a gradient."""
    return [p for p in listed(params) if gradient(p) is not None]


def entries(g):
    """The numbers of a gradient in one row."""
    return g.reshape(-1) if type(g) is np.ndarray else (g.values if isinstance(g, RowSparse) else g).reshape(-1)


def there(found):
    """True where gradients, in pieces, are on the GPU; a mixture raises TypeError."""
    return xp_of(*[row for row, _ in found]) is not np


def norm_of(x, p):
    """The p-norm of a row of numbers, summed in float64: squares of large float32 numbers would overflow."""
    if p == 2:
        return sum_of_squares(x) ** 0.5
    x = x.astype(np.float64, copy=False)
    if p == np.inf:
        return largest(x)
    x = np.abs(x)
    if on_gpu(x):
        if p == -np.inf:
            return x.min() if x.size else x.sum() + np.inf
        return (x > 0).any().astype(np.float64) if p == 0 else (x ** p).sum() ** (1 / p)
    if p == -np.inf:
        return float(x.min(initial=np.inf))
    if p == 0:
        return float(np.count_nonzero(x) > 0)
    with np.errstate(all="ignore"):         # infinite is an answer here
        return float((x ** p).sum() ** (1 / p))


def largest(x):
    """max |x|, 0 of nothing: a float, or on the GPU a 0-d array."""
    if on_gpu(x):
        return np.abs(x).max() if x.size else x.sum()
    return float(np.abs(x).max(initial=0))


def in_a_row(numbers):
    """Numbers, or 0-d arrays of the GPU, as one array."""
    return np.stack(numbers) if on_gpu(numbers[0]) else np.array(numbers)


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
    if there(found):
        return clip_there(params, found, max_norm, p, error_if_nonfinite)
    norms = [norm_of(row, p) for row, _ in found]
    total = norms[0] if len(norms) == 1 else norm_of(np.array(norms), p) if p != 0 else float(sum(norms))
    if not isfinite(total):
        if error_if_nonfinite:
            refuse(params, p, total)
        with np.errstate(invalid="ignore"):
            scale_(found, max_norm / (total + EPS))     # as in PyTorch: inf makes 0 of what is finite, nan makes nan of all
        return total
    if max_norm / (total + EPS) < 1:
        scale_(found, max_norm / (total + EPS))
    for q in params if p > 0 else ():       # p <= 0 overlooks infinite entries
        q._finite = q._grad                 # spares the optimizer a second look
    return total


def refuse(params, p, total):
    i, n = next(((i, n) for i, n in enumerate(float(norm_of(entries(q._grad), p)) for q in params) if not isfinite(n)), (0, total))
    name = getattr(params[i], "name", None) or f"{i} of {len(params)}, shape {params[i].shape}"
    raise RuntimeError(f"clip_grad_norm_: the total norm is {total}: the gradient of parameter {name} has norm {n}. "
                       "Nothing was changed")


def clip_there(params, found, max_norm, p, error_if_nonfinite):
    """The same on the GPU, without a question to it: every gradient is scaled, most often by 1."""
    sizes = np.stack([norm_of(row, p) for row, _ in found])
    total = norm_of(sizes, p) if p != 0 else sizes.sum()
    if error_if_nonfinite and not isfinite(total):
        refuse(params, p, float(total))
    look = Look(found, sizes) if p == np.inf or p == 2 and all([row.dtype != np.float64 for row, _ in found]) else None
    with np.errstate(invalid="ignore"):
        scale_(found, np.minimum(max_norm / (total + EPS), 1.0))
    for q in params if look else ():        # else a norm may overflow where the gradient does not
        q._looked = q._grad, look           # spares the optimizer a second look
    return total


def pieces(params, joined=True):
    """[(numbers in one row, whose they are)]: small gradients of one dtype side by side, so that 200 biases are one piece."""
    found, small = [], {}
    for q in params:
        g = q._grad
        if joined and type(g) is np.ndarray and g.size <= SHORT:
            small.setdefault(g.dtype, []).append(q)
        elif joined and on_gpu(g) and g.size <= SHORT:
            small.setdefault((g.dtype, "cuda"), []).append(q)
        else:
            found.append((entries(g), [q]))
    return found + [(np.concatenate([q._grad.reshape(-1) for q in same]), same) for same in small.values()]


def scale_(found, c):
    """Multiply gradients by c: large ones in place, small ones become views of their common row."""
    for row, params in found:
        g = params[0]._grad
        k = c.astype(g.dtype) if on_gpu(c) else g.dtype.type(c)
        if isinstance(g, RowSparse):
            params[0]._grad = g * k
        elif len(params) == 1 and np.may_share_memory(row, g) and (on_gpu(row) or row.flags.writeable):
            row *= k
        else:                               # on the GPU a Look keeps the common row as it was
            row = row * k if len(params) == 1 or on_gpu(row) else np.multiply(row, k, out=row)
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
    sizes = []
    for p in graded(params):
        g, values = p._grad, entries(p._grad)
        sizes.append(largest(values))
        clipped = np.clip(values, -clip_value, clip_value)
        replace(p, g, clipped.reshape(g.values.shape if isinstance(g, RowSparse) else g.shape))
    return largest(in_a_row(sizes)) if sizes else 0.0       # nan if any is


def clip_grad_norm_per_layer_(params, max_norm, norm_type=2.0):
    """`clip_grad_norm_` for each parameter on its own; returns their norms before, 0.0 where there is no gradient.

    One layer that explodes shortens itself and no other, so the joint direction changes. PyTorch: one call a parameter.

    >>> u, v = Tensor([3.0, 4.0], requires_grad=True), Tensor([0.5], requires_grad=True)
    >>> u.grad, v.grad = u.data.copy(), v.data.copy()
    >>> clip_grad_norm_per_layer_([u, v], 1.0), u.grad.round(4), v.grad
    ([5.0, 0.5], array([0.6, 0.8], dtype=float32), array([0.5], dtype=float32))
    """
    check_limit("clip_grad_norm_per_layer_", "max_norm", max_norm)
    return [clip_grad_norm_(p, max_norm, norm_type) for p in listed(params)]


def adaptive_clip_grad_(params, clip=0.01, eps=1e-3):
    """g *= L / |g| where |g| > L = clip max(|w|, eps), for each output unit: a row along axis 0; all of a bias or scalar.

    A unit's gradient is compared with its own weights, so the limit means the same in every layer and at every width.
    Returns for each parameter the largest |g| / max(|w|, eps) of its units before (above `clip`: it was clipped), 0.0 where
    there is no gradient. The recipe leaves the last layer out. Brock et al. 2021.

    >>> w = Tensor([[3.0, 4.0], [0.0, 10.0]], requires_grad=True)
    >>> w.grad = np.array([[0.0, 1.0], [0.0, 1.0]], "f")
    >>> adaptive_clip_grad_([w], clip=0.125), w.grad[:, 1]              # the units' limits: 0.625 and 1.25
    ([0.2], array([0.625, 1.   ], dtype=float32))
    """
    check_limit("adaptive_clip_grad_", "clip", clip)
    check_limit("adaptive_clip_grad_", "eps", eps)
    shares, params = [], listed(params)
    for p in params:
        g = gradient(p)
        if g is None:
            shares.append(0.0)
            continue
        values, w = (g.values, p.data[g.indices] if g.ndim > 1 else p.data) if isinstance(g, RowSparse) else (g, p.data)
        with np.errstate(all="ignore"):         # nan and inf pass on, for the optimizer to refuse
            length, size = unit_norms(values), np.maximum(unit_norms(w), eps)
            shares.append(largest(np.where(length > 0, length / size, length)))
            if on_gpu(length) or (length > clip * size).any():
                keep = np.where(length > clip * size, clip * size / np.maximum(length, EPS), 1.0)
                replace(p, g, (values * keep).astype(values.dtype))
    return shares


def unit_norms(x):
    """2-norms of the output units in float64, axes kept, so that they broadcast against x."""
    return np.sqrt(np.square(x, dtype=np.float64).sum(axis=tuple(range(1, x.ndim)) or None, keepdims=True))


def replace(p, g, values):
    """Give p a gradient like g with other numbers."""
    p._grad = g.with_values(values) if isinstance(g, RowSparse) else values


def normalize_grad_(params):
    """g /= |g|, all gradients together: direction and length decoupled. Returns the length before.

    The step is then as long as the rate says, on a plateau as on a cliff. A gradient of zeros stays zeros; one that is not
    finite is left alone, for the optimizer to refuse.

    >>> w = Tensor([3.0, 4.0], requires_grad=True); w.grad = w.data * np.float32(1e-9)
    >>> round(normalize_grad_([w]), 12), w.grad.round(4)
    (5e-09, array([0.6, 0.8], dtype=float32))
    """
    params = graded(params)
    found = pieces(params, joined=False)
    rows = [row for row, _ in found]
    if not rows:
        return 0.0
    on_card = there(found)
    top = largest(in_a_row([norm_of(row, np.inf) for row in rows]))
    if on_card:
        usable = np.isfinite(top) & (top > 0)
        unit = np.where(usable, top, 1.0)
    elif top == 0 or not isfinite(top):
        return top
    else:
        unit = np.float64(top)
    # Divided by the largest number first: the squares of very small or large ones would leave even float64's range.
    length = norm_of(in_a_row([norm_of(row / unit, 2) for row in rows]), 2)
    if on_card:
        length = np.where(usable, length, 1.0)
    for p in params:
        g = p._grad
        values = g.values if isinstance(g, RowSparse) else g
        replace(p, g, (values / unit / length).astype(values.dtype))
    return top * length


def centralize_grad_(params):
    """g -= mean(g) over all axes but the first, where there are two or more. Yong et al. 2020.

    The weights of an output unit then keep their sum. Returns for each parameter the largest |mean| taken away, 0.0 where
    there is none.

    >>> w = Tensor(np.zeros((2, 2), "f"), requires_grad=True); w.grad = np.array([[1.0, 3.0], [0.0, -1.0]], "f")
    >>> centralize_grad_([w]), w.grad
    ([2.0], array([[-1. ,  1. ],
           [ 0.5, -0.5]], dtype=float32))
    """
    taken = []
    for p in listed(params):
        g = gradient(p)
        if g is None or g.ndim < 2 or 0 in g.shape:
            taken.append(0.0)
            continue
        values = g.values if isinstance(g, RowSparse) else g
        mean = values.mean(axis=tuple(range(1, values.ndim)), keepdims=True, dtype=np.float64)
        taken.append(largest(mean))
        replace(p, g, (values - mean).astype(values.dtype))
    return taken


def check_limit(function, argument, value):
    if not value >= 0:
        raise ValueError(f"{function}: {argument}: got {value}, expected a number >= 0 (a negative one would turn gradients round)")


# the table that tests walk
ALL = (clip_grad_norm_, clip_grad_norm_per_layer_, clip_grad_value_, adaptive_clip_grad_, normalize_grad_, centralize_grad_)
