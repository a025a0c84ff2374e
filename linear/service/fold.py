"""What the log means: state = fold(initial, events in log order). Everything else in this package protects that line.

Nothing here looks at a clock, at chance, or at where one batch ends and the next begins: the same log gives the same
bits, whatever happened to the process on the way.

    x       features: kept in the log until their label comes; with a label that came earlier, learned now
    y       a label: its features are looked up in the log and learned now; without features it waits in the state
    xy      both: learned now
    command forget, correct, reset, rate, policy: changes the model, so it stands in the log like everything that does
"""
import hashlib
import json
from array import array
from dataclasses import asdict, dataclass, replace
from itertools import groupby

import numpy as np

from linear.failpoints import reach
from linear.features import FeatureError, fields_of
from linear.formats import Example
from linear.service.challenger import ALERT, BLOCK, CHALLENGER, SWAP, Challenger, changed, taking_over
from linear.service.drift import Adwin, PageHinkley
from linear.service.log import COMMAND, LogError
from linear.service.packing import learn, packing
from linear.svm import HingeSVM

WINDOW = 1000                               # labelled events in the recent error
EXPIRE = 1_000_000                          # events after which a part no longer waits for the other
EDITS = ("forget", "correct")               # commands that change what the log has said before


@dataclass
class Counts:
    """What became of the events: `learned` labelled ones, and the others by reason."""
    learned: int = 0
    unlabelled: int = 0         # features whose label had not come with them, or before
    late: int = 0               # labels learned when they came after their features
    early: int = 0              # labels learned when their features came after them
    expired: int = 0            # labels that came too late or too early
    forgotten: int = 0          # events left out by a command
    refused: int = 0            # labelled events whose margin was beyond all measure
    commands: int = 0


