"""Over time: gradient flow, blocked layers, loss terms; activations, dead units, histograms; files for TensorBoard; and doctor."""
import math
import sys
import types

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import nn
from tinygrad_lite.diagnostics import (ActivationHistory, EventFiles, FlowHistory, activation_stats, debug_info, gradient_flow, gradient_shares)
from tinygrad_lite.training.doctor import doctor

MSE, CE = tg.losses.mse_loss, tg.losses.cross_entropy
rng = np.random.default_rng(0)
X = rng.standard_normal((16, 4)).astype("f")
LABELS = np.arange(16) % 3


def net(*, double=False):
    tg.seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return model.double() if double else model


def one_step(model, optimizer, x=X):
    optimizer.zero_grad()
    CE(model(x), LABELS).backward()
    optimizer.step()


@pytest.fixture
def ax():
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots()
    yield axes
    plt.close("all")


# ---------------------------------------------------------------- gradient flow over time

def test_flow_by_hand():
    model = nn.Sequential({"a": nn.Linear(2, 2, bias=False)})
    model.a.weight.data[:] = [[3, 0], [0, 4]]
    history = FlowHistory(model)
    model.a.weight.grad = np.array([[1, -3], [0, 0]], "f")
    tg.optim.SGD(model.parameters(), lr=0.5).step()
    history.record()
    flow, = history.layers["a"]
    assert flow.mean == 1 and flow.norm == pytest.approx(10 ** 0.5) and flow.dead == 0.5
    assert flow.ratio == pytest.approx(0.5 * 10 ** 0.5 / 5)
    history.record()
    assert history.layers["a"][1].ratio == 0                # nothing moved since


def test_flow_of_sparse_absent_and_0_d_gradients():
    class Odd(nn.Module):
        def __init__(self):
            self.table, self.scale, self.unused = nn.Embedding(10, 2, sparse=True), nn.Parameter(np.array(2.0, "f")), nn.Linear(2, 2)

        def forward(self, ids):
            return self.table(ids) * self.scale
    model = Odd()
    model(np.array([1, 1])).sum().backward()
    history = FlowHistory(model)
    history.record()
    assert history.layers["table"][0].dead == 0.9 and history.layers["table"][0].mean == pytest.approx(8 / 20)
    assert math.isnan(history.layers["unused"][0].mean) and math.isnan(history.layers["unused"][0].dead)
    assert history.layers["scale"][0].norm == pytest.approx(abs(2 * model.table.weight.data[1].sum()), rel=1e-5)


def test_a_blocked_layer_is_told_once_and_only_after_n_steps():
    model = net()
    history = FlowHistory(model, steps=3, below=0.01)

    def step(first):
        for p in model.parameters():
            p.grad = np.ones_like(p.data)
        model[0].weight.grad[:] = first
        history.record()
    for first in (0, 0, 1, 0.001, 0):
        step(first)
    assert history.blocked == []                            # a good step in between starts the count anew
    with pytest.warns(UserWarning, match="gradient flow: 0 is blocked: .* below 0.01 of the largest layer's for 3 steps running"):
        step(0)
    step(0)
    assert history.blocked == ["0"]
    with pytest.raises(ValueError, match="steps=0"):
        FlowHistory(model, steps=0)


def test_flow_rides_along_in_fit(ax):
    model, history = net(), None
    history = FlowHistory(model)
    tg.training.fit(model, CE, tg.data.DataLoader(X, LABELS, batch_size=4), tg.optim.SGD(model.parameters(), lr=0.1), epochs=2, callbacks=[history], show=False)
    assert [len(rows) for rows in history.layers.values()] == [8, 8]
    assert all(row.mean > 0 and row.ratio > 0 for rows in history.layers.values() for row in rows)
    assert history.plot("ratio", ax) is ax and len(ax.lines) == 2 and ax.get_yscale() == "log" and ax.get_ylabel() == "|step| / |weight|"


