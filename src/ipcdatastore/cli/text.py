"""Keys and values as text and JSON, and back.

JSON has no bytes, tuples as keys, sets or objects. What it lacks is written as an object with one marker::

    {"$bytes": "AAEC"}            bytes, in base64
    {"$float": "nan"}             a float that is no number
    {"$items": [[key, value]]}    a dict whose keys are not all str, or that looks like one of these
    {"$repr": "..."}              anything else, for people to read

All but ``$repr`` can be given back to ``set --type json``. A tuple is written as a list.
"""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any, Callable, Dict

if TYPE_CHECKING:
    from ipcdatastore import Entry
    from ipcdatastore.codec import Key

LONGEST_INT = 14_000  # bits
MOST_SHOWN = 60  # characters of a value in a table
MARKERS = ("$bytes", "$float", "$items", "$repr")


# --- to JSON ---------------------------------------------------------------------------------------------
def to_json(value: Any) -> Any:
    """`value` as something that :func:`json.dumps` can write.

    >>> to_json({1: b"a"}), to_json((1, None, "a")), to_json({"a": float("inf")})
    ({'$items': [[1, {'$bytes': 'YQ=='}]]}, [1, None, 'a'], {'a': {'$float': 'inf'}})
    """
    try:
        return _to_json(value)
    except RecursionError:  # it holds itself
        return {"$repr": repr_of(value)}


def _to_json(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:  # Python refuses to write a longer one in decimal
        return value if value.bit_length() <= LONGEST_INT else {"$repr": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if kind in (bytes, bytearray):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if kind in (list, tuple):
        return [_to_json(item) for item in value]
    if kind is dict:
        if all(type(key) is str for key in value) and not (len(value) == 1 and next(iter(value)) in MARKERS):
            return {key: _to_json(item) for key, item in value.items()}
        return {"$items": [[_to_json(key), _to_json(item)] for key, item in value.items()]}
    return {"$repr": repr_of(value)}


def dumps(value: Any) -> str:
    """`value` as one line of JSON."""
    return one_line(to_json(value))


def one_line(document: Any) -> str:
    """What :func:`to_json` gave, on one line. Text that UTF-8 cannot hold is escaped."""
    line = json.dumps(document, ensure_ascii=False)
    return line if is_utf8(line) else json.dumps(document)


def entry_facts(entry: Entry) -> Dict[str, Any]:
    """All that is known about a key, for JSON. Times are seconds since the epoch, sizes bytes."""
    return {
        "key": to_json(entry.key),
        "value": to_json(entry.value),
        "type": type(entry.value).__name__,
        "version": entry.version,
        "size": entry.size,
        "written_at": entry.written_at,
        "expires_at": entry.expires_at,
        "persistent": entry.persistent,
    }


def repr_of(value: Any) -> str:
    """``repr(value)``, whatever the object makes of that."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


def utf8(text: str) -> bytes:
    r"""`text` as bytes; a file name comes out as the bytes that it was made of.

    >>> utf8("a\udcff")
    b'a\xff'
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def is_utf8(text: str) -> bool:
    """Whether `text` can be written as UTF-8; a file name with foreign bytes cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# --- from JSON -------------------------------------------------------------------------------------------
def from_json(value: Any) -> Any:
    """The value that :func:`to_json` wrote.

    >>> from_json(to_json({1: [b"x"], "n": {"$float": "mine"}}))
    {1: [b'x'], 'n': {'$float': 'mine'}}
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((marker, content),) = value.items()
        if marker == "$bytes":
            return base64_bytes(content)
        if marker == "$float":
            return float(content)
        if marker == "$items":
            return {_hashable(from_json(key)): from_json(item) for key, item in content}
    return {key: from_json(item) for key, item in value.items()}


def _hashable(key: Any) -> Any:
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def base64_bytes(text: str) -> bytes:
    """Bytes from base64, strictly."""
    return base64.b64decode(text, validate=True)


def _key_from_json(text: str) -> Key:
    key: Key = _hashable(from_json(json.loads(text)))
    return key


def _nothing(text: str) -> None:
    if text:
        raise ValueError("there is no value with --type none")


KEY_READERS: Dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "bytes": base64_bytes,
    "json": _key_from_json,
}
VALUE_READERS: Dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "json": lambda text: from_json(json.loads(text)),
    "bytes": base64_bytes,
    "none": _nothing,
}


# --- to one line of text ---------------------------------------------------------------------------------
def key_line(key: Key) -> str:
    """A key on one line: text as it is but for control characters, numbers as digits, the rest as JSON.

    >>> key_line("a b"), key_line(7), key_line(("skin", 7))
    ('a b', '7', '["skin", 7]')
    """
    return printable(key) if type(key) is str else dumps(key)


def value_line(value: Any) -> str:
    """A value on one line: text as it is, bytes in base64, the rest as JSON, and as ``repr`` what JSON cannot say."""
    if type(value) is str:
        return printable(value)
    if type(value) is bytes:
        return base64.b64encode(value).decode("ascii")
    if type(value) in (bool, int, float, list, tuple, dict) or value is None:
        return dumps(value)
    return printable(repr_of(value))


def shorten(line: str) -> str:
    """As much of a value as a table has room for."""
    return line if len(line) <= MOST_SHOWN else line[: MOST_SHOWN - 1] + "…"


def printable(text: str, *, exact: bool = True) -> str:
    r"""`text` with everything escaped that would move a cursor, end a line, or not be written at all.

    `exact` escapes the backslash too, so that nothing else looks like an escape.

    >>> print(printable("a\tb\x1b[2J\udcff\\"))
    a\tb\x1b[2J\udcff\\
    """
    if text.isprintable() and not (exact and "\\" in text):
        return text
    return "".join(
        one if one.isprintable() and not (exact and one == "\\") else one.encode("unicode_escape").decode("ascii")
        for one in text
    )
