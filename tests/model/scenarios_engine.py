"""Scenarios of the protocol as built: intents, redo steps, transactions through the index, clear, retirement."""
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
    memory = {"dirty": 0, "kind": "NONE", "commit": 0, "ver": 10, "struct": 0, "desc": 0, "ctr": 0, "count": 0,
              ("redo", "n"): 0}
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


def add(name, expect, cfg, threads, nblocks=4, index=(0, 1), placed=(("A", 0), ("B", 0)), keys="ABC", frozen=None,
        slow=False, **kw):
    cfg = dict({"sum": "bound", "engine": True, "index": True, "npos": 3, "nslots": 3, "nblocks": nblocks,
                "all_keys": tuple(keys)}, **cfg)
    spec = dict.fromkeys(keys)
    spec.update(placed)
    frozen = list(keys) if frozen is None else frozen

    def build(**more):
        memory = engine_memory(cfg, placed, index, nblocks)
        return Model(cfg, memory, spec, threads, repair=recover, frozen=frozen, **dict(kw, **more))

    TABLE.append(Scenario(name, expect, build, slow))


REPAIR = ops(("nop",))


# ---------------------------------------------------------------- one slot: set, insert, delete from an intent
def one_slot_scenarios():
    def one(tag, expect, cfg, threads, **kw):
        add("one/" + tag, expect, cfg, threads, **kw)

    churn = [ops(("del", "A"), ("set", "C", 7)), ops(("set", "B", 1))]
    for key in "ABC":
        one("sc delete A, insert C, set B, get %s x2, 2 kills" % key, "ok", {}, churn + [gets(key, key)], kills=2)
    insert = [ops(("set", "C", 7)), REPAIR, ops(("set", "B", 1))]
    one("sc insert C, repairer, set B, get C, 2 kills", "ok", {}, insert + [gets("C")], kills=2)
    one("sc overwrite A, repairer, overwrite A, get A x2, 2 kills", "ok", {},
        [ops(("set", "A", 1)), REPAIR, ops(("set", "A", 2)), gets("A", "A")], kills=2)
    one("sc heap full: delete still works, insert after it", "ok", {}, churn + [gets("C")], nblocks=2)
    one("sc get_many(C, B), insert C, set B, set B, delete C", "ok", {},
        [ops(("set", "C", 7), ("set", "B", 1), ("set", "B", 2), ("del", "C")), many("C", "B")],
        frozen=["A", "B", "C", ("C", "B")])
    one("sc get_many(C, B), insert C, set B, set B, delete C; set B; 1 kill", "ok", {},
        [ops(("set", "C", 7), ("set", "B", 1), ("set", "B", 2), ("del", "C")), ops(("set", "B", 3)), many("C", "B")])
    two_sets = [ops(("set", "A", 1)), ops(("set", "A", 2))]
    one("weak set A, set A, get A, 1 kill", "ok", {}, two_sets + [gets("A")], weak=True)
    one("weak insert C, set B, get C, 1 kill", "ok", {}, [ops(("set", "C", 7)), ops(("set", "B", 1)), gets("C")],
        weak=True)
    one("weak delete A, insert C into its slot, get A x2", "ok", {"nslots": 2},
        [ops(("del", "A"), ("set", "C", 7)), gets("A", "A")], weak=True)
    one("weak delete A, set B, get B, 1 kill", "ok", {}, [ops(("del", "A")), ops(("set", "B", 1)), gets("B")],
        weak=True)
    insert_set = [ops(("set", "C", 7)), ops(("set", "B", 1)), many("C", "B")]
    one("weak insert C, set B, get_many(C, B), 1 kill", "ok", {}, insert_set, weak=True)
    # the ways to get it wrong
    one("BROKEN link of the taken block not restored", "FAIL", {"link_lost": True}, churn + [gets("A")])
    one("BROKEN dirty set before the intent is complete", "FAIL", {"dirty_first": True}, churn + [gets("A")])
    one("BROKEN weak, word not burnt", "FAIL", {"burn": False}, two_sets + [gets("A")], weak=True)
    one("BROKEN block popped before the publish, not in the intent", "FAIL", {"early_pop": True}, churn + [gets("A")])
    one("BROKEN index entry not undone", "FAIL", {"entry_left": True}, insert + [gets("A")])
    one("BROKEN index entry stored after the publish", "FAIL", {"index_last": True}, insert + [gets("C")])
    one("BROKEN weak, recovery bumps structure without a fence before it, get_many", "FAIL",
        {"frame_fence": False, "recovery_fence": False, "early_bump": True}, insert_set, weak=True)
    one("BROKEN structure not bumped after an insert, get_many", "FAIL", {"ins_bump": False},
        [ops(("set", "C", 7), ("set", "B", 1), ("set", "B", 2), ("del", "C")), many("C", "B")])


