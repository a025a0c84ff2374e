"""A server under test, clients that keep a journal of what was acknowledged, and the judge of journal and log."""
import http.client
import json
import random
import re
import signal
import tempfile
import threading
import time
from pathlib import Path

from linear.model_file import read
from linear.service import logs
from linear.service.fold import Fold
from linear.service.log import COMMAND
from linear.service.store import StateStore

OPTIONS = {"crosses": "user*tags"}          # as children.py has them on the command line


class Server:
    """One life of the service on a directory; `settings` are those of `children.serve`."""

    def __init__(self, nursery, folder, *arguments, **settings):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.child = nursery.start("serve", str(self.folder / "dir"), *arguments, out=self.folder / "said", **settings)

    def ready(self):
        """Wait until it answers; whether it lived to do so."""
        if not self.child.says("events learned\n"):
            assert self.child.code is None or self.child.code < 0, f"it ended with {self.child.code}: {self.child.printed[-3000:]}"
            return False
        found = re.search(r"at http://127.0.0.1:(\d+); (\d+) of (\d+)", self.child.printed)
        self.port, self.began = int(found[1]), int(found[2])
        return True

    def ask(self, method, path, body=None, timeout=10.0):
        """(status, decoded answer), over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, json.loads(data) if answer.headers["Content-Type"] == "application/json" else data
        finally:
            connection.close()

    def sizes(self):
        """The sizes of the files it writes, by name, but of those that come and go."""
        return {path.name: path.stat().st_size for path in [*(self.folder / "dir").glob("log.db*"),
                                                            *StateStore(self.folder / "dir" / "state").files()[:1]]}

    def settled(self):
        """The stats, once everything stored is learned."""
        until = time.monotonic() + 300
        while True:
            status, stats = self.ask("GET", "/v1/stats")
            if status == 200 and stats["seq"] == stats["stored"]:
                return stats
            assert time.monotonic() < until, f"{stats['stored']} events are stored, {stats['seq']} of them learned"
            time.sleep(0.01)

    def stop(self):
        """End it as a service manager does."""
        self.child.signal(signal.SIGTERM)
        code = self.child.wait()
        assert code == 0, f"it ended with {code}: {self.child.printed[-3000:]}"


class Writer:
    """A client that sends events of every kind, what is due again until it is acknowledged, and remembers each acknowledgement.

    Features and label come together, or one after the other in either order, or one never; now and then something is sent
    once more, or once more with another body. A command comes in between, rarely; sent twice, it does the same twice.
    """

    def __init__(self, name, size=20):
        self.name, self.size, self.rng, self.count = name, size, random.Random(name), 0
        self.later, self.batch = [], None
        self.sent, self.acknowledged = {}, []                       # (id, "x" or "y") -> its values; (item, status, seq)

    def item(self):
        """The first item of a new event; one that is to follow some batches later is put by."""
        rng, name = self.rng, f"{self.name}-{self.count}"
        self.count += 1
        tags = [f"t{rng.randrange(30)}" for _ in range(rng.randrange(4))]
        x = {"user": f"u{rng.randrange(40)}", "tags": tags, "age": rng.random()}
        y = 1 if (x["age"] > 0.5) != (rng.random() < 0.2) else -1
        full, only_x, only_y = {"id": name, "x": x, "y": y}, {"id": name, "x": x}, {"id": name, "y": y}
        now, then = rng.choice([(full, None), (full, None), (only_x, only_y), (only_y, only_x), (only_x, full), (only_x, None),
                                (only_y, None), (full, full), (full, {**only_y, "y": -y})])
        if then:
            self.later.append(then)
        return now

    def next_batch(self):
        """What is to be sent now: the same again until it is acknowledged."""
        if self.batch is None:
            self.put([self.later.pop(self.rng.randrange(len(self.later))) if self.later and self.rng.random() < 0.3 else self.item()
                      for _ in range(self.rng.randrange(1, self.size))])
        return self.batch

    def put(self, batch):
        """Make these items the ones that are to be sent now."""
        self.batch = batch
        for item in batch:
            for part in ("x", "y"):
                if part in item:
                    self.sent.setdefault((item["id"], part), []).append(item[part])

    def post(self, connection):
        """Send a batch; whether it was acknowledged. Raises where the server does not answer."""
        if not self.batch and self.acknowledged and self.rng.random() < 0.01:
            self._ask(connection, "/v1/commands", self.command())
        batch = self.next_batch()
        if (answer := self._ask(connection, "/v1/events:batch", {"events": batch})) is None:
            return False
        results = answer["results"]
        assert [result["id"] for result in results] == [item["id"] for item in batch]
        self.acknowledged += [(item, result["status"], result["seq"]) for item, result in zip(batch, results)]
        self.batch = None
        return True

    def command(self):
        """An order that changes the model, or what the log has said before."""
        name = self.rng.choice(self.acknowledged)[0]["id"]
        orders = [{"command": "forget", "id": name}, {"command": "correct", "id": name, "y": 1}, {"command": "reset"},
                  {"command": "rate", "lr": self.rng.uniform(0.01, 0.5)}]
        if self.count > 3000:
            orders = orders[2:]             # the others have the whole log learned again, from its start
        return self.rng.choice(orders)

    def _ask(self, connection, path, body):
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status == 200:
            return json.loads(data)
        assert answer.status == 503, data
        return None

    def run(self, port, stop):
        """Send until `stop` is set or the server is gone."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            while not stop.is_set() or self.batch:
                if not self.post(connection):
                    time.sleep(0.02)
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()


