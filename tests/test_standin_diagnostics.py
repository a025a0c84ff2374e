"""Diagnostics of a model on the stand-in for CuPy: the numbers that they give for the same model on the host."""
import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, diagnostics, losses, nn
from tinygrad_lite.nn import functional as F

X, Y = np.random.default_rng(0).normal(size=(6, 5)).astype("f"), np.array([0, 1, 2, 0, 1, 2])
IDS = np.random.default_rng(1).integers(0, 7, (6, 4))
SEQUENCES = np.random.default_rng(2).normal(size=(6, 4, 5)).astype("f")


class Reader(nn.Module):
    """Ids or sequences to three scores."""
    def __init__(self, kind):
        self.table = nn.Embedding(7, 5)
        self.rnn = getattr(nn, kind)(5, 4, batch_first=True)
        self.last = nn.Linear(4, 3)

    def forward(self, ids):
        return self.last(self.rnn(self.table(ids))[0][:, -1])


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3)), X),
    "relu": (lambda: nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 3)), X),
    "gru": (lambda: Reader("GRU"), IDS), "lstm": (lambda: Reader("LSTM"), IDS), "rnn": (lambda: Reader("RNN"), IDS),
    "cnn": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU(), nn.GroupNorm(2, 6), nn.Flatten(), nn.Linear(18, 3)), SEQUENCES),
    "pool": (lambda: nn.Sequential(nn.Conv1d(4, 6, 2, padding=1), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(18, 3)), SEQUENCES),
    "dropout": (lambda: nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3)).eval(), X),
}
LOOKS = {
    "gradient_flow": lambda m, x, y: (losses.cross_entropy(m(x), y).backward(), diagnostics.gradient_flow(m))[1],
    "activation_stats": lambda m, x, y: [list(s[2:]) for s in diagnostics.activation_stats(m, x).values()],
    "debug_info": lambda m, x, y: [[*row["activation"][2:], row["gradient"] or 0, row["weights"] or 0]
                                   for row in diagnostics.debug_info(m, losses.cross_entropy, (x, y)).values()],
    "loss_surface": lambda m, x, y: diagnostics.loss_surface(m, losses.cross_entropy, (x, y), steps=3).losses,
    "hessian_eigenvalues": lambda m, x, y: diagnostics.hessian_eigenvalues(m, losses.cross_entropy, (x, y), k=2),
    "per_sample_gradients": lambda m, x, y: diagnostics.per_sample_gradients(m, losses.cross_entropy, (x, y)).per_sample_norm,
    "per_sample_gradients of each": lambda m, x, y: list(diagnostics.per_sample_gradients(m, losses.cross_entropy, (x, y)).values()),
    "mean squares": lambda m, x, y: list(diagnostics.per_sample_gradients(m, losses.cross_entropy, (x, y)).mean_square_grad.values()),
    "noise_scale": lambda m, x, y: diagnostics.per_sample_gradients(m, losses.cross_entropy, (x, y)).noise_scale,
    "gradient_shares": lambda m, x, y: diagnostics.gradient_shares({"a": losses.cross_entropy(m(x), y), "b": m(x).sum()}, m),
}


def numbers(found, gpu):
    """All numbers in what was found, in a row, on the host."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, (list, tuple)):
        return np.concatenate([numbers(f, gpu) for f in found])
    return np.atleast_1d(gpu.host(found)).astype(float).ravel()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", LOOKS)
def test_a_look_at_the_device_sees_what_a_look_at_the_host_sees(name, kind, gpu):
    make, x = MODELS[kind]
    tg.seed(0)
    model, look = make().double(), LOOKS[name]
    x = x.astype(float) if x.dtype.kind == "f" else x
    tensor = Tensor if x.dtype.kind == "f" else lambda a: a
    expected = numbers(look(model, tensor(x), Y), gpu)
    model.zero_grad()
    before = model.state_dict()
    found = numbers(look(model.to("cuda"), tensor(gpu.array(x)), gpu.array(Y)), gpu)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-10)
    assert all(np.array_equal(a, before[k]) for k, a in model.state_dict().items())
    assert all(isinstance(p.data, gpu.ndarray) for p in model.parameters())


def test_detect_anomaly_names_the_op(gpu):
    x = Tensor(gpu.array(np.array([1.0, 0.0, 4.0])), requires_grad=True)
    with pytest.raises(FloatingPointError, match=r"backward of sqrt: .* 1 of 3 entries"), diagnostics.detect_anomaly():
        np.sqrt(x).sum().backward()
    with pytest.raises(FloatingPointError, match=r"log"), diagnostics.detect_anomaly():
        tg.log(x - 5)
    with diagnostics.detect_anomaly():
        F.softmax(x, 0).sum().backward()


def test_histories(gpu):
    model = nn.Sequential(nn.Linear(5, 3), nn.Tanh()).to("cuda")
    x = Tensor(gpu.array(X))
    history, flow = diagnostics.ActivationHistory(model, x, edges=[-1, 0, 1]), diagnostics.FlowHistory(model)
    model(x).sum().backward()
    history.record(), flow.record()
    assert history.counts["1"].sum() == 18 and flow.layers["0"][0].norm > 0


def test_check_inputs(gpu):
    x = X.copy()
    x[4, 1] = np.nan
    with pytest.raises(FloatingPointError, match="batch 2, part 0, item 0"):
        diagnostics.check_inputs([(gpu.array(x[i:i + 2]), gpu.array(Y[i:i + 2])) for i in (0, 2, 4)])
