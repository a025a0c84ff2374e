"""PyTorch's nn.functional: layers as functions of their input and weights."""
import numpy as np

from .. import random as source
from ..losses import (binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cross_entropy, ctc_loss,
                      gaussian_nll_loss, hinge_embedding_loss, huber_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss,
                      multi_margin_loss, multilabel_margin_loss, multilabel_soft_margin_loss, nll_loss, poisson_nll_loss,
                      smooth_l1_loss, soft_margin_loss, triplet_margin_loss)
from ..ops.activations import (celu, cosine_similarity, elu, gelu, glu, hardshrink, hardsigmoid, hardswish, hardtanh,
                               leaky_relu, log_softmax, logsigmoid, mish, normalize, pairwise_distance, relu, relu6, selu,
                               sigmoid, silu, softmax, softplus, softshrink, softsign, tanhshrink)
from ..ops.elementwise import tanh
from ..ops.indexing import put_back
from ..ops.linalg import linear
from ..ops.reductions import logsumexp
from ..ops.shapes import pad
from ..rowsparse import RowSparse
from ..tensor import Tensor, op, plain


def dropout(x, p=0.5, training=True):
    """Zero each number with probability p and divide the others by 1 - p; nothing when not training.

    >>> dropout(Tensor([1.0, 2.0]), 0.5, training=False).data
    array([1., 2.], dtype=float32)
    """
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0
    kept = source.generator.random(x.shape, np.float32) >= p
    return x * (kept / np.asarray(1 - p, x.dtype)).astype(x.dtype, copy=False)


def _dense_rows(g, z, weight, ids, padding_idx, by_count, sparse):
    if sparse and not isinstance(g, Tensor):
        flat, values = ids.reshape(-1), g.reshape(-1, weight.shape[1])
        if padding_idx is not None:
            keep = flat != padding_idx
            flat, values = flat[keep], values[keep]
        return RowSparse(flat, values, weight.shape)
    if padding_idx is not None:
        g = np.where((ids == padding_idx)[..., None], 0, g)
    if by_count:
        g = g / np.bincount(ids.reshape(-1), minlength=weight.shape[0])[ids][..., None].astype(weight.dtype)
    return put_back(g, ids, weight.shape)


_embedding = op("embedding", lambda weight, ids, *_: weight[ids], _dense_rows)


def embedding(ids, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """weight[ids], with a gradient that adds up over repeated ids. See nn.Embedding for the options.

    >>> embedding(np.array([1, 1]), Tensor([[1.0], [2.0]])).data.ravel()
    array([2., 2.], dtype=float32)
    """
    ids = np.asarray(plain(ids))
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids have dtype {ids.dtype}, expected integers")
    ids = ids.astype(np.int64, copy=False)
    padding_idx = padding_idx if padding_idx is None else padding_idx % weight.shape[0]
    if ids.size and (ids.min() < 0 or ids.max() >= weight.shape[0]):
        bad = (ids < 0) | (ids >= weight.shape[0])
        at = np.unravel_index(bad.argmax(), ids.shape)
        raise IndexError(f"embedding: id {ids[at]} at position {tuple(map(int, at))}, expected 0..{weight.shape[0] - 1}")
    if sparse and scale_grad_by_freq:
        raise ValueError("embedding: scale_grad_by_freq needs sparse=False")
    if max_norm is not None:
        rows = np.unique(ids)
        norms = np.linalg.norm(weight.data[rows], norm_type, axis=1)
        long = norms > max_norm
        weight.data[rows[long]] *= (max_norm / (norms[long] + 1e-7))[:, None].astype(weight.dtype)
    return _embedding(weight, ids, padding_idx, scale_grad_by_freq, sparse)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """(x - mean) / sqrt(var + eps) over the last axes, times weight plus bias. Ba, Kiros, Hinton 2016.

    >>> layer_norm(Tensor([[1.0, 3.0]]), (2,)).data.round(3)
    array([[-1.,  1.]], dtype=float32)
    """
    shape = tuple(normalized_shape)
    if x.shape[-len(shape):] != shape:
        raise ValueError(f"layer_norm: got shape {x.shape}, expected one that ends with {shape}")
    same_dtype("layer_norm", x, weight)
    y = normalised(x, tuple(range(x.ndim - len(shape), x.ndim)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def same_dtype(name, x, weight):
    """NumPy would promote: a float32 layer given float64 would go on, at half the speed, in float64."""
    if weight is not None and x.dtype != weight.dtype:
        raise TypeError(f"{name}: the input is {x.dtype}, the weight {weight.dtype}: use x.astype('{weight.dtype}') or the "
                        "module's .double() / .float()")


def _normal(x, axes, eps):
    mean = x.mean(axis=axes, keepdims=True)
    y = x - mean
    scale = 1 / np.sqrt((y * y).mean(axis=axes, keepdims=True) + eps)
    return y * scale, scale


def _normal_rule(g, z, x, axes, eps, scale):
    return (g - g.mean(axis=axes, keepdims=True) - z * (g * z).mean(axis=axes, keepdims=True)) * scale


def _normal_formula(x, axes, eps):
    y = x - x.mean(axis=axes, keepdims=True)
    return y / np.sqrt((y * y).mean(axis=axes, keepdims=True) + eps)


normalised = op("normalised", _normal, _normal_rule, composite=_normal_formula, saves=True)
normalised.__doc__ = "(x - mean) / sqrt(var + eps) over `axes`: the core of layer and batch normalisation."


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Normalise each channel (axis 1) over the batch in training, by the running statistics otherwise. Ioffe & Szegedy 2015.

    In training the running arrays move in place by `momentum` towards the batch's mean and unbiased variance.

    >>> batch_norm(Tensor([[1.0], [3.0]]), None, None, training=True).data.ravel().round(3)
    array([-1.,  1.], dtype=float32)
    """
    same_dtype("batch_norm", x, weight if weight is not None else running_mean)
    axes = (0, *range(2, x.ndim))
    per_channel = (1, -1, *[1] * (x.ndim - 2))
    if training:
        n = x.size // x.shape[1]
        if n < 2:
            raise ValueError(f"batch_norm: got shape {x.shape}, one value per channel: training needs at least two to have a variance")
        y = normalised(x, axes, eps)
        if running_mean is not None and momentum:
            a = x.data
            mean = a.mean(axis=axes)
            running_mean += momentum * (mean - running_mean)
            running_var += momentum * (a.var(axis=axes) * (n / (n - 1)) - running_var)
    else:
        y = (x - running_mean.reshape(per_channel)) / np.sqrt(running_var.reshape(per_channel) + eps)
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)
