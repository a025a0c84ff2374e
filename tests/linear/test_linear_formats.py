"""VW text and JSON lines: what is read, what is refused and where, and that bad bytes never matter to good lines."""
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear import FormatError, HingeSVM
from linear.features import feature_key, fields_of
from linear.formats import Example, parser

fixed = settings(deadline=None, derandomize=True, database=None, max_examples=150)
vw, jsonl = parser("vw"), parser("jsonl")
NAME = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters=" \t|:\n\r"), min_size=1, max_size=6)
VALUE = st.floats(1e-40, 1e40) | st.floats(-1e40, -1e-40)
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=6)


@pytest.mark.parametrize("line, label, weight, initial, tag", [
    (b"1 |u a", 1, 1.0, 0.0, ""),
    (b"-1 0.5 0.25 |u a", -1, 0.5, 0.25, ""),
    (b"1 2.0 ev-7|u a", 1, 2.0, 0.0, "ev-7"),
    (b"1 'ev-7 |u a", 1, 1.0, 0.0, "ev-7"),
    (b"'ev-7|u a", None, 1.0, 0.0, "ev-7"),
    (b"1|u a", None, 1.0, 0.0, "1"),                    # touches the bar: a tag, as in VW
    (b"|u a", None, 1.0, 0.0, ""),
    (b"   |u a", None, 1.0, 0.0, ""),
    (b"+1.0e0 0 |u a", 1, 0.0, 0.0, ""),
    (b"dropped\t-1 |u a", -1, 1.0, 0.0, ""),
    (b"dropped 3\t|u a", None, 1.0, 0.0, ""),
    ("1 'é|u a".encode(), 1, 1.0, 0.0, "é"),
])
def test_vw_before_the_bar(line, label, weight, initial, tag):
    assert vw(line) == Example(label, weight, initial, tag, [("u", [("u=a", 1.0)])])


@pytest.mark.parametrize("line, fields", [
    (b"|", [("", [])]),
    (b"||", [("", []), ("", [])]),
    (b"|u", [("u", [])]),
    (b"|u|t a", [("u", []), ("t", [("t=a", 1.0)])]),
    (b"| a b", [("", [("a", 1.0), ("b", 1.0)])]),
    (b"|u a|t b", [("u", [("u=a", 1.0)]), ("t", [("t=b", 1.0)])]),
    (b"|u a:0.5 b:-1e2 c:.5 d:5.", [("u", [("u=a", 0.5), ("u=b", -100.0), ("u=c", 0.5), ("u=d", 5.0)])]),
    (b"|u:0.5 a b:4", [("u", [("u=a", 0.5), ("u=b", 2.0)])]),
    (b"|u a:0 b", [("u", [("u=b", 1.0)])]),
    (b"|u:0 a b", [("u", [])]),
    (b"|u a a", [("u", [("u=a", 1.0), ("u=a", 1.0)])]),
    (b"|u :1.5 x :2", [("u", [("u=0", 1.5), ("u=x", 1.0), ("u=1", 2.0)])]),
    (b"|u color:red", [("u", [("u=color:red", 1.0)])]),
    (b"|u link:http://x", [("u", [("u=link:http://x", 1.0)])]),
    (b"|u\ta\tb", [("u", [("u=a", 1.0), ("u=b", 1.0)])]),
    (b"|u a |t x |u b", [("u", [("u=a", 1.0)]), ("t", [("t=x", 1.0)]), ("u", [("u=b", 1.0)])]),
    (b"|u a=b*c", [("u", [("u=a=b\\*c", 1.0)])]),
    (b"|u \xff", [("u", [("u=\udcff", 1.0)])]),
    ("|u \u00a0\u2003x".encode(), [("u", [("u=\u00a0\u2003x", 1.0)])]),     # only blank and tab separate
])
def test_vw_features(line, fields):
    assert vw(line).fields == fields


