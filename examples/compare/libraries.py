"""tinygrad_lite and PyTorch under one set of names, so that an item of the comparison is one function of either."""
import numpy as np

import tinygrad_lite as tg


class Ours:
    name, dtype, device = "tinygrad_lite", "float64", "cpu"
    nn, optim, losses, functional = tg.nn, tg.optim, tg.losses, tg.nn.functional
    seed, no_grad = staticmethod(tg.seed), tg.no_grad

    def there(self, a):
        """An array on today's device."""
        return tg.backend.to_device(a, self.device)

    def param(self, a):
        """A Parameter in the array's own memory layout."""
        return tg.nn.Parameter(self.there(np.array(a, self.dtype) if a.dtype != self.dtype else a))

    def leaf(self, a):
        return tg.Tensor(self.there(np.array(a, self.dtype)), requires_grad=True)

    def given(self, a):
        """Data: floats in today's dtype, integers as they are, anything that is no array too."""
        if not isinstance(a, np.ndarray):
            return a
        return tg.Tensor(self.there(a.astype(self.dtype))) if a.dtype.kind == "f" else self.there(a)

    def rows(self, ids, values, shape):
        """A gradient of some rows of a table."""
        return tg.RowSparse(self.there(ids), self.there(values.astype(self.dtype)), shape)

    def give(self, p, g):
        p.grad = self.there(np.asarray(g, self.dtype)) if isinstance(g, np.ndarray) else g

    def array(self, t):
        if isinstance(t, list):
            return np.array([self.array(x) for x in t])
        t = t.data if isinstance(t, tg.Tensor) else t
        return np.array(tg.backend.to_host(t.to_dense() if isinstance(t, tg.RowSparse) else t))

    def module(self, name, *args, **options):
        module = getattr(tg.nn, name)(*args, **options)
        return (module.double() if self.dtype == "float64" else module).to(self.device)

    def state(self, module):
        return module.state_dict()

    def load(self, module, arrays):
        module.load_state_dict(arrays)

    def clip(self, name):
        return getattr(tg.clip, name)

    def schedule(self, name, lr, children=(), **options):
        first = [] if name in ("OneCycleLR", "CyclicLR") else [lr]
        if children:
            first = [[self.schedule(child, lr, **inner) for child, inner in children]]
        return getattr(tg.schedules, name)(*first, **options)

    def rates(self, name, lr, steps, momentum, **options):
        """The rate at each step, and the momentum that goes with it."""
        s = self.schedule(name, lr, **options)
        return [(s(t), s.momentum(t) if momentum else 0) for t in range(steps)]

    def plateau(self, lr, metrics, **options):
        s = tg.schedules.ReduceLROnPlateau(lr, **options)
        return [s.observe(m) for m in metrics]

    def optimizer(self, name, params, lr, schedule=None, **options):
        """(optimizer, what to call after each step): here a rate that is itself a function of the step."""
        if schedule:
            lr = self.schedule(schedule[0], lr, **schedule[1])
            options.update({"momentum": lr.momentum} if schedule[0] == "OneCycleLR" else {})
        return getattr(tg.optim, name)(params, lr=lr, **options), lambda: None


