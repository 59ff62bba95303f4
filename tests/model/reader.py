"""Lock-free readers: get (cached and not), get_many, the snapshot's first pass, a waiter.

Every reader makes ONE attempt; a failed attempt is a "fallback" (retry, then lock). For safety that is
complete: a retry is an attempt whose loads were delayed, with a legal set no smaller.
"""

from .recovery import recover
from .steps import fence, load, load_record, store
from .words import EMPTY, JUNK, RETIRED, TOMB, cell_of, final_word, intact, is_pending, unmarked

RETRY = "retry"
FAILED = (False, None, None, None)


def settle_pending(cfg, w):
    """(cell to read, word it must be sealed for) of a marked slot: the commit word decides, nobody waits."""
    if cfg.get("commit_check", True):
        # Without the first fence a mark of transaction 2 is judged with the odd commit word of transaction 1.
        if cfg.get("fence_before_commit", True):
            yield from fence(cfg)
        commit = yield from load("commit")
        yield from fence(cfg)
        if commit & 1:
            return 1 - cell_of(w), final_word(w)
    return cell_of(w), unmarked(w)


def read_slot(cfg, slot, key):
    """One attempt: (ok, word, key found, value)."""
    w = yield from load(("w", slot))
    if w == RETIRED:
        return True, w, None, None
    cell, sealed_for = cell_of(w), w
    if is_pending(w):
        cell, sealed_for = yield from settle_pending(cfg, w)
    block = yield from load(("o", slot, cell))
    tag = yield from load(("t", slot, cell))
    record = None
    if block is not None:
        record = yield from load_record(block)
    if not intact(cfg, key, slot, sealed_for, block, tag, record):
        return FAILED
    if cfg.get("recheck", True) or is_pending(w):
        if is_pending(w):
            yield from fence(cfg)
        again = yield from load(("w", slot))
        if again != w:
            return FAILED
    if record is None:
        return True, w, None, None
    return (True, w) + judge(cfg, key, *record)


def judge(cfg, key, head, tail):
    """(key, value) as a client would see them; a wrong record must show in the value."""
    if len(head) != 3:
        return "garbage", "garbage"
    value = head[2] if head[2] == tail[0] else ("torn", head[2], tail[0])
    if cfg["sum"] in ("none", "blk_val"):
        return key, value  # these variants do not compare the key
    return head[0], value


def probe(cfg, key, table):
    """RETRY, None (not in this table), or (value, slot, word)."""
    if table is None:
        return None
    for place in range(cfg["npos"]):
        entry = yield from load(("x", table, place))
        if entry == EMPTY:
            break
        if entry in (TOMB, JUNK):
            continue
        ok, w, found, value = yield from read_slot(cfg, entry, None)
        if not ok:
            return RETRY
        if found == key:
            return value, entry, w
        if found is None and cfg.get("absent_stops"):  # (variant) a reserved slot ends the search
            break
    return None


MISS = (None, None, None)


def lookup(cfg, key):
    """One attempt at an uncached get: RETRY, or (value, slot, word)."""
    if cfg.get("engine"):
        result = yield from lookup_twice(cfg, key)
        return result
    if not cfg.get("index"):
        slot = cfg["slot_of"][key]
        ok, w, _, value = yield from read_slot(cfg, slot, key)
        return (value, slot, w) if ok else RETRY
    result = yield from lookup_counted(cfg, key)
    return result


def lookup_counted(cfg, key):
    """First generation: which word guards a miss depends on the variant."""
    guard = "desc" if cfg.get("two_tables") else "struct"
    counted = cfg.get("two_tables") or cfg.get("bump") or cfg.get("rebuild") == "in_place"
    if cfg.get("miss") == "second probe":  # hits pay no fence; a miss is confirmed by a fenced second probe
        before = yield from load(guard)
        result = yield from probe(cfg, key, before & 1)
        if result is not None:
            return result
        yield from fence(cfg)
    before = 0
    if counted:
        before = yield from load(guard)
        yield from fence(cfg)
    result = yield from probe(cfg, key, before & 1 if cfg.get("two_tables") else 0)
    if result is not None:
        return result
    if counted and cfg.get("miss_check", True):
        yield from fence(cfg)
        after = yield from load(guard)
        if after != before:
            return RETRY
    return MISS


def load_all(locs):
    values = ()
    for loc in locs:
        value = yield from load(loc)
        values += (value,)
    return values


def miss_guards(cfg):
    """The words that must not move during the probe that proves a miss."""
    guards = ("struct",) if cfg.get("miss_check", True) else ()
    if cfg.get("miss_commit"):
        guards += ("commit",)
    if cfg.get("miss_descriptor"):
        guards += ("desc",)
    return guards


def probe_once(cfg, key, fenced=False):
    """A hit proves itself; a miss needs the guard words around it."""
    table = 0
    if cfg.get("descriptor"):
        table = yield from load("desc")
        if fenced:  # a table's entries may be older than the descriptor that leads to it
            yield from fence(cfg)
    result = yield from probe(cfg, key, table)
    return result


def lookup_twice(cfg, key):
    """As built: hits pay no fence; a miss needs a second, fenced probe between equal guard words."""
    result = yield from probe_once(cfg, key)
    if result is not None:
        return result
    guards = miss_guards(cfg)
    yield from fence(cfg)
    if cfg.get("descriptor_first"):  # (variant)
        table = yield from load("desc")
    before = yield from load_all(guards)
    # The guards come first and are fenced off: a descriptor that is older than the structure word can come
    # back, with its table written anew, before that word moves again.
    yield from fence(cfg)
    if cfg.get("descriptor_first"):
        result = yield from probe(cfg, key, table)
    else:
        result = yield from probe_once(cfg, key, True)
    if result is not None:
        return result
    yield from fence(cfg)
    after = yield from load_all(guards)
    return MISS if after == before else RETRY


