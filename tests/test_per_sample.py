"""Every sample's own gradient: PyTorch's recorded numbers, the loop over samples for every kind of layer, and what is refused."""
import gc

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tinygrad_lite import nn
from tinygrad_lite.diagnostics import per_sample_gradients
from tinygrad_lite.diagnostics.per_sample import by_owner

N = 5
CE = tg.losses.cross_entropy


def loop(model, loss_fn, batch):
    """{name: (n, *shape)} by one forward and backward pass a sample."""
    found = {name: [] for name, p in model.named_parameters() if p.requires_grad}
    for i in range(len(batch[-1])):
        model.zero_grad()
        *inputs, target = [x[i:i + 1] for x in batch]
        loss_fn(model(*[tg.Tensor(x) if x.dtype.kind == "f" else x for x in inputs]), target).backward()
        for name, p in model.named_parameters():
            if p.requires_grad:
                found[name].append(np.zeros(p.shape) if p.grad is None else p.grad.to_dense() if isinstance(p.grad, tg.RowSparse) else p.grad.copy())
    model.zero_grad()
    return {name: np.stack(g) for name, g in found.items()}


class Read(nn.Module):
    """A recurrent net over (n, steps, 4), both ways, two layers, and its last output read."""

    def __init__(self, kind, **options):
        self.net = kind(4, 3, num_layers=2, batch_first=True, **options)
        self.out = nn.Linear(6 if options.get("bidirectional") else options.get("proj_size") or 3, 3)

    def forward(self, x):
        return self.out(self.net(x)[0][:, -1])


class TimeMajor(nn.Module):
    """Ids through a table into (steps, n, 4): samples lie along the second axis, then in every n-th row."""

    def __init__(self):
        self.table, self.net, self.out = nn.Embedding(9, 4), nn.LSTM(4, 3), nn.Linear(3, 3)

    def forward(self, ids):
        return self.out(self.net(self.table(ids).swapaxes(0, 1))[1][0][0])


class Lengths(nn.Module):
    """Sequences of their own lengths: sorted, packed, unsorted."""

    def __init__(self):
        self.table, self.net, self.out = nn.Embedding(9, 4, padding_idx=0, sparse=True), nn.GRU(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, ids):
        return self.out(self.net(self.table(ids), lengths=(ids > 0).sum(axis=1))[1][0])


class LearntStart(nn.Module):
    """First states that are parameters."""

    def __init__(self):
        self.net, self.h, self.c, self.out = nn.LSTM(4, 3, batch_first=True), nn.Parameter(np.full((1, 1, 3), 0.2)), nn.Parameter(np.ones((1, 1, 3))), nn.Linear(3, 3)

    def forward(self, x):
        return self.out(self.net(x, (self.h.expand(1, x.shape[0], 3), self.c.expand(1, x.shape[0], 3)))[0].mean(axis=1))


class Raw(nn.Module):
    """Parameters outside of layers: transposed, added to each other, used twice, read by slices."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.w, self.b, self.v = (nn.Parameter(rng.standard_normal(shape)) for shape in ((4, 4), (4,), (3, 4)))
        self.s, self.unused = nn.Parameter(np.array(0.7)), nn.Parameter(np.ones(2))

    def forward(self, x):
        h = np.tanh(x @ (self.w + self.w.T) * self.b - self.b[::-1]) * self.s
        return tg.concatenate([h, h * self.b], axis=1)[:, 2:6] @ self.v.T


class Products(nn.Module):
    """Sums in Einstein's notation and products of matrices, with parameters on either side."""

    def __init__(self):
        rng = np.random.default_rng(2)
        self.a, self.b, self.c = (nn.Parameter(rng.standard_normal(shape)) for shape in ((4, 6), (3, 2, 6), (2,)))

    def forward(self, x):
        h = tg.einsum("nti,ij->ntj", x, self.a)
        return tg.einsum("ntj,kcj->nkc", np.tanh(h), self.b) @ self.c


class Attention(nn.Module):
    def __init__(self):
        self.a, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.a(x, x, x)[0].mean(axis=1))


