"""The dictionary learner: the whole of online linear classification, to be read in one sitting.

An example arrives as features: [("user=u1", 1.0), ("age", 0.3), ("user=u1*item=i7", 1.0), ("Constant", 1.0)].
Its margin is the sum of weight times value over the features that are present; a feature never seen has
weight 0. Predict, compare with the label, then let the rule change the weights of the present features only:
the cost of an example depends on its own length, never on how many weights are stored.

This is the definition of truth: the compiled engine gives these weights bit for bit (at dtype float64).
"""
from ctypes import c_float
from heapq import nsmallest

from linear.features import FeatureError
from linear.losses import LOSSES
from linear.rules import RULES

LIMITS = {"float64": (1e-50, 1e50), "float32": (1e-12, 1e12)}     # of |value|: squares and their sums fit what is stored
LARGEST_MARGIN = {"float64": 1e100, "float32": 1e24}    # so that an update from here still leaves finite weights
SCALARS = ("t", "seen", "scale", "cut", "X", "T", "low", "high")


class Table(dict):
    """A dictionary of numbers in which a key that is not there reads as `fill`; reading stores nothing."""

    def __init__(self, fill):
        self.fill = fill

    def __missing__(self, key):
        return self.fill


class Table32(Table):
    """A `Table` that keeps float32 numbers: sums are taken in float64 and rounded when they are stored."""

    def __setitem__(self, key, value):
        super().__setitem__(key, c_float(max(-3.4e38, min(3.4e38, value))).value)

    def update(self, pairs):
        for key, value in pairs:
            self[key] = value