def test_shares_of_loss_terms():
    model = net(double=True)
    output = model(tg.Tensor(X.astype(float)))
    terms = {"fit": CE(output, LABELS), "decay": 0.1 * sum((p * p).sum() for p in model.parameters()), "constant": tg.Tensor(3.0)}
    shares = gradient_shares(terms, model)
    norms = {}
    for name in ("fit", "decay"):
        model.zero_grad()
        terms[name].backward(retain_graph=True)
        norms[name] = math.sqrt(sum((p.grad ** 2).sum() for p in model.parameters()))
    total = sum(norms.values())
    assert shares == pytest.approx({"fit": norms["fit"] / total, "decay": norms["decay"] / total, "constant": 0})
    with pytest.raises(ValueError, match="'fit' is of shape"):
        gradient_shares({"fit": output}, model)
    assert gradient_shares({"constant": tg.Tensor(3.0)}, model) == {"constant": 0}


# ---------------------------------------------------------------- activations

def test_statistics_by_hand():
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU())
    model[0].weight.data[:], model[0].bias.data[:] = [[1], [-1], [0]], [0, 0, -1]
    stats = activation_stats(model, np.array([[1.0], [-2.0]], "f"))
    assert list(stats) == ["0", "1"]
    a, r = stats["0"], stats["1"]                           # (1, -1, -1), (-2, 2, -1) and (1, 0, 0), (0, 2, 0)
    assert (a.kind, a.shape, a.low, a.high, a.zeros, a.dead) == ("Linear", (2, 3), -2, 2, 0, 0)
    assert a.mean == pytest.approx(-1 / 3) and a.std == pytest.approx(np.std([1, -1, -1, -2, 2, -1]))
    assert r.zeros == pytest.approx(4 / 6) and r.dead == pytest.approx(1 / 3) and math.isnan(r.saturated) and r.bad == 0


@pytest.mark.parametrize("layer, values, share", [(nn.Tanh(), [-5, -1, 0, 5], 0.5), (nn.Sigmoid(), [-9, 0, 1, 9], 0.5), (nn.Hardtanh(), [-2, 0.5, 0, 0.97], 0.25)])
def test_saturation(layer, values, share):
    stats, = activation_stats(nn.Sequential(layer), np.array(values, "f")).values()
    assert stats.saturated == share


def test_channels_sequences_and_repeated_calls():
    class Net(nn.Module):
        def __init__(self):
            self.conv, self.relu, self.gru, self.fc = nn.Conv1d(2, 3, 1), nn.ReLU(), nn.GRU(3, 4, batch_first=True), nn.Linear(4, 4)

        def forward(self, x):
            h = self.relu(self.conv(x))
            h = self.gru(h.swapaxes(1, 2))[0]
            return self.relu(self.fc(self.relu(self.fc(h))))
    model = Net()
    model.conv.bias.data[:] = [-100, 0, 100]
    stats = activation_stats(model, rng.standard_normal((5, 2, 7)).astype("f"))
    assert list(stats) == ["conv", "relu", "gru", "fc"] and stats["gru"].shape == (5, 7, 4)
    conv = activation_stats(nn.Sequential(model.conv, nn.ReLU()), rng.standard_normal((5, 2, 7)).astype("f"))
    assert conv["1"].dead == pytest.approx(1 / 3)           # a channel, not a place in the sequence
    assert math.isnan(stats["relu"].dead)                   # two widths under one name


def test_not_finite_outputs_are_counted_not_raised():
    model = net()
    model[0].bias.data[0] = np.nan
    stats = activation_stats(model, X)
    assert stats["0"].bad == pytest.approx(1 / 8) and np.isfinite(stats["0"].mean) and stats["2"].bad == 1 and math.isnan(stats["2"].mean)
    with pytest.raises(ValueError, match="no module inside it was called"):
        activation_stats(type("Empty", (nn.Module,), {"forward": lambda self, x: (x, x) and None})(), X)


def test_looking_changes_nothing():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3))
    before, chance = model.state_dict(), tg.random.generator.bit_generator.state
    activation_stats(model, X)
    debug_info(model, CE, (X, LABELS))
    ActivationHistory(model, X).record()
    with pytest.raises(ValueError):
        debug_info(model, lambda o, t: o, (X, LABELS))
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items()) and all(p.grad is None for p in model.parameters())
    assert tg.random.generator.bit_generator.state == chance and model.training


