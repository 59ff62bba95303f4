"""What a writer does in a region whose lists were damaged: it refuses, and no record is lost for it."""

import contextlib

import pytest

from crash.scenarios import fill, key, write
from crash.tape import contents
from disks import holds, place  # noqa: F401 - a fixture
from ipcdatastore import RegionDamagedError, flush, heap, layout
from ipcdatastore.attach import Options
from ipcdatastore.engine import Engine

INSERTS = {
    "put": lambda engine: engine.put(b"snew", 1, b"v"),
    "transaction": lambda engine: engine.commit([write(engine, b"snew", b"v"), write(engine, b"sother", b"v")]),
}


@pytest.mark.parametrize("insert", INSERTS.values(), ids=INSERTS)
def test_a_list_of_free_slots_that_leads_to_a_record(directory, insert):
    engine = Engine("s", str(directory), Options())
    fill(engine, 12)
    engine.delete(key(3))  # so that there is such a list
    before = contents(engine)
    in_use = engine.get(key(5)).slot
    engine.region.words[layout.SLOT_FREE] = in_use
    with pytest.raises(RegionDamagedError, match=f"names slot {in_use}, which holds a record"):
        insert(engine)
    assert contents(engine) == before
    engine.repair()
    assert contents(engine) == before
    insert(engine)
    assert contents(engine).keys() > before.keys()
    assert engine.check() == []
    engine.close()


def test_a_list_of_free_blocks_that_leads_to_a_record(directory):
    engine = Engine("s", str(directory), Options())
    engine.put(b"shole", 1, bytes(3000))
    fill(engine, 12)
    engine.delete(b"shole")
    before = contents(engine)
    words = engine.region.words
    (head,) = [number for number in range(layout.HEADS, layout.HEADS + layout.CLASSES) if words[number]]
    block = words[engine.get(key(5)).slot + layout.SLOT_CELL + 2 * (engine.get(key(5)).word & 1)]
    words[head] = block
    for insert in INSERTS.values():
        with pytest.raises(RegionDamagedError, match=f"unit {block}, which is in use"):
            insert(engine)
        assert contents(engine) == before
    engine.repair()
    assert contents(engine) == before
    assert engine.check() == []
    engine.close()


