"""Functions of one number, for use inside loops. In float32 they are polynomials that vectorise; numba's own calls
into the C library do not, and cost ten times as much. Everything is correct for NaN and both infinities."""
import functools

import numpy as np


def exp(x):
    """e^x. In a compiled float32 loop within 1 unit in the last place, over the whole range.

    x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a polynomial (Cephes, S. Moshier 1984); 2^n put together from its
    bits in two factors, so that results below the smallest normal number come out right too.
    """
    return np.exp(x)


def _exp32(x):
    x = np.float32(104) if x > np.float32(104) else x       # comparisons that fail for NaN let it through
    x = np.float32(-104) if x < np.float32(-104) else x
    n = (x * np.float32(1.44269504088896341) + np.float32(12582912)) - np.float32(12582912)    # rounds to an integer
    r = x - n * np.float32(0.693359375)
    r = r + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1)
    k = np.int32(n)
    half = k >> np.int32(1)
    a = np.int32((half + np.int32(127)) << np.int32(23)).view(np.float32)
    b = np.int32((k - half + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * a * b


@functools.cache
def register():
    """Tell numba what stands for these functions in a loop, per dtype."""
    from numba import njit, types
    from numba.extending import overload
    fast = njit(error_model="numpy", fastmath={"contract"}, forceinline=True)(_exp32)      # without reassoc: n must round

    @overload(exp, inline="never")
    def _(x):
        return (lambda x: fast(x)) if x == types.float32 else (lambda x: np.exp(x))
