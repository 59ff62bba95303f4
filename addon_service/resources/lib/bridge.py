"""The skin bridge: chosen values as properties of Kodi's home window, where a skin shows them without any Python.

``$INFO[Window(Home).Property(ipc.AUTHOR.NAME)]``. What the author ``skin`` has is shown by default, and whatever else
the patterns of the settings say. Events are taken from the store's log at each tick; where some were lost, or there is
no log yet, everything is looked at again.
"""

from fnmatch import fnmatchcase

import xbmcgui
from ipc import places

import ipcdatastore

PREFIX = "ipc."


class Bridge:
    """What the skin is shown, and the watch that it comes from."""

    def __init__(self):
        self._watch = None
        self._store = None
        self._patterns = ()
        self._shown = {}  # key -> {property: text}

    def tick(self, store, wishes):
        """Show what has changed since the last time. Whether there was news."""
        patterns = wishes.skin_patterns if wishes.skin_bridge else ()
        if store is not self._store or patterns != self._patterns:
            self.close()
            self._patterns = patterns
            if patterns:
                self._store = store
                self._watch = store.watch()
                self._show_all()
            return False
        if self._watch is None:
            return False
        events = self._watch.poll()
        if any(event.key is None for event in events):  # cleared, or events were lost
            self._show_all()
            return True
        for key in {event.key: None for event in events}:
            self._show(key)
        return bool(events)

    def close(self):
        """Show nothing any more."""
        if self._watch is not None:
            self._watch.close()
        for key in list(self._shown):
            self._put(key, {})
        self._watch = self._store = None
        self._patterns = ()

    def _show_all(self):
        there = [key for key in self._store if self._is_wanted(key)]
        for key in set(self._shown).difference(there):
            self._put(key, {})
        for key in there:
            self._show(key)

    def _show(self, key):
        if not self._is_wanted(key):
            return
        try:
            value = self._store.get(key)
        except ipcdatastore.DecodeError:  # an object of another addon's class: nothing that a skin could show
            value = None
        self._put(key, properties(name_of(key), value))

    def _is_wanted(self, key):
        name = path_of(key)
        return name is not None and any(fnmatchcase(name, pattern) for pattern in self._patterns)

    def _put(self, key, wanted):
        """Have the properties of `key` be those of `wanted`, and no others."""
        window = xbmcgui.Window(places.HOME)
        shown = self._shown.pop(key, {})
        for name in shown:
            if name not in wanted:
                window.clearProperty(name)
        for name, text in wanted.items():
            if shown.get(name) != text:
                window.setProperty(name, text)
        if wanted:
            self._shown[key] = wanted


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
        found = {f"{name}.{key}": text_of(item) for key, item in value.items()}
    else:
        found = {name: text_of(value)}
    return {key: text for key, text in found.items() if text}


def text_of(value):
    """As a skin compares it: ``true`` and ``false``, nothing for None, lists as Kodi joins its own."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return " / ".join(map(text_of, value))
    return str(value)
