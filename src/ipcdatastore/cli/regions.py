"""What the file system tells about regions, without opening one: names, and who has them open."""

from __future__ import annotations

import contextlib
import os
from typing import List, NamedTuple, Optional

from ipcdatastore import place

PROC = "/proc"


class User(NamedTuple):
    """A process that has a region open."""

    pid: int
    command: str


def region_names(directory: str) -> List[str]:
    """The names of the regions in `directory`, sorted; none where it cannot be read."""
    try:
        files = os.listdir(directory)
    except OSError:
        return []
    return sorted(file[: -len(place.SUFFIX)] for file in files if file.endswith(place.SUFFIX) and file[0] != ".")


def users(path: str) -> Optional[List[User]]:
    """The processes of this user that have the file at `path` open, but for this one; None where nobody tells.

    Each handle keeps a descriptor of its region, and those can be looked at without touching the region.
    """
    if not os.path.isdir(f"{PROC}/self/fd"):
        return None
    wanted, found = os.path.realpath(path), []
    for pid in sorted(int(name) for name in os.listdir(PROC) if name.isdigit()):
        if pid != os.getpid() and _has_open(pid, wanted):
            found.append(User(pid, command_of(pid)))
    return found


def _has_open(pid: int, path: str) -> bool:
    with contextlib.suppress(OSError):  # it ended, or belongs to somebody else
        for descriptor in os.listdir(f"{PROC}/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"{PROC}/{pid}/fd/{descriptor}") == path:
                    return True
    return False


def command_of(pid: int) -> str:
    """The command line of a process, without the folders of program and script; ``""`` where nobody tells."""
    try:
        with open(f"{PROC}/{pid}/cmdline", "rb") as file:
            words = [word.decode("utf-8", "replace") for word in file.read().split(b"\0")]
    except OSError:
        return ""
    return " ".join([*map(os.path.basename, words[:2]), *words[2:]]).strip()
