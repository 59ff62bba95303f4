"""The event log: a ring of what was published, in order, for whoever watches.

Entries lie one behind the other, each sealed by a CRC over its position and everything in it. A writer
stores the entry at ``LOG_HEAD`` *before* its publish and moves ``LOG_HEAD`` past it *after*; if it dies in
between, the next holder of the lock sees by the entry's version that it belongs to the publish, and moves
the head: no event is lost with its writer, and none appears that did not happen. An event may be
entered twice after a death in a transaction; versions only grow along the log, so whoever reads it skips
an entry that is not above the last.

Nothing is logged unless somebody watches (``ALERT``); ``LOG_BREAKS`` grows when that ends, so a watcher
that slept through it knows. Whoever reads the ring takes no lock: an entry that was overwritten does not fit
its seal.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from zlib import crc32

from . import heap
from .errors import RegionDamagedError
from .layout import (
    BLOCK_HEADER_WORDS,
    EVENT,
    EVENT_OVERFLOW,
    EVENT_SIZE,
    LOG,
    LOG_BREAKS,
    LOG_HEAD,
    LOG_SHARE,
    LOG_UNITS,
    LOG_UNITS_MIN,
    MAX_SIZE_LONG,
    SYSTEM_LOG,
    TAG_SYSTEM,
    UNIT,
    size_class,
)
from .platform import fence

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Iterable, NamedTuple, Optional, Tuple

    class Event(NamedTuple):
        """An entry of the log."""

        kind: int
        version: int
        key: bytes
        following: int  # the position behind it

else:
    Event = namedtuple("Event", "kind version key following")

HEADER = BLOCK_HEADER_WORDS * 4 // UNIT  # units before the ring
POSITIONS = 0xFFFFFFFF
ATTEMPTS = 8


class Overrun(Exception):  # noqa: N818 - a signal, not an error
    """The entry was overwritten before it was read."""


# --- the block -------------------------------------------------------------------------------------------
def ring_units(region: Any) -> int:
    """How large a new ring is: a power of two, at most one part in 64 of what the region may grow to."""
    share = int(region.longs[MAX_SIZE_LONG]) // UNIT // LOG_SHARE
    return max(LOG_UNITS_MIN, min(LOG_UNITS, 1 << share.bit_length() - 1 if share else 0))


def block_units(capacity: int) -> int:
    """Units of the block that holds a ring of so many."""
    return size_class(HEADER + capacity)[1]


def plan_block(plan: heap.Plan, region: Any, capacity: int, limit: int, *, inside: bool) -> bool:
    """Plan to have a log, in front of the unit `limit` if it may be `inside`, else behind it. False: no room."""
    units = block_units(capacity)
    block = heap.carve(plan, units, min(region.units, limit)) if inside else 0
    block = block or heap.carve_behind(plan, units, limit, region.units)
    if not block:
        return False
    plan[4 * block] = units << 2 | TAG_SYSTEM
    plan[4 * block + 1] = SYSTEM_LOG
    plan[4 * block + 2] = capacity
    plan[4 * block + 3] = 0
    plan[LOG] = block
    # Another log may have been dropped: whoever read that one has missed what happened in between.
    plan[LOG_BREAKS] = region.words[LOG_BREAKS] + 1 & 0xFFFFFFFF
    return True


def ring(region: Any) -> Tuple[int, int]:
    """(byte where the ring begins, its capacity in units). ``RegionDamagedError`` where there is none."""
    words = region.words
    block = words[LOG]
    try:
        first, kind, capacity, _ = words[4 * block : 4 * block + BLOCK_HEADER_WORDS]
    except ValueError:  # beyond the end
        first = kind = capacity = 0
    units = first >> 2
    wrong = kind != SYSTEM_LOG or not capacity or capacity & capacity - 1 or HEADER + capacity > units
    if wrong or block + units > region.units:
        raise RegionDamagedError(
            f"the event log of {region.path} is damaged: its block at unit {block} says {units} units, kind {kind}, "
            f"ring {capacity}; `repair` drops it",
            path=region.path,
            problems=("event log",),
        )
    return (block + HEADER) * UNIT, capacity


def usable(region: Any) -> bool:
    """Whether there is a log, and it is whole."""
    try:
        return region.words[LOG] != 0 and ring(region)[1] > 0
    except RegionDamagedError:
        return False


# --- entries ---------------------------------------------------------------------------------------------
def prepare(region: Any, kind: int, version: int, key: bytes) -> int:
    """Store an entry at the head, where nobody reads yet. The head behind it, to be stored after the publish."""
    start, capacity = ring(region)
    if 4 * len(key) > capacity * UNIT:
        kind, key = EVENT_OVERFLOW, b""
    position = int(region.words[LOG_HEAD])
    body = EVENT.pack(0, position, version, len(key), kind, 0)[4:] + key
    _store(region, start, capacity, position, crc32(body).to_bytes(4, sys.byteorder) + body)
    return position + (4 + len(body) + UNIT - 1) // UNIT & POSITIONS


def announce(region: Any, events: Iterable[Tuple[int, int, bytes]]) -> None:
    """Enter (kind, version, key), each at once."""
    for kind, version, key in events:
        head = prepare(region, kind, version, key)
        fence()  # a reader at the new head must not find what a dead writer left there, half of it from each
        region.words[LOG_HEAD] = head


def read(region: Any, position: int) -> Optional[Event]:
    """The entry at `position`, None if that is the head. ``Overrun`` if it is gone. Takes no lock."""
    start, capacity = ring(region)
    head = region.words[LOG_HEAD]
    if position == head:
        return None
    if (head - position & POSITIONS) > capacity:
        raise Overrun
    fence()  # the head is new: what stands before it must not be older
    for _ in range(ATTEMPTS):
        event = _entry(region, start, capacity, position)
        if event is not None:
            return event
    raise Overrun


def finish(region: Any, version: int) -> None:
    """After a death past the publish of `version`: if its entry was stored, the head moves past it."""
    event = _prepared(region, version)
    if event is not None:
        region.words[LOG_HEAD] = event.following


def void(region: Any, version: int) -> None:
    """After a death before the publish of `version`: if its entry was stored, it never was."""
    if _prepared(region, version) is not None:
        start, capacity = ring(region)
        at = start + (region.words[LOG_HEAD] & capacity - 1) * UNIT
        region.words[at // 4] ^= POSITIONS


def _prepared(region: Any, version: int) -> Optional[Event]:
    if not usable(region):
        return None  # `check` names a damaged one; recovery has more to do than this
    start, capacity = ring(region)
    event = _entry(region, start, capacity, region.words[LOG_HEAD])
    return event if event is not None and event.version == version else None


def _entry(region: Any, start: int, capacity: int, position: int) -> Optional[Event]:
    """What stands at `position`, if it fits its seal."""
    header = _load(region, start, capacity, position, EVENT_SIZE)
    if len(header) < EVENT_SIZE:
        return None  # another thread has just closed the handle
    _, own, _, length, _, _ = EVENT.unpack(header)
    if own != position or EVENT_SIZE + length > capacity * UNIT:
        return None
    entry = _load(region, start, capacity, position, EVENT_SIZE + length)
    # All of it from this one copy: the header above told how much to copy, and may have been half of another entry.
    crc, own, version, again, kind, _ = EVENT.unpack_from(entry.ljust(EVENT_SIZE, b"\0"))
    if own != position or again != length or crc32(entry[4:]) != crc:
        return None
    return Event(kind, version, entry[EVENT_SIZE:], position + (len(entry) + UNIT - 1) // UNIT & POSITIONS)


def _store(region: Any, start: int, capacity: int, position: int, entry: bytes) -> None:
    offset = (position & capacity - 1) * UNIT
    room = capacity * UNIT - offset
    first, rest = entry[:room], entry[room:]
    region.data[start + offset : start + offset + len(first)] = first
    if rest:
        region.data[start : start + len(rest)] = rest


def _load(region: Any, start: int, capacity: int, position: int, length: int) -> bytes:
    offset = (position & capacity - 1) * UNIT
    room = capacity * UNIT - offset
    copy = bytes(region.data[start + offset : start + offset + min(length, room)])
    if length > room:
        copy += region.data[start : start + length - room]
    return copy
