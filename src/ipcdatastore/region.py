"""The mapped file: create, open, validate, grow, close; and the typed views of its bytes.

A region never moves and never shrinks while it lives. It grows at its end: blocks are reserved first
(a mapping of a file on a full disk kills the process with SIGBUS), then the longer length is
published; a handle that meets an offset past its view maps the longer file. Views handed out before
stay valid, since they show the same pages.

This is the only module that makes views of the buffer. Everybody stores through ``words[i] = v`` (one
aligned 32-bit store: another process sees the old or the new value, nothing between) and
``data[a:b] = v`` (no such promise). Tests put recording views in their place.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from _thread import RLock
from zlib import crc32

from . import layout, platform
from .errors import DatastoreError, FormatError, PlaceError, RegionDamagedError, RegionNotFoundError, StoreFullError
from .place import open_file

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

INITIAL_PAGES = 1
CHECK_NS = 100_000_000


class StaticHeader:
    """What never changes in a region's life, validated."""

    __slots__ = ("boot", "created_ns", "region_id", "seed", "serializer", "write_version")

    def __init__(
        self, write_version: int, serializer: str, seed: int, region_id: bytes, boot: bytes, created_ns: int
    ) -> None:
        self.write_version = write_version
        self.serializer = serializer
        self.seed = seed
        self.region_id = region_id
        self.boot = boot
        self.created_ns = created_ns


class Region:
    """One handle's view of one region file."""

    def __init__(self, path: str, *, writable: bool) -> None:
        self.path = path
        self.writable = writable
        self.file: Any = os.fdopen(open_file(path, writable), "r+b" if writable else "rb", buffering=0)
        self._installing = RLock()
        self.data: Any = None
        self.words: Any = None
        self.longs: Any = None
        self.units = 0
        # The wall clock may jump either way, so the last check has two bounds.
        self.checked = self.check_due = 0
        try:
            self._header_page = self.file.read(layout.HEADER_SIZE)
            self.header = read_static(self._header_page, path)
            status = os.fstat(self.file.fileno())
            self._identity = (status.st_dev, status.st_ino)
            self.map()
        except BaseException:
            self.close()
            raise

    # --- mapping -------------------------------------------------------------------------------------
    def map(self) -> None:
        """Map as much as is published now. The old view stays with whoever still uses it."""
        # The published length, not the file's: a writer that died while growing left a longer file.
        self._install(self._mapping(self._published()))

    def _mapping(self, pages: int) -> mmap.mmap:
        size = os.fstat(self.file.fileno()).st_size
        published = pages * layout.PAGE
        if not layout.PAGE <= published <= min(size, layout.MAX_REGION):
            raise RegionDamagedError(
                f"the region {self.path} was truncated or damaged: it should have {published:,} bytes, its file has "
                f"{size:,}; close it everywhere and delete it",
                path=self.path,
                problems=("length",),
            )
        access = mmap.ACCESS_WRITE if self.writable else mmap.ACCESS_READ
        try:
            return mmap.mmap(self.file.fileno(), published, access=access)
        except OSError as error:  # no descriptor is left for it, or no addresses
            raise PlaceError(
                f"the region {self.path} cannot be mapped: {error.strerror or error}; nothing was changed. Close files "
                "or handles, or allow the process more",
                path=self.path,
            ) from error

    def _published(self) -> int:
        if self.words is not None:
            return int(self.words[layout.LENGTH])
        raw = self._header_page[4 * layout.LENGTH : 4 * layout.LENGTH + 4]
        return int.from_bytes(raw, sys.byteorder)

    def _install(self, data: mmap.mmap) -> None:
        """Use `data` from now on, unless another thread was faster with a longer one."""
        with self._installing:
            if len(data) // layout.UNIT <= self.units:
                return
            view = memoryview(data)
            # `units` last: whoever checks an offset against it finds views at least that long.
            self.data, self.words, self.longs = data, view.cast("I"), view.cast("Q")
            self.units = len(data) // layout.UNIT

    def follow(self) -> bool:
        """Map the longer file if somebody grew it. Whether there was something to do."""
        if self.words[layout.LENGTH] * layout.PAGE_UNITS <= self.units:
            return False
        self.map()
        return True

    def grow_locked(self, pages: int) -> None:
        """Make the file `pages` long and publish that. Under the writer lock; nothing else changes."""
        old = self.words[layout.LENGTH]
        try:
            platform.reserve(self.file.fileno(), old * layout.PAGE, (pages - old) * layout.PAGE)
        except OSError as error:
            raise StoreFullError(
                f"the region {self.path} cannot grow from {old * layout.PAGE:,} to {pages * layout.PAGE:,} bytes: "
                f"{error.strerror}; nothing was changed. Free space on its file system, or delete records",
                needed=(pages - old) * layout.PAGE,
                free=0,
                hint="free space on the file system that holds the region",
            ) from error
        data = self._mapping(pages)  # first: where a longer view cannot be had, nothing has happened
        self.words[layout.LENGTH] = pages  # PUBLISH: the blocks are there
        self._install(data)

    def open_lock_file(self) -> Any:
        """A file to lock for this region: the region's own inode, by an open file description of its own."""
        if platform.LOCK_IN_OWN_FILE:
            return open(self.path + ".lock", "a+b", buffering=0)
        file = os.fdopen(open_file(self.path, self.writable), "r+b" if self.writable else "rb", buffering=0)
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) != self._identity:
            file.close()
            raise self._orphaned()
        return file

    # --- identity ------------------------------------------------------------------------------------
    def check_place(self, now: int) -> None:
        """Is the file that this handle maps still the one that others would open? `now`: wall clock, ns.

        Called by every write and every slow read when :attr:`checked` is more than 100 ms away.
        """
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError as error:
            raise self._orphaned() from error
        if (status.st_dev, status.st_ino) != self._identity:
            raise self._orphaned()
        self.checked, self.check_due = now, now + CHECK_NS

    def _orphaned(self) -> RegionNotFoundError:
        return RegionNotFoundError(
            f"the region {self.path} was removed or replaced by somebody while it was in use; what this handle "
            "still sees is the old one: close it and open again",
            path=self.path,
        )

    def become(self, other: Region) -> None:
        """Take over another view of the same region, so that everybody who holds this one uses it."""
        self.file, self._identity = other.file, other._identity
        self._installing = RLock()
        self.data, self.words, self.longs, self.units = other.data, other.words, other.longs, other.units
        other.file = None  # or `other` would close it when it goes

    def __del__(self) -> None:
        file = getattr(self, "file", None)
        if file is not None:
            file.close()

    def close(self, views: Any = None) -> None:
        """Let go of the mapping (freed with its last reader) and of the file.

        `views` stands in for the words: a thread that was still reading comes to it at its next load.
        """
        self.data, self.words, self.longs = b"", views, views
        self.units = 0
        self.file.close()


