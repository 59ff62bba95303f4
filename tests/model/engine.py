"""The lock holder as built: one frame per operation, recovery by the next holder.

`kind` says what a set `dirty` means: ONE (an operation on one slot, `engine_one`), REDO (a list of absolute
stores, `engine_redo`), CLEAR (`engine_clear`), or NONE: an open transaction whose journal has `count` entries
(`engine_txn`).
"""

from .engine_clear import op_clear, recover_clear
from .engine_one import op_delete, op_set, recover_one
from .engine_redo import op_rebuild, op_remake, op_swap_free, recover_redo, remake
from .engine_retire import op_retire
from .engine_txn import op_txn, recover_txn
from .steps import bump, bump_structure, fence, load, store, under_lock

OPERATIONS = {
    "set": op_set,
    "del": op_delete,
    "swap": op_swap_free,
    "rebuild": op_rebuild,
    "remake": op_remake,
    "txn": op_txn,
    "clear": op_clear,
    "retire": op_retire,
}


def recover(cfg):
    """Make the dead holder's operation happen wholly or not at all. Killable anywhere."""
    kind = yield from load("kind")
    if cfg.get("early_bump"):  # (variant)
        yield from bump_structure()
    if kind == "ONE":
        yield from recover_one(cfg)
    elif kind == "REMAKE":
        yield from remake(cfg)
    elif kind == "CLEAR":
        yield from recover_clear(cfg)
    else:
        if kind == "REDO":
            yield from recover_redo(cfg)
        yield from recover_txn(cfg)
    # What the dead holder published, or what was stored again just now, may be unannounced; too often is
    # harmless. This comes LAST: a reader that starts between an early bump and a descriptor stored again
    # would be told nothing when the old table is used again. The fences order it after the former and before
    # such a use.
    if cfg.get("recovery_fence", True):
        yield from fence(cfg)
    if not cfg.get("early_bump"):
        yield from bump_structure()
    if cfg.get("recovery_fence", True):
        yield from fence(cfg)
    if cfg.get("counter"):
        yield from bump("ctr")  # the dead holder's change may be unannounced
    yield from store("dirty", 0)


@under_lock
def engine(cfg, ops):
    if not ops:
        return
    yield ("lock",)
    # What this holder does next must not be seen before what the holder before did: a reader in a freed index
    # table that meets our new content has to find the new descriptor too. (A kernel lock is such a fence in
    # practice.)
    if cfg.get("frame_fence", True):
        yield from fence(cfg)
    dirty = yield from load("dirty")
    if dirty:
        yield from recover(cfg)
    operation = OPERATIONS.get(ops[0][0])  # None: only take the lock, and repair
    if operation:
        yield from operation(cfg, *ops[0][1:])
    dirty = yield from load("dirty")
    if dirty:
        if cfg.get("counter"):
            yield from bump("ctr")
        yield from store("dirty", 0)
    yield ("unlock",)
    yield ("become", engine, (ops[1:],))
