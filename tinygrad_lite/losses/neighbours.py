"""The soft nearest neighbour loss: how mixed are the classes around each point? Frosst, Papernot & Hinton 2019 (1902.01889).

    -1/n sum_i log( sum_{j != i, y_j = y_i} e^(-d_ij / T) / sum_{k != i} e^(-d_ik / T) )

Low when a point's neighbours are of its class. Added to a loss it parts the classes in a hidden layer, subtracted
(as in the paper) it mixes them. T decides how far the neighbourhood reaches.
"""
import numpy as np

from ..autodiff import grad
from ..backend import on_gpu, xp_of
from ..kernels.neighbours import neighbour_losses
from ..ops.elementwise import exp, log, square
from ..ops.indexing import where
from ..ops.linalg import matmul
from ..ops.reductions import logsumexp, sum
from ..tensor import Tensor, op
from .common import above_zero, integers, tensor, unit


def soft_nearest_neighbor_loss(x, y, temperature=1.0, cos=False, skip_alone=False, method="batched", eps=1e-5):
    """-mean_i log of the share that i's own class has in its neighbourhood; x: (N, D), y: integer classes (N,).

    d_ij is |x_i - x_j|^2, or with `cos` 1 - cos(x_i, x_j). A point alone in its class makes the loss inf;
    `skip_alone` leaves such points out of the mean (not out of the others' neighbourhoods). No points: 0.

    method="batched" works in logarithms, right at any temperature; "naive" is the definition as a loop, for reading and
    for tests; "eps" is the authors' own form, -log(eps + sum_same f / (eps + sum f)), which ends at -log(eps).
    A Tensor as temperature is learned along. fitted_temperature does the paper's step on it.

    >>> x = Tensor([[0.0, 0.0], [0.0, 1.0], [3.0, 0.0], [3.0, 1.0]])
    >>> parted, mixed = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    >>> [round(soft_nearest_neighbor_loss(x, y).item(), 4) for y in (parted, mixed)]
    [0.0005, 8.0005]
    >>> [round(soft_nearest_neighbor_loss(x, mixed, T).item(), 4) for T in (0.001, 100.0)]
    [8000.0, 1.1228]
    """
    name = "soft_nearest_neighbor_loss"
    x, temperature = tensor(x), above_zero(name, "temperature", temperature)
    y = integers(name, y, x)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"{name}: got x of shape {x.shape} and y of shape {y.shape}, expected (N, D) and (N,)")
    if method not in METHODS:
        raise ValueError(f"{name}: method: got {method!r}, expected {', '.join(map(repr, METHODS))}")
    kept = mates(y).any(axis=1) if skip_alone else np.ones_like(y, bool)
    if len(y) == 0 or not on_gpu(kept) and not kept.any():
        return sum(x * 0)                   # nobody to ask: 0, with gradient 0
    x = unit(x) if cos else x
    if method == "eps":
        return _eps(x, y, kept, temperature, cos, eps)
    if method == "batched" and isinstance(temperature, Tensor):
        return _formula(x, y, kept, temperature, cos)
    return METHODS[method](x, y, kept, temperature, cos)


def fitted_temperature(x, y, temperature=100.0, cos=False, rate=0.1, eps=1e-5):
    """The paper's step on the temperature T / t: from t = 1 to t - rate dL/dt, L the loss's "eps" form. A plain number.

    For soft_nearest_neighbor_loss(x, y, fitted_temperature(x, y), method="eps"); no gradient flows through it.

    >>> x, y = Tensor([[0.0], [1.0], [9.0], [10.0]]), np.array([0, 0, 1, 1])
    >>> round(fitted_temperature(x, y, 100.0), 2)                   # the classes are apart: look nearer
    96.39
    """
    t = Tensor(np.ones(()), requires_grad=True)
    x, temperature = tensor(x).detach(), float(above_zero("fitted_temperature", "temperature", temperature))
    loss = soft_nearest_neighbor_loss(x, y, temperature / t, cos, method="eps", eps=eps)
    moved = 1 - rate * (grad(loss, t).item() if loss.requires_grad else 0.0)
    if not moved > 0:
        raise ValueError(f"fitted_temperature: the step leads to the temperature {temperature} / {moved:.3g}: lower the rate "
                         f"(got {rate}) or start from a higher temperature")
    return temperature / moved


