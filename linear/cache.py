"""A binary cache of parsed examples: what text costs to read is paid once, for any number of passes, rules and crosses.

    magic 8 bytes | length u64 | header, UTF-8 JSON | blocks | last block

A block is its length u64, its CRC-32 u64, and records (`linear.kernels.cached`); the last one has length 0 and holds, as
JSON, how many lines were malformed. The header tells what was read, and how: the size and time of the text, the format and
the names of its special fields, and the id of the hash. A cache of anything else is refused, never used in silence.
"""
import json
import os
import struct
import zlib
from array import array

import numpy as np

import linear.kernels.layout as at
from linear.engine import CompiledLearner
from linear.features import FeatureError
from linear.keys import field_id, first_letter
from linear.model_file import ModelFileError
from linear.progress import Totals
from linear.stream import Job, run, run_examples

MAGIC, VERSION = b"lin-cac\n", 1
_BLOCK = struct.Struct("<QQ")
WORDS = 1 << 17                            # of a block, unless one record is longer


class CacheError(ModelFileError):
    """A cache that cannot be believed, or is of another text or other options; the message says which."""


def described(path, reads, keys_id):
    """The header of a cache of this file: `reads` is how it is read, `keys_id` the hash."""
    told = os.stat(path)
    return {"version": VERSION, "size": told.st_size, "time": told.st_mtime_ns, "reads": reads, "keys": keys_id}


