"""The table of scenarios: what is searched, and whether it must hold ("ok") or must be caught ("FAIL").

This file has the first generation of the protocol and the rejected designs; `scenarios_engine` what is built.
"""

from . import reader as readers
from .checker import Model
from .words import EMPTY, make_record, seal, word
from .writer import writer


class Scenario:
    def __init__(self, name, expect, build):
        self.name, self.expect, self.build, self.slow = name, expect, build, False


def base_memory(cfg, placed, nblocks):
    """placed: list of (slot, key, value). Slot i starts in block i."""
    memory = {
        "dirty": 0,
        "commit": 0,
        "ver": 10,
        "intent": (),
        "journal": (),
        "struct": 0,
        "desc": 0,
        "ctr": 0,
        "log": 0,
        "head": 0,
    }
    for slot in range(cfg["nslots"]):
        w = word(1, 0, 0)
        memory["w", slot] = w
        for cell in (0, 1):
            memory["o", slot, cell] = None
            memory["t", slot, cell] = seal(cfg, slot, w, None, None) if cell == 0 else 0
    for block in range(nblocks):
        memory["r", block, 0], memory["r", block, 1] = ("L", None), (0, None)
    for slot, key, value in placed:
        record = make_record(cfg, key, value, slot + 1)
        memory["r", slot, 0], memory["r", slot, 1] = record
        memory["o", slot, 0] = slot
        memory["t", slot, 0] = seal(cfg, slot, memory["w", slot], slot, record)
    memory["free"] = tuple(range(len(placed), nblocks))
    if placed:  # slot 0 had an earlier value: its idle cell still points at the block that is free now
        block = len(placed)
        older = make_record(cfg, placed[0][1], "older", 0)
        memory["o", 0, 1], memory["t", 0, 1] = block, seal(cfg, 0, word(0, 0, 1), block, older)
        memory["r", block, 0] = ("L", block + 1 if block + 1 < nblocks else None)
        memory["r", block, 1] = older[1]
    if cfg.get("index"):
        for table in (0, 1) if cfg.get("two_tables") else (0,):
            for place in range(cfg["npos"]):
                memory["x", table, place] = placed[place][0] if place < len(placed) else EMPTY
    return memory


def ops(*operations):
    return (writer, (operations,), True)


def gets(*keys):
    return (readers.reader, (keys, (), 1), False)


TABLE = []
A_AND_B = [(0, "A", 0), (1, "B", 0)]


def add(name, expect, cfg, placed, nblocks, threads, spec=None, **kw):
    cfg = dict({"sum": "bound", "nblocks": nblocks, "slot_of": {key: slot for slot, key, _ in placed}}, **cfg)
    cfg.setdefault("nslots", max(2, len(placed)))
    if spec is None:
        spec = {key: value for _, key, value in placed}

    def build(**more):
        return Model(cfg, base_memory(cfg, placed, nblocks), spec, threads, **dict(kw, **more))

    TABLE.append(Scenario(name, expect, build))


