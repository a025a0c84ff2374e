"""How large a batch is worth its price

Every sample has a gradient of its own, and one pass over the batch gives them all: `per_sample_gradients` keeps, for every layer,
what comes in and what comes back, whose products they are. From them follows the noise scale tr(S) / |G|^2, the variance of single
samples' gradients against the square of their mean: the batch size at which noise and signal are equal. Much smaller batches
are mostly noise, much larger ones mostly waste. McCandlish, Kaplan, Amodei et al. 2018.

It is small at the start, when all samples say the same, and grows as the net learns: what is left is what they disagree on. (Top
right) That it tells the truth: the noise of real batches of n, measured, is tr(S) / n, as computed from one pass. (Below) Whose
gradients are longest at the end: those of the digits that can hardly be read.

    python examples/gallery/noise_scale.py [--picture noise_scale.png] [--seed 0] [--data MNIST_DIR]
"""
import sys
import time

import numpy as np
from _shared import claim, digits, mlp, run

import tinygrad_lite as tg

TRAIN, STEPS, EVERY, BATCH, SIZES, DRAWS = 1000, 300, 10, 32, (4, 16, 64, 256), 40
LEARN = True


def flat(model):
    return np.concatenate([tg.backend.to_host(p.grad).ravel() for p in model.parameters()]).astype(float)


def measured_noise(model, x, y, rng):
    """{n: mean |g_n - G|^2 of batches of n, drawn with replacement}"""
    def gradient(rows):
        model.zero_grad()
        tg.losses.cross_entropy(model(x[rows]), y[rows]).backward()
        return flat(model)
    full = gradient(slice(None))
    return {n: np.mean([((gradient(rng.integers(0, len(y), n)) - full) ** 2).sum() for _ in range(DRAWS)]) for n in SIZES}


def variance(found):
    """tr(S) of a PerSampleGradients over a whole set."""
    return float((found.per_sample_norm ** 2).mean() - sum((g ** 2).sum() for g in found.mean_grad.values()))


def measure(seed):
    x, y, _, _ = digits(seed, TRAIN)
    tg.seed(seed)
    rng, model, ce = np.random.default_rng(seed), mlp(x.shape[1], 32, 10), tg.losses.cross_entropy
    optimizer, scales = tg.optim.SGD(model.parameters(), lr=0.2 if LEARN else 0.0), []
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            found = tg.diagnostics.per_sample_gradients(model, ce, (x, y))
            signal = float(sum((g ** 2).sum() for g in found.mean_grad.values()))
            scales.append((step, variance(found) / signal, ce(model(x), y).item()))        # of this set, which is all there is
        if step == EVERY:
            noise = measured_noise(model, x, y, rng), variance(found)
        rows = rng.integers(0, TRAIN, BATCH)
        optimizer.zero_grad()
        ce(model(x[rows]), y[rows]).backward()
        optimizer.step()
    begin = time.perf_counter()
    norms = tg.diagnostics.per_sample_gradients(model, ce, (x, y)).per_sample_norm
    seconds = time.perf_counter() - begin
    loop = []
    begin = time.perf_counter()
    for i in range(100):
        model.zero_grad()
        ce(model(x[i:i + 1]), y[i:i + 1]).backward()
        loop.append(np.linalg.norm(flat(model)))
    by_loop = (time.perf_counter() - begin) * TRAIN / 100
    right = model(x).data.argmax(axis=1) == y
    return {"scales": np.array(scales), "noise": noise, "norms": norms, "loop": np.array(loop), "seconds": (seconds, by_loop),
            "right": right, "images": x, "labels": y}


def report(n):
    print("step        " + "".join(f"{int(s):9d}" for s in n["scales"][::5, 0]))
    print("noise scale " + "".join(f"{s:9.1f}" for s in n["scales"][::5, 1]))
    print("loss        " + "".join(f"{s:9.3f}" for s in n["scales"][::5, 2]))
    measured, trace = n["noise"]
    pairs = [f"{size}: {value:.4f}, {trace / size:.4f}" for size, value in measured.items()]
    print("noise of batches, measured against tr(S) / n:  " + "   ".join(pairs))
    print(f"all {TRAIN} gradients' norms in {1000 * n['seconds'][0]:.1f} ms, by a loop {1000 * n['seconds'][1]:.0f} ms; "
          f"misread {(~n['right']).sum()}, median norm {np.median(n['norms'][~n['right']]):.2f} against {np.median(n['norms'][n['right']]):.2f}")


def check(n):
    """Every claim of the docstring."""
    first, last = n["scales"][0, 1], np.median(n["scales"][-10:, 1])
    claim(last > 3 * first, f"the noise scale should grow as the net learns, went from {first:.1f} to {last:.1f}")
    measured, trace = n["noise"]
    for size, value in measured.items():
        claim(abs(value / (trace / size) - 1) < 0.35,
              f"batches of {size} should have the noise that one pass computed, {value:.4f} against {trace / size:.4f}")
    claim(np.allclose(n["norms"][:100], n["loop"], rtol=1e-3), "one pass should give every sample's gradient as the loop does")
    claim(np.median(n["norms"][~n["right"]]) > 3 * np.median(n["norms"][n["right"]]), "misread digits should pull hardest")


def draw(n, path):
    import matplotlib.pyplot as plt
    figure = plt.figure(figsize=(16, 11), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 2))
    left, right = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    steps, scales, losses = n["scales"].T
    left.semilogy(steps, scales, "o-", color="#c8202f", label="noise scale: a batch worth its price")
    left.semilogy(steps, losses, color="0.5", label="training loss")
    left.axhline(BATCH, color="#1f6fb4", linestyle=":", label=f"the batch that was used, {BATCH}")
    left.set(title="It grows as the net learns", xlabel="step", ylabel="samples")
    measured, trace = n["noise"]
    sizes = np.array(SIZES)
    right.loglog(sizes, trace / sizes, "--", color="#1f6fb4", label="tr(S) / n from one pass")
    right.loglog(sizes, list(measured.values()), "o", color="#c8202f", markersize=10, label=f"measured, {DRAWS} batches each")
    right.set(title="The noise of a batch's gradient", xlabel="batch size n", ylabel="mean squared distance from the full gradient")
    for ax in (left, right):
        ax.grid(alpha=0.3)
        ax.legend()
    side = round(n["images"].shape[1] ** 0.5)
    row = figure.add_subfigure(grid[1, :])
    order = np.argsort(n["norms"])
    for i, (which, name) in enumerate(((order[::-1][:12], "the longest gradients"), (order[:12], "the shortest"))):
        for j, k in enumerate(which):
            ax = row.add_subplot(2, 12, 12 * i + j + 1)
            ax.imshow(n["images"][k].reshape(side, side), cmap="Greys")
            ax.set(xticks=[], yticks=[])
            ax.set_title((f"{name}\n" if j == 0 else "\n") + f"{n['labels'][k]}: {n['norms'][k]:.2g}", fontsize=11)
    figure.savefig(path, dpi=85)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
