"""Every kind of event log, held to the same behaviour: each adapter passes each check.

    python tests/service/test_service_logs.py           the table, adapter by check
"""
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from test_service_core import OPTIONS, some_events                  # noqa: E402

from linear.service import logs                                     # noqa: E402
from linear.service.events import Event                             # noqa: E402
from linear.service.fold import Fold                                # noqa: E402
from linear.service.log import LogError, SqliteLog, Tail            # noqa: E402
from linear.service.packing import packing                          # noqa: E402
from linear.service.reading import Reader                           # noqa: E402
from linear.service.runner import checked_state                     # noqa: E402
from linear.service.store import StateError, StateStore             # noqa: E402
from tests.brokers import MISSING, REDIS, MockKafka, RedisServer    # noqa: E402

PACKING = packing(OPTIONS)
X, OTHER = b'{"user":"ann"}', b'{"user":"bob"}'


class Kit:
    """A log under test, in a folder of its own; what is specific to an adapter is done by its kit."""

    broker, restarted, fenced, trims = None, "opened again", True, True

    def __init__(self, folder):
        self.folder, self.open_logs = Path(folder), []
        self.folder.mkdir()
        if self.broker:
            self.name = f"log-{os.urandom(8).hex()}"
            self.move(self.name)

    def move(self, name):
        """Have the directory's log at another name of the broker."""
        (self.folder / "log").write_text(self.broker.log(name))

    def open(self, readonly=False, packing=PACKING):
        log = logs.opened(self.folder, packing, readonly)
        self.open_logs.append(log)
        return log

    def restart(self):
        """End whoever keeps the log, as by kill -9, and have it again."""
        self.close()

    def close(self):
        for log in self.open_logs:
            with contextlib.suppress(OSError):
                log.close()
        self.open_logs = []


class Sqlite(Kit):
    fenced = False                                  # the directory's lock keeps out a second writer; see its own tests

    def _edit(self, statement):
        self.close()
        log = logs.opened(self.folder)
        log._db.execute(statement)
        log.close()

    def lose_first(self, count):
        self._edit(f"DELETE FROM events WHERE seq <= {count}")

    def lose_last(self, count):
        self._edit(f"DELETE FROM events WHERE seq > (SELECT MAX(seq) FROM events) - {count}")

    def be_strange(self):
        (self.folder / "log.db").write_bytes(b"no log" * 999)


class Redis(Kit):
    restarted = "kill -9 of redis-server"

    def restart(self):
        self.broker.kill()
        self.broker.start()

    def lose_first(self, count):
        self.broker.ask("XTRIM", self.name, "MINID", f"{count + 1}-0")

    def lose_last(self, count):
        for number, _ in self.broker.ask("XREVRANGE", self.name, "+", "-", "COUNT", count):
            self.broker.ask("XDEL", self.name, number)

    def be_strange(self):
        self.broker.ask("XADD", self.name, "*", "field", "value")


class Kafka(Kit):
    fenced = trims = False                          # the mock cluster does neither

    def lose_first(self, count):
        """As the copy knows it: the mock's topics begin at 0 for ever."""
        Sqlite._edit(self, f"DELETE FROM events WHERE seq <= {count}")

    def lose_last(self, count):
        """As where the topic is an older one than the copy has seen."""
        Sqlite._edit(self, "UPDATE about SET value = value + 1000 WHERE name = 'offset'")

    def be_strange(self):
        self.broker.put(self.name, b"value")


class Tailed:
    """A log as the service has it: what is appended is in memory for who reads."""

    def __init__(self, log, tail):
        self.log, self.tail = log, tail
        self.id, self.packing = log.id, log.packing
        self.knows, self.labels, self.close, self.trim, self.probe = log.knows, log.labels, log.close, log.trim, log.probe
        self.read, self.features, self.first, self.last = tail.read, tail.features, tail.first, tail.last
        self.commands = tail.commands

    def append(self, events):
        stored = self.log.append(events)
        self.tail.add(self.log.newest)
        return stored

    def command(self, text):
        seq = self.log.command(text)
        self.tail.add(self.log.newest)
        return seq


class WithTail:
    def open(self, readonly=False, packing=PACKING):
        log = super().open(readonly, packing)
        if readonly:
            return log
        tail = Tail(logs.beside(self.folder))
        self.open_logs.append(tail)
        return Tailed(log, tail)


KITS = {"sqlite": Sqlite, "redis": Redis, "kafka": Kafka, "tail of sqlite": type("", (WithTail, Sqlite), {}),
        "tail of redis": type("", (WithTail, Redis), {}), "tail of kafka": type("", (WithTail, Kafka), {})}


