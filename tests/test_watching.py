"""`watch`: every event once and in order, or an overflow that says so; whoever dies, stops, forks or repairs."""

import contextlib
import os
import random
import signal
import threading
import time

import pytest

import ipcdatastore
from children import crew, hear, say
from ipcdatastore import (
    ArgumentError,
    ClosedError,
    KeyTypeError,
    LockTimeoutError,
    ReadOnlyError,
    RegionDamagedError,
    RegionNotFoundError,
    StoreFullError,
    journal,
    log,
    recovery,
)
from ipcdatastore.layout import (
    ALERT,
    COMMIT,
    DIRTY,
    LOG,
    LOG_BREAKS,
    LOG_HEAD,
    STATE,
    STATE_LIVE,
    UNIT,
)
from waiters import BEFORE, LONG, NEVER, Catching, needs_fork, posix


@pytest.fixture
def store(directory):
    with ipcdatastore.open("region", directory=directory) as handle:
        yield handle
        assert handle.check() == []


@pytest.fixture
def small(directory):
    """A region whose log is as small as they come."""
    with ipcdatastore.open("region", directory=directory, max_size=1 << 18) as handle:
        yield handle
        assert handle.check() == []


def other(store, **options):
    return ipcdatastore.open("region", directory=os.path.dirname(store._engine.path), **options)


def pairs(watch):
    return [event[:2] for event in watch.poll()]


# --- the contract ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("cache_entries", [0, 100])
def test_events_of_one_key_writes(store, cache_entries):
    with other(store, cache_entries=cache_entries) as handle, handle.watch() as watch:
        first = store.set("a", 1)
        second = handle.set("a", 2)
        assert store.set(b"b", "x" * 2000) == second + 1
        store.delete("a")
        store.delete("a")
        store.add(7, 1)
        store.add(7, 2)
        store.touch(("t", 1), 5)
        store.set(("t", 1), 1)
        store.touch(("t", 1), 100)
        store.increment(7)
        store.pop(7)
        store.add_persistence(b"b")
        store.add_persistence(b"b")
        assert store.compare_and_set(b"b", 1, 1) is None
        seen = watch.poll()
        assert [event[:2] for event in seen] == [
            ("set", "a"),
            ("set", "a"),
            ("set", b"b"),
            ("delete", "a"),
            ("set", 7),
            ("set", ("t", 1)),
            ("set", ("t", 1)),
            ("set", 7),
            ("delete", 7),
            ("set", b"b"),
        ]
        assert [event.version for event in seen] == list(range(first, first + 10))
        assert store.get_entry(("t", 1)).version == first + 6
        assert watch.poll() == []
        assert repr(seen[0]) == f"Event(kind='set', key='a', version={first})"


def test_a_transaction_is_announced_in_order_after_its_commit(store, monkeypatch):
    store.update(old=1, gone=2)
    watch = store.watch()
    seen_before = []
    commit = journal.publish
    monkeypatch.setattr(
        "ipcdatastore.journal.publish", lambda *arguments: (seen_before.extend(watch.poll()), commit(*arguments))
    )
    with store.transaction() as t:
        t["new"] = 1
        del t["gone"]
        t["old"] = 2
        t["passing"] = 1
        del t["passing"]
    assert seen_before == []
    seen = watch.poll()
    # "passing" was neither there before nor after.
    assert [event[:2] for event in seen] == [("set", "new"), ("delete", "gone"), ("set", "old")]
    assert [event.version for event in seen] == sorted(event.version for event in seen)
    assert {e.key: e.version for e in seen if e.kind == "set"} == {
        key: store.get_entry(key).version for key in ("new", "old")
    }
    with contextlib.suppress(ZeroDivisionError), store.transaction() as t:
        t["new"] = 2
        raise ZeroDivisionError
    assert watch.poll() == []