# --- validation ------------------------------------------------------------------------------------------
def read_static(raw: bytes, path: str) -> StaticHeader:
    """Magic, then versions, then byte order, then checksum: nothing is believed before its turn."""
    if len(raw) < layout.HEADER_SIZE:
        raise FormatError(
            f"{path} is no region: it has only {len(raw)} bytes; delete it, or use another name", path=path
        )
    magic, write, read, order, serializer, clock, seed, region_id, boot, created = layout.STATIC.unpack_from(raw)
    if magic != layout.MAGIC:
        raise FormatError(f"{path} is no region: it begins with {magic!r}; delete it, or use another name", path=path)
    if order != layout.BYTE_ORDER_MARK:
        raise FormatError(f"the region {path} was made on a machine of the other byte order: delete it here", path=path)
    if read > layout.READ_VERSION:
        raise FormatError(
            f"the region {path} has format {write} (readable from {read} on), and this release reads "
            f"{layout.READ_VERSION}: upgrade ipcdatastore here",
            path=path,
        )
    (crc,) = layout.STATIC_CRC.unpack_from(raw, layout.STATIC.size)
    if crc != crc32(raw[: layout.STATIC.size]):
        raise RegionDamagedError(
            f"the header of region {path} is damaged; delete the file when nobody uses it",
            path=path,
            problems=("static header",),
        )
    if serializer not in layout.serializer_names or clock != platform.CLOCK:
        raise FormatError(
            f"the region {path} uses serializer {serializer} and clock {clock}, unknown to this release or system; "
            "upgrade ipcdatastore here, or use another name",
            path=path,
        )
    return StaticHeader(write, layout.serializer_names[serializer], seed, region_id, boot, created)


def is_stale(path: str) -> bool:
    """Whether the file at `path` was left by an earlier boot: no process can have it mapped."""
    now = platform.boot_id()
    with os.fdopen(open_file(path, writable=False), "rb", buffering=0) as file:
        header = read_static(file.read(layout.HEADER_SIZE), path)
    return any(now) and any(header.boot) and header.boot != now


# --- creation --------------------------------------------------------------------------------------------
class Policy:
    """What the first opener decides; the two last can be changed later."""

    __slots__ = ("evict", "max_size", "serializer")

    def __init__(self, serializer: str, max_size: int, evict: str) -> None:
        self.serializer = serializer
        self.max_size = max_size
        self.evict = evict


