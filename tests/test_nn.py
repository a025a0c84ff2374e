"""Layers: the reference numbers, PyTorch on drawn inputs, initial weights, dropout, and what is refused."""
import math

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tinygrad_lite import Tensor, nn
from tinygrad_lite.nn import Parameter, functional as F, init

CASES = load_reference("layers")["cases"]
RECURRENT = {"RNN", "GRU", "LSTM"}          # their cases have states and lengths: test_recurrent.py


def test_every_layer_of_the_file_is_built():
    assert [c["layer"] for c in CASES if c.get("layer") and not hasattr(nn, c["layer"])] == []


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES if c.get("layer") and c["layer"] not in RECURRENT])
def test_layer_reference(case):
    args = [tuple(a) if isinstance(a, list) else a for a in case["args"]]
    m = getattr(nn, case["layer"])(*args, **case["kwargs"]).double()
    m.load_state_dict(case["state"])
    m.train(case["training"])
    for call in case["calls"]:
        m.zero_grad()
        inputs = {k: Tensor(v, requires_grad=True) if v.dtype.kind == "f" else v for k, v in call["inputs"].items()}
        outputs = m(*inputs.values())
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for out, expected in zip(outputs, call["outputs"], strict=True):
            np.testing.assert_allclose(out.data if isinstance(out, Tensor) else out, expected, rtol=1e-10, atol=1e-12)
        sum((out * g).sum() for out, g in zip(outputs, call["grad_outputs"]) if g is not None).backward()
        for name, g in call["input_grads"].items():
            if g is not None:
                np.testing.assert_allclose(inputs[name].grad, g, rtol=1e-10, atol=1e-12, err_msg=name)
        grads = {k: p.grad.to_dense() if isinstance(p.grad, tg.RowSparse) else p.grad for k, p in m.named_parameters()}
        for name, g in call["param_grads"].items():
            g = tg.RowSparse(np.ravel(g["indices"]), g["values"], g["shape"]).to_dense() if isinstance(g, dict) else g
            np.testing.assert_allclose(grads[name], g, rtol=1e-10, atol=1e-12, err_msg=name)
    for name, a in case["state_after"].items():
        np.testing.assert_allclose(m.state_dict()[name], a, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES if c.get("function")])
def test_function_reference(case):
    inputs = {k: Tensor(v, requires_grad=True) for k, v in case["inputs"].items()}
    out = getattr(F, case["function"])(*inputs.values(), **case["kwargs"])
    np.testing.assert_allclose(out.data, case["outputs"][0], rtol=1e-10, atol=1e-12)
    out.backward(case["grad_outputs"][0])
    for name, g in case["input_grads"].items():
        if g is not None:
            np.testing.assert_allclose(inputs[name].grad, g, rtol=1e-10, atol=1e-12, err_msg=name)


