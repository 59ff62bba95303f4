"""The public exception tree.

::

    DatastoreError
    +-- ArgumentError           (ValueError)       an option or argument out of its range
    +-- InvalidNameError        (ValueError)       a region or namespace name that cannot be used
    +-- KeyTypeError            (TypeError)        a key that is not str, bytes, int or a tuple of them
    +-- TooLargeError           (ValueError)       a key or a value over the limit
    +-- EncodeError             (TypeError)        a value that the serializer cannot write
    +-- DecodeError             (ValueError)       a value that this process cannot read
    +-- ReadOnlyError           (PermissionError)  a write through a read-only handle
    +-- ClosedError             (ValueError)       a handle used after ``close``
    +-- RegionNotFoundError     (FileNotFoundError)
    +-- PlaceError              (OSError)          a directory that cannot hold a region
    |   +-- SnapshotError                          a directory of images that cannot be used
    +-- UntrustedRegionError    (PermissionError)  a region that somebody else owns or can write
    +-- FormatError             (ValueError)       a region of another format, byte order or serializer
    +-- RegionDamagedError      (RuntimeError)     a region whose bytes contradict each other
    +-- SnapshotDamagedError    (RuntimeError)     an image that is not what was once written
    +-- StoreFullError          (MemoryError)      no room, and nothing was changed
    +-- LockTimeoutError        (TimeoutError)     the writer lock was not obtained in time
    |   +-- ServiceRunningError                    another process looks after the region
    |   +-- ObjectServedError                      another server has that name
    +-- WaitEndedError          (InterruptedError) a wait given up because the host of the program ends
    +-- LockLostError           (RuntimeError)     somebody else wrote while this handle held the lock
    +-- ConflictError           (RuntimeError)     a transaction met a change made meanwhile
    +-- ServerUnavailableError  (ConnectionError)  nobody serves the object, or its server died
    +-- CallTimeoutError        (TimeoutError)     a call was not answered in time
    +-- NotExposedError         (AttributeError)   a name of an object that cannot be used from outside
    +-- RemoteError             (RuntimeError)     what a call raised there, and cannot be had here

    RestoreWarning (a UserWarning): a region was restored, but not from its newest image

Each derives from the builtin that a caller would already catch, carries what it speaks of as
attributes, and survives pickling. All of them can be imported from :mod:`ipcdatastore`.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple, Type


__all__ = [
    "ArgumentError",
    "CallTimeoutError",
    "ClosedError",
    "ConflictError",
    "DatastoreError",
    "DecodeError",
    "EncodeError",
    "FormatError",
    "InvalidNameError",
    "KeyTypeError",
    "LockLostError",
    "LockTimeoutError",
    "NotExposedError",
    "ObjectServedError",
    "PlaceError",
    "ReadOnlyError",
    "RegionDamagedError",
    "RegionNotFoundError",
    "RemoteError",
    "ServerUnavailableError",
    "ServiceRunningError",
    "SnapshotDamagedError",
    "SnapshotError",
    "StoreFullError",
    "TooLargeError",
    "UntrustedRegionError",
    "WaitEndedError",
]

# What loads from damaged bytes end in: addresses outside of the region, lengths beyond its end, numbers too large.
BROKEN = (IndexError, struct.error, OverflowError, ValueError)


class DatastoreError(Exception):
    """Base of every error that this library raises on purpose."""

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self._fields = fields
        for name, value in fields.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self._fields)


def _rebuild(kind: Type[DatastoreError], message: str, fields: Dict[str, Any]) -> DatastoreError:
    return kind(message, **fields)


class ArgumentError(DatastoreError, ValueError):
    """An argument out of its range. ``name`` is the argument's, ``value`` what was given."""

    name: str
    value: Any


class InvalidNameError(DatastoreError, ValueError):
    """A name that cannot be used. ``name`` is the offender."""

    name: Any


class KeyTypeError(DatastoreError, TypeError):
    """A key of a type that has no canonical form. ``key`` is the offender."""

    key: Any


