"""One writer at a time: a thread lock, then a file lock that the kernel drops when its holder dies.

The file lock is on the region's own inode (where there is no ``fcntl``: on a file beside it), so it cannot be
unlinked away from the data. The thread lock comes first, since all threads that share a
handle share its open file description, and the file lock does not tell them apart.

Waiting never blocks in the kernel: a blocked ``flock`` keeps Kodi from quitting and has no time-out.
The lock says *who*, never whether the data is whole: that is what the dirty word is for.
"""

from __future__ import annotations

import time
from _thread import RLock

from . import platform
from .errors import LockTimeoutError, PlaceError
from .platform import LOCK_EX, LOCK_SH, LOCK_UN

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, TypeVar

    T = TypeVar("T")

FIRST_PAUSE = 0.00005
LONGEST_PAUSE = 0.002
LONGEST_LOOK = 0.1


class Coordinator:
    """The writer lock of one handle. Protects every store to the region."""

    __slots__ = ("_file", "closing", "eager", "fd", "lock_file", "path", "reopen", "thread", "timeout", "waits")

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self.waits = 0
        self.eager = 0  # tries without a pause: what a snapshot has to copy again grows while it waits
        self.fd = -1  # no lock can be had on it: `take` comes to `reopen`
        self.closing = False
        self.lock_file: Any = None
        self.reopen: Callable[[], None] = lambda: None
        self.thread = RLock()
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
        self.lock_file = lock
        self.fd = file.fileno()

    def detach(self) -> None:
        """Stop using the file, when no thread of this handle is inside."""
        self.check_outside()
        try:
            self._wait_for_thread()
            try:
                self._let_go()
            finally:
                self.thread.release()
        except BaseException:
            self.free()
            raise

    def after_fork(self) -> None:
        """In the child: forget who of the parent's threads was inside, and close without unlocking."""
        self.thread = RLock()
        self._let_go()

    def _let_go(self) -> None:
        self.fd = -1
        if self._file is not None:
            self._file.close()
        self._file = None

    def __del__(self) -> None:
        self._let_go()  # a handle that was dropped, not closed

    # Signals: an exception may come in at any line here, and in whoever gives the lock back. So the thread lock knows
    # its owner, and every use of the lock has this shape, by which one interrupt cannot keep it:
    #
    #     self.check_outside()
    #     try:
    #         take, and in a `finally` release
    #     except BaseException:
    #         self.free()  # the interrupt came in between, or in the `finally`
    #         raise
    def check_outside(self) -> None:
        """Raise ``LockTimeoutError`` if this thread has the lock: it would wait for itself."""
        if self.is_inside():
            raise self._inside()

    def is_inside(self) -> bool:
        """Whether this thread has the lock."""
        return bool(self.thread._is_owned())  # type: ignore[attr-defined]

    def take(self) -> None:
        """Become the writer, or raise ``LockTimeoutError`` after ``timeout`` seconds. Whoever calls this frees it."""
        if not self.thread.acquire(False):
            self._wait_for_thread()
        try:
            self.lock_file(self.fd, LOCK_EX)
        except (OSError, ValueError, TypeError):
            self._wait_for_file(LOCK_EX)

    def free(self) -> None:
        """Give the lock back if this thread still has it: the last resort, see above."""
        if self.is_inside():
            try:
                if self.fd >= 0:
                    self.lock_file(self.fd, LOCK_UN)
            finally:
                self.thread.release()

    def try_take(self) -> bool:
        """Become the writer if nobody is. Never waits."""
        thread = self.thread
        if not thread.acquire(False):
            return False
        if self.fd < 0:  # looked at inside: another thread may just have closed the handle
            thread.release()
            return False
        try:
            self.lock_file(self.fd, LOCK_EX)
        except OSError as error:
            thread.release()
            if error.errno not in platform.LOCK_REFUSED:
                raise self._no_lock(error) from error
            return False
        return True

    def shared(self, work: Callable[[], T]) -> T:
        """What `work` returns, done while no writer is inside, but other readers may be."""
        self.check_outside()
        try:
            self._wait_for_thread()
            self._wait_for_file(LOCK_SH)
            try:
                return work()
            finally:
                self.release()
        except BaseException:
            self.free()
            raise

    def release(self) -> None:
        """Let the next writer in. The thread lock goes last: by that :meth:`free` sees who was interrupted here."""
        if self.fd >= 0:
            self.lock_file(self.fd, LOCK_UN)
        self.thread.release()

    def _inside(self) -> LockTimeoutError:
        return LockTimeoutError(
            f"this thread is inside a write to {self.path} already (is this a signal handler, or a `__del__`?): "
            "use another handle there, or do it later",
            timeout=0.0,
            holder=None,
        )

    def _wait_for_thread(self) -> None:
        if self.thread.acquire(False):
            return
        self.waits += 1
        deadline = time.monotonic() + self.timeout
        while True:
            platform.look_up()
            left = deadline - time.monotonic()
            if self.thread.acquire(timeout=min(max(left, 0.0), LONGEST_LOOK)):
                return
            if left <= LONGEST_LOOK:
                break
        raise LockTimeoutError(
            f"another thread of this process held the writer lock of {self.path} for {self.timeout:g} s; "
            "try again, or open with a longer `timeout`",
            timeout=self.timeout,
            holder=None,
        )

    def _wait_for_file(self, operation: int) -> None:
        if self.fd < 0 or self.closing:
            self.reopen()  # after a fork; raises when the handle was closed
        deadline = time.monotonic() + self.timeout
        pause = FIRST_PAUSE
        waited = False
        eager = self.eager
        while True:
            try:
                self.lock_file(self.fd, operation)
                return
            except OSError as error:
                if self.closing:
                    self.reopen()  # raises ClosedError
                if error.errno not in platform.LOCK_REFUSED:
                    raise self._no_lock(error) from error
            if not waited:
                waited = True
                self.waits += 1
            if eager:
                eager -= 1
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise self.timed_out()
            # Uneven pauses, since two waiters in step would meet again and again.
            platform.pause(min(left, platform.uneven(pause)))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _no_lock(self, error: OSError) -> PlaceError:
        return PlaceError(
            f"the system gives no lock on {self.path}: {error.strerror or error}; nothing was changed: try again, or "
            "choose another directory",
            path=self.path,
        )

    def timed_out(self) -> LockTimeoutError:
        """The error that says who holds the lock, where the system tells."""
        holder: Optional[int] = platform.lock_holder(self.path)
        who = f"process {holder} holds it" if holder else "the system does not tell who holds it"
        return LockTimeoutError(
            f"the writer lock of {self.path} was not obtained in {self.timeout:g} s: {who}; "
            "try again, or open with a longer `timeout`",
            timeout=self.timeout,
            holder=holder,
        )
