"""Many clients, many calls, exact results."""

import os
import random

import pytest

import ipcdatastore
from children import hear, say

from .served import Elsewhere, eventually, left_in

CALLS = int(os.environ.get("IPCDATASTORE_CALLS", "100000"))


def caller(directory, number, calls):
    """Calls of every kind, each with the one result that it can have."""
    thing = ipcdatastore.connect("thing", directory=directory, timeout=100)
    rng = random.Random(number)
    say("ready")
    hear()
    added, turn = 0, 0
    while turn < calls:
        turn += 1
        dice = rng.randrange(1000)
        if dice < 900:
            assert thing.give([number, turn]) == [number, turn]
        elif dice < 950:
            thing.add(1)
            added += 1
        elif dice < 970:
            thing.add.oneway(1)
            added += 1
        elif dice < 990:
            call = thing.give.submit(turn)
            assert thing.give(-turn) == -turn
            assert call.result() == turn
            turn += 1
        elif dice < 996:
            with ipcdatastore.link(thing).batch() as batch:
                results = [batch.give(turn + more) for more in range(5)]
                batch.add(2)
            assert [result.result() for result in results] == [turn + more for more in range(5)]
            added += 2
            turn += 5
        elif dice < 998:
            assert list(thing.count(20)) == list(range(20))
        else:
            text = "x" * rng.randrange(300_000) + str(turn)
            assert thing.pattern(text) == text[::-1]
    thing.give(0)
    say(added)


def run(directory, start, clients, calls, **options):
    server = Elsewhere(start, directory, **options)
    children = [start(caller, directory, number, calls) for number in range(clients)]
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")
    added = sum(child.hear() for child in children)
    for child in children:
        child.finish()
    thing = ipcdatastore.connect("thing", directory=directory, timeout=100)
    assert thing.add(0) == added
    eventually(lambda: ipcdatastore.objects(directory)[0].clients == 1)
    assert ipcdatastore.objects(directory)[0].calls >= clients * calls // 5
    server.stop()
    assert left_in(directory) == []


@pytest.mark.parametrize("workers", [1, 4])
def test_some_clients_and_some_calls(directory, start, workers):
    run(directory, start, 4, 1500, workers=workers)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_eight_clients_and_many_calls(directory, start, workers):
    run(directory, start, 8, CALLS, workers=workers)
