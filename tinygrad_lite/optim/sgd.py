"""Stochastic gradient descent, plain, with momentum, and Nesterov's."""
from ..kernels.updates import Lifted
from .base import Optimizer


def sgd(g, p, h):
    return (p - h.lr * g,)


def heavy_ball(g, p, momentum_buffer, h):
    momentum_buffer = h.keep_old * momentum_buffer + h.take * g
    return p - h.lr * momentum_buffer, momentum_buffer


def nesterov(g, p, momentum_buffer, h):
    momentum_buffer = h.keep_old * momentum_buffer + h.take * g
    return p - h.lr * (g + h.momentum * momentum_buffer), momentum_buffer


SGD_RULE, HEAVY_BALL, NESTEROV = Lifted(sgd), Lifted(heavy_ball), Lifted(nesterov)


class SGD(Optimizer):
    """b = m b + (1 - dampening) g;  p -= lr b.  Without momentum p -= lr g; Nesterov: p -= lr (g + m b).

    The first step of a parameter takes b = g. The rate is outside the buffer: changing it rescales old
    momentum too. Under a row-sparse gradient the rows that were not used rest, and so does their momentum: a step costs
    what the used rows cost. (PyTorch moves every row ever used, step after step; for that, Embedding(sparse=False).)
    Source: Polyak 1964, Nesterov 1983, Sutskever et al. 2013; PyTorch's form.

    >>> import numpy as np
    >>> from tinygrad_lite import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = SGD([w], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     w.grad = np.ones(1, "f"); _ = opt.step()
    >>> w.data                                          # 1 - 0.1 - 0.1 * 1.9
    array([0.71], dtype=float32)
    """
    defaults = dict(lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)
    accepts_rows = True

    def check(self, group):
        super().check(group)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ValueError(f"SGD: nesterov: got momentum={group['momentum']}, dampening={group['dampening']}, "
                             "expected momentum > 0 and dampening = 0")

    def rule_of(self, o):
        return NESTEROV if o.nesterov else HEAVY_BALL if o.momentum else SGD_RULE

    def scalars(self, o, t):
        first = t == 1
        return dict(lr=o.lr, momentum=o.momentum, keep_old=0.0 if first else o.momentum,
                    take=1.0 if first else 1.0 - o.dampening)
