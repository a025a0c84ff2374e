"""Word vectors from characters: 256 words of 16 characters of dimension 15, 64 filters of width 3, a linear layer, Adagrad."""
import numpy as np

from .table import randint, randn, row, scaled

CHARS, LENGTH, DIM, FILTERS, WIDTH, CLASSES = 80, 16, 15, 64, 3, 32


def data(size):
    words = scaled(256, size)
    return randint(CHARS, words, LENGTH), randint(CLASSES, words)


def training(L, encode, modules, ids, y):
    """A training step of `encode`, ids -> (words, FILTERS), with a linear layer on top."""
    out = L.nn.Linear(FILTERS, CLASSES)
    params = [p for module in (*modules, out) for p in module.parameters()]
    optimizer = L.optimizer("Adagrad", params, lr=0.05)

    def step():
        optimizer.zero_grad()
        L.cross_entropy(out(encode(ids)), y).backward()
        optimizer.step()
    return step


@row(goal=1.3)
def char_cnn_layers(L, size):
    """As separate layers: Embedding, Conv2d, maximum over time."""
    ids, y = map(L.array, data(size))
    embedding, conv = L.nn.Embedding(CHARS, DIM, padding_idx=0), L.nn.Conv2d(1, FILTERS, (WIDTH, DIM))

    def encode(ids):
        z = conv(embedding(ids).reshape(len(ids), 1, LENGTH, DIM)).reshape(len(ids), FILTERS, -1)
        return z.max(2)[0] if L.name == "PyTorch" else z.max(axis=2)
    return training(L, encode, (embedding, conv), ids, y)


@row(goal=2)
def char_cnn(L, size):
    """As the layer of its own that we have: only the largest answers are kept."""
    ids, y = map(L.array, data(size))
    if L.name == "PyTorch":
        return char_cnn_layers.build(L, size)
    encoder = L.nn.CharCNN(CHARS, DIM, FILTERS, WIDTH, highway=0)
    return training(L, encoder, (encoder,), ids, y)


@char_cnn.jax
@char_cnn_layers.jax
def _(J, size):
    ids, y = map(J.np.array, data(size))
    places = LENGTH - WIDTH + 1
    params = [randn(CHARS, DIM), randn(WIDTH * DIM, FILTERS) / 7, np.zeros(FILTERS, np.float32), randn(FILTERS, CLASSES) / 8,
              np.zeros(CLASSES, np.float32)]

    def loss(p):
        e = p[0][ids]
        windows = J.np.concatenate([e[:, i:i + places] for i in range(WIDTH)], axis=2)      # its conv takes 50 times as long
        z = (windows @ p[1] + p[2]).max(axis=1)
        return -J.jax.nn.log_softmax(z @ p[3] + p[4])[J.np.arange(len(y)), y].mean()
    return J.training(loss, params, J.adagrad, lr=0.05)
