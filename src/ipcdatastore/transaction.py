"""Several keys, all or nothing: for readers, for the region, and for whoever finds the writer dead.

1. The mark ``DIRTY`` is set for the whole frame.
2. *Reserve*, one atomic step a key: a block for the record, for a new key a slot (its index entry leads to
   a slot that holds nothing yet, which readers pass over), and the journal entry that says so.
3. Write the records; fill each slot's idle cell, sealed for its final word.
4. Mark each slot pending: readers now ask the commit word which cell holds. Still the old ones.
5. **Commit**: one store makes the commit word odd. All new records are in force.
6. Final words; the commit word even again; then one atomic step a key gives back what was replaced.

Dead before 5: recovery burns the sealed words and undoes the reservations. Dead after: it finishes 6.
"""

from __future__ import annotations

import sys
from zlib import crc32

from . import heap, index, intent, journal, log, rebuild
from .codec import KEEP, decode_key, shorten
from .errors import ConflictError, StoreFullError
from .heap import Plan
from .journal import Entry
from .layout import (
    ALERT,
    ALL_KEYS,
    CLEARED,
    DIRTY,
    EMPTY,
    EVENT_CLEAR,
    FLAGGED,
    KIND_CLEAR,
    LOG,
    RECORD,
    RECORD_SIZE,
    SEQ_RETIRE,
    SEQ_SHIFT,
    SLOT_CELL,
    SLOT_HASH,
    SLOT_USED,
    SYSTEM_RESERVED,
    TAG_SYSTEM,
    UNIT,
    VERSION,
    VERSION_LONG,
    WORD_CELL,
)
from .reader import final_word, sealed
from .writer import Writer

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Tuple


class Write:
    """What a transaction does to one key. No `value`: delete."""

    __slots__ = ("expires", "flags", "hashed", "key", "kind", "value")

    def __init__(
        self, key: bytes, hashed: int, kind: int, flags: int, value: Optional[bytes], expires: int = 0
    ) -> None:
        self.key = key
        self.hashed = hashed
        self.kind = kind
        self.flags = flags
        self.value = value
        self.expires = expires


if TYPE_CHECKING:
    Reads = Dict[bytes, Tuple[int, int]]  # key -> (hash, version that was read, 0 = absent)


def commit(writer: Writer, writes: Sequence[Write], reads: Optional[Reads] = None) -> int:
    """Do all `writes` (of different keys) at one moment, if every key in `reads` still has that version.

    The region's version afterwards. Raises ``ConflictError`` or ``StoreFullError`` with nothing changed.
    """

    def locked() -> int:
        _check_reads(writer, reads or {})
        return commit_locked(writer, writes)

    return writer.under_lock(locked)


def _check_reads(writer: Writer, reads: Reads) -> None:
    words, data = writer.region.words, writer.region.data
    for key, (hashed, version) in reads.items():
        found = writer.version_at(index.find(words, data, key, hashed)[2])
        if found != version:
            name = decode_key(key)
            raise ConflictError(
                f"key {shorten(name)} was read at version {version} and is at {found} now (0 = absent): nothing was "
                "written; run the transaction again",
                key=name,
            )


def commit_locked(writer: Writer, writes: Sequence[Write]) -> int:
    """Do all `writes` at one moment. The region's version afterwards."""
    try:
        return _commit_locked(writer, writes)
    finally:
        writer.inside = False
        writer.pinned.clear()


def _commit_locked(writer: Writer, writes: Sequence[Write]) -> int:
    region = writer.region
    if 2 * len(writes) > journal.capacity(region.words):
        # Twice as many entries as keys: a key whose slot is used up takes two.
        count = 2 * len(writes)
        # What only deletes must work in a full region too.
        writer.space.for_plan_locked(
            journal.units_for(count),
            lambda plan: journal.plan_capacity(plan, region, count),
            past_limit=all(write.value is None for write in writes),
        )
    wanted = sum(writer.units_for(RECORD_SIZE + len(w.key) + len(w.value)) for w in writes if w.value is not None)
    writer.space.check_total_locked(wanted)
    words = region.words
    words[DIRTY] = writer.nonce
    writer.inside = True
    try:
        pending = [entry for write in writes for entry in _reserve_locked(writer, write)]
    except StoreFullError:
        journal.undo(region, writer.nonce, journal.entries(region.words))
        writer.leave_locked()
        raise
    words = region.words
    if not pending:  # nothing but deletes of what is not there
        writer.leave_locked()
        return int(region.longs[VERSION_LONG])
    version = _advance_version_locked(writer, len(pending))
    for write, entry in pending:
        version += 1
        _fill_locked(writer, write, entry, version)
    if words[DIRTY] != writer.nonce:
        raise writer.lock_lost()
    members = journal.entries(words)
    events = journal.events(region, members) if is_heard_locked(writer) else []
    journal.publish(region, [(entry.slot, entry.before) for entry in members], events)
    journal.finish(region, writer.nonce, members)
    writer.leave_locked()
    return int(version)


def is_heard_locked(writer: Writer) -> bool:
    """Whether somebody waits or watches; if so, all of them are woken when the lock is free again."""
    if not (writer.region.words[ALERT] and writer.is_heard_locked()):
        return False
    if writer.region.words[LOG]:
        log.ring(writer.region)  # a damaged one is refused before anything is published
    writer.to_wake = ALL_KEYS
    return True


