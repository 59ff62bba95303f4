"""Death after death: a recovery that dies again and again, a next writer who dies too, handles that live on."""

import contextlib
import random

import pytest

import ipcdatastore
from ipcdatastore.attach import Options
from ipcdatastore.engine import Engine
from ipcdatastore.platform import now_ns

from .scenarios import SCENARIOS, key, value, write
from .tape import Killed, Tape, contents, open_copy, open_reader, put_on_tape
from .test_every_store import IDS, Case

ROUNDS = 8
NEXT = {
    "put": (lambda e: e.put(key(7), 1, b"by the next one"), {key(7): b"by the next one"}),
    "insert": (lambda e: e.put(b"sanother", 1, b"x" * 700), {b"sanother": b"x" * 700}),
    "commit": (
        lambda e: e.commit([write(e, key(7), b"x" * 100), write(e, b"sanother", b"y")]),
        {key(7): b"x" * 100, b"sanother": b"y"},
    ),
    "clear": (lambda e: e.clear(), None),
}


@pytest.fixture(params=SCENARIOS, ids=IDS)
def case(request, directory):
    return Case(directory, request.param)


def sample(count, budget):
    return range(1, count + 1, 1 + count // budget)


def test_recovery_killed_again_and_again(case):
    rng = random.Random(case.name)
    for last in sample(case.stores, 40):
        image = case.killed_at(last, tear=False)
        for _ in range(ROUNDS):
            engine, tape = case.open_taped(image, last=rng.randrange(1, 30), tear=rng.random() < 0.5)
            with contextlib.suppress(Killed):
                engine.check()
            engine.close()
            image = (case.directory / "copy.region").read_bytes()
            if not tape.dead:
                break
        case.verify(f"killed at store {last}, then recovery {ROUNDS} times")


@pytest.mark.parametrize("following", NEXT)
def test_the_next_writer_is_killed_too(case, following):
    operate, changes = NEXT[following]
    rng = random.Random(case.name + following)
    for last in sample(case.stores, 8):
        case.killed_at(last, tear=False)
        reader = open_reader(case.directory)
        base = contents(reader)
        reader.close()
        image = (case.directory / "copy.region").read_bytes()
        engine, tape = case.open_taped(image)
        operate(engine)
        engine.close()
        for store in sorted({rng.randrange(1, tape.stores + 1) for _ in range(8)}):
            engine, _ = case.open_taped(image, last=store)
            with pytest.raises(Killed):
                operate(engine)
            engine.close()
            where = f"killed at store {last}, the next writer at his store {store} of {tape.stores}"
            reader = open_reader(case.directory)
            frozen = contents(reader)
            reader.close()
            engine = Engine("copy", str(case.directory), Options(mode="w"))
            assert engine.check() == [], where
            assert contents(engine) == frozen, where
            engine.close()
            after = {**base, **changes} if changes is not None else {}
            if "evict" in case.name:  # the next one may have evicted, too
                assert all(found in (base.get(name), after.get(name)) for name, found in frozen.items()), where
            else:
                assert frozen in (base, after), where


def test_a_handle_that_lives_on(case):
    """He had the region open, and knows where keys were: what he knew may have gone with the dead one's write."""
    for last in sample(case.stores, 60):
        path = case.directory / "copy.region"
        path.write_bytes(case.image)
        path.chmod(0o600)
        with ipcdatastore.open("copy", directory=case.directory, mode="w") as store:
            engine = store._engine
            for number in (1, 3, 5):
                found = engine.get(key(number))
                if found is not None:
                    engine.put(found.key, found.kind, found.value, found.expires_ns)  # now he knows its slot
            image_before = contents(engine)
            victim = Engine("copy", str(case.directory), Options(mode="w"))
            put_on_tape(victim, Tape(last))
            with contextlib.suppress(Killed):
                case.operate(victim)
            victim.coordinator.after_fork()  # closed without unlocking, as the dead close
            where = f"killed at store {last}"
            frozen = contents(engine)
            for number in (1, 3, 5):
                wanted = value(number, 41)
                engine.put(key(number), 1, wanted)
                frozen[key(number)] = wanted
                assert engine.get(key(number)).value == wanted, where
            assert engine.check() == [], where
            found = contents(engine)
            if "evict" in case.name:
                assert all(frozen.get(name, image_before.get(name)) == v for name, v in found.items()), where
            else:
                assert found == frozen, where
            victim.close()


# --- the service -----------------------------------------------------------------------------------------
def test_a_service_killed_at_every_store(directory, tmp_path):
    """At its start, which repairs; at ticks, which write an image and take back what has expired; at its end."""
    options = {"directory": directory, "snapshot_directory": str(tmp_path / "images"), "flush_interval": 0.001}
    half_done = next(scenario for scenario in SCENARIOS if scenario[0] == "transaction")
    prepared = Case(directory, half_done)
    image = prepared.killed_at(prepared.stores // 2, tear=False)

    def live(tape):
        """One life; what the store may hold afterwards but for what has expired."""
        service = ipcdatastore.Service("copy", **options)
        service.start()
        engine = service.store._engine
        put_on_tape(engine, tape)
        try:
            for number in range(3):
                engine.put(b"sservice%d" % number, 1, b"v" * 300, expires=now_ns() + (1 if number else 10**15))
                service.tick()
            service.stop()
        except Killed:
            pass
        finally:
            service._upkeep = None  # nothing of the dead is done again
            for lock in _locks(engine):
                lock.forget()
            engine.coordinator.after_fork()
            engine.close()

    def _locks(engine):
        from ipcdatastore import lockfile

        return [lock for lock in list(lockfile._held) if lock.path.startswith(engine.path)]

    path = directory / "copy.region"
    path.write_bytes(image)
    tape = Tape()
    live(tape)
    assert tape.stores > 30
    for last in sample(tape.stores, 120):
        path.write_bytes(image)
        live(Tape(last, tear=last % 2 == 0))
        service = ipcdatastore.Service("copy", **options)
        service.start()
        held = {name: found for name, found in contents(service.store._engine).items() if b"service" not in name}
        assert held in (prepared.before, prepared.after), last
        service.store["after"] = last
        service.flush()
        assert service.problem is None
        assert service.store.check() == []
        service.stop()
        path.unlink()  # and what it flushed comes back
        with ipcdatastore.open("copy", directory=directory, snapshot_directory=options["snapshot_directory"]) as store:
            assert store["after"] == last
            found = contents(store._engine)
            assert {name: v for name, v in found.items() if name in held} == held
            assert store.check() == []


# --- growth ----------------------------------------------------------------------------------------------
def test_growth_killed_and_everybody_goes_on(directory):
    """Readers and writers who mapped the shorter file; the dead one had published the longer one, or not yet."""
    engine = Engine("origin", str(directory), Options())
    engine.put(key(1), 1, b"small")
    engine.close()
    image = (directory / "origin.region").read_bytes()
    engine = open_copy(image, directory)
    tape = Tape()
    put_on_tape(engine, tape)
    engine.put(b"sbig", 1, b"b" * 300_000)
    engine.close()
    for last in range(1, tape.stores + 1):
        victim = open_copy(image, directory)
        reader, writer = open_reader(directory), Engine("copy", str(directory), Options(mode="w"))
        put_on_tape(victim, Tape(last))
        with pytest.raises(Killed):
            victim.put(b"sbig", 1, b"b" * 300_000)
        victim.coordinator.after_fork()
        seen = reader.get(b"sbig")
        assert reader.get(key(1)).value == b"small"
        assert seen is None or seen.value == b"b" * 300_000
        writer.put(b"slarger", 1, b"l" * 700_000)
        assert reader.get(b"slarger").value == b"l" * 700_000
        again = reader.get(b"sbig")
        assert (again is None) == (seen is None)
        assert writer.check() == []
        for handle in (reader, writer, victim):
            handle.close()
