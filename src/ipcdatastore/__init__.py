"""Share Python objects between the processes of one machine, through shared memory, with no server and no socket.

::

    import ipcdatastore

    with ipcdatastore.open("demo") as store:
        store["skin.accent"] = {"red": 12}
        store.get("skin.accent")
"""

from .errors import (
    ArgumentError,
    ClosedError,
    ConflictError,
    DatastoreError,
    DecodeError,
    EncodeError,
    FormatError,
    InvalidNameError,
    KeyTypeError,
    LockLostError,
    LockTimeoutError,
    PlaceError,
    ReadOnlyError,
    RegionDamagedError,
    RegionNotFoundError,
    RestoreWarning,
    SnapshotDamagedError,
    SnapshotError,
    StoreFullError,
    TooLargeError,
    UntrustedRegionError,
)
from .store import Datastore, Entry, open

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "ClosedError",
    "ConflictError",
    "Datastore",
    "DatastoreError",
    "DecodeError",
    "EncodeError",
    "Entry",
    "FormatError",
    "InvalidNameError",
    "KeyTypeError",
    "LockLostError",
    "LockTimeoutError",
    "PlaceError",
    "ReadOnlyError",
    "RegionDamagedError",
    "RegionNotFoundError",
    "RestoreWarning",
    "SnapshotDamagedError",
    "SnapshotError",
    "StoreFullError",
    "TooLargeError",
    "UntrustedRegionError",
    "open",
]
