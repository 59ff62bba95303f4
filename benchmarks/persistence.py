"""The figures of images: how long a flush takes, how long it keeps writers out, how fast a store comes back."""

import multiprocessing
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

from ipcdatastore import open as open_store
from ipcdatastore.platform import LOCK_UN

from .figures import Figure, micros
from .workload import VALUES, keys

RECORDS = 190_000  # with their keys, indexes and slots about 64 MiB of region


def plain_write(path, size):
    """Seconds that `size` bytes take onto the disk when nothing else is to be done."""
    piece = os.urandom(1 << 20)
    start = time.perf_counter()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    for at in range(0, size, len(piece)):
        os.write(fd, piece[: size - at])
    os.fsync(fd)
    os.close(fd)
    taken = time.perf_counter() - start
    os.unlink(path)
    return taken


def flush_time(directory, disk, rounds=7):
    """A flush of 64 MiB against the plain writing of as many bytes to the same disk."""
    with open_store("flush", directory=directory, snapshot_directory=disk / "flush") as store:
        store._engine.options.persist = True
        store._engine._apply_persistence()  # nobody but us shall flush
        names = keys(RECORDS)
        store.update((name, VALUES[number % 10_000]) for number, name in enumerate(names))
        ours, theirs = [], []
        for number in range(rounds):
            store["changed"] = number
            start = time.perf_counter()
            path = store.flush()
            ours.append(time.perf_counter() - start)
            theirs.append(plain_write(disk / "plain", os.path.getsize(path)))
        size = os.path.getsize(path)
        problems = store.check()
    if problems:
        raise SystemExit(f"the store is damaged: {problems}")
    detail = f"{min(ours) * 1e3:.0f} ms / {min(theirs) * 1e3:.0f} ms, {size >> 20} MiB"
    return Figure("flush / write and fsync of as many bytes", min(ours) / min(theirs), 2, "", detail)


class Holds:
    """How long a handle holds the writer lock, each time."""

    def __init__(self, coordinator):
        self.held = []
        self._lock = coordinator.lock_file
        self._since = 0.0
        coordinator.lock_file = self

    def __call__(self, fd, operation):
        self._lock(fd, operation)
        if operation == LOCK_UN:
            self.held.append(time.perf_counter() - self._since)
        else:
            self._since = time.perf_counter()


def write_for_ever(directory, name, first):
    names = keys(RECORDS)
    random.Random(1).shuffle(names)
    with open_store(name, directory=directory) as store:
        first.send(None)
        while True:
            for number, key in enumerate(names):
                store[key] = VALUES[number % 10_000]


def longest_hold(directory, disk, rounds=10):
    """How long a flush keeps a writer at full speed out."""
    with open_store("hold", directory=directory, snapshot_directory=disk / "hold") as store:
        store._engine.options.persist = True
        store._engine._apply_persistence()
        store.update((name, VALUES[number % 10_000]) for number, name in enumerate(keys(RECORDS)))
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        child = spawn.Process(target=write_for_ever, args=(directory, "hold", theirs), daemon=True)
        child.start()
        ours.recv()
        holds = Holds(store._engine.coordinator)
        longest, taken = [], []
        for _ in range(rounds):
            holds.held.clear()
            start = time.perf_counter()
            store.flush()
            taken.append(time.perf_counter() - start)
            longest.append(max(holds.held) * 1e3)
        child.kill()
        child.join()
        problems = store.check()
    if problems:
        raise SystemExit(f"the store is damaged: {problems}")
    longest.sort()
    detail = f"worst of {rounds}, median {longest[rounds // 2]:.1f} ms; flush {min(taken) * 1e3:.0f} ms"
    return Figure("longest hold of the writer lock by a flush", longest[-1], 10, "ms", detail)


def restore_time(directory, disk, count=100_000):
    """A region made from its image, against one that is filled record by record."""
    names = keys(count)
    inserted, restored = [], []
    for turn in range(3):
        name = f"back{turn}"
        with open_store(name, directory=directory, snapshot_directory=disk / name) as store:
            start = time.perf_counter()
            for number, key in enumerate(names):
                store[key] = VALUES[number % 10_000]
            inserted.append(time.perf_counter() - start)
            store._engine.options.persist = True
            store._engine._apply_persistence()
            store.flush()
            path = store.stats()["path"]
        os.unlink(path)
        start = time.perf_counter()
        store = open_store(name, directory=directory, snapshot_directory=disk / name)
        restored.append(time.perf_counter() - start)
        problems = [] if len(store) == count else [f"only {len(store)} records came back"]
        problems += store.check()
        store.close()
        os.unlink(path)
        if problems:
            raise SystemExit(f"the store is damaged: {problems}")
    mine, other = min(restored), min(inserted)
    detail = f"{micros(mine, count):.1f} µs / {micros(other, count):.1f} µs a record"
    return Figure(f"restore / insert one by one, {count:,} records", mine / other, 0.5, "", detail)


def everything(directory, progress):
    """All of them. Images go to the folder for temporary files: set TMPDIR if that is in memory."""
    disk = Path(tempfile.mkdtemp(prefix="ipcdatastore-bench-"))
    try:
        for figure in (flush_time, longest_hold, restore_time):
            progress(f"images: {figure.__name__.replace('_', ' ')}")
            yield figure(directory, disk)
    finally:
        shutil.rmtree(disk, ignore_errors=True)
