"""Steps from signs: Rprop, which adapts a step size per number, and Lion, which takes the sign of a momentum."""
from ..kernels.updates import Lifted, maximum, minimum, sign, where
from .base import Optimizer


def rprop(g, p, prev, step_size, h):
    agree = g * prev
    factor = where(agree > 0, h.up, where(agree < 0, h.down, 1 + 0 * g))
    step_size = minimum(maximum((h.keep_old * step_size + h.start) * factor, h.smallest), h.largest)
    g = where(agree < 0, 0 * g, g)                  # after a change of sign the number rests one step
    return p - sign(g) * step_size, g, step_size


def lion(g, p, exp_avg, h):
    step = sign(h.b1 * exp_avg + (1 - h.b1) * g)
    return p - h.lr * step, h.b2 * exp_avg + (1 - h.b2) * g


class Rprop(Optimizer):
    """Each number has its own step: x 1.2 while the gradient keeps its sign, x 0.5 when it turns; only signs count.

    lr is the first step and not read again; steps stay within step_sizes. For full batches: noise turns signs.
    Source: Riedmiller & Braun 1993, the variant iRprop- (Igel & Huesken 2000).

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.Rprop([w], lr=0.1)
    >>> for g in (3.0, 3.0):
    ...     w.grad = np.array([g], "f"); _ = opt.step()
    >>> w.data                                          # 1 - 0.1 - 0.12
    array([0.78], dtype=float32)
    """
    defaults = dict(lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0))
    rule = Lifted(rprop)

    def check(self, group):
        super().check(group)
        down, up = group["etas"]
        if not 0 < down < 1 < up:
            raise ValueError(f"Rprop: etas: got {group['etas']}, expected 0 < first < 1 < second")

    def scalars(self, o, t):
        first = t == 1
        return dict(keep_old=0.0 if first else 1.0, start=o.lr if first else 0.0, down=o.etas[0], up=o.etas[1],
                    smallest=o.step_sizes[0], largest=o.step_sizes[1])


class Lion(Optimizer):
    """p *= 1 - lr wd;  p -= lr sign(b1 m + (1-b1) g);  m = b2 m + (1-b2) g.

    Every number moves by lr; the rate wants to be about a tenth of Adam's. Source: Chen et al. 2023.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0, 1.0], requires_grad=True)
    >>> opt = optim.Lion([w], lr=0.1)
    >>> w.grad = np.array([1e-6, -5.0], "f"); _ = opt.step(); w.data
    array([0.9, 1.1], dtype=float32)
    """
    defaults = dict(lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0)
    rule = Lifted(lion)
    decoupled = True

    def scalars(self, o, t):
        return dict(lr=o.lr, b1=o.betas[0], b2=o.betas[1])
