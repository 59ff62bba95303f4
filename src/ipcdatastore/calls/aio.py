"""Awaiting calls: one thread for each connection takes what comes, and tells the coroutines that wait for it.

Each coroutine then takes its own response, or finds that there is none in time: time-outs are the event loop's.
"""

from __future__ import annotations

import asyncio
import threading
from queue import Empty, SimpleQueue

from ..platform import at_fork_in_child
from .workers import start_thread

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from .connection import Connection
    from .pending import PendingCall

    Waiting = Tuple[Any, Any]  # a loop, and a future of it

LINGER = 1.0  # seconds that the thread stays when nobody waits: most who wait will wait again
GAP = 0.01  # seconds between two looks of a coroutine where no thread can be had
_starting = threading.Lock()


def _after_fork_in_child() -> None:
    global _starting  # noqa: PLW0603 - the parent may have had it
    _starting = threading.Lock()


at_fork_in_child(_after_fork_in_child)


class Awaiter:
    """The thread of one connection, while there are coroutines that wait."""

    __slots__ = ("_connection", "_waiting", "ended", "queue")

    def __init__(self, connection: Connection) -> None:
        self._connection: Any = connection
        self._waiting: Dict[int, Waiting] = {}
        self.queue: SimpleQueue[Tuple[int, Waiting]] = SimpleQueue()
        self.ended = start_thread(self._run, "ipcdatastore-await") is None

    def _run(self) -> None:
        while True:
            try:
                self._waiting.update([self.queue.get(timeout=0 if self._waiting else LINGER)])
                continue
            except Empty:
                pass
            if not self._waiting:
                with _starting:
                    if self.queue.empty():
                        self.ended = True
                        self._connection = None  # it may go now
                        return
                continue
            connection = self._connection
            there = [number for number in self._waiting if not connection.is_awaited(number)]
            if not there:
                try:
                    connection.attend()
                except Exception:  # noqa: BLE001 - the server has gone, say: each finds out for himself
                    there = list(self._waiting)
            del connection
            self._tell(there)

    def _tell(self, numbers: List[int]) -> None:
        for number in numbers:
            loop, future = self._waiting.pop(number)
            try:
                loop.call_soon_threadsafe(_finish, future)
            except RuntimeError:
                continue


def _finish(future: Any) -> None:
    if not future.done():
        future.set_result(None)


async def wait_for(call: PendingCall, connection: Optional[Connection], timeout: Optional[float]) -> Any:
    """The result of `call`, without holding up the loop."""
    if connection is not None and not call.done():
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        due = None if timeout is None else loop.call_later(timeout, _finish, future)
        try:
            if _attended(connection, call, (loop, future)):
                await future
            while not call.done() and not future.done():  # no thread can be had here
                connection.look()
                await asyncio.sleep(GAP)
        finally:
            if due is not None:
                due.cancel()
        if not call.done():
            call.fail(connection.timed_out(timeout))
    return call.result()


def _attended(connection: Connection, call: PendingCall, waiting: Waiting) -> bool:
    """Have the connection's thread tell when the response is there. Whether there is such a thread."""
    with _starting:
        if connection.awaiter is None or connection.awaiter.ended:
            connection.awaiter = Awaiter(connection)
        if connection.awaiter.ended:
            return False
        connection.awaiter.queue.put((call.number, waiting))
        return True
