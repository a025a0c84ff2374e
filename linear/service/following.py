"""What a replica follows: a directory that another process writes, and a thread that looks for what is new in it.

    DIR             the newest state in DIR/state; or, with its log, the events beyond that, which are then learned here, too
    DIR/models      the registry alone, as a copy on another machine: the version that the pointer names, else the newest

No lock is taken and nothing is written; the log's reader shares with its writer a file of marks, SQLite's log.db-shm. What is found
is published by one assignment, so an answer is of one moment, and never goes back to an earlier one: what is damaged or half-copied
is passed over and looked at again. Where the history is not the one that was followed, following ends and says why, and the last
good state goes on answering.
"""
import json
import logging
import os
import sqlite3
import threading
import time
from pathlib import Path

from linear.model_file import ModelFileError, VersionError, read
from linear.service import logs
from linear.service.fold import Fold
from linear.service.log import LogError, SqliteLog
from linear.service.packing import packing
from linear.service.registry import LIVE, Registry
from linear.service.runner import CHUNK, PUBLISH_LATEST, PUBLISH_SHARE, DirectoryError, checked_state, stored_options
from linear.service.store import StateError, StateStore

POLL, AGAIN = 0.25, 1.0                     # seconds between two looks; after one that found something it could not take
AT_ONCE = 5000                              # events of the log between two snapshots
RESTART = "Start the replica again to follow that one"
_log = logging.getLogger("linear.service")


class Stopped(RuntimeError):
    """There is nothing more to follow; the message says why."""


class Frozen(Registry):
    """A registry with no learner beside it: where its pointer says live, the newest version answers."""

    def __init__(self, folder):
        super().__init__(folder)
        self.history = [*self.history[:-1], self.active.name]
        about = self.folder / self.active.name / "about.json"
        self.digest, self.written = json.loads(about.read_text(encoding="utf-8"))["state_sha256"], about.stat().st_mtime

    def _loaded(self, name):
        if name == LIVE and not self.names():
            raise LookupError("it holds no model, which POST /v1/models to the primary would freeze; nor has it an options.json, as a "
                              "service's directory")
        return self.load(self.names()[-1] if name == LIVE else name)


class NoLog:
    """The log as a replica sees it that does not read it: the dashboard asks it for names, and gets none."""

    def last(self):
        return 0

    def read(self, after, limit):
        return []

    def features(self, ids):
        return {}


class Followed:
    """A directory that another process writes: a service's, or its registry alone. To be used where `runner.Directory` is."""

    def __init__(self, path, with_log=False):
        self.path = self.models = Path(path)
        self.with_log, self.is_service = with_log, (self.path / "options.json").exists()
        if self.is_service:
            self.options, self.models = stored_options(path), self.path / "models"
        elif not self.path.is_dir():
            raise DirectoryError(f"{path}: there is no such directory to follow")
        elif with_log:
            raise DirectoryError(f"{path} has no options.json, so it is no service's directory: there is no log to follow")
        else:
            self.options = self.registry().active.model.options

    def registry(self):
        """The registry as it is now; raises DirectoryError where it cannot be loaded."""
        try:
            return (Registry if self.is_service else Frozen)(self.models)
        except (LookupError, TypeError, ValueError, OSError) as error:
            raise DirectoryError(f"the registry {self.models} cannot be followed: {error}") from None

    def log(self, readonly=True):
        return logs.beside(self.path) if self.with_log else NoLog()

    def store(self):
        return StateStore(self.path / "state")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """There is nothing to give back."""


