"""The first generation, part two: transactions over fixed slots, waiting, snapshot, the successor file."""

from . import reader as readers
from . import successor
from .checker import Model
from .scenarios import A_AND_B, TABLE, Scenario, add, gets, ops

# ---------------------------------------------------------------- two-key transaction over fixed slots
TXN_1 = ops(("txn", (("A", 1), ("B", 1))))
TXN_2 = ops(("txn", (("A", 2), ("B", None))))
REPAIR = ops(("nop",))


def txn_scenarios():
    many = (readers.get_many, (("A", "B"), 1), False)

    def txn(tag, expect, cfg, reading, w=(TXN_1, TXN_2), frozen=("A", "B"), **kw):
        add(
            "txn/" + tag,
            expect,
            dict({"txn": "pending"}, **cfg),
            A_AND_B,
            4,
            list(w) + [reading],
            frozen=list(frozen),
            **kw,
        )

    repaired = (TXN_1, REPAIR, ops(("set", "B", 9)))
    txn("sc pending mark + commit word, gets A,B,A", "ok", {}, gets("A", "B", "A"))
    txn(
        "sc same, gets A,B; txn, repairer, set; 2 kills (recovery killed)",
        "ok",
        {},
        gets("A", "B"),
        kills=2,
        w=repaired,
    )
    txn("sc same, get_many; txn, repairer, set; 2 kills", "ok", {}, many, kills=2, w=repaired)
    txn("sc same, get_many; two txns (one deletes), 1 kill", "ok", {}, many)
    txn("sc get_many without the commit word in the double collect", "FAIL", {"many_commit": False}, many)
    txn("sc get_many single collect", "FAIL", {"double": False, "many_commit": False}, many)
    redo = {"txn": "redo"}
    txn("sc intent + commit record, readers do not look at it (redo)", "FAIL", redo, gets("A", "B"))
    txn(
        "sc redo, the same, sequence of gets A,B judged on concurrent reads only",
        "FAIL",
        redo,
        gets("A", "B"),
        frozen=(),
        w=(TXN_1,),
    )
    txn("sc redo, get_many double collect incl. commit word", "FAIL", redo, many, frozen=())
    txn(
        "sc no commit record: publish one after the other",
        "FAIL",
        {"txn": "plain"},
        gets("A", "B"),
        frozen=(),
    )
    txn("sc pending mark, readers ignore the commit word", "FAIL", {"commit_check": False}, gets("A", "B"))

    def weak(tag, expect, cfg, reading, **kw):
        txn("weak " + tag, expect, cfg, reading, weak=True, **kw)

    weak("pending + commit, fences, gets A,B", "ok", {}, gets("A", "B"), w=(TXN_1,))
    weak("pending + commit, fences, get_many", "ok", {}, many, w=(TXN_1,))
    weak("pending + commit, fences, get A, two txns", "ok", {}, gets("A"))
    weak(
        "same, no fence between pending word and commit word",
        "FAIL",
        {"fence_before_commit": False},
        gets("A"),
    )
    weak("same, recovery does not burn the aborted word", "FAIL", {"burn": False}, gets("A"))
    weak("pending + commit, NO fences", "FAIL", {"fence": False}, gets("A", "B"), w=(TXN_1,))


# ---------------------------------------------------------------- wake-ups, snapshot, successor file
def other_scenarios():
    def wait(tag, expect, cfg, kills):
        threads = [ops(("setc", "A", 1)), (readers.waiter, ("A",), False)]
        add("wait/" + tag, expect, cfg, A_AND_B, 3, threads, kills=kills, frozen=["A"])

    wait("counter bumped before publish", "FAIL", {"counter": "before"}, 0)
    wait("counter bumped after publish", "ok", {"counter": "after"}, 0)
    wait("after publish, writer killed, nobody repairs", "FAIL", {"counter": "after"}, 1)
    wait(
        "after publish, writer killed, bounded tick re-checks the slot word",
        "ok",
        {"counter": "after", "poll": True},
        1,
    )

    def snapshot(tag, expect, cfg, w, **kw):
        threads = list(w) + [(readers.snapshot, (("A", "B"),), True)]
        add(
            "snapshot/" + tag,
            expect,
            dict({"txn": "pending"}, **cfg),
            A_AND_B,
            4,
            threads,
            frozen=["A", "B"],
            **kw,
        )

    two_sets = (ops(("set", "A", 5), ("set", "B", 5)),)
    snapshot(
        "words compared and re-copied under the lock; sets, txn with delete",
        "ok",
        {},
        (ops(("set", "A", 5)), TXN_2),
    )
    snapshot("same; txn, repairer, 2 kills", "ok", {}, (TXN_1, REPAIR), kills=2)
    snapshot("re-copied, but without the lock", "FAIL", {"snap_lock": False}, two_sets, kills=0)
    snapshot("under the lock, no re-copy", "FAIL", {"snap_recopy": False}, two_sets, kills=0)
    snapshot("weak; words compared and re-copied under the lock", "ok", {}, (TXN_1,), weak=True)

    def hand_over(tag, expect, cfg, **kw):
        memory = {"moved": 0, "w0": (1, 0), "w1": (0, None), "dirty": 0}
        threads = [
            (successor.move_to_successor, (), True),
            (successor.successor_writer, ((1, 2),), True),
            (successor.successor_writer, ((3,),), True),
            (successor.successor_reader, (3, None), False),
        ]
        TABLE.append(
            Scenario(
                "successor/" + tag,
                expect,
                lambda **more: Model(cfg, memory, {"A": 0}, threads, crash=False, **dict(kw, **more)),
            )
        )

    hand_over("old words never retired", "FAIL", {"retire": "never"}, kills=0)
    hand_over("retired after the switch; killed between; next writer does not finish", "FAIL", {"retire": "after"})
    finished = {"retire": "after", "finish": True}
    hand_over("retired after the switch; next writer finishes it first; 2 kills", "ok", finished, kills=2)
    hand_over("weak; same", "ok", finished, weak=True)


for family in (txn_scenarios, other_scenarios):
    family()
