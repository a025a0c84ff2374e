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

from . import FLOATS, KERNELS, PLAIN, compiled, cuda, ready
from .prefetch import AHEAD, prefetch, register

# The words that a formula may use besides + - * / ** abs(): NumPy's here, scalar forms in the loop.
sqrt, sign, where, maximum, minimum = np.sqrt, np.sign, np.where, np.maximum, np.minimum
PRELUDE = "g = h.direction * g + h.l2 * p\np = h.keep * p\n"        # maximize, L2 and decoupled decay: the same for all
SPACING = 1088
C_WORDS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.USub: "-", ast.UAdd: "+", ast.Gt: ">", ast.Lt: "<",
           ast.GtE: ">=", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}


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
        self.loop = self.row_loop = self.text = None
        KERNELS[self.name] = self

    def __call__(self, g, p, states, h, ok=None):
        """Update the 1-d arrays p and states in place; g is read. All of one dtype.

        On the GPU g and p may be float16 beside float32 states, and `ok` a 0-d array of bool there: nothing is written where it
        is False, and the host does not ask.
        """
        if PLAIN or type(p) is not np.ndarray or p.dtype not in FLOATS:
            return self.cuda(g, p, states, h, ok) or self.plain(g, p, states, h, ok)
        if self.loop is None:
            self.loop = self.lift()
        if self.loop is False:
            return self.plain(g, p, states, h)
        self.loop(g, p, *states, np.array(self.pick(h)))

    def rows(self, rows, g, p, states, h, ok=None):
        """Update some rows of the tables p and states in place, each of them once: g[k] moves row rows[k], all others rest."""
        if type(p) is not np.ndarray and self.cuda(g, p, states, h, ok, rows):
            return
        if self.row_loop is None and not PLAIN:
            self.row_loop = self.lift(rows=True)
        if self.row_loop and ready(p, g, *states) and rows.dtype == np.int64:
            tables = [a.reshape(len(a), prod(a.shape[1:])) for a in (g, p, *states)]
            return self.row_loop(rows, *tables, np.array(self.pick(h)))
        taken = [a[rows] for a in (p, *states)]
        self.plain(g, taken[0], taken[1:], h, ok)
        for a, new in zip([p, *states], taken):
            a[rows] = new

    def plain(self, g, p, states, h, ok=None):
        """The same update in NumPy: the definition that the loop must agree with."""
        with np.errstate(all="ignore"):     # the loop does not warn either
            x = p.astype(cuda.wide(p.dtype), copy=False)        # float16 is storage
            g = h["direction"] * g.astype(x.dtype, copy=False) + h["l2"] * x
            results = self.formula(g, h["keep"] * x, *states, SimpleNamespace(**h))
            for array, new in zip([p, *states], results):
                array[...] = new if ok is None else np.where(ok, new, array)

    def cuda(self, g, p, states, h, ok=None, rows=None):
        """The same in one launch on the GPU; False where that does not serve these arrays.

        Where all arrays start at multiples of 16 bytes four numbers are loaded at once, as wide as a thread can.
        """
        real = cuda.wide(p.dtype)
        if PLAIN or self.text is False or not cuda.served(g, p) or rows is not None and not cuda.ids(rows):
            return False
        if states and not (states[0].dtype == real and cuda.served(*states)):
            return False
        if self.text is None:
            try:
                self.text, self.constants, self.needs = cuda_source(self.formula, self.name)
            except (OSError, SyntaxError):  # no text to rewrite, as in lift(), or words that C has not
                self.text = False
                return False
        with np.errstate(all="ignore"):
            numbers = [real.type(k) for k in eval(self.constants, {"h_": [np.float64(h[s]) for s in self.needs]})]
        arrays = (g, p, *states)
        ok = np.int64(0) if ok is None else ok                  # no pointer
        if rows is not None:
            size = cuda.blocks_of(g.size), cuda.THREADS
            cuda.run(self.text, p, f"{self.name}_rows", *size, rows, len(p), prod(p.shape[1:]), *arrays, g.size, ok, *numbers)
            return True
        wide = all([a.data.ptr % 16 == 0 for a in arrays])
        count = -(-g.size // 4) if wide else g.size
        cuda.run(self.text, p, self.name + "_wide" * wide, cuda.blocks_of(count), cuda.THREADS, *arrays, g.size, ok, *numbers)
        return True

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


def parts_of(formula):
    """Names of a formula's arrays, what was hoisted out of it, its steps and its results (syntax trees)."""
    function = ast.parse(textwrap.dedent(inspect.getsource(formula))).body[0]
    arrays = [a.arg for a in function.args.args][:-1]
    hoist = Hoist()
    body = [hoist.visit(s) for s in ast.parse(PRELUDE).body + function.body
            if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    *steps, last = body
    return arrays, hoist, steps, last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]


def loop_source(formula, name, rows=False):
    """The text of the fused loop for a formula, over all numbers or over those of some rows, and the scalars it reads.

    >>> def gd(g, p, h):
    ...     return (p - 2 * h.lr * g,)
    >>> text, scalars = loop_source(gd, "gd_loop")
    >>> scalars
    ['direction', 'l2', 'keep', 'lr']
    """
    arrays, hoist, steps, results = parts_of(formula)
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


CUDA = """
static __device__ void {name}_at({pointers}, {constants}) {{        // at one number
    {lines}
}}

extern "C" __global__ void {name}({pointers}, I n, const bool *ok, {constants}) {{
    if (ok && !*ok) return;
    EACH(i, n) {name}_at({at_i}, {k});
}}

extern "C" __global__ void {name}_wide({pointers}, I n, const bool *ok, {constants}) {{
    if (ok && !*ok) return;
    EACH(i, n / 4) {{
        {loads}
        for (int c = 0; c < 4; c++) {name}_at({at_c}, {k});
        {stores}
    }}
    EACH(left, n % 4) {{
        I i = n - 1 - left;
        {name}_at({at_i}, {k});
    }}
}}

extern "C" __global__ void {name}_rows(const I *rows, I tall, I width, {pointers}, I n, const bool *ok, {constants}) {{
    if (ok && !*ok) return;
    EACH(e, n) {{
        I row = rows[e / width], i = row * width + e % width;
        if (row < 0 || row >= tall) continue;                   // nobody has looked: the host would wait for it
        {name}_at({at_row}, {k});
    }}
}}
"""


def cuda_source(formula, name):
    """The CUDA text of a formula, the numbers computed once before it (code, of the scalars h_), and the scalars these need.

    >>> def gd(g, p, h):
    ...     return (p - 2 * h.lr * g,)
    >>> text, constants, scalars = cuda_source(gd, "gd")
    >>> [line.strip() for line in text.splitlines() if "new_p" in line]
    ['A new_p = (p - (k3 * g));', '*p_at = T(new_p);']
    >>> eval(constants, {"h_": [1, 0.5, 1, 0.25]})          # direction, l2, keep, 2 lr
    [1, 0.5, 1, 0.5]
    """
    arrays, hoist, steps, results = parts_of(formula)
    types = {a: "T" if a in arrays[:2] else "A" for a in arrays}        # gradient and parameter as stored, states as computed
    local = dict.fromkeys([s.targets[0].id for s in steps if s.targets[0].id not in arrays])
    lines = [f"A {a} = (A)*{a}_at;" for a in arrays] + [f"A {v};" for v in local]
    lines += [f"{s.targets[0].id} = {in_c(s.value)};" for s in steps]
    lines += [f"A new_{a} = {in_c(e)};" for a, e in zip(arrays[1:], results)]
    lines += [f"*{a}_at = {types[a]}(new_{a});" for a in arrays[1:]]
    text = CUDA.format(
        name=name, lines="\n    ".join(lines),
        pointers=", ".join([f"const T *{arrays[0]}_at", *(f"{types[a]} *{a}_at" for a in arrays[1:])]),
        constants=", ".join(f"A {k}" for k in hoist.names.values()), k=", ".join(hoist.names.values()),
        loads="\n        ".join(f"Four<{types[a]}> {a} = ((const Four<{types[a]}> *){a}_at)[i];" for a in arrays),
        stores="\n        ".join(f"((Four<{types[a]}> *){a}_at)[i] = {a};" for a in arrays[1:]),
        at_i=", ".join(f"{a}_at + i" for a in arrays), at_c=", ".join(f"{a}.at + c" for a in arrays),
        at_row=", ".join([f"{arrays[0]}_at + e", *(f"{a}_at + i" for a in arrays[1:])]))
    return text, compile(f"[{', '.join(hoist.names)}]", name, "eval"), hoist.scalars


def in_c(node):
    """An expression of a formula, its constants hoisted, as C.

    >>> in_c(ast.parse("-a ** b if a > np.sqrt(b) else abs(c)", mode="eval").body)
    '((a > sqrt(b)) ? (-pow(a, b)) : fabs(c))'
    """
    match node:
        case ast.Name():
            return node.id
        case ast.BinOp(op=ast.Pow()):
            return f"pow({in_c(node.left)}, {in_c(node.right)})"
        case ast.BinOp():
            return f"({in_c(node.left)} {C_WORDS[type(node.op)]} {in_c(node.right)})"
        case ast.UnaryOp():
            return f"({C_WORDS[type(node.op)]}{in_c(node.operand)})"
        case ast.Compare(ops=[op], comparators=[right]):
            return f"({in_c(node.left)} {C_WORDS[type(op)]} {in_c(right)})"
        case ast.IfExp():
            return f"({in_c(node.test)} ? {in_c(node.body)} : {in_c(node.orelse)})"
        case ast.Call():
            word = getattr(node.func, "attr", None) or node.func.id
            return f"{'fabs' if word == 'abs' else word}({', '.join(map(in_c, node.args))})"
    raise SyntaxError(f"a formula has no CUDA form with {ast.unparse(node)}")


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
