"""Runs CUDA texts on the host: the same text through g++, so that what a GPU would compute is compared where there is none.

    cupy.RawModule = HostModule             # on the stand-in: kernels find a compiler and launch their CUDA forms

Blocks run one after the other. A block's threads are fibers on one stack each: a thread runs until __syncthreads() or its
end, then the next one has its turn. So a run is the same every time, and a missing barrier is no race that is won by luck:
run forwards and `backwards`, one of the two reads what was not yet written. Barriers that not all threads reach
together, and arguments of another number or type than the parameters, end the test (a GPU would go on with rubbish).

All texts of a dtype are compiled at once: g++ needs longer to start than for a kernel.
"""
import ctypes
import functools
import itertools
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from tinygrad_lite import clip, losses, nn, optim, vectors  # noqa: F401  (rooms load at first use, and fill the table)
from tinygrad_lite.kernels import KERNELS
from tinygrad_lite.kernels.cuda import FORMS, TYPES, prelude
from tinygrad_lite.kernels.updates import Lifted, cuda_source

SHIM = r"""
#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>
#include <utility>
#define __global__
#define __device__
#define __shared__ static __attribute__((section("shared")))
#define __syncthreads() wait_at(__LINE__)

struct Place { unsigned x, y, z; };
static Place threadIdx, blockIdx, blockDim, gridDim;
template <class X> X atomicAdd(X *at, X x) { X before = *at; *at = X(before + x); return before; }

#ifdef __aarch64__
struct __half { __fp16 value; __half() = default; __half(float x) : value(x) {} operator float() const { return value; } };
#else
typedef short Halves __attribute__((vector_size(16)));
typedef float Floats __attribute__((vector_size(16)));
struct __half {
    short bits;
    __half() = default;
    __half(float x) : bits(__builtin_ia32_vcvtps2ph(Floats{x}, 0)[0]) {}
    operator float() const { return __builtin_ia32_vcvtph2ps(Halves{bits})[0]; }
};
#endif

struct Fiber { char stack[1 << 15]; jmp_buf state; int waits; bool started; };      // waits: the line of its barrier; 0: ended
static Fiber fibers[1024];
static jmp_buf scheduler;
static void (*body)();
static void **args;

static void wait_at(int line) {
    Fiber &me = fibers[threadIdx.x];
    me.waits = line;
    if (!_setjmp(me.state)) _longjmp(scheduler, 1);
}

static void live() {
    body();
    fibers[threadIdx.x].waits = 0;
    _longjmp(scheduler, 1);
}

static void turn(unsigned thread) {
    Fiber &fiber = fibers[thread];
    threadIdx.x = thread;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.state, 1);
    static ucontext_t born;
    fiber.started = true;
    getcontext(&born);
    born.uc_stack.ss_sp = fiber.stack;
    born.uc_stack.ss_size = sizeof fiber.stack;
    makecontext(&born, live, 0);
    setcontext(&born);
}

__attribute__((section("shared"))) static int first;                    // so that there is such a section
extern char __start_shared[], __stop_shared[];

static const char *run_block(unsigned threads, bool backwards) {
    memset(__start_shared, 0xff, __stop_shared - __start_shared);       // NaN: nobody finds what an earlier block left there
    for (unsigned t = 0; t < threads; t++) fibers[t].started = false;
    for (int line = -1; line;) {
        for (unsigned k = 0; k < threads; k++) {
            unsigned t = backwards ? threads - 1 - k : k;
            if (line == -1 || fibers[t].waits) turn(t);
        }
        line = 0;
        for (unsigned t = 0; t < threads; t++) {
            if (line && fibers[t].waits && fibers[t].waits != line) return "threads wait at different barriers";
            line = fibers[t].waits ? fibers[t].waits : line;
        }
    }
    return "";
}

// what an argument must be, as a word of letters
template <class P> struct Kind;
template <> struct Kind<float> { static constexpr const char *word = "f4", *pointer = "*f4"; };
template <> struct Kind<double> { static constexpr const char *word = "f8", *pointer = "*f8"; };
template <> struct Kind<__half> { static constexpr const char *word = "f2", *pointer = "*f2"; };
template <> struct Kind<long long> { static constexpr const char *word = "i8", *pointer = "*i8"; };
template <> struct Kind<bool> { static constexpr const char *word = "b1", *pointer = "*b1"; };
template <class P> struct Kind<P *> { static constexpr const char *word = Kind<P>::pointer; };
template <class P> struct Kind<const P *> { static constexpr const char *word = Kind<P>::pointer; };

template <auto kernel> struct Kernel;
template <class... P, void (*kernel)(P...)> struct Kernel<kernel> {
    static constexpr const char *kinds[] = {Kind<P>::word..., nullptr};
    template <size_t... N> static void call(std::index_sequence<N...>) { kernel(*(P *)args[N]...); }
    static void thread() { call(std::index_sequence_for<P...>()); }
};

static const char *launch(void (*thread)(), void **arguments, unsigned *grid, unsigned threads, bool backwards) {
    body = thread;
    args = arguments;
    blockDim = {threads, 1, 1};
    gridDim = {grid[0], grid[1], grid[2]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)
                if (const char *wrong = run_block(threads, backwards); *wrong) return wrong;
    return "";
}
"""
GPP = ["g++", "-std=c++17", "-O1", "-ffp-contract=off", "-fno-strict-aliasing", "-shared", "-fPIC", "-fno-gnu-unique", "-w"]
NAMES = re.compile(r"__global__ void (\w+)\(")


