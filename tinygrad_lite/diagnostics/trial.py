"""Try a batch on a model and leave no trace."""
from contextlib import contextmanager

import numpy as np

from ..random import get_state, set_state
from ..tensor import Tensor, plain


@contextmanager
def restored(model):
    """A block after which parameters, gradients, buffers, modes and random numbers are what they were, also after an error.

    >>> from tinygrad_lite import nn
    >>> model = nn.Sequential(nn.Linear(1, 1), nn.Dropout())
    >>> before = model[0].weight.item()
    >>> with restored(model.eval()):
    ...     model.train()[0].weight.data += 1
    >>> model.training, model[0].weight.item() == before
    (False, True)
    """
    params = [(p, p.data, p.data.copy(), p._grad) for p in model.parameters()]
    buffers = [(b, b.copy()) for _, b in model.named_buffers()]
    modes = [(m, m.training) for m in model.modules()]
    chance = get_state()
    try:
        yield
    finally:
        for p, array, values, grad in params:
            array[...] = values
            p.data, p._grad = array, grad
        for b, values in buffers:
            b[...] = values
        for m, mode in modes:
            m.training = mode
        set_state(chance)


def parts(who, batch):
    """(inputs, target) of a batch: its last part is the target."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise TypeError(f"{who}: got a batch of {type(batch).__name__}, expected (input, ..., target)")
    arrays = [x if hasattr(x, "dtype") else np.asarray(x) for x in batch[:-1]]
    return tuple([x if isinstance(x, Tensor) or x.dtype.kind != "f" else Tensor(x) for x in arrays]), batch[-1]


def outcome_of(who, model, loss_fn, batch):
    """(loss, output, target) of a batch; the loss must be one number."""
    inputs, target = parts(who, batch)
    output = model(*inputs)
    loss = loss_fn(output, target)
    if not isinstance(loss, Tensor) or loss.size != 1:
        raise ValueError(f"{who}: the loss is a {type(loss).__name__} of shape {np.shape(plain(loss))}, expected a Tensor with one "
                         "number: reduce it with .mean()")
    return loss if loss.ndim == 0 else loss.sum(), output, target


def loss_of(who, model, loss_fn, batch):
    """The loss of a batch, one number."""
    return outcome_of(who, model, loss_fn, batch)[0]


def leaves_of(model):
    """{id of a module: its name} of the modules that have none inside: the layers proper."""
    return {id(m): name or type(m).__name__ for name, m in model.named_modules() if not list(m.named_children())}


def aligned(header, rows):
    """Rows of words as lines: the first column to the left, the others to the right.

    >>> print(aligned(["layer", "mean"], [["fc", "0.25"], ["output", "1"]]))
    layer   mean
    fc      0.25
    output     1
    """
    table = [header, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = [[row[0].ljust(widths[0]), *[word.rjust(n) for word, n in zip(row[1:], widths[1:])]] for row in table]
    return "\n".join("  ".join(words).rstrip() for words in lines)


def axes(ax):
    """These axes, or new ones."""
    if ax is None:
        import matplotlib.pyplot as plt
        ax = plt.figure().add_subplot()
    return ax
