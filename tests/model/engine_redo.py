"""A redo step: several words of derived data change as one, because recovery stores the whole list again.

For words that readers do not trust on their own. The list holds absolute values, is complete before `kind`
says so, and is never written while `kind` says so.
"""

from .engine_one import following
from .steps import bump_structure, fence, load, store
from .words import EMPTY, JUNK, TOMB

FENCE = None  # an entry of the list


def redo_step(cfg, stores, alone=False):
    """Inside a transaction `dirty` is set already; `alone` sets it (and the frame clears it)."""
    if not cfg.get("kind_stays"):
        yield from store("kind", "NONE")
    if cfg.get("kind_early"):
        yield from store("kind", "REDO")
    for i, entry in enumerate(stores):
        yield from store(("redo", i), entry)
    yield from store(("redo", "n"), len(stores))
    yield from store("kind", "REDO")
    if alone and not cfg.get("dirty_late"):
        yield from store("dirty", 1)
    yield from apply(cfg, stores)
    if alone and cfg.get("dirty_late"):
        yield from store("dirty", 1)
    if not cfg.get("kind_stays"):
        yield from store("kind", "NONE")


def apply(cfg, stores):
    """A list may ask for a fence where the order of two stores matters to readers."""
    for entry in stores:
        if entry is FENCE:
            yield from fence(cfg)
        else:
            yield from store(*entry)


def recover_redo(cfg):
    count = yield from load(("redo", "n"))
    stores = []
    for i in range(count):
        entry = yield from load(("redo", i))
        stores.append(entry)
    yield from apply(cfg, stores)
    yield from store("kind", "NONE")


def write_fresh_table(cfg):
    """Into the memory that is not in use; returns (old table, new table)."""
    old = yield from load("desc")
    entries = []
    for place in range(cfg["npos"]):
        entry = yield from load(("x", old, place))
        if entry not in (EMPTY, TOMB, JUNK):
            entries.append(entry)
    for place in range(cfg["npos"]):
        yield from store(("x", 1 - old, place), entries[place] if place < len(entries) else EMPTY)
    yield from fence(cfg)
    return old, 1 - old


def op_rebuild(cfg):
    """A new index table without tombstones. The next rebuild uses the old one's memory: the worst case."""
    old, new = yield from write_fresh_table(cfg)
    count = yield from load("struct")
    announce = [FENCE, ("struct", count + 1)]
    how = cfg.get("rebuild_bump", "between")
    announce += [FENCE] if how == "between" else []
    stores = [("desc", new)]  # PUBLISH the table
    stores += announce if how in ("between", "in the list") else [] if how == "late, no fence" else [FENCE]
    # The old table's block goes to the free list: its first bytes become a link under the eyes of slow
    # readers.
    stores += [(("x", old, 0), JUNK)]
    yield from redo_step(cfg, stores, alone=True)
    if how.startswith("late"):
        yield from fence(cfg)
        yield from bump_structure()


def op_remake(cfg):
    """Everything derived made anew, and again from the start by recovery: no list, the words are truth."""
    yield from store("kind", "REMAKE")
    yield from store("dirty", 1)
    yield from remake(cfg)


def remake(cfg):
    # A dead holder may have left a table whose memory we write now: readers in it must be told first.
    if cfg.get("remake_bump", "both") == "both":
        yield from fence(cfg)
        yield from bump_structure()
        yield from fence(cfg)
    _, new = yield from write_fresh_table(cfg)
    yield from store("desc", new)  # PUBLISH the table
    yield from fence(cfg)
    yield from bump_structure()
    yield from store("kind", "NONE")


def op_swap_free(cfg):
    """Stands for every rearrangement of the heap: the first two free blocks change places."""
    first = yield from load("free")
    if first is None:
        return
    second = yield from following(first)
    if second is None:
        return
    third = yield from following(second)
    yield from redo_step(
        cfg, [(("r", first, 0), ("L", third)), (("r", second, 0), ("L", first)), ("free", second)], alone=True
    )
