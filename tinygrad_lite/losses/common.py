"""What all losses share: reductions, inputs and targets checked in the loss's name, rows of length 1.

On the GPU the host does not look at the numbers, for it would have to wait for them: what is refused on the host because
of its numbers (a class out of range, a probability above 1) makes a loss of NaN there. Integers and constants of a loss
(classes, their weights) may lie on the host; they are moved to where the scores are.
"""
import numpy as np

from ..backend import like, on_gpu, xp_of
from ..ops.indexing import where
from ..ops.reductions import norm, sum
from ..tensor import Tensor, plain

REDUCTIONS = ("mean", "sum", "none")
TINY = float(np.float32(1e-12))         # PyTorch keeps this guard in float32, for float64 too: 9.99999996e-13


def reduced(losses, reduction, count=None):
    """The losses as they are, summed, or averaged (over `count`, by default over their number)."""
    if reduction == "mean":
        count = losses.size if count is None else count
        return losses.sum() / count if on_gpu(count) or count else losses.sum() * np.nan      # of nothing: nan, as in PyTorch
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"reduction: got {reduction!r}, expected 'mean', 'sum' or 'none'")


def tensor(x):
    return x if isinstance(x, Tensor) else Tensor(x)


def numbers(y, x):
    """A target as numbers: integers and truth values in x's dtype, floats as they are; lists and numbers where x lives."""
    y = y if hasattr(y, "dtype") and hasattr(y, "shape") else like(plain(x), y)
    xp_of(plain(x), plain(y))               # both of one device
    return y if y.dtype.kind == "f" else plain(y).astype(x.dtype)


def constants(y, x):
    """Numbers that belong to the loss, such as weights, where x lives."""
    return numbers(y if isinstance(y, Tensor) else like(plain(x), y), x)


def same_shape(name, x, y):
    """Input and target, x as a Tensor and integers in y as numbers of its dtype; their shapes must be equal."""
    x = tensor(x)
    y = numbers(y, x)
    if x.shape != y.shape:
        raise ValueError(f"{name}: got input of shape {x.shape} and target of shape {y.shape}, expected the same")
    return x, y


def same_shapes(name, **inputs):
    """The named inputs as Tensors; their shapes must be equal."""
    inputs = {key: tensor(x) for key, x in inputs.items()}
    if len({x.shape for x in inputs.values()}) > 1:
        raise ValueError(f"{name}: got {', '.join(f'{key} {x.shape}' for key, x in inputs.items())}, expected the same shape")
    return inputs.values()


def row_targets(name, y, x):
    """One number per row of x (..., D), such as 1 or -1 for "alike or not"."""
    y = numbers(y, x)
    if y.shape != x.shape[:-1]:
        raise ValueError(f"{name}: got inputs of shape {x.shape} and target of shape {y.shape}, expected {x.shape[:-1]}")
    return y


def integers(name, y, x=None):
    """Classes as int64, where x lives."""
    y = np.asarray(plain(y)) if x is None else like(plain(x), plain(y))
    if y.dtype.kind not in "iu":
        raise TypeError(f"{name}: the target has dtype {y.dtype}, expected integer classes")
    return y.astype(np.int64, copy=False)


def refuse(wrong, x, complaint):
    """x, where nothing is `wrong`. On the host else the error that complaint(index) makes, on the GPU NaN at those places."""
    if on_gpu(wrong):
        return where(wrong, np.nan, x)
    if wrong.any():
        raise complaint(tuple(map(int, np.unravel_index(wrong.argmax(), wrong.shape))))
    return x


def class_ids(name, x, y, axis, ignore_index=None):
    """(scores x, classes y as int64, ignored ones as -1); classes stand along x's axis, others than 0..k-1 are refused."""
    y, k = integers(name, y, x), x.shape[axis]
    if y.shape != x.shape[:axis] + x.shape[axis + 1:]:
        raise ValueError(f"{name}: got input of shape {x.shape} and target of shape {y.shape}, expected a target of shape "
                         f"{x.shape[:axis] + x.shape[axis + 1:]}")
    wrong, also = (y < 0) | (y >= k), ""
    if ignore_index is not None:
        ignored, also = y == ignore_index, f" or ignore_index {ignore_index}"
        wrong, y = wrong & ~ignored, np.where(ignored, -1, y)
    x = refuse(np.expand_dims(wrong, axis) if on_gpu(wrong) else wrong, x,
               lambda at: IndexError(f"{name}: target {y[at]} at index {at}, expected 0..{k - 1}{also}"))
    return x, y


def scores_and_classes(name, scores, target):
    """Scores (N, K) and classes (N,); (K,) and one class become a batch of one."""
    scores = tensor(scores)
    target = integers(name, target, scores)
    if scores.ndim not in (1, 2) or target.shape != scores.shape[:-1]:
        raise ValueError(f"{name}: got input of shape {scores.shape} and target of shape {target.shape}, "
                         "expected (N, K) and (N,), or (K,) and ()")
    rows = scores.reshape(-1, scores.shape[-1]) if scores.ndim == 1 else scores
    return class_ids(name, rows, target.reshape(rows.shape[0]), 1)


def class_weights(name, weight, k, x):
    """One weight per class, or None."""
    w = None if weight is None else like(plain(x), plain(weight)).astype(x.dtype, copy=False)
    if w is not None and w.shape != (k,):
        raise ValueError(f"{name}: weight has shape {w.shape}, expected ({k},), one per class")
    return w


def above_zero(name, option, value):
    """A positive number; a Tensor (a learned temperature) stays one."""
    number = plain(value)
    if np.size(number) != 1 or not on_gpu(number) and not number > 0:
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
