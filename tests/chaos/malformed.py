"""Requests that no honest client sends: made from the service's own OpenAPI description and then broken, misspelled, with odd
headers, raw bytes. Each is refused; none may cost memory, change the state, or get a 5xx other than 503."""
import copy
import http.client
import json
import random
import re
import socket
import string
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.chaos.clients import Load, Server, Writer, read_all

JUNK = [None, True, 0, -1, 7, 2.5, 1e60, 10 ** 80, "", "x", "e1", "é" * 300, "x" * 5000, [], [[]], [None], {}, {"": None},
        {"x": {"x": [1]}}, ["t"] * 1200, "\ud800", "\x00", "1e5", {"constructor": 1}, [{"id": "a"}], -0.0]
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int, "number": (int, float)}
CONTENT = {"Content-Type": "application/json"}


class Schema:
    """As much of JSON Schema as the description uses: makes a value that fits, and tells whether one does."""

    def __init__(self, document):
        self.named = document["components"]["schemas"]

    def resolved(self, schema):
        return self.named[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    def fits(self, value, schema):
        """Whether a value is as the schema says."""
        schema = self.resolved(schema)
        if "oneOf" in schema or "anyOf" in schema and "type" not in schema:
            return any(self.fits(value, one) for one in schema.get("oneOf") or schema["anyOf"])
        if "const" in schema or "enum" in schema:
            return value in (schema["enum"] if "enum" in schema else [schema["const"]])
        kind = schema.get("type")
        if isinstance(kind, list):
            return any(self.fits(value, {**schema, "type": one}) for one in kind)
        if kind and (not isinstance(value, TYPES[kind]) or kind in ("integer", "number") and isinstance(value, bool)):
            return False
        if kind == "object":
            known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
            wanted = [schema.get("required", ()), *(one["required"] for one in schema.get("anyOf", ()))]
            has = [all(name in value for name in names) for names in wanted]
            return (has[0] and (any(has[1:]) or not has[1:])
                    and all(self.fits(part, one) if isinstance(one := known.get(name, more), dict) else one
                            for name, part in value.items()))
        if kind == "array":
            return len(value) <= schema.get("maxItems", 1 << 62) and all(self.fits(part, schema.get("items", {})) for part in value)
        if kind == "string":
            return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 62)
        return True

    def made(self, schema, rng):
        """A value as the schema says."""
        schema = self.resolved(schema)
        if "oneOf" in schema:
            return self.made(rng.choice(schema["oneOf"]), rng)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else rng.choice(schema["enum"])
        kind = rng.choice(schema["type"]) if isinstance(schema.get("type"), list) else schema.get("type")
        if kind == "object":
            value = {key: self.made(part, rng) for key, part in schema.get("properties", {}).items()}
            if isinstance(more := schema.get("additionalProperties"), dict):
                value |= {_word(rng): self.made(more, rng) for _ in range(rng.randrange(4))}
            return value
        if kind == "array":
            return [self.made(schema["items"], rng) for _ in range(rng.randrange(1, 4))]
        return {"number": rng.gauss(0, 10), "integer": rng.randrange(100), "boolean": rng.random() < 0.5, "null": None,
                "string": _word(rng)}[kind]


def _word(rng):
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randrange(1, 9)))


def broken(value, rng):
    """The value with one part, somewhere in it, replaced, left out or given something more."""
    whole = {"": copy.deepcopy(value)}      # so that all of it is in something, too
    holder, key = rng.choice(list(_parts(whole)))
    if holder is not whole and rng.random() < 0.3:
        del holder[key]
    elif isinstance(holder[key], dict) and rng.random() < 0.5:
        holder[key][rng.choice(["z", "", "ID", "x ", "__proto__"])] = rng.choice(JUNK)
    else:
        holder[key] = rng.choice(JUNK)
    return whole[""]


def _parts(holder):
    for key in holder if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], (dict, list)):
            yield from _parts(holder[key])


def misspelled(text, rng):
    """JSON text, as bytes, that is no JSON any more, or none that is allowed."""
    data = text.encode("utf-8", "surrogatepass")
    return rng.choice([
        lambda: data[:rng.randrange(len(data))], lambda: data + rng.choice([b"}", b"]", b",", b"\x00", b"{}"]),
        lambda: b'{"x":{"a":NaN}}', lambda: b'{"x":{"a":-Infinity}}', lambda: b'{"x":{},"x":{}}',
        lambda: b'{"id":"a","id":"b","y":1}',
        lambda: b"[" * rng.randrange(7, 5000), lambda: b'{"x":' * 500 + b"1" + b"}" * 500, lambda: b"\xef\xbb\xbf" + data,
        lambda: b"", lambda: data.replace(b'"', b"'"), lambda: b"\xff\xfe" + data, lambda: b'{"x":{"a":' + b"9" * 4000 + b"}}",
        lambda: b'{"x":{"a":"\\ud800"}}', lambda: rng.randbytes(rng.randrange(1, 400))])()


