"""Training word vectors: the kernel against gradients and against fastText's own order of updates, files against those that the
real program wrote, what is learned against what was planted."""
import gzip
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite.kernels.skipgram import walk
from tinygrad_lite.vectors import FastText, train, training
from tinygrad_lite.vectors.training import chapters, repetition, vocabulary, write_model

ROOT = Path(__file__).parents[1]
GROUPS = {"drinks": "tea coffee juice cider", "animals": "horse donkey sheep goat", "colours": "crimson azure violet amber"}
FRAMES = {"drinks": "please pour some X into my cup", "animals": "the old X eats grass on a hill", "colours": "she painted every wall in X again"}


def planted(rng, n=1500):
    """Sentences in which the words of a group stand in the same places."""
    kinds = rng.choice(list(GROUPS), n)
    return [FRAMES[kind].replace("X", rng.choice(GROUPS[kind].split())) + "\n" for kind in kinds]


def setting(rng, words=8, n=30, rows=20, dim=5, negative=3, lines=3):
    """A text of random words in lines, and tables: (words, begin, end, noise, starts, pieces)."""
    text, line = rng.integers(0, words, n), np.sort(rng.integers(0, lines, n))
    at, reach = np.arange(n), rng.integers(1, 4, n)
    begin, end = np.maximum(at - reach, np.searchsorted(line, line)), np.minimum(at + reach + 1, np.searchsorted(line, line, "right"))
    pieces = [rng.integers(0, rows, rng.integers(0, 5)) for _ in range(words)]         # now and then a row twice, or none
    starts = np.concatenate([[0], np.cumsum([len(p) for p in pieces])])
    return text, begin, end, rng.integers(0, words, (n * 6, negative)), starts, np.concatenate(pieces)


def as_fasttext_does(words, begin, end, noise, starts, pieces, cbow, rate, table, out):
    """Pair by pair: the mean of the rows as they are now, the outputs' rows, then every row of the mean."""
    pair = 0
    for i in range(len(words)):
        around = [p for p in range(begin[i], end[i]) if p != i]
        for bag, q in [(around, i)] if cbow else [([i], p) for p in around]:
            rows = [r for p in bag for r in pieces[starts[words[p]]:starts[words[p] + 1]]]
            if rows:
                hidden = sum(table[r] for r in rows) / len(rows)
                move = np.zeros_like(hidden)
                for t, label in [(words[q], 1)] + [(t, 0) for t in noise[pair] if t != words[q]]:
                    g = rate * (label - 1 / (1 + np.exp(-hidden @ out[t])))
                    move += g * out[t]
                    out[t] += g * hidden
                for r in rows:
                    table[r] += move
            pair += 1


@pytest.mark.parametrize("cbow", [False, True])
def test_visiting_the_rows_once_is_what_visiting_them_pair_by_pair_is(cbow):
    rng = np.random.default_rng(0)
    for _ in range(20):
        args = setting(rng)
        table, out = rng.normal(size=(20, 5)), rng.normal(size=(8, 5))
        ours, theirs = (table.copy(), out.copy()), (table.copy(), out.copy())
        walk(*args, repetition(*args[-2:]), cbow, 0.1, *ours)
        as_fasttext_does(*args, cbow, 0.1, *theirs)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-9)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-9)
        assert np.abs(ours[0] - table).max() > 0.01


def test_a_step_goes_down_the_gradient():
    """One centre, one target, three different noise words: outputs move by -rate x gradient, every row by that of the hidden vector."""
    rng = np.random.default_rng(1)
    table, out = rng.normal(size=(3, 4)), rng.normal(size=(5, 4))
    hidden, rows = tg.Tensor(table.mean(axis=0), requires_grad=True), tg.Tensor(out.copy(), requires_grad=True)
    signs = np.array([1, -1, -1, -1])
    loss = tg.softplus(-signs * (rows[np.array([1, 2, 3, 4])] @ hidden)).sum()
    to_hidden, to_rows = tg.grad(loss, [hidden, rows])
    before = table.copy(), out.copy()
    args = np.array([0, 1]), np.array([0, 1]), np.array([2, 1]), np.array([[2, 3, 4]]), np.array([0, 3, 3]), np.array([0, 1, 2])
    value = walk(*args, np.ones(2), False, 0.01, table, out)
    assert value == pytest.approx(loss.item(), rel=1e-9)
    np.testing.assert_allclose(table - before[0], np.tile(-0.01 * to_hidden.numpy(), (3, 1)), rtol=1e-9)
    np.testing.assert_allclose(out - before[1], -0.01 * to_rows.numpy(), rtol=1e-9, atol=1e-15)


def test_how_much_a_mean_moves_with_its_rows():
    assert repetition(np.array([0, 3, 3, 5]), np.array([4, 5, 6, 7, 7])).tolist() == [1, 0, 2]


# --- the text
def test_the_vocabulary(tmp_path):
    lines = ["b a b c\n", "\ta  b\fd\n", "a é"]
    words, counts, tokens, places, size = vocabulary(lines, 2)
    assert words == ["b", "a", "</s>"] and counts.tolist() == [3, 3, 2]
    assert [words[t] for t in tokens] == ["b", "a", "b", "</s>", "a", "b", "</s>", "a"] and places.tolist() == [0] * 4 + [1] * 3 + [2] and size == 11
    path = tmp_path / "text.txt"
    path.write_bytes("".join(lines).encode())
    for same in (path, str(path), [line.encode() for line in lines]):
        assert all(np.array_equal(a, b) for a, b in zip(vocabulary(same, 2), (words, counts, tokens, places, size)))
    assert vocabulary([b"\xff \xff x x\n"], 2)[0] == ["\udcff", "x"]


