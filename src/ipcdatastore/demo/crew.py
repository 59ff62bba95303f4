"""Starts, watches and ends the demo's processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.process
import os
import signal
import sys
import time
import traceback
from typing import Any, Callable, Dict, Iterator, List

from ipcdatastore import DatastoreError

from .place import Board, DemoError, Place

CONTEXT = multiprocessing.get_context("spawn")  # the same on every system, and nothing inherited
PATIENCE = 20.0  # seconds that a process may take to come to its end
Process = multiprocessing.process.BaseProcess


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Children that are started in here never get a Ctrl-C; one that comes meanwhile reaches this process after.

    The terminal sends it to all processes of the demo at once, and only the director shall act on it. A child
    inherits what is blocked, so there is no moment in its start at which it could be interrupted; nor is there
    one at which this process could leave a child half-started that nobody knows of.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield  # Windows: the child ignores it as soon as it can
        return
    # Its start would unblock the signals again, between here and the child's.
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def settle() -> None:
    """In a child: a SIGTERM ends it, a Ctrl-C is none of its business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def enter(place: Place, role: Any, function: Callable[..., None], args: Any) -> None:
    """What every child runs: ``function(place, board, *args)``, with the reason on the board if it fails."""
    settle()
    board = None
    try:
        board = Board(place, role)
        function(place, board, *args)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason why the demo failed
        reason = f"{error}" if isinstance(error, (DemoError, DatastoreError)) else f"{type(error).__name__}: {error}"
        if not isinstance(error, (DemoError, DatastoreError, OSError)):
            traceback.print_exc()
        if board is not None and os.path.isdir(place.directory):
            board.set(("failed", role), reason)
        sys.exit(1)


class Crew:
    """The processes that the director has started."""

    def __init__(self, place: Place, board: Board) -> None:
        self._place = place
        self._board = board
        self._processes: Dict[Any, Process] = {}

    def start(self, role: Any, function: Callable[..., None], *args: Any) -> Process:
        """Start a process that runs ``function(place, board, *args)``."""
        process = CONTEXT.Process(target=enter, args=(self._place, role, function, args), daemon=True)
        with undisturbed():
            process.start()
            self._processes[role] = process
        return process

    def watch(self) -> List[Any]:
        """The roles that still run. Raises ``DemoError`` when a process has failed."""
        running = []
        for role, process in self._processes.items():
            if process.exitcode is None:
                running.append(role)
            elif process.exitcode:
                reason = self._board.get(("failed", role)) or f"it ended with exit code {process.exitcode}"
                raise DemoError(f"the {name(role)} failed: {reason}")
        return running

    def stop(self) -> None:
        """Ask every process to come to its end, and see that it does."""
        self._board.set("stop", True)
        until = time.monotonic() + PATIENCE
        for role, process in self._processes.items():
            process.join(max(0.0, until - time.monotonic()))
            if process.exitcode is None:
                raise DemoError(f"the {name(role)} did not come to its end within {PATIENCE:g} s")
        self.watch()
        self._processes.clear()
        self._board.set("stop", False)

    def kill(self, role: Any) -> None:
        """SIGKILL, and no word to the victim."""
        process = self._processes.pop(role)
        process.kill()
        process.join()

    def end(self) -> None:
        """Whatever happened: no process is left."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.join()
        self._processes.clear()


def name(role: Any) -> str:
    """A role, for people."""
    return " ".join(map(str, role)) if isinstance(role, tuple) else str(role)
