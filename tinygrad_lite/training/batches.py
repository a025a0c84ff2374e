"""Batches and what is measured on them: sizes, metrics, means."""
import numpy as np

from ..diagnostics.trial import outcome_of
from ..tensor import Tensor, no_grad, plain


def check_loader(who, name, loader):
    """Refuse what cannot be walked once an epoch."""
    if not hasattr(loader, "__len__") or iter(loader) is loader:
        raise TypeError(f"{who}: {name}: got {type(loader).__name__}, expected a DataLoader or a list of batches, which has a "
                        "length and can be walked once an epoch")
    if not len(loader):
        raise ValueError(f"{who}: {name} has no batches: is its data empty, or shorter than one batch with drop_last?")


def size(target):
    """How many samples a batch holds, by its target."""
    return max(np.shape(plain(target))[:1], default=1)


def measure(who, metrics, output, target):
    """{name: number} of the metrics, functions of (output, target)."""
    found = {}
    for name, metric in metrics.items():
        value = plain(metric(output, target))
        if np.shape(value) != ():
            raise ValueError(f"{who}: the metric {name!r} is of shape {np.shape(value)}, expected one number: reduce it with "
                             ".mean()")
        found[name] = float(value)
    return found


class Mean:
    """Running means by name, weighted by the samples they came from.

    >>> mean = Mean()
    >>> mean.add(3, loss=1.0); mean.add(1, loss=5.0); mean.result()
    {'loss': 2.0}
    """

    def __init__(self, sums=()):
        self.sums = dict(sums)          # {name: [weighted sum, weight]}

    def add(self, weight, **values):
        for name, value in values.items():
            total, n = self.sums.get(name, (0.0, 0))
            self.sums[name] = [total + value * weight, n + weight]

    def result(self):
        return {name: total / n for name, (total, n) in self.sums.items()}


def evaluate(model, loss_fn, batches, metrics={}):
    """{"loss": mean, metric: mean} over batches, weighted by their sizes; in eval mode, without gradients.

    Every module's mode is put back afterwards. A metric is a function of (output, target) that gives one number.

    >>> import tinygrad_lite as tg
    >>> model, batches = tg.nn.Identity(), [(tg.Tensor([1.0, 2.0, 3.0]), np.zeros(3, "f")), (tg.Tensor([9.0]), np.zeros(1, "f"))]
    >>> evaluate(model, tg.losses.l1_loss, batches, {"largest": lambda output, target: output.max()})
    {'loss': 3.75, 'largest': 4.5}
    """
    mean, modes = Mean(), [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with no_grad():
            for batch in batches:
                loss, output, target = outcome_of("evaluate", model, loss_fn, batch)
                mean.add(size(target), loss=loss.item(), **measure("evaluate", metrics, output, target))
    finally:
        for m, mode in modes:
            m.training = mode
    return mean.result()


def accuracy(output, target):
    """The share of rows of scores (..., classes) whose largest score is at the target.

    >>> accuracy(Tensor([[1.0, 3.0], [2.0, 0.0]]), np.array([1, 1]))
    0.5
    """
    return float((plain(output).argmax(axis=-1) == plain(target)).mean())
