"""Embedding and EmbeddingBag: PyTorch on drawn bags and options, sparse gradients against dense ones, and what is refused."""
import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, nn
from tinygrad_lite.nn import functional as F

ROWS, DIM = 7, 3


def bags(rng, n=12):
    """(ids, offsets): bags of all sizes, empty ones too, the first and the last among them."""
    return rng.integers(0, ROWS, n), np.sort(np.append(0, rng.integers(0, n + 1, 5)))


OPTIONS = [dict(mode=mode, **more) for mode in ("sum", "mean", "max") for more in
           ({}, dict(padding_idx=2), dict(padding_idx=-1), dict(max_norm=1.0), dict(include_last_offset=True), dict(weighted=True),
            dict(weighted=True, padding_idx=2, include_last_offset=True), dict(sparse=True, padding_idx=0), dict(sparse=True))
           if (mode == "sum" or "weighted" not in more) and (mode != "max" or "sparse" not in more)]


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("flat", [True, False], ids=["offsets", "matrix"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_bags_are_those_of_torch(options, flat, dtype, rtol, torch):
    rng = np.random.default_rng(0)
    weighted = options.get("weighted", False)
    last = options.get("include_last_offset", False) and flat
    kwargs = {k: v for k, v in options.items() if k != "weighted"} | {"include_last_offset": last}
    for _ in range(4):
        ours = nn.EmbeddingBag(ROWS, DIM, **kwargs)
        theirs = torch.nn.EmbeddingBag(ROWS, DIM, dtype=getattr(torch, np.dtype(dtype).name), **{**kwargs, "sparse": False})
        ours = ours.double() if dtype == np.float64 else ours
        ours.weight.data[...] = rng.normal(size=(ROWS, DIM))
        theirs.load_state_dict({"weight": torch.tensor(ours.weight.data)})
        ids, offsets = bags(rng) if flat else (rng.integers(0, ROWS, (4, 5)), None)
        offsets = np.append(offsets, len(ids)) if last else offsets
        w = rng.normal(size=ids.shape).astype(dtype) if weighted else None
        x, y = (Tensor(w, requires_grad=True), torch.tensor(w, requires_grad=True)) if weighted else (None, None)
        z = ours(ids, offsets, x)
        peer = theirs(torch.tensor(ids), None if offsets is None else torch.tensor(offsets), y)
        g = rng.normal(size=z.shape).astype(dtype)
        z.backward(g), peer.backward(torch.tensor(g))
        grad = ours.weight.grad
        assert isinstance(grad, tg.RowSparse) == ("sparse" in options) and z.dtype == dtype
        for a, b in [(z.data, peer.detach()), (ours.weight.data, theirs.weight.detach()), *([(x.grad, y.grad)] if weighted else []),
                     (grad.to_dense() if "sparse" in options else grad, theirs.weight.grad)]:
            np.testing.assert_allclose(a, b.numpy(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_gradients_divided_by_how_often_an_id_occurs(mode):
    """By definition: PyTorch 2.13 (CPU) takes the counts of other ids than it should here."""
    rng = np.random.default_rng(0)
    (ids, offsets), expected = bags(rng, 20), np.zeros((ROWS, DIM))
    table = Tensor(rng.normal(size=(ROWS, DIM)), requires_grad=True)
    z = F.embedding_bag(ids, table, offsets, mode=mode, scale_grad_by_freq=True)
    g = rng.normal(size=z.shape)
    z.backward(g)
    for b, (start, stop) in enumerate(zip(offsets, [*offsets[1:], len(ids)])):
        for i in ids[start:stop]:
            expected[i] += g[b] / (ids == i).sum() / (stop - start if mode == "mean" else 1)
    np.testing.assert_allclose(table.grad, expected, rtol=1e-12, atol=1e-14)


def test_last_offset_may_end_before_the_ids():
    bag = nn.EmbeddingBag(3, 1, mode="sum", include_last_offset=True)
    assert np.array_equal(bag(np.array([0, 1, 2]), np.array([0, 2])).data[0], bag.weight.data[0] + bag.weight.data[1])


@pytest.mark.parametrize("ids, offsets", [(np.zeros(0, int), np.zeros(3, int)), (np.zeros(0, int), np.zeros(0, int)),
                                          (np.zeros((0, 4), int), None), (np.zeros((2, 0), int), None), ([], [0])])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_nothing_in_the_bags(ids, offsets, mode):
    bag = nn.EmbeddingBag(4, 2, mode=mode)
    if offsets is not None and len(offsets) == 0:
        with pytest.raises(ValueError, match="offsets: got"):
            nn.EmbeddingBag(4, 2, mode=mode, include_last_offset=True)(ids, offsets)
        return
    z = bag(ids, None if offsets is None else np.array(offsets))
    assert z.shape == (len(offsets) if offsets is not None else len(ids), 2) and (z.data == 0).all()
    z.sum().backward()
    assert (bag.weight.grad == 0).all()


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_gradients_of_any_order(mode):
    rng = np.random.default_rng(0)
    ids, offsets = bags(rng)

    def bag(table, w):
        return F.embedding_bag(ids, table, offsets, mode=mode, per_sample_weights=w if mode == "sum" else None) ** 3
    table, w = rng.normal(size=(ROWS, DIM)), rng.normal(size=len(ids))
    assert tg.gradcheck(bag if mode == "sum" else lambda t: bag(t, None), [table, w][:1 + (mode == "sum")], order=2)
    assert tg.gradcheck(lambda t: F.embedding(ids, t) ** 3, [table], order=2)


@pytest.mark.parametrize("change", ["strided", "fortran", "float16"])
def test_tables_of_any_layout(change):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(ROWS, 2 * DIM))
    table = {"strided": data[:, ::2], "fortran": np.asfortranarray(data[:, :DIM]), "float16": data[:, :DIM].astype(np.float16)}[change]
    ids, offsets = bags(rng)
    got, wanted = [F.embedding_bag(ids, Tensor(t, requires_grad=True), offsets, mode="sum") for t in (table, np.array(table, order="C", dtype=float))]
    np.testing.assert_allclose(got.data, wanted.data, rtol=1e-2 if change == "float16" else 1e-12)
    assert got.dtype == table.dtype


def test_a_table_is_drawn_as_one():
    tg.seed(1)
    table = nn.Embedding(70_000, 2).weight.data             # more than one block of rows
    tg.seed(1)
    assert np.array_equal(table, tg.random.generator.standard_normal((70_000, 2)).astype("f"))


MATRIX, FLAT = np.array([[0, 1], [2, 3]]), np.array([0, 1, 2])
ONES = np.ones(3, "f")
BAD = [
    (lambda b: b(np.array([0, 9, 1]), [0]), IndexError, r"embedding_bag: id 9 at position \(1,\), expected 0\.\.6"),
    (lambda b: b(np.array([[0, 1], [2, -1]])), IndexError, r"id -1 at position \(1, 1\)"),
    (lambda b: b(np.array([0.5]), [0]), TypeError, "ids have dtype float64, expected integers"),
    (lambda b: b(FLAT), ValueError, r"got ids of shape \(3,\) and offsets None, expected ids \(bags, n\) alone"),
    (lambda b: b(MATRIX, [0]), ValueError, r"got ids of shape \(2, 2\) and offsets int64\[1\]"),
    (lambda b: b(FLAT, [0.0]), ValueError, r"offsets float64\[1\]"),
    (lambda b: b(FLAT, [0, 2, 1]), ValueError, r"offsets: got \[0\]\.\.\[3\], 2 before 1 at position 1, expected numbers that start at 0, do not fall"),
    (lambda b: b(FLAT, [1, 2]), ValueError, r"offsets: got \[1\]\.\.\[3\], expected numbers that start at 0"),
    (lambda b: b(FLAT, [0, 4]), ValueError, "4 before 3 at position 1, expected .* end at most at the number of ids, 3"),
    (lambda b: b(FLAT, [0], ONES), ValueError, r"per_sample_weights: got float32\[3\] with mode 'mean', expected float32\[3\], as the ids, with mode 'sum'"),
    (lambda b: F.embedding_bag(FLAT, b.weight, [0], mode="sum", per_sample_weights=ONES[:2]), ValueError, r"got float32\[2\] .*, expected float32\[3\]"),
    (lambda b: F.embedding_bag(FLAT, b.weight, [0], mode="sum", per_sample_weights=ONES.astype(float)), ValueError, r"got float64\[3\] .*, expected float32"),
    (lambda b: F.embedding_bag(FLAT, b.weight, [0], mode="min"), ValueError, "mode: got 'min', expected 'sum', 'mean' or 'max'"),
    (lambda b: F.embedding_bag(FLAT, b.weight, [0], mode="max", sparse=True), ValueError, "the gradient of a maximum is dense"),
    (lambda b: F.embedding_bag(FLAT, b.weight, [0], sparse=True, scale_grad_by_freq=True), ValueError, "needs sparse=False"),
    (lambda b: nn.EmbeddingBag(3, 2, padding_idx=3), ValueError, "EmbeddingBag: padding_idx: got 3, expected within 3 rows"),
    (lambda b: nn.Embedding(0, 2), ValueError, "Embedding: got num_embeddings=0, embedding_dim=2"),
]


@pytest.mark.parametrize("call, kind, message", BAD, ids=[m for _, _, m in BAD])
def test_refused_and_nothing_changed(call, kind, message):
    bag = nn.EmbeddingBag(ROWS, DIM, max_norm=1e-3)         # a call that went through would shorten rows
    before = bag.weight.data.copy()
    with pytest.raises(kind, match=message):
        call(bag)
    assert np.array_equal(bag.weight.data, before) and bag.weight.grad is None
