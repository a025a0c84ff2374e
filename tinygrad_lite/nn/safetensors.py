"""Reading and writing PyTorch's .safetensors files: an 8-byte length, a JSON header, then the numbers. No pickle, no PyTorch."""
import json
import math
import mmap
import os
import struct

import numpy as np

from ..backend import to_host
from ..tensor import plain

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
          "U16": "<u2", "U32": "<u4", "U64": "<u8"}
NAMES = {np.dtype(v): k for k, v in DTYPES.items()}


def load_safetensors(path, mapped=False):
    """{name: array} of a .safetensors file. bfloat16 comes as float32; damaged files raise ValueError.

    `mapped` arrays are views of the file, read-only, and cost no memory before they are used.

    >>> load_safetensors("/dev/null")
    Traceback (most recent call last):
    ValueError: /dev/null: 0 bytes, too short for a safetensors header
    """
    return read_safetensors(path, mapped)[0]


def read_safetensors(path, mapped=False):
    """({name: array}, {name: text}) of a .safetensors file: its arrays and its metadata."""
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if mapped and os.path.getsize(path) else file.read()
    if len(data) < 8:
        raise ValueError(f"{path}: {len(data)} bytes, too short for a safetensors header")
    size, = struct.unpack("<Q", data[:8])
    if size > len(data) - 8:
        raise ValueError(f"{path}: the header claims {size} bytes, the file has {len(data) - 8} after its length")
    try:
        header = json.loads(data[8:8 + size])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path}: the header is a {type(header).__name__}, expected names and their arrays")
    body, metadata = memoryview(data)[8 + size:], header.pop("__metadata__", {})
    arrays = {name: read_array(path, name, entry, body) for name, entry in header.items()}
    # a copy can be written to, and is in the machine's own byte order
    if not mapped:
        arrays = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}
    return arrays, metadata


def read_array(path, name, entry, body):
    """The array that a header entry {"dtype", "shape", "data_offsets"} describes."""
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in [*shape, start, end])
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"{path}: {name}: got {entry}, expected dtype, shape and data_offsets")
    stored = "<u2" if dtype == "BF16" else DTYPES.get(dtype) if isinstance(dtype, str) else None
    if stored is None:
        raise ValueError(f"{path}: {name} has dtype {dtype}, expected one of {', '.join([*DTYPES, 'BF16'])}")
    if not start <= end <= len(body) or end - start != np.dtype(stored).itemsize * math.prod(shape):
        raise ValueError(f"{path}: {name} of shape {shape} and dtype {dtype} lies at bytes {start}..{end} of {len(body)}")
    array = np.frombuffer(body[start:end], stored).reshape(shape)
    if dtype == "BF16":                     # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def save_safetensors(path, arrays, metadata=None):
    """Write {name: array} so that PyTorch's safetensors reads it; the file appears whole or not at all. Metadata: {name: text}.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "w.safetensors")
    >>> save_safetensors(path, {"w": np.arange(3.0)}); load_safetensors(path)
    {'w': array([0., 1., 2.])}
    """
    header, parts, end = {"__metadata__": metadata} if metadata else {}, [], 0
    for name, array in arrays.items():
        array = to_host(plain(array))
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if array.dtype not in NAMES:
            raise ValueError(f"{path}: {name} has dtype {array.dtype}, expected one of {', '.join(map(str, NAMES))}")
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        parts.append(array)
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)         # the numbers start at a multiple of 8
    temporary = f"{path}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for array in parts:
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
