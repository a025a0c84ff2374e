"""A client of the service on the standard library alone. Sending again cannot count twice: the ids see to that."""
import http.client
import json
import random
import time
from urllib.parse import urlsplit

AGAIN = (429, 503)                          # answers after which the same request may succeed
MOST_EVENTS, MOST_BYTES = 1000, 1_000_000   # of one request
LONGEST_PAUSE = 10.0                        # seconds


class ServiceError(RuntimeError):
    """The service refused: `.status`, `.code` and `.field` say why."""

    def __init__(self, status, error):
        super().__init__(f"{status} {error.get('message', '')}")
        self.status, self.code, self.field = status, error.get("code", ""), error.get("field", "")


class Client:
    """Talks to a service at `url`, in which it keeps one connection; one thread at a time. `token` is for its Authorization.

    Where the service cannot be reached, says 503 or 429, a request is sent again, up to `tries` times in all, after pauses
    of up to 0.1 s, 0.2 s, 0.4 s, ..., each drawn at random so that clients do not come back all at once, and never shorter than
    the service asks for. Raises ServiceError where it refuses, OSError where it cannot be reached at last.

        client = Client("http://127.0.0.1:8000")
        client.send([{"id": "ev-7", "x": {"user": "ann", "tags": ["tea"]}, "y": 1}])
        client.predict({"user": "ann"})["label"]
    """

    def __init__(self, url, token=None, tries=8, timeout=35.0):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url {url!r} is not like http://127.0.0.1:8000")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection, self._prefix = kind(parts.hostname, parts.port, timeout=timeout), parts.path.rstrip("/")
        self.tries = tries
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}

    def predict(self, x, id=None):
        """{margin, label, seq, model} for one dictionary of features; of a list of them, a list of {margin, label}.

        `id` names the event that the features are of: when its label is sent, this prediction counts in the score as served.
        """
        if isinstance(x, dict):
            return self.ask("POST", "/v1/predict", {"x": x} if id is None else {"x": x, "id": id})
        return self._in_parts("/v1/predict:batch", "rows", [{"x": row} for row in x])

    def send(self, events):
        """Store events, dictionaries of id and x, y or both; returns [{id, status, seq}] when all of them are on disk.

        They go in requests of at most 1000. If this raises, send the same again: what was stored is then a duplicate.
        """
        return self._in_parts("/v1/events:batch", "events", events)

    def stats(self):
        """What has been learned: learned, seq, state_sha256 of one moment, and more."""
        return self.ask("GET", "/v1/stats")

    def wait_learned(self, seq, timeout=60.0):
        """Wait until event `seq` is learned; returns the stats of then. TimeoutError where that takes longer."""
        until = time.monotonic() + timeout
        while (stats := self.stats())["seq"] < seq:
            if time.monotonic() > until:
                raise TimeoutError(f"event {seq} is not learned after {timeout:g} s; the service is at {stats['seq']}")
            time.sleep(0.05)
        return stats

    def ask(self, method, path, body=None):
        """The decoded answer to any request that may be sent again; `body` is what becomes JSON, or JSON text."""
        for last in range(self.tries - 1, -1, -1):
            pause = min(LONGEST_PAUSE, 0.1 * 2 ** (self.tries - 1 - last)) * random.random()
            try:
                status, after, answer = self._once(method, path, body)
            except (OSError, http.client.HTTPException):
                self.close()
                if not last:
                    raise
            else:
                if status == 200:
                    return answer
                if status not in AGAIN or not last:
                    raise ServiceError(status, answer.get("error", {}))
                pause += after
            time.sleep(pause)

    def close(self):
        """Give up the connection; the next request makes a new one."""
        self._connection.close()

    def _in_parts(self, path, name, items):
        """The results of items, sent in as many requests as the service's limits ask for."""
        results, part, size = [], [], 0
        for text in [*map(json.dumps, items), None]:
            if part and (text is None or len(part) == MOST_EVENTS or size + len(text) > MOST_BYTES):
                results += self.ask("POST", path, f'{{"{name}":[{",".join(part)}]}}')["results"]
                part, size = [], 0
            if text is not None:
                part.append(text)
                size += len(text) + 1
        return results

    def _once(self, method, path, body):
        body = body if body is None or isinstance(body, str) else json.dumps(body)
        self._connection.request(method, self._prefix + path, body, self._headers)
        response = self._connection.getresponse()
        data, after = response.read(), response.getheader("Retry-After", "")
        try:
            answer = json.loads(data)
        except ValueError:                  # not the service's own words, such as a proxy's
            answer = {"error": {"message": data[:200].decode("utf-8", "replace")}}
        return response.status, min(float(after), LONGEST_PAUSE) if after.isdigit() else 0.0, answer
