"""Several learners, and what belongs to them, in one model file: checksummed, atomic, without pickle.

The file is `model_file`'s: its header holds the caller's entries, its arrays hold the learners' own model files, byte by byte.
"""
import os
import tempfile
from array import array

from linear.model_file import ModelFileError, read, write
from linear.svm import HingeSVM


def save(path, header, models):
    """Write {name: learner} and the dictionary `header`, whose "model" says what the bundle is, to one file."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = {}
        for number, model in enumerate(models.values()):
            part = os.path.join(folder, str(number))
            model.save(part)
            with open(part, "rb") as file:
                arrays[f"model{number}"] = array("B", file.read())
            os.unlink(part)
        write(path, {**header, "models": list(models)}, arrays)


def load(path, kind):
    """(header, {name: HingeSVM}) of what `save` wrote; ModelFileError where the file is no bundle of that kind."""
    header, arrays = read(path)
    if header.get("model") != kind or "models" not in header:
        raise ModelFileError(f"{path}: holds a model of kind {header.get('model')!r}, expected {kind!r}")
    models = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(header["models"]):
            part = os.path.join(folder, str(number))
            with open(part, "wb") as file:
                file.write(arrays[f"model{number}"])
            models[name] = HingeSVM.load(part)
            os.unlink(part)
    return header, models


def kind_of(path):
    """What a model file says that it holds: "HingeSVM", "Prepared", "OneAgainstAll".

    Raises ModelFileError for a file that is damaged or none of ours.
    """
    return read(path)[0].get("model")
