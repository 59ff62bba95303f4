"""The protocol as built, part two: transactions through the index, clear, retirement of a slot."""

from .scenarios import gets
from .scenarios_engine import REPAIR, add, many, ops
from .words import TOMB

TXN_INSERT = ops(("txn", (("A", 1), ("C", 7))))
TXN_DELETE = ops(("txn", (("B", None), ("A", 2))))


# ---------------------------------------------------------------- transactions
def txn_scenarios():
    def txn(tag, expect, cfg, threads, **kw):
        add("txn through index/" + tag, expect, cfg, threads, **dict({"nblocks": 5}, **kw))

    repaired = [TXN_INSERT, REPAIR, ops(("set", "A", 9))]
    txn(
        "sc overwrite A + insert C, set A; get A, C; 2 kills",
        "ok",
        {},
        [TXN_INSERT, ops(("set", "A", 9)), gets("A", "C")],
        kills=2,
    )
    for key in "AC":
        txn(
            "sc overwrite A + insert C, repairer, set A; get %s; 2 kills" % key,
            "ok",
            {},
            repaired + [gets(key)],
            kills=2,
            limit=20_000_000,
        )
    txn(
        "sc overwrite A + insert C, set A; get_many(A, C); 2 kills",
        "ok",
        {},
        [TXN_INSERT, ops(("set", "A", 9)), many("A", "C")],
        kills=2,
        frozen=["A", "B", "C", ("A", "C")],
    )
    txn(
        "sc delete B + overwrite A, insert C; get A, B; 2 kills",
        "ok",
        {},
        [TXN_DELETE, ops(("set", "C", 7)), gets("A", "B")],
        kills=2,
    )
    txn(
        "sc delete B + overwrite A, set B; get_many(A, B); 2 kills",
        "ok",
        {},
        [TXN_DELETE, ops(("set", "B", 7)), many("A", "B")],
        kills=2,
        frozen=["A", "B", "C", ("A", "B")],
    )
    txn(
        "sc two transactions; get A, C; 1 kill",
        "ok",
        {},
        [TXN_INSERT, TXN_DELETE, gets("A", "C")],
        limit=20_000_000,
    )
    txn(
        "sc two transactions; get_many(A, C); 1 kill",
        "ok",
        {},
        [TXN_INSERT, TXN_DELETE, many("A", "C")],
        limit=20_000_000,
    )
    hole = {"index": (TOMB, 0, 1), "keys": "ABC"}
    txn(
        "sc reserved place before B; get B, C; 1 kill",
        "ok",
        {},
        [TXN_INSERT, ops(("set", "B", 9)), gets("B", "C")],
        **hole,
    )
    txn(
        "sc no room for the second write: refused whole",
        "ok",
        {},
        [TXN_INSERT, ops(("set", "A", 9)), gets("A")],
        nblocks=3,
        kills=2,
    )
    weak = {"weak": True}
    txn(
        "weak overwrite A + insert C, set A; get A; 1 kill",
        "ok",
        {},
        [TXN_INSERT, ops(("set", "A", 9)), gets("A")],
        **weak,
    )
    txn(
        "weak overwrite A + insert C; get A, C; 1 kill",
        "ok",
        {},
        [TXN_INSERT, REPAIR, gets("A", "C")],
        **weak,
    )
    txn(
        "weak overwrite A + insert C; get_many(A, C); 1 kill",
        "ok",
        {},
        [TXN_INSERT, REPAIR, many("A", "C")],
        **weak,
    )
    txn(
        "weak delete B + overwrite A, set B; get_many(A, B)",
        "ok",
        {},
        [TXN_DELETE, ops(("set", "B", 7)), many("A", "B")],
        kills=0,
        **weak,
    )
    # the ways to get it wrong
    plain = [TXN_INSERT, ops(("set", "A", 9)), gets("A", "C")]
    txn("BROKEN commit word even before the finals", "FAIL", {"even_first": True}, plain)
    two_overwrites = [ops(("txn", (("A", 1), ("B", 1)))), ops(("txn", (("A", 2), ("B", None)))), gets("A")]
    one_key = [ops(("txn", (("A", 1),))), ops(("txn", (("A", 2),))), gets("A")]
    txn("weak two transactions over A; get A; 1 kill", "ok", {}, one_key, **weak)
    txn(
        "BROKEN weak, no fence between the pending word and the commit word",
        "FAIL",
        {"fence_before_commit": False},
        one_key,
        **weak,
    )
    txn(
        "BROKEN weak, undo burns only the slots that were marked",
        "FAIL",
        {"burn": "marked only"},
        two_overwrites,
        **weak,
    )
    txn(
        "BROKEN undo publishes the old record under the final word",
        "FAIL",
        {"burn": "reuse final"},
        two_overwrites,
    )
    txn("BROKEN journal count cleared before the undo steps", "FAIL", {"count_first": True}, plain, kills=2)
    txn(
        "BROKEN reader answers absent at a slot reserved for another key",
        "FAIL",
        {"absent_stops": True},
        [TXN_INSERT, gets("B")],
        **hole,
    )
    txn("BROKEN reader ignores the commit word", "FAIL", {"commit_check": False}, plain)
    txn(
        "BROKEN get_many without the commit word",
        "FAIL",
        {"many_commit": False},
        [TXN_INSERT, ops(("set", "A", 9)), many("A", "C")],
    )
    txn("BROKEN reservation not a redo step", "FAIL", {"plain_reserve": True}, plain)
    txn("BROKEN kind stays REDO while the next list is written", "FAIL", {"kind_stays": True}, plain)
    txn("BROKEN kind REDO before the list is whole", "FAIL", {"kind_early": True}, plain)


