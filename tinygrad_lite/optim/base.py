"""What all optimizers share, so that each of them is its formula.

A subclass is a docstring, `defaults` in PyTorch's order, and a `rule` lifted from a scalar formula with
`scalars(o, t)`, its numbers for step t; or, where the update is no formula per number (norms, matrices, a
reader's own idea), just `update_param(self, p)` in NumPy. The base owns the rest: groups, schedules, one clock
`t` and a step count for each parameter, maximize, L2 and decoupled decay, gradients of None (the parameter is
left entirely alone) and of rows, state by parameter name, and the refusal of non-finite gradients.
"""
import inspect
import warnings
from contextlib import suppress
from types import SimpleNamespace

import numpy as np

from ..backend import beside, on_gpu, to_host
from ..rowsparse import RowSparse
from ..tensor import Tensor
from .gate import gate_of
from .slots import Slot, pools_of

COMMON = dict(maximize=False, check_finite=True)
IGNORED = ("foreach", "fused", "capturable", "differentiable")     # PyTorch's speed switches: nothing to switch here
RANGES = dict(lr="[0, inf)", weight_decay="[0, inf)", eps="[0, inf)", momentum="[0, inf)", betas="[0, 1)", lr_decay="[0, inf)",
              initial_accumulator_value="[0, inf)", alpha="[0, inf)", rho="[0, 1]")


def today(value, t):
    """An option's value at step t: schedules are functions of the step, also inside a tuple (Adam's betas)."""
    if type(value) is float:
        return value
    if isinstance(value, tuple):
        return tuple([today(v, t) for v in value]) if any([callable(v) for v in value]) else value
    return value(t) if callable(value) and not isinstance(value, type) else value


def frozen(value):
    """An option as a state_dict keeps it: a schedule by what it prints, and by what it remembers if it is not pure."""
    if isinstance(value, tuple):
        return tuple([frozen(v) for v in value])
    if not callable(value):
        return value
    memory = {"state": value.state_dict()} if hasattr(value, "state_dict") else {}
    return {"schedule": getattr(value, "__qualname__", None) or repr(value), **memory}


def merged(key, mine, saved, notes):
    """An option after loading: the saved number, or our own schedule, with a note where another one was saved."""
    if isinstance(mine, tuple) and isinstance(saved, (tuple, list)) and len(mine) == len(saved):
        return tuple([merged(key, a, b, notes) for a, b in zip(mine, saved)])
    if not callable(mine) and not isinstance(saved, dict):
        return tuple(saved) if isinstance(saved, list) else saved
    before, after = [v["schedule"] if isinstance(v, dict) else v for v in (saved, frozen(mine))]
    if before != after:
        notes.append(f"{key} was saved as {before}, goes on as {after}")
    return mine


