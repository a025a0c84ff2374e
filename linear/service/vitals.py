"""The running service in numbers: what a chart needs of every second, and all of the newest as the texts a reader sees.

Texts are made here and nowhere else, so the page shows the same words with its script and without.
"""
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from typing import NamedTuple

from linear.service.challenger import ALERT, SWAP
from linear.service.metrics import EDGES, quantile

NONE = "–"


class Sample(NamedTuple):
    """The service at one moment; what is counted is counted since its start, or since the log's."""
    time: float                 # seconds since 1970, by a clock that never steps back while the service runs
    seq: int
    stored: int | None          # None where it is not known, as on a replica
    learned: int
    examples: int               # events with features, labelled or not
    accuracy: float | None      # progressive, of all
    accuracy_recent: float | None
    hinge: float | None
    hinge_recent: float | None
    waits: tuple                # how many predictions took how long, by metrics.EDGES
    rate: float | None = 0.0    # events stored a second

    CHARTED = ("time", "seq", "accuracy", "accuracy_recent", "hinge", "hinge_recent", "rate")

    @classmethod
    def of(cls, service, now, before=None):
        """The service as it stands; rates are those since the sample `before`."""
        fold, runner = service.runner.snapshot, service.runner
        totals, counts = fold.model.totals, fold.counts
        made = cls(now, fold.position, runner.stored, counts.learned, counts.learned - counts.late + counts.unlabelled,
                   _right(totals.zero_one), _right(fold.recent_error), totals.hinge, fold.recent_hinge,
                   tuple(service.metrics.times.get("/v1/predict", ())))
        return made._replace(rate=per_second(made, before, "stored"))


def per_second(now, before, name):
    """How fast a number has risen between two samples; 0 where there is no earlier one, or it fell; None where it is not known."""
    if getattr(now, name) is None:
        return None
    if before is None or now.time <= before.time:
        return 0.0
    return max(0.0, (getattr(now, name) - getattr(before, name)) / (now.time - before.time))


def texts(service, now, lately, minute):
    """{name: text}: the samples `now`, of some seconds ago (`lately`) and of a minute ago, as a reader wants them."""
    runner, fold = service.runner, service.runner.snapshot
    lag, durable_lag = service.lag()
    waits = [n - m for n, m in zip_longest(now.waits, minute.waits, fillvalue=0)]
    rejects = sum(n for (_, status), n in list(service.metrics.requests.items()) if 400 <= status < 500)
    examples = now.examples - minute.examples
    return {
        "accuracy": percent(now.accuracy), "accuracy_recent": percent(now.accuracy_recent),
        "hinge": decimals(now.hinge), "hinge_recent": decimals(now.hinge_recent),
        "rate": whole(now.rate), "learn_rate": whole(per_second(now, lately, "learned")),
        "stored": whole(now.stored), "learned": f"{now.learned:,}", "seq": f"{now.seq:,}",
        "lag": plural(lag, "event"), "durable_lag": plural(durable_lag, "event"),
        "p50": seconds(quantile(waits, 0.5)), "p99": seconds(quantile(waits, 0.99)), "predictions": f"{sum(now.waits):,}",
        "label_rate": percent((now.learned - minute.learned) / examples if examples > 0 else None),
        "pending": plural(len(fold.pending), "label"), "rejects": f"{rejects:,}",
        "checkpoint": f"{seconds(max(1.0, time.monotonic() - runner.committed_at))} ago", "weights": f"{len(fold.model.weights):,}",
        "marks": plural(fold.adwin.detections + fold.hinkley.detections, "time"),
        "last_mark": f"at event {max(found):,}" if (found := [seq for seq, name in fold.marks if name != SWAP]) else NONE,
        "challenger": contest(fold), "as_served": as_served(service.served.told()),
        "model": service.model()[2],
        "uptime": seconds(time.time() - service.started), "rule": described(fold.model.options), "build": BUILD,
        "alarm": str(runner.failure or runner.refusing or runner.alarm or "")}


def percent(share):
    """
    >>> percent(0.98765), percent(None)
    ('98.8 %', '–')
    """
    return NONE if share is None else f"{100 * share:.1f} %"


def decimals(number):
    """
    >>> decimals(0.43211)
    '0.432'
    """
    return NONE if number is None else f"{number:.3f}"


def whole(number):
    """
    >>> whole(1234.5), whole(None)
    ('1,234', '–')
    """
    return NONE if number is None else f"{number:,.0f}"


def plural(count, noun):
    """
    >>> plural(1, "event"), plural(2000, "event"), plural(None, "event")
    ('1 event', '2,000 events', '–')
    """
    return NONE if count is None else f"{count:,} {noun}{'' if count == 1 else 's'}"


def seconds(duration):
    """
    >>> [seconds(duration) for duration in (0.0002, 0.25, 7.4, 150, 9000, 200000, float("inf"), None)]
    ['0.2 ms', '250 ms', '7 s', '2 min', '2.5 h', '2.3 d', 'over 1 s', '–']
    """
    if duration is None:
        return NONE
    if duration == float("inf"):
        return f"over {EDGES[-1]:g} s"
    if duration < 1:
        return f"{1000 * duration:.3g} ms"
    for size, unit, shape in ((86400, "d", ".1f"), (3600, "h", ".1f"), (60, "min", ".0f")):
        if duration >= 1.5 * size:
            return f"{duration / size:{shape}} {unit}"
    return f"{duration:.0f} s"


def contest(fold):
    """How the contest stands.

    >>> from linear.service.fold import Fold
    >>> contest(Fold({}))
    'off'
    """
    if fold.challenger:
        return f"{fold.challenger.better:,} better, {fold.challenger.worse:,} worse"
    return "off" if fold.policy == ALERT else "ready"


def as_served(told):
    """Accuracy of the predictions that were given for an id, by model.

    >>> as_served({"live": {"labelled": 1200, "zero_one": 0.25}}), as_served({})
    ('75.0 % of 1,200 by live', '–')
    """
    return ", ".join(f"{percent(1 - score['zero_one'])} of {score['labelled']:,} by {name}" for name, score in told.items()) or NONE


def described(options):
    """A model's options in a few words.

    >>> described({"rule": "adagrad", "lr": 0.15, "crosses": (("user", "tags"),)})
    'adagrad 0.15 · user*tags'
    """
    rate = "" if options["lr"] is None else f" {options['lr']:g}"
    crosses = ", ".join(cross if isinstance(cross, str) else "*".join(cross) for cross in options["crosses"])
    return f"{options['rule']}{rate}" + (f" · {crosses}" if crosses else "")


def _version(package):
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:            # run from a checkout
        return package


def _right(mistakes):
    return None if mistakes is None else 1.0 - mistakes


BUILD = " · ".join([_version("tinygrad-lite"), f"Python {platform.python_version()}", _version("numpy"), _version("numba")])
