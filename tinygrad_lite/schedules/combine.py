"""Join in time and multiply: schedules made of schedules, to any depth."""
import math
from bisect import bisect_right

from .base import Schedule, Steps, refuse, schedule


class _Combination(Schedule):
    def __post_init__(self):
        super().__post_init__()
        children = tuple(self.schedulers)
        object.__setattr__(self, "schedulers", children)
        if not children or not all(callable(child) for child in children):
            refuse(self, "schedulers", children, "one or more schedules (functions of the step)")
        if any(hasattr(child, "observe") for child in children):
            refuse(self, "schedulers", children, "pure functions of the step; ReduceLROnPlateau remembers metrics, so give "
                                                 "it to the optimizer itself")


@schedule
class SequentialLR(_Combination):
    """Joins: schedule i from milestone i - 1 on, each counted from its own step 0. PyTorch: SequentialLR.

    >>> from tinygrad_lite.schedules import CosineAnnealingLR, Warmup
    >>> s = SequentialLR([Warmup(0.8, 10), CosineAnnealingLR(0.8, T_max=20)], milestones=[10])
    >>> [round(s(t), 3) for t in (0, 5, 10, 20, 30)]
    [0.08, 0.44, 0.8, 0.4, 0.0]
    """
    schedulers: tuple
    milestones: Steps

    def __post_init__(self):
        super().__post_init__()
        if len(self.milestones) != len(self.schedulers) - 1:
            refuse(self, "milestones", self.milestones, f"{len(self.schedulers) - 1} for {len(self.schedulers)} schedules")

    def __call__(self, t):
        i = bisect_right(self.milestones, t)
        return self.schedulers[i](t - self.milestones[i - 1] if i else t)

    @property
    def lr(self):
        return _rate(self.schedulers[0])


@schedule
class ChainedScheduler(_Combination):
    """Multiplies: lr times the product of child(t) / lr, where the children share one lr. PyTorch: ChainedScheduler.

    >>> from tinygrad_lite.schedules import ExponentialLR, LinearLR
    >>> s = ChainedScheduler([LinearLR(0.8, start_factor=0.25, total_iters=2), ExponentialLR(0.8, gamma=0.5)])
    >>> s(0), s(1), s(2)
    (0.2, 0.25, 0.2)
    """
    schedulers: tuple

    def __post_init__(self):
        super().__post_init__()
        rates = [_rate(child) for child in self.schedulers]
        if len(set(rates)) > 1 or not rates[0]:
            refuse(self, "schedulers", self.schedulers, f"children that share one rate > 0, got {rates}")

    def __call__(self, t):
        return self.lr * math.prod(child(t) / self.lr for child in self.schedulers)

    @property
    def lr(self):
        return _rate(self.schedulers[0])


def _rate(child):
    """The rate whose multiples a schedule takes; None for a plain function, which has none."""
    return getattr(child, getattr(child, "_rate", "lr"), None)