# ---------------------------------------------------------------- overwrite, block reuse, cached read, kill
def overwrite_scenarios():
    threads = [ops(("set", "A", 1), ("set", "A", 2)), ops(("set", "B", 1)), gets("A", "A")]

    def sc(tag, expect, cfg, kills=1, **kw):
        add("overwrite/sc " + tag, expect, cfg, A_AND_B, 3, threads, kills=kills, frozen=["A"], **kw)

    sc("bound+recheck", "ok", {}, kills=2)
    sc("recheck, NO checksum", "ok", {"sum": "none"})
    sc("bound checksum, no recheck", "ok", {"recheck": False})
    sc("checksum in the cell over the record, no recheck", "FAIL", {"sum": "cell", "recheck": False})
    sc("checksum in the block over the value only, no recheck", "FAIL", {"sum": "blk_val", "recheck": False})
    sc(
        "checksum in the block over key+version+value, no recheck",
        "FAIL",
        {"sum": "blk_rec", "recheck": False},
    )
    sc("checksum in the block over key+version+value, WITH recheck", "ok", {"sum": "blk_rec"})
    sc("in-place overwrite of the live block", "FAIL", {"in_place": True})
    sc("free (intrusive link) BEFORE publish", "FAIL", {"free_first": True})
    sc("2-valued sequence (wrap)", "FAIL", {"wrap": 2, "sum": "none"})
    sc("2-valued sequence (wrap), bound checksum", "FAIL", {"wrap": 2})

    def weak(tag, expect, cfg, kills=1, w=tuple(threads[:2]), reading=("A",), **kw):
        add(
            "overwrite/weak " + tag,
            expect,
            cfg,
            A_AND_B,
            3,
            list(w) + [gets(*reading)],
            weak=True,
            kills=kills,
            frozen=["A"],
            **kw,
        )

    two_writers = (ops(("set", "A", 1)), ops(("set", "A", 2)))
    unfenced = {"fence": False}
    weak("bound, recheck, no fences, get A, 1 kill", "ok", unfenced)
    weak("bound, NO recheck, no fences, get A, 1 kill", "ok", dict(unfenced, recheck=False))
    weak("bound, recheck, no fences, get A x2 (second cached)", "ok", unfenced, 0, two_writers, ("A", "A"))
    weak("bound, recheck, no fences, two writers of A, 1 kill", "ok", unfenced, 1, two_writers)
    weak(
        "same, recovery does not burn the word that the dead writer sealed",
        "FAIL",
        {"fence": False, "burn": False},
        1,
        two_writers,
    )
    weak("same, not burnt, writer fences only", "FAIL", {"burn": False}, 1, two_writers)
    weak("NO checksum, recheck, fences in the writer only", "FAIL", {"sum": "none"})
    weak("checksum in the cell over the record only, recheck, no fences", "FAIL", dict(unfenced, sum="cell"))
    weak("checksum in the block, key+version+value, recheck, no fences", "FAIL", dict(unfenced, sum="blk_rec"))
    weak("checksum in the block, value only, recheck, no fences", "FAIL", dict(unfenced, sum="blk_val"))


# ---------------------------------------------------------------- delete, insert into the same slot, index
def index_scenarios():
    delete_insert = ops(("del", "A"), ("set", "C", 7))
    delete, set_b = ops(("del", "A")), ops(("set", "B", 1))

    def index(tag, expect, cfg, reading, w=(delete_insert, set_b), frozen=("A", "B", "C"), nblocks=3, **kw):
        cfg = dict({"index": True, "npos": 3, "nslots": 2}, **cfg)
        add(
            "index/" + tag,
            expect,
            cfg,
            A_AND_B,
            nblocks,
            list(w) + [gets(*reading)],
            spec={"A": 0, "B": 0, "C": None},
            frozen=list(frozen),
            **kw,
        )

    fresh = {"two_tables": True}
    for key in "ABC":
        index("sc tombstones, rebuild into a fresh table, get %s x2, 1 kill" % key, "ok", fresh, (key, key))
    index("sc same, get B, 2 kills (recovery killed too)", "ok", fresh, ("B",), kills=2)
    index("sc same, get A then C", "ok", fresh, ("A", "C"))
    index(
        "sc slot sequence RESET on reuse",
        "FAIL",
        dict(fresh, reset_word=True),
        ("A", "A"),
        w=(delete_insert,),
    )
    index("sc index entry stored AFTER the slot publish", "FAIL", dict(fresh, index_last=True), ("C", "C"))
    index("sc tombstone BEFORE the slot publish", "FAIL", dict(fresh, tomb_first=True), ("A",))
    index(
        "sc recovery rebuilds the index IN PLACE, counter bumped at its end",
        "FAIL",
        {"rebuild": "in_place"},
        ("B",),
        frozen=(),
    )
    three = (delete, set_b, ops(("set", "B", 2)))
    index(
        "sc 3 writers, table reused by the 2nd recovery, get B, 2 kills",
        "ok",
        fresh,
        ("B",),
        w=three,
        kills=2,
    )
    index(
        "sc same, but a miss is not re-checked",
        "FAIL",
        dict(fresh, miss_check=False),
        ("B",),
        w=three,
        kills=2,
    )

    def shift(tag, expect, cfg, **kw):
        index(
            tag,
            expect,
            dict({"shift": True, "rebuild": "none"}, **cfg),
            ("B",),
            w=(delete,),
            kills=0,
            crash=False,
            **kw,
        )

    shift("sc backward shift, no counter", "FAIL", {})
    shift("sc backward shift, counter bumped before the move only", "FAIL", {"bump": "before"})
    shift("sc backward shift, counter bumped after the move only", "FAIL", {"bump": "after"})
    shift("sc backward shift, bumped BETWEEN new place and old place", "ok", {"bump": "between"})
    shift("weak backward shift, bumped between, fences", "ok", {"bump": "between"}, weak=True)
    shift(
        "weak backward shift, bumped between, NO fences",
        "FAIL",
        {"bump": "between", "fence": False},
        weak=True,
    )

    def weak(tag, expect, cfg, reading, **kw):
        index("weak " + tag, expect, cfg, reading, weak=True, **kw)

    second, two = dict(fresh, miss="second probe"), (delete, set_b)
    unfenced = dict(fresh, fence=False)
    weak("fresh table, fences, get B, 2 writers, 1 kill", "ok", fresh, ("B",), w=two)
    weak("same, hits unfenced, a miss confirmed by a fenced 2nd probe", "ok", second, ("B",), w=two)
    weak("same, 2nd probe, get C (delete A, insert C into its slot)", "ok", second, ("C",), w=(delete_insert,))
    weak(
        "same, 2nd probe, get A x2 (slot reused by C, second get cached)",
        "ok",
        second,
        ("A", "A"),
        w=(delete_insert,),
        kills=0,
    )
    weak("NO fences, no rebuild (no kill), get B", "ok", unfenced, ("B",), w=(delete_insert,), kills=0)
    weak("NO fences, rebuild after a kill, get B", "FAIL", unfenced, ("B",), w=two)

    # constant-time recovery from a journal of (word, before, after)
    journal = {"recover": "journal"}
    for key in "ABC":
        index("sc journal recovery, get %s, 2 kills" % key, "ok", journal, (key,), kills=2)
    index("sc journal recovery, 3 writers, get B, 2 kills", "ok", journal, ("B",), w=three, kills=2)
    index("sc journal written after `dirty`", "FAIL", dict(journal, dirty_first=True), ("B",), w=three, kills=2)
    unfenced = dict(journal, fence=False)
    weak("journal recovery, no fences, get B, 2 writers, 1 kill", "ok", unfenced, ("B",), w=two)
    weak(
        "journal recovery, no fences, get C, 2 writers, 1 kill",
        "ok",
        dict(unfenced, nslots=3),
        ("C",),
        w=(ops(("set", "C", 7)), set_b),
        nblocks=4,
    )


