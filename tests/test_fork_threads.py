"""Forks, threads and interrupts. Each scenario runs in a process of its own, so that a hang or a crash is seen."""

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time

import pytest

import ipcdatastore
from children import crew, hear, say

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX processes and signals")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")


def run(function, directory, *arguments, uses=()):
    """One scenario, in a process of its own; then the region is whole. What the scenario said."""
    with crew() as start:
        said = start(function, directory, *arguments, uses=(*HELPERS, *uses)).finish()
    with ipcdatastore.open("region", directory=directory) as store:
        assert store.check() == []
    return said


# --- used in the children ----------------------------------------------------------------------------
def in_child(function):
    """Fork; the child runs `function` and ends. Its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(60)  # ends a hang; faulthandler's watchdog does not survive a fork
        function()
        code = 0
    except BaseException:  # noqa: BLE001 - kept or shown, whatever it is
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended_well(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the forked child ended with status {status}"


def gate(store, address, entered, go_on):
    """Have the handle's next store (not of 0) to a header word wait, after it was done, until `go_on` is called."""

    class Gate:
        def __init__(self, view):
            self.view = view
            self.armed = True

        def __getitem__(self, index):
            return self.view[index]

        def __len__(self):
            return len(self.view)

        def __setitem__(self, index, value):
            self.view[index] = value
            if self.armed and index == address and value:
                self.armed = False
                entered()
                go_on()

    store._engine.region.words = Gate(store._engine.region.words)


def in_thread(function):
    """A started thread that keeps what its function raised in ``error``."""

    class Catching(threading.Thread):
        error = None

        def run(self):
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - kept or shown, whatever it is
                self.error = error

    thread = Catching(daemon=True)
    thread.start()
    return thread


def writing_thread(store, key, value):
    """A thread that is inside of a write, its mark set, until ``finish()``. Returns ``finish``."""
    entered, go_on = threading.Event(), threading.Event()
    gate(store, 26, entered.set, lambda: go_on.wait(60))  # DIRTY
    thread = in_thread(lambda: store.set(key, value))
    assert entered.wait(60)

    def finish():
        go_on.set()
        thread.join(60)
        assert not thread.is_alive()
        return thread.error

    return finish


HELPERS = (in_child, ended_well, gate, in_thread, writing_thread)


def test_the_gate_is_at_the_mark():
    from ipcdatastore import layout

    assert layout.DIRTY == 26


# --- fork --------------------------------------------------------------------------------------------
def fork_hot_cache(directory):
    store = ipcdatastore.open("region", directory=directory)
    store["hot"] = 1
    store["mutable"] = [1]
    for _ in range(3):
        assert store.get("hot") == 1
        assert store["mutable"] == [1]
    to_parent, to_child = os.pipe(), os.pipe()

    def child():
        assert store.get("hot") == 1
        assert store["mutable"] == [1]
        os.write(to_parent[1], b".")
        assert os.read(to_child[0], 1) == b"."
        assert store.get("hot") == 2, "the parent's write after the fork"
        store["hot"] = 3
        store["child"] = list(range(100))
        os.write(to_parent[1], b".")
        assert os.read(to_child[0], 1) == b"."
        assert store["grown"] == b"x" * 300_000
        store["mutable"] = [2]

    pid = in_child(child)
    assert os.read(to_parent[0], 1) == b"."
    store["hot"] = 2
    os.write(to_child[1], b".")
    assert os.read(to_parent[0], 1) == b"."
    assert store.get("hot") == 3
    assert store["child"] == list(range(100))
    store["grown"] = b"x" * 300_000
    os.write(to_child[1], b".")
    ended_well(pid)
    assert store["mutable"] == [2]
    assert store.check() == []


@needs_fork
def test_fork_with_a_hot_cache(directory):
    run(fork_hot_cache, directory)


