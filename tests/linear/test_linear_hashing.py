"""The hashes: fixed vectors, the compiled form against the pure one, and decimal numbers against Python's float()."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

import linear
from linear.features import expand, fields_of, parse_crosses
from linear.hashing import HASH64_ID, S, cross64, hash64, murmur3, octets, vw_hash
from linear.kernels import crosses as loops
from linear.kernels import hashes, numbers
from linear.kernels.bits import pointer
from linear.keys import Keys64, KeysVW, members_of
from linear.keys import expand as expand_keys

fixed = settings(deadline=None, derandomize=True, database=None, max_examples=300)
WORD = st.binary(max_size=40).map(lambda data: bytes(c for c in data if c > 32 and c not in b":|"))


@njit(error_model="numpy")
def scanned(text, seed):
    return hashes.scan(pointer(text), 0, seed)


@njit(error_model="numpy")
def vw_hashed(text, end, seed, all_):
    return hashes.vw_hash(pointer(text), 0, end, seed, all_)


@njit(error_model="numpy")
def numbered(text):
    return numbers.number(pointer(text), 0)


@njit(error_model="numpy")
def crossed(a, b, c, ab, bc):
    return hashes.cross64(a, b), loops.triple(a, b, c, ab, bc, np.uint64(0))


def padded(data):
    return np.frombuffer(data + b" " + b"\xff" * 16, np.uint8)


@pytest.mark.parametrize("data, seed, expected", [
    (b"", S, 0x7e676516fc7916eb), (b"user", S, 0xd5a59ea7ae0dd791), (b"Constant", hash64(b""), 0x35c1909549100a39),
    (b"u1", hash64(b"user"), 0x3d147efba49725c3), (b"1234567", 0, 0x63d98701614e3274), (b"12345678", 0, 0x794eaaf5a55b217), (b"123456789", 0, 0x29d45b801c220e9c),
    ("h\u00e9llo".encode(), 7, 0xa61af02ceb4cf978),
])
def test_vectors_of_the_64_bit_hash(data, seed, expected):
    """Who changes one of these numbers has to change HASH64_ID: every model file made so far speaks of the old ones."""
    assert hash64(data, seed) == expected and HASH64_ID == "linear-hash64-1"


def test_vectors_of_crosses():
    a, b = hash64(b"u1", hash64(b"user")), hash64(b"a", hash64(b"tags"))
    assert cross64(a, b) == 0x6ad605e67180481e and cross64(b, a) == 0x9362876b031639c2
    keys = Keys64()
    assert keys.of("user=u1*tags=a") == cross64(a, b)
    assert keys.of("user=u1*tags=a*age") == cross64(cross64(a, b), keys.of("age"))


@pytest.mark.parametrize("data, seed, expected", [
    (b"", 0, 0), (b"", 1, 0x514E28B7), (b"hello", 0, 0x248BFA47), (b"hello, world", 0, 0x149BBB7F),
    (b"The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
])
def test_vectors_of_murmur3(data, seed, expected):
    assert murmur3(data, seed) == expected


@pytest.mark.parametrize("text, bits, expected", [
    ("feature", 18, 118880), ("namespace=feature", 18, 242309), ("u=u3", 22, 722504), ("t=t5", 22, 2296496),
    ("u=u3*t=t5", 22, 3795432), ("Constant", 22, 3261788), ("u=17", 18, 15089), ("a b=17", 18, 49038), ("u=4294967299", 18, 15075),
    ("12=17", 18, 29), ("u=\x01x", 18, 21797), ("u=-5", 18, 3352),
])
def test_vws_indices(text, bits, expected):
    assert KeysVW(bits).of(text) == expected


def test_vw_hash_all_and_nameless_features():
    strings, all_ = KeysVW(18), KeysVW(18, all_=True)
    assert strings.of("u=3") == strings.of("u=:3") == (vw_hash(b"u") + 3) % 2 ** 18
    assert all_.of("u=3") == murmur3(b"3", murmur3(b"u")) % 2 ** 18 != all_.of("u=:3") == (murmur3(b"u") + 3) % 2 ** 18
    assert strings.of("u=color:red") == murmur3(b"red", murmur3(b"color", murmur3(b"u"))) % 2 ** 18
    assert vw_hash(b"7" * 5000, 1) == (int("7" * 4000) * 10 ** 1000 + int("7" * 1000) + 1) % 2 ** 32


@given(WORD, st.integers(0, 2 ** 64 - 1))
@example(b"", 0)
@example(b"12345678", 5)
@fixed
def test_the_compiled_hash_is_the_same(word, seed):
    assert scanned(padded(word), np.uint64(seed)) == (len(word), hash64(word, seed))


@given(WORD | st.integers(0, 10 ** 30).map(lambda n: b"%d" % n), st.integers(0, 2 ** 32 - 1), st.booleans())
@fixed
def test_the_compiled_vw_hash_is_the_same(word, seed, all_):
    assert vw_hashed(padded(word), len(word), np.uint64(seed), all_) == vw_hash(word, seed, digits=not all_)


@given(st.lists(st.integers(1, 2 ** 64 - 1), min_size=3, max_size=3), st.booleans(), st.booleans())
@fixed
def test_compiled_crosses_are_the_same(keys, ab, bc):
    letters = ["a", "a" if ab else "b", "" if not bc else "a" if ab else "b"]
    pair, three = crossed(*map(np.uint64, keys), ab, bc)
    assert pair == cross64(*keys[:2]) and three == Keys64().cross(list(zip(letters, keys)))


@given(st.integers(0, 10 ** 25), st.integers(-400, 400), st.sampled_from(["{0}e{1}", "-{0}E{1}", "+{0}", "{0}.", "0.000{0}e{1}", "{0}.{0}"]))
@example(9007199254740993, 0, "{0}")
@example(9007199254740993, 22, "{0}e{1}")
@example(5, -324, "{0}e{1}")
@example(123456789012345678, -50, "{0}e{1}")
@fixed
def test_a_number_is_what_float_says_or_left_to_python(digits, power, form):
    text = form.format(digits, power).encode()
    end, value = numbered(padded(text))
    if end >= 0:
        assert end == len(text) and np.float64(value).tobytes() == np.float64(float(text)).tobytes()


@given(st.floats(1e-45, 1e45))
@fixed
def test_numbers_as_python_writes_them_are_read_at_once(number):
    end, value = numbered(padded(repr(number).encode()))
    assert end > 0 and value == number


@pytest.mark.parametrize("text", [b"", b"-", b".", b"e5", b"1e", b"1e+", b"x", b"+-1", b"\xb21"])
def test_what_is_no_number(text):
    assert numbered(padded(text))[0] == -1


@given(st.dictionaries(st.text("ab*=\\:", min_size=1, max_size=3), st.lists(st.text("cd*=\\: \udc80\u00e9", max_size=3), max_size=3), max_size=4))
@fixed
def test_keys_of_crosses_come_from_names_or_from_keys(x):
    crosses, keys = parse_crosses(["-q ab", "-q aa", "-q ::", "a*b", "a*a*b"]), Keys64()
    fields = fields_of(x)
    assert expand_keys(fields, crosses, True, keys) == [(keys.of(text), value) for text, value in expand(fields, crosses, True)]
    for field, part in fields:
        for text, _ in part:
            assert len(members_of(text)) == 1


def test_names_that_are_no_utf8():
    assert octets("\udcff") == b"\xff" and octets("\ud800") == b"\xed\xa0\x80"
    assert Keys64().of("u=\udcff") == hash64(b"\xff", hash64(b"u"))


def test_equal_names_in_all_formats_are_one_feature():
    model = linear.HingeSVM(crosses="u*t")
    model.learn_lines("1 |u \u00e9 |t a:0.5\n")
    model.learn_lines(b'{"y":1,"u":"\\u00e9","t":{"a":0.5}}\n', format="jsonl")
    model.learn_one({"u": "\u00e9", "t": {"a": 0.5}}, 1)
    assert len(model.weights) == 4


def test_keys_do_not_depend_on_the_hash_seed():
    code = ("import linear; m = linear.HingeSVM(crosses='u*t'); m.learn_lines(b'1 |u a |t b c'); "
            "m.learn_one({'u': 'x', 't': ['y']}, -1); import json; print(json.dumps(sorted(m.weights)))")
    root = str(Path(linear.__file__).parents[1])
    seen = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120,
                           env={**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": seed}).stdout for seed in ("0", "77")}
    assert len(seen) == 1 and len(json.loads(seen.pop())) == 9
