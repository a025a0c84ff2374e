"""Is a gradient right? Compare it with differences of the function itself, in float64."""
import numpy as np

from .autodiff import gradients
from .backend import like, on_gpu
from .tensor import Tensor, plain


def gradcheck(f, inputs, eps=1e-6, rtol=1e-5, atol=1e-7, order=1, seed=0):
    """True if f's gradients agree with central differences; AssertionError naming the input otherwise.

    Along a random direction u, (f(x + eps u) - f(x - eps u)) / 2 eps must equal the gradient times u
    (one inner product instead of a whole Jacobian); inputs of at most 8 numbers are also checked one
    number at a time. `order=2` also checks the rules as a create_graph pass runs them, on Tensors, and the
    gradient's own gradient, and so on. Only float64 inputs: float32 has too few digits for a difference.
    Keep away from kinks.

    >>> gradcheck(lambda x, y: (x * y).sum(), [np.array([1.0, 2.0]), np.array([3.0, 4.0])], order=2)
    True
    """
    xs = [plain(x) for x in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
    xs = [x.copy() if on_gpu(x) else np.array(x) for x in xs]
    for i, x in enumerate(xs):
        if x.dtype != np.float64:
            raise TypeError(f"gradcheck: input {i} is {x.dtype}, expected float64 (differences need its digits)")
    rng = np.random.default_rng(seed)
    weight = like(xs[0], rng.uniform(0.5, 1.5, f(*tracked(xs)).shape)) if xs else 1.0      # any output becomes one number

    def value(i, moved):
        return float((f(*tracked([moved if j == i else x for j, x in enumerate(xs)])).data * weight).sum())

    def slopes(tensors, create_graph):
        return gradients((f(*tensors) * weight).sum(), tensors, create_graph=create_graph)

    found = [slopes(tracked(xs), create_graph) for create_graph in [False, True][:order]]
    for i, x, g in [(i, x, g) for way in found for i, (x, g) in enumerate(zip(xs, way))]:
        if g.shape != x.shape or g.dtype != x.dtype:
            raise AssertionError(f"gradcheck: the gradient of input {i} is {g.dtype}{list(g.shape)}, expected "
                                 f"{x.dtype}{list(x.shape)}")
        units = [e.reshape(x.shape) for e in np.eye(x.size)] if 0 < x.size <= 8 else []
        for u in [like(x, u) for u in [rng.standard_normal(x.shape), *units]]:
            numeric = (value(i, x + eps * u) - value(i, x - eps * u)) / (2 * eps)
            ruled = float((g.data * u).sum())
            if not abs(numeric - ruled) <= atol + rtol * max(abs(numeric), abs(ruled)):
                raise AssertionError(f"gradcheck: input {i} (shape {x.shape}): the rules give {ruled:.9g} along a direction, "
                                     f"differences give {numeric:.9g}")
    if order > 1:
        directions = [like(x, rng.standard_normal(x.shape)) for x in xs]

        def slope(*tensors):                # the gradient along fixed directions: a function like any other
            return sum(((g * u).sum() for g, u in zip(slopes(tensors, True), directions)), Tensor(np.zeros_like(xs[0], shape=())))
        try:
            gradcheck(slope, xs, eps, max(rtol, 1e-4), max(atol, 1e-6), order - 1, seed + 1)
        except AssertionError as error:
            raise AssertionError(f"of the gradient, {error}") from None
    return True


def tracked(arrays):
    return [Tensor(x, requires_grad=True) for x in arrays]
