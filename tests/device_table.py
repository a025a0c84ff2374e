"""Every op, function, loss and layer as a row that runs on any device: the tables of the CPU tests, walked once more.

A row makes (f, what is differentiated, what else f takes) for a dtype; `run` moves all of it with `move`, calls f, goes back to
first and second order, and returns the arrays by name. On the host `move` does nothing; it is the stand-in's `array` in
test_standin_table.py and CuPy's in gpu/test_table.py.
"""
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np

import tinygrad_lite as tg
from tests import (test_attention, test_charcnn, test_embedding, test_indexing, test_linalg, test_losses, test_losses_more, test_nn,
                   test_normalization, test_numpy_functions, test_ops, test_pooling, test_recurrent)
from tinygrad_lite import Tensor, losses, nn
from tinygrad_lite.nn import functional as F

FLOATS = (np.float64, np.float32, np.float16)


@dataclass
class Row:
    name: str                               # the public name that it counts for
    make: object                            # dtype -> (f, arrays that are differentiated, a dict or list of others)
    label: str = ""
    dtypes: tuple = FLOATS
    draws: bool = False                     # random numbers of the device's own: only shapes are compared

    def __str__(self):
        return f"{self.name}[{self.label}]" if self.label else self.name


def moved(x, move):
    """Arrays in lists, tuples and dicts moved; the rest as it is."""
    if isinstance(x, dict):
        return {k: moved(v, move) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)([moved(v, move) for v in x])
    return move(x) if isinstance(x, np.ndarray) else x


def results(z):
    """The Tensors and arrays in what f returned, however it is nested."""
    if isinstance(z, (tuple, list)):
        return [r for part in z for r in results(part)]
    return [] if z is None else [z]


def run(row, dtype, move=lambda x: x, work=nullcontext):
    """name -> array: values, gradients, first and second derivatives, buffers. What the row does is done inside `work()`."""
    tg.seed(0)
    f, xs, others = row.make(dtype)
    if isinstance(f, nn.Module):
        f._convert(lambda a: move(a.astype(dtype) if a.dtype.kind == "f" else a))
    leaves = [Tensor(move(np.array(x)), requires_grad=x.dtype.kind == "f") for x in xs]
    parameters = list(f.parameters()) if isinstance(f, nn.Module) else []
    others = moved(others, move)
    args, named = ([], others) if isinstance(others, dict) else (others, {})

    def call():
        tg.seed(0)                          # dropout draws the same again
        with work():
            return results(f(*leaves, *args, **named))

    def loss(outputs):
        return sum([(z * w).sum() for z, w in zip(outputs, weights) if isinstance(z, Tensor) and z.requires_grad])
    outputs, rng = call(), np.random.default_rng(3)
    weights = [move(np.asarray(rng.uniform(0.5, 1.5, np.shape(z))).astype(dtype)) for z in outputs]
    found = {f"value {i}": z.data if isinstance(z, Tensor) else z for i, z in enumerate(outputs)}
    tracked = [x for x in [*leaves, *parameters] if x.requires_grad]
    if not any(isinstance(z, Tensor) and z.requires_grad for z in outputs):
        return found
    with work():
        loss(outputs).backward()
    grads = [x.grad.to_dense() if isinstance(x.grad, tg.RowSparse) else x.grad for x in tracked]
    found |= {f"gradient {i}": g for i, g in enumerate(grads) if g is not None}
    again = call()
    with work():
        first = [g for g in tg.grad(loss(again), tracked, create_graph=True, allow_unused=True) if g is not None]
        steep = sum([(g * g).sum() for g in first])
        second = tg.grad(steep, tracked, allow_unused=True) if isinstance(steep, Tensor) and steep.requires_grad else []
    found |= {f"first {i}": g.data for i, g in enumerate(first)}
    found |= {f"second {i}": g.data for i, g in enumerate(second) if g is not None}
    return found | ({f"buffer {k}": b for k, b in f.named_buffers()} if isinstance(f, nn.Module) else {})


