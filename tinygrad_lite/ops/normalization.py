"""Normalisation: numbers shifted and scaled to mean 0 and variance 1, over the features of one input or over the batch."""
import math

import numpy as np

from ..backend import on_gpu
from ..kernels.normalization import (channel_moments, normalised_channels, normalised_channels_back, normalised_rows,
                                     normalised_rows_back)
from ..tensor import Tensor, op, plain

__all__ = "layer_norm rms_norm group_norm batch_norm".split()


def same_dtype(name, x, weight):
    """NumPy would promote: a float32 layer given float64 would go on, at half the speed, in float64."""
    if weight is not None and x.dtype != weight.dtype:
        raise TypeError(f"{name}: the input is {x.dtype}, the weight {weight.dtype}: use x.astype('{weight.dtype}') or the "
                        "module's .double() / .float()")


# --- every row by itself. x is seen as (rows, numbers of a row); weight and bias belong to `groups` rows that follow each other,
# --- a number for each of theirs, or for runs of them (the channels of a group)
def _laid(weight, value, x, shape, groups):
    whole = groups, shape[1]
    if weight is None:
        return np.full_like(x, value, shape=whole)
    size = math.prod(whole)
    return (weight if weight.size == size else np.repeat(weight, size // weight.size)).reshape(whole)


def _forward(x, weight, bias, shape, groups, eps, centred):
    weight, bias = _laid(weight, 1, x, shape, groups), _laid(bias, 0, x, shape, groups)
    z, mean, scale = normalised_rows(x.reshape(shape), weight, bias, eps, centred)
    return z.reshape(x.shape), {"mean": mean, "scale": scale}


def _formula(x, weight, bias, shape, groups, eps, centred):
    y = x.reshape(shape)
    y = y - y.mean(axis=1, keepdims=True) if centred else y
    y = y / np.sqrt((y * y).mean(axis=1, keepdims=True) + eps)
    if weight is not None:
        y = _runs(y, weight, shape, groups) * weight.reshape(-1, 1)
    if bias is not None:
        y = _runs(y, bias, shape, groups) + bias.reshape(-1, 1)
    return y.reshape(x.shape)


def _runs(y, weight, shape, groups):
    """(rows / groups, numbers of a group of rows with a weight of their own, how many of them share it)."""
    return y.reshape(-1, weight.size, groups * shape[1] // weight.size)


# One pass over the rows finds all three gradients. The first rule that is asked makes it and leaves the others theirs, each to be
# taken once: a later pass, for which g may be the same array with other numbers in it, finds nothing.
def _slopes(g, x, weight, shape, groups, eps, centred, waiting):
    to_x, to_weight, to_bias = normalised_rows_back(g.reshape(shape), x.reshape(shape), _laid(weight, 1, x, shape, groups),
                                                    waiting["mean"], waiting["scale"], centred)
    waiting.update(g=g, weight=to_weight, bias=to_bias)
    return to_x.reshape(x.shape) if to_x.shape != x.shape else to_x


def _slope_of(which, slopes, g, x, weight, parameter, *options):
    waiting = options[-1]
    if waiting.get("g") is not g or which not in waiting:
        slopes(g, x, weight, *options)
    h = waiting.pop(which)
    h = h if h.size == parameter.size else h.reshape(parameter.size, -1).sum(axis=1)       # one for a run of numbers
    return h.reshape(parameter.shape)


_by_rows = op("normalised_rows", _forward,
              lambda g, z, x, weight, bias, *options: _slopes(g, x, weight, *options),
              lambda g, z, x, weight, bias, *options: _slope_of("weight", _slopes, g, x, weight, weight, *options),
              lambda g, z, x, weight, bias, *options: _slope_of("bias", _slopes, g, x, weight, bias, *options),
              composite=_formula, saves=True)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """(x - mean) / sqrt(var + eps) over the last axes, times weight plus bias. Ba, Kiros, Hinton 2016 (1607.06450).

    x: (..., *normalized_shape); weight and bias have the normalized_shape.

    >>> layer_norm(Tensor([[1.0, 3.0]]), (2,)).data.round(3)
    array([[-1.,  1.]], dtype=float32)
    """
    return _last_axes("layer_norm", x, normalized_shape, weight, bias, eps, True)


def rms_norm(x, normalized_shape, weight=None, eps=None):
    """x / sqrt(mean of x^2 + eps) over the last axes, times weight: the scale without the shift. Zhang & Sennrich 2019.

    x: (..., *normalized_shape). eps=None is the smallest step from 1 in x's dtype, as in PyTorch.

    >>> rms_norm(Tensor([[3.0, 4.0]]), (2,)).data.round(3)
    array([[0.849, 1.131]], dtype=float32)
    """
    return _last_axes("rms_norm", x, normalized_shape, weight, None, np.finfo(x.dtype).eps if eps is None else eps, False)


def _last_axes(name, x, normalized_shape, weight, bias, eps, centred):
    shape = tuple(normalized_shape)
    if not shape or x.shape[-len(shape):] != shape or not math.prod(shape):
        raise ValueError(f"{name}: got shape {x.shape}, expected one that ends with {shape}, at least one number of it")
    for which, w in ("weight", weight), ("bias", bias):
        same_dtype(name, x, w)
        if w is not None and w.shape != shape:
            raise ValueError(f"{name}: got a {which} of shape {w.shape}, expected {shape}")
    return _by_rows(x, weight, bias, (math.prod(x.shape[:-len(shape)]), math.prod(shape)), 1, float(eps), centred)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """(x - mean) / sqrt(var + eps) over the numbers of each group of channels of each input. Wu & He 2018 (1803.08494).

    x: (N, C, ...), whose C channels divide into num_groups; weight and bias (C,). One group is a layer norm of all
    channels, C groups are an instance norm.

    >>> group_norm(Tensor([[[1.0], [3.0], [10.0], [30.0]]]), 2).data.ravel().round(3)
    array([-1.,  1., -1.,  1.], dtype=float32)
    """
    if x.ndim < 2 or num_groups < 1 or not x.shape[1] or x.shape[1] % num_groups:
        raise ValueError(f"group_norm: got shape {x.shape}, expected (N, C, ...) with C a multiple of the {num_groups} groups")
    for which, w in ("weight", weight), ("bias", bias):
        same_dtype("group_norm", x, w)
        if w is not None and w.shape != x.shape[1:2]:
            raise ValueError(f"group_norm: got a {which} of shape {w.shape}, expected {x.shape[1:2]}")
    rows = x.shape[0] * num_groups
    return _by_rows(x, weight, bias, (rows, math.prod(x.shape[1:]) // num_groups), num_groups, float(eps), True)


# --- each channel over the batch. mean and scale are plain arrays: x's own, or with `of_batch` false fixed ones
def _channels_forward(x, weight, bias, mean, scale, eps, of_batch):
    one_each = np.ones_like(mean), np.zeros_like(mean)
    weight, bias = one_each[0] if weight is None else weight, one_each[1] if bias is None else bias
    return normalised_channels(_channels(x), weight, bias, mean, scale).reshape(x.shape), {}


def _channels(x):
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _channels_formula(x, weight, bias, mean, scale, eps, of_batch):
    axes, each = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    if of_batch:
        y = x - x.mean(axis=axes, keepdims=True)
        y = y / np.sqrt((y * y).mean(axis=axes, keepdims=True) + eps)
    else:
        y = (x - mean.reshape(each)) * scale.reshape(each)
    y = y if weight is None else y * weight.reshape(each)
    return y if bias is None else y + bias.reshape(each)


def _channel_slopes(g, x, weight, mean, scale, eps, of_batch, waiting):
    weight = np.ones_like(mean) if weight is None else weight
    to_x, to_weight, to_bias = normalised_channels_back(_channels(g), _channels(x), weight, mean, scale, of_batch)
    waiting.update(g=g, weight=to_weight, bias=to_bias)
    return to_x if to_x.shape == x.shape else to_x.reshape(x.shape)


_by_channels = op("normalised_channels", _channels_forward,
                  lambda g, z, x, weight, bias, *options: _channel_slopes(g, x, weight, *options),
                  lambda g, z, x, weight, bias, *options: _slope_of("weight", _channel_slopes, g, x, weight, weight, *options),
                  lambda g, z, x, weight, bias, *options: _slope_of("bias", _channel_slopes, g, x, weight, bias, *options),
                  composite=_channels_formula, saves=True)


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Normalise each channel (axis 1) over the batch in training, by the running statistics otherwise. Ioffe & Szegedy 2015.

    In training the running arrays move in place by `momentum` towards the batch's mean and unbiased variance.

    >>> batch_norm(Tensor([[1.0], [3.0]]), None, None, training=True).data.ravel().round(3)
    array([-1.,  1.], dtype=float32)
    """
    same_dtype("batch_norm", x, weight if weight is not None else running_mean)
    mean, var = running_mean, running_var
    if training:
        n = x.size // x.shape[1]
        if n < 2:
            raise ValueError(f"batch_norm: got shape {x.shape}, one value per channel: training needs at least two to have a "
                             "variance")
        mean, var = channel_moments(_channels(plain(x)))
        if running_mean is not None and (on_gpu(momentum) or momentum):
            running_mean += momentum * (mean - running_mean)
            running_var += momentum * (var * (n / (n - 1)) - running_var)
    scale = (1 / np.sqrt(var + eps)).astype(x.dtype, copy=False)
    return _by_channels(x, weight, bias, mean if training else mean.copy(), scale, float(eps), training)
