"""Recorded histories of processes and threads, checked for linearizability (``histories``); torn reads, provoked."""

import gc
import os
import random
import threading
import time
import types
from zlib import crc32

import pytest

import histories
import ipcdatastore
from children import crew, go, hear, say
from histories import HistoryError

OPERATIONS = int(os.environ.get("IPCDATASTORE_HISTORY", "700"))  # of each thread
THREADS = 2


# --- the checker -----------------------------------------------------------------------------------------
GOOD = {
    "one after the other": [
        [0, 1, {}, {"a": 1}],
        [2, 3, {"a": 1}, {}],
        [4, 5, {"a": 1}, {"a": 2}],
        [6, 7, {"a": 2}, {}],
    ],
    "overlapping, old or new": [[0, 1, {}, {"a": 1}], [2, 9, {}, {"a": 2}], [3, 4, {"a": 1}, {}], [5, 6, {"a": 2}, {}]],
    "deleted in between": [[0, 1, {}, {"a": 1}], [2, 3, {}, {"a": -2}], [4, 5, {"a": 0}, {}], [6, 7, {}, {"a": 3}]],
    "absent before or after": [[0, 9, {}, {"a": 1}], [1, 2, {"a": 0}, {}], [3, 9, {}, {"a": -2}], [4, 8, {"a": 0}, {}]],
    "two keys at once": [
        [0, 1, {}, {"a": 1, "b": 2}],
        [2, 3, {"a": 1, "b": 2}, {}],
        [4, 5, {"a": 1, "b": 2}, {"a": 3}],
    ],
}
BAD = {
    "a stale read": [[0, 1, {}, {"a": 1}], [2, 3, {}, {"a": 2}], [4, 5, {"a": 1}, {}]],
    "a write that nobody did": [[0, 1, {}, {"a": 1}], [2, 3, {"a": 7}, {}]],
    "back in time": [[0, 1, {}, {"a": 1}], [2, 9, {}, {"a": 2}], [3, 4, {"a": 2}, {}], [5, 6, {"a": 1}, {}]],
    "seen before it began": [[0, 1, {"a": 1}, {}], [2, 3, {}, {"a": 1}]],
    "a deletion that is not seen": [[0, 1, {}, {"a": 1}], [2, 3, {}, {"a": -2}], [4, 5, {"a": 1}, {}]],
    "gone without a deletion": [[0, 1, {}, {"a": 1}], [2, 3, {"a": 0}, {}]],
    "a lost update": [[0, 1, {}, {"a": 1}], [2, 3, {"a": 1}, {"a": 2}], [2, 3, {"a": 1}, {"a": 3}]],
    "half of a transaction": [[0, 1, {}, {"a": 1, "b": 2}], [2, 5, {}, {"a": 3, "b": 4}], [3, 4, {"a": 3, "b": 2}, {}]],
    "two moments at once": [
        [0, 1, {}, {"a": 1}],
        [0, 1, {}, {"b": 2}],
        [2, 9, {}, {"a": 3}],
        [2, 9, {}, {"b": 4}],
        [3, 4, {"a": 3, "b": 2}, {}],
        [5, 6, {"a": 1, "b": 4}, {}],
    ],
    "one version twice": [[0, 1, {}, {"a": 1}], [2, 3, {}, {"b": 1}]],
    "writes out of order": [[0, 1, {}, {"a": 2}], [2, 3, {}, {"a": 1}]],
}


