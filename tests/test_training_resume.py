"""Checkpoints: one file, whole or refused; and a training that was interrupted ends, bit for bit, as one that was not."""
import json
import math
import os
import struct

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.trainings import bits, net, pairs
from tinygrad_lite.amp import GradScaler, Half
from tinygrad_lite.random import generator
from tinygrad_lite.training import AveragedModel, Checkpoint, EarlyStop, GradualUnfreezing, accuracy, fit, load, save

ENTROPY, S, O = tg.losses.cross_entropy, tg.schedules, tg.optim


# --- the file
def test_everything_comes_back_bit_for_bit(tmp_path):
    tg.seed(0)
    model, path = net(), tmp_path / "run.safetensors"
    optimizer, scaler, average = O.Adam(model.parameters(), lr=S.ReduceLROnPlateau(0.1)), GradScaler(), AveragedModel(model, "ema")
    fit(model, ENTROPY, pairs(), optimizer, epochs=2, callbacks=[average], show=False)
    odd = {"floats": [0.1, math.inf, 1e-320, -0.0], "none": None, "int": 2 ** 100, "text": "ä\n", "scalar": np.float32(0.1),
           "empty": np.zeros((0, 3)),
           "bool": np.array([True]), "nested": [{"a": np.arange(3, dtype=np.int16)}, ()], "0-d": np.array(7.5)}
    save(path, model, optimizer, scaler=scaler, average=average, odd=odd)
    before = bits(model, optimizer)
    tg.seed(99)
    model2 = net()
    optimizer2, scaler2, average2 = O.Adam(model2.parameters(),
                                           lr=S.ReduceLROnPlateau(0.1)), GradScaler(4.0), AveragedModel(model2, "ema")
    rest = load(path, model2, optimizer2, scaler=scaler2, average=average2)
    assert bits(model2, optimizer2) == before
    assert bits(average2)[0] == bits(average)[0] and scaler2.state_dict() == scaler.state_dict()
    found = rest.pop("odd")
    assert rest == {} and found["floats"] == odd["floats"] and math.copysign(1,
                                                                             found["floats"][3]) == -1 and found["int"] == 2 ** 100
    assert found["text"] == "ä\n" and found["scalar"] == float(np.float32(0.1)) and found["none"] is None and found["nested"][1] == []
    for name in ("empty", "bool", "0-d"):
        assert found[name].dtype == odd[name].dtype and found[name].shape == odd[name].shape and (found[name] == odd[name]).all()
    assert found["nested"][0]["a"].dtype == np.int16 and os.listdir(tmp_path) == ["run.safetensors"]


def test_any_reader_of_safetensors_finds_the_weights(tmp_path):
    model = net()
    save(tmp_path / "a", model, O.SGD(model.parameters()))
    arrays = tg.nn.load_safetensors(tmp_path / "a")
    assert (arrays["model/first.weight"] == model.first.weight.data).all() and {f"model/{k}"
                                                                                for k in model.state_dict()} <= set(arrays)


def test_parts_may_be_loaded_alone(tmp_path):
    tg.seed(0)
    model = net()
    save(tmp_path / "a", model, step=3)
    other, chance = net(), None
    assert load(tmp_path / "a") == {"step": 3}
    chance = generator.bit_generator.state
    assert load(tmp_path / "a", other) == {"step": 3} and bits(model) == bits(other) and generator.bit_generator.state == chance
    with pytest.raises(ValueError, match="holds no optimizer; it holds model, step"):
        load(tmp_path / "a", other, O.SGD(other.parameters()))
    with pytest.raises(ValueError, match="holds no scaler"):
        load(tmp_path / "a", scaler=GradScaler())


def test_what_does_not_fit_changes_nothing(tmp_path):
    model, wide = net(), tg.nn.Linear(6, 8)
    optimizer = O.Adam(model.parameters())
    fit(model, ENTROPY, pairs(), optimizer, epochs=1, show=False)
    save(tmp_path / "a", model, optimizer)
    fresh = net()
    sgd, part = O.SGD(fresh.parameters(), lr=0.3), O.Adam(fresh.first.parameters())
    before = bits(fresh, sgd), bits(wide), bits(fresh, part)
    for target, optimizer in ((wide, None), (fresh, sgd), (fresh, part)):
        with pytest.raises(ValueError):
            load(tmp_path / "a", target, optimizer)
    assert (bits(fresh, sgd), bits(wide), bits(fresh, part)) == before


