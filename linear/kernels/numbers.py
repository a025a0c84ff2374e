"""Decimal text to the nearest float64, exactly as Python's float() rounds it, or the admission that it takes longer.

Up to 15 digits and a power of ten up to 10^22 are exact in float64, so one multiplication or division rounds right
(Clinger 1990, PLDI). Up to 19 digits are multiplied by the power in twice the precision (Dekker 1971, Numerische
Mathematik 18); where the result is not clearly on one side of a rounding boundary, and for longer numbers, Python decides.
"""
from fractions import Fraction

import numpy as np

from linear.kernels.compiling import inner

WIDEST = 72                                    # powers of ten from -WIDEST to WIDEST: values end at 1e50, digits at 19
_POWERS = [Fraction(10) ** e for e in range(-WIDEST, WIDEST + 1)]
HIGH = np.array([float(power) for power in _POWERS])
LOW = np.array([float(power - Fraction(float(power))) for power in _POWERS])
EXACT = np.array([10.0 ** e for e in range(23)])
ZERO, NINE = np.uint64(48), np.uint64(9)
SPLIT = 134217729.0                            # 2^27 + 1


@inner
def number(text, at):
    """(end, value) of the decimal number that begins at `at`; end is -1 where there is none, or where Python must decide."""
    negative = text[at] == 45
    if negative or text[at] == 43:
        at += 1
    digits, point, seen, kept = np.uint64(0), 0, 0, 0
    while True:
        c = np.uint64(text[at]) - ZERO               # wraps below 0, to far above 9
        if c <= NINE:
            seen += 1
            digits = digits * np.uint64(10) + c
            kept += kept > 0 or c != np.uint64(0)
            if point:
                point += 1
        elif text[at] == 46 and not point:
            point = 1
        else:
            break
        at += 1
    if seen == 0 or kept > 19:
        return -1, 0.0
    power = 1 - point if point else 0
    if text[at] | 32 == 101:
        at += 1
        down = text[at] == 45
        if down or text[at] == 43:
            at += 1
        shift, first = 0, at
        while np.uint64(text[at]) - ZERO <= NINE:
            shift = min(10000, shift * 10 + np.int64(text[at] - 48))
            at += 1
        if at == first:
            return -1, 0.0
        power += -shift if down else shift
    value = np.float64(digits)
    if digits != np.uint64(0) and (power != 0 or digits >> np.uint64(53)):
        if digits >> np.uint64(53) == np.uint64(0) and -22 <= power <= 22:
            value = value * EXACT[power] if power > 0 else value / EXACT[-power]
        elif -WIDEST <= power <= WIDEST:
            value, sure = times_power(digits, power + WIDEST)
            if not sure:
                return -1, 0.0
        else:
            return -1, 0.0
    return at, -value if negative else value


@inner
def times_power(digits, row):
    """(digits times a power of ten, whether that is surely the nearest float64)."""
    a, b = np.float64(digits), HIGH[row]
    rest = np.float64(np.int64(digits - np.uint64(a)))
    a_high = SPLIT * a - (SPLIT * a - a)
    b_high = SPLIT * b - (SPLIT * b - b)
    a_low, b_low = a - a_high, b - b_high
    product = a * b
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low        # product + error = a b
    low = error + (a * LOW[row] + rest * b)
    value = product + low
    low -= value - product
    doubt = value * 2.0 ** -100
    return value, value + (low + doubt) == value and value + (low - doubt) == value
