"""Named locks between processes, and values that one process computes for all.

A named lock is a kernel lock on a small file beside the region: it ends with its holder, however that dies. The
file is made by the first who wants the lock and removed by whoever lets go of it, while he still holds it; who locked
a file that was removed meanwhile sees that its name is gone, and tries again.
"""

from __future__ import annotations

import time
import weakref
from _thread import get_ident

from . import platform
from .codec import decode_key, encode_key, shorten
from .errors import ArgumentError, LockTimeoutError
from .lockfile import LockFile
from .waiting import EVER, LONGEST_PAUSE, deadline_of, wait

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

    from .codec import Key
    from .engine import Engine

COURTESY = 0.02  # seconds that who let go of a wanted lock leaves it to others: longer than they take to look again
_polite: Dict[str, float] = {}  # path of such a lock -> until when
TRY_AGAIN = 0.05  # seconds after which who waits for a value looks whether its computer is still alive
_holders: weakref.WeakValueDictionary[str, NamedLock] = weakref.WeakValueDictionary()  # by path, in this interpreter


def lock_path(engine: Engine, kind: str, encoded: bytes) -> str:
    """The file of the lock with this name; `kind` keeps locks apart that users name from those that keys name."""
    from hashlib import blake2b

    digest = blake2b(encoded, digest_size=8, person=kind.encode("ascii")).hexdigest()
    return f"{engine.path}.{digest}.lock"


class NamedLock:
    """A lock that one holder in all processes has, in a ``with`` statement or by :meth:`acquire` and :meth:`release`.

    It ends when its holder lets go, dies, or exits. A thread that holds it cannot take it again.
    """

    def __init__(self, engine: Engine, name: Key, timeout: Optional[float], kind: str = "lock") -> None:
        self._engine = engine
        self.name = name
        self.timeout = timeout
        self._owner = 0  # the thread that holds it
        self._lock = LockFile(lock_path(engine, kind, encode_key(name)), EVER, remove=True)

    def acquire(self, timeout: Optional[float] = None) -> None:
        """Wait for the lock; ``LockTimeoutError`` after `timeout` seconds (default: that of the lock; None: never).

        Looks every few milliseconds, so that it can be interrupted, and never blocks in the kernel.
        """
        limit = self.timeout if timeout is None else timeout
        deadline = deadline_of(limit)
        pause = 0.0005
        # Or who lets go and comes back at once would always be first: the others only look now and then.
        late = _polite.pop(self._lock.path, 0.0) - time.monotonic()
        if late > 0:
            platform.pause(min(late, COURTESY, max(0.0, deadline - time.monotonic())))
        while not self.try_acquire():
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._lock.timed_out(limit or 0.0)
            platform.pause(min(left, pause))
            pause = min(pause * 2, LONGEST_PAUSE)

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it. Whether it was free."""
        self._engine.check_open()
        holder = _holders.get(self._lock.path)
        if holder is not None and holder.held and holder._owner == get_ident():
            raise LockTimeoutError(
                f"this thread holds the lock {shorten(self.name)} already, and would wait for itself: let go first",
                timeout=0.0,
                holder=None,
            )
        if not self._lock.try_acquire():
            return False
        self._owner = get_ident()
        _holders[self._lock.path] = self
        return True

    def release(self) -> None:
        """Let the next one in."""
        if not self._lock.held:
            raise ArgumentError(f"the lock {shorten(self.name)} is not held", name="name", value=self.name)
        if _holders.get(self._lock.path) is self:
            del _holders[self._lock.path]
        self._lock.release()
        if self._lock.wanted:
            if len(_polite) > 1000:
                _polite.clear()
            _polite[self._lock.path] = time.monotonic() + COURTESY

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._lock.held

    def __enter__(self) -> NamedLock:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.held:  # not in a child that was forked inside of the block: there the lock is the parent's
            self.release()

    def __repr__(self) -> str:
        return f"<NamedLock {self.name!r} of {self._engine.name!r}{' held' if self.held else ''}>"


def compute_once(
    engine: Engine, encoded: bytes, look: Callable[[], Any], compute: Callable[[], Any], timeout: Optional[float]
) -> Any:
    """What `look` finds, or else what one caller in all processes computes; `look` raises ``KeyError`` for nothing.

    If the caller who computes dies or fails, another one does it.
    """
    key = decode_key(encoded)
    lock = NamedLock(engine, key, None, "value")
    deadline = deadline_of(timeout)
    while True:
        try:
            return look()
        except KeyError:
            pass
        if lock.try_acquire():
            try:
                return look()  # somebody was faster
            except KeyError:
                return compute()
            finally:
                lock.release()
        left = deadline - time.monotonic()
        if left <= 0:
            raise LockTimeoutError(
                f"key {shorten(key)} was not computed in {timeout:g} s by whoever does so; try again, or with a longer "
                "`timeout`",
                timeout=float(timeout or 0),
                holder=None,
            )
        wait(engine, encoded, 0, min(left, TRY_AGAIN))


# In a forked child the parent's locks are the parent's.
platform.at_fork_in_child(_holders.clear)