@contextlib.contextmanager
def brokers():
    """The brokers run; {name of adapter: its kit} of those that can be tested here."""
    with contextlib.ExitStack() as stack:
        Kafka.broker = MockKafka()
        if REDIS:
            Redis.broker = stack.enter_context(RedisServer(stack.enter_context(tempfile.TemporaryDirectory())))
        yield {name: kit for name, kit in KITS.items() if REDIS or not issubclass(kit, Redis)}


@pytest.fixture(scope="module")
def kits():
    with brokers() as found:
        yield found


@pytest.fixture(params=KITS)
def kit(request, kits, tmp_path):
    if request.param not in kits:
        pytest.skip(MISSING)
    kit = kits[request.param](tmp_path / "dir")
    yield kit
    kit.close()


def packed(events):
    reader = Reader(OPTIONS)
    return [event._replace(record=reader.record(event.x)) if event.x else event for event in events]


def refused(kind, words, work, *args):
    with pytest.raises(kind, match=words) as found:
        work(*args)
    assert str(found.value).count("\n") == 0
    return found.value


# ---------------------------------------------------------------- the checks: one function each, of a kit

def one_x_and_one_y(kit):
    log = kit.open()
    status = [(r.id, r.status, r.seq) for r in log.append([
        Event("a", X, None), Event("a", OTHER, None), Event("a", X, None), Event("a", X, 1), Event("a", b"", 1),
        Event("a", b"", -1), Event("b", b"", 1), Event("b", X, 1), Event("b", OTHER, None), Event("c", X, 1), Event("c", X, -1)])]
    assert status == [("a", "stored", 1), ("a", "conflict", 1), ("a", "duplicate", 1), ("a", "stored", 2), ("a", "duplicate", 2),
                      ("a", "conflict", 2), ("b", "stored", 3), ("b", "stored", 4), ("b", "conflict", 4), ("c", "stored", 5),
                      ("c", "conflict", 5)]
    assert [(row.seq, row.id, row.kind, row.x, row.y) for row in log.read(0, 9)] == [
        (1, "a", "x", X, None), (2, "a", "y", b"", 1), (3, "b", "y", b"", 1), (4, "b", "x", X, None), (5, "c", "xy", X, 1)]


def sent_again(kit):
    """By a writer that knows nothing of what the one before it has sent, whole and in parts."""
    made = packed(some_events(150))
    first = kit.open().append(made)
    kit.close()
    log = kit.open()
    last, again = log.last(), log.append(made)
    assert {r.status for r in again} == {"duplicate", "conflict"} and again == log.append(made) and log.last() == last
    names = [row.id for row in log.read(0, 1000)]
    assert [names[r.seq - 1] for r in again] == [event.id for event in made]
    assert [r.status for r in again if r.status == "conflict"] == [r.status for r in first if r.status == "conflict"]
    assert log.append([Event(made[0].id + "'", X, 1)])[0] == (made[0].id + "'", "stored", last + 1)


def any_order_of_calls(kit):
    """Against a model of a dozen lines: what stands in a dictionary decides."""
    log, rng, held, rows = kit.open(), random.Random(7), {}, []
    for _ in range(40):
        events, expected = [], []
        for _ in range(rng.randrange(1, 12)):
            parts = rng.choice([(X, None), (X, 1), (b"", 1), (b"", -1), (OTHER, -1), (OTHER, None)])
            event = Event(f"e{rng.randrange(60)}", *parts)
            parts = [(part, value) for part, value in (("x", event.x), ("y", event.y)) if value]
            clash = [held[event.id, part][1] for part, value in parts if held.get((event.id, part), (value,))[0] != value]
            new = [(part, value) for part, value in parts if (event.id, part) not in held]
            if clash:
                expected.append((event.id, "conflict", clash[0]))
            elif not new:
                expected.append((event.id, "duplicate", held[event.id, parts[0][0]][1]))
            else:
                rows.append((event.id, "".join(part for part, _ in new)))
                held.update({(event.id, part): (value, len(rows)) for part, value in new})
                expected.append((event.id, "stored", len(rows)))
            events.append(event)
        assert log.append(events) == expected
        if rng.random() < 0.2:
            rows.append((f"command-{len(rows) + 1}", "command"))
            assert log.command('{"command": "reset"}') == len(rows)
    assert [(row.id, row.kind) for row in log.read(0, 1000)] == rows and log.last() == len(rows)


