"""The two lists of the browser's window, kept like the listing with as few changes as it takes: what is not touched
neither flickers nor loses its place.

A name's row is a list item whose label is the name and whose second label its version; the properties are ``type``,
``size``, ``age``, ``preview``, ``kept`` (``yes``; ``all``: because everything is; ``?``: not known; empty), and
``more`` for the last row, which only says how many names are not listed. An author's label is the author, the second
label how many names he has, and the property ``shown`` is ``yes`` while those are listed.
"""

import xbmc
import xbmcgui

from . import listing, words
from .details import AGES, OBJECT, UNREADABLE
from .texts import text

MORE = 32316
SEVERAL = 20  # rows: if more than that go, all go
NAMES_IN_SIGHT, AUTHORS_IN_SIGHT = 12, 13  # so high are the lists of the window


class Slots:
    """The items of a list control, which are told what they say when that changes.

    The control can be told to show other items as a whole only, and then is at the first one. So an item that is there
    stays; a row that comes moves the words of those behind it, and one item more is needed at the end. What the control
    is told waits in a queue until the next picture, then all of it is done: so `show` tells it all, without delay.

    Every property of an item that is set waits until Kodi has drawn its picture. So none is set to nothing.
    """

    def __init__(self, control, in_sight):
        self._control = control
        self._in_sight = in_sight
        self._items = []
        self._said = []  # (label, second label, properties) of each
        self._known = 0  # how many of the items the control will have, when it was told of what is `_due`
        self._due = [control.reset]

    def __len__(self):
        return len(self._items)

    def put(self, at, label, second="", **properties):
        """The item there, or one more at the end, says that, and has no other properties."""
        properties = {name: value for name, value in properties.items() if value}
        said = (label, second, properties)
        if at == len(self._items):
            item = xbmcgui.ListItem(label, second)
            _set(item, properties)
            self._items.append(item)
            self._said.append(said)
        elif self._said[at] != said:
            old, self._said[at] = self._said[at], said
            item = self._items[at]
            if old[0] != label:
                item.setLabel(label)
            if old[1] != second:
                item.setLabel2(second)
            changed = dict.fromkeys(old[2], "")
            changed.update(properties)
            _set(item, {name: value for name, value in changed.items() if old[2].get(name) != value})

    def remove(self, at):
        """The item there goes. Not after one was added, before the next `show`."""
        del self._items[at], self._said[at]
        self._known -= 1
        self._due.append(lambda: self._control.removeItem(at))

    def clear(self):
        """All go."""
        self._items, self._said, self._known = [], [], 0
        self._due = [self._control.reset]

    def show(self, at, top):
        """Show them, and be at the position `at`, with the one at `top` the first in sight."""
        due, self._due = self._due, []
        new = self._items[self._known :]
        self._known = len(self._items)
        if new:
            due.append(lambda: self._control.addItems(new))
        elsewhere = at != self.position()
        for step in due:
            step()
        if due and top:
            # A control scrolls no further than it must for the one that it is at.
            self._control.selectItem(min(top + self._in_sight, len(self._items)) - 1)
        if due or elsewhere:
            self._control.selectItem(at)

    def position(self):
        """Where the user is."""
        return max(self._control.getSelectedPosition(), 0)

    def top(self):
        """The first item in sight."""
        above = xbmc.getInfoLabel(f"Container({self._control.getId()}).Position")
        return max(self.position() - int(above), 0) if above.isdigit() else 0


def _set(item, properties):
    if properties:
        item.setProperties(properties)


