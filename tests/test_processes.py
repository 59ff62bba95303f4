"""Several processes on one region: nothing is lost, nothing is seen in half, everybody gets on."""

import os
import random
import signal
import sys

import pytest

import ipcdatastore
from children import crew, go, hear, say

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def store(directory):
    """This process's handle; at the end the region is whole."""
    with ipcdatastore.open("region", directory=directory) as handle:
        yield handle
        assert handle.check() == []


def finish(*children):
    """What each child said and nobody has heard yet."""
    return [child.finish() for child in children]


# --- counters ----------------------------------------------------------------------------------------
def increment(directory, times):
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        for n in range(times):
            store.increment("shared")
            store.modify("list", lambda value, n=n: [*value[-5:], n], default=[])
        store.increment("float", 0.5, default=0.0)
        say(store["shared"])


@pytest.mark.parametrize("processes", [2, 5])
def test_increments_are_exact(directory, store, processes):
    with crew() as start:
        children = [start(increment, directory, 200) for _ in range(processes)]
        go(children)
        last = [said[-1] for said in finish(*children)]
    assert store["shared"] == max(last) == 200 * processes
    assert store["float"] == 0.5 * processes


def take_turns(directory, number, times):
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        got = []
        for n in range(times):
            if store.add(("job", n), number):
                got.append(n)
        say(got)
        popped = []
        for n in range(times):
            if store.pop(("job", n), None) is not None:
                popped.append(n)
        say(popped)


def test_add_and_pop_have_one_winner(directory, store):
    with crew() as start:
        children = [start(take_turns, directory, number, 150) for number in range(3)]
        go(children)
        said = finish(*children)
    # A job may be added again after somebody else, who was faster, popped it: as often as it was popped.
    added = sorted(n for got, _ in said for n in got)
    popped = sorted(n for _, got in said for n in got)
    left = [key[1] for key in store]
    assert sorted(popped + left) == added
    assert set(added) == set(range(150))


# --- several keys at once ----------------------------------------------------------------------------
def write_pairs(directory, how, rounds, size):
    """Writes ("a", n) and ("b", n) together; in every fourth round both are gone."""
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        for n in range(1, rounds + 1):
            value = [n, "x" * (n * 7 % size)]
            if how == "set_many":
                store.set_many({"a": value, "b": value})
            else:
                with store.transaction() as t:
                    t["b"] = value
                    t["a"] = value
            if n % 4 == 0:
                if n % 8:
                    with store.transaction() as t:
                        del t["a"]
                        del t["b"]
                else:
                    store.clear()
        store.set_many({"a": [rounds + 1, ""], "b": [rounds + 1, ""], "end": True})
        say("done")


def hunt(directory, mode):
    """Reads the pair in every way; says how often what was seen."""
    from ipcdatastore.platform import fence

    options = {} if mode == "cached" else {"cache_entries": 0}
    writable = "w" if mode == "cached" else "r"
    with ipcdatastore.open("region", directory=directory, mode=writable, **options) as store:
        say("ready")
        hear()
        seen = pairs = 0
        newest = 0
        ended = False
        while not ended:
            ended = store.get("end", False)
            both = store.get_many(["a", "b"])
            assert both.get("a") == both.get("b"), both
            pairs += len(both) == 2
            if both:
                assert both["a"][0] >= newest, (both, newest)
                newest = both["a"][0]
            for first, second in (("a", "b"), ("b", "a")):
                one = store.get(first)
                fence()
                two = store.get(second)
                # The second may be newer, or gone since; it may never be older.
                if one is not None:
                    assert one[0] >= newest, (first, one, newest)
                    newest = one[0]
                if two is not None:
                    assert two[0] >= newest, (first, one, second, two)
                    assert two[1].strip("x") == ""
                    newest = two[0]
                seen += 1
            if seen % 16 == 0:
                items = {entry.key: entry.value for entry in store.entries()}
                assert set(items) <= {"a", "b", "end"}
                assert set(store) <= {"a", "b", "end"}  # either may come twice: it goes, and comes in another slot
        stats = store.stats()
        assert store.get_many(["a", "b"])["a"][0] == store["b"][0]
        say([seen, pairs, stats["own_retries"], stats["own_locked_reads"]])


