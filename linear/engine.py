"""The compiled learner: the dictionary learner's twin over a hash table, with loops that go from text to weights.

`reference.DictLearner` defines what it does; at dtype float64 the weights agree bit for bit. Keys are integers: exact
64-bit hashes in a table that doubles, or VW's indices (`bits=`). The loops stand in `linear.kernels`.
"""
import copy
import mmap
from array import array

import numpy as np

import linear.kernels.layout as at
from linear.features import FeatureError
from linear.formats import svmlight, vw
from linear.keys import field_id
from linear.progress import Totals
from linear.reference import LARGEST_MARGIN, LIMITS, SCALARS
from linear.rules import RULES

FULLEST = 2 / 3                    # a table fuller than this doubles
_REALS = {"seen": at.SEEN, "scale": at.SCALE, "cut": at.CUT, "X": at.X, "T": at.SUM, "low": at.LOW, "high": at.HIGH}
_COUNTS = {"examples": at.EXAMPLES, "features": at.FEATURES}                        # of Totals, for a run
_SUMS = {"weight": at.WEIGHT, "hinge_sum": at.HINGE, "zero_one_sum": at.ZERO_ONE}
_INDEX = np.uint64((1 << 63) - 1)
_INT64 = np.dtype(np.int64).char
_LEARN, _LAST_FEATURES, _STATUS, _MARGIN = at.LEARN, at.LAST_FEATURES, at.STATUS, at.MARGIN       # for `learn_line`'s sake
_NO_RESULTS = np.zeros(0)


def run(*args):
    """`kernels.lines.run`; numba is imported at the first call, when this name becomes the loop's own."""
    global run
    from linear.kernels.lines import run
    return run(*args)


def run_one(*args):
    """`kernels.lines.run_one`, likewise."""
    global run_one
    from linear.kernels.lines import run_one
    return run_one(*args)


def move(*args):
    """`kernels.table.move`, likewise."""
    global move
    from linear.kernels.table import move
    return move(*args)


