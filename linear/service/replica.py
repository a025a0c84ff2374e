"""A replica: a service that only reads, from what its primary, the service that learns, has written; see `following`.

It serves the routes that change nothing, and sends the others to the primary. What only the primary can know is null, or a dash.
"""
import json
from functools import partial

from linear.service import handlers, http
from linear.service.metrics import gauge_lines
from linear.service.openapi import described
from linear.service.served import Served
from linear.service.stream import Stream
from linear.service.vitals import NONE
from linear.service.web import Refused


class Replica(http.Service):
    """What the handlers work on, where they only read."""

    def __init__(self, runner, guard):
        super().__init__(runner, guard)
        self.routes, self.openapi = ROUTES, json.dumps(described(SERVED)).encode()
        self.served = _Unjudged()
        runner.on_registry = partial(setattr, self, "registry")

    def start_shadow(self):
        """None: a shadow learns beside the learner."""

    async def digest(self):
        return self.runner.frozen or await super().digest()

    def lag(self):
        """(events that the newest known one is ahead, None)."""
        return self.runner.lag, None


class _Unjudged(Served):
    """No labels come here, so no prediction is kept for one."""

    def give(self, name, margin, model):
        pass


class ReplicaStream(Stream):
    """The dashboard's numbers; those without a meaning here are dashes."""

    def now(self):
        told, runner = super().now(), self.service.runner
        texts = {**told["texts"], **dict.fromkeys(runner.unknown, NONE)}
        return {**told, "texts": {**texts, "rule": f"replica of {runner.directory.path} · {texts['rule']}"}, "phase": ""}


# ---------------------------------------------------------------- handlers, and the table

async def stats(service, call):
    """The primary's at that seq, and what is followed: where, seconds since it was written, events that are known to come."""
    told, runner = await handlers.stats(service, call), service.runner
    return {**told, **{name: None for name in runner.unknown if name in told}, "alarm": told["alarm"] or runner.refusing,
            "following": {"dir": str(runner.directory.path), "age": runner.age, "lag": runner.lag}}


async def readyz(service, call):
    """Something loaded, still following, and not far behind."""
    runner = service.runner
    if runner.failure:
        raise Refused(503, f"following has stopped: {runner.failure}", retry=5)
    if runner.refusing:
        raise Refused(503, runner.refusing, retry=5)
    if (runner.lag or 0) > handlers.MOST_LAG:
        raise Refused(503, f"{runner.lag} events behind, ready below {handlers.MOST_LAG}", retry=1)
    return {"status": "ready", "seq": runner.snapshot.position}


async def metrics(service, call):
    """Prometheus's text."""
    runner = service.runner
    return await handlers.metrics(service, call) + "".join(line + "\n" for line in gauge_lines([
        ("following", "1 while new states are taken, 0 where that has stopped.", not runner.failure),
        ("following_age_seconds", "Since what answers was written.", runner.age),
        ("following_lag_events", "That the newest known event is ahead.", runner.lag)])).encode()


def _refusing(route):
    """A route that changes something, as a replica has it."""
    allowed = ", ".join(other.method for other in SERVED if other.path == route.path).encode()

    async def refuse(service, call):
        raise Refused(405, f"this is a replica, which only reads: send {route.method} {route.path} to its primary, the service "
                      f"that learns and writes what is followed here, {service.runner.directory.path}", headers=[(b"allow", allowed)])
    return route._replace(handler=refuse, at_once=None)


_OWN = {handler.__name__: handler for handler in (stats, readyz, metrics)}
SERVED = tuple(route._replace(handler=_OWN.get(route.handler.__name__, route.handler)) for route in http.ROUTES
               if route.role in ("", "predict"))
ROUTES = (*SERVED, *(_refusing(route) for route in http.ROUTES if route.role not in ("", "predict")))
