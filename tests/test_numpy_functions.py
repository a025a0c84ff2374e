"""NumPy's protocols: its functions and ufuncs on Tensors, arrays beside Tensors, and refusals instead of a cut graph."""
import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite.ops.numpy_functions import untracked
from tinygrad_lite.tensor import FUNCTIONS, UFUNCS, Tensor, op

A = np.random.default_rng(0).uniform(0.5, 2, (3, 4))
B = np.random.default_rng(1).uniform(0.5, 2, (3, 4))
V = A[0]
SQUARE = A[:, :3]
# np.function -> calls of it: x is a Tensor here and an array there; every call is one way in which people write it
CALLS = {
    np.sum: [lambda x: np.sum(x), lambda x: np.sum(x, axis=0), lambda x: np.sum(x, (0, 1), keepdims=True)],
    np.mean: [lambda x: np.mean(x, axis=-1)], np.prod: [lambda x: np.prod(x, 1)],
    np.cumsum: [lambda x: np.cumsum(x), lambda x: np.cumsum(x, 1)],
    np.max: [lambda x: np.max(x, axis=1)], np.amax: [lambda x: np.amax(x, 0)], np.min: [lambda x: np.min(x)],
    np.amin: [lambda x: np.amin(x, 1)],
    np.ptp: [lambda x: np.ptp(x), lambda x: np.ptp(x, axis=0)], np.var: [lambda x: np.var(x, ddof=1)],
    np.std: [lambda x: np.std(x, 0, ddof=1)],
    np.diff: [lambda x: np.diff(x), lambda x: np.diff(x, 2, axis=0)],
    np.sort: [lambda x: np.sort(x), lambda x: np.sort(x, None), lambda x: np.sort(x, axis=0)],
    np.linalg.norm: [lambda x: np.linalg.norm(x), lambda x: np.linalg.norm(x, axis=1),
                     lambda x: np.linalg.norm(x, 3, axis=0, keepdims=True),
                     lambda x: np.linalg.norm(x, "fro"), lambda x: np.linalg.norm(x[0], 1)],
    np.clip: [lambda x: np.clip(x, 0.7, 1.5), lambda x: np.clip(x, None, 1.5), lambda x: np.clip(x, min=0.7),
              lambda x: np.clip(B, x, 1.5)],
    np.where: [lambda x: np.where(A > 1, x, 0), lambda x: np.where(x > 1, x, -x)], np.copy: [lambda x: np.copy(x)],
    np.tril: [lambda x: np.tril(x)], np.triu: [lambda x: np.triu(x, 1)],
    np.diag: [lambda x: np.diag(x[0]), lambda x: np.diag(x[:, :3])], np.diagonal: [lambda x: np.diagonal(x[:, :3])],
    np.trace: [lambda x: np.trace(x[:, :3])],
    np.take: [lambda x: np.take(x, [1, 1], axis=0), lambda x: np.take(x, np.array([[0, 2]])), lambda x: np.take(x, 1, -1)],
    np.take_along_axis: [lambda x: np.take_along_axis(x, np.array([[2, 0, 1, 1]]), 0),
                         lambda x: np.take_along_axis(x, np.array([[2], [0]]), 0),
                         lambda x: np.take_along_axis(x, np.array([3, 0]), None),
                         lambda x: np.take_along_axis(x, np.array([[1, 1], [0, 2], [3, 3]]), axis=1)],
    np.repeat: [lambda x: np.repeat(x, 2), lambda x: np.repeat(x, [1, 0, 2], axis=0)],
    np.tile: [lambda x: np.tile(x, 2), lambda x: np.tile(x, (2, 1, 3)), lambda x: np.tile(x, (0, 1))],
    np.reshape: [lambda x: np.reshape(x, (2, 6)), lambda x: np.reshape(x, -1)], np.ravel: [lambda x: np.ravel(x)],
    np.transpose: [lambda x: np.transpose(x), lambda x: np.transpose(x, (1, 0))],
    np.swapaxes: [lambda x: np.swapaxes(x, 0, 1)],
    np.moveaxis: [lambda x: np.moveaxis(x, 0, -1)],
    np.broadcast_to: [lambda x: np.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x[0], 4)],
    np.squeeze: [lambda x: np.squeeze(x[None]), lambda x: np.squeeze(x[:, :1], axis=1)],
    np.expand_dims: [lambda x: np.expand_dims(x, (0, 2))],
    np.flip: [lambda x: np.flip(x), lambda x: np.flip(x, axis=1)], np.fliplr: [lambda x: np.fliplr(x)],
    np.flipud: [lambda x: np.flipud(x)],
    np.roll: [lambda x: np.roll(x, 1), lambda x: np.roll(x, [1, 2], [0, 1])],
    np.pad: [lambda x: np.pad(x, 1), lambda x: np.pad(x, ((1, 0), (0, 2)), mode="constant", constant_values=3)],
    np.concatenate: [lambda x: np.concatenate([x, B]), lambda x: np.concatenate((B, x, x), axis=1),
                     lambda x: np.concatenate([x, x], None)],
    np.stack: [lambda x: np.stack([x, B]), lambda x: np.stack((B, x), axis=-1)],
    np.vstack: [lambda x: np.vstack([x, V]), lambda x: np.vstack([x[0], x[1]])],
    np.hstack: [lambda x: np.hstack([x, B]), lambda x: np.hstack([x[0], V]), lambda x: np.hstack([x[0, 0], x[1, 1]])],
    np.column_stack: [lambda x: np.column_stack([x, B]), lambda x: np.column_stack([x[0], V])],
    np.split: [lambda x: np.split(x, 3)[1], lambda x: np.split(x, [1, 2], axis=1)[2]],
    np.array_split: [lambda x: np.array_split(x, 2)[0], lambda x: np.array_split(x, 3, axis=1)[2]],
    np.dot: [lambda x: np.dot(x, B.T), lambda x: np.dot(V, x.T), lambda x: np.dot(x[0], x[1])],
    np.vdot: [lambda x: np.vdot(x, B)],
    np.inner: [lambda x: np.inner(x, B), lambda x: np.inner(x[0], V), lambda x: np.inner(x, np.stack([A, B]))],
    np.outer: [lambda x: np.outer(x, V), lambda x: np.outer(V, x[0])],
    np.tensordot: [lambda x: np.tensordot(x, B.T, 1), lambda x: np.tensordot(x, B),
                   lambda x: np.tensordot(A, x, ([0, 1], [0, 1])),
                   lambda x: np.tensordot(x, x, axes=([0], [0]))],
    np.einsum: [lambda x: np.einsum("ij,kj->ik", x, B), lambda x: np.einsum("ij->", x, optimize=True)],
    np.round: [lambda x: np.round(x), lambda x: np.round(x, 1)], np.around: [lambda x: np.around(x, decimals=1)],
    # results without a gradient
    np.zeros_like: [lambda x: np.zeros_like(x), lambda x: np.zeros_like(x, dtype=int)],
    np.ones_like: [lambda x: np.ones_like(x)],
    np.empty_like: [lambda x: np.empty_like(x).shape],
    np.full_like: [lambda x: np.full_like(x, 3), lambda x: np.full_like(x, 2.5, dtype="f")],
    np.shape: [lambda x: np.shape(x)], np.ndim: [lambda x: np.ndim(x)],
    np.size: [lambda x: np.size(x), lambda x: np.size(x, 1)],
    np.argmax: [lambda x: np.argmax(x), lambda x: np.argmax(x, axis=0)], np.argmin: [lambda x: np.argmin(x, 1)],
    np.argsort: [lambda x: np.argsort(x, axis=0)], np.all: [lambda x: np.all(x > 0.6, axis=1)],
    np.any: [lambda x: np.any(x > 1.9)],
    np.allclose: [lambda x: np.allclose(x, A), lambda x: np.allclose(B, x)],
    np.isclose: [lambda x: np.isclose(x, 1, atol=0.3)],
    np.array_equal: [lambda x: np.array_equal(x, A)], np.array_equiv: [lambda x: np.array_equiv(x, B)],
    np.count_nonzero: [lambda x: np.count_nonzero(x > 1)], np.nonzero: [lambda x: np.nonzero(x > 1)[0]],
    np.flatnonzero: [lambda x: np.flatnonzero(x > 1)],
    np.searchsorted: [lambda x: np.searchsorted(np.linspace(0, 2, 9), x)],
    np.result_type: [lambda x: np.result_type(x, np.float32)],
    np.can_cast: [lambda x: np.can_cast(x, np.float64)], np.isin: [lambda x: np.isin(x, A[:2])],
    np.array_repr: [lambda x: np.array_repr(x)], np.array_str: [lambda x: np.array_str(x)],
    np.may_share_memory: [lambda x: np.may_share_memory(x, B)], np.shares_memory: [lambda x: np.shares_memory(x, B)],
}
ROWS = [pytest.param(f, call, id=f"{f.__name__}-{i}") for f, calls in CALLS.items() for i, call in enumerate(calls)]


