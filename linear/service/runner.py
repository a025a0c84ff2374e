"""The service without its network side: a thread that writes the log, a thread that learns, and snapshots that answer.

    append -> writer thread: one transaction for all that waits -> acknowledged
                  learner thread: advance -> publish a snapshot -> now and then commit the state, in a thread of its own

Only the learner thread touches the fold. A published snapshot never changes. Predictions are made from it by one thread at a time,
since they share its working arrays; its weights may be read by any.
"""
import json
import logging
import os
import queue
import random
import threading
import time
from concurrent.futures import Future
from pathlib import Path

from linear.failpoints import reach
from linear.model_file import make_directory, replace_file
from linear.service import logs
from linear.service.events import Invalid
from linear.service.fold import EDITS, Fold
from linear.service.log import LogError, Tail
from linear.service.packing import packing
from linear.service.registry import Registry
from linear.service.store import StateStore, this_build
from linear.svm import HingeSVM

try:
    import fcntl
except ImportError:                         # Windows: one writer a directory is then the user's promise
    fcntl = None

_log = logging.getLogger("linear.service")
CHUNK, FAR = 250, 10_000                    # events between two looks at the clock: one or two milliseconds; more when far behind
NAP, IDLE = 0.01, 0.2                       # seconds: after a few events; where there are none
PAUSE = 0.05, 0.5                           # seconds between two attempts to read from a broker that is away, by chance
GROUP = 1000                                # events in one transaction
WAITING = 20_000                            # events that may wait for the writer; more are told to come later
COMMIT_EVENTS, COMMIT_SECONDS, COMMIT_SHARE = 50_000, 5.0, 5     # so often, and at most 1/5 of the time
PUBLISH_SECONDS, PUBLISH_SHARE = 0.02, 20   # at most so often, and at most 1/20 of the time
PUBLISH_LATEST, COMMIT_LATEST = 5.0, 60.0   # but a process that was stopped on the way does not wait twenty times that long


class Busy(RuntimeError):
    """Too much is waiting to be written; nothing was stored, come back later."""


class DirectoryError(RuntimeError):
    """The directory cannot be used: taken by another process, or made with other options."""


class Directory:
    """A service's directory: options.json, lock, state/, and log.db or `log`, the address of a log elsewhere.

    Creating one takes the lock, `close` gives it back.

    >>> import tempfile
    >>> with Directory(tempfile.mkdtemp(), {"crosses": "user*tags"}) as directory:
    ...     directory.options["crosses"], directory.options["rule"]
    ((('user', 'tags'),), 'adagrad')
    """

    def __init__(self, path, options=None, log=None):
        self.path = Path(path)
        if options is not None:
            make_directory(self.path)
        if not self.path.is_dir():
            raise DirectoryError(f"{self.path}: no such directory; `serve --dir` makes one")
        self._lock = open(self.path / "lock", "a+")
        try:
            self._take_lock()
            self._settle_log(log)
            self.options = self._settled(options)
        except BaseException:
            self._lock.close()
            raise

    def log(self, readonly=False):
        """The event log; another object for each thread, one of them writes."""
        return logs.beside(self.path) if readonly else logs.opened(self.path, packing(self.options))

    def store(self):
        return StateStore(self.path / "state")

    def registry(self):
        return Registry(self.path / "models")

    def close(self):
        self._lock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _take_lock(self):
        if fcntl:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.seek(0)
                raise DirectoryError(f"{self.path} is in use by process {self._lock.read().strip() or 'unknown'}; one learner writes a "
                                     "directory at a time") from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _settle_log(self, asked):
        """Where the log is, is stored on the first start, and what is asked for later must equal that."""
        stored = logs.address_of(self.path)
        if asked and logs.checked(asked) != stored:
            if (self.path / "options.json").exists():
                raise DirectoryError(f"{self.path} has its log at {logs.shown(stored)}, now {logs.shown(asked)} is asked for; leave --log "
                                     "out, or take a new directory. If that very log has moved, write its new address into "
                                     f"{self.path / 'log'}")
            (self.path / "log.tmp").touch(0o600)                # an address may hold a password
            replace_file(self.path / "log", asked.encode())

    def _settled(self, options):
        """The stored options, which those given must equal; on the first start, those given are stored."""
        file = self.path / "options.json"
        if options is None or file.exists():
            stored = stored_options(self.path)
            asked = HingeSVM(**{**stored, **(options or {})}).options
            for name, value in HingeSVM(**stored).options.items():
                if asked[name] != value:
                    raise DirectoryError(f"{self.path} was made with {name}={value!r}, now {name}={asked[name]!r} is asked for; leave the "
                                         "option out, or take a new directory")
            return asked
        settled = HingeSVM(**options).options
        replace_file(file, json.dumps(settled).encode())
        return settled


