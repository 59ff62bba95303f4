"""The integrity check: one function for each numbered invariant of ``docs/format.md``. Changes nothing.

Runs on a region at rest: no writer inside, no operation of a dead one left to finish.
"""

from __future__ import annotations

from zlib import crc32

from . import heap, index, log
from .errors import RegionDamagedError
from .layout import (
    BLOCK_HEADER_WORDS,
    CHUNK_CURRENT,
    CLASSES,
    CLEARED_LONG,
    COMMIT,
    COUNT,
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
    LENGTH,
    LOG,
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
    STATE,
    STATE_LIVE,
    SYSTEM_CHUNK,
    SYSTEM_JOURNAL,
    SYSTEM_LOG,
    SYSTEM_TABLE,
    TAG_FREE,
    TAG_RECORD,
    TOMBSTONE,
    TOP,
    UNIT,
    VERSION_LONG,
    WORD_CELL,
    WORD_PENDING,
    list_class,
)

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Set, Tuple

MOST_PROBLEMS = 50


class _Facts:
    """What one pass over slots and heap saw; the invariants compare these with each other."""

    def __init__(self, region: Any) -> None:
        self.region = region
        self.words = region.words
        self.live: Dict[int, bytes] = {}  # slot -> key
        self.block_of: Dict[int, int] = {}  # slot -> block
        self.absent: List[int] = []
        self.records: Dict[int, int] = {}  # block -> slot, from the walk over the heap
        self.free: Dict[int, int] = {}  # block -> units, likewise
        self.system: Dict[int, Tuple[int, int]] = {}  # block -> (kind, units), likewise
        self.expiring = 0
        self.flagged = False
        self.newest = 0


def check(region: Any) -> List[str]:
    """Everything that is wrong with the region, as sentences; an empty list if nothing is."""
    problems: List[str] = []
    facts = _Facts(region)
    for invariant in (
        _header,
        _at_rest,
        _slots,
        _heap_walk,
        _owners,
        _free_lists,
        _system_blocks,
        _index,
        _slot_chain,
        _counts,
    ):
        try:
            for problem in invariant(facts):
                problems.append(f"{invariant.__name__.strip('_')}: {problem}")
                if len(problems) >= MOST_PROBLEMS:
                    return problems
        except (IndexError, RegionDamagedError) as error:
            problems.append(f"{invariant.__name__.strip('_')}: {error}")
        if problems and invariant in (_header, _at_rest, _heap_walk):
            break  # what follows would only repeat it
    return problems


def settings_problem(region: Any) -> str:
    """What is wrong with the settings in the header, "" if nothing is."""
    words = region.words
    if not PAGE <= region.longs[MAX_SIZE_LONG] <= MAX_REGION:
        return f"the size limit is {region.longs[MAX_SIZE_LONG]} bytes"
    if words[EVICT] not in EVICT_POLICIES.values():
        return f"eviction policy {words[EVICT]} is unknown"
    if words[PERSIST] not in PERSIST_POLICIES.values():
        return f"persistence policy {words[PERSIST]} is unknown"
    return ""


def _header(facts: _Facts) -> Iterator[str]:
    """I1: the header's words lie within their bounds."""
    words = facts.words
    if words[STATE] != STATE_LIVE:
        yield f"the region's state is {words[STATE]}, not live"
    if words[LENGTH] * PAGE_UNITS != facts.region.units:
        yield f"the published length is {words[LENGTH]} pages, the mapping has {facts.region.units} units"
    if not HEAP_START <= words[TOP] <= facts.region.units:
        yield f"the top is unit {words[TOP]} of {facts.region.units}"
    if not HEAP_START <= words[HAND] <= max(words[TOP], HEAP_START):
        yield f"the hand is at unit {words[HAND]}, the top at {words[TOP]}"
    problem = settings_problem(facts.region)
    if problem:
        yield problem
    if any(words[RESERVED_WORDS[0] : RESERVED_WORDS[1]]):
        yield "reserved words are not zero"
    for partition, table in enumerate(words[DESCRIPTORS : DESCRIPTORS + PARTITIONS].tolist()):
        if not HEAP_START <= table < words[TOP]:
            yield f"the table of partition {partition} is said to be at unit {table}"
    if words[IMAGES] > 2:
        yield f"the path of the images is said to be in half {words[IMAGES]} of its area"


def _at_rest(facts: _Facts) -> Iterator[str]:
    """I2: no operation is under way."""
    words = facts.words
    if words[DIRTY]:
        yield "a writer died inside: the next write repairs it"
    if words[COMMIT] & 1:
        yield "the commit word is odd"
    if words[JOURNAL_COUNT]:
        yield f"the journal holds {words[JOURNAL_COUNT]} entries"


