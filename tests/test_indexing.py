"""Indexing against NumPy: slices, numbers, arrays, masks and their mixtures; duplicates add in the gradient."""
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_lite as tg
from tinygrad_lite.kernels.gather import scatter_rows
from tinygrad_lite.ops.indexing import chooses_once
from tinygrad_lite.tensor import Tensor

SHAPE = (4, 3, 5)
MASK = np.random.default_rng(0).uniform(size=SHAPE) < 0.4
INDICES = {
    "a number": 2, "a negative number": -1, "a NumPy number": np.int32(1), "slice": slice(1, 3),
    "negative step": slice(None, None, -2),
    "ellipsis": (..., 1), "none": (None, slice(None), None, 0), "all numbers": (1, 2, 3), "nothing": (),
    "empty slice": slice(2, 2),
    "duplicates": np.array([1, 1, 0, 1]), "negative duplicates": np.array([-1, 3, -1]),
    "two axes": np.array([[0, 1], [1, 3]]),
    "small integers": np.array([1, 1], np.uint8), "0-d array": np.array(2), "list": [0, 0, 2],
    "nested list": [[0, 1], [2, 0]],
    "empty list": [], "booleans in a list": [True, False, True, False], "mask": MASK, "mask of rows": MASK[:, 0, 0],
    "mask and slice": (MASK[:, :, 0], slice(None, None, 2)), "mask and array": (MASK[:, 0, 0], np.array([1]), slice(None)),
    "number and mask": (1, MASK[0, :, 0]),
    "two masks": (np.array([True, False, True, False]), np.array([True, False, True])),
    "empty mask": np.zeros(SHAPE, bool), "true": True, "false": np.False_,
    "pairs": (np.array([0, 0, 1]), np.array([2, 2, 0])),
    "lists": ([0, 0], slice(None), [4, 4]), "split pairs": (np.array([1, 1]), slice(None), np.array([[0], [2]])),
    "array and slice": (slice(None), np.array([0, 0, 2]), slice(None, None, -1)), "array and number": (np.array([0, 0]), 1),
    "array, none, ellipsis": (np.array([2, 2]), None, ..., 0),
}


def check(shape, index, seed=0):
    rng = np.random.default_rng(seed)
    data, = [rng.standard_normal(shape)]
    x = Tensor(data, requires_grad=True)
    z = x[index]
    assert z.shape == data[index].shape and np.array_equal(z.data, data[index])
    weight = rng.standard_normal(z.shape)
    z.backward(weight)
    expected = np.zeros(shape)
    np.add.at(expected, index, weight)
    np.testing.assert_allclose(x.grad, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("index", list(INDICES.values()), ids=list(INDICES))
def test_every_kind_of_index(index):
    check(SHAPE, index)
    assert tg.gradcheck(lambda x: x[index] ** 2, np.random.default_rng(1).uniform(0.5, 2, SHAPE), order=2)


@given(st.data())
def test_drawn_basic_indices(data):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    check(shape, data.draw(hnp.basic_indices(shape, allow_newaxis=True)))


@given(st.data())
def test_drawn_integer_arrays(data):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=4))
    check(shape, data.draw(hnp.integer_array_indices(shape)))


@given(st.data())
def test_drawn_mixtures(data):
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=4))
    parts = []
    for n in shape[:data.draw(st.integers(1, len(shape)))]:
        ids = hnp.arrays(np.int64, 3, elements=st.integers(-n, n - 1))
        masks = st.permutations([True] * min(n, 3) + [False] * (n - min(n, 3))).map(np.array)
        parts.append(data.draw(st.one_of(st.slices(n), st.integers(-n, n - 1), ids, *[masks] * (n >= 3))))
    check(shape, tuple(parts))


@given(hnp.arrays(bool, hnp.array_shapes(max_dims=3, min_side=0, max_side=4)))
def test_drawn_masks(mask):
    check((*mask.shape, 2), mask)
    check(mask.shape, mask)


def test_tensors_as_indices():
    x = Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    ids, mask = Tensor(np.array([2, 2])), x.data > 2
    assert x[ids].data.tolist() == [[4, 5], [4, 5]] and x[ids, Tensor(np.array([0, 1]))].data.tolist() == [4, 5]
    assert x[x > 2].data.tolist() == x[mask].data.tolist() == [3, 4, 5]
    x[ids].sum().backward()
    assert x.grad.tolist() == [[0, 0], [0, 0], [2, 2]]
    assert np.arange(3.0)[Tensor(np.array([1, 2]))].tolist() == [1, 2]


