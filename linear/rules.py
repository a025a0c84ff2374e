"""Update rules: how one example changes the weights of its own features, and of no others.

Every rule is called after the margin m = sum_i w_i x_i of the example is known:

    rule(learner, features, y, m, h)      features: [(key, x), ...]   y: -1 or 1   h: importance weight, > 0

and reads its options, weights and state from the learner. The boundary y m = 1 counts as classified well: the
hinge loss and its gradient are 0 there. Below, L is the loss and g = -y dL/dm its push (1 or 0 for the hinge
loss). A feature that comes twice is updated twice, one after the other.

This file is the definition of truth; `linear.kernels.updates` has the same formulas as compiled loops.
"""
from math import sqrt
from typing import Callable, NamedTuple

from linear import rules_vw
from linear.losses import hinge

HINGE, PUSHED = ("hinge",), ("hinge", "squared_hinge", "logistic")


class Rule(NamedTuple):
    """A row of `RULES`: the update, its state per weight with fill values, its default learning rate (None: it has
    none), the losses it knows, whether l1 and l2 apply, and the parameters of HingeSVM it reads."""
    update: Callable
    state: dict = {}
    lr: float | None = None
    losses: tuple = HINGE
    penalties: bool = False
    reads: tuple = ()


def perceptron(learner, features, y, m, h):
    """Perceptron: where y m <= 0, w_i += h y x_i (Rosenblatt 1958, Psychological Review 65)."""
    if y * m <= 0.0:
        _add(learner, features, h * y)


def sgd(learner, features, y, m, h):
    """Stochastic gradient (Bottou 2010, COMPSTAT).

    w_i += eta_t h g y x_i, eta_t = lr t^-power_t. t counts learned examples, this one included, from initial_t on;
    power_t = 0, the default, is a constant rate. l1 and l2: see `DictLearner.shrink`.
    """
    eta = _rate(learner)
    push = learner.loss.push(y, m)
    if push != 0.0:
        _add(learner, features, eta * h * push * y)
    learner.shrink(eta * h)


def pegasos(learner, features, y, m, h):
    """Pegasos: gradient of lam/2 |w|^2 + L with the rate 1 / (lam t), without the optional projection
    (Shalev-Shwartz, Singer, Srebro, Cotter 2011, Mathematical Programming 127).

    Every step: w_i *= 1 - 1/t; where y m < 1: w_i += h y x_i / (lam t). The first factor, 0, meets no weights yet.
    The factor is one number for all weights (`DictLearner.scale`), so a step costs the example's own length.
    """
    t = learner.initial_t + learner.t
    if t > 1.0:
        learner.rescale(1.0 - 1.0 / t)
    if y * m < 1.0:
        _add(learner, features, h / (learner.lam * t) * y)


def asgd(learner, features, y, m, h):
    """Averaged stochastic gradient: `sgd`, but predictions come from the mean of the weights over time
    (Polyak, Juditsky 1992, SIAM J. Control Optim. 30; Xu 2011, arXiv:1107.2490).

    The gradient is taken at the current weights, not at the mean: m' = sum_i w_i x_i.
    d = eta_t h g' y x_i; w_i += d; u_i += (t - 1) d; the mean is w_i - u_i / t.
    """
    weights, u = learner.weights, learner.state["u"]
    current = learner.initial
    for key, x in features:
        current += weights.get(key, 0.0) * x
    push = learner.loss.push(y, current)
    if push == 0.0:
        return
    step = _rate(learner) * h * push * y
    for key, x in features:
        weights[key] += step * x
        u[key] += (learner.t - 1) * (step * x)


def pa(learner, features, y, m, h):
    """Passive-aggressive: the smallest change after which the loss is 0 (Crammer, Dekel, Keshet, Shalev-Shwartz,
    Singer 2006, JMLR 7).

    tau = L / sum_i x_i^2; w_i += tau y x_i. There is no slack to weigh, so any h > 0 gives the same step.
    """
    if y * m < 1.0:
        _add(learner, features, hinge(y, m) / _squared_length(features) * y)