class Optimizer:
    """Base of all optimizers. `params`: Parameters, (name, Parameter) pairs, or dicts {"params": ..., option: value}.

    Any option may be a schedule, a function of the step. `step()` returns whether it stepped, and only
    then the clock `t` advances; `step(closure)` returns the loss and sets `stepped`. On the GPU the answer comes a step late,
    and what step() returns waits for it only where it is asked: see gate.py.

    >>> class GD(Optimizer):
    ...     defaults = dict(lr=0.1)
    ...     def update_param(self, p):
    ...         p.data -= self.now.lr * p.grad
    >>> w = Tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> GD([w]).step(), w.data
    (True, array([0.8], dtype=float32))
    """
    defaults = {}
    fill = {}               # what a state starts with, where that is not 0
    rule = None             # a Lifted formula
    numbers = {}            # state that is one number per parameter: scalars() finds it in o.kept and may change it there
    functions = ()          # options that are functions of something else than the step: no schedules
    own_decay = False       # weight_decay is the formula's own affair
    decoupled = False       # weight_decay shrinks the parameter by lr * decay instead of joining the gradient
    accepts_rows = False    # takes RowSparse gradients: then only the rows that were used move
    rows_only = False       # and no other ones
    waits = True            # an update_param may look at numbers, for which a GPU step waits; where not, its states begin with 0

    def __init_subclass__(cls):
        names = ["params", *cls.defaults]
        kinds = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=cls.defaults.get(n, inspect.Parameter.empty))
                 for n in names]
        kinds += [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=v) for n, v in COMMON.items() if n not in names]
        cls.__signature__ = inspect.Signature(kinds)

    def __init__(self, params, *values, **options):
        if len(values) > len(self.defaults):
            raise TypeError(f"{self.name} takes at most {len(self.defaults)} positional options: {', '.join(self.defaults)}")
        options = {**dict(zip(self.defaults, values)), **{k: v for k, v in options.items() if k not in IGNORED}}
        self.options = {**COMMON, **self.defaults}
        self.known(options)
        self.options.update(options)
        self._t, self._gate, self.stepped = 0, None, False
        self.param_groups, self.slots, self.owners = [], {}, {}        # slots by name, and by id(parameter)
        self._pools, self._there, self._today = None, False, {}
        if isinstance(params, (Tensor, np.ndarray)) or hasattr(params, "named_parameters"):
            raise TypeError(f"{self.name}: params: got {type(params).__name__}, expected a list of Parameters "
                            "(model.parameters() or model.named_parameters())")
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{self.name}: params: got a set, whose order changes from run to run; expected a list")
        params = list(params)
        for group in params if params and isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)
        if not self.slots:
            raise ValueError(f"{self.name}: got an empty parameter list")

    @property
    def name(self):
        return type(self).__name__

    def known(self, options):
        unknown = sorted(set(options) - set(self.options) - {"params"})
        if unknown:
            raise TypeError(f"{self.name}: unknown option {unknown[0]!r}; known are {', '.join(sorted(self.options))}")

    def add_param_group(self, group):
        """Add parameters with options of their own: {"params": [...], "lr": 0.01}. What is not named comes from the constructor."""
        group = {k: v for k, v in group.items() if k not in IGNORED}
        self.known(group)
        if "params" not in group:
            raise ValueError(f"{self.name}: got a group without 'params': {group}")
        params = group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{self.name}: params: got a set, whose order changes from run to run; expected a list")
        group = {"params": [], **self.options, **{k: v for k, v in group.items() if k != "params"}}
        self.check(group)
        slots, owners = {}, dict(self.owners)
        for p in [params] if isinstance(params, Tensor) else params:
            name, p = p if isinstance(p, tuple) else (getattr(p, "name", None), p)
            if not isinstance(p, Tensor) or not p.is_leaf:
                raise TypeError(f"{self.name}: got {type(p).__name__}{' made by ' + p.op_name if isinstance(p, Tensor) else ''}, "
                                "expected Parameters (leaves)")
            name = str(len(self.slots) + len(slots)) if name is None else name
            twin = owners.get(id(p))
            if twin is not None or name in self.slots or name in slots:
                raise ValueError(f"{self.name}: parameter {name!r} appears twice{f' (also as {twin.name!r})' if twin else ''}")
            slots[name] = owners[id(p)] = Slot(name, p, group, self.numbers)
            group["params"].append(p)
        self.slots.update(slots)
        self.owners = owners
        self.param_groups.append(group)
        self._pools = None

    def check(self, group):
        """Refuse options outside their range; a subclass adds what only it knows."""
        for key, span in RANGES.items():
            for value in np.atleast_1d(np.array(group.get(key, ()), object)):
                if isinstance(value, (int, float, np.number)):
                    low, high = span[1:-1].split(", ")
                    if not (float(low) <= value and (value < float(high) or value == float(high) and span[-1] == "]")):
                        raise ValueError(f"{self.name}: {key}: got {group[key]}, expected a number in {span}")

    @property
    def t(self):
        """The clock: how many steps were taken. On the GPU asking waits for the last one."""
        self.settle()
        return self._t

    @t.setter
    def t(self, steps):
        self._t = steps

    def settle(self):
        """On the GPU: hear whether the last step was taken; raises where its gradient was not finite."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.settle()

    @property
    def lr(self):
        """Today's learning rate of the first group, a float."""
        return today(self.param_groups[0]["lr"], self.t)

    @property
    def state(self):
        """{name: {"step": steps taken, state name: array}} of the parameters that have stepped."""
        self.settle()
        return {s.name: {"step": s.t, **s.numbers, **s.arrays} for s in self.slots.values() if s.t}

    @property
    def untouched(self):
        """Names of the parameters that never had a gradient in a step: they are exactly as they were given."""
        self.settle()
        return [s.name for s in self.slots.values() if not s.t]

    def zero_grad(self, set_to_none=True):
        for slot in self.slots.values():
            p = slot.p
            p._grad = None if set_to_none or p._grad is None else np.zeros_like(p.data)

    # --- one step
    def rule_of(self, o):
        """The lifted formula for a group with options o."""
        return self.rule

    def scalars(self, o, t):
        """The scalars h of a parameter's t-th step, from today's options: bias corrections folded in."""
        return dict(lr=o.lr)

    def step(self, closure=None):
        loss = closure() if closure is not None else None
        self.advance()
        return self.stepped if closure is None else loss

    def advance(self, quiet=()):
        """One step. Returns whether it was taken; on the GPU a Gate, for which `quiet` are looks that refuse without an error."""
        work = self.ready()
        gate = gate_of([self], [work], quiet) if self._there else None
        self.stepped = self.move(work, gate)
        return self.stepped

    def ready(self):
        """What this step is to move, after every gradient has been looked at."""
        if self._gate is not None:
            self.settle()
        work = self.gather()
        if self._pools is None:         # a sparse gradient turned up among the small ones
            work = self.gather()
        return work

    def move(self, work, gate=None):
        """Take the step, or on the GPU queue it: behind a gate, whose answer is heard before the next one."""
        if gate is not None:
            self._gate = gate
            if not gate.enter(self, work):
                return gate
        ok = None if gate is None else gate.ok
        for pool, o, runs in work:
            pool.update(self, o, runs, ok)
        self._t += bool(work)
        return bool(work) if gate is None else gate

    def gather(self):
        """[(pool, options, what has a gradient)]: looks at every one before anything moves, for a step happens whole or not at all."""
        work = []
        for o, pools in self.plans():
            for pool in pools:
                runs = pool.gather(self)
                if runs:
                    work.append((pool, o, runs))
        return work

    def plans(self):
        """[(today's options, pools)] of each group; sorted into pools anew when formulas, dtypes or parameters have changed."""
        plans, fresh = [], self._pools is None
        for i, group in enumerate(self.param_groups):
            o = self.today(group)
            if not fresh:
                rule = self.rule_of(o)
                for pool in self._pools[i]:
                    fresh = fresh or not pool.fits(rule)
                plans.append((o, self._pools[i]))
        if fresh:
            self._pools = [pools_of(self, self.rule_of(self.today(group)), group, [s for s in self.slots.values() if s.group is group])
                           for group in self.param_groups]
            self._there = any([pool.there for pools in self._pools for pool in pools])
            return list(zip(map(self.today, self.param_groups), self._pools))
        return plans

    def today(self, group):
        """A group's options by attribute, schedules evaluated at t. Remembered for as long as nothing is written to the group."""
        values = list(group.values())[1:]           # without the parameters, which stand first
        known, o = self._today.get(id(group), (None, None))
        if known != values:
            o = self.at(self._t, group)
            fixed = all([o.__dict__[k] is v for k, v in group.items()])
            self._today[id(group)] = values if fixed else None, o
        return o

    def at(self, t, group):
        """A group's options by attribute, schedules evaluated at t."""
        return SimpleNamespace(**{k: v if k in self.functions else today(v, t) for k, v in group.items()})

    def all_scalars(self, o, t):
        """scalars() and those that the lifted rules' prelude reads: direction, L2, decoupled decay."""
        h = self.scalars(o, t) if self.rule_of(o) is not None else {}
        decay = 0.0 if self.own_decay else getattr(o, "weight_decay", 0.0)
        decoupled = decay and (self.decoupled or getattr(o, "decoupled_weight_decay", False))
        h["direction"] = -1.0 if o.maximize else 1.0
        h["l2"] = 0.0 if decoupled else decay
        h["keep"] = 1.0 - o.lr * decay if decoupled else 1.0
        return h

    def fill_of(self, name, group):
        """What state `name` starts with."""
        return self.fill.get(name, 0.0)

    def check_rows(self, slot):
        """Refuse a row-sparse gradient that this optimizer cannot follow."""
        if not self.accepts_rows:
            raise TypeError(f"{self.name}: parameter {slot.name!r} has a sparse gradient (RowSparse): use SGD, Adagrad or "
                            "SparseAdam for it, or an Embedding with sparse=False")
        if slot.group.get("weight_decay"):
            raise ValueError(f"{self.name}: weight_decay {slot.group['weight_decay']} cannot act on the sparse gradient of "
                             f"{slot.name!r}, whose unused rows stay untouched: give it a group with weight_decay=0")

    def refuse(self, slot, g):
        """The error for a gradient with NaN or inf in it."""
        values = to_host(g.values if isinstance(g, RowSparse) else g)
        bad = ~np.isfinite(values)
        at = np.unravel_index(bad.argmax(), bad.shape)
        raise FloatingPointError(
            f"{self.name}: the gradient of parameter {slot.name!r} is not finite: {values[at]} at index {tuple(map(int, at))}, "
            f"{bad.sum()} of {bad.size} entries. Nothing was changed; lower the rate, clip, or look for the cause")

    # --- saving
    def state_dict(self):
        """All that a later run, on any device, needs to go on exactly here: clock, options, state by parameter name."""
        groups = [{**{k: frozen(v) for k, v in g.items() if k != "params"},
                   "params": [self.owners[id(p)].name for p in g["params"]]} for g in self.param_groups]
        state = {n: {k: to_host(v) if on_gpu(v) else v.copy() if hasattr(v, "copy") else v for k, v in s.items()}
                 for n, s in self.state.items()}
        return {"t": self.t, "state": state, "param_groups": groups}

    def load_state_dict(self, saved):
        """Take over a state_dict; anything missing, unexpected or of another shape raises, and then nothing has changed.

        A schedule stays the optimizer's own: a warning tells where another one was saved.
        """
        groups, states = saved["param_groups"], saved["state"]
        mine = [sorted(self.owners[id(p)].name for p in g["params"]) for g in self.param_groups]
        theirs = [sorted(g["params"]) for g in groups]
        if mine != theirs:
            mine, theirs = [n for g in mine for n in g], [n for g in theirs for n in g]
            raise ValueError(f"{self.name}.load_state_dict: parameters missing: {sorted(set(mine) - set(theirs))}, unexpected: "
                             f"{sorted(set(theirs) - set(mine))}; or in other groups: got {len(groups)} groups, "
                             f"expected {len(self.param_groups)}")
        notes, options = [], []
        for group, new in zip(self.param_groups, groups):
            options.append({k: merged(k, group[k], v, notes) for k, v in new.items() if k in group and k != "params"})
            self.check({**group, **options[-1]})
            rule = self.rule_of(self.at(saved["t"], {**group, **options[-1]}))
            for name in new["params"]:
                if name in states:
                    self.fits(name, states[name], rule)
        for note in notes:
            warnings.warn(f"{self.name}: {note}", stacklevel=2)
        for group, new in zip(self.param_groups, options):      # from here on nothing fails
            group.update(new)
        for group, new in zip(self.param_groups, groups):
            for k, v in new.items():
                if isinstance(v, dict) and "state" in v and hasattr(group.get(k), "load_state_dict"):
                    group[k].load_state_dict(v["state"])
        with suppress(FloatingPointError):      # what the last step came to is of no interest now
            self.settle()
        self._pools, self.t = None, saved["t"]
        for name, slot in self.slots.items():
            state = states.get(name, {"step": 0})
            slot.pool, slot.own_t = None, state["step"]
            slot.own_numbers = {k: state.get(k, start) for k, start in self.numbers.items()}
            slot.arrays = {k: v.copy() if hasattr(v, "copy") else v for k, v in state.items()
                           if k != "step" and k not in self.numbers}

    def fits(self, name, state, rule):
        """Refuse a saved state that is not what the formula keeps; an update_param keeps what it likes."""
        wanted = {"step": ()}
        if rule is not None:
            wanted.update(dict.fromkeys(self.numbers, ()), **dict.fromkeys(rule.states, self.slots[name].p.shape))
        got = {k: np.shape(v) for k, v in state.items() if rule is not None or k == "step"}
        if got != wanted:
            raise ValueError(f"{self.name}.load_state_dict: state of {name!r}: got {got}, expected {wanted}")

    def __getstate__(self):
        """For copy and pickle: without the pools, whose views would come apart from their blocks."""
        self.settle()
        kept = {n: (s.p, next(i for i, g in enumerate(self.param_groups) if g is s.group), s.t, dict(s.numbers), s.arrays)
                for n, s in self.slots.items()}
        return {**self.__dict__, "slots": kept, "owners": {}, "_pools": None, "_today": {}}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.slots = {}
        for name, (p, i, t, numbers, arrays) in state["slots"].items():
            slot = self.slots[name] = self.owners[id(p)] = Slot(name, p, self.param_groups[i], numbers)
            slot.own_t, slot.arrays = t, arrays

    def before(self, p):
        """For update_param: called before the decay, where a formula measures the parameter first."""

    def memory(self, p, key, fill=0.0, shape=None):
        """For update_param: the state array `key` of p, made on first use."""
        arrays = self.owners[id(p)].arrays
        if key not in arrays:
            arrays[key] = np.full_like(p.data, fill, order="C", shape=p.shape if shape is None else shape)
        elif on_gpu(arrays[key]) != on_gpu(p.data):             # the model has moved, or the state was loaded
            arrays[key] = beside(arrays[key], p.data)
        return arrays[key]

    def __repr__(self):
        options = ", ".join(f"{k}={v!r}" for k, v in self.param_groups[0].items() if k != "params" and v != COMMON.get(k))
        return f"{self.name}({len(self.slots)} parameters, t={self.t}, {options})"
