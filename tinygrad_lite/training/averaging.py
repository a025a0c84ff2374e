"""Averages of weights along a training: one point in the middle of where it walks. Flatter and often better than the last one."""
import copy

import numpy as np

from ..backend import beside
from ..nn import Module
from ..tensor import no_grad


class AveragedModel(Module):
    """A copy of a model (`.module`) that holds the average of its weights over all `update_parameters(model)`.

    kind "swa": the mean, a += (p - a) / (n + 1). "ema": a += (1 - decay) (p - a). The first update copies in both. Buffers are
    copied, not averaged, unless `use_buffers`: after training, `update_batch_norm` measures running statistics anew. In `fit` it
    is a callback: ema moves after each step, swa after each epoch from `start` on.
    PyTorch: torch.optim.swa_utils.AveragedModel. Polyak & Juditsky 1992; Izmailov et al. 2018.

    >>> from tinygrad_lite import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = AveragedModel(model, kind="swa")
    >>> for value in (1.0, 2.0, 6.0):
    ...     model.weight.data[:] = value; average.update_parameters(model)
    >>> average.module.weight.data, int(average.n_averaged)
    (array([[3.]], dtype=float32), 3)
    """

    def __init__(self, model, kind="swa", decay=0.999, use_buffers=False, start=0):
        if kind not in ("swa", "ema"):
            raise ValueError(f"AveragedModel: kind: got {kind!r}, expected 'swa' or 'ema'")
        if not 0 <= decay <= 1:
            raise ValueError(f"AveragedModel: decay: got {decay}, expected a number in [0, 1]")
        self.module, self.kind, self.decay, self.use_buffers, self.start = copy.deepcopy(model), kind, decay, use_buffers, start
        self.register_buffer("n_averaged", np.zeros((), np.int64))
        self.module.zero_grad()

    def forward(self, *inputs):
        return self.module(*inputs)

    def update_parameters(self, model):
        """Take the weights that the model has now into the average: the same layers in the same order, perhaps in a wrapper."""
        averaged = [(a.data, p.data) for a, p in zip(self.module.parameters(), model.parameters(), strict=True)]
        buffers = [(a, b) for (_, a), (_, b) in zip(self.module.named_buffers(), model.named_buffers(), strict=True)]
        n = int(self.n_averaged)
        share = 1.0 if n == 0 else 1 / (n + 1) if self.kind == "swa" else 1 - self.decay
        for a, p in averaged + (buffers if self.use_buffers else []):
            p = beside(p, a)                # an average may be kept on the host, where there is more memory
            if n == 0 or a.dtype.kind != "f":
                a[...] = p
            else:
                a += a.dtype.type(share) * (p - a)
        for a, p in () if self.use_buffers else buffers:
            a[...] = beside(p, a)
        self.n_averaged += 1

    def on_step(self, run):
        if self.kind == "ema":
            self.update_parameters(run.model)

    def on_epoch(self, run):
        if self.kind == "swa" and run.epoch > self.start:
            self.update_parameters(run.model)


def update_batch_norm(model, batches):
    """Measure the running statistics of a model's batch norms anew, as plain averages over the batches.

    For averaged weights: statistics that were measured along the way belong to other weights. Modes and momenta are put back.
    """
    norms = [m for m in model.modules() if getattr(m, "running_mean", None) is not None]
    before = [(m, m.training) for m in model.modules()], [m.momentum for m in norms]
    for m in norms:
        m.running_mean[...], m.running_var[...], m.num_batches_tracked[...], m.momentum = 0, 1, 0, None
    try:
        with no_grad():
            model.train()
            for batch in batches:
                model(*(batch[:-1] if isinstance(batch, (tuple, list)) else [batch]))
    finally:
        for m, mode in before[0]:
            m.training = mode
        for m, momentum in zip(norms, before[1]):
            m.momentum = momentum
