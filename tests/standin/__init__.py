"""A strict stand-in for CuPy, so that the path of GPU arrays is tested where there is no GPU.

    from tests.standin import cupy_standin
    with cupy_standin() as gpu:                 # or the fixture `gpu` of conftest.py
        x = gpu.array(np.ones(3))               # a "device" array; tg.backend.to_device(x) does the same
        with gpu.strict():                      # each wait of the host for the device raises Synchronised
            y = x * 2
        gpu.host(y)                             # back to NumPy, not counted
        gpu.synchronisations                    # Counter of item, get, bool, float, boolean masks, nonzero, unique, ...
        gpu.late_reads, gpu.uploads             # reads of an event or without blocking; host arrays sent to the device
        gpu.memory_limit(1000)                  # larger arrays raise CuPy's OutOfMemoryError

While the block lasts `import cupy` finds modules with the functions, arguments and dtypes that the real CuPy has
(cupy_facts.txt, which record.py writes from an installed one). Arrays hold a NumPy array and give its numbers, and refuse
what CuPy refuses: NumPy arrays as operands, `np.asarray`, functions, arguments and options that CuPy lacks. They return 0-d
arrays for numbers, wrap indices around instead of refusing them, and count whatever would make the host wait. There is no
RawKernel, RawModule or ElementwiseKernel (`hasattr` is False): CUDA forms of kernels are not run, their plain forms are.

    python -m tests.standin                     the table of all ops, losses and layers: cases that agree, waits of each
"""
import contextlib
import sys

import numpy as np

from .array import Synchronised, ndarray, watch, wrap_array
from .library import build

__all__ = ["cupy_standin", "Synchronised", "Standin"]


class Standin:
    """What a test asks of the stand-in."""
    ndarray = ndarray
    strict = staticmethod(watch.strict)
    synchronisations = property(lambda self: watch.synchronisations)
    late_reads = property(lambda self: watch.late_reads)
    uploads = property(lambda self: watch.uploads)

    def array(self, x):
        return wrap_array(x)

    def host(self, x):
        return x._host.copy() if isinstance(x, ndarray) else np.asarray(x)

    def reset(self):
        """Start counting anew."""
        for counter in (watch.synchronisations, watch.late_reads, watch.uploads):
            counter.clear()

    def memory_limit(self, most):
        """Arrays of more bytes than this do not fit; None lifts the limit."""
        watch.limit = most


@contextlib.contextmanager
def cupy_standin():
    """A block in which `import cupy` finds the stand-in."""
    before = {name: m for name, m in sys.modules.items() if name.split(".")[0] in ("cupy", "cupyx")}
    for name in before:
        del sys.modules[name]
    gpu = Standin()
    gpu.reset()
    modules = build()
    sys.modules.update(modules)
    try:
        yield gpu
    finally:
        gpu.memory_limit(None)
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)
