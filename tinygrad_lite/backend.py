"""Which array library an array lives on: NumPy in, NumPy through; CuPy in, CuPy through.

The one file that names CuPy. An array is recognised by the module its type comes from, so
people without a GPU never import CuPy, not even to learn that they have none.
"""
import importlib.util

import numpy as np


def on_gpu(array):
    """True for a CuPy array (CuPy is not imported to find out).

    >>> on_gpu(np.ones(2))
    False
    """
    kind = type(array)
    return kind is not np.ndarray and kind.__module__.startswith("cupy")


def xp_of(*arrays):
    """The array library of these arrays, `numpy` or `cupy`; a mixture raises TypeError.

    >>> xp_of(np.ones(2), 3.0).__name__
    'numpy'
    """
    gpu = [on_gpu(a) for a in arrays if hasattr(a, "shape") and not isinstance(a, np.generic)]
    if not any(gpu):
        return np
    if not all(gpu):
        raise TypeError("arrays on the host (NumPy) and on the GPU (CuPy) cannot be mixed: "
                        "move one with to_device(x), to_host(x) or model.to('cuda'|'cpu')")
    return _cupy()


def available():
    """The devices that can be used here, "cpu" first.

    >>> available()[0]
    'cpu'
    """
    if importlib.util.find_spec("cupy") is None:
        return ["cpu"]
    cupy = _cupy()
    try:
        return ["cpu", "cuda"] if cupy.cuda.runtime.getDeviceCount() else ["cpu"]
    except cupy.cuda.runtime.CUDARuntimeError:      # CuPy without a driver or a card
        return ["cpu"]


def to_device(array, device="cuda"):
    """The array on `device`, "cpu" or "cuda"; the same object if it is there already.

    >>> x = np.ones(2)
    >>> to_device(x, "cpu") is x
    True
    """
    if device == "cpu":
        return to_host(array)
    if device != "cuda":
        raise ValueError(f"device: got {device!r}, expected 'cpu' or 'cuda'")
    return array if on_gpu(array) else _cupy().asarray(array)


def to_host(array):
    """The array as a NumPy array.

    >>> to_host(np.ones(2)).sum()
    np.float64(2.0)
    """
    return array.get() if on_gpu(array) else np.asarray(array)


def _cupy():
    try:
        import cupy
    except ImportError:
        raise ImportError("device 'cuda' needs CuPy: pip install 'tinygrad-lite[gpu]'") from None
    return cupy
