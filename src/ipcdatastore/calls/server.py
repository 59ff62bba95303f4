"""The server: finds its clients, and serves them in turn.

One thread looks after all connections (the one that called ``run_forever`` or ``poll``, or the one that ``start``
made); with several workers it only hands them out. A connection is served by one thread at a time, so that the calls of
one client stay in order.
"""

from __future__ import annotations

import os
import time
from _thread import RLock, allocate_lock, get_ident

from .. import platform
from ..errors import (
    ArgumentError,
    ClosedError,
    DatastoreError,
    ObjectServedError,
    PlaceError,
    RegionNotFoundError,
    WaitEndedError,
)
from . import files, here, layout
from .doze import SERVER_TICK, Bell, Sleeper
from .exposed import Exposed
from .layout import BELL, CONNECT, MASK
from .message import Messages
from .session import Session

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Optional, Set

LOOK_AT_CLIENTS = 0.25  # seconds between two looks whether the clients live
BUSY_TURNS = 256  # turns after which a server that never rests asks for the time
PER_TURN = 32  # requests of one client before another one's turn, where workers serve them
LAST_WORDS = 1.0  # seconds that a server that ends gives its clients to take their responses
MAX_MESSAGE = 64 * 1024 * 1024
EVER = float("inf")


class Board:
    """What all sessions of a server share."""

    __slots__ = ("_counting", "_longs", "_words", "exposed", "facts", "messages")

    def __init__(self, exposed: Exposed, messages: Messages, facts: files.ServerFacts, shared: files.Shared) -> None:
        self.exposed = exposed
        self.messages = messages
        self.facts = facts
        self._words = shared.words
        self._longs = shared.longs
        self._counting = allocate_lock()

    def count(self, nanoseconds: int, failed: bool) -> None:
        """One more call, which took so long."""
        longs = self._longs
        with self._counting:
            longs[layout.CALLS_LONG] += 1
            longs[layout.BUSY_LONG] += nanoseconds
            bucket = layout.HISTOGRAM + min(nanoseconds.bit_length(), layout.HISTOGRAM_SIZE - 1)
            self._words[bucket] = (self._words[bucket] + 1) & MASK
            if failed:
                longs[layout.ERRORS_LONG] += 1


