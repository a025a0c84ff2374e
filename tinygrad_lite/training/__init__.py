"""Training: the loop, its rate, its memory.

    fit.py          fit: epochs of steps; history.py what it measured, callbacks.py what happens beside it, batches.py its parts
    lr_finder.py    lr_find: which rate?
    checkpoint.py   save, load: one file; state.py restored: leave no trace
    snapshots.py    snapshot_ensemble; averaging.py AveragedModel
    doctor.py       doctor: is this model ready to be trained?
"""
from .averaging import AveragedModel, update_batch_norm
from .batches import accuracy, evaluate
from .callbacks import Checkpoint, EarlyStop, GradualUnfreezing
from .checkpoint import load, save
from .doctor import doctor
from .fit import fit
from .history import History
from .lr_finder import Sweep, lr_find
from .snapshots import Ensemble, snapshot_ensemble
from .state import restored
