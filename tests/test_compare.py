"""The doubter's script: everything agrees with PyTorch, live and recorded, and what does not agree is found and named."""
import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lite as tg

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "compare_pytorch.py"
PATCHED = """import importlib.util, runpy, sys
import tinygrad_lite as tg
import tinygrad_lite.nn                 # whose losses stay whole
{patch}
sys.argv[0] = {script!r}
runpy.run_path({script!r}, run_name="__main__")"""
WITHOUT_TORCH = """
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'")
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *where: None if name == "torch" else find_spec(name, *where)
sys.meta_path.insert(0, NoTorch())"""


def run(*options, cwd, patch=""):
    """The script in a process of its own, after `patch`."""
    start = ["-c", PATCHED.format(script=str(SCRIPT), patch=patch)] if patch else [str(SCRIPT)]
    return subprocess.run([sys.executable, "-W", "error", *start, *map(str, options)], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}, timeout=300)


def last(done):
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    environment, path = dict(os.environ), list(sys.path)
    spec = importlib.util.spec_from_file_location("compare_pytorch", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environment)


def test_everything_agrees_with_pytorch(tmp_path, torch):
    done = run("--json", "table.json", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    table = json.loads((tmp_path / "table.json").read_text())
    assert last(done) == f"{len(table)} items, 0 differ" and len(table) > 100
    assert f"against PyTorch {torch.__version__}" in done.stdout and "has no row" not in done.stdout
    assert {row["item"].split(".")[0] for row in table} == {"optim", "schedules", "clip", "losses", "nn", "training"}
    for row in table:
        assert row["cases"] > 0 and 0 <= row["float64"] < 1e-10 or row["item"] == "optim.Muon", row
        live = row["peer"] == "PyTorch"
        assert live == (row["peer_seconds"] is not None) == (row["ratio"] is not None) and row["seconds"] > 0
    assert sum(row["peer"] == "PyTorch" for row in table) > 80 and sum(row["item"].startswith("training.") for row in table) == 4


def test_everything_agrees_with_what_was_recorded(tmp_path):
    done = run("--json", "table.json", cwd=tmp_path, patch=WITHOUT_TORCH)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    table = json.loads((tmp_path / "table.json").read_text())
    assert done.stdout.startswith("PyTorch is not installed: comparing with values recorded from PyTorch 2.")
    assert last(done) == f"{len(table)} items, 0 differ" and {row["peer"] for row in table} == {"recorded", "definition"}
    assert all(row["peer_seconds"] is None and row["ratio"] is None for row in table)


def test_another_seed_draws_other_numbers(script):
    for name in "optim.SGD", "schedules.StepLR", "clip.clip_grad_norm_", "losses.mse_loss", "nn.Linear":
        item = script.rowed()[name]
        one, again, two = ([sums for case in script.sketches(item, item.results(script.Ours(), seed)[0]) for sums in case] for seed in (1, 1, 2))
        assert one == again != two


# ---------------------------------------------------------------- what is broken is found

BROKEN = """
scalars = tg.optim.Adam.scalars
tg.optim.Adam.scalars = lambda self, o, t: {**scalars(self, o, t), "eps": o.eps + 1e-6}
call = tg.schedules.CosineAnnealingLR.__call__
tg.schedules.CosineAnnealingLR.__call__ = lambda self, t: call(self, t) * (1 + 1e-8)
l1 = tg.losses.l1_loss
def l1_loss(x, y, reduction="mean"):
    return l1(x, y, reduction) + (1e-7 * x * x).sum()
def mse_loss(x, y, reduction="mean"):
    raise RuntimeError("out of order")
def lonely_loss(x):
    return x
tg.losses.l1_loss, tg.losses.mse_loss = l1_loss, mse_loss
tg.losses.ALL += (lonely_loss,)"""
BROKEN_ITEMS = {"optim.AdamW", "schedules.CosineAnnealingLR", "losses.l1_loss", "losses.mse_loss"}


@pytest.mark.parametrize("how", ["live", "recorded"])
def test_what_is_broken_is_named_and_fails(how, tmp_path, request):
    if how == "live":
        request.getfixturevalue("torch")
    chosen = "optim.AdamW,optim.SGD,CosineAnnealingLR,StepLR,losses.l1_loss,losses.mse,losses.lonely,nn.ReLU"
    done = run("--item", chosen, *["--recorded"] * (how == "recorded"), cwd=tmp_path, patch=BROKEN)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stdout + done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if " DIFFERS " in line}
    assert set(rows) == BROKEN_ITEMS and last(done).endswith(" items, 4 differ"), done.stdout
    assert "out of order" in rows.pop("losses.mse_loss") and all("is allowed" in row for row in rows.values())
    assert "losses.lonely_loss " in done.stdout and "has no row in compare/items.py: not compared" in done.stdout


