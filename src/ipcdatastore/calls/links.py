"""A client's way to an object, whichever server has it: finds the server, and finds the next one when that is gone.

Each thread has a connection of its own, so that threads do not wait for each other, and the calls of each stay in
order.
"""

from __future__ import annotations

import time
import weakref
from _thread import RLock
from _thread import _local as ThreadLocal  # noqa: N812

from .. import place, platform
from ..errors import ArgumentError, ServerUnavailableError
from . import files, here, layout
from .connection import Connection
from .layout import ONEWAY

TYPE_CHECKING = False  # importing `typing` would be a third of the import time

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

    from .batch import Batch
    from .proxy import Proxy

PORTION = 64
MOST_ITEMS = 10_000
LOOK_FOR_SERVER = 0.01  # seconds between two looks while a server is waited for
SERVERS_TRIED = 3  # one after the other, for one call that none of them began
_links: weakref.WeakSet[Link] = weakref.WeakSet()  # those of this interpreter, for a fork


class Link:
    """How a proxy reaches its object: ``ipcdatastore.link(proxy)``.

    One that is made by itself need not find a server yet. `timeout` is in seconds, for each call; None: as long as it
    takes. `portion` is how many items of a generator it may be ahead of who reads them: 64; with 1 each comes as soon
    as it is there, for a round trip. Both may be changed.
    """

    __slots__ = (
        "__weakref__",
        "_description",
        "_finding",
        "_local",
        "_portion",
        "_server",
        "_timeout",
        "directory",
        "name",
        "path",
    )

    def __init__(
        self, name: str, directory: Any = None, timeout: Optional[float] = None, portion: int = PORTION
    ) -> None:
        self.name = name
        self.directory = place.resolve_directory(directory)
        self.path = files.directory_of(name, self.directory)
        self.timeout = timeout
        self.portion = portion
        self._finding = RLock()
        self._description: Any = None
        self._local = ThreadLocal()
        self._server: Any = None
        _links.add(self)

    @property
    def timeout(self) -> Optional[float]:
        """Seconds for each call; None: as long as it takes."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: Optional[float]) -> None:
        self._timeout: Optional[float] = check_timeout(seconds)

    @property
    def portion(self) -> int:
        """How many items of a generator may be asked for at once."""
        return self._portion

    @portion.setter
    def portion(self, items: int) -> None:
        if type(items) is not int or not 1 <= items <= MOST_ITEMS:
            raise ArgumentError(
                f"`portion` is a number of items from 1 to {MOST_ITEMS:,}, not {items!r}", name="portion", value=items
            )
        self._portion = items

    # --- connections ---------------------------------------------------------------------------------
    def connection(self) -> Connection:
        """This thread's connection, made if need be."""
        try:
            found: Optional[Connection] = self._local.connection
        except AttributeError:
            found = None
        if found is not None and (not found.is_usable() or found.is_taken()):
            self._local.connection = None
            if found.lost:
                found.close()
            found = None
        if found is None:
            found = self._connect()
        if here.servers and here.is_served_by_this_thread(found.server_id):
            raise ServerUnavailableError(
                f"this very thread serves {self.name}, and could never answer itself: call the object directly, or "
                "give its server several `workers`",
                name=self.name,
                started=False,
            )
        return found

    def _connect(self) -> Connection:
        for _ in range(SERVERS_TRIED):
            shared, facts = self._find()
            try:
                connection = Connection(self.name, self.path, shared, facts)
            except OSError:
                if files.serves(shared):
                    raise
                continue  # it has just stopped, and removed its directory
            self._local.connection = connection
            return connection
        raise self._unavailable()

    def _find(self) -> Any:
        with self._finding:
            if self._server is None or not files.serves(self._server[0]):
                self._server = None
                self._server = files.find_server(self.path)
            if self._server is None:
                raise self._unavailable()
            return self._server

    def _unavailable(self) -> ServerUnavailableError:
        return ServerUnavailableError(
            f"nobody serves {self.name} in {self.directory}; start its server", name=self.name, started=False
        )

    def available(self) -> bool:
        """Whether a server has the object now. Costs a few microseconds."""
        return self.server_id is not None

    @property
    def server_id(self) -> Optional[bytes]:
        """The server that has the object now, None if none has. Each that ever was has another one."""
        try:
            return self._find()[1].id  # type: ignore[no-any-return]
        except ServerUnavailableError:
            return None

    def wait(self, seconds: float) -> None:
        """Wait until a server has the object; ``ServerUnavailableError`` after so many seconds."""
        if type(seconds) not in (int, float) or not seconds >= 0:
            raise ArgumentError(f"`wait` is a number of seconds, not {seconds!r}", name="wait", value=seconds)
        deadline = time.monotonic() + seconds
        while not self.available():
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._unavailable()
            platform.pause(min(left, LOOK_FOR_SERVER))

    def close(self) -> None:
        """Close this thread's connection; those of other threads go with their threads. A later call connects again."""
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        self._server = None
        if connection is not None:
            connection.close()

    # --- calls ---------------------------------------------------------------------------------------
    def ask(self, kind: int, name: str, arguments: Any, keywords: Any, timeout: Optional[float]) -> Any:
        """Send a request and wait for the response. One that no server began is sent to the next server."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for _ in range(SERVERS_TRIED):
            connection = self.connection()
            try:
                kind, payload = connection.ask(kind, name, arguments, keywords, timeout, deadline)
            except ServerUnavailableError as error:
                if error.started or not self.available():
                    raise
                continue
            return connection.read(kind, payload, name, timeout, self.portion)
        raise self._unavailable()

    def tell(self, name: str, arguments: Any, keywords: Any, timeout: Optional[float]) -> None:
        """Call a method, and do not wait: it is done after everything that this thread asked for before."""
        connection = self._living()
        connection.send(ONEWAY, connection.messages.request(name, arguments, keywords), timeout)

    def submit(self, kind: int, name: str, arguments: Any, keywords: Any, timeout: Optional[float]) -> Any:
        """Call a method, and get the response later: a ``PendingCall``."""
        from .pending import PendingCall

        connection = self._living()
        number = connection.send(kind, connection.messages.request(name, arguments, keywords), timeout)
        return PendingCall(connection, number, name, timeout)

    def _living(self) -> Connection:
        """A connection whose server lives just now: nobody waits for an answer that would tell."""
        connection = self.connection()
        if connection.server_lives():
            return connection
        return self._connect()

    # --- what there is -------------------------------------------------------------------------------
    def describe(self) -> Dict[str, Any]:
        """``class``, ``methods``, ``oneway``, ``attributes`` and ``writable`` of the object, as its server says."""
        connection = self.connection()
        described = self._description
        if described is None or described[0] != connection.server_id:
            found = self.ask(layout.DESCRIBE, "", (), {}, self.timeout)
            self._description = described = connection.server_id, found
        return described[1]  # type: ignore[no-any-return]

    def describe_in_full(self) -> Dict[str, Any]:
        """The same with ``signatures``, and ``docs`` (the first line of each), for people. Asked for each time."""
        return self.ask(layout.DESCRIBE, "", (True,), {}, self.timeout)  # type: ignore[no-any-return]

    @property
    def proxy(self) -> Proxy:
        """A proxy that goes through this link."""
        from .proxy import Proxy

        return Proxy(self)

    def batch(self) -> Batch:
        """Several calls in one message; see ``Batch``."""
        from .batch import Batch

        return Batch(self)

    def __reduce__(self) -> Tuple[Callable[..., Link], Tuple[Any, ...]]:
        return Link, (self.name, self.directory, self.timeout, self.portion)

    def __repr__(self) -> str:
        return f"<Link to {self.name!r} in {self.directory}>"

    def after_fork(self) -> None:
        """In the child: connections are the parent's."""
        self._local = ThreadLocal()
        self._finding = RLock()
        self._server = None


def check_timeout(timeout: Any) -> Any:
    """`timeout` itself, if it can be one."""
    if timeout is not None and (type(timeout) not in (int, float) or not timeout > 0):
        raise ArgumentError(
            f"`timeout` is a number of seconds above 0, or None for as long as it takes, not {timeout!r}",
            name="timeout",
            value=timeout,
        )
    return timeout


def _after_fork_in_child() -> None:
    for link in list(_links):
        link.after_fork()


platform.at_fork_in_child(_after_fork_in_child)
