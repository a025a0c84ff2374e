"""From step to step: a recurrent cell along packed rows, as one fused op or as a formula in plain ops.

The rows of all time steps stand one below the other (see kernels/recurrent.py). The formulas (rnn_step, gru_step,
lstm_step, taken along by `through_time`) are what to read: the fused ops name them as their composite, tests hold both
together, and nets with options that the kernels do not know (normalised cells, zoneout, dropped states, projections) run
through them.
"""
import numpy as np

from ..kernels import fresh, recurrent as kernels
from ..ops.activations import relu, sigmoid
from ..ops.elementwise import tanh
from ..ops.linalg import linear
from ..ops.shapes import concatenate
from ..tensor import op


def rnn_step(gx, gh, state, nonlinearity="tanh"):
    """h' = tanh(gx + gh), or relu. Elman 1990. gx = W_ih x + b_ih, gh = W_hh h + b_hh; states are tuples."""
    return ((tanh if nonlinearity == "tanh" else relu)(gx + gh),)


def gru_step(gx, gh, state):
    """r, z = sigmoid(gx + gh); n = tanh(gx_n + r gh_n); h' = n + z (h - n). Cho et al. 2014.

    The reset gate r acts after the product with W_hh, as in cuDNN and PyTorch (the paper has it before).
    """
    h, = state
    H = h.shape[1]
    rz = sigmoid(gx[:, :2 * H] + gh[:, :2 * H])
    n = tanh(gx[:, 2 * H:] + rz[:, :H] * gh[:, 2 * H:])
    return (n + rz[:, H:] * (h - n),)


def lstm_step(gx, gh, state, out=lambda c: c):
    """i, f, g, o = gates of gx + gh; c' = f c + i g; h' = o tanh(out(c')). Hochreiter & Schmidhuber 1997, Gers et al. 2000."""
    c = state[1]
    H = c.shape[1]
    y = gx + gh
    i, f, o = sigmoid(y[:, :H]), sigmoid(y[:, H:2 * H]), sigmoid(y[:, 3 * H:])
    c = f * c + i * tanh(y[:, 2 * H:3 * H])
    return o * tanh(out(c)), c


def order_of(batch_sizes, reverse=False):
    """(T, 2): first row and end of each step in the order of reading.

    >>> order_of([3, 1], reverse=True)
    array([[3, 4],
           [0, 3]])
    """
    steps = np.empty((len(batch_sizes), 2), np.int64)
    np.cumsum(batch_sizes, out=steps[:, 1])
    steps[:, 0] = steps[:, 1] - batch_sizes
    return steps[::-1].copy() if reverse else steps


def last_rows(batch_sizes, reverse=False):
    """Where the rows of each item's last step stand: a slice, or one row for each item.

    >>> last_rows([2, 2, 2]), last_rows([2, 2, 1])
    (slice(4, 6, None), array([4, 3]))
    """
    count, rows = int(batch_sizes[0]), int(sum(batch_sizes))
    if reverse or batch_sizes[-1] == count:
        return slice(0, count) if reverse else slice(rows - count, rows)
    sizes, items = np.asarray(batch_sizes), np.arange(count)
    lengths = (sizes[:, None] > items).sum(axis=0)
    return (np.cumsum(sizes) - sizes)[lengths - 1] + items


def through_time(step, gx, state, steps):
    """state = step(gx of a time step, state) along the steps: (output rows, last states). The output is the first state."""
    order = np.argsort(steps[:, 0], kind="stable")
    pieces, outputs = cut(gx, (steps[order, 1] - steps[order, 0]).tolist()), [None] * len(steps)
    where = np.argsort(order)
    for t in where:
        n = pieces[t].shape[0]
        new = step(pieces[t], tuple([s[:n] for s in state]))
        outputs[t] = new[0]
        state = tuple([concatenate([a, s[n:]]) if n < s.shape[0] else a for a, s in zip(new, state)])
    return concatenate(outputs), state


def cut(x, sizes):
    """The rows of x in pieces. By halves: the gradient of a slice is as large as what it was cut from."""
    if len(sizes) == 1:
        return [x]
    half = len(sizes) // 2
    n = sum(sizes[:half])
    return cut(x[:n], sizes[:half]) + cut(x[n:], sizes[half:])


class Walk:
    """What a fused scan kept, and the walk back: the rules of all inputs ask for it, for one g it is done once."""

    def __init__(self, back, before):
        self.back, self.before, self.g, self.found = back, before, None, None

    def __call__(self, g):
        if self.g is not g:
            self.g, self.found = g, self.back(whole(g))
        return self.found


def whole(x):
    return x if x.flags.c_contiguous else x.copy()


def zeros(x, shape):
    """Zeros of x's library and dtype."""
    a = fresh(x, shape)
    a[...] = 0
    return a


