"""What NumPy does too slowly. One file per family; the plain NumPy form, which defines the result, the numba loop and
the CUDA form stand together. numba is imported, and a loop compiled, at the first call that needs it; compiled loops
are cached on disk, so each machine pays once.

    TINYGRAD_LITE_KERNELS=numpy     run the plain forms instead (to debug, or where numba lags behind a new Python)
"""
import functools
import os

import numpy as np

PLAIN = os.environ.get("TINYGRAD_LITE_KERNELS", "numba") == "numpy"
KERNELS = {}            # name -> (plain form, loop): the table that tests walk
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# The C library hands freed arrays of 128 KB and more back to the system, and fresh pages for the next ones cost as much as
# the arithmetic on them. glibc raises that limit to the largest array freed so far: here one of its maximum, never touched.
np.empty(31 << 20, np.uint8)


def compiled(loop, reorder=False):
    """numba's version of a loop: lazily compiled per dtype, cached on disk, divisions as in NumPy (no exceptions).

    `reorder` lets sums be taken in any order, which vectors need. Flags that assume no NaN are never used:
    they would delete the very checks that look for it.
    """
    from numba import njit
    from . import gemm, scalars
    gemm.register()
    scalars.register()
    return njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"} if reorder else False)(loop)


def kernel(plain, usable, reorder=False, cuda=None):
    """Decorate a loop with its plain form; calls go to the compiled loop where `usable(*args)` holds.

    The loop serves contiguous float32 and float64 arrays on the host, and `cuda`, a Form of cuda.py, what it says it
    serves; everything else (strides, float16 on the host) takes the plain form, so that every dtype and layout has an answer.

    >>> @kernel(lambda x: float(x.sum()), lambda x: x.dtype in FLOATS)
    ... def _total(x):
    ...     s = 0.0
    ...     for v in x:
    ...         s += float(v)
    ...     return s
    >>> _total(np.ones(3, "f")), _total(np.ones(3, np.float16))
    (3.0, 3.0)
    """
    def decorate(loop):
        fast = None

        @functools.wraps(plain)
        def call(*args):
            nonlocal fast
            if PLAIN or not usable(*args):
                return cuda(*args) if cuda is not None and cuda.serves(*args) else plain(*args)
            if fast is None:
                fast = compiled(loop, reorder) if loop.__code__.co_filename.endswith(".py") else loop
                call.fast = fast
            return fast(*args)
        call.plain, call.loop, call.cuda = plain, loop, cuda
        if loop.__code__.co_filename.endswith(".py"):
            KERNELS[loop.__name__] = call
        return call
    return decorate


def ready(*arrays):
    """True if these are contiguous host arrays of one float32 or float64 dtype."""
    dtype = arrays[0].dtype
    if dtype not in FLOATS:
        return False
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype is not dtype or not a.flags.c_contiguous:
            return False
    return True


def fresh(x, shape):
    """A new array of x's library and dtype, not yet filled. (On the host np.empty costs a fifth of np.empty_like.)

    >>> fresh(np.ones(2, "f"), (3, 1)).shape
    (3, 1)
    """
    return np.empty(shape, x.dtype) if type(x) is np.ndarray else np.empty_like(x, shape=shape, order="C")