@pytest.mark.parametrize("name", GOOD)
def test_the_checker_accepts(name):
    assert histories.check(GOOD[name]) == len(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_the_checker_refuses(name):
    with pytest.raises(HistoryError):
        histories.check(BAD[name])


# --- the store -------------------------------------------------------------------------------------------
class Recorder:
    """One thread's operations, each done through the store or its engine, and written down."""

    def __init__(self, store, name, kinds):
        self.store, self.engine = store, store._engine
        self.rng = random.Random(name)
        self.name, self.count = name, 0
        self.kinds = kinds
        self.history = []

    def value(self):
        self.count += 1
        return [f"{self.name} {self.count}", "x" * self.rng.choice([1, 10, 3000])]

    def encoded(self, key):
        return self.store._encode(key)

    def run(self, operations):
        for _ in range(operations):
            getattr(self, self.rng.choice(self.kinds))()

    def note(self, begun, reads, writes):
        self.history.append([begun, time.monotonic_ns(), reads, writes])

    def set(self):
        key, value = self.key(), self.value()
        begun = time.monotonic_ns()
        version = self.store.set(key, value)
        self.note(begun, {}, {key: version})

    def key(self):
        return f"k{self.rng.randrange(6)}"

    def get(self):
        key = self.key()
        begun = time.monotonic_ns()
        entry = self.store.get_entry(key)
        self.note(begun, {key: entry.version if entry else 0}, {})

    def get_twice(self):
        """Through the client cache: the second, nearly always."""
        self.get()
        self.get()

    def delete(self):
        key = self.key()
        begun = time.monotonic_ns()
        found, version = self.engine.delete(self.encoded(key))
        if found is None:
            self.note(begun, {key: 0}, {})
        else:
            self.note(begun, {}, {key: -version})

    def compare_and_set(self):
        key, value = self.key(), self.value()
        self.get()
        seen = self.history[-1][2].get(key)
        if seen is None:
            return
        begun = time.monotonic_ns()
        version = self.store.compare_and_set(key, value, seen)
        if version is not None:
            self.note(begun, {key: seen}, {key: version})

    def get_many(self):
        keys = [f"k{number}" for number in range(6)]
        begun = time.monotonic_ns()
        records = self.engine.get_many([self.encoded(key) for key in keys])
        self.note(begun, {key: record.version if record else 0 for key, record in zip(keys, records)}, {})

    def transaction(self):
        """Reads some keys, writes some, deletes one."""
        keys = [f"k{number}" for number in self.rng.sample(range(6), 3)]
        begun = time.monotonic_ns()
        found = self.engine.get_many([self.encoded(key) for key in keys])
        versions = [record.version if record else 0 for record in found]
        reads = {
            self.encoded(key): (crc32(self.encoded(key), self.engine.seed), version)
            for key, version in zip(keys, versions)
        }
        writes = [self.store._write(key, self.value(), 0) for key in keys[:2]]
        gone = versions[2] != 0
        if gone:
            writes.append(self.engine.write(self.encoded(keys[2])))
        try:
            last = self.engine.commit(writes, reads)
        except ipcdatastore.ConflictError:
            return
        first = last - len(writes) + 1
        written = {keys[0]: first, keys[1]: first + 1}
        if gone:
            written[keys[2]] = -(first + 2)
        self.note(begun, dict(zip(keys, versions)), written)


def record(directory, name, threads, operations, kinds, options):
    store = ipcdatastore.open("region", directory=directory, timeout=60, **options)
    recorders = [Recorder(store, f"{name}.{number}", kinds) for number in range(threads)]
    workers = [threading.Thread(target=recorder.run, args=(operations,)) for recorder in recorders]
    say("ready")
    hear()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say([operation for recorder in recorders for operation in recorder.history])
    say(store._engine.reader.retries)
    store.close()


MIXED = ["set", "set", "get", "get_twice", "get_many", "delete", "compare_and_set", "transaction", "transaction"]


@pytest.mark.parametrize("options", [{}, {"cache_entries": 0}], ids=["cached", "uncached"])
def test_histories_are_linearizable(directory, options):
    before = "import random, threading, time\nfrom zlib import crc32\n"
    with ipcdatastore.open("region", directory=directory) as store, crew() as start:
        arguments = (THREADS, OPERATIONS, MIXED, options)
        children = [
            start(record, directory, number, *arguments, uses=(Recorder,), before=before) for number in range(3)
        ]
        go(children)
        said = [child.finish() for child in children]
        operations = [operation for history, _ in said for operation in history]
        assert histories.check(operations) > 3 * THREADS * OPERATIONS / 2
        assert store.check() == []


# --- torn reads ------------------------------------------------------------------------------------------
def overwrite(directory):
    """Writes values of every size as fast as it can, until it is told to stop."""
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        number = 0
        while not store.get("stop"):
            number += 1
            for key in ("a", "b"):
                store[key] = bytes([number % 251]) * (200_000 + number % 7)


def test_torn_reads_happen_and_are_discarded(directory):
    """Copies of a value that is being overwritten: the counter shows that there were some, and none was handed out."""
    with crew() as start, ipcdatastore.open("region", directory=directory, cache_entries=0) as store:
        store.set_many({"a": b"", "b": b""})
        child = start(overwrite, directory)
        assert child.hear() == "ready"
        ends = time.monotonic() + 60
        while store._engine.reader.retries < 5:
            value = store["a"]
            assert value == value[:1] * len(value)
            pair = store.get_many(["a", "b"])
            assert all(found == found[:1] * len(found) for found in pair.values())
            assert time.monotonic() < ends, "no read was torn"
        store["stop"] = True
        child.finish()
        assert store.stats()["own_retries"] >= 5
        assert store.check() == []


def test_torn_reads_leave_nothing_behind(directory):
    """An exception that is raised again and again must not be one object: its traceback would keep every frame."""
    with crew() as start, ipcdatastore.open("region", directory=directory, cache_entries=0) as store:
        store.set_many({"a": b"", "b": b""})
        child = start(overwrite, directory)
        assert child.hear() == "ready"
        ends = time.monotonic() + 60
        kept = []
        for torn in (5, 25):
            while store._engine.reader.retries < torn:
                store["a"], store.get_many(["a", "b"])
                assert time.monotonic() < ends, "no read was torn"
            gc.collect()
            kept.append(sum(isinstance(found, types.FrameType) for found in gc.get_objects()))
        assert kept[1] <= kept[0] + 2
        store["stop"] = True
        child.finish()
        assert store.check() == []
