"""A full disk, stepped over every write of a cycle: the log, its WAL and checkpoint, the state file.

While it is full, nothing is acknowledged, predictions and reads go on; when there is room again, so does everything else,
without a restart. Two ways to be full: a limit of file sizes, which a write at any offset may meet, and a small tmpfs.
"""
import http.client
import os
import resource
import subprocess
import time
from collections import Counter
from contextlib import closing, contextmanager

from tests.chaos.clients import Generations, Server, Writer, judge

RECOVERY = 20.0                             # seconds: it tries each second, on a machine that may be busy


class SizeLimit:
    """Nothing is written beyond some place of a file. Step by step that place goes from 0 to beyond all files, and in every other
    step it is near the end of one of them."""

    batches = 6                             # while it is full

    def __init__(self, server, steps):
        self.server, self.steps = server, steps

    def fill(self, step):
        sizes = sorted(self.server.sizes().values())
        self._set((sizes[-1] + 32_768) * step // self.steps if step % 2 else sizes[step % len(sizes)] + step * 512 % 20_000)

    def relieve(self):
        self._set(resource.RLIM_INFINITY)

    def _set(self, limit):
        resource.prlimit(self.server.child.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


class Ballast:
    """A file that leaves so many pages of a small file system free."""

    batches = 60                            # what is allocated already takes some

    def __init__(self, server, steps):
        self.file, self.folder = server.folder / "ballast", server.folder

    def fill(self, step):
        with open(self.file, "wb") as file:
            for _ in range(100):
                system = os.statvfs(self.folder)
                try:
                    os.posix_fallocate(file.fileno(), 0, max(1, system.f_bavail - step % 24) * system.f_frsize)
                    break
                except OSError:             # the service has written meanwhile
                    file.truncate(0)

    def relieve(self):
        self.file.unlink()


def full_disk(nursery, folder, steps, kind=SizeLimit):
    """The disk is full at one write after the other, of log, WAL, checkpoint or state: 503 and no acknowledgement; predictions and
    reads go on; it recovers alone, by the next request or without one."""
    server, writer = Server(nursery, folder, checkpoint=8, commit_events=10), Writer("full")
    generations, seen, slowest, step = Generations(folder), Counter(), 0.0, 0
    assert server.ready()
    disk = kind(server, steps)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        for i in range(10):                 # a state larger than a transaction, so that each of them may be what finds no room
            writer.put([{"id": f"large-{i}", "x": {"user": f"v{i}", "tags": [f"v{n}" for n in range(1000)]}, "y": 1}])
            assert writer.post(connection)
        while step < steps or not seen["states not written"] and step < 4 * steps:    # whether a state is being written is chance
            for _ in range(3):
                assert writer.post(connection)
            disk.fill(step % steps)
            seen += _while_full(server, writer, connection, disk.batches)
            disk.relieve()
            slowest = max(slowest, _recovery(server, writer, connection, step % 10 > 0))
            step += 1
        while writer.batch:
            assert writer.post(connection)
    assert seen["requests refused with 503"] > steps // 5 and seen["states not written"], f"it was hardly ever full: {seen}"
    server.settled()
    server.stop()
    generations.check()
    return {"times full": step, **seen, "slowest recovery, seconds": round(slowest, 2), **judge(nursery, folder, [writer])}


def _while_full(server, writer, connection, batches):
    """Counts of what happened."""
    seen = Counter()
    for _ in range(batches):
        if not writer.post(connection):
            seen["requests refused with 503"] += 1
            status, answer = server.ask("GET", "/readyz")
            assert status == 503 and "log cannot be written" in answer["error"]["message"], (status, answer)
            break
        seen["requests stored beside it"] += 1
    status, answer = server.ask("POST", "/v1/predict", {"x": {"user": "u1", "tags": ["t1"]}})
    assert status == 200, answer
    status, stats = server.ask("GET", "/v1/stats")
    assert status == 200, stats
    seen["predictions and reads answered"] += 2
    seen["states not written"] += stats["alarm"] is not None
    return seen


def _recovery(server, writer, connection, asked):
    """Seconds until it is ready again, after a client came back or without being asked."""
    began = time.monotonic()
    while asked and not writer.post(connection) or server.ask("GET", "/readyz")[0] != 200:
        assert time.monotonic() - began < RECOVERY, server.ask("GET", "/readyz")
        time.sleep(0.01)
    return time.monotonic() - began


def full_file_system(nursery, folder, steps):
    """The same on a tmpfs of 16 MB, of which a file leaves more or less free."""
    with small_disk(folder) as home:
        return full_disk(nursery, home, steps, Ballast) if home else {"not run": "a tmpfs is mounted by root only"}


@contextmanager
def small_disk(folder):
    """A folder on a small tmpfs; None where this user may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "chaos", folder]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
