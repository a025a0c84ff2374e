"""The service's HTTP side: the table ROUTES, a handler for each row, and the application that uvicorn serves.

Everything stands under /v1 but /healthz, /readyz and /metrics; / is the dashboard's. A handler runs on the event loop, so what
takes long is done in parts or elsewhere.
"""
import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from linear.features import crossed_counts, parse_crosses
from linear.formats import Example
from linear.service import events as checks
from linear.service.challenger import ALERT, CHALLENGER, POLICIES
from linear.service.events import Invalid, decoded
from linear.service.explain import explained
from linear.service.metrics import Metrics
from linear.service.openapi import described
from linear.service.packing import packed_margins
from linear.service.reading import FEW, Reader
from linear.service.registry import LIVE, SAMPLE, Registry
from linear.service.runner import settle
from linear.service.served import Served, share_of
from linear.service.shadow import Shadow, changed_options
from linear.service.web import BATCH_BODY, TEXT, Endpoint, Refused, Route, shape
from linear.svm import HingeSVM

TURN = 50                                   # events or predictions between two looks at other requests
_quoted = json.encoder.encode_basestring_ascii
MOST_CROSSED = 1 << 16                      # features of one event by crosses; what FEW make by three is below that
PART, SHORT = 250, 8 << 10                  # rows predicted in one go; bytes of JSON that are read while others wait
LEARN_WAIT = 30.0                           # seconds that ?wait=learned waits at most
MOST_LAG = 50_000                           # events not learned, beyond which the service is not ready


class Service:
    """What the handlers work on: the runner, who may ask, and what is counted."""

    def __init__(self, runner, guard):
        self.runner, self.guard, self.metrics, self.started = runner, guard, Metrics(), time.time()
        runner.settle = _settle
        self.registry, self.shadow = Registry(runner.directory.path / "models"), None
        self.served = Served()
        self.crosses = parse_crosses(runner.directory.options["crosses"])
        self._digested, self._digesting = None, asyncio.Lock()
        self._pool, self._reading = ThreadPoolExecutor(1, "digest"), ThreadPoolExecutor(1, "reading")
        self.reader, self._its_reader = Reader(runner.directory.options), Reader(runner.directory.options)
        self.openapi = json.dumps(described(ROUTES)).encode()

    def model(self, name=None):
        """(model, seq, name) of what answers now, or for the event of that id."""
        registry, version = self.registry, self.registry.active
        if name is not None and registry.split and share_of(name) < registry.split[1]:
            version = registry.other
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
        return await asyncio.get_running_loop().run_in_executor(self._reading, read, self._its_reader, body)

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

    async def append(self, events):
        """`stored`, awaited."""
        return await self.stored(events)

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
                fold = self.runner.snapshot     # a copy is hashed, since predictions may make a snapshot's table larger
                self._digested = fold, await self.elsewhere(lambda: fold.copy().digest())
            return self._digested

    def lag(self):
        """(events stored and not learned, events learned and not in a state file)."""
        position = self.runner.snapshot.position
        return max(0, self.runner.stored - position), max(0, position - self.runner.committed)


# ---------------------------------------------------------------- handlers

def predict_at_once(service, body):
    """One prediction, from what is published now; with an id it is remembered, to be compared with the label."""
    model, seq, name = service.model()
    margin = service.reader.margin(model, body)
    if margin is None:
        asked = decoded(body)
        if isinstance(asked, dict) and "id" in asked:
            x, event = _only(asked, "x", "id")
            checks.event({"id": event, "y": 1})
            model, seq, name = service.model(event)
            margin = _margin(model, service.fields(x))
            service.served.give(event, margin, name)
        else:
            x, = _only(asked, "x")
            margin = _margin(model, service.fields(x))
    return f'{{"margin":{margin!r},"label":{1 if margin > 0 else -1},"seq":{seq},"model":"{name}"}}'.encode()


async def predict(service, call):
    """`predict_at_once`."""
    return predict_at_once(service, call.raw)


async def predict_batch(service, call):
    """Predictions for rows, all from one snapshot."""
    records = await service.reads(Reader.rows_of, call.raw)
    (model, seq, name), margins = service.model(), []
    for start in range(0, len(records or ()), PART):
        margins += packed_margins(model.loops, records[start:start + PART])
        await asyncio.sleep(0)
    if records is None or len(margins) < len(records):          # what the loops leave to Python
        margins = []
        for i, row in enumerate(checks.batch(call.body, "rows")):
            x, = _only(row, "x", where=f"rows[{i}]")
            margins.append(_margin(model, service.fields(x, f"rows[{i}].x")))
            if i % TURN == TURN - 1:
                await asyncio.sleep(0)
    rows = ",".join([f'{{"margin":{margin!r},"label":{1 if margin > 0 else -1}}}' for margin in margins])
    return f'{{"results":[{rows}],"seq":{seq},"model":"{name}"}}'.encode()


