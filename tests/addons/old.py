"""The API of 2014 for tests: with no Kodi, and with one that is none; and both ends of it in processes of their own."""

from addons.fakes import ROOT

LIB, SERVICE_LIB = str(ROOT / "addon_module" / "lib"), str(ROOT / "addon_service")
BEFORE = f"import sys; sys.path[:0] = [{LIB!r}, {SERVICE_LIB!r}]"
AUTHOR = "tests.ipcdatastore"


class Calculator:
    """An object as people exposed them."""

    def __init__(self):
        self.closed = 0
        self._secret = 1

    def add(self, a, b=1):
        return a + b

    def divide(self, a, b):
        return a / b

    def who(self):
        import os

        return os.getpid()

    def close(self):
        self.closed += 1


# --- in processes of their own -----------------------------------------------------------------------
def serves_data(persist_dir, *arguments):
    """A script with a server of values, until it is told to end."""
    from ipc.datastore import DataObjects
    from ipc.ipcserver import IPCServer

    server = IPCServer(DataObjects(persist_dir=persist_dir), "", *arguments)
    server.start()
    say(server.uri)
    hear()
    server.stop()


def serves_calculator(*arguments):
    from ipc.ipcserver import IPCServer

    server = IPCServer(Calculator(), "", *arguments)
    server.start()
    say(server.uri)
    hear()
    server.stop()
    say([server.running, server.expose_obj.closed])


def stores(author, values, persist):
    from ipc.ipcclientx import IPCClientX

    client = IPCClientX()
    say([client.set(name, value, author, persist) for name, value in values.items()])


def say(value):
    """Of the child."""


hear = say
