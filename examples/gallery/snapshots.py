"""Train one, keep six

The rate of one training comes down six times, by half a cosine each, and jumps up again: at the end of each descent the net
rests in a valley, and a copy is kept. The jumps throw it far enough that the six do not make the same mistakes. Together, by
the mean of their probabilities, they are clearly better than the last of them alone.

Is it better than one long descent of as many steps? The paper found so for large nets and hundreds of epochs. In the two
epochs that a cycle has here a snapshot is half-trained, and it is a draw: sometimes the ensemble is ahead, sometimes the long
descent. Huang et al. 2017.

    python examples/gallery/snapshots.py [--picture snapshots.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, mlp, run

import tinygrad_lite as tg
from tinygrad_lite.training import evaluate, fit, snapshot_ensemble

CYCLES, EPOCHS, BATCH, RATE, RUNS, TRAIN, KEEP = 6, 12, 32, 0.2, 2, 600, 6


def loss_of_probabilities(p, y):
    return tg.losses.nll_loss(p.log(), y)


def one_run(data, seed):
    x, y, test_x, test_y = data
    test = [(tg.Tensor(test_x), test_y)]
    loader = tg.data.DataLoader(x, y, batch_size=BATCH, shuffle=True, drop_last=True, seed=seed)
    tg.seed(seed)
    model = mlp(x.shape[1], 64, 64, 10)
    ensemble = snapshot_ensemble(model, tg.losses.cross_entropy, loader, tg.optim.SGD(model.parameters(), lr=RATE, momentum=0.9),
                                 EPOCHS,
                                 CYCLES, keep=KEEP, show=False)
    tg.seed(seed)
    single = mlp(x.shape[1], 64, 64, 10)
    fall = tg.schedules.CosineAnnealingLR(RATE, T_max=EPOCHS * len(loader))
    loader.epoch = 0
    fit(single, tg.losses.cross_entropy, loader, tg.optim.SGD(single.parameters(), lr=fall, momentum=0.9), EPOCHS, show=False)

    def measured(model):
        found = evaluate(model, loss_of_probabilities, test, {"accuracy": tg.training.accuracy})
        return found["loss"], found["accuracy"]
    members = [tg.training.Ensemble([m]) for m in ensemble.models]
    wrong = np.array([tg.backend.to_host(m(test[0][0]).data.argmax(axis=1) != test_y) for m in members])
    return {"members": np.array([measured(m) for m in members]), "ensemble": measured(ensemble),
            "single": measured(tg.training.Ensemble([single])),
            "growing": np.array([measured(tg.training.Ensemble(ensemble.models[-k:])) for k in range(1, len(members) + 1)]),
            "wrong": wrong, "history": ensemble.history}


def measure(seed):
    data = digits(seed, TRAIN)
    return [one_run(data, RUNS * seed + i) for i in range(RUNS)]


def mean(runs, what):
    """(test loss, accuracy) over the runs."""
    return np.mean([run["members"][-1] if what == "last" else run[what] for run in runs], axis=0)


def report(runs):
    print(f"{'':34s}{'test loss':>10s}{'accuracy':>10s}")
    for what, words in ("last", "the last snapshot"), ("single", "one long descent"), ("ensemble", "all snapshots together"):
        print(f"{words:34s}{mean(runs, what)[0]:10.3f}{mean(runs, what)[1]:10.3f}")
    print("each snapshot: " + "; ".join("  ".join(f"{loss:.3f} {accuracy:.3f}" for loss, accuracy in run["members"])
                                        for run in runs))
    print(f"wrong by at least one {np.mean([run['wrong'].any(axis=0).mean() for run in runs]):.3f}, "
          f"by all {np.mean([run['wrong'].all(axis=0).mean() for run in runs]):.3f}")


def check(runs):
    """Every claim of the docstring."""
    together, last, single = (mean(runs, what)[0] for what in ("ensemble", "last", "single"))
    claim(together < 0.97 * last, f"together they should be better than the last alone, got {together:.3f} and {last:.3f}")
    claim(0.6 < together / single < 1.4, f"together and one long descent should be about even, got {together:.3f} and {single:.3f}")
    claim(np.mean([run["wrong"].any(axis=0).mean() - run["wrong"].all(axis=0).mean() for run in runs]) > 0.02,
          "they should not make the same mistakes")


def draw(runs, path):
    import matplotlib.pyplot as plt
    figure, ((rates, losses), (growing, mistakes)) = plt.subplots(2, 2, figsize=(15, 10), layout="constrained")
    history, steps = runs[0]["history"], len(runs[0]["history"].steps["lr"])
    rates.plot(history.steps["lr"], color="#1f6fb4")
    losses.semilogy(history.steps["loss"], color="#1f6fb4", linewidth=0.8)
    for ax in rates, losses:
        for i in range(1, CYCLES + 1):
            ax.axvline(i * steps / CYCLES, color="#c8202f", linestyle=":", linewidth=1)
        ax.set_xlabel("step (dotted: a snapshot)")
    rates.set(title="Learning rate")
    losses.set(title="Training loss")
    for run, alpha in zip(runs, (1, 0.45, 0.3, 0.3)):
        growing.plot(np.arange(1, len(run["growing"]) + 1), run["growing"][:, 0], "o-", color="#1f6fb4", alpha=alpha,
                     label="the last so many together")
        growing.axhline(run["single"][0], color="#e07b00", linestyle="--", alpha=alpha, label="one long descent")
    growing.legend(*[part[:2] for part in growing.get_legend_handles_labels()])
    growing.set(title="Test loss", xlabel="snapshots")
    some = runs[0]["wrong"][:, runs[0]["wrong"].any(axis=0)]
    mistakes.imshow(some[:, np.argsort(-some.sum(axis=0))], aspect="auto", cmap="Reds", interpolation="nearest")
    mistakes.set(title="Who is wrong on which test digit (those that all get right left out)", ylabel="snapshot", xlabel="digit",
                 yticks=range(len(some)), yticklabels=range(1, len(some) + 1))
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
