"""The first generation of the lock holder: journal or rebuild at recovery, and the variants that fail.

`cfg` selects the variant; what is built today is in `engine`.
"""

from . import steps
from .recovery import recover
from .steps import (
    bump,
    bump_structure,
    fence,
    fill,
    find,
    fresh_version,
    key_in_slot,
    load,
    release,
    store,
    under_lock,
)
from .words import EMPTY, TOMB, cell_of, final_word, make_record, mark_word, next_word, word


def declare(cfg, plan, slot, target):
    """Journal: every derived word that the operation will touch, with its value before and after.

    Absolute values make recovery idempotent. Complete BEFORE `dirty` is set.
    """
    if cfg.get("dirty_first"):
        yield from store("dirty", 1)
    yield from store("journal", tuple(plan))
    yield from store("intent", ((slot, target),))
    if not cfg.get("dirty_first"):
        yield from store("dirty", 1)


def declare_set(cfg, slot, w, old, hole, inserting):
    free = yield from load("free")
    rest = free[1:]
    plan = [(("r", free[0], 0), ("L", rest[0] if rest else None), None), ("free", free, rest)]
    if old is not None:
        plan[1] = ("free", free, (old,) + rest)
        plan.append((("r", old, 0), None, ("L", rest[0] if rest else None)))
    if inserting:
        table = yield from steps.current_table(cfg)
        entry = yield from load(("x", table, hole))
        plan.append((("x", table, hole), entry, slot))
    yield from declare(cfg, plan, slot, next_word(w, cfg))


def first_free_slot(cfg):
    for slot in range(cfg["nslots"]):
        key = yield from key_in_slot(slot)
        if key is None:
            break
    return slot


def op_set(cfg, key, value):
    version = yield from fresh_version()
    slot, _, hole = yield from find(cfg, key)
    inserting = slot is None
    if inserting:
        slot = yield from first_free_slot(cfg)
    w = yield from load(("w", slot))
    if inserting and cfg.get("reset_word"):
        w = word(0, 0, cell_of(w))
    old = yield from load(("o", slot, cell_of(w)))
    if cfg.get("recover") == "journal":
        yield from declare_set(cfg, slot, w, old, hole, inserting)
    if cfg.get("in_place") and old is not None:  # (variant) overwrite the block that readers are sent to
        block = old
    else:
        block = yield from steps.alloc(cfg)
    record = make_record(cfg, key, value, version)
    if cfg.get("free_first") and old is not None:
        yield from release(cfg, old)
    yield from steps.write_record(block, record)
    target = next_word(w, cfg)
    if cfg.get("recover") != "journal":
        yield from store("intent", ((slot, target),))
    yield from fill(cfg, slot, cell_of(target), target, block, record)
    table = yield from steps.current_table(cfg)
    if inserting and not cfg.get("index_last"):
        yield from store(("x", table, hole), slot)
    if inserting and cfg.get("ins_bump") == "before":
        yield from bump_structure()
    yield from publish_set(cfg, slot, target, key, value, version)
    if inserting and cfg.get("ins_bump") == "after":
        yield from bump_structure()
    if cfg.get("log") == "after":
        yield from store("log", version)
    if cfg.get("log"):
        yield from store("head", version)
    if inserting and cfg.get("index_last"):
        yield from store(("x", table, hole), slot)
    if old is not None and block != old and not cfg.get("free_first"):
        yield from release(cfg, old)


def publish_set(cfg, slot, target, key, value, version):
    yield from load("head")
    if cfg.get("log") == "intent":
        yield from store("log", version)  # the entry's body; `head` makes it visible
    yield from fence(cfg)
    changes = ((key, value), ("#", version)) if cfg.get("log") else ((key, value),)
    yield from store(("w", slot), target, changes)  # PUBLISH
    yield from fence(cfg)


