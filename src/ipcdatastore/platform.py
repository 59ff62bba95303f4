"""The only module that knows on which system it runs. Each capability is looked up once.

Locks here are *whole file and per open file description*, and the kernel drops them when their
holder dies: ``flock`` where it works (two sub-interpreters of one process exclude each other with it),
open-file-description locks on mounts that answer ENOSYS to ``flock``, ``portalocker`` on a file of
its own where there is no ``fcntl``. Never ``lockf``: it does not exclude two handles of one process,
and closing any descriptor of the file drops it. Never a lock file that outlives its holder.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
import time
from _thread import allocate_lock

from .errors import ArgumentError

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Tuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

IS_WINDOWS = os.name == "nt"
HAS_UID = hasattr(os, "geteuid")

# x86 keeps stores in order and loads in order, which is all that the protocol needs from a fence (the
# model's `sc` memory is this machine); elsewhere a fence is a private lock released and taken again.
_MACHINE = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
NEEDS_FENCE = _MACHINE.lower() not in ("x86_64", "amd64", "i386", "i486", "i586", "i686", "x86")

# O_NONBLOCK: a FIFO in a region's place would block the open for ever.
OPEN_FLAGS = 0
for _name in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY", "O_NONBLOCK"):
    OPEN_FLAGS |= getattr(os, _name, 0)

# A lock held on a file of its own, not on the region: Windows' byte locks are mandatory.
LOCK_IN_OWN_FILE = fcntl is None

_NETWORK_FILE_SYSTEMS = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "9p",
        "ceph",
        "fuse.sshfs",
        "fuse.glusterfs",
        "lustre",
        "gfs2",
        "ocfs2",
        "beegfs",
        "fuse.s3fs",
    ]
)
_F_OFD_SETLK = 37
LOCK_REFUSED = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_LOCK_MISSING = (errno.ENOSYS, errno.EOPNOTSUPP, getattr(errno, "ENOTSUP", errno.EOPNOTSUPP), errno.EINVAL)


# --- clock -------------------------------------------------------------------------------------------
# Expiry must survive a wall clock that jumps, and mean the same in every process: a clock that counts
# since boot, asleep or not. The header records which one, so that a region never mixes two.
CLOCK_BOOTTIME = 1
CLOCK_MONOTONIC = 2
CLOCK_WALL = 3

if sys.platform.startswith("linux") and hasattr(time, "CLOCK_BOOTTIME"):
    CLOCK = CLOCK_BOOTTIME

    def now_ns() -> int:
        """Nanoseconds on the clock that expiry uses."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

elif not IS_WINDOWS:
    CLOCK = CLOCK_MONOTONIC
    now_ns = time.monotonic_ns
else:  # Windows changed the source of its monotonic clock in Python 3.13
    CLOCK = CLOCK_WALL
    now_ns = time.time_ns


def uneven(seconds: float) -> float:
    """Between half of `seconds` and one and a half: `random` would be 2 ms of import for this alone."""
    return seconds * (0.5 + time.perf_counter_ns() % 1021 / 1021)


# --- waiting -----------------------------------------------------------------------------------------
_before_waits: Optional[Callable[[], Any]] = None


def on_wait(function: Optional[Callable[[], Any]]) -> None:
    """Have `function` called before each pause of every wait in this interpreter, ten times a second and more.

    What it raises ends the wait: for hosts that must end in time, like Kodi's addons. None takes it away. One for
    all handles and threads; a wait for a lock, for a change or an event is meant, and nothing else ever calls it.

    >>> import ipcdatastore
    >>> def host_ends():
    ...     raise ipcdatastore.WaitEndedError("the host is about to end")
    >>> ipcdatastore.on_wait(host_ends)
    >>> open("docs").wait("never set")
    Traceback (most recent call last):
    ipcdatastore.errors.WaitEndedError: the host is about to end
    >>> ipcdatastore.on_wait(None)
    """
    global _before_waits  # noqa: PLW0603 - of the interpreter, like its signal handlers
    if function is not None and not callable(function):
        raise ArgumentError(f"`on_wait` takes a function or None, not {function!r}", name="function", value=function)
    _before_waits = function


def look_up() -> None:
    """Before a pause: has the host something to say?"""
    if _before_waits is not None:
        _before_waits()


def pause(seconds: float) -> None:
    """A part of a wait, at most a few milliseconds long."""
    look_up()
    time.sleep(seconds)


