"""The gatherer: finds the files of a folder, reads and hashes each, and stores a record for it."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any, Dict, FrozenSet, Iterator, List, Tuple

from ipcdatastore import TooLargeError

from .figures import Gathering
from .place import Board, Place

BLOCK = 1 << 20
HOT = 64  # so many records are looked up most of the time
ATTEMPTS = 3


def find_files(folder: str, skip: FrozenSet[str]) -> Iterator[str]:
    """The regular files below `folder`, relative to it, through no symbolic link."""
    pending = [""]
    while pending:
        inside = pending.pop()
        try:
            entries = sorted(os.scandir(os.path.join(folder, inside)), key=lambda entry: entry.name)
        except OSError:
            continue  # not ours to read, or gone meanwhile
        for entry in entries:
            path = os.path.join(inside, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in skip:
                    pending.append(path)
            elif entry.is_file(follow_symlinks=False):
                yield path


def stamp(status: os.stat_result) -> Tuple[int, int, int]:
    """What differs after a file was written to: size, and times of change in ns."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def describe(folder: str, path: str) -> Dict[str, Any]:
    """The record of one file, read in one piece: again, if somebody wrote to it meanwhile."""
    for _ in range(ATTEMPTS):
        digest, lines, size = hashlib.blake2b(digest_size=32), 0, 0
        with open(os.path.join(folder, path), "rb", buffering=0) as file:
            before = stamp(os.fstat(file.fileno()))
            while True:
                block = file.read(BLOCK)
                if not block:
                    break
                digest.update(block)
                lines += block.count(b"\n")
                size += len(block)
            if stamp(os.fstat(file.fileno())) == before and size == before[0]:
                break
    return {
        "path": path,
        "size": size,
        "mtime_ns": before[1],
        "ctime_ns": before[2],
        "lines": lines,
        "blake2b": digest.hexdigest(),
        "revision": 0,
    }


def gather(place: Place, board: Board, folder: str, skip: FrozenSet[str]) -> None:
    """The whole of the gatherer's work."""
    store = place.open("records")
    figures = Gathering()
    begun = time.perf_counter()
    paths = list(find_files(folder, skip))
    figures.total = len(paths)
    board.set("hot", _spread(paths, HOT))
    for path in paths:
        try:
            record = describe(folder, path)
            store[path] = record
            figures.files += 1
            figures.bytes += record["size"]
        except (OSError, TooLargeError):  # not ours to read, gone meanwhile, or a path of over 64 KiB
            figures.unreadable += 1
        figures.seconds = time.perf_counter() - begun
        if board.due():
            board.report(figures)
    figures.done = True
    board.report(figures)
    store.close()


def _spread(paths: List[str], count: int) -> List[str]:
    """`count` of the paths, from all over the list."""
    return paths[:: max(1, len(paths) // count)][:count]
