"""Averages of weights

A rate that stays at 0.1 never lets the net come to rest: it walks about in the valley, and the test loss jumps from epoch to
epoch. But the middle of its walk is lower than the places it visits. An exponential moving average of the weights (EMA, 0.98
a step) and the plain mean of those at the end of each epoch (SWA, from the third on) are both better than the last weights,
on every seed, for the price of a copy. The gradient never sees them.

    python examples/gallery/weight_averaging.py [--picture weight_averaging.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, score, train

import tinygrad_lite as tg

EPOCHS, BATCH, RATE, RUNS, DECAY, START, TRAIN = 8, 32, 0.1, 2, 0.98, 2, 1437


class Scores:
    """A callback: test losses and accuracies of several models after each epoch, those that hold an average already."""

    def __init__(self, models, x, y):
        self.models, self.x, self.y, self.found = models, x, y, {name: [] for name in models}

    def on_epoch(self, run):
        for name, model in self.models.items():
            if getattr(model, "n_averaged", 1):
                found = score(model, self.x, self.y)
                self.found[name].append((run.epoch, found["loss"], found["accuracy"]))


def measure(seed):
    data, runs = digits(seed, TRAIN), []
    for i in range(RUNS):
        tg.seed(RUNS * seed + i)
        model = mlp(data[0].shape[1], 64, 64, 10)
        averages = {"EMA": tg.training.AveragedModel(model, "ema", decay=DECAY),
                    "SWA": tg.training.AveragedModel(model, "swa", start=START)}
        scores = Scores({"last weights": model, **averages}, *data[2:])
        train(model, tg.optim.SGD(model.parameters(), lr=RATE, momentum=0.9), data, EPOCHS, BATCH, RUNS * seed + i,
              callbacks=[*averages.values(), scores])
        runs.append({name: np.array(rows) for name, rows in scores.found.items()})
    return runs


def report(runs):
    print(f"{'':18s}test loss, accuracy at the end of each run")
    for name in runs[0]:
        print(f"{name:18s}" + "   ".join(f"{run[name][-1, 1]:.3f} {run[name][-1, 2]:.3f}" for run in runs)
              + f"   spread of the last five epochs {np.mean([np.ptp(run[name][-5:, 1]) for run in runs]):.3f}")


def check(runs):
    """Every claim of the docstring."""
    end = {name: np.mean([run[name][-1, 1] for run in runs]) for name in runs[0]}
    for name in "EMA", "SWA":
        claim(end[name] < 0.95 * end["last weights"],
              f"{name} should be better than the last weights, got {end[name]:.3f} and {end['last weights']:.3f}")
        spread = [np.mean([np.ptp(run[n][-4:, 1]) for run in runs]) for n in (name, "last weights")]
        claim(spread[0] < 0.7 * spread[1], f"{name} should jump less from epoch to epoch")


def draw(runs, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 2, figsize=(14, 7), layout="constrained")
    for name, color in zip(runs[0], ("#c8202f", "#1f6fb4", "#2a9d55")):
        for column, ax in zip((1, 2), axes):
            for i, run in enumerate(runs):
                ax.plot(run[name][:, 0], run[name][:, column], "o-", color=color, linewidth=2, alpha=0.9 if i == 0 else 0.4,
                        label=name if i == 0 else None)
    axes[0].set(title="Test loss", ylabel="cross-entropy", xlabel="epoch", yscale="log")
    axes[1].set(title="Test accuracy", ylabel="accuracy", xlabel="epoch", ylim=(0.88, 1))
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.legend()
    figure.suptitle(f"The weights, and two averages of them: rate {RATE}, momentum 0.9, {RUNS} runs", fontsize=15)
    figure.savefig(path, dpi=100)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
