"""Scenarios of the event log (events/), of the alert that runs out (alert/), and of waiting (wake/).

A watcher begins where the ring is empty, unless the name says otherwise; "heard" is who has asked to be woken before.
"""

from .events import EventModel
from .events_reader import begin_again, waiter, watcher
from .events_writer import clock, mender, writer
from .scenarios import Scenario

TABLE = []
WATCHER = (watcher, (0, 10, 0, 0), False)
RENEWER = (watcher, (0, 10, 0, 1), False)
MENDER = (mender, (), False)
CLOCK = (clock, (1,), False)


def memory_of(cfg, alert):
    memory = {"dirty": 0, "intent": None, "journal": (), "commit": 0, "ver": 10, "alert": alert}
    memory.update({"head": 0, "breaks": 0, "change": 0, ("w", 0): 1, ("w", 1): 1})
    for place in range(cfg["ring"]):
        # An entry of an earlier lap.
        memory["e", place, "crc"] = (place - cfg["ring"], place, "old")
        memory["e", place, "head"] = (place - cfg["ring"], place)
        memory["e", place, "key"] = "old"
    return memory


def ops(*operations):
    return (writer, (operations,), True)


def add(name, expect, cfg, threads, alert=1, **kw):
    cfg = dict({"ring": 3}, **cfg)

    def build(**more):
        return EventModel(cfg, memory_of(cfg, alert), threads, **dict(kw, **more))

    TABLE.append(Scenario(name, expect, build))


SET_A, SET_B, SET_C = ("one", 0, "set A"), ("one", 1, "set B"), ("one", 0, "set A again")
AGAIN = ("one", 0, None)
TXN = ("txn", ("set A", "delete B"))
EVICTING = ("txn", ("set A", "delete B"), "evict C")
CLEAR = ("clear",)
REPAIR = ops(("nop",))


