"""An image of a live region as it was at one instant, while writers go on writing.

The problem: copying takes long, so what is copied first is old when the last is copied; keeping writers out
meanwhile is what a store must not do.

What makes it possible: a slot's word changes with every publish, never returns to an earlier value, and
while it stays, the record it publishes stays as it is, in its place. So the words are copied first, then the
rest; at the end, under the writer lock, the words are compared: what was copied of a slot whose word is
still the same is what the slot holds now. The others are copied again. Before that, without the lock, rounds
of the same comparison leave few of them, so the lock is held for a moment only.

When most of the heap is in use and everything is wanted, "the rest" is the region's bytes from the start,
in large pieces: unchecked then, but each record takes its seal along. Otherwise it is record by record, by
the readers' protocol.
"""

from __future__ import annotations

import re
import sys
import time
from zlib import crc32

from . import check, image, index
from .errors import BROKEN, RegionDamagedError
from .frame import Frame
from .image import Facts, ImageWriter
from .layout import (
    CLEARED_LONG,
    COMMIT,
    COUNT,
    DIRTY,
    EVICT,
    FLAG_PERSIST,
    FREE_UNITS,
    MAX_SIZE_LONG,
    PERSIST,
    RECORD_LENGTHS,
    RECORD_SIZE,
    SLOT_CELL,
    SLOT_WORDS,
    STATE,
    STATE_LIVE,
    TOP,
    UNIT,
    VERSION_LONG,
    WORD_CELL,
    WORD_PENDING,
)
from .platform import fence, now_ns
from .reader import final_word, word_before_mark

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Set, Tuple, TypeVar, Union

    T = TypeVar("T")

    Differences = List[Tuple[int, List[int]]]

PIECE = 1 << 20
FEW = 200  # slots that may be left for the time under the lock
MOST_ROUNDS = 12
MOST = 700  # slots that are copied under the lock, unless
EAGER = 2000  # tries for the lock without a pause
CHANCES = 40  # that many times there were more
_differs = re.compile(rb"[^\0]").finditer
PART = 512  # bytes of words that are compared at a time


