"""The service's HTTP side: what its handlers work on, the table ROUTES, and the application that uvicorn serves.

Everything stands under /v1 but /healthz, /readyz and /metrics; / is the dashboard's.
"""
import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

from linear.features import crossed_counts, parse_crosses
from linear.service import events as checks
from linear.service import handlers as do
from linear.service.events import Invalid
from linear.service.metrics import Metrics
from linear.service.openapi import described
from linear.service.reading import FEW, Reader
from linear.service.registry import LIVE, SAMPLE
from linear.service.runner import settle
from linear.service.served import Served, share_of
from linear.service.shadow import Shadow
from linear.service.web import BATCH_BODY, TEXT, Endpoint, Route, shape

MOST_CROSSED = 1 << 16                      # features of one event by crosses; what FEW make by three is below that
SHORT = 8 << 10                             # bytes of JSON that are read while others wait
LEARN_WAIT = 30.0                           # seconds that ?wait=learned waits at most
TURN, MOMENT = 0.0005, 0.00002               # seconds of answers while other threads have work; that are then left to those


class Service:
    """What the handlers work on: the runner, who may ask, and what is counted."""

    def __init__(self, runner, guard):
        self.runner, self.guard, self.metrics, self.started = runner, guard, Metrics(), time.time()
        runner.settle = _settle
        self.registry, self.shadow = runner.directory.registry(), None
        self.served = Served()
        self.crosses = parse_crosses(runner.directory.options["crosses"])
        self._digested, self._digesting = None, asyncio.Lock()
        self._pool, self._reading = ThreadPoolExecutor(1, "digest"), ThreadPoolExecutor(1, "reading")
        self._reads, self._turn_ends = 0, 0.0                   # bodies with the reading thread; when others are let in next
        self.reader, self._its_reader = Reader(runner.directory.options), Reader(runner.directory.options)
        self.routes, self.openapi = ROUTES, json.dumps(described(ROUTES)).encode()

    def model(self, name=None):
        """(model, seq, name) of what answers now, or for the event of that id."""
        version, split = self.registry.active, self.registry.split
        if name is not None and split and share_of(name) < split[1]:
            version = self.registry.other
        if version:
            return version.model, version.seq, version.name
        fold = self.runner.snapshot
        return fold.model, fold.position, LIVE

    async def elsewhere(self, work, *args):
        """The result of work(*args), done by another thread, one such at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def freeze(self):
        """Keep the published model as a version; returns its name."""
        fold, log = self.runner.snapshot.copy(), self.runner.directory.log(readonly=True)
        sample = [json.loads(row.x) for row in log.read(max(0, fold.position - SAMPLE), SAMPLE) if "x" in row.kind]
        log.close()
        return self.registry.freeze(fold.model, fold.position, fold.digest(), sample)

    def start_shadow(self):
        """Have the registry's shadow learn, and no other; called once more when the service starts."""
        self.end_shadow()
        if options := self.registry.shadow:
            self.shadow = Shadow(self.runner.directory.log(readonly=True), options, lambda: self.runner.snapshot.position)
            self.runner.watch(self.shadow.seen)
            self.shadow.start()

    def end_shadow(self):
        if self.shadow:
            self.runner.watch(None)
            self.shadow.stop()
            self.shadow = None

    def stop(self):
        """End all threads: the events that wait are written and learned, the state is committed."""
        self.end_shadow()
        self._pool.shutdown()
        self._reading.shutdown()
        self.runner.stop()

    def fields(self, x, where="x"):
        """The checked fields of an event's x, which must not make too many features."""
        fields = checks.features(x, where)
        self.check_size(fields, where)
        return fields

    def check_size(self, fields, where="x"):
        """Invalid where crosses make too many features of the fields; few fields cannot."""
        if self.crosses and sum(len(part) for _, part in fields) > FEW:
            count = sum(crossed_counts(fields, self.crosses).values())
            if count > MOST_CROSSED:
                raise Invalid(f"{count} crossed features, at most {MOST_CROSSED} an event", where)

    def event(self, item, where=""):
        """The checked Event of a request's item."""
        return checks.event(item, where, self.check_size, self.reader.record)

    async def reads(self, read, body):
        """read(reader, body), done by another thread where it takes long; loops do not hold the interpreter's lock."""
        if len(body) < SHORT:
            return read(self.reader, body)
        self._reads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, read, self._its_reader, body)
        finally:
            self._reads -= 1

    def give_way(self, now):
        """Let threads that have work have the interpreter's lock, if requests have had their turn.

        The event loop gives it away after each request, but for less time than a thread takes to wake up; and one that wakes up too
        late begins to wait anew, so that it never gets to ask for it. Without this, the learner has a third of what it gets.
        """
        if now > self._turn_ends and (self._reads or self.runner.busy):
            time.sleep(MOMENT)
            self._turn_ends = time.perf_counter() + TURN

    def stored(self, events):
        """A Future of the `Stored` results of events, set when they are on disk."""
        future = self.runner.append(events, asyncio.get_running_loop().create_future())
        if self.served:
            future.add_done_callback(lambda future: self._judge(events, future))
        return future

    def _judge(self, events, future):
        for event, stored in zip(events, () if future.cancelled() or future.exception() else future.result()):
            if event.y and stored.status == "stored":
                self.served.judge(event.id, event.y)

    async def learned(self, seq):
        """Wait until event `seq` is in what is published; whether it is."""
        until = time.monotonic() + LEARN_WAIT
        while self.runner.snapshot.position < seq:
            if self.runner.failure or time.monotonic() > until:
                return False
            await asyncio.sleep(0.01)
        return True

    async def digest(self):
        """(snapshot, its digest) of a snapshot not older than this call; computed by another thread, one at a time."""
        wanted = self.runner.snapshot.position
        async with self._digesting:
            if self._digested is None or self._digested[0].position < wanted:
                fold = self.runner.snapshot     # which nothing changes: a prediction uses no more than its working arrays
                self._digested = fold, await self.elsewhere(fold.digest)
            return self._digested

    def lag(self):
        """(events stored and not learned, events learned and not in a state file)."""
        position = self.runner.snapshot.position
        return max(0, self.runner.stored - position), max(0, position - self.runner.committed)