@pytest.mark.parametrize("how", ["set_many", "transaction"])
@pytest.mark.parametrize("size", [50, 9000], ids=["small", "big"])
def test_nobody_sees_half(directory, store, how, size):
    with crew() as start:
        readers = [start(hunt, directory, mode) for mode in ("cached", "read only")]
        writer = start(write_pairs, directory, how, 700 if size < 100 else 400, size)
        go([*readers, writer])
        assert finish(writer) == [["done"]]
        for said in finish(*readers):
            seen, _, retries, locked = said[-1]
            assert seen
            assert retries >= 8 * locked  # the lock is the last resort, after eight attempts


def transfer(directory, seed, times, accounts):
    rng = random.Random(seed)
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        for n in range(times):
            source, target = rng.sample(range(accounts), 2)
            amount = rng.randrange(20)

            def move(t, source=source, target=target, amount=amount):
                t[source] -= amount
                t[target] += amount
                t["moves"] += 1

            store.transact(move)
            if n % 10 == 0:
                with store.transaction() as t:  # a reading transaction sees one moment, or says that it cannot
                    try:
                        total = sum(t[number] for number in range(accounts))
                    except ipcdatastore.ConflictError:
                        t.rollback()
                    else:
                        t.rollback()
                        assert total == 100 * accounts, total
        say("done")


def audit(directory, mode, accounts, moves):
    with ipcdatastore.open("region", directory=directory, mode=mode) as store:
        say("ready")
        hear()
        reads = 0
        while True:
            balance = store.get_many([*range(accounts), "moves"])
            done = balance.pop("moves")
            assert sum(balance.values()) == 100 * accounts, balance
            reads += 1
            if done == moves:
                break
        say(reads)


def test_transfers_keep_the_sum(directory, store):
    accounts, times = 5, 120
    store.update({**dict.fromkeys(range(accounts), 100), "moves": 0})
    with crew() as start:
        writers = [start(transfer, directory, seed, times, accounts) for seed in range(3)]
        readers = [start(audit, directory, mode, accounts, 3 * times) for mode in ("w", "r")]
        go(writers + readers)
        finish(*writers)
        finish(*readers)
    assert store["moves"] == 3 * times
    assert sum(store[number] for number in range(accounts)) == 100 * accounts


# --- readers get on ----------------------------------------------------------------------------------
def write_without_end(directory, size):
    with ipcdatastore.open("region", directory=directory) as store:
        store["hot"] = [0, b""]
        say("ready")
        hear()
        n = 0
        while "stop" not in store:
            n += 1
            store["hot"] = [n, bytes([n % 256]) * size]
        say(n)


def read_often(directory, mode, times):
    with ipcdatastore.open("region", directory=directory, mode=mode) as store:
        say("ready")
        hear()
        last = changes = 0
        n = 0
        while n < times or changes < 5:
            n += 1
            number, body = store["hot"] if n % 2 else store.get_many(["hot"])["hot"]
            assert number >= last, (number, last)
            assert body == bytes([number % 256]) * len(body)
            changes += number != last
            last = number
        stats = store.stats()
        say([changes, stats["own_retries"], stats["own_locked_reads"]])


@pytest.mark.parametrize(("size", "times"), [(0, 2500), (300, 2500), (400_000, 250)])
def test_readers_get_on_under_a_full_speed_writer(directory, store, size, times):
    with crew() as start:
        writer = start(write_without_end, directory, size)
        readers = [start(read_often, directory, mode, times) for mode in ("w", "r")]
        assert writer.hear() == "ready"  # the key is there
        for reader in readers:
            assert reader.hear() == "ready"
        for child in (writer, *readers):
            child.say("go")
        for changes, retries, locked in [reader.hear() for reader in readers]:
            assert changes >= 5
            assert retries >= 8 * locked
        store["stop"] = True
        assert writer.hear() > 0
        finish(writer, *readers)


# --- the region changes under everybody --------------------------------------------------------------
def fill(directory, number, count):
    """Inserts, announcing each one, so that others can know what must be there."""
    rng = random.Random(number)
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        for n in range(1, count + 1):
            store[(number, n)] = [number, n, "y" * rng.choice((10, 300, 3000))]
            store[("announced", number)] = n
        store.increment("finished")
        say("done")


