"""The linear_*.py examples run as a user runs them, without data; and read files like the real ones."""
import gzip
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("linear_*.py") if path.stem not in ("common", "linear_compare"))
HOLDS = {       # what must come out of the sample that needs no file
    "linear_spam": lambda n: n["progressive"]["words and pairs"]["accuracy"] > 0.8 > 0.5 == n["share_of_comment"],
    "linear_adult": lambda n: all(passes["pass 2"] > n["always_the_commoner_label"] + 0.2
                                  for passes in n["test_accuracy_after_each_pass"].values()),
    "linear_drift": lambda n: n["accuracy"]["online"] > 0.8 > 0.6 > n["accuracy"]["frozen"],
    "linear_movielens": lambda n: n["accuracy_after_the_first_30_percent"]["online"] > max(
        n["accuracy_after_the_first_30_percent"][name] for name in ("frozen", "user's commonest")) + 0.03,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_runs_without_data(name, tmp_path):
    pytest.importorskip("matplotlib", reason="the pictures need matplotlib; `python -m pip install matplotlib`")
    done = subprocess.run([sys.executable, "-W", "error", ROOT / "examples" / f"{name}.py", "--json"], cwd=tmp_path, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    numbers = json.loads(done.stdout)
    assert HOLDS[name](numbers), numbers
    picture = (tmp_path / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 30_000
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]


def test_the_comparison_with_other_libraries(example, tmp_path):
    path = tmp_path / "d.vw"
    compare = example("linear_compare")
    path.write_text("".join(compare.line_of(*event) + "\n" for event in compare.events(3000)))
    assert [compare.event_of(line) for line in path.read_text().splitlines()] == list(compare.events(3000))
    done = subprocess.run([sys.executable, ROOT / "examples" / "linear_compare.py", "--data", path, "--events", "2000", "--json"],
                          cwd=tmp_path, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    whole, inside, single = json.loads(done.stdout)["tables"].values()
    assert whole[0]["error"] == whole[1]["error"] == inside[0]["error"] < 0.45
    assert inside[0]["MB a million weights"] >= 16 * 1.5
    ours = [row["error"] for row in single if row["what"].startswith("linear")]
    assert len(ours) == 3 and ours[0] == ours[1] == pytest.approx(ours[2], abs=0.002)        # the third has float32, too, by ctypes


@pytest.mark.parametrize("name", EXAMPLES)
def test_data_that_is_not_there(name, tmp_path):
    done = subprocess.run([sys.executable, ROOT / "examples" / f"{name}.py", "--data", "nowhere"], cwd=tmp_path, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2 and "--data nowhere: there is no such file or directory" in done.stderr


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module


def test_reads_messages(example, tmp_path):
    path = tmp_path / "sms"
    path.write_text("ham\tHi\tthere\nspam\tWin \u00a35\nham\tHi\tthere\n", encoding="utf-8")
    assert sorted(example("linear_spam").read(path, seed=0)) == [("Hi\tthere", False), ("Win \u00a35", True)]


def test_reads_a9a(example, tmp_path):
    (tmp_path / "a9a").write_text("-1 3:1 11:1\n+1 5:1 \n")
    (tmp_path / "a9a.t.gz").write_bytes(gzip.compress(b"+1 1:1\n"))
    module = example("linear_adult")
    assert module.read(tmp_path, "a9a") == [b"-1 |f 3:1 11:1\n", b"1 |f 5:1\n"]
    assert module.read(tmp_path, "a9a.t") == [b"1 |f 1:1\n"]
    with pytest.raises(SystemExit, match="neither a9a.x nor a9a.x.gz"):
        module.read(tmp_path, "a9a.x")


def test_reads_elec2(example, tmp_path):
    path = tmp_path / "elec.csv.gz"
    path.write_bytes(gzip.compress(b"period,nswprice,nswdemand,vicprice,vicdemand,transfer,class\n"
                                   b"0.0,0.25,0.5,0.01,0.4,0.4,1\n0.021277,0.26,0.49,0.01,0.4,0.4,0\n"))
    module = example("linear_drift")
    rows = module.read(path)
    assert [(row["period"], up) for row, up in rows] == [(0, True), (1, False)]
    x = module.fields(rows, 1)
    assert (x["last"], x["day"], x["nswprice"], x["step_nswprice"], x["step_nswdemand"]) == ("up", "?", "15", "+1", "-1")


def test_reads_movielens_in_the_order_of_time(example, tmp_path):
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n1,"Postman, The (1994)",Comedy|Drama\n2,Babylon 5,Sci-Fi\n', encoding="utf-8")
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress(
        b"userId,movieId,rating,timestamp\n7,1,4.0,1000000000\n8,2,3.5,900000000\n"))
    rows = example("linear_movielens").read(tmp_path)
    assert rows == [
        ({"user": "8", "film": "2", "genre": ["Sci-Fi"], "decade": "?", "word": ["5", "babylon"]}, False, 1998),
        ({"user": "7", "film": "1", "genre": ["Comedy", "Drama"], "decade": "1990", "word": ["postman", "the"]}, True, 2001)]
