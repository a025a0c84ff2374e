"""Layers that look vectors up in a table: one for each id, or one for each bag of ids."""
import numpy as np

from .. import random as source
from ..ops.lookup import embedding, embedding_bag, row_of
from .module import Module, Parameter

BLOCK = 1 << 16         # rows drawn at a time: a table of gigabytes needs no second one beside it


class Table(Module):
    """What both have: weight (num_embeddings, embedding_dim) from N(0, 1), the padding row zero."""

    def __init__(self, num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse):
        if num_embeddings < 1 or embedding_dim < 1:
            raise ValueError(f"{type(self).__name__}: got num_embeddings={num_embeddings}, embedding_dim={embedding_dim}, "
                             "expected at least 1 each")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = row_of(type(self).__name__, padding_idx, num_embeddings)
        self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse = max_norm, norm_type, scale_grad_by_freq, sparse
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        for start in range(0, num_embeddings, BLOCK):
            block = self.weight.data[start:start + BLOCK]
            block[...] = source.generator.standard_normal(block.shape)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0


class Embedding(Table):
    """Rows of a table by integer id: ids (...) -> (..., embedding_dim). weight (num_embeddings, embedding_dim) from N(0, 1).

    `padding_idx`: a row that starts at zero and gets no gradient. `max_norm`: rows used are first shortened to it.
    `scale_grad_by_freq`: gradients divided by how often an id occurs. `sparse`: the gradient is RowSparse, so that a step
    with SGD, Adagrad or SparseAdam costs what the rows used cost, however large the table (optim.SparseDense).

    >>> e = Embedding(5, 2, padding_idx=0)
    >>> e(np.array([[0, 3]])).shape, e(np.array([0])).data
    ((1, 2, 2), array([[0., 0.]], dtype=float32))
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0,
                 scale_grad_by_freq=False, sparse=False):
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)

    def forward(self, ids):
        return embedding(ids, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse)

    def extra_repr(self):
        return f"{self.num_embeddings}, {self.embedding_dim}" + (", sparse=True" if self.sparse else "")


class EmbeddingBag(Table):
    """The sum, mean or maximum of the rows of each bag of ids, without the rows in between: (bags, embedding_dim).

    Bags are the rows of ids (bags, n), or parts of ids (n,) that start at `offsets` (bags,). A bag without ids is 0; ids
    equal to `padding_idx` are left out (also of the mean's count). `per_sample_weights`, of the ids' shape, for mode="sum".
    `include_last_offset`: offsets end with the end of the last bag. Other options as in Embedding; the gradient
    of a maximum is always dense.

    >>> bag = EmbeddingBag(3, 1, mode="sum")
    >>> bag.weight.data[:, 0] = 1, 10, 100
    >>> bag(np.array([0, 1, 2]), offsets=np.array([0, 2, 2])).data.ravel()     # {0, 1}, {}, {2}
    array([ 11.,   0., 100.], dtype=float32)
    """

    def __init__(self, num_embeddings, embedding_dim, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean",
                 sparse=False, include_last_offset=False, padding_idx=None):
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(self, ids, offsets=None, per_sample_weights=None):
        return embedding_bag(ids, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode,
                             self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx)

    def extra_repr(self):
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}" + (", sparse=True" if self.sparse else "")
