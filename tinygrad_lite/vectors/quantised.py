"""Matrices of one byte for every few numbers: product quantisation (Jegou, Douze & Schmid 2011), as fastText's .ftz store it."""
import numpy as np


class ProductQuantiser:
    """Vectors of `dim` numbers in parts of `step`, each one of 256 centroids: codes (n, parts) uint8 -> (n, dim) float32.

    >>> halves = ProductQuantiser(np.arange(1024, dtype="f"), dim=4, step=2)
    >>> halves(np.array([[1, 0], [255, 255]], np.uint8))
    array([[   2.,    3.,  512.,  513.],
           [ 510.,  511., 1022., 1023.]], dtype=float32)
    """

    def __init__(self, centroids, dim, step):
        self.dim = dim
        whole, last = divmod(dim, step)             # the last part may be shorter
        cut = whole * 256 * step
        self.tables = [*centroids[:cut].reshape(whole, 256, step), *([centroids[cut:].reshape(256, last)] if last else [])]

    def __call__(self, codes):
        parts = [table[codes[:, i]] for i, table in enumerate(self.tables)]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(codes), 0), np.float32)


class QuantisedMatrix:
    """A matrix (rows, dim) of which `matrix[ids]` decodes only the rows that are asked for; `norms` (rows,) scale them."""

    def __init__(self, codes, quantiser, norms=None):
        self.codes, self.quantiser, self.norms, self.shape = codes, quantiser, norms, (len(codes), quantiser.dim)

    def __len__(self):
        return len(self.codes)

    def __getitem__(self, ids):
        rows = self.quantiser(self.codes[ids])
        return rows if self.norms is None else rows * self.norms[ids][:, None]
