"""A model as two files that open alone: NAME.words.safetensors and NAME.ngrams.safetensors, memory-mapped when read.

What a fastText model sums at every question stands summed in the first; the second has the rows of the n-grams, all of them
or those that a vocabulary uses. float16 halves both. Any program that reads safetensors can read them.
"""
import os

import numpy as np

from ..nn.safetensors import load_safetensors, save_safetensors
from .format import FormatError
from .subwords import Subwords
from .words import WordVectors, decoded, encoded

WORDS, NGRAMS = ".words.safetensors", ".ngrams.safetensors"


class SubwordVectors(WordVectors):
    """Words with vectors of their own, `vectors` (n, dim), and n-grams for all other words, `matrix` (rows, dim).

    An unknown word gets the mean of its n-grams' rows, or zero without any.

    >>> v = SubwordVectors(["a"], np.ones((1, 1), "f"), Subwords(2, 2, 2), np.array([[1], [2]], "f"))
    >>> v["a"], v["ab"], v.ngrams("ab"), v[""]
    (array([1.], dtype=float32), array([1.3333334], dtype=float32), ['<a', 'ab', 'b>'], array([2.], dtype=float32))
    """

    first = 0                           # the row where those of the n-grams begin

    def __init__(self, words, vectors, subword, matrix):
        super().__init__(words, vectors)
        rows = subword.bucket if subword.kept is None else len(subword.kept)
        if matrix.shape != (rows, self.dim):
            raise ValueError(f"n-grams of shape {matrix.shape}, expected ({rows}, {self.dim}) as the buckets and the vectors")
        self.subword, self.matrix = subword, matrix

    def ngrams(self, word):
        return self.subword.ngrams(word)

    def _embed(self, words, ids):
        result = np.empty((len(words), self.dim), np.float32)
        known = ids >= 0
        result[known] = self.vectors[ids[known]]
        result[~known] = self.subword.means([word for word, own in zip(words, known) if not own], 0, self.matrix)
        return result


def save_bundle(v, name, dtype="float32", words=None):
    """Write a FastText model or SubwordVectors as two files NAME.words.safetensors, NAME.ngrams.safetensors; their paths.

    `words`: only these, and only the n-grams that they use (others then count as absent, as in fastText's pruned models).
    dtype="float16" rounds to 11 bits: a number of 65520 or more raises ValueError.
    """
    scheme, kept = v.subword, v.subword.kept
    if words is None:
        words, vectors, matrix = v.words, v.vectors, v.matrix[v.first:]
    else:
        words = list(dict.fromkeys(map(decoded, words)))
        buckets = scheme.buckets(words)
        vectors, matrix = v.batch(words), v.matrix[v.first + scheme.places(buckets)]
        kept = np.stack([buckets, np.arange(len(buckets))], axis=1)
    parts = {name + WORDS: {"vectors": stored(vectors, dtype), "words": _blob(words)},
             name + NGRAMS: {"ngrams": stored(matrix, dtype), "scheme": np.array([scheme.minn, scheme.maxn, scheme.bucket]),
                             "edges": np.frombuffer(scheme.edges.encode(), np.uint8)}}
    if kept is not None:
        parts[name + NGRAMS]["kept"] = kept.astype(np.int32)
    for path, arrays in parts.items():
        save_safetensors(path, arrays)
    return list(parts)


def stored(x, dtype):
    """x as float32 or float16, refusing what float16 would turn into infinity."""
    if np.dtype(dtype) not in (np.float16, np.float32):
        raise ValueError(f"dtype: got {dtype}, expected float32 or float16")
    if np.dtype(dtype) == np.float16 and (np.isfinite(x) & (np.abs(x) >= 65520)).any():
        raise ValueError(f"the largest number is {np.abs(x[np.isfinite(x)]).max():g}, float16 ends at 65504: keep float32")
    return x.astype(dtype, copy=False)


def _blob(words):
    return np.frombuffer(b"\0".join(encoded(word) for word in words), np.uint8)


def open_bundle(path):
    """The SubwordVectors of a bundle, by the path of either file or their common NAME. A damaged file raises FormatError."""
    name = str(path).removesuffix(WORDS).removesuffix(NGRAMS)
    words, ngrams = _read(name + WORDS, "vectors", "words"), _read(name + NGRAMS, "ngrams", "scheme", "edges")
    text = bytes(words["words"]).decode("utf-8", "surrogateescape").split("\0") if len(words["vectors"]) else []
    try:
        minn, maxn, bucket = ngrams["scheme"].tolist()
        kept, rows = ngrams.get("kept"), len(ngrams["ngrams"])
        if kept is not None and (kept.shape != (rows, 2) or (kept < 0).any() or (kept >= [bucket, max(rows, 1)]).any()):
            raise ValueError(f"kept n-grams of shape {kept.shape}, expected ({rows}, 2): buckets below {bucket}, rows below {rows}")
        subword = Subwords(minn, maxn, bucket, bytes(ngrams["edges"]).decode("ascii"), kept)
        return SubwordVectors(text, words["vectors"], subword, ngrams["ngrams"])
    except (ValueError, TypeError) as error:
        raise FormatError(name, 0, str(error)) from None


def _read(path, *names):
    try:
        arrays = load_safetensors(path, mapped=True)
    except ValueError as error:
        raise FormatError(path, 0, str(error).removeprefix(f"{path}: ")) from None
    missing = [name for name in names if name not in arrays]
    if missing or arrays[names[0]].ndim != 2 or arrays[names[0]].dtype not in (np.float16, np.float32):
        raise FormatError(path, 0, f"holds {', '.join(f'{k}: {a.dtype}{list(a.shape)}' for k, a in arrays.items())}, expected "
                                   f"{' and '.join(names)}, {names[0]} as a matrix of float32 or float16")
    return arrays


def load(path):
    """Vectors from a file of any kind that is known here, by what it holds: a fastText model, a bundle, .vec text, word2vec binary.

    >>> load("/dev/null")
    Traceback (most recent call last):
    tinygrad_lite.vectors.format.FormatError: /dev/null: byte 0: the file ends after 0 words, expected some
    """
    from .fasttext import FastText
    from .format import MAGIC
    from .text_formats import read_vectors
    path = os.fspath(path)
    if path.endswith((WORDS, NGRAMS)) or not os.path.exists(path) and os.path.exists(path + WORDS):
        return open_bundle(path)
    with open(path, "rb") as file:
        fasttext = file.read(4) == MAGIC.to_bytes(4, "little")
    return FastText.open(path) if fasttext else read_vectors(path)
