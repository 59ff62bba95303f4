"""Share Python objects between the processes of one machine, through shared memory, with no server and no socket.

::

    import ipcdatastore

    with ipcdatastore.open("demo") as store:
        store["skin.accent"] = {"red": 12}
        store.get("skin.accent")
"""

from __future__ import annotations

from .errors import (
    ArgumentError,
    CallTimeoutError,
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
    NotExposedError,
    ObjectServedError,
    PlaceError,
    ReadOnlyError,
    RegionDamagedError,
    RegionNotFoundError,
    RemoteError,
    RestoreWarning,
    ServerUnavailableError,
    ServiceRunningError,
    SnapshotDamagedError,
    SnapshotError,
    StoreFullError,
    TooLargeError,
    UntrustedRegionError,
    WaitEndedError,
)
from .platform import on_wait
from .store import Datastore, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .calls.exposed import expose
    from .calls.failure import RemoteTraceback, remote_traceback
    from .calls.links import Link
    from .calls.listing import ObjectInfo, objects
    from .calls.pending import PendingCall
    from .calls.proxy import Proxy, connect, link
    from .calls.server import ObjectServer, serve_object
    from .locks import NamedLock
    from .opening import open
    from .restore import Restored
    from .service import Service
    from .watching import Event, Watch

__version__ = "0.1.0"

_LAZY = {
    "Event": "watching",
    "Link": "calls.links",
    "NamedLock": "locks",
    "ObjectInfo": "calls.listing",
    "ObjectServer": "calls.server",
    "PendingCall": "calls.pending",
    "Proxy": "calls.proxy",
    "RemoteTraceback": "calls.failure",
    "Restored": "restore",
    "Service": "service",
    "Watch": "watching",
    "connect": "calls.proxy",
    "expose": "calls.exposed",
    "link": "calls.proxy",
    "objects": "calls.listing",
    "open": "opening",
    "remote_traceback": "calls.failure",
    "serve_object": "calls.server",
}


def __getattr__(name: str) -> Any:
    """What not everybody uses is imported at its first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module("." + _LAZY[name], __name__), name)
    globals()[name] = found
    return found


__all__ = [
    "ArgumentError",
    "CallTimeoutError",
    "ClosedError",
    "ConflictError",
    "Datastore",
    "DatastoreError",
    "DecodeError",
    "EncodeError",
    "Entry",
    "Event",
    "FormatError",
    "InvalidNameError",
    "KeyTypeError",
    "Link",
    "LockLostError",
    "LockTimeoutError",
    "NamedLock",
    "NotExposedError",
    "ObjectInfo",
    "ObjectServedError",
    "ObjectServer",
    "PendingCall",
    "PlaceError",
    "Proxy",
    "ReadOnlyError",
    "RegionDamagedError",
    "RegionNotFoundError",
    "RemoteError",
    "RemoteTraceback",
    "RestoreWarning",
    "Restored",
    "ServerUnavailableError",
    "Service",
    "ServiceRunningError",
    "SnapshotDamagedError",
    "SnapshotError",
    "StoreFullError",
    "TooLargeError",
    "UntrustedRegionError",
    "WaitEndedError",
    "Watch",
    "connect",
    "expose",
    "link",
    "objects",
    "on_wait",
    "open",
    "remote_traceback",
    "serve_object",
]
