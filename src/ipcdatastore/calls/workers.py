"""Threads that serve several clients at once."""

from __future__ import annotations

import threading
import traceback
from queue import SimpleQueue

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable


class Pool:
    """So many daemon threads, to each of which `function` is called with what was put in."""

    def __init__(self, workers: int, function: Callable[[Any], None], name: str) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._function = function
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()
        self.idents = frozenset(thread.ident for thread in self._threads)

    def put(self, item: Any) -> None:
        """Have one of the threads do `item`."""
        self._queue.put(item)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            try:
                self._function(item)
            except BaseException:  # noqa: BLE001 - SystemExit say: whoever called was told
                traceback.print_exc()

    def close(self) -> None:
        """Wait until all is done."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