def make(path, header, model, stream, parse, file, strict=False, on_malformed=None):
    """Write the cache of a stream of lines, for models of this one's hash: to a file beside `path` first, then renamed."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as out:
            text = json.dumps(header).encode()
            out.write(MAGIC + struct.pack("<Q", len(text)) + text)
            packer = _Packer(model, out)
            totals = run(packer, stream, parse, file, strict=strict, on_malformed=on_malformed)
            packer.flush()
            text = json.dumps({"malformed": totals.malformed}).encode()
            out.write(_BLOCK.pack(0, zlib.crc32(text)) + text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def learn(model, path, header, *, learn=True, strict=False, totals=None, progress=None, on_example=None, on_malformed=None):
    """`stream.run` from a cache, which must have this header; raises CacheError where it has not, or is damaged."""
    job = Job(model, None, path, learn, strict, Totals() if totals is None else totals, progress, on_example, on_malformed)
    learner, number, buffer = model.loops, 0, bytearray(8 * WORDS + 8)
    learner.begin(results=bool(on_example))
    with open(path, "rb") as file:
        _check(path, file, header)
        while True:
            head = file.read(_BLOCK.size)
            size, checksum = _BLOCK.unpack(head) if len(head) == _BLOCK.size else (0, -1)
            number += 1
            if size > os.fstat(file.fileno()).st_size:
                size, checksum = 0, -1
            if size > len(buffer) - 8:
                buffer = bytearray(size + 8)
            data = memoryview(buffer)[:file.readinto(memoryview(buffer)[:size])] if size else file.read()
            if zlib.crc32(data) != checksum or size and len(data) != size:
                raise CacheError(f"{path}: damaged in block {number}: its checksum does not agree; delete the file, and it is "
                                 "made anew")
            if not size:
                break
            run_examples(job, learner, CompiledLearner.CACHED, buffer, 0, size, lambda start: _refused(job, learner, buffer, start))
    job.totals.malformed += json.loads(data)["malformed"]
    return job.totals


def _check(path, file, header):
    head = file.read(16)
    if head[:8] != MAGIC:
        raise CacheError(f"{path}: no cache of linear: it begins with {head[:8]!r}, expected {MAGIC!r}")
    try:
        found = json.loads(file.read(min(1 << 20, struct.unpack("<Q", head[8:])[0])))
    except (struct.error, ValueError):
        raise CacheError(f"{path}: damaged: its header makes no sense; delete the file, and it is made anew") from None
    for name, value in json.loads(json.dumps(header)).items():
        if found.get(name) != value:
            what = {"version": "in another format version", "keys": "with another hash", "reads": "with other options of reading"}
            raise CacheError(f"{path}: made {what.get(name, 'of another text (its size or time has changed)')}: {name} "
                             f"{found.get(name)!r}, now {value!r}; delete the file, and it is made anew")


def _refused(job, learner, buffer, start):
    """Count the record at `start`, which the model cannot take; returns where the next one begins."""
    from linear.kernels import cached as kernels
    job.refuse(FeatureError("the margin, or a product of values, is beyond what the model can hold, or its crosses are too many; "
                            "read the text without the cache to see which"), learner.next_line())
    words = np.frombuffer(buffer, np.uint64, count=len(buffer) // 8)[start // 8:]
    head, place = int(words[0]), 1
    if head & kernels.MORE:
        place += 3 + (int(words[3]) + 7) // 8
    fields, features = head >> kernels.FIELDS & kernels.MOST_FIELDS, head >> kernels.FEATURES & kernels.MOST_FEATURES
    place += (fields + 1) // 2 + (0 if head >> kernels.BACK else 2 * fields) + features * (2 if head & kernels.VALUES else 1)
    return start + 8 * place


class _Packer:
    """Takes the place of a model and of its compiled learner in `stream.run`: learns nothing, writes records."""

    def __init__(self, model, out):
        self.scheme, self.parser_for, self.out = model.scheme, model.parser_for, out
        options = model.options
        learner = CompiledLearner(bits=options["bits"], all_=options["hash"] == "all", crosses=[(1, 2, 0, 0, 0)])
        self.ints, self.reals, self.work, self.next_line = learner.ints, learner.reals, learner.work, learner.next_line
        self.words, self.held = np.zeros(WORDS, np.uint64), array("Q")

    def loops_read(self, parse):
        return (self, CompiledLearner.READS[parse]) if parse in CompiledLearner.READS else None

    def begin(self, results=False):
        pass

    def run(self, buffer, start, end, what, learning, stop, totals):
        from linear.kernels.cached import pack
        ints, text = self.ints, np.frombuffer(buffer, np.uint8)
        ints[at.FORMAT] = what
        while True:
            start = pack(text, start, end, self.work, self.words, ints, self.reals)
            why, size = int(ints[at.STATUS]), int(ints[at.OUT])
            if size:
                self.flush()
                self.write(self.words[:size].tobytes())
            if why == at.MORE_ROOM and len(self.work) < 3 << 21:
                self.work = np.zeros(2 * len(self.work), np.uint64)
            elif why == at.STOPPED and not size:
                self.words = np.zeros(2 * len(self.words), np.uint64)
            elif why != at.STOPPED:
                return start, why != at.DONE

    def take(self, example, learn=True):
        """Keep the record of an example that Python has parsed."""
        from linear.kernels import cached as kernels
        tag = example.tag.encode("utf-8", "surrogateescape")
        keys, values, sizes, fields, mark = [], [], array("I"), array("Q"), 1 << 63 if self.scheme.bits else 0
        for field, part in example.fields:
            key, letter = field_id(field)
            fields.extend((key & (1 << 64) - 1, letter | (ord(first_letter(field, part[0][0])) if part else letter) << 32))
            sizes.append(len(part))
            keys += [self.scheme.of(text) | mark for text, _ in part]
            values += [value for _, value in part]
        if len(sizes) > at.SEGMENTS or len(keys) > kernels.MOST_FEATURES:
            raise FeatureError(f"the example has {len(keys)} features in {len(sizes)} fields; a cache holds at most "
                               f"{kernels.MOST_FEATURES} in {at.SEGMENTS}")
        head, record = (example.label or 0) + 1 | len(sizes) << kernels.FIELDS | len(keys) << kernels.FEATURES, bytearray()
        if tag or (example.weight, example.initial) != (1.0, 0.0):
            head |= kernels.MORE
            record += struct.pack("=ddQ", example.weight, example.initial, len(tag)) + tag + bytes(-len(tag) % 8)
        record += sizes.tobytes() + bytes(len(sizes) % 2 * 4) + fields.tobytes() + array("Q", keys).tobytes()
        if any(value != 1.0 for value in values):
            head |= kernels.VALUES
            record += array("d", values).tobytes()
        self.held.append(head)
        self.held.frombytes(bytes(record))
        if len(self.held) >= WORDS:
            self.flush()
        return 0.0, len(keys)

    def flush(self):
        if self.held:
            self.write(self.held.tobytes())
            self.held = array("Q")

    def write(self, data):
        self.out.write(_BLOCK.pack(len(data), zlib.crc32(data)) + data)
