"""Where an optimizer keeps its state, and how a step reaches many small parameters with one kernel call.

Small parameters of a group share one block of memory: their data become views of it, their states too, and
their gradients are gathered beside it. 200 biases then cost one concatenate and one call, not 200. Each step
looks whether a parameter still is its view; if somebody has put another array in its place (loading, another
optimizer over the same model, `p.data = ...`), that array is copied in and the view restored.
Large parameters are updated where they are.
"""
from itertools import groupby
from math import isfinite

import numpy as np

from ..backend import beside, on_gpu
from ..clip import entries
from ..kernels import FLOATS
from ..kernels.updates import staggered
from ..rowsparse import RowSparse

SMALL = 8192            # numbers; beyond it a kernel call costs little beside its work, a copy does not


class Slot:
    """One parameter's place in an optimizer: its name, group, step count t, state arrays, and `numbers` (state that
    is one number). Slots that step together share t and numbers, which then live in their pool."""
    __slots__ = ("name", "p", "group", "arrays", "view", "pool", "own_t", "own_numbers")

    def __init__(self, name, p, group, numbers):
        self.name, self.p, self.group = name, p, group
        self.arrays, self.view, self.pool, self.own_t, self.own_numbers = {}, None, None, 0, dict(numbers)

    together = property(lambda self: self.pool is not None and self.pool.t is not None)
    t = property(lambda self: self.pool.t if self.together else self.own_t)
    numbers = property(lambda self: self.pool.numbers if self.together else self.own_numbers)


def pools_of(optimizer, rule, group, slots):
    """The pools of a group: its small parameters by dtype and device, each of the others alone."""
    small = [s for s in slots if rule is not None and not optimizer.rows_only and s.p.data.dtype in FLOATS and s.p.data.size <= SMALL
             and (type(s.p.data) is np.ndarray or on_gpu(s.p.data)) and not isinstance(s.p._grad, RowSparse)]
    alike = [[s for s in small if s.p.data.dtype == dtype and on_gpu(s.p.data) == there]
             for there in (False, True) for dtype in FLOATS]
    return ([Shared(optimizer, rule, group, same) for same in alike if same]
            + [Alone(optimizer, rule, group, s) for s in slots if s not in small])


