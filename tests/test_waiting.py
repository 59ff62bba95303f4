"""`wait`: no wake-up is lost, no time-out passed over, whoever dies, stops, forks or closes meanwhile."""

import contextlib
import gc
import os
import signal
import threading
from zlib import crc32

import pytest

import ipcdatastore
from children import crew, hear, say
from ipcdatastore import (
    ArgumentError,
    ClosedError,
    KeyTypeError,
    RegionDamagedError,
    RegionNotFoundError,
    frame,
    futex,
    waiting,
)
from ipcdatastore.layout import ALERT, ALL_KEYS, CHANGE, LOG, LOG_BREAKS, STATE, STATE_DAMAGED, STATE_LIVE
from test_interpreters import gils, in_threads, interpreters, scenario
from waiters import BEFORE, LONG, NEVER, POLLING, Catching, elsewhere, needs_fork, posix


@pytest.fixture
def store(directory, how):
    with ipcdatastore.open("region", directory=directory) as handle:
        yield handle
        assert handle.check() == []


def other(store):
    """Another handle on the same region."""
    return ipcdatastore.open("region", directory=os.path.dirname(store._engine.path), mode="w")


KINDS = {
    "store": lambda store: store,
    "namespace": lambda store: store.namespace("inner"),
    "uncached": lambda store: ipcdatastore.open(
        "region", directory=os.path.dirname(store._engine.path), cache_entries=0
    ),
}


@pytest.fixture(params=KINDS)
def kind(request, store):
    made = KINDS[request.param](store)
    yield made
    if request.param == "uncached":
        made.close()


# --- the state, not the change ---------------------------------------------------------------------------
def test_what_differs_already_is_returned_at_once(kind):
    assert kind.wait("k", since=7, timeout=0) == 0
    first = kind.set("k", 1)
    assert kind.wait("k", since=0, timeout=0) == first
    second = kind.set("k", 2)
    assert kind.wait("k", since=first, timeout=0) == second
    assert kind.wait("k", since=0) == second
    del kind["k"]
    assert kind.wait("k", since=second) == 0


def test_nothing_happens(kind):
    assert kind.wait("k", timeout=0) is None
    assert kind.wait("k", since=0, timeout=0.05) is None
    version = kind.set("k", 1)
    assert kind.wait("k", timeout=0.05) is None
    assert kind.wait("k", since=version, timeout=0.01) is None
    assert kind.wait("k", since=version, timeout=0) is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"since": -1}, ArgumentError),
        ({"since": True}, ArgumentError),
        ({"since": 1.0}, ArgumentError),
        ({"timeout": -0.1}, ArgumentError),
        ({"timeout": "1"}, ArgumentError),
        ({"timeout": float("nan")}, ArgumentError),
        ({"key": 1.5}, KeyTypeError),
        ({"key": None}, KeyTypeError),
    ],
)
def test_bad_arguments(store, arguments, error):
    with pytest.raises(error):
        store.wait(**{"key": "k", "timeout": 0, **arguments})


def test_a_time_out_of_infinity_is_for_ever(store, asleep):
    thread = asleep.start(lambda: store.wait("k", timeout=float("inf")))
    assert store.set("k", 1) == thread.result()


# --- every kind of write wakes ---------------------------------------------------------------------------
def in_transaction(store):
    with store.transaction() as t:
        t["k"] = 3
        t["other"] = 4


WRITES = {
    "the same size": lambda s: s.set("k", b"2"),
    "another size": lambda s: s.set("k", b"2" * 5000),
    "with expiry": lambda s: s.set("k", 1, expire=100),
    "delete": lambda s: s.delete("k"),
    "pop": lambda s: s.pop("k"),
    "clear": lambda s: s.clear(),
    "set_many": lambda s: s.set_many({"k": 1, "other": 2}),
    "transaction": in_transaction,
    "touch": lambda s: s.touch("k", 100),
    "modify": lambda s: s.modify("k", lambda value: value + b"!"),
    "mark": lambda s: s.add_persistence("k"),
}