def test_debug_info_has_the_gradients_too():
    model = net()
    info = debug_info(model, CE, (X, LABELS))
    CE(model(X), LABELS).backward()
    weights = [np.concatenate([np.abs(p.grad).ravel() for p in layer.parameters()]).mean() for layer in (model[0], model[2])]
    assert [info[name]["weights"] for name in ("0", "2")] == pytest.approx(weights, rel=1e-5) and info["1"]["weights"] is None
    hidden = tg.Tensor(model[0](X).data, requires_grad=True)
    CE(model[2](model[1](hidden)), LABELS).backward()
    assert info["0"]["gradient"] == pytest.approx(np.abs(hidden.grad).mean(), rel=1e-5)
    lines = str(info).splitlines()
    assert len(lines) == 5 and lines[0].startswith("loss ") and "ReLU" in lines[3] and lines[3].endswith("-")


def test_debug_info_of_a_broken_net():
    model = net()
    model[2].weight.data[0, 0] = np.inf
    info = debug_info(model, CE, (X, LABELS))
    assert info["2"]["activation"].bad > 0 and "nan" in str(info)


def test_histograms_over_time(ax):
    model = net()
    history = ActivationHistory(model, X, edges=np.linspace(-2, 2, 9), every=2)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    tg.training.fit(model, CE, tg.data.DataLoader(X, LABELS, batch_size=4), optimizer, epochs=2, callbacks=[history], show=False)
    assert history.counts["1"].shape == (4, 8) and (history.counts["1"].sum(axis=1) == 16 * 8).all()
    assert np.array_equal(history.counts["0"][-1], np.histogram(np.clip(model[0](X).data, -2, 2), np.linspace(-2, 2, 9))[0])
    model[0].bias.data[:] = -1000
    history.record()
    assert history.dead("1")[-1] == 1 and len(history.dead("1")) == 5
    assert history.plot("1", ax) is ax and ax.get_title() == "1 (ReLU)" and ax.images[0].get_array().shape == (8, 5)


# ---------------------------------------------------------------- TensorBoard

class Writer:
    def __init__(self, folder):
        self.folder, self.rows, self.closed = folder, [], False

    def add_scalar(self, name, value, step):
        assert type(value) is float
        self.rows.append((name, value, step))

    def add_histogram(self, name, values, step):
        self.rows.append((name, values.shape, step))

    def close(self):
        self.closed = True


def test_event_files(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    model = net()
    files = EventFiles(tmp_path, gradients=True)
    files.log(3, loss=np.float32(2), flow={"fc": 0.5, "deep": {"w": np.zeros((2, 3))}})
    assert files.writer.rows == [("loss", 2.0, 3), ("flow/fc", 0.5, 3), ("flow/deep/w", (2, 3), 3)] and files.writer.folder == str(tmp_path)
    tg.training.fit(model, CE, tg.data.DataLoader(X, LABELS, batch_size=8), tg.optim.SGD(model.parameters(), lr=0.1), epochs=1, callbacks=[files], show=False)
    written = {name for name, _, _ in files.writer.rows}
    assert {"step/loss", "step/lr", "gradient/0", "gradient/2", "epoch/loss"} <= written and files.writer.closed
    assert ("step/loss", 2) in {(name, step) for name, _, step in files.writer.rows}


def test_without_a_writer_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        EventFiles(tmp_path)


# ---------------------------------------------------------------- doctor

def answers(model, loss_fn, batch):
    return {f.question.split(" samples by")[0].split(" ")[0]: f.ok for f in doctor(model, loss_fn, batch)}


def test_a_healthy_model():
    report = doctor(net(), CE, (X, LABELS))
    assert report.ok and [f.ok for f in report] == [True] * 6 and str(report).count("ok ") == 6
    assert "expected about -log(1/3) = 1.099" in str(report)


class Sick(nn.Module):
    def __init__(self, f):
        tg.seed(0)
        self.a, self.b, self.f = nn.Linear(4, 16), nn.Linear(16, 3), f

    def forward(self, x):
        return self.f(self, x)


@pytest.mark.parametrize("f, question, words", [
    (lambda m, x: m.b(np.tanh(m.a(x))) * 30, "loss at the start", "the last layer starts too large"),
    (lambda m, x: m.b(centred(np.tanh(m.a(x)))), "samples apart", "depends on the inputs of 15 others (such as 0)"),
    (lambda m, x: tg.softmax(m.b(np.tanh(m.a(x))), 0) * 5, "samples apart", "wrong axis"),
    (lambda m, x: m.b(np.tanh(m.a(x)).detach()), "gradient", "a.weight, a.bias get none"),
    (lambda m, x: m.b(np.tanh(m.a(x) * 0)), "gradient", "get only zeros"),
    (lambda m, x: m.b(m.a(x * 0)) * 1, "learns 8 samples by heart", "after 200 steps of Adam still"),
    (lambda m, x: np.log(m.b(m.a(x))), "finite", "forward of log"),
])
def test_what_it_finds(f, question, words):
    report = doctor(Sick(f), CE, (X, LABELS))
    found = {finding.question: finding for finding in report}
    assert not report.ok and found[question].ok is False and words in found[question].answer
    assert f"BAD  {question}" in str(report)


def centred(h):
    return h - h.mean(axis=0)


def test_dead_units_are_named():
    model = net()
    model[0].bias.data[:4] = -100
    report = {f.question: f for f in doctor(model, CE, (X, LABELS))}
    assert report["dead units"].ok is False and "1 (ReLU) 50 % give 0 for every sample" in report["dead units"].answer


def test_batch_norm_mixes_by_design_and_regression_has_no_classes():
    tg.seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))
    found = {f.question: f.ok for f in doctor(model, MSE, (X, X[:, :1] * 2))}
    assert found["samples apart"] is True and found["loss at the start"] is None and found["finite"] is True
    hinge = {f.question: f for f in doctor(net(), tg.losses.multiclass_hinge_loss, (X, LABELS))}
    assert hinge["loss at the start"].ok is None and "no likelihood" in hinge["loss at the start"].answer


