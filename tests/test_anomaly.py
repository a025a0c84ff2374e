"""The non-finite hunter: what it finds, what it says, what it leaves alone; and that it is not there when it is not open."""
import json
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

import tinygrad_lite as tg
from examples.nonfinite_cases import CASES, hunt
from examples.nonfinite_cases import main as cases_main
from tinygrad_lite import autodiff, nn, tensor
from tinygrad_lite.diagnostics import LossGuard, NonFiniteError, check_inputs, detect_anomaly

ROOT = Path(__file__).parents[1]


def caught(f):
    """The error that f raises inside the block."""
    with pytest.raises(NonFiniteError) as error:
        with detect_anomaly():
            f()
    assert_closed()
    return error.value


def assert_closed():
    assert tensor.new is tg.Tensor.__new__
    assert tensor.sweep.__module__ == autodiff.sweep.__module__ == "tinygrad_lite.tensor" and autodiff.sweep is tensor.sweep
    assert nn.Module.__call__.__module__ == "tinygrad_lite.nn.module"


def leaf(*numbers, dtype=np.float32):
    return tg.Tensor(np.array(numbers, dtype), requires_grad=True)


# ---------------------------------------------------------------- forward

def test_forward_names_op_line_share_index_and_ranges():
    x = leaf(1.0, -2.0, 3.0, -4.0)
    error = caught(lambda: np.log(x + 0))               # this line
    assert (error.op, error.phase, error.share, error.index) == ("log", "forward", 0.5, (1,))
    assert error.line.startswith("tests/test_anomaly.py:") or "test_anomaly.py:" in error.line
    assert error.line.endswith("error = caught(lambda: np.log(x + 0))               # this line")
    for words in ("forward of log", "2 of 4 entries (50 %: 2 nan), the first at [1]", "input 0: float32[4], -4 .. 3", error.line):
        assert words in str(error)


def test_the_first_op_is_named_not_the_last():
    x = leaf(0.0, 1.0)
    assert caught(lambda: (np.log(x) * 2 + 1).sum()).op == "log"


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("quiet", [True, False])
def test_untracked_values_and_no_grad_are_looked_at(tracked, quiet):
    x = tg.Tensor([-1.0], requires_grad=tracked)

    def run():
        if quiet:
            with tg.no_grad():
                return np.sqrt(x)
        return np.sqrt(x)
    assert caught(run).op == "sqrt"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_dtype_and_0_d(dtype):
    error = caught(lambda: 1 / tg.Tensor(np.array(0, dtype), requires_grad=True))
    assert error.op == "div" and error.index == () and "it is inf" in str(error)


def test_an_input_that_is_broken_already_is_said_to_be():
    error = caught(lambda: tg.Tensor([np.nan, 1.0]).sum())
    assert error.inputs == ("input 0: float32[2], 1 .. 1, not finite: 1 of 2 entries (50 %: 1 nan), the first at [0]",)


def test_the_module_and_the_parameter_are_named():
    class Net(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)]

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)                            # the user's line
            return x
    net = Net()
    net.layers[2].bias.data[0] = np.nan
    error = caught(lambda: net(np.ones((4, 2), "f")))
    assert error.module == "layers.2 (Linear) of Net" and error.line.endswith("x = layer(x)                            # the user's line")
    assert "input 2, the parameter layers.2.bias: float32[1], none finite" in str(error)


def test_a_loss_function_outside_of_all_modules():
    net, x = nn.Linear(1, 1), np.ones((2, 1), "f")
    net.weight.data[:], net.bias.data[:] = 0, 0
    error = caught(lambda: np.log(net(x)).mean())
    assert (error.op, error.module) == ("log", None)


def test_fused_and_variadic_ops_are_seen():
    assert caught(lambda: tg.einsum("i,i->", leaf(np.inf, 1), leaf(0, 1))).op == "einsum"
    tg.einsum("i,i,i->", leaf(1), leaf(1), leaf(1))                         # another op of the same name was made since
    assert caught(lambda: tg.einsum("i,i->", leaf(np.inf, 1), leaf(0, 1))).op == "einsum"
    assert caught(lambda: tg.losses.cross_entropy(leaf([np.nan, 1.0]), np.array([0]))).op == "cross_entropy"
    assert caught(lambda: tg.concatenate([leaf(1.0), leaf(np.nan)])).op == "concatenate"


