"""Scale-out: what several workers gain, what mixing their weights costs in accuracy, and what 100 machines would do.

    python examples/scale_out.py [--data FILE ...] [--lines 400000] [--workers 1 2] [--shards 2] [--rounds 4] [--plan] [--json]

FILEs are VW text; without any, a click stream of --lines is made up: users, items and tags of long-tailed frequency, whose
crosses decide the label. It prints

    scaling   the same run on 1 worker, on 2, ..: seconds, beside what the cost model of `linear.scale.plan` says; the models'
              files must have the same bytes
    accuracy  one learner beside shards that are averaged more and more often: progressive error, and error on the last
              tenth of the data, which nobody has learned
    plan      what the model, fitted here, predicts for 2 to 100 workers and 10^9 features, and where each limit bites

--plan prints the last alone. Needs Dask: python -m pip install "tinygrad-lite[dask]".
"""
import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path

for threads in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS":
    os.environ.setdefault(threads, "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
OPTIONS = {"crosses": ["-q ut", "-q id"]}
READS = {"parser": ["vw"], "most": None, "strict": False}
AVERAGED = (2, 1), (2, 4), (2, 16), (4, 4), (4, 16), (16, 16)       # shards, rounds


def made_up(path, count, seed=0):
    """Write a click stream: the label follows a weight of each user, and one of each user's group with each tag."""
    import numpy as np
    rng = np.random.default_rng(seed)
    user, item = (rng.zipf(1.3, count) % size for size in (50_000, 20_000))
    tags = rng.zipf(1.3, (count, 5)) % 5000
    device = rng.integers(0, 4, count)
    weight = rng.standard_normal
    of_user, of_pair, of_item = weight(50_000), weight((64, 5000)), weight((20_000, 4))
    score = of_user[user] + of_pair[user[:, None] % 64, tags].sum(axis=1) + of_item[item, device] + weight(count)
    with open(path, "w", encoding="ascii") as file:
        for u, i, d, t, s in zip(user.tolist(), item.tolist(), device.tolist(), tags.tolist(), score.tolist()):
            file.write(f"{1 if s > 0 else -1} |u u{u} |i i{i} |t t{' t'.join(map(str, t))} |d d{d}\n")


def run(files, shards, rounds, engine):
    """(the learned model, its totals, seconds)."""
    from linear import HingeSVM
    from linear.scale.mixing import learn
    from linear.scale.shards import cut_files
    started = time.perf_counter()
    model, totals = learn(HingeSVM(**OPTIONS), cut_files(files, shards, rounds), engine, READS)
    return model, totals, time.perf_counter() - started


def digest(model, folder):
    path = os.path.join(folder, "model")
    model.save(path)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def split(files, folder, count):
    """The first `count` lines as two files: nine tenths to learn, one to be tested on."""
    lines = []
    for path in files:
        with open(path, "rb") as file:
            lines += islice(file, count - len(lines))
    known, fresh = os.path.join(folder, "known.vw"), os.path.join(folder, "fresh.vw")
    Path(known).write_bytes(b"".join(lines[:len(lines) * 9 // 10]))
    Path(fresh).write_bytes(b"".join(lines[len(lines) * 9 // 10:]))
    return known, fresh


def scaling(files, warming, costs, args, folder):
    """A row for each number of workers, the same shards each time."""
    from linear.scale.engines import DaskEngine
    rows = []
    for workers in args.workers:
        with DaskEngine(workers=workers) as engine:
            run([warming], 2 * workers, 1, engine)                  # every worker loads its loops
            model, totals, seconds = run(files, args.shards, args.rounds, engine)
        predicted = sum(costs.run(totals.examples, workers, args.shards, args.rounds, cores=os.cpu_count()).values())
        first = rows[0]["seconds"] if rows else seconds
        rows.append({"workers": workers, "lines": totals.examples, "seconds": seconds, "lines a second": totals.examples / seconds,
                     "times the first": first / seconds, "the plan says": predicted, "its error": predicted / seconds - 1.0,
                     "model file": digest(model, folder)})
    return rows


def accuracy(known, fresh):
    """A row for one learner, and for each way to average."""
    from linear import stream
    from linear.formats import parser
    from linear.scale.engines import LocalEngine
    rows = []
    for shards, rounds in ((1, 1), *AVERAGED):
        model, totals, seconds = run([known], shards, rounds, LocalEngine())
        with open(fresh, "rb") as file:
            tested = stream.run(model, file, parser("vw"), fresh, learn=False)
        rows.append({"shards": shards, "rounds": rounds, "lines between": totals.examples // (shards * rounds),
                     "progressive 0/1": totals.zero_one, "fresh 0/1": tested.zero_one, "weights": len(model.weights)})
        rows[-1]["mixing costs"] = tested.zero_one - rows[0]["fresh 0/1"]
    return rows


def shown(title, rows):
    """Print rows as a table."""
    def text(value):
        if isinstance(value, str):
            return value
        return f"{value:,.4f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"
    print(f"\n{title}\n" + "  ".join(f"{name:>{max(len(name), 10)}}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{text(value):>{max(len(name), 10)}}" for name, value in row.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="FILE", nargs="+", help="VW text of your own")
    parser.add_argument("--lines", type=int, default=400_000, metavar="N", help="lines to make up; accuracy and costs are measured "
                        "on so many at most")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="W", help="numbers of workers to try (1 2)")
    parser.add_argument("--shards", type=int, default=2, metavar="P", help="shards of the scaling run (2)")
    parser.add_argument("--rounds", type=int, default=4, metavar="R", help="rounds of the scaling run (4)")
    parser.add_argument("--plan", action="store_true", help="only fit the model and print its page")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead")
    args = parser.parse_args()
    for path in args.data or ():
        if not os.path.isfile(path):
            parser.error(f"--data {path}: there is no such file")
    from linear.scale import plan
    from linear.scale.engines import DaskEngine, ScaleError
    with tempfile.TemporaryDirectory() as folder:
        files = args.data or [os.path.join(folder, "made_up.vw")]
        if not args.data:
            made_up(files[0], args.lines)
        known, fresh = split(files, folder, args.lines)
        try:
            with DaskEngine(workers=1) as engine:
                costs = plan.fitted(known, READS, OPTIONS, engine)
            told = {"costs": asdict(costs)}
            if not args.plan:
                told |= {"scaling": scaling(files, fresh, costs, args, folder), "accuracy": accuracy(known, fresh)}
        except ScaleError as error:
            parser.error(str(error))
    if args.json:
        print(json.dumps(told))
        return
    print("fitted: " + ", ".join(f"{name} {value:.3g}" for name, value in told["costs"].items()))
    for name, title in (("scaling", f"scaling: {args.shards} shards, {args.rounds} rounds"), ("accuracy", "accuracy")):
        if name in told:
            shown(title, told[name])
    print("\nplan\n" + plan.page(costs))


if __name__ == "__main__":
    main()
