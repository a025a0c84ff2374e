"""Seven optimizers on one bad surface

f(w0, w1) = tanh(w0)^2 + 0.01 |w1| + sigmoid(w1) has what makes training hard: plateaus where the gradient is nearly nothing,
a valley with steep walls between them, and a kink. Every run takes 300 steps; each pair of plots is one question.

The rate decides first: too small and nothing happens, too large and gradient descent is thrown from wall to wall for ever.
Heavy-ball momentum adds up the small gradients of a plateau and leaves it; an average of gradients (GDEMA) is no faster
there, but it damps the bouncing. Dividing by the gradient's running size (RMSprop, Adam) makes a step as long as the rate on
plateaus too, which is why RMSprop never comes to rest while Adam's averages do. Halving the rate brings anyone to rest.

    python examples/gallery/optimizers_on_a_surface.py [--picture optimizers_on_a_surface.png]
"""
import argparse
from functools import partial
from pathlib import Path

import numpy as np

import tinygrad_lite as tg

STEPS, START = 300, (-4.0, 5.0)
BETA = 0.9                              # of the heavy ball, of GDEMA and of RMSprop
HALVING = 0.5                           # what the rate is multiplied by every 70 steps
COLORS = dict(GD="#1f6fb4", momentum="#7a3fb0", GDEMA="#2a9d55", RMSprop="#e07b00", Adam="#c8202f", AdamW="#e377c2", SMORMS3="#222222")

optim = tg.optim
GD, GDEMA, RMSprop = optim.SGD, partial(optim.GDEMA, beta=BETA), partial(optim.RMSpropBook, alpha=BETA)
SIX = dict(GD=GD, GDEMA=GDEMA, RMSprop=RMSprop, Adam=optim.Adam, AdamW=optim.AdamW, SMORMS3=optim.SMORMS3)


def surface(w0, w1):
    return np.tanh(w0) ** 2 + 0.01 * np.abs(w1) + tg.sigmoid(w1)


class Run:
    """300 steps of an optimizer: where it was before each (`path`, one more than steps) and what it lost there (`losses`)."""

    def __init__(self, label, make, lr, start=START, color=None, style="-"):
        self.label, self.color, self.style = label, color or COLORS[label.split()[0]], style
        w = tg.nn.Parameter(np.array(start))
        optimizer, path, losses = make([w], lr=lr), [w.data.copy()], []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = surface(w[0], w[1])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            path.append(w.data.copy())
        self.path, self.losses = np.array(path), np.array(losses)

    @property
    def first_step(self):
        return np.abs(self.path[1] - self.path[0])

    @property
    def late_swing(self):
        """How far it still moves across the valley in its last 50 steps."""
        return float(np.ptp(self.path[-50:, 0]))


def experiments():
    """{question: runs}"""
    ball = partial(optim.SGD, momentum=BETA)
    halved = partial(tg.schedules.StepLR, step_size=70, gamma=HALVING)
    high, low = (-4.0, 6.0), (-4.0, -6.0)
    return {
        "Gradient descent: which rate?": [Run("GD 3", GD, 3.0), Run("GD 1", GD, 1.0, color="#56b4e9"),
                                          Run("GD 0.1", GD, 0.1, color="#0b2f59")],
        "On a plateau at rate 0.1": [
            Run("GD from above", GD, 0.1, high), Run("GD from below", GD, 0.1, low, color="#56b4e9"),
            Run("GDEMA from below", GDEMA, 0.1, low, style="--"), Run("momentum from above", ball, 0.1, high),
            Run("momentum from below", ball, 0.1, low, color="#b98be0")],
        "Averaged gradients at rate 3": [Run("GD", GD, 3.0), Run("GDEMA", GDEMA, 3.0)],
        "Divided gradients at rate 0.6": [Run("GD", GD, 0.6), Run("RMSprop", RMSprop, 0.6)],
        "Six at rate 0.3": [Run(name, make, 0.3) for name, make in SIX.items()],
        "Six at rate 2.5": [Run(name, make, 2.5) for name, make in SIX.items()],
        "Rate 3, halved every 70 steps": [
            Run("GD constant", GD, 3.0, color="#9ecae1"), Run("GD halved", GD, halved(3.0)),
            Run("RMSprop constant", RMSprop, 3.0, color="#fdd0a2"), Run("RMSprop halved", RMSprop, halved(3.0))],
    }


def measure(found):
    """The numbers that the claims are about."""
    runs = {question: {run.label: run for run in runs} for question, runs in found.items()}
    plateau, slow, averaged, halved = (runs[q] for q in ("On a plateau at rate 0.1", "Six at rate 0.3", "Averaged gradients at rate 3",
                                                         "Rate 3, halved every 70 steps"))
    return {
        "stuck": plateau["GD from below"].losses[[0, -1]], "left": plateau["momentum from below"].losses[[0, -1]],
        "adam_first": slow["Adam"].first_step, "rmsprop_first": slow["RMSprop"].first_step,
        "adam_swing": slow["Adam"].late_swing, "rmsprop_swing": slow["RMSprop"].late_swing,
        "gd_swing": averaged["GD"].late_swing, "gdema_swing": averaged["GDEMA"].late_swing,
        "constant_swing": halved["GD constant"].late_swing, "halved_swing": halved["GD halved"].late_swing,
    }


