"""Objects whose methods other processes call, through shared memory: no socket, no port.

``files`` says where they are and who lives, ``ring`` carries messages, ``doze`` waits for the other end; ``session``
and ``server`` are one end, ``connection``, ``links`` and ``proxy`` the other. Each end imports its own half only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .exposed import expose
    from .failure import RemoteTraceback, remote_traceback
    from .links import Link
    from .listing import ObjectInfo, objects
    from .pending import PendingCall
    from .proxy import Proxy, connect, link
    from .server import ObjectServer, serve_object

_LAZY = {
    "Link": "links",
    "ObjectInfo": "listing",
    "ObjectServer": "server",
    "PendingCall": "pending",
    "Proxy": "proxy",
    "RemoteTraceback": "failure",
    "connect": "proxy",
    "expose": "exposed",
    "link": "proxy",
    "objects": "listing",
    "remote_traceback": "failure",
    "serve_object": "server",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("." + _LAZY[name], __name__), name)


__all__ = [
    "Link",
    "ObjectInfo",
    "ObjectServer",
    "PendingCall",
    "Proxy",
    "RemoteTraceback",
    "connect",
    "expose",
    "link",
    "objects",
    "remote_traceback",
    "serve_object",
]
