"""The contract, for every flavour of store; and what is promised of two handles, full regions and caches."""

import os
from collections.abc import ItemsView, KeysView, MutableMapping, ValuesView
from pathlib import Path

import pytest

import ipcdatastore
import remote
from contract import JSON, RAW, Clock, MappingContract, Opener, StoreContract, StructureContract, contents
from ipcdatastore.reader import Reader

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


# --- one handle --------------------------------------------------------------------------------------
class TestDict(MappingContract):
    """The suite itself: what it wants of a mapping is what a dict does."""

    @pytest.fixture
    def store(self):
        return {}


class TestPlain(StoreContract, StructureContract):
    pass


class TestNamespace(StoreContract, StructureContract):
    """Keys of the others stay as they were."""

    NEIGHBOURS = {("ns", "x", 1): 1, "ns": 2, ("nt", "a"): 3, ("n", "a"): 4, "a": 5, (("ns",), "a"): 6}  # noqa: RUF012

    @pytest.fixture
    def store(self, opener):
        root = opener(**self.options)
        root.update(self.NEIGHBOURS)
        yield self.view(root)
        with ipcdatastore.open("demo", directory=opener.directory) as root:
            assert root.get_many(self.NEIGHBOURS) == self.NEIGHBOURS

    def view(self, handle):
        return handle.namespace("ns")


class TestNestedNamespace(TestNamespace):
    NEIGHBOURS = {("ns", "in", "x", 1): 1, ("ns", "a"): 2, ("in", "a"): 3, ("ns", ("in", "a")): 4}  # noqa: RUF012

    def view(self, handle):
        return handle.namespace("ns").namespace("in")


class TestJson(StoreContract, StructureContract):
    options = {"serializer": "json"}  # noqa: RUF012
    values = JSON


class TestRaw(StoreContract):
    options = {"serializer": "raw"}  # noqa: RUF012
    values = RAW
    has_lists = False

    def type_of(self, value):
        return bytes if type(value) is bytearray else type(value)


class TestNoCache(StoreContract, StructureContract):
    options = {"cache_entries": 0}  # noqa: RUF012


class TestTinyCache(StoreContract, StructureContract):
    options = {"cache_entries": 2}  # noqa: RUF012


class TestSmallCacheOfBytes(StoreContract, StructureContract):
    options = {"cache_bytes": 1000}  # noqa: RUF012


# --- two handles, two processes ----------------------------------------------------------------------
class Split:
    """Writes through one handle, reads through another."""

    READS = frozenset(["get", "peek", "get_entry", "get_many", "keys", "values", "items", "entries", "stats"])
    __hash__ = None

    def __init__(self, writer, reader):
        self.writer, self.reader = writer, reader

    def __getattr__(self, name):
        return getattr(self.reader if name in self.READS else self.writer, name)

    def namespace(self, prefix):
        return Split(self.writer.namespace(prefix), self.reader.namespace(prefix))

    def close(self):
        self.writer.close()
        self.reader.close()

    def __getitem__(self, key):
        return self.reader[key]

    def __setitem__(self, key, value):
        self.writer[key] = value

    def __delitem__(self, key):
        del self.writer[key]

    def __contains__(self, key):
        return key in self.reader

    def __iter__(self):
        return iter(self.reader)

    def __len__(self):
        return len(self.reader)

    def __eq__(self, other):
        return self.reader == (other.reader if isinstance(other, Split) else other)


class TestTwoHandles(StoreContract, StructureContract):
    @pytest.fixture
    def store(self, opener):
        return Split(opener(), opener())


class TestTwoHandlesOneReadOnly(StoreContract, StructureContract):
    """Read-only where it applies: all reads come from a handle that cannot write."""

    @pytest.fixture
    def store(self, opener):
        return Split(opener(), opener(mode="r"))


@pytest.fixture(scope="session")
def peer():
    peer = remote.spawn()
    yield peer
    peer.end()


class TestWrittenByAnotherProcess(StoreContract, StructureContract):
    @pytest.fixture
    def store(self, opener, peer):
        return Split(opener.remote(peer), opener())


class TestReadByAnotherProcess(StoreContract, StructureContract):
    @pytest.fixture
    def store(self, opener, peer):
        return Split(opener(), opener.remote(peer))


