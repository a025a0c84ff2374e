"""Mixed precision: the scaler against PyTorch's, its bounds and refusals, master weights, and sums of float16."""
import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tests.trainings import net, pairs
from tinygrad_lite.amp import GradScaler, Half
from tinygrad_lite.training import fit

CASES = load_reference("amp")["cases"]
ENTROPY = tg.losses.cross_entropy


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_scaler_against_pytorch(case):
    w, scaler = tg.nn.Parameter(np.array([1.0, 2.0])), GradScaler(**case["kwargs"])
    optimizer, steps = tg.optim.SGD([w], lr=0.1), 0
    for t, row in enumerate(case["steps"]):
        optimizer.zero_grad()
        scaler.scale((0.5 * w * w).sum()).backward()
        if t in case["bad_at"]:
            w.grad[0] = np.inf if t % 2 == 0 else np.nan
        scaler.unscale_(optimizer)
        np.testing.assert_allclose(w.grad, row["grad_after_unscale"], rtol=1e-12)
        assert scaler.step(optimizer) is not row["skipped"]
        steps += not row["skipped"]
        scaler.update()
        np.testing.assert_allclose(w.data, row["params"], rtol=1e-12)
        assert (scaler.get_scale(), scaler.growth_tracker, optimizer.t) == (row["scale"], row["growth_tracker"], steps)


def test_a_skipped_step_leaves_everything_alone():
    w = tg.nn.Parameter(np.ones(3))
    optimizer = tg.optim.Adam([w], lr=tg.schedules.StepLR(0.1, 1), weight_decay=0.1)
    scaler = GradScaler(init_scale=8.0)
    w.grad = np.ones(3)
    assert scaler.step(optimizer) is True
    scaler.update()
    before, state = w.data.copy(), optimizer.state_dict()
    w.grad = np.array([1.0, np.nan, 1.0])
    assert scaler.step(optimizer) is False
    scaler.update()
    assert (w.data == before).all() and optimizer.t == state["t"] == 1 and scaler.get_scale() == 4.0
    np.testing.assert_array_equal(optimizer.state["0"]["exp_avg"], state["state"]["0"]["exp_avg"])


def test_the_scale_stays_within_its_bounds():
    w = tg.nn.Parameter(np.ones(1))
    optimizer, scaler = tg.optim.SGD([w]), GradScaler(init_scale=4.0, growth_interval=1, min_scale=2.0, max_scale=16.0, patience=3)
    seen = []
    for value in [0.0] * 4 + [np.inf] * 5:
        w.grad = np.array([value])
        scaler.step(optimizer)
        scaler.update()
        seen.append(scaler.get_scale())
    assert seen == [8.0, 16.0, 16.0, 16.0, 8.0, 4.0, 2.0, 2.0, 2.0]
    w.grad = np.array([np.inf])
    scaler.step(optimizer)
    with pytest.raises(FloatingPointError, match="3 steps in a row skipped at the smallest scale 2: the gradient of parameter 0 of"):
        scaler.update()


def test_several_optimizers_share_a_scale():
    a, b = tg.nn.Parameter(np.ones(1), name="a"), tg.nn.Parameter(np.ones(1), name="b")
    both, scaler = tg.optim.MultipleOptimizer(tg.optim.SGD([a], lr=1.0), tg.optim.SGD([b], lr=1.0)), GradScaler(init_scale=2.0)
    one = tg.optim.SGD([tg.nn.Parameter(np.ones(1))], lr=1.0)
    a.grad, b.grad, one.param_groups[0]["params"][0].grad = np.ones(1), np.array([np.inf]), np.ones(1)
    assert scaler.step(both) is False and scaler.step(one) is True
    assert a.data == 1 and one.param_groups[0]["params"][0].data == 0.5
    scaler.update()
    assert scaler.get_scale() == 1.0