def log_scenarios():
    def log(tag, expect, cfg, threads, **kw):
        add("events/" + tag, expect, cfg, [*threads, WATCHER], **kw)

    two = [ops(SET_A, SET_C), ops(SET_B)]
    log("sc set A, set A; set B; 2 kills", "ok", {}, two, kills=2)
    log("sc set A; republish A; repairer; 2 kills", "ok", {}, [ops(SET_A), ops(AGAIN), REPAIR], kills=2)
    large = {"ring": 8}  # a transaction may be announced again by each recovery
    log("sc transaction; set A; repairer; 2 kills", "ok", large, [ops(TXN), ops(SET_A), REPAIR], kills=2)
    log("sc transaction that evicts; clear; 2 kills", "ok", large, [ops(EVICTING), ops(CLEAR)], kills=2)
    log("sc clear; set A; republish; 2 kills", "ok", large, [ops(CLEAR), ops(SET_A), ops(AGAIN)], kills=2)
    small = {"ring": 2, "overflow": True, "torn": "overflow"}
    log("sc ring of 2, three sets, transaction; 1 kill", "ok", small, [ops(SET_A, SET_B, SET_C), ops(TXN)])
    log(
        "sc ring of 2, set A; republish, set B, set A; 2 kills",
        "ok",
        small,
        [ops(SET_A), ops(AGAIN, SET_B, SET_C)],
        kills=2,
    )
    log("weak set A, set A; set B; 1 kill", "ok", {}, two, weak=True)
    log("weak set A; republish A; set B; 1 kill", "ok", {}, [ops(SET_A), ops(AGAIN, SET_B)], weak=True)
    log("weak transaction; set A; 1 kill", "ok", large, [ops(TXN), ops(SET_A)], weak=True)
    log("weak transaction; repairer; 2 kills", "ok", large, [ops(TXN), REPAIR, REPAIR], weak=True, kills=2)
    three = [ops(("txn", ("set A", "delete B", "set C"))), REPAIR, ops(SET_A)]
    log("weak transaction of three; repairer; set A; 2 kills", "ok", {"ring": 10}, three, weak=True, kills=2)
    log("weak clear; set A; republish; 2 kills", "ok", large, [ops(CLEAR), ops(SET_A), ops(AGAIN)], weak=True, kills=2)
    log("weak transaction that evicts; clear; 1 kill", "ok", large, [ops(EVICTING), ops(CLEAR)], weak=True)
    log("weak ring of 2, three sets; set B; 1 kill", "ok", small, [ops(SET_A, SET_B, SET_C), ops(SET_B)], weak=True)

    log("BROKEN the head moves before the publish", "FAIL", {"head_first": True}, two)
    log("BROKEN the entry is stored after the publish", "FAIL", {"entry_late": True}, two)
    log("BROKEN recovery does not move the head", "FAIL", {"finish": False}, two)
    unvoided = [ops(SET_A), ops(AGAIN), REPAIR]
    log("BROKEN recovery does not void", "FAIL", {"void": False}, unvoided, kills=2)
    log("BROKEN a transaction announces before it commits", "FAIL", {"announce_early": True}, [ops(TXN), REPAIR])
    log(
        "BROKEN a transaction announces when the commit word is even",
        "FAIL",
        {"announce_late": True},
        [ops(TXN), REPAIR],
    )
    log("BROKEN recovery does not announce again", "FAIL", {"announce_again": False}, [ops(TXN), REPAIR])
    log("BROKEN the same of a clear", "FAIL", {"announce_again": False}, [ops(CLEAR), REPAIR])
    log("BROKEN a watcher does not skip what it knows", "FAIL", {"skip": False}, [ops(TXN), REPAIR])
    unsealed = dict(small, seal_position=False, overrun_check=False)
    log("BROKEN the position is not in the seal, nor the head looked at", "FAIL", unsealed, [ops(SET_A, SET_B, SET_C)])
    log("BROKEN the seal fits a second copy, the first is believed", "FAIL", dict(small, two_copies=True), two)
    log("BROKEN weak, no fence between the head and the entry", "FAIL", {"read_fence": False}, two, weak=True)
    torn = dict(large, announce_fence=False)
    log(
        "BROKEN weak, no fence between an announced entry and the head", "FAIL", torn, [ops(TXN), ops(SET_A)], weak=True
    )
    log("BROKEN weak, no fences at all", "FAIL", {"fence": False}, two, weak=True)


def alert_scenarios():
    lapses = {"lapses": True, "overflow": True}
    other = [ops(SET_A), ops(("alert",), SET_B), CLOCK]

    def alert(tag, expect, cfg, threads, **kw):
        add("alert/" + tag, expect, dict(lapses, **cfg), threads, public=("breaks",), **kw)

    alert("sc set A; another watcher begins, set B; 1 kill", "ok", {}, [*other, WATCHER])
    alert("sc the same, the watcher renews; 1 kill", "ok", {}, [*other, RENEWER])
    alert("sc transaction; another watcher begins, set B; 1 kill", "ok", {}, [ops(TXN), *other[1:], WATCHER])
    alert("sc set A, set B, the watcher renews; 2 kills", "ok", {}, [ops(SET_A, SET_B), CLOCK, RENEWER], kills=2)
    alert("weak set A; another watcher begins, set B; 1 kill", "ok", {}, [*other, WATCHER], weak=True)
    late = (begin_again, (0,), False)
    alert(
        "sc a watcher begins; set A, set B; transaction; 1 kill", "ok", {}, [ops(SET_A, SET_B), ops(TXN), late], alert=0
    )
    alert(
        "weak a watcher begins; set A; transaction; 1 kill", "ok", {}, [ops(SET_A), ops(TXN), late], alert=0, weak=True
    )
    alert("BROKEN cleared before the breaks grow", "FAIL", {"break_first": False}, [*other, WATCHER])
    alert("BROKEN nothing grows", "FAIL", {"break": False}, [*other, WATCHER])
    before = {"breaks_after": False}
    alert("BROKEN the watcher looks for breaks before the entry, not after it", "FAIL", before, [*other, WATCHER])


