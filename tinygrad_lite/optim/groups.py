"""Which parameters get which options: by name, by predicate, by depth."""
from fnmatch import fnmatchcase


def param_groups(named, *rules, **rest):
    """Groups for an optimizer: each rule is (which, options), the first that fits a parameter decides, `rest` is for the others.

    `which` is a pattern for the name ("embedding.*") or a predicate (name, parameter) -> bool. Groups that stay
    empty are left out; a rule that fits nothing raises, since it is usually a misspelt name.

    >>> from tinygrad_lite import nn, optim
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    >>> groups = param_groups(model.named_parameters(), (lambda name, p: p.ndim <= 1, dict(weight_decay=0.0)), weight_decay=0.1)
    >>> [(g["weight_decay"], [name for name, _ in g["params"]]) for g in groups]
    [(0.0, ['0.bias', '1.weight', '1.bias', '2.bias']), (0.1, ['0.weight', '2.weight'])]
    >>> optim.AdamW(groups).step()                      # nothing has a gradient yet
    False
    """
    groups = [{"params": [], **options} for _, options in rules] + [{"params": [], **rest}]
    for name, p in named:
        fits = (i for i, (which, _) in enumerate(rules) if (fnmatchcase(name, which) if isinstance(which, str) else which(name, p)))
        groups[next(fits, -1)]["params"].append((name, p))
    for (which, _), group in zip(rules, groups):
        if not group["params"]:
            raise ValueError(f"param_groups: the rule {which!r} fits no parameter")
    return [g for g in groups if g["params"]]


def layer_rates(model, lr, decay):
    """Groups whose rate falls with the distance from the output: lr for the last layer, lr * decay for the one before, ...

    A layer is a module that has parameters of its own, in the order of the model. Source: Howard & Ruder 2018.

    >>> from tinygrad_lite import nn
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> [(g["lr"], [name for name, _ in g["params"]]) for g in layer_rates(model, 0.1, 0.5)]
    [(0.05, ['0.weight', '0.bias']), (0.1, ['2.weight', '2.bias'])]
    """
    layers = {}
    for name, p in model.named_parameters():
        layers.setdefault(name.rpartition(".")[0], []).append((name, p))
    depth = len(layers)
    return [{"params": params, "lr": lr * decay ** (depth - 1 - i)} for i, params in enumerate(layers.values())]
