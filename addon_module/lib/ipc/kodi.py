"""What the API of 2014 asks of Kodi, and what stands in for it where there is none: it works in any program."""

import os

import ipcdatastore

from . import places
from .address import digest, escaped

DEFAULT_ADDRESS = ("kodi-IPC", "localhost", 9099)
DEFAULT_AUTHOR = places.SERVICE  # of values that come from no addon
_LOWER = r"[^a-z0-9_.-]"  # `A` and `a` are one file on some systems


def is_here():
    """Whether this is a script of Kodi."""
    try:
        import xbmcaddon  # noqa: F401
    except ImportError:
        return False
    return True


def directory():
    """Where served objects are, and the regions that belong to one."""
    if not is_here():
        return None
    import ipc

    ipc.end_waits_with_kodi()
    return places.of_objects()


def address_of(addon_id, name, host, port):
    """(name, host, port) as the settings of that addon say; the given ones where it has none."""
    if addon_id and is_here():
        import xbmcaddon

        try:
            setting = xbmcaddon.Addon(addon_id).getSetting
            return setting("data_name"), setting("host"), int(setting("port"))
        except (RuntimeError, ValueError):  # it is not installed, or disabled; or it has no such setting
            return name, host, port
    return name, host, port


def caller():
    """The id of the addon that this script belongs to, also if Kodi does not know it."""
    if not is_here():
        return DEFAULT_AUTHOR
    import ipc

    try:
        return ipc.caller()
    except ipcdatastore.ArgumentError:  # RunScript with a path
        return _addon_around(_script()) or DEFAULT_AUTHOR


def _script():
    import sys

    path = getattr(sys.modules.get("__main__"), "__file__", None) or (sys.argv[0] if sys.argv else "")
    return os.path.abspath(path) if path else ""


def _addon_around(path):
    """The id in the nearest addon.xml above the file `path`."""
    from xml.etree import ElementTree

    folder = os.path.dirname(path)
    while folder != os.path.dirname(folder):
        try:
            return ElementTree.parse(os.path.join(folder, "addon.xml")).getroot().get("id")
        except (OSError, ElementTree.ParseError):
            folder = os.path.dirname(folder)
    return None


def pause(seconds):
    """Wait before another try, also until the service does not move its region any more."""
    from ipcdatastore import platform

    if is_here():
        places.published()
    platform.pause(seconds)


def saved_path(author):
    """The file with what was saved of one author; another one for each."""
    if is_here():
        base = os.path.join(places.translate("special://masterprofile/addon_data/" + places.SERVICE), "saved")
    else:
        from ipcdatastore import platform

        # No region can have this name, nor can its images be there.
        base = os.path.join(os.environ.get("IPCDATASTORE_IMAGES") or platform.data_directory(), ".saved")
    import re

    name = escaped(author, re.compile(_LOWER))
    if len(name) > 150:
        name = f"{name[:50]}%%{digest(author)}"
    return os.path.join(os.path.abspath(base), f"{name}.backup")


def log(line, *, problem=False):
    """Into Kodi's log; into Python's where there is no Kodi."""
    if is_here():
        import xbmc

        line = line.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair ends Kodi
        xbmc.log(f"[{places.MODULE}] {line}", xbmc.LOGWARNING if problem else xbmc.LOGINFO)
        return
    import logging

    logging.getLogger("ipc").log(logging.WARNING if problem else logging.INFO, "%s", line)