# --- PyTorch on drawn inputs
LAYERS = {
    "Linear": [((5, 3), {}, [(4, 5), (5,), (2, 3, 5), (0, 5)]), ((5, 3), dict(bias=False), [(4, 5)]), ((1, 1), {}, [(1, 1)])],
    "LayerNorm": [((4,), {}, [(3, 4), (4,), (2, 3, 4), (0, 4)]), (((3, 4),), dict(bias=False), [(2, 3, 4)]),
                  ((4,), dict(elementwise_affine=False, eps=0.1), [(3, 4)])],
    "BatchNorm1d": [((4,), {}, [(6, 4), (3, 4, 5), (1, 4, 3)]), ((4,), dict(momentum=None), [(6, 4)]), ((4,), dict(affine=False), [(6, 4)]),
                    ((4,), dict(track_running_stats=False), [(6, 4)])],
    "RMSNorm": [((4,), {}, [(3, 4), (4,), (0, 4)]), (((3, 4),), dict(eps=0.1), [(2, 3, 4)]), ((4,), dict(elementwise_affine=False), [(3, 4)])],
    "GroupNorm": [((2, 4), {}, [(3, 4), (3, 4, 5), (2, 4, 3, 2)]), ((4, 4), dict(affine=False, eps=0.1), [(3, 4, 5)])],
    "BatchNorm2d": [((3,), {}, [(4, 3, 2, 2), (1, 3, 4, 2)]), ((3,), dict(momentum=None, affine=False), [(4, 3, 2, 2)])],
    "Conv1d": [((4, 6, 3), {}, [(2, 4, 9), (4, 9), (0, 4, 9)]), ((4, 6, 3), dict(padding=2, stride=2, dilation=2, groups=2, bias=False), [(2, 4, 9)]),
               *[((4, 6, 3), dict(padding=padding, padding_mode=mode), [(2, 4, 5)]) for mode in ("reflect", "replicate", "circular")
                 for padding in (2, "same")]],
    "Conv2d": [((4, 6, (3, 2)), {}, [(2, 4, 7, 5), (4, 7, 5), (0, 4, 7, 5)]), ((4, 6, 3), dict(padding=(1, 2), stride=(2, 1), groups=2), [(2, 4, 7, 5)]),
               ((2, 3, 2), dict(padding="same", dilation=(1, 3), padding_mode="circular"), [(2, 2, 5, 6)])],
    "ConvTranspose1d": [((4, 6, 3), dict(stride=2, padding=1, output_padding=1, groups=2), [(2, 4, 5), (4, 5), (0, 4, 5)]),
                        ((4, 6, 3), dict(dilation=2, stride=3, output_padding=2, bias=False), [(2, 4, 5)])],
    "ConvTranspose2d": [((4, 6, (3, 2)), dict(stride=(2, 1), padding=1, dilation=(1, 2)), [(2, 4, 5, 6), (4, 5, 6)])],
    "MaxPool1d": [((3,), {}, [(2, 4, 9), (4, 9), (0, 4, 9)]), ((3,), dict(stride=2, padding=1, dilation=2, ceil_mode=True), [(2, 4, 9)])],
    "MaxPool2d": [((2,), {}, [(2, 4, 5, 6), (4, 5, 6)]), (((3, 2),), dict(stride=(1, 2), padding=(1, 0), ceil_mode=True), [(2, 4, 5, 6)])],
    "AvgPool1d": [((3,), {}, [(2, 4, 9), (4, 9), (0, 4, 9)]), ((3,), dict(stride=2, padding=1, ceil_mode=True, count_include_pad=False), [(2, 4, 9)])],
    "AvgPool2d": [((2,), {}, [(2, 4, 5, 6), (4, 5, 6)]), (((3, 2),), dict(stride=2, padding=1, ceil_mode=True, divisor_override=5), [(2, 4, 5, 6)])],
    "AdaptiveAvgPool1d": [((3,), {}, [(2, 4, 10), (4, 10), (2, 4, 2)])], "AdaptiveAvgPool2d": [(((3, None),), {}, [(2, 4, 7, 5), (4, 7, 5)])],
    "AdaptiveMaxPool1d": [((3,), {}, [(2, 4, 10), (4, 10), (2, 4, 2)])], "AdaptiveMaxPool2d": [((2,), {}, [(2, 4, 7, 5), (4, 7, 5)])],
    "Flatten": [((), {}, [(2, 3, 4), (2, 3)]), ((0, 1), {}, [(2, 3, 4)])],
    "Softmax": [((1,), {}, [(2, 5)])], "LogSoftmax": [((), dict(dim=0), [(2, 5)])], "GLU": [((), {}, [(2, 6)]), ((0,), {}, [(2, 6)])],
    "LeakyReLU": [((0.3,), {}, [(2, 5)])], "ELU": [((), dict(alpha=0.5, inplace=False), [(2, 5)])], "CELU": [((2.0,), {}, [(2, 5)])],
    "GELU": [((), {}, [(2, 5)]), (("tanh",), {}, [(2, 5)])], "Softplus": [((2.0, 5.0), {}, [(2, 5)])], "Hardtanh": [((-0.5, 2.0), {}, [(2, 5)])],
    "Softshrink": [((0.2,), {}, [(2, 5)])], "Hardshrink": [((), dict(lambd=0.2), [(2, 5)])],
    **{name: [((), {}, [(2, 5), (), (0, 3)])] for name in """Identity ReLU ReLU6 SELU SiLU Mish Sigmoid Tanh Softsign Hardsigmoid Hardswish
        LogSigmoid Tanhshrink""".split()},
}
ROWS = [(name, args, kwargs, shape) for name, rows in LAYERS.items() for args, kwargs, shapes in rows for shape in shapes]


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-9), (np.float32, 2e-5)])
@pytest.mark.parametrize("name, args, kwargs, shape", ROWS)
def test_torch_agrees(name, args, kwargs, shape, dtype, rtol, torch):
    rng = np.random.default_rng(0)
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    ours, theirs = (ours.double(), theirs.double()) if dtype == np.float64 else (ours, theirs)
    for p in ours.parameters():
        p.data[...] = rng.normal(size=p.shape)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    for training in (True, True, False):                # twice: running statistics move; then they are used
        ours.train(training), theirs.train(training)
        data = np.asarray(rng.normal(size=shape) * 3).astype(dtype)
        x, y = Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        ours.zero_grad(), theirs.zero_grad()
        z, w = ours(x), theirs(y)
        g = np.asarray(rng.normal(size=z.shape)).astype(dtype)
        z.backward(g), w.backward(torch.tensor(g))
        assert z.dtype == dtype
        np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(x.grad, y.grad.numpy(), rtol=rtol, atol=rtol)
        for p, q in zip(ours.parameters(), theirs.parameters()):
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=rtol, atol=rtol)
        for k, a in ours.state_dict().items():
            np.testing.assert_allclose(a, theirs.state_dict()[k].numpy(), rtol=rtol, atol=rtol, err_msg=k)


