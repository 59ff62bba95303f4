"""The figures: each a function that returns a `Figure`; peers are in `peers`."""

import multiprocessing
import os
import pickle
import signal
import statistics
import subprocess
import sys
import time
from typing import NamedTuple, Optional

from ipcdatastore import layout
from ipcdatastore import open as open_store
from ipcdatastore.platform import LOCK_UN

from . import peers
from .workload import BLOBS, VALUES, best_of, keys, order, value


class Figure(NamedTuple):
    name: str
    measured: float
    limit: Optional[float]  # None: only to be known
    unit: str  # "" for a ratio
    detail: str
    at_least: bool = False

    @property
    def holds(self):
        if self.limit is None:
            return True
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


class Dictionary:
    """What a Python method around a dict costs: the floor for any cache in pure Python."""

    def __init__(self, items):
        self._d = items

    def get(self, key, default=None):
        return self._d.get(key, default)


def micros(seconds, calls):
    return seconds / calls * 1e6


def ratio(name, limit, calls, ours, theirs, peer, rounds=9):
    mine, other = best_of(ours, theirs, rounds)
    detail = f"{micros(mine, calls):.3f} µs / {micros(other, calls):.3f} µs ({peer})"
    return Figure(name, mine / other, limit, "", detail)


# --- hot reads -------------------------------------------------------------------------------------------
def hot_immutable(directory):
    calls = 200_000
    with open_store("hot", directory=directory) as store:
        store["key"] = 12345
        store.get("key")
        plain = Dictionary({"key": 12345})

        def loop(get):
            def run():
                for _ in range(calls):
                    get("key")

            return run

        return ratio("hot get, immutable", 2.0, calls, loop(store.get), loop(plain.get), "method around a dict", 15)


def hot_mutable(directory):
    calls = 40_000
    with open_store("hot", directory=directory) as store:
        store["key"] = VALUES[5]
        store.get("key")
        blob, loads = BLOBS[5], pickle.loads

        def ours(get=store.get):
            for _ in range(calls):
                get("key")

        def theirs():
            for _ in range(calls):
                loads(blob)

        return ratio("hot get, mutable (private copy)", 1.2, calls, ours, theirs, "pickle.loads", 15)


# --- against LMDB ----------------------------------------------------------------------------------------
def against_lmdb(directory, count, get_limit, set_limit=None):
    """Uncached random get, and set, with `count` keys."""
    names = keys(count)
    picks = order(count, 20_000)
    chosen = [names[number] for number in picks]
    values = [VALUES[number % 10_000] for number in picks]
    with open_store(f"lmdb{count}", directory=directory, max_size=1 << 31, cache_entries=0) as store:
        store.update(zip(names, (VALUES[number % 10_000] for number in range(count))))
        with peers.Lmdb(directory / f"peer{count}") as lmdb:
            lmdb.fill(names, (BLOBS[number % 10_000] for number in range(count)))

            def ours(get=store.get):
                for name in chosen:
                    get(name)

            figures = [
                ratio(
                    f"uncached random get, {count:,} keys", get_limit, 20_000, ours, lmdb.reads(chosen), "LMDB, loads"
                )
            ]
            if set_limit:

                def write(put=store.set):
                    for name, item in zip(chosen, values):
                        put(name, item)

                theirs = lmdb.writes(chosen, values)
                figures.append(ratio(f"set, {count:,} keys", set_limit, 20_000, write, theirs, "LMDB, dumps"))
        problems = store.check()
        if problems:
            raise SystemExit(f"the store is damaged: {problems}")
    return figures


def space(directory):
    count = 100_000
    names = keys(count)
    with open_store("space", directory=directory) as store:
        for number, name in enumerate(names):
            store[name] = VALUES[number % 10_000]
        used = os.stat(store.stats()["path"]).st_size
    wanted = sum(len(name) + len(BLOBS[number % 10_000]) for number, name in enumerate(names))
    detail = f"{used / 1e6:.1f} MB / {wanted / 1e6:.1f} MB"
    return Figure(f"file bytes / key and blob bytes, {count:,} records", used / wanted, 1.5, "", detail)


# --- a million keys --------------------------------------------------------------------------------------
class HoldTimer:
    """Times how long the writer lock is held, by standing in for the handle's coordinator."""

    def __init__(self, coordinator):
        self._coordinator = coordinator
        self.held = []

    def take(self):
        self._coordinator.take()
        self._start = time.perf_counter()

    def lock_file(self, fd, operation):
        if operation == LOCK_UN:
            self.held.append(time.perf_counter() - self._start)
        self._coordinator.lock_file(fd, operation)

    def __getattr__(self, name):
        return getattr(self._coordinator, name)


def uncached_gets(store, names, calls=20_000):
    chosen = [names[number] for number in order(len(names), calls)]

    def run(get=store.get):
        for name in chosen:
            get(name)

    return run


