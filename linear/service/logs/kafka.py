"""The event log as a Kafka topic, for sites that have Kafka: partition 0 is the log of record, for one state needs one order.

Kafka finds nothing by id, so copy.db in the service's directory is a copy of the topic, made from it and never the other way
round: it recognises what is sent again, and answers `read` and `features`. Where it ends is kept in the copy itself, in the
same transaction; Kafka's own consumer offsets are not used. A copy that was removed is made anew when the log is opened.

    key     sequence number: offsets have gaps, where transactions end
    value   the row as `wire` writes it
    headers log: its identity; packing: what its records are; record: the packed record

What is stored together is one transaction of the writer `linear-TOPIC`; who begins to write has Kafka refuse the writer before.
Readers see committed transactions only.
"""
import shutil
import tempfile
import weakref
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlsplit

from linear.failpoints import reach
from linear.service.log import LogError, SqliteLog, check_trim, command_row, judged
from linear.service.logs.wire import decoded, encoded, extra, followed, patiently, shown

ANSWER = 10.0                               # seconds that a broker may take for an answer
AHEAD = 2000                                # messages that are read in one go
FLUSHED = 10_000                            # rows that wait in memory to be sent


class KafkaLog(SqliteLog):
    """An event log in the topic of `kafka://host:port[,host:port ..]/topic[?librdkafka.setting=value&..]`, with a copy in a file.

    `readonly` takes a copy of its own, of the topic as it is now, and leaves the writer alone. Errors are those of `RedisLog`.
    """

    def __init__(self, url, path, packing=None, readonly=False):
        self._kafka, self.url = extra("confluent_kafka", "kafka"), shown(url)
        parts = urlsplit(url)
        self._topic, self._producer = parts.path.strip("/"), None
        self._finish = None                 # to be called before the next transaction, where it is not known how the last one ended
        if not parts.netloc or not self._topic or "/" in self._topic:
            raise LogError(f"{self.url}: no address of a log; expected kafka://host:port/topic")
        self._settings = {"bootstrap.servers": parts.netloc, "log_level": 2, **dict(parse_qsl(parts.query))}
        try:
            self._consumer = self._kafka.Consumer({
                **self._settings, "group.id": "linear", "enable.auto.commit": False, "auto.offset.reset": "error",
                "isolation.level": "read_committed", "enable.partition.eof": True, "fetch.wait.max.ms": 10})
            if not readonly:
                self._producer = self._kafka.Producer({
                    **self._settings, "transactional.id": f"linear-{self._topic}", "enable.idempotence": True})
                self._finish = self._producer.init_transactions         # from then on the writer before is refused
        except self._kafka.KafkaException as error:
            raise LogError(f"{self.url}: the address cannot be used: {error.args[0].str()}") from None
        if readonly:
            folder = tempfile.mkdtemp(prefix="kafka-log-")
            path = f"{folder}/copy.db"
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        super().__init__(path, packing=packing)
        self._db.executescript("""
            CREATE TABLE IF NOT EXISTS offsets (seq INTEGER PRIMARY KEY, start INTEGER NOT NULL);
            INSERT OR IGNORE INTO about VALUES ('offset', '0');
        """)
        try:
            patiently(self._open, (OSError,), url)
            if readonly and not self.last():
                raise LogError(f"{self.url}: there is no log of that name; `serve --log` makes one")
        except LogError:
            self.close()
            raise

    def append(self, events):
        """Store events, all or none; returns a `Stored` for each once the brokers have them.

        Raises OSError where they do not say so, LogError where this writer may not go on.
        """
        with self._asking():
            self._be_sure()
            results, rows = judged(events, self._known([event.id for event in events]), self.last() + 1)
            self._publish(rows)
        self.newest = rows
        return results

    def command(self, text):
        """Store a command, some JSON; returns its sequence number."""
        with self._asking():
            self._be_sure()
            self.newest = [command_row(self.last() + 1, text)]
            self._publish(self.newest)
        return self.newest[0].seq

    def probe(self):
        """OSError where the brokers do not answer."""
        with self._asking():
            self._be_sure()
            self._producer.list_topics(self._topic, ANSWER)

    def trim(self, before, needed):
        """Have Kafka remove events before `before`, up to where a transaction began; LogError as for the other logs."""
        check_trim(before, needed, self.last())
        start = self._db.execute("SELECT seq, start FROM offsets WHERE seq <= ? ORDER BY seq DESC", (before,)).fetchone()
        if start:
            with self._asking():
                from confluent_kafka.admin import AdminClient
                admin, place = AdminClient(self._settings), self._kafka.TopicPartition(self._topic, 0, start[1])
                admin.delete_records([place], request_timeout=ANSWER)[place].result(2 * ANSWER)
            super().trim(start[0], needed)

    def close(self):
        super().close()
        self._consumer.close()

    def _open(self):
        with self._asking():
            if 0 not in (self._producer or self._consumer).list_topics(self._topic, ANSWER).topics[self._topic].partitions:
                raise LogError(f"{self.url}: there is no such topic; create it with one partition, and retention.ms -1")
            self._catch_up()

    def _catch_up(self):
        """Copy what the topic has and the copy has not."""
        at = int(self._about("offset"))
        low, high = self._consumer.get_watermark_offsets(self._kafka.TopicPartition(self._topic, 0), ANSWER, cached=False)
        if at > high:
            raise LogError(f"{self.url} ends at offset {high}, and has been read to {at}: the brokers have lost events, or the topic was "
                           "made anew; put its data back")
        if at < low and self.last():
            raise LogError(f"a gap: {self.url} begins at offset {low}, and was read to {at} only: what was between is removed; it "
                           "needs retention.ms -1")
        self._consumer.assign([self._kafka.TopicPartition(self._topic, 0, max(at, low))])
        messages = []
        while not any(message.error() for message in messages):
            if not (first := self._consumer.poll(ANSWER)):
                raise OSError(f"{self.url}: no answer within {ANSWER:g} s")
            messages = [first, *self._consumer.consume(AHEAD, 0.0)]         # with another timeout it waits for all of AHEAD
            if found := [message for message in messages if not message.error()]:
                self._adopt(found[0])
                self._copy([self._row(message) for message in found], found[0].offset(), found[-1].offset() + 1)
        self._consumer.unassign()
        error, = [message.error() for message in messages if message.error()]
        if error.code() != self._kafka.KafkaError._PARTITION_EOF:
            raise self._kafka.KafkaException(error)

    def _adopt(self, message):
        """Take the topic's identity, if the copy is new."""
        if not self.last():
            about = dict(message.headers() or ())
            self.id, self.packing = about.get("log", b"").decode(), about.get("packing", b"").decode() or self.packing
            self._db.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", [("id", self.id), ("packing", self.packing or "")])

    def _row(self, message):
        headers = dict(message.headers() or ())
        if headers.get("log") != self.id.encode():
            raise LogError(f"{self.url} holds another log than {self.id} at offset {message.offset()}: take another topic, or remove "
                           f"the copy {self.path} if the topic was replaced on purpose")
        try:
            packed = headers["packing"].decode() == self.packing
            return decoded(int(message.key()), message.value(), headers["record"] if packed else b"")
        except (KeyError, TypeError, ValueError) as error:
            raise LogError(f"{self.url} has a message that is no event at offset {message.offset()}: {error!r}") from None

    def _copy(self, rows, start, offset):
        """Store rows that the topic has from `start` on in the copy; it has been read up to `offset` then."""
        expected = self.last() + 1 or rows[0].seq
        for row in rows:
            if row.seq != expected:
                raise LogError(f"{self.url}: event {row.seq} follows where {expected} should: two writers, or something else that writes")
            expected += 1
        with self._transaction():
            self._insert(rows)
            self._db.execute("INSERT INTO offsets VALUES (?, ?)", (rows[0].seq, start))
            self._db.execute("UPDATE about SET value = ? WHERE name = 'offset'", (offset,))

    def _publish(self, rows):
        """Store rows in the topic as one transaction, and copy them."""
        if not rows:
            return
        offsets, headers = [], [("log", self.id.encode()), ("packing", (self.packing or "").encode())]
        reach("log.begun")
        self._finish = self._producer.abort_transaction
        self._producer.begin_transaction()
        for i, row in enumerate(rows):
            self._producer.produce(self._topic, encoded(row), b"%d" % row.seq, 0, headers=[*headers, ("record", row.record)],
                                   on_delivery=lambda error, message: offsets.append(message.offset()))
            if i % FLUSHED == FLUSHED - 1:
                self._producer.flush(ANSWER)
        self._producer.flush(ANSWER)
        self._finish = self._producer.commit_transaction
        self._producer.commit_transaction(ANSWER)
        self._finish = lambda seconds: None                     # the copy is to be brought up, should the next line not do it
        self._copy(rows, offsets[0], offsets[-1] + 1)
        self._finish = None

    def _be_sure(self):
        """Be the writer, and know where the topic ends: after an attempt whose outcome is not known, too."""
        if self._finish:
            try:
                self._finish(ANSWER)
            except self._kafka.KafkaException as error:
                if not error.args[0].txn_requires_abort():
                    raise
                self._producer.abort_transaction(ANSWER)
            self._catch_up()
            self._finish = None

    def _about(self, name):
        return self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()[0]

    @contextmanager
    def _asking(self):
        try:
            yield
        except self._kafka.KafkaException as error:
            why = error.args[0]
            if why.code() in (why._FENCED, why.PRODUCER_FENCED, why.INVALID_PRODUCER_EPOCH):
                raise LogError(followed(self.url)) from None
            if why.fatal():
                raise LogError(f"{self.url}: the producer has failed and must be started again: {why.str()}") from None
            raise OSError(f"{self.url}: {why.str()}") from error
