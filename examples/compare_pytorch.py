"""Does tinygrad_lite compute what PyTorch computes? Both on the same numbers, item by item, and then they train together.

    python examples/compare_pytorch.py [--item NAME,..] [--seed 0] [--json FILE] [--plot FILE] [--recorded | --record]

An item is an optimizer, a schedule, a clip, a loss, a layer or a training; a case is one drawing of options and inputs:
0-d, empty and strided arrays, gradients of None, float64 and float32. A difference is |ours - theirs| / max(1, |theirs|).

Where PyTorch is not installed, its values come from examples/recorded.json.gz, which `--record` wrote where it was: signed
sums of each result, in which a difference anywhere shows. What PyTorch does not have is compared with the float64
definitions in tests/data (`peer` says which). The last line is "N items, 0 differ"; the exit code is 1 if any differs.
"""
import argparse
import gzip
import importlib.util
import json
import os
import runpy
import sys
import time
import warnings
import zlib
from functools import partial
from pathlib import Path

for threads in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ[threads] = "1"               # read when the libraries are loaded

import numpy as np

import tinygrad_lite as tg

HERE = Path(__file__).resolve().parent
RECORDED, RECORDED_SEED = HERE / "recorded.json.gz", 0
# Both round each operation alike but add up in other orders; float64 keeps 16 digits, of which cancellation eats a few.
LIMIT = {"float64": 1e-10, "float32": 1e-4}
SLACK = {"optim.Muon": 0.25 * 0.02,         # PyTorch's iteration runs in bfloat16: a quarter of the rate; MuonF64 is exact
         "nn.CELU": 1e-7, "nn.Hardsigmoid": 1e-7,                   # PyTorch keeps 1 / alpha and 1 / 6 as float32 here
         "losses.ctc_loss": 1e-8, "nn.CTCLoss": 1e-8,               # long sums of exponentials
         # A training feeds its differences back: each step multiplies them. They begin at 1e-16 and stay below 1e-12 here.
         "training.mlp_sgd_one_cycle": 1e-9, "training.mlp_adam_clip_cosine": 1e-9, "training.logistic_lbfgs": 1e-9}


# ---------------------------------------------------------------- the two libraries, under one set of names

class Ours:
    name, nn, optim, losses, F = "tinygrad_lite", tg.nn, tg.optim, tg.losses, tg.nn.functional
    dtype = "float64"

    def leaf(self, a):
        return tg.nn.Parameter(a if a.dtype == self.dtype else a.astype(self.dtype, order="K"))

    def given(self, a):
        return tg.Tensor(a.astype(self.dtype)) if getattr(a, "dtype", np.dtype(int)).kind == "f" else a

    def rows(self, ids, values, shape):
        return tg.RowSparse(ids, values.astype(self.dtype), shape)

    def give(self, p, g):
        p.grad = np.asarray(g).astype(self.dtype) if isinstance(g, np.ndarray) else g

    def array(self, t):
        t = t.data if isinstance(t, tg.Tensor) else t
        return np.array(t.to_dense() if isinstance(t, tg.RowSparse) else t)

    def module(self, name, *args, **kwargs):
        module = getattr(tg.nn, name)(*args, **kwargs)
        return module.double() if self.dtype == "float64" else module

    def state(self, module):
        return module.state_dict()

    def clip(self, name):
        return getattr(tg.clip, name)

    def schedule(self, name, lr, momentum=False, schedulers=None, **kwargs):
        """[(rate, momentum or 0) at each step]"""
        s = self.pure(name, lr, schedulers, kwargs)
        return lambda t: (s(t), s.momentum(t) if momentum else 0)

    def pure(self, name, lr, schedulers=None, kwargs={}):
        children = [[self.pure(child, lr, None, options) for child, options in schedulers]] if schedulers else []
        first = children or ([] if name in ("OneCycleLR", "CyclicLR") else [lr])
        return getattr(tg.schedules, name)(*first, **kwargs)

    def plateau(self, lr, metrics, **kwargs):
        s = tg.schedules.ReduceLROnPlateau(lr, **kwargs)
        return [s.observe(m) for m in metrics]

    def scheduled(self, optimizer, params, schedule, options, **kwargs):
        """(optimizer, what to call after a step): here a rate that is a function of the step."""
        s = self.pure(schedule, options.pop("lr"), None, kwargs)
        momentum = {"momentum": s.momentum} if schedule == "OneCycleLR" else {}
        return getattr(tg.optim, optimizer)(params, lr=s, **{**options, **momentum}), lambda: None