class DictLearner:
    """Weights by feature key in a dictionary, changed by one of `linear.rules.RULES`.

    `features` is a list of (key, value) pairs; a key may come twice, its contributions add. Margins are added
    up in the list's order, so that equal input gives equal bits. The options are HingeSVM's.

    >>> learner = DictLearner("perceptron")
    >>> learner.learn([("user=u1", 1.0), ("age", 0.5)], y=1)     # the margin before learning
    0.0
    >>> learner.margin([("age", 0.5), ("user=u2", 1.0)]), dict(learner.weights)
    (0.25, {'user=u1': 1.0, 'age': 0.5})
    """

    def __init__(self, rule="adagrad", lr=None, loss="hinge", l1=0.0, l2=0.0, C=1.0, r=1.0, phi=1.0, lam=1e-4, floor=0.01,
                 power_t=0.0, initial_t=0.0, adaptive=True, normalized=True, invariant=True, dtype="float64"):
        self.rule, self.lr, self.loss, self.loss_name = rule, RULES[rule].lr if lr is None else lr, LOSSES[loss], loss
        self.l1, self.l2, self.C, self.r, self.phi, self.lam, self.floor = l1, l2, C, r, phi, lam, floor
        self.power_t, self.initial_t = power_t, initial_t
        self.adaptive, self.normalized, self.invariant = adaptive, normalized, invariant
        self.dtype, self.averaged = dtype, rule == "asgd"
        kind = Table if dtype == "float64" else Table32
        fills = dict(RULES[rule].state)
        if l1 and rule != "ftrl":
            fills["cut"] = 0.0                            # how much had been cut off all weights when this one was written
        self.weights = kind(0.0)                          # key -> weight, as stored
        self.state = {name: kind(fill) for name, fill in fills.items()}
        self.t, self.seen = 0, 0.0                        # examples learned, the sum of their importance weights
        self.scale, self.cut = 1.0, 0.0                   # a weight is scale * (what is stored, shrunk by cut - its own cut)
        self.X = self.T = 0.0                             # nag: sums of squared scaled values, of importance weights
        self.low, self.high = (-50.0, 50.0) if loss == "logistic" else (0.0, 0.0)      # nag: the range of labels seen
        self.initial = 0.0                                # the base margin of the example that is being learned

    def read(self, key):
        """The weight of a feature: what is stored, after all that applies to every weight at once.

        Plain weights read as they are stored. l1, l2 and Pegasos change all weights at every example; that is kept in
        two numbers, `scale` and `cut`, and applied when a weight is read. asgd reads the mean over time, w - u / t.
        """
        stored = self.weights[key]
        if self.averaged:
            return stored - self.state["u"][key] / max(1, self.t)
        if "cut" in self.state:
            size = max(0.0, abs(stored) - max(0.0, self.cut - self.state["cut"][key]))
            stored = -size if stored < 0.0 else size
        return stored * self.scale

    def write(self, key, value):
        """Store a weight such that it reads as `value`."""
        self.weights[key] = value / self.scale
        if "cut" in self.state:
            self.state["cut"][key] = self.cut

    def shrink(self, rate):
        """One step of l1 and l2 on every weight: w = sign(w) max(0, |w| - rate l1) / (1 + rate l2).

        This is the proximal step, which never passes 0 (Duchi, Singer 2009, JMLR 10); lazily as in Lipton, Elkan
        2015, arXiv:1505.06449.
        """
        if self.l1:
            self.cut += rate * self.l1 / self.scale
        if self.l2:
            self.rescale(1.0 / (1.0 + rate * self.l2))

    def rescale(self, factor):
        """Multiply every weight by `factor` > 0; once in a long while the factor is worked into what is stored."""
        self.scale *= factor
        if self.scale < 1e-9:
            for key in self.weights:
                self.weights[key] = self.read(key)
            for table in (self.state["cut"],) if "cut" in self.state else ():
                for key in table:
                    table[key] = 0.0
            self.scale, self.cut = 1.0, 0.0

    def contributions(self, features):
        """(key, weight * value) of every present feature, in order; an unseen feature gives 0 and is not stored."""
        return [(key, self.read(key) * value) for key, value in features]

    def margin(self, features, initial=0.0):
        """initial + sum_i w_i x_i. Raises FeatureError where the weights have blown up, naming the feature."""
        total = initial
        for key, value in features:
            total += self.read(key) * value
        if not abs(total) <= LARGEST_MARGIN[self.dtype]:  # "not <=" is true for nan as well
            key, part = max(self.contributions(features), key=lambda pair: abs(pair[1]))
            raise FeatureError(f"margin {total!r} is beyond {LARGEST_MARGIN[self.dtype]:g}: feature {key!r} alone gives "
                               f"{part!r}; scale its values down or lower the learning rate", key)
        return total

    def clamped(self, margin):
        """The margin as losses see it. VW's rule clamps it to the range of the labels seen, 0 included; others do not."""
        return min(max(margin, self.low), self.high) if self.rule == "nag" else margin

    def learn(self, features, y, weight=1.0, initial=0.0):
        """Learn one example: label y is -1 or 1, importance weight > 0. Returns the margin before learning."""
        margin = self.margin(features, initial)
        self.t += 1
        self.seen += weight
        self.low, self.high, self.initial = min(self.low, y), max(self.high, y), initial
        if features:
            RULES[self.rule].update(self, features, y, self.clamped(margin), weight)
        return margin

    def __len__(self):
        return len(self.weights)

    def weight(self, key):
        """The weight of a feature, None where it is not stored."""
        return self.read(key) if key in self.weights else None

    def items(self):
        """(key, weight) of every feature stored."""
        return ((key, self.read(key)) for key in self.weights)

    def largest(self, count):
        """[(key, weight)] of the `count` weights largest in size, the largest first, equal ones by key."""
        return nsmallest(count, self.items(), key=lambda pair: (-abs(pair[1]), pair[0]))

    def columns(self):
        """(keys, {column name: values}) of all that is stored per key, sorted by key: equal models, equal files."""
        keys = sorted(self.weights)
        tables = {"weight": self.weights, **self.state}
        return keys, {name: [table[key] for key in keys] for name, table in tables.items()}

    def scalars(self):
        """{name: number} of all that is stored once."""
        return {name: getattr(self, name) for name in SCALARS}

    def restore(self, keys, columns, scalars):
        """The inverse of `columns` and `scalars`: takes over what a model file holds."""
        for name in SCALARS:
            setattr(self, name, scalars[name])
        for name, table in {"weight": self.weights, **self.state}.items():
            table.clear()
            table.update(zip(keys, columns[name]))