def stored_options(path):
    """The model's options in a directory; DirectoryError where there are none."""
    try:
        return json.loads((Path(path) / "options.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DirectoryError(f"{path} is no service's directory: it has no options.json; `serve --dir` makes one") from None
    except ValueError as error:
        raise DirectoryError(f"{path}/options.json cannot be read: {error}") from None


def _size(item):
    """How many rows what waits for the writer can become."""
    events, _ = item
    return len(events) if isinstance(events, list) else 1


def checked_state(log, store, options):
    """The newest state, or a new one, which the log goes on from; LogError where it does not, StateError where none can be loaded."""
    fold, first, last = store.load(log.id), log.first(), log.last()
    if fold and store.build != this_build():
        _log.warning("the state was made by %s, this is %s: what is learned from here may differ in the last bits from what a replay "
                     "gives", store.build, this_build())
    if fold is None:
        if first > 1:
            raise LogError(f"the log begins at event {first} and there is no state for what came before")
        fold = Fold(options)
    if fold.position > last:
        raise LogError(f"the state is ahead of the log: it has learned event {fold.position}, the log ends at {last}. An older log was "
                       "put back; put back the state that belongs to it, or move the states away to learn the log anew")
    if first > fold.position + 1:
        raise LogError(f"a gap: the state ends at event {fold.position}, the log begins at {first}")
    return fold


def settle(answers):
    """Set futures: [(future, result, exception), ...]."""
    for future, result, error in answers:
        if not future.done():               # nobody waits any more
            if error:
                future.set_exception(error)
            else:
                future.set_result(result)


class Runner:
    """Runs a directory: `start`, `append` events, read `snapshot`, `stop`. `failure` is the exception that ended a thread."""

    def __init__(self, directory, on_failure=lambda error: None):
        self.directory, self.on_failure = directory, on_failure
        self.settle = settle
        self.failure = None                 # the exception that ended a thread
        self.alarm = self.refusing = None   # why the last state, the last events were not written, which is tried again
        self.snapshot = None                # a Fold, published and never changed again
        self.committed = self.committed_at = 0
        self.stored = 0                     # the last event that is on disk
        self._waiting, self._queued, self._door = queue.SimpleQueue(), 0, threading.Lock()
        self._more, self._published = threading.Event(), threading.Condition()
        self._stopping = self._away = False
        self._commit, self._commit_took = None, 0.0          # the thread that writes a state; seconds that the last one took

    def start(self):
        """Load the newest state, check it against the log, and start to learn. Raises LogError or StateError."""
        self._writing = self.directory.log()                   # first, for it makes what is not there
        self._log, self._store = Tail(self.directory.log(readonly=True)), self.directory.store()
        self._store.clean()
        self._fold = checked_state(self._log, self._store, self.directory.options)
        self.stored = self._log.last()
        self.committed, self.committed_at = self._fold.position, time.monotonic()
        self._publish()
        self._threads = [threading.Thread(target=self._guarded, args=(work,), name=work.__name__.strip("_"), daemon=True)
                         for work in (self._write, self._learn)]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self):
        """Whether there is something to write or to learn."""
        return self._queued > 0 or self.stored > self._fold.position

    def append(self, events, future=None):
        """A Future of the `Stored` results, set when the events are on disk; Busy, with nothing stored, if too many wait.

        `settle`, called by the writer's thread with (future, result, exception) of all that was written in one go, sets them.
        """
        return self._wait_in_line(events, len(events), future)

    def command(self, order, future=None):
        """A Future of the sequence number of a logged command."""
        return self._wait_in_line(order, 1, future)

    def watch(self, watcher):
        """Have `watcher(numbers, mistakes)` called by the learner for what it has scored; None ends that."""
        self._fold.watcher = watcher

    def wait_for(self, seq, timeout):
        """Wait until a snapshot has event `seq`; whether it has."""
        with self._published:
            return self._published.wait_for(lambda: self.snapshot.position >= seq or self.failure, timeout) and not self.failure

    def stop(self):
        """Write what waits, learn what is written, commit, and give the directory back."""
        with self._door:
            self._stopping = True
            self._waiting.put(None)
        self._more.set()
        for thread in self._threads:
            thread.join()
        if self._commit:
            self._commit.join()
        self._writing.close()               # the last one, so that SQLite leaves one file behind
        self.directory.close()

    def _wait_in_line(self, what, size, future):
        future = future or Future()
        with self._door:                    # the count is changed by two threads, and nothing may come behind the last
            if self.failure or self._stopping:
                raise Busy("the service is stopping")
            if self._queued + size > WAITING:
                raise Busy(f"{self._queued} events wait to be written")
            self._queued += size
            self._waiting.put((what, future))
        return future

    def _guarded(self, work):
        try:
            work()
        except BaseException as error:      # whatever it is: nobody may believe that learning goes on
            self.failure = error
            with self._published:
                self._published.notify_all()
            self.on_failure(error)

    # ---------------------------------------------------------------- the writer

    def _write(self):
        log = self._writing
        try:
            while (first := self._next(log)) is not None:
                group, item, count = [first], first, _size(first)
                while count < GROUP and not self._waiting.empty() and (item := self._waiting.get()) is not None:
                    group.append(item)
                    count += _size(item)
                self._store_group(log, group)
                if item is None:
                    break
        except LogError as error:           # this writer may not go on: what waits is refused, and nothing comes behind it
            with self._door:
                self.failure = error
            while not self._waiting.empty():
                if item := self._waiting.get():
                    self.settle([(item[1], None, OSError(str(error)))])
            raise

    def _next(self, log):
        """What waits first. While the disk refuses, it is tried each second, so that it need not be sent something to be ready."""
        while self.refusing:
            try:
                return self._waiting.get(timeout=1.0)
            except queue.Empty:
                try:
                    log.probe()
                    self.refusing = None
                except OSError as error:
                    self.refusing = str(error)
        return self._waiting.get()

    def _store_group(self, log, group):
        batches = [events for events, _ in group if isinstance(events, list)]
        try:
            stored = iter(log.append([event for events in batches for event in events]) if batches else ())
            self._log.add(log.newest)
            results = []
            for order, _ in group:
                if isinstance(order, list):
                    results.append([next(stored) for _ in order])
                elif order["command"] in EDITS and log.first() > 1:
                    results.append(Invalid(f"{order['command']} has all of the log learned again, which begins at event {log.first()} "
                                           "since it was trimmed", "command"))
                else:
                    results.append(log.command(json.dumps(order)))
                    self._log.add(log.newest)
            self.stored = log.last()
        except (OSError, LogError) as error:                    # the disk is full, or worse: nobody gets an acknowledgement
            if not self.refusing:
                _log.warning("no events are stored: %s", error)
            self.refusing = str(error)
            self.settle([(future, None, OSError(str(error))) for _, future in group])
            if isinstance(error, LogError):
                raise                       # this writer may not go on
        else:
            self.refusing = None
            self._more.set()
            self.settle([(future, None, result) if isinstance(result, Invalid) else (future, result, None)
                         for (_, future), result in zip(group, results)])
        finally:
            with self._door:
                self._queued -= sum(map(_size, group))

    # ---------------------------------------------------------------- the learner

    def _learn(self):
        log = self._log
        while True:
            self._more.clear()
            taken = self._advanced()
            if taken:
                reach("learner.chunk")
            wait = self._next_publish - time.monotonic()
            if self._fold.position == self.snapshot.position:
                wait = IDLE
            elif wait <= 0 or self.stored - self._fold.position < FAR <= self.stored - self.snapshot.position:
                self._publish()             # due, or what was far behind is not any more
            if 0 < taken < CHUNK:
                time.sleep(NAP)             # the next ones come together: it costs the same
            elif not taken:
                if self._stopping and not self._threads[0].is_alive():
                    break
                if wait > 0:
                    self._more.wait(wait)
            self._commit_if_due()
        if self._fold.position > self.snapshot.position:
            self._publish()
        if self._commit:
            self._commit.join()
        if self._fold.position > self.committed or not self._store.files():
            self._write_state(self._fold)
        log.close()

    def _advanced(self):
        """How many events were learned; none, after a pause, where the log's broker is away: it is asked again and again."""
        try:
            taken = self._fold.advance(self._log, CHUNK if self.stored - self._fold.position < FAR else 4 * CHUNK)
        except OSError as error:
            if not self._away:
                _log.warning("no events are read: %s", error)
            self._away, self.alarm = True, f"no events are read: {error}"
            time.sleep(random.uniform(*PAUSE))
            return 0
        if self._away:
            self._away, self.alarm = False, None
        return taken

    def _publish(self):
        started = time.monotonic()
        snapshot = self._fold.copy()
        done = time.monotonic()
        self._next_publish = done + min(PUBLISH_LATEST, max(PUBLISH_SECONDS, PUBLISH_SHARE * (done - started)))
        with self._published:
            self.snapshot = snapshot
            self._published.notify_all()

    def _commit_if_due(self):
        events, seconds = self._fold.position - self.committed, time.monotonic() - self.committed_at
        due = events >= COMMIT_EVENTS or events and seconds >= COMMIT_SECONDS
        if due and seconds >= min(COMMIT_SHARE * self._commit_took, COMMIT_LATEST) and not (self._commit and self._commit.is_alive()):
            self.committed_at = time.monotonic()
            self._commit = threading.Thread(target=self._guarded, args=(lambda fold=self._fold.copy(): self._write_state(fold),))
            self._commit.start()

    def _write_state(self, fold):
        started = time.monotonic()
        try:
            self._store.commit(fold, self._log.id)
        except OSError as error:            # the old state is still there, and the log has everything
            if not self.alarm:
                _log.warning("the state was not written: %s", error)
            self.alarm = f"the state was not written: {error}"
        else:
            self.committed, self.alarm = fold.position, None
            self._commit_took = time.monotonic() - started