@pytest.mark.parametrize("line, column, words", [
    (b"1 u a", 6, "no '|'"),
    (b"one |u a", 1, "label 'one' is not a decimal number"),
    (b"2 |u a", 1, "label '2' is not one of -1 and 1"),
    (b"0 |u a", 1, "not one of"),
    (b"nan |u a", 1, "finite"),
    (b"1 -2 |u a", 3, "weight '-2' is negative"),
    (b"1 inf |u a", 3, "finite"),
    (b"1 1 1 1 |u a", 7, "too much"),
    (b"1 tag |u a", 3, "weight 'tag' is not a decimal number"),
    (b"x\ty |u a", 3, "label 'y'"),
    (b"1 |u a:nan", 8, "finite"),
    (b"1 |u a:-Infinity", 8, "finite"),
    (b"1 |u a:1e400", 8, "finite"),
    (b"1 |u a:1e51", 8, "1e51"),
    (b"1 |u b a:", 10, "value '' is not a decimal number"),
    (b"1 |u a:1:2", 8, "'1:2'"),
    (b"1 |u a:0x10", 8, "'0x10'"),
    (b"1 |u a:1_0", 8, "'1_0'"),
    (b"1 |u :red", 7, "without a name"),
    (b"1 |u :", 7, "not a decimal number"),
    (b"1 |:2 a", 4, "no name"),
    (b"1 |u: a", 6, "namespace value"),
    (b"1 |u:1e30 a:1e30", 11, "beyond"),
    ("1 |u é a:١".encode(), 10, None),
])
def test_vw_malformed_lines_say_where(line, column, words):
    if words is None:                   # digits of other scripts are text, not numbers
        assert vw(line).fields == [("u", [("u=é", 1.0), ("u=a:١", 1.0)])]
        return
    with pytest.raises(FormatError) as caught:
        vw(line)
    assert caught.value.column == column
    assert words in caught.value.reason


def test_vw_empty_lines():
    assert vw(b"") is None and vw(b" \t ") is None


@given(st.sampled_from([-1, 1, None]), st.floats(0, 1e40), st.lists(st.tuples(NAME, st.lists(st.tuples(NAME, VALUE)))))
@fixed
def test_vw_round_trip(label, weight, namespaces):
    head = "" if label is None else f"{label} {weight!r} "
    line = head + "".join(f"|{name} " + "".join(f"{feature}:{value!r} " for feature, value in part)
                          for name, part in namespaces)
    if not namespaces:
        line += "|"
    example = vw(line.encode())
    assert (example.label, example.weight) == (label, 1.0 if label is None else weight)
    expected = [(name, [(feature_key(name, feature), value) for feature, value in part]) for name, part in namespaces]
    assert example.fields == (expected or [("", [])])


@pytest.mark.parametrize("line, expected", [
    (b'{"y":1,"user":"u1"}', Example(1, 1.0, 0.0, "", [("user", [("user=u1", 1.0)])])),
    (b'{"y":-1.0,"weight":2,"id":"e7"}', Example(-1, 2.0, 0.0, "e7", [])),
    (b'{"y":true,"a":null,"b":true}', Example(1, 1.0, 0.0, "", [("b", [("b=True", 1.0)])])),
    (b'{"y":false,"a":0}', Example(-1, 1.0, 0.0, "", [("a", [])])),
    (b'{"y":null,"a":1.5}', Example(None, 1.0, 0.0, "", [("a", [("a", 1.5)])])),
    (b' {"a":"\\u00e9"} ', Example(None, 1.0, 0.0, "", [("a", [("a=\u00e9", 1.0)])])),
    (b'{"id":3,"x":{"user":"u1","n":{"k":2}},"y":1}',
     Example(1, 1.0, 0.0, "3", [("user", [("user=u1", 1.0)]), ("n", [("n=k", 2.0)])])),
    (b'{"x":{"k":2},"z":"a","y":1}', Example(1, 1.0, 0.0, "", [("x", [("x=k", 2.0)]), ("z", [("z=a", 1.0)])])),
    (b'{"x":"a"}', Example(None, 1.0, 0.0, "", [("x", [("x=a", 1.0)])])),
])
def test_jsonl_lines(line, expected):
    assert jsonl(line) == expected


def test_jsonl_names_of_label_weight_and_id():
    parse = parser("jsonl", label="click", weight="w", id="event")
    example = parse(b'{"click":1,"w":0.5,"event":"e","y":"kept"}')
    assert example == Example(1, 0.5, 0.0, "e", [("y", [("y=kept", 1.0)])])


