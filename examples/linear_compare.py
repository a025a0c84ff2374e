"""The linear learner beside Vowpal Wabbit, river and scikit-learn on one stream of events: who errs how often, at what cost.

    python examples/linear_compare.py                 # 500,000 events of this script's own
    python examples/linear_compare.py --data my.vw    # your own lines of VW text (namespaces user, item, tags, device)
    python examples/linear_compare.py --quick         # 5,000 events, a few seconds

Three tables. Whole process: a file of text on disk becomes a model, start-up included, and the memory that took. In process: text
in memory, warm. One call an event: predict and learn, event by event, as a service does. Errors are progressive (each event is
predicted before it is learned). Features are the fields and the crosses user*tags and item*device, for everybody. A library
that is not installed is left out. Pin a core for figures that can be compared: taskset -c 0 python ...
"""
import argparse
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from itertools import islice

import linear
import linear.kernels.layout as at

CROSSES = ["-q ut", "-q id"]
VW = "--loss_function hinge -b 22 -q ut -q id --quiet"
VW_PROCESS = f"import sys, vowpalwabbit; vowpalwabbit.Workspace(d=sys.argv[1], arg_str={VW!r}).finish()"
BATCH = 256                       # scikit-learn learns matrices: it predicts this many rows, then learns them


def events(count, seed=0):
    """`count` events (fields, label): labels follow hidden weights of tags, of user*tag and of item*device, a coin decides
    where they say little; in the middle of the stream half of the hidden weights change."""
    rng = random.Random(seed)

    def zipf(names):
        return int(names ** rng.random() ** 1.5) - 1

    def weight(*names):
        text = f"{seed} {'*'.join(names)}".encode()
        if late and zlib.crc32(b"changes " + text) % 2:
            text += b" late"
        return zlib.crc32(text) / 2 ** 31 - 1.0

    for number in range(count):
        late = number >= count // 2
        user, item, device = f"u{zipf(50_000)}", f"i{zipf(20_000)}", f"d{rng.randrange(6)}"
        tags = list(dict.fromkeys(f"t{zipf(5_000)}" for _ in range(rng.randrange(5, 16))))
        score = sum(weight(tag) + weight(user, tag) for tag in tags) / len(tags) ** 0.5 + weight(item, device) + 0.5 * weight(item)
        yield {"user": user, "item": item, "tags": tags, "device": device}, 1 if 2.0 * score + rng.gauss(0.0, 1.0) > 0 else -1


def line_of(x, y):
    """An event as VW text."""
    return f"{y} |user {x['user']} |item {x['item']} |tags {' '.join(x['tags'])} |device {x['device']}"


def event_of(line):
    """The inverse of `line_of`."""
    head, *spaces = line.split("|")
    fields = {name: words for name, *words in map(str.split, spaces)}
    return {name: fields.get(name, []) if name == "tags" else " ".join(fields.get(name, [])) for name in
            ("user", "item", "tags", "device")}, int(head.split()[0])


def flat(x):
    """An event as {feature: 1.0} with its crosses, for libraries without them."""
    user, item, device, tags = x["user"], x["item"], x["device"], x["tags"]
    made = {"u=" + user: 1.0, "i=" + item: 1.0, "d=" + device: 1.0, f"id={item}*{device}": 1.0, "bias": 1.0}
    for tag in tags:
        made["t=" + tag] = made[f"ut={user}*{tag}"] = 1.0
    return made


def process(*command):
    """(seconds, peak memory in MB, last line of output) of a command."""
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    if child.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed with code {child.returncode}")
    return time.perf_counter() - begun, usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10), out.strip()


def whole_process(path, count):
    """The rows of the first table."""
    options = ["-m", "linear", "learn", path, "--format", "vw", "-q", "ut", "-q", "id", "--quiet", "--json"]
    process(*options)                                       # numba may have to compile, once on a machine
    seconds, memory, out = process(*options)
    rows = [{"what": "python -m linear learn", "rate": count / seconds, "error": json.loads(out)["progressive_zero_one"],
             "MB": memory}]
    with tempfile.TemporaryDirectory() as folder:
        cached = [*options, "--cache", os.path.join(folder, "cache")]
        process(*cached)
        seconds, memory, out = process(*cached)
    rows.append({"what": "the same from its cache", "rate": count / seconds, "error": json.loads(out)["progressive_zero_one"],
                 "MB": memory})
    if importlib.util.find_spec("vowpalwabbit"):
        seconds, memory, _ = process("-c", VW_PROCESS, path)
        rows.append({"what": "vowpalwabbit's driver, 2^22 slots", "rate": count / seconds, "MB": memory})
    return rows


