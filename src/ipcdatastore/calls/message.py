"""What a message says: requests and responses to bytes and back, and how an exception travels.

A request's payload is what the serializer makes of (method, arguments, keywords). A result has the form that it would
have in the store: plain values their own, everything else the serializer's. An exception goes as it is, with the text
of the server's traceback; one that cannot be carried, or that the client cannot import, becomes a ``RemoteError``.
"""

from __future__ import annotations

from ..codec import Codec, shorten
from ..errors import ArgumentError, DecodeError, EncodeError, RemoteError
from . import layout

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Iterable, List, Tuple

SERIALIZERS = ("pickle", "json")
_HERE = __file__.rpartition("message")[0]


class RemoteTraceback(Exception):  # noqa: N818 - it is no error, it says where one was
    """The ``__cause__`` of an exception that came from a server: where it was raised there. ``str`` gives the text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


def remote_traceback(error: BaseException) -> str:
    """The server's traceback of an exception that a call raised; empty where there is none.

    >>> with ipcdatastore.serve_object("docs", [3, 1]).start():
    ...     try:
    ...         ipcdatastore.connect("docs").remove(7)
    ...     except ValueError as error:
    ...         ipcdatastore.remote_traceback(error).splitlines()[0]
    'Traceback (most recent call last):'
    """
    seen = 0
    cause: Any = error
    while cause is not None and seen < 100:  # a chain may be a ring
        if isinstance(cause, RemoteTraceback):
            return cause.text
        cause, seen = cause.__cause__ or cause.__context__, seen + 1
    return ""


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

    # --- exceptions ----------------------------------------------------------------------------------
    def error(self, error: BaseException) -> bytes:
        """The payload of a response that says what a call raised."""
        import traceback

        inner = error.__traceback__
        # Frames of this library say nothing to whoever called.
        while inner is not None and inner.tb_next is not None and inner.tb_frame.f_code.co_filename.startswith(_HERE):
            inner = inner.tb_next
        text = "".join(traceback.format_exception(type(error), error, inner))
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        parts = (self._carried(error), name, _text(error), text)
        return self.dumps(parts, 5)

    def _carried(self, error: BaseException) -> Any:
        """The exception as bytes that give it back; None where there are none."""
        if self.codec.serializer != "pickle":
            return None
        try:
            carried = self.dumps(error, 5)
            if type(self.loads(carried)) is type(error):
                return carried
        except Exception:  # noqa: BLE001 - whatever its class raises when it is written, or made anew
            return None
        return None

    def read_error(self, payload: Any) -> BaseException:
        """The exception that a response brings."""
        try:
            carried, name, message, text = self.loads(payload)
        except Exception as error:  # noqa: BLE001 - a damaged response
            return DecodeError(
                f"what {self.name} raised cannot be read: {error}; call again",
                key=self.name,
                module=None,
                name=None,
            )
        found: Any = None
        if carried is not None:
            try:
                found = self.loads(carried)
            except Exception:  # noqa: BLE001 - its class may not be importable here
                found = None
        elif self.codec.serializer != "pickle":
            found = _builtin(name, message)
        if not isinstance(found, BaseException):
            found = RemoteError(f"{self.name} raised {name}: {message}", type_name=name)
        raised: BaseException = found
        # Not by assignment: a class may refuse those, as a frozen dataclass does.
        BaseException.__dict__["__cause__"].__set__(raised, RemoteTraceback(text))
        return raised


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<whose str raises {type(second).__name__}>"


def _builtin(name: str, message: str) -> Any:
    """An exception for a server that speaks JSON: Python's own by its name."""
    import builtins

    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(message)
        except Exception:  # noqa: BLE001 - UnicodeDecodeError and its like want more than a text
            return None
    return None
