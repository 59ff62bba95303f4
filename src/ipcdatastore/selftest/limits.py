"""Regions that grow, and regions that may not."""

from __future__ import annotations

import ipcdatastore

from .bench import Bench, expect, expect_equal, expect_error

MIB = 1 << 20


def growth(bench: Bench) -> str:
    """A region grows under a handle that reads it, and every value stays what it is."""
    store, reader = bench.open("growth"), bench.open("growth", mode="r")
    count = 400 if bench.quick else 4000
    before = store.stats()["file_bytes"]
    for number in range(count):
        store[number] = bytes([number % 251]) * 1000
        if number % 97 == 0:
            expect_equal(reader[number // 2], bytes([number // 2 % 251]) * 1000, f"value {number // 2}")
    for number in range(count):
        expect_equal(reader[number], bytes([number % 251]) * 1000, f"value {number}")
    after = store.stats()["file_bytes"]
    expect(after > before, "the region did not grow")
    return f"from {before >> 10:,} KiB to {after >> 10:,} KiB"


def full(bench: Bench) -> str:
    """At its limit a region refuses and stays as it is; one that evicts takes the new and drops the old."""
    store = bench.open("full", max_size=MIB)
    value = b"x" * 50_000
    stored = 0
    with expect_error(ipcdatastore.StoreFullError, "a store with 1 MiB at most was given 5 MiB"):
        for number in range(100):
            store[number] = value
            stored += 1
    expect_equal(sorted(store), list(range(stored)), "the keys of the full store")
    store.delete(0)
    store["small"] = "fits again"
    evicting = bench.open("evicting", max_size=MIB, evict="lru")
    for number in range(100):
        evicting[number] = value
    left = len(evicting)
    expect(0 < left < 100, f"{left} of 100 records are left after eviction")
    expect_equal(evicting[99], value, "the newest record")
    size = evicting.stats()["file_bytes"]
    expect(size <= MIB, f"the file has {size:,} bytes")
    return f"refused after {stored}; evicting keeps the newest {left} of 100"