rng = np.random.default_rng(0)
ROWS, STEPS, IMAGES = rng.standard_normal((N, 4)), rng.standard_normal((N, N, 4)), rng.standard_normal((N, 2, 5, 5))
IDS = rng.integers(1, 9, (N, 7))
SHORT = IDS * (np.arange(7) < np.array([7, 3, 5, 1, 7])[:, None])
NETS = {                # the steps of STEPS are as many as its samples: shapes do not tell which axis is which
    "mlp": (lambda: nn.Sequential(nn.Linear(4, N), nn.Tanh(), nn.LayerNorm(N), nn.Linear(N, 3)), ROWS),
    "over steps": (lambda: nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.RMSNorm(6), nn.Flatten(), nn.Linear(6 * N, 3)), STEPS),
    "conv2d": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.ReLU(), nn.GroupNorm(2, 4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)), IMAGES),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(N, 3, 2, bias=False), nn.AvgPool1d(3), nn.Flatten(), nn.PReLU() if hasattr(nn, "PReLU") else nn.ELU(), nn.Linear(3, 3)), STEPS),
    "batch norm in eval": (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)).eval(), ROWS),
    "rnn": (lambda: Read(nn.RNN, bidirectional=True), STEPS),
    "gru": (lambda: Read(nn.GRU, bidirectional=True), STEPS),
    "gru without bias": (lambda: Read(nn.GRU, bias=False), STEPS),
    "lstm": (lambda: Read(nn.LSTM, bidirectional=True), STEPS),
    "lstm in plain ops": (lambda: Read(nn.LSTM, layer_norm=True, proj_size=2), STEPS),
    "time major": (TimeMajor, IDS),
    "lengths": (Lengths, SHORT),
    "learnt start": (LearntStart, STEPS),
    "raw": (Raw, ROWS),
    "attention": (Attention, STEPS),
    "padded ids": (lambda: nn.Sequential(nn.Embedding(9, 2, padding_idx=3), nn.Flatten(), nn.Linear(14, 3)), IDS % 4 + 1),
    "products": (Products, STEPS),
    "bags": (lambda: nn.Sequential(nn.EmbeddingBag(9, 4), nn.Linear(4, 3)), IDS),
    "one weight twice": (lambda: (lambda layer: nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, 3)))(nn.Linear(4, 4)), ROWS),
}
TARGET = np.array([0, 2, 1, 1, 2])


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_against_the_loop(name, reduction):
    make, x = NETS[name]
    tg.seed(7)
    model = make().double()

    def loss_fn(output, target):
        return CE(output, target, reduction=reduction)
    found, expected = per_sample_gradients(model, loss_fn, (x, TARGET)), loop(model, loss_fn, (x, TARGET))
    assert list(found) == list(expected) and len(found) == len(expected)
    for key, g in expected.items():
        np.testing.assert_allclose(found[key], g, rtol=1e-9, atol=1e-12, err_msg=key)
        np.testing.assert_allclose(found.mean_grad[key], g.mean(axis=0), rtol=1e-9, atol=1e-12, err_msg=key)
        np.testing.assert_allclose(found.mean_square_grad[key], (g ** 2).mean(axis=0), rtol=1e-9, atol=1e-12, err_msg=key)
    norms = np.sqrt(sum((g.reshape(N, -1) ** 2).sum(axis=1) for g in expected.values()))
    np.testing.assert_allclose(found.per_sample_norm, norms, rtol=1e-9)


def test_recorded_from_pytorch():
    case, = load_reference("per_sample")["cases"]
    inputs = case["inputs"]
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    net.load_state_dict({"0.weight": inputs["W1"], "0.bias": inputs["b1"], "2.weight": inputs["W2"], "2.bias": inputs["b2"]})
    found = per_sample_gradients(net, CE, (inputs["X"], inputs["y"]))
    for ours, theirs in {"0.weight": "W1", "0.bias": "b1", "2.weight": "W2", "2.bias": "b2"}.items():
        np.testing.assert_allclose(found.mean_grad[ours], case["mean_grad"][theirs], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.mean_square_grad[ours], case["mean_square_grad"][theirs], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.per_sample_norm, case["per_sample_norm"], rtol=1e-10)


def test_no_gradient_is_held_that_was_not_asked_for():
    """Norms of 512 samples' gradients in 100,000 weights: 200 MB, were they made."""
    import tracemalloc
    net = nn.Sequential(nn.Linear(100, 500), nn.Tanh(), nn.Linear(500, 100))
    x, y = np.random.default_rng(0).standard_normal((512, 100)).astype("f"), np.arange(512) % 100
    per_sample_gradients(net, CE, (x, y)).per_sample_norm
    gc.collect()
    tracemalloc.start()
    assert per_sample_gradients(net, CE, (x, y)).per_sample_norm.shape == (512,)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_one_pass_for_all_samples(kind, monkeypatch):
    """As many products of matrices for 64 samples as for 4."""
    counts = {}
    for n in (4, 64):
        net, x = Read(kind), np.ones((n, 3, 4), "f")
        op, calls = tg.tensor.OPS["linear"], []
        with monkeypatch.context() as patch:
            patch.setattr(op, "forward", lambda *values, plain=op.forward: calls.append(1) or plain(*values))
            patch.setattr(op, "rules", tuple([lambda *values, rule=rule: calls.append(1) or rule(*values) for rule in op.rules]))
            per_sample_gradients(net, CE, (x, np.arange(n) % 3)).per_sample_norm
        counts[n] = len(calls)
    assert counts[4] == counts[64] > 0


