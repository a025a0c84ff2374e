"""kill -9: at random under load, at every named place, in the middle of any write; and state files that were damaged."""
import random
import resource
import signal
import time
from collections import Counter
from pathlib import Path

from linear.failpoints import PLACES
from linear.model_file import ModelFileError, read
from linear.service.events import event
from linear.service.fold import Fold
from linear.service.log import SqliteLog
from linear.service.store import StateError, StateStore
from tests.chaos.clients import OPTIONS, Generations, Load, Server, Writer, goes_on

AT_START = [place for place in PLACES if place.startswith("small.")]     # passed when a directory is made
UNDER_LOAD = [place for place in PLACES if place not in AT_START]


def planned(kills, seed=0):
    """A plan: half at random, half at the places of UNDER_LOAD and in the middle of writes."""
    plan = ["random"] * (kills // 2) + [(*UNDER_LOAD, "torn")[i % (len(UNDER_LOAD) + 1)] for i in range(kills - kills // 2)]
    random.Random(seed).shuffle(plan)
    return plan


def campaign(nursery, folder, plan, seed=0, report=lambda done: None, **settings):
    """kill -9 under load, again and again: nothing acknowledged is lost, nothing is doubled, each state file is that of an
    uninterrupted run at its event, and so is the state at the end.

    An entry of the plan is "random", "torn" (in the middle of a write, of whatever file is the first to grow past some
    size) or a place of UNDER_LOAD. `settings` go to `children.serve`.
    """
    rng, writers = random.Random(seed), [Writer(f"w{i}") for i in range(3)]
    generations, hits, resumed, after_commit, starting, began = Generations(folder), Counter(), set(), 0, 0, time.monotonic()
    for done, how in enumerate(plan):
        arm = f"{how}:{rng.randrange(1, 4)}" if how in PLACES else ""
        server = Server(nursery, folder, torn=how == "torn", arm=arm, **settings)
        if how == "random" and rng.random() < 0.2:
            time.sleep(rng.uniform(0.0, 0.06))               # while it starts
            server.child.signal(signal.SIGKILL)
        if server.ready():
            with Load(server.port, writers):
                if how == "random":
                    time.sleep(rng.uniform(0.0, 0.3))
                    server.child.signal(signal.SIGKILL)
                elif how == "torn":
                    limit = rng.randrange(1024, max(server.sizes().values()) + 20_000)
                    resource.prlimit(server.child.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                code = server.child.wait()
            if server.began:
                resumed.add(server.began)
        else:
            code, starting = server.child.wait(), starting + 1
        assert code == (-signal.SIGXFSZ if how == "torn" else -signal.SIGKILL), (how, code, server.child.printed)
        hits[how] += 1
        after_commit += generations.check() > 0
        report(done + 1)
    stats, figures = goes_on(nursery, folder, writers, generations=generations, **settings)
    assert stats["state_sha256"] == figures["state_sha256"]
    return {"kills": len(plan), **{f"kills, {how}": count for how, count in sorted(hits.items())}, "kills while starting": starting,
            "kills after the first commit": after_commit, "distinct positions resumed from": len(resumed), **figures,
            "seconds": round(time.monotonic() - began, 1)}


def first_starts(nursery, folder, rounds):
    """Kill at each place that a first start passes, in new directories; the next start serves."""
    killed = Counter()
    for i in range(rounds):
        for place in AT_START:
            home = Path(folder) / f"{place}-{i}"
            first = Server(nursery, home, arm=f"{place}:1")
            assert not first.ready() and first.child.wait() == -signal.SIGKILL
            second = Server(nursery, home)
            assert second.ready() and second.ask("GET", "/readyz")[0] == 200
            second.stop()
            killed[place] += 1
    return {f"kills at {place}": count for place, count in killed.items()}


def damaged(folder, files, seed=0):
    """Damage state files: cut, flip bits, overwrite, exchange parts, append; each is refused and the one before is taken."""
    rng, folder = random.Random(seed), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    log = SqliteLog(folder / "log.db")
    writer, events = Writer("d"), []
    for _ in range(40):
        writer.batch = None
        events += map(event, writer.next_batch())
    log.append(events)
    store = StateStore(folder / "state")
    older = store.commit(Fold.replayed(log, OPTIONS, 100), log.id)
    newest = store.commit(Fold.replayed(log, OPTIONS, 200), log.id)
    good, before, kinds, loaded = newest.read_bytes(), older.read_bytes(), Counter(), 0
    at_lengths = iter(range(len(good)))
    ways = {"cut short": lambda: good[:next(at_lengths, rng.randrange(len(good)))],
            "one bit flipped": lambda: _changed(good, [rng.randrange(8 * len(good))]),
            "several bits flipped": lambda: _changed(good, rng.sample(range(8 * len(good)), rng.randrange(2, 50))),
            "a page zeroed": lambda: _overwritten(good, bytes(4096), rng),
            "a piece of an older state": lambda: _overwritten(good, before[(at := rng.randrange(len(before) - 64)):at + 64], rng),
            "bytes appended": lambda: good + rng.randbytes(rng.randrange(1, 5000))}
    for i in range(files):
        kind = list(ways)[i % len(ways)]
        while (data := ways[kind]()) == good:
            pass
        newest.write_bytes(data)
        kinds[kind] += 1
        try:
            read(newest)
            loaded += 1
        except ModelFileError:
            pass
        if i % 10 == 0:                     # the whole way now and then: it is thirty times slower
            fold = store.load(log.id)
            loaded += fold.position != 100
            assert len(store.damaged) == 1
    older.write_bytes(before[:-1])
    try:
        store.load(log.id)
        raise AssertionError("no state is whole, and one was loaded")
    except StateError:
        pass
    log.close()
    assert loaded == 0, f"{loaded} damaged files were believed"
    return {"damaged files": sum(kinds.values()), **dict(kinds), "loaded": loaded}


def _changed(data, bits):
    changed = bytearray(data)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _overwritten(data, piece, rng):
    at = rng.randrange(max(1, len(data) - len(piece)))
    return data[:at] + piece + data[at + len(piece):]
