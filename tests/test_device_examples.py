"""--device: every example that trains nets takes it; without a GPU it ends with a sentence, on the stand-in it runs through."""
import ast
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_lite as tg
from tests.standin.array import ndarray

EXAMPLES = Path(__file__).parents[1] / "examples"
OTHERS = {"browser.py", "common.py", "nonfinite_cases.py", "scale_out.py", "service_load.py", "service_logs.py", "streaming_service.py",       # no nets that are trained
          "charcnn_neighbours.py", "decay_forms.py", "four_gaussians.py", "gd_and_sgd.py", "ngrams_for_unknown_words.py", "replacement.py",
          "saddle.py", "optimizers_on_a_surface.py", "schedules_picture.py", "two_lstms.py", "__init__.py", "__main__.py", "_shared.py"}
SCRIPTS = [p for folder in ("", "gallery") for p in sorted((EXAMPLES / folder).glob("*.py"))
           if p.name not in OTHERS and not p.name.startswith("linear_")]


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """In an empty folder, with the import path that a script has which is run alone; what it asks of the process is not done."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *args: None, raising=False)
    for name in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "JAX_PLATFORMS":
        monkeypatch.setenv(name, os.environ.get(name, "1" if name != "JAX_PLATFORMS" else "cpu"))

    def start(script, *options):
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, options)])
        monkeypatch.setattr(sys, "path", [str(script.parent), *[p for p in sys.path if p != str(EXAMPLES)]])
        return runpy.run_path(str(script), run_name="__main__")
    return start


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_without_a_gpu_it_ends_with_a_sentence_before_any_work(script, at_home, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(tg.backend, "obstacle", lambda: "there is no GPU, and this is the way out")
    with pytest.raises(SystemExit) as end:
        at_home(script, "--device", "cuda")
    told = capsys.readouterr()
    assert end.value.code == 2 and told.out == ""
    assert told.err.splitlines()[-1] == f"{script.name}: error: argument --device: there is no GPU, and this is the way out"
    assert list(tmp_path.iterdir()) == []


def test_those_left_out_do_not_take_it():
    for path in [*EXAMPLES.glob("*.py"), *(EXAMPLES / "gallery").glob("*.py")]:
        names = {node.id for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Name)}
        if path not in SCRIPTS and path.name not in ("common.py", "_shared.py"):
            assert not names & {"digits", "add_device"}, path


@pytest.mark.parametrize("name", ["cpu", "tpu", None])
def test_the_variable_names_the_device_too(name, monkeypatch, at_home, capsys):
    monkeypatch.setenv("TINYGRAD_LITE_BACKEND", name or "")
    if name == "tpu":
        with pytest.raises(SystemExit) as end:
            at_home(EXAMPLES / "stems.py")
        assert end.value.code == 2 and "--device: got 'tpu', expected cpu or cuda" in capsys.readouterr().err
    else:
        with pytest.raises(SystemExit) as end:
            at_home(EXAMPLES / "stems.py", "--help")
        assert end.value.code == 0 and "--device cpu|cuda" in capsys.readouterr().out


def answer(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_quickstart_runs_through(at_home, capsys, gpu):
    space = at_home(EXAMPLES / "quickstart.py", "--epochs", 20, "--device", "cuda")
    share, = [float(line.split()[2].rstrip("%")) for line in capsys.readouterr().out.splitlines() if line.startswith("test accuracy")]
    assert share >= 97
    model = space["network"]().to("cuda")
    assert isinstance(model[0].weight.data, ndarray)


@pytest.mark.parametrize("options", [(), ("--awd", "--size", 6), ("--schedule", "1cycle")], ids=["usual", "awd", "1cycle alone"])
def test_the_language_model_learns_there_as_it_does_here(options, at_home, capsys, gpu, tmp_path):
    words = ["the dog sleeps .", "a cat sees the dog .", "the cat sleeps and a dog runs ."]
    (tmp_path / "text").write_text(" ".join(words[i % 3] for i in range(400)))
    found = {}
    for device in "cuda", "cpu":
        at_home(EXAMPLES / "language_model.py", "--data", tmp_path / "text", "--hidden", 8, "--epochs", 2, "--rate", 1, "--dropout", 0, "--batch", 8,
                "--steps", 12, "--device", device, "--json", *options, "--picture", f"{device}.png")
        found[device] = answer(capsys)
        assert (tmp_path / f"{device}.png").stat().st_size > 5000
    assert found["cuda"].keys() == found["cpu"].keys() and len(found["cpu"]) == {"--awd": 2, "--schedule": 1}.get((*options, "")[0], 4)
    for name, run in found["cuda"].items():
        here, curve = found["cpu"][name]["perplexity"], run["perplexity"]
        assert len(curve) == len(here)
        if "--awd" not in options and "too high" not in name:       # its masks are drawn there
            assert curve == pytest.approx(here, rel=1e-2)


def test_the_awd_lstm_is_of_its_size(at_home):
    """3 layers, 1150 units, vectors of 400 that also score: as many weights as Merity et al. count for wikitext-2."""
    from argparse import Namespace
    space = runpy.run_path(str(EXAMPLES / "language_model.py"), run_name="language_model") if not sys.path.insert(0, str(EXAMPLES)) else None
    L = space["float32"](space["Ours"])
    model = space["AWDLanguageModel"](L, 33278, 400, 1150, 3)
    assert [(lstm.input_size, lstm.hidden_size) for lstm in model.recurrent] == [(400, 1150), (1150, 1150), (1150, 400)]
    assert sum(p.size for p in model.parameters) == 33278 * 400 + 33278 + sum(4 * h * (i + h + 2) for i, h in ((400, 1150), (1150, 1150), (1150, 400)))
