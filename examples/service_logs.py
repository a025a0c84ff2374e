"""How fast each kind of event log takes events in, and how fast a learner gets through them, on this machine.

    stored           events a second that are on disk when `append` returns, in batches of 1000
    read             events a second, read from the first to the last
    read + learned   the same, and learned, as a service does that starts without a state

A redis-server (Debian's package) is started for it in a temporary directory, set to lose nothing (appendfsync always). --log takes
addresses instead, whose names should be new ones: the events stay there.

    python examples/service_logs.py --events 500000 --json
    python examples/service_logs.py --log redis://localhost/trial kafka://localhost:9092/trial
"""
import argparse
import gc
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from service_load import event as some_event  # noqa: E402

from linear.service.events import event       # noqa: E402
from linear.service.fold import Fold          # noqa: E402
from linear.service.log import LogError       # noqa: E402
from linear.service.reading import Reader     # noqa: E402
from linear.service.runner import Directory   # noqa: E402

OPTIONS = {"crosses": ()}
BATCH, CHUNK, TIMES = 1000, 250, 3


@contextmanager
def redis_server(folder):
    """The address of a log in a redis-server of our own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"port": port, "bind": "127.0.0.1", "dir": folder, "appendonly": "yes", "appendfsync": "always", "save": "",
                "logfile": f"{folder}/said"}
    process = subprocess.Popen(["redis-server", *(str(part) for name, value in settings.items() for part in (f"--{name}", value))])
    try:
        yield f"redis://127.0.0.1:{port}/events"
    finally:
        process.kill()
        process.wait()


def best(work, count):
    """Events a second, of the best of a few runs."""
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return round(count / min(times))


def measured(address, events):
    """The row of one log."""
    with tempfile.TemporaryDirectory() as folder, Directory(folder, OPTIONS, address) as directory:
        log = directory.log()
        if log.last():
            raise LogError(f"{address} holds events already; take a new name")
        began = time.perf_counter()
        for start in range(0, len(events), BATCH):
            log.append(events[start:start + BATCH])
        stored = round(len(events) / (time.perf_counter() - began))

        def read(learned):
            reader, fold, at = directory.log(readonly=True), Fold(directory.options), 0
            while at < len(events):
                at += fold.advance(reader, CHUNK) if learned else len(reader.read(at, CHUNK, fold.packing))
            reader.close()
        row = {"log": address.partition(":")[0], "stored": stored, "read": best(lambda: read(False), len(events)),
               "read + learned": best(lambda: read(True), len(events))}
        log.close()
        return row


def main(argv=None):
    """Print a row for each log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", nargs="+", default=[], metavar="ADDRESS", help="measure these")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object a log")
    args = parser.parse_args(argv)
    rng, reader = random.Random(args.seed), Reader(OPTIONS)
    events = [event(some_event(i, rng)) for i in range(args.events)]
    events = [made._replace(record=reader.record(made.x)) for made in events]
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1 << 30)   # as the service has it
    with ExitStack() as stack:
        addresses = args.log or ["sqlite"]
        if not args.log and shutil.which("redis-server"):
            addresses.append(stack.enter_context(redis_server(stack.enter_context(tempfile.TemporaryDirectory()))))
        elif not args.log:
            print("redis-server is not installed: no row for it", file=sys.stderr)
        if not args.json:
            print(f"{args.events} events      stored/s       read/s   read + learned/s")
        for address in addresses:
            row = measured(address, events)
            line = f"{row['log']:15}{row['stored']:12,}{row['read']:13,}{row['read + learned']:19,}"
            print(json.dumps(row) if args.json else line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
