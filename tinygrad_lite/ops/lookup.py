"""Tables of vectors looked up by integer id: rows one by one, and summed, averaged or maximised bag by bag.

What a step costs is what the rows used cost: with `sparse` the gradient is RowSparse, one row for each id of the batch.
"""
import numpy as np

from ..kernels.gather import bag_sums
from ..rowsparse import RowSparse
from ..tensor import Tensor, op, plain
from .indexing import getitem, put_back, where


def checked(name, ids, rows):
    """Ids as int64, each of them one of the table's rows; a bad one is named with its place."""
    ids = np.asarray(plain(ids))
    if ids.dtype.kind not in "iu" and ids.size:
        raise TypeError(f"{name}: ids have dtype {ids.dtype}, expected integers")
    ids = np.ascontiguousarray(ids, np.int64).reshape(ids.shape)
    if ids.size and (ids.min() < 0 or ids.max() >= rows):
        bad = (ids < 0) | (ids >= rows)
        at = np.unravel_index(bad.argmax(), ids.shape)
        raise IndexError(f"{name}: id {ids[at]} at position {tuple(map(int, at))}, expected 0..{rows - 1}")
    return ids


def row_of(name, padding_idx, rows):
    """padding_idx as one of 0..rows-1, a negative one counted from the end; None stays None."""
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"{name}: padding_idx: got {padding_idx}, expected within {rows} rows")
    return padding_idx if padding_idx is None else padding_idx % rows


def shorten(weight, ids, max_norm, norm_type):
    """Scale the rows that are used, in place, to a norm of at most max_norm."""
    rows = np.unique(ids)
    norms = np.linalg.norm(weight.data[rows], norm_type, axis=1)
    long = norms > max_norm
    weight.data[rows[long]] *= (max_norm / (norms[long] + 1e-7))[:, None].astype(weight.dtype)


def rarity(ids, dtype):
    """1 / how often each id occurs among all of them."""
    _, place, counts = np.unique(ids, return_inverse=True, return_counts=True)
    return (1 / counts[place].reshape(ids.shape)).astype(dtype)


# --- rows one by one
def _rows_rule(g, z, weight, ids, padding_idx, by_count, sparse):
    if sparse and not isinstance(g, Tensor):
        flat, values = ids.reshape(-1), g.reshape(ids.size, weight.shape[1])
        if padding_idx is not None:
            keep = flat != padding_idx
            flat, values = flat[keep], values[keep]
        return RowSparse(flat, values, weight.shape)
    if padding_idx is not None:
        g = np.where((ids == padding_idx)[..., None], 0, g)
    if by_count:
        g = g * rarity(ids, weight.dtype)[..., None]
    return put_back(g, ids, weight.shape)


_embedding = op("embedding", lambda weight, ids, *_: weight.take(ids, axis=0), _rows_rule)


def embedding(ids, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """weight[ids]: (...) -> (..., dim), with a gradient that adds up over repeated ids. See nn.Embedding for the options.

    >>> w = Tensor([[1.0], [2.0]], requires_grad=True)
    >>> z = embedding(np.array([1, 1]), w)
    >>> z.sum().backward(); z.data.ravel(), w.grad.ravel()
    (array([2., 2.], dtype=float32), array([0., 2.], dtype=float32))
    """
    ids = checked("embedding", ids, weight.shape[0])
    if sparse and scale_grad_by_freq:
        raise ValueError("embedding: scale_grad_by_freq needs sparse=False")
    if max_norm is not None:
        shorten(weight, ids, max_norm, norm_type)
    return _embedding(weight, ids, row_of("embedding", padding_idx, weight.shape[0]), scale_grad_by_freq, sparse)


# --- bag by bag
def _bags(weight, scale, ids, bounds, by_count, sparse):
    return bag_sums(weight, ids, bounds, scale)


def _bags_formula(weight, scale, ids, bounds, by_count, sparse):
    return put_back(getitem(weight, ids) * scale[:, None], owners(bounds), (len(bounds) - 1, weight.shape[1]))


def _bags_table_rule(g, z, weight, scale, ids, bounds, by_count, sparse):
    values = g.take(owners(bounds), axis=0)
    values *= (scale * rarity(ids, scale.dtype) if by_count else scale)[:, None]
    return RowSparse(ids, values, weight.shape) if sparse else put_back(values, ids, weight.shape)


def _bags_scale_rule(g, z, weight, scale, ids, bounds, by_count, sparse):
    return (g[owners(bounds)] * weight[ids]).sum(axis=1)


_bag = op("embedding_bag", _bags, _bags_table_rule, _bags_scale_rule, None, composite=_bags_formula)


def owners(bounds):
    """The bag of each id."""
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))


