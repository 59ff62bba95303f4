"""What every store promises, whatever its flavour: one suite, many subjects (see test_contract.py).

A flavour is a subclass of :class:`StoreContract` with a `store` fixture. Everything goes through the
store's public methods, so that the store may be a view, a pair of handles, or a stand-in for one in another
process. ``MappingContract`` alone is what a ``dict`` promises too.
"""

# ruff: noqa: PT012 - what must raise is often a transaction, and its body is several statements

import os
from collections.abc import MutableMapping

import pytest

import ipcdatastore
from ipcdatastore import platform
from remote import Unpicklable, clock_modules


# --- opening, and what every test ends with ----------------------------------------------------------
class Opener:
    """Opens stores of one directory, closes them, and checks every region at the end."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.handles = []
        self.names = set()
        self.peers = []

    def __call__(self, name="demo", **options):
        self.names.add(name)
        handle = ipcdatastore.open(name, directory=self.directory, **options)
        self.handles.append(handle)
        return handle

    def remote(self, peer, name="demo", **options):
        """A store in another process."""
        self.names.add(name)
        self.peers.append(peer)
        handle = peer.root.open(name, directory=self.directory, **options)
        self.handles.append(handle)
        return handle

    def finish(self):
        for handle in self.handles:
            handle.close()
        for name in self.names:
            with ipcdatastore.open(name, directory=self.directory, mode="w") as fresh:
                assert fresh.check() == []


class Clock:
    """The expiry clock of this process, and of its helpers, stands still until told."""

    def __init__(self, monkeypatch, peers=()):
        self.now = platform.now_ns()
        self.peers = peers
        for module in clock_modules():
            monkeypatch.setattr(module, "now_ns", lambda: self.now)
        self.advance(0)

    def advance(self, seconds):
        self.now += int(seconds * 1e9)
        for peer in self.peers:
            peer.root.set_clock(self.now)


def contents(store):
    """Everything in a store, the types of the keys included, for one comparison."""
    return {(repr(key), repr(store[key])) for key in store}


# --- things to store, which another process can import --------------------------------------------------
class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Data(bytes):
    pass


class Pair(tuple):
    __slots__ = ()


def double(value):
    return value * 2


def to_unpicklable(value):
    return Unpicklable()


def write_unpicklable(transaction):
    transaction["a"] = 2
    transaction["b"] = Unpicklable()


def double_all(values):
    return [value * 2 for value in values]


def fail(value):
    raise ZeroDivisionError(value)


def move(transaction, amount):
    transaction["a"] -= amount
    transaction["b"] = transaction.get("b", 0) + amount
    return transaction["b"]


KEYS = [
    "",
    "a",
    "ключ",
    os.fsdecode(b"\xff\xfe.txt") if os.name == "posix" else "\udcff\udcfe.txt",
    "\ud83d\ude00",  # two surrogates, which are not
    "\U0001f600",  # the character that they encode in UTF-16
    "a\0b",
    "a" * 20000,
    "é" * 20000,
    b"",
    b"a",
    b"\xff\0",
    b"\0" * 60000,
    0,
    1,
    -1,
    255,
    2**31,
    -(2**63),
    10**60,
    -(10**60),
    1 << 100000,
    "1",
    b"1",
    "0",
    "i1",
    (),
    ("",),
    ((),),
    ((), ()),
    ("a",),
    (b"a",),
    (1,),
    ("a", "b"),
    ("ab",),
    ("a", "b", 1),
    ("a", ("b", 1)),
    ("a", ("b", (3, b"c"))),
    (((((((1,),),),),),),),
]
BAD_KEYS = [
    True,
    False,
    1.0,
    0.0,
    float("nan"),
    1j,
    None,
    ...,
    frozenset(),
    frozenset(("a",)),
    {"a"},
    ["a"],
    {"a": 1},
    bytearray(b"a"),
    range(1),
    Text("a"),
    Number(1),
    Data(b"a"),
    Pair(("a",)),
    ("a", True),
    ("a", 1.0),
    ("a", (None,)),
    (["a"],),
    (Text("a"),),
]
SIMPLE = [
    None,
    True,
    False,
    0,
    1,
    -1,
    127,
    128,
    -128,
    -129,
    255,
    256,
    2**63,
    -(2**64),
    10**400,
    0.0,
    -0.0,
    1.5,
    float("inf"),
    5e-324,
    "",
    "text",
    "ключ",
    "\udcff",
    "a\0b",
    b"",
    b"\0",
    b"bytes\xff",
]
JSON = [*SIMPLE, [], {}, [1, [2, {"a": None}]], {"red": 12, "more": [1.5, True, "x"]}]
PICKLE = [
    *JSON,
    (),
    (1, (2, "a")),
    frozenset((1, 2)),
    {1: "int", b"b": (1,)},
    {1, 2},
    1j,
    range(3),
    ...,
    Text("sub"),
    Number(7),
    bytearray(b"array"),
    double,
    ValueError("an", "error"),
]
RAW = [*SIMPLE, bytearray(b""), bytearray(b"array")]


# --- a mapping -----------------------------------------------------------------------------------------
class MappingContract:
    """What a dict does too."""

    def test_empty(self, store):
        assert len(store) == 0
        assert list(store) == []
        assert not list(store.items())
        assert store == {}
        assert not bool(store)

    def test_set_get_delete(self, store):
        store["a"] = 1
        store["b"] = 2
        assert (store["a"], store["b"], len(store)) == (1, 2, 2)
        del store["a"]
        assert "a" not in store
        assert "b" in store
        assert list(store) == ["b"]

    def test_missing(self, store):
        store["a"] = 1
        del store["a"]
        for key in ("a", "other", 7, b"a", ("a",)):
            with pytest.raises(KeyError) as caught:
                store[key]
            assert caught.value.args == (key,)
            with pytest.raises(KeyError):
                del store[key]
            with pytest.raises(KeyError):
                store.pop(key)
            assert store.get(key) is None
            assert store.get(key, 5) == 5
            assert store.pop(key, 6) == 6
            assert key not in store

    def test_overwrite(self, store):
        for value in (1, "two", b"three" * 1000, 4.0, None, "x"):
            store["a"] = value
            assert store["a"] == value
            assert store.get("a", "default") == value
        assert len(store) == 1

    def test_none_is_a_value(self, store):
        store["a"] = None
        assert store["a"] is None
        assert store.get("a", "default") is None
        assert "a" in store
        assert store.setdefault("a", 1) is None
        assert store.pop("a", 1) is None

    def test_views(self, store):
        expected = {"a": 1, "b": "two", 3: b"three", ("t", 4): None}
        store.update(expected)
        assert set(store.keys()) == set(expected)
        assert len(store.keys()) == len(store.items()) == len(store.values()) == 4
        assert dict(store.items()) == expected
        assert sorted(map(repr, store.values())) == sorted(map(repr, expected.values()))
        assert ("a", 1) in store.items()
        assert ("a", 2) not in store.items()
        assert "a" in store.keys()  # noqa: SIM118 - the view is what is tested
        assert b"three" in store.values()
        assert dict(store) == expected

    def test_update(self, store):
        store.update({"a": 1, "b": 2})
        store.update([("b", 3), (4, "c")])
        store.update(iter([("d", 5)]))
        store.update(e=6, f=7)
        store.update({"e": 8}, f=9)
        store.update()
        store.update({})
        assert store == {"a": 1, "b": 3, 4: "c", "d": 5, "e": 8, "f": 9}

    def test_update_from_what_has_keys(self, store):
        class Keyed:
            def keys(self):
                return ["a", "b"]

            def __getitem__(self, key):
                return key * 2

        store.update(Keyed()) if isinstance(store, MutableMapping) else store.update(dict(Keyed()))
        assert store == {"a": "aa", "b": "bb"}

    def test_update_refuses(self, store):
        store["a"] = 1
        for wrong in (5, [1], [(1, 2, 3)]):
            with pytest.raises((TypeError, ValueError)):
                store.update(wrong)
        with pytest.raises(TypeError):
            store.update({}, {})
        assert store == {"a": 1}

    def test_setdefault(self, store):
        assert store.setdefault("a", 1) == 1
        assert store.setdefault("a", 2) == 1
        assert store.setdefault("b") is None
        assert store == {"a": 1, "b": None}

    def test_pop(self, store):
        store.update(a=1, b=2)
        assert store.pop("a") == 1
        assert store.pop("b", 5) == 2
        assert store.pop("b", None) is None
        assert store == {}

    def test_popitem(self, store):
        expected = {"a": 1, 2: "b", b"c": None}
        store.update(expected)
        found = dict([store.popitem(), store.popitem(), store.popitem()])
        assert found == expected
        assert store == {}
        with pytest.raises(KeyError):
            store.popitem()

    def test_clear(self, store):
        store.clear()
        store.update({str(number): number for number in range(40)})
        store.clear()
        assert store == {}
        assert store.get("7") is None
        store["7"] = "again"
        assert store == {"7": "again"}

    def test_equality(self, store):
        store.update(a=1, b=[] if self.has_lists else "x")
        same = {"b": [] if self.has_lists else "x", "a": 1}
        assert store == same
        assert same == store
        assert not store != same  # noqa: SIM202 - both operators
        assert store != {"a": 1}
        assert store != {**same, "c": 1}
        assert store != {**same, "a": 2}
        assert store != [("a", 1)]
        assert store != 1
        assert store == store  # noqa: PLR0124

    has_lists = True

    def test_has_no_hash(self, store):
        with pytest.raises(TypeError):
            hash(store)

    def test_comes_and_goes(self, store):
        """Every slot and block is used again and again."""
        model = {}
        for turn in range(300):
            key = f"key {turn * 7 % 23}"
            if turn % 3 == 2:
                assert store.pop(key, None) == model.pop(key, None)
            else:
                model[key] = store[key] = str(turn) * (turn * 5 % 97)
        assert store == model
        assert len(store) == len(model)


# --- keys ----------------------------------------------------------------------------------------------
def what_raises(use, store):
    """The exception that `use` raises, None if it does not."""
    try:
        use(store)
    except Exception as error:  # noqa: BLE001 - the test says which it has to be
        return error
    return None


def uses_of(key):
    """Every way to use a key: (name, call)."""
    return [
        ("get", lambda store: store.get(key)),
        ("get with default", lambda store: store.get(key, 1)),
        ("[]", lambda store: store[key]),
        ("in", lambda store: key in store),
        ("peek", lambda store: store.peek(key)),
        ("get_entry", lambda store: store.get_entry(key)),
        ("get_many", lambda store: store.get_many(["a", key])),
        ("[] =", lambda store: store.__setitem__(key, 1)),
        ("set", lambda store: store.set(key, 1)),
        ("add", lambda store: store.add(key, 1)),
        ("compare_and_set", lambda store: store.compare_and_set(key, 1, 0)),
        ("setdefault", lambda store: store.setdefault(key, 1)),
        ("touch", lambda store: store.touch(key)),
        ("increment", lambda store: store.increment(key)),
        ("modify", lambda store: store.modify(key, double, 1)),
        ("del", lambda store: store.__delitem__(key)),
        ("delete", lambda store: store.delete(key)),
        ("pop", lambda store: store.pop(key)),
        ("pop with default", lambda store: store.pop(key, 1)),
        ("transaction []", lambda store: store.transaction().__enter__()[key]),
        ("transaction [] =", lambda store: store.transaction().__enter__().__setitem__(key, 1)),
    ]


class KeyContract:
    def test_every_key_is_its_own(self, store):
        for number, key in enumerate(KEYS):
            store[key] = number
        for _ in range(3):
            assert [store[key] for key in KEYS] == list(range(len(KEYS)))
        assert [store.get_entry(key).value for key in KEYS] == list(range(len(KEYS)))
        assert list(store.get_many(KEYS).values()) == list(range(len(KEYS)))

    def test_keys_come_back_as_they_were(self, store):
        store.set_many([(key, number) for number, key in enumerate(KEYS)])
        found = {store[key]: key for key in store}
        assert [found[number] for number in range(len(KEYS))] == KEYS
        assert [type(found[number]) for number in range(len(KEYS))] == [type(key) for key in KEYS]
        for key in KEYS:
            del store[key]
        assert list(store) == []

    @pytest.mark.parametrize("temperature", ["cold", "hot"])
    def test_bad_keys(self, store, temperature):
        before = {"a": 1, 1: 2, b"a": 3, ("a",): 4, 0: 5}
        store.update(before)
        if temperature == "hot":
            for key, value in before.items():
                assert store.get(key) == store.peek(key) == store[key] == value
        wrong = []
        for bad in BAD_KEYS:
            for name, use in uses_of(bad):
                error = what_raises(use, store)
                if not isinstance(error, ipcdatastore.KeyTypeError) or not isinstance(error, TypeError):
                    wrong.append((name, bad, error))
        assert wrong == []
        assert store == before

    @pytest.mark.parametrize("bad", [["a"], {"a"}, (["a"],)], ids=repr)
    def test_bad_keys_that_no_dict_takes(self, store, bad):
        for call in (store.set_many, store.update):
            with pytest.raises(ipcdatastore.KeyTypeError):
                call([("new", 1), (bad, 2)])
        assert store == {}

    def test_a_key_that_hashes_like_another(self, store):
        """A dict on the way to the store would take the second for the first."""
        for bad, good in ((True, 1), (1.0, 1), (Text("a"), "a"), (Number(1), 1)):
            for call in (store.set_many, store.update):
                with pytest.raises(ipcdatastore.KeyTypeError):
                    call([(good, "first"), (bad, "second")])
            with pytest.raises(ipcdatastore.KeyTypeError):
                store.get_many([good, bad])
        assert store == {}


# --- values --------------------------------------------------------------------------------------------
class ValueContract:
    values = PICKLE

    def same(self, found, value):
        assert type(found) is self.type_of(value)
        assert repr(found) == repr(value) if type(found) is type(value) else found == value

    def type_of(self, value):
        return type(value)

    def test_values(self, store):
        for number, value in enumerate(self.values):
            store[number] = value
        for _ in range(3):
            for number, value in enumerate(self.values):
                self.same(store[number], value)
                self.same(store.get(number), value)
                self.same(store.peek(number), value)
                self.same(store.get_entry(number).value, value)
        for number, value in store.get_many(range(len(self.values))).items():
            self.same(value, self.values[number])
        for number, value in enumerate(self.values):
            self.same(store.pop(number), value)

    def test_sizes(self, store):
        sizes = [0, 1, 10, 11, 12, 13, 27, 28, 29, 980, 990, 1000, 1010, 4000, 65000, 65535, 65536, 70000]
        for size in sizes:
            store[f"bytes {size}"] = bytes([size % 251]) * size
            store[f"text {size}"] = "é" * size
        for size in sizes:
            assert store[f"bytes {size}"] == bytes([size % 251]) * size
            assert store[f"text {size}"] == "é" * size

    def test_several_megabytes(self, store):
        for number in range(3):
            store[number] = bytes([number]) * (3 << 20)
        store[1] = "x" * (5 << 20)
        assert store[0] == b"\0" * (3 << 20)
        assert store[1] == "x" * (5 << 20)
        assert store.get_entry(2).size > 3 << 20
        assert store.pop(2) == b"\2" * (3 << 20)
        del store[1]
        store["small"] = b""
        assert store["small"] == b""
        assert set(store) == {0, "small"}


class StructureContract:
    """Values that can be changed."""

    def test_changes_of_a_value_stay_private(self, store):
        store["a"] = original = {"red": [12]}
        original["red"].append(13)
        assert store["a"] == {"red": [12]}
        store.get("a")["red"].append(14)
        store["a"]["red"].append(14)
        store.get_entry("a").value["red"].append(14)
        store.get_many(["a"])["a"]["red"].append(14)
        next(iter(store.values()))["red"].append(14)
        assert store["a"] == store.peek("a") == {"red": [12]}

    def test_modify_a_structure(self, store):
        assert store.modify("a", double_all, [1, 2]) == [2, 4]
        assert store.modify("a", double_all) == [4, 8]
        assert store["a"] == [4, 8]

    def test_no_increment_of_a_structure(self, store):
        store["a"] = [1]
        with pytest.raises(ipcdatastore.ArgumentError):
            store.increment("a")
        assert store["a"] == [1]


# --- operations ------------------------------------------------------------------------------------------
class OperationContract:
    def test_set_returns_the_version(self, store):
        versions = [store.set("a", 1), store.set("b", 1), store.set("a", 1), store.set("a", "x" * 5000)]
        assert versions == sorted(set(versions))
        assert store.get_entry("a").version == versions[3]
        assert store.get_entry("b").version == versions[1]

    def test_add(self, store):
        assert store.add("a", 1) is True
        assert store.add("a", 2) is False
        assert store["a"] == 1
        del store["a"]
        assert store.add("a", None) is True
        assert store.add("a", 3) is False

    def test_compare_and_set(self, store):
        first = store.compare_and_set("a", 1, 0)
        assert store.compare_and_set("a", 2, 0) is None
        second = store.compare_and_set("a", 2, first)
        assert second > first
        assert store.compare_and_set("a", 3, first) is None
        assert store.compare_and_set("a", 3, second + 1) is None
        assert store["a"] == 2
        assert store.get_entry("a").version == second
        del store["a"]
        assert store.compare_and_set("a", 4, second) is None
        assert "a" not in store
        third = store.compare_and_set("a", 4, 0)
        assert third > second

    @pytest.mark.parametrize("version", [-1, None, "1", 1.0, True])
    def test_compare_and_set_wants_a_version(self, store, version):
        with pytest.raises(ipcdatastore.ArgumentError) as caught:
            store.compare_and_set("a", 1, version)
        assert (caught.value.name, caught.value.value) == ("version", version)

    def test_get_entry(self, store):
        assert store.get_entry("a") is None
        version = store.set("a", "value")
        for _ in range(2):
            entry = store.get_entry("a")
            assert (entry.key, entry.value, entry.version, entry.expires_at) == ("a", "value", version, None)
            assert entry.written_at > 1.6e9
            assert entry.size >= len("a") + len("value")
        version = store.set("a", 2)
        assert store.get_entry("a")[:3] == ("a", 2, version)
        del store["a"]
        assert store.get_entry("a") is None

    def test_entries(self, store):
        versions = {key: store.set(key, str(key)) for key in ("a", 1, b"b", ("t", 1))}
        assert {entry.key: entry.version for entry in store.entries()} == versions
        assert {entry.value for entry in store.entries()} == {str(key) for key in versions}

    def test_peek(self, store):
        assert store.peek("a") is None
        assert store.peek("a", 1) == 1
        for value in (1, "two", None):
            store["a"] = value
            assert store.peek("a", "default") == store.peek("a", "default") == value
        del store["a"]
        assert store.peek("a", 2) == 2

    def test_delete(self, store):
        store["a"] = None
        assert store.delete("a") is True
        assert store.delete("a") is False

    def test_increment(self, store):
        assert store.increment("n") == 1
        assert store.increment("n", 4) == 5
        assert store.increment("n", -7) == -2
        assert store.increment("n", 2**70) == 2**70 - 2
        assert store.increment("n", 0.5) == 2**70 - 2 + 0.5
        assert store.increment("m", 3, default=10) == 13
        assert store["m"] == 13

    @pytest.mark.parametrize("value", ["1", b"1", None, True])
    def test_increment_of_no_number(self, store, value):
        store["a"] = value
        with pytest.raises(ipcdatastore.ArgumentError) as caught:
            store.increment("a")
        assert type(value).__name__ in str(caught.value)
        assert store["a"] is value or store["a"] == value

    def test_modify(self, store):
        assert store.modify("a", double, 3) == 6
        assert store.modify("a", double) == 12
        assert store["a"] == 12
        with pytest.raises(ZeroDivisionError):
            store.modify("a", fail)
        with pytest.raises(ZeroDivisionError):
            store.modify("b", fail, 1)
        assert store == {"a": 12}

    def test_get_many(self, store):
        store.update({"a": 1, 2: "b", ("t",): None})
        assert store.get_many(["a", "missing", 2, ("t",), "a", 3]) == {"a": 1, 2: "b", ("t",): None}
        assert store.get_many([]) == {}
        assert store.get_many(iter(["a"])) == {"a": 1}

    def test_set_many(self, store):
        store["b"] = 0
        store.set_many({"a": 1, "b": 2, ("t",): b"x"})
        store.set_many([("c", 3), (4, "d")])
        store.set_many(iter([("e", 5)]))
        store.set_many({})
        assert store == {"a": 1, "b": 2, ("t",): b"x", "c": 3, 4: "d", "e": 5}

    def test_set_many_all_or_nothing(self, store):
        store["a"] = 0
        with pytest.raises(ipcdatastore.EncodeError):
            store.set_many([("a", 1), ("b", 2), ("c", Unpicklable())])
        with pytest.raises(ipcdatastore.TooLargeError):
            store.set_many([("a", 1), ("b", 2), ("c" * 70000, 3)])
        assert store == {"a": 0}

    def test_many_keys_at_once(self, store):
        expected = {f"key {number}": number for number in range(700)}
        store.set_many(expected)
        assert store == expected
        assert len(store) == 700
        store.set_many({key: value + 1 for key, value in expected.items()})
        assert store.get_many(list(expected)) == {key: value + 1 for key, value in expected.items()}

    def test_unpicklable(self, store):
        store["a"] = 1
        uses = (
            lambda: store.__setitem__("a", Unpicklable()),
            lambda: store.set("a", Unpicklable()),
            lambda: store.add("b", Unpicklable()),
            lambda: store.setdefault("b", Unpicklable()),
            lambda: store.compare_and_set("b", Unpicklable(), 0),
            lambda: store.modify("b", to_unpicklable),
            lambda: store.transact(write_unpicklable),
        )
        for use in uses:
            with pytest.raises(ipcdatastore.EncodeError) as caught:
                use()
            assert caught.value.key in ("a", "b")
        assert store == {"a": 1}


# --- expiry ----------------------------------------------------------------------------------------------
def expired_views(store, key):
    """Every way to look at a key that has expired."""
    return [
        store.get(key),
        store.get(key, None),
        store.peek(key),
        store.get_entry(key),
        key in store or None,
        store.get_many([key]) or None,
        [k for k in store if k == key] or None,
        [k for k, _ in store.items() if k == key] or None,
        [e for e in store.entries() if e.key == key] or None,
        store.pop(key, None),
        store.touch(key, 100) or None,
        store.delete(key) or None,
    ]


class ExpiryContract:
    @pytest.mark.parametrize("key", ["a", 1, ("t", b"x")])
    @pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
    def test_never_returned(self, store, clock, key, warm):
        store["stays"] = 1
        store.set(key, "value", expire=10)
        clock.advance(9.5)
        if warm:
            assert store.get(key) == store[key] == store.peek(key) == store.get_entry(key).value == "value"
        assert key in store
        assert set(store) == {"stays", key}
        clock.advance(0.5)
        assert expired_views(store, key) == [None] * 12
        with pytest.raises(KeyError):
            store[key]
        with pytest.raises(KeyError):
            store.pop(key)
        assert list(store) == ["stays"]

    def test_is_absent_to_writers(self, store, clock):
        for key in "abcdefg":
            version = store.set(key, "old", expire=10)
        clock.advance(10)
        assert store.compare_and_set("a", "new", version) is None
        assert store.compare_and_set("a", "new", store.get_many(["a"]).get("a", 0)) is not None
        assert store.add("b", "new") is True
        assert store.setdefault("c", "new") == "new"
        assert store.modify("d", double, 1) == 2
        assert store.increment("e") == 1
        assert store.delete("f") is False
        assert store.set("g", "new") > version
        clock.advance(10**6)
        assert store == {"a": "new", "b": "new", "c": "new", "d": 2, "e": 1, "g": "new"}

    def test_set_forgets_the_expiry(self, store, clock):
        store.set("a", 1, expire=10)
        store["a"] = 2
        store.set("b", 1, expire=10)
        store.set_many({"b": 2})
        store.set("c", 1)
        store.set("c", 2, expire=10)
        clock.advance(11)
        assert store == {"a": 2, "b": 2}

    def test_touch(self, store, clock):
        store.set("a", 1, expire=10)
        store["b"] = 2
        clock.advance(9)
        assert store.touch("a", 10) is True
        assert store.touch("b", 10) is True
        assert store.touch("missing", 10) is False
        clock.advance(9)
        assert store["a"] == 1
        assert store.touch("a") is True
        clock.advance(2)
        assert store == {"a": 1}
        assert store.get_entry("a").expires_at is None

    def test_expires_at(self, store, clock):
        store.set("a", 1, expire=1000)
        for _ in range(2):
            entry = store.get_entry("a")
            assert 900 < entry.expires_at - entry.written_at < 10**5

    def test_kept_by_modify_and_increment(self, store, clock):
        store.set("a", 1, expire=10)
        store.set("b", 1, expire=10)
        store.set("c", 1, expire=10)
        store.increment("a")
        store.modify("b", double)
        store.modify("c", double, expire=None)
        clock.advance(11)
        assert store == {"c": 2}

    def test_add_and_cas_and_many_with_expiry(self, store, clock):
        store.add("a", 1, expire=10)
        store.compare_and_set("b", 1, 0, expire=10)
        store.set_many({"c": 1, "d": 2}, expire=10)
        with store.transaction() as transaction:
            transaction.set("e", 1, expire=10)
            transaction["f"] = 1
        assert len(list(store)) == 6
        clock.advance(10)
        assert store == {"f": 1}

    def test_expires_under_a_transaction(self, store, clock):
        store.set("a", 1, expire=10)
        transaction = store.transaction()
        with pytest.raises(ipcdatastore.ConflictError), transaction:
            assert transaction["a"] == 1
            clock.advance(11)
            transaction["b"] = 2
        assert store == {}

    @pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "10", True])
    def test_bad_times(self, store, wrong):
        store["a"] = 1
        uses = (
            lambda: store.set("a", 2, expire=wrong),
            lambda: store.add("b", 2, expire=wrong),
            lambda: store.compare_and_set("b", 2, 0, expire=wrong),
            lambda: store.set_many({"a": 2}, expire=wrong),
            lambda: store.touch("a", wrong),
            lambda: store.modify("a", double, expire=wrong),
        )
        for use in uses:
            with pytest.raises(ipcdatastore.ArgumentError) as caught:
                use()
            assert caught.value.name == "expire"
        assert store == {"a": 1}
        assert store.get_entry("a").expires_at is None

    def test_a_very_long_time(self, store, clock):
        store.set("a", 1, expire=10.0**300)
        clock.advance(10**8)
        assert store["a"] == 1


# --- transactions ------------------------------------------------------------------------------------------
class TransactionContract:
    """`other` is another handle's view of the same keys."""

    def test_reads_own_writes(self, store, other):
        store.update(a=1, b=2)
        with store.transaction() as t:
            t["a"] = 10
            t["c"] = 3
            del t["b"]
            assert (t["a"], t["c"]) == (10, 3)
            assert "b" not in t
            with pytest.raises(KeyError):
                t["b"]
            with pytest.raises(KeyError):
                del t["b"]
            assert t == {"a": 10, "c": 3}
            assert len(t) == 2
            assert other == {"a": 1, "b": 2}  # nothing is written yet
            t["b"] = 20
        assert other == {"a": 10, "b": 20, "c": 3}
        assert store == {"a": 10, "b": 20, "c": 3}

    def test_exception_in_the_body(self, store):
        store["a"] = 1
        transaction = store.transaction()
        with pytest.raises(ZeroDivisionError), transaction as t:
            t["a"] = 2
            t["b"] = 3
            raise ZeroDivisionError
        assert store == {"a": 1}

    def test_empty_and_reading_only(self, store):
        store["a"] = 1
        before = store.stats()["version"]
        with store.transaction():
            pass
        with store.transaction() as t:
            assert t["a"] == 1
            assert t.get("b") is None
        assert store.stats()["version"] == before

    def test_conflict_with_a_change(self, store, other):
        store.update(a=1, b=2)
        transaction = store.transaction()
        with pytest.raises(ipcdatastore.ConflictError) as caught, transaction as t:
            t["b"] = t["a"] + 1
            other["a"] = 5
        assert "a" in str(caught.value)
        assert store == {"a": 5, "b": 2}

    def test_conflict_with_an_insert(self, store, other):
        transaction = store.transaction()
        with pytest.raises(ipcdatastore.ConflictError), transaction as t:
            assert "a" not in t
            t["b"] = 1
            other["a"] = 5
        assert store == {"a": 5}

    def test_conflict_with_a_delete(self, store, other):
        store["a"] = 1
        transaction = store.transaction()
        with pytest.raises(ipcdatastore.ConflictError), transaction as t:
            t["b"] = t["a"]
            del other["a"]
        assert store == {}

    def test_conflict_with_the_same_value_again(self, store, other):
        store["a"] = 1
        transaction = store.transaction()
        with pytest.raises(ipcdatastore.ConflictError), transaction as t:
            t["b"] = t["a"]
            other["a"] = 2
            other["a"] = 1
        assert store == {"a": 1}

    def test_conflict_with_clear(self, store, other):
        store["a"] = 1
        transaction = store.transaction()
        with pytest.raises(ipcdatastore.ConflictError), transaction as t:
            t["b"] = t["a"]
            other.clear()
        assert store == {}

    def test_conflict_of_a_reading_only_transaction(self, store, other):
        store["a"] = 1
        transaction = store.transaction()
        with pytest.raises(ipcdatastore.ConflictError), transaction as t:
            assert t["a"] == 1
            other["a"] = 2

    def test_the_body_never_sees_two_moments(self, store, other):
        store.update(a=1, b=1)
        transaction = store.transaction()
        seen = []
        with pytest.raises(ipcdatastore.ConflictError), transaction as t:
            seen.append(t["a"])
            other.set_many({"a": 2, "b": 2})
            seen.append(t["b"])
        assert seen == [1]
        with pytest.raises(ipcdatastore.ConflictError), store.transaction() as t:
            seen.append(t["a"])
            other["a"] = 3
            seen.append(t["a"])
        assert seen == [1, 2]

    def test_no_conflict_with_others(self, store, other):
        store.update(a=1, b=2, c=3)
        with store.transaction() as t:
            t["b"] = t["a"] + 10
            other["c"] = 30
            other["new"] = 4
            assert t["a"] == 1
        assert store == {"a": 1, "b": 11, "c": 30, "new": 4}

    def test_blind_writes_do_not_conflict(self, store, other):
        store["a"] = 1
        with store.transaction() as t:
            t["a"] = 2
            other["a"] = 3
        assert store == {"a": 2}

    def test_delete_in_a_transaction(self, store, other):
        store.update(a=1, b=2)
        with store.transaction() as t:
            del t["a"]
            t["c"] = t.pop("b")
        assert other == {"c": 2}
        transaction = store.transaction()
        with pytest.raises(ipcdatastore.ConflictError), transaction as t:
            del t["c"]
            other["c"] = 3
        assert store == {"c": 3}

    def test_is_over(self, store):
        with store.transaction() as t:
            t["a"] = 1
        for use in (lambda: t["a"], lambda: t.__setitem__("a", 2), lambda: t.__delitem__("a"), lambda: "a" in t):
            with pytest.raises(ipcdatastore.ArgumentError):
                use()
        assert store == {"a": 1}

    def test_commit_and_rollback_by_hand(self, store):
        transaction = store.transaction()
        transaction["a"] = 1
        transaction.commit()
        assert store == {"a": 1}
        with store.transaction() as t:
            t["a"] = 2
            t.rollback()
        with store.transaction() as t:
            t["b"] = 2
            t.commit()
        assert store == {"a": 1, "b": 2}

    def test_unpicklable_in_a_transaction(self, store):
        transaction = store.transaction()
        with pytest.raises(ipcdatastore.EncodeError), transaction as t:
            t["a"] = 1
            t["b"] = Unpicklable()
        assert store == {}

    def test_transact(self, store):
        store["a"] = 10
        assert store.transact(Move(3)) == 3
        assert store.transact(Move(4)) == 7
        with pytest.raises(KeyError):
            store.transact(operator_missing)
        assert store == {"a": 3, "b": 7}

    def test_large_transaction(self, store, other):
        store.update(dict.fromkeys(range(0, 300, 2), "old"))
        with store.transaction() as t:
            for number in range(300):
                if number % 3:
                    t[number] = "new" * number
                elif number in t:
                    del t[number]
        assert other == {number: "new" * number for number in range(300) if number % 3}


