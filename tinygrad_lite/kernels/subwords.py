"""Words as sums of their pieces: the character n-grams of a word, the hashed row of each, and the mean of those rows.

Bojanowski, Grave, Joulin & Mikolov 2017 (1607.04606), exactly as fastText computes it: on bytes, in float32, in order.
"""
from itertools import accumulate

import numpy as np

from . import kernel, ready
from .scalars import prefetch


NO_MATRIX, NO_MEANS = np.empty((2, 0, 0), np.float32)
NO_MATRIX.flags.writeable = False       # as a mapped file's: the loop for it need not be compiled twice


def fnv1a(text):
    """32-bit FNV-1a of bytes, with fastText's quirk: bytes from 128 on count as negative numbers.

    >>> fnv1a(b"<th"), fnv1a("ä".encode())
    (1619151151, 939155682)
    """
    h = 2166136261
    for byte in text:
        h = (h ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619 & 0xFFFFFFFF
    return h


def ngrams(word, minn, maxn):
    """The n-grams of a word, minn to maxn characters long: by start, then by length; repeats are kept.

    The word comes as bytes, with its edges on it. A character is a byte and the bytes 10xxxxxx behind it, as in UTF-8. A
    lone first or last character, which is an edge, is none.

    >>> ngrams("<ä!>".encode(), 1, 2)
    [b'<\\xc3\\xa4', b'\\xc3\\xa4', b'\\xc3\\xa4!', b'!', b'!>']
    """
    starts = [i for i, byte in enumerate(word) if byte & 0xC0 != 0x80 or i == 0] + [len(word)]
    last = len(starts) - 1
    return [word[starts[i]:starts[i + n]] for i in range(last) for n in range(max(minn, 1), min(maxn, last - i) + 1)
            if n > 1 or 0 < i < last - 1]


def _plain_subwords(text, bounds, ids, minn, maxn, bucket, first, matrix, rows, counts, means):
    filled = 0
    for w, own in enumerate(ids.tolist()):
        found = [own] if own >= 0 else []
        found += [first + fnv1a(piece) % bucket for piece in ngrams(text[bounds[w]:bounds[w + 1]].tobytes(), minn, maxn)]
        rows[filled:filled + len(found)], counts[w] = found, len(found)
        if means.size:
            _plain_means(matrix, rows, counts[w:w + 1], means[w:w + 1])
        else:
            filled += len(found)
    return filled


@kernel(_plain_subwords, lambda *args: ready(args[7], args[10]))
def _subwords(text, bounds, ids, minn, maxn, bucket, first, matrix, rows, counts, means):
    filled, summed, dim = 0, means.size > 0, means.shape[1]     # summed: `rows` holds those of one word at a time
    for w in range(ids.size):
        begin, end, count = bounds[w], bounds[w + 1], 0
        if ids[w] >= 0:
            rows[filled] = ids[w]
            count = 1
        for start in range(begin, end):
            if start > begin and text[start] & 0xC0 == 0x80:
                continue
            h, n, i = 2166136261, 0, start
            while i < end and n < maxn:                         # one more character, and the n-gram so far is the next
                byte = np.int64(text[i])
                h = (h ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619 & 0xFFFFFFFF
                i += 1
                if i < end and text[i] & 0xC0 == 0x80:
                    continue
                n += 1
                if n >= minn and (n > 1 or (start > begin and i < end)):
                    row = first + h % bucket
                    rows[filled + count] = row
                    count += 1
                    if summed:
                        prefetch(matrix, row)
        counts[w] = count
        if not summed:
            filled += count
            continue
        mean = means[w]
        for j in range(dim):
            mean[j] = 0
        for k in range(count):
            row = matrix[rows[k]]
            for j in range(dim):
                mean[j] += row[j]
        if count:
            share = means.dtype.type(1 / count)
            for j in range(dim):
                mean[j] *= share
    return filled


def subword_rows(words, ids, minn, maxn, bucket, first):
    """(rows, counts): of each word its own id, where that is not negative, then first + hash % bucket of its n-grams.

    `words` are bytes with their edges; an empty one has no n-grams. The rows of all words lie one after the other.

    >>> rows, counts = subword_rows([b"<the>", b""], np.array([7, 8]), 3, 6, 1000, 10)
    >>> rows.tolist(), counts.tolist()
    ([7, 161, 736, 970, 990, 944, 290, 8], [7, 1])
    """
    most = len(words) + sum([most_ngrams(len(word), minn, maxn) for word in words])
    rows, counts = np.empty(most, np.int64), np.empty(len(words), np.int64)
    filled = _subwords(*joined(words), ids, minn, maxn if bucket else 0, bucket, first, NO_MATRIX, rows, counts, NO_MEANS)
    return rows[:filled], counts


def subword_means(words, ids, minn, maxn, bucket, first, matrix):
    """mean_rows of what subword_rows gives, without the rows in between: (len(words), dim).

    >>> subword_means([b"<the>", b""], np.array([7, 8]), 3, 6, 1000, 10, np.arange(1010, dtype="f")[:, None])
    array([[585.4286],
           [  8.    ]], dtype=float32)
    """
    rows = np.empty(1 + most_ngrams(max(map(len, words), default=0), minn, maxn), np.int64)
    means, counts = np.empty((len(words), matrix.shape[1]), matrix.dtype), np.empty(len(words), np.int64)
    _subwords(*joined(words), ids, minn, maxn if bucket else 0, bucket, first, matrix, rows, counts, means)
    return means


def subword_mean(word, id, minn, maxn, bucket, first, matrix):
    """subword_means of one word, (dim,), where every microsecond counts: a third less than by way of lists.

    >>> subword_mean(b"<the>", 7, 3, 6, 1000, 10, np.arange(1010, dtype="f")[:, None])
    array([585.4286], dtype=float32)
    """
    numbers = np.array((0, len(word), id, 0))
    rows, mean = np.empty(1 + most_ngrams(len(word), minn, maxn), np.int64), np.empty((1, matrix.shape[1]), matrix.dtype)
    _subwords(np.frombuffer(word, np.uint8), numbers[:2], numbers[2:3], minn, maxn if bucket else 0, bucket, first, matrix,
              rows, numbers[3:], mean)
    return mean[0]


def most_ngrams(size, minn, maxn):
    """At most so many n-grams has a word of `size` bytes: no more lengths than it has letters, whatever maxn says."""
    return size * max(0, min(size, maxn - max(minn, 1) + 1))


def joined(words):
    """The bytes of all words, and where each begins and the last one ends."""
    return np.frombuffer(b"".join(words), np.uint8), np.array([0, *accumulate(map(len, words))])


def _plain_means(matrix, rows, counts, means):
    place = 0
    for mean, count in zip(means, counts.tolist()):
        mean[...] = 0
        for row in rows[place:place + count]:
            mean += matrix[row]
        if count:
            mean *= mean.dtype.type(1 / count)
        place += count


@kernel(_plain_means, lambda matrix, rows, counts, means: ready(matrix, means) and rows.flags.c_contiguous)
def _mean_rows(matrix, rows, counts, means):
    place, dim = 0, means.shape[1]
    for w in range(counts.size):
        mean = means[w]
        for j in range(dim):
            mean[j] = 0
        for k in range(place, place + counts[w]):
            row = matrix[rows[k]]
            for j in range(dim):
                mean[j] += row[j]
        place += counts[w]
        if counts[w] > 0:
            share = means.dtype.type(1 / counts[w])
            for j in range(dim):
                mean[j] *= share


def mean_rows(matrix, rows, counts):
    """The mean of the first counts[0] rows, of the next counts[1], ...: (len(counts), dim). No rows: zeros.

    Added in order, in float32 (a float16 table is widened row by row), then times float32(1 / count): every bit as fastText's.
    `matrix` is an array or whatever gives rows for `matrix[rows]`.

    >>> mean_rows(np.array([[1, 2], [3, 6]], "f"), np.array([0, 1, 1]), np.array([2, 0, 1]))
    array([[2., 4.],
           [0., 0.],
           [3., 6.]], dtype=float32)
    """
    if not isinstance(matrix, np.ndarray) or matrix.dtype == np.float16:
        matrix, rows = matrix[rows].astype(np.float32, copy=False), np.arange(len(rows))
    means = np.empty((len(counts), matrix.shape[1]), matrix.dtype)
    _mean_rows(matrix, rows, counts, means)
    return means
