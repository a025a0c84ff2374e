"""Where ops meet: broadcasting in all combinations, numbers beside Tensors, ties, zeros, extremes, error messages."""
import operator

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_lite as tg
from tinygrad_lite.tensor import Tensor

BINARY = dict(add=operator.add, sub=operator.sub, mul=operator.mul, truediv=operator.truediv, pow=operator.pow,
              maximum=np.maximum, minimum=np.minimum, arctan2=np.arctan2, hypot=np.hypot, logaddexp=np.logaddexp)
SHAPES = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0)


@pytest.mark.parametrize("f", BINARY.values(), ids=list(BINARY))
@given(shapes=SHAPES, seed=st.integers(0, 2 ** 16))
def test_broadcasting(f, shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(0.5, 2, shape) for shape in shapes.input_shapes)
    whole = [np.broadcast_to(v, shapes.result_shape).copy() for v in (a, b)]
    x, y, u, v = (Tensor(t, requires_grad=True) for t in (a, b, *whole))
    z, w = f(x, y), f(u, v)
    assert np.array_equal(z.data, f(a, b)) and z.shape == shapes.result_shape
    weight = rng.uniform(0.5, 1.5, z.shape)
    z.backward(weight), w.backward(weight)
    for narrow, wide in ((x, u), (y, v)):           # the gradient is the sum over all the places a number went to
        lead = wide.ndim - narrow.ndim
        axes = tuple(i for i in range(wide.ndim) if i < lead or narrow.shape[i - lead] == 1)
        np.testing.assert_allclose(narrow.grad, wide.grad.sum(axis=axes).reshape(narrow.shape), rtol=1e-12)


@pytest.mark.parametrize("f", [*BINARY.values(), operator.mod, operator.floordiv, operator.lt, operator.eq])
@pytest.mark.parametrize("number", [2, 2.5, True])
@pytest.mark.parametrize("data", [np.array([0.7, 1.6], "f"), np.float32(1.6), np.array([0.7, 1.6])],
                         ids=["array", "scalar", "double"])
def test_python_numbers_keep_the_dtype(f, number, data):
    for z, expected in [(f(Tensor(data), number), f(data, number)), (f(number, Tensor(data)), f(number, data))]:
        assert isinstance(z, Tensor) and z.dtype == np.asarray(expected).dtype
        np.testing.assert_allclose(z.data, expected, rtol=1e-6)
    if f not in (operator.lt, operator.eq, operator.floordiv):
        for z in (lambda x: f(x, number)), (lambda x: f(number, x)):
            x = Tensor(data, requires_grad=True)
            z(x).sum().backward()
            assert x.grad.dtype == x.dtype and tg.gradcheck(z, np.asarray(data, float))


@pytest.mark.parametrize("f", BINARY.values(), ids=list(BINARY))
@pytest.mark.parametrize("other", [np.array([1, 2]), np.array([True, True]), np.array([1, 2], np.uint8), np.array([1.0, 2.0])],
                         ids=str)
def test_operands_of_another_dtype(f, other):
    data = np.array([0.5, 1.5], "f")
    for z, expected in [(lambda x: f(x, other), f(data, other)), (lambda x: f(other, x), f(other, data))]:
        x = Tensor(data, requires_grad=True)
        y = z(x)
        assert y.dtype == expected.dtype        # NumPy's promotion
        np.testing.assert_allclose(y.data, expected, rtol=1e-6)
        y.sum().backward()
        assert x.grad.dtype == np.float32
        for other_tensor in (z(x), f(x, Tensor(other))):
            assert isinstance(other_tensor, Tensor)


