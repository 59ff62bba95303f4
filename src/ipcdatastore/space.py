"""Room for a record, when the fast path finds none: split, sweep, grow, evict, in that order.

Everything here runs under the writer lock, in steps that are whole or absent after a death. The sweep
walks the heap in address order from where the last one ended, joins free neighbours and drops expired
records; with eviction on, it is also the clock hand: a record in use since the last round gets a second
chance (its word is published anew, so that cached readers come to the slow path and leave their mark),
one that is not is deleted. What a write can cost stays bounded: a sweep looks at a limited number of
blocks each time, unless the region is at its size limit.
"""

from __future__ import annotations

from . import heap, index
from .errors import StoreFullError
from .frame import Frame
from .heap import Block, Plan
from .layout import (
    COUNT,
    DESCRIPTORS,
    EVENT_EVICT,
    EVENT_EXPIRE,
    EVICT,
    EXPIRING,
    FREE_UNITS,
    HAND,
    HEAP_START,
    LENGTH,
    LOG,
    MAX_REGION,
    MAX_SIZE_LONG,
    PAGE,
    PAGE_UNITS,
    PARTITIONS,
    RECORD,
    SEQ_RETIRE,
    SEQ_SHIFT,
    SLOT_CELL,
    SLOT_USED,
    TAG_FREE,
    TAG_RECORD,
    TOP,
    UNIT,
    WORD_CELL,
)
from .platform import now_ns

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Callable, Iterator, Optional

SWEEP_BLOCKS = 8  # looked at by a write that could also grow the file
SWEEP_WORTH = 8  # sweep before growing when more than 1/8 of the heap is free or may have expired
STEP_LIMIT = 60  # planned stores after which a join stops, well below what a step can hold
GROW_FAST_PAGES = 16  # below 1 MiB a region doubles, above it grows by an eighth
RESERVE = 32  # inserts leave 1/32 of the limit to overwrites and to the index
LARGE_PART = 16  # before more than 1/16 of the limit is evicted for one write, see whether that can help


