"""Normalisation layers, with PyTorch's arguments, parameter names and running statistics."""
import numpy as np

from ..backend import on_gpu
from ..tensor import Tensor
from . import functional as F
from .module import Module, Parameter


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


class RMSNorm(Module):
    """x / sqrt(mean of x^2 + eps) over the last axes, times weight. Zhang & Sennrich 2019.

    >>> RMSNorm(2)(Tensor([[3.0, 4.0]])).data.round(3)
    array([[0.849, 1.131]], dtype=float32)
    """

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32)) if elementwise_affine else None

    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """(x - mean) / sqrt(var + eps) over each of `num_groups` groups of channels; x (N, C, ...). Wu & He 2018.

    >>> GroupNorm(2, 4)(Tensor([[1.0, 3.0, 10.0, 30.0]])).data.round(3)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: got num_groups={num_groups}, num_channels={num_channels}, expected channels that divide "
                             "into the groups")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Parameter(np.ones(num_channels, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_channels, np.float32)) if affine else None

    def forward(self, x):
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(f"GroupNorm: got shape {x.shape}, expected (N, {self.num_channels}, ...)")
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"


class _BatchNorm(Module):
    """What batch norms share; a subclass says which shapes it takes."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None
        tracked = track_running_stats
        self.register_buffer("running_mean", np.zeros(num_features, np.float32) if tracked else None)
        self.register_buffer("running_var", np.ones(num_features, np.float32) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def forward(self, x):
        if x.ndim not in self.dimensions or x.shape[1] != self.num_features:
            raise ValueError(f"{type(self).__name__}: got shape {x.shape}, expected {self.shapes.format(self.num_features)}")
        use_batch = self.training or self.running_mean is None
        share = 0.0
        if self.training and self.running_mean is not None:
            seen = self.num_batches_tracked
            share = self.momentum if self.momentum is not None else 1 / ((seen if on_gpu(seen) else int(seen)) + 1)
        z = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, use_batch, share, self.eps)
        if self.training and self.running_mean is not None:
            self.num_batches_tracked += 1
        return z

    def extra_repr(self):
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) per feature over the batch; x (N, C) or (N, C, L). Ioffe & Szegedy 2015.

    Training uses the batch's statistics and moves the running ones by `momentum` (None: plain average of
    all batches; unbiased variance); eval uses the running ones.

    >>> bn = BatchNorm1d(1)
    >>> bn(Tensor([[1.0], [3.0]])).data.ravel().round(3), bn.running_mean
    (array([-1.,  1.], dtype=float32), array([0.2], dtype=float32))
    """
    dimensions, shapes = (2, 3), "(N, {0}) or (N, {0}, L)"


class BatchNorm2d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) per channel over the batch and the places; x (N, C, H, W). See BatchNorm1d.

    >>> BatchNorm2d(1)(Tensor([[[[1.0, 3.0], [3.0, 1.0]]]])).data.ravel().round(3)
    array([-1.,  1.,  1., -1.], dtype=float32)
    """
    dimensions, shapes = (4,), "(N, {0}, H, W)"
