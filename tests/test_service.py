"""The service and the keeper's thread as processes see them: who looks after a store, and what a death leaves."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time

import pytest

import ipcdatastore
from children import crew, go, hear, say
from crash.tape import Killed, Tape, put_on_tape
from disks import disk, holds, place  # noqa: F401 - fixtures
from ipcdatastore import (
    ArgumentError,
    LockTimeoutError,
    RegionNotFoundError,
    Service,
    ServiceRunningError,
    SnapshotError,
    flush,
    image,
    keeper,
    lockfile,
    upkeep,
)
from ipcdatastore.keeper import Keeper
from ipcdatastore.layout import DIRTY
from test_interpreters import interpreters
from waiters import LONG, NEVER, Catching, needs_fork, posix

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system does not tell who holds a lock")


def serve(place, **options):  # noqa: F811
    options.setdefault("flush_interval", 10**6)
    return Service("s", directory=place.regions, snapshot_directory=place.images, **options)


def clean(place):  # noqa: F811
    with place.open() as store:
        assert store.check() == []


def kept(place):  # noqa: F811
    """{key: value} of the newest image, as a store made from it shows it. Ends the region that is there."""
    place.reboot()
    with place.open() as store:
        assert store.check() == []
        return dict(store)


def keepers():
    return [thread for thread in threading.enumerate() if thread.name == "ipcdatastore-keeper"]


# --- used in the children ----------------------------------------------------------------------------
def slow_flush():
    """Have each image say so when it is about to be synced, and wait for what the test says."""
    from ipcdatastore import image

    class Slow(image.Files):
        def sync(self, fd):
            say("syncing")
            hear()
            super().sync(fd)

    image.files = Slow()


def told_to_stop():
    """An event that SIGTERM sets."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    return stop


def announce_duties():
    """Have a keeper's thread say so when it takes over, and what it wrote."""
    from ipcdatastore.upkeep import Upkeep

    begin, write = Upkeep.begin, Upkeep.flush

    def begin_and_say(self):
        before = self.lock.held
        mine = begin(self)
        if mine and not before:
            say("mine")
        return mine

    def flush_and_say(self):
        path = write(self)
        say(path)
        return path

    Upkeep.begin, Upkeep.flush = begin_and_say, flush_and_say


# --- three ways ----------------------------------------------------------------------------------------
def test_in_a_with_statement(place):  # noqa: F811
    with serve(place) as service:
        assert len(keepers()) == 1
        service.store["a"] = 1
        with place.open() as client:
            assert client["a"] == 1
            client["b"] = 2
            assert client.stats()["coordinator"] in (os.getpid(), None)
        assert service.problem is None
    assert keepers() == []
    with place.open() as client:
        assert client.stats()["coordinator"] is None
        assert client.stats()["unflushed"] is False
    service.stop()
    assert kept(place) == {"a": 1, "b": 2}


def test_step_by_step(place):  # noqa: F811
    service = serve(place)
    service.start()
    assert keepers() == []
    service.store["a"] = 1
    assert 0 < service.tick() <= upkeep.LONGEST_TICK
    assert not place.images.exists()
    assert service.flush() == str(place.newest())
    service.store["a"] = 2
    service.stop()
    assert place.numbers() == [2, 1]
    service.start()
    assert service.store["a"] == 2
    service.stop()
    assert place.numbers() == [2, 1]
    assert kept(place) == {"a": 2}


def test_run_until_told_to_stop(place):  # noqa: F811
    service = serve(place)
    service.start()
    stop = threading.Event()
    thread = Catching(lambda: service.run(stop))
    thread.start()
    service.store["a"] = 1
    stop.set()
    thread.result()
    service.run(stop)  # it is set: nothing is done
    service.stop()
    assert kept(place) == {"a": 1}


def run_until_sigterm(regions, images):
    stop = told_to_stop()
    service = ipcdatastore.Service("s", directory=regions, snapshot_directory=images, flush_interval=10**6)
    service.start()
    say("ready")
    service.run(stop)
    service.stop()
    say(stop.is_set())


