"""Keys and values to bytes and back.

Keys are canonical: one key has one byte string in every process, and two keys never share one. The
built-in ``hash`` differs from process to process, so keys are hashed by CRC-32 with a seed from the
region's header. A CRC is linear: whoever may *choose* keys can make them collide, and the seed does
not stop him (a keyed hash that would costs more than the rest of an uncached look-up).

Values of exactly the types ``str``, ``bytes``, ``int``, ``float``, ``bool`` and ``None`` have a form of
their own; everything else goes through the serializer that the region's header names.
"""

from __future__ import annotations

import struct
from zlib import crc32

try:  # the C half of pickle alone: its Python half imports four times as much, and is the same functions
    from _pickle import dumps as pickle_dumps  # type: ignore[import-not-found,unused-ignore]
    from _pickle import loads as pickle_loads
except ImportError:
    from pickle import dumps as pickle_dumps
    from pickle import loads as pickle_loads

from .errors import ArgumentError, DecodeError, EncodeError, KeyTypeError, TooLargeError
from .layout import FLAG_PERSIST, MAX_KEY

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple, Union

    Key = Union[str, bytes, int, Tuple[Any, ...]]
    Encoded = Tuple[int, bytes]

SERIALIZED = 0
BYTES = 1
STR = 2
INT = 3
FLOAT = 4
NONE = 5
TRUE = 6
FALSE = 7

MAX_NESTING = 16
KEEP = -1  # instead of flags: those that the key's record has
_LENGTH = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")
PICKLE_PROTOCOL = 5


# --- keys --------------------------------------------------------------------------------------------
def encode_key(key: Key) -> bytes:
    """The canonical bytes of `key`.

    >>> encode_key("a"), encode_key(b"a"), encode_key(-255)
    (b'sa', b'ba', b'i-ff')
    """
    encoded = _encode_key(key, key, 0)
    if len(encoded) > MAX_KEY:
        raise TooLargeError(
            f"a key of {len(encoded):,} bytes is over the limit of {MAX_KEY:,}: {shorten(key)}; "
            "use a digest of it as the key",
            size=len(encoded),
            limit=MAX_KEY,
        )
    return encoded


def _encode_key(key: Any, whole: Any, depth: int) -> bytes:
    kind = type(key)
    if kind is str:
        # surrogatepass keeps file names that were decoded with surrogateescape apart from all others
        encoded: bytes = key.encode("utf-8", "surrogatepass")
        return b"s" + encoded
    if kind is bytes:
        return b"b" + bytes(key)
    if kind is int:
        return b"i" + format(key, "x").encode("ascii")
    if kind is tuple:
        if depth == MAX_NESTING:
            raise TooLargeError(
                f"a key of tuples nested more than {MAX_NESTING} deep: {shorten(whole)}; use a flat tuple",
                size=depth + 1,
                limit=MAX_NESTING,
            )
        return b"t" + b"".join(_prefixed(_encode_key(item, whole, depth + 1)) for item in key)
    raise KeyTypeError(
        f"a key is a str, bytes, int or a tuple of them (exactly, no subclass), not {kind.__name__}: {shorten(whole)}",
        key=whole,
    )


def _prefixed(item: bytes) -> bytes:
    return _LENGTH.pack(len(item)) + item


def decode_key(encoded: bytes) -> Key:
    """The key whose canonical bytes are `encoded`.

    >>> decode_key(encode_key(("library", 7, b"x")))
    ('library', 7, b'x')
    """
    kind, body = encoded[:1], encoded[1:]
    if kind == b"s":
        return body.decode("utf-8", "surrogatepass")
    if kind == b"b":
        return body
    if kind == b"i":
        return int(body, 16)
    if kind == b"t":
        items: List[Key] = []
        at = 0
        while at < len(body):
            (length,) = _LENGTH.unpack_from(body, at)
            at += 4
            items.append(decode_key(body[at : at + length]))
            at += length
        return tuple(items)
    raise ValueError(f"no key begins with {kind!r}")


def tuple_prefix(items: Tuple[str, ...]) -> bytes:
    """The bytes that the canonical form of every longer tuple key beginning with `items` begins with."""
    return encode_key(items)


def key_hash(encoded: bytes, seed: int) -> int:
    """32 bits, the same in every process that opens the region."""
    return crc32(encoded, seed)


