"""The probabilities of a supervised fastText model's labels: softmax, one against all, and a Huffman tree.

Joulin, Grave, Bojanowski & Mikolov 2016 (1607.01759).
"""
import numpy as np

from .format import SOFTMAX

TINY = np.float32(1e-5)                 # fastText adds it in every logarithm, and so to every probability


def probabilities(output, hidden, loss):
    """(raw, shown) of every label: the probability, and what fastText answers, exp(log(p + 1e-5)).

    >>> raw, shown = probabilities(np.eye(2, dtype="f"), np.array([0.0, np.log(3)], "f"), SOFTMAX)
    >>> raw.round(4), shown.round(5)
    (array([0.25, 0.75], dtype=float32), array([0.25001, 0.75001], dtype=float32))
    """
    scores = output[:] @ hidden
    p = softmax(scores) if loss == SOFTMAX else table_sigmoid(scores)
    return p, np.exp(np.log(p + TINY))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def table_sigmoid(x):
    """1 / (1 + e^-x) as fastText's training looks it up: 512 steps from -8 to 8, 0 below and 1 above.

    >>> table_sigmoid(np.array([-9.0, 0.01, 0.04, 9.0], "f"))
    array([0.        , 0.5       , 0.50781184, 1.        ], dtype=float32)
    """
    place = ((np.clip(x, -8, 8) + 8) * 32).astype(np.int64) if not np.isnan(x).any() else x
    inside = 1 / (1 + np.exp(8 - place / 32))
    return np.where(x < -8, 0, np.where(x > 8, 1, inside)).astype(np.float32)


def tree_probabilities(output, hidden, counts):
    """(raw, shown) where labels are leaves of a Huffman tree and every inner node is one decision, left or right.

    fastText compares with the threshold after its 1e-5, so that labels less likely than this are never answered.

    >>> _, shown = tree_probabilities(np.zeros((3, 1), "f"), np.ones(1, "f"), np.array([5, 2, 1]))
    >>> shown.round(3)
    array([0.5 , 0.25, 0.25])
    """
    n, logs = len(counts), np.zeros(2 * len(counts) - 1)
    children = huffman(counts)
    right = 1 / (1 + np.exp(-(output[:] @ hidden).astype(np.float64)))
    for node in range(2 * n - 2, n - 1, -1):
        left_child, right_child = children[node - n]
        logs[left_child] = logs[node] + np.log(1 - right[node - n] + 1e-5)
        logs[right_child] = logs[node] + np.log(right[node - n] + 1e-5)
    p = np.exp(logs[:n])
    return p - 1e-5, p


def huffman(counts):
    """Children (left, right) of the inner nodes n .. 2n-2 over leaves 0 .. n-1, whose counts fall.

    >>> huffman([5, 2, 1])
    [(2, 1), (3, 0)]
    """
    n, leaf, node = len(counts), len(counts) - 1, len(counts)
    weights, children = [int(count) for count in counts], []
    for _ in range(n - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and (node >= len(weights) or weights[leaf] < weights[node]):
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        weights.append(weights[pair[0]] + weights[pair[1]])
        children.append(tuple(pair))
    return children
