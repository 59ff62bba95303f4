"""Waiting and watching for ``asyncio``: one thread for each handle sleeps for all of its coroutines.

The thread ends soon after the last one; it wakes the loops, and each coroutine then looks for itself.
"""

from __future__ import annotations

import asyncio
import threading
import time

from .errors import DatastoreError
from .layout import ALL_KEYS
from .waiting import TICK, Doze, Vigil, deadline_of

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, AsyncIterator, Optional, Set, Tuple

    from .engine import Engine
    from .watching import Event, Watch


GAP = 0.005  # seconds between two wake-ups, so that who writes without end leaves the loop time for other things
LINGER = 1.0  # seconds that the thread stays when nobody waits: most who wait will wait again


class Sleeper:
    """The thread of one handle, while there are coroutines that wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._waiting: Set[Tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._thread: Optional[threading.Thread] = None

    async def changed(self, seen: int, seconds: float) -> None:
        """Return when the region may have changed since `seen`, after `seconds`, or a tick."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.add((loop, future))
            if self._thread is None:
                self._start(seen)
        # Looked at after that: the thread may have seen the change before it knew of this coroutine. And yet the others
        # get their turn, or somebody who writes without end would have the loop look without end.
        pause = TICK if self._engine.moment()[0] == seen else GAP
        # Not `wait_for`, which up to Python 3.11 may swallow a cancellation.
        due = loop.call_later(min(seconds, pause), _finish, future)
        try:
            await future
        finally:
            due.cancel()
            with self._lock:
                self._waiting.discard((loop, future))

    def _start(self, seen: int) -> None:
        thread = threading.Thread(target=self._run, args=(seen,), name="ipcdatastore-wait", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a sub-interpreter that allows none, or one that ends: every coroutine has its own tick
            return
        self._thread = thread

    def _run(self, seen: int) -> None:
        doze = Doze(self._engine, ALL_KEYS)
        until = time.monotonic() + LINGER
        try:
            while True:
                now = time.monotonic()
                with self._lock:
                    # Nobody comes back to a loop that was closed.
                    self._waiting = {waiter for waiter in self._waiting if not waiter[0].is_closed()}
                    if self._waiting:
                        until = now + LINGER
                    elif now > until:
                        self._thread = None
                        return
                doze.sleep(seen, TICK)
                change = doze.change()
                if change != seen:
                    seen = change
                    self._wake()
                    time.sleep(GAP)
        except DatastoreError:  # the handle was closed, or the region removed: each coroutine finds out for itself
            with self._lock:
                self._thread = None
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_finish, future)
            except RuntimeError:  # that loop was closed
                continue


def _finish(future: Any) -> None:
    if not future.done():
        future.set_result(None)


def sleeper_of(engine: Engine) -> Sleeper:
    """The handle's sleeper."""
    sleeper = engine.sleeper
    if sleeper is None:
        sleeper = engine.sleeper = Sleeper(engine)
    found: Sleeper = sleeper
    return found


async def wait(engine: Engine, key: bytes, since: Optional[int], timeout: Optional[float]) -> Optional[int]:
    """:func:`waiting.wait` as a coroutine."""
    vigil = Vigil(engine, key, since, timeout)
    sleeper = sleeper_of(engine)
    while True:
        seen = engine.moment()[0]
        over, version, left = vigil.look()
        if over:
            return version
        await sleeper.changed(seen, left)


class AsyncWatch:
    """A :class:`watching.Watch` for ``async for`` and ``async with``."""

    def __init__(self, engine: Engine, watch: Watch, timeout: Optional[float]) -> None:
        self._engine = engine
        self._watch = watch
        self._timeout = timeout

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event = await self.next(self._timeout)
        if event is None:
            raise StopAsyncIteration
        return event

    async def next(self, timeout: Optional[float] = None) -> Optional[Event]:
        """The next event; None after `timeout` seconds without one (None: never), and at once from a closed watch."""
        deadline = deadline_of(timeout)
        sleeper = sleeper_of(self._engine)
        while not self._watch.closed:
            seen = self._engine.moment()[0]
            event = self._watch.take()
            if event is not None:
                return event
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            await sleeper.changed(seen, left)
        return None

    def close(self) -> None:
        """End the watch."""
        self._watch.close()

    async def __aenter__(self) -> AsyncWatch:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()
