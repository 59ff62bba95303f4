"""What programs are made of.

A program is a generator that yields actions and is deterministic in the values that its loads returned.
Actions: ("ld", loc), ("st", loc, value, publishes), ("fence",), ("lock",), ("unlock",), ("inv", keys) and
("ret", values) around a read, ("fallback",) when an attempt gives up, ("now",), ("base", key, loc), ("sleep",
...) and ("become", program, args), which starts a fresh trace so that loops and operation boundaries merge.

Locations: ("w", slot) word, ("o", slot, cell) block of a cell, ("t", slot, cell) its seal, ("r", block, half)
record, ("x", table, place) index, and named words of the header.
"""

from .words import EMPTY, TOMB, cell_of, seal


def under_lock(program):
    """Declares that `program` loads only while it holds the lock, so it always sees the newest."""
    program.loads_only_under_lock = True
    return program


def load(loc):
    value = yield ("ld", loc)
    return value


def store(loc, value, publishes=None):
    yield ("st", loc, value, publishes)


def fence(cfg):
    if cfg.get("fence", True):
        yield ("fence",)


def bump(loc):
    count = yield from load(loc)
    yield from store(loc, count + 1)


def bump_structure(_cfg=None):
    yield from bump("struct")


def alloc(_cfg):
    free = yield from load("free")
    yield from store("free", free[1:])
    return free[0]


def release(_cfg, block):
    free = yield from load("free")
    # The free list is intrusive: the block's bytes change NOW, under the eyes of slow readers.
    yield from store(("r", block, 0), ("L", free[0] if free else None))
    yield from store("free", (block,) + free)


def fill(cfg, slot, cell, w, block, record):
    yield from store(("o", slot, cell), block)
    yield from store(("t", slot, cell), seal(cfg, slot, w, block, record))


def write_record(block, record):
    yield from store(("r", block, 0), record[0])
    yield from store(("r", block, 1), record[1])


def load_record(block):
    head = yield from load(("r", block, 0))
    tail = yield from load(("r", block, 1))
    return head, tail


def republish(cfg, slot, w, fresh):
    """Publish the record that `w` shows once more, through the idle cell, under the word `fresh`."""
    block = yield from load(("o", slot, cell_of(w)))
    record = None
    if block is not None:
        record = yield from load_record(block)
    yield from fill(cfg, slot, cell_of(fresh), fresh, block, record)
    yield from fence(cfg)
    yield from store(("w", slot), fresh)


def key_in_slot(slot):
    """Under the lock."""
    w = yield from load(("w", slot))
    block = yield from load(("o", slot, cell_of(w)))
    if block is None:
        return None
    head = yield from load(("r", block, 0))
    return head[0]


def current_table(cfg):
    if not cfg.get("two_tables"):
        return 0
    descriptor = yield from load("desc")
    return descriptor & 1


def find(cfg, key):
    """Under the lock: (slot or None, its place, first place to insert at)."""
    if not cfg.get("index"):
        return cfg["slot_of"][key], None, None
    table = yield from current_table(cfg)
    hole = None
    for place in range(cfg["npos"]):
        entry = yield from load(("x", table, place))
        if entry == EMPTY:
            return None, None, hole if hole is not None else place
        if entry == TOMB:
            hole = place if hole is None else hole
            continue
        found = yield from key_in_slot(entry)
        if found == key:
            return entry, place, hole
        if found is None and hole is None:
            hole = place
    return None, None, hole


def fresh_version():
    version = yield from load("ver")
    yield from store("ver", version + 1)  # stored BEFORE it is used: survives a kill
    return version + 1
