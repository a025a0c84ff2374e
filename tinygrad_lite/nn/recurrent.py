"""Recurrent layers: RNN, GRU, LSTM with PyTorch's arguments, parameter names and layouts, for batches of any lengths."""
import numpy as np

from .. import random as source
from ..ops.indexing import where
from ..ops.linalg import linear
from ..ops.normalization import same_dtype
from ..ops.shapes import concatenate, split, stack
from ..tensor import Tensor, plain
from . import functional as F
from . import init
from .module import Module, Parameter
from .scan import gru_scan, gru_step, last_rows, lstm_scan, lstm_step, order_of, rnn_scan, rnn_step, through_time, zeros
from .utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


class Recurrent(Module):
    """What the three share: parameters, layers, directions, packing. A subclass adds a fused scan and the step it fuses."""
    GATES, GROUPS, STATES = 1, (1,), 1      # blocks of hidden_size rows in a weight; how many are normalised together; states

    def __init__(self, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size=0, *,
                 layer_norm, zoneout, variational):
        name = type(self).__name__
        zoneout = tuple(zoneout) if isinstance(zoneout, (tuple, list)) else (zoneout,) * self.STATES
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError(f"{name}: got input_size={input_size}, hidden_size={hidden_size}, num_layers={num_layers}, "
                             "expected at least 1 each")
        if len(zoneout) != self.STATES or not all(0 <= p <= 1 for p in (dropout, *zoneout)):
            raise ValueError(f"{name}: got dropout={dropout}, zoneout={zoneout}, expected probabilities, one for each state")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"{name}: proj_size: got {proj_size}, expected less than hidden_size={hidden_size}")
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional, self.proj_size = batch_first, float(dropout), bidirectional, proj_size
        self.layer_norm, self.zoneout, self.variational = layer_norm, zoneout, variational
        self.widths = (proj_size or hidden_size, hidden_size)[:self.STATES]
        self.suffixes = [[f"_l{i}{way}" for way in ("", "_reverse")[:1 + bidirectional]] for i in range(num_layers)]
        for i, layer in enumerate(self.suffixes):
            for suffix in layer:
                for key, shape in self._shapes(input_size if i == 0 else len(layer) * self.widths[0]).items():
                    p = Parameter(np.full(shape, key.startswith("gain"), np.float32))
                    norm = key.startswith("gain") or key == "bias_c"        # start as ones and as zeros
                    setattr(self, key + suffix, p if norm else init.uniform_(p, -hidden_size ** -0.5, hidden_size ** -0.5))

    def _shapes(self, width):
        """{parameter: shape} of one layer and direction that reads rows of this width."""
        rows, H = self.GATES * self.hidden_size, self.hidden_size
        shapes = {"weight_ih": (rows, width), "weight_hh": (rows, self.widths[0])}
        shapes.update({"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {})
        shapes.update({"weight_hr": (self.proj_size, H)} if self.proj_size else {})
        shapes.update({"gain_ih": (rows,), "gain_hh": (rows,)} if self.layer_norm else {})
        shapes.update({"gain_c": (H,), "bias_c": (H,)} if self.layer_norm and self.STATES == 2 else {})
        return shapes

    def forward(self, x, state=None, lengths=None, reverse=False):
        name, axis = type(self).__name__, int(self.batch_first)     # axis: the one of time
        if reverse and self.bidirectional:
            raise ValueError(f"{name}: reverse=True: this net reads both ways already (bidirectional=True)")
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ValueError(f"{name}: got lengths={lengths!r} and a PackedSequence, which knows its own")
            self._check(x.data, x.data.ndim == 2, f"packed rows (rows, {self.input_size})")
            rows, last = self._layers(x, self._states(state, int(x.batch_sizes[0])), reverse)
            return x._replace(data=rows), last
        x = x if isinstance(x, Tensor) else Tensor(x)
        form = f"({'B, T' if axis else 'T, B'}, {self.input_size}), or (T, {self.input_size}) for one sequence"
        self._check(x, x.ndim in (2, 3), form)
        if x.ndim == 2:
            if lengths is not None:
                raise ValueError(f"{name}: lengths belong to a batch, got one sequence of shape {x.shape}")
            state = self._states(state, None)
            output, last = self.forward(x.unsqueeze(1 - axis), state if self.STATES == 2 else state[0], None, reverse)
            last = tuple([s[:, 0] for s in (last if self.STATES == 2 else [last])])
            return output[0] if axis else output[:, 0], last if self.STATES == 2 else last[0]
        steps, batch = x.shape[axis], x.shape[1 - axis]
        state = self._states(state, batch)
        if lengths is None:
            rows = (x.swapaxes(0, 1) if axis else x).reshape(steps * batch, self.input_size)
            rows, last = self._layers(PackedSequence(rows, np.full(steps, batch)), state, reverse)
            output = rows.reshape(steps, batch, rows.shape[1])
            return output.swapaxes(0, 1) if axis else output, last
        packed = pack_padded_sequence(x, lengths, self.batch_first, enforce_sorted=False)
        rows, last = self._layers(packed, state, reverse)
        return pad_packed_sequence(packed._replace(data=rows), self.batch_first, total_length=steps)[0], last

    def _check(self, x, right, form):
        name = type(self).__name__
        if not right or x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: got an input of shape {x.shape}, expected {form}")
        if 0 in x.shape:
            raise ValueError(f"{name}: got an input of shape {x.shape}, expected at least one step and one item")
        same_dtype(name, x, self.weight_ih_l0)

    def _states(self, given, batch):
        """The states (layers * directions, batch, width), checked; zeros where none are given. One sequence: batch=None."""
        name, weight = type(self).__name__, self.weight_ih_l0
        shapes = [(sum(map(len, self.suffixes)), *([] if batch is None else [batch]), width) for width in self.widths]
        if given is None:
            given = [Tensor(zeros(weight.data, shape)) for shape in shapes]
        elif isinstance(given, (tuple, list)) != (self.STATES == 2) or self.STATES == 2 != len(given):
            raise ValueError(f"{name}: got a state of type {type(given).__name__}, expected "
                             + ("a pair (h, c)" if self.STATES == 2 else "one Tensor h"))
        else:
            given = given if self.STATES == 2 else [given]
        for key, s, shape in zip("hc", given, shapes):
            if s.shape != shape:
                raise ValueError(f"{name}: {key}: got shape {s.shape}, expected {shape}: layers * directions, "
                                 + ("" if batch is None else "items, ") + "width")
            same_dtype(f"{name}, state {key}", s, weight)
        return [s[:, None] if batch is None else s for s in given]

    def _layers(self, seq, first, reverse):
        """(output rows, last states) of packed rows; states in the items' own order."""
        rows, sizes, order, back = seq
        last = [[] for _ in first]
        for i, layer in enumerate(self.suffixes):
            if i and self.training and self.dropout:
                rows = rows * self._mask(sizes, rows) if self.variational else F.dropout(rows, self.dropout)
            outputs = []
            for backwards, suffix in enumerate(layer):
                state = [s[i * len(layer) + backwards] for s in first]
                state = state if order is None else [s[order] for s in state]
                output, state = self._along(rows, state, suffix, sizes, reverse or bool(backwards))
                outputs.append(output)
                for all_last, s in zip(last, state):
                    all_last.append(s if back is None else s[back])
            rows = outputs[0] if len(outputs) == 1 else concatenate(outputs, 1)
        last = tuple([s[0].reshape(1, *s[0].shape) if len(s) == 1 else stack(s) for s in last])
        return rows, last if self.STATES == 2 else last[0]

    def _mask(self, sizes, rows):
        """Dropout's mask for rows, the same in all rows of an item."""
        mask = F.dropout(Tensor(np.ones_like(plain(rows), shape=(sizes[0], rows.shape[1]))), self.dropout)
        return mask[np.concatenate([np.arange(n) for n in sizes])]

    def _along(self, rows, state, suffix, sizes, reverse):
        """(output rows, last states) of one layer in one direction, fused where no option forbids it."""
        steps = order_of(sizes, reverse)
        w, u = [getattr(self, key + suffix) for key in ("weight_ih", "weight_hh")]
        b, c = [getattr(self, key + suffix) if self.bias else zeros(w.data, w.shape[:1]) for key in ("bias_ih", "bias_hh")]
        dropped = self.variational and self.dropout and self.training
        if not (self.layer_norm or self.proj_size or any(self.zoneout) or dropped):
            output, *cells = self._scan(rows, state, w, u, b, c, steps)
            return output, [output[last_rows(sizes, reverse)], *cells]
        mask = F.dropout(Tensor(np.ones_like(plain(state[0]))), self.dropout) if dropped else None

        def product(x, weight, bias, gain):
            if not self.layer_norm:
                return linear(x, weight, bias)
            return normed(linear(x, weight), getattr(self, gain + suffix), self.GROUPS) + bias

        def step(wx, state):
            h = state[0] if mask is None else state[0] * mask[:state[0].shape[0]]
            new = self._step(wx, product(h, u, c, "gain_hh"), state, suffix)
            return tuple([self._zone(old, s, p) for old, s, p in zip(state, new, self.zoneout)])
        return through_time(step, product(rows, w, b, "gain_ih"), tuple(state), steps)

    def _zone(self, old, new, p):
        """In training a share p of the numbers stays old; in use all are the mean of that."""
        if not p:
            return new
        if not self.training:
            return p * old + (1 - p) * new
        return where(source.generator_for(plain(new)).random(new.shape) < p, old, new)

    def extra_repr(self):
        usual = dict(num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False, proj_size=0, layer_norm=False,
                     zoneout=(0.0,) * self.STATES, variational=False)
        changed = [f"{k}={getattr(self, k)}" for k, v in usual.items() if getattr(self, k) != v]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *changed])