@posix
def test_run_until_a_signal_handler_says_so(place):  # noqa: F811
    with crew() as start:
        child = start(run_until_sigterm, place.regions, place.images, uses=(told_to_stop,))
        assert child.hear() == "ready"
        with place.open() as store:
            store["a"] = 1
        os.kill(child.pid, signal.SIGTERM)
        assert child.finish() == [True]
    assert kept(place) == {"a": 1}


def test_out_of_turn(place):  # noqa: F811
    service = serve(place)
    calls = (service.tick, service.flush, lambda: service.run(threading.Event()), lambda: service.store)
    for _ in range(2):
        for call in (*calls, lambda: service.problem):
            with pytest.raises(ArgumentError, match="not running"):
                call()
        service.stop()
        service.start()
        with pytest.raises(ArgumentError, match="started already"):
            service.start()
        assert "running" in repr(service)
        service.stop()
    clean(place)


@pytest.mark.parametrize(
    "options", [{"flush_interval": 0}, {"flush_interval": "1"}, {"persist": 1}, {"timeout": -1}, {"evict": "all"}]
)
def test_arguments(place, options):  # noqa: F811
    with pytest.raises(ArgumentError):
        serve(place, **options).start()
    with serve(place):
        pass
    clean(place)


def test_a_service_that_cannot_start_leaves_nothing(place, monkeypatch):  # noqa: F811
    place.images.write_bytes(b"in the way")
    with pytest.raises(SnapshotError):
        serve(place).start()
    place.images.unlink()

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        service = serve(place)
        with pytest.raises(RuntimeError), service:
            pass
    with serve(place):
        pass
    clean(place)


# --- one service a store ---------------------------------------------------------------------------------
def test_a_second_one_says_who_the_first_is(place):  # noqa: F811
    with serve(place) as first:
        second = serve(place)
        with pytest.raises(ServiceRunningError, match="looked after by") as caught:
            second.start()
        assert isinstance(caught.value, LockTimeoutError)
        assert caught.value.timeout == 0
        if sys.platform.startswith("linux"):
            assert caught.value.holder == os.getpid()
            assert str(os.getpid()) in str(caught.value)
        with pytest.raises(ServiceRunningError) as caught:
            second.start(timeout=0.01)
        assert caught.value.timeout == 0.01
        with Service("other", directory=place.regions, snapshot_directory=place.images / "other"):
            pass
        first.store["a"] = 1
    second.start()
    assert second.store["a"] == 1
    second.stop()
    clean(place)


def test_a_second_one_waits(place, monkeypatch):  # noqa: F811
    refused = threading.Event()
    attempt = lockfile.LockFile.try_acquire

    def announced(self):
        had = attempt(self)
        if not had:
            refused.set()
        return had

    monkeypatch.setattr(lockfile.LockFile, "try_acquire", announced)
    first, second = serve(place), serve(place)
    first.start()
    thread = Catching(lambda: second.start(timeout=NEVER))
    thread.start()
    assert refused.wait(LONG)
    first.store["a"] = 1
    first.stop()
    thread.result()
    assert place.numbers() == [1], "the first had written it all when it let go"
    second.stop()
    assert place.numbers() == [1]
    clean(place)


# --- what it finds ---------------------------------------------------------------------------------------
def test_what_a_dead_writer_left_is_repaired(place):  # noqa: F811
    place.open().close()
    empty = (place.regions / "s.region").read_bytes()
    last = repaired = 0
    while True:
        last += 1
        (place.regions / "s.region").write_bytes(empty)
        engine = place.engine()
        tape = Tape(last)
        put_on_tape(engine, tape)
        with contextlib.suppress(Killed):
            engine.commit([engine.write(b"sa", 1, b"1"), engine.write(b"sb", 1, b"2")])
        engine.close()
        if not tape.dead:
            break
        with place.open(mode="r", persist=None) as reader:
            repaired += reader._engine.region.words[DIRTY] != 0
        service = serve(place)
        service.start()
        words = service.store._engine.region.words
        assert words[DIRTY] == 0
        assert len(service.store) in (0, 2)
        assert service.store.check() == []
        service.stop()
        for path in place.images.glob("*"):
            path.unlink()
    assert repaired > 10


