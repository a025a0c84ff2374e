"""The client: what it sends again counts once, whatever goes wrong on the way."""
import http.client
import socket
import threading

import pytest
from test_service_http import LOCAL, OPTIONS, served, some

from linear.service import client as clients
from linear.service.client import Client, ServiceError
from linear.service.fold import Fold
from linear.service.guard import Guard


@pytest.fixture
def both(tmp_path, monkeypatch):
    monkeypatch.setattr(clients.time, "sleep", lambda seconds: threading.Event().wait(min(seconds, 0.02)))
    with served(tmp_path / "dir") as (service, port):
        client = Client(f"http://127.0.0.1:{port}")
        yield service, client
        client.close()


def test_send_wait_predict(both):
    service, client = both
    made = some(2500)
    rows = client.send(made)
    assert [row["seq"] for row in rows] == list(range(1, 2501)) and client.send([]) == []
    assert client.wait_learned(rows[-1]["seq"])["learned"] == 2500
    one = client.predict(made[0]["x"])
    assert one["seq"] == 2500 and one["margin"] == service.runner.snapshot.model.margin_one(made[0]["x"])
    assert client.predict([made[0]["x"], {}])[0] == {"margin": one["margin"], "label": one["label"]}
    with pytest.raises(TimeoutError, match="2501 is not learned"):
        client.wait_learned(2501, timeout=0.1)


def test_large_events_go_in_several_requests(both):
    _, client = both
    made = [{"id": f"big{i}", "x": {"words": [f"w{i}-{j}" for j in range(4000)]}} for i in range(60)]
    assert [row["status"] for row in client.send(made)] == ["stored"] * 60


def test_lost_answers_do_not_count_twice(both, monkeypatch):
    """The request arrives, its answer does not: what every retry has to live with."""
    service, client = both
    once, calls = client._once, [0]

    def lossy(*args):
        calls[0] += 1
        answer = once(*args)
        if calls[0] % 3:
            raise http.client.RemoteDisconnected("the answer was lost")
        return answer
    monkeypatch.setattr(client, "_once", lossy)
    rows = client.send(some(1500))
    assert {row["status"] for row in rows} == {"duplicate"} and calls[0] == 6
    log = service.runner.directory.log(readonly=True)
    assert service.runner.wait_for(1500, 30) and service.runner.snapshot.digest() == Fold.replayed(log, OPTIONS, 1500).digest()
    log.close()
    assert service.runner.snapshot.counts.learned == 1500 == service.runner.stored


def test_it_comes_back_after_503_and_gives_up_at_400(both, monkeypatch):
    service, client = both
    append, refused = service.runner.append, []

    def busy(*args):
        if len(refused) < 3:
            refused.append(1)
            raise clients_busy("too much")
        return append(*args)
    from linear.service.runner import Busy as clients_busy
    monkeypatch.setattr(service.runner, "append", busy)
    assert client.send(some(5))[0]["status"] == "stored" and len(refused) == 3
    with pytest.raises(ServiceError, match="400 label 7") as error:
        client.send([{"id": "a", "y": 7}])
    assert (error.value.status, error.value.code, error.value.field) == (400, "invalid", "events[0].y")
    monkeypatch.setattr(service.runner, "append", lambda *_: (_ for _ in ()).throw(clients_busy("too much")))
    with pytest.raises(ServiceError, match="503 too much; nothing was stored"):
        client.send(some(1, 1))


def test_where_nobody_listens(monkeypatch):
    pauses = []
    monkeypatch.setattr(clients.time, "sleep", pauses.append)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError):
        Client(f"http://127.0.0.1:{port}", tries=6).stats()
    assert len(pauses) == 5 and all(0 <= pause <= 0.1 * 2 ** i for i, pause in enumerate(pauses)) and len(set(pauses)) == 5
    with pytest.raises(ValueError, match="not like http"):
        Client("127.0.0.1:8000")


def test_a_token_goes_along(tmp_path):
    from linear.service.guard import new_token
    secret, line = new_token("write")
    guard = Guard([(bytes.fromhex(line.split()[1]), "write")], hosts=LOCAL)
    with served(tmp_path / "dir", guard=guard) as (_, port):
        client = Client(f"http://127.0.0.1:{port}/", token=secret)
        assert client.send(some(1))[0]["status"] == "stored"
        client.close()
        client = Client(f"http://127.0.0.1:{port}", token="wrong")
        with pytest.raises(ServiceError, match="401"):
            client.stats()
        client.close()


def test_answers_that_are_no_json(monkeypatch):
    """A proxy speaks for the service."""
    def answer(listener):
        for _ in range(2):
            with listener.accept()[0] as peer:
                peer.recv(1 << 16)
                peer.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 8\r\nConnection: close\r\n\r\n<html/>\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        for _ in range(2):
            client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}")
            with pytest.raises(ServiceError, match="502 <html/>"):
                client.stats()
            client.close()
        thread.join()
