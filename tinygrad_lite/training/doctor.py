"""The mistakes that most trainings begin with, looked for before the first epoch.

After Karpathy, A Recipe for Training Neural Networks (2019).
"""
import math
from typing import NamedTuple

import numpy as np

from .. import autodiff
from ..backend import to_host
from ..diagnostics import NonFiniteError, activation_stats, detect_anomaly
from ..diagnostics.trial import loss_of, parts, restored
from ..optim import Adam
from ..rowsparse import RowSparse
from ..tensor import Tensor, no_grad, plain

FEW, STEPS, RATES = 8, 200, (1e-2, 1e-3, 1e-1)       # samples to learn by heart, and how hard to try


class Finding(NamedTuple):
    """One question: `ok` is True, False, or None where it does not apply."""
    question: str
    ok: bool | None
    answer: str


class Report(list):
    """Findings in the order of the questions; `ok` if none is bad. Prints as a page."""

    @property
    def ok(self):
        return all(f.ok is not False for f in self)

    def __str__(self):
        marks = {True: "ok ", False: "BAD", None: " - "}
        return "\n".join(f"{marks[f.ok]}  {f.question}: {f.answer}" for f in self)


def doctor(model, loss_fn, batch):
    """Is this model ready to be trained? A Report of six questions, for a batch (input, ..., target) and loss_fn(output, target).

    Is everything finite? Does the loss start at -log(1/n), as that of n classes that are all equally likely? Is the loss of a
    sample independent of the others' inputs? Does every parameter get a gradient? Are there units that never fire? Can the
    model learn a few samples by heart? The model and the random numbers are as they were afterwards.

    >>> import tinygrad_lite as tg
    >>> tg.seed(0)
    >>> x, y = np.random.default_rng(0).normal(size=(16, 4)).astype("f"), np.arange(16) % 3
    >>> print(doctor(tg.nn.Sequential(tg.nn.Linear(4, 8), tg.nn.Tanh(), tg.nn.Linear(8, 3)), tg.losses.cross_entropy, (x, y)))
    ok   finite: loss and gradients are
    ok   loss at the start: 1.099, expected about -log(1/3) = 1.099
    ok   samples apart: the loss of sample 8 does not depend on the other 15
    ok   gradient: reaches all 4 parameters
    ok   dead units: none
    ok   learns 8 samples by heart: loss 1.0... to 0.05... in ... steps of Adam, rate 0.01
    """
    inputs, target = parts("doctor", batch)
    batch = (*inputs, target)
    if not len(plain(target)) or any(len(plain(x)) != len(plain(target)) for x in inputs):
        raise ValueError(f"doctor: got inputs of shapes {[x.shape for x in inputs]}, a target of shape {np.shape(plain(target))}, "
                         "expected as many samples in all, and at least one")
    with restored(model), np.errstate(all="ignore"):
        model.train()
        model.zero_grad()
        loss = loss_of("doctor", model, loss_fn, batch)
        if not loss.requires_grad:
            raise ValueError("doctor: the loss depends on no parameter: are all frozen, or did .detach() or .numpy() cut it off?")
    report = Report([_finite(model, loss_fn, batch)])
    if not report.ok:
        return report                           # what a NaN touches says nothing more
    for question in (_start, _apart, _gradients, _dead, _by_heart):
        with restored(model), np.errstate(all="ignore"):
            report.append(question(model.train(), loss_fn, batch))
    return report


def _finite(model, loss_fn, batch):
    try:
        with restored(model), detect_anomaly():
            loss_of("doctor", model.train(), loss_fn, batch).backward()
    except NonFiniteError as error:
        return Finding("finite", False, str(error))
    return Finding("finite", True, "loss and gradients are")


def _start(model, loss_fn, batch):
    """Both the model's own loss, and what the loss is for scores that are all 0, must be near log n."""
    *inputs, target = batch
    with no_grad():
        output = model(*inputs)
        labels, classes = to_host(plain(target)), output.shape[1] if output.ndim > 1 else 1
        if labels.dtype.kind not in "iu" or classes < 2 or labels.shape != (output.shape[0], *output.shape[2:]):
            loss = loss_fn(output, target).item()
            return Finding("loss at the start", None, f"{loss:.4g}; the target is not one of several classes")
        loss, expected = loss_fn(output, target).item(), math.log(classes)
        even = loss_fn(Tensor(np.zeros_like(output.data)), target).item()
    if abs(even - expected) > 1e-3 * expected:      # a hinge, focal loss, smoothing with weights: not a log-likelihood
        return Finding("loss at the start", None, f"{loss:.4g}; equal scores for {classes} classes give {even:.4g}, not log {classes}: "
                       "no likelihood")
    ok = abs(loss - expected) < max(0.25 * expected, 0.25)
    why = "" if ok else ": the last layer starts too large, or the classes are known already"
    return Finding("loss at the start", ok, f"{loss:.4g}, expected about -log(1/{classes}) = {expected:.4g}{why}")


