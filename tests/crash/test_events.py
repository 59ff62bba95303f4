"""Kill the writer at every store while somebody watches: what was published is announced, once; what was not is not."""

import contextlib

import pytest

from ipcdatastore import frame, writer
from ipcdatastore.attach import Options
from ipcdatastore.engine import Engine
from ipcdatastore.errors import StoreFullError
from ipcdatastore.layout import LOG, LOG_HEAD, PAGE
from ipcdatastore.watching import Watch

from .scenarios import SCENARIOS
from .tape import Killed, Tape, contents, open_copy, put_on_tape

CHOSEN = [scenario for scenario in SCENARIOS if scenario[0] != "repair"]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """However long a test takes, the watch in its image has not lapsed."""
    for module in (frame, writer):
        monkeypatch.setattr(module, "ALERT_SECONDS", 10**6)


def begin(engine):
    return Watch(engine, (), None, None)


class WatchedCase:
    """One scenario with a log in the region and an alert that holds: its image, and what it announces."""

    def __init__(self, directory, scenario):
        self.name, set_up, self.operate = scenario
        self.directory = directory
        engine = Engine("origin", str(directory), Options())
        set_up(engine)
        small = engine.region.longs[23] == PAGE  # these scenarios run at their size limit
        if small:
            engine.writer.set_policy(4 * PAGE, None)
        begin(engine)
        self.position = engine.region.words[LOG_HEAD]
        self.version = engine.facts()["version"]
        assert engine.check() == []
        self.before = contents(engine)
        engine.close()
        self.image = (directory / "origin.region").read_bytes()
        engine, tape = self.open_taped(self.image)
        self.operate(engine)
        self.stores = tape.stores
        assert engine.check() == []
        self.after = contents(engine)
        self.announced = self.events(engine)
        engine.close()

    def open_taped(self, image, **options):
        engine = open_copy(image, self.directory)
        tape = Tape(**options)
        put_on_tape(engine, tape)
        return engine, tape

    def events(self, engine):
        """What a watcher who began before the operation sees now."""
        watch = begin(engine)
        watch._position, watch._version = self.position, self.version
        return [event[:2] for event in watch.poll()]

    def killed_at(self, last, *, tear):
        engine, _ = self.open_taped(self.image, last=last, tear=tear)
        with pytest.raises(Killed):
            self.operate(engine)
        engine.close()
        return (self.directory / "copy.region").read_bytes()

    def verify(self, where):
        engine = Engine("copy", str(self.directory), Options(mode="w"))
        assert engine.check() == [], where
        state = contents(engine)
        seen = self.events(engine)
        replayed = self.replay(seen)
        changed = {key for key in {**self.before, **state} if self.before.get(key) != state.get(key)}
        assert {key for key, _ in replayed.items()} >= changed, f"{where}: a change without its event: {seen}"
        for key, kind in replayed.items():
            assert (kind == "set") == (key in state), f"{where}: {kind} of {key!r}, which is not so"
            assert kind != "set" or key in changed, f"{where}: {kind} of {key!r}, which did not happen"
        assert len(seen) == len(set(seen)), f"{where}: announced twice: {seen}"
        # The log works on.
        engine.put(b"snext", 1, b"v")
        assert self.events(engine)[-1] == ("set", "next"), where
        assert engine.check() == [], where
        engine.close()

    def replay(self, events):
        """The last thing that happened to each key, by its canonical bytes."""
        found = {}
        for kind, key in events:
            if kind == "clear":
                found = dict.fromkeys(self.before, "clear")
            else:
                found[b"s" + key.encode()] = kind
        return found


@pytest.fixture(params=CHOSEN, ids=[name for name, _, _ in CHOSEN])
def case(request, directory):
    return WatchedCase(directory, request.param)


def test_the_whole_operation_is_announced(case):
    engine = open_copy(case.image, case.directory)
    assert engine.region.words[LOG]
    case.operate(engine)
    engine.close()
    case.verify("not killed")


@pytest.mark.parametrize("tear", [False, True], ids=["stop", "tear"])
def test_killed_at_every_store(case, tear):
    for last in range(1, case.stores + 1):
        case.killed_at(last, tear=tear)
        case.verify(f"killed at store {last} of {case.stores}")


def test_recovery_killed_at_every_store(case):
    budget = 150
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


def test_an_event_that_never_happened_is_not_announced_by_a_later_death(directory):
    """A republish has no event and no new version: what a dead set had prepared must not pass for its event."""
    case = WatchedCase(directory, next(one for one in SCENARIOS if one[0] == "overwrite, same class"))
    for last in range(1, case.stores + 1):
        case.killed_at(last, tear=False)
        engine = Engine("copy", str(directory), Options(mode="w"))
        engine.check()
        happened = case.events(engine)
        engine.close()
        image = (directory / "copy.region").read_bytes()
        for store in range(1, 40):
            engine, tape = case.open_taped(image, last=store)
            slot = next(iter(engine.scan())).slot
            engine.coordinator.take()
            try:
                engine.writer.republish_locked(slot)
            except Killed:
                pass
            finally:
                engine.coordinator.release()
            engine.close()
            engine = Engine("copy", str(directory), Options(mode="w"))
            assert engine.check() == []
            assert case.events(engine) == happened, f"set killed at store {last}, republish at {store}"
            engine.close()
            if not tape.dead:
                break


@pytest.mark.parametrize("full", [False, True], ids=["room", "at the limit"])
def test_killed_while_the_log_is_made(directory, full):
    engine = Engine("origin", str(directory), Options(max_size=PAGE))
    records = 0
    with contextlib.suppress(StoreFullError):
        while full or records < 5:
            engine.put(b"sk%d" % records, 1, b"v" * 50)
            records += 1
    engine.close()
    image = (directory / "origin.region").read_bytes()
    for last in range(1, 100):
        engine = open_copy(image, directory)
        tape = Tape(last=last)
        put_on_tape(engine, tape)
        with contextlib.suppress(Killed):
            begin(engine)
        engine.close()
        engine = Engine("copy", str(directory), Options(mode="w"))
        assert engine.check() == []
        assert len(contents(engine)) == records
        watch = begin(engine)
        engine.put(b"sk0", 1, b"w" * 60)  # of another size class: room is kept for that
        assert [event[:2] for event in watch.poll()] == [("set", "k0")]
        assert engine.check() == []
        engine.close()
        if not tape.dead:
            return
    raise AssertionError("a log takes fewer stores than that")
