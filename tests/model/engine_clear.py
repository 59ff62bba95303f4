"""Clear: a transaction over all live slots without journal entries, then the derived data start again.

Recovery needs no list: while the commit word is even the store is cleared exactly if no slot shows a record,
and a store that had none is none the worse for a reset.
"""

from .engine_txn import target_word
from .steps import bump, bump_structure, fence, fill, load, republish, store
from .words import burnt_word, cell_of, final_word, is_pending, is_spent, mark_word, seq_of, word


def live_slots(cfg):
    """[(slot, word)] of the slots that show a record."""
    found = []
    for slot in range(cfg["nslots"]):
        w = yield from load(("w", slot))
        block = yield from load(("o", slot, cell_of(w)))
        if block is not None:
            found.append((slot, w))
    return found


def op_clear(cfg):
    live = yield from live_slots(cfg)
    version = yield from load("ver")
    yield from store("kind", "CLEAR")
    yield from store("dirty", 1)
    yield from store("ver", version + 1)
    for slot, w in live:
        yield from fill(cfg, slot, cell_of(target_word(w)), target_word(w), None, None)
    yield from fence(cfg)
    if cfg.get("clear_marks", True):
        for slot, w in live:
            yield from store(("w", slot), mark_word(w))
        yield from fence(cfg)
    commit = yield from load("commit")
    yield from store("commit", commit + 1, tuple((key, None) for key in cfg["all_keys"]))  # COMMIT
    yield from fence(cfg)
    yield from finals(cfg, [(slot, target_word(w)) for slot, w in live])
    yield from reset(cfg)


def finals(cfg, targets):
    for slot, target in targets:
        yield from store(("w", slot), target)
    yield from fence(cfg)
    yield from bump("commit")


def reset(cfg):
    """Every value absolute: recovery does it all again.

    The structure word moves before the old table's block can be used again: a reader that sits in it is told.
    """
    if cfg.get("clear_bump", True):
        yield from bump_structure()
        yield from fence(cfg)
    yield from store("desc", None)
    yield from fence(cfg)
    for block in range(cfg["nblocks"]):
        yield from store(("r", block, 0), ("L", block + 1 if block + 1 < cfg["nblocks"] else None))
    yield from store("free", 0)
    slots = ()
    for slot in range(cfg["nslots"]):
        w = yield from load(("w", slot))
        slots += () if is_spent(cfg, w) else (slot,)
    yield from store("slots", slots)


def recover_clear(cfg):
    commit = yield from load("commit")
    words = []
    for slot in range(cfg["nslots"]):
        w = yield from load(("w", slot))
        words.append((slot, w))
    if commit & 1:
        yield from finals(cfg, [(slot, final_word(w)) for slot, w in words if is_pending(w)])
        yield from reset(cfg)
        return
    yield from undo_clear(cfg, words)


def undo_clear(cfg, words):
    """Burn each slot that may have been sealed; if none shows a record, the reset is all that can be missing.

    A killed recovery may have burnt it already: each goes on from the word it finds, always to a fresh one. A
    mark's own final is one further, so two further is the first that was never sealed.
    """
    showing = yield from live_slots(cfg)
    for slot, w in words:
        if is_pending(w) and not cfg.get("burn", True):
            yield from republish(cfg, slot, w, final_word(w))
        elif is_pending(w):
            yield from republish(cfg, slot, w, word(seq_of(w) + 2, 0, 1 - cell_of(w)))
        elif (slot, w) in showing and cfg.get("burn", True):
            yield from republish(cfg, slot, w, burnt_word(w))
    if not showing and not cfg.get("reset_forgotten"):
        yield from reset(cfg)
