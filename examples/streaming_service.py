"""A streaming learner, end to end: who will like which film, while labels come late, tastes change, and the process is killed.

    python examples/streaming_service.py [--seconds 30] [--data events.jsonl] [--picture streaming_service.png] [--challenger] [--json]

Starts `python -m linear serve` on a folder of its own and plays a stream to it: every viewing is predicted when it comes, and
most of its labels come later. Half way a third of the genres go out of fashion; at three quarters the service is killed with
-9 and started again. At the end one prediction is explained, one event is unlearned, `python -m linear verify` learns the
whole log once more to see that nothing is lost, and a browser without a window takes a picture of the dashboard, where
Chromium is installed. --data is a file of {"id": .., "x": {..}, "y": ..}, one a line, instead of the made-up viewings.
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import browser

from linear.service.client import Client

GENRES = ("action", "animation", "comedy", "crime", "drama", "horror", "musical", "romance", "western")
CROSSES = "user*genres"
A_SECOND = 400                              # events; the service can take far more, a reader can not
BATCH = 25
LATEST = 400                                # events after which a label has come, if it comes at all
SHARES = 0.4, 0.9                           # of events with their label at once; with a label at all
ROWS = 10                                   # of the table


def viewings(count, seed):
    """Events {id, x, y} of people who like some genres; in the second half a third of the genres are liked the other way round."""
    chance = random.Random(seed)
    films = [(f"film {i}", chance.sample(GENRES, chance.choice((1, 2, 2, 3))), chance.gauss(0, 0.5)) for i in range(300)]
    tastes = {f"user {i}": {genre: chance.choice((-1, 1)) * chance.uniform(0.5, 1.5) for genre in GENRES} for i in range(60)}
    for i in range(count):
        if i == count // 2:
            for taste in tastes.values():
                taste.update((genre, -taste[genre]) for genre in GENRES[::3])
        user, (film, genres, quality) = chance.choice(list(tastes)), chance.choice(films)
        liked = sum(tastes[user][genre] for genre in genres) + quality + chance.gauss(0, 0.4) > 0
        yield {"id": f"view-{i}", "x": {"user": user, "film": film, "genres": genres}, "y": 1 if liked else -1}


def delayed(events, seed):
    """For each event what is sent when it comes: itself, with its label or without, and the late labels of earlier ones."""
    chance, late = random.Random(seed), {}
    for i, event in enumerate(events):
        when = chance.random()
        sent = event if when < SHARES[0] else {"id": event["id"], "x": event["x"]}
        if SHARES[0] <= when < SHARES[1]:
            late.setdefault(i + chance.randint(1, LATEST), []).append({"id": event["id"], "y": event["y"]})
        yield event, [sent, *late.pop(i, ())]


@contextmanager
def service(folder, port=0):
    """(process, its address) of a running service; ended with SIGTERM."""
    process = subprocess.Popen([sys.executable, "-m", "linear", "serve", "--dir", folder, "--port", str(port), "--crosses", CROSSES],
                               stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if " at http" not in line:
            sys.exit("streaming_service.py: the service has not started; its own words are above")
        yield process, line.partition(" at ")[2].partition(";")[0]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def play(client, parts, count, seconds, told):
    """Send a part of the stream at an even pace, predicting each event first; one row of the table for each tenth."""
    began, right, batch, done = time.monotonic(), [], [], 0
    for event, sent in parts:
        batch.append((event, sent))
        if len(batch) < BATCH:
            continue
        told["window"] += [client.predict(event["x"], event["id"])["label"] == event["y"] for event, _ in batch]
        client.send([item for _, items in batch for item in items])
        done += len(batch)
        batch = []
        time.sleep(max(0.0, began + done / count * seconds - time.monotonic()))
        if len(told["window"]) >= told["row"]:
            right.append(sum(told["window"]) / len(told["window"]))
            told["window"] = []
            row(client, told, right[-1])
    return right


def row(client, told, right):
    stats = client.stats()
    marks = [mark for mark in stats["marks"] if mark not in told["marks"]]
    told["marks"] += marks
    if not told["quiet"]:
        print(f"{stats['stored']:9,}  {stats['learned']:9,}  {100 * right:12.1f} %  {100 * (1 - stats['recent_error']):15.1f} %  "
              + ", ".join(f"{seq:,}" + " (took over)" * (name == "challenger") for seq, name in marks), flush=True)


def run(folder, events, page, args):
    """Play the story, watched by the browser `page`; returns its numbers."""
    say = (lambda *_: None) if args.json else print
    half, quarter = len(events) // 2, len(events) // 4
    stream = delayed(events, args.seed)
    told = {"row": max(BATCH, len(events) // ROWS // BATCH * BATCH), "window": [], "marks": [], "quiet": args.json}
    part = [[next(stream) for _ in range(size)] for size in (half, quarter, len(events) - half - quarter)]
    with service(folder) as (process, url):
        port, client = int(url.rpartition(":")[2]), Client(url)
        if page:
            page.open(url)
        if args.challenger:
            client.ask("POST", "/v1/commands", {"command": "policy", "drift": "challenger"})
        say(f"serving at {url}; open it in a browser to watch\n")
        say("   stored    learned  right as served  right, newest 1000  drift found at")
        before = play(client, part[0], len(events), args.seconds, told)
        drift = client.stats()["stored"]
        say(f"{'':9}  -- a third of the genres go out of fashion --")
        during = play(client, part[1], len(events), args.seconds, told)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    began = time.monotonic()
    with service(folder, port) as (process, _):
        stats = client.stats()
        say(f"{'':9}  -- killed with -9, and back in {time.monotonic() - began:.1f} s with all {stats['stored']:,} parts --")
        after = play(client, part[2], len(events), args.seconds, told)
        stats = client.wait_learned(client.stats()["stored"])
        if page:
            page.wait_for("document.getElementById('state').textContent === 'live'")
            page.picture(args.picture)
        told_why = client.ask("POST", "/v1/explain", {"x": events[-1]["x"]})
        known = [event for event, sent in part[2] if "y" in sent[0]]
        margins = [answer["margin"] for answer in client.predict([event["x"] for event in known])]
        unfit = min(range(len(known)), key=lambda i: known[i]["y"] * margins[i])        # the least as expected: surely learned from
        forgotten, margins = known[unfit], [margins[unfit]]
        order = client.ask("POST", "/v1/commands", {"command": "forget", "id": forgotten["id"]})
        final = client.wait_learned(order["seq"])
        margins.append(client.predict(forgotten["x"])["margin"])
        client.close()
    verified = subprocess.run([sys.executable, "-m", "linear", "verify", "--dir", folder], stdout=subprocess.PIPE, text=True, check=True)
    return {"events": len(events), "learned": stats["learned"], "drift_at": drift, "marks": told["marks"],
            "right_before": before[-1], "right_after_drift": during[0], "right_at_the_end": after[-1],
            "margin": told_why["margin"], "contributions": told_why["contributions"], "forgotten": forgotten["id"],
            "margin_before_forgetting": margins[0], "margin_after_forgetting": margins[1], "state_sha256": final["state_sha256"],
            "verified": verified.stdout.split()[1] == final["state_sha256"], "picture": str(Path(args.picture).resolve()) if page else None}


def watcher():
    """A browser to watch the dashboard, None, and a word about it, without one."""
    if browser.found() is None:
        print("no picture: it is taken by Chromium, which is not installed", file=sys.stderr)
        return nullcontext()
    return browser.Browser(1280, 900)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="how long the stream is played (default 30)")
    parser.add_argument("--data", type=Path, metavar="PATH", help="events, one JSON object a line; without it made-up viewings")
    parser.add_argument("--picture", metavar="PATH", default="streaming_service.png", help="where the picture goes (default %(default)s)")
    parser.add_argument("--challenger", action="store_true", help="let a learner with a higher rate take over where drift makes it better")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default 0)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of the story")
    args = parser.parse_args()
    if not args.seconds >= 1:
        parser.error(f"--seconds {args.seconds:g}: at least 1")
    if args.data and not args.data.is_file():
        parser.error(f"--data {args.data}: there is no such file or directory")
    count = int(args.seconds * A_SECOND)
    events = [json.loads(line) for line in args.data.open(encoding="utf-8")][:count] if args.data else list(viewings(count, args.seed))
    with tempfile.TemporaryDirectory() as folder, watcher() as page:
        numbers = run(folder, events, page, args)
    if args.json:
        print(json.dumps(numbers))
        return
    print(f"\nthe last viewing would be liked by {numbers['margin']:+.3f}: " if numbers["margin"] > 0 else
          f"\nthe last viewing would not be liked, {numbers['margin']:+.3f}: ", end="")
    largest = sorted(numbers["contributions"], key=lambda pair: -abs(pair[1]))[:4]
    print(", ".join(f"{part:+.3f} {name}" for name, part in largest) + ", ...")
    print(f"{numbers['forgotten']} is unlearned: its own margin goes from {numbers['margin_before_forgetting']:+.4f} to "
          f"{numbers['margin_after_forgetting']:+.4f}")
    print(f"state_sha256 {numbers['state_sha256'][:16]}..., {'the same' if numbers['verified'] else 'ANOTHER'} from the log alone")
    if numbers["picture"]:
        print(f"picture: {numbers['picture']}")


if __name__ == "__main__":
    main()
