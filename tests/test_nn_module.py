"""Module: the tree and its names, saving and loading, dtypes, copies, and .safetensors files in both directions."""
import copy
import json
import pickle
import struct

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, nn
from tinygrad_lite.nn import Module, Parameter


class Net(Module):
    """Every place that a part can stand in."""

    def __init__(self):
        self.first = nn.Linear(2, 3)
        self.layers = [nn.Linear(3, 3), (nn.ReLU(), nn.Linear(3, 3, bias=False))]
        self.heads = {"a": nn.Linear(3, 1), "b": [Parameter(np.ones(2, np.float32))]}
        self.tied = self.layers[0].weight
        self.again = self.first
        self.scale = Parameter(2.0)                     # 0-d
        self.register_buffer("count", np.zeros((), np.int64))
        self.register_buffer("scratch", np.ones(2, np.float32), persistent=False)
        self.register_buffer("off", None)
        self.names, self.sizes = ["first", "second"], (1, 2)

    def forward(self, x):
        x = self.layers[1][0](self.layers[0](self.first(x)))
        return self.heads["a"](self.layers[1][1](x)) * self.scale


NAMES = ["tied", "scale", "heads.b.0", "first.weight", "first.bias", "layers.0.bias", "layers.1.1.weight", "heads.a.weight", "heads.a.bias"]


def test_names():
    net = Net()
    assert sorted(n for n, _ in net.named_parameters()) == sorted(NAMES)       # once each, by the first name
    assert len({id(p) for p in net.parameters()}) == len(NAMES)
    assert set(net.state_dict()) == {*NAMES, "layers.0.weight", "again.weight", "again.bias", "count"}     # under every name
    assert [n for n, _ in net.named_children()] == ["first", "layers.0", "layers.1.0", "layers.1.1", "heads.a", "again"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "layers.0", "layers.1.0", "layers.1.1", "heads.a"]
    assert [n for n, _ in net.named_buffers()] == ["count", "scratch"]
    visited = []
    assert net.apply(visited.append) is net
    assert visited[-1] is net and len(visited) == 6 == len(list(net.modules()))


def test_names_are_pytorchs(torch):
    def make(n):
        return n.Sequential(n.Linear(2, 3), n.BatchNorm1d(3), n.Sequential(n.ReLU(), n.Embedding(4, 2)), n.LayerNorm(3))
    ours, theirs = make(nn), make(torch.nn)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    for p in theirs.parameters():
        p.data += 1
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])           # PyTorch's own state dict, as it comes
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert np.array_equal(p.data, q.detach().numpy())


