"""A store against a dict, operation by operation; and what the codec and the layout promise of every input."""

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, assume, example, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import ipcdatastore
from ipcdatastore import codec, layout, platform
from remote import clock_modules

PAGE = layout.PAGE

# --- what to store -------------------------------------------------------------------------------------
leaves = st.one_of(
    st.text(st.characters(), max_size=5),  # surrogates included
    st.binary(max_size=5),
    st.integers(-300, 300),
    st.integers(),
)
keys = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
few_keys = st.sampled_from(["a", "b", "ключ", b"a", 1, -1, ("a", 1), ("a", ("b",)), "", (), 10**30, "\udcff"])
some_keys = st.one_of(few_keys, few_keys, few_keys, keys)
simple = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20))
sized = st.builds(lambda size, byte: bytes([byte]) * size, st.integers(0, 20000), st.integers(0, 255))
structures = st.recursive(
    simple, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
values = st.one_of(simple, sized, sized, st.binary(max_size=60), structures)
expiries = st.one_of(st.none(), st.none(), st.integers(1, 50))
FULL = (ipcdatastore.StoreFullError, ipcdatastore.TooLargeError)


class Machine(RuleBasedStateMachine):
    """Two handles on one region, one with a cache and one without, and a dict that they have to agree with."""

    evict = "none"

    def __init__(self):
        super().__init__()
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = tempfile.mkdtemp(prefix="ipcdatastore-test-", dir=memory)
        self.modules = [(module, module.now_ns) for module in clock_modules()]
        self.now = platform.now_ns()
        for module, _ in self.modules:
            module.now_ns = lambda: self.now
        self.model = {}  # key -> (value, expiry on the clock or None)
        self.version = 0

    @initialize(limit=st.sampled_from([PAGE, 2 * PAGE, 5 * PAGE]), limited=st.booleans(), tiny=st.booleans())
    def begin(self, limit, limited, tiny):
        self.limit = limit if limited or self.evict == "lru" else 1 << 30
        self.cached = self.open(max_size=self.limit, evict=self.evict, cache_entries=3 if tiny else 1000)
        self.uncached = self.open(cache_entries=0)

    def open(self, **options):
        return ipcdatastore.open("machine", directory=self.directory, **options)

    def teardown(self):
        for module, now_ns in self.modules:
            module.now_ns = now_ns
        if hasattr(self, "cached"):
            self.cached.close()
            self.uncached.close()
            with self.open(mode="w") as store:
                assert store.check() == []
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- the model -----------------------------------------------------------------------------------
    def deadline(self, expire):
        return None if expire is None else self.now + expire * 10**9

    def live(self):
        return {key: value for key, (value, end) in self.model.items() if end is None or end > self.now}

    def writes(self, function):
        """Whether the store had room for what `function` does; with eviction, what it gave up is forgotten."""
        try:
            function()
        except FULL as error:
            note(f"full: {error}")
            assert self.limit < 1 << 30
            return False
        finally:
            self.forget_evicted()
        return True

    def forget_evicted(self):
        if self.evict == "lru":
            gone = set(self.live()) - set(self.uncached)
            self.model = {key: found for key, found in self.model.items() if key not in gone}

    def put(self, key, value, expire=None):
        self.model[key] = (value, self.deadline(expire))
        self.forget_evicted()

    def handle(self, first):
        return self.cached if first else self.uncached

    # --- one key -------------------------------------------------------------------------------------
    @rule(first=st.booleans(), key=some_keys, value=values, expire=expiries)
    def set(self, first, key, value, expire):
        store = self.handle(first)
        versions = []
        if self.writes(lambda: versions.append(store.set(key, value, expire=expire))):
            self.put(key, value, expire)
            assert versions[0] > self.version
            entry = store.get_entry(key)
            assert (entry.value, entry.version) == (value, versions[0])

    @rule(first=st.booleans(), key=some_keys, value=values, expire=expiries)
    def add(self, first, key, value, expire):
        store = self.handle(first)
        added = []
        if self.writes(lambda: added.append(store.add(key, value, expire=expire))):
            if added[0]:
                assert key not in self.live()
                self.put(key, value, expire)
            else:
                assert key in self.live()

    @rule(first=st.booleans(), key=some_keys, value=values)
    def setdefault(self, first, key, value):
        store = self.handle(first)
        found = []
        if self.writes(lambda: found.append(store.setdefault(key, value))):
            if key in self.live():
                assert found[0] == self.live()[key]
            else:
                assert found[0] == value
                self.put(key, value)

    @rule(first=st.booleans(), key=some_keys, value=values, off=st.sampled_from([0, 0, 0, 1, -1]))
    def compare_and_set(self, first, key, value, off):
        store = self.handle(first)
        entry = self.uncached.get_entry(key)
        version = max(0, (entry.version if entry else 0) + off)
        done = []
        if self.writes(lambda: done.append(store.compare_and_set(key, value, version))):
            assert (done[0] is not None) == (version == (entry.version if entry else 0)) or self.evict == "lru"
            if done[0] is not None:
                assert done[0] > self.version
                self.put(key, value)

    @rule(first=st.booleans(), key=some_keys)
    def delete(self, first, key):
        assert self.handle(first).delete(key) == (key in self.live())
        self.model.pop(key, None)

    @rule(first=st.booleans(), key=some_keys)
    def pop(self, first, key):
        assert self.handle(first).pop(key, "missing") == self.live().get(key, "missing")
        self.model.pop(key, None)

    @precondition(lambda self: self.live())
    @rule(first=st.booleans())
    def popitem(self, first):
        key, value = self.handle(first).popitem()
        assert self.live()[key] == value
        del self.model[key]

    @rule(first=st.booleans(), key=some_keys, delta=st.integers())
    def increment(self, first, key, delta):
        store = self.handle(first)
        old, end = self.model.get(key, (0, None)) if key in self.live() else (0, None)
        if type(old) not in (int, float):
            with pytest.raises(ipcdatastore.ArgumentError):
                store.increment(key, delta)
            return
        assume(type(old) is int or abs(delta) < 2**60)
        new = []
        if self.writes(lambda: new.append(store.increment(key, delta))):
            assert new[0] == old + delta
            self.model[key] = (old + delta, end)
            self.forget_evicted()

    @rule(first=st.booleans(), key=some_keys, value=values, raises=st.booleans())
    def modify(self, first, key, value, raises):
        store = self.handle(first)
        seen = []

        def function(old):
            seen.append(old)
            if raises:
                raise ZeroDivisionError
            return [old is None, value]

        end = self.model[key][1] if key in self.live() else None
        expected = self.live().get(key)
        if raises:
            with pytest.raises(ZeroDivisionError):
                store.modify(key, function)
        elif self.writes(lambda: store.modify(key, function)):
            self.model[key] = ([expected is None, value], end)
            self.forget_evicted()
        assert seen == [expected]

    @rule(first=st.booleans(), key=some_keys, expire=expiries)
    def touch(self, first, key, expire):
        store = self.handle(first)
        there = []
        if self.writes(lambda: there.append(store.touch(key, expire))):
            if there[0]:
                self.put(key, self.live()[key], expire)
            else:
                assert key not in self.live()

    @rule(first=st.booleans(), key=some_keys)
    def read(self, first, key):
        store = self.handle(first)
        expected = self.live().get(key, "missing")
        assert store.get(key, "missing") == store.peek(key, "missing") == expected
        assert (key in store) == (key in self.live())
        entry = store.get_entry(key)
        assert (entry.value if entry else "missing") == expected
        assert self.cached.get(key, "missing") == self.uncached.get(key, "missing")

    # --- several ---------------------------------------------------------------------------------------
    @rule(first=st.booleans(), items=st.dictionaries(some_keys, values, max_size=8), expire=expiries)
    def set_many(self, first, items, expire):
        store = self.handle(first)
        if self.writes(lambda: store.set_many(items, expire=expire)):
            for key, value in items.items():
                self.model[key] = (value, self.deadline(expire))
            self.forget_evicted()

    @rule(first=st.booleans(), wanted=st.lists(some_keys, max_size=8))
    def get_many(self, first, wanted):
        live = self.live()
        assert self.handle(first).get_many(wanted) == {key: live[key] for key in wanted if key in live}

    steps = st.lists(st.tuples(some_keys, st.one_of(values, st.just("delete"), st.just("read"))), max_size=8)

    @rule(first=st.booleans(), steps=steps, ending=st.sampled_from(["commit", "commit", "raise", "conflict"]))
    def transaction(self, first, steps, ending):
        store = self.handle(first)
        other = self.handle(not first)
        planned = {}
        live = self.live()
        read = set()

        def body():
            with store.transaction() as t:
                for key, value in steps:
                    now = planned.get(key, live.get(key, "missing"))
                    if isinstance(value, str) and value in ("delete", "read"):
                        if key not in planned:
                            read.add(key)
                        assert t.get(key, "missing") == now
                        if value == "delete" and now != "missing":
                            del t[key]
                            planned[key] = "missing"
                    else:
                        t[key] = value
                        planned[key] = value
                assert set(t) == {key for key, value in {**live, **planned}.items() if value != "missing"}
                if ending == "raise":
                    raise ZeroDivisionError
                if ending == "conflict":
                    for key in read:
                        other.delete(key)
                        self.model.pop(key, None)

        if ending == "raise":
            with pytest.raises(ZeroDivisionError):
                body()
        elif ending == "conflict" and any(key in live for key in steps_read(steps)):
            with pytest.raises(ipcdatastore.ConflictError):
                body()
        elif self.writes(body):
            for key, value in planned.items():
                if value == "missing":
                    self.model.pop(key, None)
                else:
                    self.model[key] = (value, None)
            self.forget_evicted()

    # --- everything --------------------------------------------------------------------------------------
    @rule(first=st.booleans())
    def clear(self, first):
        self.handle(first).clear()
        self.model.clear()

    @rule(first=st.booleans())
    def repair(self, first):
        assert self.handle(first).repair() == []

    @rule(first=st.booleans())
    def reopen(self, first):
        if first:
            self.cached.close()
            self.cached = self.open()
        else:
            self.uncached.close()
            self.uncached = self.open(cache_entries=0)

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds):
        self.now += seconds * 10**9

    # --- what always holds -------------------------------------------------------------------------------
    @invariant()
    def agrees(self):
        if not hasattr(self, "cached"):
            return
        live = self.live()
        found = list(self.uncached)
        assert len(found) == len(set(found))
        assert dict(self.uncached.items()) == live
        assert self.cached.get_many(found) == live
        assert {key: self.cached[key] for key in self.cached} == live
        assert {key: type(self.uncached[key]) for key in found} == {key: type(value) for key, value in live.items()}
        # An expired record counts until its space is taken back.
        assert len(live) <= len(self.uncached) <= len(live) + self.uncached.stats()["expiring"]
        assert self.cached.check() == []
        version = self.cached.stats()["version"]
        assert version >= self.version
        assert all(entry.version <= version for entry in self.uncached.entries())
        self.version = version


