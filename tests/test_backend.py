"""Where arrays live: on the stand-in for CuPy mixtures are refused, moves are whole, memory and seeds are told; and without a GPU."""
import sys
import types
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, backend, losses, nn, random
from tinygrad_lite.nn import functional as F

MIXED = r"arrays on the host \(NumPy\) and on the GPU \(CuPy\) cannot be mixed: move one with to_device\(x\)"
A, RNG = np.arange(6, dtype="f").reshape(2, 3), np.random.default_rng(0)
MIXTURES = {
    "Tensor and Tensor": lambda d, h: Tensor(d) + Tensor(h), "Tensor and array": lambda d, h: Tensor(d) * h,
    "array and Tensor": lambda d, h: h - Tensor(d), "host Tensor and device array": lambda d, h: Tensor(h) / d,
    "matmul": lambda d, h: Tensor(d) @ Tensor(h.T), "linear": lambda d, h: F.linear(Tensor(d), Tensor(h)),
    "where": lambda d, h: tg.where(h > 1, Tensor(d), 0.0), "maximum": lambda d, h: np.maximum(Tensor(d), h),
    "concatenate": lambda d, h: tg.concatenate([Tensor(d), Tensor(h)]), "comparison": lambda d, h: Tensor(d) > h,
    "layer": lambda d, h: nn.Linear(3, 2)(Tensor(d)), "recurrent layer": lambda d, h: nn.GRU(3, 2)(Tensor(d)),
    "loss": lambda d, h: losses.mse_loss(Tensor(d), h), "cross-entropy of shares": lambda d, h: losses.cross_entropy(Tensor(d), h),
    "norm": lambda d, h: F.layer_norm(Tensor(d), (3,), Tensor(h[0])), "xp_of": lambda d, h: backend.xp_of(d, h),
    "einsum": lambda d, h: tg.einsum("ij,ij->i", Tensor(d), Tensor(h)), "clamp": lambda d, h: tg.clamp(Tensor(d), h),
    "backward": lambda d, h: (Tensor(d, requires_grad=True) * 2).backward(h),
    "conv": lambda d, h: F.conv1d(Tensor(d)[None], Tensor(h)[None, :, :2]),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_is_refused_in_one_sentence(name, gpu):
    with pytest.raises(TypeError, match=MIXED):
        MIXTURES[name](gpu.array(A), A)


def test_two_gpus_are_not_mixed_either(gpu, monkeypatch):
    a, b = gpu.array(A), gpu.array(A)
    monkeypatch.setattr(gpu.ndarray, "device", property(lambda x: types.SimpleNamespace(id=int(x is b))))
    with pytest.raises(TypeError, match=r"arrays on the GPUs 0, 1 cannot be mixed: make all of them on one, inside `with cupy.cuda.Device"):
        backend.xp_of(a, b)


def test_integers_and_constants_may_stay_on_the_host(gpu):
    """Ids, classes and their weights, masks of attention: small, made on the host, and moved."""
    x, y = Tensor(gpu.array(A), requires_grad=True), np.array([2, 0])
    e = nn.Embedding(5, 3).to("cuda")
    for z in (losses.cross_entropy(x, y, weight=[1.0, 2.0, 3.0]), losses.multi_margin_loss(x, y), e(np.array([[1, 1]])), x[np.array([1, 1])],
              tg.gather(x, 1, np.array([[0], [1]])), F.scaled_dot_product_attention(x, x, x, attn_mask=np.tri(2, dtype=bool))):
        assert isinstance(z.data, gpu.ndarray)
        z.sum().backward()
    assert isinstance(x.grad, gpu.ndarray) and not gpu.synchronisations


def test_what_the_host_would_refuse_is_nan_on_the_device(gpu):
    scores = Tensor(gpu.array(A))
    bad, good = gpu.array(np.array([3, 0])), gpu.array(np.array([1, 0]))
    with gpu.strict():
        found = [(loss(scores, bad), loss(scores, good)) for loss in
                 (losses.cross_entropy, losses.nll_loss, losses.focal_loss, losses.multiclass_hinge_loss, losses.multi_margin_loss)]
        found += [(losses.binary_cross_entropy(scores, gpu.array(A * 0)), losses.binary_cross_entropy(scores / 9, gpu.array(A * 0)))]
        e = nn.Embedding(5, 3)._convert(lambda a: gpu.array(a))
        found += [(e(gpu.array(np.array([5, 1])))[0].sum(), e(gpu.array(np.array([4, 1]))).sum())]
    for wrong, right in found:
        assert np.isnan(gpu.host(wrong.data)) and np.isfinite(gpu.host(right.data))


# --- moving
def net():
    tg.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Embedding(3, 4, sparse=True))


def arrays_of(model):
    grads = [g.values if isinstance(g, tg.RowSparse) else g for g in (p.grad for p in model.parameters()) if g is not None]
    return [p.data for p in model.parameters()] + grads + [b for _, b in model.named_buffers()]