async def explain(service, call):
    """A margin and the contributions that add up to it, one after the other, in this order."""
    x, = _only(call.body, "x")
    model, seq, name = service.model()
    service.fields(x)
    return {**explained(model, x), "seq": seq, "model": name}


def event_at_once(service, body):
    """Store one event: (a Future of what became of it, what makes the answer of that)."""
    if (found := service.reader.events_of(body)) is None:
        found = [service.event(decoded(body))]
    return service.stored(found), _told


def _told(stored):
    """The answer for one stored event."""
    stored, = stored
    if stored.status == "conflict":
        raise Refused(409, f"event {stored.id!r} is stored with another body, as number {stored.seq}; the first counts", "id")
    return stored._asdict()


async def event(service, call):
    """`event_at_once`, and a wait where it is asked for."""
    wait = _wait(call.query)
    future, told = event_at_once(service, call.raw)
    answer = told(await future)
    return {**answer, **await _learned(service, wait, answer["seq"])}


async def events(service, call):
    """Store a batch: all of it, or nothing where one event is invalid."""
    wait = _wait(call.query)
    found = await service.reads(Reader.batch_of, call.raw)
    if found is None:
        found = []
        for i, item in enumerate(checks.batch(call.body, "events")):
            found.append(service.event(item, f"events[{i}]"))
            if i % TURN == TURN - 1:
                await asyncio.sleep(0)
    stored = await service.stored(found)
    learned = await _learned(service, wait, max((row.seq for row in stored), default=0))
    rows = ",".join([f'{{"id":{_quoted(name)},"status":"{status}","seq":{seq}}}' for name, status, seq in stored])
    return b'{"results":[%s]%s}' % (rows.encode(), b',"learned":%s' % json.dumps(learned["learned"]).encode() if learned else b"")


async def command(service, call):
    """Log an order, which takes effect at its place in the log."""
    order, wait = checked_order(call.body, service.runner.directory.options), _wait(call.query)
    seq = await service.runner.command(order, asyncio.get_running_loop().create_future())
    return {"command": order["command"], "seq": seq, **await _learned(service, wait, seq)}


async def stats(service, call):
    """What has been learned, with the digest of just that; learned, seq and state_sha256 are of one moment."""
    fold, digest = await service.digest()
    totals, (lag, durable_lag) = fold.model.totals, service.lag()
    return {"learned": fold.counts.learned, "seq": fold.position, "state_sha256": digest, "stored": service.runner.stored,
            "committed": service.runner.committed, "learner_lag": lag, "durable_lag": durable_lag,
            "progressive_zero_one": totals.zero_one, "progressive_hinge": totals.hinge, "recent_error": fold.recent_error,
            "as_served": service.served.told(), "weights": len(fold.model.weights), "pending": len(fold.pending), "marks": fold.marks, **asdict(fold.counts),
            "model": service.model()[2], "uptime": time.time() - service.started, "alarm": service.runner.alarm}


async def model(service, call):
    """Which model answers, and its options."""
    answering, seq, name = service.model()
    return {"model": name, "seq": seq, "weights": len(answering.weights), "options": answering.options}


async def models(service, call):
    """The versions, which one answers, which did before, and what has come of the split and the shadow."""
    registry = service.registry
    return {"active": registry.history[-1], "history": registry.history, "models": [LIVE, *registry.names()],
            "split": dict(zip(("model", "share"), registry.split)) if registry.split else None, "as_served": service.served.told(),
            "shadow": service.shadow.told() if service.shadow else None}


async def freeze(service, call):
    """Keep the model as it is now."""
    _only(call.body)
    return {"model": await service.elsewhere(service.freeze)}


async def activate(service, call):
    """Let a version answer, or "live" again."""
    _only(call.body)
    await _changed(service, service.registry.activate, call.params["v"])
    return {"model": service.registry.history[-1]}


async def rollback(service, call):
    """Let the model answer that did before this one, which must be the one that answers now."""
    _only(call.body)
    return {"model": await _changed(service, service.registry.rollback, call.params["v"])}