def test_every_function_has_a_row():
    names = {f.__name__ for f in CALLS}
    assert names == {f.__name__ for f in FUNCTIONS} and set(CALLS) == set(FUNCTIONS)


@pytest.mark.parametrize("function, call", ROWS)
def test_a_function_gives_what_numpy_gives(function, call):
    x = Tensor(A, requires_grad=True)
    ours, theirs = call(x), call(A)
    value = ours.data if isinstance(ours, Tensor) else ours
    assert np.shape(value) == np.shape(theirs) and np.asarray(value).dtype == np.asarray(theirs).dtype
    if function in (np.round, np.around) or not isinstance(ours, Tensor):
        assert np.array_equal(value, theirs) and not getattr(ours, "requires_grad", False)
        return
    np.testing.assert_allclose(value, theirs, rtol=1e-12)
    assert ours.requires_grad and tg.gradcheck(call, A, order=2)


@pytest.mark.parametrize("ufunc", list(UFUNCS), ids=lambda f: f.__name__)
def test_ufuncs(ufunc):
    if ufunc in (np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert):
        arrays = [A > 1, B > 1][:ufunc.nin]
    elif ufunc in (np.arcsin, np.arccos, np.arctanh):
        arrays = [A / 3]
    elif ufunc is np.arccosh:
        arrays = [A + 1]
    elif ufunc is np.matmul:
        arrays = [A, B.T]
    else:
        arrays = [A, B][:ufunc.nin]
    expected = ufunc(*arrays)
    z = ufunc(*map(Tensor, arrays))
    assert isinstance(z, Tensor) and z.dtype == expected.dtype
    np.testing.assert_allclose(z.data, expected, rtol=1e-12)
    if ufunc.nin == 2:                      # an array on either side gives a Tensor too
        for mixed in (ufunc(arrays[0], Tensor(arrays[1])), ufunc(Tensor(arrays[0]), arrays[1])):
            assert isinstance(mixed, Tensor) and np.array_equal(mixed.data, z.data)