class PyTorch:
    name, dtype = "PyTorch", "float64"

    def __init__(self):
        import torch
        torch.set_num_threads(1)
        self.t, self.nn, self.optim, self.losses, self.F = torch, torch.nn, torch.optim, torch.nn.functional, torch.nn.functional

    def leaf(self, a):
        return self.nn.Parameter(self.given(a))

    def given(self, a):
        if not isinstance(a, np.ndarray):
            return a
        self.t.set_default_dtype(getattr(self.t, self.dtype))      # the dtype of an optimizer's scalars and of new modules
        return self.t.tensor(np.array(a, order="C"), dtype=getattr(self.t, self.dtype) if a.dtype.kind == "f" else None)

    def rows(self, ids, values, shape):
        return self.t.sparse_coo_tensor(ids[None], self.given(values), shape, check_invariants=True)

    def give(self, p, g):
        p.grad = self.given(g)

    def array(self, t):
        t = t.detach() if isinstance(t, self.t.Tensor) else self.t.tensor(t)
        return (t.to_dense() if t.is_sparse else t).numpy()

    def module(self, name, *args, **kwargs):
        return getattr(self.nn, name)(*args, **kwargs).to(getattr(self.t, self.dtype))

    def state(self, module):
        return {k: v.numpy() for k, v in module.state_dict().items()}

    def clip(self, name):
        """PyTorch's function, or where it has none the few lines that people write themselves."""
        norm, norms = self.nn.utils.clip_grad_norm_, lambda x: x.flatten(1 if x.ndim > 1 else 0).norm(dim=-1)

        def adaptive(params, clip=0.01, eps=1e-3):
            shares = []
            for p in params:
                if p.grad is None:
                    shares.append(0.0)
                    continue
                size, length = norms(p.detach()).clamp(min=eps), norms(p.grad)
                shares.append(float((length / size).max()) if length.numel() else 0.0)
                keep = self.t.where(length > clip * size, clip * size / length.clamp(min=1e-6), self.t.ones_like(size))
                p.grad *= keep.reshape(-1, *[1] * (p.ndim - 1)) if p.ndim > 1 else keep
            return shares

        def normalize(params):
            grads = [p.grad for p in params if p.grad is not None]
            total = self.nn.utils.get_total_norm(grads)
            for g in grads:
                g /= total
            return total

        def centralize(params):
            taken = []
            for p in params:
                many = p.grad is not None and p.ndim > 1 and p.numel()
                mean = p.grad.mean(dim=tuple(range(1, p.ndim)), keepdim=True) if many else self.t.zeros(1)
                if many:
                    p.grad -= mean
                taken.append(float(mean.abs().max()))
            return taken
        own = dict(clip_grad_norm_per_layer_=lambda params, *limits: [float(norm([p], *limits)) for p in params],
                   adaptive_clip_grad_=adaptive, normalize_grad_=normalize, centralize_grad_=centralize)
        return own.get(name) or getattr(self.nn.utils, name)

    def schedule(self, name, lr, momentum=False, schedulers=None, **kwargs):
        opt = self.optim.SGD([self.t.zeros(1)], lr=lr, momentum=0.9)
        scheduler = self.scheduler(opt, name, schedulers, kwargs)
        values = []

        def value(t):
            while len(values) <= t:
                if values:
                    opt.step(), scheduler.step()
                values.append((opt.param_groups[0]["lr"], opt.param_groups[0]["momentum"] if momentum else 0))
            return values[t]
        return value

    def scheduler(self, opt, name, schedulers, kwargs):
        children = [self.scheduler(opt, child, None, options) for child, options in schedulers or []]
        if name == "ChainedScheduler":
            return self.optim.lr_scheduler.ChainedScheduler(children, **kwargs)
        home = self.optim.swa_utils if name == "SWALR" else self.optim.lr_scheduler
        return getattr(home, name)(opt, *([children] if children else []), **kwargs)

    def plateau(self, lr, metrics, **kwargs):
        opt, rates = self.optim.SGD([self.t.zeros(1)], lr=lr), []
        scheduler = self.optim.lr_scheduler.ReduceLROnPlateau(opt, **kwargs)
        for m in metrics:
            scheduler.step(m)
            rates.append(opt.param_groups[0]["lr"])
        return rates

    def scheduled(self, optimizer, params, schedule, options, **kwargs):
        opt = getattr(self.optim, optimizer)(params, **options)
        return opt, getattr(self.optim.lr_scheduler, schedule)(opt, **kwargs).step
