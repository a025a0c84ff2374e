"""Helpers around layers, where PyTorch keeps them."""
from . import rnn
