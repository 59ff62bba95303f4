"""How a handle comes to its region: it attaches to the one of this boot, or makes it first.

Making happens under the creation lock, beside the region's name: a region is complete, and restored from its newest
image if it has one, before anybody can see it.
"""

from __future__ import annotations

import os

from . import place, platform
from .errors import (
    DatastoreError,
    FormatError,
    LockTimeoutError,
    RegionDamagedError,
    RegionNotFoundError,
)
from .layout import DEFAULT_MAX_SIZE, EVICT_POLICIES, STATE, STATE_DAMAGED, STATE_LIVE, WRITE_VERSION
from .region import Policy, Region, create, is_stale, remove_leftovers

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from .restore import Restored


class Options:
    """What a handle was opened with. None = as the region says."""

    __slots__ = ("evict", "max_size", "mode", "persist", "serializer", "snapshot_directory", "timeout")

    def __init__(
        self,
        mode: str = "c",
        max_size: Optional[int] = None,
        evict: Optional[str] = None,
        serializer: Optional[str] = None,
        timeout: float = 10.0,
        persist: Optional[bool] = None,
        snapshot_directory: Optional[str] = None,
    ) -> None:
        self.mode = mode
        self.max_size = max_size
        self.evict = evict
        self.serializer = serializer
        self.timeout = timeout
        self.persist = persist
        self.snapshot_directory = snapshot_directory  # absolute


def creation_lock(path: str, timeout: float) -> Any:
    """A context manager: one process at a time makes a region. ``TimeoutError`` of one kind or another."""
    try:
        from filelock import FileLock
    except ImportError:  # in a Kodi addon, which brings nothing but this library
        from .lockfile import LockFile

        return LockFile(path, timeout)

    try:
        # Newer releases fall back to a lock file that outlives its holder, and may delete the file: neither here.
        return FileLock(path, timeout=timeout, mode=0o600, fallback_to_soft=False, preserve_lock_file=True)
    except TypeError:
        return FileLock(path, timeout=timeout, mode=0o600)


class Attachment:
    """The way to the region `name` in `directory`; `restored` says what making it brought back."""

    def __init__(self, name: str, directory: str, options: Options) -> None:
        self.name = name
        self.directory = directory
        self.path = place.region_path(directory, name)
        self.options = options
        self.restored: Optional[Restored] = None

    def open(self) -> Region:
        """The region, made first if it is missing (or was left by an earlier boot) and the mode allows."""
        mode = self.options.mode
        creating = mode in ("c", "n")
        if not os.path.isdir(self.directory) and creating:
            place.prepare_directory(self.directory)
        else:
            place.check_directory(self.directory)
        try:
            stale = is_stale(self.path)
        except RegionNotFoundError:
            stale = True
        if stale:
            if not creating:
                raise RegionNotFoundError(
                    f'there is no region {self.name!r} in {self.directory}; mode "c" creates one',
                    path=self.path,
                )
            self._create()
        region = Region(self.path, writable=mode != "r")
        try:
            self._check_options(region)
        except BaseException:
            region.close()
            raise
        return region

    def _create(self) -> None:
        """Make the region unless somebody else just did. The creation lock is a file that is never deleted."""
        path = self.path + ".create.lock"
        try:
            with creation_lock(path, self.options.timeout):
                exists = os.path.lexists(self.path)
                if exists and not is_stale(self.path):
                    return
                remove_leftovers(self.path)
                self._make(replace=exists)
        except DatastoreError:
            raise
        except TimeoutError as error:
            raise LockTimeoutError(
                f"another process held {path}, the lock for making a region, for {self.options.timeout:g} s",
                timeout=self.options.timeout,
                holder=platform.lock_holder(path),
            ) from error
        except OSError as error:
            raise place.cannot_write(self.directory, error) from error

    def _make(self, *, replace: bool) -> None:
        """Make the region: from the newest image, if there is one; see :mod:`restore`. Under the creation lock."""
        from . import archive

        options = self.options
        directory = options.snapshot_directory
        if directory is None and replace:  # the region of an earlier boot may name one
            try:
                old = Region(self.path, writable=False)
                directory = archive.stored_directory(old.words, old.data)
                old.close()
            except DatastoreError:
                directory = None  # it is being replaced, so it need not be whole
        place_of_images = directory or archive.default_directory(self.name, self.directory)
        if not archive.check(place_of_images) or not archive.numbered(place_of_images):
            create(self.path, self._policy(), replace=replace)
            return
        from . import restore
        from .load import Wishes

        def make(serializer: str, fill: Callable[[str], None]) -> None:
            create(self.path, self._policy(serializer), replace=replace, fill=fill)

        evict = None if options.evict is None else EVICT_POLICIES[options.evict]
        persist = None if options.persist is None else int(options.persist)
        wishes = Wishes(options.max_size, evict, persist, directory)
        if options.mode == "n":
            restore.empty_new(place_of_images, options.serializer, wishes, make)
        else:
            self.restored = restore.into_new(place_of_images, self.name, options.serializer, wishes, make)

    def _policy(self, serializer: Optional[str] = None) -> Policy:
        options = self.options
        return Policy(
            serializer or options.serializer or "pickle",
            DEFAULT_MAX_SIZE if options.max_size is None else options.max_size,
            options.evict or "none",
        )

    def _check_options(self, region: Region) -> None:
        wanted = self.options.serializer
        found = region.header.serializer
        if wanted is not None and wanted != found:
            raise FormatError(
                f"the region {self.path} was made with serializer={found!r}, this handle wants {wanted!r}: "
                "open it without `serializer=`, or use another name",
                path=self.path,
            )
        if region.header.write_version > WRITE_VERSION and region.writable:
            raise FormatError(
                f"the region {self.path} has format {region.header.write_version}, this release writes "
                f'{WRITE_VERSION}: open it with mode="r", or upgrade ipcdatastore here',
                path=self.path,
            )
        if region.words[STATE] not in (STATE_LIVE, STATE_DAMAGED):
            raise RegionDamagedError(
                f"the region {self.path} is damaged: its state is {region.words[STATE]}",
                path=self.path,
                problems=("state",),
            )
