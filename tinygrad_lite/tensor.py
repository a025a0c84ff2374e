"""A Tensor is an array that remembers how it was made, so that it can say how it changes.

Read this file first. Calling an op on Tensors computes a value and records one node: which op,
the arrays it saw, the Tensors they came from. `backward()` walks the nodes from the youngest to
the oldest. A Tensor is younger than its parents, so the order of birth is a topological order:
when a Tensor's turn comes, everything that used it has already sent its gradient.

          x ----.                     dL/dx = dL/dz * dz/dx    (the chain rule, one edge)
                 mul --> z --> ... L
          y ----'                     a Tensor used twice gets the sum over both uses

An op is a value and one rule per input: rule(g, z, *inputs) -> dL/d(input), where g = dL/dz.
Rules are written in NumPy's spelling. In an ordinary pass they get arrays; under
`create_graph=True` they get Tensors, so that the gradient is itself differentiable. The engine,
not the rule, sums over broadcast axes, casts, adds up, and skips inputs that need no gradient.
"""
import functools
import threading
from heapq import heappop, heappush
from itertools import count
from sys import getrefcount

import numpy as np

from .backend import like, on_gpu, xp_of
from .fitting import ALONE, complaint, fit

LEAF, FREED = True, False               # what `_node` holds besides None (a constant) and (op, values, parents)
OPS, UFUNCS, FUNCTIONS = {}, {}, {}     # every op by name; NumPy's ufuncs and functions -> our functions
born = count(-1, -1).__next__           # births count downwards: the heap's smallest is the youngest
LOCK = threading.Lock()
paused = 0                              # open no_grad blocks of all threads: usually 0, and one cheap look


class Here(threading.local):
    no_grad, create_graph = 0, False        # what only this thread does just now


here = Here()


class Tensor:
    """An array with a gradient: `.data` is a NumPy (or CuPy) array; `.grad` is one too, or RowSparse, or None.

    Python numbers become float32, arrays keep their dtype. Operators, indexing, methods and NumPy's
    functions work on it and record the graph that `backward()` follows.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x ** 2).sum()
    >>> y.backward()
    >>> y.item(), x.grad
    (14.0, array([2., 4., 6.], dtype=float32))
    """
    _grad = _node = _pending = None     # class attributes are the defaults: a new result sets three fields, not five
    _born = 0

    def __init__(self, data, requires_grad=False, dtype=None):
        data = data.data if isinstance(data, Tensor) else data
        if not on_gpu(data):
            array = np.asarray(data)
            if dtype is None and array.dtype.kind in "iuf" and not isinstance(data, (np.ndarray, np.generic)):
                dtype = np.float32
            if array.dtype.kind not in "fiub":
                raise TypeError(f"Tensor: got {type(data).__name__} of dtype {array.dtype}, expected real numbers")
            data = array
        self.data = data if dtype is None else data.astype(dtype, copy=False)
        if requires_grad:
            self.requires_grad = True

    @property
    def grad(self):
        return self._grad

    @grad.setter
    def grad(self, g):
        g = g.data if isinstance(g, Tensor) else g
        if g is not None and (g.shape != self.data.shape or g.dtype != self.data.dtype):
            raise ValueError(f"grad: got {g.dtype}{list(g.shape)}, expected {self.data.dtype}{list(self.data.shape)} as the data")
        self._grad = g

    @property
    def requires_grad(self):
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, flag):
        if not self.is_leaf:
            raise RuntimeError(f"requires_grad belongs to leaves, this is a result of {self.op_name!r}: use .detach()")
        if flag and self.data.dtype.kind != "f":
            raise TypeError(f"requires_grad: got dtype {self.data.dtype}, expected a float: use .astype('float32')")
        self._node = LEAF if flag else None

    @property
    def op_name(self):
        """The op that made this Tensor; None for a leaf, a constant or a freed graph."""
        return self._node[0].name if type(self._node) is tuple else None

    is_leaf = property(lambda self: self._node is None or self._node is LEAF)
    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)

    def item(self):
        """The one number of a Tensor of size 1, as a Python number."""
        if self.data.size != 1:
            raise ValueError(f"item(): got shape {self.shape}, expected a single number")
        return self.data.item()

    def numpy(self):
        """The data as a NumPy array on the host; no copy where it is one already."""
        return self.data.get() if on_gpu(self.data) else np.asarray(self.data)

    def detach(self):
        """The same data, cut off from the graph."""
        t = new(Tensor)
        t.data = self.data
        return t

    def backward(self, grad=None, retain_graph=False):
        """Add d(self)/d(leaf) to the `.grad` of every leaf that requires one. The graph is freed as it goes.

        `grad` arrives from outside; a single number starts with 1. A second call needs `retain_graph=True` on the first.
        """
        leaves, _ = sweep(self, seed(self, grad), retain=retain_graph)
        for leaf in leaves:
            h, leaf._pending = leaf._pending, None
            if leaf._grad is not None:
                h = leaf._grad + h
            elif hasattr(h, "base") and (getrefcount(h) != ALONE or h.base is not None):       # an array, on any device
                h = h.copy()            # `a + b` hands one array to both: each leaf gets its own
            leaf._grad = np.asarray(h) if isinstance(h, np.generic) else h

    def __repr__(self):
        made = ", requires_grad=True" if self._node is LEAF else f", op={self.op_name}" if self.op_name else ""
        return f"Tensor({np.array2string(self.numpy(), 100, separator=', ', prefix='Tensor(', threshold=100)}, dtype={self.dtype}{made})"

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of a 0-d Tensor")
        return self.shape[0]
    def __iter__(self): return (self[i] for i in range(len(self)))
    def __bool__(self): return bool(self.data)
    def __float__(self): return float(self.item())
    def __int__(self): return int(self.item())
    def __format__(self, spec): return format(self.item(), spec) if spec else repr(self)
    __hash__ = object.__hash__          # by identity, though == compares elements

    def __setitem__(self, index, value):
        if self._node is not None and not (self._node is LEAF and here.no_grad):
            raise RuntimeError("assignment into a tracked Tensor would change values that its gradient needs: build a new "
                               "one with where, stack, concatenate or scatter_add (a leaf may be set inside no_grad)")
        self.data[plain(index)] = plain(value)

    # NumPy's own functions on Tensors: the protocols of NEP 13 and NEP 18
    def __array__(self, dtype=None, copy=None):
        if here.create_graph and self._node is not None:
            raise RuntimeError("np.asarray of a tracked Tensor inside a create_graph pass would cut the graph: "
                               "write the rule in functions that take Tensors")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        ours = UFUNCS.get(ufunc) if method == "__call__" and not options else None
        if ours is None:
            raise TypeError(f"np.{ufunc.__name__}{('.' + method).replace('.__call__', '')}({', '.join(f'{k}=' for k in options)}) has no gradient "
                            "here: use an op of tinygrad_lite without out=, where= or dtype=, or pass x.detach().numpy()")
        return ours(*inputs)

    def __array_function__(self, function, types, args, kwargs):
        ours = FUNCTIONS.get(function)
        if ours is None:
            raise TypeError(f"np.{function.__name__} has no gradient here: use an op of tinygrad_lite, "
                            "or pass x.detach().numpy()")
        return ours(*args, **kwargs)


