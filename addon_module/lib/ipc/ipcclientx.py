"""The client of the service of 2014: values by author and name.

It asks the server once where the values are, and from then on reads and writes the region itself, so an unchanged value
comes out of its cache. Every verb still looks whether the server runs, which takes microseconds: without one it fails,
as it always did.
"""

import os
import threading
from collections import namedtuple

import ipcdatastore

from . import ipcclientxerrors as errors
from . import kodi, records
from .ipcclient import IPCClient

PAUSE = 0.005  # seconds between two tries to reach the server
# What a handle on the region will not recover from, but another one may: it was moved, or made anew.
LOST = (ipcdatastore.RegionNotFoundError, ipcdatastore.ClosedError)

NUMBERED = (
    ((ipcdatastore.EncodeError, ipcdatastore.DecodeError), errors.ObjectNotSerializableError),
    ((ipcdatastore.SnapshotError,), errors.SaveFailedError),
)

Data = namedtuple("Data", "value ts cached")


class _Found:
    """The server at `uri`, and the region that it named. Raises what its call and the opening raise."""

    def __init__(self, uri, link):
        self.uri = uri
        self._link = link
        self._server = link.server_id  # first: if it is another one by the time of the call, all is asked again
        name, directory, saving = link.proxy.region()
        store = ipcdatastore.open(name, directory=directory, mode="w")
        self.records = records.Records(store, saving)
        self._path = store._engine.path
        self._file = _identity(self._path)

    def is_current(self):
        """Whether that server runs, and has that region."""
        server = self._link.server_id
        return server is not None and server == self._server and _identity(self._path) == self._file

    def close(self):
        self.records.store.close()


