"""JSON as clients send it, read without Python: the features of an object of fields, an event, a batch of events.

`linear.service.events` is the definition; what is accepted here means the same there, bit for bit. What is rare is left to it:
escapes, numbers that take longer to round, a field twice, and everything invalid, so that there is one wording of errors.
Text ends with a byte 0, which nothing accepted contains, and 8 bytes more can be read.
"""
import numpy as np
from numba import njit

import linear.kernels.layout as at
from linear.kernels.bits import load64, pointer
from linear.kernels.cached import write_features
from linear.kernels.compiling import inner, stamp
from linear.kernels.hashes import (
    A, BACKSLASHES, CONSTANT, LOW32, NAMELESS, ONES, SEED, SLOT, TOPS, VW_CONSTANT, finish, scanner, vw_hash, zeros)
from linear.kernels.numbers import number
from linear.kernels.text import BLANK, COLON, EQUAL, FULL, LARGEST, NEWLINE, RETURN, SLOW, SMALLEST, TAB

OPEN, CLOSE, LIST, LIST_END, QUOTE, COMMA, MINUS, POINT, ZERO, ONE_DIGIT, NINE, SMALL_E = b'{}[]",-.019e'
LETTER_X, LETTER_Y, LETTER_I, LETTER_D = b"xyid"
EVENTS, ROWS = (np.frombuffer(word, np.uint8) for word in (b'"events"', b'"rows"'))
QUOTES, SPACES = np.uint64(QUOTE) * ONES, np.uint64(BLANK) * ONES
# JSON's words as 4 bytes, and the names that Python's words make
TRUE, FALS, NULL = (np.uint64(int.from_bytes(word, "little")) for word in (b"true", b"fals", b"null"))
TRUE_NAME, FALSE_NAME = (np.uint64(int.from_bytes(word, "little")) for word in (b"True", b"False"))
LONGEST = 500                                  # bytes of a field and a name; more, up to 1024 characters, is left to Python
LONGEST_ID = 128


@inner
def string_marks(word):
    """Bit 7 of the bytes that end a string, or make it more than its bytes: quote, backslash, control characters."""
    return (word - SPACES) & ~word & TOPS | zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES)


scan_string = scanner(string_marks)


@inner
def skipped(text, p):
    """Where something else than blanks stands."""
    while text[p] == BLANK or text[p] == NEWLINE or text[p] == TAB or text[p] == RETURN:
        p += 1
    return p


@inner
def after(text, p, mark):
    """Behind `mark` and the blanks around it, or SLOW."""
    p = skipped(text, p)
    return skipped(text, p + 1) if text[p] == mark else SLOW


@inner
def truth(text, p):
    """1 for true, -1 for false, 0 for anything else."""
    word = load64(text, p) & LOW32
    return 1 if word == TRUE else -1 if word == FALS and text[p + 4] == SMALL_E else 0


@inner
def is_digit(c):
    """Whether a byte is a decimal digit."""
    return ZERO <= c <= NINE


@inner
def json_number(text, p):
    """(end, value) of a number as JSON has them; end is -1 for none, or where Python must decide."""
    q = p + (text[p] == MINUS)
    if not is_digit(text[q]) or text[q] == ZERO and is_digit(text[q + 1]):
        return -1, 0.0
    end, value = number(text, p)
    while q < end:                             # what `number` takes and JSON does not: 1. and 1.e5
        if text[q] == POINT and not is_digit(text[q + 1]):
            return -1, 0.0
        q += 1
    return end, value


@inner
def key_of(text, start, end, key, seed, bits, all_):
    """The key of a name: its 64-bit hash, or its index; 0 where Python has to make it."""
    if not bits:
        return key
    if start < end and (text[start] <= BLANK or text[end - 1] <= BLANK):
        return np.uint64(0)
    for i in range(start, end):
        if text[i] == COLON:
            return np.uint64(0)
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    return (VW_CONSTANT if key == CONSTANT else vw_hash(text, start, end, seed, all_)) & mask | SLOT


@inner
def take_number(text, p, key, ints, keys, values, count):
    """The number at p as the value of a feature: (behind it, the count), or SLOW or FULL."""
    p, value = json_number(text, p)
    if p < 0 or key == np.uint64(0) or not abs(value) <= LARGEST:
        return p, SLOW
    if abs(value) < SMALLEST:
        return p, count
    if count == ints[at.ROOM]:
        return p, FULL
    keys[count], values[count] = key, value
    return p, count + 1


