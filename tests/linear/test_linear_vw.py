"""Rule nag against Vowpal Wabbit itself: predictions recorded from the wheel (tests/linear/data/vw.json names its version).

Recorded for each argument list: what `vw -p` (clamped to the labels seen) and `vw -r` (not clamped) wrote for the lines.
"""
import io
import json
from pathlib import Path

import pytest

from linear import HingeSVM
from linear.formats import parser
from linear.stream import run

RECORDED = json.loads((Path(__file__).parent / "data" / "vw.json").read_text())
LINES = "\n".join(RECORDED["lines"]).encode()


@pytest.mark.parametrize("engine, dtype", [("compiled", "float32"), ("compiled", "float64"), ("dict", "float64")])
@pytest.mark.parametrize("recorded", RECORDED["runs"], ids=[recorded["args"] for recorded in RECORDED["runs"]])
def test_predictions_are_vws(recorded, engine, dtype):
    model, predictions, margins = HingeSVM(rule="nag", engine=engine, dtype=dtype, **recorded["options"]), [], []

    def on_example(example, margin, prediction, features):
        predictions.append(prediction), margins.append(margin)

    totals = run(model, io.BytesIO(LINES), parser("vw"), "lines", on_example=on_example)
    assert totals.malformed == 0 and totals.examples == len(RECORDED["lines"])
    assert predictions == pytest.approx(recorded["predictions"], rel=1e-4, abs=1e-4)
    assert margins == pytest.approx(recorded["margins"], rel=1e-4, abs=1e-4)
    assert max(map(abs, margins)) > 1.2                    # some are clamped, or the two outputs would be one
    assert any(p != m for p, m in zip(predictions, margins)) == (recorded["options"].get("loss") != "logistic")


def test_only_vws_rule_clamps():
    nag, own = HingeSVM(rule="nag"), HingeSVM()
    for model in (nag, own):
        assert model.learn_lines(b"1 |u a\n" * 3 + b"-1 |u b\n").examples == 4
    assert (nag.clamped(7.0), nag.clamped(-7.0), own.clamped(7.0)) == (1.0, -1.0, 7.0)
    fresh = HingeSVM(rule="nag")
    fresh.learn_line("1 |u a")
    assert fresh.clamped(-7.0) == 0.0                      # no negative label was seen yet


@pytest.mark.parametrize("switches, lr, initial_t", [
    ({}, 0.5, 0.0), ({"invariant": False}, 0.5, 0.0), ({"adaptive": False}, 10.0, 0.0), ({"normalized": False}, 10.0, 0.0),
    ({"adaptive": False, "normalized": False}, 10.0, 1.0),
])
def test_vws_defaults(switches, lr, initial_t):
    options = HingeSVM(rule="nag", **switches).options
    assert (options["lr"], options["initial_t"], options["power_t"]) == (lr, initial_t, 0.5)
