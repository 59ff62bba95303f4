"""The store that all addons of this Kodi share.

::

    import ipc

    with ipc.open() as store:               # this addon's own names; other addons: ipc.open("their.addon.id")
        store["progress"] = 40
        store.get("progress")

Objects are shared as well, ``ipc.serve_object("player", obj)`` here and ``ipc.connect("player").method()`` there.
There is nothing to start and no thread behind it: the store is a region of shared memory, which the service
``service.ipcdatastore`` keeps on the disk, if it is told to, and whose place and name are that service's settings.
Programs outside of Kodi open the same region with ``ipcdatastore.open``.
"""

import ipcdatastore

from . import places

__all__ = ["caller", "connect", "is_running", "open", "open_all", "serve_object"]


def open(author=None, *, timeout=10.0):
    """A handle on the names of `author`: an addon's id; None is the addon that calls.

    It is an :class:`ipcdatastore.Datastore`; close it, or use it in a ``with`` statement. `timeout` is how many seconds
    a write may wait for its turn. Every wait ends with ``ipcdatastore.WaitEndedError`` when Kodi wants to quit.
    """
    name = _checked(author) if author is not None else caller()
    return open_all(timeout=timeout).namespace(name)


def open_all(*, timeout=10.0):
    """A handle on everything: its keys are ``(author, name)``."""
    end_waits_with_kodi()
    return _open(places.current(), timeout)


def is_running():
    """Whether the service of this Kodi looks after the store. It can be used all the same if not."""
    return places.published() is not None


def serve_object(name, obj, **options):
    """:func:`ipcdatastore.serve_object` where every script of this Kodi, and every program of its user, finds it.

    One that runs in a thread of its own (``.start()``) ends when Kodi wants the script to end.
    """
    end_waits_with_kodi()
    return ipcdatastore.serve_object(name, obj, directory=places.of_objects(), **options)


def connect(name, **options):
    """:func:`ipcdatastore.connect` to such an object. A call that waits when Kodi wants the script to end, ends."""
    end_waits_with_kodi()
    return ipcdatastore.connect(name, directory=places.of_objects(), **options)


def _open(place, timeout):
    try:
        return ipcdatastore.open(place.name, directory=place.directory, mode="w", timeout=timeout)
    except ipcdatastore.RegionNotFoundError:
        # Where images are is said only now: a region that is there knows better, it may be another Kodi's.
        return ipcdatastore.open(
            place.name, directory=place.directory, snapshot_directory=place.images, timeout=timeout
        )


def _checked(author):
    if type(author) is not str or not author:
        raise ipcdatastore.ArgumentError(
            f"an author is a str that is not empty, the id of an addon say, not {author!r}", name="author", value=author
        )
    return author


def caller():
    """The id of the addon that calls. ``ipcdatastore.ArgumentError`` for a script that belongs to none."""
    import xbmcaddon

    try:
        found = xbmcaddon.Addon().getAddonInfo("id")
    except RuntimeError:  # a script that belongs to no addon
        found = ""
    if not found:
        raise ipcdatastore.ArgumentError(
            'Kodi does not say which addon this script belongs to: name one, as in ipc.open("script.mine")',
            name="author",
            value=None,
        )
    return found


class KodiEnds:
    """What is asked before each pause of a wait: a script that Kodi has to wait for keeps Kodi from quitting.

    `grace` is for how many seconds after that waits go on: a service has something to finish.
    """

    def __init__(self, grace=0.0, monitor=None):
        import xbmc

        self.kodi = xbmc
        self.monitor = monitor or xbmc.Monitor()  # it only learns of what comes after it
        self.grace = grace
        self.until = None

    def __call__(self):
        # The flag is of old: Kodi sets it when the script is over, for threads of it that are not.
        if not (self.monitor.abortRequested() or getattr(self.kodi, "abortRequested", False)):
            return
        import time

        now = time.monotonic()
        if self.until is None:
            self.until = now + self.grace
        if now >= self.until:
            raise ipcdatastore.WaitEndedError("Kodi wants this script to end, so the wait was given up")


_ends = None


def end_waits_with_kodi(grace=0.0, monitor=None):
    """Have every wait in this script end soon after Kodi wants the script to end; `monitor` is the script's own."""
    global _ends  # noqa: PLW0603 - of the script, like the hook that it is for
    if _ends is None:
        _ends = KodiEnds(grace, monitor)
        ipcdatastore.on_wait(_ends)
