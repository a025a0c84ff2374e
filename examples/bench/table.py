"""What a row of the benchmark is: how to build one step of some work, for us and for those we are compared with."""
import importlib.util

import numpy as np

ROWS = {}               # name -> Row, in the order in which rooms are imported


class Row:
    """build(library, size) -> step, for tinygrad_lite and, if `torch`, for PyTorch: they share names.

    `goal` is the ratio to reach against the peer `against` (None: the fastest). `beside` is a row of our own that is the
    peer, where no other library has the like.

    >>> @row(goal=1.0, torch=False)
    ... def total(L, size):
    ...     x = np.ones(scaled(100, size))
    ...     return lambda: x.sum()
    >>> @total.peer("Python", needs="math")
    ... def _(size):
    ...     x = [1.0] * scaled(100, size)
    ...     return lambda: sum(x)
    >>> ROWS.pop("total").others["Python"](0.5)()
    50.0
    """

    def __init__(self, build, goal, against, beside, torch):
        self.build, self.goal, self.against, self.beside, self.torch = build, goal, against, beside, torch
        self.room, self.for_jax, self.others = build.__module__.split(".")[-1], None, {}

    def jax(self, build):
        """Decorate build(JAX, size), the same work for JAX under `jit`."""
        self.for_jax = build
        return build

    def peer(self, name, needs):
        """Decorate build(size), the same work for another library; `needs` is the module without which it is left out."""
        def decorate(build):
            if importlib.util.find_spec(needs):
                self.others[name] = build
            return build
        return decorate

    def builds(self, libraries):
        """{name: build(size)} of everybody who takes part; `libraries` are ours and those of PyTorch and JAX that are here."""
        ours, *peers = libraries
        found = {ours.name: lambda size: self.build(ours, size)}
        if self.beside:
            return {**found, self.against: lambda size: self.beside.build(ours, size)}
        for library in peers:
            build = self.for_jax if library.name == "JAX" else self.build if self.torch else None
            if build:
                found[library.name] = lambda size, build=build, library=library: build(library, size)
        return {**found, **self.others}

    def names(self, libraries):
        return list(self.builds(libraries))

    def steps(self, libraries, size):
        return {name: build(size) for name, build in self.builds(libraries).items()}


def row(goal, against=None, beside=None, torch=True):
    """Decorate a function build(library, size): it becomes the row of its name."""
    def decorate(build):
        ROWS[build.__name__] = Row(build, goal, against, beside, torch)
        return ROWS[build.__name__]
    return decorate


def randn(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def randint(high, *shape):
    return np.random.default_rng(0).integers(0, high, shape)


def scaled(n, size):
    return max(1, round(n * size))