FIRST_OPERATIONS = {
    "hot get": "assert store.get('a') == 1",
    "uncached get": "assert store.get('b') == [2]",
    "getitem": "assert store['b'] == [2]",
    "peek": "assert store.peek('b') == [2]",
    "get_entry": "assert store.get_entry('a').value == 1",
    "get_entry, uncached": "assert store.get_entry('b').value == [2]",
    "get_many": "assert store.get_many(['a', 'b', 'c']) == {'a': 1, 'b': [2]}",
    "contains": "assert 'a' in store and 'b' in store",
    "does not contain": "assert 'c' not in store",
    "iteration": "assert sorted(store) == ['a', 'b']",
    "items": "assert dict(store.items()) == {'a': 1, 'b': [2]}",
    "entries": "assert sorted(entry.key for entry in store.entries()) == ['a', 'b']",
    "len": "assert len(store) == 2",
    "stats": "assert store.stats()['records'] == 2",
    "check": "assert store.check() == []",
    "repair": "assert store.repair() == []",
    "set": "store.set('c', 3)",
    "delete": "assert store.delete('a')",
    "pop": "assert store.pop('b') == [2]",
    "popitem": "store.popitem()",
    "add": "assert store.add('c', 1) and not store.add('a', 1)",
    "touch": "assert store.touch('a', 100)",
    "increment": "assert store.increment('a') == 2",
    "setdefault": "assert store.setdefault('c', 4) == 4",
    "set_many": "store.set_many({'c': 1, 'd': 2})",
    "clear": "store.clear()",
    "transaction": "t = store.transaction(); t['a'] += 1; t.commit(); assert store['a'] == 2",
    "transaction, blind": "t = store.transaction(); t['a'] = 7; t.commit(); assert store['a'] == 7",
    "namespace": "assert list(store.namespace('n')) == []",
    "namespace, set": "store.namespace('n')['x'] = 1; assert store[('n', 'x')] == 1",
    "close": "store.close()",
    "clear_cache": "store.clear_cache(); assert store['a'] == 1",
}


def first_operation_after_fork(directory, operation, mode):
    with ipcdatastore.open("region", directory=directory) as writable:
        writable.clear()
        writable.update(a=1, b=[2])
    store = ipcdatastore.open("region", directory=directory, mode=mode)
    assert store.get("a") == 1
    ended_well(in_child(lambda: exec(operation, {"store": store})))
    assert store.check() == []


@needs_fork
@pytest.mark.parametrize("name", FIRST_OPERATIONS)
def test_first_operation_after_a_fork(directory, name):
    run(first_operation_after_fork, directory, FIRST_OPERATIONS[name], "w")


READING = list(FIRST_OPERATIONS)[:15]


@needs_fork
@pytest.mark.parametrize("name", [name for name in READING if name in ("hot get", "get_many", "iteration", "check")])
def test_first_operation_after_a_fork_of_a_read_only_handle(directory, name):
    run(first_operation_after_fork, directory, FIRST_OPERATIONS[name], "r")


def fork_while_writing(directory):
    store = ipcdatastore.open("region", directory=directory, timeout=0.1)
    store["a"] = "old"
    store["other"] = [1]
    finish = writing_thread(store, "a", "new")
    child_did, parent_did = os.pipe(), os.pipe()

    def child():
        assert store["a"] == "old"
        assert store.get_many(["a", "other"]) == {"a": "old", "other": [1]}
        try:
            store["b"] = 1
        except ipcdatastore.LockTimeoutError:
            pass
        else:
            raise AssertionError("the child wrote while the parent held the lock")
        os.write(child_did[1], b".")
        assert os.read(parent_did[0], 1) == b"."
        store["b"] = 2
        assert store["a"] == "new"

    def leaving_child():
        with contextlib.suppress(ipcdatastore.LockTimeoutError):
            store["c"] = 1
        store.close()

    pid = in_child(child)
    assert os.read(child_did[0], 1) == b"."
    ended_well(in_child(leaving_child))
    # Neither what the one child did, nor the end of the other, let go of the parent's lock.
    with ipcdatastore.open("region", directory=directory, timeout=0.05) as second:
        assert second["a"] == "old"
        try:
            second["d"] = 1
        except ipcdatastore.LockTimeoutError:
            pass
        else:
            raise AssertionError("the parent's lock was let go")
    error = finish()
    assert error is None, error
    os.write(parent_did[1], b".")
    ended_well(pid)
    assert dict(store) == {"a": "new", "b": 2, "other": [1]}
    assert store.check() == []