def race(regions, images, serving):
    options = {"directory": regions, "snapshot_directory": images}
    say("ready")
    hear()
    if serving:
        service = ipcdatastore.Service("s", **options)
        service.start(timeout=60)
        store = service.store
    else:
        store = ipcdatastore.open("s", **options)
    say([store.stats()["restored"] is not None, len(store)])
    hear()
    if serving:
        service.stop()
    else:
        store.close()


def test_restored_exactly_once_whoever_races(place):  # noqa: F811
    with serve(place) as service:
        service.store.update(dict.fromkeys(range(500), "x" * 100))
    for _ in range(3):
        place.reboot()
        with crew() as start:
            children = [start(race, place.regions, place.images, number == 2) for number in range(5)]
            go(children)
            said = [child.hear() for child in children]
            assert sorted(said) == [[False, 500]] * 4 + [[True, 500]]
            for child in children:
                child.say("go")
            for child in children:
                child.finish()
    clean(place)


# --- without it, and after its death --------------------------------------------------------------------------
def look_after(regions, images):
    """A service that ticks as fast as it can, until it is killed; then until it is told."""
    service = ipcdatastore.Service("s", directory=regions, snapshot_directory=images, flush_interval=10**6)
    service.start()
    service.store["acknowledged"] = 1
    service.flush()
    service.store["unflushed"] = 1
    say("ready")
    while True:
        service.tick()


def use(store):
    store["client"] = store.get("client", 0) + 1
    with store.transaction() as batch:
        batch["one"] = batch["two"] = store["client"]
    assert store.get_many(["one", "two"]) == {"one": store["client"], "two": store["client"]}


def test_clients_go_on_when_it_is_killed(place):  # noqa: F811
    with place.open() as store:
        use(store)
        with crew() as start:
            child = start(look_after, place.regions, place.images)
            assert child.hear() == "ready"
            use(store)
            if sys.platform.startswith("linux"):
                assert store.stats()["coordinator"] == child.pid
            child.kill()
        use(store)
        assert store.stats()["coordinator"] is None
        assert store["client"] == 3
        assert holds(place.newest())[0].keys() >= {b"sacknowledged"}
        with serve(place):
            use(store)
        assert store.check() == []
    assert kept(place) == {"acknowledged": 1, "unflushed": 1, "client": 4, "one": 4, "two": 4}


def keep(regions, images, interval):
    """An ordinary opener whose store is to be kept."""
    announce_duties()
    store = ipcdatastore.open("s", directory=regions, snapshot_directory=images, persist=True, flush_interval=interval)
    say("open")
    hear()
    store.close()


@posix
@pytest.mark.parametrize("by", ["the clock", "close"])
def test_another_opener_takes_over(place, by):  # noqa: F811
    with crew() as start:
        first = start(keep, place.regions, place.images, 10**6, uses=(announce_duties,))
        assert sorted([first.hear(), first.hear()]) == ["mine", "open"]
        second = start(keep, place.regions, place.images, 0.01 if by == "the clock" else 10**6, uses=(announce_duties,))
        assert second.hear() == "open"
        with place.open() as client:
            client["acknowledged"] = 1
            path = client.flush()
            client["unflushed"] = 2
            assert holds(path)[0].keys() == {b"sacknowledged"}
            first.kill()
            if by == "close":
                second.say("close")
            assert second.hear() == "mine"
            written = second.hear()
            assert written != path
            assert holds(written)[0].keys() == {b"sacknowledged", b"sunflushed"}
            if by != "close":
                if sys.platform.startswith("linux"):
                    assert client.stats()["coordinator"] == second.pid
                client["more"] = 3
                assert holds(second.hear())[0].keys() == {b"sacknowledged", b"sunflushed", b"smore"}
                second.say("close")
            second.finish()
    assert kept(place).keys() >= {"acknowledged", "unflushed"}


