"""The thread by which an ordinary process looks after a region: it ticks, and takes over when nobody else does.

Started by whoever opens a store to be kept (``persist=True``) and by a service in a ``with`` statement; hosts that
own their loop use :class:`service.Service` and its ``tick`` instead.
"""

from __future__ import annotations

import atexit
import threading

from .errors import ClosedError, DatastoreError, RegionNotFoundError

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from .upkeep import Upkeep

LOOK_AGAIN = 1.0  # seconds until it is seen whether whoever looks after the region still does
AFTER_A_PROBLEM = 5.0


class Keeper:
    """One such thread."""

    def __init__(self, upkeep: Upkeep) -> None:
        self.upkeep = upkeep
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ipcdatastore-keeper", daemon=True)

    def start(self) -> None:
        """Begin. ``RuntimeError`` where an interpreter allows no daemon threads."""
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Write what is not written yet, if that is this process's duty, and end."""
        atexit.unregister(self.stop)
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self.upkeep.end()

    def forget(self) -> None:
        """In a forked child: thread, lock and duties are the parent's."""
        atexit.unregister(self.stop)

    def _run(self) -> None:
        upkeep = self.upkeep
        while not self._stop.is_set():
            try:
                pause = upkeep.tick() if upkeep.begin() else LOOK_AGAIN
            except ClosedError:
                return
            except RegionNotFoundError as error:  # this handle will never be of use again
                upkeep.problem = error
                upkeep.on_problem(error)
                upkeep.lock.release()
                return
            except DatastoreError as error:  # the region was removed, or is damaged: somebody may mend that
                upkeep.problem = error
                upkeep.on_problem(error)
                pause = AFTER_A_PROBLEM
            self._stop.wait(pause)
