"""An interrupt at any line, or any instruction, of an operation: the store is whole, and the locks are free.

The interrupt is raised by a trace function, so it comes in where no signal could as well: in `finally` clauses, in the
handlers of the locks, between the last line and the return.
"""

import contextlib
import functools
import gc
import itertools
import os
import sys
import traceback

import pytest

import ipcdatastore
from ipcdatastore import engine as engine_module
from ipcdatastore.layout import EVICT_POLICIES
from ipcdatastore.lockfile import LockFile
from ipcdatastore.platform import now_ns
from ipcdatastore.upkeep import LOCK_SUFFIX
from tracing import at_line, count_lines

# What is dropped at an interrupt is closed by the collector, which Python says aloud.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PLACES = int(os.environ.get("IPCDATASTORE_INTERRUPTS", "120"))  # tried of each operation, spread evenly


def fill(store):
    store.update({f"k{number}": b"v" * 40 for number in range(12)})
    store["count"] = 1
    store.set("mortal", b"x" * 2000, expire=1000)


def full(store):
    fill(store)
    with contextlib.suppress(ipcdatastore.StoreFullError):
        for number in itertools.count():
            store["filler", number] = b"f" * 1000
    store._engine.writer.set_policy(None, EVICT_POLICIES["lru"])


def nothing(store):
    pass


def expired(store):
    fill(store)
    engine = store._engine
    for number in range(4):
        engine.put(b"sexpired%d" % number, 1, b"x" * 3000, expires=1)
    assert now_ns() > 1


def transaction(store):
    with store.transaction() as unit:
        unit["k1"] = unit["k2"]
        unit["new"] = 1
        del unit["k3"]


def watched(store):
    fill(store)
    store._engine.writer.alert(watching=True)


def refused(store):
    """The operation fails by itself; the interrupt comes in meanwhile."""
    with contextlib.suppress(ipcdatastore.ConflictError):
        store._engine.put(b"sk1", 1, b"never", 0, 77)
    with contextlib.suppress(ipcdatastore.StoreFullError):
        store["huge"] = bytes(60000)


# name: (how the store is opened, set-up, operation, whether it may be seen half done since it is several)
OPERATIONS = {
    "set the first": ({}, nothing, lambda s: s.set("new", 1), False),
    "set": ({}, fill, lambda s: s.set("k3", b"w" * 40), False),
    "set, longer": ({}, fill, lambda s: s.set("k3", b"w" * 4000), False),
    "set, with expiry": ({}, fill, lambda s: s.set("k3", b"w" * 40, expire=1000), False),
    "set, watched": ({}, watched, lambda s: s.set("k3", b"w" * 40), False),
    "set, grows": ({}, fill, lambda s: s.set("large", b"g" * 200_000), False),
    "set, sweeps": ({}, expired, lambda s: s.set("large", b"g" * 2900), False),
    "set, evicts": ({"max_size": 65536}, full, lambda s: s.set("large", b"g" * 3000), True),
    "set, refused": ({"max_size": 65536}, fill, refused, False),
    "compare and set": ({}, fill, lambda s: s.compare_and_set("k3", 5, s.get_entry("k3").version), False),
    "increment": ({}, fill, lambda s: s.increment("count"), False),
    "update": ({}, fill, lambda s: s.set_many({"k1": 1, "k2": 2, "new": 3}), False),
    "transaction": ({}, fill, transaction, False),
    "transaction, watched": ({}, watched, transaction, False),
    "delete": ({}, fill, lambda s: s.__delitem__("k3"), False),
    "pop": ({}, fill, lambda s: s.pop("k3"), False),
    "touch": ({}, fill, lambda s: s.touch("mortal", 5000), False),
    "clear": ({}, fill, lambda s: s.clear(), False),
    "check": ({}, fill, lambda s: s.check(), False),
    "repair": ({}, fill, lambda s: s.repair(), False),
    "flush": ({"persist": None}, fill, lambda s: s.flush(), False),
    "watch": ({}, fill, lambda s: s.watch(timeout=0).poll(), False),
    "get under the lock": ({}, fill, lambda s: s._engine.reader._under_lock(lambda: None), False),
}


def state(store):
    return {key: store.get(key) for key in store}


