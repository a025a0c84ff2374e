"""Quickstart: the whole way once, on real data, nothing downloaded.

    python examples/quickstart.py [--seed 0] [--epochs 20] [--device cpu|cuda] [--picture quickstart.png]

Part 1, `tinygrad_lite`: a small network learns 1797 handwritten digits: check the first loss, overfit a handful of
images, train, test, and look at a picture of what happened.
Part 2, `linear`: lines of Python's own standard library stream past an online learner: prose or code?
"""
import argparse
import ast
import math
import os
import random
import re
import sys
import time
import tokenize
from pathlib import Path

START = time.perf_counter()

from common import add_device       # before NumPy: it asks for one thread; matrices this small only lose time on more

import numpy as np
from sklearn.datasets import load_digits

import linear
import tinygrad_lite as tg
from tinygrad_lite.progress import progress

LR, CYCLES, MAX_NORM, NOISE = 0.05, 4, 1.0, 0.4


# ---------------------------------------------------------------- part 1: a network learns to read digits

def digits():
    """(images, labels) to train on and to test with; every fifth image is kept for the test, whatever the seed."""
    x, y = load_digits(return_X_y=True)         # 1797 images of 8 x 8 pixels from 0 (paper) to 16 (ink)
    x = (x / 8 - 1).astype(np.float32)          # from -1 to 1: inputs around 0 suit a network best
    test = np.arange(len(x)) % 5 == 0
    return x[~test], y[~test], x[test], y[test]


def network():
    """64 pixels -> 10 scores, one per digit; the largest wins."""
    return tg.nn.Sequential({"first": tg.nn.Linear(64, 256), "relu1": tg.nn.ReLU(),
                             "middle": tg.nn.Linear(256, 256), "relu2": tg.nn.ReLU(),
                             "last": tg.nn.Linear(256, 10)})


