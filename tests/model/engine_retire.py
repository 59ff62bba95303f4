"""Retiring a slot whose sequence is nearly spent: its key moves to a new slot together with its new value.

As built ("txn"): a transaction of two writes, old slot deleted and new slot inserted, where finish does not
free a spent slot. The search says why (scenarios retire/*):

* New slot published first, then the old one retired: a client with the old slot cached, or whose probe meets
  the old slot first, reads the old value after somebody has read the new one.
* Old slot deleted first: a miss in between.
* New slot published at a LATER place of the probe chain, the store of RETIRED being the publish ("behind"):
  right for readers that start while the old slot is live; but a probe that passed the old slot's place before
  the key was inserted there meets the new slot too early. It holds only if a slot is never handed out near
  the end of its sequence, and it needs a recovery of its own.
* The transaction decides both slots with one store. If the new entry lies BEFORE the old one in the chain, a
  probe may pass the new one before the commit and the old one after it; the confirming second probe repairs
  that unless the key moves twice meanwhile. With the new entry behind the old one no probe can miss both.
"""

from .engine_one import find, following
from .engine_txn import begin, commit_entries, take
from .steps import bump_structure, fence, fill, load, store, write_record
from .words import EMPTY, RETIRED, TOMB, cell_of, make_record, next_word


def op_retire(cfg, key, value):
    yield from (retire_in_txn if cfg["retire"] == "txn" else retire_in_two)(cfg, key, value)


def new_place(cfg, place, hole):
    """Where the new entry goes: behind the old one, or (variant) at the first free place of the chain."""
    if cfg.get("new_entry", "behind") != "behind" and hole is not None:
        return hole
    for behind in [place[:2] + (i,) for i in range(place[2] + 1, cfg["npos"])]:
        entry = yield from load(behind)
        if entry in (EMPTY, TOMB):
            return behind
    return None


def retire_in_txn(cfg, key, value):
    slot, place, hole = yield from find(cfg, key)
    fresh_place = yield from new_place(cfg, place, hole)
    slots = yield from load("slots")
    block = yield from load("free")
    if block is None or not slots or fresh_place is None:
        return
    w = yield from load(("w", slot))
    old = yield from load(("o", slot, cell_of(w)))
    fresh_w = yield from load(("w", slots[0]))
    behind = yield from following(block)
    version = yield from begin(cfg)
    deleted = (slot, w, None, old, place, "del")
    inserted = (slots[0], fresh_w, block, None, fresh_place, "ins")
    yield from take(cfg, [], 0, deleted)
    yield from take(cfg, [("free", behind), ("slots", slots[1:]), (fresh_place, slots[0])], 1, inserted)
    record = make_record(cfg, key, value, version)
    yield from commit_entries(cfg, [deleted, inserted], [None, record], ((key, value),))


def retire_in_two(cfg, key, value):
    """(variants) Two publishes, no recovery: only for searching the order in which readers see them."""
    slot, place, hole = yield from find(cfg, key)
    fresh_place = yield from new_place(cfg, place, hole)
    slots = yield from load("slots")
    block = yield from load("free")
    version = yield from load("ver")
    fresh_w = yield from load(("w", slots[0]))
    fresh, target = slots[0], next_word(fresh_w, cfg)
    changes = ((key, value),)
    if cfg["retire"] == "delete first":
        yield from store(("w", slot), RETIRED)
        yield from store(place, TOMB)
    record = make_record(cfg, key, value, version)
    yield from write_record(block, record)
    yield from fill(cfg, fresh, cell_of(target), target, block, record)
    yield from store(fresh_place, fresh)
    yield from fence(cfg)
    yield from store(("w", fresh), target, None if cfg["retire"] == "insert first, retiring publishes" else changes)
    yield from fence(cfg)
    yield from bump_structure()
    if cfg["retire"] != "delete first":
        yield from store(("w", slot), RETIRED, changes if cfg["retire"] != "insert first" else None)
        yield from fence(cfg)
        yield from store(place, TOMB)
