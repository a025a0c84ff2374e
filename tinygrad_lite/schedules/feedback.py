"""The two that are not pure: a rate that watches a metric, and an adapter for the habit of calling ``scheduler.step()``."""
import math
from dataclasses import dataclass, field
from typing import Literal

from .base import Count, NonNegative, Schedule, Share, refuse


@dataclass(repr=False)
class ReduceLROnPlateau(Schedule):
    """Multiplies its rate by factor when the metric has not improved for more than ``patience`` observations.

    Better means a < best (1 - threshold) for mode "min" and threshold_mode "rel", a < best - threshold for "abs", and the
    mirror image for "max"; nan is never better. After a cut, ``cooldown`` observations count as neither good nor bad; a cut
    smaller than eps is not made, and min_lr is the floor. As a schedule it is the present rate at every t; what it
    remembers goes through ``state_dict`` (an optimizer saves it with its own state). PyTorch: ReduceLROnPlateau.

    >>> s = ReduceLROnPlateau(0.8, factor=0.5, patience=1)
    >>> [s.observe(loss) for loss in (3., 2., 2., 2., 1., 1.)]
    [0.8, 0.8, 0.8, 0.4, 0.4, 0.4]
    """
    lr: NonNegative
    mode: Literal["min", "max"] = "min"
    factor: Share = 0.1
    patience: Count = 10
    threshold: NonNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: Count = 0
    min_lr: NonNegative = 0.
    eps: NonNegative = 1e-8
    current_lr: float = field(init=False, repr=False)
    best: float = field(init=False, repr=False)
    num_bad_epochs: int = field(default=0, init=False, repr=False)
    cooldown_counter: int = field(default=0, init=False, repr=False)

    def __post_init__(self):
        super().__post_init__()
        if self.factor == 1:
            refuse(self, "factor", self.factor, "a number in [0, 1)")
        self.current_lr = self.lr
        self.best = math.inf if self.mode == "min" else -math.inf

    def __call__(self, t):
        return self.current_lr

    def observe(self, metric):
        """Takes one value of the metric, returns the rate from now on."""
        metric = float(metric)
        if self._better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            lower = max(self.current_lr * self.factor, self.min_lr)
            if self.current_lr - lower > self.eps:
                self.current_lr = lower
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        return self.current_lr

    def _better(self, metric):
        sign = -1 if self.mode == "min" else 1
        relative = self.threshold_mode == "rel"
        bound = self.best * (1 + sign * self.threshold) if relative else self.best + sign * self.threshold
        return sign * metric > sign * bound

    def state_dict(self):
        return {name: getattr(self, name) for name in ("current_lr", "best", "num_bad_epochs", "cooldown_counter")}

    def load_state_dict(self, state):
        if set(state) != set(self.state_dict()):
            raise ValueError(f"ReduceLROnPlateau: the state has {sorted(state)}; expected {sorted(self.state_dict())}")
        for name, value in state.items():
            setattr(self, name, value)


class LRScheduler:
    """Writes ``schedule(number of step() calls)`` into an optimizer's groups, the first at once: PyTorch's habit.

    The native way needs no such object: ``Adam(params, lr=schedule)`` follows the optimizer's own clock. ``schedule`` is one
    for all groups or a list of one each. It has a count of its own, since PyTorch's users step once an epoch as often as
    once a batch; where an optimizer may refuse a step, ``if opt.step(): scheduler.step()`` keeps them together. With
    `ReduceLROnPlateau`, ``step(metric)`` observes. PyTorch: LRScheduler and its ``get_last_lr``, ``state_dict``.

    >>> from types import SimpleNamespace
    >>> from tinygrad_lite.schedules import StepLR
    >>> opt = SimpleNamespace(param_groups=[{"lr": 0.8}])
    >>> scheduler = LRScheduler(opt, StepLR(0.8, step_size=2, gamma=0.5))
    >>> for epoch in range(3): scheduler.step()
    >>> opt.param_groups[0]["lr"], scheduler.last_epoch
    (0.4, 3)
    """
    def __init__(self, optimizer, schedule):
        self.optimizer, self.schedule, self.last_epoch = optimizer, schedule, 0
        self._write()

    def _each(self):
        """The schedule of every group; a group added later shares the single one."""
        groups = len(self.optimizer.param_groups)
        if callable(self.schedule):
            return [self.schedule] * groups
        if len(self.schedule) != groups:
            raise ValueError(f"LRScheduler: {len(self.schedule)} schedules for {groups} parameter groups; "
                             "expected one each, or a single schedule for all")
        return self.schedule

    def _write(self):
        for group, schedule in zip(self.optimizer.param_groups, self._each()):
            group["lr"] = schedule(self.last_epoch)

    def step(self, metric=None):
        if metric is not None:
            for s in self._plateaus():
                s.observe(metric)
        self.last_epoch += 1
        self._write()

    def get_last_lr(self):
        return [group["lr"] for group in self.optimizer.param_groups]

    def _plateaus(self):
        """Those that remember metrics, each once though groups may share it."""
        return list({id(s): s for s in self._each() if hasattr(s, "observe")}.values())

    def state_dict(self):
        return {"last_epoch": self.last_epoch, "plateaus": [s.state_dict() for s in self._plateaus()]}

    def load_state_dict(self, state):
        for s, saved in zip(self._plateaus(), state["plateaus"], strict=True):
            s.load_state_dict(saved)
        self.last_epoch = state["last_epoch"]
        self._write()
