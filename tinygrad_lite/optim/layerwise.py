"""Optimizers that look at a whole tensor at a time: LARS, LAMB, Adafactor, Muon. NumPy, one update_param each.

What they measure is a number; of a GPU array it stays there, as an array without axes, so that nobody waits for it.
"""
import numpy as np

from ..backend import on_gpu
from ..kernels.norms import sum_of_squares
from .base import Optimizer


def norm(x):
    """The 2-norm, summed in float64."""
    return np.sqrt(sum_of_squares(x.reshape(-1))) if on_gpu(x) else float(np.linalg.norm(x.astype(np.float64, copy=False)))


def rms(x):
    """The root mean square."""
    return norm(x) / max(x.size, 1) ** 0.5


def ratio(a, b):
    """a / b, and 1 where either is 0."""
    if on_gpu(a):
        return np.where((a != 0) & (b != 0), a / np.where(b != 0, b, 1.0), 1.0)
    return a / b if a and b else 1.0


def largest(a, b):
    """max(a, b), of numbers of which one may be on the GPU."""
    return np.maximum(a, b) if on_gpu(a) or on_gpu(b) else max(a, b)


def factor(k, x):
    """k as what x is multiplied by: an array of float64, even without axes, would widen it."""
    return k.astype(x.dtype) if on_gpu(k) else k


class LARS(Optimizer):
    """k = eta |p| / (|g| + wd |p|);  v = m v + lr k (g + wd p);  p -= v. One trust ratio k per tensor.

    k = 1 where |p| or the denominator is 0. `exclude` is a predicate for parameters that take k = 1 and no decay:
    the usual recipe is `exclude=lambda p: p.ndim <= 1` (biases, norms). Rates near 1 are usual.
    Source: You, Gitman, Ginsburg 2017.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> opt = optim.LARS([w], lr=1.0, eta=0.1)
    >>> w.grad = np.array([0.6, 0.8], "f"); _ = opt.step(); w.data  # k = 0.1 * 5 / 1
    array([2.7, 3.6], dtype=float32)
    """
    defaults = dict(lr=0.1, momentum=0.9, weight_decay=0.0, eta=0.001, exclude=None)
    functions = ("exclude",)
    own_decay = True
    waits = False

    def update_param(self, p):
        o, g, v = self.now, p.grad, self.memory(p, "momentum_buffer")
        wd, k = o.weight_decay, 1.0
        if o.exclude is not None and o.exclude(p):
            wd = 0.0
        else:
            size = norm(p.data)
            k = ratio(o.eta * size, norm(g) + wd * size) if o.eta else 0.0
        v *= o.momentum
        v += factor(o.lr * k, p) * (g + wd * p.data)
        p.data -= v


class LAMB(Optimizer):
    """r = m^ / (sqrt(v^) + eps) + wd p;  p -= lr |p| / |r| r. Adam's step, as long as the tensor's norm allows.

    The ratio is 1 where either norm is 0. Source: You et al. 2019.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> opt = optim.LAMB([w], lr=0.1)
    >>> w.grad = np.array([1.0, 1.0], "f"); _ = opt.step(); w.data.round(3)     # 0.1 * 5 / sqrt(2)
    array([2.646, 3.646], dtype=float32)
    """
    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)
    own_decay = True
    waits = False

    def update_param(self, p):
        o, g = self.now, p.grad
        (b1, b2), m, v = o.betas, self.memory(p, "exp_avg"), self.memory(p, "exp_avg_sq")
        m += (1 - b1) * (g - m)
        v += (1 - b2) * (g * g - v)
        r = m / (1 - b1 ** o.t) / (np.sqrt(v / (1 - b2 ** o.t)) + o.eps) + o.weight_decay * p.data
        p.data -= factor(o.lr * ratio(norm(p.data), norm(r)), p) * r


