"""The loop over lines: read 32 of them, ask memory for all their slots, then predict, score and learn one after the other.

Reading, hashing and crossing need no weights, so a block's keys are known long before its weights are touched: the
prefetches overlap, which halves the time of a table far larger than the caches. Learning stays strictly in order.
"""
import numpy as np
from numba import njit

import linear.kernels.layout as at
from linear.kernels import updates as by
from linear.kernels.bits import pointer, prefetch
from linear.kernels.cached import unpack
from linear.kernels.compiling import inner, stamp
from linear.kernels.crosses import crosses
from linear.kernels.hashes import CONSTANT, SLOT, VW_CONSTANT
from linear.kernels.json_text import example
from linear.kernels.table import place_of
from linear.kernels.text import EMPTY, FULL, NEWLINE, SLOW, named, read_line
from linear.kernels.updates_vw import nag

SMALLEST = 1e-50                 # of a value as text


@inner
def features_of(text, p, end, ints, reals, keys, values, first, k):
    """(end of line k, the count after its features, or EMPTY, SLOW or FULL): all features, crosses and the constant."""
    what = ints[at.FORMAT]
    if what <= at.SVMLIGHT:
        p, count = read_line(text, p, ints, reals, keys, values, first, k)
    elif what == at.CACHED:
        p, count = unpack(text, p, ints, reals, keys, values, first, k)
    elif what == at.NAMES:
        p, count = named(text, p, end, ints, keys, values)
    elif what == at.JSON:
        p, count = example(text, p, end, ints, keys, values)
    else:
        return end, ints[at.GIVEN]
    if count >= 0 and ints[at.CROSSES] > 0:
        count = crosses(ints, keys, values, count)
    if count < 0:
        return p, count
    kept, smallest, largest = first, reals[at.SMALLEST], reals[at.LARGEST]
    if smallest > SMALLEST:                        # float32 has narrower limits than text
        for j in range(first, count):
            if not abs(values[j]) <= largest:
                return p, SLOW
            if abs(values[j]) >= smallest:
                keys[kept], values[kept] = keys[j], values[j]
                kept += 1
        count = kept
        if reals[at.LABEL + k * at.LABEL_WIDTH + 1] > largest:
            return p, SLOW
    if ints[at.CONSTANT]:
        bits = np.uint64(ints[at.BITS])
        keys[count] = VW_CONSTANT & ((np.uint64(1) << bits) - np.uint64(1)) | SLOT if bits else CONSTANT
        values[count] = 1.0
        count += 1
    return p, count


@inner
def margin_of(table, full, keys, values, slots, first, last, initial, ints, reals):
    """The margin; also finds the features' slots: the position of the weight, or -1 for one never seen."""
    stride, mask, total = ints[at.STRIDE], ints[at.MASK], initial
    words = ints[at.PER_WORD]
    plain = ints[at.CUTS] == 0 and reals[at.SCALE] == 1.0 and ints[at.RULE] != at.ASGD
    for j in range(first, last):
        slot, weight = place_of(full, stride, mask, keys[j]), 0.0
        if slot >= 0:
            slot = (slot * stride + 1) * words
            weight = np.float64(table[slot]) if plain else by.read(table, slot, ints, reals)
        slots[j] = slot
        total += weight * values[j]
    return total


@inner
def insert(table, full, keys, slots, first, last, ints):
    """Give the features without a slot one; a new weight is 0, a new variance 1."""
    stride, mask, words = ints[at.STRIDE], ints[at.MASK], ints[at.PER_WORD]
    for j in range(first, last):
        if slots[j] < 0:
            slot = place_of(full, stride, mask, keys[j])
            if slot < 0:
                slot = -1 - slot
                full[slot * stride] = keys[j]
                ints[at.COUNT] += 1
                if ints[at.RULE] == at.AROW or ints[at.RULE] == at.SCW2:
                    table[(slot * stride + 1) * words + 1] = 1.0
            slots[j] = (slot * stride + 1) * words


