"""What flows through a model: each layer's outputs in numbers, dead units, histograms over time, and beside them the gradients."""
from typing import NamedTuple

import numpy as np

from .. import autodiff
from ..backend import to_host
from ..tensor import Tensor, no_grad
from .calls import listening
from .trial import aligned, axes, leaves_of, loss_of, parts, restored

ENDS = {"Tanh": (-1, 1), "Softsign": (-1, 1), "Hardtanh": (-1, 1), "Sigmoid": (0, 1), "Hardsigmoid": (0, 1)}


class ActivationStats(NamedTuple):
    """The outputs of one layer for one batch. Shares are of 1; mean, std, low and high are of the finite entries.

    `zeros`: share of entries that are 0. `dead`: share of units that give 0 for every sample (a unit is a feature, or a channel
    of a convolution). `saturated`: share of entries of a tanh or sigmoid within 1 % of an end, where its slope is nearly 0;
    nan for other layers. `bad`: share that is NaN or infinite.
    """
    kind: str
    shape: tuple
    mean: float
    std: float
    low: float
    high: float
    zeros: float
    dead: float
    saturated: float
    bad: float


class _Outputs:
    """A listener that keeps what every layer of a model gave: {name: [Tensor of each call]}, and whether channels come first."""

    def __init__(self, model):
        self.names, self.found, self.kinds, self.channels, self.first = leaves_of(model), {}, {}, {}, False

    def enter(self, module, inputs):
        pass

    def leave(self, module, output):
        kind, name = type(module).__name__, self.names.get(id(module))
        if kind.startswith(("Conv", "BatchNorm", "GroupNorm")):
            self.first = True
        elif kind in ("Linear", "Flatten", "Embedding", "LayerNorm", "RNN", "GRU", "LSTM"):
            self.first = False
        while isinstance(output, tuple) and output:         # a recurrent layer's output comes with its states, or packed
            output = output[0]
        if name is not None and isinstance(output, Tensor):
            self.found.setdefault(name, []).append(output)
            self.kinds[name], self.channels[name] = kind, self.first

    def stats(self):
        return {name: _stats(self.kinds[name], [to_host(t.data) for t in outputs], self.channels[name])
                for name, outputs in self.found.items()}


def _stats(kind, arrays, channels_first):
    flat = np.concatenate([a.reshape(-1) for a in arrays]).astype(np.float64)
    finite = flat[np.isfinite(flat)]
    if not flat.size:
        return ActivationStats(kind, arrays[0].shape, *[np.nan] * 8)
    units = [np.moveaxis(a, 1 if channels_first and a.ndim > 2 else -1, -1) if a.ndim else a.reshape(1) for a in arrays]
    dead = np.mean(np.all([(u == 0).reshape(-1, u.shape[-1]).all(axis=0) for u in units], axis=0)) if len({
        u.shape[-1] for u in units}) == 1 else np.nan
    saturated = np.nan
    if kind in ENDS:
        low, high = ENDS[kind]
        near = 0.01 * (high - low)
        saturated = float(((flat < low + near) | (flat > high - near)).mean())
    mean, std, low, high = (finite.mean(), finite.std(), finite.min(), finite.max()) if finite.size else [np.nan] * 4
    return ActivationStats(kind, arrays[0].shape, float(mean), float(std), float(low), float(high), float((flat == 0).mean()),
                           float(dead), saturated, 1 - finite.size / flat.size)


def activation_stats(model, *inputs):
    """{layer: ActivationStats} of one forward pass, in the order of the calls; a layer called several times counts as one.

    Layers are the modules without modules inside. The model stays in its mode, and all of it as it was: running statistics
    and random numbers too.

    >>> from tinygrad_lite import nn
    >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
    >>> net[0].weight.data[:], net[0].bias.data[:] = [[1], [1]], [0, -9]
    >>> relu = activation_stats(net, np.array([[1.0], [3.0]], "f"))["1"]
    >>> relu.mean, relu.high, relu.zeros, relu.dead                 # 1, 0 and 3, 0: the second unit never fires
    (1.0, 3.0, 0.5, 0.5)
    """
    outputs = _run(model, inputs)
    if not outputs.found:
        raise ValueError(f"activation_stats: {type(model).__name__}: no module inside it was called and gave a Tensor")
    return outputs.stats()


def _run(model, inputs):
    inputs, _ = parts("activation_stats", (*inputs, None))
    with restored(model), no_grad(), np.errstate(all="ignore"), listening(_Outputs(model)) as outputs:
        model(*inputs)
    return outputs


