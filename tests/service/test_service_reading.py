"""The compiled reader of requests against the one in Python, which defines what a request means."""
import json
import random

import pytest

from linear.service import events as checks
from linear.service.events import Event
from linear.service.fold import taught
from linear.service.packing import packing
from linear.service.reading import Reader
from linear.svm import HingeSVM

OPTIONS = ({}, {"crosses": "user*tags"}, {"bits": 18}, {"bits": 20, "hash": "all", "crosses": "user*tags"}, {"dtype": "float32"})
NAMES = ["u1", "a b", "ü", "x=y", "p*q", "", " lead", "12", "007", "a:b", "\x7f", "日本", "q" * 90, "True", "Constant"]
FIELDS = ["user", "tags", "age", "a=b", "c*d", "Constant", "ß", " x", "12", "t:u", "long" * 20]
NUMBERS = ["0", "1", "-1", "0.5", "-0", "-0.0", "0.0", "100.0", "1.50", "1e3", "1E-3", "12345678901234567890", "0.00001", "0.0001",
           "1e-60", "1e49", "0.1234567890123456", "123456789012345.0", "1234567890123456", "3.0000000000000004", "5.", ".5", "+1", "01", "1e99"]


def value(rng):
    kind = rng.random()
    if kind < 0.4:
        return json.dumps(rng.choice(NAMES), ensure_ascii=rng.random() < 0.1)
    if kind < 0.6:
        return rng.choice(NUMBERS)
    if kind < 0.8:
        return "[" + ", ".join(json.dumps(rng.choice(NAMES), ensure_ascii=False) for _ in range(rng.randrange(4))) + "]"
    if kind < 0.9:
        return "{" + ",".join(f"{json.dumps(rng.choice(NAMES), ensure_ascii=False)}:{rng.choice(NUMBERS)}" for _ in range(rng.randrange(3))) + "}"
    return rng.choice(["true", "false", "null", "{}", "[]", "[1]", "[[]]", '"\\u0041"', "tru", '"'])


def fields(rng):
    most = 3 if rng.random() < 0.9 else 60
    blank = rng.choice(["", "", " ", "\n\t "])
    pairs = [f"{json.dumps(rng.choice(FIELDS), ensure_ascii=False)}{blank}:{blank}{value(rng)}" for _ in range(rng.randrange(most))]
    return "{" + f",{blank}".join(pairs) + "}"


def event(rng, number):
    parts = [f'"id": "{rng.choice(["e", "ev ", "é"])}{number}"', f'"x":{fields(rng)}',
             f'"y" : {rng.choice(["1", "-1", "true", "false", "1.0", "0", "11", "-", "null"])}' if rng.random() < 0.3 else '"y":1']
    rng.shuffle(parts)
    return "{" + ",".join(parts[:rng.choice([3, 3, 3, 2, 1])]) + "}"


def damaged(text, rng):
    """The text with a character lost, doubled or exchanged."""
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(["", text[at] * 2, rng.choice('{}[]",:0\x00\x01\\ aé')]) + text[at + 1:]


def in_python(body, what):
    """The Events that Python makes of a request, None where it refuses it."""
    try:
        request = checks.decoded(body)
        if what == "event":
            return [checks.event(request)]
        if what == "events":
            return checks.events(request)
        rows = checks.batch(request, "rows")
        assert all(set(row) == {"x"} for row in rows)
        return [checks.event({"id": "row", **row}) for row in rows]
    except (checks.Invalid, AssertionError, TypeError):
        return None


def learned(options, event):
    """The weights that the service learns of an event, by its record if it has one, else from its JSON."""
    model = HingeSVM(**options)
    _, taken = taught(model, [(1, 1, event.x, event.record)])
    return dict(model.weights), taken.tolist()


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_what_is_read_is_what_python_reads(number):
    options = HingeSVM(**OPTIONS[number]).options
    reader, rng, taken, refused = Reader(options), random.Random(number), 0, 0
    read = {"event": reader.events_of, "events": reader.batch_of, "rows": reader.rows_of}
    for i in range(6000):
        what = rng.choice(["event", "event", "events", "rows"])
        if what == "event":
            text = event(rng, i)
        elif what == "events":
            text = '{"events":[' + ",".join(event(rng, j) for j in range(rng.randrange(4))) + "]}"
        else:
            text = ' {"rows" : [' + ", ".join('{"x":' + fields(rng) + "}" for _ in range(rng.randrange(4))) + "]} "
        body = (damaged(text, rng) if rng.random() < 0.4 else text).encode("utf-8", "replace")
        found = read[what](body)
        if found is None:
            refused += 1
        else:
            taken += 1
            wanted = in_python(body, what)
            assert wanted is not None and len(found) == len(wanted), body
            for ours, theirs in zip(found, wanted):
                if what == "rows":
                    ours = Event("row", theirs.x, None, ours)
                assert ours[:3] == theirs[:3], body
                assert bool(ours.x) == bool(ours.record) and (not ours.x or learned(options, ours) == learned(options, theirs)), body
    assert taken > 700 and refused > 700


@pytest.mark.parametrize("options", OPTIONS)
def test_margins_are_those_of_the_model(options):
    model, rng = HingeSVM(**options), random.Random(5)
    reader, taken = Reader(model.options), 0
    for i in range(300):
        model.learn_one({"user": f"u{i % 9}", "tags": [f"t{i % 7}", "é"], "age": i / 100}, 1 if i % 3 else -1)
    table = len(model._learner.table)
    for _ in range(1500):
        body = ('{"x":' + fields(rng) + "}").encode()
        if (margin := reader.margin(model, body)) is not None:
            taken += 1
            assert margin == model.margin_one(json.loads(body)["x"]), body
    assert taken > 300 and len(model._learner.table) == table           # nothing grows, however much is asked


def test_a_prediction_does_not_grow_a_full_table():
    model = HingeSVM()
    while model._learner.ints[4] + 3 <= model._learner.ints[5]:          # COUNT and LIMIT
        model.learn_one({"u": f"u{len(model.weights)}"}, 1 if len(model.weights) % 2 else -1)
    size = len(model._learner.table)
    model.margin_one({f"f{i}": "new" for i in range(50)})
    assert len(model._learner.table) == size


def test_other_engines_are_left_to_python():
    for options in ({"engine": "dict"}, {"names": True}):
        assert packing(HingeSVM(**options).options) is None
        assert Reader(HingeSVM(**options).options).events_of(b'{"id":"a","y":1}') is None


@pytest.mark.parametrize("body", [b'{"id":"a","y":1}\x00', b'{"id":"a","y":1}{', b'{"id":"\xff","y":1}', b"", b"{", b'{"id":"a","y":1',
                                  b'{"id":"a","id":"b","y":1}', b'{"id":"","y":1}', b'{"id":"' + b"a" * 129 + b'","y":1}', b'{"y":1}',
                                  b'{"id":"a","x":{"u":"a","u":"b"}}', b'{"id":"a"}', b'{"id":"a","y":1,}', b'[]'])
def test_what_is_not_taken(body):
    assert Reader({}).events_of(body) is None
