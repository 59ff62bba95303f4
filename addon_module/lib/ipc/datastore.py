"""The object behind the service of 2014: values by author and name, for scripts that reach it through a proxy.

Its values are in a region of shared memory, which :class:`ipc.ipcclientx.IPCClientX` reads and writes itself.
"""

import os

import ipcdatastore
from ipcdatastore import place

from . import kodi, records
from .address import digest
from .ipcclientxerrors import IPCERROR_NO_VALUE_FOUND, IPCERROR_USE_CACHED_COPY
from .scratch import REGION, Scratch

NOT_FOUND, USE_CACHED = chr(IPCERROR_NO_VALUE_FOUND), chr(IPCERROR_USE_CACHED_COPY)
IMAGES = "dataobjects"  # a directory of its own in the one that is given, which others may use and write too


class DataObject:
    """A value, and the time when it was set."""

    def __init__(self, dox):
        self.ts = dox.ts
        self.value = dox.value

    def __repr__(self):
        return f"<DataObject of {self.ts}: {self.value!r}>"


class DataObjectX:
    """What a :class:`DataObject` is made from."""

    def __init__(self, value, persist=False, ts=None):
        import time

        self.ts = time.time() if ts is None else ts
        self.value = value
        self.persist = persist


class DataObjects:
    """A dictionary of values by author and name.

    `persist_dir` is where values that are set with ``persist=True`` are kept; they are back when the next one is made
    with the same directory, however this one ended. One process at a time has it: others get
    ``ipcdatastore.ServiceRunningError``. With `store`, a ``Datastore`` that somebody else opened and looks after, it
    shows the values in there; it does not close it.
    """

    _home = None

    def __init__(self, persist_dir=None, *, store=None):
        self.persist_dir = persist_dir
        self.autosave = True
        self._seen = {}  # requestor -> (author, name) -> version that was handed out
        if store is not None:
            self._home = _Given(store)
        elif persist_dir is not None:
            self._home = _Kept(persist_dir)
        else:
            self._home = _Fleeting()
        self._records = self._home.records

    def region(self):
        """Where the values are: name and directory of the region, and when what is marked gets onto the disk."""
        engine = self._records.store._engine
        return [engine.name, engine.directory, self._records.saving]

    def set(self, name, value, author, persist=False):
        """Store `value`. With `persist` it is on the disk when this returns, if there is a directory for that."""
        self._records.set(name, value, author, persist)

    def get(self, requestor, name, author, force=False):
        """A :class:`DataObject`; or one character, the number of an error: 1, there is no such value; 2, `requestor`
        has it already, and it has not changed, unless with `force`.
        """
        entry = self._records.get(name, author)
        if entry is None:
            return NOT_FOUND
        seen = self._seen.setdefault(requestor, {})
        if seen.get(entry.key) == entry.version and not force:
            return USE_CACHED
        seen[entry.key] = entry.version
        return _data_object(entry)

    def delete(self, name, author):
        """Delete a value: the :class:`DataObject` that it was, or the character 1."""
        entry = self._records.delete(name, author)
        if entry is None:
            return NOT_FOUND
        for seen in list(self._seen.values()):
            seen.pop(entry.key, None)
        return _data_object(entry)

    def get_data_list(self, author=None):
        """``{author: [name, ...]}``."""
        return self._records.names(author)

    def clearall(self):
        """Delete everything, also from the disk."""
        self._records.clear()
        self._seen.clear()

    def clearcache(self, requestor):
        """Hand out every value anew to `requestor`."""
        self._seen.pop(requestor, None)

    def savedata(self, author, fn):
        """Write all values of `author` into the file `fn`. Whether that was done; why not is in the log."""
        return self._told(f"the values of {author!r} were not saved", self._records.save, author, fn)

    def restoredata(self, author, fn):
        """Have the values of `author` that are in the file `fn`. Whether that was done; why not is in the log."""
        return self._told(f"the values of {author!r} were not restored", self._records.restore, author, fn)

    @staticmethod
    def _told(what, step, *arguments):
        try:
            step(*arguments)
        except (ipcdatastore.DatastoreError, OSError) as error:
            kodi.log(f"{what}: {error}", problem=True)
            return False
        return True

    def add_persistence(self, varname, author):
        """Have a value be kept from now on. Whether it is there, and there is a directory for that."""
        return self._records.saving != records.NEVER and self._records.keep(varname, author)

    def remove_persistence(self, varname, author):
        """Have a value not be kept any more. Whether it is there, and there is a directory for that."""
        return self._records.saving != records.NEVER and self._records.forget(varname, author)

    def setautosave(self, val):
        """Whether `close` writes once more. What was written before is kept either way."""
        self.autosave = val

    def close(self):
        """Write what is to be kept, and let go of the region. Twice does no harm."""
        home, self._home = self._home, None
        if home is not None:
            home.close(write=self.autosave)

    def __del__(self):
        try:
            self.close()
        except Exception as error:  # noqa: BLE001 - there is nobody to whom it could be raised
            kodi.log(f"a DataObjects was not closed, and could not be: {error}", problem=True)


def _data_object(entry):
    return DataObject(DataObjectX(entry.value, entry.persistent, entry.written_at))


class _Given:
    """A region that is somebody else's."""

    def __init__(self, store):
        self.records = records.as_seen(store, records.LATER)

    def close(self, *, write):
        """It is not ours to close, nor to save."""


class _Fleeting:
    """A region that is gone when it is closed."""

    def __init__(self):
        self._scratch = Scratch()
        self.records = records.Records(self._scratch.store, records.NEVER)

    def close(self, *, write):  # noqa: ARG002 - there is nowhere to write to
        self._scratch.close()


class _Kept:
    """A region whose marked values are kept in a directory.

    It goes when it is closed, but stays if its process is killed: then the next one finds in it what was marked, and
    deletes the rest, as a clean end would have done.
    """

    def __init__(self, persist_dir):
        self._pid = os.getpid()
        images = os.path.join(os.path.realpath(persist_dir), IMAGES)
        base = place.resolve_directory(kodi.directory())
        directory = os.path.join(base, f"dataobjects@{digest(images)}")
        place.prepare_directory(directory)
        self._service = ipcdatastore.Service(REGION, directory=directory, persist=False, snapshot_directory=images)
        self._service.start()
        store = self._service.store
        self._path = store._engine.path
        for record in store._engine.scan():
            if not record.flags & records.FLAG_PERSIST:
                store._engine.delete(record.key, record.version)
        self.records = records.Records(store, records.NOW)

    def close(self, *, write):
        if self._pid != os.getpid():
            return  # a forked child: it is the parent's
        service, store = self._service, self.records.store
        try:
            if write:
                store.flush()
            store.close()  # so that nothing is written below
            _remove(self._path)  # before its lock is given back
        finally:
            service.stop()


def _remove(path):
    try:
        os.unlink(path)
    except OSError as error:
        kodi.log(f"{path} stays until the next start: {error}")  # Windows keeps what a client has mapped
