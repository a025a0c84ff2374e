"""Reference vectors: what PyTorch 2.13.0 (CPU, float64, one thread) computes, and our own definitions for what it lacks.

Each file holds ``{"schema", "torch", "file", "cases": [...]}``; a case has a unique ``id`` and a ``source``: ``torch``,
``plain`` (a float64 definition of ours) or ``formula`` (a closed form of ours). Arrays are stored as
``{"shape", "dtype", "data"}``, floats as shortest round-trip decimals, non-finite ones as the strings nan, inf, -inf.
"""
import gzip
import json
from pathlib import Path

import numpy as np


def load_reference(name):
    """One file of cases, its arrays as NumPy arrays: ``load_reference("schedules")["cases"][0]["lr"]``."""
    return decode(json.loads(gzip.decompress(Path(__file__).with_name(f"{name}.json.gz").read_bytes())))


def decode(value):
    if isinstance(value, dict) and {"shape", "data"} <= set(value):
        floats = value["dtype"].startswith("float")
        return np.array([float(v) if floats else v for v in value["data"]], value["dtype"]).reshape(value["shape"])
    if isinstance(value, dict):
        return {key: decode(v) for key, v in value.items()}
    if isinstance(value, list):
        return [decode(v) for v in value]
    return float(value) if value in ("nan", "inf", "-inf") else value