def _identity(path):
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class IPCClientX(IPCClient):
    """Stores and reads values of authors at a ``DataObjects`` that an ``IPCServer`` serves: by default, or with
    ``addon_id="service.ipcdatastore"``, at the service.

    `addon_id`, `name`, `host`, `port`, `datatype` are as for ``IPCClient``. What fails returns None or False, and is in
    the log, unless `raise_exception` is set: then it raises an error of ``ipcclientxerrors``. An `author` that is not
    given is the addon that calls.
    """

    def __init__(self, addon_id="", name="kodi-IPC", host="localhost", port=9099, datatype="pickle"):
        super().__init__(addon_id, name, host, port, datatype)
        self.addonname = kodi.caller()
        self.raise_exception = False
        self.num_of_server_retries = 5
        self.ReturnData = Data
        self._found = None
        self._finding = threading.Lock()

    # --- verbs ---------------------------------------------------------------------------------------
    def set(self, name, value, author=None, persist=False):
        """Store a value; with `persist`, also for the time after the server, and after Kodi. Whether it was stored."""
        author = self._author(author)

        def verb(found):
            found.set(name, value, author, persist)
            return True

        def explain(error):
            refused = isinstance(error, ipcdatastore.EncodeError)
            return _made(errors.ObjectNotSerializableError, value) if refused else None

        return self._do(verb, False, explain)

    def get(self, name, author=None, requestor=None, return_tuple=False):  # noqa: ARG002 - each client has its own cache
        """The value; with `return_tuple`, ``Data(value, ts, cached)``. None if there is none.

        `ts` is when it was set, `cached` whether it has not changed since this client read it.
        """
        author = self._author(author)

        def verb(found):
            entry = found.get(name, author)
            if entry is None:
                raise _missing(name, author)
            return _returned(entry, return_tuple)

        return self._do(verb, Data(None, None, False) if return_tuple else None)

    def delete(self, name, author=None, return_tuple=False):
        """Delete a value. What it was, as `get` returns it."""
        author = self._author(author)

        def verb(found):
            entry = found.delete(name, author)
            if entry is None:
                raise _missing(name, author)
            return _returned(entry._replace(cached=False), return_tuple)

        return self._do(verb, Data(None, None, False) if return_tuple else None)

    def get_data_list(self, author=None):
        """``{author: [name, ...]}``, of all authors or of one."""
        return self._do(lambda found: found.names(author), None)

    def clearall(self):
        """Delete everything of everybody, also from the disk. Whether that was done."""
        return self._do(lambda found: found.clear() or True, False)

    def clearcache(self):
        """Have every value read anew. Whether that was done."""
        return self._do(lambda found: found.store.clear_cache() or True, False)

    def savedata(self, author=None):
        """Write all values of an author into a file, for `restoredata`. Whether that was done."""
        author = self._author(author)
        path = kodi.saved_path(author)

        def verb(found):
            records.prepare_file(path)
            found.save(author, path)
            return True

        return self._do_with_file(verb, errors.SaveFailedError, author, path)

    def restoredata(self, author=None):
        """Have all values of an author as they were saved; those that came later stay. Whether that was done."""
        author = self._author(author)
        path = kodi.saved_path(author)

        def verb(found):
            found.restore(author, path)
            found.store.clear_cache()
            return True

        return self._do_with_file(verb, errors.RestoreFailedError, author, path)

    def delete_data(self, author=None):
        """Delete the file that `savedata` wrote. Whether there was one. Needs no server."""
        path = kodi.saved_path(self._author(author))
        try:
            os.unlink(path)
        except OSError as error:
            return self._failed(errors.UnknownError(f"{path} was not deleted: {error.strerror or error}"), error, False)
        return True

    def add_persistence(self, varname, author=None):
        """Have a value be kept on the disk from now on. Whether that is so."""
        return self._persist(varname, self._author(author), keep=True)

    def remove_persistence(self, varname, author=None):
        """Have a value not be kept any more. Whether that is so."""
        return self._persist(varname, self._author(author), keep=False)

    def close(self):
        """Let go of the server, and of the region. The next verb finds them again."""
        found = self._found
        if found is not None:
            self._forget(found)
        super().close()

    @staticmethod
    def logexception(exc):
        """Write a failure into the log."""
        kodi.log(f"{type(exc).__name__}: {exc}", problem=exc.errno != errors.IPCERROR_NO_VALUE_FOUND)
        if getattr(exc, "tb", ""):
            kodi.log(exc.tb)

    # --- how -----------------------------------------------------------------------------------------
    def _author(self, author):
        return self.addonname if author is None else str(author)

    def _persist(self, name, author, *, keep):
        def verb(found):
            if found.saving == records.NEVER:
                error = errors.SaveFailedError()
                error.message = f"{name!r} of {author!r} cannot be kept: the server has no directory for that"
                raise error
            if not (found.keep if keep else found.forget)(name, author):
                raise _missing(name, author)
            return True

        return self._do(verb, False)

    def _do_with_file(self, verb, kind, author, path):
        def explain(error):
            found = _made(kind, author, path)
            found.message += f": {error}"
            return found

        return self._do(verb, False, explain)

    def _do(self, verb, otherwise, explain=lambda error: None):
        """What ``verb(records)`` returns; `otherwise` if it fails. `explain` may make an error of the reason."""
        try:
            return self._attempt(verb)
        except errors.IPCClientError as error:
            return self._failed(error, error.__cause__, otherwise)
        except (ipcdatastore.DatastoreError, OSError) as error:
            return self._failed(explain(error) or _numbered(error), error, otherwise)

    def _failed(self, error, cause, otherwise):
        self.logexception(error)
        if not self.raise_exception:
            return otherwise
        try:
            raise error from cause
        finally:
            del error, cause  # or its traceback would keep it alive, and this client with it

    def _attempt(self, verb):
        tries = self._tries()
        while True:
            tries -= 1
            found = self._current()
            try:
                return verb(found.records)
            except LOST:  # and nothing was written
                self._forget(found)
                if tries <= 0:
                    raise

    def _tries(self):
        return max(1, int(self.num_of_server_retries))

    def _current(self):
        """The server that runs now, with its values."""
        found = self._found
        if found is not None and found.uri == self.uri and found.is_current():
            return found
        with self._finding:
            if self._found is found:  # no other thread was faster
                self._found = None
                if found is not None:
                    found.close()
                self._found = self._find()
            return self._found

    def _forget(self, found):
        with self._finding:
            if self._found is found:
                self._found = None
        found.close()

    def _find(self):
        tries, kind = self._tries(), errors.ServerUnavailableError
        while True:
            tries -= 1
            try:
                return _Found(self.uri, self._link())
            except (ipcdatastore.ServerUnavailableError, ipcdatastore.CallTimeoutError, *LOST) as error:
                if getattr(error, "started", False):  # it was there
                    kind = errors.ServerReconnectFailedError
                if tries <= 0:
                    raise kind(self.uri, str(error)) from error
            kodi.pause(PAUSE)


def _returned(entry, return_tuple):
    return Data(entry.value, entry.written_at, entry.cached) if return_tuple else entry.value


def _missing(name, author):
    return _made(errors.VarNotFoundError, name, author)


def _made(kind, *facts):
    error = kind()
    error.updatemessage(*facts)
    return error


def _numbered(error):
    """The error of old for one of the library's."""
    for kinds, number in NUMBERED:
        if isinstance(error, kinds):
            found = number()
            found.message = str(error)
            return found
    return errors.UnknownError(error, ipcdatastore.remote_traceback(error))
