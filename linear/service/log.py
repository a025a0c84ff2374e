"""The event log, the source of truth: an SQLite file in WAL mode whose commit is the acknowledgement. `logs` has others.

An id has at most one x and one y, in one event or in two. What is sent again is recognised part by part: equal, and it
is a duplicate; unlike, and it is a conflict, in which the first counts. Sequence numbers are 1, 2, 3, ... without gaps.
"""
import os
import sqlite3
import uuid
from collections import OrderedDict
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

from linear.failpoints import reach
from linear.service.events import Event

KEPT = 20_000                               # rows that a Tail has in memory
COMMAND = "command"                         # a logged order, its JSON in x
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, eid TEXT NOT NULL, kind TEXT NOT NULL, x BLOB NOT NULL, y INTEGER,
                                       record BLOB NOT NULL);
    CREATE UNIQUE INDEX IF NOT EXISTS one_x ON events (eid) WHERE kind IN ('x', 'xy');
    CREATE UNIQUE INDEX IF NOT EXISTS one_y ON events (eid) WHERE kind IN ('y', 'xy');
    CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class LogError(RuntimeError):
    """The log cannot be used: damaged, foreign, or not as long as it was."""


class Stored(NamedTuple):
    """What became of an event: 'stored', 'duplicate' or 'conflict', and the sequence number of the one that counts."""
    id: str
    status: str
    seq: int


class Row(NamedTuple):
    """One event of the log."""
    seq: int
    id: str
    kind: str
    x: bytes
    y: int | None
    record: bytes = b""         # of x, see `packing`; b"" where there is none