def steps_read(steps):
    """The keys whose first step reads the store."""
    written = set()
    for key, value in steps:
        if isinstance(value, str) and value in ("delete", "read"):
            if key not in written:
                yield key
        else:
            written.add(key)


SETTINGS = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


class EvictingMachine(Machine):
    evict = "lru"


TestMachine = Machine.TestCase
TestMachine.settings = SETTINGS
TestEvictingMachine = EvictingMachine.TestCase
TestEvictingMachine.settings = SETTINGS


# --- codec ---------------------------------------------------------------------------------------------
@given(keys)
@example(())
@example("\ud800")
@example(((), ("",), (b"",), (0,)))
def test_keys_come_back(key):
    encoded = codec.encode_key(key)
    assert type(encoded) is bytes
    found = codec.decode_key(encoded)
    assert found == key
    assert repr(found) == repr(key)
    assert codec.encode_key(found) == encoded


@given(keys, keys)
@example("1", 1)
@example("a", b"a")
@example(("ab",), ("a", "b"))
@example((("a",), "b"), ("a", ("b",)))
@example("\ud83d\ude00", "\U0001f600")
def test_no_two_keys_share_their_bytes(one, two):
    assert (codec.encode_key(one) == codec.encode_key(two)) == (one == two)


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=3).map(tuple), keys)
def test_a_namespace_is_a_prefix(prefix, key):
    encoded = codec.encode_key((*prefix, key))
    assert encoded.startswith(codec.tuple_prefix(prefix))


