"""What to do about drift beside marking it: a second learner with a higher rate, which takes over where it proves better.

It begins after a detector has marked the stream, as a copy of the one that answers, and learns the same events. Only events
that one of the two gets wrong say anything (the sign test, as in `shadow`). When it has won so many of them that chance would
hardly do it, it takes over, rate and all; if it has not after CONTEST events, it is dropped. All of this is a function of
the log: it is decided before the first event of each BLOCK of numbers, wherever batches end, so a replay decides the same.
"""
from dataclasses import asdict, dataclass, replace

import numpy as np

from linear.svm import HingeSVM

ALERT, CHALLENGER = POLICIES = ("alert", "challenger")
RAISE = 4.0                                 # its learning rate by that of the one it challenges
BLOCK = 64                                  # numbers between two decisions
CONTEST = 1000                              # labelled events
SIGMAS = 3                                  # a lead beyond this is no chance, although it is looked at some fifteen times
SWAP = "challenger"                         # what a mark is called where it took over


@dataclass
class Challenger:
    """A learner that competes since event `since`: what it got right and the other wrong, what the other way round.

    >>> challenger = Challenger.to(HingeSVM(lr=0.1), since=70)
    >>> challenger.model.options["lr"], challenger.won, challenger.over
    (0.4, False, False)
    >>> challenger.judge(mistakes=np.repeat([True, False], 12), its_mistakes=np.repeat([False, True], [23, 1]))
    >>> challenger.better, challenger.worse, challenger.won
    (12, 1, True)
    """
    model: HingeSVM
    since: int
    events: int = 0
    better: int = 0
    worse: int = 0

    @classmethod
    def to(cls, model, since):
        """One that begins as a copy of `model`."""
        return cls(changed(model, options={**model.options, "lr": RAISE * model.options["lr"]}), since)

    def judge(self, mistakes, its_mistakes):
        """Count events: arrays of bool."""
        self.events += len(mistakes)
        self.better += int((mistakes & ~its_mistakes).sum())
        self.worse += int((its_mistakes & ~mistakes).sum())

    @property
    def won(self):
        """Whether its lead is more than SIGMAS standard deviations of a fair coin."""
        lead = self.better - self.worse
        return lead > 0 and lead * lead > SIGMAS * SIGMAS * (self.better + self.worse)

    @property
    def over(self):
        """Whether it has had its chance."""
        return self.events >= CONTEST

    def copy(self):
        """One of its own, as this one stands now."""
        return replace(self, model=self.model.copy())

    def parts(self):
        """(header, arrays) for a state file."""
        header, arrays = self.model.parts()
        counts = {name: getattr(self, name) for name in ("since", "events", "better", "worse")}
        return {"model": header, **counts}, {f"challenger.{name}": values for name, values in arrays.items()}

    @classmethod
    def of_parts(cls, header, arrays):
        """The challenger of such parts."""
        own = {name.partition(".")[2]: values for name, values in arrays.items() if name.startswith("challenger.")}
        return cls(**{**header, "model": HingeSVM.of_parts(header["model"], own)})


def changed(model, **header):
    """A copy of a model with entries of its header replaced: options, totals.

    >>> changed(HingeSVM(lr=0.1), totals={"examples": 7}).totals.examples
    7
    """
    known, arrays = model.parts()
    return HingeSVM.of_parts({**known, **header}, arrays)


def taking_over(challenger, model):
    """The challenger's model with the totals of the one that it replaces, whose answers were the ones that counted."""
    return changed(challenger.model, totals=asdict(model.totals))
