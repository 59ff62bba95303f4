"""Make everything derived anew: index, free lists, counts. Under the writer lock, with ``DIRTY`` set.

The truth is: the slot chunks, each slot's word and cells, and the records they publish. Words are never
rebuilt and never reset. The new tables go into space that nothing published uses, and one descriptor
store each switches readers over, so nobody reads a table while it is written. May be killed anywhere:
``KIND_REBUILD`` (or ``KIND_REPAIR``) stays declared, and the next holder of the lock begins again.
"""

from __future__ import annotations

import os
import struct
from zlib import crc32

from . import chain, index, journal, log
from .errors import RegionDamagedError, StoreFullError
from .layout import (
    BLOCK_HEADER_WORDS,
    CHUNK_CURRENT,
    CLASSES,
    CLEARED_LONG,
    COMMIT,
    COUNT,
    DEFAULT_MAX_SIZE,
    DESCRIPTORS,
    DIRTY,
    EMPTY,
    EVICT,
    EVICT_POLICIES,
    EXPIRING,
    FLAG_PERSIST,
    FLAGGED,
    FLUSHED_LONG,
    FREE_UNITS,
    HAND,
    HEADS,
    HEAP_START,
    IMAGES,
    JOURNAL,
    JOURNAL_COUNT,
    KIND_REBUILD,
    KIND_REPAIR,
    LENGTH,
    LOG,
    LOG_BREAKS,
    MAX_REGION,
    MAX_SIZE_LONG,
    MAX_VERSION,
    PAGE,
    PAGE_UNITS,
    PARTITIONS,
    PERSIST,
    PERSIST_POLICIES,
    RECORD,
    RECORD_SIZE,
    RESERVED_WORDS,
    SEQ_RETIRE,
    SEQ_SHIFT,
    SLOT_CELL,
    SLOT_END,
    SLOT_FREE,
    SLOT_HASH,
    SLOT_TOP,
    SLOT_WORDS,
    STRUCTURE,
    SYSTEM_JOURNAL,
    SYSTEM_LOG,
    SYSTEM_TABLE,
    TABLE_MIN,
    TAG_FREE,
    TAG_MASK,
    TAG_SYSTEM,
    TOMBSTONE,
    TOP,
    UNIT,
    UNUSED,
    UNUSED_TOO,
    VERSION_LONG,
    WORD_CELL,
    WORD_PENDING,
    journal_size,
    list_class,
    record_units,
    size_class,
    table_size,
)
from .platform import fence
from .reader import burnt_word, final_word, next_word, word_before_mark

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Set, Tuple

MAX_SEQ = 0xFFFFFFFF >> SEQ_SHIFT
VERSION_JUMP = 1 << 32  # past every version that was given out and is not known: of a damaged header, since an image

if TYPE_CHECKING:
    Extent = Tuple[int, int]  # unit, units


class Scan:
    """What the slots publish."""

    __slots__ = ("damaged", "expiring", "extents", "flagged", "free", "live", "version")

    def __init__(self) -> None:
        self.live: List[List[int]] = [[] for _ in range(PARTITIONS)]  # slots of each partition
        self.free: List[int] = []
        self.extents: List[Extent] = []
        self.damaged: List[int] = []
        self.expiring = 0
        self.flagged = False
        self.version = 0


