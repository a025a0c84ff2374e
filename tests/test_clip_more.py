"""Per-layer and adaptive clipping, normalising, centralising: recorded numbers, what holds on drawn gradients, corners."""
import inspect
import math

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tinygrad_lite import clip
from tinygrad_lite.nn import Parameter

CASES = load_reference("clipping")["cases"]
KINDS = dict(per_layer=clip.clip_grad_norm_per_layer_, agc=clip.adaptive_clip_grad_, centralize=clip.centralize_grad_)
CONTRACT = set("clip_grad_norm_ clip_grad_value_ clip_grad_norm_per_layer_ adaptive_clip_grad_ centralize_grad_ normalize_grad_".split())
CALLS = {clip.clip_grad_norm_: (0.5,), clip.clip_grad_value_: (0.5,), clip.clip_grad_norm_per_layer_: (0.5,),
         clip.adaptive_clip_grad_: (0.1,), clip.normalize_grad_: (), clip.centralize_grad_: ()}
every = pytest.mark.parametrize("function", clip.ALL, ids=lambda f: f.__name__)


def params_of(grads, weights=None):
    """Parameters with these gradients; `weights` their values, zeros by default."""
    params = []
    for i, g in enumerate(grads):
        g = None if g is None else np.array(g)
        w = np.zeros(np.shape(g) if g is not None else 2, None if g is None else g.dtype) if weights is None else np.array(weights[i])
        params.append(Parameter(w, name=f"p{i}"))
        params[-1].grad = g
    return params


def drawn(seed=0, dtype=np.float64):
    """Gradients of every shape that a parameter may have, one strided, one missing; and weights beside them."""
    rng = np.random.default_rng(seed)
    shapes = [(4, 3), (), (5,), (2, 3, 4), None, (0, 3), (1,), (120, 100)]
    grads = [None if s is None else np.asarray(rng.normal(size=s)).astype(dtype) for s in shapes]
    weights = [np.zeros(2, dtype) if s is None else np.asarray(rng.normal(size=s)).astype(dtype) for s in shapes]
    grads[0] = np.asfortranarray(grads[0])
    return grads, weights


def test_every_public_function_is_in_the_table():
    public = {f for name, f in inspect.getmembers(clip, inspect.isfunction)
              if not name.startswith("_") and name.endswith("_") and f.__module__ == clip.__name__ and "params" in inspect.signature(f).parameters}
    assert set(clip.ALL) == public == set(CALLS) and len(clip.ALL) == len(public)
    assert {f.__name__ for f in clip.ALL} == CONTRACT


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES if c["kind"] in KINDS])
def test_reference(case):
    params = params_of(case["before"], case.get("params"))
    returned = KINDS[case["kind"]](params, **case["kwargs"])
    if case["returned"] is not None:
        np.testing.assert_allclose(returned, case["returned"], rtol=1e-12)
    for p, after in zip(params, case["after"]):
        assert (p.grad is None) == (after is None)
        if after is not None:
            np.testing.assert_allclose(p.grad, after, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- what each promises, on drawn gradients

@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-12), (np.float32, 2e-6)])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_per_layer_is_pytorch_parameter_by_parameter(norm_type, dtype, rtol, torch):
    grads, _ = drawn(1, dtype)
    params = params_of(grads)
    norms = clip.clip_grad_norm_per_layer_(params, 0.7, norm_type)
    assert len(norms) == len(params) and all(type(n) is float for n in norms)
    for p, g, n in zip(params, grads, norms):
        if g is None or not g.size:
            assert n == 0
            continue
        twin = torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64))
        twin.grad = torch.from_numpy(g.astype(np.float64))
        assert n == pytest.approx(float(torch.nn.utils.clip_grad_norm_([twin], 0.7, norm_type)), rel=rtol)
        np.testing.assert_allclose(p.grad, twin.grad.numpy(), rtol=2 * rtol)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype, slack", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_adaptive_clipping_unit_by_unit(seed, dtype, slack):
    grads, weights = drawn(seed, dtype)
    params = params_of(grads, weights)
    shares = clip.adaptive_clip_grad_(params, clip=1.0, eps=0.2)
    seen = set()
    for p, g, w, share in zip(params, grads, weights, shares):
        if g is None or not g.size:
            assert share == 0
            continue
        assert p.grad.dtype == dtype
        units = zip(p.grad, g, w) if g.ndim > 1 else [(p.grad, g, w)]
        largest = 0
        for after, before, weight in units:
            size, limit = np.linalg.norm(before), max(np.linalg.norm(weight), 0.2)
            largest = max(largest, size / limit)
            seen.add(bool(size > limit))
            np.testing.assert_allclose(after, before * min(1, limit / size), rtol=slack)
        assert share == pytest.approx(largest, rel=max(slack, 1e-7))
    assert seen == {True, False}