def test_clipping_comes_after_unscaling_and_sparse_gradients_are_unscaled_too():
    table = tg.nn.Embedding(5, 2, sparse=True)
    optimizer, scaler = tg.optim.SGD(table.parameters(), lr=1.0), GradScaler(init_scale=1024.0)
    before = table.weight.data.copy()
    scaler.scale(table(np.array([1, 3, 1])).sum()).backward()
    scaler.unscale_(optimizer)
    assert tg.clip.clip_grad_norm_(table.parameters(), 1e9) == pytest.approx((2 * 2 ** 2 + 2) ** 0.5)
    assert scaler.step(optimizer)
    np.testing.assert_allclose(before - table.weight.data, [[0, 0], [2, 2], [0, 0], [1, 1], [0, 0]], atol=1e-6)


def test_bad_use_is_a_sentence():
    w = tg.nn.Parameter(np.ones(1))
    optimizer, scaler = tg.optim.SGD([w]), GradScaler()
    with pytest.raises(RuntimeError, match="no step"):
        scaler.update()
    w.grad = np.ones(1)
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="unscaled already"):
        scaler.unscale_(optimizer)
    half = tg.nn.Parameter(np.ones(1, np.float16), name="w")
    half.grad = np.ones(1, np.float16)
    with pytest.raises(ValueError, match="parameter w is float16.*tg.amp.Half"):
        GradScaler().unscale_(tg.optim.SGD([half]))
    assert half.grad == 1
    for options in (dict(growth_factor=1.0), dict(backoff_factor=1.0), dict(init_scale=0.5), dict(init_scale=2.0 ** 25),
                    dict(growth_interval=0)):
        with pytest.raises(ValueError, match="GradScaler: got"):
            GradScaler(**options)
    off = GradScaler(enabled=False)
    loss = (w * 3).sum()
    assert off.scale(loss) is loss and off.get_scale() == 1.0
    optimizer.zero_grad()
    loss.backward()
    off.unscale_(optimizer)
    assert off.step(optimizer) and off.update() is None and w.grad == 3


def test_state_goes_on_where_it_was():
    first, second = GradScaler(init_scale=8.0, growth_interval=3), GradScaler(growth_interval=3)
    w = tg.nn.Parameter(np.ones(1))
    optimizer = tg.optim.SGD([w])

    def run(scaler, values):
        for value in values:
            w.grad = np.array([value])
            scaler.step(optimizer)
            scaler.update()
        return scaler.get_scale()
    run(first, [1.0, 1.0])
    second.load_state_dict(first.state_dict())
    assert run(first, [1.0, np.inf, 1.0]) == run(second, [1.0, np.inf, 1.0]) == 8.0


# --- Half
def test_half_computes_with_rounded_weights_and_trains_float32_ones():
    tg.seed(0)
    model, rng = net(dropout=0.0, batch_norm=False), np.random.default_rng(0)
    half, x = Half(model), rng.normal(size=(5, 6)).astype("f")
    weights = [p.data.copy() for p in model.parameters()]
    seen = []
    model.relu.forward = lambda h: seen.append(h.dtype) or h.clip(0, None)
    y = half(tg.Tensor(x))
    assert y.dtype == np.float32 and seen == [np.float16]
    w1, b1, w2, b2 = [w.astype(np.float16).astype("f") for w in weights]
    hidden = (x.astype(np.float16).astype("f") @ w1.T + b1).astype(np.float16).clip(0, None).astype("f")
    np.testing.assert_array_equal(y.data, (hidden @ w2.T + b2).astype(np.float16).astype("f"))
    y.sum().backward()
    assert all(p.data is not None and p.grad.dtype == p.dtype == np.float32 for p in model.parameters())
    assert all((p.data == w).all() for p, w in zip(model.parameters(), weights))
    assert list(half.state_dict())[0] == "model.first.weight"


def test_half_puts_parameters_back_after_an_error():
    model = net()
    half, before = Half(model), list(model.named_parameters())
    with pytest.raises(ValueError, match="linear"):
        half(tg.Tensor(np.ones((2, 5))))
    assert all(a is b for (_, a), (_, b) in zip(before, model.named_parameters())) and len(before) == len(list(model.named_parameters()))


