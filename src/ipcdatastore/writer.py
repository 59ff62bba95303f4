"""One-key writes in the frame of :mod:`frame`: set and delete."""

from __future__ import annotations

import struct
import time
from zlib import crc32

from . import heap, index
from .codec import KEEP
from .coordinator import Coordinator
from .frame import ALERT_SECONDS, ALERT_SHIFT, Frame, flat
from .heap import Plan
from .intent import PAYLOAD_AT
from .layout import (
    ALERT,
    CHANGE,
    COUNT,
    DIRTY,
    EMPTY,
    EVENT_DELETE,
    EVENT_EXPIRE,
    EVENT_SET,
    EVICT,
    EXPIRING,
    FLAGGED,
    HEADS,
    INTENT,
    LENGTH,
    LOG,
    LOG_BREAKS,
    LOG_HEAD,
    MAX_SIZE_LONG,
    PAGE_UNITS,
    RECORD,
    RECORD_SIZE,
    REPLACE_INTENT,
    SEQ_ONE,
    SEQ_RETIRE,
    SEQ_SHIFT,
    SLOT_CELL,
    SLOT_HASH,
    SLOT_USED,
    STRUCTURE,
    TAG_FREE,
    TOP,
    UNIT,
    VERSION_LONG,
    WORD_CELL,
    list_class,
    record_units,
    size_class,
)
from .platform import LOCK_UN, NEEDS_FENCE, fence, now_ns
from .reader import sealed
from .region import Region
from .space import Space

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Tuple

    Beginning = Tuple[int, int, int]  # LOG_HEAD, LOG_BREAKS, VERSION

ANY = -1  # no condition on the version
MOST_HINTS = 20_000


PACK_REPLACE = struct.Struct(f"={REPLACE_INTENT}I").pack
PACK_REPLACE_SIZE = 4 * REPLACE_INTENT


