"""`serve`: a directory, a runner and an HTTP server as one process, from its first line to a clean end."""
import asyncio
import gc
import json
import logging
import signal
import socket
import sys
from contextlib import closing

import uvicorn

from linear.command import UserError
from linear.service.dashboard import routes
from linear.service.fold import Fold
from linear.service.following import Followed, follower
from linear.service.guard import Guard, is_loopback, read_tokens
from linear.service.http import Service, application
from linear.service.log import Row
from linear.service.protocol import CONNECTIONS, protocol
from linear.service.replica import Replica, ReplicaStream
from linear.service.runner import Directory, Runner
from linear.service.stream import Stream

SWITCH_SECONDS = 0.0002                     # how long another thread may hold the interpreter while a request waits
END_SECONDS = 10                            # for requests that are being answered when it is to end
SERVING, FOLLOWING = "serving {dir} at {url}; {seq} of {stored} events learned", "following {dir} at {url}; it is at event {seq}"
_log = logging.getLogger("linear.service")


def serve(args, options):
    """Serve until SIGTERM or SIGINT; returns the exit code: 0, or 1 where learning or following has failed."""
    _set_up_logging(args.log_json)
    tokens = read_tokens(args.token_file) if args.token_file else ()
    if not tokens and not is_loopback(args.host):
        raise UserError(f"--host {args.host} can be reached by others: give --token-file (`python -m linear token` makes one), or listen "
                        "at 127.0.0.1")
    rate = args.rate if args.rate is not None else 0.0 if is_loopback(args.host) else 1000.0
    names = () if tokens else ("localhost", "127.0.0.1", "[::1]", args.host)
    directory, new_runner, new_service, new_stream = _parts(args, options)
    with directory, closing(_listening(args.host, args.port)) as listener:
        compiled(directory.options)
        runner = new_runner(directory, lambda error: server.fail(error))
        url = f"http://{f'[{args.host}]' if ':' in args.host else args.host}:{listener.getsockname()[1]}"
        service = new_service(runner, Guard(tokens, rate, names))
        stream = new_stream(service)
        greeting = FOLLOWING if args.follow else SERVING
        server = _Server(service, stream, url, greeting, configured(application(service, routes(service, stream))))
        runner.start()
        service.start_shadow()
        sys.setswitchinterval(SWITCH_SECONDS)
        for number in (signal.SIGINT, signal.SIGTERM):      # uvicorn raises them once more when it has ended
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        server.run([listener])
        service.stop()
        _log.info("stopped", extra={"seq": runner.committed, "stored": runner.stored})
        return 1 if runner.failure else 0


def _parts(args, options):
    """(directory, what makes a runner of it, a service of that, a stream of that) of a service that learns, or of a replica."""
    if args.follow:
        return Followed(args.follow, args.follow_log), follower, Replica, ReplicaStream
    try:
        return Directory(args.dir, options, args.log), Runner, Service, Stream
    except ValueError as error:
        raise UserError(error) from None


def configured(app):
    """uvicorn's configuration."""
    return uvicorn.Config(app, http=protocol(app.at_once), lifespan="off", access_log=False, log_config=None, log_level="error", server_header=False,
                          limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=END_SECONDS)


class _Server(uvicorn.Server):
    """uvicorn's, which says when it is ready, and ends when learning has failed."""

    def __init__(self, service, stream, url, greeting, config):
        super().__init__(config)
        self.service, self.stream, self.url, self.greeting = service, stream, url, greeting

    async def startup(self, sockets=None):
        self.stream.start()
        self._cleaning = asyncio.get_running_loop().create_task(_clean_up())
        await super().startup(sockets)
        runner = self.service.runner
        told = {"url": self.url, "dir": str(runner.directory.path), "seq": runner.snapshot.position, "stored": runner.stored}
        print(self.greeting.format(**told), flush=True)
        _log.info("ready", extra=told)

    async def shutdown(self, sockets=None):
        self._cleaning.cancel()
        self.stream.stop()
        await super().shutdown(sockets)

    def fail(self, error):
        """Called by the thread that failed."""
        _log.critical("learning has failed", exc_info=error)
        self.should_exit = True


async def _clean_up():
    """Look for garbage among old objects once a minute. By itself the interpreter does it whenever there are a quarter more of
    them, which under load is every second, and each time all requests wait for 50 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1 << 30)
    while True:
        await asyncio.sleep(60.0)
        gc.collect()


class _JsonLines(logging.Formatter):
    STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}

    def format(self, record):
        told = {"time": round(record.created, 3), "level": record.levelname.lower(), "event": record.getMessage(),
                **{name: value for name, value in vars(record).items() if name not in self.STANDARD}}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def _set_up_logging(as_json):
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if as_json else logging.Formatter("linear: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    _log.setLevel(logging.INFO if as_json else logging.WARNING)


def _listening(host, port):
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen at {host}:{port}: {error}; take another --port, or 0 for any that is free") from None


def compiled(options):
    """Have the loops compiled, or read from their cache, before anybody waits for them."""
    Fold(options).apply([Row(1, "", "xy", b'{"a":"b"}', 1)])
