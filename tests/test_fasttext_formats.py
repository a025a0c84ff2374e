"""Vectors in other files: word2vec's text and binary, bundles of two, float16; which kind a file is; what is wrong with it."""
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_fasttext import model_bytes, models, same  # noqa: F401  (models is a fixture)
from tinygrad_lite.vectors import FastText, FormatError, SubwordVectors, Subwords, WordVectors, load, save_bundle, save_text, save_word2vec
from tinygrad_lite.vectors.words import decoded

WORD = st.binary(min_size=1, max_size=9).filter(lambda w: not set(w) & set(b" \n\r\t\v\f\0\x1c\x1d\x1e\x1f\x85")).map(decoded)
FLOAT = st.floats(width=32)


@pytest.mark.parametrize("save", [save_text, save_word2vec])
@given(st.lists(WORD.filter(lambda w: all(b > 31 for b in w.encode("utf-8", "surrogateescape"))), min_size=1, max_size=5, unique=True),
       st.integers(1, 4), st.data())
def test_round_trip(save, tmp_path_factory, words, dim, data):
    path = tmp_path_factory.mktemp("vectors") / "some.vec"
    rows = np.array(data.draw(st.lists(st.lists(FLOAT, min_size=dim, max_size=dim), min_size=len(words), max_size=len(words))), np.float32)
    if save is save_word2vec and not (rows.view("u1").reshape(len(rows), -1)[0] < 9).any():
        rows[0, 0] = 0                                                  # what no text has: see test_text_or_binary
    save(WordVectors(words, rows), path)
    again = load(path)
    assert type(again) is WordVectors and again.words == words and np.array_equal(again.vectors, rows, equal_nan=True)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text, words, row", [
    ("2 3\na 1 2 3\nb 4 5 6\n", ["a", "b"], [4, 5, 6]), ("2 3\na 1 2 3 \nb 4 5 6 ", ["a", "b"], [4, 5, 6]),
    ("a 1 2\nb 4e-1 -5\n", ["a", "b"], [0.4, -5]), ("1 1\nnew york 7\n", ["new york"], [7]), ("1 2\r\nb nan inf\r\n", ["b"], [np.nan, np.inf])])
def test_kinds_of_text(tmp_path, text, words, row):
    """With and without a first line (GloVe), with a blank at the end (fastText), with blanks in words."""
    path = tmp_path / "v.vec"
    path.write_bytes(text.encode())
    v = load(path)
    assert v.words == words and np.array_equal(v.vectors[-1], np.array(row, "f"), equal_nan=True) and v.vectors.dtype == np.float32
    with pytest.raises(KeyError, match=f"'zebra' is none of the {len(words)} words"):
        v["zebra"]


def binary(words, vectors, end=b"\n", count=None):
    return b"%d %d\n" % (count or len(words), vectors.shape[1]) + b"".join(w + b" " + r.astype("<f4").tobytes() + end for w, r in zip(words, vectors))


@pytest.mark.parametrize("end", [b"\n", b""])
def test_word2vec_with_and_without_line_ends(tmp_path, end):
    path, rows = tmp_path / "v.bin", np.random.default_rng(0).normal(size=(3, 5)).astype("f")
    path.write_bytes(binary([b"a", b"\xff\xfe", "ö".encode()], rows, end))
    v = load(path)
    assert v.words == ["a", "\udcff\udcfe", "ö"] and same(v.vectors, rows) and same(v[b"\xff\xfe"], rows[1])


@pytest.mark.parametrize("data, at, message", [
    (b"2 2\na 1 2\n", 10, "ends after 1 words, expected 2"), (b"1 2\na 1 2\nb 3 4\n", 16, "ends after 2 words, expected 1"),
    (b"2 2\na 1 2\nb 1\n", 10, "word 1: the line ends with b'b 1\\n', expected 2 numbers"), (b"a 1 2\nb 1 x\n", 6, "expected 2 numbers"),
    (b"9 900\na 1 2\n", 0, "9 words of dim 900 do not fit the 12 bytes"), (b"1 0\na\n", 0, "1 words of dim 0"), (b"word\n", 0, "the first line is b'word\\n', expected a word and numbers"),
    (b"", 0, "ends after 0 words"), (binary([b"a"], np.zeros((1, 3)), count=2), 19, "word 1 of 2 has no end"),
    (binary([b"a"], np.zeros((1, 3)))[:-3], 4, "word 0 of 1 has no end"), (binary([b"a"], np.zeros((1, 3))) + b"more", 18, "goes on behind its 1 words")])
def test_damaged(tmp_path, data, at, message):
    path = tmp_path / "v"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        load(path)
    assert message in str(caught.value) and caught.value.offset == at


@pytest.mark.parametrize("save", [save_text, save_word2vec])
@pytest.mark.parametrize("word", ["", "a b", "a\nb"])
def test_words_that_the_formats_cannot_hold(tmp_path, save, word):
    with pytest.raises(ValueError, match="has a space, a line's end or nothing in it"):
        save(WordVectors(["fine", word], np.ones((2, 2), "f")), tmp_path / "v")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- bundles

OTHERS = ["kingdm", "", "</s>", "ünheard", b"\xff\xfe", "a b"]


