"""A reader: looks records up at full speed, and looks at each answer.

Four of five look-ups are of a few hot records, some of which are rewritten all the time, the rest of any record.
One look-up of each batch is timed, which costs under 1 % of the batch.
"""

from __future__ import annotations

import random
import time
from typing import Any, List

from ipcdatastore import Datastore

from .figures import Reading
from .place import Board, DemoError, Place
from .rewrite import PAIR

BATCH = 64
STREAM = 1 << 15  # look-ups that are drawn at once, so that drawing them costs little
HOT_SHARE = 0.8
REFRESH = 0.5  # seconds between two looks for new records
PAIR_EVERY = 64  # batches


class Keys:
    """The keys that are there, and what to look up next."""

    def __init__(self, store: Datastore, board: Board, seed: int) -> None:
        self._store = store
        self._board = board
        self._random = random.Random(seed)
        self._known = 0
        self._next = 0.0
        self._stream: List[str] = []
        self._at = 0

    def batch(self) -> List[str]:
        """The next keys to look up; none as long as nothing is stored."""
        if self._at + BATCH > len(self._stream):
            self._refresh()
            self._at = 0
        batch = self._stream[self._at : self._at + BATCH]
        self._at += BATCH
        return batch

    def _refresh(self) -> None:
        """Draw anew, from all keys if there are more than before: going through them takes a while."""
        now = time.monotonic()
        if now >= self._next and len(self._store) != self._known:
            self._known = len(self._store)
            self._all = [key for key in self._store if type(key) is str]
            self._next = now + max(REFRESH, 10 * (time.monotonic() - now))
        if not self._known or not self._all:
            time.sleep(0.005)
            return
        here = set(self._all)
        hot = [key for key in self._board.get("hot") or () if key in here] or self._all[:1]
        draw = self._random
        many = round(STREAM * HOT_SHARE)
        self._stream = draw.choices(hot, k=many) + draw.choices(self._all, k=STREAM - many)
        draw.shuffle(self._stream)


def read(place: Place, board: Board, seed: int) -> None:
    """The whole of a reader's work."""
    store = place.open("records", "r")
    keys = Keys(store, board, seed)
    figures = Reading()
    get, clock = store.get, time.perf_counter_ns
    begun = time.perf_counter()
    recent_reads, recent_time, batches = 0, begun, 0
    while not board.stopping():
        batch = keys.batch()
        if not batch:
            begun = recent_time = time.perf_counter()
            continue
        started = clock()
        record = get(batch[0])
        figures.latency.add(clock() - started)
        expect(record, batch[0])
        for key in batch[1:]:
            record = get(key)
            if record is None or record["path"] != key:
                expect(record, key)
        figures.reads += len(batch)
        batches += 1
        if batches % PAIR_EVERY == 0:
            compare_pair(store, figures)
        if board.due():
            now = time.perf_counter()
            figures.recent_per_second = (figures.reads - recent_reads) / (now - recent_time)
            recent_reads, recent_time = figures.reads, now
            figures.seconds, figures.uncached_reads = now - begun, store.uncached_reads
            board.report(figures)
    figures.seconds, figures.uncached_reads = time.perf_counter() - begun, store.uncached_reads
    board.report(figures)
    store.close()


def expect(record: Any, key: str) -> None:
    """The answer is the record of that file, whole."""
    if record is None:
        raise DemoError(f"the record of {key!r} was not found, though it had been there")
    if record["path"] != key:
        raise DemoError(f"looking up {key!r} gave the record of {record['path']!r}")


def compare_pair(store: Datastore, figures: Reading) -> None:
    """Two values that are always written together are always read together."""
    pair = store.get_many(PAIR)
    if len(pair) not in (0, 2) or len(set(pair.values())) > 1:
        raise DemoError(f"a pair was seen half-written: {pair}")
    figures.reads += 2
    figures.pairs_compared += 1