def version_of(store, key):
    entry = store.get_entry(key)
    return entry.version if entry else 0


@pytest.mark.parametrize("name", WRITES)
def test_each_write_wakes(store, asleep, no_tick, name):
    store["k"] = b"1"
    with other(store) as waiter:
        thread = asleep.start(lambda: waiter.wait("k", timeout=NEVER))
        WRITES[name](store)
        assert thread.result() == version_of(store, "k")


@pytest.mark.parametrize("name", ["the same size", "add", "set_many"])
def test_who_waits_for_a_key_that_is_absent(store, asleep, no_tick, name):
    with other(store) as waiter:
        thread = asleep.start(lambda: waiter.wait("k", timeout=NEVER))
        {"add": lambda s: s.add("k", 1), **WRITES}[name](store)
        assert thread.result() == version_of(store, "k") > 0


def test_one_handle_for_both(kind, asleep, no_tick):
    thread = asleep.start(lambda: kind.wait(("t", 1), timeout=NEVER))
    assert kind.set(("t", 1), 1) == thread.result()


def test_each_write_of_a_namespace_wakes(store, asleep, no_tick):
    thread = asleep.start(lambda: store.namespace("n").wait("k", timeout=NEVER))
    assert store.set(("n", "k"), 1) == thread.result()
    thread = asleep.start(lambda: store.wait(("n", "k"), timeout=NEVER))
    store.namespace("n").clear()
    assert thread.result() == 0


def test_a_write_between_look_and_sleep_is_not_slept_through(store, monkeypatch, no_tick):
    """The one moment at which a wake-up could be lost: nobody is rung then, since nobody sleeps."""
    sleep = waiting.Doze.sleep
    written = []

    def write_first(doze, seen, seconds):
        if not written:
            written.append(writer.set("k", 1))
        sleep(doze, seen, seconds)

    monkeypatch.setattr(waiting.Doze, "sleep", write_first)
    with other(store) as writer:
        version = elsewhere(lambda: store.wait("k", timeout=NEVER))
        assert [version] == written


def test_a_write_between_asking_and_sleeping_is_not_slept_through(store, monkeypatch, no_tick):
    if not futex.available():
        pytest.skip("nobody asks who polls")
    ask = waiting.Doze._ask
    written = []

    def write_behind(doze):
        asked = ask(doze)
        written.append(writer.set("k", 1))
        return asked

    monkeypatch.setattr(waiting.Doze, "_ask", write_behind)
    with other(store) as writer:
        version = elsewhere(lambda: store.wait("k", timeout=NEVER))
        assert [version] == written


def test_a_region_that_grows_while_somebody_waits(store, asleep, no_tick):
    with other(store) as waiter:
        thread = asleep.start(lambda: waiter.wait("k", timeout=NEVER))
        store["large"] = bytes(3_000_000)
        assert store.set("k", bytes(3_000_000)) == thread.result()


def test_each_write_rings_for_its_own_key(store, monkeypatch):
    """Also where two threads share the handle: what one has to ring for, the other does not take."""
    rung = []
    monkeypatch.setattr(frame.Frame, "ring", lambda self, bits: rung.append(bits))
    writer = store._engine.writer
    store["a"] = store["b"] = 1
    assert rung == []
    writer.alert(watching=False)
    for write, keys in [
        (lambda: store.set("a", 2), [b"sa"]),
        (lambda: store.set("b", "x" * 999), [b"sb"]),
        (lambda: store.delete("a"), [b"sa"]),
        (lambda: store.delete("a"), []),
    ]:
        rung.clear()
        write()
        assert rung == [1 << (crc32(key) & 31) for key in keys]
        assert writer.to_wake == 0
    for write in (lambda: store.set_many({"a": 1, "c": 1}), store.clear):
        rung.clear()
        write()
        assert rung == [ALL_KEYS]
        assert writer.to_wake == 0