def test_a_second_service_takes_over(place):  # noqa: F811
    with crew() as start:
        child = start(look_after, place.regions, place.images)
        assert child.hear() == "ready"
        child.kill()
    service = serve(place)
    service.start()
    assert service.store["unflushed"] == 1
    assert holds(place.newest())[0].keys() == {b"sacknowledged"}
    service.stop()
    assert kept(place) == {"acknowledged": 1, "unflushed": 1}


def test_who_closes_right_after_a_death_writes_the_image(place, monkeypatch):  # noqa: F811
    """Its thread has not looked yet; nobody else is there."""
    refused = threading.Event()

    def look(self):
        mine = upkeep.Upkeep.begin(self)
        if not mine:
            refused.set()
        return mine

    monkeypatch.setattr(keeper, "LOOK_AGAIN", NEVER)
    service = serve(place)
    service.start()
    store = ipcdatastore.open("s", directory=place.regions, persist=True)
    store._engine.keeper.upkeep.begin = look.__get__(store._engine.keeper.upkeep)
    store["a"] = 1
    store._engine.keeper._pause.release()  # it looks once more
    assert refused.wait(LONG)
    service._upkeep.lock.forget()  # as if it were killed
    store.close()
    assert holds(place.newest())[0].keys() == {b"sa"}
    service.stop()
    clean(place)


