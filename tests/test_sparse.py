"""Row-sparse gradients and steps: equal to dense ones on the rows used, at a cost that neither the table's size nor its past matters for."""
import mmap
import statistics
import time

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import RowSparse, nn, optim
from tinygrad_lite.kernels import updates
from tinygrad_lite.kernels.gather import merge_rows

ACCEPT = [cls for cls in optim.ALL if cls.accepts_rows]
UNDECAYED = {optim.SGDW: dict(weight_decay=0.0)}           # decay moves rows that rest: refused


# --- the gradient itself
@pytest.mark.parametrize("shape", [(5, 3), (40,), (6, 2, 2), (3, 0), (10**9, 2)])
@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_coalesced_rows_are_the_dense_sums(shape, n):
    rng = np.random.default_rng(n)
    ids = rng.integers(0, shape[0], n)
    g = RowSparse(ids, rng.normal(size=(n, *shape[1:])), shape)
    for once in (g.coalesce(), g.coalesce(ordered=False)):
        assert len(set(once.indices.tolist())) == len(once.indices) == len(set(ids.tolist())) and once.coalesce(ordered=False) is once
        for row, values in zip(once.indices, once.values):
            np.testing.assert_allclose(values, g.values[ids == row].sum(axis=0), rtol=1e-12, atol=1e-14)
    assert g.coalesce().indices.tolist() == sorted(set(ids.tolist())) and once.indices.tolist() == list(dict.fromkeys(ids.tolist()))
    assert (3 * once).once and not np.shares_memory((3 * once).values, once.values)


@pytest.mark.parametrize("step", [1, 2**20, 2**32, 2**63 // 3000])
def test_ids_that_share_their_low_or_high_bits(step):
    ids = np.tile(np.arange(3000) * step, 2)
    unique, sums = merge_rows(ids, np.ones((6000, 1)))
    assert unique.tolist() == ids[:3000].tolist() and (sums == 2).all()


@pytest.mark.parametrize("ids, bad, at", [([0, 5], 5, 1), ([-1, 2], -1, 0)])
def test_rows_outside_the_table_are_named(ids, bad, at):
    with pytest.raises(IndexError, match=rf"RowSparse: index {bad} at position {at}, expected 0\.\.4 for a table of shape \(5, 2\)"):
        RowSparse(np.array(ids), np.ones((2, 2)), (5, 2))


# --- steps
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("make", [*[lambda p, cls=cls: cls(p, lr=0.1, **UNDECAYED.get(cls, {})) for cls in ACCEPT], lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
                                  lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True)])
@pytest.mark.parametrize("layout", ["contiguous", "fortran", "three axes"])
def test_each_row_steps_as_if_it_were_alone(make, layout, dtype):
    """The oracle: a one-row table for each row, stepped densely whenever that row is used, all with the table's step count."""
    rng = np.random.default_rng(0)
    shape = (5000, 2, 2) if layout == "three axes" else (5000, 3)
    start = rng.normal(size=shape).astype(dtype)
    table = nn.Parameter(np.asfortranarray(start) if layout == "fortran" else start.copy())
    opt, twin = make([table]), nn.Parameter(start[:8].copy())
    rows = make([twin])
    for t in range(6):
        ids = rng.integers(0, 8, 5)
        values = rng.normal(size=(5, *shape[1:])).astype(dtype)
        table.grad = RowSparse(ids, values, shape)
        opt.step()
        kept = twin.data.copy(), {k: v.copy() for k, v in rows.state.get("0", {}).items() if k != "step"}
        twin.grad = table.grad.to_dense()[:8] if not rows.rows_only else RowSparse(np.arange(8), table.grad.to_dense()[:8], twin.shape)
        with np.errstate(all="ignore"):
            rows.step()
        rest = ~np.isin(np.arange(8), ids)                  # put the rows that rest back to where they were
        twin.data[rest] = kept[0][rest]
        for k, v in rows.state["0"].items():
            if k != "step":
                v[rest] = kept[1][k][rest] if k in kept[1] else rows.fill_of(k, rows.param_groups[0])
        np.testing.assert_allclose(table.data[:8], twin.data, rtol=1e-6 if dtype == np.float32 else 1e-12)
        assert np.array_equal(table.data[8:], start[8:])


@pytest.mark.parametrize("cls", ACCEPT)
def test_the_row_loop_is_the_plain_form_to_the_bit(cls, monkeypatch):
    rng, results = np.random.default_rng(0), []
    start, ids, g = rng.normal(size=(5000, 3)), rng.integers(0, 5000, (4, 300)), rng.normal(size=(4, 300, 3))
    for plain in (False, True):
        monkeypatch.setattr(updates, "PLAIN", plain)
        table = nn.Parameter(start.copy())
        opt = cls([table], lr=0.1, **UNDECAYED.get(cls, {}))
        for rows, values in zip(ids, g):
            table.grad = RowSparse(rows, values, table.shape).coalesce()
            opt.step()
        results.append(table.data)
    assert np.array_equal(*results) and not np.array_equal(results[0], start)


def test_clipping_adds_duplicates_once_and_the_step_uses_it(monkeypatch):
    table = nn.Embedding(6000, 2, sparse=True).weight
    opt, merges = optim.SparseAdam([table], lr=0.1), []
    monkeypatch.setattr(tg.rowsparse, "merge_rows", lambda *args: merges.append(1) or merge_rows(*args))
    table.grad = RowSparse(np.array([4, 1, 4]), np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], "f"), table.shape)
    assert tg.clip.clip_grad_norm_([table], 1.0) == pytest.approx(5.0)
    opt.step()
    assert len(merges) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_row_and_nothing_moves(bad):
    table, other = nn.Embedding(6000, 2, sparse=True).weight, nn.Parameter(np.ones(3, "f"))
    both = optim.MultipleOptimizer(optim.SparseAdam([table]), optim.Adam([other]))
    before, other.grad = table.data.copy(), np.ones(3, "f")
    table.grad = RowSparse(np.array([7, 8]), np.array([[1, 2], [bad, 3]], "f"), table.shape)
    with pytest.raises(FloatingPointError, match="Nothing was changed"):
        both.step()
    assert np.array_equal(table.data, before) and (other.data == 1).all() and both.t == 0


