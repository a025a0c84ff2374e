"""Train word vectors from a text, as fastText does, into a file that fastText and FastText.open read."""
import math
import os
import re
from collections import Counter

import numpy as np

from ..kernels.skipgram import walk
from ..progress import progress
from .fasttext import FastText
from .format import CBOW, HEADER, MAGIC, NEGATIVE_SAMPLING, SHAPE, SKIPGRAM
from .neighbours import whole
from .subwords import END, Subwords
from .words import decoded, encoded

MODELS = {"cbow": CBOW, "skipgram": SKIPGRAM}
NOISE = 2 ** 20         # entries of the table that noise words are drawn from
STEP = 10_000           # words of the text between two learning rates


def train(text, path, model="skipgram", dim=100, window=5, epochs=5, lr=0.05, min_count=5, negative=5, minn=3, maxn=6,
          bucket=200_000, sample=1e-4, seed=0, show=False):
    """Train vectors of the words and n-grams of a text, write them to `path` (.bin) and return FastText.open(path).

    text: a path, or an iterable of lines (an open file, gzip.open(..)), str or bytes; words stand between spaces, and a window
    does not reach beyond its line. model: "skipgram", a word predicts its neighbours, or "cbow", they predict it. Word w of
    share f(w) in the text is kept with probability sqrt(sample/f) + sample/f; noise words are drawn in proportion to
    sqrt(f). One thread; the same seed gives the same file. maxn=0: words without n-grams. fastText's own default for
    bucket is 2,000,000. Mikolov et al. 2013 (1310.4546); Bojanowski et al. 2017 (1607.04606).

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "drinks.bin")
    >>> lines = ["hot tea please", "hot rum please", "cold beer now", "cold cider now"] * 200
    >>> fx = train(lines, path, dim=8, window=2, min_count=1, maxn=0, sample=1, epochs=20)
    >>> [fx.neighbours(word, k=1)[0][0] for word in ("tea", "cider")]
    ['rum', 'beer']
    """
    if model not in MODELS:
        raise ValueError(f"model: got {model!r}, expected 'skipgram' or 'cbow'")
    for name, value in ("dim", dim), ("window", window), ("epochs", epochs), ("min_count", min_count):
        whole(name, value, 1)
    for name, value in ("negative", negative), ("minn", minn), ("maxn", maxn), ("bucket", bucket):
        whole(name, value, 0)
    for name, value in ("lr", lr), ("sample", sample):
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: got {value!r}, expected a number above 0")
    bucket = bucket if maxn else 0
    subwords = Subwords(minn, maxn, bucket)
    words, counts, tokens, lines, size = vocabulary(text, min_count)
    rng = np.random.default_rng(seed)
    table = rng.random((len(words) + bucket, dim), np.float32)
    table -= np.float32(0.5)
    table *= np.float32(2 / dim)
    out = np.zeros((len(words), dim), np.float32)
    pieces, sizes = subwords.rows(words, len(words), np.arange(len(words)))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    inputs = starts, pieces, repetition(starts, pieces)
    noise = np.repeat(np.arange(len(words)), np.diff(np.round(NOISE * shares(np.sqrt(counts))).astype(np.int64)))
    often = counts / size / sample
    kept = np.minimum(np.sqrt(1 / often) + 1 / often, 1)
    done, total, mean = 0, epochs * len(tokens), None
    parts = [part for _ in range(epochs) for part in chapters(lines, max(100, min(STEP, total // 100)))]
    bar = progress(parts, f"training {model}", note=lambda: f"loss {mean:.3f}") if show else parts
    for a, b in bar:
        here = a + np.flatnonzero(rng.random(b - a) < kept[tokens[a:b]])
        rate = lr * (1 - done / total)
        loss = study(tokens[here], lines[here], window, negative, noise, inputs, model == "cbow", rate, table, out, rng)
        mean = loss if mean is None else 0.95 * mean + 0.05 * loss
        done += b - a
    args = dict(dim=dim, ws=window, epoch=epochs, minCount=min_count, neg=negative, model=MODELS[model], bucket=bucket, minn=minn,
                maxn=maxn, t=sample, ntokens=size)
    write_model(path, words, counts, table, out, args)
    return FastText.open(path)


def study(words, lines, window, negative, noise, inputs, cbow, rate, table, out, rng):
    """Walk along a piece of text; returns the mean loss of its pairs."""
    n = len(words)
    at, reach = np.arange(n), rng.integers(1, window + 1, n)
    begin = np.maximum(at - reach, np.searchsorted(lines, lines, "left"))
    end = np.minimum(at + reach + 1, np.searchsorted(lines, lines, "right"))
    pairs = n if cbow else int((end - begin - 1).sum())
    drawn = noise[rng.integers(0, len(noise), (pairs, negative), np.int32)]
    return walk(words, begin, end, drawn, *inputs, cbow, rate, table, out) / max(pairs, 1)


def vocabulary(text, min_count):
    """(words, counts, tokens, lines, size): the words that occur min_count times, most frequent first; the text as their numbers.

    tokens, lines (n,): each place's word and line, without the rare words; size: how many there were with them. A line's
    end is a word too, as in fastText.
    """
    if isinstance(text, (str, os.PathLike)):
        with open(text, "rb") as file:
            return vocabulary(file, min_count)
    found, lines = [], []
    for line in text:
        if not isinstance(line, (str, bytes)):
            raise TypeError(f"text: got a line {line!r}, expected str or bytes")
        line = encoded(line)
        tokens = [word for word in re.split(rb"[ \n\r\t\v\f\0]+", line) if word] + [END.encode()] * line.endswith(b"\n")
        found += tokens
        lines.append(len(tokens))
    counted = Counter(found)
    words = sorted((word for word in counted if counted[word] >= min_count), key=lambda word: -counted[word])
    if len(words) < 2:
        raise ValueError(f"of {len(counted)} different words {len(words)} occur at least {min_count} times (min_count), "
                         "expected 2 or more")
    ids = dict(zip(words, range(len(words))))
    tokens = np.fromiter((ids.get(word, -1) for word in found), np.int64, len(found))
    lines = np.repeat(np.arange(len(lines)), lines)
    known = tokens >= 0
    return [decoded(word) for word in words], np.array([counted[word] for word in words]), tokens[known], lines[known], len(found)


def shares(weights):
    """0 and the running shares of the weights in their sum, up to 1."""
    return np.concatenate([[0], np.cumsum(weights) / weights.sum()])


def repetition(starts, pieces):
    """For each word: by how much the mean of its rows moves when every row moves by 1, as often as it is among them."""
    owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    (owner, _), times = np.unique([owners, pieces], axis=1, return_counts=True)
    return np.bincount(owner, times.astype(float) ** 2, minlength=len(starts) - 1) / np.maximum(np.diff(starts), 1)


def chapters(lines, size):
    """(begin, end) of pieces of about `size` words that end where a line ends."""
    a = 0
    while a < len(lines):
        b = int(np.searchsorted(lines, lines[min(a + size, len(lines)) - 1], "right"))
        yield a, b
        a = b


def write_model(path, words, counts, table, out, args):
    """Write a model in fastText's format (version 12). The file is there whole or not at all."""
    values = dict(lrUpdateRate=100, wordNgrams=1, loss=NEGATIVE_SAMPLING) | args
    names = "dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate".split()
    header = HEADER.pack(MAGIC, 12, *map(values.get, names), values["t"], len(words), len(words), 0, values["ntokens"], -1)
    unfinished = f"{os.fspath(path)}.part"
    with open(unfinished, "wb") as file:
        file.write(header)
        file.write(b"".join(encoded(word) + b"\0" + int(count).to_bytes(8, "little") + b"\0" for word, count in zip(words, counts)))
        for matrix in (table, out):
            file.write(b"\0" + SHAPE.pack(*matrix.shape))
            file.write(np.ascontiguousarray(matrix, "<f4"))
    os.replace(unfinished, path)