# ---------------------------------------------------------------- get_many with absent keys, the change log
def absent_scenarios():
    def absent(tag, expect, cfg, kills=0, **kw):
        cfg = dict({"index": True, "npos": 3, "nslots": 3, "two_tables": True}, **cfg)
        threads = [ops(("set", "C", 7), ("set", "B", 1), ("set", "B", 2), ("del", "C"))]
        threads += [ops(("set", "B", 3))] if kills else []
        threads.append((readers.get_many_indexed, (("C", "B"),), False))
        add(
            "get_many absent/" + tag,
            expect,
            cfg,
            [(0, "B", 0)],
            4,
            threads,
            spec={"B": 0, "C": None},
            kills=kills,
            frozen=["B", "C"],
            **kw,
        )

    absent("words collected twice, absent keys not re-checked", "FAIL", {"absent": "none"})
    absent("absent keys looked up again at the end", "FAIL", {"absent": "relook"})
    bump_before, bump_after = [{"absent": "struct", "ins_bump": when} for when in ("before", "after")]
    absent("structure word collected twice, bumped before each insert's publish", "FAIL", bump_before)
    absent("structure word collected twice, bumped after each insert's publish", "ok", bump_after)
    absent("same, 1 kill (recovery bumps)", "ok", bump_after, kills=1)

    def watch(tag, expect, cfg):
        threads = [ops(("set", "A", 1)), ops(("set", "B", 1)), ops(("set", "A", 2))]
        add("watch/" + tag, expect, cfg, A_AND_B, 3, threads, spec={"A": 0, "B": 0, "#": 0}, kills=2)

    watch("event appended after publish; recovery only rebuilds from slots", "FAIL", {"log": "after"})
    watch("event body + intent before, head after publish; recovery finishes it", "ok", {"log": "intent"})


for family in (overwrite_scenarios, index_scenarios, absent_scenarios):
    family()
