"""Where the shared region is: where the running service says, else where its settings would have it."""

import os

import ipcdatastore

SERVICE = "service.ipcdatastore"
MODULE = "script.module.ipc"
DEFAULT_NAME = "kodi"
PROPERTY = "ipcdatastore.region"  # of Kodi's home window, while the service runs: name, directory, directory of images
HOME = 10000
MOVING = "moving"
PATIENCE = 10.0  # seconds that a move may take; longer, and it was interrupted
LOOK = 0.02

MEMORY_DIRECTORIES = ("/dev/shm", "/run/shm")
PROFILE = "special://profile/addon_data/" + SERVICE


class Place:
    """One region: its name, its directory (None: where `ipcdatastore` puts regions), and where its images go."""

    __slots__ = ("directory", "images", "name")

    def __init__(self, name, directory, images):
        self.name = name
        self.directory = directory
        self.images = images

    def __eq__(self, other):
        if not isinstance(other, Place):  # None: there is none
            return NotImplemented
        return (self.name, self.directory, self.images) == (other.name, other.directory, other.images)

    __hash__ = None

    def __repr__(self):
        return f"{self.name!r} in {self.directory or 'the default directory'}"


def current():
    """The place of the region to use."""
    return published() or configured()


def published():
    """The place that the running service published; None if none runs.

    While the region is being moved this waits: a second one, made where it was or will be, would be lost.
    """
    window = _home_window()
    text = window.getProperty(PROPERTY)
    if text == MOVING:
        text = _wait_for_move(window)
    if not text:
        return None
    name, directory, images = text.split("\n")
    return Place(name, directory, images)


def _wait_for_move(window):
    import time

    import xbmc

    monitor, until = xbmc.Monitor(), time.monotonic() + PATIENCE
    while time.monotonic() < until and not monitor.waitForAbort(LOOK):
        text = window.getProperty(PROPERTY)
        if text != MOVING:
            return text
    return ""


def _home_window():
    import xbmcgui  # the API of old is used outside of Kodi too

    return xbmcgui.Window(HOME)


def publish(place):
    """Tell every script of this Kodi; None: the service has ended; `MOVING`: wait for the next."""
    window = _home_window()
    if place is None:
        window.clearProperty(PROPERTY)
    elif place is MOVING:
        window.setProperty(PROPERTY, MOVING)
    else:
        window.setProperty(PROPERTY, "\n".join((place.name, place.directory, place.images)))


def configured(settings=None):
    """The place that the service's settings say; the default where that addon is missing."""
    if settings is None:
        import xbmcaddon

        try:
            settings = xbmcaddon.Addon(SERVICE).getSetting
        except RuntimeError:  # not installed, or disabled
            settings = {}.get
    name = settings("data_name") or DEFAULT_NAME
    return Place(name, directory_for(settings("place") or "auto"), translate(f"{PROFILE}/images/{name}"))


def directory_for(kind):
    """The directory of regions for the setting ``place``: ``auto``, ``memory`` or ``data``."""
    if kind == "data":
        return translate(PROFILE + "/region")
    if os.environ.get("IPCDATASTORE_DIR") or has_memory():
        return None
    if kind == "memory":
        raise ipcdatastore.PlaceError(
            f"this device has no memory-backed directory ({' or '.join(MEMORY_DIRECTORIES)}) that may be written: "
            'choose "automatic" in the settings',
            path=MEMORY_DIRECTORIES[0],
        )
    return translate("special://temp/ipcdatastore")


def of_objects():
    """The directory of served objects: one for all settings, since calls are gone with who waits for their results."""
    return directory_for("auto")


def has_memory():
    """Whether the library's own default is kept in memory, or by a system that has no better place."""
    if os.name == "nt" or not os.path.isdir("/proc"):  # Windows and macOS: in files, which they cache
        return True
    return any(os.access(base, os.W_OK | os.X_OK) for base in MEMORY_DIRECTORIES)


def translate(path):
    """A path of Kodi's as one of the system's."""
    import xbmcvfs

    return os.path.abspath(xbmcvfs.translatePath(path))
