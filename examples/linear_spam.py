"""Spam or not? Words, pairs of neighbouring words, and what hashing them into few slots costs.

    python examples/linear_spam.py [--data SMSSpamCollection] [--net] [--picture linear_spam.png] [--json]

--data is the SMS Spam Collection (Almeida, Gomez Hidalgo, Yamakami 2011), a line a message: label, tab, text. Messages that
repeat an earlier one are dropped and the rest is shuffled, since their order means nothing. Without --data the script
tells comments from code in Python's own standard library. Each text is predicted, scored, and then learned, so the
error rates are of texts never seen.

--net also asks the small question first: does a small neural net of tinygrad_lite do better on the same hashed words? Both
learn the first four fifths and are tested on the last; seconds and bytes of weights stand beside the accuracy.
"""
import os
import random
import re
import sys
import time
import tokenize
from pathlib import Path

from common import BLUE, GREEN, GREY, ORANGE, RED, Hits, canvas, command_line, label_line, percent, save, tell

import linear
from linear.prepare import character_runs, word_runs

WINDOW = 250
SLOTS = {"words and pairs, 2^8 slots": 8, "words and pairs, 2^11 slots": 11}


def read(path, seed):
    """[(text, whether it is spam)] of the collection, each text once, shuffled."""
    rows = dict.fromkeys(tuple(line.split("\t", 1)) for line in path.read_text(encoding="utf-8").splitlines())
    rows = [(text, label == "spam") for label, text in rows]
    random.Random(seed).shuffle(rows)
    return rows


