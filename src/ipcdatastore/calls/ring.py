"""One direction of one connection: a ring of bytes with one writer and one reader, in shared memory.

The writer stores the bytes of a frame, then the head; the reader takes what lies between tail and head, then stores the
tail. A writer that dies before it stored the head has said nothing; a reader that dies has taken nothing. Heads and
tails count bytes and never go back, so neither is ever mistaken for an older one: a ring is shorter than 2^31.

A message that has no room goes in frames as the room comes: what a ring holds does not limit what goes through it.
"""

from __future__ import annotations

from ..errors import RegionDamagedError
from ..platform import fence
from .layout import FRAME, FRAME_SIZE, MASK

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Optional, Tuple

KEPT = 4 * 1024 * 1024  # bytes of a reader's buffer that stay when the message is done with
_pack = FRAME.pack
_unpack_from = FRAME.unpack_from


class Ring:
    """What both ends know: where the bytes are, and which words say how many of them are taken."""

    __slots__ = ("data", "head_word", "size", "start", "tail_word", "words")

    def __init__(self, data: Any, words: Any, start: int, size: int, head_word: int, tail_word: int) -> None:
        self.data = data
        self.words = words
        self.start = start
        self.size = size
        self.head_word = head_word
        self.tail_word = tail_word


class Writer(Ring):
    """The end that puts messages in."""

    __slots__ = ("head",)

    def __init__(self, *where: Any) -> None:
        super().__init__(*where)
        self.head = self.words[self.head_word] & -16  # where a header cannot go over the end, whatever is there

    def put(self, kind: int, number: int, payload: Any) -> bool:
        """Put in a whole message, in one frame. Whether there was room for it."""
        length = len(payload)
        head = self.head
        taken = (length + 31) & -16  # the frame's header, and up to the next multiple of 16
        if taken > self.size - ((head - self.words[self.tail_word]) & MASK):
            return False
        at = head & (self.size - 1)
        if at + taken <= self.size:
            at += self.start
            self.data[at : at + FRAME_SIZE + length] = _pack(length, kind, number, length) + payload
        else:
            self._store(head, length, kind, number, length, payload)
        fence()
        self.head = head = (head + taken) & MASK
        self.words[self.head_word] = head  # PUBLISH: the frame is there
        return True

    def send(self, kind: int, number: int, payload: Any, done: int) -> int:
        """Put in what there is room for of a message of which `done` bytes went in before (-1: it was not begun).

        How many bytes have gone now: all of them if it is the payload's length, -1 if nothing has.
        """
        total: int = len(payload)
        if 2 * total <= self.size:  # it will have room when the reader has come so far
            return total if self.put(kind, number, payload) else done
        head = self.head
        free = self.size - ((head - self.words[self.tail_word]) & MASK) - FRAME_SIZE
        done = max(done, 0)
        # Not crumbs: each frame costs both ends more than the bytes of a small one.
        if free < min(total - done, self.size >> 2):
            return done or -1
        # Nor all of it at once: the reader takes the first frame while the second is written.
        length = min(total - done, free & -16, self.size >> 2)
        self._store(head, length, kind, number, total, memoryview(payload)[done : done + length])
        fence()
        self.head = head = (head + ((length + 31) & -16)) & MASK
        self.words[self.head_word] = head  # PUBLISH: the frame is there
        return int(done + length)

    def _store(self, head: int, length: int, kind: int, number: int, total: int, payload: Any) -> None:
        """A frame that may go over the ring's end; its header cannot."""
        data, mask = self.data, self.size - 1
        at = self.start + (head & mask)
        data[at : at + FRAME_SIZE] = _pack(length, kind, number, total)
        at = (head + FRAME_SIZE) & mask
        first = min(length, self.size - at)
        at += self.start
        data[at : at + first] = payload[:first]
        if first < length:
            data[self.start : self.start + length - first] = payload[first:]


class Reader(Ring):
    """The end that takes messages out."""

    __slots__ = ("_collected", "_kept", "_next", "limit", "path", "tail")

    def __init__(self, *where: Any, limit: int, path: str) -> None:
        super().__init__(*where)
        self.tail = self.words[self.tail_word] & -16
        self.limit = limit
        self.path = path
        self._next = self.tail
        # Of a message in several frames: the tail behind what was collected, how much that is, of how much, and where.
        # One object, so that whoever is interrupted here (by a signal) can begin a frame again.
        self._collected: Tuple[int, int, int, Any] = (-1, 0, 0, None)
        self._kept = memoryview(b"")

    def peek(self) -> Optional[Tuple[int, int, Any]]:
        """(kind, number, payload) of the next message; None if it is not all there.

        The payload may be a view of the ring, or of what the next message goes into: it is good until
        :meth:`advance`, which must follow.
        """
        while True:
            tail = self.tail
            used = (self.words[self.head_word] - tail) & MASK
            if not used:
                return None
            fence()
            at = self.start + (tail & (self.size - 1))
            length, kind, number, total = _unpack_from(self.data, at)
            taken = (length + 31) & -16
            if used > self.size or taken > used:
                raise self._damaged(f"a frame of {length:,} bytes where {used:,} are written")
            if total > self.limit:
                raise self._damaged(f"a message of {total:,} bytes where {self.limit:,} is the limit")
            self._next = (tail + taken) & MASK
            if length == total:
                where, done, whole, _ = self._collected
                if where == tail and done < whole:
                    raise self._damaged("a message within a message")
                first = self.start + self.size - at - FRAME_SIZE
                if length <= first:
                    at += FRAME_SIZE
                    return kind, number, self.data[at : at + length]
                return kind, number, b"".join(self._pieces(tail, length))
            message = self._collect(tail, length, total)
            if message is not None:
                return kind, number, message

    def advance(self) -> None:
        """The message is done with: its room is free."""
        self.tail = tail = self._next
        fence()
        self.words[self.tail_word] = tail  # PUBLISH: the writer may use the room

    def _collect(self, tail: int, length: int, total: int) -> Any:
        """Take a frame of a longer message. The message, if it was the last; that one stays until :meth:`advance`."""
        where, done, whole, message = self._collected
        if where == self._next:
            done -= length  # this frame, which was interrupted before it was given back
        elif where != tail or done == whole:
            done, whole, message = 0, total, self._buffer(total)
        if whole != total or done < 0 or done + length > total:
            raise self._damaged(f"frames of a message of {total:,} bytes that do not fit")
        at = done
        for piece in self._pieces(tail, length):
            message[at : at + len(piece)] = piece
            at += len(piece)
        self._collected = self._next, at, total, message
        if at == total:
            return message[:total]
        self.advance()
        return None

    def _buffer(self, total: int) -> memoryview:
        """Room for a message that comes in several frames: the same again, since new memory costs more than a copy."""
        if total > KEPT:
            return memoryview(bytearray(total))
        if len(self._kept) < total:
            self._kept = memoryview(bytearray(max(2 * len(self._kept), total)))
        return self._kept

    def _pieces(self, tail: int, length: int) -> Tuple[Any, ...]:
        """The bytes of a frame: two pieces where it goes over the ring's end."""
        at = (tail + FRAME_SIZE) & (self.size - 1)
        first = min(length, self.size - at)
        at += self.start
        pieces = (self.data[at : at + first],)
        return pieces if first == length else (*pieces, self.data[self.start : self.start + length - first])

    def _damaged(self, problem: str) -> RegionDamagedError:
        return RegionDamagedError(
            f"the connection {self.path} is damaged: {problem}; connect again", path=self.path, problems=(problem,)
        )
