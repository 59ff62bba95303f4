"""Named locks and values computed once: one at a time, whoever dies, forks, forgets to let go or asks twice."""

import gc
import os
import re
import signal
import threading
import warnings

import pytest

import ipcdatastore
from children import crew, go, hear, say
from ipcdatastore import (
    ArgumentError,
    ClosedError,
    DecodeError,
    KeyTypeError,
    LockTimeoutError,
    PlaceError,
    ReadOnlyError,
    lockfile,
    locks,
    platform,
)
from waiters import LONG, Catching, elsewhere, needs_fork, posix


@pytest.fixture
def store(directory):
    with ipcdatastore.open("region", directory=directory) as handle:
        yield handle
        assert handle.check() == []


def lock_files(directory):
    return sorted(name for name in os.listdir(directory) if name.endswith(".lock") and ".create." not in name)


# --- the contract ----------------------------------------------------------------------------------------
def test_a_lock_is_held_inside_of_its_block(store, directory):
    lock = store.lock("scan")
    assert not lock.held
    assert lock_files(directory) == []
    with lock as same:
        assert same is lock
        assert lock.held
        (name,) = lock_files(directory)
        assert re.fullmatch(r"region\.region\.[0-9a-f]{16}\.lock", name)
        assert os.stat(directory / name).st_mode & 0o777 == 0o600 or os.name == "nt"
        assert "held" in repr(lock)
    assert not lock.held
    assert lock_files(directory) == []
    assert repr(lock) == "<NamedLock 'scan' of 'region'>"
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    assert not lock.held
    with lock:
        pass


def test_acquire_and_release(store):
    lock = store.lock(("a", 1))
    lock.acquire()
    assert lock.held
    lock.release()
    with pytest.raises(ArgumentError, match="not held"):
        lock.release()
    assert lock.try_acquire()
    lock.release()
    with lock:
        lock.release()  # early


@pytest.mark.parametrize("again", ["the same", "another", "another handle", "try"])
def test_not_re_entrant(store, directory, again):
    """Without a time-out it would wait for itself, for ever."""
    with ipcdatastore.open("region", directory=directory) as handle, store.lock("l") as lock:
        ask = {
            "the same": lock.acquire,
            "another": store.lock("l").acquire,
            "another handle": handle.lock("l").acquire,
            "try": store.lock("l").try_acquire,
        }[again]
        with pytest.raises(LockTimeoutError, match="this thread holds the lock 'l' already"):
            ask()
        assert lock.held
        with store.lock("another name"):
            pass


def test_names(store, directory):
    """Names are keys: those that differ are different locks, in a namespace too."""
    names = ["a", b"a", 1, ("a",), ("n", "a"), "", "x" * 1000]
    held = [store.lock(name) for name in names]
    for lock in held:
        lock.acquire()
    assert len(lock_files(directory)) == len(names)
    inside = store.namespace("n").lock("a", timeout=0)
    with pytest.raises(LockTimeoutError):  # ("n", "a")
        inside.acquire()
    with store.namespace("n").lock("b"):
        pass
    for lock in held:
        lock.release()
    for bad in (1.5, None, ["a"]):
        with pytest.raises(KeyTypeError):
            store.lock(bad)
    for bad in (-1, "1"):
        with pytest.raises(ArgumentError):
            store.lock("a", timeout=bad)


def test_regions_have_locks_of_their_own(store, directory):
    with ipcdatastore.open("second", directory=directory) as second, store.lock("l"), second.lock("l", timeout=0):
        pass


