"""The dashboard: the page without its script, the stream, names of weights, signing in; and all of it in a real browser."""
import asyncio
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import linear
from linear import HingeSVM
from linear.service.client import Client
from linear.service.dashboard import COOKIE, FOLDER, routes
from linear.service.events import event
from linear.service.fold import Fold
from linear.service.guard import Guard, new_token, read_tokens
from linear.service.http import Service, application
from linear.service.recent import SHOWN, Recent
from linear.service.runner import Directory, Runner
from linear.service.stream import KEPT, MOST_CLIENTS, Stream
from linear.service.web import Refused

ROOT = Path(linear.__file__).parents[1]
HOSTILE = "<img src=x onerror=document.title='owned'>"
OPTIONS = {"crosses": "user*tags"}


def some(count, seed=0, telltale=None):
    """Events from which something can be learned: users like some tags and not others, and every second label 1 has its telltale."""
    rng, made = random.Random(seed), []
    for i in range(count):
        user, tags = rng.randrange(6), rng.sample(range(8), 2)
        y = 1 if sum((-1) ** (user * tag % 3) for tag in tags) + rng.gauss(0, 0.3) > 0 else -1
        x = {"user": f"u{user}", "tags": [f"t{tag}" for tag in tags], "name": telltale if y > 0 and rng.random() < 0.5 else None}
        made.append({"id": f"{seed}-{i}", "x": x, "y": y})
    return made


@pytest.fixture
def service(tmp_path):
    runner = Runner(Directory(tmp_path / "dir", OPTIONS))
    runner.start()
    service = Service(runner, Guard(hosts=("localhost",)))
    yield service
    service.stop()


def store(service, events):
    stored = service.runner.append([event(item) for item in events]).result(timeout=30)
    assert service.runner.wait_for(max(row.seq for row in stored), 30)


