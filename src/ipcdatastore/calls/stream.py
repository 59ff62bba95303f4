"""The results of a generator of another process, one by one.

They are asked for in portions, and the generator does not go on before the next portion is asked for: a slow reader
holds it back. Portions grow as long as the items are quick, so that many small ones do not cost a call each.
"""

from __future__ import annotations

import time
from _thread import RLock
from collections import deque

from ..errors import ServerUnavailableError
from . import layout
from .failure import restore
from .pending import PendingCall

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Deque, List, Optional, Tuple

    from .connection import Connection


class RemoteIterator:
    """What a call returns whose method is a generator there. Closed at its end, by `close`, or when it is dropped."""

    def __init__(self, connection: Connection, number: int, what: str, timeout: Optional[float], portion: int) -> None:
        self._timeout = timeout  # for each portion
        self._most = portion
        self._lost = False  # items may have been on their way when a request for them was given up
        self._connection = connection
        self._number = number
        self._what = what
        self._items: Deque[Tuple[int, bytes]] = deque()
        self._portion = 1
        self._over = False  # the server has nothing of it any more
        self._reading = RLock()  # threads may share it: each item comes once

    def __iter__(self) -> RemoteIterator:
        return self

    def __next__(self) -> Any:
        with self._reading:
            while not self._items:
                if self._is_over():
                    raise StopIteration
                self._ask()
            return self._next(StopIteration)

    def __aiter__(self) -> RemoteIterator:
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            if self._is_over():
                raise StopAsyncIteration
            await self._ask_async()
        return self._next(StopAsyncIteration)

    def _next(self, end: type) -> Any:
        kind, payload = self._items.popleft()
        if kind == layout.LAST_ITEM:
            raise end
        messages = self._connection.messages
        if kind == layout.ERROR:
            raise restore(payload, messages, self._what)
        return messages.read_result(kind, payload, self._what)

    def _is_over(self) -> bool:
        if self._lost:
            raise self._given_up()
        return self._over

    def _ask(self) -> None:
        connection, timeout = self._connection, self._timeout
        connection.check_process()
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            kind, payload = connection.ask(
                layout.NEXT, self._what, (self._number, self._portion), {}, timeout, deadline
            )
        except BaseException as error:  # a signal, say: nothing is left out in silence
            self._give_up(error)
            raise
        self._take(connection.read(kind, payload, self._what))

    async def _ask_async(self) -> None:
        connection, timeout = self._connection, self._timeout
        connection.check_process()
        payload = connection.messages.request(self._what, (self._number, self._portion), {})
        try:
            number = connection.send(layout.NEXT, payload, timeout)
            self._take(await PendingCall(connection, number, self._what, timeout))
        except BaseException as error:  # cancelled, say
            self._give_up(error)
            raise

    def _take(self, items: List[Tuple[int, bytes]]) -> None:
        self._items.extend(items)
        self._over = bool(items) and items[-1][0] in (layout.LAST_ITEM, layout.ERROR)
        # Fewer than asked for: it takes long to make one.
        self._portion = min(2 * self._portion, self._most) if len(items) == self._portion else 1

    def _give_up(self, error: BaseException) -> None:
        self.close()
        self._lost = True
        if isinstance(error, ServerUnavailableError):
            # What never ran is a request for items; the method did.
            raise self._given_up() from error

    def _given_up(self) -> ServerUnavailableError:
        name = f"{self._connection.name}.{self._what}"
        return ServerUnavailableError(
            f"a request for items of {name} was given up, or its server has gone: its outcome is unknown, and items "
            "that were under way are lost",
            name=self._connection.name,
            started=True,
        )

    def close(self) -> None:
        """Have the generator closed there. Items that were not taken are lost."""
        if self._over:
            return
        self._over = True
        self._items.clear()
        if self._connection.is_usable():
            self._connection.end_stream(self._number)

    def __enter__(self) -> RemoteIterator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: BLE001 - the server ended, or Python does
            self._over = True
