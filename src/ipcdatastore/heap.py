"""The heap: blocks of 16-byte units, segregated free lists, and the sweep that joins free neighbours.

Blocks lie one behind the other from ``HEAP_START`` to ``TOP``; the first word of each tells its kind
and, with a record's lengths, its size, so the heap can be walked. From ``TOP`` to the end of the
file everything is free. A free block is on the doubly linked list of the largest class it can serve.

The functions here change nothing: they add stores to a :class:`Plan`, and the engine makes a plan
happen as one atomic step that the next holder of the lock finishes after a death. Freeing never joins
blocks, which keeps it a handful of stores; the sweep joins them later, a bounded number at a time.
"""

from __future__ import annotations

from .errors import RegionDamagedError
from .layout import (
    CLASSES,
    FREE_UNITS,
    HEADS,
    HEAP_START,
    RECORD_LENGTHS,
    RECORD_SIZE,
    TAG_FREE,
    TAG_MASK,
    TAG_RECORD,
    TAG_SYSTEM,
    TOP,
    UNIT,
    list_class,
    record_units,
    size_class,
)

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, Optional


if TYPE_CHECKING:
    _Stores = Dict[int, int]
else:
    _Stores = dict


class Plan(_Stores):
    """Stores that shall happen together: word index -> value. Loads see what is planned."""

    __slots__ = ("words",)

    def __init__(self, words: Any) -> None:
        super().__init__()
        self.words = words

    def load(self, address: int) -> int:
        """The word at `address` as it will be."""
        value = self.get(address)
        if value is None:
            value = int(self.words[address])
        return value


class Block:
    """What a walk meets."""

    __slots__ = ("first_word", "tag", "unit", "units")

    def __init__(self, unit: int, units: int, tag: int, first_word: int) -> None:
        self.unit = unit
        self.units = units
        self.tag = tag
        self.first_word = first_word


def push(plan: Plan, unit: int, units: int) -> None:
    """Plan that the block at `unit` becomes the first of its free list."""
    head = HEADS + list_class(units)
    following = plan.load(head)
    plan[4 * unit] = units << 2 | TAG_FREE
    plan[4 * unit + 1] = following
    if following:
        plan[4 * following + 2] = unit
    plan[head] = unit
    plan[FREE_UNITS] = plan.load(FREE_UNITS) + units


def unlink(plan: Plan, unit: int) -> int:
    """Plan that the free block at `unit` leaves its list. Its size in units.

    ``ValueError`` if it is not free, or its neighbours on the list are not: a damaged list must cost no record.
    """
    first = plan.load(4 * unit)
    units = first >> 2
    following = plan.load(4 * unit + 1)
    head = HEADS + list_class(units)
    if first & TAG_MASK != TAG_FREE:
        raise ValueError(f"a list of free blocks leads to unit {unit}, which is in use")
    if plan.load(head) == unit:
        plan[head] = following
    else:
        previous = plan.load(4 * unit + 2)
        if not _follows(plan, previous, unit) or (following and not _follows(plan, unit, following)):
            raise ValueError(f"the neighbours of the free block at unit {unit} on its list do not name it")
        plan[4 * previous + 1] = following
        if following:
            plan[4 * following + 2] = previous
    plan[FREE_UNITS] = plan.load(FREE_UNITS) - units
    return units


def _follows(plan: Plan, unit: int, following: int) -> bool:
    """Whether two blocks are free, and each names the other as its neighbour."""
    return (
        plan.load(4 * unit) & plan.load(4 * following) & TAG_MASK == TAG_FREE
        and plan.load(4 * unit + 1) == following
        and plan.load(4 * following + 2) == unit
    )


def find_free(words: Any, units: int, plan: Optional[Plan] = None) -> int:
    """The unit of a free block of at least `units`, 0 if no list has one for sure."""
    first = size_class(units)[0]
    if first >= CLASSES:
        return 0
    # One C-speed look over the heads finds the first class that is not empty.
    heads = bytes(words[HEADS + first : HEADS + CLASSES])
    empty = (len(heads) - len(heads.lstrip(b"\0"))) // 4
    for number in range(first + empty, CLASSES):
        head = HEADS + number
        unit = int(words[head]) if plan is None else plan.load(head)
        if unit:
            return unit
    return 0


def carve(plan: Plan, units: int, limit: int) -> int:
    """Plan to take exactly `units` from a larger free block or from the top. The unit, 0 if there is no room.

    `limit` is the unit where the mapped file ends.
    """
    unit = find_free(plan.words, units, plan)
    if unit:
        rest = unlink(plan, unit) - units
        if rest < 0:
            raise ValueError(f"the list for {units} units leads to unit {unit}, which has only {rest + units}")
        if rest:
            push(plan, unit + units, rest)
        return unit
    unit = plan.load(TOP)
    if unit + units > limit:
        return 0
    plan[TOP] = unit + units
    return unit


def carve_behind(plan: Plan, units: int, limit: int, end: int) -> int:
    """Plan to take `units` from the top, but behind the unit `limit`, and before `end`: what lies before becomes free.

    For what must be had in a region at its size limit: it takes none of the room that is kept for records.
    """
    top = plan.load(TOP)
    unit = max(top, limit)
    if unit + units > end:
        return 0
    plan[TOP] = unit + units
    if unit > top:
        push(plan, top, unit - top)
    return unit


def block_at(region: Any, unit: int) -> Block:
    """The block that begins at `unit`, its size checked against the top."""
    words = region.words
    first = int(words[4 * unit])
    tag = first & TAG_MASK
    if tag == TAG_RECORD:
        _, key_length, _, _, value_length = RECORD_LENGTHS.unpack_from(region.data, unit * UNIT)
        units = record_units(RECORD_SIZE + key_length + value_length)
    elif tag in (TAG_FREE, TAG_SYSTEM):
        units = first >> 2
    else:
        units = 0
    if not 0 < units <= words[TOP] - unit:
        raise RegionDamagedError(
            f"the region {region.path} has no block of the heap where one should begin: unit {unit}, "
            f"first word {first:#x}; `repair` rebuilds what can be derived",
            path=region.path,
            problems=(f"heap block at unit {unit}",),
        )
    return Block(unit, units, tag, first)


def join(plan: Plan, region: Any, block: Block, limit: int) -> Block:
    """Plan to join the free `block` with the free blocks right behind it, up to `limit` planned stores.

    The last block before the top goes back to it: then the result has no units.
    """
    words = region.words
    top = int(words[TOP])
    end = block.unit + block.units
    if end < top and words[4 * end] & TAG_MASK != TAG_FREE:
        return block
    unlink(plan, block.unit)
    while end < top and words[4 * end] & TAG_MASK == TAG_FREE and len(plan) < limit:
        following = block_at(region, end)
        unlink(plan, following.unit)
        end += following.units
    if end == top:
        plan[TOP] = block.unit
        return Block(block.unit, 0, TAG_FREE, 0)
    push(plan, block.unit, end - block.unit)
    return Block(block.unit, end - block.unit, TAG_FREE, 0)


def first_block(region: Any, unit: int) -> int:
    """`unit` if a sweep may begin there, the start of the heap otherwise."""
    return unit if HEAP_START <= unit < region.words[TOP] else HEAP_START
