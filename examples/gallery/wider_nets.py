"""Wider nets find minima that are alike

200 nets with one hidden layer learn the same digits, 10 x 10 pixels, from 200 random starts; then 200 wider ones, and so on. Narrow
nets end in minima of very different worth, and a run is a lottery ticket. The wider the layer, the better and the closer
together they all end: of most minima that are bad there are none left to fall into. Choromanska, Henaff, Mathieu, Ben Arous &
LeCun, The loss surfaces of multilayer networks (2015), after their figure 3.

All 200 are one model: their hidden layers stand side by side in one matrix, and the sum of their losses has the gradient of each.

    python examples/gallery/wider_nets.py [--picture wider_nets.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, run, there

import tinygrad_lite as tg
from tinygrad_lite.progress import progress

WIDTHS, NETS, STEPS, BATCH, RATE = (25, 50, 100, 250, 500), 200, 50, 24, 0.025
SLOW = True


def small(images):
    """Images of any square size as rows of 10 x 10 pixels."""
    from scipy.ndimage import zoom
    side = round(images.shape[1] ** 0.5)
    images = tg.backend.to_host(images).reshape(-1, side, side)
    return there(zoom(images, (1, 10 / side, 10 / side), order=1).reshape(len(images), 100).astype(np.float32))


class Nets(tg.nn.Module):
    """x (n, 100) -> scores (NETS, n, 10)"""

    def __init__(self, width, rng):
        def draw(*shape, inputs):
            return tg.nn.Parameter((rng.standard_normal(shape) * inputs ** -0.5).astype(np.float32))
        self.width, self.hidden, self.out = width, draw(100, NETS * width, inputs=100), draw(NETS, width, 10, inputs=width)
        self.bias = tg.nn.Parameter(np.zeros(NETS * width, np.float32))

    def forward(self, x):
        h = tg.relu(tg.Tensor(x) @ self.hidden + self.bias)
        return h.reshape(len(x), NETS, self.width).swapaxes(0, 1) @ self.out


def losses_of(model, x, y):
    """(NETS,)"""
    return -tg.log_softmax(model(x), 2)[:, np.arange(len(y)), y].mean(axis=1)


def learn(width, seed):
    x, y, test_x, test_y = digits(seed, 1437)
    x, test_x = small(x), small(test_x[:360])
    rng, model = np.random.default_rng(seed), there(Nets(width, np.random.default_rng([seed, width])))     # the same batches for all
    optimizer = tg.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    for _ in range(STEPS):
        rows = rng.integers(0, len(y), BATCH)
        optimizer.zero_grad()
        losses_of(model, x[rows], y[rows]).sum().backward()
        optimizer.step()
    with tg.no_grad():
        return np.mean([losses_of(model, test_x[i:i + 60], test_y[i:i + 60]).numpy() for i in range(0, 360, 60)], axis=0)


def measure(seed):
    return {f"{i}: {width}": learn(width, seed) for i, width in enumerate(progress(WIDTHS, "widths"))}


def report(found):
    print(f"{'hidden units':14s}{'mean test loss':>16s}{'spread (std)':>14s}{'best':>10s}{'worst':>10s}")
    for name, losses in found.items():
        print(f"{name.split()[1]:14s}{losses.mean():16.4f}{losses.std():14.4f}{losses.min():10.4f}{losses.max():10.4f}")


def check(found):
    """Every claim of the docstring."""
    spread, mean = [losses.std() for losses in found.values()], [losses.mean() for losses in found.values()]
    claim(all(len(losses) == NETS and np.isfinite(losses).all() for losses in found.values()), "every net should have learnt")
    claim(spread[0] > spread[1] > spread[2] > spread[4] and spread[0] > 4 * spread[4],
          f"the spread should narrow with the width, got {np.round(spread, 4)}")
    claim(mean[0] > mean[2] > mean[4], f"wider nets should be better, got {np.round(mean, 3)}")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(16, 8), layout="constrained", width_ratios=(3, 2))
    colors = plt.colormaps["viridis"](np.linspace(0.1, 0.9, len(found)))
    edges = np.linspace(min(map(np.min, found.values())), max(map(np.max, found.values())), 90)
    for (name, losses), color in zip(found.items(), colors):
        left.hist(losses, edges, color=color, alpha=0.7, label=f"{name.split()[1]} hidden units")
    left.set(title=f"Test loss of {NETS} nets of each width", xlabel="test loss", ylabel="nets")
    left.legend(fontsize=12)
    widths = [int(name.split()[1]) for name in found]
    right.loglog(widths, [losses.std() for losses in found.values()], "o-", color="#c8202f")
    right.set(title="Its standard deviation over the nets", xlabel="hidden units", ylabel="spread of test loss")
    right.set_xticks(widths, widths)
    right.set_yticks([0.01, 0.02, 0.05, 0.1], ["0.01", "0.02", "0.05", "0.1"])
    right.minorticks_off()
    right.grid(alpha=0.3)
    figure.suptitle("The wider the net, the less the start matters", fontsize=16)
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
