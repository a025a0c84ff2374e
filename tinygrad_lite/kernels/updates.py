"""An optimizer's formula for one number, lifted to whole arrays: written once, run by NumPy or as one fused loop.

    def adam(g, p, exp_avg, exp_avg_sq, h):             # gradient, parameter, state..., the scalars of this step
        exp_avg = h.b1 * exp_avg + (1 - h.b1) * g
        ...
        return p - h.lr * ..., exp_avg, exp_avg_sq      # the new parameter and the new state, in the same order

`Lifted(adam)` rewrites that text into a loop which loads all arrays once, computes, and stores all once:
an update is limited by memory, so each array must cross the bus a single time. Three details carry the speed
and the digits. What depends on `h` and numbers alone moves out of the loop, is computed in float64 and
rounded once to the arrays' dtype (1 - 0.999 in float32 would be wrong in the fifth digit; a float64 scalar
beside float32 arrays would double the time). The loop is compiled under its formula's own file and a name
that ends in a checksum of its text: numba's disk cache tells kernels apart by these, not by what they compute. And state arrays start
1088 bytes apart: arrays at equal offsets within a memory page fight for the same cache lines (4 times slower).
"""
import ast
import inspect
import textwrap
from math import prod
from operator import itemgetter
from types import SimpleNamespace
from zlib import crc32

import numpy as np

from . import FLOATS, KERNELS, PLAIN, compiled, ready
from .prefetch import AHEAD, prefetch, register

# The words that a formula may use besides + - * / ** abs(): NumPy's here, scalar forms in the loop.
sqrt, sign, where, maximum, minimum = np.sqrt, np.sign, np.where, np.maximum, np.minimum
PRELUDE = "g = h.direction * g + h.l2 * p\np = h.keep * p\n"        # maximize, L2 and decoupled decay: the same for all
SPACING = 1088


class Lifted:
    """A formula as an in-place update of arrays: lifted(g, p, *states, scalars) with a dict of scalars.

    >>> def decay(g, p, h):
    ...     return (p - h.lr * g,)
    >>> p = np.ones(2)
    >>> Lifted(decay)(np.ones(2), p, [], dict(lr=0.25, direction=1, l2=0, keep=1)); p
    array([0.75, 0.75])
    """

    def __init__(self, formula):
        self.formula = formula
        self.name = f"{formula.__module__.rpartition('.')[2]}_{formula.__name__}_loop"
        self.states = list(inspect.signature(formula).parameters)[2:-1]
        self.scalars = None             # names of the h.… the loop reads, in order
        self.loop = self.row_loop = None
        KERNELS[self.name] = self

    def __call__(self, g, p, states, h):
        """Update the 1-d arrays p and states in place; g is read. All of one dtype."""
        if PLAIN or type(p) is not np.ndarray or p.dtype not in FLOATS:
            return self.plain(g, p, states, h)
        if self.loop is None:
            self.loop = self.lift()
        if self.loop is False:
            return self.plain(g, p, states, h)
        self.loop(g, p, *states, np.array(self.pick(h)))

    def rows(self, rows, g, p, states, h):
        """Update some rows of the tables p and states in place, each of them once: g[k] moves row rows[k], all others rest."""
        if self.row_loop is None and not PLAIN:
            self.row_loop = self.lift(rows=True)
        if self.row_loop and ready(p, g, *states) and rows.dtype == np.int64:
            tables = [a.reshape(len(a), prod(a.shape[1:])) for a in (g, p, *states)]
            return self.row_loop(rows, *tables, np.array(self.pick(h)))
        taken = [a[rows] for a in (p, *states)]
        self.plain(g, taken[0], taken[1:], h)
        for a, new in zip([p, *states], taken):
            a[rows] = new

    def plain(self, g, p, states, h):
        """The same update in NumPy: the definition that the loop must agree with."""
        with np.errstate(all="ignore"):     # the loop does not warn either
            g = h["direction"] * g + h["l2"] * p
            results = self.formula(g, h["keep"] * p, *states, SimpleNamespace(**h))
            for array, new in zip([p, *states], results):
                array[...] = new

    def lift(self, rows=False):
        """Write, and hand to numba, the fused loop; False where there is no text to rewrite: a shell need not keep what was typed."""
        try:
            source, self.scalars = loop_source(self.formula, self.name, rows)
        except OSError:
            return False
        name = f"{self.name}_{crc32(source.encode()):08x}"      # says what it computes: a formula of the same name is another kernel
        source = source.replace(self.name, name, 1)
        self.pick = itemgetter(*self.scalars)
        code = self.formula.__code__
        register()
        space = {"__name__": self.formula.__module__, "np": np, "prefetch": prefetch}
        exec(compile(source, code.co_filename, "exec"), space)
        if code.co_filename.endswith(".py"):
            return compiled(space[name])
        from numba import njit          # typed into a shell: there is no file to cache beside
        return njit(error_model="numpy")(space[name])