def test_nobody_is_rung_when_nobody_waits(store, monkeypatch):
    """And once the lease is over, the first write ends it."""
    rung = []
    monkeypatch.setattr(frame.Frame, "ring", lambda self, bits: rung.append(bits))
    words = store._engine.region.words
    store.wait("k", timeout=0.02)
    if futex.available():
        assert words[ALERT]
        store["k"] = 1
        assert len(rung) == 1
    else:
        assert not words[ALERT]
    words[ALERT] = 1  # long ago
    breaks = words[LOG_BREAKS]
    rung.clear()
    store["k"] = 2
    store["k"] = 3
    assert (words[ALERT], words[LOG_BREAKS], rung) == (0, breaks + 1, [])
    words[ALERT] = 0xFFFFFFFF  # of a clock that was set back, or a reboot that was not noticed
    store["k"] = 4
    assert (words[ALERT], words[LOG_BREAKS], rung) == (0, breaks + 2, [])
    assert words[LOG] == 0  # nobody watched


# --- expiry ----------------------------------------------------------------------------------------------
def test_expiry_ends_a_wait_without_anybody_writing(kind):
    version = kind.set("k", 1, expire=0.05)
    change = kind._engine.moment()[0]
    assert kind.wait("k", timeout=NEVER) == 0
    assert kind._engine.moment()[0] == change
    assert kind.wait("k", since=version) == 0
    assert kind.wait("k", since=0, timeout=0.02) is None


def test_an_expiry_that_comes_while_one_waits(store, asleep):
    store["k"] = 1
    thread = asleep.start(lambda: store.wait("k", timeout=NEVER))
    assert store.touch("k", 0.02)
    version = thread.result()
    assert version in (0, version_of(store, "k")) or version_of(store, "k") == 0
    assert store.wait("k", since=version or 1, timeout=NEVER) == 0


# --- read-only handles -----------------------------------------------------------------------------------
def test_through_a_read_only_handle(store, directory, asleep):
    """It cannot ask for a wake-up, so it polls."""
    store["k"] = 1
    with ipcdatastore.open("region", directory=directory, mode="r") as reader:
        assert reader.wait("k", timeout=0.02) is None
        assert reader.wait("k", since=0) == version_of(store, "k")
        thread = asleep.start(lambda: reader.wait("k", timeout=NEVER))
        assert store.set("k", 2) == thread.result()
        assert store._engine.region.words[ALERT] == 0


# --- the end of things -----------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["c", "r"])
def test_close_by_another_thread(store, directory, asleep, mode):
    handle = ipcdatastore.open("region", directory=directory, mode=mode)
    threads = [asleep.start(lambda: handle.wait("k")) for _ in range(3)]
    handle.close()
    for thread in threads:
        with pytest.raises(ClosedError):
            thread.result()
    with pytest.raises(ClosedError):
        handle.wait("k", timeout=0)


def test_a_close_in_the_midst_of_asking(store, directory, monkeypatch):
    """Between the look whether there is a lock to be had, and having it."""
    handle = ipcdatastore.open("region", directory=directory)
    try_take = type(handle._engine.coordinator).try_take

    class Closing:
        """The handle's thread lock; just before somebody gets it the handle is closed."""

        def __init__(self, lock):
            self.lock = lock

        def _is_owned(self):
            return self.lock._is_owned()

        def release(self):
            self.lock.release()

        def acquire(self, *arguments, **options):
            if threading.current_thread() is waiter and not handle._engine.closed:
                Catching(handle.close).run()
            return self.lock.acquire(*arguments, **options)

    handle._engine.coordinator.thread = Closing(handle._engine.coordinator.thread)
    waiter = Catching(lambda: try_take(handle._engine.coordinator))
    waiter.start()
    assert waiter.result() is False
    assert handle._engine.closed
    with pytest.raises(ClosedError):
        handle.wait("k", timeout=0)


def test_a_region_that_is_removed(directory, asleep, how):
    with ipcdatastore.open("region", directory=directory) as handle:
        thread = asleep.start(lambda: handle.wait("k"))
        os.unlink(handle._engine.path)
        with pytest.raises(RegionNotFoundError):
            thread.result()


