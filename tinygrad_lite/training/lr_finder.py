"""Which learning rate? Train a little while the rate grows, watch the loss, put everything back as it was.

The loss lies flat while the rate is too small, falls where it is right, and climbs where it is too large. A good rate is
one where the loss still falls fast: below the lowest point of the curve, which is the edge. Smith 2015, "Cyclical Learning
Rates for Training Neural Networks"; the habits of fastai's lr_find and lr_find2.
"""
import math
import warnings

import numpy as np

from ..diagnostics.trial import axes, outcome_of
from ..optim.base import today
from .batches import evaluate, measure
from .state import restored


def lr_find(model, loss_fn, batches, optimizer, start=1e-7, end=10.0, num_it=100, stop_dv=True, valid=None, metrics={}, beta=0.98,
            diverge=4.0):
    """Sweep the rate from `start` to `end` in `num_it` training steps, evenly on a log scale; returns a `Sweep`.

    lr_k = start (end / start)^(k / (num_it - 1)). The loss is that of the batch before its step, smoothed by an average of
    memory `beta` with bias correction; with `stop_dv` the sweep ends when it exceeds `diverge` times its best, and always where
    the loss is not finite. Short loaders are cycled. With `valid`, loss and `metrics` are also measured after each step, on its
    next batch. Groups keep the ratio of their rates; the curve shows the largest. The model, the optimizer, the
    loaders' epochs and the random numbers are restored bit for bit, also after an error.

    >>> import tinygrad_lite as tg
    >>> tg.seed(0)
    >>> x = np.random.default_rng(0).normal(size=(64, 3)).astype("f")
    >>> loader, model = tg.data.DataLoader(x, x @ np.ones((3, 1), "f"), batch_size=16), tg.nn.Linear(3, 1)
    >>> found = lr_find(model, tg.losses.mse_loss, loader, tg.optim.SGD(model.parameters()), start=1e-4)
    >>> 0.01 < found.suggestion("steepest") < 1 and 0.01 < found.suggestion("minimum") < 1, found.diverged, len(found.lrs) < 100
    (True, True, True)
    """
    if not 0 < start < end < math.inf:
        raise ValueError(f"lr_find: got start={start} and end={end}, expected 0 < start < end")
    if num_it < 2:
        raise ValueError(f"lr_find: num_it: got {num_it}, expected at least 2 steps")
    if not 0 <= beta < 1:
        raise ValueError(f"lr_find: beta: got {beta}, expected a number in [0, 1)")
    if hasattr(batches, "__len__") and len(batches) == 1:
        warnings.warn(f"lr_find: there is one batch: all {num_it} steps see it, and the curve tells how fast it is learned by "
                      "heart; a smaller batch_size makes more", stacklevel=2)
    sweep = Sweep(beta, diverge)
    with restored(model, optimizer, [batches, valid]):
        shares = rate_shares(optimizer)
        model.train()
        feed, checks = cycled("batches", batches), cycled("valid", valid) if valid is not None else None
        for k, batch in zip(range(num_it), feed):
            lr = start * (end / start) ** (k / (num_it - 1))
            for group, share in zip(optimizer.param_groups, shares):
                group["lr"] = lr * share
            optimizer.zero_grad()
            loss, output, target = outcome_of("lr_find", model, loss_fn, batch)
            if not math.isfinite(loss.item()):
                sweep.diverged = True
                break
            sweep.add(lr, loss.item())
            if stop_dv and sweep.diverged:
                break
            try:
                loss.backward()
                bool(optimizer.step())          # on the GPU, too, a refusal is heard of here
            except FloatingPointError:          # a finite loss with a gradient that is not
                sweep.diverged = True
                break
            if checks is not None:
                sweep.add_check(evaluate(model, loss_fn, [next(checks)], metrics))
            elif metrics:
                sweep.add_check(measure("lr_find", metrics, output.detach(), target))
    return sweep


def rate_shares(optimizer):
    """Each group's rate as a share of the largest; ones where all are 0."""
    rates = [today(group["lr"], optimizer.t) for group in optimizer.param_groups]
    return [rate / max(rates) if max(rates) > 0 else 1.0 for rate in rates]


def cycled(name, batches):
    """The batches again and again."""
    while True:
        batch = None
        for batch in batches:
            yield batch
        if batch is None:
            raise ValueError(f"lr_find: {name} has no batches" + (
                " left: an iterator cannot be started again, pass a list or a DataLoader" if iter(batches) is batches else ""))


