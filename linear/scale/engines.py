"""Who runs the shards: `LocalEngine` in this process, the reference, or `DaskEngine` on Dask.distributed.

    engine.map_ordered(function, shards, shared)    ->    function(shared, shard) of each shard, in the shards' order

`function` must be pure, from bytes to bytes: then a worker that dies costs time, since another runs its shard again, and
changes no bit. Which worker ran what, and how many there are, shows nowhere in the results.
"""
import asyncio
import logging
import platform
import re
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

SECONDS = 10                                # to wait for a scheduler, and for its first worker
AGAIN = 60                                  # to wait for another one when all have died
LOOK = 5                                    # between two looks at who is left, while a result is waited for
REFUSED = "its weights need not be the same bits. Install the same on all of them"
LOST = "the Dask scheduler was lost; no model was written, start again"
DEATHS = 10                                 # workers that one shard may outlive


class ScaleError(RuntimeError):
    """What keeps a run from going on; the message says what to do."""


@lru_cache(1)
def build():
    """What the bits may depend on: {"python": .., "numpy": .., "numba": .., "machine": .., "linear": checksum of its source}."""
    root, total = Path(__file__).parents[1], 0
    for file in sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix()):
        total = zlib.crc32(file.relative_to(root).as_posix().encode() + file.read_bytes(), total)
    return {"python": platform.python_version(), "machine": platform.machine(), "linear": f"{total:08x}",
            **{name: version(name) for name in ("numpy", "numba")}}


def difference(here, there):
    """What is not the same in two builds, as text; "" where nothing is.

    >>> difference({"numpy": "2.4.0", "numba": "0.66"}, {"numpy": "2.3.1", "numba": "0.66"})
    'numpy 2.3.1 where this process has 2.4.0'
    """
    return ", ".join(f"{name} {there.get(name)} where this process has {value}" for name, value in here.items()
                     if there.get(name) != value)


def engine(where):
    """The engine that `--dask` names: "local:N" starts N workers on this machine, anything else is a scheduler's address."""
    if match := re.fullmatch(r"local:([1-9]\d*)", where):
        return DaskEngine(workers=int(match[1]))
    if where.startswith("local") or not re.fullmatch(r"(\w+://)?\S+:\d+", where):
        raise ScaleError(f"{where!r} is neither a number of workers here, such as local:2, nor a scheduler's address, such as "
                         "tcp://host:8786")
    return DaskEngine(address=where)