def wait_scenarios():
    waits = {"waits": True}
    waits_a = (waiter, (("w", 0), 1, False), False)
    heard_a = (waiter, (("w", 0), 1, True), False)

    def wait(tag, expect, cfg, threads, public=(), ticks=False, kills=0, **kw):
        public = ("change", ("w", 0), *public)
        cfg = dict(waits, **cfg)
        add("wake/" + tag, expect, cfg, threads, public=public, ticks=ticks, kills=kills, **kw)

    plain = [ops(SET_A), waits_a]
    wait("sc no ticks, set A", "ok", {}, plain, alert=0)
    wait("sc no ticks, set A; two waiters; set B", "ok", {}, [*plain, waits_a, ops(SET_B)], alert=0)
    wait("sc no ticks, set A before or after set B; heard", "ok", {}, [ops(SET_B, SET_A), heard_a])
    wait("weak no ticks, set A", "ok", {}, plain, alert=0, weak=True)
    wait("weak no ticks, set A; set B; heard", "ok", {}, [ops(SET_A), ops(SET_B), heard_a], weak=True)
    wait("sc ticks, set A; set B; 2 kills", "ok", {}, [*plain, ops(SET_B)], alert=0, ticks=True, kills=2)
    wait("weak ticks, set A; set B; 1 kill", "ok", {}, [*plain, ops(SET_B)], alert=0, ticks=True, kills=1, weak=True)
    wait("BROKEN no ticks, and the writer is killed", "FAIL", {}, plain, alert=0, kills=1)
    inside = {"killed_dirty": True}
    mended = [ops(SET_A), heard_a, MENDER]
    wait("sc no ticks, killed while dirty: the next holder wakes", "ok", inside, [ops(SET_A), heard_a, MENDER], kills=1)
    silent = dict(inside, recovery_wakes=False)
    wait(
        "BROKEN no ticks, killed while dirty, the next holder does not wake",
        "FAIL",
        silent,
        [ops(SET_A), heard_a, MENDER],
        kills=1,
    )
    unmoved = dict(inside, recovery_change=False)
    wait(
        "BROKEN no ticks, killed while dirty, recovery does not move the change word", "FAIL", unmoved, mended, kills=1
    )
    wait("BROKEN the waiter looks, then loads what he sleeps on", "FAIL", {"look_first": True}, plain, alert=0)
    wait("BROKEN he looks, asks, then loads what he sleeps on", "FAIL", {"late_seen": True}, plain, alert=0)
    wait("BROKEN he does not ask to be woken", "FAIL", {"silent": True}, plain, alert=0)
    wait("BROKEN the writer wakes before the change word moves", "FAIL", {"wake_first": True}, [ops(SET_A), heard_a])
    wait("BROKEN the change word moves before the publish", "FAIL", {"change_first": True}, [ops(SET_A), heard_a])
    on_head = [ops(SET_A), (waiter, ("head", 0, True), False)]
    wait("sc no ticks, a watcher sleeps until the head moves", "ok", {}, on_head)
    wait("weak the same, the head fenced before the change word", "ok", {"change_fence": True}, on_head, weak=True)
    wait("BROKEN weak, no fence between the head and the change word", "FAIL", {}, on_head, weak=True)
    lapsed = {"lapses": True, "now": 1}
    wait("sc no ticks, the alert has lapsed; set B, set A", "ok", lapsed, [ops(SET_B), ops(SET_A), waits_a])
    unlocked = dict(lapsed, ask_unlocked=True)
    wait(
        "BROKEN the alert is stored without the lock, while a writer clears it",
        "FAIL",
        unlocked,
        [ops(SET_B), ops(SET_A), waits_a],
        public=("alert",),
        reduce=False,
    )
    wait(
        "BROKEN weak, no fence between the change word and the look",
        "FAIL",
        {"seen_fence": False},
        [ops(SET_A), heard_a],
        weak=True,
    )


for family in (log_scenarios, alert_scenarios, wait_scenarios):
    family()