class Hoist(ast.NodeTransformer):
    """Replace what does not change within the loop by names, computed once before it."""

    def __init__(self):
        self.names, self.scalars = {}, []

    def visit(self, node):
        if isinstance(node, ast.expr) and self.invariant(node):
            return self.hoisted(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            args = [self.visit(a) for a in node.args]
            match node.func.id:
                case "where":           # a select, which vectorises
                    return ast.IfExp(*args)
                case "minimum":
                    return ast.IfExp(ast.Compare(args[0], [ast.Lt()], [args[1]]), *args)
                case "maximum":
                    return ast.IfExp(ast.Compare(args[0], [ast.Gt()], [args[1]]), *args)
                case "sqrt" | "sign" | "abs":
                    return ast.Call(ast.Attribute(ast.Name("np", ast.Load()), node.func.id, ast.Load()), args, [])
            raise SyntaxError(f"a formula may use sqrt, sign, abs, where, minimum, maximum; got {node.func.id}()")
        return self.generic_visit(node)

    def invariant(self, node):
        leaves = [n for n in ast.walk(node) if isinstance(n, (ast.Name, ast.Constant, ast.Call))]
        return bool(leaves) and all(isinstance(n, ast.Constant) or isinstance(n, ast.Name) and n.id == "h" for n in leaves)

    def hoisted(self, node):
        for n in ast.walk(node):
            if isinstance(n, ast.Attribute) and n.attr not in self.scalars:
                self.scalars.append(n.attr)
        text = ast.unparse(Subscripts(self.scalars).visit(node))
        self.names.setdefault(text, f"k{len(self.names)}")
        return ast.Name(self.names[text], ast.Load())


class Subscripts(ast.NodeTransformer):
    """h.lr -> h_[3], its place among the scalars."""

    def __init__(self, scalars):
        self.scalars = scalars

    def visit_Attribute(self, node):
        return ast.Subscript(ast.Name("h_", ast.Load()), ast.Constant(self.scalars.index(node.attr)), ast.Load())


def loop_source(formula, name, rows=False):
    """The text of the fused loop for a formula, over all numbers or over those of some rows, and the scalars it reads.

    >>> def gd(g, p, h):
    ...     return (p - 2 * h.lr * g,)
    >>> text, scalars = loop_source(gd, "gd_loop")
    >>> scalars
    ['direction', 'l2', 'keep', 'lr']
    """
    function = ast.parse(textwrap.dedent(inspect.getsource(formula))).body[0]
    arrays = [a.arg for a in function.args.args][:-1]
    hoist = Hoist()
    body = [hoist.visit(s) for s in ast.parse(PRELUDE).body + function.body
            if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    *steps, last = body
    results = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
    lines = [f"def {name}({'rows_, ' * rows}{', '.join(a + '_' for a in arrays)}, h_):", "    T = p_.dtype.type"]
    lines += [f"    {k} = T({text})" for text, k in hoist.names.items()]
    steps = [ast.unparse(ast.fix_missing_locations(s)) for s in steps]
    news = [f"new_{a} = {ast.unparse(ast.fix_missing_locations(e))}" for a, e in zip(arrays[1:], results)]
    if rows:
        at = dict.fromkeys(arrays, "row_, i_") | {"g": "k_, i_"}
        lines += ["    for k_ in range(rows_.size):", f"        next_ = rows_[min(k_ + {AHEAD}, rows_.size - 1)]"]
        lines += [f"        prefetch({a}_, next_)" for a in arrays[1:]]
        lines += ["        row_ = rows_[k_]", "        for i_ in range(p_.shape[1]):"]
    else:
        at = dict.fromkeys(arrays, "i_")
        lines += ["    for i_ in range(p_.size):"]
    loads, stores = [f"{a} = {a}_[{at[a]}]" for a in arrays], [f"{a}_[{at[a]}] = new_{a}" for a in arrays[1:]]
    lines += [" " * (12 if rows else 8) + line for line in loads + steps + news + stores]
    return "\n".join(lines) + "\n", hoist.scalars


def staggered(sizes, dtype):
    """1-d arrays of zeros cut from one block of memory, each starting 1088 bytes further within its page.

    A large block is not written here: the system hands out its pages as they are first touched.

    >>> [a.size for a in staggered([3, 5], np.float32)]
    [3, 5]
    """
    dtype, starts, end = np.dtype(dtype), [], 0
    for i, n in enumerate(sizes):
        start = -(-end // 4096) * 4096 + (i + 1) * SPACING % 4096
        starts.append(start)
        end = start + n * dtype.itemsize
    block = np.zeros(end + 4096, np.uint8)
    first = -block.ctypes.data % 4096
    return [block[first + s:first + s + n * dtype.itemsize].view(dtype) for s, n in zip(starts, sizes)]
