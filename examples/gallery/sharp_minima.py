"""Sharp minima and flat ones

400 digits are learnt to the same training loss, 0.02, by SGD with batches of 8, by SGD with all 400 at once, and by Adam both ways.
Where each of them stops, the largest eigenvalue of the Hessian says how sharp the minimum is. Small batches with SGD end in
flatter places, by a factor of two and more, at the same loss: their noise does not let them rest where it is narrow. Large batches
end in sharp ones, and Adam, which divides steep directions by their size, in the sharpest. Keskar et al. 2017.

Do flat minima generalise better, as that paper says? Not here: the gap between test and training loss (right) is about the
same for all four, whatever the sharpness, and the sharpest is often among the best. Dinh et al. 2017 showed why one should not
expect too much: rescaled layers make any minimum as sharp as one likes, and change nothing else.

    python examples/gallery/sharp_minima.py [--picture sharp_minima.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, score

import tinygrad_lite as tg

TRAIN, ENOUGH, MOST, NETS = 400, 0.02, 2000, 2
SLOW = True
SGD, ADAM = (tg.optim.SGD, dict(lr=0.1)), (tg.optim.Adam, dict(lr=0.002))
RUNS = {"SGD, batches of 8": (SGD, 8), "SGD, all 400": (SGD, TRAIN), "Adam, batches of 8": (ADAM, 8), "Adam, all 400": (ADAM, TRAIN)}


def learn(how, batch, seed):
    """(steps, largest eigenvalue, training loss, test loss) where the training loss first falls below ENOUGH."""
    x, y, test_x, test_y = digits(seed, TRAIN)
    tg.seed(seed)
    rng, model = np.random.default_rng(seed), mlp(x.shape[1], 32, 32, 10)
    optimizer, every = how[0](model.parameters(), **how[1]), 50 if batch < TRAIN else 10
    for step in range(1, MOST + 1):
        rows = rng.permutation(TRAIN)[:batch]
        optimizer.zero_grad()
        tg.losses.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        if step % every == 0 and score(model, x, y)["loss"] < ENOUGH:
            break
    sharpness = tg.diagnostics.hessian_eigenvalues(model, tg.losses.cross_entropy, (x, y))[0]
    return step, sharpness, score(model, x, y)["loss"], score(model, test_x, test_y)["loss"]


def measure(seed):
    return {name: np.array([learn(how, batch, NETS * seed + i) for i in range(NETS)]) for name, (how, batch) in RUNS.items()}


def gap(rows):
    return (rows[:, 3] - rows[:, 2]).mean()


def report(found):
    print(f"{'':22s}{'steps':>8s}{'sharpness':>12s}{'training loss':>16s}{'test loss':>12s}{'gap':>8s}   (means of {NETS} nets)")
    for name, rows in found.items():
        print(f"{name:22s}{rows[:, 0].mean():8.0f}{rows[:, 1].mean():12.2f}{rows[:, 2].mean():16.4f}{rows[:, 3].mean():12.4f}{gap(rows):8.4f}")


def check(found):
    """Every claim of the docstring."""
    small, large, adam_small, adam = (rows[:, 1].mean() for rows in found.values())
    claim(all(0.005 < rows[:, 2].min() and rows[:, 2].max() < ENOUGH for rows in found.values()),
          "all should have learnt equally well")
    claim(small < 0.6 * large,
          f"SGD with small batches should end in flatter minima than with all samples, {small:.1f} against {large:.1f}")
    claim(adam_small < 0.8 * adam, f"so should Adam, {adam_small:.1f} against {adam:.1f}")
    claim(small < adam_small, f"Adam should end in sharper minima than SGD, {adam_small:.1f} against {small:.1f}")
    gaps = [gap(rows) for rows in found.values()]
    claim(max(gaps) < 1.5 * min(gaps), f"the gaps should be about the same, got {np.round(gaps, 3)}")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 3, figsize=(18, 7), layout="constrained")
    colors = "#1f6fb4", "#7a3fb0", "#2a9d55", "#c8202f"
    for i, ((name, rows), color) in enumerate(zip(found.items(), colors)):
        axes[0].bar(i, rows[:, 1].mean(), color=color, alpha=0.6)
        axes[1].bar(i, gap(rows), color=color, alpha=0.6)
        for ax, values in zip(axes, (rows[:, 1], rows[:, 3] - rows[:, 2])):
            ax.plot(np.full(len(values), i), values, "o", color=color)
        axes[2].plot(rows[:, 1], rows[:, 3] - rows[:, 2], "o", color=color, markersize=12, label=name)
    for ax in axes[:2]:
        ax.set_xticks(range(len(found)), [name.replace(", ", "\n") for name in found])
    axes[0].set(title="Sharpness: the largest eigenvalue of the Hessian", ylabel="where the training loss is 0.02")
    axes[1].set(title="Test loss less training loss")
    axes[2].set(title="The one says little about the other", xlabel="sharpness", ylabel="gap", ylim=(0, None), xlim=(0, None))
    axes[2].legend()
    axes[2].grid(alpha=0.3)
    figure.suptitle("The same training loss, reached in four ways", fontsize=16)
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
