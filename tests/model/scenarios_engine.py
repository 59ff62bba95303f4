"""Scenarios of the protocol as built: operations on one slot, redo steps, a new index table."""

from . import reader as readers
from .checker import Model
from .engine import engine, recover
from .scenarios import Scenario, gets
from .words import EMPTY, TOMB, make_record, seal, word

TABLE = []


def engine_memory(cfg, placed, index, nblocks):
    """placed: [(key, value)], record i in slot i and block i; index: the first entries of the table.

    The other slots and blocks are free, linked in order; slot 0's idle cell still names the first free block.
    """
    memory = {
        "dirty": 0,
        "kind": "NONE",
        "commit": 0,
        "ver": 10,
        "struct": 0,
        "desc": 0,
        "ctr": 0,
        "count": 0,
        ("redo", "n"): 0,
    }
    for field in ("word", "block", "index", "slots", "ver"):
        memory["intent", field] = None
    for i in range(8):
        memory["redo", i] = memory["journal", i] = None
    for table in range(cfg.get("tables", 1)):
        for place in range(cfg["npos"]):
            memory["x", table, place] = index[place] if place < len(index) and not table else EMPTY
    for slot in range(cfg["nslots"]):
        w = memory["w", slot] = word(cfg.get("first_seq", {}).get(slot, 1), 0, 0)
        for cell in (0, 1):
            memory["o", slot, cell] = None
            memory["t", slot, cell] = seal(cfg, slot, w, None, None) if cell == 0 else 0
    for block in range(nblocks):
        memory["r", block, 0] = ("L", block + 1 if block + 1 < nblocks else None)
        memory["r", block, 1] = (0, None)
    for slot, (key, value) in enumerate(placed):
        record = make_record(cfg, key, value, slot + 1)
        memory["r", slot, 0], memory["r", slot, 1] = record
        memory["o", slot, 0], memory["t", slot, 0] = slot, seal(cfg, slot, memory["w", slot], slot, record)
    memory["slots"] = tuple(range(len(placed), cfg["nslots"]))
    first_free = len(placed)
    memory["free"] = first_free if first_free < nblocks else None
    if first_free < nblocks:
        older = make_record(cfg, placed[0][0], "older", 0)
        memory["o", 0, 1], memory["t", 0, 1] = first_free, seal(cfg, 0, word(0, 0, 1), first_free, older)
        memory["r", first_free, 1] = older[1]
    return memory


def ops(*operations):
    return (engine, (operations,), True)


def many(*keys):
    return (readers.get_many_indexed, (keys,), False)


def add(
    name,
    expect,
    cfg,
    threads,
    nblocks=4,
    index=(0, 1),
    placed=(("A", 0), ("B", 0)),
    keys="ABC",
    frozen=None,
    **kw,
):
    cfg = dict(
        {
            "sum": "bound",
            "engine": True,
            "index": True,
            "npos": 3,
            "nslots": 3,
            "nblocks": nblocks,
            "all_keys": tuple(keys),
        },
        **cfg,
    )
    spec = dict.fromkeys(keys)
    spec.update(placed)
    frozen = list(keys) if frozen is None else frozen

    def build(**more):
        memory = engine_memory(cfg, placed, index, nblocks)
        return Model(cfg, memory, spec, threads, repair=recover, frozen=frozen, **dict(kw, **more))

    TABLE.append(Scenario(name, expect, build))


REPAIR = ops(("nop",))


