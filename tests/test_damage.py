"""What a writer does in a region whose lists were damaged: it refuses, and no record is lost for it."""

import pytest

from crash.scenarios import fill, key, write
from crash.tape import contents
from ipcdatastore import RegionDamagedError, layout
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