def million(directory, progress):
    """Growth from 10,000 to 1,000,000 keys, and what depends on that many."""
    small, large = keys(10_000), keys(1_000_000)
    with open_store("small", directory=directory, cache_entries=0) as few, open_store(
        "large", directory=directory, cache_entries=0, max_size=1 << 31
    ) as many:
        few.update(zip(small, VALUES))
        many.update(zip(small, VALUES))
        writer = many._engine.writer
        plain, timer = writer.coordinator, HoldTimer(writer.coordinator)
        writer.coordinator = timer
        start = time.perf_counter()
        for number in range(10_000, 1_000_000):
            many[large[number]] = VALUES[number % 10_000]
            if number % 20_000 == 0:
                progress(f"growing to {number:,} keys")
        taken = time.perf_counter() - start
        writer.coordinator = plain
        timer.held.sort()
        longest = timer.held[-1] * 1e3
        detail = f"p99.99 {timer.held[-100] * 1e3:.2f} ms; insert {micros(taken, 990_000):.1f} µs on average"
        yield Figure("longest hold of the writer lock, 10,000 to 1,000,000 keys", longest, 20, "ms", detail)
        mine, other = best_of(uncached_gets(many, large), uncached_gets(few, small), 7)
        detail = f"{micros(mine, 20_000):.2f} µs / {micros(other, 20_000):.2f} µs"
        yield Figure("uncached get, 1,000,000 keys / 10,000 keys", mine / other, 1.4, "", detail)
        progress("killing writers")
        times = sorted(repairs(directory, many))
        detail = f"{len(times)} kills, median {statistics.median(times):.2f} ms"
        yield Figure("repair after a kill, 1,000,000 keys", times[-1], 20, "ms", detail)
        progress("rebuilding")
        start = time.perf_counter()
        many.repair()
        yield Figure("full rebuild, 1,000,000 keys", time.perf_counter() - start, 5, "s", "repair()")
        problems = many.check()
        if problems:
            raise SystemExit(f"the store is damaged: {problems}")


def write_for_ever(directory, name, first):
    with open_store(name, directory=directory) as store:
        first.send(None)
        number = 0
        while True:
            number += 1
            store[f"lib.movie.{number * 7919 % 1_000_000:07d}"] = value(number)


def repairs(directory, store, wanted=10):
    """Milliseconds of the first write after a writer was killed inside, `wanted` times."""
    words = store._engine.region.words
    spawn = multiprocessing.get_context("spawn")
    times = []
    while len(times) < wanted:
        ours, theirs = spawn.Pipe()
        child = spawn.Process(target=write_for_ever, args=(directory, "large", theirs), daemon=True)
        child.start()
        ours.recv()
        time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        if words[layout.DIRTY]:
            start = time.perf_counter()
            store["after the kill"] = 1
            times.append((time.perf_counter() - start) * 1e3)
    return times


# --- start-up --------------------------------------------------------------------------------------------
IMPORT = "import time; t = time.perf_counter(); import ipcdatastore; print((time.perf_counter() - t) * 1e3)"
OPEN = (
    "import sys, time, ipcdatastore; t = time.perf_counter(); ipcdatastore.open('start', directory=sys.argv[1]); "
    "print((time.perf_counter() - t) * 1e3)"
)


def start_up(directory):
    with open_store("start", directory=directory) as store:
        store["key"] = 1
    yield _script("import ipcdatastore", 10, IMPORT)
    yield _script("open an existing region, first in its process", 2, OPEN, str(directory))


def _script(name, limit, code, *arguments):
    # Compiled once, like every installed package; the first process, not counted, sees to that.
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times = []
    for _ in range(16):
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
        times.append(float(result.stdout))
    times = sorted(times[1:])
    detail = f"median of 15 fresh processes; best {times[0]:.2f}, worst {times[-1]:.2f}"
    return Figure(name, statistics.median(times), limit, "ms", detail)


# --- two readers -----------------------------------------------------------------------------------------
def read_for(directory, seconds, barrier, result):
    names = keys(10_000)
    chosen = [names[number] for number in order(10_000, 20_000, seed=os.getpid())]
    with open_store("readers", directory=directory) as store:
        get = store.get
        for name in chosen:
            get(name)
        barrier.wait()
        reads = 0
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for name in chosen[:2000]:
                get(name)
            reads += 2000
        result.put(reads / seconds)


def two_readers(directory, rounds=5):
    with open_store("readers", directory=directory) as store:
        store.update(zip(keys(10_000), VALUES))
    spawn = multiprocessing.get_context("spawn")

    def throughput(count):
        barrier, result = spawn.Barrier(count), spawn.Queue()
        readers = [spawn.Process(target=read_for, args=(directory, 0.7, barrier, result)) for _ in range(count)]
        for reader in readers:
            reader.start()
        rates = [result.get() for _ in readers]
        for reader in readers:
            reader.join()
        return sum(rates)

    pairs = [(throughput(1), throughput(2)) for _ in range(rounds)]
    one, two = max(a for a, _ in pairs), max(b for _, b in pairs)
    detail = f"{two / 1e6:.2f} M reads/s / {one / 1e6:.2f} M reads/s"
    return Figure("two reader processes / one, throughput", two / one, 1.8, "", detail, at_least=True)
