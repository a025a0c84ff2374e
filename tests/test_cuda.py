"""Every CUDA form against the plain form that defines it: its text runs on the host (see cuda_on_host.py), and nvcc compiles it."""
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_lite import kernels
from tinygrad_lite.backend import on_gpu, to_device, to_host
from tinygrad_lite.kernels import cuda, gather, norms, softmax
from tests.cuda_on_host import NAMES, TEXTS, HostModule, joined
from tests.device_table import ALL, differences, run
from tests.test_kernels import ARGUMENTS, LIFTED, LOOPS, scalars_of

ROOT = Path(__file__).parents[1]
FORMS = {**{name: k for name, k in LOOPS.items() if k.cuda is not None}, **cuda.FORMS}
DTYPES = {"float16": 8e-3, "float32": 1e-5, "float64": 1e-13}           # and how far a result may be off, relative to 1 + its size
WALKS = "_rnn _rnn_back _gru _gru_back _lstm _lstm_back".split()        # their steps stay on the host
needs_gpp = pytest.mark.skipif(shutil.which("g++") is None, reason="gpu: no g++ here, which runs CUDA texts on the host")
pytestmark = pytest.mark.skipif(kernels.PLAIN, reason="TINYGRAD_LITE_KERNELS=numpy: CUDA forms are off; unset it")


class Device:
    """Where forms run: how an array gets there and back, and what watches that nobody waits."""

    def __init__(self, array, host, strict):
        self.array, self.host, self.strict = array, host, strict


@pytest.fixture
def device(gpu, monkeypatch):
    """The stand-in, with g++ for a CUDA compiler."""
    sys.modules["cupy"].RawModule = HostModule
    monkeypatch.setattr(HostModule, "backwards", False)
    monkeypatch.setattr(HostModule, "launched", set())
    return Device(gpu.array, gpu.host, gpu.strict)


def _softmax(dtype, rng):
    for shape in [(1, 1), (5, 3), (2, 3, 40), (300,), (2, 700), (0, 4)]:
        yield [(3 * rng.normal(size=shape)).astype(dtype), -1]
    yield [np.array([[-np.inf, 0, 60], [-np.inf, -np.inf, 1]], dtype), 1]


def _softmax_rule(dtype, rng):
    for x, axis in _softmax(dtype, rng):
        z = rng.dirichlet(np.ones(x.shape[-1]), x.shape[:-1]).astype(dtype)
        yield [rng.normal(size=x.shape).astype(dtype), z, z, axis]


def _log_softmax_rule(dtype, rng):
    for g, z, _, axis in _softmax_rule(dtype, rng):
        z = np.log(np.maximum(z, 1e-3))
        yield [g, z, z, axis]


FOR_FORMS = {**ARGUMENTS, "_softmax": _softmax, "_log_softmax": _softmax, "_softmax_rule": _softmax_rule,
             "_log_softmax_rule": _log_softmax_rule}


def both_ways():
    """The threads of a block take their turns forwards, then backwards: what reads before a barrier shows in one of them."""
    for HostModule.backwards in (False, True):
        yield


def apart(a, b):
    """The largest difference of two results, relative to 1 + their size. What is not finite must be the same."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    same = (a == b) | (a != a) & (b != b)
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0, np.abs(a - b) / (1 + np.abs(b)))
        return float(np.where(off < np.inf, off, np.inf).max(initial=0))       # inf where one of them is not finite


def widened(args, dtype):
    """The arguments in float64, where the plain form says what is right."""
    with np.errstate(invalid="ignore"):         # results that nobody has written yet
        return [a.astype(np.float64 if a.dtype == dtype else a.dtype) if isinstance(a, np.ndarray) else a for a in args]


def compare(name, dtype, device, seeds=1):
    """(comparisons, largest difference) of a form with its plain form in float64, over its table of arguments."""
    kernel, count, worst = FORMS[name], 0, 0.0
    for seed in range(seeds):
        for args in FOR_FORMS[name](np.dtype(dtype).type, np.random.default_rng(seed)):
            exact = widened(args, dtype)
            stays = 1 if name in WALKS else 0
            there = [*args[:stays], *[device.array(a) if isinstance(a, np.ndarray) else a for a in args[stays:]]]
            with np.errstate(all="ignore"):
                expected = kernel.plain(*exact)
            refused = name == "_cross_entropy" and expected[1] >= 0         # a class out of range: see below
            if refused or not kernel.cuda.serves(*there):
                continue
            with device.strict():
                value = kernel(*there)
            pairs = [(there[i], exact[i]) for i in range(len(args)) if on_gpu(there[i])]
            if value is not None:
                pairs += zip(value, expected) if isinstance(value, tuple) else [(value, expected)]
            for ours, plain in pairs:
                worst, count = max(worst, apart(device.host(ours) if on_gpu(ours) else ours, plain)), count + 1
    return count, worst


def compare_update(name, dtype, device):
    """The same for an optimizer's formula: the kernel for any place, for four numbers at once, and for rows."""
    rule, rng, count, worst = LIFTED[name], np.random.default_rng(0), 0, 0.0
    real = np.float32 if dtype == "float16" else dtype
    for shape, start in [((0,), 0), ((1,), 0), ((1000,), 0), ((1003,), 0), ((1003,), 1), ((7, 3), 0), ((5, 1), 0)]:
        block = rng.normal(size=(2 + len(rule.states), start + np.prod(shape)))
        block[2:] = abs(block[2:]) + 0.1                # states are sums of squares and counts
        block[0, ::13] = 0
        arrays = [row.astype(dtype if i < 2 else real) for i, row in enumerate(block)]
        exact = [a[start:].reshape(shape).astype(np.float64) for a in arrays]
        g, *there = [device.array(a)[start:].reshape(shape) for a in arrays]
        h, rows = scalars_of(rule, rng), rng.permutation(shape[0])[:3]
        if len(shape) == 1:
            with device.strict():
                assert rule.cuda(g, there[0], there[1:], h)
            rule.plain(exact[0], exact[1], exact[2:], h)
        else:
            few, moved = g[:len(rows)], device.array(rows)
            with device.strict():
                assert rule.cuda(few, there[0], there[1:], h, rows=moved)
            rule.rows(rows, exact[0][:len(rows)].copy(), exact[1], exact[2:], h)
        for ours, plain in zip(there, exact[1:]):
            worst, count = max(worst, apart(device.host(ours), plain)), count + 1
    return count, worst


