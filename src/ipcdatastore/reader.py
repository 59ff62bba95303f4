"""Lock-free reads: a record is believed only if its seal fits the word that the reader loaded.

The problem: any byte may be rewritten while it is copied, by a writer who never waits for readers,
on a machine that may show stores out of order, and a writer may die between any two stores.

What does not work: a sequence count around the copy (a dead writer leaves it odd for ever); a checksum
of the record alone (it also fits the *next* record of the slot, or a re-used block); re-reading the
word (nothing orders the re-read against the copy outside x86).

What does: the cell holds, beside the block, a *seal*: the CRC of the whole record, started from the word
that publishes it. Only one content is ever sealed for a (slot, word). So a copy whose CRC, started from
the loaded word, equals the seal is the record that this word published. Otherwise the reader tries
again, a bounded number of times, and then takes the shared lock, under which nothing moves.

A slot whose word is *pending* belongs to a transaction, and the commit word decides which cell holds:
nobody ever waits. A slot without a record is passed over, not taken for the end: it may be reserved for
another key. A miss is believed when a second, fenced probe saw the same table, ``STRUCTURE`` and ``COMMIT``
before and after.
"""

from __future__ import annotations

import struct
from collections import namedtuple
from zlib import crc32

from . import index
from .coordinator import Coordinator
from .errors import RegionDamagedError
from .layout import (
    BLOCK_HEADER_WORDS,
    COMMIT,
    DESCRIPTORS,
    EMPTY,
    EVICT,
    PARTITIONS,
    RECORD,
    RECORD_LENGTHS,
    RECORD_SIZE,
    SEQ_ONE,
    SLOT_CELL,
    SLOT_HASH,
    SLOT_USED,
    STRUCTURE,
    TOMBSTONE,
    UNIT,
    WORD_CELL,
    WORD_PENDING,
)
from .platform import fence, now_ns
from .region import Region

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Optional, Tuple, TypeVar

ATTEMPTS = 8
_TORN = (IndexError, struct.error)


if TYPE_CHECKING:
    T = TypeVar("T")

    class _RecordFields(NamedTuple):
        slot: int
        word: int
        kind: int
        flags: int
        version: int
        written_ns: int
        expires_ns: int
        key: bytes
        value: bytes

else:
    _RecordFields = namedtuple("Record", "slot word kind flags version written_ns expires_ns key value")


class Record(_RecordFields):
    """A record as it was at one instant: a private copy of its bytes, and the word that vouches for it.

    `word` is 0 where it must not be cached, since a transaction was deciding; `expires_ns` is 0 for never, else on
    the clock of ``platform.now_ns``.
    """

    __slots__ = ()

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key) + len(self.value)


class _Retry(Exception):  # noqa: N818 - a signal, not an error
    """What was read contradicts itself: it was being rewritten."""


_TRY_AGAIN = (_Retry, *_TORN)


def other_cell(word: int) -> int:
    """The bit of the cell that readers are not sent to."""
    return ~word & WORD_CELL


def next_word(word: int) -> int:
    """What an ordinary publish makes of a word."""
    return (word & ~3) + SEQ_ONE | other_cell(word)


def pending_word(word: int) -> int:
    """The mark of a slot that takes part in a transaction: the same cell still holds."""
    return (word & ~3) + SEQ_ONE | WORD_PENDING | word & WORD_CELL


def final_word(word: int) -> int:
    """What a transaction makes of the word that was there before its mark."""
    return (word & ~3) + 2 * SEQ_ONE | other_cell(word)


def burnt_word(word: int) -> int:
    """The word under which recovery publishes the old record again: past every word that may be sealed."""
    return (word & ~3) + 3 * SEQ_ONE | other_cell(word)


def word_before_mark(pending: int) -> int:
    """The word for which the current cell of a pending slot was sealed."""
    return (pending & ~3) - SEQ_ONE | pending & WORD_CELL