# ---------------------------------------------------------------- one slot: set, insert, delete; intent
def one_slot_scenarios():
    def one(tag, expect, cfg, threads, **kw):
        add("one/" + tag, expect, cfg, threads, **kw)

    churn = [ops(("del", "A"), ("set", "C", 7)), ops(("set", "B", 1))]
    for key in "ABC":
        one(
            "sc delete A, insert C, set B, get %s x2, 2 kills" % key,
            "ok",
            {},
            churn + [gets(key, key)],
            kills=2,
        )
    insert = [ops(("set", "C", 7)), REPAIR, ops(("set", "B", 1))]
    one("sc insert C, repairer, set B, get C, 2 kills", "ok", {}, insert + [gets("C")], kills=2)
    one(
        "sc overwrite A, repairer, overwrite A, get A x2, 2 kills",
        "ok",
        {},
        [ops(("set", "A", 1)), REPAIR, ops(("set", "A", 2)), gets("A", "A")],
        kills=2,
    )
    one("sc heap full: delete still works, insert after it", "ok", {}, churn + [gets("C")], nblocks=2)
    one(
        "sc get_many(C, B), insert C, set B, set B, delete C",
        "ok",
        {},
        [ops(("set", "C", 7), ("set", "B", 1), ("set", "B", 2), ("del", "C")), many("C", "B")],
        frozen=["A", "B", "C", ("C", "B")],
    )
    one(
        "sc get_many(C, B), insert C, set B, set B, delete C; set B; 1 kill",
        "ok",
        {},
        [
            ops(("set", "C", 7), ("set", "B", 1), ("set", "B", 2), ("del", "C")),
            ops(("set", "B", 3)),
            many("C", "B"),
        ],
    )
    two_sets = [ops(("set", "A", 1)), ops(("set", "A", 2))]
    one("weak set A, set A, get A, 1 kill", "ok", {}, two_sets + [gets("A")], weak=True)
    one(
        "weak insert C, set B, get C, 1 kill",
        "ok",
        {},
        [ops(("set", "C", 7)), ops(("set", "B", 1)), gets("C")],
        weak=True,
    )
    one(
        "weak delete A, insert C into its slot, get A x2",
        "ok",
        {"nslots": 2},
        [ops(("del", "A"), ("set", "C", 7)), gets("A", "A")],
        weak=True,
    )
    one(
        "weak delete A, set B, get B, 1 kill",
        "ok",
        {},
        [ops(("del", "A")), ops(("set", "B", 1)), gets("B")],
        weak=True,
    )
    insert_set = [ops(("set", "C", 7)), ops(("set", "B", 1)), many("C", "B")]
    one("weak insert C, set B, get_many(C, B), 1 kill", "ok", {}, insert_set, weak=True)
    # the ways to get it wrong
    one("BROKEN link of the taken block not restored", "FAIL", {"link_lost": True}, churn + [gets("A")])
    one("BROKEN dirty set before the intent is complete", "FAIL", {"dirty_first": True}, churn + [gets("A")])
    one("BROKEN weak, word not burnt", "FAIL", {"burn": False}, two_sets + [gets("A")], weak=True)
    one(
        "BROKEN block popped before the publish, not in the intent",
        "FAIL",
        {"early_pop": True},
        churn + [gets("A")],
    )
    one("BROKEN index entry not undone", "FAIL", {"entry_left": True}, insert + [gets("A")])
    one("BROKEN index entry stored after the publish", "FAIL", {"index_last": True}, insert + [gets("C")])
    one(
        "BROKEN weak, recovery bumps structure without a fence before it, get_many",
        "FAIL",
        {"frame_fence": False, "recovery_fence": False, "early_bump": True},
        insert_set,
        weak=True,
    )
    one(
        "BROKEN structure not bumped after an insert, get_many",
        "FAIL",
        {"ins_bump": False},
        [ops(("set", "C", 7), ("set", "B", 1), ("set", "B", 2), ("del", "C")), many("C", "B")],
    )


