"""What a cluster would gain: a small cost model, fitted to runs on this machine, and its page of predictions.

A round of m lines a shard, with V weights so far of which each shard changes C, on W workers with a machine each:

    out      V slots go to the scheduler, and from worker to worker in log2(W) steps       (1 + log2 W) V byte slot
    learn    a shard reads, hashes and learns its lines; a large table is far away         (line + deep log2 V') m
    table    a shard unpacks the V weights, and looks for those that have changed          held V + moved C
    back     what P shards have changed comes over one link                                P C byte slot
    mix      and is averaged by one process                                                P C mixed
    fixed    what a round and a task cost anyway                                           round + task

Shards beyond the workers wait for their turn: learn, table and the task count ceil(P / W) times. How many weights n lines
make is Heaps' law, V = a n^b (Heaps 1978), fitted likewise; C = V(m); V' is V at the end of the round. One learner, the rival,
only learns.
"""
import json
import math
import time
from dataclasses import asdict, dataclass

import numpy as np

from linear.engine import FULLEST
from linear.progress import Totals
from linear.scale.engines import build
from linear.scale.mixing import Mixture
from linear.scale.shards import cut_files, of_bytes, to_bytes, train_shard
from linear.svm import HingeSVM

PARTS = ("out", "learn", "table", "back", "mix", "fixed")
LINK = 1.25e9                               # bytes a second of the network of the page: 10 Gbit/s
SIZES = 1 << 10, 1 << 23, 1 << 25            # bytes that are sent
PIECES = 64                                 # of the file that the fit learns parts of


@dataclass(frozen=True)
class Costs:
    """Seconds for one of each, see above; `slot` is in bytes, `a` and `b` are Heaps'.

    >>> costs = Costs(line=1e-6, deep=0.0, held=3e-8, moved=1e-7, task=0.01, byte=1e-9, round=0.01, mixed=5e-8, slot=16, a=30.0,
    ...               b=0.75)
    >>> one, ten = (costs.run(1e8, workers=n, shards=10, rounds=1) for n in (1, 10))
    >>> round(sum(one.values())), round(sum(ten.values())), max(ten, key=ten.get)
    (109, 14, 'learn')
    """
    line: float
    deep: float
    held: float
    moved: float
    task: float
    byte: float
    round: float
    mixed: float
    slot: int
    a: float
    b: float

    def weights(self, lines):
        """How many weights that many lines make."""
        return self.a * lines ** self.b if lines else 0.0

    def run(self, lines, workers, shards, rounds, cores=None):
        """{part: seconds} of a run; `cores`: workers share a machine of that many, and its memory is their network."""
        found, interval = dict.fromkeys(PARTS, 0.0), lines / rounds / shards
        at_once, turns = min(workers, shards), math.ceil(shards / min(workers, shards, cores or workers))
        copies = at_once if cores else 1 + math.log2(at_once)
        changed = self.weights(interval)
        for number in range(rounds):
            held, then = self.weights(lines * number / rounds), self.weights(lines * (number + 1) / rounds)
            found["out"] += copies * held * self.slot * self.byte
            found["learn"] += turns * (self.line + self.deep * math.log2(1.0 + then)) * interval
            found["table"] += turns * (self.held * held + self.moved * changed)
            found["back"] += shards * changed * self.slot * self.byte
            found["mix"] += shards * changed * self.mixed
            found["fixed"] += self.round + turns * self.task
        return found