def _advance_version_locked(writer: Writer, count: int, *, clearing: bool = False) -> int:
    """Give out `count` versions, as a step: a 64-bit store is two where words have 32. The version before."""
    version = int(writer.region.longs[VERSION_LONG])
    plan = Plan(writer.region.words)
    halves = (version + count & 0xFFFFFFFF, version + count >> 32)
    plan[VERSION], plan[VERSION + 1] = halves if sys.byteorder == "little" else halves[::-1]
    if clearing:  # no image of before brings back what is deleted now
        plan[CLEARED], plan[CLEARED + 1] = plan[VERSION], plan[VERSION + 1]
    intent.step(writer.region, writer.nonce, plan)
    return version


def _reserve_locked(writer: Writer, write: Write) -> List[Tuple[Write, Entry]]:
    """Step 2 for one key. Its entries: none if it deletes what is not there, two if its slot is used up."""
    region = writer.region
    while True:
        words = region.words
        slot, before, old, _, entry, _ = index.find(words, region.data, write.key, write.hashed)
        if write.value is None:
            if not slot:
                return []
            sealed(region, slot, before)
            return [_append_locked(writer, write, Plan(words), Entry(slot, before, 0, old, 0))]
        if slot:
            sealed(region, slot, before)  # what it frees later must be as long as it says
        used_up = slot and before >> SEQ_SHIFT >= SEQ_RETIRE
        inserting = not slot or used_up
        if used_up:
            entry = index.find_hole(words, write.hashed)
        if inserting and writer.space.for_insert_locked(write.hashed, entry):
            continue
        plan = Plan(words)
        units = writer.units_for(RECORD_SIZE + len(write.key) + len(write.value))
        block = 0
        if not inserting or writer.space.leaves_reserve(units):
            block = heap.carve(plan, units, region.units)
        if block:
            break
        writer.space.for_record_locked(units, inserting=bool(inserting))
    done: List[Tuple[Write, Entry]] = []
    if used_up:
        done.append(
            _append_locked(
                writer, Write(write.key, write.hashed, 0, KEEP, None), Plan(words), Entry(slot, before, 0, old, 0)
            )
        )
        plan = Plan(words)
        block = heap.carve(plan, units, region.units)
    if inserting:
        slot = index.take_slot(plan, region)
        old, before = 0, words[slot]
        plan[slot + SLOT_HASH] = write.hashed
        if words[entry] == EMPTY:
            used = index.used_address(words, write.hashed)
            plan[used] = words[used] + 1
        plan[entry] = slot
    plan[4 * block] = units << 2 | TAG_SYSTEM
    plan[4 * block + 1] = SYSTEM_RESERVED
    done.append(_append_locked(writer, write, plan, Entry(slot, before, block, old, units)))
    return done


def _append_locked(writer: Writer, write: Write, plan: Plan, entry: Entry) -> Tuple[Write, Entry]:
    journal.plan_append(plan, entry)
    writer.pinned.add(entry.slot)
    intent.step(writer.region, writer.nonce, plan)
    return write, entry


def _fill_locked(writer: Writer, write: Write, entry: Entry, version: int) -> None:
    """Step 3 for one slot."""
    region = writer.region
    words = region.words
    target = final_word(entry.before)
    record = b""
    if entry.block and write.value is not None:
        flags = write.flags
        if flags == KEEP:
            flags = RECORD.unpack_from(region.data, entry.old * UNIT)[3] if entry.old else 0
        if flags and not words[FLAGGED]:
            words[FLAGGED] = 1
        record = (
            RECORD.pack(
                entry.slot,
                len(write.key),
                write.kind,
                flags,
                len(write.value),
                version,
                writer.now,
                write.expires,
            )
            + write.key
            + write.value
        )
        region.data[entry.block * UNIT : entry.block * UNIT + len(record)] = record
        words[entry.slot + SLOT_USED] = int(entry.old != 0)
    cell = entry.slot + SLOT_CELL + 2 * (target & WORD_CELL)
    words[cell] = entry.block
    words[cell + 1] = crc32(record, target)


def clear(writer: Writer) -> int:
    """Delete every record at one moment. How many there were."""
    return writer.under_lock(lambda: _clear_locked(writer))


def _clear_locked(writer: Writer) -> int:
    region = writer.region
    words = region.words
    members = [
        (slot, words[slot]) for slot in index.slots(words) if words[slot + SLOT_CELL + 2 * (words[slot] & WORD_CELL)]
    ]
    version = _advance_version_locked(writer, 1, clearing=True) + 1
    words[DIRTY] = writer.nonce | KIND_CLEAR
    for slot, before in members:
        target = final_word(before)
        cell = slot + SLOT_CELL + 2 * (target & WORD_CELL)
        words[cell] = 0
        words[cell + 1] = target  # the CRC of nothing, started from the word, is the word
    events = [(EVENT_CLEAR, version, b"")] if is_heard_locked(writer) and words[LOG] else []
    journal.publish(region, members, events)
    rebuild.rebuild(region, writer.nonce)
    writer.leave_locked()
    return len(members)