def differences(row, dtype, expected, found, host):
    """What is not as on the host: a sentence each. `host` brings an array back."""
    if sorted(expected) != sorted(found):
        yield f"{row}: {sorted(set(expected) ^ set(found))} only on one device"
    digits = {2: 2e-2, 4: 2e-5, 8: 1e-11}[np.dtype(dtype).itemsize]
    for key in expected.keys() & found.keys():
        a = np.asarray(expected[key])
        if a.dtype == object:               # a dtype, say
            if found[key] != expected[key]:
                yield f"{row}: {key}: {found[key]}, on the host {expected[key]}"
            continue
        if isinstance(found[key], np.ndarray):
            yield f"{row}: {key} was left on the host"
            continue
        b = np.asarray(host(found[key]))
        largest = np.abs(a[np.isfinite(a)]).max(initial=1) if a.dtype.kind == "f" else 1
        if a.dtype != b.dtype and a.dtype.kind == "f" or a.shape != b.shape:
            yield f"{row}: {key}: {b.dtype}{list(b.shape)}, on the host {a.dtype}{list(a.shape)}"
        elif not row.draws and not np.allclose(a, b, rtol=digits, atol=digits * largest, equal_nan=a.dtype.kind == "f"):
            yield f"{row} {np.dtype(dtype)}: {key} differs: {b.ravel()[:4]}, on the host {a.ravel()[:4]}"


def of(function, *args, **kwargs):
    """A function with options that come after what is differentiated."""
    return lambda *xs, **named: function(*xs, *args, **kwargs, **named)


# --- ops and NumPy's functions
def op_row(case):
    def make(dtype):
        f, arrays = case.f, case.draw(dtype)
        if case.name == "where":
            return (lambda x, y, mask: tg.where(mask, x, y)), arrays, [test_ops.MASK]
        if case.name == "masked_select":
            return tg.masked_select, arrays, [test_ops.MASK]
        return f, arrays, []
    return Row(case.name, make, case.label, dtypes=FLOATS if case.name != "astype" else FLOATS[:1])


def constant_row(name, numpy):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-4, 5, (3, 4)) / 2, rng.integers(1, 5, (3, 4)) / 2][:getattr(numpy, "nin", 1)]
    return Row(name, lambda dtype: (getattr(tg, name), [a.astype(dtype) for a in arrays], []))


def bit_row(name, numpy):
    arrays = [np.array([[True, False], [True, True]]), np.array([True, False])][:numpy.nin]
    return Row(name, lambda dtype: (getattr(tg, name), arrays, []), dtypes=FLOATS[:1])


def function_row(function, i, call):
    """What stands in the row's words (A, B, V, SQUARE) is moved too."""
    def make(dtype):
        def f(x, **constants):
            return type(call)(call.__code__, {**call.__globals__, **constants})(x)
        words = {k: getattr(test_numpy_functions, k).astype(dtype) for k in ("A", "B", "V", "SQUARE")}
        return f, [words["A"]], words
    return Row(f"np.{function.__name__}", make, str(i))


def index_row(label, index):
    def make(dtype):
        x = np.random.default_rng(0).standard_normal(test_indexing.SHAPE).astype(dtype)
        return (lambda x, index: x[index]), [x], dict(index=index)
    return Row("getitem", make, label)


OPS = ([op_row(case) for case in test_ops.CASES] + [constant_row(*pair) for pair in test_ops.CONSTANTS.items()]
       + [bit_row(*pair) for pair in test_ops.BITWISE.items()]
       + [index_row(*pair) for pair in test_indexing.INDICES.items()]
       + [Row("einsum", lambda dtype, text=text, shapes=shapes: (partial(tg.einsum, text), [
           np.random.default_rng(i).uniform(0.5, 1.5, s).astype(dtype) for i, s in enumerate(shapes)], []), text)
          for text, *shapes in test_linalg.SUMS])
FUNCTIONS = [function_row(f, i, call) for f, calls in test_numpy_functions.CALLS.items() for i, call in enumerate(calls)
             if f not in (np.array_repr, np.array_str, np.empty_like, np.searchsorted)]
FUNCTIONS.append(Row("np.searchsorted", lambda dtype: (
    lambda x, edges: np.searchsorted(edges, x), [test_numpy_functions.A.astype(dtype)], [np.linspace(0, 2, 9).astype(dtype)])))