def test_an_op_made_inside_the_block_is_seen_and_works_after_it():
    with detect_anomaly():
        half = tensor.op("_half", lambda x: x / 2, lambda g, z, x: g / 2)
    x = leaf(3.0)
    half(x).sum().backward()
    assert x.grad == 0.5 and caught(lambda: half(leaf(np.inf))).op == "_half"


def test_masks_may_pass():
    x = leaf(1.0, 2.0, 3.0)
    with detect_anomaly():
        hidden = tg.where(np.array([True, False, True]), x, -np.inf)
        tg.softmax(hidden, 0)[0].backward()
    assert np.isfinite(x.grad).all() and x.grad[1] == 0
    assert caught(lambda: tg.where(np.array([True, False, True]), x, np.inf)).op == "where"


def test_other_errors_stay_what_they_are():
    with pytest.raises(ValueError, match="broadcast"), detect_anomaly():
        leaf(1.0, 2.0) + leaf(1.0, 2.0, 3.0)
    assert_closed()


# ---------------------------------------------------------------- backward

def test_backward_names_the_op_and_where_it_was_called():
    x = leaf(4.0, 0.0, 1.0)
    error = caught(lambda: np.sqrt(x).sum().backward())
    assert (error.op, error.phase, error.index) == ("sqrt", "backward", (1,)) and error.share == pytest.approx(1 / 3)
    assert "np.sqrt(x).sum().backward()" in error.line
    assert error.inputs == ("gradient that came in: float32[3], 1 .. 1", "result: float32[3], 0 .. 2", "input 0: float32[3], 0 .. 4")


def test_backward_names_the_module_of_its_forward():
    class Norm(nn.Module):
        def forward(self, x):
            return np.sqrt((x * x).sum(axis=1))
    net = nn.Sequential(nn.Linear(2, 2), Norm())
    net[0].weight.data[:], net[0].bias.data[:] = 0, 0
    error = caught(lambda: net(np.ones((3, 2), "f")).sum().backward())
    assert (error.op, error.phase, error.module) == ("sqrt", "backward", "1 (Norm) of Sequential")


def test_which_input():
    x, y = leaf(1.0), leaf(0.0)
    error = caught(lambda: (x ** y * 0 + y ** leaf(0.5)).sum().backward())
    assert error.phase == "backward" and "the gradient of input 0" in str(error) and error.op == "pow"


@pytest.mark.parametrize("create_graph", [True, False])
def test_grad_is_followed_too(create_graph):
    x = leaf(0.0)
    assert caught(lambda: tg.grad(np.sqrt(x).sum(), x, create_graph=create_graph)).phase == "backward"


def test_second_order():
    x = leaf(0.0, dtype=np.float64)

    def run():
        first = tg.grad((x ** 1.5).sum(), x, create_graph=True)
        tg.grad(first.sum(), x)
    assert caught(run).phase == "backward"


def test_a_forward_pass_from_before_the_block():
    with np.errstate(all="ignore"):
        loss = np.log(leaf(-1.0, 1.0)).sum()
    error = caught(loss.backward)
    assert (error.op, error.phase, error.line) == ("sum", "forward", None) and "before detect_anomaly() was opened" in str(error)


def test_a_gradient_from_outside():
    x = leaf(1.0, 2.0)
    error = caught(lambda: (x * 2).backward(np.array([np.nan, 1], "f")))
    assert error.op == "mul" and "gradient that came in: float32[2], 1 .. 1, not finite" in str(error)


def test_a_sum_over_uses_that_overflows():
    w = nn.Parameter(np.full(2, 0.001, np.float16), name="w")
    error = caught(lambda: (w * np.float16(60000) + w * np.float16(30000)).backward(np.array([1, 0], np.float16)))
    assert "the leaf w is finite use by use, the sum is not: 1 of 2" in str(error) and w.grad is None and w._pending is None


