"""Softmax and cross-entropy of a batch in one pass over the scores: the loss and its gradient together.

The pieces in NumPy (max, subtract, exp, sum, divide, pick, ...) read and write the scores eight times; a batch of
128 x 10 spends nearly all its time in calls. Here a row is read twice and its gradient written once.
"""
import numpy as np

from . import kernel, ready


def _plain(x, y, weight, smoothing, losses, grad):
    k = x.shape[1]
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    used = y >= 0
    target = np.zeros_like(x)
    target[np.arange(len(y))[used], y[used]] = 1 - smoothing
    target = (target + smoothing / k) * weight * used[:, None]
    losses[...] = -np.where(target == 0, 0, target * log_p).sum(axis=1)
    grad[...] = np.exp(log_p) * target.sum(axis=1, keepdims=True) - target


@kernel(_plain, lambda x, y, weight, smoothing, losses, grad: ready(x, weight, losses, grad) and y.dtype == np.int64)
def _cross_entropy(x, y, weight, smoothing, losses, grad):
    T = x.dtype.type
    n, k = x.shape
    share = T(smoothing) / T(k)
    total = T(0)
    for c in range(k):
        total += weight[c]
    for i in range(n):
        if y[i] < 0:                        # ignored: no loss, no gradient
            losses[i] = T(0)
            for c in range(k):
                grad[i, c] = T(0)
            continue
        top = x[i, 0]
        for c in range(1, k):
            top = max(top, x[i, c])
        s = T(0)
        for c in range(k):
            e = np.exp(x[i, c] - top)
            grad[i, c] = e
            s += e
        log_s = np.log(s) + top
        own = weight[y[i]] * (T(1) - T(smoothing))
        loss = own * (log_s - x[i, y[i]])
        scale = own / s
        if smoothing > 0:
            for c in range(k):
                if weight[c] > 0:
                    loss += share * weight[c] * (log_s - x[i, c])
            scale += share * total / s
            for c in range(k):
                grad[i, c] = grad[i, c] * scale - share * weight[c]
        else:
            for c in range(k):
                grad[i, c] = grad[i, c] * scale
        grad[i, y[i]] -= own
        losses[i] = loss


def cross_entropy(x, y, weight, smoothing):
    """Losses (n,) and their gradients (n, k) of scores x (n, k) for integer classes y (n,); y < 0 is ignored.

    l_i = -(1-e) w_y log p_y - e/k sum_c w_c log p_c, not yet reduced.

    >>> losses, grad = cross_entropy(np.zeros((1, 2)), np.array([0]), np.ones(2), 0.0)
    >>> losses.round(4), grad
    (array([0.6931]), array([[-0.5,  0.5]]))
    """
    losses, grad = np.empty_like(x, shape=x.shape[0]), np.empty_like(x)
    _cross_entropy(x, y, weight, smoothing, losses, grad)
    return losses, grad