class Follower:
    """What a `Runner` is to the service that learns: the snapshot that answers, and a thread, which looks for a newer one.

    `look()` of a subclass publishes what it finds. It raises Stopped where following has to end, any other error where something
    could not be taken, which is told, and tried again.
    """

    refusing = None                         # why nothing that is worth it can be answered yet
    stored = seen = committed = None        # the last event in the log, the newest known of, that of the state: where one can know
    frozen = None                           # (snapshot, its digest) of a version
    unknown = ("learn_rate", "delay", "delay_p95")      # numbers that have no meaning here

    def __init__(self, directory, on_failure=lambda error: None):
        self.directory, self.on_failure = directory, on_failure
        self.on_registry = lambda registry: None
        self.failure = self.alarm = None    # why it has stopped; what could not be taken
        self.snapshot, self.written = Fold(directory.options), time.time()
        self._models, self._rest = (), 0.0  # what said which version answers; seconds between two looks, at least
        self._end, self._thread = threading.Event(), threading.Thread(target=self._run, name="follow", daemon=True)

    @property
    def age(self):
        """Seconds since what answers was written."""
        return max(0.0, time.time() - self.written)

    @property
    def committed_at(self):
        return time.monotonic() - self.age

    @property
    def lag(self):
        """How many events the newest that is known of is ahead; None where there is no knowing."""
        return None if self.seen is None else max(0, self.seen - self.snapshot.position)

    @property
    def busy(self):
        """Whether there is something to take."""
        return bool(self.lag)

    def start(self):
        """Take what is there, and follow. Raises StateError, LogError or DirectoryError where none of it can be taken."""
        self._look()
        if self.failure or self.alarm and self.refusing:
            raise StateError(self.failure or self.alarm)
        self._thread.start()

    def stop(self):
        self._end.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self):
        try:
            while not self.failure and not self._end.wait(self._pause()):
                self._look()
        except BaseException as error:      # whatever it is: nobody may believe that this is still followed
            self.failure = error
            self.on_failure(error)

    def _pause(self):
        return max(self._rest, AGAIN if self.alarm else POLL)

    def _look(self):
        alarm = None
        for look in (self.look, self.look_at_models):
            try:
                look()
            except Stopped as error:
                self.failure = error
                return _log.error("following has stopped: %s", error)
            except (ModelFileError, DirectoryError, LogError, OSError, sqlite3.Error) as error:
                alarm = str(error)
        if alarm and alarm != self.alarm:
            _log.warning("passed over: %s", alarm)
        self.alarm = alarm

    def look_at_models(self):
        """Let the version answer that the pointer names."""
        pointer, beside = self.directory.models / "pointer.json", self.directory.is_service
        told = pointer.read_bytes() if pointer.exists() else b"", beside or sorted(os.listdir(self.directory.models))
        if told != self._models:
            self.take(self.directory.registry())
            self._models = told

    def take(self, registry):
        """Publish a registry that was read anew."""
        self.on_registry(registry)


class StateFollower(Follower):
    """Follows the state files: each has the log's position in its name, and the log's identity in its header."""

    def __init__(self, *args):
        super().__init__(*args)
        self._store, self._log_id = self.directory.store(), None
        self._at = -1                       # the number of the file that was taken
        self._known = {}                    # files that were there at the last look: what is damaged about them, or None

    @property
    def refusing(self):
        return None if self._at >= 0 else (f"there is no state in {self._store.folder} yet; the primary writes one soon after its "
                                           "first event")

    def look(self):
        """Take the newest state that is whole, if it is newer than the one that answers."""
        known, problem, files = {}, None, self._store.files()
        for path in files:                  # the newest first
            try:
                about = path.stat()
            except FileNotFoundError:       # the primary keeps the newest few
                continue
            seq, file = self._store.position(path), (path.name, about.st_mtime_ns, about.st_size)
            known[file] = self._known.get(file)
            if seq > self._at:
                known[file] = known[file] or self._taken(path, seq, about.st_mtime)
                problem = problem or known[file]
        self.seen = max(map(self._store.position, files), default=self._at)
        if self.seen < self._at and known.keys() - self._known:
            raise Stopped(f"{files[0]} is new here, and the newest, but the state that answers is of event {self._at}: an older one was "
                          f"put back, so what comes now is another history. {RESTART}")
        if not files and not self.refusing:
            problem = FileNotFoundError(f"no state files are to be seen in {self._store.folder}")
        self._known = {file: why if isinstance(why, ModelFileError) else None for file, why in known.items()}
        if problem:
            raise problem

    def _taken(self, path, seq, written):
        """None where the state was taken, or why it was not."""
        began = time.monotonic()
        try:
            header, arrays = read(path)
            if self._log_id not in (None, header["log"]):
                raise Stopped(f"{path} belongs to log {header['log']}, this replica follows log {self._log_id}: another service "
                              f"has taken the directory. {RESTART}")
            fold = Fold.of_parts(header, arrays)
            if fold.position != seq:
                raise ValueError(f"it is of event {fold.position}")
        except FileNotFoundError:
            return None
        except VersionError as error:
            raise Stopped(f"{error}. The primary is of another version; start the replica with that one") from None
        except (ModelFileError, OSError) as error:
            return error
        except (KeyError, TypeError, ValueError) as error:
            raise Stopped(f"{path} is whole, but no state that this program knows: {error}. The primary may be of another version; "
                          "start the replica with that one") from None
        self.snapshot, self.committed, self.written = fold, seq, written
        self._log_id, self._at, self._rest = header["log"], seq, time.monotonic() - began
        return None