def test_arrays_beside_tensors():
    x = Tensor([1.0, 2.0], requires_grad=True)
    a = np.array([3.0, 4.0], "f")
    for z in (a + x, a - x, a * x, a / x, a ** x, a @ x, np.float32(2) * x, np.float32(2) ** x, a < x, a == x):
        assert isinstance(z, Tensor) and z.dtype in (np.float32, np.bool)
    (a * x - x / a + np.float32(3) * x).sum().backward()
    np.testing.assert_allclose(x.grad, a - 1 / a + 3)
    assert (np.float64(2) * x).dtype == np.float64          # NumPy's promotion: a float64 scalar is no Python number


def test_plain_numpy_code_is_differentiable_to_third_order():
    def f(x):
        y = np.tanh(x @ B.T) ** 2
        y = np.concatenate([y, np.sin(y)], axis=1)
        return np.sum(np.where(y > 0.5, y, y * y) / np.sqrt(1 + np.mean(y, axis=0, keepdims=True)))
    assert tg.gradcheck(f, A / 10, order=3)


def test_what_has_no_gradient_is_refused_by_name():
    x, out = Tensor([1.0, 2.0], requires_grad=True), np.zeros(2, "f")
    refused = {
        "np.nancumsum": lambda: np.nancumsum(x), "np.linalg.svd|np.svd": lambda: np.linalg.svd(x),
        "np.median": lambda: np.median(x),
        "np.unique": lambda: np.unique(x), "np.heaviside": lambda: np.heaviside(x, 0), "np.modf": lambda: np.modf(x),
        "np.gcd": lambda: np.gcd(x, 1),
        "np.add.*out=": lambda: np.add(x, x, out=out), "np.exp.*where=": lambda: np.exp(x, where=[True, False]),
        "np.exp.*dtype=": lambda: np.exp(x, dtype="f8"),
        "np.add.reduce": lambda: np.add.reduce(x), "np.add.at": lambda: np.add.at(out, [0, 1], x),
        "np.multiply.outer": lambda: np.multiply.outer(x, x),
        "np.add.accumulate": lambda: np.add.accumulate(x), "sum.*dtype": lambda: np.sum(x, dtype="f8"),
        "sum.*out": lambda: np.sum(x, out=out),
        "sum.*initial": lambda: np.sum(x, initial=1), "np.concatenate.*out": lambda: np.concatenate([x, x], out=np.zeros(4)),
        "np.sort.*kind": lambda: np.sort(x, kind="heapsort", order="a"),
        "np.reshape.*order": lambda: np.reshape(x, (2, 1), order="F"),
        "np.pad": lambda: np.pad(x, 1, mode="edge"), "np.linalg.norm": lambda: np.linalg.norm(x[None], 1),
        "np.copyto": lambda: np.copyto(out, x),
        "np.full_like|np.copyto": lambda: np.full_like(x, x[0]), "np.diag": lambda: np.diag(x, 1),
    }
    for name, call in refused.items():
        with pytest.raises(TypeError, match=name):
            call()
    assert out.tolist() == [0, 0]