class ObjectServer:
    """An object whose methods other processes call; made by ``ipcdatastore.serve_object``.

    Use it in a ``with`` statement, or call :meth:`stop`: then, or when the process ends in whatever way, its callers
    are told. `name` and `path` say where it is.
    """

    def __init__(
        self,
        name: str,
        target: Any,
        *,
        directory: Any = None,
        serializer: str = "pickle",
        workers: int = 1,
        max_message: int = MAX_MESSAGE,
        attributes: Iterable[str] = (),
    ) -> None:
        _check("workers", workers, 1, 1000)
        _check("max_message", max_message, 4096, 2**31 - 1)
        self.name = name
        self.path = files.directory_of(name, directory)
        messages = Messages(name, serializer)
        exposed = Exposed(target, attributes)
        facts = files.ServerFacts(serializer, workers, max_message)
        self._shared = self._claim(facts)
        self.id = facts.id
        self._workers = workers
        self._board = Board(exposed, messages, facts, self._shared)
        self._sessions: Dict[str, Session] = {}
        self._refused: Set[str] = set()  # files that are no clients of ours
        self._connected = 0  # the value of CONNECT at the last look
        self._sleeper = Sleeper(self._shared, BELL, layout.ASLEEP, SERVER_TICK)
        self._bell = Bell(self._shared, BELL, layout.ASLEEP)
        self._serving = allocate_lock()  # held by the thread that serves
        self._thread: Any = None
        self._pool: Any = None
        self._look_due = 0.0
        self._turns = 0
        self._stopping = False
        self._closing = RLock()
        self._ending = False
        self._closed = False
        self.owner: Optional[int] = None  # the thread that serves
        here.add(self)

    def _claim(self, facts: files.ServerFacts) -> files.Shared:
        """Become the server of that name."""
        lock = files.start_lock(self.path, 10.0)
        try:
            found = files.find_server(self.path)
            if found is not None:
                found[0].close()
                raise ObjectServedError(
                    f"the object {self.name!r} is served by process {found[1].pid} already: end that one, or use "
                    "another name",
                    timeout=0.0,
                    holder=found[1].pid,
                )
            files.remove_leftovers(self.path)
            shared = files.make_server(self.path, facts)
            shared.words[layout.STATE] = layout.SERVING  # PUBLISH: clients may come
            return shared
        finally:
            lock.release()

    # --- running -------------------------------------------------------------------------------------
    @property
    def running(self) -> bool:
        """Whether a thread serves just now."""
        return self._serving.locked() and not self._closed

    @property
    def calls(self) -> int:
        """How many calls were answered."""
        return int(self._shared.longs[layout.CALLS_LONG])

    def run_forever(self) -> None:
        """Serve in this thread, until :meth:`stop` is called by another one or by a signal handler."""
        self._enter()
        try:
            while not self._stopping:
                self._turn(EVER)
        finally:
            self._leave()
            if self._stopping:
                self._close()

    def poll(self, timeout: float = 0.0) -> int:
        """Serve what there is, in this thread: for a host's own loop. How many calls were done.

        Waits at most `timeout` seconds for the first one.
        """
        if self._stopping:
            raise self._is_closed()
        self._enter()
        try:
            until = time.monotonic() + timeout
            done = 0
            while not self._stopping:
                left = until - time.monotonic()
                now = self._turn(0.0 if done else max(left, 0.0))
                done += now
                if (done and not now) or (not done and left <= 0):
                    break
            return done
        finally:
            self._leave()
            if self._stopping:  # one of the calls said so
                self._close()

    def start(self) -> ObjectServer:
        """Serve in a daemon thread of its own from now on."""
        import threading

        if self._stopping:
            raise self._is_closed()
        if self._thread is None:
            name = f"ipcdatastore {self.name}"
            self._thread = threading.Thread(target=self._run_thread, name=name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # a sub-interpreter of its own kind allows none of these
                self._thread = threading.Thread(target=self._run_thread, name=name, daemon=False)
                self._thread.start()
        return self

    def _run_thread(self) -> None:
        try:
            self.run_forever()
        except WaitEndedError:
            return  # the host of this program ends
        finally:
            self._stopping = True
            self._close()

    def stop(self) -> None:
        """Serve no more, and tell all callers. A call that runs is finished first. May be called twice.

        From a signal handler of the serving thread, or from a method that is called, it only says so: ``run_forever``
        then ends.
        """
        self._stopping = True
        if self._closed:
            return
        self._ring()
        if self.owner == get_ident() or (self._pool is not None and get_ident() in self._pool.idents):
            return
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join()
        self._close()

    def __enter__(self) -> ObjectServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __del__(self) -> None:
        if getattr(self, "_closed", True) is False:
            self._shared.remove()
            self._shared.close()

    # --- one turn ------------------------------------------------------------------------------------
    def _enter(self) -> None:
        if self._closed:
            raise self._is_closed()
        if not self._serving.acquire(False):
            raise ArgumentError(
                f"another thread serves {self.name!r} already: one is enough, `workers=` gives it help",
                name="name",
                value=self.name,
            )
        self.owner = get_ident()
        if self._workers > 1 and self._pool is None:
            from .workers import Pool

            self._pool = Pool(self._workers, self._serve_several, f"ipcdatastore {self.name}")

    def _leave(self) -> None:
        self.owner = None
        self._serving.release()

    def _turn(self, seconds: float) -> int:
        """Look at the bell, serve what there is, else sleep until it rings. How many calls were done."""
        words = self._shared.words
        seen = words[BELL]
        platform.fence()
        if words[CONNECT] != self._connected:
            self._connect()
        done = self._serve()
        self._turns += 1
        if done and self._turns % BUSY_TURNS:
            return done
        if time.monotonic() >= self._look_due:
            platform.look_up()
            self._look()
        if not done and seconds > 0 and not self._sleeper.spin(seen):
            self._sleeper.sleep(seen, seconds)
        return done

    def _serve(self) -> int:
        done = 0
        for name, session in list(self._sessions.items()):
            if session.is_ready():
                if self._pool is None:
                    done += self._serve_one(session)
                elif session.turn.acquire(False):
                    self._pool.put(session)
            elif session.is_over() and session.turn.acquire(False):
                self._drop(name)
        return done

    def _serve_one(self, session: Session) -> int:
        try:
            return session.serve()
        except (DatastoreError, MemoryError):  # damaged, or lying: nothing more can be understood of it
            session.give_up()
            return 0

    def _serve_several(self, session: Session) -> None:
        """What a worker does with a session, whose turn it has."""
        try:
            for _ in range(PER_TURN):
                if not self._serve_one(session):
                    break
        finally:
            session.turn.release()
        # Looked at after that: what came in between was not handed out by the other thread.
        if session.is_ready() and session.turn.acquire(False):
            self._pool.put(session)

    # --- clients -------------------------------------------------------------------------------------
    def _connect(self) -> None:
        self._connected = self._shared.words[CONNECT]
        platform.fence()
        for path in files.clients(self.path):
            if path in self._sessions or path in self._refused:
                continue
            try:
                shared = files.attach(path)
            except RegionNotFoundError:
                continue
            except PlaceError:  # out of descriptors, say: looked at again
                self._connected = -1
                continue
            except DatastoreError:  # not to be trusted
                self._refused.add(path)
                continue
            try:
                if files.read_client(shared)[2] == self.id:
                    self._sessions[path] = session = Session(shared, self._board)
                    if session.pid == self._board.facts.pid:
                        self._sleeper.yield_instead()
                    continue
            except DatastoreError:
                pass
            self._refused.add(path)
            shared.close()
        self._shared.words[layout.CLIENTS] = len(self._sessions)

    def _look(self) -> None:
        """See whether the clients live, and whether there are new ones that could not say so."""
        self._look_due = time.monotonic() + LOOK_AT_CLIENTS
        if not os.path.exists(self._shared.path):
            self._stopping = True
            raise RegionNotFoundError(
                f"the server of {self.name!r} ends, since somebody removed its file {self._shared.path}: "
                "start it again",
                path=self._shared.path,
            )
        for session in list(self._sessions.values()):
            session.look()

    def _drop(self, path: str) -> None:
        session = self._sessions.pop(path)
        session.close(remove=True)
        self._shared.words[layout.CLIENTS] = len(self._sessions)

    # --- the end -------------------------------------------------------------------------------------
    def _ring(self) -> None:
        # Another number than any client's, and than the last: the low bits are those of a clock.
        self._bell.ring((self._shared.words[BELL] + time.perf_counter_ns() * 2 + 1) & MASK)

    def _close(self) -> None:
        # Whoever comes second waits for the end: the program may be over when `run_forever` is. A signal handler that
        # comes in between does not wait for its own thread.
        with self._closing:
            if self._closed or self._ending:
                return
            self._ending = True
            try:
                with self._serving:
                    self._closed = True
            finally:
                self._ending = False
            self._end()

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.close()
        until = time.monotonic() + LAST_WORDS
        for session in self._sessions.values():
            session.end(until)
        self._shared.words[layout.STATE] = layout.STOPPED  # PUBLISH: whatever did not begin never will
        try:
            self._connect()  # who came in the meantime is told as well
        except (OSError, DatastoreError):
            self._connected = -1  # and finds out by itself, a tick later
        for session in self._sessions.values():
            session.tell()
            session.close(remove=True)
        self._sessions.clear()
        self._shared.remove()
        self._shared.close()
        files.remove_directory(self.path)

    def _is_closed(self) -> ClosedError:
        return ClosedError(f"the server of {self.name!r} was stopped; make another with `serve_object`")

    def is_busy_with(self, thread: int) -> bool:
        """Whether `thread` is the only one that could answer."""
        return self.owner == thread and self._pool is None

    def after_fork(self) -> None:
        """In the child: the object is the parent's to serve."""
        self._stopping = self._closed = True
        self._shared.forget()
        for session in self._sessions.values():
            session.after_fork()
        self._sessions.clear()


def serve_object(
    name: str,
    obj: Any,
    *,
    directory: Any = None,
    serializer: str = "pickle",
    workers: int = 1,
    max_message: int = MAX_MESSAGE,
    attributes: Iterable[str] = (),
) -> ObjectServer:
    """Let other processes call the public methods of `obj`, under `name`: an :class:`ObjectServer`, which has to run.

    `workers` threads run calls of different clients at once; with one, the serving thread runs them. `max_message` is
    the most bytes that the arguments of a call, or its result, may have; `attributes` are names that proxies may read
    and set. ``ObjectServedError`` if another server has that name. The start lock is taken for a moment.

    >>> class Library:
    ...     def find(self, title): return title.upper()
    >>> server = ipcdatastore.serve_object("docs", Library())
    >>> server.poll()
    0
    >>> server.stop()
    """
    return ObjectServer(
        name,
        obj,
        directory=directory,
        serializer=serializer,
        workers=workers,
        max_message=max_message,
        attributes=attributes,
    )


def _check(name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ArgumentError(f"`{name}` is a number from {least:,} to {most:,}, not {value!r}", name=name, value=value)
