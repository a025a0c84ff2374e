"""Arithmetic and the functions of one number: the value, then one rule per input."""
import operator

import numpy as np

from ..backend import special
from ..fitting import HALF, complaint, narrow
from ..tensor import UFUNCS, Op, Tensor, op, plain

__all__ = """add sub mul div pow maximum minimum arctan2 hypot logaddexp remainder
    neg abs exp exp2 expm1 log log1p log2 log10 sqrt square reciprocal sin cos tan arcsin arccos arctan
    sinh cosh tanh arcsinh arccosh arctanh erf astype clamp sign floor ceil trunc round isfinite isnan isinf
    eq ne lt le gt ge logical_not logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor invert
    floor_divide""".split()

# --- two inputs, broadcast against each other
add = op("add", operator.add,               # z = x + y
         lambda g, z, x, y: g,
         lambda g, z, x, y: g)
sub = op("sub", operator.sub,               # z = x - y
         lambda g, z, x, y: g,
         lambda g, z, x, y: -g)
mul = op("mul", operator.mul,               # z = x y
         lambda g, z, x, y: g * y,
         lambda g, z, x, y: g * x)
div = op("div", operator.truediv,           # z = x / y
         lambda g, z, x, y: g / y,
         lambda g, z, x, y: -g * z / y)


def _pow_base(g, z, x, y):                  # dz/dx = y x^(y-1), and 0 where y = 0 (also at x = 0)
    if isinstance(y, (int, float)):
        return g * (2 * x) if y == 2 else g * (y * x ** (y - 1)) if y else g * 0
    return g * (y * x ** np.where(y == 0, 1, y - 1))


def _pow_exponent(g, z, x, y):              # dz/dy = x^y log x, and 0 where x = 0
    return g * z * np.log(np.where(x == 0, 1, x))


pow = op("pow", operator.pow, _pow_base, _pow_exponent)

# At a tie both inputs get half, as in PyTorch.
maximum = op("maximum", np.maximum,
             lambda g, z, x, y: np.where(x > y, g, np.where(x == y, g / 2, 0)),
             lambda g, z, x, y: np.where(y > x, g, np.where(x == y, g / 2, 0)))
minimum = op("minimum", np.minimum,
             lambda g, z, x, y: np.where(x < y, g, np.where(x == y, g / 2, 0)),
             lambda g, z, x, y: np.where(y < x, g, np.where(x == y, g / 2, 0)))
arctan2 = op("arctan2", np.arctan2,         # the angle of the point (y, x); the first input is y, as in NumPy
             lambda g, z, y, x: g * x / (x * x + y * y),
             lambda g, z, y, x: -g * y / (x * x + y * y))
hypot = op("hypot", np.hypot,               # z = sqrt(x^2 + y^2)
           lambda g, z, x, y: g * x / z,
           lambda g, z, x, y: g * y / z)
logaddexp = op("logaddexp", np.logaddexp,   # z = log(e^x + e^y)
               lambda g, z, x, y: g * np.exp(x - z),
               lambda g, z, x, y: g * np.exp(y - z))
remainder = op("remainder", np.remainder,   # z = x - y floor(x / y), whose sign is y's
               lambda g, z, x, y: g,
               lambda g, z, x, y: -g * np.floor_divide(x, y))

