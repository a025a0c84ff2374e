"""What a client sends, checked whole before anything is stored.

    {"id": "ev-7", "x": {"user": "u17", "tags": ["news", "sport"]}, "y": 1}        features and label at once
    {"id": "ev-8", "x": {"user": "u18"}}  and some day  {"id": "ev-8", "y": false}   the label later, or earlier
"""
import json
from typing import NamedTuple

from linear.features import LARGEST, FeatureError, fields_of, shown
from linear.formats.jsonl import distinct

LONGEST_ID, LONGEST_NAME = 128, 1024        # bytes
MOST_FEATURES = 4096                        # of one event, before crosses
MOST_EVENTS = 1000                          # of one batch
DEEPEST = 6                                 # levels of a request: batch, list, event, x, field, list


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Invalid(ValueError):
    """An event or a request that cannot be taken; `.field` says where, like 'events[3].x.user'."""

    def __init__(self, message, field=""):
        super().__init__(message)
        self.field = field


class Event(NamedTuple):
    """A checked event: `x` is its features' JSON in the order given, b"" without; `y` is -1, 1 or None; `record` see `packing`."""
    id: str
    x: bytes
    y: int | None
    record: bytes = b""

    @property
    def kind(self):
        return ("x" if self.x else "") + ("y" if self.y else "")


def decoded(body):
    """The JSON of a request's bytes. Refused, as Invalid: no UTF-8, duplicate keys, NaN, infinity, huge integers, depth.

    >>> decoded(b'{"id": "a", "id": "b"}')
    Traceback (most recent call last):
        ...
    linear.service.events.Invalid: key 'id' appears twice in one object
    """
    if body.count(b"[") + body.count(b"{") > DEEPEST and _depth(body) > DEEPEST:
        raise Invalid(f"nested more than {DEEPEST} levels deep")
    try:
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=distinct, parse_constant=_refused, parse_int=_integer)
        if "\\" in text:                    # only an escape can smuggle in half a surrogate pair, which no file can hold
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except FeatureError as error:
        raise Invalid(str(error), error.field) from None
    except UnicodeError:
        raise Invalid("the body is no valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"not JSON: {error.msg} at character {error.pos + 1}") from None


def event(item, where="", check=lambda fields, where: None, pack=lambda x: b""):
    """The Event of a decoded object, with the record that `pack` makes of its features; Invalid, naming the field, for all else.

    `check` may refuse its fields for reasons of its own.

    >>> event({"id": "ev-7", "x": {"user": "u17"}, "y": True})
    Event(id='ev-7', x=b'{"user":"u17"}', y=1, record=b'')
    """
    dot = where + "." if where else ""
    if not isinstance(item, dict):
        raise Invalid(f"got {shown(item)}, expected an object with id, and x or y or both", where)
    if unknown := set(item) - {"id", "x", "y"}:
        raise Invalid(f"field {min(unknown)!r} is unknown; an event has id, x, y", dot + min(unknown))
    name = item.get("id")
    if not isinstance(name, str) or not 0 < len(name.encode("utf-8")) <= LONGEST_ID:
        raise Invalid(f"id {shown(name)} is not a string of 1 to {LONGEST_ID} bytes", dot + "id")
    y = label(item["y"], dot + "y") if "y" in item else None
    x = record = b""
    if "x" in item:
        check(features(item["x"], dot + "x"), dot + "x")
        x = encoded(item["x"])
        record = pack(x)
    elif y is None:
        raise Invalid("an event needs x (features), y (label) or both", where)
    return Event(name, x, y, record)


def encoded(x):
    """The bytes of features as the log keeps them: no blanks, numbers as Python writes them."""
    return _encode(x).encode("utf-8")


def events(request):
    """The Events of a decoded batch request; the first invalid one refuses them all."""
    return [event(item, f"events[{i}]") for i, item in enumerate(batch(request, "events"))]


def batch(request, name):
    """The items of a decoded request {name: [...]}, unchecked."""
    if not isinstance(request, dict) or set(request) != {name} or not isinstance(request[name], list):
        raise Invalid(f'expected {{"{name}": [...]}}', name)
    if len(request[name]) > MOST_EVENTS:
        raise Invalid(f"{len(request[name])} {name}, at most {MOST_EVENTS} a batch", name)
    return request[name]


def features(x, where="x"):
    """The fields of x as `features.fields_of` gives them; Invalid where it has too many features or too long names."""
    try:
        fields = fields_of(x)
    except FeatureError as error:
        raise Invalid(str(error), f"{where}.{error.field}" if error.field else where) from None
    count = 0
    for field, part in fields:
        count += len(part)
        for key, _ in part:
            if len(key) > LONGEST_NAME:
                raise Invalid(f"feature {shown(key)} has a name of more than {LONGEST_NAME} characters", f"{where}.{field}")
    if count > MOST_FEATURES:
        raise Invalid(f"{count} features, at most {MOST_FEATURES} an event", where)
    return fields


def label(y, where="y"):
    """-1 or 1.

    >>> label(True), label(-1)
    (1, -1)
    """
    if y is True or y is False or isinstance(y, (int, float)) and y in (-1, 1):
        return 1 if y > 0 else -1
    raise Invalid(f"label {shown(y)} is not -1, 1, false or true", where)


def _refused(constant):
    raise Invalid(f"{constant} is not a finite number")


def _integer(digits):
    if len(digits) > 60:
        raise Invalid(f"an integer of {len(digits)} digits; numbers go up to {LARGEST:g}")
    return int(digits)


def _depth(body):
    """How deeply brackets are nested, those in strings left out."""
    depth = deepest = 0
    quoted = escaped = False
    for c in body:
        if quoted:
            quoted, escaped = escaped or c != 34, not escaped and c == 92
        elif c == 34:
            quoted = True
        elif c in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif c in b"]}":
            depth -= 1
    return deepest
