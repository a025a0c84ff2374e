"""How fast is it? The same work in tinygrad_lite, PyTorch and JAX, side by side in one process.

    python examples/benchmark.py [--only NAME,..] [--size 0.5 1 3] [--reps 7] [--json FILE] [--quick] [--device cuda]

The rows stand in bench/, a room for each kind of work. A row builds one step of work from names that tinygrad_lite and
PyTorch share; others (JAX under `jit`, scikit-learn, ...) bring their own. Libraries that are not installed are left out.
Everything runs on one thread of one core and in turn, so that a slow moment of the machine meets all of them; times are
medians. `ratio` is the time of the fastest other library (or of the one named) divided by ours: above 1 we are faster.
With --device cuda the rows are those of bench/device.py.
"""
import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version

CORES = os.cpu_count()
for threads in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ[threads] = "1"               # read when the libraries are loaded
os.environ["JAX_PLATFORMS"] = "cpu"
if hasattr(os, "sched_setaffinity"):        # Linux: stay on one core, with all threads that start from here on
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from bench import (engine, optimizers, convolution, recurrent, charcnn, embedding, training, fasttext,      # each fills ROWS
                   vectors, device)
from bench.libraries import JAX, Ours, PyTorch
from bench.table import ROWS
from common import add_device


def measure(steps, reps, sample):
    """{name: median seconds of one step}; the names take turns, `sample` seconds each."""
    times, count = {name: [] for name in steps}, {}
    for name, step in steps.items():
        step(), step(), step()                              # compiles, allocates, warms up
        count[name] = max(1, round(sample / seconds_of(step, 1)))
    for _ in range(reps):
        for name, step in steps.items():
            times[name].append(seconds_of(step, count[name]))
    return {name: statistics.median(t) for name, t in times.items()}


def seconds_of(step, count):
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def verdict(row, seconds):
    """(ratio, the peer it speaks of), (None, None) without one."""
    peers = {name: s for name, s in seconds.items() if name != "tinygrad_lite" and row.against in (None, name)}
    if not peers:
        return None, None
    best = min(peers, key=peers.get)
    return peers[best] / seconds["tinygrad_lite"], best


def pretty(seconds):
    if seconds is None:
        return "-"
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def machine(libraries):
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    packages = ["numpy", "numba", *(peer.module for peer in libraries[1:])]
    return {"cpu": cpu, "cores": CORES, "python": platform.python_version(), **{name: version(name) for name in packages}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME,..",
                        help=f"rooms and rows whose name contains one of these; rows are {', '.join(ROWS)}")
    parser.add_argument("--size", type=float, nargs="+", default=[1.0], help="sizes of the work, one table each (default 1)")
    parser.add_argument("--reps", type=int, default=7, help="samples for each median (default 7)")
    parser.add_argument("--json", metavar="FILE", help="write machine, seconds and ratios there")
    parser.add_argument("--quick", action="store_true", help="2 short samples at a fiftieth of the size: does each row run?")
    add_device(parser)
    args = parser.parse_args()
    names = [name for name, row in ROWS.items() if (row.room == "device") == (args.device == "cuda")
             and any(part in f"{row.room} {name}" for part in (args.only or "").split(","))]
    if not names or args.reps < 1 or min(args.size) <= 0:
        parser.error(f"nothing to do: --only {args.only} --reps {args.reps} --size {args.size}; rows are {', '.join(ROWS)}")
    sizes, reps, sample = ([0.02], 2, 0.001) if args.quick else (args.size, args.reps, 0.03)     # seconds a sample

    if args.device == "cuda":
        libraries = device.libraries()
    else:
        libraries = [Ours()] + [peer() for peer in (PyTorch, JAX) if importlib.util.find_spec(peer.module)]
    found = machine(libraries)
    print(", ".join(f"{name} {value}" for name, value in found.items()), "- one thread, one core" if args.device == "cpu" else "- on the GPU")
    if len(libraries) == 1:
        print("Neither PyTorch nor JAX is installed: these are our own times, with nothing to compare." if args.device == "cpu" else
              "PyTorch is not installed, or sees no GPU: these are our own times, and those of a copy.")
    results = {}
    for size in sizes:
        print(f"\nsize {size:g}")
        results[f"{size:g}"], room = {}, None
        for name in names:
            row = ROWS[name]
            if row.room != room:
                room = row.room
                room_rows = [ROWS[other] for other in names if ROWS[other].room == room]
                columns = list(dict.fromkeys(column for other in room_rows for column in other.names(libraries)))
                print(f"\n{room:26s}" + "".join(f"{column:>18s}" for column in columns) + f"   {'ratio':24s}goal")
            seconds = measure(row.steps(libraries, size), reps, sample)
            ratio, peer = verdict(row, seconds)
            shown = f"{ratio:6.2f}x {peer:16s}" if peer else f"{'-':24s}"
            reached = "" if ratio is None or args.quick else "reached" if ratio >= row.goal else "missed"
            print(f"{name:26s}" + "".join(f"{pretty(seconds.get(column)):>18s}" for column in columns)
                  + f" {shown}  >= {row.goal:.3g}x {row.against or 'best peer'}  {reached}", flush=True)
            results[f"{size:g}"][name] = {"seconds": seconds, "ratio": ratio, "against": peer, "goal": row.goal}
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": found, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