# ---------------------------------------------------------------- clear
def clear_scenarios():
    def clear(tag, expect, cfg, threads, **kw):
        add(
            "clear/" + tag,
            expect,
            dict({"descriptor": True, "nslots": 2, "npos": 2}, **cfg),
            threads,
            **dict({"nblocks": 3}, **kw),
        )

    two = [ops(("clear",)), ops(("set", "C", 7))]
    for key in "AC":
        clear("sc clear, insert C; get %s; 2 kills" % key, "ok", {}, two + [gets(key)], kills=2)
    clear(
        "sc clear, repairer, set A; get A; 2 kills",
        "ok",
        {},
        [ops(("clear",)), REPAIR, ops(("set", "A", 7)), gets("A")],
        kills=2,
    )
    overwrite = [ops(("clear",)), ops(("set", "A", 7))]
    frozen = ["A", "B", ("A", "B")]
    clear(
        "sc clear, set A; get_many(A, B); 2 kills",
        "ok",
        {},
        overwrite + [many("A", "B")],
        kills=2,
        frozen=frozen,
    )
    clear(
        "sc clear, transaction A + B; get_many(A, B); 1 kill",
        "ok",
        {},
        [ops(("clear",)), ops(("txn", (("A", 1), ("B", 1)))), many("A", "B")],
        nblocks=4,
        frozen=frozen,
        limit=20_000_000,
    )
    clear(
        "sc reset does not bump structure: not needed, every key was absent meanwhile",
        "ok",
        {"clear_bump": False},
        [ops(("clear",), ("set", "B", 7)), ops(("set", "A", 7)), gets("B")],
    )
    clear("weak clear, set A; get A; 1 kill", "ok", {}, overwrite + [gets("A")], weak=True)
    clear("weak clear, set A; get B; 1 kill", "ok", {}, overwrite + [gets("B")], weak=True)
    clear("weak clear; get_many(A, B); 1 kill", "ok", {}, [ops(("clear",)), REPAIR, many("A", "B")], weak=True)
    then_txn = [ops(("clear",)), ops(("txn", (("A", 1),))), gets("A")]
    clear("weak clear, transaction A; get A; 1 kill", "ok", {}, then_txn, weak=True)
    # An absent cell alone is no answer: a miss is probed twice. So this truth and another may share a word.
    tag = "weak aborted clear not burnt, transaction A: harmless, absence is confirmed"
    clear(tag, "ok", {"burn": False}, then_txn, weak=True)
    # the ways to get it wrong
    clear(
        "BROKEN words published one after the other, without marks",
        "FAIL",
        {"clear_marks": False},
        overwrite + [many("A", "B")],
        frozen=frozen,
    )
    clear("BROKEN recovery forgets the reset", "FAIL", {"reset_forgotten": True}, overwrite + [gets("A")])


