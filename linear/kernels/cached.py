"""Parsed examples as records of 64-bit words: written once from text, read many times without it (`linear.cache`).

    | head, 8 | weight, 8 | base margin, 8 | bytes of the tag, 8 | tag, filled up to 8 | features of each field, 4 | fields, 16 each
    | keys, 8 each | values, 8 each |

The head holds, from its lowest bit: label + 1, 2 bits; whether weight, margin and tag follow (else they are 1, 0 and none), 1;
whether there are values (else all are 1), 1; the number of fields, 9; of features, 23; and in 28 bits how many words back
the record begins whose fields are the same ones, as most often they are; 0 where they stand here. A field is the hash of its
name, its letter, 4 bytes, and the letter in its features' texts. Crosses, limits and the constant come when a record is
read: they are options of a model.
"""
import numpy as np
from numba import njit

import linear.kernels.layout as at
from linear.kernels.bits import load64, load_real, pointer
from linear.kernels.compiling import inner, stamp
from linear.kernels.text import EMPTY, FULL, NEWLINE, SLOW, read_line

LABEL, MORE, VALUES, FIELDS, FEATURES, BACK = 3, 4, 8, 4, 13, 36            # masks and places in the head
MOST_FIELDS, MOST_FEATURES, FARTHEST = (1 << 9) - 1, (1 << 23) - 1, (1 << 28) - 1
LOW32 = np.uint64((1 << 32) - 1)


@inner
def same_fields(out, o, ints, fields):
    """Whether the fields that stand in out[o:] are those of the line."""
    for i in range(fields):
        segment = at.SEGMENT + i * at.SEGMENT_WIDTH
        if np.int64(out[o + 2 * i]) != ints[segment] or np.int64(out[o + 2 * i + 1]) != ints[segment + 1] | ints[segment + 4] << 32:
            return False
    return True


@inner
def all_ones(values, count):
    """Whether all values are 1, so that they need not be written."""
    ones = True
    for j in range(count):
        ones = ones and values[j] == 1.0
    return ones


@inner
def write_sizes(out, o, ints, fields):
    """Write the number of features of each field to out[o:]; returns where that ends."""
    for i in range(0, fields, 2):
        segment = at.SEGMENT + i * at.SEGMENT_WIDTH
        word = ints[segment + 3] - ints[segment + 2]
        if i + 1 < fields:
            word |= ints[segment + at.SEGMENT_WIDTH + 3] - ints[segment + at.SEGMENT_WIDTH + 2] << 32
        out[o] = word
        o += 1
    return o


@inner
def write_fields(out, o, ints, fields):
    """Write the fields, likewise."""
    for segment in range(at.SEGMENT, at.SEGMENT + fields * at.SEGMENT_WIDTH, at.SEGMENT_WIDTH):
        out[o], out[o + 1] = ints[segment], ints[segment + 1] | ints[segment + 4] << 32
        o += 2
    return o


@inner
def write_numbers(out, out_reals, o, keys, values, count, ones):
    """Write the features, likewise."""
    for j in range(count):
        out[o + j] = keys[j]
        if not ones:
            out_reals[o + count + j] = values[j]
    return o + count if ones else o + 2 * count


@inner
def write_features(out, out_reals, o, ints, keys, values, count):
    """Write a record that stands alone, without a label, to out[o:]; returns where it ends."""
    begin, fields, ones = o, ints[at.FIELDS], all_ones(values, count)
    o = write_fields(out, write_sizes(out, o + 1, ints, fields), ints, fields)
    o = write_numbers(out, out_reals, o, keys, values, count, ones)
    out[begin] = 1 | (0 if ones else VALUES) | fields << FIELDS | count << FEATURES
    return o


