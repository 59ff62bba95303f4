"""Objects whose methods other processes call, through shared memory: no socket, no port.

``files`` says where they are and who lives, ``ring`` carries messages, ``doze`` waits for the other end; ``session``
and ``server`` are one end, ``connection``, ``link`` and ``proxy`` the other.
"""

from __future__ import annotations

from .exposed import expose
from .links import Link
from .listing import ObjectInfo, objects
from .message import RemoteTraceback, remote_traceback
from .pending import PendingCall
from .proxy import Proxy, connect, link
from .server import ObjectServer

serve_object = ObjectServer

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