def in_process(lines):
    """The rows of the second table."""
    text, model = "\n".join(lines).encode(), linear.HingeSVM(crosses=CROSSES)
    linear.HingeSVM(crosses=CROSSES).learn_lines(text[:10_000])
    begun = time.perf_counter()
    totals = model.learn_lines(text)
    row = {"what": "linear: learn_lines", "rate": totals.examples / (time.perf_counter() - begun), "error": totals.zero_one,
           "MB a million weights": model._learner.table.nbytes / len(model.weights)}
    begun = time.perf_counter()
    model._learner._allocate(2 * (model._learner.ints[at.MASK] + 1))
    return [{**row, "ms when its table doubled once more": 1000 * (time.perf_counter() - begun)}]


def one_call_an_event(lines, seen):
    """The rows of the third table: {name: (step(event) -> predicted label, events)}."""
    told, rows = [event_of(line) for line in lines[:seen]], []

    def row(what, step, events):
        wrong, begun = 0, time.perf_counter()
        for event, (_, y) in zip(events, told):
            wrong += (1 if step(event) > 0 else -1) != y
        rows.append({"what": what, "rate": len(events) / (time.perf_counter() - begun), "error": wrong / len(events)})

    model = linear.HingeSVM(crosses=CROSSES)
    row("linear: learn_line", model.learn_line, lines[:seen])
    for engine in ("compiled", "dict"):
        model = linear.HingeSVM(crosses=CROSSES, engine=engine)

        def step(event, model=model):
            margin = model.margin_one(event[0])
            model.learn_one(*event)
            return margin
        row(f"linear: margin_one and learn_one, {engine}", step, told)
    if importlib.util.find_spec("vowpalwabbit"):
        import vowpalwabbit
        workspace = vowpalwabbit.Workspace(VW)

        def vw_step(line):
            example = workspace.example(line)
            workspace.learn(example)
            margin = example.get_simplelabel_prediction()            # made before it learned
            workspace.finish_example(example)
            return margin
        row("vowpalwabbit: learn, predicted before", vw_step, lines[:seen])
        workspace.finish()
    if importlib.util.find_spec("river"):
        from river import linear_model, optim
        river = linear_model.LogisticRegression(optim.AdaGrad(0.15), loss=optim.losses.Hinge(), intercept_lr=0.0)

        def river_step(event):
            x, y = flat(event[0]), event[1] > 0
            p = river._raw_dot_one(x)
            river.learn_one(x, y)
            return p
        row("river: linear_model, hinge, AdaGrad", river_step, told)
    if importlib.util.find_spec("sklearn"):
        rows.append(scikit_learn(told))
    return rows


def scikit_learn(told):
    """FeatureHasher and SGDClassifier, in batches."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier
    hasher, model, wrong, begun = FeatureHasher(1 << 22), SGDClassifier(loss="hinge", alpha=1e-7), 0, time.perf_counter()
    stream = iter(told)
    while batch := list(islice(stream, BATCH)):
        X, y = hasher.transform(flat(x) for x, _ in batch), [label for _, label in batch]
        wrong += sum(model.predict(X) != y) if hasattr(model, "coef_") else sum(label != -1 for label in y)
        model.partial_fit(X, y, classes=[-1, 1])
    return {"what": f"scikit-learn: SGDClassifier, {BATCH} at once", "rate": len(told) / (time.perf_counter() - begun),
            "error": int(wrong) / len(told)}


def shown(title, rows):
    """A table as text."""
    lines = [title]
    for row in rows:
        error = f"{100 * row['error']:6.2f} % wrong" if "error" in row else " " * 14
        rest = "".join(f"   {name} {value:,.1f}" for name, value in row.items() if name.startswith(("MB", "ms")))
        lines.append(f"    {row['what']:44} {row['rate']:12,.0f} events/s {error}{rest}")
    return "\n".join(lines)


def main():
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="FILE", help="VW text with namespaces user, item, tags, device")
    parser.add_argument("--lines", type=int, default=500_000, help="how long the stream of our own is (500,000)")
    parser.add_argument("--events", type=int, default=20_000, help="how many of its events go one by one (20,000)")
    parser.add_argument("--quick", action="store_true", help="5,000 events, 1,000 of them one by one")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of the tables")
    args = parser.parse_args()
    if args.data and not os.path.exists(args.data):
        parser.error(f"--data {args.data}: there is no such file or directory")
    count, seen = (5_000, 1_000) if args.quick else (args.lines, args.events)
    with tempfile.TemporaryDirectory() as folder:
        path = args.data or os.path.join(folder, "stream.vw")
        if not args.data:
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(line_of(*event) + "\n" for event in events(count))
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        tables = {"Whole process, from text on disk": whole_process(path, len(lines)), "In process, warm": in_process(lines),
                  f"One call an event, {min(seen, len(lines)):,} events": one_call_an_event(lines, seen)}
    print(json.dumps({"events": len(lines), "tables": tables}) if args.json else
          "\n".join([f"{len(lines):,} events", *(shown(*table) for table in tables.items())]))


if __name__ == "__main__":
    main()
