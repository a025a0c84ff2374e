"""Convolution along any number of axes (as nets mean it: the kernel is not flipped), and its transpose.

    z[n, o, p] = sum_{c, k} x[n, c, s p + d k] w[o, c, k]           s: stride, d: dilation; p and k have one number an axis

F(g, x, w) = sum_{n, o, p} g z is linear in each of g, x and w, and its three slopes are the three ops of this file: z itself,
what x gets, what w gets. So the rules of each op are the other two, for derivatives of every order, and a transposed
convolution is the second op on its own.

Each slope is one product of matrices with the `columns`: what every place k of the kernel sees, a slice of x each. They hold
a number of x up to once a place, so images are taken a few at a time, as many as keep them in the cache.
"""
import functools
import math
import warnings
from itertools import product
from typing import NamedTuple

import numpy as np

from ..kernels import fresh
from ..tensor import Tensor, op
from .indexing import take
from .shapes import concatenate, moveaxis, pad

__all__ = "conv1d conv2d conv_transpose1d conv_transpose2d extend".split()

BLOCK = 1 << 18         # numbers: columns of a megabyte of float32


class Layout(NamedTuple):
    """Where the kernel goes: a number an axis each, and how many zeros stand before and after each axis."""
    stride: tuple
    dilation: tuple
    pads: tuple
    groups: int

    def padded(self, size):
        return tuple([before + n + after for n, (before, after) in zip(size, self.pads)])

    def inner(self, size):
        """The index of the numbers between the zeros."""
        return (..., *[slice(before, before + n) for n, (before, _) in zip(size, self.pads)])

    def output(self, size, kernel):
        return tuple([(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(self.padded(size), kernel, self.stride, self.dilation)])

    def without(self, axis):
        return Layout(*[v[:axis] + v[axis + 1:] for v in self[:3]], self.groups)

    def places(self, kernel, output):
        """(place k of the kernel, index of the padded numbers that it sees, one for each output)."""
        for k in product(*map(range, kernel)):
            seen = [slice(d * i, d * i + s * (n - 1) + 1, s) for i, n, s, d in zip(k, output, self.stride, self.dilation)]
            yield (slice(None), *k), (slice(None), slice(None), *seen)


def _blocks(n, size):
    """Slices of a batch of n whose members have columns of this size."""
    step = max(1, BLOCK // max(size, 1))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def _columns(x, kernel, output, how):       # (groups, channels of a group * places, images * outputs)
    n, c = x.shape[:2]
    if any(map(any, how.pads)):
        wide = np.zeros_like(x, shape=(n, c, *how.padded(x.shape[2:])))
        wide[how.inner(x.shape[2:])] = x
        x = wide
    columns, x = fresh(x, (c, *kernel, n, *output)), x.swapaxes(0, 1)
    for k, seen in how.places(kernel, output):
        columns[k] = x[seen]
    return columns.reshape(how.groups, -1, n * math.prod(output))


def _rows(g, groups):                       # (groups, channels of a group, images * outputs)
    return g.swapaxes(0, 1).reshape(groups, g.shape[1] // groups, -1)


def _forward(x, w, b, how):
    kernel, output = w.shape[2:], how.output(x.shape[2:], w.shape[2:])
    z = fresh(x, (x.shape[0], w.shape[0], *output))
    weights = w.reshape(how.groups, w.shape[0] // how.groups, -1)
    for part in _blocks(len(x), x[:1].size * math.prod(kernel)):
        block = np.matmul(weights, _columns(x[part], kernel, output, how))
        if b is not None:
            block += b.reshape(how.groups, -1, 1)
        z[part] = block.reshape(w.shape[0], -1, *output).swapaxes(0, 1)
    return z


def _slope_x(g, w, shape, how):
    kernel, output = w.shape[2:], g.shape[2:]
    h = fresh(g, shape)
    weights = w.reshape(how.groups, w.shape[0] // how.groups, -1).swapaxes(1, 2)
    for part in _blocks(len(g), math.prod(shape[1:]) * math.prod(kernel)):
        columns = np.matmul(weights, _rows(g[part], how.groups)).reshape(shape[1], *kernel, -1, *output)
        wide = np.zeros_like(g, shape=(shape[1], columns.shape[1 + len(kernel)], *how.padded(shape[2:])))
        for k, seen in how.places(kernel, output):
            wide[seen] += columns[k]
        h[part] = wide[how.inner(shape[2:])].swapaxes(0, 1)
    return h


def _slope_w(g, x, shape, how):
    h = np.zeros_like(g, shape=(how.groups, shape[0] // how.groups, math.prod(shape[1:])))
    for part in _blocks(len(x), x[:1].size * math.prod(shape[2:])):
        h += np.matmul(_rows(g[part], how.groups), _columns(x[part], shape[2:], g.shape[2:], how).swapaxes(1, 2))
    return h.reshape(shape)


def _slope_b(g):                            # the sum over images and places, the long one by BLAS
    g = g.reshape(*g.shape[:2], math.prod(g.shape[2:]))
    return (g @ np.ones_like(g, shape=g.shape[2])).sum(axis=0)


def _either(op, *inputs):                   # arrays in an ordinary pass; what Tensors do is recorded
    return op(*inputs) if any(isinstance(i, Tensor) for i in inputs) else op.op.forward(*inputs)


_convolution = op("convolution", _forward,
                  lambda g, z, x, w, b, how: _either(_convolution_x, g, w, x.shape, how),
                  lambda g, z, x, w, b, how: _either(_convolution_w, g, x, w.shape, how),
                  lambda g, z, x, w, b, how: _slope_b(g))
_convolution_x = op("convolution_x", _slope_x,
                    lambda h, z, g, w, shape, how: _either(_convolution, h, w, None, how),
                    lambda h, z, g, w, shape, how: _either(_convolution_w, g, h, w.shape, how), None)
_convolution_w = op("convolution_w", _slope_w,
                    lambda h, z, g, x, shape, how: _either(_convolution, x, h, None, how),
                    lambda h, z, g, x, shape, how: _either(_convolution_x, g, h, x.shape, how), None)


# --- arguments
def several(name, what, value, axes, least):
    """A number for every axis, from one for all or one each."""
    values = (value,) * axes if isinstance(value, (int, np.integer)) else tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(values) != axes or not all(isinstance(v, (int, np.integer)) and v >= least for v in values):
        raise ValueError(f"{name}: {what}: got {value!r}, expected an integer >= {least}" + f", or {axes} of them" * (axes > 1))
    return tuple(map(int, values))


@functools.cache                            # once for each
def warn_of_gaps(name, kernel, stride):
    """A kernel of k places that moves on by s > k leaves at least s - k of s numbers unseen, whatever its dilation."""
    warnings.warn(f"{name}: the stride {stride} is larger than the kernel {kernel}: numbers between the windows are never looked "
                  "at, and get no gradient. If that is not meant, use a stride of at most the kernel", stacklevel=5)


def batched(name, x, axes):
    """(x with a batch axis, whether it had one); x: (N, C, *sizes) or (C, *sizes)."""
    x = x if isinstance(x, Tensor) else Tensor(x)
    if x.ndim not in (axes + 1, axes + 2):
        sizes = ", ".join("LHW"[-axes:] if axes > 1 else "L")
        raise ValueError(f"{name}: got an input of shape {x.shape}, expected (N, C, {sizes}) or (C, {sizes})")
    return (x, True) if x.ndim == axes + 2 else (x.reshape(1, *x.shape), False)


def _checked(name, x, weight, bias, stride, dilation, groups, inputs, outputs):
    """The stride and dilation of every axis; all that can be wrong with a convolution's arguments, except its padding."""
    axes = len(x.shape) - 2
    if weight.ndim != axes + 2 or 0 in weight.shape:
        raise ValueError(f"{name}: got a weight of shape {weight.shape}, expected {axes + 2} axes, none of them empty")
    groups, = several(name, "groups", groups, 1, 1)
    if weight.shape[0] % groups:
        raise ValueError(f"{name}: got a weight of shape {weight.shape}, whose first axis does not divide into {groups} groups")
    if x.shape[1] != inputs:
        raise ValueError(f"{name}: got an input of {x.shape[1]} channels, expected {inputs}, for a weight of shape {weight.shape} "
                         f"and {groups} group{'s' * (groups > 1)}")
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"{name}: got a bias of shape {bias.shape}, expected ({outputs},)")
    if x.dtype != weight.dtype:             # NumPy would go on in the wider of the two
        raise TypeError(f"{name}: the input is {x.dtype}, the weight {weight.dtype}: use x.astype('{weight.dtype}') or the "
                        "module's .double() / .float()")
    stride, dilation = several(name, "stride", stride, axes, 1), several(name, "dilation", dilation, axes, 1)
    if any(s > k for s, k in zip(stride, weight.shape[2:])):
        warn_of_gaps(name, weight.shape[2:], stride)
    return stride, dilation


def pads_of(name, padding, kernel, stride, dilation):
    """(before, after) of every axis for PyTorch's `padding`: numbers, "valid" (none) or "same" (the output as long as x)."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s > 1 for s in stride):
            raise ValueError(f"{name}: padding='same' needs a stride of 1, got {stride}: give the padding in numbers")
        totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple([(t // 2, t - t // 2) for t in totals])        # an even kernel: one more after than before
    if isinstance(padding, str):
        raise ValueError(f"{name}: padding: got {padding!r}, expected 'same', 'valid' or numbers")
    return tuple([(p, p) for p in several(name, "padding", padding, len(kernel), 0)])


def _conv(name, axes, x, weight, bias, stride, padding, dilation, groups):
    x, many = batched(name, x, axes)
    stride, dilation = _checked(name, x, weight, bias, stride, dilation, groups, weight.shape[1] * groups, weight.shape[0])
    kernel = weight.shape[2:]
    how = Layout(stride, dilation, pads_of(name, padding, kernel, stride, dilation), groups)
    for n, k, d in zip(how.padded(x.shape[2:]), kernel, dilation):
        if n < d * (k - 1) + 1:
            dilated = f", dilated by {d}," if d > 1 else ""
            raise ValueError(f"{name}: a kernel of {k} places{dilated} is {d * (k - 1) + 1} wide, the input with its padding only "
                             f"{n}: use a smaller kernel or more padding (padding='same' keeps the length)")
    shape = (x.shape[0], weight.shape[0], *how.output(x.shape[2:], kernel))
    for axis in range(axes - 1, -1, -1):    # along an axis that the kernel spans nothing slides: its numbers are channels
        if x.shape[2 + axis] == weight.shape[2 + axis] and how.dilation[axis] == 1 and how.pads[axis] == (0, 0):
            x, weight, how = _joined(x, 2 + axis), _joined(weight, 2 + axis), how.without(axis)
    z = _convolution(x, weight, bias, how)
    z = z if z.shape == shape else z.reshape(shape)
    return z if many else z.reshape(shape[1:])


def _joined(x, axis):
    x = moveaxis(x, axis, 2)
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])


def _conv_transpose(name, axes, x, weight, bias, stride, padding, output_padding, groups, dilation):
    x, many = batched(name, x, axes)
    stride, dilation = _checked(name, x, weight, bias, stride, dilation, groups, weight.shape[0], weight.shape[1] * groups)
    padding, extra = several(name, "padding", padding, axes, 0), several(name, "output_padding", output_padding, axes, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(f"{name}: output_padding: got {output_padding}, expected less than the stride {stride} or the dilation "
                         f"{dilation}")
    # x is the output of a convolution of what we make; the places that its padding took away on the right come back
    pads = tuple([(p, max(p - e, 0)) for p, e in zip(padding, extra)])
    sizes = [s * (n - 1) + d * (k - 1) + 1 - before - after
             for n, k, s, d, (before, after) in zip(x.shape[2:], weight.shape[2:], stride, dilation, pads)]
    if min(sizes) < 1:
        raise ValueError(f"{name}: the output would have sizes {tuple(sizes)}: got an input of shape {x.shape} and "
                         f"padding {padding}")
    how = Layout(stride, dilation, pads, groups)
    z = _convolution_x(x, weight, (x.shape[0], weight.shape[1] * groups, *sizes), how)
    if any(e > p for e, p in zip(extra, padding)):
        z = pad(z, ((0, 0), (0, 0), *[(0, max(e - p, 0)) for e, p in zip(extra, padding)]))
    z = z if bias is None else z + bias.reshape(-1, *[1] * axes)
    return z if many else z.reshape(z.shape[1:])


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide a kernel along sequences: x (N, C, L) or (C, L), weight (O, C / groups, K), bias (O,) -> (N, O, L').

    L' = (L + 2 padding - dilation (K - 1) - 1) // stride + 1. `padding` may be "same" (L' = L) or "valid" (0).
    With groups, each block of channels meets its own block of filters. LeCun et al. 1989, Waibel et al. 1989.

    >>> conv1d(Tensor([[1.0, 2.0, 4.0, 7.0]]), Tensor([[[-1.0, 1.0]]])).data       # differences of neighbours
    array([[1., 2., 3.]], dtype=float32)
    """
    return _conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide a kernel over images: x (N, C, H, W) or (C, H, W), weight (O, C / groups, KH, KW), bias (O,) -> (N, O, H', W').

    Every option is a number for both axes or a pair. See conv1d.

    >>> conv2d(Tensor(np.ones((1, 3, 3))), Tensor(np.ones((1, 1, 3, 3))), padding="same").data       # how many neighbours
    array([[[4., 6., 4.],
            [6., 9., 6.],
            [4., 6., 4.]]])
    """
    return _conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The way back of conv1d, sizes too: x (N, C, L) or (C, L), weight (C, O / groups, K), bias (O,) -> (N, O, L').

    Each number of x is multiplied by the kernel and added to the output at its place, `stride` apart.
    L' = stride (L - 1) - 2 padding + dilation (K - 1) + 1 + output_padding; a stride makes several L map to one L',
    and output_padding says which is meant. Zeiler et al. 2010.

    >>> conv_transpose1d(Tensor([[1.0, 10.0]]), Tensor([[[1.0, 2.0, 3.0]]]), stride=2).data
    array([[ 1.,  2., 13., 20., 30.]], dtype=float32)
    """
    return _conv_transpose("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The way back of conv2d: x (N, C, H, W) or (C, H, W), weight (C, O / groups, KH, KW). See conv_transpose1d.

    >>> conv_transpose2d(Tensor([[[1.0, 2.0]]]), Tensor(np.ones((1, 1, 2, 2), "f")), stride=2).data
    array([[[1., 1., 2., 2.],
            [1., 1., 2., 2.]]], dtype=float32)
    """
    return _conv_transpose("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation)


# --- padding with something else than zeros
MODES = dict(reflect="reflect", replicate="edge", circular="wrap")      # PyTorch's word: NumPy's word


def extend(x, pads, mode):
    """x with (before, after) more numbers along each of its last axes, taken from x itself, as PyTorch's padding modes.

    "reflect": mirrored at the edge, which is not repeated; "replicate": the edge again; "circular": from the other end.

    >>> [extend(Tensor([1.0, 2.0, 3.0]), [(2, 1)], mode).data.tolist() for mode in MODES]
    [[3.0, 2.0, 1.0, 2.0, 3.0, 2.0], [1.0, 1.0, 1.0, 2.0, 3.0, 3.0], [2.0, 3.0, 1.0, 2.0, 3.0, 1.0]]
    """
    if mode not in MODES:
        raise ValueError(f"extend: mode: got {mode!r}, expected {', '.join(map(repr, MODES))}")
    for axis, (before, after) in zip(range(x.ndim - len(pads), x.ndim), pads):
        n = x.shape[axis]
        most = max(before, after)
        if most > (n - 1 if mode == "reflect" else n) and mode != "replicate" or most and not n:
            raise ValueError(f"extend: a padding of {most} in mode {mode!r} needs a longer axis than {n}")
        origin = np.pad(np.arange(n), (before, after), MODES[mode]) if most else np.arange(n)
        ends = [take(x, origin[:before], axis), x, take(x, origin[before + n:], axis)]
        x = concatenate([e for e in ends if e.shape[axis]], axis) if most else x
    return x