def point_loss(same, rest):
    """One point's loss from e^(-d / T) to all others: `same` of its class, `rest` all of them. The definition, as a loop.

    >>> round(point_loss([.99, .99], [.99, .01, .99, .01, .01]), 3)           # its neighbours are its own
    0.015
    >>> round(point_loss([.01, .99], [.99, .01, .01, .99, .01]), 3)           # one of its own is far off
    0.698
    """
    of_same = of_rest = 0.0
    for e in same:
        of_same = of_same + e               # not `=`: every one of them counts
    for e in rest:
        of_rest = of_rest + e
    prob = of_same / of_rest
    assert not prob > 1 + 1e-6, f"own class has {prob} of the neighbourhood, expected at most all"
    return -log(tensor(prob)) if isinstance(prob, Tensor) else -float(np.log(prob))


@np.errstate(divide="ignore", invalid="ignore")         # e^(-d / T) of far points is 0: 0 / 0 is this form's weakness
def _naive(x, y, kept, temperature, cos):
    near = exp(-distances(x, cos) / temperature)
    n, total = len(y), sum(x * 0)
    for i in range(n):
        if kept[i]:
            rest = [near[i, j] for j in range(n) if j != i]
            same = [near[i, j] for j in range(n) if j != i and y[j] == y[i]]
            total = total + (point_loss(same, rest) if same else np.inf)
    return total / int(kept.sum())


def _eps(x, y, kept, temperature, cos, eps):
    near = where(oneself(y), 0, exp(-distances(x, cos) / temperature))
    share = near / (eps + sum(near, 1, keepdims=True))
    return mean_of(kept, -log(eps + sum(where(mates(y), share, 0), 1)))


def mean_of(kept, losses):
    """The mean of those losses that are kept, 0 of none."""
    return sum(where(kept, losses, 0)) / count(kept).astype(losses.dtype)


def oneself(y):
    """True where a point meets itself."""
    return xp_of(y).eye(len(y), dtype=bool)


def mates(y):
    """True where two different points are of one class."""
    return (y[:, None] == y) & ~oneself(y)


def distances(x, cos):
    """(N, N): |x_i - x_j|^2, or 1 - x_i.x_j of unit rows. Differences first: the difference of squares would lose digits."""
    return 1 - matmul(x, x.T) if cos else sum(square(x[:, None, :] - x[None, :, :]), 2)


# --- the batched form: a formula in logarithms, and the same fused
def _formula(x, y, kept, temperature, cos):
    scores = -distances(x, cos) / temperature
    alike = mates(y)
    alone = ~alike.any(axis=1)
    rest = logsumexp(where(oneself(y) & (len(y) > 1), -np.inf, scores), 1)
    same = logsumexp(where(alike | alone[:, None], scores, -np.inf), 1)
    return mean_of(kept, rest - where(alone, -np.inf, same))


def _forward(x, y, kept, temperature, cos):
    centred = x if cos else x - x.mean(axis=0)          # distances do not move, and products keep their digits
    losses, pull = neighbour_losses(centred, y, kept, temperature, cos)
    return losses.sum() / count(kept).astype(x.dtype), (centred, pull)


def count(kept):
    """How many are kept, at least 1."""
    return np.maximum(kept.sum(), 1)


def _rule(g, z, x, y, kept, temperature, cos, saved):
    centred, pull = saved                               # dL/dx_i = sum_j pull_ij x_j / T, or 2/T sum_j pull_ij (x_j - x_i)
    towards = pull @ centred
    if cos:
        return towards * (g * (1 / (temperature * count(kept))).astype(x.dtype))
    return (towards - pull.sum(axis=1, keepdims=True) * centred) * (g * (2 / (temperature * count(kept))).astype(x.dtype))


_batched = op("soft_nearest_neighbor_loss", _forward, _rule, composite=_formula, saves=True)
METHODS = {"batched": _batched, "naive": _naive, "eps": _eps}
