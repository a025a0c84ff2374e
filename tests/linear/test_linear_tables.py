"""svmlight and CSV: what is read, what is refused and where; and that neither falls over any bytes."""
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear import FormatError, HingeSVM
from linear.features import fields_of
from linear.formats import Example, parser

svmlight = parser("svmlight")


def table(text, **options):
    """The examples of a whole CSV text."""
    parse = parser("csv", **options)
    return [example for line in text.encode("utf-8", "surrogateescape").split(b"\n") if (example := parse(line))]


@pytest.mark.parametrize("line, label, fields", [
    (b"+1 1:1 7:0.5", 1, [("f=1", 1.0), ("f=7", 0.5)]),
    (b"-1 qid:3 0:2 # 5:1", -1, [("f=0", 2.0)]),
    (b"0 007:1", -1, [("f=7", 1.0)]),
    (b"1.0 3:0 4:1e-60 5:-.5e1", 1, [("f=5", -5.0)]),
    (b" -1\t2:1 ", -1, [("f=2", 1.0)]),
    (b"1", 1, []),
    (b"1#2:1", 1, []),
])
def test_svmlight_lines(line, label, fields):
    assert svmlight(line) == Example(label, 1.0, 0.0, "", [("f", fields)])


@pytest.mark.parametrize("line", [b"", b"  \t", b"# only a comment", b"  # qid"])
def test_svmlight_lines_without_an_example(line):
    assert svmlight(line) is None


@pytest.mark.parametrize("line, column, words", [
    (b"2 1:1", 1, "label '2' is not one of -1, 1 and 0"),
    (b"1:1 2:1", 1, "label '1:1' is not a decimal number"),
    (b"nan 1:1", 1, "finite"),
    (b"1 3:1 3:1", 7, "index 3 follows index 3"),
    (b"1 3:1 2:1", 7, "ascend"),
    (b"1 -3:1", 3, "whole number"),
    (b"1 x:1", 3, "'x:1'"),
    (b"1 3", 3, "index:value"),
    (b"1 3:", 5, "value of index 3 ''"),
    (b"1 3:inf", 5, "finite"),
    (b"1 3:1:2", 5, "'1:2'"),
    (b"1 qid:x 3:1", 7, "qid 'x'"),
    (b"1 3:1 qid:2", 7, "'qid:2'"),
    (b"1 3:1 \xff:1", 7, "whole number"),
    (b"1 1234567890123456789:1", 3, "whole number"),
    ("1 ١:1".encode(), 3, "whole number"),
])
def test_svmlight_malformed_lines_say_where(line, column, words):
    with pytest.raises(FormatError) as caught:
        svmlight(line)
    assert caught.value.column == column and words in caught.value.reason


