"""Multi-head attention, with PyTorch's arguments, parameter names and layout."""
import numpy as np

from ..backend import like, xp_of
from ..ops.shapes import split
from ..tensor import Tensor, plain
from . import functional as F
from . import init
from .layers import Linear
from .module import Module, Parameter


class MultiheadAttention(Module):
    """Each query takes a mean of the values weighted by how well it meets their keys, in `num_heads` ways. Vaswani et al. 2017.

    query (L, N, E), key and value (S, N, E), or (N, L, E) with `batch_first`, or without N -> (output like query,
    weights (N, L, S) averaged over the heads). Head h sees the h-th E / num_heads of each projected number:
    softmax(Q_h K_h' / sqrt(E / num_heads)) V_h; the heads side by side go through out_proj. A key_padding_mask (N, S) is True
    where a key is to be left out; so is a Boolean attn_mask (L, S) or (N num_heads, L, S), one of numbers is added.

    >>> attention = MultiheadAttention(8, 2, batch_first=True)
    >>> z, weights = attention(*[Tensor(np.ones((3, n, 8), "f")) for n in (5, 4, 4)])
    >>> z.shape, weights.shape, weights.data.sum(axis=2).round(3).max()
    ((3, 5, 8), (3, 5, 4), np.float32(1.0))
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, batch_first=False):
        if min(embed_dim, num_heads) < 1 or embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: got embed_dim={embed_dim}, num_heads={num_heads}, expected heads of equal size")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.in_proj_weight = init.xavier_uniform_(Parameter(np.empty((3 * embed_dim, embed_dim), np.float32)))     # of q, k and v
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, np.float32)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            init.zeros_(self.out_proj.bias)

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True,
                is_causal=False):
        inputs = query, key, value
        alike = all(x.ndim == query.ndim and x.shape[-1] == self.embed_dim for x in inputs) and key.shape == value.shape
        if query.ndim not in (2, 3) or not alike:
            raise ValueError(f"MultiheadAttention: got shapes {[x.shape for x in inputs]}, expected (length, batch, "
                             f"{self.embed_dim}), batch first with batch_first=True, or (length, {self.embed_dim}); key and "
                             "value alike")
        many = query.ndim == 3
        if not many:
            inputs = [x.reshape(1, *x.shape) for x in inputs]
        elif not self.batch_first:
            inputs = [x.swapaxes(0, 1) for x in inputs]
        n, length, _ = inputs[0].shape
        if inputs[1].shape[0] != n:
            raise ValueError(f"MultiheadAttention: got {n} queries and {inputs[1].shape[0]} keys in a batch, expected as many")
        biases = [None] * 3 if self.in_proj_bias is None else split(self.in_proj_bias, 3)
        q, k, v = [self._heads(F.linear(x, w, b)) for x, w, b in zip(inputs, split(self.in_proj_weight, 3), biases)]
        mask = self._mask(n, length, k.shape[2], key_padding_mask, attn_mask, is_causal, plain(q))
        weights = F.dropout(F.attention_weights(q, k, mask), self.dropout, self.training)
        z = weights @ v                     # (N, heads, L, E / heads)
        z = self.out_proj(z.swapaxes(1, 2).reshape(n, length, self.embed_dim))
        z = z.reshape(z.shape[1:]) if not many else z if self.batch_first else z.swapaxes(0, 1)
        if not need_weights:
            return z, None
        weights = weights.mean(axis=1) if average_attn_weights else weights
        return z, weights if many else weights.reshape(weights.shape[1:])

    def _heads(self, x):                    # (N, L, E) -> (N, heads, L, E / heads)
        return x.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)

    def _mask(self, n, length, keys, key_padding_mask, attn_mask, is_causal, q):
        """What is added to the scores (N, heads, L, S), or None: -inf where a Boolean mask is True, the numbers of another."""
        masks = []
        if key_padding_mask is not None:
            masks.append(self._added("key_padding_mask", key_padding_mask, [(n, keys), (keys,)], q).reshape(-1, 1, 1, keys))
        if attn_mask is not None:
            shapes = [(length, keys), (n * self.num_heads, length, keys)]
            heads = [self.num_heads] * (attn_mask.ndim == 3)
            masks.append(self._added("attn_mask", attn_mask, shapes, q).reshape(-1, *heads, length, keys))
        elif is_causal:
            masks.append(np.where(xp_of(q).tri(length, keys, dtype=bool), 0, -np.inf).astype(q.dtype))
        return sum(masks) if masks else None

    def _added(self, name, mask, shapes, q):
        mask = like(q, plain(mask))
        if mask.shape not in shapes:
            raise ValueError(f"MultiheadAttention: {name}: got shape {mask.shape}, expected {' or '.join(map(str, shapes))}")
        return np.where(mask, -np.inf, 0).astype(q.dtype) if mask.dtype == bool else mask.astype(q.dtype, copy=False)
