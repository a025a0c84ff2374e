"""Derivatives as values: grad to any order, value_and_grad of plain functions, Hessian-vector products, Jacobians."""
import numpy as np

from .backend import like, on_gpu, xp_of
from .fitting import fit
from .tensor import Op, Tensor, here, plain, seed, sweep, unary


def differentiable(op, t, g, values, parents):
    """One node of a create_graph pass: its rules get Tensors, so what they do is recorded like any other work.

    A fused op has no derivative beyond its own: the formula that it fuses is differentiated in its place.
    """
    inputs = [p if p._node is not None else v for p, v in zip(parents, values)] + list(values[len(parents):])
    if op.composite is None:
        for p, rule, x in zip(parents, op.rules, inputs):
            if p._node is not None and rule is not None:
                h = rule(g, t, *inputs)
                yield p, fit(h if isinstance(h, Tensor) else Tensor(h), x)
        return
    twins = [unary(SAME)(x) if p._node is not None else x for p, x in zip(parents, inputs)]
    z = op.composite(*twins, *inputs[len(twins):len(inputs) - op.saves])
    tracked = [i for i, (p, rule) in enumerate(zip(parents, op.rules)) if p._node is not None and rule is not None]
    for i, h in zip(tracked, grad(z, [twins[i] for i in tracked], g, create_graph=True)):
        yield parents[i], h


SAME = Op("same", lambda x: x, (lambda g, z, x: g,), None, False)


def grad(output, inputs, grad_output=None, create_graph=False, retain_graph=None, allow_unused=False):
    """dL/d(input) for one Tensor or a list of them, as Tensors; no `.grad` is touched.

    With `create_graph` the results can be differentiated again, to any order. An input the output
    does not depend on raises, or gives None with `allow_unused`.

    >>> x = Tensor([2.0], requires_grad=True)
    >>> first = grad((x * x * x).sum(), x, create_graph=True)       # 3 x^2
    >>> first.item(), grad(first.sum(), x).item()                   # 6 x
    (12.0, 12.0)
    """
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    retain = create_graph if retain_graph is None else retain_graph
    here.create_graph, outer = create_graph, here.create_graph
    try:
        leaves, found = sweep(output, seed(output, grad_output, create_graph), retain, wanted, differentiable if create_graph else None)
    finally:
        here.create_graph = outer
    found.update((id(t), t._pending) for t in leaves)
    for leaf in leaves:
        leaf._pending = None
    results = [found.get(id(t)) for t in wanted]
    for i, h in enumerate(results):
        if h is None and not allow_unused:
            raise RuntimeError(f"grad: the output does not depend on input {i} (shape {wanted[i].shape}): leave it out, "
                               "or pass allow_unused=True to get None")
    results = [h if h is None or isinstance(h, Tensor) else Tensor(h.to_dense() if hasattr(h, "to_dense") else h)
               for h in results]
    return results[0] if isinstance(inputs, Tensor) else results


def _leaf(x):
    """A tracked copy of x; integers and Python numbers become float64."""
    x = plain(x)
    x = x.copy() if on_gpu(x) else np.array(x)
    return Tensor(x if x.dtype.kind == "f" else x.astype(float), requires_grad=True)


def gradients(y, xs, **options):
    """grad, with zeros for what y does not depend on."""
    found = grad(y, xs, allow_unused=True, **options) if y.requires_grad else [None] * len(xs)
    return [Tensor(np.zeros_like(x.data)) if g is None else g for x, g in zip(xs, found)]


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
        g = gradients(y, [x])[0].data
        return float(y.item()), g if on_gpu(g) else np.asarray(g)
    return both


def hvp(f, x, v):
    """The Hessian of f at x times v, as a Tensor, at the price of two gradients (Pearlmutter 1994).

    `x` and `v` are an array or Tensor each, or lists of them (then a list comes back).

    >>> hvp(lambda x: (x ** 3).sum(), np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    Tensor([ 6., 12.], dtype=float64)
    """
    many = isinstance(x, (list, tuple))
    xs = [_leaf(a) for a in (x if many else [x])]
    vs = [like(a.data, plain(b)).astype(a.dtype) for a, b in zip(xs, v if many else [v], strict=True)]
    for a, b in zip(xs, vs):
        if a.shape != b.shape:
            raise ValueError(f"hvp: v has shape {b.shape}, expected x's {a.shape}")
    first = gradients(f(*xs), xs, create_graph=True)
    slope = sum([(g * b).sum() for g, b in zip(first, vs)], Tensor(np.zeros_like(xs[0].data, shape=())))
    second = gradients(slope, xs)
    return second if many else second[0]


def jacobian(f, x):
    """The matrix of d f(x)_i / d x_j as an array of shape (*f(x).shape, *x.shape) on the host, one reverse pass per row.

    >>> jacobian(lambda x: x * x, np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    x = _leaf(x)
    y = f(x)
    rows = [gradients(y, [x], grad_output=unit.reshape(y.shape), retain_graph=True)[0].numpy()
            for unit in xp_of(y.data).eye(y.size, dtype=y.dtype)]
    return np.reshape(rows, (*y.shape, *x.shape))