def test_svmlight_agrees_with_scikit_learn(tmp_path):
    datasets = pytest.importorskip("sklearn.datasets")
    numpy = pytest.importorskip("numpy")
    random = numpy.random.default_rng(0)
    X, y = random.normal(size=(20, 9)) * (random.random((20, 9)) < 0.4), random.choice([-1, 1], 20)
    path = str(tmp_path / "x.svmlight")
    datasets.dump_svmlight_file(X, y, path, zero_based=True, query_id=numpy.arange(20) // 5, comment="three\nlines")
    with open(path, "rb") as file:
        examples = [example for line in file if (example := svmlight(line.rstrip(b"\n")))]
    assert [example.label for example in examples] == list(y)
    for row, example in zip(X, examples):
        assert dict(example.fields[0][1]) == pytest.approx({f"f={i}": x for i, x in enumerate(row) if x})


HEAD = "id,y,weight,user,age\n"


@pytest.mark.parametrize("line, expected", [
    ("e1,1,0.5,ann,31", Example(1, 0.5, 0.0, "e1", [("user", [("user=ann", 1.0)]), ("age", [("age", 31.0)])])),
    ("e1,-1,,ann,", Example(-1, 1.0, 0.0, "e1", [("user", [("user=ann", 1.0)])])),
    (",,,,0", Example(None, 1.0, 0.0, "", [("age", [])])),
    ('"e,1",true,1,"a ""b"" c",-1e3', Example(1, 1.0, 0.0, "e,1", [("user", [('user=a "b" c', 1.0)]), ("age", [("age", -1000.0)])])),
    ("e, 0 ,1, ann , 7 ", Example(-1, 1.0, 0.0, "e", [("user", [("user= ann ", 1.0)]), ("age", [("age", 7.0)])])),
    ("é,FALSE,1,ü,1\r", Example(-1, 1.0, 0.0, "é", [("user", [("user=ü", 1.0)]), ("age", [("age", 1.0)])])),
])
def test_csv_rows(line, expected):
    text = (HEAD + line).replace("\r", "")
    assert table(text) == [expected]


def test_csv_names_of_columns_and_strings():
    text = "click,w,event,zip,y\n1,2,e,00501,red\n"
    assert table(text, label="click", weight="w", id="event", strings=["zip"]) == [
        Example(1, 2.0, 0.0, "e", [("zip", [("zip=00501", 1.0)]), ("y", [("y=red", 1.0)])])]


def test_csv_a_columns_first_cell_decides():
    text = "y,a,b\n1,,x\n1,3,4\n"
    assert [example.fields for example in table(text)] == [
        [("b", [("b=x", 1.0)])], [("a", [("a", 3.0)]), ("b", [("b=4", 1.0)])]]
    parse = parser("csv")
    for line in (b"y,a,b", b"1,9,9,9", b"1,x,y"):       # the malformed line has not made column a numeric
        try:
            parse(line)
        except FormatError:
            pass
    assert parse(b"1,5,z").fields[0] == ("a", [("a=5", 1.0)])


@pytest.mark.parametrize("lines, column, words", [
    (["a,,y"], 3, "empty name"),
    (["a,y,a"], 5, "'a' twice"),
    (["y,a", "1"], 2, "1 cells, expected 2"),
    (["y,a", "1,2,3"], 6, "3 cells"),
    (["y,a", "2,x"], 1, "label '2'"),
    (["a,y", "b,yes"], 3, "label 'yes'"),
    (["y,weight", "1,-2"], 3, "negative"),
    (["y,weight", "1,heavy"], 3, "weight 'heavy' is not a decimal number"),
    (["y,a", "1,5", "1,n/a"], 3, "'n/a' in the numeric column 'a'"),
    (["y,b,a", '1,"x,y",5', '1,"x,y",1e99'], 9, "up to 1e+50"),
    (["y,a", '1,"open'], 3, "line end inside quotes"),
    (["y,a", '1,"x"z'], 3, "not CSV"),
    (["y,a", "1,x\ry"], 1, "not CSV"),
])
def test_csv_malformed_lines_say_where(lines, column, words):
    parse = parser("csv")
    with pytest.raises(FormatError) as caught:
        for line in lines:
            parse(line.encode())
    assert words in caught.value.reason and caught.value.column == column


def test_csv_bytes_and_missing_string_columns():
    parse = parser("csv")
    parse(b"y,a")
    with pytest.raises(FormatError, match=":1:4: the bytes are no valid UTF-8"):
        parse(b"1,x\xff")
    with pytest.raises(FormatError, match="no column 'zip'.*the header has y, a"):
        parser("csv", strings=["zip"])(b"y,a")


CELL = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"), min_size=1, max_size=6).filter(str.strip)


@given(st.lists(st.tuples(st.sampled_from(["1", "-1"]), CELL, st.floats(-1e40, 1e40)), min_size=1, max_size=5))
def test_csv_round_trip(rows):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("y", "a", "n"), *rows])
    made = table(file.getvalue(), strings=["a"])
    assert [(example.label, example.fields) for example in made] == [
        (int(y), fields_of({"a": a, "n": n})) for y, a, n in rows]


@given(st.sampled_from(["csv", "svmlight"]), st.lists(st.binary(max_size=30) | st.text('1,:"# ay-', max_size=20).map(str.encode)))
def test_any_bytes_give_an_example_or_say_where_not(format, lines):
    parse = parser(format)
    for line in lines:
        try:
            example = parse(line)
        except FormatError as error:
            assert 1 <= error.column <= len(line) + 1
        else:
            assert example is None or isinstance(example, Example)


def test_models_learn_from_both(tmp_path):
    model = HingeSVM(rule="pa")
    assert model.learn_lines(b"1 3:1\n-1 4:1\n1 4:x\n", format="svmlight").malformed == 1
    assert model.weights["f=3"] > 0 > model.weights["f=4"]
    path = tmp_path / "x.csv"
    path.write_text("click,user\n1,ann\n-1,bob\n1\n")
    other = HingeSVM(rule="pa")
    totals = other.learn_file(path, format="csv", label="click")
    assert (totals.examples, totals.malformed) == (2, 1) and other.weights["user=ann"] > 0
    with pytest.raises(FormatError, match=f"{path}:4:2: 1 cells"):
        HingeSVM().learn_file(path, format="csv", label="click", strict=True)
