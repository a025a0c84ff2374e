"""Every example in a docstring of `linear` runs, and every module that promises a table holds it."""
import doctest
import importlib
import inspect
import pkgutil

import pytest

import linear
from linear.formats import FORMATS, parser

MODULES = ["linear"] + [module.name for module in pkgutil.walk_packages(linear.__path__, "linear.")
                        if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name):
    module = importlib.import_module(name)
    assert module.__doc__
    public = [value for attribute, value in vars(module).items()
              if not attribute.startswith("_") and getattr(value, "__module__", None) == name]
    assert all(inspect.getdoc(value) for value in public if callable(value))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_parses(name):
    assert parser(name)(b"") is None
