"""The cost model: it finds costs that are known, adds them up as it says, and its page and example run."""
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from test_mixing import READS, lines, written

import linear
from linear.scale import plan
from linear.scale.engines import LocalEngine

ROOT = Path(linear.__file__).parents[1]
COSTS = plan.Costs(line=1e-6, deep=1e-8, held=3e-8, moved=1e-7, task=0.01, byte=1e-9, round=0.02, mixed=5e-8, slot=16, a=30.0,
                   b=0.75)


def test_known_costs_are_found():
    rng = random.Random(1)
    rows = [(m, v, c, 1.0, 1e-6 * m + 3e-8 * v + 1e-7 * c + 0.01) for m, v, c in
            ((rng.randrange(10**6), rng.randrange(10**7), rng.randrange(10**5)) for _ in range(12))]
    assert plan._least_squares(rows) == pytest.approx([1e-6, 3e-8, 1e-7, 0.01])
    noisy = [(*row[:-1], row[-1] * rng.uniform(0.9, 1.1)) for row in rows]
    assert min(plan._least_squares(noisy)) >= 0.0 and plan._least_squares(noisy)[0] == pytest.approx(1e-6, rel=0.2)
    assert plan._least_squares([(1.0, 1.0, 3.0), (2.0, 1.0, 2.0)]) == pytest.approx([0.0, 30 / 13])   # its slope would be negative


@pytest.mark.parametrize("workers, shards, cores", [(1, 1, None), (2, 4, None), (4, 6, None), (16, 4, None), (4, 8, 2)])
def test_a_run_costs_what_its_parts_cost(workers, shards, cores):
    found, expected = COSTS.run(1e7, workers, shards, 3, cores), 0.0
    for number in range(3):
        held, changed = 30.0 * (1e7 * number / 3) ** 0.75, 30.0 * (1e7 / 3 / shards) ** 0.75
        busy = min(workers, shards)
        turns = math.ceil(shards / min(busy, cores or busy))
        expected += (busy if cores else 1 + math.log2(busy)) * held * 16e-9 + 0.02 + shards * changed * (16e-9 + 5e-8)
        line = 1e-6 + 1e-8 * math.log2(1 + 30.0 * (1e7 * (number + 1) / 3) ** 0.75)
        expected += turns * (line * 1e7 / 3 / shards + 3e-8 * held + 1e-7 * changed + 0.01)
    assert sum(found.values()) == pytest.approx(expected) and list(found) == list(plan.PARTS)


def test_the_page():
    text = plan.page(COSTS)
    rows = [row.split() for row in text.splitlines()[5:-2]]
    assert {int(row[0]) for row in rows} == {2, 5, 10, 20, 50, 100} and {row[-1] for row in rows} <= set(plan.PARTS)
    lines = (1e9 / 30.0) ** (1 / 0.75)
    alone = sum(lines / 100 * (1e-6 + 1e-8 * math.log2(1 + 1e9 * (part / 100) ** 0.75)) for part in range(1, 101)) / 3600
    assert f"One learner takes {alone:.1f} hours" in text and "in the end\n16 GB" in text
    for row in rows:
        assert float(row[3]) == pytest.approx(alone / float(row[2]), rel=0.01, abs=0.01 + float(row[3]) * 0.05 / float(row[2]))


def test_costs_are_fitted_to_runs(tmp_path):
    path, = written(tmp_path, lines(4000))
    costs = plan.fitted(path, READS, {"crosses": "u*t"}, LocalEngine())
    assert costs.slot == 16 and 0.3 < costs.b < 1.0 and costs.weights(4000) < 10_000
    assert all(value >= 0.0 for value in plan.asdict(costs).values()) and 0 < costs.line + costs.task < 0.1


def test_the_example(tmp_path):
    def run(*args):
        return subprocess.run([sys.executable, "-W", "error", ROOT / "examples" / "scale_out.py", *args], cwd=tmp_path, timeout=300,
                              capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    done = run("--lines", "6000", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert [row["workers"] for row in told["scaling"]] == [1, 2] and len({row["model file"] for row in told["scaling"]}) == 1
    assert told["accuracy"][0]["mixing costs"] == 0.0 and all(row["fresh 0/1"] < 0.45 for row in told["accuracy"])
    assert list(tmp_path.iterdir()) == []
    done = run("--data", "nowhere")
    assert done.returncode == 2 and "--data nowhere: there is no such file" in done.stderr
