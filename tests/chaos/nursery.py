"""Processes that start in milliseconds: forked from one that has imported everything and compiled every loop.

The nursery is a process of its own, so that no thread of the test run is forked with it. It reads orders, one JSON list
a line, and answers each with one line. All its children die with it.
"""
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Nursery:
    """A context: `start` forks a child that runs a function of `children.py`."""

    def __enter__(self):
        self._lock = threading.Lock()
        environment = {name: value for name, value in os.environ.items() if name != "LINEAR_FAILPOINT"}
        self._process = subprocess.Popen([sys.executable, "-m", "tests.chaos.children"], cwd=ROOT, env=environment,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def start(self, function, *args, out, **settings):
        """A Child that runs children.`function`(*args, **settings); what it prints goes to the file `out`."""
        Path(out).write_bytes(b"")
        return Child(self, self.order("start", function, args, settings, str(out)), Path(out))

    def order(self, *what):
        """The nursery's answer to an order."""
        with self._lock:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, "the nursery has ended; what it printed says why"
        return json.loads(answer)


class Child:
    """A forked process: `pid`, what it has printed, how it ended."""

    def __init__(self, nursery, pid, out):
        self.nursery, self.pid, self.out, self._code = nursery, pid, out, None

    @property
    def printed(self):
        """Its standard output and error so far."""
        return self.out.read_text(errors="replace")

    @property
    def code(self):
        """Its exit code, -9 after kill -9, None while it lives."""
        if self._code is None:
            self._code = self.nursery.order("code", self.pid)
        return self._code

    def signal(self, number):
        """Send a signal if it still lives."""
        if self.code is None:               # nobody else reaps it, so the pid is still its own
            os.kill(self.pid, number)

    def wait(self, seconds=60.0):
        """Its exit code; AssertionError where it does not end in time."""
        until = time.monotonic() + seconds
        while self.code is None:
            assert time.monotonic() < until, f"process {self.pid} did not end in {seconds:g} s; it said: {self.printed[-2000:]}"
            time.sleep(0.004)
        return self.code

    def says(self, words, seconds=60.0):
        """Wait until it has printed `words`; whether it did before it ended."""
        until = time.monotonic() + seconds
        while words not in self.printed:
            if self.code is not None:
                return words in self.printed
            assert time.monotonic() < until, f"process {self.pid} said no {words!r} in {seconds:g} s: {self.printed[-2000:]}"
            time.sleep(0.004)
        return True
