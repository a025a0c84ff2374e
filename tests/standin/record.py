"""Write cupy_facts.txt from a real CuPy: python -m tests.standin.record. An installed wheel is enough, no GPU is used.

A line is a kind and a name: the arguments of functions and methods in order, those with a default followed by `=`,
keyword-only ones after `*`; the dtypes that each ufunc takes (one letter an input, `>` before the results).
"""
import inspect
import re
from pathlib import Path

FACTS = Path(__file__).with_name("cupy_facts.txt")


def arguments(function):
    """'a, axis=, out=', from the signature or, in compiled code, from the first line of the docstring."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        line = re.match(r"[\w.]+\((.*)\)", (function.__doc__ or "").strip().split("\n")[0])
        if line is None:
            return "*args, **kwargs"
        names = [a.strip() for a in line[1].split(", ") if a.strip() not in ("self", "")]
        return ", ".join(a.split("=")[0].split()[-1] + "=" * ("=" in a) for a in names)
    words, star = [], False
    for p in [p for p in parameters if p.name != "self"]:
        star = star or p.kind is p.VAR_POSITIONAL
        if p.kind is p.KEYWORD_ONLY and not star:
            words.append("*")
            star = True
        words.append({p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name + "=" * (p.default is not p.empty))
    return ", ".join(words)


def facts(cupy, special):
    yield f"version {cupy.__version__}"
    for home, module in [("", cupy), ("linalg.", cupy.linalg)]:
        for name in sorted(dir(module)):
            thing = getattr(module, name)
            if name.startswith("_") or inspect.ismodule(thing) or inspect.isclass(thing) or not callable(thing):
                continue
            if isinstance(thing, cupy.ufunc):
                types = " ".join(t.replace("->", ">") for t in thing.types if not set(t) - set("?bBhHiIlLqQefd->"))
                yield f"ufunc {home}{name} {types}"
            else:
                yield f"function {home}{name}({arguments(thing)})"
    for name in sorted(dir(cupy.ndarray)):
        thing = getattr(cupy.ndarray, name)
        if not name.startswith("_") and callable(thing):
            yield f"method {name}({arguments(thing)})"
        elif not name.startswith("_") or name in ("__index__", "__contains__", "__bool__", "__array__", "__array_interface__"):
            yield f"attribute {name}"
    for name in sorted(dir(special)):
        if isinstance(getattr(special, name), cupy.ufunc) or inspect.isfunction(getattr(special, name)):
            yield f"special {name}"
    for name in sorted(dir(cupy.random.Generator)):
        if not name.startswith("_"):
            yield f"generator {name}({arguments(getattr(cupy.random.Generator, name))})"


if __name__ == "__main__":
    import cupy
    import cupyx.scipy.special

    FACTS.write_text("\n".join(facts(cupy, cupyx.scipy.special)) + "\n")
