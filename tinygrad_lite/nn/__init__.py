"""Neural nets with PyTorch's names, layouts and state dicts."""
from . import functional, init
from .layers import (CELU, ELU, GELU, GLU, SELU, BatchNorm1d, Dropout, Embedding, Flatten, Hardshrink, Hardsigmoid, Hardswish,
                     Hardtanh, Identity, LayerNorm, LeakyReLU, Linear, LogSigmoid, LogSoftmax, Mish, ReLU, ReLU6, Sigmoid, SiLU,
                     Softmax, Softplus, Softshrink, Softsign, Tanh, Tanhshrink)
from .losses import (BCELoss, BCEWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss, CTCLoss, GaussianNLLLoss,
                     HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss, MarginRankingLoss, MSELoss, MultiLabelMarginLoss,
                     MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PoissonNLLLoss, SmoothL1Loss, SoftMarginLoss,
                     TripletMarginLoss)
from .module import Module, ModuleList, Parameter, Sequential
from .safetensors import load_safetensors, save_safetensors
