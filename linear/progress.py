"""Progressive validation: predict, score, then learn; running losses and the table that shows them.

Every example is scored before it is learned, so the running mean is an honest estimate without a test set
(Dawid 1984; Blum, Kalai, Langford 1999, COLT). The table has Vowpal Wabbit's columns.
"""
from dataclasses import dataclass, replace

from linear.losses import hinge

_HEADER = """\
average  since         example        example  current  current  current
loss     last          counter         weight    label  predict features
"""


@dataclass
class Totals:
    """Running sums over a stream: lines read, lines refused, weight and losses of the labelled examples.

    >>> totals = Totals()
    >>> totals.add(1, 0.25, weight=1.0); totals.add(-1, 0.5, weight=3.0)
    >>> totals.examples, totals.hinge, totals.zero_one
    (2, 1.3125, 0.75)
    """
    examples: int = 0
    malformed: int = 0
    features: int = 0
    weight: float = 0.0
    hinge_sum: float = 0.0
    zero_one_sum: float = 0.0

    def add(self, label, margin, weight=1.0, features=0):
        """Count one example with the margin it got before it was learned; label None counts without a loss."""
        self.examples += 1
        self.features += features
        if label is not None:
            self.weight += weight
            self.hinge_sum += weight * hinge(label, margin)
            self.zero_one_sum += weight * (label != (1 if margin > 0 else -1))

    @property
    def hinge(self):
        """Mean hinge loss by importance weight, None before the first labelled example."""
        return self.hinge_sum / self.weight if self.weight else None

    @property
    def zero_one(self):
        """Share of wrong predictions by importance weight, None before the first labelled example."""
        return self.zero_one_sum / self.weight if self.weight else None


class Progress:
    """Writes one line at example counts 1, 2, 4, 8, ... to `stream`, and a summary at the end."""

    def __init__(self, stream):
        self.stream, self.next, self.last = stream, 1, Totals()
        stream.write(_HEADER)

    def show(self, totals, label, margin, features):
        """Called after every example; `totals` includes it."""
        if totals.examples < self.next:
            return
        weight = totals.weight - self.last.weight
        since = (totals.hinge_sum - self.last.hinge_sum) / weight if weight else None
        label = "unknown" if label is None else f"{label:.4f}"
        self.stream.write(f"{_number(totals.hinge)} {_number(since)} {totals.examples:12d} {totals.weight:14.1f} "
                          f"{label:>8} {margin:8.4f} {features:8d}\n")
        self.stream.flush()
        self.last = replace(totals)
        while self.next <= totals.examples:
            self.next *= 2

    def finish(self, totals, weights, seconds):
        """The summary: `weights` is their number, `seconds` the time of the run."""
        self.stream.write(f"\nexamples = {totals.examples}\nmalformed lines = {totals.malformed}\n"
                          f"sum of example weights = {totals.weight:g}\n"
                          f"average hinge loss = {_number(totals.hinge)}\naverage 0/1 loss = {_number(totals.zero_one)}\n"
                          f"features in all = {totals.features}\nweights = {weights}\nseconds = {seconds:.3f}\n")


def _number(value):
    return "    n.a." if value is None else f"{value:8.6f}"
