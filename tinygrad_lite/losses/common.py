"""What all losses share: reductions, inputs and targets checked in the loss's name, rows of length 1."""
import numpy as np

from ..ops.indexing import where
from ..ops.reductions import norm, sum
from ..tensor import Tensor, plain

REDUCTIONS = ("mean", "sum", "none")
TINY = float(np.float32(1e-12))         # PyTorch keeps this guard in float32, for float64 too: 9.99999996e-13


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


def numbers(y, dtype):
    """A target as numbers: integers and truth values in `dtype`, floats as they are."""
    y = y if isinstance(y, Tensor) else np.asarray(y)
    return y if y.dtype.kind == "f" else plain(y).astype(dtype)


def same_shape(name, x, y):
    """Input and target, x as a Tensor and integers in y as numbers of its dtype; their shapes must be equal."""
    x, y = tensor(x), y if isinstance(y, Tensor) else np.asarray(y)
    if x.shape != y.shape:
        raise ValueError(f"{name}: got input of shape {x.shape} and target of shape {y.shape}, expected the same")
    return x, numbers(y, x.dtype)


def same_shapes(name, **inputs):
    """The named inputs as Tensors; their shapes must be equal."""
    inputs = {key: tensor(x) for key, x in inputs.items()}
    if len({x.shape for x in inputs.values()}) > 1:
        raise ValueError(f"{name}: got {', '.join(f'{key} {x.shape}' for key, x in inputs.items())}, expected the same shape")
    return inputs.values()


def row_targets(name, y, x):
    """One number per row of x (..., D), such as 1 or -1 for "alike or not"."""
    y = numbers(y, x.dtype)
    if y.shape != x.shape[:-1]:
        raise ValueError(f"{name}: got inputs of shape {x.shape} and target of shape {y.shape}, expected {x.shape[:-1]}")
    return y


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


def scores_and_classes(name, scores, target):
    """Scores (N, K) and classes (N,); (K,) and one class become a batch of one."""
    scores, target = tensor(scores), integers(name, target)
    if scores.ndim not in (1, 2) or target.shape != scores.shape[:-1]:
        raise ValueError(f"{name}: got input of shape {scores.shape} and target of shape {target.shape}, "
                         "expected (N, K) and (N,), or (K,) and ()")
    rows = scores.reshape(-1, scores.shape[-1]) if scores.ndim == 1 else scores
    return rows, class_ids(name, target.reshape(rows.shape[0]), rows.shape[1])


def class_weights(name, weight, k, dtype):
    """One weight per class, or None."""
    w = None if weight is None else np.asarray(plain(weight), dtype)
    if w is not None and w.shape != (k,):
        raise ValueError(f"{name}: weight has shape {w.shape}, expected ({k},), one per class")
    return w


def above_zero(name, option, value):
    """A positive number; a Tensor (a learned temperature) stays one."""
    if np.size(plain(value)) != 1 or not plain(value) > 0:
        raise ValueError(f"{name}: {option}: got {value}, expected a number > 0")
    return value if isinstance(value, Tensor) else float(value)


def unit(x):
    """Rows divided by their length; a row of zeros has no direction: it stays 0 and gets no gradient."""
    length = norm(x, 2, -1, keepdims=True)
    zero = plain(length) == 0
    return where(zero, 0, x / np.maximum(where(zero, 1, length), 1e-12))


def cosine(a, b):
    """a.b / (|a| |b|) of rows; 0 where one of them is 0."""
    return sum(unit(a) * unit(b), -1)
