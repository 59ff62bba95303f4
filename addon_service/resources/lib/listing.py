"""What is in the store, as the browser lists it: authors, the names of one of them, and rows of facts for those in
sight.

The names come from the store once, and from then on from its events; only where some were lost is everything read
again. No value is read for that. A row needs the whole value (its type is part of it), so only names near the one that
the user is at have rows that are up to date.

A key that says no author, since it was not made with ``ipc.open``, belongs to ``OTHERS``.
"""

import re
import time
from bisect import bisect_left, insort
from collections import namedtuple

import ipcdatastore

from . import words

ALL, OTHERS = 0, 1  # among authors, who are str
LIMIT = 2000  # names in a list: more than anybody scrolls through
NEAR = 25  # rows above, and below, of where the user is: two pages, more than come into sight between two looks
READ_SHARE = (
    5  # events may be lost all the time beside fast writers: reading everything takes a fifth of the time at most
)

GONE = frozenset(("delete", "expire", "evict"))
_DIGITS = re.compile("[0-9]+")

# `missing`: None, or which class of the value cannot be found here, "" if it cannot be read for another reason; what is
# not known then is None.
Row = namedtuple("Row", "key type preview size written_at expires_at version kept missing")


def author_of(key):
    """Who stored it."""
    return key[0] if type(key) is tuple and len(key) == 2 and type(key[0]) is str else OTHERS


def name_of(key, *, full=False):
    """The name that its author gave it; with `full`, with the author's."""
    if author_of(key) == OTHERS:
        return words.word(key)
    return f"{words.word(key[1])}  ·  {words.word(key[0])}" if full else words.word(key[1])


def place_of(key):
    """What keys are sorted by, so that 9 comes before 10: no two have the same."""
    author = author_of(key)
    if author == OTHERS:
        return 1, "", _sortable(words.word(key)), repr(key)
    return 0, _sortable(author), _sortable(words.word(key[1])), repr(key)


def _sortable(name):
    return _DIGITS.sub(lambda digits: digits.group().zfill(20), name.casefold())


