"""One long cycle or two short ones

The same net, the same number of steps, the same peak: the rate goes up and down once, or twice in half the time. The long
cycle ends at the lower training loss in every run: it spends half of its steps coming down, from longer at the top. After the
first of the two short ones the net is already good, the second peak throws it out again (the loss rises), and what is left of
the time is less than what the long cycle has.

On the test the two are alike, within a few hundredths: what the long cycle gains it gains on what it was shown. So, if the
number of steps is known, one cycle; if it is not, short ones, each of which ends with a model one can use.

    python examples/gallery/one_long_or_two_short.py [--picture one_long_or_two_short.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, smooth, train

import tinygrad_lite as tg

EPOCHS, BATCH, RUNS, PEAK, TRAIN = 4, 32, 4, 0.1, 1437
CYCLES = {"one long": 1, "two short": 2}


def measure(seed):
    data, found = digits(seed, TRAIN), {name: [] for name in CYCLES}
    steps = EPOCHS * (len(data[1]) // BATCH)
    for i in range(RUNS):
        for name, n in CYCLES.items():
            tg.seed(RUNS * seed + i)
            model, cycle = mlp(data[0].shape[1], 64, 64, 10), tg.schedules.OneCycleLR(PEAK, total_steps=steps // n)
            rate = tg.schedules.SequentialLR([cycle] * n, [steps // n] * (n - 1))
            momentum = tg.schedules.SequentialLR([cycle.momentum] * n, [steps // n] * (n - 1))
            optimizer = tg.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
            found[name].append(train(model, optimizer, data, EPOCHS, BATCH, RUNS * seed + i))
    return found


def last(histories, where):
    return np.array([h[where][-1] for h in histories])


def report(found):
    print(f"{'':12s}{'training loss of the last epoch':>40s}{'test loss':>36s}")
    for name, histories in found.items():
        losses, tests = last(histories, "loss"), last(histories, "valid_loss")
        print(f"{name:12s}" + "".join(f"{v:8.3f}" for v in losses) + "    " + "".join(f"{v:8.3f}" for v in tests)
              + f"   means {losses.mean():.3f}, {tests.mean():.3f}")


def check(found):
    """Every claim of the docstring."""
    one, two = (last(found[name], "loss") for name in CYCLES)
    claim(one.mean() < 0.9 * two.mean(), f"the long cycle should end at a lower training loss, got {one.mean():.3f} and {two.mean():.3f}")
    claim((one < two).mean() >= 0.75, "in nearly every run the long cycle should end lower")
    tests = [last(found[name], "valid_loss").mean() for name in CYCLES]
    claim(abs(tests[0] - tests[1]) < 0.05, "on the test the two should be alike")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, (rates, losses, tests) = plt.subplots(3, 1, figsize=(12, 12), layout="constrained", height_ratios=(1, 2, 2))
    for (name, histories), color in zip(found.items(), ("#1f6fb4", "#e07b00")):
        rates.plot(histories[0].steps["lr"], color=color, label=name)
        curves = np.array([smooth(h.steps["loss"]) for h in histories])
        losses.semilogy(curves.T, color=color, alpha=0.25, linewidth=1)
        losses.semilogy(np.exp(np.log(curves).mean(axis=0)), color=color, linewidth=2.5,
                        label=f"{name}: {last(histories, 'loss').mean():.3f} at the end")
        epochs = np.arange(1, EPOCHS + 1)
        tests.semilogy(epochs, np.array([h["valid_loss"] for h in histories]).T, "o-", color=color, alpha=0.25, linewidth=1)
        tests.semilogy(epochs, np.mean([h["valid_loss"] for h in histories], axis=0), "o-", color=color, linewidth=2.5,
                       label=f"{name}: {last(histories, 'valid_loss').mean():.3f} at the end")
    rates.set(title="Learning rate", ylabel="rate")
    losses.set(title=f"Training loss, {RUNS} runs and their mean", xlabel="step", ylabel="cross-entropy")
    tests.set(title="Test loss", xlabel="epoch", ylabel="cross-entropy", xticks=epochs)
    for ax in rates, losses, tests:
        ax.grid(alpha=0.3)
        ax.legend()
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
