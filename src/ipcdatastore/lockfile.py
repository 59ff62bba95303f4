"""A lock on a file of its own, which the kernel drops when its holder dies: for what is rare and takes long.

Two processes that each lock a file of one name must lock the same inode: whoever has the lock looks whether the
path still names what he locked, and tries again if not. So a file may be removed, but only by its holder
(`remove`, for locks with many names). The pid in it is for people; nothing is decided by it.
"""

from __future__ import annotations

import os
import time
import weakref

from . import platform
from .errors import LockTimeoutError, PlaceError

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Optional, Set

FIRST_PAUSE = 0.0005
LONGEST_PAUSE = 0.05
WANTED_AT = 24  # byte of the file, behind the pid, that is not zero when somebody tried in vain
_held: weakref.WeakSet[LockFile] = weakref.WeakSet()
_trying: Set[Any] = set()  # files that threads are about to lock: a child that is forked just then lets go of them


class LockFile:
    """The lock on the file `path`; at most `timeout` seconds are spent on getting it. Not for several threads.

    With `remove` the file goes when the lock is given back.
    """

    __slots__ = ("__weakref__", "_file", "_unlock", "path", "remove", "timeout", "wanted")

    def __init__(self, path: str, timeout: float, *, remove: bool = False) -> None:
        self.path = path
        self.timeout = timeout
        self.remove = remove
        self.wanted = False  # whether somebody tried for the lock while this object had it, as of the last release
        self._file: Any = None
        self._unlock: Any = None

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._file is not None

    def acquire(self, timeout: Optional[float] = None) -> None:
        """Get the lock, or raise ``LockTimeoutError``. Never blocked in the kernel."""
        limit = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        pause = FIRST_PAUSE
        while not self.try_acquire():
            left = deadline - time.monotonic()
            if left <= 0:
                raise self.timed_out(limit)
            platform.pause(min(left, platform.uneven(pause)))
            pause = min(2 * pause, LONGEST_PAUSE)

    def try_acquire(self) -> bool:
        """Whether the lock is this object's now. An object that has it already cannot take it again."""
        if self._file is not None:
            return False
        try:
            fd = os.open(self.path, platform.OPEN_FLAGS | os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise PlaceError(
                f"the lock {self.path} cannot be opened: {error.strerror or error}; free space there, or choose "
                "another directory",
                path=self.path,
            ) from error
        file = os.fdopen(fd, "r+b", buffering=0)
        _trying.add(file)
        try:
            if not self._lock(file):
                self._leave_word(file)
                return False
            try:
                file.truncate(0)
                file.write(b"%d\n" % os.getpid())
            except OSError:
                pass  # a full disk: the lock holds without the note
            self._file = file
            _held.add(self)
            return True
        finally:
            _trying.discard(file)
            if self._file is not file:
                file.close()

    def _lock(self, file: Any) -> bool:
        locked = platform.try_lock(file.fileno())
        if locked is None:
            raise PlaceError(
                f"the file system of {self.path} has no lock that ends with its holder; choose a directory on another",
                path=self.path,
            )
        function, ours = locked
        if not ours or not self._is_named(file):
            return False
        self._unlock = function
        return True

    @staticmethod
    def _leave_word(file: Any) -> None:
        """Have the holder know that somebody else wants the lock."""
        try:
            file.seek(WANTED_AT)
            file.write(b"w")
        except OSError:
            pass  # a full disk, or Windows: then he does not know

    def _was_wanted(self, file: Any) -> bool:
        try:
            file.seek(WANTED_AT)
            return bool(file.read(1) == b"w")
        except OSError:
            return False

    def _is_named(self, file: Any) -> bool:
        """Whether the path still leads to this file."""
        mine = os.fstat(file.fileno())
        try:
            now = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (now.st_dev, now.st_ino)

    def release(self) -> None:
        """Let the next one in. Twice does no harm."""
        file = self._file
        if file is None:
            return
        self.wanted = self._was_wanted(file)
        try:
            # While it is locked: whoever opened it before sees that it has no name any more. And only if it has: where
            # an outsider removed it, another one's lock may be there now.
            if self.remove and self._is_named(file):
                os.unlink(self.path)
        except OSError:
            pass  # Windows: somebody has it open
        try:
            # Not left to `close`: a child that is between its fork and its exec has the description too.
            self._unlock(file.fileno(), platform.LOCK_UN)
        finally:
            self.forget()

    def forget(self) -> None:
        """Close without unlocking: in a forked child the lock is the parent's."""
        file, self._file = self._file, None
        _held.discard(self)
        if file is not None:
            file.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.forget()  # a lock that was dropped, not released

    def __enter__(self) -> LockFile:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def timed_out(self, limit: float) -> LockTimeoutError:
        """The error that says who holds the lock, where the system tells."""
        holder = platform.lock_holder(self.path)
        who = f"process {holder} holds it" if holder else "the system does not tell who holds it"
        return LockTimeoutError(
            f"the lock {self.path} was not obtained in {limit:g} s: {who}; try again, or with a longer `timeout`",
            timeout=limit,
            holder=holder,
        )


def _after_fork_in_child() -> None:
    for lock in list(_held):
        lock.forget()
    for file in list(_trying):
        file.close()
    _trying.clear()


platform.at_fork_in_child(_after_fork_in_child)
