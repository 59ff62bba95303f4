"""The scratch place of one demo: a directory of its own with two regions, records and board.

The board is how the demo's processes talk: each puts its figures there, and reads ``"stop"`` in its inner
loop, which costs one word load as long as nobody has changed it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import tempfile
import time
from typing import Any, Iterator, NamedTuple, Optional

import ipcdatastore

from ..place import prepare_directory, resolve_directory

REPORT_EVERY = 0.2  # seconds


class DemoError(Exception):
    """The demo cannot go on, and the message says why."""


class Place(NamedTuple):
    """Where the processes of one demo meet. Goes to each of them by pickle."""

    directory: str
    timeout: float

    def open(self, name: str, mode: str = "w") -> ipcdatastore.Datastore:
        """A handle on one of the two regions."""
        return ipcdatastore.open(name, directory=self.directory, mode=mode, timeout=self.timeout)


@contextlib.contextmanager
def scratch(directory: Optional[str], timeout: float) -> Iterator[Place]:
    """A private directory in the default memory-backed place (or `directory`), removed at the end."""
    parent = resolve_directory(directory)
    prepare_directory(parent)
    place = Place(tempfile.mkdtemp(prefix="demo-", dir=parent), timeout)
    try:
        yield place
    finally:
        remove(place)


def remove(place: Place) -> None:
    """Remove the directory. Windows lets go of a dead process's mapping late, so several times there."""
    for _ in range(50):
        shutil.rmtree(place.directory, ignore_errors=True)
        if not os.path.exists(place.directory):
            return
        time.sleep(0.05)


def end_if_alone(place: Place) -> None:
    """If the director was killed, there is nobody else who would clean up."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        remove(place)
        raise SystemExit(1)


class Board:
    """One process's handle on the board."""

    def __init__(self, place: Place, role: Any, mode: str = "w") -> None:
        self._place = place
        self._store = place.open("board", mode)
        self._role = role
        self._next = 0.0
        self.get = self._store.get
        self.set = self._store.set

    def stopping(self) -> bool:
        """Whether the director wants this process to come to its end."""
        return bool(self.get("stop"))

    def due(self) -> bool:
        """Whether it is time to report again."""
        return time.monotonic() >= self._next

    def report(self, figures: Any) -> None:
        """Put this process's figures on the board."""
        end_if_alone(self._place)
        self._store[self._role] = figures
        self._next = time.monotonic() + REPORT_EVERY

    def close(self) -> None:
        """Let go of the board."""
        self._store.close()
