"""The files that calls go through: made whole before anybody sees them, trusted before they are read, locked for life.

The lock says whether the process that made a file still lives: the kernel gives it back when that one dies, and it is
on the file's own inode, so it never speaks of another. Nothing is decided by a pid.
"""

from __future__ import annotations

import mmap
import os
import time
from zlib import crc32

from .. import place, platform
from ..errors import DatastoreError, FormatError, PlaceError, RegionDamagedError, RegionNotFoundError
from ..layout import SERIALIZERS, serializer_names
from ..lockfile import LockFile
from . import layout

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    import struct
    from typing import Any, List, Optional, Set, Tuple

LARGEST = 1 << 32  # bytes of a file
FINISHED_LONG_AGO = 60.0  # seconds after which nobody is still making a file
# Locks that a forked child must let go of, without unlocking; and that no collection of a cycle closes too early.
_open_files: Set[Any] = set()


# --- places ------------------------------------------------------------------------------------------
def directory_of(name: str, directory: Any) -> str:
    """The directory of the object `name`, which need not be there."""
    place.check_name(name)
    return os.path.join(place.resolve_directory(directory), name + layout.SUFFIX)


def prepare(path: str) -> None:
    """Make an object's directory, and the one that it is in."""
    place.prepare_directory(os.path.dirname(path))
    place.prepare_directory(path)


def names(directory: str) -> List[str]:
    """The objects that have, or had, a server in `directory`."""
    try:
        entries = sorted(os.listdir(directory))
    except OSError:
        return []
    return [entry[: -len(layout.SUFFIX)] for entry in entries if entry.endswith(layout.SUFFIX)]


def start_lock(path: str, timeout: float) -> LockFile:
    """The lock for starting a server, taken: held for a moment, by one at a time. The directory is made if need be."""
    for _ in range(5):
        prepare(path)
        lock = LockFile(os.path.join(path, layout.START_LOCK), timeout, remove=True)
        try:
            lock.acquire()
            return lock
        except PlaceError:
            if os.path.isdir(path):
                raise
            continue  # the last server has just gone, and taken its directory along
    raise place.cannot_write(path, FileNotFoundError("it is removed again and again"))


# --- one file ----------------------------------------------------------------------------------------
class Shared:
    """A mapped file that one process made and locked, and others map."""

    __slots__ = ("_lock", "_lock_function", "data", "longs", "mine", "path", "raw", "words")

    def __init__(self, path: str, raw: Any, lock: Any, function: Any, *, mine: bool) -> None:
        self.path = path
        self.raw = raw  # the mapping itself, for a bell
        self.data = memoryview(raw)
        self.words = self.data.cast("I")
        self.longs = self.data.cast("Q")
        self.mine = mine
        self._lock = lock
        self._lock_function = function

    def maker_lives(self) -> bool:
        """Whether the process (or interpreter) that made this file has it open still."""
        if self.mine:
            return True
        if self._lock is None or self._lock.closed:  # by a fork, too
            return False
        try:
            self._lock_function(self._lock.fileno(), platform.LOCK_SH)
        except OSError as error:
            if error.errno in platform.LOCK_REFUSED:
                return True
            raise
        self._lock_function(self._lock.fileno(), platform.LOCK_UN)
        return False

    def close(self) -> None:
        """Let go of the file, and of the lock where it is ours. The mapping goes with its last reader."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        _open_files.discard(lock)
        if self.mine:
            # Not left to `close`: a child that is between its fork and its exec has the description too.
            self._lock_function(lock.fileno(), platform.LOCK_UN)
        lock.close()

    def forget(self) -> None:
        """Close without unlocking: in a forked child the lock is the parent's."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def remove(self) -> None:
        """Delete the file. Its name is random, so it is nobody else's by now."""
        try:
            os.unlink(self.path)
            if platform.LOCK_IN_OWN_FILE:
                os.unlink(_to_lock(self.path))
        except OSError:
            return

    def __del__(self) -> None:
        lock = getattr(self, "_lock", None)
        if lock is not None and _open_files is not None:  # Python may be at its end
            self._lock = None  # who is collected along with it may still ask
            _open_files.discard(lock)
            lock.close()


