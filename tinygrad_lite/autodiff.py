"""Derivatives of functions: value_and_grad, Hessian-vector products, Jacobians."""
import numpy as np

from .tensor import Tensor, grad, plain


def _leaf(x):
    """A tracked copy of x; integers and Python numbers become float64."""
    x = np.array(plain(x))
    return Tensor(x if x.dtype.kind == "f" else x.astype(float), requires_grad=True)


def _gradients(y, xs, **options):
    """grad, with zeros for what y does not depend on."""
    found = grad(y, xs, allow_unused=True, **options) if y.requires_grad else [None] * len(xs)
    return [Tensor(np.zeros(x.shape, x.dtype)) if g is None else g for x, g in zip(xs, found)]


def value_and_grad(f):
    """x -> (f(x) as a float, df/dx as an array), for f written in plain NumPy or in Tensors.

    Goes straight into scipy.optimize.minimize(value_and_grad(f), x0, jac=True). Further arguments
    of f are passed on. The gradient has x's shape; float64 throughout for float64 or Python input.

    >>> value_and_grad(lambda x: np.sum(x ** 2))(np.array([1.0, 2.0]))
    (5.0, array([2., 4.]))
    """
    def both(x, *args, **kwargs):
        x = _leaf(x)
        y = f(x, *args, **kwargs)
        y = y if isinstance(y, Tensor) else Tensor(y)       # a number: f does not depend on x here
        return float(y.item()), _gradients(y, [x])[0].numpy()
    return both


def hvp(f, x, v):
    """The Hessian of f at x times v, as a Tensor, at the price of two gradients (Pearlmutter 1994).

    `x` and `v` are an array or Tensor each, or lists of them (then a list comes back).

    >>> hvp(lambda x: (x ** 3).sum(), np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    Tensor([ 6., 12.], dtype=float64)
    """
    many = isinstance(x, (list, tuple))
    xs = [_leaf(a) for a in (x if many else [x])]
    vs = [np.asarray(plain(b), a.dtype) for a, b in zip(xs, v if many else [v], strict=True)]
    for a, b in zip(xs, vs):
        if a.shape != b.shape:
            raise ValueError(f"hvp: v has shape {b.shape}, expected x's {a.shape}")
    first = _gradients(f(*xs), xs, create_graph=True)
    slope = sum([(g * b).sum() for g, b in zip(first, vs)], Tensor(np.zeros((), xs[0].dtype)))
    second = _gradients(slope, xs)
    return second if many else second[0]


def jacobian(f, x):
    """The matrix of d f(x)_i / d x_j as an array of shape (*f(x).shape, *x.shape), one reverse pass per row.

    >>> jacobian(lambda x: x * x, np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    x = _leaf(x)
    y = f(x)
    rows = [_gradients(y, [x], grad_output=unit.reshape(y.shape), retain_graph=True)[0].numpy()
            for unit in np.eye(y.size, dtype=y.dtype)]
    return np.reshape(rows, (*y.shape, *x.shape))
