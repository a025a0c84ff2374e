"""Tables of vectors looked up by integer id: rows one by one, and summed, averaged or maximised bag by bag.

What a step costs is what the rows used cost: with `sparse` the gradient is RowSparse, one row for each id of the batch.
"""
import numpy as np

from ..backend import like, on_gpu, to_host, xp_of
from ..kernels.cuda import wide
from ..kernels.gather import bag_sums
from ..rowsparse import RowSparse
from ..tensor import Tensor, op, plain
from .indexing import getitem, put_back, where


def checked(name, ids, rows):
    """Ids as int64, each of them one of the table's rows; a bad one is named with its place.

    Ids on the GPU are not looked at, for the host would wait for them: rows that do not exist are NaN there.
    """
    ids = plain(ids)
    ids = ids if on_gpu(ids) else np.asarray(ids)
    if ids.dtype.kind not in "iu" and ids.size:
        raise TypeError(f"{name}: ids have dtype {ids.dtype}, expected integers")
    ids = ids.astype(np.int64, order="C", copy=False)
    if ids.size and not on_gpu(ids) and (ids.min() < 0 or ids.max() >= rows):
        bad = missing(ids, rows)
        at = np.unravel_index(bad.argmax(), ids.shape)
        raise IndexError(f"{name}: id {ids[at]} at position {tuple(map(int, at))}, expected 0..{rows - 1}")
    return ids


def missing(ids, rows):
    """True where an id is none of the rows 0..rows-1."""
    return (ids < 0) | (ids >= rows)


def row_of(name, padding_idx, rows):
    """padding_idx as one of 0..rows-1, a negative one counted from the end; None stays None."""
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"{name}: padding_idx: got {padding_idx}, expected within {rows} rows")
    return padding_idx if padding_idx is None else padding_idx % rows


def shorten(weight, ids, max_norm, norm_type):
    """Scale the rows that are used, in place, to a norm of at most max_norm."""
    rows = weight.data[ids]                 # a row used twice gets the same numbers twice
    norms = np.linalg.norm(rows, norm_type, axis=-1)
    scale = np.where(norms > max_norm, max_norm / (norms + 1e-7), 1)
    weight.data[ids] = rows * scale[..., None].astype(weight.dtype)


def rarity(ids, rows, dtype):
    """1 / how often each id occurs among all of them."""
    if on_gpu(ids):
        counts = np.zeros_like(ids, np.int32, shape=rows)
        np.add.at(counts, ids, 1)
        return (1 / counts[ids]).astype(dtype)
    _, place, counts = np.unique(ids, return_inverse=True, return_counts=True)
    return (1 / counts[place].reshape(ids.shape)).astype(dtype)


def kept_rows(keep, ids, values, shape):
    """The RowSparse of the rows to `keep`. On the GPU, where nobody knows how many, the others become zeros for a row that is kept."""
    if on_gpu(ids):
        return RowSparse(instead(keep, ids), np.where(keep[:, None], values, 0), shape)
    return RowSparse(ids[keep], values[keep], shape)


def instead(keep, ids):
    """The ids, and the first one to keep in place of each of the others."""
    return np.where(keep, ids, ids[keep.argmax()]) if ids.size else ids


# --- rows one by one
def _rows_rule(g, z, weight, ids, padding_idx, by_count, sparse):
    if sparse and not isinstance(g, Tensor):
        flat, values = ids.reshape(-1), g.reshape(ids.size, weight.shape[1])
        if padding_idx is not None:
            return kept_rows(flat != padding_idx, flat, values, weight.shape)
        return RowSparse(flat, values, weight.shape)
    if padding_idx is not None:
        g = np.where((ids == padding_idx)[..., None], 0, g)
    if by_count:
        g = g * rarity(ids, weight.shape[0], weight.dtype)[..., None]
    return put_back(g, ids, weight.shape)


def _rows(weight, ids, *_):
    rows = weight.take(ids, axis=0)
    return np.where(missing(ids, len(weight))[..., None], np.nan, rows) if on_gpu(ids) else rows


_embedding = op("embedding", _rows, _rows_rule)


