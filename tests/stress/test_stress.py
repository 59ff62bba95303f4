"""All workers of one test run hammer one region together, each on keys of its own and on shared ones.

The region belongs to the run (``PYTEST_XDIST_TESTRUNUID``; a serial run has one of its own). Every value says whose it
is and carries a checksum, so each worker verifies what the others wrote. The tests are many and short, so that under
``-n`` some are always at work at the same time; a serial run does the same alone.
"""

import os
import random
import shutil
import tempfile
import zlib
from pathlib import Path

import pytest

import ipcdatastore

MEMORY = Path("/dev/shm")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")
OPERATIONS = int(os.environ.get("IPCDATASTORE_STRESS", "3000"))
PARTS = 8
ACCOUNTS = 6
FUNDS = 100 * ACCOUNTS


@pytest.fixture(scope="module")
def folder():
    """One for all workers of a run; who ends last removes it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    room = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 256 << 20
    parent = MEMORY if room else Path(tempfile.gettempdir())
    if run is None:
        path = Path(tempfile.mkdtemp(prefix="ipcdatastore-stress-", dir=str(parent)))
    else:
        path = parent / f"ipcdatastore-stress-{run}"
        path.mkdir(mode=0o700, exist_ok=True)
    with ipcdatastore.open("workers", directory=path) as attendance:
        attendance.increment("here")
        yield path
        last = attendance.increment("here", -1) == 0
    if last:
        # A worker that comes later begins anew, with a region of its own.
        shutil.rmtree(str(path), ignore_errors=True)


@pytest.fixture
def store(folder):
    with ipcdatastore.open("stress", directory=folder, timeout=60) as handle:
        handle.add("funds", 0)
        yield handle
        assert handle.check() == []


def value(owner, number, length):
    body = bytes([number % 251]) * length
    return {"owner": owner, "number": number, "body": body, "sum": zlib.crc32(body, number)}


def verify(key, found):
    """Nobody's value is torn, mixed up, or under another's key."""
    assert found["owner"] == key[1], (key, found["owner"])
    assert found["sum"] == zlib.crc32(found["body"], found["number"]), key
    assert found["body"] == found["body"][:1] * len(found["body"]), key


def transfer(rng):
    def move(t):
        balance = {n: t.get(("account", n), 100) for n in range(ACCOUNTS)}
        assert sum(balance.values()) == FUNDS, balance
        source, target = rng.sample(range(ACCOUNTS), 2)
        amount = rng.randrange(1, 10)
        t[("account", source)] = balance[source] - amount
        t[("account", target)] = balance[target] + amount
        t["transfers"] = t.get("transfers", 0) + 1

    return move


@pytest.mark.parametrize("part", range(PARTS))
def test_everybody_at_once(store, folder, part):
    me = f"{WORKER}-{part}"
    rng = random.Random(me)
    mine = {}
    counted = 0
    before = store.get("counter", 0)
    reader = ipcdatastore.open("stress", directory=folder, mode="r", timeout=60)
    for number in range(OPERATIONS):
        dice = rng.random()
        key = ("key", me, rng.randrange(30))
        if dice < 0.35:
            mine[key] = value(me, number, rng.choice((0, 30, 30, 300, 5000, 40000 if number % 10 == 0 else 100)))
            store[key] = mine[key]
        elif dice < 0.45:
            assert store.delete(key) == (key in mine)
            mine.pop(key, None)
        elif dice < 0.60:
            store.increment("counter")
            counted += 1
        elif dice < 0.68:
            store.transact(transfer(rng))
        elif dice < 0.76:
            pair = {("pair", me, half): number for half in "ab"}
            store.set_many(pair)
            assert store.get_many(pair) == pair
        elif dice < 0.79:
            assert store.add(("once", me, number), me)
            assert store.pop(("once", me, number)) == me
        elif dice < 0.82:
            store.set(("fleeting", me), number, expire=1e-6)
        else:
            assert store.get(key) == mine.get(key)
        if number % 200 == 7:
            balances = reader.get_many([("account", n) for n in range(ACCOUNTS)])
            assert sum(balances.values()) + 100 * (ACCOUNTS - len(balances)) == FUNDS
            for entry in reader.entries() if number % 400 == 7 else store.entries():
                if type(entry.key) is tuple and entry.key[0] == "key":
                    verify(entry.key, entry.value)
            others = {key[1] for key in store if type(key) is tuple and key[0] == "pair"}
            for other in others:
                pair = reader.get_many([("pair", other, half) for half in "ab"])
                assert len(pair) in (0, 2), (other, pair)  # its owner may have ended
                assert len(set(pair.values())) < 2, (other, pair)
    for key, expected in mine.items():
        assert store[key] == reader[key] == expected
        verify(key, expected)
    assert store["counter"] >= before + counted
    with store.transaction() as t:
        for key in mine:
            del t[key]
        for half in "ab":
            t.pop(("pair", me, half), None)
        t[("counted", me)] = t.get(("counted", me), 0) + counted
    assert not [key for key in store if type(key) is tuple and key[:2] == ("key", me)]
    reader.close()


def test_nothing_was_lost(store):
    """Whoever is still at work has counted, but not yet said so."""
    moment = store.get_many([key for key in store if type(key) is tuple and key[0] == "counted"])
    assert store.get("counter", 0) >= sum(moment.values())
    for entry in store.entries():
        if type(entry.key) is tuple and entry.key[0] == "key":
            verify(entry.key, entry.value)