# the CUDA texts of all kernels, each once
TEXTS = tuple(dict.fromkeys(cuda_source(k.formula, k.name)[0] if isinstance(k, Lifted) else k.cuda.text
                            for k in [*KERNELS.values(), *FORMS.values()] if isinstance(k, Lifted) or k.cuda is not None))


def joined(dtype, parts):
    """Texts as one, each in a namespace of its own."""
    spaces = "".join(f"namespace text_{i} {{\n{part}\n}}\n" for i, part in enumerate(parts))
    return prelude(dtype).replace("#include <cuda_fp16.h>", "") + spaces


@functools.cache
def library(dtype, parts):
    """The texts, compiled for a dtype."""
    entries = "".join(f'extern "C" const char *run_{name}(void **a, unsigned *g, unsigned t, bool b) '
                      f"{{ return launch(Kernel<text_{i}::{name}>::thread, a, g, t, b); }}\n"
                      f'extern "C" const char *kinds_{name}(int i) {{ return Kernel<text_{i}::{name}>::kinds[i]; }}\n'
                      for i, part in enumerate(parts) for name in NAMES.findall(part))
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "texts.cpp"), Path(folder, "texts.so")
        source.write_text(SHIM + joined(dtype, parts) + entries)
        flags = [] if Path("/proc/cpuinfo").exists() and "f16c" not in Path("/proc/cpuinfo").read_text() else ["-mf16c"]
        subprocess.run([*GPP, *flags, source, "-o", result], check=True)
        return ctypes.CDLL(str(result))


class HostModule:
    """What CuPy's RawModule is, for stand-in arrays."""
    backwards = False
    launched = set()

    def __init__(self, code):
        self.dtype = next(d for d in TYPES if code.startswith(prelude(d)))
        text = code[len(prelude(self.dtype)):]
        self.library = library(self.dtype, TEXTS if text in TEXTS else (text,))

    def get_function(self, name):
        run, kinds = self.library[f"run_{name}"], self.library[f"kinds_{name}"]
        run.restype = kinds.restype = ctypes.c_char_p
        expected = [word.decode() for word in iter(map(kinds, itertools.count()).__next__, None)]

        def call(grid, block, args):
            HostModule.launched.add(name)
            got, values = zip(*map(passed, args))
            fits = [a == b or a[0] == "*" and b == "i8" and v == 0 for a, b, v in zip(expected, got, values)]       # 0: no pointer
            assert len(got) == len(expected) and all(fits), f"{name}: got {got}, expected {expected}"
            pointers = (ctypes.c_void_p * len(args))(*[v.ctypes.data for v in values])
            grid = (ctypes.c_uint * 3)(*grid, *(1, 1, 1)[len(grid):])
            wrong = run(pointers, grid, ctypes.c_uint(block[0]), ctypes.c_bool(HostModule.backwards)).decode()
            assert not wrong, f"{name}: {wrong}"
        return call


def passed(arg):
    """(what kind of argument it is, the bytes that are passed)."""
    if hasattr(arg, "_host"):
        assert arg.flags.c_contiguous
        return f"*{arg.dtype.kind}{arg.dtype.itemsize}", np.array(arg._host.ctypes.data, np.uint64)
    assert isinstance(arg, np.generic), f"{arg!r}: CuPy takes arrays and NumPy's numbers"
    return f"{arg.dtype.kind}{arg.dtype.itemsize}", np.array(arg)
