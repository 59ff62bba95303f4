"""`wait_async` and `watch_async`: one thread for all coroutines of a handle, and nothing of it is left behind."""

import asyncio
import gc
import os
import signal
import threading

import pytest

import ipcdatastore
from children import crew, hear, say
from ipcdatastore import ArgumentError, ClosedError, KeyTypeError, ReadOnlyError, RegionNotFoundError, aio, waiting
from waiters import BEFORE, LONG, NEVER, elsewhere, needs_fork


@pytest.fixture
def store(directory, how):
    with ipcdatastore.open("region", directory=directory) as handle:
        yield handle
        assert handle.check() == []


def sleepers():
    return [thread for thread in threading.enumerate() if thread.name == "ipcdatastore-wait"]


@pytest.fixture(autouse=True)
def nobody_stays(monkeypatch):
    """The thread of each test ends with it, or soon after."""
    monkeypatch.setattr(aio, "LINGER", 0.05)
    yield
    for thread in sleepers():
        thread.join(LONG)
        assert not thread.is_alive()


def run(coroutine):
    """``asyncio.run`` that gives up on what hangs."""

    async def bounded():
        return await asyncio.wait_for(coroutine, LONG)

    return asyncio.run(bounded())


async def settled(store, count):
    """Return when so many coroutines of the handle sleep."""
    while store._engine.sleeper is None or len(store._engine.sleeper._waiting) < count:
        await asyncio.sleep(0)


# --- waiting ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["store", "namespace", "uncached", "read only"])
def test_the_contract(store, directory, kind):
    options = {"uncached": {"cache_entries": 0}, "read only": {"mode": "r"}}.get(kind, {})
    with ipcdatastore.open("region", directory=directory, **options) as handle:
        view = handle.namespace("n") if kind == "namespace" else handle
        writer = store.namespace("n") if kind == "namespace" else store

        async def scenario():
            assert await view.wait_async("k", timeout=0) is None
            assert await view.wait_async("k", timeout=0.01) is None
            assert await view.wait_async("k", since=5) == 0
            task = asyncio.ensure_future(view.wait_async("k"))
            await settled(view, 1)
            first = writer.set("k", 1)
            assert await task == first
            assert await view.wait_async("k", since=0) == first
            task = asyncio.ensure_future(view.wait_async("k", since=first, timeout=NEVER))
            await settled(view, 1)
            del writer["k"]
            assert await task == 0
            second = writer.set("k", 1, expire=0.02)
            assert await view.wait_async("k", since=second) == 0
            for bad in ({"since": -1}, {"timeout": -1}):
                with pytest.raises(ArgumentError):
                    await view.wait_async("k", **bad)
            with pytest.raises(KeyTypeError):
                await view.wait_async(1.5)

        run(scenario())


def test_many_coroutines_and_one_thread(store):
    async def scenario():
        tasks = [asyncio.ensure_future(store.wait_async(("k", n), timeout=NEVER)) for n in range(100)]
        await settled(store, 100)
        assert len(sleepers()) == 1
        versions = [store.set(("k", n), n) for n in range(100)]
        assert await asyncio.gather(*tasks) == versions
        assert store._engine.sleeper._waiting == set()

    run(scenario())


def test_the_thread_stays_while_one_waits_again_and_again(store, monkeypatch):
    monkeypatch.setattr(aio, "LINGER", LONG)

    async def scenario():
        version, threads = 0, set()
        for _ in range(50):
            task = asyncio.ensure_future(store.wait_async("k", since=version))
            await settled(store, 1)
            threads.add(sleepers()[0].ident)
            store["k"] = 1
            version = await task
        assert len(threads) == 1

    run(scenario())


def test_the_thread_ends_and_begins_again(store):
    for _ in range(3):
        run(store.wait_async("k", timeout=0.01))
        for thread in sleepers():
            thread.join(LONG)
        assert sleepers() == []
        assert store._engine.sleeper._thread is None


def test_a_change_between_look_and_registration_is_not_slept_through(store, monkeypatch):
    """The thread has seen it already, when nobody had told it whom to wake: here it does nothing at all."""
    monkeypatch.setattr(aio, "TICK", NEVER)
    monkeypatch.setattr(aio.Sleeper, "_start", lambda sleeper, seen: None)
    changed = aio.Sleeper.changed
    written = []

    async def write_first(sleeper, seen, seconds):
        written.append(elsewhere(lambda: store.set("k", 1)))
        await changed(sleeper, seen, seconds)

    monkeypatch.setattr(aio.Sleeper, "changed", write_first)
    assert [run(store.wait_async("k", timeout=NEVER))] == written


