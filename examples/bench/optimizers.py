"""An optimizer's step alone."""
from .table import randn, row, scaled


def update(L, name, count, shape, **options):
    """An optimizer's step alone, over `count` parameters whose gradients are there already."""
    params = [L.nn.Parameter(L.tensor(randn(*shape))) for _ in range(count)]
    for p in params:
        p.grad = L.tensor(randn(*shape))
    return L.optimizer(name, params, lr=1e-3, **options).step


def jax_update(J, rule, n):
    g = J.np.array(randn(n))
    return J.repeated(lambda params, states: tuple([part] for part in rule(params[0], g, states[0], 1e-3)), [randn(n)], rule)


@row(goal=1.05)
def sgd_10m(L, size):
    return update(L, "SGD", 1, [scaled(1e7, size)], momentum=0.9, check_finite=False)


@row(goal=1.05)
def adam_10m(L, size):
    return update(L, "Adam", 1, [scaled(1e7, size)], check_finite=False)


@row(goal=1.05)
def adamw_10m(L, size):
    return update(L, "AdamW", 1, [scaled(1e7, size)], check_finite=False)


@row(goal=1.05)
def adagrad_10m(L, size):
    return update(L, "Adagrad", 1, [scaled(1e7, size)], check_finite=False)


adam_10m.jax(lambda J, size: jax_update(J, J.adam, scaled(1e7, size)))
adagrad_10m.jax(lambda J, size: jax_update(J, J.adagrad, scaled(1e7, size)))


@row(goal=1 / 1.6, against="our Adam", beside=adam_10m)
def smorms3_10m(L, size):
    return update(L, "SMORMS3", 1, [scaled(1e7, size)], check_finite=False)


@row(goal=10)
def adam_200_small(L, size):
    return update(L, "Adam", scaled(200, size), [32])