def pa1(learner, features, y, m, h):
    """Passive-aggressive I, the step is capped (Crammer et al. 2006, JMLR 7).

    tau = min(h C, L / sum_i x_i^2); w_i += tau y x_i. h multiplies C, the price of the example's loss.
    """
    if y * m < 1.0:
        _add(learner, features, min(h * learner.C, hinge(y, m) / _squared_length(features)) * y)


def pa2(learner, features, y, m, h):
    """Passive-aggressive II, the step is damped (Crammer et al. 2006, JMLR 7).

    tau = L / (sum_i x_i^2 + 1 / (2 h C)); w_i += tau y x_i. h multiplies C, the price of the example's squared loss.
    """
    if y * m < 1.0:
        _add(learner, features, hinge(y, m) / (_squared_length(features) + 0.5 / (h * learner.C)) * y)


def adagrad(learner, features, y, m, h):
    """Diagonal AdaGrad with the invariant cap: rare features take large steps, and no step passes loss 0.

    Where g > 0 (for the hinge loss g = 1, where y m < 1), feature by feature in order:

        G_i += h g^2 x_i^2,  r_i = 1 / (sqrt(G_i) + 1e-10),  q = sum_i x_i^2 r_i   (change of m per unit of u)
        u = y min(lr h g, (1 - y m) / q),  w_i += u x_i r_i          (logistic loss, which has no end: u = y lr h g)

    Duchi, Hazan, Singer 2011, JMLR 12; McMahan, Streeter 2010, arXiv:1002.4908; the cap: Karampatziakis,
    Langford 2011, UAI, arXiv:1011.1576. l1 and l2: see `DictLearner.shrink`.
    """
    push = learner.loss.push(y, m)
    if push != 0.0:
        G, gain, q, steps = learner.state["G"], h * push * push, 0.0, []
        for key, x in features:
            total = G[key] = G[key] + gain * x * x
            r = 1.0 / (sqrt(total) + 1e-10)
            q += x * x * r
            steps.append(x * r)
        u = learner.lr * h * push
        if learner.loss.ends and u * q > 1.0 - y * m:
            u = (1.0 - y * m) / q
        for (key, _), step in zip(features, steps):
            learner.write(key, learner.read(key) + y * u * step)
    learner.shrink(learner.lr * h)


def ftrl(learner, features, y, m, h):
    """Follow the regularized leader, proximal: exact zeros under l1 (McMahan et al. 2013, KDD).

    With g_i = -h g y x_i and beta = 1:

        s = (sqrt(n_i + g_i^2) - sqrt(n_i)) / lr,  z_i += g_i - s w_i,  n_i += g_i^2
        w_i = 0 where |z_i| <= l1, else -(z_i - sign(z_i) l1) / ((beta + sqrt(n_i)) / lr + l2)
    """
    push = learner.loss.push(y, m)
    if push == 0.0:
        return
    weights, zs, ns = learner.weights, learner.state["z"], learner.state["n"]
    for key, x in features:
        g = -h * push * y * x
        n = ns[key]
        total = n + g * g
        z = zs[key] + g - (sqrt(total) - sqrt(n)) / learner.lr * weights[key]
        rest = max(0.0, abs(z) - learner.l1)
        weights[key] = (-rest if z > 0.0 else rest) / ((1.0 + sqrt(total)) / learner.lr + learner.l2)
        zs[key], ns[key] = z, total


def arow(learner, features, y, m, h):
    """Adaptive regularization of weights, diagonal: a variance S_i for every weight, from 1 down to `floor`
    (Crammer, Kulesza, Dredze 2009, NIPS).

    Where y m < 1: v = sum_i S_i x_i^2, beta = 1 / (v + r / h), alpha = L beta;
    w_i += alpha y S_i x_i; S_i = max(floor, S_i - beta S_i^2 x_i^2). The floor keeps it learning under drift.
    """
    if y * m < 1.0:
        beta = 1.0 / (_variance(learner, features) + learner.r / h)
        _confident_step(learner, features, hinge(y, m) * beta * y, beta)