def rebuild(region: Any, nonce: int, *, after_damage: bool = False, salvage: bool = False) -> List[int]:
    """Make the region's derived data from its slots. The slots whose record was damaged.

    With `salvage`, damaged records are given up (their slots published as holding nothing); without, they
    raise ``RegionDamagedError`` before anything is changed.
    """
    words = region.words
    after_damage = after_damage or salvage
    words[DIRTY] = nonce | (KIND_REPAIR if after_damage else KIND_REBUILD)
    jump = VERSION_JUMP if after_damage else 0
    if after_damage and region.longs[VERSION_LONG] > MAX_VERSION:
        region.longs[VERSION_LONG] = 0  # no version was ever that high: the records tell below
    region.longs[VERSION_LONG] += jump
    if salvage:
        _map_all(region)
        chain.mend(region)
        words = region.words
    else:
        chain.check(region)
    _settle(region, after_damage, salvage)
    # An earlier rebuild may have died after it switched some tables. What those replaced is used again below, so
    # whoever still reads there must not take what he finds for the truth.
    fence()
    words[STRUCTURE] = words[STRUCTURE] + 1 & 0xFFFFFFFF
    fence()
    seen = scan(region)
    if salvage:
        _find_doubles(region, seen)
    if seen.damaged:
        if not salvage:
            raise RegionDamagedError(
                f"{len(seen.damaged)} published records of {region.path} do not fit their seals",
                path=region.path,
                problems=tuple(f"slot {slot}" for slot in seen.damaged[:10]),
            )
        for slot in seen.damaged:
            _give_up(region, slot, words[slot])
        seen.free += seen.damaged
    if salvage:
        _mend_header(region)
    chunks = _chunk_extents(words)
    if after_damage:  # records may have gone that nobody deleted
        words[LOG_BREAKS] = words[LOG_BREAKS] + 1 & 0xFFFFFFFF
    chunks += _kept(words, JOURNAL, SYSTEM_JOURNAL, journal_size, seen.extents + chunks)
    chunks += _kept(words, LOG, SYSTEM_LOG, _ring_size, seen.extents + chunks)
    tables = _old_tables(words)
    gaps, top = _gaps(region, sorted(seen.extents + chunks), tables)
    _switch_tables(region, seen.live, gaps, top)
    words = region.words  # the file may have grown
    _store_free_lists(region, sorted(seen.extents + chunks + _tables(words)))
    _store_slots(words, seen.free)
    words[COUNT] = len(seen.extents)
    words[EXPIRING] = seen.expiring
    words[JOURNAL_COUNT] = 0
    _store_versions(region, seen.version + jump, salvage)
    if seen.flagged and not words[FLAGGED]:
        words[FLAGGED] = 1
    words[DIRTY] = nonce
    return seen.damaged


def _store_versions(region: Any, least: int, salvage: bool) -> None:
    longs = region.longs
    longs[VERSION_LONG] = max(longs[VERSION_LONG], least)
    if salvage:
        longs[CLEARED_LONG] = min(longs[CLEARED_LONG], longs[VERSION_LONG])
        longs[FLUSHED_LONG] = 0  # the images do not show what was given up


def _settle(region: Any, burn: bool, salvage: bool) -> None:
    """No pending words; with the intent lost, no word that the dead writer may have sealed either."""
    words = region.words
    decided = words[COMMIT] & 1
    for slot in index.slots(words):
        word = words[slot]
        if word >> SEQ_SHIFT > MAX_SEQ - 4:  # past every word that is given out
            if not salvage:
                raise RegionDamagedError(
                    f"the word of slot {slot} is damaged", path=region.path, problems=(f"slot {slot}",)
                )
            _give_up(region, slot, word)
        elif word & WORD_PENDING:
            before = word_before_mark(word)
            if decided:
                words[slot] = final_word(before)
            else:
                _burn(region, slot, before, salvage)
        elif burn and _is_sealed_ahead(region, slot, word):
            _burn(region, slot, word, salvage)
    fence()
    if decided:
        words[COMMIT] = words[COMMIT] + 1 & 0xFFFFFFFF


def _burn(region: Any, slot: int, before: int, salvage: bool) -> None:
    try:
        journal.burn(region, slot, before)
    except RegionDamagedError:
        if not salvage:
            raise
        _give_up(region, slot, before)


def _is_sealed_ahead(region: Any, slot: int, word: int) -> bool:
    """Whether the idle cell holds something sealed for a word yet to come."""
    words = region.words
    cell = slot + SLOT_CELL + 2 * (~word & WORD_CELL)
    block, seal = words[cell], words[cell + 1]
    ahead = (next_word(word), final_word(word))
    if not block:
        return seal in ahead
    if 4 * block >= len(words) or words[4 * block] != slot:
        return False
    record = _record_bytes(region, block)
    return any(crc32(record, word) == seal for word in ahead)


