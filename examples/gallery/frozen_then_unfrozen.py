"""From scratch, or from what another task taught

Eighty digits, to be told odd from even. From scratch the net learns them by heart and is right on about 88 of 100 others. A
net that knows the ten digits (it learned them from 1000 other images) already sees what matters: with its two layers frozen
and a new last layer trained alone it does better. Frozen, then thawed layer by layer from the output downwards, with smaller
rates for lower layers, it does as well or better still: first the new layer learns what the old ones say, then they may
adapt, and do so without forgetting. (Thawed against frozen is a close race: it depends on the run. Against from scratch it is
none.)

Howard and Ruder (2018) call it gradual unfreezing and discriminative rates.

    python examples/gallery/frozen_then_unfrozen.py [--picture frozen_then_unfrozen.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, train

import tinygrad_lite as tg
from tinygrad_lite.training import GradualUnfreezing

FEW, KNOWN, EPOCHS, EVERY, BATCH, RUNS, RATE, DECAY = 80, 1000, 24, 8, 10, 2, 0.01, 0.3
PRETRAINED = True
COLORS = {"from scratch": "#c8202f", "frozen": "#e07b00", "frozen, then thawed": "#1f6fb4"}


def one_run(data, seed):
    """{way: history} from one pretrained net."""
    x, y, test_x, test_y = data
    tg.seed(seed)
    teacher = mlp(x.shape[1], 64, 64, 10)
    if PRETRAINED:
        train(teacher, tg.optim.Adam(teacher.parameters(), lr=0.003), (x[:KNOWN], y[:KNOWN], test_x, test_y), 8, 32, seed)
    few = x[KNOWN:KNOWN + FEW], y[KNOWN:KNOWN + FEW] % 2, test_x, test_y % 2
    found = {}
    for way in COLORS:
        tg.seed(seed + 1000)
        model = mlp(x.shape[1], 64, 64, 2)
        layers = first, second, last = model[0], model[2], model[4]
        if way != "from scratch":
            first.load_state_dict(teacher[0].state_dict())
            second.load_state_dict(teacher[2].state_dict())
        if way == "frozen":
            first.requires_grad_(False)
            second.requires_grad_(False)
        thawing = way == "frozen, then thawed"
        optimizer = tg.optim.Adam(tg.optim.layer_rates(model, RATE, DECAY) if thawing else model.parameters(), lr=RATE)
        found[way] = train(model, optimizer, few, EPOCHS, BATCH, seed, callbacks=[GradualUnfreezing(layers, every=EVERY)] * thawing)
    return found


def measure(seed):
    data = digits(seed, KNOWN + FEW)
    return [one_run(data, RUNS * seed + i) for i in range(RUNS)]


def end(runs, way, where="accuracy"):
    return np.mean([found[way][where][-1] for found in runs])


def report(runs):
    print(f"{'':22s}{'accuracy':>10s}{'test loss':>11s}{'train loss':>12s}   accuracies of the runs")
    for way in COLORS:
        print(f"{way:22s}{end(runs, way):10.3f}{end(runs, way, 'valid_loss'):11.3f}{end(runs, way, 'loss'):12.4f}   "
              + "  ".join(f"{found[way]['accuracy'][-1]:.3f}" for found in runs))


def check(runs):
    """Every claim of the docstring."""
    scratch, frozen, thawed = (end(runs, way) for way in COLORS)
    claim(thawed > scratch + 0.03, f"what another task taught should help, got {thawed:.3f} against {scratch:.3f}")
    claim(end(runs, "frozen, then thawed", "valid_loss") < 0.6 * end(runs, "from scratch", "valid_loss"),
          "the test loss should be far lower")
    claim(thawed > frozen - 0.02, f"thawed it should be as good as frozen, got {thawed:.3f} and {frozen:.3f}")
    claim(frozen > scratch, "frozen it should be better than from scratch, too")
    claim(end(runs, "from scratch", "loss") < 0.01, "from scratch the few digits should be learned by heart")


def draw(runs, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 2, figsize=(15, 7), layout="constrained")
    epochs = np.arange(1, EPOCHS + 1)
    for way, color in COLORS.items():
        for where, ax in zip(("accuracy", "valid_loss"), axes):
            for found in runs:
                ax.plot(epochs, found[way][where], color=color, alpha=0.25, linewidth=1)
            ax.plot(epochs, np.mean([found[way][where] for found in runs], axis=0), color=color, linewidth=2.5,
                    label=f"{way}: {end(runs, way, where):.3f}")
    for ax in axes:
        for epoch in range(EVERY, EPOCHS, EVERY):
            ax.axvline(epoch + 0.5, color="0.8", linewidth=1, zorder=0)
        ax.grid(alpha=0.3)
        ax.legend()
        ax.set_xlabel("epoch (vertical lines: a layer is thawed)")
    axes[0].set(title="Test accuracy", ylabel="accuracy")
    axes[1].set(title="Test loss", ylabel="cross-entropy", yscale="log")
    figure.suptitle(f"Odd or even, from {FEW} digits", fontsize=15)
    figure.savefig(path, dpi=100)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