class Snapshot:
    """One image being taken. `flagged`: only records that carry ``FLAG_PERSIST``."""

    def __init__(self, frame: Frame, writer: ImageWriter, *, flagged: bool) -> None:
        self.frame = frame
        self.region = frame.region
        self.writer = writer
        self.flagged = flagged
        # What the image holds of each chunk: the words of its slots, by the chunk's first slot.
        self.seen: Dict[int, bytearray] = {}
        self.entered: Set[int] = set()  # slots of which the image holds a record in an entry
        self.chunks: List[Tuple[int, int]] = []
        self.raw = 0

    def take(self, name: str, number: int) -> Facts:
        """Write the whole image."""
        self._begin(name)
        if self.raw:
            self._copy_raw()
        else:
            self._copy_records()
        self._catch_up()
        self.writer.flush()
        self.writer.holds_back = True  # a disk that is busy must not keep writers waiting
        facts = self._instant(number)
        self.writer.end(facts, self.chunks)
        return facts

    def compare(self, number: int) -> Facts:
        """What holds now. `writer`, which may be another by now, is told of what the image does not show as it is."""
        self._catch_up()
        return self._instant(number)

    def _catch_up(self) -> None:
        """Rounds without the lock, until few slots are left."""
        before = 0
        for _ in range(MOST_ROUNDS):
            left = self._differences()
            count = _count(left)
            if count <= FEW or (before and count > 0.7 * before):
                break
            before = count
            self._copy_again(left)

    def _instant(self, number: int) -> Facts:
        chances = CHANCES
        facts = None
        while facts is None:
            chances -= 1
            facts = self._finish(number, MOST if chances > 0 else sys.maxsize)
        return facts

    # --- the first copy --------------------------------------------------------------------------------
    def _begin(self, name: str) -> None:
        """Words first; then, with no writer inside, where the heap ends: beyond every record that they publish."""
        region = self.region
        region.follow()
        first = dict(index.slot_words(region.words))
        fence()
        self.raw = self._undisturbed(self._raw_size)
        header = region.header
        self.writer.begin(header.serializer, header.region_id, name, self.raw)
        if self.raw:
            self.seen = {slot: bytearray(copy) for slot, copy in first.items() if 4 * slot + 8 * len(copy) <= self.raw}
            self.chunks = [(slot, len(seen) // 4) for slot, seen in self.seen.items()]
        else:
            self.seen = {slot: bytearray(len(copy)) for slot, copy in first.items()}

    def _raw_size(self) -> int:
        """Bytes of the raw copy; 0 where entries alone are less, or an operation of a dead writer is left."""
        words = self.region.words
        if words[DIRTY] or self.flagged or 2 * words[FREE_UNITS] > words[TOP] or words[TOP] > self.region.units:
            return 0
        return int(words[TOP]) * UNIT

    def _undisturbed(self, work: Callable[[], T]) -> T:
        """What `work` returns, done while no writer is inside; a dead one's mark may be left for a read-only handle."""
        frame = self.frame

        def locked() -> T:
            self.region.follow()
            if self.region.words[STATE] != STATE_LIVE:
                raise frame.damaged(ValueError("it was found damaged"))
            return work()

        frame.coordinator.eager = EAGER
        try:
            return frame.under_lock(work) if self.region.writable else frame.coordinator.shared(locked)
        finally:
            frame.coordinator.eager = 0

    def _copy_raw(self) -> None:
        data = self.region.data
        for at in range(0, self.raw, PIECE):
            self.writer.raw(data[at : min(at + PIECE, self.raw)])
        fence()

    def _copy_records(self) -> None:
        self._copy_again(self._differences())

    # --- what differs ----------------------------------------------------------------------------------
    def _differences(self, most: int = sys.maxsize) -> Differences:
        """(first slot, slots that the image does not show as they are now) of each chunk that has some.

        As soon as there are more than `most`, only those found so far.
        """
        found: Differences = []
        count = 0
        self.region.follow()
        for first, new in index.slot_words(self.region.words):
            old = self.seen.get(first)
            if old is None:
                old = self.seen[first] = bytearray(len(new))  # slots that were never used are zero
            if old != new:
                changed: List[int] = []
                find_differences(old, new, first, changed)
                found.append((first, changed))
                count += len(changed)
                if count > most:
                    break
        return found

    def _copy_again(self, differences: Differences, *, locked: bool = False) -> None:
        """Enter what these slots hold now, and note under which word. Without the lock, what moves is left for later.

        In one piece, since this has to be several times as fast as writers are, or the rounds never end.
        """
        region, enter = self.region, self.writer.entry
        words, data = region.words, region.data
        flagged, everywhere, entered = self.flagged, bool(self.raw), self.entered
        seen = {chunk: memoryview(self.seen[chunk]).cast("I") for chunk, _ in differences}
        for chunk, slot in ((chunk, slot) for chunk, slots in differences for slot in slots):
            word = sealed_for = words[slot]
            if word & WORD_PENDING:
                if not locked:
                    continue
                sealed_for = self._settled(word)
            cell = slot + SLOT_CELL + 2 * (sealed_for & WORD_CELL)
            try:
                block = words[cell]
                record = b""
                if block:
                    at = block * UNIT
                    _, key_length, _, flags, value_length = RECORD_LENGTHS.unpack_from(data, at)
                    if not flagged or flags & FLAG_PERSIST or locked:
                        record = data[at : at + RECORD_SIZE + key_length + value_length]
                    # else believed without the seal: it holds if the word is still the same at the end
                seal = words[cell + 1]
                whole = crc32(record, sealed_for) == seal or (block and not record)
            except BROKEN:
                whole = False
            if not whole or words[slot] != word:
                if locked:
                    raise self._damaged(slot)
                continue
            if record and (not flagged or record[7] & FLAG_PERSIST):
                entered.add(slot)
                enter(sealed_for, seal, record)
            elif everywhere or slot in entered:
                entered.discard(slot)
                enter(sealed_for, crc32(image.void(slot), sealed_for), image.void(slot))
            seen[chunk][(slot - chunk) // SLOT_WORDS] = word

    def _settled(self, word: int) -> int:
        """The word that holds for a pending slot of a dead writer: this handle is read-only and cannot repair."""
        before = word_before_mark(word)
        return final_word(before) if self.region.words[COMMIT] & 1 else before

    def _damaged(self, slot: int) -> RegionDamagedError:
        return RegionDamagedError(
            f"the record of slot {slot} in {self.region.path} does not fit its seal: no image can be taken; `repair` "
            "saves the rest",
            path=self.region.path,
            problems=(f"slot {slot}",),
        )

    # --- the instant -----------------------------------------------------------------------------------
    def _finish(self, number: int, most: int) -> Optional[Facts]:
        """The last copy, and what holds at that instant; None if more than `most` slots were left for it."""

        def locked() -> Optional[Facts]:
            left = self._differences(most)
            if _count(left) > most:
                return None
            self._copy_again(left, locked=True)
            return self._facts(number)

        facts = self._undisturbed(locked)
        if facts is None:
            self._copy_again(self._differences())
        return facts

    def _facts(self, number: int) -> Facts:
        words, longs = self.region.words, self.region.longs
        problem = check.settings_problem(self.region)
        if problem:  # an image of such settings would be refused when it is wanted
            raise self.frame.damaged(ValueError(problem))
        wall, clock = time.time_ns(), now_ns()
        records = words[COUNT] if self.raw else len(self.entered)
        return Facts(
            version=int(longs[VERSION_LONG]),
            cleared=int(longs[CLEARED_LONG]),
            wall_ns=wall,
            clock_ns=clock,
            max_size=int(longs[MAX_SIZE_LONG]),
            records=int(records),
            number=number,
            persist=int(words[PERSIST]),
            evict=int(words[EVICT]),
        )


def _count(differences: Differences) -> int:
    return sum(len(slots) for _, slots in differences)


def find_differences(old: Union[bytes, bytearray], new: bytes, first: int, found: List[int]) -> None:
    """Append to `found` the slots of the chunk at `first` whose words differ.

    A loop over all words would take the time that the lock may be held; comparing bytes costs next to nothing.
    """
    for at in range(0, len(new), PART):
        a, b = old[at : at + PART], new[at : at + PART]
        if a == b:
            continue
        both = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
        last = -1
        for match in _differs(both.to_bytes(len(b), "little")):
            position = match.start() >> 2
            if position != last:
                last = position
                found.append(first + 2 * at + SLOT_WORDS * position)