def test_a_model_moves_there_and_back(gpu):
    model = net()
    model[0](Tensor(A)).sum().backward()
    model[3](np.array([0, 2])).sum().backward()
    before = [a.copy() for a in arrays_of(model)]
    assert model.to("cuda") is model and all(isinstance(a, gpu.ndarray) for a in arrays_of(model))
    assert model.to("cuda").state_dict()["0.weight"].tobytes() == before[0].tobytes()
    assert all(np.array_equal(a, b) and type(a) is np.ndarray for a, b in zip(arrays_of(model.to("cpu")), before))


def test_nothing_is_moved_by_half(gpu):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 400), nn.BatchNorm1d(400))
    gpu.memory_limit(1000)
    with pytest.raises(MemoryError, match=r"to_device: 6,400 bytes do not fit on the GPU: Out of memory.*Use a smaller batch"):
        model.to("cuda")
    assert all(type(a) is np.ndarray for a in arrays_of(model))
    with pytest.raises(ValueError, match="device: got 'gpu', expected 'cpu' or 'cuda'"):
        model.to("gpu")


def test_an_op_that_runs_out_of_memory_says_what_to_do(gpu):
    x = Tensor(gpu.array(A))
    gpu.memory_limit(100)
    with pytest.raises(MemoryError, match=r"einsum\(.*Out of memory.*float16 storage.*zero_grad"):
        tg.einsum("ij,kl->ijkl", x, x)


def test_states_are_loaded_where_the_model_is(gpu):
    model, state = net().to("cuda"), {k: v + 1 for k, v in net().state_dict().items()}
    model.load_state_dict(state)
    assert np.array_equal(gpu.host(model[0].weight.data), state["0.weight"]) and isinstance(model[0].weight.data, gpu.ndarray)
    model.load_state_dict({k: gpu.array(v) for k, v in state.items()})
    assert np.array_equal(gpu.host(model[1].running_mean), state["1.running_mean"])


def test_leaves_that_share_a_gradient_get_their_own(gpu):
    a, b = Tensor(gpu.array(A), requires_grad=True), Tensor(gpu.array(A), requires_grad=True)
    (a + b).backward(gpu.array(A))
    a.grad *= 2
    assert np.array_equal(gpu.host(b.grad), A)


def test_gradients_of_rows(gpu):
    ids, values = np.array([2, 0, 2, 1]), RNG.normal(size=(4, 3)).astype("f")
    host, there = tg.RowSparse(ids, values, (5, 3)), tg.RowSparse(gpu.array(ids), gpu.array(values), (5, 3))
    with gpu.strict():
        dense, twice, scaled = there.to_dense(), (there + there).to_dense(), (there * 0.5).to_dense()
    for found, expected in ((dense, host.to_dense()), (twice, (host + host).to_dense()), (scaled, (host * 0.5).to_dense())):
        np.testing.assert_allclose(gpu.host(found), expected, rtol=1e-6)
    for ordered in (True, False):
        once, expected = there.coalesce(ordered), host.coalesce(ordered)
        assert np.array_equal(gpu.host(once.indices), expected.indices)
        np.testing.assert_allclose(gpu.host(once.values), expected.values, rtol=1e-6)


def test_sequences_are_padded_where_they_are(gpu):
    rnn, parts = nn.utils.rnn, [A, A[:1]]
    there = rnn.pad_sequence([Tensor(gpu.array(a)) for a in parts], padding_value=-1.0)
    assert np.array_equal(gpu.host(there.data), rnn.pad_sequence(parts, padding_value=-1.0).data)
    for lengths in ([2, 1], gpu.array(np.array([2, 1]))):
        packed = rnn.pack_padded_sequence(there, lengths)
        again, sizes = rnn.pad_packed_sequence(packed, padding_value=7.0)
        assert sizes.tolist() == [2, 1] and gpu.host(again.data)[1, 1].tolist() == [7, 7, 7]


def test_a_loader_of_arrays_on_the_device_keeps_them_there(gpu):
    loader = tg.data.DataLoader(gpu.array(A), gpu.array(np.array([0, 1])), batch_size=1, shuffle=True, seed=0)
    for x, y in loader:
        assert isinstance(x.data, gpu.ndarray) and isinstance(y, gpu.ndarray)
    assert not gpu.synchronisations


def test_a_file_of_weights_is_written_from_the_device(gpu, tmp_path):
    model = net().to("cuda")
    nn.save_safetensors(tmp_path / "w.safetensors", {k: p.data for k, p in model.named_parameters()})
    assert np.array_equal(nn.load_safetensors(tmp_path / "w.safetensors")["0.weight"], gpu.host(model[0].weight.data))


# --- random numbers
def test_a_seed_counts_on_every_device(gpu):
    x = Tensor(gpu.array(np.ones((50, 50), "f")))
    host = Tensor(np.ones((50, 50), "f"))

    def draw(seed):
        tg.seed(seed)
        return [gpu.host(F.dropout(x, 0.3).data), F.dropout(host, 0.3).data, gpu.host(F.dropout(x, 0.3).data), nn.Linear(3, 3).weight.data]
    assert all(map(np.array_equal, draw(1), draw(1))) and not any(map(np.array_equal, draw(1), draw(2)))
    first, _, second, _ = draw(1)
    assert not np.array_equal(first, second)