def test_sparse_gradients():
    table = nn.Embedding(5, 2, sparse=True)
    error = caught(lambda: (table(np.array([1, 3])) * np.ones((2, 2), "f")).backward(np.array([[1, 1], [np.inf, 1]], "f")))
    assert error.phase == "backward"
    with detect_anomaly():
        table(np.array([1, 1])).sum().backward()
    assert isinstance(table.weight.grad, tg.RowSparse)


# ---------------------------------------------------------------- what it leaves alone

def test_the_same_numbers_inside_and_outside():
    def grads():
        tg.seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.3), nn.LayerNorm(8), nn.Linear(8, 3))
        x = np.random.default_rng(0).standard_normal((5, 4)).astype("f")
        loss = tg.losses.cross_entropy(net(x), np.arange(5) % 3)
        loss.backward()
        return [loss.data, *[p.grad for p in net.parameters()]]
    plain = grads()
    with detect_anomaly():
        hunted = grads()
    for a, b in zip(plain, hunted):
        assert np.array_equal(a, b) and a.dtype == b.dtype


def test_the_graph_is_freed_as_usual():
    with detect_anomaly():
        y = (leaf(1.0) * 2).sum()
        y.backward()
        with pytest.raises(RuntimeError, match="freed"):
            y.backward()
        kept = (leaf(1.0) * 2).sum()
        kept.backward(retain_graph=True)
        kept.backward()


def test_blocks_nest_and_close_in_any_order_of_threads():
    inside, go = threading.Event(), threading.Event()
    seen = []

    def other():
        with detect_anomaly():
            inside.set()
            go.wait(10)
            try:
                np.log(leaf(-1.0))
            except NonFiniteError as error:
                seen.append(error.op)
    with detect_anomaly():
        with detect_anomaly():
            pass
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(10)
    with np.errstate(all="ignore"):
        assert np.isnan(np.log(leaf(-1.0)).data)            # this thread's block is closed, the other's is open
    go.set()
    thread.join()
    assert seen == ["log"]
    assert_closed()


def test_another_thread_is_not_hunted():
    found = []

    def other():
        with np.errstate(all="ignore"):
            x = leaf(0.0)
            np.sqrt(x).sum().backward()
            found.append(float(x.grad[0]))
    with detect_anomaly():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [np.inf]


def test_it_costs_nothing_when_it_is_closed():
    """Not 'little': the engine is the one that was there before, and no Tensor carries anything more."""
    engine = {name: getattr(tensor, name) for name in ("unary", "binary", "variadic", "sweep", "new", "op")}
    fields = set(vars(leaf(1.0) * 2))
    with detect_anomaly():
        assert tensor.sweep is not engine["sweep"] and set(vars(leaf(1.0) * 2)) == fields
    assert all(getattr(tensor, name) is f for name, f in engine.items()) and set(vars(leaf(1.0) * 2)) == fields
    assert_closed()


def test_fit_names_the_culprit_by_itself():
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    x = np.ones((8, 2), "f")
    x[5, 1] = np.inf
    with pytest.raises(FloatingPointError, match=r"(?s)forward of linear.*module: 0 \(Linear\) of Sequential"), np.errstate(all="ignore"):
        tg.training.fit(net, tg.losses.mse_loss, tg.data.DataLoader(x, np.ones((8, 1), "f"), batch_size=4),
                        tg.optim.SGD(net.parameters(), lr=0.1), epochs=1, show=False)


# ---------------------------------------------------------------- CheckFinite

def test_check_finite_lets_through_and_stops():
    x = leaf(1.0, 2.0)
    gate = nn.CheckFinite("the gate")
    (gate(x) * 3).sum().backward()
    assert np.array_equal(x.grad, [3, 3]) and repr(gate) == "CheckFinite('the gate')"
    for bad, at in (np.nan, 1), (np.inf, 0), (-np.inf, 2):
        values = np.ones(4, "f")
        values[at] = bad
        with pytest.raises(NonFiniteError, match=rf"'the gate': the value that passes is not finite: 1 of 4 .* the first at \[{at}\]") as error:
            gate(values)
        assert (error.value.share, error.value.index, error.value.phase) == (0.25, (at,), "forward")
    with pytest.raises(NonFiniteError, match="'the gate': the gradient that comes back is not finite: 1 of 2 entries") as error:
        gate(x).backward(np.array([np.nan, 0], "f"))
    assert error.value.phase == "backward" and error.value.share == 0.5