class Alone:
    """A parameter that is updated where it is."""

    def __init__(self, optimizer, rule, group, slot):
        self.rule, self.group, self.slot, self.p = rule, group, slot, slot.p
        self.waits = rule is None and optimizer.waits
        self.dtype, self.kind, self.there = self.p.data.dtype, type(self.p.data), on_gpu(self.p.data)
        slot.own_t, slot.own_numbers, slot.pool = slot.t, dict(slot.numbers), None
        states = rule.states if rule is not None else ()
        dtype = np.float32 if self.dtype == np.float16 else self.dtype
        for name, flat in zip(states, blocks(self.p.data, [self.p.size] * len(states), dtype)):
            flat, fill = flat.reshape(self.p.shape), optimizer.fill_of(name, group)
            if name in slot.arrays:
                flat[...] = beside(slot.arrays[name], flat)
            elif fill != 0:                     # zeros are there already: of a large table only pages that are used get memory
                flat[...] = fill
            slot.arrays[name] = flat

    def fits(self, rule):
        return self.rule is rule and self.p.data.dtype is self.dtype and type(self.p.data) is self.kind

    def gather(self, optimizer):
        """True if there is a gradient to step along; refuses one that is not finite. (On the GPU the Gate does.)"""
        g, slot = self.p._grad, self.slot
        if g is None:
            return False
        if isinstance(g, RowSparse):
            optimizer.check_rows(slot)          # or says why not
        elif optimizer.rows_only:
            raise TypeError(f"{optimizer.name}: parameter {slot.name!r} has a dense gradient, expected RowSparse: make it with "
                            "Embedding(sparse=True), or give the parameter to Adam")
        if not self.there and self.group["check_finite"] and getattr(self.p, "_finite", None) is not g:      # clipping may just have looked
            if not all_finite(g.values if isinstance(g, RowSparse) else g):
                optimizer.refuse(slot, g)
        self.p._finite = None                   # else it would keep the gradient alive
        return True

    def pieces(self, runs):
        """[(gradient in one row, the parameters it belongs to)]"""
        return [(entries(self.p._grad), [self.p])]

    def counts(self):
        return self.slot.own_t, dict(self.slot.own_numbers)

    def recount(self, counts):
        self.slot.own_t, self.slot.own_numbers = counts

    def update(self, optimizer, o, runs, ok=None):
        slot, g, x = self.slot, self.p._grad, self.p.data
        slot.own_t += 1
        if self.rule is None:
            return self.update_by_hand(optimizer, o, ok)
        o.kept = slot.own_numbers
        h = optimizer.all_scalars(o, slot.own_t)
        states = [slot.arrays[n] for n in self.rule.states]
        dtype = np.float32 if x.dtype == np.float16 else x.dtype
        if isinstance(g, RowSparse):
            g = g.coalesce(ordered=False)       # the update is not linear: a row must come once
            return self.rule.rows(g.indices, g.values.astype(dtype, copy=False), x, states, h, ok)
        direct = x.flags.c_contiguous and (x.dtype != np.float16 or self.there)
        flat = x.reshape(-1) if direct else x.astype(dtype).reshape(-1)
        g = np.ascontiguousarray(g, dtype) if type(g) is np.ndarray else g.astype(x.dtype if direct else dtype, copy=False)
        self.rule(g.reshape(-1), flat, [s.reshape(-1) for s in states], h, ok)
        if not direct:                          # strides, or float16 storage: computed beside it, stored back
            x[...] = flat.reshape(x.shape)

    def update_by_hand(self, optimizer, o, ok):
        """update_param: a reader's own, and those whose update is no formula per number. Where `ok` says so, it is taken back."""
        p, g, x = self.p, self.p._grad, self.p.data
        o.t, optimizer.now = self.slot.own_t, o
        before = None if ok is None else (x.copy(), {name: beside(a, x).copy() for name, a in self.slot.arrays.items()})
        if x.dtype == np.float16:               # storage: computed in float32
            p.data, p._grad = x.astype(np.float32), g.astype(np.float32)
        optimizer.before(p)
        h = optimizer.all_scalars(o, o.t)
        if h["direction"] != 1 or h["l2"]:
            p._grad = h["direction"] * p._grad + h["l2"] * p.data
        if h["keep"] != 1:
            p.data *= p.dtype.type(h["keep"])
        try:
            with np.errstate(**{} if ok is None else {"all": "ignore"}):        # what will be taken back may be NaN
                optimizer.update_param(p)
        finally:
            p._grad = g
            if x.dtype == np.float16:
                x[...] = p.data
                p.data = x
        if before is not None:
            x[...] = np.where(ok, x, before[0])
            for name, a in self.slot.arrays.items():
                a[...] = np.where(ok, a, before[1].get(name, a.dtype.type(0)))


