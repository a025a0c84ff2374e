"""`linear.rules_vw` compiled, line by line."""
import math

import numpy as np

import linear.kernels.layout as at
from linear.kernels.compiling import inner
from linear.kernels.updates import store


@inner
def nag(table, slots, values, first, last, y, m, h, push, ints, reals):
    """`rules_vw.nag` after its push is known."""
    top, p = reals[at.LARGEST_STORED], reals[at.POWER_T]
    adaptive, normalized = ints[at.ADAPTIVE], ints[at.NORMALIZED]
    e = 1.0 - p if adaptive else 1.0
    gain, q, norm = h * push * push, 0.0, 0.0
    for j in range(first, last):
        x, place = values[j], slots[j]
        if adaptive:
            store(table, place + 1, table[place + 1] + gain * x * x, top)
        if normalized:
            size = np.float64(table[place + 2])
            if abs(x) > size:
                if size > 0.0:
                    store(table, place, table[place] * power(size / abs(x), e), top)
                store(table, place + 2, abs(x), top)
            size = np.float64(table[place + 2])
            norm += x * x / (size * size)
        q += x * x * scale(table, place, p, e, adaptive, normalized)
    c = 1.0
    if normalized:
        reals[at.X] += h * norm
        reals[at.SUM] += h
        c = (reals[at.SUM] / reals[at.X]) ** e
    u = c * step(ints[at.LOSS], y, m, rate(ints, reals) * h, c * q, ints[at.INVARIANT])
    for j in range(first, last):
        place = slots[j]
        store(table, place, table[place] + u * values[j] * scale(table, place, p, e, adaptive, normalized), top)


@inner
def scale(table, place, p, e, adaptive, normalized):
    """`rules_vw._scale`."""
    r = 1.0
    if adaptive:
        g = np.float64(table[place + 1])
        r = 1.0 / math.sqrt(g) if p == 0.5 else g ** -p
    return r / power(np.float64(table[place + 2]), e) if normalized else r


@inner
def step(loss, y, m, eta, q, invariant):
    """`rules_vw.step`."""
    if loss == at.HINGE_LOSS:
        return y * (1.0 - y * m) / q if invariant and eta * q > 1.0 - y * m else y * eta
    if loss == at.SQUARED:
        if not invariant or eta * q < 1e-6:
            return 2.0 * (y - m) * eta
        return (y - m) * (1.0 - math.exp(-2.0 * eta * q)) / q
    d = math.exp(y * m)
    if not invariant or eta * q < 1e-6:
        return y * eta / (1.0 + d)
    return -(y * w_exp_minus(eta * q + y * m + d) + m) / q


@inner
def w_exp_minus(x):
    """`rules_vw._w_exp_minus`."""
    if x >= 1.0:
        w = 0.86 * x + 0.01
        r = x - math.log(w) - w
    else:
        w = math.exp(0.8 * x - 0.65)
        r = 0.2 * x + 0.65 - w
    t = 1.0 + w
    u = 2.0 * t * (t + 2.0 * r / 3.0)
    return w * (1.0 + r / t * (u - r) / (u - 2.0 * r)) - x


@inner
def power(ratio, e):
    """`rules_vw._power`."""
    return ratio if e == 0.5 else ratio * ratio if e == 1.0 else (ratio * ratio) ** e


@inner
def rate(ints, reals):
    """`rules_vw._rate`."""
    if ints[at.ADAPTIVE]:
        return reals[at.LR]
    eta = reals[at.LR] * (reals[at.INITIAL_T] + reals[at.SEEN]) ** -reals[at.POWER_T]
    return eta if ints[at.NORMALIZED] else eta * reals[at.INITIAL_T] ** reals[at.POWER_T]
