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


class Embedding(Module):
    """Rows of a table by integer id: ids (...) -> (..., embedding_dim). weight (num_embeddings, embedding_dim) from N(0, 1).

    `padding_idx`: a row that starts at zero and gets no gradient. `max_norm`: rows used are first shortened to it.
    `scale_grad_by_freq`: gradients divided by how often an id occurs. `sparse`: the gradient is RowSparse,
    so that a step costs what the rows used cost.

    >>> e = Embedding(5, 2, padding_idx=0)
    >>> e(np.array([[0, 3]])).shape, e(np.array([0])).data
    ((1, 2, 2), array([[0., 0.]], dtype=float32))
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0,
                 scale_grad_by_freq=False, sparse=False):
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx: got {padding_idx}, expected within {num_embeddings} rows")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse = max_norm, norm_type, scale_grad_by_freq, sparse
        self.weight = init.normal_(Parameter(np.empty((num_embeddings, embedding_dim), np.float32)))
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, ids):
        return F.embedding(ids, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse)

    def extra_repr(self):
        return f"{self.num_embeddings}, {self.embedding_dim}" + (", sparse=True" if self.sparse else "")


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


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) over the last axes, times weight plus bias. Ba, Kiros, Hinton 2016.

    >>> LayerNorm(2)(Tensor([[1.0, 3.0]])).data.round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, np.float32)) if elementwise_affine and bias else None

    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}"


class BatchNorm1d(Module):
    """(x - mean) / sqrt(var + eps) per feature over the batch; x (N, C) or (N, C, L). Ioffe & Szegedy 2015.

    Training uses the batch's statistics and moves the running ones by `momentum` (None: plain average of
    all batches; unbiased variance); eval uses the running ones.

    >>> bn = BatchNorm1d(1)
    >>> bn(Tensor([[1.0], [3.0]])).data.ravel().round(3), bn.running_mean
    (array([-1.,  1.], dtype=float32), array([0.2], dtype=float32))
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None
        tracked = track_running_stats
        self.register_buffer("running_mean", np.zeros(num_features, np.float32) if tracked else None)
        self.register_buffer("running_var", np.ones(num_features, np.float32) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def forward(self, x):
        if x.ndim not in (2, 3) or x.shape[1] != self.num_features:
            raise ValueError(f"BatchNorm1d: got shape {x.shape}, expected (N, {self.num_features}) or (N, {self.num_features}, L)")
        use_batch = self.training or self.running_mean is None
        if self.training and self.running_mean is not None:
            self.num_batches_tracked += 1
            share = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        else:
            share = 0.0
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, use_batch, share, self.eps)

    def extra_repr(self):
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


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
