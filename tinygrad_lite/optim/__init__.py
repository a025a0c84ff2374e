"""Optimizers, in order of increasing complexity; each class is its formula, `base.py` is what they share."""
from .base import Optimizer
from .sgd import SGD
from .textbook import GDEMA, SGDW, SGDWPaper
from .adagrad import Adagrad
from .rmsprop import RMSprop, RMSpropBook, RMSpropInside
from .adadelta import Adadelta
from .adam import Adam, AdamW
from .adam_family import Adamax, NAdam, RAdam, SparseAdam
from .signs import Lion, Rprop
from .averaged import ASGD
from .smorms3 import SMORMS3
from .layerwise import LAMB, LARS, Adafactor, Muon, MuonF64
from .lbfgs import LBFGS
from .groups import layer_rates, param_groups
from .several import MultipleOptimizer, SparseDense

# the table that tests walk
ALL = (SGD, GDEMA, SGDW, SGDWPaper, Adagrad, RMSprop, RMSpropBook, RMSpropInside, Adadelta, Adam, AdamW, Adamax, NAdam, RAdam,
       SparseAdam, Lion, Rprop, ASGD, SMORMS3, LARS, LAMB, Adafactor, Muon, MuonF64, LBFGS)
