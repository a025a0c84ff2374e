"""The modules of the stand-in: `cupy`, `cupyx`, with the functions that the real ones have, and with their arguments."""
import contextlib
import importlib
import types
from importlib.machinery import ModuleSpec

import numpy as np

from .array import UFUNCS, OutOfMemoryError, ndarray, scatter, unwrap, watch, wrap
from .facts import FACTS, check, signature

UPLOAD = "array asarray asanyarray ascontiguousarray asfortranarray".split()
MAKE = """zeros ones empty full eye identity arange linspace logspace tri indices tril_indices triu_indices fromfunction bartlett
    blackman hamming hanning kaiser""".split()
HOST = """broadcast_shapes can_cast common_type find_common_type isscalar iscomplexobj isrealobj issubdtype min_scalar_type ndim
    promote_types result_type shape size may_share_memory shares_memory""".split()          # their answer is no array
# the size of their result, or what they do, depends on numbers that the device alone knows
WAIT = """argwhere asarray_chkfinite bincount choose compress digitize extract flatnonzero gradient histogram interp intersect1d median
    nanmax nanmin nonzero ravel_multi_index setdiff1d setxor1d trim_zeros union1d unique unique_all unique_counts unique_inverse
    unique_values""".split()
NOT_HERE = """apply_along_axis array2string array_repr array_str clear_memo fuse from_dlpack fromDlpack get_array_wrap load loadtxt
    memoize save savetxt savez savez_compressed show_config vectorize who""".split()


def function(name, numpy, bound):
    """cupy.<name>: NumPy's function on stand-ins, with CuPy's arguments, refusing arrays of NumPy."""
    def call(*args, **kwargs):
        check(name, bound, args, kwargs)
        if name == "where" and len(args) == 1 or name in WAIT:
            watch.synchronised(name)
        if name in ("argsort", "sort") and kwargs.pop("kind", None) not in (None, "stable"):
            raise ValueError("kind: only None and 'stable' are supported")
        if name in ("argsort", "sort"):
            kwargs["kind"] = "stable"
        if name == "lexsort" and isinstance(args[0], (tuple, list)):
            raise AttributeError("'tuple' object has no attribute 'ndim'")
        if name == "repeat" and isinstance(args[1], ndarray):
            raise ValueError("cupy.ndaray object cannot be specified as `repeats` argument.")
        if args and name in FACTS["method"] and not isinstance(args[0], (ndarray, np.ndarray)):
            raise AttributeError(f"{type(args[0]).__name__!r} object has no attribute {name!r}")
        if name == "take":
            return args[0].take(*args[1:], **kwargs)
        if name == "take_along_axis":
            args = (args[0], args[1] % args[0].shape[args[2] if len(args) > 2 else kwargs["axis"]], *args[2:])
        result = numpy(*[unwrap(a) for a in args], **unwrap(kwargs))
        return kwargs["out"] if kwargs.get("out") is not None else result if name in HOST else wrap(result)
    call.__name__ = name
    return call


def made(name, numpy, bound):
    def call(*args, **kwargs):
        check(name, bound, args, kwargs)
        return wrap(numpy(*args, **kwargs))
    return call


def asarray(obj, dtype=None, order=None, *, copy=None, blocking=False, always=False):
    """Host to device; lists that hold device arrays are stacked."""
    if isinstance(obj, ndarray):
        same = (dtype is None or obj.dtype == np.dtype(dtype)) and not always
        return obj if same else wrap(np.array(obj._host, dtype=dtype))
    if isinstance(obj, (list, tuple)) and any(isinstance(x, ndarray) for x in obj):
        return wrap(np.array(unwrap(obj), dtype=dtype))
    watch.uploads["asarray"] += 1
    return wrap(np.array(obj, dtype=dtype, order=order or "K"))


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    return asarray(obj, dtype, always=copy)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a)


def get_array_module(*args):
    import cupy
    return cupy if any(isinstance(a, ndarray) for a in args) else np


class Generator:
    """cupy.random.default_rng: draws on the device. (The numbers are NumPy's; the real ones are others.)"""
    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def __getattr__(self, name):
        bound = FACTS["generator"].get(name)
        if bound is None:
            raise AttributeError(f"'Generator' object has no attribute {name!r}")

        def draw(*args, **kwargs):
            check(f"random.Generator.{name}", bound, args, kwargs)
            dtype = kwargs.pop("dtype", None) if name == "uniform" else None
            x = getattr(self._rng, name)(*map(unwrap, args), **unwrap(kwargs))
            return wrap(x if dtype is None else x.astype(dtype))
        return draw


class Stream:
    null = None
    ptr = 0

    def __init__(self, *args, **kwargs): pass
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def synchronize(self): watch.synchronised("Stream.synchronize")
    def record(self, event=None): return event or Event()
    def wait_event(self, event): pass