@needs_fork
def test_fork_while_another_thread_writes(directory):
    run(fork_while_writing, directory)


def fork_inside_transaction(directory):
    store = ipcdatastore.open("region", directory=directory, timeout=20)
    store.update(a=1, b=1, c=1)
    entered, go_on = threading.Event(), threading.Event()
    gate(store, 26, entered.set, lambda: go_on.wait(60))
    thread = in_thread(lambda: store.set_many({"a": 2, "b": 2}))
    assert entered.wait(60)
    parent_did = os.pipe()

    def child():
        assert os.read(parent_did[0], 1) == b"."
        assert store.delete("c")
        with ipcdatastore.open("region", directory=directory, mode="r") as reader:
            assert reader.check() == [], "a delete in the child left something unfinished"
        assert not store._engine.writer.pinned

    pid = in_child(child)
    go_on.set()
    thread.join()
    assert thread.error is None
    os.write(parent_did[1], b".")
    ended_well(pid)
    assert dict(store) == {"a": 2, "b": 2}


@needs_fork
def test_fork_inside_a_transaction_of_another_thread(directory):
    run(fork_inside_transaction, directory)


def dead_parent(directory):
    store = ipcdatastore.open("region", directory=directory)
    store.update(a="old", hot=1)
    assert store["hot"] == 1
    namespace = store.namespace("n")
    namespace["hot"] = 1
    assert namespace["hot"] == 1
    writing_thread(store, "a", "new")
    child_lives = os.pipe()

    def child():
        assert store.get("hot") == 1  # from the cache: the inherited mapping is still in use
        say(os.getpid())
        assert hear() == "end"
        store["child"] = "went on"
        namespace["child"] = "went on"
        say("done")

    in_child(child)
    os.read(child_lives[0], 1)  # until SIGKILL


@needs_fork
def test_parent_killed_inside_a_write_and_its_child_lives_on(directory):
    """A forked child shares the parent's open file descriptions: none that it keeps may hold a dead parent's lock."""
    with crew() as start:
        parent = start(dead_parent, directory, uses=HELPERS)
        child = parent.hear()
        try:
            os.kill(parent.pid, signal.SIGKILL)
            parent.process.wait()
            with ipcdatastore.open("region", directory=directory, timeout=0.5) as store:
                assert store["a"] == "old"
                store["b"] = "the lock is free"
                parent.say("end")
                assert parent.hear() == "done"
                assert store["child"] == store.namespace("n")["child"] == "went on"
                assert store.check() == []
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def fork_inside_cache(directory):
    store = ipcdatastore.open("region", directory=directory)
    store.update(a=1, b=2)
    entered, go_on = threading.Event(), threading.Event()

    class Slow(dict):
        def pop(self, key, default=None):
            if not go_on.is_set():
                entered.set()
                go_on.wait(60)
            return super().pop(key, default)

    store._cache.records = Slow(store._cache.records)
    thread = in_thread(lambda: store["a"])
    assert entered.wait(60)
    go_on.is_set = lambda: True  # in what follows nobody else waits

    def child():
        signal.alarm(20)  # ends a deadlock
        assert store["b"] == 2
        store.clear_cache()
        assert store["a"] == 1
        store["c"] = 3

    ended_well(in_child(child))
    go_on.set()
    thread.join()
    assert thread.error is None
    assert store["c"] == 3


@needs_fork
def test_fork_while_another_thread_is_inside_the_cache(directory):
    run(fork_inside_cache, directory)


def threads_in_child(directory):
    store = ipcdatastore.open("region", directory=directory)
    store["n"] = 0

    def child():
        sys.setswitchinterval(1e-6)
        barrier = threading.Barrier(6)

        def work():
            barrier.wait()
            for i in range(30):
                if i % 3:
                    store.increment("n")
                else:
                    store.get_many(["n", "absent"])

        threads = [in_thread(work) for _ in range(6)]
        for thread in threads:
            thread.join()
            assert thread.error is None, thread.error

    for _ in range(10):
        ended_well(in_child(child))
    assert store["n"] == 10 * 6 * 20


