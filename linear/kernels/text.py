"""Bytes to keys and values: a line of VW text or of svmlight (`linear.formats.vw`, `.svmlight` are the definitions), or one
example that Python has parsed.

What is rare takes the slow way: at an error, a feature without a name, text for a value, a number that float64 arithmetic
cannot round for sure, a control character in a name, the loop stops and Python reads that line, so that there
is one reader of odd lines and one wording of errors.
"""
import numpy as np

import linear.kernels.layout as at
from linear import hashing
from linear.kernels.bits import load_real
from linear.kernels.compiling import inner
from linear.kernels.hashes import CONSTANT, LOW32, NAMELESS, SEED, SLOT, VW_CONSTANT, scan, scan_key, vw_hash
from linear.kernels.numbers import number

EMPTY, SLOW, FULL = -1, -2, -3            # instead of a count: nothing on the line; Python's turn; no room for features
BLANK, TAB, NEWLINE, RETURN, COLON, BAR, APOSTROPHE, EQUAL, COMMENT = b" \t\n\r:|'=#"
INDICES, INDICES_VW, LETTER = np.uint64(hashing.hash64(b"f")), np.uint64(hashing.vw_hash(b"f")), ord("f")    # svmlight's field
LARGEST, SMALLEST = 1e50, 1e-50           # of a value as it is written, see `linear.features`


@inner
def ends(text, p):
    """Whether a name or number may end here: at a blank, tab, bar or the end of the line."""
    c = text[p]
    return c == BLANK or c == BAR or c == NEWLINE or c == TAB or c == RETURN and text[p + 1] == NEWLINE


@inner
def before_the_bar(text, p, ints, reals, k):
    """Label, weight, base margin and tag of line k; returns where the first bar is, or EMPTY or SLOW."""
    record, real = at.LINE + k * at.LINE_WIDTH, at.LABEL + k * at.LABEL_WIDTH
    ints[record + 4] = ints[record + 5] = 0
    reals[real], reals[real + 1], reals[real + 2] = 0.0, 1.0, 0.0
    words, tagged = 0, False
    while True:
        c = text[p]
        if c == BLANK:
            p += 1
            continue
        if c == BAR:
            return p
        if c == NEWLINE or c == RETURN and text[p + 1] == NEWLINE:
            return EMPTY if words == 0 and not tagged else SLOW
        if c < BLANK or tagged:
            return SLOW
        start = p
        while text[p] > BLANK and text[p] != BAR:
            p += 1
        if text[p] != BLANK and text[p] != BAR:
            return SLOW
        if text[p] == BAR or c == APOSTROPHE:
            tagged = True
            ints[record + 4], ints[record + 5] = start + (c == APOSTROPHE), p
        else:
            end, value = number(text, start)
            if end != p or words == 3 or not abs(value) <= LARGEST:
                return SLOW
            if words == 0 and abs(value) != 1.0 or words == 1 and value < 0.0:
                return SLOW
            reals[real + words] = value
            words += 1


@inner
def namespaces(text, p, ints, keys, values, count):
    """Features of all namespaces from the bar at p on; returns (end of the line, number of features or SLOW or FULL)."""
    segments, bits, all_ = 0, ints[at.BITS], ints[at.HASH_ALL]
    mask, room = (np.uint64(1) << np.uint64(bits)) - np.uint64(1), ints[at.ROOM]
    while text[p] == BAR:
        p += 1
        field, letter, scale, seed, known = NAMELESS, np.int64(BLANK), 1.0, np.uint64(0), p
        if not ends(text, p):
            letter = np.int64(text[p])
            p, field = scan(text, known, SEED)
            if p == known or letter > 127 and ints[at.CROSSES] > 0:
                return p, SLOW
            if bits:
                seed = vw_hash(text, known, p, np.uint64(0), all_)
            if text[p] == COLON:
                p, scale = number(text, p + 1)
                if p < 0:
                    return p, SLOW
            if not ends(text, p) or not abs(scale) <= LARGEST or segments == at.SEGMENTS:
                return p, SLOW
        elif segments == at.SEGMENTS:
            return p, SLOW
        segment = at.SEGMENT + segments * at.SEGMENT_WIDTH
        ints[segment], ints[segment + 1], ints[segment + 2], ints[segment + 4] = np.int64(field), letter, count, letter
        while text[p] != BAR:
            c = text[p]
            if c == BLANK or c == TAB:
                p += 1
                continue
            if c == NEWLINE or c == RETURN and text[p + 1] == NEWLINE:
                break
            start = p
            p, key = scan(text, start, field)
            if p == start:
                return p, SLOW
            if bits:
                key = (VW_CONSTANT if key == CONSTANT else vw_hash(text, start, p, seed, all_)) & mask | SLOT
            value = scale
            if text[p] == COLON:
                p, value = number(text, p + 1)
                if p < 0:
                    return p, SLOW
                value *= scale
            if not ends(text, p) or not abs(value) <= LARGEST:
                return p, SLOW
            if abs(value) >= SMALLEST:
                if count == room:
                    return p, FULL
                keys[count], values[count] = key, value
                count += 1
        ints[segment + 3] = count
        segments += 1
    ints[at.FIELDS] = segments
    return p + 1 + (text[p] == RETURN), count


