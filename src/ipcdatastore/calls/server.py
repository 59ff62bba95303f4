"""The server: finds its clients, and serves them in turn.

One thread looks after all connections (the one that called ``run_forever`` or ``poll``, or the one that ``start``
made), or several take turns at that (:mod:`.workers`). A connection is served by one thread at a time, so that the
calls of one client stay in order.
"""

from __future__ import annotations

import time
from _thread import RLock, get_ident

from .. import platform
from ..errors import (
    ArgumentError,
    ClosedError,
    ObjectServedError,
    RegionNotFoundError,
    WaitEndedError,
)
from . import files, here, layout
from .clients import Clients
from .doze import SERVER_TICK, Bell, Sleeper
from .exposed import Exposed
from .layout import BELL, MASK
from .message import Messages
from .session import Board

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Iterable, Optional

    from .session import Session

BUSY_TURNS = 256  # turns after which a server that never rests asks for the time
LAST_WORDS = 1.0  # seconds that a server that ends gives its clients to take their responses
MAX_MESSAGE = 64 * 1024 * 1024
EVER = float("inf")


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
        self._sleeper = Sleeper(self._shared, BELL, layout.ASLEEP, SERVER_TICK)
        self._bell = Bell(self._shared, BELL, layout.ASLEEP)
        self._clients = Clients(self.path, self._shared, Board(exposed, messages, facts, self._shared), self._sleeper)
        self._serving: Any = RLock()  # held by the thread that serves; it knows its owner, whenever a signal comes
        self._thread: Any = None
        self._crew: Any = None
        self._turns = 0
        self._stopping = False
        self._closing = RLock()
        self._ending = False
        self._closed = False
        self.running = False  # whether a thread serves just now
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
            shared.words[layout.WAKES] = Bell(shared, BELL, layout.ASLEEP).can_wake()
            shared.words[layout.STATE] = layout.SERVING  # PUBLISH: clients may come
            return shared
        finally:
            lock.release()

    # --- running -------------------------------------------------------------------------------------
    @property
    def calls(self) -> int:
        """How many calls were answered."""
        return int(self._shared.longs[layout.CALLS_LONG])

    def run_forever(self) -> None:
        """Serve in this thread, until :meth:`stop` is called by another one or by a signal handler; or was already."""
        if self._stopping:
            self._close()
            return
        with _Turn(self):
            if self._workers > 1:
                self._run_crew()
            while not self._stopping:
                self._turn(EVER)

    def poll(self, timeout: float = 0.0) -> int:
        """Serve what there is, in this thread: for a host's own loop. How many calls were done.

        Waits at most `timeout` seconds for the first one.
        """
        if self._stopping:
            raise self._is_closed()
        with _Turn(self):
            until = time.monotonic() + timeout
            done = 0
            while not self._stopping:
                left = until - time.monotonic()
                now = self._turn(0.0 if done else max(left, 0.0))
                done += now
                if (done and not now) or (not done and left <= 0):
                    break
            return done

    def start(self) -> ObjectServer:
        """Serve in a daemon thread of its own from now on."""
        from .workers import start_thread

        if self._stopping:
            raise self._is_closed()
        if self._thread is None:
            self._thread = start_thread(self._run_thread, f"ipcdatastore {self.name}")
            if self._thread is None:
                raise RuntimeError("no thread can be started here: call `run_forever` or `poll` in one that there is")
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
        if self._serves_here():
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
        """Become the thread that serves."""
        if self._closed:
            raise self._is_closed()
        if self._serving._is_owned() or not self._serving.acquire(False):
            raise ArgumentError(
                f"another thread serves {self.name!r} already, or this one is in the middle of that: one is enough, "
                "`workers=` gives it help",
                name="name",
                value=self.name,
            )
        self.running = True

    def _leave(self) -> None:
        """End of that; of everything, if somebody said so meanwhile."""
        self.running = False
        if self._serving._is_owned():
            self._serving.release()
        if self._stopping:
            self._close()

    def _turn(self, seconds: float) -> int:
        """Look at the bell, serve what there is, else sleep until it rings. How many calls were done."""
        clients, seen = self._clients, self._seen()
        done = clients.serve_each()
        self._turns += 1
        if done and self._turns % BUSY_TURNS:
            return done
        self._look()
        if not done and seconds > 0 and not self._sleeper.spin(seen):
            self._sleeper.sleep(seen, seconds)
        return done

    def _seen(self) -> int:
        """What the bell is, before anything is looked at that it rings for."""
        seen: int = self._shared.words[BELL]
        platform.fence()
        self._clients.let_in()
        return seen

    def _look(self) -> None:
        try:
            self._clients.look()
        except RegionNotFoundError:
            self._stopping = True
            raise

    def _run_crew(self) -> None:
        from .workers import Crew

        self._crew = crew = Crew(self._find, self._ring)
        crew.run(self._workers, f"ipcdatastore {self.name}", self._say_stop)

    def _find(self, others_serve: bool) -> Optional[Session]:
        """Wait for a client that wants something; None when all is over. By the one thread of the crew that leads."""
        clients = self._clients
        while not self._stopping:
            seen = self._seen()
            session = clients.next_ready()
            self._turns += 1
            if session is None or not self._turns % BUSY_TURNS:
                self._look()
            if session is not None:
                return session
            # A spin would keep the others from their interpreter lock.
            if others_serve or not self._sleeper.spin(seen):
                self._sleeper.sleep(seen, EVER)
        return None

    def _say_stop(self) -> None:
        self._stopping = True
        self._ring()

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
        self._clients.end(time.monotonic() + LAST_WORDS)
        self._shared.words[layout.STATE] = layout.STOPPED  # PUBLISH: whatever did not begin never will
        self._clients.close()
        self._shared.remove()
        self._shared.close()
        files.remove_directory(self.path)

    def _is_closed(self) -> ClosedError:
        return ClosedError(f"the server of {self.name!r} was stopped; make another with `serve_object`")

    def _serves_here(self) -> bool:
        """Whether this thread serves: it is a method of the object, or a signal handler, that asks."""
        return bool(self._serving._is_owned()) or (self._crew is not None and get_ident() in self._crew.idents)

    def _is_alone_here(self) -> bool:
        """Whether this thread is the only one that could answer."""
        return bool(self._serving._is_owned()) and self._crew is None

    def after_fork(self) -> None:
        """In the child: the object is the parent's to serve."""
        self._stopping = self._closed = True
        self.running = False
        self._serving = RLock()
        self._shared.forget()
        self._clients.after_fork()


class _Turn:
    """The time for which a thread serves."""

    __slots__ = ("_server",)

    def __init__(self, server: ObjectServer) -> None:
        self._server = server

    def __enter__(self) -> None:
        try:
            self._server._enter()
        except ArgumentError:
            raise
        except BaseException:  # a signal, as soon as the lock is taken
            self._server._leave()
            raise

    def __exit__(self, *exc: object) -> None:
        self._server._leave()


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
