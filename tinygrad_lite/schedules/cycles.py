"""Cycles of a rate that carry a momentum: cyclical rates and 1cycle, in PyTorch's and fastai's form."""
from typing import Literal

from .base import Count, Function, NonNegative, Positive, PositiveCount, Schedule, Share, anneal, power, schedule


@schedule
class Momentum(Schedule):
    """The momentum that belongs to a cycle of rates, low where they are high; a schedule itself: ``momentum=s.momentum``.

    >>> s = CyclicLR(0.1, 0.5, step_size_up=4)
    >>> s.momentum(0), s.momentum(4), s.momentum == Momentum(s)
    (0.9, 0.8, True)
    """
    of: Function

    def __call__(self, t):
        return self.of._momentum_at(t)


class _Cycle(Schedule):
    """A schedule of rates that also knows the momentum of each step."""
    _rate = "max_lr"

    @property
    def momentum(self):
        if not self.cycle_momentum:
            raise ValueError(f"{self!r} has no momentum schedule; make it with cycle_momentum=True (OneCycleFastai: "
                             "with max_mom and min_mom)")
        return Momentum(self)


@schedule
class CyclicLR(_Cycle):
    """A triangle wave: base_lr up to max_lr in step_size_up steps, down in step_size_down, its height scaled in each cycle.

    base_lr + (max_lr - base_lr) h(t) scale, h in [0, 1]; scale = 1 (triangular), 2^-(cycle - 1) (triangular2), gamma^t
    (exp_range), or scale_fn of the cycle (from 1) or of t, as scale_mode says. Momentum: max_momentum - (max - base) h scale.
    PyTorch: CyclicLR. Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186 (2015).

    >>> s = CyclicLR(0.1, 0.5, step_size_up=4, mode="triangular2")
    >>> [round(s(t), 3) for t in (0, 2, 4, 8, 12)]      # the second peak is half as high
    [0.1, 0.3, 0.5, 0.1, 0.3]
    """
    base_lr: NonNegative
    max_lr: NonNegative
    step_size_up: Positive = 2000.
    step_size_down: Positive = None
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: NonNegative = 1.
    scale_fn: Function = None
    scale_mode: Literal["cycle", "iterations"] = "cycle"
    cycle_momentum: bool = True
    base_momentum: Share = 0.8
    max_momentum: Share = 0.9

    def __post_init__(self):
        super().__post_init__()
        if self.step_size_down is None:
            object.__setattr__(self, "step_size_down", self.step_size_up)

    def _height(self, t):
        up, down = self.step_size_up, self.step_size_down
        cycle, t_cycle = divmod(t, up + down)
        height = t_cycle / up if t_cycle <= up else (up + down - t_cycle) / down
        if self.scale_fn is not None:
            return height * self.scale_fn(int(cycle) + 1 if self.scale_mode == "cycle" else t)
        if self.mode == "triangular2":
            return height * 2. ** -cycle
        return height * power(self.gamma, t) if self.mode == "exp_range" else height

    def __call__(self, t):
        return anneal(self.base_lr, self.max_lr, self._height(t))

    def _momentum_at(self, t):
        return anneal(self.max_momentum, self.base_momentum, self._height(t))


