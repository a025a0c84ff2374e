"""Numbers that the GPU finds and the host reads one step later.

A host that works with a GPU puts launches into a queue and runs ahead of it. Asking for a number makes the host wait until
the queue is empty, and then the GPU for the host. A number that only steers (was the gradient finite?) stays on the GPU,
where the next launches look at it, and a copy goes to the host in the queue's own order, to be read when it has long arrived.
"""
import numpy as np

from .backend import to_host, xp_of
from .kernels.norms import sum_of_squares


class Late:
    """A contiguous GPU array on its way to the host. `read()` gives it as a NumPy array, and waits if it has not arrived."""

    def __init__(self, array):
        xp = xp_of(array)
        self.source = array                 # alive until the copy is done
        self.values = np.frombuffer(xp.cuda.alloc_pinned_memory(array.nbytes), array.dtype, array.size).reshape(array.shape)
        array.data.copy_to_host_async(self.values.ctypes.data, array.nbytes)        # into pinned memory: nobody waits
        self.arrived = xp.cuda.Event(disable_timing=True)
        self.arrived.record()

    def read(self):
        if self.source is not None:
            self.arrived.synchronize()
            self.source = None
        return self.values


def size_of(row):
    """A number on the GPU, finite where all of a row is: float64 holds the squares of float32, not those of float64."""
    return sum_of_squares(row) if row.dtype != np.float64 or not row.size else np.abs(row).max()


class Look:
    """Whether gradients on the GPU are finite: one number a piece in `sizes` there, finite where all of the piece is.

    `pieces` are (numbers in one row, the parameters they belong to). The rows that small gradients share are kept, for the
    name of the one that is not finite; the others' names say it all.
    """

    def __init__(self, pieces, sizes=None):
        self.sizes = np.stack([size_of(row) for row, _ in pieces]) if sizes is None else sizes
        self.pieces = [(row if len(params) > 1 else None, params) for row, params in pieces]

    def culprit(self, sizes):
        """The first parameter whose gradient is not finite, by the sizes as they were read."""
        row, params = self.pieces[int(np.isfinite(sizes).argmin())]
        if row is None:
            return params[0]
        ends = np.cumsum([p.size for p in params])[:-1]
        return next(p for p, part in zip(params, np.split(to_host(row), ends)) if not np.isfinite(part).all())