class TooLargeError(DatastoreError, ValueError):
    """A key or value over the limit. ``size`` and ``limit`` are bytes."""

    size: int
    limit: int


class EncodeError(DatastoreError, TypeError):
    """A value that the region's serializer cannot write. ``key`` says which; ``__cause__`` says why."""

    key: Any


class DecodeError(DatastoreError, ValueError):
    """A value that this process cannot read.

    ``key`` says which; ``module`` and ``name`` say which class could not be found, where that is the
    reason; ``__cause__`` is the serializer's own error.
    """

    key: Any
    module: Optional[str]
    name: Optional[str]


class ReadOnlyError(DatastoreError, PermissionError):
    """A write through a handle that was opened with ``mode="r"``."""


class ClosedError(DatastoreError, ValueError):
    """The handle was closed."""


class RegionNotFoundError(DatastoreError, FileNotFoundError):
    """There is no region ``path``, and the mode does not create one."""

    path: str


class PlaceError(DatastoreError, OSError):
    """The directory ``path`` cannot hold a region; ``__cause__`` is the system's own error, if any."""

    path: str


class SnapshotError(PlaceError):
    """Images cannot be kept in the directory ``path``: it is full, read-only, or holds those of another store."""


class UntrustedRegionError(DatastoreError, PermissionError):
    """``path`` is owned by, or can be written by, somebody else: nothing of it was read."""

    path: str


class FormatError(DatastoreError, ValueError):
    """``path`` is no region, or one of another format version, byte order or serializer."""

    path: str


class RegionDamagedError(DatastoreError, RuntimeError):
    """The bytes of region ``path`` contradict each other; ``problems`` lists what was found."""

    path: str
    problems: Tuple[str, ...]


class SnapshotDamagedError(DatastoreError, RuntimeError):
    """The image ``path`` is not what was once written; ``problems`` lists what was found."""

    path: str
    problems: Tuple[str, ...]


class StoreFullError(DatastoreError, MemoryError):
    """No room, and nothing was changed. ``needed`` and ``free`` are bytes; ``hint`` says what to do."""

    needed: int
    free: int
    hint: str


class LockTimeoutError(DatastoreError, TimeoutError):
    """The writer lock was not obtained in ``timeout`` seconds; ``holder`` is a pid, where one is known."""

    timeout: float
    holder: Optional[int]


class ServiceRunningError(LockTimeoutError):
    """Another service looks after the region; ``holder`` is its pid, where one is known."""


class ObjectServedError(LockTimeoutError):
    """Another server has that name; ``holder`` is its pid, where one is known."""


class WaitEndedError(DatastoreError, InterruptedError):
    """The host of this program is about to end, so a wait was given up; nothing was changed. For `on_wait` to raise."""


class LockLostError(DatastoreError, RuntimeError):
    """Another writer was inside while this handle held the lock; nothing more was touched."""


class ConflictError(DatastoreError, RuntimeError):
    """A transaction read ``key``, which another writer changed before the commit. Nothing was written."""

    key: Any


class ServerUnavailableError(DatastoreError, ConnectionError):
    """Nobody serves the object ``name``, or its server ended before it answered.

    ``started`` is False where the call never ran, and never will: it may be made again. True: its outcome is unknown.
    """

    name: str
    started: bool


class CallTimeoutError(DatastoreError, TimeoutError):
    """A call of the object ``name`` was not answered within ``timeout`` seconds. It may still run, once."""

    name: str
    timeout: float


class NotExposedError(DatastoreError, AttributeError):
    """``name`` is none of the methods and attributes that an object exposes."""

    name: Any


class RemoteError(DatastoreError, RuntimeError):
    """A call raised a ``type_name`` there which cannot be had here; ``__cause__`` has the traceback."""

    type_name: str


class RestoreWarning(UserWarning):
    """A region was restored from an older image, since the newest one is damaged."""