class LogFollower(Follower):
    """Follows the log itself, from the newest state on: fresher, but it costs what learning costs."""

    unknown = ()
    _log = None

    def start(self):
        self._open()
        store = self.directory.store()
        self._fold = checked_state(self._log, store, self.directory.options)
        self._publish()
        super().start()

    def stop(self):
        super().stop()
        self._log.close()

    def look(self):
        """Learn what has come, at most AT_ONCE chunks of it, and publish that."""
        if self._file != _file_of(self._log):
            self._open()
        try:
            self.stored = self.seen = self._log.last()
            if self.seen < self._fold.position:
                raise LogError(f"the log in {self.directory.path} ends at event {self.seen}, this replica has learned event "
                               f"{self._fold.position}: an older log was put back. {RESTART}")
            until = self.snapshot.position + AT_ONCE
            while self._fold.position < until and self._fold.advance(self._log, CHUNK):
                pass
        except LogError as error:
            raise Stopped(error) from None
        if self._fold.position > self.snapshot.position:
            self._publish()

    def _pause(self):
        return self._rest if self.lag and not self.alarm else super()._pause()

    def _publish(self):
        started = time.monotonic()
        self.snapshot, self.written = self._fold.copy(), time.time()
        self._rest = min(PUBLISH_LATEST, PUBLISH_SHARE * (time.monotonic() - started))

    def _open(self):
        before, log = self._log, self.directory.log()
        self._log, self._file = log, _file_of(log)
        if before:
            before.close()
            if before.id != log.id:
                raise Stopped(f"the log in {self.directory.path} is another one now: {log.id}, it was {before.id}. {RESTART}")


class RegistryFollower(Follower):
    """Follows a registry alone. A version is a model, not a state: what only the log tells is not known."""

    unknown = ("learn_rate", "delay", "delay_p95", "label_rate", "pending", "marks", "challenger", "unlabelled", "late",
               "early", "expired", "forgotten", "refused", "commands")

    @property
    def refusing(self):
        return None if self.frozen else "no version is loaded yet"

    def look(self):
        """There is nothing but the models."""

    def take(self, registry):
        version, options, ours = registry.active, registry.active.model.options, self.directory.options
        if (packing(options), options["crosses"]) != (packing(ours), ours["crosses"]):
            raise Stopped(f"version {version.name} in {registry.folder} takes its features otherwise than those before: it is of "
                          f"another service. {RESTART}")
        fold = Fold(options)
        fold.model, fold.position, fold.counts.learned = version.model, version.seq, version.model.totals.examples
        self.frozen, self.snapshot, self.written = (fold, registry.digest), fold, registry.written
        super().take(registry)


def follower(directory, on_failure=lambda error: None):
    """The Follower of a `Followed`.

    >>> import tempfile
    >>> from linear.service.log import Row
    >>> from linear.service.runner import Directory
    >>> with Directory(tempfile.mkdtemp(), {}) as primary:
    ...     running, fold = follower(Followed(primary.path)), Fold({})
    ...     fold.apply([Row(1, "a", "xy", b'{"u":"ann"}', 1)])
    ...     _ = primary.store().commit(fold, "log-1")
    >>> running.look()
    >>> running.snapshot.position, running.snapshot.digest() == fold.digest(), running.lag
    (1, True, 0)
    """
    kind = LogFollower if directory.with_log else StateFollower if directory.is_service else RegistryFollower
    return kind(directory, on_failure)


def _file_of(log):
    """Which file a log is; a log elsewhere looks itself whether it is still the same."""
    if isinstance(log, SqliteLog):
        about = os.stat(log.path)
        return about.st_dev, about.st_ino