def test_adaptive_clipping_of_weights_that_start_at_zero():
    for dtype in (np.float16, np.float32, np.float64):      # without eps they could never begin to move
        p, = params_of([np.full((2, 3), 0.25, dtype)])
        assert clip.adaptive_clip_grad_([p]) == [pytest.approx(0.25 * 3 ** 0.5 / 1e-3)]
        np.testing.assert_allclose(np.linalg.norm(p.grad.astype(float), axis=1), 1e-5, rtol=2e-2 if dtype == np.float16 else 1e-6)
        assert p.grad.dtype == dtype


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype, slack", [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_normalising_keeps_the_direction_and_returns_the_length(seed, dtype, slack):
    grads, _ = drawn(seed, dtype)
    params = params_of(grads)
    before = np.concatenate([g.ravel() for g in grads if g is not None]).astype(float)
    length = clip.normalize_grad_(params)
    after = np.concatenate([p.grad.ravel() for p in params if p.grad is not None])
    assert after.dtype == dtype and length == pytest.approx(np.linalg.norm(before), rel=1e-7) and type(length) is float
    np.testing.assert_allclose(after, before / np.linalg.norm(before), rtol=10 * slack)
    assert clip.normalize_grad_(params) == pytest.approx(1, rel=slack)


@pytest.mark.parametrize("dtype, scale", [(np.float64, 1e-310), (np.float64, 1e-200), (np.float64, 1e300), (np.float32, 1e-42),
                                          (np.float32, 1e38), (np.float16, 6e-8), (np.float16, 6e4)])
def test_normalising_at_the_ends_of_the_range(dtype, scale):
    g = np.full(4, scale, dtype)
    params = params_of([g, -g])
    assert clip.normalize_grad_(params) == pytest.approx(8 ** 0.5 * float(g[0]), rel=1e-12)
    for p, sign in zip(params, (1, -1)):
        assert p.grad.dtype == dtype
        np.testing.assert_allclose(p.grad.astype(float), sign * 8 ** -0.5, rtol=1e-3 if dtype == np.float16 else 1e-6)


def test_normalising_zeros_and_what_is_not_finite():
    params = params_of([np.zeros(3), None, np.zeros((2, 2))])
    assert clip.normalize_grad_(params) == 0 and not params[0].grad.any() and not params[2].grad.any()
    for bad in (math.nan, math.inf, -math.inf):
        params = params_of([[3.0, 4.0], [1.0, bad]])
        length = clip.normalize_grad_(params)
        assert not math.isfinite(length) and params[0].grad.tolist() == [3, 4]
        with pytest.raises(FloatingPointError, match="'p1'"):        # the optimizer still finds the one to blame
            tg.optim.SGD(params, lr=0.1).step()