def _record_bytes(region: Any, block: int) -> bytes:
    try:
        _, key_length, _, _, value_length, _, _, _ = RECORD.unpack_from(region.data, block * UNIT)
    except struct.error:
        return b""
    return bytes(region.data[block * UNIT : block * UNIT + RECORD_SIZE + key_length + value_length])


def scan(region: Any) -> Scan:
    """Read every slot, verifying each seal."""
    words, data = region.words, region.data
    unpack = RECORD.unpack_from
    seen = Scan()
    live, free, damaged = seen.live, seen.free, seen.damaged
    end = len(data)
    for slot in index.slots(words):
        word = words[slot]
        cell = slot + SLOT_CELL + 2 * (word & WORD_CELL)
        block = words[cell]
        if not block:
            (free if words[cell + 1] == word else damaged).append(slot)
            continue
        at = block * UNIT
        if at + RECORD_SIZE > end:
            damaged.append(slot)
            continue
        owner, key_length, _, flags, value_length, version, _, expires = unpack(data, at)
        size = RECORD_SIZE + key_length + value_length
        if owner != slot or at + size > end or crc32(data[at : at + size], word) != words[cell + 1]:
            damaged.append(slot)
            continue
        key = data[at + RECORD_SIZE : at + RECORD_SIZE + key_length]
        hashed = crc32(key, region.header.seed)
        if words[slot + SLOT_HASH] != hashed:
            words[slot + SLOT_HASH] = hashed
        live[hashed & PARTITIONS - 1].append(slot)
        seen.extents.append((block, (size + 15) >> 4 if size <= 1024 else record_units(size)))
        seen.expiring += expires != 0
        seen.flagged = seen.flagged or flags & FLAG_PERSIST != 0
        seen.version = max(seen.version, version)
    return seen


def _find_doubles(region: Any, seen: Scan) -> None:
    """Of two slots that hold one key, which only damage can make, the older record counts as damaged."""
    words, data = region.words, region.data
    before = len(seen.damaged)
    for slots in seen.live:
        if len({words[slot + SLOT_HASH] for slot in slots}) == len(slots):
            continue
        newest: Dict[bytes, Tuple[int, int]] = {}
        for slot in list(slots):
            block = words[slot + SLOT_CELL + 2 * (words[slot] & WORD_CELL)]
            record = _record_bytes(region, block)
            fields = RECORD.unpack_from(record)
            key = record[RECORD_SIZE : RECORD_SIZE + fields[1]]
            version, other = newest.get(key, (0, 0))
            loser = slot if version > fields[5] else other
            newest[key] = max((version, other), (fields[5], slot))
            if loser:
                slots.remove(loser)
                seen.damaged.append(loser)
    if len(seen.damaged) == before:
        return
    gone = {words[slot + SLOT_CELL + 2 * (words[slot] & WORD_CELL)] for slot in seen.damaged}
    seen.extents = [extent for extent in seen.extents if extent[0] not in gone]
    seen.expiring = sum(RECORD.unpack_from(data, block * UNIT)[7] != 0 for block, _ in seen.extents)


def _give_up(region: Any, slot: int, before: int) -> None:
    words = region.words
    target = burnt_word(before)
    if target >> SEQ_SHIFT > MAX_SEQ:  # of a damaged word: the slot is never used again
        target = SEQ_RETIRE << SEQ_SHIFT
    cell = slot + SLOT_CELL + 2 * (target & WORD_CELL)
    words[cell] = 0
    words[cell + 1] = target
    fence()
    words[slot] = target  # PUBLISH: the damaged record is gone
    fence()


def _mend_header(region: Any) -> None:
    """Words of the header that nothing tells, back to values that hold."""
    words = region.words
    for address in (UNUSED, UNUSED_TOO, *range(*RESERVED_WORDS)):
        if words[address]:
            words[address] = 0
    if words[EVICT] not in EVICT_POLICIES.values():
        words[EVICT] = EVICT_POLICIES["none"]
    if words[PERSIST] not in PERSIST_POLICIES.values():
        words[PERSIST] = PERSIST_POLICIES["all"]
    if words[IMAGES] > 2:
        words[IMAGES] = 0
    if not PAGE <= region.longs[MAX_SIZE_LONG] <= MAX_REGION:
        region.longs[MAX_SIZE_LONG] = max(DEFAULT_MAX_SIZE, region.units * UNIT)
    if words[LENGTH] * PAGE_UNITS != region.units:
        words[LENGTH] = region.units // PAGE_UNITS


