"""Buckets, scaling and n-grams: their rules, that predictions change nothing, and that a save loses nothing."""
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear import FeatureError, HingeSVM, ModelFileError
from linear.features import fields_of
from linear.formats import parser
from linear.prepare import SETTLED, Preparation, Prepared, character_runs, word_runs

VALUES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 8), min_size=1, max_size=30)


def learned(preparation, values, field="a"):
    for value in values:
        preparation.learn(fields_of({field: value}))
    return preparation


def keys(preparation, **x):
    return [key for _, part in preparation.apply(fields_of(x)) for key, _ in part]


@pytest.mark.parametrize("value, bucket", [(-5, "..0"), (0, "0..2.5"), (2.4, "0..2.5"), (2.5, "2.5..10"), (10, "10.."), (1e9, "10..")])
def test_given_edges(value, bucket):
    assert keys(Preparation(buckets=["a:0/2.5/10"]), a=value, b="x") == [f"a={bucket}", "b=x"]


def test_equal_widths_divide_the_range_so_far_and_then_stay():
    preparation = Preparation(buckets="a:4")
    assert keys(preparation, a=7) == ["a=0/4"]                  # one value has no range
    learned(preparation, [0, 8])
    assert [keys(preparation, a=value) for value in (0, 1.9, 2, 7.9, 8)] == [["a=0/4"], ["a=0/4"], ["a=1/4"], ["a=3/4"], ["a=3/4"]]
    assert keys(preparation, a=16) == ["a=3/4"] and keys(preparation, a=8) == ["a=3/4"]     # a prediction widens nothing
    learned(preparation, [4] * (SETTLED - 2))
    learned(preparation, [1000, -1000])                         # the range has settled
    assert [keys(preparation, a=value) for value in (-1000, 2, 1000)] == [["a=0/4"], ["a=1/4"], ["a=3/4"]]


@given(VALUES, st.integers(-1000, 1000))
def test_scaling_is_by_mean_and_deviation_of_all_values_the_present_one_included(values, value):
    preparation = learned(Preparation(scale=["a"]), values)
    z = dict(preparation.apply(fields_of({"a": value}))[0][1]).get("a", 0.0)
    everything = [*values, value]
    deviation = statistics.pstdev(everything)
    assert z == pytest.approx((value - statistics.fmean(everything)) / deviation if deviation else 0.0, abs=1e-9)
    assert abs(z) <= math.sqrt(len(everything))


def test_scaling_survives_a_large_mean_and_constant_values():
    preparation = learned(Preparation(scale=["a"]), [1e9 + value for value in (4, 7, 13, 16)])
    mean_and_squares = preparation.moments["a"]
    assert mean_and_squares == (4, 1e9 + 10, 90.0)
    assert keys(learned(Preparation(scale=["a"]), [0.1] * 9), a=0.1) == []


def test_runs_of_words_and_characters():
    assert word_runs(["Free  PRIZE, free prize"], 1) == ["free", "prize", ","]
    assert word_runs(["a b"], 5) == ["a", "b", "a b"]
    assert word_runs(["£5"], 2) == ["£", "5", "£ 5"]
    assert character_runs(["ab\t c"], 3) == [" ab", "ab ", "b c", " c "]
    assert character_runs([""], 2) == ["  "] and character_runs(["a"], 9) == []


def test_both_kinds_of_runs_of_one_field_and_escapes():
    preparation = Preparation(ngrams="t:1,t:c2")
    made = preparation.apply(fields_of({"t": "2*3"}))
    assert made == [("t", [("t=2", 1.0), (r"t=\*", 1.0), ("t=3", 1.0)]),
                    ("t.c2", [("t.c2= 2", 1.0), (r"t.c2=2\*", 1.0), (r"t.c2=\*3", 1.0), ("t.c2=3 ", 1.0)])]


def test_vw_text_is_prepared_too():
    example = parser("vw")(b"1 |price :7.5 |text Free prize\\*now")
    preparation = Preparation(buckets=["price:5/10"], ngrams=["text:2"])
    assert [key for _, part in preparation.apply(example.fields) for key, _ in part] == [
        "price=5..10", "text=free", "text=prize", r"text=\\", r"text=\*", "text=now",
        "text=free prize", r"text=prize \\", r"text=\\ \*", r"text=\* now"]


