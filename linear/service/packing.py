"""Features as the compiled loops take them: hashed once, when an event comes, instead of each time it is learned.

A record is one of `linear.kernels.cached`, without a label. It is derived from the features' JSON and may be missing: what has
none is learned from the JSON, with the same bits.
"""
import numpy as np

import linear.kernels.layout as at
from linear.engine import CompiledLearner
from linear.keys import scheme
from linear.progress import Totals

_LABEL = np.uint64(3)


def packing(options):
    """What records must be of to be learned by a model of these options: their layout and its hash. None where it takes none.

    >>> packing({"bits": 18}), packing({"names": True})
    ('records-1 vw-murmur3-strings-18', None)
    """
    if options.get("names") or options.get("engine") == "dict":
        return None
    return f"records-1 {scheme(options.get('bits'), options.get('hash', 'strings')).id}"


def learn(learner, records, labels, learning=True):
    """Learn records one after the other, in one go: an array of (margin, margin as the loss sees it), one row for each.

    It ends before the first record that the loops leave to Python, such as one whose margin is beyond all measure. Without
    `learning` nothing changes.
    """
    sizes = [len(record) for record in records]
    ends = np.cumsum(sizes)
    heads = (ends - sizes) // 8
    buffer = np.frombuffer(bytearray(b"".join(records) + bytes(8)), np.uint64)
    buffer[heads] = buffer[heads] & ~_LABEL | (labels + 1).astype(np.uint64)
    found, done, stopped = np.empty((len(records), 2)), 0, False
    learner.begin(results=True)
    while done < len(records) and not stopped:
        _, stopped = learner.run(buffer, int(heads[done]) * 8, int(ends[-1]), CompiledLearner.CACHED, learning, -1, Totals())
        rows = learner.results.reshape(-1, at.RESULT_WIDTH)[:learner.ints[at.OUT], :2]
        found[done:done + len(rows)] = rows
        done += len(rows)
    return found[:done]


def packed_margins(learner, records):
    """The margins of records, nothing is learned; it ends as `learn` does.

    >>> from linear.service.reading import Reader
    >>> model, records = CompiledLearner(), [Reader({}).record(b'{"u":"%s"}' % name) for name in (b"ann", b"bob")]
    >>> learn(model, records, np.array([1, -1]))[:, 0].round(3).tolist(), packed_margins(model, records)[0] > 0.1
    ([0.0, 0.15], True)
    """
    if not records:
        return []
    return learn(learner, records, np.zeros(len(records), np.int64), learning=False)[:, 0].tolist()