class Move:
    """Takes some of "a" to "b"."""

    def __init__(self, amount):
        self.amount = amount

    def __call__(self, transaction):
        return move(transaction, self.amount)


def operator_missing(transaction):
    transaction["a"] = 0
    return transaction["missing"]


# --- the whole store -----------------------------------------------------------------------------------------
def use_transaction(store):
    with store.transaction() as t:
        t["a"] = 1


def double_a(transaction):
    transaction["a"] *= 2


# Every method that has to refuse a closed handle: (name, call).
CLOSED_USES = [
    ("get", lambda store: store.get("a")),
    ("get of another type", lambda store: store.get(1)),
    ("get missing", lambda store: store.get("missing", 1)),
    ("[]", lambda store: store["a"]),
    ("peek", lambda store: store.peek("a")),
    ("in", lambda store: "a" in store),
    ("get_entry", lambda store: store.get_entry("a")),
    ("get_many", lambda store: store.get_many(["a"])),
    ("get_many of none", lambda store: store.get_many([])),
    ("iter", list),
    ("keys", lambda store: list(store.keys())),
    ("values", lambda store: list(store.values())),
    ("items", lambda store: list(store.items())),
    ("entries", lambda store: list(store.entries())),
    ("len", len),
    ("==", lambda store: store == {}),
    ("[] =", lambda store: store.__setitem__("a", 1)),
    ("set", lambda store: store.set("a", 1)),
    ("add", lambda store: store.add("a", 1)),
    ("setdefault", lambda store: store.setdefault("a", 1)),
    ("touch", lambda store: store.touch("a")),
    ("compare_and_set", lambda store: store.compare_and_set("a", 1, 0)),
    ("increment", lambda store: store.increment("n")),
    ("modify", lambda store: store.modify("n", double, 1)),
    ("set_many", lambda store: store.set_many({"a": 1})),
    ("update", lambda store: store.update(a=1)),
    ("del", lambda store: store.__delitem__("a")),
    ("delete", lambda store: store.delete("a")),
    ("pop", lambda store: store.pop("a")),
    ("popitem", lambda store: store.popitem()),
    ("clear", lambda store: store.clear()),
    ("transaction", use_transaction),
    ("transact", lambda store: store.transact(double_a)),
    ("namespace", lambda store: store.namespace("n").get("a")),
    ("stats", lambda store: store.stats()),
    ("check", lambda store: store.check()),
    ("repair", lambda store: store.repair()),
]