@pytest.mark.parametrize("name", ["sg_en.bin", "cbow_mixed.bin", "sg_nosub.bin", "no_eos.bin", "bytes_words.bin", "pruned_p1.ftz", "pruned_p2.ftz", "pruned_p5.ftz"])
def test_a_bundle_opens_alone(name, models, tmp_path):  # noqa: F811
    fx = FastText.open(models / name)
    paths = save_bundle(fx, str(tmp_path / "b"))
    assert sorted(map(str, tmp_path.iterdir())) == sorted(paths) and len(paths) == 2
    for path in (*paths, tmp_path / "b"):
        again = load(path)
        assert type(again) is SubwordVectors and again.words == fx.words and same(again.vectors, fx.vectors)
        words = [*fx.words[:50], *OTHERS]
        assert same(again.batch(words), fx.batch(words)) and same(again["abab"], fx["abab"])
        assert again.subword.ngrams("kingdm") == fx.subword.ngrams("kingdm")
    assert not again.vectors.flags.writeable and again.neighbours("kingdm", 3) == fx.neighbours("kingdm", 3)
    save_bundle(again, str(tmp_path / "c"))                             # a bundle of a bundle is the same
    for kind in (".words.safetensors", ".ngrams.safetensors"):
        assert (tmp_path / f"c{kind}").read_bytes() == (tmp_path / f"b{kind}").read_bytes()


@pytest.mark.parametrize("name", ["sg_en.bin", "cbow_mixed.bin", "pruned_p1.ftz"])
def test_a_bundle_of_some_words(name, models, tmp_path):  # noqa: F811
    fx, words = FastText.open(models / name), ["the", "größer", b"the", "unheard-of"]
    save_bundle(fx, str(tmp_path / "b"), words=words)
    some = load(tmp_path / "b")
    assert some.words == ["the", "größer", "unheard-of"] and same(some.vectors, fx.batch(some.words))
    used = fx.subword.used(some.words)
    assert list(some.subword.used(some.words)) == list(used) and len(some.matrix) == len(set(used.values()))
    pieces, rows = some.subword.used(["heard"]), fx.subword.used(["heard"])
    kept = [fx.matrix[[fx.first + row]][0] for piece, row in rows.items() if piece in pieces]
    assert 0 < len(kept) and len(pieces) <= len(rows) and np.allclose(some["heard"], np.mean(kept, axis=0), atol=1e-6)


def test_float16_halves_a_bundle(models, tmp_path):  # noqa: F811
    fx = FastText.open(models / "sg_en.bin")
    whole, half = ([os.path.getsize(p) for p in save_bundle(fx, str(tmp_path / d), d)] for d in ("float32", "float16"))
    assert half[1] < 0.51 * whole[1] and half[0] < 0.6 * whole[0]
    v, words = load(tmp_path / "float16"), ["the", "kingdm", "war"]
    assert v.vectors.dtype == np.float16 and v["the"].dtype == v["kingdm"].dtype == np.float32
    error = np.abs(v.batch(words) - fx.batch(words))
    assert error.max() > 0 and (error <= np.maximum(np.abs(fx.batch(words)), 1) * 2 ** -11).all()
    rows, _ = fx.subword.rows(["kingdm"], 0)
    total = np.zeros(16, "f")
    for row in rows:
        total += fx.matrix[fx.first + row].astype(np.float16).astype("f")
    assert same(v["kingdm"], total * np.float32(1 / len(rows)))         # summed in float32
    assert [w for w, _ in v.neighbours("the", 5)] == [w for w, _ in fx.neighbours("the", 5)]


def test_float16_refuses_what_it_cannot_hold(tmp_path):
    matrix = np.ones((6, 3), np.float32)
    matrix[4, 1] = 65520
    path = tmp_path / "m.bin"
    path.write_bytes(model_bytes(matrix=matrix))
    with pytest.raises(ValueError, match="the largest number is 65520, float16 ends at 65504: keep float32"):
        save_bundle(FastText.open(path), str(tmp_path / "b"), "float16")
    with pytest.raises(ValueError, match="dtype: got int8"):
        save_bundle(FastText.open(path), str(tmp_path / "b"), "int8")
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_bundles(models, tmp_path):  # noqa: F811
    words, rows = map(Path, save_bundle(FastText.open(models / "tiny.bin"), str(tmp_path / "b")))
    good = words.read_bytes(), rows.read_bytes()
    for path, data in zip((words, rows), good):
        for n in range(0, len(data), 5):
            path.write_bytes(data[:n])
            with pytest.raises(FormatError):
                load(tmp_path / "b")
        path.write_bytes(data)
    for path, data, old, new in [(rows, good[1], b'"ngrams"', b'"ngramz"'), (words, good[0], b"F32", b"U32"), (rows, good[1], b"[10, 4]", b"[ 5, 8]"),
                                 (words, good[0], b"\0", b" "), (rows, good[1], struct.pack("<q", 10), struct.pack("<q", 11)), (rows, good[1], b"<>", b"\xff>")]:
        assert old in data
        at = data.rindex(old)
        path.write_bytes(data[:at] + new + data[at + len(old):])
        with pytest.raises(FormatError):
            load(tmp_path / "b")
        path.write_bytes(data)
    assert load(tmp_path / "b").words
    rows.unlink()
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "b")


def test_parts_that_do_not_fit():
    with pytest.raises(ValueError, match=r"got 1 words and vectors of shape \(2, 3\)"):
        WordVectors(["a"], np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"n-grams of shape \(4, 3\), expected \(5, 3\)"):
        SubwordVectors(["a"], np.ones((1, 3)), Subwords(2, 3, 5), np.ones((4, 3)))
    for wrong in ((-1, 3, 5), (2, -3, 5), (2, 3, 0)):
        with pytest.raises(ValueError, match="expected none negative"):
            Subwords(*wrong)


def test_kind_is_seen_by_content(models, tmp_path):  # noqa: F811
    (tmp_path / "x.vec").write_bytes((models / "tiny.bin").read_bytes())
    assert type(load(tmp_path / "x.vec")) is FastText
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")