@inner
def take_name(text, p, field, seed, width, ints, keys, values, count):
    """The string at p as a feature: (behind it, the count), or SLOW or FULL."""
    start = p + 1
    p, key = scan_string(text, start, field)
    if text[p] != QUOTE or p - start + width > LONGEST:
        return p, SLOW
    if count == ints[at.ROOM]:
        return p, FULL
    keys[count], values[count] = key_of(text, start, p, key, seed, ints[at.BITS], ints[at.HASH_ALL]), 1.0
    return p + 1, count + 1 if keys[count] != np.uint64(0) else SLOW


@inner
def value_of(text, p, start, end, field, ints, keys, values, count):
    """The features of one field's value at p: (behind it, the count, or SLOW or FULL, whether the field names them)."""
    bits, all_, c, width, seed = ints[at.BITS], ints[at.HASH_ALL], text[p], end - start, np.uint64(0)
    if bits:
        if text[start] <= BLANK or text[end - 1] <= BLANK:
            return p, SLOW, True
        seed = vw_hash(text, start, end, np.uint64(0), all_)
    if c == QUOTE:
        p, count = take_name(text, p, field, seed, width, ints, keys, values, count)
        return p, count, True
    if c == MINUS or is_digit(c):
        for i in range(start, end):
            if text[i] == EQUAL:
                return p, SLOW, False
        _, bare = scan_string(text, start, NAMELESS)
        p, count = take_number(text, p, key_of(text, start, end, bare, np.uint64(0), bits, all_), ints, keys, values, count)
        return p, count, False
    if c == LIST:
        p, first = skipped(text, p + 1), count
        while text[p] == QUOTE:
            p, count = take_name(text, p, field, seed, width, ints, keys, values, count)
            if count < 0:
                return p, count, True
            p = skipped(text, p)
            if text[p] == COMMA:
                p = skipped(text, p + 1)
                if text[p] != QUOTE:
                    return p, SLOW, True
            elif text[p] != LIST_END:
                return p, SLOW, True
        return p + 1, count if text[p] == LIST_END else SLOW, count > first
    if c == OPEN:
        p, first = skipped(text, p + 1), count
        while text[p] == QUOTE:
            name = p + 1
            p, key = scan_string(text, name, field)
            if text[p] != QUOTE or p - name + width > LONGEST:
                return p, SLOW, True
            key = key_of(text, name, p, key, seed, bits, all_)
            p, known = after(text, p + 1, COLON), count
            if p < 0:
                return p, SLOW, True
            p, count = take_number(text, p, key, ints, keys, values, count)
            if count < 0:
                return p, count, True
            for j in range(first, known):
                if keys[j] == key:
                    return p, SLOW, True
            p = skipped(text, p)
            if count == known or text[p] != COMMA and text[p] != CLOSE:          # one without a feature may be there twice
                return p, SLOW, True
            if text[p] == COMMA:
                p = skipped(text, p + 1)
                if text[p] != QUOTE:
                    return p, SLOW, True
        return p + 1, count if text[p] == CLOSE else SLOW, count > first
    if load64(text, p) & LOW32 == NULL:        # a field without features is as good as none
        return p + 4, count, True
    true = truth(text, p)
    if true == 0 or bits or count == ints[at.ROOM]:
        return p, SLOW, True
    word, size = (TRUE_NAME, 4) if true > 0 else (FALSE_NAME, 5)
    keys[count], values[count] = finish((field ^ word) * A ^ np.uint64(size)), 1.0
    return p + size, count + 1, True