def test_a_region_that_is_closed_to_writers(store):
    """Readers go on, and so does who waits: by polling."""
    store["k"] = 1
    words = store._engine.region.words
    words[STATE] = STATE_DAMAGED
    with pytest.raises(RegionDamagedError):
        store.set_many({"k": 2})
    assert store.wait("k", timeout=0.05) is None
    assert store.wait("k", since=0) > 0
    words[STATE] = STATE_LIVE


def test_repair_wakes(store, asleep, no_tick):
    """Records may be gone after it."""
    store["k"] = "k" * 50
    record = store._engine.get(b"sk")
    thread = asleep.start(lambda: store.wait("k", timeout=NEVER))
    block = store._engine.region.words[record.slot + 1 + 2 * (record.word & 1)]
    store._engine.region.data[16 * block + 40 : 16 * block + 41] = b"?"
    with other(store) as mender:
        assert len(mender.repair()) == 1
    if futex.available():
        assert thread.result() == 0
    else:  # who polls looks at what is damaged
        with contextlib.suppress(RegionDamagedError):
            assert thread.result() == 0
    assert store.wait("k", since=1) == 0


# --- stopped and killed ----------------------------------------------------------------------------------
def stop_inside(directory, how):
    """Publishes and then stops, or is killed, before it says so; or stops before it does anything."""
    with ipcdatastore.open("region", directory=directory) as store:
        region = store._engine.region
        if how == "idle":
            store._engine.coordinator.take()
            say("inside")
            os.kill(os.getpid(), signal.SIGSTOP)
            store._engine.coordinator.release()
            return

        class Gate:
            def __getitem__(self, index, words=region.words):
                return words[index]

            def __setitem__(self, index, value, words=region.words):
                if index == 30:  # CHANGE
                    say("inside")
                    hear()
                    os.kill(os.getpid(), signal.SIGSTOP if how == "stop" else signal.SIGKILL)
                words[index] = value

        store["k"] = 1
        say(store.get_entry("k").version)
        hear()
        region.words = Gate()
        store["k"] = 2


@posix
def test_a_stopped_lock_holder_delays_nobody(store, directory):
    version = store.set("k", 1)
    with crew() as start, ipcdatastore.open("region", directory=directory) as fresh:
        child = start(stop_inside, directory, "idle")
        assert child.hear() == "inside"
        for handle in (store, fresh):
            assert handle.wait("k", timeout=0.1) is None
            assert handle.wait("k", since=0) == version
            assert handle.wait("absent", timeout=0) is None
        os.kill(child.pid, signal.SIGCONT)
        child.finish()


@posix
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_published_is_seen_though_its_writer_stopped_before_he_rang(store, directory, asleep, end):
    with crew() as start:
        child = start(stop_inside, directory, end)
        version = child.hear()
        thread = asleep.start(lambda: store.wait("k", since=version, timeout=NEVER))
        child.say("go")
        assert child.hear() == "inside"
        child.say("end")
        assert thread.result() > version
        if end == "stop":
            assert store.wait("k", timeout=0.1) is None
            os.kill(child.pid, signal.SIGCONT)
            child.finish()
        else:
            child.process.wait()
    assert store["k"] == 2


# --- interrupts ------------------------------------------------------------------------------------------
def be_interrupted(directory, times):
    def forever():
        return iter(int, 1)

    def interrupt(number, stack):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    with ipcdatastore.open("region", directory=directory) as store:
        watch = store.watch()
        for n in range(times):
            for wait in (lambda: store.wait("k"), watch.next, lambda: [store.wait("k", timeout=0) for _ in forever()]):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.001 + n * 0.0007)
                    wait()
                except KeyboardInterrupt:
                    continue
                raise AssertionError("nothing was interrupted")
        store["k"] = 1  # nobody has kept the lock
        assert store.check() == []
        with ipcdatastore.open("region", directory=directory, timeout=5) as again:
            again["k"] = 2
    say("done")


