"""How fast is it? The same work in tinygrad_lite, PyTorch and JAX, side by side in one process.

    python examples/benchmark.py [--only NAME,..] [--size 0.5 1 3] [--reps 7] [--json FILE] [--quick]

A row of the table is a function that builds one step of work from names that tinygrad_lite and PyTorch share; where it
makes sense a second one builds it for JAX under `jit`. Libraries that are not installed are left out. Everything runs
on one thread of one core and in turn, so that a slow moment of the machine meets all of them; times are medians.
`ratio` is the time of the fastest other library (or of the one named) divided by ours: above 1 we are faster.
"""
import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version

CORES = os.cpu_count()
for threads in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ[threads] = "1"               # read when the libraries are loaded
os.environ["JAX_PLATFORMS"] = "cpu"
if hasattr(os, "sched_setaffinity"):        # Linux: stay on one core, with all threads that start from here on
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np


# ---------------------------------------------------------------- the libraries, under the names that rows use

class Ours:
    name = "tinygrad_lite"

    def __init__(self):
        import tinygrad_lite as tg
        self.tanh, self.abs, self.sigmoid, self.nn, self.optim = tg.tanh, tg.abs, tg.sigmoid, tg.nn, tg.optim
        self.cross_entropy, self.clip_grad_norm_ = tg.losses.cross_entropy, tg.clip.clip_grad_norm_
        self.tensor, self.array = tg.Tensor, np.array       # floats, and whole numbers such as labels

    def optimizer(self, name, params, check_finite=True, **options):
        return getattr(self.optim, name)(params, check_finite=check_finite, **options)


class PyTorch:
    name, module = "PyTorch", "torch"

    def __init__(self):
        import torch
        torch.set_num_threads(1)
        self.tanh, self.abs, self.sigmoid, self.nn, self.optim = torch.tanh, torch.abs, torch.sigmoid, torch.nn, torch.optim
        self.cross_entropy, self.clip_grad_norm_ = torch.nn.functional.cross_entropy, torch.nn.utils.clip_grad_norm_
        self.tensor = self.array = torch.tensor

    def optimizer(self, name, params, check_finite=False, **options):      # fused is its fastest form; it checks nothing
        return getattr(self.optim, name)(params, fused=True, **options)


class JAX:
    """Pure functions instead of objects, so rows for JAX hand a loss over params (lists of arrays) to `training`."""
    name, module = "JAX", "jax"

    def __init__(self):
        import jax
        self.jax, self.np = jax, jax.numpy

    def adam(self, p, g, state, lr):
        m, v, t = state
        m, v, t = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, t + 1
        rate, unbias = lr / (1 - 0.9 ** t), (1 - 0.999 ** t) ** -0.5
        return p - rate * m / (self.np.sqrt(v) * unbias + 1e-8), (m, v, t)

    def adagrad(self, p, g, state, lr):
        v, = state
        v = v + g * g
        return p - lr * g / (self.np.sqrt(v) + 1e-10), (v,)

    def start(self, rule, params):
        """Fresh optimizer states of adam or adagrad."""
        zeros = self.np.zeros_like
        return [(zeros(p), zeros(p), self.np.float32(0)) if rule == self.adam else (zeros(p),) for p in params]

    def training(self, loss, params, rule, lr, max_norm=None):
        """One jitted training step: gradient of loss(params), clipping by norm, update; it reuses the memory it is given."""
        def step(params, states):
            grads = self.jax.grad(loss)(params)
            if max_norm is not None:
                norm = self.np.sqrt(sum(self.np.vdot(g, g) for g in grads))
                grads = [g * self.np.minimum(1, max_norm / (norm + 1e-6)) for g in grads]
            return tuple(map(list, zip(*map(rule, params, grads, states, [lr] * len(params)))))
        return self.repeated(step, params, rule)

    def repeated(self, step, params, rule):
        step, params = self.jax.jit(step, donate_argnums=(0, 1)), list(map(self.np.array, params))
        now = [params, self.start(rule, params)]

        def run():
            now[:] = self.jax.block_until_ready(step(*now))
        return run


# ---------------------------------------------------------------- the rows

ROWS = {}


