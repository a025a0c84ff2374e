"""Crosses of keys; `linear.keys.expand` is the definition.

Crosses of two and of three fields are made here; longer ones go to Python.
"""
import numpy as np

import linear.kernels.layout as at
from linear.kernels.compiling import inner
from linear.kernels.hashes import SLOT, cross64
from linear.kernels.text import FULL, LARGEST, SLOW, SMALLEST

VW_CROSS = np.uint64(16777619)
ANY = ord(":")                             # as a first letter: every field


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
def product(ints, keys, values, count, by_letter, first, second, third, members):
    """Append the products of two or three fields of the line; returns the count, or SLOW or FULL.

    A field named twice, side by side, gives unordered pairs: the inner loop begins where the outer one stands.
    """
    room, mask = ints[at.ROOM], np.uint64(0)
    if ints[at.BITS]:
        mask = (np.uint64(1) << np.uint64(ints[at.BITS])) - np.uint64(1)
    last = at.SEGMENT + ints[at.FIELDS] * at.SEGMENT_WIDTH
    same, again = first == second, members == 3 and second == third
    square_last = again and not same                         # a*b*b is a (b b), as `linear.features` multiplies
    for a in range(at.SEGMENT, last, at.SEGMENT_WIDTH):
        if not belongs(ints, a, by_letter, first):
            continue
        for i in range(ints[a + 2], ints[a + 3]):
            for b in range(a if same else at.SEGMENT, last, at.SEGMENT_WIDTH):
                if not belongs(ints, b, by_letter, second):
                    continue
                ab = ints[a + 4] == ints[b + 4]
                for j in range(i if same and a == b else ints[b + 2], ints[b + 3]):
                    value = values[i] * values[j]
                    if not abs(value) <= LARGEST:
                        return SLOW
                    if abs(value) < SMALLEST and not square_last:
                        continue
                    if members == 2:
                        if count == room:
                            return FULL
                        keys[count], values[count] = pair(keys[i], keys[j], ab, mask), value
                        count += 1
                        continue
                    for c in range(b if again else at.SEGMENT, last, at.SEGMENT_WIDTH):
                        if not belongs(ints, c, by_letter, third):
                            continue
                        bc = ints[b + 4] == ints[c + 4]
                        for k in range(j if again and b == c else ints[c + 2], ints[c + 3]):
                            whole = value * values[k]
                            if square_last:
                                square = values[j] * values[k]
                                if abs(square) < SMALLEST:
                                    continue
                                whole = values[i] * square if square <= LARGEST else np.inf
                            if not abs(whole) <= LARGEST:
                                return SLOW
                            if abs(whole) < SMALLEST:
                                continue
                            if count == room:
                                return FULL
                            keys[count], values[count] = triple(keys[i], keys[j], keys[k], ab, bc, mask), whole
                            count += 1
    return count


@inner
def letters_of(ints):
    """Sort the different first letters of the line's fields into ints[LETTERS:]; returns how many there are."""
    found = 0
    for segment in range(at.SEGMENT, at.SEGMENT + ints[at.FIELDS] * at.SEGMENT_WIDTH, at.SEGMENT_WIDTH):
        letter, place = ints[segment + 1], at.LETTERS + found
        while place > at.LETTERS and ints[place - 1] > letter:
            place -= 1
        if place == at.LETTERS or ints[place - 1] != letter:
            for i in range(at.LETTERS + found, place, -1):
                ints[i] = ints[i - 1]
            ints[place] = letter
            found += 1
    return found


@inner
def crosses(ints, keys, values, count):
    """Append all declared crosses of the line whose namespaces stand in `ints`; returns the count, or SLOW or FULL.

    ANY is spelled out: one `product` for each choice of letters, sorted, each choice once.
    """
    for cross in range(at.CROSS, at.CROSS + ints[at.CROSSES] * at.CROSS_WIDTH, at.CROSS_WIDTH):
        by_letter, members, first, second, third = ints[cross], ints[cross + 1], ints[cross + 2], ints[cross + 3], ints[cross + 4]
        one, two, three = by_letter and first == ANY, by_letter and second == ANY, by_letter and members == 3 and third == ANY
        found = letters_of(ints) if one or two or three else 1
        for i in range(found if one else 1):
            for j in range(i if one and two else 0, found if two else 1):
                for k in range((j if two else i) if three else 0, found if three else 1):
                    a = ints[at.LETTERS + i] if one else first
                    b = ints[at.LETTERS + j] if two else second
                    c = ints[at.LETTERS + k] if three else third
                    if one or two or three:
                        if b < a:
                            a, b = b, a
                        if members == 3 and c < b:
                            b, c = c, b
                            if b < a:
                                a, b = b, a
                    count = product(ints, keys, values, count, by_letter, a, b, c, members)
                    if count < 0:
                        return count
    return count