def look_up(directory, mode, seed, writers):
    rng = random.Random(seed)
    with ipcdatastore.open("region", directory=directory, mode=mode) as store:
        say("ready")
        hear()
        reads = 0
        while True:
            finished = store.get("finished", 0)
            for number in range(writers):
                announced = store.get(("announced", number), 0)
                for n in {announced, rng.randint(0, announced), 1} - {0}:
                    if n <= announced:
                        value = store.get((number, n))
                        assert value is not None, f"{(number, n)} is missing, {announced} were announced"
                        assert value[:2] == [number, n]
                        reads += 1
                assert store.get((number, announced + 5000)) is None
            if reads % 64 < 6:
                before = [store.get(("announced", number), 0) for number in range(writers)]
                keys = list(store)
                assert len(set(keys)) == len(keys)
                for number in range(writers):
                    there = {key[1] for key in keys if type(key) is tuple and key[0] == number}
                    assert there >= set(range(1, before[number] + 1)), "iteration missed a key that was there"
            if finished == writers:
                break
        say([reads, store.stats()["file_bytes"]])


def test_growth_while_others_read_and_write(directory, store):
    small = store.stats()["file_bytes"]
    with crew() as start:
        writers = [start(fill, directory, number, 700) for number in range(2)]
        readers = [start(look_up, directory, mode, seed, 2) for seed, mode in enumerate(("w", "r"))]
        go(writers + readers)
        finish(*writers)
        for said in finish(*readers):
            assert said[-1][1] > 10 * small
    assert len(store) == 2 * 700 + 3


def refill_and_clear(directory, rounds):
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        for n in range(rounds):
            store.set_many({key: [n, "z" * (n * 13 % 500)] for key in range(12)})
            if n % 3 == 2:
                store.namespace("other")["x"] = n
                store.namespace("other").clear()
            store.clear()
        store["end"] = rounds
        say("done")


def read_what_is_cleared(directory, mode):
    with ipcdatastore.open("region", directory=directory, mode=mode) as store:
        say("ready")
        hear()
        newest = full = 0
        while "end" not in store:
            found = store.get_many(range(12))
            assert len(found) in (0, 12), found
            if found:
                assert len({value[0] for value in found.values()}) == 1, found
                assert found[0][0] >= newest
                newest = found[0][0]
                full += 1
            for key in (3, 7):
                value = store.get(key)
                if value is not None:
                    assert value[0] >= newest
                    assert len(value[1]) == value[0] * 13 % 500
                    newest = value[0]
            for entry in store.entries():
                assert type(entry.value) in (list, int)
        assert list(store) == ["end"]
        say(full)


def test_clear_while_others_read(directory, store):
    with crew() as start:
        readers = [start(read_what_is_cleared, directory, mode) for mode in ("w", "r")]
        writer = start(refill_and_clear, directory, 250)
        go([*readers, writer])
        finish(writer, *readers)
    assert dict(store) == {"end": 250}


@pytest.mark.parametrize("view", ["items", "values"])
def test_keys_vanish_during_an_iteration(directory, store, view):
    """A dict would say that it changed size; here others delete at any time, and what is gone is passed over."""
    store.update({n: n for n in range(10)})
    iterator = iter(getattr(store, view)())
    first = next(iterator)
    with ipcdatastore.open("region", directory=directory) as other:
        other.clear()
        other["new"] = 1
    assert first in ((0, 0), 0)
    for item in iterator:
        assert item in (("new", 1), 1)


def test_reading_a_record_past_the_end_of_the_view_takes_no_lock(directory, store):
    """A handle whose view is too short maps the longer file; it does not mistake it for a busy writer."""
    with ipcdatastore.open("region", directory=directory, mode="r") as reader:
        for n in range(1, 6):
            store[n] = bytes([n]) * (n * 70_000)
            assert reader[n] == bytes([n]) * (n * 70_000)
            assert reader.get_many([n]) == {n: reader[n]}
        assert reader.stats()["own_locked_reads"] == 0


