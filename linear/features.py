r"""From an example's fields to the features of a linear model: keys, values, crosses.

An example is a dictionary of fields. What a field gives:

    "user": "u1"                 the feature user=u1 with value 1
    "age": 0.3                   the feature age with value 0.3
    "tags": ["a", "b"]           the features tags=a and tags=b
    "words": {"spam": 2.0}       the feature words=spam with value 2
    "new": True                  the feature new=True (False: new=False), like a string
    "city": None                 nothing, as if the field were absent

A value of 0 gives nothing. A key spells out where a feature comes from, and no two different features share
one: in a field or value a backslash or an asterisk is written \\ or \*, in a field name = is written \=.
A feature of the field without a name (VW's unnamed namespace) is its bare name, as a number's is, and the
constant feature is "Constant": these bare names are one family.
"""
from functools import lru_cache, reduce
from itertools import combinations_with_replacement, product
from math import comb, prod
from numbers import Real
from typing import NamedTuple

CONSTANT = "Constant"
SMALLEST, LARGEST = 1e-50, 1e50   # of |value|: squares and their sums stay far from underflow and overflow


class FeatureError(ValueError):
    """A field that cannot become features; `.field` names it."""

    def __init__(self, message, field=""):
        super().__init__(message)
        self.field = field


def feature_key(field, name):
    r"""The text by which a feature is known: `field=name`, or the bare name where the field has none.

    >>> print(feature_key("user", "u1"), feature_key("", "age"), feature_key("a=b", "2*3"))
    user=u1 age a\=b=2\*3
    """
    if not field:
        return _escaped(name, "\\*=")
    return _prefix(field) + (_escaped(name, "\\*") if "*" in name or "\\" in name else name)


def fields_of(x):
    """The fields of a dictionary as [(field, [(key, value), ...]), ...], in its order (the rules: top of this file).

    Raises FeatureError, naming the field, for any other kind of value: sets (no order), nested lists,
    numbers that are not finite or beyond 1e50.

    >>> fields_of({"user": "u1", "age": 3, "tags": ["a", "b"], "city": None})
    [('user', [('user=u1', 1.0)]), ('age', [('age', 3.0)]), ('tags', [('tags=a', 1.0), ('tags=b', 1.0)])]
    """
    if not hasattr(x, "items"):
        raise FeatureError(f"an example is a dictionary of fields, got {type(x).__name__}")
    return [(field, _features_of(field, value)) for field, value in x.items() if value is not None]


def is_bool(value):
    """True for Python's and NumPy's booleans (without importing NumPy)."""
    return isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b"


def is_counted(key, value, field=""):
    """Whether a value is worth a feature: False below 1e-50, FeatureError above 1e50 or where not finite.

    >>> is_counted("age", 0.3), is_counted("age", 0.0), is_counted("age", 1e-60)
    (True, False, False)
    """
    if abs(value) <= LARGEST:
        return abs(value) >= SMALLEST
    raise FeatureError(f"feature {key!r} has value {value!r}, expected a finite number up to {LARGEST:g}", field)


class Cross(NamedTuple):
    """Fields to cross: by full names, or by first letters (`:` stands for any), with the blank for a nameless field."""
    names: tuple
    by_letter: bool = False

    def text(self):
        """As it is written: 'user*tags' or '-q ut'."""
        return "-q " + "".join(self.names) if self.by_letter else "*".join(self.names)


def parse_crosses(crosses):
    """Cross declarations, each 'a*b' or 'a*b*c' or a tuple of names, or '-q ab' for VW's first letters.

    One string may hold several, separated by commas. ':*:' is all pairs of features, VW's '-q ::'. Raises FeatureError
    for a cross of one field, for an empty name and for the same cross twice.

    >>> [cross.text() for cross in parse_crosses(["user*tags", ("item", "hour"), "-q ut", ":*:"])]
    ['user*tags', 'item*hour', '-q ut', '-q ::']
    """
    parsed, seen = [], set()
    for cross in [crosses] if isinstance(crosses, str) else crosses:
        for one in cross.split(",") if isinstance(cross, str) and not cross.startswith("-q ") else [cross]:
            made = _parse_cross(one)
            if (same := (made.by_letter, *sorted(made.names))) in seen:
                raise FeatureError(f"cross {made.text()!r} is declared twice; leave one out")
            seen.add(same)
            parsed.append(made)
    return tuple(parsed)


def expand(fields, crosses=(), constant=True):
    """All features of an example: the fields' own in input order, the crosses in declared order, the constant.

    `fields` as from `fields_of`, `crosses` as from `parse_crosses`. The value of a cross is the product of its
    parts'. An absent field gives no cross; a field with itself gives the n (n + 1) / 2 unordered pairs.

    >>> fields = fields_of({"user": "u1", "age": 3, "tags": ["b", "a"]})
    >>> [key for key, value in expand(fields, parse_crosses(["user*tags", "user*city"]))]
    ['user=u1', 'age', 'tags=b', 'tags=a', 'user=u1*tags=b', 'user=u1*tags=a', 'Constant']
    >>> expand(fields, parse_crosses("age*age,tags*tags"), constant=False)[4:]
    [('age*age', 9.0), ('tags=b*tags=b', 1.0), ('tags=a*tags=b', 1.0), ('tags=a*tags=a', 1.0)]
    """
    features = [feature for _, part in fields for feature in part]
    for cross in crosses:
        for names in _spelled_out(fields, cross) if ":" in cross.names and cross.by_letter else [cross.names]:
            features += _crossed(fields, names, cross.by_letter)
    if constant:
        features.append((CONSTANT, 1.0))
    return features


