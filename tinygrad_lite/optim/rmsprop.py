"""RMSprop: divide by the root of a running mean of squared gradients. PyTorch's form, and the books' two."""
from ..kernels.updates import Lifted, sqrt, where
from .base import Optimizer


def rmsprop(g, p, square_avg, h):
    square_avg = h.alpha * square_avg + (1 - h.alpha) * g * g
    return p - h.lr * g / (sqrt(square_avg) + h.eps), square_avg


def centered(g, p, square_avg, grad_avg, h):
    square_avg = h.alpha * square_avg + (1 - h.alpha) * g * g
    grad_avg = grad_avg + (1 - h.alpha) * (g - grad_avg)
    return p - h.lr * g / (sqrt(square_avg - grad_avg * grad_avg) + h.eps), square_avg, grad_avg


def rmsprop_momentum(g, p, square_avg, momentum_buffer, h):
    square_avg = h.alpha * square_avg + (1 - h.alpha) * g * g
    momentum_buffer = h.momentum * momentum_buffer + g / (sqrt(square_avg) + h.eps)
    return p - h.lr * momentum_buffer, square_avg, momentum_buffer


def centered_momentum(g, p, square_avg, grad_avg, momentum_buffer, h):
    square_avg = h.alpha * square_avg + (1 - h.alpha) * g * g
    grad_avg = grad_avg + (1 - h.alpha) * (g - grad_avg)
    momentum_buffer = h.momentum * momentum_buffer + g / (sqrt(square_avg - grad_avg * grad_avg) + h.eps)
    return p - h.lr * momentum_buffer, square_avg, grad_avg, momentum_buffer


def rmsprop_book(g, p, square_avg, h):
    square_avg = h.alpha * square_avg + (1 - h.alpha) * g * g
    return p - where(square_avg > 0, h.lr * g / sqrt(where(square_avg > 0, square_avg, 1)), 0 * g), square_avg


def rmsprop_inside(g, p, square_avg, h):
    square_avg = h.alpha * square_avg + (1 - h.alpha) * g * g
    return p - h.lr * g / sqrt(h.delta + square_avg), square_avg


# by (centered, with momentum)
RULES = {(False, False): Lifted(rmsprop), (True, False): Lifted(centered),
         (False, True): Lifted(rmsprop_momentum), (True, True): Lifted(centered_momentum)}


class RMSprop(Optimizer):
    """s = a s + (1-a) g^2;  p -= lr g / (sqrt(s) + eps).  Centered: s - (mean g)^2 under the root. Momentum: on the quotient.

    eps is outside the root and nothing is corrected for the start at zero, so the first step is lr / sqrt(1-a).
    Source: Hinton, lecture 6e, 2012; centered: Graves 2013.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.RMSprop([w], lr=0.01)
    >>> w.grad = np.array([5.0], "f"); _ = opt.step(); w.data       # 0.01 / sqrt(1 - 0.99) = 0.1
    array([0.9], dtype=float32)
    """
    defaults = dict(lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False)

    def rule_of(self, o):
        return RULES[bool(o.centered), bool(o.momentum)]

    def scalars(self, o, t):
        return dict(lr=o.lr, alpha=o.alpha, eps=o.eps, momentum=o.momentum)


class RMSpropBook(Optimizer):
    """s = a s + (1-a) g^2;  p -= lr g / sqrt(s), and nothing where s = 0: the form without eps.

    Scale free: a gradient of 1e-9 moves as far as one of 1. Source: textbooks' and blogs' plain form.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0, 1.0, 1.0], requires_grad=True)
    >>> opt = optim.RMSpropBook([w], lr=0.1, alpha=0.75)
    >>> w.grad = np.array([4.0, 4e-9, 0.0], "f"); _ = opt.step(); w.data
    array([0.8, 0.8, 1. ], dtype=float32)
    """
    defaults = dict(lr=1e-2, alpha=0.9)
    rule = Lifted(rmsprop_book)

    def scalars(self, o, t):
        return dict(lr=o.lr, alpha=o.alpha)


class RMSpropInside(Optimizer):
    """s = a s + (1-a) g^2;  p -= lr g / sqrt(delta + s): the stabiliser inside the root.

    Source: Goodfellow, Bengio, Courville 2016, algorithm 8.5.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> w = Tensor([1.0], requires_grad=True)
    >>> opt = optim.RMSpropInside([w], lr=0.1, alpha=0.5, delta=0.5)
    >>> w.grad = np.array([1.0], "f"); _ = opt.step(); w.data       # 0.1 / sqrt(0.5 + 0.5)
    array([0.9], dtype=float32)
    """
    defaults = dict(lr=1e-3, alpha=0.9, delta=1e-6)
    rule = Lifted(rmsprop_inside)

    def scalars(self, o, t):
        return dict(lr=o.lr, alpha=o.alpha, delta=o.delta)
