"""Where NaN comes from: ten causes, each small enough to read, what the hunter says of it, and what to do.

    python examples/nonfinite_cases.py [--only WORD] [--json]

Every case is run under `tg.diagnostics.detect_anomaly()`, which stops at the first op whose value or gradient is not finite,
or it is refused before anything is computed. Then its cure is run, and stays finite. To look into a net of your own:

    with tg.diagnostics.detect_anomaly():
        tg.losses.cross_entropy(model(x), y).backward()

`tg.training.fit` does this by itself to a step that went wrong.
"""
import argparse
import json
import warnings
from typing import Callable, NamedTuple

import numpy as np

import tinygrad_lite as tg
from tinygrad_lite import nn


class Case(NamedTuple):
    reason: str
    see: str
    do: str
    wrong: Callable
    right: Callable


def rng():
    return np.random.default_rng(0)


def floats(*shape):
    return rng().standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------- each cause, and its cure: a function that ends in a loss

def line(rate):
    """A line fitted by gradient descent: above 2 / (the largest curvature) every step is longer than the last."""
    x, w = floats(64, 3), nn.Parameter(np.ones((3, 1), np.float32))
    for _ in range(200):
        loss = tg.losses.mse_loss(x @ w, x @ np.ones((3, 1), "f") + 1)
        loss.backward()
        w.data, w.grad = w.data - np.float32(rate) * w.grad, None
    return loss


def policy(**options):
    w = nn.Parameter([1.0])
    optimizer = tg.optim.SGD([w], lr=tg.schedules.Poly(0.1, power=2, **options))
    (w * w).sum().backward()
    optimizer.step()
    return (w * w).sum()


def weighted(weight):
    """Class weights 1 / count: falls nicely until a batch holds the class that was never counted."""
    scores, w = floats(8, 3), nn.Parameter(np.ones(3, np.float32))
    for labels in ([0, 1] * 4, [1, 0] * 4, [0, 1] * 3 + [2, 2]):
        loss = tg.losses.cross_entropy(scores * w, np.array(labels), weight=weight)
        loss.backward()
        w.data, w.grad = w.data - 0.1 * w.grad, None
    return loss


COUNTS = np.array([50, 50, 0])


def infogain(normalise):
    """-sum_k H[y, k] log p_k: scores that nothing normalises start positive, and the logarithm breaks when one is not any more."""
    w, H = nn.Parameter(np.array([[0.2, 0.5, 0.3]], np.float32)), np.array([[-0.2, 1, -0.2]], np.float32)
    for _ in range(20):
        loss = -(np.log(tg.softmax(w, 1) if normalise else w) * H).sum()
        loss.backward()
        w.data, w.grad = w.data - np.float32(0.05) * w.grad, None
    return loss


def item(x):
    tg.diagnostics.check_inputs(tg.data.DataLoader(x, np.zeros(len(x), int), batch_size=4))
    return tg.losses.cross_entropy(nn.Linear(3, 2)(x), np.zeros(len(x), int))


def broken(x, row):
    x[row, 1] = np.nan
    return x


def pooling_by_hand(x, kernel=3, stride=5):
    """The stride is larger than the kernel, so the last window, rounded up, begins where the input has ended: 0 / 0."""
    starts = range(0, x.shape[1] + stride - kernel + 1, stride)
    sums = tg.stack([x[:, s:s + kernel].sum(axis=1) for s in starts], axis=1)
    return (sums / np.array([max(0, min(s + kernel, x.shape[1]) - s) for s in starts], np.float32)).mean()


def pooling(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")             # it warns of the numbers that no window sees
        return nn.AvgPool1d(3, stride=5, ceil_mode=True)(x.reshape(2, 1, 10)).mean()


def normalised(x, eps):
    return (nn.BatchNorm1d(x.shape[1], eps=eps)(nn.Parameter(x.astype(np.float32))) ** 2).sum()


def convolution(initialise):
    conv = nn.Conv1d(1, 2, 3)
    conv.bias = nn.Parameter(np.frombuffer(b"\xff\xff\xff\xff" * 2, np.float32).copy())     # what memory may hold before it is set
    if initialise:
        nn.init.zeros_(conv.bias)
    return conv(floats(1, 1, 8)).sum()


def half(dtype):
    x = tg.Tensor(np.full((4, 4), 300, np.float16))
    return (x.astype(dtype) ** 2).mean()            # 300^2 = 90,000; float16 ends at 65,504


def sparsity(floor):
    """The autoencoder's penalty KL(rho, mean activation): a hidden unit that never fires has a mean of 0."""
    hidden, rho = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), 0.05
    hidden[0].weight.data[0], hidden[0].bias.data[0] = 0, -1
    active = hidden(floats(16, 3)).mean(axis=0)
    active = tg.clamp(active / 4, floor, 1 - 1e-6)
    return (rho * np.log(rho / active) + (1 - rho) * np.log((1 - rho) / (1 - active))).sum()