def test_initial_weights_are_the_same_on_every_device(gpu):
    tg.seed(0)
    w = nn.Linear(3, 4).weight.data
    tg.seed(0)
    p = nn.Parameter(gpu.array(w * 0))
    nn.init.kaiming_uniform_(p, a=5 ** 0.5)
    assert np.array_equal(gpu.host(p.data), w)


def test_who_goes_on_and_who_resumes_draw_the_same(gpu):
    x = Tensor(gpu.array(np.ones((50, 50), "f")))
    tg.seed(0)
    F.dropout(x)
    state = random.get_state()
    on = gpu.host(F.dropout(x).data)
    random.set_state(state)
    assert np.array_equal(gpu.host(F.dropout(x).data), on)


# --- derivatives by value
def test_gradcheck_and_derivatives_on_the_device(gpu):
    x = gpu.array(np.array([0.5, 2.0, 3.0]))
    assert tg.gradcheck(lambda x: tg.log(x) * x, [x], order=2)
    value, slope = tg.value_and_grad(lambda x: (x * x).sum())(x)
    assert value == 13.25 and np.array_equal(gpu.host(slope), [1, 4, 6]) and isinstance(slope, gpu.ndarray)
    assert np.array_equal(gpu.host(tg.hvp(lambda x: (x ** 3).sum(), x, x).data), 6 * np.array([0.25, 4, 9]))
    assert np.array_equal(tg.jacobian(lambda x: x * x, x), np.diag([1.0, 4.0, 6.0]))


# --- devices
def test_the_stand_in_is_a_device(gpu):
    assert backend.available() == ["cpu", "cuda"] and backend.obstacle() is None
    x = backend.to_device(A)
    assert backend.on_gpu(x) and backend.to_device(x) is x and np.array_equal(backend.to_host(x), A)
    assert backend.xp_of(x, 2.0, np.float32(1)).__name__ == "cupy" and type(backend.to_device(x, "cpu")) is np.ndarray
    used, reserved, free, total = backend.memory()
    assert 0 <= used <= reserved and 0 < free <= total


def fake_cupy(monkeypatch, driver=13000, built=12090, count=1, error=None):
    """A CuPy that is installed and not of use."""
    class CUDARuntimeError(RuntimeError):
        pass

    def devices():
        if error:
            raise CUDARuntimeError(error)
        return count

    def asarray(x):
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    module = types.ModuleType("cupy")
    module.__spec__ = ModuleSpec("cupy", None)
    module.asarray = asarray
    module.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(
        driverGetVersion=lambda: driver, runtimeGetVersion=lambda: built, getDeviceCount=devices, CUDARuntimeError=CUDARuntimeError))
    monkeypatch.setitem(sys.modules, "cupy", module)


@pytest.mark.parametrize("options, message", [
    (dict(driver=0), "there is no NVIDIA driver: install it, until `nvidia-smi` lists a GPU"),
    (dict(driver=12020, built=13000), "built for CUDA 13, the driver is of CUDA 12: pip install cupy-cuda12x instead"),
    (dict(error="cudaErrorNoDevice"), r"reports no GPU that can be used \(cudaErrorNoDevice\): see `nvidia-smi`"),
    (dict(count=0), "sees no GPU: see `nvidia-smi` and CUDA_VISIBLE_DEVICES"),
], ids=["no driver", "an old driver", "no device", "hidden"])
def test_an_obstacle_is_told_with_the_way_out(options, message, monkeypatch):
    fake_cupy(monkeypatch, **options)
    assert backend.available() == ["cpu"]
    for call in (lambda: backend.to_device(A), lambda: nn.Linear(2, 2).to("cuda"), backend.memory):
        with pytest.raises(RuntimeError, match=message):
            call()


def test_without_cupy(monkeypatch):
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert backend.available() == ["cpu"]
    with pytest.raises(ImportError, match=r"needs CuPy, which is not installed: pip install 'tinygrad-lite\[gpu\]'"):
        backend.to_device(A)
    with pytest.raises(RuntimeError, match="needs CuPy"):
        backend.memory()


def test_a_cupy_that_does_not_load(monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert backend.available() == ["cpu"] and "libcudart.so.13" in backend.obstacle()


@pytest.mark.parametrize("value, device", [(None, "cpu"), ("", "cpu"), ("cpu", "cpu"), ("cuda", "cuda")])
def test_scripts_are_told_the_device_by_the_environment(value, device, monkeypatch):
    monkeypatch.delenv("TINYGRAD_LITE_BACKEND", raising=False) if value is None else monkeypatch.setenv("TINYGRAD_LITE_BACKEND", value)
    assert backend.default_device() == device


def test_an_unknown_device_in_the_environment(monkeypatch):
    monkeypatch.setenv("TINYGRAD_LITE_BACKEND", "tpu")
    with pytest.raises(ValueError, match="TINYGRAD_LITE_BACKEND: got 'tpu', expected 'cpu' or 'cuda'"):
        backend.default_device()
