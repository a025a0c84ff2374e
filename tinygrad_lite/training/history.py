"""What happened in a training, by step and by epoch, as lists of numbers; and their pictures."""
import numpy as np

from ..diagnostics.trial import axes


class History:
    """`steps` and `epochs`: {name: list of floats}, nan where a name was not measured. `history[name]` looks in epochs, then steps.

    Of each step: loss, lr, momentum, grad_norm (before clipping), stepped (0.0 where a loss scaler skipped), scale.
    Of each epoch: loss, the validation's valid_loss, metrics, lr, seconds.

    >>> history = History()
    >>> history.add("steps", loss=2.0, lr=0.1); history.add("steps", loss=1.0, lr=0.2); history.add("epochs", loss=1.5)
    >>> history.steps["lr"], history["loss"]
    ([0.1, 0.2], [1.5])
    """

    def __init__(self):
        self.steps, self.epochs = {}, {}

    def add(self, where, **values):
        rows = getattr(self, where)
        if rows.keys() == values.keys():
            for name, value in values.items():
                rows[name].append(value)
            return
        length = max(map(len, rows.values()), default=0)
        for name in {**rows, **values}:
            rows.setdefault(name, [float("nan")] * length).append(values.get(name, float("nan")))

    def __getitem__(self, name):
        return self.epochs[name] if name in self.epochs else self.steps[name]

    def state_dict(self):
        return {where: {name: np.array(values) for name, values in getattr(self, where).items()} for where in ("steps", "epochs")}

    def load_state_dict(self, saved):
        self.steps, self.epochs = ({name: list(map(float, values)) for name, values in saved[where].items()}
                                   for where in ("steps", "epochs"))

    def plot(self, *names, ax=None):
        """Curves over epochs (by default all losses), on a log axis where they span more than a factor of ten."""
        ax = axes(ax)
        for name in names or [name for name in self.epochs if name.endswith("loss")]:
            ax.plot(np.arange(1, len(self[name]) + 1), self[name], label=name)
        heights = np.concatenate([line.get_ydata() for line in ax.lines]) if ax.lines else np.ones(1)
        if heights.min(initial=np.inf) > 0 and heights.max() > 10 * heights.min():
            ax.set_yscale("log")
        ax.set(xlabel="epoch")
        ax.legend(fontsize="small")
        return ax

    def plot_lr(self, ax=None):
        """The learning rate of every step, and dashed on a second axis the momentum where there was one."""
        ax = axes(ax)
        ax.plot(self.steps["lr"], color="C0", label="learning rate")
        ax.set(xlabel="step", ylabel="learning rate")
        momentum = np.array(self.steps["momentum"])
        if np.isfinite(momentum).any() and np.ptp(momentum) > 0:
            twin = ax.twinx()
            twin.plot(momentum, "--", color="0.4", linewidth=1)
            twin.set_ylabel("momentum (dashed)")
        return ax