@needs_fork
class TestForked(StoreContract, StructureContract):
    """A handle that has been used, and was then inherited by a child."""

    @pytest.fixture
    def store(self, opener):
        handle = opener()
        handle.update({"a": 0, 1: 1, ("ns", "a"): 2})
        handle.get("a"), handle.get(1)
        handle.clear()
        peer, forked = remote.fork(handle)
        opener.peers.append(peer)
        yield forked
        forked.close()
        peer.end()


@needs_fork
class TestForkedWriterParentReads(StoreContract, StructureContract):
    @pytest.fixture
    def store(self, opener):
        handle = opener()
        peer, forked = remote.fork(handle)
        opener.peers.append(peer)
        yield Split(forked, handle)
        forked.close()
        peer.end()


class TestTransaction(MappingContract):
    """The body of a transaction is a mapping, too."""

    @pytest.fixture
    def store(self, directory):
        opener = Opener(directory)
        with opener().transaction() as transaction:
            yield transaction
        opener.finish()


# --- what only two handles here can show ---------------------------------------------------------------
@pytest.fixture
def opener(directory):
    opener = Opener(directory)
    yield opener
    opener.finish()


@pytest.fixture
def clock(monkeypatch, opener):
    return Clock(monkeypatch, opener.peers)


def uncached(store):
    return store.stats()["uncached_reads"]


class TestConformance:
    def test_is_a_mutable_mapping(self, opener):
        store = opener()
        assert isinstance(store, MutableMapping)
        assert isinstance(store.namespace("n"), MutableMapping)
        assert isinstance(store.keys(), KeysView)
        assert isinstance(store.values(), ValuesView)
        assert isinstance(store.items(), ItemsView)
        for name in dir(MutableMapping):
            assert getattr(type(store), name, None) is not None or name in ("__hash__", "__reversed__")

    def test_update_takes_self_as_a_key(self, opener):
        store = opener()
        store.update(self=1)
        assert store == {"self": 1}

    def test_keys_of_a_namespace_are_tuples_of_the_store(self, opener):
        store = opener()
        one = store.namespace("one")
        one["a"] = 1
        one.namespace("two")[3] = 2
        assert store[("one", "a")] == 1
        assert store[("one", "two", 3)] == 2
        assert set(store) == {("one", "a"), ("one", "two", 3)}
        assert set(one) == {"a"}

    def test_stores_with_equal_contents_are_equal(self, opener):
        one, two = opener("one"), opener("two")
        for store in (one, two):
            store.update(a=1, b=[2])
        assert one == two
        two["b"].append(3)
        assert one == two
        two["b"] = [2, 3]
        assert one != two
        assert one.namespace("n") == two.namespace("n") == {}


