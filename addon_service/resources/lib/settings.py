"""The settings of this addon as Python knows them. Kodi hands out text."""

from collections import namedtuple

import xbmcaddon
from ipc import kodi, places

import ipcdatastore

MIB = 1 << 20

Wishes = namedtuple(
    "Wishes",
    "start place problem address max_size persist flush_interval skin_bridge skin_patterns serve_video show_data",
)
# A change of one of these means another region, or the same one opened anew; the rest is looked at all the time.
OF_THE_REGION = ("start", "place", "max_size", "persist", "flush_interval")


def read():
    """The settings as they are now: a new `Addon` does not remember what they were."""
    setting = xbmcaddon.Addon(places.SERVICE).getSetting
    try:
        place, problem = places.configured(setting), None
    except ipcdatastore.PlaceError as error:
        place, problem = None, error
    return Wishes(
        start=_flag(setting("startserver")),
        place=place,
        problem=problem,
        address=kodi.address_of(places.SERVICE, *kodi.DEFAULT_ADDRESS),
        max_size=_number(setting("maxsize"), 64) * MIB,
        persist=_flag(setting("persist")),
        flush_interval=float(_number(setting("flush_interval"), 60)),
        skin_bridge=_flag(setting("skinbridge")),
        skin_patterns=tuple(setting("skinpattern").split()),
        serve_video=_flag(setting("servevideo")),
        show_data=_flag(setting("showdata")),
    )


def differences(old, new):
    """What was changed, with its new value."""
    return {name: getattr(new, name) for name in Wishes._fields if getattr(old, name) != getattr(new, name)}


def _flag(text):
    return text == "true"


def _number(text, default):
    try:
        return int(text)
    except ValueError:  # settings of an older version lack it
        return default
