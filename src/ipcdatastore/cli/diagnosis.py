"""What `doctor` looks at on the machine and in the place of the stores: facts, what they mean, and what to do.

Nothing here changes anything, but for one scratch file in the directory that is gone at the end.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform as python_platform
import re
import shutil
import stat
import struct
import sys
import tempfile
from importlib import metadata
from typing import Any, Iterator, List, NamedTuple, Optional

import ipcdatastore
from ipcdatastore import futex, place, platform

from .regions import region_names
from .units import size

MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs", "hugetlbfs")
LITTLE_SPACE = 64 << 20
LITTLE_MEMORY = 256 << 20
LEFTOVER = ".new"
CGROUP_1 = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
CGROUP_2 = "/sys/fs/cgroup", "memory.max"
CLOCKS = {
    platform.CLOCK_BOOTTIME: "counts from boot, asleep or not",
    platform.CLOCK_MONOTONIC: "the monotonic clock; time asleep may not count",
    platform.CLOCK_WALL: "the wall clock; setting it moves every expiry",
}


class Finding(NamedTuple):
    """One line of the diagnosis. `state` is "good", "note", "warning" or "bad"; `advice` is what to do."""

    topic: str
    state: str
    text: str
    advice: str = ""


def bad(topic: str, error: Exception) -> Finding:
    """The library's own error says what is wrong, and behind the colon or semicolon what to do."""
    return Finding(topic, "bad", str(error))


# --- the machine -----------------------------------------------------------------------------------------
def machine() -> Iterator[Finding]:
    """What does not depend on any directory."""
    bits = struct.calcsize("P") * 8
    yield Finding(
        "Python", "good", f"{python_platform.python_implementation()} {python_platform.python_version()}, {bits} bits"
    )
    yield Finding(
        "library", "good", f"ipcdatastore {ipcdatastore.__version__} in {os.path.dirname(ipcdatastore.__file__)}"
    )
    yield dependencies()
    yield Finding("system", "good", f"{python_platform.platform()}, {os.cpu_count()} CPUs, {sys.byteorder} endian")
    fence = "loads and stores may be reordered: each write and slow read fences" if platform.NEEDS_FENCE else ""
    yield Finding("memory order", "good", fence or "stores stay in order here: no fences are needed")
    yield clock()
    if futex.available():
        yield Finding("waiting", "good", "a futex wakes who waits for a change")
    else:
        yield Finding("waiting", "note", "no futex here: who waits for a change looks again every few ms")
    yield from memory()


def dependencies() -> Finding:
    """The packages that the library and its command line use."""
    found, missing = [], []
    for name in requirements():
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("packages", "bad", f"{', '.join(missing)} missing", f"pip install {' '.join(missing)}")
    return Finding("packages", "good", ", ".join(found) or "unknown: this is no installed package")


def requirements() -> List[str]:
    """The names of what has to be installed."""
    try:
        lines = metadata.requires("ipcdatastore") or []
    except metadata.PackageNotFoundError:  # run from its source
        return []
    here = f'sys_platform != "{sys.platform}"'
    lines = [line for line in lines if here not in line.replace("'", '"')]  # other systems need those
    wanted = (line for line in lines if "extra" not in line or "cli" in line.split("extra")[1])
    return list(dict.fromkeys(re.split(r"[^\w.-]", line)[0] for line in wanted))


def clock() -> Finding:
    """The clock of expiry, and whether a region that a boot left behind can be told."""
    text = f"expiry {CLOCKS[platform.CLOCK]}" if platform.CLOCK == platform.CLOCK_BOOTTIME else CLOCKS[platform.CLOCK]
    if platform.CLOCK == platform.CLOCK_WALL:
        return Finding("clock", "warning", text)
    if not any(platform.boot_id()):
        return Finding(
            "clock",
            "note",
            f"{text}; the system does not tell one boot from another",
            "keep stores in memory, not on disk",
        )
    return Finding("clock", "good", text)


