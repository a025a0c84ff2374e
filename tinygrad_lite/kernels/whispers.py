"""One pass of Chinese Whispers: every node in turn joins the class that weighs most among its neighbours."""
import numpy as np

from . import kernel, ready


def _plain(starts, neighbours, weights, order, luck, labels, awake):
    moved = 0
    for i in order:
        around, was_awake, awake[i] = slice(starts[i], starts[i + 1]), awake[i], False
        if not was_awake or around.start == around.stop:
            continue
        classes, place = np.unique(labels[neighbours[around]], return_inverse=True)
        mass = np.bincount(place, weights[around])
        strongest, own = classes[mass == mass.max()], mass[classes == labels[i]]
        if mass.max() > own.sum():
            labels[i] = strongest[luck[strongest].argmin()]
            awake[neighbours[around]] = True
            moved += 1
    return moved


def _usable(starts, neighbours, weights, order, luck, labels, awake):
    return ready(weights) and weights.dtype == np.float64 and awake.flags.c_contiguous and all(
        a.dtype == np.int64 and a.flags.c_contiguous for a in (starts, neighbours, order, luck, labels))


@kernel(_plain, _usable)
def _whisper(starts, neighbours, weights, order, luck, labels, awake):
    mass, moved = np.zeros(labels.size), 0          # of every class, around the node at hand; 0 again when it has decided
    for i in order:
        if not awake[i]:
            continue
        awake[i] = False
        best, most = labels[i], 0.0
        for e in range(starts[i], starts[i + 1]):
            name = labels[neighbours[e]]
            mass[name] += weights[e]                # the largest sum is met when its last weight is added
            if mass[name] > most or (mass[name] == most and luck[name] < luck[best]):
                best, most = name, mass[name]
        moves = most > mass[labels[i]]
        for e in range(starts[i], starts[i + 1]):
            mass[labels[neighbours[e]]] = 0.0
        if moves:
            labels[i] = best
            moved += 1
            for e in range(starts[i], starts[i + 1]):
                awake[neighbours[e]] = True
    return moved


def whisper(starts, neighbours, weights, order, luck, labels, awake):
    """Let each node of `order` take, in labels (n,) in place, the class of most weight around it; returns how many moved.

    Node i's neighbours are neighbours[starts[i]:starts[i+1]], their weights above 0. A node moves only to a class that
    weighs more than its own; among equals the one of least luck[class] wins. Sums run in the order of the edges, so every
    machine agrees. Nodes that are not `awake` are passed over: nothing around them has moved since they chose.

    >>> labels = np.arange(3)                       # 0 -- 1 == 2
    >>> rest = np.arange(3), np.arange(3), labels, np.ones(3, bool)
    >>> whisper(np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1]), np.array([1.0, 1, 2, 2]), *rest)
    2
    >>> labels
    array([1, 2, 2])
    """
    return _whisper(starts, neighbours, weights, order, luck, labels, awake)
