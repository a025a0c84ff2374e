"""JSON lines: one object a line; one field is the label, one may be the weight, one the id, the rest are features.

    {"y": 1, "user": "u17", "tags": ["news", "sport"], "age": 0.3}
    {"id": "ev-7", "x": {"user": "u17", "tags": ["news", "sport"]}, "y": true}

The second form, an object "x" beside nothing but label, weight and id, is the one a service receives. What the
fields give is told in `linear.features`. Without a label (or with null) a line is for prediction only.
Refused: duplicate keys, NaN and Infinity, deeper nesting, text that is no valid Unicode.
"""
import json
from functools import partial

from linear.features import LARGEST, FeatureError, fields_of, shown
from linear.formats import Example, FormatError


def parser(label="y", weight="weight", id="id"):
    """`parse` with the names of its three special fields settled.

    >>> parser(label="click")(b'{"click": 1, "y": "a field like any other"}').label
    1
    """
    return partial(parse, label=label, weight=weight, id=id)


def parse(line, label="y", weight="weight", id="id"):
    """The Example of one line, None for an empty one; FormatError, with the column, for a malformed one.

    >>> parse(b'{"y": -1, "user": "u17", "age": 3, "id": 7}')
    Example(label=-1, weight=1.0, initial=0.0, tag='7', fields=[('user', [('user=u17', 1.0)]), ('age', [('age', 3.0)])])
    """
    if not line.strip():
        return None
    try:
        return _parse(line, label, weight, id)
    except RecursionError:
        raise FormatError("nested too deeply, expected one flat object") from None


def _parse(line, label, weight, id):
    text, record = _decoded(line)
    row = dict(record)
    y = _label(row.pop(label, None), label, text)
    h = _weight(row.pop(weight, None), weight, text)
    tag = row.pop(id, None)
    if not isinstance(tag, (str, int, float, type(None))) or isinstance(tag, bool):
        raise FormatError(f"id {shown(tag)} is neither a string nor a number", _column(text, id))
    if list(row) == ["x"] and isinstance(row["x"], dict):
        row = row["x"]
    try:
        return Example(y, h, 0.0, "" if tag is None else str(tag), fields_of(row))
    except FeatureError as error:
        raise FormatError(str(error), _column(text, error.field)) from None


def _decoded(line):
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(line[:error.start].decode("utf-8")) + 1
        raise FormatError("the bytes are no valid UTF-8", column) from None
    try:
        record = json.loads(text, object_pairs_hook=distinct, parse_constant=_refused,
                            parse_int=_integer)
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg}", error.pos + 1) from None
    except ValueError as error:
        raise FormatError(str(error), _column(text, getattr(error, "field", ""))) from None
    if not isinstance(record, dict):
        raise FormatError(f"expected an object {{...}}, got {text.strip()[:20]!r}")
    if "\\" in text:                   # only an escape can smuggle in half a surrogate pair, which no file can hold
        try:
            json.dumps(record, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise FormatError("an escape gives half a surrogate pair, which is no text", text.find("\\") + 1) from None
    return text, record


def distinct(pairs):
    """The object of the pairs that `json` has read; FeatureError, naming it, for a key that is there twice.

    >>> distinct([("a", 1), ("b", 2)])
    {'a': 1, 'b': 2}
    """
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in names if names.count(name) > 1)
        raise FeatureError(f"key {shown(name)} appears twice in one object", name)
    return record


def _refused(constant):
    raise ValueError(f"{constant} is not a finite number")


def _integer(digits):
    return int(digits) if len(digits) < 300 else float(digits)     # Python refuses to read integers of 4300 digits


def _label(y, name, text):
    if y is None or y is True or y is False:
        return y if y is None else 1 if y else -1
    if isinstance(y, (int, float)) and y in (-1, 1):
        return int(y)
    raise FormatError(f"label {name!r} is {shown(y)}, expected -1, 1, false or true", _column(text, name))


def _weight(h, name, text):
    if h is None:
        return 1.0
    if isinstance(h, (int, float)) and not isinstance(h, bool) and 0 <= h <= LARGEST:
        return float(h)
    raise FormatError(f"weight {name!r} is {shown(h)}, expected a number from 0 to {LARGEST:g}", _column(text, name))


def _column(text, name):
    """Where a key stands in the line, from 1; 1 if it is written with escapes and so cannot be found."""
    return text.find(json.dumps(name, ensure_ascii=False)) + 1 or 1
