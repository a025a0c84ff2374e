"""Convolution layers, with PyTorch's arguments and parameter layout."""
import math

import numpy as np

from ..ops.convolution import MODES, extend, pads_of, several
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module, Parameter


class _Conv(Module):
    """What they share: one number or one per axis for each option; weight and bias from U(-k, k), k = 1 / sqrt(fan-in)."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros"):
        name = type(self).__name__
        if min(in_channels, out_channels, groups) < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"{name}: got in_channels={in_channels}, out_channels={out_channels}, groups={groups}, expected at "
                             "least 1 each and channels that divide into the groups")
        if padding_mode != "zeros" and padding_mode not in MODES:
            raise ValueError(f"{name}: padding_mode: got {padding_mode!r}, expected 'zeros', {', '.join(map(repr, MODES))}")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        self.kernel_size = several(name, "kernel_size", kernel_size, self.axes, 1)
        self.stride = several(name, "stride", stride, self.axes, 1)
        self.dilation = several(name, "dilation", dilation, self.axes, 1)
        pads_of(name, padding, self.kernel_size, self.stride, self.dilation)        # refuses what it cannot read
        self.padding = padding if isinstance(padding, str) else several(name, "padding", padding, self.axes, 0)
        shape = self.weight_shape()
        self.weight = init.kaiming_uniform_(Parameter(np.empty(shape, np.float32)), a=5 ** 0.5)
        k = math.prod(shape[1:]) ** -0.5
        self.bias = init.uniform_(Parameter(np.empty(out_channels, np.float32)), -k, k) if bias else None

    def weight_shape(self):
        return self.out_channels, self.in_channels // self.groups, *self.kernel_size

    def forward(self, x):
        padding = self.padding
        if self.padding_mode != "zeros":
            x = extend(x, pads_of(type(self).__name__, padding, self.kernel_size, self.stride, self.dilation), self.padding_mode)
            padding = 0
        return self.convolve(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self):
        return (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, "
                f"bias={self.bias is not None}, padding_mode={self.padding_mode!r}")


class Conv1d(_Conv):
    """A kernel that slides along sequences: x (N, C, L) or (C, L) -> (N, out_channels, L'). LeCun et al. 1989.

    L' = (L + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1. weight (out, in / groups, kernel), bias (out,).
    `padding` is a number, "same" or "valid"; `padding_mode` says what stands there: "zeros", "reflect", "replicate"
    or "circular". A stride larger than the kernel is warned about once: it leaves numbers out.

    >>> Conv1d(4, 8, 3, padding=1)(Tensor(np.ones((2, 4, 10), "f"))).shape
    (2, 8, 10)
    """
    axes, convolve = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    """A kernel that slides over images: x (N, C, H, W) or (C, H, W) -> (N, out_channels, H', W'). Options as in Conv1d, or pairs.

    >>> Conv2d(1, 10, (3, 15))(Tensor(np.ones((2, 1, 20, 15), "f"))).shape         # words of 20 characters of 15 numbers
    (2, 10, 18, 1)
    """
    axes, convolve = 2, staticmethod(F.conv2d)


class ConvTranspose1d(_Conv):
    """A convolution's way back, from short to long: x (N, C, L) or (C, L) -> (N, out_channels, L'). Zeiler et al. 2010.

    L' = stride (L - 1) - 2 padding + dilation (kernel_size - 1) + 1 + output_padding. weight (in, out / groups, kernel).

    >>> ConvTranspose1d(4, 8, 3, stride=2)(Tensor(np.ones((2, 4, 10), "f"))).shape
    (2, 8, 21)
    """
    axes, convolve = 1, staticmethod(F.conv_transpose1d)

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True,
                 dilation=1, padding_mode="zeros"):
        name = type(self).__name__
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ValueError(f"{name}: got padding={padding!r}, padding_mode={padding_mode!r}, expected numbers and 'zeros': "
                             "nothing stands there, padding takes away from the output")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.output_padding = several(name, "output_padding", output_padding, self.axes, 0)

    def weight_shape(self):
        return self.in_channels, self.out_channels // self.groups, *self.kernel_size

    def forward(self, x):
        return self.convolve(x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)


class ConvTranspose2d(ConvTranspose1d):
    """A convolution's way back over images: x (N, C, H, W) or (C, H, W) -> (N, out_channels, H', W'). See ConvTranspose1d.

    >>> ConvTranspose2d(4, 8, 2, stride=2)(Tensor(np.ones((4, 5, 6), "f"))).shape
    (8, 10, 12)
    """
    axes, convolve = 2, staticmethod(F.conv_transpose2d)
