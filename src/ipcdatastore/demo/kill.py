"""A writer at full speed, killed with SIGKILL in mid-work, again and again.

What the writer does is a function of a running number alone: three sets, then a transaction that writes a pair. After
each operation it acknowledges it, by storing the number in a shared word outside of the store, which outlives
it. So when it is dead, everything up to that number must be there, the one after it may be, and nothing else.
"""

from __future__ import annotations

import ctypes
import random
import time
from typing import Any, Callable, Dict, List, Tuple

from ipcdatastore import Datastore

from .crew import CONTEXT, Crew
from .figures import MOST_NAMED, Killing
from .place import Board, DemoError, Place, end_if_alone

SETS = 97  # keys that are set one at a time
PAIRS = 7
WINDOW = 4 * SETS  # every key is written at least once in so many operations
FIRST_WORD = 20.0  # seconds until a new writer must have written something
MOST_TIMES = 4
SHORTEST, LONGEST = 0.1, 0.3  # seconds of work before the kill


def keys_of(number: int) -> List[Tuple[Any, ...]]:
    """What operation `number` writes."""
    if number % 4:
        return [("kill", "set", number % SETS)]
    return [("kill", side, number // 4 % PAIRS) for side in ("left", "right")]


def value_of(number: int) -> Tuple[int, bytes]:
    """What it writes there: of many sizes, so that blocks are allocated and freed all the time."""
    return number, number.to_bytes(8, "little") * (number * 37 % 251)


def operate(store: Datastore, number: int) -> None:
    """Operation `number`."""
    keys = keys_of(number)
    if len(keys) == 1:
        store[keys[0]] = value_of(number)
    else:
        with store.transaction() as both:
            for key in keys:
                both[key] = value_of(number)


def expected(number: int) -> Dict[Any, Tuple[int, bytes]]:
    """All that is there after operation `number`."""
    return {key: value_of(one) for one in range(max(1, number - WINDOW), number + 1) for key in keys_of(one)}


def write(place: Place, board: Board, acknowledged: Any) -> None:
    """The victim's whole life; it has no end of its own but the director's."""
    board.close()
    store = place.open("records")
    number = acknowledged.value
    while True:
        number += 1
        operate(store, number)
        acknowledged.value = number
        if number % 1000 == 0:
            end_if_alone(place)


def work_and_kill(crew: Crew, number: int, seconds: float, tell: Callable[[], None]) -> int:
    """Let a writer go on from `number`, and kill it so long after its first word. The last that it acknowledged."""
    acknowledged = CONTEXT.RawValue(ctypes.c_uint64, number)
    crew.start("victim", write, acknowledged)
    until = time.monotonic() + FIRST_WORD
    heard = False
    while time.monotonic() < until:
        crew.watch()
        if not heard and acknowledged.value != number:
            heard, until = True, time.monotonic() + seconds
        tell()
        time.sleep(max(0.0, min(0.02, until - time.monotonic())))
    if not heard:
        raise DemoError(f"the victim wrote nothing within {FIRST_WORD:g} s")
    crew.kill("victim")
    return int(acknowledged.value)


def kill(place: Place, crew: Crew, figures: Killing, tell: Callable[[], None]) -> None:
    """All kills, each with the examination of what is left."""
    draw = random.Random()
    begun = time.perf_counter()
    number = 0
    # At least as many as wanted, and on until one was inside an operation: between two there is nothing to repair.
    most = MOST_TIMES * figures.wanted
    while figures.kills < figures.wanted or (not figures.inside and figures.kills < most):
        before = number
        acknowledged = work_and_kill(crew, before, draw.uniform(SHORTEST, LONGEST), tell)
        figures.kills += 1
        figures.acknowledged += acknowledged - before
        number = examine(place, acknowledged, figures)
        figures.unacknowledged += number - acknowledged
        figures.seconds = time.perf_counter() - begun
        tell()
        if figures.failures:
            return


def examine(place: Place, acknowledged: int, figures: Killing) -> int:
    """What a killed writer left, as the next processes find it. The number of the last operation that counts."""
    with place.open("records", "r") as store:  # nothing is repaired yet, and readers see no half of anything
        figures.inside += any("died" in problem for problem in store.check())
        for left in range(PAIRS):
            pair = store.get_many([("kill", "left", left), ("kill", "right", left)])
            figures.pairs += 1
            if len(pair) not in (0, 2) or len(set(pair.values())) > 1:
                _fail(figures, f"pair {left} is half-written: {sorted(value[0] for value in pair.values())}")
    with place.open("records") as store:
        for problem in store.check():
            _fail(figures, f"check: {problem}")
        found = {key: store[key] for key in store if type(key) is tuple and key[0] == "kill"}
    for number in (acknowledged, acknowledged + 1):
        if found == expected(number):
            return number
    wanted = expected(acknowledged)
    lost = [key for key in wanted if found.get(key, (0,))[0] < wanted[key][0]]
    _fail(figures, f"after operation {acknowledged}, these are not as they were written: {lost or sorted(found)}")
    return acknowledged


def _fail(figures: Killing, failure: str) -> None:
    if len(figures.failures) < MOST_NAMED:
        figures.failures.append(f"after kill {figures.kills}, {failure}")