@schedule
class OneCycleLR(_Cycle):
    """One cycle: lr up to max_lr and down far below its start, momentum the other way; the last value is held afterwards.

    lr: max_lr / div_factor -> max_lr at step pct_start N - 1 -> max_lr / div_factor / final_div_factor at step N - 1, by
    half cosines or straight lines; three_phase first returns to the start, at step 2 pct_start N - 2. N = total_steps, or
    epochs steps_per_epoch. Momentum: max -> base -> max. PyTorch: OneCycleLR, which fails after its last step.
    Smith & Topin, Super-Convergence, arXiv 1708.07120 (2017).

    >>> s = OneCycleLR(1., total_steps=21, pct_start=0.5, anneal_strategy="linear")
    >>> [round(s(t), 3) for t in (0, 9, 10, 20, 21)], round(s.momentum(9), 3)
    ([0.04, 0.949, 0.952, 0.0, 0.0], 0.855)
    """
    max_lr: NonNegative
    total_steps: PositiveCount = None
    epochs: Count = None
    steps_per_epoch: Count = None
    pct_start: Share = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = True
    base_momentum: Share = 0.85
    max_momentum: Share = 0.95
    div_factor: Positive = 25.
    final_div_factor: Positive = 1e4
    three_phase: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.total_steps is None:
            if self.epochs is None or self.steps_per_epoch is None:
                raise ValueError("OneCycleLR: its length is missing; pass total_steps, or epochs and steps_per_epoch")
            if self.epochs * self.steps_per_epoch < 1:
                raise ValueError(f"OneCycleLR: epochs={self.epochs} times steps_per_epoch={self.steps_per_epoch} makes "
                                 "0 steps; expected at least 1 (is the loader empty?)")
            object.__setattr__(self, "total_steps", self.epochs * self.steps_per_epoch)

    def _at(self, t, which):
        n, rise = self.total_steps, self.pct_start * self.total_steps
        low = self.max_lr / self.div_factor
        points = [(0., low, self.max_momentum), (rise - 1, self.max_lr, self.base_momentum)]     # (step, lr, momentum)
        if self.three_phase:
            points.append((2 * rise - 2, low, self.max_momentum))
        points.append((n - 1, low / self.final_div_factor, self.max_momentum))
        t = min(t, n - 1)
        start, end = next(pair for pair in zip(points, points[1:]) if t <= pair[1][0] or pair[1] is points[-1])
        q = (t - start[0]) / (end[0] - start[0]) if end[0] > start[0] else 1.
        return anneal(start[which], end[which], q, self.anneal_strategy)

    def __call__(self, t):
        return self._at(t, 1)

    def _momentum_at(self, t):
        return self._at(t, 2)


@schedule
class OneCycleFastai(_Cycle):
    """fastai's ``use_clr_beta``: straight up and down between lr / div and lr, then a tail of pct percent to lr / (100 div).

    Up and down take k = floor(nb (1 - pct / 100) / 2) steps each, nb steps in all, then it starts again. Momentum goes
    max_mom -> min_mom -> max_mom and stays. `one_cycle_fastai` makes the pair. fastai 0.7, after Smith (2017).
    """
    lr: NonNegative
    nb: PositiveCount
    div: Positive = 10.
    pct: NonNegative = 10.
    max_mom: Share = None
    min_mom: Share = None
    _rate = "lr"

    def __post_init__(self):
        super().__post_init__()
        if self._rise < 1:
            raise ValueError(f"OneCycleFastai: nb={self.nb} and pct={self.pct} leave no step to rise; "
                             "expected nb (1 - pct / 100) >= 2")

    @property
    def cycle_momentum(self):
        return self.max_mom is not None and self.min_mom is not None

    @property
    def _rise(self):
        return int(self.nb * (1 - self.pct / 100) / 2)

    def _height(self, t):
        return max(0., 1 - abs(t % self.nb / self._rise - 1))

    def __call__(self, t):
        low, tail = self.lr / self.div, t % self.nb - 2 * self._rise
        if tail > 0:
            return anneal(low, low / 100, tail / (self.nb - 2 * self._rise))
        return anneal(low, self.lr, self._height(t))

    def _momentum_at(self, t):
        return anneal(self.max_mom, self.min_mom, self._height(t))


def one_cycle_fastai(lr, nb, div=10., pct=10., max_mom=None, min_mom=None):
    """The two schedules (lr, momentum) of `OneCycleFastai`; momentum is None unless both of its bounds are given.

    >>> lr, momentum = one_cycle_fastai(1., nb=10, div=10, pct=20, max_mom=0.95, min_mom=0.85)
    >>> [round(lr(t), 3) for t in (0, 4, 8, 9, 10)], momentum(0), momentum(4)
    ([0.1, 1.0, 0.1, 0.051, 0.1], 0.95, 0.85)
    """
    cycle = OneCycleFastai(lr, nb, div, pct, max_mom, min_mom)
    return cycle, cycle.momentum if cycle.cycle_momentum else None
