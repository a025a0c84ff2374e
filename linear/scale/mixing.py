"""Iterative parameter mixing: in every round each shard learns from the same weights, and then these are averaged.

    w, state  ->  learned by shard 1, 2, .., P from their ranges  ->  w_i = sum_k c_ki w_ki / sum_k c_ki  ->  the next round

P shards and the rounds are part of the configuration, and so of the result; the number of workers is not. Averaging after
every round: McDonald, Hall, Mann 2010, NAACL-HLT ("Distributed training strategies for the structured perceptron"). Weights
c_ki by how much shard k has told feature i in the round, else rare features would be diluted by shards that never saw them:
Agarwal, Chapelle, Dudik, Langford 2014, JMLR 15 ("A reliable effective terascale linear learning system"):

    adagrad, nag               the squared gradients that it has added to G, Agarwal's weights: for the hinge loss and features
                               of value 1 that is the number of updates
    arow, scw2                 the precision 1/S that it has added
    sgd, perceptron, pa, ..    the number of its updates

The state beside a weight is averaged likewise (its sum over shards would make the next steps too small: measured). A feature
that one shard alone has changed is taken over as it is; with one shard the result is that of one learner, bit for bit.
"""
import json
from array import array
from dataclasses import asdict, replace

import numpy as np

import linear.kernels.layout as at
from linear.engine import FULLEST, move, zeros
from linear.progress import Totals
from linear.scale.engines import ScaleError, build
from linear.scale.shards import counted, of_bytes, to_bytes, train_shard
from linear.svm import HingeSVM

_WIDTH = 2                                  # of a row of the means, before the values: key, mass
_INVERSE = ("arow", "scw2")                 # their state S is a variance
_WHY_NOT = {"pegasos": "its rate and its shrinking of all weights follow from the number of examples that one learner has seen",
            "asgd": "its weights are already a mean over one sequence of examples",
            "ftrl": "its weights are made from two sums over one sequence of examples"}
MIXED = ("adagrad", "nag", "arow", "scw2", "sgd", "perceptron", "pa", "pa1", "pa2")


def check(options):
    """Raise ScaleError where models of these options cannot be mixed."""
    rule = options["rule"]
    if rule in _WHY_NOT or rule == "nag" and not options["adaptive"]:
        why = _WHY_NOT.get(rule, "without --adaptive it keeps nothing to weigh the shards by")
        raise ScaleError(f"rule {rule} cannot be mixed: {why}. Rules that can: {', '.join(MIXED)}")
    if options["l1"] or options["l2"]:
        raise ScaleError("--l1 and --l2 cannot be mixed: each example shrinks all weights, also those that other shards have; "
                         "leave them out, or learn without --dask")
    if options["engine"] != "compiled" or options["names"]:
        what = "--names" if options["names"] else "--engine dict"
        raise ScaleError(f"{what} cannot be mixed: what travels between learners is the compiled engine's table; leave it out")


