"""tinygrad_lite, PyTorch and JAX under the names that rows use."""
import numpy as np


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
