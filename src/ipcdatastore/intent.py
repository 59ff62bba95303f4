"""The intent area: what a writer is about to do, stored before it does it.

Three rules make a death harmless at any store:

* ``DIRTY`` is 0, or says in one word whose operation is under way (a nonce) and what the area holds of it
  (a kind); the area is only written while it is 0 or its kind is ``KIND_NONE``;
* all values are absolute, so finishing twice is the same as finishing once;
* a CRC over the area, so that damage is told from a death.
"""

from __future__ import annotations

import os
import struct
from itertools import chain
from zlib import crc32

from .errors import StoreFullError
from .heap import Plan
from .layout import (
    DIRTY,
    INTENT,
    INTENT_WORDS,
    KIND_MASK,
    KIND_REPLACE,
    KIND_SLOT,
    KIND_STEP,
    MAX_STEP,
    REPLACE_INTENT,
    SEQ_ONE,
    SLOT_INTENT_HEAD,
    WORD_CELL,
)
from .platform import NEEDS_FENCE, fence

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, List, Sequence, Tuple

PAYLOAD_AT = INTENT * 4 + 4
_PACKERS = [struct.Struct(f"={n}I").pack for n in range(INTENT_WORDS)]


def new_nonce() -> int:
    """The name of a handle in ``DIRTY``: random, never 0, and zero where the kind goes."""
    return (int.from_bytes(os.urandom(4), "little") | KIND_MASK + 1) & ~KIND_MASK


class SlotIntent:
    """One slot's publish: what to put back if it did not happen, what to finish if it did.

    A replace is a publish whose lists follow from a few words, so only those are stored.
    """

    __slots__ = ("before", "redo", "slot", "target", "undo", "version")

    def __init__(self, payload: List[int], kind: int) -> None:
        if kind == KIND_REPLACE:
            payload = _as_slot_intent(*payload)
        self.slot, self.before, self.target, low, high, undo, redo = payload[:SLOT_INTENT_HEAD]
        self.version = low | high << 32
        pairs = _pairs(payload[SLOT_INTENT_HEAD:])
        self.undo, self.redo = pairs[:undo], pairs[undo : undo + redo]


def _as_slot_intent(
    slot: int, before: int, low: int, high: int, block: int, following: int, old: int, head: int, tag: int
) -> List[int]:
    target = (before & ~3) + SEQ_ONE & 0xFFFFFFFF | ~before & WORD_CELL
    undo = [4 * block, tag, 4 * block + 1, following]
    redo = [head, old, 4 * old, tag, 4 * old + 1, following]
    if following:
        redo += [4 * following + 2, old]
    return [slot, before, target, low, high, len(undo) // 2, len(redo) // 2, *undo, *redo]


def declare(region: Any, payload: Sequence[int]) -> None:
    """Store the payload and its CRC. ``DIRTY`` is 0, or its kind is ``KIND_NONE``."""
    packed = _PACKERS[len(payload)](*payload)
    region.data[PAYLOAD_AT : PAYLOAD_AT + len(packed)] = packed
    region.words[INTENT] = crc32(packed)


def step(region: Any, nonce: int, plan: Plan) -> None:
    """Make all stores of `plan` happen or none, whoever dies when. Leaves ``DIRTY`` = `nonce`.

    They happen in the order in which they were planned first.
    """
    if len(plan) > MAX_STEP:
        raise StoreFullError(
            f"internal limit: a step of {len(plan)} stores", needed=len(plan), free=MAX_STEP, hint="report this"
        )
    words = region.words
    declare(region, [len(plan), *chain.from_iterable(plan.items())])
    words[DIRTY] = nonce | KIND_STEP
    apply(words, plan)
    words[DIRTY] = nonce


def apply(words: Any, stores: Dict[int, int]) -> None:
    """The stores of a step, seen by readers in their order: a table before its descriptor, a chunk before its link."""
    for address, value in stores.items():
        if NEEDS_FENCE:
            fence()
        words[address] = value
    if NEEDS_FENCE:
        fence()


def read_payload(region: Any) -> List[int]:
    """The intent area's words, longer than what was stored; empty if the CRC of no kind fits."""
    kind = region.words[DIRTY] & KIND_MASK
    area = list(region.words[INTENT : INTENT + INTENT_WORDS])
    crc, body = area[0], area[1:]
    if kind == KIND_STEP:
        length = 1 + 2 * body[0] if body[0] <= MAX_STEP else 0
    elif kind == KIND_SLOT:
        pairs = body[5] + body[6] if max(body[5], body[6]) < INTENT_WORDS else INTENT_WORDS
        length = SLOT_INTENT_HEAD + 2 * pairs
    elif kind == KIND_REPLACE:
        length = REPLACE_INTENT
    else:
        length = 0
    if not 0 < length < INTENT_WORDS or crc32(_PACKERS[length](*body[:length])) != crc:
        return []
    return body[:length]


def parse_step(payload: List[int]) -> Dict[int, int]:
    """The stores of a step, in their order."""
    return dict(_pairs(payload[1:]))


def _pairs(flat: List[int]) -> Tuple[Tuple[int, int], ...]:
    numbers = iter(flat)
    return tuple(zip(numbers, numbers))
