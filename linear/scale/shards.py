"""The input in ranges, and the pure function that learns one: from the bytes of a round's weights, and of a range, to bytes.

What travels is a header, JSON, and full slots as `CompiledLearner.slots` gives them: the round's weights on the way out, and
those that changed on the way back. A range is small: it names files and places in them, or a log and two numbers, so the
workers must see the same files under the same names.
"""
import io
import json
import os
import struct
from bisect import bisect
from dataclasses import asdict
from itertools import accumulate

import numpy as np

import linear.kernels.layout as at
from linear.command import watched
from linear.formats import FormatError, parser
from linear.progress import Totals
from linear.rules import RULES
from linear.scale.engines import REFUSED, ScaleError, build, difference
from linear.service.fold import EDITS, EXPIRE, Fold
from linear.service.log import SqliteLog
from linear.stream import run
from linear.svm import HingeSVM

READS = ("vw", "svmlight", "jsonl")         # formats whose lines mean the same wherever a file is cut
BATCH = 1000                                # events read at a time
_LENGTH = struct.Struct("<Q")


def to_bytes(header, rows):
    """A header and slots as bytes.

    >>> header, rows = of_bytes(to_bytes({"t": 1}, np.array([[17, 3]], np.uint64)))
    >>> header, rows.tolist()
    ({'t': 1, 'shape': [1, 2]}, [[17, 3]])
    """
    text = json.dumps({**header, "shape": rows.shape}).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((_LENGTH.pack(len(text)), text, np.ascontiguousarray(rows, "<u8").data))


def of_bytes(data):
    """(header, slots) of such bytes."""
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    header = json.loads(bytes(data[_LENGTH.size:end]))
    return header, np.frombuffer(data, "<u8", offset=end).astype(np.uint64, copy=False).reshape(header["shape"])


def cut_files(paths, shards, rounds):
    """The files as `rounds` lists of `shards` ranges, of about equal size, cut at line ends; a range is a list of pieces.

    The ranges follow each other in the files' order. Those that are empty are left out. Raises ScaleError for what cannot
    be cut, OSError for what cannot be read.
    """
    for path in paths:
        if path == "-" or path.endswith(".gz"):
            what = "standard input" if path == "-" else f"{path} is compressed, and"
            raise ScaleError(f"{what} cannot be cut into ranges: --dask reads plain files")
    sizes = [os.stat(path).st_size for path in paths]
    ends = list(accumulate(sizes, initial=0))                # of the files, one behind the other
    places = [0]
    for number in range(1, shards * rounds):
        place = ends[-1] * number // (shards * rounds)
        file = min(bisect(ends, place), len(paths)) - 1
        places.append(max(places[-1], ends[file] + _line_start(paths[file], place - ends[file])))
    places.append(ends[-1])
    ranges = []
    for start, end in zip(places, places[1:]):
        pieces = [{"path": os.path.abspath(path), "size": size, "start": max(start - before, 0), "end": min(end - before, size)}
                  for path, size, before in zip(paths, sizes, ends) if start < before + size and before < end]
        ranges.append({"pieces": pieces} if pieces else None)
    return _rounds(ranges, shards)


