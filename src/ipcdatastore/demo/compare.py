"""The same look-ups, by as many processes, in the store and in a ``multiprocessing.Manager().dict()``."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import threading
import time
from multiprocessing.managers import SyncManager
from statistics import mean, median
from typing import Any, Callable, Dict, List

from ipcdatastore import Datastore

from .crew import CONTEXT, Crew, settle, undisturbed
from .figures import Comparison
from .place import Board, DemoError, Place

MOST_RECORDS = 20_000
SPAN = 1.0  # seconds for each of the two
BATCH = 64
START_WITHIN = 20.0


def look_up(place: Place, board: Board, keys: List[str], seed: int, seconds: float, shared: Any) -> None:
    """One process's look-ups: in `shared`, the manager's dict, or in the store if that is None."""
    store = place.open("records", "r") if shared is None else None
    get = shared.get if store is None else store.get
    stream = random.Random(seed).choices(keys, k=1 << 15)
    expect(get(stream[0]), stream[0])  # connected, and what it cost to connect does not count
    board.report(None)
    while not board.get("go"):
        time.sleep(0.001)
    reads, batches = 0, []
    begun = now = time.perf_counter()
    while now - begun < seconds:
        at = reads % (len(stream) - BATCH)
        for key in stream[at : at + BATCH]:
            record = get(key)
            if record is None or record["path"] != key:
                expect(record, key)
        reads += BATCH
        before, now = now, time.perf_counter()
        batches.append(now - before)
    board.report((reads, median(batches) / BATCH))
    if store is not None:
        store.close()


def expect(record: Any, key: str) -> None:
    """The answer is the record of that file."""
    if record is None or record["path"] != key:
        raise DemoError(f"looking up {key!r} gave {record!r}")


def sample(store: Datastore) -> Dict[str, Any]:
    """The records to be looked up: all, or as many as are sent to a manager in a second."""
    keys = [key for key in store if type(key) is str]
    if len(keys) > MOST_RECORDS:
        keys = random.Random(0).sample(keys, MOST_RECORDS)
    return {key: store[key] for key in keys}


def begin_manager() -> None:
    """Run in the manager's process, which otherwise would outlive a director that was killed."""
    settle()
    threading.Thread(target=_end_with_director, daemon=True).start()


def _end_with_director() -> None:
    director = multiprocessing.parent_process()
    if director is not None:
        director.join()
        os._exit(1)


def compare(
    place: Place, board: Board, crew: Crew, figures: Comparison, seconds: float, tell: Callable[[], None]
) -> None:
    """Both, one after the other."""
    begun = time.perf_counter()
    with place.open("records", "r") as store:
        records = sample(store)
    figures.records = len(records)
    seconds = min(SPAN, seconds)
    if records:
        figures.store_reads, figures.store_us = race(board, crew, figures.processes, list(records), seconds, None, tell)
        tell()
        manager = SyncManager(ctx=CONTEXT)
        with contextlib.ExitStack() as stack:
            with undisturbed():
                manager.start(begin_manager)
                stack.callback(manager.shutdown)
            shared = manager.dict(records)
            figures.manager_reads, figures.manager_us = race(
                board, crew, figures.processes, list(records), seconds, shared, tell
            )
    figures.seconds = time.perf_counter() - begun


def race(
    board: Board, crew: Crew, processes: int, keys: List[str], seconds: float, shared: Any, tell: Callable[[], None]
) -> Any:
    """All processes at once: look-ups in all, and µs that one took.

    Of each process the median of batches counts: what the system gives to others is no part of either store.
    """
    roles = [("comparing reader", number) for number in range(1, processes + 1)]
    board.set("go", False)
    for role in roles:
        board.set(role, "starting")
        crew.start(role, look_up, keys, role[1], seconds, shared)
    until = time.monotonic() + START_WITHIN
    while any(board.get(role) == "starting" for role in roles):
        crew.watch()
        tell()
        if time.monotonic() > until:
            raise DemoError(f"the comparing readers did not start within {START_WITHIN:g} s")
        time.sleep(0.01)
    board.set("go", True)
    while crew.watch():
        tell()
        time.sleep(0.02)
    results = [board.get(role) for role in roles]
    crew.stop()
    return sum(reads for reads, _ in results), mean(seconds for _, seconds in results) * 1e6
