"""Roads between minima

Two nets learn the same digits from different starts. On the straight road from one to the other, both of whose ends read nearly
every digit, lies a hill: halfway the weights are neither the one's nor the other's, and the loss is ten times that of the ends.
Now one net is trained for two epochs, copied, and the copies see different batches from then on. They part, they end in different
places, and the road between them is level: by then it was decided which valley they would be in. Frankle, Dziugaite, Roy &
Carbin 2020.

The slice on the right goes through three places: the two copies and the stranger. Its distances are true; the copies share a
valley, the stranger has its own.

    python examples/gallery/roads_between_minima.py [--picture roads_between_minima.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, train

import tinygrad_lite as tg

EPOCHS, TOGETHER, PLACES = 6, 2, 25
COMMON = True


def net(data, seed):
    tg.seed(seed)
    return mlp(data[0].shape[1], 32, 32, 10)


def learn(model, data, epochs, order):
    train(model, tg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), data, epochs, 32, order)
    return tg.diagnostics.weights_of(model)


def measure(seed):
    data = digits(seed, 1000)
    model = net(data, seed)
    learn(model, data, TOGETHER, seed)
    common, copies = model.state_dict(), []
    for order in (10, 11):
        model.load_state_dict(common)
        copies.append(learn(model, data, EPOCHS - TOGETHER, 100 * seed + order))
    stranger = learn(net(data, 1000 + seed), data, EPOCHS, seed)
    a, b = copies if COMMON else (copies[0], stranger)
    batch, ce = (tg.Tensor(data[0]), data[1]), tg.losses.cross_entropy
    roads = {"two copies": (a, b), "two strangers": (a, stranger)}
    lines = {name: tg.diagnostics.loss_line(model, ce, batch, *ends, steps=PLACES) for name, ends in roads.items()}
    middle = {k: (a[k] + b[k] + stranger[k]) / 3 for k in a}
    u, v = plane(a, b, stranger)
    model.load_state_dict(middle)
    few = tg.Tensor(data[0][:300]), data[1][:300]
    slice_ = tg.diagnostics.loss_surface(model, ce, few, directions=(u, v), span=(9.0, 14.0), steps=(25, 37))
    apart = {name: np.sqrt(sum(((p[k] - q[k]) ** 2).sum() for k in p)) for name, (p, q) in roads.items()}
    return {"lines": lines, "apart": apart, "slice": slice_, "places": slice_.project([a, b, stranger])}


def plane(a, b, c):
    """Two directions of length 1 at a right angle, of the plane through three places."""
    def dot(p, q):
        return sum(float((p[k] * q[k]).sum()) for k in p)

    def unit(p):
        return {k: w / dot(p, p) ** 0.5 for k, w in p.items()}
    u = unit({k: b[k] - a[k] for k in a})
    away = {k: c[k] - a[k] for k in a}
    along = dot(away, u)
    return u, unit({k: away[k] - along * u[k] for k in a})


def report(n):
    for name, (t, losses) in n["lines"].items():
        print(f"{name:16s} {n['apart'][name]:6.2f} apart   losses " + " ".join(f"{x:.3f}" for x in losses[::4])
              + f"   hill {tg.diagnostics.barrier(losses):.3f}")


def check(n):
    """Every claim of the docstring."""
    copies, strangers = (tg.diagnostics.barrier(losses) for _, losses in n["lines"].values())
    claim(all(losses[end] < 0.3 for _, losses in n["lines"].values() for end in (0, -1)),
          "every road should lead from a minimum to a minimum")
    claim(copies < 0.1, f"the road between copies should be level, its hill is {copies:.2f}")
    claim(strangers > 0.5 and strangers > 10 * copies, f"between strangers there should be a hill, it is {strangers:.2f}")
    claim(n["apart"]["two copies"] > 0.5, f"the copies should have parted, they are {n['apart']['two copies']:.2f} apart")


def draw(n, path):
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(16, 8), layout="constrained")
    for (name, (t, losses)), color in zip(n["lines"].items(), ("#2a9d55", "#c8202f")):
        hill = tg.diagnostics.barrier(losses)
        left.plot(t, losses, "o-", color=color, label=f"{name}, {n['apart'][name]:.1f} apart: a hill of {hill:.2f}")
    left.axhline(np.log(10), color="0.5", linestyle=":", label="guessing")
    left.set(title="The loss along the straight road", xlabel="from one net to the other", ylabel="training loss", ylim=(-0.05, None))
    left.legend(fontsize=11)
    left.grid(alpha=0.3)
    n["slice"].plot(right)
    for (x, y), name in zip(n["places"], ("copy", "copy", "stranger")):
        right.plot(x, y, "*", color="gold", markeredgecolor="black", markersize=18)
        right.annotate(name, (x, y), (8, 8), textcoords="offset points", fontsize=12)
    right.plot(*n["places"][[0, 1]].T, color="#2a9d55", linewidth=2)
    right.plot(*n["places"][[0, 2]].T, color="#c8202f", linewidth=2)
    right.set(title="The slice through all three (contours of log loss)", aspect="equal")
    figure.suptitle("Copies that parted late share a valley; strangers do not", fontsize=16)
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