@needs_fork
def test_threads_of_a_forked_child_begin_together(directory):
    run(threads_in_child, directory)


def reopening_twice(directory):
    """Two threads of the child reopen the handle; the slower one may not drop the lock that the faster one holds."""
    store = ipcdatastore.open("region", directory=directory, timeout=5)
    store["a"] = 1

    def child():
        from ipcdatastore import engine

        inside, written = threading.Event(), threading.Event()
        original = engine.Region

        def slow(*args, **more):
            region = original(*args, **more)
            if threading.current_thread() is late:
                inside.set()
                written.wait(60)
            return region

        engine.Region = slow
        late = threading.Thread(target=lambda: store.get_many(["a"]), daemon=True)
        late.start()
        assert inside.wait(60)
        finish = []

        def write():
            store.get_many(["a"])
            finish.append(writing_thread(store, "a", 2))

        early = in_thread(write)
        early.join(0.5)  # it may have to wait for the late one: then there is nothing to see here
        written.set()
        late.join(60)
        early.join(60)
        assert not early.is_alive()
        assert early.error is None, early.error
        # One thread is inside of a write. Its lock must be held, whoever reopened.
        with ipcdatastore.open("region", directory=directory, timeout=0.05) as second:
            try:
                second["b"] = 1
            except ipcdatastore.LockTimeoutError:
                pass
            else:
                raise AssertionError("a second writer is inside: the lock was dropped by a late reopening")
        assert finish[0]() is None

    ended_well(in_child(child))
    assert store["a"] == 2


@needs_fork
def test_child_reopens_once(directory):
    run(reopening_twice, directory)


def preload(directory, times):
    store = ipcdatastore.open("region", directory=directory)
    store.update(shared=0, config={"workers": 4})
    assert store["config"] == {"workers": 4}

    def worker(number):
        for i in range(times):
            assert store["config"]["workers"] == 4
            store.increment("shared")
            store[f"worker {number}"] = i

    def with_grandchild():
        worker(4)
        ended_well(in_child(lambda: worker(5)))

    pids = [in_child(lambda n=n: worker(n)) for n in range(4)] + [in_child(with_grandchild)]
    worker("parent")
    for pid in pids:
        ended_well(pid)
    assert store["shared"] == 7 * times
    assert all(store[f"worker {n}"] == times - 1 for n in (0, 1, 2, 3, 4, 5, "parent"))
    assert store.check() == []


@needs_fork
def test_preload_and_several_children(directory):
    run(preload, directory, 40)


def with_multiprocessing(directory, method):
    import multiprocessing

    import children

    store = ipcdatastore.open("region", directory=directory)
    store["n"] = 0
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=children.increments, args=(directory, "n", 50)) for _ in range(3)]
    for process in processes:
        process.start()
    for _ in range(50):
        store.increment("n")
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert store["n"] == 200
    assert store.check() == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(directory, method):
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    run(with_multiprocessing, directory, method)


# --- threads -----------------------------------------------------------------------------------------
def many_threads(directory, times):
    sys.setswitchinterval(1e-5)
    store = ipcdatastore.open("region", directory=directory)
    barrier = threading.Barrier(16)

    def work(number):
        rng = random.Random(number)
        barrier.wait()
        for i in range(times):
            store.increment("shared")
            mine = f"mine {number}"
            store[mine] = [number, i, "x" * rng.randrange(2000)]
            assert store[mine][:2] == [number, i]
            other = store.get(f"mine {rng.randrange(16)}")
            assert other is None or (len(other) == 3 and other[2].strip("x") == "")
            with store.transaction() as t:
                t[("pair", number, 0)] = i
                t[("pair", number, 1)] = i
            assert len(set(store.get_many([("pair", number, 0), ("pair", number, 1)]).values())) == 1
            store.delete(("pair", number, i % 2))

    threads = [in_thread(lambda n=n: work(n)) for n in range(16)]
    for thread in threads:
        thread.join()
        assert thread.error is None, repr(thread.error)
    assert store["shared"] == 16 * times
    assert store.check() == []
    store.close()


