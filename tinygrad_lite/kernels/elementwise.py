"""Elementwise passes that are worth a loop of their own: in NumPy a mask is made, converted and multiplied."""
import numpy as np

from . import kernel, ready


@kernel(lambda g, z: np.where(z > 0, g, 0), lambda g, z: ready(g, z) and g.shape == z.shape)
def relu_gradient(g, z):
    """g where z > 0, else 0."""
    out = np.empty_like(g)
    a, b, c = g.reshape(-1), z.reshape(-1), out.reshape(-1)
    zero = g.dtype.type(0)
    for i in range(a.size):
        c[i] = a[i] if b[i] > zero else zero
    return out