class TestCache:
    @pytest.mark.parametrize("key", ["a", 1, b"a", ("a", 1)])
    @pytest.mark.parametrize("value", ["text", b"bytes", 10**30, 0.1, None, ("t", (1, 2)), frozenset((1,))], ids=repr)
    def test_immutables_are_the_cached_object(self, opener, key, value):
        writer, store = opener(), opener()
        writer[key] = value
        first = store[key]
        assert first == value
        assert store[key] is first
        assert store.get(key) is first
        assert store.peek(key) is first
        assert uncached(store) == 1
        writer[key] = value
        assert store.get(key) == value
        assert uncached(store) == 2

    @pytest.mark.parametrize("value", [[1], {"a": [2]}, ("t", [1]), {1}, bytearray(b"x")], ids=repr)
    @pytest.mark.parametrize("expire", [None, 100])
    def test_mutables_are_private_copies(self, opener, value, expire):
        writer, store = opener(), opener()
        for key in ("a", 1):
            writer.set(key, value, expire=expire)
            copies = [store[key], store.get(key), store.get(key), store.get_entry(key).value]
            assert all(copy == value for copy in copies)
            assert len({id(copy) for copy in copies}) == 4
            shared = store.peek(key)
            assert store.peek(key) is shared
            assert all(copy is not shared for copy in [*copies, store[key], store.get(key)])
            before = uncached(store)
            assert store.peek(key) is shared
            assert store.get(key) == value
            assert uncached(store) == before

    def test_one_look_into_the_region_for_each_change(self, opener):
        writer, store = opener(), opener()
        for turn in range(5):
            for key in ("a", 1, ("t",)):
                writer[key] = turn
            for _ in range(3):
                assert [store.get(key) for key in ("a", 1, ("t",))] == [turn] * 3
            assert uncached(store) == 3 * (turn + 1)

    def test_sees_every_kind_of_change(self, opener):
        writer, store = opener(), opener()

        def overwrite():
            writer["a"] = 2
            return 2

        def delete():
            del writer["a"]

        def clear():
            writer.clear()

        def delete_in_a_transaction():
            with writer.transaction() as t:
                del t["a"]

        def write_several():
            writer.set_many({"a": 3, "b": 4})
            return 3

        def take_and_give():
            writer.pop("a")
            writer["a"] = 5
            return 5

        def repair():
            writer.repair()
            return 1

        for change in (overwrite, delete, clear, delete_in_a_transaction, write_several, take_and_give, repair):
            writer["a"] = 1
            assert (store.get("a"), store.peek("a"), "a" in store) == (1, 1, True)
            expected = change()
            seen = (store.get("a"), store.peek("a"), "a" in store, store.get_many(["a"]).get("a"))
            assert seen == (expected, expected, expected is not None, expected), change

    def test_namespaces_have_caches_of_their_own(self, opener):
        store = opener()
        one, two = store.namespace("one"), store.namespace("two")
        for number, view in enumerate((store, one, two)):
            view["a"] = number
        for _ in range(3):
            assert (store["a"], one["a"], two["a"]) == (0, 1, 2)

    def test_bounds(self, opener):
        store = opener(cache_entries=10)
        for number in range(100):
            store[str(number)] = number
            store[number] = "x" * number
            assert (store[str(number)], store[number]) == (number, "x" * number)
            assert store.stats()["cached"] <= 10
        small = opener(cache_bytes=5000)
        for number in range(100):
            small.get(number)
            small.get(str(number))
            assert small.stats()["cached_bytes"] <= 5000
        store.clear_cache()
        assert store.stats()["cached"] == store.stats()["cached_bytes"] == 0
        assert store["7"] == 7

    def test_expires_in_the_cache(self, opener, clock):
        writer, store = opener(), opener()
        for key in ("a", 1):
            writer.set(key, "v", expire=10)
            writer.set(("t", key), [1], expire=10)
        for _ in range(2):
            assert [store.get(key) for key in ("a", 1, ("t", "a"), ("t", 1))] == ["v", "v", [1], [1]]
        assert uncached(store) == 4
        clock.advance(10)
        assert [store.get(key) for key in ("a", 1, ("t", "a"), ("t", 1))] == [None] * 4
        assert list(store) == []


