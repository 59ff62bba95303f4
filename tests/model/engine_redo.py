"""A redo step: several words of derived data change as one, because recovery stores the whole list again.

For words that readers do not trust on their own. The list holds absolute values, is complete before `kind` says so,
and is never written while `kind` says so.
"""
from .engine_one import following
from .steps import bump_structure, fence, load, store
from .words import EMPTY, TOMB


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
    for loc, value in stores:
        yield from store(loc, value)
    yield from step_fence(cfg)
    if alone and cfg.get("dirty_late"):
        yield from store("dirty", 1)
    if not cfg.get("kind_stays"):
        yield from store("kind", "NONE")


def step_fence(cfg):
    """What a step took out of use may be used again at once, by stores that no fence precedes: a weakly ordered reader
    must not see those before it can know of the step. (Needed where readers see a word of the list: a descriptor.)
    """
    if cfg.get("step_fence", True):
        yield from fence(cfg)


def recover_redo(cfg):
    count = yield from load(("redo", "n"))
    for i in range(count):
        loc, value = yield from load(("redo", i))
        yield from store(loc, value)
    yield from step_fence(cfg)
    yield from store("kind", "NONE")


def op_rebuild(cfg):
    """A new index table without tombstones. The next rebuild uses the old one's memory: the worst case."""
    old = yield from load("desc")
    entries = []
    for place in range(cfg["npos"]):
        entry = yield from load(("x", old, place))
        if entry not in (EMPTY, TOMB):
            entries.append(entry)
    for place in range(cfg["npos"]):
        yield from store(("x", 1 - old, place), entries[place] if place < len(entries) else EMPTY)
    yield from fence(cfg)
    yield from redo_step(cfg, [("desc", 1 - old)], alone=True)
    if cfg.get("rebuild_bump", True):
        yield from bump_structure()


def op_swap_free(cfg):
    """Stands for every rearrangement of the heap: the first two free blocks change places."""
    first = yield from load("free")
    if first is None:
        return
    second = yield from following(first)
    if second is None:
        return
    third = yield from following(second)
    yield from redo_step(cfg, [
        (("r", first, 0), ("L", third)), (("r", second, 0), ("L", first)), ("free", second)], alone=True)
