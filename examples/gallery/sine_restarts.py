"""A fixed rate and sine restarts on a net that is hard to train

Three hidden layers of sigmoids, Adam, a rate of 0.2: the first steps throw the weights so far that every sigmoid is
saturated. What reaches the first layer then is less than a thousandth, soon less than a millionth, of the gradient that was
there at the start: the net guesses, and there is no way back, since nothing tells the weights where to go.

The same peak as half sine waves, each from 0 to 0.2 and back in 10 epochs: the net has found a direction before the steps
become long, and has time to settle when they are short again. Its gradient grows a hundredfold in the first wave and stays
alive: what the long steps in the middle of a wave do to it, it recovers from, wave after wave, and the digits are learned.

    python examples/gallery/sine_restarts.py [--picture sine_restarts.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, smooth, train

import tinygrad_lite as tg

RATE, PERIOD, EPOCHS, BATCH, SAMPLES = 0.2, 10, 30, 32, 600
WAVE = tg.schedules.SineRestarts


class FirstLayer:
    """A callback: the norm of the first layer's gradient at each step."""

    def __init__(self):
        self.norms = []

    def on_step(self, run):
        self.norms.append(float(np.linalg.norm(run.params[0].grad)))


def measure(seed):
    data, runs = digits(seed, SAMPLES), {}
    period = PERIOD * (SAMPLES // BATCH)
    for name, rate in ("fixed", RATE), ("sine restarts", WAVE(RATE, period)):
        tg.seed(seed)
        model, first = mlp(data[0].shape[1], 32, 32, 32, 10, activation=tg.nn.Sigmoid), FirstLayer()
        history = train(model, tg.optim.Adam(model.parameters(), lr=rate), data, EPOCHS, BATCH, seed, callbacks=[first])
        runs[name] = {"history": history, "norms": np.array(first.norms), "period": period}
    return runs


def report(runs):
    parts = [f"epochs {first + 1}-{first + PERIOD}" for first in range(0, EPOCHS, PERIOD)]
    print(f"{'norm of the first layer gradient':34s}" + "".join(f"{part:>14s}" for part in parts) + f"{'train loss':>12s}{'accuracy':>10s}")
    for name, found in runs.items():
        print(f"{name:34s}" + "".join(f"{norm:14.1e}" for norm in waves(found)) + f"{found['history'].epochs['loss'][-1]:12.3f}"
              f"{found['history']['accuracy'][-1]:10.3f}   at the first step {found['norms'][0]:.1e}, lowest {found['norms'].min():.1e}")


def waves(found):
    """Mean norm in each wave."""
    return found["norms"].reshape(-1, found["period"]).mean(axis=1)


def check(runs):
    """Every claim of the docstring."""
    fixed, cyclic = runs["fixed"], runs["sine restarts"]
    claim(waves(fixed)[-1] < 1e-3 * fixed["norms"][0], "the fixed rate's gradient should collapse")
    low = cyclic["norms"][:cyclic["period"]].min()
    claim(waves(cyclic)[-1] > 10 * low, "the restarts' gradient should recover")
    claim(waves(cyclic)[-1] > 100 * waves(fixed)[-1], "restarts should keep the gradient a hundred times as large")
    claim(fixed["history"].epochs["loss"][-1] > 2.2, "at the fixed rate the net should be guessing at the end")
    claim(cyclic["history"].epochs["loss"][-1] < 1, "with restarts it should have learned")


def draw(runs, path):
    import matplotlib.pyplot as plt
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(13, 12), layout="constrained", sharex=True, height_ratios=(3, 2, 1))
    for name, color in ("fixed", "#c8202f"), ("sine restarts", "#1f6fb4"):
        found = runs[name]
        top.semilogy(found["norms"], color=color, linewidth=0.5, alpha=0.4)
        top.semilogy(np.exp(smooth(np.log(found["norms"] + 1e-30))), color=color, linewidth=2, label=name)
        middle.plot(smooth(found["history"].steps["loss"]), color=color, linewidth=2, label=name)
        bottom.plot(found["history"].steps["lr"], color=color, linewidth=2)
    for ax in top, middle, bottom:
        for restart in range(0, len(found["norms"]) + 1, found["period"]):
            ax.axvline(restart, color="0.85", linewidth=1, zorder=0)
        ax.grid(alpha=0.25)
    top.set(title="Norm of the gradient that reaches the first layer", ylabel="norm (mean of 15 steps, in bold)")
    middle.set(title="Training loss", ylabel="cross-entropy")
    bottom.set(title="Learning rate", xlabel="step", ylabel="rate")
    top.legend(fontsize=12)
    figure.suptitle(f"Sigmoids, Adam at {RATE}: held fixed, and in sine waves of {PERIOD} epochs", fontsize=15)
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