def _apart(model, loss_fn, batch):
    """In eval mode: batch norm mixes samples by design in training."""
    *inputs, target = batch
    model.eval()
    n, i = len(plain(target)), len(plain(target)) // 2
    output = model(*inputs)
    if n < 2 or output.shape[:1] != (n,):
        return Finding("samples apart", None, f"an output of shape {output.shape} for {n} samples does not tell them apart")
    floats = [x.detach() for x in inputs if isinstance(x, Tensor)]
    if floats:                                      # the gradient of one sample's loss at the inputs of the others
        for x in floats:
            x.requires_grad = True
        tracked = iter(floats)
        output = model(*[next(tracked) if isinstance(x, Tensor) else x for x in inputs])
        found = autodiff.gradients(loss_fn(output[i:i + 1], target[i:i + 1]).sum(), floats)
        leaks = sorted({int(j) for g in found for j in np.flatnonzero(to_host(g.data).reshape(n, -1).any(axis=1))} - {i})
    else:                                           # integers have none: with this sample in all places its output must stay
        now, before = model(*[plain(x)[[i] * n] for x in inputs]).data[i], output.data[i]
        leaks = [0] * (not np.allclose(now, before, rtol=1e-4, atol=1e-4 * float(np.abs(before).max())))
    if not leaks:
        return Finding("samples apart", True, f"the loss of sample {i} does not depend on the other {n - 1}")
    what = (f"the loss of sample {i} depends on the inputs of {len(leaks)} others (such as {leaks[0]})" if floats else
            f"the output for sample {i} changes with the other inputs")
    return Finding("samples apart", False, f"{what}: is a reshape, softmax or mean along the wrong axis?")


def _gradients(model, loss_fn, batch):
    model.zero_grad()
    loss_of("doctor", model, loss_fn, batch).backward()
    params = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    none = [name for name, p in params if p.grad is None]
    dense = {name: p.grad.values if isinstance(p.grad, RowSparse) else p.grad for name, p in params if p.grad is not None}
    zero = [name for name, g in dense.items() if not g.any()]
    if not none and not zero:
        return Finding("gradient", True, f"reaches all {len(params)} parameters")
    words = (none, "get none: not used in forward, or cut off"), (zero, "get only zeros")
    return Finding("gradient", False, "; ".join(f"{', '.join(names)} {what}" for names, what in words if names))


def _dead(model, loss_fn, batch):
    stats = activation_stats(model, *batch[:-1])
    dead = [f"{name} ({s.kind}) {100 * s.dead:.0f} %" for name, s in stats.items()
            if s.dead > 0 and s.kind not in ("Dropout", "Embedding")]
    return Finding("dead units", not dead, ", ".join(dead) + " give 0 for every sample" if dead else "none")


def _by_heart(model, loss_fn, batch):
    few = tuple([x[:FEW] for x in batch])
    n, start = len(plain(few[-1])), None
    model.eval()                                    # without dropout, which keeps it from knowing anything by heart
    best = math.inf
    for rate in RATES:
        with restored(model):
            opt = Adam(model.parameters(), lr=rate, check_finite=False)
            for step in range(1, STEPS + 1):
                opt.zero_grad()
                loss = loss_of("doctor", model, loss_fn, few)
                start = loss.item() if start is None else start
                if loss.item() <= 0.05 * abs(start):
                    return Finding(f"learns {n} samples by heart", True,
                                   f"loss {start:.4g} to {loss.item():.2g} in {step} steps of Adam, rate {rate:g}")
                best = min(best, loss.item())
                loss.backward()
                opt.step()
    return Finding(f"learns {n} samples by heart", False, f"loss {start:.4g}, after {STEPS} steps of Adam still {best:.4g}: too small, "
                   "cut off somewhere, or input and target do not belong together")
