"""Sequences of unequal length: padded to one shape, or packed without padding. PyTorch's names and layouts.

    padded   a b c        packed   the rows of the first step, then those of the second, ...; the longest item first:
             d . .                 a f d | b g | c        batch_sizes 3 2 1
             f g .
"""
from typing import NamedTuple

import numpy as np

from ...backend import like, to_host
from ...ops.indexing import put_back
from ...ops.shapes import concatenate
from ...tensor import Tensor, plain


class PackedSequence(NamedTuple):
    """Rows of several sequences, step by step: `data` (rows, ...), `batch_sizes` (T,) rows of each step.

    `sorted_indices` puts items into the order of falling lengths, `unsorted_indices` back; None where they came so.
    """
    data: Tensor
    batch_sizes: np.ndarray
    sorted_indices: np.ndarray | None = None
    unsorted_indices: np.ndarray | None = None


def lengths_of(name, lengths, count, steps):
    """Lengths as an array, checked: one for each of `count` items, whole numbers 1..steps."""
    a = to_host(plain(lengths))
    if a.ndim != 1 or len(a) != count:
        raise ValueError(f"{name}: lengths: got shape {a.shape}, expected ({count},), one for each item of the batch")
    if a.dtype.kind not in "iu" and a.size:
        raise TypeError(f"{name}: lengths: got dtype {a.dtype}, expected integers")
    bad = (a < 1) | (a > steps)
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"{name}: lengths: item {i} has length {a[i]}, expected 1..{steps}, the steps of the input"
                         + ("; leave empty items out" if a[i] == 0 else ""))
    return a.astype(np.int64, copy=False)


def places(batch_sizes, items, steps, batch_first):
    """For each packed row its place among the items * steps rows of the padded batch; `items`: the sorted items' numbers."""
    t, i = np.nonzero(np.arange(len(items)) < np.asarray(batch_sizes)[:, None])
    return items[i] * steps + t if batch_first else t * len(items) + items[i]


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """The rows of a padded batch that count: (T, B, ...), or (B, T, ...) with `batch_first`, and lengths (B,).

    Lengths must fall, or pass enforce_sorted=False: then items are sorted here, and nets that take the result and
    pad_packed_sequence put them back.

    >>> x = Tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0], [5.0, 6.0, 0.0]])
    >>> packed = pack_padded_sequence(x, [3, 1, 2], batch_first=True, enforce_sorted=False)
    >>> packed.data.data, packed.batch_sizes
    (array([1., 5., 4., 2., 6., 3.], dtype=float32), array([3, 2, 1]))
    """
    x = input if isinstance(input, Tensor) else Tensor(input)
    if x.ndim < 2:
        raise ValueError(f"pack_padded_sequence: got shape {x.shape}, expected {'(B, T, ...)' if batch_first else '(T, B, ...)'}")
    count, steps = x.shape[:2] if batch_first else x.shape[1::-1]
    lengths = lengths_of("pack_padded_sequence", lengths, count, steps)
    if not count:
        raise ValueError(f"pack_padded_sequence: got shape {x.shape}, a batch without items")
    order = back = None
    if enforce_sorted:
        up = np.diff(lengths) > 0
        if up.any():
            i = int(up.argmax())
            raise ValueError(f"pack_padded_sequence: lengths must fall, but item {i} has {lengths[i]} and item {i + 1} has "
                             f"{lengths[i + 1]}: pass enforce_sorted=False to have them sorted, and put back, for you")
    else:
        order = np.argsort(-lengths, kind="stable")
        back = np.argsort(order)
        lengths = lengths[order]
    batch_sizes = (lengths > np.arange(lengths[0])[:, None]).sum(axis=1)
    rows = places(batch_sizes, np.arange(count) if order is None else order, steps, batch_first)
    return PackedSequence(x.reshape(count * steps, *x.shape[2:])[rows], batch_sizes, order, back)


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """(padded Tensor (T, B, ...), lengths (B,)) of a PackedSequence, items in the order they came in.

    >>> packed = pack_padded_sequence(Tensor([[1.0, 2.0], [3.0, 0.0]]), [2, 1], batch_first=True)
    >>> padded, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=-1.0)
    >>> padded.data, lengths
    (array([[ 1.,  2.],
           [ 3., -1.]], dtype=float32), array([2, 1]))
    """
    data, batch_sizes, order, back = sequence
    batch_sizes = to_host(plain(batch_sizes))
    count, steps = int(batch_sizes[0]), len(batch_sizes)
    if total_length is not None and total_length < steps:
        raise ValueError(f"pad_packed_sequence: total_length: got {total_length}, expected at least the longest item's {steps}")
    steps = steps if total_length is None else total_length
    rows = places(batch_sizes, np.arange(count) if order is None else order, steps, batch_first)
    padded = put_back(data, rows, (count * steps, *data.shape[1:]))
    if padding_value:
        empty = np.ones((count * steps, *[1] * (data.ndim - 1)), bool)
        empty[rows] = False
        padded = padded + like(plain(data), (empty * padding_value).astype(data.dtype))
    lengths = (batch_sizes[:, None] > np.arange(count)).sum(axis=0)
    shape = (count, steps) if batch_first else (steps, count)
    return padded.reshape(*shape, *data.shape[1:]), lengths if back is None else lengths[back]


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Sequences (T_i, ...) beside each other, filled up to the longest: (T, B, ...), or (B, T, ...) with `batch_first`.

    >>> pad_sequence([Tensor([1.0, 2.0]), Tensor([3.0])], batch_first=True, padding_value=-1.0).data
    array([[ 1.,  2.],
           [ 3., -1.]], dtype=float32)
    """
    sequences = [x if isinstance(x, Tensor) else Tensor(x) for x in sequences]
    if padding_side not in ("right", "left"):
        raise ValueError(f"pad_sequence: padding_side: got {padding_side!r}, expected 'right' or 'left'")
    if not sequences or len({x.shape[1:] for x in sequences}) > 1 or not sequences[0].ndim:
        raise ValueError(f"pad_sequence: got shapes {[x.shape for x in sequences]}, expected at least one, all alike but for the "
                         "first axis")
    longest = max(len(x) for x in sequences)
    full = []
    for x in sequences:
        rest = np.full_like(x.data, padding_value, shape=(longest - len(x), *x.shape[1:]))
        full.append(x if not len(rest) else concatenate([x, rest] if padding_side == "right" else [rest, x]))
    padded = concatenate([x.unsqueeze(0) for x in full])
    return padded if batch_first else padded.swapaxes(0, 1)


def detach(state):
    """A state, or tuple of states, cut off from the steps that led to it: truncated back-propagation through time.

    A net's state goes on from batch to batch; without the cut each backward pass would walk through all batches before.

    >>> h = Tensor([1.0], requires_grad=True) * 2
    >>> h.requires_grad, [s.requires_grad for s in detach((h, h))]
    (True, [False, False])
    """
    if state is None or isinstance(state, Tensor):
        return state if state is None else state.detach()
    return tuple(detach(s) for s in state)
