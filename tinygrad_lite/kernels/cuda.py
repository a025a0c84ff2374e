"""CUDA forms of kernels: a short text of CUDA C beside the numba loop, compiled at the first call with GPU arrays that needs it.

One text serves all dtypes: T is what is stored (float, double, __half), A what is computed with (float for halves, too), I
an index. Its functions use shared memory and __syncthreads(), and nothing that only some cards have: so the same text also
runs on the host, where tests compare it with the plain form. What a form does not serve (strides, other dtypes, an array
library without a compiler) takes the plain form.

A form never waits for the GPU: its results stay there, and whoever asks for a number (`float`, `if`) does the waiting.

Left to the array library, whose own single launch is as good: gathering rows (`take`), sums over the first axis (batch norm
of (N, C)), masks and other elementwise ops. Left out: kernels of data that live on the host (text, files, graphs), and
CTC, whose steps follow each other.
"""
import functools
import os

import numpy as np

from ..backend import on_gpu, xp_of
from . import PLAIN

TYPES = {"float16": ("__half", "float"), "float32": ("float", "float"), "float64": ("double", "double")}
THREADS = 256           # of a block, where nothing else is said
compiled = {}           # what `function` has made
FORMS = {}              # name -> function decorated with in_cuda; the forms of kernels are in KERNELS
DETERMINISTIC = os.environ.get("TINYGRAD_LITE_DETERMINISTIC") == "1"       # sums in one order, even where another is faster

PRELUDE = r"""
typedef long long I;

// all of 0..n-1, shared out among the threads of all blocks
#define EACH(i, n) for (I i = blockIdx.x * (I)blockDim.x + threadIdx.x; i < (n); i += (I)gridDim.x * blockDim.x)

// four numbers that are loaded and stored at once
template <class X> struct alignas(sizeof(X) < 4 ? 8 : 16) Four { X at[4]; };

// of one number from each thread of a block, whose size is a power of two, their sum; every thread gets it
template <class C> static __device__ C block_sum(C x) {
    __shared__ C part[1024];
    part[threadIdx.x] = x;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    x = part[0];
    __syncthreads();            // all have read it before the next sum writes there
    return x;
}

// the best number, by `greater`, and its place; of equal ones the first place
static __device__ void block_best(A &x, I &place) {
    __shared__ A best[1024];
    __shared__ I at[1024];
    best[threadIdx.x] = x;
    at[threadIdx.x] = place;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            A other = best[threadIdx.x + half];
            I there = at[threadIdx.x + half];
            if (other > best[threadIdx.x] || (other == best[threadIdx.x] && there < at[threadIdx.x])) {
                best[threadIdx.x] = other;
                at[threadIdx.x] = there;
            }
        }
        __syncthreads();
    }
    x = best[0];
    place = at[0];
    __syncthreads();
}

static __device__ A block_max(A x) { I place = threadIdx.x; block_best(x, place); return x; }

static __device__ A sigmoid(A x) { return A(1) / (A(1) + exp(-x)); }
static __device__ A sign(A x) { return x > A(0) ? A(1) : x < A(0) ? A(-1) : x; }       // NaN stays NaN
static __device__ A nothing() { return log(A(0)); }                                    // -inf
"""


def prelude(dtype):
    """The lines before a text that say what T and A are.

    >>> prelude("float16").splitlines()[:3]
    ['#include <cuda_fp16.h>', 'typedef __half T;', 'typedef float A;']
    """
    stored, computed = TYPES[dtype]
    header = "#include <cuda_fp16.h>\n" if stored == "__half" else ""
    return f"{header}typedef {stored} T;\ntypedef {computed} A;\n{PRELUDE}"


def wide(dtype):
    """The dtype that is computed with where `dtype` is stored: A.

    >>> wide(np.dtype("float16")), wide(np.dtype("float64"))
    (dtype('float32'), dtype('float64'))
    """
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def function(text, name, like):
    """A function of a text, compiled for arrays such as `like`. CuPy keeps what it compiled on disk."""
    key = text, name, like.dtype, type(like)
    if key not in compiled:
        compiled[key] = xp_of(like).RawModule(code=prelude(like.dtype.name) + text).get_function(name)
    return compiled[key]


def run(text, like, name, blocks, threads, *args):
    """Launch a function of a text on arrays of `like`'s dtype. Python's ints arrive as I, its floats as A."""
    blocks = blocks if isinstance(blocks, tuple) else (blocks,)
    if all(blocks):                         # else there is nothing to do
        real = wide(like.dtype).type
        args = tuple([np.int64(a) if isinstance(a, (int, np.integer)) else real(a) if isinstance(a, float) else a for a in args])
        function(text, name, like)(blocks, (threads,), args)


def served(*arrays):
    """True if these are contiguous GPU arrays of one dtype of TYPES, of a library that can compile CUDA.

    >>> served(np.ones(2))
    False
    """
    dtype = arrays[0].dtype
    return (all([on_gpu(a) and a.dtype == dtype and a.flags.c_contiguous for a in arrays]) and dtype.name in TYPES
            and hasattr(xp_of(arrays[0]), "RawModule"))


def ids(*arrays):
    """True if these are contiguous GPU arrays of int64."""
    return all([on_gpu(a) and a.dtype == np.int64 and a.flags.c_contiguous for a in arrays])


def blocks_of(n, threads=THREADS):
    """How many blocks share out n numbers with EACH."""
    return min(-(-n // threads), 1 << 16)


def threads_of(n, most=THREADS):
    """The size of a block that works on n numbers of one row: a power of two of 32..most.

    >>> threads_of(10), threads_of(100), threads_of(10_000)
    (32, 128, 256)
    """
    return min(most, max(32, 1 << (n - 1).bit_length()))


class Form:
    """The CUDA form of a kernel: `launch(run, *args)` with run(name, blocks, threads, *args), for calls with serves(*args).

    `like` says which argument's dtype T is.
    """

    def __init__(self, text, serves, launch, like=0):
        self.text, self.can, self.launch, self.like = text, serves, launch, like

    def serves(self, *args):
        return not PLAIN and self.can(*args)

    def __call__(self, *args):
        return self.launch(functools.partial(run, self.text, args[self.like]), *args)


def form(text, serves, like=0):
    """Decorate launch(run, *args): it becomes a Form, to be given to `kernel(plain, usable, cuda=...)`."""
    return lambda launch: Form(text, serves, launch, like)


def in_cuda(form):
    """Decorate a plain function that is fast enough on the host: on the GPU its form takes the calls that it serves."""
    def decorate(plain):
        @functools.wraps(plain)
        def call(*args):
            return plain(*args) if type(args[0]) is np.ndarray or not form.serves(*args) else form(*args)
        call.plain, call.cuda = plain, form
        FORMS[plain.__name__] = call
        return call
    return decorate
