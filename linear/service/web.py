"""One request: what is refused before a handler sees it, how a handler's answer is sent, and the one shape of an error.

    {"error": {"code": "invalid", "message": "label 2 is not -1, 1, false or true", "field": "events[3].y"}}
"""
import asyncio
import json
import logging
import time
from typing import Any, Callable, NamedTuple

from linear.features import FeatureError
from linear.service.events import Invalid, decoded
from linear.service.runner import Busy

BODY, BATCH_BODY = 64 << 10, 1 << 20        # bytes
THROWN_AWAY = 1 << 20                       # bytes that are read of a body beyond what is taken of it
SLOW_BODY = 10.0                            # seconds in which a body must have come
CODES = {400: "invalid", 401: "no_token", 403: "forbidden", 404: "not_found", 405: "wrong_method", 408: "slow_body", 409: "conflict",
         413: "too_large", 415: "wrong_type", 429: "too_many_requests", 500: "internal", 503: "unavailable"}
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
    """One row of the API's table. `handler(service, call)` is a coroutine; it returns what becomes JSON, or bytes that are JSON."""
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


class Call(NamedTuple):
    """What a handler gets of a request."""
    body: Any
    query: bytes
    params: dict


class Endpoint:
    """A route of the table as an ASGI application."""

    def __init__(self, route, service):
        self.route, self.service = route, service

    async def __call__(self, scope, receive, send):
        started, status, headers = time.perf_counter(), 200, []
        try:
            answer = await self._answer(scope, receive)
        except Refused as error:
            status, headers, answer = error.status, error.headers, shape(error.status, str(error), error.field)
        except (Invalid, FeatureError) as error:
            status, answer = 400, shape(400, str(error), error.field)
        except Busy as error:
            status, headers, answer = 503, [(b"retry-after", b"1")], shape(503, f"{error}; nothing was stored")
        except ConnectionResetError:        # the client went away
            return
        except OSError as error:
            status, headers, answer = 503, [(b"retry-after", b"5")], shape(503, str(error))
        except Exception:
            _log.exception("an error of this program at %s", self.route.path)
            status, answer = 500, shape(500, "an error of this program; its log has the details")
        await respond(send, status, answer, self.route.type if status == 200 else JSON, headers)
        self.service.metrics.count(self.route, status, time.perf_counter() - started)

    async def _answer(self, scope, receive):
        headers = dict(scope["headers"])
        self.service.guard.admit(self.route.role, scope, headers)
        body = None
        if self.route.method == "POST":
            body = decoded(await read_body(headers, receive, self.route.limit))
        return await self.route.handler(self.service, Call(body, scope["query_string"], scope.get("path_params")))


async def read_body(headers, receive, limit, kind=JSON):
    """The bytes of a request's body, of that type and of `limit` at most, before SLOW_BODY seconds are over.

    A body that is refused is still read for a while, and thrown away: its sender would not see an answer before it has sent.
    """
    refusal, parts, size, more, late = _refusal(headers, limit, kind), [], 0, True, False
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
        refusal = refusal or Refused(408, f"the body did not come within {SLOW_BODY:g} s", headers=CLOSE)
    finally:
        timer.cancel()
    if refusal:
        raise refusal
    return b"".join(parts)


def _refusal(headers, limit, kind):
    """Why a body of these headers is not taken, None if it is."""
    if headers.get(b"content-encoding", b"identity") != b"identity":
        return Refused(415, "compressed bodies are not taken", headers=CLOSE)
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != kind:
        return Refused(415, f"send Content-Type: {kind.decode()}", headers=CLOSE)
    if int(headers.get(b"content-length", 0)) > limit:
        return _too_large(limit)


def _too_large(limit):
    return Refused(413, f"the body has more than {limit} bytes", headers=CLOSE)


def shape(status, message, field=""):
    """An error as it is sent."""
    error = {"code": CODES[status], "message": message}
    return {"error": {**error, "field": field} if field else error}


async def respond(send, status, answer, kind=JSON, headers=()):
    """Send an answer: bytes as they are, all else as JSON."""
    if not isinstance(answer, bytes):
        answer = _encode(answer).encode()
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", kind), (b"content-length", b"%d" % len(answer)), *headers]})
    await send({"type": "http.response.body", "body": answer})
