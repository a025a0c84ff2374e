"""Load on `python -m linear serve`: requests a second and how long answers take, on this machine.

Starts a service of its own in a temporary directory (or takes --url), and prints one row each for

    predict             16 connections ask for predictions, nothing else happens
    predict + learning  the same while events come in at a given rate (20,000 a second) and are learned
    ingest              32 connections store one event a request, each answered when it is on disk
    ready               how long a service with so many events to replay, and no state file, takes until /readyz says 200

A connection sends its next request when the last one is answered. The client is one Python process: on two cores it has one, the
service the other, and what else runs there shows in the percentiles. With --wrk the requests are sent by that program (Debian's
package wrk), which takes a fifth of the time of ours, so that more is left for the service.

    python examples/service_load.py --seconds 10 --json
"""
import argparse
import asyncio
import http.client
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))
ROWS = ("predict", "predict + learning", "ingest", "ready")


def features(rng):
    """One example's features as MovieLens has them: who, what, when, and some tags."""
    return {"user": f"u{rng.randrange(5000)}", "item": f"i{rng.randrange(2000)}", "hour": f"h{rng.randrange(24)}",
            "tags": [f"t{rng.randrange(300)}" for _ in range(4)]}


def event(number, rng):
    return {"id": f"load-{number}", "x": features(rng), "y": rng.choice((-1, 1))}


class Connection(asyncio.Protocol):
    """Sends requests one after the other, and notes how long each answer took."""

    def __init__(self, requests, times, statuses):
        self.requests, self.times, self.statuses, self.held = requests, times, statuses, b""

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def send(self):
        self.started = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data):
        self.held += data
        head, end, body = self.held.partition(b"\r\n\r\n")
        if end and len(body) == int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0]):
            self.times.append(time.perf_counter() - self.started)
            status = int(head[9:12])
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.held = b""
            self.send()


def posted(path, body):
    """A request as it goes over the wire."""
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


async def load(host, port, requests, connections, seconds):
    """(seconds of each answer, {status: number}) of so many connections for so long; `requests` is an endless iterator."""
    times, statuses = [], {}
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Connection(requests, times, statuses), host, port) for _ in range(connections)]
    await asyncio.sleep(seconds)
    for transport, _ in made:
        transport.abort()
    return times, statuses


def run_load(*args):
    """`load`, on uvloop where it is installed."""
    try:
        import uvloop
        return uvloop.run(load(*args))
    except ImportError:
        return asyncio.run(load(*args))


