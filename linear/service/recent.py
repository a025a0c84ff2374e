"""What the dashboard shows beside its numbers: the largest weights by name, and how long labels take.

The learner keeps 64-bit keys, not names. The few that are wanted are found by reading events again: the newest first, then
further back, some at each look, until each has its name.
"""
import json
import math

from linear.features import expand, fields_of, parse_crosses
from linear.service.log import COMMAND

SHOWN = 15                                  # weights
BLOCK = 200                                 # events that are read at a time
MOST_FEATURES = 20_000                      # that are spelled out at a look, more or less
LABELS = 1000                               # of the newest events: those whose label delay counts


class Recent:
    """Looks at a snapshot and at the log of a directory; slow, so it wants a thread of its own, one look at a time.

    `weights` is [(name or key, weight, whether it is a name)], `delays` what labels took, in events, in rising order.
    """

    def __init__(self, directory):
        self.directory = directory
        self.crosses = parse_crosses(directory.options["crosses"])
        self.weights, self.delays = [], []
        self._names, self._log = {}, None
        self._sought, self._end = set(), 0              # keys without a name, and where in the log they are looked for next

    def look(self, fold):
        """Look at a snapshot, from which predictions may be made meanwhile."""
        if self._log is None:
            self._log = self.directory.log(readonly=True)
        model, last = fold.model, self._log.last()
        largest = model.weights.largest(SHOWN)
        self._names = {key: self._names[key] for key, _ in largest if key in self._names}
        self._seek({key for key, _ in largest if isinstance(key, int)} - self._names.keys(), last, model)
        self.weights = [(self._names.get(key, key if isinstance(key, str) else f"{key:#018x}"), weight,
                         isinstance(key, str) or key in self._names) for key, weight in largest]
        rows = self._log.read(max(0, last - LABELS), LABELS)
        late = [row for row in rows if row.kind == "y"]
        features = self._log.features([row.id for row in late])
        delays = [row.seq - features[row.id][0] for row in late if row.id in features]
        self.delays = sorted([0] * sum(row.kind == "xy" for row in rows) + [delay for delay in delays if delay > 0])

    def delay(self, share):
        """A quantile of the label delay in events, None where no label came.

        >>> from types import SimpleNamespace as Directory
        >>> from pathlib import Path
        >>> recent = Recent(Directory(path=Path(), options={"crosses": ()}))
        >>> recent.delays = [0, 0, 3, 9]
        >>> recent.delay(0.5), recent.delay(0.95)
        (0, 9)
        """
        return self.delays[math.ceil(share * len(self.delays)) - 1] if self.delays else None

    def _seek(self, keys, last, model):
        """Look for the names of keys: in the newest events, and then from where the last look has ended, backwards."""
        if not keys <= self._sought:
            self._end = last - BLOCK
        self._sought, left = keys, MOST_FEATURES
        if keys:
            self._name(last, keys, model)
        while self._end > 0 and left > 0 and keys - self._names.keys():
            left -= self._name(self._end, keys, model)
            self._end -= BLOCK

    def _name(self, end, keys, model):
        """Name those of the keys that are features of the events up to `end`; returns how many features were spelled out."""
        count = 0
        for row in self._log.read(max(0, end - BLOCK), min(end, BLOCK)):
            if row.x and row.kind != COMMAND:
                features = expand(fields_of(json.loads(row.x)), self.crosses, model.options["constant"])
                count += len(features)
                for text, _ in features:
                    if (key := model.scheme.of(text)) in keys:
                        self._names.setdefault(key, text)
        return count
