"""The example addons: short, whole, and word for word what docs/kodi.md shows."""

import ast
import re
from xml.etree import ElementTree

import pytest

from addons.fakes import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*/"))
PROGRAMS = [path for example in EXAMPLES for path in sorted(example.glob("*.py"))]
LONGEST = 40  # lines of a whole addon


def test_there_are_three():
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_each_is_an_addon_of_few_lines(example):
    root = ElementTree.parse(example / "addon.xml").getroot()
    assert root.get("id") == example.name
    assert "script.module.ipc" in [needed.get("addon") for needed in root.iter("import")]
    for extension in root.iter("extension"):
        assert extension.get("library") is None or (example / extension.get("library")).is_file()
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in example.glob("*.py")) < LONGEST


def test_the_manual_on_objects(kodi, load):
    """Its two blocks, one after the other."""
    section = (ROOT / "docs" / "kodi.md").read_text(encoding="utf-8").partition("\n## Objects")[2]
    service, caller = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    names = {}
    # The last one is answered after the one that nobody waits for.
    kodi.steps = [lambda: (exec(caller, names), names["jobs"].add("nothing"))]
    kodi.steps.append(names.clear)
    exec(service, {"__name__": "service"})
    assert kodi.lines().split("\n") == ["doing library.scan", "doing library.clean", "doing nothing"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_manual_shows_it(program):
    text = program.read_text(encoding="utf-8")
    ast.parse(text)
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "kodi.md").read_text(encoding="utf-8"), re.DOTALL)
    assert text in shown
