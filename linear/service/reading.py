"""Requests as bytes to what they mean, by compiled loops; what these leave to Python, `events` reads, with the same result.

That is what is rare: escapes, a field without a name, and everything that will be refused.
"""
import json

import numpy as np

import linear.kernels.layout as at
from linear.engine import CompiledLearner
from linear.features import FeatureError
from linear.service.events import MOST_EVENTS, MOST_FEATURES, Event, encoded
from linear.service.packing import packing

FEW = 40                                    # features, of which crosses can make only so many


class Reader:
    """Reads for a model of these options. One thread at a time; reading many lets other threads run meanwhile.

    >>> reader = Reader({})
    >>> reader.events_of(b'{"id": "ev-7", "x": {"user": "u17"}, "y": true}')[0][:3]
    ('ev-7', b'{"user":"u17"}', 1)
    >>> reader.events_of(b'{"id": "ev-8", "y": 3}') is None
    True
    """

    def __init__(self, options):
        self.usable, self.most = packing(options) is not None, FEW if options.get("crosses") else MOST_FEATURES
        if not self.usable:
            return
        from linear.kernels import json_text                    # numba, which other engines do without
        self._one, self._many, self._room = json_text.read_event, json_text.read_events, _room(1 << 14)
        self._ints = CompiledLearner(bits=options.get("bits"), all_=options.get("hash") == "all").ints
        self._ints[at.GIVEN] = self.most
        self._work = np.zeros(3 * (MOST_FEATURES + 1), np.uint64)
        self._rows = np.zeros(MOST_EVENTS * at.ROW, np.int64)
        self.events_of(b'{"id":"a","y":1}')                     # the loops are compiled, or loaded, before anybody waits for them

    def margin(self, model, body):
        """The margin of a request {"x": {...}}, None where Python has to read it."""
        if not self.usable or not valid(body):
            return None
        try:
            return model.loops.margin_of_json(body, self.most)
        except FeatureError:                # beyond all measure; Python says which feature it was
            return None

    def events_of(self, body):
        """[the checked Event] of a request's bytes; None where Python has to read it."""
        if self._found(body, at.ONE_EVENT) < 0:
            return None
        _, words, compact = self._room
        name, name_end, start, end, y, record, record_end, raw, raw_end = self._rows[:at.ROW].tolist()
        x = encoded(json.loads(body[raw:raw_end])) if raw_end else compact[start:end].tobytes()
        return [Event(body[name:name_end].decode(), x, y or None, words[record:record_end].tobytes())]

    def batch_of(self, body):
        """The checked Events of a request {"events": [...]}; None where Python has to read it."""
        if (read := self._read(body, at.MANY_EVENTS)) is None:
            return None
        (ids, id_ends, texts, text_ends, ys, _, _, raws, raw_ends), compact, records = read
        xs = [compact[start:end] for start, end in zip(texts, text_ends)]
        if any(raw_ends):                   # numbers that are not written as Python writes them
            xs = [encoded(json.loads(body[start:end])) if end else x for x, start, end in zip(xs, raws, raw_ends)]
        if body.isascii():
            body = body.decode()            # all in one go, where characters are bytes
            names = [body[start:end] for start, end in zip(ids, id_ends)]
        else:
            names = [body[start:end].decode() for start, end in zip(ids, id_ends)]
        return list(map(Event._make, zip(names, xs, [y or None for y in ys], records)))

    def record(self, x):
        """The record of features that were checked, as the log keeps them; b"" where the loops leave them to Python."""
        if not self.usable:
            return b""
        self._ints[at.GIVEN] = MOST_FEATURES
        read = self.events_of(b'{"id":"a","x":%s}' % x)
        self._ints[at.GIVEN] = self.most
        return read[0].record if read else b""

    def rows_of(self, body):
        """The records of the rows of a request {"rows": [{"x": {...}}, ...]}; None where Python has to read it."""
        read = self._read(body, at.MANY_ROWS)
        return None if read is None else read[2]

    def _found(self, body, what):
        """How many events the loops have found, and left in `_rows` and `_room`; -1 where Python has to read the request."""
        if not self.usable or not valid(body):
            return -1
        size, (text, words, compact) = len(body), self._room
        if size + 16 > len(text):
            text, words, compact = self._room = _room(2 * size + 16)
        text.data[:size], text[size] = body, 0
        read = self._one if what == at.ONE_EVENT else self._many
        return read(text, size + 1, what, self._work, words, compact, self._rows, self._ints)

    def _read(self, body, what):
        """(numbers of the events by column, all features without blanks, records), None where Python has to read it."""
        if (count := self._found(body, what)) < 0:
            return None
        _, words, compact = self._room
        columns = self._rows[:count * at.ROW].reshape(-1, at.ROW).T.tolist()
        kept = words[:max(columns[at.RECORD_END], default=0)].tobytes()
        written = compact[:max(columns[at.TEXT_END], default=0)].tobytes()
        return columns, written, [kept[8 * start:8 * end] for start, end in zip(columns[at.RECORD], columns[at.RECORD_END])]


def _room(size):
    """(text, records, features without blanks) of a request of that many bytes."""
    return np.zeros(size, np.uint8), np.zeros(size, np.uint64), np.zeros(size, np.uint8)


def valid(body):
    """Whether bytes are UTF-8."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return False
    return True