def comments(seed, most=6000):
    """[(text, whether it is a comment)] of lines of the standard library, each once, as many comments as lines of code."""
    kind = {}
    for module in sorted(sys.stdlib_module_names):
        path = Path(os.__file__).parent / f"{module}.py"
        if not module.startswith("_") and path.exists():
            with tokenize.open(path) as file:
                for line in map(str.strip, file):
                    text = line.strip("# ")
                    if len(text) > 5:
                        kind.setdefault(text, line.startswith("#"))
    chance, rows = random.Random(seed), []
    for wanted in (True, False):
        some = [text for text, comment in kind.items() if comment == wanted]
        rows += [(text, wanted) for text in chance.sample(some, min(len(some), most // 2))]
    chance.shuffle(rows)
    return rows


def learn(rows, words, characters=0, bits=None):
    """(model, Hits, [true positives, false ones, missed]): one pass, every text predicted before it is learned."""
    model = linear.HingeSVM(engine="dict", dtype="float64", bits=bits)
    hits, counts = Hits(WINDOW), [0, 0, 0]
    for text, spam in rows:
        x = {"word": word_runs([text], words)}
        if characters:
            x["run"] = character_runs([text], characters)
        said = model.predict_one(x) > 0
        hits.add(said == spam)
        if said or spam:
            counts[0 if said and spam else 1 if said else 2] += 1
        model.learn_one(x, spam)
    return model, hits, counts


def against_a_net(rows, seed, slots=1 << 12):
    """{who: accuracy on the last fifth, seconds of training, bytes of weights}: ours, and a net with 32 hidden units."""
    import numpy as np

    import tinygrad_lite as tg
    from linear.hashing import murmur3, octets
    cut = len(rows) * 4 // 5
    started, model = time.perf_counter(), linear.HingeSVM(engine="dict", dtype="float64")
    for text, spam in rows[:cut]:
        model.learn_one({"word": word_runs([text], 2)}, spam)
    seconds = time.perf_counter() - started
    right = sum((model.predict_one({"word": word_runs([text], 2)}) > 0) == spam for text, spam in rows[cut:])
    told = {"linear, one pass": {"accuracy": right / (len(rows) - cut), "seconds": round(seconds, 2), "bytes": 16 * len(model.weights)}}
    started = time.perf_counter()
    X, y = np.zeros((len(rows), slots), np.float32), np.array([spam for _, spam in rows], np.int64)
    for number, (text, _) in enumerate(rows):
        X[number, [murmur3(octets(run)) % slots for run in word_runs([text], 2)]] = 1
    tg.seed(seed)
    net = tg.nn.Sequential(tg.nn.Linear(slots, 32), tg.nn.ReLU(), tg.nn.Linear(32, 2))
    optimizer, order = tg.optim.Adam(net.parameters(), lr=0.003), np.random.default_rng(seed)
    for _ in range(4):
        for batch in np.array_split(order.permutation(cut), cut // 32):
            loss = tg.losses.cross_entropy(net(tg.Tensor(X[batch])), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    seconds = time.perf_counter() - started
    with tg.no_grad():
        scores = net(tg.Tensor(X[cut:])).numpy()
    told["tg net, 4 passes"] = {"accuracy": float((scores.argmax(axis=1) == y[cut:]).mean()), "seconds": round(seconds, 2),
                                "bytes": sum(parameter.data.nbytes for parameter in net.parameters())}
    return told


def draw(args, rows, results, what):
    figure, axes = canvas(args, 1, 2, (12, 5.4), width_ratios=(3, 2))
    if figure is None:
        return
    left, right = axes
    ends = []
    for (name, (_, hits, _)), color in zip(results.items(), (GREY, BLUE, GREEN, RED, ORANGE)):
        errors, wrong = [], 0.0
        for number, mean in enumerate(hits.means, 1):
            wrong += 1 - mean
            errors.append(wrong / number)
        left.plot([(number + 1) * WINDOW for number in range(len(errors))], errors, color=color,
                  linewidth=2.4 if color == BLUE else 1.5)
        ends.append((errors[-1], f"{name}: {1 - hits.share:.2%}", color))
    left.set(title="Errors so far, each text predicted before it is learned", xlabel="texts", ylabel="share wrong",
             xlim=(WINDOW, len(rows)), ylim=(0, None))
    percent(left.yaxis)
    low, high, place = *left.get_ylim(), 0.0
    for end, text, color in sorted(ends):
        place = max(place + (high - low) * 0.05, end)
        label_line(left, len(rows), place, text, color)
    weights = sorted((weight, name.partition("=")[2]) for name, weight in results["words and pairs"][0].weights.items() if "=" in name)
    some = weights[:12] + weights[-12:]
    right.barh(range(len(some)), [weight for weight, _ in some], color=[GREEN if weight < 0 else RED for weight, _ in some])
    right.set_yticks(range(len(some)), [name.replace("\\", "") for _, name in some], fontsize=8.5)
    right.grid(axis="y", visible=False)
    right.set(title="The heaviest words and pairs", xlabel=f"weight: {what[1]} below 0, {what[0]} above")
    save(args, figure, f"{what[0].capitalize()} or {what[1]}? {len(rows):,} texts, one pass")


def main():
    args = command_line(__doc__, "SMSSpamCollection", [("--net", "compare with a small neural net of tinygrad_lite")])
    rows, what = (read(args.data, args.seed), ("spam", "ham")) if args.data else (comments(args.seed), ("comment", "code"))
    results = {"words": learn(rows, 1), "words and pairs": learn(rows, 2), "and runs of 4 characters": learn(rows, 2, characters=4)}
    results |= {name: learn(rows, 2, bits=bits) for name, bits in SLOTS.items()}
    spam = sum(label for _, label in rows)
    numbers = {"texts": len(rows), f"share_of_{what[0]}": spam / len(rows), "progressive": {
        name: {"accuracy": hits.share, "precision": right / max(right + wrong, 1), "recall": right / (right + missed),
               "weights": len(model.weights)} for name, (model, hits, (right, wrong, missed)) in results.items()}}
    if args.net:
        numbers["the_last_fifth"] = against_a_net(rows, args.seed)
    tell(args, numbers, f"{what[0].capitalize()} or {what[1]}?")
    draw(args, rows, results, what)


if __name__ == "__main__":
    main()
