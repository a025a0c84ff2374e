"""Averaged weights against PyTorch's, running statistics measured anew, and snapshot ensembles."""
import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tests.trainings import net, pairs
from tinygrad_lite.training import AveragedModel, Ensemble, accuracy, evaluate, fit, snapshot_ensemble, update_batch_norm

CASES = load_reference("averaging")["cases"]
ENTROPY = tg.losses.cross_entropy


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_against_pytorch(case):
    model = tg.nn.Linear(2, 1, bias=False).double()
    average = AveragedModel(model, kind=case["kind"], **case["kwargs"])
    for new, expected in zip(case["updates"], case["averaged"]):
        model.weight.data[...] = new
        average.update_parameters(model)
        np.testing.assert_allclose(average.module.weight.data, expected, rtol=1e-12)
    assert int(average.n_averaged) == len(case["updates"])
    np.testing.assert_array_equal(average(tg.Tensor(np.ones((1, 2)))).data, average.module(tg.Tensor(np.ones((1, 2)))).data)


@pytest.mark.parametrize("use_buffers", [True, False])
@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_live_pytorch_with_buffers(torch, kind, use_buffers):
    from torch.optim.swa_utils import AveragedModel as Theirs
    from torch.optim.swa_utils import get_ema_multi_avg_fn
    model, peer = tg.nn.BatchNorm1d(3).double(), torch.nn.BatchNorm1d(3).double()
    average = AveragedModel(model, kind, decay=0.7, use_buffers=use_buffers)
    theirs = Theirs(peer, multi_avg_fn=get_ema_multi_avg_fn(0.7) if kind == "ema" else None, use_buffers=use_buffers)
    for i in range(4):
        x = np.random.default_rng(i).normal(size=(5, 3))
        model(tg.Tensor(x)), peer(torch.tensor(x))
        model.weight.data += 0.1 * i
        peer.weight.data += 0.1 * i
        average.update_parameters(model), theirs.update_parameters(peer)
    for name, value in theirs.module.state_dict().items():
        if name != "num_batches_tracked":       # PyTorch averages this count where buffers are averaged: a running mean of integers
            np.testing.assert_allclose(average.module.state_dict()[name], value.numpy(), rtol=1e-12, err_msg=name)


def test_the_average_is_a_model_of_its_own():
    model = net()
    average = AveragedModel(model)
    average.update_parameters(model)
    before = average.state_dict()
    model.first.weight.data += 1
    assert all((before[k] == v).all() for k, v in average.state_dict().items())
    other = AveragedModel(net())
    other.load_state_dict(average.state_dict())
    assert int(other.n_averaged) == 1 and (other.module.first.weight.data == average.module.first.weight.data).all()
    with pytest.raises(ValueError, match="kind: got 'mean', expected 'swa' or 'ema'"):
        AveragedModel(model, kind="mean")
    with pytest.raises(ValueError, match="decay: got 1.5"):
        AveragedModel(model, kind="ema", decay=1.5)


@pytest.mark.parametrize("kind, updates", [("ema", 24), ("swa", 2)])
def test_as_a_callback_ema_moves_by_step_and_swa_by_epoch_from_its_start(kind, updates):
    tg.seed(0)
    model, seen = net(), []
    average = AveragedModel(model, kind, decay=0.9, start=1)
    fit(model, ENTROPY, pairs(), tg.optim.SGD(model.parameters(), lr=0.1), epochs=3, show=False,
        callbacks=[average, lambda run: seen.append(run.model.first.weight.data.copy())])
    assert int(average.n_averaged) == updates
    if kind == "swa":
        np.testing.assert_allclose(average.module.first.weight.data, (seen[1] + seen[2]) / 2, rtol=1e-6)


def test_running_statistics_measured_anew_are_those_of_all_batches():
    tg.seed(0)
    model, loader = net(dropout=0.0), pairs(n=64, batch_size=16)
    model.eval()
    model.norm.running_mean[:], model.norm.momentum = 99, 0.3
    update_batch_norm(model, loader)
    hidden = [model.relu(model.first(x)).data for x, _ in loader]
    np.testing.assert_allclose(model.norm.running_mean, np.mean([h.mean(axis=0) for h in hidden], axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.norm.running_var, np.mean([h.var(axis=0, ddof=1) for h in hidden], axis=0), rtol=1e-4,
                               atol=1e-6)
    assert model.norm.momentum == 0.3 and not model.training and not model.norm.training


# --- snapshot ensembles
@pytest.mark.parametrize("t0", [0, 5])
def test_snapshots_are_the_models_at_the_ends_of_the_cycles(t0):
    tg.seed(0)
    model, loader, at = net(), pairs(), {}
    optimizer = tg.optim.SGD(model.parameters(), lr=0.2)
    optimizer.load_state_dict({**optimizer.state_dict(), "t": t0})

    class Watch:
        def on_step(self, run):
            at[run.step] = run.model.state_dict()
    ensemble = snapshot_ensemble(model, ENTROPY, loader, optimizer, epochs=5, cycles=4, show=False, callbacks=[Watch()])
    assert len(ensemble.models) == 4 and optimizer.lr == 0.2
    for twin, step in zip(ensemble.models, (10, 20, 30, 40)):
        assert all((at[step][k] == v).all() for k, v in twin.state_dict().items())
    rates = ensemble.history.steps["lr"]
    assert rates == pytest.approx([0.1 * (np.cos(np.pi * (t % 10) / 10) + 1) for t in range(40)])
    x = tg.Tensor(np.random.default_rng(0).normal(size=(9, 6)).astype("f"))
    ensemble.eval()
    votes = [tg.nn.functional.softmax(m(x), -1).data for m in ensemble.models]
    np.testing.assert_allclose(ensemble(x).data, np.mean(votes, axis=0), rtol=1e-5)
    assert evaluate(ensemble, lambda output, y: ENTROPY(output.log(), y), loader, {"accuracy": accuracy})["accuracy"] > 0.5


def test_the_last_few_snapshots_and_bad_counts():
    model, loader = net(), pairs()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.2)
    assert len(snapshot_ensemble(model, ENTROPY, loader, optimizer, epochs=3, cycles=5, keep=2, show=False).models) == 2
    with pytest.raises(ValueError, match="cycles: got 25, expected 1..24, the number of steps"):
        snapshot_ensemble(model, ENTROPY, loader, optimizer, epochs=3, cycles=25)
    single = Ensemble([model])
    assert [name for name, _ in single.named_parameters()][0] == "models.0.first.weight"