# ---------------------------------------------------------------- slot retirement
def retire_scenarios():
    """A's slot 0 is about to be spent; a free first place fits a new entry before the old one."""
    spent = {"spent": 99, "first_seq": {0: 97}, "retire": "txn"}

    def retire(tag, expect, cfg, threads, **kw):
        add("retire/" + tag, expect, dict(spent, **cfg), threads, **dict({"nblocks": 5}, **kw))

    two = [ops(("retire", "A", 1)), ops(("set", "A", 2))]
    retire("sc transaction, new entry behind; get A x2; 2 kills", "ok", {}, two + [gets("A", "A")], kills=2)
    retire(
        "sc transaction, new entry behind; get_many(A, B); 1 kill",
        "ok",
        {},
        two + [many("A", "B")],
        frozen=["A", "B", "C", ("A", "B")],
    )
    retire(
        "sc transaction, new entry behind; A inserted just before; get A x2",
        "ok",
        {"first_seq": {1: 96}},
        [ops(("set", "A", 1), ("retire", "A", 2)), gets("A", "A")],
        kills=0,
        placed=[("B", 0)],
        index=(0, TOMB),
    )
    retire_before = {"new_entry": "hole", "npos": 4}
    retire(
        "sc transaction, new entry before the old one, struct confirms a miss; get A x2; 1 kill",
        "ok",
        retire_before,
        two + [gets("A", "A")],
        index=(TOMB, 0, 1),
    )
    twice = [ops(("retire", "A", 1), ("del", "B"), ("retire", "A", 2)), gets("A", "A")]
    far = {"new_entry": "hole", "npos": 4, "nslots": 4, "first_seq": {0: 97, 2: 95}}
    retire(
        "BROKEN new entry before the old one twice in one read, only struct confirms a miss",
        "FAIL",
        far,
        twice,
        kills=0,
        index=(1, TOMB, 0),
        placed=[("A", 0), ("B", 0)],
    )
    retire(
        "sc the same, the commit word confirms a miss too",
        "ok",
        dict(far, miss_commit=True),
        twice,
        kills=0,
        index=(1, TOMB, 0),
        placed=[("A", 0), ("B", 0)],
    )
    retire(
        "sc the same, new entries behind, only struct confirms a miss",
        "ok",
        dict(far, new_entry="behind", npos=6),
        twice,
        kills=0,
        index=(1, TOMB, 0),
    )
    retire("weak transaction, new entry behind; get A; 1 kill", "ok", {}, two + [gets("A")], weak=True)
    retire(
        "weak transaction, new entry behind; get A x2",
        "ok",
        {},
        two[:1] + [gets("A", "A")],
        weak=True,
        kills=0,
    )

    def order(tag, expect, how, threads=None, cfg=None, **kw):
        threads = threads or [ops(("retire", "A", 1)), gets("A", "A")]
        retire(tag, expect, dict(cfg or {}, retire=how), threads, kills=0, crash=False, **kw)

    published = "insert first, retiring publishes"
    order("BROKEN old slot retired, then the new one inserted", "FAIL", "delete first")
    order("BROKEN new slot published behind the old one, then the old one retired", "FAIL", "insert first")
    order(
        "BROKEN new slot published before the old one, then the old one retired",
        "FAIL",
        "insert first",
        cfg={"new_entry": "hole", "npos": 4},
        index=(TOMB, 0, 1),
    )
    order(
        "BROKEN new slot before the old one, retiring publishes",
        "FAIL",
        published,
        cfg={"new_entry": "hole", "npos": 4},
        index=(TOMB, 0, 1),
    )
    order("sc new slot behind the old one, retiring publishes", "ok", published)
    order("weak new slot behind the old one, retiring publishes", "ok", published, weak=True)
    order(
        "BROKEN new slot behind, retiring publishes, A inserted just before",
        "FAIL",
        published,
        [ops(("set", "A", 1), ("retire", "A", 2)), gets("A", "A")],
        placed=[("B", 0)],
        index=(0, TOMB),
    )


for family in (txn_scenarios, clear_scenarios, retire_scenarios):
    family()
