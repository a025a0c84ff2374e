"""Scores as served: what was answered for an event when somebody asked, against the label that came for it later.

The other score, test-then-learn, is of the log alone and comes out the same in every replay. This one is of the predictions that
clients were given, by the model that gave them: it says what they have had. The two are never mixed. It counts since the start.
"""
from collections import OrderedDict
from zlib import crc32

MOST = 100_000                              # predictions that wait for their labels; the oldest are given up


class Served:
    """Predictions that were given for an id, until its label is stored. The first one for an id counts.

    >>> served = Served()
    >>> served.give("ev-7", 0.4, "live"), served.give("ev-7", -0.4, "live"), served.give("ev-8", 0.1, "live")
    (None, None, None)
    >>> served.judge("ev-7", 1), served.judge("ev-8", -1), served.judge("ev-9", 1)
    (None, None, None)
    >>> served.told()
    {'live': {'labelled': 2, 'zero_one': 0.5}}
    """

    def __init__(self):
        self._given, self._scores = OrderedDict(), {}

    def __len__(self):
        return len(self._given)

    def give(self, name, margin, model):
        """A prediction was given for the event of this id."""
        if name not in self._given:
            self._given[name] = margin > 0, model
            if len(self._given) > MOST:
                self._given.popitem(last=False)

    def judge(self, name, y):
        """A label was stored."""
        if given := self._given.pop(name, None):
            positive, model = given
            score = self._scores.setdefault(model, [0, 0])
            score[0] += 1
            score[1] += positive != (y > 0)

    def told(self):
        """{model: {labelled, zero_one}} of the models that gave predictions whose labels came."""
        return {model: {"labelled": labelled, "zero_one": mistakes / labelled}
                for model, (labelled, mistakes) in self._scores.items()}


def share_of(name):
    """Where an id stands between 0 and 1: the same in every process, so that an event stays with one model.

    >>> round(share_of("ev-7"), 4), sum(share_of(f"ev-{i}") < 0.1 for i in range(10_000))
    (0.8959, 1019)
    """
    return crc32(name.encode("utf-8", "surrogatepass")) / (1 << 32)
