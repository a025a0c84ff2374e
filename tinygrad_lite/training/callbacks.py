"""What may happen beside a training's steps: stop early, thaw layers one by one, save, average.

A callback is an object with any of on_start(run), on_step(run), on_epoch(run), on_finish(run), or a function, which is
called as on_epoch. `run` is the training: run.model, run.optimizer, run.history, run.epoch, run.step, ...; setting
run.stop = "a reason" ends it after this step. One with state_dict and load_state_dict is saved with a checkpoint.
"""
import os

from .checkpoint import load, save


class EarlyStop:
    """End the training when a number of `history.epochs` has not improved by `min_delta` for `patience` epochs.

    mode "min": smaller is better, "max": larger; nan is never better. `restore`: go back to the best epoch's weights at the end.

    >>> from types import SimpleNamespace as Run
    >>> stop, run = EarlyStop("loss", patience=2, restore=False), Run(history={"loss": []}, stop=None, epoch=0)
    >>> for run.epoch, loss in enumerate([3.0, 2.0, 2.5, 2.2, 1.0]):
    ...     run.history["loss"].append(loss); stop.on_epoch(run)
    ...     if run.stop: break
    >>> run.epoch, run.stop
    (3, 'loss has not improved on 2 for 2 epochs')
    """

    def __init__(self, monitor="valid_loss", patience=5, min_delta=0.0, mode="min", restore=True):
        if mode not in ("min", "max"):
            raise ValueError(f"EarlyStop: mode: got {mode!r}, expected 'min' or 'max'")
        self.monitor, self.patience, self.min_delta, self.restore = monitor, patience, min_delta, restore
        self.sign, self.best, self.bad, self.weights = (1 if mode == "min" else -1), None, 0, None

    def on_epoch(self, run):
        try:
            value = self.sign * run.history[self.monitor][-1]
        except KeyError:
            raise KeyError(f"EarlyStop: {self.monitor!r} is not measured; there are {', '.join(run.history.epochs)}") from None
        if value < (float("inf") if self.best is None else self.best - self.min_delta):
            self.best, self.bad = value, 0
            self.weights = run.model.state_dict() if self.restore else None
            return
        self.bad += 1
        if self.bad >= self.patience:
            best = "anything" if self.best is None else f"{self.sign * self.best:.6g}"
            run.stop = f"{self.monitor} has not improved on {best} for {self.bad} epochs"

    def on_finish(self, run):
        if self.weights is not None:
            run.model.load_state_dict(self.weights)

    def state_dict(self):
        return {"best": self.best, "bad": self.bad, "weights": self.weights}

    def load_state_dict(self, saved):
        self.best, self.bad, self.weights = saved["best"], saved["bad"], saved["weights"]


class GradualUnfreezing:
    """Train the last layer alone, then thaw one more after every `every` epochs, from the output towards the input.

    `layers`: modules in the order of the model; by default the modules that have parameters of their own. Frozen ones get no
    gradient, so their weights, and what the optimizer keeps for them, rest. Howard & Ruder 2018.

    >>> from types import SimpleNamespace as Run
    >>> from tinygrad_lite import nn
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))
    >>> thaw, run = GradualUnfreezing(), Run(model=model, epoch=0)
    >>> thaw.on_start(run); [layer.weight.requires_grad for layer in model]
    [False, False, True]
    >>> run.epoch = 1; thaw.on_epoch(run); [layer.weight.requires_grad for layer in model]
    [False, True, True]
    """

    def __init__(self, layers=None, every=1):
        self.layers, self.every = layers, every

    def on_start(self, run):
        if self.layers is None:
            self.layers = [m for m in run.model.modules() if list(m.parameters()) and not list(m.named_children())]
        self.on_epoch(run)

    def on_epoch(self, run):
        frozen = max(len(self.layers) - 1 - run.epoch // self.every, 0)
        for i, layer in enumerate(self.layers):
            layer.requires_grad_(i >= frozen)


class Checkpoint:
    """Save the training to `path` after every epoch, and with `every=n` also after every n-th step; go on from there if it exists.

    A run that was killed and started again with the same arguments ends, bit for bit, as one that was not. Where the file is
    of other epochs or data, delete it: `resume=False` overwrites it.
    """

    def __init__(self, path, every=None, resume=True):
        self.path, self.every, self.resume = path, every, resume

    def on_start(self, run):
        if self.resume and os.path.exists(self.path):
            load(self.path, run.model, run.optimizer, run=run)

    def on_step(self, run):
        if self.every and run.step % self.every == 0:
            self.on_epoch(run)

    def on_epoch(self, run):
        save(self.path, run.model, run.optimizer, run=run)
