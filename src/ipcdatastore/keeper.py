"""The thread by which an ordinary process looks after a region: it ticks, and takes over when nobody else does.

Started by whoever opens a store to be kept (``persist=True``) and by a service in a ``with`` statement; hosts that
own their loop use :class:`service.Service` and its ``tick`` instead. Where an interpreter allows no such thread, what
is left is the image at the end.
"""

from __future__ import annotations

import atexit
import os
import threading

from .errors import ClosedError, DatastoreError, RegionNotFoundError

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Optional

    from .upkeep import Upkeep

LOOK_AGAIN = 1.0  # seconds until it is seen whether whoever looks after the region still does
AFTER_A_PROBLEM = 5.0


class Keeper:
    """One such thread."""

    def __init__(self, upkeep: Upkeep) -> None:
        self.upkeep = upkeep
        self._pid = os.getpid()
        self._stopping = False
        # Released to end the pause. No `threading.Event`: a fork, or a signal handler, may come while its inner lock is
        # held, and who then sets it waits for ever.
        self._pause = threading.Lock()
        self._pause.acquire()
        self._thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Begin. ``RuntimeError`` where an interpreter allows no daemon threads; `stop` then does what it can."""
        atexit.register(self.stop)
        thread = threading.Thread(target=self._run, name="ipcdatastore-keeper", daemon=True)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Write what is not written yet, unless that is another process's duty, and end. Twice does no harm."""
        atexit.unregister(self.stop)
        if self._pid != os.getpid():
            return  # in a forked child: thread, lock and duties are the parent's
        if not self._stopping:
            self._stopping = True
            self._pause.release()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        upkeep = self.upkeep
        try:
            # The thread may not have come to take the lock, or whoever had it may have ended just now.
            if not (upkeep.lost or upkeep.engine.closed) and upkeep.begin():
                upkeep.end()
        except DatastoreError as error:
            upkeep.fail(error)

    def forget(self) -> None:
        """In a forked child."""
        atexit.unregister(self.stop)

    def _run(self) -> None:
        try:
            while not self._stopping and not self.upkeep.lost:
                self._pause.acquire(timeout=self._step())
        except ClosedError:
            pass  # by somebody who has the handle, but not this thread
        finally:
            if not self._stopping:
                self.upkeep.lock.release()  # from here on nobody looks after the region; another one may

    def _step(self) -> float:
        upkeep = self.upkeep
        try:
            return upkeep.tick() if upkeep.begin() else LOOK_AGAIN
        except ClosedError:
            raise
        except RegionNotFoundError as error:  # this handle will never be of use again
            upkeep.lost = True
            upkeep.fail(error)
            return 0.0
        except DatastoreError as error:  # it is damaged, say: somebody may mend that
            upkeep.fail(error)
            return AFTER_A_PROBLEM
