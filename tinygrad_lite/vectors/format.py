"""fastText's binary models (.bin, .ftz), mapped into memory: a header, the dictionary, the input and the output matrix.

A dense file is parsed from both ends: the header says how large the matrices are, and they end the file, so a model of any size
opens in a millisecond, and the dictionary between is read when a word is first asked for. Every other file, a damaged one
too, is walked from the front. No field is believed before it fits the file: what does not raises FormatError.

    header 92 bytes | dictionary: (word, 0, int64 count, int8 type) | prune map | uint8, input matrix | uint8, output matrix
"""
import mmap
import struct
from collections import namedtuple

import numpy as np

from .quantised import ProductQuantiser, QuantisedMatrix

MAGIC = 793712314
HEADER = struct.Struct("<14id3iqq")
SHAPE = struct.Struct("<qq")
SMALLEST = HEADER.size + 2 * (1 + SHAPE.size)
BEHIND = 10                             # bytes of an entry behind its word: a zero, the count, the type
CBOW, SKIPGRAM, SUPERVISED = 1, 2, 3
HIERARCHICAL_SOFTMAX, NEGATIVE_SAMPLING, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4

Header = namedtuple("Header", "magic version dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate t "
                              "size nwords nlabels ntokens pruneidx_size")
OFFSETS = dict(zip(Header._fields, [*range(0, 60, 4), 64, 68, 72, 76, 84]))

# field -> (whether its value is possible, what is); h is the whole header, n the size of the file
POSSIBLE = {
    "version": (lambda h, n: h.version <= 12, "at most 12"),
    "dim": (lambda h, n: 1 <= h.dim <= 2 ** 20, "1 to 2^20"),
    "model": (lambda h, n: 1 <= h.model <= 3, "1 cbow, 2 skipgram or 3 supervised"),
    "loss": (lambda h, n: 1 <= h.loss <= 4, "1 hs, 2 ns, 3 softmax or 4 ova"),
    "minn": (lambda h, n: h.minn >= 0, "at least 0"),
    "maxn": (lambda h, n: h.maxn >= 0, "at least 0"),
    "bucket": (lambda h, n: h.bucket > 0 or h.bucket == 0 >= h.maxn and (h.model != SUPERVISED or h.wordNgrams <= 1),
               "at least 1 (0 where there are no n-grams)"),
    "nwords": (lambda h, n: h.nwords >= 1, "at least 1"),
    "nlabels": (lambda h, n: h.nlabels >= (h.model == SUPERVISED), "at least 0, and a label in a supervised model"),
    "size": (lambda h, n: h.size == h.nwords + h.nlabels and HEADER.size + h.size * BEHIND <= n,
             "nwords + nlabels, and so many that the file has room for"),
    "pruneidx_size": (lambda h, n: h.pruneidx_size * 8 <= n, "at most what the file has room for"),
}


class FormatError(ValueError):
    """A file of vectors is damaged, or not what it was taken for: `path`, `offset` (the byte), and what was expected there.

    >>> raise FormatError("x.bin", 8, "dim is -1, expected 1 to 2^20")
    Traceback (most recent call last):
    tinygrad_lite.vectors.format.FormatError: x.bin: byte 8: dim is -1, expected 1 to 2^20
    """
    def __init__(self, path, offset, what):
        super().__init__(f"{path}: byte {offset}: {what}")
        self.path, self.offset = path, offset

    def __reduce__(self):
        return type(self), (self.path, self.offset, str(self).split(": ", 2)[2])


