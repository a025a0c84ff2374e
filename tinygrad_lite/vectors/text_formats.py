"""Vectors in word2vec's two formats: text (.vec, also GloVe's without its first line) and binary. Read and written.

    text      "n dim\\n", then for each word "word x1 x2 ... \\n"
    binary    "n dim\\n", then for each word "word " and dim float32, with or without "\\n" behind them
"""
import contextlib
import os
import re
from array import array

import numpy as np

from .format import File, FormatError
from .words import WordVectors, decoded, encoded

CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")        # bytes that no text has, and the float32 of hardly any word are without
LONGEST = 2 ** 16                                   # bytes of a word


def read_vectors(path):
    """The WordVectors of a .vec text or a word2vec binary file; which of them it is, its first vector shows.

    A file that says n words and holds others, a line of another length, or what is no number raises FormatError.
    """
    file = File(path)
    first = bytes(file.data[:200]).split(b"\n")[0]
    head = re.fullmatch(rb"(\d{1,18}) (\d{1,18})\s*", first)
    n, dim = map(int, head.groups()) if head else (None, None)
    start = len(first) + 1 if head else 0
    if head and (dim < 1 or n * (dim + 1) > file.size):
        raise FormatError(path, 0, f"{n} words of dim {dim} do not fit the {file.size} bytes of the file")
    if head and CONTROL.search(bytes(file.data[start:start + LONGEST + 4 * dim])):
        return _binary(file, start, n, dim)
    return _text(path, start, n, dim)


def _text(path, start, n, dim):
    words, numbers, at = [], array("f"), start
    with open(path, "rb") as file:
        file.seek(start)
        for line in file:
            fields = line.rstrip().rsplit(b" ", -1 if dim is None else dim)
            dim = len(fields) - 1 if dim is None else dim
            try:
                values = list(map(float, fields[1:]))
            except ValueError:
                values = ()
            if dim < 1:
                raise FormatError(path, at, f"the first line is {line[:40]!r}, expected a word and numbers")
            if len(values) != dim:
                raise FormatError(path, at, f"word {len(words)}: the line ends with {line[-40:]!r}, expected {dim} numbers")
            words.append(decoded(fields[0]))
            numbers.extend(values)
            at += len(line)
    if not words or n not in (None, len(words)):
        raise FormatError(path, at, f"the file ends after {len(words)} words, expected {n or 'some'}")
    return WordVectors(words, np.frombuffer(numbers, np.float32).reshape(len(words), dim))


def _binary(file, at, n, dim):
    words, vectors = [], np.empty((n, dim), np.float32)
    for i in range(n):
        while file.data[at:at + 1] == b"\n":
            at += 1
        end = file.data.find(b" ", at, at + LONGEST)
        if end < 0 or end + 1 + 4 * dim > file.size:
            raise FormatError(file.path, at, f"word {i} of {n} has no end, or less than {dim} numbers behind it")
        words.append(decoded(file.data[at:end]))
        vectors[i] = np.frombuffer(file.data, "<f4", dim, end + 1)
        at = end + 1 + 4 * dim
    if file.data[at:].strip(b"\n"):
        raise FormatError(file.path, at, f"the file goes on behind its {n} words")
    return WordVectors(words, vectors)


def save_text(v, path):
    """Write WordVectors as .vec text. Numbers have the nine digits that give every float32 back.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "two.vec")
    >>> save_text(WordVectors(["a", "b"], np.array([[0.1, 2], [-3, 1e-7]], "f")), path)
    >>> with open(path) as file:
    ...     print(file.read(), read_vectors(path)["b"])
    2 2
    a 0.100000001 2
    b -3 1.00000001e-07
     [-3.e+00  1.e-07]
    """
    with _head(v, path) as file:
        for word, row in zip(v.words, v.vectors.tolist()):
            file.write(b"%s %s\n" % (_spaceless(word), " ".join(["%.9g" % x for x in row]).encode()))


def save_word2vec(v, path):
    """Write WordVectors in word2vec's binary format.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "two.bin")
    >>> save_word2vec(WordVectors(["a", "ä"], np.eye(2, dtype="f")), path)
    >>> os.path.getsize(path), read_vectors(path)["ä"]
    (27, array([0., 1.], dtype=float32))
    """
    with _head(v, path) as file:
        for word, row in zip(v.words, v.vectors.astype("<f4")):
            file.write(_spaceless(word) + b" " + row.tobytes() + b"\n")


@contextlib.contextmanager
def _head(v, path):
    """A file with the first line written; it takes its name when all is written, and leaves nothing when not."""
    temporary = f"{path}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as file:
            file.write(b"%d %d\n" % v.vectors.shape)
            yield file
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _spaceless(word):
    if not word or re.search(r"[ \n]", word):
        raise ValueError(f"the word {word!r} has a space, a line's end or nothing in it: these formats cannot tell where it ends")
    return encoded(word)