def verify(store, directory, name, half, before, after):
    """Both locks are free, the region is whole, and holds what it held before or what it should after."""
    with ipcdatastore.open("region", directory=directory, timeout=0) as other:
        other["probe"] = 1  # the file lock is free, and whatever was left is repaired
        store["probe"] = 2  # the handle's own lock is free, and this thread is not inside of anything
        assert not store._engine.writer.inside
        assert not store._engine.writer.pinned
        del other["probe"]
        assert other.check() == []
        found = state(store)
        if half:
            assert all(
                value == before.get(key, after.get(key)) or value == after.get(key) for key, value in found.items()
            )
        else:
            assert found in (before, after), name


@pytest.fixture
def no_collector():
    """What goes of an earlier handle is no line of the operation."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()  # here, where what it says is ignored


by_opcode = pytest.param(
    "opcode",
    marks=pytest.mark.skipif(sys.version_info[:2] == (3, 11), reason="3.11 loses the lines of what is traced so"),
)


@pytest.mark.parametrize("event", ["line", by_opcode])
@pytest.mark.parametrize("name", OPERATIONS)
def test_interrupted_anywhere(directory, name, event, no_collector):
    options, set_up, operate, half = OPERATIONS[name]
    options = dict(options, snapshot_directory=directory / "images")
    if "persist" in options:
        options["persist"] = None
    path = directory / "region.region"
    with ipcdatastore.open("region", directory=directory, **options) as store:
        set_up(store)
        if name == "flush":
            store._engine.options.persist = True
            store._engine._apply_persistence()
        before = state(store)
    image = path.read_bytes()
    with ipcdatastore.open("region", directory=directory) as store:
        store.get("k1")
        places = count_lines(functools.partial(operate, store), event)
        after = state(store)
    assert places > 3
    met, where = 0, []
    for place in range(0, places, 1 + places // PLACES):
        path.write_bytes(image)
        store = ipcdatastore.open("region", directory=directory)
        try:
            store.get("k1")
            at_line(functools.partial(operate, store), place, interrupt, event)
        except KeyboardInterrupt as error:
            met += 1
            where = traceback.format_tb(error.__traceback__)
        try:
            verify(store, directory, name, half, before, after)
        except BaseException as error:
            raise AssertionError(f"interrupted at {event} {place} of {places}: {error!r}\n{''.join(where)}") from error
        store.close()
    assert met


def interrupt():
    raise KeyboardInterrupt


def test_close_can_be_repeated_after_an_interrupt(directory, no_collector):
    def opened():
        return ipcdatastore.open("region", directory=directory, persist=True, snapshot_directory=directory / "images")

    with opened() as store:
        fill(store)
        held = state(store)
    lines = count_lines(opened().close)
    for line in range(lines):
        store = opened()
        store["count"] = line
        with contextlib.suppress(KeyboardInterrupt):
            at_line(store.close, line, interrupt)
        store.close()
        with ipcdatastore.open(
            "region", directory=directory, timeout=0, snapshot_directory=directory / "images"
        ) as other:
            assert LockFile(store._engine.path + LOCK_SUFFIX, 0).try_acquire(), f"at line {line}"
            other["probe"] = 1
            del other["probe"]
            assert other.check() == []
            assert state(other) == dict(held, count=line)
        with pytest.raises(ipcdatastore.ClosedError):
            store.get("k1")


def test_a_service_can_be_stopped_again_after_an_interrupt(directory, no_collector):
    options = {"directory": directory, "snapshot_directory": directory / "images"}

    def started():
        service = ipcdatastore.Service("region", **options)
        service.start()
        service.store["a"] = now_ns()
        return service

    lines = count_lines(started().stop)
    for line in range(0, lines, 1 + lines // PLACES):
        service = started()
        with contextlib.suppress(KeyboardInterrupt):
            at_line(service.stop, line, interrupt)
        service.stop()
        service.stop()
        with ipcdatastore.open("region", timeout=0, **options) as store:
            assert not store.stats()["unflushed"], f"at line {line}"
    started().stop()


def test_an_interrupted_opening_leaves_nothing(directory, no_collector):
    with ipcdatastore.open("region", directory=directory) as store:
        fill(store)

    def opened():
        return ipcdatastore.open("region", directory=directory, max_size=1 << 25, evict="lru")

    lines = count_lines(lambda: opened().close())
    handles = len(engine_module._handles)
    for line in range(0, lines, 1 + lines // PLACES):
        with contextlib.suppress(KeyboardInterrupt):
            at_line(opened, line, interrupt)
        with ipcdatastore.open("region", directory=directory, timeout=0) as other:
            other["probe"] = 1
            assert other.check() == []
    gc.collect()
    assert len(engine_module._handles) == handles
