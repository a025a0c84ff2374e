"""Filters over the characters of words, and their maxima over time, in one pass.

A filter's answer to a window is a sum over the window's places of what it says to the character there. Few different
characters occur, so `table[c, i, f]`, filter f's answer to character c at place i of its window, is known before any word
is read (one small matrix product), and a window costs one addition per place and filter instead of `dim`. No
array of windows is made and of all answers only the largest stays, with its position. Backward only the windows that
won are visited.
"""
import numpy as np

from ..backend import xp_of
from . import fresh, kernel, ready


def _plain_forward(table, ids, windows, best, at):
    width, places = table.shape[1], ids.shape[1] - table.shape[1] + 1
    answers = sum(table[ids[:, i:i + places], i] for i in range(width))
    answers = np.where(xp_of(ids).arange(places)[:, None] < windows[:, None, None], answers, -np.inf)
    at[...] = answers.argmax(axis=1)
    best[...] = answers.max(axis=1)


def _usable(table, ids, windows, best, at):         # finite: the comparisons below would pass over a NaN
    return ready(table, best) and ids.flags.c_contiguous and bool(np.isfinite(table).all())


@kernel(_plain_forward, _usable)
def _windows_max(table, ids, windows, best, at):
    width, filters = table.shape[1:]
    answer = np.zeros(filters, table.dtype)
    for n in range(ids.shape[0]):
        top, place = best[n], at[n]
        for f in range(filters):
            top[f], place[f] = -np.inf, 0
        for t in range(windows[n]):
            for i in range(width - 1):
                said = table[ids[n, t + i], i]
                if i == 0:
                    for f in range(filters):
                        answer[f] = said[f]
                else:
                    for f in range(filters):
                        answer[f] += said[f]
            said, now = table[ids[n, t + width - 1], width - 1], np.int32(t)    # the window's last place joins the comparison
            for f in range(filters):
                v = answer[f] + said[f]
                place[f] = now if v > top[f] else place[f]
                top[f] = v if v > top[f] else top[f]


def _plain_backward(g, ids, at, grad):
    words, filters = xp_of(ids).arange(g.shape[0])[:, None], xp_of(ids).arange(g.shape[1])
    for i in range(grad.shape[1]):
        np.add.at(grad, (ids[words, at + i], i, filters), g)


@kernel(_plain_backward, lambda g, ids, at, grad: ready(g, grad) and ids.flags.c_contiguous and at.flags.c_contiguous)
def _windows_max_gradient(g, ids, at, grad):
    for n in range(g.shape[0]):
        for i in range(grad.shape[1]):
            for f in range(g.shape[1]):
                grad[ids[n, at[n, f] + i], i, f] += g[n, f]


def windows_max(table, ids, windows):
    """(max over the first windows_n positions t of sum_i table[ids[n, t+i], i, f], that t): (words, filters) each.

    table (characters, width, filters); ids (words, length); windows (words,), at least 1 and at most length - width + 1.

    >>> table = np.array([[[0.0], [0.0]], [[1.0], [5.0]], [[2.0], [0.0]]])      # a filter that looks for "21"
    >>> best, at = windows_max(table, np.array([[1, 2, 1, 1]]), np.array([3]))
    >>> best, at
    (array([[7.]]), array([[1]], dtype=int32))
    """
    shape = len(ids), table.shape[2]
    best, at = fresh(table, shape), np.empty_like(ids, np.int32, shape=shape)
    _windows_max(table, ids, windows, best, at)
    return best, at


def windows_max_gradient(g, ids, at, shape):
    """The gradient of `windows_max` with respect to its table, which has this shape: g goes to the windows that won.

    >>> windows_max_gradient(np.ones((1, 1)), np.array([[1, 2, 1, 1]]), np.array([[1]], np.int32), (3, 2, 1)).sum(axis=2)
    array([[0., 0.],
           [0., 1.],
           [1., 0.]])
    """
    grad = np.zeros_like(g, shape=shape, order="C")
    _windows_max_gradient(g, ids, at, grad)
    return grad