def test_sixteen_threads_on_one_handle(directory):
    run(many_threads, directory, 25)


def close_under_use(directory, rounds):
    sys.setswitchinterval(1e-6)
    with ipcdatastore.open("region", directory=directory) as keeper:
        keeper.update({f"k{i}": i for i in range(20)})
        keeper["list"] = [1]
    odd = []
    for turn in range(rounds):
        store = ipcdatastore.open("region", directory=directory)
        busy = threading.Semaphore(0)

        def use(number, store=store, busy=busy, turn=turn):
            jobs = (
                lambda i: store.get(f"k{i % 20}"),
                lambda i: store.set(f"t{number}", i),
                lambda i: store.get_many(["k1", "k2", f"t{number}"]),
                lambda i: store.get(("absent", i)),
                lambda i: store.set_many({f"t{number}": i, f"u{number}": i}),
                lambda i: store.peek("list"),
                lambda i: list(store),
                lambda i: "k3" in store and len(store),
                lambda i: store.get_entry(f"k{i % 20}"),
                lambda i: store.stats(),
            )
            job = jobs[(number + turn) % len(jobs)]
            i = 0
            while True:
                try:
                    job(i)
                except ipcdatastore.ClosedError:
                    break
                except BaseException as error:  # noqa: BLE001 - kept or shown, whatever it is
                    odd.append((number, turn, (number + turn) % len(jobs), repr(error)))
                    break
                i += 1
                if i == 3:
                    busy.release()

        threads = [in_thread(lambda n=n: use(n)) for n in range(4)]
        for _ in threads:
            busy.acquire(timeout=5)
        store.close()
        for thread in threads:
            thread.join(30)
            if thread.is_alive():
                odd.append((turn, "still running after close"))
                say(odd)
                os._exit(1)
    say(odd)


def test_close_while_other_threads_use_the_handle(directory):
    (odd,) = run(close_under_use, directory, 80)
    assert odd == [], "only ClosedError may come out of a handle that is closed under a thread"


def close_inside_write(directory):
    store = ipcdatastore.open("region", directory=directory, timeout=0.3)
    store["a"] = "old"
    finish = writing_thread(store, "a", "new")
    closing = in_thread(store.close)
    closing.join(2)  # it may wait for the writer, or not
    second = ipcdatastore.open("region", directory=directory, timeout=0.1)
    assert second["a"] == "old"
    try:
        second["b"] = 1
        entered = True
    except ipcdatastore.LockTimeoutError:
        entered = False
    error = finish()
    assert not entered, f"a second writer came in while the first was inside; that one got {error!r}"
    closing.join(30)
    assert not closing.is_alive()
    assert error is None or isinstance(error, ipcdatastore.ClosedError), repr(error)
    del store
    gc.collect()
    second["b"] = 1
    assert second["a"] in ("old", "new")
    assert second.check() == []


def test_close_while_another_thread_is_inside_a_write(directory):
    run(close_inside_write, directory)


def close_waiting(directory):
    holder = ipcdatastore.open("region", directory=directory)
    store = ipcdatastore.open("region", directory=directory, timeout=5)
    finish = writing_thread(holder, "a", 1)
    waiting = threading.Event()
    original = store._engine.coordinator.lock_file

    def noticed(fd, operation):
        try:
            return original(fd, operation)
        finally:
            waiting.set()

    store._engine.coordinator.lock_file = noticed
    thread = in_thread(lambda: store.set("b", 1))
    assert waiting.wait(60)
    store.close()
    thread.join(60)
    assert finish() is None
    assert isinstance(thread.error, ipcdatastore.ClosedError), repr(thread.error)
    assert holder.check() == []


def test_close_while_another_thread_waits_for_the_lock(directory):
    run(close_waiting, directory)


