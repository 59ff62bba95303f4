"""Keys, values and figures as people read them; nothing here knows Kodi or the store.

Values are anybody's: they may be endless, refer to themselves, or raise when asked for their ``repr``. So whatever is
made of one here is bounded before it is made, not cut afterwards.
"""

import pprint
import re
from itertools import islice

from .clean import clean

SECOND, MINUTE, HOUR, DAY = range(4)
_UNITS = ((DAY, 86400, 2), (HOUR, 3600, 1), (MINUTE, 60, 1))  # unit, its seconds, from how many of them on it is used

PREVIEW = 160  # characters
PRETTY = 6000  # characters: Kodi lays out all of a text at once
DEPTH = 8  # of containers in containers; ends those that hold themselves, too
ITEMS = 400  # of all containers together
MORE = "…"

# What Kodi takes for its own in a label: formatting, and what is replaced. Between its first character and the rest
# goes a joiner without any width, so that it is shown as it is.
_MARKUP = re.compile(
    r"\[(?=/?(?:B|I|LIGHT|UPPERCASE|LOWERCASE|CAPITALIZE|CR|COLOR|TABS)\b)|\$(?=[A-Z]+\[)|\$(?=COMMA|LBRACKET|RBRACKET)"
)
_JOINER = "\u200c"


def size(count):
    """Bytes."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def age(seconds):
    """(how many, of which unit). A clock that was set back makes nothing younger than new."""
    for unit, length, least in _UNITS:
        if seconds >= least * length:
            return int(seconds // length), unit
    return max(int(seconds), 0), SECOND


def lasts(seconds):
    """For how many seconds more something so old is of the same :func:`age`."""
    for _, length, least in _UNITS:
        if seconds >= least * length:
            return length - seconds % length
    return max(1 - seconds % 1, 0.01) if seconds >= 0 else 1 - seconds


def word(part):
    """A part of a key in one line: a str without quotation marks, if there is nothing in it that cannot be seen."""
    if type(part) is str:
        return part if part and part.isprintable() else repr(part)
    return repr(part)


def plain(text):
    """`text` such that Kodi shows it as it is."""
    return _MARKUP.sub(lambda found: found.group() + _JOINER, clean(text))


def type_of(value):
    """The name of a value's class, with its module unless it is Python's own."""
    if value is None:
        return "None"
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def preview(value):
    """The beginning of a value, in one line."""
    return _cut(" ".join(_safely(_bounded(value, _Room(20, PREVIEW), 0)).split()), PREVIEW)


def pretty(value):
    """A value over several lines, and its beginning only if it is too long to be read."""
    if type(value) is str and "\n" in value and len(value) <= PRETTY:
        return "\n".join(line if line.isprintable() else repr(line)[1:-1] for line in value.split("\n"))
    bounded = _bounded(value, _Room(ITEMS, PRETTY), 0)
    return _cut(pprint.pformat(bounded, width=88, compact=True, sort_dicts=False), 2 * PRETTY)


def _cut(text, length):
    return text if len(text) <= length else text[: length - 1] + MORE


def _safely(value):
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - anybody's __repr__ may raise anything
        return f"<{type_of(value)}: {type(error).__name__}>"


class _Shown:
    """Something of which this is all that is shown."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


class _Room:
    """What is left for the parts of one value."""

    def __init__(self, items, characters):
        self.items = items
        self.characters = characters

    def text(self, value):
        """A str or bytes, or its beginning."""
        most = max(self.characters, 20)
        self.characters -= min(len(value), most)
        return value if len(value) <= most else _Shown(repr(value[:most]) + MORE)


def _bounded(value, room, depth):
    """A copy of `value` with no more in it than there is room for."""
    kind = type(value)
    room.items -= 1
    if kind in (str, bytes):
        return room.text(value)
    if kind is int:  # a long one takes the square of its length to be written in tens, and newer Pythons refuse it
        return value if value.bit_length() < 1000 else _Shown(_cut(hex(value), 200))
    if value is None or kind in (bool, float, complex):
        return value
    if kind not in (dict, list, tuple, set, frozenset):
        return _Shown(_cut(_safely(value), max(room.characters, 20)))
    if depth == DEPTH and value:
        return _Shown(MORE)
    found, left = [], len(value)
    for item in value.items() if kind is dict else islice(value, left):
        if room.items <= 0 or room.characters <= 0:
            break
        left -= 1
        if kind is dict:
            found.append((_bounded(item[0], room, depth + 1), _bounded(item[1], room, depth + 1)))
        else:
            found.append(_bounded(item, room, depth + 1))
    if left:
        rest = _Shown(f"{MORE} +{left}")
        found.append((rest, _Shown(MORE)) if kind is dict else rest)
    return kind(found)
