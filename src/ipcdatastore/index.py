"""The index: key hash -> slot, in 256 open-addressing tables; and the chunks that slots live in.

A slot never moves. A table entry is the word index of a slot (0 empty, all ones a tombstone). When a
table fills up, a new one is built beside it, one store of the partition's descriptor switches readers
over, and ``STRUCTURE`` then tells a reader that found nothing to look again.

All of this runs under the writer lock. Nothing here stores outside of a plan, except into memory that
nobody reads yet: a free block past its first three words, or the file past the top.
"""

from __future__ import annotations

import struct

from .errors import RegionDamagedError
from .heap import Plan, carve, push
from .layout import (
    BLOCK_HEADER_WORDS,
    CHUNK_CURRENT,
    CHUNK_FIRST,
    CHUNK_SLOTS_MAX,
    CHUNK_SLOTS_MIN,
    COUNT,
    DESCRIPTORS,
    EMPTY,
    JOURNAL_COUNT,
    PARTITIONS,
    RECORD_LENGTHS,
    RECORD_SIZE,
    SEQ_RETIRE,
    SLOT_CELL,
    SLOT_END,
    SLOT_FREE,
    SLOT_HASH,
    SLOT_TOP,
    SLOT_WORDS,
    STRUCTURE,
    SYSTEM_CHUNK,
    SYSTEM_TABLE,
    TABLE_MIN,
    TAG_SYSTEM,
    TOMBSTONE,
    UNIT,
    WORD_CELL,
    chunk_capacity,
    chunk_size,
    size_class,
    table_size,
)

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Iterator, List, Tuple


def find(words: Any, data: Any, key: bytes, hashed: int) -> Tuple[int, int, int, int, int, int]:
    """(slot, word, block, size, entry, flags) of a key: the writer's look-up, since nothing is torn under the lock.

    The slot is 0 where the key is absent; `size` is the record's bytes; `entry` is the word index of its table
    entry, or, of an absent key, of where to put one. A plain tuple, for speed.
    """
    base = 4 * words[DESCRIPTORS + (hashed & PARTITIONS - 1)] + BLOCK_HEADER_WORDS
    mask = words[base - 1]
    start = i = hashed >> 8 & mask
    hole = 0
    while True:
        slot = words[base + i]
        if slot == EMPTY:
            return 0, 0, 0, 0, hole or base + i, 0
        if slot == TOMBSTONE:
            hole = hole or base + i
        elif words[slot + SLOT_HASH] == hashed:
            word = words[slot]
            block = words[slot + SLOT_CELL + 2 * (word & WORD_CELL)]
            if block:
                at = block * UNIT
                _, key_length, _, flags, value_length = RECORD_LENGTHS.unpack_from(data, at)
                at += RECORD_SIZE
                if data[at : at + key_length] == key:
                    return slot, word, block, RECORD_SIZE + key_length + value_length, base + i, flags
        i = i + 1 & mask
        if i == start:
            raise _full_circle(hashed)


def find_hole(words: Any, hashed: int) -> int:
    """Where an entry for a hash can go, whether or not one for the same key exists."""
    base = 4 * words[DESCRIPTORS + (hashed & PARTITIONS - 1)] + BLOCK_HEADER_WORDS
    mask = words[base - 1]
    start = i = hashed >> 8 & mask
    while words[base + i] not in (EMPTY, TOMBSTONE):
        i = i + 1 & mask
        if i == start:
            raise _full_circle(hashed)
    return int(base + i)


def _full_circle(hashed: int) -> RegionDamagedError:
    partition = hashed & PARTITIONS - 1
    return RegionDamagedError(
        f"the index table of partition {partition} has no empty entry: it was damaged; `repair` makes it anew",
        path="",
        problems=(f"table of partition {partition}",),
    )


