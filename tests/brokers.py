"""Brokers for tests: a redis-server that can be killed and started again, and the Kafka client's mock cluster."""
import shutil
import socket
import subprocess
import time
from pathlib import Path

REDIS = shutil.which("redis-server")
MISSING = "Debian's redis-server is not installed"
DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": ""}


class RedisServer:
    """A redis-server with its data in a folder, on a port that stays its own: a context. `settings` are those of redis.conf."""

    def __init__(self, folder, **settings):
        self.folder, self.settings, self.process = Path(folder), {**DURABLE, **settings}, None
        self.folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def start(self):
        """Start it, and wait until it has read its data."""
        import redis
        given = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "logfile": self.folder / "said", **self.settings}
        self.process = subprocess.Popen([REDIS, *(str(part) for name, value in given.items() for part in (f"--{name}", value))])
        until = time.monotonic() + 60
        while True:
            try:
                self.ask("PING")
                return self
            except (redis.ConnectionError, redis.BusyLoadingError):
                assert time.monotonic() < until and self.process.poll() is None, (self.folder / "said").read_text()
                time.sleep(0.01)

    def ask(self, *command):
        """The answer to a command, over a connection of its own."""
        import redis
        with redis.Redis(port=self.port, password=self.settings.get("requirepass")) as client:
            return client.execute_command(*command)

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def log(self, name="events"):
        """The address of a log there."""
        return f"redis://127.0.0.1:{self.port}/{name}"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()


class MockKafka:
    """The Kafka client's mock cluster, which lives in this process; other clients and processes reach it as they would a real one.

    It keeps a few MB a partition, cannot be started again, does not refuse an older writer, shows aborted transactions, and
    removes nothing when asked.
    """

    def __init__(self):
        from confluent_kafka import Producer
        self._home = Producer({"test.mock.num.brokers": 1, "log_level": 2})
        broker, = self._home.list_topics(timeout=10).brokers.values()
        self.address = f"{broker.host}:{broker.port}"

    def log(self, name="events"):
        """The address of a log there."""
        return f"kafka://{self.address}/{name}"

    def put(self, topic, value, **more):
        """Have somebody else write to a topic."""
        from confluent_kafka import Producer
        producer = Producer({"bootstrap.servers": self.address, "log_level": 2})
        producer.produce(topic, value, partition=0, **more)
        assert producer.flush(10) == 0