class WholeContract:
    def test_check_and_repair(self, store):
        expected = {f"key {number}": "x" * number * 10 for number in range(100)}
        store.update(expected)
        for number in range(0, 100, 3):
            del store[f"key {number}"]
            del expected[f"key {number}"]
        assert store.check() == []
        assert store.repair() == []
        assert store.check() == []
        assert store == expected
        store.update(expected)
        store["after"] = expected["after"] = b"x" * 3000
        assert store == expected

    def test_versions_only_grow(self, store):
        versions = [store.set("a", 1)]

        def note():
            versions.append(store.stats()["version"])
            versions.append(store.set("a", len(versions)))
            assert store.get_entry("a").version == versions[-1]

        note()
        del store["a"]
        note()
        store.pop("a")
        note()
        store.clear()
        note()
        store.repair()
        note()
        store.set_many({"a": 1, "b": 2})
        note()
        with store.transaction() as t:
            del t["a"]
        note()
        store.clear()
        store.clear()
        note()
        assert versions == sorted(versions)
        assert len(set(versions[0::2])) == len(versions[0::2])  # each set has a version of its own

    def test_stats(self, store):
        store.update(a=1, b="x" * 10000)
        store.get("a")
        stats = store.stats()
        assert stats["records"] >= 2
        assert stats["file_bytes"] >= stats["heap_bytes"] > 10000
        assert stats["max_size"] == 1 << 30
        assert stats["evict"] == "none"
        assert stats["name"] == "demo"
        assert os.path.exists(stats["path"])
        assert stats["damaged"] is False

    def test_clear_is_one_moment(self, store):
        store.update({number: "x" * number for number in range(100)})
        store.clear()
        store.clear()
        assert store == {}
        assert len(store) == 0
        store.update({number: "y" * number for number in range(100)})
        assert store == {number: "y" * number for number in range(100)}

    def test_namespaces(self, store):
        one, two = store.namespace("one"), store.namespace("two")
        deep = one.namespace("two")
        store["a"], one["a"], two["a"], deep["a"] = 1, 2, 3, 4
        assert (store["a"], one["a"], two["a"], deep["a"]) == (1, 2, 3, 4)
        assert one == {"a": 2}
        assert two == {"a": 3}
        assert deep == {"a": 4}
        two.clear()
        assert two == {}
        assert one.pop("a") == 2
        assert deep == {"a": 4}
        assert store["a"] == 1
        with one.transaction() as t:
            t["b"] = 5
        assert one == {"b": 5}
        assert store["a"] == 1

    @pytest.mark.parametrize("prefix", ["", None, 1, b"a", ("a",), Text("a")])
    def test_bad_namespaces(self, store, prefix):
        with pytest.raises(ipcdatastore.InvalidNameError) as caught:
            store.namespace(prefix)
        assert caught.value.name == prefix

    def test_closed(self, store):
        store.update({"a": 1, 1: 2})
        inner = store.namespace("inner")
        inner["a"] = 3
        for _ in range(2):  # the second time from the cache
            assert (store.get("a"), store.get(1), inner.get("a")) == (1, 2, 3)
        store.close()
        store.close()
        wrong = []
        for closed in (store, inner):
            for name, use in CLOSED_USES:
                error = what_raises(use, closed)
                if not isinstance(error, ipcdatastore.ClosedError):
                    wrong.append((name, error))
        assert wrong == []

    def test_closed_with_nothing_to_do(self, store):
        store.close()
        for use in (lambda: store.set_many({}), store.update, lambda: store.transact(len)):
            with pytest.raises(ipcdatastore.ClosedError):
                use()


class StoreContract(
    MappingContract, KeyContract, ValueContract, OperationContract, ExpiryContract, TransactionContract, WholeContract
):
    """A whole store. A flavour says how to get one (`store`), and `other`, a view of the same keys."""

    @pytest.fixture
    def opener(self, directory):
        opener = Opener(directory)
        yield opener
        opener.finish()

    @pytest.fixture
    def store(self, opener):
        return self.view(opener(**self.options))

    @pytest.fixture
    def other(self, opener, store):
        return self.view(opener())

    @pytest.fixture
    def clock(self, monkeypatch, opener, store):
        return Clock(monkeypatch, opener.peers)

    options = {}  # noqa: RUF012

    def view(self, handle):
        """What of a handle is the subject."""
        return handle