def _settle(answers):
    """`runner.settle` for futures of an event loop, which is woken once for all of them, and for those of threads."""
    settle([answer for answer in answers if not isinstance(answer[0], asyncio.Future)])
    if ours := [answer for answer in answers if isinstance(answer[0], asyncio.Future)]:
        loop = ours[0][0].get_loop()
        if not loop.is_closed():            # else those who waited are gone
            loop.call_soon_threadsafe(settle, ours)


# ---------------------------------------------------------------- the table, and what serves it

ROUTES = (
    Route("POST", "/v1/predict", "predict", do.predict, "Predict the label of one example.", "Asked", "Prediction",
          at_once=do.predict_at_once),
    Route("POST", "/v1/predict:batch", "predict", do.predict_batch, "Predict up to 1000 rows from one snapshot.", "Rows",
          "Predictions", limit=BATCH_BODY),
    Route("POST", "/v1/explain", "predict", do.explain, "A margin as the sum of its features' contributions.", "Example",
          "Explanation"),
    Route("POST", "/v1/events", "write", do.event, "Store one event; answered when it is on disk.", "Event", "Stored", (409,),
          at_once=do.event_at_once),
    Route("POST", "/v1/events:batch", "write", do.events, "Store up to 1000 events, all or none.", "Events", "StoredEvents",
          limit=BATCH_BODY),
    Route("POST", "/v1/commands", "admin", do.command, "Log an order: forget, correct, rate, reset, policy.", "Command", "Ordered"),
    Route("GET", "/v1/stats", "predict", do.stats, "What has been learned, and the digest of the state.", answer="Stats"),
    Route("GET", "/v1/model", "predict", do.model, "Which model answers.", answer="Model"),
    Route("GET", "/v1/models", "predict", do.models, "The models, and what has come of the shadow.", answer="Models"),
    Route("POST", "/v1/models", "admin", do.freeze, "Freeze the model as it is now.", "Nothing", "Named"),
    Route("POST", "/v1/models/{v}:activate", "admin", do.activate, "Let this model answer; live is the one that learns.", "Nothing",
          "Named", (404, 409)),
    Route("POST", "/v1/models/{v}:rollback", "admin", do.rollback, "Let the model before this one answer.", "Nothing", "Named",
          (404, 409)),
    Route("POST", "/v1/models/{v}:split", "admin", do.split, "Let this model answer for a share of the ids.", "Share", "Split",
          (404, 409)),
    Route("POST", "/v1/models/{v}:shadow", "admin", do.shadow, "Compare a learner with other options on the same events.",
          "Changes", "Shadow", (404, 409)),
    Route("GET", "/v1/openapi.json", "", do.openapi, "This description.", answer="Anything"),
    Route("GET", "/healthz", "", do.healthz, "Whether the process answers.", answer="Status"),
    Route("GET", "/readyz", "", do.readyz, "Whether requests should be sent here.", answer="Status"),
    Route("GET", "/metrics", "predict", do.metrics, "Counters and gauges in Prometheus's text format.", type=TEXT),
)


def application(service, more=()):
    """The ASGI application of ROUTES, and of `more`, a list of Starlette routes such as the dashboard's."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse
    from starlette.routing import Route as StarletteRoute

    async def refused(request, error):
        return JSONResponse(shape(error.status_code, f"{request.method} {request.url.path}: {error.detail}"), error.status_code,
                            error.headers)

    endpoints = {(route.method, route.path): Endpoint(route, service) for route in service.routes}
    routes = [StarletteRoute(path, endpoint, methods=[method]) for (method, path), endpoint in endpoints.items()]
    starlette = Starlette(routes=[*routes, *more], exception_handlers={HTTPException: refused})

    async def app(scope, receive, send):
        """Starlette tries its routes one after the other; those without a parameter are found at once."""
        endpoint = endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (endpoint or starlette)(scope, receive, send)
    app.at_once = {endpoint.route.path: endpoint for endpoint in endpoints.values() if endpoint.route.at_once}
    return app
