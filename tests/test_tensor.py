"""The engine: graphs of every shape, what backward leaves behind, who owns which array, and what is refused."""
import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite.tensor import FREED, Tensor, here, op


@pytest.fixture
def x():
    return Tensor([1.0, 2.0, 3.0], requires_grad=True)


# --- making Tensors
def test_dtypes_at_the_door():
    for numbers in (1, 1.5, [1, 2], [[1.5]], (1, 2.5), range(3)):
        assert Tensor(numbers).dtype == np.float32                          # Python numbers become float32
    for dtype in "float16 float32 float64 int8 int64 uint8 bool".split():
        assert Tensor(np.ones(2, dtype)).dtype == dtype                     # arrays keep theirs
    assert Tensor([True, False]).dtype == bool and Tensor(np.float64(1)).dtype == np.float64
    assert Tensor([1, 2], dtype=np.float64).dtype == np.float64 and Tensor(Tensor([1.0])).shape == (1,)
    for bad in ("text", [1, "a"], 1j, None, object(), [np.datetime64("2020")]):
        with pytest.raises((TypeError, ValueError)):
            Tensor(bad)
    with pytest.raises(TypeError, match="expected real numbers"):
        Tensor("text")


def test_an_array_is_shared_not_copied(x):
    a = np.zeros(2, "f")
    assert Tensor(a).data is a and x.detach().data is x.data and x.numpy() is x.data
    assert not x.detach().requires_grad


def test_requires_grad(x):
    y = x * 2
    assert x.requires_grad and x.is_leaf and y.requires_grad and not y.is_leaf and y.op_name == "mul" and x.op_name is None
    with pytest.raises(TypeError, match="int64, expected a float.*astype"):
        Tensor(np.arange(3), requires_grad=True)
    with pytest.raises(TypeError, match="expected a float"):
        Tensor(np.ones(2, bool)).requires_grad = True
    with pytest.raises(RuntimeError, match="result of 'mul'.*detach"):
        y.requires_grad = False
    x.requires_grad = False
    assert not (x * 2).requires_grad
    with pytest.raises(RuntimeError, match="depends on nothing"):
        (x * 2).sum().backward()


def test_grad_is_checked_when_set(x):
    x.grad = np.ones(3, "f")
    x.grad = Tensor([4.0, 5.0, 6.0])
    assert type(x.grad) is np.ndarray and x.grad.tolist() == [4, 5, 6]
    for bad in (np.ones(2, "f"), np.ones(3), np.ones((1, 3), "f")):
        with pytest.raises(ValueError, match=r"grad: got float.*expected float32\[3\]"):
            x.grad = bad
    x.grad = None
    assert x.grad is None


def test_repr_item_and_copies(x):
    assert repr(x) == "Tensor([1., 2., 3.], dtype=float32, requires_grad=True)"
    assert repr(x * 2) == "Tensor([2., 4., 6.], dtype=float32, op=mul)" and "..." in repr(Tensor(np.zeros(1000)))
    assert x.sum().item() == 6.0 and type(x.sum().item()) is float
    with pytest.raises(ValueError, match=r"shape \(3,\), expected a single number"):
        x.item()
    assert x in [x] and len({x, x}) == 1                # hashed by identity
    for twin in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        twin.sum().backward()                           # still a leaf
        assert twin.grad.tolist() == [1, 1, 1] and x.grad is None


