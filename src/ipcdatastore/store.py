"""The datastore: a ``MutableMapping`` that every process of the machine shares.

A read of an unchanged value is one dict look-up, one load of a shared word and one compare; everything
else about a read is in :meth:`Datastore._get`. Nothing may be added to the hot path without a figure.
"""

from __future__ import annotations

import time
from collections import namedtuple
from collections.abc import MutableMapping

from .cache import NOTHING, Cache
from .codec import KEEP, SERIALIZED, Codec, decode_key, encode_key, flags_of, is_immutable, shorten, tuple_prefix
from .engine import Engine
from .errors import ArgumentError, ClosedError, ConflictError, InvalidNameError, KeyTypeError
from .layout import FLAG_PERSIST, MAX_KEY
from .platform import deadline, lock_holder, now_ns, uneven
from .platform import pause as pause_for
from .reader import Record
from .writer import ANY

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import (
        Any,
        Callable,
        Dict,
        Iterable,
        Iterator,
        List,
        Mapping,
        NamedTuple,
        NoReturn,
        Optional,
        Tuple,
        TypeVar,
        Union,
    )

    from .aio import AsyncWatch
    from .cache import CacheKey
    from .codec import Key
    from .locks import NamedLock
    from .restore import Restored
    from .transaction import Write
    from .unit import Transaction
    from .watching import Watch

    T = TypeVar("T")

    Base = MutableMapping[Key, Any]
else:
    Base = MutableMapping  # Python 3.8 cannot subscript it

_MISSING = object()
_KEEP: Any = object()
LONGEST_PAUSE = 0.002


if TYPE_CHECKING:

    class _EntryFields(NamedTuple):
        key: Any
        value: Any
        version: int
        written_at: float
        expires_at: Optional[float]
        cached: bool
        size: int
        persistent: bool

else:
    _EntryFields = namedtuple("Entry", "key value version written_at expires_at cached size persistent")


class Entry(_EntryFields):
    """A value and everything the store knows about it.

    `written_at` and `expires_at` (None: never) are seconds since the epoch, `size` is bytes of key and value,
    `cached` whether the client cache served it, `persistent` whether the key is marked to be kept on the disk.
    """

    __slots__ = ()


class _ClosedEntries(dict):  # type: ignore[type-arg]
    """Stands in for the hot path's dict after `close`."""

    def __getitem__(self, key: Any) -> NoReturn:
        raise ClosedError("the handle was closed; open the region again")


