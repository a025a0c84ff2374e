"""Layers with PyTorch's names, arguments, parameter names and layouts."""
import numpy as np

from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module, Parameter


class Linear(Module):
    """y = x W' + b over the last axis: (..., in_features) -> (..., out_features). weight (out, in), bias (out,).

    Both start from U(-1/sqrt(in), 1/sqrt(in)), as in PyTorch.

    >>> Linear(3, 2)(Tensor([[1.0, 2.0, 3.0]])).shape
    (1, 2)
    """

    def __init__(self, in_features, out_features, bias=True):
        if min(in_features, out_features) < 1:
            raise ValueError(f"Linear: got in_features={in_features}, out_features={out_features}, expected at least 1 each")
        self.in_features, self.out_features = in_features, out_features
        self.weight = init.kaiming_uniform_(Parameter(np.empty((out_features, in_features), np.float32)), a=5 ** 0.5)
        k = in_features ** -0.5
        self.bias = init.uniform_(Parameter(np.empty(out_features, np.float32)), -k, k) if bias else None

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Dropout(Module):
    """In training each number is zeroed with probability p and the others divided by 1 - p. Srivastava et al. 2014.

    >>> Dropout(0.5).eval()(Tensor([1.0, 2.0])).data
    array([1., 2.], dtype=float32)
    """

    def __init__(self, p=0.5, inplace=False):       # inplace: taken and ignored, as in the activations
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p: got {p}, expected a probability")
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p}"


class Flatten(Module):
    """(N, a, b, ...) -> (N, a b ...).

    >>> Flatten()(Tensor(np.zeros((2, 3, 4)))).shape
    (2, 12)
    """

    def __init__(self, start_dim=1, end_dim=-1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Its input."""

    def forward(self, x):
        return x


def activation(name, function, **defaults):
    """A layer around a function of nn.functional: its arguments, by position or name, are kept as attributes.

    PyTorch's `inplace` is taken and ignored: the gradient needs what was there before.
    """
    names = [n for n in defaults if n != "inplace"]

    def __init__(self, *values, **named):
        unknown = set(named) - set(defaults)
        if unknown or len(values) > len(defaults):
            raise TypeError(f"{name}: got arguments {[*values, *named]}, expected {', '.join(defaults) or 'none'}")
        given = {**defaults, **dict(zip(defaults, values)), **named}
        self.__dict__.update((n, given[n]) for n in names)

    def forward(self, x):
        return function(x, *[self.__dict__[n] for n in names])

    def extra_repr(self):
        return ", ".join(f"{n}={self.__dict__[n]}" for n in names)
    summary = (function.__doc__ or f"{function.__name__}(x), elementwise.").split("\n")[0]
    return type(name, (Module,), dict(__init__=__init__, forward=forward, extra_repr=extra_repr, __doc__=summary,
                                      __module__=__name__))


ReLU = activation("ReLU", F.relu, inplace=False)
ReLU6 = activation("ReLU6", F.relu6, inplace=False)
LeakyReLU = activation("LeakyReLU", F.leaky_relu, negative_slope=0.01, inplace=False)
ELU = activation("ELU", F.elu, alpha=1.0, inplace=False)
SELU = activation("SELU", F.selu, inplace=False)
CELU = activation("CELU", F.celu, alpha=1.0, inplace=False)
GELU = activation("GELU", F.gelu, approximate="none")
SiLU = activation("SiLU", F.silu, inplace=False)
Mish = activation("Mish", F.mish, inplace=False)
Sigmoid = activation("Sigmoid", F.sigmoid)
Tanh = activation("Tanh", F.tanh)
Softplus = activation("Softplus", F.softplus, beta=1.0, threshold=20.0)
Softsign = activation("Softsign", F.softsign)
Hardtanh = activation("Hardtanh", F.hardtanh, min_val=-1.0, max_val=1.0, inplace=False)
Hardsigmoid = activation("Hardsigmoid", F.hardsigmoid, inplace=False)
Hardswish = activation("Hardswish", F.hardswish, inplace=False)
LogSigmoid = activation("LogSigmoid", F.logsigmoid)
Tanhshrink = activation("Tanhshrink", F.tanhshrink)
Softshrink = activation("Softshrink", F.softshrink, lambd=0.5)
Hardshrink = activation("Hardshrink", F.hardshrink, lambd=0.5)
Softmax = activation("Softmax", F.softmax, dim=-1)
LogSoftmax = activation("LogSoftmax", F.log_softmax, dim=-1)
GLU = activation("GLU", F.glu, dim=-1)