def scw2(learner, features, y, m, h):
    """Soft confidence-weighted learning II, diagonal (Wang, Zhao, Hoi 2012, arXiv:1206.4612).

    v = sum_i S_i x_i^2; where phi sqrt(v) > y m, with p = phi^2 and n = v + 1 / (2 h C):

        alpha = (-(2 n + p v) y m + phi sqrt(p (y m)^2 v^2 + 4 n v (n + v p))) / (2 (n^2 + n v p)), if above 0
        u = (-alpha v phi + sqrt(alpha^2 v^2 p + 4 v))^2 / 4,  beta = alpha phi / (sqrt(u) + v alpha phi)
        w_i += alpha y S_i x_i;  S_i = max(floor, S_i - beta S_i^2 x_i^2)
    """
    v, phi, ym = _variance(learner, features), learner.phi, y * m
    if not phi * sqrt(v) > ym:
        return
    p, n = phi * phi, v + 0.5 / (h * learner.C)
    alpha = (-(2.0 * n + p * v) * ym + phi * sqrt(p * ym * ym * v * v + 4.0 * n * v * (n + v * p))) / (2.0 * (n * n + n * v * p))
    if not 0.0 < alpha <= 1e100:
        return
    root = (-alpha * v * phi + sqrt(alpha * alpha * v * v * p + 4.0 * v)) / 2.0       # sqrt(u)
    _confident_step(learner, features, alpha * y, alpha * phi / (root + v * alpha * phi))


def initial_row(learner, weight):
    """{column: [number]} of a feature that begins with this weight, for `restore`; in ftrl z is what holds a weight."""
    row = {name: [RULES[learner.rule].state.get(name, 0.0)] for name in learner.columns()[1]}
    row["weight"] = [weight]
    if learner.rule == "ftrl":
        row["z"] = [-(weight * (1.0 / learner.lr + learner.l2) + (learner.l1 if weight > 0.0 else -learner.l1))]
    return row


def _add(learner, features, scale):
    for key, x in features:
        learner.write(key, learner.read(key) + scale * x)


def _rate(learner):
    return learner.lr * (learner.initial_t + learner.t) ** -learner.power_t


def _squared_length(features):
    total = 0.0
    for _, x in features:
        total += x * x
    return total


def _variance(learner, features):
    total, S = 0.0, learner.state["S"]
    for key, x in features:
        total += S.get(key, 1.0) * x * x
    return total


def _confident_step(learner, features, scale, beta):
    weights, S, floor = learner.weights, learner.state["S"], learner.floor
    for key, x in features:
        s = S[key]
        weights[key] += scale * s * x
        S[key] = max(floor, s - beta * s * s * x * x)


RULES = {
    "perceptron": Rule(perceptron),
    "sgd": Rule(sgd, lr=0.02, losses=PUSHED, penalties=True, reads=("power_t", "initial_t")),
    "pa": Rule(pa),
    "pa1": Rule(pa1, reads=("C",)),
    "pa2": Rule(pa2, reads=("C",)),
    "pegasos": Rule(pegasos, reads=("lam", "initial_t")),
    "asgd": Rule(asgd, {"u": 0.0}, lr=0.02, losses=PUSHED, reads=("power_t", "initial_t")),
    "adagrad": Rule(adagrad, {"G": 0.0}, lr=0.15, losses=PUSHED, penalties=True),
    "ftrl": Rule(ftrl, {"z": 0.0, "n": 0.0}, lr=0.2, losses=PUSHED, penalties=True),
    "arow": Rule(arow, {"S": 1.0}, reads=("r", "floor")),
    "scw2": Rule(scw2, {"S": 1.0}, reads=("C", "phi", "floor")),
    "nag": Rule(rules_vw.nag, {"G": 0.0, "N": 0.0}, lr=0.5, losses=("hinge", "logistic", "squared"),
                reads=("power_t", "initial_t", "adaptive", "normalized", "invariant")),
}