@inner
def learn(table, full, keys, values, slots, first, last, y, m, h, initial, ints, reals):
    """One update. A weight gets a slot when it first moves, as in the dictionary, not when it is first seen."""
    rule, loss, push, v, alpha = ints[at.RULE], ints[at.LOSS], 0.0, 0.0, 0.0
    if rule == at.SCW2:
        v = by.variance(table, slots, values, first, last)
        alpha = by.scw2_alpha(v, y * m, h, reals)
        moves = alpha > 0.0
    elif rule == at.PERCEPTRON:
        moves = y * m <= 0.0
    else:
        if rule == at.ASGD:
            push = by.asgd_push(table, slots, values, first, last, y, initial, ints)
        else:
            push = by.push_of(loss, y, m)
        moves = push != 0.0
    if rule == at.PEGASOS and reals[at.INITIAL_T] + ints[at.T] > 1.0:
        by.rescale(table, full, ints, reals, 1.0 - 1.0 / (reals[at.INITIAL_T] + ints[at.T]))
    if moves:
        insert(table, full, keys, slots, first, last, ints)
        if rule == at.ADAGRAD:
            by.adagrad(table, slots, values, first, last, y, m, h, push, ints, reals)
        elif rule == at.NAG:
            nag(table, slots, values, first, last, y, m, h, push, ints, reals)
        elif rule == at.FTRL:
            by.ftrl(table, slots, values, first, last, y, h, push, reals)
        elif rule == at.ASGD:
            by.asgd(table, slots, values, first, last, y, h, push, ints, reals)
        elif rule == at.AROW:
            beta = 1.0 / (by.variance(table, slots, values, first, last) + reals[at.R] / h)
            by.confident_step(table, slots, values, first, last, (1.0 - y * m) * beta * y, beta, reals)
        elif rule == at.SCW2:
            by.scw2(table, slots, values, first, last, y, v, alpha, reals)
        else:
            scale = h * y
            if rule == at.SGD:
                scale = by.rate_of(ints, reals) * h * push * y
            elif rule == at.PEGASOS:
                scale = h / (reals[at.LAM] * (reals[at.INITIAL_T] + ints[at.T])) * y
            elif rule != at.PERCEPTRON:
                tau, length = 1.0 - y * m, by.squared_length(values, first, last)
                if rule == at.PA1:
                    tau = min(h * reals[at.C], tau / length)
                else:
                    tau /= length + 0.5 / (h * reals[at.C]) if rule == at.PA2 else length
                scale = tau * y
            by.add(table, slots, values, first, last, scale, ints, reals)
    if rule == at.ADAGRAD:
        by.shrink(table, full, ints, reals, reals[at.LR] * h)
    elif rule == at.SGD:
        by.shrink(table, full, ints, reals, by.rate_of(ints, reals) * h)


@inner
def score(reals, start, y, m, h):
    """`Totals.add`: weight, hinge loss and 0/1 loss from reals[start] on."""
    reals[start] += h
    reals[start + 1] += h * max(0.0, 1.0 - y * m)
    reals[start + 2] += h * (y != (1.0 if m > 0.0 else -1.0))


@inner
def take(table, full, keys, values, slots, k, ints, reals):
    """Predict, score and learn line k of the block; False where its margin has blown up, and then nothing has changed."""
    record, real = at.LINE + k * at.LINE_WIDTH, at.LABEL + k * at.LABEL_WIDTH
    first, count = ints[record + 2], ints[record + 3]
    y, h, initial, last = reals[real], reals[real + 1], reals[real + 2], first + count
    margin = margin_of(table, full, keys, values, slots, first, last, initial, ints, reals)
    reals[at.MARGIN] = margin
    if not abs(margin) <= reals[at.LARGEST_MARGIN]:
        return False
    learning, m = ints[at.LEARN] and y != 0.0 and h != 0.0, margin
    if learning:
        ints[at.T] += 1
        reals[at.SEEN] += h
        reals[at.LOW], reals[at.HIGH] = min(reals[at.LOW], y), max(reals[at.HIGH], y)
    if ints[at.RULE] == at.NAG:
        m = min(max(m, reals[at.LOW]), reals[at.HIGH])
    reals[at.PREDICTION], reals[at.LAST_LABEL], ints[at.LAST_FEATURES] = m, y, count
    ints[at.EXAMPLES] += 1
    ints[at.FEATURES] += count
    if y != 0.0:
        score(reals, at.WEIGHT, y, m, h)
    if learning:
        ints[at.MODEL_EXAMPLES] += 1
        ints[at.MODEL_FEATURES] += count
        score(reals, at.MODEL_WEIGHT, y, m, h)
        if count:
            learn(table, full, keys, values, slots, first, last, y, m, h, initial, ints, reals)
    return True