def memory() -> Iterator[Finding]:
    """What limits the memory of a process, or of all of them: a region counts, too."""
    limits = []
    with contextlib.suppress(ImportError):
        import resource

        for name, meaning in (("RLIMIT_AS", "address space"), ("RLIMIT_FSIZE", "size of a file")):
            soft = resource.getrlimit(getattr(resource, name))[0]
            if soft != resource.RLIM_INFINITY:
                limits.append((soft, meaning))
    container = container_limit()
    if container is not None:
        limits.append((container, "memory of this container or service"))
    for limit, meaning in limits:
        little = limit < LITTLE_MEMORY
        advice = "raise it, or open stores with a small `max_size`" if little else ""
        yield Finding("limits", "warning" if little else "note", f"{size(limit)} {meaning}", advice)
    if not limits:
        yield Finding("limits", "good", "none on memory or file size")


def container_limit() -> Optional[int]:
    """The least memory that a control group of this process may use."""
    least: Optional[int] = None
    for path in _control_groups():
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            limit = int(file.read())  # "max" is none
            if limit < 1 << 60 and (least is None or limit < least):
                least = limit
    return least


def _control_groups() -> Iterator[str]:
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        for line in file.read().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers not in ("", "memory") and "memory" not in controllers.split(","):
                continue
            root, leaf = (
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes") if controllers else ("/sys/fs/cgroup", "memory.max")
            )
            parts = group.strip("/").split("/") if group.strip("/") else []
            for length in range(len(parts), -1, -1):
                yield os.path.join(root, *parts[:length], leaf)


# --- the place -------------------------------------------------------------------------------------------
def where(given: Optional[str], directory: str) -> Iterator[Finding]:
    """The directory: whose it is, what it is on, and whether locks and mappings work there."""
    chosen = (
        "with --directory" if given else "by IPCDATASTORE_DIR" if os.environ.get("IPCDATASTORE_DIR") else "by default"
    )
    if not os.path.isdir(directory):
        text = f"{directory}, chosen {chosen}, is not there yet"
        parent = os.path.dirname(directory)
        if os.path.exists(directory) or not os.access(_existing(parent), os.W_OK | os.X_OK):
            yield Finding("directory", "bad", f"{directory}, chosen {chosen}, cannot be made", "choose another")
            return
        yield Finding("directory", "note", text, "the first store makes it")
        yield file_system(_existing(parent))
        return
    try:
        place.check_directory(directory)
    except ipcdatastore.DatastoreError as error:
        yield bad("directory", error)
        return
    yield Finding("directory", "good", f"{directory}, chosen {chosen}")
    yield permissions(directory)
    yield file_system(directory)
    yield space(directory)
    yield from scratch(directory)
    yield from logout(directory)


def _existing(path: str) -> str:
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def permissions(directory: str) -> Finding:
    """Who may read and write there. `check_directory` has refused what is dangerous."""
    status = os.stat(directory)
    mode = stat.S_IMODE(status.st_mode)
    if not os.access(directory, os.W_OK | os.X_OK):
        return Finding(
            "permissions", "warning", f"mode {mode:04o}: this user can make no store there", "choose another"
        )
    if platform.HAS_UID and mode & 0o077 and status.st_uid == os.geteuid():
        advice = f"chmod 700 {directory}"
        return Finding("permissions", "note", f"mode {mode:04o}: others can see which stores there are", advice)
    return Finding("permissions", "good", f"mode {mode:04o}, yours" if platform.HAS_UID else "writable")


def file_system(directory: str) -> Finding:
    """Memory or disk."""
    kind = platform.file_system(directory)
    if not kind:
        return Finding("file system", "note", "the system does not tell which it is")
    if kind in MEMORY_FILE_SYSTEMS:
        return Finding("file system", "good", f"{kind}: memory, gone with a reboot")
    text = f"{kind}: on a disk, which is written to in the background"
    return Finding("file system", "note", text, "a directory on a tmpfs, if there is one, is faster")


