"""The event log as a Redis stream, for a log that other machines read: event n is the entry `n-0`.

    NAME            the stream: each entry a row as `wire` writes it, and its packed record
    {NAME}:ids      a hash: where the parts of each id are, so that what is sent again is recognised
    {NAME}:about    a hash: identity, packing, the writer's epoch, the first event that was not removed by `trim`
    {NAME}:commands a list: the numbers of all commands

What is stored together is stored by one script, which Redis runs, and writes down, as a whole or not at all. It first
compares what its writer believes: the log's identity, its own epoch, and where the stream ends. So a writer that was
followed by another one writes nothing any more, and a stream that has lost its end, or was replaced, is not continued.
"""
import logging
import uuid
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit

from linear.failpoints import reach
from linear.service.log import LogError, check_trim, command_row, judged
from linear.service.logs.wire import decoded, encoded, extra, followed, patiently, shown

AHEAD = 2000                                # rows that are read in one go
ANSWER = 10.0                               # seconds that a broker may take for an answer
TRIMMED = 1000                              # rows that are removed in one go
_log = logging.getLogger("linear.service")

_OPEN = """
if redis.call('HEXISTS', KEYS[2], 'id') == 0 then
    if redis.call('EXISTS', KEYS[1]) == 1 then return 'foreign' end
    redis.call('HSET', KEYS[2], 'id', ARGV[1], 'first', '1')
end
if ARGV[2] ~= '' then redis.call('HSETNX', KEYS[2], 'packing', ARGV[2]) end
return 'opened'
"""
_APPEND = """
local about = redis.call('HMGET', KEYS[2], 'id', 'epoch')
if about[1] ~= ARGV[1] then return 'another log' end
if about[2] ~= ARGV[2] then return 'another writer' end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if (last and last[1] or '0-0') ~= ARGV[3] .. '-0' then return 'another end' end
for i = 4, #ARGV, 5 do
    redis.call('XADD', KEYS[1], ARGV[i] .. '-0', 'e', ARGV[i + 1], 'r', ARGV[i + 2])
    if ARGV[i + 4] == '' then redis.call('RPUSH', KEYS[4], ARGV[i]) else redis.call('HSET', KEYS[3], ARGV[i + 3], ARGV[i + 4]) end
end
return 'stored'
"""
_TRIM = """
local before, count, first = tonumber(ARGV[1]), 0, nil
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', string.format('%.0f-0', before - 1), 'COUNT', ARGV[2])) do
    local size, start = string.match(entry[2][2], '^%S+ (%d+) ()')
    local name = string.sub(entry[2][2], start, start + size - 1)
    local places = redis.call('HGET', KEYS[3], name)
    if places then
        local x, y = string.match(places, '(%d+) (%d+)')
        if tonumber(x) < before then x = '0' end
        if tonumber(y) < before then y = '0' end
        if x == '0' and y == '0' then redis.call('HDEL', KEYS[3], name) else redis.call('HSET', KEYS[3], name, x .. ' ' .. y) end
    end
    count, first = count + 1, string.format('%.0f', tonumber(string.match(entry[1], '^%d+')) + 1)
end
if first then
    redis.call('XTRIM', KEYS[1], 'MINID', first .. '-0')
    redis.call('HSET', KEYS[2], 'first', first)
end
return count
"""


