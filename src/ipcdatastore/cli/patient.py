"""What `doctor` looks at in one store. Reads only."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any, Dict, Iterator, List, Optional

import ipcdatastore
from ipcdatastore import archive, place, platform, region

from . import archives
from .diagnosis import Finding, bad
from .output import several
from .regions import User, command_of, users
from .units import size, span

MOST_CHECKED = 32 << 20  # bytes of a store that is verified here: writers wait meanwhile
NEARLY_FULL = 0.9
MOST_NAMED = 5


def examine(name: str, directory: str, timeout: float) -> Iterator[Finding]:
    """All about the store `name`."""
    path = place.region_path(directory, name)
    if not os.path.lexists(path):
        yield Finding("store", "bad", f"there is no {path}", f"`ipcdatastore set {name} KEY VALUE` makes one")
        yield from archives.examine(archive.default_directory(name, directory), wanted=False, there=False)
        return
    try:
        if region.is_stale(path):
            yield Finding(
                "store", "note", f"{path} is of an earlier boot", "the next writer who opens it makes it anew"
            )
            return
        with ipcdatastore.open(name, directory=directory, mode="r", timeout=timeout, cache_entries=0) as store:
            yield from opened(store, path)
    except (ipcdatastore.DatastoreError, OSError) as error:
        yield bad("store", error)


def opened(store: ipcdatastore.Datastore, path: str) -> Iterator[Finding]:
    """A store that can be read."""
    facts = store.stats()
    header = store._engine.region.header
    age = span(time.time() - header.created_ns / 1e9)
    text = f"{path}, format {header.write_version}, {facts['serializer']}, made {age} ago"
    yield Finding("store", "good", text)
    yield contents(facts)
    yield from room(facts, path)
    yield wholeness(store, facts)
    yield writer_lock(path)
    yield openers(path)
    yield service(facts, users(path))
    yield from archives.examine(facts["snapshot_directory"], wanted=facts["persist"] == "all", there=True)


def service(facts: Dict[str, Any], opened_by: Optional[List[User]]) -> Finding:
    """Who writes images, and whether somebody should."""
    holder, name = facts["coordinator"], facts["name"]
    if holder and opened_by is not None and all(user.pid != holder for user in opened_by):
        text = f"process {holder}{_called(holder)} looks after a region that was removed"
        return Finding("service", "warning", text, "stop it, and start it anew")
    if holder:
        text = f"process {holder}{_called(holder)} looks after it"
    elif facts["persist"] == "all" or facts["unflushed"]:
        return Finding("service", "warning", "nobody writes it to disk", f"ipcdatastore serve {name}")
    else:
        text = "none, and nothing is to be written to disk"
    return Finding("service", "good", text)


def contents(facts: Dict[str, Any]) -> Finding:
    """How much is in it."""
    text = f"{several(facts['records'], 'record')}, {size(facts['file_bytes'])} of at most {size(facts['max_size'])}"
    used = facts["heap_bytes"] - facts["free_bytes"]
    if used > NEARLY_FULL * facts["max_size"] and facts["evict"] == "none":
        advice = "delete something, or open it with a larger `max_size`, or with evict='lru'"
        return Finding("contents", "warning", f"{text}: nearly full, and nothing is evicted", advice)
    return Finding("contents", "good", f"{text}, evict {facts['evict']}")


def room(facts: Dict[str, Any], path: str) -> Iterator[Finding]:
    """Whether the file can become as long as it may."""
    free = shutil.disk_usage(os.path.dirname(path)).free
    to_come = facts["max_size"] - facts["file_bytes"]
    if free < to_come:
        text = f"it may grow by {size(to_come)}, and {size(free)} are free: it is full when those are used"
        yield Finding("room", "note", text, "free space there, or open it with a smaller `max_size`")


def wholeness(store: ipcdatastore.Datastore, facts: Dict[str, Any]) -> Finding:
    """Whether everything in it is as the format says."""
    name = facts["name"]
    if facts["damaged"]:
        return Finding("integrity", "bad", "damaged: writers are refused", f"ipcdatastore repair {name}")
    if facts["heap_bytes"] > MOST_CHECKED:
        return Finding("integrity", "note", "large: not verified here", f"ipcdatastore check {name}")
    try:
        problems = store.check()
    except ipcdatastore.LockTimeoutError as error:
        return Finding("integrity", "warning", f"not verified: {error}")
    if not problems:
        return Finding("integrity", "good", "every invariant holds")
    text = "; ".join(problems[:MOST_NAMED])
    if all("died" in problem for problem in problems):
        return Finding("integrity", "note", text, "the next write finishes it")
    return Finding("integrity", "bad", text, f"ipcdatastore repair {name}")


def writer_lock(path: str) -> Finding:
    """Who is writing, if it takes long enough to be seen."""
    return Finding("writer lock", "good", held(path if not platform.LOCK_IN_OWN_FILE else path + ".lock") or "free")


def held(path: str) -> Optional[str]:
    """Who has the lock on a file, in words; None if it is free or nobody tells."""
    holder = platform.lock_holder(path)
    return f"held by process {holder}{_called(holder)}" if holder else None


def openers(path: str) -> Finding:
    """The processes that have it open."""
    found = users(path)
    if found is None:
        return Finding("open in", "note", "the system does not tell")
    if not found:
        return Finding("open in", "good", "no other process")
    named = ", ".join(f"{user.pid}{_called(user.pid)}" for user in found[:MOST_NAMED])
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return Finding("open in", "good", f"{len(found)}: {named}{more}")


def _called(pid: int) -> str:
    command = command_of(pid)
    return f" ({command if len(command) <= 40 else command[:39] + '…'})" if command else ""