def normed(y, gain, groups):
    """Layer normalisation of each group of gates apart."""
    if len(groups) == 1:
        return F.layer_norm(y, gain.shape, gain)
    cuts = (np.cumsum(groups)[:-1] * (gain.shape[0] // sum(groups))).tolist()
    return concatenate([F.layer_norm(part, g.shape, g) for part, g in zip(split(y, cuts, 1), split(gain, cuts))], 1)


class RNN(Recurrent):
    """h' = tanh(W x + b + U h + c), or relu, along sequences. Elman 1990. What goes in and comes out, and the options: see GRU.

    >>> rnn = RNN(3, 2, num_layers=2, bidirectional=True)
    >>> output, h = rnn(Tensor(np.ones((5, 4, 3), "f")))
    >>> output.shape, h.shape
    ((5, 4, 4), (4, 4, 2))
    """

    def __init__(self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, *, layer_norm=False, zoneout=0.0, variational=False):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity: got {nonlinearity!r}, expected 'tanh' or 'relu'")
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         layer_norm=layer_norm, zoneout=zoneout, variational=variational)
        self.nonlinearity = nonlinearity

    def _scan(self, rows, state, w, u, b, c, steps):
        return [rnn_scan(rows, *state, w, u, b + c, steps, self.nonlinearity)]

    def _step(self, wx, uh, state, suffix):
        return rnn_step(wx, uh, state, self.nonlinearity)


class GRU(Recurrent):
    """r, z = sigmoid(W x + b + U h + c), n = tanh(W x + b + r (U h + c)), h' = (1 - z) n + z h. Cho et al. 2014, as in PyTorch.

    gru(x, h0=None, lengths=None, reverse=False) -> (output, last h). x: (T, B, input_size), with `batch_first`
    (B, T, input_size), (T, input_size) for one sequence, or a PackedSequence. output: x's form with
    directions * hidden_size; h: (num_layers * directions, B, hidden_size). `lengths` (B,): items end there; they are
    sorted, packed and put back inside, output past an item's end is 0, its last h is the one at its own end.
    `reverse`: every item is read from its end to its beginning.

    `dropout` acts between layers. `layer_norm`: W x and U h are normalised before they are added (Ba et al. 2016).
    `zoneout`: the share of states that keep their old value (Krueger et al. 2016). `variational`: dropout is drawn once
    a sequence, and drops the h that a step reads too (Gal & Ghahramani 2016). These three run as plain ops, the rest fused.

    >>> gru, x = GRU(3, 2, batch_first=True), np.random.default_rng(0).normal(size=(2, 4, 3)).astype("f")
    >>> output, h = gru(x, lengths=[4, 1])
    >>> output.shape, h.shape, bool((output.data[1, 1:] == 0).all()), bool((output.data[1, 0] == h.data[0, 1]).all())
    ((2, 4, 2), (1, 2, 2), True, True)
    """
    GATES, GROUPS = 3, (2, 1)

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False, *,
                 layer_norm=False, zoneout=0.0, variational=False):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         layer_norm=layer_norm, zoneout=zoneout, variational=variational)

    def _scan(self, rows, state, w, u, b, c, steps):
        return [gru_scan(rows, *state, w, u, b, c, steps)]

    def _step(self, wx, uh, state, suffix):
        return gru_step(wx, uh, state)


