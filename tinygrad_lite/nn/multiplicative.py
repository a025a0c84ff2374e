"""Layers that multiply what they are given: bilinear forms of two inputs, and gates that let an input through or not."""
import numpy as np

from ..tensor import Tensor
from . import functional as F
from . import init
from .layers import Linear
from .module import Module, ModuleList, Parameter


class Bilinear(Module):
    """z_o = x1' W_o x2 + b_o: x1 (..., in1), x2 (..., in2) -> (..., out).

    weight (out, in1, in2) and bias (out,) start from U(-k, k), k = 1 / sqrt(in1), as in PyTorch.

    >>> Bilinear(3, 4, 2)(Tensor(np.ones((5, 3), "f")), Tensor(np.ones((5, 4), "f"))).shape
    (5, 2)
    """

    def __init__(self, in1_features, in2_features, out_features, bias=True):
        if min(in1_features, in2_features, out_features) < 1:
            raise ValueError(f"Bilinear: got in1_features={in1_features}, in2_features={in2_features}, "
                             f"out_features={out_features}, expected at least 1 each")
        k = in1_features ** -0.5
        self.weight = init.uniform_(Parameter(np.empty((out_features, in1_features, in2_features), np.float32)), -k, k)
        self.bias = init.uniform_(Parameter(np.empty(out_features, np.float32)), -k, k) if bias else None

    def forward(self, x1, x2):
        return F.bilinear(x1, x2, self.weight, self.bias)

    def extra_repr(self):
        out, first, second = self.weight.shape
        return f"{first}, {second}, {out}, bias={self.bias is not None}"


class Highway(Module):
    """y = t h(x) + (1 - t) x in each of `num_layers` layers: a gate t(x) mixes what the layer makes of x with x itself.

    h(x) = activation(x W_h' + b_h), t(x) = sigmoid(x W_t' + b_t): (..., size) -> (..., size). The gates' biases start at
    `gate_bias` < 0, so that a deep stack first lets its input (and the gradient) through almost unchanged, and learns
    where to interfere. Srivastava, Greff & Schmidhuber 2015 (1505.00387); between characters and words: Kim et al. 2016.

    >>> x = Tensor(np.ones((1, 4), "f"))
    >>> bool(np.abs(Highway(4, 10, gate_bias=-9.0)(x).data - 1).max() < 0.01)
    True
    """

    def __init__(self, size, num_layers=1, activation=F.relu, gate_bias=-2.0):
        if not gate_bias < 0:
            raise ValueError(f"Highway: gate_bias: got {gate_bias}, expected a number < 0: with open gates a deep "
                             "stack begins as a plain one")
        self.size, self.activation = size, activation
        self.transforms = ModuleList([Linear(size, size) for _ in range(num_layers)])
        self.gates = ModuleList([Linear(size, size) for _ in range(num_layers)])
        for gate in self.gates:
            init.constant_(gate.bias, gate_bias)

    def forward(self, x):
        for transform, gate in zip(self.transforms, self.gates):
            x = x + F.sigmoid(gate(x)) * (self.activation(transform(x)) - x)
        return x

    def extra_repr(self):
        return f"{self.size}, num_layers={len(self.gates)}"
