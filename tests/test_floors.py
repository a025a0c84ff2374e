"""The house rules: who may import whom, what an import loads, how long a file is, and that the tables are complete."""
import ast
import fnmatch
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP_LEVEL = {"setup.cfg", "pyproject.toml", "README.md", "CHANGELOG.md", "tinygrad_lite", "linear", "tests", "examples"}
PRODUCTS = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]      # of builds and of examples

# From the ground up, and from left to right: a file imports from lower floors, from rooms to its left, and in its own room.
FLOORS = [
    ["progress", "backend", "random", "kernels"],
    ["late", "fitting", "rowsparse", "tensor", "autodiff", "gradcheck"],
    ["ops", "losses"],
    ["schedules", "clip", "data", "nn", "optim"],
    ["diagnostics", "training", "amp"],
    ["vectors", "__init__", "__main__"],
]
ORDER = {room: place for place, room in enumerate(room for floor in FLOORS for room in floor)}

# Modules with a table ALL, and their public names that are helpers and no entry of it.
TABLES = {"tinygrad_lite.schedules": {"Schedule", "LRScheduler", "linear_scaling_rule", "one_cycle_fastai"},
          "tinygrad_lite.optim": {"Optimizer", "MultipleOptimizer", "SparseDense", "param_groups", "layer_rates"},
          "tinygrad_lite.losses": {"fitted_temperature"}}


def modules(package):
    """Dotted name -> (file, its syntax tree); a package goes by its own name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path, ast.parse(path.read_bytes(), path.name)
    return found


TREES = {**modules("tinygrad_lite"), **modules("linear")}


def imports(name):
    """(line, dotted name of module) of every import in a module, those inside functions too."""
    path, tree = TREES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            home = package[:len(package) - node.level + 1] if node.level else []
            base = ".".join(home + (node.module.split(".") if node.module else []))
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in TREES else base


def room(name):
    return (name.split(".") + ["__init__"])[1]


GRAPH = {name: {target for _, target in imports(name) if target in TREES and target != name} for name in TREES}


@pytest.mark.parametrize("name", [n for n in TREES if n.startswith("tinygrad_lite")])
def test_imports_go_down_and_left(name):
    assert room(name) in ORDER, f"{name}: give the room {room(name)!r} a place in FLOORS"
    for line, target in imports(name):
        if target.split(".")[0] == "tinygrad_lite":
            assert ORDER[room(target)] <= ORDER[room(name)], (
                f"{TREES[name][0]}:{line} imports {target}, which stands on a higher floor or further right")


def test_no_cycles():
    done, path = set(), []

    def visit(name):
        assert name not in path, "imports in a circle: " + " -> ".join(path[path.index(name):] + [name])
        if name not in done:
            path.append(name)
            for target in sorted(GRAPH[name]):
                visit(target)
            done.add(path.pop())
    for name in TREES:
        visit(name)
    assert done == set(TREES)


@pytest.mark.parametrize("name", TREES)
def test_imports_keep_out(name):
    """The two packages do not know each other, the tests or the examples; CuPy is imported in one file."""
    own = name.split(".")[0]
    strangers = {"tinygrad_lite", "linear", "tests", "examples", "cupy"} - {own}
    if name == "tinygrad_lite.backend":
        strangers.remove("cupy")
    for line, target in imports(name):
        assert target.split(".")[0] not in strangers, f"{TREES[name][0]}:{line} imports {target}"


@pytest.mark.parametrize("name", TREES)
def test_no_flag_that_deletes_isnan(name):
    path, tree = TREES[name]
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "fastmath":
            assert not (isinstance(node.value, ast.Constant) and node.value.value is True), f"{path}:{node.value.lineno}"
        if isinstance(node, ast.Constant):
            assert node.value not in ("nnan", "ninf", "fast"), f"{path}:{node.lineno} names the LLVM flag {node.value!r}"


@pytest.mark.parametrize("name", TREES)
def test_files_are_short(name):
    path = TREES[name][0]
    lines = path.read_bytes().count(b"\n")
    most = 400 if name == "tinygrad_lite.tensor" else 450
    assert lines <= most, f"{path} has {lines} lines, at most {most}: is it two ideas?"


def test_nothing_else_at_the_top():
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert {name for name in visible if not any(fnmatch.fnmatch(name, product) for product in PRODUCTS)} == TOP_LEVEL


@pytest.mark.parametrize("package, heavy", [
    ("tinygrad_lite", {"numba", "scipy", "matplotlib", "cupy", "sklearn", "torch"}),
    ("linear", {"numpy", "numba", "scipy", "sklearn", "river", "tinygrad_lite"}),
])
def test_an_import_loads_little(package, heavy):
    code = f"import sys, {package}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)},
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert package in loaded
    assert sorted(loaded & heavy) == []


@pytest.mark.parametrize("name", TABLES)
def test_every_public_name_is_in_its_table(name):
    module, helpers = importlib.import_module(name), TABLES[name]
    public = {n for n, value in vars(module).items() if not n.startswith("_")
              and (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith(name)}
    table = {entry.__name__ for entry in module.ALL}
    assert len(table) == len(module.ALL) and not table & helpers
    assert table | helpers == public, f"neither in {name}.ALL nor a helper, or gone: {sorted((table | helpers) ^ public)}"
