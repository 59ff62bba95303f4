"""The addon's own words, in the language of Kodi."""

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
