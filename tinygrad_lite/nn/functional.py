"""PyTorch's nn.functional: layers as functions of their input and weights."""
import numpy as np

from .. import random as source
from ..backend import like, xp_of
from ..losses import (binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cross_entropy, ctc_loss,
                      gaussian_nll_loss, hinge_embedding_loss, huber_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss,
                      multi_margin_loss, multilabel_margin_loss, multilabel_soft_margin_loss, nll_loss, poisson_nll_loss,
                      smooth_l1_loss, soft_margin_loss, triplet_margin_loss)
from ..ops.activations import (celu, cosine_similarity, elu, gelu, glu, hardshrink, hardsigmoid, hardswish, hardtanh,
                               leaky_relu, log_softmax, logsigmoid, mish, normalize, pairwise_distance, relu, relu6, selu,
                               sigmoid, silu, softmax, softplus, softshrink, softsign, tanhshrink)
from ..ops.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from ..ops.elementwise import tanh
from ..ops.linalg import einsum, linear
from ..ops.normalization import batch_norm, group_norm, layer_norm, rms_norm
from ..ops.pooling import (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d, avg_pool1d,
                           avg_pool2d, max_pool1d, max_pool2d)
from ..ops.lookup import embedding, embedding_bag
from ..ops.reductions import logsumexp
from ..ops.shapes import pad
from ..tensor import Tensor, plain


def dropout(x, p=0.5, training=True):
    """Zero each number with probability p and divide the others by 1 - p; nothing when not training.

    >>> dropout(Tensor([1.0, 2.0]), 0.5, training=False).data
    array([1., 2.], dtype=float32)
    """
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0
    kept = source.generator_for(plain(x)).random(x.shape, np.float32) >= p
    return x * (kept / x.dtype.type(1 - p)).astype(x.dtype, copy=False)


def bilinear(x1, x2, weight, bias=None):
    """z_o = x1' W_o x2 + b_o over the last axes: x1 (..., I), x2 (..., J), weight (O, I, J) -> (..., O).

    >>> bilinear(Tensor([1.0, 2.0]), Tensor([10.0]), Tensor([[[1.0], [1.0]]])).data
    array([30.], dtype=float32)
    """
    z = einsum("...i,oij,...j->...o", x1, weight, x2)
    return z if bias is None else z + bias


def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
    """softmax(Q K' / sqrt(E)) V: a mean of the values, weighted by how well their keys meet the query. Vaswani et al. 2017.

    query (..., L, E), key (..., S, E), value (..., S, V) -> (..., L, V). `attn_mask` (..., L, S): True where a key may
    be looked at, or numbers to add to the scores. `is_causal`: only keys that are not later than the query.

    >>> scaled_dot_product_attention(Tensor([[9.0]]), Tensor([[9.0], [0.0]]), Tensor([[1.0], [2.0]])).data.round(3)
    array([[1.]], dtype=float32)
    """
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    return dropout(weights, dropout_p) @ value


def attention_weights(query, key, mask=None, is_causal=False, scale=None):
    """softmax(Q K' / sqrt(E)): how much each query (..., L, E) looks at each key (..., S, E); 0 where it may not."""
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.swapaxes(-1, -2)
    if is_causal:
        if mask is not None:
            raise ValueError("attention: got is_causal and a mask, expected one of them: put both into the mask")
        mask = xp_of(plain(scores)).tri(*scores.shape[-2:], dtype=bool)
    if mask is not None:
        allowed = plain(mask)
        allowed = like(plain(scores), allowed) if allowed.dtype == bool else allowed
        scores = np.where(allowed, scores, -np.inf) if allowed.dtype == bool else scores + mask
    return softmax(scores, -1)
