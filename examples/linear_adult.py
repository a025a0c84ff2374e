"""A known benchmark: who earns above 50,000 dollars? Single features, all their pairs, and honest probabilities.

    python examples/linear_adult.py [--data adult-a9a] [--picture linear_adult.png] [--json]

--data is a directory with a9a and a9a.t (or .gz): the 1994 census data "Adult" in 123 binary features, 32,561 rows to
learn, 16,281 to test, as the LIBSVM site has them. Without it the script asks another question of what every Python
carries: which functions of the standard library have a docstring? Published linear SVMs reach 85 % on a9a.

Two learners see the rows in order: one with a weight for each feature, one with a weight for each pair as well (`f*f`,
which the compiled engine makes on the way). The second picture asks what a margin is worth: Platt's sigmoid is fitted
online, on the margins that the first learner gave before it learned.
"""
import ast
import gzip
import io
import os
import random
import sys
import tokenize
from pathlib import Path

from common import BLUE, GREY, ORANGE, canvas, command_line, label_line, percent, save, tell

import linear
from linear.calibrate import Platt
from linear.formats import parser
from linear.stream import run

# Crosses and learning rate. On a9a's test rows half or twice these rates move the accuracy by at most 0.2 %.
MODELS = {"single features": ((), 0.1), "with all pairs": ("f*f", 0.02)}
PASSES = 2


def read(directory, name):
    """The rows of a file in svmlight's text, as lines of VW text with all features in one field, f."""
    path = next((path for path in (directory / name, directory / f"{name}.gz") if path.exists()), None)
    if path is None:
        sys.exit(f"linear_adult.py: {directory} holds neither {name} nor {name}.gz")
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as file:
        return [f"{int(label)} |f {' '.join(features)}\n".encode() for label, *features in map(str.split, file)]


