"""Replicas: processes that follow one that learns, beside it and after its end, and everything that they must not believe."""
import asyncio
import json
import os
import re
import shutil
import signal
import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest
from test_service_cli import run
from test_service_http import LOCAL, ask, fits, post, some
from test_service_page import Asked

from linear import model_file
from linear.service import following as followed
from linear.service import replica
from linear.service import http as service_http
from linear.service.client import Client, ServiceError
from linear.service.dashboard import routes
from linear.service.events import event
from linear.service.fold import Fold
from linear.service.following import Followed, follower
from linear.service.guard import Guard
from linear.service.http import application
from linear.service.log import LogError, Row, SqliteLog
from linear.service.openapi import PAGE, SCHEMAS, described
from linear.service.registry import Registry
from linear.service.replica import Replica, ReplicaStream
from linear.service.runner import Directory, DirectoryError, Runner
from linear.service.store import StateError, StateStore
from tests.chaos.nursery import Nursery

OPTIONS = {"crosses": "user*tags"}
PROBES = [item["x"] for item in some(20, 77)]


@pytest.fixture(scope="module")
def nursery():
    if not hasattr(os, "fork"):
        pytest.skip("the processes of these tests are forked, and this system cannot")
    with Nursery() as nursery:
        yield nursery


class Process:
    """A primary or a replica as a process of its own, once it is ready."""

    def __init__(self, nursery, function, directory, *arguments, out, **settings):
        self.child = nursery.start(function, str(directory), *arguments, out=out, **settings)
        assert self.child.says("at http://127.0.0.1:") and self.child.code is None, self.child.printed
        self.port = int(re.search(r"at http://127\.0\.0\.1:(\d+);", self.child.printed)[1])

    def stats(self):
        return ask(self.port, "GET", "/v1/stats")[1]

    def stop(self, code=0):
        self.child.signal(signal.SIGTERM)
        assert self.child.wait() == code, self.child.printed

    def kill(self):
        self.child.signal(signal.SIGKILL)
        assert self.child.wait() == -9


class Observed:
    """What a server has answered while others worked: {seq: margins of PROBES}, {seq: digest}, and the seqs in order."""

    def __init__(self, process):
        self.process, self.margins, self.digests, self.seqs, self.failure = process, {}, {}, [], None
        self._end, self._thread = threading.Event(), threading.Thread(target=self._run)
        self._thread.start()

    def stop(self):
        self._end.set()
        self._thread.join()
        assert self.last >= 0

    @property
    def last(self):
        """The seq of the newest answer."""
        if self.failure:
            raise self.failure
        return self.seqs[-1] if self.seqs else -1

    def _run(self):
        try:
            while not self._end.wait(0.005):
                batch = post(self.process.port, "/v1/predict:batch", {"rows": [{"x": x} for x in PROBES]})[1]
                assert batch["model"] == "live"
                margins = [row["margin"] for row in batch["results"]]
                assert self.margins.setdefault(batch["seq"], margins) == margins
                one = post(self.process.port, "/v1/predict", {"x": PROBES[0]})[1]
                told = self.process.stats()
                self.digests[told["seq"]] = told["state_sha256"]
                self.seqs += [batch["seq"], one["seq"], told["seq"]]
                if one["seq"] == batch["seq"]:
                    assert one["margin"] == margins[0]
        except Exception as error:
            self.failure = error