async def split(service, call):
    """Let a version answer for a share of the ids of /v1/predict, always the same ones; a share of 0 ends that."""
    share, = _only(call.body, "share")
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise Invalid(f"share {checks.shown(share)} is no number from 0 to 1", "share")
    await _changed(service, lambda name: service.registry.divide(name, share), call.params["v"])
    return {"model": call.params["v"], "share": share}


async def shadow(service, call):
    """Start a learner with this model's options and the changes given, in place of any that runs; null ends it."""
    changes, = _only(call.body, "options")
    name, options = call.params["v"], None
    base = service.runner.directory.options if name == LIVE else (await _changed(service, service.registry.load, name)).model.options
    if changes is not None:
        if not isinstance(changes, dict):
            raise Invalid("expected an object of model options, or null to end the shadow", "options")
        options = changed_options(base, changes)
    await service.elsewhere(service.registry.set_shadow, options)
    await service.elsewhere(service.start_shadow)
    return {"shadow": options}


async def openapi(service, call):
    """The description of this API, made of the table that serves it."""
    return service.openapi


async def healthz(service, call):
    """The process answers."""
    return {"status": "alive"}


async def readyz(service, call):
    """State loaded, log writable, learner alive and not far behind."""
    runner, (lag, _) = service.runner, service.lag()
    if runner.failure:
        raise Refused(503, f"learning has stopped: {runner.failure}", retry=5)
    if runner.refusing:
        raise Refused(503, f"the log cannot be written: {runner.refusing}", retry=5)
    if lag > MOST_LAG:
        raise Refused(503, f"{lag} events wait to be learned, ready below {MOST_LAG}", retry=1)
    return {"status": "ready", "seq": runner.snapshot.position}


async def metrics(service, call):
    """Prometheus's text."""
    runner, fold, (lag, durable_lag) = service.runner, service.runner.snapshot, service.lag()
    totals = fold.model.totals
    return service.metrics.text([
        ("learned_total", "Labelled events learned, over the whole log.", fold.counts.learned),
        ("stored_total", "Events in the log.", runner.stored),
        ("learner_lag_events", "Stored and not learned.", lag),
        ("durable_lag_events", "Learned and not in a state file.", durable_lag),
        ("weights", "Features with a weight.", len(fold.model.weights)),
        ("progressive_zero_one", "Share of mistakes before learning, over all events.", totals.zero_one or 0.0),
        ("progressive_hinge", "Mean hinge loss before learning, over all events.", totals.hinge or 0.0),
        ("recent_error", "Share of mistakes before learning, over the newest 1000 labelled events.", fold.recent_error or 0.0),
        ("drift_marks_total", "Changes that ADWIN and Page-Hinkley found.", fold.adwin.detections + fold.hinkley.detections),
        ("ready", "1 where learning goes on and the log takes events.", not (runner.failure or runner.refusing)),
    ]).encode()


def checked_order(order, options):
    """A command as the log takes it; Invalid for any other."""
    wanted = {"forget": {"id"}, "correct": {"id", "y"}, "rate": {"lr"}, "reset": set(), "policy": {"drift"}}
    name = order.get("command") if isinstance(order, dict) else None
    if not isinstance(name, str) or name not in wanted:
        raise Invalid(f"expected a command of {', '.join(wanted)}", "command")
    if odd := (set(order) ^ wanted[name]) - {"command"}:
        raise Invalid(f"command {name} has exactly the fields {', '.join(['command', *sorted(wanted[name])])}", min(odd))
    if "id" in order:
        checks.event({"id": order["id"], "y": order.get("y", 1)})
    if name == "correct":
        return {**order, "y": checks.label(order["y"])}
    if name == "policy" and not (order["drift"] in POLICIES and (order["drift"] == ALERT or options["lr"] is not None)):
        raise Invalid(f"rule {options['rule']} has no learning rate to raise" if order["drift"] == CHALLENGER else
                      f"expected one of {', '.join(POLICIES)}", "drift")
    if name == "rate":
        try:
            if options["lr"] is None or isinstance(order["lr"], bool) or order["lr"] is None:
                raise ValueError(f"rule {options['rule']} has no learning rate" if options["lr"] is None else "lr is no number")
            return {**order, "lr": HingeSVM(**{**options, "lr": order["lr"]}).options["lr"]}
        except (TypeError, ValueError) as error:
            raise Invalid(str(error), "lr") from None
    return order


