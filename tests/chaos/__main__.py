"""The long form: every scenario at a release's size, and a report in Markdown of what was counted.

python -m tests.chaos --report chaos.md            about half an hour on two cores
python -m tests.chaos --kills 200 --only kills     one scenario, smaller
"""
import argparse
import inspect
import json
import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path

from tests.chaos import broker, disk, faults, kills, malformed, power, slow
from tests.chaos.nursery import Nursery

LIMITS = """\
kill -9 leaves the system's memory whole, so power loss is another matter: for our own state files it is tested by a model of the
disk, not by pulling a plug; for the log we rely on SQLite's promise (WAL, synchronous = FULL) and on disks that do not lie about
a flush; the same for Redis with appendfsync always. Not claimed, since nothing here tests it: network file systems, and disks that return other bytes than were written
to SQLite. Equal states are states of one build of the program, NumPy and numba, on one family of processors.
"""


def scenarios(nursery, folder, args):
    """{name: (function, its arguments)}; what is promised is told by the first paragraph of the function's docstring."""
    return {
        "kills": (kills.campaign, nursery, folder / "kills", kills.planned(args.kills, args.seed), args.seed, _each_50th),
        "first starts": (kills.first_starts, nursery, folder / "first", args.first_starts),
        "damaged states": (kills.damaged, folder / "damaged", args.files, args.seed),
        "power loss": (power.power_loss, folder / "power"),
        "limited file size": (disk.full_disk, nursery, folder / "limit", args.steps),
        "full file system": (disk.full_file_system, nursery, folder / "small", args.steps // 4),
        "two writers": (faults.two_writers, nursery, folder / "two", args.races),
        "clock": (faults.clock_steps, nursery, folder / "clock"),
        "dead learner": (faults.dead_learner, nursery, folder / "dead", "learner dies", "injected"),
        "weights not finite": (faults.dead_learner, nursery, folder / "nan", "weights turn NaN", "not finite"),
        "failing flush": (faults.failing_flush, nursery, folder / "flush"),
        "all states damaged": (faults.all_damaged, nursery, folder / "all"),
        "malformed requests": (malformed.malformed, nursery, folder / "malformed", args.requests, args.seed),
        "slow clients": (slow.slow, nursery, folder / "slow", 10.0),
        "broker restarts": (broker.restarts, nursery, folder / "broker", args.restarts, args.restarts // 5, args.seed, _each_50th),
        "lost end of the log": (broker.lost_end, nursery, folder / "lost"),
    }


def report(results, arguments):
    """The report as Markdown; `results` is {name: (promise, figures, seconds)}."""
    lines = ["# Kill suite of the streaming service", "", f"`python -m tests.chaos {shlex.join(arguments)}`", "",
             f"Python {platform.python_version()}, NumPy {version('numpy')}, numba {version('numba')}, {platform.system()} "
             f"{platform.machine()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end.", ""]
    for name, (promise, figures, seconds) in results.items():
        lines += [f"## {name.capitalize()}", "", f"{promise} ({seconds:.0f} s)", "", "| | |", "|---|---|"]
        lines += [*(f"| {what} | {value} |" for what, value in figures.items()), ""]
    return "\n".join([*lines, "## Limits", "", LIMITS])


def main(argv):
    """Run the scenarios asked for; 1 where one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="the kill suite's long form", allow_abbrev=False)
    for name, size, text in (("kills", 1000, "kills under load"), ("first-starts", 20, "kills at each place of a first start"),
                             ("files", 10_000, "damaged state files"), ("steps", 200, "times that the disk is full"),
                             ("races", 100, "races of two writers"), ("requests", 100_000, "malformed requests"), ("restarts", 50, "restarts of the log's broker"),
                             ("seed", 0, "seed of all that is random")):
        parser.add_argument(f"--{name}", type=int, default=size, metavar="N", help=f"{text} ({size})")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="scenarios to run, such as 'kills' 'clock'; all without")
    parser.add_argument("--report", metavar="FILE", help="write the report there as well")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args(argv)
    results, failed = {}, 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, Nursery() as nursery:
        table = scenarios(nursery, Path(folder), args)
        if unknown := set(args.only or ()) - set(table):
            parser.error(f"there is no scenario {min(unknown)!r}; there are {', '.join(table)}")
        for name in args.only or table:
            _say(name)
            function, *rest = table[name]
            promise, began = " ".join(inspect.getdoc(function).partition("\n\n")[0].split()), time.monotonic()
            try:
                figures = function(*rest)
            except Exception as error:      # the others are still of interest
                traceback.print_exc()
                figures, failed = {"FAILED": " ".join(f"{type(error).__name__}: {error}".split())}, 1
            results[name] = promise, figures, time.monotonic() - began
    text = report(results, argv)
    print(json.dumps({name: figures for name, (_, figures, _) in results.items()}) if args.json else text)
    if args.report:
        Path(args.report).write_text(text, encoding="utf-8")
    return failed


def _each_50th(done):
    if done % 50 == 0:
        _say(f"  {done} kills")


def _say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
