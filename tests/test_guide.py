"""The guide's examples run, section by section, and every line that ends in ``# -> ...`` gives what stands there."""

import ast
import gc
import io
import os
import re
import tempfile
import tokenize
from pathlib import Path

import pytest

import ipcdatastore
from ipcdatastore import errors, place
from ipcdatastore.calls.proxy import Method

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guide.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = GUIDE.read_text(encoding="utf-8")
SECTIONS = [part for part in re.split(r"(?m)^## ", TEXT)[1:] if "```python" in part]


class Compared(ast.NodeTransformer):
    """Turns ``EXPRESSION  # -> TEXT`` into ``compare(EXPRESSION, TEXT, LINE)``."""

    def __init__(self, source):
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
        self.wanted = {line: text[5:].strip() for line, text in comments.items() if text.startswith("# -> ")}

    def visit_Expr(self, node):
        text = self.wanted.pop(node.end_lineno, None)
        if text is None:
            return node
        arguments = [node.value, ast.Constant(text, kind=None), ast.Constant(node.lineno, kind=None)]
        call = ast.Call(ast.Name("compare", ast.Load()), arguments, [])
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(ast.copy_location(call, node)), node))


def reboot(name):
    """The memory is gone."""
    os.unlink(place.region_path(os.environ["IPCDATASTORE_DIR"], name))


def run(section):
    """Execute the blocks of a section in one namespace. How many values were compared."""
    done = []

    def compare(value, text, line):
        assert repr(value) == text, f"line {line} of a block of {section.splitlines()[0]!r}"
        done.append(line)

    names = {"__name__": "guide", "compare": compare, "reboot": reboot}
    promised = 0
    try:
        for block in re.findall(r"(?ms)^```python\n(.*?)^```", section):
            compared = Compared(block)
            promised += len(compared.wanted)
            tree = compared.visit(ast.parse(block))
            assert not compared.wanted, f"what stands there is of no expression: {compared.wanted}"
            exec(compile(tree, str(GUIDE), "exec"), names)
    finally:
        for value in names.values():
            if isinstance(value, ipcdatastore.Datastore):
                value.close()
    names.clear()
    gc.collect()  # handles that an example has no name for
    return len(done), promised


@pytest.mark.parametrize("section", SECTIONS, ids=[part.split("\n")[0] for part in SECTIONS])
def test_examples(section, directory, tmp_path, monkeypatch):
    monkeypatch.setenv("IPCDATASTORE_DIR", str(directory))
    monkeypatch.setenv("IPCDATASTORE_IMAGES", str(tmp_path / "images"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    compared, promised = run(section)
    assert compared == promised or "pytest.fixture" in section  # which is defined there, and not called
    for region in directory.glob("*.region"):
        with ipcdatastore.open(region.stem, mode="w") as store:
            assert store.check() == []


def anchors(text, heading="#+"):
    headings = re.findall(rf"(?m)^{heading} (.*)$", re.sub(r"(?ms)^```.*?^```", "", text))
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


def test_every_section_is_in_the_table_of_contents():
    contents = TEXT.partition("\n## ")[0]
    linked = re.findall(r"\]\(#([^)]+)\)", contents)
    headings = [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall("(?m)^## (.*)", TEXT)
    ]
    assert linked == headings


def test_every_error_is_in_the_table():
    named = dict(re.findall(r"(?m)^\| `(\w+Error)` \| `(\w+)` \|", TEXT))
    assert named.keys() == set(errors.__all__) - {"DatastoreError"}
    for name, builtin in named.items():
        assert issubclass(getattr(errors, name), getattr(__import__("builtins"), builtin))


@pytest.mark.parametrize(
    "kind",
    [
        ipcdatastore.Datastore,
        ipcdatastore.Service,
        ipcdatastore.Watch,
        ipcdatastore.NamedLock,
        ipcdatastore.ObjectServer,
        ipcdatastore.PendingCall,
    ],
)
def test_every_method_is_spoken_of(kind):
    inherited = {"keys", "items", "values", "popitem"}
    internal = {"after_fork", "fail", "is_busy_with"}  # between the modules of the calls
    names = {name for name in vars(kind) if not name.startswith("_")} - inherited - internal
    assert {name for name in names if not re.search(rf"\b{name}\b", TEXT)} == set()


def test_every_way_to_call_is_spoken_of():
    names = {
        "available",
        "batch",
        "close",
        "describe",
        "name",
        "proxy",
        "timeout",
        "wait",
        "oneway",
        "submit",
        "within",
    }
    kinds = (ipcdatastore.Link, Method)
    assert {name for name in names if not any(hasattr(kind, name) for kind in kinds)} == set()
    functions = {name for name, module in ipcdatastore._LAZY.items() if module == "calls"} - {"ObjectInfo"}
    functions -= {"RemoteTraceback"}  # what one meets in a traceback
    assert {name for name in names | functions if not re.search(rf"\b{name}\b", TEXT)} == set()


def test_every_figure_is_explained(directory):
    with ipcdatastore.open("s", directory=directory) as store:
        figures = set(store.stats())
    section = TEXT.partition("## Figures, check and repair")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"(?m)^\| (`.*?) \|", section) for name in re.findall(r"`(\w+)`", row)}
    assert named == figures