class PyTorch:
    name, dtype, device = "PyTorch", "float64", "cpu"

    def __init__(self):
        import torch
        torch.set_num_threads(1)
        self.torch, self.nn, self.optim, self.losses = torch, torch.nn, torch.optim, torch.nn.functional
        self.functional, self.seed, self.no_grad = torch.nn.functional, torch.manual_seed, torch.no_grad

    @property
    def kind(self):
        """Today's dtype; it becomes PyTorch's default too, which is the dtype of an optimizer's own scalars."""
        dtype = getattr(self.torch, self.dtype)
        self.torch.set_default_dtype(dtype)
        return dtype

    def param(self, a):
        return self.nn.Parameter(self.given(a))

    leaf = param

    def given(self, a):
        if not isinstance(a, np.ndarray):
            return a
        return self.torch.tensor(np.array(a, order="C"), dtype=self.kind if a.dtype.kind == "f" else None, device=self.device)

    def rows(self, ids, values, shape):
        return self.torch.sparse_coo_tensor(ids[None], self.given(values), shape, check_invariants=True)

    def give(self, p, g):
        p.grad = self.given(g)

    def array(self, t):
        t = t.detach() if isinstance(t, self.torch.Tensor) else self.torch.tensor(t)
        return (t.to_dense() if t.is_sparse else t).cpu().numpy().copy()

    def module(self, name, *args, **options):
        return (getattr(self.nn, name, None) or LAYERS[name](self.torch))(*args, **options).to(self.device, self.kind)

    def state(self, module):
        return {k: v.cpu().numpy() for k, v in module.state_dict().items()}

    def load(self, module, arrays):
        module.load_state_dict({k: self.torch.tensor(a) for k, a in arrays.items()})

    def clip(self, name):
        """PyTorch's own, or where it has none the few lines that its users write."""
        return getattr(self.nn.utils, name, None) or FORMS[name](self.torch)

    def schedule(self, name, optimizer, children=(), **options):
        children = [self.schedule(child, optimizer, **inner) for child, inner in children]
        if name == "ChainedScheduler":
            return self.optim.lr_scheduler.ChainedScheduler(children)
        home = self.optim.swa_utils if name == "SWALR" else self.optim.lr_scheduler
        return getattr(home, name)(optimizer, *[children] if children else [], **options)

    def rates(self, name, lr, steps, momentum, **options):
        optimizer, values = self.optim.SGD([self.torch.zeros(1)], lr=lr, momentum=0.9), []
        scheduler = self.schedule(name, optimizer, **options)
        for _ in range(steps):
            group = optimizer.param_groups[0]
            values.append((group["lr"], group["momentum"] if momentum else 0))
            optimizer.step(), scheduler.step()
        return values

    def plateau(self, lr, metrics, **options):
        optimizer, values = self.optim.SGD([self.torch.zeros(1)], lr=lr), []
        scheduler = self.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        for m in metrics:
            scheduler.step(m)
            values.append(optimizer.param_groups[0]["lr"])
        return values

    def optimizer(self, name, params, lr, schedule=None, **options):
        optimizer = getattr(self.optim, name)(params, lr=lr, **options)
        scheduler = self.schedule(schedule[0], optimizer, **schedule[1]) if schedule else None
        return optimizer, scheduler.step if scheduler else lambda: None


# ---------------------------------------------------------------- clips that PyTorch leaves to its users

def per_layer(torch):
    return lambda params, *limits: [float(torch.nn.utils.clip_grad_norm_([p], *limits)) for p in params]


def adaptive(torch):
    def clip_(params, clip=0.01, eps=1e-3):
        shares = []
        for p in params:
            norm = lambda x: x.norm() if x.ndim < 2 else x.flatten(1).norm(dim=1)
            if p.grad is not None:
                size, length = norm(p.detach()).clamp(min=eps), norm(p.grad)
                keep = torch.where(length > clip * size, clip * size / length.clamp(min=1e-6), 1.0)
                p.grad *= keep.reshape(-1, *[1] * (p.ndim - 1)) if p.ndim > 1 else keep
            shares.append(float((length / size).max()) if p.grad is not None and p.numel() else 0.0)
        return shares
    return clip_


def normalize(torch):
    def normalize_(params):
        grads = [p.grad for p in params if p.grad is not None]
        total = torch.nn.utils.get_total_norm(grads)
        for g in grads:
            g /= total
        return total
    return normalize_


def centralize(torch):
    def centralize_(params):
        means = [p.grad.mean(dim=tuple(range(1, p.ndim)), keepdim=True) if p.grad is not None and p.ndim > 1 and p.numel() else None
                 for p in params]
        for p, mean in zip(params, means):
            if mean is not None:
                p.grad -= mean
        return [0.0 if mean is None else float(mean.abs().max()) for mean in means]
    return centralize_


FORMS = dict(clip_grad_norm_per_layer_=per_layer, adaptive_clip_grad_=adaptive, normalize_grad_=normalize, centralize_grad_=centralize)


# ---------------------------------------------------------------- layers that PyTorch's users write themselves

def highway(torch):
    class Highway(torch.nn.Module):
        def __init__(self, size, num_layers=1):
            super().__init__()
            self.transforms, self.gates = [torch.nn.ModuleList([torch.nn.Linear(size, size) for _ in range(num_layers)]) for _ in range(2)]

        def forward(self, x):
            for transform, gate in zip(self.transforms, self.gates):
                t = torch.sigmoid(gate(x))
                x = t * torch.relu(transform(x)) + (1 - t) * x
            return x
    return Highway


LAYERS = dict(Highway=highway)
