"""Products of matrices: matmul of every rank, the linear layer's x W' + b, einsum."""
import functools
import math

import numpy as np

from ..backend import on_gpu, xp_of
from ..fitting import HALF, narrow, total
from ..tensor import UFUNCS, Tensor, op, plain

__all__ = "matmul linear dot einsum".split()


def _matmul(x, y):
    if x.dtype is HALF and y.dtype is HALF and not on_gpu(x):       # no float16 in BLAS: NumPy's own loop is fifty times slower
        return narrow(_matmul(x.astype(np.float32), y.astype(np.float32)))
    return x.dot(y) if x.ndim == y.ndim == 2 else np.matmul(x, y)      # dot is the shorter way to the same BLAS call


def _matmul_x(g, z, x, y):                  # dL/dx = g y'
    if y.ndim == 1:
        return g * y if x.ndim == 1 else g[..., None] * y
    if x.ndim == 1:
        return np.matmul(y, g[..., None])[..., 0]
    return _product(g, y.T if y.ndim == 2 else y.swapaxes(-1, -2))


def _matmul_y(g, z, x, y):                  # dL/dy = x' g
    if x.ndim == 1:
        return g * x if y.ndim == 1 else x[:, None] * g[..., None, :]
    if y.ndim == 1:
        return np.matmul(x.swapaxes(-1, -2), g[..., None])[..., 0]
    return _product(x.T if x.ndim == 2 else x.swapaxes(-1, -2), g)


def _product(x, y):                         # arrays take the short way, Tensors are recorded
    return matmul(x, y) if isinstance(x, Tensor) or isinstance(y, Tensor) else _matmul(x, y)


matmul = op("matmul", _matmul, _matmul_x, _matmul_y)


def rows(x):
    """x as a matrix, its leading axes joined into one."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _linear(x, w, b):
    if x.dtype != w.dtype:
        raise TypeError(f"the input is {x.dtype}, the weight {w.dtype}: use x.astype('{w.dtype}') or the module's "
                        f".double() / .float()")
    if w.ndim != 2 or not x.ndim or x.shape[-1] != w.shape[1]:
        raise ValueError("expected an input of shape (..., in) and a weight of shape (out, in)")
    if x.dtype is HALF and not on_gpu(x):
        return narrow(_linear(x.astype(np.float32), w.astype(np.float32), b if b is None else b.astype(np.float32)))
    flat = x.ndim == 2
    z = (x if flat else rows(x)).dot(w.T)
    if b is not None:
        z += b
    return z if flat else z.reshape(*x.shape[:-1], w.shape[0])


_affine = op("linear", _linear,             # z = x W' + b
             lambda g, z, x, w, b: _product(g, w) if g.ndim == 2 else _product(rows(g), w).reshape(x.shape),
             lambda g, z, x, w, b: _product(rows(g).T, rows(x)),
             lambda g, z, x, w, b: total(rows(g), 0))


def linear(x, weight, bias=None):
    """x W' + b over the last axis: x (..., in), weight (out, in), bias (out,) -> (..., out).

    >>> linear(Tensor([1.0, 2.0]), Tensor([[1.0, 1.0], [0.0, 3.0]]), Tensor([0.0, 1.0]))
    Tensor([3., 7.], dtype=float32)
    """
    return _affine(x, weight, bias)


def dot(x, y):
    """np.dot: the inner product of vectors, the product of matrices, scaling by a number.

    >>> dot(Tensor([1.0, 2.0]), Tensor([3.0, 4.0])).item()
    11.0
    """
    a, b = np.ndim(x), np.ndim(y)
    if a == 0 or b == 0:
        return x * y
    if b <= 2:
        return matmul(x, y)
    letters = "abcdefghijklmnopqrstuvwxy"       # more axes: x's last one against y's last but one
    left, right = letters[:a - 1], letters[a - 1:a + b - 2]
    return einsum(f"{left}z,{right[:-1]}z{right[-1]}->{left}{right}", x, y)


def _subscripts(text, operands):
    """'ij,jk->ik' with the output made explicit and every `...` spelt out in capital letters."""
    if not isinstance(text, str):
        raise TypeError(f"einsum: got {type(text).__name__} for the subscripts, expected a string such as 'ij,jk->ik'")
    text = text.replace(" ", "")
    sources, arrow, target = text.partition("->")
    sources = sources.split(",")
    if len(sources) != len(operands):
        raise ValueError(f"einsum {text!r}: got {len(operands)} operands, expected {len(sources)}")
    wide = max([x.ndim - len(s.replace("...", "")) for s, x in zip(sources, operands) if "..." in s], default=0)
    dots = "".join([c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in text][:wide])
    spelt = []
    for s, x in zip(sources, operands):
        here = x.ndim - len(s.replace("...", ""))
        s = s.replace("...", dots[wide - here:] if here else "")
        if len(s) != x.ndim:
            raise ValueError(f"einsum {text!r}: {s!r} names {len(s)} axes of an operand with {x.ndim}")
        spelt.append(s)
    if not arrow:
        joined = "".join(spelt)
        target = dots + "".join(sorted(c for c in set(joined) - set(dots) if joined.count(c) == 1))
    return spelt, target.replace("...", dots)


def _contract(text, *x):                    # long sums through BLAS; short ones without the search for a way there
    return np.einsum(text, *x, optimize=len(x) > 1 and sum([a.size for a in x]) > 5000)


def _einsum_rule(i):                        # the same sum with z's letters given by g, and asked for input i's
    def rule(g, z, text, *operands):
        sources, target = _subscripts(text, operands)
        x, own = operands[i], sources[i]
        terms = [target] + [s for j, s in enumerate(sources) if j != i]
        arrays = [g] + [y for j, y in enumerate(operands) if j != i]
        for c, n in dict(zip(own, x.shape)).items():
            known = [a.shape[t.index(c)] for t, a in zip(terms, arrays) if c in t]
            if n not in known and n > 1 or not known:       # an axis only summed over: the same gradient everywhere
                terms.append(c)
                arrays.append(np.ones_like(plain(x), shape=n))
        result, spare = "", iter([c for c in "zyxwvutsrqponmlkjihgfedcba" if c not in "".join(sources)])
        for c, n in zip(own, x.shape):      # a diagonal (a letter twice): off the diagonal the gradient is 0
            if c in result:
                twin = next(spare)
                terms.append(c + twin)
                arrays.append(xp_of(plain(x)).eye(n, dtype=x.dtype))
                c = twin
            result += c
        text = f"{','.join(terms)}->{result}"
        return einsum(text, *arrays) if any(isinstance(a, Tensor) for a in arrays) else _contract(text, *arrays)
    return rule


@functools.cache
def _summation(n):                          # the number of inputs is open: one op for each that is met
    return op("einsum", _contract, None, *[_einsum_rule(i) for i in range(n)])


def einsum(subscripts, *operands):
    """Einstein summation with np.einsum's notation, diagonals and `...` included.

    >>> einsum("ij,j->i", Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([1.0, 10.0]))
    Tensor([21., 43.], dtype=float32)
    """
    operands = [x if hasattr(x, "shape") else Tensor(x) for x in operands]
    _subscripts(subscripts, operands)           # a wrong text is told in our words
    return _summation(len(operands))(subscripts, *operands)


UFUNCS[np.matmul] = matmul
Tensor.__matmul__ = Tensor.matmul = matmul
Tensor.__rmatmul__ = lambda self, other: matmul(other, self)
Tensor.dot = dot