@posix
def test_a_wait_can_be_interrupted(directory, how):
    with crew() as start:
        assert start(be_interrupted, directory, 30, before=BEFORE[how]).finish() == ["done"]


# --- forks -----------------------------------------------------------------------------------------------
def wait_on_both_sides(directory):
    def child(function):
        pid = os.fork()
        if pid:
            return pid
        signal.alarm(60)
        try:
            function()
            os._exit(0)
        finally:
            os._exit(1)

    with ipcdatastore.open("region", directory=directory) as store:
        first = store.set("k", 0)
        assert store.wait("k", timeout=0.01) is None  # a bell of this process
        seen = []

        def wait_in_child():
            second = store.wait("k", since=first, timeout=50)
            assert store["k"] == 1, second
            third = store.set("k", 2)
            assert store.wait("k", since=third, timeout=50)
            assert store["k"] == 3

        pid = child(wait_in_child)
        second = store.set("k", 1)
        while True:
            version = store.wait("k", since=second, timeout=50)
            assert version
            if store["k"] == 2:
                break
        store["k"] = 3
        assert os.waitpid(pid, 0)[1] == 0
        # A fork while another thread waits.
        thread = threading.Thread(target=lambda: seen.append(store.wait("late", timeout=50)))
        thread.start()
        pid = child(lambda: store.set("late", 1))
        assert os.waitpid(pid, 0)[1] == 0
        thread.join()
        assert seen == [store.get_entry("late").version]
        assert store.check() == []
    say("done")


@needs_fork
def test_parent_and_child_wait(directory, how):
    with crew() as start:
        assert start(wait_on_both_sides, directory, before=BEFORE[how]).finish() == ["done"]


def leave_nothing_behind(directory):
    def figures():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count(), sorted(os.listdir(directory))

    with ipcdatastore.open("warm", directory=directory) as store:
        store.wait("k", timeout=0.01)
        list(store.watch(timeout=0))
        with store.lock("l"):
            pass
    before = figures()
    for _ in range(20):
        with ipcdatastore.open("warm", directory=directory) as store:
            store.wait("k", timeout=0.001)
            with store.watch(timeout=0) as watch:
                store["k"] = 1
                assert len(watch.poll()) == 1
            with store.lock("l"):
                pass
            assert store.get_or_set("v", lambda: 1) == 1
            del store["v"]
    assert figures() == before
    parent = os.getpid()
    with ipcdatastore.open("warm", directory=directory) as store:
        store.wait("k", timeout=0.001)
        before = figures()
        for _ in range(5):  # one generation after the other: nothing may add up
            pid = os.fork()
            if pid:
                status = os.waitpid(pid, 0)[1]
                if status:
                    os._exit(1)
                break
            store.wait("k", timeout=0.001)
            if figures()[0] > before[0]:
                os._exit(1)
        else:
            os._exit(0)
        if os.getpid() != parent:
            os._exit(0)
    say("done")


@needs_fork
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
def test_nothing_is_left_behind(directory, how):
    with crew() as start:
        assert start(leave_nothing_behind, directory, before=BEFORE[how]).finish() == ["done"]


# --- many processes --------------------------------------------------------------------------------------
def follow(directory, last, acknowledge):
    """Wait for each new version; say so at some of them. Ends with the last one: who misses it hangs."""
    with ipcdatastore.open("region", directory=directory) as store:
        version, seen = 0, 0
        say("ready")
        while seen < last:
            version = store.wait("k", since=version)
            value = store["k"]
            assert value >= seen, (value, seen)
            if value != seen and value % acknowledge == 0:  # the value may be newer than the version
                say(value)
            seen = value
        say("end")


def publish(directory, last, acknowledge):
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        for n in range(1, last + 1):
            store["k"] = n
            store["noise"] = n
            if n % acknowledge == 0:
                say(n)
                hear()
        say("end")


