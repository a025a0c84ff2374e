"""The hash table: exact 64-bit keys, open addressing, each key beside its weight and state in one slot.

    float32:  | key, 8 bytes | weight, 4 | state, 4 |           16 bytes; 24 with a second state
    float64:  | key, 8 bytes | weight, 8 | state, 8 |           24 bytes; 32 with a second state

A slot whose key is 0 is empty. The place of a key is its low bits, and where that is taken the next free slot (linear
probing: the next slot is most often in the same cache line). The table doubles when two thirds are full. Its keys stand in
the order of their low bits, so that is two sequential copies, about 35 ns a weight: a pause of 25 ms at 700,000 weights
(`python examples/linear_compare.py` measures it). With `bits=` the table has 2^bits slots and every index its own place, so
that nothing is ever moved and two features of one index share a weight.
"""
import numpy as np
from numba import njit

from linear.kernels.compiling import inner
from linear.kernels.bits import pointer


@inner
def place_of(keys, stride, mask, key):
    """The slot that holds `key`, or -1 - the empty slot where it would go."""
    slot = np.int64(key) & mask
    while True:
        held = keys[slot * stride]
        if held == key:
            return slot
        if held == np.uint64(0):
            return -1 - slot
        slot = (slot + 1) & mask


@njit(error_model="numpy", cache=True, nogil=True)
def move(old, news, stride, mask):
    """Copy every full slot of one table to a larger, empty one whose mask is given."""
    new = pointer(news)
    for start in range(0, old.size, stride):
        key = old[start]
        if key != np.uint64(0):
            to = (-1 - place_of(new, stride, mask, key)) * stride
            for i in range(stride):
                new[to + i] = old[start + i]