@inner
def fields(text, p, ints, keys, values, first):
    """The features of the object of fields at p: (behind it, the count after them, or SLOW or FULL). No crosses."""
    p, count, segments = skipped(text, p + 1) if text[p] == OPEN else -1, first, 0
    if p < 0:
        return p, SLOW
    while text[p] == QUOTE:
        start = p + 1
        p, field = scan_string(text, start, SEED)
        end, letter = p, np.int64(text[start])
        if text[p] != QUOTE or not 0 < end - start <= LONGEST or letter > 127 or segments == at.SEGMENTS:
            return p, SLOW
        p = after(text, p + 1, COLON)
        if p < 0:
            return p, SLOW
        segment = at.SEGMENT + segments * at.SEGMENT_WIDTH
        for other in range(at.SEGMENT, segment, at.SEGMENT_WIDTH):
            if ints[other] == np.int64(field):
                return p, SLOW
        ints[segment], ints[segment + 1], ints[segment + 2] = np.int64(field), letter, count
        p, count, named = value_of(text, p, start, end, field, ints, keys, values, count)
        if count < 0:
            return p, count
        ints[segment + 3], ints[segment + 4] = count, letter if named else BLANK
        segments += 1
        p = skipped(text, p)
        if text[p] == COMMA:
            p = skipped(text, p + 1)
            if text[p] != QUOTE:
                return p, SLOW
        elif text[p] != CLOSE:
            return p, SLOW
    ints[at.FIELDS] = segments
    return p + 1, count if text[p] == CLOSE and count - first <= ints[at.GIVEN] else SLOW


@inner
def example(text, p, end, ints, keys, values):
    """The features of {"x": fields}, with nothing before or behind it: (end, count, or SLOW or FULL)."""
    p = after(text, p, OPEN)
    if p < 0 or not is_key(text, p, LETTER_X):
        return p, SLOW
    p = after(text, p + 3, COLON)
    if p < 0:
        return p, SLOW
    p, count = fields(text, p, ints, keys, values, 0)
    if count < 0:
        return p, count
    p = after(text, p, CLOSE)
    return end, count if p + 1 == end and text[p] == 0 else SLOW


@inner
def is_key(text, p, letter):
    """Whether "x" or another one-letter key stands at p."""
    return text[p] == QUOTE and text[p + 1] == letter and text[p + 2] == QUOTE


@inner
def written_plainly(text, p, end):
    """Whether Python's json would write the number text[p:end] as it stands."""
    whole = p + (text[p] == MINUS)
    q = whole
    while q < end and is_digit(text[q]):
        q += 1
    if q == end:
        return text[whole] != ZERO or whole == p
    if text[q] != POINT or end - whole > 16 or text[whole] == ZERO and spread(text, q + 1, end) > 3:
        return False                           # an exponent; more than 15 digits; Python writes 0.00001 with an exponent
    for i in range(q + 1, end):
        if not is_digit(text[i]):
            return False
    return text[end - 1] != ZERO or q + 2 == end


@inner
def spread(text, p, end):
    """How many zeros stand at p, not counting a number of nothing else."""
    q = p
    while q < end and text[q] == ZERO:
        q += 1
    return q - p if q < end else 0


@inner
def compacted(text, p, end, out, o):
    """Write text[p:end] without its blanks to out[o:]: (the end of that, whether its numbers are as Python writes them)."""
    plain = True
    while p < end:
        c = text[p]
        if c == QUOTE:
            out[o] = c
            o, p = o + 1, p + 1
            while text[p] != QUOTE:
                out[o] = text[p]
                o, p = o + 1, p + 1
        elif c == MINUS or is_digit(c):
            start = p
            while p < end and text[p] != COMMA and text[p] != CLOSE and text[p] > BLANK:
                out[o] = text[p]
                o, p = o + 1, p + 1
            plain = plain and written_plainly(text, start, p)
            continue
        if c > BLANK:
            out[o] = c
            o += 1
        p += 1
    return o, plain


