"""Deep nets with and without skip connections

Two nets of 24 hidden layers learn the same digits for the same 250 steps; in one every layer adds to its input, h + f(h), in the
other it replaces it, f(h). Then the loss around each is drawn in a slice of two random directions, every filter of a direction as
long as the filter it is added to, so that the two pictures share a scale. The net with skips lies in a basin. Without, it hangs
in a narrow gorge: half as far away as the weights are long the loss is many times higher, at full length a hundred times. The
curvature says the same: its largest eigenvalue is several times as large. Li, Xu, Taylor, Studer & Goldstein 2018.

(Their pictures are of convolutional nets with 56 layers; the chaos they show far out is here a wall.)

    python examples/gallery/skip_connections.py [--picture skip_connections.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, run, smooth, there

import tinygrad_lite as tg
from tinygrad_lite import nn

DEPTH, WIDTH, STEPS, BATCH, TRAIN, SIDE = 24, 20, 250, 50, 500, 21
SLOW = True
KINDS = {"with skips": True, "without": False}


class Deep(nn.Module):
    """Weights from N(0, 2 / inputs) (He et al. 2015); layers that add up start smaller by sqrt(DEPTH), so that their sum does not."""

    def __init__(self, inputs, skip):
        self.skip = skip
        self.first, self.last = nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, 10)
        self.layers = [nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)]
        for layer in (self.first, *self.layers):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if skip and layer is not self.first:
                layer.weight.data /= DEPTH ** 0.5

    def forward(self, x):
        h = tg.relu(self.first(x))
        for layer in self.layers:
            h = h + tg.relu(layer(h)) if self.skip else tg.relu(layer(h))
        return self.last(h)


def learn(skip, seed):
    x, y, _, _ = digits(seed, TRAIN)
    tg.seed(seed)
    rng, model = np.random.default_rng(seed), there(Deep(x.shape[1], skip))
    optimizer, losses = tg.optim.Adam(model.parameters(), lr=0.002), []
    for _ in range(STEPS):
        rows = rng.integers(0, TRAIN, BATCH)
        loss = tg.losses.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    batch = tg.Tensor(x[:150]), y[:150]
    surface = tg.diagnostics.loss_surface(model, tg.losses.cross_entropy, batch, steps=SIDE, seed=seed)
    curvature = tg.diagnostics.hessian_eigenvalues(model, tg.losses.cross_entropy, batch, k=2, which="BE")
    return {"losses": losses, "surface": surface, "curvature": curvature}


def measure(seed):
    return {name: learn(skip, seed) for name, skip in KINDS.items()}


def at_radius(surface, radius):
    """The mean loss of the slice's points about so far from its centre."""
    r = np.hypot(*np.meshgrid(surface.x, surface.y))
    return surface.losses[abs(r - radius) < 0.06].mean()


def report(found):
    for name, n in found.items():
        far = "  ".join(f"{radius}: {at_radius(n['surface'], radius):11.2f}" for radius in (0.0, 0.25, 0.5, 1.0))
        print(f"{name:12s} loss of the last 20 steps {np.mean(n['losses'][-20:]):.3f}; in the slice at radius {far}; "
              f"curvature {n['curvature'][0]:.0f} .. {n['curvature'][1]:.1f}")


def check(found):
    """Every claim of the docstring."""
    skips, without = found.values()
    ends = [np.mean(n["losses"][-20:]) for n in (skips, without)]
    claim(ends[1] > 3 * ends[0], f"without skips it should learn far less, ends at {ends[1]:.2f} against {ends[0]:.2f}")
    half = [at_radius(n["surface"], 0.5) for n in (skips, without)]
    claim(half[1] > 2 * half[0],
          f"without skips the walls should be steeper, loss {half[1]:.1f} against {half[0]:.1f} at half the length")
    claim(at_radius(without["surface"], 1.0) > 20 * at_radius(skips["surface"], 1.0), "far out the walls should be far steeper")
    claim(without["curvature"][0] > 1.5 * skips["curvature"][0], "without skips the curvature should be larger")


def draw(found, path):
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm
    figure = plt.figure(figsize=(19, 13), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    low = min(n["surface"].losses.min() for n in found.values())
    flat = [figure.add_subplot(grid[1, column]) for column in (0, 1)]
    for column, (name, n) in enumerate(found.items()):
        s, ax = n["surface"], flat[column]
        solid = s.plot(figure.add_subplot(grid[0, column], projection="3d"))
        solid.set(title=f"{DEPTH} layers {name}, largest curvature {n['curvature'][0]:.0f}", zlim=(-1.5, 6))
        image = ax.contourf(s.x, s.y, np.clip(s.losses, low, 1e5), np.geomspace(low, 1e5, 40), norm=LogNorm(low, 1e5), cmap="viridis")
        lines = ax.contour(s.x, s.y, s.losses, [0.1, 1, 10, 100, 1000, 10000], colors="white", linewidths=1)
        ax.clabel(lines, fmt="%g", fontsize=10)
        ax.set(aspect="equal", xlabel="steps in lengths of the filters")
    bar = figure.colorbar(image, ax=flat, location="right", shrink=0.7)
    bar.set_ticks([0.1, 1, 10, 100, 1000, 10000, 100000])
    bar.set_label("loss")
    training = figure.add_subplot(grid[:, 2])
    for name, n in found.items():
        training.semilogy(smooth(n["losses"]), label=name)
    training.set(title="Training", xlabel="step", ylabel="cross-entropy, mean of 15 steps")
    training.legend()
    training.grid(alpha=0.3)
    figure.suptitle("A basin and a gorge: the same slice through deep nets with and without skip connections", fontsize=16)
    figure.savefig(path, dpi=75)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
