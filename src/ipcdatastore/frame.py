"""The frame of every write, and the one-slot publish: plan, declare, write aside, publish with one store, finish.

Under the writer lock:

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

import time
from zlib import crc32

from . import heap, index, intent
from .coordinator import Coordinator
from .errors import BROKEN, DatastoreError, LockLostError, ReadOnlyError, RegionDamagedError, TooLargeError
from .heap import Plan
from .layout import (
    ALERT,
    ALL_KEYS,
    CHANGE,
    COUNT,
    DIRTY,
    EVENT_DELETE,
    EXPIRING,
    KIND_REPLACE,
    KIND_SLOT,
    LENGTH,
    LOG,
    LOG_BREAKS,
    LOG_HEAD,
    MAX_SIZE_LONG,
    MAX_VALUE,
    PAGE_UNITS,
    RECORD,
    RECORD_SIZE,
    SEQ_ONE,
    SEQ_SHIFT,
    SLOT_CELL,
    STATE,
    STATE_LIVE,
    UNIT,
    VERSION_LONG,
    WORD_CELL,
    record_units,
)
from .platform import NEEDS_FENCE, fence, now_ns
from .reader import sealed
from .region import Region

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Sequence, Set, TypeVar

    from .futex import Bell

    T = TypeVar("T")


ALERT_SHIFT = 30  # ALERT counts in about seconds: nanoseconds >> 30
ALERT_SECONDS = 8  # for so long writers log and wake after somebody asked them to


def key_bit(hashed: int) -> int:
    """Of 32 bits, the one that stands for a key when waiters are woken; `hashed` starts from 0, not from the seed."""
    return 1 << (hashed & 31)


def flat(plan: Plan) -> List[int]:
    """The stores of a plan as address, value, address, value, ..."""
    return [number for pair in plan.items() for number in pair]


class Frame:
    """What every write of one handle stands in. Every method named ``_locked`` needs the writer lock."""

    __slots__ = (
        "_bell",
        "coordinator",
        "inside",
        "nonce",
        "now",
        "pinned",
        "region",
        "replace_mark",
        "slot_mark",
        "to_wake",
    )

    def __init__(self, region: Region, coordinator: Coordinator) -> None:
        self.region = region
        self.coordinator = coordinator
        self.inside = False  # a transaction is under way: its mark stays set between its steps
        self.pinned: Set[int] = set()  # slots of the transaction under way: neither expired nor evicted
        self.now = 0  # wall clock at the beginning of the frame
        self.to_wake = 0  # whom to wake when the lock is free again: bits of their keys. Touched under the lock only
        self._bell: Optional[Bell] = None
        self.renew()

    def renew(self) -> None:
        """A nonce of its own; in a forked child, nothing of what the parent's threads had under way."""
        self.inside = False
        self.pinned.clear()
        self.to_wake = 0
        self._bell = None  # it would keep the parent's mapping, and so its descriptor
        self.nonce = intent.new_nonce()
        self.slot_mark = self.nonce | KIND_SLOT
        self.replace_mark = self.nonce | KIND_REPLACE

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
            from . import recovery

            recovery.recover(region, self.nonce)
            if words[ALERT]:
                self.to_wake = ALL_KEYS  # nobody else announces what the dead writer published
        if not region.checked <= now <= region.check_due:
            region.check_place(now)

    def under_lock(self, work: Callable[[], T], *, whole: bool = True) -> T:
        """What `work` returns, done as the only writer, in a region that is live and repaired (unless not `whole`).

        The lock is free afterwards, also where a signal comes in while it is given back.
        """
        if not self.region.writable:
            raise self.read_only()
        coordinator = self.coordinator
        coordinator.check_outside()
        try:
            coordinator.take()
            return self._do_locked(work, whole)
        except BaseException as error:
            coordinator.free()
            self.translate(error)
            raise

    def if_free(self, work: Callable[[], T]) -> Optional[T]:
        """:meth:`under_lock`, if nobody has the lock; None if somebody has."""
        coordinator = self.coordinator
        if coordinator.is_inside():
            return None
        try:
            return self._do_locked(work, True) if coordinator.try_take() else None
        except BaseException as error:
            coordinator.free()
            self.translate(error)
            raise

    def _do_locked(self, work: Callable[[], T], whole: bool) -> T:
        try:
            if whole:
                self.now = time.time_ns()
                self.enter_locked(self.now)
            return work()
        finally:
            self.end()

    def end(self) -> None:
        """Give the lock back, then wake who waits for what was done."""
        self.inside = False
        self.pinned.clear()
        wake, self.to_wake = self.to_wake, 0  # inside of the lock: behind it other threads add to it
        self.coordinator.release()
        if wake:
            self.ring(wake)

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

    # --- who waits and watches ---------------------------------------------------------------------------
    def is_heard_locked(self) -> bool:
        """Whether somebody waits or watches. If nobody has asked for a while, writes become quick again."""
        words = self.region.words
        if 0 <= words[ALERT] - (now_ns() >> ALERT_SHIFT) <= ALERT_SECONDS:  # further on only of a clock set back
            return True
        words[LOG_BREAKS] = words[LOG_BREAKS] + 1 & 0xFFFFFFFF  # first: a watcher that was asleep has to know
        words[ALERT] = 0
        return False

    def announce_locked(self, event: int, version: int, key: bytes) -> int:
        """Store an event before its publish; what LOG_HEAD becomes after it. Who waits for the key is woken later."""
        region = self.region
        self.to_wake |= key_bit(crc32(key))
        if not region.words[LOG]:
            return int(region.words[LOG_HEAD])
        from . import log  # not everybody is watched

        return log.prepare(region, event, version, key)

    def ring(self, bits: int) -> None:
        """Wake whoever waits for one of these. Without the lock."""
        bell = self.bell()
        if bell is not None:
            bell.ring(bits)

    def bell(self) -> Optional[Bell]:
        """The change word, to wait for or to ring; None where nobody can be woken, or through a read-only handle."""
        if self._bell is None and self.region.writable:
            try:
                from . import futex  # nor waited for
            except OSError:  # no descriptor is left to read the module with; who waits looks by himself in a while
                return None
            self._bell = futex.bell(self.region.data, CHANGE)
        return self._bell

    def drop_bell(self) -> None:
        """Let go of the mapping it is in."""
        self._bell = None

    # --- one slot ---------------------------------------------------------------------------------------
    def publish_locked(
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
        event: int = 0,
        key: bytes = b"",
    ) -> None:
        """Steps 3 to 6 of the frame. `aside` are stores that no reader can tell before the publish.

        `block` = 0 publishes that the slot holds nothing. `rewrite` is False where the block holds the
        record already. `inside`: a transaction is under way, whose mark stays.
        """
        region = self.region
        words = region.words
        data = region.data
        target = (word & ~3) + SEQ_ONE | ~word & WORD_CELL
        heard = event and words[ALERT] and self.is_heard_locked()
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
        head = self.announce_locked(event, version, key) if heard else 0

        if NEEDS_FENCE:
            fence()
        words[slot] = target  # PUBLISH: readers see the new record from here on
        if NEEDS_FENCE:
            fence()

        numbers = iter(redo)
        for address, value in zip(numbers, numbers):
            words[address] = value
        if heard:
            words[LOG_HEAD] = head
            if NEEDS_FENCE:
                fence()  # whoever sees CHANGE move finds the event
        if words[DIRTY] != self.slot_mark:
            raise self.lock_lost()
        words[CHANGE] = words[CHANGE] + 1 & 0xFFFFFFFF
        words[DIRTY] = self.nonce if inside else 0

    def delete_slot_locked(self, slot: int, event: int = EVENT_DELETE) -> int:
        """Delete what the slot holds. The version of the deletion."""
        region = self.region
        words = region.words
        word = words[slot]
        old = words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]
        record = sealed(region, slot, word)
        _, key_length, _, _, _, _, _, expires = RECORD.unpack_from(record)
        key = record[RECORD_SIZE : RECORD_SIZE + key_length]
        plan = Plan(words)
        heap.push(plan, old, record_units(len(record)))
        index.give_slot(plan, slot, word >> SEQ_SHIFT)
        plan[COUNT] = words[COUNT] - 1
        if expires:
            plan[EXPIRING] = words[EXPIRING] - 1
        version = region.longs[VERSION_LONG] + 1
        self.publish_locked(slot, word, 0, b"", version, (), flat(plan), inside=self.inside, event=event, key=key)
        return int(version)

    def republish_locked(self, slot: int) -> None:
        """The same record under a new word: cached readers come to the slow path and read it again."""
        region = self.region
        words = region.words
        word = words[slot]
        block = words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]
        record = sealed(region, slot, word)
        version = region.longs[VERSION_LONG]
        self.publish_locked(slot, word, block, record, version, (), (), rewrite=False, inside=self.inside)

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

    def translate(self, error: BaseException) -> None:
        """Raise ours in the place of `error` if that comes of bytes that lead nowhere."""
        if isinstance(error, BROKEN) and not isinstance(error, DatastoreError):
            raise self.damaged(error) from error

    def damaged(self, error: BaseException) -> RegionDamagedError:
        """The error for bytes that lead nowhere."""
        return RegionDamagedError(
            f"the region {self.region.path} is damaged: {error}; `check` says what, `repair` saves what is whole",
            path=self.region.path,
            problems=(str(error),),
        )

    def read_only(self) -> ReadOnlyError:
        """The error of every write through a read-only handle."""
        return ReadOnlyError(f'the region {self.region.path} was opened with mode="r": open it with mode="w" to write')

    def lock_lost(self) -> LockLostError:
        """The error of a writer who finds another's mark where his own should be."""
        return LockLostError(
            f"another writer was inside {self.region.path} while this handle held the lock (was the process forked by "
            "something that runs no fork hooks?); nothing more was touched"
        )