def space(directory: str) -> Finding:
    """How much the regions may grow."""
    usage = shutil.disk_usage(directory)
    text = f"{size(usage.free)} free of {size(usage.total)}"
    if usage.free < LITTLE_SPACE:
        advice = "make it larger (of a container: --shm-size), or choose another directory"
        return Finding("space", "warning", text, advice)
    return Finding("space", "good", text)


def scratch(directory: str) -> Iterator[Finding]:
    """A file there, locked and mapped twice as two processes would."""
    if not os.access(directory, os.W_OK | os.X_OK):
        return
    try:
        descriptor, path = tempfile.mkstemp(prefix=".doctor-", dir=directory)
    except OSError as error:
        yield Finding(
            "files", "bad", f"no file can be made there: {error.strerror}", "free space, or choose another directory"
        )
        return
    try:
        with os.fdopen(descriptor, "r+b", buffering=0) as one, open(path, "r+b", buffering=0) as other:
            yield locks(one, other)
            yield mappings(one, other)
    finally:
        os.unlink(path)


def locks(one: Any, other: Any) -> Finding:
    """Whether one handle's lock keeps another out, and ends with it."""
    advice = "choose a directory on another file system"
    try:
        lock = platform.lock_function(one.fileno())
        if lock is None:
            return Finding("locks", "bad", "none here that end with their holder", advice)
        lock(one.fileno(), platform.LOCK_EX)
        try:
            lock(other.fileno(), platform.LOCK_EX)
        except OSError as error:
            if error.errno not in platform.LOCK_REFUSED:
                raise
        else:
            return Finding("locks", "bad", "two handles can hold one lock at once", advice)
        lock(one.fileno(), platform.LOCK_UN)
        lock(other.fileno(), platform.LOCK_EX)
    except OSError as error:
        return Finding("locks", "bad", f"they fail: {error.strerror or error}", advice)
    name = getattr(lock, "__name__", "").strip("_").replace("ofd_lock", "open file description locks")
    return Finding("locks", "good", f"{name}: one handle keeps the other out")


def mappings(one: Any, other: Any) -> Finding:
    """Whether two mappings of one file are the same memory."""
    try:
        platform.reserve(one.fileno(), 0, mmap.PAGESIZE)
        with mmap.mmap(one.fileno(), mmap.PAGESIZE) as here, mmap.mmap(other.fileno(), mmap.PAGESIZE) as there:
            here[:5] = b"hello"
            if there[:5] == b"hello":
                return Finding("mappings", "good", "two of one file see each other's stores at once")
    except (OSError, ValueError) as error:
        return Finding("mappings", "bad", f"they fail: {error}", "free space, or choose another directory")
    return Finding("mappings", "bad", "two of one file differ", "choose a directory on another file system")


def logout(directory: str) -> Iterator[Finding]:
    """On some systems systemd removes what a user has in /dev/shm when his last session ends."""
    if not (platform.HAS_UID and directory.startswith("/dev/shm/") and os.path.isdir("/run/systemd/system")):
        return
    import pwd

    user = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() < 1000 or os.path.exists(f"/var/lib/systemd/linger/{user}"):
        return
    advice = "`loginctl enable-linger` keeps them, or RemoveIPC=no in logind.conf, or persistence"
    yield Finding("log-out", "note", "systemd may remove the stores when your last session ends", advice)


def stores(directory: str) -> Iterator[Finding]:
    """All that lies in the directory."""
    names = region_names(directory)
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    yield Finding("stores", "good", f"{len(names)}: {shown}" if names else "none yet")
    left = leftovers(directory)
    if left:
        text = f"{len(left)} half-made {'store' if len(left) == 1 else 'stores'}: {', '.join(left[:3])}"
        yield Finding("leftovers", "note", text, "whoever makes a store of that name next removes it")


def leftovers(directory: str) -> List[str]:
    """Files of creators that were killed (or are at it now)."""
    try:
        return sorted(file for file in os.listdir(directory) if file.endswith(LEFTOVER) and place.SUFFIX + "." in file)
    except OSError:
        return []
