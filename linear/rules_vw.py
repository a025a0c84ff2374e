"""Vowpal Wabbit's update: adaptive, normalized, invariant, each by its own switch; `--sgd` is none of them.

Read off VW's program (gd.cc, loss_functions.cc) and the papers; VW computes in float32 with an approximate
reciprocal root, so agreement with it is to about 1e-3.
"""
from math import exp, log, sqrt


def nag(learner, features, y, m, h):
    """VW's update of w_i: adaptive (Duchi, Hazan, Singer 2011, JMLR 12), normalized (Ross, Mineiro, Langford 2013,
    UAI, arXiv:1305.6646), invariant (Karampatziakis, Langford 2011, UAI, arXiv:1011.1576).

    m is clamped to the labels seen (`DictLearner.clamped`). Where the loss is above 0, with p = power_t and
    e = 1 - p (1 where not adaptive), feature by feature in order:

        G_i += h g^2 x_i^2;  where |x_i| > N_i:  w_i *= (N_i / |x_i|)^2e if N_i > 0,  N_i = |x_i|
        r_i = G_i^-p (N_i^2)^-e,  norm += x_i^2 / N_i^2,  q += x_i^2 r_i

    (no G_i where not adaptive, no N_i where not normalized), and then, with the last r_i of a feature that came twice,

        X += h norm;  T += h;  c = (T / X)^e;  w_i += c u x_i r_i             (c = 1 where not normalized)

    with u of `step` for the rate eta h, eta = lr; where not adaptive, eta = lr t^-p, t = initial_t + the sum of all h,
    and where neither adaptive nor normalized also times initial_t^p.
    """
    push = learner.loss.push(y, m)
    if push == 0.0:
        return
    weights, G, N, p = learner.weights, learner.state["G"], learner.state["N"], learner.power_t
    e = 1.0 - p if learner.adaptive else 1.0
    gain, q, norm = h * push * push, 0.0, 0.0
    for key, x in features:
        if learner.adaptive:
            G[key] += gain * x * x
        if learner.normalized:
            if abs(x) > N[key]:
                if N[key] > 0.0:
                    weights[key] *= _power(N[key] / abs(x), e)
                N[key] = abs(x)
            norm += x * x / (N[key] * N[key])
        q += x * x * _scale(learner, G[key], N[key], p, e)
    c = 1.0
    if learner.normalized:
        learner.X += h * norm
        learner.T += h
        c = (learner.T / learner.X) ** e
    u = c * step(learner.loss_name, y, m, _rate(learner) * h, c * q, learner.invariant)
    for key, x in features:
        weights[key] += u * x * _scale(learner, G[key], N[key], p, e)


def step(loss, y, m, eta, q, invariant):
    """How far to move along the gradient: eta times the push, or, invariant, the limit of many small steps of eta in
    all; q is what a unit of it adds to the margin. None passes the point where the loss ends.

    >>> step("hinge", 1, 0.0, 0.5, 4.0, True), step("hinge", 1, 0.0, 0.5, 4.0, False)
    (0.25, 0.5)
    >>> round(step("squared", 1, 0.5, 0.25, 2.0, True), 4), step("squared", 1, 0.5, 0.25, 2.0, False)
    (0.158, 0.25)
    >>> round(step("logistic", 1, 0.0, 8.0, 1.0, True), 4), step("logistic", 1, 0.0, 8.0, 1.0, False)
    (1.9527, 4.0)
    """
    if loss == "hinge":
        return y * (1.0 - y * m) / q if invariant and eta * q > 1.0 - y * m else y * eta
    if loss == "squared":
        if not invariant or eta * q < 1e-6:
            return 2.0 * (y - m) * eta
        return (y - m) * (1.0 - exp(-2.0 * eta * q)) / q
    d = exp(y * m)                                    # m is within [-50, 50]
    if not invariant or eta * q < 1e-6:
        return y * eta / (1.0 + d)
    return -(y * _w_exp_minus(eta * q + y * m + d) + m) / q


def _w_exp_minus(x):
    """W(exp(x)) - x with Lambert's W, by one step of Fritsch's iteration from a rough start, as VW takes it."""
    if x >= 1.0:
        w = 0.86 * x + 0.01
        r = x - log(w) - w
    else:
        w = exp(0.8 * x - 0.65)
        r = 0.2 * x + 0.65 - w
    t = 1.0 + w
    u = 2.0 * t * (t + 2.0 * r / 3.0)
    return w * (1.0 + r / t * (u - r) / (u - 2.0 * r)) - x


def _power(ratio, e):
    """ratio^2e, exact for the usual e = 1/2 and 1."""
    return ratio if e == 0.5 else ratio * ratio if e == 1.0 else (ratio * ratio) ** e


def _scale(learner, G, N, p, e):
    r = 1.0
    if learner.adaptive:
        r = 1.0 / sqrt(G) if p == 0.5 else G ** -p
    return r / _power(N, e) if learner.normalized else r


def _rate(learner):
    if learner.adaptive:
        return learner.lr
    rate = learner.lr * (learner.initial_t + learner.seen) ** -learner.power_t
    return rate if learner.normalized else rate * learner.initial_t ** learner.power_t
