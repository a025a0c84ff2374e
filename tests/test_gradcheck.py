"""gradcheck finds what is wrong; value_and_grad, hvp and jacobian against closed forms, SciPy and PyTorch."""
import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der, rosen_hess, rosen_hess_prod

import tinygrad_lite as tg
from tinygrad_lite.tensor import Tensor, op

X = np.array([0.5, 1.5, 2.5])
right = op("_right", lambda x: x ** 3, lambda g, z, x: g * 3 * x ** 2)
wrong = op("_wrong", lambda x: x ** 3, lambda g, z, x: g * 3.001 * x ** 2)
wrong_in_one_place = op("_place", lambda x: x ** 3, lambda g, z, x: g * 3 * x ** 2 * np.where(np.arange(x.size) == 1, 1.001, 1))
narrow = op("_narrow", lambda x: x ** 3, lambda g, z, x: (g * 3 * x ** 2).astype(np.float32))
wrong_above = op("_above", lambda x: x ** 3, lambda g, z, x: g * 3 * x ** 2 if isinstance(x, np.ndarray) else g * 3 * x)
cut_above = op("_cut", lambda x: x ** 3, lambda g, z, x: g * 3 * tg.tensor.plain(x) ** 2)
one_of_two = op("_two", lambda x, y: x * y, lambda g, z, x, y: g * y, lambda g, z, x, y: g * y)


def test_right_rules_pass_at_every_order():
    for order in (1, 2, 3):
        assert tg.gradcheck(right, X, order=order) is True
    assert tg.gradcheck(lambda x, y: x @ y, [np.ones((2, 3)), np.ones((3, 4))], order=2) is True
    assert tg.gradcheck(lambda x, y: x * 1, [X, X]) is True             # y is not used: zero, and differences agree
    assert tg.gradcheck(lambda x: Tensor(np.ones(2)), X) is True        # a constant
    assert tg.gradcheck(right, Tensor(X, requires_grad=True)) is True
    assert tg.gradcheck(right, np.zeros((0, 2)), order=2) is True


@pytest.mark.parametrize("f, order, text", [
    (wrong, 1, r"input 0 \(shape \(3,\)\): the rules give .* differences give"), (wrong_in_one_place, 1, "input 0"),
    (wrong_above, 2, "input 0"), (cut_above, 2, "of the gradient, gradcheck: input 0"), (narrow, 1, "float32")],
    ids=["slope", "place", "tensors", "second", "dtype"])
def test_wrong_rules_are_found(f, order, text):
    if order == 2:
        assert tg.gradcheck(f, X)                       # its first order is right
    with pytest.raises(AssertionError, match=text):
        tg.gradcheck(f, X, order=order)


def test_the_wrong_input_is_named():
    with pytest.raises(AssertionError, match="input 1"):
        tg.gradcheck(one_of_two, [X, X + 1])
    with pytest.raises(AssertionError):                 # a kink between the two sides of the difference
        tg.gradcheck(tg.relu, np.zeros(3))


def test_only_float64_and_the_inputs_stay_as_they_were():
    with pytest.raises(TypeError, match="input 1 is float32, expected float64"):
        tg.gradcheck(one_of_two, [X, X.astype("f")])
    before = X.copy()
    tg.gradcheck(right, X, order=2)
    assert np.array_equal(X, before)
    assert tg.gradcheck(wrong, X, rtol=1e-2) is True    # the tolerance is the caller's


# --- value_and_grad
def rosenbrock(x):                                      # as one writes it in NumPy, no Tensor in sight
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0)


def test_value_and_grad_of_plain_numpy():
    x = np.array([1.3, 0.7, 0.8, 1.9, 1.2])
    value, slope = tg.value_and_grad(rosenbrock)(x)
    assert type(value) is float and type(slope) is np.ndarray and slope.dtype == np.float64
    np.testing.assert_allclose(value, rosen(x), rtol=1e-14)
    np.testing.assert_allclose(slope, rosen_der(x), rtol=1e-12)
    value, slope = tg.value_and_grad(lambda x, a, b=1: np.sum(x * a) * b)([1, 2], 3.0, b=2)
    assert (value, slope.tolist(), slope.dtype) == (18.0, [6.0, 6.0], np.float64)       # lists and integers: float64
    assert tg.value_and_grad(np.sum)(np.ones(2, "f"))[1].dtype == np.float32            # float32 in, float32 out


def test_scipy_minimizes_with_it():
    for method in ("BFGS", "L-BFGS-B", "Newton-CG"):
        found = minimize(tg.value_and_grad(rosenbrock), np.zeros(4), jac=True, method=method)
        assert found.success
        np.testing.assert_allclose(found.x, np.ones(4), atol=1e-3)
    found = minimize(tg.value_and_grad(rosenbrock), np.zeros(4), jac=True, method="trust-ncg",
                     hessp=lambda x, v: tg.hvp(rosenbrock, x, v).numpy())
    np.testing.assert_allclose(found.x, np.ones(4), atol=1e-6)


def test_functions_that_do_not_depend_on_x():
    w = Tensor(np.ones(2), requires_grad=True)
    for f in (lambda x: 3.0, lambda x: np.float64(3), lambda x: Tensor(3.0), lambda x: w.sum() + 1):
        value, slope = tg.value_and_grad(f)(X)
        assert value == 3 and slope.tolist() == [0, 0, 0]
    assert w.grad is None
    assert tg.jacobian(lambda x: w * 2, X).tolist() == np.zeros((2, 3)).tolist()
    assert tg.hvp(lambda x: w.sum(), X, X).data.tolist() == [0, 0, 0]


# --- second derivatives
def test_hvp_and_jacobian_against_closed_forms(torch):
    x, v = np.array([1.3, 0.7, 0.8]), np.array([0.2, -1.0, 3.0])
    np.testing.assert_allclose(tg.hvp(rosenbrock, x, v).data, rosen_hess_prod(x, v), rtol=1e-12)
    hessian = tg.jacobian(lambda x: tg.grad(rosenbrock(x), x, create_graph=True), x)
    np.testing.assert_allclose(hessian, rosen_hess(x), rtol=1e-12, atol=1e-12)
    m = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(tg.jacobian(lambda x: m @ x, x), m)
    assert tg.jacobian(lambda x: np.outer(x, x), x).shape == (3, 3, 3)
    assert tg.hvp(lambda x: (x * 3).sum(), x, v).data.tolist() == [0, 0, 0]             # linear: no curvature

    def mlp(lib, x, w, u):
        return ((lib.tanh(x @ w) @ u) ** 2).sum()
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((5, 4), (4, 3), (3, 2))]
    vs = [rng.standard_normal(a.shape) for a in arrays]
    ours = tg.hvp(lambda *a: mlp(tg, *a), arrays, vs)
    peers, directions = tuple(map(torch.tensor, arrays)), tuple(map(torch.tensor, vs))
    _, theirs = torch.autograd.functional.hvp(lambda *a: mlp(torch, *a), peers, directions)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.data, b.numpy(), rtol=1e-10)


def test_hvp_checks_its_direction():
    with pytest.raises(ValueError, match=r"v has shape \(2,\), expected x's \(3,\)"):
        tg.hvp(rosenbrock, X, np.ones(2))
    with pytest.raises(ValueError):
        tg.hvp(lambda x, y: (x * y).sum(), [X, X], [X])
    assert tg.hvp(rosenbrock, X, [1, 0, 0]).dtype == np.float64
