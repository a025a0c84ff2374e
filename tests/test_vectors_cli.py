"""python -m tinygrad_lite info, neighbours, ngrams, export: what they print, and what they say when they cannot."""
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_fasttext import models, same  # noqa: F401  (models is a fixture)
from tinygrad_lite.__main__ import main
from tinygrad_lite.vectors import FastText, load

ROOT = Path(__file__).parents[1]


def run(*args, stdin=None, **environment):
    done = subprocess.run([sys.executable, "-W", "error", "-m", "tinygrad_lite", *map(str, args)], input=stdin, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **environment})
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def say(capsys):
    """Run a command in this process: the lines it printed, or what it complained of."""
    def say(*args):
        status = main([str(arg) for arg in args])
        printed = capsys.readouterr()
        assert (status == 0) == (printed.err == "")
        return printed.out.splitlines() if status == 0 else printed.err
    return say


def test_info(say, models):  # noqa: F811
    text = "\n".join(say("info", models / "sup_plain_q.ftz"))
    assert "fastText supervised" in text and "__label__american-beauty-film" in text
    found = json.loads(say("info", models / "sg_en.bin", "--json")[0])
    assert (found["kind"], found["words"], found["dim"], found["minn"], found["maxn"], found["bucket"]) == ("fastText skipgram", 4709, 16, 3, 6, 5000)
    assert found["quantised"] is False and found["first words"][:2] == ["the", "<unk>"]


def test_neighbours(say, models):  # noqa: F811
    fx = FastText.open(models / "sg_en.bin")
    lines = say("neighbours", models / "sg_en.bin", "king", "unheard-of", "-k", 2)
    assert lines[0] == "king" and lines[3] == "unheard-of" and len(lines) == 6
    assert [line.split()[1] for line in lines[1:3]] == [w for w, _ in fx.neighbours("king", 2)]
    assert json.loads(say("neighbours", models / "sg_en.bin", "king", "-k", 2, "--json")[0]) == {"king": [list(p) for p in fx.neighbours("king", 2)]}


def test_ngrams_once_each(say, models, tmp_path, monkeypatch):  # noqa: F811
    fx = FastText.open(models / "tiny.bin")
    (tmp_path / "words").write_text("ab ba\nab\n")
    lines = say("ngrams", models / "tiny.bin", "ab", "--words", tmp_path / "words")
    pieces = [line.split(" ")[0] for line in lines]
    assert pieces == list(dict.fromkeys(fx.subword.ngrams("ab") + fx.subword.ngrams("ba")))
    for line, row in zip(lines, fx.subword.used(["ab", "ba"]).values()):
        assert same(np.array(line.split(" ")[1:], np.float32), fx.matrix[fx.first + row])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab")))
    assert say("ngrams", models / "tiny.bin", "--rows", "--words", "-") == [f"{p} {fx.first + r}" for p, r in fx.subword.used(["ab"]).items()]
    every = json.loads((models / "tiny.ngrams.json").read_text())
    every = {f"{bytes.fromhex(piece).decode()} {row}" for piece, row in every.items()}
    assert set(say("ngrams", models / "tiny.bin", "--rows")) == every and len(say("ngrams", models / "tiny.bin", "--rows")) == len(every)
    assert [line.split(" ")[0] for line in say("ngrams", models / "tiny.bin", "ab", "--edges", "%%")] == ["%a", "%ab", "a", "ab", "ab%", "b", "b%"]


def test_export(say, models, tmp_path):  # noqa: F811
    fx, words = FastText.open(models / "cbow_mixed.bin"), tmp_path / "words"
    words.write_text("Straße neu", encoding="utf-8")
    sizes = [line.split("  ")[-1] for line in say("export", models / "cbow_mixed.bin", "--out", tmp_path / "all", "--dtype", "float16")]
    assert sizes == [f"{tmp_path}/all.words.safetensors", f"{tmp_path}/all.ngrams.safetensors"] and load(sizes[0]).matrix.dtype == np.float16
    say("export", models / "cbow_mixed.bin", "--out", tmp_path / "some", "--words", words)
    assert load(tmp_path / "some").words == ["Straße", "neu"] and same(load(tmp_path / "some")["neu"], fx["neu"])
    for kind in ("text", "word2vec"):
        say("export", models / "cbow_mixed.bin", "--out", tmp_path / kind, "--format", kind, "--words", words)
        assert same(load(tmp_path / kind).vectors, fx.batch(["Straße", "neu"]))


@pytest.mark.parametrize("args, message", [
    (("info", "absent.bin"), "absent.bin: No such file or directory"), (("info", "{models}/hash_vectors.json"), "byte 0: "),
    (("neighbours", "{models}/tiny.bin"), "no words: name some"), (("ngrams", "{tmp}/v.vec", "a"), "has no n-grams, only 1 words"),
    (("export", "{tmp}/v.vec", "--out", "x"), "has no n-grams to put in a bundle"), (("neighbours", "{tmp}/v.vec", "zebra"), "'zebra' is none of the 1 words"),
    (("export", "{tmp}/v.vec", "--out", "x", "--format", "text", "--dtype", "float16"), "knows float32 only"),
    (("neighbours", "{models}/tiny.bin", "a", "-k", "0"), "k: got 0, expected at least 1"),
    (("ngrams", "{models}/tiny.bin", "a", "--edges", "%"), "edges: got '%', expected two ASCII characters")])
def test_what_it_cannot_do_is_a_sentence(say, models, tmp_path, args, message):  # noqa: F811
    (tmp_path / "v.vec").write_text("1 2\na 1 2\n")
    complaint = say(*[arg.format(models=models, tmp=tmp_path) for arg in args])
    assert complaint.startswith("python -m tinygrad_lite: ") and message in complaint and complaint.count("\n") == 1


def test_words_that_are_not_text(models):  # noqa: F811
    """Bytes go in and out as they are, whatever the locale."""
    status, out, err = run("ngrams", models / "bytes_words.bin", "--rows", "--words", "-", stdin=b"gr\xfc\xdfe", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (status, err) == (0, "") and out.splitlines()[0].startswith(b"<g ") and any(line.startswith(b"\xfc") or b"\xfc" in line for line in out.splitlines())


def test_a_reader_that_stops_early(models):  # noqa: F811
    command = f"{sys.executable} -m tinygrad_lite ngrams {models / 'sg_en.bin'} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0 and not done.stderr and done.stdout.count(b"\n") == 1


def test_help_names_the_verbs():
    status, out, _ = run("--help")
    assert status == 0 and all(verb in out.decode() for verb in ("info", "neighbours", "ngrams", "export"))
    assert run("nonsense")[0] == 2
