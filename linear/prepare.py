"""Fields prepared on the way to the learner: numbers in buckets or scaled, texts as n-grams. All of it online.

    Prepared(HingeSVM(), buckets=["price:10", "age:18/30/65"], scale=["height"], ngrams=["text:2", "text:c3"])

`price:10`      the number becomes the name of one of 10 buckets of equal width, price=3/10. They divide the range of the
                first 1000 values learned, which then stays as it is; values beyond it fall into the outer buckets. While
                those come in, the range is that of the values so far, the present one included.
`age:18/30/65`  buckets with given edges: age=..18, age=18..30, age=30..65, age=65.. (an edge belongs to the bucket above it).
`height`        scaled: z = (x - mean) / deviation over all values learned and the present one, so that |z| never
                passes sqrt(n) (Welford 1962, Technometrics 4: running mean and sum of squares, no list of values).
`text:2`        runs of 1 to 2 words: text=free, text=free prize. Words are lower case: runs of letters, digits and _,
                and every other mark but blanks. A field of several names gives its names' words in order.
`text:c3`       runs of 3 characters, of the lower-case text with single blanks and one blank at each end, in the field
                text.c3. Every run counts once, whatever its number.

Only learning changes the statistics; a prediction uses them as they are. An example costs what its own fields cost.
A number of 0 counts here (elsewhere a 0 gives no feature); an absent field gives nothing and changes nothing. In VW's
text a number is written `|price :7.5`.
"""
import math
import re

from linear import bundle
from linear.features import FeatureError, feature_key, fields_of, is_bool, shown
from linear.formats import Example

SETTLED = 1000           # values after which the range of equal-width buckets stays as it is
_WORD = re.compile(r"\w+|[^\w\s]")


class Preparation:
    """The declarations and their running statistics; see the top of this file for their rules.

    >>> preparation = Preparation(buckets=["age:18/30"], ngrams=["text:2"])
    >>> preparation.apply(fields_of({"age": 25, "text": "Free prize!"}))
    [('age', [('age=18..30', 1.0)]), ('text', [('text=free', 1.0), ('text=prize', 1.0), ('text=!', 1.0), \
('text=free prize', 1.0), ('text=prize !', 1.0)])]
    """

    def __init__(self, buckets=(), scale=(), ngrams=()):
        self.options = {"buckets": _several(buckets), "scale": _several(scale), "ngrams": _several(ngrams)}
        self.buckets = dict(map(_bucket, self.options["buckets"]))           # field -> number of buckets, or edges
        self.scaled = set(self.options["scale"])
        self.ngrams = {}                                                     # field -> [(words or characters, length)]
        for field, kind, n in map(_ngram, self.options["ngrams"]):
            self.ngrams.setdefault(field, []).append((kind, n))
        if both := self.scaled & self.buckets.keys():
            raise FeatureError(f"field {min(both)!r} is both scaled and put into buckets; leave one out", min(both))
        self.ranges = {field: (0, 0.0, 0.0) for field, edges in self.buckets.items() if isinstance(edges, int)}
        self.moments = {field: (0, 0.0, 0.0) for field in self.scaled}       # field -> n, mean, sum of squared deviations

    def apply(self, fields):
        """The prepared fields of one example; changes nothing."""
        made = []
        for field, part in fields:
            if field in self.buckets:
                made.append((field, [(feature_key(field, self._bucket_of(field, _value(field, part))), 1.0)]))
            elif field in self.scaled:
                z = self._scaled(field, _value(field, part))
                made.append((field, [(feature_key("", field), z)] if z else []))
            elif field in self.ngrams:
                names = [_name(field, key) for key, _ in part]
                for kind, n in self.ngrams[field]:
                    target, runs = (field, word_runs(names, n)) if kind == "w" else (f"{field}.c{n}", character_runs(names, n))
                    made.append((target, [(feature_key(target, run), 1.0) for run in runs]))
            else:
                made.append((field, part))
        return made

    def learn(self, fields):
        """Take the numbers of one example into the statistics."""
        for field, part in fields:
            if field in self.ranges:
                self.ranges[field] = self._range_with(field, _value(field, part))
            elif field in self.scaled:
                self.moments[field] = self._moments_with(field, _value(field, part))

    def state(self):
        """The statistics, for a model file; `restore` is the inverse."""
        return {"ranges": self.ranges, "moments": self.moments}

    def restore(self, state):
        """Take over what `state` gave."""
        self.ranges = {field: tuple(values) for field, values in state["ranges"].items()}
        self.moments = {field: tuple(values) for field, values in state["moments"].items()}

    def _range_with(self, field, value):
        n, low, high = self.ranges[field]
        if n >= SETTLED:
            return n, low, high
        return n + 1, min(low, value) if n else value, max(high, value) if n else value

    def _bucket_of(self, field, value):
        edges = self.buckets[field]
        if isinstance(edges, int):
            _, low, high = self._range_with(field, value)
            share = (value - low) / (high - low) if high > low else 0.0
            return f"{min(max(int(share * edges), 0), edges - 1)}/{edges}"
        below = sum(edge <= value for edge in edges)
        low, high = f"{edges[below - 1]:g}" if below else "", f"{edges[below]:g}" if below < len(edges) else ""
        return f"{low}..{high}"

    def _moments_with(self, field, value):
        n, mean, squares = self.moments[field]
        off = value - mean
        mean += off / (n + 1)
        return n + 1, mean, squares + off * (value - mean)

    def _scaled(self, field, value):
        n, mean, squares = self._moments_with(field, value)
        deviation = math.sqrt(squares / n)
        return (value - mean) / deviation if deviation > 1e-12 * abs(mean) else 0.0     # else nothing but rounding


