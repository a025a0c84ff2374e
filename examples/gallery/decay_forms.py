"""L2 and decoupled decay

Weight decay comes in two forms. L2 adds `wd * p` to the gradient; decoupled decay shrinks the parameter itself, `p *= 1 - lr * wd`.
For plain gradient descent they are the same thing. For nothing else: with momentum the L2 term rolls on in the buffer, and
an optimizer that divides by the gradient's size divides the decay as well. Then weights with large gradients hardly decay
and weights with small ones decay fast, which is what AdamW, the decoupled form of Adam, was made to avoid.

Above: how far apart the two forms end after 100 steps of logistic regression. Below: two weights whose gradients are noise
around zero, one 1000 times the other's, so that nothing but decay has a direction.

    python examples/gallery/decay_forms.py [--picture decay_forms.png] [--seed 0]
"""
import argparse
from functools import partial
from pathlib import Path

import numpy as np

import tinygrad_lite as tg

DECAY, STEPS = 0.1, 100
optim = tg.optim


def decoupled(kind):
    """The same optimizer with the other form of decay: an option where PyTorch has one, else one attribute of the class."""
    if "decoupled_weight_decay" in kind.defaults:
        return partial(kind, decoupled_weight_decay=True)
    return type(kind.__name__ + "W", (kind,), dict(decoupled=True))


PAIRS = {                   # the optimizers whose weight_decay is L2, and their twins (ASGD without averaging is plain SGD)
    name: (partial(kind, **options), partial(decoupled(kind), **options)) for name, kind, options in [
        ("plain SGD", optim.SGD, dict(lr=0.1)), ("SGD with momentum", optim.SGD, dict(lr=0.02, momentum=0.9)),
        ("SGD, Nesterov", optim.SGD, dict(lr=0.02, momentum=0.9, nesterov=True)), ("Adagrad", optim.Adagrad, dict(lr=0.1)),
        ("RMSprop", optim.RMSprop, dict(lr=0.01)), ("Adadelta", optim.Adadelta, dict(lr=1.0)), ("Adam", optim.Adam, dict(lr=0.02)),
        ("Adamax", optim.Adamax, dict(lr=0.02)), ("NAdam", optim.NAdam, dict(lr=0.02)), ("RAdam", optim.RAdam, dict(lr=0.02))]}


def fit(make, seed, decay):
    """Weights after 100 steps of logistic regression on drawn points."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 8)) * np.geomspace(0.1, 3, 8)         # features of very different sizes
    y = (x @ rng.normal(size=8) + rng.normal(size=200) > 0).astype(float)
    w = tg.nn.Parameter(rng.normal(size=8))
    optimizer = make([w], weight_decay=decay)
    for _ in range(STEPS):
        batch = rng.integers(0, 200, 20)
        optimizer.zero_grad()
        tg.losses.binary_cross_entropy_with_logits(x[batch] @ w, y[batch]).backward()
        optimizer.step()
    return w.data


def drift(make, seed, decay, steps=1000):
    """(steps, 2): two weights that start at 1 and get noise for gradients, of size 10 and of size 0.01."""
    rng = np.random.default_rng(seed)
    w, path = tg.nn.Parameter(np.ones(2)), []
    optimizer = make([w], weight_decay=decay)
    for _ in range(steps):
        w.grad = rng.normal(size=2) * (10, 0.01)
        optimizer.step()
        path.append(w.data.copy())
    return np.array(path)


def measure(seed):
    apart = {}
    for name, pair in PAIRS.items():
        l2, other = (fit(make, seed, DECAY) for make in pair)
        apart[name] = float(np.abs(l2 - other).max() / max(np.abs(l2).max(), np.abs(other).max()))
    l2, other = (partial(make, lr=0.001) for make in PAIRS["Adam"])
    return {"apart": apart, "l2": drift(l2, seed, 1.0), "decoupled": drift(other, seed, 1.0)}


def check(n):
    """Every claim of the docstring."""
    for name, apart in n["apart"].items():
        if name == "plain SGD":
            claim(apart < 1e-12, f"for plain SGD the two forms should agree, they are {apart:.1e} apart")
        else:
            claim(apart > 1e-3, f"for {name} the two forms should differ, they are {apart:.1e} apart")
    (loud, quiet), (loud_too, quiet_too) = n["l2"][-1], n["decoupled"][-1]
    claim(loud - quiet > 0.5, f"L2 in Adam should decay the quiet weight more: {loud:.2f} and {quiet:.2f}")
    claim(abs(loud_too - quiet_too) < 0.2, f"decoupled decay should treat both alike: {loud_too:.2f} and {quiet_too:.2f}")


def claim(holds, message):
    if not holds:
        raise AssertionError(message)


def draw(n, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure = plt.figure(figsize=(12, 10), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    bars = figure.add_subplot(grid[0, :])
    names, apart = list(n["apart"]), [max(v, 1e-17) for v in n["apart"].values()]
    bars.barh(names, apart, color=["#2a9d55"] + ["#c8202f"] * (len(names) - 1))
    bars.invert_yaxis()
    bars.set(xscale="log", xlim=(1e-17, 30), xlabel="largest difference of a weight, in shares of the largest weight",
             title=f"L2 against decoupled decay of {DECAY}: how far apart after {STEPS} steps?")
    for i, value in enumerate(n["apart"].values()):
        bars.text(max(value, 1e-17) * 1.4, i, f"{value:.1e}" if value < 0.01 else f"{value:.1%}", va="center")
    bars.grid(axis="x", alpha=0.3)
    decays = figure.add_subplot(grid[1, 0])
    for ax, form, title in ((decays, "l2", "Adam with L2: the size of the gradients decides"),
                            (figure.add_subplot(grid[1, 1], sharey=decays), "decoupled", "Adam with decoupled decay (AdamW): both alike")):
        ax.plot(n[form][:, 0], color="#e07b00", label="gradients: noise of size 10")
        ax.plot(n[form][:, 1], color="#1f6fb4", label="gradients: noise of size 0.01")
        ax.plot((1 - 0.001) ** np.arange(len(n[form])), "k:", label="(1 - lr wd)^t")
        ax.set(title=title, xlabel="step", ylabel="weight", ylim=(-0.1, 1.15))
        ax.grid(alpha=0.3)
        ax.legend(loc="lower left")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", default="decay_forms.png", metavar="PATH", help="default decay_forms.png")
    parser.add_argument("--seed", type=int, default=0, help="of points, first weights and noise (default 0)")
    args = parser.parse_args(argv)
    n = measure(args.seed)
    print(f"L2 and decoupled decay of {DECAY}, {STEPS} steps: largest difference in shares of the largest weight")
    for name, apart in n["apart"].items():
        print(f"    {name:20s}{apart:10.1e}")
    for form in "l2", "decoupled":
        print(f"Adam, {form:10s} two weights from 1, gradients of noise: size 10 -> {n[form][-1][0]:.2f}, "
              f"size 0.01 -> {n[form][-1][1]:.2f}")
    check(n)
    draw(n, args.picture)
    print(f"picture  {Path(args.picture).resolve()}")
    return n


if __name__ == "__main__":
    main()