# --- one input
neg = op("neg", operator.neg, lambda g, z, x: -g)
abs = op("abs", np.abs, lambda g, z, x: g * np.sign(x))            # 0 at 0
exp = op("exp", np.exp, lambda g, z, x: g * z)
exp2 = op("exp2", np.exp2, lambda g, z, x: g * (z * 0.6931471805599453))
expm1 = op("expm1", np.expm1, lambda g, z, x: g * (z + 1))
log = op("log", np.log, lambda g, z, x: g / x)
log1p = op("log1p", np.log1p, lambda g, z, x: g / (x + 1))
log2 = op("log2", np.log2, lambda g, z, x: g / (x * 0.6931471805599453))
log10 = op("log10", np.log10, lambda g, z, x: g / (x * 2.302585092994046))
sqrt = op("sqrt", np.sqrt, lambda g, z, x: g / (2 * z))
square = op("square", np.square, lambda g, z, x: g * (2 * x))
reciprocal = op("reciprocal", lambda x: 1 / x, lambda g, z, x: -g * z * z)
sin = op("sin", np.sin, lambda g, z, x: g * np.cos(x))
cos = op("cos", np.cos, lambda g, z, x: -g * np.sin(x))
tan = op("tan", np.tan, lambda g, z, x: g * (1 + z * z))
arcsin = op("arcsin", np.arcsin, lambda g, z, x: g / np.sqrt(1 - x * x))
arccos = op("arccos", np.arccos, lambda g, z, x: -g / np.sqrt(1 - x * x))
arctan = op("arctan", np.arctan, lambda g, z, x: g / (1 + x * x))
sinh = op("sinh", np.sinh, lambda g, z, x: g * np.cosh(x))
cosh = op("cosh", np.cosh, lambda g, z, x: g * np.sinh(x))
tanh = op("tanh", np.tanh, lambda g, z, x: g * (1 - z * z))
arcsinh = op("arcsinh", np.arcsinh, lambda g, z, x: g / np.sqrt(x * x + 1))
arccosh = op("arccosh", np.arccosh, lambda g, z, x: g / np.sqrt(x * x - 1))
arctanh = op("arctanh", np.arctanh, lambda g, z, x: g / (1 - x * x))


def _erf(x):
    return special(x).erf(x).astype(x.dtype, copy=False)        # of float16 it is wider


erf = op("erf", _erf, lambda g, z, x: g * (1.1283791670955126 * np.exp(-x * x)))      # 2 / sqrt(pi) e^(-x^2)
_cast = op("astype", lambda x, dtype: narrow(x) if dtype == HALF else x.astype(dtype),
           lambda g, z, x, dtype: narrow(g) if x.dtype is HALF else g.astype(x.dtype))
_clip = op("clamp", lambda x, low, high: np.clip(x, low, high),
           lambda g, z, x, low, high: g * ((x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))))


def astype(x, dtype):
    """The same numbers in another dtype. Integers and truth values have no gradient: those are constants.

    >>> astype(Tensor([1.5, 2.5]), "int64")
    Tensor([1, 2], dtype=int64)
    """
    return _cast(x, dtype) if np.dtype(dtype).kind == "f" else Tensor(plain(x).astype(dtype))


def clamp(x, min=None, max=None):
    """x held between `min` and `max`; the gradient passes inside and at the bounds, and is 0 outside.

    A bound may be a Tensor; where it takes x's place, the gradient is the bound's.

    >>> x = Tensor([-2.0, 0.5, 3.0], requires_grad=True)
    >>> clamp(x, -1, 1).sum().backward(); x.grad
    array([0., 1., 0.], dtype=float32)
    """
    if min is None and max is None:
        raise ValueError("clamp: got neither min nor max, expected at least one")
    if not any(isinstance(bound, Tensor) and bound.requires_grad for bound in (min, max)):
        return _clip(x, plain(min), plain(max))
    if min is not None:
        x = np.where(plain(x) < plain(min), min, x)
    if max is not None:
        x = np.where(plain(x) > plain(max), max, x)
    return x


# --- functions whose derivative is zero wherever it exists: their results are constants
def constant(function, name=None):
    """The same function on Tensors, with a result that is not tracked."""
    this = Op(name or function.__name__, function, (), None, False)

    def call(*inputs):
        values = [plain(x) for x in inputs]
        try:
            return Tensor(function(*values))
        except Exception as error:
            raise complaint(this, error, values) from error
    call.__name__ = call.__qualname__ = this.name
    call.__doc__ = f"np.{function.__name__} of Tensors; the result is a constant, without a gradient."
    return call


