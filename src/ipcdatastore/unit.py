"""A unit of work: reads and writes that count together or not at all, as the user sees it.

The body holds no lock. What it read is remembered by version, and re-read when anything in the region
changed meanwhile, so the body never acts on two moments; the commit checks the same versions again under
the writer lock and writes everything at one moment (:mod:`transaction`).
"""

from __future__ import annotations

from collections.abc import MutableMapping
from zlib import crc32

from .codec import KEEP, flags_of, shorten
from .errors import ArgumentError, ConflictError
from .platform import deadline

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Optional, Tuple

    from .codec import Key
    from .store import Datastore

    Base = MutableMapping[Key, Any]
else:
    Base = MutableMapping  # Python 3.8 cannot subscript it

_MISSING = object()


class Transaction(Base):
    """A mapping that reads the store and its own writes. Use it in a ``with`` statement.

    >>> import ipcdatastore
    >>> store = ipcdatastore.open("docs")
    >>> store.update(ann=10, bob=0)
    >>> with store.transaction() as t:
    ...     t["ann"] -= 4
    ...     t["bob"] += 4
    >>> store["ann"], store["bob"]
    (6, 4)
    """

    def __init__(self, store: Datastore) -> None:
        self._store = store
        self._engine = store._engine
        self._reads: Dict[bytes, Tuple[int, int]] = {}
        self._names: Dict[bytes, Key] = {}
        self._writes: Dict[bytes, Tuple[Key, Any, int, int]] = {}
        self._moment: Optional[Tuple[int, int]] = None
        self._open = True

    # --- the mapping ---------------------------------------------------------------------------------
    def __getitem__(self, key: Key) -> Any:
        """The value as of this transaction. Raises ``ConflictError`` when earlier reads no longer hold."""
        encoded = self._use(key)
        value = self._writes[encoded][1] if encoded in self._writes else self._read(key, encoded)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: Key, value: Any) -> None:
        self.set(key, value)

    def set(self, key: Key, value: Any, *, expire: Optional[float] = None, persist: Optional[bool] = None) -> None:
        """Write `value` at the commit; with `expire`, for so many seconds; `persist` as in the store's own ``set``."""
        encoded = self._use(key)
        self._writes[encoded] = (key, value, deadline(expire), flags_of(persist))

    def __delitem__(self, key: Key) -> None:
        self[key]  # KeyError, and the key is part of what was read
        self._writes[self._use(key)] = (key, _MISSING, 0, KEEP)

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[Key]:
        """The keys. New keys of others are no conflict: what was iterated is not part of what was read."""
        mine = dict(self._writes)
        for key in self._store:
            if self._store._encode(key) not in mine:
                yield key
        for key, value, _, _ in mine.values():
            if value is not _MISSING:
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # --- reading at one moment -----------------------------------------------------------------------
    def _use(self, key: Key) -> bytes:
        if not self._open:
            raise ArgumentError("the transaction is over: begin another", name="transaction", value=self)
        return self._store._encode(key)

    def _read(self, key: Key, encoded: bytes) -> Any:
        if self._moment is None:
            self._moment = self._engine.moment()
        record = self._engine.get(encoded)
        version = record.version if record else 0
        known = self._reads.setdefault(encoded, (crc32(encoded, self._engine.seed), version))
        self._names[encoded] = key
        if known[1] != version:
            raise self._conflict(key)
        now = self._engine.moment()
        if now != self._moment or now[1] & 1:
            self._verify()
            self._moment = now
        return _MISSING if record is None else self._store._codec.decode(record.kind, record.value, key)

    def _verify(self) -> None:
        """Everything that was read is still so."""
        for encoded, (_, version) in self._reads.items():
            record = self._engine.get(encoded)
            if (record.version if record else 0) != version:
                raise self._conflict(self._names[encoded])

    def _conflict(self, key: Key) -> ConflictError:
        return ConflictError(
            f"key {shorten(key)} was changed by another writer since this transaction read it: nothing was written; "
            "run the transaction again, or use `transact`",
            key=key,
        )

    # --- the end -------------------------------------------------------------------------------------
    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None and self._open:
            self.commit()
        self._open = False

    def commit(self) -> None:
        """Write everything at one moment. Called by leaving the ``with`` statement."""
        if not self._open:
            raise ArgumentError("the transaction is over: begin another", name="transaction", value=self)
        self._open = False
        self._engine.check_open()
        if not self._writes:
            self._verify()
            return
        writes = []
        for encoded, (key, value, expires, flags) in self._writes.items():
            if value is _MISSING:
                writes.append(self._engine.write(encoded))
            else:
                writes.append(self._store._write(key, value, expires, flags))
        self._engine.commit(writes, self._reads)

    def rollback(self) -> None:
        """Forget the writes."""
        self._open = False
        self._writes.clear()