CASES = {
    "gradients that blow up": Case(
        "the rate is above 2 / (the largest curvature): every step overshoots by more than the last",
        "the loss grows by a constant factor a step, then inf, then nan", "lower the rate (lr_find), clip the gradient, warm up",
        lambda: line(2.5), lambda: line(0.1)),
    "a rate that is NaN": Case(
        "Poly needs max_iter: (1 - t / 0)^power is 0 / 0 at the first step",
        "in Caffe: loss = nan from the second step on, for any data", "give max_iter, here it is asked for at once",
        lambda: policy(), lambda: policy(max_iter=100)),
    "weights of an absent class": Case(
        "weights 1 / count make inf of a class that was not counted", "the loss falls nicely until the first batch with that class",
        "count with 1 / max(count, 1), or leave such classes out",
        lambda: weighted(np.divide(1, COUNTS, out=np.full(3, np.inf), where=COUNTS > 0).astype("f")),
        lambda: weighted((1 / np.maximum(COUNTS, 1)).astype("f"))),
    "infogain on what is not a probability": Case(
        "the logarithm of scores that nothing keeps positive",
        "the loss falls for some steps, then nan as soon as one score is below 0",
        "a softmax before it: tg.losses.infogain_loss takes the scores themselves", lambda: infogain(False),
        lambda: infogain(True)),
    "a faulty input": Case(
        "one item of the data holds a NaN", "nan once an epoch, at another step each time if the loader shuffles",
        "check_inputs(loader) before training names the item", lambda: item(broken(floats(10, 3), 7)), lambda: item(floats(10, 3))),
    "average pooling, stride 5, kernel 3": Case(
        "rounded up, the last window begins behind the end and averages nothing", "nan for some input sizes and not for others",
        "a stride of at most the kernel; nn.AvgPool leaves such windows out and warns of the gaps",
        lambda: pooling_by_hand(tg.Tensor(floats(2, 10), requires_grad=True)), lambda: pooling(tg.Tensor(floats(2, 10)))),
    "batch norm on a constant": Case(
        "the variance of a feature that never changes is 0", "nan in the first batch that is constant in one feature",
        "eps above 0 (1e-5 is usual), or drop the feature",
        lambda: normalised(np.ones((4, 2)), 0.0), lambda: normalised(np.ones((4, 2)), 1e-5)),
    "batch norm on a batch of one": Case(
        "one value has no variance", "an epoch runs well to its last batch", "drop_last=True in the DataLoader, or LayerNorm",
        lambda: normalised(np.ones((1, 2)), 1e-5), lambda: (nn.LayerNorm(2)(nn.Parameter(floats(1, 2))) ** 2).sum()),
    "an uninitialised bias": Case(
        "memory that was reserved and not filled (np.empty)", "nan at the first step, on some machines, on some days",
        "nn.init fills it; doctor(model, ...) names it", lambda: convolution(False), lambda: convolution(True)),
    "float16 overflow": Case(
        "float16 ends at 65,504", "inf in a square, a sum or the loss scale; nan one op later",
        "compute in float32: tg.amp, .astype('float32')", lambda: half("float16"), lambda: half("float32")),
    "0 / 0 in a sparse autoencoder": Case(
        "the penalty divides by the mean activation, which is 0 for a dead unit",
        "inf in the loss, nan in all weights of the encoder", "clamp the mean activation away from 0 and 1",
        lambda: sparsity(0.0), lambda: sparsity(1e-4)),
}


def hunt(run):
    """What the hunter, or the refusal, says of a case; None if all of it is finite."""
    tg.seed(0)
    try:
        with tg.diagnostics.detect_anomaly():
            loss = run()
            if loss.op_name:                        # a graph that was not walked yet
                loss.backward()
    except (ArithmeticError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name contains it")
    parser.add_argument("--json", action="store_true", help="one line of JSON a case")
    args = parser.parse_args(argv)
    names = [name for name in CASES if args.only.lower() in name.lower()]
    if not names:
        parser.error(f"--only {args.only}: no case's name contains it; there are: {'; '.join(CASES)}")
    for name in names:
        case = CASES[name]
        said, cured = hunt(case.wrong), hunt(case.right) is None
        if args.json:
            print(json.dumps({"case": name, "reason": case.reason, "see": case.see, "do": case.do, "said": said, "cured": cured}))
            continue
        print(f"\n{name}\n  reason        {case.reason}\n  what you see  {case.see}\n  what to do    {case.do}")
        print("  the hunter    " + (said or "found nothing").replace("\n", "\n" + " " * 14))
        print(f"  cured         {'yes, all finite' if cured else 'NO'}")


if __name__ == "__main__":
    main()
