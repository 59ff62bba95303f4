"""The contract, for every flavour of store; and what is promised of two handles, full regions and caches."""

import os

import pytest

import ipcdatastore
import remote
from contract import JSON, RAW, Clock, MappingContract, Opener, StoreContract, StructureContract, contents

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
