"""The examples run as a reader runs them, in a process of their own, and what they print is true."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITHOUT = "import runpy, sys; sys.modules.update(dict.fromkeys({modules!r})); sys.argv[0] = {script!r}; " \
          "sys.path[0] = {home!r}; runpy.run_path({script!r}, run_name='__main__')"


def run(script, *options, cwd, without=()):
    """Run an example in the directory cwd; the modules in `without` are as good as not installed."""
    script = str(ROOT / "examples" / script)
    start = ["-c", WITHOUT.format(modules=without, script=script, home=str(ROOT / "examples"))] if without else [script]
    return subprocess.run([sys.executable, "-W", "error", *start, *map(str, options)], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}, timeout=300)


def found(pattern, text):
    match = re.search(pattern, text)
    assert match, f"{pattern!r} is not in\n{text}"
    return match


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    path = tmp_path_factory.mktemp("quickstart")
    done = run("quickstart.py", cwd=path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return path, done.stdout


def test_quickstart_checks_then_trains(quickstart):
    _, text = quickstart
    assert abs(float(found(r"first loss +(\d\.\d+), expected about -log\(1/10\) = 2\.303", text)[1]) - 2.303) < 0.2
    assert float(found(r"32 images: loss (\d\.\d+) after 100 steps", text)[1]) < 0.01
    assert float(found(r"test accuracy +(\d+\.\d)% of 360", text)[1]) >= 97
    assert len(re.findall(r"^training +\d+/880 +\d+ % ", text, re.MULTILINE)) == 10      # no terminal: plain lines
    assert "\r" not in text
    assert re.search(r"^done in \d+\.\d s$", text.splitlines()[-1])


def test_quickstart_writes_its_picture(quickstart):
    path, text = quickstart
    picture = Path(found(r"picture +(\S.*)\n", text)[1])
    assert picture == path / "quickstart.png" and list(path.iterdir()) == [picture]
    from matplotlib.image import imread
    pixels = imread(picture)
    assert pixels.shape[:2] == (900, 1320) and pixels[..., :3].std() > 0.05


def test_quickstart_streams_lines(quickstart):
    _, text = quickstart
    table = text.split("since the line above\n")[1]
    rows = re.findall(r"^ +([\d,]+) +([\d.]+)% +([\d.]+)%$", table, re.MULTILINE)
    counts = [int(count.replace(",", "")) for count, _, _ in rows]
    assert counts[:-1] == [2 ** i for i in range(len(counts) - 1)] and counts[-1] >= 10_000
    assert 90 <= float(rows[-1][1]) <= 100 and float(rows[-1][2]) > float(rows[8][1])        # it goes on learning
    weights = re.findall(r"^ +(-\d\.\d\d) (\S.*?) +\+(\d\.\d\d) (\S.*)$", table, re.MULTILINE)
    assert len(weights) == 8 and any("first=return" in row for row in weights)
    assert int(found(r"([\d,]+) lines/s", table)[1].replace(",", "")) > 0


def test_quickstart_too_short_and_without_matplotlib(tmp_path):
    done = run("quickstart.py", "--epochs", 1, "--seed", 3, cwd=tmp_path, without=["matplotlib"])
    found("needs matplotlib: python -m pip install matplotlib", done.stdout)
    assert list(tmp_path.iterdir()) == []
    assert done.returncode == 1 and found(r"^quickstart.py: test accuracy is [\d.]+%, expected at least 97 %", done.stderr)


@pytest.mark.parametrize("options, words", [
    (("--epochs", 0, "--seed", 1), "--epochs 0"), (("--device", "cuda"), "tinygrad-lite[gpu]")])
def test_quickstart_refuses(options, words, tmp_path):
    done = run("quickstart.py", *options, cwd=tmp_path, without=["cupy"])
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_benchmark_runs_every_row(tmp_path):
    done = run("benchmark.py", "--quick", "--json", "figures.json", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    rooms = [path for path in (ROOT / "examples" / "bench").glob("*.py") if path.stem != "device"]       # which needs a GPU
    source = "\n".join(path.read_text(encoding="utf-8") for path in rooms)
    rows = re.findall(r"^@row\(.*\)\ndef (\w+)", source, re.MULTILINE)
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert sorted(figures["results"]["0.02"]) == sorted(rows) and len(rows) >= 11
    assert figures["machine"]["cpu"] and figures["machine"]["numpy"]
    for name, row in figures["results"]["0.02"].items():
        assert all(seconds > 0 for seconds in row["seconds"].values()) and "tinygrad_lite" in row["seconds"], name
        assert row["goal"] > 0 and (row["ratio"] is None) == (len(row["seconds"]) == 1)
        assert found(rf"(?m)^{name} +[\d.]+ [um]s", done.stdout)


def test_benchmark_without_peers_at_two_sizes(tmp_path):
    done = run("benchmark.py", "--only", "scalar,smorms3", "--size", 0.001, 0.002, "--reps", 1, cwd=tmp_path,
               without=["torch", "jax"])
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "Neither PyTorch nor JAX is installed" in done.stdout and "PyTorch   " not in done.stdout
    assert re.findall(r"^(scalar_loop|smorms3_10m|size [\d.]+)", done.stdout, re.MULTILINE) == [
        "size 0.001", "scalar_loop", "smorms3_10m", "size 0.002", "scalar_loop", "smorms3_10m"]
    assert found(r"smorms3_10m .* [\d.]+x our Adam", done.stdout)


def test_benchmark_says_which_rows_there_are(tmp_path):
    done = run("benchmark.py", "--only", "nonsense", cwd=tmp_path)
    assert done.returncode == 2 and "adam_10m" in done.stderr