# --- what a step costs
def test_a_step_asks_for_memory_of_the_rows_it_uses_only():
    """Most pages of the state of a table of 1,000,000 rows stay untouched: the system has given no memory for them."""
    resource = pytest.importorskip("resource", reason="the system does not tell how much memory a process has")
    table = nn.Parameter(np.zeros((1_000_000, 64), np.float32))         # zeros: no memory either
    opt = optim.SparseAdam([table], lr=0.1)
    table.grad = RowSparse(np.arange(10), np.ones((10, 64), "f"), table.shape)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    opt.step()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if resource.__name__ == "darwin" else 1024)
    assert grown < 0.1 * 2 * table.data.nbytes + 64 * mmap.PAGESIZE, f"{grown:,} bytes for 10 rows"


def seconds(step, reps=5):
    taken = []
    for _ in range(reps):
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return min(taken)


def test_a_step_costs_what_its_rows_cost_not_what_the_table_costs():
    """1000 rows of tables of 4000 and of 1,000,000 rows, caches aside: within a factor of 20, where a dense pass would take 250."""
    taken = []
    for rows in (4000, 1_000_000):
        rng, table = np.random.default_rng(0), nn.Parameter(np.zeros((rows, 16), np.float32))
        opt = optim.SparseAdam([table], lr=0.1)
        g = RowSparse(rng.permutation(rows)[:1000], np.ones((1000, 16), "f"), table.shape)

        def step():
            table.grad = g
            tg.clip.clip_grad_norm_([table], 1e9)
            opt.step()
        step()
        taken.append(seconds(step, 30))
    assert taken[1] < 20 * taken[0], taken


def test_momentum_does_not_slow_down_as_used_rows_accumulate(monkeypatch):
    """100 steps of 500 other rows each: every step works on its 500 rows and on none of those before."""
    table = nn.Embedding(50_000, 8, sparse=True)
    opt, worked = optim.SGD(table.parameters(), lr=0.1, momentum=0.9), []
    loop = updates.Lifted.rows
    monkeypatch.setattr(updates.Lifted, "rows", lambda self, rows, *args: worked.append(len(rows)) or loop(self, rows, *args))
    before = table.weight.data.copy()
    for t in range(100):
        opt.zero_grad()
        table(np.arange(500 * t, 500 * t + 500)).sum().backward()
        opt.step()
    assert worked == [500] * 100
    np.testing.assert_allclose(table.weight.data, before - np.float32(0.1), rtol=1e-5, atol=1e-6)   # each row once, by lr, and at rest since


def test_momentum_of_a_row_waits_for_it():
    """b = 1, 1.9 of one row, whatever others do in between; PyTorch moves it in between too, unless the gradient is dense."""
    table = nn.Parameter(np.zeros((3, 1), np.float32))
    opt = optim.SGD([table], lr=1.0, momentum=0.9)
    for rows in ([0], [1], [2], [1], [0]):
        table.grad = RowSparse(np.array(rows), np.ones((1, 1), "f"), table.shape)
        opt.step()
    assert table.data.ravel().tolist() == pytest.approx([-2.9, -2.9, -1.0])


def test_training_a_sparse_bag_learns():
    tg.seed(0)
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.EmbeddingBag(10_000, 8, mode="mean", sparse=True), nn.Linear(8, 2))
    opt, used = optim.SparseDense(model, lr=0.02), rng.permutation(10_000)[:60]
    for _ in range(150):
        y = rng.integers(0, 2, 32)
        ids = used[rng.integers(0, 20, (32, 6)) + 30 * y[:, None]]
        loss = tg.losses.cross_entropy(model(ids), y)
        opt.zero_grad()
        loss.backward()
        tg.clip.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
    assert loss.item() < 0.1 and statistics.fmean(np.isin(np.flatnonzero(opt.optimizers[0].state["0.weight"]["exp_avg"].any(axis=1)), used)) == 1