class Adafactor(Optimizer):
    """Second moments as a product of row and column means: memory rows + columns instead of rows x columns.

    q = t^beta2_decay;  R += q (mean_last(g^2) - R), C likewise over the rows;  V = R C / max(mean R, eps1);
    U = g / sqrt(max(V, eps1^2));  p -= alpha / max(1, rms(U)/d) U, alpha = max(eps2, rms(p)) min(lr, 1/sqrt t).
    eps1 None is the dtype's machine epsilon; decay is decoupled, with lr. Source: Shazeer & Stern 2018.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor(np.ones((4, 3), "f"), requires_grad=True)
    >>> opt = optim.Adafactor([w], lr=0.5)
    >>> w.grad = np.full((4, 3), 7.0, "f"); _ = opt.step(); w.data[0].round(3)
    array([0.5, 0.5, 0.5], dtype=float32)
    >>> sorted((k, v.shape) for k, v in opt.state["0"].items() if k != "step")
    [('col_var', (1, 3)), ('row_var', (4, 1))]
    """
    defaults = dict(lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0)
    decoupled = True
    waits = False

    def check(self, group):
        super().check({**group, "eps": tuple(0.0 if e is None else e for e in group["eps"])})
        if group["beta2_decay"] > 0:
            raise ValueError(f"Adafactor: beta2_decay: got {group['beta2_decay']}, expected a number in (-inf, 0]")
        if group["d"] < 1:
            raise ValueError(f"Adafactor: d: got {group['d']}, expected a number in [1, inf)")

    def update_param(self, p):
        o, g = self.now, p.grad
        e1 = np.finfo(p.dtype).eps if o.eps[0] is None else o.eps[0]
        q = o.t ** o.beta2_decay
        alpha = largest(o.eps[1], self.size_before) * min(o.lr, o.t ** -0.5)
        if p.ndim > 1:
            R = self.memory(p, "row_var", shape=(*p.shape[:-1], 1))
            C = self.memory(p, "col_var", shape=(*p.shape[:-2], 1, p.shape[-1]))
            R += q * ((g * g).mean(axis=-1, keepdims=True) - R)
            C += q * ((g * g).mean(axis=-2, keepdims=True) - C)
            V = R * C / np.maximum(R.mean(axis=-2, keepdims=True), e1)
        else:
            V = self.memory(p, "variance")
            V += q * (g * g - V)
        U = g / np.sqrt(np.maximum(V, e1 * e1))
        p.data -= factor(alpha / largest(1.0, rms(U) / o.d), p) * U

    def before(self, p):
        self.size_before = rms(p.data)      # measured before the decay


class Muon(Optimizer):
    """b += (1-m)(g-b);  u = (1-m) g + m b (Nesterov);  p *= 1 - lr wd;  p -= lr r orthogonalised(u). For matrices.

    Newton-Schulz brings all singular values of u near 1: ns_steps times A = X X', X = a X + (b A + c A A) X, from
    u / max(|u|, eps). r = sqrt(max(1, rows/cols)), or .2 sqrt(max(rows, cols)) with "match_rms_adamw". PyTorch runs
    the iteration in bfloat16, this one in the parameter's dtype. Source: Jordan 2024; Liu et al. 2025.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor(np.zeros((2, 2), "f"), requires_grad=True)
    >>> opt = optim.Muon([w], lr=1.0, weight_decay=0.0)
    >>> w.grad = np.array([[9.0, 0.0], [0.0, 1e-3]], "f"); _ = opt.step()
    >>> bool(0.6 < -w.data[0, 0] < 1.3)                 # the large direction is brought near 1
    True
    """
    defaults = dict(lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_coefficients=(3.4445, -4.7750, 2.0315), eps=1e-7,
                    ns_steps=5, adjust_lr_fn=None)
    decoupled = True
    waits = False

    def check(self, group):
        super().check(group)
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"{self.name}: adjust_lr_fn: got {group['adjust_lr_fn']!r}, expected None, 'original' or 'match_rms_adamw'")
        if group["ns_steps"] >= 100 or len(group["ns_coefficients"]) != 3:
            raise ValueError(f"{self.name}: got ns_steps={group['ns_steps']}, ns_coefficients={group['ns_coefficients']}, "
                             "expected fewer than 100 steps and three coefficients")

    def add_param_group(self, group):
        super().add_param_group(group)
        for slot in self.slots.values():
            if slot.p.ndim != 2:
                raise ValueError(f"{self.name}: parameter {slot.name!r} has shape {slot.p.shape}, expected a matrix (2-d): "
                                 "give the others to AdamW")

    def update_param(self, p):
        o, g, b = self.now, p.grad, self.memory(p, "momentum_buffer")
        b += (1 - o.momentum) * (g - b)
        u = (1 - o.momentum) * g + o.momentum * b if o.nesterov else b
        rows, columns = p.shape
        r = 0.2 * max(rows, columns) ** 0.5 if o.adjust_lr_fn == "match_rms_adamw" else max(1.0, rows / columns) ** 0.5
        p.data -= (o.lr * r) * orthogonalised(u, o.ns_coefficients, o.eps, o.ns_steps)


def orthogonalised(u, coefficients, eps, steps):
    """The nearest matrix with singular values near 1, by Newton-Schulz iteration."""
    a, b, c = coefficients
    X = u.T if u.shape[0] > u.shape[1] else u
    X = X / factor(largest(norm(X), eps), X)
    for _ in range(steps):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if u.shape[0] > u.shape[1] else X


class MuonF64(Muon):
    """Muon with the iteration in float64 whatever the parameter's dtype.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor(np.zeros((1, 2)), requires_grad=True)
    >>> opt = optim.MuonF64([w], lr=1.0, weight_decay=0.0)
    >>> w.grad = np.array([[3.0, 4.0]]); _ = opt.step(); (-w.data / np.array([[0.6, 0.8]])).round(2)
    array([[0.7, 0.7]])
    """
    defaults = dict(Muon.defaults)