class Row:
    """build(library, size) -> step, and its goal: the ratio to reach against a peer (None: the fastest).

    `beside` is a row of our own to compare with, where no other library has the like.
    """

    def __init__(self, build, goal, against, beside):
        self.build, self.goal, self.against, self.beside = build, goal, against, beside
        self.for_jax = None

    def jax(self, build):
        self.for_jax = build
        return build

    def steps(self, libraries, size):
        """{name: step} of everybody who takes part."""
        if self.beside:
            return {"tinygrad_lite": self.build(libraries[0], size), self.against: self.beside.build(libraries[0], size)}
        builds = [(library, self.for_jax if library.name == "JAX" else self.build) for library in libraries]
        return {library.name: build(library, size) for library, build in builds if build}


def row(goal, against=None, beside=None):
    """Decorate a function build(library, size): it becomes the row of its name."""
    def decorate(build):
        ROWS[build.__name__] = Row(build, goal, against, beside)
        return ROWS[build.__name__]
    return decorate


def randn(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def randint(high, *shape):
    return np.random.default_rng(0).integers(0, high, shape)


def scaled(n, size):
    return max(1, round(n * size))


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


# ---------------------------------------------------------------- measuring and showing

def measure(steps, reps, sample):
    """{name: median seconds of one step}; the names take turns, `sample` seconds each."""
    times, count = {name: [] for name in steps}, {}
    for name, step in steps.items():
        step(), step(), step()                              # compiles, allocates, warms up
        count[name] = max(1, round(sample / seconds_of(step, 1)))
    for _ in range(reps):
        for name, step in steps.items():
            times[name].append(seconds_of(step, count[name]))
    return {name: statistics.median(t) for name, t in times.items()}


def seconds_of(step, count):
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def verdict(row, seconds):
    """(ratio, the peer it speaks of), (None, None) without one."""
    peers = {name: s for name, s in seconds.items() if name != "tinygrad_lite" and row.against in (None, name)}
    if not peers:
        return None, None
    best = min(peers, key=peers.get)
    return peers[best] / seconds["tinygrad_lite"], best


def pretty(seconds):
    if seconds is None:
        return "-"
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def machine(libraries):
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    packages = ["numpy", "numba", *(peer.module for peer in libraries[1:])]
    return {"cpu": cpu, "cores": CORES, "python": platform.python_version(), **{name: version(name) for name in packages}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME,..", help=f"rows whose name contains one of these; there are {', '.join(ROWS)}")
    parser.add_argument("--size", type=float, nargs="+", default=[1.0], help="sizes of the work, one table each (default 1)")
    parser.add_argument("--reps", type=int, default=7, help="samples for each median (default 7)")
    parser.add_argument("--json", metavar="FILE", help="write machine, seconds and ratios there")
    parser.add_argument("--quick", action="store_true", help="2 short samples at a fiftieth of the size: does each row run?")
    args = parser.parse_args()
    names = [name for name in ROWS if any(part in name for part in (args.only or "").split(","))]
    if not names or args.reps < 1 or min(args.size) <= 0:
        parser.error(f"nothing to do: --only {args.only} --reps {args.reps} --size {args.size}; rows are {', '.join(ROWS)}")
    sizes, reps, sample = ([0.02], 2, 0.001) if args.quick else (args.size, args.reps, 0.03)     # seconds a sample

    libraries = [Ours()] + [peer() for peer in (PyTorch, JAX) if importlib.util.find_spec(peer.module)]
    found = machine(libraries)
    print(", ".join(f"{name} {value}" for name, value in found.items()), "- one thread, one core")
    if len(libraries) == 1:
        print("Neither PyTorch nor JAX is installed: these are our own times, with nothing to compare.")
    results = {}
    for size in sizes:
        print(f"\nsize {size:g}")
        print(f"{'row':16s}" + "".join(f"{library.name:>15s}" for library in libraries) + f"   {'ratio':20s}goal")
        results[f"{size:g}"] = {}
        for name in names:
            row = ROWS[name]
            seconds = measure(row.steps(libraries, size), reps, sample)
            ratio, peer = verdict(row, seconds)
            shown = f"{ratio:6.2f}x {peer:12s}" if peer else f"{'-':20s}"
            reached = "" if ratio is None or args.quick else "reached" if ratio >= row.goal else "missed"
            print(f"{name:16s}" + "".join(f"{pretty(seconds.get(library.name)):>15s}" for library in libraries)
                  + f" {shown}  >= {row.goal:.3g}x {row.against or 'best peer'}  {reached}", flush=True)
            results[f"{size:g}"][name] = {"seconds": seconds, "ratio": ratio, "against": peer, "goal": row.goal}
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": found, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
