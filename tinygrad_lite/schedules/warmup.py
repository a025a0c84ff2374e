"""Warm-up: small steps first, for large batches (Goyal) and for attention (Vaswani), and the rule for scaling the rate."""
from typing import Literal

from .base import Count, NonNegative, Positive, PositiveCount, PositiveShare, Schedule, anneal, schedule


def linear_scaling_rule(lr, batch_size, reference=256):
    """lr batch_size / reference: k times the batch, k times the rate. Goyal et al., arXiv 1706.02677 (2017): 0.1 at 256.

    >>> linear_scaling_rule(0.1, batch_size=8192)
    3.2
    """
    if not (batch_size >= 1 and reference >= 1):
        raise ValueError(f"linear_scaling_rule: batch_size={batch_size}, reference={reference}; expected both >= 1")
    return lr * batch_size / reference


@schedule
class Warmup(Schedule):
    """From start_factor target to target in ``warmup`` steps, then target.

    linear: target (s + (1 - s) t / warmup); exp: target s^(1 - t / warmup). PyTorch: LinearLR; join with another schedule
    by ``SequentialLR([Warmup(lr, W), after], [W])``. Goyal et al., Accurate, Large Minibatch SGD, arXiv 1706.02677 (2017):
    from the unscaled rate (start_factor = 1 / k for k times the batch), over 5 epochs.

    >>> s = Warmup(0.8, warmup=10, start_factor=0.25)
    >>> s(0), s(5), s(10), Warmup(0.8, 10, 0.25, kind="exp")(5)
    (0.2, 0.5, 0.8, 0.4)
    """
    target: NonNegative
    warmup: Count
    start_factor: PositiveShare = 0.1
    kind: Literal["linear", "exp"] = "linear"
    _rate = "target"

    def __call__(self, t):
        if t >= self.warmup:
            return self.target
        q = t / self.warmup
        return self.target * (self.start_factor ** (1 - q) if self.kind == "exp" else anneal(self.start_factor, 1., q))


@schedule
class Noam(Schedule):
    """factor d_model^-0.5 min(s^-0.5, s warmup^-1.5), s = t + 1: straight up for warmup steps, then down as 1 / sqrt(s).

    Vaswani et al., Attention Is All You Need, arXiv 1706.03762 (2017).

    >>> s = Noam(d_model=64, warmup=4)
    >>> s(0), s(3), s(15)
    (0.015625, 0.0625, 0.03125)
    """
    d_model: PositiveCount
    warmup: PositiveCount
    factor: Positive = 1.
    _rate = "factor"

    def __call__(self, t):
        s = t + 1
        return self.factor * self.d_model ** -0.5 * min(s ** -0.5, s * self.warmup ** -1.5)