@inner
def read_block(text, p, end, full, keys, values, ints, reals):
    """(where it stopped, lines, features, why) of up to BLOCK lines; what each needs later stands in `ints` and `reals`."""
    stride, mask, lines, count = ints[at.STRIDE], np.uint64(ints[at.MASK]), 0, 0
    while p < end and lines < at.BLOCK and count <= ints[at.ROOM]:       # the constant of the line before may have the last place
        record = at.LINE + lines * at.LINE_WIDTH
        ints[record], ints[record + 1] = p, ints[at.LINES]
        after, last = features_of(text, p, end, ints, reals, keys, values, count, lines)
        if last == FULL:
            return p, lines, count, at.MORE_ROOM
        if last == SLOW:
            return p, lines, count, at.BY_HAND
        ints[at.LINES] += ints[at.FORMAT] < at.NAMES
        if last == EMPTY:
            while text[p] != NEWLINE:
                p += 1
            p += 1
            continue
        for j in range(count, last):
            prefetch(full, np.int64(keys[j] & mask) * stride)
        ints[record + 2], ints[record + 3] = count, last - count
        p, count = after, last
        lines += 1
    return p, lines, count, at.DONE


@inner
def put_out(results, k, ints, reals):
    """Write the results of line k."""
    put, record, real = ints[at.OUT] * at.RESULT_WIDTH, at.LINE + k * at.LINE_WIDTH, at.LABEL + k * at.LABEL_WIDTH
    results[put], results[put + 1] = reals[at.MARGIN], reals[at.PREDICTION]
    results[put + 2], results[put + 3], results[put + 4] = reals[real], reals[real + 1], reals[real + 2]
    results[put + 5], results[put + 6], results[put + 7] = ints[record + 4], ints[record + 5], ints[record + 3]
    ints[at.OUT] += 1


def _loop(stamp):
    @njit(error_model="numpy", cache=True, nogil=True)
    def run(texts, start, end, tables, work, outs, numbers, sums):
        """Take the lines of texts[start:end] through the model; returns where it stopped, ints[STATUS] says why.

        texts     uint8; texts[end - 1] is a newline, and 8 bytes more can be read; what it is, ints[FORMAT] says
        tables    the weights, see `table`
        work      uint64, three equal parts: keys, values, slots of the features of one block
        outs      float64, RESULT_WIDTH for each line where room is left; empty where nobody asks
        numbers, sums    `ints` and `reals` of `layout`
        FORMAT KEYS asks for one example whose features stand in `work` and whose label stands in `reals`; texts is not read
        """
        stamp                                        # part of the cache's key
        text, table, full = pointer(texts), pointer(tables), pointer(tables.view(np.uint64))
        ints, reals, results, size = pointer(numbers), pointer(sums), pointer(outs), outs.size
        room = work.size // 3
        keys, values, slots = pointer(work), pointer(work[room:].view(np.float64)), pointer(work[2 * room:].view(np.int64))
        ints[at.ROOM], ints[at.STATUS] = room - 1, at.DONE                   # one is for the constant
        p, of_lines = start, ints[at.FORMAT] < at.NAMES
        while p < end:
            begin, first_line = p, ints[at.LINES]
            p, lines, count, why = read_block(text, p, end, full, keys, values, ints, reals)
            if ints[at.LEARN] and ints[at.COUNT] + count > ints[at.LIMIT]:
                ints[at.STATUS], ints[at.LINES] = at.GROW, first_line
                return begin
            for k in range(lines):
                record = at.LINE + k * at.LINE_WIDTH
                if not take(table, full, keys, values, slots, k, ints, reals):
                    ints[at.STATUS], ints[at.LINES] = at.BLOWN_UP, ints[record + 1]
                    return ints[record]
                if size:
                    put_out(results, k, ints, reals)
                if of_lines and (ints[at.EXAMPLES] == ints[at.STOP] or size and (ints[at.OUT] + 1) * at.RESULT_WIDTH > size):
                    ints[at.STATUS] = at.STOPPED
                    if k + 1 < lines:
                        ints[at.LINES], p = ints[record + at.LINE_WIDTH + 1], ints[record + at.LINE_WIDTH]
                    return p
            if why == at.BY_HAND or why == at.MORE_ROOM and lines == 0:
                ints[at.STATUS] = why
                return p
        return p
    return run


def _kept(stamp):
    @njit(error_model="numpy", cache=True)
    def run_one(texts, start, end, tables, work, outs, numbers, sums):
        """`run` for what takes a microsecond: the interpreter's lock is kept, since to get it back may take hundreds of them."""
        stamp
        return run(texts, start, end, tables, work, outs, numbers, sums)
    return run_one


run = _loop(stamp())
run_one = _kept(stamp())
