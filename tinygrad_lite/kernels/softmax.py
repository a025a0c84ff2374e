"""Softmax and cross-entropy of a batch: the losses and their gradient in one pass over the scores.

In NumPy the pieces (max, subtract, exp, sum, divide, pick, ...) read and write the scores eight times, and a small
batch spends nearly all its time in calls. Here blocks of rows that fit the nearest cache are shifted by their
maxima, exponentiated, summed and scaled before the next block is touched.
"""
import numpy as np

from . import fresh, kernel, ready
from .scalars import exp

BLOCK = 2048            # numbers


@np.errstate(invalid="ignore", over="ignore")       # scores of -inf and of 1e38 have an answer; the loop does not warn either
def _plain(x, y, weight, ignore_index, smoothing, mean, losses, grad):
    n, k = x.shape
    used = y != ignore_index
    wrong = used & ((y < 0) | (y >= k))
    if wrong.any():
        return 0.0, int(wrong.argmax())
    w = np.ones(k, x.dtype) if weight.size == 0 else weight
    shifted = x - x.max(axis=1, keepdims=True) if k else x
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    target = np.zeros(x.shape, x.dtype)
    target[np.flatnonzero(used), y[used]] = 1 - smoothing
    target = (target + x.dtype.type(smoothing / max(k, 1))) * w * used[:, None]
    losses[...] = -np.where(target == 0, 0, target * log_p).sum(axis=1)
    grad[...] = np.where(used[:, None], np.exp(log_p) * target.sum(axis=1, keepdims=True) - target, 0)
    total = float(losses.sum(dtype=np.float64))
    if mean:
        count = float(w[y[used]].sum(dtype=np.float64))
        total = total / count if count else np.nan
        grad *= 1 / count if count else 0
    return total, -1


def _usable(x, y, weight, ignore_index, smoothing, mean, losses, grad):
    return ready(x, weight, losses, grad) and y.dtype == np.int64 and y.flags.c_contiguous and x.shape[1] > 0


@kernel(_plain, _usable, reorder=True)
def _cross_entropy(x, y, weight, ignore_index, smoothing, mean, losses, grad):
    T = x.dtype.type
    n, k = x.shape
    weighted = weight.size > 0
    count, total, zero, one = 0.0, 0.0, T(0), T(1)
    for i in range(n):
        if y[i] == ignore_index:
            continue
        if y[i] < 0 or y[i] >= k:
            return 0.0, i
        count += weight[y[i]] if weighted else one
    common = zero if count == 0 else T(1.0 / count) if mean else one
    smooth, share = T(smoothing), T(smoothing) / T(k)
    all_weights = T(k)
    if weighted:
        all_weights = weight.sum()
    lanes = np.empty(64, x.dtype)
    step = max(1, BLOCK // k)
    for start in range(0, n, step):
        stop = min(n, start + step)
        for i in range(start, stop):        # shift by the maximum; what the loss needs of the scores waits in `losses`
            top = x[i, 0]
            c = 0
            if k >= 128:                    # 64 maxima side by side: one alone waits for itself at every number
                for j in range(64):
                    lanes[j] = x[i, j]
                for c in range(64, k - 63, 64):
                    for j in range(64):
                        v = x[i, c + j]
                        lanes[j] = v if v > lanes[j] else lanes[j]
                for j in range(64):
                    top = lanes[j] if lanes[j] > top else top
                c = k - k % 64
            for j in range(c, k):
                top = x[i, j] if x[i, j] > top else top
            for j in range(k):
                grad[i, j] = x[i, j] - top
            losses[i] = zero
            if y[i] != ignore_index:
                own = weight[y[i]] if weighted else one
                losses[i] = -own * (one - smooth) * grad[i, y[i]]
                if smooth > 0:
                    for j in range(k):
                        if not weighted:
                            losses[i] -= share * grad[i, j]
                        elif weight[j] > 0:
                            losses[i] -= share * weight[j] * grad[i, j]
        block = grad[start:stop].reshape(-1)
        for j in range(block.size):
            block[j] = exp(block[j])
        for i in range(start, stop):
            if y[i] == ignore_index:
                for j in range(k):
                    grad[i, j] = zero
                continue
            s = zero
            for j in range(k):
                s += grad[i, j]
            own = (weight[y[i]] if weighted else one) * (one - smooth)
            mass = own + share * all_weights
            losses[i] += mass * np.log(s)
            total += losses[i]
            scale = common * mass / s
            for j in range(k):
                grad[i, j] *= scale
            if smooth > 0:
                for j in range(k):
                    grad[i, j] -= common * share * (weight[j] if weighted else one)
            grad[i, y[i]] -= common * own
    if mean:
        total = total / count
    return total, -1


def cross_entropy(x, y, weight=None, ignore_index=-100, smoothing=0.0, mean=True):
    """(sum or mean of the losses, the losses (n,), d(sum or mean)/dx (n, k)) of scores x (n, k) for classes y (n,).

    l_i = -(1-e) w_y log p_y - e/k sum_c w_c log p_c; the mean divides by the sum of w_y. A class outside
    0..k-1 that is not `ignore_index` raises IndexError with its place.

    >>> total, losses, grad = cross_entropy(np.zeros((1, 2)), np.array([0]))
    >>> round(total, 4), grad
    (0.6931, array([[-0.5,  0.5]]))
    """
    losses, grad = fresh(x, x.shape[:1]), fresh(x, x.shape)
    w = fresh(x, (0,)) if weight is None else weight
    total, bad = _cross_entropy(x, y, w, ignore_index, smoothing, mean, losses, grad)
    if bad >= 0:
        raise IndexError(f"target {y[bad]} of row {bad}, expected 0..{x.shape[1] - 1} or ignore_index {ignore_index}")
    return total, losses, grad
