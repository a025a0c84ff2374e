"""CTC's sum over all alignments of a short sequence of labels with a long one of predictions, and its gradient.

Between, before and after the labels y stand blanks: _ y1 _ y2 _ ... A path through these 2S+1 states starts in the first
two, stays or moves on by one at every step, may leap over a blank between two different labels, and ends in the last two.
All in logarithms, and in float64: sums over a thousand steps lose float32's digits.
"""
import math

import numpy as np

from ..backend import xp_of
from . import FLOATS, kernel


def moves(states):
    """(N, L) 0 where a path may leap to a state from two before it, else -inf: from a label to another label."""
    leap = np.zeros_like(states, bool)
    leap[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    return np.where(leap, 0, -np.inf)


def ends(states, sizes):
    """(N, L) 0 for the last blank and the last label of each target, else -inf."""
    at = xp_of(states).arange(states.shape[1])
    return np.where((at == 2 * sizes[:, None]) | (at == 2 * sizes[:, None] - 1), 0, -np.inf)


@np.errstate(invalid="ignore")              # inf - inf where no path exists: nan, as in PyTorch
def _plain(x, states, used, sizes, zero_infinity, losses, grad):
    steps, n, k = x.shape
    width = states.shape[1]
    emit = np.take_along_axis(x, np.broadcast_to(states, (steps, n, width)), 2).astype(np.float64)
    leap, end = moves(states), ends(states, sizes)
    # there[t]: paths up to step t; onward[t]: paths from behind step t to the end. Two states of -inf at the side
    there, onward = np.full((steps, n, width + 2), -np.inf), np.full((steps, n, width + 2), -np.inf)
    for t in range(steps):
        if t == 0:
            there[0, :, 2:4] = emit[0, :, :2]
            continue
        old = there[t - 1]
        there[t, :, 2:] = np.logaddexp(np.logaddexp(old[:, 2:], old[:, 1:-1]), old[:, :-2] + leap) + emit[t]
    leap = np.pad(leap, ((0, 0), (0, 2)), constant_values=-np.inf)[:, 2:]
    for t in range(steps - 1, -1, -1):
        if t + 1 < steps:
            new = onward[t + 1].copy()
            new[:, :-2] += emit[t + 1]
            onward[t, :, :-2] = np.logaddexp(np.logaddexp(new[:, :-2], new[:, 1:-1]), new[:, 2:] + leap)
        onward[t, :, :-2] = np.where((t == used - 1)[:, None], end, onward[t, :, :-2])
    rows = np.arange(n)
    total = np.where(sizes == 0, 0, -np.inf)
    if steps:
        total = np.where(used == 0, total, np.logaddexp.reduce(there[used - 1, rows, 2:] + end, axis=1))
    share = np.exp(there[:, :, 2:] + onward[:, :, :-2] - total[:, None])                # of the paths, that pass here
    share[np.arange(steps)[:, None] >= used] = 0
    if zero_infinity:
        share[:, total == -np.inf] = 0
        total = np.where(total == -np.inf, 0, total)
    losses[...] = -total
    sums = np.zeros(grad.shape)
    for s in range(width):                  # states of one label add up
        sums[:, rows, states[:, s]] -= share[:, :, s]
    grad[...] = sums


def _usable(x, states, used, sizes, zero_infinity, losses, grad):
    return (type(x) is np.ndarray and x.dtype in FLOATS and x.flags.c_contiguous and grad.flags.c_contiguous
            and x.dtype == grad.dtype and states.flags.c_contiguous)


@kernel(_plain, _usable)
def _alignments(x, states, used, sizes, zero_infinity, losses, grad):
    none = -np.inf
    there = np.empty((x.shape[0], states.shape[1] + 2))
    later, onward = np.empty(states.shape[1] + 2), np.empty(states.shape[1] + 2)        # two states of -inf at the side
    grad[...] = 0
    for n in range(x.shape[1]):
        width, steps, label = 2 * sizes[n] + 1, used[n], states[n]
        if steps == 0:
            losses[n] = 0.0 if sizes[n] == 0 or zero_infinity else np.inf
            continue
        there[:, :2] = none
        for t in range(steps):
            for s in range(width):
                if t == 0:
                    path = 0.0 if s < 2 else none
                else:
                    a, b, c = there[t - 1, s + 2], there[t - 1, s + 1], none
                    if s % 2 and s > 1 and label[s] != label[s - 2]:
                        c = there[t - 1, s]
                    top = max(a, b, c)
                    path = a + b + c if top == none else top + math.log(math.exp(a - top) + math.exp(b - top) + math.exp(c - top))
                there[t, s + 2] = path + x[t, n, label[s]]
        a, b = there[steps - 1, width + 1], there[steps - 1, width]
        top = max(a, b)
        total = a + b if top == none else top + math.log(math.exp(a - top) + math.exp(b - top))
        losses[n] = -total
        if total == none and zero_infinity:
            losses[n] = 0
            continue
        later[:], onward[:] = none, none
        for t in range(steps - 1, -1, -1):
            for s in range(width):
                if t == steps - 1:
                    path = 0.0 if s >= width - 2 else none
                else:
                    a, b, c = later[s], later[s + 1], none
                    if s % 2 and s + 2 < width and label[s] != label[s + 2]:
                        c = later[s + 2]
                    top = max(a, b, c)
                    path = a + b + c if top == none else top + math.log(math.exp(a - top) + math.exp(b - top) + math.exp(c - top))
                onward[s] = path
            for s in range(width):
                grad[t, n, label[s]] -= np.exp(there[t, s + 2] + onward[s] - total)
                later[s] = onward[s] + x[t, n, label[s]]
            later[width] = none
            later[width + 1] = none


def alignments(x, states, used, sizes, zero_infinity=False):
    """(losses (N,), d(their sum)/dx (T, N, C)) of log-probabilities x (T, N, C) for states (N, L), the labels between blanks.

    used, sizes: how many steps and labels of each sequence count. No path: inf and nan, or with `zero_infinity` 0 and 0.

    >>> x = np.log(np.full((2, 1, 2), 0.5))             # three of four paths spell the label 1: 1_, _1, 11
    >>> losses, grad = alignments(x, np.array([[0, 1, 0]]), np.array([2]), np.array([1]))
    >>> np.exp(-losses).round(4), grad[:, 0].round(4)
    (array([0.75]), array([[-0.3333, -0.6667],
           [-0.3333, -0.6667]]))
    """
    losses, grad = np.empty_like(x, shape=x.shape[1]), np.empty_like(x, order="C")
    _alignments(x, states, used, sizes, zero_infinity, losses, grad)
    return losses, grad