class Shared:
    """Small parameters in one block. `t` is the step count of all of them, or None once they count one by one."""

    def __init__(self, optimizer, rule, group, slots):
        self.rule, self.group, self.slots, self.waits = rule, group, slots, False
        self.params = [s.p for s in slots]
        self.dtype, self.kind, self.there = slots[0].p.data.dtype, type(slots[0].p.data), on_gpu(slots[0].p.data)
        self.ends = np.cumsum([0, *[p.data.size for p in self.params]]).tolist()
        self.g, self.flat, *self.states = blocks(slots[0].p.data, [self.ends[-1]] * (2 + len(rule.states)), self.dtype)
        self.rows = all([p.data.ndim == 1 for p in self.params])
        same = all([s.t == slots[0].t and s.numbers == slots[0].numbers for s in slots])
        self.t, self.numbers = None, dict(slots[0].numbers)
        for s, a, b in zip(slots, self.ends, self.ends[1:]):
            s.own_t, s.own_numbers, s.pool = s.t, dict(s.numbers), self
            for name, block in zip(rule.states, self.states):
                part = block[a:b].reshape(s.p.shape)
                part[...] = beside(s.arrays[name], part) if name in s.arrays else optimizer.fill_of(name, group)
                s.arrays[name] = part
            s.view = self.flat[a:b].reshape(s.p.shape)
            s.view[...] = s.p.data
            s.p.data = s.view
        self.t = slots[0].own_t if same else None
        self.views = [s.view for s in slots]

    def fits(self, rule):
        """True if all parameters are (again) views of the block; False if one has another dtype or shape now."""
        for p, view in zip(self.params, self.views):
            if p.data is not view:
                if p.data.dtype is not self.dtype or p.data.shape != view.shape or type(p.data) is not self.kind:
                    return False
                view[...] = p.data
                p.data = view
        return self.rule is rule

    def gather(self, optimizer):
        """Put the gradients side by side; returns the runs (first, last + 1) of slots that have one."""
        grads = [p._grad for p in self.params]
        runs = [(0, len(grads))]
        try:
            np.concatenate(grads if self.rows else [g.reshape(-1) for g in grads], out=self.g)
        except (ValueError, AttributeError, TypeError):     # some are None, or sparse
            runs = self.gather_some(optimizer, grads)
        if self.group["check_finite"] and not self.there:
            for a, b in runs:
                if not all_finite(self.g[self.ends[a]:self.ends[b]]):
                    for s, g in zip(self.slots[a:b], grads[a:b]):
                        if g is not None and not np.isfinite(g).all():
                            optimizer.refuse(s, g)
        return runs

    def gather_some(self, optimizer, grads):
        if any([isinstance(g, RowSparse) for g in grads]):      # those are updated alone: step() sorts anew
            optimizer._pools = None
            return []
        for g, a, b in zip(grads, self.ends, self.ends[1:]):
            if g is not None:
                self.g[a:b] = g.reshape(-1)
        places = groupby(range(len(grads)), key=lambda i: grads[i] is not None)
        runs = [list(same) for present, same in places if present]
        return [(same[0], same[-1] + 1) for same in runs]

    def pieces(self, runs):
        return [(self.g[self.ends[a]:self.ends[b]], self.params[a:b]) for a, b in runs]

    def counts(self):
        return self.t, dict(self.numbers), [(s.own_t, dict(s.own_numbers)) for s in self.slots if self.t is None]

    def recount(self, counts):
        self.t, self.numbers, each = counts
        for s, (t, numbers) in zip(self.slots, each):
            s.own_t, s.own_numbers = t, numbers

    def update(self, optimizer, o, runs, ok=None):
        if self.t is not None and runs == [(0, len(self.slots))]:
            self.t, o.kept = self.t + 1, self.numbers
            return self.rule(self.g, self.flat, self.states, optimizer.all_scalars(o, self.t), ok)
        if self.t is not None:                  # from here on they count one by one
            for s in self.slots:
                s.own_t, s.own_numbers = self.t, dict(self.numbers)
            self.t = None
        for a, b in runs:
            for (t, numbers), same in groupby(range(a, b), key=lambda i: (self.slots[i].own_t, self.slots[i].own_numbers)):
                same, o.kept = list(same), dict(numbers)
                part = slice(self.ends[same[0]], self.ends[same[-1] + 1])
                self.rule(self.g[part], self.flat[part], [s[part] for s in self.states], optimizer.all_scalars(o, t + 1), ok)
                for i in same:
                    self.slots[i].own_t, self.slots[i].own_numbers = t + 1, dict(o.kept)


def blocks(x, sizes, dtype):
    """1-d arrays of zeros where x lives: on the host staggered in one block of memory."""
    return staggered(sizes, dtype) if type(x) is np.ndarray else [np.zeros_like(x, dtype, shape=n) for n in sizes]


def all_finite(g):
    """True if no entry is NaN or inf. The sum of squares tells in one pass; only where it overflows is a second one needed."""
    flat = g if g.ndim == 1 else g.reshape(-1)
    return isfinite(np.vdot(flat, flat)) or bool(np.isfinite(flat).all())
