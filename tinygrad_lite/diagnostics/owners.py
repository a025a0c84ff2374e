"""Which sample of a batch does each number of a forward pass belong to? Followed through the graph, op by op.

Per-sample gradients need it: a recurrent net works on time steps x samples in one long matrix, and only the way there says
which row is whose. Every number gets the sample's index, or -1 where it belongs to none (padding, a constant).
"""
import numpy as np

from ..backend import on_gpu, to_host
from ..ops.linalg import _subscripts as subscripts_of

MOVES = {"reshape", "transpose", "expand", "flip", "roll", "getitem", "concatenate", "stack"}        # numbers change places only
REDUCTIONS = {"sum", "mean", "max", "min", "prod", "var", "logsumexp"}


class Mixed(ValueError):
    """An op that makes one number out of several samples."""


def owners_of(root, known, n):
    """Fill `known`, {id of a Tensor: its owners, or None where no sample has a part in it}, for all that `root` is made from."""
    nodes, stack, seen = [], [root], set(known)
    while stack:
        t = stack.pop()
        if id(t) not in seen and type(t._node) is tuple:
            seen.add(id(t))
            nodes.append(t)
            stack += t._node[2]
    for t in sorted(nodes, key=lambda t: -t._born):         # the oldest first
        op, values, parents = t._node
        known[id(t)] = _follow(op, t.data, values, [known.get(id(p)) for p in parents], n)


def at_home(value):
    """Ids, masks and indices on the host, where owners are; all else is only asked for its shape."""
    if isinstance(value, tuple):
        return tuple(map(at_home, value))
    return to_host(value) if on_gpu(value) and value.dtype.kind in "iub" else value


def _follow(op, z, values, owners, n):
    values = list(map(at_home, values))
    if op.name == "embedding":
        return _of_ids(values[1], n)[..., None] * np.ones(z.shape[-1:], int)
    if op.name == "embedding_bag" and len(z) == n:
        return np.broadcast_to(np.arange(n)[:, None], z.shape)
    found = [o for o in owners if o is not None]
    if not found:
        return None
    if op.name in MOVES:
        options = values[len(owners):len(values) - op.saves]
        result = op.forward(*[o if o is not None else _nobody(v) for o, v in zip(owners, values)], *options)
        return result[0] if op.saves else result
    if op.name == "pad":
        return op.forward(found[0], values[1], -1)
    if op.name in REDUCTIONS:
        return _one(op, found[0], axis=values[1], keepdims=values[2])
    if op.name == "normalised_rows":
        _one(op, found[0].reshape(values[3]), axis=1, keepdims=True)
        return found[0]
    if op.name == "normalised_channels" and values[6]:      # by the batch's own mean and variance
        _one(op, found[0], axis=0, keepdims=True)
    if op.name == "lstm_scan":                              # output rows, and below them each sample's last cell
        rows = found[0][:, :1]
        return np.broadcast_to(np.concatenate([rows, rows[:z.shape[0] - len(rows)]]), z.shape)
    if op.name == "einsum":
        return _of_letters(z, values, owners)
    if op.name == "matmul":                                 # a row's owner from the left, a column's from the right
        x, y = owners
        rows = [] if x is None else [_one(op, x, axis=-1, keepdims=values[1].ndim > 1)]
        columns = [] if y is None else [_one(op, y, axis=-min(y.ndim, 2), keepdims=values[0].ndim > 1 and y.ndim > 1)]
        return _agreed(op, z.shape, rows + columns)
    return _joined(op, z, values, owners, found)


def elementwise(z, values):
    """True if z has the shape that the values broadcast to."""
    shapes = [getattr(v, "shape", ()) for v in values]
    try:
        return all(s == z.shape for s in shapes) or np.broadcast_shapes(*shapes) == z.shape
    except ValueError:
        return False


def axis_of(owners):
    """(axis along which samples lie, their order there); Mixed if there is no such axis."""
    for axis in range(owners.ndim):
        line = owners[tuple([slice(None) if a == axis else 0 for a in range(owners.ndim)])]
        if (owners == line.reshape([-1 if a == axis else 1 for a in range(owners.ndim)])).all():
            return axis, line
    raise Mixed("samples do not lie along one axis")


def states_of(op, values, owners, n):
    """{input: owners} of a recurrent scan's first states (inputs h, or h and c): the samples in the order of the first rows."""
    if not op.name.endswith("_scan") or owners[0] is None:
        return {}
    return {i: np.broadcast_to(owners[0][:n, :1], values[i].shape) for i in ([1, 2] if op.name == "lstm_scan" else [1])}


def _joined(op, z, values, owners, found):
    if elementwise(z, values[:len(owners)]):
        return _agreed(op, z.shape, found)
    for o in found:
        if o.shape[:-1] == z.shape[:-1]:                    # products along the last axis
            return np.broadcast_to(_one(op, o, axis=-1, keepdims=True), z.shape)
        if o.shape[:1] == z.shape[:1]:                      # convolutions, pooling: something of each row
            row = _one(op, o.reshape(len(o), -1), axis=1, keepdims=False)
            return np.broadcast_to(row.reshape(-1, *[1] * (z.ndim - 1)), z.shape)
    raise Mixed(f"{op.name!r} makes {z.shape} of {found[0].shape}: which number is whose cannot be told")


def _agreed(op, shape, found):
    result = found[0] if found[0].shape == shape else np.maximum(found[0], np.full(shape, -1))
    for o in found[1:]:
        if o.shape == shape and (o == result).all():
            continue
        if ((result >= 0) & (o >= 0) & (result != o)).any():
            raise Mixed(f"{op.name!r} joins numbers of different samples")
        result = np.maximum(result, o)
    return result


def _of_letters(z, values, owners):
    sources, target = subscripts_of(values[0], values[1:])
    found = [(letters, *axis_of(o)) for letters, o in zip(sources, owners[1:]) if o is not None]
    names = {letters[axis] for letters, axis, _ in found}
    if len(names) > 1 or not names <= set(target):
        raise Mixed(f"'einsum' {values[0]!r} joins numbers of different samples")
    return np.broadcast_to(found[0][2].reshape([-1 if letter in names else 1 for letter in target]), z.shape)


def _one(op, owners, **where):
    """The owner of what is made from all numbers along the axis, who must be one."""
    low, high = np.where(owners < 0, np.iinfo(int).max, owners).min(**where), owners.max(**where)
    if ((low != high) & (high >= 0)).any():
        raise Mixed(f"{op.name!r} makes one number out of several samples")
    return high


def _nobody(value):
    return np.full(value.shape, -1) if getattr(value, "dtype", np.dtype(object)).kind == "f" else value


def _of_ids(ids, n):
    axes = [axis for axis, size in enumerate(ids.shape) if size == n]
    if not axes:
        raise Mixed(f"'embedding' got ids of shape {ids.shape}, without an axis of {n} samples")
    return np.broadcast_to(np.arange(n).reshape([-1 if a == axes[0] else 1 for a in range(ids.ndim)]), ids.shape)
