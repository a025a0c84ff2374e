"""Services on logs at brokers, the verb `trim`, and what goes wrong with Redis and with Kafka alone."""
import json
import logging
import os
import subprocess
import sys
import time

import pytest
import test_service_cli as cli
from test_service_core import OPTIONS, some_events
from test_service_http import ask, post, some
from test_service_logs import PACKING, X, brokers, packed, refused

from linear.model_file import read
from linear.service import logs
from linear.service.events import Event, Invalid
from linear.service.fold import Fold
from linear.service.log import LogError, SqliteLog
from linear.service.logs import kafka, redis, wire
from linear.service.runner import Busy, Directory, Runner
from linear.service.store import StateStore
from linear.svm import HingeSVM
from tests.brokers import MISSING, REDIS, RedisServer


@pytest.fixture(scope="module")
def kits():
    with brokers() as found:
        yield found


@pytest.fixture
def redis_server(tmp_path):
    if not REDIS:
        pytest.skip(MISSING)
    with RedisServer(tmp_path / "redis") as server:
        yield server


def told(*options, dir, code=2):
    """What a `serve` says that ends with that code, in one line."""
    err = cli.run("serve", "--dir", dir, "--port", 0, *options, code=code)[1]
    assert err.count("\n") == 1 and err.startswith("linear: "), err
    return err


@pytest.mark.parametrize("adapter", ["redis", "kafka"])
def test_a_service_on_a_shared_log(adapter, kits, tmp_path):
    if adapter not in kits:
        pytest.skip(MISSING)
    address, path, made = kits[adapter].broker.log(f"service-{os.getpid()}"), tmp_path / "dir", some(120)
    with cli.serving(path, "--log", address, "--crosses", "user*tags") as (port, _):
        post(port, "/v1/events:batch?wait=learned", {"events": made[:80]})
        post(port, "/v1/commands", {"command": "forget", "id": made[3]["id"]})
        stats = ask(port, "GET", "/v1/stats")[1]
        assert cli.run("verify", "--dir", path)[0].endswith("seq 81\n") and stats["stored"] == 81
        assert ask(port, "GET", "/")[0] == 200 and post(port, "/v1/models", {})[0] == 200
    with cli.serving(path) as (port, _):            # where its log is, it knows
        answer = post(port, "/v1/events:batch?wait=learned", {"events": made})[1]["results"]
        assert [row["status"] for row in answer] == ["duplicate"] * 80 + ["stored"] * 40
        stats = ask(port, "GET", "/v1/stats")[1]
    line = f"state_sha256 {stats['state_sha256']} seq 121\n"
    assert cli.run("verify", "--dir", path)[0] == line and f"at                    {address}" in cli.run("status", "--dir", path)[0]
    was, then = json.loads(cli.run("replay", "--dir", path, "--rule", "pa1", "--json")[0])
    assert was["examples"] == 119 and was["progressive_hinge"] == stats["progressive_hinge"] != then["progressive_hinge"]
    assert cli.run("forget", "--dir", path, "--id", made[5]["id"])[0].endswith("seq 122\n")
    plain = SqliteLog(tmp_path / "plain.db")
    for row in logs.opened(path, readonly=True).read(0, 1000):
        plain.command(row.x.decode()) if row.kind == "command" else plain.append([Event(row.id, row.x, row.y)])
    assert cli.run("verify", "--dir", path)[0].split()[1] == Fold.replayed(plain, OPTIONS, 122).digest()
    plain.close()
    assert "has its log at" in told("--log", "sqlite", dir=path) and "take a new directory" in told("--log", address + "2", dir=path)


def test_addresses_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "PATIENCE", 0.0)
    monkeypatch.setattr(kafka, "ANSWER", 0.5)
    for i, (address, words) in enumerate([
            ("nats://host/events", "no such kind of log"), ("events", "--log events: no such kind"),
            ("redis://host:6379", "redis://host:port/stream"), ("redis://host/a/b/c", "redis://host:port/stream"),
            ("redis://host/a{b}", "no address"), ("redis://host:x/events", "cannot be used"), ("redis://host/events?what=7", "cannot be used"), ("kafka://host:9092", "kafka://host:port/topic"),
            ("kafka:///topic", "no address"), ("kafka://127.0.0.1:1/topic?what=7", 'property: "what"'),
            ("redis://:secret@127.0.0.1:1/events", "redis://127.0.0.1:1/events: the broker cannot be used"),
            ("kafka://127.0.0.1:1/topic", "kafka://127.0.0.1:1/topic: the broker cannot be used")]):
        said = told("--log", address, dir=tmp_path / str(i))
        assert words in said and "secret" not in said, (address, said)


