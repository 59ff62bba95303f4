"""A transaction through the index: a journal of reserved slots, one commit word, undo or finish in redo
steps.

Every step leaves `count` journal entries that recovery can finish (words final) or undo (words not),
whichever the commit word says. Journal entry: (slot, word before, block, old block, place in the index,
operation).
"""

from .engine_one import ensure_table, find, following
from .engine_redo import redo_step
from .steps import bump_structure, fence, fill, load, republish, store, write_record
from .words import TOMB, burnt_word, cell_of, final_word, is_spent, make_record, mark_word


def target_word(w):
    return final_word(mark_word(w))


def reserve(cfg, i, key, value):
    """Take what write `i` needs and enter it in the journal, as one step; returns the entry, None if there is
    no room.

    An inserted slot's index entry is stored at once: the slot shows no record, readers go on past it.
    """
    slot, place, hole = yield from find(cfg, key)
    stores, block = [], None
    if value is not None:
        block = yield from load("free")
        if block is None:
            return None
        behind = yield from following(block)
        stores.append(("free", behind))
    what = "del" if value is None else "set"
    if slot is None:
        if value is None:
            return ()
        slots = yield from load("slots")
        if not slots or hole is None:
            return None
        slot, place, what = slots[0], hole, "ins"
        stores += [("slots", slots[1:]), (place, slot)]
    w = yield from load(("w", slot))
    old = yield from load(("o", slot, cell_of(w)))
    entry = (slot, w, block, old, place, what)
    yield from take(cfg, stores, i, entry)
    return entry


def take(cfg, stores, i, entry):
    stores = stores + [(("journal", i), entry), ("count", i + 1)]
    if cfg.get("plain_reserve"):  # (variant) the same stores, not made one
        for loc, value in stores:
            yield from store(loc, value)
    else:
        yield from redo_step(cfg, stores)


def begin(cfg):
    """Open the frame; returns the version of all its records."""
    yield from ensure_table(cfg)
    yield from store("kind", "NONE")  # what an earlier holder left there must not be taken for ours
    version = yield from load("ver")
    yield from store("dirty", 1)
    yield from store("ver", version + 1)  # stored before it is used
    return version + 1


def op_txn(cfg, items):
    version = yield from begin(cfg)
    entries, records = [], []
    for key, value in items:
        entry = yield from reserve(cfg, len(entries), key, value)
        if entry is None:
            yield from undo(cfg, entries)
            return
        if entry:
            entries.append(entry)
            records.append(None if value is None else make_record(cfg, key, value, version))
    yield from commit_entries(cfg, entries, records, tuple(items))


def commit_entries(cfg, entries, records, changes):
    for (slot, w, block, _, _, _), record in zip(entries, records):
        if record is not None:
            yield from write_record(block, record)
        yield from fill(cfg, slot, cell_of(target_word(w)), target_word(w), block, record)
    yield from fence(cfg)
    for entry in entries:
        yield from store(("w", entry[0]), mark_word(entry[1]))
    yield from fence(cfg)
    commit = yield from load("commit")
    yield from store("commit", commit + 1, changes)  # COMMIT
    yield from fence(cfg)
    yield from finals(cfg, entries)
    yield from finish(cfg, entries)


def finals(cfg, entries):
    """The commit word is odd: make every word final, then the commit word even, then announce."""
    commit = yield from load("commit")
    if cfg.get("even_first"):
        yield from store("commit", commit + 1)
    for entry in entries:
        w = yield from load(("w", entry[0]))
        if w != target_word(entry[1]):
            yield from store(("w", entry[0]), target_word(entry[1]))
    yield from fence(cfg)
    if not cfg.get("even_first"):
        yield from store("commit", commit + 1)
    if cfg.get("txn_bump", True) and any(entry[5] == "ins" for entry in entries):
        yield from bump_structure()


def freed_slot(cfg, slot):
    """The list with `slot` pushed, unless its sequence is spent: then it is retired."""
    slots = yield from load("slots")
    w = yield from load(("w", slot))
    return slots if is_spent(cfg, w) else (slot,) + slots


def freed_block(block):
    if block is None:
        return []
    head = yield from load("free")
    return [(("r", block, 0), ("L", head)), ("free", block)]


def finish(cfg, entries):
    """After the words are final: give back what the old records used, last entry first."""
    for i in reversed(range(len(entries))):
        slot, _, _, old, place, what = entries[i]
        stores = yield from freed_block(old)
        if what == "del":
            slots = yield from freed_slot(cfg, slot)
            stores += [(place, TOMB), ("slots", slots)]
        yield from redo_step(cfg, stores + [("count", i)])


def undo(cfg, entries):
    """Nothing was committed: burn what may be sealed, give back what was reserved."""
    for slot, w, _, _, _, _ in entries:
        now = yield from load(("w", slot))
        if cfg.get("burn") == "reuse final" and now != w:  # (variant) the word that a commit would have made
            yield from republish(cfg, slot, w, target_word(w))
        elif cfg.get("burn") == "marked only" and now == w:  # (variant) the idle cell may be sealed already
            continue
        elif now != burnt_word(w):
            yield from republish(cfg, slot, w, burnt_word(w))
    if cfg.get("count_first"):  # (variant)
        yield from store("count", 0)
    for i in reversed(range(len(entries))):
        slot, _, block, _, place, what = entries[i]
        stores = yield from freed_block(block)
        if what == "ins":
            slots = yield from freed_slot(cfg, slot)
            stores += [(place, TOMB), ("slots", slots)]
        count = 0 if cfg.get("count_first") else i
        yield from redo_step(cfg, stores + [("count", count)])


def recover_txn(cfg):
    count = yield from load("count")
    entries = []
    for i in range(count):
        entry = yield from load(("journal", i))
        entries.append(entry)
    if not entries:
        return
    commit = yield from load("commit")
    if commit & 1:
        yield from finals(cfg, entries)
        yield from finish(cfg, entries)
        return
    w = yield from load(("w", entries[0][0]))
    if w == target_word(entries[0][1]):  # all or none are final while the commit word is even
        yield from finish(cfg, entries)
    else:
        yield from undo(cfg, entries)
