"""Vowpal Wabbit's update: adaptive, normalized, invariant, each by its own switch; `--sgd` is none of them.

Read off VW's program (gd.cc, loss_functions.cc) and the papers; VW computes in float32 with an approximate
reciprocal root, so agreement with it is to about 1e-3.
"""
from math import exp, log, sqrt


def nag(learner, features, y, m, h):
    """VW's update of each w_i: adaptive (Duchi, Hazan, Singer 2011, JMLR 12), normalized (Ross, Mineiro, Langford 2013,
    UAI, arXiv:1305.6646), invariant (Karampatziakis, Langford 2011, UAI, arXiv:1011.1576).

    m is the margin clamped to the labels seen (`DictLearner.clamped`); where the loss is above 0, p = power_t:

        G_i += h g^2 x_i^2;  where |x_i| > N_i: w_i *= rescaling(N_i / |x_i|), N_i = |x_i|
        r_i = G_i^-p (N_i^2)^(p-1)                 adaptive and normalized;  G_i^-p adaptive alone;
                                                   (N_i^2)^-1, or ^-p with ..., normalized alone;  1 plain
        X += h sum_i x_i^2 / N_i^2;  T += h;  c = (T / X)^(1-p) adaptive, T / X not adaptive, 1 not normalized
        q = c sum_i x_i^2 r_i;  w_i += c u x_i r_i

    u is the limit of many small steps of eta h in all, or that one step where not invariant. Not adaptive, eta is
    multiplied by t^-p, t = initial_t + the weight of all examples.
    """
    gain = h * learner.loss.push(y, m) * learner.loss.push(y, m)
    if not learner.loss.value(y, m) > 0.0 or gain == 0.0:
        return
    p = learner.power_t
    weights, G, N = learner.weights, learner.state["G"], learner.state["N"]
    q, norm, rates = 0.0, 0.0, []
    for key, x in features:
        r = 1.0
        if learner.adaptive:
            G[key] += gain * x * x
            r = G[key] ** -p
        if learner.normalized:
            size = abs(x)
            if size > N[key]:
                if N[key] > 0.0:
                    weights[key] *= rescaling(N[key] / size, p, learner.adaptive)
                N[key] = size
            norm += x * x / (N[key] * N[key])
            r *= scaled(N[key], p, learner.adaptive)
        q += x * x * r
        rates.append(x * r)
    c = 1.0
    if learner.normalized:
        learner.X += h * norm
        learner.T += h
        c = (learner.T / learner.X) ** ((1.0 - p) if learner.adaptive else 1.0)
    q *= c
    step = c * learner.loss_step(y, m, rate(learner) * h, q)
    for (key, _), x in zip(features, rates):
        weights[key] += step * x