# ---------------------------------------------------------------- redo steps
def redo_scenarios():
    threads = [ops(("swap",), ("set", "A", 1)), ops(("swap",)), ops(("set", "C", 7))]

    def redo(tag, expect, cfg, **kw):
        add("redo/" + tag, expect, cfg, threads + [gets("A")], nblocks=5, **kw)

    redo("sc swap free blocks, set A, swap, insert C, get A, 2 kills", "ok", {}, kills=2)
    redo("BROKEN dirty set after the stores", "FAIL", {"dirty_late": True})

    def rebuild(tag, expect, cfg, threads, **kw):
        cfg = dict({"descriptor": True, "tables": 2}, **cfg)
        add("rebuild/" + tag, expect, cfg, threads, index=(TOMB, 0, 1), **kw)

    twice = [ops(("rebuild",)), ops(("rebuild",), ("set", "B", 1)), gets("B")]
    rebuild("sc new table, new table in the old one's memory, set B; get B; 2 kills", "ok", {}, twice, kills=2)
    rebuild("sc the same, get_many(A, B)", "ok", {}, twice[:2] + [many("A", "B")])
    twice = [ops(("rebuild",)), ops(("rebuild",)), gets("B")]
    rebuild("weak new table twice; get B; 1 kill", "ok", {}, twice, weak=True)
    often = [ops(("rebuild",), ("rebuild",), ("del", "A"), ("rebuild",), ("rebuild",)), gets("B")]
    rebuild("sc new table four times; get B", "ok", {}, often, kills=0)
    rebuild("BROKEN structure not bumped, the descriptor comes back", "FAIL", {"rebuild_bump": False}, often, kills=0)
    rebuild("BROKEN recovery bumps structure before it stores the list again, get_many", "FAIL", {"early_bump": True},
            twice[:2] + [many("A", "B")])
    rebuild("BROKEN weak, no fence between taking the lock and the first store", "FAIL", {"frame_fence": False}, twice,
            weak=True)
    rebuild("BROKEN weak, no fence after a step", "FAIL", {"step_fence": False}, twice, weak=True)
    # `kind` set before the list is whole is caught only where `dirty` is set already: in a transaction, see there.


TXN_INSERT = ops(("txn", (("A", 1), ("C", 7))))
TXN_DELETE = ops(("txn", (("B", None), ("A", 2))))


