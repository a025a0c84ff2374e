"""Gradient flow: the numbers by hand, gradients that are absent, zero, sparse or not finite, and the bars."""
import math
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite.diagnostics import gradient_flow, plot_gradient_flow


class Net(tg.nn.Module):
    """One of each kind of name that a parameter can have."""

    def __init__(self):
        self.fc1 = tg.nn.Linear(2, 3)
        self.blocks = [tg.nn.Linear(3, 3), tg.nn.Linear(3, 3, bias=False)]
        self.weight_ih_l0 = tg.nn.Parameter(np.ones((2, 2), np.float32))
        self.bias_ih_l0 = tg.nn.Parameter(np.ones(2, np.float32))


def with_gradients(model, value=1.0):
    for p in model.parameters():
        p.grad = np.full_like(p.data, value)
    return model


@pytest.fixture
def ax():
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_numbers_by_hand():
    net = tg.nn.Sequential({"first": tg.nn.Linear(2, 1), "relu": tg.nn.ReLU(), "last": tg.nn.Linear(1, 1)})
    net.first.weight.data[:], net.first.bias.data[:], net.last.weight.data[:] = [[1, 2]], 3, [[-4]]
    net(tg.Tensor([[1.0, -1.0], [2.0, 1.0]])).sum().backward()
    # before the relu: 1 - 2 + 3 = 2 and 2 + 2 + 3 = 7, both pass; dL/dfirst = -4 * (1 + 2, -1 + 1), dL/dlast = 2 + 7
    assert gradient_flow(net) == {"first": 6.0, "last": 9.0}


def test_names_in_order_and_no_biases():
    assert list(gradient_flow(with_gradients(Net()))) == ["weight_ih_l0", "fc1", "blocks.0", "blocks.1"]
    assert set(gradient_flow(with_gradients(Net(), -0.5)).values()) == {0.5}


def test_a_gradient_that_never_arrived_is_nan():
    model = with_gradients(Net())
    model.fc1.weight.grad = None
    flow = gradient_flow(model)
    assert math.isnan(flow["fc1"]) and flow["blocks.0"] == 1.0


def test_a_layer_that_gets_zeros_is_zero():
    net = tg.nn.Sequential({"first": tg.nn.Linear(2, 2), "dead": tg.nn.ReLU(), "last": tg.nn.Linear(2, 1)})
    net.first.bias.data[:] = -100                       # the relu lets nothing through, nor back
    net(tg.Tensor([[1.0, 1.0]])).sum().backward()
    assert gradient_flow(net) == {"first": 0.0, "last": 0.0}


def test_a_frozen_layer_is_left_out():
    model = with_gradients(Net())
    model.fc1.requires_grad_(False)
    assert "fc1" not in gradient_flow(model)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_inf(bad):
    model = with_gradients(Net())
    model.fc1.weight.grad[0, 0] = bad
    assert gradient_flow(model)["fc1"] == math.inf


def test_large_and_small_gradients_keep_their_digits():
    model = Net()
    for p, value in zip((model.fc1.weight, model.weight_ih_l0), (3e38, 1e-40)):       # sums of the first overflow in float32
        p.grad = np.full_like(p.data, value)
    flow = gradient_flow(model)
    assert flow["fc1"] == pytest.approx(3e38) and flow["weight_ih_l0"] == pytest.approx(1e-40, rel=1e-4)


def test_a_sparse_gradient_counts_the_rows_it_leaves_out():
    table = tg.nn.Embedding(10, 2, sparse=True)
    (table(np.array([3, 3, 7])) * np.array([1.0, -2.0], np.float32)).sum().backward()
    assert isinstance(table.weight.grad, tg.RowSparse)
    assert gradient_flow(table) == {"weight": pytest.approx((2 + 4 + 1 + 2) / 20)}


def test_bars(ax):
    flow = {"fc1.weight": 0.5, "fc2.weight": 0.25, "gru.weight_hh_l0": 0.125}
    assert plot_gradient_flow(flow, ax) is ax
    assert [bar.get_height() for bar in ax.patches] == list(flow.values())
    assert {bar.get_alpha() for bar in ax.patches} == {0.3}
    labels = ax.get_xticklabels()
    assert [label.get_text() for label in labels] == ["fc1", "fc2", "gru.weight_hh_l0"]
    assert {label.get_rotation() for label in labels} == {90}
    assert ax.get_yscale() == "linear" and ax.get_ylim()[0] == 0 and not ax.texts
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title()


def test_the_axis_is_logarithmic_where_layers_differ(ax):
    plot_gradient_flow({"a": 1.0, "b": 0.5}, ax, label="early", color="C2", alpha=0.6)
    assert ax.get_yscale() == "linear" and ax.patches[0].get_alpha() == 0.6
    plot_gradient_flow({"a": 1.0, "b": 1e-6}, ax, label="late")             # looks at the bars that are there already
    low, high = ax.get_ylim()
    assert ax.get_yscale() == "log" and 0 < low < 1e-6 and high > 1
    plot_gradient_flow({"a": 100.0, "b": 50.0}, ax)
    assert ax.get_ylim()[0] == low and ax.get_ylim()[1] > 100
    assert len(ax.patches) == 6
    assert ax.get_legend_handles_labels()[1] == ["early", "late"]


def test_a_layer_without_a_bar_says_why(ax):
    plot_gradient_flow({"good": 1.0, "dead": 0.0, "unused": math.nan, "broken": math.inf}, ax)
    assert [(text.get_position()[0], text.get_text()) for text in ax.texts] == [(1, "0"), (2, "no grad"), (3, "not finite")]
    ax.figure.canvas.draw()


def test_a_model_draws_on_axes_of_its_own():
    import matplotlib.pyplot as plt
    axes = plot_gradient_flow(with_gradients(Net(), 2.0))
    assert [bar.get_height() for bar in axes.patches] == [2.0] * 4
    plt.close(axes.figure)


def test_nothing_to_draw(ax):
    plot_gradient_flow({}, ax)
    plot_gradient_flow({"unused": math.nan}, ax)
    assert [text.get_text() for text in ax.texts] == ["no grad"]


def test_the_package_leaves_matplotlib_alone():
    code = "import sys, tinygrad_lite as tg; tg.diagnostics.gradient_flow; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr
