"""One formula each: the rate falls, rises or steps as PyTorch's schedulers of the same names."""
from bisect import bisect_right
from dataclasses import field
from typing import Literal

from .base import (AnyOrder, Count, Function, NonNegative, PositiveCount, PositiveShare, Schedule, Share, anneal, power,
                   progress, schedule)


@schedule
class LambdaLR(Schedule):
    """lr f(t), for any function f. PyTorch: LambdaLR.

    >>> LambdaLR(0.5, lambda t: 1 / (1 + t))(4)
    0.1
    """
    lr: NonNegative
    lr_lambda: Function

    def __call__(self, t):
        return self.lr * float(self.lr_lambda(t))


@schedule
class MultiplicativeLR(Schedule):
    """lr f(1) f(2) ... f(t). PyTorch: MultiplicativeLR (f(0) is never used).

    >>> s = MultiplicativeLR(1., lambda k: k / 2)
    >>> s(4), s(2)
    (1.5, 0.5)
    """
    lr: NonNegative
    lr_lambda: Function
    _last: tuple = field(default=(0, 1.), init=False, repr=False, compare=False)    # (k, product to k): a step costs O(1)

    def __call__(self, t):
        k, product = self._last if self._last[0] <= t else (0, 1.)
        while k + 1 <= t:
            k += 1
            product *= self.lr_lambda(k)
        object.__setattr__(self, "_last", (k, product))
        return self.lr * float(product)


@schedule
class StepLR(Schedule):
    """lr gamma^floor(t / step_size): a stair. PyTorch: StepLR.

    >>> s = StepLR(0.8, step_size=10, gamma=0.5)
    >>> s(9), s(10), s(25)
    (0.8, 0.4, 0.2)
    """
    lr: NonNegative
    step_size: PositiveCount
    gamma: NonNegative = 0.1

    def __call__(self, t):
        return self.lr * power(self.gamma, t // self.step_size)


@schedule
class MultiStepLR(Schedule):
    """lr gamma^(milestones passed); a repeated milestone counts repeatedly. PyTorch: MultiStepLR.

    >>> s = MultiStepLR(0.8, [30, 80, 80], gamma=0.5)
    >>> s(29), s(30), s(80)
    (0.8, 0.4, 0.1)
    """
    lr: NonNegative
    milestones: AnyOrder
    gamma: NonNegative = 0.1

    def __call__(self, t):
        return self.lr * power(self.gamma, bisect_right(self.milestones, t))


@schedule
class ConstantLR(Schedule):
    """lr factor for t < total_iters, then lr; total_iters = 0 keeps the factor for ever. PyTorch: ConstantLR.

    >>> s = ConstantLR(0.8, factor=0.25, total_iters=3)
    >>> s(2), s(3)
    (0.2, 0.8)
    """
    lr: NonNegative
    factor: Share = 1 / 3
    total_iters: Count = 5

    def __call__(self, t):
        return self.lr * self.factor if t < self.total_iters or not self.total_iters else self.lr


@schedule
class LinearLR(Schedule):
    """lr times a factor that goes straight from start_factor to end_factor in total_iters steps. PyTorch: LinearLR.

    >>> s = LinearLR(0.8, start_factor=0.25, total_iters=4)
    >>> s(0), s(2), s(9)
    (0.2, 0.5, 0.8)
    """
    lr: NonNegative
    start_factor: PositiveShare = 1 / 3
    end_factor: Share = 1.
    total_iters: Count = 5

    def __call__(self, t):
        return self.lr * anneal(self.start_factor, self.end_factor, progress(t, self.total_iters))


@schedule
class ExponentialLR(Schedule):
    """lr gamma^t. PyTorch: ExponentialLR.

    >>> ExponentialLR(0.8, gamma=0.5)(3)
    0.1
    """
    lr: NonNegative
    gamma: NonNegative

    def __call__(self, t):
        return self.lr * power(self.gamma, t)


@schedule
class PolynomialLR(Schedule):
    """lr (1 - t / total_iters)^power, 0 from total_iters on. PyTorch: PolynomialLR.

    >>> s = PolynomialLR(0.8, total_iters=4, power=2)
    >>> s(0), s(2), s(4)
    (0.8, 0.2, 0.0)
    """
    lr: NonNegative
    total_iters: Count = 5
    power: NonNegative = 1.

    def __call__(self, t):
        return self.lr * (1 - progress(t, self.total_iters)) ** self.power


@schedule
class SWALR(Schedule):
    """From lr to swa_lr in anneal_epochs steps, then swa_lr: the tail over which weights are averaged.

    PyTorch: SWALR. Izmailov et al., Averaging Weights Leads to Wider Optima (2018).

    >>> s = SWALR(0.8, swa_lr=0.2, anneal_epochs=2)
    >>> s(0), s(1), s(5)
    (0.8, 0.5, 0.2)
    """
    lr: NonNegative
    swa_lr: NonNegative
    anneal_epochs: Count = 10
    anneal_strategy: Literal["cos", "linear"] = "cos"

    def __call__(self, t):
        q = progress(t, self.anneal_epochs) if self.anneal_epochs else 1.
        return anneal(self.lr, self.swa_lr, q, self.anneal_strategy)
