"""Sums, means, extremes and their like over any axes. `axis` and `keepdims` as in NumPy."""
import numpy as np

from ..backend import on_gpu, xp_of
from ..fitting import top, total
from ..tensor import Tensor, op, plain
from .elementwise import square
from .shapes import expand_raw

__all__ = "sum mean max min prod var std logsumexp cumsum argmax argmin norm".split()


def kept(shape, axis):
    """The shape of a reduction over `axis` if it had kept its dimensions."""
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, (int, np.integer)) else axis
    axes = {a % len(shape) for a in axes} if shape else ()
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def spread(g, x, axis, keepdims):
    """A reduction's gradient (or value) repeated to the shape of its input."""
    if not keepdims and g.ndim:
        g = g.reshape(kept(x.shape, axis))
    return expand_raw(g, x.shape)


def divisor(x, z):
    """How many numbers of x went into each of z."""
    return x.size // z.size if z.size else 1


def _extreme(g, z, x, axis, keepdims):      # ties share the gradient evenly
    ties = x == spread(z, x, axis, keepdims)
    shares = np.sum(ties, axis=axis, keepdims=keepdims)
    return spread(g / shares.astype(x.dtype), x, axis, keepdims) * ties


def prod_of_others(x, axis):
    """For each number the product of the other ones along `axis`, without dividing (x may hold zeros)."""
    last = np.moveaxis(x, axis, -1)
    n = last.shape[-1]
    value = plain(x)
    others = np.where(xp_of(value).eye(n, dtype=bool), np.ones_like(value, shape=()), last.reshape(*last.shape[:-1], 1, n))
    return np.moveaxis(np.prod(others, axis=-1), -1, axis)


def _prod(g, z, x, axis, keepdims):
    if on_gpu(x):                           # where the host may not ask whether a factor is 0
        zero = x == 0
        rest = np.where(zero, 1, x)
        alone = spread(zero.sum(axis=axis, keepdims=keepdims), x, axis, keepdims) == zero       # no other factor is 0
        return spread(g * rest.prod(axis=axis, keepdims=keepdims), x, axis, keepdims) / rest * alone
    if not on_gpu(plain(x)) and plain(x).all():         # no factor is 0: divide each out of the product
        return spread(g * z, x, axis, keepdims) / x
    if axis is None or isinstance(axis, tuple) and len(axis) != 1:
        flat = x.reshape(-1)
        if axis is not None:                # several axes: bring them to the end and join them
            axes = [a % x.ndim for a in axis]
            rest = [i for i in range(x.ndim) if i not in axes]
            moved = np.transpose(x, rest + axes)
            others = prod_of_others(moved.reshape(*moved.shape[:len(rest)], -1), -1).reshape(moved.shape)
            return spread(g, x, axis, keepdims) * np.transpose(others, np.argsort(rest + axes))
        return spread(g, x, axis, keepdims) * prod_of_others(flat, -1).reshape(x.shape)
    return spread(g, x, axis, keepdims) * prod_of_others(x, axis[0] if isinstance(axis, tuple) else axis)


def _lse(x, axis, keepdims):
    m = top(x, axis)
    m = np.where(np.isfinite(m), m, 0).astype(x.dtype, copy=False)
    with np.errstate(divide="ignore"):      # log 0 = -inf is the value of an empty or all -inf row
        z = np.log(np.sum(np.exp(x - m), axis=axis, keepdims=True)) + m
    return z if keepdims else z.reshape(np.sum(x, axis=axis).shape)[()]


def _lse_rule(g, z, x, axis, keepdims):     # softmax(x), and 0 for a row of -inf
    z = spread(z, x, axis, keepdims)
    return spread(g, x, axis, keepdims) * np.exp(x - np.where(np.isfinite(z), z, 0))


def _deviation(g, z, x, axis, keepdims, ddof):
    mean = np.mean(x, axis=axis, keepdims=True)
    n = divisor(x, mean) - ddof
    return spread(g, x, axis, keepdims) * ((x - mean) * (2 / n if n > 0 else np.nan))


_sum = op("sum", total,
          lambda g, z, x, axis, keepdims: spread(g, x, axis, keepdims))
_mean = op("mean", lambda x, axis, keepdims: x.mean(axis=axis, keepdims=keepdims),
           lambda g, z, x, axis, keepdims: spread(g / divisor(x, z), x, axis, keepdims))