@pytest.mark.parametrize("mixed", [False, True], ids=["alike", "some poll"])
def test_no_wake_up_is_lost(directory, how, mixed):
    """8 processes wait, one writes: at some points it waits for all of them, and no tick may help."""
    last, acknowledge = 300, 20
    before = BEFORE[how] + ("" if mixed else "\nimport ipcdatastore.waiting\nipcdatastore.waiting.TICK = 60.0")
    with crew() as start, ipcdatastore.open("region", directory=directory) as store:
        store["k"] = 0
        waiters = [
            start(follow, directory, last, acknowledge, before=POLLING if mixed and n % 2 else before) for n in range(8)
        ]
        for waiter in waiters:
            assert waiter.hear() == "ready"
        writer = start(publish, directory, last, acknowledge, before=BEFORE[how])
        assert writer.hear() == "ready"
        for n in range(acknowledge, last + 1, acknowledge):
            assert writer.hear() == n
            for waiter in waiters:
                assert waiter.hear() == n
            writer.say("go on")
        assert writer.finish() == ["end"]
        for waiter in waiters:
            assert waiter.finish() == ["end"]
        assert store.check() == []


# --- sub-interpreters ------------------------------------------------------------------------------------
def wait_across(directory, own_gil):
    interpreter = interpreters(own_gil)
    if type(interpreter) is str:
        say("skip: " + interpreter)
        return
    with ipcdatastore.open("region", directory=directory) as store:
        one = interpreter()
        opening = f"import ipcdatastore\nstore = ipcdatastore.open('region', directory={directory!r})\n"
        one.run(opening + "assert store.wait('k', timeout=0.01) is None; store['ready'] = 1")
        store.wait("ready", since=0)
        in_threads(
            [
                lambda: one.run("assert store.wait('k', since=0, timeout=60); store['answer'] = store['k'] + 1"),
                lambda: store.set("k", 1),
                lambda: store.wait("answer", since=0, timeout=60),
            ]
        )
        assert store["answer"] == 2
        with store.watch(timeout=0) as watch:
            one.run("store['k'] = 5; del store['k']")
            assert [event.kind for event in watch] == ["set", "delete"]
        one.run("watch = store.watch(timeout=0)")
        store["k"] = 6
        one.run("assert [event.key for event in watch] == ['k']; store.close()")
        one.destroy()
        assert store.check() == []
    say("done")


@gils
def test_across_sub_interpreters(directory, own_gil):
    scenario(wait_across, directory, own_gil)


# --- the bell --------------------------------------------------------------------------------------------
def test_a_bell_rings_for_its_bits_only(directory, how):
    """Two who wait for different bits of one word; the wake-up of one is not the other's."""
    if how == "polling":
        pytest.skip("nobody is rung")
    with ipcdatastore.open("region", directory=directory) as store:
        region = store._engine.region
        bell = futex.bell(region.data, CHANGE)
        seen = region.words[CHANGE]
        done = threading.Event()
        first = Catching(lambda: (bell.wait(seen, LONG, 1), done.set()))
        second = Catching(lambda: bell.wait(seen, LONG, 2))
        first.start()
        second.start()
        while not done.wait(0.001):  # until the first sleeps, nobody hears it
            bell.ring(1)
        assert second.is_alive()
        while second.is_alive():
            bell.ring(2)
            second.join(0.001)
        bell.wait(seen + 1 & 0xFFFFFFFF, LONG)  # not the word's value: no sleep
        bell.wait(seen, 0.001)


def test_no_bell_where_nobody_can_be_woken(directory, how, monkeypatch):
    with ipcdatastore.open("region", directory=directory) as store:
        assert (store._engine.writer.bell() is not None) == (how == "futex")
        monkeypatch.setattr(futex, "_prepared", ())
        monkeypatch.setenv("IPCDATASTORE_FUTEX", "0")
        assert not futex.available()
        monkeypatch.setattr(futex, "_prepared", ())
        monkeypatch.setattr(futex, "_NUMBERS", {})
        monkeypatch.delenv("IPCDATASTORE_FUTEX")
        assert not futex.available()
        assert futex.bell(bytearray(8), 0) is None
    with ipcdatastore.open("region", directory=directory, mode="r") as reader:
        assert reader._engine.writer.bell() is None
