"""Calling the methods of an object that another script or program serves, as in 2014."""

import sys
import threading

import ipcdatastore

from . import kodi
from .address import object_name, uri_of

TIMEOUT = 5.0  # seconds for a call
_last = threading.local()  # the traceback of the last error in a thread


class IPCClient:
    """Reaches what an :class:`ipc.ipcserver.IPCServer` serves at `name`, `host` and `port`.

    `add_on_id`: the addon in whose settings these three are, in place of the arguments. `datatype` is not looked at:
    here it is the server's choice. `uri` may be set to the address of another server at any time.
    """

    def __init__(self, add_on_id="", name="kodi-IPC", host="localhost", port=9099, datatype="pickle"):
        self.name, self.host, self.port = kodi.address_of(add_on_id, name, host, port)
        self.uri = uri_of(self.name, self.host, self.port)
        self.datatype = datatype

    def get_exposed_object(self):
        """The object: call its methods. A call takes at most 5 seconds. The server may be started after this."""
        return Exposed(self._link())

    def server_available(self):
        """Whether somebody serves that address."""
        try:
            return self._link().available()
        except (ipcdatastore.DatastoreError, OSError):
            return False

    @staticmethod
    def get_traceback():
        """The traceback in the server of the last error of a call in this thread; "" if there was none."""
        error = sys.exc_info()[1]
        found = "" if error is None else ipcdatastore.remote_traceback(error)
        return found or getattr(_last, "text", "")

    def _link(self):
        return ipcdatastore.Link(object_name(self.uri), kodi.directory(), TIMEOUT)


class Exposed:
    """A proxy that remembers the last error for :meth:`IPCClient.get_traceback`."""

    def __init__(self, link):
        self.__dict__["_link"] = link

    def __getattr__(self, name):
        found = getattr(self._link.proxy, name)
        return Method(found) if callable(found) else found


class Method:
    """One of its methods, with whatever else the library's have."""

    def __init__(self, method):
        self._method = method

    def __call__(self, *arguments, **named):
        try:
            return self._method(*arguments, **named)
        except Exception as error:
            _last.text = ipcdatastore.remote_traceback(error)  # not the error itself, which keeps frames alive
            raise

    def __getattr__(self, name):
        return getattr(self._method, name)
