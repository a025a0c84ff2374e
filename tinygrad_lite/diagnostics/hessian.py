"""How is the loss curved where the weights stand? Eigenvalues of the Hessian by Lanczos, without ever forming the matrix.

Lanczos asks only for products H v, and each is one gradient of (gradient . v): the price of two backward passes (Pearlmutter
1994). The graph of the first gradient is built once and walked for every v.
"""
import numpy as np

from .. import autodiff
from ..backend import like, on_gpu, to_host
from ..nn import Module
from ..tensor import Tensor, plain
from .trial import loss_of, restored

DENSE = 64              # so small a matrix is had whole


class Hessian:
    """The matrix of second derivatives of `loss` (a Tensor with one number) by `params`, as products `h @ v` with flat vectors.

    >>> x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    >>> Hessian((x ** 3).sum(), [x]) @ np.array([1.0, 1.0])                 # 6 x on the diagonal
    array([ 6., 12.])
    """

    def __init__(self, loss, params):
        self.params, self.size = params, sum(p.size for p in params)
        self.slopes = autodiff.gradients(loss, params, create_graph=True)
        self.gradient = self._flat(self.slopes)

    def _flat(self, tensors):
        return np.concatenate([to_host(t.data).reshape(-1).astype(np.float64) for t in tensors])

    def __matmul__(self, v):
        cuts = np.cumsum([p.size for p in self.params])[:-1]
        pieces = np.split(np.asarray(v).reshape(-1), cuts)
        pieces = [piece.reshape(p.shape).astype(p.dtype) for piece, p in zip(pieces, self.params)]
        slope = sum((g * like(g.data, piece)).sum() for g, piece in zip(self.slopes, pieces) if g.requires_grad)
        if not isinstance(slope, Tensor):
            return np.zeros(self.size)                  # a straight line: nothing depends on where it stands
        return self._flat(autodiff.gradients(slope, self.params, retain_graph=True))

    def eigenvalues(self, k, which):
        if not 1 <= k <= self.size:
            raise ValueError(f"hessian_eigenvalues: k: got {k}, expected 1..{self.size}, the number of parameters")
        if which not in ("LA", "SA", "LM", "BE"):
            raise ValueError(f"hessian_eigenvalues: which: got {which!r}, expected 'LA' (largest), 'SA' (smallest), 'LM' (largest in "
                             "size) or 'BE' (from both ends)")
        if not np.isfinite(self.gradient).all():
            raise FloatingPointError("hessian_eigenvalues: the gradient is not finite here: detect_anomaly() says where it begins")
        if self.size <= DENSE or k >= self.size:
            matrix = np.stack([self @ unit for unit in np.eye(self.size)])
            values = np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1]
            best = {"LA": -values, "SA": values, "LM": -np.abs(values), "BE": np.minimum(range(self.size), range(self.size)[::-1])}
            return values[np.sort(np.argsort(best[which], kind="stable")[:k])]
        from scipy.sparse.linalg import LinearOperator, eigsh
        operator = LinearOperator((self.size, self.size), matvec=self.__matmul__, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(self.size)         # its own: a measurement leaves no trace
        tolerance = 0 if self.slopes[0].dtype == np.float64 else 1e-4
        return np.sort(eigsh(operator, k, which=which, v0=start, tol=tolerance, return_eigenvectors=False))[::-1]


def hessian_of(who, what, *at):
    """The Hessian of (model, loss_fn, batch) by its parameters, or of a function at a point x."""
    if isinstance(what, Module):
        params = [p for p in what.parameters() if p.requires_grad]
        loss = loss_of(who, what, *at)
        if not loss.requires_grad:
            raise ValueError(f"{who}: the loss depends on no parameter: are all frozen, or did .detach() or .numpy() cut it off?")
        return Hessian(loss, params)
    x = plain(at[0])
    x = x.copy() if on_gpu(x) else np.array(x)
    x = Tensor(x if x.dtype.kind == "f" else x.astype(float), requires_grad=True)
    loss = what(x)
    if not isinstance(loss, Tensor) or loss.size != 1:
        raise ValueError(f"{who}: the function gave {type(loss).__name__} of shape {np.shape(plain(loss))}, expected a Tensor with one "
                         "number")
    return Hessian(loss, [x])


def hessian_eigenvalues(what, *at, k=1, which="LA"):
    """k eigenvalues of the Hessian of a loss, the largest first: `hessian_eigenvalues(model, loss_fn, batch)`, or `(f, x)`.

    which: "LA" the largest (sharpness: gradient descent with a rate above 2 / it diverges), "SA" the smallest (negative: a
    way down), "BE" from both ends, "LM" the largest in size. The model keeps its mode, and all else. Lanczos 1950.

    >>> hessian_eigenvalues(lambda x: x[0] ** 2 - 3 * x[1] ** 2, [0.0, 0.0], k=2)
    array([ 2., -6.])
    """
    if not isinstance(what, Module):
        return hessian_of("hessian_eigenvalues", what, *at).eigenvalues(k, which)
    with restored(what):
        return hessian_of("hessian_eigenvalues", what, *at).eigenvalues(k, which)


def critical_point(what, *at, tol=1e-3):
    """What kind of point this is, in a word: "slope", "minimum", "maximum", "saddle" or "flat"; arguments as hessian_eigenvalues.

    "slope": the gradient is longer than `tol`. Curvatures below `tol` times the largest (or below `tol` in all) count as 0:
    a valley's floor is a minimum if nothing leads down from it.

    >>> [critical_point(lambda x: x[0] ** 2 + a * x[1] ** 2, [0.0, 0.0]) for a in (1, 0, -1)]
    ['minimum', 'minimum', 'saddle']
    >>> critical_point(lambda x: x[0] ** 2 + x[1] ** 2, [1.0, 0.0])
    'slope'
    """
    def kind(h):
        if np.linalg.norm(h.gradient) > tol:
            return "slope"
        low, high = h.eigenvalues(1, "SA")[0], h.eigenvalues(1, "LA")[0]
        small = tol * max(abs(low), abs(high), 1)
        down, up = low < -small, high > small
        return "saddle" if down and up else "minimum" if up else "maximum" if down else "flat"
    if not isinstance(what, Module):
        return kind(hessian_of("critical_point", what, *at))
    with restored(what):
        return kind(hessian_of("critical_point", what, *at))