@needs_gpp
@pytest.mark.parametrize("name", FORMS)
def test_a_form_agrees_with_the_plain_form(name, device):
    for dtype, allowed in DTYPES.items():
        for _ in both_ways():
            count, worst = compare(name, dtype, device)
            assert count >= 4 and worst <= allowed, (dtype, count, worst)
    assert HostModule.launched


@needs_gpp
@pytest.mark.parametrize("name", LIFTED)
def test_an_optimizer_in_cuda_agrees_with_its_formula(name, device):
    for dtype, allowed in DTYPES.items():
        for _ in both_ways():
            count, worst = compare_update(name, dtype, device)
            assert count >= 7 and worst <= allowed, (dtype, count, worst)
    assert HostModule.launched == {name, f"{name}_wide", f"{name}_rows"}


@needs_gpp
@pytest.mark.parametrize("name", LIFTED)
def test_an_update_that_is_not_ok_writes_nothing(name, device):
    rule, states = LIFTED[name], [device.array(np.ones(9)) for _ in LIFTED[name].states]
    p, h = device.array(np.ones(9)), scalars_of(rule, np.random.default_rng(1))
    for ok in (False, True):                # decided on the device
        with device.strict():
            rule(p * 2, p, states, h, device.array(np.array(ok)))
        assert all([(device.host(a) == 1).all() for a in (p, *states)]) != ok


@needs_gpp
def test_every_function_of_every_text_was_compared(device):
    for name in FORMS:
        compare(name, "float32", device)
    compare("_scatter_rows", "float16", device)         # halves take the sorted one
    assert HostModule.launched == {f for k in FORMS.values() for f in NAMES.findall(k.cuda.text)}
    every = [f for text in TEXTS for f in NAMES.findall(text)]
    assert len(set(every)) == len(every) >= 90          # one name, one function