def test_every_layer_meets_torch():
    layers = {n for n, c in vars(nn).items() if isinstance(c, type) and issubclass(c, nn.Module) and not n.endswith("Loss")}
    own_tests = set("""Module Sequential ModuleList Dropout Embedding EmbeddingBag Bilinear CharCNN Highway
        MultiheadAttention CheckFinite""".split())
    assert layers - set(LAYERS) - RECURRENT - {"RNNCell", "GRUCell", "LSTMCell"} == own_tests


@pytest.mark.parametrize("name, args, shape", [
    ("LayerNorm", (4,), (3, 4)), ("RMSNorm", (4,), (3, 4)), ("GroupNorm", (2, 4), (3, 4, 5)), ("BatchNorm1d", (4,), (6, 4)),
    ("BatchNorm1d", (2,), (3, 2, 4)), ("BatchNorm2d", (2,), (3, 2, 4, 2))])
def test_torch_agrees_on_second_derivatives(name, args, shape, torch):
    rng = np.random.default_rng(0)
    ours, theirs = getattr(nn, name)(*args).double(), getattr(torch.nn, name)(*args).double()
    data, v = rng.normal(size=shape), rng.normal(size=shape)
    x, y = Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    first, = tg.grad((ours(x) ** 3).sum(), [x], create_graph=True)
    peer, = torch.autograd.grad((theirs(y) ** 3).sum(), [y], create_graph=True)
    np.testing.assert_allclose(first.data, peer.detach().numpy(), rtol=1e-10, atol=1e-10)
    second = tg.grad((first * v).sum(), [x, ours.weight])
    expected = torch.autograd.grad((peer * torch.tensor(v)).sum(), [y, theirs.weight])
    for a, b in zip(second, expected):
        np.testing.assert_allclose(a.data, b.numpy(), rtol=1e-9, atol=1e-9)


# --- embedding
OPTIONS = [{}, dict(padding_idx=2), dict(padding_idx=-1), dict(max_norm=1.0), dict(max_norm=1.0, norm_type=1.0),
           dict(scale_grad_by_freq=True), dict(scale_grad_by_freq=True, padding_idx=0), dict(sparse=True), dict(sparse=True, padding_idx=2)]


@pytest.mark.parametrize("shape", [(7,), (3, 4), (), (0,)])
@pytest.mark.parametrize("options", OPTIONS)
def test_embedding(options, shape, torch):
    rng = np.random.default_rng(0)
    ours, theirs = nn.Embedding(6, 3, **options).double(), torch.nn.Embedding(6, 3, **{**options, "sparse": False}).double()
    assert (ours.weight.data[options["padding_idx"]] == 0).all() if "padding_idx" in options else True
    ours.weight.data[...] = rng.normal(size=(6, 3))
    theirs.load_state_dict({"weight": torch.tensor(ours.weight.data)})
    ids = np.asarray(rng.integers(0, 4, shape))
    z, w = ours(ids), theirs(torch.tensor(ids))
    g = rng.normal(size=z.shape)
    z.backward(g), w.backward(torch.tensor(g))
    np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.weight.data, theirs.weight.detach().numpy(), rtol=1e-12)
    assert isinstance(ours.weight.grad, tg.RowSparse) == ("sparse" in options)
    dense = ours.weight.grad.to_dense() if "sparse" in options else ours.weight.grad
    np.testing.assert_allclose(dense, theirs.weight.grad.numpy(), rtol=1e-12)


