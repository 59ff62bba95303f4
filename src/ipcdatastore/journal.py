"""The transaction journal: which slots take part, and each one's way forward or back.

The journal is a heap block that ``JOURNAL`` names; ``JOURNAL_COUNT`` entries of it hold. Every change of an
entry's state (reserved -> finished, or reserved -> undone) is one atomic step that also changes the count,
so whoever recovers goes on where the dead writer stopped. Shared by :mod:`transaction` and
:mod:`recovery`, which must agree on it to the last store.
"""

from __future__ import annotations

from zlib import crc32

from . import heap, index, intent, log
from .heap import Plan
from .layout import (
    BLOCK_HEADER_WORDS,
    COMMIT,
    COUNT,
    EVENT_DELETE,
    EVENT_SET,
    EXPIRING,
    JOURNAL,
    JOURNAL_COUNT,
    JOURNAL_MIN,
    JOURNAL_WORDS,
    LOG,
    RECORD,
    RECORD_LENGTHS,
    RECORD_SIZE,
    SEQ_SHIFT,
    SLOT_CELL,
    STRUCTURE,
    SYSTEM_JOURNAL,
    TAG_SYSTEM,
    UNIT,
    VERSION_LONG,
    WORD_CELL,
    journal_size,
    record_units,
    size_class,
)
from .platform import fence
from .reader import burnt_word, final_word, pending_word, sealed

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, List, Sequence, Tuple


class Entry:
    """One slot of a transaction: its word before, new block and its units (0 = delete), old block (0 = insert)."""

    __slots__ = ("before", "block", "old", "slot", "units")

    def __init__(self, slot: int, before: int, block: int, old: int, units: int) -> None:
        self.slot = slot
        self.before = before
        self.block = block
        self.old = old
        self.units = units


def entry_address(words: Any, number: int) -> int:
    """The word index of an entry."""
    return int(4 * words[JOURNAL] + BLOCK_HEADER_WORDS + JOURNAL_WORDS * number)


def entries(words: Any) -> List[Entry]:
    """The entries that hold."""
    first, last = entry_address(words, 0), entry_address(words, words[JOURNAL_COUNT])
    if last > len(words):
        raise IndexError("the journal's entries reach beyond the region")
    flat = words[first:last].tolist()
    return [Entry(*flat[i : i + JOURNAL_WORDS]) for i in range(0, len(flat), JOURNAL_WORDS)]


def capacity(words: Any) -> int:
    """How many entries the journal has room for; 0 if there is none yet."""
    return int(words[4 * words[JOURNAL] + 2]) if words[JOURNAL] else 0


def units_for(count: int) -> int:
    """Units of a journal for `count` entries."""
    return size_class(journal_size(max(count, JOURNAL_MIN)))[1]