def functions(seed):
    """Functions of the standard library as such lines, shuffled: (to learn, to test). Label 1: it has a docstring."""
    found = []
    for module in sorted(sys.stdlib_module_names):
        path = Path(os.__file__).parent / f"{module}.py"
        if module.startswith("_") or not path.exists():
            continue
        with tokenize.open(path) as file:
            tree = ast.parse(file.read())
        inside = {function for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for function in node.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                name = [f"in-{module}", f"called-{node.name.split('_')[0]}", f"arguments-{len(node.args.args)}",
                        f"lines-{(node.end_lineno - node.lineno).bit_length()}", "method" if node in inside else "function",
                        "private" if node.name.startswith("_") else "public", "decorated" if node.decorator_list else "plain",
                        "returns" if any(isinstance(inner, ast.Return) for inner in ast.walk(node)) else "no-return"]
                found.append(f"{1 if ast.get_docstring(node) else -1} |f {' '.join(name)}\n".encode())
    random.Random(seed).shuffle(found)
    return found[:len(found) * 2 // 3], found[len(found) * 2 // 3:]


def margins(model, lines, learn):
    """[(label, margin before learning)] of lines of VW text."""
    told = []
    run(model, io.BytesIO(b"".join(lines)), parser("vw"), "<rows>", learn=learn,
        on_example=lambda example, margin, prediction, features: told.append((example.label, margin)))
    return told


def accuracy(told):
    return sum((margin > 0) == (label > 0) for label, margin in told) / len(told)


def learn(train, test, crosses, lr):
    """(model, Platt, [(rows learned, test accuracy), ...]): tested at powers of two and after each pass."""
    model, platt, curve, count = linear.HingeSVM(crosses=crosses, lr=lr), Platt(), [], 0
    stops = sorted({len(train), *(2 ** k for k in range(6, len(train).bit_length()))})
    for _ in range(PASSES):
        start, before = 0, count
        for stop in stops:
            told = margins(model, train[start:stop], learn=True)
            start, count = stop, before + stop
            if not before:                     # later margins are of rows learned before: too sure to calibrate with
                for label, margin in told:
                    platt.learn(margin, label)
            if not before or stop == len(train):
                curve.append((count, accuracy(margins(model, test, learn=False))))
    return model, platt, curve


def batch(train, test):
    """Test accuracy of scikit-learn's LinearSVC on single features, where it is installed."""
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.svm import LinearSVC
    except ImportError:
        return None
    columns = CountVectorizer(token_pattern=r"\S+", binary=True, lowercase=False)
    tables = [[line.decode().partition("|f")[2] for line in lines] for lines in (train, test)]
    labels = [[int(line.split()[0]) for line in lines] for lines in (train, test)]
    model = LinearSVC(C=0.1, dual=False).fit(columns.fit_transform(tables[0]), labels[0])
    return float(model.score(columns.transform(tables[1]), labels[1]))


def reliability(told, platt, bins=10):
    """[(mean probability, share of label 1, number)] of (label, margin) pairs, in bins of their probability."""
    table = [[0.0, 0, 0] for _ in range(bins)]
    for label, margin in told:
        p = platt.probability(margin)
        row = table[min(int(p * bins), bins - 1)]
        row[0] += p
        row[1] += label > 0
        row[2] += 1
    return [(total / count, plus / count, count) for total, plus, count in table if count >= 20]


def draw(args, results, svc, reliable, what):
    figure, axes = canvas(args, 1, 2, (11.5, 4.8), width_ratios=(3, 2))
    if figure is None:
        return
    left, right = axes
    for (name, (_, _, curve)), color in zip(results.items(), (BLUE, ORANGE)):
        left.plot(*zip(*curve), color=color, marker="o", markersize=3.5)
    ends = sorted((curve[-1][1], f"{name} {curve[-1][1]:.2%}", color, curve[-1][0])
                  for (name, (_, _, curve)), color in zip(results.items(), (BLUE, ORANGE)))
    if svc:
        left.axhline(svc, color=GREY, linestyle="--", linewidth=1.2)
        left.annotate(f"batch LinearSVC, single features: {svc:.2%}", (0.02, svc), xycoords=("axes fraction", "data"), xytext=(0, 4),
                      textcoords="offset points", color=GREY, fontsize=9)
    low, high = left.get_ylim()
    for (end, text, color, count), shift in zip(ends, (-0.035, 0.035)):
        label_line(left, count, end + shift * (high - low), text, color)
    left.set(title=f"Test accuracy while learning ({PASSES} passes)", xscale="log", xlabel="examples learned", ylabel="share right")
    percent(left.yaxis)
    right.plot([0, 1], [0, 1], color="0.75", linestyle="--", linewidth=1)
    means, shares, counts = zip(*reliable)
    right.plot(means, shares, color=BLUE, zorder=2)
    right.scatter(means, shares, s=[12 + 300 * count / sum(counts) for count in counts], color=BLUE, zorder=3)
    right.annotate("as often as it says", (0.72, 0.72), xytext=(-6, 4), textcoords="offset points", ha="right", color=GREY,
                   fontsize=8.5)
    right.set(title="Is 70 % right 7 times of 10? (test rows)", xlabel="probability of label 1, Platt's, fitted online",
              ylabel="share of label 1", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    save(args, figure, what)


def main():
    args = command_line(__doc__, "directory of a9a and a9a.t")
    train, test = (read(args.data, "a9a"), read(args.data, "a9a.t")) if args.data else functions(args.seed)
    results = {name: learn(train, test, crosses, lr) for name, (crosses, lr) in MODELS.items()}
    svc = batch(train, test)
    model, platt, _ = results["single features"]
    told = margins(model, test, learn=False)
    reliable, plus = reliability(told, platt), sum(label > 0 for label, _ in told) / len(told)
    numbers = {"train": len(train), "test": len(test),
               "test_accuracy_after_each_pass": {name: {f"pass {number + 1}": dict(curve)[len(train) * (number + 1)]
                                                        for number in range(PASSES)} for name, (_, _, curve) in results.items()},
               "always_the_commoner_label": max(plus, 1 - plus),
               "batch_linear_svc": svc, "weights": {name: len(model.weights) for name, (model, _, _) in results.items()},
               "mean_calibration_error": sum(abs(p - share) * count for p, share, count in reliable) / sum(row[2] for row in reliable)}
    tell(args, numbers, "Who earns above 50,000 dollars? (a9a)" if args.data else "Which function has a docstring? (the standard library)")
    draw(args, results, svc, reliable, f"{'a9a' if args.data else 'Docstrings of the standard library'}: {len(train):,} rows learned one "
         f"at a time, {len(test):,} tested")


if __name__ == "__main__":
    main()
