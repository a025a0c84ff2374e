"""Clients that are slow: with a header, with a body, with reading an answer."""
import http.client
import socket
import time
from contextlib import ExitStack, closing
from pathlib import Path

from tests.chaos.clients import Load, Server, Writer, read_all

CONTENT = {"Content-Type": "application/json"}


def slow(nursery, folder, seconds=2.0, clients=40):
    """Clients that stop in the middle of a request, send a byte now and then, or never read: the others do not notice."""
    server = Server(nursery, folder, slow_body=1.0)
    assert server.ready()
    with Load(server.port, [Writer("w")]) as load:
        load.until(200)
    alone, files = _delays(server, seconds / 2), _descriptors(server.child.pid)
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n"
    many = b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300         # megabytes of answers that are not read
    with ExitStack() as stack:
        held = []
        for first in (head[:60], head + b"\r\n{", many, b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            for _ in range(clients):
                held.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.port))))
                held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                held[-1].sendall(first)
        began = time.monotonic()
        beside = _delays(server, seconds, lambda: [_drip(client) for client in held[clients:2 * clients]])
        given_up = sum(b" 408 " in read_all(client) for client in held[clients:2 * clients])
        assert given_up == clients and time.monotonic() - began < seconds + 5, f"{given_up} of {clients} slow bodies were given up"
    for _ in range(500):
        if (left := _descriptors(server.child.pid)) <= files + 2:
            break
        time.sleep(0.01)
    assert left <= files + 2, f"{left} files are open, {files} were"
    server.stop()
    middle, worst = beside[len(beside) // 2], beside[len(beside) * 99 // 100]
    assert worst < 5.0, f"a prediction took {worst:.2f} s beside slow clients"
    return {"slow clients": len(held), "slow bodies given up with 408": given_up, "predictions meanwhile": len(beside),
            "median alone, ms": round(1e3 * alone[len(alone) // 2], 2), "median beside them, ms": round(1e3 * middle, 2),
            "p99 beside them, ms": round(1e3 * worst, 2)}


def _drip(client):
    try:
        client.send(b" ")
    except OSError:
        pass                                # it has been given up


def _delays(server, seconds, meanwhile=lambda: None):
    """Seconds of predictions, sorted, one after the other for some time."""
    delays, until = [], time.monotonic() + seconds
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        while time.monotonic() < until:
            if len(delays) % 100 == 0:
                meanwhile()
            began = time.perf_counter()
            connection.request("POST", "/v1/predict", b'{"x":{"user":"u1","tags":["t1"]}}', CONTENT)
            answer = connection.getresponse()
            data = answer.read()
            assert answer.status == 200, data
            delays.append(time.perf_counter() - began)
    return sorted(delays)


def _descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
