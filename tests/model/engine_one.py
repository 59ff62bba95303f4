"""An operation on one slot (set, insert, delete) and its recovery from the intent.

Planned by loads only; the intent is complete before `dirty` is set. Until the publish only three things
change, each with its way back in the intent: the block at the head of the free list loses its link (it stays
the head), the idle cell is filled (its word is burnt), an index entry is stored. The free list moves AFTER
the publish, with absolute values, so recovery can store them again.
"""

from .steps import bump_structure, fence, fill, load, republish, store, write_record
from .words import EMPTY, TOMB, burnt_word, cell_of, is_spent, make_record, next_word

FIELDS = ("word", "block", "index", "slots", "ver")


class Plan:
    """word (slot, before, target); block (taken, what follows it in the free list, old); index (place,
    before, after).

    For a delete no block is taken, and what follows the old block will be the head of today.
    """

    def __init__(self, word, block, index, slots, ver):
        self.word, self.block, self.index, self.slots, self.ver = word, block, index, slots, ver


def find(cfg, key):
    """Under the lock: (slot or None, its place, first place to insert at); a place is ("x", table, number).

    An entry whose slot shows no record is reserved by the transaction that is asking: neither a match nor a
    hole.
    """
    hole, table = None, 0
    if cfg.get("descriptor"):
        table = yield from load("desc")
    for place in [("x", table, i) for i in range(cfg["npos"])] if table is not None else ():
        entry = yield from load(place)
        if entry == EMPTY:
            return None, None, place if hole is None else hole
        if entry == TOMB:
            hole = place if hole is None else hole
            continue
        w = yield from load(("w", entry))
        block = yield from load(("o", entry, cell_of(w)))
        if block is not None:
            head = yield from load(("r", block, 0))
            if head[0] == key:
                return entry, place, hole
    return None, None, hole


def following(block):
    """The link of a free block."""
    link = yield from load(("r", block, 0))
    return link[1]


def ensure_table(cfg):
    """After a clear there is no index table: make an empty one (in the same memory: the worst case)."""
    if not cfg.get("descriptor"):
        return
    table = yield from load("desc")
    if table is not None:
        return
    for place in range(cfg["npos"]):
        yield from store(("x", 0, place), EMPTY)
    yield from fence(cfg)
    yield from store("desc", 0)  # PUBLISH the table
    yield from fence(cfg)
    yield from bump_structure()


def plan_set(cfg, key):
    """None if there is no room: refused before anything is touched."""
    slot, _, hole = yield from find(cfg, key)
    version = yield from load("ver")
    block = yield from load("free")
    if block is None:
        return None
    behind = yield from following(block)
    index = slots = None
    if slot is None:
        slots = yield from load("slots")
        if not slots or hole is None:
            return None
        slot, slots = slots[0], slots[1:]
        entry = yield from load(hole)
        index = (hole, entry, slot)
    w = yield from load(("w", slot))
    old = yield from load(("o", slot, cell_of(w)))
    return Plan((slot, w, next_word(w, cfg)), (block, behind, old), index, slots, version + 1)


def plan_delete(cfg, key):
    slot, place, _ = yield from find(cfg, key)
    if slot is None:
        return None
    version = yield from load("ver")
    w = yield from load(("w", slot))
    old = yield from load(("o", slot, cell_of(w)))
    head = yield from load("free")
    slots = yield from load("slots")
    target = next_word(w, cfg)
    if not is_spent(cfg, target):
        slots = (slot,) + slots
    return Plan((slot, w, target), (None, head, old), (place, slot, TOMB), slots, version + 1)


def declare(cfg, plan):
    if cfg.get("dirty_first"):
        yield from store("kind", "ONE")
        yield from store("dirty", 1)
    for field in FIELDS:
        yield from store(("intent", field), getattr(plan, field))
    if not cfg.get("dirty_first"):
        yield from store("kind", "ONE")
        yield from store("dirty", 1)


def after_publish(plan):
    """Absolute values only, so that it can be done twice."""
    _, behind, old = plan.block
    if plan.index is not None:
        yield from store(plan.index[0], plan.index[2])
    if old is not None:
        yield from store(("r", old, 0), ("L", behind))
        yield from store("free", old)
    else:
        yield from store("free", behind)
    if plan.slots is not None:
        yield from store("slots", plan.slots)
    yield from store("ver", plan.ver)


def publish(cfg, plan, record, changes):
    slot, _, target = plan.word
    yield from fill(cfg, slot, cell_of(target), target, plan.block[0], record)
    inserting = plan.index is not None and record is not None
    if inserting and not cfg.get("index_last"):
        yield from store(plan.index[0], plan.index[2])
    yield from fence(cfg)
    yield from store(("w", slot), target, changes)  # PUBLISH
    yield from fence(cfg)
    if inserting and cfg.get("ins_bump", True):
        yield from bump_structure()


def op_set(cfg, key, value):
    yield from ensure_table(cfg)
    plan = yield from plan_set(cfg, key)
    if plan is None:
        return
    block, behind, old = plan.block
    if cfg.get("early_pop"):  # (variant) the block leaves the free list before the publish, the intent is silent
        plan.block = (None, behind, old)
    yield from declare(cfg, plan)
    if cfg.get("early_pop"):
        yield from store("free", behind)
        plan.block = (block, behind, old)
    record = make_record(cfg, key, value, plan.ver)
    yield from write_record(block, record)
    yield from publish(cfg, plan, record, ((key, value),))
    yield from after_publish(plan)


def op_delete(cfg, key):
    plan = yield from plan_delete(cfg, key)
    if plan is None:
        return
    yield from declare(cfg, plan)
    yield from publish(cfg, plan, None, ((key, None),))
    yield from after_publish(plan)


def recover_one(cfg):
    values = []
    for field in FIELDS:
        value = yield from load(("intent", field))
        values.append(value)
    plan = Plan(*values)
    slot, _, target = plan.word
    now = yield from load(("w", slot))
    if now == target:
        yield from after_publish(plan)
    else:
        yield from undo_one(cfg, plan, now)
    yield from store("ver", plan.ver)


def undo_one(cfg, plan, now):
    slot, before, _ = plan.word
    block, behind, _ = plan.block
    if block is not None and not cfg.get("link_lost"):
        yield from store(("r", block, 0), ("L", behind))
    if plan.index is not None and not cfg.get("entry_left"):
        yield from store(plan.index[0], plan.index[1])
    if now == before and cfg.get("burn", True):
        yield from republish(cfg, slot, before, burnt_word(before))