@pytest.mark.parametrize("leaks", [False, True])
def test_ids_have_no_gradient_so_they_are_exchanged(leaks):
    class Words(nn.Module):
        def __init__(self):
            tg.seed(0)
            self.table, self.out = nn.Embedding(20, 6), nn.Linear(6, 3)

        def forward(self, ids):
            h = self.table(ids).mean(axis=1)
            return self.out(h + h.mean(axis=0) if leaks else h)
    found = {f.question: f for f in doctor(Words(), CE, (rng.integers(0, 20, (16, 4)), LABELS))}
    assert found["samples apart"].ok is not leaks
    if leaks:
        assert "changes with the other inputs" in found["samples apart"].answer


@pytest.mark.parametrize("broken", [False, True])
def test_the_patient_leaves_as_it_came(broken):
    tg.seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 3))
    model[2].eval()
    if broken:
        model[4].bias.data[0] = np.nan
    for p in model.parameters():
        p.grad = np.full_like(p.data, 3)
    before, arrays, chance = model.state_dict(), [p.data for p in model.parameters()], tg.random.generator.bit_generator.state
    assert doctor(model, CE, (X, LABELS)).ok is not broken
    with pytest.raises(ValueError, match="the loss is a Tensor of shape"):
        doctor(model, lambda output, target: output, (X, LABELS))
    with pytest.raises(ValueError, match="as many samples in all"):
        doctor(model, CE, (X, LABELS[:3]))
    with pytest.raises(TypeError, match=r"expected \(input, ..., target\)"):
        doctor(model, CE, X)
    assert all(np.array_equal(before[k], v, equal_nan=True) for k, v in model.state_dict().items())
    assert all(p.data is a and (p.grad == 3).all() for p, a in zip(model.parameters(), arrays))
    assert [m.training for m in model.modules()] == [True, True, True, False, True, True]
    assert tg.random.generator.bit_generator.state == chance


def test_one_sample_and_all_frozen():
    found = {f.question: f for f in doctor(net(), CE, (X[:1], LABELS[:1]))}
    assert found["samples apart"].ok is None and found["learns 1 samples by heart"].ok
    with pytest.raises(ValueError, match="depends on no parameter"):
        doctor(net().requires_grad_(False), CE, (X, LABELS))


def test_flow_and_doctor_agree():
    """What doctor says gets no gradient is what gradient_flow shows as nan."""
    model = Sick(lambda m, x: m.b(np.tanh(m.a(x)).detach()))
    CE(model(X), LABELS).backward()
    assert math.isnan(gradient_flow(model)["a"]) and gradient_flow(model)["b"] > 0
