"""Where regions live: names, directories, and whom to trust with a pickle."""

from __future__ import annotations

import os
import stat

from . import platform
from .errors import FormatError, InvalidNameError, PlaceError, RegionNotFoundError, UntrustedRegionError

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any

SUFFIX = ".region"
MAX_NAME = 100
_FORBIDDEN = frozenset('/\\:*?"<>|\0')


def check_name(name: str) -> str:
    """`name` itself, if it can name a region on every system; ``InvalidNameError`` otherwise."""
    if type(name) is not str:
        raise InvalidNameError(f"a region's name is a str, not {type(name).__name__}: {name!r}", name=name)
    bad = sorted({c for c in name if c in _FORBIDDEN or ord(c) < 32 or 0xD800 <= ord(c) < 0xE000})
    if bad:
        raise InvalidNameError(
            f"the name {name!r} has characters that a file name cannot have: {' '.join(map(repr, bad))}; "
            "use letters, digits, dots and dashes, and say `directory=` for another place",
            name=name,
        )
    if not name or name.startswith(".") or name != name.strip() or len(name.encode("utf-8")) > MAX_NAME:
        raise InvalidNameError(
            f"the name {name!r} is not usable: 1 to {MAX_NAME} bytes, no leading dot, no blanks at the ends",
            name=name,
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        raise InvalidNameError(
            f"the name {name!r} cannot be a file's here, where names are in {error.encoding}: use ASCII letters, or "
            "another locale",
            name=name,
        ) from error
    return name


def resolve_directory(directory: Any) -> str:
    """The absolute directory to use: the given one, else ``IPCDATASTORE_DIR``, else the default."""
    chosen = directory if directory is not None else os.environ.get("IPCDATASTORE_DIR") or None
    if chosen is None:
        return platform.default_directory()
    return os.path.abspath(os.path.expanduser(os.fspath(chosen)))


def region_path(directory: str, name: str) -> str:
    """The file of region `name`."""
    return os.path.join(directory, name + SUFFIX)


def prepare_directory(directory: str) -> None:
    """Make the directory, private to this user, or check the one that is there."""
    try:
        os.makedirs(directory, mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise PlaceError(
            f"the directory {directory} cannot be made: {error.strerror}; choose another with `directory=`",
            path=directory,
        ) from error
    check_directory(directory)


def check_directory(directory: str) -> None:
    """Raise unless regions in `directory` are safe from others and shared by all who map them."""
    try:
        status = os.stat(directory)
    except FileNotFoundError as error:
        raise RegionNotFoundError(
            f'there is no directory {directory}: make it, or open with mode="c"', path=directory
        ) from error
    except OSError as error:
        raise cannot_write(directory, error) from error
    if not stat.S_ISDIR(status.st_mode):
        raise PlaceError(f"{directory} is not a directory: choose another with `directory=`", path=directory)
    if platform.HAS_UID:
        if status.st_uid not in (0, os.geteuid()):
            raise UntrustedRegionError(
                f"the directory {directory} is owned by uid {status.st_uid}: its owner could put a region of his "
                "own there; choose a directory of your own with `directory=`",
                path=directory,
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
            raise UntrustedRegionError(
                f"the mode {stat.S_IMODE(status.st_mode):04o} of {directory} lets others replace files in it; "
                f"`chmod 700 {directory}` or choose another with `directory=`",
                path=directory,
            )
    kind = platform.file_system(directory)
    if platform.is_network_file_system(kind) and not os.environ.get("IPCDATASTORE_ALLOW_NETWORK"):
        raise PlaceError(
            f"{directory} is on a network file system ({kind}), where other machines do not see the same memory; "
            "choose a local directory, or set IPCDATASTORE_ALLOW_NETWORK=1 if only this machine uses it",
            path=directory,
        )


def cannot_write(directory: str, error: OSError) -> PlaceError:
    """The error for a directory in which no file can be made."""
    return PlaceError(
        f"no region can be made in {directory}: {error.strerror or error}; choose another with `directory=`",
        path=directory,
    )


def open_file(path: str, writable: bool) -> int:
    """A descriptor of the region at `path`: never through a symlink, never of another owner."""
    try:
        fd = os.open(path, platform.OPEN_FLAGS | (os.O_RDWR if writable else os.O_RDONLY))
    except FileNotFoundError:
        raise RegionNotFoundError(f'there is no region {path}; open it with mode="c" to make one', path=path) from None
    except OSError as error:
        if os.path.islink(path):
            raise UntrustedRegionError(
                f"{path} is a symbolic link, which is never followed: delete it", path=path
            ) from error
        raise PlaceError(
            f"the region {path} cannot be opened: {error.strerror}; choose another directory", path=path
        ) from error
    check_trusted(fd, path, "region", ": delete it, or use another name", "Delete it, or `chmod` it")
    return fd


def check_trusted(fd: int, path: str, what: str, instead: str, remedy: str) -> None:
    """Close `fd` and raise unless it is a regular file that nobody else can have written."""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"{path} is not a regular file{instead}", path=path)
        problem = platform.owner_problem(status)
        if problem is not None:
            raise UntrustedRegionError(
                f"the {what} {path} is not trusted: {problem}; nothing of it was read. {remedy} if you know what is in "
                "it",
                path=path,
            )
    except BaseException:
        os.close(fd)
        raise