class Mixture:
    """The weighted means of what a round's shards have made of a learner; `add` their results in order, then `put`.

    >>> from linear.engine import CompiledLearner
    >>> before, one, two = (CompiledLearner("adagrad", dtype="float64") for _ in range(3))
    >>> for learner, key, y, times in (one, 17, 1, 1), (two, 17, -1, 3), (two, 5, 1, 1):
    ...     _ = [learner.learn([(key, 1.0)], y) for _ in range(times)]
    >>> mixture = Mixture(before)
    >>> mixture.add(one.slots()), mixture.add(two.slots()), mixture.put()
    (None, None, None)
    >>> learners = one, two, before                          # 17 was learned 1 and 3 times, 5 by one learner only
    >>> [[round(learner.weight(key) or 0.0, 4) for learner in learners] for key in (17, 5)]
    [[0.15, -0.3427, -0.2195], [0.0, 0.15, 0.15]]
    """

    def __init__(self, learner):
        self._learner, self._values, self._count, self._means = learner, 1 + len(learner.states), 0, np.zeros(0)
        self._fill = 1.0 if learner.rule in _INVERSE else 0.0
        self._largest = 2 if learner.rule == "nag" else 0        # of nag's N, the largest value seen
        self._grow(1 << 10)

    def add(self, rows):
        """Take a shard's changed slots."""
        from linear.kernels.mixing import fold_in
        learner, slots = self._learner, self._slots
        while self._count + len(rows) > FULLEST * slots:
            slots *= 2
        if slots > self._slots:
            self._grow(slots)
        self._count += fold_in(rows.reshape(-1).view(learner.dtype), learner.table, int(learner.ints[at.MASK]), rows.shape[1],
                               self._values, learner.rule in _INVERSE, self._fill, self._largest, self._means, self._slots - 1)

    def put(self):
        """Give the learner the means."""
        from linear.kernels.mixing import put
        learner = self._learner
        learner.reserve(self._count)
        learner.ints[at.COUNT] += put(self._means, self._values, learner.table, int(learner.ints[at.MASK]),
                                      int(learner.ints[at.STRIDE]), bool(learner.ints[at.COUNTED]))

    def _grow(self, slots):
        old, self._slots, wide = self._means, slots, self._values + _WIDTH
        self._means = zeros(slots * wide * 8).view(np.float64)
        move(old.view(np.uint64), self._means.view(np.uint64), wide, slots - 1)


def learn(model, rounds, engine, reads, on_round=lambda totals, weights: None):
    """Have a HingeSVM learn by iterative parameter mixing; returns (the learned model, the `Totals` of all lines).

    `rounds` are lists of ranges as `shards` cuts them, `reads` says how lines are read: {"parser": .., "most": .., "strict": ..}.
    `on_round(totals, number of weights)` is called after each. The losses are progressive, each example's before its shard
    learned it.

    >>> from linear.scale.engines import LocalEngine
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".vw") as file:
    ...     _ = file.write(b"1 |u ann\\n-1 |u bob\\n" * 50), file.flush()
    ...     from linear.scale.shards import cut_files
    ...     reads = {"parser": ["vw"], "most": None, "strict": True}
    ...     model, totals = learn(HingeSVM(), cut_files([file.name], shards=2, rounds=5), LocalEngine(), reads)
    >>> totals.examples, totals.zero_one_sum, len(model.weights), model.predict_one({"u": "bob"})
    (100, 4.0, 3, -1)
    """
    check(model.options)
    model, totals = _relaid(model, counting=True), Totals()
    learner = model._learner
    for ranges in rounds:
        before = {"scalars": learner.scalars(), "totals": asdict(learner.totals())}
        shared = to_bytes({**before, "options": model.options, "reads": reads, "build": build()}, learner.slots())
        mixture, after = Mixture(learner), None
        for result in engine.map_ordered(train_shard, [json.dumps(one).encode() for one in ranges], shared):
            told, rows = of_bytes(result)
            mixture.add(rows)
            after = {name: _added(after[name], before[name], told[name]) if after else told[name] for name in before}
            totals = Totals(**{name: value + told["run"][name] for name, value in asdict(totals).items()})
        if after:
            mixture.put()
            learner.set_scalars(after["scalars"])
            learner.set_totals(Totals(**after["totals"]))
        on_round(replace(totals), len(learner))
    return _relaid(model, counting=False), totals


def _added(sums, before, after):
    """Sums over shards: what one has added since `before` on top of the others; labels' limits are the widest."""
    found = {name: value + (after[name] - before[name]) for name, value in sums.items()}
    return found | {name: choose(sums[name], after[name]) for name, choose in (("low", min), ("high", max)) if name in sums}


def _relaid(model, counting):
    """The same model with updates counted beside its weights, where its rule needs that; or without."""
    if not counted(model.options["rule"]):
        return model
    header, arrays = model.parts()
    fresh = HingeSVM(**model.options)
    if counting:
        fresh._learner.count_updates()
        arrays["updates"] = array(arrays["weight"].typecode, bytes(len(arrays["weight"]) * arrays["weight"].itemsize))
    fresh._learner.restore(arrays["keys"], arrays, header["scalars"])
    fresh._learner.set_totals(model.totals)
    return fresh
