"""One-key writes: plan, declare, write aside, publish with one store, finish.

The frame of every write, under the writer lock:

1. If ``DIRTY`` is set, its owner died: recover (:mod:`recovery`) before anything else.
2. *Plan*, by loads only: the slot, a free block, every derived word that will change.
3. *Declare*: store the intent (what to undo, what to redo, all absolute), then ``DIRTY``.
4. Write the record into the free block and fill the cell that readers are not sent to, sealed for the
   word to come. Of an insert: store the index entry. No reader can tell.
5. **Publish**: one store of the slot's word, fenced on both sides.
6. Redo list: free lists, counts, tombstone, ``STRUCTURE``. Then ``CHANGE``, then ``DIRTY`` = 0.

Dead before 5: readers see the old record, recovery undoes 4. Dead after: readers see the new one,
recovery finishes 6. An exception anywhere between 3 and 6 leaves ``DIRTY`` set and frees the lock, which
is the same as a death. ``finally`` frees the lock and never clears the mark.
"""

from __future__ import annotations

import os
import struct
import time
from zlib import crc32

from . import heap, index, intent, recovery
from .coordinator import Coordinator
from .errors import LockLostError, ReadOnlyError, RegionDamagedError, TooLargeError
from .heap import Plan
from .intent import PAYLOAD_AT
from .layout import (
    CHANGE,
    COUNT,
    DIRTY,
    EMPTY,
    EVICT,
    EXPIRING,
    HEADS,
    INTENT,
    KIND_MASK,
    KIND_SLOT,
    LENGTH,
    MAX_SIZE_LONG,
    MAX_VALUE,
    PAGE_UNITS,
    RECORD,
    RECORD_SIZE,
    SEQ_ONE,
    SEQ_RETIRE,
    SEQ_SHIFT,
    SLOT_CELL,
    SLOT_HASH,
    SLOT_USED,
    STATE,
    STATE_LIVE,
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
from .platform import NEEDS_FENCE, fence, now_ns
from .reader import sealed
from .region import Region
from .space import Space

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple

ANY = -1  # no condition on the version
MOST_HINTS = 20_000


PACK_REPLACE = struct.Struct("=23I").pack
PACK_REPLACE_SIZE = 92


def _flat(plan: Plan) -> List[int]:
    return [number for pair in plan.items() for number in pair]


class Writer:
    """Writes of one handle. Every method named ``_locked`` needs the writer lock; the others take it."""

    __slots__ = (
        "coordinator",
        "hints",
        "inside",
        "move_locked",
        "nonce",
        "now",
        "pinned",
        "region",
        "slot_mark",
        "space",
    )

    def __init__(self, region: Region, coordinator: Coordinator) -> None:
        self.region = region
        self.coordinator = coordinator
        self.space = Space(self)
        self.hints: Dict[bytes, Tuple[int, int, int]] = {}  # key -> slot, word, size of what this handle put
        # How a key whose slot is used up gets another. Set by the engine: it is a transaction, which is above.
        self.move_locked: Callable[[bytes, int, bytes, int], int]
        self.inside = False  # a transaction is under way: its mark stays set between its steps
        self.pinned: Set[int] = set()  # slots of the transaction under way: neither expired nor evicted
        self.now = 0  # wall clock at the beginning of the frame
        self.renew()

    def renew(self) -> None:
        """A nonce of its own; in a forked child, nothing of what the parent's threads had under way."""
        self.inside = False
        self.pinned.clear()
        self.nonce = (int.from_bytes(os.urandom(4), "little") | KIND_MASK + 1) & ~KIND_MASK
        self.slot_mark = self.nonce | KIND_SLOT

    # --- the frame -----------------------------------------------------------------------------------
    def enter_locked(self, now: int) -> None:
        """Steps before the first store of a write: the region is live, whole, and mapped as long as it is."""
        region = self.region
        words = region.words
        if words[LENGTH] * PAGE_UNITS != region.units:
            region.follow()
            words = region.words
        if words[STATE] != STATE_LIVE:
            raise RegionDamagedError(
                f"the region {region.path} was found damaged and is closed to writers; `repair` it",
                path=region.path,
                problems=("state",),
            )
        if words[DIRTY]:
            recovery.recover(region, self.nonce)
        if not region.checked <= now <= region.check_due:
            region.check_place(now)

    def begin(self) -> None:
        """Take the lock and enter. Whoever calls this calls ``coordinator.release`` in a ``finally``."""
        if not self.region.writable:
            raise self.read_only()
        self.coordinator.acquire()
        try:
            self.now = time.time_ns()
            self.enter_locked(self.now)
        except BaseException:
            self.coordinator.release()
            raise

    def leave_locked(self) -> None:
        """The last stores of a write. If the mark is not this handle's, somebody else was inside: stop."""
        words = self.region.words
        if words[DIRTY] != self.nonce:
            raise self.lock_lost()
        words[CHANGE] = words[CHANGE] + 1 & 0xFFFFFFFF
        words[DIRTY] = 0

    def step_locked(self, plan: Plan) -> None:
        """Do a plan as one atomic step."""
        intent.step(self.region, self.nonce, plan)
        if not self.inside:
            self.region.words[DIRTY] = 0

    # --- set -----------------------------------------------------------------------------------------
    def put(  # noqa: PLR0912, PLR0915 - the steady state in one piece: calls would cost a third of it
        self, key: bytes, kind: int, value: bytes, expires: int = 0, expect: int = ANY
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
        coordinator.acquire()
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
            data = region.data
            # Where this handle last put the key: if the slot's word is still that one, nothing changed since.
            hint = self.hints.get(key)
            if hint is not None and words[hint[0]] == hint[1]:
                slot, word, old_size = hint
                old = words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]
            else:
                slot, word, old, old_size, _ = index.find(words, data, key, crc32(key, region.header.seed))
            if expect != ANY:
                found = self.version_at(old)
                if found != expect:
                    return 0, found
            if word >> SEQ_SHIFT >= SEQ_RETIRE:
                return self.move_locked(key, kind, value, expires), 0
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
                return self._put_locked(key, kind, value, expires, units), 0

            target = (word & ~3) + SEQ_ONE | ~word & WORD_CELL
            version = region.longs[VERSION_LONG] + 1
            head = HEADS + number
            new, at = 4 * block, 4 * old
            following = words[new + 1]
            neighbour, behind = (4 * following + 2, old) if following else (at + 2, 0)
            # fmt: off
            payload = PACK_REPLACE(
                slot, word, target, version & 0xFFFFFFFF, version >> 32, 3, 5,
                new, tag, new + 1, following, new + 2, 0,
                head, old, at, tag, at + 1, following, at + 2, 0, neighbour, behind,
            )
            # fmt: on
            data[PAYLOAD_AT : PAYLOAD_AT + PACK_REPLACE_SIZE] = payload
            words[INTENT] = crc32(payload)
            words[DIRTY] = mark = self.slot_mark

            region.longs[VERSION_LONG] = version
            record = RECORD.pack(slot, key_length, kind, 0, value_length, version, now, expires) + key + value
            data[4 * new : 4 * new + size] = record
            cell = slot + SLOT_CELL + 2 * (target & WORD_CELL)
            words[cell] = block
            words[cell + 1] = crc32(record, target)
            words[slot + SLOT_USED] = 1

            if NEEDS_FENCE:
                fence()
            words[slot] = target  # PUBLISH: readers see the new record from here on
            if NEEDS_FENCE:
                fence()

            words[head] = old
            words[at] = tag
            words[at + 1] = following
            words[at + 2] = 0
            words[neighbour] = behind
            if words[DIRTY] != mark:
                raise self.lock_lost()
            words[CHANGE] = words[CHANGE] + 1 & 0xFFFFFFFF
            words[DIRTY] = 0
            hints = self.hints
            if len(hints) >= MOST_HINTS:
                hints.clear()
            hints[key] = (slot, target, size)
            return version, 0
        finally:
            coordinator.release()

    def _put_locked(self, key: bytes, kind: int, value: bytes, expires: int, units: int) -> int:
        """Any set, with room made and derived words planned as it takes. The version."""
        region = self.region
        hashed = crc32(key, region.header.seed)
        roomy = False
        slot = word = old = old_size = entry = block = 0
        while True:
            words, data = region.words, region.data
            slot, word, old, old_size, entry = index.find(words, data, key, hashed)
            plan = Plan(words)
            block = words[HEADS + size_class(units)[0]]
            undo: List[int] = []
            if block and words[4 * block] == units << 2 | TAG_FREE:
                heap.unlink(plan, block)
                undo += (4 * block, units << 2 | TAG_FREE, 4 * block + 1, words[4 * block + 1], 4 * block + 2, 0)
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
            slot = index.take_slot(plan)
            word = words[slot]
            undo += (slot + SLOT_HASH, words[slot + SLOT_HASH], entry, words[entry])
            if words[entry] == EMPTY:
                used = index.used_address(words, hashed)
                undo += (used, words[used])
                plan[used] = words[used] + 1
            plan[COUNT] = words[COUNT] + 1
            plan[STRUCTURE] = words[STRUCTURE] + 1 & 0xFFFFFFFF
            aside = (slot + SLOT_USED, 1, slot + SLOT_HASH, hashed, entry, slot)
        if had_expiry != (expires != 0):
            plan[EXPIRING] = words[EXPIRING] + (1 if expires else -1)
        version = int(region.longs[VERSION_LONG] + 1)
        header = RECORD.pack(slot, len(key), kind, 0, len(value), version, self.now, expires)
        self._publish_locked(slot, word, block, header + key + value, version, undo, _flat(plan), aside)
        return version

    def _publish_locked(
        self,
        slot: int,
        word: int,
        block: int,
        record: bytes,
        version: int,
        undo: Sequence[int],
        redo: Sequence[int],
        aside: Sequence[int] = (),
        rewrite: bool = True,
        inside: bool = False,
    ) -> None:
        """Steps 3 to 6 of the frame. `aside` are stores that no reader can tell before the publish.

        `block` = 0 publishes that the slot holds nothing. `rewrite` is False where the block holds the
        record already. `inside`: a transaction is under way, whose mark stays.
        """
        region = self.region
        words = region.words
        data = region.data
        target = (word & ~3) + SEQ_ONE | ~word & WORD_CELL
        intent.declare(
            region,
            (
                slot,
                word,
                target,
                version & 0xFFFFFFFF,
                version >> 32,
                len(undo) >> 1,
                len(redo) >> 1,
                *undo,
                *redo,
            ),
        )
        words[DIRTY] = self.slot_mark

        region.longs[VERSION_LONG] = version
        if rewrite and block:
            at = block * UNIT
            data[at : at + len(record)] = record
        cell = slot + SLOT_CELL + 2 * (target & WORD_CELL)
        words[cell] = block
        words[cell + 1] = crc32(record, target)
        numbers = iter(aside)
        for address, value in zip(numbers, numbers):
            words[address] = value

        if NEEDS_FENCE:
            fence()
        words[slot] = target  # PUBLISH: readers see the new record from here on
        if NEEDS_FENCE:
            fence()

        numbers = iter(redo)
        for address, value in zip(numbers, numbers):
            words[address] = value
        if words[DIRTY] != self.slot_mark:
            raise self.lock_lost()
        words[CHANGE] = words[CHANGE] + 1 & 0xFFFFFFFF
        words[DIRTY] = self.nonce if inside else 0

    # --- delete --------------------------------------------------------------------------------------
    def delete(self, key: bytes, hashed: int, expect: int = ANY) -> Tuple[Optional[bytes], int]:
        """Delete a record. ``(its bytes, version)``; ``(None, version found)`` if absent or not `expect`.

        Needs no room, so it works in a full region.
        """
        self.begin()
        try:
            words, data = self.region.words, self.region.data
            slot, _, old, size, _ = index.find(words, data, key, hashed)
            found = self.version_at(old)
            if not old or (expect not in (ANY, found)):
                return None, found
            record = data[old * UNIT : old * UNIT + size]
            version = self.delete_slot_locked(slot)
            return (record, version) if found else (None, 0)
        finally:
            self.coordinator.release()

    def delete_slot_locked(self, slot: int) -> int:
        """Delete what the slot holds. The version of the deletion."""
        region = self.region
        words = region.words
        word = words[slot]
        old = words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]
        record = sealed(region, slot, word)
        expires = RECORD.unpack_from(record)[7]
        plan = Plan(words)
        heap.push(plan, old, record_units(len(record)))
        index.give_slot(plan, slot, word >> SEQ_SHIFT)
        plan[COUNT] = words[COUNT] - 1
        if expires:
            plan[EXPIRING] = words[EXPIRING] - 1
        version = region.longs[VERSION_LONG] + 1
        self._publish_locked(slot, word, 0, b"", version, (), _flat(plan), inside=self.inside)
        return int(version)

    def republish_locked(self, slot: int) -> None:
        """The same record under a new word: cached readers come to the slow path and read it again."""
        region = self.region
        words = region.words
        word = words[slot]
        block = words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]
        record = sealed(region, slot, word)
        version = region.longs[VERSION_LONG]
        self._publish_locked(slot, word, block, record, version, (), (), rewrite=False, inside=self.inside)

    # --- policies ------------------------------------------------------------------------------------
    def set_policy(self, max_size: Optional[int], evict: Optional[int]) -> None:
        """Change what may be changed in a live region: its size limit and its eviction."""
        self.begin()
        try:
            if max_size is not None:
                self.region.longs[MAX_SIZE_LONG] = max_size
            if evict is not None:
                self.region.words[EVICT] = evict
        finally:
            self.coordinator.release()

    # --- helpers -------------------------------------------------------------------------------------
    def units_for(self, size: int) -> int:
        """Units of a record of `size` bytes; ``TooLargeError`` for one that no region could hold."""
        limit = min(MAX_VALUE, int(self.region.longs[MAX_SIZE_LONG]))
        if size > limit:
            raise TooLargeError(
                f"a key and value of {size - RECORD_SIZE:,} bytes are more than the region {self.region.path} may ever "
                f"hold, {limit:,} bytes; open it with a larger `max_size`, or store the value in pieces",
                size=size - RECORD_SIZE,
                limit=limit,
            )
        return record_units(size)

    def version_at(self, block: int) -> int:
        """The version of the record in `block`; 0 if there is none, or it has expired."""
        if not block:
            return 0
        _, _, _, _, _, version, _, expires = RECORD.unpack_from(self.region.data, block * UNIT)
        return 0 if expires and now_ns() >= expires else int(version)

    def read_only(self) -> ReadOnlyError:
        """The error of every write through a read-only handle."""
        return ReadOnlyError(f'the region {self.region.path} was opened with mode="r": open it with mode="w" to write')

    def lock_lost(self) -> LockLostError:
        """The error of a writer who finds another's mark where his own should be."""
        return LockLostError(
            f"another writer was inside {self.region.path} while this handle held the lock (was the process forked by "
            "something that runs no fork hooks?); nothing more was touched"
        )