class Prepared:
    """A learner whose examples are prepared first; it learns, predicts, explains, saves and loads as `HingeSVM` does.

    >>> from linear import HingeSVM
    >>> model = Prepared(HingeSVM(crosses=["age*town"], names=True), buckets=["age:18/30"])
    >>> for age in range(60):
    ...     model.learn_one({"age": age, "town": "Ulm"}, 18 <= age < 30)
    >>> [model.predict_one({"age": age, "town": "Ulm"}) for age in (10, 25, 40)]
    [-1, 1, -1]
    >>> sorted(model.weights)[:3]
    ['Constant', 'age=..18', 'age=..18*town=Ulm']
    """
    KIND = "Prepared"

    def __init__(self, model, buckets=(), scale=(), ngrams=()):
        self.model, self.preparation = model, Preparation(buckets, scale, ngrams)

    @property
    def options(self):
        """The learner's options and the preparation's."""
        return {**self.model.options, **self.preparation.options}

    @property
    def weights(self):
        """The learner's weights."""
        return self.model.weights

    @property
    def totals(self):
        """The learner's progressive losses."""
        return self.model.totals

    def take(self, example, learn=True):
        """As `HingeSVM.take`: (margin, number of features) of a parsed example, which is then learned."""
        taken = self.model.take(example._replace(fields=self.preparation.apply(example.fields)), learn)
        if learn and example.label is not None and example.weight > 0.0:
            self.preparation.learn(example.fields)
        return taken

    def clamped(self, margin):
        """As `HingeSVM.clamped`: the margin as the loss sees it."""
        return self.model.clamped(margin)

    def parser_for(self, parse):
        """As `HingeSVM.parser_for`."""
        return self.model.parser_for(parse)

    def learn_one(self, x, y, w=1.0):
        """Learn from one dictionary of fields; the label y is -1, 1, False or True."""
        if not is_bool(y) and y not in (-1, 1):
            raise ValueError(f"label {y!r} is not one of -1, 1, False, True")
        self.take(Example(1 if y > 0 else -1, float(w), 0.0, "", fields_of(x)))

    def margin_one(self, x):
        """The margin of one dictionary of fields. Changes nothing."""
        return self.take(Example(None, 1.0, 0.0, "", fields_of(x)), learn=False)[0]

    def predict_one(self, x):
        """1 where the margin is above 0, else -1. Changes nothing."""
        return 1 if self.margin_one(x) > 0 else -1

    def save(self, path):
        """Write declarations, statistics and learner to one file, atomically."""
        bundle.save(path, {"model": self.KIND, "options": self.preparation.options, "state": self.preparation.state()},
                    {"learner": self.model})

    @classmethod
    def load(cls, path):
        """The learner that `save` wrote; learning on gives the bits of an uninterrupted run."""
        header, models = bundle.load(path, cls.KIND)
        made = cls(models["learner"], **header["options"])
        made.preparation.restore(header["state"])
        return made


def word_runs(texts, most):
    """The distinct runs of 1 to `most` words of texts, shorter ones first, joined by a blank.

    >>> word_runs(["To be, or", "not"], 2)
    ['to', 'be', ',', 'or', 'not', 'to be', 'be ,', ', or', 'or not']
    """
    words = [word for text in texts for word in _WORD.findall(text.lower())]
    return list(dict.fromkeys(" ".join(words[start:start + n])
                              for n in range(1, most + 1) for start in range(len(words) - n + 1)))


def character_runs(texts, n):
    """The distinct runs of n characters of texts, lower case, blanks made one, a blank at each end.

    >>> character_runs(["Tea  at 5"], 4)
    [' tea', 'tea ', 'ea a', 'a at', ' at ', 'at 5', 't 5 ']
    """
    runs = []
    for text in texts:
        text = " " + " ".join(text.lower().split()) + " "
        runs += [text[start:start + n] for start in range(len(text) - n + 1)]
    return list(dict.fromkeys(runs))


def _several(declared):
    if isinstance(declared, str):
        declared = declared.split(",")
    return [one.strip() for one in declared]


def _bucket(text):
    """(field, number of equal widths or list of edges) of 'price:10' or 'price:0/10/100'."""
    field, _, how = text.rpartition(":")
    try:
        edges = [float(edge) for edge in how.split("/")]
    except ValueError:
        edges = []
    if field and len(edges) == 1 and how.isdecimal() and 2 <= int(how) <= 10_000:
        return field, int(how)
    if field and len(edges) > 1 and all(low < high for low, high in zip(edges, edges[1:])) and math.isfinite(edges[-1] - edges[0]):
        return field, edges
    raise FeatureError(f"buckets {text!r}: expected 'field:10' (2 to 10000 equal widths) or 'field:0/10/100' (edges that ascend)",
                       field)


def _ngram(text):
    """(field, "w" or "c", n) of 'text:2' or 'text:c3'."""
    field, _, how = text.rpartition(":")
    kind, digits = ("c", how[1:]) if how[:1] == "c" else ("w", how)
    if not field or not digits.isdecimal() or not 1 <= int(digits) <= 20:
        raise FeatureError(f"n-grams {text!r}: expected 'field:2' (words) or 'field:c3' (characters), 1 to 20 of them", field)
    return field, kind, int(digits)


def _value(field, part):
    """The number that a field holds; a number of 0 has no feature, one without a name in VW's text is called 0."""
    if not part:
        return 0.0
    if len(part) == 1 and part[0][0] in (feature_key("", field), feature_key(field, "0")):
        return part[0][1]
    raise FeatureError(f"field {field!r} is declared to be a number, got {shown(', '.join(key for key, _ in part))}", field)


def _name(field, key):
    r"""The text of a feature, from its key `field=text` with \ before the marks."""
    return re.sub(r"\\(.)", r"\1", key[len(feature_key(field, "")):], flags=re.DOTALL)