def make(path: str, static: bytes, size: int) -> Shared:
    """Make and lock a file that begins with `static`. It has its name only once it is whole, and locked."""
    temporary = f"{path}.{os.urandom(4).hex()}.new"
    lock: Any = None
    try:
        fd = os.open(temporary, platform.OPEN_FLAGS | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            platform.reserve(fd, 0, size)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, static + layout.STATIC_CRC.pack(crc32(static)))
        finally:
            os.close(fd)
        lock, function = _locked(_to_lock(path) if platform.LOCK_IN_OWN_FILE else temporary)
        os.rename(temporary, path)
        return Shared(path, _mapping(path, size), lock, function, mine=True)
    except OSError as error:
        if lock is not None:
            _open_files.discard(lock)
            lock.close()
        platform.discard(temporary)
        if isinstance(error, DatastoreError):
            raise
        raise PlaceError(
            f"{path} cannot be made: {error.strerror or error}; free space there, or choose another directory",
            path=path,
        ) from error


def _to_lock(path: str) -> str:
    """The file whose lock speaks for the file at `path`: that one, where locks do not keep others from reading."""
    return path + ".lock" if platform.LOCK_IN_OWN_FILE else path


def _mapping(path: str, size: int = 0) -> mmap.mmap:
    """All of the file at `path`, through a descriptor of its own.

    A mapping keeps a duplicate of its descriptor: were the lock on that one, a forked child that keeps the mapping
    would keep the lock of a parent that dies.
    """
    fd = place.open_file(path, writable=True)
    try:
        found = os.fstat(fd).st_size
        if not max(size, layout.PAGE) <= found <= LARGEST:
            raise FormatError(f"{path} has {found:,} bytes, which it cannot have: delete it", path=path)
        return mmap.mmap(fd, found)
    finally:
        os.close(fd)