def _map_all(region: Any) -> None:
    """Have the region reach to the end of its file: the published length may be what was damaged."""
    pages = min(os.fstat(region.file.fileno()).st_size, MAX_REGION) // PAGE
    if pages > region.words[LENGTH]:
        try:
            region.grow_locked(pages)
        except StoreFullError:
            return  # the file was made longer, and not filled: nothing is there


def _kept(words: Any, address: int, kind: int, size: Callable[[int], int], used: List[Extent]) -> List[Extent]:
    """The journal or the log that the header names at `address`, if it is one and nobody else's.

    A transaction that deletes needs the journal in a full region; watchers are reading the log.
    """
    block = words[address]
    good = (
        HEAP_START <= block < len(words) // 4
        and words[4 * block] & TAG_MASK == TAG_SYSTEM
        and words[4 * block + 1] == kind
        and 4 * (block + (words[4 * block] >> 2)) <= len(words)
        and size(words[4 * block + 2]) <= words[4 * block] >> 2
    )
    extent = (block, words[4 * block] >> 2) if good else (0, 0)
    if not good or any(unit < block + extent[1] and block < unit + units for unit, units in used):
        words[address] = 0
        return []
    return [extent]


def _ring_size(capacity: int) -> int:
    """Units of a log whose ring has so many; more than there are for what is no capacity of a ring."""
    return log.block_units(capacity) if capacity and not capacity & capacity - 1 else MAX_REGION


