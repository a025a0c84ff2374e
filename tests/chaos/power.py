"""Power loss, by a model: what is on the disk when the system stops between two calls, and what of the rest may be there too.

The calls of some commits are recorded. At each point between two of them a disk holds what was flushed, and of what was not
flushed anything: of a file's bytes none, some, all or zeros; of changes to the directory any, in no order. The method is that of
ALICE (Pillai et al. 2014, OSDI).
"""
import itertools
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from linear.service.events import event
from linear.service.fold import Fold
from linear.service.log import SqliteLog
from linear.service.store import StateStore
from tests.chaos.clients import OPTIONS, Writer

COMMITS = 5                                 # one more than has to be removed again


def power_loss(folder):
    """The power fails between any two calls of a commit: the state before it or the new one is loaded, after it the new one."""
    folder = Path(folder)
    folder.mkdir()
    log, store, writer = SqliteLog(folder / "log.db"), StateStore(folder / "state"), Writer("p")
    for _ in range(30):
        writer.put([writer.item() for _ in range(10)])
        log.append([event(item) for item in writer.batch])
    fold, calls, committed, loaded, points = Fold(OPTIONS), [], [(0, None)], 0, 0
    with _recorded(calls):
        for _ in range(COMMITS):
            fold.advance(log, 50)
            store.commit(fold, log.id)
            committed.append((len(calls), fold.position))
    for end in range(len(calls) + 1):
        before = [position for at, position in committed if at <= end][-1]
        after = [position for at, position in committed if at > end][:1]
        points += 1
        for disk in _disks(calls[:end]):
            with tempfile.TemporaryDirectory() as scratch:
                for name, data in disk.items():
                    (Path(scratch) / name).write_bytes(data)
                found = StateStore(scratch).load(log.id)
            position = found and found.position
            assert position in [before, *after], f"after {calls[:end][-3:]}: {position} was loaded, {before} was committed"
            loaded += 1
    log.close()
    return {"calls recorded": len(calls), "points between them": points, "disks after a power loss": loaded, "wrong states": 0}


def _disks(calls):
    """{name: bytes} of each disk that there may be after these calls."""
    files, written, flushed, entries = {}, {}, {}, []           # name -> file, file -> its bytes, file -> how many are safe
    durable = {}                                                # name -> file, as the directory was flushed last
    for what, name, *more in calls:
        if what == "create":
            files[name] = len(written)
            written[files[name]], flushed[files[name]] = b"", 0
            entries.append((None, name, files[name]))
        elif what == "write":
            written[files[name]] += more[0]
        elif what == "flush":
            flushed[files[name]] = len(written[files[name]])
        elif what == "rename":
            files[more[0]] = files.pop(name)
            entries.append((name, more[0], files[more[0]]))
        elif what == "remove":
            entries.append((name, None, files.pop(name)))
        else:
            durable, entries = dict(files), []
    for kept in itertools.product((False, True), repeat=len(entries)):
        directory = dict(durable)
        for (old, new, file), keep in zip(entries, kept):
            if keep:
                directory.pop(old, None)
                directory |= {new: file} if new else {}
        loose = [file for file in set(directory.values()) if flushed[file] < len(written[file])]
        for tails in itertools.product(range(4), repeat=len(loose)):
            data = {file: written[file] for file in directory.values()}
            for file, tail in zip(loose, tails):
                safe, rest = written[file][:flushed[file]], written[file][flushed[file]:]
                data[file] = safe + (b"", rest[:len(rest) // 2], bytes(len(rest)), rest)[tail]
            yield {name: data[file] for name, file in directory.items()}


class _Noted:
    """A file whose writes are noted."""

    def __init__(self, file, note):
        self.file, self.note = file, note

    def write(self, data):
        self.note(bytes(data))
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@contextmanager
def _recorded(calls):
    """The calls that change files are noted as well as done."""
    fsync, replace, unlink, base = os.fsync, os.replace, os.unlink, os.path.basename

    def note_open(path, mode):
        file = open(path, mode)
        if mode == "rb":
            return file
        calls.append(("create", base(path)))
        return _Noted(file, lambda data: calls.append(("write", base(path), data)))

    def note_fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        calls.append(("directory" if os.path.isdir(path) else "flush", base(path)))
        fsync(descriptor)

    def note_replace(old, new):
        calls.append(("rename", base(old), base(new)))
        replace(old, new)

    def note_unlink(path, **options):
        calls.append(("remove", base(path)))
        unlink(path, **options)
    with (mock.patch("linear.model_file.open", note_open, create=True), mock.patch("os.fsync", note_fsync),
          mock.patch("os.replace", note_replace), mock.patch("os.unlink", note_unlink)):
        yield
