"""Noise leads down from a saddle

Oja's loss, -E (w.z)^2 / 2 + |w|^4 / 4, has a minimum along the direction in which the points z vary most, and a saddle along the
other one: a minimum on the line that leads to it, a maximum across. The Hessian says so, by the signs of its eigenvalues.

Gradient descent that starts on that line stays on it, and comes to rest on the saddle: across the line the gradient is 0 to the
last digit. Batches of 8 points are never balanced; their gradient has a part across, and what curves down does the rest. So does
a little noise added to the start, after a while. (Right) A plateau is another matter: far out on a sigmoid there is a slope, but
hardly any. Gradient descent is as good as stuck; methods that divide by the gradient's own size walk off.

    python examples/gallery/saddle.py [--picture saddle.png] [--seed 0]
"""
import sys

import numpy as np
from _shared import claim, run

import tinygrad_lite as tg

POINTS, BATCH, RATE, STEPS = 512, 8, 0.05, 400
PLATEAU = {"gradient descent": (tg.optim.SGD, dict(lr=0.5)), "momentum": (tg.optim.SGD, dict(lr=0.5, momentum=0.9)),
           "RMSprop": (tg.optim.RMSprop, dict(lr=0.05)), "Adam": (tg.optim.Adam, dict(lr=0.05))}


def points(rng):
    """Two features of variances 1.5 and 1, exactly uncorrelated."""
    z = rng.standard_normal((POINTS, 2))
    z -= z.mean(axis=0)
    z = np.linalg.qr(z)[0] * np.sqrt(POINTS) * np.sqrt([1.5, 1.0])
    z[:, 0] -= z[:, 1] * (z[:, 0] @ z[:, 1]) / (z[:, 1] @ z[:, 1])
    return z


def oja(w, z):
    return -((tg.Tensor(z) @ w) ** 2).mean() / 2 + (w * w).sum() ** 2 / 4


def descend(z, rng, batch=None, start=(0.0, 1.8)):
    """The path of w by gradient descent on all points, or on batches."""
    w = tg.nn.Parameter(np.array(start))
    optimizer, path = tg.optim.SGD([w], lr=RATE), [w.data.copy()]
    for _ in range(STEPS):
        optimizer.zero_grad()
        if batch:
            oja(w, z[rng.integers(0, POINTS, batch)]).backward()
        else:
            covariance = np.diag((z * z).mean(axis=0))              # what all points come to: rounding adds no part across
            (-(w @ covariance @ w) / 2 + (w * w).sum() ** 2 / 4).backward()
        optimizer.step()
        path.append(w.data.copy())
    return np.array(path)


def flat(w):
    """A plateau that ends in a dip at 0."""
    return tg.sigmoid(tg.abs(w) * 2 - 6)


def leave(kind, options):
    w = tg.nn.Parameter(np.array([9.0]))
    optimizer, path = kind([w], **options), [9.0]
    for _ in range(STEPS):
        optimizer.zero_grad()
        flat(w).sum().backward()
        optimizer.step()
        path.append(w.data.item())
    return np.array(path)


def measure(seed):
    rng = np.random.default_rng(seed)
    z = points(rng)
    paths = {"gradient descent": descend(z, rng), "batches of 8": descend(z, rng, BATCH),
             "a start off the line by 1e-3": descend(z, rng, start=(1e-3, 1.8))}
    saddle = paths["gradient descent"][-1]
    ends = {"where gradient descent ended": saddle, "the minimum": np.array([np.sqrt(1.5), 0])}

    def loss(w):
        return oja(w, z)
    kinds = {name: (w, tg.diagnostics.critical_point(loss, w), tg.diagnostics.hessian_eigenvalues(loss, w, k=2)) for name, w in ends.items()}
    return {"z": z, "paths": paths, "points": kinds,
            "losses": {name: [loss(w).item() for w in map(tg.Tensor, path)] for name, path in paths.items()},
            "plateau": {name: leave(*how) for name, how in PLATEAU.items()}}


def report(n):
    for name, (w, kind, values) in n["points"].items():
        print(f"{name:32s} w = ({w[0]:.3f}, {w[1]:.3f})  {kind:8s} eigenvalues {values.round(3)}")
    for name, losses in n["losses"].items():
        print(f"{name:32s} loss {losses[0]:.4f} -> {losses[-1]:.4f}, across the line {abs(n['paths'][name][-1, 0]):.2e}")
    for name, path in n["plateau"].items():
        print(f"from 9.0 on the plateau, {name:18s} after {STEPS} steps at {path[-1]:.3f}")


def check(n):
    """Every claim of the docstring."""
    kinds = [kind for _, kind, _ in n["points"].values()]
    claim(kinds == ["saddle", "minimum"], f"the Hessian should name the saddle and the minimum, got {kinds}")
    gd, sgd, nudged = n["paths"].values()
    claim((gd[:, 0] == 0).all(), "gradient descent should stay on the line")
    claim(abs(sgd[-50:, 0]).mean() > 0.9 and abs(sgd[-50:, 1]).mean() < 0.5, "batches should lead from the saddle to the minimum")
    late = {name: np.mean(losses[-50:]) for name, losses in n["losses"].items()}
    claim(late["batches of 8"] < late["gradient descent"] - 0.1, "batches should end lower")
    claim(abs(nudged[100, 0]) < 0.1 < abs(nudged[-1, 0]), "a start a little off the line should leave late")
    ends = {name: path[-1] for name, path in n["plateau"].items()}
    claim(ends["gradient descent"] > 8.9 and max(ends["RMSprop"], ends["Adam"]) < 2,
          f"only methods that divide should leave the plateau, got {ends}")


def draw(n, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 3, figsize=(19, 7), layout="constrained", width_ratios=(5, 4, 4))
    u, v = np.meshgrid(np.linspace(-2, 2, 161), np.linspace(-1.5, 2, 141))
    heights = -(1.5 * u ** 2 + v ** 2) / 2 + (u ** 2 + v ** 2) ** 2 / 4
    axes[0].contourf(u, v, heights, heights.min() + np.linspace(0, 1.7, 30) ** 2, cmap="Blues_r", alpha=0.7)
    colors = "black", "#c8202f", "#e07b00"
    for (name, way), color in zip(n["paths"].items(), colors):
        axes[0].plot(*way.T, "-", color=color, linewidth=1.5, label=name)
        axes[1].plot(n["losses"][name], color=color, label=name)
    for (name, (w, kind, values)), mark in zip(n["points"].items(), "X*"):
        axes[0].plot(*w, mark, color="gold", markeredgecolor="black", markersize=18, zorder=5)
        axes[0].annotate(f"{kind}: curvatures {values[0]:.2f}, {values[1]:.2f}", (w[0] - 0.1, w[1] - 0.25), ha="right", fontsize=11)
    axes[0].set(title="Oja's loss: two ways down from the top", xlabel="w0", ylabel="w1", xlim=(-2, 2), ylim=(-1.5, 2))
    axes[1].set(title="The loss of all points", xlabel="step", ylabel="loss")
    for name, way in n["plateau"].items():
        axes[2].plot(way, label=name)
    axes[2].set(title="From 9.0 on a plateau", xlabel="step", ylabel="distance from the dip")
    for ax in axes:
        ax.legend(loc="lower left" if ax is axes[0] else "center right")
        ax.grid(alpha=0.25)
    figure.suptitle("Gradient descent rests on a saddle; noise does not", fontsize=15)
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