class Writer(Frame):
    """Writes of one handle. Every method named ``_locked`` needs the writer lock; the others take it."""

    __slots__ = ("hints", "move_locked", "space")

    def __init__(self, region: Region, coordinator: Coordinator) -> None:
        super().__init__(region, coordinator)
        self.space = Space(self)
        self.hints: Dict[bytes, Tuple[int, int, int, int]] = {}  # key -> slot, word, size, flags: what this handle put
        # How a key whose slot is used up gets another. Set by the engine: it is a transaction, which is above.
        self.move_locked: Callable[[bytes, int, bytes, int, int], int]

    # --- set -----------------------------------------------------------------------------------------
    def put(  # noqa: PLR0912, PLR0915 - the steady state in one piece: calls would cost a third of it
        self, key: bytes, kind: int, value: bytes, expires: int = 0, expect: int = ANY, flags: int = KEEP
    ) -> Tuple[int, int]:
        """Store a record. ``(version, 0)``; or ``(0, version found)`` if that is not `expect` (0 = absent).

        The steady state is told here in one piece: a record is replaced by one of the same size class, and
        its block takes the new one's place in the free list. Everything else is :meth:`_put_locked`.
        """
        region = self.region
        if not region.writable:
            raise self.read_only()
        key_length, value_length = len(key), len(value)
        size = RECORD_SIZE + key_length + value_length
        units = (size + 15) >> 4
        number = units
        if units > 64:
            units = self.units_for(size)
            number = list_class(units)
        coordinator = self.coordinator
        if coordinator.thread._is_owned():  # type: ignore[attr-defined]
            coordinator.check_outside()
        try:
            coordinator.take()
            try:
                now = time.time_ns()
                words = region.words
                if (
                    words[DIRTY]  # also of a damaged region: recovery failed, and never came to clear it
                    or words[LENGTH] * PAGE_UNITS != region.units
                    or not region.checked <= now <= region.check_due
                ):
                    self.enter_locked(now)
                    words = region.words
                heard = words[ALERT] and self.is_heard_locked()
                data = region.data
                # Where this handle last put the key: if the slot's word is still that one, nothing changed since.
                hint = self.hints.get(key)
                if hint is not None and words[hint[0]] == hint[1]:
                    slot, word, old_size, kept = hint
                    old = words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]
                else:
                    slot, word, old, old_size, _, kept = index.find(words, data, key, crc32(key, region.header.seed))
                if expect != ANY:
                    found = self.version_at(old)
                    if found != expect:
                        return 0, found
                if flags == KEEP:
                    flags = kept
                if flags and not words[FLAGGED]:
                    words[FLAGGED] = 1
                if word >> SEQ_SHIFT >= SEQ_RETIRE:
                    return self.move_locked(key, kind, value, expires, flags), 0
                old_units = (old_size + 15) >> 4
                if old_units > 64:
                    old_units = record_units(old_size)
                block = words[HEADS + number]
                tag = units << 2 | TAG_FREE
                same = old_units == units and block and words[4 * block] == tag
                # The old record's own expiry matters only where some record has one.
                if not same or (
                    (expires or words[EXPIRING]) and (expires != 0) != (RECORD.unpack_from(data, old * UNIT)[7] != 0)
                ):
                    self.now = now
                    return self._put_locked(key, kind, value, expires, units, flags), 0

                target = (word & ~3) + SEQ_ONE | ~word & WORD_CELL
                longs = region.longs
                version = longs[VERSION_LONG] + 1
                head = HEADS + number
                new, at = 4 * block, 4 * old
                following = words[new + 1]
                payload = PACK_REPLACE(
                    slot, word, version & 0xFFFFFFFF, version >> 32, block, following, old, head, tag
                )
                data[PAYLOAD_AT : PAYLOAD_AT + PACK_REPLACE_SIZE] = payload
                words[INTENT] = crc32(payload)
                words[DIRTY] = mark = self.replace_mark

                longs[VERSION_LONG] = version
                record = RECORD.pack(slot, key_length, kind, flags, value_length, version, now, expires) + key + value
                data[4 * new : 4 * new + size] = record
                cell = slot + SLOT_CELL + 2 * (target & WORD_CELL)
                words[cell] = block
                words[cell + 1] = crc32(record, target)
                words[slot + SLOT_USED] = 1
                if heard:
                    log_head = self.announce_locked(EVENT_SET, version, key)

                if NEEDS_FENCE:
                    fence()
                words[slot] = target  # PUBLISH: readers see the new record from here on
                if NEEDS_FENCE:
                    fence()

                # The old block takes the new one's place at the head of the list.
                words[head] = old
                words[at] = tag
                words[at + 1] = following
                if following:
                    words[4 * following + 2] = old
                if heard:
                    words[LOG_HEAD] = log_head
                    if NEEDS_FENCE:
                        fence()  # whoever sees CHANGE move finds the event
                if words[DIRTY] != mark:
                    raise self.lock_lost()
                words[CHANGE] = words[CHANGE] + 1 & 0xFFFFFFFF
                words[DIRTY] = 0
                if heard:  # already: who waits takes no lock, and to unlock takes a system call
                    self.ring(self.to_wake)
                    self.to_wake = 0
                hints = self.hints
                if len(hints) >= MOST_HINTS:
                    hints.clear()
                hints[key] = (slot, target, size, flags)
                return version, 0
            except BaseException:
                self.inside = False  # of a key that was to move
                self.pinned.clear()
                raise
            finally:
                wake = self.to_wake
                if wake:
                    self.to_wake = 0
                coordinator.lock_file(coordinator.fd, LOCK_UN)
                coordinator.thread.release()
                if wake:
                    self.ring(wake)
        except BaseException as error:
            coordinator.free()
            self.translate(error)
            raise

    def _put_locked(self, key: bytes, kind: int, value: bytes, expires: int, units: int, flags: int) -> int:
        """Any set, with room made and derived words planned as it takes. The version."""
        region = self.region
        hashed = crc32(key, region.header.seed)
        roomy = False
        slot = word = old = old_size = entry = block = 0
        while True:
            words, data = region.words, region.data
            slot, word, old, old_size, entry, _ = index.find(words, data, key, hashed)
            plan = Plan(words)
            block = words[HEADS + size_class(units)[0]]
            undo: List[int] = []
            room = old or roomy or self.space.leaves_reserve(units)
            if room and block and words[4 * block] == units << 2 | TAG_FREE:
                heap.unlink(plan, block)
                undo += (4 * block, units << 2 | TAG_FREE, 4 * block + 1, words[4 * block + 1])
            else:
                block = words[TOP]
                if not roomy or block + units > region.units:
                    roomy = True
                    if self.space.for_record_locked(units, inserting=not old):
                        continue
                plan[TOP] = block + units
            if not old and self.space.for_insert_locked(hashed, entry):
                continue
            break
        had_expiry = False
        aside: Tuple[int, ...] = ()
        if old:
            aside = (slot + SLOT_USED, 1)
            sealed(region, slot, word)  # what is freed must be as long as it says
            heap.push(plan, old, record_units(old_size))
            had_expiry = RECORD.unpack_from(data, old * UNIT)[7] != 0
        else:
            slot = index.take_slot(plan, region)
            word = words[slot]
            undo += (slot + SLOT_HASH, words[slot + SLOT_HASH], entry, words[entry])
            if words[entry] == EMPTY:
                used = index.used_address(words, hashed)
                undo += (used, words[used])
                plan[used] = words[used] + 1
            plan[COUNT] = words[COUNT] + 1
            plan[STRUCTURE] = words[STRUCTURE] + 1 & 0xFFFFFFFF
            # Not marked as used: else the first sweep of a full region would find every record marked.
            aside = (slot + SLOT_USED, 0, slot + SLOT_HASH, hashed, entry, slot)
        if had_expiry != (expires != 0):
            plan[EXPIRING] = words[EXPIRING] + (1 if expires else -1)
        version = int(region.longs[VERSION_LONG] + 1)
        header = RECORD.pack(slot, len(key), kind, flags, len(value), version, self.now, expires)
        record = header + key + value
        self.publish_locked(slot, word, block, record, version, undo, flat(plan), aside, event=EVENT_SET, key=key)
        return version

    # --- delete --------------------------------------------------------------------------------------
    def delete(self, key: bytes, hashed: int, expect: int = ANY) -> Tuple[Optional[bytes], int]:
        """Delete a record. ``(its bytes, version)``; ``(None, version found)`` if absent or not `expect`.

        Needs no room, so it works in a full region.
        """

        def locked() -> Tuple[Optional[bytes], int]:
            words, data = self.region.words, self.region.data
            slot, _, old, size, _, _ = index.find(words, data, key, hashed)
            found = self.version_at(old)
            if not old or (expect not in (ANY, found)):
                return None, found
            record = data[old * UNIT : old * UNIT + size]
            version = self.delete_slot_locked(slot, EVENT_DELETE if found else EVENT_EXPIRE)
            return (record, version) if found else (None, 0)

        return self.under_lock(locked)

    def expire(self, slot: int, word: int) -> bool:
        """Delete the record that a slot published under `word`, if it is still that one and has expired."""

        def locked() -> bool:
            words = self.region.words
            if words[slot] != word:
                return False
            block = words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]
            if not block or self.version_at(block):
                return False
            self.delete_slot_locked(slot, EVENT_EXPIRE)
            return True

        return self.under_lock(locked)

    # --- who waits and watches ---------------------------------------------------------------------------
    def alert_locked(self, *, watching: bool) -> None:
        """Have writers log, and wake, for the next seconds. ``StoreFullError`` if there is no room for a log.

        A lapsed alert that no writer has cleared yet has cost no event: the first write after it does that.
        """
        words = self.region.words
        if watching and not words[LOG]:
            self._make_log_locked()
            words = self.region.words
        words[ALERT] = (now_ns() >> ALERT_SHIFT) + ALERT_SECONDS

    def alert(self, *, watching: bool, patient: bool = False) -> Optional[Beginning]:
        """:meth:`alert_locked`, and where the log goes on from here.

        None if somebody else writes just now, unless `patient`: then he is waited for.
        """

        def locked() -> Beginning:
            self.alert_locked(watching=watching)
            words = self.region.words
            return words[LOG_HEAD], words[LOG_BREAKS], self.region.longs[VERSION_LONG]

        return self.under_lock(locked) if patient else self.if_free(locked)

    def _make_log_locked(self) -> None:
        """Allocate the event log; past the size limit where it would take what is kept for overwrites."""
        space, region = self.space, self.region
        from . import log

        capacity = log.ring_units(region)
        units, limit = log.block_units(capacity), space.limit_units()

        def plan_log(plan: Plan) -> bool:
            return log.plan_block(plan, region, capacity, limit, inside=space.leaves_reserve(units))

        room = units if space.leaves_reserve(units) else units + max(0, limit - region.words[TOP])
        space.for_plan_locked(room, plan_log, past_limit=True)

    # --- policies ------------------------------------------------------------------------------------
    def set_policy(self, max_size: Optional[int], evict: Optional[int]) -> None:
        """Change what may be changed in a live region: its size limit and its eviction."""

        def locked() -> None:
            if max_size is not None:
                self.region.longs[MAX_SIZE_LONG] = max_size
            if evict is not None:
                self.region.words[EVICT] = evict

        self.under_lock(locked)
