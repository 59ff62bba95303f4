"""Awaiting a call: one thread for each connection takes what comes for the coroutines that wait."""

from __future__ import annotations

import asyncio
import threading
from queue import Empty, SimpleQueue

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Optional

    from .connection import Connection
    from .pending import PendingCall

LINGER = 1.0  # seconds that the thread stays when nobody waits: most who wait will wait again
_starting = threading.Lock()


class Awaiter:
    """The thread of one connection, while there are coroutines that wait."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Any] = SimpleQueue()
        self.ended = False
        threading.Thread(target=self._run, name="ipcdatastore-await", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                call, loop, future = self.queue.get(timeout=LINGER)
            except Empty:
                with _starting:
                    if self.queue.empty():
                        self.ended = True
                        return
                continue
            # In the order of the calls, which is that of the responses: none waits for a later one.
            try:
                call.exception()
            except Exception as error:  # noqa: BLE001 - a time-out, or the host ends
                call.fail(error)
            try:
                loop.call_soon_threadsafe(_finish, future)
            except RuntimeError:  # the loop was closed
                continue
            del call, loop, future


def _finish(future: Any) -> None:
    if not future.done():
        future.set_result(None)


async def wait_for(call: PendingCall, connection: Optional[Connection]) -> Any:
    """The result of `call`, without holding up the loop."""
    if connection is not None and not call.done():
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with _starting:
            if connection.awaiter is None or connection.awaiter.ended:
                connection.awaiter = Awaiter()
            connection.awaiter.queue.put((call, loop, future))
        await future
    return call.result()