def _settle(answers):
    """`runner.settle` for futures of an event loop, which is woken once for all of them, and for those of threads."""
    settle([answer for answer in answers if not isinstance(answer[0], asyncio.Future)])
    if ours := [answer for answer in answers if isinstance(answer[0], asyncio.Future)]:
        loop = ours[0][0].get_loop()
        if not loop.is_closed():            # else those who waited are gone
            loop.call_soon_threadsafe(settle, ours)


def _margin(model, fields):
    return model.take(Example(None, 1.0, 0.0, "", fields), learn=False)[0]


def _only(body, *names, where=""):
    """The values of an object that has exactly these fields."""
    if not isinstance(body, dict) or set(body) != set(names):
        odd = min(set(body) ^ set(names)) if isinstance(body, dict) else ""
        raise Invalid(f"expected an object with exactly {', '.join(names)}", ".".join(filter(None, (where, odd))))
    return [body[name] for name in names]


async def _changed(service, work, name):
    """What work(name) of the registry gives."""
    try:
        return await service.elsewhere(work, name)
    except LookupError as error:
        raise Refused(404, error.args[0], "v") from None
    except ValueError as error:
        raise Refused(409, str(error), "v") from None


def _wait(query):
    """Whether the query asks to wait until it is learned; Invalid for any other query."""
    if query and query != b"wait=learned":
        raise Invalid("the only query is wait=learned", "wait")
    return bool(query)


async def _learned(service, wait, seq):
    """What ?wait=learned adds to an answer."""
    return {"learned": await service.learned(seq)} if wait else {}


# ---------------------------------------------------------------- the table, and what serves it

ROUTES = (
    Route("POST", "/v1/predict", "predict", predict, "Predict the label of one example.", "Asked", "Prediction",
          at_once=predict_at_once),
    Route("POST", "/v1/predict:batch", "predict", predict_batch, "Predict up to 1000 rows from one snapshot.", "Rows", "Predictions",
          limit=BATCH_BODY),
    Route("POST", "/v1/explain", "predict", explain, "A margin as the sum of its features' contributions.", "Example", "Explanation"),
    Route("POST", "/v1/events", "write", event, "Store one event; answered when it is on disk.", "Event", "Stored", (409,),
          at_once=event_at_once),
    Route("POST", "/v1/events:batch", "write", events, "Store up to 1000 events, all or none.", "Events", "StoredEvents", limit=BATCH_BODY),
    Route("POST", "/v1/commands", "admin", command, "Log an order: forget, correct, rate, reset, policy.", "Command", "Ordered"),
    Route("GET", "/v1/stats", "predict", stats, "What has been learned, and the digest of the state.", answer="Stats"),
    Route("GET", "/v1/model", "predict", model, "Which model answers.", answer="Model"),
    Route("GET", "/v1/models", "predict", models, "The models, and what has come of the shadow.", answer="Models"),
    Route("POST", "/v1/models", "admin", freeze, "Freeze the model as it is now.", "Nothing", "Named"),
    Route("POST", "/v1/models/{v}:activate", "admin", activate, "Let this model answer; live is the one that learns.", "Nothing", "Named",
          (404, 409)),
    Route("POST", "/v1/models/{v}:rollback", "admin", rollback, "Let the model before this one answer.", "Nothing", "Named", (404, 409)),
    Route("POST", "/v1/models/{v}:split", "admin", split, "Let this model answer for a share of the ids.", "Share", "Split", (404, 409)),
    Route("POST", "/v1/models/{v}:shadow", "admin", shadow, "Compare a learner with other options on the same events.", "Changes",
          "Shadow", (404, 409)),
    Route("GET", "/v1/openapi.json", "", openapi, "This description.", answer="Anything"),
    Route("GET", "/healthz", "", healthz, "Whether the process answers.", answer="Status"),
    Route("GET", "/readyz", "", readyz, "Whether requests should be sent here.", answer="Status"),
    Route("GET", "/metrics", "predict", metrics, "Counters and gauges in Prometheus's text format.", type=TEXT),
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

    endpoints = {(route.method, route.path): Endpoint(route, service) for route in ROUTES}
    routes = [StarletteRoute(path, endpoint, methods=[method]) for (method, path), endpoint in endpoints.items()]
    starlette = Starlette(routes=[*routes, *more], exception_handlers={HTTPException: refused})

    async def app(scope, receive, send):
        """Starlette tries its routes one after the other; those without a parameter are found at once."""
        endpoint = endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (endpoint or starlette)(scope, receive, send)
    app.at_once = {endpoint.route.path: endpoint for endpoint in endpoints.values() if endpoint.route.at_once}
    return app