def is_crowded(words: Any, entry: int, hashed: int) -> bool:
    """Whether an insert at `entry` needs a new table first, since this one would be over 2/3 full."""
    if words[entry] != EMPTY:
        return False
    base = 4 * words[DESCRIPTORS + (hashed & PARTITIONS - 1)] + BLOCK_HEADER_WORDS
    return bool(3 * words[base - 2] >= 2 * words[base - 1])


def used_address(words: Any, hashed: int) -> int:
    """The word that counts the entries of a hash's table that are not empty."""
    return int(4 * words[DESCRIPTORS + (hashed & PARTITIONS - 1)] + 2)


def live_entries(words: Any, table: int) -> List[int]:
    """The slots that a table names."""
    base = 4 * table + BLOCK_HEADER_WORDS
    entries = words[base : base + words[base - 1] + 1].tolist()
    return [slot for slot in entries if slot not in (EMPTY, TOMBSTONE)]


def table_units(slots: int) -> int:
    """Units of a table with so many slots, and room for as many again."""
    return size_class(table_size(_table_entries(slots)))[1]


def _table_entries(slots: int) -> int:
    size = TABLE_MIN
    while size < 2 * (slots + 1):
        size *= 2
    return size


def table_image(words: Any, slots: List[int]) -> Tuple[List[int], int]:
    """(entries, mask) of a table with these slots and room for as many again."""
    size = _table_entries(len(slots))
    mask = size - 1
    entries = [EMPTY] * size
    for slot in slots:
        i = words[slot + SLOT_HASH] >> 8 & mask
        while entries[i]:
            i = i + 1 & mask
        entries[i] = slot
    return entries, mask


def plan_table(plan: Plan, region: Any, partition: int, limit: int) -> bool:
    """Plan to switch a partition to a fresh table without tombstones. False if there is no room."""
    words = region.words
    old = words[DESCRIPTORS + partition]
    slots = live_entries(words, old)
    entries, mask = table_image(words, slots)
    units = table_units(len(slots))
    block = carve(plan, units, limit)
    if not block:
        return False
    # In this order: a reader of the new table needs its mask and entries, one of the old its words past the links.
    write_table(region, block, entries, mask)
    plan[4 * block] = units << 2 | TAG_SYSTEM
    plan[4 * block + 1] = SYSTEM_TABLE
    plan[4 * block + 2] = len(slots)
    plan[DESCRIPTORS + partition] = block
    plan[STRUCTURE] = plan.load(STRUCTURE) + 1 & 0xFFFFFFFF
    push(plan, old, words[4 * old] >> 2)
    return True


def write_table(region: Any, block: int, entries: List[int], mask: int) -> None:
    """Store what readers of a table need, into a block that nobody reads yet."""
    at = (4 * block + BLOCK_HEADER_WORDS) * 4
    region.data[at : at + 4 * len(entries)] = struct.pack(f"={len(entries)}I", *entries)
    region.words[4 * block + 3] = mask


def needs_chunk(words: Any) -> bool:
    """Whether there is no slot to take."""
    return not words[SLOT_FREE] and words[SLOT_TOP] == words[SLOT_END]