@pytest.mark.parametrize("what", [object(), {"a": {1: 2}}, {3}, [np.array(["x"])], 1j])
def test_what_cannot_be_saved_is_named_and_no_file_is_left(tmp_path, what):
    with pytest.raises((TypeError, ValueError), match="odd"):
        save(tmp_path / "a", net(), odd=what)
    assert os.listdir(tmp_path) == []


def test_an_old_file_survives_a_write_that_fails(tmp_path, monkeypatch):
    model = net()
    save(tmp_path / "a", model)
    old = (tmp_path / "a").read_bytes()

    def full(*args):
        raise OSError("no space left")
    monkeypatch.setattr(os, "fsync", full)
    model.first.weight.data += 1
    with pytest.raises(OSError, match="no space"):
        save(tmp_path / "a", model)
    assert (tmp_path / "a").read_bytes() == old and os.listdir(tmp_path) == ["a"]


def test_every_damaged_byte_is_noticed(tmp_path):
    tg.seed(0)
    model = tg.nn.Linear(2, 1)
    save(tmp_path / "a", model, step=1)
    whole, rng, before = (tmp_path / "a").read_bytes(), np.random.default_rng(0), bits(model)
    places = np.arange(len(whole)) if len(whole) < 3000 else rng.choice(len(whole), 3000, replace=False)
    unnoticed = 0
    for at in [*rng.choice(places, 150, replace=False), *range(len(whole) - 12, len(whole))]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "b").write_bytes(damaged)
        try:
            load(tmp_path / "b", model)
        except ValueError:
            assert bits(model) == before
        else:                                   # a letter of the JSON that means the same: spaces, the case of an exponent
            unnoticed += bits(model) != before
    for length in (0, 7, 8, 100, len(whole) - 1):
        (tmp_path / "b").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=str(tmp_path / "b")):
            load(tmp_path / "b", model)
    assert unnoticed == 0


def test_other_formats_and_versions_are_refused(tmp_path):
    tg.nn.save_safetensors(tmp_path / "plain", {"w": np.ones(2)})
    with pytest.raises(ValueError, match="a safetensors file, but no checkpoint"):
        load(tmp_path / "plain")
    save(tmp_path / "a", net())
    data = (tmp_path / "a").read_bytes()
    size, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    header["__metadata__"]["version"] = "2"
    text = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size:])
    with pytest.raises(ValueError, match="a checkpoint of version 2, expected 1"):
        load(tmp_path / "a")


# --- interrupted and resumed
class Killed(Exception):
    pass


class Kill:
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            raise Killed


def one_cycle(params):
    rate = S.OneCycleLR(0.3, total_steps=32)
    return O.SGD(params, lr=rate, momentum=rate.momentum)


OPTIMIZERS = {
    "1cycle": one_cycle, "adam": lambda p: O.Adam(p, lr=S.Warmup(0.01, 10)),
    "plateau": lambda p: O.Adagrad(p, lr=S.ReduceLROnPlateau(0.2, patience=0)),
    "restarts": lambda p: O.NAdam(p, lr=S.CosineAnnealingWarmRestarts(0.02, 5))}


def training(tmp_path, optimizer, seed, kill=None, every=None, epochs=4, accumulate=1, loader_seed=None, callbacks=(), half=False,
             resume=True):
    """A training with all that is random in it; another seed, unless the checkpoint brings back the first one's."""
    tg.seed(seed)
    model = net()
    average = AveragedModel(model, "ema", decay=0.8)
    opt = OPTIMIZERS[optimizer](model.parameters())
    used, scaler = (Half(model), GradScaler(2.0 ** 18)) if half else (model, None)
    loader, valid = pairs(n=64, shuffle=True, seed=loader_seed), pairs(n=20, shuffle=True, seed=3)
    keep = Checkpoint(tmp_path / "run", every=every, resume=resume)
    try:
        history = fit(used, ENTROPY, loader, opt, epochs, valid=valid, metrics={"accuracy": accuracy}, clip=1.0,
                      accumulate=accumulate,
                      scaler=scaler, callbacks=[*[make() for make in callbacks], average, *([Kill(kill)] if kill else []), keep],
                      show=False)
    except Killed:
        return None
    del history.epochs["seconds"]
    return bits(model, opt, loader, valid), bits(average), history.steps, history.epochs, scaler and scaler.state_dict()