class Space:
    """Finds room in one region for its frame."""

    __slots__ = ("_disk_full", "frame")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._disk_full: Optional[StoreFullError] = None

    # --- what the writer asks for --------------------------------------------------------------------
    def for_record_locked(self, units: int, *, inserting: bool) -> bool:
        """Make the next record of `units` fit: at the head of its class, or at the top.

        Whether anything moved: expired or evicted records may be gone, so the caller looks its slot up
        again. Raises ``StoreFullError`` with nothing changed that anybody could see.
        """
        region = self.frame.region
        words = region.words
        allowed = not inserting or self.leaves_reserve(units)
        fits = allowed and words[TOP] + units <= self._end()
        if fits and words[FREE_UNITS] < units and not self._is_sweep_worth():
            return False
        self._until_planned(
            units,
            lambda plan: self._plan_record(plan, units, inserting),
            lambda: not inserting or self.leaves_reserve(units),
        )
        return True

    def for_insert_locked(self, hashed: int, entry: int) -> bool:
        """Make a slot and an index entry available. Whether anything moved: then look up again."""
        region = self.frame.region
        moved = False
        if index.is_crowded(region.words, entry, hashed):
            partition = hashed & PARTITIONS - 1

            def plan_table(plan: Plan) -> bool:
                # Making room may have deleted what crowded it.
                hole = index.find_hole(region.words, hashed)
                if not index.is_crowded(region.words, hole, hashed):
                    return True
                return index.plan_table(plan, region, partition, region.units)

            entries = len(index.live_entries(region.words, region.words[DESCRIPTORS + partition]))
            self._until_planned(index.table_units(entries), plan_table)
            moved = True
        if index.needs_chunk(region.words):

            def plan_chunk(plan: Plan) -> bool:
                if not index.needs_chunk(region.words):
                    return True
                spare = self._spare_units()
                return index.plan_chunk(plan, region, region.units, spare)

            self._until_planned(
                index.smallest_chunk_units(),
                plan_chunk,
                lambda: self.leaves_reserve(index.smallest_chunk_units()),
            )
            moved = True
        return moved

    def for_plan_locked(self, units: int, make: Callable[[Plan], bool], *, past_limit: bool = False) -> None:
        """Do the plan that `make` makes (it says whether it could), making about `units` of room if it must."""
        self._until_planned(units, make, past_limit=past_limit)

    def check_total_locked(self, units: int) -> None:
        """Raise ``StoreFullError`` if so many units could not be had by evicting everything: then nothing is."""
        region = self.frame.region
        if region.words[EVICT] and units > self.limit_units() // LARGE_PART and units > self._reachable(run=False):
            raise self.full(units)

    # --- how -----------------------------------------------------------------------------------------
    def limit_units(self) -> int:
        """The unit that records may reach."""
        return int(min(self.frame.region.longs[MAX_SIZE_LONG], MAX_REGION)) // UNIT

    def leaves_reserve(self, units: int) -> bool:
        """Whether an insert of `units` leaves overwrites what is kept for them."""
        return units <= self._spare_units()

    def _spare_units(self) -> int:
        words = self.frame.region.words
        limit = self.limit_units()
        if limit <= words[LOG] < words[TOP]:  # the event log was put behind it
            return int(words[FREE_UNITS] - limit // RESERVE)
        if words[TOP] > limit:  # it was lowered: what is free may be used again
            return int(words[FREE_UNITS])
        return int(limit - limit // RESERVE - (words[TOP] - words[FREE_UNITS]))

    def _end(self) -> int:
        """The unit that no record may reach beyond."""
        return min(self.frame.region.units, self.limit_units())

    def _plan_record(self, plan: Plan, units: int, inserting: bool) -> bool:
        """Put a block of exactly `units` at the head of its class, unless the top has room anyway."""
        region = self.frame.region
        if inserting and not self.leaves_reserve(units):
            return False
        if not heap.find_free(region.words, units):
            return bool(region.words[TOP] + units <= self._end())
        heap.push(plan, heap.carve(plan, units, self._end()), units)
        return True

    def _until_planned(
        self,
        units: int,
        make: Callable[[Plan], bool],
        enough: Callable[[], bool] = lambda: True,
        *,
        past_limit: bool = False,
    ) -> None:
        """Run `make` on fresh plans, making more room between, until it succeeds; then do the plan.

        `enough` says whether so much is free in all that a free run of `units` will do.
        """
        words = self.frame.region.words
        self._disk_full = None
        if not heap.find_free(words, units) and self._is_sweep_worth():
            self._sweep(SWEEP_BLOCKS, units, enough)
        reliefs = [lambda: self._grow(units, past_limit)]
        if words[EVICT]:
            reliefs.append(lambda: self._evict(units, enough))  # the clock joins as it goes
        else:
            reliefs.append(lambda: self._join(units, enough))
        remaining: Iterator[Callable[[], bool]] = iter(reliefs)
        while True:
            plan = Plan(self.frame.region.words)
            if make(plan):
                if plan:
                    self.frame.step_locked(plan)
                return
            for relief in remaining:
                if relief():
                    break
            else:
                raise self.full(units)

    def _is_sweep_worth(self) -> bool:
        words = self.frame.region.words
        return bool(words[EXPIRING] or words[FREE_UNITS] * SWEEP_WORTH > words[TOP])

    def _grow(self, units: int, past_limit: bool) -> bool:
        """Make the file longer so that `units` fit at the top. Whether it may be, and could be, that long."""
        region = self.frame.region
        words = region.words
        pages = words[LENGTH]
        limit = self.limit_units() * UNIT // PAGE
        needed = -(-(words[TOP] + units) // PAGE_UNITS)
        wanted = max(needed, min(pages + max(min(pages, GROW_FAST_PAGES), pages >> 3), limit))
        if needed <= pages or wanted > (MAX_REGION // PAGE if past_limit else limit):
            return False
        for target in (wanted, needed) if wanted > needed else (needed,):
            try:
                region.grow_locked(target)
            except StoreFullError as error:
                self._disk_full = error  # other reliefs may do; if not, this is the reason
            else:
                self._disk_full = None
                return True
        return False

    # --- the sweep -----------------------------------------------------------------------------------
    def _all_blocks(self) -> int:
        return int(self.frame.region.words[TOP])  # more than there can be

    def _sweep(
        self, blocks: int, units: int, enough: Callable[[], bool], *, evict: bool = False, force: bool = False
    ) -> bool:
        """Walk up to `blocks` blocks, at most once around; stop early at a free run of `units`, if that will do."""
        region = self.frame.region
        words = region.words
        unit = heap.first_block(region, words[HAND])
        walked = 0
        total = words[TOP]
        now = now_ns()
        found = False
        while blocks > 0 and walked < total and unit < words[TOP]:
            block = heap.block_at(region, unit)
            blocks -= 1
            walked += block.units
            if block.tag == TAG_RECORD and self._drop(block, now, evict, force):
                block = heap.block_at(region, unit)
            if block.tag == TAG_FREE:
                plan = Plan(words)
                block = heap.join(plan, region, block, STEP_LIMIT)
                plan[HAND] = block.unit
                self.frame.step_locked(plan)
                fits = block.units >= units or (not block.units and block.unit + units <= region.units)
                if fits and enough():
                    unit = block.unit + block.units  # on, or the record that goes here would be the next to go
                    found = True
                    break
                if block.units and evict:
                    # Keep joining onto this run: its next neighbour may be evicted too.
                    following = block.unit + block.units
                    if following < words[TOP] and self._extend(following, now, force):
                        walked -= block.units
                        continue
            unit = block.unit + block.units
            if unit >= words[TOP]:
                unit = HEAP_START
        words[HAND] = heap.first_block(region, unit)
        return found

    def _extend(self, unit: int, now: int, force: bool) -> bool:
        """Free the block behind a free run, if it may go. Whether the run can be joined further."""
        block = heap.block_at(self.frame.region, unit)
        if block.tag == TAG_FREE:
            return True
        return block.tag == TAG_RECORD and self._drop(block, now, True, force)

    def _drop(self, block: Block, now: int, evict: bool, force: bool) -> bool:
        """Delete the record in `block` if it has expired, or if it is its turn to be evicted."""
        region = self.frame.region
        slot, _, _, _, _, _, _, expires = RECORD.unpack_from(region.data, block.unit * UNIT)
        words = region.words
        if slot in self.frame.pinned:
            return False
        if words[slot + SLOT_CELL + 2 * (words[slot] & WORD_CELL)] != block.unit:
            return False  # not published (yet): belongs to the operation under way
        if not (expires and now >= expires):
            if not evict:
                return False
            if words[slot + SLOT_USED] and not force and words[slot] >> SEQ_SHIFT < SEQ_RETIRE:
                words[slot + SLOT_USED] = 0
                self.frame.republish_locked(slot)
                return False
            event = EVENT_EVICT
        else:
            event = EVENT_EXPIRE
        self.frame.delete_slot_locked(slot, event)
        return True

    def _join(self, units: int, enough: Callable[[], bool]) -> bool:
        """Join everything that is free, if that can help at all. Whether a run of `units` came of it."""
        words = self.frame.region.words
        if words[FREE_UNITS] < units and not words[EXPIRING]:
            return False
        return self._sweep(self._all_blocks(), units, enough)

    def _evict(self, units: int, enough: Callable[[], bool]) -> bool:
        """Let the clock hand go around until a run of `units` is free: twice politely, then by force."""
        if units > self.limit_units() // LARGE_PART and units > self._reachable(run=True):
            return False  # all of it would be evicted for nothing
        return any(
            self._sweep(self._all_blocks(), units, enough, evict=True, force=force) for force in (False, False, True)
        )

    def _reachable(self, *, run: bool) -> int:
        """Units that evicting everything would free: in all, or in the longest run without what never moves."""
        region = self.frame.region
        unit, top = HEAP_START, region.words[TOP]
        longest = current = total = 0
        while unit < top:
            block = heap.block_at(region, unit)
            movable = block.tag == TAG_FREE or (block.tag == TAG_RECORD and block.first_word not in self.frame.pinned)
            current = current + block.units if movable else 0
            total += block.units if movable else 0
            longest = max(longest, current)
            unit += block.units
        beyond = max(self.limit_units() - top, region.units - top)
        return int(max(longest, current + beyond) if run else total + beyond)

    def full(self, units: int) -> StoreFullError:
        """The error for so many units that there is no room for."""
        if self._disk_full is not None:
            return self._disk_full
        region = self.frame.region
        limit = int(region.longs[MAX_SIZE_LONG])
        free = int(region.words[FREE_UNITS]) * UNIT
        hint = "open with a larger `max_size`"
        if region.words[COUNT]:
            hint = "delete records, or " + hint
        if not region.words[EVICT]:
            hint += ', or with `evict="lru"`'
        return StoreFullError(
            f"no room for {units * UNIT:,} more bytes in {region.path}: {free:,} bytes are free in it, in pieces that "
            f"are too small or kept for overwrites, and it may not grow past {limit:,} bytes; "
            f"no record was written: {hint}",
            needed=units * UNIT,
            free=free,
            hint=hint,
        )
