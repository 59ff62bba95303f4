"""``python -m torture``, from this directory: writers killed at random, for hours if need be, with a running tally.

Each *life* is a region of its own: victims (``test_kill``) die in it one after the other, while two survivors write and
verify keys of their own, or, in every third life, while the region is full and evicts. After each kill this process
does an operation (how long the dead kept it waiting is the tally's "went on"), and compares all that the victims wrote
with what they had acknowledged; where a key is missing that nobody deleted, its eviction must have been announced. The
run ends with 1 at the first fault, which its seed repeats, as far as moments can be repeated.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import ipcdatastore
from children import crew
from conftest import MEMORY, has_memory_directory
from ipcdatastore.layout import DIRTY
from test_kill import kill_one, replay, survivor

LIFE = 50  # kills in one region
LIFE_AT_MOST = 80  # seconds; children have a fuse
FULL = 1 << 20  # bytes of a region that evicts
BATCH = 20000
KEYS = [("victim", number) for number in range(40)] + [("victim", "counter", number) for number in range(3)]


class WrongError(Exception):
    """Something acknowledged is lost, or something is there that nobody wrote."""


class Tally:
    def __init__(self):
        self.begun = time.monotonic()
        self.kills = self.inside = self.acknowledged = 0
        self.checks = self.compared = self.evictions = self.survived = 0
        self.waits = []

    def figures(self):
        waits = sorted(self.waits) or [0.0]
        return {
            "seconds": round(time.monotonic() - self.begun, 1),
            "kills": self.kills,
            "inside a write": self.inside,
            "operations acknowledged": self.acknowledged,
            "operations of survivors": self.survived,
            "keys compared": self.compared,
            "checks": self.checks,
            "evictions announced": self.evictions,
            "went on, median ms": round(1000 * statistics.median(waits), 2),
            "went on, p99 ms": round(1000 * waits[int(0.99 * (len(waits) - 1))], 2),
            "went on, worst ms": round(1000 * waits[-1], 2),
            "waits over a second": sum(wait > 1 for wait in waits),
        }


class Screen:
    """One line that is written anew in a terminal; a line now and then where it goes into a file."""

    def __init__(self, goal):
        self.goal = goal
        self.live = sys.stderr.isatty()
        self.shown = 0.0

    def show(self, tally, *, last=False):
        now = time.monotonic()
        if not last and now < self.shown + (0.2 if self.live else 15):
            return
        self.shown = now
        figures = tally.figures()
        text = (
            f"{figures['seconds']:7.0f} s  {tally.kills:6,}{self.goal} kills  {tally.inside:,} inside a write  "
            f"{tally.acknowledged:,} operations acknowledged  0 lost  worst wait {figures['went on, worst ms']:.0f} ms"
        )
        sys.stderr.write("\r" + text + "\033[K" * self.live + "\n" * (last or not self.live))
        sys.stderr.flush()


def probe(store, tally):
    """The first operation after a kill: how long it takes is how long the dead one is in the way."""
    begun = time.perf_counter()
    store.increment(("torture", "probe"))
    tally.waits.append(time.perf_counter() - begun)


def fill(store, keys):
    for first in range(0, keys, BATCH):
        store.set_many({("filler", number): number for number in range(first, min(first + BATCH, keys))})


def life_with_survivors(directory, rng, kills, keys, tally, screen):
    """Survivors never notice; nothing acknowledged is lost, nothing half done is seen."""
    repairing = keys < BATCH  # a rebuild of a million keys takes seconds, and is no write
    with crew() as start, ipcdatastore.open("region", directory=directory, timeout=60) as store:
        fill(store, keys)
        ends = time.monotonic() + LIFE_AT_MOST
        others = [start(survivor, directory, number) for number in range(2)]
        for other in others:
            assert other.hear() == "ready"
        model = {}
        for _ in range(kills):
            if time.monotonic() > ends:
                break
            seed, done = kill_one(start, directory, rng, False, repairing=repairing)
            tally.inside += store._engine.region.words[DIRTY] != 0
            probe(store, tally)
            before, after, under_way = replay(model, seed, False, done, repairing)
            found = store.get_many(KEYS)
            if found not in (before, after):
                raise WrongError(
                    f"seed {seed}, {done} acknowledged, {under_way[0]} under way: {differs(found, before)}"
                )
            model = found
            tally.kills += 1
            tally.acknowledged += done
            tally.compared += len(KEYS)
            if keys < BATCH:
                verify(store, tally)
            alive = store[("survivors", "shared")]
            while store[("survivors", "shared")] == alive:  # they go on
                for other in others:
                    if other.process.poll() is not None:
                        raise WrongError("a survivor ended:\n" + other._complaint())
                time.sleep(0.001)
            screen.show(tally)
        store["end"] = True
        counts = [other.finish()[-1] for other in others]
        if store[("survivors", "shared")] != sum(counts):
            raise WrongError(f"{sum(counts)} increments were acknowledged, {store[('survivors', 'shared')]} are there")
        tally.survived += sum(counts)
        for first in range(0, keys, BATCH):
            chosen = [("filler", number) for number in range(first, min(first + BATCH, keys))]
            if store.get_many(chosen) != {key: key[1] for key in chosen}:
                raise WrongError(f"of the keys {chosen[0]} to {chosen[-1]} some are gone, or changed")
        tally.compared += keys
        verify(store, tally)


def life_with_eviction(directory, rng, kills, tally, screen):
    """What is there is what was written last; what is not there was deleted, or its eviction announced."""
    with crew() as start, contextlib.ExitStack() as stack:
        options = {"directory": directory, "timeout": 60}
        store = stack.enter_context(ipcdatastore.open("region", max_size=FULL, evict="lru", **options))
        events = stack.enter_context(store.watch(timeout=0))
        for number in range(120):
            store[("filler", number)] = b"f" * 8000
        model = {}
        for _ in range(kills):
            for _ in events:
                pass
            seed, done = kill_one(start, directory, rng, False, True)
            tally.inside += store._engine.region.words[DIRTY] != 0
            probe(store, tally)
            before, after, under_way = replay(model, seed, False, done)
            found = store.get_many(KEYS)
            happened = list(events)
            overflow = any(event.kind == "overflow" for event in happened)
            evicted = {event.key for event in happened if event.kind == "evict"}
            tally.evictions += len(evicted)
            for key in KEYS:
                if "counter" in key:  # begins anew where it was evicted
                    right = key not in found or found[key] <= max(before.get(key, 0), after.get(key, 0))
                elif key in found:
                    right = found[key] in (before.get(key), after.get(key))
                else:
                    right = key not in before or key not in after or key in evicted or overflow
                if not right:
                    raise WrongError(
                        f"seed {seed}, {done} acknowledged, {under_way[0]} under way: {key} {found.get(key)!r:.60}"
                    )
            model = found
            tally.kills += 1
            tally.acknowledged += done
            tally.compared += len(KEYS)
            verify(store, tally)
            screen.show(tally)


def differs(found, model):
    keys = [key for key in KEYS if found.get(key) != model.get(key)]
    return ", ".join(f"{key}: {found.get(key)!r:.60} for {model.get(key)!r:.60}" for key in keys[:3])


def verify(store, tally):
    problems = store.check()
    tally.checks += 1
    if problems:
        raise WrongError(f"check() says {problems[:3]}")


def run(arguments):
    """(tally, what was wrong)"""
    run_seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    tally = Tally()
    screen = Screen("" if arguments.minutes else f" of {arguments.kills:,}")
    ends = tally.begun + 60 * arguments.minutes if arguments.minutes else None
    number = 0
    try:
        while tally.kills < arguments.kills if ends is None else time.monotonic() < ends:
            rng = random.Random(f"{run_seed}-{number}")
            kills = LIFE if ends else min(LIFE, arguments.kills - tally.kills)
            directory = Path(tempfile.mkdtemp(prefix="torture-", dir=MEMORY if has_memory_directory() else None))
            try:
                if number % 3 == 2 and not arguments.keys:
                    life_with_eviction(directory, rng, kills, tally, screen)
                else:
                    life_with_survivors(directory, rng, kills, arguments.keys, tally, screen)
            finally:
                shutil.rmtree(str(directory), ignore_errors=True)
            number += 1
    except (WrongError, AssertionError) as error:
        return run_seed, tally, f"life {number}: {error}"
    finally:
        screen.show(tally, last=True)
    return run_seed, tally, ""


def main():
    parser = argparse.ArgumentParser(prog="torture", description="Kill writers at random; verify what they had said.")
    parser.add_argument("--kills", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=0, help="or for how long")
    parser.add_argument("--keys", type=int, default=0, help="other keys that are in each region (try 1000000)")
    parser.add_argument("--seed", type=int, help="of an earlier run")
    parser.add_argument("--json", action="store_true", help="print the tally as JSON")
    arguments = parser.parse_args()
    seed, tally, wrong = run(arguments)
    figures = dict({"seed": seed, "keys": arguments.keys}, **tally.figures(), wrong=wrong)
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, figure in figures.items():
            print(
                f"{name:>26}  {figure:,}" if isinstance(figure, (int, float)) else f"{name:>26}  {figure or 'nothing'}"
            )
    return bool(wrong)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
