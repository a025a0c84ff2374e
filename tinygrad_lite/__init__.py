"""tinygrad_lite: reverse-mode autodiff on NumPy, with PyTorch's names and numbers. Start reading in tensor.py.

>>> import tinygrad_lite as tg
>>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward(); x.grad
array([2., 4.], dtype=float32)
"""
import importlib

from .tensor import Tensor, no_grad
from .rowsparse import RowSparse
from .ops.elementwise import *
from .ops.reductions import *
from .ops.shapes import *
from .ops.indexing import *
from .ops.linalg import *
from .ops.activations import *
from .ops import numpy_functions
from .autodiff import grad, hvp, jacobian, value_and_grad
from .gradcheck import gradcheck
from .random import seed

ROOMS = ("amp", "backend", "clip", "data", "diagnostics", "losses", "nn", "optim", "schedules", "training", "vectors")


def __getattr__(name):
    """Load a room at its first use (PEP 562): `import tinygrad_lite` alone costs little more than NumPy."""
    if name in ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *ROOMS})
