"""`docs/calls.md` and the code say the same."""

import ast
import re
import struct
from pathlib import Path

import pytest

from ipcdatastore.calls import layout

DOCUMENT = Path(__file__).parents[2] / "docs" / "calls.md"
TABLE = re.compile(r"<!-- table: ([a-z-]+) -->\n\n((?:\|.*\n)+)")


def rows_of(text):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().split("\n")]
    return [(row[0].strip("`"), row[1].strip("`")) for row in lines[2:]]


TABLES = {name: rows_of(text) for name, text in TABLE.findall(DOCUMENT.read_text(encoding="utf-8"))}
STRUCTS = dict(TABLES["structs"])
VALUES = [pair for name, rows in TABLES.items() if name != "structs" for pair in rows]


@pytest.mark.parametrize(("name", "value"), VALUES, ids=[name for name, _ in VALUES])
def test_values(name, value):
    assert getattr(layout, name) == ast.literal_eval(value)


@pytest.mark.parametrize("name", STRUCTS)
def test_structs(name):
    assert getattr(layout, name).format == STRUCTS[name]


def test_nothing_is_missing():
    public = {
        name
        for name, value in vars(layout).items()
        if name.isupper() and isinstance(value, (int, bytes, str, tuple, struct.Struct)) and type(value) is not bool
    }
    assert public == {name for name, _ in VALUES} | set(STRUCTS)


@pytest.mark.parametrize(
    "words",
    [[name for name, _ in TABLES["server-words"] if name not in ("SERVING", "STOPPED", "HISTOGRAM_SIZE")],
     [name for name, _ in TABLES["client-words"]]],
    ids=["server", "client"],
)  # fmt: skip
def test_nothing_overlaps(words):
    taken = set()
    for name in words:
        at = getattr(layout, name)
        places = range(2 * at, 2 * at + 2) if name.endswith("_LONG") else [at]
        places = range(at, at + layout.HISTOGRAM_SIZE) if name == "HISTOGRAM" else places
        assert taken.isdisjoint(places), name
        taken.update(places)
    assert min(taken) * 4 >= max(layout.SERVER_STATIC.size, layout.CLIENT_STATIC.size) + layout.STATIC_CRC.size
    assert max(taken) * 4 < layout.PAGE


def test_sizes():
    assert layout.FRAME.size == layout.FRAME_SIZE
    assert layout.PAGE % layout.FRAME_SIZE == 0
