"""Recurrent nets: layers forward and backward, a classifier of words of unequal length, a language model."""
import numpy as np

from .table import randint, randn, row, scaled

STEPS, BATCH, INPUTS, HIDDEN = 32, 32, 32, 64


def layer(L, kind, size):
    """Forward and backward over 32 steps of 32 items; the last output is what counts. `size` scales the hidden state."""
    net = getattr(L.nn, kind)(INPUTS, scaled(HIDDEN, size), batch_first=True)
    x, params = L.tensor(randn(BATCH, STEPS, INPUTS)), list(net.parameters())

    def step():
        output, _ = net(x)
        output[:, -1].sum().backward()
        for p in params:
            p.grad = None
    return step


@row(goal=1.5)
def gru(L, size):
    return layer(L, "GRU", size)


@row(goal=1.2)
def lstm(L, size):
    return layer(L, "LSTM", size)


@row(goal=3)
def rnn(L, size):
    return layer(L, "RNN", size)


def jax_layer(J, size, gates, cell):
    H = scaled(HIDDEN, size)
    x = J.np.array(randn(STEPS, BATCH, INPUTS))
    params = [J.np.array(randn(*shape) / 8) for shape in ((INPUTS, gates * H), (H, gates * H), (gates * H,), (gates * H,))]

    def loss(params):
        return scanned(J, cell, params, x, H)[-1].sum()
    gradient = J.jax.jit(J.jax.grad(loss))
    return lambda: J.jax.block_until_ready(gradient(params))


def scanned(J, cell, params, x, H):
    """The outputs of a cell along x (T, B, I)."""
    w, u, b, c = params
    zeros = J.np.zeros((x.shape[1], H), x.dtype)
    return J.jax.lax.scan(lambda state, x: (lambda new: (new, new[0]))(cell(J, x @ w + b, state[0] @ u + c, state)), (zeros, zeros), x)[1]


def gru_cell(J, a, b, state):
    h, _ = state
    r, z, n = J.np.split(a, 3, 1)
    s, y, m = J.np.split(b, 3, 1)
    z, n = J.jax.nn.sigmoid(z + y), J.np.tanh(n + J.jax.nn.sigmoid(r + s) * m)
    return n + z * (h - n), h


def lstm_cell(J, a, b, state):
    i, f, g, o = J.np.split(a + b, 4, 1)
    c = J.jax.nn.sigmoid(f) * state[1] + J.jax.nn.sigmoid(i) * J.np.tanh(g)
    return J.jax.nn.sigmoid(o) * J.np.tanh(c), c


def rnn_cell(J, a, b, state):
    return J.np.tanh(a + b), state[1]


gru.jax(lambda J, size: jax_layer(J, size, 3, gru_cell))
lstm.jax(lambda J, size: jax_layer(J, size, 4, lstm_cell))
rnn.jax(lambda J, size: jax_layer(J, size, 1, rnn_cell))


@row(goal=3.5)
def packed_gru(L, size):
    """A whole step of a classifier of 64 words of 3..40 characters: embedding, packed GRU, cross-entropy, clipping, Adam."""
    words, H = scaled(64, size), 64
    embed, net, out = L.nn.Embedding(100, 32), L.nn.GRU(32, H, batch_first=True), L.nn.Linear(H, 8)
    ids, y = L.array(randint(100, words, 40)), L.array(randint(8, words))
    lengths = L.array(3 + randint(38, words))
    params = [p for part in (embed, net, out) for p in part.parameters()]
    optimizer = L.optimizer("Adam", params, lr=1e-3)

    def step():
        optimizer.zero_grad()
        packed = L.nn.utils.rnn.pack_padded_sequence(embed(ids), lengths, batch_first=True, enforce_sorted=False)
        _, h = net(packed)
        L.cross_entropy(out(h[0]), y).backward()
        L.clip_grad_norm_(params, 1.0)
        optimizer.step()
    return step


WORDS, LONG, ITEMS = 5000, 35, 20


@row(goal=1.4)
def lstm_lm(L, size):
    """A step of a language model: two LSTM layers of 128, 5000 words, 20 x 35 tokens, SGD with clipping."""
    H = scaled(128, size)
    embed, net, out = L.nn.Embedding(WORDS, H), L.nn.LSTM(H, H, 2, batch_first=True), L.nn.Linear(H, WORDS)
    ids, y = L.array(randint(WORDS, ITEMS, LONG)), L.array(randint(WORDS, ITEMS * LONG))
    params = [p for part in (embed, net, out) for p in part.parameters()]
    optimizer = L.optimizer("SGD", params, lr=1.0)

    def step():
        optimizer.zero_grad()
        output, _ = net(embed(ids))
        L.cross_entropy(out(output.reshape(ITEMS * LONG, H)), y).backward()
        L.clip_grad_norm_(params, 0.25)
        optimizer.step()
    return step


@lstm_lm.jax
def _(J, size):
    H = scaled(128, size)
    ids, y = randint(WORDS, ITEMS, LONG).T, J.np.array(randint(WORDS, ITEMS * LONG))
    weights = [randn(*shape) / H ** 0.5 for _ in range(2) for shape in ((H, 4 * H), (H, 4 * H), (4 * H,), (4 * H,))]

    def loss(p):
        x = p[0][ids]
        for i in (3, 7):
            x = scanned(J, lstm_cell, p[i:i + 4], x, H)
        log_p = J.jax.nn.log_softmax(x.swapaxes(0, 1).reshape(-1, H) @ p[1] + p[2])
        return -log_p[J.np.arange(ITEMS * LONG), y].mean()
    params = [randn(WORDS, H), randn(H, WORDS) / H ** 0.5, np.zeros(WORDS, np.float32), *weights]
    return J.training(loss, params, lambda p, g, state, lr: (p - lr * g, state), lr=1.0, max_norm=0.25)
