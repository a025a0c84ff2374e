"""Units that die

A ReLU whose input is below 0 for every sample gives 0, and gets a gradient of 0: its own weights never move again. It can only be
revived when the layer below moves, by chance. One step that is too long kills units by the dozen. The pictures show the outputs
of the second hidden layer, before its ReLU, for the same 300 digits all the time: time to the right, outputs upwards, dark where
there are many.

At a rate of 0.05 the cloud stays around 0 and nearly every unit fires for somebody. With a single step at 40 in between it is
thrown below 0; the share of dead units (bottom left) jumps within that one step, and most are still dead at the end. Leaky units
are thrown about as far, but none is dead: a slope of 0.01 is a way back.

    python examples/gallery/units_that_die.py [--picture units_that_die.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run

import tinygrad_lite as tg

STEPS, BATCH, RATE, LONG, AT = 120, 32, 0.05, 40.0, 20
SLOW = True
RUNS = {"rate 0.05": (RATE, tg.nn.ReLU), "one step at 40": (LONG, tg.nn.ReLU), "one step at 40, leaky": (LONG, tg.nn.LeakyReLU)}


def learn(long, activation, seed):
    x, y, test_x, _ = digits(seed)
    tg.seed(seed)
    rng, model = np.random.default_rng(seed), mlp(x.shape[1], 64, 64, 10, activation=activation)
    rate = tg.schedules.LambdaLR(1.0, lambda t: long if t == AT else RATE)
    optimizer, losses = tg.optim.SGD(model.parameters(), lr=rate), []
    history = tg.diagnostics.ActivationHistory(model, test_x[:300], edges=np.linspace(-15, 15, 91))
    for _ in range(STEPS):
        rows = rng.integers(0, len(y), BATCH)
        loss = tg.losses.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        history.record()
    return {"losses": losses, "history": history, "dead": np.mean([history.dead("1"), history.dead("3")], axis=0)}


def measure(seed):
    return {name: learn(rate, activation, seed) for name, (rate, activation) in RUNS.items()}


def late(n):
    return float(np.mean(n["losses"][-20:]))


def report(found):
    print(f"{'dead units, both layers':24s}" + "".join(f"{'step ' + str(s):>10s}" for s in range(0, STEPS, 20)) + "  loss of the last 20 steps")
    for name, n in found.items():
        print(f"{name:24s}" + "".join(f"{100 * n['dead'][s]:8.1f} %" for s in range(0, STEPS, 20)) + f"{late(n):12.3f}")


def check(found):
    """Every claim of the docstring."""
    calm, thrown, leaky = found.values()
    claim(calm["dead"][-1] < 0.12, f"at the small rate nearly all units should fire, {calm['dead'][-1]:.0%} are dead")
    claim(thrown["dead"][AT] > thrown["dead"][AT - 1] + 0.2,
          f"the long step should kill units, {thrown['dead'][AT]:.0%} are dead after it")
    claim(thrown["dead"][-1] > 0.7 * thrown["dead"][AT],
          f"most of the dead should stay dead, {thrown['dead'][-1]:.0%} are at the end")
    claim(leaky["dead"].max() == 0, "no leaky unit should give 0 for everybody")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, 3, figsize=(17, 10), layout="constrained")
    colors = "#2a9d55", "#c8202f", "#1f6fb4"
    for ax, (name, n) in zip(axes[0], found.items()):
        n["history"].plot("2", ax)
        ax.axhline(0, color="0.3", linewidth=0.6)
        ax.set(title=f"{name}: before the second ReLU", xlabel="step", ylabel="output (log density)")
    for (name, n), color in zip(found.items(), colors):
        axes[1, 0].plot(100 * n["dead"], color=color, label=name)
        axes[1, 1].semilogy([record["2"].std for record in n["history"].stats], color=color, label=name)
        axes[1, 2].semilogy(n["losses"], color=color, label=name, linewidth=1)
    axes[1, 0].set(title="Dead units of both layers", xlabel="step", ylabel="%", ylim=(-3, 103))
    axes[1, 1].set(title="Standard deviation of the same outputs", xlabel="step")
    axes[1, 2].set(title="Loss", xlabel="step", ylabel="cross-entropy")
    for ax in axes[1]:
        ax.grid(alpha=0.3)
        ax.legend()
    figure.suptitle("One step that is too long kills ReLUs by the dozen", fontsize=15)
    figure.savefig(path, dpi=85)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
