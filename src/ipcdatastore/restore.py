"""What was kept comes back: into a region that is being made, or into a live one.

A region is made from the newest image that is whole, before it gets its name, under the creation lock:
exactly once, whoever races, and before anybody can see it. A region that is there is never restored by
itself. Images that are there and cannot be read are never passed over in silence: an older one is taken
with a warning, and if there is none, nothing is made.
"""

from __future__ import annotations

import os
import time
from collections import namedtuple
from zlib import crc32

from . import archive, index, load, transaction
from .errors import FormatError, RestoreWarning, SnapshotDamagedError
from .image import Image
from .layout import IMAGE_NUMBER, RECORD, RECORD_LENGTHS, RECORD_SIZE
from .platform import now_ns
from .reader import sealed
from .transaction import Write

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

    from .image import Facts
    from .load import Wishes
    from .region import Region
    from .writer import Writer

    Make = Callable[[str, Callable[[str], None]], None]

    class _RestoredFields(NamedTuple):
        path: str
        records: int
        lost: int
        problems: Tuple[str, ...]

else:
    _RestoredFields = namedtuple("Restored", "path records lost problems")


class Restored(_RestoredFields):
    """What came back: from the image `path`, so many `records`; `lost`: records known to be missing; `problems`."""

    __slots__ = ()


# --- a new region -----------------------------------------------------------------------------------------
def into_new(directory: str, name: str, serializer: Optional[str], wishes: Wishes, make: Make) -> Optional[Restored]:
    """Have `make` make the region from the newest whole image in `directory`. None if there is no image.

    ``make(serializer, fill)`` makes an empty region, has ``fill(path)`` fill the file, then gives it its name.
    """
    found = archive.numbered(directory) if archive.check(directory) else []
    problems: List[str] = []
    damaged: List[str] = []
    for _, path in found:
        try:
            records = _from_image(path, name, serializer, wishes, make, found[0][0])
        except SnapshotDamagedError as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
            damaged.append(path)
            continue
        if problems:
            archive.set_aside(directory, damaged)
            _warn(path, problems)
        return Restored(path, records, 0, tuple(problems))
    if problems:
        raise SnapshotDamagedError(
            f"no image in {directory} is whole: {'; '.join(problems)}; nothing was made. Move them away to begin with "
            "an empty store, in which `restore(path, salvage=True)` saves what is left of one",
            path=directory,
            problems=tuple(problems),
        )
    return None


def empty_new(directory: str, serializer: Optional[str], wishes: Wishes, make: Make) -> None:
    """Have `make` make an empty region that outdates all images in `directory`: the next flush removes them."""
    found = archive.numbered(directory) if archive.check(directory) else []
    seen = [image for image in (archive.footer(path) for _, path in found) if image is not None]
    newest = max(seen, key=lambda image: image.facts.version) if seen else None
    facts = newest.facts if newest else None
    number = found[0][0] if found else 0
    make(
        serializer or (newest.serializer if newest else "pickle"),
        lambda path: load.empty(path, facts, wishes, number),
    )


def _from_image(
    path: str,
    name: str,
    serializer: Optional[str],
    wishes: Wishes,
    make: Make,
    number: int,
) -> int:
    with Image(path) as image:
        if not image.begins_like_one():
            raise image.damaged("it does not begin as an image does")  # with this name it was one
        image.validate()
        if image.name != name:
            raise FormatError(
                f"the image {path} is of the store {image.name!r}, not of {name!r}: name another "
                "`snapshot_directory=`, and `restore` it there if that is what you want",
                path=path,
            )
        if serializer not in (None, image.serializer):
            raise FormatError(
                f"the image {path} was made with serializer={image.serializer!r}, this handle wants {serializer!r}: "
                "open it without `serializer=`, or use another name",
                path=path,
            )
        counts: List[int] = []
        make(image.serializer, lambda new: counts.append(load.load(new, image, wishes, number)))
        return counts[0] if counts else 0


def _warn(path: str, problems: List[str]) -> None:
    import warnings

    warnings.warn(
        f"the store was restored from an older image, {path}, since newer ones are damaged and were set aside: "
        f"{'; '.join(problems)}",
        RestoreWarning,
        stacklevel=2,
    )


# --- a live one -------------------------------------------------------------------------------------------
def into_live(writer: Writer, path: str, *, salvage: bool, directory: str) -> Restored:
    """Replace what the region holds by what the image at `path` holds, at one moment.

    `directory`: where the region's own images are. An image from there makes those the region's own again.
    """
    region = writer.region
    if not region.writable:
        raise writer.read_only()
    path = os.path.abspath(os.path.expanduser(os.fspath(path)))
    with Image(path) as image:
        records, problems = _read(image, salvage=salvage)
        if getattr(image, "serializer", region.header.serializer) != region.header.serializer:
            raise FormatError(
                f"the image {path} was made with serializer={image.serializer!r}, the region {region.path} has "
                f"{region.header.serializer!r}: restore it into a store of that serializer",
                path=path,
            )
        facts = getattr(image, "facts", None)
    lost = max(0, facts.records - len(records)) if facts else 0  # without a footer nobody knows
    writes = _writes(records, facts, region.header.seed)

    def locked() -> None:
        # Under the lock nothing moves: what the image lacks goes, whoever put it there.
        for key in _keys_locked(writer.region):
            if key not in writes:
                writes[key] = Write(key, crc32(key, region.header.seed), 0, 0, None)
        transaction.commit_locked(writer, list(writes.values()))
        if os.path.dirname(path) == directory:
            numbers = [number for number, _ in archive.numbered(directory)]
            words = writer.region.words
            words[IMAGE_NUMBER] = max([*numbers, int(words[IMAGE_NUMBER])])

    writer.under_lock(locked)
    kept = sum(write.value is not None for write in writes.values())
    return Restored(path, kept, lost, tuple(problems))


def _keys_locked(region: Region) -> Iterator[bytes]:
    words = region.words
    for slot in index.slots(words):
        record = sealed(region, slot, words[slot])
        if record:
            _, key_length, _, _, _ = RECORD_LENGTHS.unpack_from(record)
            yield record[RECORD_SIZE : RECORD_SIZE + key_length]


def _read(image: Image, *, salvage: bool) -> Tuple[List[bytes], List[str]]:
    if salvage:
        records, problems = image.salvage()
        if problems and not records:
            raise image.damaged(f"nothing of it could be saved: {'; '.join(problems)}")
        return records, problems
    image.validate()
    return list(image.records()), []


def _writes(records: List[bytes], facts: Optional[Facts], seed: int) -> Dict[bytes, Write]:
    """The records as writes, by their keys; those that have expired are left out."""
    wall, now = time.time_ns(), now_ns()
    writes: Dict[bytes, Write] = {}
    for record in records:
        _, key_length, kind, flags, _, _, _, expires = RECORD.unpack_from(record)
        if facts is None:
            expires = 0  # what its clock showed is lost with the footer
        elif expires:
            expires = load.expiry(record, facts, wall, now)
            if expires < 0:
                continue
        key = record[RECORD_SIZE : RECORD_SIZE + key_length]
        writes[key] = Write(key, crc32(key, seed), kind, flags, record[RECORD_SIZE + key_length :], expires)
    return writes
