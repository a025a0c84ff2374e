"""One file that holds a training: model, optimizer with its clock, random state, and whatever else has a state_dict.

It is a .safetensors file, so any reader of that format finds the weights under "model/...". Arrays are stored as arrays,
all other state as JSON in the metadata, with a version and a SHA-256 over everything. No pickle: reading runs no code. What
was on a GPU is stored as what it is on the host, and goes where the model is that loads it.
"""
import hashlib
import json

import numpy as np

from ..backend import on_gpu, to_host
from ..nn.safetensors import read_safetensors, save_safetensors
from ..random import get_state, set_state

FORMAT, VERSION = "tinygrad_lite checkpoint", 1
MARK = "<array>"                # stands in the JSON where an array was, with the array's name


def save(path, model, optimizer=None, **more):
    """Write a training's state to one file, which appears whole or not at all. The random numbers' state goes with it.

    `more`: anything made of numbers, strings, lists, dicts and arrays, or an object with a `state_dict()` (a GradScaler, an
    AveragedModel). TypeError for anything else, and then nothing is written.

    >>> import os, tempfile
    >>> from tinygrad_lite import nn
    >>> path, model = os.path.join(tempfile.mkdtemp(), "run.safetensors"), nn.Linear(1, 1)
    >>> save(path, model, note="before")
    >>> model.weight.data[:] = 7
    >>> load(path, model), bool(model.weight.data == 7)
    ({'note': 'before'}, False)
    """
    state = {"model": model.state_dict(), "optimizer": None if optimizer is None else optimizer.state_dict(),
             "random": get_state(),
             "more": {k: v.state_dict() if hasattr(v, "state_dict") else v for k, v in more.items()}}
    arrays = {}
    text = json.dumps(without_arrays(state, "", arrays))
    save_safetensors(path, arrays, {"format": FORMAT, "version": str(VERSION), "state": text, "sha256": checksum(text, arrays)})


def load(path, model=None, optimizer=None, **more):
    """Put back what `save` wrote: into model and optimizer, into the random numbers, into each object of `more` by its name.

    Returns what was saved beside them and not asked for here. A damaged file, one of another format, or a state that does
    not fit raises ValueError, and then nothing has changed.
    """
    state = read(path)
    targets = {"model": model, "optimizer": optimizer, **more}
    saved = {"model": state["model"], "optimizer": state["optimizer"], **state["more"]}
    targets = {name: target for name, target in targets.items() if target is not None}
    absent = [name for name in targets if saved.get(name) is None]
    if absent:
        there = [name for name, value in saved.items() if value is not None]
        raise ValueError(f"load: {path} holds no {' and no '.join(absent)}; it holds {', '.join(there)}")
    before = {name: target.state_dict() for name, target in targets.items()}
    done = []
    try:
        for name, target in targets.items():
            done.append(name)
            target.load_state_dict(saved[name])
    except BaseException:
        for name in done:
            targets[name].load_state_dict(before[name])
        raise
    set_state(state["random"])
    return {name: value for name, value in state["more"].items() if name not in targets}


def read(path):
    """The whole state in a file, after its checksum has been compared."""
    arrays, metadata = read_safetensors(path)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: a safetensors file, but no checkpoint: made by save_safetensors? load_safetensors reads it")
    if metadata.get("version") != str(VERSION):
        raise ValueError(f"{path}: a checkpoint of version {metadata.get('version')}, expected {VERSION}: "
                         "read it with the version of tinygrad_lite that wrote it")
    if metadata.get("sha256") != checksum(metadata.get("state", ""), arrays):
        raise ValueError(f"{path}: damaged: the checksum of its contents is not the one it carries")
    return with_arrays(json.loads(metadata["state"]), arrays)


def checksum(text, arrays):
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def without_arrays(value, name, arrays):
    """A nested state as JSON can hold it; arrays go to `arrays` under the names of the path that led to them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) or on_gpu(value):
        arrays[name] = to_host(value)
        return {MARK: name}
    if isinstance(value, (list, tuple)):
        return [without_arrays(v, f"{name}/{i}", arrays) for i, v in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: without_arrays(v, f"{name}/{k}".lstrip("/"), arrays) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"save: {name}: got {type(value).__name__}, expected numbers, strings, arrays, lists or dicts of them, "
                    "or an object with state_dict()")


def with_arrays(value, arrays):
    """The inverse of `without_arrays`."""
    if isinstance(value, list):
        return [with_arrays(v, arrays) for v in value]
    if isinstance(value, dict):
        return arrays[value[MARK]] if MARK in value else {k: with_arrays(v, arrays) for k, v in value.items()}
    return value