def test_tied_and_nested_parameters_integers_and_several_outputs():
    class Tied(tg.nn.Module):
        def __init__(self):
            self.table = tg.nn.Embedding(4, 3)
            self.weight, self.more = self.table.weight, {"scales": [tg.nn.Parameter([2.0, 2.0, 2.0])]}

        def forward(self, ids):
            h = self.table(ids) * self.more["scales"][0]
            assert h.dtype == np.float16 and self.weight is self.table.weight
            return h, (tg.matmul(h, self.weight.T), ids)
    model = Tied()
    h, (scores, ids) = Half(model)(np.array([0, 2]))
    assert (h.dtype, scores.dtype, ids.dtype) == (np.float32, np.float32, np.int64)
    scores.sum().backward()
    exact = Tied()
    exact.load_state_dict(model.state_dict())
    for p in exact.parameters():
        p.data = p.data.astype(np.float64)
    w, s = exact.weight, exact.more["scales"][0]
    (tg.matmul(w[np.array([0, 2])] * s, w.T)).sum().backward()
    np.testing.assert_allclose(model.weight.grad, w.grad, rtol=1e-2, atol=1e-2)


def test_master_weights_keep_the_steps_that_float16_loses():
    tg.seed(0)
    moved = {}
    for name in ("float16", "master"):
        model = tg.nn.Linear(1, 1, bias=False)
        model.weight.data[:] = 1.0
        if name == "float16":
            model._convert(lambda a: a.astype(np.float16))
        used = Half(model) if name == "master" else model
        optimizer = tg.optim.SGD(model.parameters(), lr=1e-4)
        for _ in range(100):                            # 100 steps of 1e-4, each below half of float16's spacing at 1
            optimizer.zero_grad()
            used(tg.Tensor(np.ones((1, 1), np.float16))).sum().backward()
            optimizer.step()
        moved[name] = 1 - model.weight.item()
    assert moved["float16"] == 0 and moved["master"] == pytest.approx(0.01, rel=1e-3)


def test_gradients_that_vanish_in_float16_arrive_with_a_scale():
    grads = {}
    for scale in (1.0, 2.0 ** 16):
        model = tg.nn.Linear(1, 1, bias=False)
        optimizer, scaler = tg.optim.SGD(model.parameters()), GradScaler(init_scale=scale)
        loss = Half(model)(tg.Tensor([[1.0]])).sum() * 1e-9
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        grads[scale] = model.weight.grad.item()
    assert grads[1.0] == 0 and grads[2.0 ** 16] == pytest.approx(1e-9, rel=1e-2)


def test_batch_norm_in_half():
    tg.seed(0)
    model = net(dropout=0.0)
    half, x = Half(model), tg.Tensor(np.random.default_rng(0).normal(size=(16, 6)).astype("f"))
    exact = model(x).data
    np.testing.assert_allclose(half(x).data, exact, rtol=0.02, atol=0.02)
    assert model.norm.running_mean.dtype == np.float32
    half.eval()
    np.testing.assert_allclose(half(x).data, model(x).data, rtol=0.02, atol=0.02)


def trained(scale=None):
    tg.seed(0)
    model = net(dropout=0.0, batch_norm=False)
    optimizer, scaler = tg.optim.SGD(model.parameters(), lr=0.2, momentum=0.9), scale and GradScaler(init_scale=scale)
    history = fit(Half(model) if scale else model, ENTROPY, pairs(), optimizer, epochs=8, scaler=scaler, clip=1.0, show=False)
    return history, optimizer, scaler


def test_a_whole_training_in_half_follows_the_one_in_float32():
    exact, half = trained()[0], trained(2.0 ** 10)[0]
    assert exact.epochs["loss"][-1] < 0.3 < 1 < exact.steps["loss"][0] and set(half.steps["stepped"]) == {1.0}
    np.testing.assert_allclose(half.steps["loss"], exact.steps["loss"], atol=0.02)
    np.testing.assert_allclose(half.steps["grad_norm"], exact.steps["grad_norm"], atol=0.05)


