"""Where the state is kept between starts: the three newest, each one file that is believed only if its checksum agrees."""
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np

from linear.failpoints import reach
from linear.model_file import ModelFileError, make_directory, read, write
from linear.service.fold import Fold

KEPT = 3
_NAME = re.compile(r"state-(\d{19})")


class StateError(RuntimeError):
    """No state can be loaded, and starting from nothing is not ours to decide."""


def this_build():
    """What the bits of a state may depend on beside the log: {"python": .., "numpy": .., "numba": .., "machine": ..}."""
    return {"python": platform.python_version(), "machine": platform.machine(),
            **{name: version(name) for name in ("numpy", "numba")}}


class StateStore:
    """State files in a directory, named by position; a commit is atomic and durable, or raises OSError.

    >>> import tempfile
    >>> store = StateStore(tempfile.mkdtemp())
    >>> store.load("log-1") is None, store.commit(Fold({}), "log-1").name
    (True, 'state-0000000000000000000')
    >>> store.load("log-1").position
    0
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.damaged, self.build = [], None     # of the last `load`: what it did not believe, as texts; by what its state was made

    def commit(self, fold, log_id, build=None):
        """Write the state of the log `log_id`, then forget all but the newest KEPT; returns the file's path.

        Raises OSError where the disk refuses, StateError for numbers that are not finite: those before stay the newest.
        """
        header, arrays = fold.parts()
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise StateError(f"the state at event {fold.position} is not written: {name!r} has numbers that are not finite")
        make_directory(self.folder)
        path = self.folder / f"state-{fold.position:019d}"
        write(path, {**header, "log": log_id, "build": build or this_build()}, arrays)
        for old in self.files()[KEPT:]:
            old.unlink()
        reach("state.old_removed")
        return path

    def load(self, log_id):
        """The newest state that is whole, None where there never was one.

        Raises StateError where all are damaged, or one is whole but of another log.
        """
        self.damaged, files = [], self.files()
        for path in files:
            try:
                header, arrays = read(path)
                if header["log"] != log_id:
                    raise StateError(f"{path} belongs to log {header['log']}, this one is {log_id}: a state continues its own log only")
                self.build = header["build"]
                return Fold.of_parts(header, arrays)
            except FileNotFoundError:       # an old one, which a running service has just removed
                continue
            except (ModelFileError, OSError, KeyError, TypeError, ValueError) as error:
                self.damaged.append(str(error))
        if files:
            raise StateError(f"all {len(files)} state files in {self.folder} are damaged ({self.damaged[0]}). Move them away to have the "
                             "state computed again from the log, or restore one")
        return None

    def files(self):
        """State files, the newest first."""
        found = [path for path in self.folder.glob("state-*") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.name, reverse=True)

    @staticmethod
    def position(path):
        """The position of a state file, by its name."""
        return int(_NAME.fullmatch(path.name)[1])

    def clean(self):
        """Remove what a killed process left half-written; only the one that holds the directory's lock may."""
        for path in self.folder.glob("*.tmp"):
            os.unlink(path)
