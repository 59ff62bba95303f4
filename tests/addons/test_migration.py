"""docs/migration.md says what is so: its tables of names and errors, and its example."""

import inspect
import re

import pytest

from addons.fakes import ROOT

PAGE = ROOT / "docs" / "migration.md"
TEXT = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
CLASSES = {"IPCServer": "ipcserver", "IPCClient": "ipcclient", "IPCClientX": "ipcclientx"}
SIGNATURE = re.compile(r"`\.?(\w+)(\(.*?\))`")


def parameters(text):
    """(name, default) of each, of a signature in the page."""
    found = inspect.signature(eval(f"lambda {text[1:-1]}: 0")).parameters.values()
    return [(one.name, one.default) for one in found]


def documented(section):
    rows = re.findall(r"(?m)^\| (`.*?) \|", TEXT.partition(f"\n## {section}")[2].partition("\n## ")[0])
    return [match for row in rows for match in SIGNATURE.findall(row)]


@pytest.mark.parametrize(("name", "arguments"), [pair for pair in documented("Scripts") if pair[0] in CLASSES])
def test_classes(old, name, arguments):
    kind = getattr(getattr(old, CLASSES[name]), name)
    found = list(inspect.signature(kind).parameters.values())
    assert [(one.name, one.default) for one in found] == parameters(arguments)


def test_methods(old):
    kinds = [getattr(getattr(old, module), name) for name, module in CLASSES.items()]
    checked = 0
    for name, arguments in documented("Scripts"):
        if name in CLASSES:
            continue
        found = [getattr(kind, name) for kind in kinds if hasattr(kind, name)]
        assert found, name
        signature = inspect.signature(found[-1])
        got = [(one.name, one.default) for one in signature.parameters.values() if one.name != "self"]
        if (name, arguments) != ("test_pickle", "(obj)"):  # what it is called there says nothing
            assert got == parameters(arguments), name
        checked += 1
    assert checked >= 14


def test_errors(old):
    rows = re.findall(r"(?m)^\| `(\w+)` \| (−?\d) \|", TEXT)
    errors = old.ipcclientxerrors
    wanted = {
        name: kind.errno
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and not name.startswith("_") and name != "IPCClientError"
    }
    assert {name: int(number.replace("−", "-")) for name, number in rows} == wanted


def test_the_example(old):
    """With ``# -> `` as in the guide."""
    section = TEXT.partition("\n## From Pyro4 and Pyro5")[2]
    (block,) = re.findall(r"(?ms)^```python\n(.*?)^```", section.partition("\n## ")[0])
    names = {"__name__": "guide"}
    expected = re.findall(r"(?m)^(.*?) +# -> (.*)$", block)
    assert expected == [('library.year("Alien")', "1979")]
    exec(block.replace("library.year(", "found = library.year("), names)
    assert names["found"] == 1979
    names.clear()
