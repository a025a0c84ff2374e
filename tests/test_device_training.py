"""Training on the GPU, on the stand-in: fit, finder, averages, snapshots, checkpoints and doctor give the CPU's numbers."""
import os
import warnings

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.test_device_steps import frozen
from tinygrad_lite import training

ENTROPY = tg.losses.cross_entropy
BOTH = pytest.mark.parametrize("device", ["cuda", "cpu"])


def net(device, batch_norm=True):
    tg.seed(0)
    layers = [tg.nn.Linear(6, 100), tg.nn.Tanh(), *[tg.nn.BatchNorm1d(100)] * batch_norm, tg.nn.Linear(100, 90), tg.nn.ReLU(), tg.nn.Linear(90, 3)]
    return tg.nn.Sequential(*layers).to(device)


def loader(device, n=64, batch_size=16, **options):
    """Points and the largest of their first three coordinates."""
    x = np.random.default_rng(7).standard_normal((n, 6)).astype("f")
    x, y = tg.backend.to_device(x, device), tg.backend.to_device(x[:, :3].argmax(axis=1), device)
    return tg.data.DataLoader(x, y, batch_size=batch_size, shuffle=True, seed=0, **options)


def close(states, rtol=2e-4, atol=2e-5):
    one, other = states
    assert one.keys() == other.keys()
    for k in one:
        np.testing.assert_allclose(one[k], other[k], rtol=rtol, atol=atol, err_msg=k)


def on_both(f):
    """What f(device) gives there and on the host."""
    return [f(device) for device in ("cuda", "cpu")]


OPTIMIZERS = dict(adam=lambda ps: tg.optim.Adam(ps, lr=tg.schedules.OneCycleLR(0.02, total_steps=12)),
                  sgd=lambda ps: tg.optim.SGD(ps, lr=tg.schedules.ReduceLROnPlateau(0.3, patience=0), momentum=0.9),
                  adagrad=lambda ps: tg.optim.Adagrad(ps, lr=0.05))


