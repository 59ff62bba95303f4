"""A fresh process that has never seen the store: does every record say what is on the disk?

A file that was written to since it was gathered is no failure of the store: it is read again and reported as
changed. One whose size and times are those of the record must have the record's digest.
"""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Optional

from .figures import MOST_NAMED, Verification
from .gather import describe, stamp
from .place import Board, DemoError, Place
from .rewrite import PAIR

CONTENT = ("path", "size", "lines", "blake2b")


def verify(place: Place, board: Board, folder: str, expected: int) -> None:
    """The whole of the verifier's work."""
    figures = Verification(total=expected)
    begun = time.perf_counter()
    store = place.open("records", "r")
    revisions, transactions = board.get("revisions")
    for key in store:
        if type(key) is not str:
            continue
        failure = examine(figures, folder, key, store[key], revisions.get(key, 0))
        if failure:
            figures.failed += 1
            if len(figures.failures) < MOST_NAMED:
                figures.failures.append(failure)
        figures.seconds = time.perf_counter() - begun
        if board.due():
            board.report(figures)
    if figures.records != expected:
        figures.failures.append(f"{expected} records were stored, {figures.records} were found")
    pair = list(store.get_many(PAIR).values())
    if pair != ([transactions] * 2 if transactions else []):
        figures.failures.append(f"the pair was written {transactions} times, and holds {pair}")
    figures.done = True
    figures.seconds = time.perf_counter() - begun
    board.report(figures)
    store.close()
    if figures.failures:
        raise DemoError(figures.failures[0])


def examine(figures: Verification, folder: str, key: str, record: Dict[str, Any], revision: int) -> Optional[str]:
    """Count one record as matching or changed, or say what is wrong with it."""
    if record["revision"] != revision:
        return f"{key!r} was rewritten {revision} times, and its record says {record['revision']}"
    try:
        found = describe(folder, key)
    except OSError:
        found = None
    if found is not None:
        figures.bytes += found["size"]
        if all(found[name] == record[name] for name in CONTENT):
            figures.matching += 1
            return None
    if found is not None and _same_stamp(folder, key, record):
        return f"{key!r} has digest {found['blake2b']} on the disk and {record['blake2b']} in the store"
    figures.changed += 1
    if len(figures.changed_files) < MOST_NAMED:
        figures.changed_files.append(key)
    return None


def _same_stamp(folder: str, key: str, record: Dict[str, Any]) -> bool:
    """Whether the disk itself says that nobody wrote to the file since it was gathered."""
    try:
        return stamp(os.stat(os.path.join(folder, key))) == (record["size"], record["mtime_ns"], record["ctime_ns"])
    except OSError:
        return False
