"""Images onto the disk: the next one of a store's own, and backups.

What :func:`flush` has returned is on the disk: the image's bytes are synced before it gets its name, and the
name is synced before anything older goes. Only one process flushes a region at a time, from the choice of
the number to the removal of what is old.
"""

from __future__ import annotations

import os
import stat
import time

from . import archive, image
from .errors import DatastoreError, SnapshotError
from .image import Facts, ImageWriter
from .layout import (
    CLEARED_LONG,
    EVICT,
    FLAGGED,
    FLUSHED_AT,
    FLUSHED_LONG,
    IMAGE_NUMBER,
    MAX_SIZE_LONG,
    PERSIST,
    PERSIST_POLICIES,
    VERSION_LONG,
)
from .lockfile import LockFile
from .snapshot import Snapshot

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Optional, Tuple

    from .engine import Engine

LOCK_SUFFIX = ".flush.lock"


class Last:
    """The image of marked records that this process wrote last.

    Records without the mark may be written all the time, so the version does not tell whether there is anything to
    write. The words of the slots do: only what has changed of them is looked at again.
    """

    __slots__ = ("_facts", "_path", "_snapshot")

    def __init__(self) -> None:
        self._snapshot: Optional[Snapshot] = None

    def note(self, path: str, snapshot: Snapshot, facts: Facts) -> None:
        """This is the newest image now."""
        self._path, self._snapshot, self._facts = path, snapshot, facts

    def shows(self, engine: Engine, path: str) -> bool:
        """Whether `path` is that image, and shows all that there is to keep; then the region is told."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is None or path != self._path:
            return False
        known = self._facts
        found = archive.footer(path)
        if found is None or (found.region_id, found.facts.version) != (engine.region.header.region_id, known.version):
            return False
        snapshot.writer = differences = _Differences()
        facts = snapshot.compare(known.number)
        if differences.found or _settings(facts) != _settings(known):
            return False
        self._snapshot = snapshot
        facts.wall_ns = known.wall_ns  # of the image
        _note(engine, facts, os.path.dirname(path))
        return True


class _Differences(ImageWriter):
    """Takes what an image lacks, and writes nothing."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.found = False

    def entry(self, word: int, seal: int, record: bytes) -> None:  # noqa: ARG002 - the signature is the base's
        self.found = True


def _settings(facts: Facts) -> Tuple[int, ...]:
    return facts.cleared, facts.max_size, facts.persist, facts.evict


def flush(engine: Engine, last: Optional[Last] = None) -> Optional[str]:
    """Write an image of everything persistent. Its path; None if nothing is persistent, or ever was.

    If the newest image shows the region as it is, nothing is written; or, with `last`, if it shows all that is marked.
    """
    engine.ready()
    if not engine.region.writable:
        raise engine.writer.read_only()
    directory = engine.image_directory()
    with LockFile(engine.path + LOCK_SUFFIX, engine.options.timeout):
        engine.region.check_place(time.time_ns())  # an image of a removed region would be in the way of the next one's
        words = engine.region.words
        found = archive.numbered(directory)
        if words[PERSIST] != PERSIST_POLICIES["all"] and not words[FLAGGED] and not found:
            return None
        archive.check_ours(directory, found, words[IMAGE_NUMBER], engine.region.header.region_id)
        try:
            flagged = words[PERSIST] != PERSIST_POLICIES["all"]
            if found and (
                _is_current(engine, found[0]) or (flagged and last is not None and last.shows(engine, found[0][1]))
            ):
                archive.prune(directory, int(engine.region.longs[CLEARED_LONG]))
                return found[0][1]
            archive.prepare(directory)
            number = max([number for number, _ in found] + [int(words[IMAGE_NUMBER])]) + 1
            path = archive.path_of(directory, number)
            facts, snapshot = _write(engine, path, number, flagged=flagged)
            _note(engine, facts, directory)
            if flagged and last is not None:
                last.note(path, snapshot, facts)
            archive.prune(directory, facts.cleared)
        except OSError as error:
            if isinstance(error, DatastoreError):
                raise
            raise archive.failed(directory, error) from error
    return path


def backup(engine: Engine, path: str) -> int:
    """Write every record into one image at `path`, in place of an older one. How many."""
    engine.ready()
    path = os.path.abspath(os.path.expanduser(os.fspath(path)))
    try:
        _check_target(engine, path)
        return _write(engine, path, 0, flagged=False)[0].records
    except OSError as error:
        if isinstance(error, DatastoreError):
            raise
        raise SnapshotError(
            f"the backup {path} cannot be written: {error.strerror or error}; nothing was changed there", path=path
        ) from error


def outdate(engine: Engine) -> None:
    """After everything was deleted: no image of before may bring it back."""
    if not engine.region.words[IMAGE_NUMBER]:
        return
    try:
        flush(engine)
    except SnapshotError as error:
        raise SnapshotError(
            f"everything was deleted, but images of before are still there: {error}", path=error.path
        ) from error


def _check_target(engine: Engine, path: str) -> None:
    """A backup replaces a backup, and nothing else."""
    if archive.is_image(path) and archive.is_same(os.path.dirname(path), engine.image_directory()):
        raise SnapshotError(f"{path} is the name of one of the store's own images: name another file", path=path)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            if file.read(len(image.IMAGE_MAGIC)) in (b"", image.IMAGE_MAGIC):
                return
    raise SnapshotError(
        f"{path} is there already and is no backup: it was not touched; delete it, or name another file", path=path
    )


def _write(engine: Engine, path: str, number: int, *, flagged: bool) -> Tuple[Facts, Snapshot]:
    """An image at `path`: whole and on the disk, or not there at all."""
    files = image.files
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        fd = files.create(temporary)
        try:
            snapshot = Snapshot(engine.writer, ImageWriter(fd), flagged=flagged)
            facts = snapshot.take(engine.name, number)
            files.sync(fd)
        finally:
            files.close(fd)
        files.rename(temporary, path)
    except BaseException:
        _discard(temporary)
        raise
    files.sync_directory(os.path.dirname(path))
    return facts, snapshot


def _discard(path: str) -> None:
    try:
        image.files.unlink(path)
    except OSError:
        return


def _is_current(engine: Engine, newest: Tuple[int, str]) -> bool:
    """Whether the newest image shows what the region holds now, and how it is set."""

    def locked() -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
        words, longs = engine.region.words, engine.region.longs
        wanted = (longs[VERSION_LONG], words[PERSIST], words[EVICT], longs[MAX_SIZE_LONG])
        return wanted, (longs[FLUSHED_LONG], words[IMAGE_NUMBER])

    wanted, flushed = engine.writer.under_lock(locked)
    if flushed != (wanted[0], newest[0]):
        return False
    found = archive.footer(newest[1])
    if found is None or found.region_id != engine.region.header.region_id:
        return False
    facts = found.facts
    return (facts.version, facts.persist, facts.evict, facts.max_size) == wanted


def _note(engine: Engine, facts: Facts, directory: str) -> None:
    """Have the region say which image is the last, and where: others may see another default."""

    def locked() -> None:
        words = engine.region.words
        engine.region.longs[FLUSHED_LONG] = facts.version
        words[FLUSHED_AT] = facts.wall_ns // 10**9 & 0xFFFFFFFF
        words[IMAGE_NUMBER] = facts.number
        if archive.stored_directory(words, engine.region.data) is None:
            archive.store_directory_locked(words, engine.region.data, directory)

    engine.writer.under_lock(locked)
