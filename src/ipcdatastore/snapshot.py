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

import time
from zlib import crc32

from . import image, index
from .errors import RegionDamagedError
from .frame import BROKEN, Frame
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
    from typing import Any, Dict, List, Optional, Set, Tuple

PIECE = 1 << 20
FEW = 200  # slots that may be left for the time under the lock
MOST_ROUNDS = 12
LEAF = 16  # words that are compared one by one
_ABSENT = b""


class Snapshot:
    """One image being taken. `flagged`: only records that carry ``FLAG_PERSIST``."""

    def __init__(self, frame: Frame, writer: ImageWriter, *, flagged: bool) -> None:
        self.frame = frame
        self.region = frame.region
        self.writer = writer
        self.flagged = flagged
        # What the image holds of each chunk: the words of its slots, by the chunk's first slot.
        self.seen: Dict[int, bytes] = {}
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
        before = None
        for _ in range(MOST_ROUNDS):
            left = self._differences()
            if len(left) <= FEW or (before is not None and len(left) > 0.7 * before):
                break
            before = len(left)
            self._copy_again(left)
        facts = self._finish(number)
        self.writer.end(facts, self.chunks)
        return facts

    # --- the first copy --------------------------------------------------------------------------------
    def _begin(self, name: str) -> None:
        """Words first; then, with no writer inside, where the heap ends: beyond every record that they publish."""
        region = self.region
        region.follow()
        first = self._words()
        fence()
        whole = self._enter()
        try:
            region = self.region
            words = region.words
            top = words[TOP]
            if whole and not self.flagged and 2 * words[FREE_UNITS] <= top:
                self.raw = top * UNIT
        finally:
            self.frame.coordinator.release()
        header = region.header
        self.writer.begin(header.serializer, header.region_id, name, self.raw)
        if self.raw:
            self.seen = {slot: copy for slot, copy in first.items() if 4 * slot + 8 * len(copy) <= self.raw}
            self.chunks = [(slot, len(copy) // 4) for slot, copy in self.seen.items()]
        else:
            self.seen = {slot: bytes(len(copy)) for slot, copy in first.items()}

    def _enter(self) -> bool:
        """Keep writers out. Whether no operation of a dead one is left: a read-only handle cannot repair."""
        frame = self.frame
        if self.region.writable:
            frame.begin()
            return True
        frame.coordinator.acquire_shared()
        try:
            self.region.follow()
            words = self.region.words
            if words[STATE] != STATE_LIVE:
                raise frame.damaged(ValueError("it was found damaged"))
            return not words[DIRTY]
        except BaseException:
            frame.coordinator.release()
            raise

    def _words(self) -> Dict[int, bytes]:
        """The words of all slots, by the first slot of each chunk."""
        words = self.region.words
        return {
            first: words[first : first + SLOT_WORDS * count : SLOT_WORDS].tobytes()
            for first, count in index.chunks(words)
        }

    def _copy_raw(self) -> None:
        data = self.region.data
        for at in range(0, self.raw, PIECE):
            self.writer.raw(data[at : min(at + PIECE, self.raw)])
        fence()

    def _copy_records(self) -> None:
        self._copy_again(self._differences())

    # --- what differs ----------------------------------------------------------------------------------
    def _differences(self) -> List[int]:
        """The slots that the image does not show as they are now."""
        found: List[int] = []
        self.region.follow()
        for first, new in self._words().items():
            old = self.seen.get(first)
            if old is None:
                old = self.seen[first] = bytes(len(new))  # slots that were never used are zero
            if old != new:
                find_differences(old, new, 0, len(new), first, found)
        return found

    def _copy_again(self, slots: List[int], *, locked: bool = False) -> None:
        """Enter what `slots` hold now, and note under which word. Without the lock, what moves is left for later."""
        seen = {first: bytearray(words) for first, words in self.seen.items()}
        where = sorted(seen)
        chunk, position = -1, -1
        view: Any = None
        for slot in slots:  # in the order of their chunks
            if view is None or not chunk <= slot < chunk + 2 * len(seen[chunk]):
                position = _find_chunk(where, slot)
                chunk = where[position]
                view = memoryview(seen[chunk]).cast("I")
            copied = self._read(slot, locked=locked)
            if copied is None:
                continue
            word, sealed_for, record = copied
            self._enter_record(slot, sealed_for, record)
            view[(slot - chunk) // SLOT_WORDS] = word
        view = None
        self.seen = {first: bytes(words) for first, words in seen.items()}

    def _enter_record(self, slot: int, word: int, record: bytes) -> None:
        wanted = record and (not self.flagged or record[7] & FLAG_PERSIST)
        if wanted:
            self.entered.add(slot)
            self.writer.entry(word, record)
        elif self.raw or slot in self.entered:
            self.entered.discard(slot)
            self.writer.entry(word, image.void(slot))

    def _read(self, slot: int, *, locked: bool) -> Optional[Tuple[int, int, bytes]]:
        """(the slot's word, the word that its record is sealed for, the record); None if it was being written.

        Under the lock, the last is damage.
        """
        region = self.region
        words = region.words
        word = sealed_for = words[slot]
        if word & WORD_PENDING:
            if not locked:
                return None
            # Of a dead writer, and this handle is read-only.
            sealed_for = word_before_mark(word)
            if words[COMMIT] & 1:
                sealed_for = final_word(sealed_for)
        cell = slot + SLOT_CELL + 2 * (sealed_for & WORD_CELL)
        try:
            block = words[cell]
            record = _ABSENT
            if block:
                at = block * UNIT
                _, key_length, _, flags, value_length = RECORD_LENGTHS.unpack_from(region.data, at)
                if self.flagged and not flags & FLAG_PERSIST and not locked:
                    # Believed without the seal: it holds if the word is still the same at the end.
                    return word, sealed_for, _ABSENT
                record = region.data[at : at + RECORD_SIZE + key_length + value_length]
            if crc32(record, sealed_for) == words[cell + 1] and words[slot] == word:
                return word, sealed_for, record
        except BROKEN:
            pass
        if locked:
            raise RegionDamagedError(
                f"the record of slot {slot} in {region.path} does not fit its seal: no image can be taken; `repair` "
                "saves the rest",
                path=region.path,
                problems=(f"slot {slot}",),
            )
        return None

    # --- the instant -----------------------------------------------------------------------------------
    def _finish(self, number: int) -> Facts:
        self.writer.flush()
        self.writer.holds_back = True  # a disk that is busy must not keep writers waiting
        self._enter()
        try:
            region = self.region
            words, longs = region.words, region.longs
            self._copy_again(self._differences(), locked=True)
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
        finally:
            self.frame.coordinator.release()


def find_differences(old: bytes, new: bytes, low: int, high: int, first: int, found: List[int]) -> None:
    """Append the slots whose words differ between the bytes `low` and `high` of a chunk's words.

    By halves, since comparing bytes costs next to nothing, and a loop over all words would take the time that
    the lock may be held.
    """
    if high - low <= 4 * LEAF:
        found += [first + 2 * at for at in range(low, high, 4) if old[at : at + 4] != new[at : at + 4]]
        return
    middle = (low + high) // 8 * 4
    if old[low:middle] != new[low:middle]:
        find_differences(old, new, low, middle, first, found)
    if old[middle:high] != new[middle:high]:
        find_differences(old, new, middle, high, first, found)


def _find_chunk(where: List[int], slot: int) -> int:
    from bisect import bisect_right

    return bisect_right(where, slot) - 1
