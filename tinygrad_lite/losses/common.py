"""What all losses share: reductions, and targets checked in the loss's name."""
import numpy as np

from ..ops.indexing import where
from ..ops.reductions import sum
from ..tensor import Tensor, plain

REDUCTIONS = ("mean", "sum", "none")


def reduced(losses, reduction, count=None):
    """The losses as they are, summed, or averaged (over `count`, by default over their number)."""
    if reduction == "mean":
        count = losses.size if count is None else count
        return losses.sum() / count if count else losses.sum() * np.nan     # of nothing: nan, as in PyTorch
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"reduction: got {reduction!r}, expected 'mean', 'sum' or 'none'")


def tensor(x):
    return x if isinstance(x, Tensor) else Tensor(x)


def same_shape(name, x, y):
    """Input and target, x as a Tensor and integers in y as numbers of its dtype; their shapes must be equal."""
    x, y = tensor(x), y if isinstance(y, Tensor) else np.asarray(y)
    if x.shape != y.shape:
        raise ValueError(f"{name}: got input of shape {x.shape} and target of shape {y.shape}, expected the same")
    return x, y if y.dtype.kind == "f" else plain(y).astype(x.dtype)


def integers(name, y):
    """Classes as int64."""
    y = np.asarray(plain(y))
    if y.dtype.kind not in "iu":
        raise TypeError(f"{name}: the target has dtype {y.dtype}, expected integer classes")
    return y.astype(np.int64, copy=False)


def class_ids(name, y, k, ignore_index=None):
    """Classes as int64, ignored ones as -1; anything else outside 0..k-1 raises."""
    y = integers(name, y)
    wrong = ((y < 0) | (y >= k)) & (y != ignore_index)
    if wrong.any():
        at = np.unravel_index(wrong.argmax(), y.shape)
        also = "" if ignore_index is None else f" or ignore_index {ignore_index}"
        raise IndexError(f"{name}: target {y[at]} at index {tuple(map(int, at))}, expected 0..{k - 1}{also}")
    return np.where(y == ignore_index, -1, y)