@pytest.mark.parametrize("n, noise", [(2000, 0.5), (2000, 3.0)])
def test_noise_scale_of_a_known_distribution(n, noise):
    """A mean fitted to points of N(3, noise^2) in 4 dimensions, from 0: |G|^2 = 4 * 4 * 9, tr S = 4 * 4 noise^2."""
    class Mean(nn.Module):
        def __init__(self):
            self.m = nn.Parameter(np.zeros(4))

        def forward(self, x):
            return x * 0 + self.m
    x = np.random.default_rng(0).normal(3, noise, (n, 4))
    found = per_sample_gradients(Mean(), lambda out, target: ((out - target) ** 2).sum(axis=1).mean(), (x, x))
    assert found.noise_scale == pytest.approx(noise ** 2 / 9, rel=0.1)
    with pytest.raises(ValueError, match="at least 2"):
        per_sample_gradients(Mean(), lambda out, target: ((out - target) ** 2).mean(), (x[:1], x[:1])).noise_scale


def test_a_large_table_is_not_copied_for_every_sample():
    import tracemalloc
    net = nn.Sequential(nn.Embedding(20000, 8), nn.Flatten(), nn.Linear(24, 3))
    ids, y = np.random.default_rng(0).integers(0, 20000, (200, 3)), np.arange(200) % 3
    tracemalloc.start()
    norms = per_sample_gradients(net, CE, (ids, y)).per_sample_norm
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert norms.shape == (200,) and peak < 20 * 20000 * 8


def test_nothing_changes():
    tg.seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.BatchNorm1d(3).eval(), nn.Linear(3, 3))
    for p in net.parameters():
        p.grad = np.full_like(p.data, 2)
    before, chance = net.state_dict(), tg.random.generator.bit_generator.state
    x = ROWS.astype("f")
    per_sample_gradients(net, CE, (x, TARGET)).per_sample_norm
    with pytest.raises(ValueError):
        per_sample_gradients(net, lambda out, target: out, (x, TARGET))
    assert all(np.array_equal(before[k], v) for k, v in net.state_dict().items())
    assert all((p.grad == 2).all() for p in net.parameters()) and tg.random.generator.bit_generator.state == chance
    assert net.training and not net[2].training


def centred(x):
    return x - x.mean(axis=0)


class Function(nn.Module):
    def __init__(self, f):
        self.f, self.w = f, nn.Parameter(np.ones(4))

    def forward(self, x):
        return self.f(x * self.w)


@pytest.mark.parametrize("model, loss_fn, batch, message", [
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double(), CE, (ROWS, TARGET), r"1 \(BatchNorm1d\) is in training mode"),
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)).double().eval(), CE, (ROWS, TARGET), "BatchNorm1d"),
    (lambda: Function(centred), CE, (ROWS, TARGET), "'mean' makes one number out of several samples"),
    (lambda: Function(lambda x: nn.functional.batch_norm(x, None, None, training=True)), CE, (ROWS, TARGET), "out of several samples"),
    (lambda: Function(lambda x: x @ x.T), CE, (ROWS, TARGET), "several samples|different samples"),
    (lambda: Function(lambda x: tg.einsum("ij,kj->ik", x, x)), CE, (ROWS, TARGET), "different samples"),
    (lambda: Function(lambda x: tg.einsum("ij->j", x) + x), CE, (ROWS, TARGET), "different samples"),
    (lambda: Function(lambda x: x - x[::-1]), CE, (ROWS, TARGET), "different samples"),
    (lambda: Function(lambda x: x.sum(axis=1)[:, None] - x.sum(axis=1)), CE, (ROWS, TARGET), "different samples"),
    (lambda: nn.Linear(4, 3).double(), lambda o, t: CE(o, t, weight=np.array([1.0, 2, 3])), (ROWS, TARGET), "neither a mean nor a sum"),
    (lambda: nn.Linear(4, 3).double(), lambda o, t: CE(o, t, reduction="none"), (ROWS, TARGET), "expected one number"),
    (lambda: nn.Linear(4, 3).double(), CE, (ROWS, TARGET[:3]), "as many samples"),
    (lambda: nn.Linear(4, 3).double(), CE, (ROWS[:0], TARGET[:0]), "at least one"),
    (lambda: Function(lambda x: x.sum()), CE, (ROWS, TARGET), "a row for each of the 5 samples"),
])
def test_what_has_no_gradients_of_its_own_is_refused(model, loss_fn, batch, message):
    with pytest.raises(ValueError, match=message):
        per_sample_gradients(model(), loss_fn, batch)


def test_a_batch_that_is_none():
    with pytest.raises(TypeError, match=r"expected \(input, ..., target\)"):
        per_sample_gradients(nn.Linear(4, 3), CE, ROWS)


def test_rows_by_owner():
    found = by_owner(np.arange(10.0).reshape(5, 2), np.array([2, 0, 2, -1, 0]), 3)
    assert found.tolist() == [[[2, 3], [8, 9]], [[0, 0], [0, 0]], [[0, 1], [4, 5]]]
