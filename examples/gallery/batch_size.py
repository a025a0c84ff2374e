"""The size of the batch

Sixteen epochs each, so every run sees the same number of samples; the larger the batch, the fewer the steps. At the rate that
suits batches of 16, batches of 256 have taken a sixteenth of the steps and are far from done: their test loss is several
times as high. With k times the batch, k times the rate (the linear scaling rule of Goyal et al. 2017), most of that is won
back; some is not, and would not be by any rate: the price of few steps.

The third piece of advice of that paper is to warm the rate up over the first five epochs. It is for large nets that would
blow up at the start; on this small one it does nothing good. It costs a third of the 64 steps, the net meets the same rate
later, and the loss may shoot up then ("peak" is the highest test loss on the way). It ends no better, on some runs worse.

    python examples/gallery/batch_size.py [--picture batch_size.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run, train

import tinygrad_lite as tg
from tinygrad_lite.schedules import Warmup, linear_scaling_rule

SIZES, EPOCHS, WARM, RUNS, RATE, TRAIN = (16, 64, 256), 16, 5, 2, 0.02, 1024
SCALE = linear_scaling_rule
COLORS = {"the same rate": "#c8202f", "linear scaling": "#1f6fb4", "scaling and warm-up": "#2a9d55"}


def rate_of(way, size):
    if way == "the same rate" or size == SIZES[0]:
        return RATE
    scaled = SCALE(RATE, size, SIZES[0])
    return scaled if way == "linear scaling" else Warmup(scaled, WARM * (TRAIN // size), start_factor=SIZES[0] / size)


def measure(seed):
    data, found = digits(seed, TRAIN), {}
    for size in SIZES:
        for way in COLORS if size > SIZES[0] else ["the same rate"]:
            found[way, size] = []
            for i in range(RUNS):
                tg.seed(RUNS * seed + i)
                model = mlp(data[0].shape[1], 64, 64, 10)
                optimizer = tg.optim.SGD(model.parameters(), lr=rate_of(way, size), momentum=0.9)
                found[way, size].append(train(model, optimizer, data, EPOCHS, size, RUNS * seed + i))
    for way in COLORS:                      # the smallest size is where all begin
        found[way, SIZES[0]] = found["the same rate", SIZES[0]]
    return found


def peak(found, way):
    """The highest test loss on the way with the largest batches."""
    return np.mean([max(h["valid_loss"]) for h in found[way, SIZES[-1]]])


def end(found, way, size, where="valid_loss"):
    return np.mean([h[where][-1] for h in found[way, size]])


def report(found):
    print(f"{'test loss (accuracy)':24s}" + "".join(f"{'batches of ' + str(size):>20s}" for size in SIZES))
    for way in COLORS:
        print(f"{way:24s}" + "".join(f"{end(found, way, size):12.3f} ({end(found, way, size, 'accuracy'):.3f})" for size in SIZES)
              + f"   peak {peak(found, way):.3f}")


def check(found):
    """Every claim of the docstring."""
    small, large = SIZES[0], SIZES[-1]
    same, scaled, warm = (end(found, way, large) for way in COLORS)
    claim(same > 2.5 * end(found, "the same rate", small), "at the same rate large batches should end far higher")
    claim(scaled < 0.6 * same, f"linear scaling should win most of it back, got {scaled:.3f} of {same:.3f}")
    claim(scaled > end(found, "the same rate", small), "but not all of it")
    claim(warm > 0.75 * scaled, "the warm-up should be of no help here")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 7), layout="constrained")
    for way, color in COLORS.items():
        left.loglog(SIZES, [end(found, way, size) for size in SIZES], "o-", color=color, linewidth=2.5, markersize=9, label=way)
        for i in range(RUNS):
            left.loglog(SIZES, [found[way, size][i]["valid_loss"][-1] for size in SIZES], "o", color=color, alpha=0.35)
            right.semilogy(np.arange(1, EPOCHS + 1), found[way, SIZES[-1]][i]["valid_loss"], color=color, linewidth=2, alpha=0.8,
                           label=f"{way}, batches of {SIZES[-1]}" if i == 0 else None)
    right.semilogy(np.arange(1, EPOCHS + 1), found["the same rate", SIZES[0]][0]["valid_loss"], color="black", linestyle=":",
                   linewidth=2,
                   label=f"batches of {SIZES[0]}")
    left.set_xticks(SIZES, SIZES)
    left.minorticks_off()
    left.set(title=f"After {EPOCHS} epochs", xlabel="batch size", ylabel="test loss")
    right.set(title="On the way", xlabel="epoch", ylabel="test loss")
    for ax in left, right:
        ax.grid(alpha=0.3)
        ax.legend()
    figure.suptitle("The same number of samples in larger batches", fontsize=15)
    figure.savefig(path, dpi=100)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
