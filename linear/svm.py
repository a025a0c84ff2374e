"""`HingeSVM`, the learner's public face: options, dictionaries and lines in, predictions and model files out.

What it does with an example's features is told in `reference.py`, how a dictionary becomes features in
`features.py`, and what a model file looks like in `model_file.py`.
"""
import io
from array import array
from collections.abc import Mapping
from dataclasses import asdict

from linear.features import CONSTANT, LARGEST, FeatureError, expand, fields_of, is_bool, parse_crosses
from linear.formats import Example, FormatError, bare_line, parser
from linear.model_file import ModelFileError, pack_texts, read, unpack_texts, write
from linear.progress import Totals
from linear.reference import DictLearner
from linear.rules import RULES
from linear.stream import opened, run

# Parameters that only have their neutral value in this version: no rule or engine reads another.
_FIXED = {"loss": "hinge", "l1": 0.0, "l2": 0.0, "r": 1.0, "phi": 1.0, "lam": 1e-4,
          "engine": "dict", "dtype": "float64", "bits": None}
_KEYS = "text"      # what the model file's keys are


class HingeSVM:
    """Online linear classifier with the hinge loss, over named features and their crosses.

    Prediction is 1 where the margin sum_i w_i x_i is above 0, else -1; labels are -1, 1, False or True.

    crosses    products of fields: "a*b", ("a", "b"), several, or "-q ab" by first letters as in VW
    rule       one of linear.rules.RULES: adagrad, sgd, perceptron, pa, pa1, pa2
    lr         learning rate of adagrad (None: 0.15) and sgd (None: 0.02); the others have none
    C          price of the loss in pa1 and pa2
    power_t    sgd's rate is lr (initial_t + t)^-power_t; None is 0, a constant rate
    initial_t  see power_t; None is 0
    constant   whether every example has the feature "Constant" with value 1 (the bias)

    The other parameters have one value in this version. Raises ValueError naming the parameter.

    >>> model = HingeSVM(crosses=["user*tags"])
    >>> for day in range(5):
    ...     model.learn_one({"user": "ann", "tags": ["tea", "jazz"]}, 1)
    ...     model.learn_one({"user": "bob", "tags": ["tea"]}, -1)
    >>> model.predict_one({"user": "ann", "tags": ["tea"]}), model.predict_one({"user": "bob", "tags": ["tea"]})
    (1, -1)
    >>> len(model.weights), round(model.weights["user=ann*tags=jazz"], 4)
    (8, 0.274)
    """

    def __init__(self, crosses=(), rule="adagrad", lr=None, loss="hinge", l1=0., l2=0., C=1., r=1., phi=1., lam=1e-4,
                 power_t=None, initial_t=None, constant=True, engine="dict", dtype="float64", bits=None):
        given = {"loss": loss, "l1": l1, "l2": l2, "r": r, "phi": phi, "lam": lam,
                 "engine": engine, "dtype": dtype, "bits": bits}
        for name, value in given.items():
            if value != _FIXED[name]:
                raise ValueError(f"{name}={value!r} is not built yet, only {name}={_FIXED[name]!r}; leave it out")
        if rule not in RULES:
            raise ValueError(f"rule {rule!r} is unknown; known rules: {', '.join(RULES)}")
        self._crosses = parse_crosses(crosses)
        self.options = {
            "crosses": tuple(cross.text() if cross.by_letter else cross.names for cross in self._crosses),
            "rule": rule,
            "lr": _number("lr", lr, RULES[rule].lr, above_zero=True),
            "C": _number("C", C, 1.0, above_zero=True),
            "power_t": _number("power_t", power_t, 0.0),
            "initial_t": _number("initial_t", initial_t, 0.0),
            "constant": bool(constant),
        }
        self.totals = Totals()     # progressive losses of everything learned, kept in the model file
        self._learner = DictLearner(**{name: self.options[name] for name in ("rule", "lr", "C", "power_t", "initial_t")})

    @property
    def weights(self):
        """The weights as a read-only mapping: "user=u1", "user=u1*tags=a", "Constant" -> float. Unseen: KeyError."""
        return Weights(self._learner.weights)

    def learn_one(self, x, y, w=1.0):
        """Learn from one dictionary of fields: label y is -1, 1, False or True, importance weight w >= 0 (0: nothing).

        Raises FeatureError (a ValueError) for a field that cannot become features; nothing is changed then.
        """
        self.take(Example(_label(y), _number("w", w, 1.0), 0.0, "", fields_of(x)))

    def predict_one(self, x):
        """The label, 1 where the margin is above 0, else -1. Changes nothing."""
        return 1 if self.margin_one(x) > 0 else -1

    def margin_one(self, x):
        """The margin sum_i w_i x_i, a float. Changes nothing."""
        return self._learner.margin(self._expand(fields_of(x)))

    def explain_one(self, x):
        """{feature: weight * value}, in the order in which they add up to the margin; unseen features give 0.

        >>> model = HingeSVM(rule="pa")
        >>> model.learn_one({"user": "ann", "age": 2.0}, 1)
        >>> model.explain_one({"user": "bob", "age": 1.0}), model.margin_one({"user": "bob", "age": 1.0})
        ({'user=bob': 0.0, 'age': 0.3333333333333333, 'Constant': 0.16666666666666666}, 0.5)
        """
        parts = {}
        for key, part in self._learner.contributions(self._expand(fields_of(x))):
            parts[key] = parts.get(key, 0.0) + part
        return parts

    def learn_line(self, line):
        """Learn one line of VW text, str or bytes; returns the margin it got before. Without a label: predict only.

        >>> model = HingeSVM(rule="sgd", lr=0.5)
        >>> model.learn_line("1 |u ann |t tea"), model.learn_line("|u ann |t rum")
        (0.0, 1.0)
        """
        example = parser("vw")(bare_line(_as_bytes(line)))
        if example is None:
            raise FormatError("the line is empty, expected '[label] |namespace feature ...'")
        return self.take(example)[0]

    def learn_lines(self, data, format="vw", strict=False, label="y", weight="weight", id="id"):
        """Learn all lines of a bytes object (or str); see `learn_file`."""
        return run(self, io.BytesIO(_as_bytes(data)), parser(format, label, weight, id), "<lines>", strict=strict)

    def learn_file(self, path, format="vw", strict=False, label="y", weight="weight", id="id"):
        """Learn all lines of a file of format "vw" or "jsonl" (gzip if its name ends in .gz), one after the other.

        `label`, `weight` and `id` name those fields of JSON lines. Returns the run's `progress.Totals`: .examples
        .malformed .zero_one .hinge. A malformed line changes nothing and is counted; with strict=True the first
        raises FormatError with file, line and column.
        """
        parse = parser(format, label, weight, id)
        with opened(path) as stream:
            return run(self, stream, parse, str(path), strict=strict)

    def take(self, example, learn=True):
        """(margin, number of features) of a parsed `formats.Example`, which is then learned if it has label and weight."""
        features = self._expand(example.fields)
        if not learn or example.label is None or example.weight == 0.0:
            return self._learner.margin(features, example.initial), len(features)
        margin = self._learner.learn(features, example.label, example.weight, example.initial)
        self.totals.add(example.label, margin, example.weight, len(features))
        return margin, len(features)

    def save(self, path):
        """Write all of the model to one file, atomically: options, weights, the rule's state, counts, a checksum."""
        keys, columns = self._learner.columns()
        octets, ends = pack_texts(keys)
        header = {"model": "HingeSVM", "keys": _KEYS, "options": self.options, "t": self._learner.t,
                  "totals": asdict(self.totals), "columns": list(columns)}
        write(path, header, {"keys": octets, "key_ends": ends,
                             **{name: array("d", values) for name, values in columns.items()}})

    @classmethod
    def load(cls, path):
        """The model that `save` wrote; options come from the file. Learning on gives the bits of an uninterrupted run.

        Raises ModelFileError for a file that is damaged or no such model, OSError for one that cannot be read.
        """
        header, arrays = read(path)
        try:
            if header["keys"] != _KEYS:
                raise ValueError(f"its keys are {header['keys']!r}, this program reads {_KEYS!r}")
            model = cls(**header["options"])
            model.totals = Totals(**header["totals"])
            model._learner.restore(unpack_texts(arrays["keys"], arrays["key_ends"]), arrays, header["t"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path}: the file is whole, but no model this program knows: {error}") from None
        return model

    def __repr__(self):
        return f"HingeSVM({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"

    def _expand(self, fields):
        return expand(fields, self._crosses, self.options["constant"])


class Weights(Mapping):
    """Read-only view of weights by feature name; it follows the learner, and reading never stores anything."""

    def __init__(self, table):
        self._table = table

    def __getitem__(self, key):
        if key in self._table:
            return self._table[key]
        raise KeyError(key)

    def __iter__(self):
        return iter(self._table)

    def __len__(self):
        return len(self._table)

    def __repr__(self):
        return f"Weights({dict(self._table)!r})"


def _label(y):
    if is_bool(y):
        return 1 if y else -1
    if y in (-1, 1):
        return int(y)
    raise ValueError(f"label {y!r} is not one of -1, 1, False, True")


def _number(name, value, default, above_zero=False):
    """A parameter as a finite float >= 0 (or > 0); `default` stands for None and may be None itself."""
    if value is None:
        return default
    if isinstance(value, str) or not (0 < value <= LARGEST or (value == 0 and not above_zero)):
        raise ValueError(f"{name}={value!r} is not a finite number {'above' if above_zero else 'from'} 0")
    return float(value)


def _as_bytes(text):
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(memoryview(text))