@pytest.mark.parametrize("line, column, words", [
    (b'{"y":1', 7, "not JSON"),
    (b"1 |u a", 3, "not JSON"),
    (b"[1]", 1, "expected an object"),
    (b'{"y":2,"a":"b"}', 2, "label 'y' is 2"),
    (b'{"a":"b","y":"1"}', 10, "label 'y' is '1'"),
    (b'{"y":0}', 2, "expected -1, 1, false or true"),
    (b'{"y":[[1]]}', 2, "label"),
    (b'{"y":1,"weight":-1}', 8, "weight"),
    (b'{"y":1,"weight":"2"}', 8, "weight"),
    (b'{"y":1,"id":[1]}', 8, "id"),
    (b'{"y":1,"a":1,"a":2}', 8, "twice"),
    (b'{"y":1,"a":{"b":1,"b":2}}', 13, "twice"),
    (b'{"y":1,"a":NaN}', 1, "NaN is not a finite number"),
    (b'{"y":1,"a":1e999}', 8, "finite"),
    (b'{"y":1,"a":1' + b"0" * 400 + b'}', 8, "finite"),
    (b'{"y":1,"a":' + b"9" * 9000 + b'}', 8, "finite"),
    (b'{"y":1,"a":{"b":{"c":1}}}', 8, "field 'a'"),
    (b'{"y":1,"a":[[]]}', 8, "field 'a'"),
    (b'{"y":1,"\xc3\xa9":"\xff"}', 13, "UTF-8"),
    (b'{"y":1,"a":"\\ud800"}', 13, "surrogate"),
    (b'{"a":' * 100_000, 1, "deeply"),
    (b'{"a":' + b"[" * 900 + b"]" * 900 + b',"b":"\\n"}', 2, "field 'a'"),
])
def test_jsonl_malformed_lines_say_where(line, column, words):
    with pytest.raises(FormatError) as caught:
        jsonl(line)
    assert words in caught.value.reason
    assert caught.value.column == column


@given(st.dictionaries(TEXT.filter(lambda name: name not in ("y", "weight", "id", "x")),
                       TEXT | st.booleans() | st.none() | st.floats(-1e40, 1e40) | st.lists(TEXT)
                       | st.dictionaries(TEXT, st.floats(-1e40, 1e40))), st.sampled_from([-1, 1, True, False, None]))
@fixed
def test_jsonl_round_trip(x, y):
    expected = fields_of(x)
    for ascii_only in (True, False):
        example = jsonl(json.dumps({"y": y, **x}, ensure_ascii=ascii_only).encode())
        assert example.fields == expected
        assert example.label == {True: 1, False: -1}.get(y, y)


GOOD = [b"1 |u a |t x y", b"-1 2 |u b |t x:0.5", b"1 'tag |u a:3 |t :2 c:d", b"|u a", b"", b'1 0.5 |u "b" |t y']


@given(st.lists(st.sampled_from(GOOD) | st.binary(max_size=30)
                | st.tuples(st.sampled_from(GOOD), st.integers(0, 30), st.binary(max_size=3)).map(
                    lambda cut: cut[0][:cut[1]] + cut[2] + cut[0][cut[1] + 1:]), max_size=20))
@fixed
def test_bad_bytes_never_crash_and_never_change_what_good_lines_give(lines):
    lines = [line.replace(b"\n", b"").replace(b"\r", b"") for line in lines]
    whole, alone = HingeSVM(crosses=["-q ut"]), HingeSVM(crosses=["-q ut"])
    totals = whole.learn_lines(b"\n".join(lines))
    malformed = 0
    for line in lines:
        try:
            if line.strip(b" \t"):
                alone.learn_line(line)
        except ValueError:
            malformed += 1
    if lines and lines[0].startswith(b"\xef\xbb\xbf"):
        return                          # a byte order mark is only one at the start of a file
    assert dict(whole.weights) == dict(alone.weights)
    assert totals.malformed == malformed


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: json.dumps({"y": 1, text: text}).encode()))
@fixed
def test_jsonl_takes_any_bytes(line):
    try:
        example = jsonl(line)
    except FormatError as error:
        assert 1 <= error.column <= len(line) + 1
    else:
        assert example is None or isinstance(example, Example)


def test_line_ends_byte_order_mark_and_empty_lines():
    plain, windows = HingeSVM(), HingeSVM()
    plain.learn_lines(b"1 |u a\n-1 |u b\n")
    totals = windows.learn_lines(b"\xef\xbb\xbf1 |u a\r\n\r\n\n-1 |u b")
    assert dict(plain.weights) == dict(windows.weights) and "u=b" in plain.weights
    assert (totals.examples, totals.malformed) == (2, 0)


def test_strict_stops_at_the_first_bad_line_and_says_where(tmp_path):
    path = tmp_path / "train.vw"
    path.write_bytes(b"1 |u a\n\n1 |u b:nan\n1 |u c\n")
    model = HingeSVM()
    with pytest.raises(FormatError) as caught:
        model.learn_file(path, strict=True)
    assert str(caught.value).startswith(f"{path}:3:8: value 'nan'")
    assert (caught.value.file, caught.value.line, caught.value.column) == (str(path), 3, 8)
    assert "u=a" in model.weights and "u=c" not in model.weights
    assert HingeSVM().learn_file(path).malformed == 1


def test_unknown_format():
    with pytest.raises(ValueError, match="'tsv' is unknown; known formats: vw, svmlight, jsonl, csv"):
        HingeSVM().learn_lines(b"", format="tsv")
