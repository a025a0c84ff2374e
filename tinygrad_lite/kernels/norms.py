"""Sums over one array that must be both exact and fast: the square sum behind every gradient norm."""
import numpy as np

from ..backend import on_gpu
from . import cuda, kernel, ready

SHORT = 8192            # numbers


def _plain(x):
    x = x.astype(np.float64)
    total = np.vdot(x, x)
    return total if on_gpu(x) else float(total)


CUDA = r"""
extern "C" __global__ void sums_of_squares(const T *x, I n, double *sums) {             // one sum a block
    double sum = 0;
    EACH(i, n) sum += (double)(A)x[i] * (double)(A)x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

extern "C" __global__ void sum_of_sums(const double *sums, I n, double *total) {
    double sum = 0;
    EACH(i, n) sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *total = sum;
}
"""


@cuda.form(CUDA, cuda.served)
def _cuda(run, x):
    blocks = min(cuda.blocks_of(x.size), 1024)
    sums, total = [np.empty_like(x, np.float64, shape=shape) for shape in ((blocks,), ())]
    run("sums_of_squares", blocks, cuda.THREADS, x, x.size, sums)
    run("sum_of_sums", 1, cuda.THREADS, sums, blocks, total)
    return total


@kernel(_plain, lambda x: ready(x), reorder=True, cuda=_cuda)
def _sum_of_squares(x):
    total = 0.0
    for start in range(0, x.size, 256):     # short sums in the array's dtype, their total in float64
        s = x.dtype.type(0)
        for i in range(start, min(start + 256, x.size)):
            s += x[i] * x[i]
        total += s
    return total


def sum_of_squares(x):
    """x.x of a 1-d array with float64's range and nearly its digits, at float32's speed. On the GPU a 0-d array: nobody waits.

    >>> f"{sum_of_squares(np.full(4, 1e30, np.float32)):.3}"        # each square alone overflows float32
    '4e+60'
    """
    if on_gpu(x):
        return _sum_of_squares(x)
    if x.size <= SHORT and type(x) is np.ndarray and x.dtype != np.float16:
        total = float(np.vdot(x, x))        # BLAS adds in many lanes: few terms each; dot would warn of overflow
    else:
        total = _sum_of_squares(x)
    if 1e-30 < total < 1e37 or x.dtype == np.float64 or total == 0 and not x.any():
        return total
    return _plain(x)                        # out of float32's comfortable range, or not finite
