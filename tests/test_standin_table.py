"""Every op, function, loss and layer on the stand-in for CuPy: the host's numbers, and no wait for the device."""
import contextlib
import inspect
from collections import Counter

import numpy as np
import pytest

from tests import test_losses_more, test_ops
from tests.device_table import ALL, WAITS, differences, results, run
from tinygrad_lite import Tensor, nn
from tinygrad_lite.tensor import OPS


def test_the_tables_are_complete():
    names = {name for _, name in ALL}
    assert set(test_ops.PUBLIC) <= names, "ops"
    assert set(test_losses_more.NAMES) <= names, "losses"
    layers = {n for n, c in vars(nn).items() if inspect.isclass(c) and issubclass(c, nn.Module) and not n.endswith("Loss")}
    assert layers - {"Module", "ModuleList"} <= names, "layers"
    assert set(WAITS) <= names


def ops_in(t):
    """The ops that made this Tensor, each of its nodes visited once."""
    todo, seen, names = [t], set(), set()
    while todo:
        t = todo.pop()
        if type(t._node) is tuple and id(t) not in seen:
            seen.add(id(t))
            names.add(t._node[0].name)
            todo.extend(t._node[2])
    return names


@pytest.mark.filterwarnings("ignore")
def test_every_op_is_reached():
    reached = set()
    for row in [row for rows in ALL.values() for row in rows]:
        f, xs, others = row.make(np.float64)
        f = f.double() if isinstance(f, nn.Module) else f
        leaves = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in xs]
        for z in results(f(*leaves, **others) if isinstance(others, dict) else f(*leaves, *others)):
            reached |= ops_in(z) if isinstance(z, Tensor) else set()
    rules = {"scatter", "convolution_w"}    # ops that gradients are made of
    assert {name for name in OPS if name[0] != "_"} - reached - rules == set()


@contextlib.contextmanager
def counted(gpu, counts):
    before = Counter(gpu.synchronisations)
    yield
    counts.update(Counter(gpu.synchronisations) - before)


@pytest.mark.filterwarnings("ignore")       # of the mean of nothing and the like: their own tests look at them
@pytest.mark.parametrize("table, name", ALL)
def test_the_device_gives_what_the_host_gives(table, name, gpu):
    for row in ALL[table, name]:
        for dtype in row.dtypes:
            expected, counts = run(row, dtype), Counter()
            work = gpu.strict if name not in WAITS else lambda: counted(gpu, counts)
            found = run(row, dtype, gpu.array, work)
            assert not list(differences(row, dtype, expected, found, gpu.host))
            assert counts.total() <= WAITS.get(name, (0, ""))[0], (str(row), counts)