def chunk_units(words: Any) -> int:
    """Units of the next slot chunk: half as many slots as there are records, or will be, within limits."""
    wanted = min(max(CHUNK_SLOTS_MIN, (words[COUNT] + words[JOURNAL_COUNT]) // 2), CHUNK_SLOTS_MAX)
    return size_class(chunk_size(wanted))[1]


def smallest_chunk_units() -> int:
    """Units of a chunk in the smallest size."""
    return size_class(chunk_size(CHUNK_SLOTS_MIN))[1]


def plan_chunk(plan: Plan, region: Any, limit: int, spare: int) -> bool:
    """Plan to have never-used slots to give out again. False if there is no room, or not within `spare` units."""
    words = region.words
    current = words[CHUNK_CURRENT]
    following = words[4 * current + 2]
    if following:
        count = words[4 * following + 3]
    else:
        units = chunk_units(words)
        if units > spare:
            units = smallest_chunk_units()
        if units > spare:
            return False
        following = carve(plan, units, limit)
        if not following:
            units = smallest_chunk_units()
            following = carve(plan, units, limit)
        if not following:
            return False
        region.data[following * UNIT + UNIT : (following + units) * UNIT] = bytes((units - 1) * UNIT)
        count = chunk_capacity(units)
        plan[4 * following] = units << 2 | TAG_SYSTEM
        plan[4 * following + 1] = SYSTEM_CHUNK
        plan[4 * following + 2] = 0
        plan[4 * following + 3] = count
        plan[4 * current + 2] = following  # after all that a reader of the chain needs
    first = 4 * following + BLOCK_HEADER_WORDS
    plan[CHUNK_CURRENT] = following
    plan[SLOT_TOP] = first
    plan[SLOT_END] = first + SLOT_WORDS * count
    return True


def take_slot(plan: Plan, region: Any) -> int:
    """Plan to take a slot that holds nothing. There is one: see :func:`needs_chunk`.

    ``RegionDamagedError`` if the list of free slots leads to one that holds a record, which only damage can make:
    it would be lost under the new one.
    """
    slot = plan.load(SLOT_FREE)
    if slot:
        words = plan.words
        if words[slot + SLOT_CELL + 2 * (words[slot] & WORD_CELL)]:
            raise RegionDamagedError(
                f"the list of free slots of {region.path} names slot {slot}, which holds a record; nothing was "
                "changed: `repair` makes the list anew",
                path=region.path,
                problems=(f"slot {slot} is in use and on the list of free slots",),
            )
        plan[SLOT_FREE] = plan.load(slot + SLOT_HASH)
    else:
        slot = plan.load(SLOT_TOP)
        plan[SLOT_TOP] = slot + SLOT_WORDS
    return slot


def chunks(words: Any) -> Iterator[Tuple[int, int]]:
    """(word index of the first slot, how many) of each chunk. Safe without the lock: the chain only grows."""
    limit = len(words)
    chunk = words[CHUNK_FIRST]
    seen = 0
    while chunk and 4 * chunk + BLOCK_HEADER_WORDS <= limit and seen < limit:
        count = words[4 * chunk + 3]
        first = 4 * chunk + BLOCK_HEADER_WORDS
        if first + SLOT_WORDS * count > limit:
            return
        yield first, count
        seen += count + 1
        chunk = words[4 * chunk + 2]


def slots(words: Any) -> Iterator[int]:
    """The word index of every slot, used or not."""
    for first, count in chunks(words):
        yield from range(first, first + SLOT_WORDS * count, SLOT_WORDS)


def slot_words(words: Any) -> Iterator[Tuple[int, bytes]]:
    """(its first slot, a copy of its slots' words) of each chunk: what changes later shows in the next copy."""
    for first, count in chunks(words):
        yield first, words[first : first + SLOT_WORDS * count : SLOT_WORDS].tobytes()


def find_entry(words: Any, slot: int) -> int:
    """The word index of the table entry that names `slot`, 0 if none does."""
    hashed = words[slot + SLOT_HASH]
    base = 4 * words[DESCRIPTORS + (hashed & PARTITIONS - 1)] + BLOCK_HEADER_WORDS
    mask = words[base - 1]
    start = i = hashed >> 8 & mask
    while words[base + i] != EMPTY:
        if words[base + i] == slot:
            return int(base + i)
        i = i + 1 & mask
        if i == start:
            break
    return 0


def give_slot(plan: Plan, slot: int, seq: int) -> None:
    """Plan that nothing names `slot` any more: a tombstone, and the slot free, unless it is used up."""
    entry = find_entry(plan.words, slot)
    if entry:
        plan[entry] = TOMBSTONE
    if seq < SEQ_RETIRE:
        plan[slot + SLOT_HASH] = plan.load(SLOT_FREE)
        plan[SLOT_FREE] = slot