def shorten(value: Any) -> str:
    """`value` in an error message: its repr, if it has one, and not all of it."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


# --- values ------------------------------------------------------------------------------------------
def _encode_int(value: int) -> Encoded:
    return INT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


_ENCODERS: Dict[type, Callable[[Any], Encoded]] = {
    str: lambda value: (STR, value.encode("utf-8", "surrogatepass")),
    bytes: lambda value: (BYTES, value),
    int: _encode_int,
    float: lambda value: (FLOAT, _DOUBLE.pack(value)),
    bool: lambda value: (TRUE if value else FALSE, b""),
    type(None): lambda value: (NONE, b""),
}
_DECODERS: Dict[int, Callable[[bytes], Any]] = {
    BYTES: bytes,
    STR: lambda data: bytes(data).decode("utf-8", "surrogatepass"),
    INT: lambda data: int.from_bytes(data, "little", signed=True),
    FLOAT: lambda data: _DOUBLE.unpack(data)[0],
    NONE: lambda data: None,
    TRUE: lambda data: True,
    FALSE: lambda data: False,
}


def _json_dumps(value: Any, protocol: int) -> bytes:  # noqa: ARG001 - pickle's signature
    import json  # not everybody's

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=True).encode("utf-8", "surrogatepass")


def _json_loads(data: bytes) -> Any:
    import json

    return json.loads(bytes(data).decode("utf-8", "surrogatepass"))


def _raw_dumps(value: Any, protocol: int) -> bytes:  # noqa: ARG001 - pickle's signature
    if type(value) in (bytearray, memoryview):
        return bytes(value)
    raise TypeError(f"a raw store holds str, bytes, int, float, bool and None, not {type(value).__name__}")


_SERIALIZERS: Dict[str, Tuple[Callable[[Any, int], bytes], Callable[[Any], Any]]] = {
    "pickle": (pickle_dumps, pickle_loads),
    "json": (_json_dumps, _json_loads),
    "raw": (_raw_dumps, bytes),
}


class Codec:
    """Values to (type, bytes) and back, with one serializer."""

    __slots__ = ("dumps", "loads", "serializer")

    def __init__(self, serializer: str) -> None:
        self.serializer = serializer
        self.dumps, self.loads = _SERIALIZERS[serializer]

    def encode(self, value: Any, key: Any) -> Encoded:
        """(type, bytes) of `value`; `key` is for the error message only."""
        encoder = _ENCODERS.get(type(value))
        if encoder is not None:
            return encoder(value)
        try:
            return SERIALIZED, self.dumps(value, PICKLE_PROTOCOL)
        except Exception as error:
            raise EncodeError(
                f"the value of key {shorten(key)}, a {type(value).__module__}.{type(value).__qualname__}, "
                f"cannot be written by {self.serializer}: {error}; store plain data",
                key=key,
            ) from error

    def decode(self, kind: int, data: bytes, key: Any) -> Any:
        """The value of (type, bytes); `key` is for the error message only."""
        try:
            return self.loads(data) if kind == SERIALIZED else _DECODERS[kind](data)
        except Exception as error:
            raise self._decode_error(kind, data, key, error) from error

    def _decode_error(self, kind: int, data: bytes, key: Any, error: Exception) -> DecodeError:
        module, name = _missing_class(data) if kind == SERIALIZED and self.serializer == "pickle" else (None, None)
        if module is None:
            text = (
                f"the value of key {shorten(key)} cannot be read by {self.serializer}: {error}; delete or set it again"
            )
        else:
            text = (
                f"the value of key {shorten(key)} is, or holds, a {module}.{name}, which this process cannot "
                f"import: {error}; make the class importable here, or store plain data"
            )
        return DecodeError(text, key=key, module=module, name=name)


def _missing_class(data: bytes) -> Tuple[Optional[str], Optional[str]]:
    """The first class that the pickle names and this process does not have."""
    import importlib
    import pickletools

    strings: List[str] = []
    memo: List[Optional[str]] = []
    last: Optional[str] = None  # what the opcode before this one left on the stack, if it was a str
    try:
        for opcode, argument, _ in pickletools.genops(bytes(data)):
            if opcode.name == "MEMOIZE":
                memo.append(last)
                continue
            if opcode.name in ("BINGET", "LONG_BINGET"):
                last = memo[argument]  # type: ignore[index]
            elif opcode.name == "STACK_GLOBAL":
                last = None
            else:
                last = argument if isinstance(argument, str) else None
            if last is not None:
                strings.append(last)
            if opcode.name != "STACK_GLOBAL" or len(strings) < 2:
                continue
            module, name = strings[-2:]
            try:
                found: Any = importlib.import_module(module)
                for part in name.split("."):
                    found = getattr(found, part)
            except (ImportError, AttributeError):
                return module, name
    except Exception:  # noqa: BLE001 - a damaged pickle: the caller reports the first error
        return None, None
    return None, None


_SHARED_TYPES = frozenset((str, bytes, int, float, bool, complex, type(None), type(Ellipsis), range))


def is_immutable(value: Any) -> bool:
    """Whether `value` may be handed to several callers: nothing in it can change.

    >>> is_immutable((1, "a", frozenset((2,)))), is_immutable((1, []))
    (True, False)
    """
    kind = type(value)
    if kind in _SHARED_TYPES:
        return True
    return kind in (tuple, frozenset) and all(map(is_immutable, value))


def flags_of(persist: Optional[bool]) -> int:
    """The record's flags that `persist` asks for."""
    if persist is None:
        return KEEP
    if type(persist) is not bool:
        raise ArgumentError(f"`persist` is True, False or None, not {persist!r}", name="persist", value=persist)
    return FLAG_PERSIST if persist else 0