# ---------------------------------------------------------------- redo steps
def redo_scenarios():
    threads = [ops(("swap",), ("set", "A", 1)), ops(("swap",)), ops(("set", "C", 7))]

    def redo(tag, expect, cfg, **kw):
        add("redo/" + tag, expect, cfg, threads + [gets("A")], nblocks=5, **kw)

    redo("sc swap free blocks, set A, swap, insert C, get A, 2 kills", "ok", {}, kills=2)
    redo("BROKEN dirty set after the stores", "FAIL", {"dirty_late": True})

    def rebuild(tag, expect, cfg, threads, **kw):
        cfg = dict({"descriptor": True, "tables": 2}, **cfg)
        add("rebuild/" + tag, expect, cfg, threads, **dict({"index": (TOMB, 0, 1)}, **kw))

    twice = [ops(("rebuild",)), ops(("rebuild",), ("set", "B", 1))]
    rebuild(
        "sc new table, new table in the old one's memory, set B; get B; 2 kills",
        "ok",
        {},
        twice + [gets("B")],
        kills=2,
    )
    rebuild("sc new table twice, set B; get A; 2 kills", "ok", {}, twice + [gets("A")], kills=2)
    rebuild("sc new table twice, set B; get_many(A, B)", "ok", {}, twice + [many("A", "B")])
    insert = [ops(("rebuild",)), ops(("set", "C", 7), ("rebuild",), ("set", "B", 1))]
    rebuild(
        "sc new table, insert C, new table, set B; get_many(C, B)",
        "ok",
        {"npos": 4},
        insert + [many("C", "B")],
    )
    often = [ops(("rebuild",), ("rebuild",), ("del", "A"), ("rebuild",), ("rebuild",)), gets("B")]
    rebuild("sc new table four times; get B", "ok", {}, often, kills=0)
    two = [ops(("rebuild",)), ops(("rebuild",))]
    rebuild("weak new table twice; get B; 1 kill", "ok", {}, two + [gets("B")], weak=True)
    rebuild("weak new table twice; get A; 1 kill", "ok", {}, two + [gets("A")], weak=True)
    first = {"index": (1, 0)}
    rebuild("weak new table twice, B first; get B; 1 kill", "ok", {}, two + [gets("B")], weak=True, **first)
    rebuild("weak new table twice, B first; get_many(B); 1 kill", "ok", {}, two + [many("B")], weak=True, **first)
    guarded = {"rebuild_bump": "in the list", "miss_descriptor": True, "many_confirmed": True}
    rebuild(
        "sc descriptor among the guards, no fence behind structure; get B",
        "ok",
        guarded,
        two + [gets("B")],
        **first,
    )
    rebuild("sc the same guards, get_many(A, B)", "ok", guarded, two + [many("A", "B")], **first)
    rebuild("weak the same guards, get B; 1 kill", "ok", guarded, two + [gets("B")], weak=True, **first)
    remade = [ops(("rebuild",), ("rebuild",), ("del", "A"), ("remake",)), REPAIR, gets("B")]
    rebuild(
        "sc recovery makes the table again, structure bumped before and after; get B",
        "ok",
        {"miss_descriptor": True},
        remade,
    )
    rebuild(
        "weak the same, once; get B; 1 kill",
        "ok",
        {"miss_descriptor": True},
        [ops(("remake",)), REPAIR, gets("B")],
        weak=True,
    )
    rebuild(
        "BROKEN recovery makes the table again in abandoned memory, structure bumped after only",
        "FAIL",
        {"miss_descriptor": True, "remake_bump": "after"},
        remade,
    )
    # the ways to get it wrong
    late = {"rebuild_bump": "late"}
    rebuild(
        "BROKEN structure bumped after the old table is given back, get B",
        "FAIL",
        late,
        two + [gets("B")],
        **first,
    )
    rebuild(
        "BROKEN structure never bumped, the descriptor comes back",
        "FAIL",
        {"rebuild_bump": "never"},
        often,
        kills=0,
    )
    rebuild(
        "BROKEN weak, no fence between the new table and giving back the old one",
        "FAIL",
        {"rebuild_bump": "late, no fence"},
        two + [gets("B")],
        weak=True,
        **first,
    )
    rebuild(
        "BROKEN recovery bumps structure before it stores the list again",
        "FAIL",
        {"early_bump": True, "rebuild_bump": "late"},
        twice + [many("A", "B")],
    )
    rebuild(
        "BROKEN weak, no fence between taking the lock and the first store",
        "FAIL",
        {"frame_fence": False},
        two + [gets("B")],
        weak=True,
    )
    rebuild(
        "BROKEN descriptor loaded before the structure word",
        "FAIL",
        {"descriptor_first": True},
        often,
        kills=0,
    )
    # `kind` set before the list is whole is caught only where `dirty` is set already: see the transactions.


for family in (one_slot_scenarios, redo_scenarios):
    family()
