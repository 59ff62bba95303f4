"""The directory of images of one store: where it is, which images it holds, which of them may go.

Images are numbered, and a number is never used twice: whoever was stopped in the middle of a flush
cannot put an old image in the place of a newer one. The last two are kept, but none that shows what a
later ``clear`` deleted.
"""

from __future__ import annotations

import os
import re
import stat
from zlib import crc32

from . import image, platform
from .errors import ArgumentError, DatastoreError, PlaceError, SnapshotError, UntrustedRegionError
from .image import Image
from .layout import IMAGES, MAX_PATH, PATH_WORDS, PATHS

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, List, Optional, Tuple

SUFFIX = ".image"
KEPT = 2
_NAME = re.compile(r"(\d{8,10})\.image\Z", re.ASCII)
_ASIDE = re.compile(r"\d{8,10}\.image\.damaged\Z", re.ASCII)
_LEFTOVER = re.compile(r"\d{8,10}\.image\.\d+\.[0-9a-f]+\.tmp\Z", re.ASCII)


# --- where ------------------------------------------------------------------------------------------------
def check_argument(directory: Any) -> str:
    """The absolute path of a directory that a user named; ``ArgumentError`` if it cannot be one."""
    text = os.fspath(directory) if isinstance(directory, (str, os.PathLike)) else directory
    if not isinstance(text, str) or not text or "\0" in text:
        raise ArgumentError(
            f"use a str or a path for `snapshot_directory`, not {directory!r}",
            name="snapshot_directory",
            value=directory,
        )
    path = os.path.abspath(os.path.expanduser(text))
    if len(_encode(path)) > MAX_PATH:
        raise ArgumentError(
            f"the path {path} is longer than {MAX_PATH} bytes: choose a shorter one for `snapshot_directory`",
            name="snapshot_directory",
            value=directory,
        )
    return path


def default_directory(name: str, directory: str) -> str:
    """Where the images of region `name` in `directory` are, unless somebody said otherwise."""
    base = os.environ.get("IPCDATASTORE_IMAGES")
    base = os.path.abspath(os.path.expanduser(base)) if base else platform.data_directory()
    if directory != platform.default_directory():
        name = f"{name}@{crc32(os.fsencode(directory)):08x}"  # one name in two places is two stores
    return os.path.join(base, name)


def stored_directory(words: Any, data: Any) -> Optional[str]:
    """The directory that the region itself names, None if it names none."""
    for _ in range(8):
        half = words[IMAGES]
        if half not in (1, 2):
            return None
        at = 4 * (PATHS + (half - 1) * PATH_WORDS)
        size = int(words[PATHS + (half - 1) * PATH_WORDS])
        encoded = bytes(data[at + 4 : at + 4 + min(size, MAX_PATH)])
        if words[IMAGES] == half:  # else somebody stores another one
            return encoded.decode("utf-8", "surrogateescape") or None
    return None


def store_directory_locked(words: Any, data: Any, directory: str) -> None:
    """Have the region name its directory of images. A death in between leaves the path that was there."""
    half = 2 if words[IMAGES] == 1 else 1
    at = 4 * (PATHS + (half - 1) * PATH_WORDS)
    encoded = _encode(directory)
    data[at + 4 : at + 4 + len(encoded)] = encoded
    words[PATHS + (half - 1) * PATH_WORDS] = len(encoded)
    words[IMAGES] = half  # PUBLISH: the other half


