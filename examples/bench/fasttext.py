"""A fastText model of a gigabyte (200,000 words, 2,000,000 buckets, 100 numbers each): opening, unknown words, neighbours.

The model is made of random numbers, in a temporary folder that goes when the benchmark ends.
"""
import atexit
import functools
import struct
import tempfile
from pathlib import Path

import numpy as np

from .table import row, scaled

DIM, MINN, MAXN = 100, 3, 6


def words(n, seed):
    """n different words of 4 to 12 letters, common letters more often than rare ones."""
    rng, found = np.random.default_rng(seed), {}
    letters, share = np.frombuffer(b"etaoinshrdlucmfwypvbgkjqxz", np.uint8), 1 / np.arange(1, 27)
    while len(found) < n:
        sizes = rng.integers(4, 13, n)
        text = rng.choice(letters, sizes.sum(), p=share / share.sum()).tobytes().decode()
        found.update((text[end - size:end], None) for end, size in zip(np.cumsum(sizes).tolist(), sizes.tolist()))
    return list(found)[:n]


@functools.cache
def folder():
    made = tempfile.TemporaryDirectory(prefix="fasttext-bench-")
    atexit.register(made.cleanup)
    return Path(made.name)


@functools.cache
def model(size):
    """The path of a skip-gram model, written block by block."""
    names, bucket, rng = words(scaled(200_000, size), 0), scaled(2_000_000, size), np.random.default_rng(0)
    path = folder() / f"{size}.bin"
    with open(path, "wb") as file:
        file.write(struct.pack("<14id3iqq", 793712314, 12, DIM, 5, 5, 5, 5, 1, 2, 2, bucket, MINN, MAXN, 100, 1e-4,
                               len(names), len(names), 0, 10 ** 8, -1))
        for i, name in enumerate(names):
            file.write(name.encode() + b"\0" + struct.pack("<qb", len(names) - i, 0))
        for rows in len(names) + bucket, len(names):
            file.write(b"\0" + struct.pack("<qq", rows, DIM))
            for start in range(0, rows, 1 << 16):
                block = rng.random((min(1 << 16, rows - start), DIM), np.float32)
                block -= np.float32(0.5)
                file.write(block.astype("<f4").tobytes())
    return path


@functools.cache
def ours(size):
    from tinygrad_lite.vectors import FastText
    return FastText.open(model(size))


def open_theirs(size):
    import fasttext
    fasttext.FastText.eprint = lambda *args: None           # what it prints about its own history
    return fasttext.load_model(str(model(size)))


theirs = functools.cache(open_theirs)


def turns(items, count):
    """next() gives the next `count` of the items, over and over: not the ones that the caches still hold."""
    parts = [items[i:i + count] for i in range(0, len(items) - count + 1, count)]
    while True:
        yield from parts


def unknown(size, count):
    return turns(words(scaled(100_000, size), 1), min(count, scaled(100_000, size)))


@row(goal=29, torch=False)
def fasttext_open(L, size):
    from tinygrad_lite.vectors import FastText
    path = model(size)
    return lambda: FastText.open(path)


@fasttext_open.peer("fastText", needs="fasttext")
def _(size):
    model(size)
    return lambda: open_theirs(size)


def each(ask, parts):
    def step():
        for word in next(parts):
            ask(word)
    return step


@row(goal=1, torch=False)
def fasttext_unknown_words(L, size):
    return each(ours(size).__getitem__, unknown(size, 1000))


@row(goal=2.5, torch=False)
def fasttext_unknown_batch(L, size):
    fx, parts = ours(size), unknown(size, 1000)
    return lambda: fx.batch(next(parts))


@row(goal=3, torch=False)
def fasttext_neighbours(L, size):
    return each(ours(size).neighbours, unknown(size, 5))


@row(goal=10, torch=False)
def fasttext_neighbours_batch(L, size):
    fx, parts = ours(size), unknown(size, 100)
    return lambda: fx.neighbours(next(parts))


for of_words in fasttext_unknown_words, fasttext_unknown_batch:
    of_words.peer("fastText", needs="fasttext")(lambda size: each(theirs(size).get_word_vector, unknown(size, 1000)))
for of_neighbours, count in (fasttext_neighbours, 5), (fasttext_neighbours_batch, 100):
    of_neighbours.peer("fastText", needs="fasttext")(
        lambda size, count=count: each(theirs(size).get_nearest_neighbors, unknown(size, count)))
