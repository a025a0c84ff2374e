"""`HingeSVM`, the learner's public face: options, dictionaries and lines in, predictions and model files out.

What it does with an example's features is told in `reference.py`, how a dictionary becomes features in
`features.py`, how features become keys in `keys.py`, and what a model file looks like in `model_file.py`.
"""
import copy
import io
from array import array
from collections.abc import ItemsView, Mapping
from dataclasses import asdict, replace
from functools import partial

from linear.features import CONSTANT, LARGEST, FeatureError, crossed_counts, expand, fields_of, is_bool, parse_crosses
from linear.formats import Example, FormatError, bare_line, parser, vw
from linear.keys import crosses_for_loops, scheme
from linear.keys import expand as expand_keys
from linear.model_file import ModelFileError, pack_texts, read, unpack_texts, write
from linear.progress import Totals
from linear.reference import LIMITS, DictLearner
from linear.rules import RULES, initial_row
from linear.stream import opened, run

_ENGINES, _DTYPES, _HASHES = ("compiled", "dict"), ("float32", "float64"), ("strings", "all")
_LEARNERS = ("rule", "lr", "loss", "l1", "l2", "C", "r", "phi", "lam", "floor", "power_t", "initial_t", "adaptive", "normalized",
             "invariant", "dtype")         # the options that are the learner's own
MOST_FEATURES = 1 << 22                    # of one example, crosses included
TEXT = "text"                              # in a model file: keys are the features' names


