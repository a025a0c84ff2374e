"""A gradient that does not arrive

Two LSTMs: the first reads a word of 12 symbols, its last state is handed to the second, which waits for 40 steps and is then
asked how the word began. All that the first can learn comes back through those 40 steps, and each multiplies the gradient by
the forget gate, which starts near 1/2: 0.5^40 is 1e-12. The bars (top left) end where the second LSTM begins; the history names
the first as blocked; the loss stays where guessing is, log 4.

The cure is one number: a bias of the forget gate that starts at 4 instead of 0 (sigmoid(4) = 0.98, and 0.98^40 = 0.48). The
bars are nearly level, nothing is blocked, and the net begins to remember. Gers et al. 2000, Jozefowicz et al. 2015.

    python examples/gallery/two_lstms.py [--picture two_lstms.png] [--seed 0]
"""
import sys
import warnings

import numpy as np
from _shared import claim, run

import tinygrad_lite as tg
from tinygrad_lite import nn

SYMBOLS, LENGTH, WAIT, WIDTH, BATCH, STEPS = 4, 12, 40, 16, 32, 160
SLOW = True
CURE = 4.0


class Memory(nn.Module):
    """ids (batch, LENGTH) -> scores (batch, SYMBOLS) of the first symbol."""

    def __init__(self):
        self.table = nn.Embedding(SYMBOLS, 8)
        self.reader, self.waiter = nn.LSTM(8, WIDTH), nn.LSTM(1, WIDTH)
        self.answer = nn.Linear(WIDTH, SYMBOLS)

    def forward(self, ids):
        _, state = self.reader(self.table(ids.T))
        output, _ = self.waiter(np.full((WAIT, len(ids), 1), 0.3, np.float32), state)
        return self.answer(output[-1])


def forget_gate(model, bias):
    """PyTorch's order of gates: input, forget, cell, output. The two biases of a gate add up."""
    for lstm in (model.reader, model.waiter):
        lstm.bias_ih_l0.data[WIDTH:2 * WIDTH] = bias
        lstm.bias_hh_l0.data[WIDTH:2 * WIDTH] = 0


def learn(bias, seed):
    tg.seed(seed)
    rng, model = np.random.default_rng(seed), Memory()
    forget_gate(model, bias)
    optimizer, losses = tg.optim.Adam(model.parameters(), lr=0.01), []
    history = tg.diagnostics.FlowHistory(model, steps=30, below=1e-4)
    first = None
    for _ in range(STEPS):
        ids = rng.integers(0, SYMBOLS, (BATCH, LENGTH))
        loss = tg.losses.cross_entropy(model(ids), ids[:, 0])
        optimizer.zero_grad()
        loss.backward()
        first = first or tg.diagnostics.gradient_flow(model)
        tg.clip.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # `blocked` says it too
            history.record()
        losses.append(loss.item())
    return {"losses": losses, "flow": first, "history": history}


def measure(seed):
    return {"bias 0": learn(0.0, seed), f"bias {CURE:g}": learn(CURE, seed)}


def report(found):
    layers = next(iter(found.values()))["flow"]
    print(f"{'first step, mean |gradient|':28s}" + "".join(f"{name:>22s}" for name in layers))
    for name, n in found.items():
        print(f"forget gate, {name:15s}" + "".join(f"{v:22.2e}" for v in n["flow"].values()))
    for name, n in found.items():
        losses = n["losses"]
        print(f"{name}: blocked {n['history'].blocked}; loss {losses[0]:.3f} -> {np.mean(losses[-10:]):.3f}, guessing {np.log(SYMBOLS):.3f}")


def check(found):
    """Every claim of the docstring."""
    blocked, cured = found.values()
    readers = {"table", "reader.weight_ih_l0", "reader.weight_hh_l0"}
    claim(blocked["flow"]["reader.weight_ih_l0"] < 1e-5 * blocked["flow"]["answer"],
          "with bias 0 hardly any gradient should reach the reader")
    claim(readers <= set(blocked["history"].blocked), f"the reader should be named as blocked, got {blocked['history'].blocked}")
    claim(np.mean(blocked["losses"][-10:]) > 0.95 * np.log(SYMBOLS), "the blocked net should still be guessing")
    claim(cured["flow"]["reader.weight_ih_l0"] > 1e-3 * cured["flow"]["answer"], "the cure should let the gradient through")
    claim(not cured["history"].blocked, f"nothing should be blocked in the cured net, got {cured['history'].blocked}")
    claim(np.mean(cured["losses"][-10:]) < 1,
          f"the cured net should begin to remember, its loss is {np.mean(cured['losses'][-10:]):.2f}")


def draw(found, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, 2, figsize=(16, 11), layout="constrained")
    for ax, (name, n) in zip(axes[0], found.items()):
        tg.diagnostics.plot_gradient_flow(n["flow"], ax)
        ax.set(title=f"first step, forget gate's {name}", ylim=(1e-18, 1), yscale="log")
        ax.tick_params(axis="x", rotation=20)
    blocked, cured = found.values()
    blocked["history"].plot(ax=axes[1, 0])
    axes[1, 0].set(title="bias 0, all steps", ylim=(1e-18, 1))
    for (name, n), color in zip(found.items(), ("#c8202f", "#2a9d55")):
        axes[1, 1].plot(n["losses"], color=color, label=f"forget gate's {name}")
    axes[1, 1].axhline(np.log(SYMBOLS), color="0.5", linestyle=":", label="guessing")
    axes[1, 1].set(title="The loss", xlabel="step", ylabel="cross-entropy", ylim=(0, None))
    axes[1, 1].legend()
    figure.suptitle(f"Two LSTMs, and {WAIT} steps between what one reads and what the other is asked", fontsize=15)
    figure.savefig(path, dpi=85)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
