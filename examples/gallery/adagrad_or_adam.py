"""Adagrad at 0.05 beside Adam as it comes

Three data sets, the same small net, a few epochs, nobody tunes anything: Adagrad with a rate of 0.05, Adam with its defaults.
On all three Adagrad's training loss is far below Adam's after the first epoch, and still below at the end; its test accuracy
is no worse.

It is the rate and not the rule: a default of 0.001 is made for long trainings of large nets. Adam at 0.01 (dotted) is as
fast. Adagrad begins with steps as long as its rate, and shortens them by itself: 0.05 forgives a lot.

    python examples/gallery/adagrad_or_adam.py [--picture adagrad_or_adam.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, train
from sklearn.datasets import load_breast_cancer, load_wine

import tinygrad_lite as tg

SETS = {"digits": (4, 32), "breast cancer": (4, 16), "wine": (8, 16)}        # epochs, batch size
RATE, TRAIN = 0.05, 1437
WAYS = {"Adagrad 0.05": (lambda p: tg.optim.Adagrad(p, lr=RATE), "-", "#1f6fb4"), "Adam 0.001": (tg.optim.Adam, "-", "#c8202f"),
        "Adam 0.01": (lambda p: tg.optim.Adam(p, lr=0.01), ":", "#c8202f")}


def table(name, seed):
    """One of the data sets, standardised, a fifth kept for the test."""
    if name == "digits":
        return digits(seed, TRAIN)
    x, y = (load_breast_cancer if name == "breast cancer" else load_wine)(return_X_y=True)
    order, fifth = np.random.default_rng(seed).permutation(len(y)), len(y) // 5
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype("f")[order]
    y = y[order].astype(np.int64)
    return x[fifth:], y[fifth:], x[:fifth], y[:fifth]


def measure(seed):
    found = {}
    for name, (epochs, batch) in SETS.items():
        data = table(name, seed)
        for way, (make, *_) in WAYS.items():
            tg.seed(seed)
            model = mlp(data[0].shape[1], 64, 64, int(data[1].max()) + 1)
            found[name, way] = train(model, make(model.parameters()), data, epochs, batch, seed).epochs
    return found


def report(found):
    print(f"{'':30s}{'train loss 1':>14s}{'train loss end':>16s}{'test loss':>11s}{'accuracy':>10s}")
    for (name, way), h in found.items():
        print(f"{name:15s}{way:15s}{h['loss'][0]:14.3f}{h['loss'][-1]:16.3f}{h['valid_loss'][-1]:11.3f}{h['accuracy'][-1]:10.3f}")


def check(found):
    """Every claim of the docstring."""
    for name in SETS:
        adagrad, adam, faster = (found[name, way] for way in WAYS)
        claim(adagrad["loss"][0] < 0.6 * adam["loss"][0], f"{name}: after an epoch Adagrad's loss should be far below Adam's")
        claim(adagrad["loss"][-1] < adam["loss"][-1], f"{name}: at the end Adagrad's loss should be below Adam's")
        claim(adagrad["accuracy"][-1] > adam["accuracy"][-1] - 0.04, f"{name}: Adagrad's accuracy should be no worse")
        claim(faster["loss"][-1] < adam["loss"][-1], f"{name}: Adam at 0.01 should be faster, too")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, len(SETS), figsize=(16, 9), layout="constrained")
    for (name, way), h in found.items():
        column, (_, style, color) = axes[:, list(SETS).index(name)], WAYS[way]
        epochs = np.arange(1, len(h["loss"]) + 1)
        column[0].semilogy(epochs, h["loss"], "o" + style, color=color, label=way)
        column[1].plot(epochs, h["accuracy"], "o" + style, color=color, label=way)
    for (upper, lower), (name, (epochs, batch)) in zip(axes.T, SETS.items()):
        upper.set_title(f"{name}, batches of {batch}", fontweight="bold")
        upper.set(ylabel="training loss", xticks=range(1, epochs + 1))
        lower.set(ylabel="test accuracy", xlabel="epoch", xticks=range(1, epochs + 1))
        for ax in upper, lower:
            ax.grid(alpha=0.3)
            ax.legend()
    figure.suptitle("Adagrad at 0.05 and Adam, nothing tuned", fontsize=15)
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
