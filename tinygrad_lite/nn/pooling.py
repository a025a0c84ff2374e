"""Pooling layers, with PyTorch's arguments. They have no parameters."""
from ..tensor import Tensor
from . import functional as F
from .module import Module


class _Pool(Module):
    """A function of nn.functional with its options kept as attributes."""

    def __init__(self, **options):
        self._options = tuple(options)
        self.__dict__.update(options)

    def forward(self, x):
        return self.pool(x, **{name: self.__dict__[name] for name in self._options})

    def extra_repr(self):
        return ", ".join(f"{name}={self.__dict__[name]}" for name in self._options)


class MaxPool1d(_Pool):
    """The largest number of each window: (N, C, L) or (C, L) -> (N, C, L'). The stride is the kernel's size unless given.

    With `return_indices` a pair: the numbers, and their places along L (the first of equal ones).

    >>> MaxPool1d(2)(Tensor([[1.0, 4.0, 3.0, 2.0]])).data
    array([[4., 3.]], dtype=float32)
    """
    pool = staticmethod(F.max_pool1d)

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__(kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode,
                         return_indices=return_indices)


class MaxPool2d(MaxPool1d):
    """The largest number of each window: (N, C, H, W) or (C, H, W) -> (N, C, H', W'). Options are numbers or pairs.

    >>> MaxPool2d(2)(Tensor([[[1.0, 2.0], [5.0, 3.0]]])).data
    array([[[5.]]], dtype=float32)
    """
    pool = staticmethod(F.max_pool2d)


class AvgPool1d(_Pool):
    """The average of each window: (N, C, L) or (C, L) -> (N, C, L'). Zeros of the padding count if `count_include_pad`.

    >>> AvgPool1d(2)(Tensor([[1.0, 4.0, 3.0, 2.0]])).data
    array([[2.5, 2.5]], dtype=float32)
    """
    pool = staticmethod(F.avg_pool1d)

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__(kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode,
                         count_include_pad=count_include_pad)


class AvgPool2d(_Pool):
    """The average of each window: (N, C, H, W) or (C, H, W) -> (N, C, H', W'); `divisor_override` divides the sums instead.

    >>> AvgPool2d(2)(Tensor([[[1.0, 2.0], [5.0, 4.0]]])).data
    array([[[3.]]], dtype=float32)
    """
    pool = staticmethod(F.avg_pool2d)

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        super().__init__(kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode,
                         count_include_pad=count_include_pad, divisor_override=divisor_override)


class AdaptiveAvgPool1d(_Pool):
    """Averages of `output_size` windows that cover any length evenly: (N, C, L) or (C, L) -> (N, C, output_size).

    >>> AdaptiveAvgPool1d(2)(Tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])).data
    array([[2., 4.]], dtype=float32)
    """
    pool = staticmethod(F.adaptive_avg_pool1d)

    def __init__(self, output_size):
        super().__init__(output_size=output_size)


class AdaptiveAvgPool2d(AdaptiveAvgPool1d):
    """Averages over images of any size: (N, C, H, W) or (C, H, W) -> (N, C, *output_size); None keeps an axis.

    >>> AdaptiveAvgPool2d(1)(Tensor([[[1.0, 2.0], [5.0, 4.0]]])).item()
    3.0
    """
    pool = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveMaxPool1d(_Pool):
    """The largest numbers of `output_size` windows that cover any length evenly: (N, C, L) or (C, L) -> (N, C, output_size).

    >>> AdaptiveMaxPool1d(1)(Tensor([[1.0, 9.0, 3.0]])).item()
    9.0
    """
    pool = staticmethod(F.adaptive_max_pool1d)

    def __init__(self, output_size, return_indices=False):
        super().__init__(output_size=output_size, return_indices=return_indices)


class AdaptiveMaxPool2d(AdaptiveMaxPool1d):
    """The largest numbers over images of any size: (N, C, H, W) or (C, H, W) -> (N, C, *output_size); None keeps an axis.

    >>> AdaptiveMaxPool2d((1, None))(Tensor([[[1.0, 2.0], [5.0, 4.0]]])).data
    array([[[5., 4.]]], dtype=float32)
    """
    pool = staticmethod(F.adaptive_max_pool2d)
