"""What `doctor` looks at in the images of one store: each is read and verified, nothing is changed."""

from __future__ import annotations

import os
import shutil
import time
from typing import Iterator, List, Tuple

from ipcdatastore import DatastoreError, archive, image

from .diagnosis import Finding, bad
from .units import size, span

LITTLE_SPACE = 64 << 20


def examine(directory: str, *, wanted: bool, there: bool) -> Iterator[Finding]:
    """The images in `directory`. `wanted`: something is to be kept; `there`: the store exists."""
    try:
        found = archive.numbered(directory) if archive.check(directory) else []
    except DatastoreError as error:
        yield bad("images", error)
        return
    if not found:
        state, text = ("note", "none yet") if wanted else ("good", "none, and nothing is to be kept")
        yield Finding("images", state, f"{text}; they would be in {directory}")
    else:
        text = f"{len(found)} in {directory}" + ("" if there else "; whoever opens the store next restores it")
        yield Finding("images", "good", text)
        yield from verified(found)
    if wanted:
        yield from room(directory)


def verified(found: List[Tuple[int, str]]) -> Iterator[Finding]:
    """Each image, the newest first."""
    whole = 0
    for _, path in found:
        finding = one(path)
        whole += finding.state == "good"
        yield finding
    if not whole:
        advice = "`ipcdatastore restore NAME FILE --salvage --create` saves what is left in one; move the others away"
        yield Finding("images", "bad", "none of them is whole: the store cannot be restored", advice)


def one(path: str) -> Finding:
    """One image, read to its end."""
    name = os.path.basename(path)
    try:
        with image.Image(path) as opened:
            opened.validate()
            facts = opened.facts
            records = sum(1 for _ in opened.records())
    except DatastoreError as error:
        return Finding("image", "warning", f"{name}: {error}")
    age = span(time.time() - facts.wall_ns / 1e9)
    return Finding("image", "good", f"{name}: whole, {records:,} records, {size(os.path.getsize(path))}, {age} old")


def room(directory: str) -> Iterator[Finding]:
    """Whether another one has room on that disk."""
    parent = directory
    while not os.path.isdir(parent) and os.path.dirname(parent) != parent:
        parent = os.path.dirname(parent)
    free = shutil.disk_usage(parent).free
    if not os.access(parent, os.W_OK | os.X_OK):
        yield Finding("disk", "bad", f"{parent} cannot be written to", "choose another place with --images")
    elif free < LITTLE_SPACE:
        yield Finding("disk", "warning", f"{size(free)} free for images", "free space there, or use --images")
