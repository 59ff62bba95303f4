"""Values by author and name, as the service of 2014 had them, in a region: the verbs that server and client share.

What is wrong is one of the library's own errors here; the client numbers them.
"""

import os

import ipcdatastore
from ipcdatastore import archive
from ipcdatastore.codec import decode_key, encode_key, tuple_prefix
from ipcdatastore.layout import FLAG_PERSIST

from .scratch import Scratch

# When what is marked to be kept gets onto the disk:
NEVER, NOW, LATER = "", "now", "later"  # LATER: somebody looks after the region, and does it in time


class Records:
    """The values in `store`; `saving` says when they are saved."""

    def __init__(self, store, saving):
        self.store = store
        self.saving = saving

    def set(self, name, value, author, persist):
        """Store a value; the mark to keep it is what `persist` says."""
        key = _key(author, name)
        keep = bool(persist) and self.saving != NEVER
        # What was kept until now, and is not any more, must not come back from the disk.
        kept = self.saving == NOW and (keep or self._is_kept(key))
        self.store.set(key, value, persist=keep)
        if kept:
            self.store.flush()

    def get(self, name, author):
        """The :class:`ipcdatastore.Entry`, or None."""
        return self.store.get_entry(_key(author, name))

    def delete(self, name, author):
        """Delete a value: its :class:`ipcdatastore.Entry`, None if there was none. One of several callers gets it."""
        key = _key(author, name)
        while True:
            entry = self.store.get_entry(key)
            if entry is None or self.store._engine.delete(encode_key(key), entry.version)[0] is not None:
                break
        if entry is not None and entry.persistent:
            self._save()
        return entry

    def names(self, author=None):
        """``{author: [name, ...]}``."""
        found = {}
        for key in self.store:
            if _is_ours(key) and author in (None, key[0]):
                found.setdefault(key[0], []).append(key[1])
        return found

    def clear(self):
        """Delete everything, also from the disk."""
        self.store.clear()

    def keep(self, name, author):
        """Mark a value to be kept. Whether it is there."""
        found = self.store.add_persistence(_key(author, name))
        if found:
            self._save()
        return found

    def forget(self, name, author):
        """Take that mark away. Whether the value is there."""
        found = self.store.remove_persistence(_key(author, name))
        if found:
            self._save()
        return found

    def _is_kept(self, key):
        record = self.store._engine.get(encode_key(key))
        return record is not None and bool(record.flags & FLAG_PERSIST)

    def _save(self):
        if self.saving == NOW:
            self.store.flush()

    # --- one author's, in a file ---------------------------------------------------------------------
    # The file is a backup of a region that holds nothing else: with checksums, replaced all at once, and read by nobody
    # whom others could have it written for.
    def save(self, author, path):
        """Write all values of an author, as they are marked and as they expire, in place of what is in the file."""
        with Scratch(self.store._engine.region.header.serializer) as copy:
            engine = copy._engine
            engine.commit([_same(engine, record) for record in self._records_of(author)])
            copy.backup(path)

    def restore(self, author, path):
        """Have all values of an author that are in the file, at one moment; others stay."""
        with Scratch(self.store._engine.region.header.serializer) as copy:
            copy.restore(path)
            engine = self.store._engine
            writes = [_same(engine, record) for record in Records(copy, NEVER)._records_of(author)]
        if self.saving == NEVER:
            for write in writes:
                write.flags = 0
        engine.commit(writes)
        if any(write.flags & FLAG_PERSIST for write in writes):
            self._save()

    def _records_of(self, author):
        beginning = tuple_prefix((author,))
        for record in self.store._engine.scan():
            if record.key.startswith(beginning) and _is_ours(decode_key(record.key)):
                yield record


def prepare_file(path):
    """Make the directory for a file of saved values, private to this user, or check the one that is there."""
    archive.prepare(os.path.dirname(path))


def _key(author, name):
    return str(author), str(name)


def _is_ours(key):
    return type(key) is tuple and len(key) == 2 and type(key[0]) is type(key[1]) is str


def _same(engine, record):
    return engine.write(record.key, record.kind, record.value, record.expires_ns, record.flags)


def as_seen(store, saving):
    """`Records` for a store that somebody else opened."""
    if not isinstance(store, ipcdatastore.Datastore):
        raise ipcdatastore.ArgumentError(f"`store` is a Datastore, not {store!r}", name="store", value=store)
    return Records(store, saving)
