"""Several threads that serve, so that a call which takes long holds up its own client only.

One of them leads: it waits for the bell, like a server with one thread. When it has found a client that wants
something it lets go of the lead, and serves that client itself: nothing is handed from one thread to another that the
client would have to wait for.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock, get_ident

from .clients import serve

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Set

    from .session import Session

SIGNAL_TICK = 0.1  # seconds between two moments in which the calling thread runs the handlers of signals
PER_TURN = 32  # requests of one client, after which the others are looked at


class Crew:
    """So many threads, the calling one among them.

    `find`, called by who leads, waits for a client that wants something, and None ends all; it is told whether others
    are serving. `ring` has who leads look again.
    """

    def __init__(self, find: Callable[[bool], Optional[Session]], ring: Callable[[], None]) -> None:
        self._find = find
        self._ring = ring
        self._lead = allocate_lock()
        self._serving: Set[int] = set()
        self._error: Optional[BaseException] = None
        self.idents: Set[int] = set()

    def run(self, size: int, name: str, stop: Callable[[], None]) -> None:
        """Serve until `find` gives None; `stop` has it do so. What ended a thread is raised here."""
        threads: List[threading.Thread] = []
        try:
            for _ in range(size - 1):
                thread = start_thread(lambda: self._work(stop), name)
                if thread is None:
                    break  # fewer then
                threads.append(thread)
            self._work(stop, SIGNAL_TICK)
        finally:
            stop()
            for thread in threads:
                thread.join()
        if self._error is not None:
            raise self._error

    def _work(self, stop: Callable[[], None], patience: float = -1) -> None:
        ident = get_ident()
        self.idents.add(ident)
        try:
            while True:
                # Not for ever: a signal may have come to another thread, and its handler waits for the main one.
                if not self._lead.acquire(True, patience):
                    continue
                try:
                    session = self._find(bool(self._serving))
                    if session is None:
                        return
                    self._serving.add(ident)
                finally:
                    self._lead.release()
                try:
                    self._serve(session)
                finally:
                    self._serving.discard(ident)
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            if self._error is None:
                self._error = error
            stop()
        finally:
            self.idents.discard(ident)

    def _serve(self, session: Session) -> None:
        try:
            for _ in range(PER_TURN):
                if not serve(session):
                    break
        finally:
            session.turn.release()
        # Looked at after that: who leads may have passed it by, since it had its turn.
        if session.is_ready():
            self._ring()


def start_thread(function: Callable[[], None], name: str) -> Optional[threading.Thread]:
    """A thread that runs `function`, a daemon if it may be one; None if it may not be at all."""
    for daemon in (True, False):  # some sub-interpreters allow no daemons
        try:
            thread = threading.Thread(target=function, name=name, daemon=daemon)
            thread.start()
        except RuntimeError:
            continue
        return thread
    return None
