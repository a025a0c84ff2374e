"""A recurrent net's walk through time: one call for the whole sequence, forward and back.

The rows of all time steps stand one below the other, step after step, longest item first: items of any length need no
padding. `steps` (T, 2) holds the first row and the end of each step in the order of reading, so that the loops need not
know about lengths and directions. w (gates H, inputs) and u (gates H, H) are the weights of input and state.

States h, c (items, H) change in place; those of items that are not in a step stay. On the way back dh, dc arrive as
gradients of the last states and leave as those of the first, and gradients of biases are added up. `before`, `cells`
keep the states that each row found. In a loop only one array is written: with more, vectors would need too many checks.

On the GPU W x is one product for all rows; then a step is one product of the states and one launch for all gates.
"""
import functools

import numpy as np

from . import cuda, fresh, kernel, ready
from .gemm import multiply, panels, room
from .scalars import exp, tanh


def _usable(steps, *arrays):
    return arrays[0].size > 0 and ready(*arrays)            # without rows there is nothing to multiply


def sigmoid(x):
    with np.errstate(over="ignore"):        # e^-x = inf is welcome: 1 / inf = 0
        return 1 / (1 + np.exp(-x))


CUDA = r"""
// a thread a unit, j of item `row`: e counts the units of the items, `at` those of all steps, of which this one begins at `first`
#define UNIT \
    I j = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y, e = row * H + j, line = first + row, at = line * H + j; \
    if (j >= H) return;

extern "C" __global__ void rnn_step(const T *wx, const T *uh, const T *bias, I relu, T *h, T *out, T *before, I first, I H) {
    UNIT
    A y = (A)wx[at] + (A)uh[e] + (A)bias[j];
    before[at] = h[e];
    h[e] = out[at] = T(!relu ? tanh(y) : y <= A(0) ? A(0) : y);         // NaN goes on
}

extern "C" __global__ void rnn_step_back(I relu, const T *g, const T *out, const T *dh, T *dy, I first, I H) {
    UNIT
    A d = (A)g[at] + (A)dh[e], y = (A)out[at];
    dy[at] = T(!relu ? d * (A(1) - y * y) : y > A(0) ? d : A(0));
}

extern "C" __global__ void gru_step(const T *wx, const T *uh, const T *bias_x, const T *bias_h, T *h, T *out, T *before, T *gates,
                                    I first, I H) {
    UNIT
    wx += line * 3 * H + j, uh += row * 3 * H + j, bias_x += j, bias_h += j, gates += line * 4 * H + j;
    A r = sigmoid((A)wx[0] + (A)bias_x[0] + (A)uh[0] + (A)bias_h[0]);
    A z = sigmoid((A)wx[H] + (A)bias_x[H] + (A)uh[H] + (A)bias_h[H]);
    A m = (A)uh[2 * H] + (A)bias_h[2 * H], n = tanh((A)wx[2 * H] + (A)bias_x[2 * H] + r * m);
    gates[0] = T(r), gates[H] = T(z), gates[2 * H] = T(n), gates[3 * H] = T(m);
    before[at] = h[e];
    h[e] = out[at] = T(n + z * ((A)h[e] - n));
}

// `through` is what came back through the product with u, of the step that was done last
extern "C" __global__ void gru_step_back(const T *g, const T *before, const T *gates, const T *through, T *dh, T *dx, T *du,
                                         I first, I H) {
    UNIT
    gates += line * 4 * H + j, dx += line * 3 * H + j, du += line * 3 * H + j;
    A r = (A)gates[0], z = (A)gates[H], n = (A)gates[2 * H], m = (A)gates[3 * H], d = (A)g[at] + (A)dh[e] + (A)through[e];
    A dn = d * (A(1) - z) * (A(1) - n * n), dz = d * ((A)before[at] - n) * z * (A(1) - z), dr = dn * m * r * (A(1) - r);
    dx[0] = du[0] = T(dr), dx[H] = du[H] = T(dz), dx[2 * H] = T(dn), du[2 * H] = T(dn * r);
    dh[e] = T(d * z);
}

extern "C" __global__ void lstm_step(const T *wx, const T *uh, const T *bias, T *h, T *c, T *out, T *before, T *gates, T *cells,
                                     T *tanh_c, I first, I H) {
    UNIT
    wx += line * 4 * H + j, uh += row * 4 * H + j, bias += j, gates += line * 4 * H + j;
    A i = sigmoid((A)wx[0] + (A)uh[0] + (A)bias[0]), f = sigmoid((A)wx[H] + (A)uh[H] + (A)bias[H]);
    A g = tanh((A)wx[2 * H] + (A)uh[2 * H] + (A)bias[2 * H]), o = sigmoid((A)wx[3 * H] + (A)uh[3 * H] + (A)bias[3 * H]);
    gates[0] = T(i), gates[H] = T(f), gates[2 * H] = T(g), gates[3 * H] = T(o);
    before[at] = h[e], cells[at] = c[e];
    A new_c = f * (A)c[e] + i * g, v = tanh(new_c);
    c[e] = T(new_c), tanh_c[at] = T(v);
    h[e] = out[at] = T(o * v);
}

extern "C" __global__ void lstm_step_back(const T *dout, const T *gates, const T *cells, const T *tanh_c, const T *dh, T *dc, T *dy,
                                          I first, I H) {
    UNIT
    gates += line * 4 * H + j, dy += line * 4 * H + j;
    A i = (A)gates[0], f = (A)gates[H], g = (A)gates[2 * H], o = (A)gates[3 * H], v = (A)tanh_c[at];
    A d = (A)dout[at] + (A)dh[e], into_c = (A)dc[e] + d * o * (A(1) - v * v);
    dy[0] = T(into_c * g * i * (A(1) - i)), dy[H] = T(into_c * (A)cells[at] * f * (A(1) - f));
    dy[2 * H] = T(into_c * i * (A(1) - g * g)), dy[3 * H] = T(d * v * o * (A(1) - o));
    dc[e] = T(into_c * f);
}
"""


