"""The lock holder as far as events, the alert and waking go: one-key publishes, transactions, clear; recovery.

`dirty` is 0, ONE (the intent holds), TXN (the journal may hold) or CLEAR. Which records a transaction has is left
out: what matters is that they are published by one store, and announced between that and the even commit word.
"""

from .events_log import announce, finish, prepare, void
from .steps import bump, fence, load, store, under_lock


def burnt(w):
    return w + 3


def is_heard(cfg):
    """Whether somebody watches or waits; a lapsed alert is cleared, after the breaks have grown."""
    alert = yield from load("alert")
    if not alert:
        return False
    if cfg.get("lapses"):
        now = yield ("time",)
        if now >= alert:
            if cfg.get("break_first", True) and cfg.get("break", True):
                yield from bump("breaks")
            yield from store("alert", 0)
            if not cfg.get("break_first", True):  # (variant)
                yield from bump("breaks")
            return False
    return True


def raise_alert(cfg):
    now = 0
    if cfg.get("lapses"):
        now = yield ("time",)
    yield from store("alert", now + 1)


def op_one(cfg, slot, label, inside=False):
    """A set or a delete. `label` None: the same record again, which is no event and has no version of its own."""
    heard = label is not None and (yield from is_heard(cfg))
    version = yield from load("ver")
    version += label is not None
    w = yield from load(("w", slot))
    yield from store("intent", (slot, w, w + 1, version))
    yield from store("dirty", "ONE")
    yield from store("ver", version)
    head = None
    if heard and not cfg.get("entry_late"):
        head = yield from prepare(cfg, version, label)
        if cfg.get("head_first"):  # (variant)
            yield from store("head", head)
    if cfg.get("change_first"):  # (variant)
        yield from bump("change")
    if heard and cfg.get("wake_first"):  # (variant)
        yield ("ring",)
    yield from fence(cfg)
    yield from store(("w", slot), w + 1, ((version, label),) if label is not None else None)  # PUBLISH
    yield from fence(cfg)
    if heard and cfg.get("entry_late"):  # (variant)
        head = yield from prepare(cfg, version, label)
    if heard:
        yield from store("head", head)
    if cfg.get("waits") and cfg.get("change_fence"):
        yield from fence(cfg)
    if cfg.get("waits") and not cfg.get("change_first"):
        yield from bump("change")
    yield from store("dirty", "TXN" if inside else 0)
    return heard


def op_txn(cfg, labels, evicts=None):
    yield from store("dirty", "TXN")
    if evicts is not None:  # room is made by deleting another record, while the transaction reserves
        yield from op_one(cfg, 1, evicts, inside=True)
    yield from store("journal", labels)
    version = yield from load("ver")
    yield from store("ver", version + len(labels))
    heard = yield from is_heard(cfg)
    events = tuple((version + 1 + i, label) for i, label in enumerate(labels))
    yield from publish_all(cfg, events, heard)
    yield from store("journal", ())
    yield from leave(cfg)
    return heard


def op_clear(cfg):
    version = yield from load("ver")
    yield from store("ver", version + 1)
    yield from store("dirty", "CLEAR")
    heard = yield from is_heard(cfg)
    yield from publish_all(cfg, ((version + 1, "clear"),), heard)
    yield from leave(cfg)
    return heard


def publish_all(cfg, events, heard):
    commit = yield from load("commit")
    if heard and cfg.get("announce_early"):  # (variant)
        yield from announce(cfg, events)
    yield from fence(cfg)
    yield from store("commit", commit + 1, events)  # COMMIT
    yield from finals(cfg, events if heard and not cfg.get("announce_early") else ())


def finals(cfg, events):
    yield from fence(cfg)
    if cfg.get("announce_late"):  # (variant)
        yield from bump("commit")
    yield from announce(cfg, events)
    if not cfg.get("announce_late"):
        yield from bump("commit")
    yield from fence(cfg)


def leave(cfg):
    if cfg.get("waits"):
        yield from bump("change")
    yield from store("dirty", 0)


def op_alert(cfg):
    """Somebody else begins to watch or to wait."""
    yield from raise_alert(cfg)
    return False


def op_nothing(cfg):
    """Only take the lock, and repair."""
    return False
    yield


OPERATIONS = {"one": op_one, "txn": op_txn, "clear": op_clear, "alert": op_alert, "nop": op_nothing}


# ------------------------------------------------------------ recovery
def recover(cfg):
    kind = yield from load("dirty")
    if kind == "ONE":
        yield from recover_one(cfg)
        yield from store("dirty", "TXN")
    commit = yield from load("commit")
    labels = yield from load("journal")
    if kind == "CLEAR":
        labels = ("clear",)
    if labels and commit & 1:
        version = yield from load("ver")
        alert = yield from load("alert")
        events = [(version - len(labels) + 1 + i, label) for i, label in enumerate(labels)]
        yield from finals(cfg, events if alert and cfg.get("announce_again", True) else ())
    if labels:
        yield from store("journal", ())
    yield from fence(cfg)
    if cfg.get("waits") and cfg.get("recovery_change", True):
        yield from bump("change")
    yield from store("dirty", 0)


def recover_one(cfg):
    slot, before, target, version = yield from load("intent")
    ver = yield from load("ver")
    if version > ver:
        yield from store("ver", version)
    now = yield from load(("w", slot))
    if now == target:
        yield from finish(cfg, version)
        return
    yield from void(cfg, version)
    if now != burnt(before):
        yield from fence(cfg)
        yield from store(("w", slot), burnt(before))
        yield from fence(cfg)


def enter(cfg):
    """The first steps of every frame. Whether a dead holder's change is still to be announced."""
    yield from fence(cfg)
    dirty = yield from load("dirty")
    if not dirty:
        return False
    yield from recover(cfg)
    alert = yield from load("alert")
    return bool(alert) and cfg.get("recovery_wakes", True)


@under_lock
def writer(cfg, ops):
    if not ops:
        return
    yield ("lock",)
    mended = yield from enter(cfg)
    heard = yield from OPERATIONS[ops[0][0]](cfg, *ops[0][1:])
    yield ("unlock",)
    if cfg.get("waits") and (heard or mended) and not cfg.get("wake_first"):
        yield ("ring",)
    yield ("become", writer, (ops[1:],))


@under_lock
def mender(cfg):
    """Takes the lock when its holder died."""
    yield ("sleep", None)
    yield ("become", writer, ((("nop",),),))


def clock(cfg, ticks):
    for _ in range(ticks):
        yield ("tick",)
