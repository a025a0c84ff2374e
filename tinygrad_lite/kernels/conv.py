"""Where the largest number of every window is: what max pooling keeps, and where its gradient goes back to.

NumPy would build all windows, several times the size of the input; the loop looks at each number where it stands.
"""
import numpy as np

from ..backend import like
from . import kernel, ready


def _seen(first, last, step):
    """(the places that each window looks at along an axis, which of them it has): as many for every window."""
    at = first[:, None] + step * np.arange(-(-int((last - first).max()) // step))
    return np.minimum(at, last[:, None] - 1), at < last[:, None]


def _plain(x, top, bottom, left, right, down, along, places):
    (i, i_seen), (j, j_seen) = _seen(top, bottom, down), _seen(left, right, along)
    shape = (*places.shape[1:], -1)
    at = like(x, (i[:, None, :, None] * x.shape[2] + j[:, None, :]).reshape(shape))
    seen = like(x, (i_seen[:, None, :, None] & j_seen[:, None, :]).reshape(shape))
    windows = np.where(seen, x.reshape(len(x), x[0].size)[:, at], -np.inf)
    places[...] = np.take_along_axis(at[None], windows.argmax(axis=-1)[..., None], -1)[..., 0]


@kernel(_plain, lambda x, top, bottom, left, right, down, along, places: ready(x))
def _largest_places(x, top, bottom, left, right, down, along, places):
    width = x.shape[2]
    for m in range(places.shape[0]):
        image = x[m]
        for p in range(places.shape[1]):
            for q in range(places.shape[2]):
                best, place = image[top[p], left[q]], top[p] * width + left[q]
                i = top[p]
                while i < bottom[p]:        # a range() with a step would divide to know its length
                    j = left[q]
                    while j < right[q]:
                        v = image[i, j]
                        if not v <= best and best == best:          # the first NaN is the largest
                            best, place = v, i * width + j
                        j += along
                    i += down
                places[m, p, q] = place


def largest_places(x, rows, columns, steps=(1, 1)):
    """The place (counted row by row) of the largest number in each window of each image; the first one of equals.

    x: (M, H, W). rows: (first, last) of H' windows, columns: of W'; each looks at every `step`-th number from its
    first to before its last. int64 (M, H', W').

    >>> largest_places(np.array([[[1.0, 5.0, 3.0, 3.0]]]), ([0], [1]), ([0, 2], [2, 4])).ravel()
    array([1, 2])
    """
    (top, bottom), (left, right) = [[np.asarray(v, np.int64) for v in axis] for axis in (rows, columns)]
    places = np.empty_like(x, np.int64, shape=(len(x), len(top), len(left)))
    if places.size:
        _largest_places(x, top, bottom, left, right, *steps, places)
    return places