sign, floor, ceil, trunc = (constant(f) for f in (np.sign, np.floor, np.ceil, np.trunc))
isfinite, isnan, isinf, logical_not = (constant(f) for f in (np.isfinite, np.isnan, np.isinf, np.logical_not))
eq, ne, lt = constant(np.equal, "eq"), constant(np.not_equal, "ne"), constant(np.less, "lt")
le, gt, ge = constant(np.less_equal, "le"), constant(np.greater, "gt"), constant(np.greater_equal, "ge")
logical_and, logical_or, logical_xor = (constant(f) for f in (np.logical_and, np.logical_or, np.logical_xor))
bitwise_and, bitwise_or, bitwise_xor = (constant(f) for f in (np.bitwise_and, np.bitwise_or, np.bitwise_xor))
invert, floor_divide = constant(np.invert), constant(np.floor_divide)


def round(x, decimals=0):
    """x rounded to `decimals` places, halves to the even neighbour; the result is a constant.

    >>> round(Tensor([0.5, 1.26]), 1)
    Tensor([0.5, 1.3], dtype=float32)
    """
    return Tensor(np.round(plain(x), decimals))


UFUNCS.update({
    np.add: add, np.subtract: sub, np.multiply: mul, np.divide: div, np.power: pow, np.maximum: maximum,
    np.minimum: minimum, np.arctan2: arctan2, np.hypot: hypot, np.logaddexp: logaddexp, np.remainder: remainder,
    np.negative: neg, np.positive: lambda x: x, np.absolute: abs, np.fabs: abs, np.exp: exp, np.exp2: exp2, np.expm1: expm1,
    np.log: log, np.log1p: log1p, np.log2: log2, np.log10: log10, np.sqrt: sqrt, np.square: square,
    np.reciprocal: reciprocal, np.sin: sin, np.cos: cos, np.tan: tan, np.arcsin: arcsin, np.arccos: arccos,
    np.arctan: arctan, np.sinh: sinh, np.cosh: cosh, np.tanh: tanh, np.arcsinh: arcsinh, np.arccosh: arccosh,
    np.arctanh: arctanh, np.sign: sign, np.floor: floor, np.ceil: ceil, np.trunc: trunc, np.rint: round,
    np.isfinite: isfinite, np.isnan: isnan, np.isinf: isinf, np.equal: eq, np.not_equal: ne, np.less: lt,
    np.less_equal: le, np.greater: gt, np.greater_equal: ge, np.logical_and: logical_and, np.logical_or: logical_or,
    np.logical_xor: logical_xor, np.logical_not: logical_not, np.bitwise_and: bitwise_and, np.bitwise_or: bitwise_or,
    np.bitwise_xor: bitwise_xor, np.invert: invert, np.floor_divide: floor_divide})


def swapped(function):
    return lambda self, other: function(other, self)


for name, function in dict(
        __add__=add, __radd__=add, __sub__=sub, __rsub__=swapped(sub), __mul__=mul, __rmul__=mul, __truediv__=div,
        __rtruediv__=swapped(div), __pow__=pow, __rpow__=swapped(pow), __neg__=neg, __abs__=abs,
        __pos__=lambda self: self, __eq__=eq, __ne__=ne, __lt__=lt, __le__=le, __gt__=gt, __ge__=ge,
        __and__=bitwise_and, __rand__=bitwise_and, __or__=bitwise_or, __ror__=bitwise_or, __xor__=bitwise_xor,
        __rxor__=bitwise_xor, __invert__=invert, __floordiv__=floor_divide, __rfloordiv__=swapped(floor_divide),
        __mod__=remainder, __rmod__=swapped(remainder), abs=abs, exp=exp, log=log,
        sqrt=sqrt, sin=sin, cos=cos, tanh=tanh, erf=erf, pow=pow, sign=sign, clamp=clamp, clip=clamp,
        astype=astype, maximum=maximum, minimum=minimum).items():
    setattr(Tensor, name, function)
