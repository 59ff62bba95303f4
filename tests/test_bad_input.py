"""What bad input gets: one clear error from the library's own tree, with the value and a hint, and nothing lost."""

import contextlib
import copy
import os
import pickle
import re
import shutil
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path
from zlib import crc32

import pytest

import ipcdatastore
import remote
from contract import Opener, contents
from ipcdatastore import errors, layout, platform
from waiters import held_by_a_thread

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make files of other users, or mount"
)
posix = pytest.mark.skipif(os.name != "posix", reason="this system has neither owners nor modes")
NOBODY = 65534
HINT = re.compile(
    r"\b(open|use|choose|delete|upgrade|chmod|store plain|make|close|repair|run|free|begin|say|set|try|wait)\b", re.I
)


def is_clear(error, kind, *parts, **fields):
    """`error` is of our tree, says all `parts` and what to do, has the `fields`, and travels."""
    assert type(error) is kind
    assert isinstance(error, ipcdatastore.DatastoreError)
    text = str(error)
    for part in parts:
        assert str(part) in text
    assert HINT.search(text), f"no hint of what to do: {text}"
    assert len(text) < 1500
    for name, value in fields.items():
        assert getattr(error, name) == value
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again)) == (kind, text)
        for name, value in fields.items():
            assert getattr(again, name) == value
    return True


@pytest.fixture
def opener(directory):
    opener = Opener(directory)
    yield opener
    opener.finish()


@pytest.fixture
def store(opener):
    store = opener()
    store.update({"a": 1, 2: "b"})
    yield store
    if not store._engine.closed:
        assert contents(store) == {("'a'", "1"), ("2", "'b'")}, "something was lost"


@pytest.fixture
def path(store):
    """The file of a region that holds something, closed. Whatever a test does to it, it is whole again at the end."""
    path = Path(store.stats()["path"])
    store.close()
    image = path.read_bytes()
    yield path
    path.parent.chmod(0o700)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif os.path.lexists(str(path)):
        path.unlink()
    path.write_bytes(image)
    path.chmod(0o600)


def open_it(path, mode="c", **options):
    return ipcdatastore.open("demo", directory=str(path.parent), mode=mode, **options)


# --- the tree ------------------------------------------------------------------------------------------
class TestTree:
    KINDS = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]  # noqa: RUF012

    @pytest.mark.parametrize("kind", KINDS)
    def test_is_public_and_travels(self, kind):
        assert getattr(ipcdatastore, kind.__name__) is kind
        error = kind("what and why", **dict.fromkeys(getattr(kind, "__annotations__", {}), "field"))
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(again) is kind
            assert str(again) == "what and why"
            assert again.__dict__ == error.__dict__
        assert issubclass(kind, ipcdatastore.DatastoreError)

    def test_is_the_tree_of_the_docstring(self):
        found = re.findall(r"\+-- (\w+)(?: +\((\w+)\))?", errors.__doc__)
        drawn = {name: base or None for name, base in found}
        for kind in self.KINDS[:]:
            if kind is ipcdatastore.DatastoreError:
                continue
            bases = [base.__name__ for base in kind.__mro__ if base.__module__ == "builtins"]
            assert kind.__name__ in drawn
            assert drawn[kind.__name__] in (None, *bases)


# --- keys and values -----------------------------------------------------------------------------------
class Local:
    """Cannot be found where its name says."""

    __qualname__ = "Nowhere.Local"


