"""A layer that underflows in float16

A net reads digits; beside it a "pooler", a tanh layer that begins saturated, is asked a side question to which there is no
answer (a coin is thrown) and which hardly counts. All is float16, the optimizer too, which divides each layer's gradient by
its root mean square, as LAMB and NovoGrad do. The pooler's gradients, some 1e-5, are still numbers in float16. Their squares,
1e-10, are not: they are 0, and so is an eps of 1e-8. So the first step divides by 0, makes the pooler's weights infinite, the
loss is NaN, and the whole net is lost to a layer that it does not need.

Three cures, each enough: multiply the loss, so that the squares stay above the smallest number (they are divided by their
root, so the factor cancels); an activation that lets the gradient through where tanh is flat; leave out the parameters that
do not matter. And the way it should be done, with none of these: `tg.amp.Half` keeps weights and averages in float32 and
float16 for what lies between, `tg.amp.GradScaler` finds the factor.

    python examples/gallery/float16_pooler.py [--picture float16_pooler.png] [--seed 0] [--data MNIST_DIR]
"""
import sys

import numpy as np
from _shared import claim, digits, run, smooth, there

import tinygrad_lite as tg

STEPS, BATCH, HIDDEN, SATURATED, SIDE, RATE, TRAIN = 150, 64, 48, 3.5, 0.1, 0.004, 1437
SCALE, SLOPE, EXCLUDED = 512.0, 0.1, ("pooler", "answer")
COLORS = {"float16": "#c8202f", "the loss scaled": "#1f6fb4", "a leaky activation": "#2a9d55", "pooler excluded": "#e07b00",
          "Half and GradScaler": "#7a3fb0"}


class Net(tg.nn.Module):
    """Scores of ten digits, and of heads or tails by way of the pooler."""

    def __init__(self, inputs, activation):
        self.body, self.scores = tg.nn.Linear(inputs, HIDDEN), tg.nn.Linear(HIDDEN, 10)
        self.pooler, self.answer, self.activation = tg.nn.Linear(HIDDEN, 16, bias=False), tg.nn.Linear(16, 2,
                                                                                                       bias=False), activation

    def forward(self, x):
        h = tg.leaky_relu(self.body(x), 0.1)
        return self.scores(h), self.answer(self.activation(self.pooler(h) + SATURATED))


def loss_of(outputs, y, coin):
    """In float32, as all losses should be."""
    scores, side = (output.astype("float32") for output in outputs)
    return tg.losses.cross_entropy(scores, y) + SIDE * tg.losses.cross_entropy(side, coin)


class LayerByLayer:
    """m = b m + (1 - b) g / (rms(g) + eps), p -= rate m, for each parameter as a whole and every number in float16."""

    def __init__(self, params, b=0.9, eps=1e-8):
        self.params = [(p, np.zeros_like(p.data)) for p in params]
        self.b, self.rest, self.eps, self.rate = map(np.float16, (b, 1 - b, eps, RATE))

    def step(self):
        for p, m in self.params:
            size = np.sqrt(np.mean(p.grad * p.grad)) + self.eps
            m[...] = self.b * m + self.rest * (p.grad / size)
            p.data -= self.rate * m


def train(way, data, seed):
    """Losses of each step, and the pooler's largest gradient at the first step."""
    x, y = data[:2]
    tg.seed(seed)
    leaky = way == "a leaky activation"
    model = there(Net(x.shape[1], (lambda h: tg.leaky_relu(h, SLOPE)) if leaky else tg.tanh))
    used, scaler, scale = model, None, SCALE if way == "the loss scaled" else 1.0
    if way == "Half and GradScaler":
        used, scaler = tg.amp.Half(model), tg.amp.GradScaler()
        optimizer = tg.optim.Adam(model.parameters(), lr=RATE)
    else:
        for p in model.parameters():
            p.data = p.data.astype(np.float16)
        optimizer = LayerByLayer([p for name, p in model.named_parameters() if way != "pooler excluded"
                                  or not name.startswith(EXCLUDED)])
    rng, losses, first = np.random.default_rng(seed), [], None
    for _ in range(STEPS):
        rows = rng.choice(len(y), BATCH, replace=False)
        loss = loss_of(used(tg.Tensor(x[rows].astype(np.float16))), y[rows], there(rng.integers(0, 2, BATCH)))
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            break
        model.zero_grad()
        (loss * scale if scaler is None else scaler.scale(loss)).backward()
        first = float(np.abs(model.pooler.weight.grad).max()) if first is None else first
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
    return {"losses": np.array(losses), "pooler": first}


def measure(seed):
    data = digits(seed, TRAIN)
    with np.errstate(all="ignore"):         # what float16 does to these numbers is what one is to see
        return {way: train(way, data, seed) for way in COLORS}


def lost_at(found):
    """The first step whose loss is not finite, or None."""
    return None if np.isfinite(found["losses"]).all() else len(found["losses"]) - 1


def report(runs):
    print(f"{'':22s}{'pooler: largest gradient':>26s}{'its square in float16':>24s}{'loss at the end':>18s}")
    for way, found in runs.items():
        with np.errstate(over="ignore"):
            square = np.float16(found["pooler"]) ** 2
        print(f"{way:22s}{found['pooler']:26.1e}{float(square):24.1e}{found['losses'][-10:].mean():18.3f}"
              + (f"   lost at step {lost_at(found)}" if lost_at(found) is not None else ""))


def check(runs):
    """Every claim of the docstring."""
    naive = runs["float16"]
    claim(lost_at(naive) is not None and lost_at(naive) < 5, "in float16 the loss should be NaN within a few steps")
    claim(0 < naive["pooler"] < 2.4e-4, "the pooler's gradients should be numbers whose squares are 0")
    for way in COLORS:
        if way != "float16":
            claim(lost_at(runs[way]) is None and runs[way]["losses"][-10:].mean() < 0.6, f"{way}: it should learn")


def draw(runs, path):
    import matplotlib.pyplot as plt
    figure, ax = plt.subplots(figsize=(13, 8), layout="constrained")
    for way, found in runs.items():
        losses = found["losses"][np.isfinite(found["losses"])]
        if lost_at(found) is None:
            style = {"the loss scaled": dict(linewidth=9, alpha=0.35), "a leaky activation": dict(linewidth=4, alpha=0.8),
                     "pooler excluded": dict(linewidth=1.5, linestyle=(0, (4, 4)))}.get(way, dict(linewidth=2))
            ax.semilogy(smooth(losses, 9), color=COLORS[way], label=way, **style)
        else:
            ax.semilogy(losses, "o-", color=COLORS[way], linewidth=3, label=f"{way}: NaN at step {lost_at(found)}")
            ax.axvline(lost_at(found), color=COLORS[way], linestyle=":", linewidth=2)
            ax.annotate("NaN", (lost_at(found), 1.2), xytext=(lost_at(found) + 4, 1.2), color=COLORS[way], fontsize=14,
                        fontweight="bold")
    ax.set(title="A saturated tanh layer underflows in float16: lost, and four ways out (three of them lie on each other)",
           xlabel="step", ylabel="loss (mean of 9 steps)")
    ax.grid(alpha=0.3)
    ax.legend(fontsize=12)
    figure.savefig(path, dpi=100)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