def late_labels(kit):
    log, made = kit.open(), packed(some_events(200))
    log.append(made)
    rows = log.read(0, 1000, PACKING)
    of = {row.id: (row.seq, row.x, row.record) for row in rows if row.x}
    ids = [row.id for row in rows if row.kind == "y"] + ["nobody"]
    assert {name: tuple(x) for name, x in log.features(ids, PACKING).items()} == {name: of[name] for name in ids if name in of}
    assert {name: tuple(x) for name, x in log.features(ids).items()} == {name: (*of[name][:2], b"") for name in ids if name in of}
    assert log.labels([*ids[:30], "nobody"]) == {row.id: (row.seq, row.y) for row in rows if row.y and row.id in ids[:30]}
    assert len(of) > 50 and any(row.record for row in rows) and log.features([]) == {}
    assert log.knows(ids[0]) and not log.knows("nobody")


def batches_do_not_matter(kit):
    """However they are appended, and however they are read: the rows and the state are SQLite's."""
    made, rng = packed(some_events(250)), random.Random(1)
    whole = SqliteLog(kit.folder / "oracle.db", packing=PACKING)
    whole.append(made)
    log, at = kit.open(), 0
    while at < len(made):
        step = rng.choice((1, 7, 100))
        log.append(made[at:at + step])
        at += step
    digest = Fold.replayed(whole, OPTIONS, whole.last()).digest()
    assert log.read(0, 10_000, PACKING) == whole.read(0, 10_000, PACKING)
    for batch in (1, 7, 1000):
        assert Fold.replayed(kit.open(), OPTIONS, log.last(), batch).digest() == digest
    whole.close()


def ranges(kit):
    log, rng = kit.open(), random.Random(2)
    log.append(packed(some_events(120)))
    rows, last = log.read(0, 10_000, PACKING), log.last()
    assert [row.seq for row in rows] == list(range(1, last + 1)) and log.first() == 1
    for reader in (log, kit.open(readonly=True)):
        for _ in range(60):
            after, limit, kind = rng.randrange(last + 1), rng.choice((1, 3, 50, 1000)), rng.choice((PACKING, "another", None))
            found = reader.read(after, limit, kind)
            expected = [row if kind == PACKING else row._replace(record=b"") for row in rows[after:after + limit]]
            assert found == expected[:len(found)] and bool(found) == bool(expected)


def empty_and_commands(kit):
    log, orders = kit.open(), [json.dumps({"command": "rate", "lr": rate}) for rate in (0.5, 0.25)]
    assert (log.first(), log.last(), log.read(0, 10), log.commands(10), log.append([])) == (0, 0, [], [], [])
    assert log.command(orders[0]) == 1 and log.append([Event("a", X, 1)])[0].seq == 2 and log.command(orders[1]) == 3
    assert log.commands(3) == [(1, orders[0]), (3, orders[1])] and log.commands(2) == [(1, orders[0])]
    assert [(row.id, row.kind, row.x) for row in log.read(0, 9) if row.kind == "command"] == [
        ("command-1", "command", orders[0].encode()), ("command-3", "command", orders[1].encode())]
    log.probe()
    assert log.last() == 3


def any_id_and_features(kit):
    names = ["a b", "xy+ 4 a", "\n", "\x00", "ü" * 64, '"', "{}", "a\r\nb", "日本"]
    log = kit.open()
    made = [Event(name, json.dumps({"f": name}).encode(), 1, bytes([i, 0, 10, 13])) for i, name in enumerate(names)]
    log.append(made)
    kit.close()
    log = kit.open()
    assert [(row.id, row.x, row.y, row.record) for row in log.read(0, 99, PACKING)] == [tuple(event) for event in made]
    assert {r.status for r in log.append(made)} == {"duplicate"}


def what_trim_removes(kit):
    log = kit.open()
    log.append([Event("early", b"", 1), Event("a", X, 1), Event("b", X, None), *packed(some_events(60)), Event("b", b"", -1)])
    last, rows = log.last(), log.read(0, 1000, PACKING)
    for before, needed in ((21, 20), (last + 1, last + 9)):
        refused(LogError, "cannot be removed: those from .* nothing was removed", log.trim, before, needed)
    assert log.first() == 1
    if not kit.trims:                               # the mock cluster cannot, and the sentence says so
        refused(OSError, "not supported by broker", log.trim, 20, 20)
        assert log.first() == 1
        return
    log.trim(20, 20)
    assert (log.first(), log.last()) == (20, last)
    reader = kit.open(readonly=True)
    assert reader.read(19, 1000, PACKING) == rows[19:] and reader.first() == 20 and reader.features(["a", "b"]) == {}
    refused(LogError, "begins at event 20", Fold.replayed, reader, OPTIONS, last)
    again = kit.open().append([Event("b", b"", -1), Event("a", X, 1)])
    assert [(r.status, r.seq) for r in again] == [("duplicate", last), ("stored", last + 1)]