def teach(url, rate, seed):
    """Send events in batches of 1000, `rate` a second, until this process is ended."""
    parts, made = urlsplit(url), itertools.cycle(rest.encode() for rest in ready_made(random.Random(seed)))
    connection, sent, started = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60), 0, time.monotonic()
    while True:
        connection.request("POST", "/v1/events:batch", b'{"events":[%s]}' % b",".join(
            [b'{"id":"%d-%d",%s' % (seed, sent + i, next(made)) for i in range(1000)]), {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        if response.status not in (200, 503):
            raise SystemExit(f"the service answered {response.status}")
        sent += 1000 * (response.status == 200)                 # 503: it is busy, the same ones come once more
        time.sleep(max(0.0, started + sent / rate - time.monotonic()))


def by_wrk(url, path, bodies, connections, seconds, prefix=None):
    """`load` by the program wrk: (a few times that have its percentiles, {status: number}, requests).

    `bodies` are JSON; with a `prefix` they are the rest of events, which get an id of that and a number.
    """
    script = """
        local path, prefix, i, sent, bodies = os.getenv("ROUTE"), os.getenv("PREFIX"), 0, 0, {}
        local head = {Host = "localhost", ["Content-Type"] = "application/json"}
        for line in io.open(os.getenv("BODIES")):lines() do
            bodies[#bodies + 1] = prefix == "" and wrk.format("POST", path, head, line) or line
        end
        request = function()
            i, sent = i % #bodies + 1, sent + 1
            return prefix == "" and bodies[i] or wrk.format("POST", path, head, '{"id":"' .. prefix .. sent .. '",' .. bodies[i])
        end
        done = function(summary, latency)
            local at = {}
            for share = 1, 1000 do at[share] = string.format("%d", latency:percentile(share == 1000 and 100 or share / 10)) end
            io.write("\\n[", summary.requests, ",", summary.errors.status, ",[", table.concat(at, ","), "]]\\n")
        end"""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua, tempfile.NamedTemporaryFile("w") as lines:
        lua.write(script.replace("\\\\n", "\\n"))
        lines.write("\n".join(bodies))
        lua.flush(), lines.flush()
        told = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", lua.name, url], capture_output=True, text=True,
                              check=True, env={**os.environ, "BODIES": lines.name, "ROUTE": path, "PREFIX": prefix or ""}).stdout
    requests, errors, at = json.loads(told.strip().splitlines()[-1])
    return [microseconds / 1e6 for microseconds in at], {200: requests - errors, 0: errors}, requests


def ready_made(rng, count=20_000):
    """The JSON of events behind their ids, to be used again and again: to make it takes longer than to store it."""
    return [json.dumps({"x": features(rng), "y": rng.choice((-1, 1))})[1:] for _ in range(count)]


def ask(url, path):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def row(name, times, statuses, seconds, **more):
    """One measured row; times in milliseconds."""
    times = sorted(times)
    at = {f"p{share:g}": 1000 * times[min(len(times) - 1, int(len(times) * share / 100))] for share in (50, 95, 99, 99.9)} if times else {}
    return {"load": name, "requests": len(times), "per_second": len(times) / seconds, **at,
            "errors": sum(n for status, n in statuses.items() if status != 200), **more}


def cpu_seconds(pid):
    """Processor time that a process has used, 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def measure(url, args, pid=None):
    """The rows of a running service."""
    def run(name, path, bodies, connections, prefix=None):
        used, more = cpu_seconds(pid), {}
        if args.wrk:
            times, statuses, count = by_wrk(url, path, bodies, connections, args.seconds, prefix)
            more = {"requests": count, "per_second": count / args.seconds}
        else:
            begins = (f'{{"id":"{prefix}{i}",' if prefix else "" for i in itertools.count())
            requests = (posted(path, (begin + body).encode()) for begin, body in zip(begins, itertools.cycle(bodies)))
            times, statuses = run_load(parts.hostname, parts.port, requests, connections, args.seconds)
        told = row(name, times, statuses, args.seconds, **more)
        return {**told, "service_cpu_us": 1e6 * (cpu_seconds(pid) - used) / max(1, told["requests"])}
    parts, rng = urlsplit(url), random.Random(args.seed)
    asked = "/v1/predict", [json.dumps({"x": features(rng)}) for _ in range(5000)], args.connections
    if "predict" in args.only:
        yield run("predict", *asked)
    if "predict + learning" in args.only:
        teacher = subprocess.Popen([sys.executable, __file__, "--teach", str(args.rate), "--url", url, "--seed", str(time.time_ns())])
        time.sleep(3.0)
        before, started = ask(url, "/v1/stats")[1]["learned"], time.monotonic()
        told = run("predict + learning", *asked)
        told["learned_per_second"] = (ask(url, "/v1/stats")[1]["learned"] - before) / (time.monotonic() - started)
        teacher.kill()
        teacher.wait()
        yield told
    if "ingest" in args.only:
        yield run("ingest", "/v1/events", ready_made(rng), args.ingesting, f"{time.time_ns()}-")


def started(folder):
    """(process, url, seconds until ready) of a service on that directory."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "linear", "serve", "--dir", folder, "--port", "0", "--crosses", "user*tags"],
                               stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    with process.stdout as out:
        url = out.readline().split(" at ")[1].split(";")[0]
    while ask(url, "/readyz")[0] != 200:
        time.sleep(0.02)
    return process, url, time.monotonic() - begun


def replaying(events, seed):
    """The row of a service that finds so many events in its log, and no state."""
    from linear.service.events import event as checked
    from linear.service.reading import Reader
    from linear.service.runner import Directory
    folder, rng = tempfile.mkdtemp(), random.Random(seed)
    try:
        with Directory(folder, {"crosses": "user*tags"}) as directory:
            log, reader = directory.log(), Reader(directory.options)
            for start in range(0, events, 10_000):
                log.append([checked(event(start + i, rng), pack=reader.record) for i in range(min(10_000, events - start))])
            log.close()
        process, url, seconds = started(folder)
        begun = time.monotonic()
        while ask(url, "/v1/stats")[1]["seq"] < events:
            time.sleep(0.1)
        rest = time.monotonic() - begun
        process.terminate()
        process.wait()
        return {"load": "ready", "events": events, "seconds": seconds, "all_learned": seconds + rest}
    finally:
        shutil.rmtree(folder)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running service; its log will get the events of this load")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=16, help="that ask for predictions")
    parser.add_argument("--ingesting", type=int, default=32, help="connections that store events")
    parser.add_argument("--rate", type=float, default=20_000, help="events a second to be learned meanwhile")
    parser.add_argument("--events", type=int, default=1_000_000, help="in the log of the service that is to become ready")
    parser.add_argument("--only", nargs="+", default=ROWS[:3], choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wrk", action="store_true", help="have the program wrk send the requests")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--teach", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.teach:
        return teach(args.url, args.teach, args.seed)
    folder = process = None
    rows = []
    try:
        if set(args.only) - {"ready"}:
            url = args.url
            if not url:
                folder = tempfile.mkdtemp()
                process, url, _ = started(folder)
            rows += measure(url, args, process and process.pid)
        if "ready" in args.only:
            rows.append(replaying(args.events, args.seed))
    finally:
        if process:
            process.terminate()
            process.wait()
            shutil.rmtree(folder)
    for told in rows:
        if args.json:
            print(json.dumps(told))
        elif told["load"] == "ready":
            print(f"ready with {told['events']} events to replay: {told['seconds']:.2f} s; all learned: {told['all_learned']:.2f} s")
        else:
            more = f"  learned {told['learned_per_second']:.0f}/s" if "learned_per_second" in told else ""
            print(f"{told['load']:19} {told['per_second']:8.0f}/s   p50 {told['p50']:6.2f}  p95 {told['p95']:6.2f}  p99 {told['p99']:6.2f}  "
                  f"p99.9 {told['p99.9']:6.2f} ms  {told['errors']} errors  {told['service_cpu_us']:4.0f} us CPU a request{more}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
