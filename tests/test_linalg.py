"""Products against NumPy and PyTorch: matmul of every pair of ranks, linear, dot, einsum."""
import itertools

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite.tensor import Tensor

LEFT = {1: (4,), 2: (3, 4), 3: (2, 3, 4), 4: (5, 2, 3, 4)}
RIGHT = {1: (4,), 2: (4, 6), 3: (2, 4, 6), 4: (5, 2, 4, 6)}


def check(f, numpy, shapes, order=2):
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.5, 2, shape) for shape in shapes]
    z, expected = f(*map(Tensor, arrays)), numpy(*arrays)
    assert z.shape == np.shape(expected)
    np.testing.assert_allclose(z.data, expected, rtol=1e-12)
    assert tg.gradcheck(f, arrays, order=order)


@pytest.mark.parametrize("m, n", list(itertools.product(LEFT, RIGHT)))
def test_matmul_of_every_pair_of_ranks(m, n):
    check(lambda x, y: x @ y, np.matmul, [LEFT[m], RIGHT[n]])


@pytest.mark.parametrize("shapes", [
    ((1, 3, 4), (2, 4, 6)), ((5, 1, 3, 4), (2, 4, 6)), ((2, 3, 4), (1, 1, 4, 6)), ((5, 1, 1, 4), (2, 4, 1)),
    ((0, 4), (4, 6)), ((3, 0), (0, 6)), ((2, 3, 4), (0, 2, 4, 1))], ids=str)
def test_matmul_broadcasts_and_takes_empty_matrices(shapes):
    check(tg.matmul, np.matmul, shapes)


def test_matmul_keeps_dtype_and_takes_arrays_on_both_sides(torch):
    a, b = np.ones((2, 3), "f"), np.arange(12, dtype="f").reshape(3, 4)
    x = Tensor(a, requires_grad=True)
    y = torch.ones((2, 3), requires_grad=True)
    z = (x @ b) @ np.ones((4, 1), "f")
    w = (y @ torch.from_numpy(b)) @ torch.ones((4, 1))
    z.sum().backward(), w.sum().backward()
    assert z.dtype == x.grad.dtype == np.float32 and x.grad.tolist() == y.grad.tolist()
    x.grad = None
    (np.ones((4, 2), "f") @ x).sum().backward()
    assert x.grad.tolist() == [[4, 4, 4]] * 2


@pytest.mark.parametrize("shapes", [
    ((), (3,)), ((3,), ()), ((4,), (4,)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), 
    ((2, 3, 4), (5, 4, 6)), ((2, 3, 4), (4, 5))], ids=str)
def test_dot(shapes):
    check(tg.dot, np.dot, shapes)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0,), (2, 0)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(lead, bias):
    check(tg.linear, lambda x, w, b=0: x @ w.T + b, [(*lead, 4), (5, 4)] + [(5,)] * bias)


SUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ba,cb", (2, 3), (4, 2)), ("i,i", (3,), (3,)),
    ("i,i->i", (3,), (3,)),
    ("i,j->ij", (2,), (3,)), ("i,j->", (2,), (3,)), ("ij->", (2, 3)), ("ij->j", (2, 3)), ("ij->ji", (2, 3)),
    ("ij", (2, 3)), ("ba", (2, 3)),
    ("ii->i", (3, 3)), ("ii->", (3, 3)), ("ii", (3, 3)), ("iii->i", (2, 2, 2)), ("iij->j", (2, 2, 3)),
    ("ii,ij->j", (3, 3), (3, 2)),
    ("ijj,jk->ik", (2, 3, 3), (3, 4)), ("ij,kl->ik", (2, 3), (2, 4)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("i,i,i->i", (3,), (3,), (3,)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)), ("bi,oij,bj->bo", (2, 3), (4, 3, 2), (2, 2)), (",ij->ij", (), (2, 3)),
    (", ->", (), ()),
    ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 2)), ("...ij,...jk->...ik", (5, 2, 3, 4), (4, 2)),
    ("...i->...", (2, 3)), ("...,...->...", (2, 3), (3,)),
    ("i...->...", (2, 3, 4)), ("...ij,jk", (2, 3, 4), (4, 2)), ("ii...->...i", (3, 3, 2)),
    ("...A,AB->...B", (2, 3), (3, 4)), ("...i,...i->...", (1, 2, 3), (4, 1, 3)),
    ("ij,ij->ij", (1, 3), (2, 3)), ("i,i->", (1,), (3,)), ("ij,jk->ik", (2, 0), (0, 3)),
    ("abc,cd,de->abe", (2, 2, 3), (3, 2), (2, 2)),
]


@pytest.mark.parametrize("text, shapes", [(text, shapes) for text, *shapes in SUMS], ids=str)
def test_einsum(text, shapes):
    check(lambda *xs: tg.einsum(text, *xs), lambda *xs: np.einsum(text, *xs), shapes)


def test_einsum_of_long_sums_and_short_ones_agree():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((80, 90)), rng.standard_normal((90, 70))       # long enough for BLAS
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    z = tg.einsum("ij,jk->ik", x, y)
    z.backward(np.ones(z.shape))
    np.testing.assert_allclose(z.data, a @ b, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(x.grad, np.ones(z.shape) @ b.T, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(y.grad, a.T @ np.ones(z.shape), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("text, message", [
    ("ij->i", "got 2 operands, expected 1"), ("ijk,jk->i", "names 3 axes of an operand with 2"), (["ij"], "expected a string")])
def test_einsum_errors(text, message):
    with pytest.raises((ValueError, TypeError), match=message):
        tg.einsum(text, Tensor(np.ones((2, 3))), Tensor(np.ones((2, 3))))