def _served(steps, *arrays):
    items = int((steps[:, 1] - steps[:, 0]).max(initial=0))             # blocks of a launch's second axis
    return arrays[0].size > 0 and items < 1 << 16 and cuda.served(*arrays)


def _walk(run, name, steps, h, *others):
    """For each step (its rows, the first rows of h and others that it changes, launch of `name` over their units)."""
    H, threads = h.shape[1], cuda.threads_of(h.shape[1])

    @functools.cache                        # a slice costs the host as much as a launch
    def views(n):
        return [x[:n] for x in (h, *others)], ((-(-H // threads), n), threads)
    for a, b in steps.tolist():
        if a < b:
            parts, size = views(b - a)
            yield slice(a, b), parts, lambda *arrays: run(name, *size, *arrays, a, H)


# --- Elman 1990: h' = tanh(W x + U h + bias) or relu
def _rnn_plain(steps, relu, x, w, u, bias, h, out, before):
    for a, b in steps:
        n = b - a
        before[a:b] = h[:n]
        y = x[a:b] @ w.T + h[:n] @ u.T + bias
        h[:n] = out[a:b] = np.maximum(y, 0) if relu else np.tanh(y)


@cuda.form(CUDA, lambda steps, relu, *arrays: _served(steps, *arrays), like=2)
def _rnn_cuda(run, steps, relu, x, w, u, bias, h, out, before):
    wx, uh, ut = x @ w.T, fresh(h, h.shape), u.T
    for _, (state, product), launch in _walk(run, "rnn_step", steps, h, uh):
        state.dot(ut, product)
        launch(wx, uh, bias, relu, h, out, before)


@kernel(_rnn_plain, lambda steps, relu, *arrays: _usable(steps, *arrays), cuda=_rnn_cuda)
def _rnn(steps, relu, x, w, u, bias, h, out, before):
    H, zero = h.shape[1], x.dtype.type(0)
    wt, ut = panels(w.T), panels(u.T)
    wx, uh = room(h, wt), room(h, ut)
    for t in range(len(steps)):
        a, b = steps[t]
        multiply(x[a:b], wt, wx)
        multiply(h[:b - a], ut, uh)
        for i in range(a, b):
            p, q, state, old, new = wx[i - a], uh[i - a], h[i - a], before[i], out[i]
            for j in range(H):
                old[j] = state[j]
            if relu:
                for j in range(H):
                    s = p[j] + q[j] + bias[j]
                    new[j] = zero if s <= zero else s       # NaN goes on
            else:
                for j in range(H):
                    new[j] = tanh(p[j] + q[j] + bias[j])
            for j in range(H):
                state[j] = new[j]


def _rnn_back_plain(steps, relu, g, out, u, dh, dy, dbias):
    for a, b in steps[::-1]:
        n = b - a
        d = g[a:b] + dh[:n]
        dy[a:b] = np.where(out[a:b] > 0, d, 0) if relu else d * (1 - out[a:b] * out[a:b])
        dbias += dy[a:b].sum(axis=0)
        dh[:n] = dy[a:b] @ u


@cuda.form(CUDA, lambda steps, relu, *arrays: _served(steps, *arrays), like=2)
def _rnn_back_cuda(run, steps, relu, g, out, u, dh, dy, dbias):
    for rows, (back,), launch in _walk(run, "rnn_step_back", steps[::-1], dh):
        launch(relu, g, out, dh, dy)
        dy[rows].dot(u, back)
    dbias += dy.sum(axis=0)


@kernel(_rnn_back_plain, lambda steps, relu, *arrays: _usable(steps, *arrays), cuda=_rnn_back_cuda)
def _rnn_back(steps, relu, g, out, u, dh, dy, dbias):
    H, p, zero, one = dh.shape[1], panels(u), g.dtype.type(0), g.dtype.type(1)
    through = room(dh, p)
    through[:, :H] = dh
    for t in range(len(steps) - 1, -1, -1):
        a, b = steps[t]
        for i in range(a, b):
            top, d, carry, y = g[i], dy[i], through[i - a], out[i]
            if relu:
                for j in range(H):
                    d[j] = top[j] + carry[j] if y[j] > zero else zero
            else:
                for j in range(H):
                    d[j] = (top[j] + carry[j]) * (one - y[j] * y[j])
            for j in range(H):
                dbias[j] += d[j]
        multiply(dy[a:b], p, through)
    dh[:] = through[:, :H]


# --- GRU (Cho et al. 2014), the reset gate after the product: gates r, z, n and m = U_n h + b_n, the product that r meets
def _gru_plain(steps, x, w, u, bias_x, bias_h, h, out, before, gates):
    H = h.shape[1]
    for a, b in steps:
        k = b - a
        before[a:b] = h[:k]
        wx, uh = x[a:b] @ w.T + bias_x, h[:k] @ u.T + bias_h
        rz = sigmoid(wx[:, :2 * H] + uh[:, :2 * H])
        r, z, m = rz[:, :H], rz[:, H:], uh[:, 2 * H:]
        n = np.tanh(wx[:, 2 * H:] + r * m)
        gates[a:b] = np.concatenate([rz, n, m], 1)
        h[:k] = out[a:b] = n + z * (h[:k] - n)


@cuda.form(CUDA, _served, like=1)
def _gru_cuda(run, steps, x, w, u, bias_x, bias_h, h, out, before, gates):
    wx, uh, ut = x @ w.T, fresh(h, (len(h), len(u))), u.T
    for _, (state, product), launch in _walk(run, "gru_step", steps, h, uh):
        state.dot(ut, product)
        launch(wx, uh, bias_x, bias_h, h, out, before, gates)


@kernel(_gru_plain, _usable, cuda=_gru_cuda)
def _gru(steps, x, w, u, bias_x, bias_h, h, out, before, gates):
    H, one = h.shape[1], x.dtype.type(1)
    wt, ut, bias = panels(w.T), panels(u.T), bias_x + bias_h
    wx, uh = room(h, wt), room(h, ut)
    for t in range(len(steps)):
        a, b = steps[t]
        multiply(x[a:b], wt, wx)
        multiply(h[:b - a], ut, uh)
        for i in range(a, b):
            p, q, s, state, old, new = wx[i - a], uh[i - a], gates[i], h[i - a], before[i], out[i]
            for j in range(H):
                old[j] = state[j]
            for j in range(2 * H):
                s[j] = one / (one + exp(-(p[j] + q[j] + bias[j])))
            r, z, n, m = s[:H], s[H:2 * H], s[2 * H:3 * H], s[3 * H:]
            for j in range(H):
                m[j] = q[2 * H + j] + bias_h[2 * H + j]
            for j in range(H):
                n[j] = tanh(p[2 * H + j] + bias_x[2 * H + j] + r[j] * m[j])
            for j in range(H):
                new[j] = n[j] + z[j] * (old[j] - n[j])
            for j in range(H):
                state[j] = new[j]


def _gru_back_plain(steps, g, before, gates, u, dh, dx, du, dbias_x, dbias_h):
    H = dh.shape[1]
    for a, b in steps[::-1]:
        k = b - a
        r, z, n, m = [gates[a:b, i * H:(i + 1) * H] for i in range(4)]
        d = g[a:b] + dh[:k]
        dn = d * (1 - z) * (1 - n * n)
        dz = d * (before[a:b] - n) * z * (1 - z)
        dr = dn * m * r * (1 - r)
        dx[a:b] = np.concatenate([dr, dz, dn], 1)
        du[a:b] = np.concatenate([dr, dz, dn * r], 1)
        dbias_x += dx[a:b].sum(axis=0)
        dbias_h += du[a:b].sum(axis=0)
        dh[:k] = d * z + du[a:b] @ u


@cuda.form(CUDA, _served, like=1)
def _gru_back_cuda(run, steps, g, before, gates, u, dh, dx, du, dbias_x, dbias_h):
    through = np.zeros_like(dh)
    for rows, (_, back), launch in _walk(run, "gru_step_back", steps[::-1], dh, through):
        launch(g, before, gates, through, dh, dx, du)
        du[rows].dot(u, back)
    dh += through
    dbias_x += dx.sum(axis=0)
    dbias_h += du.sum(axis=0)


@kernel(_gru_back_plain, _usable, cuda=_gru_back_cuda)
def _gru_back(steps, g, before, gates, u, dh, dx, du, dbias_x, dbias_h):
    H, p, one = dh.shape[1], panels(u), g.dtype.type(1)
    through = room(dh, p)
    for t in range(len(steps) - 1, -1, -1):
        a, b = steps[t]
        for i in range(a, b):
            s, old, x, y, d, top = gates[i], before[i], dx[i], du[i], dh[i - a], g[i]
            r, z, n, m = s[:H], s[H:2 * H], s[2 * H:3 * H], s[3 * H:]
            dz, dn = x[H:2 * H], x[2 * H:]
            for j in range(H):
                d[j] += top[j]
            for j in range(H):
                dn[j] = d[j] * (one - z[j]) * (one - n[j] * n[j])
            for j in range(H):
                dz[j] = d[j] * (old[j] - n[j]) * z[j] * (one - z[j])
            for j in range(H):
                x[j] = dn[j] * m[j] * r[j] * (one - r[j])
            for j in range(2 * H):
                y[j] = x[j]
            for j in range(H):
                y[2 * H + j] = dn[j] * r[j]
            for j in range(H):
                d[j] *= z[j]
            for j in range(3 * H):
                dbias_x[j] += x[j]
            for j in range(2 * H, 3 * H):
                dbias_h[j] += y[j]
        multiply(du[a:b], p, through)
        for i in range(b - a):
            for j in range(H):
                dh[i, j] += through[i, j]
    dbias_h[:2 * H] += dbias_x[:2 * H]      # those of r and z are the same


# --- LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000): gates i, f, g, o
def _lstm_plain(steps, x, w, u, bias, h, c, out, before, gates, cells, tanh_c):
    H = h.shape[1]
    for a, b in steps:
        k = b - a
        before[a:b], cells[a:b] = h[:k], c[:k]
        y = x[a:b] @ w.T + h[:k] @ u.T + bias
        i, f, g, o = sigmoid(y[:, :H]), sigmoid(y[:, H:2 * H]), np.tanh(y[:, 2 * H:3 * H]), sigmoid(y[:, 3 * H:])
        gates[a:b] = np.concatenate([i, f, g, o], 1)
        c[:k] = f * c[:k] + i * g
        tanh_c[a:b] = np.tanh(c[:k])
        h[:k] = out[a:b] = o * tanh_c[a:b]


@cuda.form(CUDA, _served, like=1)
def _lstm_cuda(run, steps, x, w, u, bias, h, c, out, before, gates, cells, tanh_c):
    wx, uh, ut = x @ w.T, fresh(h, (len(h), len(u))), u.T
    for _, (state, product), launch in _walk(run, "lstm_step", steps, h, uh):
        state.dot(ut, product)
        launch(wx, uh, bias, h, c, out, before, gates, cells, tanh_c)


@kernel(_lstm_plain, _usable, cuda=_lstm_cuda)
def _lstm(steps, x, w, u, bias, h, c, out, before, gates, cells, tanh_c):
    H, one = h.shape[1], x.dtype.type(1)
    wt, ut = panels(w.T), panels(u.T)
    wx, uh = room(h, wt), room(h, ut)
    for t in range(len(steps)):
        a, b = steps[t]
        multiply(x[a:b], wt, wx)
        multiply(h[:b - a], ut, uh)
        for row in range(a, b):
            p, q, s, cell, v, new, state = wx[row - a], uh[row - a], gates[row], c[row - a], tanh_c[row], out[row], h[row - a]
            old_h, old_c = before[row], cells[row]
            for j in range(H):
                old_h[j] = state[j]
            for j in range(H):
                old_c[j] = cell[j]
            for j in range(2 * H):
                s[j] = one / (one + exp(-(p[j] + q[j] + bias[j])))
            for j in range(2 * H, 3 * H):
                s[j] = tanh(p[j] + q[j] + bias[j])
            for j in range(3 * H, 4 * H):
                s[j] = one / (one + exp(-(p[j] + q[j] + bias[j])))
            i, f, g, o = s[:H], s[H:2 * H], s[2 * H:3 * H], s[3 * H:]
            for j in range(H):
                cell[j] = f[j] * old_c[j] + i[j] * g[j]
            for j in range(H):
                v[j] = tanh(cell[j])
            for j in range(H):
                new[j] = o[j] * v[j]
            for j in range(H):
                state[j] = new[j]


def _lstm_back_plain(steps, dout, gates, cells, tanh_c, u, dh, dc, dy, dbias):
    H = dh.shape[1]
    for a, b in steps[::-1]:
        k = b - a
        i, f, g, o = [gates[a:b, j * H:(j + 1) * H] for j in range(4)]
        d = dout[a:b] + dh[:k]
        e = dc[:k] + d * o * (1 - tanh_c[a:b] * tanh_c[a:b])
        dy[a:b] = np.concatenate([e * g * i * (1 - i), e * cells[a:b] * f * (1 - f), e * i * (1 - g * g),
                                  d * tanh_c[a:b] * o * (1 - o)], 1)
        dbias += dy[a:b].sum(axis=0)
        dc[:k] = e * f
        dh[:k] = dy[a:b] @ u


@cuda.form(CUDA, _served, like=1)
def _lstm_back_cuda(run, steps, dout, gates, cells, tanh_c, u, dh, dc, dy, dbias):
    for rows, (back,), launch in _walk(run, "lstm_step_back", steps[::-1], dh):
        launch(dout, gates, cells, tanh_c, dh, dc, dy)
        dy[rows].dot(u, back)
    dbias += dy.sum(axis=0)


@kernel(_lstm_back_plain, _usable, cuda=_lstm_back_cuda)
def _lstm_back(steps, dout, gates, cells, tanh_c, u, dh, dc, dy, dbias):
    H, p, one = dh.shape[1], panels(u), dout.dtype.type(1)
    through = room(dh, p)
    through[:, :H] = dh
    for t in range(len(steps) - 1, -1, -1):
        a, b = steps[t]
        for row in range(a, b):
            s, old, v, y, d, e, top = gates[row], cells[row], tanh_c[row], dy[row], through[row - a], dc[row - a], dout[row]
            i, f, g, o = s[:H], s[H:2 * H], s[2 * H:3 * H], s[3 * H:]
            for j in range(H):
                d[j] += top[j]
            for j in range(H):
                e[j] += d[j] * o[j] * (one - v[j] * v[j])
            for j in range(H):
                y[j] = e[j] * g[j] * i[j] * (one - i[j])
            for j in range(H):
                y[H + j] = e[j] * old[j] * f[j] * (one - f[j])
            for j in range(H):
                y[2 * H + j] = e[j] * i[j] * (one - g[j] * g[j])
            for j in range(H):
                y[3 * H + j] = d[j] * v[j] * o[j] * (one - o[j])
            for j in range(H):
                e[j] *= f[j]
            for j in range(4 * H):
                dbias[j] += y[j]
        multiply(dy[a:b], p, through)
    dh[:] = through[:, :H]


rnn, rnn_back, gru, gru_back, lstm, lstm_back = _rnn, _rnn_back, _gru, _gru_back, _lstm, _lstm_back