class Fold:
    """The state at a position of the log: weights, pending labels, progressive losses, drift detectors.

    >>> from linear.service.log import Row
    >>> fold = Fold({"dtype": "float64"})
    >>> fold.apply([Row(1, "a", "xy", b'{"u":"ann"}', 1), Row(2, "b", "y", b"", -1), Row(3, "b", "x", b'{"u":"bob"}', None)])
    >>> fold.position, fold.counts.learned, fold.counts.early, len(fold.model.weights)
    (3, 2, 1, 3)
    """

    watcher = None                          # called with the numbers and mistakes of the labelled events of each `apply`

    def __init__(self, options, edits=(), edited=0):
        self.model = HingeSVM(**options)
        self.options = self.model.options   # those it began with
        self.packing = packing(self.options)
        self.position, self.counts = 0, Counts()
        self.pending = {}                   # id -> (seq, label): labels without features, oldest first
        self.adwin, self.hinkley = Adwin(), PageHinkley()
        self.marks = []                     # [seq, detector]: where the stream changed, or SWAP: what came of it
        self.policy, self.challenger = ALERT, None
        self.block, self.marked = -1, False             # the block of numbers of the last event, whether it has a mark
        self.recent = array("b")            # 1 for each mistake among the last WINDOW
        self.recent_losses = array("d")     # and their hinge losses
        self.forgotten, self.corrected, self.edited = set(), {}, edited      # by all edits up to event `edited`
        for edit in edits:
            if edit["command"] == "forget":
                self.forgotten.add(edit["id"])
            else:
                self.corrected[edit["id"]] = edit["y"]

    @property
    def recent_error(self):
        """Share of mistakes among the last WINDOW labelled events, None before the first."""
        return sum(self.recent) / len(self.recent) if self.recent else None

    @property
    def recent_hinge(self):
        """Mean hinge loss of the last WINDOW labelled events, None before the first."""
        return sum(self.recent_losses) / len(self.recent_losses) if self.recent_losses else None

    @classmethod
    def replayed(cls, log, options, until, batch=1000, progress=None):
        """The state at position `until`, from the log alone; `progress(position)` is called now and then."""
        if until and log.first() != 1:
            raise LogError(f"the log begins at event {log.first()}, so it cannot be replayed from its start")
        orders = [json.loads(text) for _, text in log.commands(until)]
        fold = cls(options, [order for order in orders if order["command"] in EDITS], until)
        while fold.position < until:
            fold.advance(log, min(batch, until - fold.position))
            if progress:
                progress(fold.position)
        return fold

    def advance(self, log, limit):
        """Take up to `limit` events that follow in the log; returns how many. LogError where events are missing."""
        rows = log.read(self.position, limit, self.packing)
        if rows and rows[0].seq != self.position + 1 or rows and rows[-1].seq != self.position + len(rows):
            raise LogError(f"after event {self.position} the log goes on with {rows[0].seq}: events are missing, none is skipped")
        commands = [row for row in rows if row.kind == COMMAND]
        count, edited = len(rows), max((row.seq for row in commands if self._edits_history(row)), default=0)
        if edited:                          # the past is another one now: live through it again, once for all edits
            self.__dict__.update(Fold.replayed(log, self.options, edited).__dict__)
            rows = [row for row in rows if row.seq > edited]
        late = log.features([row.id for row in rows if row.kind == "y"], self.packing)
        reach("learner.labels_read")
        self.apply(rows, late)
        return count

    def apply(self, rows, late=()):
        """Take rows that follow `position`; `late` has {id: (seq, x, record)} for the features of labels that come alone."""
        if rows and not (self.pending or self.forgotten or self.corrected) and all([row.kind == "xy" for row in rows]):
            self.position = rows[-1].seq    # nothing to look up, nothing to decide: most of a long log, at half the price
            return self._learn_all([(row.seq, row.y, row.x, row.record) for row in rows])
        examples = []
        for row in rows:
            self.position = row.seq
            if self.pending:
                self._expire()
            if row.kind == COMMAND:
                self._learn_all(examples)
                examples = []
                self.counts.commands += 1
                self._command(json.loads(row.x))
            elif example := self._example(row, late):
                examples.append((row.seq, *example))
        self._learn_all(examples)

    def _learn_all(self, examples):
        """Learn (number, label, x, record) of each; what a mark leads to is decided where a block of numbers begins."""
        if self.policy == CHALLENGER:
            for block, some in groupby(examples, key=lambda example: example[0] // BLOCK):
                if block > self.block:
                    self._decide(block)
                self._compete(list(some))
        elif examples:
            self._learn(examples)

    def _decide(self, block):
        """Whether the challenger takes over, is dropped, or one begins."""
        rival, marked = self.challenger, self.marked
        self.block, self.marked = block, False
        if rival and rival.won:
            self.model = taking_over(rival, self.model)
            self.marks = [*self.marks, [block * BLOCK, SWAP]][-100:]
        if rival and (rival.won or rival.over):
            self.challenger = None
        elif marked and not rival:
            self.challenger = Challenger.to(self.model, block * BLOCK)

    def _compete(self, examples):
        """Learn examples, and have the challenger learn them."""
        mistakes, taken, found = self._learn(examples)
        self.marked |= bool(found)
        if self.challenger:
            scores, its_taken = taught(self.challenger.model, examples)
            its_mistakes = (scores[:, 0] > 0.0) != (np.array([example[1] for example in examples]) > 0)
            self.challenger.judge(mistakes, its_mistakes[taken])
            if not its_taken.all():
                self.challenger = None

    def _learn(self, examples):
        """Learn examples; returns (whether each that was not refused was a mistake, which these are, what marks were found)."""
        places, labels = [example[0] for example in examples], np.array([example[1] for example in examples], np.int64)
        scores, taken = taught(self.model, examples)
        self.counts.learned += int(taken.sum())
        self.counts.refused += int((~taken).sum())
        labels, scores = labels[taken], scores[taken]
        places = [place for place, was in zip(places, taken) if was] if not taken.all() else places
        mistakes, losses = (scores[:, 0] > 0.0) != (labels > 0), np.maximum(0.0, 1.0 - labels * scores[:, 1])
        watched = ("ADWIN", self.adwin, mistakes), ("Page-Hinkley", self.hinkley, losses)
        found = [[places[i], name] for name, detector, values in watched for i in detector.update(values).nonzero()[0]]
        self.marks = [*self.marks, *sorted(found)][-100:]
        self.recent = (self.recent + array("b", mistakes.tobytes()))[-WINDOW:]
        self.recent_losses = (self.recent_losses + array("d", losses.tobytes()))[-WINDOW:]
        if self.watcher:
            self.watcher(places, mistakes.tolist())
        return mistakes, taken, found

    def copy(self):
        """The state as it stands now, on its own: a snapshot to answer from, to write down, to take the digest of."""
        twin = Fold.__new__(Fold)
        twin.__dict__.update(self.__dict__, model=self.model.copy(), counts=replace(self.counts), pending=dict(self.pending),
                             marks=list(self.marks), challenger=self.challenger and self.challenger.copy(), recent=self.recent[:],
                             recent_losses=self.recent_losses[:], adwin=self.adwin.copy(), hinkley=self.hinkley.copy(),
                             forgotten=set(self.forgotten), corrected=dict(self.corrected))
        return twin

    def parts(self):
        """(header, arrays) for a state file: the model's own, so that the file is a model file too, and ours."""
        header, arrays = self.model.parts()
        rival, its_arrays = self.challenger.parts() if self.challenger else (None, {})
        ours = {"options": self.options, "position": self.position, "counts": asdict(self.counts), "marks": self.marks,
                "policy": self.policy, "challenger": rival, "block": self.block, "marked": self.marked,
                "pending": [[name, *label] for name, label in self.pending.items()],
                "forgotten": sorted(self.forgotten), "corrected": sorted(self.corrected.items())}
        return {**header, "service": ours}, {**arrays, **its_arrays, "recent": array("B", self.recent),
                                             "recent_losses": self.recent_losses,
                                             "adwin": array("d", self.adwin.state), "page_hinkley": array("d", self.hinkley.state)}

    @classmethod
    def of_parts(cls, header, arrays):
        """The state of such parts."""
        fold, ours = cls.__new__(cls), header["service"]
        fold.__init__(ours["options"], edited=ours["position"])
        fold.model = HingeSVM.of_parts(header, arrays)
        fold.position, fold.counts, fold.marks = ours["position"], Counts(**ours["counts"]), ours["marks"]
        fold.policy, fold.block, fold.marked = ours["policy"], ours["block"], ours["marked"]
        fold.challenger = Challenger.of_parts(ours["challenger"], arrays) if ours["challenger"] else None
        fold.pending = {name: (seq, y) for name, seq, y in ours["pending"]}
        fold.forgotten, fold.corrected = set(ours["forgotten"]), dict(ours["corrected"])
        fold.adwin.state[:], fold.hinkley.state[:] = arrays["adwin"], arrays["page_hinkley"]
        fold.recent, fold.recent_losses = array("b", arrays["recent"]), array("d", arrays["recent_losses"])
        return fold

    def digest(self):
        """SHA-256 of the state in canonical form: numbers by key, little-endian, then all else; no layout, time or build."""
        header, arrays = self.parts()
        total = hashlib.sha256(json.dumps(header, sort_keys=True).encode("utf-8"))
        for name in sorted(arrays):
            total.update(name.encode("utf-8"))
            values = np.asarray(arrays[name])
            total.update(values.astype(values.dtype.newbyteorder("<"), copy=False))
        return total.hexdigest()

    def _example(self, row, late):
        """(label, x, record) of what there is to learn at this row, or None."""
        if row.id in self.forgotten:
            self.counts.forgotten += 1
            return None
        y = self.corrected.get(row.id, row.y) if row.y else None
        if row.kind == "xy":
            return y, row.x, row.record
        if row.kind == "x":
            if row.id not in self.pending:
                self.counts.unlabelled += 1
                return None
            self.counts.early += 1
            return self.pending.pop(row.id)[1], row.x, row.record
        seq, x, *record = late.get(row.id, (row.seq, b"")) if late else (row.seq, b"")
        if row.seq - EXPIRE <= seq < row.seq:               # older ones do not count, whether or not the log still has them
            self.counts.late += 1
            return y, x, *(record or [b""])
        self.pending[row.id] = row.seq, y
        return None

    def _expire(self):
        while self.pending and next(iter(self.pending.values()))[0] < self.position - EXPIRE:
            del self.pending[next(iter(self.pending))]
            self.counts.expired += 1

    def _command(self, order):
        if order["command"] == "reset":
            self.model = changed(HingeSVM(**self.model.options), totals=asdict(self.model.totals))
        elif order["command"] == "rate":
            self.model = changed(self.model, options={**self.model.options, "lr": order["lr"]})
        elif order["command"] == "policy":
            self.policy = order["drift"]
        else:
            return
        self.challenger, self.marked = None, False      # it has challenged another one

    def _edits_history(self, row):
        """Whether this row changes what the log has said before; a fold that began after it knows it already."""
        return row.seq > self.edited and json.loads(row.x)["command"] in EDITS


def taught(model, examples):
    """Have a model learn examples, all records that follow each other in one go.

    Returns (margin, margin as the loss sees it) of each before it was learned, and whether it was not beyond all measure.
    """
    labels, records = np.array([example[1] for example in examples], np.int64), [*[example[3] for example in examples], b""]
    scores, taken, done = np.zeros((len(examples), 2)), np.ones(len(examples), bool), 0
    loops = model.loops
    while done < len(examples):
        end = done if loops is None else records.index(b"", done)
        if end > done:
            found = learn(loops, records[done:end], labels[done:end])
            scores[done:done + len(found)] = found
            done += len(found)
        if done < end or done == end < len(examples):       # what the loops leave to Python
            y = examples[done][1]
            try:
                margin = model.take(Example(y, 1.0, 0.0, "", fields_of(json.loads(examples[done][2]))))[0]
                scores[done] = margin, model.clamped(margin)
            except FeatureError:
                taken[done] = False
            done += 1
    return scores, taken
