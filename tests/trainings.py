"""A small training to test with, and all its bits."""
import numpy as np

import tinygrad_lite as tg
from tinygrad_lite.random import generator


def net(dropout=0.3, batch_norm=True):
    """6 numbers -> 3 scores, with all that makes a training hard to put back: dropout and running statistics."""
    layers = {"first": tg.nn.Linear(6, 8), "relu": tg.nn.ReLU(), "norm": tg.nn.BatchNorm1d(8), "drop": tg.nn.Dropout(dropout),
              "last": tg.nn.Linear(8, 3)}
    return tg.nn.Sequential({name: layer for name, layer in layers.items() if batch_norm or name != "norm"})


def pairs(n=64, batch_size=8, shuffle=False, seed=0, **options):
    """Points and the largest of their first three coordinates."""
    x = np.random.default_rng(7).standard_normal((n, 6)).astype("f")
    return tg.data.DataLoader(x, x[:, :3].argmax(axis=1), batch_size=batch_size, shuffle=shuffle, seed=seed, **options)


def bits(model, optimizer=None, *loaders):
    """Everything a training consists of, so that == means: no bit differs."""
    def plain(value):
        if isinstance(value, np.ndarray):
            return value.dtype.str, value.shape, value.tobytes()
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value
    return (plain(model.state_dict()), optimizer and plain(optimizer.state_dict()), [loader.epoch for loader in loaders],
            generator.bit_generator.state)