def late_short_view(directory):
    """A reader that maps a longer file slowly must not put its shorter view in the place of a newer, longer one."""
    from ipcdatastore.region import Region

    store = ipcdatastore.open("region", directory=directory)
    other = ipcdatastore.open("region", directory=directory)
    other["big"] = b"1" * 100_000
    mapped, go_on = threading.Event(), threading.Event()
    install, grow = Region._install, Region.grow_locked

    def slow_install(region, *arguments):
        if threading.current_thread() is thread:
            mapped.set()
            go_on.wait(60)
        return install(region, *arguments)

    def grow_and_wait(region, *arguments):
        grow(region, *arguments)
        go_on.set()
        thread.join(60)
        assert not thread.is_alive()

    Region._install, Region.grow_locked = slow_install, grow_and_wait
    thread = threading.Thread(target=lambda: list(store), daemon=True)
    thread.start()
    assert mapped.wait(60)
    store["bigger"] = b"2" * 400_000
    assert store["bigger"] == b"2" * 400_000
    assert store["big"] == b"1" * 100_000
    assert store.check() == []


def test_a_slow_mapping_does_not_shorten_the_view(directory):
    run(late_short_view, directory)


def interrupted_growth(directory):
    """Between the mapping of the longer file and the publishing of its length."""
    from ipcdatastore.region import Region

    store = ipcdatastore.open("region", directory=directory)
    witness = ipcdatastore.open("region", directory=directory)
    mapped = Region.map, Region._mapping

    def strike(original):
        def mapping(region, *arguments):
            original(region, *arguments)
            raise KeyboardInterrupt

        return mapping

    Region.map, Region._mapping = map(strike, mapped)
    try:
        store["big"] = b"1" * 50_000
        store["big2"] = b"1" * 50_000
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("the region did not grow")
    finally:
        Region.map, Region._mapping = mapped
    store["small"] = b"2" * 50_000
    assert witness.get("small") == b"2" * 50_000
    assert witness.check() == []
    assert store.check() == []


def test_interrupted_growth(directory):
    run(interrupted_growth, directory)


def failed_close(directory):
    """A close that could not be done is done by the next one."""
    store = ipcdatastore.open("region", directory=directory, timeout=0.05)
    store["a"] = 1
    finish = writing_thread(store, "a", 2)
    with contextlib.suppress(ipcdatastore.LockTimeoutError):
        store.close()
    error = finish()
    assert error is None or isinstance(error, ipcdatastore.ClosedError), error
    store.close()
    try:
        store.get("a")
    except ipcdatastore.ClosedError:
        pass
    else:
        raise AssertionError("the handle is still of use")
    del store, finish, error
    gc.collect()
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        assert "region.region" not in file.read()
    paths = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    held = [os.readlink(path) for path in paths if os.path.lexists(path)]
    assert not [path for path in held if "region.region" in path]


@needs_proc
def test_close_that_met_a_writer_can_be_done_again(directory):
    run(failed_close, directory)


def two_handles(directory):
    one = ipcdatastore.open("region", directory=directory)
    two = ipcdatastore.open("region", directory=directory)
    one["a"] = 1
    assert two["a"] == 1
    two["a"] = 2
    assert one["a"] == 2
    threads = [in_thread(lambda s=s: [s.increment("n") for _ in range(100)]) for s in (one, two) for _ in range(2)]
    for thread in threads:
        thread.join()
        assert thread.error is None, thread.error
    assert one["n"] == two["n"] == 400
    finish = writing_thread(two, "a", 3)
    one.close()
    # Closing the one does not let go of the other's lock.
    with ipcdatastore.open("region", directory=directory, timeout=0.05) as third:
        try:
            third["x"] = 1
        except ipcdatastore.LockTimeoutError:
            pass
        else:
            raise AssertionError("closing one handle let go of the other's lock")
    assert finish() is None
    assert two["a"] == 3
    for use in (lambda: one.get("a"), lambda: one.set("a", 1), lambda: list(one), lambda: one.get_many(["a"])):
        try:
            use()
        except ipcdatastore.ClosedError:
            continue
        raise AssertionError("a closed handle was of use")
    assert two.check() == []


