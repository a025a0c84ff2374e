"""The numbers of the service once a second, as server-sent events: the last ten minutes first, then each second's.

    event: history    {"boot": .., "samples": {"time": [..], "accuracy": [..], ...}}     what the client has not seen yet
    event: now        {"sample": {..}, "texts": {..}, "weights": [[name, weight, known], ..], "marks": [[seq, detector], ..], ..}

Each client has room for one message, and a newer one takes the place of one that still waits: a browser that reads slowly, or
not at all, costs nothing. `id:` is `boot-number`; one that comes back with it gets what it has missed.
"""
import asyncio
import json
import logging
import secrets
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from linear.service.recent import Recent
from linear.service.vitals import Sample, plural, texts
from linear.service.web import Refused

PERIOD, KEPT = 1.0, 600                     # seconds between two samples; samples that are kept
LATELY, MINUTE = 3, 60                      # samples back: for rates, for what is told of the last minute
LOOKS = 2                                   # samples between two looks at weights and labels
MOST_CLIENTS = 100
_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
_log = logging.getLogger("linear.service")


class Stream:
    """Samples a service and tells its clients; an ASGI application. `start` and `stop` belong to the event loop."""

    def __init__(self, service):
        self.service, self.recent = service, Recent(service.runner.directory)
        self.boot, self.number, self.samples = secrets.token_hex(4), 0, deque(maxlen=KEPT)
        self.clients = set()
        self._began, self._pool = time.time() - time.monotonic(), ThreadPoolExecutor(1, "recent")
        self._looking, self._looked = asyncio.Lock(), float("-inf")

    def start(self):
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self):
        """End all streams."""
        self._task.cancel()
        for client in self.clients:
            client.end()

    def now(self):
        """What a page shows of this moment."""
        if not self.samples:
            self._take()
        sample, minute, lately = self.samples[-1], self._back(MINUTE), self._back(LATELY)
        told = texts(self.service, sample, lately, minute)
        delays = [self.recent.delay(share) for share in (0.5, 0.95)]
        told["delay"], told["delay_p95"] = ["–" if delay is None else plural(delay, "event") for delay in delays]
        return {"sample": _charted(sample), "texts": told, "weights": self.recent.weights,
                "marks": self.service.runner.snapshot.marks, "phase": "" if sample.seq else "empty"}

    async def look(self):
        """Have the weights and labels looked at, unless that is going on, or was just done."""
        if not self._looking.locked() and time.monotonic() > self._looked + PERIOD:
            async with self._looking:
                with suppress(OSError):     # the log's broker is away: what was seen stays
                    await asyncio.get_running_loop().run_in_executor(self._pool, self.recent.look, self.service.runner.snapshot)
                self._looked = time.monotonic()

    async def __call__(self, scope, receive, send):
        headers = dict(scope["headers"])
        if len(self.clients) >= MOST_CLIENTS:
            raise Refused(503, f"{MOST_CLIENTS} dashboards are open, which is the most", retry=10)
        client = _Client()
        self.clients.add(client)
        gone = asyncio.get_running_loop().create_task(_gone(receive, client))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await _send(send, b"retry: 1000\n" + self._history(headers.get(b"last-event-id", b"").decode("latin-1")))
            while (message := await client.next()) is not None:
                await _send(send, message)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            self.clients.discard(client)

    async def _run(self):
        due = time.monotonic()
        while True:
            self._take()
            if self.clients:
                if self.number % LOOKS == 0 or not self.recent.weights:
                    asyncio.get_running_loop().create_task(self.look())
                message = self._message("now", self.now())
                for client in self.clients:
                    client.put(message)
            due = max(due + PERIOD, time.monotonic())           # a second that was missed is not made up for
            await asyncio.sleep(due - time.monotonic())

    def _take(self):
        self.samples.append(Sample.of(self.service, self._began + time.monotonic(), self._back(LATELY)))
        self.number += 1

    def _back(self, count):
        return self.samples[-min(count + 1, len(self.samples))] if self.samples else None

    def _history(self, seen):
        boot, _, number = seen.partition("-")
        missed = self.number - int(number) if boot == self.boot and number.isdigit() else KEPT
        samples = list(self.samples)[-missed:] if missed > 0 else []
        return self._message("history", {"boot": self.boot, "samples": {
            name: [_rounded(getattr(sample, name)) for sample in samples] for name in Sample.CHARTED}})

    def _message(self, name, value):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return f"id: {self.boot}-{self.number}\nevent: {name}\ndata: {text}\n\n".encode()


class _Client:
    """A queue of one message, in which the newest wins."""

    def __init__(self):
        self._newest, self._more, self._open = None, asyncio.Event(), True

    def put(self, message):
        self._newest = message
        self._more.set()

    def end(self):
        self._open = False
        self._more.set()

    async def next(self):
        """The newest message that has not been taken, None when it has ended."""
        await self._more.wait()
        self._more.clear()
        return self._newest if self._open else None


async def _send(send, message):
    await send({"type": "http.response.body", "body": message, "more_body": True})


async def _gone(receive, client):
    while (await receive())["type"] != "http.disconnect":
        pass
    client.end()


def _charted(sample):
    return {name: _rounded(getattr(sample, name)) for name in Sample.CHARTED}


def _rounded(number):
    return round(number, 4) if isinstance(number, float) else number