@pytest.mark.parametrize("options, words", [(("--item", "nonsense"), "optim.Adam"), (("--recorded", "--seed", 1), "recorded values are of seed 0")])
def test_what_cannot_be_done_is_refused(options, words, tmp_path):
    done = run(*options, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


# ---------------------------------------------------------------- its parts

def test_every_public_name_has_a_row(script):
    known = {**script.rowed(), **script.defined()}
    missing = [name for name in script.public() if name not in known]
    assert not missing, f"add rows for these to examples/compare/items.py, then run {SCRIPT.name} --record: {missing}"
    assert {f"losses.{f.__name__}" for f in tg.losses.ALL} <= set(script.public())


def test_every_row_is_recorded(script):
    recorded = json.loads(gzip.decompress(script.RECORDED.read_bytes()))
    rows = script.rowed()
    assert set(rows) == set(recorded["items"]), f"run {SCRIPT.name} --record"
    assert all(len(recorded["items"][name]) == len(item.cases) for name, item in rows.items())
    assert script.RECORDED.stat().st_size < 200_000


def test_inputs_cover_the_corners(script):
    rng = np.random.RandomState(0)
    arrays = script.items.layouts(rng, "SGD")
    assert () in {a.shape for a in arrays} and 0 in {a.size for a in arrays}
    assert any(not a.flags.contiguous for a in arrays) and any(a.flags.f_contiguous and a.ndim > 1 for a in arrays)
    dtypes = {dtype for item in script.rowed().values() for _, dtype, _ in item.cases}
    assert dtypes == {"float64", "float32"}


def test_difference(script):
    d, nan, inf = script.difference, np.nan, np.inf
    assert d([np.array([1.0, nan, inf, -inf])], [np.array([1.0, nan, inf, -inf])]) == 0
    assert d([np.array([1000.0])], [np.array([1001.0])]) == pytest.approx(1 / 1001)      # relative where numbers are large
    assert d([np.array([0.001])], [np.array([0.002])]) == pytest.approx(0.001)           # absolute where they are small
    assert d([np.empty((0, 3))], [np.empty((0, 3))]) == 0
    for a, b in ([1.0], [nan]), ([inf], [-inf]), ([nan], [inf]), ([1.0, 2.0], [1.0]), ([1.0], [[1.0]]):
        assert d([np.array(a)], [np.array(b)]) == inf == d([np.array(b)], [np.array(a)])
    assert d([np.ones(2)], []) == inf


@pytest.mark.parametrize("size", [1, 4, 5, 100, 9100])
def test_a_difference_anywhere_shows_in_the_sums(script, size):
    a = np.random.default_rng(0).normal(size=size)
    for i in range(0, size, max(1, size // 50)):
        b = a.copy()
        b[i] += 1e-6
        assert script.difference([script.sums(b, 13)], [script.sums(a, 13)]) > 1e-9


def test_plot(script, tmp_path):
    from matplotlib.image import imread
    rows = [dict(item=f"optim.{i}", float64=10.0 ** -i, float32=None if i % 2 else 0.0) for i in range(9)]
    rows += [dict(item="training.one", float64=0.0, float32=None, curves=[np.array([2.0, 1.0, 0.5])] * 2),
             dict(item="broken", float64=None, float32=None)]
    script.plot(rows, tmp_path / "with.png")
    script.plot(rows[:9], tmp_path / "without.png")
    one, other = (imread(tmp_path / name)[..., :3] for name in ("with.png", "without.png"))
    assert one.std() > 0.05 and other.std() > 0.05 and not np.array_equal(one, other)
