"""Attention, bilinear forms and highways: PyTorch on drawn inputs and masks, derivatives, and what is refused."""
import re

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, nn
from tinygrad_lite.nn import functional as F


def attentions(torch, *args, **options):
    ours, theirs = nn.MultiheadAttention(*args, **options).double(), torch.nn.MultiheadAttention(*args, **options).double()
    rng = np.random.default_rng(0)
    for p in ours.parameters():
        p.data[...] = rng.normal(size=p.shape)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    return ours, theirs


MASKS = {
    "none": {}, "padding": dict(key_padding_mask=np.array([[False, False, True, True], [False] * 4, [False, True, False, False]])),
    "numbers on padding": dict(key_padding_mask=np.array([[0.0, 1.0, -np.inf, 0.0]] * 3)),
    "causal": dict(attn_mask=np.triu(np.ones((5, 4), bool), 1)), "numbers": dict(attn_mask=np.linspace(-1, 1, 20).reshape(5, 4)),
    "a head each": dict(attn_mask=np.random.default_rng(0).normal(size=(6, 5, 4))),
    "two": dict(attn_mask=np.triu(np.ones((5, 4), bool), 1), key_padding_mask=np.array([[False, False, True, True]] * 3)),
    "heads kept apart": dict(average_attn_weights=False), "no weights": dict(need_weights=False),
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masks", MASKS)
def test_torch_agrees(masks, batch_first, torch):
    ours, theirs = attentions(torch, 8, 2, batch_first=batch_first)
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=(3, n, 8)) if batch_first else rng.normal(size=(n, 3, 8)) for n in (5, 4, 4)]
    xs, ys = [Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    given = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in MASKS[masks].items()}
    (z, weights), (w, expected) = ours(*xs, **MASKS[masks]), theirs(*ys, **given)
    np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert (weights is None) == (expected is None)
    if weights is not None:
        np.testing.assert_allclose(weights.data, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    g = rng.normal(size=z.shape)
    z.backward(g), w.backward(torch.tensor(g))
    for x, y in zip([*xs, *ours.parameters()], [*ys, *theirs.parameters()]):
        np.testing.assert_allclose(x.grad, y.grad.numpy(), rtol=1e-9, atol=1e-11)


def test_one_sequence_without_a_batch(torch):
    ours, theirs = attentions(torch, 6, 3, bias=False)
    q, k = np.random.default_rng(0).normal(size=(4, 6)), np.random.default_rng(1).normal(size=(2, 6))
    (z, weights), (w, expected) = ours(Tensor(q), Tensor(k), Tensor(k)), theirs(*map(torch.tensor, (q, k, k)))
    np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(weights.data, expected.detach().numpy(), rtol=1e-10)


def test_causal_attention_does_not_look_ahead():
    tg.seed(0)
    attention = nn.MultiheadAttention(4, 2, batch_first=True).double()
    x = np.random.default_rng(0).normal(size=(1, 5, 4))
    z, weights = attention(Tensor(x), Tensor(x), Tensor(x), is_causal=True)
    assert not np.triu(weights.data[0], 1).any()
    x[0, 3:] = 9                            # what comes later
    later, _ = attention(Tensor(x), Tensor(x), Tensor(x), is_causal=True)
    assert np.array_equal(later.data[0, :3], z.data[0, :3]) and not np.allclose(later.data[0, 3:], z.data[0, 3:])


@pytest.mark.parametrize("options", [{}, dict(is_causal=True), dict(attn_mask=np.tri(4, 3, 1, bool)), dict(attn_mask=np.linspace(-1, 1, 12).reshape(4, 3)),
                                     dict(scale=0.3)])
def test_scaled_dot_product_attention(options, torch):
    arrays = [np.random.default_rng(i).normal(size=shape) for i, shape in enumerate([(2, 4, 5), (2, 3, 5), (2, 3, 6)])]
    given = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected = torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, arrays), **given).numpy()
    np.testing.assert_allclose(F.scaled_dot_product_attention(*map(Tensor, arrays), **options).data, expected, rtol=1e-10)
    assert tg.gradcheck(lambda *a: F.scaled_dot_product_attention(*a, **options) ** 2, arrays, order=2)


def test_attention_starts_as_in_torch_and_drops_out():
    tg.seed(0)
    attention = nn.MultiheadAttention(32, 4, dropout=0.5, batch_first=True)
    assert list(attention.state_dict()) == ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    bound = (6 / (96 + 32)) ** 0.5
    assert 0.95 * bound < np.abs(attention.in_proj_weight.data).max() <= bound
    assert not attention.in_proj_bias.data.any() and not attention.out_proj.bias.data.any()
    x = Tensor(np.random.default_rng(0).normal(size=(2, 9, 32)).astype("f"))
    _, weights = attention(x, x, x, average_attn_weights=False)
    assert 0.4 < (weights.data == 0).mean() < 0.6
    _, weights = attention.eval()(x, x, x)
    np.testing.assert_allclose(weights.data.sum(axis=2), 1, rtol=1e-5)


