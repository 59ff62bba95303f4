"""One process: values, versions, transactions, expiry, namespaces, the cache, threads."""

from __future__ import annotations

import threading
from typing import Any, Dict, List

import ipcdatastore

from .bench import Bench, expect, expect_equal, expect_error, until

PLAIN = ["", "text", "ünïcödé ✔ \0", b"", bytes(range(256)), 0, -1, 1 << 200, 2.5, float("-inf"), True, False, None]
SAMPLES: Dict[str, List[Any]] = {
    "pickle": [*PLAIN, [1, [2]], {"a": (1, b"x")}, {1, 2}, frozenset("ab"), 1j, ValueError, "x" * 100_000],
    "json": [*PLAIN, [1, [2, None]], {"a": {"b": [True, 2.5]}}],
    "raw": [*PLAIN],
}
THREADS = 4
TIMES = 100


def values(bench: Bench) -> str:
    """What one handle stores, another reads, the same in type and value."""
    kinds = set()
    for serializer, samples in SAMPLES.items():
        writer = bench.open(f"values-{serializer}", serializer=serializer)
        reader = bench.open(f"values-{serializer}", mode="r")
        keys = [number if number % 2 else ("sample", number) for number in range(len(samples))]
        for key, value in zip(keys, samples):
            writer[key] = value
        for key, value in zip(keys, samples):
            found = reader[key]
            expect_equal(found, value, f"{serializer}, {type(value).__name__}")
            expect(type(found) is type(value), f"{serializer}: a {type(value).__name__} is a {type(found).__name__}")
            kinds.add(type(value).__name__)
    return f"{len(kinds)} types, {len(SAMPLES)} serializers"


def versions(bench: Bench) -> str:
    """Every change has a version of its own, across delete and clear too."""
    store = bench.open("versions")
    seen = [store.set("key", number) for number in range(10)]
    entry = store.get_entry("key")
    expect_equal(entry and entry.version, seen[-1], "get_entry tells the version of the last set")
    store.delete("key")
    seen.append(store.set("key", "again"))
    store.clear()
    seen.append(store.set("key", "and again"))
    expect_equal(seen, sorted(set(seen)), "versions grow")
    return f"{len(seen)} changes"


def compare_and_set(bench: Bench) -> str:
    """Only who knows the present version may change it."""
    store, other = bench.open("versions"), bench.open("versions")
    version = store.set("key", "mine")
    expect(other.compare_and_set("key", "theirs", version), "the right version was refused")
    expect(store.compare_and_set("key", "late", version) is None, "an old version was accepted")
    expect(not store.add("key", "new"), "add replaced a value")
    expect_equal(store["key"], "theirs", "the value after all that")
    return "old versions were refused"


def transactions(bench: Bench) -> str:
    """Everything or nothing: after an exception, after a conflict, and when it succeeds."""
    store, other = bench.open("transactions"), bench.open("transactions")
    store.update(left=1, right=1)
    with expect_error(ZeroDivisionError, "an exception in a transaction"), store.transaction() as batch:
        batch["left"] = 2
        batch["left"] //= 0
    with expect_error(ipcdatastore.ConflictError, "a conflict"), store.transaction() as batch:
        batch["right"] = batch["left"] + 1
        other["left"] = 5
    expect_equal(other.get_many(["left", "right"]), {"left": 5, "right": 1}, "after two that failed")
    with store.transaction() as batch:
        batch["left"], batch["right"] = 7, 7
    expect_equal(other.get_many(["left", "right"]), {"left": 7, "right": 7}, "after one that succeeded")
    return "one done, one undone, one conflict"


def expiry(bench: Bench) -> str:
    """A key is there before its time is over, and not after, also for who has it cached."""
    store = bench.open("expiry")
    store.set("long", 1, expire=3600)
    store.set("short", 1, expire=0.05)
    until(lambda: store.get("short") is None, "a key with 50 ms to live is gone")
    expect("short" not in store, "an expired key is still in the store")
    expect_equal(store.get("long"), 1, "a key with an hour to live")
    expect(store.touch("long"), "touch finds the key")
    entry = store.get_entry("long")
    expect(entry is not None and entry.expires_at is None, "touch takes the expiry away")
    return "after 50 ms, not before"


def namespaces(bench: Bench) -> str:
    """A namespace holds its own keys only."""
    store = bench.open("namespaces")
    skin, deep = store.namespace("skin"), store.namespace("skin").namespace("deep")
    store["key"], skin["key"], deep["key"] = 1, 2, 3
    expect_equal((store["key"], skin["key"], deep["key"], len(skin)), (1, 2, 3, 1), "one key in three places")
    skin.clear()
    expect_equal((store.get("key"), skin.get("key"), deep.get("key")), (1, None, 3), "after clearing one of them")
    return "three of them"


def cache(bench: Bench) -> str:
    """A handle that has read a value notices every change; what it hands out is the caller's own."""
    store, other = bench.open("cache"), bench.open("cache")
    for number in range(TIMES):
        store["key"] = [number]
        expect_equal(other.get("key"), [number], "the other handle's look")
        expect_equal(other.get("key"), [number], "its second look, from the cache")
    other["key"].append("mine")
    expect_equal(other["key"], [TIMES - 1], "a change of one's own copy stays one's own")
    return f"{TIMES} changes, seen at once"


def threads(bench: Bench) -> str:
    """Concurrent increments through one handle and through several add up."""
    shared = bench.open("threads")
    failures: List[BaseException] = []

    def work(store: ipcdatastore.Datastore) -> None:
        try:
            for _ in range(TIMES):
                store.increment("count")
        except BaseException as error:  # noqa: BLE001 - the step's own thread tells of it
            failures.append(error)

    handles = [shared if number % 2 else bench.open("threads") for number in range(THREADS)]
    running = [threading.Thread(target=work, args=(store,)) for store in handles]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    for failure in failures:
        raise failure
    expect_equal(shared["count"], THREADS * TIMES, "the sum")
    return f"{THREADS} threads, {THREADS * TIMES} increments"