def name_of_type(value):
    return type(value).__name__


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [lambda: None, (n for n in ()), open, Local(), {"deep": [Local()]}, type("T", (), {})()],
        ids=["lambda", "generator", "builtin is fine", "nowhere", "deep", "made up"],
    )
    def test_unpicklable(self, store, value):
        if value is open:
            store["a"] = open
            assert store["a"] is open
            store["a"] = 1
            return
        with pytest.raises(ipcdatastore.EncodeError) as caught:
            store["a"] = value
        assert is_clear(caught.value, ipcdatastore.EncodeError, "'a'", type(value).__qualname__, "pickle", key="a")
        assert isinstance(caught.value, TypeError)
        assert caught.value.__cause__ is not None

    def test_too_deep(self, store):
        value = []
        for _ in range(100_000):
            value = [value]
        with pytest.raises(ipcdatastore.EncodeError) as caught:
            store["a"] = value
        assert is_clear(caught.value, ipcdatastore.EncodeError, "'a'", "list", key="a")
        while value:
            value = value.pop()

    def test_an_error_of_the_value_itself(self, store):
        with pytest.raises(ipcdatastore.EncodeError) as caught:
            store["a"] = remote.Unpicklable()
        assert isinstance(caught.value.__cause__, RuntimeError)

    @pytest.mark.parametrize(
        "value", [{1, 2}, b"x", object(), {("t",): 1}, [b"x"]], ids=lambda value: type(value).__name__
    )
    def test_no_json(self, opener, value):
        store = opener("other", serializer="json")
        if type(value) is bytes:
            store["a"] = value
            return
        with pytest.raises(ipcdatastore.EncodeError) as caught:
            store["a"] = value
        assert is_clear(caught.value, ipcdatastore.EncodeError, "'a'", "json", type(value).__name__, key="a")
        assert store == {}

    @pytest.mark.parametrize("value", [[], {}, (), object(), 1j], ids=name_of_type)
    def test_not_raw(self, opener, value):
        store = opener("other", serializer="raw")
        with pytest.raises(ipcdatastore.EncodeError) as caught:
            store["a"] = value
        assert is_clear(caught.value, ipcdatastore.EncodeError, "'a'", "raw", type(value).__name__, key="a")
        assert store == {}

    def test_larger_than_any_record(self, store, monkeypatch):
        """4 GiB of zeros cost nothing until somebody touches them."""
        value = bytes(1 << 32) if sys.maxsize > 1 << 32 else None
        if value is None:
            pytest.skip("no such value fits into this machine's address space")
        monkeypatch.setattr(platform, "reserve", lambda *arguments: pytest.fail("it was about to grow the file"))
        for write in (
            lambda: store.__setitem__("a", value),
            lambda: store.set_many({"a": value}),
            lambda: store.transact(lambda t: t.update(a=value)),
        ):
            with pytest.raises(ipcdatastore.TooLargeError) as caught:
                write()
            assert caught.value.size >= 1 << 32
            assert caught.value.limit < 1 << 32
            assert is_clear(caught.value, ipcdatastore.TooLargeError)

    def test_larger_than_any_record_in_the_largest_region(self, opener, monkeypatch):
        if sys.maxsize < 1 << 32:
            pytest.skip("no such value fits into this machine's address space")
        store = opener("other", max_size=layout.MAX_REGION)
        monkeypatch.setattr(platform, "reserve", lambda *arguments: pytest.fail("it was about to grow the file"))
        for size in (1 << 32, (1 << 32) - 1):
            with pytest.raises(ipcdatastore.TooLargeError):
                store["a"] = bytes(size)
        assert store == {}

    def test_larger_than_the_region_may_become(self, opener):
        store = opener("other", max_size=1 << 20)
        store["a"] = 1
        for write in (
            lambda: store.__setitem__("a", bytes(2 << 20)),
            lambda: store.set_many({"a": bytes(2 << 20)}),
        ):
            with pytest.raises((ipcdatastore.TooLargeError, ipcdatastore.StoreFullError)) as caught:
                write()
            assert is_clear(caught.value, type(caught.value), "max_size")
        assert store == {"a": 1}


class TestKeys:
    @pytest.mark.parametrize(
        "key",
        [True, 1.5, None, frozenset(), ["a"], ("a", None), bytearray(b"a"), b"x".join, object()],
        ids=name_of_type,
    )
    def test_type(self, store, key):
        for use in (lambda: store.get(key), lambda: store.set(key, 1), lambda: store.delete(key)):
            with pytest.raises(ipcdatastore.KeyTypeError) as caught:
                use()
            assert caught.value.key is key
            assert type(key).__name__ in str(caught.value) or type(key) is tuple
            assert "str, bytes, int or a tuple" in str(caught.value)
            assert isinstance(caught.value, TypeError)

    def test_type_travels(self, store):
        with pytest.raises(ipcdatastore.KeyTypeError) as caught:
            store[1.5] = 1
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.key, str(again)) == (1.5, str(caught.value))

    def test_type_in_a_namespace(self, store):
        """The key that the caller gave, not the one that the store makes of it."""
        with pytest.raises(ipcdatastore.KeyTypeError) as caught:
            store.namespace("n")[1.5]
        assert "1.5" in str(caught.value)
        assert caught.value.key == 1.5

    def test_a_key_whose_repr_raises(self, store):
        class Nasty:
            def __repr__(self):
                raise ValueError

        with pytest.raises(ipcdatastore.KeyTypeError):
            store[Nasty()] = 1

    @pytest.mark.parametrize(
        "key",
        ["x" * 65535, "é" * 32768, b"x" * 65535, 1 << 262140, ("x" * 40000, "x" * 40000), ("x" * 65530,)],
        ids=["str", "two-byte str", "bytes", "int", "tuple", "longest tuple"],
    )
    def test_too_long(self, store, key):
        for use in (lambda: store.get(key), lambda: store.set(key, 1), lambda: key in store):
            with pytest.raises(ipcdatastore.TooLargeError) as caught:
                use()
            assert is_clear(caught.value, ipcdatastore.TooLargeError, "65,535", "digest", limit=65535)
            assert caught.value.size > 65535
            assert isinstance(caught.value, ValueError)

    def test_the_longest(self, store):
        for key in ("x" * 65534, b"x" * 65534, (1 << 262136) - 1, ("x" * 65529,)):
            store[key] = "long"
            assert store[key] == "long"
            assert key in set(store)
            del store[key]

    def test_nested_too_deep(self, store):
        key = ()
        for _ in range(50):
            key = (key,)
        with pytest.raises(ipcdatastore.TooLargeError) as caught:
            store[key] = 1
        assert is_clear(caught.value, ipcdatastore.TooLargeError)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="ints of any length have a repr there")
    def test_an_int_without_a_repr(self, opener):
        store = opener()
        key = 10**6000
        store[key] = "text"
        with pytest.raises(ipcdatastore.ArgumentError):
            store.increment(key)
        with pytest.raises(ipcdatastore.ConflictError), store.transaction() as t:  # noqa: PT012
            assert t[key] == "text"
            store[key] = "changed"
        del store[key]


