"""A handler for each route of the API, a function of the `http.Service` and of the `web.Call`.

It runs on the event loop, so what takes long is done in parts or elsewhere. What it returns becomes JSON, bytes are JSON already;
what it raises becomes an error (`web.Endpoint`).
"""
import asyncio
import json
import time
from dataclasses import asdict

from linear.formats import Example
from linear.service import events as checks
from linear.service.challenger import ALERT, CHALLENGER, POLICIES
from linear.service.events import Invalid, decoded
from linear.service.explain import explained
from linear.service.packing import packed_margins
from linear.service.reading import Reader
from linear.service.registry import LIVE
from linear.service.shadow import changed_options
from linear.service.web import Refused
from linear.svm import HingeSVM

TURN, PART = 50, 250                        # events, or rows in compiled loops, between two looks at other requests
MOST_LAG = 50_000                           # events not learned, beyond which the service is not ready
_quoted = json.encoder.encode_basestring_ascii


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
    (name, status, seq), = stored
    if status == "conflict":
        raise Refused(409, f"event {name!r} is stored with another body, as number {seq}; the first counts", "id")
    return _outcome(name, status, seq).encode()


def _outcome(name, status, seq):
    """What became of an event, as JSON."""
    return f'{{"id":{_quoted(name)},"status":"{status}","seq":{seq}}}'


async def event(service, call):
    """`event_at_once`, and a wait where it is asked for."""
    wait = _wait(call.query)
    future, told = event_at_once(service, call.raw)
    stored = await future
    return told(stored)[:-1] + await _learned(service, wait, stored[0].seq) + b"}"


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
    return b'{"results":[%s]%s}' % (",".join([_outcome(*row) for row in stored]).encode(), learned)


async def command(service, call):
    """Log an order, which takes effect at its place in the log."""
    order, wait = checked_order(call.body, service.runner.directory.options), _wait(call.query)
    seq = await service.runner.command(order, asyncio.get_running_loop().create_future())
    return b'{"command":"%s","seq":%d%s}' % (order["command"].encode(), seq, await _learned(service, wait, seq))


async def stats(service, call):
    """What has been learned, with the digest of just that; learned, seq and state_sha256 are of one moment."""
    fold, digest = await service.digest()
    totals, (lag, durable_lag) = fold.model.totals, service.lag()
    return {"learned": fold.counts.learned, "seq": fold.position, "state_sha256": digest, "stored": service.runner.stored,
            "committed": service.runner.committed, "learner_lag": lag, "durable_lag": durable_lag,
            "progressive_zero_one": totals.zero_one, "progressive_hinge": totals.hinge, "recent_error": fold.recent_error,
            "as_served": service.served.told(), "weights": len(fold.model.weights), "pending": len(fold.pending),
            "marks": fold.marks, **asdict(fold.counts), "model": service.model()[2], "uptime": time.time() - service.started, "alarm": service.runner.alarm}


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
    frozen = None if name == LIVE else await _changed(service, service.registry.load, name)
    base = frozen.model.options if frozen else service.runner.directory.options
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
    """What ?wait=learned adds to an answer, as JSON."""
    return b',"learned":%s' % json.dumps(await service.learned(seq)).encode() if wait else b""
