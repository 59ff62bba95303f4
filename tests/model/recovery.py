"""First-generation recovery by the next lock holder: from a journal, or by rebuilding from the slots.

Killable anywhere, idempotent. What is built today is in `engine`.
"""

from .steps import bump_structure, fence, load, republish, store
from .words import EMPTY, burnt_word, cell_of, final_word, is_pending, seq_of, word


def recover(cfg):
    if cfg.get("recover") == "journal":
        yield from recover_from_journal(cfg)
    else:
        yield from rebuild(cfg)


def recover_from_journal(cfg):
    """Constant time: the slot word decides which column of the journal holds."""
    intent = yield from load("intent")
    if not intent:
        return
    slot, target = intent[0]
    w = yield from load(("w", slot))
    journal = yield from load("journal")
    for loc, before, after in journal:
        value = after if w == target else before
        if value is not None:
            yield from store(loc, value)
    if w != target:  # the dead writer may have sealed `target`
        yield from republish(cfg, slot, w, burnt_word(w))


def rebuild(cfg):
    """Everything derived is made anew; words are truth."""
    commit = yield from load("commit")
    intent = yield from load("intent")
    if cfg.get("txn") == "redo" and commit & 1:
        for slot, target in intent:
            yield from store(("w", slot), target)
        yield from fence(cfg)
        yield from store("commit", commit + 1)
    if cfg.get("ins_bump"):
        yield from bump_structure()
    if cfg.get("log") == "intent" and intent:
        w = yield from load(("w", intent[0][0]))
        if w == intent[0][1]:  # it was published: the event is due
            version = yield from load("log")
            yield from store("head", version)
    live, used = yield from settle_slots(cfg, dict(intent), commit & 1)
    if cfg.get("txn") == "pending" and commit & 1:
        yield from fence(cfg)
        yield from store("commit", commit + 1)
    if cfg.get("index"):
        yield from rebuild_index(cfg, live)
    yield from rebuild_free_list(cfg, used)


def settle_slots(cfg, intent, committed):
    """No slot stays pending, no word that a dead writer may have sealed can come again."""
    used, live = set(), []
    burn = cfg.get("burn", True)
    for slot in range(cfg["nslots"]):
        w = yield from load(("w", slot))
        if is_pending(w) and committed:
            yield from fence(cfg)
            yield from store(("w", slot), final_word(w))
            w = final_word(w)
        elif is_pending(w):
            fresh = word(seq_of(w) + 2, 0, 1 - cell_of(w)) if burn else final_word(w)
            yield from republish(cfg, slot, w, fresh)
            w = fresh
        elif burn and intent.get(slot, w) != w:
            yield from republish(cfg, slot, w, burnt_word(w))
            w = burnt_word(w)
        block = yield from load(("o", slot, cell_of(w)))
        if block is not None:
            used.add(block)
            live.append(slot)
    return live, used


def rebuild_index(cfg, live):
    fresh_table = 0
    if cfg.get("two_tables"):
        descriptor = yield from load("desc")
        fresh_table = (descriptor + 1) & 1
    elif cfg.get("rebuild") == "in_place":
        for place in range(cfg["npos"]):
            yield from store(("x", 0, place), EMPTY)
    for place in range(cfg["npos"]):
        yield from store(("x", fresh_table, place), live[place] if place < len(live) else EMPTY)
    if cfg.get("two_tables"):
        yield from fence(cfg)
        yield from store("desc", descriptor + 1)  # PUBLISH the table
        yield from fence(cfg)
    elif cfg.get("rebuild") == "in_place":
        yield from bump_structure()


def rebuild_free_list(cfg, used):
    free = tuple(block for block in range(cfg["nblocks"]) if block not in used)
    following = None
    for block in reversed(free):
        yield from store(("r", block, 0), ("L", following))
        following = block
    yield from store("free", free)