class Datastore(Base):
    """A handle on a region; see ``ipcdatastore.open``. Safe from any thread, and in a forked child.

    Reads take no lock (a reader that a full-speed writer keeps overtaking takes the shared lock after 8
    attempts). Every write takes the writer lock once and is atomic: readers see all of it or nothing,
    whoever is killed when. Every method may raise ``ClosedError``, ``RegionDamagedError`` and, where a lock
    is taken, ``LockTimeoutError``; every writing one ``ReadOnlyError``; every one with a key
    ``KeyTypeError`` and ``TooLargeError``.
    """

    __slots__ = (
        "__weakref__",
        "_cache",
        "_codec",
        "_engine",
        "_entries",
        "_prefix",
        "_region",
        "uncached_reads",
    )

    def __init__(self, engine: Engine, prefix: Tuple[str, ...], max_entries: int, max_bytes: int) -> None:
        self._engine = engine
        self._prefix = prefix
        self._codec = Codec(engine.region.header.serializer)
        self._cache = Cache(max_entries, max_bytes, self._codec.loads)
        self._entries = self._cache.entries
        self._region = engine.region
        self.uncached_reads = 0
        engine.add_view(self)

    # --- reading -------------------------------------------------------------------------------------
    def get(self, key: Key, default: Any = None) -> Any:
        """The value of `key`, or `default`. An immutable value is the cached object, any other a private copy.

        >>> store = open("docs")
        >>> store["accent"] = "red"
        >>> store.get("accent"), store.get("missing", 0)
        ('red', 0)
        """
        try:
            known, slot, word, value, blob = self._entries[key]  # type: ignore[index]
        except (KeyError, TypeError):  # not cached, or not hashable: `_get` says what is wrong with it
            pass
        else:
            # A str subclass is equal to a cached str, and no key.
            if (known is key or type(key) is str) and self._region.words[slot] == word:
                if blob is None:
                    return value
                return value(blob)  # a private copy: `value` is the decoder
        return self._get(key, default)

    def __getitem__(self, key: Key) -> Any:
        try:
            known, slot, word, value, blob = self._entries[key]  # type: ignore[index]
        except (KeyError, TypeError):  # not cached, or not hashable: `_get` says what is wrong with it
            pass
        else:
            # A str subclass is equal to a cached str, and no key.
            if (known is key or type(key) is str) and self._region.words[slot] == word:
                if blob is None:
                    return value
                return value(blob)  # a private copy: `value` is the decoder
        value = self._get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def _get(self, key: Key, default: Any) -> Any:
        """The rest of a read: what the cache cannot vouch for with one compare."""
        encoded = self._encode(key)
        cache = self._cache
        cache_key: CacheKey = key if type(key) is str else encoded
        known = cache.records.get(cache_key)
        if known is not None and self._is_current(known[0]):
            record = known[0]
            if record.expires_ns and now_ns() >= record.expires_ns:
                return default
            if known[1] is not NOTHING and is_immutable(known[1]):
                return known[1]
            return self._codec.decode(record.kind, record.value, key)
        found = self._read(encoded)
        if found is None:
            if known is not None:
                cache.forget(cache_key)
            return default
        return self._remember(cache_key, found, key)

    def _read(self, encoded: bytes) -> Optional[Record]:
        """The record in the region, past the cache."""
        self.uncached_reads += 1
        return self._engine.get(encoded)

    def _remember(self, cache_key: CacheKey, record: Record, key: Key) -> Any:
        value = self._codec.decode(record.kind, record.value, key)
        immutable = record.kind != SERIALIZED or is_immutable(value)
        self._cache.put(cache_key, record, value, immutable=immutable)
        return value

    def _is_current(self, record: Record) -> bool:
        try:
            return bool(self._engine.region.words[record.slot] == record.word)
        except IndexError:  # the view was replaced meanwhile
            return False

    def peek(self, key: Key, default: Any = None) -> Any:
        """Like :meth:`get`, but always the cached object itself: read it, never change it.

        Costs no copy, also of a mutable value, as long as the value does not change.
        """
        cache_key, encoded = self._keys(key)
        known = self._cache.records.get(cache_key)
        if known is not None and known[1] is not NOTHING and self._is_current(known[0]):
            if known[0].expires_ns and now_ns() >= known[0].expires_ns:
                return default
            return known[1]
        record = self._read(encoded)
        if record is None:
            return default
        value = self._codec.decode(record.kind, record.value, key)
        immutable = record.kind != SERIALIZED or is_immutable(value)
        self._cache.put(cache_key, record, value, immutable=immutable, shared=value)
        return value

    def get_entry(self, key: Key) -> Optional[Entry]:
        """The value of `key` with its version, times and size; None if there is none."""
        cache_key, encoded = self._keys(key)
        known = self._cache.records.get(cache_key)
        if known is not None and self._is_current(known[0]):
            record, cached = known[0], True
            if record.expires_ns and now_ns() >= record.expires_ns:
                return None
            value = self._codec.decode(record.kind, record.value, key)
        else:
            found = self._read(encoded)
            if found is None:
                return None
            record, cached = found, False
            value = self._remember(cache_key, record, key)
        return self._entry(key, value, record, cached=cached)

    @staticmethod
    def _entry(key: Key, value: Any, record: Record, *, cached: bool) -> Entry:
        expires = time.time() + (record.expires_ns - now_ns()) / 1e9 if record.expires_ns else None
        persistent = bool(record.flags & FLAG_PERSIST)
        return Entry(key, value, record.version, record.written_ns / 1e9, expires, cached, record.size, persistent)

    def get_many(self, keys: Iterable[Key]) -> Dict[Key, Any]:
        """The values of those `keys` that are there, all as they were at one moment."""
        wanted = {key: self._encode(key) for key in keys}
        self.uncached_reads += len(wanted)
        records = self._engine.get_many(list(wanted.values()))
        return {
            key: self._codec.decode(record.kind, record.value, key)
            for key, record in zip(wanted, records)
            if record is not None
        }

    def __contains__(self, key: object) -> bool:
        cache_key, encoded = self._keys(key)  # type: ignore[arg-type]
        known = self._cache.records.get(cache_key)
        if known is not None and self._is_current(known[0]):
            return not (known[0].expires_ns and now_ns() >= known[0].expires_ns)
        return self._engine.get(encoded) is not None

    def __iter__(self) -> Iterator[Key]:
        """Every key once that is there throughout; one that goes or comes meanwhile may be missed, or come again."""
        for record in self._scan():
            yield self._decode(record.key)

    def entries(self) -> Iterator[Entry]:
        """Every key's :class:`Entry`, each as it was at some moment of the iteration."""
        for record in self._scan():
            key = self._decode(record.key)
            value = self._codec.decode(record.kind, record.value, key)
            yield self._entry(key, value, record, cached=False)

    def _scan(self) -> Iterator[Record]:
        if not self._prefix:
            return self._engine.scan()
        prefix, length = tuple_prefix(self._prefix), len(self._prefix)
        return (
            record
            for record in self._engine.scan()
            if record.key.startswith(prefix) and len(decode_key(record.key)) == length + 1  # type: ignore[arg-type]
        )

    def __len__(self) -> int:
        """How many keys. Of a whole store in constant time, with expired keys until their space is taken back."""
        if self._prefix:
            return sum(1 for _ in self._scan())
        return int(self._engine.facts()["records"])

    # --- writing -------------------------------------------------------------------------------------
    def set(self, key: Key, value: Any, *, expire: Optional[float] = None, persist: Optional[bool] = None) -> int:
        """Store `value`; with `expire`, for so many seconds. The new version.

        `persist` marks the key to be kept on the disk, or takes the mark away; None leaves it as it is. Raises
        ``EncodeError`` or ``StoreFullError`` with nothing changed.

        >>> store = open("docs")
        >>> store.set("a", 1) < store.set("a", 2)
        True
        """
        kind, data = self._codec.encode(value, key)
        encoded = self._encode(key)
        if persist is None:
            return self._engine.put(encoded, kind, data, deadline(expire) if expire is not None else 0)[0]
        return self._engine.put(encoded, kind, data, deadline(expire), ANY, flags_of(persist))[0]

    def __setitem__(self, key: Key, value: Any) -> None:
        kind, data = self._codec.encode(value, key)
        self._engine.put(self._encode(key), kind, data)

    def add(self, key: Key, value: Any, *, expire: Optional[float] = None, persist: Optional[bool] = None) -> bool:
        """Store `value` unless the key is there already. Whether it was stored."""
        return self.compare_and_set(key, value, 0, expire=expire, persist=persist) is not None

    def compare_and_set(
        self, key: Key, value: Any, version: int, *, expire: Optional[float] = None, persist: Optional[bool] = None
    ) -> Optional[int]:
        """Store `value` if the key is at `version` (0 = absent). The new version, None if it was not.

        >>> store = open("docs")
        >>> version = store.set("a", 1)
        >>> store.compare_and_set("a", 2, version) is None, store.compare_and_set("a", 3, version) is None
        (False, True)
        """
        if type(version) is not int or version < 0:
            raise ArgumentError(f"a version is an int from 0 on, not {version!r}", name="version", value=version)
        kind, data = self._codec.encode(value, key)
        try:
            stored, _ = self._engine.put(self._encode(key), kind, data, deadline(expire), version, flags_of(persist))
        except ConflictError:
            return None
        return stored or None

    def set_many(
        self,
        items: Union[Mapping[Key, Any], Iterable[Tuple[Key, Any]]],
        *,
        expire: Optional[float] = None,
        persist: Optional[bool] = None,
    ) -> None:
        """Store several values at one moment: no reader sees some of them only, also when this process dies."""
        expires = deadline(expire)
        flags = flags_of(persist)
        # By canonical bytes: a dict of the keys would take True for 1, and refuse a list with an error of its own.
        writes: Dict[bytes, Write] = {}
        source: Any = items
        pairs = [(key, source[key]) for key in list(source.keys())] if hasattr(source, "keys") else source
        for key, value in pairs:
            write = self._write(key, value, expires, flags)
            writes[write.key] = write
        self._engine.check_open()
        if writes:
            self._engine.commit(list(writes.values()))

    def _write(self, key: Key, value: Any, expires: int, flags: int = KEEP) -> Write:
        encoded = self._encode(key)
        kind, data = self._codec.encode(value, key)
        return self._engine.write(encoded, kind, data, expires, flags)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Like ``dict.update``, all at one moment."""
        keys = getattr(other, "keys", None)
        pairs = [(key, other[key]) for key in keys()] if keys is not None else list(other)
        self.set_many(pairs + list(more.items()))

    def setdefault(self, key: Key, default: Any = None) -> Any:
        """The value of `key`, stored from `default` first if there was none. Atomic."""
        while True:
            value = self.get(key, _MISSING)
            if value is not _MISSING:
                return value
            if self.add(key, default):
                return default

    def touch(self, key: Key, expire: Optional[float] = None) -> bool:
        """Give `key` a new time to live in seconds (None: for ever). Whether it is there."""
        return self._put_again(key, deadline(expire), KEEP)

    def add_persistence(self, key: Key) -> bool:
        """Mark `key` to be kept on the disk, whatever the store's own policy. Whether it is there."""
        return self._put_again(key, None, FLAG_PERSIST)

    def remove_persistence(self, key: Key) -> bool:
        """Take that mark away. Whether the key is there."""
        return self._put_again(key, None, 0)

    def _put_again(self, key: Key, expires: Optional[int], flags: int) -> bool:
        """Store the same value with another expiry (None: the same) and flags. Whether there is one."""
        encoded = self._encode(key)
        while True:
            record = self._engine.get(encoded)
            if record is None:
                return False
            if expires is None and record.flags == flags:
                return True
            until = record.expires_ns if expires is None else expires
            if self._engine.put(encoded, record.kind, record.value, until, record.version, flags)[0]:
                return True

    def modify(self, key: Key, function: Callable[[Any], Any], default: Any = None, *, expire: Any = _KEEP) -> Any:
        """Replace the value by ``function(value)``, atomically. The new value.

        The function gets `default` where there is no value. It runs outside of every lock, and again if
        another writer was faster; if it raises, nothing is written. Gives up with ``ConflictError`` when
        it kept losing for the handle's ``timeout``.

        >>> store = open("docs")
        >>> store.modify("names", lambda names: names + ["ann"], default=[])
        ['ann']
        """
        encoded = self._encode(key)
        until = time.monotonic() + self._engine.options.timeout
        pause = 0.00002
        while True:
            record = self._engine.get(encoded)
            old = default if record is None else self._codec.decode(record.kind, record.value, key)
            new = function(old)
            kind, data = self._codec.encode(new, key)
            expires = (record.expires_ns if record else 0) if expire is _KEEP else deadline(expire)
            if self._engine.put(encoded, kind, data, expires, record.version if record else 0)[0]:
                return new
            if time.monotonic() > until:
                raise ConflictError(
                    f"key {shorten(key)} was changed by others each time for {self._engine.options.timeout:g} s",
                    key=key,
                )
            pause_for(uneven(pause))
            pause = min(2 * pause, LONGEST_PAUSE)

    def increment(self, key: Key, delta: float = 1, default: float = 0) -> Any:
        """Add `delta` to the number at `key` (`default` if there is none), atomically. The sum.

        >>> store = open("docs")
        >>> store.increment("plays"), store.increment("plays", 4)
        (1, 5)
        """
        for name, number in (("delta", delta), ("default", default)):
            if type(number) not in (int, float):
                raise ArgumentError(
                    f"use an int or a float for `{name}`, not {shorten(number)}", name=name, value=number
                )

        def plus(value: Any) -> Any:
            if type(value) not in (int, float):
                raise ArgumentError(
                    f"key {shorten(key)} holds a {type(value).__name__}, which cannot be incremented",
                    name="key",
                    value=key,
                )
            try:
                return value + delta
            except OverflowError as error:
                raise ArgumentError(
                    f"{shorten(value)} and {shorten(delta)} at key {shorten(key)} cannot be added: {error}; use ints",
                    name="delta",
                    value=delta,
                ) from error

        return self.modify(key, plus, default)

    # --- deleting ------------------------------------------------------------------------------------
    def delete(self, key: Key) -> bool:
        """Delete `key`. Whether it was there. Works in a full store too."""
        return self._engine.delete(self._encode(key))[0] is not None

    def __delitem__(self, key: Key) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def pop(self, key: Key, default: Any = _MISSING) -> Any:
        """Delete `key` and return its value; exactly one of several callers gets it.

        A value that this process cannot decode stays: ``DecodeError``.
        """
        encoded = self._encode(key)
        while True:
            record = self._engine.get(encoded)
            if record is None:
                if default is _MISSING:
                    raise KeyError(key)
                return default
            value = self._codec.decode(record.kind, record.value, key)
            if self._engine.delete(encoded, record.version)[0] is not None:
                return value

    def popitem(self) -> Tuple[Key, Any]:
        """Delete some key and return it with its value; ``KeyError`` from an empty store."""
        for record in self._scan():
            key = self._decode(record.key)
            value = self.pop(key, _MISSING)
            if value is not _MISSING:
                return key, value
        raise KeyError("the store is empty")

    def clear(self) -> None:
        """Delete everything at one moment: no reader sees some of it only.

        Of a store with images a new one is written, and the older ones go: none brings back what was deleted.
        ``SnapshotError`` if that fails; what the store held is gone then all the same.
        """
        if self._prefix:
            keys = [record.key for record in self._scan()]
            self._engine.commit([self._engine.write(key) for key in keys])
        else:
            from .flush import outdate

            self._engine.clear()
            outdate(self._engine)
        self._cache.clear()

    # --- several at once -----------------------------------------------------------------------------
    def transaction(self) -> Transaction:
        """Several reads and writes as one: ``with store.transaction() as t: ...``

        Inside, `t` is a mapping that reads its own writes; no lock is held. On leaving, everything is written
        at one moment, unless something that was read has changed: then ``ConflictError``, and nothing is written.
        An exception in the body writes nothing.
        """
        from .unit import Transaction

        return Transaction(self)

    def transact(self, function: Callable[[Transaction], T]) -> T:
        """Run ``function(transaction)`` and commit, again after each conflict. What the function returned.

        Gives up with ``ConflictError`` after the handle's ``timeout``.
        """
        until = time.monotonic() + self._engine.options.timeout
        pause = 0.00002
        while True:
            try:
                with self.transaction() as transaction:
                    return function(transaction)
            except ConflictError:
                if time.monotonic() > until:
                    raise
            pause_for(uneven(pause))
            pause = min(2 * pause, LONGEST_PAUSE)

    # --- waiting -------------------------------------------------------------------------------------
    def wait(self, key: Key, since: Optional[int] = None, timeout: Optional[float] = None) -> Optional[int]:
        """Wait until the version of `key` is not `since` (0: absent; None: what it is now). The version it has then.

        None after `timeout` seconds (None: never). Changes in between are not counted: it is the state that is waited
        for, so nothing is missed between two calls that hand the version on. Takes the writer lock now and then, to ask
        writers for a wake-up; where the system has none, it polls.

        >>> store = open("docs")
        >>> version = store.set("state", "idle")
        >>> store.wait("state", since=version, timeout=0.01) is None
        True
        >>> newer = store.set("state", "playing")
        >>> store.wait("state", since=version) == newer
        True
        """
        from .waiting import wait

        return wait(self._engine, self._encode(key), _since(since), _seconds(timeout))

    def watch(self, prefix: Any = None, timeout: Optional[float] = None) -> Watch:
        """Every set, delete, expiry, eviction and clear from now on, in order: an iterator of :class:`Event`.

        `prefix` is the beginning of str or bytes keys, or a tuple of the first items of tuple keys. With `timeout` the
        iteration ends after so many seconds without an event. What the watcher could not keep up with is one event,
        ``"overflow"``. Expiry is reported when the record's space is taken back: where a service runs, within about a
        second.

        >>> store = open("docs")
        >>> with store.watch("skin.", timeout=0) as events:
        ...     store["skin.accent"] = "red"
        ...     store["other"] = 1
        ...     del store["skin.accent"]
        ...     [(event.kind, event.key) for event in events]
        [('set', 'skin.accent'), ('delete', 'skin.accent')]
        """
        from .watching import Watch

        return Watch(self._engine, self._prefix, prefix, _seconds(timeout))

    async def wait_async(self, key: Key, since: Optional[int] = None, timeout: Optional[float] = None) -> Optional[int]:
        """:meth:`wait` for ``asyncio``. All coroutines of a handle share one thread, which lives while they wait."""
        from . import aio

        return await aio.wait(self._engine, self._encode(key), _since(since), _seconds(timeout))

    def watch_async(self, prefix: Any = None, timeout: Optional[float] = None) -> AsyncWatch:
        """:meth:`watch` for ``async for`` and ``async with``."""
        from .aio import AsyncWatch
        from .watching import Watch

        seconds = _seconds(timeout)
        return AsyncWatch(self._engine, Watch(self._engine, self._prefix, prefix, None), seconds)

    def get_or_set(
        self, key: Key, factory: Callable[[], Any], *, expire: Optional[float] = None, timeout: Optional[float] = None
    ) -> Any:
        """The value of `key`; if there is none, ``factory()``, stored for `expire` seconds.

        One caller in all processes runs his factory, the others wait for the value, at most `timeout` seconds (None:
        as long as it takes), then ``LockTimeoutError``. If he dies or his factory raises, another takes his place.

        >>> store = open("docs")
        >>> store.get_or_set("answer", lambda: 6 * 7), store.get_or_set("answer", lambda: 0)
        (42, 42)
        """
        from .locks import compute_once

        deadline(expire)  # refused before anything is computed

        def compute() -> Any:
            self._engine.check_writable()
            value = factory()
            return value if self.add(key, value, expire=expire) else self.get(key, value)

        found = self.get(key, _MISSING)
        if found is not _MISSING:
            return found
        return compute_once(self._engine, self._encode(key), lambda: self[key], compute, _seconds(timeout))

    def lock(self, name: Key, timeout: Optional[float] = None) -> NamedLock:
        """A lock between processes, by name: ``with store.lock("scan"): ...``. It ends with its holder.

        Nothing to do with the store's keys, nor with its writer lock. Waiting ends after `timeout` seconds (None:
        never) with ``LockTimeoutError``. Not re-entrant: a thread that holds it gets that error at once.

        >>> store = open("docs")
        >>> with store.lock("scan", timeout=5) as lock:
        ...     lock.held
        True
        """
        from .locks import NamedLock

        return NamedLock(self._engine, self._full(name), _seconds(timeout))

    def namespace(self, prefix: str) -> Datastore:
        """A view of the keys ``(prefix, key)`` as if each were ``key``. Namespaces nest; caches are separate.

        >>> store = open("docs")
        >>> store.namespace("skin")["accent"] = "red"
        >>> store[("skin", "accent")]
        'red'
        """
        if type(prefix) is not str or not prefix:
            raise InvalidNameError(f"a namespace is a str that is not empty, not {prefix!r}", name=prefix)
        cache = self._cache
        return type(self)(self._engine, (*self._prefix, prefix), cache.max_entries, cache.max_bytes)

    # --- images --------------------------------------------------------------------------------------
    def flush(self) -> Optional[str]:
        """Write everything persistent into a new image. Its path, when it is on the disk; None if nothing is.

        Raises ``SnapshotError`` where the image directory cannot be used; older images are then as they were.
        """
        from .flush import flush

        return flush(self._engine)

    def backup(self, path: Any) -> int:
        """Write every record, persistent or not, into one file, in place of what is there. How many records."""
        from .flush import backup

        return backup(self._engine, path)

    def restore(self, path: Any, salvage: bool = False) -> Restored:
        """Replace everything in the store by what an image or a backup holds, at one moment.

        Raises ``SnapshotDamagedError`` with nothing changed where the image is damaged; with `salvage`, whatever of it
        still fits its checksums is taken, and the result says what was lost.
        """
        result = self._engine.restore(path, salvage=salvage)
        self._cache.clear()
        return result

    # --- upkeep --------------------------------------------------------------------------------------
    def stats(self) -> Dict[str, Any]:
        """Figures of the region (bytes, records, versions, images, the pid of whoever looks after it) and of this
        handle (cache, reads past it, retries).
        """
        from .upkeep import LOCK_SUFFIX

        return {
            "name": self._engine.name,
            "path": self._engine.path,
            **self._engine.facts(),
            **self._engine.image_facts(),
            "coordinator": lock_holder(self._engine.path + LOCK_SUFFIX),
            "cached": len(self._cache.records),
            "cached_bytes": self._cache.bytes,
            "uncached_reads": self.uncached_reads,
        }

    def check(self) -> List[str]:
        """What is wrong with the region, a sentence each; ``[]`` if it is whole. Keeps writers out meanwhile."""
        return self._engine.check()

    def repair(self) -> List[str]:
        """Rebuild everything that can be derived, and give up damaged records. What was given up."""
        return self._engine.repair()

    def clear_cache(self) -> None:
        """Forget what this handle has read; the next reads come from the region."""
        self._cache.clear()

    def close(self) -> None:
        """Let go of the region; all namespaces of this handle close with it. Twice does no harm."""
        self._engine.close()
        for view in self._engine.views():
            view._entries = _ClosedEntries()
            view._cache.clear()

    def _after_fork(self) -> None:
        self._cache.after_fork()

    def __enter__(self) -> Datastore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        inside = "".join(f".namespace({name!r})" for name in self._prefix)
        state = " closed" if self._engine.closed else ""
        return f"<Datastore {self._engine.name!r} in {self._engine.directory}{inside}{state}>"

    # --- keys ----------------------------------------------------------------------------------------
    def _encode(self, key: Key) -> bytes:
        if self._prefix:
            try:
                return encode_key((*self._prefix, key))
            except KeyTypeError:
                encode_key(key)  # the same error, of the user's own key
                raise
        if type(key) is str:
            try:
                encoded = b"s" + key.encode()
            except UnicodeEncodeError:  # surrogates
                return encode_key(key)
            if len(encoded) <= MAX_KEY:
                return encoded
        return encode_key(key)

    def _full(self, key: Key) -> Key:
        return (*self._prefix, key) if self._prefix else key

    def _decode(self, encoded: bytes) -> Key:
        key = decode_key(encoded)
        return key[-1] if self._prefix else key  # type: ignore[index]

    def _keys(self, key: Key) -> Tuple[CacheKey, bytes]:
        """(key in the cache, canonical bytes)"""
        encoded = self._encode(key)
        return (key if type(key) is str else encoded), encoded


class UncachedDatastore(Datastore):
    """A handle without a client cache: every read comes from the region. See ``ipcdatastore.open``."""

    __slots__ = ()

    def get(self, key: Key, default: Any = None) -> Any:
        """The value of `key`, or `default`; always the caller's own."""
        self.uncached_reads += 1
        found = self._engine.get(self._encode(key))
        return default if found is None else self._codec.decode(found.kind, found.value, key)

    def __getitem__(self, key: Key) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value


def _seconds(timeout: Any) -> Optional[float]:
    if timeout is None:
        return None
    if type(timeout) not in (int, float) or not timeout >= 0:
        raise ArgumentError(
            f"`timeout` is a number of seconds from 0 on, or None for ever, not {timeout!r}",
            name="timeout",
            value=timeout,
        )
    return float(timeout)


def _since(version: Any) -> Optional[int]:
    if version is not None and (type(version) is not int or version < 0):
        raise ArgumentError(f"a version is an int from 0 on, not {version!r}", name="since", value=version)
    return version
