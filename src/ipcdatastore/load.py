"""An image into a new region that nobody can see yet: records one behind the other, then everything derived.

The region has no name and no other user, so there is neither a lock nor a frame here: a death leaves a
temporary file. Slots and records are written in large pieces; the index, the lists and the counts follow
from them by the same rebuild that mends a damaged region.
"""

from __future__ import annotations

import time
from zlib import crc32

from . import archive, index, intent, rebuild
from .image import Image
from .layout import (
    BLOCK_HEADER_WORDS,
    CHUNK_CURRENT,
    CHUNK_SLOTS_MAX,
    CHUNK_SLOTS_MIN,
    CLEARED_LONG,
    DIRTY,
    EVICT,
    FLAG_PERSIST,
    FLAGGED,
    FLUSHED_AT,
    FLUSHED_LONG,
    IMAGE_NUMBER,
    LENGTH,
    MAX_REGION,
    MAX_SIZE_LONG,
    PAGE,
    PAGE_UNITS,
    PERSIST,
    RECORD,
    SEQ_ONE,
    SLOT_WORDS,
    SYSTEM_CHUNK,
    TAG_SYSTEM,
    TOP,
    UNIT,
    VERSION_LONG,
    chunk_capacity,
    chunk_size,
    record_units,
    size_class,
)
from .platform import now_ns
from .region import Region

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    import struct
    from typing import Iterator, List, Optional, Tuple

    from .image import Facts

_PIECE = 1 << 20
_WORD = SEQ_ONE  # of every slot that is loaded: its first publish, in cell 0


class Wishes:
    """What the opener says of the new region; None: as the image says."""

    __slots__ = ("directory", "evict", "max_size", "persist")

    def __init__(
        self,
        max_size: Optional[int] = None,
        evict: Optional[int] = None,
        persist: Optional[int] = None,
        directory: Optional[str] = None,
    ) -> None:
        self.directory = directory  # that the region shall name
        self.max_size = max_size
        self.evict = evict
        self.persist = persist


def load(path: str, image: Image, wishes: Wishes, number: int) -> int:
    """Load a validated image into the empty region at `path`. How many records came in; what has expired does not.

    `number`: of the newest image in the directory. ``SnapshotDamagedError`` if a record does not fit its seal.
    """
    region = Region(path, writable=True)
    try:
        loader = _Loader(region, image)
        loader.run()
        _store_header(region, image.facts, wishes, number, flagged=loader.flagged)
        return loader.count
    finally:
        region.close()


def empty(path: str, facts: Optional[Facts], wishes: Wishes, number: int) -> None:
    """Have the empty region at `path` count on from images that it replaces: none of them shows what is in it."""
    region = Region(path, writable=True)
    try:
        _store_header(region, facts, wishes, number, flagged=False)
        region.longs[CLEARED_LONG] = region.longs[VERSION_LONG]
    finally:
        region.close()


def alive(image: Image) -> Iterator[Tuple[bytes, int]]:
    """(record, when it expires on this boot's clock, 0 = never) of each record that has not expired."""
    facts = image.facts
    wall, now = time.time_ns(), now_ns()
    for record in image.records():
        expires = expiry(record, facts, wall, now)
        if expires >= 0:
            yield record, expires


def expiry(record: bytes, facts: Facts, wall: int, now: int) -> int:
    """When a record of an image expires on this boot's clock; 0: never; -1: it has.

    The clock counted from another boot, so the image also says what the wall clock showed.
    """
    expires = RECORD.unpack_from(record)[7]
    if not expires:
        return 0
    left = expires - facts.clock_ns + facts.wall_ns - wall
    return now + left if left > 0 else -1