class HingeSVM:
    """Online linear classifier, by default with the hinge loss, over named features and their crosses.

    Prediction is 1 where the margin sum_i w_i x_i is above 0, else -1; labels are -1, 1, False or True.

    crosses    products of fields: "a*b", ("a", "b"), several, or "-q ab" by first letters as in VW
    rule       one of linear.rules.RULES: adagrad sgd perceptron pa pa1 pa2 pegasos asgd ftrl arow scw2, and nag, VW's
    lr         learning rate; None: the rule's own (adagrad 0.15, ftrl 0.2, sgd and asgd 0.02, nag 0.5 or 10); others have none
    loss       hinge, squared_hinge or logistic; squared for nag
    l1, l2     pull to zero and shrinking at every example (sgd, adagrad, ftrl)
    C, r, phi, lam, floor    price of the loss in pa1, pa2, scw2; r of arow; phi of scw2; lambda of pegasos; least variance
               of arow and scw2
    power_t, initial_t       the rate of sgd, asgd and nag falls as (initial_t + t)^-power_t; None: 0, nag as in VW
    constant   whether every example has the feature "Constant" with value 1 (the bias); its weight starts at initial_constant
    engine     "compiled", or "dict": Python dictionaries, the same weights bit for bit at float64, readable and slow
    dtype      how weights and state are stored; all arithmetic is float64
    bits       None: exact keys; B: an array of 2^B weights at VW's indices, by its `--hash strings` or `--hash all`
    names      keep the features' names (the dict engine does): keys of `weights` are then text
    adaptive, normalized, invariant    nag: each idea on or off

    Raises ValueError naming the parameter.

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
                 power_t=None, initial_t=None, constant=True, engine="compiled", dtype="float32", bits=None, hash="strings",
                 names=False, floor=0.01, adaptive=True, normalized=True, invariant=True, initial_constant=0.):
        _one_of("rule", rule, RULES, "rules")
        _one_of("loss", loss, RULES[rule].losses, f"losses of rule {rule!r}")
        _one_of("engine", engine, _ENGINES, "engines")
        _one_of("dtype", dtype, _DTYPES, "dtypes")
        _one_of("hash", hash, _HASHES, "hashes")
        if bits is not None and (isinstance(bits, bool) or bits not in range(1, 33)):
            raise ValueError(f"bits={bits!r} is not from 1 to 32")
        if (l1 or l2) and not RULES[rule].penalties:
            raise ValueError(f"l1={l1!r}, l2={l2!r}: rule {rule!r} has no penalties; rules that have: "
                             f"{', '.join(name for name, row in RULES.items() if row.penalties)}")
        self._crosses = parse_crosses(crosses)
        vws, plain = rule == "nag", rule == "nag" and not (adaptive or normalized)
        number = partial(_number, largest=LIMITS[dtype][1])
        self.options = {
            "crosses": tuple(cross.text() if cross.by_letter else cross.names for cross in self._crosses),
            "rule": rule,
            "lr": number("lr", lr, 10.0 if vws and not (adaptive and normalized) else RULES[rule].lr, above_zero=True),
            "loss": loss,
            **{name: number(name, value, 0.0) for name, value in (("l1", l1), ("l2", l2), ("floor", floor))},
            **{name: number(name, value, 1.0, above_zero=True) for name, value in (("C", C), ("r", r), ("phi", phi))},
            "lam": number("lam", lam, 1e-4, above_zero=True),
            "power_t": number("power_t", power_t, 0.5 if vws else 0.0, largest=1.0 if vws else LARGEST),
            "initial_t": number("initial_t", initial_t, 1.0 if plain else 0.0),
            "constant": bool(constant), "engine": engine, "dtype": dtype, "bits": None if bits is None else int(bits),
            "hash": hash, "names": bool(names), "adaptive": bool(adaptive), "normalized": bool(normalized),
            "invariant": bool(invariant),
        }
        if start := _start_of_constant(initial_constant, constant):        # older model files know no such option
            self.options["initial_constant"] = start
        own = {name: self.options[name] for name in _LEARNERS}
        by_name = engine == "dict" and bits is None
        self.scheme = None if by_name else scheme(self.options["bits"], hash)       # None: keys are the names themselves
        self._names = {} if names and not by_name else None
        self._totals = Totals()
        self._loops = False                # whether the compiled loops know the crosses
        if engine == "dict":
            self._learner = DictLearner(**own)
        else:
            from linear.engine import CompiledLearner
            listed = crosses_for_loops(self._crosses)
            self._loops = listed is not None
            self._learner = CompiledLearner(**own, bits=self.options["bits"], all_=hash == "all", constant=bool(constant),
                                            crosses=listed or ())
        if start:
            key = CONSTANT if by_name else self.scheme.constant
            self._learner.restore([key], initial_row(self._learner, start), self._learner.scalars())

    @property
    def weights(self):
        """The weights as a read-only mapping; unseen: KeyError.

        Keys are names ("user=u1", "user=u1*tags=a", "Constant") where names are kept, else 64-bit integers (with
        `bits`, indices); a name finds its weight in either case.
        """
        return Weights(self._learner, self.scheme, self._names)

    @property
    def totals(self):
        """Progressive losses of everything learned, a `progress.Totals`; kept in the model file."""
        if self.options["engine"] == "compiled":
            return self._learner.totals()
        return self._totals

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
        return self.take(Example(None, 1.0, 0.0, "", fields_of(x)), learn=False)[0]

    def explain_one(self, x):
        """{feature: weight * value}, in the order in which they add up to the margin; unseen features give 0.

        >>> model = HingeSVM(rule="pa", dtype="float64")
        >>> model.learn_one({"user": "ann", "age": 2.0}, 1)
        >>> model.explain_one({"user": "bob", "age": 1.0}), model.margin_one({"user": "bob", "age": 1.0})
        ({'user=bob': 0.0, 'age': 0.3333333333333333, 'Constant': 0.16666666666666666}, 0.5)
        """
        parts = {}
        for text, part in self.contributions_one(x):
            parts[text] = parts.get(text, 0.0) + part
        return parts

    def contributions_one(self, x):
        """[(feature, weight * value), ...] one by one, as they add up to the margin; a repeated feature stands there repeatedly."""
        return self._parts(fields_of(x))

    def learn_line(self, line):
        """Learn one line of VW text, str or bytes; returns the margin it got before. Without a label: predict only.

        >>> model = HingeSVM(rule="sgd", lr=0.5)
        >>> model.learn_line("1 |u ann |t tea"), model.learn_line("|u ann |t rum")
        (0.0, 1.0)
        """
        line = line if isinstance(line, bytes) else _as_bytes(line)
        if self._loops and self._names is None and (margin := self._learner.learn_line(line)) is not None:
            return margin
        example = self.parser_for(vw.parse)(bare_line(line))
        if example is None:
            raise FormatError("the line is empty, expected '[label] |namespace feature ...'")
        return self.take(example)[0]

    def learn_lines(self, data, format="vw", strict=False, **names):
        """Learn all lines of a bytes object (or str); see `learn_file`."""
        return run(self, io.BytesIO(_as_bytes(data)), parser(format, **names), "<lines>", strict=strict)

    def learn_file(self, path, format="vw", strict=False, **names):
        """Learn all lines of a file of one of `formats.FORMATS` (gzip if its name ends in .gz), one after the other.

        `names` are the options of `formats.parser`: label, weight and id name those fields of jsonl and csv, strings lists
        the columns of a csv whose digits are names. Returns the run's `progress.Totals`: .examples .malformed .zero_one
        .hinge. A malformed line changes nothing and is counted; with strict=True the first raises FormatError with file,
        line and column.

        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("y,zip,age\\n1,07,30\\n-1,08,50\\n"), file.flush()
        ...     model = HingeSVM(engine="dict")
        ...     model.learn_file(file.name, format="csv", strings=["zip"]).examples, sorted(model.weights)
        (2, ['Constant', 'age', 'zip=07', 'zip=08'])
        """
        parse = parser(format, **names)
        with opened(path) as stream:
            return run(self, stream, parse, str(path), strict=strict)

    def take(self, example, learn=True):
        """(margin, number of features) of a parsed `formats.Example`, which is then learned if it has label and weight."""
        learn = learn and example.label is not None and example.weight != 0.0
        largest = LIMITS[self.options["dtype"]][1]
        if learn and not example.weight <= largest:
            raise FeatureError(f"importance weight {example.weight!r} is beyond {largest:g}, the limit of dtype "
                               f"{self.options['dtype']}")
        y, h = (example.label, example.weight) if learn else (0, 0.0)
        known, taken = len(self._learner), None
        try:
            if self._loops:
                taken = self._learner.take_fields(example.fields, y, h, example.initial)
            margin, count = taken or self._take_features(self._expand(example.fields), y, h, example.initial)
        except FeatureError as error:
            if isinstance(error.field, str):           # else it is known by its key, if at all
                raise
            text, part = max(self._parts(example.fields), key=lambda pair: abs(pair[1]), default=("", 0.0))
            raise FeatureError(f"{error}; feature {text!r} alone gives {part!r}", text) from None
        if self._names is not None and len(self._learner) > known:
            self._names.update((self.scheme.of(text), text) for text, _ in self._texts(example.fields))
        if learn and self.options["engine"] == "dict":
            self._totals.add(example.label, self.clamped(margin), example.weight, count)
        return margin, count

    def _take_features(self, features, y, h, initial):
        if y:
            return self._learner.learn(features, y, h, initial), len(features)
        return self._learner.margin(features, initial), len(features)

    def clamped(self, margin):
        """The margin as the loss sees it: rule nag clamps it, as VW does, to the range of the labels seen."""
        return self._learner.clamped(margin)

    def parser_for(self, parse):
        """The parser that gives this model's features: VW's `--hash all` tells a feature without a name from a number."""
        if parse is vw.parse and self.options["bits"] and self.options["hash"] == "all":
            return partial(vw.parse, nameless=":")
        return parse

    @property
    def loops(self):
        """The compiled learner where it may learn without Python seeing the features' names, else None."""
        return self._learner if self._loops and self._names is None else None

    def loops_read(self, parse):
        """(the compiled learner, what its loops call the lines) where they may read the lines that `parse` reads, else None."""
        loops = self.loops
        return None if loops is None or parse not in loops.READS else (loops, loops.READS[parse])

    def save(self, path):
        """Write all of the model to one file, atomically: options, weights, the rule's state, counts, a checksum."""
        write(path, *self.parts())

    @classmethod
    def load(cls, path):
        """The model that `save` wrote; options come from the file. Learning on gives the bits of an uninterrupted run.

        Raises ModelFileError for a file that is damaged or no such model, OSError for one that cannot be read.
        """
        try:
            return cls.of_parts(*read(path))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(f"{path}: the file is whole, but no model this program knows: {error}") from None

    def copy(self):
        """A model of its own, as this one stands now: what it learns stays with it."""
        twin = copy.copy(self)
        twin._learner = self._learner.copy() if self.options["engine"] == "compiled" else copy.deepcopy(self._learner)
        twin._names = None if self._names is None else dict(self._names)
        twin._totals = replace(self._totals)
        return twin

    def parts(self):
        """(header, arrays): all of the model as `model_file.write` takes it. Keys are in rising order."""
        keys, columns = self._learner.columns()
        header = {"model": "HingeSVM", "keys": TEXT if self.scheme is None else self.scheme.id, "options": self.options,
                  "scalars": self._learner.scalars(), "totals": asdict(self.totals), "columns": list(columns)}
        arrays = {}
        if self.scheme is None:
            arrays["keys"], arrays["key_ends"] = pack_texts(keys)
        else:
            arrays["keys"] = array("Q", keys)
            if self._names is not None:
                arrays["names"], arrays["name_ends"] = pack_texts([self._names.get(key, "") for key in keys])
        kind = "d" if self.options["dtype"] == "float64" else "f"
        return header, {**arrays, **{name: array(kind, values) for name, values in columns.items()}}

    @classmethod
    def of_parts(cls, header, arrays):
        """The model of such parts; KeyError, TypeError or ValueError where they are none of ours."""
        model = cls(**header["options"])
        known = TEXT if model.scheme is None else model.scheme.id
        if header["keys"] != known:
            raise ValueError(f"its keys are {header['keys']!r}, this program makes {known!r} of these options")
        keys = unpack_texts(arrays["keys"], arrays["key_ends"]) if model.scheme is None else arrays["keys"]
        if model._names is not None:
            model._names.update(zip(keys, unpack_texts(arrays["names"], arrays["name_ends"])))
        model._learner.restore(keys, arrays, header["scalars"])
        model._set_totals(Totals(**header["totals"]))
        return model

    def __repr__(self):
        return f"HingeSVM({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"

    def _set_totals(self, totals):
        self._totals = totals
        if self.options["engine"] == "compiled":
            self._learner.set_totals(totals)

    def _expand(self, fields):
        plain = sum(len(part) for _, part in fields)
        if plain > 100 and self._crosses:              # only then can a product of three be worth counting first
            count = plain + sum(crossed_counts(fields, self._crosses).values())
            if count > MOST_FEATURES:
                raise FeatureError(f"the example would have {count} features with its crosses, more than {MOST_FEATURES}; "
                                   "cross fewer fields, or fields with fewer features")
        if self.scheme is None:
            features = expand(fields, self._crosses, self.options["constant"])
        else:
            features = expand_keys(fields, self._crosses, self.options["constant"], self.scheme)
        if self.options["dtype"] == "float64":
            return features
        smallest, largest = LIMITS["float32"]
        if any(not smallest <= abs(value) <= largest for _, value in features):
            for (_, value), (text, _) in zip(features, expand(fields, self._crosses, self.options["constant"])):
                if not abs(value) <= largest:
                    raise FeatureError(f"feature {text!r} has value {value!r}, beyond {largest:g}, the limit of dtype float32; "
                                       "scale it down or use float64", text)
            return [(key, value) for key, value in features if abs(value) >= smallest]
        return features

    def _texts(self, fields):
        smallest = LIMITS[self.options["dtype"]][0]
        texts = expand(fields, self._crosses, self.options["constant"])
        return [(text, value) for text, value in texts if abs(value) >= smallest]

    def _parts(self, fields):
        """[(name, weight * value)] of an example's features, in the order in which the margin adds them."""
        weights = self.weights
        return [(text, weights.get(text, 0.0) * value) for text, value in self._texts(fields)]


