"""What a writer does in a region whose lists were damaged: it refuses, and no record is lost for it."""

import pytest

from crash.scenarios import fill, key, write
from crash.tape import contents
from ipcdatastore import RegionDamagedError, heap, layout
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
