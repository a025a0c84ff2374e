"""Fields to features: kinds of values, keys, crosses."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear.features import FeatureError, Cross, expand, feature_key, fields_of, parse_crosses

fixed = settings(deadline=None, derandomize=True, database=None, max_examples=150)
ODD = st.text(alphabet="ab=*\\:é", max_size=5)


def features(x, crosses=(), constant=False):
    return expand(fields_of(x), parse_crosses(crosses), constant)


@pytest.mark.parametrize("x, expected", [
    ({"user": "u1"}, [("user=u1", 1.0)]),
    ({"age": 3}, [("age", 3.0)]),
    ({"age": -0.5}, [("age", -0.5)]),
    ({"age": 0}, []),
    ({"age": 1e-60}, []),
    ({"tags": ["a", "b", "a"]}, [("tags=a", 1.0), ("tags=b", 1.0), ("tags=a", 1.0)]),
    ({"tags": ()}, []),
    ({"words": {"spam": 2, "ham": 0.0}}, [("words=spam", 2.0)]),
    ({"new": True, "old": False}, [("new=True", 1.0), ("old=False", 1.0)]),
    ({"city": None, "user": ""}, [("user=", 1.0)]),
    ({"": "bare"}, [("bare", 1.0)]),
    ({"a=b": "x*y\\z"}, [("a\\=b=x\\*y\\\\z", 1.0)]),
    ({"n": "3"}, [("n=3", 1.0)]),
])
def test_kinds_of_values(x, expected):
    assert features(x) == expected


def test_numbers_of_other_libraries():
    numpy = pytest.importorskip("numpy")
    x = {"a": numpy.float32(0.5), "b": numpy.int64(2), "c": numpy.bool_(True), "d": {"e": numpy.float64(3)}}
    assert features(x) == [("a", 0.5), ("b", 2.0), ("c=True", 1.0), ("d=e", 3.0)]


@pytest.mark.parametrize("x, field", [
    ({"ok": 1, "bad": {"a", "b"}}, "bad"),
    ({"bad": [1, 2]}, "bad"),
    ({"bad": ["a", None]}, "bad"),
    ({"bad": {"a": "b"}}, "bad"),
    ({"bad": {"a": True}}, "bad"),
    ({"bad": b"bytes"}, "bad"),
    ({"bad": float("nan")}, "bad"),
    ({"bad": float("-inf")}, "bad"),
    ({"bad": 1e51}, "bad"),
    ({"bad": 10 ** 400}, "bad"),
    ({"bad": {"a": float("inf")}}, "bad"),
    ({7: "a"}, 7),
])
def test_other_values_are_refused_by_name(x, field):
    with pytest.raises(FeatureError, match=str(field)) as caught:
        fields_of(x)
    assert caught.value.field == field


def test_an_example_is_a_dictionary():
    with pytest.raises(FeatureError, match="dictionary of fields, got list"):
        fields_of([("a", 1)])


@given(st.tuples(ODD, ODD), st.tuples(ODD, ODD))
@fixed
def test_different_features_have_different_keys(one, two):
    # a nameless field and a number share the family of bare names, so (field, "") is compared as it is
    assert (feature_key(*one) == feature_key(*two)) == (one == two)


@given(st.lists(st.tuples(ODD.filter(bool), ODD), min_size=2, max_size=2),
       st.lists(st.tuples(ODD.filter(bool), ODD), min_size=1, max_size=3))
@fixed
def test_a_cross_is_no_other_cross_and_no_plain_feature(pair, other):
    key = "*".join(feature_key(*part) for part in pair)
    assert (key == "*".join(feature_key(*part) for part in other)) == (pair == other)


def test_crosses_multiply_values_and_skip_absent_fields():
    x = {"user": "u1", "age": 3, "tags": {"a": 0.5, "b": 2}}
    assert features(x, "user*tags,age*tags,user*city,user*age*tags")[4:] == [
        ("user=u1*tags=a", 0.5), ("user=u1*tags=b", 2.0), ("age*tags=a", 1.5), ("age*tags=b", 6.0),
        ("user=u1*age*tags=a", 1.5), ("user=u1*age*tags=b", 6.0)]


@pytest.mark.parametrize("n", range(5))
def test_a_field_with_itself_gives_unordered_pairs_with_the_self_pair(n):
    tags = [f"t{i}" for i in range(n)]
    pairs = features({"tags": tags}, "tags*tags")[n:]
    assert len(pairs) == n * (n + 1) // 2
    assert sorted(pairs) == sorted(features({"tags": tags[::-1]}, "tags*tags")[n:])
    assert len(features({"tags": tags}, "tags*tags*tags")[n:]) == n * (n + 1) * (n + 2) // 6


def test_a_field_named_twice_is_grouped():
    keys = [key for key, _ in features({"a": "x", "b": "y"}, "a*b*a")]
    assert keys == ["a=x", "b=y", "a=x*a=x*b=y"]


def test_first_letters_join_fields_as_in_vw():
    x = {"user": "u1", "uhr": "9", "tags": ["a"]}
    keys = [key for key, _ in features(x, ["-q ut", "-q uu"])][3:]
    assert keys == ["user=u1*tags=a", "uhr=9*tags=a", "user=u1*user=u1", "uhr=9*user=u1", "uhr=9*uhr=9"]
    assert len(features(x, "u*t")) == 3


def test_the_colon_stands_for_any_letter_whatever_the_order():
    x = {"b": "1", "a": "2"}
    keys = {key for key, _ in features(x, ["-q a:"])[2:]}
    assert keys == {"a=2*a=2", "a=2*b=1"}
    assert {key for key, _ in features(x, ["-q ::"])[2:]} == keys | {"b=1*b=1"}
    assert features({"a": "2", "b": "1"}, ["-q ::"])[2:] == features(x, ["-q ::"])[2:]


def test_the_order_of_spelled_out_crosses_is_fixed():
    x = {letter: letter.upper() for letter in "dacb"}
    plain, crossed = [f"{letter}={letter.upper()}" for letter in "abcd"], features(x, ["-q ::"])[4:]
    assert crossed == [(f"{one}*{two}", 1.0) for i, one in enumerate(plain) for two in plain[i:]]


def test_the_blank_is_the_letter_of_the_nameless_field():
    assert features({"": "bare", "t": "a"}, ["-q  t"])[2:] == [("bare*t=a", 1.0)]


def test_crosses_that_vanish_or_overflow():
    assert features({"a": 1e-30, "b": 1e-30}, "a*b,a*a")[2:] == []
    with pytest.raises(FeatureError, match=r"'a\*b'"):
        features({"a": 1e30, "b": 1e30}, "a*b")


def test_cross_declarations():
    assert parse_crosses(" a * b ,c*d*e") == (Cross(("a", "b")), Cross(("c", "d", "e")))
    assert parse_crosses([("x*y", "z"), "-q ab"]) == (Cross(("x*y", "z")), Cross(("a", "b"), by_letter=True))
    assert parse_crosses(()) == ()


@pytest.mark.parametrize("crosses, words", [
    ("a", "two fields"), (["-q u"], "two fields"), ([("a",)], "two fields"), ("a**b", "empty name"), ("", "empty name"),
    ("a*b,b*a", "twice"), (["-q ut", "-q ut"], "twice"), ([("a", 3)], "two fields"),
])
def test_bad_cross_declarations(crosses, words):
    with pytest.raises(FeatureError, match=words):
        parse_crosses(crosses)


def test_the_constant_comes_last_and_can_be_off():
    assert features({"a": "x"}, constant=True) == [("a=x", 1.0), ("Constant", 1.0)]
    assert features({"a": "x"}) == [("a=x", 1.0)]
