"""Kill the writer at every store of every operation: nobody sees half of it, and the next writer mends it."""

import pytest

from ipcdatastore.attach import Options
from ipcdatastore.engine import Engine

from .scenarios import MAY_LOSE, SCENARIOS, key, used_up_slot, write
from .tape import Killed, Tape, contents, open_copy, open_reader, put_on_tape

IDS = [name for name, _, _ in SCENARIOS]


class Case:
    """One scenario: its image before, and what the store holds before and after."""

    def __init__(self, directory, scenario):
        self.name, set_up, self.operate = scenario
        self.directory = directory
        engine = Engine("origin", str(directory), Options())
        set_up(engine)
        assert engine.check() == []
        self.before = contents(engine)
        engine.close()
        self.image = (directory / "origin.region").read_bytes()
        engine, tape = self.open_taped(self.image)
        self.operate(engine)
        self.stores = tape.stores
        assert engine.check() == []
        self.after = contents(engine)
        engine.close()

    def open_taped(self, image, **options):
        engine = open_copy(image, self.directory)
        tape = Tape(**options)
        put_on_tape(engine, tape)
        return engine, tape

    def killed_at(self, last, *, tear):
        """The image that a kill at store `last` leaves."""
        engine, tape = self.open_taped(self.image, last=last, tear=tear)
        with pytest.raises(Killed):
            self.operate(engine)
        assert tape.dead
        engine.close()
        return (self.directory / "copy.region").read_bytes()

    def judge(self, seen):
        """Which of the two states `seen` is. Eviction and expiry are operations of their own, done before."""
        if seen == self.after:
            return "after"
        if seen == self.before:
            return "before"
        assert self.name in MAY_LOSE, "half of the operation is visible"
        assert all(self.before.get(key) == value for key, value in seen.items())
        return "before, some evicted"

    def verify(self, where):
        """A lone read-only reader on the unrepaired region, then repair by the next writer."""
        reader = open_reader(self.directory)
        frozen = self.judge(contents(reader))
        for name in {**self.before, **self.after}:
            found = reader.get(name)
            expected = self.after if frozen == "after" else contents(reader)
            assert (found.value if found else None) == expected.get(name), where
        assert reader.reader.fallbacks == 0, "a reader had to wait for the dead"
        reader.close()
        engine = Engine("copy", str(self.directory), Options(mode="w"))
        assert engine.check() == [], where
        assert self.judge(contents(engine)) == frozen, where
        # and the region works on
        engine.put(b"safter the repair", 1, b"v" * 40)
        engine.delete(b"safter the repair")
        assert engine.check() == [], where
        engine.close()


@pytest.fixture(params=SCENARIOS, ids=IDS)
def case(request, directory):
    return Case(directory, request.param)


@pytest.mark.parametrize("tear", [False, True], ids=["stop", "tear"])
def test_killed_at_every_store(case, tear):
    for last in range(1, case.stores + 1):
        case.killed_at(last, tear=tear)
        case.verify(f"killed at store {last} of {case.stores}")


def test_recovery_killed_at_every_store(case):
    """The repair is killed too, at every store, and the next one begins where it stopped."""
    budget = 400  # of (store of the operation, store of the recovery) pairs, spread evenly
    images = [case.killed_at(last, tear=False) for last in range(1, case.stores + 1)]
    pairs = []
    for last, image in enumerate(images, 1):
        engine, tape = case.open_taped(image)
        engine.check()
        engine.close()
        pairs += [(last, store) for store in range(1, tape.stores + 1)]
    for last, store in pairs[:: max(1, len(pairs) // budget)]:
        engine, _ = case.open_taped(images[last - 1], last=store)
        with pytest.raises(Killed):
            engine.check()
        engine.close()
        case.verify(f"killed at store {last}, recovery killed at its store {store}")


@pytest.mark.parametrize("how", ["put", "commit"])
def test_a_used_up_slot_is_left_for_ever(directory, how):
    """Its words are all given out: one more, and a reader with an old word could take new bytes for his."""
    engine = Engine("origin", str(directory), Options())
    used_up_slot(engine)
    before = engine.get(key(5))
    if how == "put":
        engine.put(key(5), 1, b"moved")
    else:
        engine.commit([write(engine, key(5), b"moved")])
    after = engine.get(key(5))
    assert after.slot != before.slot
    assert after.value == b"moved"
    for number in range(100, 200):  # nor is it given out again
        engine.put(key(number), 1, b"v")
    assert before.slot not in {record.slot for record in engine.scan()}
    assert engine.check() == []
    engine.close()
