"""The service: the process that looks after a region.

It allocates the region, restores it from its newest image, repairs it after a dead writer, and then ticks
(:mod:`upkeep`). It owns nothing: clients read and write the region with or without it.
"""

from __future__ import annotations

import time

from . import place
from .errors import ArgumentError, LockTimeoutError, ServiceRunningError
from .keeper import Keeper
from .lockfile import LockFile
from .opening import check_interval, open_handle
from .upkeep import DEFAULT_INTERVAL, LOCK_SUFFIX, Upkeep

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    import threading
    from typing import Any, Callable, Optional

    from .errors import DatastoreError
    from .store import Datastore

LOOK_UP = 0.1  # seconds after which `run` sees that it shall stop


class Service:
    """Looks after the region `name`; one service a region, in all processes.

    Three ways: a ``with`` statement, which ticks in a thread of its own; :meth:`run`, which ticks here until it is told
    to stop; or :meth:`start`, :meth:`tick` whenever the host has time, :meth:`stop`. The other arguments are those of
    :func:`open`. `on_problem` is called with what a flush failed with; the next one is tried after a while.

    >>> with Service("docs") as service:
    ...     service.store["skin.accent"] = "red"
    ...     open("docs")["skin.accent"]
    'red'
    """

    def __init__(
        self,
        name: str = "default",
        *,
        directory: Any = None,
        persist: Optional[bool] = True,
        flush_interval: float = DEFAULT_INTERVAL,
        snapshot_directory: Any = None,
        max_size: Optional[int] = None,
        evict: Optional[str] = None,
        serializer: Optional[str] = None,
        timeout: float = 10.0,
        on_problem: Optional[Callable[[DatastoreError], None]] = None,
    ) -> None:
        self.name = place.check_name(name)
        check_interval(flush_interval)
        self._directory = directory
        self._interval = flush_interval
        self._on_problem = on_problem
        self._options = {
            "directory": directory,
            "persist": persist,
            "snapshot_directory": snapshot_directory,
            "max_size": max_size,
            "evict": evict,
            "serializer": serializer,
            "timeout": timeout,
        }
        self._store: Optional[Datastore] = None
        self._upkeep: Optional[Upkeep] = None
        self._keeper: Optional[Keeper] = None

    # --- the three ways ------------------------------------------------------------------------------
    def start(self, timeout: float = 0.0) -> None:
        """Take over the region: made and restored if it is missing, repaired if a writer died in it.

        Raises ``ServiceRunningError`` if another service has it and does not let go within `timeout` seconds, and what
        :func:`open` raises.
        """
        if self._store is not None:
            raise ArgumentError(f"the service of {self.name!r} was started already", name="service", value=self)
        directory = place.resolve_directory(self._directory)
        place.prepare_directory(directory)
        lock = LockFile(place.region_path(directory, self.name) + LOCK_SUFFIX, timeout)
        try:
            lock.acquire()
        except LockTimeoutError as error:
            who = f"process {error.holder}" if error.holder else "another process (the system does not tell which)"
            raise ServiceRunningError(
                f"the store {self.name!r} in {directory} is looked after by {who} already: stop that, or go without",
                timeout=timeout,
                holder=error.holder,
            ) from None
        try:
            store = open_handle(self.name, **self._options)
            try:
                engine = store._engine
                engine.writer.under_lock(lambda: None)  # repairs
                self._upkeep = Upkeep(engine, self._interval, lock)
                if self._on_problem is not None:
                    self._upkeep.on_problem = self._on_problem
            except BaseException:
                store.close()
                raise
        except BaseException:
            lock.release()
            raise
        self._store = store

    def tick(self) -> float:
        """Do what is due: images, expiry. Seconds until there may be something to do again. Takes milliseconds, unless
        an image is due.
        """
        return self._running().tick()

    def stop(self) -> None:
        """Write what is not written yet, close the handle, and let the next service take over. Twice does no harm, and
        who was interrupted here stops again: until then this service has the region.
        """
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None
        if self._upkeep is not None:
            self._upkeep.end()
            self._upkeep = None
        if self._store is not None:
            self._store.close()
            self._store = None

    def run(self, stop: threading.Event) -> None:
        """Tick until `stop` is set, which a signal handler may do. The caller starts and stops the service."""
        upkeep = self._running()
        while not stop.is_set():
            due = time.monotonic() + upkeep.tick()
            # Never `stop.wait`: a handler that sets the event in the middle of that would wait for its own thread.
            while not stop.is_set() and time.monotonic() < due:
                time.sleep(min(LOOK_UP, max(0.0, due - time.monotonic())))

    def __enter__(self) -> Service:
        self.start()
        self._keeper = Keeper(self._running())
        try:
            self._keeper.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- what it has ---------------------------------------------------------------------------------
    @property
    def store(self) -> Datastore:
        """The service's own handle. ``ArgumentError`` before `start` and after `stop`."""
        if self._store is None:
            raise self._not_running()
        return self._store

    @property
    def problem(self) -> Optional[DatastoreError]:
        """Why the last image could not be written, None if it was."""
        if self._upkeep is None:
            raise self._not_running()
        return self._upkeep.problem

    def flush(self) -> Optional[str]:
        """Write an image now. Its path, None if there is nothing to keep or it could not be written (`problem`)."""
        return self._running().flush()

    def _running(self) -> Upkeep:
        upkeep = self._upkeep
        if upkeep is None or not upkeep.lock.held:  # the lock is not inherited by a forked child
            raise self._not_running()
        return upkeep

    def _not_running(self) -> ArgumentError:
        return ArgumentError(
            f"the service of {self.name!r} is not running in this process (not yet, not any more, or in its parent): "
            "`start` one",
            name="service",
            value=self,
        )

    def __repr__(self) -> str:
        return f"<Service {self.name!r}{'' if self._upkeep is None else ' running'}>"
