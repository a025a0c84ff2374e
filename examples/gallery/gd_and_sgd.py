"""Gradient descent and its mini-batches

A line is fitted to 1000 points of y = -1 + 3x + 0.05 noise, from (-4, -4), in 30 steps of length 0.5: gradients are
normalised, so the rate alone says how far and the gradient only where to.

Each mini-batch of 4 points has a surface of its own, bent another way, but its lowest place is near everybody's. Over one
epoch the gradients of the batches average to the full one exactly. So stochastic gradient descent walks there as well, on
zigzags, having looked at 120 points where gradient descent looked at 30,000. Once there, neither rests: the step is 0.5.

    python examples/gallery/gd_and_sgd.py [--picture gd_and_sgd.png] [--seed 0]
"""
import argparse
from pathlib import Path

import numpy as np

import tinygrad_lite as tg

N, BATCH, RATE, STEPS = 1000, 4, 0.5, 30
START, GOAL = (-4.0, -4.0), np.array([-1.0, 3.0])
NORMALIZED = True


def data(rng):
    x = rng.normal(size=N)
    return x, GOAL[0] + GOAL[1] * x + 0.05 * rng.normal(size=N)


def loss_of(w, x, y):
    return tg.losses.mse_loss(w[0] + w[1] * x, y)


def gradient(at, x, y):
    w = tg.Tensor(at, requires_grad=True)
    return tg.grad(loss_of(w, x, y), w).numpy()


def descend(batches):
    """The path of (w0, w1), from START, a step for each batch."""
    w = tg.nn.Parameter(np.array(START))
    optimizer, path = tg.optim.SGD([w], lr=RATE), [w.data.copy()]
    for x, y in batches:
        optimizer.zero_grad()
        loss_of(w, x, y).backward()
        if NORMALIZED:
            tg.clip.normalize_grad_([w])
        optimizer.step()
        path.append(w.data.copy())
    return np.array(path)


def measure(seed):
    rng = np.random.default_rng(seed)
    x, y = data(rng)
    order = rng.permutation(N).reshape(-1, BATCH)           # an epoch: every point in one batch
    gd, sgd = descend([(x, y)] * STEPS), descend([(x[b], y[b]) for b in (order[i % len(order)] for i in range(STEPS))])
    at_start = [gradient(np.array(START), x[b], y[b]) for b in order]
    return {"x": x, "y": y, "batches": order, "gd": gd, "sgd": sgd, "full_gradient": gradient(np.array(START), x, y),
            "mean_of_batches": np.mean(at_start, axis=0), "spread_of_batches": np.std(at_start, axis=0)}


def check(n):
    """Every claim of the docstring."""
    for name in "gd", "sgd":
        lengths = np.linalg.norm(np.diff(n[name], axis=0), axis=1)
        claim(np.allclose(lengths, RATE), f"{name}: every step should be {RATE} long, got {lengths.min():.3g} to {lengths.max():.3g}")
        far = distance(n[name])[-5:].max()
        claim(far < 2 * RATE, f"{name} should have come to within two steps of {GOAL}, is {far:.2f} away")
    claim(np.allclose(n["mean_of_batches"], n["full_gradient"]), "the gradients of an epoch's batches should average to the full one")
    claim((n["spread_of_batches"] > 0.2 * np.abs(n["full_gradient"])).all(), "single batches should point elsewhere")


def claim(holds, message):
    if not holds:
        raise AssertionError(message)


def distance(path):
    return np.linalg.norm(path - GOAL, axis=1)


