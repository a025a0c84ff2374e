"""What every schedule shares: arguments checked against their declared ranges, a repr that is the call that makes it."""
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_args, get_origin


@dataclass(frozen=True, repr=False)
class Range:
    """An argument's allowed range in words, with the conversion and the test that hold it."""
    words: str
    convert: Callable
    holds: Callable

    def __repr__(self):
        return repr(self.words)


def _range(kind, words, holds, convert=None):
    return Annotated[kind, Range(words, convert or kind, holds)]


def _steps(values):
    return tuple(map(operator.index, values))


NonNegative = _range(float, "a finite number >= 0", lambda v: 0 <= v < math.inf)
Positive = _range(float, "a finite number > 0", lambda v: 0 < v < math.inf)
AtLeastOne = _range(float, "a finite number >= 1", lambda v: 1 <= v < math.inf)
Real = _range(float, "a finite number", math.isfinite)
Share = _range(float, "a number in [0, 1]", lambda v: 0 <= v <= 1)
PositiveShare = _range(float, "a number in (0, 1]", lambda v: 0 < v <= 1)
Count = _range(int, "an integer >= 0", lambda v: v >= 0, operator.index)
PositiveCount = _range(int, "an integer >= 1", lambda v: v >= 1, operator.index)
Steps = _range(tuple, "integers >= 0 in ascending order", lambda v: list(v) == sorted(v) and min(v, default=0) >= 0, _steps)
AnyOrder = _range(tuple, "integers >= 0", lambda v: min(v, default=0) >= 0, lambda v: tuple(sorted(_steps(v))))
Function = _range(Callable, "a function of the step", callable, lambda v: v)

schedule = dataclass(frozen=True, repr=False)


def refuse(owner, name, value, expected):
    raise ValueError(f"{type(owner).__name__}: {name}={_show(value)} is not allowed; expected {expected}")


def _show(value):
    """repr without memory addresses: an optimizer compares its schedules' reprs across processes."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_show, value))}{',' * (len(value) == 1)})"
    return getattr(value, "__qualname__", None) or repr(value)


class Schedule:
    """A pure function of the step t >= 0; subclasses are dataclasses whose annotations are the ranges above."""
    _rate = "lr"                          # the field whose multiples the schedule takes: what a product divides by

    def __post_init__(self):
        for f in fields(self):
            if not f.init:
                continue
            value, kind = getattr(self, f.name), f.type
            if value is None and f.default is None:
                continue
            if get_origin(kind) is Literal and value not in get_args(kind):
                refuse(self, f.name, value, "one of " + ", ".join(map(repr, get_args(kind))))
            if get_origin(kind) is Annotated:
                allowed = kind.__metadata__[0]
                try:
                    converted = allowed.convert(value)
                    ok = not isinstance(value, str) and allowed.holds(converted)
                except (TypeError, ValueError, OverflowError):
                    ok = False
                if not ok:
                    refuse(self, f.name, value, allowed.words)
                object.__setattr__(self, f.name, converted)

    def __repr__(self):
        shown = (f"{f.name}={_show(getattr(self, f.name))}" for f in fields(self) if f.repr)
        return f"{type(self).__name__}({', '.join(shown)})"


def anneal(start, end, q, kind="linear"):
    """From start at q = 0 to end at q = 1, exact at both ends; "cos" by half a cosine wave."""
    if kind == "cos":
        q = (1 - math.cos(math.pi * q)) / 2
    return start * (1 - q) + end * q


def power(base, exponent):
    """base ** exponent, infinite where Python's floats raise OverflowError: a schedule has a value at every step."""
    try:
        return base ** exponent
    except OverflowError:
        return math.inf


def progress(t, total):
    """Share of a finite schedule that is done; one of no length never leaves its start, as in PyTorch."""
    return min(t, total) / total if total else 0.