def _packer(stamp):
    @njit(error_model="numpy", cache=True, nogil=True)
    def pack(texts, start, end, work, outs, numbers, sums):
        """Write the records of the lines of texts[start:end] to `outs`, ints[OUT] words; returns where it stopped, ints[STATUS]
        says why. As in `lines.run`, texts[end - 1] is a newline, and 8 bytes more can be read."""
        stamp
        text, ints, reals, out = pointer(texts), pointer(numbers), pointer(sums), pointer(outs)
        out_reals, room = pointer(outs.view(np.float64)), work.size // 3
        keys, values = pointer(work), pointer(work[room:].view(np.float64))
        ints[at.ROOM], ints[at.STATUS], ints[at.OUT] = room, at.DONE, 0
        p, o, known, known_fields, known_at = start, 0, 0, -1, 0
        while p < end:
            after, count = read_line(text, p, ints, reals, keys, values, 0, 0)
            if count == EMPTY:
                while text[p] != NEWLINE:
                    p += 1
                p += 1
                ints[at.LINES] += 1
                continue
            if count < 0:
                ints[at.STATUS] = at.MORE_ROOM if count == FULL else at.BY_HAND
                return p
            tag, size, fields = ints[at.LINE + 4], ints[at.LINE + 5] - ints[at.LINE + 4], ints[at.FIELDS]
            ones = all_ones(values, count)
            if o + 4 + (size + 7) // 8 + 3 * fields + 2 * count > outs.size:
                ints[at.STATUS] = at.STOPPED
                return p
            begin, more = o, size > 0 or reals[at.LABEL + 1] != 1.0 or reals[at.LABEL + 2] != 0.0
            o += 1
            if more:
                out_reals[o], out_reals[o + 1], out[o + 2] = reals[at.LABEL + 1], reals[at.LABEL + 2], size
                o += 3
                for i in range(0, size, 8):
                    word = load64(text, tag + i)
                    if size - i < 8:
                        word &= (np.uint64(1) << np.uint64(8 * (size - i))) - np.uint64(1)
                    out[o] = word
                    o += 1
            o, back = write_sizes(out, o, ints, fields), begin - known
            if fields != known_fields or back > FARTHEST or not same_fields(out, known_at, ints, fields):
                known, known_fields, known_at, back = begin, fields, o, 0
                o = write_fields(out, o, ints, fields)
            o = write_numbers(out, out_reals, o, keys, values, count, ones)
            out[begin] = (np.int64(reals[at.LABEL]) + 1 | (MORE if more else 0) | (0 if ones else VALUES) | fields << FIELDS
                          | count << FEATURES | back << BACK)
            ints[at.OUT], p = o, after
            ints[at.LINES] += 1
        return p
    return pack


@inner
def fields_at(text, p):
    """Where the fields of the record at p stand, behind the numbers of their features."""
    head = np.int64(load64(text, p))
    p += 8
    if head & MORE:
        p += 24 + (np.int64(load64(text, p + 16)) + 7) // 8 * 8
    return p + ((head >> FIELDS & MOST_FIELDS) + 1) // 2 * 8


@inner
def unpack(text, p, ints, reals, keys, values, first, k):
    """A record as line k, without crosses; returns (its end, the count after its features, or SLOW or FULL)."""
    record, real, head = at.LINE + k * at.LINE_WIDTH, at.LABEL + k * at.LABEL_WIDTH, np.int64(load64(text, p))
    fields, count, back = head >> FIELDS & MOST_FIELDS, head >> FEATURES & MOST_FEATURES, head >> BACK & FARTHEST
    if fields > at.SEGMENTS:
        return p, SLOW
    if first + count > ints[at.ROOM]:
        return p, FULL
    ints[record + 4] = ints[record + 5] = 0
    reals[real], reals[real + 1], reals[real + 2] = np.float64((head & LABEL) - 1), 1.0, 0.0
    if head & MORE:
        reals[real + 1], reals[real + 2] = load_real(text, p + 8), load_real(text, p + 16)
        size = np.int64(load64(text, p + 24))
        if size > 0:
            ints[record + 4], ints[record + 5] = p + 32, p + 32 + size
    names = fields_at(text, p - 8 * back)
    end_of_sizes = fields_at(text, p)
    sizes, p = end_of_sizes - (fields + 1) // 2 * 8, end_of_sizes + (0 if back else 16 * fields)
    ints[at.FIELDS], begin = fields, first
    for i in range(fields):
        segment, word = at.SEGMENT + i * at.SEGMENT_WIDTH, load64(text, names + 16 * i + 8)
        ints[segment], ints[segment + 1] = np.int64(load64(text, names + 16 * i)), np.int64(word & LOW32)
        ints[segment + 2], ints[segment + 4] = begin, np.int64(word >> np.uint64(32))
        begin += np.int64(load64(text, sizes + 4 * i) & LOW32)
        ints[segment + 3] = begin
    for j in range(count):
        keys[first + j] = load64(text, p + 8 * j)
    p += 8 * count
    if head & VALUES:
        for j in range(count):
            values[first + j] = load_real(text, p + 8 * j)
        p += 8 * count
    else:
        for j in range(count):
            values[first + j] = 1.0
    return p, first + count


pack = _packer(stamp())
