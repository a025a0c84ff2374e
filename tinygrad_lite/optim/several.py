"""Several optimizers as one: for models whose embeddings have row-sparse gradients and whose other layers have not."""
from ..rowsparse import RowSparse
from .adam import Adam
from .adam_family import SparseAdam
from .base import Optimizer
from .gate import gate_of


class MultipleOptimizer:
    """Optimizers over disjoint parameters, stepped together. A closure is called once, before the first of them steps.

    `param_groups` is all groups in order, so that a scheduler written for one optimizer drives them all; the
    state is a list. A parameter in two members raises.

    >>> from tinygrad_lite import Tensor, optim
    >>> import numpy as np
    >>> a, b = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    >>> both = MultipleOptimizer(optim.SGD([a], lr=0.5), optim.Adam([b], lr=0.25))
    >>> a.grad, b.grad = np.ones(1, "f"), np.ones(1, "f")
    >>> both.step(), a.data, b.data
    (True, array([0.5], dtype=float32), array([0.75], dtype=float32))
    """

    def __init__(self, *optimizers):
        if not optimizers or not all(isinstance(o, Optimizer) for o in optimizers):
            raise TypeError(f"MultipleOptimizer: got {[type(o).__name__ for o in optimizers]}, expected one or more optimizers")
        owners = {}
        for o in optimizers:
            for slot in o.slots.values():
                if id(slot.p) in owners:
                    raise ValueError(f"MultipleOptimizer: parameter {slot.name!r} of {o.name} also belongs to {owners[id(slot.p)]}")
                owners[id(slot.p)] = o.name
        self.optimizers, self.stepped = optimizers, False

    @property
    def param_groups(self):
        return [group for o in self.optimizers for group in o.param_groups]

    lr = property(lambda self: self.optimizers[0].lr)
    t = property(lambda self: max(o.t for o in self.optimizers))

    def step(self, closure=None):
        loss = closure() if closure is not None else None
        self.advance()
        return self.stepped if closure is None else loss

    def advance(self, quiet=()):
        """One step of all, whole or not at all; see Optimizer.advance."""
        works = [o.ready() for o in self.optimizers]        # none moves before every gradient has been looked at
        gate = gate_of(self.optimizers, works, quiet) if any([o._there for o in self.optimizers]) else None
        moved = [o.move(work, gate) for o, work in zip(self.optimizers, works)]
        self.stepped = any(moved) if gate is None else gate
        return self.stepped

    def zero_grad(self, set_to_none=True):
        for o in self.optimizers:
            o.zero_grad(set_to_none)

    def state_dict(self):
        return [o.state_dict() for o in self.optimizers]

    def load_state_dict(self, saved):
        """Load a list of states; if one does not fit, those loaded before it are put back."""
        if len(saved) != len(self.optimizers):
            raise ValueError(f"MultipleOptimizer.load_state_dict: got {len(saved)} states, expected {len(self.optimizers)}")
        before = self.state_dict()
        try:
            for o, state in zip(self.optimizers, saved):
                o.load_state_dict(state)
        except BaseException:
            for o, state in zip(self.optimizers, before):
                o.load_state_dict(state)
            raise

    def __repr__(self):
        return f"MultipleOptimizer({', '.join(map(repr, self.optimizers))})"


class SparseDense(MultipleOptimizer):
    """Sorts a model's parameters by what their gradients will be: tables of layers with `sparse=True` go to the sparse
    optimizer, all others to the dense one; says so in `str()`. Options (`lr=...`) go to both.

    A table that is also used elsewhere (tied weights) goes to the dense side, and its gradient is made dense. A
    gradient of the other kind later on raises in step().

    >>> from tinygrad_lite import nn
    >>> model = nn.Sequential(nn.Embedding(1000, 8, sparse=True), nn.Linear(8, 2))
    >>> print(SparseDense(model, lr=0.01))
    SparseAdam (sparse): 0.weight
    Adam (dense): 1.weight, 1.bias
    """

    def __init__(self, model, sparse=SparseAdam, dense=Adam, **options):
        tables, others = set(), set()
        for module in model.modules():
            rows = getattr(module, "sparse", False)
            for value in vars(module).values():
                (tables if rows and value is getattr(module, "weight", None) else others).add(id(value))
        named = list(model.named_parameters())
        self.tied = [p for _, p in named if id(p) in tables & others]
        sides = (sparse, [(n, p) for n, p in named if id(p) in tables - others]), \
                (dense, [(n, p) for n, p in named if id(p) not in tables - others])
        super().__init__(*[kind(params, **options) for kind, params in sides if params])
        self.said = "\n".join(f"{kind.__name__} ({side}): {', '.join(n for n, _ in params) or 'none'}"
                              for (kind, params), side in zip(sides, ("sparse", "dense")))

    def advance(self, quiet=()):
        for p in self.tied:
            if isinstance(p.grad, RowSparse):
                p.grad = p.grad.to_dense()
        return super().advance(quiet)

    def __str__(self):
        return self.said