# --- a class that is not there -------------------------------------------------------------------------
ABSENT = """
import ipcdatastore, sys
sys.path.insert(0, {place!r})
import only_there
store = ipcdatastore.open("demo", directory={directory!r})
store["one"] = only_there.Here()
store["deep"] = {{"list": [1, only_there.Outer.Inner()]}}
store["mixed"] = [ValueError("x"), only_there.Here("some", "text"), only_there.Outer()]
store["after"] = [1, "Here", "only_there"]
"""
MODULE = """
class Here:
    def __init__(self, *arguments):
        self.arguments = arguments

class Outer:
    class Inner:
        pass
"""


class TestUnknownClass:
    @pytest.fixture
    def place(self, tmp_path):
        (tmp_path / "only_there.py").write_text(MODULE, encoding="utf-8")
        return tmp_path

    @pytest.fixture
    def strange(self, opener, place):
        program = ABSENT.format(place=str(place), directory=opener.directory)
        subprocess.run([sys.executable, "-c", program], check=True)
        return opener()

    @pytest.mark.parametrize(("key", "name"), [("one", "Here"), ("deep", "Outer.Inner"), ("mixed", "Here")])
    def test_says_which(self, strange, key, name):
        for read in (
            lambda: strange[key],
            lambda: strange.get(key),
            lambda: strange.peek(key),
            lambda: strange.get_entry(key),
            lambda: strange.get_many([key]),
            lambda: strange.pop(key),
            lambda: list(strange.values()),
            lambda: strange.modify(key, lambda value: value),
            lambda: strange.transact(lambda t: t[key]),
        ):
            with pytest.raises(ipcdatastore.DecodeError) as caught:
                read()
            if caught.value.key == key:
                parts = (repr(key), f"only_there.{name}")
                assert is_clear(caught.value, ipcdatastore.DecodeError, *parts, key=key, module="only_there", name=name)
            assert isinstance(caught.value, ValueError)
            assert isinstance(caught.value.__cause__, (ImportError, AttributeError))
        assert key in strange
        assert set(strange) == {"one", "deep", "mixed", "after"}
        assert strange["after"] == [1, "Here", "only_there"]
        assert strange.delete(key)

    def test_only_some_classes_of_a_module_are_missing(self, strange, place, monkeypatch):
        (place / "only_there.py").write_text(MODULE.replace("Outer", "Renamed"), encoding="utf-8")
        monkeypatch.syspath_prepend(str(place))
        try:
            assert strange["one"].arguments == ()
            with pytest.raises(ipcdatastore.DecodeError) as caught:
                strange["mixed"]
            assert (caught.value.module, caught.value.name) == ("only_there", "Outer")
        finally:
            sys.modules.pop("only_there", None)

    def test_becomes_readable(self, strange, place, monkeypatch):
        with pytest.raises(ipcdatastore.DecodeError):
            strange["one"]
        monkeypatch.syspath_prepend(str(place))
        try:
            assert type(strange["one"]).__name__ == "Here"
            assert strange["deep"]["list"][0] == 1
        finally:
            sys.modules.pop("only_there", None)

    def test_a_value_that_cannot_be_made_anew(self, store):
        store["a"] = Unreadable()
        with pytest.raises(ipcdatastore.DecodeError) as caught:
            store["a"]
        assert (caught.value.key, caught.value.module) == ("a", None)
        assert "'a'" in str(caught.value)
        store["a"] = 1


class Unreadable:
    def __reduce__(self):
        return int, ("no number",)


# --- names and options ---------------------------------------------------------------------------------
class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "a/b",
            "../a",
            "/a",
            "a\\b",
            "a:b",
            "a*",
            "a?",
            "a\0",
            "a\n",
            "",
            ".",
            "..",
            ".a",
            " a",
            "a ",
            "é" * 60,
            "x" * 101,
            *["\udcff", None, 1, b"a", ("a",), Path("a")],
        ],
        ids=ascii,
    )
    @pytest.mark.parametrize("mode", ["c", "n", "w", "r"])
    def test_bad(self, directory, name, mode):
        with pytest.raises(ipcdatastore.InvalidNameError) as caught:
            ipcdatastore.open(name, directory=str(directory), mode=mode)
        assert caught.value.name == name
        assert repr(name) in str(caught.value)
        assert isinstance(caught.value, ValueError)
        assert list(directory.iterdir()) == []

    @pytest.mark.parametrize("name", ["a", "a.b", "A-b_c d", "ключ", "x" * 100, "a..b", "con"])
    def test_good(self, opener, name):
        opener(name)["a"] = 1
        assert opener(name, mode="r")["a"] == 1