def crowd(directory, number, count):
    rng = random.Random(number)
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        for n in range(count):
            name = (rng.randrange(3), rng.randrange(200))
            length = rng.choice((20, 700, 4000, 9000))
            if n % 10 == 9:
                store.set_many({(name, part): [name, part, "w" * length] for part in (0, 1)})
            else:
                store[name] = [name, length, "w" * length]
            other = (rng.randrange(3), rng.randrange(200))
            value = store.get(other)
            if value is not None:
                assert tuple(value[0]) == other
                assert len(value[2]) == value[1]
            if n % 25 == 0:
                store.delete(other)
        say("done")


def test_eviction_under_several_writers(directory):
    limit = 1 << 20
    with ipcdatastore.open("region", directory=directory, max_size=limit, evict="lru") as store:
        with crew() as start:
            children = [start(crowd, directory, number, 350) for number in range(3)]
            go(children)
            finish(*children)
        stats = store.stats()
        assert stats["file_bytes"] <= limit
        assert 0 < stats["records"] < 600
        for key, value in store.items():
            assert tuple(value[0]) in (key, key[0])
        assert store.check() == []


# --- creation ----------------------------------------------------------------------------------------
def create_together(directory, number, names):
    for name in names:
        say("ready")
        hear()
        with ipcdatastore.open(name, directory=os.path.join(directory, "fresh", name)) as store:
            store[number] = os.getpid()
            say(os.stat(store.stats()["path"]).st_ino)
            hear()
            say(sorted(store))


def test_eight_creators_make_one_region(directory):
    names = ["one", "two", "three", "four"]
    with crew() as start:
        children = [start(create_together, directory, number, names) for number in range(8)]
        for name in names:
            go(children)
            assert len({child.hear() for child in children}) == 1, "two regions"
            for child in children:
                child.say("all are there")
            for child in children:
                assert child.hear() == list(range(8))
            folder = directory / "fresh" / name
            assert not [entry for entry in os.listdir(folder) if entry.endswith(".new")]
            with ipcdatastore.open(name, directory=folder, mode="w") as store:
                assert store.check() == []
        finish(*children)


def die_creating(directory, call):
    from ipcdatastore import platform

    def die(*arguments, **more):
        os.kill(os.getpid(), signal.SIGKILL)

    owner, name = {"reserve": (platform, "reserve"), "write": (os, "write"), "link": (os, "link")}[call]
    setattr(owner, name, die)
    ipcdatastore.open("region", directory=directory)


@posix
@pytest.mark.parametrize("call", ["reserve", "write", "link"])
def test_creator_killed(directory, call):
    with crew() as start:
        child = start(die_creating, directory, call)
        assert child.process.wait() == -signal.SIGKILL
    names = os.listdir(directory)
    assert any(name.endswith(".new") for name in names), names
    assert "region.region" not in names
    with pytest.raises(ipcdatastore.RegionNotFoundError):
        ipcdatastore.open("region", directory=directory, mode="w")
    with ipcdatastore.open("region", directory=directory, timeout=5) as store:
        store["a"] = 1
        assert store.check() == []
    assert not [name for name in os.listdir(directory) if name.endswith(".new")]


def die_after_creating(directory):
    def die(path):
        os.kill(os.getpid(), signal.SIGKILL)

    os.unlink = die
    ipcdatastore.open("region", directory=directory)


@posix
def test_creator_killed_after_the_region_was_linked(directory):
    with crew() as start:
        assert start(die_after_creating, directory).process.wait() == -signal.SIGKILL
    with ipcdatastore.open("region", directory=directory, timeout=5) as store:
        store["a"] = 1
        assert store.check() == []


# --- a writer that does not go on --------------------------------------------------------------------
def stop_inside(directory, operation):
    """Stops itself with the lock held and the mark set."""
    store = ipcdatastore.open("region", directory=directory)
    store.update(a="old", b="old")
    words = store._engine.region.words

    class Stopping:
        armed = True

        def __getitem__(self, index):
            return words[index]

        def __len__(self):
            return len(words)

        def __setitem__(self, index, value):
            words[index] = value
            if self.armed and index == 26:  # DIRTY
                self.armed = False
                os.kill(os.getpid(), signal.SIGSTOP)

    store._engine.region.words = Stopping()
    if operation == "set":
        store["a"] = "new"
    else:
        store.set_many({"a": "new", "b": "new"})
    say(dict(store))