# --- losses
def loss_rows(name):
    moving, fixed = test_losses_more.example(name)
    for options in test_losses_more.reductions_of(name):
        def make(dtype, options=options):
            cast = lambda a: a.astype(dtype) if a.dtype.kind == "f" else a
            return of(getattr(losses, name), **options), [cast(a) for a in moving], []
        if fixed:
            def make(dtype, options=options):
                cast = lambda a: a.astype(dtype) if a.dtype.kind == "f" else a
                return partial(getattr(losses, name), **options), [cast(a) for a in moving], [cast(a) for a in fixed]
        yield Row(name, make, options.get("reduction", ""))


def drawn_loss_row(name, draws, shape, options):
    def make(dtype):
        arrays, named = test_losses_more.drawn(draws, shape, options, dtype)
        tracked = [d in test_losses_more.TRACKED for d in draws]

        def f(*leaves, rest, **named):
            left, right = iter(leaves), iter(rest)
            return getattr(losses, name)(*[next(left) if t else next(right) for t in tracked], **named)
        return f, [a for a, t in zip(arrays, tracked) if t], dict(rest=[a for a, t in zip(arrays, tracked) if not t], **named)
    return Row(name, make, f"{shape} {[k for k in options]}")


def class_loss_row(name, shape, draw, options):
    def make(dtype):
        x, y, named = test_losses.drawn(name, shape, draw, options, dtype)
        return getattr(losses, name), [x], dict(target=y, **named)
    return Row(name, make, f"{shape} {getattr(draw, '__name__', 'classes')} {[k for k in options]}")


LOSSES = ([row for name in test_losses_more.NAMES for row in loss_rows(name)]
          + [drawn_loss_row(*p.values) for p in test_losses_more.DRAWS]
          + [class_loss_row(*row) for row in test_losses.ROWS if np.prod(row[1]) < 1000])


# --- layers
def layer_row(name, args, kwargs, shape, training=True):
    def make(dtype):
        x = np.random.default_rng(0).normal(size=shape) * 3
        return getattr(nn, name)(*args, **kwargs).train(training), [np.asarray(x).astype(dtype)], []
    return Row(name, make, f"{shape} {'' if training else 'eval'}")


def recurrent_row(kind, options, lengths):
    def make(dtype):
        x = np.random.default_rng(0).normal(size=(3, 5, 4) if options.get("batch_first") else (5, 3, 4))
        return getattr(nn, kind)(4, 6, **options), [x.astype(dtype)], dict(lengths=lengths) if lengths else []
    draws = "dropout" in options or "zoneout" in options
    return Row(kind, make, f"{options} {lengths or ''}", FLOATS if not options else (np.float32,), draws)


def packed_row(kind):
    def make(dtype):
        m = getattr(nn, kind)(4, 6)
        rnn = nn.utils.rnn

        class Packed(nn.Module):
            def __init__(self): self.m = m
            def forward(self, x):
                y, last = self.m(rnn.pack_padded_sequence(x, [5, 2, 4], enforce_sorted=False))
                return rnn.pad_packed_sequence(y)[0], last
        return Packed(), [np.random.default_rng(0).normal(size=(5, 3, 4)).astype(dtype)], []
    return Row(kind, make, "packed")


def cell_row(kind):
    return Row(kind, lambda dtype: (getattr(nn, kind)(4, 3), [np.random.default_rng(0).normal(size=(2, 4)).astype(dtype)], []))


def attention_row(label, masks):
    def make(dtype):
        rng = np.random.default_rng(1)
        cast = {k: v.astype(dtype) if getattr(v, "dtype", None) == float else v for k, v in masks.items()}
        return nn.MultiheadAttention(8, 2), [rng.normal(size=(n, 3, 8)).astype(dtype) for n in (5, 4, 4)], cast
    return Row("MultiheadAttention", make, label)


def embedding_row(options, shape):
    def make(dtype):
        return nn.Embedding(6, 3, **options), [], [np.asarray(np.random.default_rng(0).integers(0, 4, shape))]
    return Row("Embedding", make, f"{options} {shape}")