def test_closed_before_the_thread_has_begun(place, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    with ipcdatastore.open("s", directory=place.regions, snapshot_directory=place.images, persist=True) as store:
        store["a"] = 1
    assert kept(place) == {"a": 1}


# --- signals in the middle of a flush --------------------------------------------------------------------
def run_slowly(regions, images):
    slow_flush()
    stop = told_to_stop()
    service = ipcdatastore.Service("s", directory=regions, snapshot_directory=images, flush_interval=0.001)
    service.start()
    say("ready")
    service.run(stop)
    service.stop()


def serve_slowly(regions, images):
    slow_flush()
    from ipcdatastore.cli import main

    main(["serve", "s", "--directory", regions, "--images", images, "--flush-interval", "0.001"])


def hear_ready(child):
    line = child.process.stdout.readline()
    assert "ready" in line, child._complaint()


@posix
@pytest.mark.parametrize("function", [run_slowly, serve_slowly])
def test_sigterm_in_the_middle_of_a_flush(place, function):  # noqa: F811
    if function is serve_slowly:
        pytest.importorskip("click")
        pytest.importorskip("rich")
    with crew() as start:
        child = start(function, place.regions, place.images, uses=(slow_flush, told_to_stop))
        hear_ready(child)
        with place.open() as client:
            client["early"] = 1
            assert child.hear() == "syncing"
            client["late"] = 2
            os.kill(child.pid, signal.SIGTERM)
            assert place.numbers() == []
            child.say("go on")
            assert child.hear() == "syncing", "the last image"
            assert [len(holds(path)[0]) for path in place.images.glob("*.image")] == [1]
            child.say("go on")
            assert child.finish() == []
            assert client.check() == []
    assert place.leftovers() == []
    assert kept(place) == {"early": 1, "late": 2}


@posix
@pytest.mark.parametrize("reboot", [False, True])
def test_sigkill_in_the_middle_of_a_flush(place, reboot):  # noqa: F811
    with crew() as start:
        child = start(run_slowly, place.regions, place.images, uses=(slow_flush, told_to_stop))
        hear_ready(child)
        with place.open() as client:
            client["acknowledged"] = 1
            assert child.hear() == "syncing"
            child.say("go on")
            # It has its name only when the flush lock is free again.
            assert client.flush() == str(place.images / "00000001.image")
            client["late"] = 2
            assert child.hear() == "syncing"
            child.kill()
    assert len(place.leftovers()) == 1
    if reboot:
        place.reboot()
    with serve(place) as service:
        assert dict(service.store) == {"acknowledged": 1} if reboot else {"acknowledged": 1, "late": 2}
        service.store["after"] = 3
    assert place.leftovers() == []
    assert place.numbers() == [2, 1]
    assert kept(place) == {"acknowledged": 1, "after": 3, **({} if reboot else {"late": 2})}


@posix
def test_one_that_is_suspended_in_the_middle_of_a_flush(place):  # noqa: F811
    with crew() as start:
        child = start(run_slowly, place.regions, place.images, uses=(slow_flush, told_to_stop))
        hear_ready(child)
        with place.open(timeout=0.05) as client:
            client["a"] = 1
            assert child.hear() == "syncing"
            os.kill(child.pid, signal.SIGSTOP)
            child.say("go on")
            client["a"] = 2
            assert client["a"] == 2
            with pytest.raises(LockTimeoutError, match=r"flush\.lock") as caught:
                client.flush()
            if sys.platform.startswith("linux"):
                assert caught.value.holder == child.pid
            with pytest.raises(ServiceRunningError) as caught:
                serve(place).start()
            if sys.platform.startswith("linux"):
                assert caught.value.holder == child.pid
            assert client.backup(place.regions / "backup") == 1
            assert place.numbers() == []
            os.kill(child.pid, signal.SIGCONT)
            # It finishes what it had begun, and then writes what came in between.
            assert child.hear() == "syncing"
            assert len(place.numbers()) == 1
            client["a"] = 3
            os.kill(child.pid, signal.SIGTERM)
            child.say("go on")
            assert child.hear() == "syncing"
            child.say("go on")
            assert child.finish() == []
            assert place.numbers() == [3, 2]
    assert kept(place) == {"a": 3}


def stop_in_a_flush(regions, images):
    """A flush of a handle of its own, which is suspended in the middle, whoever looks after the store."""
    slow_flush()
    store = ipcdatastore.open("s", directory=regions, snapshot_directory=images)
    say("ready")
    say(store.flush())


@posix
def test_one_that_is_suspended_and_whose_lock_is_gone_fails_rather_than_overwrites(place):  # noqa: F811
    """Somebody removed the lock's file: the others cannot know of the one who sleeps, but he has a number of theirs."""
    with place.open(persist=True) as client, crew() as start:
        client["a"] = 1
        child = start(stop_in_a_flush, place.regions, place.images, uses=(slow_flush,))
        assert child.hear() == "ready"
        assert child.hear() == "syncing"
        (place.regions / ("s.region" + flush.LOCK_SUFFIX)).unlink()
        client["a"] = 2
        path = client.flush()
        newest = place.newest().read_bytes()
        child.say("go on")
        with pytest.raises(AssertionError, match="SnapshotError"):
            child.hear()
        assert place.newest().read_bytes() == newest
        assert str(place.newest()) == path
        assert client.check() == []
    assert kept(place) == {"a": 2}


# --- the keeper's thread --------------------------------------------------------------------------------
@pytest.mark.parametrize(("persist", "threads"), [(None, 0), (False, 0), (True, 1)])
def test_who_has_a_thread(place, persist, threads):  # noqa: F811
    options = {"directory": place.regions, "snapshot_directory": place.images}
    with ipcdatastore.open("s", persist=True, **options) as store:
        store["a"] = 1
    with ipcdatastore.open("s", persist=persist, **options):
        assert len(keepers()) == threads
    assert keepers() == []
    with ipcdatastore.open("s", mode="r", persist=True, **options):
        assert keepers() == []
    clean(place)


def test_closed_from_another_thread_in_the_middle_of_a_flush(place, monkeypatch):  # noqa: F811
    syncing, go_on = threading.Event(), threading.Event()

    class Slow(image.Files):
        def sync(self, fd):
            syncing.set()
            assert go_on.wait(LONG)
            super().sync(fd)

    options = {"directory": place.regions, "snapshot_directory": place.images}
    store = ipcdatastore.open("s", persist=True, flush_interval=0.001, **options)
    monkeypatch.setattr(image, "files", Slow())
    store["a"] = 1
    assert syncing.wait(LONG)
    thread = Catching(store.close)
    thread.start()
    store["b"] = 2  # the handle is whole until the flush is over
    go_on.set()
    thread.result()
    with pytest.raises(ipcdatastore.ClosedError):
        store["c"] = 3
    assert keepers() == []
    assert kept(place) == {"a": 1, "b": 2}


def test_a_service_whose_store_somebody_closes(place):  # noqa: F811
    service = serve(place)
    with service:
        thread = service._keeper._thread
        service.store.close()
        thread.join(LONG)
        assert not thread.is_alive()
        with serve(place) as second:  # nobody looks after the store any more: this one may
            second.store["a"] = 1
    assert kept(place) == {"a": 1}


@pytest.mark.parametrize("replaced", [False, True])
def test_a_region_that_is_removed_under_a_service(place, replaced):  # noqa: F811
    told = []
    with serve(place, on_problem=told.append) as service:
        service.store["a"] = 1
        service.flush()
        thread = service._keeper._thread
        place.reboot()
        if replaced:
            place.open().close()
        thread.join(LONG)
        assert not thread.is_alive()
        assert [type(problem) for problem in told] == [RegionNotFoundError]
        assert isinstance(service.problem, RegionNotFoundError)
        with serve(place) as second:
            assert second.store["a"] == 1
            second.store["b"] = 2
    assert len(told) == 1
    assert kept(place) == {"a": 1, "b": 2}


def test_a_region_that_is_removed_under_ticks(place):  # noqa: F811
    service = serve(place)
    service.start()
    service.store["a"] = 1
    place.reboot()
    with pytest.raises(RegionNotFoundError, match="removed"):
        service.tick()
    with pytest.raises(RegionNotFoundError):
        service.run(threading.Event())
    service.stop()
    assert not place.images.exists()
    place.open().close()
    clean(place)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_an_error_of_others_lets_the_next_one_in(place, disk):  # noqa: F811
    def unkind(problem):
        raise ZeroDivisionError

    with serve(place, flush_interval=0.001, on_problem=unkind) as service:
        thread = service._keeper._thread
        disk(1, OSError(5, "Input/output error"))
        service.store["a"] = 1
        thread.join(LONG)
        assert not thread.is_alive()
        with serve(place):
            pass
    assert kept(place) == {"a": 1}


def exit_without_close(regions, images):
    store = ipcdatastore.open("s", directory=regions, snapshot_directory=images, persist=True, flush_interval=10**6)
    store["a"] = 1
    say("set")
    hear()


@pytest.mark.parametrize("error", [False, True])
def test_the_interpreter_ends_without_close(place, error):  # noqa: F811
    with crew() as start:
        child = start(exit_without_close, place.regions, place.images)
        assert child.hear() == "set"
        if error:  # `hear` raises
            child.process.stdin.close()
            assert child.process.wait() == 1
        else:
            child.say("go on")
            child.finish()
    assert kept(place) == {"a": 1}


# --- forks ----------------------------------------------------------------------------------------------
def no_watchdog():
    """That of `children` does not survive a fork, and an interpreter that ends waits for it."""
    import faulthandler

    faulthandler.cancel_dump_traceback_later()
    signal.alarm(120)


def refused(function):
    """Whether the service says that it is another process's."""
    try:
        function()
    except ipcdatastore.ArgumentError as error:
        return "in its parent" in str(error)
    return False


def fork_and_exit(function):
    """Fork; the child runs `function` and ends as any program does, with its exit handlers. Its exit status."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    signal.alarm(60)  # ends a hang
    function()
    sys.exit(0)


def fork_often(regions, images):
    no_watchdog()
    from ipcdatastore import upkeep

    upkeep.LONGEST_TICK = 0.0001  # the thread goes to sleep and wakes all the time
    options = {"directory": regions, "snapshot_directory": images}
    store = ipcdatastore.open("s", persist=True, flush_interval=0.001, **options)
    pid = os.getpid()
    with ipcdatastore.Service(
        "t", flush_interval=0.001, directory=regions, snapshot_directory=images + "-t"
    ) as service:
        for number in range(30):
            store["parent"] = service.store["parent"] = number

            def child(number=number):
                assert store["parent"] == number
                store["child"] = service.store["child"] = number
                assert [thread.name for thread in threading.enumerate()] == ["MainThread"]

            assert fork_and_exit(child) == 0
            assert store["child"] == service.store["child"] == number
        if sys.platform.startswith("linux"):
            assert store.stats()["coordinator"] == service.store.stats()["coordinator"] == pid
    store.close()
    say("done")


@needs_fork
def test_a_forked_child_is_not_held_up_by_the_thread(place):  # noqa: F811
    with crew() as start:
        child = start(fork_often, place.regions, str(place.images), uses=(fork_and_exit, no_watchdog))
        assert child.finish()[-1] == "done"
    with ipcdatastore.open("t", directory=place.regions) as store:
        assert store.check() == []
    assert kept(place) == {"parent": 29, "child": 29}


def fork_in_a_flush(regions, images):
    no_watchdog()
    from ipcdatastore import image

    syncing, go_on, written = threading.Event(), threading.Event(), []

    class Slow(image.Files):
        def sync(self, fd):
            syncing.set()
            assert go_on.wait(60)
            super().sync(fd)

        def rename(self, source, target):
            written.append(target)
            super().rename(source, target)

    image.files = Slow()
    store = ipcdatastore.open("s", directory=regions, snapshot_directory=images, persist=True, flush_interval=0.001)
    store["parent"] = 1
    assert syncing.wait(60)

    def child():
        assert store["parent"] == 1
        store["child"] = 2
        assert store._engine.keeper is None

    assert fork_and_exit(child) == 0
    assert written == []
    go_on.set()
    store.close()
    say([os.path.basename(path) for path in written])


@needs_fork
def test_forked_in_the_middle_of_a_flush(place):  # noqa: F811
    with crew() as start:
        said = start(fork_in_a_flush, place.regions, place.images, uses=(fork_and_exit, no_watchdog)).finish()
    assert said == [["00000001.image", "00000002.image"]], "each once"
    assert place.leftovers() == []
    assert kept(place) == {"parent": 1, "child": 2}


def leave_in_a_child(regions, images):
    """The child leaves the `with` block, and its interpreter, while its parent is in the block."""
    no_watchdog()
    with ipcdatastore.Service("s", directory=regions, snapshot_directory=images, flush_interval=10**6) as service:
        service.store["parent"] = 1
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
            assert not os.path.exists(images)
            service.tick()
        else:
            signal.alarm(60)
            assert refused(service.tick)
            assert refused(service.flush)
            service.store["child"] = 2
    if not pid:
        sys.exit(0)
    say(sorted(os.listdir(images)))


@needs_fork
def test_a_forked_child_leaves_the_service_to_its_parent(place):  # noqa: F811
    with crew() as start:
        child = start(leave_in_a_child, place.regions, place.images, uses=(no_watchdog, refused))
        assert child.finish() == [["00000001.image"]]
    assert kept(place) == {"parent": 1, "child": 2}


def fork_in_a_lock(regions):
    """Another thread forks at the instant in which the lock was had and nobody has noted that yet."""
    from ipcdatastore import lockfile, platform

    try_lock = platform.try_lock
    pids = []

    def fork_then(fd):
        had = try_lock(fd)
        platform.try_lock = try_lock
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        return had

    def fork():
        forked, said = os.pipe()
        pid = os.fork()
        if pid:
            pids.append(pid)
            os.read(forked, 1)  # the fork hooks of the child have run
            return
        signal.alarm(60)
        os.write(said, b".")
        while True:
            time.sleep(60)  # until it is killed: it lives longer than its parent

    platform.try_lock = fork_then
    lock = lockfile.LockFile(os.path.join(regions, "lock"), 0)
    lock.acquire()
    say(pids[0])
    hear()
    os._exit(0)  # no unlocking: the kernel does it, unless somebody else has the lock too


@needs_fork
def test_a_child_that_is_forked_while_a_lock_is_taken_does_not_keep_it(place):  # noqa: F811
    with crew() as start:
        child = start(fork_in_a_lock, place.regions)
        pid = child.hear()
        try:
            lock = lockfile.LockFile(str(place.regions / "lock"), 0)
            assert not lock.try_acquire()
            child.say("end")
            child.process.wait()
            lock.acquire(30)  # not at once: the fork's own hook may still be to come
            lock.release()
        finally:
            os.kill(pid, signal.SIGKILL)


# --- sub-interpreters --------------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["constructor", "start"])
def test_where_no_daemon_thread_is_allowed(place, monkeypatch, where):  # noqa: F811
    """Python 3.12 and up refuse to make one, others to start it. The image is written at the end."""

    def refuse(*arguments, **options):
        raise RuntimeError("daemon threads are disabled in this (sub)interpreter")

    monkeypatch.setattr(threading.Thread, "start" if where == "start" else "__init__", refuse)
    options = {"directory": place.regions, "snapshot_directory": place.images}
    registered = []
    monkeypatch.setattr(atexit, "register", registered.append)
    store = ipcdatastore.open("s", persist=True, **options)
    store["a"] = 1
    assert store._engine.keeper.stop in registered, "also without `close`"
    store.close()
    service = serve(place)
    with pytest.raises(RuntimeError), service:
        pass
    service.start()
    service.store["b"] = 2
    service.tick()
    service.stop()
    assert kept(place) == {"a": 1, "b": 2}


def keep_in_interpreters(regions, images, own_gil):
    interpreter = interpreters(own_gil)
    if type(interpreter) is str:
        say("skip: " + interpreter)
        return
    if own_gil and sys.version_info < (3, 13):
        # Making a region needs filelock, whose imports (hashlib, datetime) abort early releases of 3.12 by themselves.
        ipcdatastore.open("s", directory=regions, snapshot_directory=images).close()
        with ipcdatastore.open("s", directory=regions) as store:
            store.flush()
    opening = (
        "import ipcdatastore, threading\n"
        f"store = ipcdatastore.open('s', directory={regions!r}, snapshot_directory={images!r}, persist=True,"
        " flush_interval=10**6)\n"
    )
    one, two = interpreter(), interpreter()
    one.run(opening + "store['one'] = 1; store.close()")
    say(len(os.listdir(images)))
    one.destroy()
    two.run(opening + "store['two'] = 2; import atexit; atexit._run_exitfuncs()")  # without `close`
    two.destroy()
    say(len(os.listdir(images)))
    with ipcdatastore.open("s", directory=regions) as store:
        say(dict(store))
        assert store.stats()["coordinator"] is None


@pytest.mark.parametrize("own_gil", [False, True], ids=["one GIL", "own GIL"])
def test_in_sub_interpreters(place, own_gil):  # noqa: F811
    with crew() as start:
        child = start(keep_in_interpreters, str(place.regions), str(place.images), own_gil, uses=(interpreters,))
        said = child.finish()
    if str(said[0]).startswith("skip: "):
        pytest.skip(said[0][6:])
    assert said == [1, 2, {"one": 1, "two": 2}]
    assert kept(place) == {"one": 1, "two": 2}
