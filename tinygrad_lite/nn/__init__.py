"""Neural nets with PyTorch's names, layouts and state dicts."""
from . import functional, init, utils
from .attention import MultiheadAttention
from .cells import GRUCell, LSTMCell, RNNCell
from .charcnn import Alphabet, CharCNN
from .check_finite import CheckFinite
from .convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .embedding import Embedding, EmbeddingBag
from .layers import (CELU, ELU, GELU, GLU, SELU, Dropout, Flatten, Hardshrink, Hardsigmoid, Hardswish,
                     Hardtanh, Identity, LeakyReLU, Linear, LogSigmoid, LogSoftmax, Mish, ReLU, ReLU6, Sigmoid, SiLU,
                     Softmax, Softplus, Softshrink, Softsign, Tanh, Tanhshrink)
from .losses import (BCELoss, BCEWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss, CTCLoss, GaussianNLLLoss,
                     HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss, MarginRankingLoss, MSELoss, MultiLabelMarginLoss,
                     MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PoissonNLLLoss, SmoothL1Loss, SoftMarginLoss,
                     TripletMarginLoss)
from .module import Module, ModuleList, Parameter, Sequential
from .multiplicative import Bilinear, Highway
from .normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from .pooling import (AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, MaxPool1d,
                      MaxPool2d)
from .recurrent import GRU, LSTM, RNN
from .safetensors import load_safetensors, save_safetensors