class CompiledLearner:
    """Weights by integer key in a hash table, changed by compiled loops. The options are HingeSVM's.

    One thread at a time, also for predictions: calls share their working arrays. Loops over many examples let other threads
    run (they do not hold the interpreter's lock).

    >>> learner = CompiledLearner("perceptron", dtype="float64")
    >>> learner.learn([(17, 1.0), (99, 0.5)], y=1), learner.margin([(99, 0.5), (3, 1.0)])
    (0.0, 0.25)
    >>> sorted(learner.items())
    [(17, 1.0), (99, 0.5)]
    """

    READS, CACHED = {vw.parse: at.VW, svmlight.parse: at.SVMLIGHT}, at.CACHED            # what `run` takes

    def __init__(self, rule="adagrad", lr=None, loss="hinge", l1=0.0, l2=0.0, C=1.0, r=1.0, phi=1.0, lam=1e-4, floor=0.01,
                 power_t=0.0, initial_t=0.0, adaptive=True, normalized=True, invariant=True, dtype="float32", bits=None,
                 all_=False, constant=True, crosses=()):
        self.rule, self.dtype, self.bits, self.crossed = rule, dtype, bits, bool(crosses)
        self.states = list(RULES[rule].state) + ["cut"] * bool(l1 and rule != "ftrl")
        self.ints = np.zeros(at.CROSS + at.CROSS_WIDTH * max(1, len(crosses)), np.int64)
        self.ints[at.STOP] = -1
        self.reals = np.zeros(at.REALS)
        self.work, self.results, self.line = np.zeros(3 * 1024, np.uint64), np.zeros(0), np.zeros(1024, np.uint8)
        ints, reals = self.ints, self.reals
        ints[at.RULE], ints[at.LOSS] = at.RULES.index(rule), at.LOSSES.index(loss)
        ints[at.BITS], ints[at.HASH_ALL], ints[at.CONSTANT] = bits or 0, all_, constant
        ints[at.PER_WORD] = 8 // np.dtype(dtype).itemsize
        ints[at.ADAPTIVE], ints[at.NORMALIZED], ints[at.INVARIANT] = adaptive, normalized, invariant
        ints[at.CUTS] = self.states.index("cut") + 1 if "cut" in self.states else 0
        ints[at.CROSSES] = len(crosses)
        for i, cross in enumerate(crosses):
            ints[at.CROSS + i * at.CROSS_WIDTH:][:len(cross)] = cross
        self.lr, self.l1, self.l2 = RULES[rule].lr if lr is None else lr, l1, l2
        reals[at.LR:at.INITIAL_T + 1] = self.lr or 0.0, l1, l2, C, r, phi, lam, floor, power_t, initial_t
        reals[at.SCALE] = 1.0
        reals[at.LOW], reals[at.HIGH] = (-50.0, 50.0) if loss == "logistic" else (0.0, 0.0)
        reals[at.SMALLEST], reals[at.LARGEST] = LIMITS[dtype]
        reals[at.LARGEST_MARGIN] = LARGEST_MARGIN[dtype]
        reals[at.LARGEST_STORED] = 3.4e38 if dtype == "float32" else np.inf
        self._lay_out()

    def count_updates(self):
        """Of an empty learner whose rule keeps no state: have every weight's updates counted beside it, as the column "updates".

        >>> learner = CompiledLearner("pa")
        >>> learner.count_updates()
        >>> learner.learn([(17, 1.0)], y=1), learner.learn([(17, 1.0), (5, 1.0)], y=-1), learner.columns()[1]["updates"]
        (0.0, 1.0, array('f', [1.0, 2.0]))
        """
        self.states.append("updates")
        self.ints[at.COUNTED] = len(self.states)
        self._lay_out()

    t = property(lambda self: int(self.ints[at.T]))

    def __len__(self):
        return int(self.ints[at.COUNT])

    def margin(self, features, initial=0.0):
        """`DictLearner.margin`."""
        return self._take(features, 0.0, 0.0, initial)

    def learn(self, features, y, weight=1.0, initial=0.0):
        """`DictLearner.learn`."""
        return self._take(features, y, weight, initial)

    def clamped(self, margin):
        """`DictLearner.clamped`."""
        return min(max(margin, float(self.reals[at.LOW])), float(self.reals[at.HIGH])) if self.rule == "nag" else margin

    def weight(self, key):
        """The weight of a key, None where it is not stored."""
        key, stride = key | 1 << 63 if self.bits else key, int(self.ints[at.STRIDE])
        keys, mask = self.table.view(np.uint64), int(self.ints[at.MASK])
        slot = key & mask
        while (held := int(keys[slot * stride])) != key:
            if held == 0:
                return None
            slot = (slot + 1) & mask
        return float(self._read(self._rows(np.array([slot])))[0])

    def take_fields(self, fields, y, h, initial):
        """(margin, number of features) of an example as `features.fields_of` gives it, hashed and crossed by the loops, and
        learned if y and h are not 0; None where Python has to make its features: at odd names, at values too large."""
        texts, values, places = [], [], array(_INT64)
        for field, part in fields:
            first = len(texts)
            for text, value in part:
                texts.append(text)
                values.append(value)
            if self.crossed:
                key, letter = field_id(field)
                places.extend((key, letter, first, len(texts), letter if part and "=" in part[0][0] else 32))
        texts.append("\n")
        try:
            data = array("d", values).tobytes() + "\n".join(texts).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return None
        size, ints = len(data), self.ints.data
        if size > len(self.line) - 16:
            self.line = np.zeros(2 * size + 16, np.uint8)
        self.line.data[:size] = data
        if len(places) > at.SEGMENT_WIDTH * at.SEGMENTS:
            return None
        ints[at.SEGMENT:at.SEGMENT + len(places)] = places
        ints[at.FIELDS] = len(places) // at.SEGMENT_WIDTH
        margin = self._one(at.NAMES, len(values), size, y, h, initial)
        return None if margin is None else (margin, ints[at.LAST_FEATURES])

    def margin_of_json(self, body, most):
        """The margin of a request {"x": {...}} of valid UTF-8, of at most that many features; None where Python has to read it."""
        size = len(body) + 1
        if size > len(self.line) - 16:
            self.line = np.zeros(2 * size + 16, np.uint8)
        self.line.data[:size] = body + b"\0"
        return self._one(at.JSON, most, size, 0.0, 0.0, 0.0)

    def items(self):
        """(key, weight) of every feature stored."""
        keys, rows = self._stored()
        return zip(keys.tolist(), self._read(rows).tolist())

    def largest(self, count):
        """`DictLearner.largest`."""
        keys, rows = self._stored()
        weights = self._read(rows)
        sizes = np.abs(weights)
        if count < len(sizes):
            some = np.flatnonzero(sizes >= np.partition(sizes, -count)[-count])
            keys, weights, sizes = keys[some], weights[some], sizes[some]
        order = np.lexsort((keys, -sizes))[:count]
        return list(zip(keys[order].tolist(), weights[order].tolist()))

    def columns(self):
        """`DictLearner.columns`."""
        keys, rows = self._stored()
        order = np.argsort(keys)
        kind = "d" if self.dtype == "float64" else "f"
        names = ["weight", *self.states]
        return array("Q", keys[order].tobytes()), {name: array(kind, np.ascontiguousarray(rows[order, i]).tobytes())
                                                   for i, name in enumerate(names)}

    def scalars(self):
        """`DictLearner.scalars`."""
        return {"t": self.t, **{name: float(self.reals[place]) for name, place in _REALS.items()}}

    def restore(self, keys, columns, scalars):
        """`DictLearner.restore`."""
        keys = np.array(keys, np.uint64)
        if self.bits:
            keys |= np.uint64(1 << 63)
        stride = int(self.ints[at.STRIDE])
        block = np.zeros((len(keys), stride), np.uint64)
        block[:, 0] = keys
        words = 8 // np.dtype(self.dtype).itemsize
        for i, name in enumerate(["weight", *self.states]):
            block.view(self.dtype)[:, words + i] = columns[name]
        self.set_slots(block)
        self.set_scalars(scalars)

    def slots(self):
        """What is stored, as it is stored: a row of uint64 for each full slot, the key first, in the order of the table."""
        rows = self.table.view(np.uint64).reshape(-1, int(self.ints[at.STRIDE]))
        return rows[rows[:, 0] != 0]

    def set_slots(self, rows):
        """Take over what `slots` gave, instead of all that was stored."""
        self.table = None
        self._allocate(1 << (self.bits or max(10, int(len(rows) / FULLEST).bit_length())))
        move(rows.reshape(-1), self.table.view(np.uint64), int(self.ints[at.STRIDE]), int(self.ints[at.MASK]))
        self.ints[at.COUNT] = len(rows)

    def set_scalars(self, scalars):
        """Take over what `scalars` gave."""
        self.ints[at.T] = scalars["t"]
        for name in SCALARS[1:]:
            self.reals[_REALS[name]] = scalars[name]

    def reserve(self, count):
        """Have room for that many weights more."""
        while int(self.ints[at.COUNT]) + count > int(self.ints[at.LIMIT]):
            self._allocate(2 * (int(self.ints[at.MASK]) + 1))

    def totals(self):
        """`progress.Totals` of everything learned."""
        weight, hinge, zero_one = self.reals[at.MODEL_WEIGHT:at.MODEL_WEIGHT + 3].tolist()
        return Totals(int(self.ints[at.MODEL_EXAMPLES]), 0, int(self.ints[at.MODEL_FEATURES]), weight, hinge, zero_one)

    def set_totals(self, totals):
        """Go on counting from here."""
        self.ints[at.MODEL_EXAMPLES], self.ints[at.MODEL_FEATURES] = totals.examples, totals.features
        self.reals[at.MODEL_WEIGHT:at.MODEL_WEIGHT + 3] = totals.weight, totals.hinge_sum, totals.zero_one_sum

    def begin(self, results=False):
        """Before a run over lines: count them from 0, and keep the results of each line, or not."""
        self.ints[at.LINES] = self.ints[at.OUT] = 0
        self.results = np.zeros(4096 * at.RESULT_WIDTH if results else 0)

    def run(self, buffer, start, end, what, learning, stop, totals):
        """Take the lines of buffer[start:end] through the model; returns (where it stopped, whether Python has to read on).

        `what` is CACHED or one of READS.

        The text ends with a newline, and the buffer 8 bytes later or more. It stops at the end, at `stop` examples in
        `totals`, before a line that Python has to read, and where there is no more room for results.
        """
        ints, reals = self.ints, self.reals
        ints[at.FORMAT], ints[at.LEARN], ints[at.STOP], ints[at.OUT] = what, learning, stop, 0
        for name, place in _COUNTS.items():
            ints[place] = getattr(totals, name)
        for name, place in _SUMS.items():
            reals[place] = getattr(totals, name)
        start, why = self._loop(np.frombuffer(buffer, np.uint8), start, end, self.results)
        ints[at.FORMAT], ints[at.STOP] = at.VW, -1
        for name, place in _COUNTS.items():
            setattr(totals, name, int(ints[place]))
        for name, place in _SUMS.items():
            setattr(totals, name, float(reals[place]))
        return start, why in (at.BY_HAND, at.MORE_ROOM, at.BLOWN_UP)

    def learn_line(self, line):
        """The margin of one line of VW text, which is then learned; None where Python has to read it, and nothing is done."""
        size, ints = len(line) + 1, self.ints.data
        if b"\n" in line[:-1]:
            return None
        if size > len(self.line) - 16:
            self.line = np.zeros(2 * size + 16, np.uint8)
        self.line.data[:size] = line + b"\n"
        ints[_LEARN], ints[_LAST_FEATURES] = 1, -1           # which no example has
        run(self.line, 0, size, self.table, self.work, _NO_RESULTS, self.ints, self.reals)
        if ints[_STATUS] and self._loop(self.line, 0, size)[1] or ints[_LAST_FEATURES] < 0:
            return None
        return self.reals.item(_MARGIN)

    def results_of(self, buffer):
        """(label, weight, base margin, tag, margin, prediction, features) of each line of the last run."""
        for row in self.results.reshape(-1, at.RESULT_WIDTH)[:self.ints[at.OUT]].tolist():
            margin, prediction, label, weight, initial, start, end, features = row
            tag = bytes(buffer[int(start):int(end)]).decode("utf-8", "surrogateescape") if end else ""
            yield int(label) or None, weight, initial, tag, margin, prediction, int(features)

    def last(self):
        """(label, margin, features) of the last line of the last run."""
        return (int(self.reals[at.LAST_LABEL]) or None, float(self.reals[at.MARGIN]), int(self.ints[at.LAST_FEATURES]))

    def next_line(self):
        """The number, from 1, of the line that Python reads now."""
        self.ints[at.LINES] += 1
        return int(self.ints[at.LINES])

    def _loop(self, text, start, end, results=_NO_RESULTS):
        """(where `kernels.lines.run` stopped, why), after it got what it asked for."""
        while True:
            start = run(text, start, end, self.table, self.work, results, self.ints, self.reals)
            why = int(self.ints[at.STATUS])
            if why == at.GROW:
                self._allocate(2 * (int(self.ints[at.MASK]) + 1))
            elif why == at.MORE_ROOM and len(self.work) < 3 << 22:
                self.work = np.zeros(2 * len(self.work), np.uint64)
            else:
                return start, why

    def _take(self, features, y, h, initial):
        count = len(features)
        if 3 * count > len(self.work):
            self.work = np.zeros(6 * count, np.uint64)
        room = len(self.work) // 3
        self.work[:count] = [key for key, _ in features]
        if self.bits:
            self.work[:count] |= np.uint64(1 << 63)
        self.work[room:room + count].view(np.float64)[:] = [value for _, value in features]
        return self._one(at.KEYS, count, 1, y, h, initial)

    def _one(self, what, count, size, y, h, initial):
        """The margin of one example, of which `count` features are given (JSON: at most); None where Python has to make them."""
        ints, reals = self.ints.data, self.reals.data            # numbers go in and out of these in half the time
        ints[at.FORMAT], ints[at.GIVEN], ints[at.LEARN] = what, count, y != 0
        reals[at.LABEL], reals[at.LABEL + 1], reals[at.LABEL + 2] = y, h, initial
        run_one(self.line, 0, size, self.table, self.work, _NO_RESULTS, self.ints, self.reals)
        why = ints[at.STATUS]
        if why == at.GROW or why == at.MORE_ROOM:
            why = self._loop(self.line, 0, size)[1]
        ints[at.FORMAT] = at.VW
        if why == at.BLOWN_UP:
            raise FeatureError(f"margin {reals[at.MARGIN]!r} is beyond {reals[at.LARGEST_MARGIN]:g}: scale the values down or "
                               "lower the learning rate", None)
        return reals[at.MARGIN] if why == at.DONE else None

    def _lay_out(self):
        self.ints[at.VALUES] = 1 + len(self.states)
        self.ints[at.STRIDE] = 1 + (int(self.ints[at.VALUES]) * np.dtype(self.dtype).itemsize + 7) // 8
        self.table = None
        self._allocate(1 << (self.bits or 10))

    def _allocate(self, slots):
        stride, old = int(self.ints[at.STRIDE]), self.table
        new = zeros(slots * stride * 8)
        if old is not None:
            move(old.view(np.uint64), new.view(np.uint64), stride, slots - 1)
        self.table = new.view(self.dtype)
        self.ints[at.MASK], self.ints[at.LIMIT] = slots - 1, slots * 2 if self.bits else int(slots * FULLEST)

    def _rows(self, slots):
        """The stored numbers of these slots, one row each: weight, then state."""
        stride = int(self.ints[at.STRIDE])
        words = 8 // self.table.itemsize
        return self.table.reshape(-1, stride * words)[slots, words:]

    def _stored(self):
        """(keys, their rows) of all full slots."""
        keys = self.table.view(np.uint64)[::int(self.ints[at.STRIDE])]
        slots = np.flatnonzero(keys)
        keys = keys[slots]
        return keys & _INDEX if self.bits else keys, self._rows(slots)

    def _read(self, rows):
        """`DictLearner.read` for many."""
        rows = rows.astype(np.float64)
        stored = rows[:, 0]
        if self.rule == "asgd":
            return stored - rows[:, 1] / max(1, self.t)
        if cut := int(self.ints[at.CUTS]):
            size = np.maximum(0.0, np.abs(stored) - np.maximum(0.0, self.reals[at.CUT] - rows[:, cut]))
            stored = np.where(stored < 0.0, -size, size)
        return stored * self.reals[at.SCALE]

    def copy(self):
        """A learner of its own, as this one stands now."""
        twin = copy.copy(self)
        twin.ints, twin.reals, twin.line = self.ints.copy(), self.reals.copy(), self.line.copy()
        return twin

    def __getstate__(self):
        return {**self.__dict__, "table": np.array(self.table), "work": self.work[:3 * 64].copy(), "results": self.results[:0]}


def zeros(size):
    """`size` zero bytes as an array; huge pages where the system has them, since slots are read in no order."""
    if size < 1 << 21 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(size, np.uint8)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)