Stream.null = Stream()


class Event:
    """A mark in the stream. To ask it (a step later) is a late read, no wait for what was just started."""
    done = True

    def __init__(self, *args, **kwargs): pass
    def record(self, stream=None): pass
    def synchronize(self): watch.late_reads["Event.synchronize"] += 1


class Device:
    def __init__(self, id=0): self.id = id
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def synchronize(self): watch.synchronised("Device.synchronize")
    compute_capability = "80"
    mem_info = property(lambda self: memory_info())


class CUDARuntimeError(RuntimeError):
    pass


TOTAL = 1 << 30


def memory_info():
    return TOTAL, TOTAL


class Pool:
    def used_bytes(self): return 0
    def total_bytes(self): return 0
    def free_bytes(self): return 0
    def n_free_blocks(self): return 0
    def free_all_blocks(self): pass
    def get_limit(self): return 0


def module(name, **members):
    m = types.ModuleType(name)
    m.__spec__ = ModuleSpec(name, None)
    vars(m).update(members)
    return m


def build():
    """name in sys.modules -> module, a fresh set."""
    functions = {}
    others = {name: signature("*args, **kwargs") for name in set(FACTS["ufunc"]) - set(UFUNCS)}      # no ufuncs in NumPy
    for name, bound in (FACTS["function"] | others).items():
        numpy = np
        with contextlib.suppress(AttributeError):
            for part in name.split("."):
                numpy = getattr(numpy, part)
            if name not in NOT_HERE + UPLOAD:
                functions[name] = (made if name in MAKE else function)(name, numpy, bound)
    linalg = {name.split(".")[1]: f for name, f in functions.items() if "." in name}
    shared = {name: getattr(np, name) for name in """float16 float32 float64 int8 int16 int32 int64 intp uint8 uint16 uint32 uint64
        bool_ integer floating generic number dtype finfo iinfo newaxis pi e inf nan ndindex""".split()}
    functions["matmul"] = lambda a, b, out=None: wrap(np.matmul(unwrap(a), unwrap(b), unwrap(out)))
    cupy = module("cupy", __version__=next(iter(FACTS["version"])), ndarray=ndarray, **shared,
                  **UFUNCS, **{name: f for name, f in functions.items() if "." not in name and name not in UFUNCS | shared},
                  asarray=asarray, array=array, asanyarray=asarray, asnumpy=asnumpy,
                  ascontiguousarray=lambda a, dtype=None: wrap(np.ascontiguousarray(asarray(a)._host, dtype)),
                  is_available=lambda: True,
                  get_default_memory_pool=lambda: POOL, get_default_pinned_memory_pool=lambda: POOL)
    cupy.linalg = module("cupy.linalg", **linalg, LinAlgError=np.linalg.LinAlgError)
    cupy.linalg.matmul = cupy.matmul
    cupy.random = module("cupy.random", default_rng=Generator, Generator=Generator)
    runtime = module("cupy.cuda.runtime", getDeviceCount=lambda: 1, CUDARuntimeError=CUDARuntimeError, memGetInfo=memory_info,
                     runtimeGetVersion=lambda: 12090, driverGetVersion=lambda: 13000, deviceSynchronize=Device().synchronize,
                     getDeviceProperties=lambda i: {"name": b"stand-in"})
    memory = module("cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError)
    cupy.cuda = module("cupy.cuda", runtime=runtime, memory=memory, Stream=Stream, Event=Event, Device=Device,
                       get_current_stream=lambda: Stream.null, alloc_pinned_memory=bytearray, is_available=lambda: True)
    special = module("cupyx.scipy.special")
    special.__getattr__ = lambda name: special_function(name)
    scipy = module("cupyx.scipy", special=special)
    cupyx = module("cupyx", scipy=scipy, scatter_add=lambda a, slices, value: scatter(np.add, a, slices, value),
                   rsqrt=lambda x: wrap(1 / np.sqrt(unwrap(x))), empty_pinned=np.empty, zeros_pinned=np.zeros,
                   errstate=lambda **kwargs: contextlib.nullcontext())
    return {"cupy": cupy, "cupy.linalg": cupy.linalg, "cupy.random": cupy.random, "cupy.cuda": cupy.cuda,
            "cupy.cuda.runtime": runtime, "cupy.cuda.memory": memory, "cupyx": cupyx, "cupyx.scipy": scipy,
            "cupyx.scipy.special": special}


def special_function(name):
    if name not in FACTS["special"]:
        raise AttributeError(f"module 'cupyx.scipy.special' has no attribute {name!r}")
    scipy = getattr(importlib.import_module("scipy.special"), name)
    return lambda *args, **kwargs: wrap(scipy(*[unwrap(a) for a in args], **unwrap(kwargs)))


POOL = Pool()
