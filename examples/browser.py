"""Chromium without a window, spoken to over a pipe in its own language (the Chrome DevTools Protocol); nothing to install beside it."""
import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from fcntl import F_DUPFD, fcntl

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe")
# The browser reads requests from descriptor 3 and writes answers to 4; this gives them to it.
_START = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"


def found():
    """The path of a browser, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser with one page, to be used in a `with`. With `watch`, `events` are what happens there: (method, parameters)."""

    def __init__(self, width=1280, height=800, dark=False, scale=1, watch=False):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self._out = _high_pipe()
        self._in, their_end = _high_pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(theirs), str(their_end), found(), *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            pass_fds=(theirs, their_end), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(their_end)
        self.events, self._number, self._rest, self._session = [], 0, b"", None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for room in ("Runtime", "Network", "Log") if watch else ():
            self.ask(f"{room}.enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def ask(self, method, timeout=30.0, **parameters):
        """The result of one request; RuntimeError where the browser refuses, TimeoutError where it is silent."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters, **({"sessionId": self._session} if self._session else {})}
        os.write(self._out, json.dumps(request).encode() + b"\0")
        until = time.monotonic() + timeout
        while True:
            answer = self._next(until, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, url):
        """Go to a page."""
        if problem := self.ask("Page.navigate", url=url).get("errorText"):
            raise RuntimeError(f"{url}: {problem}")

    def evaluate(self, script):
        """What an expression of JavaScript gives on the page."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']['exception'].get('description')}")
        return result["result"].get("value")

    def wait_for(self, script, timeout=20.0):
        """What the expression gives once that is true; TimeoutError where it does not become so."""
        until = time.monotonic() + timeout
        while not (value := self.evaluate(script)):
            if time.monotonic() > until:
                raise TimeoutError(f"after {timeout:g} s not yet true on the page: {script}")
            time.sleep(0.05)
        return value

    def picture(self, path):
        """Write a PNG of the whole page, however long it is."""
        width, height = self.evaluate("[innerWidth, document.documentElement.scrollHeight]")
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True,
                        clip={"x": 0, "y": 0, "width": width, "height": height, "scale": 1})
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def _next(self, until, what):
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(f"the browser does not answer {what}")
            if not (part := os.read(self._in, 1 << 16)):
                raise RuntimeError("the browser has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(message)
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        return message


def _high_pipe():
    """A pipe whose ends are not among the first ten descriptors."""
    ends = os.pipe()
    high = [fcntl(end, F_DUPFD, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high
