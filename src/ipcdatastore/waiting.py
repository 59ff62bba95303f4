"""Waiting for the region to change: woken where the system can, polling where it cannot, never longer than a tick.

Whoever waits first loads ``CHANGE``, then looks at what he waits for, then sleeps only if ``CHANGE`` is still
the same: a write in between is not slept through. Before he sleeps he raises ``ALERT``, under the writer lock, so
that writers ring; where the lock is not to be had at once he polls. A writer that dies after its publish rings nobody:
every sleep ends with a tick, and whoever waits looks again at the state itself.
"""

from __future__ import annotations

import time
from zlib import crc32

from .errors import DatastoreError
from .frame import ALERT_SECONDS, key_bit
from .layout import CHANGE
from .platform import fence, look_up, now_ns

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Optional, Tuple

    from .engine import Engine

TICK = 0.1
FIRST_PAUSE = 0.0005
LONGEST_PAUSE = 0.016  # between two looks of who polls
QUIET = 1.0  # seconds without a change, after which
QUIET_PAUSE = 0.045  # he looks less often
EVER = float("inf")


class Doze:
    """How one waiter of a handle sleeps."""

    __slots__ = ("_asked", "_bits", "_changed", "_engine", "_pause")

    def __init__(self, engine: Engine, bits: int) -> None:
        self._engine = engine
        self._bits = bits
        self._asked = -EVER  # when writers were last asked to ring
        self._pause = FIRST_PAUSE
        self._changed = time.monotonic()  # when something was last seen to change

    def change(self) -> int:
        """The word to look at before looking at anything else."""
        seen = self._engine.moment()[0]
        fence()
        return seen

    def sleep(self, seen: int, seconds: float) -> None:
        """Sleep until the region may have changed since `seen`, for at most `seconds`, and at most a tick."""
        look_up()
        seconds = min(seconds, TICK)
        bell = self._engine.writer.bell()
        if bell is not None and self._ask():
            bell.wait(seen, seconds, self._bits)
            return
        words = self._engine.region.words
        until = time.monotonic() + seconds
        while words[CHANGE] == seen:  # nothing else is looked at before something was written, or the tick is over
            time.sleep(min(seconds, self._pause))
            now = time.monotonic()
            self._pause = min(self._pause * 1.5, LONGEST_PAUSE if now - self._changed < QUIET else QUIET_PAUSE)
            seconds = until - now
            if seconds < self._pause:
                return  # a tick that is short: waking up costs more than looking
        self._pause = FIRST_PAUSE
        self._changed = time.monotonic()

    def _ask(self) -> bool:
        """Have writers ring, if nobody writes just now. Whether they do."""
        now = time.monotonic()
        if now - self._asked < ALERT_SECONDS / 2:
            return True
        try:
            if self._engine.writer.alert(watching=False) is None:
                return False
        except DatastoreError:  # damaged, or removed: whoever looks next finds out
            return False
        self._asked = now
        return True


def deadline_of(timeout: Optional[float]) -> float:
    """The moment of ``time.monotonic`` when so many seconds have passed."""
    return EVER if timeout is None else time.monotonic() + timeout


class Vigil:
    """What is waited for: that a key has another version than `since` (None: than it has at the first look)."""

    __slots__ = ("_deadline", "_engine", "_key", "_since")

    def __init__(self, engine: Engine, key: bytes, since: Optional[int], timeout: Optional[float]) -> None:
        self._engine = engine
        self._key = key
        self._since = since
        self._deadline = deadline_of(timeout)

    def look(self) -> Tuple[bool, Optional[int], float]:
        """(whether it is over, the version or None after the time-out, seconds until there may be something to see)."""
        record = self._engine.get(self._key)
        version = 0 if record is None else record.version
        if self._since is None:
            self._since = version
        if version != self._since:
            return True, version, 0.0
        left = self._deadline - time.monotonic()
        if left <= 0:
            return True, None, 0.0
        if record is not None and record.expires_ns:
            left = min(left, max(record.expires_ns - now_ns(), 0) / 1e9 + 0.0001)
        return False, None, left


def wait(engine: Engine, key: bytes, since: Optional[int], timeout: Optional[float]) -> Optional[int]:
    """The version of `key` once it differs from `since` (None: from what it is now); None after `timeout` seconds."""
    vigil = Vigil(engine, key, since, timeout)
    doze = Doze(engine, key_bit(crc32(key)))
    while True:
        seen = doze.change()
        over, version, left = vigil.look()
        if over:
            return version
        doze.sleep(seen, left)
