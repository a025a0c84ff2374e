"""What the scripts about training share: their data, their nets, and the frame of a script."""
import argparse
import sys
from pathlib import Path

import numpy as np

import tinygrad_lite as tg
from tinygrad_lite.training import accuracy, evaluate, fit

FOLDER = None                               # of MNIST's four idx files, if --data names one
DEVICE = "cpu"                              # where digits() and mlp() live: --device


def digits(seed=0, train=None):
    """(images, labels) to train on and to test with: scikit-learn's 1797 digits of 8 x 8 pixels, or MNIST from FOLDER."""
    if FOLDER is None:
        from sklearn.datasets import load_digits
        x, y = load_digits(return_X_y=True)
        x, test = x / 8 - 1, np.arange(len(y)) % 5 == 0
        parts = x[~test], y[~test], x[test], y[test]
    else:
        found = [sorted(Path(FOLDER).glob(f"{kind}*{what}*")) for kind in ("train", "t10k") for what in ("images", "labels")]
        if not all(found):
            raise SystemExit(f"--data {FOLDER}: expected MNIST's idx files: train*images*, train*labels*, t10k*images*, t10k*labels*")
        x, y, test_x, test_y = (tg.data.read_idx(files[0]) for files in found)
        x, test_x = ((images.reshape(len(images), -1) / 255 - 0.13) / 0.31 * 0.2 for images in (x, test_x))
        parts = x, y, test_x, test_y        # centred, and as long as the small digits: the same rates suit both
    x, y, test_x, test_y = parts
    keep = np.random.default_rng(seed).permutation(len(y))[:train]
    parts = x[keep].astype("f"), y[keep].astype(np.int64), test_x.astype("f"), test_y.astype(np.int64)
    return tuple(map(there, parts))


def there(x):
    """An array, or a model, on the device that --device names."""
    return x.to(DEVICE) if isinstance(x, tg.nn.Module) else tg.backend.to_device(x, DEVICE)


def mlp(*widths, activation=tg.nn.ReLU):
    """Linear layers of these widths with activations in between."""
    layers = []
    for n, m in zip(widths, widths[1:]):
        layers += [tg.nn.Linear(n, m), activation()]
    return there(tg.nn.Sequential(*layers[:-1]))


class GradientSize:
    """A callback: mean |gradient| over all parameters at each step."""

    def __init__(self):
        self.sizes = []

    def on_step(self, run):
        total = sum(float(np.abs(p.grad).sum(dtype=np.float64)) for p in run.params)
        self.sizes.append(total / sum(p.size for p in run.params))


def train(model, optimizer, data, epochs, batch_size, seed=0, **options):
    """fit on digits with cross-entropy, test loss and accuracy after each epoch; a run that is not finite ends there."""
    x, y, test_x, test_y = map(there, data)
    loader = tg.data.DataLoader(x, y, batch_size=batch_size, shuffle=True, drop_last=True, seed=seed)
    valid = [(tg.Tensor(test_x), test_y)]
    return fit(model, tg.losses.cross_entropy, loader, optimizer, epochs, valid=valid, metrics={"accuracy": accuracy}, show=False,
               **options)


def score(model, x, y):
    """{"loss", "accuracy"} of a model on one batch."""
    return evaluate(model, tg.losses.cross_entropy, [(tg.Tensor(x), y)], {"accuracy": accuracy})


def smooth(values, n=15):
    """Running means of n, as long as `values`."""
    values = np.pad(np.asarray(values, float), (n // 2, n - 1 - n // 2), mode="edge")
    return np.convolve(values, np.ones(n) / n, "valid")


def claim(holds, message):
    if not holds:
        raise AssertionError(message)


def run(script, argv=None):
    """A script's main: measure, report, check, draw."""
    global FOLDER, DEVICE
    name = Path(script.__file__).stem
    parser = argparse.ArgumentParser(description=script.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", default=f"{name}.png", metavar="PATH", help=f"default {name}.png")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default 0)")
    parser.add_argument("--data", metavar="DIR", help="a folder with MNIST's four idx files, instead of the digits of scikit-learn")
    if hasattr(script, "digits"):           # the others work with a few points
        sys.path.append(str(Path(__file__).parents[1]))
        from common import add_device
        add_device(parser)
    args = parser.parse_args(argv)
    FOLDER, DEVICE = args.data, getattr(args, "device", "cpu")
    numbers = script.measure(args.seed)
    script.report(numbers)
    try:
        script.check(numbers)
    except AssertionError as no:
        if FOLDER is None:
            raise
        print(f"what the script claims of the small digits does not all hold here: {no}")
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    script.draw(numbers, args.picture)
    plt.close("all")
    print(f"picture  {Path(args.picture).resolve()}")
    return numbers