def test_modes_freezing_and_zero_grad():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5)))
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    net(Tensor(np.ones((1, 2), "f"))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(Tensor(np.ones((1, 2), "f"))).requires_grad
    assert net.requires_grad_()(Tensor(np.ones((1, 2), "f"))).requires_grad


def test_state_dict_copies():
    net = Net()
    state = net.state_dict()
    for p in net.parameters():
        p.data += 1
    assert not any(np.array_equal(state[n], p.data) for n, p in net.named_parameters())
    net.load_state_dict(state)
    state["scale"][...] = 7
    assert net.scale.item() == 2 and all(np.array_equal(a, state[n]) for n, a in net.state_dict().items() if n != "scale")


def test_loading_casts_to_the_modules_dtype():
    net = Net()
    net.load_state_dict({n: a.astype(np.float64) for n, a in net.state_dict().items()})
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    net.load_state_dict({n: Tensor(a) for n, a in net.state_dict().items()})


BROKEN = {
    "missing": (lambda s: s.pop("scale"), r"missing: \['scale'\], unexpected: \[\]"),
    "unexpected": (lambda s: s.update(extra=np.ones(2)), r"unexpected: \['extra'\] .strict=False"),
    "shape": (lambda s: s.update({"heads.a.weight": np.ones((3, 1))}), r"heads.a.weight: got float64\[3, 1\], expected float32\[1, 3\]"),
    "kind": (lambda s: s.update({"heads.a.bias": np.array(["x"])}), r"heads.a.bias: got <U1\[1\]"),
}


@pytest.mark.parametrize("change, message", BROKEN.values(), ids=BROKEN)
def test_a_failed_load_changes_nothing(change, message):
    net = Net()
    before, state = net.state_dict(), {k: v + 1 for k, v in net.state_dict().items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        net.load_state_dict(state)
    assert all(np.array_equal(a, before[n]) for n, a in net.state_dict().items())


def test_not_strict_loads_what_fits():
    net = Net()
    before = net.state_dict()
    assert net.load_state_dict({"scale": np.array(5.0), "extra": np.ones(1)}, strict=False) == (
        [n for n in before if n != "scale"], ["extra"])
    assert net.scale.item() == 5 and all(np.array_equal(a, before[n]) for n, a in net.state_dict().items() if n != "scale")


def test_num_batches_tracked_comes_and_goes():
    bn = nn.BatchNorm1d(2)
    state = bn.state_dict()
    old = {k: v for k, v in state.items() if k != "num_batches_tracked"}        # files of old PyTorch versions lack it
    assert bn.load_state_dict(old) == ([], [])
    bn.load_state_dict({**old, "num_batches_tracked": np.array(7)})
    assert bn.state_dict()["num_batches_tracked"] == 7 and bn.num_batches_tracked.dtype == np.int64
    plain = nn.BatchNorm1d(2, track_running_stats=False)
    assert plain.load_state_dict({"weight": np.ones(2), "bias": np.zeros(2), "num_batches_tracked": np.array(7)}) == ([], [])


def test_double_float_and_to():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Embedding(4, 2, sparse=True))
    net[0](Tensor(np.ones((2, 2), "f"))).sum().backward()
    net[2](np.array([1, 1])).sum().backward()
    assert net.double() is net
    assert {p.dtype for p in net.parameters()} == {np.dtype(float)} and net[0].weight.grad.dtype == float
    assert net[2].weight.grad.dtype == float and net[2].weight.grad.indices.dtype == np.int64
    assert net[1].running_mean.dtype == float and net[1].num_batches_tracked.dtype == np.int64
    assert net.float().to("cpu") is net and {p.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    assert isinstance(net[2].weight.grad, tg.RowSparse) and net[2].weight.grad.to_dense()[1].tolist() == [2, 2]
    with pytest.raises(ValueError, match="device: got 'tpu', expected 'cpu' or 'cuda'"):
        net.to("tpu")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_are_whole_and_apart(duplicate):
    net = nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(0.3), nn.BatchNorm1d(3))
    net.tied = net[0].weight
    opt = tg.optim.Adam(net.parameters())               # its first step moves the parameters into views of one block
    x, w = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("f")
    (net(Tensor(x[:, :2])) * w).sum().backward()
    opt.step()
    twin = duplicate(net)
    assert twin.tied is twin[0].weight is not net.tied and twin[1].negative_slope == 0.3
    assert all(np.array_equal(a, twin.state_dict()[n]) for n, a in net.state_dict().items())
    (twin(Tensor(x[:, :2])) * w).sum().backward()
    before = net.state_dict()
    tg.optim.SGD(twin.parameters(), lr=1.0).step()
    assert all(np.array_equal(a, before[n]) for n, a in net.state_dict().items())
    assert not np.array_equal(twin[0].bias.data, net[0].bias.data)


def test_repr():
    assert repr(nn.Linear(2, 3)) == "Linear(2, 3, bias=True)" and repr(nn.ReLU(inplace=True)) == "ReLU()"
    assert repr(nn.Embedding(4, 2, sparse=True)) == "Embedding(4, 2, sparse=True)" and repr(nn.Dropout(0.1)) == "Dropout(p=0.1)"
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Softplus(2.0), nn.Flatten()))) == (
        "Sequential(\n  (0): Linear(2, 3, bias=True)\n  (1): Sequential(\n    (0): Softplus(beta=2.0, threshold=20.0)\n"
        "    (1): Flatten(start_dim=1, end_dim=-1)\n  )\n)")


def test_sequential_and_list():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    x = Tensor(np.ones((1, 2), "f"))
    assert np.array_equal(net(x).data, c(b(a(x))).data) and len(net) == 3 and list(net) == [a, b, c]
    assert net[-1] is c and list(net[:2]) == [a, b] and list(net[1:].state_dict()) == ["1.weight", "1.bias"]
    named = nn.Sequential({"in": a, "out": c})
    assert list(named.state_dict()) == ["in.weight", "in.bias", "out.weight", "out.bias"] and named[0] is a
    many = nn.ModuleList([a]).append(c)
    assert len(many) == 2 and many[1] is c and list(many) == [a, c] and list(many.state_dict())[2] == "1.weight"
    with pytest.raises(TypeError, match="ModuleList defines no forward"):
        many(x)


def test_parameters():
    assert Parameter([1, 2]).dtype == np.float32 and Parameter(np.ones(2)).dtype == np.float64 and Parameter(3.0).shape == ()
    p = Parameter([1.0], name="w", requires_grad=False)
    assert p.name == "w" and not p.requires_grad and isinstance(p, Tensor)
    with pytest.raises(TypeError, match="expected a float"):
        Parameter(np.array([1, 2]))


# --- safetensors
ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "half": np.array([0.5, -2], np.float16), "double": np.array(1.5),
          "ids": np.array([[-1, 2**40]]), "bytes": np.arange(3, dtype=np.uint8), "mask": np.array([True, False]),
          "empty": np.empty((0, 3), np.float32), "name/with \"signs\" é": np.array([-1], np.int32),
          "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "strided": np.arange(10, dtype=np.int16)[::3],
          "unsigned": np.array([2**32 - 1], np.uint32), "big": np.array([2**64 - 1], np.uint64), "byte": np.array([-5], np.int8)}


