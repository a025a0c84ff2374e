"""Caffe's learning-rate policies under Caffe's names: base_lr, gamma, power, stepsize, stepvalues, max_iter.

Jia et al., Caffe: Convolutional Architecture for Fast Feature Embedding, arXiv 1408.5093 (2014).
"""
import math
from bisect import bisect_right

from .base import AnyOrder, NonNegative, PositiveCount, Real, Schedule, power, refuse, schedule


class _Policy(Schedule):
    _rate = "base_lr"


@schedule
class Fixed(_Policy):
    """base_lr, always.

    >>> Fixed(0.1)(1000)
    0.1
    """
    base_lr: NonNegative

    def __call__(self, t):
        return self.base_lr


@schedule
class Step(_Policy):
    """base_lr gamma^floor(t / stepsize). PyTorch: StepLR.

    >>> Step(0.8, gamma=0.5, stepsize=10)(25)
    0.2
    """
    base_lr: NonNegative
    gamma: NonNegative
    stepsize: PositiveCount

    def __call__(self, t):
        return self.base_lr * power(self.gamma, t // self.stepsize)


@schedule
class Exp(_Policy):
    """base_lr gamma^t. PyTorch: ExponentialLR.

    >>> Exp(0.8, gamma=0.5)(3)
    0.1
    """
    base_lr: NonNegative
    gamma: NonNegative

    def __call__(self, t):
        return self.base_lr * power(self.gamma, t)


@schedule
class Inv(_Policy):
    """base_lr (1 + gamma t)^-power: Robbins & Monro's (1951) slow decay, for power in (0.5, 1].

    >>> Inv(0.8, gamma=0.5, power=1)(6)
    0.2
    """
    base_lr: NonNegative
    gamma: NonNegative
    power: Real

    def __call__(self, t):
        return self.base_lr * power(1 + self.gamma * t, -self.power)


@schedule
class MultiStep(_Policy):
    """base_lr gamma^(stepvalues passed). PyTorch: MultiStepLR.

    >>> MultiStep(0.8, gamma=0.5, stepvalues=[10, 15])(15)
    0.2
    """
    base_lr: NonNegative
    gamma: NonNegative
    stepvalues: AnyOrder

    def __call__(self, t):
        return self.base_lr * power(self.gamma, bisect_right(self.stepvalues, t))


@schedule
class Poly(_Policy):
    """base_lr (1 - t / max_iter)^power, 0 from max_iter on. PyTorch: PolynomialLR.

    >>> s = Poly(0.8, power=2, max_iter=4)
    >>> s(2), s(4), s(5)
    (0.2, 0.0, 0.0)
    """
    base_lr: NonNegative
    power: NonNegative
    max_iter: PositiveCount = None

    def __post_init__(self):
        super().__post_init__()
        if self.max_iter is None:
            refuse(self, "max_iter", None, "an integer >= 1, the step at which the rate reaches 0")

    def __call__(self, t):
        return self.base_lr * (1 - t / self.max_iter) ** self.power if t < self.max_iter else 0.


@schedule
class Sigmoid(_Policy):
    """base_lr / (1 + exp(-gamma (t - stepsize))): half at t = stepsize, rising for gamma > 0, falling for gamma < 0.

    >>> s = Sigmoid(0.8, gamma=-0.5, stepsize=20)
    >>> round(s(0), 3), s(20), round(s(30), 3), s(10_000)
    (0.8, 0.4, 0.005, 0.0)
    """
    base_lr: NonNegative
    gamma: Real
    stepsize: PositiveCount

    def __call__(self, t):
        x = self.gamma * (t - self.stepsize)
        e = math.exp(-abs(x))             # of the side that cannot overflow
        return self.base_lr * (1 if x >= 0 else e) / (1 + e)
