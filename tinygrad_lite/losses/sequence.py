"""CTC: the likelihood of a sequence of labels, summed over all ways of aligning it with a longer sequence of predictions."""
import numpy as np

from ..backend import like, on_gpu, to_host, xp_of
from ..kernels.alignments import alignments, ends, moves
from ..ops.indexing import gather, where
from ..ops.reductions import logsumexp
from ..ops.shapes import pad, stack
from ..tensor import Tensor, op, plain
from .common import REDUCTIONS, integers, reduced, tensor


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """-log of the summed probability of all alignments of the targets. Graves et al. 2006.

    log_probs: (T, N, C) or (T, C), logarithms of probabilities (a log_softmax); targets: (N, S), or all of them in one
    row, or (S,); lengths: (N,) or one number; targets and lengths are read on the host. The mean divides each loss by
    its target's length (at least 1), then by N.
    A target that cannot be reached gives inf and nan gradients, or with `zero_infinity` 0 and 0. The gradient is that
    of the formula; PyTorch's adds a term which log_softmax takes away again.

    >>> log_probs = Tensor(np.log([[[0.5, 0.5]], [[0.5, 0.5]]]))
    >>> loss = ctc_loss(log_probs, np.array([[1]]), [2], [1])       # three of the four paths spell it: 1_, _1, 11
    >>> round(np.exp(-loss.item()), 4)
    np.float64(0.75)
    """
    x = tensor(log_probs)
    if x.ndim not in (2, 3) or x.dtype.kind != "f":
        raise ValueError(f"ctc_loss: got log_probs {x.dtype} of shape {x.shape}, expected floats (T, N, C) or (T, C)")
    rows = x if x.ndim == 3 else x.reshape(x.shape[0], 1, x.shape[1])
    steps, n, k = rows.shape
    if not 0 <= blank < k:
        raise ValueError(f"ctc_loss: blank: got {blank}, expected 0..{k - 1}")
    used = lengths("input_lengths", input_lengths, n, steps)
    labels, sizes = label_rows(targets, target_lengths, n)
    wrong = ((labels < 0) | (labels >= k)) & (np.arange(labels.shape[1]) < sizes[:, None])
    if wrong.any():
        raise IndexError(f"ctc_loss: target {labels[wrong][0]} of sequence {int(wrong.any(axis=1).argmax())}, expected 0..{k - 1}")
    if reduction not in REDUCTIONS:
        reduced(x, reduction)
    states = np.full((n, 2 * labels.shape[1] + 1), blank)
    states[:, 1::2] = np.where(np.arange(labels.shape[1]) < sizes[:, None], labels, blank)
    device = plain(x)                       # on the GPU the formula does it, a few launches a step
    losses = (_formula if on_gpu(device) else _ctc)(rows, *[like(device, a) for a in (states, used, sizes)], bool(zero_infinity))
    if reduction == "mean":
        losses = losses / like(device, np.maximum(sizes, 1).astype(x.dtype))
    return reduced(losses if x.ndim == 3 else losses.reshape(()), reduction)


def lengths(name, given, n, most):
    """n lengths as int64, each in 0..most."""
    given = integers(f"ctc_loss: {name}", to_host(plain(given))).reshape(-1)
    if given.shape != (n,) or (given < 0).any() or (given > most).any():
        raise ValueError(f"ctc_loss: {name}: got {given.tolist()}, expected {n} numbers in 0..{most}")
    return given


def label_rows(targets, target_lengths, n):
    """Targets as (N, longest), and their lengths; those in one row behind each other are cut apart."""
    targets = integers("ctc_loss", to_host(plain(targets)))
    if targets.ndim == 1 and n == 1:
        targets = targets[None]
    if targets.ndim == 2 and len(targets) == n:
        sizes = lengths("target_lengths", target_lengths, n, targets.shape[1])
        return targets[:, :sizes.max(initial=0)], sizes
    sizes = lengths("target_lengths", target_lengths, n, targets.size)
    if targets.ndim != 1 or sizes.sum() != targets.size:
        raise ValueError(f"ctc_loss: got targets of shape {targets.shape} and target_lengths that sum to {sizes.sum()}, expected "
                         f"({n}, S) or ({sizes.sum()},)")
    labels = np.zeros((n, sizes.max(initial=0)), np.int64)
    labels[np.arange(labels.shape[1]) < sizes[:, None]] = targets
    return labels, sizes


def _formula(x, states, used, sizes, zero_infinity):
    emit = gather(x, 2, np.broadcast_to(states, (x.shape[0], *states.shape)))           # (T, N, L)
    begin = np.where(xp_of(states).arange(states.shape[1]) < 2, 0, -np.inf)
    begin, leap, end = (a.astype(x.dtype) for a in (begin, moves(states), ends(states, sizes)))
    before = ((0, 0), (2, 0))
    paths = None                            # the logarithm of the paths' probability that stand in each state
    for t in range(x.shape[0]):
        if t == 0:
            paths = emit[0] + begin
            continue
        wide = pad(paths, before, -np.inf)
        longer = logsumexp(stack([paths, wide[:, 1:-1], wide[:, :-2] + leap]), 0) + emit[t]
        paths = where((t < used)[:, None], longer, paths)
    at_once = where(sizes == 0, 0, -np.inf).astype(x.dtype)             # of no steps: only the empty target
    losses = -(at_once if paths is None else where(used == 0, at_once, logsumexp(paths + end, 1)))
    return where(np.isinf(plain(losses)), 0, losses) if zero_infinity else losses


def _rule(g, z, x, states, used, sizes, zero_infinity, grad):
    return grad * g[:, None]


_ctc = op("ctc_loss", alignments, _rule, composite=_formula, saves=True)
