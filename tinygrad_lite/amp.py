"""Mixed precision: float16 for what is stored on the way, float32 for sums and for the weights that are learned.

A float16 number has 11 bits and lies between 6e-8 and 65504. Three things break, and each has its cure (Micikevicius et al.
2017, "Mixed Precision Training"):

    a step smaller than 1/2048 of a weight is lost      -> master weights stay float32; `Half` casts them on the way in
    small gradients become 0                            -> `GradScaler` multiplies the loss, and divides the gradients
    large ones become inf                               -> and skips that step, and halves the scale
"""
import math

import numpy as np

from .backend import on_gpu, to_device
from .clip import entries, pieces, there
from .fitting import HALF
from .late import Late, Look
from .nn import Module, Parameter
from .tensor import Tensor


class Half(Module):
    """A model used in float16: weights and float inputs are cast on the way in, outputs back to float32.

    The casts are ops like any other: what the optimizer moves stays the model's own float32 weights, and their
    gradients arrive as float32. The model is the attribute `model`. Running statistics are kept in float32, too.

    >>> import tinygrad_lite as tg
    >>> model = tg.nn.Linear(1, 1, bias=False); model.weight.data[:] = 1 / 3
    >>> half = Half(model)
    >>> y = half(tg.Tensor([[3.0]])); y.sum().backward()
    >>> y.dtype, y.item(), model.weight.grad.dtype, model.weight.data.dtype
    (dtype('float32'), 1.0, dtype('float32'), dtype('float32'))
    """

    def __init__(self, model):
        self.model = model

    def forward(self, *inputs):
        casts, modules = {}, list(self.model.modules())
        places = [place for m in modules for place in [*places_of(vars(m)), *statistics_of(m)]]
        try:
            for container, key, p in places:
                casts[id(p)] = container[key] = casts[id(p)] if id(p) in casts else p.astype(HALF)
            outputs = self.model(*[down(x) for x in inputs])
        finally:
            for container, key, p in places:
                container[key] = p
        return up(outputs)


def places_of(container):
    """(list or dict, key, Parameter) of every Parameter in nested lists and dicts, so that another Tensor can stand there."""
    for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
        if isinstance(value, Parameter):
            yield container, key, value
        elif isinstance(value, (list, dict)):
            yield from places_of(value)


def statistics_of(module):
    """Likewise of the float buffers of a module in eval mode; in training they are written to, and stay float32."""
    for name in () if module.training else vars(module).get("_buffers", ()):
        buffer = getattr(module, name)
        if buffer is not None and buffer.dtype.kind == "f":
            yield vars(module), name, buffer


def down(x):
    """Floats as float16; ids, masks and anything else as they are."""
    kind = getattr(getattr(x, "dtype", None), "kind", None)
    return x.astype(HALF) if kind == "f" else x


def up(outputs):
    if isinstance(outputs, (tuple, list)):
        return type(outputs)(map(up, outputs))
    return outputs.astype(np.float32) if isinstance(outputs, Tensor) and outputs.dtype == HALF else outputs