def test_clear(store):
    store.update(a=1, b=2)
    inner = store.namespace("n")
    inner.update(a=1, b=2)
    with store.watch() as watch, inner.watch() as inside, store.watch("zzz") as filtered:
        inner.clear()
        assert sorted(pairs(watch)) == [("delete", ("n", "a")), ("delete", ("n", "b"))]
        store.clear()
        (event,) = watch.poll()
        assert event == ("clear", None, store.stats()["version"])
        events = pairs(inside)
        assert sorted(events[:-1]) == [("delete", "a"), ("delete", "b")]
        assert events[-1] == ("clear", None)
        assert filtered.poll() == [event]
        store["a"] = 1
        assert pairs(watch) == [("set", "a")]
        other(store, mode="n").close()
        assert pairs(watch) == [("clear", None)]


def test_namespaces(store):
    inner = store.namespace("n")
    deeper = inner.namespace("m")
    with store.watch() as top, inner.watch() as middle, deeper.watch() as bottom, inner.watch("a") as filtered:
        deeper["k"] = 1
        inner["k"] = 2
        inner["ab"] = 3
        store["k"] = 4
        store.namespace("nn")["k"] = 5
        inner[("m", "x")] = 6  # not a key of the namespace below: one tuple within another
        assert [key for _, key in pairs(top)] == [
            ("n", "m", "k"),
            ("n", "k"),
            ("n", "ab"),
            "k",
            ("nn", "k"),
            ("n", ("m", "x")),
        ]
        assert [key for _, key in pairs(middle)] == ["k", "ab", ("m", "x")]
        assert [key for _, key in pairs(bottom)] == ["k"]
        assert [key for _, key in pairs(filtered)] == ["ab"]


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [
        (None, ["", "a", "ab", "ä", b"a", b"", 1, ("a",), ("a", "b"), ("ab", 1)]),
        ("", ["", "a", "ab", "ä"]),
        ("a", ["a", "ab"]),
        ("ä", ["ä"]),
        (b"", [b"a", b""]),
        (b"a", [b"a"]),
        ((), [("a",), ("a", "b"), ("ab", 1)]),
        (("a",), [("a",), ("a", "b")]),
        (("b",), []),
    ],
    ids=repr,
)
def test_prefixes(store, prefix, wanted):
    with store.watch(prefix) as watch:
        for key in ("", "a", "ab", "ä", b"a", b"", 1, ("a",), ("a", "b"), ("ab", 1)):
            store[key] = 1
        assert [event.key for event in watch.poll()] == wanted


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"prefix": 1}, ArgumentError),
        ({"prefix": 1.5}, ArgumentError),
        ({"prefix": ["a"]}, ArgumentError),
        ({"prefix": (1.5,)}, KeyTypeError),
        ({"timeout": -1}, ArgumentError),
        ({"timeout": "x"}, ArgumentError),
    ],
    ids=repr,
)
def test_bad_arguments(store, arguments, error):
    for handle in (store, store.namespace("n")):
        with pytest.raises(error):
            handle.watch(**arguments)
    assert store._engine.region.words[LOG] == 0


def test_the_iteration_ends_after_its_time_out_and_goes_on_if_asked_again(store, how):
    with store.watch(timeout=0.02) as watch:
        assert list(watch) == []
        store["a"] = 1
        assert [event.key for event in watch] == ["a"]
        store["b"] = 1
        assert next(watch).key == "b"
        with pytest.raises(StopIteration):
            next(watch)
        assert watch.next(0) is None
        assert watch.next(0.01) is None


def test_close_ends_the_iteration(store, asleep, how):
    with store.watch() as watch:
        store["a"] = 1
    assert watch.closed
    assert list(watch) == []
    assert watch.poll() == []
    assert watch.next(1) is None
    watch = store.watch()
    thread = asleep.start(lambda: list(watch))
    watch.close()
    assert thread.result() == []


def test_two_watchers_do_not_disturb_each_other(store):
    one = store.watch()
    store["a"] = 1
    two = store.watch()
    store["b"] = 1
    assert [key for _, key in pairs(one)] == ["a", "b"]
    assert [key for _, key in pairs(two)] == ["b"]
    one.close()
    store["c"] = 1
    assert [key for _, key in pairs(two)] == ["c"]


def test_each_write_wakes_who_watches(store, asleep, how, no_tick):
    with other(store) as handle:
        watch = handle.watch()
        for write, wanted in [
            (lambda: store.set("a", 1), ("set", "a")),
            (lambda: store.set("a", 2), ("set", "a")),
            (lambda: store.delete("a"), ("delete", "a")),
            (lambda: store.set_many({"a": 1}), ("set", "a")),
            (store.clear, ("clear", None)),
        ]:
            thread = asleep.start(lambda: watch.next(NEVER))
            write()
            assert thread.result()[:2] == wanted


