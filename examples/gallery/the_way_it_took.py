"""The way a training took

A training moves through thousands of dimensions; a picture has two. In two directions drawn at random the way it took looks like
a point: two random directions out of thousands hold next to nothing of any way. The two directions in which it moved most (PCA of
its places, seen from the last) hold nearly all of it: trainings happen in very few dimensions. Li, Xu, Taylor, Studer & Goldstein,
Visualizing the loss landscape of neural nets (2018), section 7.

The contours are the true loss in those slices. In the random ones the end of the training looks like the bottom of a bowl; in its
own directions one sees that it was still on its way down.

    python examples/gallery/the_way_it_took.py [--picture the_way_it_took.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run

import tinygrad_lite as tg

EPOCHS, BATCH, TRAIN, RUNS = 5, 50, 500, {"SGD": (0.2, 0.0), "with momentum": (0.05, 0.9)}
OWN = True


def flat(place):
    return np.concatenate([w.ravel() for w in place.values()])


def held(directions, places):
    """The share of the way (squared distances from its end) that the plane of two directions holds."""
    basis = np.linalg.qr(np.stack([flat(d) for d in directions], axis=1))[0]
    away = np.stack([flat(p) for p in places]) - flat(places[-1])
    return ((away @ basis) ** 2).sum() / (away ** 2).sum()


def learn(rate, momentum, data, seed):
    x, y, _, _ = data
    tg.seed(seed)
    model = mlp(x.shape[1], 32, 32, 10, activation=tg.nn.Tanh)
    optimizer = tg.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    loader = tg.data.DataLoader(x, y, batch_size=BATCH, shuffle=True, seed=seed)
    places = [tg.diagnostics.weights_of(model)]
    for _ in range(EPOCHS):
        for a, b in loader:
            optimizer.zero_grad()
            tg.losses.cross_entropy(model(a), b).backward()
            optimizer.step()
            places.append(tg.diagnostics.weights_of(model))
    rng = np.random.default_rng(seed)
    random = tuple(tg.diagnostics.random_direction(model, rng) for _ in range(2))
    own = tg.diagnostics.path_directions(places) if OWN else random
    batch = tg.Tensor(x[:300]), y[:300]
    slices = {}
    for name, directions in {"its own directions": own, "random directions": random}.items():
        way = tg.diagnostics.loss_surface(model, tg.losses.cross_entropy, batch, directions=directions, steps=2).project(places)
        span = 1.3 * np.abs(way).max(axis=0) if name[0] == "i" else (1.0, 1.0)
        slices[name] = tg.diagnostics.loss_surface(model, tg.losses.cross_entropy, batch, directions=directions, span=span, steps=21)
    shares = {"its own directions": held(own, places), "random directions": held(random, places)}
    return {"places": places, "slices": slices, "held": shares}


def measure(seed):
    data = digits(seed, TRAIN)
    return {name: learn(*how, data, seed) for name, how in RUNS.items()}


def report(found):
    size = len(flat(next(iter(found.values()))["places"][0]))
    print(f"{size} weights; the share of the way that two directions hold:")
    for name, n in found.items():
        print(f"{name:16s}" + "".join(f"{how}: {100 * share:8.3f} %   " for how, share in n["held"].items())
              + f"loss in its slice {n['slices']['its own directions'].losses.min():.4f} and more")


    for name, n in found.items():
        way = n["slices"]["its own directions"].project(n["places"][::10])
        print(f"{name:16s}every tenth place, in its own directions: " + "  ".join(f"({x:.2f}, {y:.2f})" for x, y in way))


def check(found):
    """Every claim of the docstring."""
    for name, n in found.items():
        own, random = n["held"].values()
        claim(own > 0.85, f"{name}: two directions of its own should hold nearly all of the way, hold {own:.2f}")
        claim(random < 0.02, f"{name}: two random directions should hold nearly nothing, hold {random:.4f}")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, 2, figsize=(15, 13), layout="constrained")
    for row, (name, n) in zip(axes, found.items()):
        for ax, (how, s) in zip(row, n["slices"].items()):
            s.plot(ax, path=n["places"])
            ax.plot(0, 0, "*", color="gold", markeredgecolor="black", markersize=16, zorder=5)
            ax.set(title=f"{name}, {how}: {100 * n['held'][how]:.2f} % of the way")
    figure.suptitle("The way a training took, in two directions of its own and in two random ones (star: its end)", fontsize=15)
    figure.savefig(path, dpi=75)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
