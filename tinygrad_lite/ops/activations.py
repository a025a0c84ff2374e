"""The nonlinear functions of neural nets, with PyTorch's names and arguments."""
import math

import numpy as np

from ..fitting import top
from ..kernels import softmax as rows
from ..kernels.cuda import in_cuda
from ..kernels.elementwise import relu_gradient
from ..tensor import Tensor, op
from .elementwise import erf, tanh
from .reductions import norm, sum
from .shapes import split

__all__ = """relu leaky_relu relu6 elu selu celu gelu silu mish sigmoid logsigmoid softplus softsign softmax log_softmax glu
    hardtanh hardsigmoid hardswish hardshrink softshrink tanhshrink normalize cosine_similarity pairwise_distance""".split()


def _sigmoid(x):                            # 1 / (1 + e^-x), never e to a large power
    if isinstance(x, np.floating):          # one number: Python's floats are ten times faster than arrays
        e = math.exp(-math.fabs(x))
        return x.dtype.type((1 if x >= 0 else e) / (1 + e))
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _softplus(x, beta, threshold):
    t = beta * x
    return np.where(t > threshold, x, (np.maximum(t, 0) + np.log1p(np.exp(-np.abs(t)))) / beta)


def _softplus_rule(g, z, x, beta, threshold):
    return g * np.where(beta * x > threshold, 1, sigmoid(beta * x) if isinstance(x, Tensor) else _sigmoid(beta * x))


def single(number):
    """A number as float32 holds it."""
    return float(np.float32(number))


@in_cuda(rows.softmax)
def _softmax(x, axis):
    e = np.exp(x - top(x, axis))
    return e / e.sum(axis=axis, keepdims=True)


@in_cuda(rows.softmax_back)
def _softmax_rule(g, z, x, axis):
    return z * (g - (g * z).sum(axis=axis, keepdims=True))


@in_cuda(rows.log_softmax)
def _log_softmax(x, axis):
    y = x - top(x, axis)
    return y - np.log(np.exp(y).sum(axis=axis, keepdims=True))


@in_cuda(rows.log_softmax_back)
def _log_softmax_rule(g, z, x, axis):
    return g - np.exp(z) * g.sum(axis=axis, keepdims=True)


def _relu_rule(g, z, x):                    # relu'(0) = 0
    return g * (x > 0) if isinstance(g, Tensor) else relu_gradient(g, z)


relu = op("relu", lambda x: np.maximum(x, x.dtype.type(0)), _relu_rule)
sigmoid = op("sigmoid", _sigmoid, lambda g, z, x: g * (z * (1 - z)))
logsigmoid = op("logsigmoid", lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
                lambda g, z, x: -g * np.expm1(z))       # 1 - e^z loses its digits near z = 0
softsign = op("softsign", lambda x: x / (1 + np.abs(x)), lambda g, z, x: g / (1 + np.abs(x)) ** 2)
_leaky = op("leaky_relu", lambda x, slope: np.where(x > 0, x, x * slope),
            lambda g, z, x, slope: np.where(x > 0, g, g * slope))
_elu = op("elu", lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
          lambda g, z, x, alpha: np.where(x > 0, g, g * (alpha * np.exp(np.minimum(x, 0)))))
# PyTorch takes these two slopes from a constant that it holds in float32, for float64 input too (4e-8 off): so do we.
_celu = op("celu", lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)),
           lambda g, z, x, alpha: np.where(x > 0, g, g * (alpha / single(alpha) * np.exp(np.minimum(x, 0) / single(alpha)))))
_hard_sigmoid = op("hardsigmoid", lambda x: np.clip(x + 3, 0, 6) / 6, lambda g, z, x: g * ((x > -3) & (x < 3)) * single(1 / 6))
_soft_plus = op("softplus", _softplus, _softplus_rule)
_soft_max = op("softmax", _softmax, _softmax_rule)
_log_soft_max = op("log_softmax", _log_softmax, _log_softmax_rule)
_hard = op("hardtanh", lambda x, low, high: np.clip(x, low, high),
           lambda g, z, x, low, high: g * ((x > low) & (x < high)))
_shrink = op("softshrink", lambda x, d: x - np.clip(x, -d, d), lambda g, z, x, d: g * (np.abs(x) > d))
_cut = op("hardshrink", lambda x, d: x * (np.abs(x) > d), lambda g, z, x, d: g * (np.abs(x) > d))
_swish = op("hardswish", lambda x: x * np.clip(x + 3, 0, 6) / 6,
            lambda g, z, x: g * np.where(x <= -3, 0, np.where(x < 3, x / 3 + 0.5, 1)))