def test_two_handles_of_one_region_and_one_is_closed(directory):
    run(two_handles, directory)


def churn(directory, times):
    def footprint():
        gc.collect()
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            mappings = sum("region.region" in line for line in file)
        return len(os.listdir("/proc/self/fd")), mappings

    def use(number, *, close):
        store = ipcdatastore.open("region", directory=directory, mode="r" if number % 3 == 2 else "c")
        view = store.namespace("n")
        if number % 3 != 2:
            store["a"] = number
            view["a"] = [number]
            store[f"grow {number % 50}"] = "x" * (number * 37)
        assert store.get("a") is not None
        assert view["a"]
        list(store)
        if close:
            store.close()

    for number in range(6):
        use(number, close=True)
    before = footprint()
    for number in range(times):
        use(number, close=True)
        if number % 50 == 0:
            assert footprint() == before, number
    assert footprint() == before
    assert before[1] == 0
    # Handles that are dropped, not closed, go with the garbage.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for number in range(30):
            use(number, close=False)
        assert footprint() == before


@needs_proc
def test_open_and_close_leave_nothing(directory):
    run(churn, directory, 300)


def used_after_close(directory):
    store = ipcdatastore.open("region", directory=directory)
    store.update(a=1, b=[2])
    view = store.namespace("n")
    view["a"] = 1
    assert store["a"] == view["a"] == 1
    store.close()
    seen = []

    def use():
        for job in (
            lambda: store.get("a"),
            lambda: store["b"],
            lambda: store.get(7),
            lambda: store.peek("a"),
            lambda: store.get_entry("a"),
            lambda: store.get_many(["a"]),
            lambda: "a" in store,
            lambda: list(store),
            lambda: len(store),
            lambda: store.set("a", 1),
            lambda: store.set_many({"a": 1}),
            lambda: store.delete("a"),
            lambda: store.increment("a"),
            lambda: store.touch("a"),
            lambda: store.pop("a", None),
            store.clear,
            store.check,
            store.repair,
            lambda: store.transaction()["a"],
            lambda: view.get("a"),
            lambda: view.set("a", 1),
            lambda: store.namespace("later").get("a"),
        ):
            try:
                job()
            except ipcdatastore.ClosedError:
                seen.append(None)
            except BaseException as error:  # noqa: BLE001 - kept or shown, whatever it is
                seen.append(repr(error))
            else:
                seen.append("no error")

    in_thread(use).join()
    assert seen == [None] * 22, seen


def test_use_after_close_from_another_thread(directory):
    run(used_after_close, directory)


# --- interrupts --------------------------------------------------------------------------------------
def interrupted(directory, kind, writes, timer):
    """Random interrupts of random writes. Whether the lock was free and the region whole each time."""
    rng = random.Random(20)
    store = ipcdatastore.open("region", directory=directory, timeout=0.05)
    witness = ipcdatastore.open("region", directory=directory, timeout=0.05)
    state = {"armed": False}

    def strike(*_):
        if state["armed"]:
            state["armed"] = False
            raise KeyboardInterrupt

    if timer:
        signal.signal(signal.SIGALRM, strike)
    jobs = {
        "set": lambda n: store.set("a", n),
        "sizes": lambda n: store.set(f"k{n % 7}", "x" * rng.choice((0, 100, 3000, 20000))),
        "delete": lambda n: (store.set("d", n), store.delete("d")),
        "transaction": lambda n: store.set_many({"p": n, "q": n}),
        "increment": lambda n: store.increment("n"),
        "clear": lambda n: store.clear() if n % 10 == 0 else store.set("c", n),
        "get_many": lambda n: store.get_many(["p", "q", "absent"]),
    }
    job = jobs[kind]
    for n in range(30):
        job(n)
    began = time.perf_counter()
    for n in range(50):
        job(n)
    usual = (time.perf_counter() - began) / 50
    hits = 0
    problems = []
    main = threading.get_ident()

    def raise_in_main():
        import ctypes

        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(KeyboardInterrupt))

    for n in range(writes):
        try:
            try:
                if timer:
                    state["armed"] = True
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.000001, 1.2 * usual + 0.00001))
                    job(n)
                else:
                    start = threading.Event()
                    many = rng.randrange(200)

                    def shoot(start=start, spins=many):
                        start.wait()
                        for _ in range(spins):
                            pass
                        raise_in_main()

                    thread = threading.Thread(target=shoot)
                    thread.start()
                    start.set()
                    for _ in range(1000):
                        job(n)
            finally:
                state["armed"] = False
        except KeyboardInterrupt:
            hits += 1
        finally:
            if timer:
                signal.setitimer(signal.ITIMER_REAL, 0)
        if not timer:
            try:
                thread.join()
            except KeyboardInterrupt:
                thread.join()
        # Both locks are free, and the next writer makes the region whole.
        try:
            if n % 2:
                witness["w"] = n
                store["w"] = -n
            else:
                store["w"] = n
                witness["w"] = -n
        except BaseException as error:  # noqa: BLE001 - kept or shown, whatever it is
            problems.append(f"{n}: {error!r}")
            try:
                store.close()
            except ipcdatastore.LockTimeoutError:
                store._engine.coordinator.after_fork()  # closes without unlocking
            store = ipcdatastore.open("region", directory=directory, timeout=0.05)
            gc.collect()
        pair = witness.get_many(["p", "q"])
        if pair and pair.get("p") != pair.get("q"):
            problems.append(f"{n}: half of a transaction: {pair}")
    problems += witness.check()
    say([hits, problems])


