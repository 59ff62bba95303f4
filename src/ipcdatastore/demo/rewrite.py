"""The writer that rewrites records while they are read, at a steady rate."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any, Dict, List

from ipcdatastore import Datastore

from .figures import Rewriting
from .place import Board, Place

PAIR = [("pair", "left"), ("pair", "right")]
REWRITTEN = 16  # of the hot records
PER_ROUND = 10
ROUND = 0.01  # seconds: 1,000 writes per second


def bump(record: Dict[str, Any]) -> Dict[str, Any]:
    """The record, one revision on."""
    record["revision"] += 1
    return record


def rewrite(place: Place, board: Board, seed: int) -> None:
    """The whole of this writer's work. What it did is on the board at the end, for the verification."""
    store = place.open("records")
    draw = random.Random(seed)
    figures = Rewriting()
    revisions: Dict[str, int] = Counter()
    begun = recent_time = next_round = time.perf_counter()
    recent_writes = 0
    while not board.stopping():
        hot = [key for key in (board.get("hot") or ())[:REWRITTEN] if key in store]
        if hot:
            write_round(store, draw.choices(hot, k=PER_ROUND - 1), figures, revisions)
        if board.due():
            now = time.perf_counter()
            figures.recent_per_second = (figures.writes - recent_writes) / (now - recent_time)
            recent_writes, recent_time = figures.writes, now
            figures.seconds = now - begun
            board.report(figures)
        next_round = max(next_round + ROUND, time.perf_counter() - ROUND)  # late is late: no burst to catch up
        time.sleep(max(0.0, next_round - time.perf_counter()))
    figures.seconds = time.perf_counter() - begun
    board.set("revisions", (dict(revisions), figures.transactions))
    board.report(figures)
    store.close()


def write_round(store: Datastore, keys: List[str], figures: Rewriting, revisions: Dict[str, int]) -> None:
    """Some records, each by an atomic change, and the pair, in one transaction."""
    clock = time.perf_counter_ns
    for key in keys:
        started = clock()
        store.modify(key, bump)
        figures.latency.add(clock() - started)
        revisions[key] += 1
    started = clock()
    with store.transaction() as both:
        for side in PAIR:
            both[side] = figures.transactions + 1
    figures.latency.add(clock() - started)
    figures.transactions += 1
    figures.writes += len(keys) + 1
