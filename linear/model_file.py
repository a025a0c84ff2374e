"""One file for a model: a JSON header, named arrays, a checksum over all of it.

    magic 8 bytes | version u32 | header length u64 | header, UTF-8 JSON | arrays, one after the other | SHA-256

All numbers are little-endian. The header's "arrays" lists [name, type, count] of what follows it; the rest of the
header belongs to the caller. Nothing in a file is ever run as code, and nothing is believed before the
checksum agrees.
"""
import hashlib
import json
import os
import struct
import sys
import threading
from array import array

from linear.failpoints import reach

MAGIC = b"lin-svm\n"
VERSION = 1
_HEAD = struct.Struct("<8sIQ")
_CHECKSUM_BYTES = 32
_TYPES = {"d": "<f8", "f": "<f4", "Q": "<u8", "B": "|u1"}     # array typecode -> the name in the file
_TYPECODES = {name: code for code, name in _TYPES.items()}


class ModelFileError(ValueError):
    """A model file that cannot be written or believed; the message names the file and what is wrong with it."""


class VersionError(ModelFileError):
    """A file that is whole, of another version of the format."""


def write(path, header, arrays):
    """Write atomically: all of it to a temporary file beside `path`, flushed to disk, then renamed over it.

    `header` is a dictionary for JSON, `arrays` {name: array.array of type d, f, Q or B}. A crash at any moment leaves
    the old file or the new one. Raises OSError where the disk refuses, ModelFileError where `path` is no place for a file.
    """
    path = os.path.realpath(path)       # through a symbolic link, so that the link stays a link
    if os.path.exists(path) and not os.path.isfile(path):
        raise ModelFileError(f"{path}: not a regular file, so no model is written over it")
    listed = [[name, _TYPES[values.typecode], len(values)] for name, values in arrays.items()]
    text = json.dumps({**header, "arrays": listed}, sort_keys=True, allow_nan=False).encode("utf-8")
    parts = [_HEAD.pack(MAGIC, VERSION, len(text)), text, *map(_little_endian, arrays.values())]
    temporary = f"{path}.{os.getpid()}.{threading.get_ident()}.tmp"
    reach("state.begun")
    try:
        _write_through(temporary, parts)
        reach("state.flushed")
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    reach("state.renamed")
    sync_directory(os.path.dirname(path))
    reach("state.directory_flushed")


def read(path):
    """(header, {name: array}) of a file that `write` wrote; ModelFileError for any other or damaged one."""
    with open(path, "rb") as file:
        data = file.read()
    if not data.startswith(MAGIC):
        raise ModelFileError(f"{path}: not a model file of linear: it begins with {data[:8]!r}, expected {MAGIC!r}")
    body, checksum = memoryview(data)[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if len(data) < _HEAD.size + _CHECKSUM_BYTES or hashlib.sha256(body).digest() != checksum:
        raise ModelFileError(f"{path}: damaged: the SHA-256 checksum of its {len(data)} bytes does not agree; "
                             "take an earlier copy or train again")
    _, version, length = _HEAD.unpack_from(body)
    if version != VERSION:
        raise VersionError(f"{path}: written in format version {version}, this program reads version {VERSION}; "
                           "use the program that wrote it, or a newer one")
    try:
        header = json.loads(bytes(body[_HEAD.size:_HEAD.size + length]))
        return header, _arrays(body[_HEAD.size + length:], header.pop("arrays"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path}: the checksum agrees but the header makes no sense ({error})") from None


def pack_texts(texts):
    """Strings as two arrays: all their UTF-8 bytes, and where each ends. Half surrogates survive, too.

    >>> pack_texts(["ab", "", "c"])
    (array('B', [97, 98, 99]), array('Q', [2, 2, 3]))
    """
    encoded, ends, end = [], array("Q"), 0
    for text in texts:
        encoded.append(text.encode("utf-8", "surrogatepass"))
        end += len(encoded[-1])
        ends.append(end)
    return array("B", b"".join(encoded)), ends


def unpack_texts(octets, ends):
    """The inverse of `pack_texts`.

    >>> unpack_texts(*pack_texts(["user=u1", "h\\u00e9"])) == ["user=u1", "h\\u00e9"]
    True
    """
    data = octets.tobytes()
    return [data[start:end].decode("utf-8", "surrogatepass") for start, end in zip([0, *ends], ends)]


def _write_through(path, parts):
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for i, part in enumerate(parts):
            digest.update(part)
            file.write(part)
            if i == len(parts) // 2:
                file.flush()
                reach("state.half_written")
        file.write(digest.digest())
        file.flush()
        reach("state.written")
        os.fsync(file.fileno())


def replace_file(path, data):
    """Write bytes to a small file, atomically and durably: the old ones or the new ones are there, whatever happens."""
    temporary = f"{path}.tmp"
    reach("small.begun")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        reach("small.written")
        os.fsync(file.fileno())
    reach("small.flushed")
    os.replace(temporary, path)
    reach("small.renamed")
    sync_directory(os.path.dirname(os.path.abspath(path)))
    reach("small.directory_flushed")


def make_directory(path):
    """Make a directory, and those above it, durably; `path` is a pathlib.Path."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path):
    """Have the directory's entries on disk, so that a file renamed in it keeps its new name after a power loss."""
    if os.name == "posix":              # elsewhere a directory cannot be opened, and a rename needs no flush
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _little_endian(values):
    if sys.byteorder == "big":
        values = array(values.typecode, values)
        values.byteswap()
    return values.tobytes()


def _arrays(body, listed):
    arrays, start = {}, 0
    for name, kind, count in listed:
        values = array(_TYPECODES[kind])
        end = start + count * values.itemsize
        values.frombytes(body[start:end])
        if len(values) != count:
            raise ValueError(f"array {name!r} is cut short")
        if sys.byteorder == "big":
            values.byteswap()
        arrays[name], start = values, end
    if start != len(body):
        raise ValueError(f"{len(body) - start} bytes belong to no array")
    return arrays