def _chunk_extents(words: Any) -> List[Extent]:
    return [
        ((first - BLOCK_HEADER_WORDS) // 4, words[first - BLOCK_HEADER_WORDS] >> 2) for first, _ in index.chunks(words)
    ]


def _table_at(words: Any, block: int) -> Optional[Extent]:
    if not HEAP_START <= block < len(words) // 4 or words[4 * block + 1] != SYSTEM_TABLE:
        return None
    units = words[4 * block] >> 2
    return (block, units) if words[4 * block] & 3 == TAG_SYSTEM and 4 * (block + units) <= len(words) else None


def _tables(words: Any) -> List[Extent]:
    return [(block, words[4 * block] >> 2) for block in words[DESCRIPTORS : DESCRIPTORS + PARTITIONS].tolist() if block]


def _old_tables(words: Any) -> List[Extent]:
    """The tables that readers may still be in, as far as they make sense."""
    found = [_table_at(words, block) for block in words[DESCRIPTORS : DESCRIPTORS + PARTITIONS].tolist()]
    return [extent for extent in found if extent]


def _gaps(region: Any, used: List[Extent], tables: List[Extent]) -> Tuple[List[Extent], int]:
    """(free runs between what is used, end of the last). Two users of one unit are damage."""
    gaps: List[Extent] = []
    at = HEAP_START
    for unit, units in used:
        if unit < at:
            raise RegionDamagedError(
                f"two users of unit {unit} in the heap of {region.path}",
                path=region.path,
                problems=(f"unit {unit} is used twice",),
            )
        if unit > at:
            gaps.append((at, unit - at))
        at = unit + units
    # An old table stays out of the way of the new ones, unless it is nonsense that overlaps a record.
    for unit, units in tables:
        gaps = [part for gap in gaps for part in _without(gap, unit, units)]
        at = max(at, unit + units)
    return gaps, at


def _is_right(words: Any, table: int, slots: List[int]) -> bool:
    """Whether a table is as good as a new one: each slot is found, nothing else is named, and the count fits."""
    extent = _table_at(words, table)
    if extent is None:
        return False
    base, mask = 4 * table + BLOCK_HEADER_WORDS, words[4 * table + 3]
    if mask + 1 > max(TABLE_MIN, 8 * (len(slots) + 1)):
        return False  # far larger than it need be: a smaller one gives the space back
    if mask & mask + 1 or mask + 1 < TABLE_MIN or extent[1] != size_class(table_size(mask + 1))[1]:
        return False
    cells = words[base : base + mask + 1].tolist()
    used = sum(cell != EMPTY for cell in cells)
    named = [cell for cell in cells if cell not in (EMPTY, TOMBSTONE)]
    if used != words[4 * table + 2] or 3 * used > 2 * mask + 3 or sorted(named) != sorted(slots):
        return False
    return all(index.find_entry(words, slot) for slot in slots)


def _without(gap: Extent, unit: int, units: int) -> List[Extent]:
    start, end = gap[0], gap[0] + gap[1]
    low, high = max(start, unit), min(end, unit + units)
    if low >= high:
        return [gap]
    return [(a, b - a) for a, b in ((start, low), (high, end)) if b > a]


def _switch_tables(region: Any, live: List[List[int]], gaps: List[Extent], top: int) -> int:
    """Write a fresh table for each partition and publish it. The top after them."""
    words = region.words
    gaps = sorted(gaps, key=lambda gap: gap[1])
    kept: Set[int] = set()
    for partition, slots in enumerate(live):
        descriptor = DESCRIPTORS + partition
        if words[descriptor] not in kept and _is_right(words, words[descriptor], slots):
            kept.add(words[descriptor])
            continue  # a region that is whole needs no room to be repaired
        entries, mask = index.table_image(words, slots)
        units = index.table_units(len(slots))
        block = 0
        for i, (unit, room) in enumerate(gaps):
            if room >= units:
                block = unit
                gaps[i] = (unit + units, room - units)
                break
        if not block:
            block = top
            top += units
            words = _ensure(region, top)
        words[4 * block] = units << 2 | TAG_SYSTEM
        words[4 * block + 1] = SYSTEM_TABLE
        words[4 * block + 2] = len(slots)
        index.write_table(region, block, entries, mask)
        fence()
        kept.add(block)  # a damaged descriptor may point there
        words[descriptor] = block  # PUBLISH: readers go to the fresh table
    fence()
    words[STRUCTURE] = words[STRUCTURE] + 1 & 0xFFFFFFFF
    return top


def _ensure(region: Any, top: int) -> Any:
    """Make the file reach `top`, in steps of an eighth. The words to use from now on."""
    if top > region.units:
        pages = region.words[LENGTH]
        needed = -(-top // PAGE_UNITS)
        limit = min(region.longs[MAX_SIZE_LONG], MAX_REGION) // PAGE
        region.grow_locked(max(needed, min(pages + max(1, pages >> 3), limit)))
    return region.words


def _store_free_lists(region: Any, used: List[Extent]) -> None:
    """Free lists as the complement of what is used."""
    words = region.words
    top = max([HEAP_START] + [unit + units for unit, units in used])
    heads = [0] * CLASSES
    free = 0
    previous_end = HEAP_START
    for unit, units in used:
        gap = unit - previous_end
        if gap > 0:
            number = list_class(gap)
            following = heads[number]
            words[4 * previous_end] = gap << 2 | TAG_FREE
            words[4 * previous_end + 1] = following
            if following:
                words[4 * following + 2] = previous_end
            heads[number] = previous_end
            free += gap
        previous_end = max(previous_end, unit + units)
    region.data[HEADS * 4 : (HEADS + CLASSES) * 4] = struct.pack(f"={CLASSES}I", *heads)
    words[FREE_UNITS] = free
    words[TOP] = top
    words[HAND] = HEAP_START


def _store_slots(words: Any, free: List[int]) -> None:
    """The chain of free slots; every chunk counts as given out."""
    following = 0
    for slot in reversed(free):
        if words[slot] >> SEQ_SHIFT < SEQ_RETIRE:
            words[slot + SLOT_HASH] = following
            following = slot
    words[SLOT_FREE] = following
    last = end = 0
    for first, count in index.chunks(words):
        last, end = (first - BLOCK_HEADER_WORDS) // 4, first + SLOT_WORDS * count
    words[CHUNK_CURRENT] = last
    words[SLOT_TOP] = words[SLOT_END] = end
