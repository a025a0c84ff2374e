"""The one source of random numbers: initial weights, dropout and shuffling draw from it.

Initial weights are drawn on the host, so a seed gives the same ones on every device. Dropout draws where its arrays live:
the GPU has a generator of its own, which starts from a number of the host's. It is forgotten whenever the host's state is
read or set, so that who goes on after a checkpoint and who resumes from it draw the same numbers.
"""
import numpy as np

from .backend import on_gpu, random_generator

generator = np.random.default_rng()
on_device = []                              # the GPU's generator, once it was needed


def seed(n):
    """Start the random numbers anew, on every device: the same seed gives the same bits.

    >>> seed(0); a = generator.random(2)
    >>> seed(0); (generator.random(2) == a).all()
    np.True_
    """
    set_state(np.random.default_rng(n).bit_generator.state)


def generator_for(x):
    """The generator of random numbers that makes arrays where the array x lives.

    >>> generator_for(np.ones(2)) is generator
    True
    """
    if not on_gpu(x):
        return generator
    if not on_device:
        on_device.append(random_generator(int(generator.integers(1 << 31))))
    return on_device[0]


def get_state():
    """The state of all random numbers, for a checkpoint.

    >>> state = get_state(); a = generator.random(2)
    >>> set_state(state); (generator.random(2) == a).all()
    np.True_
    """
    on_device.clear()
    return generator.bit_generator.state


def set_state(state):
    """Go on from a state that get_state gave."""
    on_device.clear()
    generator.bit_generator.state = state