class File:
    """A mapped file, read piece by piece: no piece reaches beyond its end."""

    def __init__(self, path, at=0):
        with open(path, "rb") as file:
            self.size = file.seek(0, 2)
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        self.path, self.at = path, at

    def error(self, what, at=None):
        return FormatError(self.path, self.at if at is None else at, what)

    def array(self, what, dtype, *shape):
        """The next numbers, as a view of the file."""
        count = 1
        for n in shape:                             # Python's integers: 2^62 rows do not wrap to a small number
            count *= n
        left = self.size - self.at
        if count < 0 or count * np.dtype(dtype).itemsize > left:
            raise self.error(f"{what}: {' x '.join(map(str, shape))} of {np.dtype(dtype)} do not fit the {left} bytes left")
        array = np.frombuffer(self.data, dtype, count, self.at).reshape(shape) if count else np.empty(shape, dtype)
        self.at += array.nbytes
        return array

    def numbers(self, what, layout):
        if self.at + layout.size > self.size:
            raise self.error(f"the file ends within {what}")
        self.at += layout.size
        return layout.unpack_from(self.data, self.at - layout.size)

    def flag(self, what):
        value, = self.numbers(what, struct.Struct("B"))
        if value > 1:
            raise self.error(f"{what} is {value}, expected 0 or 1", self.at - 1)
        return value == 1


