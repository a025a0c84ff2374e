"""One cycle with momentum, and with Adam

The same net, the same cycle of the rate up to the same 0.2, five ways to step. With plain momentum every run learns the
digits. With Adam nearly every run is lost: its steps are as long as the rate, whatever the gradient, and 0.2 for each weight
is far. Cycling its first beta against the rate, as one does with momentum, does not save it. What does is decoupled weight
decay (AdamW, 0.3): it pulls the weights back from where the long steps threw them, and the cycle's quiet end does the rest.

A run counts as lost whose test loss ends above 0.5 (guessing is 2.3). At a rate that suits it, 0.03, Adam's cycle is as good
as any.

    python examples/gallery/one_cycle_or_adam.py [--picture one_cycle_or_adam.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, smooth, train

import tinygrad_lite as tg

EPOCHS, BATCH, RUNS, HIGH, LOW, LOST = 4, 32, 3, 0.2, 0.03, 0.5
TRAIN, DECAY = 1437, 0.3
WAYS = {            # name -> (optimizer of parameters and a cycle, its peak, colour)
    "momentum, cycled": (lambda p, cycle: tg.optim.SGD(p, lr=cycle, momentum=cycle.momentum), HIGH, "#1f6fb4"),
    "Adam": (lambda p, cycle: tg.optim.Adam(p, lr=cycle), HIGH, "#c8202f"),
    "Adam, beta1 cycled": (lambda p, cycle: tg.optim.Adam(p, lr=cycle, betas=(cycle.momentum, 0.999)), HIGH, "#e07b00"),
    "AdamW, decay 0.3": (lambda p, cycle: tg.optim.AdamW(p, lr=cycle, weight_decay=DECAY), HIGH, "#2a9d55"),
    "Adam, peak 0.03": (lambda p, cycle: tg.optim.Adam(p, lr=cycle), LOW, "#7a3fb0"),
}


def measure(seed):
    found = {name: [] for name in WAYS}
    for i in range(RUNS):
        data = digits(seed, TRAIN)
        for name, (make, peak, _) in WAYS.items():
            tg.seed(RUNS * seed + i)
            model = mlp(data[0].shape[1], 64, 64, 10)
            cycle = tg.schedules.OneCycleLR(peak, total_steps=EPOCHS * (len(data[1]) // BATCH))
            found[name].append(train(model, make(model.parameters(), cycle), data, EPOCHS, BATCH, RUNS * seed + i))
    return found


def ends(histories):
    return np.array([h["valid_loss"][-1] for h in histories])


def lost(histories):
    return int((ends(histories) > LOST).sum())


def report(found):
    print(f"{'':22s}{'lost':>6s}   test losses, accuracies at the end")
    for name, histories in found.items():
        pairs = "  ".join(f"{h['valid_loss'][-1]:.3f} {h['accuracy'][-1]:.3f}" for h in histories)
        print(f"{name:22s}{lost(histories):3d}/{RUNS}   {pairs}")


def check(found):
    """Every claim of the docstring."""
    claim(lost(found["momentum, cycled"]) == 0, "with momentum no run should be lost")
    claim(lost(found["Adam"]) >= RUNS - 1, "with Adam at the same rate nearly every run should be lost")
    claim(lost(found["Adam, beta1 cycled"]) >= RUNS - 1, "cycling beta1 should not save Adam")
    claim(lost(found["AdamW, decay 0.3"]) == 0, "decoupled decay should save every run")
    claim(ends(found["Adam, peak 0.03"]).mean() < ends(found["momentum, cycled"]).mean() + 0.05,
          "at its own rate Adam should be as good as any")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 7), layout="constrained", width_ratios=(3, 2))
    for i, (name, histories) in enumerate(found.items()):
        color = WAYS[name][2]
        for j, h in enumerate(histories):
            left.semilogy(smooth(h.steps["loss"]), color=color, linewidth=1.5, alpha=0.85, label=name if j == 0 else None)
        right.semilogy([i] * RUNS, ends(histories), "o", color=color, markersize=10, alpha=0.7)
        right.text(i, 3.4, f"{lost(histories)}/{RUNS} lost", ha="center", color=color, fontweight="bold")
    left.set(title=f"Training loss, {RUNS} runs each (mean of 15 steps)", xlabel="step", ylabel="cross-entropy")
    right.axhline(LOST, color="0.4", linestyle="--", linewidth=1)
    right.axhline(np.log(10), color="0.7", linestyle=":", linewidth=1)
    right.set(title="Test loss at the end (dashed: lost, dotted: guessing)", ylabel="cross-entropy", xlim=(-0.6, len(found) - 0.4),
              ylim=(0.05, 5))
    right.set_xticks(range(len(found)), [name.replace(", ", ",\n") for name in found], fontsize=9)
    left.legend()
    for ax in left, right:
        ax.grid(alpha=0.3)
    figure.suptitle(f"The same cycle of the rate, up to {HIGH}", fontsize=15)
    figure.savefig(path, dpi=100)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