@pytest.mark.parametrize("options", [dict(clip=0.5), dict(clip=tg.clip.centralize_grad_), dict(accumulate=2), dict(scaler=True), {}],
                         ids=["clip", "centralize", "accumulate", "scaler", "plain"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_fit(make, options, gpu):
    def run(device):
        model = net(device)
        opt = make(model.named_parameters())
        average = training.AveragedModel(model, kind="ema", decay=0.8)
        if "scaler" in options:
            options["scaler"] = tg.amp.GradScaler(growth_interval=5)
        history = training.fit(model, ENTROPY, loader(device), opt, epochs=3, valid=loader(device, 32), metrics={"accuracy": training.accuracy},
                               callbacks=[average], show=False, **options)
        assert all(tg.backend.on_gpu(p.data) == (device == "cuda") for p in model.parameters())
        return history, model.state_dict(), average.state_dict()
    (history, weights, average), (other, others, averages) = on_both(run)
    for rows, twins in (history.steps, other.steps), (history.epochs, other.epochs):
        close([{k: v for k, v in r.items() if k != "seconds"} for r in (rows, twins)], rtol=2e-3, atol=1e-4)
    close([weights, others], 2e-3, 2e-4), close([average, averages], 2e-3, 2e-4)
    assert {type(v) for values in history.steps.values() for v in values} == {float}


def test_fit_names_the_culprit_and_changes_nothing(gpu):
    model = net("cuda", batch_norm=False)
    opt, data = tg.optim.Adam(model.named_parameters()), loader("cuda")
    before = frozen([model.state_dict(), opt.state_dict()])
    with pytest.raises(FloatingPointError, match="fit: step 0 .*the loss is inf.*This step was not taken"):
        with np.errstate(all="ignore"):
            training.fit(model, lambda output, y: ENTROPY(output, y) * np.inf, data, opt, epochs=1, show=False)
    assert frozen([model.state_dict(), opt.state_dict()]) == before


def test_the_finder(gpu):
    def run(device):
        model = net(device)
        opt = tg.optim.SGD(model.named_parameters(), momentum=0.9)
        before = frozen([model.state_dict(), opt.state_dict()])
        sweep = training.lr_find(model, ENTROPY, loader(device), opt, start=1e-3, num_it=25, valid=loader(device, 32))
        assert frozen([model.state_dict(), opt.state_dict()]) == before
        return sweep
    sweep, other = on_both(run)
    assert sweep.diverged == other.diverged and len(sweep.losses) == len(other.losses) > 10
    np.testing.assert_allclose(sweep.smoothed[:10], other.smoothed[:10], rtol=1e-3)


@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_averages_may_live_elsewhere(kind, gpu):
    found = []
    for there, here in ("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda"), ("cpu", "cpu"):
        model = net(there)
        average = training.AveragedModel(model, kind=kind, decay=0.7).to(here)
        for i in range(3):
            for p in model.parameters():
                p.data *= 1 + i
            average.update_parameters(model)
        found.append(average.state_dict())
        assert all(tg.backend.on_gpu(p.data) == (here == "cuda") for p in average.parameters())
    assert frozen(found[0]) == frozen(found[1]) == frozen(found[2]) == frozen(found[3])
    model, batches = net("cuda"), loader("cuda")
    training.update_batch_norm(model, batches)
    twin = net("cpu")
    training.update_batch_norm(twin, loader("cpu"))
    close([model.state_dict(), twin.state_dict()])


def test_snapshots(gpu):
    def run(device):
        model = net(device)
        ensemble = training.snapshot_ensemble(model, ENTROPY, loader(device), tg.optim.SGD(model.parameters(), lr=0.2), epochs=4, cycles=2,
                                              show=False)
        x = tg.Tensor(tg.backend.to_device(np.ones((2, 6), "f"), device))
        return {f"{i}.{k}": v for i, m in enumerate(ensemble.models) for k, v in m.state_dict().items()} | {"votes": ensemble.eval()(x).numpy()}
    close(on_both(run), 2e-3, 2e-4)


@pytest.mark.parametrize("saved_on, loaded_on", [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
@pytest.mark.parametrize("make", [*OPTIMIZERS.values(), tg.optim.LARS], ids=[*OPTIMIZERS, "lars"])
def test_checkpoints_travel_bit_for_bit(make, saved_on, loaded_on, gpu, tmp_path):
    path = tmp_path / "run.safetensors"

    def parts(device):
        model = net(device)
        opt = make(model.named_parameters())
        return model, opt, tg.amp.GradScaler(growth_interval=3), training.AveragedModel(model)
    model, opt, scaler, average = parts(saved_on)
    history = training.fit(model, ENTROPY, loader(saved_on), opt, epochs=2, scaler=scaler, callbacks=[average], show=False)
    note = tg.backend.to_device(np.arange(3.0), saved_on)
    training.save(path, model, opt, scaler=scaler, average=average, history=history, note=note)
    before = frozen([model.state_dict(), opt.state_dict(), scaler.state_dict(), average.state_dict(), history.state_dict()])
    model, opt, scaler, average = parts(loaded_on)
    for p in model.parameters():
        p.data *= 0
    history = training.History()
    left = training.load(path, model, opt, scaler=scaler, average=average, history=history)
    assert frozen([model.state_dict(), opt.state_dict(), scaler.state_dict(), average.state_dict(), history.state_dict()]) == before
    assert type(left["note"]) is np.ndarray and left["note"].tolist() == [0, 1, 2]
    assert all(tg.backend.on_gpu(p.data) == (loaded_on == "cuda") for p in model.parameters())
    training.fit(model, ENTROPY, loader(loaded_on), opt, epochs=1, scaler=scaler, show=False)       # and it goes on there


class Killed(Exception):
    pass


def test_a_killed_run_resumes_bit_for_bit(gpu, tmp_path):
    """With dropout, whose masks are drawn on the GPU."""
    def run(path, kill=None):
        tg.seed(0)
        model = tg.nn.Sequential(tg.nn.Linear(6, 20), tg.nn.Dropout(0.4), tg.nn.Linear(20, 3)).to("cuda")
        opt = tg.optim.Adam(model.named_parameters(), lr=0.02)

        class Kill:
            def on_step(self, run):
                if run.step == kill:
                    raise Killed
        callbacks = [training.Checkpoint(path, every=2)]
        training.fit(model, ENTROPY, loader("cuda"), opt, epochs=3, callbacks=[*callbacks, Kill()], show=False)
        return frozen([model.state_dict(), opt.state_dict()])
    whole = run(tmp_path / "whole.safetensors")
    with pytest.raises(Killed):
        run(tmp_path / "parts.safetensors", kill=7)
    assert run(tmp_path / "parts.safetensors") == whole


def test_early_stop_brings_the_best_weights_back(gpu):
    model, losses = net("cuda"), iter([3.0, 1.0, 2.0, 2.0])
    seen = []
    training.fit(model, ENTROPY, loader("cuda"), tg.optim.SGD(model.parameters(), lr=0.1), epochs=4, show=False,
                 callbacks=[lambda run: run.history.epochs["loss"].__setitem__(-1, next(losses)), lambda run: seen.append(model.state_dict()),
                            training.EarlyStop("loss", patience=2)])
    assert frozen(model.state_dict()) == frozen(seen[1]) and tg.backend.on_gpu(model[0].weight.data)


def test_the_doctor_finds_what_it_finds_on_the_host(gpu):
    def run(device):
        model = tg.nn.Sequential(tg.nn.Linear(6, 16), tg.nn.ReLU(), tg.nn.Linear(16, 3)).to(device) if not tg.seed(0) else None
        x, y = next(iter(loader(device)))
        return training.doctor(model, ENTROPY, (x, y))
    report, other = on_both(run)
    assert report.ok and [f[:2] for f in report] == [f[:2] for f in other] and len(report) == 6


@pytest.mark.parametrize("where", ["model", "batch"])
def test_a_batch_of_another_device_is_told(where, gpu):
    model, data = net("cuda" if where == "model" else "cpu"), loader("cuda" if where == "batch" else "cpu")
    with pytest.raises(TypeError, match="to_device"):
        training.fit(model, ENTROPY, data, tg.optim.SGD(model.parameters()), epochs=1, show=False)