def _encode(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


# --- whom to trust ----------------------------------------------------------------------------------------
def prepare(directory: str) -> None:
    """Make the directory, private to this user, or check the one that is there."""
    try:
        os.makedirs(directory, mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise failed(directory, error) from error
    check(directory)


def check(directory: str) -> bool:
    """Whether the directory is there; ``UntrustedRegionError`` if others could put images there."""
    try:
        status = os.stat(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise failed(directory, error) from error
    if not stat.S_ISDIR(status.st_mode):
        raise SnapshotError(
            f"{directory} is not a directory: choose another with `snapshot_directory=`", path=directory
        )
    if platform.HAS_UID and (
        status.st_uid not in (0, os.geteuid())
        or (status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX)
    ):
        raise UntrustedRegionError(
            f"the directory of images {directory} belongs to uid {status.st_uid} with mode "
            f"{stat.S_IMODE(status.st_mode):04o}: others could put images there, which would be unpickled; "
            f"`chmod 700` it, or choose another with `snapshot_directory=`",
            path=directory,
        )
    return True


def failed(directory: str, error: OSError) -> SnapshotError:
    """The error for a directory that the system refuses to use."""
    return SnapshotError(
        f"no image can be kept in {directory}: {error.strerror or error}; free space there, see to its permissions, or "
        "choose another with `snapshot_directory=`; older images were not touched",
        path=directory,
    )


# --- what is there ----------------------------------------------------------------------------------------
def numbered(directory: str) -> List[Tuple[int, str]]:
    """(number, path) of every image, the newest first; whether it is whole is another question."""
    try:
        entries = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise failed(directory, error) from error
    found = [
        (int(match.group(1)), os.path.join(directory, match.group())) for match in map(_NAME.match, entries) if match
    ]
    return sorted(found, reverse=True)


def path_of(directory: str, number: int) -> str:
    """The file of an image."""
    return os.path.join(directory, f"{number:08d}{SUFFIX}")


def check_ours(directory: str, found: List[Tuple[int, str]], known: int, region_id: bytes) -> None:
    """Refuse a directory with images that the region `region_id` was neither made from nor has written.

    They hold data that the region lacks, and would be the older ones that go. It happens where the region was made
    by somebody who did not know of the directory. `known`: the number of the newest that the region knows there.
    """
    if not found or found[0][0] <= known:
        return
    newest = footer(found[0][1])
    if newest is not None and newest.region_id == region_id:
        return  # whoever wrote it died before the region was told
    raise SnapshotError(
        f"the images in {directory} are not of this store: it was made without them, or they are another store's; "
        f"`restore` the newest, {found[0][1]}, if it is wanted, and move them away, or choose another "
        "`snapshot_directory=`",
        path=directory,
    )


def is_same(one: str, other: str) -> bool:
    """Whether two paths lead to one directory."""
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False  # one of them is not there yet


def footer(path: str) -> Optional[Image]:
    """The image's header and footer, closed again; None if they are damaged, or of another format.

    ``SnapshotError`` if they cannot be read: nothing may be decided for an image that nobody has seen.
    """
    try:
        with Image(path) as found:
            found.validate(whole=False)
    except PlaceError as error:
        raise SnapshotError(f"no image was written or removed: {error.message}", path=path) from error
    except DatastoreError:
        return None
    return found


def set_aside(directory: str, paths: List[str]) -> None:
    """Take damaged images out of the row: they must not count as one of the last two, and so cost the good one.

    What can be salvaged of them stays there, until a `clear`. Where they cannot be renamed, they stay as they are.
    """
    try:
        for path in paths:
            image.files.rename(path, path + ".damaged")
        image.files.sync_directory(directory)
    except OSError:
        return


def is_image(path: str) -> bool:
    """Whether the file's name is that of an image in a row."""
    return _NAME.match(os.path.basename(path)) is not None


def prune(directory: str, cleared: int) -> None:
    """Remove what is not needed any more. `cleared`: the version of the last clear, 0 if there was none.

    The newest stays: it is the one that shows the store as it is. A damaged one goes with those that a clear outdated:
    something in it might be saved. ``SnapshotError``, after all is done, for one that cannot be read just now.
    """
    kept = 0
    outdated = False
    unread: Optional[SnapshotError] = None
    for _, path in numbered(directory):
        if cleared and kept:
            try:
                found = footer(path)
            except SnapshotError as error:
                unread = error
                continue
            if found is None or found.facts.version < cleared:
                image.files.unlink(path)
                outdated = True
                continue
        kept += 1
        if kept > KEPT:
            image.files.unlink(path)
    for entry in os.listdir(directory):
        if _LEFTOVER.match(entry) or (cleared and _ASIDE.match(entry)):
            image.files.unlink(os.path.join(directory, entry))
    if outdated:
        image.files.sync_directory(directory)  # a power cut must not bring them back
    if unread is not None:
        raise SnapshotError(
            f"an image of before a clear may still be there: {unread.message}", path=unread.path
        ) from unread
