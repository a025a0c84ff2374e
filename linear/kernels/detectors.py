"""Drift detectors over arrays: the state of a detector is one array of float64, so that it can stand in a checkpoint."""
from math import log, sqrt

from numba import njit

# ADWIN's state: six numbers, then for each row of buckets their count, and each bucket's sum and sum of squared deviations.
WIDTH, TOTAL, SQUARES, TICKS, DRIFTED, DETECTIONS, COUNTS = range(7)
ROWS, BUCKETS = 32, 5                       # row i holds at most BUCKETS buckets of 2^i values
TOTALS = COUNTS + ROWS
ADWIN_SIZE = TOTALS + 2 * ROWS * (BUCKETS + 1)
CLOCK, LEAST, GRACE = 32, 5, 10             # how often to look, the shortest part of a window, the shortest window

# Page-Hinkley's state.
SEEN, MEAN, UP, DOWN, LOWEST, HIGHEST, CHANGED, CHANGES, HINKLEY_SIZE = range(9)

compiled = njit(cache=True, error_model="numpy", nogil=True)


@compiled
def adwin(state, values, delta, drifts):
    """Take `values` through the detector; drifts[i] tells whether value i made it drop the old part of its window."""
    for i in range(len(values)):
        if state[DRIFTED]:                  # as river does: after a change the window starts anew
            detections = state[DETECTIONS]
            state[:] = 0.0
            state[DETECTIONS] = detections
        _insert(state, values[i])
        state[TICKS] += 1
        found = state[TICKS] % CLOCK == 0 and state[WIDTH] > GRACE and _shrink(state, delta)
        state[DRIFTED] = found
        state[DETECTIONS] += found
        drifts[i] = found


@compiled
def page_hinkley(state, values, delta, threshold, alpha, least, drifts):
    """The same for Page-Hinkley, which drops everything at a change."""
    for i in range(len(values)):
        if state[CHANGED]:
            changes = state[CHANGES]
            state[:] = 0.0
            state[CHANGES] = changes
        x = values[i]
        state[SEEN] += 1
        state[MEAN] += (x - state[MEAN]) / state[SEEN]
        away = x - state[MEAN]
        state[UP] = alpha * state[UP] + away - delta
        state[DOWN] = alpha * state[DOWN] + away + delta
        first = state[SEEN] == 1
        state[LOWEST] = state[UP] if first else min(state[LOWEST], state[UP])
        state[HIGHEST] = state[DOWN] if first else max(state[HIGHEST], state[DOWN])
        found = state[SEEN] >= least and (state[UP] - state[LOWEST] > threshold or state[HIGHEST] - state[DOWN] > threshold)
        state[CHANGED] = found
        state[CHANGES] += found
        drifts[i] = found


@compiled
def _bucket(row, place):
    return TOTALS + 2 * (row * (BUCKETS + 1) + place)


@compiled
def _insert(state, x):
    n = state[WIDTH]
    if n > 0:
        away = x - state[TOTAL] / n
        state[SQUARES] += away * away * n / (n + 1)
    state[WIDTH] = n + 1
    state[TOTAL] += x
    _append(state, 0, x, 0.0)
    row = 0
    while state[COUNTS + row] > BUCKETS:    # the two oldest become one of the next row
        a, b = _bucket(row, 0), _bucket(row, 1)
        size = 2.0 ** row
        between = (state[a] - state[b]) / size
        total, squares = state[a] + state[b], state[a + 1] + state[b + 1] + size / 2 * between * between
        _drop(state, row, 2)
        _append(state, row + 1, total, squares)
        row += 1


@compiled
def _append(state, row, total, squares):
    at = _bucket(row, int(state[COUNTS + row]))
    state[at], state[at + 1] = total, squares
    state[COUNTS + row] += 1


@compiled
def _drop(state, row, count):
    """Forget the oldest buckets of a row."""
    state[COUNTS + row] -= count
    for j in range(2 * int(state[COUNTS + row])):
        state[_bucket(row, 0) + j] = state[_bucket(row, count) + j]


@compiled
def _oldest_row(state):
    row = ROWS - 1
    while row > 0 and state[COUNTS + row] == 0:
        row -= 1
    return row


@compiled
def _forget_oldest(state):
    """Drop the oldest bucket; returns its size."""
    row = _oldest_row(state)
    at, size = _bucket(row, 0), 2.0 ** row
    total, squares = state[at], state[at + 1]
    state[WIDTH] -= size
    state[TOTAL] -= total
    if state[WIDTH] > 0:
        between = total / size - state[TOTAL] / state[WIDTH]
        squares += size * state[WIDTH] / (size + state[WIDTH]) * between * between
    state[SQUARES] -= squares
    _drop(state, row, 1)
    return size


@compiled
def _shrink(state, delta):
    """Drop oldest buckets while some cut of the window separates two unlike means; whether any was dropped."""
    found, again = False, True
    while again:
        again = False
        n0, u0, n1, u1 = 0.0, 0.0, state[WIDTH], state[TOTAL]
        for row in range(_oldest_row(state), -1, -1):
            for place in range(int(state[COUNTS + row])):
                at, size = _bucket(row, place), 2.0 ** row
                n0, n1 = n0 + size, n1 - size
                u0, u1 = u0 + state[at], u1 - state[at]
                if row == 0 and place == state[COUNTS] - 1:
                    break
                if n0 >= LEAST and n1 >= LEAST and _unlike(state, n0, u0, n1, u1, delta):
                    found = True
                    if state[WIDTH] > 0:
                        _forget_oldest(state)
                        again = True
                    break
            if again:
                break
    return found


@compiled
def _unlike(state, n0, u0, n1, u1, delta):
    width = state[WIDTH]
    log_term = log(2.0 * log(width) / delta)
    part = 1.0 / (n0 - LEAST + 1) + 1.0 / (n1 - LEAST + 1)
    bound = sqrt(2.0 * part * state[SQUARES] / width * log_term) + 2.0 / 3.0 * log_term * part
    return abs(u0 / n0 - u1 / n1) > bound
