"""Clipping: PyTorch's numbers, honest norms of very large and very small gradients, and what is refused."""
import math

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tinygrad_lite.clip import clip_grad_norm_, clip_grad_value_
from tinygrad_lite.nn import Parameter

CASES = load_reference("clipping")["cases"]
FUNCTIONS = dict(norm="clip_grad_norm_", value="clip_grad_value_")
ELSEWHERE = {"per_layer", "agc", "centralize"}          # test_clip_more.py


def graded(grads, dtype=None):
    params = []
    for i, g in enumerate(grads):
        g = None if g is None else np.array(g, dtype)
        params.append(Parameter(np.zeros(1 if g is None else g.shape, None if g is None else g.dtype), name=f"p{i}"))
        params[-1].grad = g
    return params


def test_every_kind_is_tested():
    assert {c["kind"] for c in CASES} == set(FUNCTIONS) | ELSEWHERE


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES if c["kind"] in FUNCTIONS])
def test_reference(case):
    params, kwargs = graded(case["before"]), case["kwargs"]
    clip = getattr(tg.clip, FUNCTIONS[case["kind"]])
    if case["raises"] if "raises" in case else min(kwargs["max_norm" if case["kind"] == "norm" else "clip_value"], 0):
        with pytest.raises((RuntimeError, ValueError)):         # PyTorch takes a negative limit and turns gradients round
            clip(params, **kwargs)
        for p, before in zip(params, case["before"]):
            np.testing.assert_array_equal(p.grad, before)
        return
    returned = clip(params, **kwargs)
    if case["kind"] == "norm":
        assert type(returned) is float
        np.testing.assert_allclose(returned, case["returned"], rtol=1e-12)
    for p, after in zip(params, case["after"]):
        assert (p.grad is None) == (after is None)
        if after is not None:
            np.testing.assert_allclose(p.grad, after, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-12), (np.float32, 2e-6)])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, 0.5, math.inf, -math.inf, 0.0])
@pytest.mark.parametrize("max_norm", [0.0, 0.7, 1e6])
def test_torch_agrees(max_norm, norm_type, dtype, rtol, torch):
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=s).astype(dtype) for s in ((3, 4), (), (20_000,), (7,))]
    params, twins = graded([grads[0].T, *grads[1:], None]), [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads]
    for q, g in zip(twins, grads):
        q.grad = torch.from_numpy(g.astype(np.float64))         # PyTorch's own float32 sums have fewer digits than ours
    total = torch.nn.utils.clip_grad_norm_(twins, max_norm, norm_type)
    np.testing.assert_allclose(clip_grad_norm_(params, max_norm, norm_type), float(total), rtol=rtol)
    for p, q in zip(params, twins):
        assert p.grad.dtype == dtype
        np.testing.assert_allclose(p.grad.T if p is params[0] else p.grad, q.grad.numpy(), rtol=2 * rtol)


@pytest.mark.parametrize("size", [1, 100, 8192, 100_000])
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-19, 1.0, 1e15, 1e19, 1e30, 3e38])
def test_norms_of_float32_neither_overflow_nor_vanish(scale, size):
    g = (np.random.default_rng(0).uniform(0.5, 1, size) * scale).astype(np.float32)
    exact = math.sqrt(math.fsum(float(v) ** 2 for v in g))
    params = graded([g])
    assert clip_grad_norm_(params, 1.0) == pytest.approx(exact, rel=1e-6)
    expected = g * np.float32(min(1, 1 / (exact + 1e-6)))
    np.testing.assert_allclose(params[0].grad, expected, rtol=2e-6, atol=1e-44)


def test_one_large_number_among_many_small():
    g = np.full(1_000_000, 1e-3, np.float32)
    g[12345] = 1e3
    assert clip_grad_norm_(graded([g]), 1e9) == pytest.approx(math.sqrt(1e6 + 999_999e-6), rel=1e-7)
    assert clip_grad_norm_(graded([np.full(10_000_000, 0.1, np.float32)]), 1e9) == pytest.approx(1000 ** 0.5 * 10, rel=1e-6)


def test_float16_is_measured_in_float64():
    params = graded([np.full(1000, 300, np.float16)])           # the square sum is far above float16's 65504
    assert clip_grad_norm_(params, 1.0) == pytest.approx(300 * 1000 ** 0.5, rel=1e-6)
    assert params[0].grad.dtype == np.float16 and params[0].grad[0] == np.float16(1000 ** -0.5)