def fitted(path, reads, options, engine):
    """`Costs` of this machine: shards of several sizes learned from tables of several sizes, and bytes sent through the engine."""
    pieces = [one[0]["pieces"][0] for one in cut_files([path], 1, PIECES)]
    rows, sizes, mixes, slot = [], [], [], 0
    _mixed(HingeSVM(**options), _learned(_shared(HingeSVM(**options), reads), pieces[:1]))        # loops are compiled, or loaded
    for first in (0, PIECES // 4, PIECES // 2):
        model = HingeSVM(**options)
        base = _shared(model, reads)
        if first:
            model._learner.set_slots(of_bytes(_learned(base, pieces[:first]))[1])
            base = _shared(model, reads)
        held = len(model.weights)
        for count in (1, PIECES // 16, PIECES // 4):
            result, seconds = _timed(_learned, base, pieces[first:first + count])
            told, changed = of_bytes(result)
            lines = told["run"]["examples"]
            rows.append((lines, lines * math.log2(1.0 + held + len(changed)), held, len(changed), 1.0, seconds))
            mixes.append((len(changed), _timed(_mixed, model, result)[1]))
            slot = 8 * changed.shape[1]
            if not first:
                sizes.append((lines, len(changed)))
    line, deep, held, moved, task = _least_squares(rows)
    list(engine.map_ordered(_nothing, [b""], b""))
    sent = [(size, 1.0, _timed(list, engine.map_ordered(_nothing, [b""], bytes(size)))[1]) for size in SIZES for _ in range(3)]
    byte, fixed = _least_squares(sent)
    b, a = np.polyfit(*np.log(sizes).T, 1)
    mixed = sum(seconds for _, seconds in mixes) / sum(count for count, _ in mixes)
    return Costs(line, deep, held, moved, task, byte, fixed, mixed, slot, math.exp(a), b)


def page(costs, features=1e9, link=LINK):
    """The plan as text: 2 to 100 workers, one shard each, for a stream that makes that many weights."""
    costs = Costs(**{**asdict(costs), "byte": 1.0 / link})
    lines = (features / costs.a) ** (1.0 / costs.b)
    alone = costs.run(lines, 1, 1, 100)["learn"]
    slots = 1 << math.ceil(math.log2(features / FULLEST))
    travel, memory = costs.slot * features / 1e9, 2 * costs.slot * slots / 1e9
    text = [f"A stream of {lines:.3g} lines makes {features:.0e} weights (V = {costs.a:.3g} n^{costs.b:.3f}): in the end",
            f"{travel:.0f} GB go to each worker in each round, over {8 * link / 1e9:g} Gbit/s; {memory:.0f} GB are its memory: the "
            "table,", f"and what it was when the round began. One learner takes {alone / 3600:.1f} hours.", "",
            "workers  lines between    hours  speed-up  " + "  ".join(f"{part:>5}" for part in PARTS) + "   bites first"]
    for workers in (2, 5, 10, 20, 50, 100):
        for interval in (1e6, 1e7, 1e8):
            rounds = max(1, round(lines / workers / interval))
            parts = costs.run(lines, workers, workers, rounds)
            total, largest = sum(parts.values()), max(parts, key=parts.get)
            text.append(f"{workers:7d}  {interval:13.0e}  {total / 3600:7.1f}  {alone / total:8.2f}  "
                        + "  ".join(f"{value / total:5.0%}" for value in parts.values()) + f"   {largest}")
    return "\n".join([*text, "", "What averaging costs in accuracy is not in it: the fewer rounds, the more."])


def _shared(model, reads):
    learner = model._learner
    return to_bytes({"scalars": learner.scalars(), "totals": asdict(Totals()), "options": model.options, "reads": reads,
                     "build": build()}, learner.slots())


def _learned(base, pieces):
    """The result of the shard of these pieces, which follow each other in one file."""
    return train_shard(base, json.dumps({"pieces": [{**pieces[0], "end": pieces[-1]["end"]}]}).encode())


def _mixed(model, result):
    """Take one shard's result into the model; a second time it changes nothing."""
    mixture = Mixture(model._learner)
    mixture.add(of_bytes(result)[1])
    mixture.put()


def _nothing(shared, shard):
    return shard


def _timed(function, *args):
    """(result, seconds) of the first time, when nothing is in the caches yet, as in a long run."""
    started = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - started


def _least_squares(rows):
    """Coefficients >= 0 of all columns but the last, which they explain with equal relative errors."""
    table = np.array(rows)
    x, y = table[:, :-1] / table[:, -1:], np.ones(len(table))
    used, found = list(range(x.shape[1])), np.zeros(x.shape[1])
    while used:
        best = np.linalg.lstsq(x[:, used], y, rcond=None)[0]
        if (best >= 0.0).all():
            found[used] = best
            break
        used.remove(used[int(best.argmin())])
    return found.tolist()
