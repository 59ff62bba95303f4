"""The chain of slot chunks, put together again after damage. Under the writer lock, by ``repair`` only.

Everything that is published hangs on this chain: a slot that is not on it is lost with its record. So where it is
broken, the chunks are looked for elsewhere: along the heap, and where index tables name slots. What turns up so is
believed only if one of its slots publishes a record that has its seal, since a value may look like anything.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from zlib import crc32

from . import heap, index
from .errors import BROKEN, RegionDamagedError
from .layout import (
    BLOCK_HEADER_WORDS,
    CHUNK_FIRST,
    CHUNK_SLOTS_MAX,
    CHUNK_SLOTS_MIN,
    DESCRIPTORS,
    HEAP_START,
    LENGTH,
    PARTITIONS,
    RECORD_LENGTHS,
    RECORD_SIZE,
    SLOT_CELL,
    SLOT_WORDS,
    SYSTEM_CHUNK,
    TAG_MASK,
    TAG_SYSTEM,
    TOP,
    UNIT,
    WORD_CELL,
    chunk_capacity,
    chunk_size,
    size_class,
)

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Tuple

BLOCKS_IN_A_ROW = 8  # that do not happen to look like some
MOST_SLOTS = 2 * CHUNK_SLOTS_MAX  # of a chunk: its block may be larger than was asked for
NEXT = 2  # word of a chunk that names the next
SLOTS = 3  # word of a chunk that says how many slots it has


def mend(region: Any) -> None:
    """Have the chain lead to every chunk that can be found, and each chunk say what it is.

    One store at a time adds one chunk at the end, so a death in between leaves a chain that is shorter, not wrong.
    """
    words = region.words
    chain = _walk(region)
    for block, slots in chain.items():
        _store_header(words, block, slots)
    last = list(chain)[-1] if chain else 0
    link = words[4 * last + NEXT] if last else words[CHUNK_FIRST]
    missing = _missing(region, chain, link)
    _link(words, last, 0)
    for block, slots in missing.items():
        _store_header(words, block, slots)
        words[4 * block + NEXT] = 0
        _link(words, last, block)
        last = block
    if not last:
        _begin_anew(region)


def _begin_anew(region: Any) -> None:
    """A chunk of empty slots behind everything, where no slot ever was."""
    block = region.units
    slots = CHUNK_SLOTS_MIN
    region.grow_locked(region.words[LENGTH] + 1)
    words = region.words
    region.data[block * UNIT : (block + chunk_size(slots)) * UNIT] = bytes(chunk_size(slots) * UNIT)
    _store_header(words, block, slots)
    words[CHUNK_FIRST] = block


def check(region: Any) -> None:
    """Raise ``RegionDamagedError`` if the chain does not lead to all slots that are named: they would be given up."""
    words = region.words
    chain = _walk(region)
    ends = [words[4 * block + NEXT] for block in chain]
    wrong = not chain or ends[-1] or not all(_is_right(words, block, slots) for block, slots in chain.items())
    if wrong or not all(_has_all(chain, slots) for slots in _tables(words)):
        raise RegionDamagedError(
            f"the chain of slots of {region.path} is broken; `repair` puts it together again",
            path=region.path,
            problems=("chain of slots",),
        )


def _is_right(words: Any, block: int, slots: int) -> bool:
    """Whether a chunk's header says what it is, in each of its words."""
    tag, kind, _, said = words[4 * block : 4 * block + BLOCK_HEADER_WORDS]
    right = tag & TAG_MASK == TAG_SYSTEM and tag >> 2 >= chunk_size(slots)
    return bool(right and kind == SYSTEM_CHUNK and said == slots)


def _has_all(chunks: Dict[int, int], slots: List[int]) -> bool:
    """Whether all of the slots, which are in order, lie in chunks."""
    inside = 0
    for block, count in chunks.items():
        first = 4 * block + BLOCK_HEADER_WORDS
        inside += bisect_left(slots, first + SLOT_WORDS * count) - bisect_left(slots, first)
    return inside == len(slots)


