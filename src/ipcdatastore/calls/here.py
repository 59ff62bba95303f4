"""Which servers run in this interpreter, by their ids: who would call itself is told so."""

from __future__ import annotations

from _thread import get_ident
from _weakref import ref

from ..platform import at_fork_in_child

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, List

    from .server import ObjectServer

servers: List[Any] = []  # weak references


def add(server: ObjectServer) -> None:
    """One more."""
    servers[:] = [known for known in servers if known() is not None] + [ref(server)]


def is_served_by_this_thread(server_id: bytes) -> bool:
    """Whether the server of that id is one that this very thread runs, so that it cannot answer."""
    for reference in servers:
        server = reference()
        if server is not None and server.id == server_id and server.is_busy_with(get_ident()):
            return True
    return False


def _after_fork_in_child() -> None:
    for reference in servers:
        server = reference()
        if server is not None:
            server.after_fork()
    servers.clear()


at_fork_in_child(_after_fork_in_child)