class Model:
    """The parts of a model file: `header`, `input` and `output` (arrays, or QuantisedMatrix), `pruned`; words on demand."""

    def __init__(self, path):
        self.path, self.file = path, File(path)
        self.header, self.pruned = read_header(self.file), None
        if not self._from_the_end():
            self._from_the_front()

    rows_out = property(lambda self: self.header.nlabels if self.header.model == SUPERVISED else self.header.nwords)
    rows_in = property(lambda self: self.header.nwords + self.header.bucket)

    def _from_the_end(self):
        """Find both matrices by what the file's size says. False where their headers are not there."""
        h, f = self.header, self.file
        output = f.size - 4 * self.rows_out * h.dim - SHAPE.size
        input = output - 1 - 4 * self.rows_in * h.dim - SHAPE.size
        if h.pruneidx_size >= 0 or input - 1 < HEADER.size + BEHIND * h.size:
            return False
        if f.data[input - 1] != 0 or f.data[output - 1] > 1 or SHAPE.unpack_from(f.data, input) != (self.rows_in, h.dim) \
                or SHAPE.unpack_from(f.data, output) != (self.rows_out, h.dim):
            return False
        self._ends, self._entries_end = None, input - 1
        f.at = input
        self.input = self._dense("input", self.rows_in)
        f.at = output
        self.output = self._dense("output", self.rows_out)
        return True

    def _from_the_front(self):
        """Read part after part: whatever is wrong with the file shows at its place."""
        h, f = self.header, self.file
        self._entries_end, self._ends = None, None
        f.at = int(self.ends[-1]) + BEHIND
        pairs = f.array("the prune map", "<i4", max(h.pruneidx_size, 0), 2)
        quantised = f.flag("the mark of a quantised input matrix")
        if h.pruneidx_size >= 0:
            if not quantised:
                raise self.file.error(f"pruneidx_size is {h.pruneidx_size}, expected -1: only quantised models can be pruned",
                                      OFFSETS["pruneidx_size"])
            if not ((0 <= pairs[:, 1]) & (pairs[:, 1] < len(pairs))).all():
                raise f.error(f"the prune map has a row outside 0..{len(pairs) - 1}", f.at - 1 - pairs.nbytes)
            self.pruned = pairs
        rows_in = self.rows_in if self.pruned is None else h.nwords + len(pairs)
        self.input = self._quantised("input", rows_in) if quantised else self._dense("input", rows_in)
        quantised_too = f.flag("the mark of a quantised output matrix") and quantised
        self.output = self._quantised("output", self.rows_out) if quantised_too else self._dense("output", self.rows_out)
        if f.at != f.size:
            raise f.error(f"{f.size - f.at} bytes behind the output matrix, expected the end of the file")

    def _shape(self, which, rows):
        f, found = self.file, self.file.numbers(f"the shape of the {which} matrix", SHAPE)
        if found != (rows, self.header.dim):
            raise f.error(f"{which} matrix of {found[0]} x {found[1]}, expected {rows} x {self.header.dim}", f.at - SHAPE.size)

    def _dense(self, which, rows):
        self._shape(which, rows)
        return self.file.array(f"the {which} matrix", "<f4", rows, self.header.dim)

    def _quantised(self, which, rows):
        f, dim = self.file, self.header.dim
        norms = f.flag(f"the mark of norms in the {which} matrix")
        self._shape(which, rows)
        at = f.at
        size, = f.numbers("codesize", struct.Struct("<i"))
        parts, left = divmod(size, rows)
        if left or size < 0:
            raise f.error(f"codesize is {size}, expected a multiple of the {rows} rows", at)
        codes = f.array(f"codes of the {which} matrix", "u1", rows, parts)
        centroids = self._quantiser(which, dim, parts)
        if norms:
            norm_codes = f.array(f"codes of the norms of the {which} matrix", "u1", rows)
            norms = self._quantiser(f"norms of the {which}", 1, 1)(norm_codes[:, None])[:, 0]
        return QuantisedMatrix(codes, centroids, norms if norms is not False else None)

    def _quantiser(self, which, dim, parts):
        f, at = self.file, self.file.at
        found = f.numbers(f"the product quantiser of the {which} matrix", struct.Struct("<4i"))
        step = found[2]
        if step < 1 or found != (dim, -(-dim // step), step, dim % step or step) or found[1] != parts:
            raise f.error(f"{which} quantiser has (dim, nsubq, dsub, lastdsub) = {found}, expected dim {dim} in {parts} parts", at)
        return ProductQuantiser(f.array(f"centroids of the {which} matrix", "<f4", dim * 256), dim, step)

    # --- the dictionary
    @property
    def ends(self):
        """(size,) int64: where each entry's word ends. The first use reads the dictionary and checks it to its end."""
        if self._ends is None:
            self._ends = self._scan()
        return self._ends

    def _scan(self):
        h, f = self.header, self.file
        at, limit, find = HEADER.size, f.size if self._entries_end is None else self._entries_end, f.data.find
        ends = np.empty(h.size, np.int64)
        for i in range(h.size):
            end = find(b"\0", at, limit)
            if end < 0 or end + BEHIND > limit:
                raise f.error(f"entry {i} of {h.size} in the dictionary has no end before byte {limit}", at)
            ends[i], at = end, end + BEHIND
        if self._entries_end is not None and at != limit:
            raise f.error(f"the dictionary ends here, expected its end at byte {limit}", at)
        types = np.frombuffer(f.data, np.int8)[ends + BEHIND - 1]
        wrong = np.flatnonzero(types != (np.arange(h.size) >= h.nwords))
        if wrong.size:
            i = wrong[0]
            raise f.error(f"entry {i} has the type {types[i]}, expected {int(i >= h.nwords)}: {h.nwords} words (0) come before "
                          f"{h.nlabels} labels (1)", ends[i] + BEHIND - 1)
        return ends

    def entries(self):
        """The words, then the labels, as str: bytes that are not UTF-8 become surrogates (surrogateescape)."""
        data, ends = self.file.data, self.ends
        starts = np.concatenate([[HEADER.size], ends[:-1] + BEHIND])
        return [str(data[a:b], "utf-8", "surrogateescape") for a, b in zip(starts.tolist(), ends.tolist())]

    def counts(self):
        """(size,) int64: how often each word and label was seen in training."""
        places = self.ends[:, None] + 1 + np.arange(8)
        return np.frombuffer(self.file.data, np.uint8)[places].view("<i8")[:, 0]


def read_header(file):
    start = bytes(file.data[:4])
    if start != MAGIC.to_bytes(4, "little"):
        raise file.error(f"starts with {start!r}, expected {MAGIC.to_bytes(4, 'little')!r}: not a fastText model "
                         "(tinygrad_lite.vectors.load reads other kinds)", 0)
    if file.size < SMALLEST:
        raise file.error(f"the file ends here, too short for a fastText model of at least {SMALLEST} bytes", file.size)
    header = Header(*file.numbers("the header", HEADER))
    if header.version == 11 and header.model == SUPERVISED:
        header = header._replace(maxn=0)            # those models were made without subwords, whatever the field says
    for field, (possible, expected) in POSSIBLE.items():
        if not possible(header, file.size):
            raise file.error(f"{field} is {getattr(header, field)}, expected {expected}", OFFSETS[field])
    return header