def test_through_a_read_only_handle(store, directory):
    with ipcdatastore.open("region", directory=directory, mode="r") as reader, pytest.raises(ReadOnlyError):
        reader.watch()


def test_close_of_the_handle(store, directory, asleep, how):
    handle = ipcdatastore.open("region", directory=directory)
    watches = [handle.watch() for _ in range(2)]
    threads = [asleep.start(watch.next) for watch in watches]
    handle.close()
    for thread in threads:
        with pytest.raises(ClosedError):
            thread.result()
    for refused in (watches[0].poll, watches[0].next, handle.watch):
        with pytest.raises(ClosedError):
            refused()


def test_closed_while_an_entry_is_read(store, directory, monkeypatch):
    """At any load: a closed handle is all that whoever watches is told."""
    for last in range(1, 12):
        handle = ipcdatastore.open("region", directory=directory)
        watch = handle.watch()
        store["k"] = 1
        loads = []
        load = log._load
        ring = log.ring

        def close_at(function, handle=handle, loads=loads, last=last):
            def closing(*arguments):
                loads.append(function)
                if len(loads) == last:
                    Catching(handle.close).run()
                return function(*arguments)

            return closing

        monkeypatch.setattr(log, "_load", close_at(load))
        monkeypatch.setattr(log, "ring", close_at(ring))
        try:
            while not handle._engine.closed:
                watch.poll()
            with pytest.raises(ClosedError):
                watch.poll()
        except ClosedError:
            pass
        finally:
            monkeypatch.undo()


def test_a_region_that_is_removed(directory):
    with ipcdatastore.open("region", directory=directory) as handle:
        watch = handle.watch()
        os.unlink(handle._engine.path)
        time.sleep(0.1)  # for so long nobody looks
        watch._asked = float("-inf")
        with pytest.raises(RegionNotFoundError):
            watch.next(LONG)


# --- expiry and eviction ---------------------------------------------------------------------------------
def test_expiry_is_announced_when_the_space_is_taken_back(store):
    watch = store.watch()
    store.set("a", 1, expire=0.001)
    store.set("b", 1, expire=0.001)
    while "a" in store or "b" in store:
        pass
    assert pairs(watch) == [("set", "a"), ("set", "b")]
    assert store.delete("a") is False
    assert pairs(watch) == [("expire", "a")]
    store["b" * 100] = "x" * 100_000  # a write sweeps a few blocks
    for n in range(300):
        store["b" * 100] = "x" * (100_000 + 3000 * n)
    assert [event for event in pairs(watch) if event[0] != "set"] == [("expire", "b")]


def test_an_expired_record_that_is_overwritten_is_a_set(store):
    watch = store.watch()
    store.set("a", 1, expire=0.001)
    while "a" in store:
        pass
    store["a"] = 2
    assert pairs(watch) == [("set", "a"), ("set", "a")]


def test_eviction_is_announced_before_what_it_made_room_for(directory):
    with ipcdatastore.open("region", directory=directory, max_size=1 << 20, evict="lru") as store:
        watch = store.watch()
        state = {}
        evicted = 0
        for n in range(1500):
            store[n] = n.to_bytes(2, "little") * 500
            for kind, key, _ in watch.poll():
                if kind == "set":
                    state[key] = True
                else:
                    assert kind == "evict"
                    del state[key]  # was announced before
                    evicted += 1
        assert set(state) == set(store)
        assert evicted
        with store.transaction() as t:
            for n in range(2000, 2060):
                t[n] = b"x" * 900
        kinds = [event.kind for event in watch.poll()]
        assert kinds[-60:] == ["set"] * 60
        assert set(kinds[:-60]) == {"evict"}
        assert store.check() == []


# --- too large, too many ---------------------------------------------------------------------------------
def test_a_huge_key_in_a_large_region(directory):
    with ipcdatastore.open("region", directory=directory) as store:
        key = ("k" * 65_000, 1)
        watch = store.watch()
        with store.transaction() as t:
            t[key] = 1
            t["a"] = 2
        assert pairs(watch) == [("set", key), ("set", "a")]
        assert store.check() == []


