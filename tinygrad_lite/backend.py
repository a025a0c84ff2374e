"""Which array library an array lives on: NumPy in, NumPy through; CuPy in, CuPy through.

The one file that names CuPy. An array is recognised by the module its type comes from, so
people without a GPU never import CuPy, not even to learn that they have none. What a model
computes with is decided by its arrays: `model.to("cuda")` and `to_device(batch)` are all there is to say.

    TINYGRAD_LITE_BACKEND=cuda      what default_device() answers, for scripts that ask it
"""
import importlib.util
import os
from typing import NamedTuple

import numpy as np

def on_gpu(array):
    """True for a CuPy array (CuPy is not imported to find out).

    >>> on_gpu(np.ones(2))
    False
    """
    kind = type(array)
    return kind is not np.ndarray and kind.__module__.startswith("cupy")


def mixture(arrays):
    """Why these arrays cannot be used together, with the way out, in a sentence; None if they can. Numbers are at home everywhere.

    >>> mixture([np.ones(2), 3.0, np.float32(1)])
    """
    homes = {a.device.id if on_gpu(a) else "host" for a in arrays if hasattr(a, "shape") and not isinstance(a, np.generic)}
    if len(homes) < 2:
        return None
    if "host" in homes:
        return ("arrays on the host (NumPy) and on the GPU (CuPy) cannot be mixed: move one with to_device(x), to_host(x) "
                "or model.to('cuda'|'cpu')")
    return (f"arrays on the GPUs {', '.join(map(str, sorted(homes)))} cannot be mixed: make all of them on one, inside "
            "`with cupy.cuda.Device(0):`")


def xp_of(*arrays):
    """The array library of these arrays, `numpy` or `cupy`; a mixture raises TypeError.

    >>> xp_of(np.ones(2), 3.0).__name__
    'numpy'
    """
    if not any(map(on_gpu, arrays)):
        return np
    if why := mixture(arrays):
        raise TypeError(why)
    return _cupy()


def special(x):
    """The library of special functions (erf) for x: `scipy.special` or its twin on the GPU.

    >>> float(special(np.ones(2)).erf(0.0))
    0.0
    """
    if on_gpu(x):
        from cupyx.scipy import special as functions
    else:
        from scipy import special as functions
    return functions


# --- devices
def available():
    """The devices that can be used here, "cpu" first. Why "cuda" is not among them says `obstacle()`.

    >>> available()[0]
    'cpu'
    """
    return ["cpu"] if obstacle() else ["cpu", "cuda"]


def obstacle():
    """Why no GPU can be used here, with the way out, in a sentence; None if one can.

    >>> ("cuda" in available()) == (obstacle() is None)
    True
    """
    if importlib.util.find_spec("cupy") is None:
        return ("device 'cuda' needs CuPy, which is not installed: pip install 'tinygrad-lite[gpu]' (for CUDA 13), or cupy-cuda12x "
                "for a driver of CUDA 12")
    try:
        runtime = _cupy().cuda.runtime
        driver, built = runtime.driverGetVersion() // 1000, runtime.runtimeGetVersion() // 1000
    except Exception as error:              # a CuPy whose own libraries are missing fails in many ways
        return f"CuPy is installed but cannot be used ({type(error).__name__}: {error}): install the one for this machine's CUDA"
    if driver == 0:
        return "CuPy is installed, but there is no NVIDIA driver: install it, until `nvidia-smi` lists a GPU"
    if driver < built:
        return (f"this CuPy was built for CUDA {built}, the driver is of CUDA {driver}: pip install cupy-cuda{driver}x instead "
                "(and uninstall the other), or update the driver")
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return f"the NVIDIA driver reports no GPU that can be used ({error}): see `nvidia-smi` and CUDA_VISIBLE_DEVICES"
    return None if count else "the NVIDIA driver sees no GPU: see `nvidia-smi` and CUDA_VISIBLE_DEVICES"


def default_device():
    """The device that the environment variable TINYGRAD_LITE_BACKEND names, "cpu" or "cuda"; "cpu" without it.

    >>> default_device() in ("cpu", "cuda")
    True
    """
    return checked(os.environ.get("TINYGRAD_LITE_BACKEND") or "cpu", "TINYGRAD_LITE_BACKEND")


def checked(device, what="device"):
    if device not in ("cpu", "cuda"):
        raise ValueError(f"{what}: got {device!r}, expected 'cpu' or 'cuda'")
    return device


def to_device(array, device="cuda"):
    """The array on `device`, "cpu" or "cuda"; the same object if it is there already.

    RuntimeError if there is no GPU to use, MemoryError if the array does not fit into its memory; both say the way out.

    >>> x = np.ones(2)
    >>> to_device(x, "cpu") is x
    True
    """
    if checked(device) == "cpu":
        return to_host(array)
    if on_gpu(array):
        return array
    try:
        return _cupy().asarray(array)
    except MemoryError as error:
        raise MemoryError(f"to_device: {np.asarray(array).nbytes:,} bytes do not fit on the GPU: {advice(error)}") from error
    except RuntimeError as error:
        raise RuntimeError(f"to_device: {obstacle() or error}") from error


def to_host(array):
    """The array as a NumPy array.

    >>> to_host(np.ones(2)).sum()
    np.float64(2.0)
    """
    return array.get() if on_gpu(array) else np.asarray(array)


def like(x, array):
    """A host array (ids, lengths, a table of constants) moved to where x lives; x's own library's arrays stay.

    >>> like(np.ones(2), [1, 2])
    array([1, 2])
    """
    if type(x) is type(array) is np.ndarray:
        return array
    return to_device(array) if on_gpu(x) else array if on_gpu(array) else np.asarray(array)


def beside(array, x):
    """The array where x lives, on the GPU or on the host.

    >>> beside(array := np.ones(2), np.zeros(3)) is array
    True
    """
    return to_device(array) if on_gpu(x) else to_host(array)


# --- memory
class Memory(NamedTuple):
    """Bytes of GPU memory: in arrays, held by CuPy's pool (arrays included), free for anyone, on the card."""
    used: int
    reserved: int
    free: int
    total: int


def memory():
    """How full the GPU is: Memory(used, reserved, free, total) in bytes. RuntimeError where there is none.

    >>> Memory(1, 2, 3, 4).reserved
    2
    """
    if reason := obstacle():
        raise RuntimeError(f"memory: {reason}")
    cupy = _cupy()
    pool = cupy.get_default_memory_pool()
    return Memory(pool.used_bytes(), pool.total_bytes(), *cupy.cuda.runtime.memGetInfo())


def free_memory():
    """Give the pool's unused blocks back to the card, for other processes (CuPy keeps them for the next arrays)."""
    if "cuda" in available():
        _cupy().get_default_memory_pool().free_all_blocks()


def advice(error):
    """What to do about an allocation that failed on the GPU."""
    used, reserved, free, total = memory()
    return (f"{error} The arrays here hold {used:,} bytes, the pool {reserved:,}, free are {free:,} of {total:,}. Use a smaller "
            "batch (fit(accumulate=n) keeps the step the same), float16 storage, or free arrays that are still referenced (`del loss`, "
            "opt.zero_grad(), then tg.backend.free_memory())")


def random_generator(seed):
    """A generator of random numbers on the GPU."""
    return _cupy().random.default_rng(seed)


def _cupy():
    try:
        import cupy
    except ImportError:
        if importlib.util.find_spec("cupy") is None:
            raise ImportError(obstacle()) from None
        raise
    return cupy
