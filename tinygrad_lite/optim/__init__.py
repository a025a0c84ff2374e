"""Optimizers, in order of increasing complexity; each class is its formula, `base.py` is what they share."""
from .base import Optimizer
from .sgd import SGD
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .smorms3 import SMORMS3

ALL = (SGD, Adagrad, Adam, AdamW, SMORMS3)      # the table that tests walk
