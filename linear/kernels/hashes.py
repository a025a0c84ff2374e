"""`linear.hashing` compiled: the same bits, over bytes that stand in a buffer.

Scanning and hashing are one pass: 8 bytes are loaded, the first separator among them is found without a loop, and
what stands before it goes into the hash. A buffer must hold 8 bytes more than its text.
"""
import numpy as np

from linear import hashing
from linear.kernels.compiling import inner
from linear.kernels.bits import load64, trailing_zeros

A, B, C = np.uint64(hashing.A), np.uint64(hashing.B), np.uint64(hashing.C)
SEED = np.uint64(hashing.S)
NAMELESS = np.uint64(hashing.hash64(b""))              # the seed of the field without a name
CONSTANT = np.uint64(hashing.hash64(b"Constant", hashing.hash64(b"")))
VW_CONSTANT = np.uint64(hashing.VW_CONSTANT)
ONES, TOPS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
BLANKS, COLONS, BARS = (np.uint64(mark) * ONES for mark in b"!:|")
EQUALS, STARS, BACKSLASHES, NEWLINES = (np.uint64(mark) * ONES for mark in b"=*\\\n")
HALF, ONE, LOW32 = np.uint64(32), np.uint64(1), np.uint64(0xFFFFFFFF)
SLOT = np.uint64(1 << 63)                              # marks an index of `bits=`, so that index 0 is no empty slot


@inner
def finish(h):
    """The last mix of `hashing`, never 0."""
    h ^= h >> HALF
    h *= B
    h ^= h >> HALF
    return h if h != np.uint64(0) else ONE


@inner
def cross64(a, b):
    """`hashing.cross64`."""
    return finish(a * C + b)


@inner
def zeros(word):
    """Bit 7 of the bytes of `word` that are 0; the lowest one is exact, above it there may be false ones."""
    return (word - ONES) & ~word & TOPS


@inner
def line_marks(word):
    """Bit 7 of the bytes that end a name in a line: control characters, blank, colon, bar."""
    return (word - BLANKS) & ~word & TOPS | zeros(word ^ COLONS) | zeros(word ^ BARS)


@inner
def key_marks(word):
    """Bit 7 of the bytes that mean something in a feature's text: = * backslash newline."""
    return zeros(word ^ EQUALS) | zeros(word ^ STARS) | zeros(word ^ BACKSLASHES) | zeros(word ^ NEWLINES)


def scanner(marks_of):
    """A function that hashes text up to the first byte that is a mark."""
    @inner
    def scan(text, start, seed):
        """(end, hash64 of text[start:end]): `end` is the first byte that is a mark."""
        h, at = seed, start
        while True:
            word = load64(text, at)
            marks = marks_of(word)
            if marks != np.uint64(0):
                break
            h = (h ^ word) * A
            h ^= h >> HALF
            at += 8
        bits = trailing_zeros(marks) & ~np.uint64(7)
        h = (h ^ (word & ((ONE << bits) - ONE))) * A
        at += np.int64(bits >> np.uint64(3))
        return at, finish(h ^ np.uint64(at - start))
    return scan


scan, scan_key = scanner(line_marks), scanner(key_marks)


@inner
def scrambled(k):
    """The mix of four bytes in `murmur3`."""
    k = k * np.uint64(0xCC9E2D51) & LOW32
    return (k << np.uint64(15) | k >> np.uint64(17)) * np.uint64(0x1B873593) & LOW32


@inner
def murmur3(text, start, end, seed):
    """`hashing.murmur3` of text[start:end]."""
    h, at = seed & LOW32, start
    while at + 4 <= end:
        h ^= scrambled(load64(text, at) & LOW32)
        h = ((h << np.uint64(13) | h >> np.uint64(19)) * np.uint64(5) + np.uint64(0xE6546B64)) & LOW32
        at += 4
    tail = load64(text, at) & ((ONE << np.uint64(8 * (end - at))) - ONE)
    h ^= scrambled(tail) ^ np.uint64(end - start)
    h = (h ^ h >> np.uint64(16)) * np.uint64(0x85EBCA6B) & LOW32
    h = (h ^ h >> np.uint64(13)) * np.uint64(0xC2B2AE35) & LOW32
    return h ^ h >> np.uint64(16)


@inner
def vw_hash(text, start, end, seed, all_):
    """`hashing.vw_hash` of text[start:end], which begins and ends with no blank, so that there is nothing to trim."""
    if not all_:
        value, at = np.uint64(0), start
        while at < end and 48 <= text[at] <= 57:
            value = (value * np.uint64(10) + np.uint64(text[at] - 48)) & LOW32
            at += 1
        if at == end:
            return (value + seed) & LOW32
    return murmur3(text, start, end, seed)