def test_both_dtypes_get_their_own_gradient():
    x, y = Tensor(np.ones(3, "f"), requires_grad=True), Tensor(np.ones((2, 3)), requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [2, 2, 2]
    assert y.grad.dtype == np.float64 and y.grad.tolist() == [[1, 1, 1]] * 2


@pytest.mark.parametrize("name, exponents", [("pow", [-2, -1, 0, 0.5, 1, 2, 3.5])])
def test_powers(name, exponents, torch):
    for n in exponents:
        for data in ([0.5, 2.0, 3.0], [-1.5, 2.0, 1.0] if n == int(n) else [1.0, 4.0, 0.1]):
            x, y = Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
            g, = tg.grad((x ** n).sum(), [x], create_graph=True)
            h, = torch.autograd.grad((y ** n).sum(), y, create_graph=True)
            np.testing.assert_allclose(g.data, h.detach().numpy(), rtol=1e-5)
            if n not in (0, 1):
                np.testing.assert_allclose(tg.grad(g.sum(), x).data, torch.autograd.grad(h.sum(), y)[0].numpy(), rtol=1e-5)


def test_powers_of_zero():
    x, y = Tensor([0.0, 0.0, 0.0], requires_grad=True), Tensor([0.0, 1.0, 2.0], requires_grad=True)
    z = x ** y
    z.sum().backward()
    assert z.data.tolist() == [1, 0, 0] and x.grad.tolist() == [0, 1, 0] and y.grad.tolist() == [0, 0, 0]
    x.grad = None
    (x ** 2 + x ** 0 + x ** 1).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


# --- ties: shared evenly by extremes over axes, half and half between two inputs, all to the input at a bound
TIES = [[1.0, 3.0, 3.0], [3.0, 0.0, 2.0]]


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("name", ["max", "min"])
def test_ties_share_evenly(name, axis, torch):
    x, y = Tensor(TIES, requires_grad=True), torch.tensor(TIES, requires_grad=True)
    getattr(tg, name)(x, axis).sum().backward()
    getattr(torch, "a" + name)(y, dim=(0, 1) if axis is None else axis).sum().backward()
    assert x.grad.tolist() == y.grad.tolist()
    x, y = Tensor(np.ones((2, 2), "f"), requires_grad=True), torch.ones((2, 2), requires_grad=True)
    getattr(tg, name)(x).backward(), getattr(torch, name)(y).backward()
    assert x.grad.tolist() == y.grad.tolist() == [[0.25, 0.25]] * 2


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_two_equal_inputs_get_half(name, torch):
    data = [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]]
    xs, ys = [Tensor(d, requires_grad=True) for d in data], [torch.tensor(d, requires_grad=True) for d in data]
    getattr(tg, name)(*xs).sum().backward(), getattr(torch, name)(*ys).sum().backward()
    assert [x.grad.tolist() for x in xs] == [y.grad.tolist() for y in ys]


def test_clamp_by_tensors(torch):
    data = [[-2.0, -1.0, 0.0, 1.0, 2.0], [-1.0] * 5, [1.0] * 5]
    xs, ys = [Tensor(d, requires_grad=True) for d in data], [torch.tensor(d, requires_grad=True) for d in data]
    tg.clamp(*xs).sum().backward(), torch.clamp(*ys).sum().backward()
    assert [x.grad.tolist() for x in xs] == [y.grad.tolist() for y in ys]


# --- zeros and extremes: finite gradients, and no NumPy warning (which the test run would turn into an error)
def test_products_with_zeros():
    for data in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [[0.0, 2.0], [3.0, 4.0]]):
        for axis in (None, 0, -1, (0,)):
            assert tg.gradcheck(lambda x: tg.prod(x, axis), np.array(data), order=2)
    block = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4))
    block[[0, 0, 1], [1, 0, 0], [2, 0, 3]] = 0              # rows with no, one and two zeros
    for axis in (None, (0, 2), (-1, 0), 1):
        assert tg.gradcheck(lambda x: tg.prod(x, axis, keepdims=True), block, order=2)
    many = Tensor(np.full(300_000, 1.00001), requires_grad=True)  # no table of 300,000 x 300,000
    many.prod().backward()
    np.testing.assert_allclose(many.grad, 1.00001 ** 299_999, rtol=1e-9)


@pytest.mark.parametrize("f", [tg.norm, lambda x: tg.norm(x, 1), lambda x: tg.norm(x, 3), lambda x: tg.norm(x, 0.5), tg.std,
                               lambda x: tg.norm(x, np.inf), lambda x: tg.normalize(x, dim=0).sum(), tg.var])
def test_zeros_have_gradient_zero(f):
    x = Tensor(np.zeros(3), requires_grad=True)
    g = tg.grad(f(x), x, create_graph=True)
    assert f(x).item() == 0 and np.all(np.isfinite(g.data))
    if f is tg.norm or f is tg.std:
        assert g.data.tolist() == [0, 0, 0]
    rows = Tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    tg.norm(rows, axis=1).sum().backward()
    np.testing.assert_allclose(rows.grad, [[0, 0], [0.6, 0.8]], rtol=1e-6)


def test_softmax_and_logsumexp_at_extremes():
    x = Tensor([[1e4, -1e4, 0.0], [-np.inf, 0.0, -np.inf], [88.0, 89.0, 90.0]], requires_grad=True)
    for f in (tg.softmax, tg.log_softmax, tg.logsumexp):
        z = f(x, dim=1)
        x.grad = None
        z.backward(np.where(np.isfinite(z.data), 1, 0))
        assert not np.isnan(z.data).any() and np.all(np.isfinite(x.grad))
    nothing = Tensor([[-np.inf, -np.inf], [0.0, 0.0]], requires_grad=True)
    z = tg.logsumexp(nothing, dim=1)
    z.sum().backward()
    assert z.data[0] == -np.inf and nothing.grad.tolist() == [[0, 0], [0.5, 0.5]]
    assert tg.logsumexp(Tensor(np.zeros((2, 0))), dim=1).data.tolist() == [-np.inf, -np.inf]
    assert tg.softmax(Tensor(np.zeros((2, 0)))).shape == (2, 0)


