"""Pooling: each window of the input is summarised by one number, its largest or its average.

The windows of an axis are two arrays, where each begins and before which number it ends: `windows` lays them out as a kernel
does that slides by a stride, `shares` as adaptive pooling does, a given number of them over any length. Taking the largest is
an indexing, by places that a kernel finds. Averaging is linear and goes axis by axis: one small matrix for each.
"""
import math

import numpy as np

from ..backend import xp_of
from ..kernels.conv import largest_places
from ..tensor import Tensor, plain
from .convolution import batched, several, warn_of_gaps
from .linalg import matmul

__all__ = """max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d
    adaptive_max_pool2d""".split()


def windows(name, n, kernel, stride, padding, dilation, ceil_mode):
    """(where each window begins, where it ends) along an axis of n numbers, its padding included: from -padding on.

    With ceil_mode what is left over at the end makes one more window, unless it would begin in the padding.
    """
    width = dilation * (kernel - 1) + 1
    if 2 * padding > kernel:
        raise ValueError(f"{name}: padding: got {padding}, expected at most half the kernel {kernel}")
    count = (n + 2 * padding - width + (stride - 1) * bool(ceil_mode)) // stride + 1
    count -= ceil_mode and (count - 1) * stride >= n + padding
    if count < 1 or not n:
        raise ValueError(f"{name}: a window is {width} wide, the input with its padding only {n + 2 * padding}: use a smaller "
                         "kernel")
    first = np.arange(count) * stride - padding
    return first, first + width


def shares(n, count):
    """(first, last) of `count` windows that cover n numbers evenly; neighbours overlap by one where they must.

    >>> shares(7, 3)
    (array([0, 2, 4]), array([3, 5, 7]))
    """
    i = np.arange(count)
    return i * n // count, -(-(i + 1) * n // count)


def _laid(name, axes, x, kernel, stride, padding, dilation, ceil_mode):
    """(x with a batch axis, whether it had one, the windows of each axis, the dilation)."""
    x, many = batched(name, x, axes)
    kernel = several(name, "kernel_size", kernel, axes, 1)
    stride = kernel if stride is None else several(name, "stride", stride, axes, 1)
    padding, dilation = several(name, "padding", padding, axes, 0), several(name, "dilation", dilation, axes, 1)
    if any(s > k for s, k in zip(stride, kernel)):
        warn_of_gaps(name, kernel, stride)
    options = zip(x.shape[2:], kernel, stride, padding, dilation)
    return x, many, [windows(name, *o, ceil_mode) for o in options], dilation


def _even(name, axes, x, output_size):
    """(x with a batch axis, whether it had one, the windows of each axis) for an output of a given size; None keeps an axis."""
    x, many = batched(name, x, axes)
    size = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * axes
    size = [n if s is None else s for n, s in zip(x.shape[2:], size)] if len(size) == axes else size
    if not all(x.shape[2:]):
        raise ValueError(f"{name}: got an input of shape {x.shape}, expected at least one number along each axis")
    return x, many, [shares(n, s) for n, s in zip(x.shape[2:], several(name, "output_size", tuple(size), axes, 0))]


def _largest(name, x, many, spans, dilation, return_indices):
    clipped = []
    for n, (first, last), d in zip(x.shape[2:], spans, dilation):
        first = np.where(first < 0, first % d, first)       # the first place of the window that is no padding
        clipped.append((first, np.minimum(last, n)))
        if (first >= n).any():
            raise ValueError(f"{name}: a window lies wholly in the padding: use less of it, a larger input or ceil_mode=False")
    if len(clipped) == 1:                   # a sequence is an image of one row
        clipped, dilation = [([0], [1]), *clipped], (1, *dilation)
    height, width = (1, *x.shape[2:])[-2:]
    data = plain(x).reshape(math.prod(x.shape[:2]), height, width)
    places = largest_places(data, *clipped, dilation)
    shape = x.shape[:2] + tuple([len(first) for first, _ in spans])
    z = x.reshape(-1)[places + height * width * xp_of(places).arange(len(data))[:, None, None]].reshape(shape)
    places = places.reshape(shape)
    z, places = (z, places) if many else (z.reshape(shape[1:]), places[0])
    return (z, places) if return_indices else z


def _average(x, many, matrices):
    for axis, m in zip(range(2, x.ndim), matrices):
        m = xp_of(plain(x)).asarray(m.astype(x.dtype))
        x = matmul(x, m) if axis == x.ndim - 1 else matmul(m.T, x)
    return x if many else x.reshape(x.shape[1:])


def _weights(n, first, last, divisors):
    """(n, windows): 1 / divisor where a window has the number."""
    at = np.arange(n)[:, None]
    return ((at >= first) & (at < last)) / divisors


