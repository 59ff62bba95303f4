"""`docs/format.md` and the code say the same: every table, every invariant, and the bytes of a new region."""

import ast
import hashlib
import re
import struct
import sys
from pathlib import Path

import pytest

from ipcdatastore import check, codec, image, layout, platform, region

DOCUMENT = Path(__file__).parents[1] / "docs" / "format.md"
TABLE = re.compile(r"<!-- table: ([a-z-]+)(?: (?:in|of) (\w+))? -->\n\n((?:\|.*\n)+)")
MODULES = {"platform": platform, "codec": codec, "image": image}

# A frozen image may not change without a new format version: see "Numbers" in docs/format.md.
GOLDEN_SIZE = 17648
GOLDEN_START = (
    "8949504344530d0a0100000001000000040302010100000001000000785634120405060708090a0b0c0d0e0f10111213"
    "6465666768696a6b6c6d6e6f7071727315cd853dfe9c9717a23c81af0000000000000000000000000000000000000000"
    "010000000100000000000000000000000000000000000000000000004f040000000100000000000004100000fc100000"
    "00040000000400000000000000000000000000003f040000000000000100000000000000000000000000004000000000"
)
GOLDEN_SHA256 = "7756ec5abf7f2d2946f6d4a2823f5aa9805b0238e8332c7c49d190b28db63471"


class Table:
    """The rows of one table, as dicts from column to text without the backticks."""

    def __init__(self, name, target, text):
        lines = [line.strip().strip("|").split("|") for line in text.strip().split("\n")]
        header, rule, *rows = [[cell.strip() for cell in line] for line in lines]
        assert all(re.fullmatch("-+", cell) for cell in rule), name
        assert all(len(row) == len(header) for row in rows), f"a row of {name} has too many or too few columns"
        self.name, self.target = name, target
        self.rows = [{column: cell.strip("`") for column, cell in zip(header, row)} for row in rows]

    def numbers(self, *columns):
        return [tuple(ast.literal_eval(row[column]) for column in columns) for row in self.rows]


def read_tables(text):
    found = {name: Table(name, target or None, rows) for name, target, rows in TABLE.findall(text)}
    assert len(found) == text.count("<!-- table:"), "a table comment without a table, or two of one name"
    return found


TABLES = read_tables(DOCUMENT.read_text(encoding="utf-8"))
VALUE_TABLES = [t for t in TABLES.values() if t.rows[0].keys() >= {"name", "value"} and t.target is None]


def public_constants(module, types):
    found = {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, types)}
    return {name: value for name, value in found.items() if type(value) is not bool}  # TYPE_CHECKING


# --- the document's numbers are the code's ---------------------------------------------------------------
@pytest.mark.parametrize("table", VALUE_TABLES, ids=lambda table: table.name)
def test_values(table):
    for row in table.rows:
        assert getattr(layout, row["name"]) == ast.literal_eval(row["value"]), row["name"]


@pytest.mark.parametrize("table", [t for t in TABLES.values() if t.target], ids=lambda table: table.name)
def test_values_elsewhere(table):
    stated = {row["name"]: ast.literal_eval(row["value"]) for row in table.rows}
    if table.target in MODULES:
        for name, value in stated.items():
            assert getattr(MODULES[table.target], name) == value, name
    else:
        assert stated == getattr(layout, table.target)


def test_header_words():
    position = layout.LENGTH
    for row in TABLES["header-words"].rows:
        index, words = int(row["index"]), int(row["words"])
        assert getattr(layout, row["name"]) == index, row["name"]
        assert index == position, f"{row['name']} leaves a gap or overlaps"
        position = index + words
    assert position == layout.RESERVED_WORDS[0]
    assert layout.RESERVED_WORDS[1] == layout.INTENT


@pytest.mark.parametrize(("table", "module"), [("structs", layout), ("image-structs", image)])
def test_structs(table, module):
    for row in TABLES[table].rows:
        found = getattr(module, row["name"])
        assert (found.format, found.size) == (row["format"], int(row["bytes"])), row["name"]