class RedisLog:
    """An event log in the stream of `redis://[user:password@]host[:port][/database]/stream`. One thread at a time for each object.

    One that stores something raises the epoch: the writer before can store nothing any more. Raises LogError where there is no
    such log or it cannot be used, OSError where the broker is away or refuses; then nothing was stored, or a later attempt
    finds it stored.
    """

    def __init__(self, url, packing=None, readonly=False):
        self._redis = extra("redis", "redis")
        self._errors, self.url, self.newest = self._redis.exceptions, shown(url), []
        self._client, stream = self._connected(url)
        self._keys = [stream, *(f"{{{stream}}}:{what}" for what in ("about", "ids", "commands"))]
        self._ahead, self._epoch, self._last, self._sure = [], None, 0, False
        self._line, self._asked = self._client.connection_pool.make_connection(), None      # of `read` alone; what it was asked for
        try:
            patiently(lambda: self._open(packing, readonly), (self._errors.ConnectionError, self._errors.TimeoutError), url)
        except self._errors.RedisError as error:
            raise LogError(f"{self.url}: not an event log that can be used: {error}") from None

    def append(self, events):
        """Store events, all or none; returns a `Stored` for each once Redis has written them down.

        Raises OSError where it does not say that it has, LogError where this writer may not go on.
        """
        with self._asking():
            self._be_sure()
            known = self._known([event.id for event in events])
            results, rows = judged(events, known, self._last + 1)
            self._store(rows, [f"{known[row.id][0]} {known[row.id][2]}" for row in rows])
        self.newest = rows
        return results

    def command(self, text):
        """Store a command, some JSON; returns its sequence number."""
        with self._asking():
            self._be_sure()
            rows = [command_row(self._last + 1, text)]
            self._store(rows, [""])
        self.newest = rows
        return self._last

    def probe(self):
        """Write something without a meaning; OSError where Redis refuses."""
        with self._asking():
            self._be_sure()
            self._store([], [])
            self._client.hset(self._keys[1], "probed", "")

    def read(self, after, limit, packing=None):
        """The events that follow `after`, at most `limit`, in order; with their records where these are of `packing`."""
        rows = self._ahead
        if not rows or not rows[0].seq <= after + 1 <= rows[-1].seq:
            rows = self._ahead = self._read(after, max(limit, AHEAD))
        start = after + 1 - rows[0].seq if rows else 0
        found = rows[max(0, start):max(0, start) + limit]
        return found if packing and packing == self.packing else [row._replace(record=b"") for row in found]

    def features(self, ids, packing=None):
        """{id: (seq, x, record)} of those ids whose features are in the log."""
        with self._asking():
            places = {name: x for name, (x, _) in self._places(ids).items() if x}
            rows, packed = self._rows(places.values()), packing and packing == self.packing
        return {name: (seq, rows[seq].x, rows[seq].record if packed else b"") for name, seq in places.items() if seq in rows}

    def labels(self, ids):
        """{id: (seq, y)} of those ids whose label is in the log."""
        with self._asking():
            return {name: (known[2], known[3]) for name, known in self._known(ids).items() if known[2]}

    def knows(self, name):
        """Whether an event of this id is in the log."""
        with self._asking():
            return bool(self._places([name]))

    def commands(self, until):
        """[(seq, JSON text)] of all commands up to `until`."""
        with self._asking():
            numbers = [int(number) for number in self._client.lrange(self._keys[3], 0, -1)]
            rows = self._rows([number for number in numbers if number <= until])
        return [(seq, rows[seq].x.decode("utf-8")) for seq in sorted(rows)]

    def first(self):
        """The lowest sequence number, 0 of an empty log."""
        with self._asking():
            return _number(self._client.execute_command(*self._edge("XRANGE", "-", "+")))

    def last(self):
        """The highest sequence number, 0 of an empty log."""
        with self._asking():
            return _number(self._client.execute_command(*self._edge("XREVRANGE", "+", "-")))

    def trim(self, before, needed):
        """Remove the events before `before`; LogError, and nothing is removed, where some of them are `needed`, or all would go.

        Their ids are forgotten, too: what is sent again after that is a new event.
        """
        check_trim(before, needed, self.last())
        with self._asking():
            while self._trim(self._keys, [before, TRIMMED]):
                pass

    def close(self):
        self._line.disconnect()
        self._client.close()

    def _edge(self, command, *ends):
        return command, self._keys[0], *ends, "COUNT", 1

    def _connected(self, url):
        """(client, name of the stream) of an address."""
        parts = urlsplit(url)
        database, _, stream = parts.path.strip("/").rpartition("/")
        if not stream or not (database or "0").isdigit() or set("{}") & set(stream):
            raise LogError(f"{self.url}: no address of a log; expected redis://host:port/stream or redis://host:port/database/stream")
        options = {**dict(parse_qsl(parts.query)), "protocol": "2"}
        from redis.backoff import NoBackoff
        from redis.retry import Retry
        try:
            client = self._redis.Redis.from_url(f"{parts.scheme}://{parts.netloc}/{database}?{urlencode(options)}",
                                                socket_timeout=ANSWER, socket_connect_timeout=ANSWER, retry=Retry(NoBackoff(), 0))
            client.connection_pool.make_connection()            # which looks at its settings
        except (TypeError, ValueError) as error:
            raise LogError(f"{self.url}: the address cannot be used: {error}") from None
        for name in ("XREAD", "XRANGE", "XREVRANGE"):
            client.set_response_callback(name, lambda reply, **_: reply)     # as it comes: dictionaries take longer than learning
        self._append, self._trim = client.register_script(_APPEND), client.register_script(_TRIM)
        return client, stream

    def _open(self, packing, readonly):
        if not readonly:
            self._check_settings()
            if self._client.eval(_OPEN, len(self._keys), *self._keys, uuid.uuid4().hex, packing or "") == b"foreign":
                raise LogError(f"{self.url} is a stream of somebody else: it has entries and no log's identity; take another name")
        pipe = self._client.pipeline()      # all of one moment, for one that only reads
        pipe.hmget(self._keys[1], "id", "packing", "first")
        pipe.xlen(self._keys[0])
        for command in self._edge("XRANGE", "-", "+"), self._edge("XREVRANGE", "+", "-"):
            pipe.execute_command(*command)
        (found, kept, first), length, *edges = pipe.execute()
        if not found:
            raise LogError(f"{self.url}: there is no log of that name; `serve --log` makes one")
        self.id, self.packing = found.decode(), kept.decode() if kept else None
        begins, self._last = map(_number, edges)
        if length != self._last - begins + bool(begins):
            raise LogError(f"{self.url}: events are missing between {begins} and {self._last}: something else writes or deletes")
        if begins > int(first):
            raise LogError(f"{self.url} begins at event {begins}, and only those before {int(first)} were removed by `trim`: "
                           "something else trims the stream (XTRIM, or XADD with MAXLEN); put the stream back from a copy")

    def _check_settings(self):
        """LogError where Redis is set so that it loses events; a warning where it may, or does not tell."""
        try:
            settings = {**self._client.config_get("append*"), **self._client.config_get("maxmemory-policy")}
        except self._errors.ResponseError as error:
            return _log.warning("%s does not tell how it is set (%s): it must have appendonly yes, appendfsync always, "
                                "maxmemory-policy noeviction", self.url, error)
        for name, wanted, why in (("appendonly", "yes", "events would be gone when it ends"),
                                  ("maxmemory-policy", "noeviction", "events would be gone when its memory is full")):
            if settings[name] != wanted:
                raise LogError(f"{self.url}: Redis has {name} {settings[name]}, so {why}; `redis-cli config set {name} {wanted}`, and "
                               "the same in its redis.conf")
        if settings["appendfsync"] != "always":
            _log.warning("%s has appendfsync %s: what was acknowledged survives the end of its process, not of its machine; "
                         "`redis-cli config set appendfsync always` makes it so", self.url, settings["appendfsync"])

    def _store(self, rows, places):
        """Store rows with what `ids` is to say of each, "" for a command."""
        reach("log.begun")
        args = [arg for row, place in zip(rows, places) for arg in (row.seq, encoded(row), row.record, row.id, place)]
        found = self._append(self._keys, [self.id, self._epoch, self._last, *args]).decode()
        reach("log.written")
        if found == "another end":
            self._check_end(self.last())
            raise LogError(f"{self.url}: something else writes to the stream; a log has one writer")
        if found != "stored":
            raise LogError(followed(self.url, found))
        self._last += len(rows)
        reach("log.committed")

    def _be_sure(self):
        """Be the writer, and know where the stream ends: after an attempt whose outcome is not known, too."""
        if self._epoch is None:
            self._epoch = self._client.hincrby(self._keys[1], "epoch", 1)
        if not self._sure:
            end = self.last()
            self._check_end(end)
            self._last, self._sure = end, True

    def _check_end(self, end):
        if end < self._last:
            raise LogError(f"{self.url} ends at event {end}, and event {self._last} was stored: the broker has lost events; put "
                           "its data back, and see that it has appendonly yes and appendfsync always")

    def _read(self, after, limit):
        with self._asking():
            try:
                if self._asked != (after, limit):
                    if self._asked:
                        self._line.disconnect()                 # an answer is on its way that nobody wants
                    self._ask(after, limit)
                found, streams = self._line.read_response(), self._line.read_response()
                self._asked = None
                if streams and len(streams[0][1]) == limit:     # Redis looks for the next ones while these are learned
                    self._ask(int(streams[0][1][-1][0][:-2]), limit)
            except BaseException:
                self._line.disconnect()
                self._asked = None
                raise
            if found != self.id.encode():
                raise LogError(f"{self.url}: another log is at this address now, {found and found.decode()} instead of {self.id}")
            if not streams and self.last() < after:
                raise LogError(f"{self.url} ends before event {after}, which was read from it: the broker has lost events")
        return self._decoded(streams[0][1] if streams else ())

    def _ask(self, after, limit):
        """Ask for the events after `after`, and for whose they are."""
        self._line.send_packed_command(self._line.pack_commands([
            ("HGET", self._keys[1], "id"), ("XREAD", "COUNT", limit, "STREAMS", self._keys[0], f"{after}-0")]))
        self._asked = after, limit

    def _decoded(self, entries):
        try:
            return [decoded(int(number[:-2]), data, record) for number, (_, data, _, record) in entries]
        except (KeyError, ValueError) as error:
            raise LogError(f"{self.url}: the stream has an entry that is no event: {error!r}") from None

    def _rows(self, numbers):
        """{seq: row} of those numbers that are in the log."""
        pipe = self._client.pipeline(transaction=False)
        for number in set(numbers):
            pipe.execute_command("XRANGE", self._keys[0], f"{number}-0", f"{number}-0")
        return {row.seq: row for row in self._decoded([entry for entries in pipe.execute() for entry in entries])}

    def _places(self, ids):
        """{id: (number of x, number of y)} of those ids that are in the log; 0 for what is not."""
        ids = list(dict.fromkeys(ids))
        found = self._client.hmget(self._keys[2], ids) if ids else ()
        return {name: tuple(map(int, places.split())) for name, places in zip(ids, found) if places}

    def _known(self, ids):
        """{id: [number of x, x, number of y, y]} of those ids that are in the log."""
        places = self._places(ids)
        rows = self._rows([number for pair in places.values() for number in pair if number])
        try:
            return {name: [x, rows[x].x if x else None, y, rows[y].y if y else None] for name, (x, y) in places.items()}
        except KeyError as error:
            raise LogError(f"{self.url}: event {error} is gone, and not by `trim`: something else deletes there") from None

    @contextmanager
    def _asking(self):
        try:
            yield
        except self._errors.RedisError as error:
            self._sure = False
            raise OSError(f"{self.url}: {error}") from error


def _number(entries):
    return int(entries[0][0].partition(b"-")[0]) if entries else 0
