"""The HTTP side: answers, refusals, limits, tokens, models; over real connections."""
import http.client
import json
import random
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import uvicorn

from linear import HingeSVM
from linear.service import events as checks
from linear.service import guard as guards
from linear.service import http as http_side
from linear.service import web
from linear.service.fold import Fold
from linear.service.guard import Guard, TokenError, new_token, read_tokens
from linear.service.http import ROUTES, Service, application
from linear.service.openapi import SCHEMAS, described
from linear.service.registry import Registry
from linear.service.runner import Directory, Runner
from linear.service.served import share_of
from linear.service.serving import compiled, configured

OPTIONS = {"crosses": "user*tags"}
LOCAL = ("127.0.0.1", "localhost", "[::1]")


@contextmanager
def served(path, options=OPTIONS, guard=None):
    """(service, port) of a service that runs in this process, its loops compiled before anybody waits for them."""
    runner = Runner(Directory(path, options))
    compiled(runner.directory.options)
    runner.start()
    service = Service(runner, guard or Guard(hosts=LOCAL))
    service.start_shadow()
    server = uvicorn.Server(configured(application(service)))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield service, listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        service.stop()
        listener.close()


@pytest.fixture
def running(tmp_path):
    with served(tmp_path / "dir") as both:
        yield both


def ask(port, method, path, body=None, **headers):
    """(status, decoded body, headers) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"} if method == "POST" else {}
    connection.request(method, path, data, {**kind, **{name.replace("_", "-"): value for name, value in headers.items()}})
    response = connection.getresponse()
    text, told = response.read(), dict(response.getheaders())
    connection.close()
    if told["content-type"].startswith("application/json"):
        text = json.loads(text)
        if response.status != 200:
            assert set(text) == {"error"} and {"code", "message"} <= set(text["error"]) <= {"code", "message", "field"}
    return response.status, text, told


def post(port, path, body, **headers):
    return ask(port, "POST", path, body, **headers)[:2]


def some(count, seed=0):
    rng = random.Random(seed)
    return [{"id": f"e{seed}-{i}", "x": {"user": f"u{rng.randrange(20)}", "tags": [f"t{rng.randrange(30)}" for _ in range(3)]},
             "y": rng.choice((-1, 1))} for i in range(count)]


# ---------------------------------------------------------------- events, predictions, stats

def test_events_are_learned_once_and_predictions_name_their_moment(running):
    service, port = running
    made = some(300)
    status, answer = post(port, "/v1/events:batch?wait=learned", {"events": made})
    assert status == 200 and answer["learned"] and [row["seq"] for row in answer["results"]] == list(range(1, 301))
    assert {row["status"] for row in post(port, "/v1/events:batch", {"events": made})[1]["results"]} == {"duplicate"}
    _, stats, _ = ask(port, "GET", "/v1/stats")
    log = service.runner.directory.log(readonly=True)
    whole = Fold.replayed(log, OPTIONS, 300)
    log.close()
    assert (stats["learned"], stats["seq"], stats["state_sha256"]) == (300, 300, whole.digest())
    rows = [event["x"] for event in some(40, 1)]
    batch = post(port, "/v1/predict:batch", {"rows": [{"x": x} for x in rows]})[1]
    assert (batch["seq"], batch["model"]) == (300, "live")
    for x, row in zip(rows, batch["results"]):
        one = post(port, "/v1/predict", {"x": x})[1]
        assert one == {"margin": whole.model.margin_one(x), "label": whole.model.predict_one(x), "seq": 300, "model": "live"}
        assert row == {"margin": one["margin"], "label": one["label"]}
        told = post(port, "/v1/explain", {"x": x})[1]
        total = 0.0
        for _, part in told["contributions"]:
            total += part
        assert total == told["margin"] == one["margin"] and len(told["contributions"]) == 8


def test_one_event_at_a_time(running):
    _, port = running
    assert post(port, "/v1/events", {"id": "a", "x": {"u": "ann"}}) == (200, {"id": "a", "status": "stored", "seq": 1})
    assert post(port, "/v1/events?wait=learned", {"id": "a", "y": True})[1] == {"id": "a", "status": "stored", "seq": 2, "learned": True}
    assert post(port, "/v1/events", {"id": "a", "x": {"u": "ann"}, "y": 1}) == (200, {"id": "a", "status": "duplicate", "seq": 1})
    status, answer = post(port, "/v1/events", {"id": "a", "y": -1})
    assert status == 409 and answer["error"]["code"] == "conflict" and answer["error"]["field"] == "id"
    assert post(port, "/v1/events:batch", {"events": [{"id": "a", "y": -1}, {"id": "b", "y": 1}]})[1]["results"] == [
        {"id": "a", "status": "conflict", "seq": 2}, {"id": "b", "status": "stored", "seq": 3}]
    assert ask(port, "GET", "/v1/stats")[1]["learned"] == 1
    assert post(port, "/v1/events:batch", {"events": []}) == (200, {"results": []})


@pytest.mark.parametrize("path, body, field", [
    ("/v1/events", {"id": "a", "y": 2}, "y"), ("/v1/events", [], None), ("/v1/events", {"id": "a", "x": {"f": [1]}}, "x.f"),
    ("/v1/events:batch", {"events": [{"id": "a", "y": 1}, {"id": "b", "y": "1"}]}, "events[1].y"),
    ("/v1/events:batch", {"events": {}}, "events"), ("/v1/events:batch", {"events": [{"id": "a", "y": 1}] * 1001}, "events"),
    ("/v1/events", b'{"id": "a", "x": {"f": NaN}}', None), ("/v1/events", b'{"id": "a", "id": "b", "y": 1}', "id"),
    ("/v1/events", b'{"id": "a", "x": {"f": 1e999}}', "x.f"), ("/v1/events", b'{"id": "a", "y": 1', None), ("/v1/events", b"", None),
    ("/v1/events", b"\xff{}", None), ("/v1/events", b"[" * 60_000, None), ("/v1/predict", {"x": {}, "z": 1}, "z"),
    ("/v1/predict", {"x": 3}, "x"), ("/v1/predict:batch", {"rows": [{"x": {}}, {"y": 1}]}, "rows[1].x"),
    ("/v1/predict", {"x": {"user": ["u"] * 300, "tags": ["t"] * 300}}, "x"), ("/v1/explain", {}, "x"),
    ("/v1/events?wait=forever", {"id": "a", "y": 1}, "wait"), ("/v1/commands", {"command": "explode"}, "command"),
    ("/v1/commands", {"command": "forget"}, "id"), ("/v1/commands", {"command": "rate", "lr": -1}, "lr"),
    ("/v1/commands", {"command": "rate", "lr": "1"}, "lr"), ("/v1/commands", {"command": "correct", "id": "a", "y": 3}, "y"),
    ("/v1/commands", {"command": "reset", "id": "a"}, "id"), ("/v1/models", {"a": 1}, "a"),
    ("/v1/models/live:shadow", {"options": {"rule": "none"}}, "options"), ("/v1/models/live:shadow", {"options": {"what": 1}}, "options")])
def test_what_is_invalid_changes_nothing(running, path, body, field):
    service, port = running
    before = service.runner.snapshot.digest()
    status, answer = post(port, path, body)
    assert status == 400 and answer["error"].get("field") == field and "Traceback" not in answer["error"]["message"]
    assert service.runner.stored == 0 and service.runner.snapshot.digest() == before


def test_commands_change_history(running):
    service, port = running
    made = some(50)
    post(port, "/v1/events:batch", {"events": made})
    assert post(port, "/v1/commands?wait=learned", {"command": "forget", "id": made[3]["id"]}) == (
        200, {"command": "forget", "seq": 51, "learned": True})
    for order in ({"command": "rate", "lr": 0.5}, {"command": "correct", "id": made[4]["id"], "y": 1}, {"command": "reset"}):
        assert post(port, "/v1/commands?wait=learned", order)[0] == 200
    _, stats, _ = ask(port, "GET", "/v1/stats")
    log = service.runner.directory.log(readonly=True)
    assert stats["state_sha256"] == Fold.replayed(log, OPTIONS, 54).digest() and stats["forgotten"] == 1 and stats["weights"] == 0
    log.close()


# ---------------------------------------------------------------- what is refused before it is read

def test_refusals_before_the_body_is_read(running):
    _, port = running
    event = {"id": "a", "y": 1}
    assert post(port, "/v1/events", event, Content_Encoding="gzip")[0] == 415
    assert post(port, "/v1/events", event, Content_Type="text/plain")[0] == 415
    assert post(port, "/v1/events", event, Content_Type="application/json; charset=utf-8")[0] == 200
    assert post(port, "/v1/events", b'{"id": "' + b"a" * web.BODY)[0] == 413
    assert post(port, "/v1/events:batch", b'{"events": [' + b" " * web.BODY + b"]}")[0] == 200
    assert post(port, "/v1/events:batch", b" " * (web.BATCH_BODY + 1))[0] == 413
    assert ask(port, "POST", "/v1/nothing", {})[0] == 404
    status, _, headers = ask(port, "GET", "/v1/events")
    assert (status, headers["allow"]) == (405, "POST")
    assert ask(port, "GET", "/v1/stats", Host="evil.example")[0] == 403          # a stranger's page in this machine's browser
    assert ask(port, "GET", "/v1/stats", Host=f"localhost:{port}")[0] == 200


def test_a_body_without_a_length_has_the_same_limit(running):
    _, port = running
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/events", (b" " * 10_000 for _ in range(8)), {"Content-Type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_slow_body_is_given_up(running, monkeypatch):
    monkeypatch.setattr(web, "SLOW_BODY", 0.2)
    _, port = running
    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{")
        answer = slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408") and b'"slow_body"' in answer


def test_a_connection_that_asks_nothing_is_given_up(running, monkeypatch):
    monkeypatch.setattr("linear.service.protocol.HEAD_SECONDS", 0.2)
    _, port = running
    for begun in (b"", b"GET /healthz HTTP/1.1\r\nHost: loc"):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
            slow.sendall(begun)
            assert slow.recv(1000) == b""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(3):                      # one that does is kept
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        time.sleep(0.15)
    connection.close()


def test_a_client_that_goes_away_harms_nobody(running):
    service, port = running
    for cut in (b"POST /v1/events HTTP/1.1\r\nHost: local", b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                b"application/json\r\nContent-Length: 40\r\n\r\n{", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(cut)
    assert ask(port, "GET", "/healthz")[0] == 200 and service.runner.stored == 0


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict:batch"])                  # by the short way, and by uvicorn's
def test_threads_that_have_work_are_left_a_moment_once_a_turn(path, running, monkeypatch):
    service, port = running
    now, naps = [100.0], []
    monkeypatch.setattr(web, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(http_side, "time", SimpleNamespace(perf_counter=lambda: now[0], sleep=naps.append))

    def asked():
        naps.clear()
        assert post(port, path, {"x": {"u": "a"}} if path == "/v1/predict" else {"rows": []})[0] == 200
        return naps
    assert asked() == []
    monkeypatch.setattr(Runner, "busy", True)
    assert asked() == [http_side.MOMENT] and asked() == []
    now[0] += 2 * http_side.TURN
    assert asked() == [http_side.MOMENT]


def test_too_much_waiting_and_a_full_disk_are_503(running, monkeypatch):
    service, port = running
    monkeypatch.setattr("linear.service.runner.WAITING", 2)
    status, answer, headers = ask(port, "POST", "/v1/events:batch", {"events": some(3)})
    assert status == 503 and "wait" in answer["error"]["message"] and headers["retry-after"] == "1"
    monkeypatch.undo()

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("linear.service.log.SqliteLog.append", full)
    monkeypatch.setattr("linear.service.log.SqliteLog.probe", full)
    status, answer, headers = ask(port, "POST", "/v1/events", some(1)[0])
    assert status == 503 and headers["retry-after"] == "5" and "No space" in answer["error"]["message"]
    assert ask(port, "GET", "/readyz")[0] == 503 and ask(port, "GET", "/healthz")[0] == 200
    assert post(port, "/v1/predict", {"x": {}})[0] == 200
    monkeypatch.undo()
    until = time.monotonic() + 20
    while ask(port, "GET", "/readyz")[0] != 200:                    # it recovers by itself
        assert time.monotonic() < until
        time.sleep(0.1)


def test_when_learning_fails_it_says_so_and_goes_on_answering(tmp_path, monkeypatch):
    with served(tmp_path / "dir") as (service, port):
        monkeypatch.setattr("linear.service.fold.Fold.apply", lambda *_: 1 / 0)
        post(port, "/v1/events", some(1)[0])
        until = time.monotonic() + 20
        while ask(port, "GET", "/readyz")[0] == 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert isinstance(service.runner.failure, ZeroDivisionError) and post(port, "/v1/predict", {"x": {}})[0] == 200
        assert post(port, "/v1/events", some(1, 1)[0])[0] == 503
        monkeypatch.undo()


def test_an_error_of_ours_shows_no_traceback(running, monkeypatch):
    service, port = running
    monkeypatch.setattr(service, "model", lambda: 1 / 0)
    status, answer = post(port, "/v1/predict", {"x": {}})
    assert status == 500 and answer["error"] == {"code": "internal", "message": "an error of this program; its log has the details"}


# ---------------------------------------------------------------- tokens and rates

def test_tokens_and_their_roles(tmp_path):
    secrets, lines = {}, ["# who may do what", ""]
    for role in guards.ROLES:
        secrets[role], line = new_token(role, "of a test")
        lines.append(line)
    file = tmp_path / "tokens"
    file.write_text("\n".join(lines))
    assert not any(secret in file.read_text() for secret in secrets.values())
    requests = {"predict": ("POST", "/v1/predict", {"x": {}}), "write": ("POST", "/v1/events", {"id": "a", "y": 1}),
                "admin": ("POST", "/v1/commands", {"command": "reset"})}
    with served(tmp_path / "dir", guard=Guard(read_tokens(file))) as (_, port):
        for wanted, request in requests.items():
            status, _, headers = ask(port, *request)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert ask(port, *request, Authorization=f"Bearer {secrets['admin']}x")[0] == 401
            for role, secret in secrets.items():
                enough = guards.ROLES.index(role) >= guards.ROLES.index(wanted)
                assert ask(port, *request, Authorization=f"Bearer {secret}")[0] == (200 if enough else 403)
        assert {ask(port, "GET", path)[0] for path in ("/healthz", "/readyz", "/v1/openapi.json")} == {200}
        assert ask(port, "GET", "/metrics")[0] == 401


@pytest.mark.parametrize("text, words", [("", "no token"), ("admin secret", ":1: expected"), ("\nboss " + "a" * 64, ":2: expected")])
def test_bad_token_files(tmp_path, text, words):
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(TokenError, match=words):
        read_tokens(tmp_path / "tokens")


def test_requests_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
    guard, scope = Guard(rate=5.0), {"client": ("10.0.0.1", 1)}

    def passed(times, scope=scope):
        count = 0
        for _ in range(times):
            try:
                guard.admit("predict", scope, {})
                count += 1
            except web.Refused as error:
                assert error.status == 429 and (b"retry-after", b"1") in error.headers
        return count
    assert passed(20) == 10 and passed(20, {"client": ("10.0.0.2", 1)}) == 10
    now[0] += 1.0
    assert passed(20) == 5
    guard.admit("", scope, {})              # health is always told
    monkeypatch.setattr(guards, "MOST_BUCKETS", 50)
    for i in range(200):
        now[0] += 1.0
        passed(1, {"client": (str(i), 1)})
    assert len(guard._buckets) <= 50


# ---------------------------------------------------------------- models and the shadow

def test_models_are_frozen_activated_and_rolled_back(tmp_path):
    with served(tmp_path / "dir") as (_, port):
        post(port, "/v1/events:batch?wait=learned", {"events": some(100)})
        x = some(1)[0]["x"]
        then = post(port, "/v1/predict", {"x": x})[1]
        name = post(port, "/v1/models", {})[1]["model"]
        digest = ask(port, "GET", "/v1/stats")[1]["state_sha256"]
        assert name == f"v100-{digest[:8]}" and post(port, "/v1/models", {})[1]["model"] == name
        post(port, "/v1/events:batch?wait=learned", {"events": some(100, 1)})
        now = post(port, "/v1/predict", {"x": x})[1]
        assert now["margin"] != then["margin"] and now["seq"] == 200
        assert post(port, f"/v1/models/{name}:activate", {}) == (200, {"model": name})
        assert post(port, "/v1/predict", {"x": x})[1] == {**then, "model": name}
        assert ask(port, "GET", "/v1/stats")[1]["seq"] == 200         # learning goes on
        assert post(port, "/v1/models/v7-00000000:activate", {})[0] == 404
        assert post(port, "/v1/models/live:rollback", {})[0] == 409
    with served(tmp_path / "dir") as (_, port):                       # the pointer outlives the process
        assert post(port, "/v1/predict", {"x": x})[1] == {**then, "model": name}
        assert post(port, f"/v1/models/{name}:rollback", {}) == (200, {"model": "live"})
        assert post(port, "/v1/predict", {"x": x})[1] == now
        listed = ask(port, "GET", "/v1/models")[1]
        assert listed == {"active": "live", "history": ["live"], "models": ["live", name], "split": None, "as_served": {}, "shadow": None}
        model = tmp_path / "dir" / "models" / name / "model"
        other = HingeSVM(**OPTIONS)
        other.save(model)                                             # whole, but another one: the self-test finds it
        status, answer = post(port, f"/v1/models/{name}:activate", {})
        assert status == 409 and "self-test" in answer["error"]["message"]
        assert post(port, "/v1/predict", {"x": x})[1] == now


def test_a_split_is_by_id_and_scores_are_as_served(running, tmp_path):
    service, port = running
    post(port, "/v1/events:batch?wait=learned", {"events": [{"id": f"{i}", "x": {"u": "a"}, "y": 1} for i in range(30)]})
    name = post(port, "/v1/models", {})[1]["model"]
    for _ in range(2):                      # from now on the live model errs, and the frozen one does not
        post(port, "/v1/events:batch?wait=learned", {"events": [{"id": f"{name}{_}{i}", "x": {"u": "a"}, "y": -1} for i in range(60)]})
    assert post(port, f"/v1/models/{name}:split", {"share": 0.3})[:2] == (200, {"model": name, "share": 0.3})
    asked = [(f"id-{i}", post(port, "/v1/predict", {"x": {"u": "a"}, "id": f"id-{i}"})[1]) for i in range(100)]
    assert {answer["model"] for _, answer in asked} == {"live", name} and 15 <= sum(answer["model"] == name for _, answer in asked) <= 45
    for event, answer in asked:             # the same id, the same model; without an id, the one that answers
        assert (answer["model"] == name) == (share_of(event) < 0.3) and answer["label"] == (1 if answer["model"] == name else -1)
    assert post(port, "/v1/predict", {"x": {"u": "a"}})[1]["model"] == "live"
    assert ask(port, "GET", "/v1/stats")[1]["as_served"] == {}
    post(port, "/v1/events:batch", {"events": [{"id": event, "y": 1} for event, _ in asked]})
    post(port, "/v1/events:batch", {"events": [{"id": event, "y": 1} for event, _ in asked]})          # duplicates count once
    split = sum(answer["model"] == name for _, answer in asked)
    assert ask(port, "GET", "/v1/models")[1]["as_served"] == {name: {"labelled": split, "zero_one": 0.0},
                                                              "live": {"labelled": 100 - split, "zero_one": 1.0}}
    assert Registry(service.runner.directory.path / "models").split == [name, 0.3]
    assert post(port, f"/v1/models/{name}:split", {"share": 0})[0] == 200 and ask(port, "GET", "/v1/models")[1]["split"] is None
    assert post(port, "/v1/models/v9-00000000:split", {"share": 0.5})[0] == 404 and post(port, "/v1/models/live:split", {"share": 2})[0] == 400
    assert post(port, "/v1/predict", {"x": {}, "id": 7})[0] == 400


def test_a_shadow_is_compared_event_by_event(tmp_path):
    with served(tmp_path / "dir") as (service, port):
        post(port, "/v1/events:batch?wait=learned", {"events": some(100)})
        options = post(port, "/v1/models/live:shadow", {"options": {"rule": "pa1", "C": 0.01}})[1]["shadow"]
        assert options["rule"] == "pa1" and options["crosses"] == [["user", "tags"]]
        for part in range(1, 6):
            post(port, "/v1/events:batch?wait=learned", {"events": some(100, part)})
        until = time.monotonic() + 30
        while (told := ask(port, "GET", "/v1/models")[1]["shadow"])["seq"] < 600:
            assert time.monotonic() < until and told["failure"] is None
            time.sleep(0.05)
        log = service.runner.directory.log(readonly=True)
        mistakes = {}
        for run, given in (("live", OPTIONS), ("shadow", options)):
            fold, mistakes[run] = Fold(given), {}
            fold.watcher = lambda places, wrong, run=run: mistakes[run].update(zip(places, wrong))
            while fold.advance(log, 7):
                pass
        log.close()
        late = range(101, 601)
        pairs = [(mistakes["live"][seq], mistakes["shadow"][seq]) for seq in late]
        assert (told["events"], told["better"], told["worse"]) == (500, pairs.count((True, False)), pairs.count((False, True)))
        assert told["shadow_zero_one"] == sum(wrong for _, wrong in pairs) / 500 and told["better"] + told["worse"] > 50
        assert post(port, "/v1/models/live:shadow", {"options": None}) == (200, {"shadow": None})
        assert ask(port, "GET", "/v1/models")[1]["shadow"] is None


# ---------------------------------------------------------------- what it says about itself

def fits(value, schema):
    """Whether a value is what a schema says; as much of JSON Schema as ours use."""
    if "$ref" in schema:
        return fits(value, SCHEMAS[schema["$ref"].rpartition("/")[2]])
    kinds = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool, "null": type(None)}
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(isinstance(value, kinds[kind]) and not (isinstance(value, bool) and kind in ("number", "integer")) for kind in wanted):
        return False
    if isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        if set(schema.get("required", ())) - set(value) or rest is False and set(value) - set(known):
            return False
        if not all(fits(item, known.get(name, rest if isinstance(rest, dict) else {})) for name, item in value.items()):
            return False
    if isinstance(value, list) and not all(fits(item, schema.get("items", {})) for item in value):
        return False
    return (value in schema.get("enum", [value]) and value == schema.get("const", value)
            and ("oneOf" not in schema or sum(fits(value, one) for one in schema["oneOf"]) == 1)
            and ("anyOf" not in schema or any(fits(value, one) for one in schema["anyOf"])))


def test_openapi_is_the_table_and_the_answers_fit_it(running):
    service, port = running
    made = some(20)
    post(port, "/v1/events:batch?wait=learned", {"events": made})
    document = ask(port, "GET", "/v1/openapi.json")[1]
    assert document == json.loads(json.dumps(described(ROUTES))) and document["openapi"] == "3.1.0"
    assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} == {
        ("GET", "/v1/stream"), ("POST", "/sign-in"), *((route.method, route.path) for route in ROUTES)}
    for ref in set(_refs(document)):
        part = document
        for name in ref.removeprefix("#/").split("/"):
            part = part[name]
    name = post(port, "/v1/models", {})[1]["model"]
    bodies = {"Example": {"x": made[0]["x"]}, "Asked": {"x": made[0]["x"], "id": "asked"}, "Share": {"share": 0.5}, "Rows": {"rows": [{"x": {}}]}, "Event": {"id": "new", "y": True},
              "Events": {"events": [{"id": "newer", "x": {"a": 1, "b": {"c": 2.5}, "d": None, "e": False}}]},
              "Command": {"command": "reset"}, "Nothing": {}, "Changes": {"options": None}}
    for route in sorted(ROUTES, key=lambda route: route.path.endswith("rollback")):
        path = route.path.replace("{v}", name)
        assert not route.body or fits(bodies[route.body], SCHEMAS[route.body])
        status, answer, headers = ask(port, route.method, path, bodies[route.body] if route.body else None)
        assert status == 200, (path, answer)
        kind, = document["paths"][route.path][route.method.lower()]["responses"]["200"]["content"]
        assert headers["content-type"].startswith(kind) and (not route.answer or fits(answer, SCHEMAS[route.answer])), (path, answer)
    assert not fits({"id": "a"}, SCHEMAS["Event"]) and not fits({"id": "a", "y": 3}, SCHEMAS["Event"])


def _refs(part):
    if isinstance(part, dict):
        for name, value in part.items():
            yield from [value] if name == "$ref" else _refs(value)
    elif isinstance(part, list):
        for value in part:
            yield from _refs(value)


def test_metrics_are_prometheus_text(running):
    _, port = running
    post(port, "/v1/events:batch?wait=learned", {"events": some(30)})
    post(port, "/v1/predict", {"x": {}})
    post(port, "/v1/predict", {"y": {}})
    status, text, headers = ask(port, "GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    values = {}
    for line in text.decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            values[name] = float(value)
    assert values["linear_learned_total"] == 30 == values["linear_stored_total"] and values["linear_ready"] == 1
    assert values['linear_requests_total{route="/v1/predict",status="200"}'] == 1
    assert values['linear_requests_total{route="/v1/predict",status="400"}'] == 1
    assert values['linear_request_seconds_bucket{route="/v1/predict",le="+Inf"}'] == 2 == values[
        'linear_request_seconds_count{route="/v1/predict"}']


def test_readiness_has_a_limit_of_lag(running, monkeypatch):
    service, port = running
    assert ask(port, "GET", "/readyz")[:2] == (200, {"status": "ready", "seq": 0})
    monkeypatch.setattr("linear.service.handlers.MOST_LAG", -1)
    status, answer, headers = ask(port, "GET", "/readyz")
    assert status == 503 and "wait to be learned" in answer["error"]["message"] and headers["retry-after"] == "1"


def test_a_clean_end_leaves_one_log_file(tmp_path):
    with served(tmp_path / "dir") as (_, port):
        post(port, "/v1/events:batch", {"events": some(30)})
    assert sorted(path.name for path in (tmp_path / "dir").glob("log.db*")) == ["log.db"]


def test_the_runner_of_a_service_still_answers_threads(running):
    service, _ = running
    stored, = service.runner.append([checks.event({"id": "by-hand", "y": 1})]).result(timeout=10)
    assert stored == ("by-hand", "stored", 1)


def test_stats_of_many_share_a_digest(running, monkeypatch):
    service, port = running
    post(port, "/v1/events:batch?wait=learned", {"events": some(30)})
    computed, digest = [], Fold.digest
    monkeypatch.setattr(Fold, "digest", lambda fold: computed.append(fold.position) or digest(fold))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(port, "GET", "/v1/stats")[1]["state_sha256"])) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 10 and len(set(answers)) == 1 and computed == [30]
