"""Where does the first NaN come from? While the block is open, every op is looked at, forward and backward.

The engine is exchanged, not asked: `tensor.new`, which makes every result, looks at what it is for, and the sweep of a backward
pass takes every node through `_through`. When the block closes all is as it was, so what is not used costs nothing.
"""
import linecache
import os
import sys
import threading
from typing import NamedTuple

import numpy as np

from .. import autodiff, tensor
from ..backend import to_host
from ..fitting import fit
from ..nn.check_finite import NonFiniteError, trouble
from ..rowsparse import RowSparse
from ..tensor import FREED, Tensor, plain
from .calls import Paths, listening

NOT_YOURS = tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in (tensor.__file__, np.__file__))
LOCK = threading.Lock()
ENGINE = tensor.sweep, tensor.new
open_blocks = 0


class Here(threading.local):
    hunter = None                           # of this thread


here = Here()


class detect_anomaly:
    """A block in which the first op whose value or gradient is not finite raises NonFiniteError, and says where and why.

    The message names the op, the line of your code that called it, the module at work, the share of entries that are NaN or
    infinite, the first of them, and the range of every input, with its name where it is a parameter. The loss is a value
    like any other; a backward pass of values made before the block is followed too. Infinities that come in as -inf (masks)
    may pass on. The block concerns this thread only and makes it some times slower; outside of it nothing is different.

    >>> x = Tensor([1.0, 0.0, 4.0], requires_grad=True)
    >>> with detect_anomaly():
    ...     np.sqrt(x).sum().backward()                     # 1 / (2 sqrt(0))
    Traceback (most recent call last):
    ...
    tinygrad_lite.nn.check_finite.NonFiniteError: backward of sqrt: the gradient of its input is not finite: 1 of 3 entries ...
    """

    def __enter__(self):
        self.outer, here.hunter = here.hunter, _Hunter({} if here.hunter is None else here.hunter.sites)
        self.calls, self.quiet = listening(here.hunter.paths), np.errstate(all="ignore")       # an error tells more than a warning
        self.calls.__enter__()
        self.quiet.__enter__()
        _count(1)
        return self

    def __exit__(self, *error):
        _count(-1)
        self.quiet.__exit__(*error)
        self.calls.__exit__(*error)
        here.hunter = self.outer


def _count(step):
    """Exchange the engine when the first block of any thread opens, and put it back when the last one closes."""
    global open_blocks
    with LOCK:
        open_blocks += step
        if open_blocks:
            tensor.sweep, tensor.new = _sweep, _new
        else:
            tensor.sweep, tensor.new = ENGINE
        autodiff.sweep = tensor.sweep


class _Hunter:
    """`sites`: {id of a Tensor made in the block: where}. Kept beside the Tensors: one more attribute would slow all of them."""

    def __init__(self, sites):
        self.paths, self.sites, self.in_rule = Paths(), sites, False


class Site(NamedTuple):
    """Where an op was called: the module at work, the outermost module, and file and number of your line."""
    module: str | None = None
    root: object = None
    place: tuple | None = None

    @property
    def line(self):
        if self.place is None:
            return None
        name, number = self.place
        return f"{name.removeprefix(os.getcwd() + os.sep)}:{number}: {linecache.getline(name, number).strip()}"

    def names(self):
        """{id of a parameter's array: its name}"""
        return {} if self.root is None else {id(p.data): name for name, p in self.root.named_parameters()}


NOWHERE = Site()


def _new(kind):
    """In the place of Tensor.__new__, which a recorder calls when it has an op's value: look at it, and note where that was."""
    t, hunter = ENGINE[1](kind), here.hunter
    if hunter is not None:
        recorder = sys._getframe(1)
        site = hunter.sites[id(t)] = Site(hunter.paths.path, hunter.paths.root, _your_line(recorder))
        seen = recorder.f_locals
        if "z" in seen and not hunter.in_rule:
            op, z = seen["op"], seen["z"]
            a, b, options = seen.get("a"), seen.get("b"), seen.get("options", ())
            values = seen["values"] if "values" in seen else [a, *options] if b is None else [a, b]
            _value_trouble(op, z[0] if op.saves else z, values, site)
    return t