def test_slopes_keep_their_digits_far_out():
    x = Tensor([15.0, 30.0, 80.0], requires_grad=True)
    tg.logsigmoid(x).sum().backward()
    np.testing.assert_allclose(x.grad, 1 / (1 + np.exp(x.data.astype(float))), rtol=1e-5)
    x.grad = None
    tg.softsign(x).sum().backward()
    np.testing.assert_allclose(x.grad, 1 / (1 + x.data.astype(float)) ** 2, rtol=1e-5)


def test_casts():
    x = Tensor([1.5, 2.5], requires_grad=True)
    (x.astype("float64") * 2).sum().backward()
    assert x.grad.tolist() == [2, 2] and x.grad.dtype == np.float32
    assert not x.astype(int).requires_grad and x.astype(int).data.tolist() == [1, 2]    # a step has slope 0


def test_where_of_numbers_is_float32():
    z = tg.where(np.array([True, False]), 1, 0.0)
    assert z.dtype == np.float32 and z.data.tolist() == [1, 0]
    assert tg.exp(0.0).dtype == np.float32


# --- what is wrong, in words
X, Y = Tensor(np.zeros((2, 3), "f"), requires_grad=True), np.zeros((4, 3))
WRONG = {
    "mul(float32[2, 3], float64[4, 3])": (ValueError, lambda: X * Y),
    "eq(float32[2, 3], float64[4, 3])": (ValueError, lambda: X == Y),
    "matmul(float32[2, 3], float64[4, 3])": (ValueError, lambda: X @ Y),
    "where(bool[2], float32[2, 3], 0": (ValueError, lambda: tg.where(np.zeros(2, bool), X, 0)),
    "linear(float32[2, 3], float64[4, 3], None): the input is float32, the weight float64": (TypeError, lambda: tg.linear(X, Y)),
    "linear(float32[2, 3], float32[3, 2], None)": (ValueError, lambda: tg.linear(X, np.zeros((3, 2), "f"))),
    "sum(float32[2, 3], 2, False)": (IndexError, lambda: X.sum(axis=2)),
    "getitem(float32[2, 3], 5)": (IndexError, lambda: X[5]),
    "getitem(float32[2, 3], float32[1])": (IndexError, lambda: X[Tensor([1.0])]),
    "reshape(float32[2, 3], (4,))": (ValueError, lambda: X.reshape(4)),
    "concatenate(0, float32[2, 3], float64[2, 2])": (ValueError, lambda: tg.concatenate([X, np.zeros((2, 2))])),
    "einsum('ij,jk->ik', float32[2, 3], float64[4, 3])": (ValueError, lambda: tg.einsum("ij,jk->ik", X, Y)),
    "add: got str": (TypeError, lambda: X + "1"),
    "maximum(float32[2, 3], <U1[])": (TypeError, lambda: tg.maximum(X, np.array("a"))),
    "stack: got shapes [(2, 3), (4, 3)]": (ValueError, lambda: tg.stack([X, Y])),
    "split: axis 1 of size 3 does not divide into 2": (ValueError, lambda: tg.split(X, 2, 1)),
    "glu: axis -1 has size 3": (ValueError, lambda: tg.glu(X)),
    "gelu: approximate: got 'erf'": (ValueError, lambda: tg.gelu(X, "erf")),
    "clamp: got neither": (ValueError, lambda: tg.clamp(X)),
    "norm: ord: got 0": (ValueError, lambda: tg.norm(X, 0)),
    "pad: got width -1": (ValueError, lambda: tg.pad(X, -1)),
    "flatten: start_dim 1 comes after end_dim 0": (ValueError, lambda: tg.flatten(X, 1, 0)),
    "axis 5 is out of bounds": (IndexError, lambda: tg.moveaxis(X, 5, 0)),
    "concatenate: got no tensors": (ValueError, lambda: tg.concatenate([])),
    "scatter_rows: ids 0..7": (IndexError, lambda: tg.scatter_add(X, np.array([0, 7]), np.zeros((2, 3), "f"))),
}


@pytest.mark.parametrize("text", WRONG)
def test_errors_name_the_op_and_both_sides(text):
    kind, wrong = WRONG[text]
    with pytest.raises(kind) as caught:
        wrong()
    assert text in str(caught.value)
