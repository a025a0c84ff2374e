"""Mixing what several learners made of one table: which slots changed, their weighted means, and the means back into the table.

The means stand in a table of their own, of float64: | key | mass | weight | state, ... |. What a shard sends, and both
tables, are in the order of the keys' low bits, so that all three loops go through memory in one direction.
"""
import numpy as np
from numba import njit

from linear.kernels.bits import pointer
from linear.kernels.compiling import inner
from linear.kernels.table import place_of

MASS, WEIGHT = 1, 2                         # places in a row of the means
SMALLEST, LARGEST = 1e-200, 1e200           # of a mass: an update always counts, and sums of masses stay finite


@njit(error_model="numpy", cache=True, nogil=True)
def changed(afters, befores, mask, stride, rows):
    """Copy to `rows` every full slot of one table that is another, or none, in the table it began as; returns how many."""
    after, before, found = pointer(afters), pointer(befores), 0
    for slot in range(0, afters.size, stride):
        if after[slot] == np.uint64(0):
            continue
        old, same = place_of(before, stride, mask, after[slot]) * stride, True
        for i in range(stride):
            same = same and old >= 0 and before[old + i] == after[slot + i]
        if not same:
            for i in range(stride):
                rows[found, i] = after[slot + i]
            found += 1
    return found


@inner
def evidence(number, inverse):
    """How much a weight has been told, by the state beside it; a variance tells it by its inverse."""
    return 1.0 / np.float64(number) if inverse else np.float64(number)


@njit(error_model="numpy", cache=True, nogil=True)
def fold_in(rows, table, mask, stride, values, inverse, fill, largest, means, means_mask):
    """Take a shard's changed slots into the means; returns how many keys are new there.

        mass_i = evidence after - evidence before;  M_i += mass_i;  mean_i += (value - mean_i) mass_i / M_i

    which is the mean weighted by the masses (West 1979, CACM 22). `fill` is the evidence of a key that the table has
    not, `largest` the state that is a maximum and no mean, 0 for none. The types are those of `rows` and `table`.
    """
    held, stored, keys = pointer(table.view(np.uint64)), pointer(table), pointer(rows.view(np.uint64))
    full, mean, new = pointer(means.view(np.uint64)), pointer(means), 0
    words, wide, numbers = 8 // table.itemsize, values + WEIGHT, pointer(rows)
    for row in range(0, rows.size // words, stride):
        key = keys[row]
        slot, first = place_of(held, stride, mask, key), (row + 1) * words
        before = fill if slot < 0 else evidence(stored[(slot * stride + 1) * words + 1], inverse)
        mass = evidence(numbers[first + 1], inverse) - before
        mass = min(mass, LARGEST) if mass > SMALLEST else SMALLEST            # as it is for what is no number
        to = place_of(full, wide, means_mask, key)
        if to < 0:
            to = -1 - to
            full[to * wide] = key
            new += 1
        to *= wide
        mean[to + MASS] += mass
        share = mass / mean[to + MASS]
        for i in range(values):
            value, place = np.float64(numbers[first + i]), to + WEIGHT + i
            if share == 1.0:                                                   # the first, and then bit for bit
                mean[place] = value
            elif i == largest and i > 0:
                mean[place] = max(mean[place], value)
            else:
                mean[place] += (value - mean[place]) * share
    return new


@njit(error_model="numpy", cache=True, nogil=True)
def put(means, values, table, mask, stride, counted):
    """Write the means over what the table has; returns how many keys are new there. `counted`: a count, which begins again."""
    full, mean, held, stored = pointer(means.view(np.uint64)), pointer(means), pointer(table.view(np.uint64)), pointer(table)
    words, wide, new = 8 // table.itemsize, values + WEIGHT, 0
    for row in range(0, means.size, wide):
        key = full[row]
        if key == np.uint64(0):
            continue
        slot = place_of(held, stride, mask, key)
        if slot < 0:
            slot = -1 - slot
            held[slot * stride] = key
            new += 1
        place = (slot * stride + 1) * words
        for i in range(values):
            stored[place + i] = mean[row + WEIGHT + i]
        if counted:
            stored[place + 1] = 0
    return new