class Names:
    """The list of names."""

    def __init__(self, control):
        self._slots = Slots(control, NAMES_IN_SIGHT)
        self._here = (None, None, 0)  # what is shown: author, names, how many more
        self._keys = []  # as listed, the row about more not among them
        self._at = {}  # key -> position
        self._words = {number: text(number) for number in (*AGES.values(), MORE, OBJECT, UNREADABLE)}

    def __len__(self):
        return len(self._keys)

    def position(self):
        """Where the list is."""
        return self._slots.position()

    def current(self):
        """The key that the list is at."""
        at = self._slots.position()
        return self._keys[at] if at < len(self._keys) else None

    def show(self, found, changed, now, *, everything_kept):
        """Be like the listing `found`, in which rows of the keys `changed` may be others."""
        here = (found.author, found.names, found.more)
        if here == self._here:
            for key in changed:
                if key in self._at:
                    self._put(self._at[key], found, key, now, everything_kept)
            return
        same = found.author == self._here[0]
        key, at, top = self.current(), self._slots.position(), self._slots.top()
        if same:
            self._take_out(set(found.names))
        else:
            self._slots.clear()
        self._here, self._keys = here, found.names
        self._at = {}
        for position, name in enumerate(found.names):
            self._at[name] = position
            self._put(position, found, name, now, everything_kept)
        self._end(found.more)
        # The same name, at the same height; where that name is gone, the one that took its place.
        wanted = min(self._at.get(key, at), max(len(self._keys) - 1, 0)) if same else 0
        self._slots.show(wanted, max(top + wanted - at, 0))

    def _take_out(self, there):
        """The items of names that are not there any more go."""
        gone = [position for position, key in enumerate(self._keys) if key not in there]
        if len(gone) > SEVERAL:
            self._slots.clear()
        else:
            for position in reversed(gone):
                self._slots.remove(position)

    def _end(self, more):
        """The last row: how many names are not listed."""
        end = len(self._keys)
        if more:
            self._slots.put(end, self._words[MORE].format(more), more="yes")
            end += 1
        while len(self._slots) > end:
            self._slots.remove(len(self._slots) - 1)

    # --- what they say -------------------------------------------------------------------------------
    def _put(self, at, found, key, now, everything_kept):
        label = words.plain(listing.name_of(key, full=found.author == listing.ALL))
        row = found.rows.get(key)
        if row is None:  # out of sight
            self._slots.put(at, label)
            return
        kept = "?" if row.kept is None else "yes" if row.kept else ""
        self._slots.put(
            at,
            label,
            str(row.version),
            type=words.plain(self._type(row)),
            size="" if row.size is None else words.size(row.size),
            age="" if row.written_at is None else self._age(now - row.written_at),
            kept="all" if everything_kept and not row.kept else kept,
            preview=words.plain(row.preview or self._type(row)),
        )

    def _type(self, row):
        if row.missing is None:
            return row.type
        return self._words[OBJECT].format(row.missing) if row.missing else self._words[UNREADABLE]

    def _age(self, seconds):
        number, unit = words.age(seconds)
        return self._words[AGES[unit]].format(number)


class Authors:
    """The list of authors."""

    def __init__(self, control):
        self._slots = Slots(control, AUTHORS_IN_SIGHT)
        self._here = None
        self._authors = []
        self._words = {listing.ALL: text(32300), listing.OTHERS: text(32301)}

    def current(self):
        """The author that the list is at; None before there are any."""
        at = self._slots.position()
        return self._authors[at] if at < len(self._authors) else None

    def show(self, found):
        """Be like the listing `found`."""
        here = (found.author, found.authors())
        if here == self._here:
            return
        self._here = here
        at, top, current = self._slots.position(), self._slots.top(), self.current()
        self._authors = [author for author, _ in here[1]]
        for position, (author, count) in enumerate(here[1]):
            shown = "yes" if author == found.author else ""
            self._slots.put(position, self._label(author), str(count), shown=shown)
        while len(self._slots) > len(self._authors):
            self._slots.remove(len(self._slots) - 1)
        wanted = self._authors.index(current if current in self._authors else found.author)
        self._slots.show(wanted, max(top + wanted - at, 0))

    def _label(self, author):
        return self._words[author] if author in self._words else words.plain(words.word(author))