def try_out(model, x, y, steps=100):
    """The recipe: two things to see before training on everything. If one of them fails, there is a bug."""
    optimizer = tg.optim.Adagrad(model.parameters(), lr=LR)
    losses = []
    for _ in range(steps):
        loss = tg.losses.cross_entropy(model(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # A fresh network knows nothing: each digit gets a probability of about 1/10, and the loss is about -log(1/10).
    print(f"first loss      {losses[0]:.3f}, expected about -log(1/10) = {math.log(10):.3f}")
    check(abs(losses[0] - math.log(10)) < 0.2, "the first loss is far from -log(1/10)")
    # A healthy network can learn a few images by heart.
    print(f"overfitting     {len(y)} images: loss {losses[-1]:.4f} after {steps} steps")
    check(losses[-1] < 0.01, f"the network could not learn {len(y)} images by heart")


def train(model, x, y, epochs, seed, device):
    """Minibatch training. Returns what happened at each step: loss, learning rate, gradient norm, mean |gradient| by layer."""
    batches = tg.data.DataLoader(x, y, batch_size=32, shuffle=True, drop_last=True, seed=seed)
    steps = epochs * len(batches)
    # The rate swings up and down in half sine waves: each starts anew from 0, leaves a dull valley, and settles again.
    rate = tg.schedules.SineRestarts(LR, restart=steps / CYCLES)
    optimizer = tg.optim.Adagrad(model.named_parameters(), lr=rate)
    noise, history = np.random.default_rng(seed), []
    stream = (batch for _ in range(epochs) for batch in batches)          # each epoch in a new random order
    for images, labels in progress(stream, "training", steps, note=lambda: f"loss {history[-1][0]:.3f}"):
        # Other noise on the pixels each time, so that no image can be learned by heart now.
        images = images.data + noise.normal(0, NOISE, images.shape).astype(np.float32)
        loss = tg.losses.cross_entropy(model(to(device, images)), to(device, labels))
        optimizer.zero_grad()
        loss.backward()                                                   # every parameter gets its .grad
        flow = tg.diagnostics.gradient_flow(model)
        norm = tg.clip.clip_grad_norm_(model.parameters(), MAX_NORM)      # shortens long gradients, returns the norm before
        history.append((loss.item(), optimizer.lr, float(norm), flow))
        optimizer.step()                                                  # and moves along it
    return history


def accuracy(model, x, y):
    model.eval()                    # for layers that behave otherwise in training (dropout, batch norm)
    with tg.no_grad():              # no gradient wanted, so nothing is recorded
        scores = model(x)
    return float((scores.numpy().argmax(axis=1) == y).mean())


def draw(history, title, path):
    """One picture: loss, learning rate and gradient norm over the steps, and mean |gradient| by layer."""
    try:
        import matplotlib
    except ImportError:
        return print("picture         needs matplotlib: python -m pip install matplotlib")
    matplotlib.use("Agg")           # draws to a file, no screen needed
    import matplotlib.pyplot as plt
    figure, ((top, rate), (norm, flow)) = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    losses, rates, norms, flows = zip(*history)
    steps, n = len(history), min(25, len(history))
    for ax, values in (top, losses), (norm, norms):
        ax.semilogy(values, color="C0", alpha=0.3, linewidth=0.6, label="each step")
        means = np.convolve(values, np.ones(n) / n, "valid")
        ax.semilogy(n // 2 + np.arange(len(means)), means, color="C0", label=f"mean of {n} steps")
    top.axhline(math.log(10), color="C3", linestyle="--", linewidth=1, label="knows nothing: -log(1/10)")
    norm.axhline(MAX_NORM, color="C3", linestyle="--", linewidth=1, label=f"clipped to {MAX_NORM:g}")
    rate.plot(rates, color="C1")
    top.set(title="Loss", ylabel="cross-entropy (nats)")
    rate.set(title="Learning rate: sine with restarts", ylabel="learning rate", ylim=(0, 1.1 * LR))
    norm.set(title="Gradient norm before clipping", ylabel="L2 norm of all gradients")
    for ax in top, rate, norm:
        ax.set(xlabel="step (32 images each)", xlim=(0, steps))
        for restart in range(1, CYCLES):
            ax.axvline(restart * steps / CYCLES, color="0.85", linewidth=0.8, zorder=0)
    part = max(steps // 10, 1)
    for some, label, width, color in ((flows[:part], "first tenth of the steps", -0.4, "C2"),
                                      (flows[-part:], "last tenth", 0.4, "C0")):
        mean = {layer: np.mean([f[layer] for f in some]) for layer in some[0]}
        tg.diagnostics.plot_gradient_flow(mean, flow, label=label, width=width, align="edge", color=color, alpha=0.6)
    flow.set(title="Gradient flow: does every layer get its share?", xlabel="layer, from the pixels to the scores")
    for ax in top, norm, flow:
        ax.legend(frameon=False, fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    print(f"picture         {Path(path).resolve()}")


# ---------------------------------------------------------------- part 2: a stream of lines, prose or code?

def library_lines(seed, most=30_000):
    """[(text, 1 for prose or -1 for code)]: lines of docstrings and comments, and as many of all others, shuffled."""
    kind = {}
    for module in sorted(sys.stdlib_module_names):
        path = Path(os.__file__).parent / f"{module}.py"
        if module.startswith("_") or not path.exists():         # private, a package, or written in C
            continue
        with tokenize.open(path) as file:                       # in the encoding that the file declares
            source = file.read()
        docstrings = set()                                      # the numbers of their lines
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
                docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
        for number, line in enumerate(source.splitlines(), 1):
            text, prose = line.strip(), number in docstrings or line.lstrip().startswith("#")
            if prose:                                           # "#" and quotes would give it away
                text = text.strip("#\"' ")
            if text and not (prose and text.startswith(">>>")):     # code quoted in prose is neither
                kind.setdefault(text, 1 if prose else -1)           # each text once: seen ones would be too easy
    chance = random.Random(seed)
    prose, code = ([text for text, y in kind.items() if y == wanted] for wanted in (1, -1))
    count = min(len(prose), len(code), most // 2)
    lines = [(text, 1) for text in chance.sample(prose, count)] + [(text, -1) for text in chance.sample(code, count)]
    chance.shuffle(lines)
    return lines


def fields(text):
    """A line as named fields: the words and signs that are in it, what it begins with, what it ends in."""
    return {"word": sorted(set(re.findall(r"[a-z_]+", text.lower()))),
            "sign": sorted(set(re.findall(r"[!-/:-@\[-`{-~]", text))),
            "first": re.match(r"\w+|.", text)[0], "end": text[-1]}


def learn_stream(lines):
    """Predict, then learn, line by line: each is predicted before it is learned, so the running accuracy is honest."""
    # A cross has a weight for each pair: "if ... :" is code, "if ... ," is prose, and no sum of single weights says so.
    model = linear.HingeSVM(crosses=["first*end"], engine="dict")     # the readable learner, which keeps names
    started, right, before = time.perf_counter(), 0, (0, 0)
    print("   lines  accuracy so far  since the line above")
    for count, (text, y) in enumerate(lines, 1):
        x = fields(text)
        right += model.predict_one(x) == y
        model.learn_one(x, y)
        if count.bit_count() == 1 or count == len(lines):       # at powers of two, and at the end
            print(f"{count:8,d}{right / count:17.1%}{(right - before[0]) / (count - before[1]):22.1%}")
            before = right, count
    speed = count / (time.perf_counter() - started)
    print(f"{speed:,.0f} lines/s, {len(model.weights):,} weights; the heaviest for code and for prose:")
    weights = sorted(model.weights.items(), key=lambda item: item[1])
    for (code, c), (prose, p) in zip(weights[:8], weights[:-9:-1]):
        print(f"    {c:+.2f} {code:22s} {p:+.2f} {prose}")
    return right / count


# ---------------------------------------------------------------- one after the other

def to(device, array):
    return tg.Tensor(tg.backend.to_device(array, device))


def check(holds, message):
    """End with exit code 1 where a claim of this script does not hold."""
    if not holds:
        sys.exit(f"quickstart.py: {message}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of first weights, order, noise and lines (default 0)")
    parser.add_argument("--epochs", type=int, default=20, help="times through the training images (default 20)")
    add_device(parser)
    parser.add_argument("--picture", default="quickstart.png", metavar="PATH", help="default quickstart.png")
    args = parser.parse_args()
    if args.epochs < 1 or args.seed < 0:
        parser.error(f"got --epochs {args.epochs} --seed {args.seed}, expected at least 1 and 0")

    print("1. A network learns to read handwritten digits")
    tg.seed(args.seed)
    x, y, x_test, y_test = digits()
    try_out(network().to(args.device), to(args.device, x[:32]), to(args.device, y[:32]))
    model = network().to(args.device)           # training begins with fresh weights
    history = train(model, x, y, args.epochs, args.seed, args.device)
    share = accuracy(model, to(args.device, x_test), y_test)
    print(f"test accuracy   {share:.1%} of {len(y_test)} images that it never trained on")
    draw(history, f"Handwritten digits: test accuracy {share:.1%}", args.picture)
    check(share >= 0.97, f"test accuracy is {share:.1%}, expected at least 97 %; did it train for fewer than 20 epochs?")

    print("\n2. Prose or code? Lines of the standard library, each predicted and then learned")
    share = learn_stream(library_lines(args.seed))
    check(share >= 0.9, f"progressive accuracy is {share:.1%}, expected at least 90 %")
    print(f"\ndone in {time.perf_counter() - START:.1f} s")


if __name__ == "__main__":
    main()
