"""One cycle of the rate

A net of three hidden layers learns digits in 176 steps, with momentum. Held constant, a rate of 0.2 is far too high: the loss
ends where it was after one epoch, or worse. In one cycle (from 0.008 up to 0.2 and down to almost nothing, the momentum going
the other way) the same peak works, since the net meets it only after the first steps have brought it to smoother ground, and
leaves it again. With a peak of 0.1 one cycle ends below every constant rate: Smith and Topin call it super-convergence.

The gradients tell why. At a constant 0.1 they stay large: the steps are too long to come down into the valley, and cross it
again and again. In the cycle they fall when the rate falls, and end smaller. (Small gradients alone are no good sign: the run
at a constant 0.2 has them, too, on a plateau.)

    python examples/gallery/super_convergence.py [--picture super_convergence.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import GradientSize, claim, digits, mlp, run, smooth, train

import tinygrad_lite as tg

EPOCHS, BATCH, MOMENTUM = 4, 32, 0.9
CONSTANT, PEAKS = (0.03, 0.1, 0.2), (0.1, 0.2)
TRAIN = 1437                                # digits; of MNIST as many
CYCLE = tg.schedules.OneCycleLR


def measure(seed):
    data, runs = digits(seed, TRAIN), {}
    steps = EPOCHS * (len(data[1]) // BATCH)
    for kind, rates in ("constant", CONSTANT), ("one cycle", PEAKS):
        for peak in rates:
            tg.seed(seed)
            model, size = mlp(data[0].shape[1], 100, 100, 100, 10), GradientSize()
            rate = CYCLE(peak, total_steps=steps) if kind == "one cycle" else None
            optimizer = tg.optim.SGD(model.parameters(), lr=rate or peak, momentum=rate.momentum if rate else MOMENTUM)
            history = train(model, optimizer, data, EPOCHS, BATCH, seed, callbacks=[size])
            runs[kind, peak] = {"history": history, "gradient": np.array(size.sizes)}
    return runs


def end(run):
    """(test loss, test accuracy, mean |gradient| of the last epoch)"""
    history = run["history"]
    return history["valid_loss"][-1], history["accuracy"][-1], run["gradient"][-len(run["gradient"]) // EPOCHS:].mean()


def report(runs):
    print(f"{'':22s}{'test loss':>10s}{'accuracy':>10s}{'mean |gradient| at the end':>28s}")
    for (kind, peak), found in runs.items():
        print(f"{kind:14s}{peak:8g}{end(found)[0]:10.3f}{end(found)[1]:10.3f}{end(found)[2]:28.2e}")


def check(runs):
    """Every claim of the docstring."""
    held, cycle = end(runs["constant", 0.2])[0], end(runs["one cycle", 0.2])[0]
    claim(held > 2 * cycle, f"held constant, the peak should end at a higher loss than in one cycle, got {held:.3f} and {cycle:.3f}")
    claim(end(runs["constant", 0.1])[2] > end(runs["one cycle", 0.1])[2],
          "a constant rate should leave larger gradients than one cycle")
    best = min(end(runs["constant", rate])[0] for rate in CONSTANT)
    claim(end(runs["one cycle", 0.1])[0] < best, "one cycle up to 0.1 should end below every constant rate")


def draw(runs, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, 2, figsize=(14, 9), layout="constrained")
    (rates, losses), (gradients, tests) = axes
    colors = {0.03: "#2a9d55", 0.1: "#1f6fb4", 0.2: "#c8202f"}
    for (kind, peak), found in runs.items():
        style = dict(color=colors[peak], linestyle="-" if kind == "one cycle" else ":",
                     linewidth=2.2 if kind == "one cycle" else 1.6)
        history = found["history"]
        history_label = f"{kind} {peak:g}"
        rates.plot(history.steps["lr"], label=history_label, **style)
        losses.semilogy(smooth(history.steps["loss"]), label=history_label, **style)
        gradients.semilogy(smooth(found["gradient"]), label=history_label, **style)
        tests.plot(np.arange(1, EPOCHS + 1), history["accuracy"], "o", **style)
    rates.set(title="The rate", xlabel="step", ylabel="learning rate")
    losses.set(title="Training loss (mean of 15 steps)", xlabel="step", ylabel="cross-entropy")
    gradients.set(title="Mean |gradient| (of 15 steps)", xlabel="step", ylabel="mean |gradient|")
    tests.set(title="Test accuracy", xlabel="epoch", ylabel="accuracy", xticks=range(1, EPOCHS + 1))
    for ax in axes.flat:
        ax.grid(alpha=0.3)
    losses.legend(fontsize=9)
    figure.suptitle("Constant rates (dotted) and one cycle (solid), the same number of steps", fontsize=15)
    figure.savefig(path, dpi=100)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