@given(st.binary(max_size=30))
def test_foreign_bytes_are_no_key(data):
    """What decodes is canonical, or is refused: nothing else than an exception or a key comes out."""
    try:
        key = codec.decode_key(data)
    except Exception:  # noqa: BLE001 - any will do: the seal of a record keeps such bytes away
        return
    codec.encode_key(key)


serializable = {
    "pickle": st.one_of(values, st.binary(), st.frozensets(st.integers()), st.tuples(values, values)),
    "json": st.one_of(structures, st.binary(), st.text(st.characters())),
    "raw": st.one_of(simple, st.binary(), st.text(st.characters()), st.floats()),
}


@pytest.mark.parametrize("serializer", sorted(serializable))
@given(data=st.data())
def test_values_come_back(serializer, data):
    value = data.draw(serializable[serializer])
    one = codec.Codec(serializer)
    kind, encoded = one.encode(value, "key")
    found = one.decode(kind, bytes(encoded), "key")
    assert type(found) is type(value)
    assert found == value or repr(found) == repr(value)  # two NaN are never equal
    if kind != codec.SERIALIZED:
        assert codec.is_immutable(value)


@given(st.sampled_from(["pickle", "json", "raw"]), st.integers(0, 255), st.binary(max_size=50))
def test_foreign_bytes_are_a_value_or_a_decode_error(serializer, kind, data):
    assume(not (serializer == "pickle" and kind == codec.SERIALIZED))  # a seal and an owner vouch for pickles
    try:
        codec.Codec(serializer).decode(kind, data, "key")
    except ipcdatastore.DecodeError as error:
        assert error.key == "key"  # noqa: PT017 - both outcomes are right