def test_iteration_and_unpacking():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    a, b = x
    (a * b).sum().backward()
    assert len(x) == 2 and x.grad.tolist() == [[3, 4], [1, 2]]
    with pytest.raises(TypeError, match="0-d"):
        len(x.sum())
    with pytest.raises(TypeError, match="0-d"):
        list(x.sum())


def test_what_can_be_chosen_twice():
    once = [2, slice(None), (0, None, ..., slice(1)), MASK, True, (1, MASK[0, 0])]
    twice = [np.array([0, 1]), np.array(0), (0, np.array([1])), (MASK[0, 0], MASK[0, 0]), (True, np.array([0]))]
    assert all(map(chooses_once, once)) and not any(map(chooses_once, twice))


def test_take_and_gather_read_like_numpy_and_torch(torch):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((3, 4, 2))
    for axis in (None, 0, 1, -1):
        for ids in (1, [0, 0], np.array([[1, 0], [0, 1]]), Tensor(np.array([1]))):
            assert np.array_equal(tg.take(Tensor(data), ids, axis).data, np.take(data, np.asarray(ids), axis))
    for dim in (0, 1, 2, -1):
        small = rng.integers(0, data.shape[dim], (2, 3, 2))         # the index may be smaller than x
        small = small[tuple(slice(min(a, b) if d != dim % 3 else None) for d, (a, b) in enumerate(zip(small.shape, data.shape)))]
        x, y = Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        z, w = tg.gather(x, dim, small), torch.gather(y, dim, torch.from_numpy(small))
        assert np.array_equal(z.data, w.detach().numpy())
        (z ** 3).sum().backward(), (w ** 3).sum().backward()
        np.testing.assert_allclose(x.grad, y.grad.numpy(), rtol=1e-12)
    with pytest.raises(IndexError):
        tg.take(Tensor(data), 0, axis=5)


def test_scatter_add():
    x = Tensor(np.zeros((3, 2), "f"), requires_grad=True)
    for value in (1, 1.0, np.float32(1), [1.0, 1.0], np.ones((3, 2), "f")):
        z = tg.scatter_add(x, [0, 0, 2], value)
        assert z.dtype == np.float32 and z.data.tolist() == [[2, 2], [0, 0], [1, 1]]
    assert tg.scatter_add(x, (slice(None), 1), 2.0).data.tolist() == [[0, 2]] * 3
    narrow = Tensor(np.float32([1, 2]), requires_grad=True)         # one row, broadcast over three places
    tg.scatter_add(x, np.array([0, 0, 2]), narrow).sum().backward()
    assert narrow.grad.tolist() == [3, 3] and x.grad.tolist() == [[1, 1]] * 3
    assert x.data.tolist() == [[0, 0]] * 3                          # x itself is left alone


def test_third_derivatives_pass_through_indexing():
    x = Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
    y = (x[[0, 0, 2]] ** 4).sum()
    for factor, power in ((4, 3), (12, 2), (24, 1)):
        y = tg.grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y.data, np.array([2, 0, 1]) * factor * x.data ** power)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("ids", [
    np.array([0, 3, 0, -1]), np.array([[1, 1], [2, -4]]), np.array([1, 1], np.int32), np.zeros(0, int)])
def test_scatter_rows_is_add_at(dtype, ids):
    rng = np.random.default_rng(0)
    for tail in ((), (3,), (2, 3)):
        table = rng.standard_normal((4, *tail)).astype(dtype)
        rows = rng.standard_normal((*ids.shape, *tail)).astype(dtype)
        for order in (np.ascontiguousarray, np.asfortranarray):
            ours, expected = order(table.copy()), table.copy()
            scatter_rows(ours, ids, order(rows))
            np.add.at(expected, ids, rows)
            np.testing.assert_allclose(ours, expected, rtol=1e-6 if dtype != np.float16 else 1e-2)
    for bad in (4, -5):
        with pytest.raises(IndexError, match="expected -4..3"):
            scatter_rows(table, np.array([0, bad]), np.zeros((2, *table.shape[1:]), dtype))