@inner
def event(text, p, what, ints, keys, values, out, real_out, o, compact, c, rows, row):
    """The event, or the row to be predicted, at p: (behind it, words in `out`, bytes in `compact`, whether it was taken).
    Its numbers stand in rows[row:]."""
    has_id = has_x = False
    rows[row + at.Y] = rows[row + at.TEXT] = rows[row + at.TEXT_END] = rows[row + at.RECORD] = rows[row + at.RECORD_END] = rows[row + at.RAW_END] = 0
    p = skipped(text, p + 1) if text[p] == OPEN else -1
    while p >= 0 and text[p] == QUOTE:
        if is_key(text, p, LETTER_X) and not has_x:
            p, has_x = after(text, p + 3, COLON), True
            if p < 0:
                return p, o, c, False
            begin = p
            p, count = fields(text, p, ints, keys, values, 0)
            if count < 0 or o + 1 + 3 * ints[at.FIELDS] + 2 * count > ints[at.OUT]:
                return p, o, c, False
            rows[row + at.RECORD] = o
            o = write_features(out, real_out, o, ints, keys, values, count)
            rows[row + at.RECORD_END], rows[row + at.TEXT] = o, c
            c, plain = compacted(text, begin, p, compact, c)
            rows[row + at.TEXT_END] = c
            if not plain:
                rows[row + at.RAW], rows[row + at.RAW_END] = begin, p
        elif is_key(text, p, LETTER_Y) and rows[row + at.Y] == 0:
            p = after(text, p + 3, COLON)
            if p < 0:
                return p, o, c, False
            true = truth(text, p)
            if true:
                p += 4 if true > 0 else 5
            else:
                true, p = -1 if text[p] == MINUS else 1, p + (text[p] == MINUS) + 1
                if text[p - 1] != ONE_DIGIT:
                    return p, o, c, False
            rows[row + at.Y] = true
        elif text[p + 1] == LETTER_I and text[p + 2] == LETTER_D and text[p + 3] == QUOTE and not has_id:
            p, has_id = after(text, p + 4, COLON), True
            if p < 0 or text[p] != QUOTE:
                return p, o, c, False
            rows[row + at.ID] = p + 1
            p, _ = scan_string(text, p + 1, SEED)
            rows[row + at.ID_END] = p
            if text[p] != QUOTE or not 0 < p - rows[row + at.ID] <= LONGEST_ID:
                return p, o, c, False
            p += 1
        else:
            return p, o, c, False
        p = skipped(text, p)
        if text[p] == COMMA:
            p = skipped(text, p + 1)
            if text[p] != QUOTE:
                return p, o, c, False
        elif text[p] != CLOSE:
            return p, o, c, False
    full = has_x and not has_id and rows[row + at.Y] == 0 if what == at.MANY_ROWS else has_id and (has_x or rows[row + at.Y] != 0)
    return p + 1, o, c, full and p >= 0 and text[p] == CLOSE


def _reader(stamp):
    @njit(error_model="numpy", cache=True, nogil=True)
    def read_events(texts, end, what, work, records, compacts, places, numbers):
        """The number of events in texts[:end]: one, those of {"events": [...]}, or the examples of {"rows": [...]}; -1 where
        Python has to read the whole text.

        records     uint64, what `cached.pack` writes, one record behind the other
        compacts    uint8, as long as the text: the features without blanks
        places      int64, ROW numbers for each event
        numbers     `ints` of `layout`; GIVEN is the most features that one event may have
        """
        stamp
        text, out, compact, rows, ints = pointer(texts), pointer(records), pointer(compacts), pointer(places), pointer(numbers)
        real_out, room = pointer(records.view(np.float64)), work.size // 3
        keys, values = pointer(work), pointer(work[room:].view(np.float64))
        ints[at.ROOM], ints[at.OUT], o, c, count = room, records.size, 0, 0, 0
        p = skipped(text, 0)
        if what != at.ONE_EVENT:
            p, name = after(text, p, OPEN), EVENTS if what == at.MANY_EVENTS else ROWS
            for i in range(len(name)):
                if p < 0 or text[p + i] != name[i]:
                    return -1
            p = after(text, p + len(name), COLON)
            p = after(text, p, LIST) if p >= 0 else p
            if p < 0:
                return -1
        while text[p] == OPEN and (count + 1) * at.ROW <= places.size:
            p, o, c, taken = event(text, p, what, ints, keys, values, out, real_out, o, compact, c, rows, count * at.ROW)
            if not taken:
                return -1
            count += 1
            p = skipped(text, p)
            if what == at.ONE_EVENT or text[p] != COMMA:
                break
            p = skipped(text, p + 1)
            if text[p] != OPEN:
                return -1
        if what != at.ONE_EVENT:
            p = after(text, p, LIST_END)
            p = after(text, p, CLOSE) if p >= 0 else p
        return count if p >= 0 and p + 1 == end and text[p] == 0 and (what != at.ONE_EVENT or count == 1) else -1
    return read_events


def _kept(stamp):
    @njit(error_model="numpy", cache=True)
    def read_event(texts, end, what, work, records, compacts, places, numbers):
        """`read_events` for what takes a microsecond: it keeps the interpreter's lock, as `lines.run_one` does."""
        stamp
        return read_events(texts, end, what, work, records, compacts, places, numbers)
    return read_event


read_events = _reader(stamp())
read_event = _kept(stamp())
