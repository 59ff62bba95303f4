"""Writers killed with SIGKILL at random moments: what they had acknowledged is there, the rest is whole or absent.

A victim and this process know the same list of operations, made from a seed. The victim says after each one that it
is done, and dies at some moment; so what the store may hold is what the list gives up to there, with or without the
operation under way. ``IPCDATASTORE_KILLS`` is how many there are in all (200); ``IPCDATASTORE_SEED`` repeats a run.
"""

import os
import random
import signal
import time

import pytest

import ipcdatastore
from children import crew, hear, say
from ipcdatastore.layout import DIRTY

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")

KILLS = int(os.environ.get("IPCDATASTORE_KILLS", "200"))
SEED = os.environ.get("IPCDATASTORE_SEED")
SMALL = 1 << 20


def operations(seed, clearing, repairing=True):
    """An endless list of (name, argument), the same in every process."""
    import random
    import zlib

    rng = random.Random(seed)

    def key():
        return ("victim", rng.randrange(40))

    def value():
        length = rng.choice((0, 0, 7, 90, 90, 90, 400, 1500, 6000, 20000))
        body = bytes([rng.randrange(256)]) * length
        return [length, zlib.crc32(body), body]

    while True:
        dice = rng.random()
        if dice < 0.40:
            yield "set", {key(): value()}
        elif dice < 0.55:
            yield "delete", key()
        elif dice < 0.70:
            yield "set_many", {key(): value() for _ in range(rng.randrange(1, 7))}
        elif dice < 0.85:
            yield "transaction", [(key(), value() if rng.random() < 0.6 else None) for _ in range(rng.randrange(1, 9))]
        elif dice < 0.97:
            yield "increment", ("victim", "counter", rng.randrange(3))
        elif dice < 0.98:
            if repairing:
                yield "repair", None
        elif clearing:
            yield "clear", None


def victim(directory, seed, clearing, evict, repairing=True):
    """Does the operations, and writes a byte after each. To be killed."""
    options = {"max_size": 1 << 20, "evict": "lru"} if evict else {}
    store = ipcdatastore.open("region", directory=directory, **options)
    say("ready")
    hear()
    for name, argument in operations(seed, clearing, repairing):
        if name == "set":
            for key, value in argument.items():
                store[key] = value
        elif name == "delete":
            store.delete(argument)
        elif name == "set_many":
            store.set_many(argument)
        elif name == "transaction":
            with store.transaction() as t:
                for key, value in argument:
                    if value is not None:
                        t[key] = value
                    elif key in t:
                        del t[key]
        elif name == "increment":
            store.increment(argument)
        elif name == "repair":
            store.repair()
        elif name == "clear":
            store.clear()
        os.write(1, b".")


def apply(model, name, argument):
    """What one operation makes of a dict."""
    if name in ("set", "set_many"):
        model.update(argument)
    elif name == "delete":
        model.pop(argument, None)
    elif name == "transaction":
        for key, value in argument:
            if value is not None:
                model[key] = value
            else:
                model.pop(key, None)
    elif name == "increment":
        model[argument] = model.get(argument, 0) + 1
    elif name == "clear":
        model.clear()


def survivor(directory, number):
    """Writes and verifies keys of its own until it is told to end; nobody else's death may disturb it."""
    rng = random.Random(number)
    with ipcdatastore.open("region", directory=directory, timeout=30) as store:
        mine = {}
        say("ready")
        count = 0
        while "end" not in store:
            key = ("survivor", number, rng.randrange(12))
            if rng.random() < 0.2:
                assert store.delete(key) == (key in mine), key
                mine.pop(key, None)
            elif rng.random() < 0.3:
                pair = {("survivor", number, name): [count, "s" * rng.randrange(3000)] for name in ("p", "q")}
                store.set_many(pair)
                mine.update(pair)
            else:
                mine[key] = [count, "s" * rng.choice((0, 50, 5000))]
                store[key] = mine[key]
            store.increment(("survivors", "shared"))
            count += 1
            key = ("survivor", number, rng.randrange(12))
            assert store.get(key) == mine.get(key), key
        for key, value in mine.items():
            assert store[key] == value
        assert sum(1 for key in store if key[:2] == ("survivor", number)) == len(mine)
        say(count)


def kill_one(start, directory, rng, clearing, evict=False, repairing=True):
    """Let a victim work, and kill it. (its seed, how many operations it had acknowledged)"""
    seed = rng.getrandbits(32)
    child = start(victim, directory, seed, clearing, evict, repairing, uses=(operations,))
    assert child.hear() == "ready"
    child.say("go")
    enough = rng.choice((0, 1, rng.randrange(60), rng.randrange(400)))
    done = 0
    buffered = child.process.stdout.buffer  # the text layer above it has nothing: the child was silent until now
    while done < enough:
        got = len(buffered.read1(65536))
        assert got, "the victim ended by itself:\n" + child._complaint()
        done += got
    # Sleep, not spin: whoever is woken by a write often takes the writer's processor, and would always find it there.
    time.sleep(rng.choice((0.0002, 0.001, 0.004)) * rng.random())
    os.kill(child.pid, signal.SIGKILL)
    rest = 1
    while rest:
        rest = len(buffered.read1(65536))
        done += rest
    assert child.process.wait() == -signal.SIGKILL
    return seed, done


def replay(model, seed, clearing, done, repairing=True):
    """(the model after the acknowledged operations, the model after one more, that one)"""
    ops = operations(seed, clearing, repairing)
    for _ in range(done):
        apply(model, *next(ops))
    under_way = next(ops)
    following = dict(model)
    apply(following, *under_way)
    return dict(model), following, under_way