def crossed_counts(fields, crosses):
    """{cross: number of features it will make of an example}, counted without making them.

    >>> fields = fields_of({"user": "u1", "tags": ["a", "b", "c"]})
    >>> crossed_counts(fields, parse_crosses("user*tags,tags*tags,:*:"))
    {'user*tags': 3, 'tags*tags': 6, '-q ::': 10}
    """
    counts = {}
    for cross in crosses:
        sizes = {}
        for field, part in fields:
            name = (field[:1] or " ") if cross.by_letter else field
            sizes[name] = sizes.get(name, 0) + len(part)
        choices = _spelled_out(fields, cross) if cross.by_letter and ":" in cross.names else [cross.names]
        counts[cross.text()] = sum(prod(comb(sizes.get(name, 0) + names.count(name) - 1, names.count(name))
                                        for name in dict.fromkeys(names)) for names in choices)
    return counts


@lru_cache(4096)
def _prefix(field):
    return _escaped(field, "\\*=") + "="


def _escaped(text, special):
    for mark in special:           # the backslash comes first, so that it does not escape the others' escapes
        text = text.replace(mark, "\\" + mark)
    return text


def _features_of(field, value):
    if not isinstance(field, str):
        raise FeatureError(f"field names are strings, got {field!r}", field)
    if isinstance(value, str):
        return [(feature_key(field, value), 1.0)]
    if type(value) is float:                       # the commonest kinds first
        return _number(feature_key("", field), value, field)
    if isinstance(value, (list, tuple)) and all([isinstance(item, str) for item in value]):
        return [(feature_key(field, item), 1.0) for item in value]
    if is_bool(value):
        return [(feature_key(field, str(bool(value))), 1.0)]
    if isinstance(value, Real):
        return _number(feature_key("", field), value, field)
    if isinstance(value, dict) and all(isinstance(name, str) and isinstance(number, Real) and not is_bool(number)
                                       for name, number in value.items()):
        return [pair for name, number in value.items() for pair in _number(feature_key(field, name), number, field)]
    raise FeatureError(f"field {field!r} has value {shown(value)} of type {type(value).__name__}, expected a string, "
                       "a number, a list of strings, or an object of names to numbers", field)


def _number(key, value, field):
    try:
        value = float(value)
    except OverflowError:          # an integer of more than 308 digits
        value = float("inf")
    return [(key, value)] if is_counted(key, value, field) else []


def shown(value):
    """A value as an error message shows it: at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _parse_cross(cross):
    if isinstance(cross, str) and cross.startswith("-q "):
        made = Cross(tuple(cross[3:]), by_letter=True)
    elif isinstance(cross, str):
        made = Cross(tuple(name.strip() for name in cross.split("*")))
        if set(made.names) == {":"}:         # pairs of features, whatever their fields: the same as by letters
            made = made._replace(by_letter=True)
        if "" in made.names:
            raise FeatureError(f"cross {cross!r} has an empty name, expected 'a*b'")
    else:
        made = Cross(tuple(cross))
    if len(made.names) < 2 or not all(isinstance(name, str) for name in made.names):
        raise FeatureError(f"cross {cross!r} does not name two fields or more, expected 'a*b', ('a', 'b') or '-q ab'")
    return made


def _group(fields, name, by_letter):
    """The features of all fields of that name, or of that first letter, in input order."""
    if by_letter:
        return [feature for field, part in fields if (field[:1] or " ") == name for feature in part]
    return [feature for field, part in fields if field == name for feature in part]


def _spelled_out(fields, cross):
    """The crosses that a `:` stands for in this example, each once: letters sorted, so that input order is no matter."""
    letters = sorted({field[:1] or " " for field, _ in fields})
    choices = product(*(letters if name == ":" else [name] for name in cross.names))
    return dict.fromkeys(tuple(sorted(choice)) for choice in choices)


def _crossed(fields, names, by_letter):
    factors = []
    for name in dict.fromkeys(names):              # a field named twice counts once, squared
        factors.append(_power(_group(fields, name, by_letter), names.count(name)))
    return reduce(_times, factors)


def _power(group, times):
    """Unordered choices of `times` features, repeats allowed; names sorted within, as they are one whatever came first."""
    if times == 1:
        return group
    return [("*".join(sorted(key for key, _ in chosen)), value) for chosen in combinations_with_replacement(group, times)
            for _, value in reduce(_times, ([one] for one in chosen))]


def _times(left, right):
    made = [(f"{a}*{b}", x * y) for a, x in left for b, y in right]
    return [(key, value) for key, value in made if value == 1.0 or is_counted(key, value)]
