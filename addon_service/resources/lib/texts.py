"""The addon's own words, in the language of Kodi; and what any text must be for Kodi to take it."""

import xbmcaddon
from ipc import places

NAME = 32000


def text(number, *values):
    """The text with this number, with `values` in place of its ``{0}``, ``{1}``, …"""
    try:
        found = xbmcaddon.Addon(places.SERVICE).getLocalizedString(number)
    except RuntimeError:  # the addon was disabled just now
        return " ".join(map(str, values))
    return found.format(*values) if values else found


def clean(line):
    """`line` such that Kodi survives it: half a surrogate pair, which names of files may have, ends Kodi."""
    return line.encode("utf-8", "replace").decode("utf-8")
