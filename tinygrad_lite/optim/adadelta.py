"""Adadelta: steps in the units of the parameter, from the ratio of two running root mean squares."""
from ..kernels.updates import Lifted, sqrt
from .base import Optimizer


def adadelta(g, p, square_avg, acc_delta, h):
    square_avg = h.rho * square_avg + (1 - h.rho) * g * g
    delta = sqrt(acc_delta + h.eps) / sqrt(square_avg + h.eps) * g
    acc_delta = h.rho * acc_delta + (1 - h.rho) * delta * delta
    return p - h.lr * delta, square_avg, acc_delta


class Adadelta(Optimizer):
    """s = r s + (1-r) g^2;  d = sqrt(u+eps) / sqrt(s+eps) g;  u = r u + (1-r) d^2;  p -= lr d.

    eps is inside both roots: it alone starts the movement. Source: Zeiler 2012.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.Adadelta([w], lr=1.0, rho=0.75, eps=0.25)
    >>> w.grad = np.array([0.0], "f"); _ = opt.step()
    >>> w.grad = np.array([3.0], "f"); _ = opt.step(); w.data       # 1 - 0.5 / sqrt(2.25 + 0.25) * 3
    array([0.05131674], dtype=float32)
    """
    defaults = dict(lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0)
    rule = Lifted(adadelta)

    def scalars(self, o, t):
        return dict(lr=o.lr, rho=o.rho, eps=o.eps)