new, CONSTANT = Tensor.__new__, Tensor(0.0)     # the constant stands in for any parent that needs no gradient


class Op:
    """What a node knows of its operation: forward(*inputs, *options), and a rule or None per input."""
    def __init__(self, name, forward, rules, composite, saves):
        self.name, self.forward, self.rules, self.composite, self.saves = name, forward, rules, composite, saves


def op(name, forward, *rules, composite=None, saves=False):
    """Make a differentiable function of as many inputs as there are rules, plus options.

    A rule of None marks an input without a gradient (a mask, ids). A fused op names its `composite`, the same
    formula in plain ops: its oracle in tests, its way to higher derivatives. With `saves` the forward returns
    (value, extras), and the rules get the extras as a last argument.

    >>> cube = op("_cube", lambda x: x ** 3, lambda g, z, x: g * 3 * x ** 2)
    >>> x = Tensor([2.0], requires_grad=True)
    >>> cube(x).backward(np.ones(1)); x.grad
    array([12.], dtype=float32)
    """
    this = OPS[name] = Op(name, forward, rules, composite, saves)
    plain_op = not saves and None not in rules and len(rules)
    this.call = call = (unary if plain_op == 1 else binary if plain_op == 2 else variadic)(this)
    call.__name__ = call.__qualname__ = name
    call.op = this
    return call


# One recorder per number of inputs. They repeat each other on purpose: the next line of shared code would cost 5 %.
def unary(op):
    def call(x, *options):
        if isinstance(x, Tensor):
            a = x.data
        else:
            a, x = operand(op, Tensor(x).data if isinstance(x, (int, float)) else x), CONSTANT
        try:
            z = op.forward(a, *options) if options else op.forward(a)
        except Exception as error:
            raise complaint(op, error, (a, *options)) from error
        t = new(Tensor)
        t.data = z
        if x._node is not None and not (paused and here.no_grad):
            t._node = op, (a, *options) if options else (a,), (x,)
            t._born = born()
        return t
    return call


def binary(op):
    def call(x, y):
        if isinstance(x, Tensor):
            a = x.data
        else:
            a, x = operand(op, x), CONSTANT
        if isinstance(y, Tensor):
            b = y.data
        else:
            b, y = operand(op, y), CONSTANT
        try:
            z = op.forward(a, b)
        except Exception as error:
            raise complaint(op, error, (a, b)) from error
        t = new(Tensor)
        t.data = z
        if (x._node is not None or y._node is not None) and not (paused and here.no_grad):
            t._node = op, (a, b), (x, y)
            t._born = born()
        return t
    return call


def variadic(op):
    def call(*inputs):
        values, parents, tracked = [], [], False
        for x in inputs:
            p = x if isinstance(x, Tensor) else CONSTANT
            values.append(x if p is CONSTANT else x.data)
            parents.append(p)
            tracked = tracked or p._node is not None
        try:
            z = op.forward(*values)
        except Exception as error:
            raise complaint(op, error, values) from error
        t = new(Tensor)
        t.data, saved = z if op.saves else (z, None)
        if tracked and not (paused and here.no_grad):
            t._node = op, (*values, saved) if op.saves else values, parents
            t._born = born()
        return t
    return call


