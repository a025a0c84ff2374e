"""The dictionary learner: the whole of online linear classification, to be read in one sitting.

An example arrives as features: [("user=u1", 1.0), ("age", 0.3), ("user=u1*item=i7", 1.0), ("Constant", 1.0)].
Its margin is the sum of weight times value over the features that are present; a feature never seen has
weight 0. Predict, compare with the label, then let the rule change the weights of the present features only:
the cost of an example depends on its own length, never on how many weights are stored.

This is the definition of truth: a faster engine has to give these weights bit for bit.
"""
from collections import defaultdict

from linear.features import FeatureError
from linear.rules import RULES

LARGEST_MARGIN = 1e100   # far below overflow, so that an update from here still leaves finite weights


class DictLearner:
    """Weights by feature name in a dictionary, changed by one of `linear.rules.RULES`.

    `features` is a list of (key, value) pairs; a key may come twice, its contributions add. Margins are added
    up in the list's order, so that equal input gives equal bits.

    >>> learner = DictLearner("perceptron")
    >>> learner.learn([("user=u1", 1.0), ("age", 0.5)], y=1)     # the margin before learning
    0.0
    >>> learner.margin([("age", 0.5), ("user=u2", 1.0)]), dict(learner.weights)
    (0.25, {'user=u1': 1.0, 'age': 0.5})
    """

    def __init__(self, rule="adagrad", lr=None, C=1.0, power_t=0.0, initial_t=0.0):
        self.rule = rule
        self.lr = RULES[rule].lr if lr is None else lr
        self.C, self.power_t, self.initial_t = C, power_t, initial_t
        self.t = 0                                        # examples learned
        self.weights = defaultdict(float)                 # key -> weight
        self.state = {name: defaultdict(float) for name in RULES[rule].state}

    def contributions(self, features):
        """(key, weight * value) of every present feature, in order; an unseen feature gives 0 and is not stored."""
        weight = self.weights.get                         # .get, since indexing a defaultdict would store the key
        return [(key, weight(key, 0.0) * value) for key, value in features]

    def margin(self, features, initial=0.0):
        """initial + sum_i w_i x_i. Raises FeatureError where the weights have blown up, naming the feature."""
        weight, total = self.weights.get, initial
        for key, value in features:
            total += weight(key, 0.0) * value
        if not abs(total) <= LARGEST_MARGIN:              # "not <=" is true for nan as well
            key, part = max(self.contributions(features), key=lambda pair: abs(pair[1]))
            raise FeatureError(f"margin {total!r} is beyond {LARGEST_MARGIN:g}: feature {key!r} alone gives {part!r}; "
                               "scale its values down or lower the learning rate", key)
        return total

    def learn(self, features, y, weight=1.0, initial=0.0):
        """Learn one example: label y is -1 or 1, importance weight > 0. Returns the margin before learning."""
        margin = self.margin(features, initial)
        self.t += 1
        if features:
            RULES[self.rule].update(self, features, y, margin, weight)
        return margin

    def columns(self):
        """(keys, {column name: values}) of all that is stored per key, sorted by key: equal models, equal files."""
        keys = sorted(self.weights)
        tables = {"weight": self.weights, **self.state}
        return keys, {name: [table[key] for key in keys] for name, table in tables.items()}

    def restore(self, keys, columns, t):
        """The inverse of `columns`: takes over what a model file holds."""
        self.t = t
        for name, table in {"weight": self.weights, **self.state}.items():
            table.clear()
            table.update(zip(keys, columns[name]))
