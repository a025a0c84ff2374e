"""Try something with a training and leave no trace: model, optimizer, loaders and random numbers are put back."""
from contextlib import contextmanager

from ..diagnostics import trial


@contextmanager
def restored(model, optimizer=None, loaders=()):
    """A block after which everything is, bit for bit, what it was before: an error in the block changes nothing either.

    >>> import tinygrad_lite as tg
    >>> model = tg.nn.Linear(1, 1)
    >>> optimizer, before = tg.optim.SGD(model.parameters(), lr=1.0), model.weight.item()
    >>> with restored(model, optimizer):
    ...     model(tg.Tensor([[1.0]])).sum().backward()
    ...     stepped = optimizer.step()
    ...     changed = model.weight.item() != before
    >>> changed, model.weight.item() == before, optimizer.t, model.weight.grad
    (True, True, 0, None)
    """
    groups = optimizer.param_groups if optimizer is not None else []
    mine = {id(p) for p in model.parameters()}      # a loss may have parameters, too
    others = [(p, p.data.copy(), p.grad) for group in groups for p in group["params"] if id(p) not in mine]
    options = [dict(group) for group in groups]
    state = optimizer.state_dict() if optimizer is not None else None
    epochs = [(loader, loader.epoch) for loader in loaders if hasattr(loader, "epoch")]
    with trial.restored(model):
        try:
            yield
        finally:
            for p, data, grad in others:
                p.data[...], p.grad = data, grad
            for group, old in zip(groups, options):
                group.update(old)
            if optimizer is not None:
                optimizer.load_state_dict(state)
            for loader, epoch in epochs:
                loader.epoch = epoch
