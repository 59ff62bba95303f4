"""An image: what a store held at one instant, in a file that outlives the machine's memory.

``docs/format.md``, section "Images", is normative; a test parses its tables against this module. An image
begins with a header, may hold a raw copy of the region's beginning, then *entries* (records that are not
right in the raw copy, or all of them where there is none), and ends with a footer. The last entry of a slot
wins over earlier ones and over the raw copy. Each record keeps the seal that it had in the region, so every
one is checked by itself, and the file as a whole by the footer's CRC.

Nothing here unpickles anything. All calls that change the file system go through :data:`files`, so that
a test can record them, or have them fail.
"""

from __future__ import annotations

import os
import struct
from zlib import crc32

from . import layout, platform
from .errors import FormatError, PlaceError, SnapshotDamagedError, UntrustedRegionError
from .layout import RECORD, RECORD_LENGTHS, RECORD_SIZE, SLOT_WORDS, UNIT, WORD_CELL
from .place import check_trusted

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

# --- the format: frozen for image version 1 --------------------------------------------------------------
IMAGE_MAGIC = b"\x89IPCDI\r\n"
IMAGE_END = b"\r\nIPCDE\x1a"
IMAGE_WRITE_VERSION = 1
IMAGE_READ_VERSION = 1  # an image with a newer one is refused
IMAGE_START = 4096  # bytes before the raw copy, so that it is aligned like the region
#                           magic, write, read, order, serializer, clock, zero, region id, raw bytes, name length, name
IMAGE_HEADER = struct.Struct("=8sIIIIII16sQI100s")
IMAGE_CRC = struct.Struct("=I")
IMAGE_ENTRY = struct.Struct("=II")  # word, seal; then the record
IMAGE_CHUNK = struct.Struct("=II")  # first slot (word index), slots
#                           version, cleared, wall ns, clock ns, max size, entry bytes, entries, chunks, records,
#                           number, persist, evict, whole crc, own crc, magic
IMAGE_FOOTER = struct.Struct("=QQQQQQIIIIIIII8s")
VOID = 255  # the type in an entry that says "this slot holds nothing"

_FLUSH = 1 << 20
_SECTOR = 4096  # what is given up of a disk that fails
_PLAUSIBLE_TYPE = 32  # salvage takes no record of a larger type for one

if IMAGE_HEADER.size + IMAGE_CRC.size > IMAGE_START or IMAGE_FOOTER.size != 88:
    raise ImportError("ipcdatastore.image: the structs do not have the frozen sizes")


# --- the file system --------------------------------------------------------------------------------------
class Files:
    """Every call by which an image gets onto the disk, or goes from it."""

    def create(self, path: str) -> int:
        """A descriptor of a new file that only this user can read."""
        return os.open(path, platform.OPEN_FLAGS | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, fd: int, data: Any) -> None:
        """Append all of `data`."""
        done = os.write(fd, data)
        if done != len(data):
            view = memoryview(data)
            while done < len(view):
                done += os.write(fd, view[done:])

    def sync(self, fd: int) -> None:
        """Return when the file's contents are on the disk."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Let go of a descriptor."""
        os.close(fd)

    def rename(self, source: str, target: str) -> None:
        """Give a file its name."""
        os.replace(source, target)

    def sync_directory(self, path: str) -> None:
        """Return when the names in a directory are on the disk; where a directory cannot be opened, at once."""
        if platform.IS_WINDOWS:
            return
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def unlink(self, path: str) -> None:
        """Take a name away."""
        os.unlink(path)


files = Files()


# --- writing ----------------------------------------------------------------------------------------------
class Facts:
    """What the footer says of the instant that the image shows."""

    __slots__ = ("cleared", "clock_ns", "evict", "max_size", "number", "persist", "records", "version", "wall_ns")

    def __init__(
        self,
        version: int,
        cleared: int,
        wall_ns: int,
        clock_ns: int,
        max_size: int,
        records: int,
        number: int,
        persist: int,
        evict: int,
    ) -> None:
        self.version = version
        self.cleared = cleared
        self.wall_ns = wall_ns
        self.clock_ns = clock_ns
        self.max_size = max_size
        self.records = records
        self.number = number
        self.persist = persist
        self.evict = evict