# ---------------------------------------------------------------- transactions
def txn_scenarios():
    def txn(tag, expect, cfg, threads, **kw):
        add("txn through index/" + tag, expect, cfg, threads, **dict({"nblocks": 5}, **kw))

    repaired = [TXN_INSERT, REPAIR, ops(("set", "A", 9))]
    txn("sc overwrite A + insert C, set A; get A, C; 2 kills", "ok", {}, [TXN_INSERT, ops(("set", "A", 9)),
        gets("A", "C")], kills=2)
    for key in "AC":
        txn("sc overwrite A + insert C, repairer, set A; get %s; 2 kills" % key, "ok", {}, repaired + [gets(key)],
            kills=2, limit=20_000_000)
    txn("sc overwrite A + insert C, set A; get_many(A, C); 2 kills", "ok", {}, [TXN_INSERT, ops(("set", "A", 9)),
        many("A", "C")], kills=2, frozen=["A", "B", "C", ("A", "C")])
    txn("sc delete B + overwrite A, insert C; get A, B; 2 kills", "ok", {}, [TXN_DELETE, ops(("set", "C", 7)),
        gets("A", "B")], kills=2)
    txn("sc delete B + overwrite A, set B; get_many(A, B); 2 kills", "ok", {}, [TXN_DELETE, ops(("set", "B", 7)),
        many("A", "B")], kills=2, frozen=["A", "B", "C", ("A", "B")])
    txn("sc two transactions; get A, C; 1 kill", "ok", {}, [TXN_INSERT, TXN_DELETE, gets("A", "C")], limit=20_000_000)
    txn("sc two transactions; get_many(A, C); 1 kill", "ok", {}, [TXN_INSERT, TXN_DELETE, many("A", "C")],
        limit=20_000_000)
    hole = {"index": (TOMB, 0, 1), "keys": "ABC"}
    txn("sc reserved place before B; get B, C; 1 kill", "ok", {}, [TXN_INSERT, ops(("set", "B", 9)),
        gets("B", "C")], **hole)
    txn("sc no room for the second write: refused whole", "ok", {}, [TXN_INSERT, ops(("set", "A", 9)), gets("A")],
        nblocks=3, kills=2)
    weak = {"weak": True}
    txn("weak overwrite A + insert C, set A; get A; 1 kill", "ok", {}, [TXN_INSERT, ops(("set", "A", 9)), gets("A")],
        **weak)
    txn("weak overwrite A + insert C; get A, C; 1 kill", "ok", {}, [TXN_INSERT, REPAIR, gets("A", "C")], **weak)
    txn("weak overwrite A + insert C; get_many(A, C); 1 kill", "ok", {}, [TXN_INSERT, REPAIR, many("A", "C")], **weak)
    txn("weak delete B + overwrite A, set B; get_many(A, B)", "ok", {}, [TXN_DELETE, ops(("set", "B", 7)),
        many("A", "B")], kills=0, **weak)
    # the ways to get it wrong
    plain = [TXN_INSERT, ops(("set", "A", 9)), gets("A", "C")]
    txn("BROKEN commit word even before the finals", "FAIL", {"even_first": True}, plain)
    two_overwrites = [ops(("txn", (("A", 1), ("B", 1)))), ops(("txn", (("A", 2), ("B", None)))), gets("A")]
    one_key = [ops(("txn", (("A", 1),))), ops(("txn", (("A", 2),))), gets("A")]
    txn("weak two transactions over A; get A; 1 kill", "ok", {}, one_key, **weak)
    txn("BROKEN weak, no fence between the pending word and the commit word", "FAIL", {"fence_before_commit": False},
        one_key, **weak)
    txn("BROKEN weak, undo burns only the slots that were marked", "FAIL", {"burn": "marked only"}, two_overwrites,
        **weak)
    txn("BROKEN undo publishes the old record under the final word", "FAIL", {"burn": "reuse final"}, two_overwrites)
    txn("BROKEN journal count cleared before the undo steps", "FAIL", {"count_first": True}, plain, kills=2)
    txn("BROKEN reader answers absent at a slot reserved for another key", "FAIL", {"absent_stops": True},
        [TXN_INSERT, gets("B")], **hole)
    txn("BROKEN reader ignores the commit word", "FAIL", {"commit_check": False}, plain)
    txn("BROKEN get_many without the commit word", "FAIL", {"many_commit": False},
        [TXN_INSERT, ops(("set", "A", 9)), many("A", "C")])
    txn("BROKEN reservation not a redo step", "FAIL", {"plain_reserve": True}, plain)
    txn("BROKEN kind stays REDO while the next list is written", "FAIL", {"kind_stays": True}, plain)
    txn("BROKEN kind REDO before the list is whole", "FAIL", {"kind_early": True}, plain)


# ---------------------------------------------------------------- clear
def clear_scenarios():
    def clear(tag, expect, cfg, threads, **kw):
        add("clear/" + tag, expect, dict({"descriptor": True, "nslots": 2, "npos": 2}, **cfg), threads,
            **dict({"nblocks": 3}, **kw))

    two = [ops(("clear",)), ops(("set", "C", 7))]
    for key in "AC":
        clear("sc clear, insert C; get %s; 2 kills" % key, "ok", {}, two + [gets(key)], kills=2)
    clear("sc clear, repairer, set A; get A; 2 kills", "ok", {},
          [ops(("clear",)), REPAIR, ops(("set", "A", 7)), gets("A")], kills=2)
    overwrite = [ops(("clear",)), ops(("set", "A", 7))]
    frozen = ["A", "B", ("A", "B")]
    clear("sc clear, set A; get_many(A, B); 2 kills", "ok", {}, overwrite + [many("A", "B")], kills=2, frozen=frozen)
    clear("sc clear, transaction A + B; get_many(A, B); 1 kill", "ok", {},
          [ops(("clear",)), ops(("txn", (("A", 1), ("B", 1)))), many("A", "B")], nblocks=4, frozen=frozen,
          limit=20_000_000)
    clear("sc reset does not bump structure: not needed, every key was absent meanwhile", "ok", {"clear_bump": False},
          [ops(("clear",), ("set", "B", 7)), ops(("set", "A", 7)), gets("B")])
    clear("weak clear, set A; get A; 1 kill", "ok", {}, overwrite + [gets("A")], weak=True)
    clear("weak clear, set A; get B; 1 kill", "ok", {}, overwrite + [gets("B")], weak=True)
    clear("weak clear; get_many(A, B); 1 kill", "ok", {}, [ops(("clear",)), REPAIR, many("A", "B")], weak=True)
    then_txn = [ops(("clear",)), ops(("txn", (("A", 1),))), gets("A")]
    clear("weak clear, transaction A; get A; 1 kill", "ok", {}, then_txn, weak=True)
    # the ways to get it wrong
    clear("BROKEN words published one after the other, without marks", "FAIL", {"clear_marks": False},
          overwrite + [many("A", "B")], frozen=frozen)
    clear("BROKEN weak, aborted clear not burnt, transaction after it", "FAIL", {"burn": False}, then_txn,
          weak=True)
    clear("BROKEN recovery forgets the reset", "FAIL", {"reset_forgotten": True}, overwrite + [gets("A")])


