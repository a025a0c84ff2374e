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


def tanh(x):
    """(e^2x - 1) / (e^2x + 1). In a compiled float32 loop within 3 units in the last place.

    e^2x - 1 is put together as (e^r - 1) 2^n + (2^n - 1), so that small x keep their digits.
    """
    return np.tanh(x)


def _halved(x):
    """(q, n) with e^x = (1 + q) 2^n: n whole, |x - n ln 2| <= ln 2 / 2, q = e^(x - n ln 2) - 1 by the polynomial."""
    n = (x * np.float32(1.44269504088896341) + np.float32(12582912)) - np.float32(12582912)    # rounds to an integer
    r = x - n * np.float32(0.693359375)
    r = r + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    return p * r * r + r, np.int32(n)


def _power(k):
    """2^k for a whole number k of -126..127, from its bits."""
    return np.int32((k + np.int32(127)) << np.int32(23)).view(np.float32)


def prefetch(matrix, row):
    """Tell the memory that a row is needed soon: several rows on their way at once cost little more than one.

    Only a compiled loop does so; what is computed does not change.
    """


def _exp32(x):
    x = np.float32(104) if x > np.float32(104) else x       # comparisons that fail for NaN let it through
    x = np.float32(-104) if x < np.float32(-104) else x
    q, k = _halved(x)
    half = k >> np.int32(1)
    return (q + np.float32(1)) * _power(half) * _power(k - half)


def _tanh32(x):
    x = x + x
    x = np.float32(18.5) if x > np.float32(18.5) else x     # beyond, float32 has no number between tanh and 1
    x = np.float32(-18.5) if x < np.float32(-18.5) else x
    q, k = _halved(x)
    a = _power(k)
    e = q * a + (a - np.float32(1))
    return e / (e + np.float32(2))


@functools.cache
def register():
    """Tell numba what stands for these functions in a loop, per dtype."""
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic, overload
    options = dict(error_model="numpy", fastmath={"contract"}, forceinline=True)            # without reassoc: n must round
    exp32, tanh32 = njit(**options)(_exp32), njit(**options)(_tanh32)
    overload(_halved, jit_options=options)(lambda x: _halved)
    overload(_power, jit_options=options)(lambda k: _power)

    @overload(exp, inline="never")
    def _(x):
        return (lambda x: exp32(x)) if x == types.float32 else (lambda x: np.exp(x))

    @overload(tanh, inline="never")
    def _(x):
        return (lambda x: tanh32(x)) if x == types.float32 else (lambda x: np.tanh(x))

    @intrinsic
    def line(context, matrix, row, column):
        def code(context, builder, signature, args):
            array = context.make_array(signature.args[0])(context, builder, args[0])
            place = cgutils.get_item_pointer(context, builder, signature.args[0], array, args[1:], wraparound=False)
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0i8")
            # to read, into every cache, data
            builder.call(function, [builder.bitcast(place, byte), number(0), number(3), number(1)])
            return context.get_dummy_value()
        return types.void(matrix, types.intp, types.intp), code

    @overload(prefetch)
    def _(matrix, row):
        def lines(matrix, row):
            for column in range(0, matrix.shape[1], 64 // matrix.itemsize):
                line(matrix, row, column)
        return lines