def contents(store, owner="victim"):
    return {entry.key: entry.value for entry in store.entries() if type(entry.key) is tuple and entry.key[0] == owner}


def run_seed():
    return random.SystemRandom().getrandbits(32) if SEED is None else int(SEED)


@pytest.mark.parametrize("group", range(4))
def test_killed_writer_alone(directory, group):
    run = run_seed()
    seed = f"{run}-{group}"
    rng = random.Random(seed)
    model = {}
    inside = 0  # how many died between the mark's store and its removal: a run without any would prove nothing
    with crew() as start:
        for turn in range(100 + KILLS):
            if turn >= KILLS * 6 // 10 // 4 and inside:
                break
            where = f"IPCDATASTORE_SEED={run}, turn {turn}"
            if turn % 3 == 0:
                model = {}
                name = directory / f"fresh {turn}"
                name.mkdir(mode=0o700)
            child_seed, done = kill_one(start, name, rng, True)
            before, after, under_way = replay(model, child_seed, True, done)
            # A lone reader, who can repair nothing.
            with ipcdatastore.open("region", directory=name, mode="r", timeout=0, cache_entries=0) as reader:
                inside += reader._engine.region.words[DIRTY] != 0
                frozen = contents(reader)
                assert frozen in (before, after), (where, under_way)
                for key in {*before, *after, ("victim", "absent")}:
                    assert reader.get(key) == frozen.get(key), (where, key, under_way)
                    assert (key in reader) == (key in frozen), (where, key, under_way)
                stats = reader.stats()
                assert stats["own_locked_reads"] == stats["own_lock_waits"] == 0, (where, under_way)
                assert reader.get_many([*before, *after]) == frozen, (where, under_way)
            # The next writer repairs.
            with ipcdatastore.open("region", directory=name, timeout=5) as store:
                assert store.check() == [], (where, under_way)
                assert contents(store) == frozen, (where, under_way)
                assert len(store) == len(frozen), (where, under_way)
                version = store.set("probe", 1)
                assert version > max([entry.version for entry in store.entries() if entry.key != "probe"], default=0)
                del store["probe"]
                assert store.check() == [], (where, under_way)
            model = frozen
    assert inside


@pytest.mark.parametrize("group", range(2))
def test_killed_writers_and_survivors(directory, group):
    run = run_seed()
    seed = f"{run}-{group}"
    rng = random.Random("survivors" + seed)
    model = {}
    with crew() as start, ipcdatastore.open("region", directory=directory, timeout=30) as store:
        others = [start(survivor, directory, number) for number in range(1 + group)]
        for other in others:
            assert other.hear() == "ready"
        for turn in range(max(1, KILLS * 2 // 10 // 2)):
            where = f"IPCDATASTORE_SEED={run}, turn {turn}"
            child_seed, done = kill_one(start, directory, rng, False)
            before, after, under_way = replay(model, child_seed, False, done)
            model = contents(store)
            assert model in (before, after), (where, under_way)
            alive = store[("survivors", "shared")]
            assert store.get_many([*before, *after]) == model, (where, under_way)
            assert store.check() == [], (where, under_way)
            while store[("survivors", "shared")] <= alive + 3:  # they go on
                assert all(other.process.poll() is None for other in others)
        store["end"] = True
        counts = [other.finish()[-1] for other in others]
        assert store[("survivors", "shared")] == sum(counts)
        assert store.check() == []


@pytest.mark.parametrize("group", range(2))
def test_killed_writer_with_eviction(directory, group):
    """Any key may be gone, but what is there is what the model says."""
    run = run_seed()
    seed = f"{run}-{group}"
    rng = random.Random("evict" + seed)
    with crew() as start:
        for turn in range(max(1, KILLS * 2 // 10 // 2)):
            where = f"IPCDATASTORE_SEED={run}, turn {turn}"
            name = directory / f"fresh {turn}"
            name.mkdir(mode=0o700)
            with ipcdatastore.open("region", directory=name, max_size=SMALL, evict="lru") as filler:
                for n in range(120):
                    filler[("filler", n)] = b"f" * 8000
            child_seed, done = kill_one(start, name, rng, True, True)
            before, after, under_way = replay({}, child_seed, True, done)
            with ipcdatastore.open("region", directory=name, mode="r", timeout=0) as reader:
                frozen = contents(reader)
            for key, value in frozen.items():
                if "counter" in key:
                    assert value <= max(before.get(key, 0), after.get(key, 0)), (where, key, under_way)
                else:
                    assert value in (before.get(key), after.get(key)), (where, key, under_way)
            with ipcdatastore.open("region", directory=name, timeout=5) as store:
                assert store.check() == [], (where, under_way)
                assert contents(store) == frozen, (where, under_way)
                for n in range(30):
                    store[("after", n)] = b"a" * 8000
                assert store.check() == [], (where, under_way)


@pytest.mark.parametrize("evict", ["none", "lru"])
def test_repair_of_a_full_region_keeps_to_the_limit(directory, evict):
    with ipcdatastore.open("region", directory=directory, max_size=SMALL, evict=evict) as store:
        try:
            for n in range(300):
                store[n] = b"f" * 5000
        except ipcdatastore.StoreFullError:
            assert evict == "none"
        before = {entry.key: entry.value for entry in store.entries()}
        assert store.repair() == []
        assert {entry.key: entry.value for entry in store.entries()} == before
        assert store.check() == []
        assert store.stats()["file_bytes"] <= SMALL
