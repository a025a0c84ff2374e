"""Crosses of keys; `linear.keys.expand` is the definition.

Each declared cross of two fields, of one with itself, or of three different ones is spelled out here; other kinds go to Python.
"""
import numpy as np

import linear.kernels.layout as at
from linear.kernels.compiling import inner
from linear.kernels.hashes import SLOT, cross64
from linear.kernels.text import FULL, LARGEST, SLOW, SMALLEST

VW_CROSS = np.uint64(16777619)


@inner
def belongs(ints, segment, by_letter, name):
    """Whether a namespace of the line is a field that the cross names."""
    return ints[segment + 1] == name if by_letter else ints[segment] == name


@inner
def pair(a, b, one_letter, mask):
    """The key of a*b. Without bits (mask 0), keys of fields with one letter stand in their own order."""
    if mask:
        return (VW_CROSS * a ^ b) & mask | SLOT
    if one_letter and b < a:
        return cross64(b, a)
    return cross64(a, b)


@inner
def triple(a, b, c, ab, bc, mask):
    """The key of a*b*c; ab and bc tell whether those fields have one letter."""
    if mask:
        return (VW_CROSS * (VW_CROSS * a ^ b) ^ c) & mask | SLOT
    if ab and bc:
        if c < b:
            b, c = c, b
        if b < a:
            a, b = b, a
        if c < b:
            b, c = c, b
    elif ab and b < a:
        a, b = b, a
    elif bc and c < b:
        b, c = c, b
    return cross64(cross64(a, b), c)


@inner
def crosses(ints, keys, values, count):
    """Append all declared crosses of the line whose namespaces stand in `ints`; returns the count, or SLOW or FULL."""
    segments, room, mask = ints[at.WORDS], ints[at.ROOM], np.uint64(0)
    if ints[at.BITS]:
        mask = (np.uint64(1) << np.uint64(ints[at.BITS])) - np.uint64(1)
    last = at.SEGMENT + segments * at.SEGMENT_WIDTH
    for cross in range(at.CROSS, at.CROSS + ints[at.CROSSES] * at.CROSS_WIDTH, at.CROSS_WIDTH):
        by_letter, members = ints[cross], ints[cross + 1]
        first, second, third = ints[cross + 2], ints[cross + 3], ints[cross + 4]
        same = members == 2 and first == second
        for a in range(at.SEGMENT, last, at.SEGMENT_WIDTH):
            if not belongs(ints, a, by_letter, first):
                continue
            for i in range(ints[a + 2], ints[a + 3]):
                for b in range(a if same else at.SEGMENT, last, at.SEGMENT_WIDTH):
                    if not belongs(ints, b, by_letter, second):
                        continue
                    ab = ints[a + 1] == ints[b + 1]
                    for j in range(i if same and a == b else ints[b + 2], ints[b + 3]):
                        value = values[i] * values[j]
                        if not abs(value) <= LARGEST:
                            return SLOW
                        if abs(value) < SMALLEST:
                            continue
                        if members == 2:
                            if count == room:
                                return FULL
                            keys[count], values[count] = pair(keys[i], keys[j], ab, mask), value
                            count += 1
                            continue
                        for c in range(at.SEGMENT, last, at.SEGMENT_WIDTH):
                            if not belongs(ints, c, by_letter, third):
                                continue
                            bc = ints[b + 1] == ints[c + 1]
                            for k in range(ints[c + 2], ints[c + 3]):
                                whole = value * values[k]
                                if not abs(whole) <= LARGEST:
                                    return SLOW
                                if abs(whole) < SMALLEST:
                                    continue
                                if count == room:
                                    return FULL
                                keys[count], values[count] = triple(keys[i], keys[j], keys[k], ab, bc, mask), whole
                                count += 1
    return count
