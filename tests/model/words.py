"""The publishing word of a slot, and the checksum that binds a record to it.

word = seq << 2 | pending << 1 | cell. The model's checksum is perfect: the sealed content itself.
`cfg["sum"]` selects what it covers; "bound" (slot, word, record) is the protocol, the others are variants
that show why.
"""

EMPTY, TOMB = "-", "x"  # index entries: never used, used once
JUNK = "j"  # what a probe meets in a block that is no table any more; bounds checks make it nobody's entry
RETIRED = "FF"  # the word of a slot that will never be used again


def word(seq, pending, cell):
    return (seq << 2) | (pending << 1) | cell


def seq_of(w):
    return w >> 2


def is_pending(w):
    return (w >> 1) & 1


def cell_of(w):
    return w & 1


def next_word(w, cfg):
    """The word of the next ordinary publish."""
    return word((seq_of(w) + 1) % cfg.get("wrap", 1 << 30), 0, 1 - cell_of(w))


def mark_word(w):
    """Pending: the cell stays, so the value stays, until the commit word says otherwise."""
    return word(seq_of(w) + 1, 1, cell_of(w))


def final_word(marked):
    """What a marked word becomes when the transaction commits."""
    return word(seq_of(marked) + 1, 0, 1 - cell_of(marked))


def unmarked(marked):
    """The word that the still valid cell of a marked slot was sealed for."""
    return word(seq_of(marked) - 1, 0, cell_of(marked))


def burnt_word(w):
    """Beyond every word that an operation can have sealed (seq+1, or seq+2 in a transaction)."""
    return word(seq_of(w) + 3, 0, 1 - cell_of(w))


def is_spent(cfg, w):
    """The sequence is so near its end that the slot must not be handed out again."""
    return w == RETIRED or seq_of(w) >= cfg.get("spent", 1 << 30)


def seal(cfg, slot, w, block, record):
    """The checksum that is kept in the cell."""
    kind = cfg["sum"]
    if kind == "bound":
        return ("b", slot, w, block, record)
    if kind == "cell":
        return ("c", record)
    return 0


def make_record(cfg, key, value, version):
    """Two halves, so that a record can be torn; the variants keep a checksum inside the second one."""
    kind = cfg["sum"]
    crc = {"blk_val": ("v", value, value), "blk_rec": ("r", key, version, value, value)}.get(kind)
    return (key, version, value), (value, crc)


def intact(cfg, key, slot, w, block, tag, record):
    """What the reader verifies after the copy."""
    kind = cfg["sum"]
    if kind == "none":
        return True
    if block is None:
        return tag == seal(cfg, slot, w, None, None) if kind in ("bound", "cell") else True
    head, tail = record
    if kind in ("bound", "cell"):
        return tag == seal(cfg, slot, w, block, record)
    if len(head) != 3:
        return False
    if kind == "blk_val":
        return tail[1] == ("v", head[2], tail[0])
    return tail[1] == ("r", head[0], head[1], head[2], tail[0]) and (key is None or head[0] == key)
