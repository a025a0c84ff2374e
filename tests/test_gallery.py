"""The gallery: every script draws its picture and its claims hold on five seeds; with its idea switched off it fails."""
import html
import importlib
import inspect
import re
from pathlib import Path

import pytest
from matplotlib.image import imread

from tinygrad_lite import schedules as S

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "examples" / "gallery").glob("*.py") if not path.stem.startswith("_"))
every = pytest.mark.parametrize("name", NAMES)


def module(name):
    return importlib.import_module(f"examples.gallery.{name}")


@every
def test_it_draws_and_prints(name, tmp_path, capsys):
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


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", [n for n in NAMES if "seed" in inspect.signature(module(n).measure).parameters])
def test_its_claims_hold_on_five_seeds(name, seed):
    script = module(name)
    numbers = script.measure(seed)
    script.check(numbers)
    assert str(numbers) != str(script.measure(seed + 5))


# ---------------------------------------------------------------- the idea switched off: what the script then says

def without_momentum(surface, patch):
    patch.setattr(surface, "BETA", 0.0)


def without_halving(surface, patch):
    patch.setattr(surface, "HALVING", 1.0)


def without_average(surface, patch):
    patch.setattr(surface, "GDEMA", surface.GD)


def without_damping(surface, patch):
    patch.setitem(surface.SIX, "Adam", surface.RMSprop)


def without_division(surface, patch):
    patch.setitem(surface.SIX, "RMSprop", surface.GD)


def without_normalising(gd, patch):
    patch.setattr(gd, "NORMALIZED", False)


def without_mini_batches(gd, patch):
    patch.setattr(gd, "BATCH", gd.N)


def without_decay(decay, patch):
    patch.setattr(decay, "DECAY", 0.0)


def without_decoupling(decay, patch):
    patch.setitem(decay.PAIRS, "Adam", (decay.PAIRS["Adam"][0],) * 2)


def with_one_missing(pictures, patch):
    patch.setitem(pictures.FAMILIES, "Caffe's", pictures.FAMILIES["Caffe's"][1:])


def with_one_that_remembers(pictures, patch):
    class Forgetful(S.Fixed):
        def __call__(self, t, asked=[0]):
            asked[0] += 1
            return 0.1 / asked[0]
    patch.setitem(pictures.FAMILIES, "Caffe's", [Forgetful(0.1), *pictures.FAMILIES["Caffe's"]])
    patch.setattr(pictures.S, "ALL", (*S.ALL, Forgetful))


OFF = [("optimizers_on_a_surface", without_momentum, "momentum should leave the plateau"),
       ("optimizers_on_a_surface", without_halving, "halving the rate should cut the late oscillation"),
       ("optimizers_on_a_surface", without_average, "the average should damp the bouncing"),
       ("optimizers_on_a_surface", without_damping, "Adam's first step should be the rate"),
       ("optimizers_on_a_surface", without_division, "RMSprop's first step should be rate / sqrt(1 - beta)"),
       ("gd_and_sgd", without_normalising, "every step should be 0.5 long"),
       ("gd_and_sgd", without_mini_batches, "single batches should point elsewhere"),
       ("decay_forms", without_decay, "the two forms should differ"), ("decay_forms", without_decoupling, "for Adam the two forms should differ"),
       ("schedules_picture", with_one_missing, "without: ['Fixed']"),
       ("schedules_picture", with_one_that_remembers, "asked in another order it should say the same")]


@pytest.mark.parametrize("name, switch_off, message", OFF, ids=[f"{name}-{off.__name__}" for name, off, _ in OFF])
def test_with_its_idea_switched_off_it_fails(name, switch_off, message, monkeypatch, tmp_path):
    script = module(name)
    switch_off(script, monkeypatch)
    with pytest.raises(AssertionError, match=re.escape(message)):
        script.main(["--picture", str(tmp_path / "picture.png")])
    assert list(tmp_path.iterdir()) == []                   # no picture of what is not so


def test_every_idea_is_switched_off_once():
    assert {name for name, _, _ in OFF} == set(NAMES)


# ---------------------------------------------------------------- the page

@pytest.fixture
def gallery():
    return importlib.import_module("examples.gallery.__main__")


def test_the_page(gallery, tmp_path, monkeypatch, capsys):
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
    with_one_missing(module("schedules_picture"), monkeypatch)
    with pytest.raises(SystemExit) as done:
        gallery.main(["--out", str(tmp_path), "--only", "schedules"])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert done.value.code == 1 and "1 with a claim that does not hold" in capsys.readouterr().out
    assert '<p class="broken">This claim does not hold: every schedule should have a panel' in page


def test_a_name_that_no_script_has(gallery, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        gallery.main(["--only", "nonsense", "--out", str(tmp_path / "out")])
    assert done.value.code == 2 and "decay_forms" in capsys.readouterr().err and not (tmp_path / "out").exists()
