"""What the real CuPy has, as record.py found it: names, arguments, dtypes. Calls beyond them are refused."""
import inspect
from pathlib import Path


def signature(arguments):
    """The arguments as `inspect` binds them: 'a, axis=' -> (a, axis=None)."""
    words = arguments.replace("=", "=None")
    return inspect.signature(eval(f"lambda {words}: None"))         # words of our own file


def read():
    """kind -> {name: signature, or the types of a ufunc}."""
    found = {kind: {} for kind in ("version", "function", "ufunc", "method", "attribute", "special", "generator")}
    for line in Path(__file__).with_name("cupy_facts.txt").read_text().splitlines():
        kind, rest = line.split(" ", 1)
        if kind in ("function", "method", "generator"):
            name, arguments = rest.rstrip(")").split("(", 1)
            found[kind][name] = signature(arguments)
        else:
            name, _, types = rest.partition(" ")
            found[kind][name] = types.split()
    return found


FACTS = read()


def check(what, bound, args, kwargs):
    """TypeError, as CuPy's, where the arguments are not those that it takes."""
    try:
        bound.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"cupy {what}: {error}") from None
