"""Two writers of one directory, a clock that jumps, a learner that dies, numbers that are not finite, a flush that fails, states
that are all damaged."""
import shutil
import signal
import time
from pathlib import Path

from linear.service.log import SqliteLog
from tests.chaos.clients import Generations, Load, Server, Writer, goes_on, judge, uninterrupted

SKEWS = ("+1 day", "-1 day", "jumps")


def two_writers(nursery, folder, races, rivals=3):
    """Several processes take one directory at the same moment: one gets it."""
    folder, won = Path(folder), set()
    folder.mkdir(parents=True)
    for race in range(races):
        at = time.time() + 0.03
        home = folder / f"dir{race // 2}"   # each second race is for a directory that is there
        children = [nursery.start("hold", str(home), at, out=folder / f"said{i}") for i in range(rivals)]
        for child in children:
            child.says("\n")
        said = [child.printed for child in children]
        assert said.count("taken\n") == 1, said
        assert sum(text.startswith("refused: ") and "in use by process" in text for text in said) == rivals - 1, said
        won.add(said.index("taken\n"))
        for child in children:
            child.signal(signal.SIGKILL)
            child.wait()
    server = Server(nursery, folder / "serve")
    assert server.ready()
    other = nursery.start("serve", str(folder / "serve" / "dir"), out=folder / "other")
    assert other.wait() not in (0, 1) and f"in use by process {server.child.pid};" in other.printed, other.printed
    server.stop()
    return {"races": races, "rivals": rivals, "races with one winner": races, "different rivals won": len(won)}


def _some_load(nursery, folder):
    """(server, writers) after some load that was not interrupted."""
    server, writers = Server(nursery, folder), [Writer(f"w{i}") for i in range(2)]
    assert server.ready()
    with Load(server.port, writers) as load:
        load.until(700)
    return server, writers


def clock_steps(nursery, folder):
    """The same events under clocks that are wrong give the same state."""
    server, _ = _some_load(nursery, folder)
    digest = server.settled()["state_sha256"]
    server.stop()
    log = SqliteLog(Path(folder) / "dir" / "log.db", readonly=True)
    rows = log.read(0, 1 << 62)
    log.close()
    for skew in SKEWS:
        assert uninterrupted(nursery, rows, skew) == digest, f"another state with a clock that is wrong by {skew}"
    return {"events": len(rows), "clocks": ", ".join(SKEWS), "states that differ": 0}


def dead_learner(nursery, folder, fault, words):
    """Learning fails: the process says so, commits nothing more and ends; the next one has what was acknowledged."""
    generations, writers = Generations(folder), [Writer(f"w{i}") for i in range(2)]
    server = Server(nursery, folder, fault=fault)
    assert server.ready()
    with Load(server.port, writers):
        server.child.says("learning has failed")
        try:
            status, _ = server.ask("GET", "/readyz")
        except OSError:
            status = 503                    # nobody listens there any more
        code = server.child.wait(30)
    assert status == 503, status
    assert code == 1 and words in server.child.printed, (code, server.child.printed)
    position = generations.check()
    assert position < 600, "a state was written after learning had failed"
    _, figures = goes_on(nursery, folder, writers, generations=generations)
    return {"exit code": code, "newest state that was written, event": position, **figures}


def failing_flush(nursery, folder):
    """fsync of the state fails: no state is taken for written, nothing half-written stays, learning goes on, the alarm says so."""
    server, writers = _some_load(nursery, folder)
    server.stop()
    states = Path(folder) / "dir" / "state"
    before = sorted(path.name for path in states.iterdir())
    server = Server(nursery, folder, fault="fsync fails")
    assert server.ready()
    with Load(server.port, writers) as load:
        load.until(400)
    stats = server.settled()
    assert "injected" in (stats["alarm"] or "") and stats["durable_lag"] > 0 and server.ask("GET", "/readyz")[0] == 200, stats
    server.stop()
    assert sorted(path.name for path in states.iterdir()) == before
    server = Server(nursery, folder)
    assert server.ready()
    server.settled()
    server.stop()
    return {"events learned meanwhile": stats["durable_lag"], **judge(nursery, folder, writers)}


def all_damaged(nursery, folder):
    """No state is whole: it refuses to start, and says how the state is computed again from the log."""
    server, writers = _some_load(nursery, folder)
    server.stop()
    states = Path(folder) / "dir" / "state"
    for path in states.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    child = nursery.start("serve", str(Path(folder) / "dir"), out=Path(folder) / "refused")
    assert child.wait() not in (0, 1) and "Move them away" in child.printed and "Traceback" not in child.printed, child.printed
    shutil.rmtree(states)
    server = Server(nursery, folder)
    assert server.ready()
    server.settled()
    server.stop()
    return judge(nursery, folder, writers)
