"""Sums over one array that must be both exact and fast: the square sum behind every gradient norm."""
import numpy as np

from . import kernel, ready

SHORT = 8192            # numbers


def _plain(x):
    x = x.astype(np.float64)
    return float(np.vdot(x, x))


@kernel(_plain, lambda x: ready(x), reorder=True)
def _sum_of_squares(x):
    total = 0.0
    for start in range(0, x.size, 256):     # short sums in the array's dtype, their total in float64
        s = x.dtype.type(0)
        for i in range(start, min(start + 256, x.size)):
            s += x[i] * x[i]
        total += s
    return total


def sum_of_squares(x):
    """x.x of a 1-d array with float64's range and nearly its digits, at float32's speed.

    >>> f"{sum_of_squares(np.full(4, 1e30, np.float32)):.3}"        # each square alone overflows float32
    '4e+60'
    """
    if x.size <= SHORT and type(x) is np.ndarray and x.dtype != np.float16:
        total = float(np.vdot(x, x))        # BLAS adds in many lanes: few terms each; dot would warn of overflow
    else:
        total = _sum_of_squares(x)
    if 1e-30 < total < 1e37 or x.dtype == np.float64 or total == 0 and not x.any():
        return total
    return _plain(x)                        # out of float32's comfortable range, or not finite
