"""The engine: a training step, from two numbers to a net that is all matrix products."""
import numpy as np

from .table import randint, randn, row, scaled


@row(goal=10, against="PyTorch")
def scalar_loop(L, size):
    """Two parameters (pairs of them, for another size), five ops, Adam: nothing but overhead."""
    pairs = scaled(1, size)
    w = L.nn.Parameter(L.tensor([-2.5, 2.5] * pairs))
    optimizer = L.optimizer("Adam", [w], lr=0.3)

    def step():
        optimizer.zero_grad()
        loss = 0
        for i in range(0, 2 * pairs, 2):
            loss = loss + (L.tanh(w[i]) ** 2 + 0.01 * L.abs(w[i + 1]) + L.sigmoid(w[i + 1]))
        loss.backward()
        optimizer.step()
    return step


@scalar_loop.jax
def _(J, size):
    def loss(params):
        a, b = params[0][::2], params[0][1::2]
        return (J.np.tanh(a) ** 2 + 0.01 * J.np.abs(b) + J.jax.nn.sigmoid(b)).sum()
    return J.training(loss, [np.array([-2.5, 2.5] * scaled(1, size), np.float32)], J.adam, lr=0.3)


@row(goal=2.8)
def small_ops(L, size):
    """41 ops on 8 x 8 matrices, forward and backward."""
    a, b = L.nn.Parameter(L.tensor(randn(8, 8))), L.nn.Parameter(L.tensor(randn(8, 8)))
    times = scaled(20, size)

    def step():
        x = a
        for _ in range(times):
            x = x * b + a
        x.sum().backward()
        a.grad = b.grad = None
    return step


def mlp(L, batch, inputs, hidden, classes):
    """A training step: two hidden layers, cross-entropy, clipping, Adam."""
    nn = L.nn
    model = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    x, y, params = L.tensor(randn(batch, inputs)), L.array(randint(classes, batch)), list(model.parameters())
    optimizer = L.optimizer("Adam", params, lr=1e-3)

    def step():
        optimizer.zero_grad()
        L.cross_entropy(model(x), y).backward()
        L.clip_grad_norm_(params, 1.0)
        optimizer.step()
    return step


def jax_mlp(J, batch, inputs, hidden, classes):
    x, y = J.np.array(randn(batch, inputs)), J.np.array(randint(classes, batch))
    sizes = [inputs, hidden, hidden, classes]
    params = [p for n, m in zip(sizes, sizes[1:]) for p in (randn(n, m) / n ** 0.5, np.zeros(m, np.float32))]

    def loss(p):
        h = J.jax.nn.relu(x @ p[0] + p[1])
        h = J.jax.nn.relu(h @ p[2] + p[3])
        log_p = J.jax.nn.log_softmax(h @ p[4] + p[5])
        return -log_p[J.np.arange(batch), y].mean()
    return J.training(loss, params, J.adam, lr=1e-3, max_norm=1.0)


@row(goal=1.35)
def mlp_64(L, size):
    return mlp(L, 32, 64, scaled(64, size), 10)


@row(goal=1.15)
def mlp_256(L, size):
    return mlp(L, 64, 784, scaled(256, size), 10)


@row(goal=1.0)
def mlp_1024(L, size):
    return mlp(L, 128, 784, scaled(1024, size), 10)


mlp_64.jax(lambda J, size: jax_mlp(J, 32, 64, scaled(64, size), 10))
mlp_256.jax(lambda J, size: jax_mlp(J, 64, 784, scaled(256, size), 10))
mlp_1024.jax(lambda J, size: jax_mlp(J, 128, 784, scaled(1024, size), 10))