def sweep(root, g, retain=False, wanted=(), through=None):
    """Send gradients from the root down to the leaves, the youngest node first. No recursion.

    Returns the leaves it reached, whose gradients wait in `_pending`, and the gradients of interior
    `wanted` Tensors by id. A Tensor older than all that is wanted cannot depend on it: not walked.
    In a create_graph pass `through` takes Tensors through a node where rules else take arrays.
    """
    heap, leaves, found = [], [], {}
    interior = wanted and {id(t) for t in wanted if not t.is_leaf}
    oldest = max([t._born for t in wanted]) if wanted else 0

    def arrive(p, h):
        if p._pending is not None:
            p._pending = p._pending + h
        elif p._node is LEAF:
            p._pending = h
            leaves.append(p)
        elif p._born <= oldest:
            p._pending = h
            heappush(heap, (p._born, p))

    try:
        arrive(root, g)
        while heap:
            t = heappop(heap)[1]
            g, t._pending = t._pending, None
            if interior and id(t) in interior:
                found[id(t)] = g
                if t._born == oldest:       # what it was made from is not asked for: its part of the graph stays
                    continue
            if t._node is FREED:
                raise RuntimeError("backward: this graph was walked before and freed. Pass retain_graph=True the first "
                                   "time; in a recurrent net detach() the hidden state between steps")
            op, values, parents = t._node
            if through is not None:
                for p, h in through(op, t, g, values, parents):
                    arrive(p, h)
                continue
            if not retain:
                t._node = FREED
            z = t.data
            if len(parents) == 1:       # these two cases unrolled are most of all nodes; the general one is below
                rule = op.rules[0]
                arrive(parents[0], rule(g, z, values[0]) if len(values) == 1 else rule(g, z, *values))
                continue
            if len(parents) == 2 == len(values):
                (p, q), (x, y), (rule_x, rule_y) = parents, values, op.rules
                if q._node is None:
                    arrive(p, fit(rule_x(g, z, x, y), x))
                    continue
                if p._node is not None:
                    h, k = rule_x(g, z, x, y), rule_y(g, z, x, y)
                    if x.shape != y.shape or x.dtype is not y.dtype:
                        h, k = fit(h, x), fit(k, y)
                    if p._pending is not None:
                        p._pending = p._pending + h
                    else:
                        arrive(p, h)
                    if q._pending is not None:
                        q._pending = q._pending + k
                    else:
                        arrive(q, k)
                    continue
            for p, rule, x in zip(parents, op.rules, values):
                if p._node is not None and rule is not None:
                    arrive(p, fit(rule(g, z, *values), x))
    except BaseException:
        for t in [*leaves, *[t for _, t in heap]]:      # a failed pass leaves no half-sent gradients behind
            t._pending = None
        raise
    return leaves, found


class no_grad:
    """A block, or with @no_grad() a function, in which nothing is recorded. Only this thread is affected.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """
    def __enter__(self, step=1):
        global paused
        with LOCK:
            paused += step
        here.no_grad += step

    def __exit__(self, *error):
        self.__enter__(-1)

    def __call__(self, function):
        @functools.wraps(function)
        def quiet(*args, **kwargs):
            with self:
                return function(*args, **kwargs)
        return quiet


def seed(root, g, create_graph=False):
    """The gradient that a pass starts from, checked against its root: a Tensor in a create_graph pass, else an array."""
    x = root.data
    if root._node is None:
        raise RuntimeError("backward: this Tensor depends on nothing that requires a gradient")
    if g is None and x.size != 1:
        raise RuntimeError(f"backward: got a Tensor of shape {x.shape}, expected a single number (a loss): reduce it "
                           "with .sum() or .mean(), or pass backward(grad)")
    if g is None:
        g = x.dtype.type(1) if isinstance(x, np.generic) else np.ones_like(x)
    elif xp_of(x, plain(g)) and not hasattr(g, "dtype"):       # numbers and lists go where x is; a mixture raises
        g = like(x, g)
    if g.shape != x.shape:
        raise ValueError(f"backward: got a grad of shape {g.shape}, expected {x.shape}")
    g = g if g.dtype == x.dtype else g.astype(x.dtype)
    return plain(g) if not create_graph else g if isinstance(g, Tensor) else Tensor(g)


def plain(x):
    """The array of a Tensor; tuples (an index) are searched, anything else stays what it is."""
    if isinstance(x, tuple):
        return tuple([plain(i) for i in x])
    return x.data if isinstance(x, Tensor) else x


def operand(op, x):
    """What may stand beside a Tensor: arrays, Python numbers (which take the Tensor's dtype), lists of numbers."""
    if isinstance(x, (int, float)) or hasattr(x, "dtype"):
        return x
    if isinstance(x, (list, tuple)):
        return Tensor(x).data
    raise TypeError(f"{op.name}: got {type(x).__name__}, expected a Tensor, an array or a number")