def test_every_form_has_arguments():
    assert len(FORMS) >= 17 and set(FORMS) <= set(FOR_FORMS) and all(k.cuda is None or n in FORMS for n, k in LOOPS.items())


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="gpu: no nvcc here, which compiles the CUDA texts")
@pytest.mark.parametrize("card", ["sm_80", "sm_90"])
def test_nvcc_compiles_every_text(card, tmp_path):
    source = "#include <cuda_fp16.h>\n" + "".join(f"namespace {d} {{ {joined(d, TEXTS)} }}\n" for d in DTYPES)
    (tmp_path / "texts.cu").write_text(source.replace('extern "C" ', ""))       # one name for three dtypes
    done = subprocess.run(["nvcc", "-ptx", f"-arch={card}", "-Xcicc", "-O0", "texts.cu", "-o", "texts.ptx"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "texts.ptx").read_text().count(".visible .entry") == 3 * sum(len(NAMES.findall(text)) for text in TEXTS)


# --- what forms do that plain forms need not
@needs_gpp
def test_a_row_that_does_not_exist_moves_nothing(device):
    rule, p, rows = LIFTED["sgd_sgd_loop"], np.ones((3, 2), "f"), np.array([7, 1, -1, 3])
    there, h = device.array(p), dict(lr=1.0, direction=1.0, l2=0.0, keep=1.0)
    rule.rows(device.array(rows), device.array(np.ones((4, 2), "f")), there, [], h)
    np.testing.assert_array_equal(device.host(there), [[1, 1], [0, 0], [1, 1]])


@needs_gpp
def test_a_class_out_of_range_makes_nan_and_no_wait(device):
    x, y = np.zeros((3, 4), "f"), np.array([1, 7, -100])
    with device.strict():
        total, losses, grad = softmax.cross_entropy(device.array(x), device.array(y))
    assert np.isnan(device.host(total)) and np.isnan(device.host(grad)).any(axis=1).tolist() == [False, True, False]
    assert np.isnan(device.host(losses)).tolist() == [False, True, False]


@needs_gpp
def test_sums_in_one_order_where_asked(device, monkeypatch):
    rng = np.random.default_rng(0)
    ids, rows = rng.integers(-3, 3, 500), rng.normal(size=(500, 2)).astype("f")
    for ordered, name in (False, "add_rows"), (True, "add_sorted_rows"):
        monkeypatch.setattr(cuda, "DETERMINISTIC", ordered)
        table, expected = device.array(np.zeros((3, 2), "f")), np.zeros((3, 2))
        gather.scatter_rows(table, device.array(ids), device.array(rows))
        np.add.at(expected, ids, rows)
        np.testing.assert_allclose(device.host(table), expected, rtol=1e-5)
        assert name in HostModule.launched
    many = device.array(np.full(5000, 0.01, np.float16))    # added one by one to 40, none of them would count
    total = device.array(np.full(1, 40, np.float16))
    gather.scatter_rows(total, device.array(np.zeros(5000, int)), many)
    assert abs(device.host(total)[0] - 90) < 0.1


@needs_gpp
def test_a_norm_stays_on_the_device_and_cannot_overflow(device):
    with device.strict():
        total = norms.sum_of_squares(device.array(np.full(4, 1e30, "f")))
    assert on_gpu(total) and total.dtype == np.float64 and abs(device.host(total) / 4e60 - 1) < 1e-6


@needs_gpp
def test_what_a_form_does_not_serve_takes_the_plain_form(device):
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("f")
    strided = device.array(x)[:, ::2]
    value = LOOPS["relu_gradient"](strided, strided)
    np.testing.assert_array_equal(device.host(value), np.maximum(x[:, ::2], 0))
    assert not HostModule.launched
    LOOPS["relu_gradient"](device.array(x), device.array(x))
    assert HostModule.launched == {"relu_gradient"}


WRONG = """
extern "C" __global__ void parted(float *x) { if (threadIdx.x < 7) __syncthreads(); else { *x = 1;
    __syncthreads(); } }
extern "C" __global__ void no_barrier(T *x) {
    __shared__ T part[32];
    part[threadIdx.x] = T(A(threadIdx.x));
    x[threadIdx.x] = part[31 - threadIdx.x];
}
"""


@needs_gpp
def test_the_host_runner_tells_what_a_card_would_not(device):
    """Else the tests above could pass with rubbish."""
    x, size = device.array(np.zeros(32, "f")), ((1,), (32,))
    with pytest.raises(AssertionError, match="parted: threads wait at different barriers"):
        cuda.function(WRONG, "parted", x)(*size, (x,))
    with pytest.raises(AssertionError, match=r"got \('\*f8',\), expected \['\*f4'\]"):
        cuda.function(WRONG, "parted", x)(*size, (x.astype(np.float64),))
    right = []
    for _ in both_ways():
        cuda.function(WRONG, "no_barrier", x)(*size, (x,))
        right.append((device.host(x) == np.arange(32)[::-1]).all())
    assert right == [False, False]


REACHED = dict(relu="relu_gradient", softmax="soft_rows_back", log_softmax="soft_rows", Embedding="add_rows", EmbeddingBag="bag_sums",
               LayerNorm="columns_back", GroupNorm="rows_back", BatchNorm2d="channels_back", cross_entropy="cross_entropy_rows",
               soft_nearest_neighbor_loss="pull_shares", RNN="rnn_step_back", GRU="gru_step_back", LSTM="lstm_step_back")


@needs_gpp
@pytest.mark.filterwarnings("ignore")       # of the mean of nothing and the like
@pytest.mark.parametrize("name, function", REACHED.items())
def test_ops_find_their_forms(name, function, device, monkeypatch):
    """And give the host's values and gradients: the first rows of the table that the plain forms run whole."""
    for row in [row for (_, n), rows in ALL.items() if n == name for row in rows][:6]:
        found = run(row, np.float32, to_device)
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "PLAIN", True)       # spares the host's loops their compilation
            expected = run(row, np.float32)
        assert not list(differences(row, np.float32, expected, found, to_host))
    assert function in HostModule.launched


@needs_gpp
def test_the_rows_of_the_benchmark_for_a_gpu_run(device, gpu, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    for name in [n for n in sys.modules if n.split(".")[0] == "bench"]:
        monkeypatch.delitem(sys.modules, name)
    sys.modules["cupyx"].allow_synchronize = lambda allowed: gpu.strict()
    from bench import device as room
    from bench.table import ROWS
    for name, n in dict(WORDS=50, LONG=4, ITEMS=3).items():
        monkeypatch.setattr(room.recurrent, name, n)
    rows = {name: row for name, row in ROWS.items() if row.room == "device"}
    assert len(rows) >= 9 and all("copy" in row.others for name, row in rows.items() if name.endswith("bandwidth"))
    for name, row in rows.items():          # a warning, of a step that waits, would be an error
        for step in row.steps([room.OursThere()], 2e-3).values():
            step()
    assert {"adam_adam_loop_wide", "lstm_step", "lstm_step_back", "cross_entropy_rows", "add_rows"} <= HostModule.launched
