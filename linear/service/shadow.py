"""A shadow: another learner, with other options, that reads the same log in the same order and never answers a client.

It is compared with the live one event by event, each scored before it is learned, on the events since the shadow was started.
Only events that one of the two gets wrong say anything: under the hypothesis that neither is better, each is a fair coin (the
sign test; Dixon, Mood 1946, JASA). Looking often, and stopping when it suits, makes the p-value too small: fix the number of
events before.
"""
import math
import threading
from collections import deque

from linear.service.events import Invalid
from linear.service.fold import Fold
from linear.svm import HingeSVM

CHUNK, IDLE = 50, 0.1                       # events; seconds between two looks at a log without new ones
MOST_WAITING = 1_000_000                    # events that the live learner may be ahead


def changed_options(options, changes):
    """Options with some changed; another rule begins with its own rates. Invalid where they are no model's.

    >>> changed_options(HingeSVM(lr=0.5).options, {"rule": "ftrl"})["lr"]
    0.2
    """
    fresh = dict.fromkeys(("lr", "power_t", "initial_t")) if changes.get("rule", options["rule"]) != options["rule"] else {}
    try:
        return HingeSVM(**{**options, **fresh, **changes}).options
    except (TypeError, ValueError) as error:
        raise Invalid(str(error), "options") from None


def sign_test(better, worse):
    """The two-sided p-value of so many wins and losses, ties left out: exact up to 1000, above by the normal distribution.

    >>> sign_test(9, 1), round(sign_test(600, 500), 5)
    (0.021484375, 0.00284)
    """
    n, least = better + worse, min(better, worse)
    if n > 1000:
        return math.erfc((n - 2 * least - 1) / math.sqrt(2 * n))
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2 ** n)


class Shadow:
    """A second fold in a thread of its own. `seen` is to be given the live learner's (number, mistake) pairs, and
    `live_position()` tells up to where that has been done."""

    def __init__(self, log, options, live_position):
        self.options, self.since, self.failure = options, live_position(), None
        self.events = self.better = self.worse = self.live_mistakes = self.mistakes = 0
        self._fold, self._log, self._live = Fold(options), log, deque(maxlen=MOST_WAITING)
        self._fold.watcher, self._live_position = self._pair, live_position
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._end.set()
        self._thread.join()

    def seen(self, places, mistakes):
        """What the live learner has scored."""
        self._live.extend(zip(places, mistakes))

    def told(self):
        """What has come of it, for JSON."""
        return {"options": self.options, "since": self.since, "seq": self._fold.position, "events": self.events,
                "live_zero_one": self.live_mistakes / self.events if self.events else None,
                "shadow_zero_one": self.mistakes / self.events if self.events else None,
                "better": self.better, "worse": self.worse, "p_value": sign_test(self.better, self.worse), "failure": self.failure}

    def _run(self):
        try:
            while not self._end.is_set():
                if not self._fold.advance(self._log, CHUNK):
                    self._end.wait(IDLE)
        except Exception as error:          # a shadow harms nobody
            self.failure = str(error)
        finally:
            self._log.close()

    def _pair(self, places, mistakes):
        for place, mistake in zip(places, mistakes):
            if place <= self.since:
                continue
            while self._live_position() < place and not self._end.wait(0.01):
                pass
            while self._live and self._live[0][0] < place:
                self._live.popleft()
            if self._live and self._live[0][0] == place:
                live = self._live.popleft()[1]
                self.events += 1
                self.live_mistakes += live
                self.mistakes += mistake
                self.better += live and not mistake
                self.worse += mistake and not live
