"""One request: what is refused before a handler sees it, how a handler's answer is sent, and the one shape of an error.

    {"error": {"code": "invalid", "message": "label 2 is not -1, 1, false or true", "field": "events[3].y"}}
"""
import asyncio
import json
import logging
import time
from typing import Callable, NamedTuple

from linear.features import FeatureError
from linear.service.events import Invalid, decoded
from linear.service.runner import Busy

BODY, BATCH_BODY = 64 << 10, 1 << 20        # bytes
THROWN_AWAY = 1 << 20                       # bytes that are read of a body beyond what is taken of it
SLOW_BODY = 10.0                            # seconds in which a body must have come
CODES = {400: "invalid", 401: "no_token", 403: "forbidden", 404: "not_found", 405: "wrong_method", 408: "slow_body",
         409: "conflict", 413: "too_large", 415: "wrong_type", 429: "too_many_requests", 500: "internal", 503: "unavailable"}
CLOSE = [(b"connection", b"close")]         # what is still on its way is not waited for
JSON, TEXT = b"application/json", b"text/plain; version=0.0.4; charset=utf-8"


_log = logging.getLogger("linear.service")
_encode = json.JSONEncoder(allow_nan=False).encode


class Refused(Exception):
    """A request that gets the status instead of an answer."""

    def __init__(self, status, message, field="", retry=0, headers=()):
        super().__init__(message)
        self.status, self.field = status, field
        self.headers = [*headers, *([(b"retry-after", b"%d" % retry)] if retry else [])]


class Route(NamedTuple):
    """One row of the API's table. `handler(service, call)` is a coroutine; it returns what becomes JSON, or bytes that are JSON.

    `at_once(service, body)` is the same for a request without a query, not as a coroutine: it returns an answer, or a Future of
    one. It spares a request the third of its time that a task of its own takes.
    """
    method: str
    path: str
    role: str                               # "" for everybody, predict, write or admin
    handler: Callable
    summary: str
    body: str = ""                          # names of schemas in `openapi`
    answer: str = ""
    statuses: tuple = ()                    # those beyond what every such route may answer
    limit: int = BODY
    type: bytes = JSON
    at_once: Callable | None = None


class Call(NamedTuple):
    """What a handler gets of a request."""
    raw: bytes | None                       # its body
    query: bytes
    params: dict

    @property
    def body(self):
        """What the body's JSON says; Invalid where it is none."""
        return decoded(self.raw)


class Endpoint:
    """A route of the table as an ASGI application."""

    def __init__(self, route, service):
        self.route, self.service = route, service

    async def __call__(self, scope, receive, send):
        started = time.perf_counter()
        try:
            status, headers, answer = 200, [], await self._answer(scope, receive)
        except ConnectionResetError:        # the client went away
            return
        except Exception as error:
            status, headers, answer = self.refusal(error)
        await respond(send, status, answer, self.route.type if status == 200 else JSON, headers)
        self.count(status, started)

    def refusal(self, error):
        """(status, headers, body) of the answer that an exception makes."""
        if isinstance(error, Refused):
            return error.status, error.headers, shape(error.status, str(error), error.field)
        if isinstance(error, (Invalid, FeatureError)):
            return 400, [], shape(400, str(error), error.field)
        if isinstance(error, Busy):
            return 503, [(b"retry-after", b"1")], shape(503, f"{error}; nothing was stored")
        if isinstance(error, OSError):
            return 503, [(b"retry-after", b"5")], shape(503, str(error))
        _log.error("an error of this program at %s", self.route.path, exc_info=error)
        return 500, [], shape(500, "an error of this program; its log has the details")

    def count(self, status, started):
        """An answer was sent to a request that came at `started`."""
        now = time.perf_counter()
        self.service.metrics.count(self.route, status, now - started)
        self.service.give_way(now)

    async def _answer(self, scope, receive):
        headers = dict(scope["headers"])
        self.service.guard.admit(self.route.role, scope, headers)
        raw = await read_body(headers, receive, self.route.limit) if self.route.method == "POST" else None
        return await self.route.handler(self.service, Call(raw, scope["query_string"], scope.get("path_params")))


async def read_body(headers, receive, limit, kind=JSON):
    """The bytes of a request's body, of that type and of `limit` at most, before SLOW_BODY seconds are over.

    A body that is refused is still read for a while, and thrown away: its sender would not see an answer before it has sent.
    """
    refusal, parts, size, more, late = refused_head(headers, limit, kind), [], 0, True, False
    task = asyncio.current_task()

    def give_up():
        nonlocal late
        late = task.cancel()

    timer = asyncio.get_running_loop().call_later(SLOW_BODY, give_up)
    try:
        while more and size <= limit + THROWN_AWAY:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError
            body, more = message.get("body", b""), message.get("more_body", False)
            size += len(body)
            if size > limit:
                refusal = refusal or _too_large(limit)
            if not refusal:
                parts.append(body)
    except asyncio.CancelledError:
        if not late:
            raise                           # by somebody else
        refusal = refusal or too_slow()
    finally:
        timer.cancel()
    if refusal:
        raise refusal
    return b"".join(parts)


def refused_head(headers, limit, kind=JSON):
    """Why a body of these headers is not taken, None if it is."""
    if headers.get(b"content-encoding", b"identity") != b"identity":
        return Refused(415, "compressed bodies are not taken", headers=CLOSE)
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != kind:
        return Refused(415, f"send Content-Type: {kind.decode()}", headers=CLOSE)
    if int(headers.get(b"content-length", 0)) > limit:
        return _too_large(limit)


def too_slow():
    """For a body that does not come."""
    return Refused(408, f"the body did not come within {SLOW_BODY:g} s", headers=CLOSE)


def _too_large(limit):
    return Refused(413, f"the body has more than {limit} bytes", headers=CLOSE)


def shape(status, message, field=""):
    """An error as it is sent."""
    error = {"code": CODES[status], "message": message}
    return {"error": {**error, "field": field} if field else error}


def as_bytes(answer):
    """An answer as it is sent."""
    return answer if isinstance(answer, bytes) else _encode(answer).encode()


async def respond(send, status, answer, kind=JSON, headers=()):
    """Send an answer: bytes as they are, all else as JSON."""
    answer = as_bytes(answer)
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", kind), (b"content-length", b"%d" % len(answer)), *headers]})
    await send({"type": "http.response.body", "body": answer})
