"""Update rules: how one example changes the weights of its own features, and of no others.

Every rule is called after the margin m = sum_i w_i x_i of the example is known:

    rule(learner, features, y, m, h)      features: [(key, x), ...]   y: -1 or 1   h: importance weight, > 0

and reads its rate and constants, weights and state from the learner. The boundary y m = 1 counts as
classified well: the hinge loss and its gradient are 0 there.
"""
from math import sqrt
from typing import Callable, NamedTuple


class Rule(NamedTuple):
    """A row of `RULES`: the update, the names of its state per weight, its default learning rate (None: it has none)."""
    update: Callable
    state: tuple = ()
    lr: float | None = None


def hinge(y, m):
    """Hinge loss max(0, 1 - y m) of a label y (-1 or 1) and a margin m (Cortes, Vapnik 1995, Machine Learning 20).

    >>> hinge(1, 0.0), hinge(1, 0.25), hinge(-1, 0.25), hinge(1, 1.0)
    (1.0, 0.75, 1.25, 0.0)
    """
    return max(0.0, 1.0 - y * m)


def perceptron(learner, features, y, m, h):
    """Perceptron: where y m <= 0, w_i += h y x_i (Rosenblatt 1958, Psychological Review 65)."""
    if y * m <= 0.0:
        _add(learner.weights, features, h * y)


def sgd(learner, features, y, m, h):
    """Stochastic gradient on the hinge loss (Bottou 2010, COMPSTAT).

    Where y m < 1: w_i += eta_t h y x_i, eta_t = lr t^-power_t. t counts learned examples, this one included,
    from initial_t on; power_t = 0, the default, is a constant rate.
    """
    if y * m < 1.0:
        eta = learner.lr * (learner.initial_t + learner.t) ** -learner.power_t
        _add(learner.weights, features, eta * h * y)


def pa(learner, features, y, m, h):
    """Passive-aggressive: the smallest change after which the loss is 0 (Crammer, Dekel, Keshet, Shalev-Shwartz,
    Singer 2006, JMLR 7).

    tau = L / sum_i x_i^2; w_i += tau y x_i. There is no slack to weigh, so any h > 0 gives the same step.
    """
    if y * m < 1.0:
        _add(learner.weights, features, hinge(y, m) / _squared_length(features) * y)


def pa1(learner, features, y, m, h):
    """Passive-aggressive I, the step is capped (Crammer et al. 2006, JMLR 7).

    tau = min(h C, L / sum_i x_i^2); w_i += tau y x_i. h multiplies C, the price of the example's loss.
    """
    if y * m < 1.0:
        _add(learner.weights, features, min(h * learner.C, hinge(y, m) / _squared_length(features)) * y)


def pa2(learner, features, y, m, h):
    """Passive-aggressive II, the step is damped (Crammer et al. 2006, JMLR 7).

    tau = L / (sum_i x_i^2 + 1 / (2 h C)); w_i += tau y x_i. h multiplies C, the price of the example's squared loss.
    """
    if y * m < 1.0:
        _add(learner.weights, features, hinge(y, m) / (_squared_length(features) + 0.5 / (h * learner.C)) * y)


def adagrad(learner, features, y, m, h):
    """Diagonal AdaGrad with the invariant cap: rare features take large steps, and no step passes loss 0.

    Where y m < 1, with g_i^2 = x_i^2 for the hinge loss, feature by feature in order:

        G_i += h x_i^2,  r_i = 1 / (sqrt(G_i) + 1e-10),  q = sum_i x_i^2 r_i   (change of m per unit of u)
        u = y min(lr h, (1 - y m) / q),  w_i += u x_i r_i

    Duchi, Hazan, Singer 2011, JMLR 12; McMahan, Streeter 2010, arXiv:1002.4908; the cap: Karampatziakis,
    Langford 2011, UAI, arXiv:1011.1576.
    """
    if y * m >= 1.0:
        return
    weights, G = learner.weights, learner.state["G"]
    q, steps = 0.0, []
    for key, x in features:
        total = G[key] = G[key] + h * x * x
        r = 1.0 / (sqrt(total) + 1e-10)
        q += x * x * r
        steps.append(x * r)
    u = y * min(learner.lr * h, (1.0 - y * m) / q)
    for (key, _), step in zip(features, steps):
        weights[key] += u * step


def _add(weights, features, scale):
    for key, x in features:
        weights[key] += scale * x


def _squared_length(features):
    total = 0.0
    for _, x in features:
        total += x * x
    return total


RULES = {
    "perceptron": Rule(perceptron),
    "sgd": Rule(sgd, lr=0.02),
    "pa": Rule(pa),
    "pa1": Rule(pa1),
    "pa2": Rule(pa2),
    "adagrad": Rule(adagrad, state=("G",), lr=0.15),
}
