"""Does tinygrad_lite compute what PyTorch computes? Both on the same numbers, item by item, and then they train together.

    python examples/compare_pytorch.py [--item NAME,..] [--seed 0] [--json FILE] [--plot FILE] [--recorded | --record]
                                       [--device cuda]

An item is an optimizer, a schedule, a clip, a loss, a layer or a training; a case is one drawing of options and inputs:
0-d, empty and strided arrays, gradients of None, float64 and float32. A difference is |ours - theirs| / max(1, |theirs|).

Where PyTorch is not installed its values come from examples/recorded.json.gz, which `--record` wrote where it was. What
PyTorch does not have is compared with the float64 definitions in tests/data; the column `peer` says which. Times are those of
a whole item, the drawing of its inputs included. The last line is "N items, 0 differ", and the exit code is 1 if any
differs. The items themselves stand in compare/items.py.
"""
import argparse
import gzip
import importlib.util
import json
import os
import sys
import time
import warnings
import zlib
from functools import partial
from pathlib import Path

for threads in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ[threads] = "1"               # read when the libraries are loaded

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import tinygrad_lite as tg
from common import add_device
from compare import definitions, items
from compare.libraries import Ours, PyTorch

RECORDED = HERE / "recorded.json.gz"
# Both round each operation alike but add up in other orders. float64 keeps 16 digits; cancellation eats a few, and a training
# works on its own results, so that each step multiplies what the last one left. What we see is 1e-14; a wrong formula is 1e-3.
LIMIT = {"float64": 1e-10, "float32": 2e-5}
SLACK = {"optim.Muon": 0.25 * 0.02,             # PyTorch iterates in bfloat16: within a quarter of the rate; MuonF64 is exact
         ("optim.LBFGS", "float32"): 2e-3}      # a line search compares losses of 7 digits: where the lowest is, has half of them


class Item:
    """Cases are (label, dtype, run), run(library, rng) -> [arrays]; `expected` holds their results where PyTorch has none."""

    def __init__(self, name, cases, expected=None):
        self.name, self.cases, self.expected = name, cases, expected
        self.limit = {d: max(LIMIT[d], SLACK.get(name, 0), SLACK.get((name, d), 0)) for d in LIMIT}

    def results(self, library, seed):
        """([results of each case], seconds): the faster of two runs, for the first may compile."""
        seconds, kept = [], []
        for _ in range(2):
            kept, started = [], time.perf_counter()
            for i, (_, dtype, run) in enumerate(self.cases):
                library.dtype = dtype
                # Legacy RandomState: its stream is the same for ever, which recorded values need.
                kept.append(run(library, np.random.RandomState(zlib.crc32(f"{seed} {self.name} {i}".encode()))))
            seconds.append(time.perf_counter() - started)
        return kept, min(seconds)


# ---------------------------------------------------------------- which items there are

def rowed():
    """{name: Item} of every row of the tables, built here already or not."""
    found = {}

    def add(name, runs, dtypes=items.DTYPES):
        found[name] = Item(name, [(f"{label} {dtype}", dtype, run) for label, run in runs for dtype in dtypes])
    for name, rows in items.OPTIMIZERS.items():
        add(f"optim.{name}", [(str(o), partial(items.optimizer, name=name, **o)) for o in rows])
    for name in items.SCHEDULES:
        add(f"schedules.{name}", [(f"drawing {i}", partial(items.schedule, name=name)) for i in range(6)], ["float64"])
    for name, rows in items.CLIPS.items():
        add(f"clip.{name}", [(str(limits), partial(clip_with, name, limits)) for limits in rows])
    for name, rows in items.LOSSES.items():
        cases = [(f"{shape} {', '.join(o)}", c, partial(items.loss, inputs=i, shape=shape, options=o))
                 for c, i, shapes, options in rows for shape in shapes for o in options]
        add(f"losses.{name}", [(label, partial(run, call=partial(function_of, name))) for label, _, run in cases])
        add(f"nn.{cases[0][1]}", [(label, partial(run, call=partial(layer_of, c))) for label, c, run in cases])
    for name, rows in items.LAYERS.items():
        add(f"nn.{name}", [(f"{a} {o}", partial(items.layer, name=name, args=a, options=o, inputs=i)) for a, o, i in rows])
    for name, (data, needs, run) in items.TRAININGS.items():
        if importlib.util.find_spec(needs):
            add(f"training.{name}", [(data, run)], ["float64"])
    return found


def clip_with(name, limits, L, rng):
    return items.clip(L, rng, name, *limits)


def function_of(name, L, options):
    return partial(getattr(L.losses, name), **options)


def layer_of(name, L, options):
    return getattr(L.nn, name)(**options)