class Weights(Mapping):
    """Read-only view of weights by feature key; it follows the learner, and reading never stores anything."""

    def __init__(self, learner, scheme=None, names=None):
        self._learner, self.scheme, self._kept = learner, scheme, names

    def __getitem__(self, key):
        if self.scheme is not None and isinstance(key, str):
            key = self.scheme.of(key)
        weight = self._learner.weight(key)
        if weight is None:
            raise KeyError(key)
        return weight

    def __iter__(self):
        return (key for key, _ in self.items())

    def __len__(self):
        return len(self._learner)

    def items(self):
        """(key, weight) of every feature stored."""
        return _Items(self)

    def largest(self, count):
        """[(key, weight)] of the `count` weights largest in size, the largest first, equal ones by key."""
        found = self._learner.largest(count)
        return found if self._kept is None else [(self._kept.get(key, key), weight) for key, weight in found]

    def __repr__(self):
        return f"Weights({dict(self)!r})"


class _Items(ItemsView):
    def __iter__(self):
        view = self._mapping
        if view._kept is None:
            return iter(view._learner.items())
        return ((view._kept.get(key, key), weight) for key, weight in view._learner.items())


def _label(y):
    if is_bool(y):
        return 1 if y else -1
    if y in (-1, 1):
        return int(y)
    raise ValueError(f"label {y!r} is not one of -1, 1, False, True")


def _one_of(name, value, known, what):
    if value not in known:
        raise ValueError(f"{name} {value!r} is unknown; known {what}: {', '.join(known)}")


def _number(name, value, default, above_zero=False, largest=LARGEST):
    """A parameter as a finite float >= 0 (or > 0); `default` stands for None and may be None itself."""
    if value is None:
        return default
    if isinstance(value, str) or not (0 < value <= largest or (value == 0 and not above_zero)):
        raise ValueError(f"{name}={value!r} is not a finite number {'above' if above_zero else 'from'} 0, up to {largest:g}")
    return float(value)


def _start_of_constant(value, constant):
    if value and not constant:
        raise ValueError(f"initial_constant={value!r} without a constant; leave it out, or constant=False")
    return _number("initial_constant", abs(value), 0.0) * (-1.0 if value < 0 else 1.0)


def _as_bytes(text):
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(memoryview(text))