def until(condition, seconds=60):
    """Wait until it holds; returns what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)
    return found


def judge(directory, *observed):
    """Every answer that was observed is that of the log up to its seq, bit for bit."""
    log = SqliteLog(directory / "log.db")
    orders = [json.loads(text) for _, text in log.commands(log.last())]
    assert all(order["command"] == "rate" for order in orders)
    fold = Fold(OPTIONS)
    for seq in sorted({seq for one in observed for seq in (*one.margins, *one.digests)}):
        while fold.position < seq:
            assert fold.advance(log, min(1000, seq - fold.position))
        margins, digest = [fold.model.margin_one(x) for x in PROBES], None
        for one in observed:
            assert one.margins.get(seq, margins) == margins
            if seq in one.digests:
                digest = digest or fold.digest()
                assert one.digests[seq] == digest
    log.close()
    for one in observed:
        assert one.seqs == sorted(one.seqs), "an answer went back to an earlier moment"


# ---------------------------------------------------------------- processes

def test_replicas_under_load_and_kills(nursery, tmp_path):
    directory = tmp_path / "dir"
    primary = Process(nursery, "serve", directory, out=tmp_path / "primary")
    replicas = [Process(nursery, "follow", directory, *more, out=tmp_path / f"replica{i}")
                for i, more in enumerate(((), (), ("--follow-log",)))]
    assert ask(replicas[0].port, "GET", "/readyz")[0] == 503 and ask(replicas[2].port, "GET", "/readyz")[0] == 200
    observed, end = [Observed(one) for one in (primary, *replicas)], threading.Event()

    def load(seed, port, count):
        sent = some(count, seed)
        with closing(Client(f"http://127.0.0.1:{port}", tries=1)) as client, suppress(OSError, ServiceError):       # it is killed
            for start in range(0, len(sent), 40):
                if start % 1200 == 0:
                    client.ask("POST", "/v1/commands", {"command": "rate", "lr": 0.1 + start / 1e5})
                client.send([{"id": item["id"], "x": item["x"]} for item in sent[start:start + 20]] + sent[start + 20:start + 40])
                client.send([{"id": item["id"], "y": item["y"]} for item in sent[start:start + 20]])
                if end.wait(0.005):
                    break
    loader = threading.Thread(target=load, args=(1, primary.port, 20_000))
    loader.start()
    until(lambda: all(one.last > 500 and len(one.margins) > 2 for one in observed))
    observed.pop(0).stop()
    primary.kill()
    end.set()
    loader.join()
    last, answers = [one.last for one in observed], [len(one.seqs) for one in observed]
    until(lambda: all(one.last >= 0 and len(one.seqs) > count + 30 for one, count in zip(observed, answers)))       # alone
    assert all(ask(one.process.port, "GET", "/readyz")[0] == 200 for one in observed)

    primary = Process(nursery, "serve", directory, out=tmp_path / "primary")
    end.clear()
    load(2, primary.port, 1000)
    stats = until(lambda: (told := primary.stats())["seq"] == told["stored"] and told)
    until(lambda: replicas[2].stats()["seq"] == stats["seq"])
    assert replicas[2].stats()["state_sha256"] == stats["state_sha256"] and all(one.last >= seq for one, seq in zip(observed, last))
    primary.stop()                          # it commits what it has learned
    for one in replicas:
        found = until(lambda one=one: (told := one.stats())["seq"] == stats["seq"] and told)
        assert all(found[name] == stats[name] for name in ("state_sha256", "learned", "late")) and found["following"]["lag"] == 0
    for one in observed:
        one.stop()
    judge(directory, *observed)

    replicas[0].kill()
    again = Process(nursery, "follow", directory, out=tmp_path / "replica0")
    assert again.stats()["state_sha256"] == replicas[1].stats()["state_sha256"] == stats["state_sha256"]
    for one in (again, *replicas[1:]):
        one.stop()
    assert run("verify", "--dir", directory)[0] == f"state_sha256 {stats['state_sha256']} seq {stats['seq']}\n"


def test_a_replica_writes_nothing_and_outlives_what_it_follows(nursery, tmp_path):
    directory = tmp_path / "dir"
    primary = Process(nursery, "serve", directory, out=tmp_path / "primary")
    post(primary.port, "/v1/events:batch?wait=learned", {"events": some(200)})
    name = post(primary.port, "/v1/models", {})[1]["model"]
    primary.stop()

    def listing(folder):
        return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in sorted(folder.rglob("*"))}
    (directory / "log.db").write_bytes(b"not for a replica")
    before, said = listing(directory), []
    for followed in (directory, directory / "models"):
        one = Process(nursery, "follow", followed, out=tmp_path / "replica")
        assert ask(one.port, "GET", "/readyz")[0] == 200 and ask(one.port, "GET", "/")[0] == 200
        said.append((one.stats(), post(one.port, "/v1/predict", {"x": PROBES[0]})[1]))
        assert post(one.port, "/v1/events", {"id": "a", "y": 1})[0] == post(one.port, "/v1/models/live:activate", {})[0] == 405
        assert listing(directory) == before
        one.stop()
    assert listing(directory) == before
    (live, first), (frozen, second) = said
    assert (live["seq"], live["state_sha256"]) == (frozen["seq"], frozen["state_sha256"]) and frozen["learned"] == 200
    assert first == {**second, "model": "live"} and second["model"] == name
    assert frozen["pending"] is frozen["late"] is frozen["stored"] is None and live["pending"] == 0 and live["stored"] is None

    one = Process(nursery, "follow", directory, "--log-json", out=tmp_path / "replica")
    shutil.rmtree(directory)
    alarm = until(lambda: one.stats()["alarm"])
    assert "no state files are to be seen" in alarm and post(one.port, "/v1/predict", {"x": PROBES[0]})[1] == first
    assert ask(one.port, "GET", "/readyz")[0] == 200
    one.stop()
    told = [json.loads(line) for line in one.child.printed.splitlines()[1:]]
    assert [line["event"].partition(":")[0] for line in told] == ["ready", "passed over", "stopped"]
    assert told[1]["level"] == "warning"


def test_a_primary_of_another_version(nursery, tmp_path, monkeypatch):
    log, store = states(tmp_path / "dir")
    log.close()
    store.commit(folds(40)[20], log.id)
    one = Process(nursery, "follow", tmp_path / "dir", out=tmp_path / "replica")
    before = post(one.port, "/v1/predict", {"x": PROBES[0]})
    monkeypatch.setattr(model_file, "VERSION", 2)
    store.commit(folds(40)[40], log.id)
    status, answer, headers = until(lambda: (told := ask(one.port, "GET", "/readyz"))[0] == 503 and told)
    assert headers["retry-after"] and re.search("format version 2, .* another version", answer["error"]["message"])
    assert post(one.port, "/v1/predict", {"x": PROBES[0]}) == before and before[1]["seq"] == 20
    told = ask(one.port, "GET", "/metrics")[1]
    assert b"\nlinear_following 0.0\n" in told and b"\nlinear_ready 0.0\n" in told
    one.stop(code=1)
    assert "following has stopped" in one.child.printed
    child = nursery.start("follow", str(tmp_path / "dir"), out=tmp_path / "replica")
    assert child.wait() == 2 and "format version 2" in child.printed and "Traceback" not in child.printed


# ---------------------------------------------------------------- states that come, go and deceive

def folds(count):
    """{seq: the fold after it}."""
    fold, found = Fold(OPTIONS), {}
    for seq, item in enumerate(some(count), 1):
        made = event(item)
        fold.apply([Row(seq, made.id, made.kind, made.x, made.y)])
        found[seq] = fold.copy()
    return found


def states(path):
    """(log, store) of a directory that a service could have left, without a state."""
    with Directory(path, OPTIONS) as directory:
        return directory.log(), directory.store()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(followed, "POLL", 0.01)
    monkeypatch.setattr(followed, "AGAIN", 0.01)


@contextmanager
def following(path, **how):
    runner = follower(Followed(path, **how))
    runner.start()
    try:
        yield runner
    finally:
        runner.stop()


def test_it_takes_the_newest_whole_state(tmp_path, quick, caplog):
    log, store = states(tmp_path)
    log.close()
    made = folds(60)
    with following(tmp_path) as runner:
        assert runner.snapshot.position == 0 and "no state" in runner.refusing and runner.lag == 0
        for seq in (10, 20, 30, 40, 50):
            store.commit(made[seq], log.id)
            until(lambda seq=seq: runner.snapshot.position == seq)
            assert runner.snapshot.digest() == made[seq].digest() and not runner.refusing and not runner.alarm and runner.lag == 0
        held = runner.snapshot
        elsewhere = StateStore(tmp_path / "elsewhere").commit(made[60], log.id)
        path, whole, digest = store.folder / elsewhere.name, elsewhere.read_bytes(), made[50].digest()
        for damage in (b"", whole[:5], whole[:len(whole) // 2], whole[:-1], whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:]):
            before = runner.alarm
            path.write_bytes(damage)        # half-copied, or flipped
            until(lambda before=before: runner.alarm != before and path.name in runner.alarm)
            assert runner.snapshot is held and held.digest() == digest and runner.lag == 10 and not runner.failure
        path.unlink()
        store.commit(made[60], log.id)     # and then it is whole
        until(lambda: runner.snapshot.position == 60 and not runner.alarm)
        for file in store.files():          # that some are removed does not hurt, be they the newest
            assert not runner.alarm
            file.unlink()
            time.sleep(0.05)
            assert not runner.failure and runner.snapshot.position == 60
        assert "no state files are to be seen" in runner.alarm
        store.commit(folds(70)[70], log.id)
        until(lambda: runner.snapshot.position == 70 and not runner.alarm)
    assert any(record.getMessage().startswith("passed over: ") and "checksum" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) < 12, "what is told is told once"


def test_a_damaged_newest_does_not_hide_the_one_before(tmp_path, quick, monkeypatch):
    opened = []
    monkeypatch.setattr(followed, "read", lambda path: opened.append(path) or model_file.read(path))
    log, store = states(tmp_path)
    log.close()
    made = folds(30)
    store.commit(made[10], log.id)
    damaged = store.commit(made[30], log.id)
    damaged.write_bytes(damaged.read_bytes()[:-3])
    with following(tmp_path) as runner:
        assert runner.snapshot.position == 10 and damaged.name in runner.alarm and runner.lag == 20
        store.commit(made[20], log.id)
        until(lambda: runner.snapshot.position == 20)
        assert runner.snapshot.digest() == made[20].digest() and damaged.name in runner.alarm
        assert opened.count(damaged) == 1, "what is damaged is read once more only when it has changed"
    for path in store.files():
        path.write_bytes(b"lin")
    with pytest.raises(StateError, match="not a model file"):
        follower(Followed(tmp_path)).start()


def put_back(store, made, log):
    for path in store.files():
        path.unlink()
    store.commit(made[20], log.id)


def another_log(store, made, log):
    store.commit(made[50], "0" * 32)


def misnamed(store, made, log):
    shutil.copy(store.files()[1], store.folder / "state-0000000000000000050")           # of event 30


def no_state(store, made, log):
    made[50].model.save(store.folder / "state-0000000000000000050")     # whole, but only a model


@pytest.mark.parametrize("deceive, why", [(put_back, "an older one was put back"), (another_log, "belongs to log 0000"),
                                          (misnamed, "it is of event 30"), (no_state, "no state that this program knows")])
def test_it_stops_where_the_history_is_another(tmp_path, quick, caplog, deceive, why):
    log, store = states(tmp_path)
    log.close()
    made = folds(60)
    for seq in (30, 40):
        store.commit(made[seq], log.id)
    with following(tmp_path) as runner:
        service, held = Replica(runner, Guard(hosts=("localhost",))), runner.snapshot
        ready = asyncio.run(Asked(application(service), "/readyz").answer())
        assert held.position == 40 and ready.status == 200 and json.loads(ready.body)["seq"] == 40
        deceive(store, made, log)
        until(lambda: runner.failure)
        store.commit(made[60], log.id)                 # too late
        time.sleep(0.05)
        ready = asyncio.run(Asked(application(service), "/readyz").answer())
        assert ready.status == 503 and why in ready.body and "following has stopped" in ready.body
        given = asyncio.run(Asked(application(service), "/v1/predict", "POST", json.dumps({"x": PROBES[0]}).encode(),
                                  content_type="application/json").answer())
        assert json.loads(given.body) == {"margin": held.model.margin_one(PROBES[0]), "label": held.model.predict_one(PROBES[0]),
                                          "seq": 40, "model": "live"}
        service.stop()
    assert sum(why in record.getMessage() for record in caplog.records) == 1


# ---------------------------------------------------------------- the log

def learned(path, *parts):
    """A service in this process that has learned events, and is stopped."""
    runner = Runner(Directory(path, OPTIONS))
    runner.start()
    for part in parts:
        runner.append([event(item) for item in part]).result(30) if isinstance(part, list) else runner.command(part).result(30)
    assert runner.wait_for(runner.stored, 30)
    runner.stop()
    return runner.snapshot


def test_who_follows_the_log_learns_what_the_states_lack(tmp_path, quick, monkeypatch):
    monkeypatch.setattr("linear.service.following.CHUNK", 7)
    monkeypatch.setattr("linear.service.following.AT_ONCE", 20)
    learned(tmp_path, some(50))
    runner = Runner(Directory(tmp_path))
    runner.start()
    with following(tmp_path, with_log=True) as one:
        assert one.snapshot.position == 50 == one.stored
        published, publish = [50], one._publish
        monkeypatch.setattr(one, "_publish", lambda: (publish(), published.append(one.snapshot.position)))
        for part in (some(30, 1), {"command": "forget", "id": "e0-3"}, [{"id": "late", "y": 1}], some(100, 2),
                     {"command": "correct", "id": "e1-2", "y": -some(30, 1)[2]["y"]}, {"command": "policy", "drift": "challenger"},
                     [{"id": "late", "x": {"user": "u1"}}], {"command": "reset"}, some(40, 3)):
            done = runner.append([event(item) for item in part]) if isinstance(part, list) else runner.command(part)
            seq = done.result(30)[-1].seq if isinstance(part, list) else done.result(30)
            until(lambda seq=seq: one.snapshot.position == seq)
            assert runner.wait_for(seq, 30) and one.snapshot.digest() == runner.snapshot.digest() and one.lag == 0
        assert max(after - before for before, after in zip(published, published[1:])) < 20 + 7, "published in between"
        assert one.committed is None and len(StateStore(tmp_path / "state").files()) == 1
        runner.stop()
        time.sleep(0.05)
        assert not one.alarm and not one.failure


def test_a_log_that_goes_away_or_is_another_one(tmp_path, quick):
    learned(tmp_path / "dir", some(50))
    shutil.copytree(tmp_path / "dir", tmp_path / "older")
    learned(tmp_path / "dir", some(30, 1))
    learned(tmp_path / "other", some(90, 2))

    def take_away():
        for file in tmp_path.glob("dir/log.db*"):
            file.unlink()

    def put(source):
        take_away()
        for file in sorted(source.glob("log.db*"), reverse=True):
            shutil.copy(file, tmp_path / "new")
            os.replace(tmp_path / "new", tmp_path / "dir" / file.name)
    shutil.copytree(tmp_path / "dir", tmp_path / "own")
    for source, why in ((tmp_path / "older", "ends at event 50, this replica has learned event 80"),
                        (tmp_path / "other", "is another one now")):
        with following(tmp_path / "dir", with_log=True) as runner:
            take_away()
            until(lambda: runner.alarm)
            put(tmp_path / "own")
            until(lambda: not runner.alarm)
            assert not runner.failure and runner.snapshot.position == 80
            put(source)
            until(lambda: runner.failure)
            assert why in str(runner.failure) and runner.snapshot.position == 80
        put(tmp_path / "own")
    put(tmp_path / "older")
    with pytest.raises(LogError, match="state is ahead of the log"):
        follower(Followed(tmp_path / "dir", with_log=True)).start()
    take_away()
    with pytest.raises(LogError, match="not an event log"):
        follower(Followed(tmp_path / "dir", with_log=True)).start()


def test_an_error_of_ours_ends_it(tmp_path, quick, monkeypatch):
    learned(tmp_path, some(50))
    failed = []
    runner = follower(Followed(tmp_path), failed.append)
    runner.start()
    monkeypatch.setattr(runner, "look", lambda: 1 / 0)
    until(lambda: failed)
    assert isinstance(runner.failure, ZeroDivisionError) and failed == [runner.failure] and runner.snapshot.position == 50
    runner.stop()


# ---------------------------------------------------------------- models

def test_models_are_followed_with_and_without_their_service(tmp_path, quick):
    fold = learned(tmp_path / "dir", some(60))
    registry, made = Registry(tmp_path / "dir" / "models"), folds(60)
    first, second = [registry.freeze(made[seq].model, seq, made[seq].digest(), PROBES[:5]) for seq in (20, 40)]
    shutil.copytree(tmp_path / "dir" / "models", tmp_path / "copy")
    copy = Registry(tmp_path / "copy")
    with following(tmp_path / "dir") as beside, following(tmp_path / "copy") as alone:
        services = [Replica(runner, Guard()) for runner in (beside, alone)]

        def answers():
            return [service.model()[1:] for service in services]
        assert answers() == [(60, "live"), (40, second)] and beside.snapshot.digest() == fold.digest()
        for changed in (registry, copy):
            changed.activate(first)
        until(lambda: answers() == [(20, first)] * 2)
        held = services[1].model()
        assert held[0].margin_one(PROBES[7]) == made[20].model.margin_one(PROBES[7])
        assert asyncio.run(services[1].digest())[1] == made[20].digest() and asyncio.run(services[0].digest())[1] == fold.digest()
        for changed in (registry, copy):
            changed.divide(second, 0.5)
        until(lambda: all(service.registry.split for service in services))
        shares = [[service.model(f"e{i}")[2] for i in range(40)] for service in services]
        assert shares[0] == shares[1] and set(shares[0]) == {first, second}
        for changed in (registry, copy):
            changed.divide(second, 0)
            changed.rollback(first)
        until(lambda: answers() == [(60, "live"), (40, second)])
        (tmp_path / "copy" / "v60-00000000").mkdir()                    # the newest, half-copied
        until(lambda: alone.alarm and "v60-00000000" in alone.alarm)
        assert answers()[1] == (40, second)
        (tmp_path / "copy" / "v60-00000000").rmdir()
        (tmp_path / "copy" / "pointer.json").write_text('{"history": ["li')
        until(lambda: alone.alarm and "v60" not in alone.alarm)
        assert answers()[1] == (40, second) and not alone.failure
        (tmp_path / "copy" / "pointer.json").write_text('{"history": ["v7-00000000"]}')
        until(lambda: "there is no model 'v7-00000000'" in alone.alarm)
        (tmp_path / "copy" / "pointer.json").unlink()
        until(lambda: not alone.alarm)
        stranger = Fold({"bits": 10})
        copy.freeze(stranger.model, 70, stranger.digest(), [])
        until(lambda: alone.failure)
        assert "another service" in str(alone.failure) and answers()[1] == (40, second)
        for service in services:
            service.stop()


# ---------------------------------------------------------------- what a replica serves

@contextmanager
def served(path, **how):
    """(service, application) of a replica in this process."""
    runner = follower(Followed(path, **how))
    service = Replica(runner, Guard(hosts=LOCAL))
    runner.start()
    service.start_shadow()
    stream = ReplicaStream(service)
    try:
        yield service, application(service, routes(service, stream)), stream
    finally:
        service.stop()


def test_what_changes_something_is_for_the_primary(tmp_path):
    learned(tmp_path, some(60))
    Registry(tmp_path / "models").set_shadow(OPTIONS)
    with served(tmp_path) as (service, app, _):
        assert service.shadow is None
        document = json.loads(asyncio.run(Asked(app, "/v1/openapi.json").answer()).body)
        reading = {(route.method, route.path) for route in service_http.ROUTES if route.role in ("", "predict")}
        writing = {(route.method, route.path) for route in service_http.ROUTES} - reading
        assert {(method.upper(), path) for path, methods in document["paths"].items() if path not in PAGE
                for method in methods} == reading
        assert document == json.loads(json.dumps(described(replica.SERVED))) and len(writing) >= 8
        for method, path in sorted(writing):
            asked = Asked(app, path.replace("{v}", "live"), method, b'{"id":"a","y":1}', content_type="application/json")
            answer = asyncio.run(asked.answer())
            error = json.loads(answer.body)["error"]
            assert (answer.status, error["code"]) == (405, "wrong_method") and str(tmp_path) in error["message"]
            assert "replica" in error["message"] and "primary" in error["message"] and f"{method} {path}" in error["message"]
            assert answer.headers["allow"] == ("GET" if path == "/v1/models" else "")
        for route in replica.SERVED:
            body = b'{"rows":[]}' if "batch" in route.path else b'{"x":{"user":"u1"}}'
            answer = asyncio.run(Asked(app, route.path, route.method, body, content_type="application/json").answer())
            assert answer.status == 200 and (not route.answer or fits(json.loads(answer.body), SCHEMAS[route.answer])), answer.body
        before = len(service.served)
        asyncio.run(Asked(app, "/v1/predict", "POST", b'{"x":{},"id":"ev"}', content_type="application/json").answer())
        assert len(service.served) == before == 0, "no label comes here, so nothing waits for one"


def test_its_numbers(tmp_path, monkeypatch):
    whole = learned(tmp_path, some(300))
    with served(tmp_path) as (service, app, stream):
        stats = json.loads(asyncio.run(Asked(app, "/v1/stats").answer()).body)
        assert (stats["seq"], stats["state_sha256"], stats["learned"]) == (300, whole.digest(), 300) and stats["stored"] is None
        assert stats["following"]["dir"] == str(tmp_path) and 0 <= stats["following"]["age"] < 60 and stats["following"]["lag"] == 0
        monkeypatch.setattr(service.runner, "seen", 370)
        text = asyncio.run(Asked(app, "/metrics").answer()).body
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert values["linear_following"] == values["linear_ready"] == "1.0" and values["linear_following_lag_events"] == "70.0"
        assert float(values["linear_following_age_seconds"]) < 60 and "linear_stored_total" not in values
        assert len(set(re.findall("# TYPE (.*) ", text))) == len(re.findall("# TYPE", text))
        monkeypatch.setattr("linear.service.handlers.MOST_LAG", 69)
        ready = asyncio.run(Asked(app, "/readyz").answer())
        assert ready.status == 503 and "70 events behind" in ready.body
        page = asyncio.run(Asked(app, "/").answer())
        shown = dict(re.findall(r'data-text="(\w+)">([^<]*)<', page.body))
        dashes = {name for name, text in shown.items() if text == "–"}
        assert page.status == 200 and "{{" not in page.body and '<body class="">' in page.body
        assert dashes == {"rate", "learn_rate", "stored", "durable_lag", "delay", "delay_p95", "as_served", "label_rate", "p50",
                          "p99", "last_mark"}
        assert shown["lag"] == "70 events" and shown["learned"] == "300" and shown["alarm"] == ""
        assert shown["rule"] == f"replica of {tmp_path} · adagrad 0.15 · user*tags"
        assert re.fullmatch(r"\d+ s ago", shown["checkpoint"])
        assert page.body.count("<td>0x") == 15 and stream.now()["sample"]["rate"] is None
    with served(tmp_path, with_log=True) as (service, app, _):
        page = asyncio.run(Asked(app, "/").answer()).body
        shown = dict(re.findall(r'data-text="(\w+)">([^<]*)<', page))
        assert shown["stored"] == "300" and shown["delay"] == "0 events" and page.count("<td>user=u") >= 3


def test_before_the_first_state(tmp_path):
    Directory(tmp_path, OPTIONS).close()
    with served(tmp_path) as (service, app, _):
        assert service.model()[1:] == (0, "live")
        page, ready, stats = [asyncio.run(Asked(app, path).answer()) for path in ("/", "/readyz", "/v1/stats")]
        assert ready.status == 503 and "there is no state" in ready.body and ready.headers["retry-after"] == "5"
        assert "there is no state" in page.body and '<body class="">' in page.body, "it is not to be sent an event"
        assert "there is no state" in json.loads(stats.body)["alarm"]


def test_what_it_refuses_to_follow(tmp_path):
    with pytest.raises(DirectoryError, match="no such directory"):
        Followed(tmp_path / "none")
    with pytest.raises(DirectoryError, match="it holds no model, .* nor has it an options.json"):
        Followed(tmp_path)
    with pytest.raises(DirectoryError, match="no options.json"):
        Followed(tmp_path, with_log=True)
    learned(tmp_path / "dir", some(5))
    for arguments, why in ((("--follow", tmp_path / "none"), "no such directory"), ((), "--dir --follow is required"),
                           (("--follow", tmp_path / "dir", "--lr", "0.2"), "leave out lr"),
                           (("--follow", tmp_path / "dir", "--log", "sqlite"), "leave out log"),
                           (("--follow", tmp_path / "dir", "--dir", tmp_path), "not allowed with"),
                           (("--dir", tmp_path / "dir", "--follow-log"), "--follow-log goes with --follow")):
        err = run("serve", *arguments, "--port", 0, code=2)[1]
        assert why in err and err.count("\n") == 1, err