@pytest.mark.parametrize("link", ["next", "previous"])
def test_a_free_block_whose_neighbour_is_a_record(directory, link):
    """Joining it would store a link into the record."""
    engine = Engine("s", str(directory), Options())
    for name in (b"sa", b"sb", b"sc"):  # three free blocks of one class, each with a record behind it
        engine.put(name, 1, bytes(1000))
        engine.put(name + b"behind", 1, bytes(1000))
    before = {name: value for name, value in contents(engine).items() if name.endswith(b"behind")}
    for name in (b"sa", b"sb", b"sc"):
        engine.delete(name)
    words = engine.region.words
    (middle,) = [4 * unit for unit in free_blocks(engine) if words[4 * unit + 1] and words[4 * unit + 2]][:1] or [0]
    record = engine.get(b"sbbehind")
    words[middle + (1 if link == "next" else 2)] = words[record.slot + layout.SLOT_CELL + 2 * (record.word & 1)]
    plan = heap.Plan(words)
    with pytest.raises(ValueError, match="neighbours"):
        heap.unlink(plan, middle // 4)
    assert not plan
    assert engine.repair() == []
    assert contents(engine) == before
    assert engine.check() == []
    engine.close()


def free_blocks(engine):
    """Units of the blocks on the free lists, each list from its second on."""
    words = engine.region.words
    for head in range(layout.HEADS, layout.HEADS + layout.CLASSES):
        unit = words[head] and words[4 * words[head] + 1]
        while unit:
            yield unit
            unit = words[4 * unit + 1]


# --- the header's words ----------------------------------------------------------------------------------
LONGS = {"last image": layout.FLUSHED_LONG, "last clear": layout.CLEARED_LONG}


@pytest.mark.parametrize("name", LONGS)
def test_what_is_said_of_images_is_from_the_future(directory, name):
    """A flush would be left out for it, or images removed that are still good."""
    engine = Engine("s", str(directory), Options())
    fill(engine, 3)
    engine.region.longs[LONGS[name]] = 1 << 40
    assert any(name in problem for problem in engine.check())
    assert engine.repair() == []
    assert engine.check() == []
    engine.close()


@pytest.mark.parametrize("version", [layout.MAX_VERSION + 1, (1 << 64) - 3])
def test_a_version_that_was_never_given_out(directory, version):
    engine = Engine("s", str(directory), Options())
    fill(engine, 3)
    newest = engine.region.longs[layout.VERSION_LONG]
    engine.region.longs[layout.VERSION_LONG] = version
    assert any("never given out" in problem for problem in engine.check())
    assert engine.repair() == []
    assert engine.check() == []
    assert newest < engine.region.longs[layout.VERSION_LONG] < layout.MAX_VERSION
    assert len(contents(engine)) == 3
    engine.close()


def test_a_mark_that_the_header_does_not_know_of(directory):
    """The next flush would keep nothing."""
    engine = Engine("s", str(directory), Options())
    engine.put(b"skept", 1, b"v", flags=layout.FLAG_PERSIST)
    engine.region.words[layout.FLAGGED] = 0
    assert any("marked" in problem for problem in engine.check())
    assert engine.repair() == []
    assert engine.check() == []
    assert engine.region.words[layout.FLAGGED]
    engine.close()


@pytest.mark.parametrize("word", ["EVICT", "PERSIST", "MAX_SIZE"])
def test_no_image_is_made_of_settings_that_no_restore_would_take(place, word):  # noqa: F811
    engine = place.engine()
    fill(engine, 3)
    first = flush.flush(engine)
    engine.put(key(1), 1, b"changed")
    engine.region.words[getattr(layout, word)] = 77
    with pytest.raises(RegionDamagedError, match="77"):
        flush.flush(engine)
    assert [str(place.newest())] == [first]
    assert place.leftovers() == []
    engine.repair()
    flush.flush(engine)
    assert holds(place.newest())[0] == contents(engine)
    assert engine.check() == []
    engine.close()


@pytest.mark.parametrize("count", [0, 5, 40, 0xFFFFFFFF])
def test_an_image_with_a_wrong_count_comes_back_whole(place, count):  # noqa: F811
    """The records tell how many they are; the count only says how much room to make first."""
    engine = place.engine()
    fill(engine, 3000)
    before = contents(engine)
    engine.region.words[layout.COUNT] = count
    flush.flush(engine)
    engine.close()
    place.reboot()
    engine = place.engine()
    assert contents(engine) == before
    assert engine.restored.records == 3000
    assert engine.check() == []
    engine.close()


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_a_published_length_that_is_too_short(directory, pages):
    """The records behind it are there, in the file: repair maps all of that before it looks."""
    engine = Engine("s", str(directory), Options())
    for number in range(40):
        engine.put(key(number), 1, bytes([number]) * 9000)
    before = contents(engine)
    length = engine.region.words[layout.LENGTH]
    assert length > 5
    engine.region.words[layout.LENGTH] = pages
    engine.close()
    engine = Engine("s", str(directory), Options())
    assert engine.check() != []
    assert engine.repair() == []
    assert contents(engine) == before
    assert engine.region.words[layout.LENGTH] == length
    assert engine.check() == []
    engine.close()


def long_chain(directory):
    engine = Engine("s", str(directory), Options())
    fill(engine, 300)
    first = engine.region.words[layout.CHUNK_FIRST]
    second = engine.region.words[4 * first + 2]
    assert engine.region.words[4 * second + 2], "three chunks"
    return engine, first, second


CHAIN = {
    "lost": lambda words, first, second: (layout.CHUNK_FIRST, 0),
    "leads nowhere": lambda words, first, second: (layout.CHUNK_FIRST, 1 << 30),
    "ends early": lambda words, first, second: (4 * first + 2, 0),
    "goes round": lambda words, first, second: (4 * second + 2, first),
    "leads into a record": lambda words, first, second: (4 * first + 2, words[layout.TOP] - 2),
    "kind": lambda words, first, second: (4 * second + 1, 77),
    "units": lambda words, first, second: (4 * second, 7 << 2 | layout.TAG_SYSTEM),
    "tag": lambda words, first, second: (4 * second, 0x12345678),
    "fewer slots": lambda words, first, second: (4 * second + 3, 3),
    "more slots": lambda words, first, second: (4 * second + 3, 1500),
    "no slots": lambda words, first, second: (4 * second + 3, 0),
}


@pytest.mark.parametrize("dead", [0, layout.KIND_CLEAR, layout.KIND_REBUILD, layout.KIND_REPAIR], ids=str)
@pytest.mark.parametrize("damage", CHAIN)
def test_a_broken_chain_of_slots_costs_no_record(directory, damage, dead):
    """Neither a recovery nor a repair takes what is left of it for all there is."""
    engine, first, second = long_chain(directory)
    before = contents(engine)
    words = engine.region.words
    address, value = CHAIN[damage](words, first, second)
    words[address] = value
    words[layout.DIRTY] = dead and engine.writer.nonce | dead
    engine.close()
    engine = Engine("s", str(directory), Options())
    problems = ["it is refused"]
    with contextlib.suppress(RegionDamagedError):
        problems = engine.check()
    assert problems
    engine.repair()
    assert engine.check() == []
    assert contents(engine) == before
    engine.put(b"snew", 1, b"v")
    assert engine.check() == []
    engine.close()


def test_a_chain_and_a_heap_that_are_both_broken(directory):
    """The first block of the heap is damaged, so nothing can be walked; the tables are gone, so nothing is named."""
    engine, _, _ = long_chain(directory)
    before = contents(engine)
    words = engine.region.words
    words[layout.CHUNK_FIRST] = 12345
    words[4 * layout.HEAP_START] = 0xFFFFFFFF
    for partition in range(layout.PARTITIONS):
        words[layout.DESCRIPTORS + partition] = 0
    engine.repair()
    assert engine.check() == []
    assert contents(engine) == before
    engine.close()


def test_a_region_without_any_slot_gets_new_ones(directory):
    engine = Engine("s", str(directory), Options())
    words = engine.region.words
    block = words[layout.CHUNK_FIRST]
    words[layout.CHUNK_FIRST] = 0
    words[4 * block : 4 * block + 4 + 8 * 31] = memoryview(bytes(16 + 32 * 31)).cast("I")
    engine.repair()
    assert engine.check() == []
    fill(engine, 100)
    assert engine.check() == []
    engine.close()