def embedding(ids, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """weight[ids]: (...) -> (..., dim), with a gradient that adds up over repeated ids. See nn.Embedding for the options.

    >>> w = Tensor([[1.0], [2.0]], requires_grad=True)
    >>> z = embedding(np.array([1, 1]), w)
    >>> z.sum().backward(); z.data.ravel(), w.grad.ravel()
    (array([2., 2.], dtype=float32), array([0., 2.], dtype=float32))
    """
    ids = like(plain(weight), checked("embedding", ids, weight.shape[0]))
    if sparse and scale_grad_by_freq:
        raise ValueError("embedding: scale_grad_by_freq needs sparse=False")
    if max_norm is not None:
        shorten(weight, ids, max_norm, norm_type)
    return _embedding(weight, ids, row_of("embedding", padding_idx, weight.shape[0]), scale_grad_by_freq, sparse)


# --- bag by bag
def _bags(weight, scale, ids, bounds, by_count, sparse):
    return bag_sums(weight, ids, bounds, scale)


def _bags_formula(weight, scale, ids, bounds, by_count, sparse):
    return put_back(getitem(weight, ids) * scale[:, None], owners(bounds, ids), (len(bounds) - 1, weight.shape[1]))


def _bags_table_rule(g, z, weight, scale, ids, bounds, by_count, sparse):
    values = g.take(owners(bounds, ids), axis=0)
    values *= (scale * rarity(ids, len(weight), scale.dtype) if by_count else scale)[:, None]
    return RowSparse(ids, values, weight.shape) if sparse else put_back(values, ids, weight.shape)


def _bags_scale_rule(g, z, weight, scale, ids, bounds, by_count, sparse):
    return (g[owners(bounds, ids)] * weight[ids]).sum(axis=1)


_bag = op("embedding_bag", _bags, _bags_table_rule, _bags_scale_rule, None, composite=_bags_formula)


def owners(bounds, ids):
    """The bag of each of the ids, of which the last bag ends with the last."""
    if on_gpu(bounds):
        return bounds.searchsorted(xp_of(bounds).arange(len(ids)), side="right") - 1
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))


def embedding_bag(ids, weight, offsets=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean", sparse=False,
                  per_sample_weights=None, include_last_offset=False, padding_idx=None):
    """The sum, mean or maximum over the rows of each bag of ids: (bags, dim). A bag without ids is 0.

    ids (bags, n), or (n,) with `offsets`, where each bag starts in them; with `include_last_offset` the last one is where
    the last bag ends. per_sample_weights, of the ids' shape, multiply the rows of a sum. Ids equal to padding_idx
    are left out. Offsets are read on the host. See nn.EmbeddingBag.

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
    padding_idx, scale = row_of(name, padding_idx, rows), None if w is None else w.reshape(-1)[:bounds[-1]]
    ids, keep = ids.reshape(-1)[:bounds[-1]], None
    if padding_idx is not None:
        keep = ids != padding_idx
        if not on_gpu(ids):                 # there they stay, but count nothing, for their number is not known
            bounds = np.append(0, np.cumsum(keep))[bounds]
            ids, scale, keep = ids[keep], None if scale is None else scale[keep], None
    ids, bounds = like(plain(weight), ids), like(plain(weight), bounds)
    counts = np.diff(bounds if keep is None else np.append(0 * bounds[:1], np.cumsum(keep))[bounds])
    if max_norm is not None:
        shorten(weight, ids if keep is None else instead(keep, ids), max_norm, norm_type)
    if mode == "max":
        return largest(weight, ids, bounds, keep, counts)
    if scale is None:
        scale = (1 / counts[owners(bounds, ids)] if mode == "mean" else np.ones_like(ids, float)).astype(weight.dtype)
    return _bag(weight, scale if keep is None else where(keep, scale, 0), ids, bounds, scale_grad_by_freq, sparse)


def bounds_of(name, ids, offsets, include_last_offset):
    """Where each bag starts in the flat ids, and at last where the last one ends."""
    if ids.ndim == 2 and offsets is None:
        return np.arange(len(ids) + 1) * ids.shape[1]
    offsets = None if offsets is None else to_host(plain(offsets))
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


def largest(weight, ids, bounds, keep, counts):
    """The maximum over the ids (to `keep`) of each bag, number by number; the gradient goes to the first of equals."""
    n, bag, rows = len(ids), owners(bounds, ids), weight.data[ids]
    rows = (rows if keep is None else np.where(keep[:, None], rows, -np.inf)).astype(wide(weight.dtype), copy=False)
    best = np.full_like(rows, -np.inf, shape=(len(counts), rows.shape[1]))
    np.maximum.at(best, bag, rows)
    first = np.full_like(ids, n, np.int32, shape=best.shape)
    order = xp_of(ids).arange(n, dtype=np.int32)[:, None]
    np.minimum.at(first, bag, np.where((rows == best[bag]) | np.isnan(rows), order, n).astype(np.int32))
    winner = ids[np.minimum(first, n - 1)] if n else np.zeros_like(first)
    best = getitem(weight, (winner, xp_of(ids).arange(rows.shape[1])))
    return where((counts > 0)[:, None], best, 0)
