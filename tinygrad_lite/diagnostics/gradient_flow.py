"""Does the gradient reach every layer? The mean size of each weight's gradient, first layer to last, as numbers and bars.

Call after `loss.backward()`. Bars that shrink towards the input are a gradient that vanishes, bars that grow one that
explodes, and a layer without a bar learns nothing.
"""
import math

import numpy as np

from ..rowsparse import RowSparse
from .trial import axes


def gradient_flow(model):
    """{layer: mean |dL/dw| of its weight}, in the model's order; biases are left out.

    A layer goes by its parameter's name without ".weight" ("fc1", "lstm.weight_hh_l0"). Three values speak of trouble:
    0.0, the gradient arrived as zeros; nan, none arrived (`grad` is None); inf, one arrived that holds a nan or an inf.
    Frozen parameters (requires_grad=False) are left out: nothing is meant to arrive there.

    >>> from tinygrad_lite import nn
    >>> net = nn.Sequential({"used": nn.Linear(2, 1), "unused": nn.Linear(2, 1)})
    >>> net.used(np.array([[1.0, -3.0]], "f")).sum().backward()
    >>> gradient_flow(net)
    {'used': 2.0, 'unused': nan}
    """
    flow = {}
    for name, p in model.named_parameters():
        if p.requires_grad and not name.rpartition(".")[2].startswith("bias"):
            flow[name.removesuffix(".weight")] = math.nan if p.grad is None else _mean_size(p.grad)
    return flow


def _mean_size(g):
    """Mean |g| over all entries; those a row-sparse gradient does not hold count as zeros."""
    if isinstance(g, RowSparse):
        size = float(abs(g.coalesce().values).sum(dtype=np.float64)) / math.prod(g.shape)
    else:
        size = float(abs(g).mean(dtype=np.float64))
    return size if math.isfinite(size) else math.inf


def plot_gradient_flow(flow_or_model, ax=None, **bar):
    """Bars of `gradient_flow`, one a layer; returns the Axes. Takes a model, or the dict that gradient_flow gave.

    Bars are translucent: draw several steps on one Axes, and how the flow changes shows as shades. The axis becomes
    logarithmic where layers differ more than tenfold. A layer without a bar says why: "0", "no grad" or "not finite".
    `bar` (label, color, ...) goes to `Axes.bar`. Rotated labels need room: call `fig.tight_layout()` at the end.

    >>> ax = plot_gradient_flow({"conv.weight": 0.5, "fc.weight": 0.001, "unused": float("nan")})
    >>> [t.get_text() for t in ax.get_xticklabels()], ax.get_yscale(), [t.get_text() for t in ax.texts]
    (['conv', 'fc', 'unused'], 'log', ['no grad'])
    """
    flow = flow_or_model if isinstance(flow_or_model, dict) else gradient_flow(flow_or_model)
    ax = axes(ax)
    heights = np.array(list(flow.values()), float)
    shown = (heights > 0) & np.isfinite(heights)
    ax.bar(np.arange(len(flow)), np.where(shown, heights, 0.0), **{"alpha": 0.3, "color": "C0", **bar})
    drawn = [patch.get_height() for patch in ax.patches if patch.get_height() > 0]      # by earlier calls too
    if drawn and max(drawn) > 10 * min(drawn):
        ax.set_yscale("log")
        ax.set_ylim(10 ** math.floor(math.log10(min(drawn) / 2)), 2 * max(drawn))       # the smallest bar has height, too
    for i in np.flatnonzero(~shown):
        why = "0" if heights[i] == 0 else "no grad" if math.isnan(heights[i]) else "not finite"
        ax.text(i, 0.02, why, transform=ax.get_xaxis_transform(), ha="center", color="C3")
    ax.set_xticks(np.arange(len(flow)), [name.removesuffix(".weight") for name in flow], rotation="vertical")
    ax.set_xlim(-0.6, len(flow) - 0.4)
    ax.set(title="Gradient flow", xlabel="layer", ylabel="mean |gradient|")
    return ax