def bag_row(options, flat):
    def make(dtype):
        rng = np.random.default_rng(0)
        kwargs = {k: v for k, v in options.items() if k != "weighted"}
        ids, offsets = test_embedding.bags(rng) if flat else (rng.integers(0, 7, (4, 5)), None)
        if kwargs.get("include_last_offset") and flat:
            offsets = np.append(offsets, len(ids))
        elif not flat:
            kwargs.pop("include_last_offset", None)
        weights = dict(per_sample_weights=rng.normal(size=ids.shape).astype(dtype)) if options.get("weighted") else {}
        return nn.EmbeddingBag(7, 3, **kwargs), [], dict(ids=ids, offsets=offsets, **weights)
    return Row("EmbeddingBag", make, f"{options} {'offsets' if flat else 'matrix'}")


def norm_row(label, norm, shape, weights):
    return Row("norms", lambda dtype: (norm, test_normalization.drawn(shape, weights, dtype), []), f"{label} {shape}")


def pool_row(name, pool):
    return Row("pools", lambda dtype: (pool, [test_pooling.inputs_for(name, np.random.default_rng(0)).astype(dtype)], []), name)


def made(name, make, *arrays, label="", draws=False):
    return Row(name, lambda dtype: (make(), [a.astype(dtype) for a in arrays], []), label, draws=draws)


X = np.random.default_rng(0).normal(size=(6, 4))
OPTIONS = [dict(), dict(nonlinearity="relu")], [dict()], [dict(), dict(proj_size=2)]
LAYERS = ([layer_row(*row) for row in test_nn.ROWS if row[3] != (1, 4, 3) or row[0] != "BatchNorm1d"]
          + [layer_row(name, (4,), {}, (6, 4), False) for name in ("BatchNorm1d", "LayerNorm")]
          + [recurrent_row(kind, {**o, **d}, lengths) for kind, more in zip(("RNN", "GRU", "LSTM"), OPTIONS) for o in more
             for d in test_recurrent.DRAWN for lengths in ([], [5, 2, 4]) if not (o and d)]
          + [recurrent_row(kind, o, []) for kind in ("RNN", "GRU", "LSTM") for o in
             (dict(layer_norm=True), dict(zoneout=0.5), dict(num_layers=2, dropout=0.5),
              dict(num_layers=2, dropout=0.5, variational=True))]
          + [packed_row(kind) for kind in ("RNN", "GRU", "LSTM")] + [cell_row(kind) for kind in ("RNNCell", "GRUCell", "LSTMCell")]
          + [attention_row(*pair) for pair in test_attention.MASKS.items()]
          + [embedding_row(o, s) for o in test_nn.OPTIONS for s in [(7,), (3, 4), (), (0,)]]
          + [bag_row(o, flat) for o in test_embedding.OPTIONS for flat in (True, False)]
          + [norm_row(p.id, p.values[0], p.values[2], p.values[3]) for p in test_normalization.ROWS]
          + [pool_row(*pair) for pair in test_pooling.POOLS.items()]
          + [made("Dropout", lambda: nn.Dropout(0.5), X, draws=True),
             made("Dropout", lambda: nn.Dropout(0.5).eval(), X, label="eval"),
             made("Bilinear", lambda: nn.Bilinear(4, 4, 3), X, X), made("Highway", lambda: nn.Highway(4, 2), X),
             made("CheckFinite", lambda: nn.CheckFinite("here"), X),
             made("Sequential", lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh()), X),
             Row("CharCNN", lambda dtype: (nn.CharCNN(12, 5, 4, (1, 2, 3)), [], [test_charcnn.words(np.random.default_rng(0))])),
             made("scaled_dot_product_attention", lambda: partial(F.scaled_dot_product_attention, is_causal=True), X, X, X)])

TABLES = dict(ops=OPS, functions=FUNCTIONS, losses=LOSSES, layers=LAYERS)


def by_name(rows):
    found = {}
    for row in rows:
        found.setdefault(row.name, []).append(row)
    return found


ALL = {(table, name): rows for table, everything in TABLES.items() for name, rows in by_name(everything).items()}
# Whose definition asks the device for a number: (how often a run may wait at most, why)
WAITS = {
    "masked_select": (4, "a mask decides how many numbers the result has"), "getitem": (16, "so does a mask among indices"),
    "np.nonzero": (1, "how many there are"), "np.flatnonzero": (1, "how many there are"),
    "ctc_loss": (6, "lengths and targets, if on the device, are fetched: they decide the sizes"),
    "EmbeddingBag": (2, "offsets, if on the device, are fetched: they decide the sizes"),
    "CheckFinite": (4, "it is there to look"),
}
