"""A redo step: several words of derived data change as one, because recovery stores the whole list again.

For words that readers do not trust on their own. The list holds absolute values, is complete before `kind` says so,
and is never written while `kind` says so.
"""
from .engine_one import following
from .steps import load, store


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
    if alone and cfg.get("dirty_late"):
        yield from store("dirty", 1)
    if not cfg.get("kind_stays"):
        yield from store("kind", "NONE")


def recover_redo(_cfg):
    count = yield from load(("redo", "n"))
    for i in range(count):
        loc, value = yield from load(("redo", i))
        yield from store(loc, value)
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
    yield from redo_step(cfg, [
        (("r", first, 0), ("L", third)), (("r", second, 0), ("L", first)), ("free", second)], alone=True)