@pytest.mark.parametrize("module, name", [("redis", "redis"), ("confluent_kafka", "kafka")])
def test_a_missing_extra_is_one_line(module, name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    assert f'pip install "tinygrad-lite[{name}]"' in told("--log", f"{name}://host:1/a", dir=tmp_path / "dir")


@pytest.mark.parametrize("adapter", ["sqlite", "redis"])
def test_the_verb_trim(adapter, kits, tmp_path, monkeypatch):
    if adapter not in kits:
        pytest.skip(MISSING)
    monkeypatch.setattr("linear.service.fold.EXPIRE", 20)
    kit = kits[adapter](tmp_path / "dir")
    log = kit.open()
    (kit.folder / "options.json").write_text(json.dumps(HingeSVM(**OPTIONS).options))
    log.append(packed(some_events(100)))
    assert "those from 1 on are needed" in cli.run("trim", "--dir", kit.folder, "--before", 5, code=2)[1]
    store = StateStore(kit.folder / "state")
    for until in (50, 70, log.last()):
        store.commit(Fold.replayed(log, OPTIONS, until), log.id)
    assert "those from 31 on are needed" in cli.run("trim", "--dir", kit.folder, "--before", 32, code=2)[1]
    digest, last = store.load(log.id).digest(), log.last()
    assert cli.run("trim", "--dir", kit.folder, "--before", 31)[0] == f"the log begins at event 31 now and ends at {last}\n"
    fold = Fold.of_parts(*read(store.files()[-1]))          # the oldest state goes on as if nothing had been removed
    while fold.advance(log, 7):
        pass
    assert fold.digest() == digest and "begins at event 31" in cli.run("verify", "--dir", kit.folder, code=2)[1]
    with Directory(kit.folder) as directory:
        runner = Runner(directory)
        runner.start()
        refused(Invalid, "begins at event 31 since it was trimmed", runner.command({"command": "forget", "id": "e1"}).result, 10)
        assert runner.command({"command": "rate", "lr": 0.1}).result(10) == last + 1
        runner.stop()
    kit.close()


def test_an_order_that_needs_the_whole_log_keeps_it(tmp_path):
    runner = Runner(Directory(tmp_path / "dir", OPTIONS))
    runner.start()
    runner.append(packed(some_events(30))).result(10)
    seq = runner.command({"command": "correct", "id": "e1", "y": 1}).result(10)
    runner.stop()
    for state in StateStore(tmp_path / "dir" / "state").files():
        state.unlink()
    assert f"event {seq} forgets or corrects" in cli.run("trim", "--dir", tmp_path / "dir", "--before", 2, code=2)[1]


# ---------------------------------------------------------------- Redis: what only it can do wrong

@pytest.mark.parametrize("settings, words", [
    ({"appendonly": "no"}, "appendonly no.*config set appendonly yes"),
    ({"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy allkeys-lru.*config set maxmemory-policy noeviction"),
    ({"requirepass": "secret"}, "Authentication required")])
@pytest.mark.skipif(not REDIS, reason=MISSING)
def test_a_redis_that_would_lose_events_is_refused(settings, words, tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "PATIENCE", 0.0)
    with RedisServer(tmp_path / "redis", **settings) as server:
        refused(LogError, words, redis.RedisLog, server.log())
        if "requirepass" in settings:
            log = redis.RedisLog(server.log().replace("//", "//:secret@"), PACKING)
            assert log.append([Event("a", X, 1)])[0].seq == 1 and "secret" not in log.url
            log.close()


def test_a_redis_that_may_lose_events_is_told(redis_server, caplog):
    redis_server.ask("CONFIG", "SET", "appendfsync", "everysec")
    with caplog.at_level(logging.WARNING, "linear.service"):
        redis.RedisLog(redis_server.log()).close()
    assert "appendfsync everysec" in caplog.text and "config set appendfsync always" in caplog.text
    caplog.clear()
    redis_server.ask("ACL", "SETUSER", "app", "on", ">word", "~*", "+@all", "-config")
    with caplog.at_level(logging.WARNING, "linear.service"):
        redis.RedisLog(redis_server.log().replace("//", "//app:word@")).close()
    assert "does not tell how it is set" in caplog.text
    redis.RedisLog(redis_server.log(), readonly=True).close()


def test_what_else_a_stream_can_be(redis_server):
    address = redis_server.log("other")
    refused(LogError, "there is no log of that name", redis.RedisLog, address, None, True)
    redis_server.ask("SET", "text", "7")
    refused(LogError, "somebody else", redis.RedisLog, redis_server.log("text"))
    log = redis.RedisLog(address, PACKING)
    log.append(packed(some_events(30)))
    redis_server.ask("XADD", "other", "999-0", "e", "no event", "r", "")
    refused(LogError, "an entry that is no event", log.read, 0, 2000)
    refused(LogError, "something else writes", log.append, [Event("new", X, 1)])
    refused(LogError, "events are missing", redis.RedisLog, address, PACKING)
    log.close()


def test_another_log_behind_the_same_address(redis_server):
    address = redis_server.log()
    log, reader = redis.RedisLog(address, PACKING), redis.RedisLog(address, readonly=True)
    log.append(packed(some_events(30)))
    redis_server.ask("FLUSHALL")
    redis.RedisLog(address, PACKING).append(packed(some_events(60)))
    refused(LogError, "another log", reader.read, 0, 10)
    refused(LogError, "another log|lost events", log.append, [Event("new", X, 1)])


def test_memory_that_is_full(redis_server):
    log = redis.RedisLog(redis_server.log(), PACKING)
    log.append(packed(some_events(30)))
    last = log.last()
    redis_server.ask("CONFIG", "SET", "maxmemory", "1mb")
    refused(OSError, "memory", log.append, packed(some_events(30, 1)))
    refused(OSError, "memory", log.probe)
    assert log.last() == last and log.read(0, 1000, PACKING)
    redis_server.ask("CONFIG", "SET", "maxmemory", "0")
    log.probe()
    assert log.append([Event("new", X, 1)])[0].seq == last + 1
    log.close()


def test_an_answer_that_was_lost(redis_server, tmp_path):
    """The events are stored, or not, and the writer does not hear of it: what is sent again is a duplicate, or stored."""
    log, plain = redis.RedisLog(redis_server.log(), PACKING), SqliteLog(tmp_path / "plain.db", packing=PACKING)
    made, script = packed(some_events(40)), log._append
    for stored, part in (True, made[:30]), (False, made[30:]):
        def lose(*args):
            if stored:
                script(*args)
            raise log._errors.TimeoutError("Timeout reading from socket")
        log._append, before = lose, log.last()
        refused(OSError, "Timeout", log.append, part)
        assert (log.last() > before) == stored
        log._append = script
        assert ("stored" not in {r.status for r in log.append(part)}) == stored
        plain.append(part)
    assert log.read(0, 1000, PACKING) == plain.read(0, 1000, PACKING)
    plain.close()
    log.close()


def test_the_learner_waits_for_a_broker_that_is_away(redis_server, tmp_path):
    runner = Runner(Directory(tmp_path / "dir", OPTIONS, redis_server.log()))
    runner.start()
    made = packed(some_events(60))
    runner.append(made[:50]).result(10)
    assert runner.wait_for(runner.stored, 30)
    redis_server.kill()
    refused(OSError, "Connection|onnect", runner.append(made[50:]).result, 30)
    before = runner.snapshot.position
    _until(lambda: runner.alarm)
    assert "no events are read" in runner.alarm and runner.refusing and runner.snapshot.position == before and not runner.failure
    redis_server.start()
    _until(lambda: not runner.refusing)             # it recovers alone
    runner.append(made[50:]).result(10)
    assert runner.wait_for(runner.stored, 30) and runner.alarm is None
    log = logs.opened(tmp_path / "dir", readonly=True)
    assert runner.snapshot.digest() == Fold.replayed(log, OPTIONS, log.last()).digest()
    log.close()
    runner.stop()


def _until(true, seconds=30.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_writer_that_was_followed_by_another_ends(redis_server, tmp_path):
    ended = []
    runner = Runner(Directory(tmp_path / "dir", OPTIONS, redis_server.log()), ended.append)
    runner.start()
    runner.append(packed(some_events(10))).result(10)
    other = redis.RedisLog(redis_server.log(), PACKING)
    other.append([Event("other", X, 1)])
    refused(OSError, "another writer", runner.append([Event("late", X, 1)]).result, 10)
    runner.stop()
    assert isinstance(ended[0], LogError) and not other.knows("late")
    with pytest.raises(Busy, match="stopping"):
        runner.append([Event("later", X, 1)])
    other.close()


# ---------------------------------------------------------------- Kafka: an outcome that is not known

@pytest.mark.parametrize("stored", [True, False])
def test_a_commit_that_was_not_answered(stored, kits, tmp_path):
    log, made = kafka.KafkaLog(kits["kafka"].broker.log(f"unknown-{stored}"), tmp_path / "copy.db", PACKING), packed(some_events(40))
    log.append(made[:10])
    commits, error = [], log._kafka.KafkaError(log._kafka.KafkaError._TIMED_OUT, "injected", retriable=True)

    class Producer:
        """The real one, whose first commit is not answered."""

        def __getattr__(self, name):
            return getattr(real, name)

        def commit_transaction(self, timeout):
            commits.append(timeout)
            if len(commits) == (1 if stored else 2):
                real.commit_transaction(timeout)
            if len(commits) == 1:
                raise log._kafka.KafkaException(error)
    real, log._producer = log._producer, Producer()
    refused(OSError, "injected", log.append, made[10:30])
    assert {r.status for r in log.append(made[10:30])} <= {"duplicate", "conflict"} and len(commits) == 2
    plain = SqliteLog(tmp_path / "plain.db", packing=PACKING)
    plain.append(made[:30])
    assert log.read(0, 1000, PACKING) == plain.read(0, 1000, PACKING)
    plain.close()
    log.close()


def test_a_copy_that_could_not_be_written(kits, tmp_path, monkeypatch):
    """The topic has the events, the copy has not: it is brought up before anything else is stored."""
    log, made = kafka.KafkaLog(kits["kafka"].broker.log("full-disk"), tmp_path / "copy.db", PACKING), packed(some_events(40))
    log.append(made[:10])
    with monkeypatch.context() as patch:
        patch.setattr(log, "_insert", lambda rows: log._db.execute("INSERT INTO nowhere VALUES (1)"))
        refused(OSError, "nothing was stored", log.append, made[10:30])
    assert {r.status for r in log.append(made[10:30])} <= {"duplicate", "conflict"}
    rows = log.read(0, 1000)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1)) and {row.id for row in rows} == {event.id for event in made[:30]}
    log.close()


def test_a_topic_with_something_else_in_it(kits, tmp_path):
    broker = kits["kafka"].broker
    log = kafka.KafkaLog(broker.log("mixed"), tmp_path / "copy.db", PACKING)
    log.append(packed(some_events(10)))
    broker.put("mixed", b"no event", key=b"99", headers=[("log", log.id.encode()), ("packing", b""), ("record", b"")])
    refused(LogError, "no event at offset", kafka.KafkaLog, broker.log("mixed"), tmp_path / "new.db")
    log.close()


def test_the_example_measures_each_log():
    done = subprocess.run([sys.executable, "-W", "error", "examples/service_logs.py", "--events", "3000", "--json"], capture_output=True,
                          timeout=300, **cli.CALL)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["log"] for row in rows] == ["sqlite", "redis"][:len(rows)] and len(rows) == 1 + bool(REDIS)
    assert all(row[name] > 0 for row in rows for name in ("read", "read + learned", "stored"))      # on whatever machine