# ---------------------------------------------------------------- slot retirement
def retire_scenarios():
    """A's slot 0 is about to be spent; the first place of the table may be free, so that a new entry fits before it."""
    spent = {"spent": 99, "first_seq": {0: 97}, "retire": "txn"}

    def retire(tag, expect, cfg, threads, **kw):
        add("retire/" + tag, expect, dict(spent, **cfg), threads, **dict({"nblocks": 5}, **kw))

    two = [ops(("retire", "A", 1)), ops(("set", "A", 2))]
    retire("sc transaction, new entry behind; get A x2; 2 kills", "ok", {}, two + [gets("A", "A")], kills=2)
    retire("sc transaction, new entry behind; get_many(A, B); 1 kill", "ok", {}, two + [many("A", "B")],
           frozen=["A", "B", "C", ("A", "B")])
    retire("sc transaction, new entry behind; A inserted just before; get A x2", "ok", {"first_seq": {1: 96}},
           [ops(("set", "A", 1), ("retire", "A", 2)), gets("A", "A")], kills=0, placed=[("B", 0)], index=(0, TOMB))
    retire_before = {"new_entry": "hole", "npos": 4}
    retire("sc transaction, new entry before the old one, struct confirms a miss; get A x2; 1 kill", "ok",
           retire_before, two + [gets("A", "A")], index=(TOMB, 0, 1))
    twice = [ops(("retire", "A", 1), ("del", "B"), ("retire", "A", 2)), gets("A", "A")]
    far = {"new_entry": "hole", "npos": 4, "nslots": 4, "first_seq": {0: 97, 2: 95}}
    retire("BROKEN new entry before the old one twice in one read, only struct confirms a miss", "FAIL", far, twice,
           kills=0, index=(1, TOMB, 0), placed=[("A", 0), ("B", 0)])
    retire("sc the same, the commit word confirms a miss too", "ok", dict(far, miss_commit=True), twice, kills=0,
           index=(1, TOMB, 0), placed=[("A", 0), ("B", 0)])
    retire("sc the same, new entries behind, only struct confirms a miss", "ok", dict(far, new_entry="behind", npos=6),
           twice, kills=0, index=(1, TOMB, 0))
    retire("weak transaction, new entry behind; get A; 1 kill", "ok", {}, two + [gets("A")], weak=True)
    retire("weak transaction, new entry behind; get A x2", "ok", {}, two[:1] + [gets("A", "A")], weak=True, kills=0)

    def order(tag, expect, how, threads=(ops(("retire", "A", 1)), gets("A", "A")), cfg=None, **kw):
        retire(tag, expect, dict(cfg or {}, retire=how), list(threads), kills=0, crash=False, **kw)

    published = "insert first, retiring publishes"
    order("BROKEN old slot retired, then the new one inserted", "FAIL", "delete first")
    order("BROKEN new slot published behind the old one, then the old one retired", "FAIL", "insert first")
    order("BROKEN new slot published before the old one, then the old one retired", "FAIL", "insert first",
          cfg={"new_entry": "hole", "npos": 4}, index=(TOMB, 0, 1))
    order("BROKEN new slot before the old one, retiring publishes", "FAIL", published,
          cfg={"new_entry": "hole", "npos": 4}, index=(TOMB, 0, 1))
    order("sc new slot behind the old one, retiring publishes", "ok", published)
    order("weak new slot behind the old one, retiring publishes", "ok", published, weak=True)
    order("BROKEN new slot behind, retiring publishes, A inserted just before", "FAIL", published,
          [ops(("set", "A", 1), ("retire", "A", 2)), gets("A", "A")], placed=[("B", 0)], index=(0, TOMB))


for family in (one_slot_scenarios, redo_scenarios, txn_scenarios, clear_scenarios, retire_scenarios):
    family()
