"""Adagrad: a rate for each number, falling with the gradients it has seen."""
from ..kernels.updates import Lifted, sqrt
from .base import Optimizer


def adagrad(g, p, sum, h):
    sum = sum + g * g
    return p - h.lr * g / (sqrt(sum) + h.eps), sum


class Adagrad(Optimizer):
    """s += g^2;  p -= lr / (1 + (t-1) lr_decay) g / (sqrt(s) + eps).

    Rare features keep large steps; sparse gradients move only the rows that were used.
    Source: Duchi, Hazan, Singer 2011.

    >>> import numpy as np
    >>> from tinygrad_lite import Tensor
    >>> w = Tensor([1.0, 1.0], requires_grad=True)
    >>> opt = Adagrad([w], lr=0.5)
    >>> w.grad = np.array([1.0, 100.0], "f"); _ = opt.step()
    >>> w.data                                          # both move by lr: only the sign of a first gradient counts
    array([0.5, 0.5], dtype=float32)
    """
    defaults = dict(lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10)
    rule = Lifted(adagrad)
    accepts_rows = True

    def fill_of(self, name, group):
        return group["initial_accumulator_value"]

    def scalars(self, o, t):
        return dict(lr=o.lr / (1 + (t - 1) * o.lr_decay), eps=o.eps)