@pytest.mark.parametrize(
    ("name", "structs"),
    [("static-header", ["STATIC", "STATIC_CRC"]), ("record", ["RECORD"]), ("event", ["EVENT"])],
    ids=["static", "record", "event"],
)
def test_fields(name, structs):
    fields = []
    for struct_name in structs:
        for field in re.findall(r"\d*[a-zA-Z]", getattr(layout, struct_name).format):
            size = struct.calcsize("=" + field)
            fields.append((sum(size for _, size in fields), size))
    assert TABLES[name].numbers("offset", "size") == fields


@pytest.mark.parametrize(
    ("name", "structs"),
    [("image-header", [image.IMAGE_HEADER, image.IMAGE_CRC]), ("image-footer", [image.IMAGE_FOOTER])],
    ids=["header", "footer"],
)
def test_fields_of_an_image(name, structs):
    fields = []
    for field in re.findall(r"\d*[a-zA-Z]", "".join(found.format for found in structs)):
        fields += [(sum(size for _, size in fields), struct.calcsize("=" + field))]
    assert TABLES[name].numbers("offset", "size") == fields


def test_no_constant_of_images_is_missing():
    found = public_constants(image, (int, bytes, struct.Struct))
    found = {name for name in found if not name.startswith("_")}
    own = found - set(public_constants(layout, (int, bytes, tuple, dict, struct.Struct)))
    tables = ("image-numbers", "image-structs")
    assert own == {row["name"] for table in tables for row in TABLES[table].rows}


def test_lengths_are_the_beginning_of_a_record():
    assert layout.RECORD.format.startswith(layout.RECORD_LENGTHS.format)


def test_size_classes():
    for units, number, handed_out, listed in TABLES["size-classes"].numbers(
        "units", "class", "handed out", "list class"
    ):
        assert layout.size_class(units) == (number, handed_out)
        assert layout.list_class(units) == listed


def test_size_class_formula():
    """The prose: what a class hands out is enough, wastes at most 1/8, and is served by its own list."""
    before = 0
    for units in [*range(1, 5000), *range(5000, 1 << 29, 9_999_991)]:
        number, handed_out = layout.size_class(units)
        assert units <= handed_out <= max(64, units * 9 / 8)
        assert number >= before
        assert layout.list_class(handed_out) == number
        before = number


def test_areas_of_the_header_do_not_overlap():
    assert layout.STATIC.size + layout.STATIC_CRC.size <= 4 * layout.LENGTH
    assert layout.INTENT + layout.INTENT_WORDS <= layout.DESCRIPTORS
    assert layout.DESCRIPTORS + layout.PARTITIONS <= layout.HEADS
    assert 4 * (layout.HEADS + layout.CLASSES) <= layout.HEADER_SIZE
    assert 1 + 1 + 2 * layout.MAX_STEP <= layout.INTENT_WORDS


# --- the code's numbers are in the document --------------------------------------------------------------
def documented_names():
    return {row["name"] for table in TABLES.values() for row in table.rows if "name" in row}


def test_no_constant_is_missing():
    dicts = {table.target for table in TABLES.values()}
    found = public_constants(layout, (int, bytes, tuple, dict, struct.Struct))
    assert found, "no constants at all?"
    assert sorted(set(found) - documented_names() - dicts) == []


def test_no_value_type_or_clock_is_missing():
    types = set(public_constants(codec, int)) - set(public_constants(layout, int))
    assert types == {row["name"] for table in ("value-types", "codec-limits") for row in TABLES[table].rows}
    clocks = {name for name in public_constants(platform, int) if name.startswith("CLOCK_")}
    assert clocks == {row["name"] for row in TABLES["clocks"].rows}


def test_system_kinds_intents_and_tags_have_different_numbers():
    for table in ("kinds", "system-blocks", "states", "tags", "slot", "events"):
        rows = [row for row in TABLES[table].rows if not re.search("_MASK|_WORDS|_MIN|_MAX", row["name"])]
        assert len({row["value"] for row in rows}) == len(rows)