def _slots(facts: _Facts) -> Iterator[str]:
    """I3: every published record lies within the heap, belongs to its slot and fits its seal. I4: keys are unique."""
    words, data = facts.words, facts.region.data
    keys: Set[bytes] = set()
    end = words[TOP] * UNIT
    for slot in index.slots(words):
        word = words[slot]
        if word & WORD_PENDING:
            yield f"slot {slot} is pending"
        cell = slot + SLOT_CELL + 2 * (word & WORD_CELL)
        block = words[cell]
        if not block:
            facts.absent.append(slot)
            if words[cell + 1] != word:
                yield f"slot {slot} holds nothing, but its seal does not fit"
            continue
        at = block * UNIT
        if block < HEAP_START or at + RECORD_SIZE > end:
            yield f"slot {slot} names block {block} outside of the heap"
            continue
        owner, key_length, _, flags, value_length, version, _, expires = RECORD.unpack_from(data, at)
        size = RECORD_SIZE + key_length + value_length
        if owner != slot or at + size > end or crc32(data[at : at + size], word) != words[cell + 1]:
            yield f"the record of slot {slot} in block {block} does not fit its seal"
            continue
        key = data[at + RECORD_SIZE : at + RECORD_SIZE + key_length]
        if key in keys:
            yield f"key {key!r} is held twice"
        keys.add(key)
        facts.live[slot] = key
        facts.block_of[slot] = block
        facts.expiring += expires != 0
        facts.flagged = facts.flagged or flags & FLAG_PERSIST != 0
        facts.newest = max(facts.newest, version)


def _heap_walk(facts: _Facts) -> Iterator[str]:
    """I5: blocks lie one behind the other from the start of the heap to the top."""
    unit = HEAP_START
    boundaries = {unit}
    top = facts.words[TOP]
    while unit < top:
        block = heap.block_at(facts.region, unit)
        if block.tag == TAG_RECORD:
            facts.records[unit] = block.first_word
        elif block.tag == TAG_FREE:
            facts.free[unit] = block.units
        else:
            facts.system[unit] = (facts.words[4 * unit + 1], block.units)
        unit += block.units
        boundaries.add(unit)
    if unit != top:
        yield f"the last block ends at unit {unit}, the top is {top}"
    if facts.words[HAND] not in boundaries:
        yield f"the hand, unit {facts.words[HAND]}, is inside of a block"


def _owners(facts: _Facts) -> Iterator[str]:
    """I6: every record in the heap is published by its slot, and every published record is in the heap."""
    for unit, slot in facts.records.items():
        if facts.block_of.get(slot) != unit:
            yield f"the record in block {unit} is not published by slot {slot}: the block leaked"
    for slot, block in facts.block_of.items():
        if block not in facts.records:
            yield f"slot {slot} publishes block {block}, which is no record of the heap"


def _free_lists(facts: _Facts) -> Iterator[str]:
    """I7: every free block is on the list of its class exactly once, with right links; their sum is kept."""
    words = facts.words
    listed: Set[int] = set()
    for number in range(CLASSES):
        previous, unit = 0, words[HEADS + number]
        while unit:
            if unit in listed or unit not in facts.free:
                yield f"the free list of class {number} leads to unit {unit}, which is not free or listed twice"
                break
            listed.add(unit)
            if previous and words[4 * unit + 2] != previous:
                yield f"free block {unit} names {words[4 * unit + 2]} as the one before it, not {previous}"
            if list_class(facts.free[unit]) != number:
                yield f"free block {unit} of {facts.free[unit]} units is on the list of class {number}"
            previous, unit = unit, words[4 * unit + 1]
    lost = sorted(set(facts.free) - listed)
    if lost:
        yield f"{len(lost)} free blocks are on no list, the first at unit {lost[0]}"
    total = sum(facts.free.values())
    if total != words[FREE_UNITS]:
        yield f"{total} units are free, the header says {words[FREE_UNITS]}"


