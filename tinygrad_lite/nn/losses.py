"""Losses as layers: each is its function in tinygrad_lite.losses with the options kept."""
from .. import losses
from .module import Module


def loss(name, function, **defaults):
    """A Module around a loss function; options by PyTorch's order or by name."""
    def __init__(self, *values, **options):
        options = {**defaults, **dict(zip(defaults, values)), **options}
        unknown = set(options) - set(defaults)
        if unknown or len(values) > len(defaults):
            raise TypeError(f"{name}: unknown option {sorted(unknown)}; known are {', '.join(defaults)}")
        self.options = options

    def forward(self, x, y):
        return function(x, y, **self.options)

    def extra_repr(self):
        return ", ".join(f"{k}={v}" for k, v in self.options.items() if v is not defaults[k])
    return type(name, (Module,), dict(__init__=__init__, forward=forward, extra_repr=extra_repr, __module__=__name__,
                                      __doc__=function.__doc__.split("\n")[0]))


CrossEntropyLoss = loss("CrossEntropyLoss", losses.cross_entropy, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0)
NLLLoss = loss("NLLLoss", losses.nll_loss, weight=None, ignore_index=-100, reduction="mean")
MSELoss = loss("MSELoss", losses.mse_loss, reduction="mean")
L1Loss = loss("L1Loss", losses.l1_loss, reduction="mean")
BCEWithLogitsLoss = loss("BCEWithLogitsLoss", losses.binary_cross_entropy_with_logits, weight=None, reduction="mean", pos_weight=None)
