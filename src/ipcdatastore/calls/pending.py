"""A call that was sent and whose result is wanted later."""

from __future__ import annotations

import time
from _thread import allocate_lock

from ..errors import ServerUnavailableError
from ..platform import look_up
from .doze import CLIENT_TICK
from .links import check_timeout

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Generator, Optional

    from .connection import Connection


class PendingCall:
    """A call under way: ``result()`` waits for it, and so does ``await`` in a coroutine. From any thread.

    >>> with ipcdatastore.serve_object("docs", [3, 1]).start():
    ...     call = ipcdatastore.connect("docs").count.submit(3)
    ...     call.result()
    1
    """

    __slots__ = ("_connection", "_error", "_finding", "_timeout", "_value", "_what", "number")

    def __init__(self, connection: Connection, number: int, what: str, timeout: Optional[float]) -> None:
        self._connection: Optional[Connection] = connection  # None: it has its result, or its error
        self.number = number
        self._what = what
        self._timeout = timeout
        self._value: Any = None
        self._error: Optional[BaseException] = None
        self._finding = allocate_lock()  # held by the thread that waits: there is one response

    def result(self, timeout: Any = ...) -> Any:
        """What the call returned; what it raised is raised here. `timeout`: the proxy's own, if none is given."""
        self._find_out(timeout)
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self, timeout: Any = ...) -> Optional[BaseException]:
        """What the call raised; None if it returned."""
        self._find_out(timeout)
        return self._error

    def done(self) -> bool:
        """Whether ``result`` would not wait."""
        connection = self._connection
        return connection is None or connection.has_arrived(self.number)

    def _find_out(self, timeout: Any) -> None:
        connection = self._connection
        if connection is None:
            return
        seconds = self._timeout if timeout is ... else check_timeout(timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        connection.check_process()
        left = CLIENT_TICK
        while not self._finding.acquire(True, left):
            look_up()
            if deadline is not None:
                left = min(CLIENT_TICK, deadline - time.monotonic())
                if left <= 0:
                    raise connection.timed_out(seconds)
        try:
            if self._connection is not None:  # or the other thread has it
                self._receive(connection, seconds, deadline)
        finally:
            self._finding.release()

    def _receive(self, connection: Connection, seconds: Optional[float], deadline: Optional[float]) -> None:
        try:
            kind, payload = connection.receive(self.number, seconds, deadline)
        except ServerUnavailableError as error:
            self._settle(None, error)
            return
        try:
            self._settle(connection.read(kind, payload, self._what, self._timeout), None)
        except Exception as error:  # noqa: BLE001 - the call's own
            self._settle(None, error)

    def _settle(self, value: Any, error: Optional[BaseException]) -> None:
        self._value, self._error = value, error
        self._connection = None

    def fail(self, error: Exception) -> None:
        """Nobody waits any more: whoever asks gets `error`."""
        connection = self._connection
        if connection is not None:
            connection.forget(self.number)
            self._settle(None, error)

    def __await__(self) -> Generator[Any, None, Any]:
        from .aio import wait_for

        return wait_for(self, self._connection, self._timeout).__await__()

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.forget(self.number)