def cut_log(path, last, shards, rounds):
    """The events 1 to `last` of a service's directory, likewise.

    >>> cut_log("/srv/dir", 7, 2, 2)[1]
    [{'log': '/srv/dir', 'after': 3, 'until': 5, 'last': 7}, {'log': '/srv/dir', 'after': 5, 'until': 7, 'last': 7}]
    """
    places = [last * number // (shards * rounds) for number in range(shards * rounds + 1)]
    return _rounds([{"log": path, "after": after, "until": until, "last": last} if after < until else None
                    for after, until in zip(places, places[1:])], shards)


def counted(rule):
    """Whether a rule keeps nothing that tells how often a weight has moved, so that its updates have to be counted."""
    return not RULES[rule].state


def train_shard(shared, shard):
    """Learn one range from a round's weights; returns what they became: the slots that changed, and the counts. Pure.

    `shared` and the result are `to_bytes`, `shard` is the JSON of one range. The header of `shared` has the model's options and
    scalars, how lines are read, and the build that the worker must have. Raises ScaleError, FormatError or OSError.
    """
    from linear.kernels.mixing import changed
    header, slots = of_bytes(shared)
    if other := difference(header["build"], build()):
        raise ScaleError(f"a worker has {other}: {REFUSED}")
    model = HingeSVM(**header["options"])
    learner = model._learner
    if counted(learner.rule):
        learner.count_updates()
    learner.set_slots(slots)
    learner.set_scalars(header["scalars"])
    learner.set_totals(Totals(**header["totals"]))
    before, mask = learner.table.view(np.uint64).copy(), int(learner.ints[at.MASK])
    totals = _learn(model, json.loads(shard), header["reads"])
    rows = np.empty((len(learner), slots.shape[1]), np.uint64)
    found = changed(learner.table.view(np.uint64), before, mask, slots.shape[1], rows)
    return to_bytes({"scalars": learner.scalars(), "totals": asdict(learner.totals()), "run": asdict(totals)}, rows[:found])


def _learn(model, shard, reads):
    """Have the model learn a range; returns the Totals of its lines."""
    totals = Totals()
    if "log" in shard:
        return _learn_events(model, shard)
    for piece in shard["pieces"]:
        path, parse = piece["path"], watched(parser(*reads["parser"]), model, reads["most"])
        with _opened(piece) as stream:
            try:
                run(model, stream, parse, path, strict=reads["strict"], totals=totals)
            except FormatError as error:                     # its line is counted from the piece's beginning
                with _opened({**piece, "start": 0, "end": piece["start"]}) as before:
                    raise error.at(path, error.line + sum(1 for _ in before)) from None
    return totals


def _learn_events(model, shard):
    """Have the model learn a range of a log as the service's fold does; labels that came before the range are looked up."""
    before, last = model.totals, shard["until"]
    log = SqliteLog(f"{shard['log']}/log.db", readonly=True)
    try:
        orders = [json.loads(text) for _, text in log.commands(shard["last"])]
        fold = Fold(model.options, [order for order in orders if order["command"] in EDITS], shard["last"])
        fold.model, fold.position = model, shard["after"]
        while fold.position < last:
            rows = log.read(fold.position, min(BATCH, last - fold.position), fold.packing)
            if [row.seq for row in rows] != list(range(fold.position + 1, fold.position + 1 + min(BATCH, last - fold.position))):
                raise ScaleError(f"{shard['log']}: events are missing in the log after event {fold.position}; none is skipped")
            numbers = {row.id: row.seq for row in rows if row.kind == "x"}
            for name, (seq, y) in log.labels(list(numbers)).items():
                if numbers[name] - EXPIRE <= seq <= shard["after"]:
                    fold.pending[name] = seq, fold.corrected.get(name, y)
            fold.apply(rows, log.features([row.id for row in rows if row.kind == "y"], fold.packing))
    finally:
        log.close()
    told = asdict(model.totals)
    return Totals(**{name: told[name] - value for name, value in asdict(before).items()} | {"malformed": fold.counts.refused})


class _Range(io.RawIOBase):
    """Some bytes of a file as a stream."""

    def __init__(self, path, start, end):
        self._file, self._left = open(path, "rb", buffering=0), end - start
        self._file.seek(start)

    def readable(self):
        return True

    def readinto(self, into):
        got = self._file.readinto(memoryview(into)[:self._left])
        self._left -= got
        return got

    def close(self):
        self._file.close()
        super().close()


def _opened(piece):
    """A piece as a stream of lines; ScaleError where the worker sees another file under that name."""
    try:
        size = os.stat(piece["path"]).st_size
    except OSError as error:
        raise ScaleError(f"a worker cannot read {piece['path']} ({error.strerror}): all workers must see the files under the same "
                         "names") from None
    if size != piece["size"]:
        raise ScaleError(f"a worker sees {piece['path']} with {size} bytes, expected {piece['size']}: the files must be the same "
                         "everywhere, and must not change meanwhile")
    return io.BufferedReader(_Range(piece["path"], piece["start"], piece["end"]), 1 << 20)


def _line_start(path, place):
    """Where the first line begins that begins at `place` or later."""
    if place <= 0:
        return 0
    with open(path, "rb") as file:
        file.seek(place - 1)
        file.readline()
        return file.tell()


def _rounds(ranges, shards):
    return [[one for one in ranges[first:first + shards] if one] for first in range(0, len(ranges), shards)]
