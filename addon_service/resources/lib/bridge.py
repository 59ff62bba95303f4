"""The skin bridge: chosen values as properties of Kodi's home window, where a skin shows them without any Python.

``$INFO[Window(Home).Property(ipc.AUTHOR.NAME)]``. What the author ``skin`` has is shown by default, and whatever else
the patterns of the settings say. Events are taken from the store's log at each tick; where some were lost, or there is
no log yet, everything is looked at again.

Each property that is written stops Kodi's picture for a moment, so a tick writes for a few milliseconds only, and the
rest in the next ones: what is behind is always the newest value, not each that there was.
"""

import time
from fnmatch import fnmatchcase
from itertools import islice

import xbmcgui
from ipc import places

import ipcdatastore

from .clean import clean

PREFIX = "ipc."
BUDGET = 0.003  # seconds of a tick
SHARE = 5  # everything is looked at for a fifth of the time at most
ITEMS = 1000  # of a list or dict; nobody shows more
LONGEST = 100_000  # characters of a property
DEEPEST = 4  # lists in lists


class Bridge:
    """What the skin is shown, and the watch that it comes from."""

    def __init__(self):
        self._watch = self._store = None
        self._patterns = ()
        self._properties = Properties()
        self._waiting = {}  # keys to be shown, in order
        self._lost = False
        self._may_list = 0.0  # when everything may be looked at again

    def tick(self, store, wishes):
        """Show what has changed since the last time, or a part of it. Whether there was, or is, something to show."""
        patterns = wishes.skin_patterns if wishes.skin_bridge else ()
        if store is not self._store or patterns != self._patterns:
            self.close()
            self._patterns = patterns
            if not patterns:
                return False
            self._store = store
            self._watch = store.watch()
            self._lost = True
        if self._watch is None:
            return False
        self._listen()
        busy = bool(self._waiting) or self._lost
        until = time.monotonic() + BUDGET
        while self._waiting and time.monotonic() < until:
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._properties.put(key, self._wanted(key))
        return busy

    def close(self):
        """Show nothing any more."""
        if self._watch is not None:
            self._watch.close()
        self._properties.clear()
        self._waiting = {}
        self._watch = self._store = None
        self._patterns = ()
        self._may_list = 0.0

    def _listen(self):
        for event in self._watch.poll():
            if event.key is None:  # cleared, or events were lost
                self._lost = True
            elif self._is_wanted(event.key):
                self._waiting[event.key] = None
        begun = time.monotonic()
        if self._lost and begun >= self._may_list:
            self._lost = False
            self._waiting.update(dict.fromkeys(self._properties.keys()))
            self._waiting.update((key, None) for key in self._store if self._is_wanted(key))
            ended = time.monotonic()
            self._may_list = ended + SHARE * (ended - begun)

    def _is_wanted(self, key):
        name = path_of(key)
        return name is not None and any(fnmatchcase(name, pattern) for pattern in self._patterns)

    def _wanted(self, key):
        """The properties that show the value of `key`."""
        # Values are anybody's. Their classes may be missing here, or raise, or end the program when they are made.
        try:
            return properties(name_of(key), self._store.get(key))
        except ipcdatastore.DecodeError:
            return {}
        except ipcdatastore.DatastoreError:
            raise
        except (Exception, SystemExit):  # noqa: BLE001 - as said
            return {}


class Properties:
    """The properties of the home window that are ours.

    To Kodi, names that differ in case only are one name. So keys may have claims on the same property: the newest is
    shown, and the one before it when that one is gone.
    """

    def __init__(self):
        self._claims = {}  # property -> key -> text
        self._held = {}  # key -> its properties

    def keys(self):
        """Those that are shown."""
        return list(self._held)

    def put(self, key, wanted):
        """Have the properties of `key` be those of `wanted`, and no others."""
        held = self._held.pop(key, ())
        wanted = {name.lower(): text for name, text in wanted.items()}
        for name in held:
            if name not in wanted:
                self._take(name, key)
        for name, text in wanted.items():
            claims = self._claims.setdefault(name, {})
            shown = next(reversed(claims.values())) if claims else None
            claims.pop(key, None)
            claims[key] = text
            if text != shown:
                xbmcgui.Window(places.HOME).setProperty(name, text)
        if wanted:
            self._held[key] = tuple(wanted)

    def clear(self):
        """None is shown any more."""
        for key in self.keys():
            self.put(key, {})

    def _take(self, name, key):
        claims = self._claims[name]
        newest = next(reversed(claims))
        del claims[key]
        if not claims:
            del self._claims[name]
            xbmcgui.Window(places.HOME).clearProperty(name)
        elif newest == key:
            xbmcgui.Window(places.HOME).setProperty(name, next(reversed(claims.values())))


def path_of(key):
    """``author/name``, which the patterns are about; None for a key that no addon can have made with `ipc.open`."""
    if type(key) is tuple and len(key) == 2 and type(key[1]) in (str, int):
        return f"{key[0]}/{key[1]}"
    return None


def name_of(key):
    """The property of a key."""
    return f"{PREFIX}{key[0]}.{key[1]}"


def properties(name, value):
    """The properties that show `value`: one, or for a dict one for each of its items."""
    if isinstance(value, dict):
        found = {f"{name}.{key}": text_of(item) for key, item in islice(value.items(), ITEMS)}
    else:
        found = {name: text_of(value)}
    return {clean(key): clean(text[:LONGEST]) for key, text in found.items() if text}


def text_of(value, depth=0):
    """As a skin compares it: ``true`` and ``false``, nothing for None, lists as Kodi joins its own."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return " / ".join(text_of(item, depth + 1) for item in islice(value, ITEMS)) if depth < DEEPEST else "…"
    return str(value)
