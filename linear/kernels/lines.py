"""The loop over lines: read 32 of them, ask memory for all their slots, then predict, score and learn one after the other.

Reading, hashing and crossing need no weights, so a block's keys are known long before its weights are touched: the
prefetches overlap, which halves the time of a table far larger than the caches. Learning stays strictly in order.
"""
import numpy as np
from numba import njit

import linear.kernels.layout as at
from linear.kernels.crosses import crosses
from linear.kernels.bits import prefetch
from linear.kernels.hashes import CONSTANT, SLOT
from linear.kernels.table import place_of
from linear.kernels.text import EMPTY, FULL, SLOW, before_the_bar, namespaces
from linear.kernels.updates import adagrad, add, arow_beta, asgd, confident_step, ftrl, pegasos, rate_of, read, scw2, shrink, \
    push_of, squared_length