def test_a_huge_key_in_a_small_region_is_an_overflow(small):
    watch = small.watch("a")
    with small.transaction() as t:
        t["k" * 65_000] = 1
        t["a"] = 2
    del small["k" * 65_000]
    assert pairs(watch) == [("overflow", None), ("set", "a"), ("overflow", None)]
    small["k" * 1000] = 1
    assert pairs(small.watch("k")) == []


def test_who_cannot_keep_up_is_told_once(small):
    watch = small.watch()
    for n in range(1000):
        small["k"] = n
    version = small.get_entry("k").version
    assert watch.poll() == [("overflow", None, version)]
    small["k"] = 0
    assert pairs(watch) == [("set", "k")]
    with small.transaction() as t:
        for n in range(1000):
            t[n] = n
    assert pairs(watch) == [("overflow", None)]


def test_a_full_ring_is_read_to_the_last_entry(small):
    """Not one too few, not one too many: an entry is reported as long as it stands there."""
    capacity = 256
    for count in range(60, 200):
        watch = small.watch()
        for n in range(count):
            small["k"] = n
        seen = pairs(watch)
        assert log.ring(small._engine.region)[1] == capacity
        fits = 2 * count <= capacity  # 22 bytes are two units
        assert seen == ([("set", "k")] * count if fits else [("overflow", None)]), count


def test_an_entry_that_is_overwritten_while_it_is_read(small, monkeypatch):
    watch = small.watch()
    small["k"] = 1
    load = log._load
    raced = []

    def overtaken(region, start, capacity, position, length):
        if not raced:
            raced.append(True)
            for n in range(1000):
                small["k"] = n
        return load(region, start, capacity, position, length)

    monkeypatch.setattr(log, "_load", overtaken)
    assert pairs(watch) == [("overflow", None)]
    small["a"] = 1
    assert pairs(watch) == [("set", "a")]


def test_an_entry_that_is_overwritten_between_header_and_key(small, monkeypatch):
    watch = small.watch()
    small["k"] = 1
    load = log._load
    loads = []

    def overtaken(region, start, capacity, position, length):
        loads.append(length)
        if len(loads) == 2:
            for n in range(126):  # not yet a whole round: the position alone does not tell
                small["other"] = n
            small["over"] = 1
        return load(region, start, capacity, position, length)

    monkeypatch.setattr(log, "_load", overtaken)
    seen = pairs(watch)
    assert seen[0] in (("set", "k"), ("overflow", None))
    assert seen == [("overflow", None)] or len(seen) == 128


def test_who_is_flooded_with_what_he_did_not_ask_for_is_not_kept(store, monkeypatch):
    """`next` returns to its time-out, though there is always one more event."""
    watch = store.watch("wanted")
    store["k"] = 0
    read = log.read

    def one_more(region, position):
        store["k"] = 1
        return read(region, position)

    monkeypatch.setattr(log, "read", one_more)
    monkeypatch.setattr("ipcdatastore.watching.LOG_UNITS", 100)
    assert watch.next(0) is None
    everything = store.watch()
    assert len(everything.poll()) == 100


def test_positions_wrap_around(small):
    """LOG_HEAD counts units modulo 2**32."""
    for before in (1, 2, 3, 200, 400):
        small.watch()
        with contextlib.closing(small.watch()) as old:
            small["k"] = 1
            small._engine.region.words[LOG_HEAD] = 2**32 - before
            assert pairs(old) == [("overflow", None)]
        watch = small.watch()
        for n in range(before):
            small[f"key {n}"] = n
            assert pairs(watch) == [("set", f"key {n}")]
        assert small._engine.region.words[LOG_HEAD] < 5000
        for n in range(30):
            small["k" * n] = n
        assert pairs(watch) == [("set", "k" * n) for n in range(30)]
    for n in range(1000):
        small["k"] = n
    assert pairs(watch) == [("overflow", None)]


