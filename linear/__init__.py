"""Online linear classifier over named features and their crosses, one example at a time.

    import linear
    model = linear.HingeSVM(crosses=["user*tags"])
    model.learn_one({"user": "u1", "tags": ["news", "sport"]}, 1)
    model.predict_one({"user": "u1", "tags": ["sport"]})

The same learner stands behind `python -m linear learn FILE`. Read `reference.py` first. Names are looked up
on first use, so that `import linear` costs next to nothing.
"""
_HOME = {
    "HingeSVM": "linear.svm",
    "OneAgainstAll": "linear.multi",
    "Prepared": "linear.prepare",
    "FeatureError": "linear.features",
    "FormatError": "linear.formats",
    "ModelFileError": "linear.model_file",
}
__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'linear' has no attribute {name!r}; it has {', '.join(_HOME)}")
    from importlib import import_module
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(_HOME))
