"""What the brokers' adapters share: a row as bytes, an address that may be shown, an extra that may be missing, patience."""
import importlib
import random
import time
from functools import partial
from urllib.parse import urlsplit

from linear.service.log import COMMAND, LogError, Row

PATIENCE = 5.0                              # seconds that a broker may take to be there when a log is opened
_HEADS = {b"x": ("x", None), b"y+": ("y", 1), b"y-": ("y", -1), b"xy+": ("xy", 1), b"xy-": ("xy", -1), b"command": (COMMAND, None)}
_NAMES = {head: name for name, head in _HEADS.items()}
_row = partial(tuple.__new__, Row)          # a third of the price of Row(...)


def encoded(row):
    """A row without its number and its record: kind and label, length of the id, id, features.

    >>> encoded(Row(7, "ev-7", "xy", b'{"u":"ann"}', 1))
    b'xy+ 4 ev-7{"u":"ann"}'
    """
    name = row.id.encode()
    return b"%b %d %b%b" % (_NAMES[row.kind, row.y], len(name), name, row.x)


def decoded(seq, data, record):
    """The row of such bytes; ValueError or KeyError where they are none.

    >>> decoded(7, b"y- 4 ev-7", b"")
    Row(seq=7, id='ev-7', kind='y', x=b'', y=-1, record=b'')
    """
    head, size, rest = data.split(b" ", 2)
    (kind, y), end = _HEADS[head], int(size)
    return _row((seq, rest[:end].decode(), kind, rest[end:], y, record))


def shown(url):
    """An address without what nobody else should read.

    >>> shown("redis://me:secret@host:6379/events?ssl_keyfile=mine")
    'redis://host:6379/events'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def extra(module, name):
    """An imported module; LogError, naming the extra to install, where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise LogError(f'a log at {name}:// needs {module}, which is not installed: pip install "tinygrad-lite[{name}]"') from None


def followed(url, what="another writer"):
    """What a writer says that may not go on."""
    return f"{url}: {what} has taken its place since this one began; this one stores nothing any more"


def patiently(work, passing, url):
    """work(), tried again for a while where it raises one of the exceptions `passing`; LogError when that is over."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except passing as error:
            if time.monotonic() > until:
                raise LogError(f"{shown(url)}: the broker cannot be used: {error}; start it, or correct the address") from None
            time.sleep(random.uniform(0.05, 0.3))
