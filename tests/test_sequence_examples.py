"""The examples of sequences, each at a small size: they run, learn, and say so; and they refuse what they cannot read."""
import csv
import gzip
import importlib.util
import json

import pytest
from matplotlib.image import imread

from tests.test_examples import run


def story(count):
    """A text that is easy to guess."""
    return " ".join(f"the {('cat', 'dog', 'cow')[i % 3]} {('sees', 'hears')[i % 2]} a {('mouse', 'bird')[i % 2]} ." for i in range(count))


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_language_model(tmp_path):
    (tmp_path / "train.txt").write_text(story(500), encoding="utf-8")
    (tmp_path / "valid.txt.gz").write_bytes(gzip.compress(story(60).encode() + b" a zebra"))
    beside = ["--beside-torch"] * (importlib.util.find_spec("torch") is not None)
    runs = answer(run("language_model.py", "--data", tmp_path, "--words", 50, "--hidden", 12, "--epochs", 2, "--rate", 2, *beside,
                      "--spelling", "--json", "--picture", "p.png", cwd=tmp_path))
    assert all(runs[name]["perplexity"][-1] < 10 for name in ("constant rate", "1cycle")), runs
    if beside:
        assert runs["tinygrad_lite, calm"]["perplexity"] == pytest.approx(runs["PyTorch, calm"]["perplexity"], rel=0.01)
    assert len([name for name in runs if name.startswith(("table", "letters"))]) == 2 and imread(tmp_path / "p.png").std() > 0.05


def test_characters(tmp_path):
    (tmp_path / "text.txt").write_text(story(1200), encoding="utf-8")
    numbers = answer(run("characters.py", "--data", "text.txt", "--minutes", 0.1, "--hidden", 24, "--json", "--picture", "p.png", cwd=tmp_path))
    assert numbers["bits"] < numbers["untrained"] and numbers["steps"] > 3 and (tmp_path / "p.png").exists()
    assert len(numbers["writes"]) == 420 and set(numbers["writes"]) <= set(story(6))


def test_titles(tmp_path):
    with open(tmp_path / "titles.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["title", "description", "listed_in"])
        rows.writerows([[f"{name} {i}", "", kind] for i in range(120) for name, kind in (("Live at the", "Comedy, Shows"), ("War of", "Drama"))])
    numbers = answer(run("titles.py", "--data", "titles.csv", "--epochs", 4, "--hidden", 16, "--json", "--picture", "p.png", cwd=tmp_path))
    assert numbers["accuracy"] > 0.9 and set(numbers["labels"]) == {"Comedy", "Drama"} and imread(tmp_path / "p.png").std() > 0.05
    done = run("titles.py", "--data", "titles.csv", "--label", "genre", cwd=tmp_path)
    assert done.returncode == 1 and "no column 'genre'" in done.stderr
    assert answer(run("titles.py", "--count", 300, "--epochs", 1, "--hidden", 8, "--json", cwd=tmp_path))["test texts"] == 60


def test_stems(tmp_path):
    pairs = [(f"{stem}{end}", stem) for stem in map("".join, zip("bdfghklmnprst" * 8, "aeiou" * 20, "tkrnlmpsg" * 12, "aeiou" * 20, "kltrn" * 20))
             for end in ("", "s", "ed", "ing")]
    (tmp_path / "voc.txt").write_text("\n".join(word for word, _ in pairs), encoding="utf-8")
    (tmp_path / "output.txt").write_text("\n".join(stem for _, stem in pairs), encoding="utf-8")
    numbers = answer(run("stems.py", "--data", tmp_path, "--steps", 60, "--compare", "--json", "--picture", "p.png", cwd=tmp_path))
    found = numbers["precision at 10"]
    assert set(found) == {"means of n-grams", "GRU, right to left", "without dropout", "left to right", "Elman's net"}
    assert numbers["overfit"]["last loss"] < 0.01 < numbers["overfit"]["first loss"] and found["GRU, right to left"] > 0.2
    assert all(0 < value <= numbers["possible"] + 1e-9 for value in found.values()) and imread(tmp_path / "p.png").std() > 0.05


@pytest.mark.parametrize("script", ["language_model.py", "characters.py", "titles.py", "stems.py"])
def test_data_that_is_not_there(script, tmp_path):
    done = run(script, "--data", "nothing", cwd=tmp_path)
    assert done.returncode == 2 and "nothing" in done.stderr and "Traceback" not in done.stderr
