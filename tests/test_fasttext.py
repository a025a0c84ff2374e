"""fastText models: every value the real program gave for them, random models against a reader in plain Python, damaged files."""
import gzip
import hashlib
import json
import math
import os
import pickle
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_lite import vectors
from tinygrad_lite.kernels.subwords import fnv1a, ngrams
from tinygrad_lite.vectors import FastText, FormatError
from tinygrad_lite.vectors.format import HEADER, OFFSETS, Header

DATA = Path(__file__).parent / "data" / "fasttext"
NAMES = sorted(path.name.split(".")[0] for path in DATA.glob("*.expected.json.gz"))


def stored(name):
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with the models; sup_sub_v11 is sup_sub_ova with the version field 11."""
    folder = tmp_path_factory.mktemp("fasttext")
    for path in DATA.glob("*.gz"):
        (folder / path.stem).write_bytes(stored(path.stem))
    data = bytearray((folder / "sup_sub_ova.bin").read_bytes())
    data[4:8] = struct.pack("<i", 11)
    (folder / "sup_sub_v11.bin").write_bytes(data)
    return folder


@pytest.fixture(params=NAMES)
def case(request, models):
    """(a model, what the real program says of it)."""
    expected = json.loads((models / f"{request.param}.expected.json").read_text())
    return FastText.open(models / expected["file"]), expected


def same(a, b):
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def shown(word):
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# ---------------------------------------------------------------- the real program's values

def test_header_and_words(case):
    fx, d = case
    assert fx.dim == d["args"]["dim"] and len(fx.words) == len(fx) == d["nwords"] and len(fx.labels) == d["nlabels"]
    for name, value in d["args"].items():
        assert getattr(fx.header, name) == (0 if name == "maxn" and d["version"] == 11 else value)
    assert hashlib.sha256("\n".join(fx.words).encode("utf-8", "surrogateescape")).hexdigest() == d["words_sha256"]
    counts = fx.model.counts().tolist()
    assert [[shown(w), n] for w, n in zip(fx.words, counts)][:len(d["first_words"])] == d["first_words"]
    assert [[shown(w), n] for w, n in zip(fx.labels, counts[len(fx):])] == d["labels"]


def test_vectors_to_the_bit(case):
    fx, d = case
    for e in [e for kind in ("known", "oov", "byte_words", "labels_as_words") for e in d[kind]]:
        word = bytes.fromhex(e["hex"])
        assert same(fx[word], e["vector"]) and same(fx[vectors.words.decoded(word)], e["vector"]), word
        assert fx.ids().get(vectors.words.decoded(word), -1) == e["id"]
    words = [bytes.fromhex(e["hex"]) for kind in ("known", "oov") for e in d[kind]]
    assert same(fx.batch(words), [e["vector"] for kind in ("known", "oov") for e in d[kind]])


def test_subwords(case):
    fx, d = case
    for e in [e for kind in ("known", "oov", "byte_words") for e in d[kind]]:
        word = bytes.fromhex(e["hex"])
        pieces, rows = fx.subwords(word)
        assert [p.hex() for p in pieces] == e["subwords_hex"] and rows.tolist() == e["subword_ids"]
        text, rows = fx.subwords(vectors.words.decoded(word))
        assert [p.encode("utf-8", "surrogateescape") for p in text] == pieces and rows.tolist() == e["subword_ids"]
        assert set(fx.subword.ngrams(word)) >= set(pieces[e["id"] >= 0:])


def test_sentences_neighbours_analogies(case):
    fx, d = case
    for e in d["sentences"]:
        np.testing.assert_allclose(fx.sentence(e["text"]), e["vector"], rtol=1e-6, atol=1e-6, err_msg=e["text"])
        assert same(fx.sentence(e["text"].encode()), fx.sentence(e["text"])) and same(fx.sentence(e["text"] + "\nmore"), fx.sentence(e["text"]))
    asked = [(fx.neighbours(e["query"], e["k"]), e) for e in d["nn"]] + [(fx.analogies(*e["query"], e["k"]), e) for e in d["analogies"]]
    for found, e in asked:
        real = dict((word, similarity) for similarity, word in e["neighbors"])
        np.testing.assert_allclose([s for _, s in found], list(real.values()), atol=2e-6, rtol=0)
        last = min(real.values()) + 4e-6
        if last > 8e-6:                             # words of equal score, all those of a zero query, are in any order
            assert {w for w, s in found if s > last} == {w for w, s in real.items() if s > last}
    if d["nn"]:
        word, k = d["nn"][0]["query"], d["nn"][0]["k"]
        as_bytes = fx.neighbours(word.encode(), k)
        assert [(vectors.words.encoded(w), s) for w, s in fx.neighbours(word, k)] == as_bytes == fx.neighbours([word.encode(), b"the"], k)[0]


def test_predictions(case):
    fx, d = case
    if fx.header.model != 3:
        with pytest.raises(ValueError, match="no supervised model"):
            fx.predict("the")
    for e in d["predict"]:
        found = fx.predict(e["text"], e["k"], e["threshold"])
        np.testing.assert_allclose([p for _, p in found], e["probs"], rtol=2e-5, atol=2e-6, err_msg=e["text"])
        real = dict(zip(e["labels"], e["probs"]))
        apart = {w: p for w, p in found if min([abs(p - q) for v, q in found if v != w], default=1) > 1e-5}
        assert all(abs(real[label] - p) < 1e-5 for label, p in apart.items() if p > min(e["probs"]) + 1e-5)
        assert [(label.encode(), p) for label, p in found] == fx.predict(e["text"].encode(), e["k"], e["threshold"])


@pytest.mark.parametrize("name", ["cbow_mixed", "tiny"])
def test_whole_vocabulary(name, models):
    fx = FastText.open(models / f"{name}.bin")
    real = np.load(models / f"{name}.words.npy")
    assert same(fx.vectors, real) and same(fx.batch(fx.words), real) and same([fx[w] for w in fx.words], real)
    rows = json.loads((models / f"{name}.ngrams.json").read_text())
    assert {piece.encode("utf-8", "surrogateescape").hex(): fx.first + row for piece, row in fx.subword.used(fx.words).items()} == rows
    assert sorted(set(rows.values())) == (fx.first + fx.subword.buckets(fx.words)).tolist()


@pytest.mark.parametrize("name", ["p1", "p2", "p3", "p4", "p5"])
def test_pruned_and_quantised(name, models):
    """Made with fasttext 0.9.2 from random words: pruned or not, norms or not, odd parts, a quantised output, hs, ns, softmax."""
    fx = FastText.open(models / f"pruned_{name}.ftz", check=True)
    real = json.loads((models / "quantised.json").read_text())[f"pruned_{name}.ftz"]
    for word, (vector, rows) in real["words"].items():
        assert same(fx[word], vector) and fx.subwords(word)[1].tolist() == rows == fx.subwords(word.encode())[1].tolist()
        assert len(fx.subwords(word)[0]) == len(rows)
    assert same(fx.batch(list(real["words"])), [vector for vector, _ in real["words"].values()])
    for text, (vector, predicted) in real["text"].items():
        np.testing.assert_allclose(fx.sentence(text), vector, atol=1e-6)
        found = {label: p for label, p in fx.predict(text, len(predicted))}
        np.testing.assert_allclose(sorted(found.values()), sorted(p for p, _ in predicted), rtol=2e-5, atol=2e-6)


def test_hashes(models):
    for e in json.loads((models / "hash_vectors.json").read_text()):
        assert fnv1a(bytes.fromhex(e["hex"])) == e["fasttext_hash"]


# ---------------------------------------------------------------- random models, read by a reader in plain Python

def model_bytes(words=(b"a",), labels=(), matrix=None, output=None, dim=3, bucket=5, minn=1, maxn=3, model=1, loss=2, word_ngrams=1):
    """A dense model file."""
    head = dict.fromkeys(Header._fields, 1) | dict(
        magic=793712314, version=12, dim=dim, model=model, loss=loss, bucket=bucket, minn=minn, maxn=maxn, t=1e-4,
        size=len(words) + len(labels), nwords=len(words), nlabels=len(labels), wordNgrams=word_ngrams, pruneidx_size=-1)
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(len(words) + bucket, dim)) if matrix is None else matrix
    output = np.zeros((len(labels) if model == 3 else len(words), dim)) if output is None else output
    entries = b"".join(w + b"\0" + struct.pack("<qb", 9, i >= len(words)) for i, w in enumerate([*words, *labels]))
    return b"".join([HEADER.pack(*(head[name] for name in Header._fields)), entries,
                     *(b"\0" + struct.pack("<qq", *m.shape) + m.astype("<f4").tobytes() for m in (matrix, output))])


def with_fields(data, **fields):
    """The same file with other numbers in its header."""
    return HEADER.pack(*Header(*HEADER.unpack_from(data))._replace(**fields)) + data[HEADER.size:]


def naive(word, words, matrix, bucket, minn, maxn):
    """The definition, character by character, in float32."""
    rows = [len(words) - 1 - words[::-1].index(word)] if word in words else []
    chars = []
    for byte in b"<" + word + b">":
        if chars and byte & 0xC0 == 0x80:
            chars[-1] += bytes([byte])
        else:
            chars.append(bytes([byte]))
    for i in range(len(chars) if word != b"</s>" else 0):
        for n in range(1, min(maxn, len(chars) - i) + 1):
            if n >= minn and not (n == 1 and (i == 0 or i + n == len(chars))):
                h = 2166136261
                for byte in b"".join(chars[i:i + n]):
                    signed = byte - 256 if byte > 127 else byte
                    h = ((h ^ (signed % 2 ** 32)) * 16777619) % 2 ** 32
                rows.append(len(words) + h % bucket)
    total = np.zeros(matrix.shape[1], np.float32)
    for row in rows:
        total = total + matrix[row]
    return rows, total * np.float32(1 / len(rows)) if rows else total


WORD = st.one_of(st.binary(max_size=8).filter(lambda w: b"\0" not in w), st.text(max_size=6).filter(lambda w: "\0" not in w).map(
    lambda w: w.encode("utf-8", "replace")), st.sampled_from([b"</s>", b"<", b">", b"<>", b"a b", "na\u0308ïve 👨‍👩‍👧".encode()]))


@given(st.lists(WORD, min_size=1, max_size=6), st.lists(WORD, max_size=6), st.integers(1, 40), st.integers(0, 4), st.integers(0, 7), st.integers(1, 9))
def test_random_models(tmp_path_factory, words, others, bucket, minn, maxn, dim):
    path = tmp_path_factory.mktemp("random") / "model.bin"
    matrix = np.random.default_rng(len(words)).normal(size=(len(words) + bucket, dim)).astype(np.float32)
    path.write_bytes(model_bytes(words, matrix=matrix, bucket=bucket, minn=minn, maxn=maxn, dim=dim))
    fx = FastText.open(path)
    assert [w.encode("utf-8", "surrogateescape") for w in fx.words] == words
    for word in words + others:
        rows, vector = naive(word, words, matrix, bucket, minn, maxn)
        pieces, found = fx.subwords(word)
        assert found.tolist() == rows and len(pieces) == len(rows) and same(fx[word], vector)
        assert pieces[word in words:] == ([] if word == b"</s>" else ngrams(b"<" + word + b">", minn, maxn))
    assert same(fx.batch(words + others), [naive(w, words, matrix, bucket, minn, maxn)[1] for w in words + others])


def opened(tmp_path, data, **options):
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    return FastText.open(path, **options)


def test_unusual_words(tmp_path):
    fx = opened(tmp_path, model_bytes([b"b", b"b", b"", b"a b"], [b"__label__x"], bucket=1))
    assert fx.words == ["b", "b", "", "a b"] and fx.labels == ["__label__x"] and "b" in fx and "__label__x" not in fx
    assert fx.subwords("b")[1][0] == 1                                          # the later of two counts
    assert fx.subwords("__label__x")[1][0] == 4                                 # a bucket's row: so does the real program
    assert {w for w, _ in fx.neighbours("b", 9)} == {"", "a b"} and len(fx.neighbours("b", 1)) == 1     # both are left out
    assert fx.sentence("").tolist() == fx.sentence(" \n b").tolist() == [0, 0, 0] and fx.batch([]).shape == (0, 3)
    two = opened(tmp_path, model_bytes([b"b"], [b"__label__x", b"__label__y"], bucket=1))
    for ask in (two.__getitem__, two.subwords, lambda w: two.batch(["b", w])):
        with pytest.raises(KeyError, match="'__label__y' is a label of this model, which has no row for it"):
            ask("__label__y")
    for wrong in (3, None, ["b"], np.zeros(3)):
        with pytest.raises(TypeError, match="word: got .*, expected str or bytes"):
            fx[wrong]
    assert same(fx["x" * 100_000], naive(b"x" * 100_000, [b"b", b"b", b"", b"a b"], np.asarray(fx.matrix), 1, 1, 3)[1])


def test_other_edges(models):
    fx, percent = (FastText.open(models / "tiny.bin", edges=edges) for edges in ("<>", "%%"))
    assert percent.subwords("ab")[0] == [p.replace("<", "%").replace(">", "%") for p in fx.subwords("ab")[0]]
    assert not same(fx["bab"], percent["bab"])
    for edges in ("<", "äö", 3):
        with pytest.raises(ValueError, match="edges: got .*, expected two ASCII characters"):
            FastText.open(models / "tiny.bin", edges=edges)


def test_unlimited_maxn_costs_nothing(tmp_path):
    fx = opened(tmp_path, model_bytes([b"abc"], maxn=2 ** 31 - 1))
    assert len(fx.subwords("abcdef")[0]) == 8 * 9 // 2 - 2
    assert opened(tmp_path, model_bytes([b"abc"], minn=4, maxn=3)).subwords("abcdef")[0] == []


# ---------------------------------------------------------------- numbers that are none

def test_rows_that_are_not_finite(tmp_path):
    matrix = np.ones((3, 2), np.float32)
    matrix[1] = np.nan
    fx = opened(tmp_path, model_bytes([b"a", b"b", b"c"], matrix=matrix, dim=2, bucket=0, minn=0, maxn=0))
    assert np.isnan(fx["b"]).all() and fx["a"].tolist() == [1, 1] and fx["x"].tolist() == [0, 0]
    assert dict(fx.neighbours("a")) == {"c": pytest.approx(1), "b": 0}          # a row of NaN counts as a row of zeros
    assert [s for _, s in fx.neighbours("x", 2)] == [0, 0]
    for ask in (lambda: fx.neighbours("b"), lambda: fx.neighbours([np.inf, 0]), lambda: fx.analogies("a", "b", "c")):
        with pytest.raises(ValueError, match="NaN, infinite or too large"):
            ask()
    matrix[1] = np.inf
    fx = opened(tmp_path, model_bytes([b"a", b"b", b"c"], matrix=matrix, dim=2, bucket=0, minn=0, maxn=0))
    assert fx["b"].tolist() == [np.inf, np.inf]
    with pytest.raises(ValueError, match="row 1 of X has NaN, infinite or too large numbers"):
        fx.neighbours("a")


def test_scores_that_are_nan(tmp_path):
    for loss in (1, 2, 3, 4):
        fx = opened(tmp_path, model_bytes([b"a"], [b"__label__x", b"__label__y"], np.full((1, 3), np.nan), bucket=0, minn=0, maxn=0, model=3, loss=loss))
        with pytest.raises(ValueError, match="the scores of 'a' are NaN"):
            fx.predict("a")
        assert fx.predict("unknown") == []                                      # no rows: no answer


def test_a_single_label(tmp_path):
    for loss, p in ((1, 1), (3, 1.00001)):
        fx = opened(tmp_path, model_bytes([b"a"], [b"__label__x"], bucket=0, minn=0, maxn=0, model=3, loss=loss))
        assert fx.predict("a", k=5) == [("__label__x", pytest.approx(p, abs=1e-7))] and fx.predict("a", threshold=1.1) == []


# ---------------------------------------------------------------- damaged files

def use(path):
    """What a check of a file may do: open it, ask it. Nothing but FormatError may come of damage."""
    started = time.perf_counter()
    try:
        fx = FastText.open(path)
        vector = fx["the"]
        fx.neighbours("the", 3)
        return vector
    except FormatError as error:
        assert error.path == path and 0 <= error.offset <= path.stat().st_size and f"byte {error.offset}" in str(error)
        return error
    except ValueError as error:
        assert "NaN, infinite or too large" in str(error)                       # numbers that a flipped bit made so: not the file's form
    finally:
        assert time.perf_counter() - started < 10


@pytest.mark.parametrize("name", ["tiny.bin", "no_eos.bin", "bytes_words.bin", "pruned_p4.ftz"])
def test_cut_anywhere(name, models, tmp_path):
    data, path = (models / name).read_bytes(), tmp_path / "cut"
    for n in range(0, len(data), 1 if len(data) < 1000 else 41):
        path.write_bytes(data[:n])
        assert isinstance(use(path), FormatError), n
    for more in (b"\0", b"junk" * 100):
        path.write_bytes(data + more)
        assert isinstance(use(path), FormatError)
    behind_words = int(FastText.open(models / name).model.ends[-1]) + 10
    for at in range(behind_words, min(len(data), behind_words + 600), 7):
        for changed in (data[:at] + data[at + 4:], data[:at] + bytes(4) + data[at:]):       # four bytes lost, four too many
            path.write_bytes(changed)
            assert isinstance(use(path), FormatError), at


@pytest.mark.parametrize("name", ["tiny.bin", "pruned_p1.ftz"])
def test_any_byte_changed(name, models, tmp_path):
    """In the parts that say where things are, a changed byte is either refused, or belongs to a field that may have any value."""
    data, path, rng = (models / name).read_bytes(), tmp_path / "changed", np.random.default_rng(0)
    free = {i for field in ("version", "ws", "epoch", "minCount", "neg", "wordNgrams", "loss", "model", "minn", "maxn", "lrUpdateRate", "bucket")
            for i in range(OFFSETS[field], OFFSETS[field] + 4)} | set(range(56, 64)) | set(range(76, 92))
    refused = 0
    for at in [*range(92), *rng.integers(92, len(data), 200).tolist()]:
        for value in {data[at] ^ 1, data[at] ^ 0x80, 255 - data[at]}:
            path.write_bytes(data[:at] + bytes([value]) + data[at + 1:])
            found = use(path)
            refused += isinstance(found, FormatError)
            assert at >= 92 or at in free or isinstance(found, FormatError), (at, value)
    assert refused > 100


BIG = 2 ** 31 - 1


@pytest.mark.parametrize("fields, at, message", [
    (dict(magic=1), 0, "not a fastText model"), (dict(version=13), 4, "version is 13, expected at most 12"),
    (dict(dim=0), 8, "dim is 0"), (dict(dim=-3), 8, "dim is -3"), (dict(dim=BIG), 8, f"dim is {BIG}, expected 1 to 2^20"),
    (dict(loss=0), 32, "loss is 0"), (dict(loss=5), 32, "loss is 5"), (dict(model=0), 36, "model is 0"), (dict(model=4), 36, "model is 4"),
    (dict(bucket=-1), 40, "bucket is -1"), (dict(minn=-1), 44, "minn is -1"), (dict(maxn=-1), 48, "maxn is -1"),
    (dict(size=-1), 64, "size is -1"), (dict(size=4), 64, "size is 4"), (dict(nwords=0, size=0), 68, "nwords is 0"),
    (dict(nlabels=-1), 72, "nlabels is -1"), (dict(model=3), 72, "nlabels is 0"), (dict(nwords=BIG, size=BIG), 64, f"size is {BIG}"),
    (dict(pruneidx_size=2 ** 62), 84, "pruneidx_size"), (dict(pruneidx_size=0), 84, "only quantised models can be pruned"),
    (dict(nwords=3, nlabels=-1, size=2), 72, "nlabels is -1"), (dict(bucket=BIG), None, "input matrix of 7 x 3, expected 2147483649 x 3"),
    (dict(dim=4), None, "input matrix of 7 x 3, expected 7 x 4"), (dict(nwords=1, nlabels=1), None, "entry 1 has the type 0, expected 1")])
def test_fields_out_of_range(tmp_path, fields, at, message):
    with pytest.raises(FormatError) as caught:
        opened(tmp_path, with_fields(model_bytes([b"a", b"b"]), **fields))["a"]
    assert message in str(caught.value) and at in (None, caught.value.offset)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.offset) == (str(caught.value), caught.value.offset)


def test_bucket_zero_with_ngrams(tmp_path):
    with pytest.raises(FormatError, match="bucket is 0, expected at least 1"):
        opened(tmp_path, model_bytes([b"a"], bucket=0))
    with pytest.raises(FormatError, match="bucket is 0"):
        opened(tmp_path, model_bytes([b"a"], [b"__label__b"], bucket=0, minn=0, maxn=0, model=3, word_ngrams=2))


def test_the_dictionary_is_checked_before_a_word_is_looked_up(tmp_path):
    good = model_bytes([b"abc", b"d"])
    path, entry = tmp_path / "m.bin", good.index(b"abc\0")
    for damaged in (good[:entry + 3] + b"x" + good[entry + 4:],                 # one word ends elsewhere
                    good[:entry + 12] + b"\1" + good[entry + 13:]):             # a word says it is a label
        path.write_bytes(damaged)
        fx = FastText.open(path)
        for ask in (lambda: fx["abc"], lambda: fx.words, lambda: fx.batch([]), lambda: fx.neighbours("abc")):
            with pytest.raises(FormatError):
                ask()
        with pytest.raises(FormatError):
            FastText.open(path, check=True)


def test_rows_that_wrap_around(tmp_path):
    """(rows + 2^62) * 6 columns * 4 bytes is the right size in 64 bits."""
    good = model_bytes([b"a", b"b"], dim=6) + b"x"
    at = good.index(struct.pack("<qq", 7, 6))
    with pytest.raises(FormatError, match="4611686018427387911 x 6"):
        opened(tmp_path, good[:at] + struct.pack("<q", 7 + 2 ** 62) + good[at + 8:])


@pytest.mark.parametrize("data", [b"", b"\xba\x16\x4f\x2f", b"100 300\nthe 0.1 0.2\n", bytes(500), b"PK\3\4" * 100])
def test_foreign_files(tmp_path, data):
    with pytest.raises(FormatError):
        opened(tmp_path, data)


def test_no_file(tmp_path):
    with pytest.raises(OSError):
        FastText.open(tmp_path / "absent.bin")


# ---------------------------------------------------------------- speed of opening, saved words

def test_opening_reads_only_both_ends(models, tmp_path, monkeypatch):
    """The dictionary of a good file is not looked at before a word is."""
    fx = FastText.open(models / "sg_en.bin")
    assert fx.model._ends is None and fx.dim == 16 and fx.matrix.shape == (9709, 16)
    assert not fx.matrix.flags.owndata and not fx.matrix.flags.writeable
    assert fx["the"].shape == (16,) and fx.model._ends is not None


OPEN = """
import json, sys, time
from tinygrad_lite.vectors import FastText

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024
before, started = resident(), time.process_time()
fx = FastText.open(sys.argv[1])
opened, grown = time.process_time() - started, resident() - before
print(json.dumps([opened, grown, fx["w199999"].tolist() == [0] * 100]))
"""


def test_a_gigabyte_opens_at_once(tmp_path):
    """A model of 2.2 million rows of 100 (a file with holes: zeros that take no place on the disk)."""
    words, bucket, dim, path = [b"w%d" % i for i in range(200_000)], 2_000_000, 100, tmp_path / "big.bin"
    head, empty = model_bytes(words, dim=0, bucket=0), struct.pack("<qq", len(words), 0)
    entries = head[92:-2 * len(empty) - 2]
    head = with_fields(head[:92], dim=dim, bucket=bucket)
    with open(path, "wb") as file:
        file.write(head + entries)
        for rows in len(words) + bucket, len(words):
            file.write(b"\0" + struct.pack("<qq", rows, dim))
            file.seek(rows * dim * 4, 1)
        file.truncate()
    assert path.stat().st_size > 960e6
    done = subprocess.run([sys.executable, "-W", "error::RuntimeWarning", "-c", OPEN, str(path)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert done.returncode == 0, done.stderr
    seconds, mebibytes, zero = json.loads(done.stdout)
    assert seconds < 1 and mebibytes < 5 and zero, done.stdout      # to read it would take both


def test_saved_words(models, tmp_path):
    fx = FastText.open(models / "sg_en.bin")
    fx.save_words(tmp_path / "words.npy")
    again = FastText.open(models / "sg_en.bin", words=tmp_path / "words.npy")
    assert same(again.vectors, fx.vectors) and not again.vectors.flags.owndata
    assert again.neighbours("king", 5) == fx.neighbours("king", 5)
    for name in ("cbow_mixed.bin", "sg_nosub.bin"):
        with pytest.raises(ValueError, match="write it again with save_words"):
            FastText.open(models / name, words=tmp_path / "words.npy")
    other = np.load(tmp_path / "words.npy")
    other[0, 0] += 1
    np.save(tmp_path / "words.npy", other)
    with pytest.raises(ValueError, match="not the vectors of this model's 4709 words"):
        FastText.open(models / "sg_en.bin", words=tmp_path / "words.npy")


def test_neighbours_in_all_forms(models):
    fx = FastText.open(models / "sg_en.bin")
    words = ["king", "the", "unheard-of", "war"]
    assert fx.neighbours(words, 3) == [fx.neighbours(word, 3) for word in words]
    assert [w for w, _ in fx.neighbours(fx["king"], 3)][0] == "king"
    assert len(fx.neighbours("king", 10 ** 6)) == len(fx) - 1 and fx.neighbours([], 3) == []
    for k in (0, -1, 2.5):
        with pytest.raises((ValueError, TypeError), match="k: got"):
            fx.neighbours("king", k)
    with pytest.raises(TypeError, match=r"neighbours: got list of shape \(2,\), expected a word, words, or \(16,\)"):
        fx.neighbours([1.0, 2.0])
    assert math.isclose(fx.neighbours("king", 1)[0][1], max(
        float(v @ fx["king"] / np.linalg.norm(v) / np.linalg.norm(fx["king"])) for w, v in zip(fx.words, fx.vectors) if w != "king"), abs_tol=2e-6)
