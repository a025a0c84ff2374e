"""Adam's relatives: Adamax (largest gradient), NAdam (Nesterov), RAdam (rectified), and SparseAdam (rows)."""
from ..kernels.updates import Lifted, maximum, sqrt
from .base import Optimizer


def adamax(g, p, exp_avg, exp_inf, h):
    exp_avg = h.b1 * exp_avg + (1 - h.b1) * g
    exp_inf = maximum(h.b2 * exp_inf, abs(g) + h.eps)
    return p - h.lr * exp_avg / exp_inf, exp_avg, exp_inf


def nadam(g, p, exp_avg, exp_avg_sq, h):
    exp_avg = h.b1 * exp_avg + (1 - h.b1) * g
    exp_avg_sq = h.b2 * exp_avg_sq + (1 - h.b2) * g * g
    root = sqrt(exp_avg_sq) * h.unbias + h.eps
    return p - (h.now * g + h.ahead * exp_avg) / root, exp_avg, exp_avg_sq


def radam(g, p, exp_avg, exp_avg_sq, h):
    exp_avg = h.b1 * exp_avg + (1 - h.b1) * g
    exp_avg_sq = h.b2 * exp_avg_sq + (1 - h.b2) * g * g
    return p - exp_avg * (h.plain + h.rectified / (sqrt(exp_avg_sq) + h.eps)), exp_avg, exp_avg_sq


def sparse_adam(g, p, exp_avg, exp_avg_sq, h):
    exp_avg = exp_avg + (1 - h.b1) * (g - exp_avg)
    exp_avg_sq = exp_avg_sq + (1 - h.b2) * (g * g - exp_avg_sq)
    return p - h.lr * exp_avg / (sqrt(exp_avg_sq) + h.eps), exp_avg, exp_avg_sq


class Adamax(Optimizer):
    """m = b1 m + (1-b1) g;  u = max(b2 u, |g| + eps);  p -= lr / (1-b1^t) m / u.

    Adam with the infinity norm: eps is inside the maximum. Source: Kingma & Ba 2014, section 7.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.Adamax([w], lr=0.1, betas=(0.5, 0.5))
    >>> for g in (4.0, 0.0):
    ...     w.grad = np.array([g], "f"); _ = opt.step()
    >>> w.data                                          # 1 - 0.1 - 0.1 / 0.75 * 1 / 2
    array([0.8333333], dtype=float32)
    """
    defaults = dict(lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    rule = Lifted(adamax)

    def scalars(self, o, t):
        b1, b2 = o.betas
        return dict(lr=o.lr / (1 - b1 ** t), b1=b1, b2=b2, eps=o.eps)


class NAdam(Optimizer):
    """Adam that looks ahead as Nesterov does: p -= lr [(1-mu_t)/(1-P_t) g + mu_{t+1}/(1-P_{t+1}) m] / (sqrt(v^) + eps).

    mu_t = b1 (1 - 0.96^(t psi) / 2) with psi = momentum_decay, P_t the product of all mu so far; m itself uses
    plain b1. Source: Dozat 2016.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.NAdam([w], lr=0.1)
    >>> w.grad = np.array([2.0], "f"); _ = opt.step(); w.data.round(4)
    array([0.8944], dtype=float32)
    """
    defaults = dict(lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3, decoupled_weight_decay=False)
    rule = Lifted(nadam)
    numbers = dict(mu_product=1.0)

    def scalars(self, o, t):
        b1, b2 = o.betas
        mu, ahead = (b1 * (1 - 0.5 * 0.96 ** (k * o.momentum_decay)) for k in (t, t + 1))
        o.kept["mu_product"] = product = o.kept["mu_product"] * mu
        return dict(b1=b1, b2=b2, unbias=(1 - b2 ** t) ** -0.5, eps=o.eps,
                    now=o.lr * (1 - mu) / (1 - product), ahead=o.lr * ahead / (1 - product * ahead))


class RAdam(Optimizer):
    """Adam whose denominator waits until its variance is known: for t <= 5 (b2 = .999) p -= lr m^, then rectified.

    rho = R - 2 t b2^t / (1-b2^t), R = 2/(1-b2) - 1; where rho > 5 the step is
    lr m^ sqrt(1-b2^t) / (sqrt(v) + eps) * sqrt((rho-4)(rho-2) R / ((R-4)(R-2) rho)). Source: Liu et al. 2019.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.RAdam([w], lr=0.1)
    >>> w.grad = np.array([2.0], "f"); _ = opt.step(); w.data       # no denominator yet: 1 - 0.1 * 2
    array([0.8], dtype=float32)
    """
    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False)
    rule = Lifted(radam)

    def scalars(self, o, t):
        b1, b2 = o.betas
        lr = o.lr / (1 - b1 ** t)
        R = 2 / (1 - b2) - 1
        rho = R - 2 * t * b2 ** t / (1 - b2 ** t)
        if rho <= 5:
            return dict(b1=b1, b2=b2, eps=1.0, plain=lr, rectified=0.0)
        factor = ((rho - 4) * (rho - 2) * R / ((R - 4) * (R - 2) * rho)) ** 0.5
        return dict(b1=b1, b2=b2, eps=o.eps, plain=0.0, rectified=lr * (1 - b2 ** t) ** 0.5 * factor)


class SparseAdam(Optimizer):
    """Adam for row-sparse gradients: only rows that were used move, and only their moments change.

    m += (1-b1)(g-m);  v += (1-b2)(g^2-v);  p -= lr sqrt(1-b2^t)/(1-b1^t) m / (sqrt(v) + eps), on the touched rows,
    repeated rows summed first (the update is not linear). t counts steps of the parameter, not of a row, and eps is
    not corrected: that differs from Adam, as in PyTorch. Source: torch.optim.SparseAdam.

    >>> from tinygrad_lite import RowSparse, Tensor, optim
    >>> import numpy as np
    >>> w = Tensor(np.ones((3, 1), "f"), requires_grad=True)
    >>> opt = optim.SparseAdam([w], lr=0.5)
    >>> w.grad = RowSparse(np.array([2]), np.ones((1, 1), "f"), (3, 1)); _ = opt.step(); w.data.ravel().round(4)
    array([1. , 1. , 0.5], dtype=float32)
    """
    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    rule = Lifted(sparse_adam)
    accepts_rows = True
    rows_only = True

    def check(self, group):
        super().check(group)
        for key in ("lr", "eps"):
            if isinstance(group[key], (int, float)) and not group[key] > 0:
                raise ValueError(f"SparseAdam: {key}: got {group[key]}, expected a number in (0, inf)")

    def scalars(self, o, t):
        b1, b2 = o.betas
        return dict(lr=o.lr * (1 - b2 ** t) ** 0.5 / (1 - b1 ** t), b1=b1, b2=b2, eps=o.eps)