def defined():
    """{name: Item} of what only we have, with the recorded definitions it must meet."""
    found = {}
    for room, cases in ("optim", definitions.optimizers()), ("schedules", definitions.schedules()), ("losses", definitions.losses()):
        for name, run, expected in cases:
            item = found.setdefault(f"{room}.{name}", Item(f"{room}.{name}", [], []))
            item.cases.append((f"case {len(item.cases)}", "float64", run))
            item.expected.append(expected)
    return found


def public():
    """Every name that ought to be an item: what tinygrad_lite has."""
    layers = [n for n, c in vars(tg.nn).items() if isinstance(c, type) and issubclass(c, tg.nn.Module) and n not in items.CONTAINERS]
    rooms = dict(optim=tg.optim.ALL, schedules=tg.schedules.ALL, clip=tg.clip.ALL, losses=tg.losses.ALL)
    return [f"{room}.{f.__name__}" for room, table in rooms.items() for f in table] + [f"nn.{n}" for n in layers]


# ---------------------------------------------------------------- comparing

def difference(ours, theirs):
    """The largest |ours - theirs| / max(1, |theirs|); infinite where shapes, or NaN and infinities, are not the same."""
    if len(ours) != len(theirs):
        return float("inf")
    worst = 0.0
    for a, b in zip(ours, theirs):
        a, b = np.asarray(a, float), np.asarray(b, float)
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf")
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf")
        a, b = a[finite], b[finite]
        worst = max(worst, (np.abs(a - b) / np.maximum(1, np.abs(b))).max(initial=0))
    return float(worst)


def sketches(item, results):
    """Four signed sums of each result: small enough to ship, and a difference anywhere shows in all of them."""
    return [[sums(a, 13 if dtype == "float64" else 8) for a in case] for (_, dtype, _), case in zip(item.cases, results)]


def sums(a, digits):
    a = np.nan_to_num(np.asarray(a, float).ravel(), nan=7, posinf=11, neginf=13)
    if a.size > 4:
        a = np.where(np.random.RandomState(a.size).rand(4, a.size) < 0.5, 1, -1) @ a / a.size ** 0.5
    return [float(f"{v:.{digits}g}") for v in a]


def compared(item, seed, torch, recorded):
    """A row of the table, as a dict."""
    row = dict(item=item.name, cases=len(item.cases), peer="definition" if item.expected else "PyTorch" if torch else "recorded",
               float64=None, float32=None, seconds=None, peer_seconds=None, ratio=None, first=None)
    try:
        ours, row["seconds"] = item.results(Ours(), seed)
        if item.expected:
            theirs = item.expected
        elif torch:
            with warnings.catch_warnings():             # PyTorch's own: the mean of nothing, an unused scheduler step
                warnings.simplefilter("ignore")
                theirs, row["peer_seconds"] = item.results(torch, seed)
            row["ratio"] = row["peer_seconds"] / row["seconds"]
        elif item.name not in recorded["items"]:
            raise LookupError("nothing is recorded: run --record where PyTorch is")
        else:
            ours, theirs = sketches(item, ours), recorded["items"][item.name]
    except Exception as error:                          # one broken item must not hide the others
        return {**row, "first": f"{type(error).__name__}: {error}", "differs": True}
    for (label, dtype, _), a, b in zip(item.cases, ours, theirs):
        d = difference(a, b)
        row[dtype] = max(row[dtype] or 0.0, d)
        if not d <= item.limit[dtype] and not row["first"]:
            row["first"] = f"{label}: {d:.2g}, at most {item.limit[dtype]:g} is allowed"
    row["differs"] = bool(row["first"]) or len(ours) != len(theirs)
    if item.name.startswith("training."):
        row["curves"] = [ours[0][0], theirs[0][0]] if torch else None
    return row


# ---------------------------------------------------------------- showing

def line(row):
    numbers = "".join(f"{'-' if row[d] is None else f'{row[d]:.1e}':>10s}" for d in LIMIT)
    times = "".join(f"{'-' if row[s] is None else f'{row[s] * 1e3:.1f} ms':>12s}" for s in ("seconds", "peer_seconds"))
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.1f}x"
    differs = f"  DIFFERS {row['first']}" if row["differs"] else ""
    return f"{row['item']:40s}{row['cases']:5d}{numbers}{times}{ratio:>8s}  {row['peer']}{differs}"