# --- graphs
def test_a_diamond_and_reuse(torch):
    a, b = Tensor([2.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    for v in (a, b):
        y = v * v
        z = y * v + y               # y is used twice, at different depths
        w = z * y - v * z
        (w + w).sum().backward()
    assert a.grad.tolist() == b.grad.tolist() == [2 * (5 * 2 ** 4 - 3 * 2 ** 2)]


def test_random_graphs_agree_with_torch(torch):
    rng = np.random.default_rng(0)
    for _ in range(20):
        data = rng.uniform(0.5, 1.5, 3)
        ours, theirs = [Tensor(data, requires_grad=True)], [torch.tensor(data, requires_grad=True)]
        for _ in range(30):
            i, j = rng.integers(0, len(ours), 2)
            kind = rng.integers(0, 4)
            for pool, lib in ((ours, tg), (theirs, torch)):
                u, v = pool[i], pool[j]
                steps = lambda: u * v / (1 + v * v), lambda: lib.tanh(u) - v, lambda: lib.exp(-u * u), lambda: u + 0.5 * v
                pool.append(steps[kind]())
        for pool in (ours, theirs):
            sum(t.sum() for t in pool[-5:]).backward()
        np.testing.assert_allclose(ours[0].grad, theirs[0].grad.numpy(), rtol=1e-10)


def test_a_chain_of_100000_nodes_needs_no_recursion():
    code = """if True:
        import sys, tinygrad_lite as tg
        sys.setrecursionlimit(150)
        for again in range(2):
            x = tg.Tensor([1.0], requires_grad=True)
            y = x
            for _ in range(100_000):
                y = y + 1e-5 * y if _ % 1000 == 0 else y * 1.0
            if again:
                del y                   # a graph dropped without a backward
            else:
                y.sum().backward()
                print(f"{x.grad[0]:.4f}")
        y = x * 1
        for _ in range(3000):
            y = y * y.detach()
        print(tg.grad(y.sum(), x, create_graph=True).item())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1.0010\n1.0\n", "")


def test_the_graph_is_freed_as_it_goes(x):
    seen = []
    watch = op("_watch", lambda a: a * 1, lambda g, z, a: (seen.append([r() is None for r in refs]), g)[1])
    refs = []
    gc.collect()
    gc.disable()
    try:
        y = watch(x)
        for _ in range(5):
            y = tg.exp(y * 0.1)
            refs += [weakref.ref(y), weakref.ref(y.data)]
        loss = y.sum()
        del y
        loss.backward()
        assert seen == [[True] * 10]                    # gone already when the pass came to the first node
        assert all(r() is None for r in refs) and loss._node is FREED
        z = tg.exp(x)
        kept = weakref.ref(z)
        g = tg.grad((z * z).sum(), x, create_graph=True)
        del z, g
        assert kept() is None                           # and no reference cycles after create_graph
    finally:
        gc.enable()


def test_a_second_backward_says_what_to_do(x):
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True.*detach"):
        y.backward()
    middle = x * x
    middle.sum().backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        (middle * 2).sum().backward()
    assert x.grad.tolist() == [4, 8, 12]                # what failed added nothing


def test_retain_graph_and_accumulation(x):
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 8, 12]
    (x * 1).sum().backward()
    assert x.grad.tolist() == [5, 9, 13]
    x.backward(np.ones(3, "f"))                         # a leaf is its own graph
    assert x.grad.tolist() == [6, 10, 14]


def test_backward_needs_a_number_or_a_seed(x):
    with pytest.raises(RuntimeError, match=r"shape \(3,\), expected a single number.*sum"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"shape \(2,\), expected \(3,\)"):
        (x * 2).backward(np.ones(2))
    for seed in ([1, 2, 3], np.array([1.0, 2.0, 3.0]), Tensor([1.0, 2.0, 3.0]), np.array([1, 2, 3])):
        x.grad = None
        (x * 2).backward(seed)
        assert x.grad.tolist() == [2, 4, 6] and x.grad.dtype == np.float32
    (x[:1] * 2).backward()                              # one number in a row is a number


# --- who owns an array
def test_gradients_are_never_shared(x):
    y = Tensor([1.0, 1.0, 1.0], requires_grad=True)
    seed = np.ones(3, "f")
    for build in (lambda: x + y, lambda: x + x + y, lambda: x.reshape(3, 1).reshape(3) + y, lambda: x[::-1] + y, lambda: x.T + y,
                  lambda: tg.concatenate([x, y])[:3] + y):
        x.grad = y.grad = None
        build().backward(seed)
        before = y.grad.copy()
        x.grad *= 100                                   # as clipping does
        assert np.array_equal(y.grad, before) and seed.tolist() == [1, 1, 1]
    x.grad = None
    x.backward(seed)
    x.grad *= 5
    assert seed.tolist() == [1, 1, 1]
    (x * 2).backward(seed)
    first = x.grad
    (x * 2).backward(seed)
    assert x.grad is not first and first.tolist() == [7, 7, 7]        # a gradient that someone kept stays as it was


def test_single_numbers_stay_numpy_scalars_and_gradients_are_arrays():
    p = Tensor(2.0, requires_grad=True)
    y = p * 3 + 1
    assert type(y.data) is np.float32 and p.data.shape == ()
    for expected in (6, 12):
        (y * p - p).backward(retain_graph=True)         # 3 p^2: at 2, less nothing
        assert type(p.grad) is np.ndarray and p.grad.shape == () and p.grad.dtype == np.float32
        assert p.grad == 2 * expected
    p.grad[...] = 0                                     # and can be set in place


# --- failures
def test_a_failing_rule_leaves_no_half_sent_gradients(x):
    y = Tensor([1.0, 1.0, 1.0], requires_grad=True)
    broken = op("_broken", lambda a: a * 1, lambda g, z, a: 1 / 0)
    broken_y = op("_broken_y", lambda a, b: a * b, lambda g, z, a, b: g * b, lambda g, z, a, b: 1 / 0)
    for fail in (lambda: broken(x * 2) + x * y + y * 3, lambda: broken_y(x, y) + x, lambda: broken_y(x * 2, y * 2) * x):
        for attempt in (lambda z: z.backward(), lambda z: tg.grad(z, [x, y], create_graph=True)):
            with pytest.raises(ZeroDivisionError):
                attempt(fail().sum())
            assert x.grad is None and y.grad is None and not here.create_graph
            (x * y).sum().backward()
            assert x.grad.tolist() == [1, 1, 1] and y.grad.tolist() == [1, 2, 3]
            x.grad = y.grad = None


def test_assignment_names_the_alternatives(x):
    with pytest.raises(RuntimeError, match="where, stack, concatenate or scatter_add"):
        x[0] = 5
    with pytest.raises(RuntimeError, match="where"):
        (x * 2)[0] = 5
    with tg.no_grad():
        x[0] = 5                                        # a leaf may be set
    constant = Tensor([1.0, 2.0])
    constant[constant > 1] = Tensor([9.0])
    assert x.data.tolist() == [5, 2, 3] and constant.data.tolist() == [1, 9]


# --- no_grad
def test_no_grad(x):
    with tg.no_grad():
        assert not (x * 2).requires_grad
        with tg.no_grad():
            pass
        assert not tg.concatenate([x, x]).requires_grad     # still inside the outer block
    assert (x * 2).requires_grad

    @tg.no_grad()
    def double(v):
        """twice v"""
        return v * 2
    assert not double(x).requires_grad and double.__doc__ == "twice v" and (x * 2).requires_grad
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert (x * 2).requires_grad


def test_no_grad_belongs_to_its_thread(x):
    inside, done, seen = threading.Event(), threading.Event(), []

    def recorded():                                     # ops of one, two and any number of inputs
        return [t.requires_grad for t in (tg.exp(x), x * x, tg.stack([x, x]), x[0])]

    def other():
        with tg.no_grad():
            inside.set()
            done.wait(10)
            seen.extend(recorded())
    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    seen.extend(recorded())
    done.set()
    thread.join()
    assert seen == [True] * 4 + [False] * 4


# --- grad
def test_third_order_closed_forms():
    data = np.array([0.3, 0.7, 1.1])
    forms = [(lambda x: x ** 5, [lambda x: 5 * x ** 4, lambda x: 20 * x ** 3, lambda x: 60 * x ** 2]),
             (np.sin, [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)]),
             (lambda x: np.exp(2 * x), [lambda x, k=k: 2 ** k * np.exp(2 * x) for k in (1, 2, 3)]),
             (lambda x: 1 / x, [lambda x: -x ** -2, lambda x: 2 * x ** -3, lambda x: -6 * x ** -4]),
             (np.tanh, [lambda x: 1 - np.tanh(x) ** 2, lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
                        lambda x: (6 * np.tanh(x) ** 2 - 2) * (1 - np.tanh(x) ** 2)])]
    for f, derivatives in forms:
        x = Tensor(data, requires_grad=True)
        y = f(x)
        for derivative in derivatives:
            y = tg.grad(y.sum(), x, create_graph=True)
            np.testing.assert_allclose(y.data, derivative(data), rtol=1e-12)
    assert x.grad is None


def test_grad_of_interior_and_unused_inputs(x):
    y = Tensor([1.0, 1.0, 1.0], requires_grad=True)
    h = x * 2
    z = h * h
    g_h, g_x = tg.grad(z.sum(), [h, x], retain_graph=True)
    assert g_h.data.tolist() == [4, 8, 12] and g_x.data.tolist() == [8, 16, 24] and x.grad is None
    assert tg.grad(z.sum(), [y, x, x], allow_unused=True, retain_graph=True)[0] is None
    with pytest.raises(RuntimeError, match=r"input 1 \(shape \(3,\)\).*allow_unused"):
        tg.grad(z.sum(), [x, y], retain_graph=True)
    assert tg.grad(z, x, [1.0, 0.0, 0.0], retain_graph=True).data.tolist() == [8, 0, 0]
    total = z.sum()
    assert tg.grad(total, total).item() == 1
    assert tg.grad(z.sum(), h).data.tolist() == [4, 8, 12]
    h.sum().backward()                                  # what lies below h was not walked and is still there
    assert x.grad.tolist() == [2, 2, 2]


def test_a_gradient_penalty_trains_through_grad(x, torch):
    start = np.array([0.5, -1.0, 2.0])
    w, v = Tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    a = np.array([[1.0, 2.0, 3.0], [0.1, 0.2, 0.3]])
    for lib, p, data, slope in ((tg, w, Tensor(a, requires_grad=True), tg.grad),
                                (torch, v, torch.tensor(a, requires_grad=True), lambda *s, **o: torch.autograd.grad(*s, **o)[0])):
        g = slope(lib.tanh(data @ p).sum(), data, create_graph=True)
        (((g * g).sum() - 1) ** 2).backward()
    np.testing.assert_allclose(w.grad, v.grad.numpy(), rtol=1e-12)


def test_a_fused_op_takes_its_composite_to_higher_orders():
    calls = []

    def forward(a, b, k):
        return a * b * b * k, (a, "extra")
    fused = op("_fused", forward, lambda g, z, a, b, k, saved: (calls.append(saved[1]), g * b * b * k)[1],
               lambda g, z, a, b, k, saved: g * 2 * a * b * k, composite=lambda a, b, k: a * b * b * k, saves=True)
    arrays = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    assert tg.gradcheck(lambda a, b: fused(a, b, 2.0), arrays, order=3) and set(calls) == {"extra"}
    count = len(calls)
    a, b = (Tensor(v, requires_grad=True) for v in arrays)
    assert tg.grad(fused(a, b, 1.0).sum(), b, create_graph=True).data.tolist() == [6, 16]
    assert len(calls) == count                          # the fused rule had no part in it
    assert tg.grad(fused(a, arrays[1], 1.0).sum(), a, create_graph=True).data.tolist() == [9, 16]


# --- RowSparse
def test_row_sparse():
    g = tg.RowSparse(np.array([2, 0, 2]), np.array([[1.0], [2.0], [3.0]], "f"), (4, 1))
    assert g.to_dense().ravel().tolist() == [2, 0, 4, 0] and g.dtype == np.float32 and g.ndim == 2
    c = g.coalesce()
    assert c.indices.tolist() == [0, 2] and c.values.ravel().tolist() == [2, 4] and c.shape == (4, 1)
    both = g + c
    assert isinstance(both, tg.RowSparse) and both.to_dense().ravel().tolist() == [4, 0, 8, 0]
    dense = np.ones((4, 1), "f")
    for mixed in (g + dense, dense + g):                # an array on the left must not take it apart
        assert type(mixed) is np.ndarray and mixed.dtype == np.float32 and mixed.ravel().tolist() == [3, 1, 5, 1]
    assert (g * 2).to_dense().ravel().tolist() == (2 * g).to_dense().ravel().tolist() == [4, 0, 8, 0]
    assert g.astype("f8").dtype == np.float64
    with pytest.raises(ValueError, match="RowSparse: got 2 indices"):
        tg.RowSparse(np.array([0, 1]), np.ones((3, 1)), (4, 1))


def test_row_sparse_gradients_meet_dense_ones():
    table = Tensor(np.ones((4, 2)), requires_grad=True)
    rows = op("_rows", lambda t, ids: t[ids], lambda g, z, t, ids: tg.RowSparse(ids, g, t.shape))
    ids = np.array([1, 1, 3])
    expected = np.array([[0, 0], [2, 2], [0, 0], [1, 1]])
    rows(table, ids).sum().backward()
    assert isinstance(table.grad, tg.RowSparse)
    rows(table, ids).sum().backward()
    assert isinstance(table.grad, tg.RowSparse) and np.array_equal(table.grad.to_dense(), 2 * expected)
    (table * 3).sum().backward()                        # dense after sparse, then sparse after dense
    assert type(table.grad) is np.ndarray and np.array_equal(table.grad, 2 * expected + 3)
    rows(table, ids).sum().backward()
    assert np.array_equal(table.grad, 3 * expected + 3)
    for both in (lambda: rows(table, ids).sum() + (table * 3).sum(), lambda: (table * 3).sum() + rows(table, ids).sum(),
                 lambda: rows(table * 1, ids).sum() + (table * 3).sum()):
        table.grad = None
        both().backward()
        assert np.array_equal(table.grad, expected + 3)
    assert np.array_equal(tg.grad(rows(table, ids).sum(), table).data, expected)
