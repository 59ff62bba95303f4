"""The addon's own words, in the language of Kodi."""

import xbmcaddon
from ipc import places


def text(number, *values):
    """The text with this number, with `values` in place of its ``{0}``, ``{1}``, …"""
    found = xbmcaddon.Addon(places.SERVICE).getLocalizedString(number)
    return found.format(*values) if values else found


NAME = 32000