def _locked(path: str) -> Tuple[Any, Any]:
    """The file at `path`, made if need be and locked, and how."""
    lock = os.fdopen(os.open(path, platform.OPEN_FLAGS | os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
    _open_files.add(lock)
    locked = platform.try_lock(lock.fileno())
    if locked is None or not locked[1]:
        _open_files.discard(lock)
        lock.close()
        raise _no_lock(path)
    return lock, locked[0]


def _no_lock(path: str) -> PlaceError:
    return PlaceError(
        f"the file system of {path} has no lock that ends with its holder; choose a directory on another", path=path
    )


def attach(path: str) -> Shared:
    """Map a file that another process made. ``RegionNotFoundError``, ``UntrustedRegionError``, ``FormatError``.

    A name is given once, to one file: names are random, so that the two descriptors are of the same file.
    """
    lock = os.fdopen(place.open_file(_to_lock(path), writable=True), "r+b", buffering=0)
    _open_files.add(lock)
    try:
        function = platform.lock_function(lock.fileno())
        if function is None:
            raise _no_lock(path)
        return Shared(path, _mapping(path), lock, function, mine=False)
    except BaseException:
        _open_files.discard(lock)
        lock.close()
        raise


def _after_fork_in_child() -> None:
    for lock in list(_open_files):
        lock.close()
    _open_files.clear()


platform.at_fork_in_child(_after_fork_in_child)


# --- the server's file -------------------------------------------------------------------------------
class ServerFacts:
    """What never changes in a server's life, validated."""

    __slots__ = ("created_ns", "id", "limit", "pid", "serializer", "workers")

    def __init__(self, serializer: str, workers: int, limit: int) -> None:
        self.serializer = serializer
        self.workers = workers
        self.limit = limit
        self.id = os.urandom(16)
        self.pid = os.getpid()
        self.created_ns = time.time_ns()

    def pack(self) -> bytes:
        """The beginning of the server's file."""
        return layout.SERVER_STATIC.pack(
            layout.SERVER_MAGIC,
            layout.VERSION,
            layout.BYTE_ORDER_MARK,
            SERIALIZERS[self.serializer],
            self.workers,
            self.id,
            self.pid,
            self.limit,
            self.created_ns,
        )

    @classmethod
    def read(cls, shared: Shared) -> ServerFacts:
        """The facts in a server's file."""
        fields = _static(shared, layout.SERVER_STATIC, layout.SERVER_MAGIC)
        serializer, workers, found, pid, limit, created = fields
        if serializer not in serializer_names:
            raise FormatError(
                f"{shared.path} uses serializer {serializer}: upgrade ipcdatastore here", path=shared.path
            )
        facts = cls(serializer_names[serializer], workers, limit)
        facts.id, facts.pid, facts.created_ns = found, pid, created
        return facts


def make_server(path: str, facts: ServerFacts) -> Shared:
    """The file of a new server in the object's directory `path`."""
    return make(os.path.join(path, facts.id.hex() + layout.SERVER_SUFFIX), facts.pack(), layout.PAGE)


# --- clients' files ----------------------------------------------------------------------------------
def make_client(path: str, server_id: bytes, ring_size: int) -> Shared:
    """A new client's file in the object's directory `path`."""
    static = layout.CLIENT_STATIC.pack(
        layout.CLIENT_MAGIC, layout.VERSION, layout.BYTE_ORDER_MARK, ring_size, ring_size, server_id, os.getpid()
    )
    name = os.urandom(8).hex() + layout.CLIENT_SUFFIX
    return make(os.path.join(path, name), static, layout.PAGE + 2 * ring_size)


def read_client(shared: Shared) -> Tuple[int, int, bytes, int]:
    """(bytes of the request ring, of the response ring, id of the server, pid) of a client's file."""
    requests, responses, server_id, pid = _static(shared, layout.CLIENT_STATIC, layout.CLIENT_MAGIC)
    for size in (requests, responses):
        if size < layout.RING_MIN or size & (size - 1):
            raise _damaged(shared, f"a ring of {size:,} bytes")
    if layout.PAGE + requests + responses > len(shared.data):
        raise _damaged(shared, f"only {len(shared.data):,} bytes")
    return requests, responses, server_id, pid


def entries(path: str, suffix: str) -> List[str]:
    """The files in the object's directory `path` whose names end so."""
    return [os.path.join(path, entry) for entry in os.listdir(path) if entry.endswith(suffix)]


def _static(shared: Shared, form: struct.Struct, magic: bytes) -> Tuple[Any, ...]:
    """Magic, version, byte order, checksum: nothing is believed before its turn. What comes after them."""
    found, version, order, *fields = form.unpack_from(shared.data)
    if found != magic:
        raise FormatError(f"{shared.path} is not what its name says: it begins with {found!r}", path=shared.path)
    if version != layout.VERSION or order != layout.BYTE_ORDER_MARK:
        raise FormatError(
            f"{shared.path} has format {version}, and this release speaks {layout.VERSION} in this machine's byte "
            "order: use the same release of ipcdatastore at both ends",
            path=shared.path,
        )
    (crc,) = layout.STATIC_CRC.unpack_from(shared.data, form.size)
    if crc != crc32(shared.data[: form.size]):
        raise _damaged(shared, "the checksum of its header")
    return tuple(fields)


def _damaged(shared: Shared, problem: str) -> RegionDamagedError:
    return RegionDamagedError(f"{shared.path} is damaged: {problem}; delete it", path=shared.path, problems=(problem,))


def remove_directory(path: str) -> None:
    """Remove an object's directory, if nothing is in it."""
    try:
        os.rmdir(path)
    except OSError:
        return


def serves(shared: Shared) -> bool:
    """Whether the server that made this file answers calls."""
    return bool(shared.words[layout.STATE] == layout.SERVING) and shared.maker_lives()


def find_server(path: str) -> Optional[Tuple[Shared, ServerFacts]]:
    """The server that lives in the object's directory `path`, and its facts; None where there is none."""
    try:
        place.check_directory(os.path.dirname(path))
        place.check_directory(path)
        candidates = entries(path, layout.SERVER_SUFFIX)
    except (RegionNotFoundError, FileNotFoundError):
        return None
    problem: Optional[DatastoreError] = None
    for candidate in candidates:
        try:
            shared = attach(candidate)
        except (RegionNotFoundError, FormatError):  # gone; or cut off, so no server's
            continue
        except DatastoreError as error:
            problem = error
            continue
        try:
            # First of all: of one that is dead nothing matters, not even its format.
            if shared.maker_lives():
                facts = ServerFacts.read(shared)
                if shared.words[layout.STATE] == layout.SERVING:
                    return shared, facts
        except DatastoreError as error:
            problem = error
        except BaseException:
            shared.close()
            raise
        shared.close()
    if problem is not None:
        raise problem
    return None


def remove_leftovers(path: str) -> None:
    """Delete the files of servers and clients that are dead, and what they did not finish. Under the start lock."""
    for entry in entries(path, ".new"):
        try:
            if os.stat(entry).st_mtime < time.time() - FINISHED_LONG_AGO:
                os.unlink(entry)
        except OSError:
            continue
    for entry in (*entries(path, layout.SERVER_SUFFIX), *entries(path, layout.CLIENT_SUFFIX)):
        try:
            shared = attach(entry)
        except (OSError, DatastoreError):
            continue
        if not shared.maker_lives():
            shared.remove()
        shared.close()
