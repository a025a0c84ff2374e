"""ASGD: stochastic gradient descent that also keeps the average of where it has been."""
from ..kernels.updates import Lifted
from .base import Optimizer


def asgd(g, p, ax, h):
    p = p * (1 - h.lambd * h.eta) - h.eta * g
    return p, p * h.fresh + (ax + h.mu * (p - ax)) * (1 - h.fresh)


class ASGD(Optimizer):
    """p *= 1 - lambd eta;  p -= eta g;  ax += mu (p - ax);  then eta = lr / (1 + lambd lr t)^alpha, mu = 1 / max(1, t - t0).

    The average `ax` is in the state, parameters are not replaced by it. A new rate acts one step late, as in
    PyTorch. Source: Polyak & Juditsky 1992.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.ASGD([w], lr=0.1, t0=0)
    >>> for _ in range(3):
    ...     w.grad = np.ones(1, "f"); _ = opt.step()
    >>> w.data.round(3), opt.state["0"]["ax"].round(3)
    (array([0.7], dtype=float32), array([0.75], dtype=float32))
    """
    defaults = dict(lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0)
    rule = Lifted(asgd)
    numbers = dict(eta=None, mu=1.0)

    def scalars(self, o, t):
        eta, mu = o.lr if o.kept["eta"] is None else o.kept["eta"], o.kept["mu"]
        o.kept.update(eta=o.lr / (1 + o.lambd * o.lr * t) ** o.alpha, mu=1 / max(1, t - o.t0))
        return dict(eta=eta, lambd=o.lambd, mu=mu, fresh=float(mu == 1))