def test_embedding_takes_every_kind_of_ids():
    e = nn.Embedding(5, 2)
    for ids in (np.array([[0, 4]]), [[0, 4]], Tensor(np.array([[0, 4]])), np.array([[0, 4]], np.uint8)):
        assert np.array_equal(e(ids).data, e.weight.data[[[0, 4]]])


@pytest.mark.parametrize("ids, kind, message", [
    (np.array([[0, 1], [5, 9]]), IndexError, r"id 5 at position \(1, 0\), expected 0\.\.4"),
    (np.array([0, -1]), IndexError, r"id -1 at position \(1,\)"),
    (np.array([0.0]), TypeError, "ids have dtype float64, expected integers"),
    (np.array([True]), TypeError, "ids have dtype bool")])
def test_embedding_names_the_bad_id(ids, kind, message):
    with pytest.raises(kind, match=message):
        nn.Embedding(5, 2)(ids)


# --- dropout
def test_dropout_keeps_the_mean():
    tg.seed(0)
    for p in (0.0, 0.1, 0.5, 0.9, 1.0):
        x = Tensor(np.ones(40_000, np.float32), requires_grad=True)
        z = nn.Dropout(p)(x)
        z.sum().backward()
        zeros = (z.data == 0).mean()
        assert abs(zeros - p) <= 5 * math.sqrt(p * (1 - p) / z.size) and z.dtype == np.float32
        assert np.unique(z.data[z.data != 0]).tolist() == ([np.float32(1) / np.float32(1 - p)] if p < 1 else [])
        assert np.array_equal(x.grad, z.data)           # the same mask both ways
        assert nn.Dropout(p).eval()(x) is x
    assert nn.Dropout(0)(x) is x


def test_dropout_follows_the_seed():
    x, draws = Tensor(np.ones(100)), []
    for seed in (1, 1, 2):
        tg.seed(seed)
        draws.append(nn.Dropout(0.5)(x).data)
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    assert not np.array_equal(nn.Dropout(0.5)(x).data, nn.Dropout(0.5)(x).data)


# --- initial weights: (function, options, shape) -> bound of a uniform, or standard deviation of a normal
GAIN = math.sqrt(2)
INITS = [
    ("xavier_uniform_", {}, (300, 200), ("uniform", math.sqrt(6 / 500))), ("xavier_normal_", dict(gain=2.0), (300, 200), ("normal", 2 * math.sqrt(2 / 500))),
    ("kaiming_uniform_", {}, (300, 200), ("uniform", GAIN * math.sqrt(3 / 200))),
    ("kaiming_uniform_", dict(a=math.sqrt(5)), (300, 200), ("uniform", 200 ** -0.5)),
    ("kaiming_normal_", dict(mode="fan_out", nonlinearity="relu"), (300, 200), ("normal", GAIN / math.sqrt(300))),
    ("kaiming_normal_", {}, (30, 20, 10, 10), ("normal", GAIN / math.sqrt(2000))),
    ("uniform_", dict(a=-0.5, b=0.5), (300, 200), ("uniform", 0.5)), ("normal_", dict(std=0.3), (300, 200), ("normal", 0.3)),
]


@pytest.mark.parametrize("name, options, shape, expected", INITS)
def test_initial_weights(name, options, shape, expected):
    kind, width = expected
    p, q = [Parameter(np.empty(shape, np.float32)) for _ in range(2)]
    tg.seed(3)
    assert getattr(init, name)(p, **options) is p
    tg.seed(3)
    getattr(init, name)(q, **options)
    assert np.array_equal(p.data, q.data) and p.dtype == np.float32
    std = width / math.sqrt(3) if kind == "uniform" else width
    n = p.size
    assert abs(p.data.mean()) < 5 * std / math.sqrt(n) and abs(p.data.std() / std - 1) < 5 / math.sqrt(n)
    if kind == "uniform":
        assert width * 0.999 < np.abs(p.data).max() <= width * 1.0001
    else:
        assert abs((np.abs(p.data) < std).mean() - 0.6827) < 0.01


