"""The gallery: every script draws its picture and its claims hold on several seeds; with its idea switched off it fails."""
import functools
import html
import importlib
import inspect
import re
from pathlib import Path

import pytest
from matplotlib.image import imread

from tests.switched_off import schedules_picture

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "examples" / "gallery").glob("*.py") if not path.stem.startswith("_"))
every = pytest.mark.parametrize("name", NAMES)


def module(name):
    return importlib.import_module(f"examples.gallery.{name}")


MEASURE = {name: module(name).measure for name in NAMES}


def numbers(name, *options, known={}):
    """What a script measures, once for all tests that look at it."""
    key = name, str(options)
    if key not in known:
        known[key] = MEASURE[name](*options)
    return known[key]


@pytest.fixture
def measured(monkeypatch):
    for name in NAMES:
        monkeypatch.setattr(module(name), "measure", functools.partial(numbers, name))


@every
def test_it_draws_and_prints(name, measured, tmp_path, capsys):
    picture = tmp_path / "picture.png"
    module(name).main(["--picture", str(picture)])
    assert list(tmp_path.iterdir()) == [picture]
    pixels = imread(picture)
    assert min(pixels.shape[:2]) >= 600 and pixels[..., :3].std() > 0.05
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"picture  {picture}" and len(re.findall(r"-?\d+\.\d+", printed)) > 10


@every
def test_it_is_made_for_the_page(name):
    lines = module(name).__doc__.strip().splitlines()
    assert lines[1] == "" and not lines[0].endswith(".") and f"python examples/gallery/{name}.py" in lines[-1]


def seeds(name):
    """Two for a script that takes a seed, one for a SLOW one: `python -m examples.gallery --seeds 5` tries more."""
    if "seed" in inspect.signature(MEASURE[name]).parameters:
        yield from range(1 if getattr(module(name), "SLOW", False) else 2)


@pytest.mark.parametrize("name, seed", [(name, seed) for name in NAMES for seed in seeds(name)])
def test_its_claims_hold_on_every_seed(name, seed, seen={}):
    module(name).check(numbers(name, seed))
    text = str(numbers(name, seed))
    assert text not in seen, f"seed {seed} gave what {seen[text]} gave"
    seen[text] = name, seed


# ---------------------------------------------------------------- the idea switched off: what the script then says

OFF = [(name, *row) for name in NAMES for row in importlib.import_module(f"tests.switched_off.{name}").OFF]


@pytest.mark.parametrize("name, switch_off, message", OFF, ids=[f"{name}-{off.__name__}" for name, off, _ in OFF])
def test_with_its_idea_switched_off_it_fails(name, switch_off, message, monkeypatch, tmp_path):
    script = module(name)
    switch_off(script, monkeypatch)
    with pytest.raises(AssertionError, match=re.escape(message)):
        script.main(["--picture", str(tmp_path / "picture.png")])
    assert list(tmp_path.iterdir()) == []                   # no picture of what is not so


def test_every_idea_is_switched_off():
    assert {name for name, _, _ in OFF} == set(NAMES) == {
        path.stem for path in (ROOT / "tests" / "switched_off").glob("*.py")} - {"__init__"}


# ---------------------------------------------------------------- the page

@pytest.fixture
def gallery():
    return importlib.import_module("examples.gallery.__main__")


def test_the_page(gallery, measured, tmp_path, monkeypatch, capsys):
    for name in NAMES:                      # they are drawn above; here a small file does
        monkeypatch.setattr(module(name), "draw", lambda numbers, path: Path(path).write_bytes(b"picture"))
    with pytest.raises(SystemExit) as done:
        gallery.main(["--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert done.value.code == 0 and {p.name for p in (tmp_path / "out").iterdir()} == {"index.html", *(f"{n}.png" for n in NAMES)}
    assert capsys.readouterr().out.rstrip().endswith(f"{len(NAMES)} pictures, 0 with a claim that does not hold: {tmp_path / 'out' / 'index.html'}")
    assert re.findall(r'<img src="(\w+)\.png"', page) == NAMES and re.findall(r'<section id="(\w+)"', page) == NAMES
    assert "://" not in page and "<script" not in page and "class=\"broken\"" not in page       # nothing from elsewhere
    for name in NAMES:
        assert html.escape(module(name).__doc__.splitlines()[0]) in page
    assert "plain SGD" in page and str(tmp_path) not in page


def test_the_page_tells_of_a_claim_that_does_not_hold(gallery, tmp_path, monkeypatch, capsys):
    schedules_picture.with_one_missing(module("schedules_picture"), monkeypatch)
    with pytest.raises(SystemExit) as done:
        gallery.main(["--out", str(tmp_path), "--only", "schedules"])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert done.value.code == 1 and "1 with a claim that does not hold" in capsys.readouterr().out
    assert '<p class="broken">This claim does not hold: every schedule should have a panel' in page


def test_a_name_that_no_script_has(gallery, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        gallery.main(["--only", "nonsense", "--out", str(tmp_path / "out")])
    assert done.value.code == 2 and "decay_forms" in capsys.readouterr().err and not (tmp_path / "out").exists()
