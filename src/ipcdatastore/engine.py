"""One handle on one region, bytes to bytes: where opening, locking, reading and writing meet.

The store above deals in keys and values; everything below deals in slots, blocks and words. An engine
survives ``fork`` (the child opens the region again at its first use) and refuses everything once closed.
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from _weakref import ref
from zlib import crc32

from . import place, platform
from .codec import KEEP
from .coordinator import Coordinator
from .errors import (
    ClosedError,
    RegionDamagedError,
    RegionNotFoundError,
)
from .layout import (
    ALERT,
    ALL_KEYS,
    CHANGE,
    COMMIT,
    COUNT,
    DIRTY,
    EVICT,
    EVICT_POLICIES,
    EXPIRING,
    FLAGGED,
    FLUSHED_AT,
    FLUSHED_LONG,
    FREE_UNITS,
    IMAGE_NUMBER,
    LENGTH,
    LOCK_WAITS,
    LOCKED_READS,
    MAX_SIZE_LONG,
    PAGE,
    PERSIST,
    PERSIST_POLICIES,
    READS,
    RETRIES,
    STATE,
    STATE_DAMAGED,
    STATE_LIVE,
    TOP,
    UNIT,
    VERSION_LONG,
)
from .reader import Reader, Record
from .region import Region
from .writer import ANY, Writer

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, NoReturn, Optional, Sequence, Tuple

    from .attach import Options
    from .restore import Restored
    from .transaction import Reads, Write

MIN_SIZE = PAGE
_EVICT_NAMES = {number: name for name, number in EVICT_POLICIES.items()}
_handles: Dict[int, ref[Engine]] = {}  # by id: `weakref`, which has sets of such, is a fifth of the import time


class _Closed:
    """Stands in for the words of a region that was closed, for threads that were still in it."""

    __slots__ = ("_refuse",)

    def __init__(self, refuse: Callable[[], NoReturn]) -> None:
        self._refuse = refuse

    def __getitem__(self, index: Any) -> NoReturn:
        self._refuse()

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        self._refuse()

    def __len__(self) -> NoReturn:  # noqa: PLE0303 - it never returns
        self._refuse()


class Engine:
    """Reads and writes of one handle."""

    def __init__(self, name: str, directory: Any, options: Options) -> None:
        self.name = place.check_name(name)
        self.directory = place.resolve_directory(directory)
        self.path = place.region_path(self.directory, name)
        self.options = options
        self.closed = False
        self._reported = (0, 0, 0, 0)
        self._stale = False  # the region must be opened anew (after a fork), or not used at all (closed)
        self._renewing = allocate_lock()
        self.keeper: Any = None  # the thread that looks after the region, if this handle has one
        self.sleeper: Any = None  # who sleeps for the coroutines of this handle
        self._views: Dict[int, ref[Any]] = {}  # the stores on this handle, by id: a mapping has no hash
        self.coordinator = Coordinator(self.path, options.timeout)
        self.coordinator.reopen = self._renew
        from .attach import Attachment

        attachment = Attachment(name, self.directory, options)
        self._attach(attachment.open())
        try:
            self._check_images()
        except BaseException:
            self.close()
            raise
        self.restored = attachment.restored  # if it was this handle that made the region
        if options.mode == "n":
            self.clear()
        self._apply_policy()
        _remember(_handles, self)

    # --- opening -------------------------------------------------------------------------------------
    def _attach(self, region: Region) -> None:
        self.region = region
        self.coordinator.attach(region.open_lock_file())
        self.reader = Reader(region, self.coordinator)
        self.writer = Writer(region, self.coordinator)
        self.writer.move_locked = self._move_locked
        self.put = self.writer.put
        self.seed = region.header.seed

    def _apply_policy(self) -> None:
        """An explicit policy changes the region's."""
        if not self.region.writable:
            return
        self._apply_persistence()
        max_size, evict = self.options.max_size, self.options.evict
        number = None if evict is None else EVICT_POLICIES[evict]
        words, longs = self.region.words, self.region.longs
        if max_size not in (None, longs[MAX_SIZE_LONG]) or number not in (None, words[EVICT]):
            self.writer.set_policy(max_size, number)

    # --- images --------------------------------------------------------------------------------------
    def ready(self) -> None:
        """Raise if the handle was closed; in a forked child, open the region again."""
        if self._stale:
            self._renew()

    def image_directory(self) -> str:
        """Where the images of this region are."""
        from . import archive

        stored = archive.stored_directory(self.region.words, self.region.data)
        return stored or archive.default_directory(self.name, self.directory)

    def restore(self, path: str, *, salvage: bool) -> Restored:
        """Replace everything by what an image holds, at one moment."""
        from . import restore

        self.ready()
        return restore.into_live(self.writer, path, salvage=salvage, directory=self.image_directory())

    def image_facts(self) -> Dict[str, Any]:
        """Figures of the region's images."""
        words, longs = self.region.words, self.region.longs
        everything = words[PERSIST] == PERSIST_POLICIES["all"]
        return {
            "persist": "all" if everything else "keys",
            "snapshot_directory": self.image_directory(),
            "image_number": words[IMAGE_NUMBER],
            "flushed_at": words[FLUSHED_AT] or None,
            "unflushed": bool((everything or words[FLAGGED]) and longs[VERSION_LONG] != longs[FLUSHED_LONG]),
            "restored": None if self.restored is None else self.restored._asdict(),
        }

    def _check_images(self) -> None:
        """Refuse a directory that the opener named and no flush could use: an empty store would be taken for the real
        one. Before anything is changed.
        """
        directory = self.options.snapshot_directory
        if directory is None or not self.region.writable:
            return
        from . import archive

        header = self.region.header
        known = self.region.words[IMAGE_NUMBER] if archive.is_same(directory, self.image_directory()) else 0
        archive.check_ours(directory, archive.numbered(directory), known, header.region_id)

    def _apply_persistence(self) -> None:
        """What the opener said of images, if it is not what the region says."""
        options, words = self.options, self.region.words
        number = None if options.persist is None else int(options.persist)
        directory = options.snapshot_directory
        if directory is not None:
            from . import archive

            if archive.is_same(directory, self.image_directory()):
                directory = None
        if number in (None, words[PERSIST]) and directory is None:
            return

        def locked() -> None:
            region = self.region
            if number is not None:
                region.words[PERSIST] = number
            if directory is not None:
                region.words[IMAGE_NUMBER] = 0  # no image there is this region's
                archive.store_directory_locked(region.words, region.data, directory)
            region.longs[FLUSHED_LONG] = 0  # what is there does not show what is to be kept now, whoever writes next

        self.writer.under_lock(locked)

    # --- one key -------------------------------------------------------------------------------------
    def get(self, key: bytes) -> Optional[Record]:
        """The record of `key` as it is now, None if there is none. Takes no lock."""
        if self._stale:
            self._renew()
        region = self.region
        now = time.time_ns()
        if not region.checked <= now <= region.check_due:
            region.check_place(now)
            self._report()
        record = self.reader.find(key, crc32(key, self.seed))
        if record is not None:
            expires = record.expires_ns
            if expires and platform.now_ns() >= expires:
                return None
            if region.words[EVICT]:
                self.reader.touch(record)
        return record

    def get_many(self, keys: Sequence[bytes]) -> List[Optional[Record]]:
        """The records of `keys`, all as they were at one moment."""
        if self._stale:
            self._renew()
        records = self.reader.get_many([(key, crc32(key, self.seed)) for key in keys])
        if self.region.words[EVICT]:
            for record in filter(None, records):
                self.reader.touch(record)
        return records

    def _move_locked(self, key: bytes, kind: int, value: bytes, expires: int, flags: int) -> int:
        """Put a key whose slot is used up into another slot. Under the writer lock."""
        from . import transaction

        return transaction.commit_locked(self.writer, [self.write(key, kind, value, expires, flags)])

    def scan(self) -> Iterator[Record]:
        """Every record, each as it was at some moment of the scan."""
        if self._stale:
            self._renew()
        return self.reader.scan()

    def moment(self) -> Tuple[int, int]:
        """Two words, one of which differs whenever something was published in between."""
        if self._stale:
            self._renew()
        words = self.region.words
        return words[CHANGE], words[COMMIT]

    def delete(self, key: bytes, expect: int = ANY) -> Tuple[Optional[bytes], int]:
        """Delete a record: its bytes and the version of the deletion; or None and the version found."""
        return self.writer.delete(key, crc32(key, self.seed), expect)

    def write(
        self, key: bytes, kind: int = 0, value: Optional[bytes] = None, expires: int = 0, flags: int = KEEP
    ) -> Write:
        """A write for :meth:`commit`; without a value it deletes."""
        from .transaction import Write

        return Write(key, crc32(key, self.seed), kind, flags, value, expires)

    # --- several keys --------------------------------------------------------------------------------
    def commit(self, writes: Sequence[Write], reads: Optional[Reads] = None) -> int:
        """Do all writes at one moment, if everything in `reads` is as it was. See :mod:`transaction`."""
        from . import transaction

        return transaction.commit(self.writer, writes, reads)

    def clear(self) -> int:
        """Delete every record at one moment. How many there were."""
        from . import transaction

        return transaction.clear(self.writer)

    # --- upkeep --------------------------------------------------------------------------------------
    def check(self) -> List[str]:
        """What is wrong with the region, as sentences. Keeps writers out while it looks."""
        from . import check

        def locked() -> List[str]:
            self.region.follow()
            return check.check(self.region)

        return self.writer.under_lock(locked) if self.region.writable else self.coordinator.shared(locked)

    def repair(self) -> List[str]:
        """Finish what a dead writer left, rebuild everything derived, give up records that are damaged.

        What was given up, as sentences.
        """
        from . import rebuild, recovery

        def locked() -> List[str]:
            region = self.region
            region.follow()
            if region.words[STATE] == STATE_LIVE and region.words[DIRTY]:
                try:  # noqa: SIM105 - contextlib costs a millisecond to import
                    recovery.recover(region, self.writer.nonce)
                except RegionDamagedError:
                    pass  # what it cannot finish is what the rest of this is for
            given_up = rebuild.rebuild(region, self.writer.nonce, salvage=True)
            words = region.words
            words[STATE] = STATE_LIVE
            words[CHANGE] = words[CHANGE] + 1 & 0xFFFFFFFF
            words[DIRTY] = 0
            if words[ALERT]:
                self.writer.to_wake = ALL_KEYS
            return [f"the record of slot {slot} was damaged and is gone" for slot in given_up]

        return self.writer.under_lock(locked, whole=False)

    def facts(self) -> Dict[str, Any]:
        """Figures of the region and of this handle, read without a lock."""
        if self._stale:
            self._renew()
        words, longs = self.region.words, self.region.longs
        return {
            "records": words[COUNT],
            "expiring": words[EXPIRING],
            "version": longs[VERSION_LONG],
            "file_bytes": words[LENGTH] * PAGE,
            "heap_bytes": words[TOP] * UNIT,
            "free_bytes": words[FREE_UNITS] * UNIT,
            "max_size": longs[MAX_SIZE_LONG],
            "evict": _EVICT_NAMES.get(words[EVICT], "?"),
            "serializer": self.region.header.serializer,
            "damaged": words[STATE] == STATE_DAMAGED,
            "reads": words[READS],
            "retries": words[RETRIES],
            "locked_reads": words[LOCKED_READS],
            "lock_waits": words[LOCK_WAITS],
            "own_retries": self.reader.retries,
            "own_locked_reads": self.reader.fallbacks,
            "own_lock_waits": self.coordinator.waits,
        }

    def _report(self) -> None:
        """Add what this handle has counted to the region's figures: now and then, since reads have no time for it.

        Without a lock, so two handles may lose a few of each other's.
        """
        if not self.region.writable:
            return
        words = self.region.words
        reads = sum(view.uncached_reads for view in self.views())
        counted = (reads, self.reader.retries, self.reader.fallbacks, self.coordinator.waits)
        for word, count, reported in zip((READS, RETRIES, LOCKED_READS, LOCK_WAITS), counted, self._reported):
            if count > reported:
                words[word] = words[word] + count - reported & 0xFFFFFFFF
        self._reported = counted

    # --- the stores on this handle -------------------------------------------------------------------
    def add_view(self, view: Any) -> None:
        """Tell `view` of a fork and of `close`, as long as it lives. Any thread may."""
        _remember(self._views, view)

    def views(self) -> List[Any]:
        """Those that live."""
        return [view for view in [reference() for reference in list(self._views.values())] if view is not None]

    # --- the end of a handle -------------------------------------------------------------------------
    def close(self) -> None:
        """Let go of file and mapping, when no thread of this handle is writing. After that: ``ClosedError``."""
        if self.closed:
            return
        if self.keeper is not None:
            self.keeper.stop()
            self.keeper = None
        if not self._stale:
            self._report()
        self.coordinator.closing = True  # whoever waits for the lock gives up
        try:
            self.coordinator.detach()
        except BaseException:
            self.coordinator.closing = False
            raise
        self.closed = self._stale = True
        self.writer.drop_bell()
        _handles.pop(id(self), None)
        self.region.close(_Closed(self._refuse))

    def check_open(self) -> None:
        """Raise ``ClosedError`` after `close`, where nothing else would."""
        if self.closed:
            self._refuse()

    def check_writable(self) -> None:
        """Raise ``ReadOnlyError`` through a handle that cannot write, where that would come late."""
        if not self.region.writable:
            raise self.writer.read_only()

    def _refuse(self) -> NoReturn:
        raise ClosedError(f"the handle of region {self.path} was closed; open it again")

    def after_fork(self) -> None:
        """In the child, before anything else: drop the parent's locks and marks. The next use opens anew."""
        if not self.closed:
            self._stale = True
            self._renewing = allocate_lock()
            self.coordinator.after_fork()
            self.sleeper = None
            if self.keeper is not None:
                self.keeper.forget()
                self.keeper = None
            self.writer.renew()
            for view in self.views():
                view._after_fork()

    def _renew(self) -> None:
        """In a forked child: a mapping and a lock of its own. Nothing of the parent's is unlocked."""
        if self.closed or self.coordinator.closing:
            self._refuse()
        with self._renewing:
            if not self._stale:
                return  # another thread was faster
            region = Region(self.path, writable=self.options.mode != "r")
            if region.header.region_id != self.region.header.region_id:
                region.close()
                raise RegionNotFoundError(
                    f"the region {self.path} was replaced while this process was forked: close and open again",
                    path=self.path,
                )
            self.region.become(region)
            self.coordinator.attach(self.region.open_lock_file())
            self._stale = False


def _remember(place: Dict[int, ref[Any]], thing: Any) -> None:
    name, forget = id(thing), place.pop
    place[name] = ref(thing, lambda _: forget(name, None))


def _after_fork_in_child() -> None:
    for reference in list(_handles.values()):
        engine = reference()
        if engine is not None:
            engine.after_fork()


platform.at_fork_in_child(_after_fork_in_child)