def test_the_thread_wakes_without_a_tick(store, monkeypatch, no_tick):
    monkeypatch.setattr(aio, "TICK", NEVER)

    async def scenario():
        task = asyncio.ensure_future(store.wait_async("k"))
        await settled(store, 1)
        return elsewhere(lambda: store.set("k", 1)) == await task

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "TICK", 1.0)  # or the thread would not see for long that nobody waits any more
        assert run(scenario())
        for thread in sleepers():
            thread.join(LONG)


def test_who_writes_without_end_leaves_the_loop_time(store):
    """A coroutine that waits for one key gets its turn, and so do others, while others are written at full speed."""
    end = threading.Event()

    def write():
        while not end.is_set():
            store["noise"] = 1

    writer = threading.Thread(target=write, daemon=True)

    async def scenario():
        writer.start()
        tasks = [asyncio.ensure_future(store.wait_async(("k", n))) for n in range(20)]
        await settled(store, 10)
        for _ in range(20):
            await asyncio.sleep(0.001)
        versions = [store.set(("k", n), 1) for n in range(20)]
        assert await asyncio.gather(*tasks) == versions

    try:
        run(scenario())
    finally:
        end.set()
        writer.join()


def test_cancelling(store):
    async def scenario():
        tasks = [asyncio.ensure_future(store.wait_async("k")) for _ in range(10)]
        await settled(store, 10)
        for task in tasks[:9]:
            task.cancel()
        await asyncio.wait(tasks[:9])
        assert all(task.cancelled() for task in tasks[:9])
        assert len(store._engine.sleeper._waiting) == 1
        store["k"] = 1
        assert await tasks[9] == store.get_entry("k").version
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(store.wait_async("k"), 0.01)
        assert store._engine.sleeper._waiting == set()

    run(scenario())


def test_a_loop_that_ends_while_somebody_waits(store):
    """`asyncio.run` cancels; a loop that is just closed leaves nobody behind either."""

    async def forget():
        task = asyncio.ensure_future(store.wait_async("k"))
        await settled(store, 1)
        return task

    run(forget())
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(forget())
    loop.close()
    for thread in sleepers():
        thread.join(LONG)
    assert sleepers() == []
    assert store._engine.sleeper._waiting == set()
    task._log_destroy_pending = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "call_exception_handler", lambda context: None)
        del task
        gc.collect()
    assert run(store.wait_async("k", timeout=0.01)) is None


def test_loops_in_several_threads(store):
    """They share the thread of the handle."""
    ready = threading.Barrier(4)

    def wait():
        async def scenario():
            task = asyncio.ensure_future(store.wait_async("k", since=0))
            await settled(store, 1)
            await asyncio.get_running_loop().run_in_executor(None, ready.wait, LONG)
            return await task

        return run(scenario())

    threads = [threading.Thread(target=lambda: results.append(wait()), daemon=True) for _ in range(3)]
    results = []
    for thread in threads:
        thread.start()
    ready.wait(LONG)
    assert len(sleepers()) == 1
    version = store.set("k", 1)
    for thread in threads:
        thread.join(LONG)
    assert results == [version] * 3


def test_close_while_somebody_waits(directory, how):
    handle = ipcdatastore.open("region", directory=directory)

    async def scenario():
        watch = handle.watch_async()
        tasks = [asyncio.ensure_future(handle.wait_async("k")) for _ in range(3)]
        tasks.append(asyncio.ensure_future(watch.next()))
        await settled(handle, 4)
        elsewhere(handle.close)
        for task in tasks:
            with pytest.raises(ClosedError):
                await task
        with pytest.raises(ClosedError):
            await handle.wait_async("k")
        with pytest.raises(ClosedError):
            handle.watch_async()

    run(scenario())


def test_a_region_that_is_removed(directory, how):
    with ipcdatastore.open("region", directory=directory) as handle:

        async def scenario():
            task = asyncio.ensure_future(handle.wait_async("k"))
            await settled(handle, 1)
            os.unlink(handle._engine.path)
            with pytest.raises(RegionNotFoundError):
                await task

        run(scenario())


def test_where_no_such_thread_may_be_started(store, monkeypatch):
    """Sub-interpreters may forbid them: then each coroutine looks for itself, a little later."""

    def refuse(thread):
        raise RuntimeError("daemon threads are disabled in this (sub)interpreter")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    async def scenario():
        task = asyncio.ensure_future(store.wait_async("k"))
        await settled(store, 1)
        version = store.set("k", 1)
        assert await task == version
        assert sleepers() == []

    run(scenario())


