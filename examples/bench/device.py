"""On a GPU: optimizers against the memory of the card and PyTorch's fused ones, training steps against PyTorch in eager mode.

    python examples/benchmark.py --device cuda

A step ends when the GPU has done it. `copy` moves as many bytes as the optimizer must (each array once in, once out if it
changes), so that the ratio to it is the share of the card's bandwidth that is reached.
"""
import importlib.util
import warnings

import numpy as np

from . import engine, optimizers, recurrent
from .libraries import Ours, PyTorch
from .table import row, scaled

NUMBERS = 1e8
PASSES = dict(SGD=5, Adagrad=5, Adam=7, SMORMS3=9)         # how often as many float32 numbers cross the bus


class OursThere(Ours):
    """tinygrad_lite with tensors, ids and modules on the GPU."""

    def __init__(self):
        import tinygrad_lite as tg
        super().__init__()
        self.nn, self.array = ModulesThere(tg.nn), lambda x: tg.backend.to_device(np.asarray(x))
        self.tensor = lambda x: tg.Tensor(tg.backend.to_device(tg.Tensor(x).data))
        self.xp = tg.backend.xp_of(self.array(0.0))

    def wait(self):
        self.xp.cuda.Device().synchronize()


class ModulesThere:
    """tg.nn, whose modules are made on the GPU."""

    def __init__(self, nn):
        self.nn = nn

    def __getattr__(self, name):
        made = getattr(self.nn, name)
        if isinstance(made, type) and issubclass(made, self.nn.Module):
            return lambda *args, **options: made(*args, **options).to("cuda")
        return made


class PyTorchThere(PyTorch):
    def __init__(self):
        import torch
        super().__init__()
        torch.set_default_device("cuda")
        self.wait = torch.cuda.synchronize


def libraries():
    """Ours, and PyTorch where it has a GPU."""
    if importlib.util.find_spec("torch"):
        import torch
        return [OursThere(), *([PyTorchThere()] if torch.cuda.is_available() else [])]
    return [OursThere()]


def done(L, step):
    """The step, done: it ends when the GPU has."""
    def run():
        step()
        L.wait()
    return run


def steady(L, step):
    """The same of a training step, which must not wait for the GPU itself once it has settled: a warning tells where it does."""
    for _ in range(3):
        step()
    if L.name == Ours.name and hasattr(refusing := importlib.import_module("cupyx"), "allow_synchronize"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")     # CuPy's watch is deprecated, since it does not see all there is
                with refusing.allow_synchronize(False):
                    step()
        except RuntimeError as error:
            warnings.warn(f"a steady step waits for the GPU: {error}")
    return done(L, step)


def update(L, name, size, **options):
    return done(L, optimizers.update(L, name, 1, [scaled(NUMBERS, size)], check_finite=False, **options))


def copy(name):
    """build(size) of a copy that moves as many bytes as the optimizer."""
    def build(size):
        L = OursThere()
        x = L.xp.zeros(scaled(NUMBERS * PASSES[name] / 2, size), np.float32)
        y = L.xp.zeros_like(x)
        return done(L, lambda: L.xp.copyto(y, x))
    return build


@row(goal=1.0, against="PyTorch")
def sgd_100m(L, size):
    return update(L, "SGD", size, momentum=0.9)


@row(goal=1.0, against="PyTorch")
def adagrad_100m(L, size):
    return update(L, "Adagrad", size)


@row(goal=1.0, against="PyTorch")
def adam_100m(L, size):
    return update(L, "Adam", size)


@row(goal=0.85, against="copy", torch=False)
def sgd_bandwidth(L, size):
    return update(L, "SGD", size, momentum=0.9)


@row(goal=0.85, against="copy", torch=False)
def adagrad_bandwidth(L, size):
    return update(L, "Adagrad", size)


@row(goal=0.85, against="copy", torch=False)
def adam_bandwidth(L, size):
    return update(L, "Adam", size)


@row(goal=0.85, against="copy", torch=False)
def smorms3_bandwidth(L, size):
    return update(L, "SMORMS3", size)


sgd_bandwidth.peer("copy", needs="cupy")(copy("SGD"))
adagrad_bandwidth.peer("copy", needs="cupy")(copy("Adagrad"))
adam_bandwidth.peer("copy", needs="cupy")(copy("Adam"))
smorms3_bandwidth.peer("copy", needs="cupy")(copy("SMORMS3"))


@row(goal=0.9, against="PyTorch")
def mlp_on_gpu(L, size):
    """784-1024-1024-10, batch 128, cross-entropy, clipping, Adam."""
    return steady(L, engine.mlp(L, 128, 784, scaled(1024, size), 10))


@row(goal=0.9, against="PyTorch")
def lstm_lm_on_gpu(L, size):
    """A step of a language model: two LSTM layers of 640, 5000 words, 20 x 35 tokens, SGD with clipping."""
    return steady(L, recurrent.lstm_lm.build(L, 5 * size))
