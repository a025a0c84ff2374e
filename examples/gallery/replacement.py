"""With and without replacement

Two ways to choose the samples of a step: draw each at random from all (with replacement), or shuffle and walk through, so
that an epoch sees every sample once (without). The gradients are the same on average. But within an epoch of the second kind
the errors cancel: what one batch pulls too far to one side, the rest of the epoch must pull back, since together they are the
full gradient.

A line through 512 noisy points, batches of 8, a constant rate. With replacement the weights keep a distance from the best
ones that falls as the root of the rate: a quarter of the rate, half the distance. Without, at the end of an epoch, it is
smaller, and falls faster than the rate itself. Walking through is what a loader does, and no more work. Bottou 2009;
Gürbüzbalaban et al. 2015.

    python examples/gallery/replacement.py [--picture replacement.png] [--seed 0]
"""
import sys

import numpy as np
from _shared import claim, run

import tinygrad_lite as tg

N, D, BATCH, EPOCHS, RATES = 512, 6, 8, 24, (0.02, 0.005)
SHUFFLED = True


def walk(x, y, best, rate, replace, rng):
    """Distance from the best weights at the end of each epoch."""
    w, distances = tg.nn.Parameter(np.zeros(D)), []
    optimizer = tg.optim.SGD([w], lr=rate)
    for _ in range(EPOCHS):
        order = rng.permutation(N) if SHUFFLED and not replace else rng.integers(0, N, N)
        for rows in order.reshape(-1, BATCH):
            optimizer.zero_grad()
            tg.losses.mse_loss(x[rows] @ w, y[rows]).backward()
            optimizer.step()
        distances.append(np.linalg.norm(w.data - best))
    return np.array(distances)


def measure(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D))
    y = x @ rng.normal(size=D) + rng.normal(size=N)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    return {(name, rate): walk(x, y, best, rate, name == "with", rng) for name in ("with", "without") for rate in RATES}


def rest(distances):
    """What remains once the start is forgotten: the root mean square of the last two thirds."""
    return float(np.sqrt(np.mean(distances[EPOCHS // 3:] ** 2)))


def report(found):
    print(f"{'distance that remains':24s}" + "".join(f"{'rate ' + format(rate, 'g'):>14s}" for rate in RATES) + f"{'ratio':>10s}")
    for name in ("with", "without"):
        near = [rest(found[name, rate]) for rate in RATES]
        print(f"{name + ' replacement':24s}" + "".join(f"{d:14.5f}" for d in near) + f"{near[0] / near[1]:10.2f}")
    for (name, rate), distances in found.items():
        print(f"{name + ' replacement, rate ' + format(rate, 'g'):36s} after 1, 4, 12, 24 epochs: "
              + " ".join(f"{distances[epoch - 1]:.4f}" for epoch in (1, 4, 12, 24)))


def check(found):
    """Every claim of the docstring."""
    for rate, share in zip(RATES, (0.8, 0.4)):
        claim(rest(found["without", rate]) < share * rest(found["with", rate]),
              f"at rate {rate} walking through should end much nearer")
    falls = {name: rest(found[name, RATES[0]]) / rest(found[name, RATES[1]]) for name in ("with", "without")}
    claim(1.6 < falls["with"] < 2.5, f"with replacement a quarter of the rate should halve the distance, got {falls['with']:.2f}")
    claim(falls["without"] > 4, f"without replacement the distance should fall faster than the rate, got {falls['without']:.2f}")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 2, figsize=(14, 7), layout="constrained", sharey=True)
    for ax, rate in zip(axes, RATES):
        for name, color in ("with", "#c8202f"), ("without", "#1f6fb4"):
            distances = found[name, rate]
            ax.semilogy(np.arange(1, EPOCHS + 1), distances, "o-", color=color, label=f"{name} replacement")
            ax.axhline(rest(distances), color=color, linestyle="--", linewidth=1)
        ax.set(title=f"rate {rate}", xlabel="epoch", ylabel="distance from the best weights")
        ax.grid(alpha=0.3)
        ax.legend()
    figure.suptitle("The same number of samples, drawn or walked through (dashed: what remains)", fontsize=15)
    figure.savefig(path, dpi=100)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
