"""What a message says: requests and responses to bytes and back.

A request's payload is what the serializer makes of (method, arguments, keywords). A result has the form that it would
have in the store: plain values their own, everything else the serializer's.
"""

from __future__ import annotations

from ..codec import Codec, shorten
from ..errors import ArgumentError, DecodeError, EncodeError
from . import layout

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Iterable, List, Tuple

SERIALIZERS = ("pickle", "json")


class Messages:
    """Requests and responses with one serializer."""

    __slots__ = ("codec", "dumps", "loads", "name")

    def __init__(self, name: str, serializer: str) -> None:
        if serializer not in SERIALIZERS:
            raise ArgumentError(
                f"`serializer` of an object is one of {', '.join(SERIALIZERS)}, not {serializer!r}",
                name="serializer",
                value=serializer,
            )
        self.name = name
        self.codec = Codec(serializer)
        self.dumps = self.codec.dumps
        self.loads = self.codec.loads

    # --- requests ------------------------------------------------------------------------------------
    def request(self, method: str, arguments: Any, keywords: Any) -> bytes:
        """The payload of a call; anything else that a request says has the same three parts."""
        try:
            return self.dumps((method, arguments, keywords), 5)
        except Exception as error:
            raise EncodeError(
                f"the arguments of {self.name}.{method} cannot be written by {self.codec.serializer}: {error}; "
                f"pass plain data: {shorten((*arguments, *keywords.values()))}",
                key=method,
            ) from error

    def read_request(self, payload: Any) -> Tuple[str, Any, Any]:
        """(method, arguments, keywords)."""
        try:
            method, arguments, keywords = self.loads(payload)
        except Exception as error:
            raise DecodeError(
                f"the arguments of a call of {self.name} cannot be read by the server: {error}; make their classes "
                "importable there, or pass plain data",
                key=self.name,
                module=None,
                name=None,
            ) from error
        return method, arguments, keywords

    # --- results -------------------------------------------------------------------------------------
    def result(self, value: Any, what: str) -> Tuple[int, Any]:
        """(kind, payload) of what the call of `what` returned."""
        try:
            kind, payload = self.codec.encode(value, what)
        except EncodeError as error:
            raise EncodeError(
                f"what {self.name}.{what} returns, a {type(value).__module__}.{type(value).__qualname__}, cannot be "
                f"written by {self.codec.serializer}: {error.__cause__}; return plain data",
                key=what,
            ) from error.__cause__
        return layout.VALUE + kind, payload

    def read_result(self, kind: int, payload: Any, what: str) -> Any:
        """The value of a response's kind and payload."""
        try:
            return self.codec.decode(kind - layout.VALUE, payload, what)
        except DecodeError as error:
            raise DecodeError(
                f"what {self.name}.{what} returned cannot be read here: {error.__cause__}; make its classes importable "
                "here, or return plain data",
                key=what,
                module=error.module,
                name=error.name,
            ) from error.__cause__

    # --- several results -----------------------------------------------------------------------------
    @staticmethod
    def parts(results: Iterable[Tuple[int, Any]]) -> bytes:
        """The payload of several (kind, payload)."""
        pieces: List[Any] = []
        for kind, payload in results:
            pieces.append(layout.PART.pack(kind, len(payload)))
            pieces.append(payload)
        return b"".join(pieces)

    @staticmethod
    def read_parts(payload: Any) -> List[Tuple[int, bytes]]:
        """The (kind, payload) of several results."""
        at, found = 0, []
        while at < len(payload):
            kind, length = layout.PART.unpack_from(payload, at)
            at += layout.PART.size
            found.append((kind, bytes(payload[at : at + length])))
            at += length
        return found
