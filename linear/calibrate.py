"""From margins to probabilities, online: Platt's sigmoid, fitted as the stream goes by. An option, never the default.

A hinge margin is no probability. Platt (1999, Advances in Large Margin Classifiers) fits p(y = 1 | m) = s(a m + b) with
s(z) = 1 / (1 + exp(-z)), on margins that the learner got before it learned the example, as they would else be too sure.
"""
from math import exp

PRIOR = 1.0, 0.0              # a and b before any example: p = s(m)


class Platt:
    """The two numbers a and b, updated example by example by one Newton step on the logistic loss.

        p = s(a m + b),  u = (m, 1),  H += h p (1 - p) u u',  (a, b) -= H^-1 h (p - t) u

    H begins as the unit matrix: a prior of weight 1 on a = 1, b = 0 (the online Laplace approximation: Spiegelhalter,
    Lauritzen 1990, Networks 20). The target t is not 0 or 1 but Platt's 1 / (n- + 2) or (n+ + 1) / (n+ + 2), n+ and n-
    the labels so far, so that a clean separation does not drive a to infinity. It follows slow drift ever more slowly,
    since H only grows; `forget` below 1 multiplies H before each step and so keeps about 1 / (1 - forget) examples.

    >>> platt = Platt()
    >>> for day in range(300):
    ...     platt.learn(2.0, -1 if day % 5 == 0 else 1)      # margin 2: right four times of five
    ...     platt.learn(-2.0, 1 if day % 5 == 0 else -1)
    >>> round(platt.probability(2.0), 2), round(platt.probability(0.0), 2)
    (0.79, 0.5)
    """

    def __init__(self, forget=1.0):
        if not 0.0 < forget <= 1.0:
            raise ValueError(f"forget={forget!r} is not above 0 and at most 1")
        self.forget = forget
        self.a, self.b = PRIOR
        self.aa, self.ab, self.bb = 1.0, 0.0, 1.0        # H
        self.plus, self.minus = 0.0, 0.0

    def probability(self, margin):
        """p(y = 1) of a margin, strictly between 0 and 1."""
        z = max(-30.0, min(30.0, self.a * margin + self.b))
        return 1.0 / (1.0 + exp(-z))

    def learn(self, margin, y, weight=1.0):
        """Take in one margin and what the label (-1 or 1) turned out to be."""
        if y > 0:
            self.plus += weight
            target = (self.plus + 1.0) / (self.plus + 2.0)
        else:
            self.minus += weight
            target = 1.0 / (self.minus + 2.0)
        m = max(-1e6, min(1e6, margin))
        p = self.probability(m)
        h = weight * max(p * (1.0 - p), 1e-6)
        self.aa, self.ab, self.bb = (kept * self.forget + h * new for kept, new in
                                     ((self.aa, m * m), (self.ab, m), (self.bb, 1.0)))
        slope = weight * (p - target)
        det = self.aa * self.bb - self.ab * self.ab
        if det > 1e-12 * self.aa * self.bb:              # else margins have never differed, and H cannot tell a from b
            self.a -= slope * (self.bb * m - self.ab) / det
            self.b -= slope * (self.aa - self.ab * m) / det
        self.a = max(self.a, 0.0)                        # a larger margin never means a smaller probability

    def state(self):
        """All numbers, for a model file; `restore` is the inverse."""
        return [self.forget, self.a, self.b, self.aa, self.ab, self.bb, self.plus, self.minus]

    @classmethod
    def restore(cls, state):
        """A Platt with the numbers that `state` gave."""
        made = cls()
        made.forget, made.a, made.b, made.aa, made.ab, made.bb, made.plus, made.minus = state
        return made