class Sweep:
    """What the finder saw: `lrs`, `losses`, `smoothed`, `valid_losses`, `metrics` (lists in step), and whether it `diverged`.

    smoothed_k = a_k / (1 - beta^(k+1)), a_k = beta a_(k-1) + (1 - beta) loss_k.

    >>> sweep = Sweep(beta=0.5)
    >>> for lr, loss in [(0.1, 4.0), (0.2, 2.0), (0.4, 1.0), (0.8, 9.0)]:
    ...     sweep.add(lr, loss)
    >>> [round(s, 3) for s in sweep.smoothed], sweep.diverged, sweep.suggestion("minimum"), sweep.suggestion("steepest")
    ([4.0, 2.667, 1.714, 5.6], False, 0.04, 0.1)
    """

    def __init__(self, beta=0.98, diverge=4.0):
        self.beta, self.diverge = beta, diverge
        self.lrs, self.losses, self.smoothed, self.valid_losses, self.metrics = [], [], [], [], {}
        self.average, self.diverged = 0.0, False

    def add(self, lr, loss):
        self.average = self.beta * self.average + (1 - self.beta) * loss
        self.lrs.append(lr)
        self.losses.append(loss)
        self.smoothed.append(self.average / (1 - self.beta ** len(self.losses)))
        best = min(self.smoothed)
        self.diverged = self.smoothed[-1] > best + (self.diverge - 1) * abs(best)       # `diverge` times the best, also below 0

    def add_check(self, found):
        if "loss" in found:
            self.valid_losses.append(found.pop("loss"))
        for name, value in found.items():
            self.metrics.setdefault(name, []).append(value)

    def suggestion(self, how="valley"):
        """A rate by one of three rules.

        "minimum": a tenth of the rate where the smoothed loss is lowest. "steepest": where it falls fastest over ln(lr).
        "valley": half-way down the longest fall, which is the longest decreasing subsequence (fastai's default).
        "lowest": where the smoothed loss is lowest, the edge: the largest rate that one may try.
        """
        if how not in ("minimum", "steepest", "valley", "lowest"):
            raise ValueError(f"suggestion: got {how!r}, expected 'minimum', 'steepest', 'valley' or 'lowest'")
        loss = np.array(self.smoothed)
        if len(loss) < 3 or loss.argmin() == 0:
            raise ValueError(f"suggestion: the loss never fell in {len(loss)} steps from lr = {next(iter(self.lrs), 'nothing')}: "
                             "start lower, and look at .plot()")
        if how in ("minimum", "lowest"):
            return self.lrs[loss.argmin()] / (10 if how == "minimum" else 1)
        if how == "steepest":
            return self.lrs[(np.diff(loss) / np.diff(np.log(self.lrs))).argmin()]
        last, length = longest_fall(loss)
        return self.lrs[max(last - length + int(length / 3) + int(length / 6), 0)]

    def plot(self, smoothed=True, ax=None):
        """Loss over rate on a log axis, raw as dots and smoothed as a line, with validation loss, metrics and suggestions."""
        ax = axes(ax)
        ax.plot(self.lrs, self.losses, ".", color="C0", alpha=0.35 if smoothed else 1.0, markersize=4, label="loss of each batch")
        shown = self.losses
        if smoothed:
            ax.plot(self.lrs, self.smoothed, color="C0", label="smoothed")
            shown = self.smoothed
        if self.valid_losses:
            ax.plot(self.lrs[:len(self.valid_losses)], self.valid_losses, color="C1", linewidth=1, label="validation")
        for how, style in ("steepest", "--"), ("valley", "-"), ("minimum", ":"):
            try:
                rate = self.suggestion(how)
            except ValueError:                  # nothing to suggest: the curve says so itself
                break
            ax.axvline(rate, color="0.4", linestyle=style, linewidth=1, label=f"{how} {rate:.2g}")
        if len(shown) and min(shown) < shown[0]:        # what flies off at the end is not worth the room
            low, start = min([*shown, *self.valid_losses]), shown[0]
            ax.set_ylim(low - 0.1 * (start - low), start + 0.6 * (start - low))
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
        if self.metrics:
            twin = ax.twinx()
            for i, (name, values) in enumerate(self.metrics.items()):
                twin.plot(self.lrs[:len(values)], values, color=f"C{i + 2}", linewidth=1, label=name)
            twin.set_ylabel(", ".join(self.metrics))
        ax.legend(fontsize="small")
        return ax


def longest_fall(values):
    """(index of the last, length) of the longest strictly decreasing subsequence; of several, the one that ends first."""
    lengths = []
    for i, value in enumerate(values):
        lengths.append(1 + max([n for n, earlier in zip(lengths, values) if earlier > value], default=0))
    last = int(np.argmax(lengths))
    return last, lengths[last]
