"""`linear.rules` and `linear.rules_vw` compiled: the same formulas in the same order, so the same bits at float64.

The features of the example are first..last; `slots` has where each stands in the table, whose numbers are `table`:
slots[j] is the position of its weight, slots[j] + 1 and + 2 those of its state. All arithmetic is float64; a
float32 table rounds when it stores.
"""
import math

import numpy as np

import linear.kernels.layout as at
from linear.kernels.compiling import inner


@inner
def store(table, place, value, top):
    """Round to the table's type, short of infinity."""
    table[place] = max(-top, min(top, value))


@inner
def read(table, place, ints, reals):
    """`DictLearner.read`."""
    stored = np.float64(table[place])
    if ints[at.RULE] == at.ASGD:
        return stored - table[place + 1] / max(1, ints[at.T])
    if ints[at.CUTS]:
        size = max(0.0, abs(stored) - max(0.0, reals[at.CUT] - table[place + ints[at.CUTS]]))
        stored = -size if stored < 0.0 else size
    return stored * reals[at.SCALE]


@inner
def write(table, place, value, ints, reals):
    """`DictLearner.write`."""
    top = reals[at.LARGEST_STORED]
    store(table, place, value / reals[at.SCALE], top)
    if ints[at.CUTS]:
        store(table, place + ints[at.CUTS], reals[at.CUT], top)


@inner
def rescale(table, full, ints, reals, factor):
    """`DictLearner.rescale`; `full` are the keys of the table."""
    top = reals[at.LARGEST_STORED]
    reals[at.SCALE] *= factor
    if reals[at.SCALE] < 1e-9:
        for slot in range(0, (ints[at.MASK] + 1) * ints[at.STRIDE], ints[at.STRIDE]):
            if full[slot] != np.uint64(0):
                place = (slot + 1) * ints[at.PER_WORD]
                store(table, place, read(table, place, ints, reals), top)
                if ints[at.CUTS]:
                    table[place + ints[at.CUTS]] = 0.0
        reals[at.SCALE], reals[at.CUT] = 1.0, 0.0


@inner
def shrink(table, full, ints, reals, rate):
    """`DictLearner.shrink`."""
    if reals[at.L1] != 0.0:
        reals[at.CUT] += rate * reals[at.L1] / reals[at.SCALE]
    if reals[at.L2] != 0.0:
        rescale(table, full, ints, reals, 1.0 / (1.0 + rate * reals[at.L2]))


@inner
def push_of(loss, y, m):
    """`losses`: -y dL/dm."""
    if loss == at.HINGE_LOSS:
        return 1.0 if y * m < 1.0 else 0.0
    if loss == at.SQUARED_HINGE:
        return 2.0 * max(0.0, 1.0 - y * m)
    if loss == at.LOGISTIC:
        if y * m > 0.0:
            return math.exp(-y * m) / (1.0 + math.exp(-y * m))
        return 1.0 / (1.0 + math.exp(y * m))
    return 2.0 * (1.0 - y * m)


@inner
def add(table, slots, values, first, last, scale, ints, reals):
    """w_i += scale x_i."""
    for j in range(first, last):
        write(table, slots[j], read(table, slots[j], ints, reals) + scale * values[j], ints, reals)
        if ints[at.COUNTED]:
            table[slots[j] + ints[at.COUNTED]] += 1


@inner
def rate_of(ints, reals):
    """`rules._rate`."""
    return reals[at.LR] * (reals[at.INITIAL_T] + ints[at.T]) ** -reals[at.POWER_T]