@inner
def svmlight(text, p, ints, reals, keys, values, count, k):
    """Line k of svmlight: its label, and its features in one namespace; returns as `namespaces` does."""
    record, real = at.LINE + k * at.LINE_WIDTH, at.LABEL + k * at.LABEL_WIDTH
    ints[record + 4] = ints[record + 5] = 0
    bits, all_, room = ints[at.BITS], ints[at.HASH_ALL], ints[at.ROOM]
    mask, words, last = (np.uint64(1) << np.uint64(bits)) - np.uint64(1), 0, np.int64(-1)
    ints[at.FIELDS], segment = 1, at.SEGMENT
    ints[segment], ints[segment + 1], ints[segment + 2], ints[segment + 4] = np.int64(INDICES), LETTER, count, LETTER
    while True:
        c = text[p]
        if c == BLANK or c == TAB:
            p += 1
            continue
        if c == COMMENT:
            while text[p] != NEWLINE:
                p += 1
        if text[p] == NEWLINE or text[p] == RETURN and text[p + 1] == NEWLINE:
            break
        start = p
        if words == 0:
            p, label = number(text, p)
            if p < 0 or label != 0.0 and abs(label) != 1.0:
                return p, SLOW
            reals[real], reals[real + 1], reals[real + 2] = 1.0 if label == 1.0 else -1.0, 1.0, 0.0
        else:
            index = np.int64(0)
            while 48 <= text[p] <= 57 and p - start < 18:
                index = index * 10 + np.int64(text[p] - 48)
                p += 1
            if p == start or text[p] != COLON or index <= last:
                return p, SLOW
            while text[start] == 48 and start + 1 < p:           # leading zeros are not part of the name
                start += 1
            p, key = scan(text, start, INDICES)
            if bits:
                key = vw_hash(text, start, p, INDICES_VW, all_) & mask | SLOT
            p, value = number(text, p + 1)
            if p < 0 or not abs(value) <= LARGEST:
                return p, SLOW
            last = index
            if abs(value) >= SMALLEST:
                if count == room:
                    return p, FULL
                keys[count], values[count] = key, value
                count += 1
        words += 1
        if not (ends(text, p) or text[p] == COMMENT) or text[p] == BAR:
            return p, SLOW
    if words == 0:
        return p, EMPTY
    ints[segment + 3] = count
    return p + 1 + (text[p] == RETURN), count


@inner
def named(text, p, end, ints, keys, values):
    """The features of one example that Python has parsed: all values as float64, then each feature's text (`field=name`, or a
    bare name) and a newline, and a newline at the end. What stands in `ints` and `reals` already: fields, label, weight, margin."""
    count, bits, all_ = ints[at.GIVEN], ints[at.BITS], ints[at.HASH_ALL]
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    if count > ints[at.ROOM]:
        return p, FULL
    for j in range(count):
        values[j] = load_real(text, p)
        p += 8
    for j in range(count):
        start, seed = p, np.uint64(0)
        p, key = scan_key(text, p, SEED)
        if text[p] == EQUAL:
            if bits:
                if text[start] <= BLANK or text[p - 1] <= BLANK:
                    return p, SLOW
                seed = vw_hash(text, start, p, np.uint64(0), all_)
            start = p + 1
            p, key = scan_key(text, start, key)
        else:
            p, key = scan_key(text, start, NAMELESS)
        if text[p] != NEWLINE:
            return p, SLOW
        if bits:
            if start < p and (text[start] <= BLANK or text[p - 1] <= BLANK):
                return p, SLOW
            for i in range(start, p):
                if text[i] == COLON:
                    return p, SLOW
            key = (VW_CONSTANT if key == CONSTANT else vw_hash(text, start, p, seed, all_)) & mask | SLOT
        keys[j] = key
        p += 1
    if p + 1 != end:                               # a newline in a name
        return p, SLOW
    return end, count


@inner
def read_line(text, p, ints, reals, keys, values, first, k):
    """Line k of VW text or of svmlight: (its end, the count after its features, or EMPTY, SLOW or FULL)."""
    if ints[at.FORMAT] == at.SVMLIGHT:
        return svmlight(text, p, ints, reals, keys, values, first, k)
    p = before_the_bar(text, p, ints, reals, k)
    if p < 0:
        return p, p
    return namespaces(text, p, ints, keys, values, first)
