"""The store behind the API of 2014: a ``DataObjects`` at the address in the settings, and at the one of old.

Scripts ask it once where the store is (:mod:`ipc.ipcclientx`). Whatever store it is of, it is a new server: so a script
notices that the store was moved.
"""

import time

from ipc import kodi
from ipc.datastore import DataObjects
from ipc.ipcclient import IPCClient
from ipc.ipcserver import IPCServer

import ipcdatastore

from . import log

TRY_AGAIN = 5.0  # seconds until an address that another Kodi serves is tried again


class Server(IPCServer):
    """Answers one question at a time: there are few."""

    workers = 1


class Objects:
    """The servers of one store."""

    def __init__(self):
        self._store = None  # that is served
        self._address = None
        self._servers = {}  # address -> Server, None while another one serves there
        self._due = 0.0

    def tick(self, store, address):
        """Serve `store`, wherever nobody else serves."""
        if store is not self._store or address != self._address:
            self.close()
            self._store, self._address = store, address
            self._servers = dict.fromkeys([address, kodi.DEFAULT_ADDRESS])
            self._start(first=True)
            return
        for where, server in self._servers.items():
            if server is not None and not server.running:  # why is in the log
                self._servers[where] = None
        if None in self._servers.values() and time.monotonic() >= self._due:
            self._start(first=False)

    def close(self):
        """Serve nothing."""
        servers, self._servers = self._servers, {}
        self._store = self._address = None
        for server in servers.values():
            if server is not None:
                server.stop()

    def _start(self, *, first):
        self._due = time.monotonic() + TRY_AGAIN
        for address, server in self._servers.items():
            if server is None:
                self._servers[address] = self._started(*address, first=first)

    def _started(self, name, host, port, *, first):
        if IPCClient(name=name, host=host, port=port).server_available():
            if first:
                log.info(f"{name} at {host}:{port} is served by another program: left to that, as long as it runs")
            return None
        server = Server(DataObjects(store=self._store), name=name, host=host, port=port)
        try:
            server.start()
        except (ipcdatastore.DatastoreError, OSError) as error:
            if first:
                log.warning(f"scripts of old cannot reach the store as {name} at {host}:{port}: {error}")
            return None
        return server
