"""Which servers run in this interpreter, by their ids: who would call itself is told so."""

from __future__ import annotations

from _weakref import ref

from ..platform import at_fork_in_child

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict

    from .server import ObjectServer

servers: Dict[bytes, Any] = {}  # weak references


def add(server: ObjectServer) -> None:
    """One more."""
    number = server.id
    servers[number] = ref(server, lambda _: servers.pop(number, None))


def is_served_by_this_thread(server_id: bytes) -> bool:
    """Whether the server of that id is one that this very thread runs, so that it cannot answer."""
    reference = servers.get(server_id)
    server = None if reference is None else reference()
    return server is not None and server._is_alone_here()


def _after_fork_in_child() -> None:
    for reference in list(servers.values()):
        server = reference()
        if server is not None:
            server.after_fork()
    servers.clear()


at_fork_in_child(_after_fork_in_child)