@pytest.fixture
def seeds(monkeypatch):
    """Loaders without a seed draw one: in this order, so that the interrupted run starts with the seed of the other."""
    drawn = iter([11, 11, 12, 13])
    monkeypatch.setattr(np.random, "SeedSequence", lambda: type("Drawn", (), {"entropy": next(drawn)}))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kill, every", [(13, 3), (8, None), (17, 8), (31, 1), (3, 2)])
def test_resumed_in_the_middle_of_an_epoch(tmp_path, optimizer, kill, every, seeds):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    straight = training(tmp_path / "a", optimizer, seed=0)
    assert training(tmp_path / "b", optimizer, seed=0, kill=kill, every=every) is None
    assert (tmp_path / "b" / "run").exists() is (every is not None)             # before the end of the first epoch nothing else is saved
    resumed = training(tmp_path / "b", optimizer, seed=5 if every else 0, every=every)
    if every:
        assert repr(resumed) == repr(straight)
    assert len(straight[2]["loss"]) == 32


@pytest.mark.parametrize("options", [
    dict(accumulate=4), dict(half=True), dict(callbacks=[lambda: EarlyStop("valid_loss", patience=1, min_delta=10.0)], epochs=6),
    dict(callbacks=[GradualUnfreezing]), dict(callbacks=[lambda: EarlyStop("accuracy", mode="max"), GradualUnfreezing],
                                              accumulate=2)])
def test_resumed_with_everything_else(tmp_path, options):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    options = {"optimizer": "adam", "loader_seed": 1, **options}
    straight = training(tmp_path / "a", seed=0, **options)
    total = len(straight[2]["loss"])
    for start, kill in ((0, total // 3), (7, 2 * total // 3), (8, total)):      # killed three times
        assert training(tmp_path / "b", seed=start, kill=kill, every=1, **options) is None
    assert repr(training(tmp_path / "b", seed=9, every=1, **options)) == repr(straight)
    again = training(tmp_path / "b", seed=10, every=1, **options)               # a finished one is not trained again
    assert repr(again) == repr(straight)


def test_a_loader_that_draws_from_our_random_numbers(tmp_path):
    class Loader:
        def __len__(self):
            return 6

        def __iter__(self):
            order = generator.permutation(48).reshape(6, 8)
            x = np.random.default_rng(7).standard_normal((48, 6)).astype("f")
            return iter([(x[rows], x[rows, :3].argmax(axis=1)) for rows in order])

    def run(path, seed, kill=None):
        tg.seed(seed)
        model = net()
        optimizer = O.Adam(model.parameters())
        callbacks = [Checkpoint(path, every=1), *([Kill(kill)] if kill else [])]
        try:
            return fit(model, ENTROPY, Loader(), optimizer, 3, callbacks=callbacks, show=False).steps, bits(model, optimizer)
        except Killed:
            pass

    straight = run(tmp_path / "a", 0)
    for seed, kill in ((0, 4), (77, 6), (78, 15)):
        assert run(tmp_path / "b", seed, kill) is None
    assert repr(run(tmp_path / "b", 79)) == repr(straight)


def test_a_checkpoint_of_another_run_is_refused_and_may_be_overwritten(tmp_path):
    model = net()
    optimizer = O.SGD(model.parameters())
    fit(model, ENTROPY, pairs(), optimizer, 1, callbacks=[Checkpoint(tmp_path / "a")], show=False)
    before = bits(model, optimizer)
    with pytest.raises(ValueError, match="of a run with 8 batches an epoch, 1 loaders, no callbacks; this one has 16 batches"):
        fit(model, ENTROPY, pairs(batch_size=4), optimizer, 1, callbacks=[Checkpoint(tmp_path / "a")], show=False)
    assert bits(model, optimizer)[:2] == before[:2]
    h = fit(model, ENTROPY, pairs(batch_size=4), optimizer, 1, callbacks=[Checkpoint(tmp_path / "a", resume=False)], show=False)
    assert len(h.steps["loss"]) == 16 and load(tmp_path / "a")["run"]["batches"] == 16
