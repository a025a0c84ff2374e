"""Recurrent layers: the reference numbers, PyTorch on drawn inputs, fused scans against their formulas, packing, options."""
import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tinygrad_lite import Tensor, nn
from tinygrad_lite.nn import scan
from tinygrad_lite.nn.utils.rnn import PackedSequence, detach, pack_padded_sequence, pad_packed_sequence, pad_sequence

CASES = [c for c in load_reference("layers")["cases"] if c.get("layer") in ("RNN", "GRU", "LSTM")]
KINDS = ["RNN", "GRU", "LSTM"]


def flat(outputs):
    return [o for part in outputs for o in flat(part)] if isinstance(outputs, (tuple, list)) else [outputs]


def close(a, b, rtol=1e-10, atol=1e-12, **options):
    np.testing.assert_allclose(a.data if isinstance(a, Tensor) else a, b.data if isinstance(b, Tensor) else b, rtol, atol, **options)


# --- the reference numbers
def test_all_cases_are_here():
    assert {kind: sum(c["layer"] == kind for c in CASES) for kind in KINDS} == {"RNN": 10, "GRU": 10, "LSTM": 11}
    assert sum("lengths" in c for c in CASES) == 7


@pytest.mark.parametrize("way", ["packed", "lengths"])
@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES])
def test_reference(case, way):
    if way == "lengths" and "lengths" not in case:
        way = "composite"                               # the rules as a create_graph pass runs them
    m = getattr(nn, case["layer"])(*case["args"], **case["kwargs"]).double().train(case["training"])
    assert list(m.state_dict()) == list(case["state"])
    m.load_state_dict(case["state"])
    for call in case["calls"]:
        inputs = {k: Tensor(v, requires_grad=True) for k, v in call["inputs"].items()}
        x, *state = inputs.values()
        state = None if not state else tuple(state) if case["layer"] == "LSTM" else state[0]
        if "lengths" not in case:
            outputs = flat(m(x, state))
        elif way == "lengths":                          # padded to the input's length, PyTorch to the longest item's
            outputs = flat(m(x, state, lengths=case["lengths"]))
            longest, axis = max(case["lengths"]), int(m.batch_first)
            assert not outputs[0].data.take(range(longest, x.shape[axis]), axis).any()
            outputs[0] = outputs[0][(slice(None),) * axis + (slice(longest),)]
        else:
            packed, state = m(pack_padded_sequence(x, case["lengths"], m.batch_first, enforce_sorted=False), state)
            outputs = flat((pad_packed_sequence(packed, m.batch_first)[0], state))
        loss = 0
        for o, expected, g in zip(outputs, call["outputs"], call["grad_outputs"], strict=True):
            close(o, expected)
            loss = loss + (o * g).sum()
        leaves = {**inputs, **dict(m.named_parameters())}
        grads = dict(zip(leaves, tg.grad(loss, list(leaves.values()), create_graph=way == "composite")))
        for name, g in {**call["input_grads"], **call["param_grads"]}.items():
            close(grads[name], g, err_msg=name)


# --- fused against the formula
def drawn(rng, kind, H, sizes, dtype, reverse):
    """The inputs of a scan; `sizes` rows in each step."""
    n, gates, B = sum(sizes), {"rnn": 1, "gru": 3, "lstm": 4}[kind.partition(" ")[0]], sizes[0]
    shapes = [(n, 2), (B, H)] + [(B, H)] * (kind == "lstm") + [(gates * H, 2), (gates * H, H)] + [(gates * H,)] * (1 + (kind == "gru"))
    options = [kind.partition(" ")[2]] if kind.startswith("rnn") else []
    return [(rng.normal(size=s) * s[-1] ** -0.5).astype(dtype) for s in shapes], [scan.order_of(sizes, reverse), *options]


SCANS = {"rnn tanh": scan.rnn_scan, "rnn relu": scan.rnn_scan, "gru": scan.gru_scan, "lstm": scan.lstm_scan}
SIZES = [[1], [3], [2, 2], [3, 2, 2, 1], [4, 4, 4, 1, 1], [1] * 9, [11, 10, 7, 3]]


