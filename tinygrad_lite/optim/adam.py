"""Adam and AdamW: momentum over a root mean square, both corrected for their start at zero."""
from ..kernels.updates import Lifted, maximum, sqrt
from .base import Optimizer


def adam(g, p, exp_avg, exp_avg_sq, h):
    exp_avg = h.b1 * exp_avg + (1 - h.b1) * g
    exp_avg_sq = h.b2 * exp_avg_sq + (1 - h.b2) * g * g
    return p - h.lr * exp_avg / (sqrt(exp_avg_sq) * h.unbias + h.eps), exp_avg, exp_avg_sq


def amsgrad(g, p, exp_avg, exp_avg_sq, max_exp_avg_sq, h):
    exp_avg = h.b1 * exp_avg + (1 - h.b1) * g
    exp_avg_sq = h.b2 * exp_avg_sq + (1 - h.b2) * g * g
    max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)
    return p - h.lr * exp_avg / (sqrt(max_exp_avg_sq) * h.unbias + h.eps), exp_avg, exp_avg_sq, max_exp_avg_sq


ADAM, AMSGRAD = Lifted(adam), Lifted(amsgrad)


class Adam(Optimizer):
    """m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  p -= lr m^ / (sqrt(v^) + eps), m^ = m/(1-b1^t), v^ = v/(1-b2^t).

    eps comes after the bias correction, weight_decay is L2 (part of g, so scaled by v too: for the decoupled
    form take AdamW). amsgrad divides by the largest v so far. Source: Kingma & Ba 2014; Reddi et al. 2018.

    >>> import numpy as np
    >>> from tinygrad_lite import Tensor
    >>> w = Tensor([1.0, 1.0], requires_grad=True)
    >>> opt = Adam([w], lr=0.1)
    >>> w.grad = np.array([3.0, -0.001], "f"); _ = opt.step()
    >>> w.data                                          # the first step is the rate, whatever the gradient's size
    array([0.9     , 1.099999], dtype=float32)
    """
    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled_weight_decay=False)

    def rule_of(self, o):
        return AMSGRAD if o.amsgrad else ADAM

    def scalars(self, o, t):
        b1, b2 = o.betas
        return dict(lr=o.lr / (1 - b1 ** t), b1=b1, b2=b2, unbias=(1 - b2 ** t) ** -0.5, eps=o.eps)


class AdamW(Adam):
    """Adam with decoupled decay: p *= 1 - lr weight_decay first, and the moments never see it.

    L2 and decoupled decay are the same thing for plain SGD only. Source: Loshchilov & Hutter 2017.

    >>> import numpy as np
    >>> from tinygrad_lite import Tensor
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = AdamW([w], lr=0.1, weight_decay=0.5)
    >>> w.grad = np.zeros(1, "f"); _ = opt.step(); w.data
    array([0.95], dtype=float32)
    """
    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False)
    decoupled = True