def malformed(nursery, folder, requests, seed=0):
    """Requests that the OpenAPI description does not allow, misspelled JSON, odd headers, raw bytes: no 5xx but 503, memory flat,
    state unchanged.

    What is malformed is judged by the description, not by the service.
    """
    rng, server = random.Random(seed), Server(nursery, folder)
    assert server.ready()
    with Load(server.port, [Writer("w")]) as load:
        load.until(200)
    before = server.settled()
    document = server.ask("GET", "/v1/openapi.json")[1]
    ways, statuses, memory = [_by_schema(document, rng), _by_spelling(document, rng), _by_header(document, rng)], Counter(), []
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        for i in range(requests):
            statuses[_raw(server.port, _bytes(rng)) if i % 10 == 9 else _refused(connection, *ways[i % len(ways)]())] += 1
            if i % max(1, requests // 50) == 0:
                memory.append(_memory(server.child.pid))
    after = server.settled()
    for name in ("seq", "stored", "state_sha256"):
        assert after[name] == before[name], name
    assert not [status for status in statuses if isinstance(status, int) and status >= 500 and status != 503], statuses
    assert "Traceback" not in server.child.printed, server.child.printed[-3000:]
    server.stop()
    early, late = max(memory[len(memory) // 4:len(memory) // 2]), max(memory[-len(memory) // 4:])
    assert late < 1.05 * early + 4e6, f"memory grew from {early / 1e6:.1f} to {late / 1e6:.1f} MB"
    return {"requests": requests, **{f"answered {status}": count for status, count in sorted(statuses.items(), key=str)},
            "memory in the second quarter, MB": round(early / 1e6, 1), "memory in the last, MB": round(late / 1e6, 1),
            "state": "unchanged"}


def _refused(connection, method, path, headers, body):
    """The status of the answer to a request, which must be one that blames the request."""
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
    except (http.client.HTTPException, ConnectionError) as error:
        connection.close()
        return type(error).__name__         # it closed the connection before all was sent
    assert 400 <= answer.status < 500, f"{method} {path} {headers} {body!r:.500} got {answer.status}: {data[:500]}"
    if answer.headers["Content-Type"] == "application/json":
        error = json.loads(data)["error"]
        assert error["code"] and error["message"] and "Traceback" not in error["message"], data
    return answer.status


# ---------------------------------------------------------------- requests, each way a function that makes the next one

def _operations(document):
    """[(method, path, schema of its body or None)]."""
    return [(method.upper(), path, operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema"))
            for path, methods in document["paths"].items() for method, operation in methods.items()]


def _by_schema(document, rng):
    schemas, operations = Schema(document), [one for one in _operations(document) if one[2]]

    def make():
        method, path, schema = rng.choice(operations)
        value = good = schemas.made(schema, rng)
        assert schemas.fits(good, schema), (path, good)
        while schemas.fits(value, schema):
            value = broken(good, rng)
        return method, _named(path, rng), CONTENT, json.dumps(value).encode()
    return make


def _by_spelling(document, rng):
    schemas, operations = Schema(document), [one for one in _operations(document) if one[2]]

    def make():
        method, path, schema = rng.choice(operations)
        text = json.dumps(schemas.made(schema, rng))
        while _is_json(body := misspelled(text, rng), lambda value: schemas.fits(value, schema)):
            pass
        return method, _named(path, rng), CONTENT, body
    return make


def _by_header(document, rng):
    paths = {path for _, path, _ in _operations(document)}
    good = json.dumps({"x": {"user": "u1"}}).encode()

    def make():
        path, junk = rng.choice(sorted(paths)), "".join(rng.choices(string.printable[:62] + "-._~:%", k=rng.randrange(1, 60)))
        return rng.choice([
            (rng.choice(["DELETE", "PATCH", "BREW", "PUT"]), _named(path, rng), CONTENT, good),
            ("POST", "/v1/predict", {"Content-Type": junk}, good), ("POST", "/v1/predict", {}, good),
            ("POST", "/v1/predict", {**CONTENT, "Content-Encoding": "gzip"}, good),
            ("POST", "/v1/events:batch", CONTENT, b'{"events":[' + b" " * (1 << 20)),
            ("POST", "/v1/events", CONTENT, b" " * (1 << 17)),
            ("GET", f"/v1/{junk}", {}, None), ("POST", f"/{junk}", CONTENT, good), ("GET", "/v1/../../etc/passwd", {}, None),
            ("POST", f"/v1/models/{junk}:activate", CONTENT, b"{}"),
            ("POST", "/v1/events?wait=" + junk, CONTENT, b'{"id":"header"}'),
            ("POST", "/v1/predict", {**CONTENT, "Host": "evil.example"}, good)])
    return make


def _is_json(body, fits):
    """Whether bytes are JSON, with each key once and no NaN, of a value that fits."""
    def distinct(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    def refused(constant):
        raise ValueError
    try:
        return fits(json.loads(body.decode(), object_pairs_hook=distinct, parse_constant=refused))
    except (ValueError, RecursionError):
        return False


def _named(path, rng):
    return re.sub(r"\{\w+\}", lambda _: rng.choice(["v1-00000000", "..", "live%00", "%2e%2e", "x" * 300, "v-1", "%ff"]), path)


def _bytes(rng):
    """Bytes that are nearly a request, or nothing like one."""
    good = (b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n"
            b'{"x":{"user":"u1"}}')
    changed = bytearray(good)
    for _ in range(rng.randrange(1, 6)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return rng.choice([
        rng.randbytes(rng.randrange(1, 3000)), bytes(changed), bytes(changed), good[:rng.randrange(len(good))], b"\r\n" * 500,
        good.replace(b"19", rng.choice([b"-1", b"1e3", b"99999999999999999999", b"0x13", b"19, 20", b""])),
        good.replace(b"Content-Length: 19", b"Transfer-Encoding: chunked").replace(
            b'{"x"', rng.choice([b"zz\r\n{", b"-1\r\n", b"ffffffffffffffff\r\n{"])),
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000, b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200)])


def _raw(port, data):
    """The status of the answer to bytes, after which nothing more is sent; 'closed' where there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass                            # it has heard enough
        found = re.match(rb"HTTP/1\.[01] (\d{3}) ", read_all(connection))
    return int(found[1]) if found else "closed"


def _memory(pid):
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