def _system_blocks(facts: _Facts) -> Iterator[str]:
    """I8: every system block is in use: a chunk of the chain, a table of a partition, the journal, or the log."""
    words = facts.words
    wanted = {(first - BLOCK_HEADER_WORDS) // 4: SYSTEM_CHUNK for first, _ in index.chunks(words)}
    tables = [table for table in words[DESCRIPTORS : DESCRIPTORS + PARTITIONS].tolist() if table]
    wanted.update((table, SYSTEM_TABLE) for table in tables)
    if words[JOURNAL]:
        wanted[words[JOURNAL]] = SYSTEM_JOURNAL
    if words[LOG]:
        wanted[words[LOG]] = SYSTEM_LOG
    found = {unit: kind for unit, (kind, _) in facts.system.items()}
    for unit in sorted({**wanted, **found}):
        if wanted.get(unit) != found.get(unit):
            yield f"system block {unit}: wanted {wanted.get(unit)}, found {found.get(unit)}"
    if words[LOG]:
        log.ring(facts.region)
    if len(set(tables)) != len(tables):
        yield "two partitions share a table"
    for first, count in index.chunks(words):
        if BLOCK_HEADER_WORDS + SLOT_WORDS * count > words[first - BLOCK_HEADER_WORDS] >> 2 << 2:
            yield f"the chunk at word {first} is too small for its {count} slots"
    for table in tables:
        size = words[4 * table + 3] + 1
        if size & size - 1 or BLOCK_HEADER_WORDS + size > 4 * facts.system.get(table, (0, 0))[1]:
            yield f"table {table} has {size} entries"


def _index(facts: _Facts) -> Iterator[str]:
    """I9: a probe for each key ends at its slot; every entry names a slot that holds a record."""
    words, data = facts.words, facts.region.data
    seed = facts.region.header.seed
    entries = 0
    for partition in range(PARTITIONS):
        table = words[DESCRIPTORS + partition]
        if not table:
            continue
        base = 4 * table + BLOCK_HEADER_WORDS
        cells = words[base : base + words[base - 1] + 1].tolist()
        used = sum(cell != EMPTY for cell in cells)
        if used != words[base - 2] or used == len(cells):
            yield f"table {table} has {used} used entries of {len(cells)}, its header says {words[base - 2]}"
        for slot in cells:
            if slot not in (EMPTY, TOMBSTONE):
                entries += 1
                if slot not in facts.live:
                    yield f"table {table} names slot {slot}, which holds nothing"
    if entries != len(facts.live):
        yield f"the tables name {entries} slots, {len(facts.live)} hold records"
    for slot, key in facts.live.items():
        hashed = crc32(key, seed)
        if words[slot + SLOT_HASH] != hashed:
            yield f"slot {slot} has hash {words[slot + SLOT_HASH]:#x}, its key {hashed:#x}"
        elif index.find(words, data, key, hashed)[0] != slot:
            yield f"a probe for key {key!r} does not end at slot {slot}"


def _slot_chain(facts: _Facts) -> Iterator[str]:
    """I10: every slot without a record is on the chain of free slots once, unless it is used up or was never used."""
    words = facts.words
    chain: Set[int] = set()
    slot = words[SLOT_FREE]
    absent = set(facts.absent)
    while slot:
        if slot in chain or slot not in absent:
            yield f"the chain of free slots leads to {slot}, which is not free or was there before"
            return
        chain.add(slot)
        slot = words[slot + SLOT_HASH]
    current = words[CHUNK_CURRENT]
    never: Set[int] = set()
    later = False
    for first, count in index.chunks(words):
        mine = (first - BLOCK_HEADER_WORDS) // 4 == current
        if later:
            never.update(range(first, first + 8 * count, 8))
        elif mine:
            if words[SLOT_END] != first + 8 * count or not first <= words[SLOT_TOP] <= words[SLOT_END]:
                yield f"never-used slots lie from {words[SLOT_TOP]} to {words[SLOT_END]}, not in chunk {current}"
            else:
                never.update(range(words[SLOT_TOP], words[SLOT_END], 8))
        later = later or mine
    missing = [s for s in absent - chain - never if words[s] >> SEQ_SHIFT < SEQ_RETIRE]
    if missing:
        yield f"{len(missing)} free slots are lost, the first is {min(missing)}"
    if chain & never:
        yield f"slot {min(chain & never)} is both free and never used"


def _counts(facts: _Facts) -> Iterator[str]:
    """I11: the counts are right, and the marks known. I12: the region's version is behind nothing that has one."""
    words = facts.words
    if words[COUNT] != len(facts.live):
        yield f"{len(facts.live)} slots hold records, the header says {words[COUNT]}"
    if words[EXPIRING] != facts.expiring:
        yield f"{facts.expiring} records have an expiry, the header says {words[EXPIRING]}"
    if facts.region.longs[VERSION_LONG] < facts.newest:
        yield f"the region's version {facts.region.longs[VERSION_LONG]} is behind a record's, {facts.newest}"
    longs = facts.region.longs
    if longs[VERSION_LONG] > MAX_VERSION:
        yield f"the region's version is {longs[VERSION_LONG]}, which was never given out"
    for name, address in (("last image", FLUSHED_LONG), ("last clear", CLEARED_LONG)):
        if longs[address] > longs[VERSION_LONG]:
            yield f"the {name} is said to be of version {longs[address]}, the region is at {longs[VERSION_LONG]}"
    if facts.flagged and not words[FLAGGED]:
        yield "a record is marked to be kept, the header says that none is"
