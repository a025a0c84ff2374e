"""Snapshot ensembles: one training whose rate restarts, a copy of the model kept at the end of each cycle."""
import copy

from ..nn import Module, ModuleList
from ..nn.functional import softmax
from ..schedules import Snapshot
from .fit import fit


def snapshot_ensemble(model, loss_fn, train, optimizer, epochs, cycles=5, keep=None, **options):
    """Train for `epochs` epochs in `cycles` cosine cycles of the rate, and return the `Ensemble` of the models at their ends.

    lr = lr0 / 2 (cos(pi (t mod C) / C) + 1), C = ceil(steps / cycles), lr0 = each group's rate today, which it has again
    afterwards. `keep`: only the last so many. `options` go to `fit`; the ensemble's `.history` is fit's. Huang et al. 2017.

    >>> import numpy as np, tinygrad_lite as tg
    >>> tg.seed(0)
    >>> x = np.random.default_rng(0).normal(size=(40, 2)).astype("f")
    >>> train, model = tg.data.DataLoader(x, (x[:, 0] > 0).astype(int), batch_size=8), tg.nn.Linear(2, 2)
    >>> optimizer = tg.optim.SGD(model.parameters(), lr=0.5)
    >>> ensemble = snapshot_ensemble(model, tg.losses.cross_entropy, train, optimizer, epochs=4, cycles=2, show=False)
    >>> len(ensemble.models), [round(ensemble.history.steps["lr"][t], 3) for t in (0, 9, 10)], optimizer.lr
    (2, [0.5, 0.012, 0.5], 0.5)
    """
    steps = epochs * len(train) // options.get("accumulate", 1)
    if not 1 <= cycles <= steps:
        raise ValueError(f"snapshot_ensemble: cycles: got {cycles}, expected 1..{steps}, the number of steps")
    first, rates = optimizer.t, [group["lr"] for group in optimizer.param_groups]
    keeper = Keeper(-(-steps // cycles), steps, keep or cycles)
    try:
        for group, lr in zip(optimizer.param_groups, rates):
            cycle = Snapshot(lr(first) if callable(lr) else lr, steps, cycles)
            group["lr"] = cycle if first == 0 else lambda t, cycle=cycle: cycle(t - first)
        history = fit(model, loss_fn, train, optimizer, epochs, **{**options, "callbacks": [*options.get("callbacks", ()), keeper]})
    finally:
        for group, lr in zip(optimizer.param_groups, rates):
            group["lr"] = lr
    ensemble = Ensemble([copy.deepcopy(model) for _ in keeper.states], history)
    for twin, state in zip(ensemble.models, keeper.states):
        twin.load_state_dict(state)
    return ensemble


class Keeper:
    """The callback that keeps the model at the end of each cycle, and of the last one wherever it ends."""

    def __init__(self, cycle, steps, keep):
        self.cycle, self.steps, self.keep, self.states = cycle, steps, keep, []

    def on_step(self, run):
        if run.step % self.cycle == 0 or run.step == self.steps:
            self.states = [*self.states, run.model.state_dict()][-self.keep:]

    def state_dict(self):
        return {"states": self.states}

    def load_state_dict(self, saved):
        self.states = saved["states"]


class Ensemble(Module):
    """Models that vote: the mean of their softmax over the last axis. `models` is the list.

    >>> import numpy as np, tinygrad_lite as tg
    >>> sure, unsure = tg.nn.Identity(), (lambda x: x * 0)
    >>> Ensemble([sure, unsure])(tg.Tensor([np.log([3.0, 1.0])])).data          # (3/4 + 1/2) / 2
    array([[0.625, 0.375]], dtype=float32)
    """

    def __init__(self, models, history=None):
        self.models, self.history = list(models), history

    def forward(self, *inputs):
        votes = [softmax(m(*inputs), -1) for m in self.models]
        return sum(votes[1:], votes[0]) / len(votes)