class Asked:
    """What an ASGI application answers to one request; `more()` are the parts of the body that have come since."""

    def __init__(self, app, path="/", method="GET", body=b"", **headers):
        headers = {"host": "localhost", **headers}
        self.scope = {"type": "http", "method": method, "path": path, "query_string": b"", "client": ("127.0.0.1", 1), "root_path": "",
                      "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]}
        self.app, self.request, self.status, self.headers, self.parts, self.ended = app, body, None, {}, [], False
        self.gone, self.stalled = asyncio.Event(), asyncio.Event()
        self.stalled.set()

    async def answer(self):
        await self.app(self.scope, self._receive, self._send)
        return self

    @property
    def body(self):
        return b"".join(self.parts).decode()

    async def _receive(self):
        if self.request is not None:
            body, self.request = self.request, None
            return {"type": "http.request", "body": body}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        await self.stalled.wait()
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.parts.append(message["body"])
            self.ended = not message.get("more_body")


def messages(text):
    """[(id, event, data)] of server-sent events."""
    return [(*re.fullmatch(r"(?:retry: 1000\n)?id: (\S+)\nevent: (\w+)\ndata: (.*)", part).groups()[:2],
             json.loads(part.partition("data: ")[2])) for part in text.split("\n\n") if part]


# ---------------------------------------------------------------- the page without its script

def test_the_page_has_its_numbers_without_a_script(service):
    store(service, some(300, telltale=HOSTILE))

    async def look():
        stream = Stream(service)
        app = application(service, routes(service, stream))
        return await Asked(app).answer(), {path: await Asked(app, path).answer() for path in paths}
    names = [path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*") if path.suffix != ".html"]
    paths = ["/favicon.ico", *(f"/page/{name}" for name in names)]
    page, files = asyncio.run(look())
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    right = 100 * (1 - service.runner.snapshot.recent_error)
    assert f"{right:.1f} %" in page.body and "300" in page.body and "adagrad 0.15 · user*tags" in page.body and "{{" not in page.body
    assert page.body.count("<td>user=u") >= 3 and "&lt;img" in page.body and "<img src=x" not in page.body
    assert len(files) == 7 and all(file.status == 200 and len(file.body) > 100 for file in files.values())
    assert "MIT" in files["/page/uplot/LICENSE.txt"].body
    assert set(re.findall(r'(?:src|href)="(/page/[^"]*)"', page.body)) <= set(paths)


def test_the_policy_has_no_hole(service):
    async def look():
        app = application(service, routes(service, Stream(service)))
        return [await Asked(app, path).answer() for path in ("/", "/page/app.js")]
    for answer in asyncio.run(look()):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "*" not in policy
    for path in FOLDER.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\bstyle=|\bon\w+=|<script(?![^>]* src=)|javascript:", text), path
    for path in FOLDER.glob("*.*"):         # nothing is asked of anybody else
        assert set(re.findall(r"https?://[^\s'\"<]+", path.read_text(encoding="utf-8"))) <= {"http://www.w3.org/2000/svg", "http://localhost:8000"}
    assert "innerHTML" not in (FOLDER / "app.js").read_text(encoding="utf-8")


def test_before_the_first_event(service):
    page = asyncio.run(Asked(application(service, routes(service, Stream(service)))).answer())
    assert '<body class="empty">' in page.body and "Waiting for the first event" in page.body


def test_other_hosts_get_no_page(service):
    async def look():
        app = application(service, routes(service, Stream(service)))
        return [(await Asked(app, path, host="evil.example").answer()).status for path in ("/", "/page/app.js", "/v1/stream")]
    assert asyncio.run(look()) == [403, 403, 403]


# ---------------------------------------------------------------- signing in

def test_signing_in(service, tmp_path):
    token, line = new_token("admin")
    (tmp_path / "tokens").write_text(line)
    service.guard = Guard(read_tokens(tmp_path / "tokens"))

    async def look():
        stream = Stream(service)
        app = application(service, routes(service, stream))
        form = {"content_type": "application/x-www-form-urlencoded"}
        door = await Asked(app).answer()
        wrong = await Asked(app, "/sign-in", "POST", b"token=wrong", **form).answer()
        right = await Asked(app, "/sign-in", "POST", f"token={token}".encode(), **form).answer()
        cookie = right.headers["set-cookie"].partition(";")[0]
        inside = await Asked(app, cookie=cookie).answer()
        bearer = await Asked(app, authorization=f"Bearer {token}").answer()
        other = await Asked(app, cookie=f"{COOKIE}=wrong").answer()
        blind = await Asked(app, "/v1/stream").answer()
        write = await Asked(app, "/v1/events", "POST", b'{"id":"a","y":1}', cookie=cookie, content_type="application/json").answer()
        return door, wrong, right, inside, bearer, other, blind, write
    door, wrong, right, inside, bearer, other, blind, write = asyncio.run(look())
    assert door.status == other.status == 401 and 'action="/sign-in"' in door.body and "accuracy" not in door.body
    assert wrong.status == 401 and "no token of this service" in wrong.body and "set-cookie" not in wrong.headers
    assert right.status == 303 and right.headers["location"] == "/"
    assert right.headers["set-cookie"] == f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
    assert inside.status == bearer.status == 200 and "Largest weights" in inside.body
    assert blind.status == 401 and write.status == 401, "a cookie is good for looking only"


# ---------------------------------------------------------------- the stream

async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass in 10 seconds")


def test_the_stream(service, monkeypatch):
    monkeypatch.setattr("linear.service.stream.PERIOD", 0.02)
    store(service, some(200))

    async def look():
        stream = Stream(service)
        stream.start()
        await until(lambda: stream.number >= 5)
        first, slow = Asked(stream), Asked(stream)
        tasks = [asyncio.create_task(asked.answer()) for asked in (first, slow)]
        await until(lambda: len(messages(first.body)) >= 4 and len(messages(slow.body)) >= 2)
        slow.stalled.clear()
        taken, before = len(slow.parts), stream.number
        await until(lambda: stream.number >= before + 10)
        assert len(slow.parts) == taken and len(stream.clients) == 2
        slow.stalled.set()
        await until(lambda: len(slow.parts) > taken + 1)
        seen = messages(first.body)[-1][0]
        first.gone.set()
        await tasks[0]
        await until(lambda: stream.number > int(seen.partition("-")[2]) + 3)
        again, stranger = Asked(stream, last_event_id=seen), Asked(stream, last_event_id="other-7")
        tasks += [asyncio.create_task(asked.answer()) for asked in (again, stranger)]
        await until(lambda: again.parts and stranger.parts)
        stream.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert not stream.clients and all(asked.ended for asked in (slow, again, stranger))
        return stream, first, slow, again, stranger, taken, seen
    stream, first, slow, again, stranger, taken, seen = asyncio.run(look())
    (_, name, history), *nows = messages(first.body)
    assert first.status == 200 and first.headers["content-type"] == "text/event-stream" and name == "history"
    assert len(history["samples"]["time"]) >= 5 and {name for _, name, _ in nows} == {"now"}
    numbers = [int(number.partition("-")[2]) for number, *_ in messages(first.body)]
    assert numbers == sorted(numbers) and len(set(numbers[1:])) == len(nows)
    snapshot = service.runner.snapshot
    assert nows[-1][2]["sample"]["accuracy"] == round(1 - snapshot.model.totals.zero_one, 4)
    assert nows[-1][2]["sample"]["hinge_recent"] == round(snapshot.recent_hinge, 4)
    assert nows[-1][2]["texts"]["learned"] == "200" and nows[-1][2]["texts"]["delay"] == "0 events"
    late = [int(number.partition("-")[2]) for number, *_ in messages("".join(part.decode() for part in slow.parts[taken:]))]
    assert late[1] - late[0] >= 8, "what waited was replaced by the newest"
    missed, all_of_it = messages(again.body)[0], messages(stranger.body)[0]
    assert len(missed[2]["samples"]["time"]) == int(missed[0].partition("-")[2]) - int(seen.partition("-")[2])
    assert len(all_of_it[2]["samples"]["time"]) == min(KEPT, int(all_of_it[0].partition("-")[2]))


def test_a_full_house(service):
    async def look():
        stream = Stream(service)
        stream.clients = set(range(MOST_CLIENTS))
        with pytest.raises(Refused, match=f"{MOST_CLIENTS} dashboards"):
            await Asked(stream).answer()
        answer = await Asked(application(service, routes(service, stream)), "/v1/stream").answer()
        assert answer.status == 503 and answer.headers["retry-after"] == "10"
    asyncio.run(look())


# ---------------------------------------------------------------- weights and labels

@pytest.mark.parametrize("options", [{}, {"rule": "asgd", "dtype": "float64"}, {"bits": 12}, {"engine": "dict", "rule": "ftrl", "l1": 0.01},
                                     {"names": True}, {"rule": "adagrad", "l1": 0.001, "l2": 0.001}])
def test_the_largest_weights(options):
    model = HingeSVM(**OPTIONS, **options)
    for item in some(300):
        model.learn_one(item["x"], item["y"])
    ranked = sorted(model.weights.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
    for count in (0, 1, 7, len(ranked), 10_000):
        found = model.weights.largest(count)
        assert [pair[1] for pair in found] == [pair[1] for pair in ranked[:count]] and set(found) <= set(ranked)


@pytest.mark.parametrize("options", [{}, {"bits": 12}, {"names": True}, {"engine": "dict"}])
def test_weights_get_their_names_from_the_log(tmp_path, options):
    with Directory(tmp_path, {**OPTIONS, **options}) as directory:
        log, recent = directory.log(), Recent(directory)
        log.append([event(item) for item in [*some(600), *some(300, 1, "now")]])
        fold = Fold.replayed(log, directory.options, log.last())
        recent.look(fold.copy())
        assert len(recent.weights) == SHOWN and all(known for *_, known in recent.weights)
        for name, weight, _ in recent.weights:
            assert fold.model.weights[name] == weight
        assert [abs(weight) for _, weight, _ in recent.weights] == sorted((abs(weight) for _, weight, _ in recent.weights), reverse=True)
        log.close()


def test_a_name_that_stands_far_back_is_found_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("linear.service.recent.MOST_FEATURES", 100)
    with Directory(tmp_path, {}) as directory:
        log, recent = directory.log(), Recent(directory)
        log.append([event({"id": "far", "x": {"once": "upon a time"}, "y": 1}), *map(event, some(900))])
        fold = Fold.replayed(log, {**directory.options, "lr": 1e-9}, 1)
        looks = 0
        while not (recent.weights and all(known for *_, known in recent.weights)):
            recent.look(fold.copy())
            looks += 1
            assert looks < 20
        assert looks == 4 and "once=upon a time" in [name for name, *_ in recent.weights]
        log.close()


def test_label_delays(tmp_path):
    with Directory(tmp_path, {}) as directory:
        log, recent = directory.log(), Recent(directory)
        x = {"u": "a"}
        log.append([event(item) for item in [{"id": "a", "x": x}, {"id": "b", "x": x, "y": 1}, {"id": "c", "y": 1}, {"id": "a", "y": -1},
                                             {"id": "c", "x": x}, {"id": "d", "x": x}, {"id": "d", "y": 1}]])
        recent.look(Fold.replayed(log, directory.options, log.last()))
        assert recent.delays == [0, 1, 3] and recent.delay(0.5) == 1 and recent.delay(0.95) == 3
        log.close()


# ---------------------------------------------------------------- in a browser

@contextmanager
def process(folder, port=0):
    """(process, port) of a service in a process of its own."""
    running = subprocess.Popen([sys.executable, "-m", "linear", "serve", "--dir", folder, "--port", str(port), "--crosses", "user*tags"],
                               cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield running, int(re.search(r":(\d+);", running.stdout.readline())[1])
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def test_in_a_browser(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import browser
    if browser.found() is None:
        pytest.skip("the page is not opened: it takes Chromium, `apt-get install chromium`")
    state, number = "document.getElementById('state')?.textContent", "parseFloat(document.querySelector('[data-text={}]').textContent)".format
    with browser.Browser(390, 844, watch=True) as page:
        with process(tmp_path / "dir") as (running, port), closing(Client(f"http://127.0.0.1:{port}")) as client:
            page.open(f"http://127.0.0.1:{port}/")
            page.wait_for(f"{state} === 'live'")
            assert "empty" in page.evaluate("document.body.className")
            client.send(some(60, 0, HOSTILE))
            page.wait_for(f"{number('hinge')} > 0 && document.body.className === ''")
            before = page.evaluate(number("hinge"))
            client.send(some(3000, 1, HOSTILE))
            client.predict({"user": "u1"})
            page.wait_for(f"{number('hinge')} < {before} - 0.05 && document.querySelectorAll('#weights tr').length > 5")
            coloured = page.wait_for("""[...document.querySelectorAll('canvas')].map(canvas => {
                const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
                let count = 0;
                for (let i = 0; i < pixels.length; i += 4)
                    count += pixels[i + 3] > 100 && Math.max(...pixels.slice(i, i + 3)) - Math.min(...pixels.slice(i, i + 3)) > 60;
                return count;
            })""")
            assert len(coloured) == 3 and min(coloured) > 100
            page.wait_for(f"[...document.querySelectorAll('#weights td')].some(cell => cell.textContent === {json.dumps('name=' + HOSTILE)})")
            assert page.evaluate("document.title") == "linear serve" and page.evaluate("document.querySelectorAll('main img').length") == 0
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            errors = [told for method, told in page.events if method == "Runtime.exceptionThrown"
                      or method == "Log.entryAdded" or method == "Runtime.consoleAPICalled"]
            assert not errors, errors
            running.send_signal(signal.SIGSTOP)         # still there, and silent
            page.wait_for(f"{state} === 'stale'")
            running.send_signal(signal.SIGCONT)
            page.wait_for(f"{state} === 'live'")
            running.kill()
            page.wait_for(f"{state} === 'reconnecting'")
            assert "old" in page.evaluate("document.body.className")
        with process(tmp_path / "dir", port), closing(Client(f"http://127.0.0.1:{port}")) as client:
            page.wait_for(f"{state} === 'live' && {number('learned')} === 3")        # 3,060
            client.send([{"id": "more", "x": {"user": "u1"}, "y": 1}])
            page.wait_for("document.querySelector('[data-text=stored]').textContent === '3,061'")
        asked = {told["request"]["url"] for method, told in page.events if method == "Network.requestWillBeSent"}
        assert len(asked) >= 6 and all(url.startswith(f"http://127.0.0.1:{port}/") for url in asked), asked
        assert not [told for method, told in page.events if method == "Runtime.exceptionThrown"]


def test_the_example(tmp_path):
    """examples/streaming_service.py, in short: killed, started again, unlearned, and all of it again from the log."""
    picture = tmp_path / "page.png"
    done = subprocess.run([sys.executable, "-W", "error", ROOT / "examples" / "streaming_service.py", "--seconds", "4", "--challenger", "--json",
                           "--picture", picture], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
                          timeout=200)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["verified"] and numbers["learned"] > 0.8 * numbers["events"] and numbers["right_before"] > 0.55
    margin = 0.0
    for _, part in numbers["contributions"]:
        margin += part
    assert margin == numbers["margin"] and numbers["margin_before_forgetting"] != numbers["margin_after_forgetting"]
    assert (numbers["picture"] is None) == (not picture.exists()) == ("no picture" in done.stderr)
    if numbers["picture"]:
        assert picture.stat().st_size > 30_000


def test_the_stream_over_a_connection(tmp_path):
    """A service that is told to end ends at once, although a page is open."""
    with process(tmp_path / "dir") as (running, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/v1/stream")
        response = connection.getresponse()
        assert response.readline() == b"retry: 1000\n"
        began = time.monotonic()
        running.terminate()
        assert running.wait(20) == 0 and time.monotonic() - began < 9 and response.read().count(b"event: history") == 1
        connection.close()