def test_check_finite_is_differentiable_twice_and_saves_nothing():
    gate = nn.CheckFinite("g")
    assert tg.gradcheck(lambda x: (gate(x) ** 3).sum(), [np.array([0.5, -2.0])], order=2)
    assert gate.state_dict() == {} and gate(np.zeros((0, 3))).shape == (0, 3)
    assert gate(np.array([1, 2])).data.tolist() == [1, 2]


# ---------------------------------------------------------------- the data, the loss, the cases

def test_check_inputs_names_the_row_of_a_shuffled_loader():
    x, y = np.zeros((20, 2, 3)), np.zeros(20)
    x[13, 1, 2] = np.nan
    loader = tg.data.DataLoader(x, y, batch_size=6, shuffle=True, seed=3)
    next(iter(loader))
    with pytest.raises(NonFiniteError, match=r"part 0, item \d \(row 13 of the data\) is not finite: 1 of 6 entries .* at \[1, 2\]"):
        check_inputs(loader)
    assert loader.epoch == 1


def test_check_inputs_of_any_batches():
    good = [(np.zeros((2, 2)), np.array([1, 2])), (np.ones((3, 2)), np.array([1, 2, 3]))]
    assert check_inputs(good) == 5 and check_inputs([np.ones(4)]) == 4
    with pytest.raises(NonFiniteError, match="batch 1, part 1, item 0 is not finite: it is inf"):
        check_inputs([good[0], (np.ones(2), np.array([np.inf, 1]))])
    with pytest.raises(ValueError, match="no batches"):
        check_inputs([])


def test_the_guard_warns_once_per_climb():
    guard = LossGuard(k=3)
    losses, told = [5, 4, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 2, 3, 4], []
    for loss in losses:
        if len(told) < 2 and loss in (6, 9):
            with pytest.warns(UserWarning, match=f"grew 3 steps running, from {loss - 3} to {loss}"):
                told.append(guard(loss))
        else:
            assert guard(loss) is False
    assert told == [True, True]
    with pytest.raises(ValueError, match="at least 1"):
        LossGuard(0)


def test_the_guard_rides_along_in_fit():
    w = nn.Parameter([1.0])
    run = types.SimpleNamespace(history=types.SimpleNamespace(steps={"loss": [1.0]}))
    guard = LossGuard(k=1)
    guard.on_step(run)
    run.history.steps["loss"].append(2.0)
    with pytest.warns(UserWarning, match="from 1 to 2"):
        guard.on_step(run)
    assert w.grad is None


@pytest.mark.parametrize("name", CASES)
def test_a_cause_is_found_and_its_cure_is_one(name):
    case = CASES[name]
    said = hunt(case.wrong)
    assert said and hunt(case.right) is None and all(words.strip() for words in case[:3])
    expected = {"gradients that blow up": "it is inf", "a rate that is NaN": "ValueError: Poly: max_iter", "weights of an absent class": "cross_entropy",
                "infogain on what is not a probability": "forward of log", "a faulty input": "row 7 of the data",
                "average pooling, stride 5, kernel 3": "forward of div", "batch norm on a constant": "module: BatchNorm1d",
                "batch norm on a batch of one": "needs at least two", "an uninitialised bias": "the parameter bias",
                "float16 overflow": "16 inf", "0 / 0 in a sparse autoencoder": "forward of div"}
    assert expected[name] in said
    assert_closed()


def test_the_cases_script(capsys):
    cases_main(["--only", "float16", "--json"])
    line = json.loads(capsys.readouterr().out)
    assert line["case"] == "float16 overflow" and line["cured"] and "pow" in line["said"]
    with pytest.raises(SystemExit):
        cases_main(["--only", "nothing like it"])
    run = subprocess.run([sys.executable, "-W", "error", str(ROOT / "examples" / "nonfinite_cases.py"), "--only", "bias"], capture_output=True, text=True,
                         cwd=ROOT)
    assert run.returncode == 0 and "cured         yes" in run.stdout, run.stderr
