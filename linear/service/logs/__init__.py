"""Where the event log is: in the service's directory, or at a broker that others read, too.

    sqlite                              log.db in the directory, the default
    redis://host:port/stream            a Redis stream, see `logs.redis`
    kafka://host:port/topic             a Kafka topic, see `logs.kafka`

Each behaves as `log.SqliteLog` does, and one test file holds all of them to it.
"""
from pathlib import Path

from linear.service.log import LogError, SqliteLog
from linear.service.logs.kafka import KafkaLog
from linear.service.logs.redis import RedisLog
from linear.service.logs.wire import shown

SQLITE = "sqlite"


def checked(address):
    """An address as it was given; LogError where it is none of a log.

    >>> checked("redis://localhost/events")
    'redis://localhost/events'
    """
    if address != SQLITE and address.partition("://")[0] not in ("redis", "rediss", "kafka"):
        raise LogError(f"--log {shown(address) if '://' in address else address}: no such kind of log; there are sqlite, "
                       "redis://host:port/stream and kafka://host:port/topic")
    return address


def address_of(folder):
    """Where the log of a service's directory is."""
    try:
        return (Path(folder) / "log").read_text(encoding="utf-8").strip()          # it may be edited by hand
    except FileNotFoundError:
        return SQLITE


def opened(folder, packing=None, readonly=False):
    """The log of a service's directory. For writing, by the process that holds its lock; `readonly` reads what is stored now."""
    address = checked(address_of(folder))
    if address == SQLITE:
        return SqliteLog(Path(folder) / "log.db", readonly, packing)
    if address.startswith("kafka:"):
        return KafkaLog(address, Path(folder) / "copy.db", packing, readonly)
    return RedisLog(address, packing, readonly)


def beside(folder):
    """The log of a service's directory for one that reads what its writer has stored: in its process, or another one."""
    if address_of(folder).startswith("kafka:"):
        return SqliteLog(Path(folder) / "copy.db", readonly=True)      # its writer keeps it up
    return opened(folder, readonly=True)