# --- the lease -------------------------------------------------------------------------------------------
def test_who_slept_past_the_lease_is_told_if_something_was_written(store):
    words = store._engine.region.words
    watch = store.watch()
    store["a"] = 1
    words[ALERT] = 1  # over
    assert pairs(watch) == [("set", "a")]  # nothing was missed
    store["b"] = 1
    assert words[ALERT] == 0
    store["c"] = 1
    assert watch.poll() == [("overflow", None, store.get_entry("c").version)]
    assert words[ALERT]
    store["d"] = 1
    assert pairs(watch) == [("set", "d")]


def test_who_slept_past_the_lease_is_not_told_if_nothing_was_written(store):
    words = store._engine.region.words
    watch = store.watch()
    store["a"] = 1
    words[ALERT] = 1
    watch._asked = float("-inf")
    assert store.get("a") == 1
    assert pairs(watch) == [("set", "a")]
    assert words[ALERT] > 1  # renewed
    store["b"] = 1
    assert pairs(watch) == [("set", "b")]


def test_another_who_renews_does_not_hide_what_was_missed(store):
    words = store._engine.region.words
    asleep = store.watch()
    words[ALERT] = 1
    store["missed"] = 1
    awake = store.watch()
    store["a"] = 1
    assert pairs(awake) == [("set", "a")]
    assert pairs(asleep) == [("overflow", None)]
    words[ALERT] = 1
    renewed = store.watch()  # nothing was written meanwhile
    store["b"] = 1
    assert pairs(awake) == pairs(asleep) == pairs(renewed) == [("set", "b")]


@pytest.mark.parametrize("write", ["set", "grow", "delete", "set_many", "clear", "transaction of deletes"])
def test_each_kind_of_write_ends_a_lease_that_is_over(store, write):
    store["k"] = 1
    watch = store.watch()
    store._engine.region.words[ALERT] = 1
    {
        "set": lambda: store.set("k", 2),
        "grow": lambda: store.set("k", bytes(10**6)),
        "delete": lambda: store.delete("k"),
        "set_many": lambda: store.set_many({"a": 1}),
        "clear": store.clear,
        "transaction of deletes": lambda: store.namespace("n").clear() or store.set_many({"k": 3}),
    }[write]()
    assert store._engine.region.words[ALERT] == 0
    assert pairs(watch) == [("overflow", None)]


def test_looking_keeps_the_lease(store, monkeypatch):
    words = store._engine.region.words
    watch = store.watch()
    words[ALERT] -= 3
    late = words[ALERT]
    watch.poll()
    assert words[ALERT] == late
    watch._asked = float("-inf")
    watch.poll()
    assert words[ALERT] > late


# --- no lock, no room ------------------------------------------------------------------------------------
def stop_inside(directory):
    with ipcdatastore.open("region", directory=directory) as store:
        store["before"] = 1
        store._engine.coordinator.take()
        say("inside")
        os.kill(os.getpid(), signal.SIGSTOP)
        store._engine.coordinator.release()


@posix
def test_a_stopped_lock_holder(store, directory):
    with crew() as start, ipcdatastore.open("region", directory=directory, timeout=0.2) as hasty:
        watch = store.watch()
        overrun = store.watch()
        overrun._breaks += 1
        child = start(stop_inside, directory)
        assert child.hear() == "inside"
        with pytest.raises(LockTimeoutError) as caught:
            hasty.watch()
        assert caught.value.holder in (child.pid, None)
        assert pairs(watch) == [("set", "before")]
        watch._asked = float("-inf")  # due, and not to be had
        assert watch.next(0.1) is None
        assert overrun.next(0.1) is None  # an overflow that cannot be told yet; and nobody is kept
        assert overrun.poll() == []
        os.kill(child.pid, signal.SIGCONT)
        child.finish()
        store["after"] = 1
        assert pairs(watch) == [("set", "after")]
        assert pairs(overrun) == [("overflow", None)]


def fill(store):
    with contextlib.suppress(StoreFullError):
        for n in range(100_000):
            if n not in store:
                store[n] = bytes(20)
    with pytest.raises(StoreFullError):
        store[-1] = bytes(20)


