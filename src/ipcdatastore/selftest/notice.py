"""Being told: of one key's change, of all changes; and taking turns by a named lock."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, List

import ipcdatastore

from .bench import Bench, expect, expect_equal, expect_error

WAKE_UPS = 20
TURNS = 25


def _in_thread(bench: Bench, function: Callable[[], Any]) -> Callable[[], Any]:
    """Start it; what is given back waits for its end, and gives what it gave or raises what it raised."""
    results: List[Any] = []

    def work() -> None:
        try:
            results.append((function(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            results.append((None, error))

    thread = threading.Thread(target=work)
    thread.start()

    def result() -> Any:
        thread.join(2 * bench.patience)
        expect(results, "a thread did not come to its end")
        value, error = results[0]
        if error is not None:
            raise error
        return value

    return result


def waiting(bench: Bench) -> str:
    """Who waits for a key learns of each change, whenever he begins to wait."""
    store, other = bench.open("waiting"), bench.open("waiting")
    version = 0
    slowest = 0.0
    for number in range(WAKE_UPS):
        told = _in_thread(bench, lambda: (other.wait("key", version, bench.patience), time.perf_counter()))  # noqa: B023 - joined below
        if number % 2:
            time.sleep(0.002)  # asleep already; else perhaps not yet
        wanted, at = store.set("key", number), time.perf_counter()
        found, woken = told()
        expect_equal(found, wanted, "the version that the waiter was told")
        version = wanted
        slowest = max(slowest, woken - at)
    expect(other.wait("key", version, 0.01) is None, "a wait without a change did not end")
    return f"{WAKE_UPS} wake-ups, the slowest after {slowest * 1000:.1f} ms"


def watching(bench: Bench) -> str:
    """A watch tells everything, once and in order."""
    store, other = bench.open("watching"), bench.open("watching")
    count = 50 if bench.quick else 500
    with other.watch(timeout=bench.patience) as events:
        for number in range(count):
            store[number] = number
        store.delete(0)
        store.clear()
        seen = [(event.kind, event.key) for _, event in zip(range(count + 2), events)]
    wanted = [("set", number) for number in range(count)] + [("delete", 0), ("clear", None)]
    expect_equal(seen, wanted, "the events")
    return f"{len(seen)} events in order"


def lock(bench: Bench) -> str:
    """A named lock is had by one at a time."""
    handles = [bench.open("lock") for _ in range(3)]
    with handles[0].lock("turn"):
        with expect_error(ipcdatastore.LockTimeoutError, "a lock that somebody has"):
            handles[1].lock("turn", timeout=0.01).acquire()
        with handles[1].lock("other", timeout=0) as other:
            expect(other.held, "a lock of another name is not free")
    handles[0]["sum"] = 0

    def work(store: ipcdatastore.Datastore) -> None:
        for _ in range(TURNS):
            with store.lock("turn", timeout=bench.patience):
                store["sum"] = store["sum"] + 1  # not atomic but for the lock

    for ended in [_in_thread(bench, lambda store=store: work(store)) for store in handles]:  # type: ignore[misc]
        ended()
    expect_equal(handles[0]["sum"], 3 * TURNS, "the turns that were taken")
    return f"{3 * TURNS} turns, none at once"
