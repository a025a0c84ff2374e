"""Gradient flow over time: every layer's gradient, its steps against its weights, blocked layers, and each loss term's part."""
import math
import warnings
from typing import NamedTuple

import numpy as np

from .. import autodiff
from ..backend import to_host
from ..rowsparse import RowSparse
from .gradient_flow import gradient_flow
from .trial import axes


class Flow(NamedTuple):
    """One layer at one step. `ratio` is |step| / |weight|: 1e-3 is usual; `dead` the share of outputs (rows) with gradients of 0."""
    mean: float
    norm: float
    ratio: float
    dead: float


class FlowHistory:
    """Records {layer: Flow} step by step: call `record()` after each `optimizer.step()`, or give it to `fit` as a callback.

    A layer whose mean gradient stays below `below` times that of the best layer for `steps` records running (or gets none at
    all) is blocked: it is warned of once, and named in `blocked`.

    >>> import tinygrad_lite as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(1, 1), tg.nn.ReLU(), tg.nn.Linear(1, 1))
    >>> net[0].bias.data[:], history, opt = -9, FlowHistory(net, steps=2), tg.optim.SGD(net.parameters(), lr=0.1)
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     for _ in range(2):
    ...         net(np.ones((4, 1), "f")).sum().backward(); stepped = opt.step(); history.record()
    >>> print(told[0].message)
    gradient flow: 0, 2 are blocked: the mean |gradient| was below 0.001 of the largest layer's for 2 steps running
    >>> history.layers["0"][-1]
    Flow(mean=0.0, norm=0.0, ratio=0.0, dead=1.0)
    """

    def __init__(self, model, steps=20, below=1e-3):
        if steps < 1 or not 0 <= below < 1:
            raise ValueError(f"FlowHistory: got steps={steps}, below={below}, expected steps of at least 1 and a share of 1")
        self.model, self.steps, self.below = model, steps, below
        self.layers, self.low, self.blocked, self.before = {}, {}, [], self._weights()

    def _weights(self):
        return {name.removesuffix(".weight"): p.data.copy() for name, p in self.model.named_parameters()}

    def record(self):
        flow, now = gradient_flow(self.model), self._weights()
        grads = {name.removesuffix(".weight"): p.grad for name, p in self.model.named_parameters()}
        for name, mean in flow.items():
            g = grads[name].to_dense() if isinstance(grads[name], RowSparse) else grads[name]
            self.layers.setdefault(name, []).append(Flow(mean, _norm(g), _ratio(self.before.get(name), now[name]), _dead(g)))
        self.before = now
        self._look_for_blocked(flow)

    def _look_for_blocked(self, flow):
        largest = max([v for v in flow.values() if math.isfinite(v)], default=0.0)
        new = []
        for name, mean in flow.items():
            self.low[name] = self.low.get(name, 0) + 1 if not mean > self.below * largest else 0
            if self.low[name] == self.steps and name not in self.blocked:
                new.append(name)
        if new:
            self.blocked += new
            warnings.warn(f"gradient flow: {', '.join(new)} {'is' if len(new) == 1 else 'are'} blocked: the mean |gradient| was "
                          f"below {self.below:g} of the largest layer's for {self.steps} steps running", stacklevel=3)

    def on_step(self, run):
        self.record()

    def plot(self, what="mean", ax=None):
        """A line a layer, from blue at the input to red at the output, on a log axis; `what` is a field of Flow."""
        import matplotlib
        ax = axes(ax)
        colors = matplotlib.colormaps["coolwarm"](np.linspace(0, 1, len(self.layers)))
        for (name, rows), color in zip(self.layers.items(), colors):
            values = np.array([getattr(row, what) for row in rows])
            ax.plot(np.where(values > 0, values, np.nan), color=color, label=name + (" (blocked)" if name in self.blocked else ""))
        ax.set(yscale="log", xlabel="step", ylabel={"mean": "mean |gradient|", "ratio": "|step| / |weight|"}.get(what, what))
        ax.legend(fontsize="small")
        return ax


def _norm(g):
    return math.nan if g is None else float(np.linalg.norm(to_host(g).astype(np.float64)))


def _ratio(before, now):
    if before is None or not (size := np.linalg.norm(to_host(before))):
        return math.nan
    return float(np.linalg.norm(to_host(now - before)) / size)


def _dead(g):
    return math.nan if g is None else float((to_host(g).reshape(len(g) if g.ndim else 1, -1) == 0).all(axis=1).mean())


def gradient_shares(terms, params):
    """{term: its share of the gradient} for a loss that is a sum: |d term / d params| over the sum of all terms' norms.

    `terms`: {name: Tensor with one number}, each with its weight in it already. `params`: Tensors, or a model. A term with a
    share near 0 is not being learnt, whatever its value. No `.grad` is touched, and the graphs stay for backward().

    >>> import tinygrad_lite as tg
    >>> w = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> gradient_shares({"fit": (w * w).sum() / 2, "decay": 0.25 * (w * w).sum()}, [w])
    {'fit': 0.6666666666666666, 'decay': 0.3333333333333333}
    """
    params = list(params.parameters()) if hasattr(params, "parameters") else list(params)
    params = [p for p in params if p.requires_grad]
    norms = {}
    for name, term in terms.items():
        if term.size != 1:
            raise ValueError(f"gradient_shares: {name!r} is of shape {term.shape}, expected one number: reduce it with .mean()")
        found = autodiff.grad(term, params, retain_graph=True, allow_unused=True) if term.requires_grad else []
        norms[name] = math.sqrt(sum(_norm(g.data) ** 2 for g in found if g is not None))
    total = sum(norms.values())
    return {name: n / total if total else 0.0 for name, n in norms.items()}