@pytest.mark.parametrize("limit", [1 << 16, 1 << 19])
def test_a_full_store_can_be_watched(directory, limit):
    """The log may reach past the limit: what the limit is for is records."""
    with ipcdatastore.open("region", directory=directory, max_size=limit) as store:
        fill(store)
        spare = store._engine.writer.space._spare_units()
        watch = store.watch()
        assert store._engine.writer.space._spare_units() == spare
        count = len(store)
        assert store.check() == []
        for n in range(10):
            store[n] = bytes(25)  # of another size: the reserve is still there
        assert pairs(watch) == [("set", n) for n in range(10)]
        del store[1]
        assert pairs(watch) == [("delete", 1)]
        fill(store)
        assert len(store) <= count + 10
        for n in range(2, 10):
            store[n] = bytes(20)
        watch.poll()
        with pytest.raises(StoreFullError):
            store["large"] = bytes(limit - 5000)
        assert pairs(watch) == []
        store.clear()
        assert pairs(watch) == [("clear", None)]
        assert store.check() == []


def test_no_room_on_the_disk(store, monkeypatch):
    """Nothing was changed, and the store goes on."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    while store._engine.region.units - store._engine.region.words[31] > 1000:  # up to the end of the file
        store[len(store)] = bytes(8000)
    monkeypatch.setattr("ipcdatastore.platform.reserve", full)
    with pytest.raises(StoreFullError):
        store.watch()
    assert store._engine.region.words[ALERT] == 0
    store[0] = bytes(8000)
    monkeypatch.undo()
    watch = store.watch()
    store[0] = bytes(8000)
    assert pairs(watch) == [("set", 0)]


# --- damage and repair -----------------------------------------------------------------------------------
def spoil(store, what):
    words = store._engine.region.words
    block = words[LOG]
    if what == "tag":
        words[4 * block] = words[4 * block] >> 12 << 2 | 3
    elif what == "kind":
        words[4 * block + 1] = 9
    elif what == "capacity":
        words[4 * block + 2] = 3
    elif what == "too large":
        words[4 * block + 2] = 1 << 30
    elif what == "elsewhere":
        words[LOG] = 0xFFFFFFF
    else:
        words[LOG] = 300  # an index table


SPOILS = ["tag", "kind", "capacity", "too large", "elsewhere", "a table"]


@pytest.mark.parametrize("what", SPOILS)
def test_a_damaged_log(store, what):
    """Named, refused before anything is published, dropped by repair; then everybody goes on."""
    store["k"] = 1
    watch = store.watch()
    idle = store.watch()
    spoil(store, what)
    assert store.check() != []
    for write in (
        lambda: store.set("k", 2),
        lambda: store.set("n", 2),
        lambda: store.set_many({"k": 2, "n": 2}),
        store.clear,
    ):
        with pytest.raises(RegionDamagedError):
            write()
    assert (store["k"], len(store)) == (1, 1)
    with pytest.raises(RegionDamagedError):
        watch.poll()
    assert store._engine.region.words[STATE] == STATE_LIVE
    assert store.repair() == []
    assert store.check() == []
    assert pairs(watch) == [("overflow", None)]
    store["k"] = 2
    assert pairs(watch) == [("set", "k")]
    assert pairs(idle) == [("overflow", None)]
    assert store["k"] == 2


@pytest.mark.parametrize("what", SPOILS)
@pytest.mark.parametrize("write", ["set_many", "clear"])
def test_recovery_of_what_was_published_does_not_need_the_log(store, what, write, monkeypatch):
    store.update(a=1, b=1)
    store.watch()

    class DiedError(Exception):
        pass

    def die(*arguments):
        raise DiedError

    monkeypatch.setattr(log, "announce", die)
    with pytest.raises(DiedError):
        store.set_many({"a": 2, "b": 2}) if write == "set_many" else store.clear()
    monkeypatch.undo()
    assert store._engine.region.words[COMMIT] & 1
    spoil(store, what)
    recovery.recover(store._engine.region, store._engine.writer.nonce)
    assert store._engine.region.words[STATE] == STATE_LIVE
    assert dict(store) == ({"a": 2, "b": 2} if write == "set_many" else {})
    store.repair()


def test_a_damaged_entry_is_an_overflow(store):
    watch = store.watch()
    store["a"] = 1
    store["b"] = 2
    start, capacity = log.ring(store._engine.region)
    at = start + (watch._position & capacity - 1) * UNIT + 20
    store._engine.region.data[at : at + 1] = b"?"
    assert pairs(watch) == [("overflow", None)]
    store["c"] = 3
    assert pairs(watch) == [("set", "c")]


def test_repair_while_somebody_watches(store):
    store["k"] = 1
    with other(store) as handle:
        watch = handle.watch()
        handle["k"] = 2
        assert store.repair() == []
        assert pairs(watch) == [("overflow", None)]  # records may have gone that nobody deleted
        handle["k"] = 3
        (event,) = watch.poll()
        assert event == ("set", "k", handle.get_entry("k").version)


def test_a_log_made_anew_is_a_break_for_who_read_the_one_before(store):
    words = store._engine.region.words
    asleep = store.watch()
    block = words[LOG]
    words[4 * block + 1] = 9
    store.repair()  # drops it
    breaks = words[LOG_BREAKS]
    asleep._breaks = breaks  # as if it had looked since, and not come to its log
    store["missed"] = 1
    awake = store.watch()
    store["a"] = 1
    assert pairs(awake) == [("set", "a")]
    assert pairs(asleep) == [("overflow", None)]


def test_a_log_behind_the_mapping_is_followed(store, monkeypatch):
    """It was dropped and made again in a part of the file that this handle has not mapped yet."""
    with other(store) as reader:
        watch = reader.watch()
        follow = type(reader._engine.region).follow
        moved = []

        def move_after(region):
            found = follow(region)
            if not moved:
                moved.append(True)
                store["large"] = bytes(5_000_000)
                store._engine.region.words[4 * store._engine.region.words[LOG] + 1] = 9
                store.repair()
                store["more"] = bytes(5_000_000)
                store.watch()
            return found

        monkeypatch.setattr(type(reader._engine.region), "follow", move_after)
        assert pairs(watch) == [("overflow", None)]
        monkeypatch.undo()
        store["k"] = 1
        assert pairs(watch) == [("set", "k")]


def test_a_closed_region_is_damage_to_who_watches(store):
    watch = store.watch()
    words = store._engine.region.words
    words[STATE], words[DIRTY] = 2, 8
    with pytest.raises(RegionDamagedError):
        watch.next(LONG)
    store.repair()
    assert pairs(watch) == [("overflow", None)]


# --- deaths ----------------------------------------------------------------------------------------------
def die_at(directory, address, how):
    """Be killed in a write, at the first store to one header word."""
    with ipcdatastore.open("region", directory=directory) as store:
        words = store._engine.region.words

        class Gate:
            def __getitem__(self, index):
                return words[index]

            def __len__(self):
                return len(words)

            def __setitem__(self, index, value):
                if index == address:
                    os.kill(os.getpid(), signal.SIGKILL)
                words[index] = value

        store["k"] = 1
        say("ready")
        hear()
        store._engine.region.words = Gate()
        if how == "set":
            store["k"] = 2
        elif how == "set_many":
            store.set_many({"k": 2, "l": 3})
        else:
            store.clear()


@posix
@pytest.mark.parametrize("write", ["set", "set_many", "clear"])
@pytest.mark.parametrize("word", ["LOG_HEAD", "CHANGE"])
def test_who_watches_repairs_and_announces_what_a_dead_writer_published(store, directory, asleep, how, write, word):
    address = {"LOG_HEAD": LOG_HEAD, "CHANGE": 30}[word]
    wanted = {"set": [("set", "k")], "set_many": [("set", "k"), ("set", "l")], "clear": [("clear", None)]}[write]
    with crew() as start:
        watches = [store.watch() for _ in range(2)]  # first: a file that grows would be mapped anew in the child
        child = start(die_at, directory, address, write)
        assert child.hear() == "ready"
        for watch in watches:
            assert pairs(watch) == [("set", "k")]
        thread = asleep.start(lambda: [watches[0].next(NEVER)[:2] for _ in wanted])
        child.say("go")
        assert thread.result() == wanted
        assert child.process.wait() == -signal.SIGKILL
    assert pairs(watches[1]) == wanted
    assert pairs(watches[0]) == []


# --- forks -----------------------------------------------------------------------------------------------
def watch_on_both_sides(directory):
    with ipcdatastore.open("region", directory=directory) as store:
        watch = store.watch()
        store["before"] = 1
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            try:
                assert [watch.next(50).key for _ in range(2)] == ["before", "parent"]
                store["child"] = 1
                assert watch.next(50).key == "child"
                own = store.watch()
                store["own"] = 1
                assert [event.key for event in own.poll()] == ["own"]
                os._exit(0)
            finally:
                import traceback

                traceback.print_exc()
                os._exit(1)
        store["parent"] = 1
        assert [watch.next(50).key for _ in range(4)] == ["before", "parent", "child", "own"]
        assert os.waitpid(pid, 0)[1] == 0
        assert store.check() == []
    say("done")


@needs_fork
def test_parent_and_child_watch(directory, how):
    with crew() as start:
        assert start(watch_on_both_sides, directory, before=BEFORE[how]).finish() == ["done"]


# --- many processes --------------------------------------------------------------------------------------
def write_on(directory, number, rounds, kills):
    """Sets, deletes and transactions on keys of its own and on shared ones; says every version that it was told of."""
    random.seed(number)
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        for n in range(rounds):
            key = ("own", number, n % 7) if n % 2 else ("shared", n % 5)
            what = random.random()
            if what < 0.6:
                say(["set", key, store.set(key, "x" * random.randrange(200))])
            elif what < 0.8:
                store.delete(key)
            else:
                store.set_many({key: n, ("many", number): n})
        if kills:
            say("written")
            while True:
                store.set(("killed", number), os.urandom(random.randrange(300)))
                store.set_many({("killed", number): 1, ("shared", 0): 2})
                store.delete(("killed", number))


def read_on(directory):
    """Every event up to the one that ends it, as [kind, key, version]."""
    with ipcdatastore.open("region", directory=directory) as store, store.watch() as watch:
        say("ready")
        seen = []
        for event in watch:
            if event.key == "end":
                break
            seen.append(list(event))
        say(seen)


@pytest.mark.parametrize("kills", [0, 6], ids=["all live", "some are killed"])
def test_each_watcher_sees_exactly_what_was_published(directory, how, kills):
    """8 processes watch, 4 write; those that are killed in mid-work are replaced by others."""
    if kills and os.name == "nt":
        pytest.skip("POSIX signals")
    with crew() as start, ipcdatastore.open("region", directory=directory) as store:
        store["warm"] = 1
        base = store.stats()["version"]
        first = store.watch()
        watchers = [start(read_on, directory, before=BEFORE[how]) for _ in range(8)]
        for watcher in watchers:
            assert watcher.hear() == "ready"
        writers = [start(write_on, directory, number, 150, 0, before=BEFORE[how]) for number in range(4)]
        for writer in writers:
            assert writer.hear() == "ready"
        for writer in writers:
            writer.say("go")
        for number in range(4, 4 + kills):
            victim = start(write_on, directory, number, 10, 1, before=BEFORE[how])
            assert victim.hear() == "ready"
            victim.say("go")
            while victim.hear() != "written":
                pass
            threading.Event().wait(0.002 * (number - 3))  # somewhere in its work; where, it does not matter
            victim.kill()
        told = [line for writer in writers for line in writer.finish()]
        store["end"] = 1
        seen = [watcher.finish()[-1] for watcher in watchers]
        mine = [list(event) for event in first.poll()][:-1]
        assert all(events == mine_as_json(mine) for events in seen)
        assert "overflow" not in {event[0] for event in mine}
        versions = [event[2] for event in mine]
        assert versions == sorted(set(versions))
        assert versions[0] == base + 1
        published = {(kind, tuple(key), version) for kind, key, version in told}
        assert published <= {tuple(event) for event in mine}
        # Replayed, they lead to what is there.
        state = {}
        for kind, key, version in mine:
            state.pop(key, None)
            if kind == "set":
                state[key] = version
        assert state == {key: store.get_entry(key).version for key in store if key not in ("warm", "end")}
        if not kills:  # a version of which nobody was told would be an event that was lost
            assert versions == list(range(base + 1, store.get_entry("end").version))
        assert store.check() == []


def mine_as_json(events):
    return [[kind, list(key), version] for kind, key, version in events]
