"""The training loop: epochs of steps, measured, checked, resumable. `learn` is the step that everything else surrounds."""
import math
import time

import numpy as np

from ..clip import clip_grad_norm_
from ..diagnostics import detect_anomaly
from ..diagnostics.trial import outcome_of
from ..progress import progress
from ..random import get_state, set_state
from .batches import Mean, check_loader, evaluate, measure, size
from .callbacks import Checkpoint
from .history import History
from .state import restored


EVENTS = ("on_start", "on_step", "on_epoch", "on_finish")


def fit(model, loss_fn, train, optimizer, epochs, valid=None, metrics={}, clip=None, accumulate=1, callbacks=(), scaler=None,
        show=True):
    """Train for `epochs` epochs; returns the `History` of everything measured, by step and by epoch.

    train, valid: a DataLoader or list of batches (input, ..., target). loss_fn(output, target): one number, a mean over the
    batch. metrics: {name: function(output, target) -> number}, measured on `valid`, or without it on `train` as it goes.
    clip: the longest gradient allowed, or a function of the parameters (any of tg.clip). accumulate: batches a step, weighted
    so that their sum is the gradient of the large batch. scaler: a tg.amp.GradScaler. show: a progress bar.

    Rates and momenta are the optimizer's: any of its options may be a schedule (1cycle), and each group's its own
    (discriminative rates); one that observes (ReduceLROnPlateau) is shown valid_loss, or else loss, after each epoch.
    What does not fit together raises before anything has changed. A step that is not finite is not taken: it is run again from
    the same random numbers under `detect_anomaly`, and FloatingPointError names the culprit.

    >>> import numpy as np, tinygrad_lite as tg
    >>> tg.seed(0)
    >>> x = np.random.default_rng(0).normal(size=(64, 3)).astype("f")
    >>> train, model = tg.data.DataLoader(x, x @ np.ones((3, 1), "f"), batch_size=16, shuffle=True, seed=0), tg.nn.Linear(3, 1)
    >>> history = fit(model, tg.losses.mse_loss, train, tg.optim.SGD(model.parameters(), lr=0.1), epochs=20, show=False)
    >>> len(history.steps["loss"]), history.epochs["loss"][0] > 1, history.epochs["loss"][-1] < 1e-3
    (80, True, True)
    """
    run = Run(model, loss_fn, train, optimizer, epochs, valid, metrics, clip, accumulate, callbacks, scaler)
    run.rehearse()
    modes = [(m, m.training) for m in model.modules()]
    model.train()
    try:
        run.tell("on_start")                    # a Checkpoint that resumes puts everything back here
        steps = range(run.epoch * run.windows + run.batch // accumulate, epochs * run.windows)
        ticks = progress(steps, "training", note=run.note) if show and steps else iter(steps)
        while run.epoch < epochs and not run.stop:
            run.one_epoch(ticks)
        next(ticks, None)                       # the last step is done
        run.tell("on_finish")
    finally:
        for m, mode in modes:
            m.training = mode
    return run.history


class Run:
    """A training on its way, as callbacks see it: where it is (`epoch`, `batch` within it, `step` in all), its parts, `history`.

    Counts are of what is finished. `stop = "a reason"` ends it after the present step.
    """

    def __init__(self, model, loss_fn, train, optimizer, epochs, valid, metrics, clip, accumulate, callbacks, scaler):
        check_loader("fit", "train", train)
        if valid is not None:
            check_loader("fit", "valid", valid)
        if accumulate < 1 or len(train) % accumulate:
            divisors = [n for n in range(1, len(train) + 1) if len(train) % n == 0]
            raise ValueError(f"fit: accumulate={accumulate} does not divide the {len(train)} batches of an epoch: a last step "
                             f"would see fewer; expected one of {divisors}, or another batch_size")
        if epochs < 0 or int(epochs) != epochs:
            raise ValueError(f"fit: epochs: got {epochs}, expected a whole number of at least 0")
        for c in callbacks:
            if not callable(c) and not any(hasattr(c, event) for event in EVENTS):
                raise TypeError(f"fit: callbacks: got {c!r}, expected a function or an object with one of {', '.join(EVENTS)}")
        self.model, self.loss_fn, self.train, self.optimizer, self.epochs = model, loss_fn, train, optimizer, epochs
        self.valid, self.metrics, self.clip, self.accumulate, self.scaler = valid, dict(metrics), clip, accumulate, scaler
        self.callbacks = sorted(callbacks, key=lambda c: isinstance(c, Checkpoint))     # these save what the others have done
        self.params = [p for group in optimizer.param_groups for p in group["params"]]
        self.members = getattr(optimizer, "optimizers", [optimizer])
        self.buffers = [b for _, b in model.named_buffers()]
        self.windows = len(train) // accumulate
        self.history, self.mean, self.stop = History(), Mean(), None
        self.epoch = self.batch = self.step = 0
        self.loaders = [loader for loader in (train, valid) if hasattr(loader, "epoch")]       # those whose order hangs on it
        self.keepers = [c for c in (scaler, *self.callbacks) if hasattr(c, "state_dict")]
        self.at_start = None

    def rehearse(self):
        """One batch of each loader, forward only, and everything put back: what does not fit together raises here."""
        with restored(self.model, loaders=self.loaders):
            self.model.train()
            loss, output, target = outcome_of("fit", self.model, self.loss_fn, next(iter(self.train)))
            if not loss.requires_grad:
                raise ValueError("fit: the loss depends on no parameter: are all frozen, or did .detach() or .numpy() cut it off?")
            if self.valid is not None:
                evaluate(self.model, self.loss_fn, [next(iter(self.valid))], self.metrics)
            else:
                measure("fit", self.metrics, output.detach(), target)

    def one_epoch(self, ticks):
        started, batches = time.perf_counter(), self.remaining()
        while self.batch < len(self.train) and not self.stop:
            next(ticks)
            self.learn([next(batches) for _ in range(self.accumulate)])
            self.tell("on_step")
        if self.batch < len(self.train):
            return                              # stopped within the epoch
        found = self.mean.result()
        if self.valid is not None:
            checked = evaluate(self.model, self.loss_fn, self.valid, self.metrics)
            found["valid_loss"] = checked.pop("loss")
            found.update(checked)
        for s in {id(s): s for group in self.optimizer.param_groups for s in group.values() if hasattr(s, "observe")}.values():
            s.observe(found.get("valid_loss", found["loss"]))
        self.history.add("epochs", **found, lr=self.optimizer.lr, seconds=time.perf_counter() - started)
        self.epoch, self.batch, self.mean = self.epoch + 1, 0, Mean()
        self.tell("on_epoch")

    def remaining(self):
        """The batches of this epoch that are still to come: all of them, but where a run is resumed in the middle."""
        now = get_state()
        if self.batch == 0:
            self.at_start = {"epochs": [loader.epoch for loader in self.loaders], "random": now}
        for loader, epoch in zip(self.loaders, self.at_start["epochs"]):
            loader.epoch = epoch
        set_state(self.at_start["random"])      # for loaders that draw from it
        batches = iter(self.train)
        for _ in range(self.batch):
            next(batches)
        if self.batch:
            set_state(now)
        return batches

    def learn(self, window):
        """One step of the optimizer: the gradients of a few batches, weighted by their sizes, clipped, checked, followed."""
        chance, buffers = get_state(), [(b, b.copy()) for b in self.buffers]
        sizes = [size(batch[-1]) for batch in window]
        loss = self.gradients(window, sizes)
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = float(clip_grad_norm_(self.params, self.clip if isinstance(self.clip, (int, float)) else math.inf))
        if callable(self.clip):
            self.clip(self.params)
        now = [o.today(group) for o in self.members for group in o.param_groups]
        rates = [o.lr for o in now]
        if not all(map(math.isfinite, rates)) or self.scaler is None and not (math.isfinite(loss) and math.isfinite(norm)):
            set_state(chance)
            for b, before in buffers:
                b[...] = before
            raise FloatingPointError(f"fit: {self.where()}: {self.trouble(window, sizes, loss, norm, rates)}")
        seen = dict(loss=loss, lr=rates[0], momentum=momentum_of(now[0]), grad_norm=norm)
        if self.scaler is None:
            stepped = self.optimizer.step()
            if not stepped:
                raise RuntimeError(f"fit: {self.where()}: no parameter of the optimizer got a gradient: are they this model's?")
        else:
            stepped, seen["scale"] = self.scaler.step(self.optimizer), self.scaler.get_scale()
            self.scaler.update()
        self.history.add("steps", **seen, stepped=float(bool(stepped)))
        self.batch, self.step = self.batch + len(window), self.step + 1

    def gradients(self, window, sizes):
        """Leaves the gradient of the window's mean loss in the parameters; returns that loss."""
        self.optimizer.zero_grad()
        total = 0.0
        for batch, n in zip(window, sizes):
            loss, output, target = outcome_of("fit", self.model, self.loss_fn, batch)
            share = n / sum(sizes)
            part, value = loss if share == 1 else loss * share, loss.item()
            if self.scaler is None:
                part.backward()
            else:
                with np.errstate(over="ignore", invalid="ignore"):      # the scaler looks for these and answers
                    self.scaler.scale(part).backward()
            total += value * share
            found = measure("fit", self.metrics, output.detach(), target) if self.valid is None else {}
            self.mean.add(n, loss=value, **found)
        return total

    def trouble(self, window, sizes, loss, norm, rates):
        """Why the step is not taken: a rate, or what the hunter says when the same window is run again."""
        if not all(map(math.isfinite, rates)):
            return f"the learning rate is {rates}, by {[group['lr'] for group in self.optimizer.param_groups]}. This step was not taken"
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the loss is {loss:.6g} but the gradient's norm is {norm}"
        try:
            with restored(self.model), detect_anomaly():
                self.gradients(window, sizes)
            culprit = "Each op of it is finite when run again: sums over large gradients overflowed"
        except FloatingPointError as anomaly:
            culprit = str(anomaly)
        return f"{what}. This step was not taken. {culprit}"

    def where(self):
        return f"step {self.step} (epoch {self.epoch}, batch {self.batch})"

    def note(self):
        last = [f"{name} {values[-1]:.4g}" for name, values in self.history.epochs.items() if name not in ("seconds", "lr", "loss")]
        return ", ".join([f"epoch {self.epoch}/{self.epochs}", f"loss {self.history.steps['loss'][-1]:.4g}", *last])

    def tell(self, event):
        for callback in reversed(self.callbacks) if event == "on_start" else self.callbacks:    # saved last, loaded first
            if hasattr(callback, event):
                getattr(callback, event)(self)
            elif event == "on_epoch" and callable(callback):
                callback(self)

    def state_dict(self):
        """All of a run that its model, its optimizer and the random numbers do not hold."""
        return {"epoch": self.epoch, "batch": self.batch, "step": self.step, "stop": self.stop, "batches": len(self.train),
                "sums": self.mean.sums, "at_start": self.at_start, "history": self.history.state_dict(),
                "loaders": [{"epoch": loader.epoch, "seed": getattr(loader, "seed", None)} for loader in self.loaders],
                "keepers": [type(c).__name__ for c in self.keepers], "kept": [c.state_dict() for c in self.keepers]}

    def load_state_dict(self, saved):
        theirs, mine = (f"{state['batches']} batches an epoch, {len(state['loaders'])} loaders, "
                        f"{', '.join(state['keepers']) or 'no callbacks'}" for state in (saved, self.state_dict()))
        if mine != theirs:
            raise ValueError(f"fit: the checkpoint is of a run with {theirs}; this one has {mine}")
        self.epoch, self.batch, self.step, self.stop = saved["epoch"], saved["batch"], saved["step"], saved["stop"]
        self.mean, self.at_start = Mean(saved["sums"]), saved["at_start"]
        self.history.load_state_dict(saved["history"])
        for target, state in zip(self.keepers, saved["kept"]):
            target.load_state_dict(state)
        for loader, state in zip(self.loaders, saved["loaders"]):
            vars(loader).update(state)


def momentum_of(o):
    """Today's momentum among an optimizer's options, or Adam's first beta; nan where there is none."""
    return float(o.momentum if hasattr(o, "momentum") else o.betas[0] if hasattr(o, "betas") else math.nan)