def test_on_a_plateau_only_a_normalised_gradient_moves():
    def walk(normalised):
        w = Parameter(np.array([8.0]))
        opt = tg.optim.SGD([w], lr=0.5)
        for _ in range(14):
            opt.zero_grad()
            (tg.tanh(w) ** 2).sum().backward()
            if normalised:
                clip.normalize_grad_([w])
            opt.step()
        return w.data[0]
    assert walk(True) == pytest.approx(1.0) and walk(False) == pytest.approx(8, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype, slack", [(np.float64, 1e-13), (np.float32, 1e-5)])
def test_centralising_takes_the_mean_of_each_unit(seed, dtype, slack):
    grads, _ = drawn(seed, dtype)
    params = params_of(grads)
    means = clip.centralize_grad_(params)
    for p, g, taken in zip(params, grads, means):
        if g is None or g.ndim < 2 or not g.size:
            assert taken == 0 and (g is None or np.array_equal(p.grad, g))
            continue
        rows, before = p.grad.reshape(len(g), -1), g.reshape(len(g), -1)
        assert p.grad.dtype == dtype and taken == pytest.approx(np.abs(before.mean(axis=1)).max(), rel=1e-5)
        np.testing.assert_allclose(rows.mean(axis=1), 0, atol=slack)
        np.testing.assert_allclose(rows[:, 1:] - rows[:, :1], before[:, 1:] - before[:, :1], rtol=1e-4, atol=slack)


def test_centralised_weights_keep_their_sums():
    rng = np.random.default_rng(0)
    p = Parameter(rng.normal(size=(3, 5)))
    sums, opt = p.data.sum(axis=1), tg.optim.SGD([p], lr=0.5, momentum=0.9)
    for _ in range(5):
        p.grad = rng.normal(size=p.shape)
        clip.centralize_grad_([p])
        opt.step()
    np.testing.assert_allclose(p.data.sum(axis=1), sums, rtol=1e-12)


# ---------------------------------------------------------------- what all of them share

@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_shaped_as_their_dense_twin(function, dtype):
    rng = np.random.default_rng(0)
    table = Parameter(rng.normal(size=(6, 3)).astype(dtype))
    table.grad = tg.RowSparse(np.array([4, 1, 4, 0]), rng.normal(size=(4, 3)).astype(dtype), table.shape)
    twin, other, its_twin = Parameter(table.data.copy()), *params_of([np.array([2.0, -1.0], dtype)] * 2)
    twin.grad = table.grad.to_dense()
    measured, expected = function([table, other], *CALLS[function]), function([twin, its_twin], *CALLS[function])
    np.testing.assert_allclose(measured, expected, rtol=1e-6)
    assert isinstance(table.grad, tg.RowSparse) and set(table.grad.indices) == {0, 1, 4}
    np.testing.assert_allclose(table.grad.to_dense(), twin.grad, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(other.grad, its_twin.grad, rtol=1e-6)


@every
def test_params_may_be_one_none_or_a_generator(function):
    one, = params_of([np.array([[3.0, -4.0]])])
    twin, = params_of([np.array([[3.0, -4.0]])])
    before = one.grad.copy()
    measured = function(one, *CALLS[function])
    assert np.all(measured == function((p for p in [twin]), *CALLS[function])) and np.any(measured != 0)
    np.testing.assert_array_equal(one.grad, twin.grad)
    assert not np.array_equal(one.grad, before)
    assert np.all(np.array(function([], *CALLS[function])) == 0) and np.all(np.array(function(params_of([None]), *CALLS[function])) == 0)


@every
def test_gradients_that_cannot_be_written_are_replaced(function):
    p, = params_of([np.zeros((2, 3))])
    p.grad = np.broadcast_to(np.array([3.0, -4.0, 2.0]), (2, 3))
    function([p], *CALLS[function])
    twin, = params_of([np.array([[3.0, -4.0, 2.0]] * 2)])
    function([twin], *CALLS[function])
    np.testing.assert_allclose(p.grad, twin.grad, rtol=1e-12)


@every
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_optimizer_still_refuses_afterwards(function, bad):
    p, = params_of([np.array([[1.0, bad, 2.0]])])
    with np.errstate(invalid="ignore"):
        measured = function([p], *CALLS[function])
    assert not np.isfinite(measured).all(), "what was measured should tell"
    opt = tg.optim.SGD([p], lr=0.1)
    if function is clip.clip_grad_value_ and bad == math.inf:
        assert opt.step() and np.isfinite(p.data).all()             # the one that mends an infinite entry
        return
    with pytest.raises(FloatingPointError):
        opt.step()


@pytest.mark.parametrize("function, argument, options", [
    (clip.clip_grad_norm_per_layer_, "max_norm", lambda v: dict(max_norm=v)), (clip.adaptive_clip_grad_, "clip", lambda v: dict(clip=v)),
    (clip.adaptive_clip_grad_, "eps", lambda v: dict(eps=v))])
@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_a_limit_that_is_no_limit_is_refused(function, argument, options, value):
    params = params_of([np.array([[1.0, -2.0]])])
    with pytest.raises(ValueError, match=f"{function.__name__}: {argument}: got {value}, expected a number >= 0"):
        function(params, **options(value))
    assert params[0].grad.tolist() == [[1, -2]]