def embedding_bag(ids, weight, offsets=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean", sparse=False,
                  per_sample_weights=None, include_last_offset=False, padding_idx=None):
    """The sum, mean or maximum over the rows of each bag of ids: (bags, dim). A bag without ids is 0.

    ids (bags, n), or (n,) with `offsets`, where each bag starts in them; with `include_last_offset` the last one is where
    the last bag ends. per_sample_weights, of the ids' shape, multiply the rows of a sum. Ids equal to padding_idx
    are left out. See nn.EmbeddingBag.

    >>> w = Tensor([[1.0], [10.0], [100.0]])
    >>> embedding_bag(np.array([0, 1, 2, 2]), w, offsets=np.array([0, 2]), mode="sum").data.ravel()
    array([ 11., 200.], dtype=float32)
    """
    name, rows = "embedding_bag", weight.shape[0]
    ids = checked(name, ids, rows)
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"{name}: mode: got {mode!r}, expected 'sum', 'mean' or 'max'")
    w = per_sample_weights
    if w is not None and (mode != "sum" or w.shape != ids.shape or w.dtype != weight.dtype):
        raise ValueError(f"{name}: per_sample_weights: got {w.dtype}{list(w.shape)} with mode {mode!r}, expected "
                         f"{weight.dtype}{list(ids.shape)}, as the ids, with mode 'sum'")
    if scale_grad_by_freq and (sparse or mode == "max") or sparse and mode == "max":
        raise ValueError(f"{name}: got mode={mode!r}, sparse={sparse}, scale_grad_by_freq={scale_grad_by_freq}: the gradient "
                         "of a maximum is dense and unscaled, and scale_grad_by_freq needs sparse=False")
    bounds = bounds_of(name, ids, offsets, include_last_offset)
    padding_idx, scale = row_of(name, padding_idx, rows), per_sample_weights
    keep = np.arange(ids.size).reshape(ids.shape) < bounds[-1]
    if padding_idx is not None:
        keep &= ids != padding_idx
    if ids.ndim == 2 or not keep.all():
        bounds = np.append(0, np.cumsum(keep))[bounds]
        ids, scale = ids[keep], scale if scale is None else scale[keep]
    if max_norm is not None:
        shorten(weight, ids, max_norm, norm_type)
    if mode == "max":
        return largest(weight, ids, bounds)
    if scale is None:
        sizes = np.diff(bounds) if mode == "mean" else np.ones(len(bounds) - 1)
        scale = (1 / np.repeat(sizes, np.diff(bounds))).astype(weight.dtype)
    return _bag(weight, scale, ids, bounds, scale_grad_by_freq, sparse)


def bounds_of(name, ids, offsets, include_last_offset):
    """Where each bag starts in the flat ids, and at last where the last one ends."""
    if ids.ndim == 2 and offsets is None:
        return np.arange(len(ids) + 1) * ids.shape[1]
    offsets = None if offsets is None else np.asarray(plain(offsets))
    if ids.ndim != 1 or offsets is None or offsets.ndim != 1 or offsets.dtype.kind not in "iu":
        given = None if offsets is None else f"{offsets.dtype}{list(offsets.shape)}"
        raise ValueError(f"{name}: got ids of shape {ids.shape} and offsets {given}, expected ids (bags, n) alone, "
                         "or ids (n,) and integer offsets (bags,)")
    bounds = offsets.astype(np.int64) if include_last_offset else np.append(offsets, len(ids)).astype(np.int64)
    if len(bounds) == 0 or bounds[0] != 0 or bounds[-1] > len(ids) or (np.diff(bounds) < 0).any():
        falls = [f", {bounds[i]} before {bounds[i + 1]} at position {i}" for i in np.flatnonzero(np.diff(bounds) < 0)[:1]]
        raise ValueError(f"{name}: offsets: got {bounds[:1].tolist()}..{bounds[-1:].tolist()}{''.join(falls)}, expected numbers that "
                         f"start at 0, do not fall, and end at most at the number of ids, {len(ids)}")
    return bounds


def largest(weight, ids, bounds):
    """The maximum over each bag, number by number; the gradient goes to the first of equals."""
    rows = weight.data.take(ids, axis=0)
    winner = np.zeros((len(bounds) - 1, weight.shape[1]), np.int64)
    for b, (start, stop) in enumerate(zip(bounds, bounds[1:])):
        if start < stop:
            winner[b] = ids[start + rows[start:stop].argmax(axis=0)]
    best = getitem(weight, (winner, np.arange(weight.shape[1])))
    return where((np.diff(bounds) > 0)[:, None], best, 0)
