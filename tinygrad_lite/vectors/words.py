"""Words and their vectors: look up, embed, find neighbours and analogies. What every kind of file of vectors is read into."""
from collections import Counter

import numpy as np

from .neighbours import Neighbours, whole


def decoded(word):
    """A word as str. Bytes that are not UTF-8 become surrogates; a str that spells bytes so gets its one right spelling.

    >>> decoded(b"na\\xefve"), decoded("\\udcc3\\udca4") == "ä"
    ('na\\udcefve', True)
    """
    if isinstance(word, str):
        return word if word.isascii() else str(encoded(word), "utf-8", "surrogateescape")
    if isinstance(word, bytes):
        return str(word, "utf-8", "surrogateescape")
    raise TypeError(f"word: got {word!r}, expected str or bytes")


def encoded(word):
    return word.encode("utf-8", "surrogateescape") if isinstance(word, str) else word


class WordVectors:
    """Words and their vectors: `vectors` (n, dim) belong to `words`. A word that is none of these raises KeyError.

    A word is a str, or bytes; a question in bytes is answered in bytes. Of a word that is there twice the later one counts.

    >>> v = WordVectors(["one", "two", "too"], np.array([[1, 0], [0, 1], [0.1, 1]], "f"))
    >>> v["two"], v.dim, "three" in v
    (array([0., 1.], dtype=float32), 2, False)
    >>> [(word, round(cosine, 4)) for word, cosine in v.neighbours(b"two", k=1)]
    [(b'too', 0.995)]
    """
    labels = ()

    def __init__(self, words, vectors):
        if len(words) != len(vectors) or vectors.ndim != 2:
            raise ValueError(f"got {len(words)} words and vectors of shape {vectors.shape}, expected ({len(words)}, dim)")
        self.words, self.vectors = list(words), vectors

    _ids = _search = None

    @property
    def dim(self):
        return self.vectors.shape[1]

    def ids(self):
        """{word: its row}, the labels of a model after its words."""
        if self._ids is None:
            self._ids = {word: i for i, word in enumerate([*self.words, *self.labels])}
        return self._ids

    def __len__(self):
        return len(self.words)

    def __contains__(self, word):
        return self.ids().get(decoded(word), len(self.words)) < len(self.words)

    def __getitem__(self, word):
        return self.batch((word,))[0]

    def batch(self, words):
        """The vectors of many words, each str or bytes: (len(words), dim)."""
        ids, words = self.ids(), [decoded(word) for word in words]
        return self._embed(words, np.array([ids.get(word, -1) for word in words], np.int64))

    def _embed(self, words, ids):
        if (ids < 0).any():
            raise KeyError(f"{words[int(np.argmax(ids < 0))]!r} is none of the {len(self.words)} words")
        return np.asarray(self.vectors[ids], np.float32)

    def of(self, words):
        """WordVectors of these words only, known or not."""
        return WordVectors([decoded(word) for word in words], self.batch(words))

    # --- which words are near
    def neighbours(self, word, k=10):
        """The k words with the largest cosine to a word: [(word, cosine)], falling, without the word itself.

        `word` may also be a vector (dim,); or a list of words, which is answered by a list of such lists, several times as
        fast. NaN and infinite numbers raise ValueError, in the question as in any row.

        >>> v = WordVectors(["a", "b", "c"], np.array([[1, 0], [0, 1], [1, 1]], "f"))
        >>> v.neighbours(["a", "b"], k=1) == [v.neighbours("a", k=1), v.neighbours("b", k=1)], v.neighbours([0.0, 2.0], k=1)
        (True, [('b', 1.0)])
        """
        if isinstance(word, (str, bytes)):
            return self._nearest(self.batch((word,)), [[word]], k, isinstance(word, bytes))[0]
        if isinstance(word, (list, tuple)) and all(isinstance(w, (str, bytes)) for w in word):
            return self._nearest(self.batch(word), [[w] for w in word], k, bool(word) and isinstance(word[0], bytes))
        query = np.asarray(word)
        if query.shape != (self.dim,):
            raise TypeError(f"neighbours: got {type(word).__name__} of shape {query.shape}, expected a word, words, "
                            f"or ({self.dim},)")
        return self._nearest(query[None], [[]], k, False)[0]

    def analogies(self, a, b, c, k=10):
        """The k words nearest to a - b + c, of vectors of length 1, without a, b and c: "berlin - germany + france".

        >>> v = WordVectors("man king woman queen".split(), np.array([[1, 0], [1, 1], [-1, 0], [-1, 1]], "f"))
        >>> v.analogies("king", "man", "woman", k=1)[0][0]
        'queen'
        """
        rows = self.batch((a, b, c))
        unit = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + np.float32(1e-8))
        return self._nearest((unit[0] - unit[1] + unit[2])[None], [[a, b, c]], k, isinstance(a, bytes))[0]

    def _nearest(self, queries, without, k, as_bytes):
        k, search = whole("k", k, 1), self.search()
        ids, cosines = search.query(queries, k + self._most * max(map(len, without), default=0))
        result = []
        for row, values, names in zip(ids.tolist(), cosines.tolist(), without):
            names = {decoded(name) for name in names}
            found = [(self.words[i], value) for i, value in zip(row, values) if self.words[i] not in names][:k]
            result.append([(encoded(word), value) for word, value in found] if as_bytes else found)
        return result

    def search(self):
        """The index that answers `neighbours`, made at its first use. A NaN row is nobody's neighbour: its cosine is 0."""
        if self._search is None:
            vectors = self.vectors
            bad = np.isnan(vectors).any(axis=1)
            self._search = Neighbours(np.where(bad[:, None], np.float32(0), vectors) if bad.any() else vectors)
            self._most = max(Counter(self.words).values(), default=0)       # as often a word that is left out may be there
        return self._search