class ImageWriter:
    """Appends an image to an open file, keeping the CRC of all that went in."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._crc = 0
        self._waiting: List[bytes] = []
        self._waiting_bytes = 0
        self._entry_bytes = 0
        self._entries = 0
        self.holds_back = False  # entries wait for :meth:`end`, however many

    def begin(self, serializer: str, region_id: bytes, name: str, raw: int) -> None:
        """The header. `raw`: bytes of the raw copy that follows, 0 for none."""
        encoded = name.encode("utf-8", "surrogatepass")
        header = IMAGE_HEADER.pack(
            IMAGE_MAGIC,
            IMAGE_WRITE_VERSION,
            IMAGE_READ_VERSION,
            layout.BYTE_ORDER_MARK,
            layout.SERIALIZERS[serializer],
            platform.CLOCK,
            0,
            region_id,
            raw,
            len(encoded),
            encoded,
        )
        self.raw((header + IMAGE_CRC.pack(crc32(header))).ljust(IMAGE_START, b"\0"))

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._crc = crc32(data, self._crc)
        files.write(self._fd, data)
        # The disk works while the rest is copied, and nobody needs the image in memory.
        if len(data) >= _FLUSH:
            platform.begin_sync(self._fd, self._at, len(data))
        self._at += len(data)

    def entry(self, word: int, seal: int, record: bytes) -> None:
        """A record that a slot published under `word`, with its seal; see :func:`void` for none."""
        self._waiting += (IMAGE_ENTRY.pack(word, seal), record)
        self._waiting_bytes += IMAGE_ENTRY.size + len(record)
        self._entries += 1
        if self._waiting_bytes >= _FLUSH and not self.holds_back:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        data = b"".join(self._waiting)
        self._entry_bytes += len(data)
        self._waiting.clear()
        self._waiting_bytes = 0
        if data:
            self.raw(data)

    def end(self, facts: Facts, chunks: Sequence[Tuple[int, int]]) -> None:
        """The footer. `chunks`: (first slot, slots) of the chunks that the raw copy holds."""
        self.flush()
        if chunks:
            self.raw(b"".join(IMAGE_CHUNK.pack(*chunk) for chunk in chunks))
        fields = (
            facts.version,
            facts.cleared,
            facts.wall_ns,
            facts.clock_ns,
            facts.max_size,
            self._entry_bytes,
            self._entries,
            len(chunks),
            facts.records,
            facts.number,
            facts.persist,
            facts.evict,
            self._crc,
        )
        unsealed = IMAGE_FOOTER.pack(*fields, 0, IMAGE_END)
        files.write(self._fd, IMAGE_FOOTER.pack(*fields, crc32(unsealed), IMAGE_END))


def void(slot: int) -> bytes:
    """The record of an entry that says that `slot` holds nothing."""
    return RECORD.pack(slot, 0, VOID, 0, 0, 0, 0, 0)


# --- reading ----------------------------------------------------------------------------------------------
class Image:
    """An image file; nothing of it is believed before :meth:`validate`. A context manager.

    It is mapped only after every byte was read once, by a system call: a disk that fails is an error there, and the
    death of the process in a mapping.
    """

    serializer: str
    name: str
    region_id: bytes
    facts: Facts

    def __init__(self, path: str) -> None:
        self.path = path
        self.data: Any = b""  # all of it, once that was read
        self._raw = 0
        self._chunks: List[Tuple[int, int]] = []
        self._entries = (0, 0)  # where they begin and end
        self._file = os.fdopen(open_image(path), "rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Let go of the file."""
        if self.data:
            self.data.close()
        self._file.close()

    def read(self, at: int, length: int) -> bytes:
        """So many bytes, fewer at the end. ``PlaceError`` if the disk fails."""
        pieces = []
        try:
            self._file.seek(at)
            while length > 0:
                piece = self._file.read(min(length, _FLUSH))
                if not piece:
                    break
                pieces.append(piece)
                length -= len(piece)
        except OSError as error:
            raise PlaceError(
                f"the image {self.path} cannot be read at byte {at}: {error.strerror or error}; see to its disk, or "
                "save what is left with `restore(path, salvage=True)`",
                path=self.path,
            ) from error
        return b"".join(pieces)

    def begins_like_one(self) -> bool:
        """Whether the file begins as an image does."""
        return self.read(0, len(IMAGE_MAGIC)) == IMAGE_MAGIC

    def _map(self) -> None:
        import mmap

        try:
            self.data = mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise PlaceError(f"the image {self.path} cannot be mapped: {error}", path=self.path) from error

    def _copy(self, problems: List[str]) -> None:
        """All that can be read, in memory; nothing but zeros where the disk fails."""
        import mmap

        self.data = mmap.mmap(-1, max(self.size, 1))
        at = 0
        step = _FLUSH
        while at < self.size:
            try:
                piece = self.read(at, step)
            except PlaceError as error:
                if step > _SECTOR:
                    step = _SECTOR
                    continue
                problems.append(error.message)
                piece = b""
            self.data[at : at + len(piece)] = piece
            at += step
            if at % _FLUSH == 0:
                step = _FLUSH

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- whole, or not -------------------------------------------------------------------------------
    def validate(self, *, whole: bool = True) -> None:
        """Magic, header, byte order, versions, footer, bounds, then the CRC of all: each before what follows is used.

        Without `whole`, the last is left out. ``FormatError`` for what is no image of this release and machine,
        ``SnapshotDamagedError`` for one that was damaged.
        """
        self._read_header()
        crc = self._read_footer()
        if not whole:
            return
        end = self.size - IMAGE_FOOTER.size
        found = 0
        for at in range(0, end, _FLUSH):
            found = crc32(self.read(at, min(_FLUSH, end - at)), found)
        if found != crc:
            raise self.damaged("it does not fit its checksum")
        self._map()

    def _read_header(self) -> None:
        path = self.path
        if self.size < IMAGE_START:
            raise self.damaged(f"it has only {self.size} bytes")
        header = self.read(0, IMAGE_START)
        fields = IMAGE_HEADER.unpack_from(header.ljust(IMAGE_START, b"\0"))
        magic, write, read, order, serializer, clock, _, region_id, raw, name_length, name = fields
        if magic != IMAGE_MAGIC:
            raise FormatError(f"{path} is no image: it begins with {magic!r}", path=path)
        # Where the header's checksum is, and of what, is the same in every version: so damage is no "other format".
        crc = header[IMAGE_HEADER.size : IMAGE_HEADER.size + IMAGE_CRC.size]
        right = IMAGE_CRC.pack(crc32(header[: IMAGE_HEADER.size]))
        if crc not in (right, right[::-1]):
            raise self.damaged("its header does not fit its checksum")
        if order != layout.BYTE_ORDER_MARK:
            raise FormatError(f"the image {path} was made on a machine of the other byte order", path=path)
        if read > IMAGE_READ_VERSION:
            raise FormatError(
                f"the image {path} has format {write} (readable from {read} on), and this release reads "
                f"{IMAGE_READ_VERSION}: upgrade ipcdatastore here",
                path=path,
            )
        if serializer not in layout.serializer_names or clock not in (
            platform.CLOCK_BOOTTIME,
            platform.CLOCK_MONOTONIC,
            platform.CLOCK_WALL,
        ):
            raise FormatError(
                f"the image {path} uses serializer {serializer} and clock {clock}, unknown to this release: "
                "upgrade ipcdatastore here",
                path=path,
            )
        self.serializer = layout.serializer_names[serializer]
        self.region_id = region_id
        self.name = name[:name_length].decode("utf-8", "replace")
        self._raw = raw

    def _read_footer(self) -> int:
        """The facts and where the parts are. The checksum of all that is before."""
        at = self.size - IMAGE_FOOTER.size
        if at < IMAGE_START:
            raise self.damaged("it has no footer: its end is missing")
        footer = self.read(at, IMAGE_FOOTER.size).ljust(IMAGE_FOOTER.size, b"\0")
        *fields, crc, magic = IMAGE_FOOTER.unpack(footer)
        unsealed = IMAGE_FOOTER.pack(*fields, 0, magic)
        if magic != IMAGE_END or crc != crc32(unsealed):
            raise self.damaged("it has no footer: its end is missing or damaged")
        (version, cleared, wall, clock, max_size, size, entries, chunks, records, number, persist, evict, all_crc) = (
            fields
        )
        if self._raw < 0:  # the header is lost, and said how much it is
            self._raw = at - IMAGE_START - size - chunks * IMAGE_CHUNK.size
        entries_at = IMAGE_START + self._raw
        if (
            self._raw < 0
            or self._raw % UNIT
            or entries_at + size + chunks * IMAGE_CHUNK.size != at
            or entries * IMAGE_ENTRY.size > size
        ):
            raise self.damaged("its parts do not add up to its length")
        self._entries = (entries_at, entries_at + size)
        table = self.read(entries_at + size, chunks * IMAGE_CHUNK.size)
        self._chunks = list(IMAGE_CHUNK.iter_unpack(table.ljust(chunks * IMAGE_CHUNK.size, b"\0")))
        if any(4 * (first + SLOT_WORDS * count) > self._raw for first, count in self._chunks):
            self._chunks = []
            raise self.damaged("a chunk of slots lies outside of its raw copy")
        if not layout.PAGE <= max_size <= layout.MAX_REGION or not cleared <= version <= layout.MAX_VERSION:
            raise self.damaged(
                f"it is of version {version}, cleared at {cleared}, with a size limit of {max_size} bytes"
            )
        if persist not in layout.PERSIST_POLICIES.values() or evict not in layout.EVICT_POLICIES.values():
            raise FormatError(
                f"the image {self.path} has policies unknown to this release: upgrade ipcdatastore here", path=self.path
            )
        self.facts = Facts(version, cleared, wall, clock, max_size, records, number, persist, evict)
        return int(all_crc)

    def damaged(self, problem: str) -> SnapshotDamagedError:
        """The error for an image that cannot be believed."""
        return SnapshotDamagedError(
            f"the image {self.path} is damaged: {problem}; restore another one, or save what is left of it with "
            "`restore(path, salvage=True)`",
            path=self.path,
            problems=(problem,),
        )

    # --- records ---------------------------------------------------------------------------------------
    def records(self) -> Iterator[bytes]:
        """Every record of a validated image, checked against its seal; ``SnapshotDamagedError`` at the first misfit.

        How many there are is theirs to tell: what the footer says is what the region's header said.
        """
        return self._records([], strict=True)

    def salvage(self) -> Tuple[List[bytes], List[str]]:
        """(every record that still fits its seal, what is wrong), of whatever is left of an image."""
        problems: List[str] = []
        parts: Tuple[Callable[[], Any], ...] = (self._read_header, self._read_footer, self.validate)
        for part in parts:
            try:
                part()
            except (SnapshotDamagedError, FormatError, PlaceError) as error:
                problems += [one for one in getattr(error, "problems", (error.message,)) if one not in problems]
                if part == self._read_header:
                    self._raw = -1
        if not self.data:
            self._copy(problems)
        if not self._entries[1]:
            self._raw = max(self._raw, 0)
            self._guess_parts()
        newest: Dict[bytes, Tuple[int, bytes]] = {}
        for record in self._records(problems, strict=False):
            _, key_length, _, _, _, version, _, _ = RECORD.unpack_from(record)
            key = record[RECORD_SIZE : RECORD_SIZE + key_length]
            # Where a later entry was lost, a slot may show a key that has moved since.
            if version >= newest.get(key, (0, b""))[0]:
                newest[key] = (version, record)
        return [record for _, record in newest.values()], problems

    def _guess_parts(self) -> None:
        """Where entries and chunks are, of an image without a footer: the chain of chunks is in the raw copy."""
        if self.size < IMAGE_START:
            return
        self._raw = min(self._raw, self.size - IMAGE_START) // UNIT * UNIT
        self._entries = (IMAGE_START + self._raw, self.size)
        if self._raw < layout.HEADER_SIZE:
            return
        seen = 0
        words = memoryview(self.data)[IMAGE_START : IMAGE_START + self._raw].cast("I")
        try:
            chunk = words[layout.CHUNK_FIRST]
            while chunk and 4 * (chunk + 1) <= len(words) and seen < len(words):
                first, count = 4 * chunk + layout.BLOCK_HEADER_WORDS, words[4 * chunk + 3]
                if first + SLOT_WORDS * count > len(words):
                    count = (len(words) - first) // SLOT_WORDS
                self._chunks.append((first, count))
                seen += count + 1
                chunk = words[4 * chunk + 2]
        finally:
            words.release()

    def _records(self, problems: List[str], *, strict: bool) -> Iterator[bytes]:
        data = self.data
        last: Dict[int, Tuple[int, int, int]] = {}  # slot -> where its last entry's record is, its word, its seal
        for at, slot, word, seal in self._walk_entries(problems, strict=strict):
            last[slot] = (at, word, seal)
        unpack = RECORD_LENGTHS.unpack_from
        for slot, place in self._raw_slots():
            if slot not in last:
                last[slot] = place
        for slot, (at, word, seal) in last.items():
            try:
                owner, key_length, kind, _, value_length = unpack(data, at)
            except struct.error:
                owner = key_length = kind = value_length = -1
            record = data[at : at + RECORD_SIZE + key_length + value_length]
            if owner != slot or crc32(record, word) != seal:
                problem = f"the record of slot {slot} does not fit its seal"
                if strict:
                    raise self.damaged(problem)
                problems.append(problem)
            elif kind != VOID:
                yield record

    def _walk_entries(self, problems: List[str], *, strict: bool) -> Iterator[Tuple[int, int, int, int]]:
        """(where the record is, slot, word, seal) of each entry, in order."""
        data = self.data
        at, end = self._entries
        head, lengths = IMAGE_ENTRY, RECORD_LENGTHS
        least = head.size + RECORD_SIZE
        lost = -1
        while at < end:
            size = 0
            if at + least <= end:
                word, seal = head.unpack_from(data, at)
                slot, key_length, kind, _, value_length = lengths.unpack_from(data, at + head.size)
                size = least + key_length + value_length
            if strict:
                if not size or at + size > end:
                    raise self.damaged(f"the entry at byte {at} reaches beyond the entries")
            elif (
                not size
                or at + size > end
                or slot % 4
                or (kind != VOID and kind > _PLAUSIBLE_TYPE)
                or crc32(data[at + head.size : at + size], word) != seal
            ):
                # Something is damaged here: the next entry begins at some byte behind it.
                if lost < 0:
                    lost = at
                at += 1
                continue
            if lost >= 0:
                problems.append(f"bytes {lost} to {at} hold no entry that fits its seal")
                lost = -1
            yield at + head.size, slot, word, seal
            at += size
        if lost >= 0:
            problems.append(f"bytes {lost} to {end} hold no entry that fits its seal")

    def _raw_slots(self) -> Iterator[Tuple[int, Tuple[int, int, int]]]:
        """(slot, (where its record is, word, seal)) of each slot of the raw copy that holds one."""
        raw = memoryview(self.data)[IMAGE_START : IMAGE_START + self._raw]
        words = raw.cast("I")
        try:
            for first, count in self._chunks:
                numbers = words[first : first + SLOT_WORDS * count].tolist()
                for i in range(0, SLOT_WORDS * count, SLOT_WORDS):
                    word = numbers[i]
                    cell = i + layout.SLOT_CELL + 2 * (word & WORD_CELL)
                    block = numbers[cell]
                    if block:
                        yield first + i, (IMAGE_START + block * UNIT, word, numbers[cell + 1])
        finally:
            words.release()
            raw.release()


def open_image(path: str) -> int:
    """A descriptor of an image: never through a symlink, never of another owner."""
    try:
        fd = os.open(path, platform.OPEN_FLAGS | os.O_RDONLY)
    except OSError as error:
        if os.path.islink(path):
            raise UntrustedRegionError(f"{path} is a symbolic link, which is never followed", path=path) from error
        raise PlaceError(f"the image {path} cannot be opened: {error.strerror or error}", path=path) from error
    check_trusted(fd, path, "image", "", "`chown` or `chmod` it")
    return fd
