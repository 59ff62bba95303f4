"""Calling the methods of an object that another script or program serves, as in 2014."""

import sys
import threading

import ipcdatastore
from ipcdatastore.calls.proxy import Method, Proxy

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
        self._known = None  # the link, and the address that it is of

    def get_exposed_object(self):
        """The object: call its methods. A call takes at most 5 seconds. The server may be started after this."""
        return Exposed(self._link())

    def server_available(self):
        """Whether somebody serves that address."""
        try:
            return self._link().available()
        except (ipcdatastore.DatastoreError, OSError):
            return False

    def close(self):
        """Let go of the server. The next call finds it again."""
        known, self._known = self._known, None
        if known is not None:
            known[1].close()

    @staticmethod
    def get_traceback():
        """The traceback in the server of the last error of a call in this thread; "" if there was none."""
        error = sys.exc_info()[1]
        found = "" if error is None else ipcdatastore.remote_traceback(error)
        return found or getattr(_last, "text", "")

    def _link(self):
        known = self._known
        if known is None or known[0] != self.uri:
            IPCClient.close(self)
            link = ipcdatastore.Link(object_name(self.uri), kodi.directory(), TIMEOUT)
            self._known = known = self.uri, link
        return known[1]


class Exposed(Proxy):
    """A proxy that remembers the last error for :meth:`IPCClient.get_traceback`."""

    def __getattr__(self, name):
        found = super().__getattr__(name)
        if type(found) is Method:
            self.__dict__[name] = found = Remembering(found._link, name, found._oneway)
        return found


class Remembering(Method):
    """One of its methods."""

    __slots__ = ()

    def __call__(self, *arguments, **named):
        try:
            return super().__call__(*arguments, **named)
        except Exception as error:
            _last.text = ipcdatastore.remote_traceback(error)  # not the error itself, which keeps frames alive
            raise
