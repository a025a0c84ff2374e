"""One step of a recurrent net, to write loops of one's own. PyTorch's names, arguments and layouts."""
import numpy as np

from ..ops.normalization import same_dtype
from ..tensor import Tensor
from . import init
from .module import Module, Parameter
from .scan import gru_scan, lstm_scan, order_of, rnn_scan, zeros


class Cell(Module):
    """What the three share: the parameters, and inputs with or without a batch."""
    GATES, STATES = 1, 1

    def __init__(self, input_size, hidden_size, bias=True):
        if min(input_size, hidden_size) < 1:
            raise ValueError(f"{type(self).__name__}: got input_size={input_size}, hidden_size={hidden_size}, "
                             "expected at least 1 each")
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        bound, rows = hidden_size ** -0.5, self.GATES * hidden_size
        shapes = dict(weight_ih=(rows, input_size), weight_hh=(rows, hidden_size), bias_ih=(rows,), bias_hh=(rows,))
        for name, shape in shapes.items():
            made = bias or name.startswith("weight")
            setattr(self, name, init.uniform_(Parameter(np.empty(shape, np.float32)), -bound, bound) if made else None)

    def _inputs(self, x, state):
        """x and the states as matrices; zeros where none were given."""
        name, H = type(self).__name__, self.hidden_size
        x = x if isinstance(x, Tensor) else Tensor(x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: got an input of shape {x.shape}, expected (B, {self.input_size}) or ({self.input_size},)")
        same_dtype(name, x, self.weight_ih)
        expected = (*x.shape[:-1], H)
        if state is None:
            state = (zeros(x.data, expected),) * self.STATES
        elif self.STATES == 1:
            state = state,
        if not isinstance(state, (tuple, list)) or len(state) != self.STATES:
            raise ValueError(f"{name}: got a state of type {type(state).__name__}, expected a pair (h, c)")
        for key, s in zip("hc", state):
            if s.shape != expected:
                raise ValueError(f"{name}: {key}: got shape {s.shape}, expected {expected} to go with the input")
            same_dtype(f"{name}, state {key}", s, self.weight_ih)
        return x.reshape(-1, self.input_size), [s.reshape(-1, H) for s in state], expected

    def _biases(self):
        none = None if self.bias else zeros(self.weight_ih.data, self.weight_ih.shape[:1])
        return (self.bias_ih, self.bias_hh) if self.bias else (none, none)

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu: x (B, input_size) or (input_size,), h alike -> h'. Elman 1990.

    >>> cell = RNNCell(3, 2)
    >>> h = None
    >>> for x in np.ones((5, 4, 3), "f"):
    ...     h = cell(x, h)
    >>> h.shape
    (4, 2)
    """

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh"):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity: got {nonlinearity!r}, expected 'tanh' or 'relu'")
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def forward(self, x, h=None):
        x, (h,), shape = self._inputs(x, h)
        b, c = self._biases()
        return rnn_scan(x, h, self.weight_ih, self.weight_hh, b + c, order_of([len(x)]), self.nonlinearity).reshape(shape)


class GRUCell(Cell):
    """One step of nn.GRU: x (B, input_size) or (input_size,), h alike -> h'.

    >>> GRUCell(3, 2)(np.ones((4, 3), "f")).shape
    (4, 2)
    """
    GATES = 3

    def forward(self, x, h=None):
        x, (h,), shape = self._inputs(x, h)
        return gru_scan(x, h, self.weight_ih, self.weight_hh, *self._biases(), order_of([len(x)])).reshape(shape)


class LSTMCell(Cell):
    """One step of nn.LSTM: x (B, input_size) or (input_size,), (h, c) alike -> (h', c').

    >>> h, c = LSTMCell(3, 2)(np.ones((4, 3), "f"))
    >>> h.shape, c.shape, bool((abs(h.data) < abs(c.data)).all())
    ((4, 2), (4, 2), True)
    """
    GATES, STATES = 4, 2

    def forward(self, x, state=None):
        x, state, shape = self._inputs(x, state)
        b, c = self._biases()
        z = lstm_scan(x, *state, self.weight_ih, self.weight_hh, b + c, order_of([len(x)]))
        return z[:len(x)].reshape(shape), z[len(x):].reshape(shape)