@pytest.mark.parametrize("dtype, tol", [(np.float64, 1e-12), (np.float32, 2e-5), (np.float16, 2e-2)])
@pytest.mark.parametrize("kind", SCANS)
def test_fused_is_the_formula(kind, dtype, tol):
    rng = np.random.default_rng(0)
    for sizes in SIZES:
        for H in (1, 3, 8, 17):
            for reverse in (False, True):
                arrays, options = drawn(rng, kind, H, sizes, dtype, reverse)
                if H == 3:                              # strided inputs
                    arrays = [np.repeat(a, 2, axis=-1)[..., ::2] for a in arrays]
                results = []
                g = None
                for f in (SCANS[kind], SCANS[kind].op.composite):
                    leaves = [Tensor(a, requires_grad=True) for a in arrays]
                    z = f(*leaves, *options)
                    g = rng.normal(size=z.shape).astype(dtype) if g is None else g
                    z.backward(g)
                    assert z.dtype == dtype and all(x.grad.dtype == dtype for x in leaves)
                    results.append([z.data, *[x.grad for x in leaves]])
                scale = max(1, H / 4) * len(sizes)
                for a, b in zip(*results):
                    close(a.astype(float), b.astype(float), tol * scale, tol * scale, err_msg=f"{sizes} {H} {reverse}")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", SCANS)
def test_gradcheck_to_second_order(kind, reverse):
    arrays, options = drawn(np.random.default_rng(1), kind, 3, [3, 2, 2, 1], np.float64, reverse)
    assert tg.gradcheck(lambda *leaves: SCANS[kind](*leaves, *options), arrays, order=2)


@pytest.mark.parametrize("kind", SCANS)
def test_a_gradient_can_be_asked_for_twice(kind):
    """The walk back is kept for one g; another g walks anew, and what was handed out does not change."""
    rng = np.random.default_rng(2)
    arrays, options = drawn(rng, kind, 4, [2, 2, 1], np.float64, False)
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    z = SCANS[kind](*leaves, *options)
    g = rng.normal(size=z.shape)
    z.backward(g, retain_graph=True)
    once = [x.grad.copy() for x in leaves]
    for x in leaves:
        x.grad *= 1                                     # as clipping does, in place
    z.backward(2 * g, retain_graph=True)
    z.backward(g)
    for x, first in zip(leaves, once):
        close(x.grad, 4 * first)


