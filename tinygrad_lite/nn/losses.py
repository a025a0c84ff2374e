"""Losses as layers: each is its function in tinygrad_lite.losses with the options kept."""
import inspect

from .. import losses
from .module import Module


def loss(name, function, *order):
    """A Module around a loss function; its options by name, or in PyTorch's order.

    `order` names the options where a layer of PyTorch takes them in another order than the function.
    """
    known = {k: p.default for k, p in inspect.signature(function).parameters.items() if p.default is not p.empty}
    defaults = {k: known[k] for k in order or known}

    def __init__(self, *values, **options):
        options = {**defaults, **dict(zip(defaults, values)), **options}
        unknown = set(options) - set(defaults)
        if unknown or len(values) > len(defaults):
            raise TypeError(f"{name}: unknown option {sorted(unknown)}; known are {', '.join(defaults)}")
        self.options = options

    def forward(self, *inputs):
        return function(*inputs, **self.options)

    def extra_repr(self):
        return ", ".join(f"{k}={v}" for k, v in self.options.items() if v is not defaults[k])
    return type(name, (Module,), dict(__init__=__init__, forward=forward, extra_repr=extra_repr, __module__=__name__,
                                      __doc__=(function.__doc__ or function.__name__).split("\n")[0]))


CrossEntropyLoss = loss("CrossEntropyLoss", losses.cross_entropy)
NLLLoss = loss("NLLLoss", losses.nll_loss)
BCELoss = loss("BCELoss", losses.binary_cross_entropy)
BCEWithLogitsLoss = loss("BCEWithLogitsLoss", losses.binary_cross_entropy_with_logits)
MultiLabelSoftMarginLoss = loss("MultiLabelSoftMarginLoss", losses.multilabel_soft_margin_loss)
KLDivLoss = loss("KLDivLoss", losses.kl_div)
SoftMarginLoss = loss("SoftMarginLoss", losses.soft_margin_loss)
HingeEmbeddingLoss = loss("HingeEmbeddingLoss", losses.hinge_embedding_loss)
MarginRankingLoss = loss("MarginRankingLoss", losses.margin_ranking_loss)
MultiMarginLoss = loss("MultiMarginLoss", losses.multi_margin_loss)
MultiLabelMarginLoss = loss("MultiLabelMarginLoss", losses.multilabel_margin_loss)
MSELoss = loss("MSELoss", losses.mse_loss, "reduction")
L1Loss = loss("L1Loss", losses.l1_loss, "reduction")
SmoothL1Loss = loss("SmoothL1Loss", losses.smooth_l1_loss)
HuberLoss = loss("HuberLoss", losses.huber_loss, "reduction", "delta")
PoissonNLLLoss = loss("PoissonNLLLoss", losses.poisson_nll_loss)
GaussianNLLLoss = loss("GaussianNLLLoss", losses.gaussian_nll_loss)
CosineEmbeddingLoss = loss("CosineEmbeddingLoss", losses.cosine_embedding_loss)
TripletMarginLoss = loss("TripletMarginLoss", losses.triplet_margin_loss)
CTCLoss = loss("CTCLoss", losses.ctc_loss)