def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, else negative_slope x.

    >>> leaky_relu(Tensor([-1.0, 2.0]), 0.5)
    Tensor([-0.5,  2. ], dtype=float32)
    """
    return _leaky(x, negative_slope)


def relu6(x):
    """min(max(x, 0), 6).

    >>> relu6(Tensor([-1.0, 3.0, 9.0]))
    Tensor([0., 3., 6.], dtype=float32)
    """
    return _hard(x, 0, 6)


def elu(x, alpha=1.0):
    """x where x > 0, else alpha (e^x - 1). Clevert et al. 2015.

    >>> round(elu(Tensor([-1.0])).item(), 4)
    -0.6321
    """
    return _elu(x, alpha)


def selu(x):
    """1.0507 elu(x, 1.6733): activations keep mean 0 and variance 1. Klambauer et al. 2017.

    >>> round(selu(Tensor([1.0])).item(), 4)
    1.0507
    """
    return 1.0507009873554805 * _elu(x, 1.6732632423543772)


def celu(x, alpha=1.0):
    """max(0, x) + min(0, alpha (e^(x / alpha) - 1)). Barron 2017.

    >>> round(celu(Tensor([-1.0]), 2.0).item(), 4)
    -0.7869
    """
    return _celu(x, alpha)


def gelu(x, approximate="none"):
    """x P(N(0, 1) <= x), exactly or by tanh. Hendrycks & Gimpel 2016.

    >>> round(gelu(Tensor([1.0])).item(), 4), round(gelu(Tensor([1.0]), "tanh").item(), 4)
    (0.8413, 0.8412)
    """
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
    if approximate != "none":
        raise ValueError(f"gelu: approximate: got {approximate!r}, expected 'none' or 'tanh'")
    return x * (0.5 * (1 + erf(x * 0.7071067811865476)))


def silu(x):
    """x sigmoid(x), also called swish.

    >>> round(silu(Tensor([1.0])).item(), 4)
    0.7311
    """
    return x * sigmoid(x)


def softplus(x, beta=1.0, threshold=20.0):
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold.

    >>> round(softplus(Tensor([0.0])).item(), 4), softplus(Tensor([100.0])).item()
    (0.6931, 100.0)
    """
    return _soft_plus(x, beta, threshold)


def mish(x):
    """x tanh(softplus(x)). Misra 2019.

    >>> round(mish(Tensor([1.0])).item(), 4)
    0.8651
    """
    return x * tanh(softplus(x))


def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x cut to [min_val, max_val]; the gradient is 0 at the bounds, as in PyTorch.

    >>> hardtanh(Tensor([-3.0, 0.5]))
    Tensor([-1. ,  0.5], dtype=float32)
    """
    return _hard(x, min_val, max_val)


def hardsigmoid(x):
    """min(max(x + 3, 0), 6) / 6.

    >>> hardsigmoid(Tensor([-4.0, 0.0]))
    Tensor([0. , 0.5], dtype=float32)
    """
    return _hard_sigmoid(x)


def hardswish(x):
    """x hardsigmoid(x). Howard et al. 2019.

    >>> hardswish(Tensor([-4.0, 3.0]))
    Tensor([-0.,  3.], dtype=float32)
    """
    return _swish(x)


def tanhshrink(x):
    """x - tanh(x).

    >>> round(tanhshrink(Tensor([1.0])).item(), 4)
    0.2384
    """
    return x - tanh(x)


def softshrink(x, lambd=0.5):
    """x moved towards 0 by lambd, 0 within it.

    >>> softshrink(Tensor([-2.0, 0.25]))
    Tensor([-1.5,  0. ], dtype=float32)
    """
    return _shrink(x, lambd)


def hardshrink(x, lambd=0.5):
    """x, and 0 where |x| <= lambd.

    >>> hardshrink(Tensor([2.0, 0.25]))
    Tensor([2., 0.], dtype=float32)
    """
    return _cut(x, lambd)


def softmax(x, dim=-1):
    """e^x / sum(e^x) along `dim`, shifted by the maximum so that nothing overflows.

    >>> softmax(Tensor([1000.0, 1000.0]), dim=0)
    Tensor([0.5, 0.5], dtype=float32)
    """
    return _soft_max(x, dim)


def log_softmax(x, dim=-1):
    """log(softmax(x)) along `dim`, without ever forming the softmax.

    >>> round(log_softmax(Tensor([0.0, 0.0]), dim=0).data[0].item(), 4)
    -0.6931
    """
    return _log_soft_max(x, dim)


def glu(x, dim=-1):
    """First half times sigmoid of the second half along `dim`. Dauphin et al. 2017.

    >>> glu(Tensor([3.0, 0.0])).item()
    1.5
    """
    if x.shape[dim] % 2:
        raise ValueError(f"glu: axis {dim} has size {x.shape[dim]}, expected an even one")
    a, b = split(x, 2, dim)
    return a * sigmoid(b)


def normalize(x, p=2.0, dim=1, eps=1e-12):
    """x / max(p-norm, eps) along `dim`.

    >>> normalize(Tensor([[3.0, 4.0]])).data.round(1)
    array([[0.6, 0.8]], dtype=float32)
    """
    return x / np.maximum(norm(x, p, dim, keepdims=True), eps)


def cosine_similarity(a, b, dim=1, eps=1e-8):
    """a.b / (max(|a|, eps) max(|b|, eps)) along `dim`.

    >>> round(cosine_similarity(Tensor([[1.0, 0.0]]), Tensor([[1.0, 1.0]])).item(), 4)
    0.7071
    """
    return sum(normalize(a, 2, dim, eps) * normalize(b, 2, dim, eps), dim)


def pairwise_distance(a, b, p=2.0, eps=1e-6, keepdim=False):
    """p-norm of a - b + eps over the last axis.

    >>> round(pairwise_distance(Tensor([[0.0, 0.0]]), Tensor([[3.0, 4.0]])).item(), 3)
    5.0
    """
    return norm(a - b + eps, p, -1, keepdim)


for function in (relu, sigmoid, softplus, gelu, silu):
    setattr(Tensor, function.__name__, function)
Tensor.softmax = lambda self, axis=-1: _soft_max(self, axis)
Tensor.log_softmax = lambda self, axis=-1: _log_soft_max(self, axis)
