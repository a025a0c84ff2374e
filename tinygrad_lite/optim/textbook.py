"""The forms that courses and papers print where PyTorch's differ: GDEMA, SGDW, SGDWPaper."""
from ..kernels.updates import Lifted
from .base import Optimizer
from .sgd import SGD


def gdema(g, p, avg, h):
    avg = h.beta * avg + (1 - h.beta) * g
    return p - h.lr * avg, avg


def sgdw_paper(g, p, velocity, h):
    velocity = h.momentum * velocity + h.mult * h.lr * g
    return p - velocity - h.mult * h.decay * p, velocity


class GDEMA(Optimizer):
    """m = b m + (1-b) g;  p -= lr m: gradient descent on an exponential moving average, from m = 0, uncorrected.

    SGD(momentum=b, dampening=b) but for the first step, which PyTorch takes with m = g. Source: Ng's lectures.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.GDEMA([w], lr=1.0, beta=0.75)
    >>> w.grad = np.ones(1, "f"); _ = opt.step(); w.data
    array([0.75], dtype=float32)
    """
    defaults = dict(lr=0.01, beta=0.9)
    rule = Lifted(gdema)

    def scalars(self, o, t):
        return dict(lr=o.lr, beta=o.beta)


class SGDW(SGD):
    """SGD with decoupled decay: p *= 1 - lr weight_decay, then SGD's step without it. Source: Loshchilov & Hutter 2017.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.SGDW([w], lr=0.1, weight_decay=0.5)
    >>> w.grad = np.zeros(1, "f"); _ = opt.step(); w.data
    array([0.95], dtype=float32)
    """
    defaults = dict(lr=0.1, momentum=0.9, dampening=0.0, nesterov=False, weight_decay=0.01)
    decoupled = True


class SGDWPaper(Optimizer):
    """m = b m + h lr g;  p -= m + h wd p: the paper's own form, h = `mult` the schedule's multiplier.

    The rate is inside the buffer, and the decay is not multiplied by it: with mult = 1 this is also Caffe's decay.
    Source: Loshchilov & Hutter 2017, algorithm 1.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.SGDWPaper([w], lr=0.1, weight_decay=0.5, mult=0.5)
    >>> w.grad = np.ones(1, "f"); _ = opt.step(); w.data            # 1 - 0.05 - 0.25
    array([0.7], dtype=float32)
    """
    defaults = dict(lr=0.1, momentum=0.9, weight_decay=0.01, mult=1.0)
    rule = Lifted(sgdw_paper)
    own_decay = True

    def scalars(self, o, t):
        return dict(lr=o.lr, momentum=o.momentum, mult=o.mult, decay=o.weight_decay)