# --- layout --------------------------------------------------------------------------------------------
# A record has at most 4 GiB, and a free block nearly the 16 GiB of the largest region.
LARGEST = 15 << 26
units = st.one_of(st.integers(1, 300), st.integers(1, LARGEST), st.integers(4, 29).map(lambda n: 1 << n))


@given(units)
@example(64)
@example(65)
def test_size_class(wanted):
    number, given_out = layout.size_class(wanted)
    assert 0 < number < layout.CLASSES
    assert given_out >= wanted
    assert given_out == wanted or 8 * (given_out - wanted) < given_out
    assert layout.size_class(given_out) == (number, given_out)
    assert layout.list_class(given_out) == number
    assert wanted > 64 or given_out == wanted


@given(units, units)
def test_classes_keep_the_order(one, two):
    one, two = sorted((one, two))
    assert layout.size_class(one) <= layout.size_class(two)
    assert layout.list_class(one) <= layout.list_class(two)


@given(units, units)
def test_a_block_serves_every_request_of_its_list(block, wanted):
    if layout.size_class(wanted)[0] <= layout.list_class(block):
        assert layout.size_class(wanted)[1] <= block


@given(units)
def test_a_block_is_on_the_best_list_that_it_can_serve(block):
    number = layout.list_class(block)
    assert number <= layout.size_class(block)[0] <= number + 1


@given(st.integers(layout.RECORD_SIZE, 1 << 31))
def test_record_units(size):
    assert layout.record_units(size) * layout.UNIT >= size
    assert layout.record_units(size) == layout.size_class(-(-size // layout.UNIT))[1]