class GradScaler:
    """Multiplies the loss so that float16 gradients neither vanish nor overflow, and finds the factor by itself.

    scale(loss).backward(), then step(optimizer), then update(). A step with a gradient that is not finite is not taken (the
    optimizer's clock rests too) and the scale is multiplied by `backoff_factor`; after `growth_interval` good steps in a row it
    is multiplied by `growth_factor`. It stays within [min_scale, max_scale], and after `patience` bad steps in a row at its
    lower end update() raises: then the cause is no overflow. On the GPU all this happens there, without a question from the host;
    only that error comes an update() later. PyTorch: torch.amp.GradScaler.

    >>> import tinygrad_lite as tg
    >>> w = tg.nn.Parameter([1.0])
    >>> optimizer, scaler = tg.optim.SGD([w], lr=0.5), GradScaler(init_scale=4.0)
    >>> for factor in (1.0, float("inf")):
    ...     optimizer.zero_grad()
    ...     scaler.scale((w * factor).sum()).backward()
    ...     print(w.grad, scaler.step(optimizer), w.data, optimizer.t)
    ...     scaler.update()
    [4.] True [0.5] 1
    [inf] False [0.5] 1
    >>> scaler.get_scale()
    2.0
    """

    def __init__(self, init_scale=65536.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000, enabled=True,
                 min_scale=1.0, max_scale=2.0 ** 24, patience=10):
        if not (growth_factor > 1 and 0 < backoff_factor < 1 and growth_interval >= 1):
            raise ValueError(f"GradScaler: got growth_factor={growth_factor}, backoff_factor={backoff_factor}, "
                             f"growth_interval={growth_interval}, expected > 1, in (0, 1), >= 1")
        if not 0 < min_scale <= init_scale <= max_scale < math.inf:
            raise ValueError(f"GradScaler: got init_scale={init_scale}, expected a number between min_scale={min_scale} and "
                             f"max_scale={max_scale}")
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.enabled, self.min_scale, self.max_scale, self.patience = enabled, min_scale, max_scale, patience
        self.factor, self.growth_tracker, self.skipped = float(init_scale), 0, 0
        self.found = {}                 # of this step: id(optimizer) -> its first gradient that is not finite, or None; GPU: a Look
        self.names, self.late = {}, None            # GPU: id(parameter) -> what to call it; the last update's (Late, looks)

    def get_scale(self):
        return float(self.factor) if self.enabled else 1.0

    def beside(self, x):
        """Keep the scale and the counts where x lives."""
        if on_gpu(x) != on_gpu(self.factor):
            move = (lambda v: to_device(np.float64(v))) if on_gpu(x) else float
            self.factor, self.growth_tracker, self.skipped = map(move, (self.factor, self.growth_tracker, self.skipped))

    def scale(self, loss):
        """loss * scale, in float32 at least: a float16 loss would overflow."""
        if not self.enabled:
            return loss
        loss = loss.astype(np.float32) if loss.dtype == HALF else loss
        self.beside(loss.data)
        return loss * (self.factor if type(self.factor) is float else self.factor.astype(loss.dtype))

    def unscale_(self, optimizer):
        """Divide the gradients by the scale, once a step and before they are clipped."""
        if not self.enabled:
            return
        if id(optimizer) in self.found:
            raise RuntimeError("unscale_: this optimizer's gradients are unscaled already: once a step, and update() at its end")
        named = [(getattr(p, "name", None) or f"{i} of group {j}", p)
                 for j, group in enumerate(optimizer.param_groups) for i, p in enumerate(group["params"]) if p.grad is not None]
        for name, p in named:
            if p.dtype == HALF:
                raise ValueError(f"unscale_: parameter {name} is float16, and so is its gradient, which would vanish when divided: "
                                 "keep the model float32 and use it through tg.amp.Half(model)")
        if named and on_gpu(entries(named[0][1]._grad)):
            self.found[id(optimizer)] = self.unscale_there(named)
            return
        bad = None
        for name, p in named:
            p._grad = p._grad * p.dtype.type(1 / self.factor)
            values = getattr(p._grad, "values", p._grad)
            if bad is None and not np.isfinite(values).all():
                bad = name
        self.found[id(optimizer)] = bad

    def unscale_there(self, named):
        """The same on the GPU; whether the gradients are finite stays there, in a Look."""
        self.beside(entries(named[0][1]._grad))
        for _, p in named:
            p._grad = p._grad * (1 / self.factor).astype(p.dtype)
        found = pieces([p for _, p in named])
        there(found)                    # or says that they are in two places
        look = Look(found)
        for name, p in named:
            p._looked, self.names[id(p)] = (p._grad, look), name
        return look

    def step(self, optimizer):
        """optimizer.step() where every gradient is finite, else nothing; returns whether it stepped."""
        if not self.enabled:
            return optimizer.step()
        if id(optimizer) not in self.found:
            self.unscale_(optimizer)
        found = self.found[id(optimizer)]
        if isinstance(found, Look):
            return optimizer.advance(quiet=[found])
        return optimizer.step() if found is None else False

    def update(self):
        """Adapt the scale, once a step, after every optimizer's step()."""
        if not self.enabled:
            return
        if not self.found:
            raise RuntimeError("update: no step() or unscale_() since the last update")
        bad = [found for found in self.found.values() if found is not None]
        self.found = {}
        if bad and isinstance(bad[0], Look):
            return self.update_there(bad)
        self.adapt(bool(bad), lambda condition, a, b: a if condition else b, min, max)
        if self.skipped >= self.patience:
            self.give_up(self.skipped, bad[0])

    def update_there(self, looks):
        """The same on the GPU; how many steps were skipped is read one update later."""
        self.settle()
        sizes = np.concatenate([look.sizes for look in looks])
        self.adapt(np.logical_not(np.isfinite(sizes).all()), np.where, np.minimum, np.maximum)
        self.late = Late(np.concatenate([self.skipped.reshape(1), sizes])), looks

    def settle(self):
        """On the GPU: hear how the last update ended."""
        if self.late is not None:
            (late, looks), self.late = self.late, None
            skipped, *sizes = late.read()
            if skipped >= self.patience:
                parts = np.split(sizes, np.cumsum([look.sizes.size for look in looks])[:-1])
                bad = next(look.culprit(part) for look, part in zip(looks, parts) if not np.isfinite(part).all())
                self.give_up(int(skipped), self.names[id(bad)])

    def adapt(self, bad, where, minimum, maximum):
        """The next scale and counts, in words that mean numbers on the host and arrays on the GPU."""
        grown = self.growth_tracker + 1
        full = grown == self.growth_interval
        larger = where(full, minimum(self.factor * self.growth_factor, self.max_scale), self.factor)
        smaller = maximum(self.factor * self.backoff_factor, self.min_scale)
        self.skipped = where(bad, where(self.factor == self.min_scale, self.skipped + 1, 0), 0)
        self.growth_tracker = where(bad, 0, where(full, 0, grown))
        self.factor = where(bad, smaller, larger)

    def give_up(self, skipped, name):
        raise FloatingPointError(f"GradScaler: {skipped} steps in a row skipped at the smallest scale {self.min_scale:g}: "
                                 f"the gradient of parameter {name} is not finite for another reason; "
                                 "tg.diagnostics.detect_anomaly() finds it")

    def state_dict(self):
        return {"scale": float(self.factor), "growth_tracker": int(self.growth_tracker), "skipped": int(self.skipped)}

    def load_state_dict(self, saved):
        self.late = None
        self.factor, self.growth_tracker, self.skipped = saved["scale"], saved["growth_tracker"], saved["skipped"]