def reader(cfg, keys, cache, tries):
    """A sequence of gets by one client with a cache {key: (slot, word, value)}."""
    if not keys:
        return
    key = keys[0]
    if tries == cfg.get("tries", 1):
        yield ("inv", (key,))
        hit = dict(cache).get(key)
        if hit:
            slot, w, value = hit
            now = yield from load(("w", slot))  # THE hot path: one load
            if now == w:
                yield ("ret", (value,))
                yield ("become", reader, (keys[1:], cache, cfg.get("tries", 1)))
    result = yield from lookup(cfg, key)
    if result is RETRY:
        if tries == 1:
            yield ("fallback",)
            yield ("become", reader, (keys[1:], cache, cfg.get("tries", 1)))
        yield ("become", reader, (keys, cache, tries - 1))
    value, slot, w = result
    yield ("ret", (value,))
    if w is not None and not is_pending(w):
        cache = tuple(sorted({**dict(cache), key: (slot, w, value)}.items()))
    yield ("become", reader, (keys[1:], cache, cfg.get("tries", 1)))


def same_words(found):
    """Second half of a double collect: is every (slot, word) still in force?"""
    for slot, w in found:
        now = yield from load(("w", slot))
        if now != w:
            return False
    return True


def get_many(cfg, keys, tries):
    """Double collect over fixed slots."""
    if tries == 0:
        yield ("fallback",)
        return
    if tries == cfg.get("tries", 1):
        yield ("inv", keys)
    again = ("become", get_many, (keys, tries - 1))
    commit = None
    if cfg.get("many_commit", True):
        commit = yield from load("commit")
        yield from fence(cfg)
    values, found = [], []
    for key in keys:
        slot = cfg["slot_of"][key]
        w = yield from load(("w", slot))
        ok, _, _, value = yield from read_slot(cfg, slot, key)
        if not ok:
            yield again
        values.append(value)
        found.append((slot, w))
    if cfg.get("double", True):
        yield from fence(cfg)
        same = yield from same_words(found)
        if not same:
            yield again
    if commit is not None:
        now = yield from load("commit")
        if now != commit:
            yield again
    yield ("ret", tuple(values))


def many_guards(cfg):
    """(words compared always, words compared if a key was absent)."""
    if not cfg.get("engine"):
        return (), ("struct",) if cfg["absent"] == "struct" else ()
    return (("commit",) if cfg.get("many_commit", True) else ()), ("struct",)


def get_many_indexed(cfg, keys):
    """Double collect through the index: what proves that an absent key stayed absent?"""
    always, if_absent = many_guards(cfg)
    yield ("inv", keys)
    before = yield from load_all(always + if_absent)
    if before:
        yield from fence(cfg)
    results = []
    for key in keys:
        # As built, one unconfirmed probe is enough here: the comparison at the end confirms a miss.
        once = cfg.get("engine") and not cfg.get("many_confirmed")
        result = yield from (probe_once(cfg, key, True) if once else lookup(cfg, key))
        if result is RETRY:
            yield ("fallback",)
            return
        results.append(result or MISS)
    yield from fence(cfg)
    same = yield from same_words([(slot, w) for _, slot, w in results if slot is not None])
    if same and cfg.get("absent") == "relook":
        for key, (_, slot, _) in zip(keys, results):
            if slot is None and same:
                result = yield from lookup(cfg, key)
                same = result is not RETRY and result[1] is None
    if same:
        missed = cfg.get("absent") == "struct" or any(slot is None for _, slot, _ in results)
        after = yield from load_all(always + (if_absent if missed else ()))
        same = after == before[: len(after)]
    if not same:
        yield ("fallback",)
        return
    yield ("ret", tuple(value for value, _, _ in results))


def snapshot(cfg, keys):
    """Lock-free pass, then the short rest under the lock. The image must be the store at one moment."""
    yield ("inv", keys)
    image, words = {}, {}
    for key in keys:
        slot = cfg["slot_of"][key]
        w = yield from load(("w", slot))
        ok, seen, _, value = yield from read_slot(cfg, slot, key)
        words[key] = w if ok and seen == w and not is_pending(w) else None
        image[key] = value
    if cfg.get("snap_lock", True):
        yield ("lock",)
        dirty = yield from load("dirty")
        if dirty:
            yield from recover(cfg)
            yield from store("dirty", 0)
        yield ("now",)  # the image must equal the store at THIS moment, not merely at some moment
    for key in keys:
        slot = cfg["slot_of"][key]
        w = yield from load(("w", slot))
        if words[key] != w and cfg.get("snap_recopy", True):
            _, _, _, image[key] = yield from read_slot(cfg, slot, key)
    yield ("ret", tuple(image[key] for key in keys))
    if cfg.get("snap_lock", True):
        yield ("unlock",)


def waiter(cfg, key):
    """Waits until `key` differs from what it was at the start."""
    slot = cfg["slot_of"][key]
    token = yield ("base", key, ("w", slot))  # what the user holds
    count = yield from load("ctr")
    while True:
        w = yield from load(("w", slot))
        if w != token:
            return
        if cfg.get("poll"):
            yield ("sleep", "ctr", count, ("w", slot), token)  # a bounded tick re-checks the STATE too
        else:
            yield ("sleep", "ctr", count, None, None)
        count = yield from load("ctr")