def op_delete(cfg, key):
    yield from fresh_version()
    slot, place, _ = yield from find(cfg, key)
    if slot is None:
        return
    w = yield from load(("w", slot))
    old = yield from load(("o", slot, cell_of(w)))
    table = yield from steps.current_table(cfg)
    target = next_word(w, cfg)
    if cfg.get("recover") == "journal":
        free = yield from load("free")
        link = (("r", old, 0), None, ("L", free[0] if free else None))
        plan = [("free", free, (old,) + free), link, (("x", table, place), slot, TOMB)]
        yield from declare(cfg, plan, slot, target)
    if cfg.get("tomb_first") and cfg.get("index"):
        yield from store(("x", table, place), TOMB)
    if cfg.get("recover") != "journal":
        yield from store("intent", ((slot, target),))
    yield from fill(cfg, slot, cell_of(target), target, None, None)
    yield from fence(cfg)
    yield from store(("w", slot), target, ((key, None),))  # PUBLISH
    yield from fence(cfg)
    if cfg.get("index") and not cfg.get("tomb_first"):
        if cfg.get("shift"):
            yield from shift_back(cfg, table, place)
        else:
            yield from store(("x", table, place), TOMB)
    yield from release(cfg, old)


def shift_back(cfg, table, place):
    """(variant) delete by moving the next entry down, structure counter bumped as cfg["bump"] says."""
    how = cfg.get("bump")
    entry = EMPTY
    if place + 1 < cfg["npos"]:
        entry = yield from load(("x", table, place + 1))
    if entry in (EMPTY, TOMB):
        yield from store(("x", table, place), EMPTY)
        return
    if how == "before":
        yield from bump_structure()
    yield from store(("x", table, place), entry)
    if how == "between":
        yield from fence(cfg)
        yield from bump_structure()
        yield from fence(cfg)
    yield from store(("x", table, place + 1), EMPTY)
    if how == "after":
        yield from bump_structure()


def prepare_txn(cfg, items, version):
    """Fill the idle cells; returns [(slot, word, target)] and the blocks that will be free."""
    intent = ()
    for key, _ in items:
        w = yield from load(("w", cfg["slot_of"][key]))
        target = final_word(mark_word(w)) if cfg["txn"] == "pending" else next_word(w, cfg)
        intent += ((cfg["slot_of"][key], target),)
    yield from store("intent", intent)
    plan, olds = [], []
    for (key, value), (slot, target) in zip(items, intent):
        w = yield from load(("w", slot))
        old = yield from load(("o", slot, cell_of(w)))
        block = record = None
        if value is not None:
            block = yield from steps.alloc(cfg)
            record = make_record(cfg, key, value, version)
            yield from steps.write_record(block, record)
        yield from fill(cfg, slot, cell_of(target), target, block, record)
        plan.append((slot, w, target))
        olds.append(old)
    return plan, olds


def op_txn(cfg, items):
    version = yield from fresh_version()
    plan, olds = yield from prepare_txn(cfg, items, version)
    commit = yield from load("commit")
    changes = tuple(items)
    yield from fence(cfg)
    if cfg["txn"] == "pending":
        for slot, w, _ in plan:
            yield from store(("w", slot), mark_word(w))
        yield from fence(cfg)
    if cfg["txn"] != "plain":  # "redo" (variant): intent + commit record, readers do not look at it
        yield from store("commit", commit + 1, changes)  # COMMIT
        yield from fence(cfg)
    for i, (slot, _, target) in enumerate(plan):
        last_plain = cfg["txn"] == "plain" and i == len(plan) - 1
        yield from store(("w", slot), target, changes if last_plain else None)
    if cfg["txn"] != "plain":
        yield from fence(cfg)
        yield from store("commit", commit + 2)
    for old in olds:
        if old is not None:
            yield from release(cfg, old)


def op_counted_set(cfg, key, value):
    """A set with the change counter that waiters sleep on."""
    if cfg["counter"] == "before":
        yield from bump("ctr")
    yield from op_set(cfg, key, value)
    if cfg["counter"] == "after":
        yield from fence(cfg)
        yield from bump("ctr")


OPERATIONS = {"set": op_set, "del": op_delete, "txn": op_txn, "setc": op_counted_set}


@under_lock
def writer(cfg, ops):
    if not ops:
        return
    yield ("lock",)
    dirty = yield from load("dirty")
    if dirty:
        yield from recover(cfg)
        if cfg.get("recover") == "journal":
            yield from store("dirty", 0)
    elif cfg.get("recover") != "journal":
        yield from store("dirty", 1)
    operation = OPERATIONS.get(ops[0][0])  # None: only take the lock, and repair
    if operation:
        yield from operation(cfg, *ops[0][1:])
    yield from store("dirty", 0)
    yield ("unlock",)
    yield ("become", writer, (ops[1:],))
