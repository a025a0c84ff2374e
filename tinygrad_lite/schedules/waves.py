"""Cosines and sines, with and without restarts."""
import math

from .base import AtLeastOne, NonNegative, Positive, PositiveCount, Schedule, anneal, schedule


@schedule
class CosineAnnealingLR(Schedule):
    """eta_min + (lr - eta_min) (1 + cos(pi t / T_max)) / 2: a cosine of period 2 T_max, so it rises again after T_max.

    PyTorch: CosineAnnealingLR. Loshchilov & Hutter, SGDR, arXiv 1608.03983 (2016), without the restarts.

    >>> s = CosineAnnealingLR(0.8, T_max=10)
    >>> s(0), s(5), s(10), s(20)
    (0.8, 0.4, 0.0, 0.8)
    """
    lr: NonNegative
    T_max: Positive
    eta_min: NonNegative = 0.

    def __call__(self, t):
        return anneal(self.lr, self.eta_min, t % (2 * self.T_max) / self.T_max, "cos")


@schedule
class CosineAnnealingWarmRestarts(Schedule):
    """A cosine from lr to eta_min over T_i steps, then again from lr, each run T_mult times as long as the last.

    eta_min + (lr - eta_min) (1 + cos(pi T_cur / T_i)) / 2, T_i = T_0 T_mult^i, T_cur = steps since the last restart.
    PyTorch: CosineAnnealingWarmRestarts, whose T_mult is an integer and whose restarts can be missed by rounding; here they
    are found by adding lengths. Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts (2016).

    >>> s = CosineAnnealingWarmRestarts(0.8, T_0=2, T_mult=3)
    >>> [round(s(t), 3) for t in (0, 1, 2, 5, 8)]       # restarts at 2 and at 2 + 6
    [0.8, 0.4, 0.8, 0.4, 0.8]
    """
    lr: NonNegative
    T_0: Positive
    T_mult: AtLeastOne = 1.
    eta_min: NonNegative = 0.

    def __call__(self, t):
        length = self.T_0
        if self.T_mult == 1:
            t = t % length
        while t >= length:
            t -= length
            length *= self.T_mult
        return anneal(self.lr, self.eta_min, t / length, "cos")


@schedule
class SineRestarts(Schedule):
    """lr_min + (lr_max - lr_min) sin(pi (t mod restart) / restart): up and down again, from lr_min at every restart.

    >>> s = SineRestarts(0.8, restart=20)
    >>> [round(s(t), 3) for t in (0, 5, 10, 20, 30)]
    [0.0, 0.566, 0.8, 0.0, 0.8]
    """
    lr_max: NonNegative
    restart: Positive
    lr_min: NonNegative = 0.
    _rate = "lr_max"

    def __call__(self, t):
        return anneal(self.lr_min, self.lr_max, math.sin(math.pi * (t % self.restart) / self.restart))


@schedule
class Snapshot(Schedule):
    """lr0 / 2 (1 + cos(pi (t mod C) / C)), C = ceil(total / cycles): save the model at each cycle's end, average the last m.

    ``cycle`` is C; (t + 1) % C == 0 is a cycle's last step. Huang et al., Snapshot Ensembles: Train 1, get M for free (2017).

    >>> s = Snapshot(0.8, total=40, cycles=4)
    >>> s.cycle, [round(s(t), 3) for t in (0, 5, 9, 10)]
    (10, [0.8, 0.4, 0.02, 0.8])
    """
    lr0: NonNegative
    total: PositiveCount
    cycles: PositiveCount
    _rate = "lr0"

    @property
    def cycle(self):
        return -(-self.total // self.cycles)

    def __call__(self, t):
        return anneal(self.lr0, 0., t % self.cycle / self.cycle, "cos")
