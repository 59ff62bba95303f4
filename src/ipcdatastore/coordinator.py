"""One writer at a time: a thread lock, then a file lock that the kernel drops when its holder dies.

The file lock is on the region's own inode (where there is no ``fcntl``: on a file beside it), so it cannot be
unlinked away from the data. The thread lock comes first, since all threads that share a
handle share its open file description, and the file lock does not tell them apart.

Waiting never blocks in the kernel: a blocked ``flock`` keeps Kodi from quitting and has no time-out.
The lock says *who*, never whether the data is whole: that is what the dirty word is for.
"""

from __future__ import annotations

import time
from _thread import allocate_lock

from . import platform
from .errors import LockTimeoutError, PlaceError
from .platform import LOCK_EX, LOCK_SH, LOCK_UN

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

FIRST_PAUSE = 0.00005
LONGEST_PAUSE = 0.002


class Coordinator:
    """The writer lock of one handle. Protects every store to the region."""

    __slots__ = ("_file", "_lock_file", "_thread", "fd", "path", "reopen", "timeout", "waits")

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self.waits = 0
        self.fd = -1  # no lock can be had on it: `acquire` comes to `reopen`
        self.reopen: Callable[[], None] = lambda: None
        self._thread = allocate_lock()
        self._file: Any = None

    def attach(self, file: Any) -> None:
        """Lock with `file` from now on; it is used for nothing else, and closed with the handle.

        A mapping keeps a duplicate of its descriptor: were the lock on that one, a forked child that keeps the
        mapping would keep the lock of a parent that dies.
        """
        lock = platform.lock_function(file.fileno())
        if lock is None:
            raise PlaceError(
                f"the file system of {self.path} has no lock that ends with its holder; "
                "choose a directory on another with `directory=`",
                path=self.path,
            )
        self._file = file
        self._lock_file = lock
        self.fd = file.fileno()

    def detach(self) -> None:
        """Stop using the file, when no thread of this handle is inside."""
        self._wait_for_thread()
        try:
            self._let_go()
        finally:
            self._thread.release()

    def after_fork(self) -> None:
        """In the child: forget who of the parent's threads was inside, and close without unlocking."""
        self._thread = allocate_lock()
        self._let_go()

    def _let_go(self) -> None:
        self.fd = -1
        if self._file is not None:
            self._file.close()
        self._file = None

    def __del__(self) -> None:
        self._let_go()  # a handle that was dropped, not closed

    def acquire(self) -> None:
        """Become the writer, or raise ``LockTimeoutError`` after ``timeout`` seconds."""
        if not self._thread.acquire(False):
            self._wait_for_thread()
        try:
            try:
                self._lock_file(self.fd, LOCK_EX)
            except (OSError, ValueError):
                self._wait_for_file(LOCK_EX)
        except BaseException:
            self.release()
            raise

    def acquire_shared(self) -> None:
        """Keep writers out, other readers not: the last resort of a reader under a full-speed writer."""
        self._wait_for_thread()
        try:
            self._wait_for_file(LOCK_SH)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let the next writer in. Unlocking what is not locked does no harm, so it is done twice rather than not."""
        try:
            if self.fd >= 0:
                try:
                    self._lock_file(self.fd, LOCK_UN)
                except BaseException:
                    self._lock_file(self.fd, LOCK_UN)
                    raise
        finally:
            self._thread.release()

    def _wait_for_thread(self) -> None:
        if self._thread.acquire(False):
            return
        self.waits += 1
        if not self._thread.acquire(timeout=self.timeout):
            raise LockTimeoutError(
                f"another thread of this process held the writer lock of {self.path} for {self.timeout:g} s",
                timeout=self.timeout,
                holder=None,
            )

    def _wait_for_file(self, operation: int) -> None:
        if self.fd < 0:
            self.reopen()  # after a fork; raises when the handle was closed
        deadline = time.monotonic() + self.timeout
        pause = FIRST_PAUSE
        waited = False
        while True:
            try:
                self._lock_file(self.fd, operation)
                return
            except OSError as error:
                if error.errno not in platform.LOCK_REFUSED:
                    raise
            if not waited:
                waited = True
                self.waits += 1
            left = deadline - time.monotonic()
            if left <= 0:
                raise self.timed_out()
            # Uneven pauses, since two waiters in step would meet again and again.
            time.sleep(min(left, platform.uneven(pause)))
            pause = min(pause * 2, LONGEST_PAUSE)

    def timed_out(self) -> LockTimeoutError:
        """The error that says who holds the lock, where the system tells."""
        holder: Optional[int] = platform.lock_holder(self.path)
        who = f"process {holder} holds it" if holder else "the system does not tell who holds it"
        return LockTimeoutError(
            f"the writer lock of {self.path} was not obtained in {self.timeout:g} s: {who}",
            timeout=self.timeout,
            holder=holder,
        )