def deadline(expire: Optional[float]) -> int:
    """The expiry clock's nanoseconds when so many seconds have passed; 0 for never."""
    if expire is None:
        return 0
    if type(expire) not in (int, float) or not 0 < expire < float("inf"):
        raise ArgumentError(
            f"`expire` is a number of seconds above 0, or None for ever, not {expire!r}",
            name="expire",
            value=expire,
        )
    return now_ns() + max(1, int(min(expire, 10**9) * 1e9))


def boot_id() -> bytes:
    """16 bytes that change with every boot, or zeros where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return bytes.fromhex(file.read().decode("ascii").strip().replace("-", ""))[:16].ljust(16, b"\0")
    except (OSError, ValueError):
        return bytes(16)


# --- fences ------------------------------------------------------------------------------------------
def fence() -> None:
    """Order every load and store before against every one after, where the machine needs to be told.

    Releasing a held lock and taking it again is a store-release followed by a load-acquire, which is a
    full fence on ARM; the usual order, acquire then release, is none. The lock is a fresh one, so any
    thread may call this at any time.
    """
    if NEEDS_FENCE:
        lock = allocate_lock()
        lock.acquire()
        lock.release()
        lock.acquire()


# --- locks -------------------------------------------------------------------------------------------
# Operations of a lock function. None of them waits: a lock that somebody else has raises an OSError
# with one of LOCK_REFUSED.
if fcntl is not None:
    LOCK_SH, LOCK_EX, LOCK_UN = fcntl.LOCK_SH | fcntl.LOCK_NB, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
else:
    LOCK_SH, LOCK_EX, LOCK_UN = 1, 2, 8


def _ofd_lock(fd: int, operation: int) -> None:
    kind = {LOCK_EX: fcntl.F_WRLCK, LOCK_SH: fcntl.F_RDLCK, LOCK_UN: fcntl.F_UNLCK}[operation]
    fcntl.fcntl(fd, _F_OFD_SETLK, struct.pack("@hhqqi", kind, os.SEEK_SET, 0, 0, 0))


def _portalocker(fd: int, operation: int) -> None:
    try:
        import portalocker
    except ImportError:  # not there, or without the pywin32 that it asks for
        return _msvcrt(fd, operation)

    with os.fdopen(fd, "r+b", closefd=False) as file:
        if operation == LOCK_UN:
            portalocker.unlock(file)
            return None
        kind = portalocker.LockFlags.EXCLUSIVE if operation == LOCK_EX else portalocker.LockFlags.SHARED
        try:
            portalocker.lock(file, kind | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.exceptions.LockException as error:
            raise BlockingIOError(errno.EAGAIN, "locked by somebody else") from error


def _msvcrt(fd: int, operation: int) -> None:
    """Windows' own lock of one byte. It has no shared kind, so readers who need one take turns."""
    import msvcrt

    os.lseek(fd, 0, os.SEEK_SET)
    kind = msvcrt.LK_UNLCK if operation == LOCK_UN else msvcrt.LK_NBLCK  # type: ignore[attr-defined]
    msvcrt.locking(fd, kind, 1)  # type: ignore[attr-defined]


if TYPE_CHECKING:
    LockFunction = Callable[[int, int], Any]


def lock_function(fd: int) -> Optional[LockFunction]:
    """How to lock the open file `fd`: ``lock(fd, operation)``, operation one of the three above.

    None where the file system has no lock that the kernel releases when its holder dies.
    """
    if fcntl is None:
        return _portalocker
    for function in (fcntl.flock, _ofd_lock):
        try:
            function(fd, LOCK_SH)
            function(fd, LOCK_UN)
            return function
        except OSError as error:
            if error.errno in LOCK_REFUSED:
                return function
            if error.errno not in _LOCK_MISSING:
                raise
    return None


def try_lock(fd: int) -> Optional[Tuple[LockFunction, bool]]:
    """Lock the open file `fd` exclusively: how, and whether it could be had. None as in :func:`lock_function`.

    That one locks to find out, which refuses others who try at the same time; this one keeps what it gets.
    """
    for function in (fcntl.flock, _ofd_lock) if fcntl is not None else (_portalocker,):
        try:
            function(fd, LOCK_EX)
        except OSError as error:
            if error.errno in LOCK_REFUSED:
                return function, False
            if error.errno not in _LOCK_MISSING:
                raise
        else:
            return function, True
    return None