def draw(n, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    w0, w1 = np.meshgrid(np.linspace(-6, 4, 101), np.linspace(-5, 7, 101))

    def heights(x, y):
        return (w0 ** 2 + w1 ** 2 * np.mean(x * x) + 2 * w0 * w1 * np.mean(x) - 2 * w0 * np.mean(y) - 2 * w1 * np.mean(x * y)
                + np.mean(y * y))                           # the mean of (w0 + w1 x - y)^2, multiplied out
    x, y, five = n["x"], n["y"], n["batches"][:5]
    full, top = heights(x, y), 80
    colors = ["#1f6fb4", "#e07b00", "#2a9d55", "#c8202f", "#7a3fb0"]
    figure = plt.figure(figsize=(18, 10), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(5, 5, 4))
    solid, chart = figure.add_subplot(grid[:, 0], projection="3d"), figure.add_subplot(grid[:, 1])
    solid.plot_surface(w0, w1, np.where(full > top, np.nan, full), color="0.6", alpha=0.55, rcount=40, ccount=40, linewidth=0)
    for b, color in zip(five, colors):
        part = heights(x[b], y[b])
        solid.plot_wireframe(w0, w1, np.where(part > top, np.nan, part), color=color, linewidth=0.5, alpha=0.8, rcount=22, ccount=22)
        chart.contour(w0, w1, part, levels=[2, 10], colors=color, linewidths=0.9, alpha=0.8)
    solid.set(title="grey: the loss of all 1000 points\ncolours: of five mini-batches of 4", xlabel="w0", ylabel="w1", zlabel="loss",
              zlim=(0, top))
    solid.view_init(elev=24, azim=-62)
    solid.set_box_aspect((1, 1, 1), zoom=1.0)
    chart.contourf(w0, w1, full, levels=[0, 1, 2, 5, 10, 20, 40, 60, 80, 100, 150, 200], cmap="Greys", alpha=0.5)
    for name, label, color in ("gd", "gradient descent", "black"), ("sgd", "mini-batches of 4", "#c8202f"):
        chart.plot(*n[name].T, "o-", color=color, markersize=4, linewidth=1.6, label=label, zorder=4)
    chart.plot(*START, "s", color="black", markersize=9, zorder=5)
    chart.plot(*GOAL, "*", color="gold", markeredgecolor="black", markersize=20, zorder=6)
    chart.set(title="30 steps of length 0.5 (square: start, star: the truth)\ncoloured rings: the five mini-batches' own losses of 2 and 10",
              xlabel="w0, the intercept", ylabel="w1, the slope", aspect="equal")
    chart.legend(loc="upper right")
    steps, points = figure.add_subplot(grid[0, 2]), figure.add_subplot(grid[1, 2])
    for name, label, color, size in ("gd", "gradient descent", "black", N), ("sgd", "mini-batches of 4", "#c8202f", BATCH):
        steps.plot(distance(n[name]), color=color, label=label)
        points.semilogx(size * np.arange(1, STEPS + 1), distance(n[name])[1:], "o-", color=color, markersize=3, label=label)
    steps.axhline(RATE, color="0.5", linestyle=":", label="one step")
    steps.set(title="Step by step nearly as good ...", xlabel="step", ylabel="distance from the truth")
    points.set(title="... for a 250th of the work", xlabel="points looked at", ylabel="distance from the truth")
    for ax in steps, points:
        ax.grid(alpha=0.3)
        ax.legend()
    figure.suptitle("Gradient descent and its mini-batches: y = -1 + 3x + 0.05 noise", fontsize=15)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", default="gd_and_sgd.png", metavar="PATH", help="default gd_and_sgd.png")
    parser.add_argument("--seed", type=int, default=0, help="of points, noise and batches (default 0)")
    args = parser.parse_args(argv)
    n = measure(args.seed)
    print(f"{'step':>4s}{'gradient descent':>26s}{'mini-batches of 4':>26s}")
    for step in range(0, STEPS + 1, 5):
        print(f"{step:4d}" + "".join(f"   ({path[step][0]:6.2f}, {path[step][1]:6.2f}) {distance(path)[step]:6.2f}"
                                     for path in (n["gd"], n["sgd"])))
    print("(w0, w1) and its distance from (-1, 3)")
    print(f"gradient at the start {n['full_gradient'].round(3)}, mean of 250 batches {n['mean_of_batches'].round(3)}, "
          f"their spread {n['spread_of_batches'].round(3)}")
    check(n)
    draw(n, args.picture)
    print(f"picture  {Path(args.picture).resolve()}")
    return n


if __name__ == "__main__":
    main()