def check(n):
    """Every claim of the docstring."""
    claim(n["stuck"][1] > 0.99 * n["stuck"][0], "gradient descent at rate 0.1 should be stuck on the plateau")
    claim(n["left"][1] < 0.1 * n["left"][0], "momentum should leave the plateau")
    claim(np.allclose(n["adam_first"], 0.3, rtol=1e-3), "Adam's first step should be the rate")
    claim(np.allclose(n["rmsprop_first"], 0.3 / (1 - BETA) ** 0.5), "RMSprop's first step should be rate / sqrt(1 - beta)")
    claim(n["rmsprop_swing"] > 0.9 * 0.3 and n["adam_swing"] < 0.01 * n["rmsprop_swing"], "RMSprop should swing on where Adam is damped")
    claim(n["gdema_swing"] < 0.1 * n["gd_swing"], "the average should damp the bouncing at rate 3")
    claim(n["halved_swing"] < 0.1 * n["constant_swing"], "halving the rate should cut the late oscillation at least tenfold")


def claim(holds, message):
    if not holds:
        raise AssertionError(message)


def draw(found, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    axis = np.linspace(-10, 10, 301)
    w0, w1 = np.meshgrid(axis, axis)
    heights = surface(w0, tg.Tensor(w1)).numpy()
    lowest = np.unravel_index(heights.argmin(), heights.shape)
    figure = plt.figure(figsize=(20, 14), layout="constrained")
    cells = figure.add_gridspec(2, 4)
    solid = figure.add_subplot(cells[0, 0], projection="3d")
    solid.plot_surface(w0, w1, heights, cmap="viridis", rcount=80, ccount=80, linewidth=0, antialiased=True)
    solid.set(title="f = tanh(w0)² + 0.01 |w1| + sigmoid(w1)", xlabel="w0", ylabel="w1", zlabel="f")
    solid.view_init(elev=32, azim=-60)
    for cell, (question, runs) in zip([cells[i // 4, i % 4] for i in range(1, 8)], found.items()):
        parts = cell.subgridspec(2, 1, height_ratios=(5, 3))
        chart, curve = figure.add_subplot(parts[0]), figure.add_subplot(parts[1])
        chart.contourf(w0, w1, heights, levels=24, cmap="Greys", alpha=0.45)
        chart.contour(w0, w1, heights, levels=12, colors="white", linewidths=0.5)
        chart.plot(w0[lowest], w1[lowest], "*", color="gold", markeredgecolor="black", markersize=15, zorder=5)
        for run in runs:
            chart.plot(*run.path.T, run.style, color=run.color, linewidth=1.2, alpha=0.85, label=run.label)
            chart.plot(*run.path[-1], "o", color=run.color, markeredgecolor="white", markersize=7, zorder=6)
            curve.plot(run.losses, run.style, color=run.color, linewidth=1.2)
        for start in {tuple(run.path[0]) for run in runs}:
            chart.plot(*start, "s", color="black", markersize=6, zorder=6)
        chart.set(xlabel="w0", ylabel="w1", xlim=(-10, 10), ylim=(-10, 10), xticks=range(-10, 11, 5), yticks=range(-10, 11, 5))
        chart.set_title(question, fontweight="bold")
        chart.legend(fontsize=9, loc="upper right", framealpha=0.9)
        curve.set(xlabel="step", ylabel="f", yscale="log", ylim=(0.05, 2.6), xlim=(0, STEPS))
        curve.grid(alpha=0.3)
    figure.suptitle("Optimizers on a surface of plateaus, walls and a kink: 300 steps each (square: start, dot: end, star: the minimum)",
                    fontsize=16)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", default="optimizers_on_a_surface.png", metavar="PATH", help="default optimizers_on_a_surface.png")
    args = parser.parse_args(argv)
    found = experiments()
    print(f"{'':34s}{'first step':>16s}{'end':>18s}{'f at the end':>14s}{'late swing in w0':>18s}")
    for question, runs in found.items():
        print(question)
        for run in runs:
            first, end = (f"({a:.3g}, {b:.3g})" for a, b in (run.first_step, run.path[-1]))
            print(f"    {run.label:30s}{first:>16s}{end:>18s}{run.losses[-1]:14.4f}{run.late_swing:18.4f}")
    numbers = measure(found)
    check(numbers)
    print(f"plateau at rate 0.1: GD {numbers['stuck'][0]:.3f} -> {numbers['stuck'][1]:.3f}, momentum -> {numbers['left'][1]:.3f}; "
          f"swing at 0.3: RMSprop {numbers['rmsprop_swing']:.3f}, Adam {numbers['adam_swing']:.1e}; "
          f"halving: {numbers['constant_swing']:.2f} -> {numbers['halved_swing']:.1e}")
    draw(found, args.picture)
    print(f"picture  {Path(args.picture).resolve()}")
    return numbers


if __name__ == "__main__":
    main()
