"""The stand-in for CuPy refuses what CuPy refuses, counts what makes the host wait, and else gives NumPy's numbers."""
import copy
import pickle

import numpy as np
import pytest

from tests.standin import Standin, Synchronised
from tests.standin.facts import FACTS


@pytest.fixture
def x(gpu):
    return gpu.array(np.arange(6, dtype="f").reshape(2, 3))


HOST = np.ones((2, 3), "f")
REFUSED = {                                                 # seen to fail with the real CuPy
    "NumPy array on the right": (TypeError, lambda x: x + HOST),
    "NumPy array on the left": (TypeError, lambda x: HOST * x),
    "NumPy array in place": (TypeError, lambda x: x.__iadd__(HOST)),
    "NumPy array in matmul": (TypeError, lambda x: x.T @ HOST),
    "NumPy array in dot": (TypeError, lambda x: x.T.dot(HOST)),
    "NumPy array in concatenate": (TypeError, lambda x: np.concatenate([x, HOST])),
    "NumPy mask in where": (TypeError, lambda x: np.where(HOST > 0, x, x)),
    "NumPy array assigned": (ValueError, lambda x: x.__setitem__(slice(None), HOST)),
    "NumPy array as out": (TypeError, lambda x: np.exp(x, out=HOST)),
    "asarray": (TypeError, np.asarray), "array": (TypeError, np.array), "ascontiguousarray": (TypeError, np.ascontiguousarray),
    "initial of max": (TypeError, lambda x: x.max(initial=0)), "initial of np.max": (TypeError, lambda x: np.max(x, initial=0)),
    "initial of sum": (TypeError, lambda x: x.sum(initial=0)), "where of exp": (TypeError, lambda x: np.exp(x, where=x > 0)),
    "minimum.reduce": (NotImplementedError, np.minimum.reduce), "logical_or.reduce": (NotImplementedError, np.logical_or.reduce),
    "maximum.reduceat": (NotImplementedError, lambda x: np.maximum.reduceat(x, x.astype("i"))),
    "a function that CuPy lacks": (TypeError, lambda x: np.spacing(x)), "eye like": (TypeError, lambda x: np.eye(2, like=x)),
    "repeats on the device": (ValueError, lambda x: np.repeat(x, x)), "lexsort of a tuple": (AttributeError, lambda x: np.lexsort((x, x))),
    "a 0-d integer as an index of a list": (TypeError, lambda x: [1, 2][x.astype("i").sum() * 0]),
    "writeable": (AttributeError, lambda x: x.flags.writeable), "hash": (TypeError, hash),
    "a list of numbers": (AttributeError, lambda x: __import__("cupy").sum([1.0])), "len of 0-d": (TypeError, lambda x: len(x.sum())),
    "addition of int64 at repeated places": (TypeError, lambda x: np.add.at(x.astype("l"), 0, 1)),
    "negative bool": (TypeError, lambda x: -(x > 0)), "truth of several": (ValueError, bool),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_cupy_refuses(name, x):
    kind, call = REFUSED[name]
    with pytest.raises(kind):
        call(x)


WAITS = {
    "item": lambda x: x.sum().item(), "get": lambda x: x.get(), "bool": lambda x: bool((x > 9).any()), "float": lambda x: float(x[0, 0]),
    "int": lambda x: int(x[0, 0]), "tolist": lambda x: x.tolist(), "nonzero": lambda x: np.nonzero(x), "unique": lambda x: np.unique(x),
    "boolean mask in getitem": lambda x: x[x > 2], "boolean mask in setitem": lambda x: x.__setitem__(x > 2, 0), "repr": repr, "str": str,
    "where": lambda x: np.where(x > 2), "flatnonzero": lambda x: np.flatnonzero(x), "median": np.median,
    "bincount": lambda x: np.bincount(x.ravel().astype("i")), "pickle": pickle.dumps,
}


@pytest.mark.parametrize("name", WAITS)
def test_counts_waits_and_forbids_them_in_a_strict_block(name, x, gpu):
    WAITS[name](x)
    assert dict(gpu.synchronisations) == {name: 1}
    with gpu.strict(), pytest.raises(Synchronised):
        WAITS[name](x)


def test_late_reads_and_uploads_are_no_waits(gpu, x):
    import cupy
    with gpu.strict():
        pinned = np.empty((2, 3), "f")
        x.get(out=pinned, blocking=False)
        event = cupy.cuda.Event()
        event.record()
        event.synchronize()
        assert (x[np.array([1, 0])][:, [0, 2]] == x[::-1, ::2]).shape == (2, 2)
    assert gpu.late_reads == {"get": 1, "Event.synchronize": 1} and gpu.uploads == {"getitem": 2}
    assert pinned[1, 2] == 5 and not gpu.synchronisations


def test_numbers_are_numpys_and_arrays_stay_on_the_device(gpu):
    a = np.random.default_rng(0).standard_normal((3, 4)).astype("f")
    x = gpu.array(a)
    for f in (lambda x: x * 2 - x / 3, lambda x: np.exp(x), lambda x: x.sum(axis=1), lambda x: x.max(), lambda x: x[1, 2], lambda x: x[..., 1:],
              lambda x: np.einsum("ij,kj->ik", x, x), lambda x: x.dot(x.T), lambda x: np.concatenate([x, x]), lambda x: np.zeros_like(x),
              lambda x: np.where(x > 0, x, 0), lambda x: np.float32(2) ** x, lambda x: x.argsort(axis=1), lambda x: np.linalg.norm(x, axis=1)):
        z = f(x)
        assert type(z) is gpu.ndarray and type(z).__module__ == "cupy"
        assert z.dtype == np.asarray(f(a)).dtype and np.array_equal(gpu.host(z), f(a))
    assert type(x.sum()) is gpu.ndarray and x.sum().shape == ()
    assert x.reshape(4, 3).base is not None and x.reshape(4, 3).data.ptr == x.data.ptr and copy.deepcopy(x).data.ptr != x.data.ptr


def test_indices_wrap_around_as_on_the_card(gpu, x):
    assert gpu.host(x[np.array([2, -3])]).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert gpu.host(x.take(np.array([5]), axis=1)).tolist() == [[2], [5]]


def test_two_values_for_one_place_are_refused(gpu, x):
    with pytest.raises(AssertionError, match="one place"):
        x[np.array([0, 0])] = x


def test_memory_limit(gpu):
    gpu.memory_limit(100)
    gpu.array(np.ones(25, "f"))
    with pytest.raises(MemoryError, match="Out of memory allocating 104 bytes"):
        gpu.array(np.ones(26, "f"))


def test_it_has_nothing_that_cupy_lacks(gpu):
    import cupy
    members = {name for name in dir(gpu.ndarray) if name[0] != "_"}
    assert members <= set(FACTS["method"]) | set(FACTS["attribute"])
    functions = {name for name, f in vars(cupy).items() if name[0] != "_" and callable(f) and not isinstance(f, type)}
    assert functions <= set(FACTS["function"]) | set(FACTS["ufunc"])


def test_the_facts_were_read(gpu):
    import cupy
    assert len(FACTS["function"]) > 250 and len(FACTS["ufunc"]) > 80 and "erf" in FACTS["special"]
    assert cupy.__version__.split(".")[0] >= "14" and not hasattr(cupy, "RawKernel") and not hasattr(cupy, "lexical")


def test_it_is_gone_afterwards():
    import sys
    assert getattr(sys.modules.get("cupy"), "ndarray", None) is not Standin.ndarray
