"""Waiting and watching for ``asyncio``: one thread for each handle sleeps for all of its coroutines.

The thread lives only while some coroutine waits; it wakes the loops, and each coroutine then looks for itself.
"""

from __future__ import annotations

import asyncio
import threading
import time

from .errors import DatastoreError
from .futex import EVERYBODY
from .platform import now_ns
from .waiting import TICK, Doze, deadline_of

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, AsyncIterator, Optional, Set, Tuple

    from .engine import Engine
    from .watching import Event, Watch


class Sleeper:
    """The thread of one handle."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._waiting: Set[Tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._running = False

    async def changed(self, seen: int, seconds: float) -> None:
        """Return when the region may have changed since `seen`, after `seconds`, or a tick."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.add((loop, future))
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, args=(seen,), name="ipcdatastore-wait", daemon=True).start()
        try:
            await asyncio.wait_for(future, min(seconds, TICK))
        except asyncio.TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard((loop, future))

    def _run(self, seen: int) -> None:
        doze = Doze(self._engine, EVERYBODY)
        try:
            while True:
                with self._lock:
                    if not self._waiting:
                        self._running = False
                        return
                doze.sleep(seen, TICK)
                now = doze.change()
                if now != seen:
                    seen = now
                    self._wake()
        except DatastoreError:  # the handle was closed, or the region removed: each coroutine finds out for itself
            with self._lock:
                self._running = False
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, set()
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
    deadline = deadline_of(timeout)
    sleeper = sleeper_of(engine)
    while True:
        seen = engine.moment()[0]
        record = engine.get(key)
        version = 0 if record is None else record.version
        if since is None:
            since = version
        if version != since:
            return version
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        if record is not None and record.expires_ns:
            left = min(left, max(record.expires_ns - now_ns(), 0) / 1e9 + 0.0001)
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
