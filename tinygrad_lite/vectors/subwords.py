"""How unknown words get vectors: the n-grams of a word, and the rows in which a model keeps theirs."""
import numpy as np

from ..kernels.subwords import fnv1a, mean_rows, ngrams, subword_mean, subword_means, subword_rows
from .words import decoded, encoded

END = "</s>"                            # fastText's end of a line: a word without n-grams


class Subwords:
    """The n-grams of `minn` to `maxn` characters of a word between its `edges`, hashed into `bucket` rows.

    `edges`: the character put before and the one put behind a word, "<>" as fastText does; "%%" is for models of programs
    that pad both sides with a percent sign. `kept` (m, 2) are the pairs (bucket, row) of a pruned model, the only ones it has.

    >>> pieces = Subwords(3, 4, 1000)
    >>> pieces.ngrams("the"), pieces.rows(["the"], first=5)[0]
    (['<th', '<the', 'the', 'the>', 'he>'], array([156, 731, 985, 939, 285]))
    >>> Subwords(2, 2, 1000, edges="%%").ngrams("ab")
    ['%a', 'ab', 'b%']
    """

    def __init__(self, minn, maxn, bucket, edges="<>", kept=None):
        if not (isinstance(edges, str) and len(edges) == 2 and edges.isascii()):
            raise ValueError(f"edges: got {edges!r}, expected two ASCII characters, such as '<>' or '%%'")
        if min(minn, maxn, bucket) < 0 or (bucket == 0 < maxn):
            raise ValueError(f"got minn {minn}, maxn {maxn}, bucket {bucket}: expected none negative, "
                             "and buckets where there are n-grams")
        self.minn, self.maxn, self.bucket, self.edges = minn, maxn, bucket, edges
        self.before, self.behind = edges[0].encode(), edges[1].encode()
        self.kept = None if kept is None else kept[np.argsort(kept[:, 0], kind="stable")]

    def between(self, edges):
        """The same, with other edges."""
        return Subwords(self.minn, self.maxn, self.bucket, edges, self.kept)

    def padded(self, word):
        """The bytes whose n-grams count: the word between its edges; of the end of a line nothing."""
        return b"" if word == END else self.before + encoded(word) + self.behind

    def ngrams(self, word):
        """The n-grams of a word as str, or as bytes of a word in bytes; those that were pruned are left out."""
        pieces = ngrams(self.padded(decoded(word)), self.minn, self.maxn)
        if self.kept is not None:
            pieces = [piece for piece, place in zip(pieces, self.places(self._buckets(pieces)).tolist()) if place >= 0]
        return pieces if isinstance(word, bytes) else [decoded(piece) for piece in pieces]

    def used(self, words):
        """{n-gram: its row} of every n-gram that these words (str) have, each once, as they come.

        >>> Subwords(2, 2, 100).used(["ab", "cab"])
        {'<a': 50, 'ab': 46, 'b>': 61, '<c': 12, 'ca': 45}
        """
        pieces = list(dict.fromkeys(piece for word in words for piece in self.ngrams(word)))
        return dict(zip(pieces, self.places(self._buckets([encoded(piece) for piece in pieces])).tolist()))

    def _buckets(self, pieces):
        return np.array([fnv1a(piece) % self.bucket for piece in pieces], np.int64)

    def buckets(self, words):
        """The buckets, rising, that the n-grams of these words (str) have, those left out that were pruned."""
        padded, unknown = [self.padded(word) for word in words], np.full(len(words), -1)
        every, _ = subword_rows(padded, unknown, self.minn, self.maxn, self.bucket, 0)
        every = np.unique(every)
        return every[self.places(every) >= 0]

    def rows(self, words, first, ids=None):
        """(rows, counts) for words given as str: their ids, where not negative, then `first` + the buckets of their n-grams."""
        ids = np.full(len(words), -1, np.int64) if ids is None else ids
        rows, counts = subword_rows([self.padded(word) for word in words], ids, self.minn, self.maxn, self.bucket, first)
        return (rows, counts) if self.kept is None else self._pruned(rows, counts, ids, first)

    def means(self, words, first, matrix, ids=None):
        """(n, dim): the mean of each word's rows of a matrix (an array, or QuantisedMatrix), or zero without any."""
        if self._by_rows(matrix):
            return mean_rows(matrix, *self.rows(words, first, ids))
        ids = np.full(len(words), -1) if ids is None else ids
        return subword_means([self.padded(word) for word in words], ids, self.minn, self.maxn, self.bucket, first, matrix)

    def mean(self, word, first, matrix, id=-1):
        """(dim,): the same for one word."""
        if self._by_rows(matrix):
            return self.means((word,), first, matrix, np.array([id]))[0]
        return subword_mean(self.padded(word), id, self.minn, self.maxn, self.bucket, first, matrix)

    def _by_rows(self, matrix):
        return self.kept is not None or type(matrix) is not np.ndarray or matrix.dtype != np.float32

    def word_ngrams(self, words, longest, first):
        """The rows of all runs of 2 to `longest` words (bytes), in order: a polynomial of the words' hashes, modulo 2^64."""
        hashes = np.array([fnv1a(word) for word in words], np.uint32).view(np.int32).astype(np.uint64)     # sign-extended
        runs, h = np.full((len(words), longest - 1), -1, np.int64), hashes
        for n in range(1, min(longest, len(words))):
            h = h[:-1] * np.uint64(116049371) + hashes[n:]
            runs[:len(h), n - 1] = h % np.uint64(self.bucket)
        buckets = runs[runs >= 0]
        places = self.places(buckets)
        return first + places[places >= 0]

    def _pruned(self, rows, counts, ids, first):
        own = np.zeros(len(rows), bool)
        starts = np.cumsum(counts) - counts
        own[starts[ids >= 0]] = True                # of each known word the first row is its own: no bucket
        places = np.where(own, rows, self.places(rows - first))
        places[~own & (places >= 0)] += first
        here = places >= 0
        totals = np.concatenate([[0], np.cumsum(here)])
        return places[here], totals[starts + counts] - totals[starts]

    def places(self, buckets):
        """The row of each bucket; of a pruned model -1 where it is gone."""
        if self.kept is None:
            return buckets
        if not len(self.kept):
            return np.full(len(buckets), -1)
        at = np.minimum(np.searchsorted(self.kept[:, 0], buckets), len(self.kept) - 1)
        return np.where(self.kept[at, 0] == buckets, self.kept[at, 1], -1)
