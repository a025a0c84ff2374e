"""SMORMS3: a root mean square with a memory that adapts itself, and the rate as a cap."""
from ..kernels.updates import Lifted, minimum, sqrt
from .base import Optimizer


def smorms3(g, p, mem, avg, avg_sq, h):
    r = 1 / (mem + 1)
    avg = (1 - r) * avg + r * g
    avg_sq = (1 - r) * avg_sq + r * g * g
    signal = avg * avg / (avg_sq + h.eps)           # 1: all gradients agree; 0: noise
    mem = mem * (1 - signal) + 1
    return p - minimum(h.lr, signal) * g / (sqrt(avg_sq) + h.eps), mem, avg, avg_sq


class SMORMS3(Optimizer):
    """r = 1/(mem+1);  a = (1-r) a + r g;  b = (1-r) b + r g^2;  x = a^2/(b+eps);  mem = mem (1-x) + 1;
    p -= min(lr, x) g / (sqrt(b) + eps).

    The rate is a cap, not a factor: where gradients disagree, x is small and the step is too.
    Source: S. Funk, "RMSprop loses to SMORMS3 - beware the epsilon!", 2015.

    >>> import numpy as np
    >>> from tinygrad_lite import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = SMORMS3([w], lr=0.1)
    >>> w.grad = np.array([0.5], "f"); _ = opt.step()
    >>> w.data                                          # r = 1/2, b = 1/8: 1 - 0.1 * 0.5 / sqrt(1/8)
    array([0.8585786], dtype=float32)
    """
    defaults = dict(lr=0.0025, eps=1e-16)
    fill = dict(mem=1.0)
    rule = Lifted(smorms3)

    def scalars(self, o, t):
        return dict(lr=o.lr, eps=o.eps)