# --- watching --------------------------------------------------------------------------------------------
def test_watching(store):
    async def scenario():
        async with store.watch_async("a", timeout=0.05) as watch:
            store["a"] = 1
            store["b"] = 2
            del store["a"]
            seen = [event[:2] async for event in watch]
            assert seen == [("set", "a"), ("delete", "a")]
            task = asyncio.ensure_future(watch.next())
            await settled(store, 1)
            version = elsewhere(lambda: store.set("ab", 1))
            assert await task == ("set", "ab", version)
            assert await watch.next(0) is None
            store.clear()
            assert [event.kind async for event in watch] == ["clear"]
        assert [event async for event in watch] == []
        assert await watch.next(1) is None
        inner = store.namespace("n").watch_async(timeout=0)
        store[("n", "k")] = 1
        assert [event.key async for event in inner] == ["k"]
        inner.close()
        with pytest.raises(ArgumentError):
            store.watch_async(1)
        with pytest.raises(ArgumentError):
            store.watch_async(timeout=-1)

    run(scenario())


def test_watching_through_a_read_only_handle(store, directory):
    with ipcdatastore.open("region", directory=directory, mode="r") as reader, pytest.raises(ReadOnlyError):
        reader.watch_async()


def test_many_watchers_each_see_everything(store):
    async def scenario():
        watches = [store.watch_async() for _ in range(20)]

        async def follow(watch):
            return [(await watch.next()).key for _ in range(100)]

        tasks = [asyncio.ensure_future(follow(watch)) for watch in watches]
        await settled(store, 20)
        for n in range(100):
            store[n] = n
            if n % 7 == 0:
                await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == [list(range(100))] * 20
        assert len(sleepers()) <= 1

    run(scenario())


def test_cancelling_a_watch(store):
    async def scenario():
        watch = store.watch_async()
        task = asyncio.ensure_future(watch.next())
        await settled(store, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store["k"] = 1
        assert (await watch.next()).key == "k"  # nothing was lost with it

    run(scenario())


# --- forks -----------------------------------------------------------------------------------------------
def wait_on_both_sides(directory):
    import asyncio

    with ipcdatastore.open("region", directory=directory) as store:

        async def wait(key):
            return await store.wait_async(key, since=0, timeout=60)

        asyncio.run(store.wait_async("k", timeout=0.001))  # its thread lives on in the parent
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            try:
                assert asyncio.run(wait("parent"))
                store["child"] = 1
                os._exit(0)
            finally:
                os._exit(1)
        store["parent"] = 1
        assert asyncio.run(wait("child"))
        assert os.waitpid(pid, 0)[1] == 0
        assert store.check() == []
    say("done")


@needs_fork
def test_parent_and_child(directory, how):
    with crew() as start:
        assert start(wait_on_both_sides, directory, before=BEFORE[how]).finish() == ["done"]


# --- the end of the process ------------------------------------------------------------------------------
def end_while_waiting(directory):
    import asyncio

    store = ipcdatastore.open("region", directory=directory)

    async def scenario():
        task = asyncio.ensure_future(store.wait_async("k"))
        for _ in range(3):
            await asyncio.sleep(0)
        say(task.done())

    asyncio.run(scenario())
    say("done")


def test_the_thread_keeps_no_process_from_ending(directory, how):
    with crew() as start:
        assert start(end_while_waiting, directory, before=BEFORE[how]).finish() == [False, "done"]


# --- processes -------------------------------------------------------------------------------------------
def answer(directory, count):
    """Coroutines that each wait for a question and answer it."""
    import asyncio

    async def one(store, n):
        version = await store.wait_async(("question", n), since=0)
        value = store[("question", n)]
        store[("answer", n)] = value + 1
        return version

    async def scenario():
        with ipcdatastore.open("region", directory=directory) as store:
            say("ready")
            return await asyncio.gather(*(one(store, n) for n in range(count)))

    say(len(asyncio.run(scenario())))
    hear()


def test_questions_and_answers(store, directory, how):
    with crew() as start:
        child = start(answer, directory, 100, before=BEFORE[how])
        assert child.hear() == "ready"
        for n in range(100):
            store[("question", n)] = n
        for n in range(100):
            assert store.wait(("answer", n), since=0, timeout=NEVER)
            assert store[("answer", n)] == n + 1
        assert child.hear() == 100
        child.say("end")
        child.finish()
