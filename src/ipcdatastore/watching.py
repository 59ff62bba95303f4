"""Watching a region: every set, delete, expiry, eviction and clear, once and in order.

A watcher reads the event log (:mod:`log`) at its own pace and without a lock. What it cannot keep up with is
reported as one event, ``overflow``, never left out in silence: the log was overwritten, or this watcher was not
heard of for so long that writers stopped logging (``LOG_BREAKS`` tells). A watcher also repairs what a dead
writer left, since nobody else may come by to announce it.
"""

from __future__ import annotations

import time
from collections import namedtuple

from . import log
from .codec import decode_key, encode_key, tuple_prefix
from .errors import ArgumentError, RegionDamagedError
from .frame import ALERT_SECONDS
from .layout import (
    ALL_KEYS,
    DIRTY,
    EVENT_CLEAR,
    EVENT_DELETE,
    EVENT_EVICT,
    EVENT_EXPIRE,
    EVENT_OVERFLOW,
    EVENT_SET,
    LOG_BREAKS,
    LOG_UNITS,
)
from .waiting import Doze, deadline_of

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

    from .engine import Engine

    class _EventFields(NamedTuple):
        kind: str
        key: Any
        version: int

else:
    _EventFields = namedtuple("Event", "kind key version")

KINDS = {
    EVENT_SET: "set",
    EVENT_DELETE: "delete",
    EVENT_EXPIRE: "expire",
    EVENT_EVICT: "evict",
    EVENT_CLEAR: "clear",
    EVENT_OVERFLOW: "overflow",
}


class Event(_EventFields):
    """What happened: ``"set"``, ``"delete"``, ``"expire"``, ``"evict"``, ``"clear"`` or ``"overflow"``; to which key
    (None for the two last: to all of them), and the version that it has since. After ``"overflow"`` events were lost:
    look at everything again.
    """

    __slots__ = ()


class Watch:
    """The events of a region from the moment of its making on: an iterator, and a context manager.

    Iterating waits for the next event; with a `timeout` it ends after so many seconds without one (iterate again to go
    on). :meth:`poll` never waits. Not to be shared between threads.
    """

    def __init__(self, engine: Engine, namespace: Tuple[str, ...], prefix: Any, timeout: Optional[float]) -> None:
        self._engine = engine
        self._depth = len(namespace)
        self._prefix = prefix
        self._start = tuple_prefix(namespace) if namespace else _start_of(prefix)
        _start_of(prefix)  # refuses what is none
        self._timeout = timeout
        self._doze = Doze(engine, ALL_KEYS)
        self.closed = False
        self._begin(patient=True)

    # --- for users -----------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.next(self._timeout)
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: Optional[float] = None) -> Optional[Event]:
        """The next event; None after `timeout` seconds without one (None: never), and at once from a closed watch."""
        deadline = deadline_of(timeout)
        while not self.closed:
            seen = self._doze.change()
            event = self.take()
            if event is not None:
                return event
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._doze.sleep(seen, left)
        return None

    def poll(self) -> List[Event]:
        """The events that are there already. For a host that owns its loop."""
        events: List[Event] = []
        while not self.closed and len(events) < LOG_UNITS:  # also of writers who never end
            event = self.take()
            if event is None:
                break
            events.append(event)
        return events

    def close(self) -> None:
        """End the watch. Writers stop logging a few seconds after the last one ended."""
        self.closed = True

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- reading the log -----------------------------------------------------------------------------
    def _begin(self, *, patient: bool) -> bool:
        """Ask writers to log, and begin at what they log next. False if somebody writes just now."""
        beginning = self._engine.writer.alert(watching=True, patient=patient)
        if beginning is None:
            return False
        self._asked = time.monotonic()
        self._position, self._breaks, self._version = beginning
        return True

    def take(self) -> Optional[Event]:
        """The next event that is there already, None if there is none. Never waits."""
        self._engine.moment()  # opens again after a fork, refuses after `close`
        self._look_after()
        region = self._engine.region
        for _ in range(LOG_UNITS):  # more than a log holds: writers who never end do not keep us from looking up
            region.follow()
            if region.words[LOG_BREAKS] != self._breaks:
                return self._overflow()
            try:
                entry = log.read(region, self._position)
            except log.Overrun:
                return self._overflow()
            except RegionDamagedError:
                if region.follow() or region.words[LOG_BREAKS] != self._breaks:
                    continue  # mended meanwhile
                raise
            if entry is None:
                return None
            if region.words[LOG_BREAKS] != self._breaks:  # events before this one may be missing
                return self._overflow()
            self._position = entry.following
            if entry.version <= self._version:
                continue  # entered again after a death
            self._version = entry.version
            event = self._event(entry)
            if event is not None:
                return event
        return None

    def _event(self, entry: log.Event) -> Optional[Event]:
        """The entry as an event; None if it is of a key that was not asked for."""
        if entry.kind == EVENT_OVERFLOW:
            return Event("overflow", None, entry.version)
        if entry.kind == EVENT_CLEAR:
            return Event("clear", None, entry.version)
        if not entry.key.startswith(self._start):
            return None
        key = decode_key(entry.key)
        if self._depth:
            if len(key) != self._depth + 1:  # type: ignore[arg-type]
                return None  # of a namespace below
            key = key[-1]  # type: ignore[index]
            if self._prefix is not None and not encode_key(key).startswith(_start_of(self._prefix)):
                return None
        return Event(KINDS.get(entry.kind, "set"), key, entry.version)

    def _look_after(self) -> None:
        """Go on being heard; and repair, where a writer died."""
        due = time.monotonic() - self._asked > ALERT_SECONDS / 2
        if not due and not self._engine.region.words[DIRTY]:
            return
        if self._engine.writer.alert(watching=True) is not None:
            self._asked = time.monotonic()

    def _overflow(self) -> Optional[Event]:
        """Begin again with the newest, and say so; None, and later, while somebody writes."""
        return Event("overflow", None, self._version) if self._begin(patient=False) else None


def _start_of(prefix: Any) -> bytes:
    """What the canonical bytes of the keys that are asked for begin with."""
    if prefix is None:
        return b""
    if type(prefix) is str:
        return b"s" + prefix.encode("utf-8", "surrogatepass")
    if type(prefix) is bytes:
        return b"b" + prefix
    if type(prefix) is tuple:
        return tuple_prefix(prefix)
    raise ArgumentError(
        f"a prefix is the beginning of str keys, of bytes keys, or the first items of tuples, not {prefix!r}",
        name="prefix",
        value=prefix,
    )