class TestOptions:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("mode", "x"),
            ("mode", ""),
            ("mode", None),
            ("mode", 1),
            ("mode", []),
            ("serializer", "yaml"),
            ("serializer", b"raw"),
            ("evict", "fifo"),
            ("evict", True),
            ("max_size", 0),
            ("max_size", -1),
            ("max_size", 65535),
            ("max_size", layout.MAX_REGION + 1),
            ("max_size", 1e9),
            ("max_size", "1G"),
            ("max_size", True),
            ("timeout", -1),
            ("timeout", None),
            ("timeout", "1"),
            ("timeout", float("nan")),
            ("timeout", float("inf")),
            ("cache_entries", -1),
            ("cache_entries", "many"),
            ("cache_entries", None),
            ("cache_bytes", -1),
            ("cache_bytes", 1.5),
            ("directory", 5),
        ],
        ids=str,
    )
    def test_bad(self, directory, name, value):
        options = {"directory": str(directory), name: value}
        with pytest.raises(ipcdatastore.ArgumentError) as caught:
            ipcdatastore.open("demo", **options)
        assert (caught.value.name, caught.value.value) == (name, value) or value != value  # noqa: PLR0124 - NaN
        assert name in str(caught.value)
        assert repr(value) in str(caught.value)
        assert list(directory.iterdir()) == []

    @pytest.mark.parametrize("mode", ["r", "w"])
    def test_missing_region(self, directory, mode):
        for place in (directory, directory / "missing"):
            with pytest.raises(ipcdatastore.RegionNotFoundError) as caught:
                ipcdatastore.open("demo", directory=str(place), mode=mode)
            assert isinstance(caught.value, FileNotFoundError)
            assert str(place) in str(caught.value)
            assert str(place) in caught.value.path
        assert is_clear(caught.value, ipcdatastore.RegionNotFoundError)
        assert list(directory.iterdir()) == []

    @pytest.mark.parametrize("mode", ["r", "w", "c", "n"])
    def test_another_serializer(self, store, path, mode):
        with pytest.raises(ipcdatastore.FormatError) as caught:
            open_it(path, mode, serializer="json")
        assert is_clear(caught.value, ipcdatastore.FormatError, "'json'", "'pickle'", path, path=str(path))
        assert open_it(path)["a"] == 1

    def test_new_empties(self, opener):
        opener().update(a=1, b=2)
        assert opener(mode="n") == {}


# --- regions -------------------------------------------------------------------------------------------
def patch_header(path, **fields):
    """Change fields of the static header, with a right checksum."""
    names = ["magic", "write", "read", "order", "serializer", "clock", "seed", "region_id", "boot", "created"]
    image = bytearray(path.read_bytes())
    values = dict(zip(names, layout.STATIC.unpack_from(image)))
    assert set(fields) <= set(values)
    values.update(fields)
    static = layout.STATIC.pack(*values.values())
    image[: len(static)] = static
    layout.STATIC_CRC.pack_into(image, layout.STATIC.size, crc32(static))
    path.write_bytes(image)


class TestFormat:
    @pytest.mark.parametrize("mode", ["r", "w", "c", "n"])
    @pytest.mark.parametrize(
        ("fields", "parts"),
        [
            ({"magic": b"SQLite f"}, ["SQLite f"]),
            ({"magic": bytes(8)}, []),
            ({"read": 2, "write": 2}, ["format 2", "upgrade"]),
            ({"read": 0xFFFFFFFF, "write": 0xFFFFFFFF}, ["upgrade"]),
            ({"order": 0x04030201}, ["byte order"]),
            ({"serializer": 77}, ["77"]),
            ({"clock": 99}, ["99"]),
        ],
        ids=str,
    )
    def test_another(self, path, mode, fields, parts):
        patch_header(path, **fields)
        image = path.read_bytes()
        with pytest.raises(ipcdatastore.FormatError) as caught:
            open_it(path, mode)
        assert is_clear(caught.value, ipcdatastore.FormatError, path, *parts, path=str(path))
        assert path.read_bytes() == image

    @pytest.mark.parametrize("mode", ["w", "c", "n"])
    def test_newer_write_version(self, path, mode):
        patch_header(path, write=2)
        with pytest.raises(ipcdatastore.FormatError) as caught:
            open_it(path, mode)
        assert is_clear(caught.value, ipcdatastore.FormatError, path, "format 2", 'mode="r"', "upgrade", path=str(path))
        with open_it(path, "r") as store:
            assert store["a"] == 1
            with pytest.raises(ipcdatastore.ReadOnlyError):
                store["a"] = 2

    def test_wrong_checksum(self, path):
        image = bytearray(path.read_bytes())
        image[40] ^= 1
        path.write_bytes(image)
        with pytest.raises(ipcdatastore.RegionDamagedError) as caught:
            open_it(path)
        assert is_clear(caught.value, ipcdatastore.RegionDamagedError, path, path=str(path))
        assert caught.value.problems

    def test_of_an_earlier_boot(self, path):
        if not any(platform.boot_id()):
            pytest.skip("this system does not tell one boot from the next")
        patch_header(path, boot=b"another boot id.")
        for mode in ("r", "w"):
            with pytest.raises(ipcdatastore.RegionNotFoundError):
                open_it(path, mode)
        with open_it(path) as fresh:
            assert fresh == {}
            fresh["a"] = 1
        with open_it(path, "r") as fresh:
            assert fresh == {"a": 1}