def test_inputs_do_not_change():
    rng = np.random.default_rng(3)
    for kind in SCANS:
        arrays, options = drawn(rng, kind, 4, [2, 1], np.float64, False)
        before = [a.copy() for a in arrays]
        leaves = [Tensor(a, requires_grad=True) for a in arrays]
        z = SCANS[kind](*leaves, *options)
        g = np.ones(z.shape)
        z.backward(g)
        assert all(np.array_equal(a, b) for a, b in zip(arrays, before)) and (g == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nan_stays_in_its_item(kind):
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("f")
    x[2, 1] = np.nan
    output, _ = getattr(nn, kind)(3, 8)(x)
    bad = np.isnan(output.data)
    assert bad[2:, 1].all() and bad.sum() == bad[2:, 1].size


# --- PyTorch on drawn inputs
def pair(torch, kind, *args, **options):
    ours, theirs = getattr(nn, kind)(*args, **options).double(), getattr(torch.nn, kind)(*args, **options).double()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    return ours, theirs


def compare(torch, ours, theirs, x, state, run, rtol=1e-9):
    """run(module, x, state, library) -> outputs: values, gradients of everything."""
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    s, t = [Tensor(v, requires_grad=True) for v in state], [torch.tensor(v, requires_grad=True) for v in state]
    z, w = flat(run(ours, a, s, tg)), flat(run(theirs, b, t, torch))
    rng = np.random.default_rng(9)
    g = [rng.normal(size=o.shape).astype(x.dtype) for o in z]
    sum((o * h).sum() for o, h in zip(z, g)).backward()
    sum((o * torch.tensor(h)).sum() for o, h in zip(w, g)).backward()
    for o, p in zip([*z, *[v.grad for v in (a, *s, *ours.parameters())]],
                    [*[v.detach() for v in w], *[v.grad for v in (b, *t, *theirs.parameters())]], strict=True):
        close(o, p.numpy(), rtol, rtol)


DRAWN = [dict(), dict(num_layers=3, bidirectional=True), dict(num_layers=2, batch_first=True, bias=False), dict(bidirectional=True, batch_first=True)]


@pytest.mark.parametrize("options", DRAWN, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_torch_agrees(kind, options, torch):
    rng = np.random.default_rng(0)
    for H, T, B in [(5, 7, 3), (1, 1, 1), (33, 4, 9)]:
        ours, theirs = pair(torch, kind, 4, H, **options)
        states = ours.num_layers * (1 + ours.bidirectional)
        x = rng.normal(size=(B, T, 4) if ours.batch_first else (T, B, 4))
        state = [rng.normal(size=(states, B, H)) for _ in range(ours.STATES)]
        join = lambda s: tuple(s) if len(s) > 1 else s[0]
        compare(torch, ours, theirs, x, state, lambda m, x, s, lib: m(x, join(s)))
        compare(torch, ours, theirs, x, [], lambda m, x, s, lib: m(x))
        single = x[0] if ours.batch_first else x[:, 0]
        compare(torch, ours, theirs, single, [s[:, 0] for s in state], lambda m, x, s, lib: m(x, join(s)))

        lengths = rng.integers(1, T + 1, B)

        def packed(m, x, s, lib):
            rnn = lib.nn.utils.rnn
            sizes = lengths if lib is tg else lib.tensor(lengths)
            p, last = m(rnn.pack_padded_sequence(x, sizes, batch_first=m.batch_first, enforce_sorted=False), join(s))
            return rnn.pad_packed_sequence(p, batch_first=m.batch_first, total_length=T)[0], last
        compare(torch, ours, theirs, x, state, packed)
        native, expected = flat(ours(x, join([Tensor(s) for s in state]), lengths=lengths)), flat(packed(ours, Tensor(x), [Tensor(s) for s in state], tg))
        assert all(np.array_equal(a.data, b.data) for a, b in zip(native, expected, strict=True))


@pytest.mark.parametrize("kind", [("RNN", dict(nonlinearity="relu")), ("GRU", {}), ("LSTM", {})], ids=str)
def test_float32_agrees_with_torch(kind, torch):
    """At a size where the gates run in vectors and in their remainders."""
    kind, options = kind
    ours, theirs = pair(torch, kind, 6, 37, **options)
    ours, theirs = ours.float(), theirs.float()
    x = np.random.default_rng(0).normal(size=(12, 5, 6)).astype("f") * 3
    compare(torch, ours, theirs, x, [], lambda m, x, s, lib: m(x), rtol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_agree_with_torch(kind, torch):
    ours, theirs = pair(torch, kind, 2, 3, num_layers=2)
    x, v = np.random.default_rng(0).normal(size=(2, 4, 2, 2))
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    first, = tg.grad((ours(a)[0] ** 2).sum(), [a], create_graph=True)
    peer, = torch.autograd.grad((theirs(b)[0] ** 2).sum(), [b], create_graph=True)
    close(first, peer.detach().numpy())
    ours.zero_grad(), theirs.zero_grad()
    (first * v).sum().backward(), (peer * torch.tensor(v)).sum().backward()
    for p, q in zip(ours.parameters(), theirs.parameters()):
        close(p.grad, q.grad.numpy(), 1e-9, 1e-11)


# --- reading from right to left
@pytest.mark.parametrize("kind", KINDS)
def test_reverse_reads_each_item_from_its_end(kind):
    rng = np.random.default_rng(0)
    m = getattr(nn, kind)(3, 4, num_layers=2, batch_first=True).double()
    lengths = [2, 5, 1, 3]
    x = rng.normal(size=(4, 5, 3))
    for given in (None, lengths):
        output, last = m(x, lengths=given, reverse=True)
        for i, n in enumerate(given or [5] * 4):
            alone, end = m(x[i:i + 1, :n][:, ::-1].copy())
            close(output[i, :n], alone.data[0, ::-1])
            assert not output.data[i, n:].any()
            for a, b in zip(flat(last), flat(end)):
                close(a[:, i], b[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_reverse_is_the_second_direction(kind):
    both, one = getattr(nn, kind)(3, 4, bidirectional=True), getattr(nn, kind)(3, 4)
    one.load_state_dict({k.removesuffix("_reverse"): v for k, v in both.state_dict().items() if k.endswith("_reverse")})
    x = np.random.default_rng(0).normal(size=(6, 2, 3)).astype("f")
    assert np.array_equal(both(x, lengths=[6, 4])[0].data[:, :, 4:], one(x, lengths=[6, 4], reverse=True)[0].data)
    with pytest.raises(ValueError, match="reads both ways already"):
        both(x, reverse=True)


# --- packing
def test_packing_agrees_with_torch(torch):
    rng = np.random.default_rng(0)
    for shape, batch_first in [((5, 3, 2), False), ((4, 6), True), ((1, 1, 2, 2), True), ((6, 6), False)]:
        B, T = shape[:2] if batch_first else shape[1::-1]
        for enforce_sorted in (False, True):
            lengths = rng.integers(1, T + 1, B)
            lengths = np.sort(lengths)[::-1].copy() if enforce_sorted else lengths
            x = rng.normal(size=shape)
            a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
            ours = pack_padded_sequence(a, lengths, batch_first, enforce_sorted)
            theirs = torch.nn.utils.rnn.pack_padded_sequence(b, torch.tensor(lengths), batch_first, enforce_sorted)
            assert np.array_equal(ours.batch_sizes, theirs.batch_sizes.numpy()) and (ours.sorted_indices is None) == enforce_sorted
            assert enforce_sorted or np.array_equal(ours.unsorted_indices[ours.sorted_indices], np.arange(B))
            z, n = pad_packed_sequence(ours, batch_first, padding_value=-7.0, total_length=T + 1)
            w, m = torch.nn.utils.rnn.pad_packed_sequence(theirs, batch_first, padding_value=-7.0, total_length=T + 1)
            assert np.array_equal(z.data, w.detach().numpy()) and np.array_equal(n, m.numpy()) and np.array_equal(n, lengths)
            g = rng.normal(size=z.shape)
            z.backward(g), w.backward(torch.tensor(g))
            assert np.array_equal(a.grad, b.grad.numpy())


def test_ids_can_be_packed():
    ids = np.array([[5, 6, 7], [8, 0, 0]])
    packed = pack_padded_sequence(ids, [3, 1], batch_first=True)
    assert packed.data.data.tolist() == [5, 8, 6, 7] and packed.data.dtype.kind == "i"
    assert nn.Embedding(9, 2)(packed.data).shape == (4, 2)


def test_pad_sequence(torch):
    rng = np.random.default_rng(0)
    for tail in ((), (2,), (0,)):
        items = [rng.normal(size=(n, *tail)) for n in (3, 1, 4, 0)]
        for options in ({}, dict(batch_first=True, padding_value=-2.0), dict(padding_side="left")):
            ours, theirs = [Tensor(a, requires_grad=True) for a in items], [torch.tensor(a, requires_grad=True) for a in items]
            z, w = pad_sequence(ours, **options), torch.nn.utils.rnn.pad_sequence(theirs, **options)
            assert np.array_equal(z.data, w.detach().numpy())
            g = rng.normal(size=z.shape)
            z.backward(g), w.backward(torch.tensor(g))
            assert all(np.array_equal(a.grad, b.grad.numpy()) for a, b in zip(ours, theirs))


# --- options: against loops written out
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def naive(kind, p, x, normal=lambda x: x, keep=lambda old, new, i: new, dropped=1.0):
    """One layer, one item after the other, one step after the other, from the equations of the docstrings."""
    H = p["weight_hh_l0"].shape[1]
    outputs, lasts = [], []
    for b in range(x.shape[1]):
        h, c, rows = np.zeros(H), np.zeros(H), []
        for t in range(x.shape[0]):
            a, u = x[t, b] @ p["weight_ih_l0"].T, (h * dropped) @ p["weight_hh_l0"].T
            parts = [slice(0, 2 * H), slice(2 * H, 3 * H)] if kind == "GRU" else [slice(None)]
            a = np.concatenate([normal(a[s]) for s in parts]) * p.get("gain_ih_l0", 1) + p["bias_ih_l0"]
            u = np.concatenate([normal(u[s]) for s in parts]) * p.get("gain_hh_l0", 1) + p["bias_hh_l0"]
            if kind == "RNN":
                h = keep(h, np.tanh(a + u), 0)
            elif kind == "GRU":
                r, z = np.split(sigmoid((a + u)[:2 * H]), 2)
                n = np.tanh(a[2 * H:] + r * u[2 * H:])
                h = keep(h, (1 - z) * n + z * h, 0)
            else:
                i, f, g, o = np.split(a + u, 4)
                new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = keep(h, sigmoid(o) * np.tanh(normal(new) * p.get("gain_c_l0", 1) + p.get("bias_c_l0", 0)), 0)
                c = keep(c, new, 1)
            rows.append(h)
        outputs.append(rows)
        lasts.append((h, c))
    return np.swapaxes(outputs, 0, 1), lasts


def module(kind, **options):
    m = getattr(nn, kind)(3, 5, **options).double()
    rng = np.random.default_rng(5)
    for p in m.parameters():
        p.data[...] = rng.normal(size=p.shape)
    return m, rng.normal(size=(6, 4, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_the_equations(kind):
    m, x = module(kind)
    close(m(x)[0], naive(kind, m.state_dict(), x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_layer_norm_inside_the_cell(kind):
    m, x = module(kind, layer_norm=True)
    output, last = m(x)
    expected, lasts = naive(kind, m.state_dict(), x, norm)
    close(output, expected)
    close(flat(last)[-1][0], [s[kind == "LSTM"] for s in lasts])
    gains = [k for k in m.state_dict() if k.startswith("gain")]
    assert gains == ["gain_ih_l0", "gain_hh_l0"] + ["gain_c_l0"] * (kind == "LSTM")
    output.sum().backward()
    assert all(np.abs(p.grad).max() > 0 for p in m.parameters())
    plain, _ = module(kind)
    assert np.abs(plain(x)[0].data - output.data).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_zoneout(kind):
    p = (0.3, 0.6)[:1 + (kind == "LSTM")]
    m, x = module(kind, zoneout=p if kind == "LSTM" else p[0])
    expected, _ = naive(kind, m.state_dict(), x, keep=lambda old, new, i: p[i] * old + (1 - p[i]) * new)
    close(m.eval()(x)[0], expected)                     # in use: the expected state
    assert np.abs(m(x)[0].data - module(kind)[0](x)[0].data).max() > 0.1
    m.train()
    tg.seed(0)
    x = np.random.default_rng(0).normal(size=(30, 40, 3))
    output = m(x)[0].data
    kept = (output[1:] == output[:-1]).mean()           # in training: exactly the old number, this often
    assert abs(kept - 0.3) < 5 * np.sqrt(0.3 * 0.7 / output[1:].size)
    tg.seed(0)
    assert np.array_equal(m(x)[0].data, output) and not np.array_equal(m(x)[0].data, output)
    frozen, x = module(kind, zoneout=1.0)
    assert not frozen(x)[0].data.any()                  # never leaves the first state, 0


@pytest.mark.parametrize("kind", KINDS)
def test_variational_dropout_is_one_mask_a_sequence(kind, monkeypatch):
    m, x = module(kind, dropout=0.5, variational=True)
    masks = []
    drop = nn.functional.dropout
    monkeypatch.setattr(nn.functional, "dropout", lambda *a: masks.append(drop(*a)) or masks[-1])
    tg.seed(3)
    output = m(x)[0]
    mask, = masks                                       # one draw for all steps
    for b in range(4):
        close(output[:, b], naive(kind, m.state_dict(), x[:, b:b + 1], dropped=mask.data[b])[0][:, 0])
    assert set(np.unique(mask.data)) == {0, 2}
    plain, _ = module(kind)
    assert np.array_equal(m.eval()(x)[0].data, plain(x)[0].data)


def test_variational_dropout_between_layers():
    """With a second layer that only passes on what it reads, the numbers dropped are the same at all steps of an item."""
    m = nn.RNN(2, 8, 2, "relu", dropout=0.5, variational=True)
    for name, p in m.named_parameters():
        p.data[...] = 0
        if name in ("bias_ih_l0", "weight_ih_l1"):
            p.data[...] = 1 if p.ndim == 1 else np.eye(8)
    tg.seed(0)
    output = m(np.ones((5, 3, 2), "f"), lengths=[5, 2, 4])[0].data
    for b, n in enumerate([5, 2, 4]):
        assert (output[:n, b] == output[0, b]).all() and not output[n:, b].any() and set(np.unique(output[0, b])) <= {0, 2}
    assert len(np.unique(output[0], axis=0)) == 3 and 0 < (output[0] == 0).mean() < 1


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_between_layers(kind, torch):
    ours, theirs = pair(torch, kind, 4, 5, num_layers=2, dropout=0.5)
    x = np.random.default_rng(0).normal(size=(6, 3, 4))
    compare(torch, ours.eval(), theirs.eval(), x, [], lambda m, x, s, lib: m(x))
    ours.train()
    tg.seed(0)
    a, b = ours(x)[0].data, ours(x)[0].data
    tg.seed(0)
    assert np.array_equal(ours(x)[0].data, a) and not np.array_equal(a, b)
    one = getattr(nn, kind)(4, 5, dropout=0.5).double()     # nothing lies between the layers of one
    assert np.array_equal(one(x)[0].data, one(x)[0].data)


@pytest.mark.parametrize("options", [dict(layer_norm=True), dict(zoneout=0.5), dict(dropout=0.5, variational=True)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_options_go_with_lengths_and_directions(kind, options):
    m = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=True, **options).double()
    x, lengths = np.random.default_rng(0).normal(size=(3, 5, 3)), [2, 5, 3]
    output, last = m.eval()(x, lengths=lengths)
    for i, n in enumerate(lengths):
        alone, end = m(x[i, :n])
        close(output[i, :n], alone)
        for a, b in zip(flat(last), flat(end)):
            close(a[:, i], b)
    tg.seed(0)
    m.train()(x, lengths=lengths)[0].sum().backward()
    assert all(np.isfinite(p.grad).all() and p.grad.any() for p in m.parameters())


@pytest.mark.parametrize("kind, options", [("RNN", dict(layer_norm=True)), ("GRU", dict(layer_norm=True)), ("LSTM", dict(layer_norm=True, zoneout=0.2)),
                                           ("LSTM", dict(proj_size=2))], ids=str)
def test_options_pass_gradcheck(kind, options):
    m = getattr(nn, kind)(2, 3, **options).double().eval()
    x, w = np.random.default_rng(0).normal(size=(3, 2, 2)), m.weight_hh_l0.data

    def f(x, w):
        m.weight_hh_l0 = w
        return m(x, lengths=[3, 2])[0]
    assert tg.gradcheck(f, [x, w], order=2)


# --- truncated back-propagation
@pytest.mark.parametrize("kind", KINDS)
def test_detach_cuts_the_past_off(kind):
    m, x = module(kind)
    past, state = m(Tensor(x, requires_grad=True))
    cut = detach(state)
    assert type(cut) is type(state) and not any(s.requires_grad for s in flat(cut))
    assert all(a.data is b.data for a, b in zip(flat(cut), flat(state)))
    m(x, cut)[0].sum().backward()
    got = {k: p.grad for k, p in m.named_parameters()}
    m.zero_grad()
    m(x, state)[0].sum().backward()
    assert all(np.abs(got[k] - p.grad).max() > 1e-6 for k, p in m.named_parameters())     # without the cut the past has its say
    assert detach(None) is None


def test_training_with_detached_states_needs_no_more_memory():
    import gc
    import tracemalloc
    m, state, seen = nn.LSTM(8, 16, num_layers=2), None, []
    x = np.random.default_rng(0).normal(size=(20, 4, 8)).astype("f")
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(12):
            output, state = m(x, detach(state))
            (output ** 2).mean().backward()
            m.zero_grad()
            del output
            seen.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.enable()
    assert max(seen[3:]) - min(seen[3:]) < 20_000       # bytes; one batch's graph holds 400,000


# --- cells
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_cells_agree_with_torch(kind, bias, torch):
    ours, theirs = pair(torch, kind + "Cell", 3, 4, bias=bias)
    rng = np.random.default_rng(0)
    join = lambda s: tuple(s) if len(s) > 1 else s[0]
    for batch in ((5,), (1,), ()):
        x, state = rng.normal(size=(*batch, 3)), [rng.normal(size=(*batch, 4)) for _ in range(ours.STATES)]
        compare(torch, ours, theirs, x, state, lambda m, x, s, lib: m(x, join(s)))
        ours.zero_grad(), theirs.zero_grad()
        if batch:                                       # without a state the other bias still learns
            z, w = flat(ours(x)), flat(theirs(torch.tensor(x)))
            assert all(np.allclose(a.data, b.detach().numpy()) for a, b in zip(z, w))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_step_by_step_is_the_layer(kind):
    layer, cell = getattr(nn, kind)(3, 4).double(), getattr(nn, kind + "Cell")(3, 4).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x, state = np.random.default_rng(0).normal(size=(6, 2, 3)), None
    for t in range(6):
        state = cell(x[t], state)
    for a, b in zip(flat(state), flat(layer(x)[1])):
        close(a, b.data[0])


# --- a model on real work
def test_a_gru_learns_to_remember():
    """Which of two letters came first, several steps ago; items of unequal length, read in both orders."""
    rng = np.random.default_rng(0)
    for reverse in (False, True):
        tg.seed(0)
        embed, gru, out = nn.Embedding(4, 8), nn.GRU(8, 16, batch_first=True), nn.Linear(16, 2)
        params = [p for m in (embed, gru, out) for p in m.parameters()]
        opt = tg.optim.Adam(params, lr=0.02)
        for _ in range(60):
            lengths = rng.integers(3, 9, 32)
            ids = rng.integers(2, 4, (32, 8))
            y = rng.integers(0, 2, 32)
            ids[np.arange(32), lengths - 1 if reverse else 0] = y
            opt.zero_grad()
            loss = tg.losses.cross_entropy(out(gru(embed(ids), lengths=lengths, reverse=reverse)[1][0]), y)
            loss.backward()
            tg.clip.clip_grad_norm_(params, 1.0)
            opt.step()
        assert loss.item() < 0.1


# --- state and seeds
def test_saved_and_loaded(tmp_path):
    m, other = nn.LSTM(3, 4, 2, bidirectional=True, layer_norm=True), nn.LSTM(3, 4, 2, bidirectional=True, layer_norm=True)
    nn.save_safetensors(tmp_path / "m.safetensors", m.state_dict())
    other.load_state_dict(nn.load_safetensors(tmp_path / "m.safetensors"))
    x = np.ones((3, 2, 3), "f")
    assert np.array_equal(m(x)[0].data, other(x)[0].data)


def test_initial_weights():
    tg.seed(0)
    m = nn.GRU(50, 100)
    assert all(0.09 < np.abs(p.data).max() <= 0.1 for p in m.parameters())     # U(-1/sqrt(H), 1/sqrt(H))
    tg.seed(0)
    assert np.array_equal(nn.GRU(50, 100).weight_hh_l0.data, m.weight_hh_l0.data)
    assert repr(nn.LSTM(3, 4, num_layers=2, dropout=0.1)) == "LSTM(3, 4, num_layers=2, dropout=0.1)"


# --- what is refused
def f(*shape):
    return np.zeros(shape, "f")


x, BOTH = f(5, 2, 3), (ValueError, TypeError)
BAD = [
    (lambda: nn.GRU(3, 4)(f(5, 2, 6)), r"GRU: got an input of shape \(5, 2, 6\), expected \(T, B, 3\), or \(T, 3\) for one sequence"),
    (lambda: nn.GRU(3, 4, batch_first=True)(f(3)), r"expected \(B, T, 3\), or \(T, 3\)"),
    (lambda: nn.GRU(3, 4)(f(0, 2, 3)), r"shape \(0, 2, 3\), expected at least one step and one item"),
    (lambda: nn.GRU(3, 4)(f(5, 0, 3)), r"shape \(5, 0, 3\), expected at least one step and one item"),
    (lambda: nn.GRU(3, 4)(f(5, 0, 3), lengths=[]), "at least one step and one item"),
    (lambda: nn.GRU(3, 4)(x.astype(float)), r"GRU: the input is float64, the weight float32: use x.astype\('float32'\)"),
    (lambda: nn.LSTM(3, 4)(x.astype(int)), "LSTM: the input is int64, the weight float32"),
    (lambda: nn.GRU(3, 4)(x, f(1, 3, 4)), r"GRU: h: got shape \(1, 3, 4\), expected \(1, 2, 4\)"),
    (lambda: nn.GRU(3, 4, 2)(x, f(1, 2, 4)), r"h: got shape \(1, 2, 4\), expected \(2, 2, 4\): layers \* directions, items, width"),
    (lambda: nn.GRU(3, 4)(f(5, 3), f(1, 1, 4)), r"h: got shape \(1, 1, 4\), expected \(1, 4\)"),
    (lambda: nn.GRU(3, 4)(x, f(1, 2, 4).astype(float)), "GRU, state h: the input is float64, the weight float32"),
    (lambda: nn.GRU(3, 4)(x, (f(1, 2, 4), f(1, 2, 4))), r"GRU: got a state of type tuple, expected one Tensor h"),
    (lambda: nn.LSTM(3, 4)(x, f(1, 2, 4)), r"LSTM: got a state of type ndarray, expected a pair \(h, c\)"),
    (lambda: nn.LSTM(3, 4)(x, (f(1, 2, 4), f(1, 2, 5))), r"LSTM: c: got shape \(1, 2, 5\), expected \(1, 2, 4\)"),
    (lambda: nn.GRU(3, 4)(x, lengths=[5, 0]), r"lengths: item 1 has length 0, expected 1..5, the steps of the input; leave empty items out"),
    (lambda: nn.GRU(3, 4)(x, lengths=[6, 2]), "lengths: item 0 has length 6, expected 1..5"),
    (lambda: nn.GRU(3, 4)(x, lengths=[-1, 2]), "lengths: item 0 has length -1"),
    (lambda: nn.GRU(3, 4)(x, lengths=[5]), r"lengths: got shape \(1,\), expected \(2,\), one for each item"),
    (lambda: nn.GRU(3, 4)(x, lengths=[5.0, 2.0]), "lengths: got dtype float64, expected integers"),
    (lambda: nn.GRU(3, 4)(f(5, 3), lengths=[5]), r"lengths belong to a batch, got one sequence of shape \(5, 3\)"),
    (lambda: nn.GRU(3, 4)(pack_padded_sequence(x, [5, 2]), lengths=[5, 2]), "a PackedSequence, which knows its own"),
    (lambda: nn.GRU(3, 4)(pack_padded_sequence(f(5, 2, 6), [5, 2])), r"shape \(7, 6\), expected packed rows \(rows, 3\)"),
    (lambda: nn.GRU(3, 4)(pack_padded_sequence(x, [5, 2]), f(1, 3, 4)), r"h: got shape \(1, 3, 4\), expected \(1, 2, 4\)"),
    (lambda: pack_padded_sequence(x, [2, 5]), "lengths must fall, but item 0 has 2 and item 1 has 5: pass enforce_sorted=False"),
    (lambda: pack_padded_sequence(f(3), [1]), r"got shape \(3,\), expected \(T, B, ...\)"),
    (lambda: pack_padded_sequence(f(3, 0, 2), []), "a batch without items"),
    (lambda: pad_packed_sequence(pack_padded_sequence(x, [5, 2]), total_length=4), "total_length: got 4, expected at least the longest item's 5"),
    (lambda: pad_sequence([]), "expected at least one"),
    (lambda: pad_sequence([f(2, 3), f(2, 4)]), "all alike but for the first axis"),
    (lambda: pad_sequence([f(2)], padding_side="top"), "padding_side: got 'top'"),
    (lambda: nn.RNN(3, 4, nonlinearity="gelu"), "nonlinearity: got 'gelu', expected 'tanh' or 'relu'"),
    (lambda: nn.RNNCell(3, 4, nonlinearity="gelu"), "nonlinearity: got 'gelu'"),
    (lambda: nn.GRU(0, 4), "got input_size=0"),
    (lambda: nn.GRU(3, 4, dropout=1.5), r"got dropout=1.5, zoneout=\(0.0,\), expected probabilities"),
    (lambda: nn.GRU(3, 4, zoneout=(0.1, 0.2)), "expected probabilities"),
    (lambda: nn.LSTM(3, 4, proj_size=4), "proj_size: got 4, expected less than hidden_size=4"),
    (lambda: nn.GRUCell(3, 4)(f(2, 5)), r"GRUCell: got an input of shape \(2, 5\), expected \(B, 3\) or \(3,\)"),
    (lambda: nn.GRUCell(3, 4)(f(2, 3), f(3, 4)), r"GRUCell: h: got shape \(3, 4\), expected \(2, 4\)"),
    (lambda: nn.LSTMCell(3, 4)(f(2, 3), f(2, 4)), r"LSTMCell: got a state of type ndarray, expected a pair \(h, c\)"),
    (lambda: nn.GRUCell(0, 4), "got input_size=0"),
    (lambda: nn.RNNCell(3, 4)(f(2, 3).astype(float)), "RNNCell: the input is float64"),
]


@pytest.mark.parametrize("call, message", BAD, ids=[m for _, m in BAD])
def test_refused(call, message):
    with pytest.raises(BOTH, match=message):
        call()
