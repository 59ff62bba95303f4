"""The client cache: what this handle has read, validated by one word load, bounded by entries and bytes.

An entry holds as long as its slot's word is the one it was read under: words only grow, and no word ever
vouches for two contents. ``entries`` is the hot path's dict, and the store reads it directly: it holds
only ``str`` keys' values that can be handed out after that one compare. ``records`` holds everything else that
is known about every cached key, under a key that cannot be mistaken (the ``str`` itself, else the canonical
bytes).

When the bounds are reached the entries that came first go first; a hit leaves no trace, which is what
makes it cheap.
"""

from __future__ import annotations

from _thread import allocate_lock

from .reader import Record

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple, Union

DEFAULT_ENTRIES = 100_000
DEFAULT_BYTES = 64 << 20
OVERHEAD = 400  # bytes that an entry costs beside its key and value

if TYPE_CHECKING:
    CacheKey = Union[str, bytes]
    HotEntry = Tuple[str, int, int, Any, Optional[bytes]]  # key, slot, word, value, None; or
    # key, slot, word, decoder, bytes to decode for each caller anew
    Cached = Tuple[Record, Any]  # a record, and the object that `peek` hands out, or NOTHING


class _Nothing:
    """No object was decoded to be shared."""


NOTHING = _Nothing()


class Cache:
    """One handle's cache. Reading the dicts needs no lock; changing them does."""

    __slots__ = ("_loads", "_lock", "bytes", "entries", "max_bytes", "max_entries", "records")

    def __init__(self, max_entries: int, max_bytes: int, loads: Callable[[bytes], Any]) -> None:
        self._loads = loads
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.entries: Dict[str, HotEntry] = {}
        self.records: Dict[CacheKey, Cached] = {}
        self.bytes = 0
        self._lock = allocate_lock()

    def put(self, key: CacheKey, record: Record, value: Any, *, immutable: bool, shared: Any = NOTHING) -> None:
        """Remember a record; `value` is its decoded object, handed out as it is if `immutable`."""
        cost = record.size + OVERHEAD
        if not record.word or cost > self.max_bytes or self.max_entries < 1:
            return
        # A try: a signal handler may come in between, and not to cache is always right.
        if not self._lock.acquire(False):
            return
        try:
            self._drop(key)
            while len(self.records) >= self.max_entries or self.bytes + cost > self.max_bytes:
                try:
                    oldest = next(iter(self.records))
                except (StopIteration, RuntimeError):  # cleared by another thread
                    break
                self._drop(oldest)
            self.bytes += cost
            self.records[key] = (record, value if immutable else shared)
            if type(key) is str and not record.expires_ns:
                self.entries[key] = (
                    (key, record.slot, record.word, value, None)
                    if immutable
                    else (key, record.slot, record.word, self._loads, record.value)
                )
        finally:
            self._lock.release()

    def forget(self, key: CacheKey) -> None:
        """Drop one key, if nobody else is changing the cache: what it holds is checked at each use anyway."""
        if self._lock.acquire(False):
            try:
                self._drop(key)
            finally:
                self._lock.release()

    def clear(self) -> None:
        """Drop everything. Never waits, so that a signal handler may call it."""
        mine = self._lock.acquire(False)
        try:
            self.entries.clear()
            self.records.clear()
            self.bytes = 0
        finally:
            if mine:
                self._lock.release()

    def after_fork(self) -> None:
        """In the child: whoever held the lock is not here."""
        self._lock = allocate_lock()

    def _drop(self, key: CacheKey) -> None:
        old = self.records.pop(key, None)
        if old is not None:
            self.bytes -= old[0].size + OVERHEAD
            self.entries.pop(key, None)  # type: ignore[arg-type]
