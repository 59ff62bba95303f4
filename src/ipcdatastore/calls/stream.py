"""The results of a generator of another process, one by one.

They are asked for in portions, and the generator does not go on before the next portion is asked for: a slow reader
holds it back. Portions grow as long as the items are quick, so that many small ones do not cost a call each.
"""

from __future__ import annotations

import time
from collections import deque

from ..errors import ServerUnavailableError
from . import layout
from .failure import restore

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Deque, Optional, Tuple

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

    def __iter__(self) -> RemoteIterator:
        return self

    def __next__(self) -> Any:
        while not self._items:
            if self._lost:
                raise ServerUnavailableError(
                    f"a request for items of {self._connection.name}.{self._what} was given up: those that were under "
                    "way are lost; call it again",
                    name=self._connection.name,
                    started=True,
                )
            if self._over:
                raise StopIteration
            self._ask()
        kind, payload = self._items.popleft()
        if kind == layout.LAST_ITEM:
            raise StopIteration
        messages = self._connection.messages
        if kind == layout.ERROR:
            raise restore(payload, messages, self._what)
        return messages.read_result(kind, payload, self._what)

    def _ask(self) -> None:
        connection, timeout = self._connection, self._timeout
        connection.check_process()
        deadline = None if timeout is None else time.monotonic() + timeout
        wanted = (self._number, self._portion)
        try:
            kind, payload = connection.ask(layout.NEXT, self._what, wanted, {}, timeout, deadline)
        except BaseException:  # a signal, say: nothing is left out in silence
            self.close()
            self._lost = True
            raise
        items = connection.read(kind, payload, self._what)
        self._items.extend(items)
        self._over = bool(items) and items[-1][0] in (layout.LAST_ITEM, layout.ERROR)
        # Fewer than asked for: it takes long to make one.
        self._portion = min(2 * self._portion, self._most) if len(items) == self._portion else 1

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