def lock_holder(path: str) -> Optional[int]:
    """The pid that holds a lock on the file at `path`, where the system tells; it may have just let go."""
    try:
        status = os.stat(path)
        wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        with open("/proc/locks", encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if len(fields) > 5 and wanted in fields and "WRITE" in fields:
                    pid = int(fields[fields.index("WRITE") + 1])
                    return pid if pid > 0 else None
    except (OSError, ValueError, AttributeError):
        return None
    return None


# --- files -------------------------------------------------------------------------------------------
def reserve(fd: int, offset: int, length: int) -> None:
    """Give `length` bytes at `offset` real blocks, so that a store through a mapping cannot fail.

    Raises ``OSError`` where the disk is full; the file may then be longer, but nothing is published.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, offset, length)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    zeros = bytes(65536)
    os.lseek(fd, offset, os.SEEK_SET)
    left = length
    while left > 0:
        left -= os.write(fd, zeros[: min(left, len(zeros))])


def begin_sync(fd: int, offset: int, length: int) -> None:
    """Have the system write a part of a file to the disk now rather than later, where it takes hints. Never waits."""
    advise = getattr(os, "posix_fadvise", None)
    if advise is not None:
        try:
            advise(fd, offset, length, os.POSIX_FADV_DONTNEED)
        except OSError:
            return  # a hint that was not taken


def discard(path: str) -> None:
    """Delete a file, if it is there and that can be done."""
    try:
        os.unlink(path)
    except OSError:
        return


def file_system(path: str) -> str:
    """The type of the file system that holds `path` (``"tmpfs"``), ``""`` where the system does not tell."""
    best, kind = "", ""
    try:
        real = os.path.realpath(path)
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(" ")
                mount = fields[4].replace("\\040", " ")
                inside = real == mount or real.startswith(mount.rstrip("/") + "/")
                if inside and len(mount) >= len(best):
                    best, kind = mount, fields[fields.index("-", 6) + 1]
    except (OSError, ValueError, IndexError):
        return ""
    return kind


def is_network_file_system(kind: str) -> bool:
    """Whether mappings of files there are not shared between all who map them."""
    return kind in _NETWORK_FILE_SYSTEMS


def default_directory() -> str:
    """The directory of regions that were given none: a function of the user and the machine only.

    Memory-backed where the system has such a place. No environment variable is asked, since a login
    shell, cron and systemd differ in theirs, and one name must mean one store.
    """
    if not HAS_UID:
        return _windows_directory()
    leaf = f"ipcdatastore-{os.geteuid()}"
    for base in ("/dev/shm", "/run/shm"):
        if _is_shared_directory(base):
            return os.path.join(base, leaf)
    if sys.platform == "darwin":
        try:
            return os.path.join(os.confstr(65537) or "/tmp", leaf)  # _CS_DARWIN_USER_TEMP_DIR
        except (ValueError, OSError):
            return os.path.join("/tmp", leaf)
    return os.path.join("/tmp" if _is_shared_directory("/tmp") else _home(), leaf)


def _home() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_dir


def data_directory() -> str:
    """The base of the directories of images, on a disk: a function of the user and the machine, as far as it can be.

    On Linux neither ``XDG_DATA_HOME`` nor ``HOME`` is asked, for the reason given above.
    """
    if sys.platform.startswith("linux"):
        try:
            return os.path.join(_home(), ".local", "share", "ipcdatastore")
        except (ImportError, KeyError):  # a container's user without an entry
            return f"/var/tmp/ipcdatastore-{os.geteuid()}"
    import platformdirs  # type: ignore[import-not-found,unused-ignore]

    return platformdirs.user_data_dir("ipcdatastore", appauthor=False)


def _is_shared_directory(path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and os.access(path, os.W_OK | os.X_OK)


def _windows_directory() -> str:
    import ctypes

    buffer = ctypes.create_unicode_buffer(1024)
    ctypes.windll.shell32.SHGetFolderPathW(None, 0x1C, None, 0, buffer)  # type: ignore[attr-defined]
    return os.path.join(buffer.value, "ipcdatastore", "regions")


def owner_problem(status: os.stat_result) -> Optional[str]:
    """Why the owner or the mode of a file cannot be trusted with pickles, None if they can."""
    if not HAS_UID:
        return None
    if status.st_uid != os.geteuid():
        return f"it is owned by uid {status.st_uid}, and this process runs as uid {os.geteuid()}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"its mode {stat.S_IMODE(status.st_mode):04o} lets others write to it"
    return None


def at_fork_in_child(function: Callable[[], Any]) -> None:
    """Have `function` run in every child after a fork, where there is such a thing."""
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=function)
