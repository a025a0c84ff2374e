"""How well a batch points

The gradient of a batch is the full gradient plus noise. The noise of n samples is that of one divided by the square root of
n, so the angle between the two has a tangent that falls as 1 / sqrt(n): four times the batch, half the tangent, in theory and
here. (Batches are drawn without replacement: towards the whole set the noise falls faster, by sqrt(1 - (n - 1) / (N - 1)).)

Four samples point some 75 degrees beside the full gradient, which is less than they could: in a space of 3500 directions two
random ones are at a right angle. That is enough to go downhill, and it costs a 256th. It is often said that batches point
worse the longer one trains. On this net they do not: after two epochs, at a sixth of the loss, the angles are what they were.
The full gradient is even several times as long as at the start, and the noise has grown with it.

    python examples/gallery/batch_gradients.py [--picture batch_gradients.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, train

import tinygrad_lite as tg

SIZES, DRAWS, EPOCHS, TRAIN = (4, 16, 64, 256), 100, 2, 1024
NOISE = True


def gradient(model, x, y):
    """All gradients in one row."""
    loss = tg.losses.cross_entropy(model(tg.Tensor(x)), y)
    return np.concatenate([g.numpy().ravel() for g in tg.grad(loss, list(model.parameters()))]).astype(float)


def angles(model, x, y, rng):
    """{batch size: angles in degrees between the gradients of random batches and the full one}"""
    full = gradient(model, x, y)

    def angle(rows):
        g = gradient(model, x[rows], y[rows])
        return np.degrees(np.arccos(np.clip(g @ full / np.linalg.norm(g) / np.linalg.norm(full), -1, 1)))
    found = {n: np.array([angle(rng.choice(len(x), n, replace=False) if NOISE else np.arange(len(x))) for _ in range(DRAWS)])
             for n in SIZES}
    return {**found, "loss": tg.losses.cross_entropy(model(tg.Tensor(x)), y).item(), "length": np.linalg.norm(full)}


def measure(seed):
    data, rng = digits(seed, TRAIN), np.random.default_rng(seed)
    tg.seed(seed)
    model = mlp(data[0].shape[1], 32, 32, 10)
    found = {"at the start": angles(model, *data[:2], rng)}
    train(model, tg.optim.Adam(model.parameters(), lr=0.005), data, EPOCHS, 32, seed)
    found["after training"] = angles(model, *data[:2], rng)
    return found


def slope(by_size):
    """Of the tangent over the batch size, both logarithmic, corrected for drawing without replacement: -1/2 in theory."""
    sizes = np.array(SIZES)
    tangents = np.array([np.tan(np.radians(np.median(by_size[n]) + 1e-9)) for n in sizes]) / np.sqrt(1 - (sizes - 1) / (TRAIN - 1))
    return np.polyfit(np.log(sizes), np.log(tangents), 1)[0]


def report(found):
    print(f"{'median angle, batches of':26s}" + "".join(f"{n:9d}" for n in SIZES)
          + "   slope of the tangent   loss   length of the full gradient")
    for when, by_size in found.items():
        print(f"{when:26s}" + "".join(f"{np.median(by_size[n]):9.1f}" for n in SIZES) 
              + f"{slope(by_size):12.3f}{by_size['loss']:18.3f}{by_size['length']:10.3f}")


def check(found):
    """Every claim of the docstring."""
    early, late = found.values()
    for when, by_size in found.items():
        medians = [np.median(by_size[n]) for n in SIZES]
        claim(medians == sorted(medians, reverse=True) and medians[0] > 60,
              f"{when}: small batches should point elsewhere, larger ones less so")
        claim(medians[0] < 85, f"{when}: even four samples should point downhill")
        claim(-0.65 < slope(by_size) < -0.35, f"{when}: the tangent should fall as 1 / sqrt(n), got a slope of {slope(by_size):.2f}")
    claim(all(abs(np.median(late[n]) - np.median(early[n])) < 15 for n in SIZES), "the angles should be alike before and after")
    claim(late["length"] > 2 * early["length"], "the full gradient should be longer than at the start")
    claim(late["loss"] < 0.3 * early["loss"], "two epochs should have brought the loss down")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 7), layout="constrained")
    theory = np.geomspace(SIZES[0], SIZES[-1], 50)
    for (when, by_size), color in zip(found.items(), ("#1f6fb4", "#c8202f")):
        parts = left.violinplot([by_size[n] for n in SIZES], positions=np.log2(SIZES), widths=0.8, showmedians=True,
                                showextrema=False)
        for body in parts["bodies"]:
            body.set(facecolor=color, alpha=0.5)
        parts["cmedians"].set_color(color)
        tangents = [np.tan(np.radians(np.median(by_size[n]))) for n in SIZES]
        right.loglog(SIZES, tangents, "o", color=color, markersize=10, label=when)
        finite = np.sqrt((1 - (theory - 1) / (TRAIN - 1)) / (1 - (SIZES[0] - 1) / (TRAIN - 1)))
        right.loglog(theory, tangents[0] * np.sqrt(SIZES[0] / theory) * finite, "--", color=color,
                     label="theory, from the first point")
        left.plot([], [], color=color, linewidth=8, alpha=0.5, label=when)
    left.set(title="Angle between a batch's gradient and the full one", xlabel="batch size", ylabel="degrees", ylim=(0, 95))
    left.set_xticks(np.log2(SIZES), SIZES)
    left.axhline(90, color="0.5", linestyle=":")
    right.set(title="Its tangent falls as 1 / sqrt(n)", xlabel="batch size", ylabel="tan(angle)")
    for ax in left, right:
        ax.grid(alpha=0.3)
        ax.legend()
    figure.suptitle(f"{DRAWS} random batches of each size", fontsize=15)
    figure.savefig(path, dpi=100)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
