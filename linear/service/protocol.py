"""HTTP as uvicorn speaks it, with limits of its own, and a shorter way for the two requests that come most.

uvicorn makes a task for each request, and messages between that and the connection: half of what a prediction costs. A route with
`at_once` needs neither where all is ordinary: its answer is written as soon as the body is there. Anything else goes uvicorn's way.
"""
import asyncio
import time

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from linear.service import web
from linear.service.web import CLOSE, as_bytes, refused_head, too_slow

CONNECTIONS = 1000
LONGEST_URL, MOST_HEADERS = 8192, 100       # of a request
HEAD_SECONDS = 10                           # for the head of a request
STATUS_LINES = {status: b"HTTP/1.1 %d \r\n" % status for status in range(200, 600)}


class _Open:
    """What uvicorn asks of the request that a connection is busy with."""

    def __init__(self):
        self.response_complete = self.disconnected = False
        self.keep_alive, self.message_event = True, asyncio.Event()


def protocol(endpoints):
    """A protocol class for uvicorn; `endpoints` has {path: Endpoint} of the routes with `at_once`."""
    at_once = {path.encode(): endpoint for path, endpoint in endpoints.items()}

    class Protocol(HttpToolsProtocol):
        """uvicorn's, which gives up a connection whose request's head or body does not come in time, and gives a request line or
        headers without end the answer 400; it would keep them all."""

        def connection_made(self, transport):
            super().connection_made(transport)
            self.in_head, self.endpoint, self.waiting, self.deadline = True, None, None, None
            self._expect(HEAD_SECONDS)

        def connection_lost(self, error):
            self._arrived()
            super().connection_lost(error)

        def data_received(self, data):
            super().data_received(data)
            if self.parser and self.deadline is None and (self.in_head or self.endpoint):       # the rest is on its way
                self._expect(HEAD_SECONDS if self.in_head else web.SLOW_BODY)

        def on_message_begin(self):
            super().on_message_begin()
            self.in_head = True

        def on_url(self, url):
            super().on_url(url)
            if len(self.url) > LONGEST_URL:
                raise ValueError("the URL is too long")

        def on_header(self, name, value):
            super().on_header(name, value)
            if len(self.headers) > MOST_HEADERS:
                self.headers.clear()
                raise ValueError("too many headers")

        def on_headers_complete(self):
            self.in_head = False
            self._arrived()
            endpoint, self.head = at_once.get(self.url), dict(self.headers)
            if endpoint and self._is_ordinary(endpoint.route):
                self.endpoint, self.parts, self.started = endpoint, [], time.perf_counter()
            else:
                super().on_headers_complete()

        def on_body(self, body):
            if self.endpoint:
                self.parts.append(body)
            else:
                super().on_body(body)

        def on_message_complete(self):
            if not self.endpoint:
                return super().on_message_complete()
            self._arrived()
            endpoint, self.endpoint = self.endpoint, None
            try:
                endpoint.service.guard.admit(endpoint.route.role, self.scope, self.head)
                answer = endpoint.route.at_once(endpoint.service, b"".join(self.parts))
            except Exception as error:
                return self._answer(endpoint, *endpoint.refusal(error))
            if isinstance(answer, bytes):
                return self._answer(endpoint, 200, (), answer)
            future, told = answer
            self.cycle = self.waiting = _Open()
            future.add_done_callback(lambda future: self._answer_later(endpoint, future, told))

        def _is_ordinary(self, route):
            """Whether this request can take the short way: the connection is free, and the head asks for nothing special."""
            head, parser = self.head, self.parser
            return (parser.get_method() == b"POST" and (self.cycle is None or self.cycle.response_complete) and not self.pipeline
                    and b"content-length" in head and not refused_head(head, route.limit) and not self.expect_100_continue
                    and parser.get_http_version() == "1.1" and parser.should_keep_alive() and not parser.should_upgrade()
                    and len(self.connections) < CONNECTIONS and not self.flow.write_paused)

        def _answer_later(self, endpoint, future, told):
            done, self.waiting = self.waiting, None
            try:
                answer = 200, (), told(future.result())
            except Exception as error:
                answer = endpoint.refusal(error)
            done.response_complete = True
            if not done.disconnected:
                self._answer(endpoint, *answer, done.keep_alive)

        def _answer(self, endpoint, status, headers, answer, keep_alive=True):
            body = as_bytes(answer)
            kind = endpoint.route.type if status == 200 else b"application/json"
            lines = [STATUS_LINES[status], *[b"%s: %s\r\n" % pair for pair in (*self.server_state.default_headers, *headers)],
                     b"content-type: %s\r\ncontent-length: %d\r\n" % (kind, len(body)),
                     b"" if keep_alive else b"connection: close\r\n", b"\r\n", body]
            self.transport.write(b"".join(lines))
            endpoint.count(status, self.started)
            if not keep_alive or headers and CLOSE[0] in headers:
                self.transport.close()
            self.on_response_complete()

        def _expect(self, seconds):
            self.deadline = self.loop.call_later(seconds, self._give_up)

        def _arrived(self):
            if self.deadline:
                self.deadline.cancel()
                self.deadline = None

        def _give_up(self):
            """What was to come has not come in time."""
            self.deadline = None
            if self.endpoint:
                endpoint, self.endpoint = self.endpoint, None
                self._answer(endpoint, *endpoint.refusal(too_slow()))
            elif self.in_head:
                self.transport.close()
    return Protocol
