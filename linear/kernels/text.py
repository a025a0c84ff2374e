"""VW text to keys and values, one line at a time; `linear.formats.vw` is the definition.

What is rare takes the slow way: at an error, a feature without a name, text for a value, a number that float64 arithmetic
cannot round for sure, a control character in a name, the loop stops and Python reads that line, so that there
is one reader of odd lines and one wording of errors.
"""
import numpy as np

import linear.kernels.layout as at
from linear.kernels.compiling import inner
from linear.kernels.hashes import LOW32, NAMELESS, SEED, SLOT, scan, vw_hash
from linear.kernels.numbers import number

EMPTY, SLOW, FULL = -1, -2, -3            # instead of a count: nothing on the line; Python's turn; no room for features
BLANK, TAB, NEWLINE, RETURN, COLON, BAR, APOSTROPHE = 32, 9, 10, 13, 58, 124, 39
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
        ints[segment], ints[segment + 1], ints[segment + 2] = np.int64(field), letter, count
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
                key = vw_hash(text, start, p, seed, all_) & mask | SLOT
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
    ints[at.WORDS] = segments
    return p + 1 + (text[p] == RETURN), count
