"""What one process does for a region that all use: write images in time, take back the space of what has expired.

Whoever holds the service lock (a file lock beside the region, which ends with its holder) does it: a service, or
any opener that wants the store kept. Everybody else just uses the region, and takes over when the lock is free.

The work comes in single steps: :meth:`Upkeep.tick` does what is due and says when to come again. Nothing here sleeps.
"""

from __future__ import annotations

import heapq
import time

from . import flush, index, platform
from .errors import DatastoreError, LockTimeoutError, RegionNotFoundError
from .layout import (
    CHANGE,
    COUNT,
    EXPIRING,
    FLUSHED_LONG,
    RECORD,
    SLOT_CELL,
    UNIT,
    VERSION_LONG,
    WORD_CELL,
)
from .lockfile import LockFile
from .snapshot import find_differences

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Tuple

    from .engine import Engine

LOCK_SUFFIX = ".service.lock"
DEFAULT_INTERVAL = 60.0  # seconds
LONGEST_TICK = 1.0
MOST_LEARNED = 20_000  # changed slots looked at in one tick
MOST_EXPIRED = 500  # records deleted in one tick
RETRY = 5.0  # seconds before an image that could not be written is tried again


class Expiry:
    """When records expire: learned from the slots whose words have changed since the last look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: Dict[int, bytes] = {}  # words of each chunk's slots at the last look
        self._unread: List[int] = []  # slots that changed and were not looked at yet
        self._due: List[Tuple[int, int, int]] = []  # heap of (expiry, slot, word)
        self._seen = -1

    def tick(self) -> Optional[float]:
        """Delete what has expired. Seconds until the next record does, 0 if there is more to do, None for never."""
        self._learn()
        now = platform.now_ns()
        expire = self._engine.writer.expire
        for _ in range(MOST_EXPIRED):
            if not self._due or self._due[0][0] > now:
                break
            _, slot, word = self._due[0]
            expire(slot, word)  # if the lock cannot be had, it is still due
            heapq.heappop(self._due)
        if self._unread:
            return 0.0
        return max(0.0, (self._due[0][0] - now) / 1e9) if self._due else None

    def _learn(self) -> None:
        region = self._engine.region
        region.follow()
        words = region.words
        if not words[EXPIRING]:  # nothing to know; what changes meanwhile differs from what is known
            self._due.clear()
            return
        if len(self._due) > 2 * words[COUNT] + 1000:  # most are of records that were written again
            self._due, self._known = [], {}
            self._seen = -1
        change = words[CHANGE]
        if change != self._seen:
            self._seen = change
            for first, new in index.slot_words(words):
                old = self._known.get(first) or bytes(len(new))
                if old != new:
                    find_differences(old, new, first, self._unread)
                self._known[first] = new
        for slot in self._unread[:MOST_LEARNED]:
            word = words[slot]
            block = words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]
            # No seal is asked for: what is torn is not deleted, since that happens under the lock, by this very word.
            if block and (block + 3) * UNIT <= len(region.data):
                expires = RECORD.unpack_from(region.data, block * UNIT)[7]
                if expires:
                    heapq.heappush(self._due, (expires, slot, word))
        del self._unread[:MOST_LEARNED]


class Upkeep:
    """The duties of whoever holds the service lock of a region."""

    def __init__(self, engine: Engine, interval: Optional[float] = None, lock: Optional[LockFile] = None) -> None:
        self.engine = engine
        self.interval = DEFAULT_INTERVAL if interval is None else interval
        self.lock = lock or LockFile(engine.path + LOCK_SUFFIX, engine.options.timeout)
        self.lost = False  # the region was removed: there is nothing to look after any more
        self.problem: Optional[DatastoreError] = None  # why the last image could not be written
        self.on_problem: Callable[[DatastoreError], None] = lambda problem: None
        self._last = flush.Last()
        self._expiry = Expiry(engine)
        self._unflushed_since: Optional[float] = None
        self._not_before = 0.0

    def begin(self) -> bool:
        """Take over, if nobody else has the lock. Whether these duties are this process's now."""
        return self.lock.held or self.lock.try_acquire()

    def tick(self) -> float:
        """Do what is due. Seconds until there may be something to do again."""
        self.engine.check_open()
        # Of a region that was removed, nobody wants images; and whoever made another waits for this lock.
        try:
            self.engine.region.check_place(time.time_ns())
        except RegionNotFoundError:
            self.lost = True
            raise
        pause = LONGEST_TICK
        try:
            due = self._expiry.tick()
        except LockTimeoutError as error:  # a writer that is suspended: no reason to end
            self.fail(error)
            return pause
        if due is not None:
            pause = min(pause, due)
        now = time.monotonic()
        if not self.is_unflushed():
            self._unflushed_since = self.problem = None
            return pause
        if self._unflushed_since is None:
            self._unflushed_since = now
        left = max(self._unflushed_since + self.interval, self._not_before) - now
        if left > 0:
            return min(pause, left)
        self.flush()
        return min(pause, LONGEST_TICK)

    def is_unflushed(self) -> bool:
        """Whether something was written since the last image."""
        longs = self.engine.region.longs
        return bool(longs[VERSION_LONG] != longs[FLUSHED_LONG])

    def flush(self) -> Optional[str]:
        """Write an image now. Its path; None if there is nothing to keep, or it could not be written (`problem`)."""
        try:
            path = flush.flush(self.engine, self._last)
        except DatastoreError as error:
            self._not_before = time.monotonic() + RETRY
            self.fail(error)
            return None
        self.problem = None
        self._unflushed_since = None
        if path is None:  # nothing is persistent: not to be asked at every tick
            self._not_before = time.monotonic() + self.interval
        return path

    def fail(self, problem: DatastoreError) -> None:
        """Tell whoever wants to know."""
        self.problem = problem
        self.on_problem(problem)

    def end(self) -> None:
        """Write what is not written yet, and let the next one take over; not if it is interrupted before it has."""
        if not self.lock.held:
            return
        if not (self.lost or self.engine.closed) and self.is_unflushed():
            self.flush()
        self.lock.release()
