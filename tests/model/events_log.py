"""The ring as built. An entry is one position and three words: seal, (position, version), what happened.

The seal is perfect, as that of records: it is the sealed content itself.
"""

from .steps import fence, load, store

NOTHING, OVERRUN, TORN = "nothing", "overrun", "torn"


def seal_of(cfg, position, version, label):
    return (position if cfg.get("seal_position", True) else 0, version, label)


def prepare(cfg, version, label):
    """An entry at the head, where nobody reads yet. The head behind it."""
    position = yield from load("head")
    place = position % cfg["ring"]
    yield from store(("e", place, "crc"), seal_of(cfg, position, version, label))
    yield from store(("e", place, "head"), (position, version))
    yield from store(("e", place, "key"), label)
    return position + 1


def announce(cfg, events):
    """The fence: what a holder who died half-way through an entry of the same key left at its place may be sealed by
    what is stored now, and nobody voids what had no seal.
    """
    for version, label in events:
        head = yield from prepare(cfg, version, label)
        if cfg.get("announce_fence", True):
            yield from fence(cfg)
        yield from store("head", head)


def prepared(cfg, version):
    """The head behind the entry of `version` that a dead writer prepared, None if there is none."""
    position = yield from load("head")
    place = position % cfg["ring"]
    crc = yield from load(("e", place, "crc"))
    own, found = yield from load(("e", place, "head"))
    label = yield from load(("e", place, "key"))
    if own != position or crc != seal_of(cfg, own, found, label) or found != version:
        return None
    return position + 1


def finish(cfg, version):
    head = yield from prepared(cfg, version)
    if head is not None and cfg.get("finish", True):
        yield from store("head", head)


def void(cfg, version):
    head = yield from prepared(cfg, version)
    if head is not None and cfg.get("void", True):
        yield from store(("e", (head - 1) % cfg["ring"], "crc"), ("void",))


def read(cfg, position):
    """(version, what happened) at `position`, or why not. Without the lock.

    Without the fence an entry may be one that a dead writer prepared here, not the one that the head speaks of: both
    fit their seals.
    """
    head = yield from load("head")
    if head == position:
        return NOTHING
    if head - position > cfg["ring"] and cfg.get("overrun_check", True):
        return OVERRUN
    if cfg.get("read_fence", True):
        yield from fence(cfg)
    place = position % cfg["ring"]
    crc = yield from load(("e", place, "crc"))
    own, version = yield from load(("e", place, "head"))
    if own != position and cfg.get("seal_position", True):
        return TORN
    if cfg.get("two_copies"):  # (variant) the seal is compared with a second copy, the first one is believed
        again = yield from load(("e", place, "head"))
        label = yield from load(("e", place, "key"))
        return (version, label) if crc == seal_of(cfg, *again, label) else TORN
    label = yield from load(("e", place, "key"))
    return (version, label) if crc == seal_of(cfg, own, version, label) else TORN