class SqliteLog:
    """An event log in one file. One thread at a time for each object; another object may read the same file meanwhile.

    >>> import tempfile
    >>> log = SqliteLog(tempfile.mkdtemp() + "/log.db")
    >>> log.append([Event("a", b'{"u":"ann"}', None), Event("a", b"", 1)])
    [Stored(id='a', status='stored', seq=1), Stored(id='a', status='stored', seq=2)]
    >>> log.append([Event("a", b'{"u":"ann"}', 1), Event("a", b"", -1)])
    [Stored(id='a', status='duplicate', seq=1), Stored(id='a', status='conflict', seq=2)]
    >>> [row.kind for row in log.read(0, 10)], log.last()
    (['x', 'y'], 2)
    """

    def __init__(self, path, readonly=False, packing=None):
        self.path, self.newest = os.fspath(path), []         # the rows that the last call has stored
        try:
            uri = Path(self.path).absolute().as_uri() + ("?mode=ro" if readonly else "")
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
            if not readonly:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")    # a commit is on disk when it returns
                self._db.executescript(_SCHEMA)
                self._db.execute("INSERT OR IGNORE INTO about VALUES ('id', ?)", (uuid.uuid4().hex,))
                self._db.execute("INSERT OR IGNORE INTO about SELECT 'packing', ? WHERE ? IS NOT NULL", (packing, packing))
            self.id, = self._db.execute("SELECT value FROM about WHERE name = 'id'").fetchone()
            self.packing, = self._db.execute("SELECT value FROM about WHERE name = 'packing'").fetchone() or (None,)
        except (sqlite3.DatabaseError, TypeError) as error:
            raise LogError(f"{self.path}: not an event log that can be used: {error}") from None

    def append(self, events):
        """Store events, all in one transaction; returns a `Stored` for each once they are on disk.

        Raises OSError, and stores nothing, where the disk refuses.
        """
        with self._transaction():
            results, rows = judged(events, self._known([event.id for event in events]), self.last() + 1)
            self._insert(rows)
        self.newest = rows
        return results

    def command(self, text):
        """Store a command, some JSON; returns its sequence number."""
        with self._transaction():
            seq = self.last() + 1
            rows = [command_row(seq, text)]
            self._insert(rows)
        self.newest = rows
        return seq

    def probe(self):
        """Write something without a meaning; OSError where the disk refuses."""
        with self._transaction():
            self._db.execute("UPDATE about SET value = value")

    def read(self, after, limit, packing=None):
        """The events that follow `after`, at most `limit`, in order; with their records where these are of `packing`."""
        return list(map(Row._make, self._db.execute(
            f"SELECT seq, eid, kind, x, y, {self._record(packing)} FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))))

    def features(self, ids, packing=None):
        """{id: (seq, x, record)} of those ids whose features are in the log."""
        found = {}
        for part in _parts(ids):
            found.update((eid, x) for eid, *x in self._db.execute(
                f"SELECT eid, seq, x, {self._record(packing)} FROM events WHERE kind IN ('x', 'xy') AND eid IN ({_marks(part)})", part))
        return found

    def labels(self, ids):
        """{id: (seq, y)} of those ids whose label is in the log."""
        return {name: (known[2], known[3]) for name, known in self._known(ids).items() if known[2]}

    def knows(self, name):
        """Whether an event of this id is in the log."""
        return bool(self._known([name]))

    def commands(self, until):
        """[(seq, JSON text)] of all commands up to `until`."""
        return [(seq, bytes(x).decode("utf-8")) for seq, x in self._db.execute(
            "SELECT seq, x FROM events WHERE kind = ? AND seq <= ? ORDER BY seq", (COMMAND, until))]

    def first(self):
        """The lowest sequence number, 0 of an empty log."""
        return self._db.execute("SELECT MIN(seq) FROM events").fetchone()[0] or 0

    def last(self):
        """The highest sequence number, 0 of an empty log."""
        return self._db.execute("SELECT MAX(seq) FROM events").fetchone()[0] or 0

    def trim(self, before, needed):
        """Remove the events before `before`; LogError, and nothing is removed, where some of them are `needed`, or all would go.

        Their ids are forgotten, too: what is sent again after that is a new event.
        """
        check_trim(before, needed, self.last())
        with self._transaction():
            self._db.execute("DELETE FROM events WHERE seq < ?", (before,))

    def close(self):
        self._db.close()

    def _record(self, packing):
        return "record" if packing and packing == self.packing else "x''"

    @contextmanager
    def _transaction(self):
        reach("log.begun")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            reach("log.written")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise OSError(f"{self.path}: nothing was stored: {error}") from error
        reach("log.committed")

    def _known(self, ids):
        """{id: [number of x, x, number of y, y]} of those ids that are in the log; 0 and None for what is not."""
        known = {}
        for part in _parts(ids):
            for eid, at, *found in self._db.execute(
                    f"SELECT eid, 0, seq, x FROM events WHERE kind IN ('x', 'xy') AND eid IN ({_marks(part)}) UNION ALL "
                    f"SELECT eid, 2, seq, y FROM events WHERE kind IN ('y', 'xy') AND eid IN ({_marks(part)})", part + part):
                known.setdefault(eid, [0, None, 0, None])[at:at + 2] = found
        return known

    def _insert(self, rows):
        for part in _parts(rows, 150):
            self._db.execute(f"INSERT INTO events (seq, eid, kind, x, y, record) VALUES {','.join(['(?, ?, ?, ?, ?, ?)'] * len(part))}",
                             list(chain.from_iterable(part)))


class Tail:
    """A log as its learner reads it: the newest events are still in memory, where the writer has left them by `add`.

    It is quicker, and more so than it seems: at each row it steps to, SQLite gives the interpreter's lock away, and waits for it.
    """

    def __init__(self, log):
        self._log, self.id, self.packing = log, log.id, log.packing
        self.first, self.last, self.commands, self.close = log.first, log.last, log.commands, log.close
        self._rows, self._places = OrderedDict(), {}        # by number; number by id

    def add(self, rows):
        """Rows that are on disk now; called by the writer's thread."""
        self._rows.update((row.seq, row) for row in rows)
        self._places.update((row.id, row.seq) for row in rows if row.x)
        while len(self._rows) > KEPT:
            _, old = self._rows.popitem(last=False)
            if self._places.get(old.id) == old.seq:
                del self._places[old.id]

    def read(self, after, limit, packing=None):
        """`read` of the log."""
        rows = []
        while packing == self.packing and len(rows) < limit and (row := self._rows.get(after + len(rows) + 1)):
            rows.append(row)
        return rows or self._log.read(after, limit, packing)

    def features(self, ids, packing=None):
        """`features` of the log."""
        found = {}
        for name in ids if packing == self.packing else ():
            if row := self._rows.get(self._places.get(name)):
                found[name] = row.seq, row.x, row.record
        return found | self._log.features([name for name in ids if name not in found], packing)


def command_row(seq, text):
    """The row of a command, some JSON."""
    return Row(seq, f"{COMMAND}-{seq}", COMMAND, text.encode("utf-8"), None)


def check_trim(before, needed, last):
    """LogError where events before `before` must not be removed from a log that ends at `last`."""
    if before > min(needed, last):
        raise LogError(f"events before {before} cannot be removed: those from {min(needed, last)} on are needed; nothing was removed")


def judged(events, known, seq):
    """(a `Stored` for each event, the rows to store from `seq` on), by what is known of ids, which is brought up to date.

    `known` is {id: [number of x, x, number of y, y]}, 0 and None for a part that is not in the log.
    """
    names, xs, ys, records = zip(*events) if events else ((),) * 4
    if not known and len(set(names)) == len(names):     # as `_new_part` would have it, at a third of the price
        numbers = range(seq, seq + len(events))
        known.update((name, [n if x else 0, x or None, n if y else 0, y]) for name, n, x, y in zip(names, numbers, xs, ys))
        return (list(map(Stored._make, zip(names, repeat("stored"), numbers))),
                list(map(Row._make, zip(numbers, names, [event.kind for event in events], xs, ys, records))))
    results, rows = [], []
    for event in events:
        result, row = _new_part(event, known.setdefault(event.id, [0, None, 0, None]), seq + len(rows))
        results.append(result)
        if row:
            rows.append(row)
    return results, rows


def _new_part(event, known, seq):
    """(what becomes of an event, the row to store at `seq` or None), by what is known of its id, which is brought up to date."""
    x_seq, x, y_seq, y = known
    if event.x and x_seq and x != event.x:
        return Stored(event.id, "conflict", x_seq), None
    if event.y and y_seq and y != event.y:
        return Stored(event.id, "conflict", y_seq), None
    new_x, new_y = bool(event.x and not x_seq), bool(event.y and not y_seq)
    if not (new_x or new_y):
        return Stored(event.id, "duplicate", x_seq if event.x else y_seq), None
    if new_x:
        known[:2] = seq, event.x
    if new_y:
        known[2:] = seq, event.y
    return Stored(event.id, "stored", seq), Row(seq, event.id, "x" * new_x + "y" * new_y, event.x if new_x else b"",
                                                event.y if new_y else None, event.record if new_x else b"")


def _parts(items, most=400):
    return [items[start:start + most] for start in range(0, len(items), most)]


def _marks(items):
    return ",".join("?" * len(items))
