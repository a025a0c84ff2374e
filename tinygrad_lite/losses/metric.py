"""Losses of distances between vectors: alike ones near, others far. Safe at distance 0, at zero vectors, and of nothing."""
import numpy as np

from ..ops.activations import pairwise_distance, relu
from ..ops.elementwise import clamp, minimum, sqrt, square
from ..ops.indexing import where
from ..ops.linalg import matmul
from ..ops.reductions import power, sum
from ..ops.shapes import concatenate
from ..tensor import Tensor, plain
from .classification import cross_entropy
from .common import TINY, above_zero, cosine, reduced, row_targets, same_shapes, unit


def cosine_embedding_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """1 - cos(a, b) where y = 1, max(0, cos(a, b) - margin) where y = -1; a, b (N, D) and y (N,), or (D,) and ().

    cos(a, b) = a.b / sqrt((a.a + 1e-12)(b.b + 1e-12)).

    >>> a, b = Tensor([[1.0, 0.0], [1.0, 0.0]]), Tensor([[0.0, 2.0], [3.0, 3.0]])
    >>> cosine_embedding_loss(a, b, np.array([1, -1]), reduction="none").data.round(4)
    array([1.    , 0.7071], dtype=float32)
    """
    a, b = same_shapes("cosine_embedding_loss", input1=input1, input2=input2)
    y = plain(row_targets("cosine_embedding_loss", target, a))
    cos = sum(a * b, -1) / (sqrt(sum(square(a), -1) + TINY) * sqrt(sum(square(b), -1) + TINY))
    return reduced(where(y == 1, 1 - cos, 0) + where(y == -1, clamp(cos - margin, min=0), 0), reduction)


def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, reduction="mean"):
    """max(0, d(a, p) - d(a, n) + margin), d(u, v) the p-norm of u - v + eps; (N, D) each, or (D,).

    `swap` takes the nearer of d(a, n) and d(p, n). Schultz & Joachims 2003; Balntas et al. 2016 (swap).

    >>> a, p, n = Tensor([[0.0, 0.0]]), Tensor([[3.0, 4.0]]), Tensor([[3.0, 0.0]])
    >>> round(triplet_margin_loss(a, p, n).item(), 3)
    3.0
    """
    a, b, c = same_shapes("triplet_margin_loss", anchor=anchor, positive=positive, negative=negative)
    above_zero("triplet_margin_loss", "margin", margin)
    far = pairwise_distance(a, c, p, eps)
    far = minimum(far, pairwise_distance(b, c, p, eps)) if swap else far
    return reduced(clamp(pairwise_distance(a, b, p, eps) - far + margin, min=0), reduction)


def triplet_cosine_loss(a, p, n, margin=0.3, reduction="mean"):
    """max(0, margin - cos(a, p) + cos(a, n)) of rows (N, D): the anchor nearer in direction to p than to n.

    A row of zeros has no direction: its cosines are 0, and it gets no gradient. No rows: 0.

    >>> a, p, n = Tensor([[1.0, 0.0]]), Tensor([[1.0, 1.0]]), Tensor([[0.0, 1.0]])
    >>> triplet_cosine_loss(a, p, n).item(), round(triplet_cosine_loss(a, p, n, margin=1.0).item(), 4)
    (0.0, 0.2929)
    """
    a, p, n = same_shapes("triplet_cosine_loss", a=a, p=p, n=n)
    losses = relu(margin - cosine(a, p) + cosine(a, n))
    return reduced(losses, reduction, max(1, losses.size))


def contrastive_loss(a, b, same, margin=1, reduction="mean"):
    """d^2 / 2 where `same` is 1, max(0, margin - d)^2 / 2 where it is 0; d = |a - b| of rows (N, D). Hadsell et al. 2006.

    Two different ones at distance 0 have no direction in which to part: gradient 0. No rows: 0.

    >>> a, b = Tensor([[0.0, 0.0], [0.0, 0.0]]), Tensor([[0.0, 0.5], [0.0, 0.5]])
    >>> contrastive_loss(a, b, np.array([1, 0]), margin=2, reduction="none").data
    array([0.125, 1.125], dtype=float32)
    """
    a, b = same_shapes("contrastive_loss", a=a, b=b)
    same = row_targets("contrastive_loss", same, a)
    squares = sum(square(a - b), -1)
    short = relu(margin - power(squares, 0.5))
    losses = 0.5 * (same * squares + (1 - same) * short * short)
    return reduced(losses, reduction, max(1, losses.size))


def info_nce_loss(query, key, temperature=0.1, reduction="mean"):
    """Cross-entropy of cos(q_i, k_j) / T, where key i is the right answer to query i: (N, D) each. 1807.03748.

    A Tensor as temperature is learned along. No rows: 0.

    >>> q, k = Tensor([[1.0, 0.0], [0.0, 1.0]]), Tensor([[2.0, 0.0], [1.0, 1.0]])
    >>> round(info_nce_loss(q, k, temperature=0.5).item(), 4)
    0.3301
    """
    q, k = rows("info_nce_loss", query=query, key=key)
    scores = matmul(unit(q), unit(k).T) / above_zero("info_nce_loss", "temperature", temperature)
    losses = cross_entropy(scores, np.arange(q.shape[0]), reduction="none")
    return reduced(losses, reduction, max(1, losses.size))


def nt_xent_loss(z1, z2, temperature=0.5, reduction="mean"):
    """SimCLR's loss: each of 2N views must find the other view of its example among 2N - 1. 2002.05709.

    z1, z2: (N, D), row i of both from example i; the loss is a cross-entropy of cosines / T. No rows: 0.

    >>> z = Tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(nt_xent_loss(z, z).item(), 4), round(nt_xent_loss(z, Tensor([[0.0, 1.0], [1.0, 0.0]])).item(), 4)
    (0.2395, 2.2395)
    """
    z1, z2 = rows("nt_xent_loss", z1=z1, z2=z2)
    n = z1.shape[0]
    z = unit(concatenate([z1, z2]))
    scores = matmul(z, z.T) / above_zero("nt_xent_loss", "temperature", temperature)
    flat = np.arange(4 * n * n).reshape(2 * n, 2 * n)
    others = scores.reshape(-1)[flat[~np.eye(2 * n, dtype=bool)]].reshape(2 * n, max(0, 2 * n - 1))     # without oneself
    partner = np.r_[np.arange(n) + n - 1, np.arange(n)]
    losses = cross_entropy(others, partner, reduction="none")
    return reduced(losses, reduction, max(1, losses.size))


def rows(name, **inputs):
    """The named inputs as Tensors of one shape (N, D)."""
    inputs = same_shapes(name, **inputs)
    for x in inputs:
        if x.ndim != 2:
            raise ValueError(f"{name}: got inputs of shape {x.shape}, expected (N, D)")
    return inputs