class Listing:
    """The names of one author (or of ALL), rows of some of them, and how many names each author has.

    Not safe for threads: its caller locks.
    """

    def __init__(self, store, author=ALL, *, limit=LIMIT, near=NEAR, clock=time.time, timer=time.monotonic):
        self._store = store
        self._limit = limit
        self._near = near
        self._clock = clock
        self._timer = timer
        self.author = author
        self.rows = {}  # name -> its row, when it was last near
        self._stale = set()  # names that have changed since
        self._turns = {}  # name -> when its age reads differently, or it expires
        self._lost = False
        # Before anything is read: what changes in between comes twice, and is not missed.
        self._watch = store.watch()
        self.read()

    # --- what is there -------------------------------------------------------------------------------
    @property
    def total(self):
        """How many names there are."""
        return len(self._keys)

    @property
    def more(self):
        """How many names of this author are not listed."""
        return len(self._order) - len(self.names)

    def authors(self):
        """(author, how many names): ALL, everybody in order, and OTHERS if there are such keys.

        The chosen one stays while he is chosen, names or not.
        """
        counts = dict(self._counts)
        if self.author != ALL:
            counts.setdefault(self.author, 0)
        others = [(OTHERS, counts.pop(OTHERS))] if OTHERS in counts else []
        named = sorted(counts.items(), key=lambda item: (_sortable(item[0]), item[0]))
        return [(ALL, self.total), *named, *others]

    def choose(self, author):
        """List the names of another author."""
        self.author = author
        self._sort()

    # --- reading -------------------------------------------------------------------------------------
    def read(self):
        """Every name anew, and every row when it is near."""
        begun = self._timer()
        self._keys = set(self._store)
        self._counts = {}
        for key in self._keys:
            self._count(key, 1)
        self._sort()
        self._stale = set(self.rows)
        self._lost = False
        ended = self._timer()
        self._may_read = ended + (ended - begun) * READ_SHARE

    def poll(self):
        """Take in what has happened to names."""
        events = self._watch.poll()
        self._lost = self._lost or any(event.key is None for event in events)
        if self._lost and self._timer() >= self._may_read:
            self.read()
            return
        for key, kind in {event.key: event.kind for event in events if event.key is not None}.items():
            if kind in GONE:
                self._remove(key)
            else:
                self._add(key)
        self._list()

    def look(self, at, seconds):
        """Have the rows near the position `at` up to date, or as many as can be read in so many seconds, one at least.

        The names whose row is another now, or whose age reads differently.
        """
        until = self._timer() + seconds
        changed = []
        for key in self._by_distance(at):
            row = self.rows.get(key)
            now = self._clock()
            if row is None or key in self._stale or _has_expired(row, now):
                self._stale.discard(key)
                if self._read_row(key, now) != row:
                    changed.append(key)
                if self._timer() >= until:
                    break
            elif self._turns.get(key, now + 1) <= now:
                self._turns[key] = _turn_of(row, now)
                changed.append(key)
        self._store.clear_cache()  # values may be big, and are not wanted again
        self._list()
        return changed

    # --- inside --------------------------------------------------------------------------------------
    def _count(self, key, change):
        author = author_of(key)
        count = self._counts.get(author, 0) + change
        if count:
            self._counts[author] = count
        else:
            del self._counts[author]

    def _is_here(self, key):
        return self.author in (ALL, author_of(key))

    def _sort(self):
        self._order = sorted((place_of(key), key) for key in self._keys if self._is_here(key))
        self.names = None
        self._list()

    def _add(self, key):
        """`key` was set."""
        if key in self._keys:
            if key in self.rows:
                self._stale.add(key)
            return
        self._keys.add(key)
        self._count(key, 1)
        if self._is_here(key):
            insort(self._order, (place_of(key), key))
            self._listed = False

    def _remove(self, key):
        """There is no `key` any more."""
        if key not in self._keys:
            return
        self._keys.remove(key)
        self._count(key, -1)
        if self._is_here(key):
            del self._order[bisect_left(self._order, (place_of(key), key))]
            self._listed = False

    def _list(self):
        """Have `names` follow the order, and forget rows of others. A list that is the same stays the same object."""
        if self.names is not None and self._listed:
            return
        self.names = [key for _, key in self._order[: self._limit]]
        self._listed = True
        shown = set(self.names)
        for key in [key for key in self.rows if key not in shown]:
            del self.rows[key]
            self._turns.pop(key, None)
            self._stale.discard(key)

    def _by_distance(self, at):
        """The names near a position, the nearest first."""
        first = max(at - self._near, 0)
        near = self.names[first : at + self._near + 1]
        return [key for _, key in sorted(enumerate(near, first), key=lambda found: abs(found[0] - at))]

    def _read_row(self, key, now):
        row = self._row(key)
        if row is None:
            self._remove(key)
            return None
        self.rows[key] = row
        self._turns[key] = _turn_of(row, now)
        return row

    def _row(self, key):
        """What there is to know of a name; None if it is gone."""
        try:
            entry = self._store.get_entry(key)
        except ipcdatastore.DecodeError as error:
            version = self._store.wait(key, since=0, timeout=0)
            if version is None:
                return None
            missing = f"{error.module}.{error.name}" if error.module else ""
            return Row(key, None, None, None, None, None, version, None, missing)
        if entry is None:
            return None
        return Row(
            key,
            words.type_of(entry.value),
            words.preview(entry.value),
            entry.size,
            entry.written_at,
            entry.expires_at and round(entry.expires_at, 1),  # reckoned anew, and a little different, at each reading
            entry.version,
            entry.persistent,
            None,
        )


def _has_expired(row, now):
    return row.expires_at is not None and row.expires_at <= now


def _turn_of(row, now):
    """When the age of a row reads differently."""
    return float("inf") if row.written_at is None else now + words.lasts(now - row.written_at)
