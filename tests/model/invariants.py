"""What must hold in every reachable state, whatever happens next.

CRASH   if everybody died now, recovery gives exactly the abstract store: each block is free or used exactly
        once, the free list is walkable, no slot is pending, the index finds each key.
FROZEN  a read-only reader that runs alone on the unrepaired memory gets the abstract value in one attempt:
        nobody waits for the dead.
"""

from . import reader as readers
from .recovery import recover
from .words import RETIRED, TOMB, cell_of, is_pending, is_spent


class Found(Exception):  # noqa: N818 - what the search looks for
    """A counterexample."""


def run_alone(program, memory, steps=3000):
    """Run a program on plain memory until it answers; it must terminate."""
    try:
        action = next(program)
        for _ in range(steps):
            result = None
            if action[0] == "ld":
                result = memory[action[1]]
            elif action[0] == "st":
                memory[action[1]] = action[2]
            elif action[0] in ("ret", "fallback", "become"):
                return action
            action = program.send(result)
    except StopIteration:
        return ("end",)
    raise Found("does not terminate")


def check_frozen(cfg, frozen, memory, expected):
    for keys in frozen:
        if isinstance(keys, tuple):
            program = readers.get_many_indexed(cfg, keys)
        else:
            keys = (keys,)
            program = readers.reader(cfg, keys, (), cfg.get("tries", 1))
        action = run_alone(program, dict(memory))
        if action[0] != "ret" and not (action[0] == "become" and cfg.get("frozen_may_retry")):
            raise Found(
                "FROZEN: a reader alone on unrepaired memory gets no value for %s (%s)" % (",".join(keys), action[0])
            )
        want = tuple(expected[key] for key in keys)
        if action[0] == "ret" and action[1] != want:
            raise Found(
                "FROZEN: reader alone on unrepaired memory reads %s=%r, the store says %r"
                % (",".join(keys), action[1], want)
            )


def live_records(cfg, memory):
    """{key: value} and {slot: block} of the published records; each must be whole."""
    values, blocks = {}, {}
    for slot in range(cfg["nslots"]):
        w = memory["w", slot]
        if w == RETIRED:
            continue
        if is_pending(w):
            raise Found("CRASH: pending after recovery")
        block = memory["o", slot, cell_of(w)]
        if block is None:
            continue
        head, tail = memory["r", block, 0], memory["r", block, 1]
        if len(head) != 3 or head[2] != tail[0]:
            raise Found("CRASH: published record destroyed: %r %r" % (head, tail))
        if head[0] in values:
            raise Found("CRASH: %s is published in two slots" % head[0])
        values[head[0]] = head[2]
        blocks[slot] = block
    return values, blocks


def free_blocks(cfg, memory):
    """The free list, walked along its links where only the head is stored."""
    if not cfg.get("engine"):
        return list(memory["free"])
    walked, block = [], memory["free"]
    while block is not None:
        if block in walked:
            raise Found("CRASH: the free list is a circle")
        walked.append(block)
        link = memory["r", block, 0]
        if len(link) != 2 or link[0] != "L":
            raise Found("CRASH: free block %r has no link but %r" % (block, link))
        block = link[1]
    return walked


def check_slots(cfg, memory, live):
    """As built: each slot is live, free or retired, and the index names exactly the live ones."""
    if memory["commit"] & 1 or memory["count"]:
        raise Found("CRASH: recovery left a transaction open")
    retired = [
        slot
        for slot in range(cfg["nslots"])
        if slot not in live and slot not in memory["slots"] and is_spent(cfg, memory["w", slot])
    ]
    if sorted(list(live) + list(memory["slots"]) + retired) != list(range(cfg["nslots"])):
        raise Found("CRASH: slots lost or owned twice: live %r free %r" % (sorted(live), memory["slots"]))
    table = memory["desc"]
    entries = [memory["x", table, place] for place in range(cfg["npos"])] if table is not None else []
    if sorted(e for e in entries if isinstance(e, int)) != sorted(live):
        raise Found("CRASH: the index names %r, live are %r" % ([e for e in entries if e != TOMB], sorted(live)))


def check_crash(cfg, memory, expected, repair=recover):
    if memory["dirty"]:
        try:
            run_alone(repair(cfg), memory)
        except (TypeError, KeyError) as error:  # it met a torn intent or list
            raise Found("CRASH: recovery fails with %r" % error) from error
    values, blocks = live_records(cfg, memory)
    used, free = list(blocks.values()), free_blocks(cfg, memory)
    if sorted(used + free) != list(range(cfg["nblocks"])):
        raise Found("CRASH: blocks lost or owned twice: used %r free %r" % (used, free))
    if cfg.get("log") and memory["head"] != expected["#"]:
        raise Found("CRASH: event of version %r is not in the log after recovery" % expected["#"])
    want = {key: value for key, value in expected.items() if value is not None and key != "#"}
    if values != want:
        raise Found("CRASH: after recovery %r, the store says %r" % (values, want))
    if cfg.get("engine"):
        check_slots(cfg, memory, blocks)
    if cfg.get("index"):
        for key in expected if cfg.get("engine") else want:
            action = run_alone(readers.reader(cfg, (key,), (), 1), dict(memory))
            if action != ("ret", (expected[key],)):
                raise Found("CRASH: index does not find %s after recovery" % key)
    if memory["ver"] < max([memory["r", block, 0][1] for block in used] or [0]):
        raise Found("CRASH: version behind")
