"""Two guards: is the data sound, and does the loss fall?"""
import warnings

import numpy as np

from ..nn.check_finite import NonFiniteError, trouble
from ..tensor import plain


def check_inputs(loader):
    """Walk through all batches; NonFiniteError names the first item that holds a NaN or an infinity. Returns how many were seen.

    For a DataLoader the item is named by its row in the data set, too. The loader's epoch is put back.

    >>> from tinygrad_lite.data import DataLoader
    >>> x = np.zeros((10, 3)); x[7, 2] = np.inf
    >>> check_inputs(DataLoader(x, np.arange(10), batch_size=4))
    Traceback (most recent call last):
    ...
    tinygrad_lite.nn.check_finite.NonFiniteError: check_inputs: batch 1, part 0, item 3 (row 7 of the data) is not finite: 1 of 3 ...
    """
    epoch, seen, batch = getattr(loader, "epoch", None), 0, None
    try:
        for number, batch in enumerate(loader):
            parts = batch if isinstance(batch, (tuple, list)) else [batch]
            for i, part in enumerate(parts):
                found = trouble(part)
                if found:
                    item = found.index[0] if found.index else 0
                    row = ""
                    if hasattr(loader, "order"):            # a DataLoader
                        row = f" (row {loader.order(epoch)[number * loader.batch_size + item]} of the data)"
                    own = trouble(plain(part)[item]) if found.index else found
                    raise NonFiniteError(f"check_inputs: batch {number}, part {i}, item {item}{row} is not finite: {own}",
                                         "check_inputs", "forward", own.share, found.index)
            seen += max(np.shape(plain(parts[0]))[:1], default=1)
    finally:
        if epoch is not None:
            loader.epoch = epoch
    if batch is None:
        raise ValueError("check_inputs: the loader has no batches: is its data empty, or shorter than one batch with drop_last?")
    return seen


class LossGuard:
    """Warns when the loss has grown k steps running: the rate is too high, or the data changed. Call it with each loss.

    Also a callback of `fit`. It counts again from 0 after a warning. Returns whether it warned.

    >>> guard = LossGuard(k=2)
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     [guard(loss) for loss in [3.0, 2.0, 2.5, 2.4, 2.6, 2.9]]
    [False, False, False, False, False, True]
    >>> print(told[0].message)
    the loss grew 2 steps running, from 2.4 to 2.9: lower the rate, clip the gradient, or look at the data of these steps
    """

    def __init__(self, k=10):
        if k < 1:
            raise ValueError(f"LossGuard: k: got {k}, expected at least 1 step")
        self.k, self.run = k, []

    def __call__(self, loss):
        loss = float(loss)
        self.run = [*self.run, loss] if self.run and loss > self.run[-1] else [loss]
        if len(self.run) <= self.k:
            return False
        warnings.warn(f"the loss grew {self.k} steps running, from {self.run[0]:.6g} to {loss:.6g}: lower the rate, clip the "
                      "gradient, or look at the data of these steps", stacklevel=2)
        self.run = [loss]
        return True

    def on_step(self, run):
        self(run.history.steps["loss"][-1])
