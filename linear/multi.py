"""More than two labels: one learner for each, against all the others, over features that are made once.

A label is any string, known from the example on in which it first appears: what came before did not count as "not this
label" for it. Every example teaches every learner, so it costs features times labels.

Forgetting, for drift: with `forget=n` every n examples a new generation of learners begins from nothing beside the one
that predicts, learns along for n examples, and then takes its place. So a prediction knows the last n to 2n examples
and nothing older, exactly (a decaying rate cannot promise that), labels that no longer come vanish, and the price is
to learn twice. AdaGrad's steps, which only shrink, are large again in each generation.
"""
from linear import bundle
from linear.calibrate import Platt
from linear.features import expand, fields_of, parse_crosses, shown
from linear.formats import Example
from linear.svm import HingeSVM


class OneAgainstAll:
    """Multi-class (one label an example) or multi-label (any number, like tags) classifier; labels are strings.

    multi_label   predictions and labels are collections of strings instead of one string
    calibrate     fit a probability to each label's margins online (`linear.calibrate`)
    forget        None, or the number of examples of a generation
    crosses, constant, and other options are `HingeSVM`'s

    >>> model = OneAgainstAll(crosses="sky*wind")
    >>> week = [("grey", "west", "rain"), ("blue", "west", "sun"), ("grey", "east", "fog"), ("blue", "east", "sun")] * 5
    >>> for sky, wind, weather in week:
    ...     model.learn_one({"sky": sky, "wind": wind}, weather)
    >>> model.predict_one({"sky": "grey", "wind": "east"}), model.labels
    ('fog', ['rain', 'sun', 'fog'])
    >>> {label: round(margin, 2) for label, margin in model.margins_one({"sky": "blue", "wind": "west"}).items()}
    {'rain': -1.01, 'sun': 1.01, 'fog': -1.3}
    """
    KIND = "OneAgainstAll"

    def __init__(self, multi_label=False, calibrate=False, forget=None, crosses=(), constant=True, engine="dict", dtype="float64",
                 **options):
        if forget is not None and (not isinstance(forget, int) or forget < 1):
            raise ValueError(f"forget={forget!r} is neither None nor a whole number of examples from 1")
        # Python's dictionaries keep each text's hash, so the learners share the hashing as well as the features.
        self.options = {"multi_label": bool(multi_label), "calibrate": bool(calibrate), "forget": forget, "crosses": crosses,
                        "constant": constant, "engine": engine, "dtype": dtype, **options}
        self._crosses = parse_crosses(crosses)
        self._learner_options = {"engine": engine, "dtype": dtype, **options, "constant": False}
        HingeSVM(**self._learner_options)        # refuses wrong options now, not at the first label
        self.t = 0                               # examples learned
        self._now, self._next = {}, None         # label -> _One: who predicts, and who grows up

    @property
    def labels(self):
        """The labels that can be predicted, in the order of their first appearance."""
        return list(self._now)

    def learn_one(self, x, y, w=1.0):
        """Learn from one dictionary of fields and its label, a string; with `multi_label`, from its labels.

        Raises FeatureError for a field, ValueError for a label; nothing is changed then.
        """
        labels = self._labels(y)
        example = self._example(x)
        if not 0.0 <= w < float("inf"):
            raise ValueError(f"w={w!r} is not a finite number from 0")
        if w == 0.0:
            return
        if self.options["forget"] and self.t and self.t % self.options["forget"] == 0:
            self._now, self._next = self._next if self._next is not None else self._now, {}
        self.t += 1
        for generation in (self._now, self._next):
            if generation is not None:
                for label in labels:
                    if label not in generation:
                        generation[label] = _One(HingeSVM(**self._learner_options), Platt() if self.options["calibrate"] else None)
                for label, one in generation.items():
                    one.learn(example, 1 if label in labels else -1, float(w))

    def margins_one(self, x):
        """{label: margin}. Changes nothing."""
        example = self._example(x)
        return {label: one.margin(example) for label, one in self._now.items()}

    def predict_one(self, x):
        """The label of the largest margin (None before the first); with `multi_label` a list of those whose margin is
        above 0, the largest first."""
        margins = self.margins_one(x)
        if self.options["multi_label"]:
            return sorted((label for label in margins if margins[label] > 0), key=lambda label: -margins[label])
        return max(margins, key=margins.get, default=None)

    def probabilities_one(self, x):
        """{label: probability}, with `calibrate=True`: each label's own if `multi_label`, else divided by their sum."""
        if not self.options["calibrate"]:
            raise ValueError("a margin has no probability; OneAgainstAll(calibrate=True) fits one")
        example = self._example(x)
        chances = {label: one.platt.probability(one.margin(example)) for label, one in self._now.items()}
        total = 1.0 if self.options["multi_label"] else sum(chances.values())
        return {label: chance / total for label, chance in chances.items()}

    def weights(self, label):
        """The weights of one label's learner, a read-only mapping; KeyError for a label never seen."""
        if label not in self._now:
            raise KeyError(f"label {label!r} has not been seen; known labels: {', '.join(self._now)}")
        return self._now[label].learner.weights

    def save(self, path):
        """Write all learners, options and counts to one file, atomically."""
        generations = {"now": self._now, "next": self._next}
        state = {"t": self.t, "generations": {name: None if generation is None else {
            label: one.platt and one.platt.state() for label, one in generation.items()} for name, generation in generations.items()}}
        bundle.save(path, {"model": self.KIND, "options": self.options, "state": state, "order": [
            [name, label] for name, generation in generations.items() for label in generation or ()]},
            {f"{name} {label}": one.learner for name, generation in generations.items() for label, one in (generation or {}).items()})

    @classmethod
    def load(cls, path):
        """The model that `save` wrote; learning on gives the bits of an uninterrupted run."""
        header, learners = bundle.load(path, cls.KIND)
        made = cls(**header["options"])
        made.t = header["state"]["t"]
        stored = header["state"]["generations"]
        made._now, made._next = ({} if stored[name] is not None else None for name in ("now", "next"))
        for name, label in header["order"]:
            platt = stored[name][label]
            one = _One(learners[f"{name} {label}"], platt and Platt.restore(platt))
            (made._now if name == "now" else made._next)[label] = one
        return made

    def _example(self, x):
        features = expand(fields_of(x), self._crosses, self.options["constant"])
        return Example(None, 1.0, 0.0, "", [("", features)])

    def _labels(self, y):
        if not self.options["multi_label"]:
            if isinstance(y, str):
                return [y]
            raise ValueError(f"label {shown(y)} is no string; for several labels at once: OneAgainstAll(multi_label=True)")
        labels = None if isinstance(y, str) or not hasattr(y, "__iter__") else list(y)
        if labels is None or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"labels {shown(y)} are no list of strings, as multi_label=True expects")
        return list(dict.fromkeys(labels))


class _One:
    """One label's learner, and what turns its margins into probabilities."""

    def __init__(self, learner, platt):
        self.learner, self.platt = learner, platt

    def learn(self, example, y, w):
        margin, _ = self.learner.take(example._replace(label=y, weight=w))
        if self.platt:
            self.platt.learn(margin, y, w)

    def margin(self, example):
        return self.learner.take(example, learn=False)[0]
