"""Word vectors from characters, for words of any length and never seen before."""
from collections import Counter
from math import prod

import numpy as np

from ..backend import like, on_gpu, xp_of
from ..kernels.charcnn import windows_max, windows_max_gradient
from ..ops.elementwise import tanh
from ..ops.indexing import where
from ..ops.lookup import checked
from ..ops.shapes import concatenate
from ..tensor import op
from .convolution import Conv2d
from .embedding import Embedding
from .module import Module, ModuleList
from .multiplicative import Highway


def _formula(table, ids, windows):
    width, places = table.shape[1], ids.shape[1] - table.shape[1] + 1
    answers = table[ids[:, :places], 0]
    for i in range(1, width):
        answers = answers + table[ids[:, i:i + places], i]
    return where(xp_of(windows).arange(places)[:, None] < windows[:, None, None], answers, -np.inf).max(axis=1)


_best = op("char_windows_max", windows_max, lambda g, z, table, ids, windows, at: windows_max_gradient(g, ids, at, table.shape),
           None, None, composite=_formula, saves=True)


class CharCNN(Module):
    """Characters -> embedding -> filters of several widths -> maximum over time -> tanh -> highway -> word vectors.

    Ids (..., length), 0 for padding at the end, as `Alphabet.encode` makes them -> (..., out_features), where out_features is
    the number of all filters: `filters` for each of the `widths`, or one number per width. A vector does not depend on how
    much padding follows the word: a filter sees the windows that lie in the word, or, if the word is shorter (or empty),
    the one at its start, filled up with padding, whose character vector is 0. Words that occur several times
    in a batch are computed once. Kim, Jernite, Sontag & Rush 2016 (1508.06615).

    >>> words = Alphabet("beer beers wine").encode(["beer", "beers", "beer"])
    >>> v = CharCNN(20, dim=4, filters=30, widths=(2, 3))(words)
    >>> v.shape, bool((v.data[0] == v.data[2]).all()), bool((v.data[0] == v.data[1]).all())
    ((3, 60), True, False)
    """

    def __init__(self, n_chars, dim=15, filters=25, widths=(1, 2, 3, 4), highway=1):
        widths = (widths,) if isinstance(widths, int) else tuple(widths)
        filters = (filters,) * len(widths) if isinstance(filters, int) else tuple(filters)
        if not widths or len(filters) != len(widths) or min(widths) < 1 or min(filters) < 1:
            raise ValueError(f"CharCNN: got filters={filters}, widths={widths}, expected numbers >= 1, one of filters for each width")
        self.n_chars, self.widths, self.out_features = n_chars, widths, sum(filters)
        self.embedding = Embedding(n_chars, dim, padding_idx=0)
        self.convolutions = ModuleList([Conv2d(1, f, (width, dim)) for f, width in zip(filters, widths)])
        self.highway = Highway(self.out_features, highway)

    def forward(self, ids):
        ids = checked("CharCNN", ids, self.n_chars)         # on the host repeated words are found before they are moved
        if ids.ndim < 1:
            raise ValueError(f"CharCNN: got ids of shape {ids.shape}, expected (..., length)")
        words, place = distinct(ids.reshape(prod(ids.shape[:-1]), ids.shape[-1]))
        z = self.highway(tanh(self.features(like(self.embedding.weight.data, words))))
        z = z if place is None else z[place]
        return z.reshape(*ids.shape[:-1], self.out_features)

    def features(self, words):
        """The filters' largest answers to each of the words (n, length): (n, out_features), before tanh and highway."""
        if words.shape[1] < max(self.widths):
            words = np.pad(words, ((0, 0), (0, max(self.widths) - words.shape[1])))
        count = xp_of(words).arange
        length = np.where(words != 0, count(1, words.shape[1] + 1), 0).max(axis=1)
        letters = self.embedding.weight * (count(self.n_chars) != 0)[:, None].astype(self.embedding.weight.dtype)
        best = []
        for width, conv in zip(self.widths, self.convolutions):
            filters = conv.weight.transpose(3, 1, 2, 0).reshape(letters.shape[1], -1)          # (dim, width filters)
            table = (letters @ filters).reshape(self.n_chars, width, -1)
            best.append(_best(table, words, np.maximum(length - width + 1, 1)) + conv.bias)
        return best[0] if len(best) == 1 else concatenate(best, axis=1)


def distinct(words):
    """(the distinct ones of the rows (n, length), the place of each row among them); the place is None if all differ.

    On the GPU, which would have to say how many there are, words stay as they are.

    >>> words, place = distinct(np.array([[1, 2], [3, 0], [1, 2]]))
    >>> words[place].tolist()
    [[1, 2], [3, 0], [1, 2]]
    """
    if on_gpu(words):
        return words, None
    factors = np.random.default_rng(0).integers(1 << 62, size=words.shape[1]) | 1
    _, first, place = np.unique(words @ factors, return_index=True, return_inverse=True)     # one number a word: quick to sort
    if not np.array_equal(words[first][place], words):                                       # two words of one number
        _, first, place = np.unique(words, axis=0, return_index=True, return_inverse=True)
    return (words, None) if len(first) == len(words) else (words[first], place.reshape(-1))


class Alphabet:
    """Characters as ids: 0 padding, 1 unknown, 2 and 3 a word's beginning and end, then those of `text`, the most frequent first.

    Beginning and end let a filter tell a prefix from the same letters in the middle. `len()` is what CharCNN calls n_chars.
    At most `most` ids are given out; rarer characters, and new ones, are unknown.

    >>> a = Alphabet("a banana")
    >>> len(a), a.encode(["ban", "z", ""]).tolist()
    (8, [[2, 7, 4, 5, 3], [2, 1, 3, 0, 0], [2, 3, 0, 0, 0]])
    """
    PADDING, UNKNOWN, BEGIN, END = range(4)

    def __init__(self, text, most=None):
        common = [c for c, _ in Counter("".join(text)).most_common(None if most is None else max(most - 4, 0))]
        self.ids = {c: i for i, c in enumerate(common, start=4)}

    def __len__(self):
        return 4 + len(self.ids)

    def encode(self, words, longest=None):
        """Ids (words, length) of a list of strings, as long as the longest of them; words are cut to `longest` characters."""
        if isinstance(words, str):
            raise TypeError(f"Alphabet.encode: got the string {words[:20]!r}, expected a list of words")
        rows = [[self.BEGIN, *[self.ids.get(c, self.UNKNOWN) for c in word[:longest]], self.END] for word in words]
        ids = np.full((len(rows), max(map(len, rows), default=2)), self.PADDING)
        for row, of_word in zip(rows, ids):
            of_word[:len(row)] = row
        return ids