@inner
def adagrad(table, slots, values, first, last, y, m, h, push, ints, reals):
    """`rules.adagrad` without its last line; r_i x_i takes the place of x_i in `values`, which nobody needs any more."""
    top, gain, q = reals[at.LARGEST_STORED], h * push * push, 0.0
    for j in range(first, last):
        x, place = values[j], slots[j] + 1
        total = table[place] + gain * x * x
        store(table, place, total, top)
        r = 1.0 / (math.sqrt(total) + 1e-10)
        q += x * x * r
        values[j] = x * r
    u = reals[at.LR] * h * push
    if ints[at.LOSS] != at.LOGISTIC and u * q > 1.0 - y * m:
        u = (1.0 - y * m) / q
    if ints[at.CUTS] or reals[at.SCALE] != 1.0:
        add(table, slots, values, first, last, y * u, ints, reals)
    else:
        for j in range(first, last):
            store(table, slots[j], table[slots[j]] + y * u * values[j], top)


@inner
def asgd_push(table, slots, values, first, last, y, initial, ints):
    """The push at the current weights, not at their mean, in `rules.asgd`."""
    current = initial
    for j in range(first, last):
        current += (np.float64(table[slots[j]]) if slots[j] >= 0 else 0.0) * values[j]
    return push_of(ints[at.LOSS], y, current)


@inner
def asgd(table, slots, values, first, last, y, h, push, ints, reals):
    """`rules.asgd` after its push is known."""
    top, step = reals[at.LARGEST_STORED], rate_of(ints, reals) * h * push * y
    for j in range(first, last):
        place = slots[j]
        store(table, place, table[place] + step * values[j], top)
        store(table, place + 1, table[place + 1] + (ints[at.T] - 1) * (step * values[j]), top)


@inner
def ftrl(table, slots, values, first, last, y, h, push, reals):
    """`rules.ftrl`."""
    top, lr = reals[at.LARGEST_STORED], reals[at.LR]
    for j in range(first, last):
        place = slots[j]
        g, n = -h * push * y * values[j], np.float64(table[place + 2])
        total = n + g * g
        z = table[place + 1] + g - (math.sqrt(total) - math.sqrt(n)) / lr * table[place]
        rest = max(0.0, abs(z) - reals[at.L1])
        store(table, place, (-rest if z > 0.0 else rest) / ((1.0 + math.sqrt(total)) / lr + reals[at.L2]), top)
        store(table, place + 1, z, top)
        store(table, place + 2, total, top)


@inner
def variance(table, slots, values, first, last):
    """sum_i S_i x_i^2; the variance of a feature never seen is 1."""
    total = 0.0
    for j in range(first, last):
        total += (np.float64(table[slots[j] + 1]) if slots[j] >= 0 else 1.0) * values[j] * values[j]
    return total


@inner
def confident_step(table, slots, values, first, last, scale, beta, reals):
    """`rules._confident_step`."""
    top, floor = reals[at.LARGEST_STORED], reals[at.FLOOR]
    for j in range(first, last):
        place, x = slots[j], values[j]
        s = np.float64(table[place + 1])
        store(table, place, table[place] + scale * s * x, top)
        store(table, place + 1, max(floor, s - beta * s * s * x * x), top)


@inner
def scw2_alpha(v, ym, h, reals):
    """alpha of `rules.scw2`, 0 where it does not move."""
    phi = reals[at.PHI]
    if not phi * math.sqrt(v) > ym:
        return 0.0
    p, n = phi * phi, v + 0.5 / (h * reals[at.C])
    root = math.sqrt(p * ym * ym * v * v + 4.0 * n * v * (n + v * p))
    alpha = (-(2.0 * n + p * v) * ym + phi * root) / (2.0 * (n * n + n * v * p))
    return alpha if 0.0 < alpha <= 1e100 else 0.0


@inner
def scw2(table, slots, values, first, last, y, v, alpha, reals):
    """`rules.scw2` after its alpha is known."""
    phi = reals[at.PHI]
    root = (-alpha * v * phi + math.sqrt(alpha * alpha * v * v * (phi * phi) + 4.0 * v)) / 2.0
    confident_step(table, slots, values, first, last, alpha * y, alpha * phi / (root + v * alpha * phi), reals)


@inner
def squared_length(values, first, last):
    """sum_i x_i^2."""
    total = 0.0
    for j in range(first, last):
        total += values[j] * values[j]
    return total