def equal(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array) and found[name].shape == array.shape, name


def test_safetensors_round_trip(tmp_path):
    nn.save_safetensors(tmp_path / "w.safetensors", ARRAYS)
    found = nn.load_safetensors(tmp_path / "w.safetensors")
    equal(found, ARRAYS)
    found["a"][0, 0] = 9                                # one's own arrays, which can be written to
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    nn.save_safetensors(tmp_path / "w.safetensors", {"t": Parameter([1.0]), "swapped": np.array([1.5], ">f8")})
    equal(nn.load_safetensors(tmp_path / "w.safetensors"), {"t": np.ones(1, "f"), "swapped": np.array([1.5])})


def test_safetensors_package_reads_ours_and_we_read_its(tmp_path):
    package = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed; `python -m pip install safetensors`")
    arrays = {n: np.ascontiguousarray(a) if a.ndim else a for n, a in ARRAYS.items()}
    nn.save_safetensors(tmp_path / "ours", ARRAYS)
    equal(package.load_file(tmp_path / "ours"), arrays)
    package.save_file(arrays, tmp_path / "theirs", metadata={"format": "np"})
    equal(nn.load_safetensors(tmp_path / "theirs"), arrays)


def test_a_pytorch_model_goes_through_a_file(tmp_path, torch):
    package = pytest.importorskip("safetensors.torch", reason="safetensors is not installed; `python -m pip install safetensors`")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    theirs(torch.randn(8, 3))
    package.save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    ours.load_state_dict(nn.load_safetensors(tmp_path / "w.safetensors"))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("f")
    np.testing.assert_allclose(ours.eval()(Tensor(x)).data, theirs.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
    ours[0].weight.data += 1
    nn.save_safetensors(tmp_path / "back.safetensors", ours.state_dict())
    theirs.load_state_dict(package.load_file(tmp_path / "back.safetensors"))
    assert np.array_equal(theirs[0].weight.detach().numpy(), ours[0].weight.data)
    package.save_file({"b": torch.tensor([1.5, -3.14159, float("inf")], dtype=torch.bfloat16)}, tmp_path / "bf16.safetensors")
    found = nn.load_safetensors(tmp_path / "bf16.safetensors")["b"]
    assert found.dtype == np.float32 and found.tolist() == [1.5, -3.140625, float("inf")]


def damaged(header, body=b"\0" * 8, size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


DAMAGED = {
    "too short": (b"\1\0\0", "3 bytes, too short"), "no end": (damaged({}, b"", size=100), "claims 100 bytes, the file has 2"),
    "huge": (damaged({}, size=2**63), "claims"), "no JSON": (damaged(b"{nothing}"), "the header is not JSON"),
    "no text": (damaged(b"\xff\xfe\x00"), "the header is not JSON"), "deep": (damaged(b"[" * 100_000), "the header is not JSON"),
    "list": (damaged([1]), "the header is a list"), "number": (damaged({"w": 3}), "w: got 3, expected dtype"),
    "no shape": (damaged({"w": {"dtype": "F32", "data_offsets": [0, 8]}}), "w: got"), "three": (damaged(entry(offsets=[0, 4, 8])), "w: got"),
    "fraction": (damaged(entry(offsets=[0, 8.0])), "w: got"), "negative shape": (damaged(entry(shape=[-2])), "w: got"),
    "negative start": (damaged(entry(offsets=[-8, 0])), "w: got"), "text": (damaged(entry(shape="ab")), "w: got"),
    "dtype": (damaged(entry("F8_E4M3")), "w has dtype F8_E4M3, expected one of F64, F32"), "list dtype": (damaged(entry([1])), "w has dtype"),
    "beyond": (damaged(entry(shape=[3], offsets=[0, 12])), "lies at bytes 0..12 of 8"), "size": (damaged(entry(shape=[1])), "lies at bytes 0..8 of 8"),
    "reversed": (damaged(entry(shape=[0], offsets=[8, 0])), "lies at bytes 8..0"), "overflow": (damaged(entry(shape=[2**33, 2**33])), "lies at"),
}


@pytest.mark.parametrize("data, message", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused(data, message, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"w.safetensors: .*{message}"):
        nn.load_safetensors(path)


def test_every_cut_is_noticed(tmp_path):
    path = tmp_path / "w.safetensors"
    nn.save_safetensors(path, {"a": np.arange(3.0), "b": np.arange(2, dtype=np.int8)})
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError):
            nn.load_safetensors(path)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.safetensors"
    nn.save_safetensors(path, {"a": np.ones(2)})
    before = path.read_bytes()
    for bad in (np.ones(2, complex), np.array(["text"]), np.array([None])):
        with pytest.raises(ValueError, match="b has dtype .*, expected one of float64"):
            nn.save_safetensors(path, {"a": np.zeros(2), "b": bad})
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