def test_threads_exclude_each_other(store):
    """Through one lock object, through several, and through several handles."""
    shared = store.lock("l")
    inside = []

    def work(lock):
        for _ in range(30):
            with lock:
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    threads = [Catching(lambda lock=lock: work(lock)) for lock in (shared, shared, store.lock("l"), store.lock("l"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.result()


def test_another_thread_may_let_go(store):
    lock = store.lock("l")
    lock.acquire()
    elsewhere(lock.release)
    assert not lock.held
    with lock:
        pass


def test_a_time_out_names_the_holder(store, directory):
    with crew() as start:
        child = start(hold, directory, "l")
        assert child.hear() == "held"
        for lock in (store.lock("l", timeout=0.05), store.lock("l", timeout=0)):
            with pytest.raises(LockTimeoutError) as caught:
                lock.acquire()
            assert caught.value.timeout == lock.timeout
            assert caught.value.holder in (child.pid, None)
            if os.path.exists("/proc/locks"):
                assert f"process {child.pid} holds it" in str(caught.value)
        with pytest.raises(LockTimeoutError):
            store.lock("l").acquire(timeout=0.01)
        assert not store.lock("l").try_acquire()
        child.say("let go")
        child.finish()
    with store.lock("l", timeout=LONG):
        pass


def test_through_a_closed_handle(directory):
    handle = ipcdatastore.open("region", directory=directory)
    held = handle.lock("held")
    held.acquire()
    lock = handle.lock("l")
    handle.close()
    with pytest.raises(ClosedError):
        lock.acquire()
    held.release()  # what was taken can be given back
    assert lock_files(directory) == []


def test_through_a_read_only_handle(store, directory):
    with ipcdatastore.open("region", directory=directory, mode="r") as reader, reader.lock("l"):
        assert not elsewhere(lambda: store.lock("l").try_acquire())
        with pytest.raises(LockTimeoutError):
            store.lock("l").acquire()


def test_a_close_wakes_who_waits(store, directory):
    handle = ipcdatastore.open("region", directory=directory)
    with store.lock("l"):
        waiter = Catching(handle.lock("l").acquire)
        waiter.start()
        handle.close()
        with pytest.raises(ClosedError):
            waiter.result()


def test_a_lock_that_is_dropped_is_free(store, directory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        store.lock("l").acquire()  # nobody can let go of it
        gc.collect()
    with store.lock("l", timeout=LONG):
        pass
    assert lock_files(directory) == []


# --- files -----------------------------------------------------------------------------------------------
def test_a_lock_file_that_an_outsider_removed(store, directory):
    """Then two may be inside; but who comes first does not take the other's file away when he leaves."""
    first, second, third = (store.lock("l", timeout=0) for _ in range(3))
    first.acquire()
    (name,) = lock_files(directory)
    os.unlink(directory / name)
    elsewhere(second.acquire)
    assert second.held
    first.release()
    assert lock_files(directory) == [name]
    with pytest.raises(LockTimeoutError):
        third.acquire()
    second.release()
    assert lock_files(directory) == []


def test_who_opened_a_file_that_was_removed_meanwhile_tries_again(store, directory, monkeypatch):
    first, second = store.lock("l"), store.lock("l")
    first.acquire()
    real = platform.try_lock

    def let_go_first(fd):
        monkeypatch.undo()
        first.release()
        return real(fd)

    monkeypatch.setattr(platform, "try_lock", let_go_first)
    assert not elsewhere(second.try_acquire)  # it locked a file without a name
    assert lock_files(directory) == []
    with second:
        assert len(lock_files(directory)) == 1


def test_trying_does_not_refuse_others(store, directory):
    """Nobody gets a lock, not even shared, only to find out whether he could."""
    path = str(directory / "some.lock")
    seen = []

    class Watched:
        def __getattr__(self, name):
            return getattr(fcntl, name)

        @staticmethod
        def flock(fd, operation):
            seen.append(operation)
            return fcntl.flock(fd, operation)

    fcntl = platform.fcntl
    if fcntl is None:
        pytest.skip("no fcntl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "fcntl", Watched())
        lock = lockfile.LockFile(path, 1.0)
        assert lock.try_acquire()
        assert not lockfile.LockFile(path, 1.0).try_acquire()
        lock.release()
    assert seen == [platform.LOCK_EX, platform.LOCK_EX, platform.LOCK_UN]


def test_no_place_for_the_file(store, directory, monkeypatch):
    def refuse(path, flags, mode):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ipcdatastore.lockfile.os.open", refuse)
    with pytest.raises(PlaceError, match="No space left"):
        store.lock("l").acquire()
    monkeypatch.undo()
    monkeypatch.setattr(platform, "try_lock", lambda fd: None)
    with pytest.raises(PlaceError, match="no lock that ends with its holder"):
        store.lock("l").acquire()


# --- processes -------------------------------------------------------------------------------------------
def hold(directory, name):
    with ipcdatastore.open("region", directory=directory) as store, store.lock(name):
        say("held")
        hear()


def exclude(directory, times):
    """Not atomic on purpose: only the lock makes the sum right."""
    with ipcdatastore.open("region", directory=directory, cache_entries=0) as store:
        say("ready")
        hear()
        for _ in range(times):
            with store.lock("l"):
                value = store["n"]
                store["inside"] = os.getpid()
                store["n"] = value + 1
                assert store["inside"] == os.getpid()
        say("done")


def test_processes_exclude_each_other(store, directory):
    store["n"] = 0
    with crew() as start:
        children = [start(exclude, directory, 40) for _ in range(8)]
        go(children)
        for child in children:
            assert child.finish() == ["done"]
    assert store["n"] == 8 * 40
    assert lock_files(directory) == []


@posix
def test_the_lock_of_a_holder_who_is_killed_is_free(store, directory):
    for _ in range(5):
        with crew() as start:
            child = start(hold, directory, "l")
            assert child.hear() == "held"
            assert not store.lock("l").try_acquire()
            child.kill()
            with store.lock("l", timeout=LONG):
                assert len(lock_files(directory)) == 1
    assert lock_files(directory) == []


@posix
def test_some_are_killed_while_they_take_turns(store, directory):
    store["n"] = 0
    with crew() as start:
        children = [start(exclude, directory, 30) for _ in range(4)]
        victims = [start(exclude, directory, 10**6) for _ in range(3)]
        go(children + victims)
        for number, victim in enumerate(victims):
            store.wait("n", timeout=LONG)
            threading.Event().wait(0.01 * number)  # anywhere in its work
            victim.kill()
        for child in children:
            assert child.finish() == ["done"]
    assert store["n"] >= 4 * 30
    with store.lock("l", timeout=LONG):
        pass
    assert lock_files(directory) == []


def fork_inside(directory, who):
    """Fork with the lock held; the child lives on when the parent is gone."""
    with ipcdatastore.open("region", directory=directory) as store:
        lock = store.lock("l")
        with lock:
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                assert not lock.held
                assert not store.lock("l").try_acquire()  # the parent's
                try:
                    lock.release()
                except ipcdatastore.ArgumentError:
                    say("refused")
            elif who == "dies":
                hear()
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                hear()
        if pid == 0:  # left the block without an error, and without letting go
            say("child is out")
            try:
                with store.lock("l", timeout=50):
                    say("child has it")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)


@needs_fork
@pytest.mark.parametrize("who", ["dies", "lets go"])
def test_a_fork_with_the_lock_held(store, directory, who):
    with crew() as start:
        parent = start(fork_inside, directory, who)
        assert parent.hear() == "refused"
        assert parent.hear() == "child is out"
        assert not store.lock("l").try_acquire()
        parent.say("end")
        assert parent.hear() == "child has it"
        parent.process.wait()
    with store.lock("l", timeout=LONG):
        pass


def be_interrupted(directory, times):
    def interrupt(number, stack):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    with ipcdatastore.open("region", directory=directory) as store:
        with store.lock("warm"):  # what is imported at its first use: there, Python swallows an interrupt
            store.get_or_set("warm", lambda: 1)
            store.wait("warm", since=0)
        say("ready")
        hear()
        for n in range(times):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.0005 * n)
                if n % 2:
                    store.lock("l").acquire()
                else:
                    store.get_or_set("k", lambda: 1)
            except KeyboardInterrupt:
                continue
            raise AssertionError("nothing was interrupted")
    say("done")


@posix
def test_who_waits_for_a_lock_can_be_interrupted(store, directory):
    value = locks.NamedLock(store._engine, "k", None, "value")
    with crew() as start, store.lock("l"), value:
        child = start(be_interrupted, directory, 40)
        assert child.hear() == "ready"
        child.say("go")
        assert child.finish() == ["done"]


# --- values computed once --------------------------------------------------------------------------------
def test_get_or_set(store, directory):
    calls = []

    def factory():
        calls.append(1)
        return {"n": len(calls)}

    for handle in (store, store.namespace("n")):
        calls.clear()
        assert handle.get_or_set("k", factory) == {"n": 1}
        assert handle.get_or_set("k", factory) == {"n": 1}
        assert handle["k"] == {"n": 1}
        del handle["k"]
        assert handle.get_or_set("k", factory, timeout=1) == {"n": 2}
    assert store.get_or_set("none", lambda: None) is None
    assert store.get_or_set("none", factory) is None
    with ipcdatastore.open("region", directory=directory, cache_entries=0) as uncached:
        assert uncached.get_or_set("none", factory) is None
        assert uncached.get_or_set("more", lambda: 7) == 7
    assert lock_files(directory) == []


def test_get_or_set_with_expiry(store):
    assert store.get_or_set("k", lambda: 1, expire=0.01) == 1
    assert store.wait("k", timeout=LONG) == 0
    assert store.get_or_set("k", lambda: 2, expire=100) == 2
    assert store.get_entry("k").expires_at is not None
    calls = []
    for bad in (0, -1, "1"):
        with pytest.raises(ArgumentError):
            store.get_or_set("other", lambda: calls.append(1), expire=bad)
    with pytest.raises(ArgumentError):
        store.get_or_set("other", lambda: calls.append(1), timeout=-1)
    with pytest.raises(KeyTypeError):
        store.get_or_set(1.5, lambda: calls.append(1))
    assert calls == []


def test_a_factory_that_raises_leaves_nothing(store, directory):
    with pytest.raises(ZeroDivisionError):
        store.get_or_set("k", lambda: 1 / 0)
    assert "k" not in store
    assert lock_files(directory) == []
    with pytest.raises(ipcdatastore.EncodeError):
        store.get_or_set("k", threading.Lock)
    assert store.get_or_set("k", lambda: 5) == 5


def test_another_computes_when_a_factory_raises(store, asleep):
    inside, fail = threading.Event(), threading.Event()

    def failing():
        inside.set()
        assert fail.wait(LONG)
        raise ZeroDivisionError

    first = Catching(lambda: store.get_or_set("k", failing))
    first.start()
    assert inside.wait(LONG)
    second = asleep.start(lambda: store.get_or_set("k", lambda: "second"))
    fail.set()
    with pytest.raises(ZeroDivisionError):
        first.result()
    assert second.result() == "second"


def test_a_factory_that_asks_for_its_own_key(store, directory):
    """It would wait for itself; it is told."""
    with pytest.raises(LockTimeoutError, match="this thread holds the lock 'k' already"):
        store.get_or_set("k", lambda: store.get_or_set("k", lambda: 1))
    with ipcdatastore.open("region", directory=directory) as handle, pytest.raises(LockTimeoutError):
        store.get_or_set("k", lambda: handle.get_or_set("k", lambda: 1))
    assert "k" not in store
    assert store.get_or_set("k", lambda: store.get_or_set("other", lambda: 1) + 1) == 2


def test_a_factory_that_stores_the_key_itself(store):
    assert store.get_or_set("k", lambda: store.set("k", "own") and "returned") == "own"


def test_a_lock_of_that_name_is_another(store):
    with store.lock("k"):
        assert store.get_or_set("k", lambda: 1) == 1


def test_who_waits_for_a_value_no_longer_than_his_time_out(store):
    inside, end = threading.Event(), threading.Event()
    first = Catching(lambda: store.get_or_set("k", lambda: (inside.set(), end.wait(LONG))[1]))
    first.start()
    assert inside.wait(LONG)
    for timeout in (0, 0.05):
        with pytest.raises(LockTimeoutError, match="was not computed") as caught:
            store.get_or_set("k", lambda: 1, timeout=timeout)
        assert caught.value.timeout == timeout
    end.set()
    assert first.result() is True


def test_a_value_that_cannot_be_decoded_is_not_computed_again(store):
    store._engine.put(b"sk", 0, b"no pickle")
    with pytest.raises(DecodeError):
        store.get_or_set("k", lambda: 1)


def test_get_or_set_through_a_read_only_handle(store, directory):
    calls = []
    store["there"] = 1
    with ipcdatastore.open("region", directory=directory, mode="r") as reader:
        assert reader.get_or_set("there", lambda: calls.append(1)) == 1
        with pytest.raises(ReadOnlyError):
            reader.get_or_set("k", lambda: calls.append(1))
    assert calls == []
    assert lock_files(directory) == []


def ask(directory, threads):
    """Several threads ask for one value; those that compute it say so, and wait for what becomes of them."""

    def factory():
        with saying:
            say("computes")
            hear()
        return os.getpid()

    saying = threading.Lock()
    with ipcdatastore.open("region", directory=directory) as store:
        values = []
        these = [threading.Thread(target=lambda: values.append(store.get_or_set("k", factory))) for _ in range(threads)]
        for thread in these:
            thread.start()
        for thread in these:
            thread.join()
        say(values)


@posix
@pytest.mark.parametrize("kills", [0, 3])
def test_32_callers_get_one_value_though_who_computes_it_is_killed(store, directory, kills):
    with crew() as start:
        children = [start(ask, directory, 4) for _ in range(8)]
        heard = {}
        threads = [Catching(lambda child=child: heard.setdefault(child, child.hear())) for child in children]
        for thread in threads:
            thread.start()
        killed = []
        for _ in range(kills + 1):
            while True:  # exactly one says that it computes
                computing = [child for child in children if heard.get(child) == "computes" and child not in killed]
                if computing:
                    break
                assert store.wait("never", timeout=0.01) is None
            assert len(computing) == 1
            assert "k" not in store
            if len(killed) < kills:
                killed.append(computing[0])
                computing[0].kill()
        computing[0].say("go on")
        values = computing[0].hear()
        for child, thread in zip(children, threads):
            thread.join()
            if child not in killed and child is not computing[0]:
                values += heard[child]
        assert values == [computing[0].pid] * (4 * (8 - kills))
        for child in children:
            if child not in killed:
                assert child.finish() == []
    assert store["k"] == computing[0].pid
    assert lock_files(directory) == []


def test_who_lets_go_of_a_wanted_lock_lets_others_have_it(directory):
    """Or who comes back at once would always be first."""
    with ipcdatastore.open("region", directory=directory) as one, ipcdatastore.open(
        "region", directory=directory
    ) as other:
        ours = one.lock("scan")
        ours.acquire()
        assert not other.lock("scan")._lock.try_acquire()
        ours.release()
        assert ours._lock.wanted
        assert locks._polite[ours._lock.path] > 0
        ours.acquire()  # after its pause
        assert ours._lock.path not in locks._polite
        ours.release()
        assert not ours._lock.wanted, "nobody came"
        assert one.check() == []
