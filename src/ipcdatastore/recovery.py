"""After a death: finish or undo exactly what the dead writer had declared. Under the writer lock.

The next holder of the lock finds ``DIRTY`` set. What its kind says was declared is finished if it had been
published, undone if not, in a few dozen stores whatever the size of the region; then the transaction
in the journal, if there is one. All values are absolute, so recovery may itself be killed at any store and
is run again by the next. Only where the intent is unusable (damage, not death) is everything derived
made anew by :mod:`rebuild`.

A killed process's stores form a prefix of its program order, so recovery may trust the order of stores;
weak ordering concerns live readers only.
"""

from __future__ import annotations

from . import chain, index, intent, journal, log, rebuild
from .errors import BROKEN, DatastoreError, RegionDamagedError, StoreFullError
from .layout import (
    ALERT,
    CHANGE,
    COMMIT,
    DIRTY,
    EVENT_CLEAR,
    JOURNAL,
    JOURNAL_COUNT,
    KIND_CLEAR,
    KIND_MASK,
    KIND_NONE,
    KIND_REBUILD,
    KIND_REPAIR,
    KIND_REPLACE,
    KIND_SLOT,
    KIND_STEP,
    SLOT_CELL,
    STATE,
    STATE_DAMAGED,
    STRUCTURE,
    VERSION_LONG,
    WORD_CELL,
    WORD_PENDING,
)
from .platform import fence
from .reader import burnt_word, final_word, word_before_mark

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any


class _Unusable(Exception):  # noqa: N818 - a signal, not an error
    """The intent does not fit what it speaks of."""


def recover(region: Any, nonce: int) -> None:
    """Make the region whole. If that fails the region is closed to writers; readers go on."""
    try:
        try:
            _finish(region, nonce)
        except DatastoreError:
            raise
        except (_Unusable, *BROKEN):
            rebuild.rebuild(region, nonce, after_damage=True)
    except StoreFullError:
        raise  # the disk is full for now: the next writer tries again
    except (DatastoreError, *BROKEN) as error:
        region.words[STATE] = STATE_DAMAGED
        raise RegionDamagedError(
            f"the region {region.path} is damaged and closed to writers: {error}; `repair` saves what is whole",
            path=region.path,
            problems=getattr(error, "problems", (str(error),)),
        ) from error
    words = region.words
    # Last, and fenced: a reader of several keys that sees the count unmoved has seen none of the stores above.
    fence()
    words[STRUCTURE] = words[STRUCTURE] + 1 & 0xFFFFFFFF
    fence()
    words[CHANGE] = words[CHANGE] + 1 & 0xFFFFFFFF  # what the dead writer published is announced by us
    words[DIRTY] = 0


def _finish(region: Any, nonce: int) -> None:
    words = region.words
    kind = words[DIRTY] & KIND_MASK
    if kind in (KIND_SLOT, KIND_REPLACE):
        _finish_slot(region, kind)
        words[DIRTY] = nonce
    elif kind == KIND_STEP:
        payload = intent.read_payload(region)
        if not payload:
            raise _Unusable
        intent.apply(words, intent.parse_step(payload))
        words[DIRTY] = nonce
    elif kind == KIND_CLEAR:
        _finish_clear(region, nonce)
    elif kind in (KIND_REBUILD, KIND_REPAIR):
        rebuild.rebuild(region, nonce, after_damage=kind == KIND_REPAIR)
    elif kind != KIND_NONE:
        raise _Unusable
    if words[JOURNAL_COUNT]:
        _finish_transaction(region, nonce)
    if words[COMMIT] & 1:
        raise _Unusable  # nothing under way could have left it so


def _finish_slot(region: Any, kind: int) -> None:
    payload = intent.read_payload(region)
    if not payload:
        raise _Unusable
    words = region.words
    declared = intent.SlotIntent(payload, kind)
    region.longs[VERSION_LONG] = max(region.longs[VERSION_LONG], declared.version)
    word = words[declared.slot]
    if word == declared.target:
        for address, value in declared.redo:
            words[address] = value
        log.finish(region, declared.version)
    elif word in (declared.before, burnt_word(declared.before)):
        for address, value in declared.undo:
            words[address] = value
        log.void(region, declared.version)
        journal.burn(region, declared.slot, declared.before)
    else:
        raise _Unusable


def _finish_transaction(region: Any, nonce: int) -> None:
    words = region.words
    if words[JOURNAL_COUNT] > journal.capacity(words) or not words[JOURNAL]:
        raise _Unusable
    entries = journal.entries(words)
    members = [(entry.slot, entry.before) for entry in entries]
    if words[COMMIT] & 1:
        heard = words[ALERT] and log.usable(region)
        journal.finish_publish(region, members, journal.events(region, entries) if heard else ())
        journal.finish(region, nonce, entries)
    elif all(words[slot] == final_word(before) for slot, before in members):
        journal.finish(region, nonce, entries)
    else:
        journal.undo(region, nonce, entries)


def _finish_clear(region: Any, nonce: int) -> None:
    """All slots or none: with an odd commit word the pending ones go on; otherwise, with any left, all go back."""
    words = region.words
    chain.check(region)  # or what is taken for slots would be burnt
    if words[COMMIT] & 1:
        pending = [slot for slot in index.slots(words) if words[slot] & WORD_PENDING]
        version = region.longs[VERSION_LONG]
        events = [(EVENT_CLEAR, version, b"")] if words[ALERT] and log.usable(region) else []
        journal.finish_publish(region, [(slot, word_before_mark(words[slot])) for slot in pending], events)
    held = [slot for slot in index.slots(words) if words[slot + SLOT_CELL + 2 * (words[slot] & WORD_CELL)]]
    for slot in held:
        word = words[slot]
        journal.burn(region, slot, word_before_mark(word) if word & WORD_PENDING else word)
    if not held:
        rebuild.rebuild(region, nonce)
    words[DIRTY] = nonce
