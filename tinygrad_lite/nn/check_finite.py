"""CheckFinite: a layer that lets everything through except NaN and infinity. And the error that says where they are."""
import numpy as np

from ..backend import to_host
from ..rowsparse import RowSparse
from ..tensor import Tensor, op, plain
from .module import Module


class NonFiniteError(FloatingPointError, RuntimeError):
    """A NaN or an infinity that should not be there. (NumPy's readers catch the one kind, PyTorch's the other.)

    `op`, `phase` ("forward" or "backward"), `share` of the entries, `index` of the first, `module` (path or None),
    `line` (file, number and text, or None) and `inputs` (a description each) are attributes.
    """

    def __init__(self, message, op=None, phase=None, share=None, index=None, module=None, line=None, inputs=()):
        super().__init__(message)
        self.op, self.phase, self.share, self.index = op, phase, share, index
        self.module, self.line, self.inputs = module, line, tuple(inputs)


class Trouble:
    """How much of an array is not finite: `share`, `index` of the first such entry (a tuple), and both in words.

    >>> str(Trouble(np.array([[1.0, np.nan], [np.inf, 2.0]])))
    '2 of 4 entries (50 %: 1 nan, 1 inf), the first at [0, 1]'
    """

    def __init__(self, array):
        array = to_host(array)
        bad = ~np.isfinite(array)
        count, nans = int(bad.sum()), int(np.isnan(array).sum())
        self.share = count / array.size
        self.index = tuple(map(int, np.unravel_index(bad.argmax(), array.shape)))
        kinds = ", ".join(f"{n} {kind}" for n, kind in ((nans, "nan"), (count - nans, "inf")) if n)
        self.words = f"it is {array}" if not array.ndim else (
            f"{count} of {array.size} entries ({100 * self.share:.3g} %: {kinds}), the first at {list(self.index)}")

    def __str__(self):
        return self.words


def trouble(x):
    """A Trouble if x (an array, a Tensor or RowSparse) holds a NaN or an infinity, else None.

    >>> print(trouble(np.zeros(3)), trouble(np.array([1.0, np.inf])))
    None 1 of 2 entries (50 %: 1 inf), the first at [1]
    """
    x = plain(x)
    x = x.values if isinstance(x, RowSparse) else x
    if getattr(x, "dtype", None) is None or x.dtype.kind != "f" or bool(np.isfinite(x).all()):
        return None
    return Trouble(x)


def _stop(x, name, phase):
    found = trouble(x)
    if found:
        what = "value that passes" if phase == "forward" else "gradient that comes back"
        raise NonFiniteError(f"CheckFinite {name!r}: the {what} is not finite: {found}", "check_finite", phase, found.share,
                             found.index, module=name)
    return x


_gate = op("check_finite", lambda x, name: x, lambda g, z, x, name: _stop(g, name, "backward"))


class CheckFinite(Module):
    """Its input, looked at: NonFiniteError, with `name` and the share of entries that are NaN or infinite, forward or backward.

    Put one between two layers to learn on which side the trouble begins; `detect_anomaly` looks everywhere, at a price.

    >>> from tinygrad_lite import nn
    >>> net = nn.Sequential(nn.Linear(2, 2), CheckFinite("after the first layer"), nn.Linear(2, 1))
    >>> net(np.array([[np.inf, 1.0]], "f"))
    Traceback (most recent call last):
    ...
    tinygrad_lite.nn.check_finite.NonFiniteError: CheckFinite 'after the first layer': the value that passes is not finite: ...
    """

    def __init__(self, name):
        self.name = name

    def forward(self, x):
        x = x if isinstance(x, Tensor) else Tensor(x)
        _stop(x, self.name, "forward")
        return _gate(x, self.name)

    def extra_repr(self):
        return repr(self.name)