def plan_capacity(plan: Plan, region: Any, count: int) -> bool:
    """Plan a journal for `count` entries in place of the one there is, which holds none. False: no room."""
    units = units_for(count)
    block = heap.carve(plan, units, region.units)
    if not block:
        return False
    old = plan.load(JOURNAL)
    if old:
        heap.push(plan, old, region.words[4 * old] >> 2)
    plan[4 * block] = units << 2 | TAG_SYSTEM
    plan[4 * block + 1] = SYSTEM_JOURNAL
    plan[4 * block + 2] = (units * UNIT // 4 - BLOCK_HEADER_WORDS) // JOURNAL_WORDS
    plan[4 * block + 3] = 0
    plan[JOURNAL] = block
    return True


def plan_append(plan: Plan, entry: Entry) -> None:
    """Plan one more entry. There is room: see :func:`capacity`."""
    number = plan.load(JOURNAL_COUNT)
    address = entry_address(plan.words, number)
    values = (entry.slot, entry.before, entry.block, entry.old, entry.units)
    for offset, value in enumerate(values):
        plan[address + offset] = value
    plan[JOURNAL_COUNT] = number + 1


if TYPE_CHECKING:
    Member = Tuple[int, int]  # a slot, and its word before the transaction
    Happening = Tuple[int, int, bytes]  # kind of event, version, key


def publish(region: Any, members: Sequence[Member], events: Sequence[Happening] = ()) -> None:
    """From sealed cells to the published transaction. Readers see all of it from the store of ``COMMIT`` on."""
    words = region.words
    fence()
    for slot, before in members:
        words[slot] = pending_word(before)
    fence()
    words[COMMIT] = words[COMMIT] + 1 & 0xFFFFFFFF  # PUBLISH: odd, the other cells hold
    finish_publish(region, members, events)


def finish_publish(region: Any, members: Sequence[Member], events: Sequence[Happening] = ()) -> None:
    """After the commit: final words, the events, then an even commit word. Done again by recovery."""
    words = region.words
    fence()
    for slot, before in members:
        words[slot] = final_word(before)
    fence()
    words[STRUCTURE] = words[STRUCTURE] + 1 & 0xFFFFFFFF
    # Before the commit word is even again: a death in between is repeated from here, and watchers skip what they know.
    log.announce(region, events)
    words[COMMIT] = words[COMMIT] + 1 & 0xFFFFFFFF
    fence()


def events(region: Any, members: Sequence[Entry]) -> List[Happening]:
    """What a transaction announces, complete and with its records still there: (kind, version, key) in their order."""
    words = region.words
    if not words[LOG]:
        return []
    version = int(region.longs[VERSION_LONG]) - len(members)
    found: List[Happening] = []
    for number, entry in enumerate(members):
        key = _key_at(region, entry.block or entry.old)
        moves = not entry.block and number + 1 < len(members) and key == _key_at(region, members[number + 1].block)
        if not moves:  # a key that leaves a used-up slot for another is not deleted
            found.append((EVENT_SET if entry.block else EVENT_DELETE, version + number + 1, key))
    return found


def _key_at(region: Any, block: int) -> bytes:
    if not block:
        return b""
    _, key_length, _, _, _ = RECORD_LENGTHS.unpack_from(region.data, block * UNIT)
    return bytes(region.data[block * UNIT + RECORD_SIZE : block * UNIT + RECORD_SIZE + key_length])


def finish(region: Any, nonce: int, members: List[Entry]) -> None:
    """Give back what a published transaction replaced, one atomic step an entry, from the last on."""
    for number in range(len(members) - 1, -1, -1):
        entry = members[number]
        plan = Plan(region.words)
        if entry.old:
            heap.push(plan, entry.old, _units_at(region, entry.old))
        if not entry.block:
            index.give_slot(plan, entry.slot, entry.before >> SEQ_SHIFT)
        change = bool(entry.block) - bool(entry.old)
        if change:
            plan[COUNT] = plan.load(COUNT) + change
        change = _expires(region, entry.block) - _expires(region, entry.old)
        if change:
            plan[EXPIRING] = plan.load(EXPIRING) + change
        plan[JOURNAL_COUNT] = number
        intent.step(region, nonce, plan)


def undo(region: Any, nonce: int, members: List[Entry]) -> None:
    """Take back a transaction that was not published: burn what may have been sealed, then free, entry by entry."""
    for entry in members:
        burn(region, entry.slot, entry.before)
    for number in range(len(members) - 1, -1, -1):
        entry = members[number]
        plan = Plan(region.words)
        if entry.block:
            heap.push(plan, entry.block, entry.units)
        if not entry.old:
            index.give_slot(plan, entry.slot, entry.before >> SEQ_SHIFT)
        plan[JOURNAL_COUNT] = number
        intent.step(region, nonce, plan)


def burn(region: Any, slot: int, before: int) -> None:
    """Publish the slot's old record again, under a word past every one that a dead writer may have sealed.

    Two contents sealed for one word would be two truths for a reader that sees stores out of order.
    """
    words = region.words
    target = burnt_word(before)
    if words[slot] == target:
        return  # an earlier recovery got this far
    block = words[slot + SLOT_CELL + 2 * (before & WORD_CELL)]
    record = sealed(region, slot, before)
    cell = slot + SLOT_CELL + 2 * (target & WORD_CELL)
    words[cell] = block
    words[cell + 1] = crc32(record, target)
    fence()
    words[slot] = target  # PUBLISH: the same record again
    fence()


def _units_at(region: Any, block: int) -> int:
    _, key_length, _, _, value_length = RECORD_LENGTHS.unpack_from(region.data, block * UNIT)
    return record_units(RECORD_SIZE + key_length + value_length)


def _expires(region: Any, block: int) -> int:
    return int(block != 0 and RECORD.unpack_from(region.data, block * UNIT)[7] != 0)