def create(path: str, policy: Policy, *, replace: bool, fill: Optional[Callable[[str], None]] = None) -> None:
    """Put a new, empty, complete region at `path`. Under the creation lock. `fill` may put something into the file.

    Nobody can see it before it is whole: it is made under another name, then linked (or, in place of
    a region of an earlier boot, renamed) to its own. A killed creator leaves a temporary file.
    """
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.new"
    try:
        fd = os.open(temporary, platform.OPEN_FLAGS | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            platform.reserve(fd, 0, INITIAL_PAGES * layout.PAGE)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, initial_image(policy))
        finally:
            os.close(fd)
        if fill is not None:
            fill(temporary)
        if replace or not _link(temporary, path):
            os.replace(temporary, path)
        else:
            os.unlink(temporary)
    except FileExistsError:  # somebody else's creation lock was another file: his region is as good
        os.unlink(temporary)
    except DatastoreError:
        platform.discard(temporary)
        raise
    except OSError as error:
        platform.discard(temporary)
        raise PlaceError(
            f"the region {path} cannot be created: {error.strerror}; free space there, or choose another directory",
            path=path,
        ) from error


def _link(temporary: str, path: str) -> bool:
    """Give the file its name unless that is taken (``FileExistsError``). False where links cannot be made."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except (AttributeError, OSError):  # Windows of old, FAT, some Androids: the creation lock must do
        return False
    return True


def initial_image(policy: Policy, *, seed: Optional[int] = None) -> bytes:
    """The beginning of an empty region, to the top of its heap; everything after it is zero.

    All tables, the first slots and a journal lie together at the start of the heap, so that what never moves does not
    split the space that records come and go in.
    """
    random = os.urandom(20)
    static = layout.STATIC.pack(
        layout.MAGIC,
        layout.WRITE_VERSION,
        layout.READ_VERSION,
        layout.BYTE_ORDER_MARK,
        layout.SERIALIZERS[policy.serializer],
        platform.CLOCK,
        int.from_bytes(random[:4], "little") if seed is None else seed,
        random[4:],
        platform.boot_id(),
        time.time_ns(),
    )
    table_units = layout.size_class(layout.table_size(layout.TABLE_MIN))[1]
    chunk = layout.HEAP_START + layout.PARTITIONS * table_units
    chunk_units = layout.size_class(layout.chunk_size(layout.CHUNK_SLOTS_MIN))[1]
    journal = chunk + chunk_units
    journal_units = layout.size_class(layout.journal_size(layout.JOURNAL_MIN))[1]
    image = bytearray((journal + journal_units) * layout.UNIT)
    image[: len(static)] = static
    layout.STATIC_CRC.pack_into(image, layout.STATIC.size, crc32(static))
    words = memoryview(image).cast("I")
    words[layout.LENGTH] = INITIAL_PAGES
    words[layout.STATE] = layout.STATE_LIVE
    for partition in range(layout.PARTITIONS):
        table = layout.HEAP_START + partition * table_units
        words[layout.DESCRIPTORS + partition] = table
        words[4 * table] = table_units << 2 | layout.TAG_SYSTEM
        words[4 * table + 1] = layout.SYSTEM_TABLE
        words[4 * table + 3] = layout.TABLE_MIN - 1
    first = 4 * chunk + layout.BLOCK_HEADER_WORDS
    words[4 * chunk] = chunk_units << 2 | layout.TAG_SYSTEM
    words[4 * chunk + 1] = layout.SYSTEM_CHUNK
    words[4 * chunk + 3] = layout.CHUNK_SLOTS_MIN
    words[layout.CHUNK_FIRST] = words[layout.CHUNK_CURRENT] = chunk
    words[layout.SLOT_TOP] = first
    words[layout.SLOT_END] = first + layout.SLOT_WORDS * layout.CHUNK_SLOTS_MIN
    words[4 * journal] = journal_units << 2 | layout.TAG_SYSTEM
    words[4 * journal + 1] = layout.SYSTEM_JOURNAL
    words[4 * journal + 2] = layout.JOURNAL_MIN
    words[layout.JOURNAL] = journal
    words[layout.TOP] = journal + journal_units
    words[layout.HAND] = layout.HEAP_START
    words[layout.EVICT] = layout.EVICT_POLICIES[policy.evict]
    longs = memoryview(image).cast("Q")
    longs[layout.MAX_SIZE_LONG] = policy.max_size
    return bytes(image)


def remove_leftovers(path: str) -> None:
    """Delete what killed creators left. Under the creation lock."""
    directory, name = os.path.split(path)
    for entry in os.listdir(directory):
        if entry.startswith(name + ".") and entry.endswith(".new"):
            platform.discard(os.path.join(directory, entry))