def test_adding_into_an_array_raises_instead_of_cutting_the_graph():
    x, total = Tensor([1.0, 2.0], requires_grad=True), np.zeros(2, "f")
    with pytest.raises(TypeError, match="np.add.*out="):
        total += x
    with pytest.raises(TypeError, match="np.multiply.*out="):
        total *= x
    total = 0
    total += x                              # a number on the left just becomes a Tensor
    assert total.requires_grad


def test_asarray_gives_the_data_but_never_inside_a_rule():
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert np.asarray(x) is x.data and np.array(x) is not x.data and np.asarray(x, dtype=int).tolist() == [1, 2]
    assert float(x[1]) == 2 and int(x[0]) == 1 and f"{x[0]:.2f}" == "1.00" and bool(x[0] > 0)

    def rule(g, z, a):                      # cuts the graph: right to first order, silently wrong beyond
        return g * 2 * np.asarray(a)
    square = op("_square_that_cuts", lambda a: a * a, rule)
    square(x).sum().backward()
    assert x.grad.tolist() == [2, 4]
    with pytest.raises(RuntimeError, match="create_graph"):
        tg.grad(square(x).sum(), x, create_graph=True)
    assert np.asarray(x) is x.data          # and outside all is as before


def test_constants_inside_untracked_functions():
    x = Tensor(A, requires_grad=True)
    assert type(np.zeros_like(x)) is np.ndarray and type(np.argsort(x)) is np.ndarray
    assert untracked(np.allclose)([x, x], b=x)
