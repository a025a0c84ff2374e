"""Models that stay as they are: frozen versions, and which one answers.

    models/v<seq>-<hash8>/model, about.json     written once, never changed: the model at event seq, and a sample of margins
    models/pointer.json                         {"history": ["live", "v120-0a1b2c3d"], "shadow": null, "split": null}; the last
                                                one answers, and a split ["v90-4e5f6a7b", 0.1] that share of the ids in its place

The pointer is swapped by a rename, the model that answers by one assignment: requests on their way end with the old one.
"""
import json
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from linear.model_file import ModelFileError, replace_file, sync_directory
from linear.svm import HingeSVM

LIVE = "live"                               # the name of the model that learns
SAMPLE = 20                                 # examples of a version's self-test
KEPT = 100                                  # entries of the history
_NAME = re.compile(r"v(\d+)-[0-9a-f]{8}")


class Version(NamedTuple):
    """A frozen model that is loaded."""
    name: str
    seq: int
    model: HingeSVM


class Registry:
    """The versions in a folder; `active` is the Version that answers, None where that is the live model.

    >>> import tempfile
    >>> registry, model = Registry(tempfile.mkdtemp()), HingeSVM()
    >>> model.learn_one({"user": "ann"}, 1)
    >>> name = registry.freeze(model, 1, "0a1b2c3d" * 8, [{"user": "ann"}, {"user": "bob"}])
    >>> registry.activate(name)
    >>> registry.active.name, registry.active.model.predict_one({"user": "ann"}), registry.rollback(name)
    ('v1-0a1b2c3d', 1, 'live')
    """

    def __init__(self, folder):
        self.folder, self.active = Path(folder), None
        pointer = self.folder / "pointer.json"
        found = json.loads(pointer.read_text(encoding="utf-8")) if pointer.exists() else {}
        self.history, self.shadow, self.split = found.get("history", [LIVE]), found.get("shadow"), found.get("split")
        self.active = self._loaded(self.history[-1])
        self.other = self._loaded(self.split[0]) if self.split else None

    def names(self):
        """The versions, the oldest first."""
        found = [path.name for path in self.folder.glob("v*") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda name: (int(_NAME.fullmatch(name)[1]), name))

    def freeze(self, model, seq, digest, sample):
        """Keep a model as it is now; returns its name. The margins of `sample`, dictionaries of features, test it when loaded."""
        name = f"v{seq}-{digest[:8]}"
        final, made = self.folder / name, self.folder / f"{name}.tmp"
        if not final.exists():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            model.save(made / "model")
            about = {"seq": seq, "state_sha256": digest, "sample": [[x, model.margin_one(x)] for x in sample]}
            replace_file(made / "about.json", json.dumps(about).encode())
            os.replace(made, final)
            sync_directory(self.folder)
        return name

    def load(self, name):
        """The Version of that name, tested on its sample. LookupError where there is none; ModelFileError where it is damaged."""
        path = self.folder / name
        if not _NAME.fullmatch(name) or not path.is_dir():
            raise LookupError(f"there is no model {name!r}; there are {', '.join([LIVE, *self.names()])}")
        model, about = HingeSVM.load(path / "model"), json.loads((path / "about.json").read_text(encoding="utf-8"))
        for x, margin in about["sample"]:
            if (now := model.margin_one(x)) != margin:
                raise ModelFileError(f"{path}: the self-test gives margin {now!r}, it was {margin!r} when the model was frozen")
        return Version(name, about["seq"], model)

    def activate(self, name):
        """Let the model of that name answer."""
        active = self._loaded(name)
        self._point(history=[*self.history, name][-KEPT:])
        self.active = active

    def rollback(self, name):
        """Let the one answer that did before `name`, which must be the one that answers now (else ValueError); returns its name."""
        if name != self.history[-1] or len(self.history) < 2:
            raise ValueError(f"model {name!r} does not answer now, or none did before it; {self.history[-1]!r} answers")
        active = self._loaded(self.history[-2])
        self._point(history=self.history[:-1])
        self.active = active
        return self.history[-1]

    def set_shadow(self, options):
        """Remember the options of the shadow, None for no shadow."""
        self._point(shadow=options)

    def divide(self, name, share):
        """Let the model of that name answer for a share of the ids; none of them ends that."""
        other = self._loaded(name)
        self._point(split=[name, share] if share else None)
        self.other = other

    def _loaded(self, name):
        return None if name == LIVE else self.load(name)

    def _point(self, **changes):
        told = {"history": self.history, "shadow": self.shadow, "split": self.split, **changes}
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / "pointer.json", json.dumps(told).encode())
        self.history, self.shadow, self.split = told.values()