class DebugInfo(dict):
    """{layer: {"activation": ActivationStats, "gradient": mean |dL/d output|, "weights": mean |dL/d weight|}}, printed as a table."""

    def __init__(self, loss, rows):
        super().__init__(rows)
        self.loss = loss

    def __str__(self):
        header = "layer kind shape mean std low high zeros dead bad |dL/dy| |dL/dw|".split()
        rows = []
        for name, row in self.items():
            a = row["activation"]
            numbers = [f"{v:.3g}" for v in (a.mean, a.std, a.low, a.high)] + [f"{100 * v:.0f} %" for v in (a.zeros, a.dead, a.bad)]
            arrived = ["-" if v is None else f"{v:.2e}" for v in (row["gradient"], row["weights"])]
            rows.append([name, a.kind, "x".join(map(str, a.shape)), *numbers, *arrived])
        return f"loss {self.loss:.6g}\n" + aligned(header, rows)


def debug_info(model, loss_fn, batch):
    """Activations and gradients of every layer for one batch (input, ..., target), as a table to print; also a dict.

    |dL/dy| is the mean size of the gradient that reaches the layer's output, |dL/dw| that of its own parameters, "-" where none
    arrives. NaN and infinity are shown, not raised. Nothing of the model changes.

    >>> from tinygrad_lite import losses, nn
    >>> net = nn.Sequential(nn.Linear(1, 1), nn.Tanh())
    >>> net[0].weight.data[:], net[0].bias.data[:] = 0, 0
    >>> print(debug_info(net, losses.mse_loss, (np.ones((2, 1), "f"), np.ones((2, 1), "f"))))
    loss 1
    layer    kind  shape  mean  std  low  high  zeros   dead  bad   |dL/dy|   |dL/dw|
    0      Linear    2x1     0    0    0     0  100 %  100 %  0 %  1.00e+00  2.00e+00
    1        Tanh    2x1     0    0    0     0  100 %  100 %  0 %  1.00e+00         -
    """
    with restored(model), np.errstate(all="ignore"), listening(_Outputs(model)) as outputs:
        loss = loss_of("debug_info", model, loss_fn, batch)
        own = {name: [p for p in m.parameters() if p.requires_grad] for name, m in model.named_modules()}
        wanted = [t for ts in outputs.found.values() for t in ts] + [p for p in model.parameters() if p.requires_grad]
        wanted = [t for t in wanted if t.requires_grad]
        arrived = dict(zip(map(id, wanted), autodiff.grad(loss, wanted, allow_unused=True))) if loss.requires_grad else {}
    rows, stats = {}, outputs.stats()
    for name, a in stats.items():
        inside = own.get(name, own[""])
        rows[name] = {"activation": a, "gradient": _mean_size([arrived.get(id(t)) for t in outputs.found[name]]),
                      "weights": _mean_size([arrived.get(id(p)) for p in inside])}
    return DebugInfo(loss.item(), rows)


def _mean_size(gradients):
    flat = [abs(to_host(g.data)).reshape(-1) for g in gradients if g is not None]
    return float(np.concatenate(flat).mean(dtype=np.float64)) if flat else None


class ActivationHistory:
    """Histograms of every layer's outputs for the same inputs, time after time: see units die or saturate while the net learns.

    `record()` after a step, or give it to `fit` as a callback (every `every` steps). `counts[layer]` has a row a record and a
    column a bin; the outermost bins hold all beyond. `stats` has the numbers of each record, `dead(layer)` their dead shares.

    >>> from tinygrad_lite import nn
    >>> net = nn.Sequential(nn.Linear(1, 2), nn.Tanh())
    >>> history = ActivationHistory(net, np.array([[1.0], [2.0]], "f"), edges=[-1, 0, 1])
    >>> net[0].weight.data[:], net[0].bias.data[:] = [[1], [-1]], 0
    >>> history.record(); net[0].weight.data[1] = 1; history.record()
    >>> history.counts["1"]
    array([[2, 2],
           [0, 4]])
    """

    def __init__(self, model, *inputs, edges=np.linspace(-4, 4, 81), every=1):
        self.model, self.inputs, self.edges, self.every = model, inputs, np.asarray(edges, float), every
        self.rows, self.stats = {}, []

    @property
    def counts(self):
        return {name: np.array(rows) for name, rows in self.rows.items()}

    def record(self):
        outputs = _run(self.model, self.inputs)
        self.stats.append(outputs.stats())
        for name, tensors in outputs.found.items():
            values = np.concatenate([to_host(t.data).reshape(-1) for t in tensors])
            inner = np.clip(values[~np.isnan(values)], self.edges[0], self.edges[-1])
            self.rows.setdefault(name, []).append(np.histogram(inner, self.edges)[0])

    def on_step(self, run):
        if run.step % self.every == 0:
            self.record()

    def dead(self, layer):
        return [record[layer].dead for record in self.stats]

    def plot(self, layer, ax=None):
        """Time to the right, outputs upwards, dark where there are many (log scale)."""
        ax = axes(ax)
        counts = self.counts[layer]
        ax.imshow(np.log1p(counts.T), origin="lower", aspect="auto", cmap="magma_r", interpolation="nearest",
                  extent=(0, len(counts) * self.every, self.edges[0], self.edges[-1]))
        ax.set(title=f"{layer} ({self.stats[-1][layer].kind})", xlabel="step", ylabel="output")
        return ax