def test_a_zero_counts_and_an_absent_field_does_not():
    preparation = Preparation(buckets=["a:-1/1"], scale=["b"])
    preparation.learn(fields_of({"b": 0}))
    preparation.learn(fields_of({}))
    preparation.learn(fields_of({"b": None}))
    assert preparation.moments["b"][0] == 1
    assert keys(preparation, a=0) == ["a=-1..1"] and keys(preparation) == []


@pytest.mark.parametrize("options, words", [
    ({"buckets": "price"}, "buckets 'price'"), ({"buckets": "price:1"}, "2 to 10000"), ({"buckets": "price:3/1"}, "ascend"),
    ({"buckets": "price:0/inf"}, "ascend"), ({"buckets": "price:1.5"}, "price:1.5"), ({"buckets": ":5"}, "':5'"),
    ({"ngrams": "text"}, "n-grams 'text'"), ({"ngrams": "text:0"}, "1 to 20"), ({"ngrams": "text:cx"}, "text:cx"),
    ({"buckets": "a:5", "scale": "b,a"}, "'a' is both"),
])
def test_bad_declarations(options, words):
    with pytest.raises(FeatureError, match=words):
        Preparation(**options)


@pytest.mark.parametrize("value", ["high", ["1", "2"], True])
def test_a_field_that_is_no_number_is_named(value):
    model = Prepared(HingeSVM(), scale=["a"])
    with pytest.raises(FeatureError, match="field 'a' is declared to be a number, got 'a=") as caught:
        model.learn_one({"a": value}, 1)
    assert caught.value.field == "a" and model.preparation.moments["a"][0] == 0 and not model.weights


def stream(n, seed=0):
    chance = random.Random(seed)
    for _ in range(n):
        age, height = chance.randrange(90), chance.gauss(170, 10)
        yield {"age": age, "height": height, "text": chance.choice(["tea time", "Tea, please", "no"])}, 18 <= age < 40


def test_prepared_learns_what_a_number_alone_cannot_say():
    plain, made = HingeSVM(), Prepared(HingeSVM(crosses="age*text"), buckets="age:9", scale="height", ngrams="text:2")
    right = [0, 0]
    for x, y in stream(600):
        for place, model in enumerate((plain, made)):
            right[place] += (model.predict_one(x) == 1) == y
            model.learn_one(x, y)
    assert right[1] > 480 > right[0]        # chance is 0.76 of 600: most are outside 18..40


def test_save_load_and_go_on_gives_the_bits_of_an_uninterrupted_run(tmp_path):
    options = {"buckets": ["age:9"], "scale": ["height"], "ngrams": ["text:2"]}
    whole, part = (Prepared(HingeSVM(crosses="age*text"), **options) for _ in range(2))
    rows = list(stream(60))
    for x, y in rows[:25]:
        part.learn_one(x, y)
    part.save(tmp_path / "m")
    part = Prepared.load(tmp_path / "m")
    for number, (x, y) in enumerate(rows):
        whole.learn_one(x, y)
        if number >= 25:
            part.learn_one(x, y)
    assert part.preparation.state() == whole.preparation.state() and dict(part.weights) == dict(whole.weights)
    assert part.options == whole.options
    whole.save(tmp_path / "a"), part.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ModelFileError):
        HingeSVM.load(tmp_path / "m")
    HingeSVM().save(tmp_path / "plain")
    with pytest.raises(ModelFileError, match="of kind 'HingeSVM', expected 'Prepared'"):
        Prepared.load(tmp_path / "plain")


def test_predictions_change_nothing():
    model = Prepared(HingeSVM(), buckets="age:9", scale="height")
    for x, y in stream(30):
        model.learn_one(x, y)
    before = model.preparation.state().copy(), dict(model.weights)
    margins = [model.margin_one({"age": 200, "height": 900}) for _ in range(2)]
    assert margins[0] == margins[1] and (model.preparation.state(), dict(model.weights)) == before


def test_labels_are_checked():
    with pytest.raises(ValueError, match="label 2"):
        Prepared(HingeSVM()).learn_one({"a": "b"}, 2)