def test_chapters_end_with_lines():
    lines = np.repeat(np.arange(50), np.random.default_rng(2).integers(0, 9, 50))
    parts = list(chapters(lines, 20))
    assert parts[0][0] == 0 and parts[-1][1] == len(lines) and all(b == c for (_, b), (c, _) in zip(parts, parts[1:]))
    assert all(lines[b - 1] != lines[b] for _, b in parts[:-1]) and all(b - a < 20 + 9 for a, b in parts)


# --- the file
@pytest.mark.parametrize("name", ["tiny.bin", "tiny_minn0.bin", "sg_nosub.bin", "no_eos.bin", "bytes_words.bin", "sg_en.bin"])
def test_a_model_is_written_as_the_real_program_writes_it(name, tmp_path):
    data = gzip.decompress((ROOT / "tests" / "data" / "fasttext" / f"{name}.gz").read_bytes())
    (tmp_path / name).write_bytes(data)
    fx = FastText.open(tmp_path / name)
    write_model(tmp_path / "again.bin", fx.words, fx.model.counts(), fx.matrix, fx.output, fx.header._asdict())
    assert (tmp_path / "again.bin").read_bytes() == data


SMALL = dict(dim=12, window=3, epochs=3, min_count=1, bucket=500, sample=0.01)


@pytest.fixture(scope="module")
def text():
    return planted(np.random.default_rng(3))


@pytest.mark.parametrize("model", ["skipgram", "cbow"])
def test_the_same_seed_gives_the_same_file(model, text, tmp_path):
    for name, seed in ("a", 0), ("b", 0), ("c", 1):
        train(text, tmp_path / name, model, seed=seed, **SMALL)
    files = {name: (tmp_path / name).read_bytes() for name in "abc"}
    assert files["a"] == files["b"] != files["c"] and sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


@pytest.mark.parametrize("model", ["skipgram", "cbow"])
@pytest.mark.parametrize("maxn", [0, 4])
def test_words_of_a_group_become_neighbours(model, maxn, text, tmp_path):
    fx = train(text, tmp_path / "x.bin", model, dim=16, window=3, epochs=20, min_count=1, bucket=2000, maxn=maxn, sample=0.01, lr=0.1)
    fx = FastText.open(tmp_path / "x.bin", check=True)
    assert set(fx.words) == {word for line in text for word in line.split()} | {"</s>"}
    assert dict(zip(fx.words, fx.model.counts().tolist())) == Counter(word for line in text for word in [*line.split(), "</s>"])
    hits = [near in group.split() for group in GROUPS.values() for word in group.split() for near, _ in fx.neighbours(word, 3)]
    assert np.mean(hits) > 0.8
    assert fx.header.bucket == (2000 if maxn else 0) and np.isfinite(fx.matrix).all() and fx.dim == 16


def test_it_says_how_far_it_is(text, tmp_path, capsys):
    train(text, tmp_path / "x.bin", show=True, **SMALL)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and "training skipgram" in lines[0]
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert losses[-1] < losses[0]


def test_frequent_words_are_thinned_out(text, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "study", lambda words, *rest: seen.append(words) or 0.0)
    train(text, tmp_path / "x.bin", **{**SMALL, "epochs": 40, "sample": 0.005})
    words, counts, _, _, _ = vocabulary(text, 1)
    f = counts / counts.sum()
    expected = np.minimum(np.sqrt(0.005 / f) + 0.005 / f, 1) * counts * 40
    np.testing.assert_allclose(np.bincount(np.concatenate(seen)), expected, rtol=0.05)
    assert expected.min() < 0.5 * counts.max() * 40


@pytest.mark.parametrize("given, error, message", [
    (dict(text=["a b\n"], min_count=5), ValueError, "of 3 different words 0 occur at least 5 times"),
    (dict(text=[]), ValueError, "of 0 different words 0 occur"),
    (dict(text=[3]), TypeError, "text: got a line 3, expected str or bytes"),
    (dict(model="glove"), ValueError, "model: got 'glove', expected 'skipgram' or 'cbow'"),
    (dict(dim=0), ValueError, "dim: got 0, expected at least 1"), (dict(window=1.5), TypeError, "window: got 1.5, expected a whole number"),
    (dict(negative=-1), ValueError, "negative: got -1"), (dict(lr=0), ValueError, "lr: got 0, expected a number above 0"),
    (dict(sample=float("nan")), ValueError, "sample: got nan"), (dict(bucket=0), ValueError, "expected none negative, and buckets"),
])
def test_bad_input_leaves_no_file(given, error, message, tmp_path):
    with pytest.raises(error, match=message):
        train(**{"text": ["a b a b\n"] * 9, "path": tmp_path / "x.bin", **given})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_text_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        train(tmp_path / "nothing.txt", tmp_path / "x.bin")


def test_the_plain_form_trains_the_same_model(text, tmp_path):
    script = ("import sys; from tinygrad_lite.vectors import train; lines = open(sys.argv[1]).readlines();"
              "fx = train(lines, sys.argv[2], dim=6, min_count=1, bucket=50, epochs=1); print(fx.matrix.sum(), 'numba' in sys.modules)")
    (tmp_path / "text").write_text("".join(text[:60]))
    outputs = []
    for kind in ("numba", "numpy"):
        done = subprocess.run([sys.executable, "-W", "error", "-c", script, tmp_path / "text", tmp_path / kind], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_LITE_KERNELS": kind})
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.split()[1])
    assert outputs == ["True", "False"]
    a, b = [FastText.open(tmp_path / kind) for kind in ("numba", "numpy")]
    np.testing.assert_allclose(a.matrix, b.matrix, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(a.output, b.output, rtol=1e-4, atol=1e-6)