def _average_all(name, axes, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    x, many, spans, _ = _laid(name, axes, x, kernel, stride, padding, 1, ceil_mode)
    matrices = []
    for n, (first, last) in zip(x.shape[2:], spans):
        counted = np.minimum(last, n - first[0]) - first if count_include_pad else np.minimum(last, n) - np.maximum(first, 0)
        matrices.append(_weights(n, first, last, counted if divisor is None else 1))
    if divisor is not None:
        if divisor == 0:
            raise ValueError(f"{name}: divisor_override: got 0, expected another number")
        matrices[-1] = matrices[-1] / divisor
    return _average(x, many, matrices)


def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest number of each window of a sequence: (N, C, L) or (C, L) -> (N, C, L').

    The stride is the kernel's size unless given. Padding is never chosen; with ceil_mode a last window may reach over
    the end. With return_indices also the places (int64) along L. Of equal numbers the first is taken, and gets the gradient.

    >>> max_pool1d(Tensor([[1.0, 4.0, 3.0, 2.0, 9.0]]), 2, return_indices=True)
    (Tensor([[4., 3.]], dtype=float32), array([[1, 2]]))
    """
    return _largest("max_pool1d", *_laid("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode), return_indices)


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest number of each window of an image: (N, C, H, W) or (C, H, W) -> (N, C, H', W').

    Options are a number for both axes or a pair, see max_pool1d. Indices count H x W row by row.

    >>> max_pool2d(Tensor([[[1.0, 2.0, 0.0], [5.0, 3.0, 7.0]]]), 2, stride=1, return_indices=True)
    (Tensor([[[5., 7.]]], dtype=float32), array([[[3, 5]]]))
    """
    return _largest("max_pool2d", *_laid("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode), return_indices)


def avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The average of each window of a sequence: (N, C, L) or (C, L) -> (N, C, L').

    The zeros of the padding count, unless count_include_pad is false; what a last window has beyond them never does.

    >>> avg_pool1d(Tensor([[1.0, 3.0, 5.0]]), 2, padding=1).data, avg_pool1d(Tensor([[1.0, 3.0, 5.0]]), 2, ceil_mode=True).data
    (array([[0.5, 4. ]], dtype=float32), array([[2., 5.]], dtype=float32))
    """
    return _average_all("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The average of each window of an image: (N, C, H, W) or (C, H, W) -> (N, C, H', W').

    See avg_pool1d. divisor_override divides the sums instead of the number of numbers in them.

    >>> x = Tensor([[[1.0, 2.0], [3.0, 6.0]]])
    >>> avg_pool2d(x, 2).item(), avg_pool2d(x, 2, divisor_override=2).item()
    (3.0, 6.0)
    """
    return _average_all("avg_pool2d", 2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def adaptive_avg_pool1d(x, output_size):
    """Averages of `output_size` windows that cover a sequence of any length evenly: (N, C, L) or (C, L) -> (N, C, output_size).

    >>> adaptive_avg_pool1d(Tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]), 2).data
    array([[2., 4.]], dtype=float32)
    """
    return _average_evenly("adaptive_avg_pool1d", 1, x, output_size)


def adaptive_avg_pool2d(x, output_size):
    """Averages over images of any size: (N, C, H, W) or (C, H, W) -> (N, C, *output_size), where None keeps an axis.

    >>> adaptive_avg_pool2d(Tensor(np.ones((2, 3, 5, 7))), (1, None)).shape
    (2, 3, 1, 7)
    """
    return _average_evenly("adaptive_avg_pool2d", 2, x, output_size)


def _average_evenly(name, axes, x, output_size):
    x, many, spans = _even(name, axes, x, output_size)
    return _average(x, many, [_weights(n, first, last, last - first) for n, (first, last) in zip(x.shape[2:], spans)])


def adaptive_max_pool1d(x, output_size, return_indices=False):
    """The largest numbers of `output_size` windows that cover a sequence evenly: (N, C, L) or (C, L) -> (N, C, output_size).

    >>> adaptive_max_pool1d(Tensor([[1.0, 2.0, 9.0, 4.0, 5.0]]), 2).data
    array([[9., 9.]], dtype=float32)
    """
    return _largest("adaptive_max_pool1d", *_even("adaptive_max_pool1d", 1, x, output_size), (1,), return_indices)


def adaptive_max_pool2d(x, output_size, return_indices=False):
    """The largest numbers over images of any size: (N, C, H, W) or (C, H, W) -> (N, C, *output_size).

    >>> adaptive_max_pool2d(Tensor(np.arange(12.0).reshape(1, 3, 4)), (1, 2)).data
    array([[[ 9., 11.]]])
    """
    return _largest("adaptive_max_pool2d", *_even("adaptive_max_pool2d", 2, x, output_size), (1, 1), return_indices)