_max = op("max", lambda x, axis, keepdims: x.max(axis=axis, keepdims=keepdims), _extreme)
_min = op("min", lambda x, axis, keepdims: x.min(axis=axis, keepdims=keepdims), _extreme)
_product = op("prod", lambda x, axis, keepdims: x.prod(axis=axis, keepdims=keepdims), _prod)
_var = op("var", lambda x, axis, keepdims, ddof: x.var(axis=axis, keepdims=keepdims, ddof=ddof), _deviation)
_logsumexp = op("logsumexp", _lse, _lse_rule)
_cumsum = op("cumsum", lambda x, axis: np.cumsum(x, axis=axis),
             lambda g, z, x, axis: np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis).reshape(x.shape)
             if axis is not None else np.flip(np.cumsum(np.flip(g, 0), axis=0), 0).reshape(x.shape))


def sum(x, axis=None, keepdims=False):
    """Sum over `axis` (None: all, an int or a tuple).

    >>> sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    Tensor([4., 6.], dtype=float32)
    """
    return _sum(x, axis, keepdims)


def mean(x, axis=None, keepdims=False):
    """Mean over `axis`.

    >>> mean(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    Tensor([1.5, 3.5], dtype=float32)
    """
    return _mean(x, axis, keepdims)


def max(x, axis=None, keepdims=False):
    """Largest number along `axis`; ties share the gradient evenly.

    >>> x = Tensor([3.0, 1.0, 3.0], requires_grad=True)
    >>> max(x).backward(); x.grad
    array([0.5, 0. , 0.5], dtype=float32)
    """
    return _max(x, axis, keepdims)


def min(x, axis=None, keepdims=False):
    """Smallest number along `axis`; ties share the gradient evenly.

    >>> min(Tensor([[3.0, 1.0], [2.0, 5.0]]), axis=1)
    Tensor([1., 2.], dtype=float32)
    """
    return _min(x, axis, keepdims)


def prod(x, axis=None, keepdims=False):
    """Product along `axis`; the gradient is right also where factors are 0.

    >>> x = Tensor([0.0, 2.0, 3.0], requires_grad=True)
    >>> prod(x).backward(); x.grad
    array([6., 0., 0.], dtype=float32)
    """
    return _product(x, axis, keepdims)


def var(x, axis=None, keepdims=False, ddof=0):
    """Variance along `axis`, the sum of squares divided by n - ddof (NumPy's default 0, PyTorch's is 1).

    >>> var(Tensor([1.0, 3.0])).item(), var(Tensor([1.0, 3.0]), ddof=1).item()
    (1.0, 2.0)
    """
    return _var(x, axis, keepdims, ddof)


def std(x, axis=None, keepdims=False, ddof=0):
    """Standard deviation along `axis`, the root of `var`.

    >>> std(Tensor([1.0, 3.0])).item()
    1.0
    """
    return power(_var(x, axis, keepdims, ddof), 0.5)


def power(x, p):
    """x ** p of numbers >= 0, where the derivative at 0, infinite or not, counts as 0."""
    value = plain(x)
    if not on_gpu(value) and value.all():   # the GPU is not asked: the host would wait for the answer
        return np.sqrt(x) if p == 0.5 else x ** p
    zero = value == 0
    rest = np.where(zero, 1, x)
    return np.where(zero, 0, np.sqrt(rest) if p == 0.5 else rest ** p)


def logsumexp(x, dim=None, keepdim=False):
    """log(sum(exp(x))) along `dim` without overflow; an empty or all -inf row gives -inf.

    >>> round(logsumexp(Tensor([1000.0, 1000.0]), dim=0).item(), 3)
    1000.693
    """
    return _logsumexp(x, dim, keepdim)


def cumsum(x, axis=None):
    """Running sum along `axis`; over the flattened numbers by default, as in NumPy.

    >>> cumsum(Tensor([1.0, 2.0, 3.0]))
    Tensor([1., 3., 6.], dtype=float32)
    """
    return _cumsum(x, axis)


def argmax(x, axis=None):
    """Where the largest number is, as a plain integer array."""
    return plain(x).argmax(axis=axis)


def argmin(x, axis=None):
    """Where the smallest number is, as a plain integer array."""
    return plain(x).argmin(axis=axis)


def norm(x, ord=None, axis=None, keepdims=False):
    """Vector p-norm along `axis` (2 by default; inf, 1, any p > 0); its gradient at 0 is 0.

    >>> norm(Tensor([3.0, 4.0])).item()
    5.0
    """
    p = 2 if ord is None else ord
    if not p > 0:
        raise ValueError(f"norm: ord: got {ord}, expected a number > 0, inf or None")
    if p == np.inf:
        return max(np.abs(x), axis, keepdims)
    if p == 1:
        return sum(np.abs(x), axis, keepdims)
    powers = square(x) if p == 2 else power(np.abs(x), p)
    return power(sum(powers, axis, keepdims), 1 / p)


for function in (sum, mean, max, min, prod, var, std, cumsum, argmax, argmin, norm):
    setattr(Tensor, function.__name__, function)
Tensor.logsumexp = lambda self, axis=None, keepdims=False: _logsumexp(self, axis, keepdims)