# --- Elman
def _rnn(x, h, w, u, b, steps, nonlinearity):
    relu, rows = nonlinearity == "relu", (x.shape[0], h.shape[1])
    x, w, u, b = map(whole, (x, w, u, b))
    out, before = fresh(x, rows), fresh(x, rows)
    kernels.rnn(steps, relu, x, w, u, b, h.copy(), out, before)

    def back(g):
        dh, dy, db = zeros(h, h.shape), fresh(x, rows), zeros(b, b.shape)
        kernels.rnn_back(steps, relu, g, out, u, dh, dy, db)
        return dy, dh, db
    return out, Walk(back, before)


def _rnn_formula(x, h, w, u, b, steps, nonlinearity):
    return through_time(lambda wx, s: rnn_step(wx, linear(s[0], u), s, nonlinearity), linear(x, w, b), (h,), steps)[0]


rnn_scan = op("rnn_scan", _rnn,
              lambda g, z, x, h, w, u, b, steps, nonlinearity, walk: walk(g)[0].dot(w),
              lambda g, z, x, h, w, u, b, steps, nonlinearity, walk: walk(g)[1],
              lambda g, z, x, h, w, u, b, steps, nonlinearity, walk: walk(g)[0].T.dot(x),
              lambda g, z, x, h, w, u, b, steps, nonlinearity, walk: walk(g)[0].T.dot(walk.before),
              lambda g, z, x, h, w, u, b, steps, nonlinearity, walk: walk(g)[2],
              composite=_rnn_formula, saves=True)


# --- GRU: its two biases differ, for the reset gate acts on one of them
def _gru(x, h, w, u, b, c, steps):
    rows, H = x.shape[0], h.shape[1]
    x, w, u, b, c = map(whole, (x, w, u, b, c))
    out, before, gates = fresh(x, (rows, H)), fresh(x, (rows, H)), fresh(x, (rows, 4 * H))
    kernels.gru(steps, x, w, u, b, c, h.copy(), out, before, gates)

    def back(g):
        dh, db, dc = [zeros(a, a.shape) for a in (h, b, c)]
        dx, du = fresh(x, (rows, 3 * H)), fresh(x, (rows, 3 * H))
        kernels.gru_back(steps, g, before, gates, u, dh, dx, du, db, dc)
        return dx, dh, du, db, dc
    return out, Walk(back, before)


def _gru_formula(x, h, w, u, b, c, steps):
    return through_time(lambda wx, s: gru_step(wx, linear(s[0], u, c), s), linear(x, w, b), (h,), steps)[0]


gru_scan = op("gru_scan", _gru,
              lambda g, z, x, h, w, u, b, c, steps, walk: walk(g)[0].dot(w),
              lambda g, z, x, h, w, u, b, c, steps, walk: walk(g)[1],
              lambda g, z, x, h, w, u, b, c, steps, walk: walk(g)[0].T.dot(x),
              lambda g, z, x, h, w, u, b, c, steps, walk: walk(g)[2].T.dot(walk.before),
              lambda g, z, x, h, w, u, b, c, steps, walk: walk(g)[3],
              lambda g, z, x, h, w, u, b, c, steps, walk: walk(g)[4],
              composite=_gru_formula, saves=True)


# --- LSTM: an op has one result, so the last cells of all items stand below the output rows
def _lstm(x, h, c, w, u, b, steps):
    rows, H = x.shape[0], h.shape[1]
    x, w, u, b = map(whole, (x, w, u, b))
    z = fresh(x, (rows + c.shape[0], H))
    z[rows:] = c
    before, cells, tanh_c, gates = [fresh(x, (rows, n * H)) for n in (1, 1, 1, 4)]
    kernels.lstm(steps, x, w, u, b, h.copy(), z[rows:], z[:rows], before, gates, cells, tanh_c)

    def back(g):
        dh, dc, dy, db = zeros(h, h.shape), g[rows:].copy(), fresh(x, gates.shape), zeros(b, b.shape)
        kernels.lstm_back(steps, g[:rows], gates, cells, tanh_c, u, dh, dc, dy, db)
        return dy, dh, dc, db
    return z, Walk(back, before)


def _lstm_formula(x, h, c, w, u, b, steps):
    rows, last = through_time(lambda wx, s: lstm_step(wx, linear(s[0], u), s), linear(x, w, b), (h, c), steps)
    return concatenate([rows, last[1]])


lstm_scan = op("lstm_scan", _lstm,
               lambda g, z, x, h, c, w, u, b, steps, walk: walk(g)[0].dot(w),
               lambda g, z, x, h, c, w, u, b, steps, walk: walk(g)[1],
               lambda g, z, x, h, c, w, u, b, steps, walk: walk(g)[2],
               lambda g, z, x, h, c, w, u, b, steps, walk: walk(g)[0].T.dot(x),
               lambda g, z, x, h, c, w, u, b, steps, walk: walk(g)[0].T.dot(walk.before),
               lambda g, z, x, h, c, w, u, b, steps, walk: walk(g)[3],
               composite=_lstm_formula, saves=True)