def sealed(region: Any, slot: int, word: int) -> bytes:
    """The bytes of the record that a slot published under `word`, b"" for none. For whoever holds the writer lock.

    Raises ``RegionDamagedError`` where they do not fit the seal: what was damaged must not be sealed again as if
    it were whole, nor be believed in how long it is.
    """
    words = region.words
    cell = slot + SLOT_CELL + 2 * (word & WORD_CELL)
    block = words[cell]
    record = b""
    if block:
        try:
            _, key_length, _, _, value_length = RECORD_LENGTHS.unpack_from(region.data, block * UNIT)
        except struct.error:
            key_length = value_length = 0
        record = region.data[block * UNIT : block * UNIT + RECORD_SIZE + key_length + value_length]
    if crc32(record, word) != words[cell + 1]:
        raise RegionDamagedError(
            f"the record of slot {slot} in {region.path} does not fit its seal: it was damaged; `repair` saves "
            "the rest",
            path=region.path,
            problems=(f"slot {slot}",),
        )
    return record


class Reader:
    """Reads of one region. Safe from any thread; takes no lock unless it must."""

    __slots__ = ("coordinator", "fallbacks", "region", "retries")

    def __init__(self, region: Region, coordinator: Coordinator) -> None:
        self.region = region
        self.coordinator = coordinator
        self.retries = 0
        self.fallbacks = 0

    # --- one key -------------------------------------------------------------------------------------
    def find(self, key: bytes, hashed: int) -> Optional[Record]:
        """The record of `key`, expired or not; None if there is none."""
        for _ in range(ATTEMPTS):
            try:
                return self._find(key, hashed)
            except _TRY_AGAIN:
                self.region.follow()  # what was cut off at the end of the view does not fit its seal either
            self.retries += 1
        return self._under_lock(lambda: self._find(key, hashed))

    def _find(self, key: bytes, hashed: int) -> Optional[Record]:  # noqa: PLR0912 - the hot part of a slow read
        region = self.region
        words = region.words
        data = region.data
        seen: Optional[Tuple[int, int, int]] = None
        for _ in range(ATTEMPTS):
            base = 4 * words[DESCRIPTORS + (hashed & PARTITIONS - 1)] + BLOCK_HEADER_WORDS
            mask = words[base - 1]
            start = i = hashed >> 8 & mask
            while True:
                slot = words[base + i]
                if slot == EMPTY:
                    break
                if slot != TOMBSTONE and words[slot + SLOT_HASH] == hashed:
                    word = words[slot]
                    if word & WORD_PENDING:
                        record = self.read_slot(slot)
                        if record is not None and record.key == key:
                            return record
                    else:
                        cell = slot + SLOT_CELL + 2 * (word & WORD_CELL)
                        block = words[cell]
                        if block:
                            at = block * UNIT
                            _, key_length, _, _, value_length = RECORD_LENGTHS.unpack_from(data, at)
                            copy = data[at : at + RECORD_SIZE + key_length + value_length]
                            if crc32(copy, word) != words[cell + 1] or words[slot] != word:
                                raise _Retry
                            at = RECORD_SIZE + key_length
                            if copy[RECORD_SIZE:at] == key:
                                _, _, kind, flags, _, version, written, expires = RECORD.unpack_from(copy)
                                return _record((slot, word, kind, flags, version, written, expires, key, copy[at:]))
                        elif words[cell + 1] != word or words[slot] != word:
                            raise _Retry
                i = i + 1 & mask
                if i == start:  # a full circle: a table that is being re-used
                    raise _Retry
            # A miss. It counts if nothing that could hide a key moved around a whole fenced probe.
            fence()
            now = (words[DESCRIPTORS + (hashed & PARTITIONS - 1)], words[STRUCTURE], words[COMMIT])
            if now == seen:
                return None
            seen = now
            fence()
        raise _Retry

    def read_slot(self, slot: int) -> Optional[Record]:
        """What the slot holds, expired or not; None if nothing. Raises ``_Retry`` where it was rewritten."""
        region = self.region
        words = region.words
        word = words[slot]
        sealed_for = word
        if word & WORD_PENDING:
            fence()
            decided = words[COMMIT] & 1
            fence()
            sealed_for = word_before_mark(word)
            if decided:
                sealed_for = final_word(sealed_for)
        cell = slot + SLOT_CELL + 2 * (sealed_for & WORD_CELL)
        block = words[cell]
        copy = b""
        if block:
            at = block * UNIT
            _, key_length, _, _, value_length = RECORD_LENGTHS.unpack_from(region.data, at)
            copy = region.data[at : at + RECORD_SIZE + key_length + value_length]
        torn = crc32(copy, sealed_for) != words[cell + 1]
        if word & WORD_PENDING:
            fence()
        if torn or words[slot] != word:
            raise _Retry
        if not block:
            return None
        _, key_length, kind, flags, _, version, written, expires = RECORD.unpack_from(copy)
        at = RECORD_SIZE + key_length
        if word & WORD_PENDING:
            word = 0
        return _record((slot, word, kind, flags, version, written, expires, copy[RECORD_SIZE:at], copy[at:]))

    def touch(self, record: Record) -> None:
        """Tell the eviction clock that a slot is in use. One store, which nothing else depends on."""
        words = self.region.words
        if self.region.writable and words[EVICT] and not words[record.slot + SLOT_USED]:
            words[record.slot + SLOT_USED] = 1

    # --- several keys --------------------------------------------------------------------------------
    def get_many(self, keys: Iterable[Tuple[bytes, int]]) -> List[Optional[Record]]:
        """The records of all `keys` (encoded, hash), all as they were at one moment."""
        wanted = list(keys)
        for _ in range(ATTEMPTS):
            try:
                found = self._get_many(wanted)
            except _TRY_AGAIN:
                self.region.follow()  # what was cut off at the end of the view does not fit its seal either
            else:
                if found is not None:
                    return found
            self.retries += 1
        result = self._under_lock(lambda: [self._find(key, hashed) for key, hashed in wanted])
        return _drop_expired(result)

    def _get_many(self, wanted: List[Tuple[bytes, int]]) -> Optional[List[Optional[Record]]]:
        words = self.region.words
        commit, structure = words[COMMIT], words[STRUCTURE]
        if commit & 1:
            return None
        fence()
        records = [self._find(key, hashed) for key, hashed in wanted]
        fence()
        for record in records:
            if record is not None and words[record.slot] != record.word:
                return None
        if words[COMMIT] != commit or (None in records and words[STRUCTURE] != structure):
            return None
        return _drop_expired(records)

    # --- everything ----------------------------------------------------------------------------------
    def scan(self) -> Iterator[Record]:
        """Every record, each as it was at some moment of the scan; expired ones left out.

        A key that is present throughout comes exactly once, since slots do not move.
        """
        self.region.follow()
        for slot in index.slots(self.region.words):
            record = self.slot(slot)
            if record is not None and not (record.expires_ns and now_ns() >= record.expires_ns):
                yield record

    def slot(self, slot: int) -> Optional[Record]:
        """:meth:`read_slot`, tried again until it holds."""
        words = self.region.words
        word = words[slot]
        if not word & WORD_PENDING and not words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]:
            return None
        for _ in range(ATTEMPTS):
            try:
                return self.read_slot(slot)
            except _TRY_AGAIN:
                self.region.follow()  # what was cut off at the end of the view does not fit its seal either
            self.retries += 1
        return self._under_lock(lambda: self.read_slot(slot))

    # --- the last resort -----------------------------------------------------------------------------
    def _under_lock(self, read: Callable[[], T]) -> T:
        """Read while no writer can write. What does not fit now was damaged, not rewritten."""
        self.fallbacks += 1

        def locked() -> T:
            self.region.follow()
            return read()

        try:
            return self.coordinator.shared(locked)
        except _TRY_AGAIN as error:
            raise RegionDamagedError(
                f"a record of the region {self.region.path} does not fit its seal though nobody writes: it was "
                "damaged; `check` says what, `repair` saves the rest",
                path=self.region.path,
                problems=("seal",),
            ) from error


def _record(fields: Tuple[Any, ...]) -> Record:
    return tuple.__new__(Record, fields)


def _drop_expired(records: List[Optional[Record]]) -> List[Optional[Record]]:
    now = now_ns()
    return [None if r is not None and r.expires_ns and now >= r.expires_ns else r for r in records]
