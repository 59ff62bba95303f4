"""A module imports only from lower layers. A sub-package counts as one module."""

import ast
import re
from pathlib import Path

import pytest

import ipcdatastore

# From the lowest layer up. Modules of one set do not import each other.
LAYERS = [
    {"errors"},
    {"layout", "platform"},
    {"codec", "place", "futex"},
    {"region", "lockfile", "image"},
    {"coordinator", "heap", "archive"},
    {"index", "intent", "log"},
    {"reader", "check", "chain"},
    {"journal"},
    {"rebuild"},
    {"recovery"},
    {"frame"},
    {"space"},
    {"writer", "snapshot", "load"},
    {"transaction"},
    {"restore"},
    {"attach"},
    {"engine"},
    {"flush", "waiting"},
    {"upkeep", "watching", "locks"},
    {"aio"},
    {"cache", "unit"},
    {"store"},
    {"keeper"},
    {"opening"},
    {"service", "calls"},
    {"__init__"},
    {"demo", "selftest", "testing"},
    {"cli"},
    {"__main__"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}

PACKAGE = Path(ipcdatastore.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {file.split("/")[0].replace(".py", "") for file in FILES}


def without_type_checking(node):
    """Every node below `node` but those that only a type checker looks at."""
    for child in ast.iter_child_nodes(node):
        test = getattr(child, "test", None)
        for_checker = "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))
        seen = ast.Module(child.orelse, []) if for_checker else child
        yield seen
        yield from without_type_checking(seen)


def dotted_imports(tree, package):
    """The absolute dotted name of everything that is imported; `package` is what one leading dot means."""
    for node in without_type_checking(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            yield from ([*base, alias.name] for alias in node.names)


def imported_modules(source, file):
    """The modules of this package that `source`, the text of `file`, imports: {"layout", "errors"}."""
    package = ["ipcdatastore", *file.split("/")[:-1]]
    names = [name for name in dotted_imports(ast.parse(source), package) if name[0] == "ipcdatastore"]
    return {name[1] if len(name) > 1 and name[1] in MODULES else "__init__" for name in names}


def own_module(file):
    return file.split("/")[0].replace(".py", "")


@pytest.mark.parametrize("file", FILES)
def test_module_has_a_layer(file):
    assert own_module(file) in LEVEL, f"{file} has no place in LAYERS"


@pytest.mark.parametrize("file", FILES)
def test_module_imports_only_from_lower_layers(file):
    module = own_module(file)
    imported = imported_modules(FILES[file].read_text(encoding="utf-8"), file) - {module}
    too_high = {name for name in imported if LEVEL[name] >= LEVEL[module]}
    assert not too_high, f"{file} must not import {sorted(too_high)}"


@pytest.mark.parametrize(
    ("source", "file", "expected"),
    [
        ("import os, struct", "store.py", set()),
        ("import ipcdatastore", "demo.py", {"__init__"}),
        ("import ipcdatastore.errors as e", "store.py", {"errors"}),
        ("from ipcdatastore import errors, Datastore", "demo.py", {"errors", "__init__"}),
        ("from ipcdatastore.errors import RegionError", "store.py", {"errors"}),
        ("from . import errors, __version__", "store.py", {"errors", "__init__"}),
        ("from .errors import *", "store.py", {"errors"}),
        ("from .. import errors", "cli/get.py", {"errors"}),
        ("from ..errors import RegionError", "cli/get.py", {"errors"}),
        ("def f():\n    from . import errors", "store.py", {"errors"}),
        ("try:\n    from . import errors\nexcept ImportError:\n    pass", "store.py", {"errors"}),
        ("if TYPE_CHECKING:\n    from . import errors", "store.py", set()),
        ("if typing.TYPE_CHECKING:\n    from . import errors", "store.py", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from . import errors", "store.py", {"errors"}),
    ],
)
def test_imports_are_found_in_every_form(source, file, expected):
    assert imported_modules(source, file) == expected


def test_the_readme_lists_every_module_in_that_order():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| modules in `src/ipcdatastore/` |")[2].partition("\n\n")[0]
    named = [name for row in re.findall(r"(?m)^\| (`.*?) \|", table) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(module for module in MODULES if not module.startswith("__"))
    assert [LEVEL[name] for name in named] == sorted(LEVEL[name] for name in named)
