"""The results of a generator of another process, one by one.

They are asked for in portions, and the generator does not go on before the next portion is asked for: a slow reader
holds it back. Portions grow as long as the items are quick, so that many small ones do not cost a call each.
"""

from __future__ import annotations

from collections import deque

from . import layout

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Deque, Tuple

    from .connection import Connection

MOST = 64  # items that the generator may be ahead


class RemoteIterator:
    """What a call returns whose method is a generator there. Closed at its end, by `close`, or when it is dropped."""

    def __init__(self, connection: Connection, number: int, what: str) -> None:
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
            if self._over:
                raise StopIteration
            self._ask()
        kind, payload = self._items.popleft()
        if kind == layout.LAST_ITEM:
            raise StopIteration
        messages = self._connection.messages
        if kind == layout.ERROR:
            raise messages.read_error(payload)
        return messages.read_result(kind, payload, self._what)

    def _ask(self) -> None:
        self._connection.check_process()
        try:
            items = self._connection.ask(layout.NEXT, self._what, (self._number, self._portion), {}, None)
        except BaseException:  # a signal, say: items may have been on their way, and are not left out in silence
            self.close()
            raise
        self._items.extend(items)
        self._over = bool(items) and items[-1][0] in (layout.LAST_ITEM, layout.ERROR)
        # Fewer than asked for: it takes long to make one.
        self._portion = min(2 * self._portion, MOST) if len(items) == self._portion else 1

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