KINDS = ["set", "sizes", "delete", "transaction", "increment", "clear", "get_many"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no setitimer")
def test_keyboard_interrupt_by_signal(directory, kind):
    ((hits, problems),) = run(interrupted, directory, kind, int(os.environ.get("INTERRUPTS", "1500")), True)
    assert hits, "no interrupt hit"
    assert problems == [], f"{len(problems)} of {hits} interrupts left a problem"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="an interrupt may break the threads of the test itself there")
@pytest.mark.parametrize("kind", ["set", "transaction"])
def test_keyboard_interrupt_by_another_thread(directory, kind):
    ((hits, problems),) = run(interrupted, directory, kind, 200, False)
    assert hits, "no interrupt hit"
    assert problems == [], f"{len(problems)} of {hits} interrupts left a problem"


def reentrant_write(directory):
    store = ipcdatastore.open("region", directory=directory, timeout=0.1)
    store.update(a=0, b=0)
    seen = []

    def handler(*_):
        try:
            store["b"] = 1
            seen.append("written")
        except ipcdatastore.LockTimeoutError:
            seen.append("refused")
        seen.append(store.get("a"))
        seen.append(store.get(("absent", 1)))

    signal.signal(signal.SIGUSR1, handler)
    for address, operation in (
        (26, lambda: store.set("a", 7)),
        (26, lambda: store.set_many({"a": 8, "c": 1})),
        (30, lambda: store.set("a", 9)),
        (26, lambda: store.delete("c")),
        (26, store.clear),
    ):
        gate(store, address, lambda: None, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        operation()
    assert len(seen) == 15, seen
    assert set(seen[::3]) == {"refused"}, seen
    assert len(store) == 0
    store["a"] = 1
    assert store.check() == []


def test_signal_handler_writes_while_a_write_is_under_way(directory):
    run(reentrant_write, directory)


def reentrant_read(directory):
    import faulthandler

    faulthandler.dump_traceback_later(20, exit=True)  # ends a deadlock
    store = ipcdatastore.open("region", directory=directory, timeout=0.1)
    store.update(a=1, b=2, c=3)
    seen = []
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(store.get("b")))

    class Signalling(dict):
        def pop(self, key, default=None):
            if key == "a":
                os.kill(os.getpid(), signal.SIGUSR1)
            return super().pop(key, default)

    store._cache.records = Signalling(store._cache.records)
    assert store["a"] == 1
    assert store["c"] == 3
    assert seen == [2]
    assert store.check() == []


def test_signal_handler_reads_while_the_cache_is_changed(directory):
    run(reentrant_read, directory)
