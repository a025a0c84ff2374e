"""What runs in the nursery and its children. `python -m tests.chaos.children` is the nursery; see `nursery.py`."""
import itertools
import json
import os
import random
import resource
import signal
import sys
import time
import traceback

from linear import failpoints
from linear.service import log, runner, web
from linear.service.events import event
from linear.service.fold import Fold
from linear.service.logs.redis import RedisLog
from linear.service.runner import Directory, DirectoryError, Runner

OPTIONS = ["--crosses", "user*tags"]


def serve(directory, *more, arm="", commit_events=150, torn=False, checkpoint=40, slow_body=None, fault=""):
    """`python -m linear serve` on a free port, with a failpoint armed and with commits often enough to be hit."""
    from linear.__main__ import main
    failpoints.arm(arm)
    runner.COMMIT_EVENTS, web.SLOW_BODY = commit_events, slow_body or web.SLOW_BODY
    log._SCHEMA += f"PRAGMA wal_autocheckpoint = {checkpoint};"
    if torn:                                # die at the write that passes the limit of a file's size, what is below it written
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if fault:
        FAULTS[fault]()
    return main(["serve", "--dir", directory, "--port", "0", *OPTIONS, *more])


def follow(directory, *more):
    """A replica of what is in a directory, on a free port."""
    from linear.__main__ import main
    return main(["serve", "--follow", directory, "--port", "0", *more])


def learn(directory, events, skew=""):
    """Append a file of events, learn them without interruption, print the digest."""
    if skew:
        _skew(skew)
    with open(events, encoding="utf-8") as file:
        items = [json.loads(line) for line in file]
    running = Runner(Directory(directory, {"crosses": "user*tags"}))
    running.start()
    for is_order, part in itertools.groupby(items, key=lambda item: "command" in item):
        if is_order:
            for order in part:
                running.command(order).result(60)
        else:
            part = [event(item) for item in part]
            for start in range(0, len(part), 1000):
                running.append(part[start:start + 1000]).result(60)
    while not running.wait_for(running.stored, 1.0):
        if running.failure:
            raise running.failure
    running.stop()
    print(f"state_sha256 {running.snapshot.digest()} seq {running.snapshot.position}", flush=True)


def hold(directory, at):
    """At the time `at`, take the directory, say so, and keep it until killed; or say why not."""
    while time.time() < at:
        pass
    try:
        with Directory(directory, {"crosses": "user*tags"}):
            print("taken", flush=True)
            signal.pause()
    except DirectoryError as error:
        print(f"refused: {error}", flush=True)


def _learner_dies():
    advance = Fold.advance

    def dying(fold, *args):
        if fold.position > 500:
            raise MemoryError("injected")
        return advance(fold, *args)
    Fold.advance = dying


def _weights_turn_nan():
    apply = Fold.apply

    def poisoned(fold, *args):
        apply(fold, *args)
        if fold.position > 500:
            learner = fold.model._learner
            keys, columns = learner.columns()
            columns["weight"][0] = float("nan")
            learner.restore(keys, columns, learner.scalars())
    Fold.apply = poisoned


def _fsync_fails():
    def refuse(descriptor):
        raise OSError(5, "Input/output error, injected")
    os.fsync = refuse


def _acknowledges_in_hope():
    """The last event of each tenth group is acknowledged and not stored."""
    for kind in log.SqliteLog, RedisLog:
        def hopeful(self, events, append=kind.append, calls=itertools.count(1)):
            if next(calls) % 10:
                return append(self, events)
            return append(self, events[:-1]) + [log.Stored(events[-1].id, "stored", self.last() + 1)]
        kind.append = hopeful


def _misread(change):
    """Something is not as it was when a state is read again."""
    def put():
        of_parts = Fold.of_parts

        def misreading(header, arrays):
            fold = of_parts(header, arrays)
            change(fold)
            return fold
        Fold.of_parts = misreading
    return put


def _one_event_behind(fold):
    fold.position = max(0, fold.position - 1)


def _without_its_window(fold):
    fold.adwin.state[:] = 0.0


FAULTS = {"acknowledges in hope": _acknowledges_in_hope, "one event behind": _misread(_one_event_behind),
          "detector forgotten": _misread(_without_its_window), "learner dies": _learner_dies,
          "weights turn NaN": _weights_turn_nan, "fsync fails": _fsync_fails}


def _skew(kind):
    """A clock that is a day off, or one that jumps at every look, backwards too; the one that never goes back then leaps."""
    rng, real = random.Random(kind), time.time
    jump = {"+1 day": lambda: 86400.0, "-1 day": lambda: -86400.0, "jumps": lambda: rng.uniform(-86400.0, 86400.0)}[kind]
    time.time = lambda: real() + jump()
    time.time_ns = lambda: int(time.time() * 1e9)
    if kind == "jumps":
        leaps = itertools.accumulate(iter(lambda: rng.uniform(0.0, 60.0), None), initial=time.monotonic())
        time.monotonic = lambda: next(leaps)


# ---------------------------------------------------------------- the nursery

def main():
    """Take orders until standard input ends."""
    import uvicorn.loops.auto                       # noqa: F401  what `serve` would import, imported once
    import uvicorn.protocols.http.auto              # noqa: F401

    import linear.__main__                          # noqa: F401
    from linear.service import serving
    serving.compiled({"crosses": "user*tags"})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    living = set()
    for line in sys.stdin:
        what, *order = json.loads(line)
        if what == "start":
            pid = os.fork()
            if not pid:
                _run(*order)
            living.add(pid)
            answer = pid
        else:
            pid, status = os.waitpid(order[0], os.WNOHANG)
            living.discard(pid)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _run(function, args, settings, out):
    """The child: everything it says goes to `out`, and it ends here whatever happens."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor in (1, 2):
            os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
        code = globals()[function](*args, **settings) or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