def plot(rows, path):
    """Differences of all items against their limits, and the loss curves of the trainings."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    curves = [row for row in rows if row.get("curves")]
    figure = plt.figure(figsize=(13, 2 + 0.13 * max(len(rows), 30)), layout="constrained")
    grid = figure.add_gridspec(max(len(curves), 1), 2)
    ax = figure.add_subplot(grid[:, 0] if curves else grid[:, :])
    for dtype, color, size in zip(LIMIT, ("C0", "C1"), (6, 3)):        # the smaller dots lie on the larger ones
        places = [i for i, row in enumerate(rows) if row[dtype] is not None]
        ax.plot([min(max(rows[i][dtype], 1e-18), 1e3) for i in places], places, "o", color=color, markersize=size,
                label=f"largest difference in {dtype}")
        ax.axvline(LIMIT[dtype], color=color, linestyle=":", label=f"limit in {dtype}: {LIMIT[dtype]:g}")
    ax.set_yticks(range(len(rows)), [row["item"] for row in rows], fontsize=6)
    ax.set(xscale="log", xlabel="|ours - theirs| / max(1, |theirs|)   (no difference is drawn at 1e-18)", ylim=(len(rows), -1),
           title="tinygrad_lite and PyTorch (or a definition) on the same numbers")
    ax.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower left", ncols=2, fontsize="small")
    for i, row in enumerate(curves):
        ax, (ours, theirs) = figure.add_subplot(grid[i, 1]), row["curves"]
        ax.plot(theirs, color="C1", linewidth=4, alpha=0.5, label="PyTorch")
        ax.plot(ours, color="C0", linewidth=1, label="tinygrad_lite")
        ax.set(title=f"{row['item']}: largest difference {row['float64']:.1e}", xlabel="step", ylabel="loss", yscale="log")
        ax.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--item", metavar="NAME,..", default="", help="only items whose name contains one of these")
    parser.add_argument("--seed", type=int, default=None, help="of options, inputs and first weights (default 0)")
    parser.add_argument("--json", metavar="FILE", help="write the table there")
    parser.add_argument("--plot", metavar="FILE", help="draw differences and loss curves there")
    parser.add_argument("--recorded", action="store_true", help="compare with the recorded values, PyTorch or not")
    parser.add_argument("--record", action="store_true", help="run PyTorch alone and write the recorded values anew")
    add_device(parser)
    args = parser.parse_args()
    Ours.device = args.device
    rows, installed = rowed(), importlib.util.find_spec("torch") is not None
    if args.record:
        return record(rows, parser)
    recorded = None if installed and not args.recorded else json.loads(gzip.decompress(RECORDED.read_bytes()))
    if recorded and args.seed not in (None, recorded["seed"]):
        parser.error(f"--seed {args.seed}: the recorded values are of seed {recorded['seed']}; for others install PyTorch")
    have, known = public(), {**rows, **defined()}
    chosen = [n for n in [*have, *(n for n in rows if n.startswith("training."))] if any(part in n for part in args.item.split(","))]
    if not chosen:
        parser.error(f"--item {args.item}: no item's name contains it; there are {', '.join(have)}")
    torch = None if recorded else PyTorch()
    where = "one thread" if args.device == "cpu" else "on the GPU"
    print(f"tinygrad_lite, float64 and float32, {where}, against PyTorch {torch.torch.__version__}" if torch else
          f"PyTorch {'left aside' if installed else 'is not installed'}: comparing with values recorded from PyTorch {recorded['torch']}")
    print(f"{'item':40s}{'cases':>5s}{'float64':>10s}{'float32':>10s}{'ours':>12s}{'PyTorch':>12s}{'ratio':>8s}  peer")
    table = []
    for name in chosen:
        if name in known:
            table.append(compared(known[name], args.seed or 0, torch, recorded))
            print(line(table[-1]), flush=True)
    without = [name for name in chosen if name not in known]
    for name in without:
        print(f"{name:40s} has no row in compare/items.py: not compared")
    if not importlib.util.find_spec("sklearn"):
        print("The trainings on digits are left out: they need scikit-learn (python -m pip install scikit-learn).")
    if args.plot:
        plot(table, args.plot)
    if args.json:
        Path(args.json).write_text(json.dumps([{k: v for k, v in row.items() if k != "curves"} for row in table], indent=1))
    differ = sum(row["differs"] for row in table)
    print(f"{len(table)} items, {differ} differ")
    sys.exit(1 if differ else 0)


def record(rows, parser):
    """Write PyTorch's results of every row, of those too that tinygrad_lite does not have yet."""
    if not importlib.util.find_spec("torch"):
        parser.error("--record needs PyTorch")
    torch = PyTorch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = {name: sketches(item, item.results(torch, 0)[0]) for name, item in rows.items()}
    text = json.dumps({"torch": torch.torch.__version__, "seed": 0, "items": values}, separators=(",", ":"))
    RECORDED.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{len(values)} items recorded from PyTorch {torch.torch.__version__}: {RECORDED.name}, {RECORDED.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