def test_layers_start_as_in_torch():
    tg.seed(0)
    m = nn.Linear(400, 300)
    for p in m.parameters():
        assert 0.04 < np.abs(p.data).max() <= 0.05 and abs(p.data.mean()) < 0.01 and p.dtype == np.float32
    e = nn.Embedding(1000, 50)
    assert abs(e.weight.data.std() - 1) < 0.02 and np.abs(e.weight.data).max() > 3
    tg.seed(0)
    assert np.array_equal(nn.Linear(400, 300).weight.data, m.weight.data)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (6, 2, 2)])
def test_orthogonal(shape):
    w = init.orthogonal_(Parameter(np.empty(shape)), gain=2.0).data.reshape(shape[0], -1)
    square = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(square, 4 * np.eye(len(square)), atol=1e-12)


def test_gains_and_constants(torch):
    for name in [*init.GAINS, "leaky_relu"]:
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.5) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.5))
    p = Parameter(np.empty((2, 2)))
    assert (init.ones_(p).data == 1).all() and (init.zeros_(p).data == 0).all() and (init.constant_(p, 3).data == 3).all()
    for call in (lambda: init.calculate_gain("swish"), lambda: init.xavier_uniform_(Parameter(np.ones(3))),
                 lambda: init.kaiming_normal_(p, mode="fan"), lambda: init.orthogonal_(Parameter(np.ones(3)))):
        with pytest.raises(ValueError, match="got .*expected"):
            call()


# --- what is refused
BAD = [
    (lambda: nn.Linear(3, 2)(Tensor(np.ones((4, 3)))), TypeError, r"the input is float64, the weight float32: use x.astype\('float32'\)"),
    (lambda: nn.Linear(3, 2).double()(Tensor(np.ones((4, 3), "f"))), TypeError, r"use x.astype\('float64'\)"),
    (lambda: nn.LayerNorm(3)(Tensor(np.ones((4, 3)))), TypeError, r"layer_norm: the input is float64.*x.astype\('float32'\)"),
    (lambda: nn.BatchNorm1d(3)(Tensor(np.ones((4, 3)))), TypeError, r"batch_norm: the input is float64.*x.astype\('float32'\)"),
    (lambda: nn.BatchNorm1d(3, affine=False)(Tensor(np.ones((4, 3)))), TypeError, "batch_norm: the input is float64"),
    (lambda: nn.Linear(3, 2)(Tensor(np.ones((4, 5), "f"))), ValueError, r"linear\(float32\[4, 5\], float32\[2, 3\]"),
    (lambda: nn.LayerNorm((2, 3))(Tensor(np.ones((3, 2), "f"))), ValueError, r"got shape \(3, 2\), expected one that ends with \(2, 3\)"),
    (lambda: nn.LayerNorm((2, 3))(Tensor(np.ones(3, "f"))), ValueError, r"got shape \(3,\)"),
    (lambda: nn.BatchNorm1d(3)(Tensor(np.ones((4, 2), "f"))), ValueError, r"BatchNorm1d: got shape \(4, 2\), expected \(N, 3\)"),
    (lambda: nn.BatchNorm1d(3)(Tensor(np.ones((1, 3), "f"))), ValueError, "one value per channel"),
    (lambda: nn.Linear(0, 2), ValueError, "got in_features=0"),
    (lambda: nn.Dropout(1.5), ValueError, "p: got 1.5, expected a probability"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "padding_idx: got 3"),
    (lambda: nn.Embedding(3, 2, sparse=True, scale_grad_by_freq=True)(np.array([1])), ValueError, "scale_grad_by_freq needs sparse=False"),
    (lambda: nn.LeakyReLU(slope=0.1), TypeError, "LeakyReLU: got arguments"),
    (lambda: nn.Sigmoid(True), TypeError, r"Sigmoid: got arguments \[True\], expected none"),
    (lambda: nn.ELU(1.0, False, 3), TypeError, "ELU: got arguments .*expected alpha, inplace"),
    (lambda: nn.GLU()(Tensor(np.ones((2, 3)))), ValueError, "axis -1 has size 3, expected an even one"),
]


@pytest.mark.parametrize("call, kind, message", BAD, ids=[m for _, _, m in BAD])
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