def _sweep(root, g, retain=False, wanted=(), through=None):
    """In the place of the engine's sweep: each node goes through `_through`, which looks at what its rules give."""
    hunter = here.hunter
    if hunter is None:
        return ENGINE[0](root, g, retain, wanted, through)

    def watched(op, t, g, values, parents):
        hunter.in_rule, outer = True, hunter.in_rule        # what rules do in a create_graph pass is part of the node's backward
        try:
            site = hunter.sites.get(id(t))
            if site is None:
                _loss_trouble(op, t, values)
            for p, h in (through or _through)(op, t, g, values, parents):
                _gradient_trouble(op, t, g, values, parents, p, h, site or NOWHERE)
                yield p, h
        finally:
            hunter.in_rule = outer
            if not retain:
                t._node = FREED
    leaves, found = ENGINE[0](root, g, retain, wanted, watched)
    for leaf in leaves:
        _sum_trouble(leaf, leaves)
    return leaves, found


def _through(op, t, g, values, parents):
    """What the engine's sweep does at a node in an ordinary pass."""
    for p, rule, x in zip(parents, op.rules, values):
        if p._node is not None and rule is not None:
            yield p, fit(rule(g, t.data, *values), x)


# --- what is wrong, in words
def _value_trouble(op, result, values, site):
    found = trouble(result)
    if found and not _mask_passed_on(result, values):
        raise _error(f"forward of {op.name}: its result is not finite: {found}", op, "forward", found, site,
                     _inputs(op, values, site))


def _gradient_trouble(op, t, g, values, parents, p, h, site):
    found = trouble(h)
    if found:
        which = "its input" if sum(rule is not None for rule in op.rules) == 1 else f"input {[q is p for q in parents].index(True)}"
        raise _error(f"backward of {op.name}: the gradient of {which} is not finite: {found}", op, "backward", found, site,
                     [f"gradient that came in: {_range(g)}", f"result: {_range(t)}", *_inputs(op, values[:len(parents)], site)])


def _loss_trouble(op, t, values):
    """A value that was made before the block is looked at when the pass comes by."""
    found = trouble(t)
    if found and not _mask_passed_on(t.data, values):
        advice = "open the block before the forward pass, too, to see the first op and its line"
        raise _error(f"forward of {op.name}, before detect_anomaly() was opened: its result is not finite: {found}", op, "forward",
                     found, NOWHERE, [*_inputs(op, values, NOWHERE), advice])


def _sum_trouble(leaf, leaves):
    """What came from each use was looked at; added up it may still be too much."""
    found = trouble(leaf._pending)
    if found:
        for other in leaves:
            other._pending = None
        name = getattr(leaf, "name", None) or list(leaf.shape)
        raise NonFiniteError(f"backward: what reaches the leaf {name} is finite use by use, the sum is not: {found}", "add", "backward",
                             found.share, found.index)


def _error(first, op, phase, found, site, inputs):
    where = [f"{what}: {value}" for what, value in (("line", site.line), ("module", site.module)) if value]
    return NonFiniteError("\n  ".join([first, *where, *inputs]), op.name, phase, found.share, found.index, site.module, site.line, inputs)


def _mask_passed_on(result, values):
    """True for -inf in the result and in an input, and neither NaN nor +inf in the result: a mask does its work."""
    return bool((np.isfinite(result) | (result == -np.inf)).all()) and any(
        _is_number(x) and bool(np.any(plain(x) == -np.inf)) for x in values)


def _is_number(x):
    return isinstance(x, float) or getattr(x, "dtype", np.dtype(bool)).kind == "f"


def _inputs(op, values, site):
    names = site.names()
    return [f"input {i}" + (f", the parameter {names[id(x)]}" if id(x) in names else "") + f": {_range(x)}"
            for i, x in enumerate(values) if _is_number(x) and (np.ndim(x) or i < len(op.rules))]      # an option is no input


def _range(x):
    """'float32[2, 3], -1 .. 2.5, not finite: 1 of 6 entries (...)'"""
    x = plain(x)
    if np.ndim(x) == 0 and not isinstance(x, RowSparse):
        return f"{x}"
    x = to_host(x.values if isinstance(x, RowSparse) else x)
    found, finite = trouble(x), x[np.isfinite(x)]
    span = f"{finite.min():.4g} .. {finite.max():.4g}" if finite.size else "none finite" if x.size else "empty"
    return f"{x.dtype}{list(x.shape)}, {span}" + (f", not finite: {found}" if found else "")


def _your_line(frame):
    """(file, number) of the innermost line that is neither this package's nor NumPy's."""
    while frame is not None and frame.f_code.co_filename.startswith(NOT_YOURS):
        frame = frame.f_back
    return frame and (frame.f_code.co_filename, frame.f_lineno)