def test_a_scale_that_is_too_large_costs_the_first_steps():
    history, optimizer, scaler = trained(2.0 ** 24)
    stepped, norms = history.steps["stepped"], np.array(history.steps["grad_norm"])
    skipped = stepped.count(0.0)
    assert stepped[:2] == [0.0, 0.0] and 2 <= skipped < 16 and optimizer.t == 64 - skipped
    assert scaler.get_scale() == 2.0 ** (24 - skipped) and history.epochs["loss"][-1] < 0.3
    assert (np.isfinite(norms) == np.array(stepped, bool)).all()


# --- float16 is storage: what is summed is summed in float32
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
def test_long_sums_of_float16(axis):
    x = np.ones((5000, 3), np.float16)
    t = tg.Tensor(x, requires_grad=True)
    z = t.sum(axis=axis)
    assert z.dtype == np.float16
    np.testing.assert_array_equal(z.data, x.astype("f").sum(axis=axis).astype(np.float16))
    bias = tg.Tensor(np.zeros(3, np.float16), requires_grad=True)
    (t + bias).backward(x)
    np.testing.assert_array_equal(bias.grad, np.full(3, 5000, np.float16))


@pytest.mark.parametrize("shapes", [((4, 600), (600, 5)), ((2, 4, 600), (600, 5)), ((600,), (600, 5)), ((3, 4, 600), (3, 600, 2)),
                                    ((600,), (600,))])
def test_products_of_float16(shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype(np.float16) for shape in shapes)
    x, y = tg.Tensor(a, requires_grad=True), tg.Tensor(b, requires_grad=True)
    z = tg.matmul(x, y)
    exact = np.matmul(a.astype("f"), b.astype("f"))
    assert z.dtype == np.float16
    np.testing.assert_array_equal(z.data, exact.astype(np.float16))
    z.backward(np.ones(z.shape, np.float16))
    assert x.grad.dtype == y.grad.dtype == np.float16 and np.isfinite(x.grad).all()


def test_rows_of_float16_that_are_used_often():
    table = tg.nn.Embedding(3, 2)
    Half(table)(np.zeros(5000, int)).sum().backward()
    np.testing.assert_array_equal(table.weight.grad, [[5000, 5000], [0, 0], [0, 0]])
    x = tg.Tensor(np.ones((3, 2), np.float16), requires_grad=True)
    x[np.array([[0, 1]] * 3000)].backward(np.ones((3000, 2, 2), np.float16))
    np.testing.assert_array_equal(x.grad, [[3000, 3000], [3000, 3000], [0, 0]])


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_of_float16(bias):
    rng = np.random.default_rng(0)
    x, w, b = (tg.Tensor(rng.normal(size=shape).astype(np.float16), requires_grad=True) for shape in ((3000, 7), (4, 7), (4,)))
    y = tg.nn.functional.linear(x, w, b if bias else None)
    exact = x.data.astype("f") @ w.data.astype("f").T + (b.data.astype("f") if bias else 0)
    np.testing.assert_array_equal(y.data, exact.astype(np.float16))
    y.backward(np.ones(y.shape, np.float16))
    np.testing.assert_array_equal(w.grad, np.broadcast_to(x.data.astype("f").sum(axis=0), (4, 7)).astype(np.float16))
    assert not bias or (b.grad == 3000).all()


def test_no_op_widens_float16():
    x = tg.Tensor(np.linspace(-2, 2, 12).reshape(3, 4).astype(np.float16), requires_grad=True)
    F = tg.nn.functional
    for name in ("relu", "gelu", "silu", "mish", "elu", "selu", "celu", "softplus", "sigmoid", "tanh", "logsigmoid", "hardswish",
                 "softsign"):
        y = getattr(F, name)(x)
        y.backward(np.ones(y.shape, np.float16))
        assert y.dtype == x.grad.dtype == np.float16, name
    for y in (F.softmax(x, -1), F.log_softmax(x, -1), tg.logsumexp(x, 0), x.mean(), x.var(), F.layer_norm(x, (4,)), tg.erf(x),
              x @ x.T,
              F.layer_norm(x, (4,), tg.Tensor(np.ones(4, np.float16)), tg.Tensor(np.zeros(4, np.float16)))):
        assert y.dtype == np.float16
