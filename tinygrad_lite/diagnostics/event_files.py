"""Numbers and histograms for TensorBoard, where one of its two writers is installed (tensorboardX, or torch and tensorboard)."""
import importlib

import numpy as np

from .gradient_flow import gradient_flow

WRITERS = "tensorboardX", "torch.utils.tensorboard"


class EventFiles:
    """Writes event files for `tensorboard --logdir folder`. Also a callback of `fit`: all numbers of every step and epoch.

    `log(step, name=number, name=array, name={...})`: numbers become curves, arrays histograms, dicts groups of either.
    ImportError says what to install where there is no writer.
    """

    def __init__(self, folder, gradients=False):
        self.writer, self.gradients = _writer(folder), gradients

    def log(self, step, /, **values):
        for name, value in values.items():
            if isinstance(value, dict):
                self.log(step, **{f"{name}/{key}": v for key, v in value.items()})
            elif np.ndim(value) == 0:
                self.writer.add_scalar(name, float(value), step)
            else:
                self.writer.add_histogram(name, np.asarray(value), step)

    def on_step(self, run):
        self.log(run.step, step={name: values[-1] for name, values in run.history.steps.items()})
        if self.gradients:
            self.log(run.step, gradient=gradient_flow(run.model))

    def on_epoch(self, run):
        self.log(run.epoch, epoch={name: values[-1] for name, values in run.history.epochs.items()})

    def on_finish(self, run):
        self.writer.close()


def _writer(folder):
    for name in WRITERS:
        try:
            return importlib.import_module(name).SummaryWriter(str(folder))
        except ImportError:
            pass
    raise ImportError("EventFiles: no TensorBoard writer is installed: pip install tensorboardX")