class _Loader:
    def __init__(self, region: Region, image: Image) -> None:
        self.region = region
        self.image = image
        self.count = 0
        self.flagged = False

    def run(self) -> None:
        found = list(index.chunks(self.region.words))
        most = self.image.size // RECORD.size  # that there can be, whatever the footer says
        chunks = found + self._make_chunks(min(self.image.facts.records, most) - sum(count for _, count in found))
        top = self.region.words[TOP]
        pieces: List[bytes] = []
        waiting = 0
        slots: List[bytes] = []
        pack, pack_slot, unpack = RECORD.pack, _slot_struct().pack, RECORD.unpack_from
        chunk, room = chunks.pop(0)
        slot = first = chunk
        for old, expires in alive(self.image):
            if not room:
                self._store_slots(first, slots)
                if not chunks:  # there are more records than the footer says
                    self._store_records(top, pieces, waiting)
                    chunks = self._make_chunks(CHUNK_SLOTS_MAX)
                    top, waiting = self.region.words[TOP], 0
                slot, room = chunks.pop(0)
                first = slot
            room -= 1
            _, key_length, kind, flags, value_length, version, written, _ = unpack(old)
            record = pack(slot, key_length, kind, flags, value_length, version, written, expires) + old[RECORD.size :]
            units = (len(record) + 15) >> 4
            if units > 64:
                units = record_units(len(record))
            pieces += (record, bytes(units * UNIT - len(record)))
            slots.append(pack_slot(_WORD, top + (waiting >> 4), crc32(record, _WORD), 0, 0, 0, 0, 0))
            waiting += units * UNIT
            if waiting >= _PIECE:
                top = self._store_records(top, pieces, waiting)
                waiting = 0
            if flags & FLAG_PERSIST:
                self.flagged = True
            slot += SLOT_WORDS
            self.count += 1
        self._store_slots(first, slots)
        self._store_records(top, pieces, waiting)
        rebuild.rebuild(self.region, intent.new_nonce())
        self.region.words[DIRTY] = 0

    def _make_chunks(self, slots: int) -> List[Tuple[int, int]]:
        """More chunks, with so many slots: (first slot, slots) of each."""
        words = self.region.words
        found: List[Tuple[int, int]] = []
        last = words[CHUNK_CURRENT]
        while slots > 0:
            asked = max(CHUNK_SLOTS_MIN, min(slots, CHUNK_SLOTS_MAX))
            units = size_class(chunk_size(asked))[1]
            count = chunk_capacity(units)
            block = words[TOP]
            words = self._ensure(block + units)
            words[4 * block] = units << 2 | TAG_SYSTEM
            words[4 * block + 1] = SYSTEM_CHUNK
            words[4 * block + 2] = 0
            words[4 * block + 3] = count
            words[4 * last + 2] = block
            words[CHUNK_CURRENT] = last = block
            words[TOP] = block + units
            found.append((4 * block + BLOCK_HEADER_WORDS, count))
            slots -= count
        return found

    def _store_slots(self, first: int, slots: List[bytes]) -> None:
        data = b"".join(slots)
        self.region.data[4 * first : 4 * first + len(data)] = data
        slots.clear()

    def _store_records(self, top: int, pieces: List[bytes], size: int) -> int:
        end = top + size // UNIT
        words = self._ensure(end)
        self.region.data[top * UNIT : end * UNIT] = b"".join(pieces)
        pieces.clear()
        words[TOP] = end
        return end

    def _ensure(self, top: int) -> memoryview:
        """Make the file reach `top`, in steps of an eighth. The words to use from now on."""
        region = self.region
        if top > region.units:
            pages = region.words[LENGTH]
            region.grow_locked(min(max(-(-top // PAGE_UNITS), pages + (pages >> 3)), MAX_REGION // PAGE))
        return region.words  # type: ignore[no-any-return]


def _slot_struct() -> struct.Struct:
    import struct

    return struct.Struct(f"={SLOT_WORDS}I")


def _store_header(region: Region, facts: Optional[Facts], wishes: Wishes, number: int, *, flagged: bool) -> None:
    words, longs = region.words, region.longs
    if facts is not None:
        longs[VERSION_LONG] = max(longs[VERSION_LONG], facts.version + rebuild.VERSION_JUMP)  # past all given out since
        longs[MAX_SIZE_LONG] = facts.max_size
        words[EVICT] = facts.evict
        words[PERSIST] = facts.persist
        # Not the version that the region has now: the next flush makes it known that the numbers up to there are used.
        longs[FLUSHED_LONG] = facts.version
        words[FLUSHED_AT] = facts.wall_ns // 10**9 & 0xFFFFFFFF
    if wishes.max_size is not None:
        longs[MAX_SIZE_LONG] = wishes.max_size
    longs[MAX_SIZE_LONG] = max(longs[MAX_SIZE_LONG], words[LENGTH] * PAGE)
    if wishes.evict is not None:
        words[EVICT] = wishes.evict
    if wishes.persist is not None:
        words[PERSIST] = wishes.persist
    if wishes.directory is not None:
        archive.store_directory_locked(words, region.data, wishes.directory)
    words[FLAGGED] = int(flagged)
    words[IMAGE_NUMBER] = number
