"""What is in the store, as the browser lists it: authors, the names of one of them, and a row of facts for each name.

The names come from the store once, and from then on from its events; only where some were lost is everything read again.
No value is read for that. A row needs the whole value (its type is part of it), so rows are made for names that are
listed only, those in sight first, and for no longer than the caller can wait.

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
READ_SHARE = 5  # events may be lost all the time beside fast writers: reading everything takes a fifth of the time at most

GONE = frozenset(("delete", "expire", "evict"))
_DIGITS = re.compile("[0-9]+")

# `missing`: None, or what class the value is of that cannot be found here ("" if that is not the reason why it cannot be
# read); then all that is not known is None.
Row = namedtuple("Row", "key type preview size written_at expires_at version kept missing")


def author_of(key):
    """Who stored it."""
    return key[0] if type(key) is tuple and len(key) == 2 and type(key[0]) is str else OTHERS


def name_of(key, *, full=False):
    """The name that its author gave it; with `full`, with the author's."""
    if author_of(key) == OTHERS:
        return words.word(key)
    return f"{words.word(key[0])} / {words.word(key[1])}" if full else words.word(key[1])


def place_of(key):
    """What keys are sorted by, so that 9 comes before 10: no two have the same."""
    author = author_of(key)
    name = _DIGITS.sub(_padded, words.word(key if author == OTHERS else key[1]).casefold())
    return (1, "", name, repr(key)) if author == OTHERS else (0, author.casefold(), name, repr(key))


def _padded(digits):
    return digits.group().zfill(20)


class Listing:
    """The names of one author (or of ALL) with their rows, and how many names each author has.

    Not safe for threads: its caller locks.
    """

    def __init__(self, store, author=ALL, *, limit=LIMIT, clock=time.time, timer=time.monotonic):
        self._store = store
        self._limit = limit
        self._clock = clock
        self._timer = timer
        self.author = author
        self.rows = {}  # of names that are listed, once they were read
        self._stale = {}  # listed names that are to be read: a set in order
        self._turns = {}  # name -> when its age reads differently, or it expires
        self._lost = False
        # Before anything is read: what changes in between comes twice, and is not missed.
        self._watch = store.watch()
        self.read()

    def close(self):
        """No more events."""
        self._watch.close()

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
        named = sorted(counts.items(), key=lambda item: (item[0].casefold(), item[0]))
        return [(ALL, self.total), *named, *others]

    def choose(self, author):
        """List the names of another author."""
        self.author = author
        self._sort()

    # --- reading -------------------------------------------------------------------------------------
    def read(self):
        """Every name anew, and every row."""
        begun = self._timer()
        self._keys = set(self._store)
        self._counts = {}
        for key in self._keys:
            self._count(key, 1)
        self._sort()
        self._stale = dict.fromkeys(self.names)
        self._lost = False
        ended = self._timer()
        self._may_read = ended + (ended - begun) * READ_SHARE

    def poll(self):
        """Take in what has happened to names. Rows follow by :meth:`fill`."""
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

    def fill(self, seconds, around=0):
        """Read rows for at most so many seconds, but one at least; those near the position `around` first. The names whose
        rows are others now.
        """
        changed = []
        until = self._timer() + seconds
        near = [key for key in self.names[max(around - 20, 0) : around + 20] if key in self._stale]
        for key in dict.fromkeys([*near, *self._stale]):
            del self._stale[key]
            row = self._row(key)
            if row is None:
                self._remove(key)
            elif row != self.rows.get(key):
                self.rows[key] = row
                changed.append(key)
                self._set_turn(key, self._clock())
            if self._timer() >= until:
                break
        self._store.clear_cache()  # values may be big, and are not wanted again
        self._list()
        return changed

    def turned(self):
        """The names whose age reads differently now. Of those that have expired, the row is read again."""
        now = self._clock()
        due = [key for key, turn in self._turns.items() if turn <= now]
        for key in due:
            row = self.rows[key]
            if row.expires_at is not None and row.expires_at <= now:
                self._stale[key] = None
            self._set_turn(key, now)
        return due

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
        if key not in self._keys:
            self._keys.add(key)
            self._count(key, 1)
            if self._is_here(key):
                insort(self._order, (place_of(key), key))
                self._listed = False
        elif key in self._shown:
            self._stale[key] = None

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
        """Have `names`, and what is known of them, follow the order. A list that is the same stays the same object."""
        if self.names is not None and self._listed:
            return
        self.names = [key for _, key in self._order[: self._limit]]
        self._shown = set(self.names)
        self._listed = True
        for known in (self.rows, self._stale, self._turns):
            for key in [key for key in known if key not in self._shown]:
                del known[key]
        for key in self.names:
            if key not in self.rows:
                self._stale[key] = None

    def _set_turn(self, key, now):
        row = self.rows[key]
        if row.written_at is None:
            return
        turn = now + words.lasts(now - row.written_at)
        if row.expires_at is not None and row.expires_at > now:
            turn = min(turn, row.expires_at)
        self._turns[key] = turn

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