class TestDamaged:
    def test_truncated(self, path):
        image = path.read_bytes()
        wrong = []
        for length in [*range(0, 5000, 97), 95, 96, 4095, 4096, 4097, len(image) // 2, len(image) - 1]:
            for mode in ("r", "w", "c", "n"):
                path.write_bytes(image[:length])
                with pytest.raises((ipcdatastore.FormatError, ipcdatastore.RegionDamagedError)) as caught:
                    open_it(path, mode)
                assert caught.value.path == str(path)
                assert str(path) in str(caught.value)
                if not HINT.search(str(caught.value)):
                    wrong.append(str(caught.value))
                assert path.stat().st_size == length
        path.write_bytes(image)
        assert open_it(path)["a"] == 1
        assert wrong == [], "no hint of what to do"

    def test_longer_than_it_says(self, path):
        """As a writer leaves it that died while growing."""
        with path.open("ab") as file:
            file.write(b"\xff" * 100_000)
        with open_it(path) as store:
            assert store["a"] == 1
            store["big"] = b"x" * 300_000
            assert store.pop("big") == b"x" * 300_000
            assert store.check() == []

    @pytest.mark.parametrize("start", [0, 96, 256, 4096, "records"])
    def test_zeroed(self, path, start):
        image = path.read_bytes()
        if start == "records":
            start = struct.unpack_from("=I", image, 4 * layout.TOP)[0] * layout.UNIT - 100
        path.write_bytes(image[:start].ljust(len(image), b"\0"))
        for mode in ("r", "w", "c"):
            with contextlib.suppress(ipcdatastore.FormatError, ipcdatastore.RegionDamagedError):
                store = open_it(path, mode)
                with store:
                    check = store.check()
                    assert check != []
                    for key in ("a", 2):
                        with contextlib.suppress(ipcdatastore.RegionDamagedError):
                            assert store.get(key) is None

    @pytest.mark.parametrize("part", range(4))
    def test_anything_anywhere(self, directory, part):
        """Bits, words and blocks at random: no crash, no hang, no value that was never written; `check` notices."""
        count = 110
        command = [sys.executable, str(Path(__file__).with_name("corruption.py")), str(directory)]
        process = subprocess.Popen(
            [*command, str(part * count), str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            printed, errors = process.communicate(timeout=200)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, errors = process.communicate()
            pytest.fail(f"it hangs: {printed.splitlines()[-1:]}")
        lines = printed.splitlines()
        assert process.returncode == 0, (lines[-1:], errors[-1000:])
        results = lines[1::2]
        assert len(results) == count
        assert [line for line in results if not line.endswith(" fine")] == []

    def test_state_word(self, path):
        """Closed to writers, readable, and mended by `repair`."""
        image = bytearray(path.read_bytes())
        struct.pack_into("=I", image, 4 * layout.STATE, layout.STATE_DAMAGED)
        struct.pack_into("=I", image, 4 * layout.DIRTY, 1 << 20)  # a recovery that failed never came to clear it
        path.write_bytes(image)
        with open_it(path) as store:
            assert store["a"] == 1
            assert store.stats()["damaged"] is True
            with pytest.raises(ipcdatastore.RegionDamagedError) as caught:
                store["b"] = 2
            assert is_clear(caught.value, ipcdatastore.RegionDamagedError, path, "repair", path=str(path))
            assert store.repair() == []
            store["b"] = 2
            assert store == {"a": 1, 2: "b", "b": 2}

    @pytest.mark.parametrize("entry", ["empty", "taken", "tombstones"])
    def test_a_table_without_an_end(self, directory, entry):
        """A probe must not go around for ever, neither a reader's nor a writer's."""
        program = f"""
import ipcdatastore
from ipcdatastore import layout
store = ipcdatastore.open("demo", directory={str(directory)!r}, timeout=1)
store.update({{number: number for number in range(300)}})
words = store._engine.region.words
for partition in range(layout.PARTITIONS):
    base = 4 * words[layout.DESCRIPTORS + partition] + layout.BLOCK_HEADER_WORDS
    size = words[base - 1] + 1
    slots = [entry for entry in words[base : base + size].tolist() if entry] or [words[layout.SLOT_TOP] - 8]
    for i in range(size):
        if {entry!r} == "taken":
            words[base + i] = slots[i % len(slots)]
        elif {entry!r} == "tombstones":
            words[base + i] = layout.TOMBSTONE
        else:
            words[base - 1] = 0
store.clear_cache()
assert store.check() != []
for use in (
    lambda key: store.get(key),
    lambda key: store.get_many([key]),
    lambda key: store.set(key, 1),
    lambda key: store.delete(key),
    lambda key: store.set_many({{key: 2}}),
):
    for key in (5, "new"):
        try:
            use(key)
        except ipcdatastore.DatastoreError:
            pass
store.repair()
assert store.check() == []
"""
        subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


# --- whose it is ---------------------------------------------------------------------------------------
@posix
class TestTrust:
    @pytest.mark.parametrize("mode", ["r", "w", "c", "n"])
    @pytest.mark.parametrize("bits", [0o620, 0o602, 0o666, 0o777])
    def test_others_can_write(self, path, mode, bits):
        path.chmod(bits)
        with pytest.raises(ipcdatastore.UntrustedRegionError) as caught:
            open_it(path, mode)
        assert is_clear(caught.value, ipcdatastore.UntrustedRegionError, path, f"{bits:04o}", path=str(path))
        assert isinstance(caught.value, PermissionError)
        path.chmod(0o600)
        assert open_it(path)["a"] == 1

    def test_others_can_read(self, path):
        path.chmod(0o644)
        assert open_it(path)["a"] == 1

    @needs_root
    @pytest.mark.parametrize("mode", ["r", "w", "c", "n"])
    def test_of_another_user(self, path, mode):
        os.chown(str(path), NOBODY, -1)
        with pytest.raises(ipcdatastore.UntrustedRegionError) as caught:
            open_it(path, mode)
        assert is_clear(caught.value, ipcdatastore.UntrustedRegionError, path, NOBODY, path=str(path))
        os.chown(str(path), 0, -1)
        assert open_it(path)["a"] == 1

    @needs_root
    @needs_fork
    @pytest.mark.parametrize("bits", [0o600, 0o644])
    @pytest.mark.parametrize("mode", ["r", "w", "c", "n"])
    def test_for_another_user(self, path, mode, bits):
        path.chmod(bits)
        path.parent.chmod(0o755)
        with user() as other:
            with pytest.raises((ipcdatastore.UntrustedRegionError, ipcdatastore.PlaceError)) as caught:
                other.open("demo", directory=str(path.parent), mode=mode)
            assert is_clear(caught.value, type(caught.value), path.parent)
        if bits == 0o644 and mode == "r":
            assert type(caught.value) is ipcdatastore.UntrustedRegionError

    @pytest.mark.parametrize("mode", ["r", "w", "c", "n"])
    @pytest.mark.parametrize("where", ["to a region", "to nothing", "to itself", "to a directory"])
    def test_symlink(self, path, mode, where):
        real = path.with_name("real")
        path.rename(real)
        target = {"to a region": real, "to nothing": "nothing", "to itself": path, "to a directory": path.parent}
        path.symlink_to(target[where])
        with pytest.raises(ipcdatastore.UntrustedRegionError) as caught:
            open_it(path, mode)
        assert is_clear(caught.value, ipcdatastore.UntrustedRegionError, path, "symbolic link", path=str(path))
        path.unlink()
        real.rename(path)
        assert open_it(path)["a"] == 1

    @pytest.mark.parametrize("what", ["directory", "fifo", "socket"])
    def test_no_file(self, path, what):
        path.unlink()
        if what == "directory":
            path.mkdir()
        elif what == "fifo":
            os.mkfifo(str(path))
        else:
            import socket

            server = socket.socket(socket.AF_UNIX)
            server.bind(str(path))
            server.close()
        for mode in ("r", "w", "c", "n"):
            with pytest.raises(ipcdatastore.DatastoreError) as caught:
                open_it(path, mode)
            assert str(path) in str(caught.value)

    @pytest.mark.parametrize("mode", ["r", "w", "c", "n"])
    @pytest.mark.parametrize("bits", [0o720, 0o702, 0o777])
    def test_directory_that_others_can_write(self, path, mode, bits):
        path.parent.chmod(bits)
        with pytest.raises(ipcdatastore.UntrustedRegionError) as caught:
            open_it(path, mode)
        assert is_clear(caught.value, ipcdatastore.UntrustedRegionError, path.parent, f"{bits:04o}", "chmod")
        path.parent.chmod(0o1777)  # as /tmp is
        with open_it(path) as store:
            assert store["a"] == 1
        path.parent.chmod(0o700)

    @needs_root
    def test_directory_of_another_user(self, path):
        os.chown(str(path.parent), NOBODY, -1)
        for mode in ("r", "w", "c", "n"):
            with pytest.raises(ipcdatastore.UntrustedRegionError) as caught:
                open_it(path, mode)
            assert is_clear(caught.value, ipcdatastore.UntrustedRegionError, path.parent, NOBODY)
        os.chown(str(path.parent), 0, -1)

    def test_a_new_region_is_private(self, directory):
        place = directory / "new" / "deeper"
        before = os.umask(0)
        try:
            with ipcdatastore.open("demo", directory=str(place)) as store:
                store["a"] = 1
        finally:
            os.umask(before)
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE((place / "demo.region").stat().st_mode) == 0o600
        with ipcdatastore.open("demo", directory=str(place)) as store:
            assert store.check() == []


@contextlib.contextmanager
def user(uid=NOBODY):
    """A child process of another user."""
    import filelock

    assert filelock.FileLock  # that user may not be able to import it later
    peer = remote.fork()[0]
    try:
        peer.root.become(uid)
        yield peer.root
    finally:
        peer.end()


# --- where it goes -------------------------------------------------------------------------------------
@posix
class TestPlace:
    @needs_root
    @needs_fork
    @pytest.mark.parametrize("mode", ["c", "n"])
    def test_unwritable(self, directory, mode):
        directory.chmod(0o755)
        with user() as other:
            for place in (directory, directory / "below"):
                with pytest.raises(ipcdatastore.PlaceError) as caught:
                    other.open("demo", directory=str(place), mode=mode)
                assert is_clear(caught.value, ipcdatastore.PlaceError, place, "ermission denied", path=str(place))
                assert isinstance(caught.value, OSError)
        assert list(directory.iterdir()) == []

    @needs_root
    @needs_fork
    def test_unreadable(self, directory):
        directory.chmod(0o700)
        with user() as other:
            for mode in ("r", "c"):
                with pytest.raises((ipcdatastore.PlaceError, ipcdatastore.UntrustedRegionError)) as caught:
                    other.open("demo", directory=str(directory / "below"), mode=mode)
                assert str(directory) in str(caught.value)

    @pytest.mark.parametrize("mode", ["r", "w", "c", "n"])
    def test_a_file(self, directory, mode):
        place = directory / "file"
        place.write_text("x")
        for wrong in (place, place / "below"):
            with pytest.raises((ipcdatastore.PlaceError, ipcdatastore.RegionNotFoundError)) as caught:
                ipcdatastore.open("demo", directory=str(wrong), mode=mode)
            assert str(place) in str(caught.value)
        assert place.read_text() == "x"

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
    def test_proc(self):
        with pytest.raises(ipcdatastore.PlaceError) as caught:
            ipcdatastore.open("demo", directory="/proc/self/nothing")
        assert is_clear(caught.value, ipcdatastore.PlaceError, "/proc/self/nothing")

    def test_removed_while_in_use(self, opener):
        store = opener()
        store["a"] = 0
        path = Path(store.stats()["path"])
        path.unlink()
        with ipcdatastore.open("demo", directory=opener.directory) as new:
            new["a"] = 1
            errors = []
            until = time.monotonic() + 20
            while not errors and time.monotonic() < until:  # it looks at its file now and then
                try:
                    store["a"] = 2
                except ipcdatastore.RegionNotFoundError as error:
                    errors.append(error)
            assert is_clear(errors[0], ipcdatastore.RegionNotFoundError, path, path=str(path))
            assert new["a"] == 1


class TestDirectory:
    NAMES = ["HOME", "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "LOCALAPPDATA"]  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def _clean(self, monkeypatch):
        monkeypatch.delenv("IPCDATASTORE_DIR", raising=False)

    def test_depends_on_no_variable(self, monkeypatch, directory):
        """Nothing is opened here: the default directory is the user's own."""
        from ipcdatastore import place

        before = place.resolve_directory(None)
        for name in self.NAMES:
            monkeypatch.setenv(name, str(directory / name))
        assert place.resolve_directory(None) == before
        for name in list(os.environ):
            if not name.startswith("IPCDATASTORE") and name not in ("PYTEST_CURRENT_TEST",):
                monkeypatch.delenv(name)
        assert place.resolve_directory(None) == before
        assert os.path.isabs(before)

    @posix
    def test_depends_on_no_variable_without_shared_memory(self, monkeypatch, directory):
        from ipcdatastore import place

        monkeypatch.setattr(platform, "_is_shared_directory", lambda path: False)
        before = place.resolve_directory(None)
        for name in self.NAMES:
            monkeypatch.setenv(name, str(directory / name))
        assert place.resolve_directory(None) == before

    @posix
    def test_depends_on_the_user(self, monkeypatch):
        one = platform.default_directory()
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert platform.default_directory() != one

    def test_the_one_variable(self, monkeypatch, directory):
        monkeypatch.setenv("IPCDATASTORE_DIR", str(directory / "chosen"))
        with ipcdatastore.open("demo") as store:
            store["a"] = 1
            assert store.stats()["path"] == str(directory / "chosen" / "demo.region")
            assert store.check() == []
        with ipcdatastore.open("demo", directory=str(directory)) as store:
            assert store == {}

    def test_the_variable_empty_is_as_good_as_none(self, monkeypatch):
        from ipcdatastore import place

        before = place.resolve_directory(None)
        monkeypatch.setenv("IPCDATASTORE_DIR", "")
        assert place.resolve_directory(None) == before

    def test_paths_and_relative_directories(self, monkeypatch, directory):
        monkeypatch.chdir(directory)
        with ipcdatastore.open("demo", directory="relative") as store:
            store["a"] = 1
            assert os.path.isabs(store.stats()["path"])
        with ipcdatastore.open("demo", directory=directory / "relative", mode="r") as store:
            assert store == {"a": 1}
            assert store.check() == []


# --- no room on the disk -------------------------------------------------------------------------------
@needs_root
class TestFullDisk:
    @pytest.fixture
    def disk(self, tmp_path):
        """A small file system of our own."""
        place = tmp_path / "disk"
        place.mkdir(mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", "size=900k,mode=700", "tmpfs", str(place)]
        if not shutil.which("mount") or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("this machine does not let us mount a file system")
        yield place
        subprocess.run(["umount", "-l", str(place)], check=True)

    @staticmethod
    def stuff(disk, leave=0):
        """Fill the disk with somebody else's file."""
        free = shutil.disk_usage(str(disk)).free
        (disk / "ballast").write_bytes(b"x" * max(0, free - leave))

    def test_growth(self, disk):
        with ipcdatastore.open("demo", directory=str(disk)) as store:
            store["a"] = "x" * 1000
            self.stuff(disk)
            before = contents(store)
            for write in (
                lambda: store.__setitem__("big", b"x" * 200_000),
                lambda: store.set_many({"a": 1, "big": b"x" * 200_000}),
                lambda: store.transact(lambda t: t.update(a=2, big=b"x" * 200_000)),
            ):
                with pytest.raises(ipcdatastore.StoreFullError) as caught:
                    write()
                assert is_clear(caught.value, ipcdatastore.StoreFullError, disk)
                assert caught.value.needed > 0
                assert caught.value.hint
                assert contents(store) == before
                assert store.check() == []
            store["small"] = "works"
            del store["a"]
            (disk / "ballast").unlink()
            store["big"] = b"x" * 200_000
            assert store == {"small": "works", "big": b"x" * 200_000}
            assert store.check() == []

    def test_until_it_is_full(self, disk):
        """What is there can be used: growth asks for no more than the disk has, if less will do."""
        with ipcdatastore.open("demo", directory=str(disk)) as store:
            count = 0
            with contextlib.suppress(ipcdatastore.StoreFullError):
                for count in range(100_000):
                    store[count] = b"x" * 1000
            assert len(store) == count
            assert all(store[number] == b"x" * 1000 for number in range(count))
            assert store.check() == []
            for number in range(0, count, 2):
                del store[number]
            store["after"] = 1
            assert store.check() == []
            assert count > 700, "much of the disk is still free"

    def test_expired_records_make_room(self, disk, monkeypatch):
        from contract import Clock

        clock = Clock(monkeypatch)
        with ipcdatastore.open("demo", directory=str(disk)) as store:
            self.stuff(disk)
            for turn in range(3):
                with contextlib.suppress(ipcdatastore.StoreFullError):
                    for number in range(1000):
                        store.set((turn, number), b"x" * 1000, expire=10)
                assert len(list(store)) > 10
                clock.advance(11)
            assert store.check() == []

    def test_eviction_makes_room(self, disk):
        with ipcdatastore.open("demo", directory=str(disk), evict="lru") as store:
            self.stuff(disk)
            for number in range(300):
                store[number] = b"x" * 1000
                assert store[number] == b"x" * 1000
            assert store.check() == []

    def test_creation(self, disk):
        self.stuff(disk)
        with pytest.raises(ipcdatastore.PlaceError) as caught:
            ipcdatastore.open("demo", directory=str(disk))
        assert is_clear(caught.value, ipcdatastore.PlaceError, disk, "No space left")
        assert [path.name for path in disk.iterdir() if not path.name.endswith(".lock")] == ["ballast"]
        (disk / "ballast").unlink()
        with ipcdatastore.open("demo", directory=str(disk)) as store:
            store["a"] = 1
            assert store.check() == []

    @pytest.mark.parametrize("operation", ["repair", "clear"])
    def test_upkeep(self, disk, operation):
        """What makes everything anew needs no room that is not there, or does nothing."""
        with ipcdatastore.open("demo", directory=str(disk)) as store:
            self.stuff(disk)
            with contextlib.suppress(ipcdatastore.StoreFullError):
                for number in range(1000):
                    store[number] = b"x" * 500
            before = contents(store)
            try:
                getattr(store, operation)()
                assert operation == "repair" or store == {}
            except ipcdatastore.StoreFullError:
                assert contents(store) == before
            assert store.check() == []
            store.pop(0, None)
        (disk / "ballast").unlink()
        with ipcdatastore.open("demo", directory=str(disk)) as store:
            assert store.check() == []
            store["after"] = b"x" * 10_000


# --- somebody else holds the lock ----------------------------------------------------------------------
HOLD = """
import sys
from ipcdatastore import platform
file = open(sys.argv[1], "r+b")
lock = platform.lock_function(file.fileno())
lock(file.fileno(), platform.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(path):
    """Another process holds the lock on the file at `path`. Its pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.communicate()


class TestLock:
    @pytest.mark.skipif(platform.LOCK_IN_OWN_FILE, reason="the lock is elsewhere")
    def test_not_obtained(self, opener):
        store = opener(timeout=0.05)
        store.update({"a": 1, 2: "b"})
        path = store.stats()["path"]
        before = contents(store)
        with held(path) as pid:
            for write in (
                lambda: store.__setitem__("a", 2),
                lambda: store.delete("a"),
                lambda: store.set_many({"a": 2}),
                lambda: store.transact(lambda t: t.update(a=2)),
                lambda: store.increment("a"),
                store.clear,
                store.check,
                store.repair,
            ):
                with pytest.raises(ipcdatastore.LockTimeoutError) as caught:
                    write()
                assert isinstance(caught.value, TimeoutError)
                assert is_clear(caught.value, ipcdatastore.LockTimeoutError, path, "0.05", timeout=0.05)
                if sys.platform == "linux":
                    assert caught.value.holder == pid
                    assert str(pid) in str(caught.value)
            assert contents(store) == before
            assert store["a"] == 1
        store["a"] = 2
        assert store["a"] == 2

    @pytest.mark.skipif(platform.LOCK_IN_OWN_FILE, reason="the lock is elsewhere")
    def test_not_obtained_while_opening(self, opener):
        path = opener().stats()["path"]
        with held(path) as pid:
            for options in ({"mode": "n"}, {"max_size": 1 << 20}, {"evict": "lru"}):
                with pytest.raises(ipcdatastore.LockTimeoutError) as caught:
                    opener(timeout=0.05, **options)
                assert sys.platform != "linux" or caught.value.holder == pid
            assert opener(timeout=0.05) == {}  # opening alone needs no lock

    @pytest.mark.skipif(platform.LOCK_IN_OWN_FILE, reason="the lock is elsewhere")
    def test_creation_lock_not_obtained(self, opener):
        lock = Path(opener.directory) / "demo.region.create.lock"
        lock.touch()
        with held(lock) as pid:
            with pytest.raises(ipcdatastore.LockTimeoutError) as caught:
                opener(timeout=0.05)
            assert str(lock) in str(caught.value)
            assert sys.platform != "linux" or caught.value.holder == pid
        opener()["a"] = 1

    def test_another_thread(self, opener):
        """A thread of this process that is inside is no other process."""
        store = opener(timeout=0.05)
        with held_by_a_thread(store._engine.coordinator):
            with pytest.raises(ipcdatastore.LockTimeoutError) as caught:
                store["a"] = 1
            assert "thread" in str(caught.value)
            assert caught.value.holder is None
        store["a"] = 1
