"""More processes than one: they share both ways, and one that is killed in mid-write leaves nothing half-done."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from typing import Any, Iterator

from . import child
from .bench import Bench, SelfTestError, expect_equal, until

BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from ipcdatastore.selftest import child; child.main()"
KILLS = 5


@contextlib.contextmanager
def process(bench: Bench, role: str) -> Iterator[Any]:
    """A child that plays `role`, whose end comes with the block's at the latest."""
    command = [sys.executable, "-I", "-c", BOOT, json.dumps(sys.path), bench.directory, role]
    # It ends when its stdin does, so it cannot outlive this process; a Ctrl-C is for this process only.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=os.name != "nt"
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def two_processes(bench: Bench) -> str:
    """What one sets the other gets, and increments of both add up."""
    store = bench.open("two")
    with process(bench, "partner") as partner:

        def answered(number: int) -> bool:
            if partner.poll() is not None:
                raise SelfTestError(f"the other process ended with {partner.returncode}: {store.get('error')}")
            return bool(store.get("answer") == {"to": number})

        for number in range(child.QUESTIONS):
            store["question"] = {"number": number}
            until(lambda: answered(number), "an answer of the other process")  # noqa: B023 - used at once
        for _ in range(child.TIMES):
            store.increment("count")
        until(lambda: partner.poll() is not None, "the other process ends")
        expect_equal((partner.returncode, store.get("error")), (0, None), "how it ended")
    expect_equal(store["count"], 2 * child.TIMES, "the increments of both")
    return f"{child.QUESTIONS} questions and answers, {2 * child.TIMES} increments"


def killed_writer(bench: Bench) -> str:
    """A writer is killed again and again: no reader sees half of a transaction, and the next writer goes on."""
    store = bench.open("killed")
    inside = 0
    for number in range(1, KILLS + 1):
        store["done"] = 0
        with process(bench, "victim") as victim:
            goal = random.randint(20, 200)
            until(lambda: store["done"] >= goal or victim.poll() is not None, "the victim writes")  # noqa: B023
            expect_equal(victim.poll(), None, "the victim ended by itself")
        with bench.open("killed", mode="r") as reader:
            inside += any("died" in problem for problem in reader.check())
            pair = reader.get_many(["left", "right"])
        expect_equal(pair.get("left"), pair.get("right"), f"two halves of a transaction after kill {number}")
        store["after"] = number
        expect_equal(store.check(), [], f"the region after kill {number}")
    return f"{KILLS} kills, {inside} in mid-write"