@posix
@pytest.mark.parametrize("operation", ["set", "set_many"])
def test_stopped_writer(directory, operation):
    with crew() as start:
        child = start(stop_inside, directory, operation)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        try:
            with ipcdatastore.open("region", directory=directory, timeout=0.1) as store:
                with pytest.raises(ipcdatastore.LockTimeoutError) as caught:
                    store["c"] = 1
                assert caught.value.timeout == 0.1
                if sys.platform.startswith("linux"):
                    assert caught.value.holder == child.pid
                    assert str(child.pid) in str(caught.value)
                for attempt in (store.clear, store.check, lambda: store.set_many({"a": 1, "c": 2})):
                    with pytest.raises(ipcdatastore.LockTimeoutError):
                        attempt()
                # Readers do not care.
                assert dict(store) == {"a": "old", "b": "old"}
                assert store.get_many(["a", "b", "c"]) == {"a": "old", "b": "old"}
                with ipcdatastore.open("region", directory=directory, mode="r", timeout=0) as reader:
                    assert reader["a"] == "old"
                    assert reader.stats()["own_lock_waits"] == 0
        finally:
            os.kill(child.pid, signal.SIGCONT)
        assert child.hear()["a"] == "new"
        assert child.finish() == []
    with ipcdatastore.open("region", directory=directory) as store:
        store["c"] = 1
        assert store["a"] == "new"
        assert store.check() == []


@posix
def test_stopped_writer_is_killed(directory):
    with crew() as start:
        child = start(stop_inside, directory, "set_many")
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        child.kill()
    with ipcdatastore.open("region", directory=directory, timeout=5) as store:
        assert dict(store) == {"a": "old", "b": "old"}
        store["c"] = 1
        assert store.check() == []


# --- the path of machines that reorder stores --------------------------------------------------------
FORGET = """
import sys
import importlib
import ipcdatastore
import ipcdatastore.platform
kept = ipcdatastore.platform
for name in [name for name in sys.modules if name.split(".")[0] == "ipcdatastore"]:
    if name != "ipcdatastore.platform":
        del sys.modules[name]
kept.NEEDS_FENCE = True
fences = [0]
real = kept.fence
def counted():
    fences[0] += 1
    real()
kept.fence = counted
"""


def everything_once(directory):
    from ipcdatastore import platform, writer

    assert platform.NEEDS_FENCE
    assert getattr(writer, "NEEDS_FENCE", True)
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        began = fences[0]  # noqa: F821 - of the preamble
        store["a"] = {"x": 1}
        assert fences[0] > began, "a publish without a fence"  # noqa: F821
        began = fences[0]  # noqa: F821
        store["a"] = {"x": 2}
        assert fences[0] >= began + 2, "a publish is fenced on both sides"  # noqa: F821
        assert store["a"] == {"x": 2}
        assert store.get("missing") is None
        store.set_many({"b": 1, "c": [2]})
        with store.transaction() as t:
            t["b"] += 1
            del t["c"]
            t["d"] = 4
        assert store.get_many(["a", "b", "c", "d"]) == {"a": {"x": 2}, "b": 2, "d": 4}
        for n in range(300):
            store[("many", n)] = "v" * (n * 11)
        assert len(store) == 303
        assert sum(1 for _ in store) == 303
        for n in range(0, 300, 2):
            del store[("many", n)]
        assert store.pop(("many", 1)) == "v" * 11
        assert store.touch("d", 1000)
        assert store.get_entry("d").expires_at
        assert store.check() == []
        store.clear()
        assert len(store) == 0
        assert store.repair() == []
        for _ in range(150):
            store.increment("n")
        say("done")


def weak_increment(directory, times):
    with ipcdatastore.open("region", directory=directory) as store:
        say("ready")
        hear()
        for n in range(times):
            store.increment("n")
            store.set_many({"p": n, "q": n})
            both = store.get_many(["p", "q"])
            assert both["p"] == both["q"]
        say("done")


def test_with_fences(directory, store):
    with crew() as start:
        first = start(everything_once, directory, before=FORGET)
        go([first])
        assert first.finish() == ["done"]
        children = [start(weak_increment, directory, 150, before=FORGET) for _ in range(2)]
        go(children)
        finish(*children)
    assert store["n"] == 450
