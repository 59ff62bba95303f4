"""The clients of a server: found, served in turn, and let go of when they have gone."""

from __future__ import annotations

import os
import time

from .. import platform
from ..errors import DatastoreError, PlaceError, RegionNotFoundError
from . import files, layout
from .layout import CONNECT
from .session import Session

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Dict, Optional, Set

    from .doze import Sleeper
    from .session import Board

LOOK_AT_CLIENTS = 0.25  # seconds between two looks whether they live


class Clients:
    """All connections of one server. Used by one thread at a time."""

    __slots__ = ("_board", "_known", "_look_due", "_path", "_refused", "_sessions", "_shared", "_sleeper")

    def __init__(self, path: str, shared: files.Shared, board: Board, sleeper: Sleeper) -> None:
        self._path = path
        self._shared = shared
        self._board = board
        self._sleeper = sleeper
        self._sessions: Dict[str, Session] = {}
        self._refused: Set[str] = set()  # files that are no clients of this server
        self._known = 0  # what CONNECT was when the directory was last listed
        self._look_due = 0.0

    # --- serving -------------------------------------------------------------------------------------
    def serve_each(self) -> int:
        """One request of each client, in this thread. How many were done."""
        done = 0
        for path, session in list(self._sessions.items()):
            if session.is_ready():
                done += serve(session)
            elif session.is_over():
                self._drop(path)
        return done

    def next_ready(self) -> Optional[Session]:
        """A client that wants something and that no thread serves, with its turn; the one served last comes last."""
        for path, session in list(self._sessions.items()):
            if session.is_ready():
                if session.turn.acquire(False):
                    self._sessions[path] = self._sessions.pop(path)
                    return session
            elif session.is_over() and session.turn.acquire(False):
                self._drop(path)
        return None

    # --- coming and going ----------------------------------------------------------------------------
    def let_in(self) -> None:
        """Take in those that are new."""
        if self._shared.words[CONNECT] == self._known:
            return
        self._known = self._shared.words[CONNECT]
        platform.fence()
        try:
            found = files.entries(self._path, layout.CLIENT_SUFFIX)
        except OSError:  # out of descriptors, or somebody deleted it: the next look will tell
            return
        for path in found:
            if path not in self._sessions and path not in self._refused:
                self._let_in(path)
        self._count()

    def _let_in(self, path: str) -> None:
        try:
            shared = files.attach(path)
        except RegionNotFoundError:
            return
        except (DatastoreError, OSError) as error:
            if isinstance(error, DatastoreError) and not isinstance(error, PlaceError):
                self._refused.add(path)  # not to be trusted
            return  # out of descriptors, say: the next look will try again
        try:
            if files.read_client(shared)[2] == self._board.facts.id:
                self._sessions[path] = session = Session(shared, self._board)
                if session.pid == self._board.facts.pid:
                    self._sleeper.yield_instead()
                if not session.can_wake:
                    self._sleeper.poll_instead()
                return
        except DatastoreError:
            pass
        self._refused.add(path)
        shared.close()

    def look(self) -> None:
        """See, now and then, whether the clients live, and whether the host of this program has something to say."""
        now = time.monotonic()
        if now < self._look_due:
            return
        self._look_due = now + LOOK_AT_CLIENTS
        self._known = -1  # whoever could not say that he is there, or not be let in, is found now
        platform.look_up()
        if not os.path.exists(self._shared.path):
            raise RegionNotFoundError(
                f"the server ends, since somebody removed its file {self._shared.path}: start it again",
                path=self._shared.path,
            )
        for session in list(self._sessions.values()):
            session.look()

    def _drop(self, path: str) -> None:
        self._sessions.pop(path).close(remove=True)
        self._count()

    def _count(self) -> None:
        self._shared.words[layout.CLIENTS] = len(self._sessions)

    # --- the end -------------------------------------------------------------------------------------
    def end(self, until: float) -> None:
        """Give each until then to take its last response."""
        for session in self._sessions.values():
            session.end(until)

    def close(self) -> None:
        """Tell all that the server's state has changed, and let go of them."""
        self.let_in()  # who came in the meantime is told as well
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.tell()
            session.close(remove=True)

    def after_fork(self) -> None:
        """In the child: they are the parent's."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.after_fork()


def serve(session: Session) -> int:
    """Do one request of a client. How many were done."""
    try:
        return session.serve()
    except Exception:  # noqa: BLE001 - damaged, or lying: nothing more can be understood of it
        session.give_up()
        return 0