class TestGrowth:
    def test_cached_entries_stay_valid(self, opener):
        writer, store = opener(), opener()
        writer.update({"a": "first", 1: ("second",), "b": [3]})
        cached = [store.get("a"), store.get(1)]
        store.get("b")
        looked = uncached(store)
        size = store.stats()["file_bytes"]
        for number in range(30):
            writer[f"big {number}"] = bytes([number]) * 200_000
        assert writer.stats()["file_bytes"] > size + 5_000_000
        assert [store.get("a"), store.get(1)] == cached
        assert store.get("a") is cached[0]
        assert store.get("b") == [3]
        assert uncached(store) == looked
        for number in range(30):
            assert store[f"big {number}"] == bytes([number]) * 200_000
        assert store.get("a") is cached[0]
        writer["a"] = "changed"
        assert store.get("a") == "changed"

    @pytest.mark.parametrize("mode", ["w", "r"])
    @pytest.mark.parametrize("size", [100, 3000, 50_000, 1_000_000])
    def test_readers_follow_without_a_lock(self, opener, mode, size):
        """Also where a record lies across the end of what the reader has mapped."""
        writer = opener()
        for number in range(3):
            store = opener(mode=mode)
            for key in range(number * 100, number * 100 + 100_000 // size + 5):
                writer[key] = bytes([key % 256]) * size
                assert store[key] == bytes([key % 256]) * size
            assert store.stats()["own_locked_reads"] == 0

    def test_10_000_keys(self, opener):
        writer, store = opener(), opener()
        expected = {f"key {number}": number for number in range(5000)}
        writer.update(expected)
        for number in range(5000):
            key = (number, "t")
            expected[key] = writer[key] = str(number)
        assert len(store) == 10_000
        assert store == expected
        assert store.get_many(expected) == expected
        for key in list(expected)[::2]:
            del writer[key]
            del expected[key]
        assert store == expected
        assert writer.check() == []


class TestIteration:
    def test_a_key_that_is_there_throughout_comes_once(self, opener):
        writer, store = opener(), opener()
        stays = {f"stays {number}" for number in range(300)}
        for number in range(300):
            writer[f"stays {number}"] = number
            writer[f"goes {number}"] = number
        seen = []
        for turn, key in enumerate(store):
            seen.append(key)
            if turn % 3 == 0:
                writer[f"comes {turn}"] = "x" * turn * 20
                writer.pop(f"goes {turn}", None)
                writer[f"stays {turn % 300}"] = "y" * (turn * 37 % 5000)
                writer.set_many({f"stays {(turn + 7) % 300}": turn, f"stays {(turn + 150) % 300}": turn})
        assert len(seen) == len(set(seen))
        assert stays <= set(seen)
        assert all(key.split()[0] in ("stays", "goes", "comes") for key in seen)

    @pytest.mark.parametrize("change", ["clear", "repair"])
    def test_goes_on_after(self, opener, change):
        writer, store = opener(), opener()
        writer.update({number: number for number in range(100)})
        iterator = iter(store)
        seen = [next(iterator) for _ in range(50)]
        getattr(writer, change)()
        rest = list(iterator)
        assert len(set(seen + rest)) == len(seen + rest) == (50 if change == "clear" else 100)

    def test_two_at_once(self, opener):
        store = opener()
        store.update({number: number for number in range(20)})
        assert len(list(zip(store, store))) == 20
        assert {(a, b) for a in store for b in store} == {(a, b) for a in range(20) for b in range(20)}


class TestManyKeysAtOneMoment:
    @pytest.mark.parametrize("at", range(6))
    def test_get_many_sees_all_or_nothing_of_a_write(self, opener, monkeypatch, at):
        writer, store = opener(), opener()
        keys = ["a", "b", "c", "d"]
        writer.set_many(dict.fromkeys(keys, 0))
        original = Reader._find
        calls = []

        def find(reader, key, hashed):
            if reader is store._engine.reader:
                calls.append(key)
                if len(calls) == at + 1:
                    writer.set_many(dict.fromkeys(keys, 1))
            return original(reader, key, hashed)

        monkeypatch.setattr(Reader, "_find", find)
        assert len(set(store.get_many(keys).values())) == 1
        assert store.get_many(keys) == dict.fromkeys(keys, 1 if at < len(calls) else 0)

    @pytest.mark.parametrize("at", range(4))
    def test_get_many_sees_an_insert_or_not(self, opener, monkeypatch, at):
        writer, store = opener(), opener()
        original = Reader._find
        calls = []

        def find(reader, key, hashed):
            if reader is store._engine.reader:
                calls.append(key)
                if len(calls) == at + 1:
                    writer.set_many({"a": 1, "b": 1, "c": 1})
            return original(reader, key, hashed)

        monkeypatch.setattr(Reader, "_find", find)
        assert store.get_many(["a", "b", "c"]) in ({}, {"a": 1, "b": 1, "c": 1})

    def test_modify_runs_again(self, opener):
        writer, store = opener(), opener()
        store["n"] = 1
        calls = []

        def function(value):
            calls.append(value)
            if len(calls) < 4:
                writer.increment("n")
            return value * 100

        assert store.modify("n", function) == 400
        assert calls == [1, 2, 3, 4]
        assert writer["n"] == 400

    def test_modify_of_a_missing_key_runs_again(self, opener):
        writer, store = opener(), opener()

        def function(value):
            writer.setdefault("n", 5)
            return value + 1

        assert store.modify("n", function, 0) == 6

    def test_transact_runs_again(self, opener):
        writer, store = opener(), opener()
        store.update(a=1, b=2)
        calls = []

        def function(transaction):
            calls.append(transaction["a"])
            if len(calls) < 4:
                writer.increment("a")
            transaction["b"] = transaction["a"] * 10
            return "done"

        assert store.transact(function) == "done"
        assert calls == [1, 2, 3, 4]
        assert writer["b"] == 40

    def test_gives_up(self, opener):
        writer, store = opener(), opener(timeout=0)
        store.update(a=1)

        def function(transaction):
            transaction["b"] = transaction["a"]
            writer.increment("a")

        with pytest.raises(ipcdatastore.ConflictError):
            store.transact(function)
        with pytest.raises(ipcdatastore.ConflictError) as caught:
            store.modify("a", lambda value: writer.increment("a"))
        assert caught.value.key == "a"
        assert "b" not in store


# --- read-only ---------------------------------------------------------------------------------------
class TestReadOnly:
    CONTENTS = {"a": 1, 2: [3], ("t", b"x"): None, ("n", "inner"): "deep"}  # noqa: RUF012

    @pytest.fixture
    def writer(self, opener):
        writer = opener()
        writer.update(self.CONTENTS)
        return writer

    @pytest.fixture
    def store(self, opener, writer):
        return opener(mode="r")

    def test_reads(self, store, writer):
        for _ in range(2):
            assert store == self.CONTENTS
            assert store.get("a") == store["a"] == store.peek("a") == store.get_entry("a").value == 1
            assert store.get("missing", 5) == 5
            assert store.get_many([2, "no"]) == {2: [3]}
            assert store.namespace("n")["inner"] == "deep"
            assert len(store) == 4
            assert store.check() == []
        writer["a"] = 2
        assert store["a"] == 2
        with store.transaction() as t:
            assert t["a"] == 2
        assert store.setdefault("a", 3) == 2
        assert store.pop("missing", None) is None
        assert store.stats()["records"] == 4

    WRITES = [  # noqa: RUF012
        ("[] =", lambda store: store.__setitem__("a", 1)),
        ("set", lambda store: store.set("a", 1)),
        ("add", lambda store: store.add("a", 1)),
        ("add new", lambda store: store.add("new", 1)),
        ("setdefault", lambda store: store.setdefault("new", 1)),
        ("touch", lambda store: store.touch("a")),
        ("compare_and_set", lambda store: store.compare_and_set("a", 1, store.get_entry("a").version)),
        ("increment", lambda store: store.increment("a")),
        ("modify", lambda store: store.modify("a", lambda value: value)),
        ("set_many", lambda store: store.set_many({"a": 1})),
        ("update", lambda store: store.update(a=1)),
        ("del", lambda store: store.__delitem__("a")),
        ("delete", lambda store: store.delete("a")),
        ("pop", lambda store: store.pop("a")),
        ("popitem", lambda store: store.popitem()),
        ("clear", lambda store: store.clear()),
        ("clear of a namespace", lambda store: store.namespace("n").clear()),
        ("write in a namespace", lambda store: store.namespace("n").set("inner", 1)),
        ("transact", lambda store: store.transact(lambda t: t.update(a=1))),
        ("repair", lambda store: store.repair()),
    ]

    @pytest.mark.parametrize(("name", "write"), WRITES, ids=[name for name, _ in WRITES])
    def test_writes(self, store, writer, name, write):
        image = Path(writer.stats()["path"]).read_bytes()
        with pytest.raises(ipcdatastore.ReadOnlyError) as caught:
            write(store)
        assert isinstance(caught.value, PermissionError)
        assert 'mode="w"' in str(caught.value)
        assert store.stats()["path"] in str(caught.value)
        assert Path(writer.stats()["path"]).read_bytes() == image


# --- full regions --------------------------------------------------------------------------------------
def fill(store, size, prefix="fill", limit=100_000):
    """Store values until there is no room. How many, and the error."""
    for number in range(limit):
        try:
            store[f"{prefix} {number}"] = bytes([number % 256]) * size
        except ipcdatastore.StoreFullError as error:
            return number, error
    raise AssertionError("it never got full")


PAGE = 65536


@pytest.mark.parametrize(
    ("limit", "size"),
    [(PAGE, 0), (PAGE, 100), (PAGE, 9000), (2 * PAGE, 1000), (4 * PAGE + 1, 0), (16 * PAGE, 1000), (16 * PAGE, 9000)],
)
class TestFull:
    @pytest.fixture
    def store(self, opener, limit):
        return opener(max_size=limit)

    def test_says_so_and_changes_nothing(self, opener, store, limit, size):
        count, error = fill(store, size)
        assert isinstance(error, MemoryError)
        assert error.needed > 0
        assert 0 <= error.free <= limit
        assert "max_size" in error.hint
        assert "lru" in error.hint
        assert str(error.needed and f"{limit:,}") in str(error)
        before = contents(store)
        version = store.stats()["version"]
        assert len(before) == len(store) == count
        assert os.path.getsize(store.stats()["path"]) <= limit
        big = b"x" * (limit * 3 // 4)
        writes = [
            lambda: store.__setitem__("new", big),
            lambda: store.__setitem__("fill 0", big),
            lambda: store.set("fill 1", big, expire=100),
            lambda: store.add("new", big),
            lambda: store.setdefault("new", big),
            lambda: store.set_many({"new": big, "fill 0": b"", "newer": 1}),
            lambda: store.set_many({"fill 0": b"", "fill 1": b"", "new": big}),
            lambda: store.modify("fill 0", lambda old: big),
            lambda: store.compare_and_set("fill 0", big, store.get_entry("fill 0").version),
            lambda: store.transact(lambda t: t.update({"fill 0": 1, "new": big})),
        ]
        for write in writes:
            with pytest.raises(ipcdatastore.StoreFullError):
                write()
            assert store.check() == []
            assert contents(store) == before
            assert store.stats()["version"] >= version
        assert contents(opener()) == before

    def test_delete_works(self, store, size, limit):
        count, _ = fill(store, size)
        version = store.stats()["version"]
        del store["fill 0"]
        assert store.pop("fill 1") == b"\1" * size
        assert store.delete("fill 2")
        for number in range(3, 3 + count // 50):  # the insert that failed may have left a larger table behind
            del store[f"fill {number}"]
        store["new"] = b"x" * size
        assert store["new"] == b"x" * size
        assert store.stats()["version"] > version
        assert len(store) == count - 2 - count // 50

    def test_delete_in_a_transaction_works(self, store, size, limit):
        fill(store, size)
        with store.transaction() as t:
            del t["fill 0"]
            del t["fill 1"]
        assert "fill 1" not in store

    def test_clear_of_a_namespace_works(self, store, size, limit):
        inner = store.namespace("inner")
        fill(inner, size)
        inner.clear()
        assert store == {}

    def test_clear_works(self, store, size, limit):
        count, _ = fill(store, size)
        store.clear()
        assert store == {}
        assert fill(store, size)[0] > count * 0.7
        assert os.path.getsize(store.stats()["path"]) <= limit

    def test_repair_works(self, store, size, limit):
        fill(store, size)
        before = contents(store)
        assert store.repair() == []
        assert contents(store) == before
        assert store.check() == []
        assert os.path.getsize(store.stats()["path"]) <= limit

    def test_overwriting_with_the_same_size_works(self, store, size, limit):
        count, _ = fill(store, size)
        for turn in range(3):
            for number in range(count):
                store[f"fill {number}"] = bytes([(number + turn) % 256]) * size
        assert store["fill 0"] == b"\2" * size

    def test_deleting_everything_gives_the_room_back(self, store, size, limit):
        count, _ = fill(store, size)
        for number in range(count):
            del store[f"fill {number}"]
        again, _ = fill(store, size, "again")
        assert again >= count * 0.9
        store.clear()
        large = limit // 10 if size else 100  # slots stay where they are, and many empty values take many
        store["one"] = b"x" * large
        assert store["one"] == b"x" * large

    def test_room_of_expired_records_comes_back(self, opener, clock, limit, size):
        store = opener(max_size=limit)
        counts = []
        for turn in range(4):
            for number in range(100_000):
                try:
                    store.set(f"turn {turn} {number}", b"x" * size, expire=100)
                except ipcdatastore.StoreFullError:
                    break
            counts.append(number)
            assert len(list(store)) == number
            clock.advance(101)
            assert list(store) == []
        assert min(counts) >= counts[0] * 0.9
        store["stays"] = 1
        assert store == {"stays": 1}


class TestPolicy:
    def test_a_larger_limit_helps(self, opener):
        store = opener(max_size=PAGE)
        count, _ = fill(store, 1000)
        larger = opener(max_size=1 << 30)
        assert larger.stats()["max_size"] == store.stats()["max_size"] == 1 << 30
        store["new"] = b"x" * 10_000_000
        assert len(larger) == count + 1

    def test_a_smaller_limit_keeps_what_is_there(self, opener):
        store = opener()
        store.update(dict.fromkeys(range(100), b"x" * 10000))
        opener(max_size=PAGE)
        with pytest.raises(ipcdatastore.StoreFullError):
            store["new"] = b"x" * 50_000
        assert len(store) == 100
        del store[0]
        store["new"] = b"x" * 10_000

    def test_none_takes_what_the_region_has(self, opener):
        opener(max_size=5 * PAGE, evict="lru", serializer="json")
        stats = opener().stats()
        assert (stats["max_size"], stats["evict"], stats["serializer"]) == (5 * PAGE, "lru", "json")
        assert opener(mode="r", max_size=PAGE, evict="none").stats()["max_size"] == 5 * PAGE
        opener(evict="none")
        assert opener().stats()["evict"] == "none"
        assert opener(mode="n").stats()["max_size"] == 5 * PAGE


@pytest.mark.parametrize(
    ("limit", "size"),
    [(PAGE, 0), (PAGE, 100), (PAGE, 3000), (4 * PAGE, 0), (4 * PAGE, 1000), (8 * PAGE, 2000), (16 * PAGE, 20_000)],
)
class TestEviction:
    @pytest.fixture
    def store(self, opener, limit):
        return opener(max_size=limit, evict="lru")

    def test_always_makes_room(self, opener, store, limit, size):
        reader = opener()
        number, evictions = 0, 0
        while evictions < 300 and number < 10_000:
            key, value = f"key {number}", bytes([number % 256]) * (size * (number % 4) // 3)
            before = len(store)
            store[key] = value
            assert reader[key] == value
            number += 1
            evictions += len(store) <= before
        assert evictions == 300
        assert store.check() == []
        assert os.path.getsize(store.stats()["path"]) <= limit
        for key, value in reader.items():
            number = int(key.split()[1])
            assert value == bytes([number % 256]) * (size * (number % 4) // 3)
        assert len(store) == len(list(store)) > 20 if size < 1000 else len(store) > 2

    def test_several_at_once(self, store, limit, size):
        for turn in range(40):
            batch = {f"key {turn} {number}": turn for number in range(10)}
            batch["big"] = bytes([turn]) * min(size, limit // 8)
            store.set_many(batch)
            assert store.get_many(batch) == batch
        assert store.check() == []

    def test_what_is_read_stays_longer(self, opener, store, limit, size):
        """Three ways to read, each often; and keys that nobody reads."""
        if size < 100 or limit // size < 40:
            pytest.skip("too few or too many records for a comparison")
        reader, uncached_reader = opener(), opener(cache_entries=0)
        kinds = ("got", "got in many", "peeked", "cold")
        count = limit // (size + 200) // 2
        for number in range(count):
            store[(kinds[number % 4], number)] = b"x" * size
        there = set(store)
        for turn in range(3 * count):
            if turn % max(1, count // 10) == 0:
                for kind, number in there:
                    if kind == "got":
                        (reader if number % 2 else uncached_reader).get((kind, number))
                    elif kind == "got in many":
                        reader.get_many([(kind, number)])
                    elif kind == "peeked":
                        reader.peek((kind, number))
            store[("new", turn)] = b"y" * size
        left = {kind: sum(key[0] == kind for key in store) for kind in kinds}
        assert min(left["got"], left["peeked"], left["got in many"]) > left["cold"] + count // 16, left

    def test_too_large_for_the_region_evicts_nothing(self, store, limit, size):
        store.update({number: b"x" * min(size, 5000) for number in range(5)})
        before = contents(store)
        for write in (
            lambda: store.__setitem__("new", b"x" * limit),
            lambda: store.__setitem__("new", b"x" * (limit - 10_000)),
            lambda: store.__setitem__(0, b"x" * (limit * 2)),
            lambda: store.set_many({"new": b"x" * limit, "other": 1}),
            lambda: store.set_many({f"new {number}": b"x" * (limit // 4) for number in range(8)}),
        ):
            with pytest.raises((ipcdatastore.StoreFullError, ipcdatastore.TooLargeError)):
                write()
            assert store.check() == []
            assert contents(store) == before

    def test_one_large_value(self, store, limit, size):
        if size == 0:
            pytest.skip("slots stay where they are, and there are many of them")
        for number in range(min(1000, 2 * limit // (size + 100))):
            store[number] = b"x" * size
        store["big"] = b"y" * (limit // 8)
        assert store["big"] == b"y" * (limit // 8)
        assert store.check() == []


# --- in a forked child ---------------------------------------------------------------------------------
FIRST_USES = [
    ("get", lambda store: store.get("a") == 1),
    ("get cold", lambda store: store.get("cold") == 2),
    ("[]", lambda store: store["cold"] == 2),
    ("peek", lambda store: store.peek("cold") == 2),
    ("in", lambda store: "cold" in store),
    ("not in", lambda store: "missing" not in store),
    ("get_entry", lambda store: store.get_entry("cold").value == 2),
    ("get_many", lambda store: store.get_many(["a", "cold"]) == {"a": 1, "cold": 2}),
    ("len", lambda store: len(store) == 3),
    ("iter", lambda store: set(store) == {"a", "cold", ("n", "a")}),
    ("entries", lambda store: len(list(store.entries())) == 3),
    ("items", lambda store: len(dict(store.items())) == 3),
    ("stats", lambda store: store.stats()["records"] == 3),
    ("check", lambda store: store.check() == []),
    ("repair", lambda store: store.repair() == []),
    ("set", lambda store: store.set("b", 1) > 0),
    ("set_many", lambda store: store.set_many({"b": 1}) is None),
    ("add", lambda store: store.add("b", 1)),
    ("increment", lambda store: store.increment("a") == 2),
    ("touch", lambda store: store.touch("a")),
    ("delete", lambda store: store.delete("a")),
    ("pop", lambda store: store.pop("a") == 1),
    ("popitem", lambda store: len(store.popitem()) == 2),
    ("clear", lambda store: store.clear() is None),
    ("transaction that reads", lambda store: store.transact(lambda t: t["a"]) == 1),
    ("transaction that writes", lambda store: store.transact(lambda t: t.update(b=1)) is None),
    ("namespace", lambda store: store.namespace("n")["a"] == 3),
    ("iter of a namespace", lambda store: list(store.namespace("n")) == ["a"]),
    ("clear of a namespace", lambda store: store.namespace("n").clear() is None),
    ("close", lambda store: store.close() is None),
]


class Use:
    """A call by its number, since functions without a name do not travel."""

    def __init__(self, number):
        self.number = number

    def __call__(self, store):
        return FIRST_USES[self.number][1](store)


@needs_fork
class TestFork:
    @pytest.mark.parametrize("number", range(len(FIRST_USES)), ids=[name for name, _ in FIRST_USES])
    @pytest.mark.parametrize("mode", ["w", "r"])
    def test_first_use_in_the_child(self, opener, number, mode):
        writer = opener()
        writer.update({"a": 1, "cold": 2, ("n", "a"): 3})
        store = opener(mode=mode)
        assert store["a"] == 1
        peer, forked = remote.fork(store)
        try:
            assert peer.root.run(Use(number), forked)
        except ipcdatastore.ReadOnlyError:
            assert mode == "r"
        peer.end()
        writer["after"] = 1
        assert store["after"] == 1

    def test_parent_and_child_together(self, opener):
        store = opener()
        store["n"] = 0
        inner = store.namespace("inner")
        peer, forked, forked_inner = remote.fork(store, inner)
        for _ in range(20):
            store.increment("n")
            forked.increment("n")
            inner["a"] = store["n"]
            assert forked_inner["a"] == store["n"] == forked["n"]
            forked_inner["b"] = "x" * store["n"] * 1000
            assert inner["b"] == "x" * store["n"] * 1000
        forked.close()
        peer.end()
        assert store["n"] == 40

    def test_the_parent_holds_the_lock(self, opener):
        """The child's copy of a held lock is no lock: it neither has it nor frees it."""
        store = opener(timeout=0.05)
        store["a"] = 1
        store._engine.coordinator.take()
        try:
            peer, forked = remote.fork(store)
            with pytest.raises(ipcdatastore.LockTimeoutError) as caught:
                forked["a"] = 2
            assert caught.value.holder in (None, os.getpid())
            assert forked["a"] == 1
        finally:
            store._engine.coordinator.release()
        forked["a"] = 3
        assert store["a"] == 3
        peer.end()

    def test_closed_before_the_fork(self, opener):
        store = opener()
        store["a"] = 1
        store.get("a")
        store.close()
        peer, forked = remote.fork(store)
        for use in (lambda: forked["a"], lambda: len(forked), lambda: forked.set("a", 2)):
            with pytest.raises(ipcdatastore.ClosedError):
                use()
        peer.end()


# --- versions ------------------------------------------------------------------------------------------
def test_versions_grow_across_everything(opener):
    store = opener()
    versions = [store.set("a", 1)]
    for use in (
        lambda: store.delete("a"),
        store.clear,
        store.repair,
        lambda: store.set_many({"a": 1, "b": 2}),
        lambda: opener(mode="n"),
        lambda: opener().close(),
        lambda: store.namespace("n").clear(),
    ):
        use()
        versions.append(opener().stats()["version"])
        versions.append(opener().set("a", 1))
        assert versions[-1] > versions[-2] >= versions[-3]
        assert opener().get_entry("a").version == versions[-1]
