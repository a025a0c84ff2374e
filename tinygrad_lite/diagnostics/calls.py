"""Who is being called: while a block is open, every call of a Module tells its listeners. Outside it nothing is different.

`Module.__call__` itself is exchanged, so a model pays nothing when nobody listens, however it is built.
"""
import threading

from ..nn import Module

PLAIN = Module.__call__
LOCK = threading.Lock()
open_blocks = 0


class Here(threading.local):
    listeners = ()                          # of this thread


here = Here()


def _call(self, *inputs, **options):
    listeners = here.listeners
    for listener in listeners:
        listener.enter(self, inputs)
    output = None
    try:
        output = PLAIN(self, *inputs, **options)
    finally:
        for listener in listeners:
            listener.leave(self, output)
    return output


class listening:
    """A block in which `listener.enter(module, inputs)` and `listener.leave(module, output)` surround this thread's calls.

    A call that raised leaves with the output None.

    >>> import numpy as np
    >>> from tinygrad_lite import nn
    >>> class Names:
    ...     def enter(self, module, inputs): print(type(module).__name__)
    ...     def leave(self, module, output): pass
    >>> with listening(Names()):
    ...     y = nn.Sequential(nn.Linear(1, 1), nn.Tanh())(np.ones((1, 1), "f"))
    Sequential
    Linear
    Tanh
    """

    def __init__(self, listener):
        self.listener = listener

    def __enter__(self):
        _count(1)
        here.listeners += (self.listener,)
        return self.listener

    def __exit__(self, *error):
        here.listeners = tuple(x for x in here.listeners if x is not self.listener)
        _count(-1)


def _count(step):
    global open_blocks
    with LOCK:
        open_blocks += step
        Module.__call__ = _call if open_blocks else PLAIN


class Paths:
    """A listener that knows which module is at work: `path` reads "1.fc (Linear) of Net", None outside of all."""

    def __init__(self):
        self.stack = []

    def enter(self, module, inputs):
        if not self.stack:
            self.names = {id(m): name for name, m in module.named_modules()}
        self.stack.append(module)

    def leave(self, module, output):
        self.stack.pop()

    @property
    def root(self):
        return self.stack[0] if self.stack else None

    @property
    def path(self):
        if not self.stack:
            return None
        module, root = self.stack[-1], self.stack[0]
        name = self.names.get(id(module))
        if not name:                        # the outermost one, or one that its owner hides
            return type(module).__name__ if module is root else f"a {type(module).__name__} inside {type(root).__name__}"
        return f"{name} ({type(module).__name__}) of {type(root).__name__}"
