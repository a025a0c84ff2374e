"""Why a prediction is what it is: the contributions of the features, which add up to the margin."""


def explained(model, x):
    """{margin, label, contributions, collisions} of an example: [feature, weight * value] in the order in which they are added.

    Features of the example that share one weight, as they may with `bits`, are listed under collisions.

    >>> from linear import HingeSVM
    >>> model = HingeSVM(rule="pa", dtype="float64")
    >>> model.learn_one({"user": "ann", "age": 2.0}, 1)
    >>> explained(model, {"user": "bob", "age": 1.0})["contributions"]
    [['user=bob', 0.0], ['age', 0.3333333333333333], ['Constant', 0.16666666666666666]]
    """
    parts, margin, slots = model.contributions_one(x), 0.0, {}
    for name, part in parts:
        margin += part
        if model.scheme is not None:
            slots.setdefault(model.scheme.of(name), {})[name] = None
    return {"margin": margin, "label": 1 if margin > 0 else -1, "contributions": [[name, part] for name, part in parts],
            "collisions": [list(names) for names in slots.values() if len(names) > 1]}