def gap(kit):
    """Something else has removed the beginning: nothing is skipped."""
    log = kit.open()
    log.append(packed(some_events(50)))
    store = StateStore(kit.folder / "state")
    store.commit(Fold.replayed(log, OPTIONS, 10), log.id)
    kit.lose_first(20)

    def start():
        log = kit.open()
        checked_state(log, store, OPTIONS)
    refused(LogError, "a gap: the state ends at event 10, the log begins at 21|begins at event 21, and only those before 1", start)


def lost_end(kit):
    """The log is not as long as it was: neither a state nor a writer goes on with it."""
    log = kit.open()
    log.append(packed(some_events(50)))
    store = StateStore(kit.folder / "state")
    store.commit(Fold.replayed(log, OPTIONS, log.last()), log.id)
    if isinstance(kit, Redis):                      # it may happen while the writer runs
        kit.lose_last(5)
        refused(LogError, "lost events.*appendfsync always", log.append, [Event("new", X, 1)])
    else:
        kit.lose_last(5)
    refused(LogError, "ahead of the log|events are missing|lost events", lambda: checked_state(kit.open(), store, OPTIONS))


def of_another(kit):
    """A state of another log, and what is no log at all."""
    log, store = kit.open(), StateStore(kit.folder / "state")
    log.append([Event("a", X, 1)])
    store.commit(Fold(OPTIONS), "another")
    refused(StateError, "belongs to log another", store.load, log.id)
    other = type(kit)(kit.folder / "other")
    other.be_strange()
    refused(LogError, "not an event log|somebody else|another log", other.open)
    other.close()
    if kit.broker:                                  # the directory's log is made anew behind its back
        kit.move(kit.name + "-new")
        if isinstance(kit, Kafka):
            refused(LogError, "lost events, or the topic was made anew", kit.open)
        else:
            refused(StateError, "belongs to log another", store.load, kit.open().id)


def kept(kit):
    """Everything is there again after the end of whoever keeps it, and it goes on where it was."""
    log, made = kit.open(), packed(some_events(100))
    log.append(made)
    log.command('{"command": "reset"}')
    about, rows = (log.id, log.last(), log.packing), log.read(0, 1000, PACKING)
    kit.restart()
    again = kit.open()
    assert (again.id, again.last(), again.packing) == about and again.read(0, 1000, PACKING) == rows
    assert "stored" not in {r.status for r in again.append(made)}
    assert again.append([Event("new", X, 1)])[0].seq == again.last() == about[1] + 1


def one_writer(kit):
    """Who begins to write shuts out the writer before, which says so; who only reads shuts out nobody."""
    first = kit.open()
    first.append([Event("a", X, 1)])
    kit.open(readonly=True).read(0, 9)
    assert first.append([Event("b", X, 1)])[0].seq == 2
    second = kit.open() if isinstance(kit, Sqlite) else logs.opened(*_elsewhere(kit))
    assert second.append([Event("a", X, 1), Event("c", X, 1)])[1].seq == 3
    if kit.fenced:
        refused(LogError, "another writer has taken its place", first.append, [Event("d", X, 1)])
        assert second.append([Event("d", X, 1)])[0].seq == 4
    elif isinstance(kit, Kafka):                    # the mock lets it write, and every reader finds that out
        first.append([Event("d", X, 1)])
        refused(LogError, "two writers", kit.open, True)
    second.close()


def _elsewhere(kit):
    folder = kit.folder / "elsewhere"
    folder.mkdir()
    shutil.copy(kit.folder / "log", folder)
    return folder, PACKING


CHECKS = (one_x_and_one_y, sent_again, any_order_of_calls, late_labels, batches_do_not_matter, ranges, empty_and_commands,
          any_id_and_features, what_trim_removes, gap, lost_end, of_another, kept, one_writer)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_each_adapter_passes(check, kit):
    check(kit)


def table():
    """The table, adapter by check; 1 where something failed."""
    failed = 0
    with brokers() as found, tempfile.TemporaryDirectory() as folder:
        print(f"{'':24}" + "".join(f"{name:>17}" for name in KITS))
        for check in CHECKS:
            line = f"{check.__name__.replace('_', ' '):24}"
            for name in KITS:
                outcome = "not run"
                if name in found:
                    kit = found[name](Path(folder) / f"{check.__name__} {name}")
                    try:
                        check(kit)
                        outcome = "ok"
                    except Exception:
                        traceback.print_exc()
                        outcome, failed = "FAILED", 1
                    kit.close()
                line += f"{outcome:>17}"
            print(line, flush=True)
    print("Kafka is the client's mock cluster: it does not refuse the writer before (readers find that out), and removes nothing.")
    return failed


if __name__ == "__main__":
    sys.exit(table())