class LSTM(Recurrent):
    """i, f, g, o = gates of W x + b + U h + c; cell' = f cell + i g, h' = o tanh(cell'). Hochreiter & Schmidhuber 1997.

    What goes in and comes out, and the options: see GRU; the state is a pair (h, cell), and `zoneout` may be one too.
    `proj_size`: h is W_hr (o tanh(cell')), of that size (Sak et al. 2014); runs as plain ops. With `layer_norm` the
    cell is normalised inside the tanh, too.

    >>> lstm = LSTM(3, 2)
    >>> output, (h, c) = lstm(Tensor(np.ones((5, 4, 3), "f")))
    >>> output.shape, c.shape, bool((output.data[-1] == h.data[0]).all())
    ((5, 4, 2), (1, 4, 2), True)
    """
    GATES, GROUPS, STATES = 4, (4,), 2

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
                 proj_size=0, *, layer_norm=False, zoneout=0.0, variational=False):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
                         layer_norm=layer_norm, zoneout=zoneout, variational=variational)

    def _scan(self, rows, state, w, u, b, c, steps):
        z, n = lstm_scan(rows, *state, w, u, b + c, steps), rows.shape[0]
        return z[:n], z[n:]

    def _step(self, wx, uh, state, suffix):
        def normal(c):
            return F.layer_norm(c, (self.hidden_size,), getattr(self, "gain_c" + suffix), getattr(self, "bias_c" + suffix))
        h, c = lstm_step(wx, uh, state, normal if self.layer_norm else lambda c: c)
        return linear(h, getattr(self, "weight_hr" + suffix)) if self.proj_size else h, c