class LocalEngine:
    """Runs one shard after the other in this process.

    >>> list(LocalEngine().map_ordered(lambda shared, shard: shared + shard, [b"1", b"2"], b"w"))
    [b'w1', b'w2']
    """

    name, workers = "this process", 1

    def map_ordered(self, function, shards, shared):
        """The results, in the shards' order."""
        for shard in shards:
            yield function(shared, shard)

    def close(self):
        """Nothing is held."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class DaskEngine(LocalEngine):
    """Runs shards on a Dask cluster: one at `address`, or `workers` processes on this machine, which end with the engine.

    A Dask cluster runs whatever its clients send: keep it on a network you trust, or set up Dask's TLS.
    Raises ScaleError where Dask is not installed, nobody answers, there is no worker, or a worker has another build.
    """

    def __init__(self, address=None, workers=None):
        try:
            import distributed
        except ImportError as error:
            raise ScaleError(f'--dask needs {error.name}, which is not installed: pip install "tinygrad-lite[dask]"') from None
        import dask
        self._cluster = self._client = self._scratch = None
        self._lost, self._killed = (distributed.CancelledError, distributed.comm.CommClosedError), distributed.KilledWorker
        self._late = distributed.TimeoutError
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})        # lost weights travel as a task's
        try:
            with dask.config.set({"distributed.scheduler.allowed-failures": DEATHS}):
                logging.getLogger("distributed").setLevel(logging.CRITICAL)      # what matters is said in one sentence, below
                if address:
                    _knock(address)
                if workers:
                    self._scratch = tempfile.TemporaryDirectory()
                    self._cluster = distributed.LocalCluster(
                        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", memory_limit=0,
                        local_directory=self._scratch.name, silence_logs=logging.CRITICAL)
                self._client = distributed.Client(self._cluster or address, timeout=SECONDS, set_as_default=False)
            self._check(address or f"local:{workers}")
        except BaseException:
            self.close()
            raise

    def map_ordered(self, function, shards, shared):
        try:
            held = self._client.scatter(shared, broadcast=True, hash=False)
        except (OSError, self._late, *self._lost):
            held = self._client.submit(bytes, shared, pure=False)
        futures = [self._client.submit(function, held, shard, pure=False) for shard in shards]
        for number in range(len(shards)):
            while (result := self._result(futures[number])) is None:
                held = self._client.submit(bytes, shared, pure=False)            # who held them have died; a task can be done again
                futures[number:] = [self._client.submit(function, held, shard, pure=False) for shard in shards[number:]]
            yield result

    def close(self):
        """Leave the cluster; what was started here ends."""
        for held in (self._client, self._cluster):
            if held:
                held.close()
        if self._scratch:
            self._scratch.cleanup()

    def _result(self, future):
        """What a task has returned, None where it cannot run since what it needs was lost."""
        seen = time.monotonic()
        while True:
            try:
                return future.result(timeout=LOOK)
            except self._killed as error:
                raise ScaleError(f"a shard outlived {DEATHS} workers and was given up: {error}; look into the workers' memory, and "
                                 "take more shards") from None
            except self._lost:
                if self._client.status == "running":
                    return None
                raise ScaleError(LOST) from None
            except self._late:
                if self._client.status == "closed":
                    raise ScaleError(LOST) from None
                with suppress(OSError):                         # of a scheduler that comes back, or that is called lost soon
                    if self._client.scheduler_info().get("workers"):
                        seen = time.monotonic()
                        if not any(self._client.processing().values()):
                            return None
                    elif time.monotonic() - seen > AGAIN:
                        raise ScaleError(f"all Dask workers were lost and none came in {AGAIN} s; no model was written, start "
                                         "again") from None

    def _check(self, name):
        """Refuse workers that would not give this process's bits; who leaves while it is asked is not one of them."""
        until = time.monotonic() + SECONDS
        while True:
            try:
                self._client.wait_for_workers(1, timeout=SECONDS)
            except self._late:
                raise ScaleError(f"the Dask scheduler at {name} has no workers; start one with `dask worker {name}`") from None
            here, builds = build(), self._client.run(build, on_error="return")
            if not any(isinstance(there, OSError) for there in builds.values()) or time.monotonic() > until:
                break
            time.sleep(0.1)
        for worker, there in builds.items():
            if isinstance(there, BaseException):
                raise ScaleError(f"worker {worker} cannot run linear ({there}); install what this process has: {_spelled(here)}")
            if other := difference(here, there):
                raise ScaleError(f"worker {worker} has {other}: {REFUSED}")
        self.name, self.workers = name, len(builds)


def _knock(address):
    """Raise ScaleError where no scheduler answers; Dask's client would wait for ever for who listens and says nothing."""
    from distributed.comm import connect
    from distributed.security import Security

    async def knock():
        comm = await asyncio.wait_for(connect(address, timeout=SECONDS, **Security().get_connection_args("client")), SECONDS)
        comm.abort()
    try:
        with ThreadPoolExecutor(1) as thread:               # there may be a loop in this one
            thread.submit(asyncio.run, knock()).result()
    except Exception as error:                              # whatever a stranger's bytes lead to
        raise ScaleError(f"no Dask scheduler answers at {address} ({str(error) or 'it says nothing'}); start one with `dask "
                         "scheduler`, or use local:2") from None


def _spelled(build):
    return ", ".join(f"{name} {value}" for name, value in build.items())
