"""Features as the compiled loops take them: hashed once, when an event comes, instead of each time it is learned.

A record is one of `linear.kernels.cached`, without a label. It is derived from the features' JSON and may be missing: what has
none is learned from the JSON, with the same bits.
"""
from array import array
from functools import lru_cache

import numpy as np

import linear.kernels.layout as at
from linear.engine import CompiledLearner
from linear.keys import field_id, scheme
from linear.progress import Totals

_NO_CROSS = (1, 2, 0, 0, 0)                 # of letters that no field has: the fields are noted, and nothing is crossed
_LABEL = np.uint64(3)


def packing(options):
    """What records must be of to be learned by a model of these options: their layout and its hash. None where it takes none.

    >>> packing({"bits": 18}), packing({"names": True})
    ('records-1 vw-murmur3-strings-18', None)
    """
    if options.get("names") or options.get("engine") == "dict":
        return None
    return f"records-1 {scheme(options.get('bits'), options.get('hash', 'strings')).id}"


class Packer:
    """Makes records for models of these options, as `packing` names them. One thread at a time.

    >>> from linear.features import fields_of
    >>> packer, fields = Packer({}), fields_of({"user": "ann", "age": 3.0})
    >>> len(packer(fields)) == 8 * (1 + 1 + 2 * 2 + 2 * 2)                  # head, sizes, fields, keys and values
    True
    """

    def __init__(self, options):
        bits, hash = options.get("bits"), options.get("hash", "strings")
        self._learner = CompiledLearner(bits=bits, all_=hash == "all", dtype="float64", constant=False, crosses=[_NO_CROSS])

    def __call__(self, fields):
        """The record of an example as `features.fields_of` gives it; b"" where the loops leave its names to Python."""
        from linear.kernels import cached as kernels
        if self._learner.take_fields(fields, 0, 0.0, 0.0) is None:
            return b""
        sizes = array("I", [len(part) for _, part in fields])
        count, kept = sum(sizes), b"".join([_field(name, bool(part) and "=" in part[0][0]) for name, part in fields])
        values = array("d", [value for _, part in fields for _, value in part])
        ones = values.count(1.0) == count
        head = 1 | len(sizes) << kernels.FIELDS | count << kernels.FEATURES | (0 if ones else kernels.VALUES)
        return b"".join((head.to_bytes(8, "little"), sizes.tobytes(), bytes(len(sizes) % 2 * 4), kept,
                         self._learner.work[:count].tobytes(), b"" if ones else values.tobytes()))


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

    >>> model = CompiledLearner(dtype="float64")
    >>> from linear.features import fields_of
    >>> records = [Packer({})(fields_of({"u": name})) for name in ("ann", "bob")]
    >>> learn(model, records, np.array([1, -1]))[:, 0].round(3).tolist(), packed_margins(model, records)[0] > 0.1
    ([0.0, 0.15], True)
    """
    if not records:
        return []
    return learn(learner, records, np.zeros(len(records), np.int64), learning=False)[:, 0].tolist()


@lru_cache(4096)
def _field(name, named):
    key, letter = field_id(name)
    return (key & (1 << 64) - 1).to_bytes(8, "little") + (letter | (letter if named else 32) << 32).to_bytes(8, "little")