class Load:
    """Several writers at once on one server, each in a thread: a context."""

    def __init__(self, port, writers):
        self.stop, self.errors, self.writers = threading.Event(), [], writers
        self.threads = [threading.Thread(target=self._run, args=(writer, port)) for writer in writers]

    def _run(self, writer, port):
        try:
            writer.run(port, self.stop)
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def until(self, count):
        """Wait until so many events more are acknowledged."""
        done, until = sum(len(writer.acknowledged) for writer in self.writers), time.monotonic() + 60
        while sum(len(writer.acknowledged) for writer in self.writers) < done + count and not self.errors:
            assert time.monotonic() < until, "nothing is acknowledged any more"
            time.sleep(0.005)

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        for error in self.errors:
            raise error


class Generations:
    """Checks each state file as it appears against a fold that was never interrupted."""

    def __init__(self, folder):
        self.folder, self.fold, self.digests = Path(folder) / "dir", Fold(OPTIONS), {0: Fold(OPTIONS).digest()}

    def check(self):
        """The position of the newest state, 0 for none; AssertionError where a file is not whole or not what the log says."""
        store = StateStore(self.folder / "state")
        files = store.files()
        if not files:
            return 0
        log = logs.opened(self.folder, readonly=True)
        for path in reversed(files):
            found = Fold.of_parts(*read(path))
            assert path.name == f"state-{found.position:019d}", f"{path} holds the state at event {found.position}"
            while self.fold.position < found.position:
                assert self.fold.advance(log, min(1000, found.position - self.fold.position)), "the state is ahead of the log"
                self.digests[self.fold.position] = self.fold.digest()
            assert found.digest() == self.digests[found.position], f"{path} is not what an uninterrupted run has at that event"
        log.close()
        return found.position


def goes_on(nursery, folder, writers, server=None, generations=None, **settings):
    """Start again, or go on with `server`, take 100 events more and end well: (the stats of the end, the figures of `judge`)."""
    server = server or Server(nursery, folder, **settings)
    assert server.ready()
    with Load(server.port, writers) as load:
        load.until(100)
    stats = server.settled()
    server.stop()
    if generations:
        generations.check()
    return stats, judge(nursery, folder, writers)


def judge(nursery, folder, writers):
    """Everything acknowledged stands in the log, once and as it was sent, nothing else does, and the final state is that of an
    uninterrupted run over the same events. Returns figures."""
    folder = Path(folder)
    log = logs.opened(folder / "dir", readonly=True)
    rows = log.read(0, 1 << 62)
    state = StateStore(folder / "dir" / "state").load(log.id)
    log.close()
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    places, doubled, orders = {}, 0, [json.loads(row.x) for row in rows if row.kind == COMMAND]
    for row in rows:
        if row.kind == COMMAND:
            continue
        for part, value in (("x", row.x), ("y", row.y)):
            if value:
                doubled += (row.id, part) in places
                places[row.id, part] = row.seq, json.loads(value) if part == "x" else value
    sent = {key: values for writer in writers for key, values in writer.sent.items()}
    strangers = sum(value not in sent.get(key, ()) for key, (_, value) in places.items())
    lost = acknowledged = 0
    for writer in writers:
        for item, status, seq in writer.acknowledged:
            held = [places.get((item["id"], part), (0, None)) for part in ("x", "y") if part in item]
            as_sent = [value == item[part] for part, (_, value) in zip([p for p in ("x", "y") if p in item], held)]
            acknowledged += 1
            lost += not (seq in [place for place, _ in held] and (all(as_sent) if status != "conflict" else not all(as_sent)))
    joined = {name for name, part in places if part == "x"} & {name for name, part in places if part == "y"}
    joined -= {order["id"] for order in orders if order["command"] == "forget"}
    learned_twice = state.counts.learned - len(joined)
    assert not (lost or doubled or strangers or learned_twice) and state.position == len(rows), (
        f"{lost} acknowledged events are lost, {doubled} doubled, {strangers} were never sent, {learned_twice} learned twice; the "
        f"state ends at event {state.position} of {len(rows)}")
    digest = uninterrupted(nursery, rows)
    assert state.digest() == digest, "the state is not that of an uninterrupted run"
    return {"acknowledged": acknowledged, "stored": len(rows), "commands among them": len(orders), "learned": state.counts.learned,
            "acknowledged and lost": lost, "doubled": doubled + learned_twice, "never sent": strangers,
            "state, metrics and detectors": "equal, bit for bit", "state_sha256": digest}


def read_all(connection):
    """What comes over a socket until it is closed, or nothing comes any more."""
    data = b""
    connection.settimeout(10)
    try:
        while part := connection.recv(65536):
            data += part
    except OSError:
        pass
    return data


def uninterrupted(nursery, rows, skew=""):
    """The digest that a run of its own comes to, which gets the events of `rows` in their order."""
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.jsonl"
        with open(events, "w", encoding="utf-8") as file:
            for row in rows:
                item = {"id": row.id, **({"x": json.loads(row.x)} if row.x else {}), **({"y": row.y} if row.y else {})}
                file.write((row.x.decode() if row.kind == COMMAND else json.dumps(item)) + "\n")
        child = nursery.start("learn", f"{folder}/dir", str(events), skew=skew, out=f"{folder}/said")
        assert child.wait(600) == 0, child.printed
        digest, seq = re.search(r"state_sha256 ([0-9a-f]{64}) seq (\d+)", child.printed).groups()
    assert int(seq) == len(rows)
    return digest