# --- bilinear
@pytest.mark.parametrize("shape", [(5,), (2, 3), (), (0,)])
@pytest.mark.parametrize("bias", [True, False])
def test_bilinear(shape, bias, torch):
    ours, theirs = nn.Bilinear(3, 4, 2, bias).double(), torch.nn.Bilinear(3, 4, 2, bias).double()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(*shape, 3)), rng.normal(size=(*shape, 4))
    xs, ys = [Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    z, w = ours(*xs), theirs(*ys)
    np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=1e-10)
    g = rng.normal(size=z.shape)
    z.backward(g), w.backward(torch.tensor(g))
    for x, y in zip([*xs, *ours.parameters()], [*ys, *theirs.parameters()]):
        np.testing.assert_allclose(x.grad, y.grad.numpy(), rtol=1e-10, atol=1e-12)
    assert 0.2 < np.abs(ours.weight.data).max() <= 3 ** -0.5


# --- highway
def test_highway_is_its_formula():
    tg.seed(0)
    layer = nn.Highway(3, 2, activation=tg.tanh, gate_bias=-1.0).double()
    x = np.random.default_rng(0).normal(size=(4, 3))
    y = x
    for h, t in zip(layer.transforms, layer.gates):
        gate = 1 / (1 + np.exp(-(y @ t.weight.data.T + t.bias.data)))
        y = gate * np.tanh(y @ h.weight.data.T + h.bias.data) + (1 - gate) * y
    np.testing.assert_allclose(layer(Tensor(x)).data, y, rtol=1e-12)
    assert tg.gradcheck(lambda x: layer(x) ** 2, [x], order=2)
    assert set(layer.state_dict()) == {f"{kind}.{i}.{p}" for kind in ("transforms", "gates") for i in (0, 1) for p in ("weight", "bias")}


def test_a_deep_highway_lets_the_gradient_through():
    """Fifty layers: through closed gates the first layer's input is still heard, through a plain stack it is not."""
    tg.seed(0)
    x = np.random.default_rng(0).normal(size=(8, 16)).astype("f")

    def heard(net):
        given = Tensor(x, requires_grad=True)
        net(given).sum().backward()
        return np.abs(given.grad).mean()
    highway = nn.Highway(16, 50)
    assert all((gate.bias.data == -2).all() for gate in highway.gates)
    plain = nn.Sequential(*[layer for _ in range(50) for layer in (nn.Linear(16, 16), nn.ReLU())])
    assert heard(nn.Highway(16, 50, gate_bias=-4.0)) > 0.2 and heard(plain) < 1e-6 and heard(highway) > 1e3 * heard(plain)


X = Tensor(np.ones((3, 2, 8), "f"))
BAD = [
    (lambda: nn.MultiheadAttention(8, 3), "got embed_dim=8, num_heads=3, expected heads of equal size"),
    (lambda: nn.MultiheadAttention(6, 2)(X, X, X), r"got shapes \[\(3, 2, 8\), .*expected \(length, batch, 6\)"),
    (lambda: nn.MultiheadAttention(8, 2)(X, X, X[:2]), "key and value alike"),
    (lambda: nn.MultiheadAttention(8, 2)(X, X[:, :1], X[:, :1]), "got 2 queries and 1 keys in a batch"),
    (lambda: nn.MultiheadAttention(8, 2)(X, X, X, key_padding_mask=np.ones((3, 2), bool)), r"key_padding_mask: got shape \(3, 2\), expected \(2, 3\)"),
    (lambda: nn.MultiheadAttention(8, 2)(X, X, X, attn_mask=np.ones((2, 2))), r"attn_mask: got shape \(2, 2\), expected \(3, 3\) or \(4, 3, 3\)"),
    (lambda: F.scaled_dot_product_attention(X, X, X, attn_mask=np.ones((2, 2), bool), is_causal=True), "got is_causal and a mask"),
    (lambda: nn.Bilinear(0, 1, 1), "Bilinear: got in1_features=0"),
    (lambda: nn.Highway(4, gate_bias=0.0), "gate_bias: got 0.0, expected a number < 0"),
]


@pytest.mark.parametrize("call, message", BAD, ids=[re.sub(r"\W+", "-", m)[:60] for _, m in BAD])
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
