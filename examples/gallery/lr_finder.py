"""Finding the rate

Above: the surface of plateaus and walls on which the optimizers race. Adam starts at (-4, -4) and takes 1000 steps while the
rate grows from 0.01 to 4. The loss falls as soon as the rate is large enough to leave the plateau, lies at its lowest for a
long time, and rises where the steps become too long to stay in the valley: a little above 2. The smoothed loss has its lowest
point there, at 2 to 2.5: the edge, and the largest rate worth trying.

Below: a net on digits, 100 steps from 1e-5 to 10, with the validation loss at every step. Three rules suggest a rate, and
differ by a factor of ten and more. Half-way down the longest fall ("valley") is careful. Where the loss falls fastest
("steepest") is bold, since smoothing shows the fall late; on some seeds it is too much. A tenth of the rate where the loss is
lowest ("minimum") lies in between, and two epochs at it learn the digits on every seed, which a fiftieth or a hundredfold of
it do not. The finder puts everything back, to the last bit.

    python examples/gallery/lr_finder.py [--picture lr_finder.png] [--seed 0] [--data MNIST_DIR]
"""
import itertools
import sys

import numpy as np
from _shared import claim, digits, mlp, run, score, train

import tinygrad_lite as tg
from tinygrad_lite.training import lr_find

START, LOW, HIGH, STEPS, BETA = (-4.0, -4.0), 1e-2, 10 ** 0.6, 1000, 0.98
RULES, BATCH, TRAIN = ("steepest", "valley", "minimum"), 32, 1437


class Surface(tg.nn.Module):
    """tanh(w0)^2 + 0.01 |w1| + sigmoid(w1), a model without inputs."""

    def __init__(self):
        self.w = tg.nn.Parameter(np.array(START))

    def forward(self, nothing):
        w0, w1 = self.w[0], self.w[1]
        return np.tanh(w0) ** 2 + 0.01 * np.abs(w1) + tg.sigmoid(w1)


def measure(seed):
    surface = Surface()
    on_surface = lr_find(surface, lambda height, nothing: height, itertools.repeat((None, None)), tg.optim.Adam([surface.w]),
                         start=LOW, end=HIGH, num_it=STEPS, beta=BETA)
    data = x, y, test_x, test_y = digits(seed, TRAIN)
    tg.seed(seed)
    model = mlp(x.shape[1], 64, 64, 10)
    optimizer, before = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), model.state_dict()
    loader = tg.data.DataLoader(x, y, batch_size=BATCH, shuffle=True, seed=seed)
    valid = tg.data.DataLoader(test_x, test_y, batch_size=120)
    on_digits = lr_find(model, tg.losses.cross_entropy, loader, optimizer, start=1e-5, end=10, valid=valid)
    after = model.state_dict()
    rates = {rule: on_digits.suggestion(rule) for rule in RULES}
    rates |= {"minimum / 50": rates["minimum"] / 50, "minimum x 100": rates["minimum"] * 100}
    ends = {}
    for name, rate in rates.items():
        model.load_state_dict(before)
        try:
            train(model, tg.optim.SGD(model.parameters(), lr=rate, momentum=0.9), data, 2, BATCH, seed)
            ends[name] = rate, score(model, test_x, test_y)
        except FloatingPointError:
            ends[name] = rate, {"loss": float("inf"), "accuracy": 0.1}
    return {"surface": on_surface, "digits": on_digits, "ends": ends, "seed": seed,
            "restored": all((before[name] == after[name]).all() for name in before) and optimizer.t == 0 and loader.epoch == 0}


def report(n):
    for where in "surface", "digits":
        found = n[where]
        print(f"{where:10s}{len(found.lrs):5d} steps to a rate of {found.lrs[-1]:.3f}, the smoothed loss lowest at "
              f"{found.suggestion('lowest'):.3f}")
    print(f"{'rate':>34s}{'test loss':>12s}{'accuracy':>10s}  after two epochs")
    for name, (rate, end) in n["ends"].items():
        print(f"{name:22s}{rate:12.5f}{end['loss']:12.3f}{end['accuracy']:10.3f}")


def check(n):
    """Every claim of the docstring."""
    edge = n["surface"].suggestion("lowest")
    claim(2 <= edge <= 2.5, f"on the surface the smoothed loss should be lowest between 2 and 2.5, got {edge:.3f}")
    claim(n["restored"], "the finder should put everything back")
    ends = {name: end["loss"] for name, (_, end) in n["ends"].items()}
    claim(ends["minimum"] < 0.6, f"at the suggested rate the digits should be learned, got a loss of {ends['minimum']:.3f}")
    claim(min(ends["minimum / 50"], ends["minimum x 100"]) > 1.5, "far below and far above they should not")
    steepest, valley, minimum = (n["ends"][rule][0] for rule in RULES)
    claim(valley < minimum < steepest, "valley should be the careful rule and steepest the bold one")


def draw(n, path):
    import matplotlib.pyplot as plt
    figure, ((left, right), (sweep, ends)) = plt.subplots(2, 2, figsize=(15, 11), layout="constrained")
    found = n["surface"]
    for ax, limits, title in (left, None, "On the surface: the whole sweep"), (right, (0.0558, 0.0575),
                                                                               "... and its edge from near by"):
        ax.plot(found.lrs, found.losses, ".", color="#1f6fb4", alpha=0.4, markersize=4, label="loss of each step")
        ax.plot(found.lrs, found.smoothed, color="#1f6fb4", linewidth=2, label="smoothed")
        ax.axvline(found.suggestion("lowest"), color="#c8202f", linestyle="--", label=f"lowest: {found.suggestion('lowest'):.2f}")
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss", title=title)
        ax.legend()
        ax.grid(alpha=0.3)
        if limits:
            ax.set(ylim=limits, xlim=(0.3, HIGH))
    n["digits"].plot(ax=sweep).set_title("On digits: lr_find(...).plot()")
    names = list(n["ends"])
    losses = [min(end["loss"], 10) for _, end in n["ends"].values()]
    ends.bar(range(len(names)), losses, color=["#2a9d55"] * len(RULES) + ["#c8202f"] * 2)
    ends.axhline(np.log(10), color="0.5", linestyle=":", label="guessing")
    ends.set_xticks(range(len(names)), [f"{name}\n{rate:.2g}" for name, (rate, _) in n["ends"].items()])
    ends.set(title="Test loss after two epochs at each rate", ylabel="cross-entropy")
    ends.legend()
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