@pytest.mark.parametrize("clip, limit", [(clip_grad_norm_, "max_norm"), (clip_grad_value_, "clip_value")])
@pytest.mark.parametrize("value", [-1.0, -1e-9, math.nan])
def test_a_limit_that_is_no_limit_is_refused(clip, limit, value):
    params = graded([[1.0, -2.0]])
    with pytest.raises(ValueError, match=f"{clip.__name__}: {limit}: got {value}, expected a number >= 0"):
        clip(params, value)
    assert params[0].grad.tolist() == [1, -2]


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf, 3.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_gradient_is_named_and_nothing_changes(bad, norm_type):
    params = graded([[3.0, 4.0], None, [1.0, bad], np.ones(10_000)])
    before = [None if p.grad is None else p.grad.copy() for p in params]
    with pytest.raises(RuntimeError, match="gradient of parameter p2 "):
        clip_grad_norm_(params, 1.0, norm_type, error_if_nonfinite=True)
    for p, b in zip(params, before):
        np.testing.assert_array_equal(p.grad, b)
    unnamed = [tg.Tensor(p.data, requires_grad=True) for p in params]
    for p, q in zip(unnamed, params):
        p.grad = q.grad
    with pytest.raises(RuntimeError, match=r"parameter 1 of 3, shape \(2,\)"):
        clip_grad_norm_(unnamed, 1.0, norm_type, error_if_nonfinite=True)


@pytest.mark.parametrize("norm_type", [2.0, math.inf, 0.0, -1.0, -math.inf])
@pytest.mark.parametrize("size", [3, 10_000])
def test_an_optimizer_still_refuses_after_clipping(size, norm_type):
    params = graded([np.ones(size)])
    opt = tg.optim.SGD(params, lr=0.1)
    clip_grad_norm_(params, 1e9)
    params[0].grad = np.full(size, np.inf)              # not the gradient that was measured
    with pytest.raises(FloatingPointError):
        opt.step()
    params[0].grad[1:] = 1
    clip_grad_norm_(params, 1e9, norm_type)
    with pytest.raises(FloatingPointError):
        opt.step()
    assert (params[0].data == 0).all()


def test_overflow_without_a_bad_entry_still_has_a_culprit():
    with pytest.raises(RuntimeError, match="the total norm is inf: the gradient of parameter p0"):
        clip_grad_norm_(graded([[1e154], [1e154], [1e154]]), 1.0, error_if_nonfinite=True)


def sparse(ids, values, rows):
    table = Parameter(np.zeros((rows, 2)))
    table.grad = tg.RowSparse(np.array(ids), np.array(values), table.shape)
    return table


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_sparse_gradients_count_like_dense_ones(norm_type):
    table = sparse([4, 1, 4], [[1.0, -2.0], [3.0, 0.0], [2.0, 5.0]], rows=6)       # row 4 sums to (3, 3)
    twin, other = graded([table.grad.to_dense()])[0], graded([[2.0]])[0]
    total = clip_grad_norm_([table, other], 1.0, norm_type)
    other.grad[...] = 2
    assert total == pytest.approx(clip_grad_norm_([twin, other], 1.0, norm_type), rel=1e-12)
    assert isinstance(table.grad, tg.RowSparse)
    np.testing.assert_allclose(table.grad.to_dense(), twin.grad, rtol=1e-12)


def test_sparse_values_are_added_before_they_are_cut():
    table = sparse([4, 1, 4], [[1.0, -2.0], [3.0, 0.0], [2.0, 5.0]], rows=6)
    assert clip_grad_value_([table], 2.5) == 3
    assert table.grad.to_dense()[[1, 4]].tolist() == [[2.5, 0], [2.5, 2.5]] and table.grad.to_dense().sum() == 7.5


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_params_may_be_one_none_or_a_generator(clip):
    one = graded([[3.0, -4.0]])[0]
    clip(one, 1.0)
    many = graded([[3.0, -4.0], [0.5]])
    clip((p for p in many), 1.0)
    assert np.abs(one.grad).max() <= 1 and all(np.abs(p.grad).max() <= 1 for p in many)
    assert clip([], 1.0) == clip(iter(graded([None])), 1.0) == 0.0


def test_value_returns_the_largest_size_before():
    params = graded([[3.0, -4.0], None, [[0.5]]])
    assert clip_grad_value_(params, 1.0) == 4.0 and params[0].grad.tolist() == [1, -1] and params[2].grad.tolist() == [[0.5]]
    assert clip_grad_value_(params, 0.0) == 1.0 and params[0].grad.tolist() == [0, 0]
    for grads in ([[math.nan, 1.0], [2.0]], [[2.0], [math.nan, 1.0]]):
        assert math.isnan(clip_grad_value_(graded(grads), 1.0))


def test_a_gradient_that_cannot_be_written_is_replaced():
    params = graded([[3.0, 4.0]])
    params[0].grad = np.broadcast_to(np.array(3.0), (2,))
    clip_grad_norm_(params, 1.0)
    np.testing.assert_allclose(params[0].grad, 0.5 ** 0.5, rtol=1e-6)