# --- invariants ------------------------------------------------------------------------------------------
def test_invariants_are_those_that_are_checked():
    stated = [row["number"] for row in TABLES["invariants"].rows]
    assert stated == [f"I{number}" for number in range(1, len(stated) + 1)]
    docstrings = [function.__doc__ or "" for function in vars(check).values() if callable(function)]
    checked = re.findall(r"\b(I\d+):", " ".join(docstrings))
    assert sorted(checked) == sorted(stated)


# --- the golden image ------------------------------------------------------------------------------------
@pytest.fixture
def known_world(monkeypatch):
    """Nothing random, and one clock."""
    monkeypatch.setattr(region.os, "urandom", lambda size: bytes(range(size)))
    monkeypatch.setattr(region.time, "time_ns", lambda: 1_700_000_000_123_456_789)
    monkeypatch.setattr(platform, "boot_id", lambda: bytes(range(100, 116)))
    monkeypatch.setattr(platform, "CLOCK", platform.CLOCK_BOOTTIME)


@pytest.mark.skipif(sys.byteorder != "little", reason="the golden image is little-endian")
def test_golden_image(known_world):
    image = region.initial_image(region.Policy("pickle", 1 << 30, "lru"), seed=0x12345678)
    assert image[: len(GOLDEN_START) // 2].hex() == GOLDEN_START
    assert image[len(GOLDEN_START) // 2 : 256] == bytes(256 - len(GOLDEN_START) // 2)
    assert len(image) == GOLDEN_SIZE
    assert hashlib.sha256(image).hexdigest() == GOLDEN_SHA256


def test_initial_image_is_as_described(known_world):
    """Section "The initial image", on any machine."""
    image = region.initial_image(region.Policy("json", 1 << 20, "none"), seed=1)
    words = memoryview(image).cast("I")
    at = layout.HEAP_START
    for partition in range(layout.PARTITIONS):
        assert words[layout.DESCRIPTORS + partition] == at
        size = words[4 * at] >> 2
        expected = [size << 2 | layout.TAG_SYSTEM, layout.SYSTEM_TABLE, 0, layout.TABLE_MIN - 1]
        assert words[4 * at : 4 * (at + size)].tolist() == expected + [layout.EMPTY] * layout.TABLE_MIN
        at += size
    assert words[layout.CHUNK_FIRST] == words[layout.CHUNK_CURRENT] == at
    units = words[4 * at] >> 2
    assert words[4 * at + 1 : 4 * at + 4].tolist() == [layout.SYSTEM_CHUNK, 0, layout.CHUNK_SLOTS_MIN]
    assert words[layout.SLOT_TOP] == 4 * at + layout.BLOCK_HEADER_WORDS
    assert words[layout.SLOT_END] == words[layout.SLOT_TOP] + layout.SLOT_WORDS * layout.CHUNK_SLOTS_MIN
    assert not any(image[16 * at + 16 : 16 * (at + units)]), "slots that were never used are zero"
    at += units
    assert words[layout.JOURNAL] == at
    units = words[4 * at] >> 2
    assert words[4 * at + 1 : 4 * at + 4].tolist() == [layout.SYSTEM_JOURNAL, layout.JOURNAL_MIN, 0]
    assert words[layout.JOURNAL_COUNT] == 0
    assert words[layout.TOP] == at + units == len(image) // layout.UNIT
    assert words[layout.HAND] == layout.HEAP_START
    first, last = layout.RESERVED_WORDS
    assert not any(words[first:last])
    assert not any(words[layout.HEADS : layout.HEADER_SIZE // 4])
    assert region.read_static(image, "image").serializer == "json"


@pytest.mark.parametrize("name", ["magic", "write version", "read version", "byte order", "serializer", "seed", "crc"])
def test_every_byte_of_the_static_header_is_guarded(known_world, name):
    (row,) = [row for row in TABLES["static-header"].rows if row["name"] == name]
    image = bytearray(region.initial_image(region.Policy("pickle", 1 << 20, "none"), seed=1))
    image[int(row["offset"])] ^= 0x80
    with pytest.raises((region.FormatError, region.RegionDamagedError)):
        region.read_static(bytes(image), "image")