def _is_inside(chunks: Dict[int, int], blocks: List[int], slot: int) -> bool:
    """Whether one of the chunks ({block: slots}, and the blocks in order) has the slot."""
    number = bisect_right(blocks, slot // 4) - 1
    if number < 0:
        return False
    first = 4 * blocks[number] + BLOCK_HEADER_WORDS
    return first <= slot < first + SLOT_WORDS * chunks[blocks[number]] and (slot - first) % SLOT_WORDS == 0


def _link(words: Any, last: int, block: int) -> None:
    address = 4 * last + NEXT if last else CHUNK_FIRST
    if words[address] != block:
        words[address] = block


def _store_header(words: Any, block: int, slots: int) -> None:
    units = words[4 * block] >> 2
    if words[4 * block] & TAG_MASK != TAG_SYSTEM or chunk_capacity(units) != slots:
        units = chunk_size(slots)
    for offset, value in ((0, units << 2 | TAG_SYSTEM), (1, SYSTEM_CHUNK), (SLOTS, slots)):
        if words[4 * block + offset] != value:
            words[4 * block + offset] = value


def _walk(region: Any) -> Dict[int, int]:
    """{block: slots} along the chain, as far as it leads to chunks."""
    words = region.words
    found: Dict[int, int] = {}
    block = words[CHUNK_FIRST]
    while block and block not in found:
        slots = _slots_of(region, block)
        if not slots:
            break
        found[block] = slots
        block = words[4 * block + NEXT]
    return found


def _slots_of(region: Any, block: int) -> int:
    """How many slots the chunk in `block` has; 0 if it is none. Of what its header says, one word may be wrong."""
    words = region.words
    if block < HEAP_START or 4 * (block + 1) > len(words):
        return 0
    tag, kind, _, slots = words[4 * block : 4 * block + BLOCK_HEADER_WORDS]
    sizes = []  # (slots, units), the more trusted first
    units = tag >> 2
    if tag & TAG_MASK == TAG_SYSTEM and 0 < chunk_capacity(units) <= MOST_SLOTS:
        sizes.append((chunk_capacity(units), units))
    if 0 < slots <= MOST_SLOTS:
        sizes.append((slots, size_class(chunk_size(slots))[1]))
    agree = len(sizes) == 2 and (sizes[0] == sizes[1] or sizes[0][0] == slots)
    if not agree and kind != SYSTEM_CHUNK:
        return 0
    for size, units in sizes:
        if 4 * (block + units) <= len(words) and (agree or _is_boundary(region, block + units)):
            return size
    return 0


def _is_boundary(region: Any, unit: int) -> bool:
    """Whether blocks of the heap follow each other from `unit` on."""
    for _ in range(BLOCKS_IN_A_ROW):
        if unit == region.words[TOP]:
            return True
        try:
            unit += heap.block_at(region, unit).units
        except (RegionDamagedError, *BROKEN):
            return False
    return True


def _missing(region: Any, chain: Dict[int, int], link: int) -> Dict[int, int]:
    """{block: slots} of chunks that are not on the chain, and hold records. `link`: what broke the chain named."""
    words = region.words
    found: Dict[int, int] = {}

    def add(chunks: Dict[int, int]) -> None:
        for block, slots in chunks.items():
            known = {**chain, **found}
            first, last = 4 * block + BLOCK_HEADER_WORDS, 4 * block + BLOCK_HEADER_WORDS + SLOT_WORDS * (slots - 1)
            blocks = sorted(known)
            between = bisect_right(blocks, block) != bisect_right(blocks, last // 4)
            if not (between or _is_inside(known, blocks, first) or _is_inside(known, blocks, last)):
                found[block] = slots

    blocks, broken = _walk_heap(region)
    for block in blocks:
        if words[4 * block] & TAG_MASK == TAG_SYSTEM and words[4 * block + 1] == SYSTEM_CHUNK:
            add(_whole(region, block))
    named = _named(words)
    for slot in named:
        known = {**chain, **found}
        if _is_inside(known, sorted(known), slot):
            continue
        first = slot // 4 - (BLOCK_HEADER_WORDS + SLOT_WORDS * MOST_SLOTS) // 4
        # The chunk begins at one of the units before, an even number of them away.
        for block in range(slot // 4 - 1, max(first, HEAP_START) - 1, -2):
            if words[4 * block + 1] == SYSTEM_CHUNK and slot < 4 * (block + 1) + SLOT_WORDS * _slots_of(region, block):
                add(_whole(region, block))
                break
    # What is left lost its header: where the chain broke, where the heap did, and at the slots themselves.
    for slot in (4 * link + BLOCK_HEADER_WORDS, 4 * broken + BLOCK_HEADER_WORDS, 4 * broken + SLOT_WORDS, *named):
        known = {**chain, **found}
        if not _is_inside(known, sorted(known), slot):
            add(_runs(region, slot))
    if not (chain or found):  # nothing tells where: anywhere, then
        for slot in (4 * HEAP_START, 4 * HEAP_START + BLOCK_HEADER_WORDS):
            add(_runs(region, slot, len(words) // SLOT_WORDS))
    return found


def _whole(region: Any, block: int) -> Dict[int, int]:
    """The chunk in `block`, if it is one and publishes anything."""
    slots = _slots_of(region, block)
    first = 4 * block + BLOCK_HEADER_WORDS
    publishes = any(_publishes(region, slot) for slot in range(first, first + SLOT_WORDS * slots, SLOT_WORDS))
    return {block: slots} if publishes else {}


def _runs(region: Any, first: int, most: int = MOST_SLOTS) -> Dict[int, int]:
    """{block: slots} of chunks to be made of what follows `first`: from each slot that publishes a record on, as long
    as there are slots, to the last one that does. The header goes before the first, where no such slot is.
    """
    words = region.words
    runs: Dict[int, int] = {}
    begun = 0
    if first < 4 * HEAP_START:
        return runs
    for slot in range(first, min(first + SLOT_WORDS * most, len(words) - SLOT_WORDS), SLOT_WORDS):
        if _publishes(region, slot):
            begun = begun or slot
            runs[begun // 4 - 1] = (slot - begun) // SLOT_WORDS + 1
        elif begun:
            word = words[slot]
            cell = slot + SLOT_CELL + 2 * (word & WORD_CELL)
            if words[cell] or words[cell + 1] != word:
                begun = 0
    return runs


def _walk_heap(region: Any) -> Tuple[List[int], int]:
    """(the blocks of the heap up to the first that is damaged, that one or 0)."""
    blocks: List[int] = []
    unit, top = HEAP_START, min(region.words[TOP], region.units)
    while unit < top:
        try:
            units = heap.block_at(region, unit).units
        except (RegionDamagedError, *BROKEN):
            return blocks, unit
        blocks.append(unit)
        unit += units
    return blocks, 0


def _named(words: Any) -> List[int]:
    """The slots that index tables name, in order."""
    return sorted({slot for slots in _tables(words) for slot in slots if slot % 4 == 0})


def _tables(words: Any) -> Iterator[List[int]]:
    """The slots that each index table names, in order, as far as it makes sense."""
    for table in words[DESCRIPTORS : DESCRIPTORS + PARTITIONS].tolist():
        if table >= HEAP_START and 4 * table + BLOCK_HEADER_WORDS < len(words):
            mask = words[4 * table + 3]
            if mask < len(words) - 4 * table - BLOCK_HEADER_WORDS and not mask & mask + 1:
                slots = sorted(index.live_entries(words, table))
                yield slots[bisect_right(slots, 4 * HEAP_START) : bisect_left(slots, len(words) - SLOT_WORDS)]


def _publishes(region: Any, slot: int) -> bool:
    """Whether a slot publishes a record that has its seal."""
    words, data = region.words, region.data
    word = words[slot]
    cell = slot + SLOT_CELL + 2 * (word & WORD_CELL)
    at = words[cell] * UNIT
    if not at or at + RECORD_SIZE > len(data):
        return False
    owner, key_length, _, _, value_length = RECORD_LENGTHS.unpack_from(data, at)
    size = RECORD_SIZE + key_length + value_length
    if owner != slot or at + size > len(data):
        return False
    return bool(crc32(data[at : at + size], word) == words[cell + 1])
