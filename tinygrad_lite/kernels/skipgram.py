"""Skip-gram and CBOW with negative sampling: a walk along a text that moves the rows of its words and of their n-grams.

Mikolov et al. 2013 (1310.4546); with n-grams Bojanowski et al. 2017 (1607.04606). For each place a hidden vector h is the
mean of input rows, and for each target word t, with label 1, and the noise words drawn for it, with label 0,

    g = rate (label - sigmoid(h . out_t)),    out_t += g h,    every input row of the mean += sum of the g out_t

A centre word of skip-gram has several targets, one after another, and each moves its rows before the next is looked at. All
its rows move alike, so h moves by `gain` times that (1 where no row counts twice) and the rows themselves are visited once.
"""
import math

import numpy as np

from . import kernel, ready


def _plain(words, begin, end, noise, starts, pieces, gain, cbow, rate, table, out):
    pair, loss = 0, 0.0
    for i, word in enumerate(words):
        around = [p for p in range(begin[i], end[i]) if p != i]
        bag, targets = (around, [i]) if cbow else ([i], around)
        rows = np.concatenate([np.empty(0, np.int64)] + [pieces[starts[words[p]]:starts[words[p] + 1]] for p in bag])
        if not len(rows):
            pair += len(targets)
            continue
        hidden = (table[rows].sum(axis=0) / len(rows)).astype(table.dtype)
        total = np.zeros_like(hidden)
        for q in targets:
            move = np.zeros_like(hidden)
            for s, t in enumerate([words[q], *noise[pair]]):
                if s == 0 or t != words[q]:
                    p = 1 / (1 + math.exp(min(max(-float(hidden @ out[t]), -60), 60)))
                    loss -= math.log(max(p if s == 0 else 1 - p, 1e-30))
                    g = table.dtype.type(rate * ((s == 0) - p))
                    move += g * out[t]
                    out[t] += g * hidden
            pair += 1
            total += move
            hidden += table.dtype.type(gain[word]) * move
        np.add.at(table, rows, total)
    return loss


def _usable(words, begin, end, noise, starts, pieces, gain, cbow, rate, table, out):
    return ready(table, out) and all(a.flags.c_contiguous for a in (words, begin, end, noise, starts, pieces, gain))


@kernel(_plain, _usable, reorder=True)
def _walk(words, begin, end, noise, starts, pieces, gain, cbow, rate, table, out):
    T, dim = table.dtype.type, table.shape[1]
    hidden, total, move = np.empty(dim, table.dtype), np.empty(dim, table.dtype), np.empty(dim, table.dtype)
    pair, loss = 0, 0.0
    for i in range(words.size):
        first, last = (begin[i], end[i]) if cbow else (i, i + 1)            # the words of the bag
        count = 0
        for j in range(dim):
            hidden[j] = T(0)
            total[j] = T(0)
        for p in range(first, last):
            if p != i or not cbow:
                for e in range(starts[words[p]], starts[words[p] + 1]):
                    row = table[pieces[e]]
                    count += 1
                    for j in range(dim):
                        hidden[j] += row[j]
        a, b = (i, i + 1) if cbow else (begin[i], end[i])                   # the targets
        if count == 0:
            pair += b - a - (0 if cbow else 1)
            continue
        share = T(1) / T(count)
        for j in range(dim):
            hidden[j] *= share
        for q in range(a, b):
            if q == i and not cbow:
                continue
            for j in range(dim):
                move[j] = T(0)
            for s in range(noise.shape[1] + 1):
                t = words[q] if s == 0 else noise[pair, s - 1]
                if s > 0 and t == words[q]:
                    continue
                row, score = out[t], T(0)
                for j in range(dim):
                    score += hidden[j] * row[j]
                p = 1 / (1 + math.exp(min(max(-float(score), -60.0), 60.0)))
                loss -= math.log(max(p if s == 0 else 1 - p, 1e-30))
                g = T(rate * ((1 if s == 0 else 0) - p))
                for j in range(dim):
                    move[j] += g * row[j]
                    row[j] += g * hidden[j]
            pair += 1
            step = T(gain[words[i]])
            for j in range(dim):
                total[j] += move[j]
                hidden[j] += step * move[j]
        for p in range(first, last):
            if p != i or not cbow:
                for e in range(starts[words[p]], starts[words[p] + 1]):
                    row = table[pieces[e]]
                    for j in range(dim):
                        row[j] += total[j]
    return loss


def walk(words, begin, end, noise, starts, pieces, gain, cbow, rate, table, out):
    """Train table (rows, dim) and out (vocabulary, dim) in place on a piece of text; returns the sum of the losses.

    words (n,): the text; begin, end (n,): each place's window; noise (pairs, negatives): for every pair in order; the input
    rows of word w are pieces[starts[w]:starts[w+1]]; cbow: the words around predict the centre, else it predicts them.

    >>> table, out = np.array([[1.0], [0.5]]), np.array([[0.0], [0.0]])
    >>> walk(np.array([0, 1]), np.array([0, 0]), np.array([2, 2]), np.empty((2, 0), int), np.array([0, 1, 2]), np.array([0, 1]),
    ...      np.ones(2), False, 1.0, table, out).__round__(4)
    1.3863
    >>> table.ravel(), out.ravel()                  # both words have learned what stands beside them
    (array([1. , 0.5]), array([0.25, 0.5 ]))
    """
    return _walk(words, begin, end, noise, starts, pieces, gain, cbow, rate, table, out)
