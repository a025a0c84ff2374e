"""fastText models, opened without fastText: vectors of any word, of sentences, neighbours, predictions.

Bojanowski et al. 2017 (1607.04606); Joulin et al. 2016 (1607.01759) for the supervised ones. Values are the real program's:
those of words, known or not, to the bit.
"""
import re

import numpy as np

from ..kernels.subwords import mean_rows
from .format import HIERARCHICAL_SOFTMAX, SUPERVISED, Model
from .predict import probabilities, tree_probabilities
from .subwords import END, Subwords
from .words import WordVectors, decoded, encoded

BLOCK = 4096                                        # words whose rows are gathered at a time


class FastText(WordVectors):
    """A fastText model (.bin, .ftz), as FastText.open(path) gives it: `words`, `labels`, `dim`, fx[word], and the rest.

    A word's vector is the mean of its own row and the rows of its n-grams, of an unknown word that of the n-grams; without
    any, zero. `matrix` (rows, dim) holds them all: words first, then buckets; it is a view of the file.
    """

    def __init__(self, model, edges="<>"):
        self.model, self.header, self.matrix, self.output = model, model.header, model.input, model.output
        h = self.header
        self.subword = Subwords(h.minn, h.maxn, h.bucket, edges, model.pruned)
        self._words = self._labels = self._saved = None

    @classmethod
    def open(cls, path, check=False, words=None, edges="<>"):
        """Map a model file into memory: a millisecond, whatever its size. A damaged file raises FormatError.

        The dictionary is read and checked when a word is first looked up, or at once with check=True. `words`: a file that
        `save_words` wrote, so that nothing is summed again. `edges`: see Subwords.

        >>> import os, tempfile
        >>> from tinygrad_lite.vectors import train
        >>> path = os.path.join(tempfile.mkdtemp(), "model.bin")
        >>> _ = train(["tea and rum", "rum and beer"] * 9, path, dim=2, min_count=1, minn=2, maxn=3, bucket=50)
        >>> fx = FastText.open(path)
        >>> fx.words, fx.subwords("rhum")[0], fx["rhum"].shape
        (['and', 'rum', 'tea', 'beer'], ['<r', '<rh', 'rh', 'rhu', 'hu', 'hum', 'um', 'um>', 'm>'], (2,))
        """
        fx = cls(Model(path), edges)
        if check:
            fx.words
        if words is not None:
            fx._saved = fx._opened(words)
        return fx

    dim = property(lambda self: self.header.dim)
    first = property(lambda self: self.header.nwords, doc="The row where those of the n-grams begin.")

    @property
    def words(self):
        """The vocabulary, most frequent first; bytes that are not UTF-8 stand as surrogates (surrogateescape)."""
        if self._words is None:
            entries = self.model.entries()
            self._labels, self._words = entries[self.header.nwords:], entries[:self.header.nwords]
        return self._words

    @property
    def labels(self):
        """The classes of a supervised model, with their prefix."""
        return self.words and self._labels

    # --- vectors of words
    def __getitem__(self, word):
        word = decoded(word)                        # what batch does, for one word in a third less time
        id = self.ids().get(word, -1)
        self._check_row(word, id)
        return self.subword.mean(word, self.first, self.matrix, id)

    def _check_row(self, word, id):
        if id >= len(self.matrix):
            raise KeyError(f"{word!r} is a label of this model, which has no row for it")

    def _embed(self, words, ids):
        if ids.size:
            self._check_row(words[ids.argmax()], ids.max())
        blocks = [slice(i, i + BLOCK) for i in range(0, max(len(words), 1), BLOCK)]
        return np.concatenate([self.subword.means(words[block], self.first, self.matrix, ids[block]) for block in blocks])

    @property
    def vectors(self):
        """(n, dim): the vectors of `words`, each the mean of its rows. Computed anew, unless they were saved before."""
        return self.batch(self.words) if self._saved is None else self._saved

    def save_words(self, path):
        """Write `vectors` as a .npy file, for FastText.open(path_of_model, words=path)."""
        with open(path, "wb") as file:
            np.save(file, self.vectors)

    def _opened(self, path):
        saved = np.load(path, mmap_mode="r").view(np.ndarray)
        some = np.unique(np.linspace(0, self.header.nwords - 1, 64).astype(int)).tolist()
        if saved.shape != (self.header.nwords, self.dim) or saved.dtype != np.float32 or not np.array_equal(
                saved[some], self.batch([self.words[i] for i in some]), equal_nan=True):
            raise ValueError(f"{path} holds {saved.dtype}{list(saved.shape)}, not the vectors of this model's {self.header.nwords} "
                             "words: write it again with save_words")
        return saved

    def subwords(self, word):
        """(n-grams, rows) of a word, as str or bytes as it came; a known word and its own row stand first.

        `matrix[rows]` are their vectors, fx[word] is the mean of these.
        """
        text = decoded(word)
        known = self.ids().get(text, -1)
        self._check_row(text, known)
        rows, _ = self.subword.rows([text], self.first, np.array([known]))
        pieces = self.subword.ngrams(word)
        return ([word] if known >= 0 else []) + pieces, rows

    # --- sentences
    def sentence(self, text):
        """The vector of the first line of a text (dim,).

        Unsupervised models: the mean of the words' vectors, each of length 1 (words of length 0 left out). Supervised ones:
        the mean of the rows of all words, n-grams and word n-grams, from which `predict` starts.
        """
        if self.header.model == SUPERVISED:
            rows = self._line(text)
            return mean_rows(self.matrix, rows, np.array([len(rows)]))[0]
        words = [word for word in re.split(rb"[ \t\v\f\r]+", encoded(text).split(b"\n")[0]) if word]
        vectors = self.batch(words)
        norms = np.sqrt((vectors * vectors).sum(axis=1))
        used = norms > 0
        unit = vectors[used] / norms[used, None]
        return unit.sum(axis=0) / np.float32(max(len(unit), 1))

    def _line(self, text):
        """The rows of a line of a supervised model: of its words, then of their word n-grams."""
        h, ids = self.header, self.ids()
        words, known = [], []
        for token in [*re.split(rb"[ \t\v\f\r\0]+", encoded(text).split(b"\n")[0]), END.encode()]:
            word = decoded(token)
            id = ids.get(word, -1)
            if token and (id < h.nwords if id >= 0 else not word.startswith("__label__")):
                words.append(word)
                known.append(id)
            if word == END:
                break
        rows = self.subword.rows(words, self.first, np.array(known, np.int64))[0]
        if h.wordNgrams > 1:
            rows = np.concatenate([rows, self.subword.word_ngrams([encoded(word) for word in words], h.wordNgrams, self.first)])
        return rows

    # --- supervised models
    def predict(self, text, k=1, threshold=0.0):
        """The k most probable labels of a line: [(label, probability)], falling; k=-1 gives all above the threshold.

        Probabilities are fastText's own, which has 1e-5 added to each. A text without a known piece gets no label.
        """
        h = self.header
        if h.model != SUPERVISED:
            raise ValueError(f"{self.model.path} is no supervised model: it has no labels to predict")
        rows = self._line(text)
        if not len(rows):
            return []
        hidden = mean_rows(self.matrix, rows, np.array([len(rows)]))[0]
        if h.loss == HIERARCHICAL_SOFTMAX:
            raw, shown = tree_probabilities(self.output, hidden, self.model.counts()[h.nwords:])
        else:
            raw, shown = probabilities(self.output, hidden, h.loss)
        if np.isnan(raw).any():
            raise ValueError(f"the scores of {text!r} are NaN: rows of the model are not finite")
        order = [i for i in np.argsort(-shown, kind="stable").tolist() if raw[i] >= threshold]
        as_name = encoded if isinstance(text, bytes) else str
        return [(as_name(self.labels[i]), float(shown[i])) for i in (order if k == -1 else order[:k])]
