"""Reading PyTorch's .safetensors files: an 8-byte length, a JSON header, then the numbers. No pickle, no PyTorch."""
import json
import struct

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
          "U16": "<u2", "U32": "<u4", "U64": "<u8"}


def load_safetensors(path):
    """{name: array} of a .safetensors file. bfloat16 comes as float32; damaged files raise ValueError.

    >>> load_safetensors("/dev/null")
    Traceback (most recent call last):
    ValueError: /dev/null: 0 bytes, too short for a safetensors header
    """
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 8:
        raise ValueError(f"{path}: {len(data)} bytes, too short for a safetensors header")
    size, = struct.unpack("<Q", data[:8])
    if size > len(data) - 8:
        raise ValueError(f"{path}: the header claims {size} bytes, the file has {len(data) - 8} after its length")
    try:
        header = json.loads(data[8:8 + size])
    except ValueError as error:
        raise ValueError(f"{path}: the header is not JSON: {error}") from None
    body = memoryview(data)[8 + size:]
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        width = 2 if dtype == "BF16" else np.dtype(DTYPES[dtype]).itemsize if dtype in DTYPES else None
        if width is None:
            raise ValueError(f"{path}: {name} has dtype {dtype}, expected one of {', '.join([*DTYPES, 'BF16'])}")
        if not 0 <= start <= end <= len(body) or end - start != width * int(np.prod(shape)):
            raise ValueError(f"{path}: {name} of shape {shape} and dtype {dtype} lies at bytes {start}..{end} of {len(body)}")
        raw = body[start:end]
        if dtype == "BF16":                 # the upper half of a float32
            arrays[name] = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
        else:
            arrays[name] = np.frombuffer(raw, DTYPES[dtype]).reshape(shape).copy()
    return arrays


def save_safetensors(path, arrays):
    """Write {name: array} so that PyTorch's safetensors reads it; the file appears whole or not at all.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "w.safetensors")
    >>> save_safetensors(path, {"w": np.arange(3.0)}); load_safetensors(path)
    {'w': array([0., 1., 2.])}
    """
    import os
    names = {np.dtype(v): k for k, v in DTYPES.items()}
    header, parts, end = {}, [], 0
    for name, array in arrays.items():
        array = np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [end, end + len(raw)]}
        parts.append(raw)
        end += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{path}.{os.getpid()}.part"
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
